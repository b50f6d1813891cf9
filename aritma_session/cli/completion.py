"""Scripts that complete commands and options in a shell, made from the parser, so that they say what it knows."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from ..settings import GRANTS
from .parser import OK, parser

__all__ = ["run"]

_METHODS = ("client_secret_post", "client_secret_basic", "private_key_jwt", "tls_client_auth", "none")

#: What options that take any text are often given.
_WORDS = {
    "environment": ("production", "development"),
    "grant": GRANTS,
    "token_endpoint_auth_method": _METHODS,
    "cache": ("file", "memory"),
    "method": ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"),
    "prompt": ("login", "none"),
}

#: What is the name of a file, or may be.
_FILES = {"cache", "output"}


def run(options: argparse.Namespace) -> int:
    """Print the script of a shell."""
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell](_commands()), end="")
    return OK


class _Option(NamedTuple):
    """Describe an option, or an operand, which has no name.

    :param names: with their dashes.
    :param help: what it does.
    :param takes: whether a value follows.
    :param words: what the value may be.
    :param files: whether it may be a file.
    """

    names: tuple[str, ...]
    help: str
    takes: bool
    words: tuple[str, ...]
    files: bool


class _Command(NamedTuple):
    """Describe a command; the one without a name is the program itself."""

    name: str
    help: str
    options: tuple[_Option, ...]

    @property
    def named(self) -> tuple[_Option, ...]:
        return tuple(option for option in self.options if option.names)

    @property
    def words(self) -> tuple[str, ...]:
        """What the first operand may be."""
        return next((option.words for option in self.options if not option.names), ())


def _commands() -> list[_Command]:
    whole = parser()
    # argparse tells in no other way.
    (subs,) = (action for action in whole._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001
    summaries = {choice.dest: choice.help or "" for choice in subs._choices_actions}  # noqa: SLF001
    found = [_Command("", "", tuple(_options(whole)))]
    return found + [_Command(name, summaries[name], tuple(_options(sub))) for name, sub in subs.choices.items()]


def _options(described: argparse.ArgumentParser) -> Iterator[_Option]:
    for action in described._actions:  # noqa: SLF001
        if not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            yield _Option(
                tuple(action.option_strings),
                (action.help or "").replace("%(prog)s", described.prog),
                action.nargs != 0,
                tuple(map(str, action.choices or _WORDS.get(action.dest, ()))),
                action.dest in _FILES,
            )


def _bash(commands: list[_Command]) -> str:
    names = " ".join(command.name for command in commands if command.name)
    values: dict[tuple[str, bool], list[str]] = {}  # an option takes the same in all commands that have it
    options, operands = [], []
    for command in commands:
        for option in command.named:
            if option.takes:
                same = values.setdefault((" ".join(option.words), option.files), [])
                same += [name for name in option.names if name not in same]
        said = " ".join(name for option in command.named for name in option.names)
        more = f" {names}" if not command.name else ""
        options.append(f'        "{command.name}") options="{said}{more}" ;;')
        if command.words:
            operands.append(f'        {command.name}) options="{" ".join(command.words)} $options" ;;')
    cases = (
        f'        {"|".join(same)}) _aritma_session_words{" -f" if files else ""} "{words}"; return ;;'
        for (words, files), same in values.items()
    )
    lines = [
        "# bash completion for aritma-session",
        "_aritma_session_words() {",
        "    local IFS=$'\\n' files=",
        "    if [[ $1 == -f ]]; then shift; files=-f; compopt -o filenames 2>/dev/null; fi",
        """    COMPREPLY=($(compgen $files -W "${1// /$'\\n'}" -- "$current"))""",
        "}",
        "_aritma_session() {",
        '    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command="" options="" word',
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        f"        case $word in {names.replace(' ', '|')}) command=$word; break ;; esac",
        "    done",
        "    case $previous in",
        *cases,
        "    esac",
        "    case $command in",
        *options,
        "    esac",
        "    case $command in",
        *operands,
        "    esac",
        '    _aritma_session_words "$options"',
        "}",
        "complete -F _aritma_session aritma-session",
    ]
    return "\n".join([*lines, ""])


def _zsh(commands: list[_Command]) -> str:
    program, *others = commands
    lines = ["#compdef aritma-session", "_aritma_session() {", "    local state line curcontext=$curcontext"]
    lines += [f"    _arguments -C {_zsh_options(program)} \\", "        '1:command:->command' '*::argument:->argument'"]
    described = " ".join(_quoted(f"{command.name}:{command.help}") for command in others)
    lines += ["    case $state in", f"    command) local commands=({described}); _describe command commands ;;"]
    lines += ["    argument)", "        case $line[1] in"]
    for command in others:
        operands = "".join(
            f" {_quoted(f':{_zsh_safe(option.help)}:({chr(32).join(option.words)})')}"
            for option in command.options
            if not option.names
        )
        lines.append(f"        {command.name}) _arguments {_zsh_options(command)}{operands} ;;")
    lines += ["        esac ;;", "    esac", "}"]
    # It is read by "source", or found in $fpath and called.
    lines.append('if [[ $funcstack[1] == _aritma_session ]]; then _aritma_session "$@"')
    return "\n".join([*lines, "else compdef _aritma_session aritma-session; fi", ""])


def _zsh_options(command: _Command) -> str:
    return " ".join(
        _quoted(f"{name}[{_zsh_safe(option.help)}]{_zsh_value(option)}")
        for option in command.named
        for name in option.names
    )


def _zsh_value(option: _Option) -> str:
    if not option.takes:
        return ""
    return ":file:_files" if option.files else f":value:({' '.join(option.words)})" if option.words else ":value:"


def _zsh_safe(text: str) -> str:
    return re.sub(r"([\[\]:])", r"\\\1", text)


def _fish(commands: list[_Command]) -> str:
    names = " ".join(command.name for command in commands if command.name)
    begin, first = "complete -c aritma-session", f"not __fish_seen_subcommand_from {names}"
    lines = ["# fish completion for aritma-session", f"{begin} -f"]
    for command in commands:
        where = f"__fish_seen_subcommand_from {command.name}" if command.name else first
        if command.name:
            lines.append(f"{begin} -n {_quoted(first)} -a {command.name} -d {_quoted(command.help)}")
        if command.words:
            lines.append(f"{begin} -n {_quoted(where)} -a {_quoted(' '.join(command.words))}")
        lines += [f"{begin} -n {_quoted(where)} {_fish_option(option)}" for option in command.named]
    return "\n".join([*lines, ""])


def _fish_option(option: _Option) -> str:
    said = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    if option.takes:
        said.append("-r" if option.files else "-x")
    if option.words:
        said.append(f"-a {_quoted(' '.join(option.words))}")
    return " ".join([*said, f"-d {_quoted(option.help)}"])


def _quoted(text: str) -> str:
    """Quote a text as all three shells read it."""
    return shlex.quote(text)
