"""Ask Aritma ID for a token, past the cache, and say what works and what to do about the rest."""

from __future__ import annotations

import base64
import email.utils
import json
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
from requests.adapters import HTTPAdapter

from ..endpoint import TokenEndpoint
from ..exceptions import TokenError
from ..grants import Login
from ..stores import MemoryStore
from ..tokens import Token
from ..wiring import authorization_server
from .cached import place, shared
from .given import resolve, sources
from .parser import FAILED, OK
from .terminal import clean, duration, moment, painter, table

if TYPE_CHECKING:
    import argparse

    from ..metadata import Metadata
    from ..settings import Settings
    from ..stores import TokenStore

__all__ = ["run"]

#: Seconds by which two clocks may differ before anything is the worse for it: half the life of a signed assertion.
_DIFFERENCE = 30.0

#: The claims that are shown (RFC 9068, section 2.2; OpenID Connect Core 1.0, section 2), and those that are times.
_CLAIMS = ("iss", "sub", "aud", "client_id", "scope", "iat", "nbf", "exp", "auth_time", "acr", "amr")
_TIMES = {"iat", "nbf", "exp", "auth_time"}

#: The settings that are shown though they are the default ones.
_ALWAYS = {"environment", "scope", "grant", "cache"}

#: How a status of a check is shown.
_STYLES = {"ok": "good", "warning": "warning", "failed": "bad", "skipped": "quiet"}


def run(options: argparse.Namespace) -> int:
    """Check everything that a request needs, and fail where one of it fails."""
    examination = _Examination(options)
    examination.examine()
    print(json.dumps(examination.report()) if options.json else examination.text())
    return OK if examination.passed else FAILED


class _Check(NamedTuple):
    """Hold the outcome of one check.

    :param name: what was checked.
    :param status: ``ok``, ``warning``, ``failed`` or ``skipped``.
    :param message: what was found, and what to do about it.
    """

    name: str
    status: str
    message: str


class _Clock(HTTPAdapter):
    """Send as requests does, and compare the clock of whoever answers with this machine's.

    :ivar difference: seconds that this machine's clock is ahead; ``None`` before an answer with a ``Date``.
    :ivar answers: how many there were.
    """

    difference: float | None = None
    answers = 0

    def send(self, request: requests.PreparedRequest, *arguments: Any, **more: Any) -> requests.Response:
        before = time.time()
        response = super().send(request, *arguments, **more)
        middle = (before + time.time()) / 2
        self.answers += 1
        try:
            said = email.utils.parsedate_to_datetime(response.headers["Date"])
        except (KeyError, TypeError, ValueError):
            return response
        self.difference = middle - said.timestamp() - 0.5  # whole seconds are said, of which half a one has passed
        return response


class _Examination:
    """Look at one thing after the other, and keep what was found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._checks: list[_Check] = []
        self._settings: Settings | None = None
        self._token: Token | None = None
        self._kept: bool | None = None
        self._claims: dict[str, Any] | None = None
        self._clock = _Clock()

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(check.status != "failed" for check in self._checks)

    def examine(self) -> None:
        """Look at everything."""
        try:
            settings = self._settings = resolve(self._options)
        except ValueError as error:
            return self._note("settings", "failed", str(error))
        self._note("settings", "ok", "complete")
        store = settings.cache if self._examine_cache(settings) else MemoryStore()
        with requests.Session() as session:
            session.mount("https://", self._clock)
            self._examine_server(settings, store, session)
        self._examine_clock()
        if self._token is not None:
            self._examine_scope(settings, self._token)
        return None

    def _note(self, name: str, status: str, message: str) -> None:
        self._checks.append(_Check(name, status, clean(message)))

    def _examine_cache(self, settings: Settings) -> bool:
        """Write, read and remove a token that is none, and try the lock; tell whether all of that went well."""
        store, where, now = settings.cache, place(settings.cache), time.time()
        if not shared(store):
            self._note("cache", "ok", "in memory: no token is shared with other processes")
            return True
        key, probe = secrets.token_hex(20), Token("probe", now, now + 60)
        try:
            store.save(key, probe)
            try:
                found = store.load(key)
            finally:
                store.remove(key)
            with store.lock(settings.cache_key):
                pass
        except Exception as error:  # noqa: BLE001  # whatever a store raises
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            self._note("cache", "failed", f"{where} cannot be used ({reason}): choose another (ARITMA_CACHE)")
            return False
        if found != probe:
            self._note("cache", "failed", f"{where} does not keep what is written: choose another (ARITMA_CACHE)")
            return False
        self._note("cache", "ok", f"{where} can be read and written, and is shared")
        return True

    def _examine_server(self, settings: Settings, store: TokenStore, session: requests.Session) -> None:
        try:
            metadata = authorization_server(settings).metadata(session)
        except TokenError as error:
            return self._note("server", "failed", str(error))
        endpoint = TokenEndpoint(metadata.token_endpoint, settings.token_timeout)
        endpoint.borrow(session)
        before = self._clock.answers
        try:
            token, how = self._ask(settings, store, endpoint)
        except TokenError as error:
            answered = self._clock.answers > before
            if not answered and isinstance(error.__cause__, requests.RequestException):
                return self._note("server", "failed", str(error))
            self._note("server", "ok" if answered else "skipped", metadata.token_endpoint)
            return self._note("token", "failed", str(error))
        self._note("server", "ok" if self._clock.answers > before else "skipped", metadata.token_endpoint)
        self._token, self._kept = token, how.kept
        self._note("token", "ok", f"good for {duration(token.expires_at - time.time())}; {how.said}")
        self._examine_claims(settings, token, metadata)
        return None

    def _ask(self, settings: Settings, store: TokenStore, endpoint: TokenEndpoint) -> tuple[Token, _How]:
        """Make a token request, if that can be done without a person."""
        key, grant = settings.cache_key, settings.grant
        with store.lock(key) as alone:
            cached = store.load(key)
            if isinstance(grant, Login):
                return self._ask_for_login(key, grant, store, endpoint, cached, alone=alone)
            token, now = endpoint.fetch(grant), time.time()
            cached = store.load(key)  # another process may have been faster
            if not shared(store):
                return token, _How(kept=False, said="not kept")
            if cached is not None and cached.fresh(now) and now < cached.renewal_at(now, 0):
                left = duration(cached.expires_at - now)
                return token, _How(kept=False, said=f"not kept, as the cached one is good for {left}")
            if not alone:
                return token, _How(kept=False, said="not kept, as another process is fetching one")
            store.save(key, token)
            return token, _How(kept=True, said="kept in the cache, which had none that is as good")

    def _ask_for_login(
        self, key: str, grant: Login, store: TokenStore, endpoint: TokenEndpoint, cached: Token | None, *, alone: bool
    ) -> tuple[Token, _How]:
        """Use the refresh token; as it may be good for one use, what comes of it is always kept."""
        if cached is not None and cached.refresh_token is not None and alone:
            token = endpoint.fetch(grant.refreshing(cached)).following(cached)
            store.save(key, token)
            return token, _How(kept=True, said="renewed with the login's refresh token, and kept in the cache")
        if cached is None or not cached.fresh(time.time()):
            grant.check()
        why = "another process is renewing it" if cached.refresh_token else "it takes a person to get another"
        return cached, _How(kept=True, said=f"the cached one, as {why}")

    def _examine_claims(self, settings: Settings, token: Token, metadata: Metadata) -> None:
        claims = self._claims = _claims_of(token.access_token)
        if claims is None:
            return self._note("claims", "skipped", "the token is no JWT, and cannot be read here")
        expected = {"iss": metadata.issuer, "client_id": settings.client_id}
        wrong = [
            f"{name} is {claims[name]!r} and not {value!r}"
            for name, value in expected.items()
            if name in claims and claims[name] != value
        ]
        if wrong:
            advice = "an API may refuse it; check environment and tenant (ARITMA_ENVIRONMENT, ARITMA_TENANT)"
            return self._note("claims", "warning", f"{', '.join(wrong)}: {advice}")
        return self._note("claims", "ok", "issuer and client are those that were asked for")

    def _examine_clock(self) -> None:
        difference = self._difference
        if difference is None:
            return self._note("clock", "skipped", "no answer said what time it is")
        if abs(difference) < _DIFFERENCE:
            return self._note("clock", "ok", "as the server's, or nearly so")
        where = "ahead of" if difference > 0 else "behind"
        said = f"this machine's is {duration(abs(difference))} {where} the server's: set it, or let NTP do so"
        return self._note("clock", "warning", said)

    @property
    def _difference(self) -> float | None:
        """Seconds that this machine's clock is ahead, by an answer's ``Date``, or else by when the token was made."""
        issued = (self._claims or {}).get("iat")
        if self._clock.difference is not None:
            return self._clock.difference
        if self._token is None or isinstance(issued, bool) or not isinstance(issued, (int, float)):
            return None
        return self._token.obtained_at - issued

    def _examine_scope(self, settings: Settings, token: Token) -> None:
        asked, granted = list(settings.scope), self._granted(token)
        if granted is None:
            return self._note("scope", "ok", f"as asked for: {' '.join(asked) or 'all that the client is allowed'}")
        missing = [word for word in asked if word not in granted]
        if missing:
            said = f"{' '.join(missing)} was asked for and not granted: ask Aritma, or change scope (ARITMA_SCOPE)"
            return self._note("scope", "warning", said)
        return self._note("scope", "ok", f"granted {' '.join(granted)}")

    def _granted(self, token: Token) -> list[str] | None:
        """Give the scope that the answer, or else the token, says; ``None`` where that is what was asked for."""
        said = token.scope if token.scope is not None else (self._claims or {}).get("scope")
        return said.split() if isinstance(said, str) else [*map(str, said)] if isinstance(said, list) else None

    def report(self) -> dict[str, Any]:
        """Give what was found as plain JSON values."""
        settings, token = self._settings, self._token
        return {
            "ok": self.passed,
            "settings": sources(self._options, settings),
            "checks": [check._asdict() for check in self._checks],
            "cache": None if settings is None else {"place": place(settings.cache), "shared": shared(settings.cache)},
            "clock_difference": self._difference,
            "token": None
            if token is None
            else {
                "kept": self._kept,
                "lifetime": token.lifetime,
                "expires_at": token.expires_at,
                "scope": self._granted(token),
                "claims": self._shown,
            },
        }

    @property
    def _shown(self) -> dict[str, Any] | None:
        claims = self._claims
        return None if claims is None else {name: claims[name] for name in _CLAIMS if name in claims}

    def text(self) -> str:
        """Give what was found as a person reads it."""
        paint = painter(sys.stdout)
        settings = [
            (name, _setting(name, found["value"]), found["source"])
            for name, found in sources(self._options, self._settings).items()
            if found["source"] != "default" or (name in _ALWAYS and found["value"] is not None)
        ]
        parts = [("Settings", table(settings, "  "))]
        if self._shown:
            claims = [(name, _claim(name, value)) for name, value in self._shown.items()]
            parts.append(("Token, decoded and not verified", table(claims, "  ")))
        checks = "\n".join(
            f"  {paint(_STYLES[status], f'{status:<7}')}  {name:<8}  {message}"
            for name, status, message in self._checks
        )
        parts.append(("Checks", checks))
        return "\n\n".join(f"{paint('strong', title)}\n{body}" for title, body in parts)


class _How(NamedTuple):
    """Say how a token was had.

    :param kept: whether it is in the cache.
    :param said: the same in words.
    """

    kept: bool
    said: str


def _setting(name: str, value: object) -> str:
    if name == "scope" and value == []:
        return "(all that the client is allowed)"
    return "(set)" if value is None else _written(value)


def _claims_of(text: str) -> dict[str, Any] | None:
    """Read the claims of a JWT (RFC 7519, section 7.2), without a look at its signature."""
    try:
        part = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _claim(name: str, value: object) -> str:
    if name in _TIMES and isinstance(value, int):
        return f"{moment(value)} ({value})"
    return _written(value)


def _written(value: object) -> str:
    return clean(" ".join(map(str, value)) if isinstance(value, list) else value)
