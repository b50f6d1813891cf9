"""Renewal ahead: while a token ages, one thread of one process renews it behind everybody's back."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading
import weakref

import pytest

from aritma_session import (
    AritmaSession,
    CredentialsRefused,
    FileStore,
    MemoryStore,
    Token,
    TokenEndpointUnavailable,
    TokenError,
    background,
    failures,
)
from aritma_session.sandbox import Answer
from aritma_session.source import TokenSource

from helpers import at_once, in_child, results, said, wait_for

KEY = "0123456789abcdef"

#: Seconds into the life of a token of an hour at which every source renews it ahead, whatever its jitter.
AGED = 3600 * 0.83


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


class Endpoint:
    """Give ``t1``, ``t2``, …, once the door is open; or raise what is put into ``errors``."""

    def __init__(self, clock):
        self.clock, self.errors, self.count = clock, [], 0
        self.door, self.entered = threading.Event(), threading.Event()
        self.door.set()

    def __call__(self):
        self.count += 1
        text = f"t{self.count}"
        self.entered.set()
        assert self.door.wait(20)
        if self.errors:
            raise self.errors.pop(0)
        return Token(text, self.clock(), self.clock() + 3600)

    def shut(self):
        self.door.clear()
        self.entered.clear()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def endpoint(clock):
    endpoint = Endpoint(clock)
    yield endpoint
    endpoint.door.set()
    settle()


@pytest.fixture
def store(cache):
    return FileStore(cache)


@pytest.fixture
def make(endpoint, store, clock):
    """Make another source, as another process would have it, on the same store."""

    def maker(**changes):
        return TokenSource(**{"fetch": endpoint, "store": store, "key": KEY, "clock": clock, **changes})

    return maker


@pytest.fixture
def aged(make, clock):
    """A source whose token is to be renewed ahead."""
    source = make()
    source.token()
    clock.now += AGED
    return source


def settle():
    """Wait until nothing is under way in the background."""
    wait_for(lambda: not background._threads)


def renewed(source):
    """The token that a source gives, once what it began is done."""
    source.token()
    settle()
    return source.token().access_token


class TestWhen:
    def test_a_token_is_used_until_it_ages_without_a_thought(self, aged, clock, endpoint):
        clock.now -= 3600 * 0.04
        assert renewed(aged) == "t1"
        assert endpoint.count == 1

    def test_an_ageing_token_is_used_at_once_and_renewed(self, aged, endpoint, store):
        endpoint.shut()
        assert aged.token().access_token == "t1"
        assert endpoint.entered.wait(20)
        assert aged.token().access_token == "t1"
        endpoint.door.set()
        settle()
        assert aged.token().access_token == "t2"
        assert store.load(KEY).access_token == "t2"
        assert endpoint.count == 2

    def test_begins_at_its_moment_and_no_later(self, aged, clock):
        clock.now = aged._renewal_at(aged._token)
        assert renewed(aged) == "t2"

    def test_a_process_that_finds_an_ageing_token_in_the_store_renews_it(self, aged, make, endpoint):
        another = make()
        assert another.token().access_token == "t1"
        settle()
        assert another.token().access_token == "t2"
        assert endpoint.count == 2

    def test_all_who_share_a_token_begin_at_one_moment_and_each_token_has_its_own(self, make, clock):
        def begins(text):
            source = make()
            source._keep(Token(text, clock(), clock() + 3600))
            return source._current[1] - clock()

        moments = [begins(text) for text in ("t1", "t2", "t3")]
        assert moments == [begins(text) for text in ("t1", "t2", "t3")]
        assert len(set(moments)) == 3
        assert all(2880 <= moment <= 2952 for moment in moments)
        assert max(moments) > 2880 + 18  # all of the fiftieth is used, and not a part of it alone

    def test_a_token_that_was_just_fetched_is_not_renewed_however_short_it_lives(self, make, clock):
        fetched = []

        def fetch():
            fetched.append(1)
            return Token("t", clock(), clock())

        make(fetch=fetch).token()
        settle()
        assert len(fetched) == 1

    def test_threads_begin_one_renewal(self, aged, endpoint):
        endpoint.shut()
        assert at_once(32, lambda: aged.token().access_token) == ["t1"] * 32
        endpoint.door.set()
        settle()
        assert aged.token().access_token == "t2"
        assert endpoint.count == 2

    def test_a_thread_that_comes_after_the_renewal_begins_none(self, aged, endpoint):
        old = aged._token
        assert renewed(aged) == "t2"
        aged._renew_ahead(old)
        settle()
        assert endpoint.count == 2

    def test_asks_the_store_for_its_lock_once_and_for_nothing_while_under_way(self, clock, endpoint, make):
        calls = []

        class Counting(MemoryStore):
            def load(self, key):
                calls.append("load")
                return super().load(key)

            def save(self, key, token):
                calls.append("save")
                super().save(key, token)

            def lock(self, key):
                calls.append("lock")
                return super().lock(key)

        source = make(store=Counting())
        source.token()
        clock.now += AGED
        calls.clear()
        endpoint.shut()
        source.token()
        assert endpoint.entered.wait(20)
        assert calls == ["lock", "load", "save"]  # the last one is the mark that keeps the others from trying
        for _ in range(10):
            source.token()
        assert calls == ["lock", "load", "save"]
        endpoint.door.set()
        settle()
        assert calls == ["lock", "load", "save", "save"]


class TestManyProcesses:
    def test_the_others_go_on_while_one_renews_and_find_its_token_in_the_end(self, aged, make, endpoint, clock):
        others = [make() for _ in range(4)]
        endpoint.shut()
        aged.token()
        assert endpoint.entered.wait(20)
        for other in others:
            assert other.token().access_token == "t1"
        endpoint.door.set()
        settle()
        clock.now += 3600 * 0.16
        assert [other.token().access_token for other in others] == ["t2"] * 4
        assert endpoint.count == 2

    def test_one_that_was_renewed_by_another_is_taken_over(self, aged, make, endpoint):
        another = make()
        another.token()
        settle()
        assert renewed(aged) == "t2"
        assert endpoint.count == 2

    def test_a_try_that_was_cut_off_is_repeated_by_nobody_for_a_while(self, aged, make, store, clock, endpoint):
        store.save(KEY, store.load(KEY).tried(clock()))  # as a process that is killed in the middle leaves it
        for seconds in (0, 90, 89):
            clock.now += seconds
            assert [renewed(source) for source in (aged, make(), make())] == ["t1"] * 3
        assert endpoint.count == 1
        clock.now += 2
        assert renewed(make()) == "t2"

    def test_one_that_failed_is_repeated_by_nobody_for_a_while(self, aged, make, clock, endpoint):
        endpoint.errors = [TokenEndpointUnavailable("no answer")]
        assert renewed(aged) == "t1"
        clock.now += 179
        assert [renewed(source) for source in (aged, make(), make())] == ["t1"] * 3
        assert endpoint.count == 2
        clock.now += 2
        assert renewed(make()) == "t3"

    def test_the_pause_is_half_a_minute_where_a_life_is_short(self, make, store, clock, endpoint):
        store.save(KEY, Token("t0", clock(), clock() + 300).tried(clock() + 250))
        clock.now += 279
        assert renewed(make()) == "t0"
        clock.now += 2
        assert renewed(make()) == "t1"

    def test_a_clock_that_was_set_back_since_the_last_try_does_not_put_off_the_next(self, aged, make, store, clock):
        store.save(KEY, store.load(KEY).tried(clock() + 86400))
        assert renewed(make()) == "t2"

    def test_the_one_that_holds_the_lock_is_not_waited_for(self, aged, store, endpoint):
        with store.lock(KEY):
            assert renewed(aged) == "t1"
        assert endpoint.count == 1


class TestFailures:
    @pytest.mark.parametrize("error", [TokenEndpointUnavailable("no answer"), CredentialsRefused("no"), OSError("odd")])
    def test_a_failure_is_silent_and_tried_again_after_a_pause(self, aged, endpoint, clock, error, caplog):
        endpoint.errors = [error]
        with caplog.at_level(logging.INFO):
            assert renewed(aged) == "t1"
            clock.now += 179
            assert renewed(aged) == "t1"
        assert endpoint.count == 2
        assert said(caplog)[-1] == ("INFO", f"the token could not be renewed ahead: {type(error).__name__}")
        assert {level for level, _ in said(caplog)} == {"INFO"}
        clock.now += 2
        failures._refusals.clear()  # by another clock, half a minute has not passed
        assert renewed(aged) == "t3"

    def test_a_refusal_of_the_client_is_not_asked_for_again(self, make, endpoint, clock):
        sources = [make(asker="client") for _ in range(10)]
        sources[0].token()
        clock.now += AGED
        endpoint.errors = [CredentialsRefused("no")] * 10
        for _ in range(2):
            assert [renewed(source) for source in sources] == ["t1"] * 10
            clock.now += 181
        assert endpoint.count == 2

    def test_a_store_that_cannot_keep_the_mark_is_no_reason_for_many_tries(self, make, endpoint, clock, monkeypatch):
        make().token()
        clock.now += AGED
        with monkeypatch.context() as patched:
            patched.setattr(FileStore, "save", lambda *arguments: no_store())
            assert [renewed(make()) for _ in range(5)] == ["t1"] * 5
        assert endpoint.count == 1
        assert renewed(make()) == "t2"

    def test_a_token_that_a_person_took_away_is_not_put_back(self, aged, make, store, endpoint):
        os.unlink(store._path(KEY))
        endpoint.errors = [TokenEndpointUnavailable("no answer")]
        assert renewed(aged) == "t1"
        assert store.load(KEY) is None
        assert make().token().access_token == "t3"

    def test_an_interrupt_before_the_thread_begins_lets_go(self, aged, monkeypatch):
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", lambda self: interrupt())
            with pytest.raises(KeyboardInterrupt):
                aged.token()
        assert not aged._lock.locked()

    def test_a_lock_that_is_held_elsewhere_is_tried_once_in_a_while(self, aged, store, endpoint, clock, monkeypatch):
        tries, lock = [], store.lock
        with store.lock(KEY):
            monkeypatch.setattr(store, "lock", lambda key: tries.append(key) or lock(key), raising=False)
            for _ in range(5):
                assert renewed(aged) == "t1"
        assert len(tries) == 1

    def test_nobody_waits_for_the_lock_of_threads_to_renew_ahead(self, aged):
        class Lock:
            def acquire(self, **how):
                assert how == {"timeout": 0}
                return False

        aged._locks[os.getpid()] = Lock()
        assert aged.token().access_token == "t1"

    def test_a_good_token_is_given_without_a_search(self, aged, clock, monkeypatch):
        settle()
        monkeypatch.setattr(aged, "_find", None)
        assert aged.token(rejected="another").access_token == "t1"

    def test_an_interrupt_as_the_thread_begins_lets_go_of_nothing_twice(self, aged, endpoint, monkeypatch, clock):
        start = threading.Thread.start

        def interrupted(thread):
            start(thread)
            settle()
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                aged.token()
        assert aged.token().access_token == "t2"
        assert not aged._lock.locked()

    def test_a_failure_reaches_those_who_need_a_token_and_waited_for_it(self, aged, endpoint, clock):
        endpoint.shut()
        endpoint.errors = [TokenEndpointUnavailable("no answer")]
        aged.token()
        assert endpoint.entered.wait(20)
        clock.now += 3600
        with waiting(aged) as got:
            endpoint.door.set()
        assert [str(error) for error in got] == ["no answer"]
        assert endpoint.count == 2

    def test_where_no_thread_is_to_be_had_the_token_is_used(self, aged, endpoint, monkeypatch, clock):
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", lambda self: no_thread())
            assert aged.token().access_token == "t1"
            assert aged.token().access_token == "t1"
        assert endpoint.count == 1
        assert not background._threads
        clock.now += 3600
        assert aged.token().access_token == "t2"

    def test_a_store_that_fails_costs_a_token_of_ones_own(self, aged, endpoint, monkeypatch, caplog):
        for name in ("load", "save", "lock"):
            monkeypatch.setattr(FileStore, name, lambda *arguments: no_store())
        assert renewed(aged) == "t2"
        assert [record.levelname for record in caplog.records] == ["WARNING"]


class TestMeanwhile:
    @pytest.mark.parametrize("broken", [False, True], ids=["a store that works", "a store that fails"])
    def test_whoever_needs_a_token_waits_for_the_renewal(self, aged, endpoint, clock, broken, monkeypatch):
        if broken:
            for name in ("load", "save", "lock"):
                monkeypatch.setattr(FileStore, name, lambda *arguments: no_store())
        endpoint.shut()
        aged.token()
        assert endpoint.entered.wait(20)
        clock.now += 3600
        with waiting(aged) as got:
            endpoint.door.set()
        assert got[0].access_token == "t2"
        assert endpoint.count == 2

    def test_whoever_is_refused_waits_for_the_renewal(self, aged, endpoint):
        endpoint.shut()
        aged.token()
        assert endpoint.entered.wait(20)
        with waiting(aged, rejected="t1") as got:
            endpoint.door.set()
        assert got[0].access_token == "t2"
        assert got[0].on_probation
        assert endpoint.count == 2

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_fork_in_the_middle_does_no_harm(self, make, clock, endpoint):
        store = MemoryStore()
        source = make(store=store)
        source.token()
        clock.now += AGED
        endpoint.shut()
        source.token()
        assert endpoint.entered.wait(20)

        def child():
            old = source.token().access_token
            endpoint.door.set()
            clock.now += 3600
            return [old, source.token().access_token] == ["t1", "t3"]

        assert in_child(child) == 1
        endpoint.door.set()
        settle()
        assert source.token().access_token == "t2"

    def test_what_a_token_request_leans_on_is_held_for_as_long(self, make, clock, endpoint):
        class Lender:
            pass

        lender = Lender()
        seen = weakref.ref(lender)
        source = make(lender=seen)
        source.token()
        clock.now += AGED
        endpoint.shut()
        source.token()
        assert endpoint.entered.wait(20)
        del lender
        gc.collect()
        assert seen() is not None
        endpoint.door.set()
        settle()
        gc.collect()
        assert seen() is None


class TestTheEndOfAProcess:
    #: Make a call with a token that is to be renewed ahead, and leave.
    BRIEF = """if True:
        import json, sys
        from aritma_session import AritmaSession
        with AritmaSession() as session:
            status = session.get(sys.argv[1], timeout=30).status_code
        print(json.dumps(status), flush=True)
    """

    @pytest.fixture
    def ageing(self, environ, sandbox, echo):
        """Keep a token in the cache that is good and to be renewed ahead."""
        with AritmaSession() as session:
            session.verify = sandbox.ca_bundle
            session.get(echo)
            settings = session.auth._settings
            token = settings.cache.load(settings.cache_key)
            settings.cache.save(settings.cache_key, token.replace(obtained_at=token.obtained_at - 9 * token.lifetime))
        return lambda: settings.cache.load(settings.cache_key)

    def test_a_renewal_is_given_a_moment_to_finish(self, ageing, sandbox, echo, start):
        old = ageing().access_token
        sandbox.token_delay = 0.3
        assert results([start(self.BRIEF, echo)]) == [200]
        assert sandbox.counts.token_requests == 2
        assert ageing().access_token != old

    def test_a_renewal_that_takes_too_long_is_cut_off_and_not_begun_again(self, ageing, sandbox, echo, start):
        old = ageing()
        sandbox.answer_token_requests(Answer.trickle(60))
        for _ in range(3):
            assert results([start(self.BRIEF, echo)], seconds=20) == [200]
        assert sandbox.counts.token_requests == 2
        assert ageing() == old.tried(ageing().renewal_tried_at)
        assert ageing().renewal_tried_at is not None

    def test_many_processes_that_find_an_ageing_token_renew_it_once(self, ageing, sandbox, echo, start):
        sandbox.token_delay = 0.3
        assert results([start(self.BRIEF, echo) for _ in range(8)]) == [200] * 8
        assert sandbox.counts.token_requests == 2

    def test_a_session_that_is_gone_lends_its_settings_to_the_end(self, ageing, sandbox, echo, monkeypatch):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        sandbox.token_delay = 0.3

        def work():
            session = AritmaSession()
            session.verify = sandbox.ca_bundle
            return session.get(echo).status_code

        old = ageing().access_token
        assert work() == 200
        gc.collect()
        settle()
        assert ageing().access_token != old

    def test_a_session_that_is_gone_before_its_thread_begins_lends_its_settings_too(
        self, ageing, sandbox, echo, monkeypatch
    ):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        begun = []
        monkeypatch.setattr(background, "start", lambda work, **_: begun.append(work) or True)

        def work():
            session = AritmaSession()
            session.verify = sandbox.ca_bundle
            return session.get(echo).status_code

        old = ageing().access_token
        assert work() == 200
        gc.collect()
        begun.pop()()
        assert ageing().access_token != old


@contextlib.contextmanager
def waiting(source, **arguments):
    """Let a thread ask for a token, which it cannot have yet; what it was given, or what was raised."""
    came, got, lock = threading.Event(), [], source._locks[os.getpid()]

    class Door:
        def acquire(self, timeout):
            if timeout:
                came.set()
            return lock.acquire(timeout=timeout)

        def release(self):
            lock.release()

    def work():
        try:
            got.append(source.token(**arguments))
        except TokenError as error:
            got.append(error)

    source._locks[os.getpid()] = Door()
    thread = threading.Thread(target=work)
    thread.start()
    assert came.wait(20)
    yield got
    thread.join(20)


def no_thread():
    raise RuntimeError("can't start new thread")


def no_store():
    raise OSError("no space")


def interrupt():
    raise KeyboardInterrupt


def test_a_renewal_that_must_not_be_cut_off_is_waited_for_at_the_end(start):
    code = """if True:
        import threading
        from aritma_session import background
        def work():
            threading.Event().wait(2 * background.LAST_MOMENT)
            print(1, flush=True)
        assert background.start(work, whole=True)
    """
    assert results([start(code)]) == [1]
