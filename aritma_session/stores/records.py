"""Tokens as bytes: one versioned record, the same in every store, sealed where there is a key."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from ..tokens import Token

if TYPE_CHECKING:
    from .sealing import Sealing

__all__ = ["dump", "load"]

#: Raised when a record's meaning changes; a record of another version is a miss, and is overwritten.
_VERSION = 1

_log = logging.getLogger("aritma_session")


def dump(key: str, token: Token, sealing: Sealing | None = None) -> bytes:
    """Write a token down, with the key that it is kept under: a record that was moved elsewhere is not believed.

    :param key: what the token is kept under.
    :param token: the token.
    :param sealing: what makes the record unreadable for others, where that is wanted.
    """
    record = json.dumps({"version": _VERSION, "key": key, **token.to_record()}).encode()
    return record if sealing is None else sealing.seal(record)


def load(key: str, data: bytes | str | None, sealing: Sealing | None = None) -> Token | None:
    """Read what :func:`dump` wrote with the same arguments; anything else is a miss."""
    if sealing is not None and data is not None:
        data = sealing.open(data)
        if data is None:
            _log.info("the cache has a token that the key of the cache (ARITMA_CACHE_KEY) does not open")
    try:
        record = json.loads(data)  # type: ignore[arg-type]  # a TypeError, where there is nothing
        version = record.pop("version")
        if type(version) is not int or version != _VERSION or record.pop("key") != key:  # True is 1
            return None
        return Token.from_record(record)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
