"""A clean environment for each test, and a real server to talk to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import hypothesis
import pytest

from aritma_session import AritmaSession
from aritma_session.sandbox import Sandbox
from aritma_session.settings import Settings

pytest.register_assert_rewrite("aritma_session.stores.contract")  # what fails there is to say why

# A run in the background of a shell's script ignores Ctrl-C, and so would all that it starts.
with contextlib.suppress(ValueError):  # not in the main thread
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

#: What the surroundings of a test run could say, and a test must not hear.
DEAF_TO = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", "XDG_CACHE_HOME")

#: Generated input: every day the same, and in seconds, as what passed yesterday is not to fail today; with
#: "--hypothesis-profile hunt" always other, and for minutes.
hypothesis.settings.register_profile(
    "everyday", derandomize=True, max_examples=100, stateful_step_count=30, deadline=None, database=None
)
hypothesis.settings.register_profile(
    "hunt",
    hypothesis.settings.get_profile("everyday"),
    derandomize=False,
    print_blob=True,
    max_examples=2000,
    stateful_step_count=60,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("everyday")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No setting, proxy, certificate, home or netrc but the test's own."""
    for name in list(os.environ):
        if name.startswith("ARITMA_") or name.lower().endswith("_proxy") or name in DEAF_TO:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))


@pytest.fixture(scope="session")
def served():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(served):
    """A local Aritma ID and bank API, as if newly started."""
    served.reset()
    return served


@pytest.fixture
def cache(tmp_path):
    """A directory for tokens that does not exist yet."""
    return tmp_path / "cache"


@pytest.fixture
def environ(sandbox, cache, monkeypatch):
    """Variables that point sessions, of this process and of others, at the sandbox and at the test's own cache."""
    variables = {**sandbox.environ(), "ARITMA_CACHE": str(cache)}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def session(environ, sandbox):
    with AritmaSession() as session:
        session.verify = sandbox.ca_bundle  # `send` looks at no variable
        yield session


@pytest.fixture
def login(environ, sandbox, monkeypatch):
    """Let sessions use a login, and log in: leave in the cache what a browser would have brought.

    With the age in seconds of the access token that was brought, which lives an hour.
    """
    monkeypatch.setenv("ARITMA_GRANT", "authorization_code")

    def log_in(age=0.0, **settings):
        asked = {"grant": "password", "username": sandbox.username, "password": sandbox.password, "cache": "memory"}
        asked |= {"scope": "bankservice offline_access", "token_endpoint_auth_method": "client_secret_post"}
        with AritmaSession(sandbox.client_id, sandbox.client_secret, **asked) as session:
            session.verify = sandbox.ca_bundle
            token = session.auth.token()
        now = time.time()
        token = token.replace(obtained_at=now - age, expires_at=now - age + 3600)
        found = Settings.resolve(**settings)
        found.cache.save(found.cache_key, token)
        sandbox.reset_counts()
        return token

    return log_in


@pytest.fixture
def echo(sandbox):
    """The URL of an API call that answers with what it was sent."""
    return f"{sandbox.api_url}/echo"


@pytest.fixture
def start():
    """Start Python processes that run a piece of code, and end those that the test leaves."""
    started = []

    def starter(code, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield starter
    for process in started:
        process.kill()
        process.communicate()
