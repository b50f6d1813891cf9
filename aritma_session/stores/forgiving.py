"""A store that never breaks a request, whatever happens to it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..tokens import Token
    from . import TokenStore

__all__ = ["ForgivingStore"]

_log = logging.getLogger("aritma_session")


class ForgivingStore:
    """Use one key of a store that may fail: what goes wrong is told once in the log, and never raised.

    :param store: the store.
    :param key: what the token is saved under.
    :param tell: is called when something goes wrong that was in order before.
    """

    def __init__(self, store: TokenStore, key: str, tell: Callable[[], object] = lambda: None) -> None:
        self._tell = tell
        self._store = store
        self._key = key
        self._troubles: set[str] = set()  # what the store last failed to do; each use is one operation on a set

    @property
    def identity(self) -> Hashable:
        """What tells stores and keys apart, as the stores do themselves, without keeping them alive."""
        try:
            return hash(self._store), self._key
        except TypeError:  # a store of the user's that has no hash
            return id(self._store), self._key

    @property
    def troubled(self) -> bool:
        """Whether something that the store was asked for last has failed."""
        return bool(self._troubles)

    def failed_to(self, what: str) -> bool:
        """Tell whether the store could not be, say, ``read``, when that was last asked of it."""
        return what in self._troubles

    def load(self) -> Token | None:
        """Give the token that is there; ``None`` where there is none, or the store fails."""
        try:
            token = self._store.load(self._key)
        except Exception as error:
            self._degrade("read", error)
            return None
        self._troubles.discard("read")
        return token

    def save(self, token: Token) -> bool:
        """Keep the token, and tell whether the store could."""
        try:
            self._store.save(self._key, token)
        except Exception as error:
            self._degrade("written", error)
            return False
        self._troubles.discard("written")
        return True

    def remove(self) -> bool:
        """Keep no token any more, and tell whether the store could do without."""
        try:
            self._store.remove(self._key)
        except Exception as error:
            self._degrade("cleared", error)
            return False
        self._troubles.discard("cleared")
        return True

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Try the store's lock once; one that has none to give leaves nobody to wait for, and counts as held."""
        manager = None
        try:
            manager = self._store.lock(self._key)
            held = manager.__enter__()
        except Exception as error:
            self._degrade("locked", error)
            manager, held = None, True
        else:
            self._troubles.discard("locked")
        try:
            yield held
        finally:
            if manager is not None:
                self._let_go(manager)

    def _let_go(self, manager: contextlib.AbstractContextManager[bool]) -> None:
        try:
            manager.__exit__(None, None, None)
        except Exception as error:
            self._degrade("unlocked", error)
        else:
            self._troubles.discard("unlocked")

    def _degrade(self, what: str, error: Exception) -> None:
        known, level = bool(self._troubles), logging.DEBUG if self._troubles else logging.WARNING
        self._troubles.add(what)
        if not known:
            self._tell()
        name = type(self._store).__name__
        advice = "this process has a token of its own; see cache (ARITMA_CACHE)"
        _log.log(level, "%s could not be %s: %s: %s: %s", name, what, type(error).__name__, error, advice)
