"""When to fetch a token, and when to use the one that is there.

One predicate rules everything: a token is good that is present, fresh, and not one that was refused. In the order of
their cost, the places to find one are this object's memory, the store, another process that is fetching one, and the
token endpoint. This module knows no HTTP: it is given a ``fetch`` that makes one token request and a
:class:`~aritma_session.stores.TokenStore`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import overload

from .exceptions import CredentialsRefused, TokenError
from .stores import TokenStore
from .tokens import Token

__all__ = ["TokenSource"]

_log = logging.getLogger("aritma_session")

#: Seconds to wait for whoever else is fetching, thread or process, before going on without them.
LOCK_TIMEOUT = 30.0

#: How much longer a thread waits for another one of its process.
_FOR_THREADS = 4

#: Seconds for which a refusal of the client itself is remembered and raised again without asking.
REFUSAL_MEMORY = 30.0

#: Seconds between two looks at the store while another process fetches; the pause doubles from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 0.005, 0.05

#: How many of the refused tokens are remembered, in case one comes back from a store that cannot be written to.
_REMEMBERED = 16


@dataclasses.dataclass(frozen=True)
class _Failure:
    """A token request that failed, for the callers that waited for it, or that would make the same one again."""

    error: TokenError
    at: float  # monotonic seconds, as is all that follows
    remembered_until: float

    def concerns(self, began: float) -> bool:
        """Tell whether a caller who began to wait at this time would only see it happen again."""
        return began <= self.at or began < self.remembered_until

    def again(self) -> TokenError:
        """Give the error anew: one exception object raised in many threads would gather all their tracebacks."""
        return _bare(self.error)


#: Refusals of a client, by who asked: all sources of this process that share a store would meet the same again.
_refusals: dict[Hashable, _Failure] = {}  # each use is one operation on a dict


class TokenSource:
    """Give the current access token, fetched at most once for all who share the store.

    Any number of threads may call one source. A source that is in use while its process forks goes on working in both.

    :param fetch: makes one token request; returns a :class:`Token` or raises a :class:`TokenError`.
    :param store: where the token is shared; what goes wrong there is logged, and never keeps a token from a caller.
    :param key: what the token is saved under.
    :param lock_timeout: seconds to wait for another process that is fetching, before going on without it; for another
        thread, four times as long.
    :param clock: gives seconds since the epoch.
    :param asker: who ``fetch`` asks as, secret included; sources of one asker, store and key share the memory of a
        refusal of the client. It is kept in memory only.
    """

    def __init__(
        self,
        fetch: Callable[[], Token],
        store: TokenStore,
        key: str,
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        clock: Callable[[], float] = time.time,
        asker: Hashable = None,
    ) -> None:
        self._fetch = fetch
        self._store = store
        self._key = key
        self._lock_timeout = lock_timeout
        self._clock = clock
        # Read without a lock by every request: an immutable value, swapped in a single assignment, and never cleared.
        self._token: Token | None = None
        self._refused: dict[str, None] = {}  # a set that keeps its order; each use is one operation on a dict
        self._untold: str | None = None  # the token whose acceptance the store has not been told of yet
        self._failure: _Failure | None = None
        self._asker = (key, asker, _identity(store))
        self._troubles: set[str] = set()  # what the store last failed to do; each use is one operation on a set
        # By process: a lock that was held at a fork stays held in the child.
        self._locks: dict[int, threading.Lock] = {}

    @overload
    def token(self, rejected: None = None) -> Token: ...

    @overload
    def token(self, rejected: str) -> Token | None: ...

    def token(self, rejected: str | None = None) -> Token | None:
        """Give a good token; fetch one only where nobody else has or is about to.

        :param rejected: the text of a token that a server has just refused.
        :returns: a token; after a refusal ``None``, where the refused token is too new to be replaced.
        :raises TokenError: when no token could be had. Callers that waited for the same token request raise the same.
        """
        token = self._token
        if rejected is None and self._good(token):
            return token
        if rejected is not None and rejected not in self._refused:
            _log.info("a server refused the token")
            self._refused[rejected] = None
        return self._good(token) or self._find(rejected)

    def accept(self, text: str) -> None:
        """Note that a server has taken a token: its probation, if it was on one, is over, for all processes.

        :param text: the text of the token.
        """
        token = self._token
        if token is None or token.access_token != text or not (token.on_probation or self._untold == text):
            return
        # A newer token that another thread puts here at this very moment is found again in the store.
        self._token, self._untold = token.accepted(), text
        with self._lock_of_processes() as held:
            if not held:  # somebody is looking for a token: the others are told after the next answer
                return
            self._untold = None
            stored = self._load()
            if stored is not None and stored.access_token == text and stored.on_probation:
                self._save(stored.accepted())

    def _good(self, token: Token | None) -> Token | None:
        """Give the token back if it is present, fresh, and not a refused one: the predicate that rules everything."""
        good = token is not None and token.fresh(self._clock()) and token.access_token not in self._refused
        return token if good else None

    def _find(self, rejected: str | None) -> Token | None:
        """Walk the places where a token may be, from the nearest to the token endpoint."""
        began = time.monotonic()
        with self._lock_of_threads():
            if found := self._good(self._token) or self._look():
                return found
            if (token := self._token) and token.access_token in self._refused and token.irreplaceable(self._clock()):
                return None if rejected is not None else token
            for failure in (self._failure, _refusals.get(self._asker)):
                if failure is not None and failure.concerns(began):
                    raise failure.again()
            return self._fetch_or_wait(rejected, deadline=began + self._lock_timeout)

    def _look(self) -> Token | None:
        """Look into the store, and take over what is good there."""
        stored = self._load()
        if self._good(stored):
            _log.info("took over a token from the cache")
            self._token = stored
            return stored
        if stored and self._token and stored.access_token == self._token.access_token and not stored.on_probation:
            self._token = stored  # another process has had it accepted
        return None

    def _fetch_or_wait(self, rejected: str | None, deadline: float) -> Token:
        """Be the one process that fetches, or wait for the token of the one that does: the token, not its lock."""
        pause = _FIRST_PAUSE
        while True:
            with self._lock_of_processes() as held:
                if held:
                    return self._look() or self._renew(rejected)
            if time.monotonic() >= deadline:
                _log.warning(
                    "another process has been fetching a token for %g s: not waiting longer", self._lock_timeout
                )
                return self._renew(rejected)
            if pause == _FIRST_PAUSE:
                _log.info("another process is fetching a token: waiting for it")
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, _LAST_PAUSE)
            if found := self._look():
                return found

    def _renew(self, rejected: str | None) -> Token:
        """Fetch a token, keep it and share it."""
        try:
            token = self._fetch()
        except TokenError as error:
            _log.info("no token could be had: %s", error)
            self._remember(error)
            raise
        if rejected is not None or (self._token and self._token.access_token in self._refused):
            token = token.on_trial()
        _log.info("fetched a token that lives %g s", token.lifetime)
        # A server that issues the same text again vouches for it anew.
        for text in (token.access_token, *list(self._refused)[:-_REMEMBERED]):
            self._refused.pop(text, None)
        self._failure, self._token = None, token
        _refusals.pop(self._asker, None)
        self._save(token)
        return token

    def _remember(self, error: TokenError) -> None:
        """Keep a failure for those who waited for it, and a refusal of the client for whoever would repeat it."""
        error, now = _bare(error), time.monotonic()
        if not isinstance(error, CredentialsRefused):
            self._failure = _Failure(error, at=now, remembered_until=now)
            return
        for asker, refusal in list(_refusals.items()):
            if refusal.remembered_until < now:
                _refusals.pop(asker, None)
        _refusals[self._asker] = _Failure(error, at=now, remembered_until=now + REFUSAL_MEMORY)

    @contextlib.contextmanager
    def _lock_of_threads(self) -> Iterator[None]:
        """Keep this process' other threads waiting, within the bound.

        It is longer than that for other processes: a thread that goes on without those does it for all, and may be
        told by the token endpoint to pause.
        """
        lock = self._locks.setdefault(os.getpid(), threading.Lock())
        held = lock.acquire(timeout=_FOR_THREADS * self._lock_timeout)
        try:
            yield
        finally:
            if held:
                lock.release()

    @contextlib.contextmanager
    def _lock_of_processes(self) -> Iterator[bool]:
        """Try the store's lock once; a store that has none to give leaves nobody to wait for."""
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

    def _load(self) -> Token | None:
        try:
            token = self._store.load(self._key)
        except Exception as error:
            self._degrade("read", error)
            return None
        self._troubles.discard("read")
        return token

    def _save(self, token: Token) -> None:
        try:
            self._store.save(self._key, token)
        except Exception as error:
            self._degrade("written", error)
        else:
            self._troubles.discard("written")

    def _degrade(self, what: str, error: Exception) -> None:
        """Say once that the cache is of no use; whatever a store raises, it never breaks a request."""
        level = logging.DEBUG if self._troubles else logging.WARNING
        self._troubles.add(what)
        name = type(self._store).__name__
        advice = "this process has a token of its own; see cache (ARITMA_CACHE)"
        _log.log(level, "%s could not be %s: %s: %s: %s", name, what, type(error).__name__, error, advice)


def _bare(error: TokenError) -> TokenError:
    """Give the same error without its traceback, which would keep alive whatever its callers had at hand."""
    bare = copy.copy(error)
    bare.__cause__ = error.__cause__
    return bare


def _identity(store: TokenStore) -> int:
    """Tell stores apart as they do themselves, without keeping them alive."""
    try:
        return hash(store)
    except TypeError:  # a store of the user's that has no hash
        return id(store)
