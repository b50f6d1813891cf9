"""What a person sees: colours, bars and times, on a terminal; plain text elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TextIO

__all__ = ["bar", "clean", "duration", "moment", "painter", "size", "table"]

#: Select Graphic Rendition (ECMA-48, section 8.3.117).
_STYLES = {"strong": "1", "quiet": "2", "bad": "31", "good": "32", "warning": "33"}

#: Whether every terminal knows them; on Windows, the one that says who it is.
_ANSI = os.name != "nt"

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def painter(stream: TextIO) -> Callable[[str, str], str]:
    """Give what puts a style on a text, where this stream shows it: on a terminal that knows colours.

    A person who wants none sets ``NO_COLOR`` (https://no-color.org).
    """
    known = _ANSI or "WT_SESSION" in os.environ
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    if known and wanted and stream.isatty():
        return lambda style, text: f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
    return lambda _, text: text


def bar(share: float, width: int, stream: TextIO) -> str:
    """Draw a bar.

    :param share: how much of it is full, from 0 to 1.
    :param width: letters.
    :param stream: what it is written to, which may not know the letters of boxes.
    """
    full = round(min(max(share, 0), 1) * width)
    drawn = "━" * full + "╌" * (width - full)
    try:
        drawn.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return "#" * full + "." * (width - full)
    return drawn


def duration(seconds: float) -> str:
    """Say how long something takes, in the two largest units."""
    left, said = max(round(seconds), 0), list[str]()
    for length, unit in _UNITS:
        number, left = divmod(left, length)
        if number or (unit == "s" and not said):
            said.append(f"{number} {unit}")
    return " ".join(said[:2])


def moment(seconds: float) -> str:
    """Say when something is, by the clock on the wall.

    :param seconds: seconds since the epoch.
    """
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def size(number: float) -> str:
    """Say how many bytes there are."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def clean(text: object) -> str:
    """Give one line of printable letters: what a server sent may be made to move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def table(rows: Iterable[tuple[str, ...]], indent: str = "") -> str:
    """Set rows of cells in columns."""
    found = list(rows)
    widths = [max(map(len, column)) for column in zip(*found, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in found)
    return "\n".join((indent + line).rstrip() for line in lines)
