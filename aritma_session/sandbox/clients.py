"""Know the clients of Aritma ID, and judge how they prove who they are."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from oauthlib.oauth2 import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Collection

    from oauthlib.common import Request as OAuthRequest

__all__ = ["AUTH_METHODS", "SIGNING_ALGORITHMS", "Client", "Clients", "is_basic"]

AUTH_METHODS = ["client_secret_post", "client_secret_basic", "private_key_jwt", "tls_client_auth", "none"]
RSA_ALGORITHMS, EC_ALGORITHMS = ["RS256", "PS256"], ["ES256"]
SIGNING_ALGORITHMS = RSA_ALGORITHMS + EC_ALGORITHMS
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_CLAIMS = ["iss", "sub", "aud", "exp", "jti"]
LONGEST_ASSERTION = 300  # seconds


@dataclass(frozen=True)
class Client:
    """Hold one client that Aritma ID knows.

    :param client_id: its id.
    :param client_secret: its secret. Empty: it is a public client, which has none (RFC 6749 section 2.1).
    :param scopes: what it may ask for, and what it gets where it asks for nothing.
    :param grants: the grants that it may use.
    """

    client_id: str
    client_secret: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()

    @property
    def public(self) -> bool:
        """Whether it keeps no secret."""
        return not self.client_secret

    def proves(self, client_id: str, client_secret: str) -> bool:
        """Tell whether these are its credentials."""
        given = json.dumps([client_id, client_secret]).encode()
        known = json.dumps([self.client_id, self.client_secret]).encode()
        return hmac.compare_digest(given, known) and not self.public


@dataclass(frozen=True)
class _Key:
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    algorithms: list[str]


class Clients:
    """Find and authenticate clients; any thread may call any method.

    :param confidential: the client that has a secret, and to whom keys and certificates are registered.
    :param public: the client that has none.
    """

    def __init__(self, confidential: Client, public: Client) -> None:
        self.confidential = confidential
        self._known = {client.client_id: client for client in (public, confidential)}
        self._lock = threading.Lock()  # guards everything below
        self._keys: list[_Key] = []
        self._subjects: set[str] = set()
        self._assertions: dict[str, float] = {}  # by their ids: when they expire, in seconds since the epoch

    def find(self, client_id: str | None) -> Client | None:
        """Find a client by its id."""
        return self._known.get(client_id or "")

    def register_key(self, pem: str | bytes) -> None:
        """Let the confidential client sign assertions with one more key.

        :param pem: the public key: RSA, or on the curve P-256.
        :raises ValueError: it is no such key. What was given is not shown, since it may be the private one.
        """
        try:
            public = serialization.load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
        except ValueError:
            raise ValueError("the key is not a public key in PEM") from None
        if isinstance(public, rsa.RSAPublicKey):
            key = _Key(public, RSA_ALGORITHMS)
        elif isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
            key = _Key(public, EC_ALGORITHMS)
        else:
            raise ValueError("the key is neither an RSA key nor one on the curve P-256")
        with self._lock:
            self._keys.append(key)

    def register_certificate(self, certificate: bytes) -> None:
        """Let the confidential client show one more certificate.

        :param certificate: the certificate in DER. It is known again by its subject (RFC 8705 section 2.1).
        """
        with self._lock:
            self._subjects.add(_subject(certificate))

    def forget(self) -> None:
        """Forget all keys and certificates that were registered, and all assertions that were seen."""
        with self._lock:
            self._keys.clear()
            self._subjects.clear()
            self._assertions.clear()

    def authenticate(self, request: OAuthRequest, certificate: bytes, audiences: Collection[str]) -> Client | None:
        """Find out which client sends a request to the token or the revocation endpoint.

        By its secret in the form body or in HTTP Basic (RFC 6749 section 2.3.1), by an assertion (RFC 7523 section
        2.2), by a certificate (RFC 8705 section 2.1), or, for a public client, by its id alone.

        :param certificate: the certificate that it showed, in DER; empty where it showed none. That the authority of
            the sandbox issued it was seen in the handshake.
        :param audiences: whom an assertion may be for.
        :returns: the client, or ``None`` for one that proves nothing.
        :raises InvalidRequestError: it authenticates in two ways at once (RFC 6749 section 2.3).
        """
        header = request.headers.get("authorization", "")
        assertion: str | None = getattr(request, "client_assertion", None)
        if is_basic(header) + (request.client_secret is not None) + (assertion is not None) > 1:
            raise InvalidRequestError("The client authenticates in two ways at once", request=request)
        if is_basic(header):
            client = self._by_secret(*_basic_pair(header))
        elif request.client_secret is not None:
            client = self._by_secret(request.client_id or "", request.client_secret)
        elif assertion is not None:
            client = self._by_assertion(getattr(request, "client_assertion_type", None), assertion, audiences)
        else:
            client = self._by_name(request.client_id, certificate)
        return client if client is None or request.client_id in {None, client.client_id} else None

    def _by_secret(self, client_id: str, client_secret: str) -> Client | None:
        client = self.find(client_id)
        return client if client is not None and client.proves(client_id, client_secret) else None

    def _by_name(self, client_id: str | None, certificate: bytes) -> Client | None:
        client = self.find(client_id)
        if client is None or client.public:
            return client
        with self._lock:
            registered = certificate and _subject(certificate) in self._subjects
        return client if registered else None

    def _by_assertion(self, kind: str | None, assertion: str, audiences: Collection[str]) -> Client | None:
        claims = self._claims(assertion, audiences)
        if kind != ASSERTION_TYPE or claims is None:
            return None
        now, jti, expires_at = time.time(), claims["jti"], int(claims["exp"])
        if claims["sub"] != self.confidential.client_id or expires_at > now + LONGEST_ASSERTION:
            return None
        if not (jti and isinstance(jti, str)):
            return None
        with self._lock:
            self._assertions = {seen: until for seen, until in self._assertions.items() if until > now}
            if jti in self._assertions:
                return None
            self._assertions[jti] = expires_at
        return self.confidential

    def _claims(self, assertion: str, audiences: Collection[str]) -> dict[str, Any] | None:
        """Read an assertion that one of the keys has signed (RFC 7523 section 3)."""
        with self._lock:
            keys = list(self._keys)
        for key in keys:
            try:
                return dict(
                    jwt.decode(
                        assertion,
                        key.public,
                        algorithms=key.algorithms,
                        audience=list(audiences),
                        issuer=self.confidential.client_id,
                        options={"require": ASSERTION_CLAIMS},
                    )
                )
            # PyJWT lets through what int() says of a time that is no number.
            except (jwt.PyJWTError, TypeError, OverflowError):
                continue
        return None


def is_basic(header: str) -> bool:
    """Tell whether an Authorization header field is one of HTTP Basic (RFC 7617 section 2)."""
    return header.lower().startswith("basic ")


def _basic_pair(header: str) -> tuple[str, str]:
    try:
        name, _, password = base64.b64decode(header[6:].strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(name), unquote_plus(password)


def _subject(certificate: bytes) -> str:
    return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
