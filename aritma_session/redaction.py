"""Take secrets out of what a server sent back, before anybody else sees it."""

from __future__ import annotations

import base64
import functools
import html
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
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

#: What JSON and JavaScript may write a letter as: its number, white space, itself.
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([bfnrtv])|(.))")

#: Letters of a text that are looked at, and kept: reading takes time, and another process may be waiting.
_LONGEST = 8192

#: Letters that one answer may make a redactor look at, in all their readings together: a second's work.
_MOST_LETTERS = 400_000

#: Letters of a message that quotes the server.
_LINE = 200

#: Letters of a secret that do not show together, and as many as they make in Base64 and in hexadecimal digits.
_PIECE, _PIECE_IN_BASE64, _PIECE_IN_HEX = 6, 8, 12

#: What is said all the time, of whatever secret: a piece of a secret that is a piece of these gives nothing away.
_USUAL = (
    "aritma bankservice sandbox password authorization basic_bearer connection certificate_verify "
    "access_token client_id client_secret client_credentials client_assertion private_key error_description "
    "grant_type authorization_code refresh_token invalid_request invalid_client invalid_grant unauthorized_client "
    "unsupported_grant_type invalid_scope temporarily_unavailable"
)


class Redactor:
    """Take secrets out of texts.

    A text is withheld that shows six letters of a secret in a row: in upper or lower case, backwards, with something
    between the letters, in Base64 (as in HTTP Basic), in hexadecimal digits, or as JSON, HTML, a form or a URL may
    write them. Whoever sends them back in a cipher of their own is not found out.

    :param secrets: the texts that must not show.
    :param known: texts that may, such as the client's id, though pieces of a secret may be the same.
    """

    def __init__(self, secrets: Iterable[str], known: Iterable[str] = ()) -> None:
        self._secrets = tuple(text for text in secrets if text)
        self._known = (_USUAL, *known)
        self._left = _MOST_LETTERS
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

    def repeats(self, text: str) -> bool:
        """Tell whether a text has a whole secret in it."""
        return any(form in text for form in self._forms)

    def line(self, text: object) -> str:
        """Give one short line of printable characters, fit for a message and a log."""
        clean = "".join(letter if letter.isprintable() else " " for letter in self.text(str(text)))
        return self.text(clean)[:_LINE].strip()  # again: a secret that was broken where a space belongs is whole now

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
        readings, latest = {text}, {text}
        for _ in range(_DEPTH):
            latest = {read(reading) for reading in map(self._counted, latest) for read in _READINGS} - readings
            readings |= latest
        if any(secret in reading for secret in self._secrets for reading in readings):
            return True
        looks = {look for reading in readings for look in _looks(self._counted(reading))}
        return any(
            not pieces.isdisjoint(_pieces(self._counted(look), size))
            for look in looks
            for size, pieces in self._pieces.items()
        )

    def _counted(self, text: str) -> str:
        """Give the text, unless too much has been looked at: an answer may be made to be read in hundreds of ways.

        :raises ValueError: when there is no end to it.
        """
        self._left -= len(text)
        if self._left < 0:
            raise ValueError("too much to look at")
        return text

    @functools.cached_property
    def _pieces(self) -> dict[int, set[str]]:
        """The pieces of secrets that must not show, by their length; made for the first text, as few tokens need it."""
        found: dict[int, set[str]] = {}
        for size, writing in (each for secret in self._secrets for each in _writings(secret)):
            for look in _looks(writing):
                short = size == _PIECE > len(writing)  # else, a few letters are in every other text
                for text in (look, look[::-1]) if look and (short or len(look) >= size) else ():
                    found.setdefault(min(size, len(text)), set()).update(_pieces(text, size))
        known = {look for text in self._known for look in _looks(text)}
        for size, pieces in found.items():
            pieces.difference_update(piece for look in known for piece in _pieces(look, size))
        return found


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


def _writings(secret: str) -> Iterator[tuple[int, str]]:
    """Give the ways to write a secret that are not read back, each with the length of a piece that gives it away."""
    yield _PIECE, secret
    forms = {form(secret) for form in (str, str.upper, str.lower, quote, quote_plus, _in_json)}
    texts = {text for form in forms for text in (form, form[::-1])}
    for data in {text.encode(coding, "replace") for text in texts for coding in ("utf-8", "utf-16-le", "latin-1")}:
        yield _PIECE_IN_HEX, data.hex()
        for shift in range(3):  # where in a group of three bytes the secret begins depends on what stands before it
            # Letters that would hold bits of a neighbour are left out.
            text = base64.b64encode(bytes(shift) + data).decode().rstrip("=")
            whole = text[(shift * 8 + 5) // 6 : (shift + len(data)) * 8 // 6]
            yield _PIECE_IN_BASE64, whole
            yield _PIECE_IN_BASE64, whole.translate({ord("+"): "-", ord("/"): "_"})


def _looks(text: str) -> set[str]:
    """Give a text as one who minds neither case nor width reads it, and one who skips what is no letter or digit."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return {folded, "".join(filter(str.isalnum, folded))}


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(max(len(text) - size, 0) + 1))


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _from_json(text: str) -> str:
    units = _ESCAPE.sub(_unescaped, text)
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # a letter may be written as two of them


def _unescaped(escape: re.Match[str]) -> str:
    number = escape[1] or escape[2]
    return chr(int(number, 16)) if number else escape[4] or " "


def _from_latin_1(text: str) -> str:
    return text.encode("latin-1", "ignore").decode("utf-8", "ignore")


def _from_windows_1252(text: str) -> str:
    return text.encode("cp1252", "ignore").decode("utf-8", "ignore")  # as HTML reads references to 128 and on


def _from_latin_1_form(text: str) -> str:
    return unquote_plus(text, "latin-1")


#: The ways to read what may have been written in some other way, and how many of them on top of each other.
_READINGS = (
    unquote,
    unquote_plus,
    html.unescape,
    _from_json,
    _from_latin_1,
    _from_windows_1252,
    _from_latin_1_form,
)
_DEPTH = 3
