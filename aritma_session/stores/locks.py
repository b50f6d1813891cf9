"""Try the lock of a file once: a lock of the kernel's, which ends with its holder, however that ends.

Where there is ``fcntl``, it is asked directly: of a hundred processes that start at once, each one that found no token
would import filelock, a fifth of ``import requests``' own time, to learn no more than that another process is fetching
one already. Elsewhere, filelock does it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from ..forks import unforked

try:
    import fcntl
except ImportError:
    _FCNTL = False
else:
    _FCNTL = True

__all__ = ["try_lock"]

#: The descriptors of the locks that this process holds.
_held: set[int] = set()


def try_lock(path: str) -> contextlib.AbstractContextManager[bool]:
    """Try to be the only holder of a file's lock, among all threads and processes.

    :param path: the file, which is made if need be, and never unlinked: a waiter could hold a lock on a name that is
        gone.
    :returns: a context manager whose value tells whether the try succeeded; leaving it lets go.
    :raises OSError: on entering, when there can be no lock: no permission, no regular file, or a file system without
        locks.
    """
    return _by_kernel(path) if _FCNTL else _by_filelock(path)


@contextlib.contextmanager
def _by_kernel(path: str) -> Iterator[bool]:
    process = os.getpid()
    with unforked():
        descriptor = _locked(path)
        if descriptor is not None:
            _held.add(descriptor)
    try:
        yield descriptor is not None
    finally:
        # In a child that was forked meanwhile it is closed already, and its number may be another file's.
        if descriptor is not None and process == os.getpid():
            with unforked():
                _held.discard(descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # to close it would not do while any copy of it is open
                os.close(descriptor)


def _locked(path: str) -> int | None:
    """Open a file and lock it; ``None`` where another holder has."""
    descriptor = _opened(path)
    try:
        _check(descriptor, path)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _opened(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except PermissionError:
        if not (os.path.lexists(path) and _is_ours(os.lstat(path))):
            raise
        # As in `_check`, by a process that was killed before it came to that; nobody else can write in this directory.
        os.chmod(path, 0o600)
        return os.open(path, flags, 0o600)


def _check(descriptor: int, path: str) -> None:
    status = os.fstat(descriptor)
    if not _is_ours(status):
        raise OSError(f"{path} is not a regular file of this account's")
    if stat.S_IMODE(status.st_mode) != 0o600:  # a umask may have taken the owner's own bits
        os.fchmod(descriptor, 0o600)


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def _leave_to_the_parent() -> None:
    """Close what a fork has inherited, which would keep a lock after its holder's end, without letting go of it."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if _FCNTL:
    os.register_at_fork(after_in_child=_leave_to_the_parent)


@contextlib.contextmanager
def _by_filelock(path: str) -> Iterator[bool]:
    with unforked():
        import filelock

    # A lock object for each try, of which nothing is inherited over a fork; native, so that it ends with its process.
    lock = filelock.FileLock(path, mode=0o600, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:  # an OSError too: somebody else holds it
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
