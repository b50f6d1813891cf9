"""Whoever counts is told what happens to tokens, and breaks nothing."""

from __future__ import annotations

import collections
import copy
import logging
import os
import pickle
import threading

import pytest

from aritma_session import AritmaAuth, AritmaSession, CredentialsRefused
from aritma_session.events import EVENTS
from aritma_session.sandbox import Answer

from helpers import said, wait_for


@pytest.fixture
def counting(environ, sandbox):
    """Make sessions that count their events: the session, and its counts."""

    def counting(**changes):
        counts = collections.Counter()
        made = AritmaSession(on_event=lambda event: counts.update([event]), **changes)
        made.verify = sandbox.ca_bundle
        sessions.append(made)
        return made, counts

    sessions = []
    yield counting
    for session in sessions:
        session.close()


def test_a_token_is_fetched_once_and_then_there(counting, echo):
    session, counts = counting()
    for _ in range(3):
        session.get(echo)
    assert counts == {"fetch": 1, "hit": 2}


def test_a_token_of_another_process_is_taken_over(counting, echo):
    counting()[0].get(echo)
    session, counts = counting()
    session.get(echo)
    assert counts == {"adoption": 1}


def test_a_refused_token_is_replaced(counting, sandbox, echo):
    session, counts = counting()
    session.get(echo)
    sandbox.revoke_all()
    session.get(echo)
    assert counts == {"fetch": 2, "hit": 1, "refusal": 1}


def test_who_waits_for_another_process_is_told(counting, echo):
    session, counts = counting()
    settings = session.auth._settings
    with settings.cache.lock(settings.cache_key) as held:
        assert held
        thread = threading.Thread(target=session.get, args=(echo,))
        thread.start()
        wait_for(lambda: counts == {"wait": 1})
    thread.join(20)
    assert counts == {"wait": 1, "fetch": 1}


def test_who_waits_for_another_thread_is_told(counting, echo):
    session, counts = counting()
    with session.auth._source._lock:
        thread = threading.Thread(target=session.get, args=(echo,))
        thread.start()
        wait_for(lambda: counts == {"wait": 1})
    thread.join(20)
    assert counts == {"wait": 1, "fetch": 1}


def test_a_token_that_could_not_be_had_is_told(counting, sandbox, echo):
    session, counts = counting()
    sandbox.answer_token_requests(Answer.error(400, "invalid_client"))
    for _ in range(2):  # the second time it is remembered, and not asked for
        with pytest.raises(CredentialsRefused):
            session.get(echo)
    assert counts == {"failure": 1}


def test_a_cache_that_fails_is_told_once(counting, sandbox, echo, cache):
    session, counts = counting()
    session.get(echo)
    os.chmod(cache / "aritma-session", 0o755)
    for _ in range(2):
        sandbox.revoke_all()
        assert session.get(echo).ok
    assert counts["degradation"] == 1
    assert set(counts) <= set(EVENTS)


def test_what_a_hook_raises_costs_no_call(environ, sandbox, echo, caplog):
    def broken(event):
        raise RuntimeError(event)

    with AritmaSession(on_event=broken) as session:
        session.verify = sandbox.ca_bundle
        assert session.get(echo).ok
    assert ("WARNING", "on_event raised RuntimeError at the event 'fetch'") in said(caplog)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_a_copy_tells_too(environ, again):
    events = []
    twin = again(AritmaAuth(cache="memory", on_event=events.append))
    twin._source._tell("hit")
    assert events == ["hit"]


def test_a_pickle_leaves_the_hook_behind(counting, echo):
    session, counts = counting()
    with pickle.loads(pickle.dumps(session)) as twin:
        assert twin.get(echo).ok
    assert counts == {}


def test_each_event_is_one_line_in_the_log(counting, sandbox, echo, caplog):
    caplog.set_level(logging.INFO)
    counting()[0].get(echo)
    session, _ = counting()
    session.get(echo)
    sandbox.revoke_all()
    session.get(echo)
    assert said(caplog) == [
        ("INFO", "fetched a token that lives 3600 s"),
        ("INFO", "took over a token from the cache"),
        ("INFO", "a server refused the token"),
        ("INFO", "fetched a token that lives 3600 s"),
    ]


def test_a_hook_that_always_raises_is_told_of_once(environ, sandbox, echo, caplog):
    with AritmaSession(on_event=lambda event: 1 / 0) as session:
        session.verify = sandbox.ca_bundle
        for _ in range(3):
            assert session.get(echo).ok
    assert [level for level, message in said(caplog) if "on_event" in message] == ["WARNING"]


def test_a_hook_is_a_function(environ):
    with pytest.raises(ValueError, match=r"^on_event is a function of one argument, not something of type str$"):
        AritmaSession(on_event="print")
