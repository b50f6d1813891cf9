"""Answer what oauthlib asks about one request to Aritma ID."""

# ruff: noqa: ARG002  # oauthlib passes by name too

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from oauthlib.oauth2 import InvalidGrantError, UnauthorizedClientError
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

__all__ = ["Records", "Terms", "Validator", "Visit"]


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
    :param rotate_refresh_tokens: whether a refresh token is good for one use only, which gives a new one.
    """

    lifetime: int = 3600
    rotate_refresh_tokens: bool = True


class Visit(NamedTuple):
    """Hold one request to Aritma ID.

    :param issuer: the issuer that it is for, with a tenant or without.
    :param endpoint: the URL that it was sent to, without a query.
    :param terms: what it is granted.
    :param certificate: the certificate that the client showed, in DER; empty where it showed none.
    """

    issuer: str
    endpoint: str
    terms: Terms
    certificate: bytes = b""


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
