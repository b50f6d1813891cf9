"""Forget tokens, and ask nobody: they stay good until they expire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lookup import setting
from ..stores import open_store
from .cached import keys, place, shared, usable
from .given import resolve
from .parser import OK

if TYPE_CHECKING:
    import argparse

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Remove the token of the current settings, or all that are kept beside it, and say so."""
    print(_clear_all(options) if options.all else _clear_one(options))
    return OK


def _clear_one(options: argparse.Namespace) -> str:
    settings = resolve(options)
    store, key = settings.cache, settings.cache_key
    whose = f"of {settings.client_id} ({settings.grant.name}) at {settings.environment.issuer}"
    if not shared(store):
        return _MEMORY
    with usable(store):
        known = keys(store)
        there = store.load(key) is not None if known is None else key in known
        store.remove(key)
    return (
        f"Removed the token {whose} from {place(store)}." if there else f"There is no token {whose} in {place(store)}."
    )


def _clear_all(options: argparse.Namespace) -> str:
    store = setting("cache", options.cache, open_store, "file")
    if not shared(store):
        return _MEMORY
    with usable(store):
        found = keys(store)
    if found is None:
        raise ValueError(f"{place(store)} does not tell what is in it: leave --all out, and name client and scope")
    for key in found:
        store.remove(key)
    number = "no token" if not found else "1 token" if len(found) == 1 else f"{len(found)} tokens"
    return f"Removed {number} from {place(store)}." if found else f"There is no token in {place(store)}."


_MEMORY = "The cache is in memory: each process has its own, and there is nothing to remove."
