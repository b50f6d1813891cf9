"""Scripts for shells, which the shells themselves read where they are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from aritma_session import cli, settings
from aritma_session.cli import completion


@pytest.fixture
def script(capsys):
    """Print the script of a shell."""

    def printer(shell):
        assert cli.main(["completion", shell]) == 0
        return capsys.readouterr().out

    return printer


def run(shell, text):
    """What a shell prints that reads a text."""
    if shutil.which(shell) is None and not os.environ.get("CI"):
        pytest.skip(f"no {shell} here")
    more = ["--norc", "--noprofile"] if shell == "bash" else ["-f"] if shell == "zsh" else ["--no-config"]
    done = subprocess.run([shell, *more], input=text, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def completed(script, *words, cwd="/"):
    """What bash completes the last word with."""
    quoted = " ".join(f"'{word}'" for word in words)
    call = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _aritma_session; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    return run("bash", f"cd '{cwd}'\n{script}\n{call}\n")


class TestBash:
    def test_completes_commands(self, script):
        assert completed(script("bash"), "aritma-session", "lo") == ["login", "logout"]
        assert completed(script("bash"), "aritma-session", "--v") == ["--version"]

    def test_completes_options_of_the_command(self, script):
        assert completed(script("bash"), "aritma-session", "--debug", "login", "--p") == ["--port", "--prompt"]
        assert completed(script("bash"), "aritma-session", "status", "--j") == ["--json"]
        assert completed(script("bash"), "aritma-session", "token", "--j") == []

    def test_completes_values(self, script):
        known = ["client_credentials", "password", "authorization_code", "implicit"]
        assert completed(script("bash"), "aritma-session", "token", "--grant", "") == known
        assert completed(script("bash"), "aritma-session", "login", "--response-mode", "f") == ["form_post", "fragment"]
        assert completed(script("bash"), "aritma-session", "token", "--client-id", "") == []

    def test_completes_operands(self, script):
        assert completed(script("bash"), "aritma-session", "completion", "f") == ["fish"]
        assert completed(script("bash"), "aritma-session", "request", "PO") == ["POST"]

    def test_completes_files_where_they_belong(self, script, tmp_path):
        (tmp_path / "filed").touch()
        assert completed(script("bash"), "aritma-session", "token", "--cache", "fi", cwd=tmp_path) == ["filed", "file"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_knows_each_command_and_option(script, shell):
    text = script(shell)
    for command in completion._commands():
        assert command.name in text
        for name in (name for option in command.options for name in option.names):
            assert re.search(rf"-l {name[2:]}\b|-s {name[1:]}\b" if shell == "fish" else rf"{name}\b", text), name


def test_zsh_reads_its_script(script):
    assert run("zsh", f"compdef() {{ echo $1 }}\n{script('zsh')}") == ["_aritma_session"]


def test_fish_reads_its_script_and_completes(script):
    found = run("fish", f"{script('fish')}\ncomplete -C 'aritma-session lo'\n")
    assert {"login", "logout"} <= set(found)


def test_quotes_in_help_are_quoted(script):
    assert "the client'\"'\"'s id" in script("fish")
    assert run("bash", f"printf '%s' {completion._quoted(chr(39))}") == ["'"]


def test_an_option_takes_the_same_in_every_command():
    """The script for bash does not ask which command it is."""
    found = {}
    for option in (option for command in completion._commands() for option in command.named):
        for name in option.names:
            assert found.setdefault(name, (option.takes, option.words, option.files))[1:] == (
                option.words,
                option.files,
            )
            assert found[name][0] == option.takes


def test_the_words_are_those_of_the_settings():
    assert completion._WORDS["token_endpoint_auth_method"] == settings._METHODS
    assert completion._WORDS["grant"] == settings.GRANTS


def test_an_unknown_shell_is_a_wrong_command_line(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["completion", "tcsh"])
    assert caught.value.code == 2
    assert "choose from" in capsys.readouterr().err
