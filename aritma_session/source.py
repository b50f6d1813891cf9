"""When to fetch a token, and when to use the one that is there.

One predicate rules everything: a token is good that is present, fresh, and not one that was refused. In the order of
their cost, the places to find one are this object's memory, the store, another process that is fetching one, and the
token endpoint. A good token that is late in its life is used at once, and renewed behind everybody's back. This module
knows no HTTP: it is given a ``fetch`` that makes one token request and a :class:`~aritma_session.stores.TokenStore`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import overload

from . import background
from .failures import Failures
from .stores import TokenStore
from .stores.forgiving import ForgivingStore
from .tokens import Token

__all__ = ["TokenSource"]

_log = logging.getLogger("aritma_session")

#: Seconds to wait for whoever else is fetching, thread or process, before going on without them.
LOCK_TIMEOUT = 30.0

#: How much longer a thread waits for another one of its process.
_FOR_THREADS = 4

#: Seconds between two looks at the store while another process fetches; the pause doubles from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 0.005, 0.05

#: How many of the refused tokens are remembered, in case one comes back from a store that cannot be written to.
_REMEMBERED = 16

#: The share of a token's life over which the processes of many hosts spread their renewals ahead.
_JITTER = 0.02


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
    :param lender: gives what ``fetch`` leans on and does not keep alive itself; it is held while a token is renewed in
        the background.
    :param refresh: makes one token request with the refresh token of the token that it is given; raises a
        :class:`LoginRequired` where that is good for nothing any more. Without it, no refresh token is used.
    :param on_event: is told what happens, in the words of :data:`~aritma_session.events.EVENTS`; it raises nothing.
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
        lender: Callable[[], object] = lambda: None,
        refresh: Callable[[Token], Token] | None = None,
        on_event: Callable[[str], object] | None = None,
    ) -> None:
        self._fetch = fetch
        self._refresh = refresh
        self._on_event = on_event
        self._store = ForgivingStore(store, key, lambda: self._tell("degradation"))
        self._lock_timeout = lock_timeout
        self._clock = clock
        self._lender = lender
        # The token, and the time until which there is nothing to think about. Read without a lock by every request: an
        # immutable pair, swapped in a single assignment, and cleared only with `discard`.
        self._current: tuple[Token | None, float] = (None, -math.inf)
        self._refused: dict[str, None] = {}  # a set that keeps its order; each use is one operation on a dict
        self._ended: str | None = None  # the refresh token that was refused last, in case the store goes on giving it
        self._untold: str | None = None  # the token whose acceptance the store has not been told of yet
        self._failures = Failures((self._store.identity, asker))
        self._done_at = -math.inf  # monotonic seconds: when the last token request of this object's succeeded
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
        token, until = self._current
        if rejected is None and token and self._clock() < until and token.access_token not in self._refused:
            if self._on_event is not None:
                self._on_event("hit")
            return token
        if rejected is not None and rejected not in self._refused:
            _log.info("a server refused the token")
            self._tell("refusal")
            self._refused[rejected] = None
        found = self._good(token) or self._find(rejected)
        if found:
            self._renew_ahead(found)
        return found

    @property
    def probing(self) -> bool:
        """Whether anybody waits to hear that the token was accepted."""
        token, _ = self._current
        return self._untold is not None or (token is not None and token.on_probation)

    def accept(self, text: str) -> None:
        """Note that a server has taken a token: its probation, if it was on one, is over, for all processes.

        :param text: the text of the token.
        """
        token = self._token
        if token is None or token.access_token != text or not (token.on_probation or self._untold == text):
            return
        # A newer token that another thread puts here at this very moment is found again in the store.
        self._keep(token.accepted())
        self._untold = text
        with self._store.lock() as held:
            if not held:  # somebody is looking for a token: the others are told after the next answer
                return
            stored = self._store.load()
            if stored is not None and stored.access_token == text and stored.on_probation:
                self._store.save(stored.accepted())
            if self._untold == text and not self._store.troubled:
                self._untold = None

    def discard(self) -> tuple[list[Token], bool]:
        """Give up the token, in this object and in the store; the next call fetches another.

        :returns: the tokens that were there, to be revoked; and whether the store has none any more.
        """
        deadline = time.monotonic() + self._lock_timeout
        with self._lock_of_threads():
            while True:
                with self._store.lock() as held:
                    if held or time.monotonic() >= deadline:
                        return self._discard()
                time.sleep(_LAST_PAUSE)  # whoever fetches would put their token in the place of what is given up

    def _discard(self) -> tuple[list[Token], bool]:
        found = [token for token in (self._token, self._store.load()) if token is not None]
        for token in found:
            self._refused[token.access_token] = None
        self._current = None, -math.inf
        read = not self._store.failed_to("read")
        return found, self._store.remove() and read

    def _tell(self, event: str) -> None:
        if self._on_event is not None:
            self._on_event(event)

    @property
    def _token(self) -> Token | None:
        return self._current[0]

    def _keep(self, token: Token) -> None:
        self._current = token, min(token.stale_at, self._renewal_at(token))

    def _renewal_at(self, token: Token) -> float:
        """Give the time from which on a token is to be renewed ahead: the same for all who share it."""
        # Seeded, so that it is neither the least of what many processes draw nor the same for all hosts.
        jitter = random.Random(token.access_token).uniform(0, _JITTER)
        return token.renewal_at(self._clock(), jitter)

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
            if failure := self._failures.concerning(began):
                raise failure
            if began <= self._done_at and (token := self._token) and token.access_token not in self._refused:
                return token  # it came while this caller waited, and lives too short for any to be fresher
            return self._fetch_or_wait(rejected, deadline=began + self._lock_timeout)

    def _look(self) -> Token | None:
        """Look into the store, and take over what is good there."""
        stored = self._store.load()
        if stored and self._store.troubled and self._token and stored.obtained_at < self._token.obtained_at:
            return None  # it is there because the newer one could not be kept, and may have been spent for it
        if stored is not None and self._good(stored):
            _log.info("took over a token from the cache")
            self._tell("adoption")
            self._keep(stored)
            return stored
        if stored and self._token and stored.access_token == self._token.access_token and not stored.on_probation:
            self._keep(stored)  # another process has had it accepted
        return None

    def _fetch_or_wait(self, rejected: str | None, deadline: float) -> Token:
        """Be the one process that fetches, or wait for the token of the one that does: the token, not its lock."""
        pause = _FIRST_PAUSE
        while True:
            with self._store.lock() as held:
                if held:
                    return self._look() or self._renew(rejected)
            if time.monotonic() >= deadline:
                _log.warning(
                    "another process has been fetching a token for %g s: not waiting longer", self._lock_timeout
                )
                return self._renew(rejected, alone=False)
            if pause == _FIRST_PAUSE:
                _log.info("another process is fetching a token: waiting for it")
                self._tell("wait")
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, _LAST_PAUSE)
            if found := self._look():
                return found

    def _renew(self, rejected: str | None, *, alone: bool = True) -> Token:
        """Fetch a token, keep it and share it.

        :param alone: whether nobody else does.
        """
        try:
            token = self._ask(alone)
        except Exception as error:
            self._failures.remember(error)
            if getattr(error, "asked", True):
                self._tell("failure")
            raise
        if rejected is not None or (self._token and self._token.access_token in self._refused):
            token = token.on_trial()
        # A server that issues the same text again vouches for it anew.
        for text in (token.access_token, *list(self._refused)[:-_REMEMBERED]):
            self._refused.pop(text, None)
        self._keep(token)
        self._store.save(token)  # before anything else can happen: a refresh token that came along has no copy yet
        self._failures.forget()
        self._done_at = time.monotonic()
        _log.info("fetched a token that lives %g s", token.lifetime)
        self._tell("fetch")
        return token

    def _ask(self, alone: bool) -> Token:
        """Make a token request: with the last refresh token, as long as there is one that is good for something."""
        last = self._last() if self._refresh else None
        if self._refresh is None or last is None or last.refresh_token in {None, self._ended}:
            return self._fetch()
        from .exceptions import LoginRequired  # requests comes with it, and is needed by now

        if not alone:  # it may be good for one use, and whoever holds the lock may be using it
            try:
                return self._fetch()
            except LoginRequired:
                raise _busy(self._lock_timeout) from None
        try:
            token = self._refresh(last)
        except LoginRequired as ended:
            if newer := self._forget_refresh_token(last):
                return newer
            try:
                return self._fetch()
            except LoginRequired:
                raise ended from None  # which says what the server said
        if self._store.load() is None and not self._store.troubled:
            return self._fetch()  # a person has logged out meanwhile
        return token.following(last)

    def _last(self) -> Token | None:
        """Give the last token that is known of, good or not: what others have rotated meanwhile is in the store."""
        stored = self._store.load()
        if not self._store.troubled:
            return stored  # or none: a person may have taken it away, to be logged out
        known = [token for token in (self._token, stored) if token is not None]
        return max(known, key=lambda token: token.obtained_at, default=None)

    def _forget_refresh_token(self, last: Token) -> Token | None:
        """Use a refresh token no more, and let no other process use it.

        :returns: the good token that somebody has put in the place of the last one meanwhile, as by logging in; a place
            that was emptied stays empty.
        """
        self._ended = last.refresh_token
        stored = self._store.load()
        if stored is None or stored.refresh_token != last.refresh_token:
            return self._good(stored)
        self._store.save(stored.replace(refresh_token=None))
        return None

    def _renew_ahead(self, token: Token) -> None:
        """Begin to renew an ageing token in the background, where nobody has, while everybody goes on with it."""
        now, lock = self._clock(), self._lock
        if not token.fresh(now) or now < self._renewal_at(token) or not lock.acquire(timeout=0):
            return
        held = [lock]  # whoever takes it out lets go: an interrupt may fall between a thread's start and our knowing it
        begun = False
        try:
            if token is self._token:  # and no other thread was faster
                self._keep(token.tried(now))
                # A refresh token may be spent by now: what comes for it must not get lost.
                whole = self._refresh is not None and token.refresh_token is not None
                begun = background.start(functools.partial(self._renew_behind, held, self._lender()), whole=whole)
        finally:
            if not begun:
                _let_go(held)

    def _renew_behind(self, held: list[threading.Lock], _: object) -> None:
        """Renew an ageing token, unless another process has, is about to, or has tried a moment ago."""
        try:
            with self._store.lock() as alone:
                if alone and self._failures.concerning(time.monotonic()) is None:
                    self._renew_alone()
        except Exception as error:  # it is tried again, or the token expires and a caller meets the same
            _log.info("the token could not be renewed ahead: %s", type(error).__name__)
        finally:
            _let_go(held)

    def _renew_alone(self) -> None:
        stored, now = self._good(self._store.load()), self._clock()
        if stored is not None and now < self._renewal_at(stored):
            self._keep(stored)
            return
        # The mark comes before the token request, so that one which is cut off is not made again by the next process.
        # Where it cannot be left, each would make its own. Where there is no token, none is put back: a person may have
        # taken it away.
        if stored is None or self._store.save(stored.tried(now)):
            self._renew(None)

    @property
    def _lock(self) -> threading.Lock:
        """The lock for whoever looks for a token in this process, or renews one in the background."""
        return self._locks.setdefault(os.getpid(), threading.Lock())

    @contextlib.contextmanager
    def _lock_of_threads(self) -> Iterator[None]:
        """Keep this process' other threads waiting, within the bound.

        It is longer than that for other processes: a thread that goes on without those does it for all, and may be
        told by the token endpoint to pause.
        """
        lock = self._lock
        held = lock.acquire(timeout=0)
        if not held:
            self._tell("wait")
            held = lock.acquire(timeout=_FOR_THREADS * self._lock_timeout)
        try:
            yield
        finally:
            if held:
                lock.release()


def _busy(seconds: float) -> Exception:
    from .exceptions import TokenEndpointUnavailable

    return TokenEndpointUnavailable(
        f"another process has been renewing this login's token for {seconds:g} s, and a refresh token may be good for "
        "one use: try again later"
    )


def _let_go(held: list[threading.Lock]) -> None:
    """Release what is in the list; each use of the list is one operation, so that it happens once."""
    with contextlib.suppress(IndexError):
        held.pop().release()
