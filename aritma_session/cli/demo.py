"""Show that one token serves several processes."""

from __future__ import annotations

import contextlib
import json
import signal
from typing import TYPE_CHECKING

from .. import demo
from .parser import FAILED, OK

if TYPE_CHECKING:
    import argparse

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Run the demo, and fail where a call failed."""
    # To be ended is to be interrupted: what the demo has made is taken away.
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    result = demo.run(options.processes, show=not options.json)
    if options.json:
        print(json.dumps(result))
    return FAILED if result["failed_calls"] else OK
