"""``requests.Session`` for Aritma's banking APIs, with one OAuth 2.0 token for all processes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .auth import AritmaAuth
    from .environment import DEVELOPMENT, PRODUCTION, Environment
    from .exceptions import CredentialsRefused, LoginRequired, TokenEndpointUnavailable, TokenError
    from .session import AritmaSession
    from .stores import MemoryStore, TokenStore
    from .stores.file import FileStore
    from .tokens import Token

__version__ = "0.1.0"

__all__ = [
    "DEVELOPMENT",
    "PRODUCTION",
    "AritmaAuth",
    "AritmaSession",
    "CredentialsRefused",
    "Environment",
    "FileStore",
    "LoginRequired",
    "MemoryStore",
    "Token",
    "TokenEndpointUnavailable",
    "TokenError",
    "TokenStore",
]

#: Where each public name is found, once it is asked for: a command that needs one of them does not pay for all (PEP
#: 562).
_HOMES = {
    "DEVELOPMENT": "environment",
    "PRODUCTION": "environment",
    "AritmaAuth": "auth",
    "AritmaSession": "session",
    "CredentialsRefused": "exceptions",
    "Environment": "environment",
    "FileStore": "stores.file",
    "LoginRequired": "exceptions",
    "MemoryStore": "stores",
    "Token": "tokens",
    "TokenEndpointUnavailable": "exceptions",
    "TokenError": "exceptions",
    "TokenStore": "stores",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
