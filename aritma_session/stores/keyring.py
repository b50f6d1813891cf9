"""Tokens in the keyring of a person's desktop, which is locked when its owner is away."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import keyring
from keyring.errors import PasswordDeleteError

from . import TokenStore, open_store, records

if TYPE_CHECKING:
    from ..tokens import Token
    from .sealing import Sealing

__all__ = ["KeyringStore"]


class KeyringStore:
    """Keep tokens in the system's keyring, where refresh tokens, which live long, are safer than in a file.

    For programs that a person runs: a keyring may have to be unlocked by its owner, and that is waited for. Locks are
    files in the user's cache directory, which hold nothing.

    :param service: the name under which a person sees the tokens in the keyring.
    :param locks: the store whose locks are used.
    :param sealing: what seals the tokens besides.
    """

    def __init__(
        self, service: str = "aritma-session", *, locks: TokenStore | None = None, sealing: Sealing | None = None
    ) -> None:
        self.service = service
        self.locks: TokenStore = open_store("file") if locks is None else locks
        self.sealing = sealing

    def load(self, key: str) -> Token | None:
        """Give the token that the keyring has.

        :raises keyring.errors.KeyringError: when there is no keyring, or it stays locked.
        """
        return records.load(key, keyring.get_password(self.service, key), self.sealing)

    def save(self, key: str, token: Token) -> None:
        """Put the token into the keyring.

        :raises keyring.errors.KeyringError: when there is no keyring, it stays locked, or takes nothing so long.
        """
        keyring.set_password(self.service, key, records.dump(key, token, self.sealing).decode())

    def remove(self, key: str) -> None:
        """Remove the token from the keyring, if there is one.

        :raises keyring.errors.KeyringError: when it cannot be removed.
        """
        try:
            keyring.delete_password(self.service, key)
        except PasswordDeleteError:
            if keyring.get_password(self.service, key) is not None:
                raise

    def lock(self, key: str) -> AbstractContextManager[bool]:
        """Try once to take the lock of this key."""
        return self.locks.lock(key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.service!r})"

    def __eq__(self, other: object) -> bool:
        mine = (self.service, self.locks, self.sealing)
        return isinstance(other, KeyringStore) and mine == (other.service, other.locks, other.sealing)

    def __hash__(self) -> int:
        return hash((self.service, self.locks))
