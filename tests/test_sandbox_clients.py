"""How clients prove to the sandbox who they are."""

from __future__ import annotations

import logging
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
import requests
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from aritma_session.sandbox import Counts, Sandbox

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
SECRET = {"client_id": "sandbox-client", "client_secret": "sandbox-secret-1234"}


@pytest.fixture
def http(sandbox):
    with requests.Session() as session:
        session.trust_env = False
        session.verify = sandbox.ca_bundle
        yield session


def public(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def private(key):
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def assertion(sandbox, key=RSA_KEY, algorithm="RS256", **changes):
    now = int(time.time())
    claims = {
        "iss": "sandbox-client",
        "sub": "sandbox-client",
        "aud": sandbox.token_endpoint,
        "iat": now,
        "exp": now + 60,
        "jti": uuid.uuid4().hex,
        **changes,
    }
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm)


def ask(http, sandbox, url=None, **form):
    return http.post(url or sandbox.token_endpoint, data={"grant_type": "client_credentials", **form})


def ask_with(http, sandbox, signed, url=None, **form):
    return ask(http, sandbox, url, **{"client_assertion_type": JWT_BEARER, "client_assertion": signed, **form})


def refusal(answer):
    return answer.status_code, answer.json()["error"]


# Assertions


@pytest.mark.parametrize(("key", "algorithm"), [(RSA_KEY, "RS256"), (RSA_KEY, "PS256"), (EC_KEY, "ES256")])
@pytest.mark.parametrize("text", [False, True])
def test_assertion(http, sandbox, key, algorithm, text):
    pem = public(key)
    sandbox.register_key(pem.decode() if text else pem)
    for client in ({}, {"client_id": "sandbox-client"}):
        answer = ask_with(http, sandbox, assertion(sandbox, key, algorithm), **client)
        assert answer.status_code == 200, answer.text
        assert jwt.decode(answer.json()["access_token"], options={"verify_signature": False})["client_id"] == (
            "sandbox-client"
        )
    assert sandbox.counts == Counts(token_requests=2, tokens=2)


def test_several_keys(http, sandbox):
    for key in (EC_KEY, RSA_KEY):
        sandbox.register_key(public(key))
    assert ask_with(http, sandbox, assertion(sandbox)).ok
    assert ask_with(http, sandbox, assertion(sandbox, EC_KEY, "ES256")).ok


def test_assertion_audiences(http, sandbox):
    sandbox.register_key(public(RSA_KEY))
    tenant = f"{sandbox.issuer}/tenant-1"
    for url, audience, status in [
        (sandbox.token_endpoint, sandbox.issuer, 200),
        (sandbox.token_endpoint, [sandbox.token_endpoint, "https://another.example"], 200),
        (f"{tenant}/connect/token", f"{tenant}/connect/token", 200),
        (f"{tenant}/connect/token", tenant, 200),
        (f"{tenant}/connect/token", sandbox.token_endpoint, 401),
        (sandbox.token_endpoint, f"{tenant}/connect/token", 401),
    ]:
        assert ask_with(http, sandbox, assertion(sandbox, aud=audience), url).status_code == status, (url, audience)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"sub": "other"},
        {"iss": None},
        {"sub": None},
        {"aud": None},
        {"exp": None},
        {"jti": None},
        {"jti": ""},
        {"jti": ["1"]},
        {"aud": "https://another.example"},
        {"exp": 1},
        {"exp": int(time.time()) + 10_000},
        {"exp": float("inf")},
        {"exp": []},
        {"nbf": 9_999_999_999},
    ],
)
def test_refused_assertions(http, sandbox, changes):
    sandbox.register_key(public(RSA_KEY))
    try:
        signed = assertion(sandbox, **changes)
    except TypeError:
        pytest.skip("this PyJWT does not make what it would not take")
    answer = ask_with(http, sandbox, signed)
    assert refusal(answer) == (401, "invalid_client")
    assert "WWW-Authenticate" not in answer.headers
    assert sandbox.counts == Counts(token_requests=1)


def test_an_assertion_lives_five_minutes_at_most(http, sandbox):
    sandbox.register_key(public(RSA_KEY))
    assert ask_with(http, sandbox, assertion(sandbox, exp=int(time.time()) + 300)).ok
    assert refusal(ask_with(http, sandbox, assertion(sandbox, exp=int(time.time()) + 302))) == (401, "invalid_client")


def test_an_assertion_is_good_once(http, sandbox):
    sandbox.register_key(public(RSA_KEY))
    signed = assertion(sandbox)
    assert ask_with(http, sandbox, signed).ok
    assert refusal(ask_with(http, sandbox, signed)) == (401, "invalid_client")
    assert ask_with(http, sandbox, assertion(sandbox)).ok


def test_an_assertion_is_good_for_one_of_many(sandbox):
    sandbox.register_key(public(RSA_KEY))
    signed = assertion(sandbox)

    def one(_):
        with requests.Session() as session:
            session.trust_env, session.verify = False, sandbox.ca_bundle
            return ask_with(session, sandbox, signed).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(one, range(8))) == [200] + [401] * 7


def test_foreign_signatures(http, sandbox):
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    sandbox.register_key(public(RSA_KEY))
    for signed in (
        assertion(sandbox, other),
        assertion(sandbox, EC_KEY, "ES256"),
        assertion(sandbox, RSA_KEY, "RS512"),
        assertion(sandbox, "s" * 32, "HS256"),
        assertion(sandbox, None, "none"),
        "rubbish",
    ):
        assert refusal(ask_with(http, sandbox, signed)) == (401, "invalid_client")


def test_an_assertion_comes_with_its_type_and_for_its_client(http, sandbox):
    sandbox.register_key(public(RSA_KEY))
    for form in ({"client_assertion_type": "other"}, {"client_assertion_type": None}, {"client_id": "sandbox-app"}):
        assert refusal(ask_with(http, sandbox, assertion(sandbox), **form)) == (401, "invalid_client")


def test_no_key_no_assertion(http, sandbox):
    sandbox.register_key(public(RSA_KEY))
    sandbox.reset()
    assert refusal(ask_with(http, sandbox, assertion(sandbox))) == (401, "invalid_client")


def test_two_ways_at_once(http, sandbox):
    sandbox.register_key(public(RSA_KEY))
    answer = ask_with(http, sandbox, assertion(sandbox), **SECRET)
    assert refusal(answer) == (400, "invalid_request")
    http.auth = ("sandbox-client", "sandbox-secret-1234")
    assert refusal(ask_with(http, sandbox, assertion(sandbox))) == (400, "invalid_request")


@pytest.mark.parametrize(
    "pem",
    [
        private(RSA_KEY),
        private(EC_KEY).decode(),
        "rubbish",
        b"\xff",
        public(ec.generate_private_key(ec.SECP384R1())),
        public(ed25519.Ed25519PrivateKey.generate()),
    ],
)
def test_other_keys(sandbox, pem):
    with pytest.raises(ValueError, match=r"^the key is ") as caught:
        sandbox.register_key(pem)
    assert str(caught.value) in {
        "the key is not a public key in PEM",
        "the key is neither an RSA key nor one on the curve P-256",
    }
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_key_can_be_registered_before_the_start():
    sandbox = Sandbox()
    sandbox.register_key(public(RSA_KEY))
    with sandbox, requests.Session() as http:
        http.trust_env, http.verify = False, sandbox.ca_bundle
        assert ask_with(http, sandbox, assertion(sandbox)).ok


# Certificates


def test_certificate(http, sandbox):
    first, second = sandbox.client_certificate(), sandbox.client_certificate()
    assert first != second
    for path in (first, second):
        with requests.Session() as session:
            session.trust_env, session.verify, session.cert = False, sandbox.ca_bundle, path
            assert ask(session, sandbox, client_id="sandbox-client").ok
            assert refusal(ask(session, sandbox, client_id="other")) == (401, "invalid_client")
            assert refusal(ask(session, sandbox)) == (401, "invalid_client")
            assert ask(session, sandbox, **SECRET).ok
            assert refusal(ask(session, sandbox, **{**SECRET, "client_secret": "wrong"})) == (401, "invalid_client")
    assert refusal(ask(http, sandbox, client_id="sandbox-client")) == (401, "invalid_client")


def test_a_certificate_must_be_registered(http, sandbox):
    http.cert = sandbox.client_certificate()
    sandbox.reset()
    assert refusal(ask(http, sandbox, client_id="sandbox-client")) == (401, "invalid_client")


def test_a_certificate_of_another_authority(http, sandbox, tmp_path):
    issued = trustme.CA().issue_cert(common_name="sandbox-client")
    path = tmp_path / "client.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    http.cert = str(path)
    with pytest.raises(requests.ConnectionError):
        ask(http, sandbox, client_id="sandbox-client")
    assert sandbox.requests == ()


def test_certificates_are_kept_out_of_sight(http, sandbox):
    http.cert = sandbox.client_certificate()
    ask(http, sandbox, client_id="sandbox-client")
    (request,) = sandbox.requests
    assert request.certificate.startswith(b"0\x82")
    assert "certificate" not in repr(request)


def test_a_certificate_needs_a_running_sandbox():
    with pytest.raises(RuntimeError, match="not running"):
        Sandbox().client_certificate()


# The log


@pytest.mark.parametrize("debug", [False, True])
def test_no_assertion_is_logged(http, sandbox, caplog, monkeypatch, debug):
    monkeypatch.setattr("oauthlib._DEBUG", debug)
    caplog.set_level(logging.DEBUG)
    sandbox.register_key(public(RSA_KEY))
    signed = assertion(sandbox)
    for _ in range(2):
        ask_with(http, sandbox, signed)
    assert "invalid_client" in caplog.text
    assert signed not in caplog.text


# The public client


def test_the_public_client_gets_nothing_for_itself(http, sandbox):
    assert sandbox.public_client_id == "sandbox-app"
    assert refusal(ask(http, sandbox, client_id="sandbox-app")) == (400, "unauthorized_client")
    assert refusal(ask(http, sandbox, client_id="sandbox-app", client_secret="x")) == (401, "invalid_client")
    http.auth = ("sandbox-app", "")
    assert refusal(ask(http, sandbox)) == (401, "invalid_client")
