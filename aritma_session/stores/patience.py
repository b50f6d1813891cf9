"""How long a process waits for a server that many share, before it does without for a while."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Late", "Patience"]

_T = TypeVar("_T")

#: The share of the bound that each answer may take and cost nothing: many processes that start at once on one machine
#: keep each other waiting longer than a server does, and are to share a token nevertheless.
_FREE = 0.25

#: Seconds after which what was spent on slow answers is forgotten; and for which a server that does not answer is not
#: asked, doubled up to the last one for as long as it does not.
_FIRST_PAUSE, _LAST_PAUSE = 5.0, 30.0

#: Questions that may be without an answer at the same time: a client without timeouts waits for each one's for ever.
_MOST_OPEN = 8


class Late(Exception):
    """Tell that there was no answer in time, or that the server is not asked for a while, since there was none."""


class Patience:
    """Bound what a process spends on a server that is slow or gone, over everything that it asks of it.

    One answer that does not come in time says enough about the others, and slow ones do together. A refusal at once,
    such as that of a connection, costs no patience: asking again is free.

    Threads share one object without a lock: where two add at once, one answer more or less is waited for.

    :param bound: seconds that one answer is waited for, and that a server which gives none costs whoever looks for a
        token. One that answers late each time costs twice that: five answers, the quarter of the bound that each of
        them has free, and the rest of it once.
    """

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self._spent = 0.0
        self._until = -math.inf  # monotonic seconds: when what was spent is forgotten
        self._pause = _FIRST_PAUSE
        self._open: list[_Errand[Any]] = []

    def ask(self, question: Callable[[], _T], too_late: Callable[[_T], object] = lambda _: None) -> _T:
        """Ask the server something in a thread of its own, and give its answer.

        A thread, since a client's timeouts are for single steps: to look up a name, to connect to each of its
        addresses, to authenticate, and for each piece of an answer.

        :param question: what asks; whatever it raises is raised here.
        :param too_late: what is done in that thread with an answer that nobody waits for any more.
        :raises Late: when there is no answer within the time that is left.
        """
        left = self.left
        if not left:
            raise Late(f"it has kept this process waiting, and is not asked for {self.pause:.0f} s")
        self._open = [errand for errand in self._open if errand.under_way]
        if len(self._open) >= _MOST_OPEN:
            raise Late(f"{_MOST_OPEN} questions to it have had no answer yet")
        began = time.monotonic()
        errand = _Errand(question, too_late)
        try:
            return errand.result(left + self.bound * _FREE)
        except Late:
            self._open.append(errand)
            raise
        finally:
            self.spend(time.monotonic() - began)

    @property
    def left(self) -> float:
        """Seconds that slow answers may still take; 0 while the server is not to be asked."""
        spent = self._spent if time.monotonic() < self._until else 0.0
        left = self.bound * (1 - _FREE) - spent
        return left if left > self.bound / 100 else 0.0

    @property
    def pause(self) -> float:
        """Seconds for which the server is not to be asked; 0 when it may be."""
        return 0.0 if self.left else self._until - time.monotonic()

    def spend(self, seconds: float) -> None:
        """Note what the last answer took, or what was waited for it in vain.

        :param seconds: how long that was.
        """
        now = time.monotonic()
        if now >= self._until:
            self._spent = 0.0
        cost = seconds - self.bound * _FREE
        if cost > 0:
            if self._spent == 0:
                self._until = now + _FIRST_PAUSE
            self._spent += cost
            if not self.left:
                self._until = now + self._pause
                self._pause = min(2 * self._pause, _LAST_PAUSE)
        elif self._spent == 0:  # it is well, or well again
            self._pause = _FIRST_PAUSE

    def renew(self) -> None:
        """Forget what was spent: what is waited for next has a bound of its own."""
        if self.left:
            self._spent = 0.0


class _Errand(Generic[_T]):
    """Do something in a thread of its own, and wait for it no longer than one wants to."""

    def __init__(self, work: Callable[[], _T], too_late: Callable[[_T], object]) -> None:
        self._work, self._too_late = work, too_late
        self._over = threading.Event()
        self._guard = threading.Lock()  # guards what follows: whoever is first decides whether it was too late
        self._done: list[_T | Exception] = []
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name="aritma_session errand", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # a process that is ending, or has too many, has no thread to give
            self._run()

    @property
    def under_way(self) -> bool:
        """Whether it is not done yet; in a fork, what its parent does is not."""
        return self._thread.is_alive()

    def result(self, seconds: float) -> _T:
        """Give what came of it.

        :raises Late: when nothing did within these seconds.
        """
        try:
            self._wait(seconds)
        finally:
            with self._guard:
                self._given_up = not self._done
        if self._given_up:
            raise Late(f"no answer within {seconds:.3g} s")
        (done,) = self._done
        if isinstance(done, Exception):
            raise done
        return done

    def _wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _run(self) -> None:
        done: _T | Exception
        try:
            done = self._work()
        except Exception as error:
            done = error
        with self._guard:
            self._done.append(done)
            late = self._given_up
        self._over.set()
        if late and not isinstance(done, Exception):
            with contextlib.suppress(Exception):  # nobody is there to be told
                self._too_late(done)
