"""The contract that every :class:`~aritma_session.TokenStore` keeps, as tests: for whoever writes a store to run.

A subclass gives the store, new and empty for each test, by a fixture of pytest's; no more is needed::

    import pytest
    from aritma_session.stores.contract import SharedStoreContract

    class TestMyStore(SharedStoreContract):
        @pytest.fixture
        def store(self):
            return MyStore(...)

A store whose tokens stay within one process is held to :class:`StoreContract` instead. What fails says more if pytest
rewrites this module's assertions: write ``pytest.register_assert_rewrite("aritma_session.stores.contract")`` into
``conftest.py``, above everything that imports it.
"""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ..tokens import Token
from . import TokenStore

__all__ = ["SharedStoreContract", "StoreContract"]

KEY, OTHER_KEY = "0123456789abcdef", "fedcba"


def token(text: str, age: float = 0.0, **fields: Any) -> Token:
    """Make a token that was obtained so many seconds ago and lives for an hour in all."""
    now = time.time()
    return Token(text, now - age, now - age + 3600.5, **fields)


class StoreContract:
    """Hold a store to its contract within one process."""

    def test_is_a_store(self, store: TokenStore) -> None:
        """It has the methods."""
        assert isinstance(store, TokenStore)

    def test_has_nothing_at_first(self, store: TokenStore) -> None:
        """What nobody saved is a miss."""
        assert store.load(KEY) is None

    @pytest.mark.parametrize(
        ("text", "fields"),
        [
            ("plain", {}),
            ("a.b-c_d~e+f/g==", {"scope": "one two", "on_probation": True, "renewal_tried_at": 12.25}),
            ("refreshable", {"refresh_token": "re fresh"}),
            ("l" * 8000, {}),
        ],
        ids=["plain", "whole", "refreshable", "long"],
    )
    def test_gives_back_what_was_saved(self, store: TokenStore, text: str, fields: dict[str, Any]) -> None:
        """Every field comes back as it was."""
        saved = token(text, 10.5, **fields)
        store.save(KEY, saved)
        assert store.load(KEY) == saved

    def test_keeps_the_last_of_two(self, store: TokenStore) -> None:
        """A newer token takes the place of the older one."""
        first, second = token("first", 5), token("second")
        store.save(KEY, first)
        store.save(KEY, second)
        assert store.load(KEY) == second

    def test_keeps_what_is_noted_about_a_token(self, store: TokenStore) -> None:
        """A token that was obtained at the same time is the same token, with something noted about it."""
        first = token("first").on_trial()
        store.save(KEY, first)
        store.save(KEY, first.accepted())
        assert store.load(KEY) == first.accepted()

    def test_keeps_what_the_holder_of_the_lock_saves(self, store: TokenStore) -> None:
        """Whoever holds the lock knows what is there, and what is better, even where the clocks of hosts differ."""
        store.save(KEY, token("of-a-clock-that-is-ahead", -500))
        better = token("better")
        with store.lock(KEY) as held:
            assert held
            store.save(KEY, better)
        assert store.load(KEY) == better

    def test_keeps_keys_apart(self, store: TokenStore) -> None:
        """Each key has a token of its own."""
        one, other = token("one"), token("other")
        store.save(KEY, one)
        store.save(OTHER_KEY, other)
        assert (store.load(KEY), store.load(OTHER_KEY)) == (one, other)

    def test_keeps_a_refresh_token_beyond_the_access_token(self, store: TokenStore) -> None:
        """It is what the next access token is asked for with."""
        expired = token("expired", 7200, refresh_token="refresh")
        store.save(KEY, expired)
        assert store.load(KEY) == expired

    def test_has_nothing_that_was_removed(self, store: TokenStore) -> None:
        """It is gone, once or twice removed, and nothing else is."""
        one, other = token("one"), token("other")
        store.save(KEY, one)
        store.save(OTHER_KEY, other)
        store.remove(KEY)
        store.remove(KEY)
        assert (store.load(KEY), store.load(OTHER_KEY)) == (None, other)

    def test_removes_nothing_where_there_never_was_anything(self, store: TokenStore) -> None:
        """To remove nothing is no error."""
        store.remove(KEY)
        assert store.load(KEY) is None

    def test_gives_its_lock_once(self, store: TokenStore) -> None:
        """Each key has a lock of its own; a thread that holds it does not get it again."""
        with store.lock(KEY) as first, store.lock(KEY) as second, store.lock(OTHER_KEY) as other:
            assert (first, second, other) == (True, False, True)

    def test_gives_its_lock_again_after_it_was_let_go(self, store: TokenStore) -> None:
        """To leave the block lets go."""
        for _ in range(2):
            with store.lock(KEY) as held:
                assert held

    def test_lets_go_when_the_holder_fails(self, store: TokenStore) -> None:
        """However the block is left; and the error goes on."""
        with pytest.raises(KeyError), store.lock(KEY):
            raise KeyError
        with store.lock(KEY) as held:
            assert held

    def test_one_who_did_not_get_the_lock_does_not_let_go_of_it(self, store: TokenStore) -> None:
        """Only the holder does."""
        with store.lock(KEY):
            with store.lock(KEY):
                pass
            with store.lock(KEY) as third:
                assert not third

    def test_can_be_read_and_written_by_who_does_not_hold_the_lock(self, store: TokenStore) -> None:
        """The lock is for whoever fetches; nobody else is kept out."""
        saved = token("saved")
        with store.lock(KEY), store.lock(KEY) as second:
            assert not second
            store.save(KEY, saved)
            assert store.load(KEY) == saved

    def test_gives_its_lock_to_one_thread_at_a_time(self, store: TokenStore) -> None:
        """Of many that try, none is inside with another."""
        inside: list[int] = []
        most: list[int] = []

        def work() -> None:
            while len(most) < 40:
                with store.lock(KEY) as held:
                    if held:
                        inside.append(1)
                        most.append(len(inside))
                        inside.pop()

        _in_threads(*[work] * 8)
        assert set(most) == {1}

    def test_can_be_read_while_it_is_written(self, store: TokenStore) -> None:
        """A reader sees one token or the other, whole."""
        tokens = [token(letter * 2000) for letter in "ab"]
        store.save(KEY, tokens[0])
        done = threading.Event()
        seen: list[Token | None] = []

        def write() -> None:
            for number in range(200):
                store.save(KEY, tokens[number % 2].replace(obtained_at=tokens[0].obtained_at))
            done.set()

        def read() -> None:
            while not done.is_set():
                seen.append(store.load(KEY))

        _in_threads(write, read)
        assert {found and found.access_token for found in seen} <= {"a" * 2000, "b" * 2000}

    @pytest.mark.parametrize("how", ["deepcopy", "pickle"])
    def test_a_copy_knows_the_tokens(self, store: TokenStore, how: str) -> None:
        """A session that is copied or pickled takes its store along."""
        saved = token("saved")
        store.save(KEY, saved)
        twin: TokenStore = copy.deepcopy(store) if how == "deepcopy" else pickle.loads(pickle.dumps(store))  # noqa: S301
        assert twin.load(KEY) == saved
        with twin.lock(KEY) as held:
            assert held

    def test_shows_no_token(self, store: TokenStore) -> None:
        """What shows a store is its kind."""
        store.save(KEY, token("never-show-this", refresh_token="nor-this"))
        assert repr(store).startswith(f"{type(store).__name__}(")
        assert "this" not in repr(store)


class SharedStoreContract(StoreContract):
    """Hold a store to its contract between processes too, which are given it in a pickle."""

    #: Seconds after which the lock of a process that was killed is free.
    longest_orphan: float = 30.0

    def test_another_process_finds_the_token_and_minds_the_lock(self, store: TokenStore) -> None:
        """As it is in all processes that are given the same store."""
        saved = token("saved")
        store.save(KEY, saved)
        with store.lock(KEY):
            child, answers = _other_process(store)
            assert answers.recv() == (saved, False)
            answers.send("end")
        child.join()
        assert child.exitcode == 0

    def test_a_process_that_is_killed_lets_go_of_the_lock(self, store: TokenStore) -> None:
        """Soon, and without anybody's help."""
        child, answers = _other_process(store)
        assert answers.recv() == (None, True)
        with store.lock(KEY) as held:
            assert not held
        child.kill()
        child.join()
        deadline = time.monotonic() + self.longest_orphan
        while not held and time.monotonic() < deadline:
            time.sleep(0.02)
            with store.lock(KEY) as held:
                pass
        assert held


def _in_threads(*works: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _other_process(store: TokenStore) -> tuple[Any, Any]:
    """Start a process that tries the store; it tells what it found, and whether it has the lock, and waits."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    child = context.Process(target=_try, args=(store, its), daemon=True)
    child.start()
    its.close()
    return child, mine


def _try(store: TokenStore, answers: Any) -> None:
    found = store.load(KEY)
    with store.lock(KEY) as held:
        answers.send((found, held))
        answers.recv()  # or until this process is killed
