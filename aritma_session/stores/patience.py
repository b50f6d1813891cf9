"""How long a process waits for a server that many share, before it does without for a while."""

from __future__ import annotations

import math
import time

__all__ = ["Patience"]

#: The share of the bound below which an answer counts as quick, and costs nothing: that of a healthy server, however
#: far away, so that it may be asked as often as somebody waits for a token.
_QUICK = 0.1

#: The share of the bound that may be spent on slow answers before the server counts as gone.
_ENOUGH = 0.5

#: Seconds for which a server that kept us waiting is not asked: doubled from the first to the last while it does.
_FIRST_PAUSE, _LAST_PAUSE = 5.0, 30.0


class Patience:
    """Bound what a process spends on a server that is slow or gone, over everything that it asks of it.

    To find and share one token takes up to five questions, and one answer that does not come in time says enough about
    the others. A refusal at once, such as that of a connection, costs no patience: asking again is free.

    Threads share one object without a lock: where two add at once, one answer more or less is waited for.

    :param bound: seconds that one answer is waited for.
    """

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self._spent = 0.0
        self._until = -math.inf  # monotonic seconds: when what was spent is forgotten
        self._pause = _FIRST_PAUSE

    @property
    def pause(self) -> float:
        """Seconds for which the server is not to be asked; 0 when it may be."""
        return max(0.0, self._until - time.monotonic()) if self._exhausted else 0.0

    def spend(self, seconds: float) -> None:
        """Note what the last answer took, or what was waited for it in vain.

        :param seconds: how long that was.
        """
        now = time.monotonic()
        if seconds < self.bound * _QUICK:
            if self._exhausted and now >= self._until:  # it is back
                self._spent, self._pause = 0.0, _FIRST_PAUSE
            return
        if now >= self._until:
            self._spent, self._until = 0.0, now + _FIRST_PAUSE
        self._spent += seconds
        if self._exhausted:
            self._until = now + self._pause
            self._pause = min(2 * self._pause, _LAST_PAUSE)

    @property
    def _exhausted(self) -> bool:
        return self._spent >= self.bound * _ENOUGH
