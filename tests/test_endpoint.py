"""How often the token endpoint is asked, after which pauses, and what is raised in the end."""

from __future__ import annotations

import gc
import logging
import random
import socket
import time
import weakref
from email.utils import formatdate, parsedate_to_datetime

import pytest
import requests
from requests.adapters import HTTPAdapter

import aritma_session.endpoint
from aritma_session.clients import ClientSecretPost
from aritma_session.credentials import Secret
from aritma_session.endpoint import BACKOFF, LONGEST_RETRY_AFTER, TRIES, TokenEndpoint
from aritma_session.exceptions import CredentialsRefused, TokenEndpointUnavailable, TokenError
from aritma_session.grants import ClientCredentials
from aritma_session.sandbox import Answer
from aritma_session.tokens import Token

from helpers import said

TRANSIENT = [408, 425, 429, 500, 502, 503, 504]
LASTING = [400, 401, 403, 404, 405, 409, 410, 413, 415, 418, 422, 501, 505, 599]


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
def grant(sandbox):
    return ClientCredentials(sandbox.client_id, ClientSecretPost(Secret(sandbox.client_secret)), ("bankservice",))


@pytest.fixture
def fetch(sandbox, endpoint, grant):
    """Ask for a token, with answers prepared."""

    def fetch(*answers):
        sandbox.answer_token_requests(*answers)
        return endpoint.fetch(grant)

    return fetch


@pytest.fixture(autouse=True)
def pauses(request, monkeypatch):
    """The pauses between tries, which are noted instead of made, but for a test that wants them."""
    made = []
    if "arrivals" in request.fixturenames:
        return made
    monkeypatch.setattr(aritma_session.endpoint.time, "sleep", made.append)
    return made


def test_a_good_answer_is_asked_for_once(sandbox, endpoint, grant, pauses):
    token = endpoint.fetch(grant)
    assert isinstance(token, Token)
    assert token.lifetime == pytest.approx(sandbox.token_lifetime)
    assert token.scope == "bankservice"
    assert sandbox.counts.token_requests == 1
    assert pauses == []


def test_the_token_is_one_that_the_api_takes(endpoint, grant, lender, echo):
    token = endpoint.fetch(grant)
    assert lender.get(echo, headers={"Authorization": f"Bearer {token.access_token}"}).status_code == 200


@pytest.mark.parametrize(
    "trouble",
    [
        *(pytest.param(Answer.error(status), id=str(status)) for status in TRANSIENT),
        pytest.param(Answer.html("<h1>Bad gateway</h1>", 502), id="502 as a page"),
        pytest.param(Answer.error(503, "temporarily_unavailable"), id="503 as JSON"),
        pytest.param(Answer.reset(), id="reset before the answer"),
        pytest.param(Answer.cut(), id="reset amid the answer"),
        pytest.param(Answer.truncated(), id="end amid the answer"),
    ],
)
class TestPassingTrouble:
    def test_once_is_got_over(self, fetch, sandbox, pauses, trouble):
        assert isinstance(fetch(trouble), Token)
        assert sandbox.counts.token_requests == 2
        assert len(pauses) == 1

    def test_twice_is_got_over(self, fetch, sandbox, pauses, trouble):
        assert isinstance(fetch(trouble, trouble), Token)
        assert sandbox.counts.token_requests == 3
        assert len(pauses) == 2

    def test_three_times_is_an_unavailable_endpoint(self, fetch, sandbox, pauses, trouble):
        with pytest.raises(TokenEndpointUnavailable, match="later"):
            fetch(trouble, trouble, trouble)
        assert sandbox.counts.token_requests == TRIES == 3
        assert len(pauses) == 2


def test_every_try_sends_the_same(fetch, sandbox):
    fetch(Answer.error(503), Answer.reset())
    first, second, third = sandbox.requests
    assert first.body == second.body == third.body
    assert dict(first.headers) == dict(second.headers) == dict(third.headers)


def test_troubles_of_different_kinds_are_counted_together(fetch, sandbox):
    with pytest.raises(TokenEndpointUnavailable):
        fetch(Answer.reset(), Answer.error(429), Answer.reset(), Answer.error(400))
    assert sandbox.counts.token_requests == 3


def test_what_the_last_try_met_is_raised(fetch, sandbox):
    with pytest.raises(CredentialsRefused):
        fetch(Answer.error(503), Answer.error(503), Answer.error(401, "invalid_client"))
    assert sandbox.counts.token_requests == 3


def test_a_refusal_after_trouble_is_not_tried_again(fetch, sandbox):
    with pytest.raises(CredentialsRefused):
        fetch(Answer.error(503), Answer.error(401, "invalid_client"))
    assert sandbox.counts.token_requests == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer.error(400), id="400"),
        pytest.param(Answer.error(400, "invalid_request"), id="400 invalid_request"),
        pytest.param(Answer.error(400, "invalid_client"), id="400 invalid_client"),
        pytest.param(Answer.error(400, "invalid_scope"), id="400 invalid_scope"),
        pytest.param(Answer.error(401), id="401"),
        pytest.param(Answer.error(401, "invalid_client"), id="401 invalid_client"),
        pytest.param(Answer.error(403), id="403"),
        pytest.param(Answer.error(404), id="404"),
        pytest.param(Answer.error(501), id="501"),
        pytest.param(Answer.redirect("https://localhost/elsewhere"), id="307"),
        pytest.param(Answer.html(), id="a page"),
        pytest.param(Answer.json({"error": "invalid_client"}), id="200 invalid_client"),
        pytest.param(Answer.token(access_token=None), id="no access_token"),
        pytest.param(Answer.error(400, "invalid_client", retry_after=1), id="400 with Retry-After"),
    ],
)
def test_an_answer_that_would_be_the_same_again_is_not_asked_for_again(fetch, sandbox, pauses, answer):
    with pytest.raises(TokenError) as caught:
        fetch(answer)
    assert not isinstance(caught.value, TokenEndpointUnavailable)
    assert sandbox.counts.token_requests == 1
    assert pauses == []


@pytest.mark.parametrize("stated", [None, "1", "0", "86400", "Thu, 01 Jan 1970 00:00:00 GMT", "soon", "-1"])
@pytest.mark.parametrize("status", [*TRANSIENT, *LASTING])
def test_every_status_is_a_token_error_and_the_next_call_works(fetch, sandbox, pauses, status, stated):
    with pytest.raises(TokenError, match=f"HTTP {status}") as caught:
        fetch(*[Answer.error(status, retry_after=stated)] * (3 if status in TRANSIENT else 1))
    assert isinstance(caught.value, TokenEndpointUnavailable) == (status in TRANSIENT)
    assert isinstance(caught.value, CredentialsRefused) == (status == 401)
    assert all(0 <= pause <= LONGEST_RETRY_AFTER for pause in pauses)
    asked = sandbox.counts.token_requests
    assert asked == (3 if status in TRANSIENT else 1)
    assert isinstance(fetch(), Token)
    assert sandbox.counts.token_requests == asked + 1


def test_wrong_credentials_are_refused_once(sandbox, endpoint, pauses):
    with pytest.raises(CredentialsRefused) as caught:
        endpoint.fetch(ClientCredentials(sandbox.client_id, ClientSecretPost(Secret("not-the-secret"))))
    assert caught.value.error == "invalid_client"
    assert caught.value.response.status_code == 401
    assert sandbox.counts.token_requests == 1
    assert pauses == []


def test_an_endpoint_where_nobody_listens_is_tried_three_times(grant, pauses):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(TokenEndpointUnavailable, match="could not be reached"):
        TokenEndpoint(f"https://127.0.0.1:{port}/connect/token", (5, 5)).fetch(grant)
    assert len(pauses) == 2


def test_what_may_not_be_sent_twice_is_sent_once(sandbox, endpoint, grant, pauses):
    class Once(ClientCredentials):
        __slots__ = ()
        repeatable = False

    sandbox.answer_token_requests(Answer.error(503))
    with pytest.raises(TokenEndpointUnavailable):
        endpoint.fetch(Once(grant.client_id, grant.authentication, grant.scope))
    assert sandbox.counts.token_requests == 1
    assert pauses == []


def test_a_url_that_has_to_be_found_out_is_found_out_with_the_session_that_is_lent(sandbox, grant, lender):
    lent = []

    def find_out(session):
        lent.append(session)
        return sandbox.token_endpoint

    endpoint = TokenEndpoint(find_out, (5, 5))
    endpoint.borrow(lender)
    assert isinstance(endpoint.fetch(grant), Token)
    assert lent == [lender]


class TestBackOff:
    @pytest.mark.parametrize(("luck", "expected"), [(0, [0.5, 1.0]), (1, [0.75, 1.5])])
    def test_doubles_from_try_to_try(self, fetch, pauses, monkeypatch, luck, expected):
        monkeypatch.setattr(random, "uniform", lambda *bounds: bounds[luck])
        fetch(Answer.error(503), Answer.reset())
        assert pauses == pytest.approx(expected)

    def test_differs_between_processes(self, fetch, pauses):
        for seed in range(5):
            random.seed(seed)
            fetch(Answer.error(503))
        assert len(set(pauses)) == 5
        assert all(BACKOFF <= pause <= BACKOFF * 1.5 for pause in pauses)

    @pytest.mark.parametrize("status", TRANSIENT)
    def test_is_what_the_server_asks_for(self, fetch, pauses, status):
        fetch(Answer.error(status, retry_after=7), Answer.error(status, retry_after=0))
        assert pauses == [7.0, 0.0]

    @pytest.mark.parametrize(
        ("stated", "expected"),
        [
            ("30", LONGEST_RETRY_AFTER),
            ("31", LONGEST_RETRY_AFTER),
            ("86400", LONGEST_RETRY_AFTER),
            ("99999999999999999999", LONGEST_RETRY_AFTER),
            ("Wed, 01 Jan 2025 00:00:12 GMT", 12.0),
            ("Wednesday, 01-Jan-25 00:00:12 GMT", 12.0),
            ("Wed, 01 Jan 2025 01:00:12 +0100", 12.0),
            ("Tue, 31 Dec 2024 23:59:59 GMT", 0.0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
            ("Fri, 31 Dec 2100 00:00:00 GMT", LONGEST_RETRY_AFTER),
        ],
    )
    def test_understands_seconds_and_dates_and_has_a_limit(self, fetch, pauses, monkeypatch, stated, expected):
        monkeypatch.setattr(time, "time", lambda: 1735689600.0)  # 2025-01-01
        fetch(Answer.error(503, retry_after=stated))
        assert pauses == [expected]

    @pytest.mark.parametrize(
        "stated",
        ["soon", "-5", "1.5", "1e3", "inf", "nan", "0x10", "1 2", "٣", "Fri, 31 Dec 99999 23:59:59 GMT", "Mon, 99 Foo"],
    )
    def test_does_not_mind_nonsense(self, fetch, pauses, stated, caplog):
        caplog.set_level("DEBUG", logger="aritma_session")
        stated = stated.encode().decode("latin-1")
        assert isinstance(fetch(Answer(503, headers={"Retry-After": stated})), Token)
        assert said(caplog)[0] == ("DEBUG", f"a Retry-After header that says nothing: {stated!r}")
        [pause] = pauses
        assert 0 <= pause <= LONGEST_RETRY_AFTER

    def test_does_not_mind_a_number_of_5000_digits(self, fetch, pauses):
        assert isinstance(fetch(Answer.error(503, retry_after="9" * 5000)), Token)
        [pause] = pauses
        assert 0 < pause <= LONGEST_RETRY_AFTER

    def test_is_told_in_the_log(self, fetch, caplog):
        caplog.set_level(logging.INFO, "aritma_session")
        fetch(Answer.error(503, retry_after=7))
        [said] = [record.getMessage() for record in caplog.records if record.name == "aritma_session"]
        assert "7.0 s" in said
        assert "503" in said


class TestRealPauses:
    """As the server sees them."""

    @pytest.fixture
    def arrivals(self, sandbox, lender):
        """When the tries of a token request were sent."""
        times = []

        class Noting(HTTPAdapter):
            def send(self, request, **kwargs):
                times.append(time.time())
                return super().send(request, **kwargs)

        before = lender.get_adapter("https://")
        lender.mount("https://", Noting())
        yield times
        lender.mount("https://", before)

    def test_are_as_long_as_the_server_asks(self, sandbox, fetch, arrivals):
        date = formatdate(time.time() + 2, usegmt=True)  # whole seconds: it may be in one already
        assert fetch(Answer.error(429, retry_after=date), Answer.error(503, retry_after=1))
        assert sandbox.counts.token_requests == len(arrivals) == 3
        _, second, third = arrivals
        assert second >= parsedate_to_datetime(date).timestamp()
        assert third - second >= 1

    def test_are_short_where_it_asks_for_none(self, sandbox, fetch, arrivals):
        assert fetch(Answer.error(503, retry_after=0), Answer.error(503, retry_after="Thu, 01 Jan 1970 00:00:00 GMT"))
        assert sandbox.counts.token_requests == len(arrivals) == 3


class TestLender:
    def test_none_is_needed(self, sandbox, grant, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", sandbox.ca_bundle)
        endpoint = TokenEndpoint(sandbox.token_endpoint, (5, 5))
        assert endpoint.lender is None
        assert isinstance(endpoint.fetch(grant), Token)

    def test_is_known(self, endpoint, lender):
        assert endpoint.lender is lender

    def test_can_be_another_one_later(self, endpoint, sandbox, grant):
        with requests.Session() as other:
            endpoint.borrow(other)
            assert endpoint.lender is other
            with pytest.raises(TokenError):  # it does not know the sandbox's certificate authority
                endpoint.fetch(grant)
        assert sandbox.counts.token_requests == 0

    def test_is_not_kept_alive(self, sandbox):
        lender = requests.Session()
        endpoint, alive = TokenEndpoint(sandbox.token_endpoint, (5, 5)), weakref.ref(lender)
        endpoint.borrow(lender)
        del lender
        gc.collect()
        assert alive() is None
        assert endpoint.lender is None

    def test_is_still_open_after_a_token_request(self, fetch, sandbox, lender, monkeypatch):
        closed = []
        adapter = lender.get_adapter(sandbox.token_endpoint)
        monkeypatch.setattr(adapter, "close", lambda: closed.append(True))
        fetch()
        assert closed == []


def test_another_try_and_its_pause_stand_in_the_log(fetch, pauses, caplog):
    caplog.set_level("INFO", logger="aritma_session")
    fetch(Answer.error(503, retry_after=7))
    [(level, message)] = said(caplog)
    assert level == "INFO"
    assert message.startswith("asking for a token again in 7.0 s: Aritma ID at https://")
