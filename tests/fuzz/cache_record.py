"""Feed the reader of the cache file with bytes that coverage guides; "tox -e fuzz" runs it.

A crash is any exception, and any token that does not stand in the bytes. The arguments are libFuzzer's.
"""

from __future__ import annotations

import os
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["aritma_session", "json"]):
    from aritma_session import FileStore, Token

from oracles import check_loaded

KEY = "0123456789abcdef"
SEEDS = [
    Token("t", 0.0, 0.0),
    Token("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", 1_000_000.0, 1_003_600.5, "bankservice api"),
    Token("c2ln==", -1.5, 1e300, "\u00f8 \U0001f511", on_probation=True, renewal_tried_at=1_000_000.5),
]
#: What is not the version 1, though Python says that it is equal.
VERSIONS = [b"true", b"1.0"]


def main():
    with tempfile.TemporaryDirectory() as folder:
        corpus, store = os.path.join(folder, "corpus"), FileStore(os.path.join(folder, "cache"))
        path = os.path.join(store.directory, f"{KEY}.json")
        os.mkdir(corpus)
        for number, token in enumerate(SEEDS):  # the product's own writer makes them
            store.save(KEY, token)
            os.link(path, os.path.join(corpus, str(number)))
        with open(path, "rb") as written:
            good = written.read()
        for version in VERSIONS:
            with open(os.path.join(corpus, version.decode()), "wb") as other:
                other.write(good.replace(b'"version": 1', b'"version": ' + version))
        os.unlink(path)
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)

        def try_one(data):
            os.ftruncate(file, 0)
            os.pwrite(file, data, 0)
            check_loaded(data, KEY, store.load(KEY))

        atheris.Setup([*sys.argv, corpus], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
