"""Where the endpoints are: asked for once a day, from the issuer itself, and believed of nobody else."""

from __future__ import annotations

import gzip
import json
import time
import warnings

import pytest
import requests

import aritma_session.endpoint
from aritma_session import (
    DEVELOPMENT,
    PRODUCTION,
    AritmaAuth,
    AritmaSession,
    Environment,
    FileStore,
    MemoryStore,
    TokenEndpointUnavailable,
    TokenError,
)
from aritma_session.metadata import AuthorizationServer, Metadata
from aritma_session.sandbox import Answer

from helpers import at_once
from keys import pem, public_pem

WELL_KNOWN, DAY = "/.well-known/openid-configuration", 86400


@pytest.fixture(autouse=True)
def _without_a_pause(monkeypatch):
    monkeypatch.setattr(aritma_session.endpoint, "BACKOFF", 0.0)


@pytest.fixture
def lender(sandbox):
    with requests.Session() as session:
        session.verify = sandbox.ca_bundle
        yield session


@pytest.fixture
def store(cache):
    return FileStore(cache)


@pytest.fixture
def place(sandbox):
    return Environment.at(sandbox.issuer)


@pytest.fixture
def make(place, store):
    """Make what knows where the endpoints are, as another process would have it, on the same store."""

    def maker(environment=place, cache=store):
        return AuthorizationServer(environment, cache, (5, 5))

    return maker


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test can put forward."""

    class Clock:
        now = time.time()

    monkeypatch.setattr(time, "time", lambda: Clock.now)
    return Clock


def asked(sandbox, kind="discovery"):
    return [request for request in sandbox.requests if request.kind == kind]


def opened(sandbox, **settings):
    session = AritmaSession(**settings)
    session.verify = sandbox.ca_bundle
    return session


class TestAsking:
    def test_is_done_once_for_all_sessions(self, environ, sandbox, echo):
        for _ in range(3):
            sandbox.revoke_all()
            with opened(sandbox) as session:
                assert session.get(echo).ok
        assert len(asked(sandbox)) == 1
        assert sandbox.counts.token_requests == 3

    def test_is_not_done_while_the_token_is_good(self, environ, sandbox, echo, session):
        session.get(echo)
        sandbox.reset_counts()
        with opened(sandbox) as another:
            assert another.get(echo).ok
        assert asked(sandbox) == []

    def test_is_done_once_for_many_threads(self, session, sandbox, echo):
        assert at_once(8, lambda: session.get(echo).status_code) == [200] * 8
        assert len(asked(sandbox)) == 1

    def test_is_done_by_each_session_whose_cache_is_its_own(self, environ, sandbox, echo):
        for _ in range(2):
            with opened(sandbox, cache="memory") as session:
                for _ in range(2):
                    assert session.get(echo).ok
                    sandbox.revoke_all()
        assert len(asked(sandbox)) == 2

    def test_takes_no_credentials_along(self, environ, sandbox, echo, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("machine localhost login other password other\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with opened(sandbox, token_endpoint_auth_method="client_secret_basic") as session:
            session.params, session.headers["X-Own"] = {"own": "1"}, "1"
            assert session.get(echo).ok
        [request] = asked(sandbox)
        assert (request.method, request.path, request.query, request.body) == ("GET", WELL_KNOWN, "", b"")
        assert not {"authorization", "x-own", "cookie"} & {*request.headers}

    def test_is_done_as_the_session_sends_its_requests(self, environ, sandbox, echo, monkeypatch):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with AritmaSession() as session, pytest.raises(TokenError, match="could not prove who it is") as caught:
            session.auth.token()
        assert f"{sandbox.issuer}{WELL_KNOWN}" in str(caught.value)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", sandbox.ca_bundle)
        assert requests.get(echo, auth=AritmaAuth(), timeout=20).ok
        assert len(asked(sandbox)) == 1

    @pytest.mark.parametrize("place", [PRODUCTION, DEVELOPMENT, PRODUCTION.extended("acme"), "hand-made"])
    def test_is_not_done_of_aritmas_own_nor_of_one_made_by_hand(self, make, sandbox, store, place):
        place = Environment(sandbox.issuer) if place == "hand-made" else place
        below = place.tenant_issuer
        expected = Metadata(
            below,
            f"{below}/connect/token",
            f"{below}/connect/authorize",
            f"{below}/connect/revocation",
            f"{below}/.well-known/openid-configuration/jwks",
        )
        assert make(place).metadata() == expected
        assert expected.token_endpoint == place.token_endpoint
        assert sandbox.requests == ()

    def test_is_not_done_by_a_session_of_an_environment_made_by_hand(self, environ, sandbox, echo):
        place = Environment(sandbox.issuer, hosts=[sandbox.issuer.removeprefix("https://")])
        with opened(sandbox, environment=place) as session:
            assert session.get(echo).ok
        assert asked(sandbox) == []


class TestKeeping:
    def test_lasts_a_day_in_memory(self, make, sandbox, lender, clock):
        server = make(cache=MemoryStore())
        first = server.metadata(lender)
        clock.now += DAY - 1
        assert server.metadata(lender) is first
        assert len(asked(sandbox)) == 1
        clock.now += 1
        assert server.metadata(lender) == first
        assert len(asked(sandbox)) == 2

    def test_lasts_a_day_in_the_cache(self, make, sandbox, lender, clock):
        first = make().metadata(lender)
        clock.now += DAY - 1
        assert make().metadata(lender) == first
        assert len(asked(sandbox)) == 1
        clock.now += 1
        assert make().metadata(lender) == first
        assert len(asked(sandbox)) == 2
        clock.now += DAY - 1
        assert make().metadata(lender) == first
        assert len(asked(sandbox)) == 2

    def test_ends_where_the_clock_was_set_back(self, make, sandbox, lender, clock):
        server = make()
        server.metadata(lender)
        clock.now -= 1
        server.metadata(lender)
        assert len(asked(sandbox)) == 2

    def test_takes_what_another_process_has_found_out(self, make, sandbox, lender, clock):
        first, second = make(), make()
        first.metadata(lender)
        clock.now += DAY
        second.metadata(lender)
        assert first.metadata(lender) == second.metadata(lender)
        assert len(asked(sandbox)) == 2

    def test_keeps_nothing_that_nobody_vouched_for(self, make, sandbox, lender, store, monkeypatch):
        """Whoever answered in the server's place once is not to be believed by others, nor later."""
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        lender.verify = False
        server = make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server.metadata(lender)
            server.metadata(lender)
        assert store.load_document(server._key) is None
        assert len(asked(sandbox)) == 2

    @pytest.mark.parametrize("endpoint", ["token_endpoint", "revocation_endpoint", "authorization_endpoint"])
    @pytest.mark.parametrize("own", [PRODUCTION, DEVELOPMENT])
    def test_no_other_issuer_names_the_endpoints_of_aritmas_own(self, make, sandbox, lender, endpoint, own):
        """Its API host would be given tokens of theirs."""
        sandbox.answer("discovery", Answer.changed(**{endpoint: f"{own.issuer}/connect/token"}))
        with pytest.raises(TokenError, match=f"their {endpoint} is Aritma ID's, and they are of another issuer"):
            make().metadata(lender)

    def test_holds_what_is_used_and_no_more(self, make, sandbox, lender, store):
        sandbox.answer("discovery", Answer.changed(more="x" * 1000))
        server = make()
        server.metadata(lender)
        record = json.loads(store.load_document(server._key))
        assert {*record} == {"found_at", "metadata"}
        endpoints = {"token_endpoint", "authorization_endpoint", "revocation_endpoint", "jwks_uri"}
        assert {*record["metadata"]} == {"issuer", *endpoints, "authorization_response_iss_parameter_supported"}

    def test_is_of_one_issuer_with_whatever_tenant(self, make, sandbox, lender, place):
        plain, tenant = make().metadata(lender), make(place.extended("acme")).metadata(lender)
        assert len(asked(sandbox)) == 1
        assert plain.token_endpoint == f"{sandbox.issuer}/connect/token"
        assert tenant.token_endpoint == f"{sandbox.issuer}/acme/connect/token"
        another = make(Environment.at(f"{sandbox.issuer}/acme")).metadata(lender)
        assert another == tenant
        assert [request.path for request in asked(sandbox)] == [WELL_KNOWN, f"/acme{WELL_KNOWN}"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda record: b"",
            lambda record: b"{",
            lambda record: b"\xff\xfe\x00",
            lambda record: b"[" * 100_000,
            lambda record: b"[]",
            lambda record: b"null",
            lambda record: json.dumps({**record, "metadata": 5}).encode(),
            lambda record: json.dumps({"metadata": record["metadata"]}).encode(),
            lambda record: json.dumps({**record, "found_at": "today"}).encode(),
            lambda record: json.dumps({**record, "found_at": None}).encode(),
            lambda record: json.dumps({**record, "found_at": float("nan")}).encode(),
            lambda record: json.dumps({**record, "found_at": record["found_at"] + 1000}).encode(),
            lambda record: json.dumps(
                {**record, "metadata": {**record["metadata"], "issuer": "https://x.example"}}
            ).encode(),
            lambda record: json.dumps(
                {**record, "metadata": {**record["metadata"], "token_endpoint": "http://x.example"}}
            ).encode(),
        ],
    )
    def test_that_was_damaged_is_not_believed(self, make, sandbox, lender, store, change):
        server = make()
        first = server.metadata(lender)
        store.save_document(server._key, change(json.loads(store.load_document(server._key))))
        assert make().metadata(lender) == first
        assert len(asked(sandbox)) == 2
        assert make().metadata(lender) == first
        assert len(asked(sandbox)) == 2

    def test_of_another_issuer_is_not_believed(self, make, sandbox, lender, store, place):
        other = Environment.at(f"{sandbox.issuer}/acme")
        one, another = make(), make(other)
        another.metadata(lender)
        store.save_document(one._key, store.load_document(another._key))
        assert one.metadata(lender).token_endpoint == f"{sandbox.issuer}/connect/token"

    def test_is_not_needed_of_a_store(self, environ, sandbox, echo):
        class TokensOnly:
            def __init__(self):
                store = MemoryStore()
                self.load, self.save, self.remove, self.lock = store.load, store.save, store.remove, store.lock

        with opened(sandbox, cache=TokensOnly()) as session:
            for _ in range(2):
                assert session.get(echo).ok
                sandbox.revoke_all()
        assert len(asked(sandbox)) == 1
        assert sandbox.counts.token_requests == 2

    def test_may_fail(self, make, sandbox, lender):
        class Failing(MemoryStore):
            def load_document(self, key):
                raise OSError(5, "Input/output error")

            save_document = load_document

            def __init__(self):
                super().__init__()
                self.save_document = lambda key, document: self.load_document(key)

        server = make(cache=Failing())
        assert server.metadata(lender) is server.metadata(lender)
        assert len(asked(sandbox)) == 1


class TestBelief:
    def test_takes_endpoints_wherever_they_are(self, environ, sandbox, echo):
        sandbox.answer("discovery", Answer.changed(token_endpoint=f"{sandbox.other_host}/connect/token"))
        with opened(sandbox) as session:
            assert session.get(echo).ok
        [request] = asked(sandbox, "token")
        assert request.host == sandbox.other_host.removeprefix("https://")

    def test_signs_for_the_token_endpoint_that_was_found(self, environ, sandbox, echo):
        sandbox.register_key(public_pem("P-256"))
        with opened(sandbox, client_secret=None, private_key=pem("P-256"), tenant="acme") as session:
            assert session.get(echo).ok

    def test_puts_the_tenant_between_host_and_path(self, environ, sandbox, echo):
        with opened(sandbox, tenant="acme") as session:
            assert session.get(echo).ok
        assert [request.path for request in asked(sandbox)] == [WELL_KNOWN]
        assert [request.path for request in asked(sandbox, "token")] == ["/acme/connect/token"]

    def test_puts_no_tenant_where_another_host_is(self, make, sandbox, lender, place):
        elsewhere = f"{sandbox.other_host}/connect/token"
        sandbox.answer("discovery", Answer.changed(token_endpoint=elsewhere, revocation_endpoint=None))
        found = make(place.extended("acme")).metadata(lender)
        assert (found.token_endpoint, found.revocation_endpoint) == (elsewhere, "")
        assert found.issuer == f"{sandbox.issuer}/acme"
        assert found.jwks_uri == f"{sandbox.issuer}/acme{WELL_KNOWN}/jwks"

    @pytest.mark.parametrize(("said", "is_true"), [(True, True), (None, False), ("true", False), (1, False)])
    def test_of_what_is_sent_with_a_login_is_strict(self, make, sandbox, lender, said, is_true):
        sandbox.answer("discovery", Answer.changed(authorization_response_iss_parameter_supported=said))
        assert make().metadata(lender).sends_issuer is is_true
        assert make().metadata(lender).sends_issuer is is_true  # as it was kept
        assert len(asked(sandbox)) == 1

    @pytest.mark.parametrize(
        "wrong",
        ["{}/", "{}/acme", "{}.example", "https://other.example", "", None, 5, ["{}"], " {}", "HTTPS://LOCALHOST"],
    )
    def test_is_refused_to_another_issuer(self, make, sandbox, lender, wrong, store):
        issuer = wrong.format(sandbox.issuer) if isinstance(wrong, str) else wrong
        sandbox.answer("discovery", Answer.changed(issuer=issuer))
        server = make()
        with pytest.raises(TokenError) as caught:
            server.metadata(lender)
        assert_clear(caught.value, sandbox, f"they are of another issuer than {sandbox.issuer}")
        assert store.load_document(server._key) is None

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "http://localhost/token",
                "ftp://localhost/",
                "//localhost/token",
                "/connect/token",
                "",
                5,
                ["https://a"],
            ),
            *(
                "https://user:pass@localhost/token",
                "https://localhost/a b",
                "https://local\\host/",
                "https://localhost#a",
            ),
            *("https://localhost:65536/", "https://l\u00f6calhost/", "https://localhost/\n", " https://localhost/"),
        ],
    )
    @pytest.mark.parametrize("name", ["token_endpoint", "revocation_endpoint", "authorization_endpoint", "jwks_uri"])
    def test_is_refused_to_what_is_no_plain_https(self, make, sandbox, lender, name, url):
        sandbox.answer("discovery", Answer.changed(**{name: url}))
        with pytest.raises(TokenError) as caught:
            make().metadata(lender)
        assert_clear(caught.value, sandbox, f"their {name} is no https URL")
        assert "pass@" not in str(caught.value)

    def test_needs_a_token_endpoint(self, make, sandbox, lender):
        sandbox.answer("discovery", Answer.changed(token_endpoint=None))
        with pytest.raises(TokenError) as caught:
            make().metadata(lender)
        assert_clear(caught.value, sandbox, "they name no token_endpoint")


def assert_clear(error, sandbox, said, kind=TokenError):
    """An error says in one line what is wrong, of which URL, and what to do."""
    assert type(error) is kind
    assert said in str(error)
    assert f"{sandbox.issuer}{WELL_KNOWN}" in str(error)
    assert "ARITMA_ENVIRONMENT" in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 600


#: Answers that are no metadata, and what is said of them.
USELESS = [
    pytest.param(Answer.error(404), "are not at", id="404"),
    pytest.param(Answer.error(401), "are not at", id="401"),
    pytest.param(Answer(204), "are not at", id="204"),
    pytest.param(Answer.redirect("https://localhost/elsewhere"), "(HTTP 307)", id="a redirect"),
    pytest.param(Answer.redirect("https://localhost/elsewhere", 301), "(HTTP 301)", id="a lasting redirect"),
    pytest.param(Answer.html(), "they are no JSON object", id="a page"),
    pytest.param(Answer(200), "they are no JSON object", id="nothing"),
    pytest.param(Answer(200, b"\xff\xfe\x00"), "they are no JSON object", id="bytes"),
    pytest.param(Answer.json([]), "they are no JSON object", id="a list"),
    pytest.param(Answer.json("issuer"), "they are no JSON object", id="a string"),
    pytest.param(Answer.json({}), "they are of another issuer", id="an empty object"),
    pytest.param(Answer(200, b'{"a":' * 10_000), "they are no JSON object", id="deep JSON"),
    pytest.param(Answer(200, b"[" * 20_000 + b"]" * 20_000), "they are no JSON object", id="deep lists"),
    pytest.param(Answer(200, b"1" * 5000), "they are no JSON object", id="a long number"),
    pytest.param(Answer(200, b" " * 10 * 2**20), "bytes long", id="10 MiB"),
    pytest.param(
        Answer(200, gzip.compress(b" " * 10 * 2**20), {"Content-Encoding": "gzip"}), "bytes long", id="10 MiB packed"
    ),
]


class TestTrouble:
    @pytest.mark.parametrize(("answer", "said"), USELESS)
    def test_with_the_answer_is_one_clear_error_and_no_token_request(self, environ, sandbox, echo, answer, said):
        sandbox.answer("discovery", answer)
        with opened(sandbox) as session:
            with pytest.raises(TokenError) as caught:
                session.get(echo)
            assert_clear(caught.value, sandbox, said)
            assert (len(sandbox.requests), sandbox.counts.token_requests) == (1, 0)
            assert session.get(echo).ok
        assert len(asked(sandbox)) == 2

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (Answer.error(500), "is in trouble (HTTP 500): try again later"),
            (Answer.error(503, retry_after=0), "is in trouble (HTTP 503): try again later"),
            (Answer.error(429, retry_after=0), "is in trouble (HTTP 429): try again later"),
            (Answer.reset(), "could not be reached"),
            (Answer.cut(), "could not be reached"),
            (Answer.truncated(), "could not be reached"),
        ],
    )
    def test_that_may_pass_is_tried_three_times(self, environ, sandbox, echo, answer, said):
        with opened(sandbox) as session:
            sandbox.answer("discovery", answer, answer)
            assert session.get(echo).ok
            assert len(asked(sandbox)) == 3
        sandbox.reset()
        with opened(sandbox, cache="memory") as session:
            sandbox.answer("discovery", *[answer] * 3)
            with pytest.raises(TokenEndpointUnavailable) as caught:
                session.get(echo)
            assert said in str(caught.value)
            assert f"{sandbox.issuer}{WELL_KNOWN}" in str(caught.value)
            assert (len(asked(sandbox)), sandbox.counts.token_requests) == (3, 0)

    def test_is_told_with_the_answer(self, make, sandbox, lender):
        sandbox.answer("discovery", Answer.html("<h1>Gone fishing</h1>", 404))
        with pytest.raises(TokenError) as caught:
            make().metadata(lender)
        assert caught.value.response.status_code == 404
        assert caught.value.response.text == "<h1>Gone fishing</h1>"

    def test_of_no_kind_that_is_known_is_raised_as_it_is(self, make, sandbox, lender):
        class Interrupting(requests.adapters.HTTPAdapter):
            def send(self, request, **kwargs):
                raise KeyboardInterrupt

        lender.mount("https://", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            make().metadata(lender)
