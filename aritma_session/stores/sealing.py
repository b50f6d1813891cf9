"""Tokens that can be read with a key only, wherever they are kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..credentials import Secret
from ..values import Value

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

__all__ = ["Sealing"]


class Sealing(Value):
    """Seal records, and open what was sealed with any of the keys: AES-128 in CBC mode under an HMAC, as Fernet has it.

    A record names the key of the store that it is kept under, and so does what is sealed: it is believed in no other
    place. What cannot be opened is a miss, and so is what was never sealed.

    :param keys: one or more Fernet keys, 32 random bytes each in URL-safe Base64, with commas or white space between
        them. The first seals, all open, so that a key is replaced by putting a new one before it, and removing the old
        one once all processes have the new one and the last token sealed with the old one has expired.
    :raises ValueError: when cryptography is not installed, or something is no such key. No message shows it.
    """

    __slots__ = ("keys", "_fernet")

    keys: Secret
    _fernet: MultiFernet

    _hidden = frozenset({"keys"})

    def __init__(self, keys: str | Secret) -> None:
        secret = Secret.given(keys)
        del keys  # as in AritmaSession: a traceback that shows variables would show it
        self._set(keys=secret, _fernet=_fernet(secret))

    def seal(self, record: bytes) -> bytes:
        """Give what only a holder of the key can read or make."""
        return self._fernet.encrypt(record)

    def open(self, sealed: bytes | str) -> bytes | None:
        """Give the record; ``None`` where this was not sealed with any of the keys."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(sealed)
        except (InvalidToken, TypeError, ValueError):  # the latter for a text with letters that no seal has
            return None


def _fernet(secret: Any) -> MultiFernet:
    """Make what seals and opens; no variable here holds a key when anything is raised."""
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError:
        raise ValueError('cryptography is not installed: pip install "aritma-session[encryption]"') from None
    made = [] if not isinstance(secret.value, str) else [_made(Fernet, word) for word in _words(secret)]
    if not made or None in made:
        how = 'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        raise ValueError(f"it is not one or more keys with commas between them, each as made by {how}")
    return MultiFernet(made)


def _words(secret: Secret) -> list[Secret]:
    return [Secret(word) for word in re.split(r"[,\s]+", secret.value or "") if word]


def _made(make: Any, word: Secret) -> Any:
    try:
        return make(word.value)
    except ValueError:  # not 32 bytes, not Base64, not ASCII
        return None
