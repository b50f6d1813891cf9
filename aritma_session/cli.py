"""The ``aritma-session`` command."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Sequence

__all__ = ["main"]

#: Exit statuses: all is well; something was refused or failed; the command line is wrong (argparse's own).
OK, FAILED, _USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :param arguments: the command line without the program's name; by default this process' own.
    :returns: the exit status: 0, or 1 where something was refused or failed; 2 is argparse's, for a wrong command line.
    """
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return FAILED
    except (ImportError, OSError, OverflowError, ValueError) as error:
        print(f"aritma-session: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aritma-session",
        description="requests.Session for Aritma's banking APIs, with one token for all processes.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="watch several processes share one token", description=_DEMO)
    demo.add_argument("--processes", type=_from(1), default=8, metavar="N", help="worker processes (default: 8)")
    demo.add_argument("--json", action="store_true", help="print the result as one JSON object")
    demo.set_defaults(run=_demo)

    sandbox = commands.add_parser("sandbox", help="run a local Aritma ID and bank API", description=_SANDBOX)
    sandbox.add_argument("--port", type=_from(0), default=0, metavar="PORT", help="loopback port (default: a free one)")
    sandbox.add_argument(
        "--token-lifetime",
        type=_from(0),
        default=3600,
        metavar="SECONDS",
        help="lifetime of its tokens (default: 3600)",
    )
    sandbox.set_defaults(run=_sandbox)
    return parser


_DEMO = """Start a local Aritma ID and bank API, and worker processes with a fresh cache that call it. The first token
expires, the second is revoked midway. Then the same work once more, with a token for each process. Exit status 1 when a
call failed."""

_SANDBOX = """Run a local Aritma ID and bank API over TLS until interrupted, and print the lines that point a shell, and
so every session that is started from it, at them."""


def _from(lowest: int) -> Callable[[str], int]:
    """Make a type for argparse: whole numbers from this one on."""

    def number(text: str) -> int:
        value = int(text)
        if value < lowest:
            raise ValueError(text)
        return value

    number.__name__ = f"number (a whole one from {lowest} on)"  # argparse: "invalid ... value"
    return number


def _demo(options: argparse.Namespace) -> int:
    from .demo import run

    result = run(options.processes, show=not options.json)
    if options.json:
        print(json.dumps(result))
    return FAILED if result["failed_calls"] else OK


def _sandbox(options: argparse.Namespace) -> int:
    from .sandbox import Sandbox

    stop = threading.Event()
    with Sandbox(port=options.port, token_lifetime=options.token_lifetime) as sandbox:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(number, lambda *_: stop.set())
        print(f"# A local Aritma ID and bank API at {sandbox.issuer}, until Ctrl-C. In another shell:")
        for name, value in sandbox.environ().items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"# Then, for example: AritmaSession().get('{sandbox.api_url}/statements/acme')", flush=True)
        stop.wait()
    return OK
