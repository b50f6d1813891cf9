"""What the session adds to its auth: redirects, copies, pickles."""

from __future__ import annotations

import copy
import pickle

import pytest
import requests

from aritma_session import AritmaAuth, AritmaSession, MemoryStore, TokenError

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

    def test_the_users_hooks_see_no_401_behind_a_redirect_either(self, session, sandbox, via, echo):
        seen = []
        session.hooks["response"] = [lambda response, **kwargs: seen.append(response.status_code)]
        session.get(echo)
        sandbox.revoke_all()
        session.get(via(sandbox.other_host, echo))
        assert seen == [200, 302, 200]

    def test_a_copy_of_a_request_keeps_its_hooks_when_the_original_is_authorised(self, session, echo):
        request = requests.Request("GET", echo, auth=("user", "word")).prepare()
        del request.headers["Authorization"]
        hooks = request.hooks
        twin = request.copy()
        session.auth(request)
        assert len(request.hooks["response"]) == 1
        assert twin.hooks == hooks == {"response": []}

    def test_the_token_stays_where_it_is_whatever_a_subclass_lets_through(self, environ, sandbox, via):
        class Trusting(AritmaSession):
            def should_strip_auth(self, old_url, new_url):
                return False

        with Trusting() as session:
            session.get(via(sandbox.issuer, f"{sandbox.other_host}/api/v3/echo"))
        assert sent_authorization(sandbox, "/api/v3/echo") == [None]

    def test_a_hook_without_a_list_around_it_will_do(self, session, via, sandbox, echo):
        """As for requests itself, which takes one for all that there are."""
        seen = []
        prepared = session.prepare_request(requests.Request("GET", via(sandbox.other_host, echo)))
        prepared.hooks = {"response": lambda response, **kwargs: seen.append(response.status_code)}
        assert session.send(prepared).ok
        assert seen == [302, 200]

    def test_a_prepared_request_is_not_changed_by_a_redirect(self, session, via, sandbox, echo):
        prepared = session.prepare_request(requests.Request("GET", via(sandbox.other_host, echo)))
        before = copy.deepcopy((prepared.hooks, dict(prepared.headers)))
        assert session.send(prepared).ok
        assert (prepared.hooks, dict(prepared.headers)) == before

    def test_a_401_that_was_answered_before_a_redirect_is_not_in_its_history(self, session, sandbox, via, echo):
        """As with requests' own digest authentication: a redirect's history is that of its hops."""
        session.get(echo)
        sandbox.revoke_all()
        assert [old.status_code for old in session.get(via(sandbox.other_host, echo)).history] == [302]


AGAIN = pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))],
    ids=["copy", "deep", "pickle"],
)


def test_a_redirect_that_a_hook_has_put_in_the_place_of_an_answer_takes_no_token_along(session, sandbox):
    elsewhere = f"{sandbox.other_host}/redirect"

    def swap(response, **kwargs):
        if response.url.startswith(sandbox.api_url):
            return requests.get(elsewhere, params={"to": "/steal"}, allow_redirects=False, verify=session.verify)
        return response

    session.get(f"{sandbox.api_url}/echo", hooks={"response": swap})
    assert sent_authorization(sandbox, "/steal") == [None]


class TestSharing:
    @AGAIN
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

    @AGAIN
    def test_a_copy_sends_its_token_requests_its_own_way(self, environ, sandbox, echo, again, monkeypatch):
        class Watching(requests.adapters.HTTPAdapter):
            def send(self, request, **kwargs):
                sent.append((self.name, request.path_url))
                return super().send(request, **kwargs)

        sent = []
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with AritmaSession(cache="memory") as session:
            session.verify = sandbox.ca_bundle
            with again(session) as twin:
                for name, each in (("first", session), ("second", twin)):
                    each.adapters = {"https://": Watching()}
                    each.adapters["https://"].name = name
                assert session.get(echo).ok
                sandbox.revoke_all()
                assert twin.get(echo).ok
        issuer, token, call = "/.well-known/openid-configuration", "/connect/token", "/api/v3/echo"
        assert [path for name, path in sent if name == "first"] == [issuer, token, call]
        asked = [path for name, path in sent if name == "second" and path != issuer]
        assert asked in ([call, token, call], [token, call])

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
        assert AritmaAuth(**change)._settings.cache_key != AritmaAuth()._settings.cache_key

    def test_the_parts_of_a_cache_key_do_not_run_together(self, environ):
        one, two = AritmaAuth(client_id="client", scope="x"), AritmaAuth(client_id="clientx", scope="")
        assert one._settings.cache_key != two._settings.cache_key

    def test_the_order_of_scopes_and_the_secret_make_no_difference(self, environ):
        one, two = (
            AritmaAuth(scope="api bankservice"),
            AritmaAuth(scope=["bankservice", "api"], client_secret="rotated"),
        )
        assert one._settings.cache_key == two._settings.cache_key

    def test_a_rotated_secret_is_read_from_its_file(self, environ, sandbox, monkeypatch, tmp_path, echo):
        secret = tmp_path / "secret"
        secret.write_text("the-old-secret\n")
        monkeypatch.delenv("ARITMA_CLIENT_SECRET")
        monkeypatch.setenv("ARITMA_CLIENT_SECRET_FILE", str(secret))
        monkeypatch.setattr("aritma_session.failures.REFUSAL_MEMORY", 0.0)
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
