"""The sandbox in a process of its own, so that it takes no time from a client's interpreter."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

import children

#: What the process does: a command on each line, an answer on each line.
SERVE = """if True:
    import dataclasses, json, sys
    from aritma_session.sandbox import Sandbox

    with Sandbox() as sandbox:
        facts = ["issuer", "token_endpoint", "api_url", "ca_bundle", "client_id", "client_secret"]
        print(json.dumps({name: getattr(sandbox, name) for name in facts}), flush=True)
        for line in sys.stdin:
            command, arguments = json.loads(line)
            if command == "set":
                for name, value in arguments.items():
                    setattr(sandbox, name, value)
            else:
                getattr(sandbox, command)()
            print(json.dumps(dataclasses.asdict(sandbox.counts)), flush=True)
"""


class Server:
    """Tell the sandbox what to do, and ask it what it counted."""

    def __init__(self, process):
        self._process = process
        #: Where it is and who may have tokens, as plain values.
        self.facts = json.loads(process.stdout.readline())

    def _tell(self, command, **arguments):
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def begin(self, *, token_delay=0.0, token_lifetime=3600):
        """Forget what was counted, and answer like this from now on."""
        self._tell("set", token_delay=token_delay, token_lifetime=token_lifetime)
        self._tell("reset_counts")

    def revoke_all(self):
        self._tell("revoke_all")

    def counts(self):
        return self._tell("set")

    def target(self, cache):
        """What a contender must know, with a cache that may be shared and a token for the one that fetches none."""
        import requests

        fields = {"grant_type": "client_credentials", "scope": "bankservice"}
        fields |= {name: self.facts[name] for name in ("client_id", "client_secret")}
        with requests.Session() as session:
            session.trust_env = False
            session.verify = self.facts["ca_bundle"]
            token = session.post(self.facts["token_endpoint"], data=fields, timeout=30).json()["access_token"]
        return {**self.facts, "url": f"{self.facts['api_url']}/statements/acme", "cache": cache, "token": token}


@contextlib.contextmanager
def running(home):
    """Run the sandbox for a while."""
    process = children.python(SERVE, env=children.environment(home))
    with process:
        try:
            yield Server(process)
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                print("the sandbox did not end by itself", file=sys.stderr)
                process.kill()
