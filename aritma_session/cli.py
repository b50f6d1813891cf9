"""The ``aritma-session`` command."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from . import __version__

if TYPE_CHECKING:
    from .endpoint import TokenEndpoint
    from .settings import Settings

__all__ = ["main"]

#: Exit statuses: all is well; something was refused or failed; the command line is wrong (argparse's own).
OK, FAILED, _USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :param arguments: the command line without the program's name; by default this process' own.
    :returns: the exit status: 0, or 1 where something was refused or failed; 2 is argparse's, for a wrong command line.
    """
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        status = run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return FAILED
    except BrokenPipeError:  # whoever read our output has left, and what is left of it must not be tried at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ImportError, OSError, OverflowError, ValueError) as error:
        print(f"aritma-session: {error}", file=sys.stderr)
        return FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aritma-session",
        description="requests.Session for Aritma's banking APIs, with one token for all processes.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", prog=parser.prog)

    token = commands.add_parser("token", help="print an access token", description=_PRINT)
    token.set_defaults(run=_token, line="{}")
    header = commands.add_parser("header", help="print an Authorization header, for curl -H @-", description=_HEADER)
    header.set_defaults(run=_token, line="Authorization: Bearer {}")
    login = commands.add_parser("login", help="log in with a browser", description=_LOGIN)
    login.add_argument("--no-browser", action="store_true", help="open none, and only print where to go")
    login.add_argument(
        "--port", type=_between(0, 65535), default=0, metavar="PORT", help="loopback port (default: a free one)"
    )
    login.add_argument("--prompt", metavar="WORDS", help='what to ask for, such as "login" or "none"')
    login.add_argument("--acr-values", metavar="WORDS", help='how to prove who you are, such as "mfa"')
    login.add_argument(
        "--response-mode",
        choices=("form_post", "fragment"),
        default="form_post",
        help="how the token of the implicit grant comes back (default: form_post)",
    )
    login.add_argument(
        "--timeout", type=_between(1, 86400), default=300, metavar="SECONDS", help="how long it may take (default: 300)"
    )
    login.set_defaults(run=_login)
    logout = commands.add_parser("logout", help="revoke the token and forget it", description=_LOGOUT)
    logout.set_defaults(run=_logout)
    for command in (token, header, login, logout):
        _add_settings(command)

    demo = commands.add_parser("demo", help="watch several processes share one token", description=_DEMO)
    demo.add_argument(
        "--processes", type=_between(1, 100), default=8, metavar="N", help="worker processes (default: 8)"
    )
    demo.add_argument("--json", action="store_true", help="print the result as one JSON object")
    demo.set_defaults(run=_demo)

    sandbox = commands.add_parser("sandbox", help="run a local Aritma ID and bank API", description=_SANDBOX)
    sandbox.add_argument(
        "--port", type=_between(0, 65535), default=0, metavar="PORT", help="loopback port (default: a free one)"
    )
    sandbox.add_argument(
        "--token-lifetime",
        type=_between(1, 10**9),
        default=3600,
        metavar="SECONDS",
        help="lifetime of its tokens (default: 3600)",
    )
    sandbox.set_defaults(run=_sandbox)
    return parser


_PRINT = """Print an access token that can be sent now: the one that all processes share, or a new one. The settings are
the ARITMA_* variables; no option takes a secret, since other accounts can see what a process was started with."""

_HEADER = """Print the header line that authorises a request, without showing the token to other accounts, for example:
aritma-session header | curl -H @- https://bankservice.zdata.no/api/v3/statements/acme"""

_LOGIN = """Log in with a browser, on this computer, and keep the token for all programs of this account. They use it
with grant="authorization_code", or ARITMA_GRANT=authorization_code. The settings are the ARITMA_* variables and these
options; no option takes a secret."""

_LOGOUT = """Revoke the token, and its refresh token, at Aritma ID, and remove it from the cache. After that, a person
has to log in again."""

_DEMO = """Start a local Aritma ID and bank API, and worker processes with a fresh cache that call it. The first token
expires, the second is revoked midway. Then the same work once more, with a token for each process. Exit status 1 when a
call failed."""

_SANDBOX = """Run a local Aritma ID and bank API over TLS until interrupted, and print the lines that point a shell, and
so every session that is started from it, at them."""


def _between(lowest: int, highest: int) -> Callable[[str], int]:
    """Make a type for argparse: whole numbers from the one to the other."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"it must be a whole number from {lowest} to {highest}, not {text!r}")
        return int(text)

    return number


def _add_settings(command: argparse.ArgumentParser) -> None:
    """Add the options that settings can be given by; none takes a secret."""
    group = command.add_argument_group("settings", "Each has a variable too, such as ARITMA_CLIENT_ID.")
    for name, help_text in _SETTINGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar="TEXT", help=help_text)
    group.add_argument("--extra", action="append", metavar="NAME=VALUE", help="a further parameter; may be repeated")


_SETTINGS = {
    "client_id": "the client's id",
    "environment": "production, development, or an issuer's https URL",
    "tenant": "the tenant",
    "scope": "the scopes, with spaces between them",
    "cache": "where tokens are kept: file, or a directory",
    "grant": "client_credentials, password, authorization_code or implicit",
    "token_endpoint_auth_method": "how the client proves itself",
    "username": "the user's name, for the grants with a user",
}


def _resolve(options: argparse.Namespace, **defaults: str) -> Settings:
    """Give the settings that options and variables say."""
    from .settings import Settings

    given = {name: getattr(options, name) for name in _SETTINGS}
    for name, value in defaults.items():
        if given[name] is None and not os.environ.get(f"ARITMA_{name.upper()}"):
            given[name] = value
    extra = None
    if options.extra is not None:
        pairs = [text.partition("=") for text in options.extra]
        if wrong := [name for name, sign, _ in pairs if not sign]:
            raise ValueError(f"--extra {wrong[0]!r} has no value: write --extra NAME=VALUE")
        extra = {name: value for name, _, value in pairs}
    return Settings.resolve(**given, extra=extra)


def _token(options: argparse.Namespace) -> int:
    from .wiring import locator, token_source

    settings = _resolve(options)

    def endpoint() -> TokenEndpoint:
        from .endpoint import TokenEndpoint  # requests comes with it, which a warm cache has no use for

        return TokenEndpoint(locator(settings), settings.token_timeout)

    print(options.line.format(token_source(settings, endpoint).token().access_token))
    return OK


def _login(options: argparse.Namespace) -> int:
    import webbrowser

    from .login import log_in

    settings = _resolve(options, grant="authorization_code")

    def show(url: str) -> None:
        begin = "To log in, go to" if options.no_browser else "A browser opens to log in; if none does, go to"
        print(f"{begin}\n\n    {url}\n", file=sys.stderr, flush=True)

    token = log_in(
        settings,
        show=show,
        open_browser=None if options.no_browser else webbrowser.open,
        port=options.port,
        prompt=options.prompt,
        acr_values=options.acr_values,
        response_mode=options.response_mode,
        patience=options.timeout,
    )
    lasting = "until it is revoked" if token.refresh_token else f"for {token.lifetime:.0f} seconds"
    print(f"Logged in, {lasting}. Programs use it with ARITMA_GRANT={settings.grant.name}.")
    return OK


def _logout(options: argparse.Namespace) -> int:
    from .endpoint import TokenEndpoint
    from .revocation import revoke
    from .wiring import authorization_server, locator, token_source

    settings = _resolve(options, grant="authorization_code")
    endpoint = TokenEndpoint(locator(settings), settings.token_timeout)
    found = token_source(settings, lambda: endpoint).discard()
    revoked = revoke(settings, authorization_server(settings), found)
    if not found:
        print("Nobody was logged in.")
    elif revoked:
        print("Logged out.")
    else:
        print("The token was removed from the cache. Aritma ID revokes none: it is good until it expires.")
    return OK


def _demo(options: argparse.Namespace) -> int:
    from .demo import run

    # To be ended is to be interrupted: what the demo has made is taken away.
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    result = run(options.processes, show=not options.json)
    if options.json:
        print(json.dumps(result))
    return FAILED if result["failed_calls"] else OK


def _sandbox(options: argparse.Namespace) -> int:
    import shlex

    from .sandbox import Sandbox

    stop = threading.Event()
    with Sandbox(port=options.port, token_lifetime=options.token_lifetime) as sandbox:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(number, lambda *_: stop.set())
        print(f"# A local Aritma ID and bank API at {sandbox.issuer}, until Ctrl-C. In another shell:")
        for name, value in sandbox.environ().items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"# Then, for example: AritmaSession().get('{sandbox.api_url}/statements/acme')", flush=True)
        stop.wait()
    return OK
