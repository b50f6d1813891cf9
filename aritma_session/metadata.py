"""Where Aritma ID's endpoints are: as its documentation says, or as an issuer says of itself.

Aritma's two environments need no discovery. Any other issuer is asked for its metadata (OpenID Connect Discovery 1.0,
section 4; RFC 8414), which are kept for a day, beside the tokens.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any

from .environment import DEVELOPMENT, PRODUCTION, Environment, is_plain_https
from .forks import unforked
from .stores import DocumentStore, TokenStore
from .values import Value

if TYPE_CHECKING:
    import requests

__all__ = ["AuthorizationServer", "Metadata"]

_log = logging.getLogger("aritma_session")

#: Seconds for which an issuer's metadata are believed.
LIFETIME = 86400.0

_WELL_KNOWN = "/.well-known/openid-configuration"

#: The endpoints that are used, by their names in the metadata, with their paths at Aritma ID.
_PATHS = {
    "token_endpoint": "/connect/token",
    "authorization_endpoint": "/connect/authorize",
    "revocation_endpoint": "/connect/revocation",
    "jwks_uri": "/.well-known/openid-configuration/jwks",
}


#: What is kept of a server's metadata.
_KEPT = ("issuer", *_PATHS, "authorization_response_iss_parameter_supported")


class Metadata(Value):
    """Hold what is known of an authorization server (RFC 8414, section 2).

    :param issuer: what stands in ``iss``, with the tenant.
    :param token_endpoint: the URL of the token endpoint; empty where there is none, like the others.
    :param authorization_endpoint: the URL that a person logs in at.
    :param revocation_endpoint: the URL that tokens are revoked at.
    :param jwks_uri: the URL of the keys that an ``id_token`` is signed with.
    :param sends_issuer: whether an authorization response always names its issuer (RFC 9207, section 3).
    """

    __slots__ = (
        "issuer",
        "token_endpoint",
        "authorization_endpoint",
        "revocation_endpoint",
        "jwks_uri",
        "sends_issuer",
    )

    issuer: str
    token_endpoint: str
    authorization_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    sends_issuer: bool

    def __init__(
        self,
        issuer: str,
        token_endpoint: str,
        authorization_endpoint: str = "",
        revocation_endpoint: str = "",
        jwks_uri: str = "",
        sends_issuer: bool = False,
    ) -> None:
        self._set(issuer=issuer, token_endpoint=token_endpoint, authorization_endpoint=authorization_endpoint)
        self._set(revocation_endpoint=revocation_endpoint, jwks_uri=jwks_uri, sends_issuer=sends_issuer)

    @classmethod
    def documented(cls, environment: Environment) -> Metadata:
        """Give what Aritma's documentation says of its environments."""
        found: dict[str, Any] = {name: environment.tenant_issuer + path for name, path in _PATHS.items()}
        return cls(environment.tenant_issuer, **found)

    @classmethod
    def from_document(cls, document: object, environment: Environment) -> Metadata:
        """Read an issuer's metadata.

        :raises ValueError: when they are not this issuer's, or name no token endpoint, or one that is no https URL.
        """
        if not isinstance(document, dict):
            raise ValueError("they are no JSON object")
        if document.get("issuer") != environment.issuer:  # to the letter (OpenID Connect Discovery 1.0, section 4.3)
            raise ValueError(f"they are of another issuer than {environment.issuer}")
        found: dict[str, Any] = {name: _endpoint(name, document.get(name), environment) for name in _PATHS}
        if not found["token_endpoint"]:
            raise ValueError("they name no token_endpoint")
        sends_issuer = document.get("authorization_response_iss_parameter_supported") is True
        return cls(environment.tenant_issuer, **found, sends_issuer=sends_issuer)


def _endpoint(name: str, url: object, environment: Environment) -> str:
    if url is None:
        return ""
    if not isinstance(url, str) or not is_plain_https(url):
        raise ValueError(f"their {name} is no https URL")
    if any(f"{url}/".startswith(f"{own.issuer}/") for own in (PRODUCTION, DEVELOPMENT)):
        raise ValueError(f"their {name} is Aritma ID's, and they are of another issuer")  # tokens would go astray
    # A tenant stands between host and path.
    if environment.tenant and url.startswith(f"{environment.issuer}/"):
        return environment.tenant_issuer + url.removeprefix(environment.issuer)
    return url


class AuthorizationServer:
    """Know where one environment's endpoints are; find it out once a day, and only where it must be.

    :param environment: the environment.
    :param store: where tokens are shared; what was found out is kept there too, where it can be.
    :param timeout: seconds to connect and to be answered, as :class:`TokenEndpoint` has it.
    """

    def __init__(
        self,
        environment: Environment,
        store: TokenStore,
        timeout: tuple[float, float],
    ) -> None:
        self._environment = environment
        self._store = store if isinstance(store, DocumentStore) else None
        self._timeout = timeout
        self._known: tuple[Metadata, float] | None = None  # and when it was found out; swapped in one assignment
        self._key = hashlib.sha256(f"metadata of {environment.issuer}".encode()).hexdigest()[:40]

    def metadata(self, lender: requests.Session | None = None) -> Metadata:
        """Give what is known of the server, or find it out.

        :param lender: the session that is asked with.
        :raises TokenError: when it could not be found out.
        """
        if not self._environment.discovery:
            return Metadata.documented(self._environment)
        known = self._known
        if known is None or not self._fresh(known[1]):
            known = self._stored() or self._found_out(lender)
            # What nobody vouched for is not to be believed by others, nor later.
            self._known = known if lender is None or lender.verify is not False else None
        return known[0]

    def _fresh(self, found_at: float) -> bool:
        return 0 <= time.time() - found_at < LIFETIME

    def _stored(self) -> tuple[Metadata, float] | None:
        """Look whether another process has found out."""
        if self._store is None:
            return None
        try:
            record = json.loads(self._store.load_document(self._key) or b"{}")
            metadata, found_at = self._check(record["metadata"]), float(record["found_at"])
            return (metadata, found_at) if self._fresh(found_at) else None
        except Exception as error:  # noqa: BLE001  # whatever a store raises, or holds, it is asked again
            _log.debug("no metadata of %s are kept: %s", self._environment.issuer, type(error).__name__)
            return None

    def _found_out(self, lender: requests.Session | None) -> tuple[Metadata, float]:
        with unforked():  # requests comes with it
            from .discovery import find

        now = time.time()
        document = find(self._environment.issuer + _WELL_KNOWN, self._check, timeout=self._timeout, lender=lender)
        if lender is None or lender.verify is not False:
            self._keep({"found_at": now, "metadata": {name: document[name] for name in _KEPT if name in document}})
        return self._check(document), now

    def _check(self, document: object) -> Metadata:
        return Metadata.from_document(document, self._environment)

    def _keep(self, record: dict[str, Any]) -> None:
        if self._store is None:
            return
        try:
            self._store.save_document(self._key, json.dumps(record).encode())
        except Exception as error:  # noqa: BLE001  # as above; it is told where the token cannot be kept either
            _log.debug("the metadata of %s cannot be kept: %s", self._environment.issuer, type(error).__name__)
