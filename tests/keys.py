"""Private keys of all kinds, each made once for all tests, as the slow ones take a while."""

from __future__ import annotations

import functools

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

PASSPHRASE = "a passphrase of 26 letters"

KINDS = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "short RSA": lambda: rsa.generate_private_key(65537, 1024),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}

#: Formats of a private key: PKCS #8, and PKCS #1 or SEC 1.
PKCS8, TRADITIONAL, OPENSSH = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL, PrivateFormat.OpenSSH


@functools.cache
def key(kind="RSA"):
    """A private key, as cryptography has it."""
    return KINDS[kind]()


@functools.cache
def pem(kind="RSA", form=PKCS8, passphrase=None):
    """The same in PEM, encrypted where there is a passphrase."""
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key(kind).private_bytes(Encoding.PEM, form, encryption).decode()


@functools.cache
def public_pem(kind="RSA"):
    """Its public half in PEM."""
    return key(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def damaged(text):
    """A PEM text with another letter in the middle of each line, from the second on."""
    begin, *lines, end = text.splitlines()
    return "\n".join([begin, *(f"{line[:9]}!{line[10:]}" for line in lines), end])
