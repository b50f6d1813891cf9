"""The command line: commands, options and their help.

It imports nothing but argparse, as every use of the command reads it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import NamedTuple

from .. import __version__

__all__ = ["FAILED", "OK", "SETTINGS", "parser"]

#: Exit statuses: all is well; something was refused or failed. For a wrong command line argparse has 2.
OK, FAILED = 0, 1

#: The settings that options give, by their names in Python; none is secret.
SETTINGS = {
    "client_id": "the client's id",
    "environment": "production, development, or an issuer's https URL",
    "tenant": "the tenant",
    "scope": "the scopes, with spaces between them",
    "cache": "where tokens are kept: file, memory, keyring:, a directory or a redis:// URL",
    "grant": "client_credentials, password, authorization_code or implicit",
    "token_endpoint_auth_method": "how the client proves itself",
    "username": "the user's name, for the grants with a user",
}


class _Command(NamedTuple):
    """Describe one command.

    :param module: the module of this package that runs it.
    :param summary: what it does, in a few words.
    :param description: what it does.
    :param epilog: examples, and what the exit status means where that needs saying.
    :param add: adds its options.
    :param settings: whether it uses settings.
    :param operands: what stands behind its options.
    """

    module: str
    summary: str
    description: str
    epilog: str
    add: Callable[[argparse.ArgumentParser], None]
    settings: bool = True
    operands: str = ""


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of the command line.

    :param command: the only command that is to be known with its options, since describing all takes time; by default,
        all are.
    """
    made = argparse.ArgumentParser(
        prog="aritma-session",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    made.add_argument("--debug", action="store_true", help=_DEBUG)
    commands = made.add_subparsers(title="commands", required=True, metavar="COMMAND", prog=made.prog)
    for name, known in _COMMANDS.items():
        sub = commands.add_parser(
            name,
            usage=f"{made.prog} {name} [options] {known.operands}".rstrip(),
            help=known.summary,
            description=known.description,
            epilog=known.epilog,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        sub.set_defaults(module=known.module)
        if command in {None, name}:
            known.add(sub)
            if known.settings:
                _add_settings(sub)
            # Not given here, it leaves alone what was said before the command.
            sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=_DEBUG)
    return made


class _Formatter(argparse.HelpFormatter):
    """Fill paragraphs, but for those that are indented, which are examples; list commands without a heading."""

    def _format_action(self, action: argparse.Action) -> str:
        if not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # argparse tells in no other way
            return super()._format_action(action)
        return "".join(super(_Formatter, self)._format_action(choice) for choice in action._choices_actions)  # noqa: SLF001

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        paragraphs = text.strip("\n").split("\n\n")
        return "\n\n".join(part if part.startswith(" ") else fill(part, width, indent) for part in paragraphs)


def _between(lowest: int, highest: int) -> Callable[[str], int]:
    """Make a type for argparse: whole numbers from the one to the other."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"it must be a whole number from {lowest} to {highest}, not {text!r}")
        return int(text)

    return number


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} has no value: write NAME=VALUE")
    return name, value


def _method(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no method: write one such as GET, and then the URL")
    return text.upper()


def _field(text: str) -> tuple[str, str | None]:
    """Read a header field; one without a value is not to be sent, as with curl."""
    name, sign, value = text.partition(":")
    if not sign or not name.strip():
        raise argparse.ArgumentTypeError("it is no header: write 'Name: value'")
    return name.strip(), value.strip() or None


def _add_settings(command: argparse.ArgumentParser) -> None:
    """Add the options that settings can be given by; none takes a secret."""
    group = command.add_argument_group("settings", "Each has a variable too, such as ARITMA_CLIENT_ID.")
    for name, help_text in SETTINGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar="TEXT", help=help_text)
    group.add_argument(
        "--extra", action="append", type=_pair, metavar="NAME=VALUE", help="a further parameter; may be repeated"
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_token(command: argparse.ArgumentParser) -> None:
    command.set_defaults(line="{}")


def _add_header(command: argparse.ArgumentParser) -> None:
    command.set_defaults(line="Authorization: Bearer {}")


def _add_login(command: argparse.ArgumentParser) -> None:
    command.add_argument("--no-browser", action="store_true", help="open none, and only print where to go")
    _add_port(command)
    command.add_argument("--prompt", metavar="WORDS", help='what to ask for, such as "login" or "none"')
    command.add_argument("--acr-values", metavar="WORDS", help='how to prove who you are, such as "mfa"')
    command.add_argument(
        "--response-mode",
        choices=("form_post", "fragment"),
        default="form_post",
        help="how the token of the implicit grant comes back (default: form_post)",
    )
    command.add_argument(
        "--timeout", type=_between(1, 86400), default=300, metavar="SECONDS", help="how long it may take (default: 300)"
    )


def _add_nothing(_: argparse.ArgumentParser) -> None:
    """Add no option."""


def _add_port(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--port", type=_between(0, 65535), default=0, metavar="PORT", help="loopback port (default: a free one)"
    )


def _add_request(command: argparse.ArgumentParser) -> None:
    command.add_argument("method", type=_method, metavar="METHOD", help="GET, POST or any other")
    command.add_argument("url", metavar="URL", help="an API's host is sent the token, any other is not")
    command.add_argument("-d", "--data", metavar="BODY", help="the body: a text, @FILE, or - for standard input")
    command.add_argument(
        "-H", "--header", action="append", type=_field, metavar="'NAME: VALUE'", help="a header; may be repeated"
    )
    command.add_argument("-o", "--output", metavar="FILE", help="write the answer there, once all of it has come")
    command.add_argument("-i", "--include", action="store_true", help="print status and headers before the answer")
    command.add_argument(
        "--fail",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether HTTP 400 and above make the exit status 1; they do, unless this is --no-fail",
    )
    command.add_argument(
        "--timeout",
        type=_between(1, 86400),
        default=60,
        metavar="SECONDS",
        help="how long to wait for a connection, and for each piece of the answer (default: 60)",
    )


def _add_completion(command: argparse.ArgumentParser) -> None:
    command.add_argument("shell", choices=("bash", "zsh", "fish"), help="which shell it is for")


def _add_clear(command: argparse.ArgumentParser) -> None:
    command.add_argument("--all", action="store_true", help="remove the tokens of all clients from that cache")


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--processes", type=_between(1, 100), default=8, metavar="N", help="worker processes (default: 8)"
    )
    _add_json(command)


def _add_sandbox(command: argparse.ArgumentParser) -> None:
    _add_port(command)
    command.add_argument(
        "--token-lifetime",
        type=_between(1, 10**9),
        default=3600,
        metavar="SECONDS",
        help="lifetime of its tokens (default: 3600)",
    )


_DEBUG = "log what happens to standard error, and show the traceback of an error; no secret is among it"

_DESCRIPTION = "Call Aritma's banking APIs, with one token for all programs of this account."

_EPILOG = """
The settings are the ARITMA_* variables, or options; see "aritma-session COMMAND --help". No option takes a secret,
since other accounts can see what a program was started with: set ARITMA_CLIENT_SECRET, or ARITMA_CLIENT_SECRET_FILE.

The exit status is 0 when all is well, 1 when something was refused or failed, 2 when the command line is wrong.
"""

_COMMANDS = {
    "token": _Command(
        "token",
        "print an access token",
        """Print an access token that can be sent now: the one that all programs of this account share, or a new one,
which they share from then on.""",
        """
examples:

  aritma-session token
  ARITMA_CLIENT_SECRET_FILE=~/.payroll-secret aritma-session token --client-id payroll
""",
        _add_token,
    ),
    "header": _Command(
        "token",
        "print an Authorization header, for curl -H @-",
        "Print the header line that authorises a request, so that no other account sees the token.",
        """
example:

  aritma-session header | curl -H @- https://bankservice.zdata.no/api/v3/statements/acme
""",
        _add_header,
    ),
    "request": _Command(
        "request",
        "send a request to an API",
        """Send a request as AritmaSession does: with the shared token, and once more with a new one where that is
refused. The answer goes to standard output as it comes, or with -o to a file, which is replaced once all is there.
Redirects are followed. A body that begins like JSON is sent as application/json, unless -H says otherwise; what -H says
of Authorization takes the place of the token.""",
        """
The exit status is 1 for HTTP 400 and above, as with curl --fail-with-body: the answer is printed, and with -o the file
stays as it was. With --no-fail it is 0, as with curl by itself.

examples:

  aritma-session request GET https://bankservice.zdata.no/api/v3/statements/acme | jq .total
  aritma-session request POST https://bankservice.zdata.no/api/v3/payments -d @payment.json -H "Idempotency-Key: $id"
  aritma-session request GET https://bankservice.zdata.no/api/v3/statements/acme -o acme.json
""",
        _add_request,
        operands="METHOD URL",
    ),
    "login": _Command(
        "login",
        "log in with a browser",
        """Log in with a browser, on this computer, and keep the token for all programs of this account. They use it
with grant="authorization_code", or ARITMA_GRANT=authorization_code.""",
        """
examples:

  aritma-session login --client-id app
  aritma-session login --client-id app --no-browser --acr-values mfa
""",
        _add_login,
    ),
    "logout": _Command(
        "logout",
        "revoke the token and forget it",
        """Revoke the token, and its refresh token, at Aritma ID, and remove it from the cache. After that, a person
has to log in again.""",
        "",
        _add_nothing,
    ),
    "check": _Command(
        "check",
        "ask Aritma ID for a token, and say what works",
        """Ask Aritma ID for a token with these settings, past the cache, and say what works and what to do about the
rest: where each setting comes from, whether the cache can be used, what the token says of itself, the scope that was
granted, and whether the clocks agree. No secret and no token is shown.""",
        """
The new token is kept if the cache has none that is as good; a login is renewed with its refresh token, and what comes
of that is always kept. The exit status is 1 when something failed; a warning leaves it 0.
""",
        _add_json,
    ),
    "status": _Command(
        "status",
        "show what is cached, and ask nobody",
        """Show the token that is cached for these settings: whose it is, how old it is and how long it is good for, but
not the token itself. No network request is made, but for a cache that is not on this computer.""",
        """
The exit status is 1 where a person has to log in before the next request, else 0, whether a token is there or not.

examples:

  aritma-session status
  aritma-session status --json | jq .token.left
""",
        _add_json,
    ),
    "clear": _Command(
        "clear",
        "remove the token from the cache",
        """Remove the token of these settings from the cache, so that the next request fetches another one. Programs
that run go on with the one they have in memory. It is not revoked, and stays good until it expires: see "logout" for
that.""",
        """
With --all, of the settings only the cache counts.
""",
        _add_clear,
    ),
    "completion": _Command(
        "completion",
        "print a script that completes commands and options",
        "Print a script for a shell, with which it completes the commands and options of aritma-session.",
        """
examples:

  aritma-session completion bash > ~/.local/share/bash-completion/completions/aritma-session
  aritma-session completion zsh > ~/.zfunc/_aritma-session     (with ~/.zfunc in $fpath, before compinit)
  aritma-session completion fish > ~/.config/fish/completions/aritma-session.fish
""",
        _add_completion,
        settings=False,
        operands="SHELL",
    ),
    "demo": _Command(
        "demo",
        "watch several processes share one token",
        """Start a local Aritma ID and bank API, and worker processes with a fresh cache that call it. The first token
expires, the second is revoked midway. Then the same work once more, with a token for each process. The exit status is 1
when a call failed.""",
        "",
        _add_demo,
        settings=False,
    ),
    "sandbox": _Command(
        "sandbox",
        "run a local Aritma ID and bank API",
        """Run a local Aritma ID and bank API over TLS until interrupted, and print the lines that point a shell, and
so every session that is started from it, at them.""",
        "",
        _add_sandbox,
        settings=False,
    ),
}
