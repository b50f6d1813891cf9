"""This library, with the file cache that it has by default, in a directory of the benchmark's."""

import os

from aritma_session import AritmaSession


def warm(_token):
    return AritmaSession("bench-client", "bench-secret-1234", cache=os.environ["BENCH_CACHE"])


def cold(target):
    session = AritmaSession(
        target["client_id"], target["client_secret"], environment=target["issuer"], cache=target["cache"]
    )
    session.verify = target["ca_bundle"]
    return session
