"""The command, as a process and as a function."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import types

import pytest

from aritma_session import AritmaSession, cli, demo
from aritma_session.cli import parser
from aritma_session.sandbox import Answer

from helpers import results, wait_for


@pytest.fixture
def command():
    """Start the command; end it after the test."""
    started = []

    def start(*arguments, **more):
        process = subprocess.Popen(
            [sys.executable, "-m", "aritma_session", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


class TestToken:
    def test_prints_the_token_that_all_share(self, environ, session, sandbox, echo, command):
        authorization = session.get(echo).request.headers["Authorization"]
        assert command("token").communicate(timeout=20) == (authorization.split()[1] + "\n", "")
        assert sandbox.counts.token_requests == 1

    def test_fetches_one_where_there_is_none_and_shares_it(self, environ, session, sandbox, echo, command):
        process = command("token")
        token, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
        assert session.get(echo).request.headers["Authorization"] == f"Bearer {token.strip()}"
        assert sandbox.counts.token_requests == 1

    def test_prints_a_header_for_curl(self, environ, session, sandbox, echo, command):
        line, _ = command("header").communicate(timeout=20)
        assert line == f"Authorization: {session.get(echo).request.headers['Authorization']}\n"

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"ARITMA_CLIENT_ID": ""}, "set the environment variable ARITMA_CLIENT_ID"),
            ({"ARITMA_CLIENT_SECRET": "wrong-secret"}, "invalid_client"),
            ({"ARITMA_ENVIRONMENT": "https://localhost:1"}, "could not be reached"),
        ],
        ids=["missing", "refused", "unreachable"],
    )
    def test_a_failure_is_one_line_that_says_what_to_do(self, environ, command, change, text):
        process = command("token", env={**os.environ, **change})
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output, errors.count("\n")) == (1, "", 1)
        assert errors.startswith("aritma-session: ")
        assert text in errors
        assert "wrong-secret" not in errors

    def test_a_cache_that_cannot_be_used_is_a_warning_on_standard_error(self, environ, sandbox, command, tmp_path):
        (tmp_path / "file").write_text("in the way")
        process = command("token", env={**os.environ, "ARITMA_CACHE": str(tmp_path / "file")})
        output, errors = process.communicate(timeout=20)
        assert (process.returncode, output.count("."), errors.count("\n")) == (0, 2, 1)
        assert errors.startswith("aritma-session: warning: FileStore could not be")

    def test_with_a_warm_cache_imports_no_more_than_it_needs(self, environ, session, echo, start, monkeypatch):
        monkeypatch.delenv("ARITMA_CACHE")
        with AritmaSession() as one:
            one.get(echo)
        code = """if True:
            import contextlib, io, json, sys
            before = set(sys.modules)  # what measures the coverage has modules of its own
            from aritma_session.cli import main
            with contextlib.redirect_stdout(io.StringIO()):
                main(["token"])
            heavy = ["requests", "urllib3", "http.client", "ssl", "tempfile", "dataclasses", "inspect"]
            heavy += ["oauthlib", "filelock", "platformdirs"]
            print(json.dumps([name for name in heavy if name in set(sys.modules) - before]))
        """
        assert results([start(code)]) == [[]]


def test_logout_says_where_a_token_stays_good(environ, sandbox, capsys):
    sandbox.answer("discovery", Answer.changed(revocation_endpoint=None))
    assert cli.main(["token"]) == 0
    assert cli.main(["logout", "--grant", "client_credentials"]) == 0
    said = "The token was removed from the cache. Aritma ID revokes none: it is good until it expires."
    assert capsys.readouterr().out.splitlines()[1] == said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sandbox_prints_what_a_session_needs_until_it_is_interrupted(command, monkeypatch, number, tmp_path):
    process = command("sandbox", "--token-lifetime", "5")
    lines = [process.stdout.readline() for _ in range(6)]
    exports = dict(re.findall(r"export (\w+)=(\S+)", "".join(lines)))
    assert set(exports) == {"ARITMA_CLIENT_ID", "ARITMA_CLIENT_SECRET", "ARITMA_ENVIRONMENT", "REQUESTS_CA_BUNDLE"}
    for name, value in exports.items():
        monkeypatch.setenv(name, value)
    url = re.search(r"https://\S+/statements/acme", lines[-1])[0]
    with AritmaSession(cache=tmp_path) as session:
        assert session.get(url).ok
        assert session.auth._source._token.lifetime == 5
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert not os.path.exists(exports["REQUESTS_CA_BUNDLE"])


def test_demo_as_json(command):
    process = command("demo", "--processes", "2", "--json")
    output, errors = process.communicate(timeout=50)
    assert (process.returncode, errors) == (0, "")
    assert json.loads(output) == {
        "processes": 2,
        "calls": 80,
        "failed_calls": 0,
        "token_requests": 3,
        "token_requests_unshared": 6,
    }


def test_demo_as_a_table(monkeypatch, capsys):
    monkeypatch.setattr(demo, "_call", few_calls)
    monkeypatch.setattr(demo, "CALLS", 4)
    assert cli.main(["demo", "--processes", "1"]) == 0
    output, progress = capsys.readouterr()
    for row in (r"calls\s+│\s+4 │\s+4", r"failed calls\s+│\s+0 │\s+0", r"token requests\s+│\s+\d+ │\s+\d+"):
        assert re.search(row, output)
    assert "4/4" in progress


def few_calls(url, cache, start, revoked, answered):
    """Stand in for the worker of the demo: the calls only."""
    with AritmaSession(cache=cache) as session:
        start.wait(60)
        for _ in range(4):
            answered.value += session.get(url).ok


def test_demo_fails_where_calls_fail(monkeypatch, capsys):
    monkeypatch.setattr(demo, "_call", no_calls)
    assert cli.main(["demo", "--processes", "1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["failed_calls"] == 2 * demo.CALLS


def no_calls(url, cache, start, revoked, answered):
    start.abort()


def test_a_worker_of_the_demo_counts_what_was_answered(environ, sandbox, monkeypatch, capsys):
    monkeypatch.setattr(demo, "CALLS", 3)
    monkeypatch.setattr(demo, "PAUSE", 0)
    sandbox.answer_token_requests(Answer.error(400, "invalid_request"))
    answered = demo.multiprocessing.get_context("spawn").Value("i")
    waits = []

    def wait(seconds):
        waits.append(sandbox.counts.token_requests)

    start = revoked = types.SimpleNamespace(wait=wait)
    demo._call(f"{sandbox.api_url}/echo", "memory", start, revoked, answered)
    assert waits == [0, 2]
    assert answered.value == 2
    assert "invalid_request" in capsys.readouterr().err


def test_demo_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("ARITMA_TENANT", "acme")
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:1")
    before = dict(os.environ)
    with demo._environment({"ARITMA_CLIENT_ID": "x"}):
        assert "ARITMA_TENANT" not in os.environ
        assert "HTTPS_PROXY" not in os.environ
        assert os.environ["ARITMA_CLIENT_ID"] == "x"
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["demo", "--processes", "0"],
        ["demo", "--processes", "many"],
        ["sandbox", "--port", "-1"],
        ["sandbox", "--port", "65536"],
        ["sandbox", "--token-lifetime", "0"],
    ],
)
def test_a_wrong_command_line_has_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: aritma-session" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("running", [False, True])
def test_a_demo_that_is_interrupted_ends_without_a_word(command, tmp_path, number, running):
    """Ctrl-C reaches the processes of the demo too, whether they have started or not."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    environ = {**os.environ, "TMPDIR": str(directory)}
    process = command("demo", "--processes", "3", start_new_session=True, env=environ)
    wait_for(lambda: list(directory.glob("aritma-sandbox-*")))
    if running:
        wait_for(lambda: list(directory.glob("*/aritma-session/*.json")))
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (1, ""), errors
    assert "Traceback" not in errors
    assert "failed" not in errors
    assert list(directory.iterdir()) == []


def test_a_reader_that_leaves_is_no_trouble(environ):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "aritma_session", "demo", "--processes", "1", "--json"],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=50,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_demo_says_what_it_lacks(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert cli.main(["demo"]) == 1
    assert "pip install" in capsys.readouterr().err


def test_the_demo_runs_beside_the_main_thread(monkeypatch, capsys):
    monkeypatch.setattr(demo, "_call", few_calls)
    monkeypatch.setattr(demo, "CALLS", 4)
    thread = threading.Thread(target=cli.main, args=[["demo", "--processes", "1", "--json"]])
    thread.start()
    thread.join()
    assert json.loads(capsys.readouterr().out)["failed_calls"] == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_where_signals_cannot_be_held_back_the_demo_keeps_them_from_its_processes(monkeypatch, capsys):
    monkeypatch.setattr(demo, "_MASKS", False)
    monkeypatch.setattr(demo, "_call", few_calls)
    monkeypatch.setattr(demo, "CALLS", 4)
    seen = []
    start = demo.multiprocessing.get_context("spawn").Process.start
    monkeypatch.setattr(
        demo.multiprocessing.get_context("spawn").Process,
        "start",
        lambda process: seen.append(signal.getsignal(signal.SIGINT)) or start(process),
    )
    assert cli.main(["demo", "--processes", "1", "--json"]) == 0
    assert seen == [signal.SIG_IGN] * 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_about_a_file_names_the_file_first(monkeypatch, capsys):
    def run(*arguments, **kwargs):
        raise FileNotFoundError(2, "No such file or directory", "/nowhere")

    monkeypatch.setattr(demo, "run", run)
    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err == "aritma-session: /nowhere: No such file or directory\n"


COMMANDS = list(parser._COMMANDS)


class TestHelp:
    @pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
    def test_is_there(self, arguments, capsys):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 0
        assert "aritma-session" in capsys.readouterr().out

    def test_tells_all_commands_and_exit_statuses(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit):
            cli.main(["--help"])
        output = capsys.readouterr().out
        for name, command in parser._COMMANDS.items():
            assert re.search(rf"^  {name} +{re.escape(command.summary)}$", output, re.MULTILINE)
        assert "The exit status is 0 when all is well, 1 when" in output

    @pytest.mark.parametrize("command", COMMANDS)
    def test_is_the_same_where_one_command_alone_is_described(self, command):
        whole, alone = (
            next(action for action in made._actions if action.choices).choices
            for made in (parser.parser(), parser.parser(command))
        )
        assert alone[command].format_help() == whole[command].format_help()
        assert [len(other._actions) for name, other in alone.items() if name != command] == [1] * (len(COMMANDS) - 1)

    def test_leaves_examples_as_they_are(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "40")
        with pytest.raises(SystemExit):
            cli.main(["header", "--help"])
        example = "  aritma-session header | curl -H @- https://bankservice.zdata.no/api/v3/statements/acme\n"
        assert f"\n\n{example}" in capsys.readouterr().out

    @pytest.mark.parametrize("command", COMMANDS)
    def test_has_debug_in_each(self, command):
        for line in (["--debug", command], [command, "--debug"]):
            made = parser.parser(command)
            options, _ = made.parse_known_args([*line, *OPERANDS.get(command, [])])
            assert options.debug
        assert not made.parse_args([command, *OPERANDS.get(command, [])]).debug

    def test_no_option_may_be_cut_short(self, capsys):
        with pytest.raises(SystemExit) as caught:
            cli.main(["demo", "--js"])
        assert caught.value.code == 2
        assert "unrecognized arguments: --js" in capsys.readouterr().err


OPERANDS = {"request": ["GET", "https://localhost/"], "completion": ["bash"]}


def test_the_settings_of_options_take_the_same_everywhere():
    """What one command understands, the others do too."""
    settings = {f"--{name.replace('_', '-')}" for name in parser.SETTINGS} | {"--extra"}
    for name, made in next(action for action in parser.parser()._actions if action.choices).choices.items():
        known = set(made._option_string_actions)
        assert (settings <= known) == parser._COMMANDS[name].settings


@pytest.mark.parametrize(
    "error",
    [
        ImportError("pip install it"),
        OSError("port is taken"),
        ValueError("no"),
        OverflowError("port"),
        KeyboardInterrupt(),
    ],
)
def test_an_error_is_one_line_and_status_1(error, monkeypatch, capsys):
    def run(*arguments, **kwargs):
        raise error

    monkeypatch.setattr(demo, "run", run)
    assert cli.main(["demo"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (f"aritma-session: {error}\n" if str(error) else "")


def test_importing_the_program_does_not_run_it(capsys):
    importlib.import_module("aritma_session.__main__")
    assert capsys.readouterr() == ("", "")


def test_a_port_that_is_taken(command, sandbox):
    process = command("sandbox", "--port", sandbox.issuer.rpartition(":")[2])
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert output == ""
    assert errors.startswith("aritma-session: ")
    assert errors.count("\n") == 1


class TestErrors:
    @pytest.mark.parametrize("arguments", [["--debug", "token"], ["token", "--debug"]])
    def test_with_debug_there_are_the_log_and_the_traceback_and_no_secret(self, environ, command, sandbox, arguments):
        process = command(*arguments, env={**os.environ, "ARITMA_CLIENT_SECRET": "wrong-secret"})
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output) == (1, "")
        assert "INFO no token could be had: " in errors
        assert "Traceback (most recent call last)" in errors
        assert errors.splitlines()[-1].startswith("aritma-session: ")
        assert "wrong-secret" not in errors

    def test_debug_leaves_logging_as_it_was(self, environ, capsys):
        logger = logging.getLogger("aritma_session")
        before = logger.level, list(logger.handlers)
        assert cli.main(["token", "--debug"]) == 0
        output, errors = capsys.readouterr()
        assert " INFO fetched a token that lives 3600 s\n" in errors
        assert output.strip() not in errors
        assert (logger.level, logger.handlers) == before

    def test_an_error_that_should_not_happen_says_so_in_one_line(self, monkeypatch, capsys):
        def run(*arguments, **kwargs):
            raise KeyError("what\nnot")

        monkeypatch.setattr(demo, "run", run)
        assert cli.main(["demo"]) == 1
        said = "aritma-session: KeyError: 'what\\nnot': this should not happen; run it again with --debug, and report"
        assert capsys.readouterr().err == f"{said} what it says\n"

    def test_a_missing_setting_names_the_option(self, command, environ):
        process = command("token", env={**os.environ, "ARITMA_CLIENT_ID": ""})
        _, errors = process.communicate(timeout=20)
        assert errors == (
            "aritma-session: client_id is missing: pass --client-id or set the environment variable ARITMA_CLIENT_ID\n"
        )

    def test_a_missing_secret_names_no_option(self, command, environ):
        process = command("token", env={**os.environ, "ARITMA_CLIENT_SECRET": ""})
        _, errors = process.communicate(timeout=20)
        assert "client_secret is missing: set the environment variable ARITMA_CLIENT_SECRET or" in errors
