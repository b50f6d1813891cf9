"""Bodies that come in chunks, one of which may be said to be of negative length."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import requests

__all__ = ["no_negative_chunks"]


@contextlib.contextmanager
def no_negative_chunks(response: requests.Response) -> Iterator[None]:
    """Let the reading of a response in this block end with an error at a chunk of negative length.

    urllib3 reads its length as any number, and one below 0 as "all that comes": as much as a server likes to send, at
    once, before anybody can count it.

    See RFC 9112, section 7.1.

    :param response: one whose body has not been read; reading it raises a :class:`requests.RequestException`.
    """
    raw: Any = response.raw
    update = getattr(raw, "_update_chunk_length", None)
    if update is None:  # somebody else's, who reads in their own way
        yield
        return

    def checked() -> None:
        update()
        if (raw.chunk_left or 0) < 0:
            raise requests.exceptions.ChunkedEncodingError("a chunk of negative length")

    raw._update_chunk_length = checked  # noqa: SLF001  # where it can be known in time, and nowhere else
    try:
        yield
    finally:
        # It refers to its owner, whose connection would stay open until somebody collects garbage.
        del raw._update_chunk_length  # noqa: SLF001  # as above
