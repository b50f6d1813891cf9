"""A pytest plugin: put another class in the place of requests.Session, keep the tests at home, write down outcomes.

It is loaded with ``-p``, so that its work is done before any test, conftest or other plugin has imported a name from
requests. Two environment variables tell it what to do: ``DROPIN_SESSION`` names the class as ``module:attribute``
(empty: leave requests as it is), ``DROPIN_RESULTS`` the JSON file for the outcomes.
"""

import errno
import importlib
import ipaddress
import json
import os
import socket
from pathlib import Path
from unittest import mock

import requests
import requests.sessions

OUTCOMES = {}
FAILURES = {}

_real_connect = socket.socket.connect
_real_connect_ex = socket.socket.connect_ex
_real_getaddrinfo = socket.getaddrinfo


def session_class():
    """Return the class that the tests are to meet as requests.Session."""
    wanted = os.environ["DROPIN_SESSION"]
    if not wanted:
        return requests.Session
    module, _, attribute = wanted.partition(":")
    return getattr(importlib.import_module(module), attribute)


def substitute(cls):
    """Put cls where requests.Session is; requests.session() and requests.api look it up there on every call."""
    requests.Session = requests.sessions.Session = cls


def assert_substituted(cls):
    """Raise AssertionError unless every way to a session, of those that requests has, leads to cls itself."""
    assert cls is requests.Session is requests.sessions.Session
    for make in (requests.Session, requests.session, requests.sessions.Session, requests.sessions.session):
        with make() as session:
            assert type(session) is cls, f"{make} makes a {type(session)}"
    with mock.patch.object(cls, "request", autospec=True) as request:
        requests.get("http://localhost/")
    assert type(request.call_args.args[0]) is cls, "requests.get() uses another session"


def at_home(host):
    """Say whether host is this machine; a name that only a resolver could know is not.

    Raises:
        socket.gaierror: for such a name, as where there is no network.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if host in {"", "localhost"}:
            return True
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    return address.is_loopback or address.is_unspecified


def getaddrinfo(host, *args, **kwargs):
    """Resolve addresses and this machine's name, and nothing that would ask a server."""
    if isinstance(host, str):
        at_home(host)
    return _real_getaddrinfo(host, *args, **kwargs)


def connect(self, address):
    """Connect within this machine; any other address is one that never answers, without the wait for it."""
    if isinstance(address, tuple) and not at_home(address[0]):
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    return _real_connect(self, address)


def connect_ex(self, address):
    """Connect as connect does, and return the error's number."""
    if isinstance(address, tuple) and not at_home(address[0]):
        return errno.ETIMEDOUT
    return _real_connect_ex(self, address)


def pytest_sessionstart():
    assert_substituted(SESSION)


def pytest_runtest_logreport(report):
    if report.failed:
        outcome = "failed"
        FAILURES.setdefault(report.nodeid, report.longreprtext)
    elif hasattr(report, "wasxfail"):
        outcome = "xfailed" if report.skipped else "xpassed"
    else:
        outcome = report.outcome
    # Of a test's three phases the call decides, unless another one went wrong: then that one does.
    decides = report.when == "call" or outcome != "passed"
    if decides and OUTCOMES.get(report.nodeid) != "failed":
        OUTCOMES[report.nodeid] = outcome


def pytest_sessionfinish():
    # A test that puts the original back and forgets it would make the rest a comparison of requests with itself.
    assert_substituted(SESSION)
    results = {
        "session": f"{SESSION.__module__}.{SESSION.__qualname__}",
        "outcomes": OUTCOMES,
        "failures": FAILURES,
    }
    Path(os.environ["DROPIN_RESULTS"]).write_text(json.dumps(results), encoding="utf-8")


socket.getaddrinfo = getaddrinfo
socket.socket.connect = connect
socket.socket.connect_ex = connect_ex
SESSION = session_class()
substitute(SESSION)
