"""A line on a terminal that says how far a transfer is."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from .terminal import bar, size

if TYPE_CHECKING:
    import requests

__all__ = ["Progress"]

#: Seconds before anything is shown, since most transfers are over by then; and between two looks.
PATIENCE, PAUSE = 1.0, 0.1

_WIDTH = 30


class Progress:
    """Show on standard error, where that is a terminal, how much of a body has come.

    :param response: the answer that the body belongs to.
    :param show: whether to show anything at all.
    """

    def __init__(self, response: requests.Response, *, show: bool = True) -> None:
        self._raw = response.raw
        promised = response.headers.get("Content-Length", "")
        self._whole = int(promised) if promised.isdecimal() else 0
        self._show = show and sys.stderr.isatty()
        self._due = time.monotonic() + PATIENCE
        self._shown = False

    def __enter__(self) -> Progress:  # noqa: PYI034  # typing.Self came with Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave an empty line for whatever comes next."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def advance(self) -> None:
        """Show how much has come by now."""
        now = time.monotonic()
        if not self._show or now < self._due:
            return
        self._due, self._shown = now + PAUSE, True
        come = self._raw.tell()  # as it is on the way, which is what the length counts, and not as it is unpacked
        said = size(come)
        if self._whole:
            share = min(come / self._whole, 1.0)
            said = f"{share:4.0%} {bar(share, _WIDTH, sys.stderr)} {said} of {size(self._whole)}"
        print(f"\r\x1b[K{said}", end="", file=sys.stderr, flush=True)
