"""Look at an ``id_token``: that it answers this login, and no other (OpenID Connect Core 1.0).

Nothing of it is kept. It ties the tokens that come with it to the browser that was sent away.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import time
from typing import Any

__all__ = ["verify", "verify_signed"]

#: Seconds that the server's clock and this machine's may differ.
_LEEWAY = 60.0

#: The algorithms that are believed, with the hash of each (RFC 7518, section 3.1).
_ALGORITHMS = {"RS256": "sha256", "PS256": "sha256", "ES256": "sha256"}


def verify(id_token: object, *, issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """Look at one that came from the token endpoint, whose TLS vouches for it (section 3.1.3.7, number 6).

    :param id_token: the ``id_token``.
    :param issuer: who must have issued it.
    :param client_id: whom it must be for.
    :param nonce: what it was asked for with.
    :returns: its claims.
    :raises ValueError: when it is missing, or not as it must be. The message shows nothing of it.
    """
    if not isinstance(id_token, str):
        raise ValueError("the answer has no id_token, though the scope openid was asked for")
    try:
        claims = json.loads(_decoded(id_token.split(".")[1]))
    except (ValueError, IndexError, RecursionError):
        raise ValueError("its id_token is no JWT") from None
    if not isinstance(claims, dict):
        raise ValueError("its id_token is no JWT")
    audience = claims.get("aud")
    if claims.get("iss") != issuer:
        raise ValueError(f"its id_token is of another issuer than {issuer}")
    if client_id not in (audience if isinstance(audience, list) else [audience]):
        raise ValueError("its id_token is for another client")
    if claims.get("azp", client_id) != client_id or (
        isinstance(audience, list) and len(audience) > 1 and "azp" not in claims
    ):
        raise ValueError("its id_token was issued to another client")
    expires_at = claims.get("exp")
    if isinstance(expires_at, bool) or not isinstance(expires_at, (int, float)):
        raise ValueError("its id_token has no end")
    if not time.time() - _LEEWAY <= expires_at < math.inf:
        raise ValueError("its id_token has expired, or this machine's clock is wrong")
    if not (isinstance(claims.get("nonce"), str) and hmac.compare_digest(claims["nonce"].encode(), nonce.encode())):
        raise ValueError("its id_token answers another login (its nonce is another)")
    return claims


def verify_signed(id_token: object, keys: object, access_token: str, **expected: str) -> None:
    """Look at one that came through the browser, where only its signature vouches for it (section 3.2.2.11).

    :param keys: the issuer's keys, as a JSON Web Key Set (RFC 7517, section 5).
    :param access_token: what came along.
    :param expected: see :func:`verify`.
    :raises ValueError: as :func:`verify`; also when it is not signed by one of the keys, or not for the access token.
    """
    import jwt

    claims = verify(id_token, **expected)
    try:
        header = jwt.get_unverified_header(str(id_token))
        known = [
            key
            for key in jwt.PyJWKSet.from_dict(keys).keys  # type: ignore[arg-type]  # whatever it is, it says so
            if key.key_id == header.get("kid") and key.public_key_use in {None, "sig"}
        ]
        # Audience and end have been looked at.
        unlooked: Any = {"verify_aud": False, "verify_exp": False}
        jwt.decode(str(id_token), known[0], [*_ALGORITHMS], options=unlooked, leeway=_LEEWAY)
    except (jwt.PyJWTError, IndexError, TypeError, AttributeError, ValueError):
        raise ValueError("its id_token is not signed by its issuer") from None
    digest = hashlib.new(_ALGORITHMS[header["alg"]], access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")
    if claims.get("at_hash") != half:
        raise ValueError("its id_token came with another access token")


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
