"""Receive what a browser brings back, on a port of this machine alone (RFC 8252, section 7.3).

Any program of this machine can connect there, be slow, or send what it likes: nothing that it sends is believed before
the ``state`` is right, and when there are too many, those who have said nothing for the longest time go first.
"""

from __future__ import annotations

import contextlib
import hmac
import http.server
import os
import secrets
import socket
import socketserver
import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from .pages import FAILED, FORWARD, USED, WRONG_STATE, Page

__all__ = ["CALLBACK", "Listener"]

#: Where the browser is sent.
CALLBACK = "/callback"

#: The pages that a login can be interrupted by.
_ASIDE = {page.path: page for page in (WRONG_STATE, USED)}

#: Seconds that a client may take to send its request.
_PATIENCE = 10.0

#: Clients at the same time, more of which nobody needs, and seconds to wait until one of them is gone.
_MOST_CLIENTS, _FOR_A_PLACE = 32, 1.0

#: Fields of an answer, and more.
_MOST_FIELDS = 50

#: Bytes of the largest form.
_LARGEST_FORM = 64 * 1024

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}

#: Name and value, as often as they were sent.
Pairs = list[tuple[str, str]]


class Attempt(Protocol):
    """A login that is under way."""

    def begin(self) -> str | None:
        """Give the URL that the browser is sent to; ``None`` where it was given before."""

    def take(self, pairs: Pairs) -> Page | None:
        """Take what a browser has brought.

        :returns: the page to show now; ``None`` where the login goes on, and its end will be shown.
        """


class Listener(socketserver.ThreadingTCPServer):
    """Serve one login's pages, from background threads, for as long as the ``with`` block lasts.

    :param port: the port on 127.0.0.1; 0 for a free one.
    :param login: the login; several threads call its methods.
    :param command: what logs a person in, for the pages.
    :param fragments: whether the answer may stand in the URL's fragment, as with the implicit grant.
    :raises ValueError: when the port cannot be had.
    """

    daemon_threads = True
    # On Windows, this would let another program have the port as well.
    allow_reuse_address: bool = os.name == "posix"
    request_queue_size = _MOST_CLIENTS

    def __init__(self, port: int, login: Attempt, command: str, *, fragments: bool = False) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            advice = "choose another one with --port, or none"
            raise ValueError(f"the port {port} of 127.0.0.1 cannot be had ({error.strerror}): {advice}") from None
        self.login = login
        self.command = command
        self.fragments = fragments
        self.last: Page | None = None
        self.ended: threading.Event = threading.Event()
        self.shown: threading.Event = threading.Event()
        self._begin = f"/begin/{secrets.token_urlsafe(16)}"
        self._places = threading.BoundedSemaphore(_MOST_CLIENTS)
        self.unheard: dict[_Handler, None] = {}  # in the order in which they came; each use is one operation on a dict

    @property
    def begin_uri(self) -> str:
        """Where the browser is to begin, without anything of the login in it; good for one visit."""
        return f"http://127.0.0.1:{self.port}{self._begin}"

    def begins(self, path: str) -> bool:
        """Tell whether a path is that of the beginning."""
        return hmac.compare_digest(path.encode("utf-8", "replace"), self._begin.encode())

    @property
    def port(self) -> int:
        """The port that is listened at."""
        port: int = self.server_address[1]
        return port

    @property
    def redirect_uri(self) -> str:
        """Where the browser is to be sent."""
        return f"http://127.0.0.1:{self.port}{CALLBACK}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serve in this block."""
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="aritma-session-login", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            self.server_close()
            thread.join()

    def end(self, page: Page, patience: float) -> None:
        """Show the last page to whoever has brought the answer, and wait until it is shown.

        :param patience: seconds to wait for the browser.
        """
        self.last = page
        self.ended.set()
        self.shown.wait(patience)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            with contextlib.suppress(StopIteration, RuntimeError):
                next(iter(self.unheard)).give_up()
            if not self._places.acquire(timeout=_FOR_A_PLACE):
                self.shutdown_request(request)
                return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread is to be had
            self._places.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that leaves is no matter, and a traceback would show what it has sent."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Listener
    server_version, sys_version = "aritma-session", ""

    def setup(self) -> None:
        super().setup()
        # For all of the request: a client that sends byte by byte never lets a timeout of the socket's come.
        self._patience = threading.Timer(_PATIENCE, self.give_up)
        self._patience.daemon = True
        self._patience.start()
        self.server.unheard[self] = None

    def finish(self) -> None:
        self._heard()
        super().finish()

    def _heard(self) -> None:
        self._patience.cancel()
        self.server.unheard.pop(self, None)

    def give_up(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        if not self._meant_for_us():
            return
        parts, last = urlsplit(self.path), self.server.last
        if parts.path == CALLBACK:
            self._take(_pairs(parts.query), forward=self.server.fragments)
        elif last is not None and parts.path == last.path:
            self._show(last)
            self.server.shown.set()
        elif parts.path in _ASIDE:
            self._show(_ASIDE[parts.path])
        elif self.server.begins(parts.path):
            self._end(HTTPStatus.SEE_OTHER, {"Location": self.server.login.begin() or USED.path})
        else:
            self._end(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if not self._meant_for_us():
            return
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get_content_type()
        if urlsplit(self.path).path != CALLBACK or kind != "application/x-www-form-urlencoded":
            self._end(HTTPStatus.NOT_FOUND)
        elif not (length.isascii() and length.isdecimal() and int(length) <= _LARGEST_FORM):
            self._end(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._take(_pairs(self.rfile.read(int(length)).decode("utf-8", "replace")))

    def _meant_for_us(self) -> bool:
        """Refuse what a web page sends here under a name of its own (DNS rebinding)."""
        good = self.headers.get("Host") in {f"127.0.0.1:{self.server.port}", f"localhost:{self.server.port}"}
        if not good:
            self._end(HTTPStatus.MISDIRECTED_REQUEST)
        return good

    def _take(self, pairs: Pairs, *, forward: bool = False) -> None:
        if forward and not pairs:
            self._show(FORWARD)
            return
        self._heard()
        page = self.server.login.take(pairs)
        if page is None:
            self.server.ended.wait()
            page = self.server.last or FAILED
        # A redirect, so that the address which the browser ends at has nothing of what was brought.
        self._end(HTTPStatus.SEE_OTHER, {"Location": page.path})

    def _show(self, page: Page) -> None:
        body, headers = page.render(self.server.command)
        self._end(HTTPStatus(page.status), headers, body)

    def _end(self, status: HTTPStatus, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Write nothing down: the request line has the authorization code in it."""


def _pairs(text: str) -> Pairs:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:  # too many, of which none is believed
        return []
