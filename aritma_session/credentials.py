"""A client secret that does not show itself."""

from __future__ import annotations

import os
import re
from typing import TypeVar

from .values import Value

__all__ = ["Secret", "hide_url", "without_credentials"]

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

    def reveal(self) -> str:
        """Give the secret.

        :raises ValueError: when the file cannot be read, or what was found cannot be a secret. The message says why and
            shows nothing of it.
        """
        secret = self.value if self.path is None else _read(self.path)
        if not secret or secret.isspace():
            raise ValueError("it is empty")
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
