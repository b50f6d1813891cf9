"""How a client proves itself, whatever it asks for: what arrives, what is granted, and what a refusal means."""

from __future__ import annotations

import base64
import time
import traceback
from urllib.parse import parse_qs

import jwt
import pytest
import requests

import aritma_session.endpoint
from aritma_session import AritmaAuth, AritmaSession, CredentialsRefused, TokenError
from aritma_session.clients import (
    ASSERTION_TYPE,
    ClientSecretBasic,
    ClientSecretPost,
    NoSecret,
    PrivateKeyJwt,
    TlsClientAuth,
)
from aritma_session.credentials import PrivateKey, Secret
from aritma_session.endpoint import TokenEndpoint
from aritma_session.exceptions import LoginRequired
from aritma_session.grants import ClientCredentials, Password, RefreshToken
from aritma_session.sandbox import Answer, Sandbox

from helpers import holding
from keys import OPENSSH, PASSPHRASE, PKCS8, TRADITIONAL, damaged, pem, public_pem

ODD = "p & + % æ é ~ * \" ' \\ = ; : / ?"

SIGNING = {"RS256": "RSA", "PS256": "RSA", "ES256": "P-256"}
GRANTS = ["client_credentials", "password", "refresh_token"]


@pytest.fixture
def lender(sandbox):
    with requests.Session() as session:
        session.verify = sandbox.ca_bundle
        yield session


@pytest.fixture
def endpoint(sandbox, lender, monkeypatch):
    monkeypatch.setattr(aritma_session.endpoint, "BACKOFF", 0.0)
    endpoint = TokenEndpoint(sandbox.token_endpoint, (5, 5))
    endpoint.borrow(lender)
    return endpoint


def signing(algorithm=None, kind="RSA", **more):
    return PrivateKeyJwt(PrivateKey(Secret(pem(kind))), algorithm, **more)


@pytest.fixture
def proving(sandbox, lender):
    """Give the authentication of a name, after whatever the server must know for it."""

    def prove(way):
        if way in SIGNING:
            sandbox.register_key(public_pem(SIGNING[way]))
            return signing(way, SIGNING[way], key_id="key-1")
        if way == "tls_client_auth":
            lender.cert = sandbox.client_certificate()
            return TlsClientAuth()
        return {"client_secret_post": ClientSecretPost, "client_secret_basic": ClientSecretBasic}[way](
            Secret(sandbox.client_secret)
        )

    return prove


@pytest.fixture
def asking(sandbox, endpoint):
    """Make the grant of a name, with what it must have for it."""

    def ask(grant, authentication, extra=(), client_id=sandbox.client_id):
        asked = client_id, authentication, ("bankservice", "offline_access"), extra
        if grant == "client_credentials":
            return ClientCredentials(client_id, authentication, ("bankservice",), extra)
        password = Password(*asked, sandbox.username, Secret(sandbox.password))
        if grant == "password":
            return password
        known = Password(
            sandbox.client_id, ClientSecretPost(Secret(sandbox.client_secret)), *asked[2:], *_user_of(password)
        )
        refresh_token = endpoint.fetch(known).refresh_token
        sandbox.reset_counts()
        return RefreshToken(*asked, Secret(refresh_token), "aritma-session login")

    return ask


def _user_of(grant):
    return grant.username, grant.password


def forms(sandbox):
    """The forms of all token requests, strictly read: one value to a name."""
    read = [parse_qs(request.body.decode("ascii"), True, True, encoding="utf-8") for request in sandbox.requests]
    assert all(len(values) == 1 for form in read for values in form.values())
    return [{name: value for name, [value] in form.items()} for form in read]


def said_by(sandbox, grant):
    """What a grant says by itself."""
    return {
        "client_credentials": {"scope": "bankservice"},
        "password": {
            "scope": "bankservice offline_access",
            "username": sandbox.username,
            "password": sandbox.password,
        },
        "refresh_token": {},
    }[grant.name]


@pytest.mark.parametrize(
    "way", ["client_secret_post", "client_secret_basic", "RS256", "PS256", "ES256", "tls_client_auth"]
)
@pytest.mark.parametrize("kind", GRANTS)
def test_each_way_is_good_for_each_grant_and_says_no_more_than_it_must(sandbox, endpoint, proving, asking, way, kind):
    authentication = proving(way)
    grant = asking(kind, authentication, extra=(("audience", "æ&b=c"),))
    assert endpoint.fetch(grant).access_token
    [form], [request] = forms(sandbox), sandbox.requests
    assert form.pop("grant_type") == kind
    assert form.pop("audience") == "æ&b=c"
    assert (form.pop("refresh_token", None) is not None) is (kind == "refresh_token")
    expected = said_by(sandbox, grant)
    if way != "client_secret_basic":
        expected["client_id"] = sandbox.client_id
    if way == "client_secret_post":
        expected["client_secret"] = sandbox.client_secret
    if way in SIGNING:
        assert form.pop("client_assertion")
        expected["client_assertion_type"] = ASSERTION_TYPE
    assert form == expected
    pair = base64.b64encode(f"{sandbox.client_id}:{sandbox.client_secret}".encode()).decode()
    assert request.headers.get("authorization") == (f"Basic {pair}" if way == "client_secret_basic" else None)
    assert bool(request.certificate) is (way == "tls_client_auth")


@pytest.mark.parametrize("kind", GRANTS)
def test_a_client_without_a_secret_says_who_it_is_and_no_more(sandbox, endpoint, asking, kind):
    grant = asking(kind, NoSecret(), client_id=sandbox.public_client_id)
    with pytest.raises(TokenError):  # the sandbox's public client has none of the first two, and no such refresh token
        endpoint.fetch(grant)
    [form], [request] = forms(sandbox), sandbox.requests
    assert form.pop("grant_type") == kind
    assert (form.pop("refresh_token", None) is not None) is (kind == "refresh_token")
    assert form == {"client_id": sandbox.public_client_id, **said_by(sandbox, grant)}
    assert "authorization" not in request.headers


class TestBasic:
    @pytest.mark.parametrize("letter", list(" &+%æé~*\"'\\=;:/?#€𝄞"))
    @pytest.mark.parametrize("kind", ["client_credentials", "refresh_token"])
    def test_encodes_both_halves_as_forms_do(self, sandbox, endpoint, asking, letter, kind):
        client_id, secret = f"{letter}id{letter}", f"{letter}secret{letter}"
        with pytest.raises(CredentialsRefused):
            endpoint.fetch(asking(kind, ClientSecretBasic(Secret(secret)), client_id=client_id))
        scheme, _, pair = sandbox.requests[0].headers["authorization"].partition(" ")
        name, colon, password = base64.b64decode(pair).decode("ascii").partition(":")
        assert (scheme, colon) == ("Basic", ":")
        read = parse_qs(f"a={name}&b={password}", True, True)
        assert read == {"a": [client_id], "b": [secret]}
        assert not {"client_id", "client_secret"} & {*forms(sandbox)[0]}

    def test_is_understood_by_a_server_whose_client_has_odd_characters(self):
        with Sandbox(client_id=f"id {ODD}", client_secret=ODD) as sandbox, requests.Session() as lender:
            lender.verify = sandbox.ca_bundle
            endpoint = TokenEndpoint(sandbox.token_endpoint, (5, 5))
            endpoint.borrow(lender)
            assert endpoint.fetch(ClientCredentials(f"id {ODD}", ClientSecretBasic(Secret(ODD)))).access_token

    def test_is_not_what_netrc_says(self, sandbox, endpoint, asking, proving, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("machine localhost login other password other\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        for way in ("client_secret_post", "client_secret_basic"):
            for kind in GRANTS:
                assert endpoint.fetch(asking(kind, proving(way))).access_token

    def test_reads_a_replaced_file_anew(self, sandbox, endpoint, tmp_path):
        file = tmp_path / "secret"
        file.write_text("wrong-secret\n")
        grant = ClientCredentials(sandbox.client_id, ClientSecretBasic(Secret(path=str(file))))
        with pytest.raises(CredentialsRefused):
            endpoint.fetch(grant)
        file.write_text(sandbox.client_secret)
        assert endpoint.fetch(grant).access_token
        file.unlink()
        with pytest.raises(TokenError, match="the client secret cannot be used any more: the file cannot be read"):
            endpoint.fetch(grant)
        assert sandbox.counts.token_requests == 2


class TestAssertions:
    @pytest.mark.parametrize("algorithm", [None, *SIGNING])
    @pytest.mark.parametrize("key_id", [None, "kid æ/1"])
    def test_say_what_they_are_for_and_for_how_long(self, sandbox, endpoint, algorithm, key_id):
        kind = SIGNING.get(algorithm, "RSA")
        sandbox.register_key(public_pem(kind))
        before = int(time.time())
        endpoint.fetch(ClientCredentials(sandbox.client_id, signing(algorithm, kind, key_id=key_id)))
        after = time.time()
        assertion = forms(sandbox)[0]["client_assertion"]
        header = jwt.get_unverified_header(assertion)
        assert header == {"typ": "JWT", "alg": algorithm or "RS256", **({"kid": key_id} if key_id else {})}
        claims = jwt.decode(
            assertion, public_pem(kind), algorithms=[algorithm or "RS256"], audience=sandbox.token_endpoint
        )
        assert {*claims} == {"iss", "sub", "aud", "jti", "iat", "exp"}
        assert (claims["iss"], claims["sub"], claims["aud"]) == (
            sandbox.client_id,
            sandbox.client_id,
            sandbox.token_endpoint,
        )
        assert before <= claims["iat"] <= after
        assert claims["iat"] < claims["exp"] <= after + 60

    def test_of_a_curve_are_signed_with_what_suits_it(self, sandbox, endpoint):
        sandbox.register_key(public_pem("P-256"))
        endpoint.fetch(ClientCredentials(sandbox.client_id, signing(None, "P-256")))
        assert jwt.get_unverified_header(forms(sandbox)[0]["client_assertion"])["alg"] == "ES256"

    @pytest.mark.parametrize("kind", GRANTS)
    def test_are_good_for_one_try_each(self, sandbox, endpoint, proving, asking, kind):
        grant = asking(kind, proving("ES256"))
        sandbox.answer_token_requests(Answer.error(503), Answer.reset())
        endpoint.fetch(grant)
        assertions = [form["client_assertion"] for form in forms(sandbox)]
        read = [jwt.decode(assertion, options={"verify_signature": False})["jti"] for assertion in assertions]
        assert len({*read}) == len(read) == 3
        assert all(len(jti) >= 20 for jti in read)

    @pytest.mark.parametrize(
        ("kind", "form", "passphrase"),
        [
            ("RSA", PKCS8, None),
            ("RSA", TRADITIONAL, None),
            ("RSA", PKCS8, PASSPHRASE),
            ("RSA", TRADITIONAL, PASSPHRASE),
            ("P-256", PKCS8, "pæssphrase €"),
            ("P-256", TRADITIONAL, None),
            ("P-256", TRADITIONAL, PASSPHRASE),
        ],
    )
    @pytest.mark.parametrize("around", ["{}", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n{}\n\n"])
    def test_are_signed_with_a_key_in_any_of_its_forms(
        self, sandbox, endpoint, tmp_path, kind, form, passphrase, around
    ):
        sandbox.register_key(public_pem(kind))
        (tmp_path / "key.pem").write_text(around.format(pem(kind, form, passphrase)))
        key = PrivateKey(Secret(path=str(tmp_path / "key.pem")), Secret(passphrase) if passphrase else None)
        assert endpoint.fetch(ClientCredentials(sandbox.client_id, PrivateKeyJwt(key))).access_token

    def test_are_signed_with_the_key_that_is_in_the_file_now(self, sandbox, endpoint, tmp_path):
        sandbox.register_key(public_pem("P-256"))
        file = tmp_path / "key.pem"
        file.write_text(pem("RSA"))
        grant = ClientCredentials(sandbox.client_id, PrivateKeyJwt(PrivateKey(Secret(path=str(file)))))
        with pytest.raises(CredentialsRefused, match="private_key"):
            endpoint.fetch(grant)
        file.write_text(pem("P-256"))
        assert endpoint.fetch(grant).access_token
        file.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
        with pytest.raises(TokenError, match=r"cannot be used any more: .* but: certificate \(see ARITMA_PRIVATE_KEY"):
            endpoint.fetch(grant)
        assert sandbox.counts.token_requests == 2


def test_a_proof_names_what_must_not_come_back():
    for way in (
        ClientSecretPost(Secret("s e")),
        ClientSecretBasic(Secret("s e")),
        signing(),
        TlsClientAuth(),
        NoSecret(),
    ):
        proof = way.prove("client", "https://id.example")
        said = {value for name, value in proof.form.items() if name != "client_assertion_type"}
        pair = [base64.b64encode(b"client:s+e").decode(), "s e"] if proof.basic else []
        assert {*proof.secrets} == {*said, *pair}


#: Keys that look right from the outside, and what is said of them at the first token request.
UNUSABLE = [
    (signing("ES256", "RSA"), "ES256 is not for an RSA key: leave token_endpoint_auth_signing_alg out"),
    (signing("RS256", "P-256"), "RS256 is not for an elliptic-curve key: leave token_endpoint_auth_signing_alg out"),
    (signing(None, "short RSA"), "it must be an RSA key of at least 2048 bits, or one on the curve P-256"),
    (signing(None, "P-384"), "it must be an RSA key of at least 2048 bits, or one on the curve P-256"),
    (signing(None, "Ed25519"), "it must be an RSA key of at least 2048 bits, or one on the curve P-256"),
    (PrivateKeyJwt(PrivateKey(Secret(damaged(pem("P-256"))))), "it is damaged"),
    (PrivateKeyJwt(PrivateKey(Secret(damaged(pem("P-256", TRADITIONAL))))), "it is damaged"),
    (
        PrivateKeyJwt(PrivateKey(Secret(pem("P-256", PKCS8, PASSPHRASE)), Secret("not-the-right-one"))),
        "the passphrase is wrong (private_key_passphrase, ARITMA_PRIVATE_KEY_PASSPHRASE), or the key is damaged",
    ),
    (
        PrivateKeyJwt(PrivateKey(Secret(pem("P-256", TRADITIONAL, PASSPHRASE)), Secret("not-the-right-one"))),
        "the passphrase is wrong (private_key_passphrase, ARITMA_PRIVATE_KEY_PASSPHRASE), or the key is damaged",
    ),
    (
        PrivateKeyJwt(PrivateKey(Secret(damaged(pem("P-256", PKCS8, PASSPHRASE))), Secret(PASSPHRASE))),
        "the passphrase is wrong (private_key_passphrase, ARITMA_PRIVATE_KEY_PASSPHRASE), or the key is damaged",
    ),
    (PrivateKeyJwt(PrivateKey(Secret(pem("Ed25519", OPENSSH)))), "openssh private key"),
    (PrivateKeyJwt(PrivateKey(Secret(pem("P-256").replace("\n", "\ud800\n", 2)))), "it is damaged"),
]


@pytest.mark.parametrize(("authentication", "said"), UNUSABLE, ids=[said for _, said in UNUSABLE])
def test_a_key_that_cannot_sign_is_a_token_error_before_anything_is_sent(sandbox, endpoint, authentication, said):
    with pytest.raises(TokenError) as caught:
        endpoint.fetch(ClientCredentials(sandbox.client_id, authentication))
    error = caught.value
    assert type(error) is TokenError
    assert str(error).startswith("no token can be asked for: ")
    assert said in str(error)
    assert sandbox.counts.token_requests == 0
    assert (error.__cause__, error.__context__, error.response) == (None, None, None)
    key = authentication.private_key
    secrets = [line for line in key.pem.text().splitlines()[1:-1] if line.isascii() and len(line) > 10]
    secrets += [key.passphrase.reveal()] if key.passphrase else []
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts = [repr(error), *traceback.format_exception(error)]
    texts += [text for frame in told.stack if frame.filename != __file__ for text in frame.locals.values()]
    assert holding(texts, *secrets) == []


class TestCertificates:
    def test_are_those_of_the_session(self, environ, sandbox, echo):
        with AritmaSession(token_endpoint_auth_method="tls_client_auth") as session:
            session.verify, session.cert = sandbox.ca_bundle, sandbox.client_certificate()
            assert session.get(echo).ok
        [token_request] = [request for request in sandbox.requests if request.kind == "token"]
        assert token_request.certificate

    def test_are_those_of_the_session_that_was_borrowed(self, environ, sandbox, echo):
        auth = AritmaAuth(token_endpoint_auth_method="tls_client_auth")
        with requests.Session() as session:
            session.verify, session.cert = sandbox.ca_bundle, sandbox.client_certificate()
            auth.borrow(session)
            assert session.get(echo, auth=auth).ok

    def test_that_are_missing_or_unknown_are_said_to_be_refused(self, environ, sandbox, echo):
        for cert in (None, sandbox.client_certificate()):
            if cert:
                sandbox.reset()  # which knows it no more
            with AritmaSession(token_endpoint_auth_method="tls_client_auth", scope=f"api {bool(cert)}") as session:
                session.verify, session.cert = sandbox.ca_bundle, cert
                with pytest.raises(CredentialsRefused, match="the session's cert is the certificate that Aritma knows"):
                    session.get(echo)

    def test_that_are_not_there_are_a_token_error_that_says_so(self, environ, sandbox, echo, tmp_path):
        with AritmaSession(token_endpoint_auth_method="tls_client_auth") as session:
            session.verify, session.cert = sandbox.ca_bundle, str(tmp_path / "none.pem")
            with pytest.raises(TokenError, match="check the session's verify and cert"):
                session.auth.token()


@pytest.mark.parametrize("method", ["client_secret_basic", "private_key_jwt"])
def test_a_session_proves_its_client_in_the_way_that_is_set(environ, sandbox, echo, monkeypatch, method, tmp_path):
    monkeypatch.setenv("ARITMA_TOKEN_ENDPOINT_AUTH_METHOD", method)
    (tmp_path / "key.pem").write_text(pem("P-256"))
    monkeypatch.setenv("ARITMA_PRIVATE_KEY_FILE", str(tmp_path / "key.pem"))
    sandbox.register_key(public_pem("P-256"))
    with AritmaSession() as session:
        session.verify = sandbox.ca_bundle
        assert session.get(echo).ok
    [request] = [request for request in sandbox.requests if request.kind == "token"]
    assert request.headers.get("authorization", "").startswith("Basic") is (method == "client_secret_basic")
    assert (b"client_assertion=" in request.body) is (method == "private_key_jwt")


@pytest.mark.parametrize("taker", [AritmaSession, AritmaAuth])
def test_a_key_may_be_a_path(environ, sandbox, echo, taker, tmp_path):
    (tmp_path / "key.pem").write_text(pem("P-256", TRADITIONAL, PASSPHRASE))
    sandbox.register_key(public_pem("P-256"))
    auth = taker(private_key=tmp_path / "key.pem", private_key_passphrase=PASSPHRASE, private_key_id="1")
    with auth if taker is AritmaSession else requests.Session() as session:
        session.verify, session.auth = sandbox.ca_bundle, session.auth or auth
        assert session.get(echo).ok
    [request] = [request for request in sandbox.requests if request.kind == "token"]
    assert b"client_assertion=" in request.body


#: What each way is advised to look at where the client itself is refused.
ADVICE = {
    "client_secret_post": "ARITMA_CLIENT_SECRET",
    "client_secret_basic": "ARITMA_CLIENT_SECRET",
    "ES256": "ARITMA_PRIVATE_KEY_FILE",
    "tls_client_auth": "the session's cert",
}


@pytest.mark.parametrize("way", ADVICE)
@pytest.mark.parametrize("kind", GRANTS)
@pytest.mark.parametrize("answer", [Answer.error(400, "invalid_client"), Answer.error(401), Answer.html(status=401)])
def test_a_client_that_is_refused_is_told_what_to_look_at(sandbox, endpoint, proving, asking, way, kind, answer):
    grant = asking(kind, proving(way))
    sandbox.answer_token_requests(answer)
    with pytest.raises(CredentialsRefused) as caught:
        endpoint.fetch(grant)
    assert ADVICE[way] in str(caught.value)
    assert "ARITMA_ENVIRONMENT" in str(caught.value)
    assert sandbox.counts.token_requests == 1


def test_a_client_without_a_secret_that_is_refused_is_told_that_it_may_need_one(sandbox, endpoint, asking):
    with pytest.raises(CredentialsRefused, match="ARITMA_CLIENT_SECRET") as caught:
        endpoint.fetch(asking("password", NoSecret()))
    assert caught.value.error == "invalid_client"


#: Error codes of RFC 6749, section 5.2, and what they mean to each grant: a kind and a piece of the message.
CODES = {
    "invalid_request": [(TokenError, "RFC 6749")] * 3,
    "invalid_client": [(CredentialsRefused, "ARITMA_CLIENT_SECRET")] * 3,
    "invalid_grant": [
        (TokenError, "RFC 6749"),
        (CredentialsRefused, "ARITMA_USERNAME, ARITMA_PASSWORD"),
        (LoginRequired, "run aritma-session login"),
    ],
    "unauthorized_client": [
        (CredentialsRefused, "ask Aritma to allow this client the client-credentials grant"),
        (CredentialsRefused, "ask Aritma to allow this client the password grant"),
        (CredentialsRefused, "ask Aritma to allow this client the refresh-token grant"),
    ],
    "unsupported_grant_type": [(TokenError, "ARITMA_ENVIRONMENT")] * 3,
    "invalid_scope": [(CredentialsRefused, "ARITMA_SCOPE")] * 3,
    "invalid_target": [(TokenError, "ARITMA_EXTRA")] * 3,
    "something_new": [(TokenError, "ask Aritma")] * 3,
}


@pytest.mark.parametrize(
    ("code", "grant", "kind", "advice"),
    [(code, grant, *meant) for code, row in CODES.items() for grant, meant in zip(GRANTS, row, strict=True)],
)
@pytest.mark.parametrize("status", [400, 401])
def test_an_error_code_means_what_it_does_to_the_grant(
    sandbox, endpoint, proving, asking, status, code, grant, kind, advice
):
    if status == 401 and kind is TokenError:
        kind = CredentialsRefused  # whatever the code says: the status is about the client
    asked = asking(grant, proving("client_secret_post"))
    sandbox.answer_token_requests(Answer.error(status, code, "Because."))
    with pytest.raises(TokenError) as caught:
        endpoint.fetch(asked)
    error = caught.value
    assert type(error) is kind
    assert advice in str(error)
    assert (error.error, error.error_description, error.response.status_code) == (code, "Because.", status)
    assert f"{code} (Because.)" in str(error)
    assert sandbox.counts.token_requests == 1
