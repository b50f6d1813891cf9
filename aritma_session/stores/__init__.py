"""Where tokens are kept between requests, processes and hosts."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..credentials import Secret, hide_url, without_credentials
from ..forks import unforked

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..tokens import Token
    from .sealing import Sealing

__all__ = ["DocumentStore", "MemoryStore", "TokenStore", "open_store"]

#: What a string must have something of to be a path.
_PATH_SIGNS = {"~", ".", "/", os.sep}

_LINUX = sys.platform == "linux"

_log = logging.getLogger("aritma_session")


@runtime_checkable
class TokenStore(Protocol):
    """Keep tokens, by key, for everybody who asks with the same key.

    All methods may be called by many threads and processes at once. None of them waits for another holder: whoever
    wants to wait does so between calls. A store that cannot do its work raises any :class:`Exception`; the caller goes
    on without it, and says so once in the log. Keys are short strings of ``a-z`` and ``0-9``, safe in a file's name.

    A token that has expired and cannot be refreshed need not be kept. Where a lock can be lost while it is held, a
    token that is older than the one that is there, and comes from somebody else than the holder, is not to be kept.

    This is the seam for stores of other kinds; ``aritma_session.stores.contract`` has these promises as tests.
    """

    def load(self, key: str) -> Token | None:
        """Give the token last saved under this key; ``None`` where there is none, or none that can be believed."""

    def save(self, key: str, token: Token) -> None:
        """Keep this token under this key, in place of any other; readers see the old one or the new one, whole."""

    def remove(self, key: str) -> None:
        """Keep nothing under this key any more; there may be nothing already."""

    def lock(self, key: str) -> AbstractContextManager[bool]:
        """Try once to be the only one, of all threads and processes, who fetches a token for this key.

        The value of the context manager tells whether the try succeeded; where it did, leaving it lets go. The end of
        the holder's process, however it comes, lets go too, at once or in a few seconds.
        """


@runtime_checkable
class DocumentStore(Protocol):
    """Keep what is no token beside the tokens, such as where a server's endpoints are. A store need not."""

    def load_document(self, key: str) -> bytes | None:
        """Give the document last saved under this key; ``None`` where there is none, or none that can be believed."""

    def save_document(self, key: str, document: bytes) -> None:
        """Keep this document under this key, in place of any other; readers see the old one or the new one, whole."""


class MemoryStore:
    """Keep tokens in this object alone, for the threads that share it.

    A pickled store takes its tokens along, and goes its own way from then on.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}  # each access is one operation on a dict, and needs no lock
        self._documents: dict[str, bytes] = {}
        self._locks: dict[str, threading.Lock] = {}

    def load(self, key: str) -> Token | None:
        return self._tokens.get(key)

    def save(self, key: str, token: Token) -> None:
        self._tokens[key] = token

    def remove(self, key: str) -> None:
        self._tokens.pop(key, None)

    def load_document(self, key: str) -> bytes | None:
        return self._documents.get(key)

    def save_document(self, key: str, document: bytes) -> None:
        self._documents[key] = document

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        lock = self._locks.setdefault(f"{os.getpid()} {key}", threading.Lock())  # one that a fork left held is not met
        held = lock.acquire(blocking=False)
        try:
            yield held
        finally:
            if held:
                lock.release()

    def __deepcopy__(self, memo: dict[int, Any]) -> MemoryStore:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"_tokens": dict(self._tokens), "_documents": dict(self._documents)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]  # locks cannot be pickled: a copy makes its own
        self._tokens.update(state["_tokens"])
        self._documents.update(state["_documents"])

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def open_store(cache: object, sealing: Sealing | None = None) -> TokenStore:
    """Give the store that a ``cache`` setting means.

    :param cache: ``"file"`` for the user's own cache directory, ``"memory"``, ``"keyring:"``, a directory (a path with
        a separator in it), the URL of a Redis server, one of redis-py's clients, or a store.
    :param sealing: what seals the tokens, wherever they leave this process.
    :raises ValueError: when it is none of these, or needs an extra that is not installed.
    """
    cache = hide_url(cache)
    if cache == "memory":
        return MemoryStore()
    if cache == "file":
        return _user_store(sealing)
    if cache == "keyring:":
        with _extra("keyring"):
            from .keyring import KeyringStore

        return KeyringStore(sealing=sealing)
    if _is_of_redis(cache):
        with _extra("redis"):
            from .redis import RedisStore

        return RedisStore(cache, sealing=sealing)  # type: ignore[arg-type]  # as has been seen
    if isinstance(cache, (str, os.PathLike, Secret)):
        return _store_below(cache, sealing)
    if isinstance(cache, TokenStore) and not isinstance(cache, type):
        return _sealed(cache, sealing)
    raise ValueError(f"{type(cache).__name__} is not a store: it has no load, save, remove and lock")


@contextlib.contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say how to install what is missing where something is imported that is no dependency of all."""
    try:
        yield
    except ImportError:
        raise ValueError(f'{name} is not installed: pip install "aritma-session[{name}]"') from None


def _is_of_redis(cache: object) -> bool:
    """Tell whether a setting means Redis, without importing what only that needs: a client has imported it."""
    if isinstance(cache, Secret):
        return cache.reveal().startswith(("redis://", "rediss://", "unix://"))
    redis: Any = sys.modules.get("redis")
    return redis is not None and isinstance(cache, (redis.Redis, redis.RedisCluster))


def _sealed(store: TokenStore, sealing: Sealing | None) -> TokenStore:
    """Give a store back; one that was made by hand seals, if it does, with the key that it was made with.

    :raises ValueError: when somebody relies on a key that the store does not know of.
    """
    if sealing is None or isinstance(store, MemoryStore) or getattr(store, "sealing", None):
        return store
    name = type(store).__name__
    raise ValueError(f"{name} was made without the cache_encryption_key (ARITMA_CACHE_KEY): make it with its sealing=")


def _store_below(directory: str | os.PathLike[str] | Secret, sealing: Sealing | None) -> TokenStore:
    from .file import FileStore

    path: object = directory if isinstance(directory, Secret) else os.fspath(directory)
    # A word alone is a mistyped keyword more often than a directory.
    if not isinstance(path, str) or "\0" in path or (path is directory and not set(path) & _PATH_SIGNS):
        shown = without_credentials(directory.reveal() if isinstance(directory, Secret) else str(directory))
        others = 'a directory (one such as "./tokens") or a URL that begins with "redis://", "rediss://" or "unix://"'
        raise ValueError(f'{shown!r} is not "file", "memory", "keyring:", {others}')
    path = os.path.expanduser(path)
    if path.startswith("~"):  # as it was: nobody knows whose home that is, and a directory of that name is not meant
        return _unshared("this account has no such home directory")
    try:
        return FileStore.below(path, sealing=sealing)
    except FileNotFoundError:  # a path that begins at the current directory
        return _unshared("the current directory is gone")


def _user_store(sealing: Sealing | None = None) -> TokenStore:
    """Give the store in the user's own cache directory, as the operating system names it."""
    from .file import FileStore

    # Where there is no home, some releases of platformdirs raise, and others give back a path that begins with "~".
    with contextlib.suppress(RuntimeError):
        base = _user_cache()
        if os.path.isabs(base):
            return FileStore.below(base, sealing=sealing)
    return _unshared("this account has no home directory")


def _user_cache() -> str:
    if _LINUX:
        # The XDG Base Directory Specification, of which this is all; platformdirs takes a fortieth of requests' time.
        stated = os.environ.get("XDG_CACHE_HOME")
        return stated if stated and os.path.isabs(stated) else os.path.expanduser("~/.cache")
    with unforked():
        import platformdirs
    return platformdirs.user_cache_dir()


def _unshared(reason: str) -> TokenStore:
    """Give a store that is always there, and say what that costs."""
    _log.warning("%s: no token is shared with other processes (set cache or ARITMA_CACHE to a directory)", reason)
    return MemoryStore()
