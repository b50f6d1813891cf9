"""Send a request once more, whole."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import requests
from requests.cookies import extract_cookies_to_jar, get_cookie_header
from requests.exceptions import UnrewindableBodyError
from requests.utils import rewind_body

__all__ = ["drain", "replay", "replayable"]

#: Bytes of a 401 that are read; one that is longer may be endless.
LARGEST_REFUSAL = 2**20

#: Bytes that are read at once, as requests does.
_PIECE = 10 * 1024


def replayable(request: requests.PreparedRequest) -> bool:
    """Tell whether the body can be sent a second time: there is none, it is in memory, or it can be rewound.

    The rest of a generator, or of a file that cannot seek, would arrive as an empty body, and might be answered with
    200.
    """
    body: Any = request.body
    if body is None or isinstance(body, (str, bytes, bytearray, memoryview)):
        return True
    return isinstance(_position(request), int) and hasattr(body, "seek")


def replay(
    refused: requests.Response, authorize: Callable[[requests.PreparedRequest], None], **kwargs: Any
) -> requests.Response:
    """Send the request of a refused response again, over the same adapter.

    :param refused: the 401, which is closed and kept in ``history``.
    :param authorize: gives the request its new ``Authorization`` header.
    :param kwargs: what the adapter was given the first time: ``stream``, ``timeout``, ``verify``, ``cert``,
        ``proxies``.
    :returns: the new response, whose ``elapsed`` counts both; or the refused one, untouched, where its request turns
        out not to be repeatable.
    """
    request = refused.request.copy()
    adapter = getattr(refused, "connection", None)
    if adapter is None:  # a transport that says nothing of itself
        return refused
    try:
        if _position(request) is not None:
            rewind_body(request)
    except (UnrewindableBodyError, ValueError):  # the latter for a file that was closed meanwhile
        return refused
    refused.close()
    authorize(request)
    _renew_cookies(request, refused)
    started = time.perf_counter()
    response: requests.Response = adapter.send(request, **kwargs)
    response.elapsed = refused.elapsed + dt.timedelta(seconds=time.perf_counter() - started)
    response.history.append(refused)
    return response


def _renew_cookies(request: requests.PreparedRequest, refused: requests.Response) -> None:
    """Add what the 401 has set, as a load balancer does that wants the next request at the same place."""
    jar: Any = getattr(request, "_cookies", None)
    if jar is None:
        return
    without = request.copy()
    sent = without.headers.pop("Cookie", None)
    of_the_jar = sent is None or sent == get_cookie_header(jar, without)  # type: ignore[no-untyped-call]  # untyped stubs
    extract_cookies_to_jar(jar, refused.request, refused.raw)  # type: ignore[no-untyped-call]  # the same
    if of_the_jar:  # a header of the caller's own stays
        request.headers.pop("Cookie", None)
        request.prepare_cookies(jar)


def _position(request: requests.PreparedRequest) -> object:
    """Where the body began when the request was prepared; a number only where it could tell."""
    return getattr(request, "_body_position", None)


def drain(response: requests.Response) -> requests.RequestException | None:
    """Read what is left of a refused response, so that its connection is free before anything else is sent.

    Not for a stream, of which nobody asked to have it read.

    :returns: the error that the reading ended with, for a caller who needs the response after all.
    """
    from .chunks import no_negative_chunks  # most processes never see a 401

    if getattr(response, "_content_consumed", False) or response.raw is None:  # it was read already
        return None
    content = bytearray()
    try:
        with no_negative_chunks(response):
            for piece in response.iter_content(_PIECE):
                content += piece
                if len(content) > LARGEST_REFUSAL:
                    return requests.exceptions.ContentDecodingError(f"a 401 of more than {LARGEST_REFUSAL} bytes")
    except requests.RequestException as error:
        return error
    response._content = bytes(content)  # noqa: SLF001  # as `Response.content` does, which knows no bound
    return None
