"""Work that nobody waits for, but for a moment at the end of the process."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Callable

__all__ = ["start"]

#: Seconds that the end of a process is put off for what is still under way.
LAST_MOMENT = 1.0

#: What is under way; each use is one operation on a set. Those that a fork leaves behind count as ended.
_threads: set[threading.Thread] = set()


def start(work: Callable[[], None], *, whole: bool = False) -> bool:
    """Do some work in a thread of its own, which is cut off where it outlives the process by more than a second.

    :param work: what is to be done; it raises nothing.
    :param whole: whether it must not be cut off: the end of the process waits for it.
    :returns: whether it was begun: a process that is ending, or has too many threads, has none left to give.
    """

    def run() -> None:
        try:
            work()
        finally:
            _threads.discard(thread)

    thread = threading.Thread(target=run, name="aritma_session", daemon=not whole)
    _threads.add(thread)
    try:
        thread.start()
    except RuntimeError:
        return False
    finally:
        if thread.ident is None:  # it was not begun, or will take itself out
            _threads.discard(thread)
    return True


@atexit.register
def _wait() -> None:
    deadline = time.monotonic() + LAST_MOMENT
    for thread in list(_threads):
        with contextlib.suppress(RuntimeError):  # it has not begun, and in a fork it never will
            thread.join(max(0.0, deadline - time.monotonic()))
