"""The same script with ``requests.Session`` and with ``AritmaSession``: the same answers, the same errors.

Every case runs on both. The server sees an ``Authorization`` header of the script's own from the one, and the token of
the session's own from the other.
"""

from __future__ import annotations

import copy
import datetime as dt
import http.cookiejar
import pickle
import socket

import pytest
import requests
from requests.adapters import HTTPAdapter

from aritma_session import AritmaSession


@pytest.fixture(params=[requests.Session, AritmaSession])
def script(request, environ, sandbox):
    """A session that is authorised at the sandbox, one way or the other."""
    with request.param() as session:
        session.verify = sandbox.ca_bundle
        if request.param is requests.Session:
            form = {
                "grant_type": "client_credentials",
                "client_id": sandbox.client_id,
                "client_secret": sandbox.client_secret,
            }
            token = requests.post(sandbox.token_endpoint, data=form, verify=sandbox.ca_bundle).json()["access_token"]
            session.headers["Authorization"] = f"Bearer {token}"
        yield session


def test_is_a_session(script):
    assert isinstance(script, requests.Session)


@pytest.mark.parametrize("method", ["get", "options", "post", "put", "patch", "delete"])
def test_methods(script, echo, method):
    answer = getattr(script, method)(echo)
    assert answer.status_code == 200
    assert answer.json()["method"] == method.upper()


def test_head(script, echo):
    assert script.head(echo).status_code == 200


def test_params_headers_and_cookies(script, echo):
    script.headers["X-Both"] = "1"
    script.cookies["a"] = "b"
    script.params = {"p": "1"}
    answer = script.get(echo, params={"q": "2"}, headers={"X-One": "2"}, cookies={"c": "d"}).json()
    assert answer["query"] == "p=1&q=2" or answer["query"] == "q=2&p=1"
    assert answer["headers"]["x-both"] + answer["headers"]["x-one"] == "12"
    assert sorted(answer["headers"]["cookie"].split("; ")) == ["a=b", "c=d"]


def test_default_headers_are_those_of_requests(script, echo):
    headers = script.get(echo).json()["headers"]
    for name in ("User-Agent", "Accept", "Accept-Encoding", "Connection"):
        assert headers[name.lower()] == requests.utils.default_headers()[name]


@pytest.mark.parametrize(
    "body",
    [{"data": {"a": "b"}}, {"data": b"raw"}, {"json": [1]}, {"files": {"f": b"x"}}, {"data": [b"ab", b"cd"]}],
    ids=["form", "raw", "json", "files", "stream"],
)
def test_bodies(script, echo, body):
    if isinstance(body.get("data"), list):
        body = {"data": iter(body["data"])}
    assert script.post(echo, **body).json()["body_length"] > 0


def test_an_error_status_is_an_answer(script, sandbox):
    answer = script.get(f"{sandbox.api_url}/status/503")
    assert answer.status_code == 503
    with pytest.raises(requests.HTTPError, match="503"):
        answer.raise_for_status()


def test_hooks(script, echo):
    seen = []
    script.hooks["response"].append(lambda response, **kwargs: seen.append("session"))
    script.get(echo, hooks={"response": lambda response, **kwargs: seen.append("request")})
    script.get(echo)
    assert seen == ["request", "session"]


def test_a_hook_may_replace_the_response(script, echo):
    other = requests.Response()
    other.status_code = 299
    other.raw = None
    other._content = b""
    assert script.get(echo, hooks={"response": lambda response, **kwargs: other}).status_code == 299


def test_prepared_requests(script, echo):
    prepared = script.prepare_request(requests.Request("POST", echo, json={"a": 1}))
    for _ in range(2):
        assert script.send(prepared, timeout=20).json()["body"] == '{"a": 1}'


def test_streams(script, echo):
    with script.get(echo, stream=True) as answer:
        assert b"".join(answer.iter_content(10)).startswith(b"{")


def test_redirects(script, sandbox, echo):
    answer = script.get(f"{sandbox.issuer}/redirect", params={"to": echo})
    assert answer.status_code == 200
    assert [old.status_code for old in answer.history] == [302]
    answer = script.get(f"{sandbox.issuer}/redirect", params={"to": echo}, allow_redirects=False)
    assert answer.status_code == 302
    assert answer.next.url == echo


def test_too_many_redirects(script, sandbox):
    script.max_redirects = 2
    url = f"{sandbox.issuer}/redirect"
    for _ in range(3):
        url = requests.Request("GET", f"{sandbox.issuer}/redirect", params={"to": url}).prepare().url
    with pytest.raises(requests.TooManyRedirects):
        script.get(url)


def test_elapsed(script, echo):
    assert dt.timedelta(0) < script.get(echo).elapsed < dt.timedelta(seconds=20)


def test_timeouts(script):
    with socket.create_server(("localhost", 0)) as silent, pytest.raises(requests.Timeout):
        script.get(f"https://localhost:{silent.getsockname()[1]}/", timeout=0.1)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("https://localhost:1/", requests.ConnectionError),
        ("nonsense", requests.exceptions.MissingSchema),
        ("https://", requests.exceptions.InvalidURL),
        ("ftp://localhost/", requests.exceptions.InvalidSchema),
        ("https://*.example/", requests.exceptions.InvalidURL),
    ],
)
def test_errors(script, url, error):
    with pytest.raises(error):
        script.get(url)


def test_mounted_adapters(script, echo):
    class Counting(HTTPAdapter):
        count = 0

        def send(self, request, **kwargs):
            Counting.count += "/api/" in request.url
            return super().send(request, **kwargs)

    script.mount("https://", Counting())
    assert script.get(echo).ok
    assert Counting.count == 1
    assert isinstance(script.get_adapter("http://localhost"), HTTPAdapter)


def test_another_cookie_jar(script, echo):
    script.cookies = http.cookiejar.CookieJar()
    assert script.get(echo).ok


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
def test_copies(script, echo, again):
    script.headers["X-Kept"] = "1"
    with again(script) as twin:
        assert type(twin) is type(script)
        assert twin.get(echo).json()["headers"]["x-kept"] == "1"


def test_subclasses_with_a_base_url(script, sandbox, environ):
    class Based(type(script)):
        def request(self, method, url, *arguments, **kwargs):
            return super().request(method, sandbox.api_url + url, *arguments, **kwargs)

    with Based() as session:
        session.verify = sandbox.ca_bundle
        session.headers.update(script.headers)
        assert session.get("/echo").ok


def test_closing_twice_and_going_on(script, echo):
    script.get(echo)
    script.close()
    script.close()
    assert script.get(echo).ok


def test_a_download_and_an_upload_from_files(script, echo, tmp_path):
    (tmp_path / "up").write_bytes(b"x" * 100_000)
    with open(tmp_path / "up", "rb") as file:
        assert script.put(echo, data=file).json()["body_length"] == 100_000
