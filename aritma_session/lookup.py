"""Find one setting: its argument, else its variable, else its default."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .credentials import Secret

__all__ = ["a", "secret_setting", "setting", "source_of", "variable_of", "ways_to", "words"]

_T = TypeVar("_T")

#: The variables that are not called like their settings.
_SHORTER = {"cache_encryption_key": "ARITMA_CACHE_KEY"}


def setting(
    name: str,
    value: Any,
    check: Callable[[Any], _T],
    default: Any = None,
    *,
    empty_counts: bool = False,
    hide: Callable[[Any], Any] = lambda value: value,
) -> _T:
    """Find one setting and check it.

    :param check: makes the setting of what was found, or raises a ValueError that says what is wrong with it.
    :param empty_counts: whether a variable that is set but empty is a value of its own.
    :param hide: makes of what stands in a variable something that does not show itself.
    """
    variable = variable_of(name)
    if value is None:
        value = os.environ.get(variable)
        if value is None or not (value.strip() or empty_counts):
            value = default
        value = hide(value)
    if value is None:
        raise ValueError(f"{name} is missing: pass {name}=... or set the environment variable {variable}")
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{name} (or the environment variable {variable}) is not usable: {error}") from None


def secret_setting(name: str, argument: Secret | None, *, variables: bool = True) -> Secret | None:
    """Find one secret, in its argument, its variable, or the file that its other variable names.

    :param argument: what was passed, hidden already.
    :param variables: whether the variables count.
    :returns: the secret; ``None`` where there is none.
    :raises ValueError: when it is of another type, or is in two places. The message shows nothing of it.
    """
    # No variable here may hold the secret itself: a traceback that shows variables would show it.
    variable, ways = variable_of(name), ways_to(name)
    given, file_given = (variables and bool(os.environ.get(variable + end, "").strip()) for end in ("", "_FILE"))
    if argument is not None:
        if argument.path is None and not isinstance(argument.value, str):
            raise ValueError(f"{name} is a string, not {a(argument.value)}; {ways}")
        return argument
    if given and file_given:
        raise ValueError(f"{variable} and {variable}_FILE are both set: unset one of them, or pass {name}=...")
    if given:
        return Secret(os.environ[variable])
    if file_given:
        return Secret(path=os.path.abspath(os.path.expanduser(os.environ[f"{variable}_FILE"])))
    return None


def source_of(name: str, argument: Secret | None, found: Secret) -> str:
    """Say where a secret was found."""
    if argument is not None:
        return name
    return variable_of(name) if found.path is None else f"{variable_of(name)}_FILE"


def ways_to(name: str) -> str:
    """Say how a secret can be given."""
    variable = variable_of(name)
    return f"pass {name}=... or set the environment variable {variable} or {variable}_FILE"


def variable_of(name: str) -> str:
    """Give the environment variable of a setting."""
    return _SHORTER.get(name) or f"ARITMA_{name.upper()}"


def words(value: object) -> tuple[str, ...]:
    """Read several words from an iterable, or from a string with commas or white space between them."""
    found = re.split(r"[,\s]+", value) if isinstance(value, str) else value
    if not isinstance(found, Iterable) or isinstance(found, (bytes, dict)):
        raise ValueError(f"it is a string or an iterable of strings, not {a(value)}")
    several = tuple(found)
    for word in several:
        if not isinstance(word, str):
            raise ValueError(f"it is a string or an iterable of strings, and {a(word)} is among them")
    return tuple(dict.fromkeys(word for word in several if word))


def a(value: object) -> str:
    """Name the type of something that must not be shown itself."""
    return f"something of type {type(value).__name__}"
