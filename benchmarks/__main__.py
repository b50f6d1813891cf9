"""Measure how near this library comes to "as fast as no token at all": ``python benchmarks``."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
import traceback

import children
import contenders
import plots
import report
import rows
import server

PACKAGES = (
    "aritma-session", "requests", "urllib3", "oauthlib", "requests-oauthlib", "authlib", "google-auth",
    "requests_oauth2client", "msal", "msal-extensions", "filelock", "platformdirs",
)  # fmt: skip

#: Fill the cache through the library itself, so that the file is a real one.
FILL = """if True:
    from contenders.ours import warm
    from canned import TOKEN, URL, Canned, mounted
    mounted(warm(TOKEN), Canned()).get(URL).raise_for_status()
    print(0)
"""


@dataclasses.dataclass
class Bench:
    """What every row works with.

    :param quick: few rounds, for a first look.
    :param home: an empty home for the processes that are measured.
    :param server: the sandbox, in a process of its own.
    :param series: what the plots show beyond the rows, by the row's name.
    """

    quick: bool
    home: str
    server: server.Server
    series: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.cache = os.path.join(self.home, "warm")
        self.environment = children.environment(self.home, BENCH_CACHE=self.cache)
        children.answer(children.python(FILL, env=self.environment))

    def named(self, samples):
        """The same samples under the names that tables show."""
        return {contenders.NAMES.get(module, module): found for module, found in samples.items()}


def main():
    options = _options()
    path = os.path.join(options.output, "results.json")
    if options.draw:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    else:
        results = _measured(options)
        os.makedirs(options.output, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1, ensure_ascii=False)
            file.write("\n")
    text = report.tables(results)
    with open(os.path.join(options.output, "table.rst"), "w", encoding="utf-8") as file:
        file.write(text)
    plots.draw(results, options.output)
    print(text)
    missed = [row["measure"] for row in results["rows"] if row["target"] is not None and not row["met"]]
    return 1 if results["failed"] or (options.check and missed) else 0


def _options():
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds and processes, for a first look")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a target is missed or was skipped")
    parser.add_argument("--draw", action="store_true", help="measure nothing: tables and plots of the results at hand")
    parser.add_argument("--only", action="append", choices=rows.MODULES, help="measure this alone; may be repeated")
    parser.add_argument("--output", default=os.path.join(children.HERE, "results"), metavar="DIRECTORY")
    return parser.parse_args()


def _measured(options):
    found, failed = [], []
    with tempfile.TemporaryDirectory(prefix="aritma-bench-") as home, server.running(home) as sandbox:
        bench = Bench(options.quick, home, sandbox)
        for name in options.only or rows.MODULES:
            began = time.perf_counter()
            try:
                for row in importlib.import_module(f"rows.{name}").measure(bench):
                    found.append({**dataclasses.asdict(row), "met": row.met})
            except Exception:  # the minutes that the others took are not to be lost
                traceback.print_exc()
                failed.append(name)
            print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return {"quick": options.quick, "failed": failed, "machine": _machine(), "rows": found, "series": bench.series}


def _machine():
    """What the numbers depend on, without anything that names the machine."""
    return {
        "implementation": platform.python_implementation(),
        "python": platform.python_version(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    sys.exit(main())
