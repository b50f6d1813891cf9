"""How long single calls take while tokens are renewed, one after the other without a pause."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile

import children
import measuring

#: Seconds: of a token's life, before a token request is answered, of a slice.
LIFETIME, DELAY, SLICE = 3, 0.3, 5.0

#: A process stays for all of its slices; in each, the first call, which has to find a token, does not count.
CALLS = """if True:
    import gc, json, os, sys, time
    from contenders.{module} import cold
    target = json.loads(os.environ["BENCH_TARGET"])
    session, clock = cold(target), time.perf_counter
    for line in sys.stdin:
        session.get(target["url"])
        gc.collect()
        calls, failed, began = [], 0, clock()
        while (start := clock() - began) < float(line):
            failed += session.get(target["url"]).status_code != 200
            calls.append((start, clock() - began - start))
        print(json.dumps([failed, calls]), flush=True)
"""

#: google-auth is not among them: it will not use a token that has less than 3 min 45 s to live.
PEERS = ["with_requests_oauthlib", "with_authlib", "with_requests_oauth2client"]

#: There and back, so that what drifts does so for both.
ORDER = ["plain", "ours", "ours", "plain", "plain", "ours", "ours", "plain"]

#: Seconds of a point in the plot, which shows the longest call in each.
POINT = 0.02


def measure(bench):
    order = ORDER[:2] if bench.quick else ORDER + PEERS + PEERS[::-1]
    slices = {}
    with tempfile.TemporaryDirectory(dir=bench.home) as directory, contextlib.ExitStack() as stack:
        bench.server.begin()
        target = {**bench.server.target(os.path.join(directory, "cache")), "leeway": LIFETIME / 10}
        bench.server.begin(token_lifetime=LIFETIME, token_delay=DELAY)
        env = {**bench.environment, "BENCH_TARGET": json.dumps(target)}
        clients = {}
        for module in dict.fromkeys(order):
            clients[module] = children.python(CALLS.format(module=module), env=env)
            stack.enter_context(clients[module])
            stack.callback(clients[module].stdin.close)
        for module in order:
            slices.setdefault(module, []).append(_slice(clients[module]))
    failed = bench.named({module: [found[0] for found in runs] for module, runs in slices.items()})
    calls = {module: [[took for _, took in found[1]] for found in runs] for module, runs in slices.items()}
    bench.series["latency"] = bench.named({module: _points(runs[0][1]) for module, runs in slices.items()})
    yield measuring.counted("latency-failed", "failed calls while tokens are renewed", failed, target=0)
    waited = bench.named({module: [_waited(times) for times in runs] for module, runs in calls.items()})
    title = f"calls of a slice that took over {DELAY * 500:g} ms while tokens are renewed"
    yield measuring.counted("latency-waited", title, waited, target=None)
    for name, title, of, goal in (
        ("latency-median", "median latency while tokens are renewed", lambda times: _share(times, 0.5), None),
        ("latency-p99.9", "p99.9 of the latency while tokens are renewed", lambda times: _share(times, 0.999), 1.1),
        ("latency-longest", "longest call while tokens are renewed", max, None),
    ):
        yield _row(name, title, of, goal, bench.named(calls))


def _slice(client):
    client.stdin.write(f"{SLICE}\n")
    client.stdin.flush()
    return json.loads(client.stdout.readline())


def _row(name, title, of, target, calls):
    """Make the row of something that all slices say together; beside it, the slices that differ most."""
    values = {}
    for contender, runs in calls.items():
        each = [of(times) for times in runs]
        values[contender] = measuring.Figure(of([took for times in runs for took in times]), min(each), max(each))
    pairs = zip(calls["aritma_session"], calls["plain requests"], strict=True)
    within = [of(mine) / of(plain) for mine, plain in pairs]
    whole = values["aritma_session"].median / values["plain requests"].median
    result = measuring.Figure(whole, min(within), max(within))
    return measuring.Row(name, title, "s", values, "plain requests", result, target)


def _waited(times):
    """How many calls took half as long as a token request, or longer: few enough for p99.9 not to see them."""
    return sum(took > DELAY / 2 for took in times)


def _share(times, share):
    """The time that so large a share of the calls did not exceed."""
    return sorted(times)[min(int(len(times) * share), len(times) - 1)]


def _points(calls):
    longest = {}
    for start, took in calls:
        point = int(start / POINT)
        longest[point] = max(took, longest.get(point, 0.0))
    return [[round(point * POINT, 3), round(took, 6)] for point, took in sorted(longest.items())]
