"""Requests that the command sends, as people who know curl expect."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import types

import pytest
import requests
from urllib3.exceptions import ReadTimeoutError

from aritma_session import AritmaAuth, cli
from aritma_session.cli import progress, request
from aritma_session.sandbox import Answer

from helpers import on_terminal, sent_authorization, wait_for


@pytest.fixture
def sent(environ, capfdbinary):
    """Run the command: its status, what it writes and what it complains of."""

    def runner(*arguments):
        status = cli.main(["request", *arguments])
        output, errors = capfdbinary.readouterr()
        return status, output, errors.decode()

    return runner


@pytest.fixture
def warm(environ):
    """The token that is in the cache already."""
    return AritmaAuth().token().access_token


@pytest.fixture
def process(environ):
    """Start the command; end it after the test."""
    started = []

    def start(*arguments, **more):
        line = [sys.executable, "-m", "aritma_session", "request", *arguments]
        made = subprocess.Popen(line, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more})
        started.append(made)
        return made

    yield start
    for each in started:
        each.kill()
        each.communicate()


def echoed(outcome):
    status, output, errors = outcome
    assert (status, errors) == (0, "")
    return json.loads(output)


class TestSending:
    def test_with_the_shared_token(self, sent, sandbox, echo, warm):
        seen = echoed(sent("get", echo))
        assert (seen["method"], seen["body_length"], "content-type" in seen["headers"]) == ("GET", 0, False)
        assert seen["headers"]["authorization"] == f"Bearer {warm}"
        assert sandbox.counts.token_requests == 1

    @pytest.mark.parametrize(
        ("text", "kind"),
        [('{"a": 1}', "application/json"), (" [1]", "application/json"), ("<a/>", None), ("på", None), ("", None)],
    )
    def test_a_text(self, sent, echo, text, kind):
        seen = echoed(sent("POST", echo, "-d", text))
        assert (seen["body"], seen["headers"].get("content-type")) == (text, kind)

    def test_what_is_said_of_the_type_wins(self, sent, echo):
        seen = echoed(sent("POST", echo, "-d", "{}", "-H", "content-type: application/x-own"))
        assert seen["headers"]["content-type"] == "application/x-own"

    def test_a_file_once_more_where_the_token_is_refused(self, sent, echo, warm, sandbox, tmp_path):
        (tmp_path / "body").write_bytes(b"[" + b"x" * 100_000)
        sandbox.revoke_all()
        seen = echoed(sent("PUT", echo, "-d", f"@{tmp_path}/body"))
        assert (seen["body_length"], seen["headers"]["content-type"]) == (100_001, "application/json")
        assert sandbox.counts.token_requests == 2

    @pytest.mark.parametrize("name", ["-", "@-"])
    def test_standard_input(self, process, echo, name):
        output, errors = process("POST", echo, "--data", name, stdin=subprocess.PIPE).communicate(b"{} \xc3\xa5", 20)
        assert (json.loads(output)["body"], errors) == ("{} å", b"")

    def test_what_can_be_read_once_is_not_looked_at(self):
        assert not request._begins_json(types.SimpleNamespace(seekable=lambda: False))

    def test_headers(self, sent, echo):
        seen = echoed(sent("GET", echo, "-H", "X-One: a:b ", "--header", "Accept:"))["headers"]
        assert (seen["x-one"], "accept" in seen) == ("a:b", False)

    def test_an_authorization_of_ones_own(self, sent, sandbox, echo, warm):
        status, _, errors = sent("GET", echo, "-H", "authorization: Basic eDp5")
        assert (status, errors) == (1, "aritma-session: HTTP 401 Unauthorized\n")
        assert sent_authorization(sandbox) == ["Basic eDp5"]

    def test_a_redirect_is_followed(self, sent, sandbox, echo):
        assert echoed(sent("GET", f"{sandbox.issuer}/redirect?to={echo}"))["path"] == "/api/v3/echo"

    def test_settings_are_options_too(self, sent, sandbox, echo, monkeypatch):
        monkeypatch.delenv("ARITMA_CLIENT_ID")
        assert sent("GET", echo, "--client-id", sandbox.client_id, "--cache", "memory")[0] == 0
        status, _, errors = sent("GET", echo)
        assert (status, "pass --client-id or set the environment variable ARITMA_CLIENT_ID" in errors) == (1, True)

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["GET"], "the following arguments are required: URL"),
            (["https://localhost/"], "is no method: write one such as GET, and then the URL"),
            (["https://localhost/", "GET"], "is no method: write one such as GET"),
            (["GET", "https://localhost/", "-H", "name"], "write 'Name: value'"),
            (["GET", "https://localhost/", "-H", " : value"], "write 'Name: value'"),
            (["GET", "https://localhost/", "--timeout", "0"], "from 1 to 86400"),
        ],
    )
    def test_a_wrong_command_line(self, arguments, text, capsys):
        with pytest.raises(SystemExit) as caught:
            cli.main(["request", *arguments])
        assert caught.value.code == 2
        assert text in capsys.readouterr().err


class TestAnswer:
    def test_is_printed_as_it_is(self, sent, sandbox):
        data = bytes(range(256)) * 300
        sandbox.answer_calls(Answer(200, data))
        assert sent("GET", f"{sandbox.api_url}/echo") == (0, data, "")

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_has_its_head_before_it(self, sent, sandbox, method):
        sandbox.answer_calls(Answer(200, b"body", {"X-One": "1"}))
        status, output, errors = sent(method, f"{sandbox.api_url}/echo", "-i")
        head, _, body = output.decode().partition("\n\n")
        assert (status, errors, body) == (0, "", "body" if method == "GET" else "")
        assert head.splitlines()[0] == "HTTP/1.1 200 OK"
        assert "X-One: 1" in head.splitlines()

    @pytest.mark.parametrize(
        ("status", "text"),
        [
            (404, "404 Not Found"),
            (401, '401 Unauthorized: localhost did not take the token: see what "aritma-session check" says'),
            (
                403,
                "403 Forbidden: the client may need another scope (ARITMA_SCOPE), or a policy, which Aritma sets",
            ),
            (599, "599"),
        ],
    )
    def test_that_is_an_error_is_printed_and_a_failure(self, sent, sandbox, status, text):
        url = f"{sandbox.api_url}/status/{status}"
        for more in ([], ["--fail"]):
            found, output, errors = sent("GET", url, *more)
            assert (found, errors) == (1, f"aritma-session: HTTP {text}\n")
            assert json.loads(output)["status"] == status
        assert sent("GET", url, "--no-fail")[::2] == (0, "")

    def test_of_a_host_that_is_none_of_the_apis(self, sent, sandbox):
        status, _, errors = sent("GET", f"{sandbox.other_host}/api/v3/echo")
        said = "no token was sent, since 127.0.0.1 is none of the API hosts (ARITMA_ENVIRONMENT, ARITMA_API_HOSTS)"
        assert (status, errors) == (1, f"aritma-session: HTTP 401 Unauthorized: {said}\n")
        assert sent_authorization(sandbox) == [None]

    def test_to_who_has_left_is_no_trouble(self, process, echo):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            made = process("GET", echo, stdout=writing)
        finally:
            os.close(writing)
        assert (made.communicate(timeout=20)[1], made.returncode) == (b"", 1)

    def test_on_a_terminal_ends_its_line(self, environ, sandbox):
        sandbox.answer_calls(Answer(200, b"[1]"), Answer(200, b"[2]\n"), Answer(200, b""), Answer(200, b"a\0b"))
        url = f"{sandbox.api_url}/echo"
        assert on_terminal("request", "GET", url) == (0, "[1]\n")
        assert on_terminal("request", "GET", url) == (0, "[2]\n")
        assert on_terminal("request", "GET", url) == (0, "")
        status, text = on_terminal("request", "GET", url)
        assert (status, text) == (1, "aritma-session: the answer is no text: keep it with -o FILE\n")


class TestFile:
    @pytest.fixture
    def target(self, tmp_path):
        folder = tmp_path / "answers"
        folder.mkdir()
        return folder / "answer.json"

    def test_has_the_whole_answer(self, sent, sandbox, target):
        sandbox.answer_calls(Answer(200, b"x" * 100_000))
        assert sent("GET", f"{sandbox.api_url}/echo", "-o", str(target)) == (0, b"", "")
        assert target.read_bytes() == b"x" * 100_000
        assert os.listdir(target.parent) == [target.name]

    @pytest.mark.skipif(os.name != "posix", reason="no such modes here")
    def test_keeps_its_mode_and_where_it_is(self, sent, echo, target):
        target.write_text("old")
        os.chmod(target, 0o640)
        link = target.parent / "link"
        link.symlink_to(target)
        assert sent("GET", echo, "-o", str(link))[0] == 0
        assert link.is_symlink()
        assert json.loads(target.read_text())["method"] == "GET"
        assert target.stat().st_mode & 0o777 == 0o640

    def test_that_is_a_device_is_written_to(self, sent, echo):
        assert sent("GET", echo, "-o", os.devnull) == (0, b"", "")
        assert os.path.exists(os.devnull)

    def test_that_is_a_dash_is_standard_output(self, sent, echo):
        assert echoed(sent("GET", echo, "-o", "-"))["method"] == "GET"

    @pytest.mark.parametrize("answer", [Answer.truncated(), Answer.cut()], ids=["truncated", "cut"])
    def test_is_as_it_was_where_the_answer_breaks_off(self, sent, sandbox, echo, target, answer):
        target.write_text("old")
        sandbox.answer_calls(answer)
        status, output, errors = sent("GET", echo, "-o", str(target))
        assert (status, output, errors.count("\n")) == (1, b"", 1)
        assert errors.startswith("aritma-session: the answer of localhost broke off (")
        assert (target.read_text(), os.listdir(target.parent)) == ("old", [target.name])

    def test_is_as_it_was_where_there_is_an_error_instead(self, sent, sandbox, target):
        target.write_text("old")
        url = f"{sandbox.api_url}/status/404"
        status, output, _ = sent("GET", url, "-o", str(target))
        assert (status, json.loads(output)["status"], target.read_text()) == (1, 404, "old")
        assert sent("GET", url, "-o", str(target), "--no-fail") == (0, b"", "")
        assert json.loads(target.read_text())["status"] == 404

    def test_that_cannot_be_written_is_an_error(self, sent, echo, tmp_path):
        status, _, errors = sent("GET", echo, "-o", str(tmp_path / "nowhere" / "file"))
        assert (status, errors.endswith(": No such file or directory\n")) == (1, True)

    def test_is_not_there_after_an_interrupt(self, process, sandbox, echo, target, warm):
        sandbox.answer_calls(Answer.trickle(0.002))
        made = process("GET", echo, "-o", str(target))
        wait_for(lambda: list(target.parent.iterdir()))
        made.send_signal(signal.SIGINT)
        assert (made.communicate(timeout=20), made.returncode) == ((b"", b""), 1)
        assert list(target.parent.iterdir()) == []


class TestErrors:
    def test_nobody_is_there(self, sent):
        status, _, errors = sent("GET", "https://u:pass@localhost:1/")
        said = "localhost could not be reached (Failed to establish a new connection: [Errno"
        assert (status, errors.count("\n")) == (1, 1)
        assert errors.startswith(f"aritma-session: {said}")
        assert errors.endswith("): check the URL and the network\n")
        assert "pass@" not in errors

    def test_with_debug_there_is_the_traceback(self, sent):
        status, _, errors = sent("GET", "https://localhost:1/", "--debug")
        assert (status, "Traceback (most recent call last)" in errors) == (1, True)

    @pytest.mark.parametrize("url", ["localhost", "https://", "ftp://localhost/", "https://[/"])
    def test_a_url_that_is_none(self, sent, url):
        status, _, errors = sent("GET", url)
        assert (status, errors.startswith("aritma-session: the URL, or a proxy's in HTTPS_PROXY, cannot be used")) == (
            1,
            True,
        )

    def test_a_header_that_is_none(self, sent, echo):
        assert "a header (-H) cannot be sent" in sent("GET", echo, "-H", "X: a\nb")[2]

    def test_a_slow_answer(self, sent, sandbox, echo, warm):
        sandbox.call_delay = 20
        status, _, errors = sent("GET", echo, "--timeout", "1")
        assert status == 1
        assert "localhost did not answer within 1 s: try again, or give it more with --timeout" in errors

    def test_a_stranger(self, sent, echo, warm, monkeypatch):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        assert "localhost could not prove who it is (" in sent("GET", echo)[2]

    def test_a_proxy_that_is_not_there(self, sent, echo, warm, monkeypatch):
        for url in ("http://u:pass@127.0.0.1:1", "http://"):
            monkeypatch.setenv("HTTPS_PROXY", url)
            assert sent("GET", echo)[2] == "aritma-session: the proxy could not be used: check HTTPS_PROXY\n"

    @pytest.mark.parametrize("url", ["http://u:pa#ss@127.0.0.1:1", "u:pa#ss@127.0.0.1:1", "http://u:pa#ss@[::1"])
    def test_a_proxy_that_cannot_be_read_is_not_repeated(self, sent, echo, warm, monkeypatch, url):
        monkeypatch.setenv("HTTPS_PROXY", url)
        status, _, errors = sent("GET", echo, "--debug")
        assert (status, "HTTPS_PROXY" in errors, "pa#" in errors, "ss@" in errors) == (1, True, False, False)

    def test_no_token(self, sent, echo, monkeypatch):
        monkeypatch.setenv("ARITMA_CLIENT_SECRET", "wrong-secret")
        status, _, errors = sent("GET", echo)
        assert (status, errors.count("\n"), "check client_id and client_secret" in errors) == (1, 1, True)

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (requests.ConnectionError(ReadTimeoutError(None, None, "slow")), "did not answer within 7 s"),
            (requests.TooManyRedirects("too many"), "the request failed (too many)"),
            (requests.RequestException(), "the request failed ()"),
        ],
    )
    def test_others(self, error, text):
        options = types.SimpleNamespace(url="https://localhost/", timeout=7)
        assert text in request._told(error, options)

    def test_a_body_that_ends_too_early_unnoticed(self):
        """As with urllib3 before release 2."""

        def response(method="GET", status=200, length="10"):
            return types.SimpleNamespace(
                iter_content=lambda size: iter([b"half"]),
                headers={} if length is None else {"Content-Length": length},
                request=types.SimpleNamespace(method=method),
                status_code=status,
                raw=types.SimpleNamespace(tell=lambda: 4),
            )

        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="it ended too early"):
            list(request._pieces(response()))
        for whole in (response("HEAD"), response(status=304), response(length="4"), response(length=None)):
            assert list(request._pieces(whole)) == [b"half"]


class TestProgress:
    @pytest.fixture
    def screen(self, monkeypatch):
        class Screen(io.StringIO):
            encoding = "utf-8"

            def isatty(self):
                return True

        made = Screen()
        monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=made))
        return made

    @pytest.fixture
    def eager(self, monkeypatch):
        monkeypatch.setattr(progress, "PATIENCE", 0.0)
        monkeypatch.setattr(progress, "PAUSE", 0.0)

    def test_of_a_long_transfer_is_shown_and_wiped_out(self, sent, sandbox, screen, eager, tmp_path):
        sandbox.answer_calls(Answer(200, b"x" * 32_768))
        assert sent("GET", f"{sandbox.api_url}/echo", "-o", str(tmp_path / "file"))[0] == 0
        first, *_, last, end = screen.getvalue().removeprefix("\r\x1b[K").split("\r\x1b[K")
        assert first == f" 50% {'━' * 15}{'╌' * 15} 16.4 kB of 32.8 kB"
        assert (last, end) == (f"100% {'━' * 30} 32.8 kB of 32.8 kB", "")

    def test_of_an_unknown_length(self, screen, eager):
        raw = types.SimpleNamespace(tell=lambda: 1234)
        with progress.Progress(types.SimpleNamespace(raw=raw, headers={})) as shown:
            shown.advance()
        assert screen.getvalue() == "\r\x1b[K1.2 kB\r\x1b[K"

    def test_of_a_short_one_is_not_shown(self, sent, echo, screen, monkeypatch):
        assert sent("GET", echo)[0] == 0
        assert screen.getvalue() == ""

    def test_elsewhere_than_on_a_terminal_is_not_shown(self, sent, echo, eager):
        echoed(sent("GET", echo))
