"""Arguments, then ``ARITMA_*`` variables, then defaults."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from .credentials import Secret, hide_url, without_credentials
from .environment import DEVELOPMENT, PRODUCTION, Environment
from .grants import ClientCredentials
from .stores import TokenStore, open_store
from .values import Value

if TYPE_CHECKING:
    from .stores.sealing import Sealing

__all__ = ["Settings"]

_T = TypeVar("_T")

#: One scope token (RFC 6749, section 3.3).
_SCOPE = r"[\x21\x23-\x5b\x5d-\x7e]+"


class Settings(Value):
    """Hold what a session works with, checked.

    :param client_id: the client's id.
    :param client_secret: the client's secret.
    :param environment: where tokens come from and may go, with tenant and API hosts.
    :param scope: the scopes asked for; none for the server's own default.
    :param cache: the store that tokens are shared through.
    :param token_timeout: seconds that a token request may take to connect, and for the body of its answer.
    """

    __slots__ = ("client_id", "client_secret", "environment", "scope", "cache", "token_timeout")

    client_id: str
    client_secret: Secret
    environment: Environment
    scope: tuple[str, ...]
    cache: TokenStore
    token_timeout: tuple[float, float]

    def __init__(
        self,
        client_id: str,
        client_secret: Secret,
        environment: Environment,
        scope: tuple[str, ...],
        cache: TokenStore,
        token_timeout: tuple[float, float],
    ) -> None:
        self._set(client_id=client_id, client_secret=client_secret, environment=environment)
        self._set(scope=scope, cache=cache, token_timeout=token_timeout)

    @property
    def grant(self) -> ClientCredentials:
        """Who asks for tokens, and for what."""
        return ClientCredentials(self.client_id, self.client_secret, self.scope)

    @property
    def cache_key(self) -> str:
        """The name of the tokens that may be shared: those of the same client, for the same, from the same place."""
        parts = json.dumps([self.environment.issuer, self.environment.tenant, *self.grant.identity])
        return hashlib.sha256(parts.encode()).hexdigest()[:40]

    @classmethod
    def resolve(  # the arguments are those of AritmaSession
        cls,
        client_id: str | None = None,
        client_secret: str | Secret | None = None,
        *,
        environment: str | Environment | None = None,
        scope: str | Iterable[str] | None = None,
        tenant: str | None = None,
        cache: Any = None,
        api_hosts: str | Iterable[str] | None = None,
        token_timeout: float | tuple[float, float] | None = None,
        cache_encryption_key: str | Secret | None = None,
    ) -> Settings:
        """Take each setting from its argument, else from its variable, else from its default.

        :raises ValueError: when a setting is missing or impossible. The message names the argument and the variable,
            and shows no secret.
        """
        secret, key, cache = Secret.given(client_secret), Secret.given(cache_encryption_key), hide_url(cache)
        del client_secret, cache_encryption_key  # as in AritmaSession
        place = _setting("environment", environment, _environment, "production")
        hosts = _setting("api_hosts", api_hosts, _hosts, "")
        return cls(
            client_id=_setting("client_id", client_id, _client_id),
            client_secret=_secret(secret),
            environment=_setting("api_hosts", hosts, lambda added: place.extended(api_hosts=added)).replace(
                tenant=_setting("tenant", place.tenant if tenant is None else tenant, _tenant_of(place), ""),
            ),
            scope=_setting("scope", scope, _scope, "bankservice", empty_counts=True),
            cache=_cache(cache, key),
            token_timeout=_setting("token_timeout", token_timeout, _timeout, (10.0, 30.0)),
        )


def _setting(
    name: str,
    value: Any,
    check: Callable[[Any], _T],
    default: Any = None,
    *,
    empty_counts: bool = False,
    variable: str | None = None,
    hide: Callable[[Any], Any] = lambda value: value,
) -> _T:
    """Find one setting and check it.

    :param check: makes the setting of what was found, or raises a ValueError that says what is wrong with it.
    :param empty_counts: whether a variable that is set but empty is a value of its own.
    :param variable: the variable's name, where it is not that of the argument.
    :param hide: makes of what stands in a variable something that does not show itself.
    """
    variable = variable or f"ARITMA_{name.upper()}"
    if value is None:
        value = os.environ.get(variable)
        if value is None or not (value.strip() or empty_counts):
            value = default
        value = hide(value)
    if value is None:
        raise ValueError(f"{name} is missing: pass {name}=... or set the environment variable {variable}")
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{name} (or the environment variable {variable}) is not usable: {error}") from None


def _client_id(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"it is a string, not {_a(value)}")
    if not value or not value.isprintable() or value != value.strip():
        raise ValueError("it is empty, or has white space around it or a line break in it")
    return value


def _secret(argument: Secret | None) -> Secret:
    # No variable here may hold the secret itself: a traceback that shows variables would show it.
    given, file_given = (bool(os.environ.get(f"ARITMA_CLIENT_SECRET{suffix}", "").strip()) for suffix in ("", "_FILE"))
    ways = "pass client_secret=... or set the environment variable ARITMA_CLIENT_SECRET or ARITMA_CLIENT_SECRET_FILE"
    if argument is not None:
        if argument.path is None and not isinstance(argument.value, str):
            raise ValueError(f"client_secret is a string, not {_a(argument.value)}; {ways}")
        secret, source = argument, "client_secret"
    elif given and file_given:
        both = "ARITMA_CLIENT_SECRET and ARITMA_CLIENT_SECRET_FILE are both set"
        raise ValueError(f"{both}: unset one of them, or pass client_secret=...")
    elif given:
        secret, source = Secret(os.environ["ARITMA_CLIENT_SECRET"]), "ARITMA_CLIENT_SECRET"
    elif file_given:
        path = os.path.abspath(os.path.expanduser(os.environ["ARITMA_CLIENT_SECRET_FILE"]))
        secret, source = Secret(path=path), "ARITMA_CLIENT_SECRET_FILE"
    else:
        raise ValueError(f"client_secret is missing: {ways}")
    if (problem := secret.problem) is not None:
        raise ValueError(f"{source} is not usable: {problem}; {ways}")
    return secret


def _cache(cache: Any, key: Secret | None) -> TokenStore:
    sealing = _setting("cache_encryption_key", key, _sealing, "", variable="ARITMA_CACHE_KEY", hide=Secret.given)
    return _setting("cache", cache, functools.partial(open_store, sealing=sealing), "file", hide=hide_url)


def _sealing(keys: Secret) -> Sealing | None:
    if keys.value == "":
        return None
    from .stores.sealing import Sealing

    return Sealing(keys)


def _environment(value: object) -> Environment:
    if isinstance(value, Environment):
        return value
    named = {"production": PRODUCTION, "development": DEVELOPMENT}
    if isinstance(value, str) and value in named:
        return named[value]
    if isinstance(value, str) and "://" in value:
        return Environment.at(value)
    shown = repr(without_credentials(value)) if isinstance(value, str) else _a(value)
    raise ValueError(f"{shown} is neither 'production' nor 'development', nor an Environment, nor an https URL")


def _tenant_of(place: Environment) -> Callable[[Any], str | None]:
    """Check a tenant by giving it to the environment, which knows what one looks like."""

    def check(value: object) -> str | None:
        if not isinstance(value, str):
            raise ValueError(f"it is a string, not {_a(value)}")
        return place.extended(value).tenant if value else None

    return check


def _hosts(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and "@" in value:  # not to be split: a piece of a password would be shown
        shown = without_credentials(value)
        raise ValueError(f"{shown!r} has a user name in it: write 'host', 'host:port' or '*.domain'")
    return _words(value)


def _words(value: object) -> tuple[str, ...]:
    """Read several words from an iterable, or from a string with commas or white space between them."""
    words = re.split(r"[,\s]+", value) if isinstance(value, str) else value
    if not isinstance(words, Iterable) or isinstance(words, (bytes, dict)):
        raise ValueError(f"it is a string or an iterable of strings, not {_a(value)}")
    found = tuple(words)
    for word in found:
        if not isinstance(word, str):
            raise ValueError(f"it is a string or an iterable of strings, and {_a(word)} is among them")
    return tuple(dict.fromkeys(word for word in found if word))


def _scope(value: object) -> tuple[str, ...]:
    scope = tuple(word for part in _words(value.split() if isinstance(value, str) else value) for word in part.split())
    for word in scope:
        if not re.fullmatch(_SCOPE, word):
            raise ValueError(f"{word!r} cannot be a scope")
    return tuple(dict.fromkeys(scope))


def _timeout(value: object) -> tuple[float, float]:
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (tuple, list)) else (value,)
    try:
        seconds = [math.nan if isinstance(part, bool) else float(part) for part in parts]
    except (TypeError, ValueError, OverflowError):
        seconds = []
    if len(seconds) not in (1, 2) or not all(math.isfinite(part) and part > 0 for part in seconds):
        raise ValueError("it is neither a number of seconds above 0, nor two of them: (connect, read)")
    return seconds[0], seconds[-1]


def _a(value: object) -> str:
    """Name the type of something that must not be shown itself."""
    return f"something of type {type(value).__name__}"
