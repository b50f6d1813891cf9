"""Forks keep out of what must not be cut in two; those in the middle of a real import stand in ``test_faults.py``."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from aritma_session import forks
from aritma_session.forks import unforked

from helpers import in_child

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning"),
]


def enter():
    with unforked():
        return 1


def enter_in_time():
    signal.alarm(10)
    return enter()


@pytest.fixture
def endless():
    """An import in another thread that lasts as long as the test."""
    entered, go = threading.Event(), threading.Event()

    def work():
        with unforked():
            entered.set()
            go.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(20)
    yield
    go.set()
    thread.join()


def test_a_fork_waits_for_an_import_within_a_bound_and_leaves_the_child_free(endless, monkeypatch):
    monkeypatch.setattr(forks, "_LONGEST_WAIT", 0.05)
    assert in_child(enter_in_time) == 1
    assert in_child(lambda: in_child(enter_in_time)) == 1


def test_a_fork_in_the_middle_of_an_import_of_its_own_waits_for_nobody():
    with unforked():
        assert in_child(enter) == 1
    assert in_child(enter) == 1


def test_a_fork_leaves_the_parents_other_threads_free():
    assert in_child(enter) == 1
    entered = []
    thread = threading.Thread(target=lambda: entered.append(enter()), daemon=True)
    thread.start()
    thread.join(20)
    assert entered == [1]
