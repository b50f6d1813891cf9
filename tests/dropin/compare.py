"""Run requests' own suite with requests.Session and with AritmaSession in its place, and compare test by test.

The suite is the one of the installed version of requests, taken from its source distribution. No list says which tests
may fail: whatever passes with requests has to pass with AritmaSession. Where a test cannot pass (it wants another
platform, or a network), it does not pass in either run.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

# requests has some 600 tests; with far fewer in both runs, the comparison says nothing.
ENOUGH = 300

# Seconds. The suite takes about 80, most of them spent waiting; its slowest test takes 20.
TIME_FOR_A_TEST = 90
TIME_FOR_A_RUN = 900


def fetch_suite(cache):
    """Return the unpacked source distribution of the installed requests, downloaded unless cache has it.

    Args:
        cache: the directory that keeps it for the next time.
    """
    name = f"requests-{metadata.version('requests')}"
    if not (cache / name).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "requests"]
            subprocess.run([*pip, "--dest", scratch, name.replace("-", "==")], check=True)
            (archive,) = Path(scratch).glob("*.tar.gz")
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
            # Moved when complete: an interrupted download leaves nothing that looks like a suite.
            (Path(scratch) / name).rename(cache / name)
    return cache / name


def run_suite(suite, session):
    """Run the suite in a process of its own and return what the plugin wrote down.

    Args:
        suite: the unpacked source distribution.
        session: the class to put in the place of requests.Session, as ``module:attribute``; empty for none.

    Raises:
        RuntimeError: if pytest did not get through the suite; its output is the message.
    """
    with tempfile.TemporaryDirectory() as home:
        results = Path(home) / "results.json"
        # Nothing of the caller's: a netrc, a proxy or a CA bundle would decide tests.
        env = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
        env |= dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), home)
        env |= {
            "ARITMA_CACHE": "memory",
            "ARITMA_CLIENT_ID": "dropin",
            "ARITMA_CLIENT_SECRET": "not-a-real-secret",
            "DROPIN_RESULTS": str(results),
            "DROPIN_SESSION": session,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(Path(__file__).resolve().parent),
        }
        pytest = [sys.executable, "-m", "pytest", "-p", "substitute", "-p", "no:cacheprovider", "-q"]
        pytest += ["-c", "pyproject.toml", "--timeout", str(TIME_FOR_A_TEST), "tests"]
        alone = {"cwd": suite, "env": env, "stdin": subprocess.DEVNULL, "timeout": TIME_FOR_A_RUN}
        run = subprocess.run(pytest, **alone, capture_output=True, text=True, check=False)
        if run.returncode not in {0, 1} or not results.exists():
            raise RuntimeError(f"pytest ended with {run.returncode}\n{run.stdout}\n{run.stderr}")
        return json.loads(results.read_text(encoding="utf-8"))


def compare(requests, ours):
    """Compare two runs and return the lines of the report and whether ours is a drop-in.

    Args:
        requests: what run_suite returned for requests itself.
        ours: what it returned for the class in its place.
    """
    lines = []
    both = {"passed": 0, "failed": 0}
    differ = worse = 0
    for test in sorted(requests["outcomes"].keys() | ours["outcomes"].keys()):
        before = requests["outcomes"].get(test, "not run")
        after = ours["outcomes"].get(test, "not run")
        if before == after:
            both[before] = both.get(before, 0) + 1
            if before == "failed":
                lines.append(f"fails in both: {test}")
        else:
            differ += 1
            worse += before == "passed"
            lines.append(f"DIFFERS: {test}: {before} with requests, {after} with {ours['session']}")
            lines += [ours["failures"][test]] if test in ours["failures"] else []
    if both["passed"] < ENOUGH:
        lines.append(f"TOO FEW: only {both['passed']} tests passed in both runs, at least {ENOUGH} are expected")
    counts = ", ".join(f"{number} {outcome}" for outcome, number in both.items())
    lines.append(f"dropin: {counts} in both, {differ} differ")
    return lines, worse == 0 and both["passed"] >= ENOUGH


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="directory for requests' source distribution")
    parser.add_argument("--session", default="aritma_session:AritmaSession", help="the class to try (%(default)s)")
    args = parser.parse_args()

    suite = fetch_suite(args.cache.resolve())
    print(f"dropin: the suite of {suite.name}, once as it is and once with {args.session}, side by side", flush=True)
    with ThreadPoolExecutor() as pool:
        requests, ours = pool.map(lambda session: run_suite(suite, session), ("", args.session))
    for run in (requests, ours):
        print(f"dropin: {len(run['outcomes'])} tests ran with {run['session']}")
    lines, same = compare(requests, ours)
    print(*lines, sep="\n")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
