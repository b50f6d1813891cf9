"""Many threads of one process that find the token expired at the same moment."""

from __future__ import annotations

import json
import os
import tempfile
import time

import children
import measuring

#: Seconds before a token request is answered; seconds that the first token lives, and that are waited for its end.
DELAY, LIFETIME, PAST = 0.05, 1, 1.2

THREADS = """if True:
    import json, os, sys, threading, time
    from concurrent.futures import ThreadPoolExecutor
    from contenders.{module} import cold
    target, count = json.loads(os.environ["BENCH_TARGET"]), int(sys.argv[1])
    session, barrier = cold(target), threading.Barrier(count)
    session.get(target["url"])  # however slow the machine is, and whether or not the token is still good then
    print("ready", flush=True)
    sys.stdin.readline()

    def call(_):
        barrier.wait()
        began = time.perf_counter()
        try:
            good = session.get(target["url"]).status_code == 200
        except Exception:
            good = False
        return began, time.perf_counter(), good

    with ThreadPoolExecutor(count) as pool:
        calls = list(pool.map(call, range(count)))
    began, ended, good = zip(*calls)
    print(json.dumps([max(ended) - min(began), good.count(False)]))
"""

MODULES = ["ours", "plain", "with_requests_oauthlib", "with_authlib", "with_google_auth", "with_requests_oauth2client"]


def measure(bench):
    timed = []
    for count in (1, 32) if bench.quick else (1, 8, 32, 128):
        runs = {module: lambda module=module, count=count: run(bench, module, count) for module in MODULES}
        samples = bench.named(measuring.in_turns(runs, 1 if bench.quick else 2, warm_up=0))
        what = f"{count} threads" if count > 1 else "1 thread"
        for number, name in enumerate(("token requests", "failed calls")):
            found = {contender: [results[number] for results in each] for contender, each in samples.items()}
            goal = (1, 0)[number] if count == 32 else None
            slug = f"threads-{count}-{name.split()[-1]}"
            yield measuring.counted(slug, f"{name} of {what}, expired token", found, target=goal)
        seconds = {contender: [results[2] for results in each] for contender, each in samples.items()}
        slug, title = f"threads-{count}-time", f"time of {what}, expired token"
        timed.append(measuring.compared(slug, title, "s", seconds, peer="plain requests", target=None))
    yield from timed


def run(bench, module, count):
    """Token requests, failed calls and seconds of so many threads, whose token has just expired."""
    with tempfile.TemporaryDirectory(dir=bench.home) as directory:
        bench.server.begin()
        target = {**bench.server.target(os.path.join(directory, "cache")), "leeway": 0}
        # The one that never renews is given a token that lives; all others meet the end of theirs.
        bench.server.begin(token_lifetime=LIFETIME)
        env = {**bench.environment, "BENCH_TARGET": json.dumps(target)}
        process = children.python(THREADS.format(module=module), count, env=env)
        if process.stdout.readline() != "ready\n":
            children.answer(process)
        time.sleep(PAST)  # no condition to wait for: it is time that makes a token expire
        bench.server.begin(token_delay=DELAY)
        process.stdin.write("go\n")
        process.stdin.flush()
        seconds, failed = children.answer(process)
        return bench.server.counts()["token_requests"], failed, seconds
