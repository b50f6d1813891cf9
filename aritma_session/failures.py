"""Token requests that failed: for the callers that waited for them, or that would make the same ones again."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Hashable
from typing import TYPE_CHECKING

from .values import Value

if TYPE_CHECKING:
    from .exceptions import TokenError

__all__ = ["Failures"]

_log = logging.getLogger("aritma_session")

#: Seconds for which a refusal of the client itself is remembered and raised again without asking.
REFUSAL_MEMORY = 30.0


class _Failure(Value):
    """A token request that failed.

    :param error: what it raised.
    :param at: monotonic seconds, as is what follows.
    :param remembered_until: when it may be tried again by those who did not wait for it.
    """

    __slots__ = ("error", "at", "remembered_until")

    error: TokenError
    at: float
    remembered_until: float

    def __init__(self, error: TokenError, at: float, remembered_until: float) -> None:
        self._set(error=error, at=at, remembered_until=remembered_until)

    def concerns(self, began: float) -> bool:
        """Tell whether a caller who began to wait at this time would only see it happen again."""
        return began <= self.at or began < self.remembered_until


#: Refusals of a client, by who asked: all sources of this process that share a store would meet the same again.
_refusals: dict[Hashable, _Failure] = {}  # each use is one operation on a dict


class Failures:
    """Remember how token requests failed.

    :param asker: who asks, secret included, and where tokens are shared; those of one asker share the memory of a
        refusal of the client. It is kept in memory only.
    """

    def __init__(self, asker: Hashable) -> None:
        self._asker = asker
        self._last: _Failure | None = None

    def concerning(self, began: float) -> TokenError | None:
        """Give the error that a caller would only meet again, anew: one raised in many threads would gather tracebacks.

        :param began: monotonic seconds, read when the caller began to look for a token.
        """
        for failure in (self._last, _refusals.get(self._asker)):
            if failure is not None and failure.concerns(began):
                return _bare(failure.error)
        return None

    def remember(self, error: Exception) -> None:
        """Keep a failure for those who waited for it, and a refusal of the client for whoever would repeat it.

        :param error: what was raised; what is no :class:`TokenError` says nothing about the next try.
        """
        from .exceptions import CredentialsRefused, TokenError  # requests comes with them, and was needed by now

        if not isinstance(error, TokenError):
            return
        _log.info("no token could be had: %s", error)
        error, now = _bare(error), time.monotonic()
        if not isinstance(error, CredentialsRefused):
            self._last = _Failure(error, at=now, remembered_until=now)
            return
        for asker, refusal in list(_refusals.items()):
            if refusal.remembered_until < now:
                _refusals.pop(asker, None)
        _refusals[self._asker] = _Failure(error, at=now, remembered_until=now + REFUSAL_MEMORY)

    def forget(self) -> None:
        """Note that a token request succeeded."""
        self._last = None
        _refusals.pop(self._asker, None)


def _bare(error: TokenError) -> TokenError:
    """Give the same error without its traceback, which would keep alive whatever its callers had at hand."""
    bare = copy.copy(error)
    bare.__cause__ = error.__cause__
    return bare
