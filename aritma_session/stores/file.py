"""One token for all processes of one account: a file, a kernel lock, whole-file replacement."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..tokens import Token
from . import records
from .locks import try_lock

if TYPE_CHECKING:
    from .sealing import Sealing

__all__ = ["FileStore"]

#: Bytes; a record is about 2 KiB, and what is much larger is none.
_LARGEST_RECORD = 256 * 1024

#: Seconds after which a temporary file was left by a process that died, since writing one takes milliseconds.
_STRAY = 60.0

#: Tries, and seconds between them, while a reader on Windows keeps a file from being replaced.
_REPLACE_TRIES, _REPLACE_PAUSE = 5, 0.01

#: The names of temporary files; some other program's, in a directory that it should not use, are left alone.
_TEMPORARY = r"[0-9a-f]{16,}\.[A-Za-z0-9_]+\.tmp"

#: The names of the files that tokens are in.
_RECORD = re.compile(r"([0-9a-z]+)\.json", re.ASCII)

#: Where files have owners and modes worth checking.
_POSIX = os.name == "posix"

#: No symbolic link is followed, no FIFO is waited for, no child inherits the file, no byte is translated.
_READ_FLAGS = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _READ_FLAGS |= getattr(os, _flag, 0)


class FileStore:
    """Keep tokens in files that only this account can read, with a lock of the kernel's beside each.

    The directory has mode 0700 and the files 0600; owner and mode are checked before a file is believed, and symbolic
    links are not followed. What cannot be read is a miss and is overwritten. Lock files are never unlinked, since a
    waiter could hold a lock on a name that is gone.

    :param directory: the directory, used by nothing else; it is made when the first token is saved.
    :param sealing: what seals the files' content, where whoever copies them (a backup, a network's file server) is not
        to read it.
    """

    def __init__(self, directory: str | os.PathLike[str], *, sealing: Sealing | None = None) -> None:
        self.directory: str = os.path.abspath(directory)
        self.sealing = sealing

    @classmethod
    def below(cls, directory: str | os.PathLike[str], *, sealing: Sealing | None = None) -> FileStore:
        """Give the store in a directory of its own below this one, which may belong to others too."""
        return cls(os.path.join(directory, "aritma-session"), sealing=sealing)

    def load(self, key: str) -> Token | None:
        """Give the token of this key's file, if there is one and everything about it is as it should be.

        :raises PermissionError: when the directory is not this account's alone.
        """
        return records.load(key, self._read(self._path(key)), self.sealing)

    def save(self, key: str, token: Token) -> None:
        """Write the token to a file of its own and put that in the place of this key's file.

        :raises OSError: when it cannot be written: no space, no permission, a directory that is not this account's
            alone.
        """
        self._write(key, self._path(key), records.dump(key, token, self.sealing))

    def load_document(self, key: str) -> bytes | None:
        """Give the document of this key, if there is one; nothing of it, where it may not be believed.

        :raises PermissionError: when the directory is not this account's alone.
        """
        return self._read(self._path(key, ".metadata"))

    def save_document(self, key: str, document: bytes) -> None:
        """Write a document as :meth:`save` writes a token.

        :raises OSError: as there.
        """
        self._write(key, self._path(key, ".metadata"), document)

    def _read(self, path: str) -> bytes | None:
        try:
            _check_directory(self.directory)
            return _read_private(path)
        except FileNotFoundError:
            return None

    def _write(self, key: str, path: str, data: bytes) -> None:
        import tempfile

        self._make_directory()
        self._sweep()
        descriptor, temporary = tempfile.mkstemp(prefix=f"{key}.", suffix=".tmp", dir=self.directory)
        try:
            with open(descriptor, "wb") as file:
                if _POSIX:
                    os.fchmod(descriptor, 0o600)  # a umask may have taken the owner's own bits
                file.write(data)
            _replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def remove(self, key: str) -> None:
        """Remove this key's file, if there is one.

        :raises OSError: when it cannot be removed, or the directory is not this account's alone.
        """
        with contextlib.suppress(FileNotFoundError):
            _check_directory(self.directory)
            os.unlink(self._path(key))

    def keys(self) -> list[str]:
        """Give the keys that a token is kept under.

        :raises PermissionError: when the directory is not this account's alone.
        """
        try:
            _check_directory(self.directory)
            names = sorted(os.listdir(self.directory))
        except FileNotFoundError:
            return []
        return [match[1] for match in map(_RECORD.fullmatch, names) if match]

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """Try once to take the lock of this key.

        :raises OSError: when there can be no lock: no permission, or a file system without locks.
        """
        self._make_directory()
        with try_lock(self._path(key, ".lock")) as held:
            yield held

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.directory!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileStore) and (self.directory, self.sealing) == (other.directory, other.sealing)

    def __hash__(self) -> int:
        return hash(self.directory)

    def _path(self, key: str, suffix: str = ".json") -> str:
        return os.path.join(self.directory, key + suffix)

    def _make_directory(self) -> None:
        try:
            mode = _check_directory(self.directory)
        except FileNotFoundError:
            _make_private(self.directory)
            mode = _check_directory(self.directory)
        if _POSIX and not mode & 0o700:  # a process was killed while it made it under a umask that takes all
            os.chmod(self.directory, 0o700)

    def _sweep(self) -> None:
        """Remove what processes left that died while they wrote, whatever the key."""
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if re.fullmatch(_TEMPORARY, entry.name):
                    with contextlib.suppress(OSError):
                        if abs(time.time() - entry.stat(follow_symlinks=False).st_mtime) > _STRAY:
                            os.unlink(entry.path)


def _check_directory(directory: str) -> int:
    """Give the mode of a directory that is this account's alone.

    :raises OSError: when it is none.
    """
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{directory} is not a directory")
    if _POSIX and status.st_uid != os.geteuid():
        raise PermissionError(f"{directory} belongs to another account: choose another directory")
    if _POSIX and status.st_mode & 0o077:
        raise PermissionError(f"{directory} is open to other accounts: make it yours alone (chmod 700), or remove it")
    return status.st_mode


def _make_private(directory: str) -> None:
    """Make a directory of this account alone, and those above it that are missing, whatever the umask."""
    above = os.path.dirname(directory)
    if not os.path.isdir(above):
        _make_private(above)
    with contextlib.suppress(FileExistsError):  # another process was faster, or something else is in the way
        os.mkdir(directory, 0o700)
        # As in `save`; only now, since whoever may write in the directory above could put a link in its place.
        if os.lstat(directory).st_mode & 0o700 != 0o700:
            os.chmod(directory, 0o700)


def _read_private(path: str) -> bytes:
    """Read a regular file that belongs to this account and that no other can read; anything else is empty."""
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except FileNotFoundError:
        raise
    except OSError:  # a symbolic link, a socket, a file of another user
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_RECORD:
            return b""
        if _POSIX and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
            return b""
        return os.read(descriptor, _LARGEST_RECORD)
    finally:
        os.close(descriptor)


def _replace(source: str, target: str) -> None:
    """Rename; on Windows, a reader that has the target open is waited for, a little."""
    for _ in range(_REPLACE_TRIES - 1):
        try:
            return os.replace(source, target)
        except IsADirectoryError:
            os.rmdir(target)  # only an empty one goes; what has something in it stays an error
        except PermissionError:
            if _POSIX:
                raise
            time.sleep(_REPLACE_PAUSE)
    return os.replace(source, target)
