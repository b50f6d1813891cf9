"""Play Aritma ID: give tokens to clients and users, revoke them, and describe the server."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from oauthlib.oauth2 import InvalidRequestError, OAuth2Error, RevocationEndpoint

from .clients import AUTH_METHODS, SIGNING_ALGORITHMS, is_basic
from .endpoints import token_endpoint
from .faults import Answer
from .grants import Grants
from .mint import BadToken, Mint
from .users import IDENTITY_SCOPES
from .validator import Records, Terms, Validator, Visit

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clients import Clients
    from .ledger import Ledger, Request
    from .users import Users

__all__ = ["GRANTS", "PUBLIC_GRANTS", "Identity"]

GRANTS = ("client_credentials", "password", "refresh_token")
PUBLIC_GRANTS = ("refresh_token",)
UNCACHED = {"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"}


class Identity:
    """Serve the endpoints of Aritma ID; any thread may call any method.

    :param issuer: the URL that everything is served below.
    :param clients: the clients that may have tokens.
    :param users: the user who may sign in.
    :param ledger: where it is counted what is granted.
    """

    def __init__(self, issuer: str, clients: Clients, users: Users, ledger: Ledger) -> None:
        self._issuer = issuer
        self._records = Records(clients, users, Grants(), Mint(issuer))
        self._ledger = ledger

    def answer_token_request(self, request: Request, terms: Terms) -> Answer:
        """Answer a request to the token endpoint (RFC 6749 sections 4, 5 and 6).

        :param terms: what is granted.
        :returns: tokens, or the refusal that section 5.2 lays down.
        """
        endpoint = token_endpoint(self._validator(request, terms), terms.lifetime)
        answer = _answer(endpoint.create_token_response, self._url(request), request)
        if answer.status == HTTPStatus.OK:
            self._ledger.count(tokens=1, refreshes=("grant_type", "refresh_token") in _form(request))
        return answer

    def answer_revocation_request(self, request: Request) -> Answer:
        """Answer a request to the revocation endpoint (RFC 7009 section 2)."""
        endpoint = RevocationEndpoint(self._validator(request, Terms()))
        answer = _answer(endpoint.create_revocation_response, self._url(request), request)
        self._ledger.count(revocations=answer.status == HTTPStatus.OK)
        return answer

    def answer_discovery(self, request: Request) -> Answer:
        """Describe the server, or show its public keys (RFC 8414, RFC 7517)."""
        base, _, rest = request.path.partition("/.well-known/")
        if rest.endswith("/jwks"):
            return Answer.json(self._records.mint.keys)
        issuer = self._issuer + base
        scopes = self._records.clients.confidential.scopes
        description = {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/connect/token",
            "revocation_endpoint": f"{issuer}/connect/revocation",
            "jwks_uri": f"{issuer}/.well-known/openid-configuration/jwks",
            "grant_types_supported": list(GRANTS),
            "token_endpoint_auth_methods_supported": AUTH_METHODS,
            "token_endpoint_auth_signing_alg_values_supported": SIGNING_ALGORITHMS,
            "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
            "revocation_endpoint_auth_signing_alg_values_supported": SIGNING_ALGORITHMS,
            "scopes_supported": [*scopes, *IDENTITY_SCOPES],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return Answer.json(description)

    def refusal(self, token: str) -> str | None:
        """Judge an access token as an API does (RFC 9068 section 4).

        :returns: ``None`` for a good token, else the reason why it is refused.
        """
        try:
            self._records.mint.judge(token)
        except BadToken as bad:
            return str(bad)
        return None

    def revoke_all(self) -> None:
        """Refuse all access tokens issued so far."""
        self._records.mint.revoke_all()

    def revoke_refresh_tokens(self) -> None:
        """Refuse all refresh tokens issued so far."""
        self._records.grants.refresh_tokens.clear()

    def forget(self) -> None:
        """Forget all tokens, grants, sessions, keys and certificates."""
        self.revoke_all()
        for known in (self._records.clients, self._records.grants):
            known.forget()

    def _validator(self, request: Request, terms: Terms) -> Validator:
        issuer = self._issuer + request.path.rpartition("/connect/")[0]
        return Validator(self._records, Visit(issuer, self._issuer + request.path, terms, request.certificate))

    def _url(self, request: Request) -> str:
        return f"{self._issuer}{request.path}" + (f"?{request.query}" if request.query else "")


def _answer(respond: Callable[..., tuple[dict[str, str], str, int]], url: str, request: Request) -> Answer:
    """Let an endpoint of oauthlib answer a request that a client authenticates in."""
    form, headers = urlencode(_form(request)), dict(request.headers)
    try:
        given, body, status = respond(url, request.method, form, headers)
    except OAuth2Error as refused:  # the method, parameters in the URL, or a grant that was spent meanwhile
        given, body, status = dict(UNCACHED), refused.json, refused.status_code
    except ValueError:  # a query that is none, whose text oauthlib puts into its message
        given, body, status = dict(UNCACHED), InvalidRequestError("The query is malformed").json, 400
    # oauthlib names Bearer, which is for resources; RFC 6749 section 5.2 wants the scheme that the client used.
    given.pop("WWW-Authenticate", None)
    if status == HTTPStatus.UNAUTHORIZED and is_basic(request.headers.get("authorization", "")):
        given["WWW-Authenticate"] = 'Basic realm="Aritma ID sandbox", charset="UTF-8"'
    return Answer(status, body.encode(), given)


def _form(request: Request) -> list[tuple[str, str]]:
    """Take the form out of a request, without parameters that have no value (RFC 6749 section 3.2)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return []
    return parse_qsl(request.body.decode("utf-8", "replace"))
