"""What the token costs, counted: operations on files, tries of locks, token requests; times are for benchmarks."""

from __future__ import annotations

import collections
import os
import time

import pytest

from aritma_session import AritmaSession, FileStore, Token
from aritma_session.stores import file, locks

from helpers import at_once, wait_for

KEY = "0123456789abcdef"


@pytest.fixture
def operations(monkeypatch):
    """How often each function of ``os`` that asks the kernel for something is called from now on."""
    counts = collections.Counter()

    def counted(name):
        function = getattr(os, name)

        def call(*arguments, **more):
            counts[name] += 1
            return function(*arguments, **more)

        return call

    for name in ("stat", "lstat", "fstat", "open", "read", "write", "close", "fchmod", "chmod", "mkdir", "makedirs"):
        monkeypatch.setattr(os, name, counted(name))
    for name in ("replace", "unlink", "scandir", "listdir"):
        monkeypatch.setattr(os, name, counted(name))
    return counts


@pytest.fixture
def tries(monkeypatch):
    """The tries of the store's lock from now on."""
    made, function = [], locks.try_lock
    monkeypatch.setattr(file, "try_lock", lambda path: made.append(path) or function(path))
    return made


def test_a_warm_read_of_the_cache_is_five_operations(cache, operations):
    store, now = FileStore(cache), time.time()
    store.save(KEY, Token("token", now, now + 3600))
    operations.clear()
    assert store.load(KEY).access_token == "token"
    assert operations == {"lstat": 1, "open": 1, "fstat": 1, "read": 1, "close": 1}


def test_a_try_of_the_lock_is_six_operations(cache, operations):
    store, now = FileStore(cache), time.time()
    store.save(KEY, Token("token", now, now + 3600))
    with store.lock(KEY):
        pass
    operations.clear()
    with store.lock(KEY) as held:
        assert held
    assert operations == {"lstat": 1, "open": 1, "fstat": 1, "close": 1}  # and flock, twice


def test_a_call_with_the_token_at_hand_asks_the_kernel_for_nothing(session, echo, operations, tries):
    session.get(echo)
    operations.clear()
    tries.clear()
    for _ in range(3):
        assert session.auth.token()
    assert operations == {}
    assert tries == []


def test_a_warm_cache_is_read_without_its_lock(session, sandbox, echo, tries):
    session.get(echo)
    assert len(tries) == 1
    with AritmaSession() as another:
        another.verify = sandbox.ca_bundle
        assert another.get(echo).ok
    assert len(tries) == 1


def test_a_revocation_costs_one_lock_and_one_for_the_acceptance(session, sandbox, echo, tries):
    session.get(echo)
    sandbox.revoke_all()
    tries.clear()
    for _ in range(5):
        assert session.get(echo).ok
    assert len(tries) == 2
    assert sandbox.counts.token_requests == 2


@pytest.mark.parametrize("threads", [1, 8, 32])
def test_threads_that_meet_an_expired_token_cost_one_request_and_one_lock(session, sandbox, echo, tries, threads):
    session.get(echo)
    source = session.auth._source
    source._keep(source._token.replace(expires_at=time.time()))
    settings = session.auth._settings
    settings.cache.save(settings.cache_key, source._token)
    tries.clear()
    assert len(set(at_once(threads, lambda: session.auth.token().access_token))) == 1
    assert len(tries) == 1
    wait_for(lambda: sandbox.counts.token_requests == 2)
