"""Nothing secret is within reach of what a session gives out."""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import copy
import io
import json
import logging
import os
import pickle
import re
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from urllib.parse import parse_qs, quote_plus, urlsplit

import pytest
import requests
import urllib3

import aritma_session
from aritma_session import (
    AritmaSession,
    CredentialsRefused,
    LoginRequired,
    TokenEndpointUnavailable,
    TokenError,
    cli,
)
from aritma_session.sandbox import Answer

from helpers import holding, reachable, wait_for
from keys import PASSPHRASE, TRADITIONAL, pem, public_pem

#: Where the library's own frames are: what users' tools may write down of them is its matter.
OWN = os.path.dirname(aritma_session.__file__)

#: Secrets of a session's own, beside the sandbox's: of a client that it does not know, and of a proxy.
ANOTHER, PROXY_PASSWORD = "another-secret", "Qz8-Bassoon_41~w"


@pytest.fixture
def hidden(sandbox):
    """The texts that must not show anywhere; what else a grant proves itself with is added here."""
    return [sandbox.client_secret, ANOTHER, PROXY_PASSWORD]


@pytest.fixture
def records():
    """All that is logged, by any logger at any level, the server's own threads aside."""
    kept = []

    class Keeper(logging.Handler):
        def emit(self, record):
            if not record.threadName.startswith("aritma-sandbox"):
                kept.append(record)

    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    before = [(logger, logger.level, logger.disabled) for logger in loggers]
    keeper = Keeper(level=1)
    logging.getLogger().addHandler(keeper)
    for logger in loggers:
        logger.setLevel(1)
        logger.disabled = False
    yield kept
    logging.getLogger().removeHandler(keeper)
    for logger, level, disabled in before:
        logger.setLevel(level)
        logger.disabled = disabled


class Interrupting(requests.adapters.HTTPAdapter):
    """Be interrupted in the middle of whatever is sent."""

    def send(self, request, **kwargs):
        raise KeyboardInterrupt


def adventures(session, sandbox, echo, cache, closed):  # noqa: PLR0915  # a long life
    """Live through all that can go wrong: the tokens that were used, and the responses and errors that came of it."""
    tokens, outcomes = set(), []

    def call(url=echo, session=session, **more):
        try:
            outcome = session.get(url, **more)
        except (requests.RequestException, KeyboardInterrupt) as error:
            outcome = error
        outcomes.append(outcome)
        source = session.auth._source
        tokens.update({source._token.access_token} if source._token else (), source._refused)
        return outcome

    def refused(kind, *answers, session):
        """Meet these answers of the token endpoint, each of which is asked for."""
        session.auth._source._failures.forget()
        before = sandbox.counts.token_requests
        sandbox.answer_token_requests(*answers)
        assert isinstance(call(session=session), kind)
        assert sandbox.counts.token_requests - before == len(answers)

    def other(**settings):
        made = AritmaSession(**settings)
        made.verify = sandbox.ca_bundle
        return made

    assert call().ok  # fetched
    with other() as second:
        assert call(session=second).ok  # adopted
    sandbox.revoke_all()
    assert len(call().history) == 1  # replayed
    sandbox.answer_token_requests(Answer.token(expires_in=1))  # says so, and is good for longer
    sandbox.revoke_all()
    assert call().ok
    wait_for(lambda: not session.auth._source._good(session.auth._source._token))
    assert call().ok  # expired
    call(f"{sandbox.issuer}/redirect?to={sandbox.other_host}/api/v3/echo")
    call(f"{sandbox.issuer}/redirect?to={sandbox.api_url}/echo")
    call(f"{sandbox.issuer}/redirect?to={sandbox.issuer}/redirect")
    call(f"{sandbox.issuer}/nowhere")
    call(f"{sandbox.other_host}/api/v3/echo")
    sandbox.forbid_all = True
    assert call().status_code == 403
    sandbox.forbid_all, sandbox.refuse_all = False, True
    assert call().status_code == call().status_code == 401
    sandbox.refuse_all = False
    proxies = {"https": f"http://user:{PROXY_PASSWORD}@127.0.0.1:{closed}"}
    with other() as second:  # since requests keeps what it knows of a proxy within reach of all later responses
        assert isinstance(call(session=second, proxies=proxies), requests.exceptions.ProxyError)
    call(timeout=1e-9)
    with other(api_hosts=f"localhost:{closed}") as second:
        assert isinstance(call(f"https://localhost:{closed}/x", session=second), requests.ConnectionError)
    for answers in REFUSALS:
        with other(cache="memory") as second:
            refused(TokenError, *answers, session=second)
    for change in ({"proxies": proxies}, {"verify": True, "trust_env": False}):
        with other(cache="memory") as second:
            vars(second).update(change)
            assert isinstance(call(session=second), TokenError)
    with other(cache="memory") as second:
        second.mount("https://", Interrupting())
        assert isinstance(call(session=second), KeyboardInterrupt)
    os.chmod(cache / "aritma-session", 0o755)
    with other() as second:
        assert call(session=second).ok
    with other(cache="memory", client_secret=ANOTHER) as second:
        refused(CredentialsRefused, Answer.token(), session=second)  # which the sandbox does not give this one
        refused(CredentialsRefused, Answer.error(401, "invalid_client", dressed(ANOTHER)), session=second)
        before = sandbox.counts.token_requests
        assert isinstance(call(session=second), CredentialsRefused)  # remembered
        assert sandbox.counts.token_requests == before
    return tokens, outcomes


class Echoing(requests.adapters.HTTPAdapter):
    """Answer a token request with all that it says, as a server might that is looked into for a fault."""

    def __init__(self, status):
        super().__init__()
        self.status, self.heard = status, []

    def send(self, request, **kwargs):
        if not request.url.endswith("/connect/token"):
            return super().send(request, **kwargs)
        self.heard.append((request.headers.get("Authorization"), request.body))
        said = {"error": "invalid_request", "error_description": f"{self.heard} {parse_qs(request.body)}"}
        answer = urllib3.HTTPResponse(io.BytesIO(json.dumps(said).encode()), {}, self.status, preload_content=False)
        return self.build_response(request, answer)


#: Settings of grants with a user, each with another way for the client to prove itself.
WITH_USER = {
    "basic": {"token_endpoint_auth_method": "client_secret_basic"},
    "key": {"private_key": pem("P-256", TRADITIONAL, PASSPHRASE), "private_key_passphrase": PASSPHRASE},
    "certificate": {"token_endpoint_auth_method": "tls_client_auth"},
    "login": {"token_endpoint_auth_method": "client_secret_basic", "grant": "authorization_code"},
}


def adventures_with_user(settings, sandbox, echo, login, hidden):  # noqa: C901, PLR0915  # as above
    """Live through what can go wrong between the refresh tokens of a user: tokens, and responses and errors."""
    tokens, outcomes, given = set(), [], dict(settings)
    sandbox.register_key(public_pem("P-256"))
    cert = sandbox.client_certificate()
    grant = given.setdefault("grant", "password")
    if "private_key" in given:
        hidden += [line for line in given["private_key"].splitlines() if len(line) == 64]
        hidden.append(PASSPHRASE)
    if grant == "password":
        given |= {"username": sandbox.username, "password": sandbox.password}
    if given.get("token_endpoint_auth_method") != "client_secret_basic":
        hidden.remove(sandbox.client_secret)  # which the session does not know, so that a server may say it
    hidden.append(sandbox.password)
    given["scope"] = "bankservice offline_access"

    def call(session):
        try:
            outcome = session.get(echo)
        except (requests.RequestException, KeyboardInterrupt) as error:
            outcome = error
        outcomes.append(outcome)
        source = session.auth._source
        tokens.update({source._token.access_token} if source._token else (), source._refused)
        if source._token and source._token.refresh_token:
            hidden.append(source._token.refresh_token)
        return outcome

    def opened(**more):
        session = AritmaSession(**{**given, **more})
        session.verify, session.cert = sandbox.ca_bundle, cert
        return session

    def renewed():
        sandbox.revoke_all()
        if grant != "password":
            login(age=3600, **given)

    renewed()
    with opened() as session:
        assert call(session).ok
        sandbox.answer_token_requests(Answer.token(scope="other"))
        sandbox.revoke_all()
        assert len(call(session).history) == 1  # refreshed
        sandbox.answer_calls(Answer.reset())
        assert isinstance(call(session), requests.ConnectionError)
        for answers in REFUSALS:
            sandbox.revoke_all()
            sandbox.answer_token_requests(*answers)
            before = sandbox.counts.token_requests
            call(session)
            assert sandbox.counts.token_requests - before >= len(answers)
            renewed()
            assert call(session).ok
        renewed()
        for status in (400, 401, 200, 503):
            session.auth._source._failures.forget()
            session.mount("https://", echoing := Echoing(status))
            assert isinstance(call(session), TokenError)
            assert echoing.heard
            hidden += {header.split()[1] for header, _ in echoing.heard if header}
            for _, body in echoing.heard:
                form = parse_qs(body)
                hidden += [*form.get("client_assertion", []), *form.get("refresh_token", [])]
        session.mount("https://", Interrupting())
        session.auth._source._failures.forget()
        assert isinstance(call(session), KeyboardInterrupt)
    renewed()
    sandbox.revoke_refresh_tokens()
    with opened() as session:
        outcome = call(session)
        assert outcome.ok if grant == "password" else isinstance(outcome, LoginRequired)
    if grant == "password":
        with opened(cache="memory") as session:  # which asks with the password
            session.mount("https://", echoing := Echoing(400))
            assert isinstance(call(session), TokenError)
            assert f"password={sandbox.password}" in echoing.heard[0][1]
            hidden += {header.split()[1] for header, _ in echoing.heard if header}
            hidden += parse_qs(echoing.heard[0][1]).get("client_assertion", [])
        with opened(password=ANOTHER) as session:
            sandbox.revoke_all()
            sandbox.revoke_refresh_tokens()
            assert isinstance(call(session), CredentialsRefused)
        hidden.append(ANOTHER)
    if "private_key" in given:
        sandbox.revoke_all()
        with opened(private_key_passphrase="not the right passphrase") as session:
            assert "the passphrase is wrong" in str(call(session))
        hidden.append("not the right passphrase")
    return tokens, outcomes


def dressed(secret):
    return f"you said client_secret={secret}, or Basic {base64.b64encode(secret.encode()).decode()}"


SAID = dressed("sandbox-secret-1234")
REFUSALS = [
    [Answer.error(400, "invalid_grant", SAID)],
    [Answer.error(429, "slow_down", SAID, retry_after=0)] * 3,
    [Answer(503, SAID.encode(), {"X-Debug": SAID})] * 3,
    [Answer.redirect(f"https://localhost/?{SAID}")],
    [Answer.html(SAID)],
    [Answer.json([SAID])],
    [Answer.token(token_type="mac", note=SAID)],
    [Answer.token(access_token=f"{SAID}\n")],
    [Answer.reset()] * 3,
    [Answer.cut()] * 3,
    [Answer.truncated()] * 3,
]


def errors_in(outcome):
    """The exceptions that an outcome is, or is chained to."""
    links = [outcome] if isinstance(outcome, BaseException) else []
    for link in links:
        links += [other for other in (link.__cause__, link.__context__) if other is not None and other not in links]
    return links


def responses_in(outcome):
    """The responses that an outcome is or has, those on the way to it included."""
    first = outcome if isinstance(outcome, requests.Response) else vars(outcome).get("response")
    return [] if first is None else [first, *first.history]


def take_out_headers(outcome):
    """Take the Authorization header out of each covered request of an outcome: what stood there.

    As with requests, the request that was sent has its own header. It is the one place where a token may stand, so that
    whatever is still found afterwards is elsewhere, were it the very same text.
    """
    sent = [response.request for response in responses_in(outcome)]
    for error in errors_in(outcome):
        sent += [vars(error).get("request"), *(response.request for response in responses_in(error))]
    # In these tests, localhost has the API, and other names of the same server have not.
    covered = [request for request in sent if request is not None and urlsplit(request.url).hostname == "localhost"]
    return [request.headers.pop("Authorization") for request in covered if "Authorization" in request.headers]


class TestFullRun:
    """After all that can go wrong, nothing that was logged, answered or raised leads to a secret."""

    @pytest.fixture
    def lived(self, session, sandbox, echo, cache, records, monkeypatch):
        monkeypatch.setattr("aritma_session.endpoint.BACKOFF", 0.0)
        with socket.create_server(("127.0.0.1", 0)) as server:
            closed = server.getsockname()[1]
        tokens, outcomes = adventures(session, sandbox, echo, cache, closed)
        assert len(tokens) >= 5
        assert len(outcomes) > 30
        return tokens, outcomes

    def test_leads_to_no_secret(self, lived, records, hidden):
        tokens, outcomes = lived
        self.assert_no_record_tells(records, [*hidden, *tokens])
        for outcome in outcomes:
            self.assert_nothing_reachable_tells(outcome, hidden)
            self.assert_no_message_tells(outcome, [*hidden, *tokens])
            self.assert_no_frame_of_ours_tells(outcome, hidden)
            if not isinstance(outcome, KeyboardInterrupt):
                self.assert_no_pickle_tells(outcome, hidden, tokens)
        taken = [(outcome, self.assert_tokens_in_headers_alone(outcome, tokens)) for outcome in outcomes]
        assert any(len(headers) > 1 for _, headers in taken)  # of a history too
        assert any(headers for outcome, headers in taken if isinstance(outcome, requests.ConnectionError))

    def assert_no_record_tells(self, records, secrets):
        assert {"aritma_session", "urllib3.connectionpool"} <= {record.name for record in records}
        assert any(record.levelno >= logging.WARNING for record in records)
        for record in records:
            told = [record.getMessage(), repr(record.args), repr(vars(record)), logging.Formatter().format(record)]
            # A record may lead to a connection or an error, and those must not lead to a secret either.
            assert holding([*told, *reachable(vars(record))], *secrets) == [], record

    def assert_nothing_reachable_tells(self, outcome, hidden):
        if isinstance(outcome, requests.Response):
            assert not any(secret in outcome.text for secret in hidden)
        found = reachable(vars(outcome), *errors_in(outcome))
        if isinstance(outcome, requests.exceptions.ProxyError):  # it is requests' own, and leads to requests' own proxy
            assert holding(found, *(secret for secret in hidden if secret != PROXY_PASSWORD)) == []
            found = reachable(vars(outcome))
        assert holding(found, *hidden) == []

    def assert_tokens_in_headers_alone(self, outcome, tokens):
        """Take the outcome apart, and give the headers that tokens stood in."""
        headers = take_out_headers(outcome)
        assert set(headers) <= {f"Bearer {token}" for token in tokens}
        for response in responses_in(outcome):
            if "/echo" in response.url:  # its body repeats the header
                response._content = b""
        assert holding(reachable(vars(outcome), *errors_in(outcome)), *tokens) == []
        return headers

    def assert_no_message_tells(self, outcome, secrets):
        told = [repr(outcome), str(outcome)]
        for error in errors_in(outcome):
            told += [str(error), repr(error), *traceback.format_exception(error)]
        assert holding(told, *secrets) == []

    def assert_no_frame_of_ours_tells(self, outcome, hidden):
        for error in errors_in(outcome):
            told = traceback.TracebackException.from_exception(error, capture_locals=True)
            ours = [frame for frame in told.stack if frame.filename.startswith(OWN)]
            assert holding([text for frame in ours for text in (frame.locals or {}).values()], *hidden) == []

    def assert_no_pickle_tells(self, outcome, hidden, tokens):
        try:
            data = pickle.dumps(outcome, 0), pickle.dumps(outcome)
        except (TypeError, AttributeError, pickle.PicklingError):  # urllib3's own objects, in an error of requests'
            assert not isinstance(outcome, (TokenError, requests.Response))
            return
        assert holding(data, *hidden) == []
        if isinstance(outcome, TokenError):
            assert holding(data, *tokens) == []


class TestFullRunWithUser(TestFullRun):
    """Nor to a key, its passphrase, an assertion, a password or a refresh token."""

    @pytest.fixture(params=WITH_USER)
    def lived(self, request, environ, login, sandbox, echo, records, hidden, monkeypatch):
        monkeypatch.setattr("aritma_session.endpoint.BACKOFF", 0.0)
        if request.param == "key":
            monkeypatch.delenv("ARITMA_CLIENT_SECRET")
        tokens, outcomes = adventures_with_user(WITH_USER[request.param], sandbox, echo, login, hidden)
        assert len(tokens) >= 5
        assert len(outcomes) > 18
        return tokens, outcomes


class TestProcesses:
    def test_no_option_of_the_command_takes_a_secret(self):
        parsers, options = [cli._parser()], []
        for parser in parsers:
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction):
                    parsers += action.choices.values()
                else:
                    options += [*action.option_strings, action.dest]
        assert len(parsers) >= 3
        assert [name for name in options if re.search(r"secret|password|key|assertion|credential", name)] == []
        harmless = {"--token-lifetime", "token_lifetime", "--token-endpoint-auth-method", "token_endpoint_auth_method"}
        assert {name for name in options if "token" in name} == harmless

    @pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the process list is elsewhere")
    @pytest.mark.parametrize("arguments", [["demo", "--processes", "2"], ["sandbox"], ["token"], ["header"], ["check"]])
    def test_no_command_line_shows_a_secret(self, environ, sandbox, hidden, arguments):
        sandbox.token_delay = 30  # so that the commands that need a token are still there when they are looked at
        process = subprocess.Popen(
            [sys.executable, "-m", "aritma_session", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        seen = set()
        try:
            if arguments[0] in {"token", "header", "check"}:
                wait_for(lambda: sandbox.counts.token_requests or process.poll() is not None)
            if arguments[0] == "sandbox":
                assert process.stdout.readline()  # it is up
            enough = 4 if arguments[0] == "demo" else 1  # the workers, and what keeps watch over them
            wait_for(lambda: seen.update(command_lines(process.pid)) or len(seen) >= enough)
            assert process.poll() is None
        finally:
            process.terminate()
            process.communicate(timeout=20)
        started = "\0".join(["aritma_session", *arguments])
        assert any(started in line for line in seen)
        assert holding(seen, *hidden, "eyJ") == []


def command_lines(parent):
    """The command lines of a process and of all that came of it."""
    found, parents = {}, {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/stat") as file:
                parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{name}/cmdline") as file:
                found[int(name)] = file.read()
    family = [parent]
    for member in family:
        family += [child for child, of in parents.items() if of == member]
    return {f"{member} {found.get(member, '')}" for member in family}


class TestDisk:
    def test_is_the_same_whatever_the_secret(self, environ, sandbox, echo, tmp_path, monkeypatch):
        """Nobody can test guesses of a secret against what is on disk."""
        monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0)
        written = []
        for number, secret in enumerate(("first-secret-11", "a-second-secret-with-more")):
            sandbox.answer_token_requests(Answer.json({"access_token": "a.b.c", "token_type": "Bearer"}))
            folder = tmp_path / str(number)
            with AritmaSession(client_secret=secret, cache=folder) as session:
                session.verify = sandbox.ca_bundle
                session.auth._source.token()
            files = {file.relative_to(folder): file for file in folder.rglob("*")}
            written.append({str(name): (file.read_bytes() if file.is_file() else None) for name, file in files.items()})
        assert written[0] == written[1]
        assert any(b"a.b.c" in data for data in written[0].values() if data)

    def test_is_the_same_whatever_the_password_and_the_key(self, environ, sandbox, echo, tmp_path, monkeypatch):
        monkeypatch.delenv("ARITMA_CLIENT_SECRET")
        monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0)
        written = []
        for number, kind in enumerate(("P-256", "RSA")):
            answer = {"access_token": "a.b.c", "token_type": "Bearer", "refresh_token": "of a user"}
            sandbox.answer_token_requests(Answer.json(answer))
            sandbox.answer("discovery", Answer.changed())
            folder = tmp_path / str(number)
            given = {"grant": "password", "username": "user", "password": f"{kind} {number}", "cache": folder}
            with AritmaSession(**given, private_key=pem(kind), private_key_id="x" * number) as session:
                session.verify = sandbox.ca_bundle
                session.auth._source.token()
            files = {file.relative_to(folder): file for file in folder.rglob("*")}
            written.append({str(name): (file.read_bytes() if file.is_file() else None) for name, file in files.items()})
        assert written[0] == written[1]
        assert any(b"of a user" in data for data in written[0].values() if data)

    def test_sees_no_password_and_the_refresh_token_in_the_cache_alone(self, login, sandbox, echo, tmp_path, hidden):
        tokens = [login(age=3600)]
        with AritmaSession() as session:
            session.verify = sandbox.ca_bundle
            assert session.get(echo).ok
            tokens.append(session.auth._source._token)
        files = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        assert holding(files.values(), *hidden, sandbox.password, tokens[0].refresh_token) == []
        held = [file for file, data in files.items() if holding([data], tokens[1].refresh_token)]
        assert [(file.parent, file.suffix) for file in held] == [(tmp_path / "cache" / "aritma-session", ".json")]
        assert held[0].stat().st_mode & 0o777 == 0o600 or os.name == "nt"

    def test_sees_no_secret_and_the_token_in_the_cache_alone(self, session, echo, tmp_path, hidden, monkeypatch):
        place = tmp_path / "temporary"
        place.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        made, before = [], tempfile.mkstemp
        monkeypatch.setattr(tempfile, "mkstemp", lambda *args, **kwargs: made.append(kwargs) or before(*args, **kwargs))
        token = session.get(echo).request.headers["Authorization"].split()[1]
        assert {kwargs["dir"] for kwargs in made} == {session.auth._settings.cache.directory}
        assert list(place.iterdir()) == []
        files = [file for file in tmp_path.rglob("*") if file.is_file()]
        assert holding((file.read_bytes() for file in files), *hidden) == []
        held = [file for file in files if holding([file.read_bytes()], token)]
        assert [file.parent for file in held] == [tmp_path / "cache" / "aritma-session"]
        assert [file.suffix for file in held] == [".json"]


class TestSecrets:
    def test_repr_shows_neither_secret_nor_token(self, session, sandbox, echo):
        token = session.get(echo).request.headers["Authorization"].split()[1]
        auth = session.auth
        text = "".join(map(repr, [session, auth, auth._settings, auth._endpoint, auth._source, auth._source._token]))
        assert sandbox.client_secret not in text
        assert token not in text
        assert sandbox.client_id in repr(session.auth)

    @pytest.mark.parametrize("way", WITH_USER)
    def test_repr_shows_nothing_of_a_user_either(self, login, sandbox, echo, monkeypatch, way):
        given = {**WITH_USER[way], "scope": "bankservice offline_access"}
        if way == "key":
            monkeypatch.delenv("ARITMA_CLIENT_SECRET")
        token = login(age=3600, **{**given, "grant": "authorization_code"})
        given = {"grant": "password", "username": "user", "password": sandbox.password, **given}
        with AritmaSession(**given) as session:
            settings = session.auth._settings
            grant = settings.grant
            refreshing = grant.refreshing(token)
            shown = "".join(
                map(repr, [session, session.auth, settings, grant, refreshing, token, session.auth._source])
            )
            shown += "".join(map(repr, [grant.authentication, getattr(grant.authentication, "private_key", None)]))
        secrets = [sandbox.client_secret, sandbox.password, token.refresh_token, token.access_token, PASSPHRASE]
        lines = [line for line in pem("P-256", TRADITIONAL, PASSPHRASE).splitlines() if len(line) == 64]
        assert holding([shown], *secrets, *lines) == []
        assert sandbox.client_id in shown

    def test_nothing_reachable_from_a_response_holds_the_secret(self, session, sandbox, echo):
        session.get(echo)
        sandbox.revoke_all()
        response = session.get(echo)
        del response._content
        fresh, refused = (header.split()[1] for header in take_out_headers(response))
        assert fresh != refused
        found = reachable(vars(response), vars(response.history[0]))
        assert holding(found, sandbox.client_secret, fresh, refused) == []

    def test_a_pickled_response_holds_no_secret_and_works(self, session, sandbox, echo):
        response = session.get(echo)
        pickled = pickle.dumps(response)
        assert sandbox.client_secret.encode() not in pickled
        again = pickle.loads(pickled)
        assert again.json() == response.json()
        with requests.Session() as plain:
            assert plain.send(again.request, verify=sandbox.ca_bundle).ok

    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda request: request.copy()])
    def test_a_copied_request_is_answered_as_the_first(self, session, sandbox, echo, again):
        prepared = again(session.prepare_request(requests.Request("GET", echo)))
        sandbox.revoke_all()
        assert session.send(prepared).ok

    @pytest.mark.parametrize(
        ("answers", "kind"),
        [
            ([Answer.error(401, "invalid_client", SAID)], CredentialsRefused),
            ([Answer.html(SAID)], TokenError),
            ([Answer.reset()] * 3, TokenEndpointUnavailable),
        ],
    )
    def test_nothing_reachable_from_an_exception_holds_the_secret(
        self, session, sandbox, echo, monkeypatch, answers, kind
    ):
        monkeypatch.setattr("aritma_session.endpoint.BACKOFF", 0.0)
        sandbox.answer_token_requests(*answers)
        with pytest.raises(TokenError) as caught:
            session.get(echo)
        # Asked for, and not remembered of another test: the cache, by which refusals are remembered, is this one's own.
        assert sandbox.counts.token_requests == len(answers)
        error = caught.value
        assert type(error) is kind
        parts = vars(error), error.args, error.__cause__, error.__context__
        assert holding(reachable(*parts), sandbox.client_secret) == []

    def test_no_log_record_of_any_logger_holds_a_secret_or_a_token(self, environ, sandbox, echo, caplog):
        loggers = [logging.getLogger(name) for name in ("", *logging.root.manager.loggerDict)]
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(1)
        try:
            with AritmaSession() as one, AritmaSession() as two:
                calls = [session.get(echo) for session in (one, two, one)]
                sandbox.revoke_all()
                calls += [session.get(echo) for session in (one, two)]
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
        tokens = {call.request.headers["Authorization"].split()[1] for call in calls}
        assert len(tokens) == 2
        said = [record.getMessage() + repr(record.args) for record in caplog.records]
        assert any("took over" in text for text in said)
        assert holding(said, sandbox.client_secret, *tokens) == []

    @pytest.mark.parametrize("variable", ["ARITMA_CLIENT_SECRET", "ARITMA_CLIENT_SECRET_FILE"])
    def test_a_setting_that_is_wrong_leads_to_no_secret(self, monkeypatch, variable, tmp_path):
        wrong, path = "never-show-this\nnor-this", tmp_path / "secret"
        path.write_text(wrong)
        for name in ("ARITMA_CLIENT_SECRET", "ARITMA_CLIENT_SECRET_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, str(path) if variable.endswith("FILE") else wrong)
        with pytest.raises(ValueError, match=variable) as caught:
            AritmaSession("client")
        chain = [caught.value, caught.value.__cause__, caught.value.__context__]
        frames = [frame for error in chain if error for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
        assert len(frames) >= 4
        assert not [frame for frame in frames if "never-show-this" in repr(frame.f_locals)]
        assert "line break" in str(caught.value)

    def test_the_disk_holds_nothing_of_the_secret(self, session, sandbox, echo, cache):
        session.get(echo)
        for folder, _, names in os.walk(cache):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    assert sandbox.client_secret.encode() not in file.read()


#: What a token endpoint that means harm could make of a secret that it was sent.
ECHOES = {
    "as it is": str,
    "in upper case": str.upper,
    "in title case": str.title,
    "backwards": lambda text: text[::-1],
    "without its last letter": lambda text: text[:-1],
    "without its first letter": lambda text: text[1:],
    "its first six letters": lambda text: text[:6],
    "its last six letters": lambda text: text[-6:],
    "cut in two": lambda text: f"{text[:10]} and then {text[10:]}",
    "split by a space of no width": lambda text: "\u200b".join((text[:5], text[5:])),
    "with soft hyphens": "\u00ad".join,
    "letter by letter": " ".join,
    "in a column": "\n".join,
    "in wide letters": lambda text: "".join(chr(ord(letter) + 0xFEE0) for letter in text),
    "in JSON escapes": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "in character references": lambda text: "".join(f"&#x{ord(letter):x};" for letter in text),
    "percent-encoded": lambda text: "".join(f"%{ord(letter):02X}" for letter in text),
    "in Base64": lambda text: base64.b64encode(text.encode()).decode(),
    "in Base64 behind one letter": lambda text: base64.b64encode(b"x" + text.encode()).decode(),
    "in Base64 behind two letters": lambda text: base64.b64encode(b"xy" + text.encode()).decode(),
    "in Base64 for URLs": lambda text: base64.urlsafe_b64encode(b"?" + text.encode()).decode().rstrip("="),
    "in Base64 in upper case": lambda text: base64.b64encode(text.encode()).decode().upper(),
    "in Base64 without its first letter": lambda text: base64.b64encode(text.encode()).decode()[1:],
    "in Base64 backwards": lambda text: base64.b64encode(text.encode()).decode()[::-1],
    "in Base64 of UTF-16": lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
    "as HTTP Basic": lambda text: "Basic " + base64.b64encode(f"sandbox-client:{text}".encode()).decode(),
    "as HTTP Basic of a form": lambda text: (
        "Basic " + base64.b64encode(f"sandbox-client:{quote_plus(text)}".encode()).decode()
    ),
    "in hexadecimal": lambda text: text.encode().hex(),
    "in upper-case hexadecimal": lambda text: text.encode().hex().upper(),
    "in hexadecimal with colons": lambda text: binascii.hexlify(text.encode(), ":").decode(),
    "in hexadecimal backwards": lambda text: text.encode().hex()[::-1],
    "in hexadecimal, letters backwards": lambda text: text[::-1].encode().hex(),
    "in hexadecimal without its first digit": lambda text: text.encode().hex()[1:],
    "in UTF-16": lambda text: text.encode("utf-16-le").decode("latin-1"),
}

#: Ways to send a text back: an answer for each.
CARRIERS = {
    "description": lambda text: Answer.error(400, "invalid_client", f"not {text}!"),
    "code": lambda text: Answer.error(400, f"not {text}!"),
    "JSON that is not ASCII": lambda text: Answer(
        401, json.dumps({"error": "x", "error_description": text}, ensure_ascii=False).encode("utf-8", "replace")
    ),
    "page": lambda text: Answer.html(f"<p>not {text}!</p>"),
    "header": lambda text: Answer(400, headers={"X-Debug": ascii(f"not {text}!")}),
}


class TestEchoes:
    """A server that sends the secret back in some form is not quoted."""

    @pytest.mark.parametrize("carrier", CARRIERS)
    @pytest.mark.parametrize("echo", ECHOES)
    def test_are_not_shown(self, environ, sandbox, monkeypatch, echo, carrier):
        secret = "Xk7-Trombone_94~q?"
        monkeypatch.setenv("ARITMA_CLIENT_SECRET", secret)
        sent = ECHOES[echo](secret)
        sandbox.answer_token_requests(CARRIERS[carrier](sent))
        with AritmaSession() as session:
            session.verify = sandbox.ca_bundle
            with pytest.raises(TokenError) as caught:
                session.get(f"{sandbox.api_url}/echo")
        error = caught.value
        assert "***" in error.response.headers.get("X-Debug", error.response.text)
        # Nor any piece of what was sent from which a piece of the secret could be read.
        size = max(6, len(sent) * 6 // len(secret) + 4)
        pieces = {sent[start : start + size] for start in range(max(1, len(sent) - size + 1))}
        found = reachable(vars(error), error.args, error.__cause__, error.__context__)
        assert [text for text in found if isinstance(text, str) and any(piece in text for piece in pieces)] == []
        assert holding(found, secret) == []
        assert holding([str(error), repr(error), "".join(traceback.format_exception(error))], secret) == []

    def test_leave_the_meaning_of_a_refusal_alone(self, environ, sandbox, monkeypatch, echo):
        """Where the secret has words of the protocol in it, the error codes are still known."""
        monkeypatch.setenv("ARITMA_CLIENT_SECRET", "invalid_client-invalid_scope")
        with AritmaSession() as session:
            session.verify = sandbox.ca_bundle
            with pytest.raises(CredentialsRefused) as caught:
                session.get(echo)
        assert caught.value.error == "invalid_client"

    def test_of_a_secret_of_signs_hide_no_other_text(self, environ, sandbox, monkeypatch, echo):
        monkeypatch.setenv("ARITMA_CLIENT_SECRET", "*!~-+-~!*")
        with AritmaSession() as session:
            session.verify = sandbox.ca_bundle
            sandbox.answer_token_requests(Answer.error(400, "invalid_grant", "No such client, says this server."))
            with pytest.raises(TokenError) as caught:
                session.get(echo)
        assert caught.value.error_description == "No such client, says this server."
