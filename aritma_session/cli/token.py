"""Print a token, or the header that it stands in; with a warm cache, without the time that requests takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wiring import locator, token_source
from .given import resolve
from .parser import OK

if TYPE_CHECKING:
    import argparse

    from ..endpoint import TokenEndpoint

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print the token that a request would be given now."""
    settings = resolve(options)

    def endpoint() -> TokenEndpoint:
        from ..endpoint import TokenEndpoint  # requests comes with it, which a warm cache has no use for

        return TokenEndpoint(locator(settings), settings.token_timeout)

    print(options.line.format(token_source(settings, endpoint).token().access_token))
    return OK
