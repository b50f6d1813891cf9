"""The token endpoint: one request for a token, tried again where that may help."""

from __future__ import annotations

import logging
import random
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .exceptions import TokenEndpointUnavailable
from .forks import unforked

if TYPE_CHECKING:
    import requests

    from .grants import Grant
    from .tokens import Token

__all__ = ["TokenEndpoint", "persistently"]

_T = TypeVar("_T")

_log = logging.getLogger("aritma_session")

#: How often a token request is sent at the most, and the seconds before the second try; they double for the third.
TRIES, BACKOFF = 3, 0.5

#: Seconds that a ``Retry-After`` header (RFC 9110, section 10.2.3) may make a caller wait before the next try.
LONGEST_RETRY_AFTER = 30.0


class TokenEndpoint:
    """Ask one token endpoint for tokens.

    :param url: the token endpoint (RFC 6749, section 3.2), https; or what finds it out, with the session that token
        requests are sent like.
    :param timeout: seconds that a try may take to connect, and between two pieces of its answer, or for the whole of
        its body; it ends after the sum of the two.
    """

    def __init__(self, url: str | Callable[[requests.Session | None], str], timeout: tuple[float, float]) -> None:
        self._url = url
        self._timeout = timeout
        self._lender: weakref.ref[requests.Session] | None = None  # weak: the session refers to us, through its auth

    def borrow(self, session: requests.Session) -> None:
        """Send token requests with this session's adapters, ``verify``, ``cert``, ``proxies`` and ``trust_env``."""
        self._lender = weakref.ref(session)

    @property
    def lender(self) -> requests.Session | None:
        """The session that token requests are sent like."""
        return self._lender() if self._lender else None

    def fetch(self, grant: Grant) -> Token:
        """Ask for a token, up to three times where the endpoint cannot be reached or is in passing trouble.

        :param grant: who asks, and for what.
        :raises CredentialsRefused: when the client itself is refused; that is never tried again.
        :raises TokenEndpointUnavailable: when no try was answered.
        :raises LoginRequired: when there is nothing to ask with until a person has logged in.
        :raises TokenError: when the answer is of no use.
        """
        grant.check()
        with unforked():  # heavy: what it leans on is imported for the first token request
            from .token_request import ask

        lender = self.lender
        url = self._url if isinstance(self._url, str) else self._url(lender)
        tries = TRIES if grant.repeatable else 1
        return persistently(lambda: ask(url, grant, timeout=self._timeout, lender=lender), tries)


def persistently(attempt: Callable[[], _T | BaseException], tries: int | None = None) -> _T:
    """Try a request up to three times where the server cannot be reached or is in passing trouble.

    :param attempt: gives what was asked for, or the error.
    :param tries: how often at the most, if not three times.
    :raises BaseException: the last error. It is raised here, and not where it happened: no frame of its traceback has a
        secret among its variables.
    """
    tried = 0
    while True:
        tried += 1
        outcome = attempt()
        if not isinstance(outcome, TokenEndpointUnavailable) or tried == (tries or TRIES):
            break
        pause = _pause(outcome, tried)
        _log.info("asking for a token again in %.1f s: %s", pause, outcome)
        time.sleep(pause)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _pause(error: TokenEndpointUnavailable, tried: int) -> float:
    """Seconds until the next try: what the server asks for, within reason, or else a little more each time."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    stated = error.response.headers.get("Retry-After") if error.response is not None else None
    if stated:
        try:
            return min(float(Retry().parse_retry_after(stated)), LONGEST_RETRY_AFTER)
        except (InvalidHeader, ValueError, OverflowError):  # the latter two for numbers and dates beyond reason
            _log.debug("a Retry-After header that says nothing: %.100r", stated)
    # Not all processes of a machine at the same moment.
    return BACKOFF * 2.0 ** (tried - 1) * random.uniform(1, 1.5)
