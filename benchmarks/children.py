"""Start the processes that are measured, all in the same surroundings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))

#: Seconds that any one process may take.
LONGEST = 120.0


def environment(home, **more):
    """The variables of a measured process: few, since requests reads all of them for each request.

    What many variables cost, plain requests pays as well, so that more of them would make every ratio look better.
    """
    found = {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "PYTHONPATH": HERE}
    return {**found, **{name: str(value) for name, value in more.items()}}


def python(code, *arguments, env):
    """Start a Python process that runs a piece of code."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def answer(process):
    """What a process printed last, read as JSON, once it has ended well."""
    with process:
        try:
            output, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()  # else the end of this block would wait for it
            raise
    if process.returncode:
        raise RuntimeError(f"a measured process ended with status {process.returncode}")
    return json.loads(output.splitlines()[-1])


def seconds_until_said(code, *arguments, env):
    """Seconds from the start of a process to the time, on the clock that all processes share, that it prints."""
    began = time.monotonic_ns()
    return (answer(python(code, *arguments, env=env)) - began) / 1e9


def seconds_of(command, env):
    """Seconds from the start of a command to its end."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    # Not `wait(timeout=...)`: that looks again after 16, 32 and 64 ms, and would find these times alone.
    watchdog = threading.Timer(LONGEST, process.kill)
    watchdog.start()
    process.wait()
    ended = time.perf_counter()
    watchdog.cancel()
    if process.returncode:
        raise RuntimeError(f"a measured command ended with status {process.returncode}")
    return ended - began
