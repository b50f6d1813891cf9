"""How a client proves at Aritma ID who it is, whatever it asks for (RFC 6749, section 2.3)."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, ClassVar, Protocol

from .credentials import PrivateKey, Secret
from .forks import unforked
from .values import Value

__all__ = [
    "ClientAuthentication",
    "ClientSecretBasic",
    "ClientSecretPost",
    "NoSecret",
    "PrivateKeyJwt",
    "Proof",
    "TlsClientAuth",
]

#: Seconds that a signed assertion is good for: it is used at once, and whoever gets hold of it has no longer than this.
ASSERTION_LIFETIME = 60

#: Bits of the shortest RSA key that may sign (RFC 7518, section 3.3).
_SHORTEST_RSA_KEY = 2048

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Proof(Value):
    """Hold what one request to Aritma ID proves the client with.

    :param form: form fields; ``client_id``, where there is no HTTP Basic, is not among them.
    :param basic: user name and password of HTTP Basic, where that is used.
    :param secrets: the texts that must not come back in an error message.
    """

    __slots__ = ("form", "basic", "secrets")

    form: dict[str, str]
    basic: tuple[str, str] | None
    secrets: tuple[str, ...]

    _hidden = frozenset({"form", "basic", "secrets"})

    def __init__(
        self, form: dict[str, str], basic: tuple[str, str] | None = None, secrets: tuple[str, ...] = ()
    ) -> None:
        self._set(form=form, basic=basic, secrets=secrets)


class ClientAuthentication(Protocol):
    """Prove who the client is, by one of the methods that RFC 7591, section 2, and OpenID Connect name."""

    method: ClassVar[str]

    #: What to do where Aritma ID answers ``invalid_client``.
    advice: ClassVar[str]

    def prove(self, client_id: str, audience: str) -> Proof:
        """Make the proof for one request.

        :param client_id: the client's id.
        :param audience: the URL of the token endpoint.
        :raises ValueError: when a credential cannot be read or used any more.
        """


_CHECK_PAIR = (
    "check client_id and client_secret (ARITMA_CLIENT_ID, ARITMA_CLIENT_SECRET), and that both belong to this "
    "environment (ARITMA_ENVIRONMENT)"
)


class ClientSecretPost(Value):
    """Send the secret in the form body (RFC 6749, section 2.3.1).

    :param client_secret: the client's secret.
    """

    __slots__ = ("client_secret",)

    client_secret: Secret

    method: ClassVar[str] = "client_secret_post"
    advice: ClassVar[str] = _CHECK_PAIR

    def __init__(self, client_secret: Secret) -> None:
        self._set(client_secret=client_secret)

    def prove(self, client_id: str, audience: str) -> Proof:  # noqa: ARG002  # it is the same everywhere
        secret = _reveal(self.client_secret)
        return Proof({"client_secret": secret}, secrets=(secret,))


class ClientSecretBasic(Value):
    """Send the pair as HTTP Basic, both halves in the encoding of forms first (RFC 6749, section 2.3.1).

    :param client_secret: the client's secret.
    """

    __slots__ = ("client_secret",)

    client_secret: Secret

    method: ClassVar[str] = "client_secret_basic"
    advice: ClassVar[str] = _CHECK_PAIR

    def __init__(self, client_secret: Secret) -> None:
        self._set(client_secret=client_secret)

    def prove(self, client_id: str, audience: str) -> Proof:  # noqa: ARG002  # it is the same everywhere
        from base64 import b64encode
        from urllib.parse import quote_plus

        secret = _reveal(self.client_secret)
        pair = quote_plus(client_id), quote_plus(secret)
        return Proof({}, pair, (secret, b64encode(":".join(pair).encode()).decode()))


class PrivateKeyJwt(Value):
    """Send a new JWT with each request, signed with the client's private key (RFC 7523, section 2.2).

    :param private_key: the key.
    :param algorithm: ``RS256``, ``PS256`` or ``ES256`` (RFC 7518, section 3.1); by the key's kind, where there is none.
    :param key_id: the ``kid`` that tells the server which of the client's keys it is; it need not be there.
    """

    __slots__ = ("private_key", "algorithm", "key_id")

    private_key: PrivateKey
    algorithm: str | None
    key_id: str | None

    method: ClassVar[str] = "private_key_jwt"
    advice: ClassVar[str] = (
        "check client_id and private_key (ARITMA_CLIENT_ID, ARITMA_PRIVATE_KEY_FILE), that Aritma has the key's public "
        "half, that they belong to this environment (ARITMA_ENVIRONMENT), and that this machine's clock is right"
    )

    #: The algorithms that a kind of key can sign with, the usual one first.
    ALGORITHMS: ClassVar[dict[str, tuple[str, ...]]] = {"RSA": ("RS256", "PS256"), "EC": ("ES256",)}

    def __init__(self, private_key: PrivateKey, algorithm: str | None = None, key_id: str | None = None) -> None:
        self._set(private_key=private_key, algorithm=algorithm, key_id=key_id)

    def prove(self, client_id: str, audience: str) -> Proof:
        with unforked():  # heavy, and many have a secret instead
            import jwt

        key, kind = _load(self.private_key)
        algorithm = self.algorithm or self.ALGORITHMS[kind][0]
        if algorithm not in self.ALGORITHMS[kind]:
            raise ValueError(f"{algorithm} is not for {_A_KEY[kind]}: leave token_endpoint_auth_signing_alg out")
        now = int(time.time())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "jti": os.urandom(16).hex(),
            "iat": now,
            "exp": now + ASSERTION_LIFETIME,
        }
        headers = {"kid": self.key_id} if self.key_id else None
        assertion = jwt.encode(claims, key, algorithm=algorithm, headers=headers)
        return Proof({"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}, secrets=(assertion,))


class TlsClientAuth(Value):
    """Let the certificate that the session's ``cert`` names prove it all (RFC 8705, section 2)."""

    __slots__ = ()

    method: ClassVar[str] = "tls_client_auth"
    advice: ClassVar[str] = (
        "check client_id (ARITMA_CLIENT_ID), that the session's cert is the certificate that Aritma knows, and that "
        "both belong to this environment (ARITMA_ENVIRONMENT)"
    )

    def prove(self, client_id: str, audience: str) -> Proof:  # noqa: ARG002
        return Proof({})


class NoSecret(Value):
    """Prove nothing: a program on a person's own machine can keep no secret (RFC 8252, section 8.4)."""

    __slots__ = ()

    method: ClassVar[str] = "none"
    advice: ClassVar[str] = (
        "check client_id (ARITMA_CLIENT_ID), whether it has a secret to be given (ARITMA_CLIENT_SECRET), and that it "
        "belongs to this environment (ARITMA_ENVIRONMENT)"
    )

    def prove(self, client_id: str, audience: str) -> Proof:  # noqa: ARG002
        return Proof({})


#: How messages call a kind of key.
_A_KEY = {"RSA": "an RSA key", "EC": "an elliptic-curve key"}


def _reveal(secret: Secret) -> str:
    try:
        return secret.reveal()
    except ValueError as error:
        message = f"the client secret cannot be used any more: {error} (see ARITMA_CLIENT_SECRET_FILE)"
    raise ValueError(message)


def _load(private_key: PrivateKey) -> tuple[Any, str]:
    """Give the key and its kind.

    :raises ValueError: when there is none to be had. It has no cause, in whose frames the key would stand.
    """
    with unforked():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key: Any = None
    try:
        pem, passphrase = private_key.reveal()
    except ValueError as error:
        raise ValueError(f"the private key cannot be used any more: {error} (see ARITMA_PRIVATE_KEY_FILE)") from None
    with contextlib.suppress(TypeError, ValueError, UnsupportedAlgorithm):
        key = load_pem_private_key(pem.encode(), passphrase.encode() if passphrase else None)
    if isinstance(key, RSAPrivateKey) and key.key_size >= _SHORTEST_RSA_KEY:
        return key, "RSA"
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return key, "EC"
    if key is None and passphrase:
        problem = (
            "the passphrase is wrong (private_key_passphrase, ARITMA_PRIVATE_KEY_PASSPHRASE), or the key is damaged"
        )
    elif key is None:
        problem = "it is damaged"
    else:
        problem = f"it must be an RSA key of at least {_SHORTEST_RSA_KEY} bits, or one on the curve P-256"
    raise ValueError(f"the private key (private_key, ARITMA_PRIVATE_KEY_FILE) cannot be used: {problem}")
