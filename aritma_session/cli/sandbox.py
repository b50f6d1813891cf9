"""Run a local Aritma ID and bank API."""

from __future__ import annotations

import contextlib
import shlex
import signal
import threading
from typing import TYPE_CHECKING

from ..sandbox import Sandbox
from .parser import OK

if TYPE_CHECKING:
    import argparse

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted, and say how a shell is pointed here."""
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
