"""A warm read of the file cache, with all its checks, against the least that reads the same file."""

from __future__ import annotations

import children
import measuring

READS = """if True:
    import gc, glob, json, os, sys, time
    from aritma_session import FileStore
    import canned, measuring
    rounds, reads = map(int, sys.argv[1:])
    (path,) = glob.glob(os.path.join(os.environ["BENCH_CACHE"], "aritma-session", "*.json"))
    store, key = FileStore(os.path.dirname(path)), os.path.basename(path).removesuffix(".json")

    def least():
        with open(path) as file:
            return json.loads(file.read())

    assert store.load(key).access_token == least()["access_token"] == canned.TOKEN

    def slice_of(read):
        def timed():
            gc.collect()
            began = time.perf_counter_ns()
            for _ in range(reads):
                read()
            return (time.perf_counter_ns() - began) / reads / 1e9
        return timed

    slices = {"aritma_session": slice_of(lambda: store.load(key)), "open, read, json.loads": slice_of(least)}
    gc.freeze()
    print(json.dumps(measuring.in_turns(slices, rounds, warm_up=3)))
"""


def measure(bench):
    rounds, processes = (60, 1) if bench.quick else (150, 5)
    samples = {}
    for _ in range(processes):
        for name, found in children.answer(children.python(READS, rounds, 50, env=bench.environment)).items():
            samples.setdefault(name, []).extend(found)
    peer = "open, read, json.loads"
    yield measuring.compared("store", "a warm read of the file cache", "s", samples, peer=peer, target=5)
