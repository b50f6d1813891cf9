"""Attach the token where it belongs, and answer a 401 once."""

from __future__ import annotations

import copy
import logging
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests import sessions
from requests.auth import AuthBase

from .credentials import Secret, hide, hide_url
from .endpoint import TokenEndpoint
from .exceptions import TokenError
from .forks import unforked
from .replay import drain, replay, replayable
from .settings import Settings
from .stubborn import StubbornPlaces
from .wiring import authorization_server, locator, token_source

if TYPE_CHECKING:
    import redis

    from .environment import Environment
    from .stores import TokenStore
    from .tokens import Token

__all__ = ["AritmaAuth"]

_log = logging.getLogger("aritma_session")

_SCHEME = "Bearer "

_UNAUTHORIZED = requests.codes.unauthorized


class AritmaAuth(AuthBase):
    """Authorise requests to Aritma's APIs; serve as ``auth`` of any request or session.

    A request to one of the environment's API hosts is given the token (RFC 6750, section 2.1), unless it has an
    ``Authorization`` header already. If the answer is 401, the token is renewed and the request sent once more. Any
    other request gets what requests gives it by itself: credentials from its URL or from ``.netrc``.

    Keep the object for as long as requests are sent that it has prepared: they refer to it weakly, so that nothing
    secret is within reach of a response.

    :param client_id: the client's id; by default ``ARITMA_CLIENT_ID``.
    :param client_secret: the client's secret; by default ``ARITMA_CLIENT_SECRET``, or the content of the file that
        ``ARITMA_CLIENT_SECRET_FILE`` names.
    :param environment: ``"production"`` (the default), ``"development"``, an
        :class:`~aritma_session.Environment`, or an issuer's https URL.
    :param scope: the scopes to ask for, as a string or an iterable; ``bankservice`` by default, and the server's own
        default if empty.
    :param tenant: the tenant, where there is one.
    :param cache: where tokens are shared: ``"file"`` (the default), ``"memory"``, ``"keyring:"``, a directory, the URL
        of a Redis server (``redis://``, ``rediss://`` or ``unix://``), a client of redis-py's, or a
        :class:`~aritma_session.TokenStore`.
    :param api_hosts: further hosts that are given the token: ``host``, ``host:port`` or ``*.domain``.
    :param token_timeout: seconds for a token request, as one number or as (connect, read); (10, 30) by default.
    :param grant: the way in: ``"client_credentials"`` (the default), ``"password"``, or ``"authorization_code"`` or
        ``"implicit"``, which use what ``aritma-session login`` has left in the cache.
    :param token_endpoint_auth_method: how the client proves itself (RFC 7591, section 2): ``"client_secret_post"``,
        ``"client_secret_basic"``, ``"private_key_jwt"``, ``"tls_client_auth"`` (with the session's ``cert``) or
        ``"none"``; by default what there is a secret for.
    :param token_endpoint_auth_signing_alg: ``"RS256"``, ``"PS256"`` or ``"ES256"``; by default what suits the key.
    :param private_key: the client's private key in PEM, or the path of its file as an :class:`os.PathLike`.
    :param private_key_passphrase: the passphrase of an encrypted key.
    :param private_key_id: the ``kid`` of the key, where Aritma ID needs it.
    :param username: the user's name, for the grants with a user.
    :param password: the user's password, for the password grant.
    :param extra: further parameters of every token request, such as ``{"audience": ...}``.
    :param cache_encryption_key: one or more Fernet keys that seal what is kept in the cache, the first sealing and all
        opening, with commas or white space between them; by default ``ARITMA_CACHE_KEY``, and none.
    :param on_event: is called at what happens to the token, with one word: ``"hit"``, ``"fetch"``, ``"adoption"`` (from
        the cache), ``"refusal"`` (by a server), ``"wait"`` (for another process or thread), ``"degradation"`` (of the
        cache) or ``"failure"`` (no token could be had). Many threads may call it; what it raises is logged. A pickle
        leaves it behind.
    :raises ValueError: when a setting is missing or impossible.
    """

    def __init__(
        self,
        client_id: str | None = None,
        client_secret: str | Secret | None = None,
        *,
        environment: str | Environment | None = None,
        scope: str | Iterable[str] | None = None,
        tenant: str | None = None,
        cache: str | os.PathLike[str] | TokenStore | redis.Redis | redis.RedisCluster | Secret | None = None,
        api_hosts: str | Iterable[str] | None = None,
        token_timeout: float | tuple[float, float] | None = None,
        grant: str | None = None,
        token_endpoint_auth_method: str | None = None,
        token_endpoint_auth_signing_alg: str | None = None,
        private_key: str | os.PathLike[str] | Secret | None = None,
        private_key_passphrase: str | Secret | None = None,
        private_key_id: str | None = None,
        username: str | None = None,
        password: str | Secret | None = None,
        extra: Mapping[str, str] | None = None,
        cache_encryption_key: str | Secret | None = None,
        on_event: Callable[[str], object] | None = None,
    ) -> None:
        hidden = hide(client_secret, private_key, private_key_passphrase, password, cache_encryption_key)
        store = hide_url(cache)
        # A traceback that shows variables, of an error about another setting, would show them.
        del client_secret, private_key, private_key_passphrase, password, cache_encryption_key, cache
        settings = Settings.resolve(
            client_id,
            hidden[0],
            environment=environment,
            scope=scope,
            tenant=tenant,
            cache=store,
            api_hosts=api_hosts,
            token_timeout=token_timeout,
            grant=grant,
            token_endpoint_auth_method=token_endpoint_auth_method,
            token_endpoint_auth_signing_alg=token_endpoint_auth_signing_alg,
            private_key=hidden[1],
            private_key_passphrase=hidden[2],
            private_key_id=private_key_id,
            username=username,
            password=hidden[3],
            extra=extra,
            cache_encryption_key=hidden[4],
        )
        if on_event is not None and not callable(on_event):
            raise ValueError(f"on_event is a function of one argument, not something of type {type(on_event).__name__}")
        self._wire(settings, on_event)

    def _wire(self, settings: Settings, on_event: Callable[[str], object] | None = None) -> None:
        self._settings = settings
        self._on_event = on_event
        self._environment = settings.environment
        self._endpoint = endpoint = TokenEndpoint(locator(settings), settings.token_timeout)
        self._source = token_source(settings, lambda: endpoint, lambda: endpoint.lender, on_event)
        self._me = weakref.ref(self)
        self._hook = _Hook()  # of the token that was attached last; the same one serves all its requests
        self._stubborn = StubbornPlaces()
        self._passed: weakref.WeakSet[requests.PreparedRequest] = weakref.WeakSet()

    @property
    def environment(self) -> Environment:
        """Where tokens come from, and which hosts are given them."""
        return self._environment

    def token(self) -> Token:
        """Give the token that a request would be given now.

        :raises TokenError: when none could be had.
        """
        return self._source.token()

    def revoke(self) -> bool:
        """Give the token back: revoke it at Aritma ID, with its refresh token (RFC 7009), and remove it from the cache.

        The next request fetches another one; after a login, it raises :class:`LoginRequired`.

        :returns: whether Aritma ID revokes tokens at all.
        :raises TokenError: when it could not be revoked, and is removed from the cache all the same; or when the cache
            could not be cleared.
        """
        with unforked():
            from .revocation import give_back

        server = authorization_server(self._settings)
        return give_back(self._settings, self._source, server, self._endpoint.lender)[1]

    def borrow(self, session: requests.Session) -> None:
        """Send token requests as this session sends its own requests.

        :param session: the session whose ``verify``, ``cert``, ``proxies``, ``trust_env`` and adapters are used, as
            they are at the time of each token request. It is referred to weakly.
        """
        self._endpoint.borrow(session)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Authorise a request that is being prepared.

        :raises TokenError: when a token is needed and none could be had.
        """
        if not self._environment.covers(request.url or ""):
            return self._pass(request)
        if "Authorization" not in request.headers:
            self._attach(request, self._source.token().access_token)
        return request

    def note_passed(self, request: requests.PreparedRequest) -> None:
        """Remember that a request to another host has no credentials of its sender's own."""
        self._passed.add(request)

    def prepared(self, request: requests.PreparedRequest) -> bool:
        """Tell whether a request's credentials are this object's choice, and not its sender's own."""
        return request in self._passed or self.carried(request)

    def carried(self, request: requests.PreparedRequest) -> bool:
        """Tell whether a request carries a token of this object's."""
        return self._sent_token(request) is not None

    def _attach(self, request: requests.PreparedRequest, text: str) -> None:
        request.headers["Authorization"] = _SCHEME + text
        # First, so that hooks of the user's see the final answer only; in new objects, since copies share the old ones.
        hook, mark = self._hook, hash(text)
        if hook.mark != mark:
            hook = self._hook = _Hook(self._me, mark)
        others = _response_hooks(request)
        if others:
            others = [other for other in others if not self._is_mine(other)]
        request.hooks = {**request.hooks, "response": [hook, *others]}

    def _is_mine(self, hook: object) -> bool:
        return isinstance(hook, _Hook) and hook.auth is self._me

    def _pass(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Give a request what requests gives it where no ``auth`` is set; by the names that people patch."""
        if "Authorization" not in request.headers:
            self.note_passed(request)
        lender, url = self._endpoint.lender, request.url or ""
        _log.debug("no token for a request to %s: it is no API host of %s", _host(url), self.environment.issuer)
        trusted = (lender is None or lender.trust_env) and not self.environment.has_host_of(url)
        request.prepare_auth(sessions.get_netrc_auth(url) if trusted else None)
        return request

    def _sent_token(self, request: requests.PreparedRequest) -> str | None:
        """Give the token that this object attached to a request, if it still carries one."""
        header = request.headers.get("Authorization")
        if not isinstance(header, str):
            return None
        text = header.removeprefix(_SCHEME)
        marks = (hook.mark for hook in _response_hooks(request) if self._is_mine(hook))
        return text if hash(text) in marks else None

    def answer(self, response: requests.Response, **kwargs: Any) -> requests.Response:
        """Look at an answer before anybody else does: note that the token was accepted, or renew it and try again."""
        refused = response.status_code == _UNAUTHORIZED
        if refused or self._source.probing or self._stubborn:
            text = self._borne(response)
            if text is not None and refused:
                return self._answer_refusal(response, text, **kwargs)
            if text is not None:
                self._note_accepted(response, text)
        return response

    def _borne(self, response: requests.Response) -> str | None:
        """Give the token of this object's that an answer is about."""
        request: requests.PreparedRequest | None = response.request  # an adapter of the user's may leave it out
        # An adapter or a hook may have sent the request elsewhere meanwhile.
        if request is None or not self._environment.covers(request.url or ""):
            return None
        return self._sent_token(request)

    def _answer_refusal(self, response: requests.Response, text: str, **kwargs: Any) -> requests.Response:
        request = response.request
        if self._stubborn.know(request, text):
            return response
        fresh = self._renewed(response, text, stream=bool(kwargs.get("stream")))
        if fresh is None:
            return response
        newer = fresh.access_token
        final = replay(response, lambda again: self._attach(again, newer), **kwargs)
        if final is response:
            return response
        if final.status_code != _UNAUTHORIZED:
            self._note_accepted(final, newer)
        elif fresh.on_probation:  # one that others had used for a while may have been revoked meanwhile
            self._stubborn.note(request, newer)
        return final

    def _renewed(self, response: requests.Response, text: str, *, stream: bool) -> Token | None:
        """Give the token to replay a refused request with; ``None`` where the 401 is the answer."""
        repeatable = replayable(response.request)
        broken = drain(response) if repeatable and not stream else None
        try:
            token = self._source.token(rejected=text)
        except TokenError as error:
            if not repeatable:  # the caller is owed the 401
                _log.warning("the next request needs a new token, and none could be had: %s", error)
                return None
            response.close()
            raise
        if token is None and broken is not None:
            response.close()
            raise broken
        return token if repeatable else None

    def _note_accepted(self, response: requests.Response, text: str) -> None:
        # A server in trouble, a page that is not there, or a gateway that redirects may never have looked at the token.
        if response.status_code < 300 or response.status_code == requests.codes.forbidden:
            self._source.accept(text)
            if self._stubborn:
                self._stubborn.forget(response.request)

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self._settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._wire(state["settings"])

    def __copy__(self) -> AritmaAuth:
        twin = type(self).__new__(type(self))
        twin._wire(self._settings, self._on_event)  # noqa: SLF001  # of its own kind
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> AritmaAuth:
        return copy.copy(self)  # settings are frozen, and the store is there to be shared

    def __repr__(self) -> str:
        settings = getattr(self, "_settings", None)
        if settings is None:  # a setting was wrong, and somebody writes down where
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} for {settings.client_id!r} at {settings.environment.issuer}>"


class _Hook:
    """Stand among a request's hooks for the object that authorised it, which it does not keep alive or within reach.

    :param auth: the object.
    :param mark: the hash of the token that the object attached, which tells it from one that somebody else put there.
    """

    __slots__ = ("auth", "mark")

    def __init__(self, auth: weakref.ref[AritmaAuth] | None = None, mark: int | None = None) -> None:
        self.auth = auth
        self.mark = mark

    def __call__(self, response: requests.Response, **kwargs: Any) -> requests.Response:
        auth = self.auth() if self.auth is not None else None
        return response if auth is None else auth.answer(response, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Hook:
        return self

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return _Hook, ()  # a pickled request or response takes nobody's credentials along


def _response_hooks(request: requests.PreparedRequest) -> list[Any]:
    """Give the response hooks of a request; requests lets a single one stand without a list."""
    hooks: Any = request.hooks.get("response")
    if not hooks:
        return []
    return [hooks] if callable(hooks) else list(hooks)


def _host(url: str) -> str:
    """Give a URL's host and port, without a user name."""
    return urlsplit(url).netloc.rpartition("@")[2]
