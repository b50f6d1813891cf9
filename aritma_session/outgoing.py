"""One request to Aritma ID, over the connections of the session that needs it, bounded in every way.

Imported for the first one only: with requests, it costs more time than a process with a warm cache has for it.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import requests
from urllib3.exceptions import LocationParseError

from .alarm import Alarm
from .exceptions import TokenEndpointUnavailable, TokenError
from .reading import ENCODINGS, read_content
from .redaction import Redactor, copy_response

if TYPE_CHECKING:
    from requests.adapters import BaseAdapter

__all__ = ["FAILURES", "Borrowing", "exchange", "failure", "silence", "without_frames"]

#: True in the thread that makes a token request, for as long as it does.
_requesting: contextvars.ContextVar[bool] = contextvars.ContextVar("aritma_session_requesting", default=False)

#: Loggers that write form bodies, headers and tokens, or whatever a server sent in the place of headers.
_TALKATIVE = (
    "requests_oauthlib.oauth2_session",
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)


class Borrowing(requests.Session):
    """Make one request, over the connections of another session.

    It follows no redirect, and what an exception holds of the request is freed of what is secret.
    """

    #: The lender's, whatever types it has them in.
    verify: Any
    cert: Any
    proxies: Any
    trust_env: bool

    def borrow(self, lender: requests.Session | None, timeout: tuple[float, float]) -> None:
        """Say whose connections are used, and for how long.

        :param lender: the session whose adapters, ``verify``, ``cert``, ``proxies`` and ``trust_env`` are used.
        :param timeout: seconds that the request may take to connect, and for the body of its answer; it ends after the
            sum of the two.
        """
        self._lender = lender
        self._seconds = timeout[1]
        self._alarm = Alarm(sum(timeout), Borrowing.send.__code__)
        self.headers["Accept-Encoding"] = ENCODINGS
        self.stream = True  # the hook reads the answer, and knows when to stop
        self.hooks["response"].append(self._read)
        if lender is not None:
            self.verify, self.cert, self.trust_env = lender.verify, lender.cert, lender.trust_env
            self.proxies = dict(lender.proxies or {})

    def get_adapter(self, url: str) -> BaseAdapter:
        return super().get_adapter(url) if self._lender is None else self._lender.get_adapter(url)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        # A `send` that was put on the session object itself is its way out, as in requests_mock.Mocker(session=...).
        patched = vars(self._lender).get("send") if self._lender is not None else None
        send = super().send if patched is None else patched
        try:
            with self._alarm:
                response: requests.Response = send(request, **{**kwargs, "allow_redirects": False})
        except BaseException as error:
            # An exception refers to its request, and whoever catches it may write that down.
            request.body, request.hooks = None, {"response": []}
            request.headers.pop("Authorization", None)
            if not (self._alarm.late and isinstance(error, Exception)):
                raise
        if self._alarm.late:
            raise requests.ReadTimeout(f"the answer took more than {self._alarm.seconds:g} s to arrive")
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002  # there is no target
        return None  # whoever answers 307 would have the secret posted to another host

    def _read(self, response: requests.Response, **_: Any) -> requests.Response:
        self._alarm.within(self._seconds)
        return copy_response(response, read_content(response, self._alarm))


def exchange(
    method: str,
    url: str,
    *,
    lender: requests.Session | None,
    timeout: tuple[float, float],
    redactor: Redactor,
    data: dict[str, str] | None = None,
    basic: tuple[str, str] | None = None,
) -> requests.Response | BaseException:
    """Send one request and read its answer.

    :param data: the form, for a POST.
    :param basic: user name and password of HTTP Basic.
    :param redactor: knows what is secret in them.
    :returns: the answer, or the error as a value, which so takes no traceback along in whose frames a secret stands.
    """
    with Borrowing() as session, silence():
        session.borrow(lender, timeout)
        try:
            return session.request(method, url, data=data, auth=basic or _nothing, timeout=timeout)
        except FAILURES as error:
            return failure(url, error, redactor)
        except BaseException as error:  # noqa: BLE001  # the caller raises it as it is
            return without_frames(error)


def _nothing(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request  # an auth that adds none, as without any requests would look into .netrc


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep this token request out of the logs of the libraries that would write it down, secret, token and all."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_not_ours)  # each time: another library may have removed it
    before = _requesting.set(True)
    try:
        yield
    finally:
        _requesting.reset(before)


def _not_ours(record: logging.LogRecord) -> bool:
    # The pool says at DEBUG where it connects and what the status was; above that, whatever broke an answer.
    harmless = record.name == "urllib3.connectionpool" and record.levelno <= logging.DEBUG
    return harmless or not _requesting.get()


#: What :func:`failure` can tell: what requests raises, also for a proxy's URL and for files that ``verify`` or ``cert``
#: name.
FAILURES = (requests.RequestException, LocationParseError, OSError)


def failure(url: str, error: Exception, redactor: Redactor) -> TokenError:
    """Say why there was no answer; the error that is given as the cause has no request, connection or traceback."""
    if not isinstance(error, (requests.RequestException, LocationParseError)):
        return TokenError(f"no token could be asked for at {url} ({redactor.line(error)}): {_CHECK_TLS}")
    if isinstance(error, (requests.exceptions.InvalidURL, LocationParseError)):
        # No word of it is repeated: what cannot be read is a proxy's, with its password.
        return TokenError(f"no token could be asked for at {url}: a proxy's URL cannot be read; {_CHECK_PROXIES}")
    whole = str(error)
    # What urllib3 gave up for says more, in fewer words, than that it did; release 1.26 puts an object before it.
    reason = str(getattr(error.args[0], "reason", error) if error.args else error)
    said = redactor.line(re.sub(r"\A<[^>]*>: ", "", reason))
    kind = next(base for base in type(error).__mro__ if base.__module__ == requests.exceptions.__name__)
    if isinstance(error, requests.exceptions.SSLError) and "EOF" not in whole:  # the end of a connection is no verdict
        found = TokenError(f"Aritma ID at {url} could not prove who it is ({said}): {_CHECK_TLS}")
    elif isinstance(error, _PASSING):
        advice = (
            "check environment (ARITMA_ENVIRONMENT), the network, proxies and token_timeout (ARITMA_TOKEN_TIMEOUT), or "
            "try again later"
        )
        found = TokenEndpointUnavailable(f"Aritma ID at {url} could not be reached ({said}): {advice}")
    else:
        found = TokenError(f"no token could be asked for at {url} ({said}): check environment (ARITMA_ENVIRONMENT)")
    found.__cause__ = kind(redactor.line(whole))
    return found


_CHECK_TLS = (
    "check the session's verify and cert (or REQUESTS_CA_BUNDLE; those of a single call do not count here), and any "
    "proxy that reads what is sent"
)

_CHECK_PROXIES = "check the session's proxies, or HTTPS_PROXY; in a password, write # as %23, / as %2F, @ as %40"

_PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.RetryError,
)


def without_frames(error: BaseException) -> BaseException:
    """Give an error without its traceback, and those behind it without theirs, in whose frames a secret stands."""
    links: list[BaseException | None] = [error]
    for link in links:
        if link is not None:
            link.__traceback__ = None
            links += (other for other in (link.__cause__, link.__context__) if other not in links)
    return error
