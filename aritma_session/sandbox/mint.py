"""Make tokens, and judge them, with a key made on the spot."""

from __future__ import annotations

import math
import secrets
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BadToken", "Mint"]

REQUIRED = ["iss", "aud", "exp", "nbf", "iat", "jti"]


class BadToken(Exception):
    """Refuse an access token; the text is the reason."""


class Mint:
    """Make JWTs: access tokens (RFC 9068) and id_tokens; any thread may call any method.

    :param issuer: the URL below which all issuers are.
    """

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key_id = secrets.token_hex(8)
        self._lock = threading.Lock()  # guards the good tokens
        self._good: dict[str, float] = {}  # by their ids: when they expire, in seconds since the epoch

    @property
    def keys(self) -> dict[str, object]:
        """The public keys (RFC 7517 section 5)."""
        public = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": self._key_id, "use": "sig", "alg": "RS256"}]}

    def access_token(self, claims: Mapping[str, object], lifetime: int) -> str:
        """Make an access token.

        :param claims: its issuer, client, scope and, where there is one, user.
        :param lifetime: seconds that it lives.
        """
        now = time.time()
        expires_at, jti = now + lifetime, uuid.uuid4().hex
        dated = {
            **claims,
            "aud": self._audience,
            "nbf": int(now),
            "iat": int(now),
            "exp": math.ceil(expires_at),  # whole seconds, and none too few: `judge` knows better
            "jti": jti,
        }
        with self._lock:
            self._good[jti] = expires_at
        return self._sign(dated, "at+jwt")

    def id_token(self, claims: Mapping[str, object], lifetime: int) -> str:
        """Make an id_token (OpenID Connect Core section 2).

        :param claims: all claims but its end.
        :param lifetime: seconds that it lives.
        """
        return self._sign({**claims, "exp": math.ceil(time.time() + lifetime)}, "JWT")

    def judge(self, token: str) -> dict[str, Any]:
        """Judge an access token as an API does (RFC 9068 section 4).

        :returns: the claims of a good one.
        :raises BadToken: it is not good.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["RS256"],
                audience=self._audience,
                options={"require": REQUIRED},
            )
        except jwt.ExpiredSignatureError:
            raise BadToken("The token expired") from None
        except jwt.InvalidTokenError:
            raise BadToken("The token is not valid") from None
        # A tenant's tokens name the tenant's issuer.
        if not f"{claims['iss']}/".startswith(f"{self._issuer}/"):
            raise BadToken("The token is from another issuer")
        if jwt.get_unverified_header(token).get("typ") != "at+jwt":
            raise BadToken("The token is not an access token")
        with self._lock:
            expires_at = self._good.get(claims["jti"])
        if expires_at is None:
            raise BadToken("The token was revoked")
        if time.time() >= expires_at:
            raise BadToken("The token expired")
        return claims

    def revoke(self, jti: str) -> None:
        """Refuse one access token, from now on."""
        with self._lock:
            self._good.pop(jti, None)

    def revoke_all(self) -> None:
        """Refuse all access tokens made so far."""
        with self._lock:
            self._good.clear()

    @property
    def _audience(self) -> str:
        return f"{self._issuer}/resources"

    def _sign(self, claims: dict[str, object], kind: str) -> str:
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"typ": kind, "kid": self._key_id})
