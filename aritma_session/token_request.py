"""One POST to the token endpoint through requests-oauthlib, which leaves nothing secret behind.

Imported for the first token request, because requests-oauthlib and oauthlib cost more time than a warm process has.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import requests
import requests_oauthlib

from .answers import read_answer
from .exceptions import TokenError
from .outgoing import FAILURES, Borrowing, failure, silence, without_frames
from .redaction import Redactor, copy_response
from .tokens import Token

if TYPE_CHECKING:
    from .grants import Grant

__all__ = ["ask"]

_log = logging.getLogger("aritma_session")


def ask(
    url: str, grant: Grant, *, timeout: tuple[float, float], lender: requests.Session | None
) -> Token | BaseException:
    """Send one token request.

    :param url: the token endpoint, https.
    :param grant: who asks, and for what.
    :param timeout: seconds that it may take to connect, and between two pieces of the answer, or for its whole body; it
        ends after the sum of the two, but for the time that the operating system takes to look up a name, and for the
        pauses of an adapter that tries again by itself.
    :param lender: the session whose ``verify``, ``cert``, ``proxies``, ``trust_env`` and adapters are used.
    :returns: the token; or the error, as a value, which so takes no traceback along in whose frames a secret stands. It
        is a :class:`TokenError`, unless something was raised that is no :class:`requests.RequestException`.
    """
    try:
        outcome, difference = _ask(url, grant, timeout, lender)
    except BaseException as error:  # noqa: BLE001  # an adapter's own, or Ctrl-C: the caller gets it as it is
        return without_frames(error)
    if difference is not None:  # told here, since whoever writes log records down may write the stack down too
        _log.log(*difference)
    return outcome


def _ask(
    url: str, grant: Grant, timeout: tuple[float, float], lender: requests.Session | None
) -> tuple[Token | TokenError, tuple[int, str, str, str] | None]:
    """Do the same, with secrets among the variables; give what is to be logged as well."""
    try:
        form, proof = grant.form(), grant.authentication.prove(grant.client_id, url)
    except ValueError as error:
        return TokenError(f"no token can be asked for: {error}"), None
    redactor = Redactor((*proof.secrets, *grant.secrets(form)), grant.identity)
    started = time.time()
    with _OAuth2Session(client=grant.oauth_client()) as session, silence():
        session.borrow(lender, timeout)
        tokens: list[Token] = []

        def check(response: requests.Response) -> requests.Response:
            outcome = read_answer(response, started, redactor, grant)
            if isinstance(outcome, TokenError):
                raise _Unusable(outcome)
            tokens.append(outcome)
            # What oauthlib needs to read, and nothing that it would raise for: another scope, an odd lifetime.
            return copy_response(response, b'{"access_token": "checked", "token_type": "Bearer"}')

        for kind in ("access_token_response", "refresh_token_response"):
            session.register_compliance_hook(kind, check)
        try:
            grant.send(session, url, form, proof, timeout=timeout)
        except _Unusable as found:
            return found.error, None
        except FAILURES as error:
            return failure(url, error, redactor), None
    return tokens[0], _scope_difference(" ".join(grant.scope) or None, tokens[0].scope, redactor)


def _scope_difference(wanted: str | None, granted: str | None, redactor: Redactor) -> tuple[int, str, str, str] | None:
    """Say where the scope granted is not the one asked for: the server may decide so (RFC 6749, section 3.3)."""
    if wanted is None or granted is None:
        return None
    missing, added = (set(one.split()) - set(other.split()) for one, other in ((wanted, granted), (granted, wanted)))
    if not missing and not added:
        return None
    # What is missing will be met again as a 403.
    level = logging.WARNING if missing else logging.INFO
    return level, "asked for the scope %r and was granted %r", wanted, redactor.line(granted)


class _Unusable(Exception):
    """Carry an error out of requests-oauthlib, whose frames hold the secret."""

    def __init__(self, error: TokenError) -> None:
        super().__init__(error)
        self.error = error


class _OAuth2Session(Borrowing, requests_oauthlib.OAuth2Session):
    """Make one token request."""
