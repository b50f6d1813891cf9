"""The settings that options and variables give."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..lookup import variable_of
from .parser import SETTINGS

if TYPE_CHECKING:
    import argparse

    from ..settings import Settings

__all__ = ["arguments", "resolve"]


def arguments(options: argparse.Namespace, **defaults: str) -> dict[str, Any]:
    """Give the arguments, of ``Settings.resolve`` and of sessions, that options say.

    :param defaults: what takes the place of a setting's own default.
    """
    given = {name: getattr(options, name) for name in SETTINGS}
    for name, value in defaults.items():
        if given[name] is None and not os.environ.get(variable_of(name)):
            given[name] = value
    return {**given, "extra": None if options.extra is None else dict(options.extra)}


def resolve(options: argparse.Namespace, **defaults: str) -> Settings:
    """Give the settings that options and variables say.

    :param defaults: as above.
    :raises ValueError: when one is missing or impossible; the message names the option, where there is one.
    """
    from ..settings import Settings

    try:
        return Settings.resolve(**arguments(options, **defaults))
    except ValueError as error:
        raise ValueError(_as_options(str(error))) from None


def _as_options(text: str) -> str:
    """Say how to give a setting as a command does, where a message says how Python does."""

    def way(match: re.Match[str]) -> str:
        return f"pass --{match[1].replace('_', '-')} or set" if match[1] in SETTINGS else "set"

    return re.sub(r"\bpass (\w+)=\.\.\. or set\b", way, text)
