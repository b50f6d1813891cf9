"""Tokens as bytes: one versioned record, the same in every store."""

from __future__ import annotations

import json

from ..tokens import Token

__all__ = ["dump", "load"]

#: Raised when a record's meaning changes; a record of another version is a miss, and is overwritten.
_VERSION = 1


def dump(key: str, token: Token) -> bytes:
    """Write a token down, with the key that it is kept under: a record that was moved elsewhere is not believed."""
    return json.dumps({"version": _VERSION, "key": key, **token.to_record()}).encode()


def load(key: str, data: bytes) -> Token | None:
    """Read what :func:`dump` wrote; anything else is a miss."""
    try:
        record = json.loads(data)
        version = record.pop("version")
        if type(version) is not int or version != _VERSION or record.pop("key") != key:  # True is 1
            return None
        return Token.from_record(record)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
