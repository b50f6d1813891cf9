"""What users grant to clients of the sandbox, and how that is taken back: password, refresh token, revocation."""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
import requests

from aritma_session.sandbox import Answer, Counts

CLIENT = {"client_id": "sandbox-client", "client_secret": "sandbox-secret-1234"}
PASSWORD = {"grant_type": "password", "username": "sandbox-user", "password": "sandbox-password-1234", **CLIENT}


@pytest.fixture
def http(sandbox):
    with requests.Session() as session:
        session.trust_env = False
        session.verify = sandbox.ca_bundle
        yield session


def ask(http, sandbox, url=None, **form):
    return http.post(url or sandbox.token_endpoint, data={**CLIENT, **form})


def log_in(http, sandbox, scope="bankservice offline_access", **form):
    answer = ask(http, sandbox, **{**PASSWORD, "scope": scope, **form})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refresh(http, sandbox, refresh_token, **form):
    return ask(http, sandbox, grant_type="refresh_token", refresh_token=refresh_token, **form)


def revoke(http, sandbox, token, **form):
    return ask(http, sandbox, sandbox.revocation_endpoint, token=token, **form)


def call(http, sandbox, token):
    return http.get(f"{sandbox.api_url}/echo", headers={"Authorization": f"Bearer {token}"}).status_code


def claims_of(token):
    return jwt.decode(token, options={"verify_signature": False})


def refusal(answer):
    return answer.status_code, answer.json()["error"]


# Password


def test_password(http, sandbox):
    assert (sandbox.username, sandbox.password) == ("sandbox-user", "sandbox-password-1234")
    answer = log_in(http, sandbox, "bankservice")
    assert set(answer) == {"access_token", "expires_in", "token_type", "scope"}
    claims = claims_of(answer["access_token"])
    assert (claims["sub"], claims["client_id"], claims["scope"]) == ("sandbox-user", "sandbox-client", ["bankservice"])
    assert call(http, sandbox, answer["access_token"]) == 200
    assert sandbox.counts == Counts(token_requests=1, tokens=1, calls=1)


def test_password_without_a_scope(http, sandbox):
    answer = log_in(http, sandbox, "")
    assert "reconcile" in answer["scope"].split()
    assert "openid" not in answer["scope"].split()


def test_identity_scopes(http, sandbox):
    answer = log_in(http, sandbox, "openid profile email offline_access bankservice")
    assert set(answer) == {"access_token", "expires_in", "token_type", "scope", "refresh_token", "id_token"}
    described = http.get(f"{sandbox.issuer}/.well-known/openid-configuration").json()
    key = jwt.PyJWK(http.get(described["jwks_uri"]).json()["keys"][0])
    claims = jwt.decode(answer["id_token"], key, ["RS256"], audience="sandbox-client", issuer=sandbox.issuer)
    assert set(claims) == {"iss", "aud", "sub", "iat", "exp", "auth_time", "amr", "at_hash"}
    assert (claims["sub"], claims["amr"]) == ("sandbox-user", ["pwd"])
    assert claims["auth_time"] <= claims["iat"] < claims["exp"]
    half = hashlib.sha256(answer["access_token"].encode()).digest()[:16]
    assert claims["at_hash"] == base64.urlsafe_b64encode(half).decode().rstrip("=")
    header = jwt.get_unverified_header(answer["id_token"])
    assert (header["typ"], header["alg"], header["kid"]) == ("JWT", "RS256", key.key_id)
    assert call(http, sandbox, answer["id_token"]) == 401


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"password": "wrong"}, 400, "invalid_grant"),
        ({"username": "other"}, 400, "invalid_grant"),
        ({"username": None}, 400, "invalid_request"),
        ({"password": None}, 400, "invalid_request"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"scope": "bankservice other"}, 400, "invalid_scope"),
        ({"client_id": "sandbox-app", "client_secret": None}, 400, "unauthorized_client"),
    ],
)
def test_password_refusals(http, sandbox, change, status, error):
    assert refusal(ask(http, sandbox, **{**PASSWORD, **change})) == (status, error)
    assert sandbox.counts == Counts(token_requests=1)


@pytest.mark.parametrize("scope", ["openid", "profile", "email", "offline_access"])
def test_a_client_has_no_identity(http, sandbox, scope):
    answer = ask(http, sandbox, grant_type="client_credentials", scope=f"bankservice {scope}")
    assert refusal(answer) == (400, "invalid_scope")


# Refresh tokens


def test_a_refresh_token_is_good_once(http, sandbox):
    first = log_in(http, sandbox)
    second = refresh(http, sandbox, first["refresh_token"]).json()
    assert set(second) == {"access_token", "expires_in", "token_type", "scope", "refresh_token"}
    assert second["scope"] == "bankservice offline_access"
    assert second["access_token"] != first["access_token"]
    assert second["refresh_token"] != first["refresh_token"]
    claims = claims_of(second["access_token"])
    assert (claims["sub"], claims["scope"]) == ("sandbox-user", ["bankservice", "offline_access"])
    assert refusal(refresh(http, sandbox, first["refresh_token"])) == (400, "invalid_grant")
    assert refresh(http, sandbox, second["refresh_token"]).ok
    assert call(http, sandbox, second["access_token"]) == 200
    assert sandbox.counts == Counts(token_requests=4, tokens=3, refreshes=2, calls=1)


def test_a_refresh_token_may_stay_good(http, sandbox):
    sandbox.rotate_refresh_tokens = False
    first = log_in(http, sandbox)
    for _ in range(2):
        again = refresh(http, sandbox, first["refresh_token"]).json()
        assert again["refresh_token"] == first["refresh_token"]
    other = log_in(http, sandbox, refresh_token=first["refresh_token"])
    assert other["refresh_token"] != first["refresh_token"]


def test_of_many_refreshes_one_is_granted(sandbox, http, monkeypatch):
    token = log_in(http, sandbox)["refresh_token"]
    kept, all_found = sandbox._state.identity._records.grants.refresh_tokens, threading.Barrier(8)
    find = kept.find

    def find_together(text):
        found = find(text)
        all_found.wait(20)
        return found

    monkeypatch.setattr(kept, "find", find_together)

    def one(_):
        with requests.Session() as session:
            session.trust_env, session.verify = False, sandbox.ca_bundle
            return refresh(session, sandbox, token).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(one, range(8))) == [200] + [400] * 7
    assert sandbox.counts == Counts(token_requests=9, tokens=2, refreshes=1)


def test_fewer_scopes_for_a_while(http, sandbox):
    first = log_in(http, sandbox, "bankservice api openid offline_access")
    fewer = refresh(http, sandbox, first["refresh_token"], scope="api").json()
    assert fewer["scope"] == "api"
    assert "id_token" not in fewer
    assert refusal(refresh(http, sandbox, fewer["refresh_token"], scope="reconcile")) == (400, "invalid_scope")
    whole = refresh(http, sandbox, fewer["refresh_token"]).json()
    assert whole["scope"] == "bankservice api openid offline_access"
    assert claims_of(whole["id_token"])["auth_time"] == claims_of(first["id_token"])["auth_time"]


def test_no_refresh_token_unasked(http, sandbox):
    assert "refresh_token" not in log_in(http, sandbox, "bankservice")


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"refresh_token": "unknown"}, 400, "invalid_grant"),
        ({"refresh_token": None}, 400, "invalid_request"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "sandbox-app", "client_secret": None}, 400, "invalid_grant"),
    ],
)
def test_refresh_refusals(http, sandbox, form, status, error):
    token = log_in(http, sandbox)["refresh_token"]
    answer = ask(http, sandbox, **{"grant_type": "refresh_token", "refresh_token": token, **form})
    assert refusal(answer) == (status, error)
    assert refresh(http, sandbox, token).ok


def test_a_refresh_token_is_its_issuers(http, sandbox):
    tenants = [f"{sandbox.issuer}/{tenant}/connect/token" for tenant in ("one", "two")]
    first = http.post(tenants[0], data={**PASSWORD, "scope": "offline_access"}).json()
    assert claims_of(first["access_token"])["iss"] == f"{sandbox.issuer}/one"
    again = {**CLIENT, "grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    assert refusal(http.post(tenants[1], data=again)) == (400, "invalid_grant")
    assert http.post(tenants[0], data=again).ok


@pytest.mark.parametrize("forget", ["revoke_refresh_tokens", "reset"])
def test_refresh_tokens_can_be_forgotten(http, sandbox, forget):
    token = log_in(http, sandbox)["refresh_token"]
    getattr(sandbox, forget)()
    assert refusal(refresh(http, sandbox, token)) == (400, "invalid_grant")


def test_refresh_tokens_outlive_the_access_tokens(http, sandbox):
    token = log_in(http, sandbox)["refresh_token"]
    sandbox.revoke_all()
    assert call(http, sandbox, refresh(http, sandbox, token).json()["access_token"]) == 200


def test_reset_of_switches(sandbox):
    sandbox.rotate_refresh_tokens = False
    sandbox.reset()
    assert sandbox.rotate_refresh_tokens is True


# Revocation


@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "other"])
def test_revocation(http, sandbox, hint):
    tokens = log_in(http, sandbox)
    for kind in ("access_token", "refresh_token"):
        answer = revoke(http, sandbox, tokens[kind], token_type_hint=hint)
        assert (answer.status_code, answer.content) == (200, b"")
    assert call(http, sandbox, tokens["access_token"]) == 401
    assert refusal(refresh(http, sandbox, tokens["refresh_token"])) == (400, "invalid_grant")
    assert sandbox.counts == Counts(token_requests=2, tokens=1, revocations=2, calls=1, refused=1)
    assert [request.kind for request in sandbox.requests] == ["token", "revocation", "revocation", "api", "token"]
    assert tokens["access_token"] in sandbox.requests[1].body.decode()


def test_revocation_of_one_leaves_the_others(http, sandbox):
    first, second = log_in(http, sandbox), log_in(http, sandbox)
    assert revoke(http, sandbox, first["access_token"]).ok
    assert refresh(http, sandbox, first["refresh_token"]).ok
    assert call(http, sandbox, second["access_token"]) == 200


def test_what_is_no_token_is_revoked_already(http, sandbox):
    for token in ("rubbish", log_in(http, sandbox)["access_token"]):
        sandbox.revoke_all()
        assert revoke(http, sandbox, token).status_code == 200


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"token": None}, 400, "invalid_request"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "other"}, 401, "invalid_client"),
        ({"client_id": "sandbox-app", "client_secret": None}, 400, "unauthorized_client"),
    ],
)
def test_revocation_refusals(http, sandbox, form, status, error):
    tokens = log_in(http, sandbox)
    for kind in ("access_token", "refresh_token"):
        answer = revoke(http, sandbox, **{"token": tokens[kind], **form})
        assert refusal(answer) == (status, error)
    assert call(http, sandbox, tokens["access_token"]) == 200
    assert refresh(http, sandbox, tokens["refresh_token"]).ok
    assert sandbox.counts.revocations == 0


def test_revocation_for_a_tenant_and_with_basic(http, sandbox):
    token = log_in(http, sandbox)["access_token"]
    url = f"{sandbox.issuer}/tenant-1/connect/revocation"
    wrong = http.post(url, data={"token": token}, auth=("sandbox-client", "wrong"))
    assert refusal(wrong) == (401, "invalid_client")
    assert wrong.headers["WWW-Authenticate"].startswith("Basic ")
    assert http.post(url, data={"token": token}, auth=("sandbox-client", "sandbox-secret-1234")).status_code == 200
    assert call(http, sandbox, token) == 401


def test_revocation_is_a_post(http, sandbox):
    assert refusal(http.get(sandbox.revocation_endpoint)) == (400, "invalid_request")


# Faults


def test_each_part_answers_as_asked(http, sandbox):
    described = f"{sandbox.issuer}/.well-known/openid-configuration"
    sandbox.answer("discovery", Answer.error(503), Answer.changed(issuer="https://other.example", jwks_uri=None))
    sandbox.answer("revocation", Answer.error(503, retry_after=1))
    sandbox.answer("token", Answer.error(500))
    sandbox.answer("api", Answer.error(502))
    assert http.get(described).status_code == 503
    changed = http.get(described).json()
    assert (changed["issuer"], "jwks_uri" in changed) == ("https://other.example", False)
    assert http.get(described).json()["issuer"] == sandbox.issuer
    assert revoke(http, sandbox, "x").status_code == 503
    assert revoke(http, sandbox, "x").status_code == 200
    assert ask(http, sandbox).status_code == 500
    assert call(http, sandbox, "x") == 502
    assert sandbox.counts == Counts(token_requests=1, calls=1, revocations=1)
    assert [request.kind for request in sandbox.requests[:3]] == ["discovery"] * 3


def test_what_has_no_fields_keeps_none(http, sandbox):
    sandbox.answer("revocation", Answer.changed(a=1))
    answer = revoke(http, sandbox, "x")
    assert (answer.status_code, answer.content) == (200, b"")


def test_reset_forgets_answers(http, sandbox):
    sandbox.answer("revocation", Answer.error(503))
    sandbox.reset()
    assert revoke(http, sandbox, "x").status_code == 200


@pytest.mark.parametrize("part", ["other", "nothing"])
def test_other_parts_take_no_answers(sandbox, part):
    with pytest.raises(ValueError, match="a part is one of token, api, authorize, revocation, discovery, userinfo"):
        sandbox.answer(part, Answer.error(503))


# The log


@pytest.mark.parametrize("debug", [False, True])
def test_nothing_secret_is_logged(http, sandbox, caplog, monkeypatch, debug):
    monkeypatch.setattr("oauthlib._DEBUG", debug)
    caplog.set_level(logging.DEBUG)
    first = log_in(http, sandbox, "openid offline_access")
    second = refresh(http, sandbox, first["refresh_token"]).json()
    refresh(http, sandbox, first["refresh_token"])
    revoke(http, sandbox, second["refresh_token"])
    ask(http, sandbox, **{**PASSWORD, "password": "hunter2"})
    http.post(sandbox.token_endpoint, auth=("sandbox-client", "hunter2"), data={"grant_type": "client_credentials"})
    assert "<token>" in caplog.text
    assert "<hidden>" in caplog.text
    secrets = ["sandbox-secret", "sandbox-password", "hunter2", "aHVudGVyM", "h1bnRlcj", "odW50ZXIy"]  # in Base64 too
    secrets += [answer[name] for answer in (first, second) for name in ("access_token", "refresh_token", "id_token")]
    assert not [secret for secret in secrets if secret in caplog.text]
