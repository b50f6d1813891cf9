"""The command that prints the token for a shell, from a warm cache."""

from __future__ import annotations

import os
import subprocess
import sys

import canned
import children
import measuring


def measure(bench):
    name, title, target = "command", "aritma-session token, warm cache", 0.5
    command = [os.path.join(os.path.dirname(sys.executable), "aritma-session"), "token"]
    env = {
        **bench.environment,
        "ARITMA_CACHE": bench.cache,
        "ARITMA_CLIENT_ID": canned.CLIENT_ID,
        "ARITMA_CLIENT_SECRET": canned.CLIENT_SECRET,
    }
    tried = subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=children.LONGEST)
    if tried.returncode == 2:  # argparse's word for what it does not know
        yield measuring.Row(name, title, "s", {}, target=target, note="skipped: there is no such command yet")
        return
    if tried.stdout.strip() != canned.TOKEN:
        raise RuntimeError(f"aritma-session token did not print the cached token: {tried.stderr}")
    imports = [sys.executable, "-c", "import requests"]
    commands = {
        "aritma_session": lambda: children.seconds_of(command, env),
        "import requests": lambda: children.seconds_of(imports, env),
        "pass": lambda: children.seconds_of([sys.executable, "-c", "pass"], env),
    }
    samples = measuring.in_turns(commands, 10 if bench.quick else 50, warm_up=2)
    yield measuring.compared(name, title, "s", samples, peer="import requests", target=target)
