"""What a cache is, where it is, and what else is in it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..stores import MemoryStore

if TYPE_CHECKING:
    from ..stores import TokenStore

__all__ = ["keys", "place", "shared", "usable"]


def place(store: TokenStore) -> str:
    """Say where a store keeps tokens; no ``repr`` of a store shows a secret."""
    directory: str | None = getattr(store, "directory", None)
    if directory is not None:
        return directory
    return "memory" if isinstance(store, MemoryStore) else repr(store)


def shared(store: TokenStore) -> bool:
    """Tell whether other processes see what is kept there."""
    return not isinstance(store, MemoryStore)


@contextlib.contextmanager
def usable(store: TokenStore) -> Iterator[None]:
    """Say what to do about a store that fails in this block, whatever it raises.

    :raises ValueError: when it fails.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001  # a store of the user's raises what it likes
        raise ValueError(f"the cache {place(store)} cannot be used ({error}): see ARITMA_CACHE") from None


def keys(store: TokenStore) -> list[str] | None:
    """Give the keys that tokens are kept under; ``None`` where the store does not tell."""
    listed: Callable[[], list[str]] | None = getattr(store, "keys", None)
    return None if listed is None else list(listed())
