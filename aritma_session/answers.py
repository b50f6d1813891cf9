"""What the token endpoint's answer means: a token, or one clear error with nothing secret in it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import requests

from .exceptions import CredentialsRefused, TokenEndpointUnavailable, TokenError
from .redaction import copy_response
from .tokens import Token

if TYPE_CHECKING:
    from .grants import Grant
    from .redaction import Redactor

__all__ = ["read_answer"]

#: Statuses of a server in passing trouble (RFC 6585, section 4; RFC 8470, section 5.2; RFC 9110, sections 15.5.9 and
#: 15.6).
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})

#: Refusals of the client itself, which the same request would meet again (RFC 6749, section 5.2).
_LASTING = frozenset({"invalid_client", "unauthorized_client", "invalid_scope"})

_ADVICE = {
    "invalid_scope": "check scope (ARITMA_SCOPE; spaces between several): the client may not be allowed it; an empty "
    "scope asks for all it is",
    "invalid_target": "check extra (ARITMA_EXTRA): the client may not be allowed its audience or resource",
    "unsupported_grant_type": "check environment (ARITMA_ENVIRONMENT): this may not be Aritma ID's token endpoint",
}

_CHECK_PLACE = "check environment and tenant (ARITMA_ENVIRONMENT, ARITMA_TENANT)"

#: What an answer that grants a token may call it, in whatever writing: none is quoted that may hold one.
_GRANTING = re.compile(r"(?:access|refresh|id)\W*(?:_|%5f|\\u005f|&#\w+;)?\W*token|bearer\W", re.IGNORECASE)
_WITHHELD = b"*** (withheld: it may hold a token)"

_EXPLANATIONS = ("error", "error_description", "error_uri")


def read_answer(response: requests.Response, started: float, redactor: Redactor, grant: Grant) -> Token | TokenError:
    """Give the token of an answer that grants one, or the error that any other answer means.

    The status is looked at first: the page of a broken proxy is no JSON, and no "missing token" either.

    :param started: seconds since the epoch, read just before the token request was sent.
    :param grant: what was asked with.
    """
    status, answer = response.status_code, _json_object(response)
    if status == requests.codes.ok and answer is not None and answer.get("error") is None:
        try:
            return _token(answer, started, redactor, grant)
        except ValueError as error:
            what = f"gave a token that cannot be used: {error}"
            return _error(TokenError, what, _CHECK_PLACE, response, redactor)
    if answer is not None and isinstance(answer.get("error"), str):
        return _refusal(answer, response, redactor, grant)
    kind, what, advice = _meaning(status, grant)
    return _error(kind, what, advice, response, redactor)


def _token(answer: dict[str, Any], started: float, redactor: Redactor, grant: Grant) -> Token:
    """Make the token; refuse one that could not be sent as ``Authorization: Bearer``."""
    kind = answer.get("token_type", "Bearer")  # required (RFC 6749, section 5.1), and left out by some servers
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ValueError("its type is not Bearer")
    token = Token.from_answer(answer, started)
    if redactor.repeats(token.access_token):  # it would be sent to the API, and be written to disk
        raise ValueError("it repeats the secret")
    grant.verify(answer)
    # A client that can ask by itself needs none, and what is not kept cannot be stolen.
    if not grant.has_user or (redactor.repeats(token.refresh_token or "") and not grant.repeats(token)):
        token = token.replace(refresh_token=None)
    return token.replace(scope=None) if redactor.repeats(token.scope or "") else token


def _refusal(answer: dict[str, Any], response: requests.Response, redactor: Redactor, grant: Grant) -> TokenError:
    """Read an error of RFC 6749, section 5.2."""
    error, description, uri = (_explanation(answer.get(name), redactor) for name in _EXPLANATIONS)
    kind, what, advice = _meaning(response.status_code, grant)
    if response.status_code not in TRANSIENT:
        kind = CredentialsRefused if error in _LASTING or kind is CredentialsRefused else TokenError
        kind, advice = grant.meaning(error) or (kind, _advice(error, grant))
        what = "refused the request"
    what += f": {error}" + (f" ({description})" if description else "")
    found = _error(kind, what, advice, response, redactor, snippet=False)
    found.error, found.error_description, found.error_uri = error, description, uri
    return found


def _advice(error: str | None, grant: Grant) -> str:
    if error == "invalid_client":
        return grant.authentication.advice
    if error == "unauthorized_client":
        return f"ask Aritma to allow this client the {grant.name.replace('_', '-')} grant"
    return _ADVICE.get(error or "", "see the error code in RFC 6749, section 5.2, or ask Aritma")


def _explanation(value: object, redactor: Redactor) -> str | None:
    try:
        return redactor.line(value) if value else None
    except RecursionError:  # lists in lists, deeper than they can be written down
        return None


def _meaning(status: int, grant: Grant) -> tuple[type[TokenError], str, str]:
    """Tell what a status means by itself: the error, what happened, what to do."""
    if status in TRANSIENT:
        return TokenEndpointUnavailable, "is in trouble", "try again later"
    if 300 <= status < 400:
        return TokenError, "answered with a redirect", f"none is followed with a secret; {_CHECK_PLACE}"
    if status == requests.codes.unauthorized:
        return CredentialsRefused, "refused the client", grant.authentication.advice
    return TokenError, "gave an answer that is no token", f"{_CHECK_PLACE}, and any proxy on the way"


def _error(
    kind: type[TokenError],
    what: str,
    advice: str,
    response: requests.Response,
    redactor: Redactor,
    *,
    snippet: bool = True,
) -> TokenError:
    copy = redactor.response(response)
    if copy.ok and _GRANTING.search(copy.text):
        copy = copy_response(copy, _WITHHELD)
    shown = redactor.line(copy.text) if snippet else ""
    told = f", saying {shown!r}" if shown else ""
    return kind(f"Aritma ID at {copy.url} {what} (HTTP {copy.status_code}{told}): {advice}", response=copy)


def _json_object(response: requests.Response) -> dict[str, Any] | None:
    try:
        answer = json.loads(response.text)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
