"""Feed the border of the API hosts with URLs that coverage guides; "tox -e fuzz" runs it.

A crash is a URL that is covered and leads anywhere else than to a host and port on the list, over https.
"""

from __future__ import annotations

import os
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["aritma_session.environment", "urllib.parse"]):
    from aritma_session import DEVELOPMENT, PRODUCTION, Environment

from oracles import check_covered

ENVIRONMENTS = [PRODUCTION, DEVELOPMENT, Environment.at("https://[::1]:8443"), Environment.at("https://localhost:8443")]
SEEDS = [
    "https://api.aritma.io/core/iam",
    "HTTPS://bankservicedemo.zdata.no:443?x=1",
    "https://[::1]:8443/a#b",
    "https://user:password@localhost:8443\\@zdata.no/%2e%2e/\u3002",
]


def try_one(data):
    url = data.decode("utf-8", "surrogateescape")
    for environment in ENVIRONMENTS:
        check_covered(environment, url)


def main():
    with tempfile.TemporaryDirectory() as corpus:
        for number, url in enumerate(SEEDS):
            with open(os.path.join(corpus, str(number)), "wb") as file:
                file.write(url.encode())
        atheris.Setup([*sys.argv, corpus], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
