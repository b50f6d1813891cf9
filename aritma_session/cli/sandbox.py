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
    with contextlib.ExitStack() as resources:
        sandbox = _started(options)
        resources.callback(sandbox.stop)
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(number, lambda *_: stop.set())
        print(f"# A local Aritma ID and bank API at {sandbox.issuer}, until Ctrl-C. In another shell:")
        for name, value in sandbox.environ().items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"# Then, for example: AritmaSession().get('{sandbox.api_url}/statements/acme')")
        login = f"env -u ARITMA_CLIENT_SECRET aritma-session login --client-id {sandbox.public_client_id}"
        print(f"# Or log in as {sandbox.username}, with the password {sandbox.password}: {login}")
        print("# REQUESTS_CA_BUNDLE trusts nothing but this: unset it before that shell talks to others.", flush=True)
        stop.wait()
    return OK


def _started(options: argparse.Namespace) -> Sandbox:
    try:
        return Sandbox(port=options.port, token_lifetime=options.token_lifetime).start()
    except OSError as error:
        advice = "choose another one with --port, or none"
        raise ValueError(f"the port {options.port} cannot be had ({error.strerror}): {advice}") from None
