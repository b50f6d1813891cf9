"""Keep what the sandbox was asked, and count it."""

from __future__ import annotations

import re
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TOKEN_PATH", "Counts", "Ledger", "Request"]

TOKEN_PATH = re.compile(r"/(?:[^/]+/)?connect/token")
KEPT = 10_000


@dataclass(frozen=True)
class Request:
    """Hold one request as it arrived.

    :param method: the HTTP method.
    :param path: the path, still percent-encoded, without the query.
    :param query: the query, still percent-encoded, without the question mark.
    :param headers: the header fields, names in lower case; a repeated field's values are joined with commas.
    :param body: the body, unchunked. In ``Sandbox.requests`` it is empty for all but token requests.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def host(self) -> str:
        """The Host header field, with the port."""
        return self.headers.get("host", "")

    @property
    def kind(self) -> Literal["token", "api", "other"]:
        """Which part of the sandbox the request is for: ``token``, ``api`` or ``other``."""
        if TOKEN_PATH.fullmatch(self.path):
            return "token"
        return "api" if self.path.startswith("/api/") else "other"


@dataclass(frozen=True)
class Counts:
    """Hold the counts of one moment.

    :param token_requests: requests that reached the token endpoint, those that met a fault included.
    :param tokens: tokens that were issued.
    :param calls: requests that reached the API, whatever was answered.
    :param refused: API calls answered with 401.
    :param forbidden: API calls answered with 403.
    """

    token_requests: int = 0
    tokens: int = 0
    calls: int = 0
    refused: int = 0
    forbidden: int = 0


class Ledger:
    """Keep counts and requests; any thread may call any method at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._counts = Counts()
        self._requests: deque[Request] = deque(maxlen=KEPT)

    def arrived(self, request: Request) -> None:
        """Note a request, before it is answered."""
        kept = request if request.kind == "token" else replace(request, body=b"")
        with self._lock:
            self._requests.append(kept)
            counts = self._counts
            if request.kind == "token":
                self._counts = replace(counts, token_requests=counts.token_requests + 1)
            elif request.kind == "api":
                self._counts = replace(counts, calls=counts.calls + 1)

    def issued(self) -> None:
        """Note that a token was issued, before its answer is sent."""
        with self._lock:
            self._counts = replace(self._counts, tokens=self._counts.tokens + 1)

    def answering(self, status: int) -> None:
        """Note the status that an API call is about to be answered with."""
        with self._lock:
            counts = self._counts
            if status == HTTPStatus.UNAUTHORIZED:
                self._counts = replace(counts, refused=counts.refused + 1)
            elif status == HTTPStatus.FORBIDDEN:
                self._counts = replace(counts, forbidden=counts.forbidden + 1)

    def clear(self) -> None:
        """Forget all requests, and start counting at 0."""
        with self._lock:
            self._counts = Counts()
            self._requests.clear()

    @property
    def counts(self) -> Counts:
        """The counts at this moment."""
        with self._lock:
            return self._counts

    @property
    def requests(self) -> tuple[Request, ...]:
        """The last 10,000 requests at this moment, oldest first."""
        with self._lock:
            return tuple(self._requests)
