"""A person logs in with a browser, one that knows no JavaScript here; and everything else that may come to the port."""

from __future__ import annotations

import http.client
import logging
import re
import socket
import subprocess
import sys
import threading
import traceback
from urllib.parse import parse_qs, parse_qsl, urlencode, urljoin, urlsplit

import pytest
import requests

from aritma_session import (
    AritmaSession,
    CredentialsRefused,
    Environment,
    LoginRequired,
    MemoryStore,
    Token,
    TokenEndpointUnavailable,
    TokenError,
    loopback,
)
from aritma_session.login import log_in
from aritma_session.pages import DENIED, EXPIRED, FAILED, FORWARD, LOGGED_IN, USED, WRONG_STATE
from aritma_session.sandbox import Answer
from aritma_session.settings import Settings

from helpers import wait_for

OPENID = "openid bankservice offline_access"


class Person:
    """Whoever sits before the browser."""

    def __init__(self, sandbox):
        self.http = requests.Session()
        self.http.verify = sandbox.ca_bundle
        self.form = {"username": sandbox.username, "password": sandbox.password, "action": "allow"}

    def sign_in(self, url, **form):
        """Fill in the server's form: where it sends the browser, and what with."""
        answer = self.http.post(url, data={**self.form, **form}, allow_redirects=False)
        if answer.status_code == 303:
            return answer.headers["Location"], None
        assert answer.status_code == 200, answer.text
        fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', answer.text))
        return re.search(r'action="([^"]+)"', answer.text)[1], fields

    def come_back(self, place, fields=None):
        """Follow the server's answer to the port, and see the page there."""
        return self.http.request("POST" if fields else "GET", place, data=fields)

    def log_in(self, url, **form):
        return self.come_back(*self.sign_in(url, **form))


def title(answer):
    return re.search(r"<h1>(.*)</h1>", answer.text)[1]


@pytest.fixture
def person(sandbox):
    person = Person(sandbox)
    with person.http:
        yield person


@pytest.fixture
def lender(sandbox):
    with requests.Session() as session:
        session.verify = sandbox.ca_bundle
        yield session


@pytest.fixture
def settings(sandbox, cache):
    def settings(**changes):
        given = {"grant": "authorization_code", "environment": sandbox.issuer, "cache": cache}
        return Settings.resolve(**{"client_id": sandbox.public_client_id, **given, **changes})

    return settings


@pytest.fixture
def attempt(person, lender, settings):
    """Log in, while a person does something with the URL: the token or the error, and what came of that."""

    def attempt(act=person.log_in, more=None, **changes):
        seen, failed = [], []

        def browse(begin):
            def work():
                try:
                    url = requests.get(begin, allow_redirects=False, timeout=20).headers["Location"]
                    seen.append(act(url))
                except Exception as error:  # noqa: BLE001  # told in the test's own thread
                    failed.append(error)

            threads.append(threading.Thread(target=work))
            threads[-1].start()

        threads = []
        options = {"patience": 20, "lender": lender, **(more or {})}
        try:
            outcome = log_in(settings(**changes), show=lambda url: None, open_browser=browse, **options)
        except (TokenError, ValueError) as error:
            outcome = error
        for thread in threads:
            thread.join(20)
        assert not failed, failed
        return outcome, *seen

    return attempt


def kept(settings):
    return settings.cache.load(settings.cache_key)


def forms(sandbox, kind="token"):
    return [dict(parse_qsl(request.body.decode())) for request in sandbox.requests if request.kind == kind]


def asked(sandbox):
    """The parameters of the first request to the authorize endpoint."""
    return dict(parse_qsl(next(each for each in sandbox.requests if each.kind == "authorize").query))


class TestAuthorizationCode:
    def test_a_login_leaves_a_token_that_sessions_use_and_refresh(self, attempt, sandbox, settings, person, cache):
        token, page = attempt()
        assert title(page) == LOGGED_IN.title
        assert kept(settings()) == token
        assert token.refresh_token
        arguments = {"environment": sandbox.issuer, "grant": "authorization_code", "cache": cache}
        with AritmaSession(sandbox.public_client_id, **arguments) as session:
            session.verify = sandbox.ca_bundle
            response = session.get(f"{sandbox.api_url}/echo")
            assert response.request.headers["Authorization"] == f"Bearer {token.access_token}"
            sandbox.revoke_all()
            assert session.get(f"{sandbox.api_url}/echo").ok
        assert sandbox.counts.refreshes == 1
        assert kept(settings()).refresh_token != token.refresh_token

    def test_the_code_is_asked_for_with_pkce_and_exchanged_with_what_proves_it(self, attempt, sandbox, person):
        attempt()
        question, [exchange] = asked(sandbox), forms(sandbox)
        assert question["response_type"] == "code"
        assert question["code_challenge_method"] == "S256"
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", question["redirect_uri"])
        assert set(exchange) == {"grant_type", "client_id", "code", "code_verifier", "redirect_uri"}
        assert len(exchange["code_verifier"]) == 64
        assert exchange["redirect_uri"] == question["redirect_uri"]
        assert exchange["code_verifier"] != question["code_challenge"]

    def test_a_client_with_a_secret_proves_itself_as_well(self, attempt, sandbox):
        token, _ = attempt(client_id=sandbox.client_id, client_secret=sandbox.client_secret)
        assert isinstance(token, Token)
        assert forms(sandbox)[0]["client_secret"] == sandbox.client_secret
        assert "code_verifier" in forms(sandbox)[0]

    def test_each_login_is_begun_with_secrets_of_its_own(self, attempt, sandbox):
        for _ in range(2):
            attempt(scope=OPENID)
        queries = [dict(parse_qsl(each.query)) for each in sandbox.requests if each.kind == "authorize"]
        for name in ("state", "nonce", "code_challenge"):
            assert len({query[name] for query in queries}) == 2

    def test_what_is_asked_of_the_server_is_what_the_caller_said(self, attempt, sandbox):
        more = {"prompt": "login", "acr_values": "mfa"}
        attempt(more=more, username="anna", extra={"audience": "a b"}, scope="bankservice", tenant="acme")
        question = asked(sandbox)
        assert {**more, "login_hint": "anna", "audience": "a b", "scope": "bankservice"}.items() <= question.items()
        assert "nonce" not in question
        assert next(each for each in sandbox.requests if each.kind == "authorize").path == "/acme/connect/authorize"

    def test_a_port_can_be_chosen(self, attempt, sandbox):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        token, _ = attempt(more={"port": port})
        assert isinstance(token, Token)
        assert urlsplit(asked(sandbox)["redirect_uri"]).port == port

    def test_a_port_that_is_taken_is_said_so(self, attempt):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            (error,) = attempt(more={"port": port})
        assert str(error).startswith(f"the port {port} of 127.0.0.1 cannot be had (")
        assert "--port" in str(error)

    def test_the_browser_is_left_at_an_address_without_the_code(self, attempt):
        _, page = attempt()
        assert urlsplit(page.url).path == "/done"
        assert not urlsplit(page.url).query
        assert [hop.status_code for hop in page.history] == [303]
        assert page.history[0].text == ""

    def test_the_browser_is_started_with_an_address_that_is_good_once(self, sandbox, settings, lender, person):
        """Other accounts can see what it is started with."""
        began = []

        def browse(begin):
            began.append(begin)
            first, second = (requests.get(begin, allow_redirects=False, timeout=20) for _ in range(2))
            assert first.headers["Location"].startswith(f"{sandbox.issuer}/connect/authorize?")
            assert second.headers["Location"] == USED.path

        with pytest.raises(TokenError, match="was used twice: another program of this machine may have seen it"):
            log_in(settings(), show=lambda url: None, open_browser=browse, patience=20, lender=lender)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/begin/[\w-]{22}", began[0])
        assert kept(settings()) is None

    def test_what_vouches_for_a_token_that_comes_through_the_browser_is_needed_beforehand(self, settings, monkeypatch):
        monkeypatch.setitem(sys.modules, "jwt", None)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ValueError, match=r'pip install "aritma-session\[jwt\]"'):
            log_in(settings(grant="implicit", scope=OPENID), show=print)

    def test_a_code_is_sent_once_whatever_becomes_of_the_answer(self, attempt, sandbox):
        sandbox.answer_token_requests(Answer.cut())
        error, _ = attempt()
        assert type(error) is TokenEndpointUnavailable
        assert sandbox.counts.token_requests == 1

    def test_a_grant_without_a_login_is_refused(self, sandbox, settings):
        plain = settings(grant="client_credentials", client_secret=sandbox.client_secret)
        with pytest.raises(ValueError, match=r"^grant is 'client_credentials', which needs no login"):
            log_in(plain, show=print)

    def test_a_server_where_nobody_can_log_in_is_told(self, attempt, sandbox):
        sandbox.answer("discovery", Answer.token(authorization_endpoint=None))
        (error,) = attempt()
        assert "has no authorization endpoint" in str(error)

    def test_a_login_that_nobody_answers_ends(self, attempt, sandbox):
        error, _ = attempt(lambda url: None, more={"patience": 0.2})
        assert type(error) is LoginRequired
        assert str(error).startswith("nobody logged in within 0.2 s: run aritma-session login --client-id sandbox-app ")


class TestAnswers:
    @pytest.fixture
    def refused(self, attempt, settings):
        """Come back with something odd: the error, and the page; what was stored before is as it was."""
        before = Token("before", 0.0, 1.0, refresh_token="before")
        settings().cache.save(settings().cache_key, before)

        def refused(*arguments, **options):
            error, page = attempt(*arguments, **options)
            assert isinstance(error, TokenError)
            assert kept(settings()) == before
            return error, page

        return refused

    @pytest.mark.parametrize(
        ("code", "kind", "advice"),
        [
            ("invalid_request", TokenError, "check tenant and extra"),
            ("unauthorized_client", CredentialsRefused, "ask Aritma to allow this client the authorization-code grant"),
            ("access_denied", TokenError, "log in again, and allow it"),
            ("unsupported_response_type", CredentialsRefused, "does not offer the authorization-code grant"),
            ("invalid_scope", CredentialsRefused, "check scope (ARITMA_SCOPE)"),
            ("server_error", TokenEndpointUnavailable, "try again later"),
            ("temporarily_unavailable", TokenEndpointUnavailable, "try again later"),
            ("login_required", LoginRequired, "without --prompt none"),
            ("interaction_required", LoginRequired, "without --prompt none"),
            ("consent_required", LoginRequired, "without --prompt none"),
            ("account_selection_required", LoginRequired, "without --prompt none"),
            ("something_else", TokenError, "see the error code in RFC 6749"),
        ],
    )
    def test_a_refusal_is_an_error_that_says_what_to_do(self, refused, sandbox, code, kind, advice):
        sandbox.answer_authorize_requests(Answer.refusal(code))
        error, page = refused()
        assert (type(error), error.error) == (kind, code)
        assert advice in str(error)
        assert f"refused the login: {code}" in str(error)
        assert title(page) == (DENIED if code == "access_denied" else FAILED).title

    def test_a_refusal_has_the_servers_own_words(self, refused, person):
        def act(url):
            place, _ = person.sign_in(url, action="deny")
            return person.come_back(f"{place}&error_uri=https://docs.example/")

        error, page = refused(act)
        assert (error.error, error.error_uri) == ("access_denied", "https://docs.example/")
        assert error.error_description
        assert f"access_denied ({error.error_description})" in str(error)
        assert title(page) == DENIED.title

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"code": None}, "has no code"),
            ({"code": ""}, "has no code"),
            ({"iss": "https://id.example"}, "is of another issuer"),
            ({"iss": None}, "names no issuer"),
        ],
    )
    def test_an_answer_that_is_not_as_it_must_be_is_not_looked_at(self, refused, sandbox, change, said):
        sandbox.answer_authorize_requests(Answer.changed(**change))
        error, page = refused()
        assert said in str(error)
        assert error.error is None
        assert title(page) == FAILED.title
        assert sandbox.counts.token_requests == 0

    def test_an_issuer_need_not_be_named_where_the_server_names_none(self, attempt, sandbox):
        sandbox.send_iss = False
        token, _ = attempt()
        assert isinstance(token, Token)

    @pytest.mark.parametrize("more", ["code=x", "foo=1&foo=2", "iss=x", "state={state}"])
    def test_an_answer_with_a_parameter_twice_is_not_looked_at(self, refused, sandbox, person, more):
        def act(url):
            place, _ = person.sign_in(url)
            [state] = parse_qs(urlsplit(place).query)["state"]
            return person.come_back(f"{place}&{more.format(state=state)}")

        error, _ = refused(act)
        assert "has a parameter twice" in str(error)
        assert sandbox.counts.token_requests == 0

    @pytest.mark.parametrize("changes", [{"state": "another"}, {"state": ""}, {"state": None}, {"state": "\u00e9"}])
    def test_the_answer_to_another_login_is_shown_the_door_and_the_login_goes_on(
        self, attempt, sandbox, person, changes
    ):
        def act(url):
            place, _ = person.sign_in(url)
            query = {**dict(parse_qsl(urlsplit(place).query)), **changes}
            left = {name: value for name, value in query.items() if value is not None}
            wrong = person.come_back(f"{urljoin(place, urlsplit(place).path)}?{urlencode(left)}")
            assert (wrong.status_code, title(wrong)) == (400, WRONG_STATE.title)
            assert sandbox.counts.token_requests == 0
            return person.come_back(place)

        token, page = attempt(act)
        assert isinstance(token, Token)
        assert title(page) == LOGGED_IN.title

    def test_a_second_answer_is_not_taken(self, attempt, sandbox, person):
        sandbox.token_delay = 0.3

        def act(url):
            place, _ = person.sign_in(url)
            first = []
            thread = threading.Thread(target=lambda: first.append(requests.get(place, timeout=20)))
            thread.start()
            wait_for(lambda: sandbox.counts.token_requests == 1)
            second = person.come_back(place)
            thread.join(20)
            return first[0], second

        token, (first, second) = attempt(act)
        assert isinstance(token, Token)
        assert (title(first), title(second)) == (LOGGED_IN.title, USED.title)
        assert sandbox.counts.token_requests == 1

    def test_a_code_that_is_not_good_any_more_is_said_so_on_both_sides(self, refused, sandbox):
        sandbox.answer_token_requests(Answer.error(400, "invalid_grant"))
        error, page = refused()
        assert (type(error), error.error) == (TokenError, "invalid_grant")
        assert "log in again" in str(error)
        assert title(page) == EXPIRED.title

    def test_a_token_endpoint_in_trouble_is_told(self, refused, sandbox, monkeypatch):
        monkeypatch.setattr("aritma_session.endpoint.time.sleep", lambda seconds: None)
        sandbox.answer_token_requests(*[Answer.error(503)] * 3)
        error, page = refused()
        assert type(error) is TokenEndpointUnavailable
        assert title(page) == FAILED.title

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"id_token": None}, "has no id_token"),
            ({"id_token": "x"}, "its id_token is no JWT"),
            ({"id_token": "x.bnVsbA.x"}, "its id_token is no JWT"),
            ({"id_token": "x.e30.x"}, "its id_token is of another issuer"),
            ({"refresh_token": None, "id_token": 7}, "has no id_token"),
        ],
    )
    def test_an_id_token_that_is_not_as_it_must_be_keeps_the_token_out(self, attempt, sandbox, settings, fields, said):
        sandbox.answer_token_requests(Answer.token(**fields))
        error, _ = attempt(scope=OPENID)
        assert said in str(error)
        assert kept(settings(scope=OPENID)) is None

    def test_an_id_token_of_another_login_keeps_the_token_out(self, attempt, person, settings):
        error, _ = attempt(lambda url: person.log_in(re.sub("nonce=[^&]+", "nonce=another", url)), scope=OPENID)
        assert "answers another login (its nonce is another)" in str(error)
        assert kept(settings(scope=OPENID)) is None

    def test_a_login_that_cannot_be_kept_is_an_error(self, attempt, sandbox):
        class Full(MemoryStore):
            def save(self, key, token):
                raise OSError("no space left")

        error, page = attempt(cache=Full())
        assert str(error) == (
            "the login succeeded, and cannot be kept (OSError: no space left): see cache (ARITMA_CACHE)"
        )
        assert title(page) == FAILED.title

    def test_nobody_who_fetches_puts_an_older_token_in_its_place(self, attempt, settings, person):
        with settings().cache.lock(settings().cache_key) as held:
            assert held
            release = threading.Event()
            outcome = []
            thread = threading.Thread(target=lambda: outcome.extend(attempt()))
            thread.start()
            assert not release.wait(0.3)
            assert kept(settings()) is None
        thread.join(20)
        assert kept(settings()) == outcome[0]

    def test_a_store_without_locks_keeps_a_login(self, attempt):
        class Lockless(MemoryStore):
            def lock(self, key):
                raise OSError("no locks")

        token, _ = attempt(cache=Lockless())
        assert isinstance(token, Token)

    def test_nothing_of_it_is_logged(self, attempt, sandbox, caplog, person):
        caplog.set_level(logging.DEBUG)
        places = []

        def act(url):
            places.append(person.sign_in(url)[0])
            return person.come_back(places[0])

        with caplog.filtering(lambda record: not record.threadName.startswith("Thread")):  # the person's own
            token, _ = attempt(act)
        [exchange] = forms(sandbox)
        for secret in (exchange["code"], exchange["code_verifier"], token.access_token, token.refresh_token):
            assert secret not in caplog.text


class TestImplicit:
    @pytest.mark.parametrize("scope", ["bankservice", "openid bankservice"])
    def test_a_token_comes_back_by_a_form(self, attempt, sandbox, settings, scope):
        token, page = attempt(grant="implicit", scope=scope)
        assert title(page) == LOGGED_IN.title
        assert urlsplit(page.url).path == "/done"
        assert asked(sandbox)["response_mode"] == "form_post"
        assert kept(settings(grant="implicit", scope=scope)) == token
        assert token.refresh_token is None
        assert sandbox.counts.token_requests == 0

    def test_a_token_in_a_fragment_is_sent_on_by_a_page(self, attempt, sandbox, person):
        def act(url):
            place, _ = person.sign_in(url)
            forward = person.come_back(place.partition("#")[0])
            assert title(forward) == FORWARD.title
            assert "access_token" not in forward.text
            return person.come_back(forward.url, {**dict(parse_qsl(urlsplit(place).fragment)), "forwarded": "1"})

        token, page = attempt(act, more={"response_mode": "fragment"}, grant="implicit")
        assert isinstance(token, Token)
        assert title(page) == LOGGED_IN.title

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"access_token": None}, "has no access_token"),
            ({"access_token": "two words"}, "may not stand in an Authorization header"),
            ({"token_type": "mac"}, "its type is not Bearer"),
            ({"token_type": None}, "its type is not Bearer"),
            ({"id_token": None}, "has no id_token"),
            ({"id_token": "a.b.c"}, "is no JWT"),
            ({"access_token": "another.token"}, "came with another access token"),
        ],
    )
    def test_an_answer_that_is_not_as_it_must_be_is_not_used(self, attempt, sandbox, settings, change, said):
        sandbox.answer_authorize_requests(Answer.changed(**change))
        error, page = attempt(grant="implicit", scope="openid bankservice")
        assert said in str(error)
        assert title(page) == FAILED.title
        assert kept(settings(grant="implicit", scope="openid bankservice")) is None

    @pytest.mark.parametrize("part", [0, 2])
    def test_an_id_token_that_its_issuer_has_not_signed_is_not_believed(self, attempt, person, part):
        def act(url):
            place, fields = person.sign_in(url)
            pieces = fields["id_token"].split(".")
            pieces[part] = {0: "eyJhbGciOiJub25lIn0", 2: pieces[2][::-1]}[part]
            return person.come_back(place, {**fields, "id_token": ".".join(pieces)})

        error, _ = attempt(act, grant="implicit", scope="openid bankservice")
        assert "is not signed by its issuer" in str(error)

    def test_keys_that_are_none_are_told(self, attempt, sandbox, person):
        def act(url):
            place, fields = person.sign_in(url)
            sandbox.answer("discovery", Answer.html("no keys"))
            return person.come_back(place, fields)

        error, _ = attempt(act, grant="implicit", scope="openid bankservice")
        assert "there are no keys of its issuer at" in str(error)


class TestThePort:
    """Whatever comes there, the person's login goes on."""

    def after(self, attempt, person, act):
        """Do something first: what came of it, once the login has succeeded."""
        seen = []

        def first(url):
            place, _ = person.sign_in(url)
            seen.append(act(urlsplit(place)))
            return person.come_back(place)

        token, page = attempt(first)
        assert isinstance(token, Token)
        assert title(page) == LOGGED_IN.title
        return seen[0]

    @pytest.mark.parametrize(
        ("method", "path", "headers", "body", "status"),
        [
            ("GET", "/", {}, None, 404),
            ("GET", "/done", {}, None, 404),
            ("GET", "/favicon.ico", {}, None, 404),
            ("POST", "/callback", {"Content-Type": "text/plain"}, b"state=x", 404),
            ("POST", "/elsewhere", {"Content-Type": "application/x-www-form-urlencoded"}, b"state=x", 404),
            ("POST", "/callback", {"Content-Type": "application/x-www-form-urlencoded"}, b"state=x", 303),
            ("PUT", "/callback", {}, b"", 501),
            ("GET", "/callback?" + "&".join(f"a{number}=1" for number in range(100)), {}, None, 303),
            ("GET", "/callback?state=" + "x" * 70_000, {}, None, 414),
            ("GET", "/callback", {"Host": "evil.example"}, None, 421),
            ("POST", "/callback", {"Host": "evil.example"}, b"", 421),
            (
                "POST",
                "/callback",
                {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "999999"},
                b"",
                413,
            ),
            (
                "POST",
                "/callback",
                {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "-1"},
                b"",
                413,
            ),
        ],
    )
    def test_what_is_no_answer_is_refused(self, attempt, person, method, path, headers, body, status):
        def act(place):
            connection = http.client.HTTPConnection(place.netloc, timeout=20)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status

        assert self.after(attempt, person, act) == status

    @pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET /callback?state=", b"GET / HTTP/1.1\r\nHost: x\r\n"])
    def test_a_slow_client_is_given_up(self, attempt, person, monkeypatch, sent):
        monkeypatch.setattr(loopback, "_PATIENCE", 0.2)

        def act(place):
            with socket.create_connection((place.hostname, place.port), timeout=20) as client:
                client.sendall(sent)
                return client.recv(1)

        assert self.after(attempt, person, act) == b""

    def test_idle_clients_keep_nobody_out(self, attempt, person):
        def act(place):
            idle.extend(socket.create_connection((place.hostname, place.port), timeout=20) for _ in range(10))

        idle = []
        self.after(attempt, person, act)
        for client in idle:
            client.close()

    def test_more_clients_than_there_can_be_are_turned_away(self, monkeypatch):
        monkeypatch.setattr(loopback, "_MOST_CLIENTS", 1)
        listener = loopback.Listener(0, None, "aritma-session login")
        address = ("127.0.0.1", listener.port)
        with listener.serving(), socket.create_connection(address, timeout=20) as silent:
            wait_for(lambda: listener.unheard)
            with socket.create_connection(address, timeout=20) as second:
                second.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert second.recv(1000)
            assert silent.recv(1) == b""

    def test_one_who_is_served_is_not_turned_away_for_another(self, monkeypatch):
        monkeypatch.setattr(loopback, "_MOST_CLIENTS", 1)
        monkeypatch.setattr(loopback, "_FOR_A_PLACE", 0.05)
        go = threading.Event()

        class Slow:
            def take(self, pairs):
                assert go.wait(20)
                return WRONG_STATE

        listener = loopback.Listener(0, Slow(), "aritma-session login")
        address = ("127.0.0.1", listener.port)
        with listener.serving(), socket.create_connection(address, timeout=20) as first:
            first.sendall(f"GET /callback?a=b HTTP/1.1\r\nHost: 127.0.0.1:{listener.port}\r\n\r\n".encode())
            wait_for(lambda: not listener._places._value and not listener.unheard)
            with socket.create_connection(address, timeout=20) as second:
                assert second.recv(1) == b""
            go.set()
            assert first.recv(1000).startswith(b"HTTP/1.0 303 ")

    def test_a_client_for_whom_there_is_no_thread_takes_no_place(self, monkeypatch):
        start = threading.Thread.start

        def refuse(thread):
            if getattr(thread._target, "__name__", "") == "process_request_thread" and refused.append(1) is None:
                monkeypatch.setattr(threading.Thread, "start", start)
                raise RuntimeError("can't start new thread")
            start(thread)

        refused = []
        monkeypatch.setattr(loopback, "_MOST_CLIENTS", 1)
        listener = loopback.Listener(0, None, "aritma-session login")
        address = ("127.0.0.1", listener.port)
        with listener.serving():
            monkeypatch.setattr(threading.Thread, "start", refuse)
            with socket.create_connection(address, timeout=20) as first:
                assert first.recv(1) == b""
            with socket.create_connection(address, timeout=20) as second:
                second.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert second.recv(1000)
        assert refused == [1]


class TestPages:
    PAGES = (LOGGED_IN, DENIED, EXPIRED, FAILED, WRONG_STATE, USED, FORWARD)

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
    def test_a_page_is_complete_in_itself(self, page):
        body, headers = page.render("aritma-session login --scope '<b>'")
        text = body.decode()
        assert not re.search(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?:""", text)
        assert "<b>" not in text
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert ("script-src" in headers["Content-Security-Policy"]) == ("<script" in text) == (page is FORWARD)
        [nonce] = set(re.findall(r'nonce="([^"]+)"', text))
        assert f"'nonce-{nonce}'" in headers["Content-Security-Policy"]
        assert "prefers-color-scheme: dark" in text

    def test_each_end_has_its_own_words(self):
        assert len({page.title for page in self.PAGES}) == len({page.text for page in self.PAGES}) == len(self.PAGES)

    def test_a_page_that_says_what_to_run_says_it_whole(self):
        assert (
            "<code>aritma-session login --scope &#x27;a b&#x27;</code>"
            in DENIED.render("aritma-session login --scope 'a b'")[0].decode()
        )

    def test_pages_are_kept_by_nobody(self, attempt):
        _, page = attempt()
        for answer in (page, page.history[0]):
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "Python" not in answer.headers["Server"]


class TestRevocation:
    @pytest.fixture
    def session(self, sandbox, environ):
        with AritmaSession() as session:
            session.verify = sandbox.ca_bundle
            yield session

    def test_a_revoked_token_is_gone_and_the_next_call_fetches_another(self, session, sandbox, echo):
        first = session.get(echo).request.headers["Authorization"]
        assert session.revoke() is True
        assert session.auth._settings.cache.load(session.auth._settings.cache_key) is None
        assert (
            requests.get(echo, headers={"Authorization": first}, verify=sandbox.ca_bundle, timeout=20).status_code
            == 401
        )
        assert session.get(echo).request.headers["Authorization"] != first
        assert sandbox.counts.token_requests == 2
        assert [form["token_type_hint"] for form in forms(sandbox, "revocation")] == ["access_token"]

    def test_no_frame_of_what_nobody_expected_holds_what_was_sent(self, session, sandbox, echo, monkeypatch):
        class Interrupted(BaseException):
            pass

        def meaning(*arguments):
            raise Interrupted

        session.get(echo)
        monkeypatch.setattr("aritma_session.revocation._Asker._meaning", meaning)
        with pytest.raises(Interrupted) as caught:
            session.revoke()
        frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
        assert frames
        held = [repr(value) for frame in frames for value in frame.f_locals.values()]
        assert not [text for text in held if sandbox.client_secret in text]

    def test_where_there_is_no_token_nothing_is_asked(self, session, sandbox):
        assert session.revoke() is True
        assert sandbox.requests == ()

    def test_a_login_is_revoked_with_its_refresh_token_first(self, attempt, sandbox, cache):
        token, _ = attempt()
        arguments = {"environment": sandbox.issuer, "grant": "authorization_code", "cache": cache}
        with AritmaSession(sandbox.public_client_id, **arguments) as session:
            session.verify = sandbox.ca_bundle
            assert session.revoke()
            sent = [(form["token_type_hint"], form["token"]) for form in forms(sandbox, "revocation")]
            assert sent == [("refresh_token", token.refresh_token), ("access_token", token.access_token)]
            with pytest.raises(LoginRequired, match=r"run aritma-session login --client-id sandbox-app "):
                session.get(f"{sandbox.api_url}/echo")

    @pytest.mark.parametrize(
        ("answers", "kind", "said"),
        [
            ([Answer.error(401, "invalid_client")], CredentialsRefused, "check client_id and client_secret"),
            ([Answer.error(503)] * 3, TokenEndpointUnavailable, "try again later"),
            ([Answer.error(400, "odd")], TokenError, "(HTTP 400, odd): see the error code in RFC 7009"),
            ([Answer.html("no", 403)], TokenError, "(HTTP 403): see"),
            ([Answer.json([], 400)], TokenError, "(HTTP 400): see"),
            ([Answer.json({"error": 1}, 400)], TokenError, "(HTTP 400): see"),
            ([Answer.error(404)], TokenError, "(HTTP 404): see"),
            ([Answer.redirect("https://127.0.0.1/")], TokenError, "(HTTP 307): it answered with a redirect"),
            ([Answer.reset()] * 3, TokenEndpointUnavailable, "could not be reached"),
        ],
    )
    def test_a_token_that_could_not_be_revoked_is_forgotten_all_the_same(
        self, session, sandbox, echo, answers, kind, said, monkeypatch
    ):
        monkeypatch.setattr("aritma_session.endpoint.time.sleep", lambda seconds: None)
        session.get(echo)
        sandbox.answer("revocation", *answers)
        with pytest.raises(TokenError) as caught:
            session.revoke()
        assert type(caught.value) is kind
        assert said in str(caught.value)
        assert session.auth._settings.cache.load(session.auth._settings.cache_key) is None

    def test_one_token_that_could_not_be_revoked_keeps_no_other_from_it(self, attempt, sandbox, cache):
        token, _ = attempt()
        arguments = {"environment": sandbox.issuer, "grant": "authorization_code", "cache": cache}
        sandbox.answer("revocation", Answer.error(400, "odd"))
        with AritmaSession(sandbox.public_client_id, **arguments) as session:
            session.verify = sandbox.ca_bundle
            with pytest.raises(TokenError, match="odd"):
                session.revoke()
        echo, header = f"{sandbox.api_url}/echo", {"Authorization": f"Bearer {token.access_token}"}
        assert requests.get(echo, headers=header, verify=sandbox.ca_bundle, timeout=20).status_code == 401

    def test_a_token_that_is_being_renewed_is_waited_for_and_given_back(self, session, sandbox, echo):
        session.get(echo)
        settings = session.auth._settings
        with settings.cache.lock(settings.cache_key) as held:
            assert held
            outcome = []
            thread = threading.Thread(target=lambda: outcome.append(session.revoke()))
            thread.start()
            thread.join(0.3)
            assert outcome == []
            settings.cache.save(settings.cache_key, Token("newer", 0.0, 1.0))
        thread.join(20)
        assert outcome == [True]
        assert settings.cache.load(settings.cache_key) is None
        assert "newer" in [form["token"] for form in forms(sandbox, "revocation")]

    def test_nobody_who_fetches_for_ever_keeps_a_token_from_being_given_back(self, session, sandbox, echo, monkeypatch):
        session.get(echo)
        settings = session.auth._settings
        monkeypatch.setattr(session.auth._source, "_lock_timeout", 0.1)
        with settings.cache.lock(settings.cache_key) as held:
            assert held
            assert session.revoke() is True

    @pytest.mark.parametrize("error", ["unsupported_token_type", "invalid_grant", "invalid_token"])
    def test_a_token_that_cannot_be_revoked_is_no_error(self, session, sandbox, echo, error):
        session.get(echo)
        sandbox.answer("revocation", Answer.error(400, error))
        assert session.revoke() is True

    def test_where_nothing_can_be_revoked_the_caller_is_told(self, session, sandbox, echo):
        sandbox.answer("discovery", Answer.token(revocation_endpoint=None))
        session.get(echo)
        assert session.revoke() is False

    def test_where_the_documented_endpoint_is_not_there_the_caller_is_told(self, environ, sandbox, echo):
        place = Environment(sandbox.issuer, hosts=(sandbox.issuer.removeprefix("https://"),))
        with AritmaSession(environment=place) as session:
            session.verify = sandbox.ca_bundle
            session.get(echo)
            sandbox.answer("revocation", Answer.error(404))
            assert session.revoke() is False

    def test_a_secret_file_that_went_bad_is_a_token_error(self, sandbox, environ, echo, tmp_path, monkeypatch):
        path = tmp_path / "secret"
        path.write_text(sandbox.client_secret)
        monkeypatch.delenv("ARITMA_CLIENT_SECRET")
        monkeypatch.setenv("ARITMA_CLIENT_SECRET_FILE", str(path))
        with AritmaSession() as session:
            session.verify = sandbox.ca_bundle
            session.get(echo)
            path.unlink()
            with pytest.raises(
                TokenError, match=r"^no token can be revoked: the client secret cannot be used any more"
            ):
                session.revoke()

    def test_http_basic_is_used_where_it_is_the_clients_way(self, sandbox, environ, echo):
        with AritmaSession(token_endpoint_auth_method="client_secret_basic") as session:
            session.verify = sandbox.ca_bundle
            session.get(echo)
            assert session.revoke()
        assert set(forms(sandbox, "revocation")[0]) == {"token", "token_type_hint"}

    def test_a_session_with_another_auth_has_nothing_to_revoke(self, session):
        session.auth = ("user", "word")
        with pytest.raises(TypeError, match="has no token to revoke"):
            session.revoke()


class TestCommand:
    @pytest.fixture
    def command(self, sandbox, cache, monkeypatch):
        """Run the command for the client without a secret, to its end or not."""
        variables = {**sandbox.environ(), "ARITMA_CACHE": str(cache), "ARITMA_CLIENT_ID": sandbox.public_client_id}
        del variables["ARITMA_CLIENT_SECRET"]
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

        def run(*arguments):
            process = subprocess.Popen(
                [sys.executable, "-m", "aritma_session", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(process)
            return process

        started = []
        yield run
        for process in started:
            process.kill()
            process.communicate()

    def test_log_in_use_the_token_and_log_out(self, command, person, sandbox):
        process = command("login", "--no-browser")
        lines = [process.stderr.readline() for _ in range(3)]
        assert lines[0] == "To log in, go to\n"
        assert title(person.log_in(lines[2].strip())) == LOGGED_IN.title
        output, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert output == "Logged in, until it is revoked. Programs use it with ARITMA_GRANT=authorization_code.\n"
        output, errors = command("token", "--grant", "authorization_code").communicate(timeout=20)
        assert output.startswith("eyJ")
        assert errors == ""
        assert command("logout").communicate(timeout=20) == ("Logged out.\n", "")
        assert sandbox.counts.revocations == 2
        assert command("logout").communicate(timeout=20) == ("Nobody was logged in.\n", "")
        process = command("token", "--grant", "authorization_code")
        assert "a person has to log in" in process.communicate(timeout=20)[1]
        assert process.returncode == 1

    def test_what_the_message_says_to_run_logs_in(self, command, person, sandbox):
        """Word for word, for settings with all that a command line can get wrong."""
        settings = ("--scope", "bankservice", "--tenant", "acme", "--extra", "audience=a b&'c", "--username", "anna")
        _, errors = command("token", "--grant", "authorization_code", *settings).communicate(timeout=20)
        said = re.search(r"run aritma-session (.*)$", errors.strip())[1]
        [arguments] = [
            subprocess.run(["sh", "-c", f"printf '%s\\n' {said}"], capture_output=True, text=True, check=True)
        ]
        process = command(*arguments.stdout.splitlines(), "--no-browser")
        url = [process.stderr.readline() for _ in range(3)][2].strip()
        assert title(person.log_in(url)) == LOGGED_IN.title
        assert process.wait(20) == 0
        output, _ = command("token", "--grant", "authorization_code", *settings).communicate(timeout=20)
        assert output.startswith("eyJ")

    @pytest.mark.parametrize(
        ("arguments", "said", "status"),
        [
            (["login", "--extra", "audience"], "'audience' has no value: write NAME=VALUE", 2),
            (["login", "--grant", "client_credentials"], "client_secret is missing", 1),
            (["login", "--cache", "memory"], "choose another", 1),
            (["login", "--timeout", "1", "--no-browser"], "nobody logged in within 1 s", 1),
            (["login", "--port", "70000"], "must be a whole number from 0 to 65535", 2),
            (["login", "--client-secret", "x"], "unrecognized arguments", 2),
        ],
    )
    def test_bad_input_is_one_line_that_says_what_to_do(self, command, arguments, said, status):
        process = command(*arguments)
        _, errors = process.communicate(timeout=20)
        assert said in errors
        assert "Traceback" not in errors
        assert process.returncode == status
