"""The settings that options and variables give."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..lookup import variable_of
from .parser import SETTINGS

if TYPE_CHECKING:
    import argparse

    from ..settings import Settings

__all__ = ["arguments", "as_options", "resolve", "sources"]


def arguments(options: argparse.Namespace, **defaults: str) -> dict[str, Any]:
    """Give the arguments, of ``Settings.resolve`` and of sessions, that options say.

    :param defaults: what takes the place of a setting's own default.
    """
    given = {name: getattr(options, name) for name in SETTINGS}
    for name, value in defaults.items():
        if given[name] is None and not os.environ.get(variable_of(name)):
            given[name] = value
    return {**given, "extra": None if options.extra is None else dict(options.extra)}


def resolve(options: argparse.Namespace, **defaults: str) -> Settings:
    """Give the settings that options and variables say.

    :param defaults: as above.
    :raises ValueError: when one is missing or impossible; the message names the option, where there is one.
    """
    from ..settings import Settings

    try:
        return Settings.resolve(**arguments(options, **defaults))
    except ValueError as error:
        raise ValueError(as_options(str(error))) from None


def as_options(text: str) -> str:
    """Say how to give a setting as a command does, where a message says how Python does."""

    def way(match: re.Match[str]) -> str:
        return f"pass --{match[1].replace('_', '-')} or set" if match[1] in SETTINGS else "set"

    return re.sub(r"\bpass (\w+)=\.\.\. or set\b", way, text)


#: The names of all settings; of those that are secret, only where they come from is told.
_SECRETS = ("client_secret", "private_key", "private_key_passphrase", "password", "cache_encryption_key")
_OTHERS = (
    *("client_id", "environment", "tenant", "scope", "cache", "api_hosts", "token_timeout", "grant", "username"),
    *("token_endpoint_auth_method", "token_endpoint_auth_signing_alg", "private_key_id", "extra"),
)


def sources(options: argparse.Namespace, settings: Settings | None) -> dict[str, dict[str, Any]]:
    """Give, for each setting, its value and where it was found: an option, a variable, or ``default``.

    :param settings: what was found; ``None`` where it cannot be used, so that no value can be told.
    :returns: a secret has no value, and is there only if it was given; of ``extra`` the names are told, as nobody knows
        what its values are.
    """
    values = {} if settings is None else _values(settings)
    found = {name: {"value": values.get(name), "source": _source(name, options)} for name in _OTHERS}
    hidden = {name: {"value": None, "source": _source(name, options)} for name in _SECRETS}
    return {**found, **{name: entry for name, entry in hidden.items() if entry["source"] != _DEFAULT}}


_DEFAULT = "default"


def _source(name: str, options: argparse.Namespace) -> str:
    if getattr(options, name, None) is not None:
        return f"--{name.replace('_', '-')}"
    variables = [variable_of(name), *([f"{variable_of(name)}_FILE"] if name in _SECRETS else [])]
    for variable in variables:
        # An empty scope is one.
        if os.environ.get(variable, "").strip() or (name == "scope" and variable in os.environ):
            return variable
    return _DEFAULT


def _values(settings: Settings) -> dict[str, Any]:
    from .cached import place

    grant, environment = settings.grant, settings.environment
    proof = grant.authentication
    return {
        "client_id": grant.client_id,
        "environment": environment.issuer,
        "tenant": environment.tenant,
        "scope": list(grant.scope),
        "cache": place(settings.cache),
        "api_hosts": list(environment.api_hosts),
        "token_timeout": list(settings.token_timeout),
        "grant": grant.name,
        "username": getattr(grant, "username", None),
        "token_endpoint_auth_method": proof.method,
        "token_endpoint_auth_signing_alg": getattr(proof, "algorithm", None),
        "private_key_id": getattr(proof, "key_id", None),
        "extra": [name for name, _ in grant.extra],
    }
