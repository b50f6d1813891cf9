"""Take secrets out of what a server sent back, before anybody else sees it."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import requests

__all__ = ["Redactor", "copy_response"]

#: A token by its name, in JSON, a form or anything like them, whole or cut off; and a JWT wherever it stands.
_TOKEN = re.compile(
    r"""((?:access|refresh|id)_token(?:[^\w*]|&quot;|&\#34;|&\#x22;)*[=:](?:[^\w*]|&quot;|&\#34;|&\#x22;)*)"""
    r"""(?:[^"'\\&\s<>,}]|\\.)+"""
    r"""|()\beyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*""",
    re.DOTALL,
)

#: What JSON and JavaScript may write a letter as.
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")

#: Letters of a text that are looked at, and kept: reading takes time, and another process may be waiting.
_LONGEST = 8192

#: Letters of a message that quotes the server.
_LINE = 200


class Redactor:
    """Take secrets out of texts.

    :param secrets: the texts that must not show, as they are or as JSON, HTML, a form or a URL may write them.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(text for text in secrets if text)
        forms = {form(text) for text in self._secrets for form in (str, quote, quote_plus, _in_json)}
        self._forms = sorted(forms, key=len, reverse=True)  # the longest first, of which the shorter may be a part

    def text(self, text: str) -> str:
        """Give the text with stars where a secret was; nothing of it, where one may be written in some other way."""
        for form in self._forms:
            text = text.replace(form, "***")
        text = _TOKEN.sub(r"\1***", text)[:_LONGEST]
        try:
            return "*** (withheld: it repeats a secret)" if self._shows(text) else text
        except (ValueError, OverflowError, RecursionError):  # a character reference with thousands of digits, say
            return "*** (withheld: it cannot be read)"

    def line(self, text: object) -> str:
        """Give one short line of printable characters, fit for a message and a log."""
        clean = self.text(str(text))
        return "".join(letter if letter.isprintable() else " " for letter in clean)[:_LINE].strip()

    def response(self, response: requests.Response) -> requests.Response:
        """Give a copy of a response with nothing secret in its headers and its text."""
        copy = copy_response(response, self.text(response.text).encode("utf-8", "replace"))
        copy.reason = self.text(response.reason or "")
        copy.headers.clear()
        left = _LONGEST  # of all headers together: reading takes time, as it says above
        for name, value in response.headers.items():
            size = len(name) + len(value)
            if size <= left and self.text(name) == name:
                left -= size
                copy.headers[name] = self.text(value)
        return copy

    def _shows(self, text: str) -> bool:
        readings = {text}
        for _ in range(_DEPTH):
            readings |= {read(reading) for reading in readings for read in _READINGS}
        return any(secret in reading for secret in self._secrets for reading in readings)


def copy_response(response: requests.Response, content: bytes) -> requests.Response:
    """Give a response that is like this one, with other content, without its connection and the request's body.

    The content counts as UTF-8, as JSON always is (RFC 8259, section 8.1), whatever the headers say.
    """
    request = requests.PreparedRequest()
    request.method, request.url = response.request.method, response.request.url
    request.headers = requests.structures.CaseInsensitiveDict()
    copy = requests.Response()
    copy.status_code, copy.reason, copy.url = response.status_code, response.reason, response.url
    copy.encoding, copy.elapsed, copy.request = "utf-8", response.elapsed, request
    copy.headers.update(response.headers)
    copy.raw = io.BytesIO(content)
    copy.content  # noqa: B018  # read at once: a copy that is pickled has no stream to read from
    return copy


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _from_json(text: str) -> str:
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else escape[2], text)


def _from_latin_1(text: str) -> str:
    return text.encode("latin-1", "ignore").decode("utf-8", "ignore")


def _from_latin_1_form(text: str) -> str:
    return unquote_plus(text, "latin-1")


#: The ways to read what may have been written in some other way, and how many of them on top of each other.
_READINGS = (unquote, unquote_plus, html.unescape, _from_json, _from_latin_1, _from_latin_1_form)
_DEPTH = 3
