"""Refresh tokens: used under the lock, replaced before it is let go, forgotten when they are good for nothing."""

from __future__ import annotations

import contextlib
import copy
import pickle
import shlex
import time
from urllib.parse import parse_qs

import pytest

from aritma_session import (
    AritmaSession,
    CredentialsRefused,
    FileStore,
    LoginRequired,
    MemoryStore,
    Token,
    TokenEndpointUnavailable,
    TokenError,
    background,
    failures,
)
from aritma_session.clients import NoSecret
from aritma_session.grants import Login
from aritma_session.sandbox import Answer
from aritma_session.settings import Settings
from aritma_session.source import TokenSource

from helpers import at_once, said, wait_for

KEY = "0123456789abcdef"


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


class Server:
    """Take one refresh token, ``r0`` at first, for ``t1`` and so on, each with its own; or raise what is in ``errors``.

    There is nothing to ask with otherwise, unless there is a password.
    """

    def __init__(self, clock):
        self.clock, self.good, self.rotates, self.password = clock, "r0", True, False
        self.asked, self.fetches, self.errors = [], 0, []
        self.meanwhile = lambda: None

    def fetch(self):
        self.fetches += 1
        if not self.password:
            raise LoginRequired("a person has to log in: run aritma-session login")
        return Token(f"p{self.fetches}", self.clock(), self.clock() + 3600, refresh_token="r0")

    def refresh(self, last):
        self.asked.append(last.refresh_token)
        self.meanwhile()
        if self.errors:
            raise self.errors.pop(0)
        if last.refresh_token != self.good:
            raise LoginRequired("the login has ended", error="invalid_grant", error_description="Because.")
        number = len(self.asked)
        self.good = f"r{number}" if self.rotates else self.good
        fresh = Token(f"t{number}", self.clock(), self.clock() + 3600)
        return fresh.replace(refresh_token=self.good) if self.rotates else fresh


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(clock):
    return Server(clock)


@pytest.fixture
def store(cache):
    return FileStore(cache)


@pytest.fixture
def logged_in(store, clock):
    """The token of a login, in the store."""
    token = Token("t0", clock(), clock() + 3600, refresh_token="r0")
    store.save(KEY, token)
    return token


@pytest.fixture
def make(server, store, clock, logged_in):
    """Make another source, as another process would have it, on the same store."""

    def maker(**changes):
        given = {"fetch": server.fetch, "refresh": server.refresh, "store": store, "key": KEY, "clock": clock}
        return TokenSource(**{**given, **changes})

    return maker


@pytest.fixture
def source(make):
    return make()


def settle():
    """Wait until nothing is under way in the background."""
    wait_for(lambda: not background._threads)


class Troubled(MemoryStore):
    """A store that cannot do what is in ``broken``."""

    def __init__(self):
        super().__init__()
        self.broken = set()

    def load(self, key):
        self._check("load")
        return super().load(key)

    def save(self, key, token):
        self._check("save")
        super().save(key, token)

    def _check(self, what):
        if what in self.broken:
            raise OSError(28, "No space left on device")


class TestUse:
    def test_is_made_of_none_while_the_access_token_is_good(self, source, server):
        assert source.token().access_token == "t0"
        assert (server.asked, server.fetches) == ([], 0)

    def test_is_made_when_the_access_token_has_expired(self, source, server, clock, store):
        source.token()
        clock.now += 3600
        token = source.token()
        assert (token.access_token, token.refresh_token, token.on_probation) == ("t1", "r1", False)
        assert (server.asked, server.fetches) == (["r0"], 0)
        assert store.load(KEY) == token

    def test_is_made_when_the_access_token_was_refused(self, source, server, store):
        assert source.token(rejected="t0").access_token == "t1"
        assert server.asked == ["r0"]
        assert store.load(KEY).on_probation
        source.accept("t1")
        assert store.load(KEY).refresh_token == "r1"
        assert not store.load(KEY).on_probation

    def test_is_made_of_the_newest_each_time(self, source, server, clock):
        for _ in range(4):
            clock.now += 3600
            source.token()
        assert server.asked == ["r0", "r1", "r2", "r3"]

    def test_is_made_of_what_others_have_rotated_meanwhile(self, make, server, clock):
        first, second = make(), make()
        assert first.token() == second.token()
        for source in (first, second, first, second):
            clock.now += 3600
            source.token()
        assert server.asked == ["r0", "r1", "r2", "r3"]

    def test_is_made_again_where_the_server_keeps_it(self, source, server, clock, store):
        server.rotates = False
        for _ in range(3):
            clock.now += 3600
            assert source.token().refresh_token == "r0"
            assert store.load(KEY).refresh_token == "r0"
        assert server.asked == ["r0"] * 3

    def test_is_made_once_by_many_threads(self, source, server, clock):
        clock.now += 3600
        assert {token.access_token for token in at_once(16, source.token)} == {"t1"}
        assert server.asked == ["r0"]

    def test_is_not_made_by_a_source_that_may_not(self, make, server, clock):
        server.password = True
        clock.now += 3600
        assert make(refresh=None).token().access_token == "p1"
        assert server.asked == []

    def test_is_not_made_where_there_is_none(self, source, server, clock, store, logged_in):
        server.password = True
        store.save(KEY, logged_in.replace(refresh_token=None))
        clock.now += 3600
        assert source.token().access_token == "p1"
        assert server.asked == []

    def test_is_made_before_anything_else_is_asked_with(self, source, server, clock):
        server.password = True
        clock.now += 3600
        assert source.token().access_token == "t1"
        assert server.fetches == 0

    def test_replaces_the_old_one_before_the_lock_is_let_go(self, make, server, clock, store):
        seen = []

        class Watched(FileStore):
            @contextlib.contextmanager
            def lock(self, key):
                with super().lock(key) as held:
                    yield held
                    seen.append((held, self.load(key).refresh_token))

        clock.now += 3600
        make(store=Watched(store.directory)).token()
        assert seen == [(True, "r1")]

    def test_takes_nothing_from_a_login_that_was_taken_away(self, source, server, clock, store):
        source.token()
        store.remove(KEY)
        clock.now += 3600
        with pytest.raises(LoginRequired):
            source.token()
        assert server.asked == []
        assert store.load(KEY) is None


class TestTheEnd:
    @pytest.fixture
    def ended(self, server, clock, logged_in):
        server.good = None
        clock.now += 3600

    def test_is_told_with_what_the_server_said(self, ended, source, server):
        with pytest.raises(LoginRequired, match="the login has ended") as caught:
            source.token()
        assert (caught.value.error, caught.value.error_description) == ("invalid_grant", "Because.")
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_is_found_out_once_by_all(self, ended, make, server, store):
        for source in (first := make(), first, make(), make()):
            with pytest.raises(LoginRequired, match="log"):
                source.token()
        assert server.asked == ["r0"]
        assert (store.load(KEY).access_token, store.load(KEY).refresh_token) == ("t0", None)

    def test_is_no_end_where_there_is_a_password(self, ended, source, server, store, clock):
        server.password = True
        assert source.token().access_token == "p1"
        assert (server.asked, server.fetches) == (["r0"], 1)
        assert store.load(KEY).refresh_token == "r0"  # a new one, which is of the same name by chance

    def test_leaves_a_good_access_token_good(self, make, server, clock, store):
        server.good = None
        source = make()
        clock.now += 3600 * 0.83
        assert source.token().access_token == "t0"
        settle()
        assert server.asked == ["r0"]
        assert store.load(KEY).refresh_token is None
        assert source.token().access_token == make().token().access_token == "t0"
        clock.now += 3600 * 0.07
        assert source.token().access_token == "t0"
        settle()
        assert server.asked == ["r0"]
        clock.now += 3600 * 0.1
        with pytest.raises(LoginRequired):
            source.token()

    def test_of_a_refused_token_is_told_too(self, source, server):
        source.token()
        server.good = None
        with pytest.raises(LoginRequired):
            source.token(rejected="t0")

    def test_leaves_a_login_that_came_meanwhile_alone_and_uses_it(self, ended, source, server, store, clock):
        newer = Token("n1", clock(), clock() + 3600, refresh_token="rn")
        server.meanwhile = lambda: store.save(KEY, newer)
        assert source.token() == newer
        assert store.load(KEY) == newer
        assert server.fetches == 0

    def test_leaves_a_login_alone_whose_token_is_not_good(self, ended, source, server, store, clock):
        newer = Token("n1", clock() - 3600, clock(), refresh_token="rn")
        server.meanwhile = lambda: store.save(KEY, newer)
        with pytest.raises(LoginRequired):
            source.token()
        assert store.load(KEY) == newer
        server.good, server.meanwhile = "rn", lambda: None
        assert source.token().access_token == "t2"

    def test_puts_nothing_back_that_was_taken_away_meanwhile(self, ended, source, server, store):
        server.meanwhile = lambda: store.remove(KEY)
        with pytest.raises(LoginRequired):
            source.token()
        assert store.load(KEY) is None

    def test_is_over_when_a_person_logs_in_again(self, ended, source, server, store, clock):
        with pytest.raises(LoginRequired):
            source.token()
        newer = Token("n1", clock(), clock() + 3600, refresh_token="rn")
        store.save(KEY, newer)
        assert source.token() == newer
        server.good = "rn"
        clock.now += 3600
        assert source.token().access_token == "t2"

    @pytest.mark.parametrize(
        "error", [TokenEndpointUnavailable("in trouble"), TokenError("odd"), CredentialsRefused("no"), ValueError("?")]
    )
    def test_is_not_what_another_error_means(self, source, server, store, clock, error, monkeypatch):
        monkeypatch.setattr(failures, "REFUSAL_MEMORY", 0.0)
        clock.now += 3600
        server.errors.append(error)
        with pytest.raises(type(error)):
            source.token()
        assert store.load(KEY).refresh_token == "r0"
        assert source.token().access_token == "t2"

    def test_is_not_a_refusal_of_the_client_which_is_remembered(self, make, server, clock):
        clock.now += 3600
        server.errors.append(CredentialsRefused("no"))
        for source in (make(), make()):
            with pytest.raises(CredentialsRefused):
                source.token()
        assert server.asked == ["r0"]


class TestTheLock:
    def test_that_another_holds_for_too_long_keeps_the_refresh_token_from_use(self, make, server, clock, store, caplog):
        clock.now += 3600
        source = make(lock_timeout=0.05)
        with store.lock(KEY) as held:
            assert held
            with pytest.raises(TokenEndpointUnavailable, match=r" for 0\.05 s, .* good for one use: try again later$"):
                source.token()
        assert server.asked == []
        assert any("not waiting longer" in message for _, message in said(caplog))
        assert source.token().access_token == "t1"

    def test_that_another_holds_for_too_long_leaves_the_password(self, make, server, clock, store):
        server.password = True
        clock.now += 3600
        with store.lock(KEY):
            assert make(lock_timeout=0.05).token().access_token == "p1"
        assert server.asked == []

    def test_that_another_holds_for_too_long_is_no_matter_where_there_is_no_refresh_token(
        self, make, server, clock, store, logged_in
    ):
        store.save(KEY, logged_in.replace(refresh_token=None))
        clock.now += 3600
        with store.lock(KEY), pytest.raises(LoginRequired):
            make(lock_timeout=0.05).token()


class TestRenewalAhead:
    def test_is_made_with_the_refresh_token(self, make, server, clock, store):
        source = make()
        clock.now += 3600 * 0.83
        assert source.token().access_token == "t0"
        settle()
        assert source.token().access_token == "t1"
        assert server.asked == ["r0"]
        assert (store.load(KEY).refresh_token, store.load(KEY).renewal_tried_at) == ("r1", None)

    def test_that_fails_keeps_the_refresh_token(self, make, server, clock, store):
        server.errors.append(TokenEndpointUnavailable("in trouble"))
        source = make()
        clock.now += 3600 * 0.83
        source.token()
        settle()
        assert (store.load(KEY).refresh_token, store.load(KEY).renewal_tried_at) == ("r0", clock())

    def test_asks_for_nothing_once_the_login_was_taken_away(self, make, server, clock, store):
        source = make()
        source.token()
        store.remove(KEY)
        clock.now += 3600 * 0.83
        assert source.token().access_token == "t0"
        settle()
        assert server.asked == []
        assert store.load(KEY) is None


class TestTroubledStores:
    @pytest.fixture
    def store(self):
        return Troubled()

    def test_that_cannot_be_written_to_leave_the_newest_in_memory(self, source, server, clock, store):
        store.broken = {"save"}
        for _ in range(3):
            clock.now += 3600
            source.token()
        assert server.asked == ["r0", "r1", "r2"]

    def test_that_cannot_be_read_leave_the_newest_in_memory(self, source, server, clock, store):
        source.token()
        store.broken = {"load"}
        for _ in range(2):
            clock.now += 3600
            source.token()
        assert server.asked == ["r0", "r1"]

    def test_that_can_be_written_to_again_have_the_newest_again(self, make, server, clock, store):
        source = make()
        store.broken = {"save"}
        clock.now += 3600
        source.token()
        store.broken.clear()
        clock.now += 3600
        assert source.token().refresh_token == "r2"
        assert store.load(KEY).refresh_token == "r2"
        assert server.asked == ["r0", "r1"]

    def test_whose_newest_is_newer_are_believed(self, make, server, clock, store):
        source = make()
        store.broken = {"save"}
        clock.now += 3600
        source.token()
        store.broken.clear()
        clock.now += 1800
        store.save(KEY, Token("n1", clock(), clock() + 60, refresh_token="rn"))
        server.good = "rn"
        clock.now += 3600
        assert source.token().access_token == "t2"
        assert server.asked == ["r0", "rn"]

    def test_that_go_on_giving_a_dead_refresh_token_are_not_believed(self, source, server, clock, store):
        server.good = None
        store.broken = {"save"}
        clock.now += 3600
        for _ in range(3):
            with pytest.raises(LoginRequired):
                source.token()
        assert store.load(KEY).refresh_token == "r0"
        assert server.asked == ["r0"]

    def test_that_know_nothing_leave_nothing_to_ask_with(self, source, server, store):
        store.broken = {"load"}
        with pytest.raises(LoginRequired):
            source.token()
        assert server.asked == []


# --- for real


def forms(sandbox):
    """The forms of all token requests."""
    found = [request for request in sandbox.requests if request.kind == "token"]
    return [{name: value for name, [value] in parse_qs(request.body.decode(), True, True).items()} for request in found]


def opened(sandbox, **settings):
    session = AritmaSession(**settings)
    session.verify = sandbox.ca_bundle
    return session


def kept(**settings):
    """The token in the cache."""
    found = Settings.resolve(**settings)
    return found.cache.load(found.cache_key)


EXTRA = {"audience": "æ & b=c;+", "resource": "https://api.example/x?y=1#z"}


class TestLogin:
    def test_serves_without_a_token_request_while_its_token_is_good(self, sandbox, echo, login):
        login()
        with opened(sandbox) as session:
            assert session.get(echo).ok
        assert sandbox.counts.token_requests == 0

    def test_that_never_was_is_asked_for_without_any_request(self, sandbox, echo, login):
        with opened(sandbox, scope="api offline_access") as session, pytest.raises(LoginRequired) as caught:
            session.get(echo)
        assert sandbox.requests == ()
        command = str(caught.value).partition("run ")[2]
        assert shlex.split(command)[:4] == ["aritma-session", "login", "--client-id", sandbox.client_id]
        assert "'api offline_access'" in command

    @pytest.mark.parametrize("rotates", [True, False])
    def test_is_renewed_when_its_token_has_expired(self, sandbox, echo, login, rotates):
        sandbox.rotate_refresh_tokens = rotates
        first = login(age=3600)
        with opened(sandbox) as session:
            assert session.get(echo).ok
        assert (sandbox.counts.token_requests, sandbox.counts.refreshes) == (1, 1)
        assert forms(sandbox) == [
            {
                "grant_type": "refresh_token",
                "refresh_token": first.refresh_token,
                "client_id": sandbox.client_id,
                "client_secret": sandbox.client_secret,
            }
        ]
        assert kept().access_token != first.access_token
        assert (kept().refresh_token == first.refresh_token) is not rotates

    def test_is_renewed_when_its_token_is_refused(self, sandbox, echo, login):
        login()
        with opened(sandbox) as session:
            for count in (1, 2, 3):
                sandbox.revoke_all()
                assert len(session.get(echo).history) == 1
                assert sandbox.counts.refreshes == sandbox.counts.token_requests == count

    def test_whose_tokens_are_all_refused_costs_one_refresh(self, sandbox, echo, login):
        login()
        sandbox.refuse_all = True
        with opened(sandbox) as session:
            assert [session.get(echo).status_code for _ in range(5)] == [401] * 5
        assert sandbox.counts.refreshes == sandbox.counts.token_requests == 1

    def test_that_has_ended_is_found_out_once_by_many_threads(self, sandbox, echo, login):
        login(age=3600)
        sandbox.revoke_refresh_tokens()
        sandbox.token_delay = 0.05

        def refusal():
            with pytest.raises(LoginRequired) as caught:
                session.get(echo)
            return caught.value

        with opened(sandbox) as session:
            errors = at_once(8, refusal)
        assert sandbox.counts.token_requests == 1
        assert len({id(error) for error in errors}) == 8

    def test_is_renewed_ahead(self, sandbox, echo, login):
        first = login(age=3100)
        with opened(sandbox) as session:
            assert session.get(echo).ok
            wait_for(lambda: kept().access_token != first.access_token)
            settle()
            assert session.get(echo).ok
        assert (sandbox.counts.refreshes, sandbox.counts.token_requests) == (1, 1)

    def test_that_has_ended_says_what_to_run(self, sandbox, echo, login, cache):
        settings = {"username": "Kari 'O' & Ola", "extra": {"audience": "$x"}}
        login(age=3600, **settings)
        sandbox.revoke_refresh_tokens()
        with opened(sandbox, **settings) as session:
            with pytest.raises(LoginRequired, match="the login has ended") as caught:
                session.get(echo)
            with pytest.raises(LoginRequired, match="a person has to log in"):
                session.get(echo)
        error = caught.value
        assert (error.error, error.response.status_code) == ("invalid_grant", 400)
        command = str(error).partition("run ")[2]
        assert shlex.split(command) == [
            *("aritma-session", "login", "--client-id", sandbox.client_id, "--environment", sandbox.issuer),
            *("--username", "Kari 'O' & Ola", "--cache", str(cache), "--extra", "audience=$x"),
        ]
        assert sandbox.counts.token_requests == 1
        assert kept(**settings).refresh_token is None

    def test_that_has_ended_leaves_its_good_token_good(self, sandbox, echo, login):
        login(age=3100)
        sandbox.revoke_refresh_tokens()
        with opened(sandbox) as session:
            assert session.get(echo).ok
            wait_for(lambda: kept().refresh_token is None)
            settle()
            assert session.get(echo).ok
        assert sandbox.counts.token_requests == 1

    def test_repeats_extra_parameters_with_each_refresh(self, sandbox, echo, login):
        login(age=3600, extra=EXTRA)
        with opened(sandbox, extra=EXTRA) as session:
            assert session.get(echo).ok
            sandbox.revoke_all()
            assert session.get(echo).ok
        assert [{name: form[name] for name in EXTRA} for form in forms(sandbox)] == [EXTRA, EXTRA]

    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
    def test_serves_copies_of_a_session(self, sandbox, echo, login, again):
        login(age=3600)
        with opened(sandbox) as session, again(session) as copied:
            assert copied.get(echo).ok
            sandbox.revoke_all()
            assert session.get(echo).ok
        assert sandbox.counts.refreshes == sandbox.counts.token_requests == 2

    def test_is_never_renewed_with_the_client_alone(self, sandbox, echo, login, monkeypatch):
        monkeypatch.setattr("aritma_session.endpoint.BACKOFF", 0.0)
        login(age=3600)
        sandbox.answer_token_requests(*[Answer.error(503)] * 3)
        with opened(sandbox) as session:
            with pytest.raises(TokenEndpointUnavailable):
                session.get(echo)
            assert session.get(echo).ok
        assert {form["grant_type"] for form in forms(sandbox)} == {"refresh_token"}
        assert sandbox.counts.token_requests == 4

    @pytest.mark.parametrize("refresh_token", [None, "", 5, "ræfresh"])
    def test_keeps_the_old_refresh_token_where_the_answer_has_none_that_can_be_used(
        self, sandbox, echo, login, refresh_token
    ):
        sandbox.rotate_refresh_tokens = False
        first = login(age=3600)
        sandbox.answer_token_requests(Answer.token(refresh_token=refresh_token))
        with opened(sandbox) as session:
            assert session.get(echo).ok
        assert kept().refresh_token == first.refresh_token


class TestPasswords:
    @pytest.fixture
    def with_password(self, environ, sandbox, monkeypatch):
        monkeypatch.setenv("ARITMA_GRANT", "password")
        monkeypatch.setenv("ARITMA_USERNAME", sandbox.username)
        monkeypatch.setenv("ARITMA_PASSWORD", sandbox.password)

    def test_get_a_token(self, with_password, sandbox, echo):
        with opened(sandbox, extra=EXTRA) as session:
            assert session.get(echo).ok
            sandbox.revoke_all()
            assert session.get(echo).ok
        expected = {
            "grant_type": "password",
            "username": sandbox.username,
            "password": sandbox.password,
            "client_id": sandbox.client_id,
            "client_secret": sandbox.client_secret,
            "scope": "bankservice",
            **EXTRA,
        }
        assert forms(sandbox) == [expected, expected]

    def test_are_shared_by_no_other_user(self, with_password, sandbox, echo):
        with opened(sandbox) as session:
            assert session.get(echo).ok
        with opened(sandbox, username="another") as session, pytest.raises(CredentialsRefused):
            session.get(echo)

    @pytest.mark.parametrize("letter", list(" &+%æé~*\"'\\=;:/?#€𝄞"))
    def test_and_names_may_have_any_letter(self, with_password, sandbox, letter):
        username, password = f"u{letter}v", f"{letter}word{letter}"
        with opened(sandbox, username=username, password=password) as session, pytest.raises(CredentialsRefused):
            session.auth.token()
        assert [(form["username"], form["password"]) for form in forms(sandbox)] == [(username, password)]

    def test_that_are_wrong_are_refused_once_in_a_while(self, with_password, sandbox, echo, monkeypatch):
        with opened(sandbox, password="wrong-one") as session, opened(sandbox, password="wrong-one") as other:
            for each in (session, session, other):
                with pytest.raises(CredentialsRefused, match="ARITMA_USERNAME, ARITMA_PASSWORD") as caught:
                    each.get(echo)
                assert caught.value.error == "invalid_grant"
            assert sandbox.counts.token_requests == 1
            later = time.monotonic() + failures.REFUSAL_MEMORY
            monkeypatch.setattr(failures.time, "monotonic", lambda: later)
            monkeypatch.setattr("aritma_session.source.time.monotonic", lambda: later)
            with pytest.raises(CredentialsRefused):
                session.get(echo)
            assert sandbox.counts.token_requests == 2
        with opened(sandbox) as session:
            assert session.get(echo).ok

    def test_in_a_file_are_read_anew(self, with_password, sandbox, echo, monkeypatch, tmp_path):
        file = tmp_path / "password"
        file.write_text("wrong-one\n")
        monkeypatch.delenv("ARITMA_PASSWORD")
        monkeypatch.setenv("ARITMA_PASSWORD_FILE", str(file))
        monkeypatch.setattr(failures, "REFUSAL_MEMORY", 0.0)
        with opened(sandbox) as session:
            with pytest.raises(CredentialsRefused):
                session.get(echo)
            file.write_text(f"{sandbox.password}\n")
            assert session.get(echo).ok
            file.unlink()
            sandbox.revoke_all()
            with pytest.raises(
                TokenError, match=r"the password cannot be used any more: .* \(see ARITMA_PASSWORD_FILE"
            ):
                session.get(echo)
        assert sandbox.counts.token_requests == 2

    def test_are_not_sent_again_where_only_the_cache_fails(self, with_password, sandbox, echo, tmp_path, caplog):
        (tmp_path / "file").write_text("in the way")
        with opened(sandbox, scope="bankservice offline_access", cache=tmp_path / "file") as session:
            for _ in range(3):
                assert session.get(echo).ok
                sandbox.revoke_all()
        assert [form["grant_type"] for form in forms(sandbox)] == ["password", "refresh_token", "refresh_token"]
        assert [level for level, _ in said(caplog) if level == "WARNING"] == ["WARNING"]

    def test_are_sent_only_where_a_refresh_token_does_not_do(self, with_password, sandbox, echo, monkeypatch):
        monkeypatch.setenv("ARITMA_SCOPE", "bankservice offline_access")
        with opened(sandbox) as session:
            assert session.get(echo).ok
            sandbox.revoke_all()
            assert session.get(echo).ok
            sandbox.revoke_all()
            sandbox.revoke_refresh_tokens()
            assert session.get(echo).ok
            sandbox.revoke_all()
            assert session.get(echo).ok
        kinds = [form["grant_type"] for form in forms(sandbox)]
        assert kinds == ["password", "refresh_token", "refresh_token", "password", "refresh_token"]


class TestClientCredentials:
    def test_keep_no_refresh_token(self, session, sandbox, echo):
        sandbox.answer_token_requests(Answer.token(refresh_token="never-keep-this"))
        assert session.get(echo).ok
        assert kept().refresh_token is None
        assert session.auth._source._token.refresh_token is None
        sandbox.revoke_all()
        assert session.get(echo).ok
        assert {form["grant_type"] for form in forms(sandbox)} == {"client_credentials"}

    def test_use_none_that_is_in_the_cache(self, session, sandbox, echo):
        found = Settings.resolve()
        old = Token("old", time.time() - 3600, time.time(), refresh_token="never-use-this")
        found.cache.save(found.cache_key, old)
        assert session.get(echo).ok
        assert forms(sandbox)[0]["grant_type"] == "client_credentials"

    def test_repeat_extra_parameters_each_time(self, environ, sandbox, echo):
        with opened(sandbox, extra=EXTRA) as session:
            assert session.get(echo).ok
            sandbox.revoke_all()
            assert session.get(echo).ok
        assert [{name: form[name] for name in EXTRA} for form in forms(sandbox)] == [EXTRA, EXTRA]
        with opened(sandbox) as session:
            assert session.get(echo).ok
        assert sandbox.counts.token_requests == 3

    def test_may_have_extra_parameters_of_any_letter(self, environ, sandbox, echo):
        extra = {f"n{letter}": f"{letter}v {letter}" for letter in "&+% æé~*\"'\\=;:/?#€𝄞"}
        extra |= dict.fromkeys(["body", "auth", "timeout", "method", "url", "session"], "what Python calls its own")
        with opened(sandbox, extra=extra) as session:
            assert session.get(echo).ok
        assert {name: form for name, form in forms(sandbox)[0].items() if name in extra} == extra


class TestTheEndOfALogin:
    """What was found to take a login away, or to bring it back."""

    @pytest.fixture
    def source(self):
        def source(store, fetch=None, refresh=None, **changes):
            def nobody():
                raise LoginRequired("a person has to log in")

            return TokenSource(fetch or nobody, store, "key", refresh=refresh, **changes)

        return source

    @staticmethod
    def aged(text="old", refresh_token="R1", obtained_at=None):
        now = time.time() if obtained_at is None else obtained_at
        return Token(text, now - 3600, now - 1, refresh_token=refresh_token)

    def test_a_new_token_is_kept_before_anybody_is_told(self, source):
        store, seen = MemoryStore(), []
        store.save("key", self.aged())
        new = Token("new", time.time(), time.time() + 3600, refresh_token="R2")
        made = source(store, refresh=lambda last: new, on_event=lambda event: seen.append((event, store.load("key"))))
        made.token()
        assert ("fetch", new) in seen

    def test_a_logout_during_a_renewal_is_not_undone(self, source):
        store = MemoryStore()
        store.save("key", self.aged())

        def refresh(last):
            store.remove("key")
            return Token("new", time.time(), time.time() + 3600, refresh_token="R2")

        with pytest.raises(LoginRequired):
            source(store, refresh=refresh).token()
        assert store.load("key") is None

    def test_an_older_token_of_a_store_that_keeps_nothing_is_not_taken_over(self, source):
        class Full(MemoryStore):
            def save(self, key, token):
                raise OSError("no space")

        store, used = Full(), []
        old = Token("T1", time.time() - 10, time.time() + 3600, refresh_token="R1")
        store._tokens["key"] = old
        names = iter(["T2", "T3"])

        def refresh(last):
            used.append(last.refresh_token)
            return Token(next(names), time.time(), time.time() + 3600, refresh_token=f"R{len(used) + 1}")

        made = source(store, refresh=refresh)
        assert made.token().access_token == "T1"
        assert made.token(rejected="T1").access_token == "T2"
        made.accept("T2")
        made._refused.pop("T1")  # as if it had been renewed ahead, and was good still
        assert made.token(rejected="T2").access_token == "T3"
        assert used == ["R1", "R2"]

    def test_who_was_never_asked_did_not_fail(self, source):
        events = []
        with pytest.raises(LoginRequired):
            Login("client", NoSecret(), (), ()).check()
        made = source(MemoryStore(), fetch=Login("client", NoSecret(), (), ()).check, on_event=events.append)
        with pytest.raises(LoginRequired):
            made.token()
        assert events == []

    @pytest.mark.parametrize("what", ["load", "remove"])
    def test_a_cache_that_may_have_the_token_still_is_told(self, environ, sandbox, echo, what, monkeypatch):
        store = MemoryStore()
        with AritmaSession(cache=store) as session:
            session.verify = sandbox.ca_bundle
            session.get(echo)

            def broken(key):
                raise OSError("gone")

            monkeypatch.setattr(store, what, broken)
            with pytest.raises(TokenError, match="may have the token still"):
                session.revoke()
        assert sandbox.counts.revocations == 1

    @pytest.mark.parametrize(
        ("refresh", "refresh_token", "whole"),
        [(True, "R1", True), (True, None, False), (False, "R1", False), (False, None, False)],
    )
    def test_a_renewal_that_spends_a_refresh_token_is_not_cut_off(
        self, source, monkeypatch, refresh, refresh_token, whole
    ):
        begun, now = [], time.time()
        monkeypatch.setattr(background, "start", lambda work, *, whole: begun.append(whole) or False)
        store = MemoryStore()
        store.save("key", Token("t", now - 3500, now + 500, refresh_token=refresh_token))
        source(store, refresh=(lambda last: None) if refresh else None).token()
        assert begun == [whole]

    @pytest.mark.parametrize("difference", [-1, 0, 1])
    def test_a_token_of_a_store_in_trouble_is_taken_over_unless_it_is_older(self, source, difference):
        class Full(MemoryStore):
            def save(self, key, token):
                raise OSError("no space")

        now, store = time.time(), Full()
        mine = Token("mine", now, now + 3600)
        made = source(store, fetch=lambda: mine)
        assert made.token() == mine
        made.accept("mine")
        store._tokens["key"] = Token("other", now + difference, now + 3600)
        again = Token("again", now + 5, now + 3600)
        made._fetch = lambda: again
        assert made.token(rejected="mine").access_token == ("again" if difference < 0 else "other")
