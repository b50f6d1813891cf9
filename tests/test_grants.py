"""What a grant says to the token endpoint, and how it arrives there."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
import requests

from aritma_session.clients import ClientSecretPost
from aritma_session.credentials import Secret
from aritma_session.endpoint import TokenEndpoint
from aritma_session.exceptions import TokenError
from aritma_session.grants import ClientCredentials
from aritma_session.sandbox import Sandbox

ODD = "p & + % æ é ~ * \" ' \\ = ; / ?"


@pytest.fixture
def endpoint(sandbox):
    with requests.Session() as lender:
        lender.verify = sandbox.ca_bundle
        endpoint = TokenEndpoint(sandbox.token_endpoint, (5, 5))
        endpoint.borrow(lender)
        yield endpoint


@pytest.fixture
def secret_file(tmp_path, sandbox):
    file = tmp_path / "secret"
    file.write_text(f"{sandbox.client_secret}\n", encoding="utf-8")
    return file


def arrived(sandbox):
    """The forms of all token requests, strictly read."""
    return [parse_qs(request.body.decode("ascii"), True, True, encoding="utf-8") for request in sandbox.requests]


def test_the_form_holds_the_grant_type_the_pair_and_the_scope_and_no_more(sandbox, endpoint):
    endpoint.fetch(
        ClientCredentials(sandbox.client_id, ClientSecretPost(Secret(sandbox.client_secret)), ("bankservice", "api"))
    )
    expected = {
        "grant_type": ["client_credentials"],
        "client_id": [sandbox.client_id],
        "client_secret": [sandbox.client_secret],
        "scope": ["bankservice api"],
    }
    assert arrived(sandbox) == [expected]


def test_the_bytes_of_the_form_are_those_of_the_documentation(sandbox, endpoint):
    endpoint.fetch(
        ClientCredentials(sandbox.client_id, ClientSecretPost(Secret(sandbox.client_secret)), ("bankservice",))
    )
    [request] = sandbox.requests
    assert sorted(request.body.split(b"&")) == [
        b"client_id=sandbox-client",
        b"client_secret=sandbox-secret-1234",
        b"grant_type=client_credentials",
        b"scope=bankservice",
    ]


def test_an_empty_scope_is_left_out_and_the_server_grants_its_own_default(sandbox, endpoint):
    token = endpoint.fetch(ClientCredentials(sandbox.client_id, ClientSecretPost(Secret(sandbox.client_secret))))
    assert "scope" not in arrived(sandbox)[0]
    assert b"scope" not in sandbox.requests[0].body
    assert token.scope is not None
    assert "bankservice" in token.scope.split()


@pytest.mark.parametrize("scope", ["a&scope=b", "a+b", "æ", "a%20b"])
def test_an_odd_scope_arrives_unchanged(sandbox, endpoint, scope):
    with pytest.raises(TokenError):
        endpoint.fetch(ClientCredentials(sandbox.client_id, ClientSecretPost(Secret(sandbox.client_secret)), (scope,)))
    assert arrived(sandbox)[0]["scope"] == [scope]


@pytest.mark.parametrize("letter", list(" &+%æé~*\"'\\=;/?#€𝄞"))
def test_an_odd_character_in_id_and_secret_arrives_unchanged(sandbox, endpoint, letter):
    client_id, secret = f"{letter}id{letter}", f"{letter}secret{letter}"
    with pytest.raises(TokenError):
        endpoint.fetch(ClientCredentials(client_id, ClientSecretPost(Secret(secret)), ("bankservice",)))
    [form] = arrived(sandbox)
    assert (form["client_id"], form["client_secret"]) == ([client_id], [secret])


@pytest.mark.parametrize("text", ["%41%42%43%44", "a%2Bb%26c", "client_id=other&x=y", "Bearer%zz%"])
def test_what_looks_encoded_already_arrives_unchanged(sandbox, endpoint, text):
    with pytest.raises(TokenError):
        endpoint.fetch(ClientCredentials(text, ClientSecretPost(Secret(text))))
    [form] = arrived(sandbox)
    assert form == {"grant_type": ["client_credentials"], "client_id": [text], "client_secret": [text]}


def test_a_server_whose_client_has_odd_characters_gives_a_token():
    with Sandbox(client_id=f"id {ODD}", client_secret=ODD) as sandbox, requests.Session() as lender:
        lender.verify = sandbox.ca_bundle
        endpoint = TokenEndpoint(sandbox.token_endpoint, (5, 5))
        endpoint.borrow(lender)
        assert endpoint.fetch(ClientCredentials(f"id {ODD}", ClientSecretPost(Secret(ODD)))).access_token


def test_every_request_repeats_the_whole_form(sandbox, endpoint):
    grant = ClientCredentials(sandbox.client_id, ClientSecretPost(Secret(sandbox.client_secret)), ("bankservice",))
    first, second = endpoint.fetch(grant), endpoint.fetch(grant)
    forms = arrived(sandbox)
    assert forms[0] == forms[1]
    assert first.access_token != second.access_token


def test_a_secret_that_is_replaced_on_disk_is_used_from_the_next_request_on(sandbox, endpoint, secret_file):
    grant = ClientCredentials(sandbox.client_id, ClientSecretPost(Secret(path=str(secret_file))))
    endpoint.fetch(grant)
    secret_file.write_text("another-secret\n", encoding="utf-8")
    with pytest.raises(TokenError):
        endpoint.fetch(grant)
    assert [form["client_secret"] for form in arrived(sandbox)] == [[sandbox.client_secret], ["another-secret"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"", "empty"), (b"\xff\xfe", "UTF-8"), (b"two\nlines", "line break")],
)
def test_a_secret_file_that_went_bad_is_a_token_error_that_says_so_and_nothing_is_sent(
    sandbox, endpoint, secret_file, content, said
):
    grant = ClientCredentials(sandbox.client_id, ClientSecretPost(Secret(path=str(secret_file))))
    secret_file.unlink() if content is None else secret_file.write_bytes(content)
    with pytest.raises(TokenError, match=said) as caught:
        endpoint.fetch(grant)
    assert "two" not in str(caught.value)
    assert caught.value.response is None
    assert sandbox.counts.token_requests == 0


def test_oauthlibs_client_is_a_new_one_for_each_request():
    grant = ClientCredentials("client", ClientSecretPost(Secret("a-secret")))
    assert grant.oauth_client() is not grant.oauth_client()
    assert grant.oauth_client().client_id == "client"


def test_the_form_of_a_grant_is_the_scope_if_there_is_one():
    assert ClientCredentials("client", ClientSecretPost(Secret("a-secret"))).form() == {}
    assert ClientCredentials("client", ClientSecretPost(Secret("a-secret")), ("b", "a")).form() == {"scope": "b a"}


def test_a_proof_names_what_must_not_come_back():
    assert ClientSecretPost(Secret("sent")).prove("client", "https://id.example").secrets == ("sent",)


def test_the_identity_does_not_depend_on_the_order_of_the_scopes():
    one, other = (
        ClientCredentials("client", ClientSecretPost(Secret("a-secret")), scope) for scope in [("a", "b"), ("b", "a")]
    )
    assert one.identity == other.identity


def test_the_identity_tells_clients_and_scopes_apart():
    made = [("client", ()), ("other", ()), ("client", ("a",)), ("client", ("a", "b")), ("client", ("b",))]
    grants = [ClientCredentials(client, ClientSecretPost(Secret("a-secret")), scope) for client, scope in made]
    assert len({grant.identity for grant in grants}) == len(grants)


def test_nothing_that_a_grant_shows_is_derived_from_the_secret():
    one, other = (
        ClientCredentials("client", ClientSecretPost(Secret(secret)), ("a",)) for secret in ("a-secret", "b-secret")
    )
    assert one.identity == other.identity
    assert repr(one) == repr(other)
    assert "secret'" not in repr(one)
