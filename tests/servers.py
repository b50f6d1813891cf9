"""Real Redis servers, to be stopped, paused, killed and restarted."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest
import redis

from helpers import wait_for

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")

#: Where everything is to be tested, nothing is skipped.
needs_redis = pytest.mark.skipif(
    PROGRAM is None and not os.environ.get("CI"), reason="no redis-server on this machine: apt-get install redis-server"
)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class RedisServer:
    """One server, on a port and a socket of its own, which keeps nothing on disk."""

    def __init__(self, *options, lines=()):
        self.directory = tempfile.mkdtemp(prefix="redis.")  # a socket's path may not be long
        self.socket = os.path.join(self.directory, "socket")
        self.options, self.lines = options, lines
        self.process, self.password = None, None
        for _ in range(5):  # another program may take the port before the server does
            self.port = free_port()
            if self.start():
                return
        raise AssertionError("no redis-server could be started")

    @property
    def url(self):
        credentials = f":{self.password}@" if self.password else ""
        return f"redis://{credentials}127.0.0.1:{self.port}/0"

    def start(self):
        """Start it, where it was before; whether it could be."""
        configuration = os.path.join(self.directory, "redis.conf")
        with open(configuration, "w") as file:
            file.write("\n".join(['save ""', "appendonly no", *self.lines, ""]))
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.socket, "--dir", self.directory]
        command = [PROGRAM or "redis-server", configuration, *place, "--logfile", "log", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        return wait_for(lambda: self.process.poll() is not None or self.answers()) and self.process.poll() is None

    def answers(self):
        try:
            return self.ask("PING")
        except redis.ConnectionError:
            return False

    def ask(self, *words):
        """What the server says, over a connection that is not of those that are tested."""
        client = redis.Redis(host="127.0.0.1", port=self.port, password=self.password, decode_responses=True)
        with contextlib.closing(client):
            return client.execute_command(*words)

    def calls(self, *names):
        """How often each of some commands was called, by scripts too."""
        stats = self.ask("INFO", "commandstats")
        return [stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names]

    def asked(self):
        """How many commands the server was sent, these questions aside; those inside scripts count, too."""
        stats = self.ask("INFO", "commandstats")
        ours = ("info", "client", "client|setinfo", "hello", "ping", "auth")
        return sum(found["calls"] for name, found in stats.items() if name.removeprefix("cmdstat_") not in ours)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        self.kill()
        assert self.start()

    def close(self):
        self.kill()
        shutil.rmtree(self.directory)
