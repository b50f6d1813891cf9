"""Keep forks out of what must not be cut in two.

Python holds a lock for each module while it is being imported. A child of a fork inherits the locks and not the threads
that hold them: it would wait for ever at the same import. And a descriptor that is inherited before anybody has noted
it is never closed. So a fork waits until other threads have done with ours.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

__all__ = ["unforked"]

#: Seconds that a fork waits: far more than an import takes.
_LONGEST_WAIT = 10.0

#: Guards the blocks of ``unforked``; reentrant, since the thread inside may fork too, as a signal handler does.
_lock = threading.RLock()


@contextlib.contextmanager
def unforked() -> Iterator[None]:
    """Keep other threads from forking in this block, which is short."""
    with _lock:
        yield


def _before_fork() -> None:
    _lock.acquire(timeout=_LONGEST_WAIT)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # not held: the wait for it was given up
        _lock.release()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  # the parent's may be held by a thread that is not here
    _lock = threading.RLock()


#: Nothing where there are no forks.
_register: Callable[..., None] = getattr(os, "register_at_fork", lambda **_: None)

_register(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
