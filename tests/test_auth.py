"""What is attached where: over TLS, against a server that counts."""

from __future__ import annotations

import contextlib
import gc
import pickle
from urllib.parse import parse_qsl

import pytest
import requests

from aritma_session import AritmaAuth, AritmaSession, CredentialsRefused, MemoryStore, TokenEndpointUnavailable
from aritma_session.sandbox import Counts, Sandbox
from aritma_session.settings import Settings

from helpers import at_once, said, sent_authorization
from keys import PASSPHRASE, pem


class TestAttaching:
    def test_the_token_is_fetched_for_the_first_covered_request_only(self, session, sandbox, echo):
        assert sandbox.counts.token_requests == 0
        for _ in range(3):
            assert session.get(echo).json()["headers"]["authorization"].startswith("Bearer ey")
        assert sandbox.counts.token_requests == 1

    def test_another_host_gets_no_token_and_costs_none(self, session, sandbox):
        session.get(f"{sandbox.other_host}/api/v3/echo")
        assert sent_authorization(sandbox) == [None]
        assert sandbox.counts.token_requests == 0

    @pytest.mark.parametrize("user", ["", "user:word@"])
    def test_another_host_and_why_it_gets_no_token_stand_in_the_log(self, session, sandbox, caplog, user):
        with caplog.at_level("DEBUG", logger="aritma_session"):
            session.get(sandbox.other_host.replace("//", f"//{user}"))
        host = sandbox.other_host.removeprefix("https://")
        line = f"no token for a request to {host}: it is no API host of {sandbox.issuer}"
        assert said(caplog) == [("DEBUG", line)]

    def test_the_header_is_written_as_everybody_writes_it(self, session, echo):
        assert "Authorization" in list(session.prepare_request(requests.Request("GET", echo)).headers)

    def test_a_request_that_was_pickled_has_its_token_and_no_way_back(self, session, echo):
        prepared = session.prepare_request(requests.Request("GET", echo))
        with requests.Session() as plain:
            plain.verify = session.verify
            assert plain.send(pickle.loads(pickle.dumps(prepared))).ok

    def test_a_request_that_is_authorised_twice_is_answered_once(self, session, echo):
        mine = [].append
        prepared = session.prepare_request(requests.Request("GET", echo, hooks={"response": mine}))
        session.auth(prepared)
        assert len(prepared.hooks["response"]) == 2
        assert prepared.hooks["response"][1] == mine

    def test_arguments_are_the_settings(self, environ):
        store = MemoryStore()
        auth = AritmaAuth(cache=store, token_timeout=(1, 2))
        assert auth._settings.cache is store
        assert auth._settings.token_timeout == (1.0, 2.0)
        assert AritmaAuth(token_timeout=3)._settings.token_timeout == (3.0, 3.0)

    @pytest.mark.parametrize(
        "given",
        [
            {
                "client_secret": "secret",
                "environment": "development",
                "scope": ["a", "b"],
                "tenant": "acme",
                "cache": "./tokens",
                "cache_encryption_key": "A" * 43 + "=",
                "api_hosts": "api.example",
                "token_endpoint_auth_method": "client_secret_basic",
                "extra": {"audience": "them"},
            },
            {"client_secret": "secret", "grant": "password", "username": "user", "password": "word"},
            {
                "private_key": pem(passphrase=PASSPHRASE),
                "private_key_passphrase": PASSPHRASE,
                "private_key_id": "kid",
                "token_endpoint_auth_signing_alg": "PS256",
            },
        ],
    )
    def test_no_argument_is_lost(self, given):
        settings = AritmaAuth("client", **given)._settings
        assert settings == Settings.resolve("client", **given)
        if "cache" in given:
            assert settings.cache.sealing is not None

    def test_a_client_is_not_refused_for_what_another_secret_was_refused_for(self, environ, sandbox, echo):
        for secret, expected in (("wrong-secret-1", False), ("wrong-secret-2", False), (None, True)):
            with AritmaSession(client_secret=secret) as session:
                session.verify = sandbox.ca_bundle
                if expected:
                    assert session.get(echo).ok
                else:
                    with pytest.raises(CredentialsRefused):
                        session.get(echo)
        assert sandbox.counts.token_requests == 3

    def test_repr_says_who_and_where(self, session, sandbox):
        assert repr(session.auth) == f"<AritmaAuth for {sandbox.client_id!r} at {sandbox.issuer}>"
        assert repr(AritmaAuth.__new__(AritmaAuth)) == "<AritmaAuth>"

    def test_api_hosts_adds_hosts(self, environ, sandbox):
        with AritmaSession(api_hosts=sandbox.other_host.removeprefix("https://")) as session:
            assert session.get(f"{sandbox.other_host}/api/v3/echo").ok

    @pytest.mark.parametrize(
        "arguments", [{"auth": ("user", "word")}, {"headers": {"Authorization": "Basic dXNlcjp3b3Jk"}}]
    )
    def test_what_the_caller_says_wins_and_is_not_replayed(self, session, sandbox, echo, arguments):
        response = session.get(echo, **arguments)
        assert response.status_code == 401
        assert response.history == []
        assert sent_authorization(sandbox) == ["Basic dXNlcjp3b3Jk"]
        assert sandbox.counts.token_requests == 0

    def test_a_header_of_the_sessions_wins_too(self, session, sandbox, echo):
        session.headers["Authorization"] = "Bearer mine"
        assert session.get(echo).status_code == 401
        assert sent_authorization(sandbox) == ["Bearer mine"]
        assert sandbox.counts.token_requests == 0

    def test_a_header_put_into_a_prepared_request_wins_too(self, session, sandbox, echo):
        prepared = session.prepare_request(requests.Request("GET", echo))
        for header in ("Bearer mine", b"Bearer mine"):
            prepared.headers["Authorization"] = header
            assert session.send(prepared).status_code == 401
        assert sent_authorization(sandbox) == ["Bearer mine", "Bearer mine"]
        assert sandbox.counts.token_requests == 1

    def test_the_callers_objects_are_not_changed(self, session, echo):
        headers, hooks = {"X-Mine": "1"}, {"response": []}
        session.get(echo, headers=headers, hooks=hooks)
        assert headers == {"X-Mine": "1"}
        assert hooks == {"response": []}
        assert session.hooks == {"response": []}
        assert "Authorization" not in session.headers

    def test_nothing_is_lost_in_a_thread_of_its_own_auth(self, environ, sandbox, echo):
        """AritmaAuth alone, as ``auth=`` of plain requests, with the same cache."""
        auth = AritmaAuth()
        assert requests.get(echo, auth=auth).ok
        assert requests.get(echo, auth=AritmaAuth()).ok
        sandbox.revoke_all()
        response = requests.get(echo, auth=auth)
        assert response.ok
        assert [old.status_code for old in response.history] == [401]
        assert sandbox.counts.token_requests == 2

    def test_its_hook_outlives_it_without_harm(self, environ, sandbox, echo):
        prepared = requests.Request("GET", echo, auth=AritmaAuth()).prepare()
        gc.collect()
        sandbox.revoke_all()
        with requests.Session() as session:
            assert session.send(prepared, verify=sandbox.ca_bundle).status_code == 401


class TestNetrc:
    @pytest.fixture
    def netrc(self, monkeypatch, tmp_path):
        path = tmp_path / "netrc"
        path.write_text("default login net password rc\n")
        path.chmod(0o600)
        monkeypatch.setenv("NETRC", str(path))

    def test_an_api_host_never_gets_it(self, session, sandbox, echo, netrc):
        assert session.get(echo).ok
        assert all(header.startswith("Bearer ") for header in sent_authorization(sandbox))

    def test_an_api_host_never_gets_it_on_a_redirect_either(self, session, sandbox, echo, netrc):
        assert session.get(f"{sandbox.issuer}/redirect", params={"to": echo}).ok
        assert all(header.startswith("Bearer ") for header in sent_authorization(sandbox))

    def test_another_host_gets_it(self, session, sandbox, netrc):
        session.get(f"{sandbox.other_host}/api/v3/echo")
        assert sent_authorization(sandbox) == ["Basic bmV0OnJj"]

    def test_another_host_gets_none_where_the_environment_is_not_trusted(self, session, sandbox, netrc):
        session.trust_env = False
        session.get(f"{sandbox.other_host}/api/v3/echo", verify=sandbox.ca_bundle)
        assert sent_authorization(sandbox) == [None]

    def test_credentials_in_the_url_go_to_another_host(self, session, sandbox):
        session.get(sandbox.other_host.replace("//", "//user:word@") + "/api/v3/echo")
        assert sent_authorization(sandbox) == ["Basic dXNlcjp3b3Jk"]

    @pytest.mark.parametrize("behind", ["", "/redirect"])
    def test_an_api_host_never_gets_it_where_its_url_names_a_user(self, session, sandbox, echo, netrc, behind):
        url = echo.replace("//", "//user:word@")
        if behind:
            session.get(f"{sandbox.issuer}{behind}", params={"to": url})
        else:
            session.get(url)
        assert sent_authorization(sandbox, "/api/v3/echo") == [None if behind else "Basic dXNlcjp3b3Jk"]

    def test_the_token_request_does_not_get_it(self, session, sandbox, echo, netrc):
        session.get(echo)
        token_request = next(request for request in sandbox.requests if request.kind == "token")
        assert "authorization" not in token_request.headers


class TestTokenRequest:
    def test_it_is_sent_as_the_session_sends_its_own(self, environ, sandbox, echo, monkeypatch):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with AritmaSession() as session:
            with pytest.raises(requests.RequestException, match=r"REQUESTS_CA_BUNDLE"):
                session.get(echo)
            session.verify = sandbox.ca_bundle
            assert session.get(echo).ok

    def test_so_is_what_revokes(self, session, sandbox, echo, monkeypatch):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        session.get(echo)
        text = session.auth.token().access_token
        assert session.auth.revoke() is True
        (request,) = [request for request in sandbox.requests if request.kind == "revocation"]
        assert dict(parse_qsl(request.body.decode()))["token"] == text
        assert session.auth.token().access_token != text

    def test_each_repeats_the_whole_of_the_first(self, session, sandbox, echo):
        for _ in range(3):
            session.get(echo, headers={"X-Call": "1"}, params={"call": "1"}, data=b"call", cookies={"call": "1"})
            sandbox.revoke_all()
        first, *others = [request for request in sandbox.requests if request.kind == "token"]
        assert len(others) == 2
        for request in others:
            assert (request.path, request.query, request.headers, request.body) == (
                (first.path, first.query, first.headers, first.body)
            )
        assert "call" not in repr((first.headers, first.query, first.body)).lower()

    def test_a_client_that_is_refused_is_asked_for_once_by_all_sessions_of_the_process(self, environ, sandbox, echo):
        def refused(session):
            with pytest.raises(CredentialsRefused, match="ARITMA_CLIENT_SECRET") as caught:
                session.get(echo)
            return caught.value.error

        with contextlib.ExitStack() as stack:
            sessions = [stack.enter_context(AritmaSession(client_secret="not the secret")) for _ in range(4)]
            assert [refused(sessions[number % 4]) for number in range(20)] == ["invalid_client"] * 20
            assert at_once(4, lambda: refused(sessions.pop())) == ["invalid_client"] * 4
        assert sandbox.counts == Counts(token_requests=1)

    def test_a_server_that_is_down_is_an_error_and_one_that_is_up_again_is_used(self, monkeypatch, cache):
        monkeypatch.setattr("aritma_session.endpoint.BACKOFF", 0.01)
        monkeypatch.setenv("ARITMA_CACHE", str(cache))
        with Sandbox() as first:
            echo, port = f"{first.api_url}/echo", int(first.issuer.rpartition(":")[2])
            session = AritmaSession(first.client_id, first.client_secret, environment=first.issuer)
        with session:
            with pytest.raises(TokenEndpointUnavailable, match="ARITMA_TOKEN_TIMEOUT"):
                session.get(echo, timeout=5)
            with Sandbox(port=port) as second:
                session.verify = second.ca_bundle
                assert session.get(echo, timeout=5).status_code == 200
                assert second.counts.token_requests == 1

    def test_a_tenant_stands_in_its_path(self, environ, sandbox, echo):
        with AritmaSession(tenant="acme") as session:
            session.get(echo)
        assert [request.path for request in sandbox.requests if request.kind == "token"] == ["/acme/connect/token"]

    def test_a_plain_auth_meets_an_unreachable_endpoint(self, environ, monkeypatch):
        monkeypatch.setattr("aritma_session.endpoint.BACKOFF", 0.0)
        auth = AritmaAuth(environment="https://localhost:1", api_hosts="localhost:1")
        with pytest.raises(TokenEndpointUnavailable, match="localhost:1"):
            requests.get("https://localhost:1/", auth=auth)
