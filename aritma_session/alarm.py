"""An end to token requests that would have none."""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import threading
import time
import types

__all__ = ["Alarm"]

#: Seconds between two rings of an alarm.
_SNOOZE = 0.1


class Alarm:
    """End a token request from outside: what comes by drops, or without end, may keep it from ever looking at a clock.

    :param seconds: what it may take; counted from when the alarm is entered, as a context manager, by the thread that
        makes the request.
    :param code: the function that makes it: only what it calls uses the request's connection, and its callers have
        connections of their own.
    """

    def __init__(self, seconds: float, code: types.CodeType) -> None:
        self.seconds: float = seconds
        self._code = code
        self.late: bool = False
        self.set: bool = True
        self._over = False
        # Guards all of these; while the alarm rings, the request cannot end, and nothing else is taken for it.
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        self._until = time.monotonic() + self.seconds
        self._whose = threading.get_ident()
        try:
            threading.Thread(target=self._wait, name="aritma-session-alarm", daemon=True).start()
        except RuntimeError:  # no thread is to be had, as at the end of a process
            self.set = False

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()

    def within(self, seconds: float) -> None:
        """Let what is left take no longer than this."""
        with self._changed:
            until = time.monotonic() + seconds
            if until < self._until:
                self._until, self.seconds = until, seconds
                self._changed.notify()

    def rings(self) -> bool:
        """Tell whether the time is up."""
        self.late = self.late or time.monotonic() > self._until
        return self.late

    def _wait(self) -> None:
        with self._changed:
            while not self._over:
                if self.rings():
                    _break_off(self._whose, self._code)
                # Again and again: the adapter may have its own way to try again, over another connection.
                left = _SNOOZE if self.late else self._until - time.monotonic()
                self._changed.wait(min(left, threading.TIMEOUT_MAX))


def _break_off(thread: int, code: types.CodeType) -> None:
    """Shut the connection over which a thread is sending or receiving, amid a call of a function.

    It is known to nobody but the functions that are using it: those that send, and those that wait for bytes.
    """
    frames, frame = [], sys._current_frames().get(thread)  # noqa: SLF001  # documented, and there is no other way
    while frame is not None and frame.f_code is not code:
        frames.append(frame)
        frame = frame.f_back
    for caller in reversed(frames if frame is not None else []):
        for found in list(caller.f_locals.values()):
            connection = found.sock if isinstance(found, http.client.HTTPConnection) else found
            if isinstance(connection, socket.socket):
                with contextlib.suppress(OSError):  # it may have ended at this very moment
                    # Not SSLSocket.shutdown, which drops what the thread is using; and in both directions, since Linux
                    # goes on receiving over one that is shut alone.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
                    return
