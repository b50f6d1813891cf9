"""Hosts and paths that refuse whatever token they are given."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import requests

__all__ = ["StubbornPlaces"]

#: Seconds for which a host, or a path, that refused a new token too is not given another because of its next 401.
MEMORY = 30.0


class StubbornPlaces:
    """Remember who refused a new token right after another: a newer one would not please them either.

    Any number of threads may use one.
    """

    def __init__(self) -> None:
        # Host, or host and path: the token that it refused last after another, and when. Replaced as a whole by `note`;
        # each other use is one operation on a dict.
        self._entries: dict[str, tuple[str, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def note(self, request: requests.PreparedRequest, text: str) -> None:
        """Note that a request was refused with this token, after another."""
        now = time.monotonic()
        entries = list(self._entries.items())  # in one operation: other threads may pop from it
        remembered = {place: entry for place, entry in entries if now - entry[1] < MEMORY}
        self._entries = {**remembered, **dict.fromkeys(_places(request), (text, now))}

    def know(self, request: requests.PreparedRequest, text: str) -> bool:
        """Tell whether a host, or this path of it, has refused this very token after another."""
        entries = filter(None, map(self._entries.get, _places(request)))
        return any(refused == text and time.monotonic() - at < MEMORY for refused, at in entries)

    def forget(self, request: requests.PreparedRequest) -> None:
        """Note that a request was taken."""
        for place in _places(request):
            self._entries.pop(place, None)


def _places(request: requests.PreparedRequest) -> tuple[str, str]:
    """Give what may refuse a token by itself: a host, or one path of it that asks for more than a token."""
    parts = urlsplit(request.url or "")
    return parts.netloc, parts.netloc + parts.path
