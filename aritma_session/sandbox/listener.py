"""Listen on the loopback addresses, with TLS, and give every connection a thread."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ["Listener"]

BACKLOG = 1024
STOP_LIMIT = 5.0
PAUSE = 0.05


class Listener:
    """Accept connections from ``start`` to ``stop``.

    :param context: the server's TLS context.
    :param stopping: set by ``stop``, for whatever waits while it serves a connection.
    :param port: the port on 127.0.0.1 and, where there is one, ::1. 0: a free one.
    :raises OSError: the port is taken.
    """

    def __init__(self, context: ssl.SSLContext, stopping: threading.Event, port: int = 0) -> None:
        self._context = context
        self._stopping = stopping
        self._sockets = _listen(port)
        self.port: int = self._sockets[0].getsockname()[1]
        self._connections: list[_Connection] = []  # the accepting thread's own, until that has ended
        self._woken, self._waker = socket.socketpair()

    def start(self, serve: Callable[[ssl.SSLSocket], None]) -> None:
        """Start to accept connections.

        :param serve: called with each connection after the handshake, in the connection's own thread. The connection is
            closed when it returns.
        """
        self._thread = threading.Thread(target=self._accept_all, args=(serve,), name="aritma-sandbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, break all connections, and wait at most 5 s for their threads."""
        deadline = time.monotonic() + STOP_LIMIT
        self._stopping.set()
        self._waker.close()
        self._thread.join()
        for connection in self._connections:
            connection.shut()
        for connection in self._connections:
            connection.thread.join(max(0.0, deadline - time.monotonic()))

    def _accept_all(self, serve: Callable[[ssl.SSLSocket], None]) -> None:
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            for listening in (*self._sockets, self._woken):
                selector.register(stack.enter_context(listening), selectors.EVENT_READ)
            while not self._stopping.is_set():
                ready = {key.fileobj for key, _ in selector.select()}
                for listening in self._sockets:
                    if listening in ready:
                        self._accept(listening, serve)

    def _accept(self, listening: socket.socket, serve: Callable[[ssl.SSLSocket], None]) -> None:
        try:
            raw, _ = listening.accept()
        except OSError:
            # No descriptor is left, or the client is gone. The first lasts, and select() would not wait for its end.
            self._stopping.wait(PAUSE)
            return
        self._connections = [connection for connection in self._connections if connection.thread.is_alive()]
        connection = _Connection(raw, self._context, serve)
        self._connections.append(connection)
        connection.thread.start()


class _Connection:
    """Run one connection in its own thread, handshake included: a client that dawdles there holds up nobody."""

    def __init__(
        self,
        raw: socket.socket,
        context: ssl.SSLContext,
        serve: Callable[[ssl.SSLSocket], None],
    ) -> None:
        self._lock = threading.Lock()  # guards the swap of the socket, and its closing, against `shut`
        self._socket = raw
        self._context = context
        self._serve = serve
        self.thread = threading.Thread(target=self._run, name="aritma-sandbox-connection", daemon=True)

    def shut(self) -> None:
        """End both directions, so that a thread that waits on the socket wakes up."""
        with self._lock, contextlib.suppress(OSError):
            # SSLSocket.shutdown would also drop the TLS state that the thread is using.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            # Clients may come and go as they like: a broken connection is no event.
            with contextlib.suppress(OSError):
                self._serve(self._handshake())
        finally:
            with self._lock:
                self._socket.close()

    def _handshake(self) -> ssl.SSLSocket:
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # wrap_socket leaks its socket where the client has reset the connection, so see first that the client speaks.
        self._socket.recv(1, socket.MSG_PEEK)
        with self._lock:
            secure = self._context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
            self._socket = secure
        secure.do_handshake()
        return secure


def _listen(port: int) -> list[socket.socket]:
    first = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    listening = [first]
    # "localhost" may mean ::1 first, and finding that closed costs seconds on Windows. Not every host has it.
    with contextlib.suppress(OSError):
        port = first.getsockname()[1]
        listening.append(socket.create_server(("::1", port), family=socket.AF_INET6, backlog=BACKLOG))
    for each in listening:
        each.setblocking(False)  # a client that leaves between select() and accept() must not block the loop
    return listening
