"""Let a person log in."""

from __future__ import annotations

import sys
import webbrowser
from typing import TYPE_CHECKING

from ..login import log_in
from .given import resolve
from .parser import OK

if TYPE_CHECKING:
    import argparse

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Let a person log in with a browser, and say for how long that is good."""
    settings = resolve(options, grant="authorization_code")

    def show(url: str) -> None:
        begin = "To log in, go to" if options.no_browser else "A browser opens to log in; if none does, go to"
        print(f"{begin}\n\n    {url}\n", file=sys.stderr, flush=True)

    token = log_in(
        settings,
        show=show,
        open_browser=None if options.no_browser else webbrowser.open,
        port=options.port,
        prompt=options.prompt,
        acr_values=options.acr_values,
        response_mode=options.response_mode,
        patience=options.timeout,
    )
    lasting = "until it is revoked" if token.refresh_token else f"for {token.lifetime:.0f} seconds"
    print(f"Logged in, {lasting}. Programs use it with ARITMA_GRANT={settings.grant.name}.")
    return OK
