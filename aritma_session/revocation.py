"""Give tokens back to Aritma ID, which then refuses them (RFC 7009)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import requests

from .answers import TRANSIENT
from .credentials import Secret
from .endpoint import persistently
from .exceptions import CredentialsRefused, TokenEndpointUnavailable, TokenError
from .outgoing import exchange, without_frames
from .redaction import Redactor

if TYPE_CHECKING:
    from .metadata import AuthorizationServer, Metadata
    from .settings import Settings
    from .source import TokenSource
    from .tokens import Token

__all__ = ["give_back", "revoke"]

#: What an error answer may be, apart from ``invalid_client`` (RFC 7009, section 2.2.1): access tokens that are signed
#: and not looked up, which a server cannot take back, and tokens that it does not know.
_HARMLESS = {"unsupported_token_type", "invalid_grant", "invalid_token"}


def give_back(
    settings: Settings, source: TokenSource, server: AuthorizationServer, lender: requests.Session | None = None
) -> tuple[bool, bool]:
    """Remove the token from memory and cache, and revoke it.

    :param settings: whose it is.
    :param source: what gives it.
    :param server: knows where the endpoints are.
    :param lender: the session that Aritma ID is asked with.
    :returns: whether there was a token, and whether Aritma ID revokes any.
    :raises TokenError: when it could not be revoked, or may be in the cache still.
    """
    found, cleared = source.discard()
    revoked = revoke(settings, server, found, lender)
    if not cleared:
        raise TokenError(
            "the cache could not be looked at or written to, and may have the token still: see the warning in the log, "
            "and remove it there (cache, ARITMA_CACHE)"
        )
    return bool(found), revoked


def revoke(
    settings: Settings, server: AuthorizationServer, tokens: Iterable[Token], lender: requests.Session | None = None
) -> bool:
    """Revoke tokens, and the refresh tokens that came with them first.

    :param settings: whose tokens they are.
    :param server: knows where the endpoints are.
    :param tokens: the tokens; there may be none.
    :param lender: the session that Aritma ID is asked with.
    :returns: whether there is a revocation endpoint.
    :raises TokenError: when a token could not be revoked.
    """
    found = list(tokens)
    hidden = [("refresh_token", Secret(token.refresh_token)) for token in found if token.refresh_token]
    hidden += [("access_token", Secret(token.access_token)) for token in found]
    metadata = server.metadata(lender) if hidden else None
    if metadata is None or not metadata.revocation_endpoint:
        return metadata is None
    asker = _Asker(settings, metadata, lender)
    outcomes: list[bool | TokenError] = []
    for hint, text in dict.fromkeys(hidden):  # the same text may come twice, from memory and from the cache
        try:
            outcomes.append(persistently(partial(asker.ask, hint, text)))
        except TokenError as error:  # the other tokens are given back nevertheless
            outcomes.append(error)
    for outcome in outcomes:
        if isinstance(outcome, TokenError):
            raise outcome
    return all(outcomes)


class _Asker(NamedTuple):
    settings: Settings
    metadata: Metadata
    lender: requests.Session | None

    def ask(self, hint: str, secret: Secret) -> bool | BaseException:
        """Revoke one token; tell whether there is an endpoint for that, or give the error, without frames."""
        try:
            return self._ask(hint, secret)
        except BaseException as error:  # noqa: BLE001  # it is raised as it is
            return without_frames(error)

    def _ask(self, hint: str, secret: Secret) -> bool | BaseException:
        grant, url = self.settings.grant, self.metadata.revocation_endpoint
        try:
            proof = grant.authentication.prove(grant.client_id, self.metadata.token_endpoint)
        except ValueError as error:
            return TokenError(f"no token can be revoked: {error}")
        text = secret.reveal()
        redactor = Redactor((*proof.secrets, text), grant.identity)
        named = {"client_id": grant.client_id} if proof.basic is None else {}
        data = {"token": text, "token_type_hint": hint, **named, **proof.form}
        timeout = self.settings.token_timeout
        answer = exchange(
            "POST", url, lender=self.lender, timeout=timeout, redactor=redactor, data=data, basic=proof.basic
        )
        return answer if isinstance(answer, BaseException) else self._meaning(answer, redactor)

    def _meaning(self, answer: requests.Response, redactor: Redactor) -> bool | TokenError:
        if answer.status_code < 300:
            return True
        if answer.status_code == requests.codes.not_found and not self.settings.environment.discovery:
            return False  # it is where it would be, if there were one
        error = _error_of(answer)
        if error in _HARMLESS:
            return True
        kind, advice = TokenError, "see the error code in RFC 7009, section 2.2.1, or ask Aritma"
        if answer.status_code < 400:
            advice = "it answered with a redirect, and none is followed with a secret; check environment and tenant"
        elif answer.status_code in TRANSIENT:
            kind, advice = TokenEndpointUnavailable, "try again later"
        elif error == "invalid_client":
            kind, advice = CredentialsRefused, self.settings.grant.authentication.advice
        said = f", {redactor.line(error)}" if error else ""
        message = f"Aritma ID at {self.metadata.revocation_endpoint} revoked no token (HTTP {answer.status_code}{said})"
        return kind(f"{message}: {advice}", error=error and redactor.line(error), response=redactor.response(answer))


def _error_of(answer: requests.Response) -> str | None:
    try:
        error = json.loads(answer.content).get("error")
    except (ValueError, AttributeError, RecursionError):
        return None
    return error if isinstance(error, str) else None
