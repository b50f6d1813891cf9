"""Make certificates: the server's, and those that clients show in mutual TLS."""

from __future__ import annotations

import secrets
import ssl
from typing import TYPE_CHECKING, NamedTuple

import trustme

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Authority", "ClientCertificate"]


class ClientCertificate(NamedTuple):
    """Hold a certificate that was made for a client.

    :param path: the PEM file with the certificate and its key, as the ``cert`` of requests wants it.
    :param data: the certificate in DER, as the server sees it.
    """

    path: str
    data: bytes


class Authority:
    """Be a certificate authority that nobody else knows.

    :param directory: where its files go, which nobody else may read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        bundle = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(bundle))
        self.bundle: str = str(bundle)

    def server_context(self) -> ssl.SSLContext:
        """Make the TLS context of a server on the loopback addresses.

        It asks clients for a certificate, and lets in those that show none; one of another authority ends the
        handshake (RFC 8446 section 4.4.2.4).
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
        self._authority.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client_certificate(self) -> ClientCertificate:
        """Issue a certificate for a client, with a subject that no other has."""
        name = f"client-{secrets.token_hex(8)}"
        issued = self._authority.issue_cert(common_name=name)
        path = self._directory / f"{name}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return ClientCertificate(str(path), ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode()))
