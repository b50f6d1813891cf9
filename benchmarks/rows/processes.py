"""Many processes that are started together with nothing in the cache; the token endpoint takes its time."""

from __future__ import annotations

import json
import os
import tempfile
import time

import children
import measuring

#: Seconds before a token request is answered.
DELAY = 0.05

CALL = """if True:
    import json, os
    from contenders.{module} import cold
    target = json.loads(os.environ["BENCH_TARGET"])
    assert cold(target).get(target["url"]).status_code == 200
    print(0)
"""

MODULES = ["with_requests_oauthlib", "with_authlib", "with_google_auth", "with_requests_oauth2client", "with_msal"]

#: Our own with the token in the cache already: what the same processes cost where there is nothing to fetch.
WARM, WARM_AND_DELAY = "aritma_session, warm", "the same, warm, and the delay"


def measure(bench):
    timed = []
    counts = (1, 10) if bench.quick else (1, 10, 100)
    for count in counts:
        samples = _samples(bench, count)
        goal = (1, 1.1) if count == counts[-1] else (None, None)
        what = f"{count} cold processes" if count > 1 else "1 cold process"
        requests = {name: [found for found, _ in runs] for name, runs in samples.items()}
        seconds = {name: [found for _, found in runs] for name, runs in samples.items()}
        seconds[WARM_AND_DELAY] = [found + DELAY for found in seconds.pop(WARM)]
        title = f"token requests of {what}"
        yield measuring.counted(f"processes-{count}-requests", title, requests, target=goal[0])
        name, title = f"processes-{count}-time", f"time until the last of {what} is done"
        timed.append(measuring.compared(name, title, "s", seconds, peer=WARM_AND_DELAY, target=goal[1]))
    yield from timed


def _samples(bench, count):
    """Ours, in turns with what it is held against; the others fewer times, since they take long."""

    close = {"ours": lambda: run(bench, "ours", count), WARM: lambda: run(bench, "ours", count, warm=True)}
    close["plain"] = lambda: run(bench, "plain", count)
    samples = measuring.in_turns(close, 2 if bench.quick else 3 if count > 10 else 5, warm_up=0)
    peers = {module: lambda module=module: run(bench, module, count) for module in MODULES}
    return bench.named(samples | measuring.in_turns(peers, 1, warm_up=0))


def run(bench, module, count, *, warm=False):
    """How many token requests so many processes make, and the seconds until the last one is done."""
    with tempfile.TemporaryDirectory(dir=bench.home) as directory:
        bench.server.begin()
        target = bench.server.target(os.path.join(directory, "cache"))
        env = {**bench.environment, "BENCH_TARGET": json.dumps(target)}
        code = CALL.format(module=module)
        if warm:
            children.answer(children.python(code, env=env))
        bench.server.begin(token_delay=DELAY)
        began = time.perf_counter()
        processes = [children.python(code, env=env) for _ in range(count)]
        for process in processes:
            children.answer(process)
        return bench.server.counts()["token_requests"], time.perf_counter() - began
