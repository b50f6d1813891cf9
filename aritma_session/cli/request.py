"""Send one request, and pass its answer on."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import requests
from requests import exceptions
from urllib3.exceptions import LocationParseError, ReadTimeoutError

from ..exceptions import TokenError
from ..session import AritmaSession
from .given import arguments, as_options
from .parser import FAILED, OK
from .progress import Progress

if TYPE_CHECKING:
    import argparse

__all__ = ["run"]

#: What has no body, though it may say how long that would be (RFC 9110, section 8.6).
_BODILESS = {requests.codes.no_content, requests.codes.not_modified}

#: Bytes that are passed on at once.
_PIECE = 16 * 1024


def run(options: argparse.Namespace) -> int:
    """Send the request, and pass the answer on; fail where the status says so."""
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(_session(options))
        body = stack.enter_context(_body(options.data))
        headers = _headers(options, body)
        try:
            response = session.request(
                options.method, options.url, data=body, headers=headers, stream=True, timeout=options.timeout
            )
            return _pass_on(stack.enter_context(response), options)
        except TokenError:
            raise
        except (requests.RequestException, LocationParseError) as error:
            # What is said of a URL repeats it, and a proxy's has a password in it.
            raise OSError(_told(error, options)) from (None if isinstance(error, _REPEATING) else error)


def _session(options: argparse.Namespace) -> AritmaSession:
    try:
        return AritmaSession(**arguments(options))
    except ValueError as error:
        raise ValueError(as_options(str(error))) from None


@contextlib.contextmanager
def _body(data: str | None) -> Iterator[Any]:
    """Give the body: a text, a file that is read while it is sent, or all of standard input, which can be read once."""
    if data is None:
        yield None
    elif data in {"-", "@-"}:
        yield sys.stdin.buffer.read()
    elif data.startswith("@"):
        with open(data[1:], "rb") as file:
            yield file
    else:
        yield data.encode("utf-8", "surrogateescape")  # the bytes that were typed, whatever they are


def _headers(options: argparse.Namespace, body: Any) -> dict[str, str | None]:
    """Give the headers that were asked for, and the type of a body that looks like JSON."""
    headers: dict[str, str | None] = dict(options.header or ())
    if body is not None and "content-type" not in map(str.lower, headers) and _begins_json(body):
        headers["Content-Type"] = "application/json"
    return headers


def _begins_json(body: bytes | BinaryIO) -> bool:
    if isinstance(body, bytes):
        beginning = body
    elif body.seekable():
        beginning = body.read(_PIECE)
        body.seek(0)
    else:
        return False
    return beginning.lstrip().startswith((b"{", b"["))


def _pass_on(response: requests.Response, options: argparse.Namespace) -> int:
    failed = options.fail and response.status_code >= requests.codes.bad_request
    if options.include:
        print(_head(response), flush=True)
    if failed or options.output in {None, "-"}:  # a file that has what was asked for is not replaced by an error
        _show(response)
    else:
        _save(response, options.output)
    if not failed:
        return OK
    reason = f" {response.reason}" if response.reason else ""
    print(f"aritma-session: HTTP {response.status_code}{reason}{_advice(response, options)}", file=sys.stderr)
    return FAILED


def _head(response: requests.Response) -> str:
    version = {10: "1.0", 11: "1.1", 20: "2"}.get(response.raw.version, "1.1")
    lines = [f"HTTP/{version} {response.status_code} {response.reason}"]
    return "\n".join([*lines, *(f"{name}: {value}" for name, value in response.headers.items()), ""])


def _advice(response: requests.Response, options: argparse.Namespace) -> str:
    """Say what a refusal means that has to do with the token."""
    status, host = response.status_code, urlsplit(response.request.url or "").hostname
    if any(name.lower() == "authorization" for name, _ in options.header or ()):
        return ""
    if status == requests.codes.unauthorized and "Authorization" not in response.request.headers:
        return f": no token was sent, since {host} is none of the API hosts (ARITMA_ENVIRONMENT, ARITMA_API_HOSTS)"
    if status == requests.codes.unauthorized:
        return f': {host} did not take the token: see what "aritma-session check" says'
    if status == requests.codes.forbidden:
        return ": the client may need another scope (ARITMA_SCOPE), or a policy, which Aritma sets"
    return ""


def _show(response: requests.Response) -> None:
    """Write the body to standard output; to a terminal, as text that ends its last line."""
    sys.stdout.flush()
    target, person, last = sys.stdout.buffer, sys.stdout.isatty(), b"\n"
    with Progress(response, show=not person) as progress:
        for piece in _pieces(response):
            if person and b"\0" in piece:
                raise OSError("the answer is no text: keep it with -o FILE")
            target.write(piece)
            target.flush()
            progress.advance()
            last = piece
    if person and not last.endswith(b"\n"):
        print(flush=True)


def _save(response: requests.Response, path: str) -> None:
    """Write the body to a file beside the one that is meant, and put it in its place once it is whole."""
    with _whole_file(path) as file, Progress(response) as progress:
        for piece in _pieces(response):
            file.write(piece)
            progress.advance()


@contextlib.contextmanager
def _whole_file(path: str) -> Iterator[IO[bytes]]:
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):  # a device, or a pipe that somebody reads
        with open(target, "wb") as file:
            yield file
        return
    temporary = f"{target}.{secrets.token_hex(4)}.part"
    try:
        with _opened(temporary, path) as file:
            yield file
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _opened(temporary: str, path: str) -> IO[bytes]:
    try:
        return open(temporary, "xb")
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from None


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """Give the body piece by piece.

    :raises requests.ConnectionError: when it ends too early, which older releases of urllib3 do not notice.
    """
    yield from response.iter_content(_PIECE)
    promised = response.headers.get("Content-Length", "")
    bodiless = response.request.method == "HEAD" or response.status_code in _BODILESS
    if promised.isdecimal() and not bodiless and response.raw.tell() < int(promised):
        raise exceptions.ChunkedEncodingError("it ended too early")


#: What a connection puts before what happened to it.
_WHOSE = re.compile(r"\A(?:<[^>]*>|\w+\([^)]*\)): ")

#: Errors whose messages have a whole URL in them.
_REPEATING = (exceptions.ProxyError, exceptions.InvalidURL, exceptions.InvalidSchema, LocationParseError)

#: What each error means, the first that fits.
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((exceptions.ProxyError, exceptions.InvalidProxyURL), "the proxy could not be used: check HTTPS_PROXY"),
    (
        (exceptions.InvalidURL, exceptions.MissingSchema, exceptions.InvalidSchema, LocationParseError),
        "the URL, or a proxy's in HTTPS_PROXY, cannot be used: write one such as https://bankservice.zdata.no/api/v3",
    ),
    (
        (exceptions.InvalidHeader,),
        "a header (-H) cannot be sent: it has a line break in it, or a letter that headers do not have",
    ),
    (
        (exceptions.Timeout,),
        "{host} did not answer within {timeout} s: try again, or give it more with --timeout",
    ),
    (
        (exceptions.SSLError,),
        "{host} could not prove who it is ({reason}): check the URL, and REQUESTS_CA_BUNDLE",
    ),
    (
        (exceptions.ChunkedEncodingError, exceptions.ContentDecodingError),
        "the answer of {host} broke off ({reason}): try again",
    ),
    (
        (exceptions.ConnectionError,),
        "{host} could not be reached ({reason}): check the URL and the network",
    ),
    ((Exception,), "the request failed ({reason})"),
)


def _told(error: requests.RequestException | LocationParseError, options: argparse.Namespace) -> str:
    """Say what went wrong, and what to do; of the URL, which may have a password in it, the host is named."""
    inner = error.args[0] if error.args else error
    reason = _WHOSE.sub("", str(getattr(inner, "reason", inner)))
    try:
        host = urlsplit(options.url).hostname
    except ValueError:
        host = None
    late = isinstance(inner, ReadTimeoutError)  # amid the answer, requests calls it a ConnectionError
    kind = exceptions.ReadTimeout() if late else error
    text = next(text for kinds, text in _MEANINGS if isinstance(kind, kinds))
    return text.format(host=host, reason=reason, timeout=options.timeout)
