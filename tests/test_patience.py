"""A server that keeps a process waiting is waited for once, and then not for a while."""

from __future__ import annotations

import pytest

from aritma_session.stores import patience as module
from aritma_session.stores.patience import Patience


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def patience(now):
    return Patience(1.0)


def test_is_endless_with_quick_answers(patience):
    for _ in range(10_000):
        patience.spend(0.099)
    assert patience.pause == 0


def test_ends_with_an_answer_that_does_not_come(patience, now):
    patience.spend(1.0)
    assert patience.pause == 5
    now[0] += 4
    assert patience.pause == 1
    now[0] += 1
    assert patience.pause == 0


def test_ends_with_slow_answers(patience):
    patience.spend(0.3)
    assert patience.pause == 0
    patience.spend(0.05)
    patience.spend(0.3)
    assert patience.pause == 5


def test_is_new_after_a_while(patience, now):
    for _ in range(10):
        patience.spend(0.3)
        assert patience.pause == 0
        now[0] += 5


def test_is_shorter_with_a_server_that_stays_away(patience, now):
    pauses = []
    for _ in range(5):
        patience.spend(1.0)
        pauses.append(patience.pause)
        now[0] += patience.pause
    assert pauses == [5, 10, 20, 30, 30]
    patience.spend(0.01)  # it is back
    patience.spend(1.0)
    assert patience.pause == 5


def test_is_not_restored_by_an_answer_of_before(patience):
    """As another thread's may be, which was under way."""
    patience.spend(1.0)
    patience.spend(0.01)
    assert patience.pause == 5
