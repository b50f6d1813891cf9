"""Keep what the sandbox was asked, and count it."""

from __future__ import annotations

import re
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Counts", "Ledger", "Part", "Request"]

Part = Literal["token", "api", "authorize", "revocation", "discovery", "userinfo", "other"]
ENDPOINT_PATH = re.compile(r"(?:/[^/]+)?/connect/(token|authorize|revocation|userinfo)")
DISCOVERY_PATH = re.compile(r"(?:/[^/]+)?/\.well-known/openid-configuration(?:/jwks)?")
KEPT_BODIES = {"token", "revocation"}
KEPT = 10_000


@dataclass(frozen=True)
class Request:
    """Hold one request as it arrived.

    :param method: the HTTP method.
    :param path: the path, still percent-encoded, without the query.
    :param query: the query, still percent-encoded, without the question mark.
    :param headers: the header fields, names in lower case; a repeated field's values are joined with commas.
    :param body: the body, unchunked. In ``Sandbox.requests`` it is empty for all but token and revocation requests.
    :param certificate: the certificate that the client showed in the TLS handshake, in DER; empty where it showed none.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)

    @property
    def host(self) -> str:
        """The Host header field, with the port."""
        return self.headers.get("host", "")

    @property
    def kind(self) -> Part:
        """Which part of the sandbox the request is for.

        An endpoint of Aritma ID (``token``, ``authorize``, ``revocation``, ``userinfo``), its description and keys
        (``discovery``), the API (``api``), or anything else (``other``).
        """
        match = ENDPOINT_PATH.fullmatch(self.path)
        if match:
            return cast("Part", match[1])
        if DISCOVERY_PATH.fullmatch(self.path):
            return "discovery"
        return "api" if self.path.startswith("/api/") else "other"


@dataclass(frozen=True)
class Counts:
    """Hold the counts of one moment.

    :param token_requests: requests that reached the token endpoint, those that met a fault included.
    :param tokens: tokens that were issued.
    :param calls: requests that reached the API, whatever was answered.
    :param refused: API calls answered with 401.
    :param forbidden: API calls answered with 403.
    :param refreshes: token requests with a refresh token that were granted.
    :param logins: authorization codes, and answers of the implicit grant, that were issued.
    :param revocations: revocation requests that were granted.
    """

    token_requests: int = 0
    tokens: int = 0
    calls: int = 0
    refused: int = 0
    forbidden: int = 0
    refreshes: int = 0
    logins: int = 0
    revocations: int = 0


class Ledger:
    """Keep counts and requests; any thread may call any method at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._counts = Counts()
        self._requests: deque[Request] = deque(maxlen=KEPT)

    def arrived(self, request: Request) -> None:
        """Note a request, before it is answered."""
        kept = request if request.kind in KEPT_BODIES else replace(request, body=b"")
        with self._lock:
            self._requests.append(kept)
            self._add(token_requests=request.kind == "token", calls=request.kind == "api")

    def count(self, **more: int) -> None:
        """Add to counts, before the answer that they are about is sent.

        :param more: what to add, by the names of ``Counts``.
        """
        with self._lock:
            self._add(**more)

    def answering(self, status: int) -> None:
        """Note the status that an API call is about to be answered with."""
        self.count(refused=status == HTTPStatus.UNAUTHORIZED, forbidden=status == HTTPStatus.FORBIDDEN)

    def _add(self, **more: int) -> None:
        self._counts = replace(self._counts, **{name: getattr(self._counts, name) + n for name, n in more.items()})

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
