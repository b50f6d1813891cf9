"""Read a token endpoint's answer within bounds, whatever it is, however long, and however it is packed."""

from __future__ import annotations

import contextlib
import json
import re
import zlib

import requests

from .alarm import Alarm
from .chunks import no_negative_chunks

__all__ = ["ENCODINGS", "LARGEST_ANSWER", "read_content"]

#: Bytes; an answer is about 2 KiB.
LARGEST_ANSWER = 64 * 1024

#: Bytes that are read at once.
_PIECE = 8192

#: The encodings that can be unpacked within a bound, and what zlib calls their frames.
_PACKED = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

#: What to ask for in ``Accept-Encoding``.
ENCODINGS = ", ".join(_PACKED)

#: A Content-Length; one that is longer is not believed.
_DIGITS = re.compile("[0-9]{1,18}")


def read_content(response: requests.Response, alarm: Alarm) -> bytes:
    """Read an answer that is sent as it comes, and close it.

    :param response: the answer, whose body has not been read.
    :param alarm: what ends the reading where it takes too long; its owner sees to that.
    :returns: the content in UTF-8.
    :raises requests.RequestException: when it is too long, cannot be unpacked, or breaks off.
    """
    coding, content = _take_coding(response), bytearray()
    with contextlib.closing(response), no_negative_chunks(response):
        # A large piece may be waited for until it is full; only the alarm keeps that short.
        for piece in response.iter_content(_PIECE if alarm.set else 1):
            content += piece
            if alarm.rings() or len(content) > LARGEST_ANSWER:
                break
    if coding is not None and _broke_off(response, len(content)):
        raise requests.exceptions.ChunkedEncodingError("the answer broke off")
    return _in_utf_8(_unpack(bytes(content), coding or ""))


def _take_coding(response: requests.Response) -> str | None:
    """Have an answer read as it comes, and give its Content-Encoding; ``None`` where somebody has unpacked it already.

    Unpacked on the way, a few bytes may grow to gigabytes before anybody can count them.
    """
    headers = getattr(response.raw, "headers", None)
    if getattr(response, "_content_consumed", False) or headers is None:  # an adapter of the user's has read it
        return None
    return str(headers.pop("Content-Encoding", "")).strip().lower()


def _broke_off(response: requests.Response, length: int) -> bool:
    """Tell whether less came than was promised; urllib3 1.26 does not say so."""
    stated = response.headers.get("Content-Length", "")
    bodiless = response.status_code in {requests.codes.no_content, requests.codes.not_modified}
    return not bodiless and _DIGITS.fullmatch(stated) is not None and length < min(int(stated), LARGEST_ANSWER)


def _unpack(content: bytes, coding: str) -> bytes:
    """Undo a Content-Encoding (RFC 9110, section 8.4.1), of no more than the largest answer."""
    if coding not in {"", "identity"} and content and len(content) <= LARGEST_ANSWER:
        if coding not in _PACKED:
            raise requests.exceptions.ContentDecodingError(f"the answer is encoded as {coding!r}")
        # Some say "deflate" and leave its frame out; the low half of the frame's first byte is an 8 (RFC 1950).
        bare = coding == "deflate" and content[0] & 15 != 8
        unpacking = zlib.decompressobj(-zlib.MAX_WBITS if bare else _PACKED[coding])
        try:
            content = unpacking.decompress(content, LARGEST_ANSWER + 1)
        except zlib.error as error:
            raise requests.exceptions.ContentDecodingError(f"the answer cannot be unpacked: {error}") from None
        if not unpacking.eof and len(content) <= LARGEST_ANSWER:
            raise requests.exceptions.ChunkedEncodingError("the answer broke off")
    if len(content) > LARGEST_ANSWER:
        raise requests.exceptions.ContentDecodingError(f"the answer is over {LARGEST_ANSWER} bytes long")
    return content


def _in_utf_8(content: bytes) -> bytes:
    """Give the content in UTF-8; what is in no encoding of Unicode is some page of a proxy's, and read as Latin-1."""
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding, "strict" if encoding.startswith("utf-8") else "replace").encode()
    except UnicodeDecodeError:
        return content.decode("latin-1").encode()
