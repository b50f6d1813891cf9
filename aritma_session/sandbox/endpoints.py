"""Build oauthlib's endpoints for one request, so that they log nothing secret."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

from oauthlib import oauth2
from oauthlib.oauth2 import (
    AuthorizationEndpoint,
    BearerToken,
    ClientCredentialsGrant,
    OAuth2Token,
    ResourceOwnerPasswordCredentialsGrant,
    TokenEndpoint,
)
from oauthlib.openid.connect.core.grant_types import (
    AuthorizationCodeGrant,
    GrantTypeBase,
    ImplicitGrant,
    RefreshTokenGrant,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .validator import Validator

__all__ = ["Hidden", "authorization_endpoint", "token_endpoint"]


def authorization_endpoint(validator: Validator, lifetime: int) -> AuthorizationEndpoint:
    """Build the authorize endpoint, for the authorization codes and the implicit grant.

    :param lifetime: seconds that a token lives.
    """
    with_id_token = _ImplicitGrant(validator)
    types = {
        "code": _CodeGrant(validator),
        "token": oauth2.ImplicitGrant(validator),
        "id_token token": with_id_token,
        "token id_token": with_id_token,
    }
    return AuthorizationEndpoint("code", cast("Any", _Bearer.made_by(validator, lifetime)), types)


def token_endpoint(validator: Validator, lifetime: int) -> TokenEndpoint:
    """Build the token endpoint, for all grants but the implicit one.

    :param lifetime: seconds that a token lives.
    """
    credentials = ClientCredentialsGrant(validator)
    # oauthlib logs the whole answer at DEBUG; a token modifier is its own way to change what that shows.
    credentials.register_token_modifier(_Unprinted)
    refresh = RefreshTokenGrant(validator)
    refresh.custom_validators.pre_token.append(_hide_refresh_token)
    refresh.custom_validators.post_token.append(validator.spend_refresh_token)
    refresh.register_token_modifier(_Unprinted)
    grants = {
        "authorization_code": _CodeGrant(validator),
        "client_credentials": credentials,
        "password": _PasswordGrant(validator),
        "refresh_token": refresh,
    }
    return TokenEndpoint("client_credentials", cast("Any", _Bearer.made_by(validator, lifetime)), grants)


class _Bearer(BearerToken):
    """Make the tokens of an answer."""

    @classmethod
    def made_by(cls, validator: Validator, lifetime: int) -> _Bearer:
        # A callable, since oauthlib takes a 0 for no lifetime at all.
        return cls(validator, validator.access_token, lambda _request: lifetime, validator.refresh_token)

    def create_token(self, request: Any, refresh_token: bool = False, **kwargs: Any) -> OAuth2Token:
        """Make them, with a refresh token only where the user granted that."""
        granted = request.grant_type == "refresh_token" or "offline_access" in request.scopes
        return super().create_token(request, refresh_token and granted, **kwargs)


class _PlainCodeGrant(oauth2.AuthorizationCodeGrant):
    def create_authorization_code(self, request: Any) -> dict[str, str]:  # noqa: ARG002  # the name is oauthlib's
        """Make a code, without a line about it in the log, which oauthlib's own writes."""
        return _Unprinted({"code": secrets.token_urlsafe(32)})


class _CodeGrant(AuthorizationCodeGrant):
    """Be oauthlib's grant on top of one that logs no code, in place of the one that it makes for itself."""

    def __init__(self, validator: Validator) -> None:
        self.proxy_target = _PlainCodeGrant(validator)
        self.custom_validators.post_auth.extend([self.openid_authorization_validator, validator.check_challenge])
        self.custom_validators.post_token.append(validator.spend_code)
        self.register_token_modifier(self.add_id_token)
        self.register_token_modifier(_Unprinted)


class _ImplicitGrant(ImplicitGrant):
    def register_response_type(self, response_type: str) -> None:
        """Add it to this grant; oauthlib's own method adds it to all that there are and will be."""
        self.proxy_target.response_types = [*self.proxy_target.response_types, response_type]


class _PasswordGrant(GrantTypeBase):
    """Add an id_token to what the password grant gives, as oauthlib does for the other grants."""

    def __init__(self, validator: Validator) -> None:
        self.proxy_target = ResourceOwnerPasswordCredentialsGrant(validator)

    def create_token_response(self, request: Any, token_handler: BearerToken) -> object:
        # This grant tells its modifiers the token and nothing else.
        self.register_token_modifier(lambda token: self.add_id_token(token, token_handler, request))
        self.register_token_modifier(_Unprinted)
        return self.proxy_target.create_token_response(request, token_handler)


class _Unprinted(dict[str, Any]):
    """Hold an answer without showing it."""

    def __init__(self, answer: Mapping[str, Any], *_: object) -> None:
        super().__init__(answer)

    def __repr__(self) -> str:
        return "<token>"


class Hidden(str):
    """Hold a text without showing it, which oauthlib would do at DEBUG."""

    __slots__ = ()

    def __str__(self) -> str:
        return "<hidden>"

    __repr__ = __str__


def _hide_refresh_token(request: Any) -> None:
    if request.refresh_token is not None:
        request.refresh_token = Hidden(request.refresh_token)
