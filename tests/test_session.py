"""What the session adds to its auth: redirects, copies, pickles."""

from __future__ import annotations

import copy
import pickle

import pytest
import requests

from aritma_session import AritmaAuth, AritmaSession, MemoryStore, TokenError
from aritma_session import source as source_module

from helpers import sent_authorization


class TestRedirects:
    @pytest.fixture
    def via(self, sandbox):
        """The URL of a redirect from one host to a URL."""

        def url(host, to, status=302):
            return requests.Request("GET", f"{host}/redirect", params={"to": to, "status": status}).prepare().url

        return url

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_the_token_does_not_go_to_another_host(self, session, sandbox, via, status):
        session.get(via(sandbox.issuer, f"{sandbox.other_host}/api/v3/echo", status))
        assert sent_authorization(sandbox, "/redirect")[0].startswith("Bearer ")
        assert sent_authorization(sandbox, "/api/v3/echo") == [None]

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_an_api_host_gets_it_when_another_host_leads_there(self, session, sandbox, via, echo, status):
        response = session.get(via(sandbox.other_host, echo, status))
        assert response.ok
        assert sent_authorization(sandbox, "/redirect") == [None]

    def test_there_and_back_again(self, session, sandbox, via, echo):
        away_and_back = via(sandbox.issuer, via(sandbox.other_host, echo))
        assert session.get(away_and_back).ok
        kinds = [header and header.split()[0] for header in sent_authorization(sandbox)]
        assert kinds == ["Bearer", None, "Bearer"]

    def test_between_other_hosts_it_is_as_with_requests(self, session, sandbox, via):
        url = via(sandbox.other_host.replace("//", "//user:word@"), f"{sandbox.other_host}/api/v3/echo")
        session.get(url)
        assert sent_authorization(sandbox) == ["Basic dXNlcjp3b3Jk"] * 2

    def test_a_revoked_token_is_renewed_behind_a_redirect(self, session, sandbox, via, echo):
        session.get(echo)
        sandbox.revoke_all()
        for host in (sandbox.issuer, sandbox.other_host):
            response = session.get(via(host, echo))
            assert response.ok
            sandbox.revoke_all()
        assert sandbox.counts.token_requests == 3

    def test_the_callers_own_credentials_stay_at_their_host_by_requests_rule(self, session, sandbox, via, echo):
        session.get(via(sandbox.issuer, echo), auth=("user", "word"))
        assert sent_authorization(sandbox) == ["Basic dXNlcjp3b3Jk"] * 2
        session.get(via(sandbox.other_host, echo), auth=("user", "word"))
        assert sent_authorization(sandbox)[2:] == ["Basic dXNlcjp3b3Jk", None]
        session.get(via(sandbox.issuer, f"{sandbox.other_host}/api/v3/echo"), auth=("user", "word"))
        assert sent_authorization(sandbox)[4:] == ["Basic dXNlcjp3b3Jk", None]
        assert sandbox.counts.token_requests == 0

    def test_a_session_with_another_auth_is_plain(self, session, sandbox, via, echo):
        session.auth = ("user", "word")
        session.get(via(sandbox.issuer, echo))
        assert sent_authorization(sandbox) == ["Basic dXNlcjp3b3Jk"] * 2


class TestSharing:
    @pytest.mark.parametrize(
        "again",
        [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))],
        ids=["copy", "deep", "pickle"],
    )
    @pytest.mark.parametrize("kind", ["file", "memory"])
    def test_a_copied_session_works_and_shares_the_cache(self, environ, sandbox, echo, again, kind, cache):
        with AritmaSession(cache="memory" if kind == "memory" else cache) as session:
            session.get(echo)
            session.verify = sandbox.ca_bundle
            session.trust_env = False
            with again(session) as twin:
                assert twin.get(echo).ok
                assert sandbox.counts.token_requests == 1
                sandbox.revoke_all()
                assert twin.get(echo).ok
                assert session.get(echo).ok

    def test_a_copy_sends_its_token_requests_its_own_way(self, environ, sandbox, echo):
        with AritmaSession(cache="memory") as session, copy.copy(session) as twin:
            session.get(echo)
            twin.trust_env = False
            sandbox.revoke_all()
            session.auth = None
            with pytest.raises(requests.exceptions.SSLError):
                twin.get(echo)

    def test_a_session_with_another_auth_can_be_pickled(self, session):
        session.auth = ("user", "word")
        assert pickle.loads(pickle.dumps(session)).auth == ("user", "word")

    @pytest.mark.parametrize(
        "change",
        [
            {"client_id": "another-client"},
            {"scope": "api"},
            {"tenant": "acme"},
            {"environment": "development"},
        ],
    )
    def test_another_client_scope_tenant_or_issuer_has_another_token(self, environ, change):
        assert AritmaAuth(**change)._source._key != AritmaAuth()._source._key

    def test_the_order_of_scopes_and_the_secret_make_no_difference(self, environ):
        one, two = (
            AritmaAuth(scope="api bankservice"),
            AritmaAuth(scope=["bankservice", "api"], client_secret="rotated"),
        )
        assert one._source._key == two._source._key

    def test_a_rotated_secret_is_read_from_its_file(self, environ, sandbox, monkeypatch, tmp_path, echo):
        secret = tmp_path / "secret"
        secret.write_text("the-old-secret\n")
        monkeypatch.delenv("ARITMA_CLIENT_SECRET")
        monkeypatch.setenv("ARITMA_CLIENT_SECRET_FILE", str(secret))
        monkeypatch.setattr(source_module, "REFUSAL_MEMORY", 0.0)
        with AritmaSession() as session:
            with pytest.raises(TokenError, match="invalid_client"):
                session.get(echo)
            secret.write_text(sandbox.client_secret + "\n")
            assert session.get(echo).ok
            secret.unlink()
            sandbox.revoke_all()
            with pytest.raises(TokenError, match="cannot be read"):
                session.get(echo)

    def test_a_store_of_the_users_own(self, environ, sandbox, echo):
        store = MemoryStore()
        for _ in range(2):
            with AritmaSession(cache=store) as session:
                assert session.get(echo).ok
        assert sandbox.counts.token_requests == 1


def test_a_header_of_the_callers_own_is_not_replaced_on_the_way_from_another_host(session, sandbox, echo):
    url = requests.Request("GET", f"{sandbox.other_host}/redirect", params={"to": echo}).prepare().url
    session.get(url, headers={"Authorization": "Basic dXNlcjp3b3Jk"})
    assert sent_authorization(sandbox) == ["Basic dXNlcjp3b3Jk", None]
    assert sandbox.counts.token_requests == 0
