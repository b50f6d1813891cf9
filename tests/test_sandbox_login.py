"""How users sign in at the sandbox: the authorize endpoint, its pages, authorization codes, the implicit grant."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
import requests

from aritma_session.sandbox import Answer, Counts

REDIRECT = "http://127.0.0.1:1234/back"
VERIFIER = "v" * 43
CREDENTIALS = {"username": "sandbox-user", "password": "sandbox-password-1234", "action": "allow"}


def s256(verifier):
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


PKCE = {"code_challenge": s256(VERIFIER), "code_challenge_method": "S256"}
ASKED = {"response_type": "code", "client_id": "sandbox-app", "redirect_uri": REDIRECT, "state": "s 1&", **PKCE}
CONFIDENTIAL = {**ASKED, "client_id": "sandbox-client", "code_challenge": None, "code_challenge_method": None}
IMPLICIT = {"response_type": "token", "client_id": "sandbox-app", "redirect_uri": REDIRECT, "state": "s 1&"}
SECRET = {"client_id": "sandbox-client", "client_secret": "sandbox-secret-1234"}


@pytest.fixture
def http(sandbox):
    with requests.Session() as session:
        session.trust_env = False
        session.verify = sandbox.ca_bundle
        yield session


def url_of(sandbox, tenant="", **asked):
    base = sandbox.issuer + tenant
    return requests.Request("GET", f"{base}/connect/authorize", params=asked).prepare().url


def go(http, sandbox, **asked):
    return http.get(url_of(sandbox, **asked), allow_redirects=False)


def send(http, sandbox, form=CREDENTIALS, **asked):
    """Send the form of the login page."""
    return http.post(url_of(sandbox, **asked), data=form, allow_redirects=False)


def parts(answer, where="query", redirect=REDIRECT):
    """What the browser takes back to the client."""
    assert answer.status_code == 303, answer.text
    target = urlsplit(answer.headers["Location"])
    assert answer.headers["Location"].startswith(redirect)
    assert not target.fragment or where == "fragment"
    return dict(parse_qsl(getattr(target, where), strict_parsing=True))


def redeem(http, sandbox, code, url=None, **form):
    granted = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "client_id": "sandbox-app"}
    return http.post(url or sandbox.token_endpoint, data={**granted, "code_verifier": VERIFIER, **form})


def log_in(http, sandbox, **asked):
    code = parts(send(http, sandbox, **{**ASKED, **asked}))["code"]
    answer = redeem(http, sandbox, code)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer):
    return answer.status_code, answer.json()["error"]


def claims_of(token):
    return jwt.decode(token, options={"verify_signature": False})


def half_hash(token):
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()[:16]).decode().rstrip("=")


class Page(html.parser.HTMLParser):
    """What matters of a page."""

    def __init__(self, answer):
        super().__init__()
        self.fields, self.buttons, self.form, self.alerts, self.urls = {}, {}, None, 0, []
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        self.feed(answer.text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.urls += [attrs[name] for name in ("src", "href") if name in attrs]
        if tag == "input":
            self.fields[attrs["name"]] = attrs.get("value", "")
        if tag == "button":
            self.buttons[attrs.get("value")] = attrs.get("name")
        if tag == "form":
            self.form = attrs
        self.alerts += attrs.get("role") == "alert"


# The login page


def test_login_page(http, sandbox):
    answer = go(http, sandbox, **ASKED, scope="bankservice openid")
    page = Page(answer)
    assert answer.status_code == 200
    assert page.fields == {"username": "", "password": ""}
    assert page.buttons == {"allow": "action", "deny": "action"}
    assert page.form == {"method": "post"}
    assert (page.alerts, page.urls) == (0, [])
    assert "prefers-color-scheme: dark" in answer.text
    assert "url(" not in answer.text
    for text in ("sandbox-app", "<li>bankservice</li>", "<li>openid</li>"):
        assert text in answer.text
    assert "form-action" not in answer.headers["Content-Security-Policy"]


def test_what_the_page_repeats_is_escaped(http, sandbox):
    hostile = "\"'><script>alert(1)</script>"
    pages = [
        go(http, sandbox, **ASKED, login_hint=hostile),
        send(http, sandbox, {**CREDENTIALS, "username": hostile}, **ASKED),
    ]
    for answer in pages:
        assert Page(answer).fields["username"] == hostile
        assert "<script" not in answer.text
    posted = send(http, sandbox, **{**ASKED, "response_mode": "form_post", "state": hostile})
    assert Page(posted).fields["state"] == hostile
    assert posted.text.count("<script") == 1


def test_wrong_credentials(http, sandbox):
    for form in ({**CREDENTIALS, "password": "wrong"}, {"action": "allow"}, {}):
        answer = send(http, sandbox, form, **ASKED)
        page = Page(answer)
        assert (answer.status_code, page.alerts) == (403, 1)
        assert page.fields == {"username": form.get("username", ""), "password": ""}
        assert "Set-Cookie" not in answer.headers
    assert sandbox.counts == Counts()


def test_the_password_is_not_kept(http, sandbox):
    send(http, sandbox, **ASKED)
    (request,) = sandbox.requests
    assert (request.kind, request.method, request.body) == ("authorize", "POST", b"")


def test_deny(http, sandbox):
    back = parts(send(http, sandbox, {"action": "deny"}, **ASKED))
    assert back.pop("error_description")
    assert back == {"error": "access_denied", "state": "s 1&", "iss": sandbox.issuer}
    assert sandbox.counts == Counts()


# Authorization codes


def test_code(http, sandbox):
    answer = send(http, sandbox, **CONFIDENTIAL, scope="bankservice")
    back = parts(answer)
    code = back.pop("code")
    assert back == {"state": "s 1&", "iss": sandbox.issuer}
    tokens = redeem(http, sandbox, code, code_verifier=None, **SECRET).json()
    assert set(tokens) == {"access_token", "expires_in", "token_type", "scope"}
    assert tokens["scope"] == "bankservice"
    claims = claims_of(tokens["access_token"])
    assert (claims["sub"], claims["client_id"]) == ("sandbox-user", "sandbox-client")
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert http.get(f"{sandbox.api_url}/echo", headers=bearer).status_code == 200
    assert sandbox.counts == Counts(token_requests=1, tokens=1, calls=1, logins=1)
    assert [request.kind for request in sandbox.requests] == ["authorize", "token", "api"]


def test_a_public_client_proves_it_with_pkce(http, sandbox):
    before = int(time.time())
    tokens = log_in(http, sandbox, scope="openid offline_access bankservice", nonce="n-1")
    assert set(tokens) == {"access_token", "expires_in", "token_type", "scope", "refresh_token", "id_token"}
    keys = http.get(f"{sandbox.issuer}/.well-known/openid-configuration/jwks").json()["keys"]
    claims = jwt.decode(tokens["id_token"], jwt.PyJWK(keys[0]), ["RS256"], audience="sandbox-app")
    assert set(claims) == {"iss", "aud", "sub", "iat", "exp", "nonce", "at_hash", "auth_time", "amr"}
    assert (claims["iss"], claims["sub"], claims["nonce"]) == (sandbox.issuer, "sandbox-user", "n-1")
    assert claims["at_hash"] == half_hash(tokens["access_token"])
    assert before <= claims["auth_time"] <= claims["iat"]
    form = {"grant_type": "refresh_token", "client_id": "sandbox-app", "refresh_token": tokens["refresh_token"]}
    again = http.post(sandbox.token_endpoint, data=form).json()
    assert "nonce" not in claims_of(again["id_token"])
    assert claims_of(again["id_token"])["auth_time"] == claims["auth_time"]
    assert sandbox.counts == Counts(token_requests=2, tokens=2, refreshes=1, logins=1)


def test_no_id_token_unasked(http, sandbox):
    assert "id_token" not in log_in(http, sandbox, scope="profile")


def test_a_code_is_for_a_tenant(http, sandbox):
    answer = http.post(url_of(sandbox, "/one", **ASKED, scope="openid"), data=CREDENTIALS, allow_redirects=False)
    back = parts(answer)
    assert back["iss"] == f"{sandbox.issuer}/one"
    assert refusal(redeem(http, sandbox, back["code"])) == (400, "invalid_grant")
    tokens = redeem(http, sandbox, back["code"], f"{sandbox.issuer}/one/connect/token").json()
    assert {claims_of(tokens[name])["iss"] for name in ("access_token", "id_token")} == {f"{sandbox.issuer}/one"}


def test_a_confidential_client_may_use_pkce(http, sandbox):
    asked = {**ASKED, "client_id": "sandbox-client"}
    code = parts(send(http, sandbox, **asked))["code"]
    assert refusal(redeem(http, sandbox, code, **SECRET, code_verifier="w" * 43)) == (400, "invalid_grant")
    assert refusal(redeem(http, sandbox, code, **SECRET, code_verifier=None)) == (400, "invalid_request")
    assert redeem(http, sandbox, code, **SECRET).ok


@pytest.mark.parametrize(
    "change",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": VERIFIER, "code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge_method": "S512"},
        {"code_challenge": "short"},
        {"code_challenge": "å" * 43},
    ],
)
def test_refused_challenges(http, sandbox, change):
    back = parts(go(http, sandbox, **{**ASKED, **change}))
    assert back.pop("error_description")
    assert back == {"error": "invalid_request", "state": "s 1&", "iss": sandbox.issuer}


@pytest.mark.parametrize("verifier", ["w" * 43, "v" * 42, "v" * 129, "å" * 43])
def test_refused_verifiers(http, sandbox, verifier):
    asked = {**ASKED, "code_challenge": s256(verifier if verifier[0] != "w" else VERIFIER)}
    code = parts(send(http, sandbox, **asked))["code"]
    assert refusal(redeem(http, sandbox, code, code_verifier=verifier)) == (400, "invalid_grant")


def test_a_verifier_needs_a_challenge(http, sandbox):
    code = parts(send(http, sandbox, **CONFIDENTIAL))["code"]
    assert refusal(redeem(http, sandbox, code, **SECRET)) == (400, "invalid_grant")


def test_a_code_is_good_once(http, sandbox):
    code = parts(send(http, sandbox, **ASKED))["code"]
    assert redeem(http, sandbox, code).ok
    assert refusal(redeem(http, sandbox, code)) == (400, "invalid_grant")


def test_a_code_is_good_for_one_of_many(http, sandbox, monkeypatch):
    code = parts(send(http, sandbox, **ASKED))["code"]
    kept, all_found = sandbox._state.identity._records.grants.codes, threading.Barrier(8)
    find = kept.find

    def find_together(text):
        found = find(text)
        all_found.wait(20)
        return found

    monkeypatch.setattr(kept, "find", find_together)

    def one(_):
        with requests.Session() as session:
            session.trust_env, session.verify = False, sandbox.ca_bundle
            return redeem(session, sandbox, code).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(one, range(8))) == [200] + [400] * 7
    assert sandbox.counts == Counts(token_requests=8, tokens=1, logins=1)


def test_a_code_does_not_last(http, sandbox):
    sandbox.code_lifetime = 0
    code = parts(send(http, sandbox, **ASKED))["code"]
    assert refusal(redeem(http, sandbox, code)) == (400, "invalid_grant")


def test_reset_forgets_codes(http, sandbox):
    code = parts(send(http, sandbox, **ASKED))["code"]
    sandbox.reset()
    assert refusal(redeem(http, sandbox, code)) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        (SECRET, 400, "invalid_grant"),
        ({"client_id": "other"}, 401, "invalid_client"),
        ({"client_id": None}, 401, "invalid_client"),
        ({"code": "other"}, 400, "invalid_grant"),
        ({"code": None}, 400, "invalid_request"),
        ({"redirect_uri": f"{REDIRECT}/other"}, 400, "invalid_grant"),
        ({"redirect_uri": None}, 400, "invalid_request"),
    ],
)
def test_refused_codes(http, sandbox, change, status, error):
    code = parts(send(http, sandbox, **ASKED))["code"]
    assert refusal(redeem(http, sandbox, **{"code": code, **change})) == (status, error)
    assert sandbox.counts == Counts(token_requests=1, logins=1)
    assert redeem(http, sandbox, code).ok


# Who asks, and where the answer goes


@pytest.mark.parametrize(
    "redirect",
    [
        "http://127.0.0.1",
        "http://127.0.0.1/",
        "http://127.0.0.1:65535/a/b",
        "http://[::1]:8080/back",
        "http://[::1]",
        "http://127.0.0.1:1/back?a=b%20c",
    ],
)
def test_redirect_uris(http, sandbox, redirect):
    answer = send(http, sandbox, **{**ASKED, "redirect_uri": redirect})
    back = parts(answer, redirect=redirect.partition("?")[0])
    code = back.pop("code")
    expected = {"a": "b c"} if "?" in redirect else {}
    assert back == {**expected, "state": "s 1&", "iss": sandbox.issuer}
    assert redeem(http, sandbox, code, redirect_uri=redirect).ok


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "http://localhost:1234/back"},
        {"redirect_uri": "https://127.0.0.1:1234/back"},
        {"redirect_uri": "http://127.0.0.1.example:1234/back"},
        {"redirect_uri": "http://127.0.0.1:1234@example.com/back"},
        {"redirect_uri": "http://[:::::1]:1234/back"},
        {"redirect_uri": "http://127.0.0.1:1234/back#fragment"},
        {"redirect_uri": "/back"},
        {"redirect_uri": None},
        {"redirect_uri": ["http://127.0.0.1:1/", "http://127.0.0.1:2/"]},
        {"client_id": "other"},
        {"client_id": None},
        {"state": ["1", "2"]},
    ],
)
def test_who_cannot_be_answered_gets_a_page(http, sandbox, change):
    for answer in (
        go(http, sandbox, **{**ASKED, **change}),
        send(http, sandbox, **{**ASKED, **change}),
    ):
        assert (answer.status_code, Page(answer).alerts) == (400, 1)
        assert "Location" not in answer.headers
    sandbox.answer_authorize_requests(Answer.refusal())
    assert go(http, sandbox, **{**ASKED, **change}).status_code == 400


def test_other_methods(http, sandbox):
    assert Page(http.put(sandbox.authorization_endpoint)).alerts == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "code token", "nonce": "n"}, "unsupported_response_type"),
        ({"response_type": "id_token", "nonce": "n"}, "unsupported_response_type"),
        ({"response_type": "none"}, "unsupported_response_type"),
        ({"response_type": "rubbish"}, "unsupported_response_type"),
        ({"scope": "bankservice other"}, "invalid_scope"),
        ({"scope": "openid", "claims": "rubbish"}, "invalid_request"),
        ({"response_mode": "other"}, "invalid_request"),
        ({"scope": "openid", "prompt": "none login"}, "invalid_request"),
    ],
)
def test_what_the_client_is_told(http, sandbox, change, error):
    where = "fragment" if "token" in (change.get("response_type") or "").split() else "query"
    back = parts(go(http, sandbox, **{**ASKED, **change}), where)
    assert (back["error"], back["state"], back["iss"]) == (error, "s 1&", sandbox.issuer)
    assert "code" not in back


def test_iss_can_be_left_out(http, sandbox):
    sandbox.send_iss = False
    assert set(parts(send(http, sandbox, **ASKED))) == {"code", "state"}
    assert "iss" not in parts(send(http, sandbox, {"action": "deny"}, **ASKED))
    described = http.get(f"{sandbox.issuer}/.well-known/openid-configuration").json()
    assert described["authorization_response_iss_parameter_supported"] is False


def test_no_state_no_state(http, sandbox):
    assert set(parts(send(http, sandbox, **{**ASKED, "state": None}))) == {"code", "iss"}


# Sessions


def test_a_browser_is_known_again(http, sandbox):
    first = send(http, sandbox, **ASKED)
    cookie = first.headers["Set-Cookie"]
    assert cookie.startswith("aritma-sandbox-session=")
    assert cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
    http.cookies.set("another", "one")
    code = parts(go(http, sandbox, **ASKED, scope="openid"))["code"]
    claims = claims_of(redeem(http, sandbox, code).json()["id_token"])
    assert claims["auth_time"] <= claims["iat"]
    assert parts(go(http, sandbox, **ASKED, prompt="none"))["code"]
    assert Page(go(http, sandbox, **ASKED, prompt="login")).fields
    assert parts(send(http, sandbox, **ASKED, prompt="login"))["code"]
    sandbox.reset()
    assert Page(go(http, sandbox, **ASKED)).fields


@pytest.mark.parametrize("scope", ["bankservice", "openid"])
@pytest.mark.parametrize(
    "cookie", [None, "rubbish", "aritma-sandbox-session=other; ;", "a,b=c; aritma-sandbox-session"]
)
def test_no_page_may_be_shown(http, sandbox, scope, cookie):
    url = url_of(sandbox, **ASKED, scope=scope, prompt="none")
    back = parts(http.get(url, headers={"Cookie": cookie}, allow_redirects=False))
    assert (back["error"], back["state"]) == ("login_required", "s 1&")


def test_silent_login_with_openid(http, sandbox):
    send(http, sandbox, **ASKED)
    assert "code" in parts(go(http, sandbox, **ASKED, scope="openid", prompt="none"))


def test_second_factor(http, sandbox):
    send(http, sandbox, **ASKED)
    mfa = {"acr_values": "other mfa", "scope": "openid"}
    assert Page(go(http, sandbox, **ASKED, **mfa)).fields
    assert parts(go(http, sandbox, **ASKED, **mfa, prompt="none"))["error"] == "login_required"
    code = parts(send(http, sandbox, **ASKED, **mfa))["code"]
    claims = claims_of(redeem(http, sandbox, code).json()["id_token"])
    assert (claims["acr"], claims["amr"]) == ("mfa", ["pwd", "mfa"])
    assert "code" in parts(go(http, sandbox, **ASKED, **mfa))


def test_everybody_signed_in(http, sandbox):
    sandbox.signed_in = True
    code = parts(go(http, sandbox, **ASKED, scope="openid", acr_values="mfa"))["code"]
    assert claims_of(redeem(http, sandbox, code).json()["id_token"])["acr"] == "mfa"
    assert Page(go(http, sandbox, **ASKED, prompt="login")).fields


# The implicit grant, and where the answer stands


def test_implicit(http, sandbox):
    back = parts(send(http, sandbox, **IMPLICIT, scope="bankservice"), "fragment")
    token = back.pop("access_token")
    expected = {"expires_in": "3600", "token_type": "Bearer", "scope": "bankservice", "state": "s 1&"}
    assert back == {**expected, "iss": sandbox.issuer}
    assert claims_of(token)["sub"] == "sandbox-user"
    assert claims_of(token)["iss"] == sandbox.issuer
    bearer = {"Authorization": f"Bearer {token}"}
    assert http.get(f"{sandbox.api_url}/echo", headers=bearer).status_code == 200
    assert sandbox.counts == Counts(tokens=1, calls=1, logins=1)


@pytest.mark.parametrize("response_type", ["id_token token", "token id_token"])
def test_implicit_with_id_token(http, sandbox, response_type):
    asked = {**IMPLICIT, "response_type": response_type, "nonce": "n-1", "scope": "openid offline_access"}
    back = parts(send(http, sandbox, **asked), "fragment")
    assert "refresh_token" not in back
    claims = claims_of(back["id_token"])
    assert (claims["aud"], claims["nonce"]) == ("sandbox-app", "n-1")
    assert claims["at_hash"] == half_hash(back["access_token"])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"scope": "openid"}, "invalid_request"),
        ({"nonce": "n"}, "invalid_scope"),
        ({"nonce": "n", "scope": "bankservice"}, "invalid_scope"),
    ],
)
def test_an_id_token_needs_a_nonce_and_openid(http, sandbox, change, error):
    back = parts(go(http, sandbox, **{**IMPLICIT, "response_type": "id_token token", **change}), "fragment")
    assert (back["error"], back["state"]) == (error, "s 1&")


def test_plain_tokens_need_no_nonce(http, sandbox):
    back = parts(send(http, sandbox, **IMPLICIT, scope="openid"), "fragment")
    assert "id_token" not in back
    assert back["scope"] == "openid"


def test_no_grant_changes_those_to_come(http, sandbox):
    for _ in range(2):
        go(http, sandbox, **{**IMPLICIT, "response_type": "id_token token"})
    back = parts(go(http, sandbox, **{**IMPLICIT, "response_type": "id_token"}))
    assert back["error"] == "unsupported_response_type"


@pytest.mark.parametrize("asked", [ASKED, IMPLICIT])
def test_fragment(http, sandbox, asked):
    assert parts(send(http, sandbox, **asked, response_mode="fragment"), "fragment")["state"] == "s 1&"


def test_query_is_not_for_tokens(http, sandbox):
    back = parts(send(http, sandbox, **IMPLICIT, response_mode="query"), "fragment")
    assert (back["error"], back["state"]) == ("invalid_request", "s 1&")


@pytest.mark.parametrize(("asked", "granted"), [(ASKED, "code"), (IMPLICIT, "access_token")])
def test_form_post(http, sandbox, asked, granted):
    answer = send(http, sandbox, **asked, response_mode="form_post")
    page = Page(answer)
    assert answer.status_code == 200
    assert answer.headers["Set-Cookie"]
    assert page.form == {"method": "post", "action": REDIRECT}
    assert (page.fields["state"], page.fields["iss"]) == ("s 1&", sandbox.issuer)
    assert page.fields[granted]
    assert "<script>document.forms[0].submit()</script>" in answer.text
    refused = Page(send(http, sandbox, {"action": "deny"}, **asked, response_mode="form_post"))
    assert refused.fields["error"] == "access_denied"
    assert sandbox.counts.logins == 1


# Faults


@pytest.mark.parametrize("error", ["access_denied", "server_error", "temporarily_unavailable"])
def test_refusals_on_request(http, sandbox, error):
    sandbox.answer_authorize_requests(Answer.refusal(error), Answer.refusal(error, "No"))
    expected = {"error": error, "state": "s 1&", "iss": sandbox.issuer}
    assert parts(go(http, sandbox, **ASKED)) == expected
    assert parts(go(http, sandbox, **IMPLICIT), "fragment") == {**expected, "error_description": "No"}
    assert Page(go(http, sandbox, **ASKED)).fields
    assert sandbox.counts == Counts()


def test_refusals_elsewhere(http, sandbox):
    sandbox.answer_token_requests(Answer.refusal("invalid_scope", "No"))
    answer = http.post(sandbox.token_endpoint)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_scope", "error_description": "No"})


def test_other_parameters_on_request(http, sandbox):
    sandbox.signed_in = True
    sandbox.answer_authorize_requests(
        Answer.changed(state="other", iss=None, extra=1), Answer.changed(iss="https://other.example"), Answer.error(503)
    )
    first = parts(go(http, sandbox, **ASKED))
    assert (set(first), first["state"], first["extra"]) == ({"code", "state", "extra"}, "other", "1")
    second = parts(go(http, sandbox, **ASKED))
    assert (second["state"], second["iss"]) == ("s 1&", "https://other.example")
    assert go(http, sandbox, **ASKED).status_code == 503
    assert parts(go(http, sandbox, **ASKED))["iss"] == sandbox.issuer


def test_tokens_of_the_implicit_grant_may_have_a_lifetime_of_their_own(http, sandbox):
    sandbox.answer_authorize_requests(Answer.token(lifetime=-1, expires_in=9))
    back = parts(send(http, sandbox, **IMPLICIT), "fragment")
    assert back["expires_in"] == "9"
    bearer = {"Authorization": f"Bearer {back['access_token']}"}
    assert http.get(f"{sandbox.api_url}/echo", headers=bearer).status_code == 401


def test_reset_of_switches(http, sandbox):
    sandbox.signed_in, sandbox.send_iss, sandbox.code_lifetime = True, False, 0.0
    sandbox.answer_authorize_requests(Answer.error(503))
    sandbox.reset()
    assert (sandbox.signed_in, sandbox.send_iss, sandbox.code_lifetime) == (False, True, 60.0)
    assert go(http, sandbox, **ASKED).status_code == 200


# Userinfo


def userinfo(http, sandbox, token, tenant=""):
    url = f"{sandbox.issuer}{tenant}/connect/userinfo"
    return http.get(url, headers={"Authorization": token and f"Bearer {token}"})


@pytest.mark.parametrize(
    ("scope", "claims"),
    [
        ("openid", {}),
        ("openid profile", {"name": "Sandbox User"}),
        ("openid email", {"email": "sandbox-user@example.com"}),
        ("openid profile email", {"name": "Sandbox User", "email": "sandbox-user@example.com"}),
    ],
)
def test_userinfo(http, sandbox, scope, claims):
    token = log_in(http, sandbox, scope=scope)["access_token"]
    for tenant in ("", "/tenant-1"):
        answer = userinfo(http, sandbox, token, tenant)
        assert answer.status_code == 200
        assert answer.json() == {"sub": "sandbox-user", **claims}
    assert sandbox.requests[-1].kind == "userinfo"
    assert sandbox.userinfo_endpoint == f"{sandbox.issuer}/connect/userinfo"


def test_userinfo_needs_a_token_with_openid(http, sandbox):
    tokens = log_in(http, sandbox, scope="openid")
    other = log_in(http, sandbox, scope="profile")["access_token"]
    for token, status, challenge in [
        (None, 401, 'Bearer realm="Aritma ID sandbox"'),
        ("rubbish", 401, 'Bearer error="invalid_token"'),
        (tokens["id_token"], 401, 'Bearer error="invalid_token"'),
        (other, 403, 'Bearer error="insufficient_scope"'),
    ]:
        answer = userinfo(http, sandbox, token)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (status, challenge)
        assert "sub" not in answer.json()
    sandbox.answer("userinfo", Answer.changed(sub="another"), Answer.error(503))
    assert userinfo(http, sandbox, tokens["access_token"]).json() == {"sub": "another"}
    assert userinfo(http, sandbox, tokens["access_token"]).status_code == 503
    sandbox.revoke_all()
    assert userinfo(http, sandbox, tokens["access_token"]).status_code == 401


# The log


@pytest.mark.parametrize("debug", [False, True])
def test_nothing_secret_is_logged(http, sandbox, caplog, monkeypatch, debug):
    monkeypatch.setattr("oauthlib._DEBUG", debug)
    caplog.set_level(logging.DEBUG)
    answer = send(http, sandbox, **ASKED, scope="openid offline_access", nonce="n-1")
    code = parts(answer)["code"]
    tokens = redeem(http, sandbox, code).json()
    redeem(http, sandbox, code)
    implicit = {**IMPLICIT, "response_type": "id_token token", "scope": "openid", "nonce": "n-1"}
    back = parts(send(http, sandbox, **implicit), "fragment")
    userinfo(http, sandbox, tokens["access_token"])
    assert "<token>" in caplog.text
    secrets = ["sandbox-password", VERIFIER, code, answer.cookies["aritma-sandbox-session"]]
    secrets += [tokens[name] for name in ("access_token", "refresh_token", "id_token")]
    secrets += [back[name] for name in ("access_token", "id_token")]
    records = [record.getMessage() for record in caplog.records if not record.name.startswith("urllib3")]
    assert not [secret for secret in secrets if any(secret in record for record in records)]
