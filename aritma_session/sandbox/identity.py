"""Play Aritma ID: give tokens to clients and users, revoke them, and describe the server."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from oauthlib.oauth2 import InvalidRequestError, OAuth2Error, RevocationEndpoint
from oauthlib.openid import UserInfoEndpoint

from .authorization import RESPONSE_MODES, Authorization
from .clients import AUTH_METHODS, SIGNING_ALGORITHMS, is_basic
from .endpoints import Hidden, token_endpoint
from .faults import Answer
from .grants import Grants
from .mint import BadToken, Mint
from .page import error_page
from .users import IDENTITY_SCOPES
from .validator import RESPONSE_TYPES, Records, Terms, Validator, Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .clients import Clients
    from .ledger import Ledger, Request
    from .users import Users

__all__ = ["GRANTS", "PUBLIC_GRANTS", "Identity"]

GRANTS = ("authorization_code", "client_credentials", "implicit", "password", "refresh_token")
PUBLIC_GRANTS = ("authorization_code", "implicit", "refresh_token")
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
        endpoint = token_endpoint(Validator(self._records, self._visit(request, terms)), terms.lifetime)
        answer = _answer(endpoint.create_token_response, self._url(request), request)
        if answer.status == HTTPStatus.OK:
            self._ledger.count(tokens=1, refreshes=("grant_type", "refresh_token") in _form(request))
        return answer

    def answer_authorize_request(
        self,
        request: Request,
        terms: Terms,
        fields: Mapping[str, object] | None = None,
        refusal: Mapping[str, str] | None = None,
    ) -> Answer:
        """Answer a request to the authorize endpoint: a client's, by GET, or the login page's own, by POST.

        :param terms: what is granted.
        :param fields: other parameters for the client than those it would get; ``None`` takes one out.
        :param refusal: the error that the client gets, whatever it asks for.
        """
        if request.method not in {"GET", "POST"}:
            return error_page("The authorize endpoint takes a GET")
        query, users = parse_qsl(request.query), self._records.users
        mfa = "mfa" in dict(query).get("acr_values", "").split()
        sign_in = users.recognise(request.headers.get("cookie", ""))
        if sign_in is None and terms.signed_in:
            sign_in = users.signed_in(mfa=mfa)
        visit = self._visit(request, terms)._replace(sign_in=sign_in, mfa=mfa)
        form = dict(_form(request)) if request.method == "POST" else None
        answer, granted = Authorization(self._records, visit, query, fields).answer(form, refusal)
        self._ledger.count(logins=bool(granted), tokens="access_token" in granted)
        return answer

    def answer_userinfo_request(self, request: Request) -> Answer:
        """Tell a client about the user (OpenID Connect Core section 5.3)."""
        endpoint = UserInfoEndpoint(Validator(self._records, self._visit(request, Terms())))
        try:
            given, body, status = endpoint.create_userinfo_response(
                self._issuer + request.path, headers=_credentials(request)
            )
        except OAuth2Error as refused:
            # A request without a token is told no error (RFC 6750 section 3.1).
            named = f' error="{refused.error}"' if "authorization" in request.headers else ' realm="Aritma ID sandbox"'
            given, body, status = {**UNCACHED, "WWW-Authenticate": "Bearer" + named}, refused.json, refused.status_code
        return Answer(status, body.encode(), given)

    def answer_revocation_request(self, request: Request) -> Answer:
        """Answer a request to the revocation endpoint (RFC 7009 section 2)."""
        endpoint = RevocationEndpoint(Validator(self._records, self._visit(request, Terms())))
        answer = _answer(endpoint.create_revocation_response, self._url(request), request)
        self._ledger.count(revocations=answer.status == HTTPStatus.OK)
        return answer

    def answer_discovery(self, request: Request, terms: Terms) -> Answer:
        """Describe the server (RFC 8414, OpenID Connect Discovery), or show its public keys (RFC 7517).

        :param terms: what is granted.
        """
        if request.method not in {"GET", "HEAD"}:
            return Answer.error(404)
        base, _, rest = request.path.partition("/.well-known/")
        if rest.endswith("/jwks"):
            return Answer.json(self._records.mint.keys)
        issuer = self._issuer + base
        scopes = self._records.clients.confidential.scopes
        description = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/connect/authorize",
            "token_endpoint": f"{issuer}/connect/token",
            "revocation_endpoint": f"{issuer}/connect/revocation",
            "userinfo_endpoint": f"{issuer}/connect/userinfo",
            "jwks_uri": f"{issuer}/.well-known/openid-configuration/jwks",
            "grant_types_supported": GRANTS,
            "response_types_supported": RESPONSE_TYPES,
            "response_modes_supported": RESPONSE_MODES,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": terms.send_iss,
            "token_endpoint_auth_methods_supported": AUTH_METHODS,
            "token_endpoint_auth_signing_alg_values_supported": SIGNING_ALGORITHMS,
            "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
            "revocation_endpoint_auth_signing_alg_values_supported": SIGNING_ALGORITHMS,
            "scopes_supported": [*scopes, *IDENTITY_SCOPES],
            "prompt_values_supported": ["none", "login"],
            "acr_values_supported": ["mfa"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["sub", "name", "email", "auth_time", "acr", "amr", "nonce"],
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
        for known in (self._records.clients, self._records.users, self._records.grants):
            known.forget()

    def _visit(self, request: Request, terms: Terms) -> Visit:
        issuer = self._issuer + request.path.rpartition("/connect/")[0]
        return Visit(issuer, self._issuer + request.path, terms, request.certificate)

    def _url(self, request: Request) -> str:
        return f"{self._issuer}{request.path}" + (f"?{request.query}" if request.query else "")


def _answer(respond: Callable[..., tuple[dict[str, str], str, int]], url: str, request: Request) -> Answer:
    """Let an endpoint of oauthlib answer a request that a client authenticates in."""
    form = Hidden(urlencode(_form(request)))
    try:
        given, body, status = respond(url, request.method, form, _credentials(request))
    except OAuth2Error as refused:  # the method, parameters in the URL, or a grant that was spent meanwhile
        given, body, status = dict(UNCACHED), refused.json, refused.status_code
    except ValueError:  # a query that is none, whose text oauthlib puts into its message
        given, body, status = dict(UNCACHED), InvalidRequestError("The query is malformed").json, 400
    # oauthlib names Bearer, which is for resources; RFC 6749 section 5.2 wants the scheme that the client used.
    given.pop("WWW-Authenticate", None)
    if status == HTTPStatus.UNAUTHORIZED and is_basic(request.headers.get("authorization", "")):
        given["WWW-Authenticate"] = 'Basic realm="Aritma ID sandbox", charset="UTF-8"'
    return Answer(status, body.encode(), given)


def _credentials(request: Request) -> dict[str, str]:
    """Take out the one header field that oauthlib needs, under the name by which it keeps it out of its log."""
    return {name.title(): value for name, value in request.headers.items() if name == "authorization"}


def _form(request: Request) -> list[tuple[str, str]]:
    """Take the form out of a request, without parameters that have no value (RFC 6749 section 3.2)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return []
    return parse_qsl(request.body.decode("utf-8", "replace"))
