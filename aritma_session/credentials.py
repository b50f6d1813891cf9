"""Secrets and private keys that do not show themselves."""

from __future__ import annotations

import os
import re
from typing import TypeVar

from .values import Value

__all__ = ["PrivateKey", "Secret", "hide", "hide_url", "without_credentials"]

_T = TypeVar("_T")


class Secret(Value):
    """Hold a secret, or the path of the file that holds it; neither ``repr`` nor an error message shows it.

    A file is read anew for each token request, so that a secret that is replaced on disk is used without a restart.

    :param value: the secret itself.
    :param path: the file that holds it; a line break at its end does not belong to the secret.
    """

    __slots__ = ("value", "path")

    value: str | None
    path: str | None

    _hidden = frozenset({"value", "path"})  # somebody may have put the secret where its file's path belongs

    def __init__(self, value: str | None = None, path: str | None = None) -> None:
        self._set(value=value, path=path)

    @classmethod
    def given(cls, argument: object) -> Secret | None:
        """Hide what a caller has passed, before anything can be raised in whose frames it would stand.

        :param argument: what was passed, of whatever type; ``None`` where nothing was, and a secret where it is hidden.
        """
        if argument is None or isinstance(argument, cls):
            return argument
        return cls(argument)  # type: ignore[arg-type]  # settings look at the type

    def text(self) -> str:
        """Give what is there, line breaks and all.

        :raises ValueError: when the file cannot be read, or there is nothing.
        """
        text = self.value if self.path is None else _read(self.path)
        if not text or text.isspace():
            raise ValueError("it is empty")
        return text

    def reveal(self) -> str:
        """Give the secret.

        :raises ValueError: when the file cannot be read, or what was found cannot be a secret. The message says why and
            shows nothing of it.
        """
        secret = self.text()
        if not secret.isprintable():
            raise ValueError("it holds a line break or another control character, as a copied line may")
        return secret

    @property
    def problem(self) -> str | None:
        """Why the secret cannot be used; told without an exception, in whose frames it would stand."""
        try:
            self.reveal()
        except ValueError as error:
            return str(error)
        return None


class PrivateKey(Value):
    """Hold a private key in PEM (RFC 7468), and the passphrase that it may be encrypted with.

    :param pem: the key.
    :param passphrase: its passphrase, where it is encrypted.
    """

    __slots__ = ("pem", "passphrase")

    pem: Secret
    passphrase: Secret | None

    def __init__(self, pem: Secret, passphrase: Secret | None = None) -> None:
        self._set(pem=pem, passphrase=passphrase)

    def reveal(self) -> tuple[str, str | None]:
        """Give the key, without what may stand around it in its file, and the passphrase.

        What can be seen without reading the key itself is looked at: that would take longer than a token request.

        :raises ValueError: when it cannot be read, is no private key in PEM, or is encrypted and has no passphrase, or
            the other way round. The message shows nothing of either.
        """
        passphrase = self.passphrase.reveal() if self.passphrase else None
        blocks = {match[1]: match[0] for match in re.finditer(_PEM, self.pem.text(), re.DOTALL)}
        if not blocks:
            raise ValueError("it is no whole PEM text, which begins with '-----BEGIN PRIVATE KEY-----'")
        # A certificate, or the parameters of a curve, may stand in the same file.
        label = next((label for label in blocks if label in _KEY_LABELS), None)
        if label is None:
            found = " and ".join(label.lower() for label in blocks)
            raise ValueError(f"it is no private key in PKCS #8, PKCS #1 or SEC 1, which is needed, but: {found}")
        pem = blocks[label]
        encrypted = "ENCRYPTED" in label or "Proc-Type: 4,ENCRYPTED" in pem
        if encrypted and passphrase is None:
            raise ValueError("it is encrypted: set private_key_passphrase (ARITMA_PRIVATE_KEY_PASSPHRASE) too")
        if passphrase is not None and not encrypted:
            raise ValueError("it is not encrypted: leave private_key_passphrase (ARITMA_PRIVATE_KEY_PASSPHRASE) out")
        return pem, passphrase

    @property
    def problem(self) -> str | None:
        """Why the key cannot be used; told without an exception, in whose frames it would stand."""
        try:
            self.reveal()
        except ValueError as error:
            return str(error)
        return None


#: One block of PEM, whole.
_PEM = r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----"

#: What stands between BEGIN and END of the keys that can be read.
_KEY_LABELS = {"PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"}


def hide(*arguments: object) -> list[Secret | None]:
    """Hide what a caller has passed, each as :meth:`Secret.given` does."""
    return [Secret.given(argument) for argument in arguments]


def hide_url(value: _T) -> _T | Secret:
    """Hide a URL, which may hold a password, before anything can be raised in whose frames it would stand."""
    return Secret(value) if isinstance(value, str) and "://" in value else value


def without_credentials(text: str) -> str:
    """Give a URL, or what was meant to be one, fit to be shown: without user name, password, query and fragment."""
    return re.split(r"[?#]", re.sub(r"\A(.*?://)?.*@", r"\1***@", text, flags=re.DOTALL))[0]


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        # It may be the secret itself, in the wrong variable: no more of it is shown than what is there.
        above = os.path.dirname(path)
        where = above if os.path.isdir(above) else "a directory that is not there"
        raise ValueError(f"the file cannot be read: there is none of that name in {where}") from None
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None
    # Not a strict decoding, whose error would carry the bytes along.
    text = data.decode(errors="replace").removesuffix("\n").removesuffix("\r")
    if "\N{REPLACEMENT CHARACTER}" in text:
        raise ValueError(f"the file {path} is not UTF-8 text")
    return text
