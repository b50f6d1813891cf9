"""The ``aritma-session`` command.

:func:`main` reads the command line, and imports what the command needs and nothing else: a module of this package for
each, with a ``run`` that is given the options and gives the exit status.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .parser import FAILED
from .parser import parser as _parser

if TYPE_CHECKING:
    import argparse

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :param arguments: the command line without the program's name; by default this process' own.
    :returns: the exit status: 0, or 1 where something was refused or failed; 2 is argparse's, for a wrong command line.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    # The first word that is no option is the command: no option before it takes a value.
    options = _parser(next((word for word in words if not word.startswith("-")), "")).parse_args(words)
    with _logging(debug=options.debug):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        status: int = importlib.import_module(f".{options.module}", __name__).run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return FAILED
    except BrokenPipeError:  # whoever read our output has left, and what is left of it must not be tried at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001  # whatever it is, nobody is helped by a traceback that they did not ask for
        if options.debug:
            import traceback

            traceback.print_exc()
        print(f"aritma-session: {_line(error)}", file=sys.stderr)
        return FAILED
    return status


def _line(error: Exception) -> str:
    """Say in one line what happened, and what to do."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, (ImportError, OSError, OverflowError, ValueError)):
        return text
    return f"{type(error).__name__}: {text}: this should not happen; run it again with --debug, and report what it says"


@contextlib.contextmanager
def _logging(*, debug: bool) -> Iterator[None]:
    """Let people see what the library logs: what it warns of, or all of it."""
    logger, handler = logging.getLogger("aritma_session"), logging.StreamHandler()
    handler.setLevel(logging.DEBUG if debug else logging.WARNING)
    said = "%(asctime)s %(levelname)s %(message)s" if debug else "aritma-session: warning: %(message)s"
    handler.setFormatter(logging.Formatter(said))
    logger.addHandler(handler)
    before = logger.level
    if debug:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
