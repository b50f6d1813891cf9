"""Receive what a browser brings back, on a port of this machine alone (RFC 8252, section 7.3).

Any program of this machine can connect there, be slow, or send what it likes: nothing that it sends is believed before
the ``state`` is right, and nothing that it does keeps the person's browser from being served.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .pages import FAILED, FORWARD, USED, WRONG_STATE, Page

__all__ = ["CALLBACK", "Listener"]

#: Where the browser is sent.
CALLBACK = "/callback"

#: The pages that a login can be interrupted by.
_ASIDE = {page.path: page for page in (WRONG_STATE, USED)}

#: Seconds that a client may take to send its request.
_PATIENCE = 10.0

#: Clients at the same time, more of which nobody needs.
_MOST_CLIENTS = 32

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


class Listener(socketserver.ThreadingTCPServer):
    """Serve one login's pages, from background threads, for as long as the ``with`` block lasts.

    :param port: the port on 127.0.0.1; 0 for a free one.
    :param answer: is given what a browser has brought, and tells the page to show now; or ``None``, where the login
        goes on and its end will be shown. It is called by several threads.
    :param command: what logs a person in, for the pages.
    :param fragments: whether the answer may stand in the URL's fragment, as with the implicit grant.
    :raises ValueError: when the port cannot be had.
    """

    daemon_threads = True
    # On Windows, this would let another program have the port as well.
    allow_reuse_address = os.name == "posix"
    request_queue_size = _MOST_CLIENTS

    def __init__(
        self, port: int, answer: Callable[[Pairs], Page | None], command: str, *, fragments: bool = False
    ) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            advice = "choose another one with --port, or none"
            raise ValueError(f"the port {port} of 127.0.0.1 cannot be had ({error.strerror}): {advice}") from None
        self.answer = answer
        self.command = command
        self.fragments = fragments
        self.last: Page | None = None
        self.ended, self.shown = threading.Event(), threading.Event()
        self._places = threading.BoundedSemaphore(_MOST_CLIENTS)

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
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
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
        self._patience = threading.Timer(_PATIENCE, self._give_up)
        self._patience.daemon = True
        self._patience.start()

    def finish(self) -> None:
        self._patience.cancel()
        super().finish()

    def _give_up(self) -> None:
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
        self._patience.cancel()
        page = self.server.answer(pairs)
        if page is None:
            self.server.ended.wait()
            page = self.server.last or FAILED
        # A redirect, so that neither the address nor the history has what was brought.
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
