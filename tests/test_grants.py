"""What a grant says to the token endpoint, and how it arrives there."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
import requests

from aritma_session.clients import ClientSecretBasic, ClientSecretPost, NoSecret
from aritma_session.credentials import Secret
from aritma_session.endpoint import TokenEndpoint
from aritma_session.exceptions import CredentialsRefused, LoginRequired, TokenError
from aritma_session.grants import AuthorizationCode, ClientCredentials, Grant, Login, Password, RefreshToken
from aritma_session.sandbox import Answer, Sandbox
from aritma_session.tokens import Token

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


def test_the_order_of_extra_parameters_does_not_matter():
    proof, pairs = ClientSecretPost(Secret("a-secret")), [("b", "1"), ("a", "2")]
    one, other = (ClientCredentials("client", proof, (), extra) for extra in (pairs, pairs[::-1]))
    assert one == other
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


class TestAuthorizationCode:
    @pytest.fixture
    def make(self):
        """Make a grant, which is told of each id_token."""
        told = []

        def maker(authentication, check=told.append):
            place = "http://127.0.0.1:8765/callback"
            return AuthorizationCode(
                "client",
                authentication,
                ("openid",),
                (("audience", "æ"),),
                Secret(ODD),
                Secret("a-verifier"),
                place,
                check,
            )

        maker.told = told
        return maker

    @pytest.mark.parametrize(
        "authentication", [NoSecret(), ClientSecretPost(Secret(ODD)), ClientSecretBasic(Secret(ODD))]
    )
    def test_sends_the_code_and_what_it_was_asked_for_with_and_no_scope(self, sandbox, endpoint, make, authentication):
        answer = {
            "access_token": "a.b.c",
            "refresh_token": "r",
            "id_token": "i.d.t",
            "expires_in": 60,
            "scope": "openid",
        }
        sandbox.answer_token_requests(Answer.json(answer))
        token = endpoint.fetch(make(authentication))
        assert (token.access_token, token.refresh_token, token.scope) == ("a.b.c", "r", "openid")
        expected = {
            "grant_type": ["authorization_code"],
            "code": [ODD],
            "code_verifier": ["a-verifier"],
            "redirect_uri": ["http://127.0.0.1:8765/callback"],
            "audience": ["æ"],
        }
        if authentication.method != "client_secret_basic":
            expected["client_id"] = ["client"]
        if authentication.method == "client_secret_post":
            expected["client_secret"] = [ODD]
        assert arrived(sandbox) == [expected]
        assert ("authorization" in sandbox.requests[0].headers) is (authentication.method == "client_secret_basic")
        assert make.told == ["i.d.t"]

    def test_believes_no_token_whose_id_token_is_refused(self, sandbox, endpoint, make):
        def check(id_token):
            assert id_token is None
            raise ValueError("it has no id_token")

        sandbox.answer_token_requests(Answer.json({"access_token": "a.b.c"}))
        with pytest.raises(TokenError, match="gave a token that cannot be used: it has no id_token"):
            endpoint.fetch(make(NoSecret(), check))

    @pytest.mark.parametrize(
        ("code", "kind", "advice"),
        [
            ("invalid_grant", TokenError, "the login took too long, or its answer was used before: log in again"),
            ("unauthorized_client", CredentialsRefused, "the authorization-code grant"),
            ("invalid_request", TokenError, "RFC 6749"),
        ],
    )
    def test_that_is_refused_says_what_to_do(self, sandbox, endpoint, make, code, kind, advice):
        sandbox.answer_token_requests(Answer.error(400, code, f"not {ODD}"))
        with pytest.raises(TokenError) as caught:
            endpoint.fetch(make(NoSecret()))
        assert type(caught.value) is kind
        assert advice in str(caught.value)
        assert ODD not in str(caught.value)
        assert sandbox.counts.token_requests == 1


@pytest.mark.parametrize("text", ["%s", "you said password=%s!", "x%sx"])
def test_what_a_grant_of_a_user_sends_does_not_come_back(sandbox, endpoint, text):
    asked = sandbox.client_id, NoSecret(), (), ()
    secret, password = "Xk7-Trombone_94~q?", "open sesame, open!"
    for grant, said in [
        (Password(*asked, "user", Secret(password)), password),
        (RefreshToken(*asked, Secret(secret), ""), secret),
        (AuthorizationCode(*asked, Secret(secret), Secret(password), "http://127.0.0.1", print), secret),
        (AuthorizationCode(*asked, Secret(secret), Secret(password), "http://127.0.0.1", print), password),
    ]:
        sandbox.answer_token_requests(Answer.error(400, "invalid_grant", text % said))
        with pytest.raises(TokenError) as caught:
            endpoint.fetch(grant)
        assert said not in f"{caught.value} {vars(caught.value)} {caught.value.response.text}"


def test_the_next_grant_of_a_user_is_the_refresh_token_of_the_last():
    asked = "client", NoSecret(), ("b", "a"), (("x", "y"),)
    token = Token("a.b.c", 0.0, 60.0, refresh_token="r")
    assert Login(*asked, "user", "implicit", "run me").refreshing(token) == RefreshToken(*asked, Secret("r"), "run me")
    assert Password(*asked, "user", Secret("p")).refreshing(token) == RefreshToken(*asked, Secret("r"), "")


def test_a_login_asks_with_nothing(sandbox, endpoint):
    with pytest.raises(LoginRequired, match="run me"):
        endpoint.fetch(Login("client", NoSecret(), (), (), login_command="run me"))
    assert sandbox.requests == ()


def test_a_grant_by_itself_cannot_be_asked_with():
    with pytest.raises(NotImplementedError):
        Grant("client", NoSecret()).oauth_client()


def test_nothing_that_a_grant_of_a_user_shows_is_secret():
    asked = "client", NoSecret(), (), ()
    grants = [
        Password(*asked, "user", Secret("never-show-this")),
        RefreshToken(*asked, Secret("never-show-this"), ""),
        AuthorizationCode(*asked, Secret("never-show-this"), Secret("never-show-this"), "http://127.0.0.1", print),
    ]
    assert not [grant for grant in grants if "never-show-this" in f"{grant} {grant!r} {grant.identity}"]
