"""Speak HTTP/1.1 over one connection (RFC 9112)."""

from __future__ import annotations

import re
import socket
import struct
import sys
from email.utils import formatdate
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from .faults import Answer
from .ledger import Request

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from http.client import HTTPMessage
    from io import BufferedReader

__all__ = ["Wire"]

LINE_LIMIT = 65_536
BODY_LIMIT = 2**30
REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/1\.([01])")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?")
BODILESS = {204, 304}


class _Incoming(NamedTuple):
    request: Request
    keep_alive: bool


class Wire:
    """Answer the requests of one connection, one after the other.

    :param connection: the connected socket. The caller closes it.
    :param respond: makes the answer to a request.
    :param stopping: set when the server stops; it cuts a trickle short.
    :param certificate: the certificate that the client showed, in DER; empty where it showed none.
    """

    def __init__(
        self,
        connection: socket.socket,
        respond: Callable[[Request], Answer],
        stopping: threading.Event,
        certificate: bytes = b"",
    ) -> None:
        self._connection = connection
        self._certificate = certificate
        self._respond = respond
        self._stopping = stopping

    def serve(self) -> None:
        """Serve until the client leaves or an answer ends the connection.

        :raises OSError: the connection broke.
        """
        with self._connection.makefile("rb") as stream:
            while self._exchange(stream):
                pass

    def _exchange(self, stream: BufferedReader) -> bool:
        """Take one request and answer it; tell whether another can follow."""
        try:
            incoming = self._receive(stream)
        except (ValueError, HTTPException) as problem:
            # What cannot be parsed leaves no way to find the next request.
            self._send(Answer.json({"title": "Bad Request", "detail": str(problem)}, 400), "", keep_alive=False)
            return False
        if incoming is None:
            return False
        return self._send(self._respond(incoming.request), incoming.request.method, keep_alive=incoming.keep_alive)

    def _receive(self, stream: BufferedReader) -> _Incoming | None:
        line = stream.readline(LINE_LIMIT)
        if not line:
            return None
        match = REQUEST_LINE.fullmatch(line.decode("latin-1").rstrip("\r\n"))
        if match is None:
            raise ValueError("the request line is not one of HTTP/1.1")
        method, target, minor = match.groups()
        fields = parse_headers(stream)
        headers = {name.lower(): ", ".join(fields.get_all(name, [])) for name in fields}
        if minor == "1" and headers.get("expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts = urlsplit(target)
        request = Request(method, parts.path, parts.query, headers, _read_body(stream, fields), self._certificate)
        return _Incoming(request, _keeps_alive(headers.get("connection", ""), minor))

    def _send(self, answer: Answer, method: str, *, keep_alive: bool) -> bool:
        """Send an answer the way its kind says; tell whether the connection can go on."""
        keep_alive = keep_alive and answer.kind == "answer"
        if answer.kind == "reset":
            self._reset_on_close()
            return False
        if answer.kind == "raw":
            self._connection.sendall(answer.body)
            while answer.flood and not self._stopping.is_set():
                self._connection.sendall(answer.flood)
            return False
        head = _head(answer, keep_alive=keep_alive)
        body = b"" if method == "HEAD" or answer.status in BODILESS else answer.body
        if answer.kind == "trickle":
            self._trickle(head + body, answer.interval)
        elif answer.kind == "answer":
            self._connection.sendall(head + body)
        else:
            self._connection.sendall(head + body[: len(body) // 2])
            if answer.kind == "cut":
                self._reset_on_close()
        return keep_alive

    def _trickle(self, data: bytes, interval: float) -> None:
        for position in range(len(data)):
            if self._stopping.wait(interval):
                return
            self._connection.sendall(data[position : position + 1])

    def _reset_on_close(self) -> None:
        # Windows has two short integers where the others have two integers.
        no_linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)


def _keeps_alive(connection: str, minor: str) -> bool:
    options = {option.strip().lower() for option in connection.split(",")}
    return "close" not in options if minor == "1" else "keep-alive" in options


def _read_body(stream: BufferedReader, fields: HTTPMessage) -> bytes:
    """Read a request's body by the rules of RFC 9112 section 6.3."""
    coding, lengths = fields.get("transfer-encoding"), set(fields.get_all("content-length", []))
    if coding is not None:
        if coding.lower() != "chunked" or lengths:
            raise ValueError("the body must be chunked, or have a Content-Length")
        return b"".join(_chunks(stream))
    if not lengths:
        return b""
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdecimal()):
        raise ValueError("the Content-Length is not a number")
    return _read(stream, int(length))


def _chunks(stream: BufferedReader) -> list[bytes]:
    chunks: list[bytes] = []
    while True:
        match = CHUNK_SIZE.fullmatch(stream.readline(LINE_LIMIT).rstrip(b"\r\n"))
        if match is None:
            raise ValueError("a chunk's size is not a number")
        size = int(match[1], 16)
        if not size:
            parse_headers(stream)  # the trailer section, which nobody here reads
            return chunks
        chunks.append(_read(stream, size))
        if _read(stream, 2) != b"\r\n":
            raise ValueError("a chunk is longer than its size")


def _read(stream: BufferedReader, size: int) -> bytes:
    if size > BODY_LIMIT:
        raise ValueError("the body is too long")
    data = stream.read(size)
    if len(data) < size:
        raise ConnectionAbortedError("the client left in the middle of its request")
    return data


def _head(answer: Answer, *, keep_alive: bool) -> bytes:
    try:
        reason = HTTPStatus(answer.status).phrase
    except ValueError:
        reason = ""
    headers = {
        "Date": formatdate(usegmt=True),
        "Server": "aritma-sandbox",
        "Connection": "keep-alive" if keep_alive else "close",
        **answer.headers,
    }
    if answer.status not in BODILESS:
        headers["Content-Length"] = str(len(answer.body))
    lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
