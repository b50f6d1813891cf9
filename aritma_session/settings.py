"""Arguments, then ``ARITMA_*`` variables, then defaults."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .clients import (
    ClientAuthentication,
    ClientSecretBasic,
    ClientSecretPost,
    NoSecret,
    PrivateKeyJwt,
    TlsClientAuth,
)
from .credentials import PrivateKey, Secret, hide, hide_url, without_credentials
from .environment import DEVELOPMENT, PRODUCTION, Environment
from .grants import ClientCredentials, Grant, Login, Password
from .lookup import a, secret_setting, setting, source_of, ways_to, words
from .stores import TokenStore, open_store
from .values import Value

if TYPE_CHECKING:
    from .stores.sealing import Sealing

__all__ = ["Settings"]

#: One scope token (RFC 6749, section 3.3).
_SCOPE = r"[\x21\x23-\x5b\x5d-\x7e]+"

GRANTS = ("client_credentials", "password", "authorization_code", "implicit")

_LOGINS = {"authorization_code", "implicit"}

#: Where a person logs in, a refresh token is asked for too, without which they would have to every hour.
_DEFAULT_SCOPES = {**dict.fromkeys(GRANTS, "bankservice"), "authorization_code": "bankservice offline_access"}

_METHODS = ("client_secret_post", "client_secret_basic", "private_key_jwt", "tls_client_auth", "none")

#: What a token request says by itself, and nobody else may.
_RESERVED = {
    *("client_assertion", "client_assertion_type", "client_id", "client_secret", "code", "code_verifier", "grant_type"),
    *("password", "redirect_uri", "refresh_token", "scope", "username", "response_type", "response_mode", "state"),
    *("nonce", "code_challenge", "code_challenge_method", "request", "request_uri", "uri", "self"),
}


class Settings(Value):
    """Hold what a session works with, checked.

    :param environment: where tokens come from and may go, with tenant and API hosts.
    :param grant: who asks for tokens, and for what.
    :param cache: the store that tokens are shared through.
    :param token_timeout: seconds that a token request may take to connect, and for the body of its answer.
    """

    __slots__ = ("environment", "grant", "cache", "token_timeout")

    environment: Environment
    grant: Grant
    cache: TokenStore
    token_timeout: tuple[float, float]

    def __init__(
        self, environment: Environment, grant: Grant, cache: TokenStore, token_timeout: tuple[float, float]
    ) -> None:
        self._set(environment=environment, grant=grant, cache=cache, token_timeout=token_timeout)

    @property
    def client_id(self) -> str:
        """The client's id."""
        return self.grant.client_id

    @property
    def scope(self) -> tuple[str, ...]:
        """The scopes asked for; none for the server's own default."""
        return self.grant.scope

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
    ) -> Settings:
        """Take each setting from its argument, else from its variable, else from its default.

        :raises ValueError: when a setting is missing or impossible. The message names the argument and the variable,
            and shows no secret.
        """
        given = _Credentials(*hide(client_secret, private_key, private_key_passphrase, password))
        sealing_key, cache = Secret.given(cache_encryption_key), hide_url(cache)
        del client_secret, private_key, private_key_passphrase, password, cache_encryption_key  # as in AritmaSession
        place = setting("environment", environment, _environment, "production")
        hosts = setting("api_hosts", api_hosts, _hosts, "")
        place = setting("api_hosts", hosts, lambda added: place.extended(api_hosts=added)).replace(
            tenant=setting("tenant", place.tenant if tenant is None else tenant, _tenant_of(place), ""),
        )
        kind = setting("grant", grant, _one_of(GRANTS), "client_credentials")
        client_id = setting("client_id", client_id, _name)
        method = setting("token_endpoint_auth_method", token_endpoint_auth_method, _one_of(("", *_METHODS)), "")
        algorithm = setting("token_endpoint_auth_signing_alg", token_endpoint_auth_signing_alg, _algorithm, "")
        key_id = setting("private_key_id", private_key_id, _text, "")
        authentication = given.authentication(method, kind, algorithm or None, key_id or None)
        asked = client_id, authentication, setting("scope", scope, _scope, _DEFAULT_SCOPES[kind], empty_counts=True)
        pairs = setting("extra", extra, _extra, "")
        store = _cache(cache, sealing_key, kind)
        user = setting("username", username, _name) if kind == "password" else setting("username", username, _text, "")
        if kind == "client_credentials":
            found: Grant = ClientCredentials(*asked, pairs)
        elif kind == "password":
            found = Password(*asked, pairs, user, given.password())
        else:
            login = Login(*asked, pairs, user or None, kind)
            found = login.replace(login_command=_login_command(place, login, cache))
        return cls(place, found, store, setting("token_timeout", token_timeout, _timeout, (10.0, 30.0)))


class _Credentials:
    """Hold the secrets that were passed, hidden already."""

    def __init__(
        self,
        client_secret: Secret | None,
        private_key: Secret | None,
        passphrase: Secret | None,
        users_password: Secret | None,
    ) -> None:
        self.client_secret, self.private_key = client_secret, private_key
        self.passphrase, self.users_password = passphrase, users_password

    def authentication(
        self, method: str, grant: str, algorithm: str | None, key_id: str | None
    ) -> ClientAuthentication:
        """Give the way in which the client proves itself: the one that was named, or that there is a secret for.

        :raises ValueError: when the secret is missing or cannot be used.
        """
        # What was passed for one way comes before what the variables say for another.
        passed = {"client_secret": self.client_secret is not None, "private_key": self.private_key is not None}
        secret = key = None
        if method in {"", "client_secret_post", "client_secret_basic"}:
            secret = secret_setting(
                "client_secret", self.client_secret, variables=bool(method) or not passed["private_key"]
            )
        if method in {"", "private_key_jwt"}:
            key = _key(self.private_key, variables=bool(method) or not passed["client_secret"])
        if secret is not None and key is not None:
            raise ValueError(
                "client_secret and private_key are both set: leave one of them out, or say which one counts with "
                "token_endpoint_auth_method (ARITMA_TOKEN_ENDPOINT_AUTH_METHOD)"
            )
        if key is not None or method == "private_key_jwt":
            return self._signing(key, algorithm, key_id)
        if method == "tls_client_auth":
            return TlsClientAuth()
        if method == "none" or (secret is None and not method and grant != "client_credentials"):
            if grant == "client_credentials":
                raise ValueError("token_endpoint_auth_method is 'none', and a client in its own name must prove itself")
            return NoSecret()
        checked = _checked("client_secret", self.client_secret, secret)
        return ClientSecretBasic(checked) if method == "client_secret_basic" else ClientSecretPost(checked)

    def password(self) -> Secret:
        """Give the user's password.

        :raises ValueError: when it is missing or cannot be one.
        """
        return _checked("password", self.users_password, secret_setting("password", self.users_password))

    def _signing(self, key: Secret | None, algorithm: str | None, key_id: str | None) -> PrivateKeyJwt:
        if key is None:
            raise ValueError(f"private_key is missing: {ways_to('private_key')}")
        passphrase = secret_setting("private_key_passphrase", self.passphrase)
        if passphrase is not None:
            passphrase = _checked("private_key_passphrase", self.passphrase, passphrase)
        found, source = PrivateKey(key, passphrase), source_of("private_key", self.private_key, key)
        if (problem := found.problem) is not None:
            raise ValueError(f"{source} is not usable: {problem}; {ways_to('private_key')}")
        if missing := _not_installed({"jwt": "PyJWT", "cryptography": "cryptography"}):
            raise ValueError(f'private_key needs {missing}, not installed: pip install "aritma-session[jwt]"')
        return PrivateKeyJwt(found, algorithm, key_id)


def _key(argument: Secret | None, *, variables: bool) -> Secret | None:
    value: Any = None if argument is None else argument.value
    if isinstance(value, os.PathLike):
        return Secret(path=os.path.abspath(os.path.expanduser(os.fspath(value))))
    return secret_setting("private_key", argument, variables=variables)


def _checked(name: str, argument: Secret | None, secret: Secret | None) -> Secret:
    if secret is None:
        raise ValueError(f"{name} is missing: {ways_to(name)}")
    if (problem := secret.problem) is not None:
        raise ValueError(f"{source_of(name, argument, secret)} is not usable: {problem}; {ways_to(name)}")
    return secret


def _not_installed(modules: dict[str, str]) -> str:
    """Name what is not installed, without the time that importing it takes."""
    import importlib.util

    return " and ".join(name for module, name in modules.items() if importlib.util.find_spec(module) is None)


def _login_command(place: Environment, grant: Login, cache: Any) -> str:
    """Give the command that logs a person in for these settings; what it does not say is the default."""
    import shlex

    named = {PRODUCTION.issuer: None, DEVELOPMENT.issuer: "development"}
    scope = " ".join(grant.scope)
    if cache is None:
        cache = os.environ.get("ARITMA_CACHE", "").strip() or "file"
    place_of_tokens, before = _shown_cache(cache)
    options = {
        "--client-id": grant.client_id,
        "--environment": named.get(place.issuer, place.issuer),
        "--tenant": place.tenant,
        "--scope": None if scope == _DEFAULT_SCOPES[grant.kind] else scope,
        "--grant": None if grant.kind == "authorization_code" else grant.kind,
        "--username": grant.username,
        "--cache": place_of_tokens,
    }
    said = [text for name, value in options.items() if value is not None for text in (name, value)]
    said += [text for name, value in grant.extra for text in ("--extra", f"{name}={value}")]
    return before + shlex.join(["aritma-session", "login", *said])


def _shown_cache(cache: Any) -> tuple[str | None, str]:
    """Give what ``--cache`` says of a cache, and what stands before the command where that cannot be said."""
    url = cache.value if isinstance(cache, Secret) else cache
    if url == "file":
        return None, ""
    if url == "keyring:" or (isinstance(url, str) and "://" in url and url == without_credentials(url)):
        return url, ""
    if isinstance(url, os.PathLike) or (isinstance(url, str) and "://" not in url):
        return os.path.abspath(os.path.expanduser(os.fspath(url))), ""  # as it may be run elsewhere
    directory = getattr(url, "directory", None)
    if isinstance(directory, str) and os.path.basename(directory) == "aritma-session":
        return os.path.dirname(directory), ""
    return None, "ARITMA_CACHE=... "  # a password may be in it, or nobody knows how it was made


def _one_of(names: Iterable[str]) -> Callable[[Any], str]:
    known = tuple(names)

    def check(value: object) -> str:
        if value not in known or not isinstance(value, str):
            shown = repr(value) if isinstance(value, str) else a(value)
            raise ValueError(f"{shown} is none of {', '.join(name for name in known if name)}")
        return value

    return check


def _algorithm(value: object) -> str:
    return _one_of(("", *(name for names in PrivateKeyJwt.ALGORITHMS.values() for name in names)))(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"it is a string, not {a(value)}")
    if not value.isprintable() or value != value.strip():
        raise ValueError("it has white space around it or a line break in it")
    return value


def _extra(value: object) -> tuple[tuple[str, str], ...]:
    if isinstance(value, str):
        from urllib.parse import parse_qsl

        try:
            found = parse_qsl(value, keep_blank_values=True, strict_parsing=True, errors="strict") if value else []
        except ValueError:
            raise ValueError("it is no form, such as 'audience=x&resource=y'") from None
        pairs: list[tuple[Any, Any]] = [*found]
    elif isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        raise ValueError(f"it is a mapping of names to strings, not {a(value)}")
    names = [name for name, _ in pairs]
    for name, text in pairs:
        if not isinstance(name, str) or not isinstance(text, str):
            raise ValueError("it is a mapping of names to strings")
        if name in _RESERVED:
            raise ValueError(f"{name} is no extra parameter: it has a setting of its own, or follows from the grant")
        if not name or not text or names.count(name) > 1:
            raise ValueError("a name or a value is empty, or a name stands twice")
        if re.search("[\ud800-\udfff]", name + text):
            raise ValueError("there is half a letter in it, which cannot be sent")
        if not (name + text).isprintable():
            raise ValueError("there is a line break or another control character in it")
    return tuple(sorted(pairs))


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"it is a string, not {a(value)}")
    if not value or not value.isprintable() or value != value.strip():
        raise ValueError("it is empty, or has white space around it or a line break in it")
    return value


def _cache(cache: Any, key: Secret | None, kind: str) -> TokenStore:
    # Of whatever type it is, the check of keys says what they are.
    found = key if key is not None else secret_setting("cache_encryption_key", None)
    sealing = setting("cache_encryption_key", found, _sealing, "", hide=Secret.given)

    def open_(cache: Any) -> TokenStore:
        if cache == "memory" and kind in _LOGINS:
            raise ValueError("a login is found in the cache, and one in memory is this process' alone: choose another")
        return open_store(cache, sealing=sealing)

    return setting("cache", cache, open_, "file", hide=hide_url)


def _sealing(keys: Secret) -> Sealing | None:
    if keys.path is not None:
        keys = Secret(keys.text())
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
    shown = repr(without_credentials(value)) if isinstance(value, str) else a(value)
    raise ValueError(f"{shown} is neither 'production' nor 'development', nor an Environment, nor an https URL")


def _tenant_of(place: Environment) -> Callable[[Any], str | None]:
    """Check a tenant by giving it to the environment, which knows what one looks like."""

    def check(value: object) -> str | None:
        if not isinstance(value, str):
            raise ValueError(f"it is a string, not {a(value)}")
        return place.extended(value).tenant if value else None

    return check


def _hosts(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and "@" in value:  # not to be split: a piece of a password would be shown
        shown = without_credentials(value)
        raise ValueError(f"{shown!r} has a user name in it: write 'host', 'host:port' or '*.domain'")
    return words(value)


def _scope(value: object) -> tuple[str, ...]:
    scope = tuple(word for part in words(value.split() if isinstance(value, str) else value) for word in part.split())
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
