"""Answer what oauthlib asks about one request to Aritma ID."""

# ruff: noqa: ARG002  # oauthlib passes by name too

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from oauthlib.oauth2 import (
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    UnauthorizedClientError,
    UnsupportedResponseTypeError,
)
from oauthlib.openid import RequestValidator

from .grants import Grant
from .mint import BadToken
from .users import IDENTITY_SCOPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .clients import Clients
    from .grants import Grants
    from .mint import Mint
    from .users import SignIn, Users

__all__ = ["RESPONSE_TYPES", "Records", "Terms", "Validator", "Visit"]

RESPONSE_TYPES = ("code", "token", "id_token token")
# Any port and any path (RFC 8252 section 7.3).
LOOPBACK = re.compile(r"http://(?:127\.0\.0\.1|\[::1\])(?::[0-9]+)?(?:[/?].*)?")
CODE_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # of the method S256 (RFC 7636 section 4.2)
CODE_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # section 4.1


class Records(NamedTuple):
    """Hold all that Aritma ID knows."""

    clients: Clients
    users: Users
    grants: Grants
    mint: Mint


@dataclass(frozen=True)
class Terms:
    """Say what requests are granted.

    :param lifetime: seconds that a token lives.
    :param code_lifetime: seconds that an authorization code is good.
    :param rotate_refresh_tokens: whether a refresh token is good for one use only, which gives a new one.
    :param send_iss: whether the authorize endpoint says whose answer it is (RFC 9207).
    :param signed_in: whether the user counts as signed in in all browsers.
    """

    lifetime: int = 3600
    code_lifetime: float = 60.0
    rotate_refresh_tokens: bool = True
    send_iss: bool = True
    signed_in: bool = False


class Visit(NamedTuple):
    """Hold one request to Aritma ID.

    :param issuer: the issuer that it is for, with a tenant or without.
    :param endpoint: the URL that it was sent to, without a query.
    :param terms: what it is granted.
    :param certificate: the certificate that the client showed, in DER; empty where it showed none.
    :param sign_in: how the user is signed in in the browser that sent it, if at all.
    :param mfa: whether it asks for a second factor.
    """

    issuer: str
    endpoint: str
    terms: Terms
    certificate: bytes = b""
    sign_in: SignIn | None = None
    mfa: bool = False


class Validator(RequestValidator):
    """Tell oauthlib who the client and the user are and what they may have, for one request.

    :param records: what Aritma ID knows.
    :param visit: the request.
    """

    def __init__(self, records: Records, visit: Visit) -> None:
        self._records = records
        self._visit = visit
        self._grant: Grant | None = None  # what the code or the refresh token in the request stands for

    # Clients

    def authenticate_client(self, request: Any, *_args: object, **_kwargs: object) -> bool:
        """Find out which client it is; a public one proves nothing, and ``validate_grant_type`` looks at that."""
        visit = self._visit
        audiences = {visit.issuer, f"{visit.issuer}/connect/token", visit.endpoint}
        client = self._records.clients.authenticate(request, visit.certificate, audiences)
        if client is None:
            return False
        request.client, request.client_id = client, client.client_id
        return True

    def validate_grant_type(
        self,
        client_id: str,
        grant_type: str,
        client: Any,
        request: Any,
        *_args: object,
        **_kwargs: object,
    ) -> bool:
        """Allow the client's grants and no other."""
        return grant_type in client.grants

    def validate_client_id(self, client_id: str, request: Any, *_args: object, **_kwargs: object) -> bool:
        """Find out which client sends a user."""
        request.client = self._records.clients.find(client_id)
        return request.client is not None

    def validate_redirect_uri(
        self, client_id: str, redirect_uri: str, request: Any, *_args: object, **_kwargs: object
    ) -> bool:
        """Allow the loopback interface of the user's own machine and nothing else."""
        return LOOPBACK.fullmatch(redirect_uri) is not None

    def get_default_redirect_uri(self, *_args: object, **_kwargs: object) -> str:
        """Have none."""
        return ""

    def validate_response_type(
        self, client_id: str, response_type: str, client: Any, request: Any, *_args: object, **_kwargs: object
    ) -> bool:
        """Allow what Aritma ID has, of what oauthlib has.

        :raises UnsupportedResponseTypeError: it is something else.
        :raises InvalidScopeError: it needs the scope ``openid`` too (OpenID Connect Core section 3.2.2.1).
        """
        if " ".join(sorted(response_type.split())) not in RESPONSE_TYPES:
            raise UnsupportedResponseTypeError(request=request)
        if "id_token" in response_type and "openid" not in (request.scopes or ()):
            raise InvalidScopeError("An id_token needs the scope openid", request=request)
        return True

    # Scopes

    def get_default_scopes(self, client_id: str, *_args: object, **_kwargs: object) -> list[str]:
        """Grant all that is allowed to a client that names no scope (RFC 6749 section 3.3), but for the user's."""
        client = self._records.clients.find(client_id)
        return [] if client is None else list(client.scopes)

    def validate_scopes(
        self,
        client_id: str,
        scopes: list[str],
        client: Any,
        request: Any,
        *_args: object,
        **_kwargs: object,
    ) -> bool:
        """Allow the client's scopes, where there is a user the user's too, and no other."""
        users_own = () if request.grant_type == "client_credentials" else IDENTITY_SCOPES
        return set(scopes) <= {*client.scopes, *users_own}

    # Users

    def validate_user(
        self,
        username: str,
        password: str,
        client: Any,
        request: Any,
        *_args: object,
        **_kwargs: object,
    ) -> bool:
        """Sign the user in, for the password grant (RFC 6749 section 4.3)."""
        request.user = self._records.users.sign_in(username, password)
        return request.user is not None

    def validate_silent_login(self, request: Any) -> bool:
        """Tell whether the user is signed in, for a client that wants no page to be shown."""
        return self._visit.sign_in is not None

    def validate_silent_authorization(self, request: Any) -> bool:
        """Take it that a user who is signed in allows everything."""
        return True

    def validate_user_match(self, id_token_hint: str, scopes: object, claims: object, request: Any) -> bool:
        """Take it that a client means the one user there is."""
        return True

    # Authorization codes

    def is_pkce_required(self, client_id: str, request: Any) -> bool:
        """Ask it of the public client (RFC 8252 section 6)."""
        return bool(request.client.public)

    def check_challenge(self, request: Any) -> dict[str, object]:
        """Take S256 and nothing else.

        :raises InvalidRequestError: it is something else (RFC 7636 section 4.4.1).
        """
        challenge = request.code_challenge
        if challenge is not None and (
            request.code_challenge_method != "S256" or not CODE_CHALLENGE.fullmatch(challenge)
        ):
            raise InvalidRequestError("The code_challenge is not one of S256", request=request)
        return {}

    def save_authorization_code(
        self, client_id: str, code: Mapping[str, Any], request: Any, *_args: object, **_kwargs: object
    ) -> None:
        """Keep what a code stands for."""
        grant = Grant(
            self._visit.issuer,
            client_id,
            tuple(request.scopes),
            request.user,
            request.redirect_uri,
            request.code_challenge,
            request.nonce,
        )
        self._records.grants.codes.keep(code["code"], grant, self._visit.terms.code_lifetime)

    def validate_code(
        self, client_id: str, code: str, client: Any, request: Any, *_args: object, **_kwargs: object
    ) -> bool:
        """Find out what a code stands for, and whether it is this client's (RFC 6749 section 4.1.3)."""
        if not self._redeem(self._records.grants.codes.find(code), client, request):
            return False
        request.scopes = list(self._redeemed.scopes)
        return True

    def get_code_challenge(self, code: str, request: Any) -> Any:
        """Tell what the client must know the origin of, if anything."""
        return self._redeemed.code_challenge

    def get_code_challenge_method(self, code: str, request: Any) -> str:
        """Tell how that is made."""
        return "S256"

    def confirm_redirect_uri(
        self, client_id: str, code: str, redirect_uri: str, client: Any, request: Any, *_args: object, **_kwargs: object
    ) -> bool:
        """Compare the redirect URI with the one that the code was sent to.

        :raises InvalidGrantError: it is another one (RFC 6749 section 5.2; oauthlib says invalid_request).
        """
        if redirect_uri != self._redeemed.redirect_uri:
            raise InvalidGrantError("The redirect_uri is another one", request=request)
        return True

    def spend_code(self, request: Any) -> None:
        """Use up the code.

        :raises InvalidGrantError: another request was faster; or there is a code_verifier that is none (RFC 7636
            section 4.1) or that nothing in the authorization request asks for (RFC 9700 section 2.1.1).
        """
        verifier = request.code_verifier
        if verifier is not None and not (self._redeemed.code_challenge and CODE_VERIFIER.fullmatch(verifier)):
            raise InvalidGrantError("The code_verifier is not good", request=request)
        if not self._records.grants.codes.spend(request.code):
            raise InvalidGrantError(request=request)

    def invalidate_authorization_code(self, *_args: object, **_kwargs: object) -> None:
        """Leave it at that: the code has been spent before there were tokens for it."""

    def get_authorization_code_nonce(self, client_id: str, code: str, redirect_uri: str, request: Any) -> Any:
        """Give the nonce that the id_token is to repeat, if there is one."""
        return self._redeemed.nonce

    # Refresh tokens

    def validate_refresh_token(
        self, refresh_token: str, client: Any, request: Any, *_args: object, **_kwargs: object
    ) -> bool:
        """Find out what a refresh token stands for, and whether it is this client's (RFC 6749 section 6)."""
        return self._redeem(self._records.grants.refresh_tokens.find(refresh_token), client, request)

    def get_original_scopes(self, *_args: object, **_kwargs: object) -> list[str]:
        """Give the scopes that the user granted."""
        return list(self._redeemed.scopes)

    def rotate_refresh_token(self, request: Any) -> bool:
        """Tell whether a new refresh token is made; it is where there was none before."""
        return self._visit.terms.rotate_refresh_tokens or request.grant_type != "refresh_token"

    def spend_refresh_token(self, request: Any) -> None:
        """Use up the refresh token, where each use gives a new one.

        :raises InvalidGrantError: another request was faster.
        """
        if self.rotate_refresh_token(request) and not self._records.grants.refresh_tokens.spend(request.refresh_token):
            raise InvalidGrantError(request=request)

    # Tokens

    def access_token(self, request: Any) -> str:
        """Make the access token that a request is granted."""
        claims = {"iss": self._visit.issuer, "client_id": request.client_id, "scope": request.scopes}
        if request.user is not None:
            claims["sub"] = request.user.sub
        return self._records.mint.access_token(claims, self._visit.terms.lifetime)

    def refresh_token(self, request: Any) -> str:
        """Make the refresh token that a request is granted, for what the user granted (RFC 6749 section 6)."""
        token = secrets.token_urlsafe(32)
        grant = self._grant or Grant(self._visit.issuer, request.client_id, tuple(request.scopes), request.user)
        self._records.grants.refresh_tokens.keep(token, grant)
        return token

    def finalize_id_token(
        self, id_token: Mapping[str, object], token: object, token_handler: object, request: Any
    ) -> str:
        """Add to an id_token what oauthlib does not know, and sign it."""
        user: SignIn = request.user
        claims = {"iss": self._visit.issuer, **user.claims, **id_token}
        return self._records.mint.id_token(claims, self._visit.terms.lifetime)

    def save_token(self, *_args: object, **_kwargs: object) -> None:
        """Keep nothing: what makes a token keeps what there is to be kept."""

    def revoke_token(
        self,
        token: str,
        token_type_hint: str,
        request: Any,
        *_args: object,
        **_kwargs: object,
    ) -> None:
        """Revoke a token of the client's, of whichever kind (RFC 7009 section 2.1).

        :raises UnauthorizedClientError: the token is another client's.
        """
        refresh_tokens, mint = self._records.grants.refresh_tokens, self._records.mint
        grant = refresh_tokens.find(token)
        try:
            claims = mint.judge(token) if grant is None else {"client_id": grant.client_id, "jti": ""}
        except BadToken:
            return  # it is as good as revoked (section 2.2)
        if claims["client_id"] != request.client_id:
            raise UnauthorizedClientError("The token is another client's", request=request)
        refresh_tokens.spend(token)
        mint.revoke(claims["jti"])

    # Userinfo

    def validate_bearer_token(self, token: str, scopes: object, request: Any) -> bool:
        """Judge the access token, and tell oauthlib its scopes."""
        try:
            request.scopes = self._records.mint.judge(token)["scope"]
        except BadToken:
            return False
        return True

    def get_userinfo_claims(self, request: Any) -> dict[str, Any]:
        """Tell what the access token lets a client know about the user."""
        return self._records.users.user.claims(request.scopes)

    def _redeem(self, grant: Grant | None, client: Any, request: Any) -> bool:
        """Take it that the request is for this grant, if that is the client's."""
        if grant is None or (grant.client_id, grant.issuer) != (client.client_id, self._visit.issuer):
            return False
        self._grant, request.user = grant, grant.sign_in
        return True

    @property
    def _redeemed(self) -> Grant:
        assert self._grant is not None  # noqa: S101  # oauthlib asks for it only after it was found
        return self._grant
