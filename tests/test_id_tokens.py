"""An ``id_token`` is believed where all of it is as it must be."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from aritma_session.id_tokens import verify, verify_signed

EXPECTED = {"issuer": "https://id.example", "client_id": "client", "nonce": "once"}
TOKEN = "the.access.token"


def at_hash(text):
    half = hashlib.sha256(text.encode()).digest()[:16]
    return base64.urlsafe_b64encode(half).decode().rstrip("=")


def claims(**changes):
    good = {"iss": "https://id.example", "aud": "client", "exp": time.time() + 300, "nonce": "once"}
    changed = {**good, "at_hash": at_hash(TOKEN), **changes}
    return {name: value for name, value in changed.items() if value is not None}


def unsigned(**changes):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims(**changes))}."


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": ["client"]},
        {"aud": ["client"], "azp": "client"},
        {"aud": ["other", "client"], "azp": "client"},
    ],
)
def test_what_is_as_it_must_be_is_believed(changes):
    believed = verify(unsigned(**changes), **EXPECTED)
    assert {"iss": "https://id.example", "aud": "client", "nonce": "once", **changes}.items() <= believed.items()


def test_the_servers_clock_may_be_another():
    for late in (30, -30):
        verify(unsigned(exp=time.time() - late), **EXPECTED)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iss": "https://id.example/"}, "of another issuer"),
        ({"iss": None}, "of another issuer"),
        ({"aud": "other"}, "for another client"),
        ({"aud": ["other"]}, "for another client"),
        ({"aud": None}, "for another client"),
        ({"aud": {"client": 1}}, "for another client"),
        ({"aud": ["client", "other"]}, "issued to another client"),
        ({"azp": "other"}, "issued to another client"),
        ({"exp": None}, "has no end"),
        ({"exp": True}, "has no end"),
        ({"exp": "never"}, "has no end"),
        ({"exp": 0}, "has expired"),
        ({"exp": math.nan}, "has expired"),
        ({"exp": math.inf}, "has expired"),
        ({"nonce": "another"}, "answers another login"),
        ({"nonce": None}, "answers another login"),
        ({"nonce": 1}, "answers another login"),
    ],
)
def test_what_is_not_as_it_must_be_is_not_believed(changes, said):
    with pytest.raises(ValueError, match=said):
        verify(unsigned(**changes), **EXPECTED)


@pytest.mark.parametrize("text", [None, 7, "", "a", "a.b", "a.!!.c", "a.W10.c", "a." + "W" * 7 + ".c"])
def test_what_is_no_jwt_is_not_believed(text):
    with pytest.raises(ValueError, match=r"has no id_token|is no JWT"):
        verify(text, **EXPECTED)


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def keys(key):
    def keys(**changes):
        made = {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "k", "use": "sig", "alg": "RS256"}
        return {"keys": [{name: value for name, value in {**made, **changes}.items() if value is not None}]}

    return keys


def signed(key, algorithm="RS256", kid="k", **changes):
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": kid})


def test_what_its_issuer_has_signed_is_believed(key, keys):
    for more in ({}, {"use": None}, {"alg": None}):
        verify_signed(signed(key), keys(**more), TOKEN, **EXPECTED)
    verify_signed(signed(key, iat=time.time() + 30, nbf=time.time() + 30), keys(), TOKEN, **EXPECTED)


def test_what_nobody_has_signed_is_not_believed(key, keys):
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    wrong = [
        (unsigned(), keys()),
        (signed(other), keys()),
        (signed(key, kid="another"), keys()),
        (signed(key), keys(use="enc")),
        (signed(key), {"keys": []}),
        (signed(key), []),
        (signed(key), None),
        (jwt.encode(claims(), "x" * 32, algorithm="HS256", headers={"kid": "k"}), keys()),
    ]
    for id_token, known in wrong:
        with pytest.raises(ValueError, match="not signed by its issuer"):
            verify_signed(id_token, known, TOKEN, **EXPECTED)


def test_one_that_came_with_another_token_is_not_believed(key, keys):
    for changes in ({"at_hash": at_hash("another")}, {"at_hash": None}):
        with pytest.raises(ValueError, match="came with another access token"):
            verify_signed(signed(key, **changes), keys(), TOKEN, **EXPECTED)
