"""What each kind of answer means, and that nothing secret of it is shown."""

from __future__ import annotations

import copy
import gzip
import html
import io
import json
import pickle
import re
from urllib.parse import quote, quote_plus

import pytest
import requests
import requests_mock

import aritma_session.endpoint
from aritma_session import answers
from aritma_session.clients import ClientSecretPost
from aritma_session.credentials import Secret
from aritma_session.endpoint import TokenEndpoint
from aritma_session.exceptions import CredentialsRefused, TokenEndpointUnavailable, TokenError
from aritma_session.grants import ClientCredentials, Password
from aritma_session.redaction import Redactor, copy_response
from aritma_session.sandbox import Answer
from aritma_session.tokens import LONGEST_LIFETIME, UNSTATED_LIFETIME

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain; charset=utf-8"}

#: A secret in which everything has to be escaped somewhere, and the forms in which a server may send it back.
SECRET = "s&+% æé~*\"'\\/<x9>"
SIMPLE = "sæcret-of-a-client"


@pytest.fixture(scope="module")
def lender(served):
    with requests.Session() as session:
        session.verify = served.ca_bundle
        yield session


@pytest.fixture
def endpoint(sandbox, lender):
    endpoint = TokenEndpoint(sandbox.token_endpoint, (5, 5))
    endpoint.borrow(lender)
    return endpoint


@pytest.fixture
def fetch(sandbox, endpoint, monkeypatch):
    """Ask once, with an answer prepared: the token."""
    monkeypatch.setattr(aritma_session.endpoint, "TRIES", 1)

    def fetch(answer, secret=sandbox.client_secret, scope=("bankservice",)):
        sandbox.answer_token_requests(answer)
        return endpoint.fetch(ClientCredentials(sandbox.client_id, ClientSecretPost(Secret(secret)), scope))

    return fetch


@pytest.fixture
def refusal(fetch):
    """Ask once, with an answer prepared that is no token: the error."""

    def refusal(answer, **kwargs):
        with pytest.raises(TokenError) as caught:
            fetch(answer, **kwargs)
        return caught.value

    return refusal


def shown(error):
    """All that an error shows, by itself and in its copy of the answer."""
    parts = [str(error), repr(error), repr(vars(error)), repr(error.args)]
    if error.response is not None:
        parts += [error.response.text, repr(dict(error.response.headers)), repr(vars(error.response))]
    return "\n".join(parts)


class TestTokens:
    @pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER", None])
    def test_of_type_bearer_are_used_and_so_are_those_without_a_type(self, fetch, kind):
        assert fetch(Answer.token(token_type=kind)).access_token

    @pytest.mark.parametrize(("scope", "granted"), [("other", "other"), ("", ""), (["a", "b"], "a b"), (None, None)])
    def test_with_another_scope_than_was_asked_for_are_used(self, fetch, scope, granted):
        assert fetch(Answer.token(scope=scope)).scope == granted

    @pytest.mark.parametrize(
        ("scope", "level"),
        [("api other", "WARNING"), ("", "WARNING"), ("bankservice api", "INFO"), ("bankservice", None), (None, None)],
    )
    def test_log_a_scope_that_was_not_asked_for(self, fetch, caplog, scope, level):
        with caplog.at_level("DEBUG", logger="aritma_session"):
            fetch(Answer.token(scope=scope))
        told = [(record.levelname, record.getMessage()) for record in caplog.records]
        assert told == ([(level, f"asked for the scope 'bankservice' and was granted {scope!r}")] if level else [])

    def test_log_no_scope_where_none_was_asked_for(self, fetch, caplog):
        with caplog.at_level("DEBUG", logger="aritma_session"):
            assert fetch(Answer.token(), scope=()).scope
        assert caplog.records == []

    def test_that_are_the_secret_itself_are_refused(self, refusal, sandbox):
        error = refusal(Answer.token(access_token=sandbox.client_secret))
        assert "repeats the secret" in str(error)
        assert sandbox.client_secret not in str(error)

    def test_that_would_take_long_to_look_at_are_not_quoted(self, refusal):
        # One letter that is eighteen in its plain form (Unicode's NFKC).
        body = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}".encode() * 8000
        assert "withheld: it cannot be read" in str(refusal(Answer(400, body)))

    @pytest.mark.parametrize(
        "body",
        [
            b"<OAuth><access_token>7f3a9c</access_token></OAuth>",
            b'{"accessToken": "7f3a9c"}',
            b'{"access_token": {"value": "7f3a9c"}}',
            b'<input name="access-token" value="7f3a9c">',
            b"ACCESS_TOKEN=7f3a9c",
            b"access%5Ftoken=7f3a9c",
            b'{"\\u0061ccess_token2": 1, "idToken": "7f3a9c"}',
            b"Authorization: Bearer 7f3a9c",
        ],
    )
    def test_in_a_form_that_nobody_knows_are_not_quoted(self, refusal, body):
        error = refusal(Answer(200, body))
        assert "7f3a9c" not in str(error) + error.response.text
        assert "withheld" in str(error)

    def test_keep_no_scope_that_repeats_the_secret(self, fetch, sandbox, caplog):
        caplog.set_level("DEBUG")
        assert fetch(Answer.token(scope=f"{sandbox.client_secret} api")).scope is None
        assert sandbox.client_secret not in caplog.text

    @pytest.mark.parametrize(
        ("stated", "lifetime"),
        [
            (120, 120),
            (119.5, 119.5),
            ("120", 120),
            (0, 0),
            (-5, 0),
            ("-5", 0),
            (10**12, LONGEST_LIFETIME),
            (1e300, LONGEST_LIFETIME),
            (None, UNSTATED_LIFETIME),
            (10**400, UNSTATED_LIFETIME),
            ("soon", UNSTATED_LIFETIME),
            ("", UNSTATED_LIFETIME),
            ("nan", UNSTATED_LIFETIME),
            (True, UNSTATED_LIFETIME),
            ([60], UNSTATED_LIFETIME),
            (float("nan"), UNSTATED_LIFETIME),
            (float("inf"), UNSTATED_LIFETIME),
            ("NaN", UNSTATED_LIFETIME),
            ("1e308", LONGEST_LIFETIME),
            (1e308, LONGEST_LIFETIME),
            (-1e308, 0),
            (-(10**400), UNSTATED_LIFETIME),
            ("9" * 5000, UNSTATED_LIFETIME),
            ({"seconds": 60}, UNSTATED_LIFETIME),
        ],
    )
    def test_live_as_long_as_stated_within_reason(self, fetch, stated, lifetime):
        assert fetch(Answer.token(expires_in=stated)).lifetime == pytest.approx(lifetime)

    def test_may_come_with_fields_that_nobody_knows(self, fetch):
        assert fetch(Answer.token(id_token="x", refresh_token=None, foo={"bar": [1]}, state=5)).access_token

    @pytest.mark.parametrize(
        "headers",
        [{}, {"Content-Type": "text/html"}, {"Content-Type": "text/plain; charset=nonsense"}, JSON],
        ids=["none", "HTML", "an unknown charset", "JSON"],
    )
    def test_are_known_by_the_body_whatever_its_type_is_said_to_be(self, fetch, headers):
        assert fetch(Answer(200, b'{"access_token": "a.b-c", "expires_in": 60}', headers)).access_token == "a.b-c"

    def test_may_be_long(self, fetch):
        long = "a" * 60_000
        assert fetch(Answer.token(access_token=long)).access_token == long

    def test_may_be_there_twice_and_the_last_counts(self, fetch):
        assert fetch(Answer(200, b'{"access_token": "a", "access_token": "b"}', JSON)).access_token == "b"

    def test_may_come_compressed(self, fetch):
        body = gzip.compress(b'{"access_token": "a.b-c"}')
        assert fetch(Answer(200, body, {**JSON, "Content-Encoding": "gzip"})).access_token == "a.b-c"

    def test_do_not_show(self, fetch):
        assert "a.b-c" not in repr(fetch(Answer.token(access_token="a.b-c")))


#: Answers that are no token that could be sent, and no refusal either.
ODD = [
    pytest.param(Answer.token(access_token=None), id="no access_token"),
    pytest.param(Answer.json({}), id="an empty object"),
    pytest.param(Answer.token(access_token=""), id="an empty token"),
    pytest.param(Answer.token(access_token=5), id="a number for a token"),
    pytest.param(Answer.token(access_token=["eyJhbGciOi"]), id="a list for a token"),
    pytest.param(Answer.token(access_token="eyJhbGciOi\r\nX-Injected: 1"), id="a token with line breaks"),
    pytest.param(Answer.token(access_token="eyJhbGciOi\n"), id="a token with a line break at its end"),
    pytest.param(Answer.token(access_token="eyJhbGciOi Bearer"), id="a token with a space"),
    pytest.param(Answer.token(access_token="eyJhbGciOiæ"), id="a token with a letter that is not ASCII"),
    pytest.param(Answer.token(access_token="eyJhbGciOi\0"), id="a token with a NUL"),
    pytest.param(Answer.token(access_token="eyJhbGciOi\r"), id="a token with a carriage return"),
    pytest.param(Answer.token(access_token="eyJhbGciOi\u2028"), id="a token with a line separator"),
    pytest.param(Answer.token(access_token="eyJhbGciOi\ud800"), id="a token with half a letter"),
    pytest.param(Answer.token(access_token={"eyJhbGciOi": 1}), id="an object for a token"),
    pytest.param(Answer.token(access_token=True), id="true for a token"),
    pytest.param(Answer.token(access_token=" "), id="a space for a token"),
    pytest.param(Answer.token(access_token="="), id="padding for a token"),
    pytest.param(Answer(200, b'{"access_token": "eyJ", "access_token": 5}', JSON), id="a token, and then a number"),
    pytest.param(Answer(200, b'{"access_token": "eyJhbGciOi\xff"}', JSON), id="a token that is no UTF-8"),
    pytest.param(Answer.token(token_type="mac"), id="another token_type"),
    pytest.param(Answer.token(token_type="DPoP"), id="DPoP"),
    pytest.param(Answer.token(token_type=["Bearer"]), id="a list for a token_type"),
    pytest.param(Answer.token(token_type=5), id="a number for a token_type"),
    pytest.param(Answer.json({"access_token": "eyJhbGciOi", "token_type": None}), id="null for a token_type"),
    pytest.param(Answer.html(), id="a page"),
    pytest.param(Answer(200), id="an empty body"),
    pytest.param(Answer(204), id="204"),
    pytest.param(Answer(200, b"\xff\xfe\x00", JSON), id="bytes that are no text"),
    pytest.param(Answer.json(["access_token"]), id="a JSON list"),
    pytest.param(Answer.json([{"access_token": "eyJhbGciOi"}]), id="a token in a JSON list"),
    pytest.param(Answer.json("access_token"), id="a JSON string"),
    pytest.param(Answer.json(None), id="null"),
    pytest.param(Answer(200, b'{"a":' * 1_000, JSON), id="deep JSON"),
    pytest.param(Answer(200, b'{"access_token": "eyJhbGciOi', JSON), id="JSON cut off in the token"),
    pytest.param(Answer(200, b'{"access_token": "eyJhbGciOi\\', JSON), id="JSON cut off in an escape"),
    pytest.param(Answer(200, b'{"access_token": "eyJhbGciOi", "expires', JSON), id="JSON cut off behind the token"),
    pytest.param(Answer(200, b'{"access_token" :\n "eyJhbGciOi" "x"}', JSON), id="broken JSON"),
    pytest.param(Answer(200, b"access_token=eyJhbGciOi&token_type=bearer", TEXT), id="a form"),
    pytest.param(Answer.json({"access_token": "eyJhbGciOi", "error": 5}), id="a number for an error"),
    pytest.param(Answer.json({"access_token": "eyJhbGciOi"}, 203), id="203 with a token"),
    pytest.param(Answer.json({"error": {"code": 5}}, 400), id="400 with an object for an error"),
    pytest.param(Answer.html("<h1>Forbidden</h1>", 403), id="403 from a proxy"),
    pytest.param(Answer.error(404), id="404"),
    pytest.param(Answer.error(418), id="418"),
]


class TestOddAnswers:
    @pytest.mark.parametrize("answer", ODD)
    def test_are_one_clear_error_in_one_line_that_says_what_to_do(self, refusal, sandbox, answer):
        error = refusal(answer)
        assert type(error) is TokenError
        assert isinstance(error, requests.RequestException)
        assert str(error).isprintable()
        assert len(str(error)) < 600
        for part in (sandbox.token_endpoint, f"HTTP {answer.status}", "ARITMA_"):
            assert part in str(error)
        assert error.response.status_code == answer.status
        assert (error.error, error.error_description, error.error_uri) == (None, None, None)

    @pytest.mark.parametrize("answer", ODD)
    def test_do_not_show_the_token_that_is_in_them(self, refusal, answer):
        assert "eyJ" not in shown(refusal(answer))

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(Answer.json(json.dumps({"access_token": "eyJhbGciOi"})), id="JSON in JSON"),
            pytest.param(Answer.html("&quot;access_token&quot;:&quot;eyJhbGciOi&quot;"), id="JSON in a page"),
            pytest.param(Answer(200, b"{'access_token': 'eyJhbGciOi'}", TEXT), id="in single quotes"),
            pytest.param(Answer(200, b"access_token: eyJhbGciOi", TEXT), id="without quotes"),
            pytest.param(Answer.json({"access_token": ["eyJhbGciOi"], "token_type": "mac"}), id="in a list"),
        ],
    )
    def test_do_not_show_the_token_however_it_stands_there(self, refusal, answer):
        assert "eyJ" not in shown(refusal(answer))

    def test_are_quoted_in_a_few_words(self, refusal):
        error = refusal(Answer.html("<h1>Sign in\nto the\x1b[31m guest network</h1>" + "x" * 5000))
        assert "<h1>Sign in to the [31m guest network</h1>xxx" in str(error)
        assert len(str(error)) < 500
        assert "x" * 5000 in error.response.text

    def test_with_a_token_of_1_mib_are_a_token_error(self, refusal):
        error = refusal(Answer.token(access_token="eyJ" * 350_000))
        assert type(error) is TokenError
        assert "bytes" in str(error)
        assert "eyJ" not in shown(error)

    @pytest.mark.parametrize("charset", ["undefined", "idna", "a\0b"])
    @pytest.mark.parametrize("status", [200, 400, 503])
    def test_in_an_impossible_charset_are_a_token_error(self, refusal, charset, status):
        headers = {"Content-Type": f"application/json; charset={charset}"}
        assert refusal(Answer(status, b'{"error": "invalid_client"}', headers)).response.status_code == status

    @pytest.mark.parametrize("body", [b"[" * 20_000, b"[" * 900 + b"]" * 900], ids=["endless", "closed"])
    def test_of_deep_json_are_a_token_error(self, refusal, body):
        assert type(refusal(Answer(200, body, JSON))) is TokenError

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_that_redirect_are_said_to_and_not_followed(self, refusal, sandbox, status):
        error = refusal(Answer.redirect(f"{sandbox.other_host}/connect/token", status))
        assert type(error) is TokenError
        assert "redirect" in str(error)
        assert "ARITMA_ENVIRONMENT" in str(error)
        assert error.response.status_code == status
        assert error.response.headers["Location"] == f"{sandbox.other_host}/connect/token"
        assert {request.host for request in sandbox.requests} == {sandbox.issuer.removeprefix("https://")}
        assert len(sandbox.requests) == 1


CODES = [
    (400, "invalid_request", TokenError, "RFC 6749"),
    (400, "invalid_client", CredentialsRefused, "ARITMA_CLIENT_SECRET"),
    (401, "invalid_client", CredentialsRefused, "ARITMA_CLIENT_ID"),
    (400, "invalid_grant", TokenError, "RFC 6749"),
    (400, "unauthorized_client", CredentialsRefused, "ask Aritma"),
    (400, "unsupported_grant_type", TokenError, "ARITMA_ENVIRONMENT"),
    (400, "invalid_scope", CredentialsRefused, "ARITMA_SCOPE"),
    (401, "something_new", CredentialsRefused, "ask Aritma"),
    (400, "something_new", TokenError, "ask Aritma"),
    (403, "access_denied", TokenError, "ask Aritma"),
    (200, "invalid_client", CredentialsRefused, "ARITMA_CLIENT_SECRET"),
    (302, "invalid_request", TokenError, "RFC 6749"),
]


class TestRefusals:
    @pytest.mark.parametrize(("status", "code", "kind", "advice"), CODES)
    def test_become_the_error_that_says_what_to_do(self, refusal, status, code, kind, advice):
        said = {"error": code, "error_description": "Because.", "error_uri": "https://id.aritma.io/errors"}
        error = refusal(Answer.json(said, status))
        assert type(error) is kind
        assert isinstance(error, requests.RequestException)
        assert (error.error, error.error_description, error.error_uri) == tuple(said.values())
        assert error.response.json() == said
        assert error.response.status_code == status
        for part in (code, "Because.", f"HTTP {status}", advice):
            assert part in str(error)

    @pytest.mark.parametrize(("status", "code", "kind", "advice"), CODES)
    def test_need_no_description(self, refusal, status, code, kind, advice):
        error = refusal(Answer.json({"error": code}, status))
        assert type(error) is kind
        assert (error.error, error.error_description, error.error_uri) == (code, None, None)
        assert advice in str(error)
        assert "None" not in str(error)

    @pytest.mark.parametrize("empty", ["", None, [], False])
    def test_may_have_an_empty_description(self, refusal, empty):
        error = refusal(Answer.json({"error": "invalid_grant", "error_description": empty, "error_uri": empty}, 400))
        assert (error.error_description, error.error_uri) == (None, None)

    @pytest.mark.parametrize("odd", [5, ["x"], {"a": "b"}, True], ids=repr)
    def test_may_have_a_description_that_is_no_text(self, refusal, odd):
        error = refusal(Answer.json({"error": "invalid_grant", "error_description": odd, "error_uri": odd}, 400))
        assert (error.error_description, error.error_uri) == (str(odd), str(odd))

    def test_show_in_one_line_of_moderate_length(self, refusal):
        error = refusal(Answer.error(400, "invalid\ud800_grant\n", "No.\r\nReally\x1b]0;title\x07" + "!" * 5000))
        assert str(error).isprintable()
        assert len(str(error)) < 600
        assert error.error == "invalid _grant"
        assert error.error_description.startswith("No.  Really ]0;title !!!")

    def test_with_401_and_no_json_are_refused_credentials(self, refusal):
        error = refusal(Answer.html("<h1>401</h1>", 401))
        assert type(error) is CredentialsRefused
        assert "ARITMA_CLIENT_SECRET" in str(error)
        assert error.error is None

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_with_a_status_of_passing_trouble_are_trouble(self, refusal, status):
        error = refusal(Answer.error(status, "temporarily_unavailable", "Until two."))
        assert type(error) is TokenEndpointUnavailable
        assert f"HTTP {status}" in str(error)
        assert "Until two." in str(error)
        assert "try again later" in str(error)
        assert error.response.status_code == status

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_with_a_status_of_passing_trouble_have_the_servers_words(self, refusal, status):
        error = refusal(Answer.error(status, "temporarily_unavailable", "Until two."))
        assert (error.error, error.error_description) == ("temporarily_unavailable", "Until two.")


def upper_hex(text):
    """JSON as .NET writes it by default: everything but plain letters as \\uXXXX."""
    return "".join(c if re.match(r"[A-Za-z0-9 ~*%/]", c) else f"\\u{ord(c):04X}" for c in text)


FORMS = {
    "as it is": str,
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in a form": quote_plus,
    "in a URL": quote,
    "twice": lambda text: f"{text}, again: {text}",
    "in a word": lambda text: f"<<{text}>>",
    "in JSON that is not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "in JSON with escaped slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "in a URL with escaped slashes": lambda text: quote(text, safe=""),
    "in a form with lower-case digits": lambda text: re.sub("%..", lambda hit: hit[0].lower(), quote_plus(text)),
    "in a form with escaped tildes": lambda text: quote_plus(text).replace("~", "%7E"),
    "in a page": html.escape,
    "in a page with numbers": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
}
RARE_FORMS = {
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text))[1:-1],
    "in JSON with upper-case digits in JSON": lambda text: json.dumps(upper_hex(text))[1:-1],
    "in a URL with few escapes": lambda text: quote(text, safe="~@#$&()*!+=:;,.?/'"),
    "in a form in Latin-1": lambda text: quote_plus(text, encoding="latin-1"),
    "in a form in a page": lambda text: html.escape(quote_plus(text, safe="'")),
}
EVERY_FORM = [pytest.param(form, id=name) for name, form in FORMS.items()]
EVERY_RARE_FORM = [pytest.param(form, id=name) for name, form in RARE_FORMS.items()]


def assert_hidden(error, secret, sent):
    """The secret does not show, however it was sent back, nor does the text that a person would read it from."""
    said = shown(error)
    everything = said + pickle.dumps(error).decode("utf-8", "replace")
    for text in {secret, sent}:
        assert text not in everything
        assert repr(text)[1:-1] not in everything
    assert "***" in said


class TestEchoes:
    @pytest.mark.parametrize("form", [*EVERY_FORM, pytest.param(upper_hex, id="upper-case digits"), *EVERY_RARE_FORM])
    @pytest.mark.parametrize("status", [200, 503])
    def test_in_a_body_are_hidden(self, refusal, form, status):
        sent = form(SECRET)
        assert_hidden(refusal(Answer(status, f"you said {sent}!".encode(), TEXT), secret=SECRET), SECRET, sent)

    @pytest.mark.parametrize("form", EVERY_FORM)
    @pytest.mark.parametrize("field", ["error", "error_description"])
    def test_in_a_refusal_are_hidden(self, refusal, form, field):
        sent = form(SECRET)
        error = refusal(Answer.json({"error": "invalid_client", field: f"you said {sent}!"}, 400), secret=SECRET)
        assert "***" in getattr(error, field)
        assert_hidden(error, SECRET, sent)

    @pytest.mark.parametrize("field", ["error", "error_description", "error_uri"])
    def test_in_a_refusal_in_json_that_is_not_ascii_are_hidden(self, refusal, field):
        body = json.dumps({"error": "invalid_client", field: f"you said {SIMPLE}!"}, ensure_ascii=False)
        assert_hidden(refusal(Answer(400, body.encode(), JSON), secret=SIMPLE), SIMPLE, SIMPLE)

    @pytest.mark.parametrize("form", EVERY_FORM)
    @pytest.mark.parametrize("header", ["Location", "X-Debug"])
    def test_in_a_header_are_hidden(self, refusal, form, header):
        sent = form(SECRET)
        error = refusal(Answer(400, headers={header: f'Bearer error="{sent}", x=1'}), secret=SECRET)
        assert "***" in error.response.headers[header]
        assert_hidden(error, SECRET, sent)

    @pytest.mark.parametrize("field", ["token_type", "scope"])
    def test_in_a_field_of_a_token_are_hidden(self, refusal, field):
        answer = Answer.json({"access_token": "eyJhbGciOi", "token_type": "mac", field: f"you said {SECRET}"})
        assert_hidden(refusal(answer, secret=SECRET), SECRET, SECRET)

    @pytest.mark.parametrize("headers", [{"X-A": "x" * 5000, "X-B": "y" * 5000}, {f"X-{SIMPLE[8:]}": "name"}])
    def test_in_headers_are_hidden_within_reason(self, refusal, headers):
        """What is longer than can be looked at, or has a secret for its name, is left out."""
        error = refusal(Answer(400, headers={"X-First": "1", **headers, "Retry-After": "3"}), secret=SIMPLE[8:])
        assert error.response.headers["X-First"] == "1"
        assert error.response.headers["Retry-After"] == "3"
        assert not set(headers) <= set(error.response.headers)

    def test_that_the_shown_piece_would_cut_in_two_are_hidden(self, refusal):
        error = refusal(Answer(400, ("x" * 190 + SIMPLE + "y" * 50).encode(), TEXT), secret=SIMPLE)
        assert SIMPLE[:5] not in str(error)
        assert_hidden(error, SIMPLE, SIMPLE)

    def test_of_tokens_are_hidden_and_nothing_else_is(self):
        said = '{"access_token": "a.b", "expires_in": 60, "scope": "api"}'
        hidden = '{"access_token": "***", "expires_in": 60, "scope": "api"}'
        redactor = Redactor(["unrelated"])
        assert redactor.text(said) == redactor.text(hidden) == hidden

    @pytest.mark.parametrize("text", ["eyJhbGciOi", 'a\\"b', "a\\nb"])
    def test_of_tokens_in_a_refusal_are_hidden(self, refusal, text):
        body = f'{{"error": "invalid_grant", "access_token": "{text}", "refresh_token":"{text}","id_token" : "{text}"}}'
        error = refusal(Answer(400, body.encode(), JSON))
        assert text not in shown(error)
        assert error.response.json() == {
            "error": "invalid_grant",
            "access_token": "***",
            "refresh_token": "***",
            "id_token": "***",
        }

    def test_of_a_token_in_a_redirect_are_hidden(self, refusal):
        error = refusal(Answer(302, headers={"Location": "https://localhost/#access_token=eyJhbGciOi&state=5"}))
        assert error.response.headers["Location"] == "https://localhost/#access_token=***&state=5"

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(Answer(400, SIMPLE.encode(), {"Content-Type": "text/plain"}), id="body"),
            pytest.param(Answer(400, headers={"X-Debug": SIMPLE.encode().decode("latin-1")}), id="header"),
        ],
    )
    def test_in_utf_8_without_a_charset_are_hidden(self, refusal, answer):
        error = refusal(answer, secret=SIMPLE)
        assert SIMPLE.partition("æ")[2] not in shown(error)

    def test_in_the_reason_phrase_are_hidden(self, requests_mocker):
        endpoint, mocker = requests_mocker
        mocker.post("https://id.example/connect/token", status_code=400, reason=f"you said {SIMPLE}")
        with pytest.raises(TokenError) as caught:
            endpoint.fetch(ClientCredentials("client", ClientSecretPost(Secret(SIMPLE))))
        assert SIMPLE not in shown(caught.value)


@pytest.fixture
def requests_mocker():
    with requests_mock.Mocker() as mocker:
        yield TokenEndpoint("https://id.example/connect/token", (5, 5)), mocker


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "oldest pickle": lambda error: pickle.loads(pickle.dumps(error, 0)),
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES.keys())
class TestCopiesOfErrors:
    @pytest.mark.parametrize("status", [400, 401, 503, 307])
    def test_say_the_same(self, refusal, duplicate, status):
        said = {"error": "invalid_grant", "error_description": "No.", "error_uri": "u"}
        error = refusal(Answer.json(said, status, {"X-Id": "7"}))
        twin = duplicate(error)
        assert type(twin) is type(error)
        assert (str(twin), twin.args) == (str(error), error.args)
        assert (twin.error, twin.error_description, twin.error_uri) == (
            error.error,
            error.error_description,
            error.error_uri,
        )
        assert twin.response.status_code == status
        assert twin.response.json() == error.response.json()
        assert twin.response.headers == error.response.headers
        assert twin.response.url == error.response.url
        assert (twin.request.method, twin.request.url) == (error.request.method, error.request.url)

    def test_need_no_response(self, sandbox, duplicate):
        error = TokenError("no answer")
        twin = duplicate(error)
        assert (str(twin), twin.response, twin.request, twin.error) == ("no answer", None, None, None)


class TestResponseOfAnError:
    def test_can_be_read_like_any_other(self, refusal, sandbox):
        response = refusal(Answer.error(400, "invalid_grant")).response
        assert response.json() == {"error": "invalid_grant"}
        assert response.content == response.text.encode()
        assert (response.ok, response.reason, response.url) == (False, "Bad Request", sandbox.token_endpoint)
        assert response.elapsed.total_seconds() > 0
        assert list(response.iter_lines()) == [response.content]

    def test_tells_which_request_it_was_and_not_what_was_in_it(self, refusal, sandbox):
        error = refusal(Answer.error(400))
        assert error.request is error.response.request
        assert (error.request.method, error.request.url) == ("POST", sandbox.token_endpoint)
        assert error.request.body is None
        assert dict(error.request.headers) == {}

    def test_holds_no_connection(self, refusal):
        response = refusal(Answer.error(400)).response
        assert not hasattr(response, "connection")
        assert isinstance(response.raw, io.BytesIO)

    def test_is_text_also_where_the_server_said_another_charset(self, refusal):
        headers = {"Content-Type": "text/plain; charset=latin-1"}
        response = refusal(Answer(400, "blåbær".encode("latin-1"), headers)).response
        assert response.text == "blåbær"
        assert response.content == "blåbær".encode()


class TestRedactor:
    def test_leaves_other_text_alone(self):
        text = "nothing *** here, a secret of 99, for 77 horses, p x9"
        assert Redactor(["secret99", "horsey-77", "*/p x/x9"]).text(text) == text

    def test_leaves_what_is_known_alone_where_a_secret_begins_with_it(self):
        text = "invalid_client: no such client as shop-of-acme"
        assert Redactor(["invalid_client-77", "shop-of-acme-77"], ["shop-of-acme"]).text(text) == text
        assert "withheld" in Redactor(["shop-of-acme-77"], ["shop-of-acme"]).text("shop-of-acme-7")

    def test_hides_a_secret_that_holds_another(self):
        assert Redactor(["abcdefgh", "abcdefghij"]).text("abcdefghij abcdefgh") == "*** ***"

    def test_does_not_mind_an_empty_secret(self):
        assert Redactor(["", "secret99"]).text("a secret99") == "a ***"

    @pytest.mark.parametrize("written", [r"\uD83D\uDD11-secret", r"\ud83d\udd11\u002dsecret"])
    def test_reads_a_letter_that_is_written_as_two(self, written):
        assert Redactor(["\U0001f511-secret"]).text(f"a {written}").startswith("***")

    @pytest.mark.parametrize("separator", ["\n", "\t", "\0", "\u200b"])
    def test_does_not_put_a_broken_secret_together_in_a_line(self, separator):
        line = Redactor(["two words"]).line(f"a two{separator}words b")
        assert "***" in line
        assert "words" not in line

    def test_makes_one_short_line(self):
        assert Redactor([]).line(" a\tb\r\nc\x00" + "d" * 500) == "a b  c " + "d" * 192


def test_a_copy_of_a_response_does_not_change_the_original(sandbox):
    response = requests.get(f"{sandbox.issuer}/nowhere", verify=sandbox.ca_bundle)
    twin = copy_response(response, b"other")
    twin.headers["X-New"] = "1"
    assert twin.content == b"other"
    assert response.json()["status"] == twin.status_code == 404
    assert "X-New" not in response.headers


@pytest.mark.parametrize("header", ["X-Debug", None])
def test_what_cannot_be_read_is_withheld_and_still_a_token_error(refusal, header):
    reference = f"&#{'1' * 5000};"
    headers = {"Content-Type": "text/html", **({header: reference} if header else {})}
    error = refusal(Answer(400, reference.encode(), headers))
    assert type(error) is TokenError
    assert "withheld" in error.response.text


def test_an_explanation_that_is_too_deep_to_be_written_down_is_none():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert answers._explanation(deep, Redactor([])) is None


class TestRefreshTokens:
    @pytest.fixture
    def ask(self, sandbox):
        def ask(answer, grant=None):
            sandbox.answer_token_requests(Answer.token(refresh_token=answer))
            with requests.Session() as lender:
                lender.verify = sandbox.ca_bundle
                endpoint = TokenEndpoint(sandbox.token_endpoint, (5, 5))
                endpoint.borrow(lender)
                return endpoint.fetch(grant or self.password(sandbox)).refresh_token

        return ask

    @staticmethod
    def password(sandbox, scope=("bankservice", "offline_access")):
        way = ClientSecretPost(Secret(sandbox.client_secret))
        return Password(sandbox.client_id, way, scope, (), sandbox.username, Secret(sandbox.password))

    def test_one_that_repeats_a_secret_is_not_kept(self, ask, sandbox):
        assert ask("good") == "good"
        assert ask(f"x{sandbox.client_secret}") is None
        assert ask(sandbox.password) is None

    def test_one_that_is_still_good_is_kept_though_it_was_sent(self, ask, sandbox):
        first = ask("good", self.password(sandbox))
        with requests.Session() as lender:
            lender.verify = sandbox.ca_bundle
            endpoint = TokenEndpoint(sandbox.token_endpoint, (5, 5))
            endpoint.borrow(lender)
            real = endpoint.fetch(self.password(sandbox))
        assert first == "good"
        grant = self.password(sandbox).refreshing(real)
        assert ask(real.refresh_token, grant) == real.refresh_token
