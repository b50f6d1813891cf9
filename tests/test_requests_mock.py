"""What users do in their own tests: requests-mock, in each of its ways."""

from __future__ import annotations

import traceback

import pytest
import requests
import requests_mock

from aritma_session import AritmaSession

ENDPOINT = "https://id.aritma.io/connect/token"
URL = "https://bankservice.zdata.no/api/v3/statements/acme"
ANSWER = {"access_token": "mocked", "expires_in": 3600, "token_type": "Bearer", "scope": "bankservice"}


@pytest.fixture
def session():
    with AritmaSession("client", "mocked-secret", cache="memory") as session:
        yield session


def register(mock):
    mock.post(ENDPOINT, json=ANSWER) if hasattr(mock, "post") else mock.register_uri("POST", ENDPOINT, json=ANSWER)
    mock.register_uri("GET", URL, json={"statements": []})


def check(session, mock):
    assert session.get(URL).json() == {"statements": []}
    token_request, call = mock.request_history
    assert token_request.text == (
        "grant_type=client_credentials&client_id=client&client_secret=mocked-secret&scope=bankservice"
    )
    assert call.headers["Authorization"] == "Bearer mocked"
    assert session.get(URL).ok
    assert mock.call_count == 3


def test_a_mocker(session):
    with requests_mock.Mocker() as mock:
        register(mock)
        check(session, mock)


def test_a_mocker_for_one_session(session):
    with requests_mock.Mocker(session=session) as mock:
        register(mock)
        check(session, mock)


@pytest.mark.parametrize("prefix", ["https://", "https://id.aritma.io"])
def test_a_mounted_adapter(session, prefix):
    adapter = requests_mock.Adapter()
    register(adapter)
    session.mount("https://", adapter)
    session.mount(prefix, adapter)
    check(session, adapter)


def test_a_401_is_replayed(session):
    with requests_mock.Mocker() as mock:
        mock.post(ENDPOINT, [{"json": {**ANSWER, "access_token": text}} for text in ("first", "second")])
        mock.post(URL, [{"status_code": 401}, {"status_code": 201}])
        response = session.post(URL, json={"amount": 1})
    assert response.status_code == 201
    assert [old.status_code for old in response.history] == [401]
    sent = [
        (request.headers["Authorization"], request.json()) for request in mock.request_history if request.url == URL
    ]
    assert sent == [("Bearer first", {"amount": 1}), ("Bearer second", {"amount": 1})]


def test_a_401_is_replayed_where_every_token_is_the_same(session):
    with requests_mock.Mocker() as mock:
        mock.post(ENDPOINT, json=ANSWER)
        mock.get(URL, [{"status_code": 401}, {"json": {}}])
        assert session.get(URL).status_code == 200


def test_a_mock_that_lacks_the_token_endpoint_says_so(session):
    with requests_mock.Mocker() as mock:
        mock.get(URL, json={})
        with pytest.raises(requests_mock.NoMockAddress, match=f"POST {ENDPOINT}") as caught:
            session.get(URL)
    assert "mocked-secret" not in "".join(traceback.format_exception(caught.value))
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert not any("mocked-secret" in str(value) for frame in frames[1:] for value in frame.f_locals.values())


def test_real_http_beside_the_mock(session):
    with requests_mock.Mocker(real_http=True) as mock:
        register(mock)
        assert session.get(URL).ok
        with pytest.raises(requests.ConnectionError):
            session.get("https://localhost:1/")
