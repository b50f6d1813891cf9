"""HTTPie's own command, with the sandbox at the other end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig

import pytest

from aritma_session.sandbox import Answer

HTTP = shutil.which("http", path=sysconfig.get_path("scripts"))


@pytest.fixture
def http(environ, monkeypatch, tmp_path):
    """Run HTTPie in a process of its own: what it ended with and said."""
    monkeypatch.setenv("HTTPIE_CONFIG_DIR", str(tmp_path / "httpie"))
    (tmp_path / "httpie").mkdir()
    # Or it would ask its makers for news.
    (tmp_path / "httpie" / "config.json").write_text(json.dumps({"disable_update_warnings": True}))

    def run(*arguments):
        command = [HTTP, "--ignore-stdin", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)

    return run


def test_requests_carry_the_token_that_all_share(http, session, echo, sandbox):
    session.get(echo)
    result = http("-A", "aritma", "--body", "--check-status", echo, "amount:=1")
    assert (result.stderr, result.returncode) == ("", 0)
    seen = json.loads(result.stdout)
    assert seen["headers"]["authorization"] == f"Bearer {session.auth.token().access_token}"
    assert (seen["method"], json.loads(seen["body"])) == ("POST", {"amount": 1})
    assert sandbox.counts.token_requests == 1


def test_a_revoked_token_is_replaced(http, session, echo, sandbox):
    session.get(echo)
    sandbox.revoke_all()
    result = http("-A", "aritma", "--headers", echo)
    assert result.stdout.startswith("HTTP/1.1 200 OK"), result.stderr
    assert sandbox.counts.token_requests == 2


def test_another_host_is_given_no_token(http, sandbox):
    result = http("-A", "aritma", "--headers", f"{sandbox.other_host}/api/v3/echo")
    assert result.stdout.startswith("HTTP/1.1 401 "), result.stderr
    assert sandbox.counts.token_requests == 0


@pytest.mark.parametrize("given", ["somebody:very-secret", ""])
def test_nothing_secret_is_taken_from_the_command_line(http, echo, given, sandbox):
    result = http("-A", "aritma", "-a", given, echo)
    assert result.returncode == 1
    assert result.stderr.strip() == (
        "http: error: -A aritma takes no -a, since others can read command lines: set ARITMA_CLIENT_ID, and "
        "ARITMA_CLIENT_SECRET or ARITMA_CLIENT_SECRET_FILE"
    )
    assert sandbox.requests == ()


def test_a_wrong_setting_is_one_line(http, echo, monkeypatch):
    monkeypatch.delenv("ARITMA_CLIENT_ID")
    result = http("-A", "aritma", echo)
    assert result.returncode == 1
    assert result.stderr.strip() == (
        "http: error: client_id is missing: pass client_id=... or set the environment variable ARITMA_CLIENT_ID"
    )


def test_a_refusal_is_a_message(http, echo, sandbox, environ):
    sandbox.answer_token_requests(Answer.error(400, "invalid_client"))
    result = http("-A", "aritma", echo)
    assert result.returncode == 1
    assert "http: error: CredentialsRefused: " in result.stderr
    assert "Traceback" not in result.stderr
    assert environ["ARITMA_CLIENT_SECRET"] not in result.stderr
