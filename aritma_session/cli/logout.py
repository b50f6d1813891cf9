"""Give a token back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..endpoint import TokenEndpoint
from ..revocation import give_back
from ..wiring import authorization_server, locator, token_source
from .given import resolve
from .parser import OK

if TYPE_CHECKING:
    import argparse

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Revoke the token, and remove it from the cache."""
    settings = resolve(options, grant="authorization_code")
    endpoint = TokenEndpoint(locator(settings), settings.token_timeout)
    source = token_source(settings, lambda: endpoint)
    found, revoked = give_back(settings, source, authorization_server(settings))
    if not found:
        print("Nobody was logged in.")
    elif revoked:
        print("Logged out.")
    else:
        print("The token was removed from the cache. Aritma ID revokes none: it is good until it expires.")
    return OK
