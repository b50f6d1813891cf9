"""What a process keeps for itself once it has made an authorised call from a warm cache."""

from __future__ import annotations

import os

import children
import measuring

#: Linux tells it by the page.
SMAPS = "/proc/self/smaps_rollup"

CALL = """if True:
    from contenders.{module} import warm
    from canned import TOKEN, URL, Canned, mounted
    session = mounted(warm(TOKEN), Canned())
    assert session.get(URL).status_code == 200
    with open("/proc/self/smaps_rollup") as file:
        print(*(line.split()[1] for line in file if line.startswith("Private_Dirty:")))
"""

MODULES = ["plain", "ours", "with_requests_oauthlib", "with_authlib", "with_google_auth", "with_requests_oauth2client"]


def measure(bench):
    name, title, target = "memory", "memory of a process with a warm cache, added", 1.0
    if not os.path.exists(SMAPS):
        yield measuring.Row(name, title, "MiB", {}, target=target, note="skipped: only Linux tells")
        return

    def mebibytes(code):
        return lambda: children.answer(children.python(code, env=bench.environment)) / 1024

    processes = {module: mebibytes(CALL.format(module=module)) for module in MODULES}
    samples = bench.named(measuring.in_turns(processes, 5 if bench.quick else 20))
    yield measuring.compared(
        name, title, "MiB", samples, peer="plain requests", target=target, by=measuring.Figure.difference
    )
