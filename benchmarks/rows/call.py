"""The client's side of one authorised GET: all that is done but for the network."""

from __future__ import annotations

import children
import measuring

#: In one process, so that all have the same interpreter and the same heap; a slice each, in turns.
CALLS = """if True:
    import gc, importlib, json, os, sys, time
    import canned, measuring

    modules, rounds, calls = sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3])

    class Checked(canned.Canned):
        def send(self, request, **options):
            assert request.headers["Authorization"] == f"Bearer {canned.TOKEN}"
            return super().send(request, **options)

    def contender(module, trust_env):
        session = importlib.import_module(f"contenders.{module}").warm(canned.TOKEN)
        session.trust_env = trust_env
        assert canned.mounted(session, Checked()).get(canned.URL).json() == {}
        canned.mounted(session, canned.Canned())

        def slice_of_calls(get=session.get, url=canned.URL):
            gc.collect()
            began = time.perf_counter_ns()
            for _ in range(calls):
                get(url)
            return (time.perf_counter_ns() - began) / calls / 1e9

        return slice_of_calls

    trust_env = sys.argv[4] == "trusting"
    slices = {module: contender(module, trust_env) for module in modules}
    gc.collect()
    gc.freeze()  # so that the collections between the slices are short
    print(json.dumps(measuring.in_turns(slices, rounds, warm_up=3)))
"""

#: Few, so that most slices are over before another program is given their CPU.
CALLS_OF_A_SLICE = 20

PEERS = ["plain", "ours", "with_requests_oauthlib", "with_authlib", "with_google_auth", "with_requests_oauth2client"]


def measure(bench):
    processes, rounds = (1, 60) if bench.quick else (5, 150)
    for name, measure_, trust, target in (
        ("call", "client's time of one authorised GET", "trusting", 0.95),
        ("call-apart", "the same with trust_env=False", "apart", None),
    ):
        samples = {module: [] for module in PEERS}
        for _ in range(processes if target else max(1, processes // 2)):
            process = children.python(CALLS, ",".join(PEERS), rounds, CALLS_OF_A_SLICE, trust, env=bench.environment)
            for module, found in children.answer(process).items():
                samples[module] += found
        yield measuring.compared(name, measure_, "s", bench.named(samples), peer="plain requests", target=target)
