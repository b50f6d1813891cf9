"""What a cache is, where it is, and what else is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..stores import MemoryStore

if TYPE_CHECKING:
    from ..stores import TokenStore

__all__ = ["keys", "place", "shared"]


def place(store: TokenStore) -> str:
    """Say where a store keeps tokens; no ``repr`` of a store shows a secret."""
    directory: str | None = getattr(store, "directory", None)
    if directory is not None:
        return directory
    return "memory" if isinstance(store, MemoryStore) else repr(store)


def shared(store: TokenStore) -> bool:
    """Tell whether other processes see what is kept there."""
    return not isinstance(store, MemoryStore)


def keys(store: TokenStore) -> list[str] | None:
    """Give the keys that tokens are kept under; ``None`` where the store does not tell."""
    listed: Callable[[], list[str]] | None = getattr(store, "keys", None)
    return None if listed is None else list(listed())
