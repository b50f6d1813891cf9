"""A server that keeps a process waiting is waited for once, and then not for a while."""

from __future__ import annotations

import functools
import threading

import pytest

from aritma_session.stores import patience as module
from aritma_session.stores.patience import Late, Patience

from helpers import wait_for


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
        patience.spend(0.25)
    assert patience.pause == 0
    assert patience.left == 0.75


def test_ends_with_an_answer_that_does_not_come(patience, now):
    patience.spend(1.0)
    assert (patience.left, patience.pause) == (0, 5)
    now[0] += 4
    assert patience.pause == 1
    now[0] += 1
    assert (patience.left, patience.pause) == (0.75, 0)


def test_ends_with_slow_answers(patience):
    patience.spend(0.75)
    assert patience.left == 0.25
    patience.spend(0.2)
    assert patience.left == 0.25
    patience.spend(0.5)
    assert patience.pause == 5


def test_is_new_after_a_while(patience, now):
    for _ in range(10):
        patience.spend(0.75)
        assert patience.left == 0.25
        now[0] += 5
        assert patience.left == 0.75


def test_can_be_renewed_while_there_is_some_left(patience):
    for _ in range(10):
        patience.spend(0.75)
        patience.renew()
    assert patience.left == 0.75
    patience.spend(1.0)
    patience.renew()
    assert patience.pause == 5


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


class TestAQuestion:
    def test_has_its_answer_or_its_error(self):
        patience = Patience(20.0)
        assert patience.ask(lambda: 7) == 7
        with pytest.raises(KeyError, match="no"):
            patience.ask(lambda: {}["no"])
        assert patience.left == 15

    def test_is_not_asked_where_none_is_left(self):
        patience, asked = Patience(1.0), []
        patience.spend(1.0)
        with pytest.raises(Late, match="is not asked for 5 s"):
            patience.ask(lambda: asked.append(1))
        assert asked == []

    @pytest.mark.parametrize("fails", [False, True])
    def test_that_has_no_answer_in_time_has_one_too_late(self, fails):
        patience, go, told = Patience(0.1), threading.Event(), []

        def question():
            assert go.wait(20)
            return "answer" if not fails else {}["no"]

        def too_late(answer):
            told.append(answer)
            raise KeyError(answer)  # which nobody is told of

        with pytest.raises(Late, match=r"no answer within 0\.1 s"):
            patience.ask(question, too_late)
        assert patience.pause > 0
        go.set()
        wait_for(lambda: not errands())
        assert told == ([] if fails else ["answer"])

    def test_is_not_asked_where_many_have_no_answer(self):
        """As of a client without timeouts, whose connection leads nowhere."""
        patience, go, asked = Patience(0.02), threading.Event(), []
        for _ in range(8):
            patience._until = 0.0  # the pause is over
            with pytest.raises(Late, match="no answer within"):
                patience.ask(functools.partial(go.wait, 20))
        patience._until = 0.0
        with pytest.raises(Late, match="8 questions to it have had no answer yet"):
            patience.ask(lambda: asked.append(1))
        go.set()
        wait_for(lambda: not errands())
        patience._until = 0.0
        patience.ask(lambda: asked.append(2))
        assert asked == [2]

    def test_that_is_interrupted_has_an_answer_too_late(self, monkeypatch):
        patience, go, told = Patience(20.0), threading.Event(), []

        def interrupt(event, seconds):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            question = functools.partial(go.wait, 20)
            patch.setattr(module._Errand, "_wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                patience.ask(question, told.append)
        go.set()
        wait_for(lambda: not errands())
        assert told == [True]

    def test_is_asked_all_the_same_where_no_thread_can_be_had(self, monkeypatch):
        def refuse(thread):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert Patience(1.0).ask(threading.get_ident) == threading.get_ident()


def errands():
    return [thread for thread in threading.enumerate() if thread.name == "aritma_session errand"]
