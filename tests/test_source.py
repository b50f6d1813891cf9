"""The whole policy of when to fetch, without HTTP: a counting ``fetch``, a clock that stands still, real stores."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import logging
import os
import sys
import threading
import time
import weakref

import pytest

from aritma_session import (
    CredentialsRefused,
    FileStore,
    MemoryStore,
    Token,
    TokenEndpointUnavailable,
    TokenError,
    failures,
)
from aritma_session import source as source_module
from aritma_session.source import TokenSource

from helpers import at_once, in_child, said, wait_for

KEY = "0123456789abcdef"


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


class Fetch:
    """Give ``t1``, ``t2``, …; or raise what is put into ``errors``."""

    def __init__(self, clock, lifetime=3600.0):
        self.clock, self.lifetime, self.errors, self.count = clock, lifetime, [], 0

    def __call__(self):
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return Token(f"t{self.count}", self.clock(), self.clock() + self.lifetime)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fetch(clock):
    return Fetch(clock)


@pytest.fixture
def store(cache):
    return FileStore(cache)


@pytest.fixture
def make(fetch, store, clock):
    """Make another source, as another process would have it, on the same store."""

    def maker(**changes):
        return TokenSource(**{"fetch": fetch, "store": store, "key": KEY, "clock": clock, **changes})

    return maker


@pytest.fixture
def source(make):
    return make()


class CountingStore(MemoryStore):
    """A store that counts what is asked of it."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def load(self, key):
        self.calls.append("load")
        return super().load(key)

    def save(self, key, token):
        self.calls.append("save")
        super().save(key, token)

    def lock(self, key):
        self.calls.append("lock")
        return super().lock(key)


class TestWalks:
    def test_a_warm_memory_asks_nobody(self, make, fetch):
        store = CountingStore()
        source = make(store=store)
        source.token()
        store.calls.clear()
        assert source.token().access_token == "t1"
        assert store.calls == []
        assert fetch.count == 1

    def test_a_warm_cache_is_read_without_its_lock(self, make, fetch):
        store = CountingStore()
        make(store=store).token()
        store.calls.clear()
        assert make(store=store).token().access_token == "t1"
        assert store.calls == ["load"]
        assert fetch.count == 1

    def test_a_cold_cache_is_looked_at_again_under_its_lock(self, make):
        store = CountingStore()
        make(store=store).token()
        assert store.calls == ["load", "lock", "load", "save"]

    def test_an_expired_token_is_fetched_anew(self, source, fetch, clock):
        source.token()
        clock.now += 3600 - 61
        assert source.token().access_token == "t1"
        clock.now += 1
        assert source.token().access_token == "t2"
        assert fetch.count == 2

    def test_an_expired_token_of_another_process_is_fetched_anew(self, make, clock):
        make().token()
        source = make()
        assert source.token().access_token == "t1"
        clock.now += 3600
        assert source.token().access_token == "t2"

    def test_a_token_that_came_before_the_search_for_it_began_is_found_in_memory(self, make):
        store = CountingStore()
        source = make(store=store)
        source.token()
        store.calls.clear()
        assert source._find(None).access_token == "t1"  # as by a thread that saw none a moment ago
        assert store.calls == []

    def test_a_refused_token_is_fetched_anew(self, source, fetch):
        assert source.token().access_token == "t1"
        assert source.token(rejected="t1").access_token == "t2"
        assert source.token().access_token == "t2"
        assert fetch.count == 2

    def test_a_refused_token_is_not_taken_from_the_store_again(self, make, store):
        one, two = make(), make()
        one.token()
        two.token()
        assert one.token(rejected="t1").access_token == "t2"
        assert two.token(rejected="t1").access_token == "t2"
        assert store.load(KEY).access_token == "t2"

    def test_a_late_refusal_of_an_old_token_does_not_replace_the_new_one(self, source, fetch):
        source.token()
        source.token(rejected="t1")
        assert source.token(rejected="t1").access_token == "t2"
        assert fetch.count == 2

    def test_a_refused_token_does_not_come_back_from_a_store_that_cannot_be_written(self, source, store, monkeypatch):
        store.save(KEY, Token("t0", 1_000_000.0, 1_003_600.0))
        monkeypatch.setattr(FileStore, "save", lambda *arguments: broken())
        assert source.token().access_token == "t0"
        assert source.token(rejected="t0").access_token == "t1"
        source.accept("t1")
        assert source.token(rejected="t1").access_token == "t2"

    def test_a_token_that_is_issued_again_after_it_was_refused_is_used_again(self, make, clock):
        fetched = []

        def fetch():
            fetched.append(1)
            return Token("same", clock(), clock() + 3600)

        same = make(fetch=fetch)
        assert same.token().access_token == "same"
        assert same.token(rejected="same").access_token == "same"
        same.accept("same")
        assert same.token().access_token == "same"
        assert len(fetched) == 2
        assert same.token(rejected="same").access_token == "same"
        assert same.token(rejected="same") is None
        assert len(fetched) == 3

    def test_a_late_refusal_of_an_expired_token_does_not_replace_the_new_one(self, source, fetch, clock):
        source.token()
        clock.now += 3600
        assert source.token().access_token == "t2"
        assert source.token(rejected="t1").access_token == "t2"
        assert fetch.count == 2

    def test_the_old_token_is_there_until_the_new_one_is(self, make, fetch):
        """So that no other thread finds nothing."""
        seen = []

        def look_and_fetch():
            seen.append(source._token)
            return fetch()

        source = make(fetch=look_and_fetch)
        source.token()
        source.token(rejected="t1")
        assert [token and token.access_token for token in seen] == [None, "t1"]

    def test_a_token_without_any_life_is_fetched_each_time_and_used_once(self, make, clock):
        fetch = Fetch(clock, lifetime=0.0)
        source = make(fetch=fetch)
        assert [source.token().access_token for _ in range(3)] == ["t1", "t2", "t3"]

    def test_a_clock_that_jumps_forward_costs_a_fetch(self, source, clock, fetch):
        source.token()
        clock.now += 86400
        assert source.token().access_token == "t2"
        assert source.token().access_token == "t2"
        assert fetch.count == 2

    def test_a_clock_that_jumps_back_costs_a_refusal(self, source, clock, fetch):
        source.token()
        clock.now -= 86400
        assert source.token().access_token == "t1"
        assert source.token(rejected="t1").access_token == "t2"
        assert fetch.count == 2


class TestStorms:
    def test_a_replacement_that_is_refused_too_is_kept_for_a_while(self, source, fetch, clock):
        source.token()
        source.token(rejected="t1")
        for _ in range(3):
            assert source.token(rejected="t2") is None
            assert source.token().access_token == "t2"
        assert fetch.count == 2
        clock.now += 30
        assert source.token().access_token == "t3"

    def test_a_replacement_of_a_refused_replacement_is_on_probation_too(self, source, fetch, clock):
        source.token()
        source.token(rejected="t1")
        assert source.token(rejected="t2") is None
        clock.now += 30
        assert source.token().access_token == "t3"
        assert source.token(rejected="t3") is None
        assert fetch.count == 3

    def test_the_others_know_that_it_replaced_a_refused_one(self, make, fetch):
        one, two = make(), make()
        one.token()
        one.token(rejected="t1")
        assert two.token().access_token == "t2"
        assert two.token(rejected="t2") is None
        assert fetch.count == 2

    def test_a_replacement_that_was_accepted_is_replaced_at_once(self, source, fetch):
        source.token()
        source.token(rejected="t1")
        source.accept("t2")
        assert source.token(rejected="t2").access_token == "t3"
        assert fetch.count == 3

    def test_the_others_know_that_it_was_accepted(self, make, fetch):
        one, two = make(), make()
        one.token()
        one.token(rejected="t1")
        assert two.token().access_token == "t2"
        one.accept("t2")
        assert two.token(rejected="t2").access_token == "t3"
        assert fetch.count == 3

    def test_an_acceptance_of_any_other_token_means_nothing(self, source, store):
        source.accept("t0")
        source.token()
        source.accept("t1")
        source.token(rejected="t1")
        source.accept("t1")
        assert store.load(KEY).on_probation
        assert source.token(rejected="t2") is None

    def test_an_acceptance_does_not_overwrite_a_newer_token(self, make, store, clock):
        one = make()
        one.token()
        one.token(rejected="t1")
        newer = Token("newer", clock(), clock() + 3600)
        store.save(KEY, newer)
        one.accept("t2")
        assert store.load(KEY) == newer

    def test_an_acceptance_waits_for_nobody_and_is_told_later(self, source, store, fetch):
        source.token()
        source.token(rejected="t1")
        with store.lock(KEY):
            source.accept("t2")
        assert store.load(KEY).on_probation
        source.accept("t2")
        assert not store.load(KEY).on_probation

    def test_an_acceptance_that_the_store_was_not_told_of_counts_here(self, source, store, fetch):
        source.token()
        source.token(rejected="t1")
        with store.lock(KEY):
            source.accept("t2")
        assert source.token(rejected="t2").access_token == "t3"

    def test_an_acceptance_is_told_once(self, make):
        store = CountingStore()
        source = make(store=store)
        source.token()
        source.token(rejected="t1")
        source.accept("t2")
        store.calls.clear()
        source.accept("t2")
        assert store.calls == []

    def test_a_clock_that_was_set_back_does_not_keep_a_refused_replacement(self, source, clock):
        source.token()
        source.token(rejected="t1")
        clock.now -= 86400
        assert source.token(rejected="t2").access_token == "t3"

    def test_remembers_a_limited_number_of_refusals(self, source, clock):
        for number in range(100):
            source.token(rejected=f"old{number}")
        clock.now += 3600
        source.token()
        assert list(source._refused) == [f"old{number}" for number in range(84, 100)]


class TestFailures:
    def test_an_error_reaches_the_caller_and_the_next_call_tries_again(self, source, fetch):
        fetch.errors = [TokenEndpointUnavailable("no answer")]
        with pytest.raises(TokenEndpointUnavailable, match="no answer"):
            source.token()
        assert source.token().access_token == "t2"

    def test_a_refusal_of_the_client_is_remembered_for_a_while(self, source, fetch, monkeypatch):
        now = 0.0
        monkeypatch.setattr(source_module.time, "monotonic", lambda: now)
        fetch.errors = [CredentialsRefused("wrong secret", error="invalid_client") for _ in range(2)]
        seen = []
        for moment in (0.0, 1.0, 29.9):
            now = moment
            with pytest.raises(CredentialsRefused, match="wrong secret") as caught:
                source.token()
            seen.append(caught.value)
        assert fetch.count == 1
        assert len(set(map(id, seen))) == 3
        assert {error.error for error in seen} == {"invalid_client"}
        now = 30.1
        with pytest.raises(CredentialsRefused):
            source.token()
        assert fetch.count == 2

    def test_a_refusal_is_remembered_for_all_who_would_meet_the_same(self, make, fetch):
        fetch.errors = [CredentialsRefused("wrong secret") for _ in range(9)]
        sources = [make(asker="me"), make(asker="me"), make(asker="another"), make(asker="me", key="f00d")]
        sources.append(make(asker="me", store=MemoryStore()))
        for source in sources:
            with pytest.raises(CredentialsRefused):
                source.token()
        assert fetch.count == 4

    def test_a_token_that_is_had_after_all_ends_the_memory_of_a_refusal(self, make, fetch, store, clock):
        one, two = make(asker="me"), make(asker="me")
        fetch.errors = [CredentialsRefused("wrong secret")]
        with pytest.raises(CredentialsRefused):
            one.token()
        two._renew(None)  # as a thread does that had been on its way
        clock.now += 3600
        assert one.token().access_token == "t3"

    def test_refusals_that_are_over_are_forgotten(self, make, fetch, monkeypatch):
        monkeypatch.setattr(failures, "REFUSAL_MEMORY", -1.0)
        fetch.errors = [CredentialsRefused("wrong secret") for _ in range(2)]
        for name in ("one", "two"):
            with pytest.raises(CredentialsRefused):
                make(asker=name).token()
        assert [asker for _, asker in failures._refusals if asker in {"one", "two"}] == ["two"]

    def test_a_store_without_a_hash_will_do(self, make, fetch):
        @dataclasses.dataclass
        class Unhashable(MemoryStore):
            def __post_init__(self):
                super().__init__()

        assert make(store=Unhashable()).token().access_token == "t1"

    def test_an_error_that_is_raised_again_keeps_its_cause(self, source, fetch):
        error = CredentialsRefused("wrong secret")
        error.__cause__ = OSError("why")
        fetch.errors = [error]
        for _ in range(2):
            with pytest.raises(CredentialsRefused) as caught:
                source.token()
            assert str(caught.value.__cause__) == "why"
        assert caught.value is not error

    @pytest.mark.parametrize("kind", [CredentialsRefused, TokenEndpointUnavailable])
    def test_an_error_keeps_nothing_of_its_caller_alive(self, source, fetch, kind):
        class Mine:
            pass

        def call():
            mine = Mine()
            with pytest.raises(TokenError):
                source.token()
            return weakref.ref(mine)

        fetch.errors = [kind("no")]
        mine = call()
        gc.collect()
        assert mine() is None

    def test_a_failed_renewal_is_tried_again_by_the_next_call(self, source, fetch):
        source.token()
        fetch.errors = [TokenError("odd")]
        with pytest.raises(TokenError):
            source.token(rejected="t1")
        assert source.token().access_token == "t3"

    def test_those_who_waited_for_a_request_that_fails_raise_the_same(self, make, clock):
        entered, go = threading.Event(), threading.Event()
        count = []

        def fetch():
            count.append(1)
            entered.set()
            assert go.wait(20)
            raise TokenEndpointUnavailable("no answer")

        class Door:
            """A lock that counts who has come to it."""

            def acquire(self, timeout):
                nonlocal came
                with counting:
                    came += bool(timeout)
                return lock.acquire(timeout=timeout)

            def release(self):
                lock.release()

        came, counting, lock = 0, threading.Lock(), threading.Lock()
        source = make(fetch=fetch)
        source._locks[os.getpid()] = Door()
        errors = []

        def work():
            with pytest.raises(TokenEndpointUnavailable) as caught:
                source.token()
            errors.append(caught.value)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert entered.wait(20)
        wait_for(lambda: came == 7)
        go.set()
        for thread in threads:
            thread.join()
        assert len(set(map(id, errors))) == 8
        assert len(count) == 1


class TestThreads:
    def test_32_cold_threads_make_one_request(self, make, clock):
        fetch = Fetch(clock)
        source = make(fetch=fetch)
        assert at_once(32, lambda: source.token().access_token) == ["t1"] * 32
        assert fetch.count == 1

    def test_32_threads_that_are_refused_make_one_request(self, source, fetch):
        source.token()
        assert at_once(32, lambda: source.token(rejected="t1").access_token) == ["t2"] * 32
        assert fetch.count == 2

    def test_threads_share_a_token_that_no_store_would_keep(self, make, fetch):
        def slow():
            time.sleep(0.2)  # for the others to come to the lock; where they do not, the test says nothing
            return fetch()

        source = make(fetch=slow, store=Broken("load", "save", "lock"))
        assert at_once(8, lambda: source.token().access_token) == ["t1"] * 8

    def test_only_one_thread_goes_on_without_another_process(self, make, store, fetch):
        def slow():
            time.sleep(1)  # longer than another process is waited for, and much shorter than another thread is
            return fetch()

        source = make(fetch=slow, lock_timeout=0.8)
        with store.lock(KEY):
            assert at_once(8, lambda: source.token().access_token) == ["t1"] * 8
        assert fetch.count == 1

    def test_a_thread_that_hangs_is_not_waited_for_for_ever(self, make, clock):
        entered, go = threading.Event(), threading.Event()

        def fetch():
            if not entered.is_set():
                entered.set()
                assert go.wait(20)
            return Token("t", clock(), clock() + 3600)

        source = make(fetch=fetch, store=MemoryStore(), lock_timeout=0.05)
        hanging = threading.Thread(target=source.token)
        hanging.start()
        assert entered.wait(20)
        assert source.token().access_token == "t"
        go.set()
        hanging.join()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_fork_while_another_thread_fetches_leaves_the_child_free(self, make, clock):
        entered, go = threading.Event(), threading.Event()
        parent = os.getpid()

        def fetch():
            if os.getpid() == parent:
                entered.set()
                assert go.wait(20)
            return Token("t", clock(), clock() + 3600)

        source = make(fetch=fetch, store=MemoryStore())
        thread = threading.Thread(target=source.token)
        thread.start()
        assert entered.wait(20)
        assert in_child(lambda: source.token().access_token == "t") == 1
        go.set()
        thread.join()


class TestWaiting:
    def test_waits_for_the_token_and_not_for_the_lock(self, make, store, fetch, clock, monkeypatch):
        tried, lock = threading.Event(), store.lock

        def trying(key):
            tried.set()
            return lock(key)

        one, got = make(), []
        with store.lock(KEY):
            monkeypatch.setattr(store, "lock", trying)
            waiting = threading.Thread(target=lambda: got.append(one.token()))
            waiting.start()
            assert tried.wait(20)  # it has looked, found nothing, and come to the lock
            store.save(KEY, Token("theirs", clock(), clock() + 3600))
            waiting.join(20)
            assert [token.access_token for token in got] == ["theirs"]
        assert fetch.count == 0

    def test_goes_on_alone_where_the_holder_does_not_let_go(self, make, store, fetch, caplog):
        source = make(lock_timeout=0.05)
        with store.lock(KEY), caplog.at_level(logging.WARNING):
            assert source.token().access_token == "t1"
        assert "not waiting longer" in caplog.text
        assert store.load(KEY).access_token == "t1"

    def test_fetches_where_the_holder_let_go_without_a_token(self, make, store, fetch):
        source, got = make(), []
        with store.lock(KEY):
            waiting = threading.Thread(target=lambda: got.append(source.token()))
            waiting.start()
        waiting.join(20)
        assert [token.access_token for token in got] == ["t1"]


def broken(*arguments):
    raise OSError("no space")


class Broken(MemoryStore):
    """A store in which what is named fails."""

    def __init__(self, *names):
        super().__init__()
        self.names = names

    def load(self, key):
        return broken() if "load" in self.names else super().load(key)

    def save(self, key, token):
        return broken() if "save" in self.names else super().save(key, token)

    @contextlib.contextmanager
    def lock(self, key):
        if "lock" in self.names:
            broken()
        with super().lock(key) as held:
            yield held
        if "unlock" in self.names:
            broken()


class TestShortLives:
    def test_one_token_that_lives_for_no_time_serves_all_who_waited_for_it(self, make, clock):
        asked, door = threading.Event(), threading.Event()
        count = []

        def fetch():
            count.append(1)
            asked.set()
            assert door.wait(20)
            return Token(f"t{len(count)}", clock(), clock())

        source, got = make(fetch=fetch), []
        threads = [threading.Thread(target=lambda: got.append(source.token().access_token)) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert asked.wait(20)
        wait_for(lambda: len([frame for frame in sys._current_frames().values() if waits(frame)]) == 8)
        door.set()
        for thread in threads:
            thread.join(20)
        assert got == ["t1"] * 8
        assert source.token().access_token == "t2"

    def test_it_serves_those_too_who_came_at_the_same_tick_of_a_coarse_clock(self, make, clock, monkeypatch):
        now = 5.0
        monkeypatch.setattr(source_module.time, "monotonic", lambda: now)
        source = make(fetch=Fetch(clock, lifetime=0.0))
        assert [source.token().access_token for _ in range(2)] == ["t1", "t1"]
        now = 5.1
        assert source.token().access_token == "t2"


def waits(frame):
    """Whether a thread is amid a search for a token."""
    while frame is not None and not ("_find" in frame.f_code.co_name and "began" in frame.f_locals):
        frame = frame.f_back
    return frame is not None


class TestPauses:
    def test_pauses_grow_to_a_twentieth_of_a_second_and_are_never_quite_the_same(
        self, make, store, monkeypatch, caplog
    ):
        caplog.set_level(logging.INFO)
        pauses = []
        monkeypatch.setattr(source_module.time, "sleep", pauses.append)
        now = iter(range(10**6))
        monkeypatch.setattr(source_module.time, "monotonic", lambda: next(now) * 0.5)
        with store.lock(KEY):
            make(lock_timeout=10.0).token()
        limits = [0.005, 0.01, 0.02, 0.04, *[0.05] * 100][: len(pauses)]
        assert len(pauses) > 10
        assert all(limit / 2 <= pause <= limit for pause, limit in zip(pauses, limits, strict=True))
        assert len(set(pauses)) == len(pauses)
        assert [message for _, message in said(caplog)].count(
            "another process is fetching a token: waiting for it"
        ) == 1

    def test_the_end_of_the_wait_is_no_time_to_pause(self, make, store, monkeypatch):
        monkeypatch.setattr(source_module.time, "sleep", None)
        now = itertools.count(step=10)
        monkeypatch.setattr(source_module.time, "monotonic", lambda: next(now))
        with store.lock(KEY):
            assert make(lock_timeout=10.0).token().access_token == "t1"

    @pytest.mark.parametrize("busy", [False, True])
    def test_a_token_for_a_refused_one_that_only_the_caller_knew_is_on_probation(self, make, store, busy):
        with store.lock(KEY) if busy else contextlib.nullcontext():
            assert make(lock_timeout=0.01).token(rejected="unknown").on_probation

    def test_nobody_waits_to_hear_of_a_token_that_is_not_there(self, make):
        assert not make().probing


class TestAcceptance:
    def test_is_told_again_where_the_store_was_in_trouble(self, make):
        store = Broken()
        source = make(store=store)
        source.token()
        source.token(rejected="t1")
        store.names = ("load",)
        source.accept("t2")
        assert source.probing
        store.names = ()
        source.accept("t2")
        assert not store.load(KEY).on_probation
        assert not source.probing


class TestDiscarding:
    def test_gives_the_token_back_and_the_next_call_fetches_another(self, source, store):
        first = source.token()
        assert source.discard() == ([first, first], True)  # from memory, and from the store
        assert store.load(KEY) is None
        assert source.token().access_token == "t2"

    def test_gives_back_what_the_store_has_too(self, make, clock):
        source, other = make(), make()
        first = source.token()
        second = other.token(rejected=first.access_token)
        assert source.discard() == ([first, second], True)
        assert make().discard() == ([], True)

    def test_uses_none_of_them_again_where_the_store_goes_on_giving_it(self, source, store):
        first = source.token()
        source.discard()
        store.save(KEY, first)
        assert source.token().access_token == "t2"

    def test_waits_for_the_token_of_whoever_is_fetching(self, make, store, clock, monkeypatch):
        source, theirs, pauses = make(lock_timeout=10.0), Token("theirs", clock(), clock() + 3600), []
        with contextlib.ExitStack() as holding:
            assert holding.enter_context(store.lock(KEY))

            def pause(seconds):
                pauses.append(seconds)
                if len(pauses) == 3:
                    store.save(KEY, theirs)
                    holding.close()

            monkeypatch.setattr(source_module.time, "sleep", pause)
            assert source.discard() == ([theirs], True)
        assert pauses == [0.05] * 3
        assert store.load(KEY) is None

    def test_waits_for_no_longer_than_a_call_does(self, make, store, monkeypatch):
        source, pauses = make(lock_timeout=10.0), []
        first = source.token()
        monkeypatch.setattr(source_module.time, "monotonic", lambda: 5.0 * len(pauses))
        monkeypatch.setattr(source_module.time, "sleep", pauses.append)
        with store.lock(KEY):
            assert source.discard() == ([first, first], True)
        assert len(pauses) == 2
        assert store.load(KEY) is None


class TestTheLog:
    def test_says_what_happens_to_the_token_in_one_line_each(self, make, store, clock, caplog):
        first, second = make(), make()
        caplog.set_level(logging.DEBUG)
        first.token()
        second.token()
        first.token(rejected="t1")
        first.token(rejected="t1")
        first.accept("t2")
        assert not first.probing
        second.token(rejected="t1")
        assert said(caplog) == [
            ("INFO", "fetched a token that lives 3600 s"),
            ("INFO", "took over a token from the cache"),
            ("INFO", "a server refused the token"),
            ("INFO", "fetched a token that lives 3600 s"),
            ("INFO", "a server refused the token"),
            ("INFO", "took over a token from the cache"),
        ]

    def test_says_that_others_are_waited_for_and_for_how_long(self, make, store, caplog):
        caplog.set_level(logging.DEBUG)
        with store.lock(KEY):
            make(lock_timeout=0.1).token()
        assert said(caplog) == [
            ("INFO", "another process is fetching a token: waiting for it"),
            ("WARNING", "another process has been fetching a token for 0.1 s: not waiting longer"),
            ("INFO", "fetched a token that lives 3600 s"),
        ]


class TestDegradation:
    @pytest.mark.parametrize("names", [["load"], ["save"], ["lock"], ["unlock"], ["load", "save", "lock"]])
    def test_a_broken_store_breaks_no_request_and_is_told_once(self, make, fetch, clock, caplog, names):
        source = make(store=Broken(*names))
        with caplog.at_level(logging.WARNING):
            assert source.token().access_token == "t1"
            assert source.token(rejected="t1").access_token == "t2"
            source.accept("t2")
            clock.now += 3600
            assert source.token().access_token == "t3"
        what = {"load": "read", "save": "written", "lock": "locked", "unlock": "unlocked"}[names[0]]
        advice = "this process has a token of its own; see cache (ARITMA_CACHE)"
        assert said(caplog) == [("WARNING", f"Broken could not be {what}: OSError: no space: {advice}")]

    @pytest.mark.parametrize("names", [["save", "lock", "load"], ["unlock"]])
    def test_says_it_once_for_as_long_as_it_lasts(self, make, clock, caplog, names):
        store = Broken(*names)
        source = make(store=store)
        with caplog.at_level(logging.WARNING):
            for _ in range(5):
                source.token()
                clock.now += 3600
        assert len(caplog.records) == 1
        store.names = ()
        source.token()
        clock.now += 3600
        store.names = names[:1]
        with caplog.at_level(logging.WARNING):
            source.token()
        assert len(caplog.records) == 2

    def test_errors_of_the_request_are_not_taken_for_the_stores(self, make, fetch):
        fetch.errors = [TokenError("odd answer")]
        with pytest.raises(TokenError, match="odd answer"):
            make(store=Broken("unlock")).token()

    def test_no_log_record_holds_a_token(self, source, caplog):
        secret = source.token().replace(access_token="very-secret-token")
        source._fetch = lambda: secret
        with caplog.at_level(logging.DEBUG):
            source.token(rejected="t1")
            source.accept("very-secret-token")
            source.token(rejected="very-secret-token")
        assert caplog.records
        assert "very-secret" not in caplog.text
