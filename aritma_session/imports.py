"""Import what is heavy where it is first needed, and let no fork fall into the middle of that.

Python holds a lock for each module while it is being imported. A child of a fork inherits the locks and not the threads
that hold them: it would wait for ever at the same import. So a fork waits until other threads have done with ours.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

__all__ = ["importing"]

#: Seconds that a fork waits for an import: far more than one takes.
_LONGEST_IMPORT = 10.0

#: Guards the imports in ``importing``; reentrant, since a module may fork while it is imported.
_lock = threading.RLock()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Keep other threads from forking while something is imported in this block."""
    with _lock:
        yield


def _before_fork() -> None:
    _lock.acquire(timeout=_LONGEST_IMPORT)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # not held: the wait for it was given up
        _lock.release()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  # the parent's may be held by a thread that is not here
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
