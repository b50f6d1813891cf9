"""All tokens are revoked while several processes are calling."""

from __future__ import annotations

import json
import os
import tempfile
import time

import children
import measuring

PROCESSES, CALLS = 8, 50

#: Calls of all processes together after which the tokens are revoked.
REVOKED_AFTER = 100

CALL = """if True:
    import json, os, sys
    from contenders.{module} import cold
    target, calls = json.loads(os.environ["BENCH_TARGET"]), int(sys.argv[1])
    session = cold(target)
    assert session.get(target["url"]).status_code == 200
    print("ready", flush=True)
    sys.stdin.readline()
    statuses = [session.get(target["url"]).status_code for _ in range(calls)]
    print(json.dumps(calls - statuses.count(200)))
"""

MODULES = ["ours", "with_google_auth"]

#: Those that leave a 401 to their caller, and so lose all further calls.
MORE = ["with_requests_oauthlib", "with_authlib", "with_requests_oauth2client", "with_msal"]


def measure(bench):
    modules = MODULES if bench.quick else MODULES + MORE
    runs = {module: lambda module=module: run(bench, module) for module in modules}
    samples = bench.named(measuring.in_turns(runs, 1 if bench.quick else 2, warm_up=0))
    what = f"{PROCESSES} processes with {CALLS} calls each, token revoked"
    for number, name in enumerate(("token requests", "failed calls")):
        found = {contender: [run_[number] for run_ in runs_] for contender, runs_ in samples.items()}
        slug = f"revocation-{name.split()[-1]}"
        yield measuring.counted(slug, f"{name} of {what}", found, target=(1, 0)[number])


def run(bench, module):
    """Token requests after a revocation, and calls that failed."""
    with tempfile.TemporaryDirectory(dir=bench.home) as directory:
        bench.server.begin()
        target = bench.server.target(os.path.join(directory, "cache"))
        env = {**bench.environment, "BENCH_TARGET": json.dumps(target)}
        processes = [children.python(CALL.format(module=module), CALLS, env=env) for _ in range(PROCESSES)]
        for process in processes:
            if process.stdout.readline() != "ready\n":
                children.answer(process)
        bench.server.begin()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        while bench.server.counts()["calls"] < REVOKED_AFTER:
            time.sleep(0.002)
        bench.server.revoke_all()
        failed = sum(children.answer(process) for process in processes)
        return bench.server.counts()["token_requests"], failed
