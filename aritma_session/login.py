"""A person's login in a browser, for the grants that need one.

The authorization code comes back to a port of this machine (RFC 8252), is tied to this very login by ``state``, PKCE
(RFC 7636), ``iss`` (RFC 9207) and ``nonce``, and is exchanged here. With the implicit grant, which is there for clients
that know no other, the token itself comes through the browser.
"""

from __future__ import annotations

import contextlib
import hmac
import importlib.util
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from . import id_tokens
from .credentials import Secret
from .endpoint import TokenEndpoint, persistently
from .exceptions import CredentialsRefused, LoginRequired, TokenEndpointUnavailable, TokenError
from .grants import AuthorizationCode, Login
from .loopback import Listener, Pairs
from .outgoing import exchange, without_frames
from .pages import DENIED, EXPIRED, FAILED, LOGGED_IN, USED, WRONG_STATE, Page
from .redaction import Redactor
from .tokens import Token
from .wiring import authorization_server

if TYPE_CHECKING:
    import requests

    from .metadata import Metadata
    from .settings import Settings
    from .stores import TokenStore

__all__ = ["log_in"]

_log = logging.getLogger("aritma_session")

#: Seconds that a person may take.
PATIENCE = 300.0

#: Seconds that the browser may take to show the last page.
_LAST_PAGE = 5.0

#: Seconds to wait for another process that is fetching a token, before the new one is put in its place anyway.
_LOCK_TIMEOUT = 30.0

#: What an error of the authorization endpoint means (RFC 6749, section 4.1.2.1; OpenID Connect Core 1.0, section
#: 3.1.2.6): what to raise, and what to do.
_MEANINGS: dict[str, tuple[type[TokenError], str]] = {
    "access_denied": (TokenError, "log in again, and allow it"),
    "invalid_request": (TokenError, "check tenant and extra (ARITMA_TENANT, ARITMA_EXTRA), or ask Aritma"),
    "unauthorized_client": (CredentialsRefused, "ask Aritma to allow this client the {grant} grant"),
    "unsupported_response_type": (
        CredentialsRefused,
        "the server does not offer the {grant} grant: choose another one",
    ),
    "invalid_scope": (CredentialsRefused, "check scope (ARITMA_SCOPE): the client may not be allowed it"),
    "server_error": (TokenEndpointUnavailable, "try again later"),
    "temporarily_unavailable": (TokenEndpointUnavailable, "try again later"),
    **dict.fromkeys(
        ("login_required", "interaction_required", "consent_required", "account_selection_required"),
        (LoginRequired, "log in without --prompt none"),
    ),
}


def log_in(
    settings: Settings,
    *,
    show: Callable[[str], None],
    open_browser: Callable[[str], object] | None = None,
    port: int = 0,
    prompt: str | None = None,
    acr_values: str | None = None,
    response_mode: str = "form_post",
    patience: float = PATIENCE,
    lender: requests.Session | None = None,
) -> Token:
    """Let a person log in, and keep the token for every process of this account.

    :param settings: what for; the grant is one with a login.
    :param show: is given the URL that the person goes to.
    :param open_browser: opens it; without it, the person does.
    :param port: the port on 127.0.0.1 that the browser comes back to; 0 for a free one.
    :param prompt: what the server is to ask the person (OpenID Connect Core 1.0, section 3.1.2.1), such as ``login``.
    :param acr_values: how the person is to prove who they are (there), such as ``mfa``.
    :param response_mode: how the token of the implicit grant comes back: ``form_post``, or ``fragment``, with which it
        may stay in the browser's history on disk.
    :param patience: seconds that the person may take.
    :param lender: the session that Aritma ID is asked with.
    :returns: the token.
    :raises ValueError: when the grant is none with a login, or the port cannot be had.
    :raises TokenError: when the login failed; what was stored before is as it was.
    """
    grant = settings.grant
    if not isinstance(grant, Login):
        raise ValueError(f"grant is {grant.name!r}, which needs no login: choose authorization_code")
    if grant.kind == "implicit" and "openid" in grant.scope and importlib.util.find_spec("jwt") is None:
        raise ValueError('an id_token is checked with PyJWT, not installed: pip install "aritma-session[jwt]"')
    metadata = authorization_server(settings).metadata(lender)
    if not metadata.authorization_endpoint:
        raise TokenError(f"Aritma ID at {metadata.issuer} has no authorization endpoint: nobody can log in there")
    attempt = _Attempt(settings, grant, metadata, lender)
    listener = Listener(port, attempt, grant.login_command, fragments=grant.kind == "implicit")
    with listener.serving():
        more = {"prompt": prompt, "acr_values": acr_values}
        if grant.kind == "implicit":
            more["response_mode"] = response_mode
        url = attempt.url(listener.redirect_uri, {name: value for name, value in more.items() if value})
        show(url)
        if open_browser is not None:  # other accounts can see what it is started with
            # In a thread, as one without windows is left only when all is over.
            opening = threading.Thread(target=_open, args=(open_browser, listener.begin_uri), daemon=True)
            opening.start()
        page = FAILED
        try:
            token = attempt.finish(patience)
            page = LOGGED_IN
        except TokenError as error:
            page = {"access_denied": DENIED, "invalid_grant": EXPIRED}.get(error.error or "", FAILED)
            raise
        finally:
            if attempt.answered:
                listener.end(page, _LAST_PAGE)
    return token


def _open(open_browser: Callable[[str], object], url: str) -> None:
    with contextlib.suppress(Exception):  # the person has been shown where to go
        open_browser(url)


class _Attempt:
    """One login: what it was begun with, and what comes back."""

    def __init__(self, settings: Settings, grant: Login, metadata: Metadata, lender: requests.Session | None) -> None:
        self._settings, self._grant, self._metadata, self._lender = settings, grant, metadata, lender
        self._state, self._nonce, self._verifier = (secrets.token_urlsafe(48) for _ in range(3))
        self._redirect_uri = self._url = ""
        self._begun = [None]  # likewise, for whoever is sent to the server from here
        self._untaken = [None]  # one answer is taken; who has it is decided by one operation on a list
        self._answer: dict[str, str] = {}
        self._came = threading.Event()

    @property
    def answered(self) -> bool:
        """Whether a browser has brought the answer, and waits to be told the end."""
        return self._came.is_set()

    @property
    def _openid(self) -> bool:
        return "openid" in self._grant.scope

    def url(self, redirect_uri: str, more: Mapping[str, str]) -> str:
        """Give the URL that the person goes to (RFC 6749, sections 4.1.1 and 4.2.1)."""
        from oauthlib.oauth2 import MobileApplicationClient, WebApplicationClient

        self._redirect_uri = redirect_uri
        grant, asked = self._grant, dict(more)
        if grant.username:
            asked["login_hint"] = grant.username
        if self._openid:
            asked["nonce"] = self._nonce
        client: Any
        if grant.kind == "implicit":
            client = MobileApplicationClient(grant.client_id)
            client.response_type = "id_token token" if self._openid else "token"
        else:
            client = WebApplicationClient(grant.client_id)
            asked["code_challenge"] = client.create_code_challenge(self._verifier, "S256")
            asked["code_challenge_method"] = "S256"
        url: str = client.prepare_request_uri(
            self._metadata.authorization_endpoint,
            redirect_uri=redirect_uri,
            scope=list(grant.scope) or None,
            state=self._state,
            **{**dict(grant.extra), **asked},
        )
        self._url = url
        return url

    def begin(self) -> str | None:
        """Give the URL that the person goes to, once: see :class:`Listener`."""
        try:
            self._begun.pop()
        except IndexError:
            self._end({"begun twice": "yes"})
            return None
        return self._url

    def take(self, pairs: Pairs) -> Page | None:
        """Look at what a browser, or whoever it was, has brought; see :class:`Listener`."""
        states = [value for name, value in pairs if name == "state"]
        if not states or not all(hmac.compare_digest(state.encode(), self._state.encode()) for state in states):
            _log.info("somebody came back with the state of another login, or with none")
            return WRONG_STATE
        answer = dict(pairs)
        if len(answer) != len(pairs):  # RFC 6749, section 3.1
            answer = {"doubled": "yes"}
        return None if self._end(answer) else USED

    def _end(self, answer: dict[str, str]) -> bool:
        """Take an answer, and tell whether it is the first."""
        try:
            self._untaken.pop()
        except IndexError:
            return False
        self._answer = answer
        self._came.set()
        return True

    def finish(self, patience: float) -> Token:
        """Wait for the answer, make a token of it, and keep that.

        :raises TokenError: when there is none.
        """
        if not self._came.wait(patience):
            raise LoginRequired(f"nobody logged in within {patience:g} s: run {self._grant.login_command} again")
        outcome = self._outcome(self._answer)
        problem = outcome if isinstance(outcome, BaseException) else self._kept(outcome)
        if problem is not None:
            raise problem
        return cast("Token", outcome)

    def _kept(self, token: Token) -> TokenError | None:
        """Keep the token; give the error where that fails, without the frames in which the token stands."""
        store, key = self._settings.cache, self._settings.cache_key
        with _alone(store, key):
            try:
                store.save(key, token)
            except Exception as error:  # noqa: BLE001  # whatever a store raises
                reason = f"{type(error).__name__}: {error}"
            else:
                return None
        return TokenError(f"the login succeeded, and cannot be kept ({reason}): see cache (ARITMA_CACHE)")

    def _outcome(self, answer: dict[str, str]) -> Token | BaseException:
        """Judge the answer, and exchange the code; an error is a value, which takes no traceback along."""
        problem = self._problem(answer)
        if problem is not None:
            return problem
        try:
            return self._exchanged(answer) if "code" in answer else self._brought(answer)
        except BaseException as error:  # noqa: BLE001  # it is raised as it is
            return without_frames(error)

    def _problem(self, answer: dict[str, str]) -> TokenError | None:
        issuer, again = answer.get("iss"), f"run {self._grant.login_command} again"
        if "begun twice" in answer:
            return TokenError(
                "the address that the browser was opened with was used twice: another program of this machine may have "
                f"seen it, and nobody was logged in: {again}"
            )
        if "doubled" in answer:
            return TokenError(f"the answer to the login has a parameter twice, and was not looked at: {again}")
        if issuer not in ({self._metadata.issuer} if self._metadata.sends_issuer else {None, self._metadata.issuer}):
            what = "names no issuer" if issuer is None else "is of another issuer"  # RFC 9207, section 2.4
            return TokenError(f"the answer to the login {what}, and was not looked at: {again}")
        if "error" in answer:
            return self._refusal(answer)
        wanted = "access_token" if self._grant.kind == "implicit" else "code"
        if not answer.get(wanted):
            return TokenError(f"the answer to the login has no {wanted}: {again}, or ask Aritma")
        return None

    def _refusal(self, answer: dict[str, str]) -> TokenError:
        redactor = Redactor((self._verifier,), (self._state,))
        error, description, uri = (
            redactor.line(answer[name]) if answer.get(name) else None
            for name in ("error", "error_description", "error_uri")
        )
        kind, advice = _MEANINGS.get(error or "", (TokenError, "see the error code in RFC 6749, section 4.1.2.1"))
        said = f"{error} ({description})" if description else f"{error}"
        advice = advice.format(grant=self._grant.kind.replace("_", "-"))
        message = f"Aritma ID at {self._metadata.issuer} refused the login: {said}: {advice}"
        return kind(message, error=error, error_description=description, error_uri=uri)

    def _exchanged(self, answer: dict[str, str]) -> Token:
        grant = self._grant
        endpoint = TokenEndpoint(self._metadata.token_endpoint, self._settings.token_timeout)
        if self._lender is not None:
            endpoint.borrow(self._lender)
        return endpoint.fetch(
            AuthorizationCode(
                grant.client_id,
                grant.authentication,
                grant.scope,
                grant.extra,
                Secret(answer["code"]),
                Secret(self._verifier),
                self._redirect_uri,
                self._verify if self._openid else _unlooked_at,
            )
        )

    def _brought(self, answer: dict[str, str]) -> Token:
        """Take the token that the browser brought itself (RFC 6749, section 4.2.2)."""
        try:
            return self._verified(answer)
        except ValueError as error:
            raise TokenError(f"the answer to the login cannot be used: {error}: log in again, or ask Aritma") from None

    def _verified(self, answer: dict[str, str]) -> Token:
        if answer.get("token_type", "").lower() != "bearer":
            raise ValueError("its type is not Bearer")
        token = Token.from_answer(answer, time.time()).replace(refresh_token=None)  # there must be none
        if self._openid:
            keys = self._keys()
            id_tokens.verify_signed(answer.get("id_token"), keys, token.access_token, **self._expected)
        return token

    def _keys(self) -> object:
        url = self._metadata.jwks_uri
        ask = partial(exchange, "GET", url, lender=self._lender, timeout=self._settings.token_timeout)
        answer = persistently(lambda: ask(redactor=Redactor(())))
        try:
            return json.loads(answer.content)
        except (ValueError, RecursionError):
            raise ValueError(f"there are no keys of its issuer at {url}") from None

    def _verify(self, id_token: object) -> None:
        id_tokens.verify(id_token, **self._expected)

    @property
    def _expected(self) -> dict[str, str]:
        return {"issuer": self._metadata.issuer, "client_id": self._grant.client_id, "nonce": self._nonce}


def _unlooked_at(_: object) -> None:
    """Let an answer without ``openid`` be: it was asked for no ``id_token``."""


@contextlib.contextmanager
def _alone(store: TokenStore, key: str) -> Iterator[None]:
    """Wait until no other process fetches, within a bound: it would put its token in the place of the new one."""
    until = time.monotonic() + _LOCK_TIMEOUT
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Exception):  # a store without locks
            while not stack.enter_context(store.lock(key)) and time.monotonic() < until:
                time.sleep(0.05)
        yield
