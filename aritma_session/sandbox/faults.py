"""Describe an answer, good or bad, as a value."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answer", "Kind"]

Kind = Literal["answer", "reset", "cut", "truncated", "trickle", "raw"]


@dataclass(frozen=True)
class Answer:
    """Say what is sent back for one request, and how it is sent.

    :param status: the HTTP status, 200 to 599.
    :param body: the body. It is left out on the wire where HTTP has none (HEAD, 204, 304).
    :param headers: the header fields. Content-Length, Connection, Date and Server are added when it is sent.
    :param kind: how it is sent. ``answer``: properly. ``reset``: not at all, the connection is reset. ``cut``: half of
        the body, then a reset. ``truncated``: half of the body, then an orderly end. ``trickle``: byte by byte.
        ``raw``: the body and nothing else, then an orderly end.
    :param interval: seconds between two bytes of a ``trickle``.
    :param flood: what follows a ``raw`` body again and again, until the client leaves.
    :param fields: ``None``: send what the arguments above say. A mapping: do what the server would have done, and where
        that gives a JSON object with status 200, or sends a browser back to the client, put these fields into it (a
        value of ``None`` takes the field out).
    :param lifetime: seconds that a token lives which is granted so; ``None``: as long as the sandbox's tokens do.
    :param redirected: whether the authorize endpoint takes the error in the body to the client.
    """

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = "answer"
    interval: float = 0.0
    flood: bytes = field(default=b"", repr=False)
    fields: Mapping[str, object] | None = field(default=None, repr=False)
    lifetime: int | None = None
    redirected: bool = False

    def __post_init__(self) -> None:
        """Keep the headers and fields out of reach of whoever made them."""
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))
        if self.fields is not None:
            object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """Answer with any JSON value: a list, where an object is expected, is a fault of its own.

        :param value: what ``json.dumps`` can write.
        :param status: the HTTP status.
        :param headers: more header fields.
        """
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    @classmethod
    def error(
        cls,
        status: int,
        error: str | None = None,
        description: str | None = None,
        retry_after: float | str | None = None,
    ) -> Answer:
        """Answer with an error status.

        :param status: the HTTP status, such as 429 or 503.
        :param error: the OAuth 2.0 error code for a JSON body (RFC 6749 section 5.2). ``None``: the body is empty.
        :param description: the ``error_description`` that goes with it.
        :param retry_after: the ``Retry-After`` field: seconds, or an HTTP date (RFC 9110 section 10.2.3).
        """
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if error is None:
            return cls(status, headers=headers)
        described = {} if description is None else {"error_description": description}
        return cls.json({"error": error, **described}, status, headers)

    @classmethod
    def refusal(cls, error: str = "access_denied", description: str | None = None) -> Answer:
        """Let the authorize endpoint send the browser back to the client with an error, without a page.

        A request whose client or redirect URI is not good gets its error page all the same. Elsewhere this is an
        ``error`` with status 400.

        :param error: the error code (RFC 6749 section 4.1.2.1), such as ``server_error``.
        :param description: the ``error_description`` that goes with it.
        """
        return replace(cls.error(400, error, description), redirected=True)

    @classmethod
    def redirect(cls, url: str, status: int = 307) -> Answer:
        """Answer with a redirect.

        :param url: the target. Whatever a header field cannot hold is percent-encoded.
        :param status: 301, 302, 303, 307 or 308.
        """
        return cls(status, headers={"Location": quote(url, safe=string.punctuation)})

    @classmethod
    def html(cls, text: str = "<html><body>Welcome</body></html>", status: int = 200) -> Answer:
        """Answer with a web page, as a captive portal or a proxy would."""
        return cls(status, text.encode(), {"Content-Type": "text/html; charset=utf-8"})

    @classmethod
    def reset(cls) -> Answer:
        """Reset the connection before any byte of an answer."""
        return cls(kind="reset")

    @classmethod
    def cut(cls) -> Answer:
        """Reset the connection in the middle of the real answer."""
        return cls(kind="cut", fields={})

    @classmethod
    def truncated(cls) -> Answer:
        """End the connection in the middle of the real answer, whose Content-Length promises more."""
        return cls(kind="truncated", fields={})

    @classmethod
    def trickle(cls, interval: float = 0.1) -> Answer:
        """Send the real answer, its header included, one byte at a time.

        :param interval: seconds before each byte.
        """
        return cls(kind="trickle", interval=interval, fields={})

    @classmethod
    def raw(cls, data: bytes, *, flood: bytes = b"", status: int = 200) -> Answer:
        """Send bytes as they are, be they HTTP or not.

        :param data: the bytes.
        :param flood: more bytes, which are sent again and again until the client leaves.
        :param status: what the answer counts as in ``Sandbox.counts``.
        """
        return cls(status, data, kind="raw", flood=flood)

    @classmethod
    def changed(cls, **overrides: object) -> Answer:
        """Send the real answer with other fields; without any, the real answer as it is.

        :param overrides: fields of a JSON object, such as a token answer or the server's description; or parameters
            that the authorize endpoint sends back to the client, such as ``state``. ``None`` takes one out.
        """
        return cls(fields=overrides)

    @classmethod
    def token(cls, *, lifetime: int | None = None, **overrides: object) -> Answer:
        """Issue a real token, and change fields of the answer that carries it.

        :param lifetime: seconds that it really lives, whatever the answer says; by default the sandbox's
            ``token_lifetime``.
        :param overrides: fields of the JSON answer (RFC 6749 section 5.1). ``None`` takes the field out:
            ``expires_in=None``.
        """
        return cls(fields=overrides, lifetime=lifetime)
