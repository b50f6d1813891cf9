"""One POST to the token endpoint through requests-oauthlib, which leaves nothing secret behind.

Imported for the first token request, because requests-oauthlib and oauthlib cost more time than a warm process has.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import requests
import requests_oauthlib
from urllib3.exceptions import LocationParseError

from .alarm import Alarm
from .answers import read_answer
from .exceptions import TokenEndpointUnavailable, TokenError
from .reading import ENCODINGS, read_content
from .redaction import Redactor, copy_response
from .tokens import Token

if TYPE_CHECKING:
    from oauthlib.oauth2 import Client
    from requests.adapters import BaseAdapter

    from .grants import Grant

__all__ = ["ask"]

_log = logging.getLogger("aritma_session")

#: True in the thread that makes a token request, for as long as it does.
_requesting: contextvars.ContextVar[bool] = contextvars.ContextVar("aritma_session_requesting", default=False)

#: Loggers that write form bodies, headers and tokens, or whatever a server sent in the place of headers.
_TALKATIVE = (
    "requests_oauthlib.oauth2_session",
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)


def ask(
    url: str, grant: Grant, *, timeout: tuple[float, float], lender: requests.Session | None
) -> Token | BaseException:
    """Send one token request.

    :param url: the token endpoint, https.
    :param grant: who asks, and for what.
    :param timeout: seconds that it may take to connect, and between two pieces of the answer, or for its whole body; it
        ends after the sum of the two, but for the time that the operating system takes to look up a name, and for the
        pauses of an adapter that tries again by itself.
    :param lender: the session whose ``verify``, ``cert``, ``proxies``, ``trust_env`` and adapters are used.
    :returns: the token; or the error, as a value, which so takes no traceback along in whose frames a secret stands. It
        is a :class:`TokenError`, unless something was raised that is no :class:`requests.RequestException`.
    """
    try:
        outcome, difference = _ask(url, grant, timeout, lender)
    except BaseException as error:  # noqa: BLE001  # an adapter's own, or Ctrl-C: the caller gets it as it is
        return _without_frames(error)
    if difference is not None:  # told here, since whoever writes log records down may write the stack down too
        _log.log(*difference)
    return outcome


def _ask(
    url: str, grant: Grant, timeout: tuple[float, float], lender: requests.Session | None
) -> tuple[Token | TokenError, tuple[int, str, str, str] | None]:
    """Do the same, with secrets among the variables; give what is to be logged as well."""
    try:
        form, proof = grant.form(), grant.authentication.prove(grant.client_id, url)
    except ValueError as error:
        return TokenError(f"no token can be asked for: {error}"), None
    redactor = Redactor((*proof.secrets, *grant.secrets(form)), grant.identity)
    started = time.time()
    with _OAuth2Session(grant.oauth_client(), lender, timeout) as session, _silence():
        tokens: list[Token] = []

        def check(response: requests.Response) -> requests.Response:
            outcome = read_answer(response, started, redactor, grant)
            if isinstance(outcome, TokenError):
                raise _Unusable(outcome)
            tokens.append(outcome)
            # What oauthlib needs to read, and nothing that it would raise for: another scope, an odd lifetime.
            return copy_response(response, b'{"access_token": "checked", "token_type": "Bearer"}')

        for kind in ("access_token_response", "refresh_token_response"):
            session.register_compliance_hook(kind, check)
        try:
            grant.send(session, url, form, proof, timeout=timeout)
        except _Unusable as found:
            return found.error, None
        except (requests.RequestException, LocationParseError) as error:
            return _unreachable(url, error, redactor), None
        except OSError as error:  # as requests raises it for a file that `verify` or `cert` names
            return TokenError(f"no token could be asked for at {url} ({redactor.line(error)}): {_CHECK_TLS}"), None
    return tokens[0], _scope_difference(" ".join(grant.scope) or None, tokens[0].scope, redactor)


def _scope_difference(wanted: str | None, granted: str | None, redactor: Redactor) -> tuple[int, str, str, str] | None:
    """Say where the scope granted is not the one asked for: the server may decide so (RFC 6749, section 3.3)."""
    if wanted is None or granted is None:
        return None
    missing, added = (set(one.split()) - set(other.split()) for one, other in ((wanted, granted), (granted, wanted)))
    if not missing and not added:
        return None
    # What is missing will be met again as a 403.
    level = logging.WARNING if missing else logging.INFO
    return level, "asked for the scope %r and was granted %r", wanted, redactor.line(granted)


class _Unusable(Exception):
    """Carry an error out of requests-oauthlib, whose frames hold the secret."""

    def __init__(self, error: TokenError) -> None:
        super().__init__(error)
        self.error = error


class _OAuth2Session(requests_oauthlib.OAuth2Session):
    """Make one token request, over the connections of the session that needs the token."""

    def __init__(self, client: Client, lender: requests.Session | None, timeout: tuple[float, float]) -> None:
        super().__init__(client=client)
        self._lender = lender
        self._seconds = timeout[1]
        self._alarm = Alarm(sum(timeout), _OAuth2Session.send.__code__)
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


@contextlib.contextmanager
def _silence() -> Iterator[None]:
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


def _unreachable(url: str, error: requests.RequestException | LocationParseError, redactor: Redactor) -> TokenError:
    """Say why there was no answer; the error that is given as the cause has no request, connection or traceback."""
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


def _without_frames(error: BaseException) -> BaseException:
    links: list[BaseException | None] = [error]
    for link in links:
        if link is not None:
            link.__traceback__ = None
            links += (other for other in (link.__cause__, link.__context__) if other not in links)
    return error
