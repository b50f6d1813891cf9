"""One GET for an issuer's metadata (OpenID Connect Discovery 1.0, section 4).

Imported when it is made, since requests comes with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import requests

from .answers import TRANSIENT
from .endpoint import persistently
from .exceptions import TokenEndpointUnavailable, TokenError
from .outgoing import exchange
from .redaction import Redactor

__all__ = ["find"]

_ADVICE = (
    "check environment (ARITMA_ENVIRONMENT); for a server without metadata, pass an Environment, for which the paths "
    "of Aritma ID count"
)


def find(
    url: str, check: Callable[[object], object], *, timeout: tuple[float, float], lender: requests.Session | None
) -> dict[str, Any]:
    """Ask for an issuer's metadata, up to three times where it cannot be reached or is in passing trouble.

    :param url: where they are.
    :param check: raises a ``ValueError`` when they cannot be used.
    :param timeout: seconds to connect and to be answered.
    :param lender: the session that is asked with.
    :raises TokenEndpointUnavailable: when no try was answered.
    :raises TokenError: when the answer is of no use.
    """
    found: dict[str, Any] = persistently(lambda: _ask(url, check, timeout, lender))
    return found


def _ask(
    url: str, check: Callable[[object], object], timeout: tuple[float, float], lender: requests.Session | None
) -> Any | BaseException:
    redactor = Redactor(())
    answer = exchange("GET", url, lender=lender, timeout=timeout, redactor=redactor)
    if isinstance(answer, BaseException):
        return answer
    status = answer.status_code
    if status in TRANSIENT:
        message = f"Aritma ID at {url} is in trouble (HTTP {status}): try again later"
        return TokenEndpointUnavailable(message, response=redactor.response(answer))
    if status != requests.codes.ok:
        message = f"Aritma ID's metadata are not at {url} (HTTP {status}): {_ADVICE}"
        return TokenError(message, response=redactor.response(answer))
    document = _json_of(answer)
    try:
        check(document)
    except ValueError as error:
        message = f"Aritma ID's metadata at {url} cannot be used: {error}; {_ADVICE}"
        return TokenError(message, response=redactor.response(answer))
    return document


def _json_of(answer: requests.Response) -> Any:
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):  # the former for numbers beyond reason too
        return None
