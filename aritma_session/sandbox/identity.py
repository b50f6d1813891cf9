"""Play Aritma ID: issue tokens to one client, publish the keys, judge the tokens."""

from __future__ import annotations

import base64
import hmac
import json
import math
import re
import secrets
import threading
import time
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote_plus, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from oauthlib.oauth2 import (
    BackendApplicationServer,
    InvalidRequestError,
    OAuth2Error,
    RequestValidator,
)

from .faults import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oauthlib.common import Request as OAuthRequest

    from .ledger import Request

__all__ = ["Client", "Identity"]

GRANT = "client_credentials"
DISCOVERY_PATH = re.compile(r"(?P<base>(?:/[^/]+)?)/\.well-known/openid-configuration(?P<keys>/jwks)?")


@dataclass(frozen=True)
class Client:
    """Hold the one client that Aritma ID knows.

    :param client_id: its id.
    :param client_secret: its secret.
    :param scopes: what it may ask for, and what it gets where it asks for nothing.
    """

    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...] = ()

    def proves(self, client_id: str, client_secret: str) -> bool:
        """Tell whether these are its credentials."""
        given = json.dumps([client_id, client_secret]).encode()
        return hmac.compare_digest(given, json.dumps([self.client_id, self.client_secret]).encode())


class Identity:
    """Issue JWT access tokens (RFC 9068) from a key made on the spot; any thread may call any method.

    :param issuer: the URL that everything is served below.
    :param client: the client that may have tokens.
    """

    def __init__(self, issuer: str, client: Client) -> None:
        self._issuer = issuer
        self._client = client
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key_id = secrets.token_hex(8)
        self._lock = threading.Lock()  # guards the good tokens
        self._good: dict[str, float] = {}  # by their ids: when they expire, in seconds since the epoch

    def answer_token_request(self, request: Request, lifetime: int) -> Answer:
        """Answer a request to the token endpoint (RFC 6749 sections 4.4 and 5).

        :param lifetime: seconds that a token lives which is granted.
        :returns: a token, or the refusal that section 5.2 lays down.
        """
        uri = f"{self._issuer}{request.path}" + (f"?{request.query}" if request.query else "")
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"}
        try:
            given, body, status = self._endpoint(lifetime).create_token_response(
                uri, cast("Any", request.method), _form(request), dict(request.headers)
            )
        except OAuth2Error as refused:  # the method, or parameters in the URL
            given, body, status = headers, refused.json, refused.status_code
        except ValueError:  # a query that is none, whose text oauthlib puts into its message
            given, body, status = headers, InvalidRequestError("The query is malformed").json, 400
        # oauthlib names Bearer, which is for resources; section 5.2 wants the scheme that the client used.
        given.pop("WWW-Authenticate", None)
        if status == HTTPStatus.UNAUTHORIZED and _is_basic(request.headers.get("authorization", "")):
            given["WWW-Authenticate"] = 'Basic realm="Aritma ID sandbox", charset="UTF-8"'
        return Answer(status, body.encode(), given)

    def answer_discovery(self, path: str) -> Answer | None:
        """Describe the server, or show its public keys (RFC 8414, RFC 7517).

        :param path: the path of the request, with a tenant or without.
        :returns: the answer, or ``None`` where the path is neither of the two.
        """
        match = DISCOVERY_PATH.fullmatch(path)
        if match is None:
            return None
        if match["keys"]:
            public = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
            return Answer.json({"keys": [{**public, "kid": self._key_id, "use": "sig", "alg": "RS256"}]})
        issuer = self._issuer + match["base"]
        description = {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/connect/token",
            "jwks_uri": f"{issuer}/.well-known/openid-configuration/jwks",
            "grant_types_supported": [GRANT],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "scopes_supported": list(self._client.scopes),
        }
        return Answer.json(description)

    def refusal(self, token: str) -> str | None:
        """Judge an access token as an API does (RFC 9068 section 4).

        :returns: ``None`` for a good token, else the reason why it is refused.
        """
        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["RS256"],
                audience=self._audience,
                options={"require": ["iss", "aud", "exp", "nbf", "iat", "jti"]},
            )
        except jwt.ExpiredSignatureError:
            return "The token expired"
        except jwt.InvalidTokenError:
            return "The token is not valid"
        # A tenant's tokens name the tenant's issuer.
        if not f"{claims['iss']}/".startswith(f"{self._issuer}/"):
            return "The token is from another issuer"
        if jwt.get_unverified_header(token).get("typ") != "at+jwt":
            return "The token is not an access token"
        with self._lock:
            expires_at = self._good.get(claims["jti"])
        if expires_at is None:
            return "The token was revoked"
        return None if time.time() < expires_at else "The token expired"

    def revoke_all(self) -> None:
        """Refuse all tokens issued so far."""
        with self._lock:
            self._good.clear()

    @property
    def _audience(self) -> str:
        return f"{self._issuer}/resources"

    def _endpoint(self, lifetime: int) -> BackendApplicationServer:
        # A callable, since oauthlib takes a 0 for no lifetime at all.
        endpoint = BackendApplicationServer(_Validator(self._client), self._issue, lambda _request: lifetime)
        # oauthlib logs the whole answer at DEBUG; a token modifier is its own way to change what that shows.
        endpoint.grant_types[GRANT].register_token_modifier(_Unprinted)
        return endpoint

    def _issue(self, request: OAuthRequest) -> str:
        now = time.time()
        expires_at = now + int(request.expires_in or 0)
        claims = {
            "iss": request.uri.removesuffix("/connect/token"),
            "aud": self._audience,
            "client_id": request.client_id,
            "scope": request.scopes,
            "nbf": int(now),
            "iat": int(now),
            "exp": math.ceil(expires_at),  # whole seconds, and none too few: `refusal` knows better
            "jti": uuid.uuid4().hex,
        }
        with self._lock:
            self._good[str(claims["jti"])] = expires_at
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"typ": "at+jwt", "kid": self._key_id})


class _Validator(RequestValidator):
    """Tell oauthlib who the client is and what it may have."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def authenticate_client(self, request: OAuthRequest, *_args: object, **_kwargs: object) -> bool:
        """Check the pair in the form body, or in HTTP Basic (RFC 6749 section 2.3.1)."""
        header = request.headers.get("authorization", "")
        given = request.client_id or "", request.client_secret or ""
        if _is_basic(header):
            if request.client_secret is not None:
                raise InvalidRequestError("The client authenticates in two ways at once", request=request)
            given = _basic_pair(header)
        request.client = SimpleNamespace(client_id=given[0])
        return self._client.proves(*given) and request.client_id in {None, given[0]}

    def validate_grant_type(self, *_args: object, **_kwargs: object) -> bool:
        """Allow the one grant there is, which oauthlib has checked already."""
        return True

    def get_default_scopes(self, *_args: object, **_kwargs: object) -> list[str]:
        """Grant all that is allowed to a client that names no scope (RFC 6749 section 3.3)."""
        return list(self._client.scopes)

    def validate_scopes(
        self,
        client_id: str,  # noqa: ARG002  # the name is oauthlib's
        scopes: list[str],
        *_args: object,
        **_kwargs: object,
    ) -> bool:
        """Allow the client's scopes and no other."""
        return set(scopes) <= set(self._client.scopes)

    def save_token(self, *_args: object, **_kwargs: object) -> None:
        """Keep nothing: a token says all there is to know about it."""


class _Unprinted(dict[str, Any]):
    """Hold a token answer without showing it."""

    def __init__(self, token: Mapping[str, Any], *_: object) -> None:
        super().__init__(token)

    def __repr__(self) -> str:
        return "<token>"


def _form(request: Request) -> str:
    """Take the form out of a request, without parameters that have no value (RFC 6749 section 3.2)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return ""
    return urlencode(parse_qsl(request.body.decode("utf-8", "replace")))


def _is_basic(header: str) -> bool:
    return header.lower().startswith("basic ")


def _basic_pair(header: str) -> tuple[str, str]:
    try:
        name, _, password = base64.b64decode(header[6:].strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(name), unquote_plus(password)
