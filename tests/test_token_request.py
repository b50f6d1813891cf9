"""What a token request is made of, how it is sent, and that it leaves nothing secret behind."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import gc
import gzip
import http.client
import io
import json
import logging
import re
import select
import selectors
import socket
import ssl
import threading
import time
import traceback
import tracemalloc
import types
import zlib

import pytest
import requests
import requests_mock
import requests_oauthlib
import trustme
from oauthlib.oauth2 import BackendApplicationClient
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import aritma_session.endpoint
from aritma_session.clients import ClientSecretPost
from aritma_session.credentials import Secret
from aritma_session.endpoint import TokenEndpoint
from aritma_session.exceptions import TokenEndpointUnavailable, TokenError
from aritma_session.grants import ClientCredentials
from aritma_session.reading import LARGEST_ANSWER
from aritma_session.sandbox import Answer
from aritma_session.token_request import ask
from aritma_session.tokens import Token

from helpers import wait_for

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

MOCKED = "https://id.example/connect/token"
TALKATIVE = "requests_oauthlib.oauth2_session"


@pytest.fixture
def lender(sandbox):
    with requests.Session() as session:
        session.verify = sandbox.ca_bundle
        yield session


@pytest.fixture
def grant(sandbox):
    return ClientCredentials(sandbox.client_id, ClientSecretPost(Secret(sandbox.client_secret)), ("bankservice",))


@pytest.fixture
def fetch(sandbox, lender, grant):
    """Ask for a token as the lender would, with answers prepared."""

    def fetch(*answers, url=sandbox.token_endpoint, timeout=(5, 5), grant=grant):
        sandbox.answer_token_requests(*answers)
        endpoint = TokenEndpoint(url, timeout)
        endpoint.borrow(lender)
        return endpoint.fetch(grant)

    return fetch


@pytest.fixture
def failure(fetch):
    """Ask for a token in vain: the error."""

    def failure(*answers, **kwargs):
        with pytest.raises(requests.RequestException) as caught:
            fetch(*answers, **kwargs)
        return caught.value

    return failure


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    made = []
    monkeypatch.setattr(aritma_session.endpoint.time, "sleep", made.append)
    return made


@pytest.fixture
def one_try(monkeypatch):
    monkeypatch.setattr(aritma_session.endpoint, "TRIES", 1)


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Noting(HTTPAdapter):
    """Note what is sent, and send it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.sent, self.times = [], []

    def send(self, request, **kwargs):
        self.sent.append((request, kwargs))
        self.times.append(time.time())
        return super().send(request, **{**kwargs, "cert": None})


class Failing(HTTPAdapter):
    """Fail as told."""

    def __init__(self, fail):
        super().__init__()
        self.fail = fail
        self.sent = 0

    def send(self, request, **kwargs):
        self.sent += 1
        raise self.fail(request)


@pytest.fixture
def noting(lender):
    adapter = Noting()
    lender.mount("https://", adapter)
    return adapter


class TestWhatIsSent:
    def test_is_a_form_post_without_credentials_in_the_header(self, sandbox, fetch):
        fetch()
        [request] = sandbox.requests
        assert (request.method, request.path, request.query) == ("POST", "/connect/token", "")
        assert dict(request.headers) == {
            "host": sandbox.issuer.removeprefix("https://"),
            "user-agent": requests.utils.default_user_agent(),
            "accept-encoding": "gzip, deflate",
            "accept": "application/json",
            "connection": "keep-alive",
            "content-type": "application/x-www-form-urlencoded",
            "content-length": str(len(request.body)),
        }

    def test_has_nothing_of_what_the_lender_sends_with_its_own_requests(self, sandbox, fetch, lender):
        fetch()
        seen = []
        lender.headers.update({"X-Own": "1", "Authorization": "Bearer own", "User-Agent": "own", "Accept": "text/own"})
        lender.params, lender.auth = {"own": "1"}, ("own", "password")
        lender.cookies.set("own", "1")
        lender.hooks["response"].append(lambda response, **kwargs: seen.append(response))
        lender.stream, lender.max_redirects = True, 0
        fetch()
        plain, loaded = sandbox.requests
        assert loaded == plain
        assert seen == []

    @pytest.mark.parametrize("host", ["machine localhost", "default"])
    def test_has_nothing_of_netrc(self, sandbox, fetch, tmp_path, monkeypatch, host):
        netrc = tmp_path / "netrc"
        netrc.write_text(f"{host} login own password own\n", encoding="utf-8")
        monkeypatch.setenv("NETRC", str(netrc))
        fetch()
        [request] = sandbox.requests
        assert "authorization" not in request.headers

    def test_changes_nothing_of_the_lenders(self, fetch, failure, lender):
        before = {name: repr(getattr(lender, name)) for name in lender.__attrs__}
        fetch()
        failure(Answer.error(400, "invalid_grant"))
        failure(Answer(400, headers={"Set-Cookie": "id=1; Path=/"}))
        assert {name: repr(getattr(lender, name)) for name in lender.__attrs__} == before
        assert "send" not in vars(lender)

    def test_goes_to_a_tenants_endpoint_too(self, sandbox, fetch):
        assert isinstance(fetch(url=f"{sandbox.issuer}/tenant/connect/token"), Token)
        assert sandbox.requests[0].path == "/tenant/connect/token"

    def test_is_sent_after_the_token_has_begun_to_age(self, fetch, noting):
        before = time.time()
        token = fetch(Answer.token(expires_in=60))
        assert before <= token.obtained_at <= noting.times[0]
        assert token.expires_at == token.obtained_at + 60


class TestLenderSettings:
    def test_timeout_is_the_endpoints_own(self, fetch, noting):
        fetch(timeout=(3.5, 4.5))
        [(_, kwargs)] = noting.sent
        assert kwargs["timeout"] == (3.5, 4.5)

    def test_verify_is_the_lenders(self, sandbox, fetch, lender, noting):
        fetch()
        assert noting.sent[0][1]["verify"] == sandbox.ca_bundle

    @pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
    def test_verify_may_be_off(self, fetch, lender, noting):
        lender.verify = False
        assert isinstance(fetch(), Token)
        assert noting.sent[0][1]["verify"] is False

    def test_verify_is_on_where_the_lender_says_nothing(self, sandbox, failure, lender):
        lender.verify = True
        assert "CERTIFICATE_VERIFY_FAILED" in str(failure())
        assert sandbox.counts.token_requests == 0

    @pytest.mark.parametrize("cert", [None, "client.pem", ("client.pem", "client.key")])
    def test_cert_is_the_lenders(self, fetch, lender, noting, cert):
        lender.cert = cert
        fetch()
        assert noting.sent[0][1]["cert"] == cert

    def test_adapters_are_the_lenders(self, fetch, noting):
        fetch()
        [(request, _)] = noting.sent
        assert request.url.endswith("/connect/token")

    def test_the_longest_prefix_decides_on_the_adapter(self, sandbox, fetch, lender, noting):
        nearer = Noting()
        lender.mount(sandbox.issuer, nearer)
        fetch()
        assert (len(noting.sent), len(nearer.sent)) == (0, 1)

    def test_an_adapter_that_is_mounted_later_is_used_from_then_on(self, sandbox, lender, grant):
        endpoint = TokenEndpoint(sandbox.token_endpoint, (5, 5))
        endpoint.borrow(lender)
        endpoint.fetch(grant)
        later = Noting()
        lender.mount("https://", later)
        endpoint.fetch(grant)
        assert len(later.sent) == 1

    def test_connections_are_the_lenders(self, sandbox, fetch, lender, noting):
        lender.get(f"{sandbox.issuer}/.well-known/openid-configuration")
        fetch()
        fetch()
        pools = noting.poolmanager.pools
        assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118  # not a dictionary

    def test_without_any_adapter_that_fits_it_is_an_error_that_says_so(self, failure, lender):
        lender.adapters.clear()
        error = failure()
        assert type(error) is TokenError
        assert "No connection adapters" in str(error)
        assert "ARITMA_ENVIRONMENT" in str(error)
        assert type(error.__cause__) is requests.exceptions.InvalidSchema

    def test_the_environment_is_heard_where_the_lender_hears_it(self, sandbox, fetch, lender, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", sandbox.ca_bundle)
        lender.verify = True
        assert isinstance(fetch(), Token)

    def test_the_environment_is_not_heard_where_the_lender_does_not(self, sandbox, failure, lender, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", sandbox.ca_bundle)
        lender.verify, lender.trust_env = True, False
        assert "CERTIFICATE_VERIFY_FAILED" in str(failure())


class Proxy:
    """Relay TLS connections, and note where to (RFC 9110, section 9.3.6)."""

    def __init__(self):
        self.targets = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with client, contextlib.suppress(OSError):
                    self._relay(client)

    def _relay(self, client):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = client.recv(4096)
            if not piece:
                return  # nobody speaks: the proxy ends
            head += piece
        method, target, _ = head.decode("latin-1").split(" ", 2)
        self.targets.append((method, target))
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with selectors.DefaultSelector() as selector:
                selector.register(client, selectors.EVENT_READ, server)
                selector.register(server, selectors.EVENT_READ, client)
                while True:
                    for key, _ in selector.select():
                        data = key.fileobj.recv(65536)
                        if not data:
                            return
                        key.data.sendall(data)

    def stop(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.fixture
def proxy(lender):
    proxy = Proxy()
    yield proxy
    lender.close()
    proxy.stop()


class TestProxies:
    def test_of_the_lender_are_used(self, sandbox, fetch, lender, proxy):
        lender.proxies = {"https": proxy.url}
        assert isinstance(fetch(), Token)
        assert proxy.targets == [("CONNECT", sandbox.issuer.removeprefix("https://"))]

    def test_of_the_environment_are_used(self, sandbox, fetch, proxy, monkeypatch):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert isinstance(fetch(), Token)
        assert proxy.targets == [("CONNECT", sandbox.issuer.removeprefix("https://"))]

    def test_of_the_environment_are_not_used_where_the_lender_does_not_hear_it(self, fetch, lender, proxy, monkeypatch):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        lender.trust_env = False
        assert isinstance(fetch(), Token)
        assert proxy.targets == []

    def test_that_are_closed_make_the_endpoint_unavailable(self, failure, lender, closed_port):
        lender.proxies = {"https": f"http://user:proxy-password@127.0.0.1:{closed_port}"}
        error = failure()
        assert type(error) is TokenEndpointUnavailable
        assert "proxies" in str(error)
        assert type(error.__cause__) is requests.exceptions.ProxyError
        assert_secretless(error, "proxy-password")


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("adapter", [HTTPAdapter, Noting, lambda: HTTPAdapter(max_retries=Retry(3, redirect=3))])
    def test_are_followed_nowhere(self, sandbox, failure, lender, status, adapter):
        lender.mount("https://", adapter())
        failure(Answer.redirect(f"{sandbox.other_host}/connect/token", status))
        [request] = sandbox.requests
        assert request.host == sandbox.issuer.removeprefix("https://")

    def test_are_not_followed_where_send_is_replaced_on_the_lender(self, sandbox, failure, lender, monkeypatch):
        sent = []
        send = lender.send
        monkeypatch.setattr(lender, "send", lambda request, **kwargs: (sent.append(kwargs), send(request, **kwargs))[1])
        failure(Answer.redirect(f"{sandbox.other_host}/connect/token"))
        assert [kwargs["allow_redirects"] for kwargs in sent] == [False]
        assert len(sandbox.requests) == 1


# Python's ssl forgets to close a connection that is shut amid its handshake, as can happen to a request given up.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
class TestBounds:
    @pytest.fixture(autouse=True)
    def collected(self):
        """What a test leaves to the garbage collector is collected before anybody else is warned of it."""
        yield
        gc.collect()

    @pytest.fixture
    def largest(self, monkeypatch):
        """Lower the bound, because an answer is read byte by byte."""
        largest = 2000
        assert largest < LARGEST_ANSWER
        monkeypatch.setattr("aritma_session.reading.LARGEST_ANSWER", largest)
        return largest

    def test_an_answer_of_the_largest_size_is_read(self, fetch, largest):
        body = json.dumps({"access_token": "t"}).encode()
        assert fetch(Answer(200, body.ljust(largest))).access_token == "t"

    def test_a_larger_answer_is_an_error_that_says_so(self, sandbox, failure, largest):
        error = failure(Answer(200, f'{{"access_token": "{TOKEN}"}}'.encode().ljust(largest + 1)))
        assert type(error) is TokenError
        assert f"{largest} bytes" in str(error)
        assert sandbox.counts.token_requests == 1
        assert_secretless(error, "eyJ")

    def test_a_small_answer_that_unpacks_to_a_large_one_is_such_an_error_too(self, failure, largest):
        error = failure(Answer(200, gzip.compress(b" " * 1_000_000), {"Content-Encoding": "gzip"}))
        assert f"{largest} bytes" in str(error)

    def test_an_answer_that_cannot_be_unpacked_is_a_token_error(self, failure):
        error = failure(Answer(200, b"no gzip", {"Content-Encoding": "gzip"}))
        assert type(error) is TokenError
        assert type(error.__cause__) is requests.exceptions.ContentDecodingError

    def test_an_answer_that_trickles_is_given_up(self, failure, one_try):
        error = failure(Answer.trickle(0.003), timeout=(5, 1))
        assert type(error) is TokenEndpointUnavailable
        assert "more than 1 s" in str(error)
        assert "ARITMA_TOKEN_TIMEOUT" in str(error)
        assert type(error.__cause__) is requests.ReadTimeout
        assert_secretless(error, "eyJ")

    def test_an_answer_that_comes_and_says_nothing_is_given_up(self, failure, one_try):
        """Compressed, so that no byte comes out of those that go in."""
        nothing = gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 2000
        answer = Answer(200, nothing, {"Content-Encoding": "gzip"}, kind="trickle", interval=0.004)
        error = failure(answer, timeout=(5, 1))
        assert type(error) is TokenEndpointUnavailable
        assert type(error.__cause__) is requests.ReadTimeout

    @pytest.fixture
    def threadless(self, monkeypatch):
        start = threading.Thread.start

        def refuse(thread):
            if thread.name == "aritma-session-alarm":
                raise RuntimeError("can't create new thread at interpreter shutdown")
            start(thread)  # the sandbox's own

        monkeypatch.setattr(threading.Thread, "start", refuse)

    def test_an_answer_is_read_and_given_up_where_no_thread_is_to_be_had(self, fetch, failure, one_try, threadless):
        assert fetch()
        error = failure(Answer.trickle(0.003), timeout=(5, 1))
        assert type(error.__cause__) is requests.ReadTimeout

    def test_a_body_is_not_waited_for_where_there_is_no_thread(self, failure, one_try, threadless, lender, tmp_path):
        def trickle(connection):
            connection.recv(65536)
            connection.sendall(HTTP + b"Content-Length: 10000\r\n\r\n")
            while not select.select([connection], [], [], 0.05)[0] or connection.recv(65536):
                connection.sendall(b" ")

        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        lender.verify = str(tmp_path / "ca.pem")
        with serving(trickle, authority) as (url, _):
            assert "took more than 0.3 s" in str(failure(url=url, timeout=(5, 0.3)))

    def test_an_answer_that_does_not_come_is_given_up(self, sandbox, failure, one_try):
        sandbox.token_delay = 30
        error = failure(timeout=(5, 0.1))
        assert type(error) is TokenEndpointUnavailable
        assert type(error.__cause__) in {requests.ReadTimeout, requests.ConnectionError}

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(Answer.trickle(0.05), id="headers by drops"),
            pytest.param(Answer.raw(b"", flood=INTERIM * 100), id="interim answers without end"),
            pytest.param(Answer.raw(b"", flood=INTERIM), id="small interim answers without end"),
            pytest.param(Answer.raw(CHUNKED + b"0\r\n", flood=b"X: y\r\n" * 1000), id="trailers without end"),
        ],
    )
    def test_an_answer_is_given_up_however_it_is_kept_from_beginning_or_ending(self, fetch, failure, one_try, answer):
        fetch()  # over a connection that is there afterwards: a handshake takes its time on a busy machine
        error = failure(answer, timeout=(0.2, 0.3))
        assert type(error) is TokenEndpointUnavailable
        assert re.search(r"took more than 0\.[35] s", str(error))
        assert "ARITMA_TOKEN_TIMEOUT" in str(error)
        assert type(error.__cause__) is requests.ReadTimeout
        assert fetch()

    def test_an_answer_is_given_up_whatever_the_lenders_own_retries_are(self, failure, lender, sandbox, one_try):
        lender.mount("https://", HTTPAdapter(max_retries=Retry(3, backoff_factor=0, allowed_methods=None)))
        error = failure(*[Answer.trickle(0.05)] * 4, timeout=(0.2, 0.3))
        assert "took more than 0.5 s" in str(error)
        # The last of them may be cut off before they arrive.
        assert 1 <= sandbox.counts.token_requests <= 4

    def test_what_the_caller_has_open_is_not_closed_with_an_answer_that_is_given_up(self, failure, one_try):
        mine, other = socket.socketpair()
        connection = http.client.HTTPConnection("unused")
        connection.sock = mine
        with mine, other:
            failure(Answer.trickle(0.05), timeout=(0.2, 0.3))
            connection.sock.sendall(b"still open")
            assert other.recv(10) == b"still open"

    def test_an_adapter_that_dawdles_is_too_late_when_it_comes_back(self, failure, lender, one_try):
        class Dawdling(HTTPAdapter):
            def send(self, request, **kwargs):
                threading.Event().wait(0.5)
                return super().send(request, **kwargs)

        lender.mount("https://", Dawdling())
        assert "took more than 0.2 s" in str(failure(timeout=(0.1, 0.1)))

    def test_an_answer_may_take_its_own_time_however_little_there_is_to_connect(self, sandbox, fetch):
        sandbox.token_delay = 1.7
        assert fetch(timeout=(1.5, 5))  # long enough for a handshake, as below

    def test_an_alarm_ends_with_its_request(self, fetch, failure, one_try):
        fetch()
        failure(Answer.error(400))
        # Long enough for a handshake on a busy machine, amid whose end Python's ssl forgets to close.
        failure(Answer.trickle(0.05), timeout=(1.5, 0.3))
        wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "aritma-session-alarm"])

    def test_an_endless_answer_is_an_error_that_says_so(self, fetch, failure):
        error = failure(Answer.raw(b"HTTP/1.1 200 OK\r\n\r\n", flood=b" " * 10_000))
        assert type(error) is TokenError
        assert f"{LARGEST_ANSWER} bytes" in str(error)
        assert fetch()

    @pytest.mark.parametrize(
        ("body", "coding"),
        [
            pytest.param(b" " * 10 * 2**20, None, id="as it is"),
            pytest.param(gzip.compress(b" " * 10 * 2**20), "gzip", id="gzip"),
            pytest.param(zlib.compress(b" " * 10 * 2**20), "deflate", id="deflate"),
        ],
    )
    def test_10_mib_are_an_error_that_says_so(self, fetch, failure, body, coding):
        error = failure(Answer(200, body, {"Content-Encoding": coding} if coding else {}))
        assert type(error) is TokenError
        assert f"{LARGEST_ANSWER} bytes" in str(error)
        assert fetch()

    def test_a_chunk_of_negative_length_is_an_error_and_takes_no_memory(self, fetch, failure):
        """urllib3 would read all that comes, at once."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
        tracemalloc.start()
        try:
            error = failure(*[Answer.raw(head, flood=b"x" * 65536)] * 3)
            assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
        finally:
            tracemalloc.stop()
        assert "negative length" in str(error)
        assert fetch()

    def test_a_timeout_beyond_what_the_system_can_wait_for_is_none(self, fetch):
        assert fetch(timeout=(5e9, 5e9))

    def test_10_mib_that_come_packed_are_never_unpacked_whole(self, failure):
        answer = Answer(200, gzip.compress(b" " * 10 * 2**20), {"Content-Encoding": "gzip"})
        tracemalloc.start()
        try:
            failure(answer)
            assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("body", [gzip.compress(gzip.compress(b" " * 10 * 2**20)), b"no gzip"], ids=["good", "bad"])
    @pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", "none\xe9"])
    def test_an_encoding_that_was_not_asked_for_is_not_undone(self, fetch, failure, body, coding):
        """How much would come out of it, nobody could bound."""
        error = failure(Answer(200, body, {"Content-Encoding": coding}))
        assert type(error) is TokenError
        assert type(error.__cause__) is requests.exceptions.ContentDecodingError
        assert "encoded as" in str(error)
        assert fetch()


class TestEncodings:
    BODY = b'{"access_token": "packed"}'

    @pytest.mark.parametrize(
        ("coding", "body"),
        [
            ("gzip", gzip.compress(BODY)),
            ("GZIP", gzip.compress(BODY)),
            ("deflate", zlib.compress(BODY)),
            ("deflate", zlib.compress(BODY)[2:-4]),
            ("identity", BODY),
        ],
        ids=["gzip", "in capitals", "deflate", "deflate without its frame", "none"],
    )
    def test_of_an_answer_are_undone(self, fetch, coding, body):
        assert fetch(Answer(200, body, {"Content-Encoding": coding})).access_token == "packed"

    def test_of_nothing_mean_nothing(self, failure):
        assert failure(Answer(404, b"", {"Content-Encoding": "gzip"})).response.status_code == 404

    def test_that_end_too_early_are_an_answer_that_broke_off(self, failure, sandbox):
        cut = Answer(200, gzip.compress(self.BODY)[:-9], {"Content-Encoding": "gzip"})
        assert "broke off" in str(failure(cut, cut, cut))
        assert sandbox.counts.token_requests == 3

    def test_that_an_adapter_has_undone_are_not_undone_again(self, fetch, lender):
        class Reading(HTTPAdapter):
            def send(self, request, **kwargs):
                response = super().send(request, **kwargs)
                assert response.content == TestEncodings.BODY
                return response

        lender.mount("https://", Reading())
        answer = Answer(200, gzip.compress(self.BODY), {"Content-Encoding": "gzip"})
        assert fetch(answer).access_token == "packed"

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    def test_of_text_are_undone_where_they_are_unicodes(self, fetch, encoding):
        assert fetch(Answer(200, self.BODY.decode().encode(encoding))).access_token == "packed"

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
    def test_of_text_hide_no_token(self, failure, encoding):
        error = failure(Answer(200, f'{{"token_type": "mac", "access_token": "{TOKEN}"}}'.encode(encoding)))
        assert_secretless(error, "eyJ", "e y J", "e\0y\0J")

    def test_of_text_hide_no_token_where_they_are_broken(self, failure):
        body = f'{{"access_token": "{TOKEN}'.encode("utf-16-le") + b"\x00\xd8\x00\xd8?"
        assert_secretless(failure(Answer(200, body)), "eyJ", "e y J", "e\0y\0J")


HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GOOD = b'{"access_token": "t"}'


class TestOddHttp:
    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD, id="HTTP/1.0"),
            pytest.param(HTTP + b"\r\n" + GOOD, id="no Content-Length"),
            pytest.param(HTTP + b"Content-Length: 21\r\n\r\n" + GOOD + b"\r\n", id="line break behind the answer"),
            pytest.param(HTTP + b"Content-Length: -5\r\n\r\n" + GOOD, id="negative Content-Length"),
            pytest.param(HTTP + b"Content-Length: ?\r\n\r\n" + GOOD, id="no number for a Content-Length"),
            pytest.param(CHUNKED + b"15\r\n" + GOOD + b"\r\n0\r\n\r\n", id="chunks"),
            pytest.param(INTERIM * 50 + HTTP + b"\r\n" + GOOD, id="many interim answers"),
        ],
    )
    def test_is_understood_where_it_can_be(self, fetch, sandbox, sent):
        assert fetch(Answer.raw(sent)).access_token == "t"
        assert fetch()
        assert sandbox.counts.token_requests == 2

    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param(HTTP + b"Content-Length: 20\r\n\r\n" + GOOD, id="short Content-Length"),
            pytest.param(HTTP + b"Content-Length: 9\r\n\r\n" + b" " * 30_000, id="much too short Content-Length"),
            pytest.param(HTTP + b"Content-Length: %s\r\n\r\n" % (b"9" * 5000), id="5000 digits"),
            pytest.param(HTTP + "Content-Length: \u0663\r\n\r\n".encode(), id="digits of another script"),
            pytest.param(b"HTTP/1.1 204 No Content\r\nContent-Length: 21\r\n\r\n", id="204 with a length"),
            pytest.param(b"HTTP/1.1 999 Odd\r\n\r\n", id="999"),
            pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n", id="103 alone"),
            pytest.param(HTTP, id="half of the headers"),
        ],
    )
    def test_is_a_token_error_at_once_where_it_would_be_the_same_again(self, fetch, failure, sandbox, sent):
        error = failure(Answer.raw(sent))
        assert type(error) is TokenError
        assert "ARITMA_" in str(error)
        assert fetch()
        assert sandbox.counts.token_requests == 2

    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="no HTTP"),
            pytest.param(b"\0" * 100_000, id="a long line"),
            pytest.param(INTERIM * 3, id="interim answers alone"),
            pytest.param(HTTP + b"X: y\r\n" * 1000 + b"\r\n" + GOOD, id="1000 headers"),
            pytest.param(HTTP + b"Content-Length: 22\r\n\r\n" + GOOD, id="long Content-Length"),
            pytest.param(CHUNKED + b"16\r\n" + GOOD, id="chunks that break off"),
            pytest.param(CHUNKED + b"x\r\n" + GOOD, id="chunks of no length"),
        ],
    )
    def test_is_tried_again_where_that_may_help(self, fetch, failure, sandbox, sent):
        error = failure(*[Answer.raw(sent)] * 3)
        assert type(error) is TokenEndpointUnavailable
        assert "ARITMA_TOKEN_TIMEOUT" in str(error)
        assert fetch()
        assert sandbox.counts.token_requests == 4


@contextlib.contextmanager
def serving(handle, authority=None, names=("localhost",), **certificate):
    """Serve TLS with a certificate of one's own, or bare TCP: the URL, and what has connected so far."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if authority is not None:
        authority.issue_cert(*names, **certificate).configure_cert(context)
    connected = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listening.accept()
                connected.append(raw)
                with contextlib.suppress(OSError):
                    if authority is not None:
                        raw = context.wrap_socket(raw, server_side=True)  # it owns the socket now
                        connected[-1] = raw
                    handle(raw)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://localhost:{listening.getsockname()[1]}/connect/token", connected
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connected:
                connection.close()


def answer_in_plain(raw, data):
    raw.recv(65536)
    raw.sendall(data)
    raw.close()


class TestHandshakes:
    @pytest.mark.parametrize(
        "handle",
        [
            pytest.param(lambda raw: raw.close(), id="end at once"),
            pytest.param(lambda raw: answer_in_plain(raw, b"\x16\x03\x03\x00\x50\x02"), id="end amid"),
            pytest.param(lambda raw: None, id="never say anything"),
        ],
    )
    def test_that_fail_make_the_endpoint_unavailable(self, fetch, failure, handle):
        with serving(handle) as (url, connected):
            error = failure(url=url, timeout=(0.3, 30))
        assert type(error) is TokenEndpointUnavailable
        assert "ARITMA_TOKEN_TIMEOUT" in str(error)
        assert len(connected) >= 3
        assert fetch()

    def test_that_come_by_drops_are_given_up(self, fetch, failure, one_try):
        def trickle(raw):
            raw.sendall(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xf0")
            while not select.select([raw], [], [], 0.05)[0] or raw.recv(1000):
                raw.sendall(b"\0")

        with serving(trickle) as (url, _):
            assert type(failure(url=url, timeout=(0.3, 0.3))) is TokenEndpointUnavailable
        assert fetch()

    def test_with_no_tls_at_all_are_a_token_error(self, fetch, failure):
        with serving(lambda raw: answer_in_plain(raw, b"HTTP/1.1 400 Bad Request\r\n\r\n")) as (url, _):
            error = failure(url=url)
        assert isinstance(error, TokenError)
        assert fetch()


class TestImpostors:
    """Servers that cannot prove who they are: nothing is sent to them."""

    AUTHORITY = trustme.CA()

    @pytest.mark.parametrize(
        ("trusted", "certificate"),
        [
            pytest.param(True, {"not_after": LONG_AGO}, id="expired"),
            pytest.param(True, {"names": ("other.example",)}, id="of another host"),
            pytest.param(False, {}, id="of an unknown authority"),
        ],
    )
    def test_are_told_nothing_and_the_error_says_what_to_check(
        self, fetch, failure, lender, sandbox, tmp_path, pauses, trusted, certificate
    ):
        heard = []
        bundle = tmp_path / "ca.pem"
        (self.AUTHORITY if trusted else trustme.CA()).cert_pem.write_to_path(bundle)
        lender.verify = str(bundle)
        with serving(lambda raw: heard.append(raw.recv(1000)), self.AUTHORITY, **certificate) as (url, connected):
            error = failure(url=url)
        assert type(error) is TokenError
        assert "could not prove who it is" in str(error)
        assert "REQUESTS_CA_BUNDLE" in str(error)
        assert (len(connected), b"".join(heard), pauses) == (1, b"", [])
        lender.verify = sandbox.ca_bundle
        assert fetch()

    def test_with_a_certificate_that_they_signed_themselves_are_told_nothing(self, failure, tmp_path):
        signer, heard, path = trustme.CA(), [], tmp_path / "own.pem"
        for part in (signer.private_key_pem, signer.cert_pem):
            part.write_to_path(path, append=True)

        class Itself:
            def issue_cert(self, *names):
                return types.SimpleNamespace(configure_cert=lambda context: context.load_cert_chain(path))

        with serving(lambda raw: heard.append(raw.recv(1000)), Itself()) as (url, _):
            error = failure(url=url)
        assert type(error) is TokenError
        assert "self-signed" in str(error)
        assert b"".join(heard) == b""


class Own(requests.ConnectTimeout):
    """An error of the user's own, which cannot be made of a message alone."""

    def __init__(self, host, port, **kwargs):
        super().__init__(f"{host}:{port}", **kwargs)


class TestUnreachable:
    @pytest.mark.parametrize(
        ("raised", "cause"),
        [
            (lambda request: requests.ConnectionError("down", request=request), requests.ConnectionError),
            (lambda request: requests.ConnectTimeout("slow", request=request), requests.ConnectTimeout),
            (lambda request: requests.ReadTimeout("slow", request=request), requests.ReadTimeout),
            (lambda request: requests.Timeout("slow"), requests.Timeout),
            (lambda request: requests.exceptions.ProxyError("407"), requests.exceptions.ProxyError),
            (lambda request: requests.exceptions.SSLError("EOF"), requests.exceptions.SSLError),
            (lambda request: requests.exceptions.ChunkedEncodingError("cut"), requests.exceptions.ChunkedEncodingError),
            (lambda request: Own("host", 1, request=request), requests.ConnectTimeout),
        ],
        ids=lambda value: getattr(value, "__name__", None),
    )
    def test_is_unavailable_because_of_an_error_of_requests(self, failure, lender, raised, cause):
        adapter = Failing(raised)
        lender.mount("https://", adapter)
        error = failure()
        assert type(error) is TokenEndpointUnavailable
        assert "could not be reached" in str(error)
        assert "ARITMA_TOKEN_TIMEOUT" in str(error)
        assert adapter.sent == 3
        assert type(error.__cause__) is cause

    @pytest.mark.parametrize(
        "raised",
        [
            lambda request: requests.exceptions.InvalidHeader("no", request=request),
            lambda request: requests.RequestException("no", request=request),
        ],
    )
    def test_is_a_plain_token_error_where_another_try_would_not_help(self, failure, lender, raised):
        adapter = Failing(raised)
        lender.mount("https://", adapter)
        error = failure()
        assert type(error) is TokenError
        assert "ARITMA_ENVIRONMENT" in str(error)
        assert adapter.sent == 1

    def test_has_a_cause_that_holds_nothing_but_a_message(self, failure, lender, closed_port):
        cause = failure(url=f"https://127.0.0.1:{closed_port}/connect/token").__cause__
        assert isinstance(cause, requests.ConnectionError)
        assert (cause.request, cause.response) == (None, None)
        assert (cause.__traceback__, cause.__cause__, cause.__context__) == (None, None, None)
        assert [type(argument) for argument in cause.args] == [str]
        assert str(closed_port) in str(cause)

    def test_has_no_response_and_no_request(self, failure, closed_port):
        error = failure(url=f"https://127.0.0.1:{closed_port}/connect/token")
        assert (error.response, error.request, error.error) == (None, None, None)
        assert error.__suppress_context__

    def test_hides_a_secret_that_the_error_tells(self, failure, lender, sandbox):
        lender.mount("https://", Failing(lambda request: requests.ConnectionError(f"{request.body}\n", request)))
        error = failure()
        assert "client_secret=***" in str(error)
        assert str(error).isprintable()
        assert_secretless(error, sandbox.client_secret)

    @pytest.mark.parametrize("proxy", ["http://user:hunter2#x@localhost:9", "http://user:hunter2@localhost:99999"])
    def test_hides_what_stands_in_a_proxy_that_cannot_be_read(self, failure, lender, caplog, proxy):
        lender.proxies["https"] = proxy
        error = failure()
        assert type(error) is TokenError
        assert "HTTPS_PROXY" in str(error)
        assert "hunter2" not in "".join(traceback.format_exception(error)) + caplog.text

    def test_is_handed_on_without_frames_where_it_is_an_interrupt(self, fetch, lender, sandbox):
        def interrupted(request):
            raise KeyboardInterrupt

        lender.mount("https://", Failing(interrupted))
        with pytest.raises(KeyboardInterrupt) as caught:
            fetch()
        frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
        assert not [frame for frame in frames if sandbox.client_secret in repr(frame.f_locals)]

    def test_is_unavailable_where_the_lenders_own_retries_end_in_trouble(self, failure, lender):
        retries = Retry(1, backoff_factor=0, status_forcelist=[503], allowed_methods=None)
        lender.mount("https://", HTTPAdapter(max_retries=retries))
        assert type(failure(*[Answer.error(503)] * 6)) is TokenEndpointUnavailable


class TestCertificates:
    def test_that_fail_are_not_tried_again_and_the_error_says_what_to_check(self, sandbox, failure, lender, pauses):
        lender.verify = True
        error = failure()
        assert type(error) is TokenError
        assert "could not prove who it is" in str(error)
        assert "CERTIFICATE_VERIFY_FAILED" in str(error)
        assert "REQUESTS_CA_BUNDLE" in str(error)
        assert type(error.__cause__) is requests.exceptions.SSLError
        assert pauses == []
        assert sandbox.counts.token_requests == 0

    def test_that_fail_are_known_whatever_the_length_of_the_url(self, sandbox, failure, lender, pauses):
        lender.verify = True
        error = failure(url=f"{sandbox.issuer}/0f8fad5b-d9cb-469f-a165-70867728950e/connect/token")
        assert type(error) is TokenError
        assert "REQUESTS_CA_BUNDLE" in str(error)
        assert pauses == []

    @pytest.mark.parametrize("setting", ["verify", "cert"])
    def test_that_are_missing_are_a_token_error(self, failure, lender, setting):
        setattr(lender, setting, "missing.pem")
        assert "missing.pem" in str(failure())

    def test_that_are_none_are_an_error_that_says_what_to_check(self, failure, lender, tmp_path, pauses):
        lender.verify = str(tmp_path / "empty.pem")
        (tmp_path / "empty.pem").write_text("nothing\n", encoding="utf-8")
        error = failure()
        assert "verify" in str(error)
        assert pauses == []


class TestRequestsMock:
    ANSWER = types.MappingProxyType({"access_token": "mocked", "expires_in": 60, "token_type": "Bearer"})

    def test_mocker_serves_the_token_request(self, fetch):
        with requests_mock.Mocker() as mocker:
            mocker.post(MOCKED, json=dict(self.ANSWER))
            assert fetch(url=MOCKED).access_token == "mocked"
        assert [request.method for request in mocker.request_history] == ["POST"]

    def test_mocker_of_the_lender_serves_the_token_request(self, fetch, lender, sandbox):
        with requests_mock.Mocker(session=lender) as mocker:
            mocker.post(MOCKED, json=dict(self.ANSWER))
            assert fetch(url=MOCKED).access_token == "mocked"
        assert mocker.last_request.text.startswith("grant_type=client_credentials&")
        assert isinstance(fetch(), Token), "the real server is asked again after the mocker has ended"
        assert sandbox.counts.token_requests == 1

    def test_mounted_adapter_serves_the_token_request(self, fetch, lender):
        adapter = requests_mock.Adapter()
        adapter.register_uri("POST", MOCKED, json=dict(self.ANSWER))
        lender.mount("https://id.example", adapter)
        assert fetch(url=MOCKED).access_token == "mocked"
        assert adapter.call_count == 1

    def test_mocker_plays_refusals(self, failure):
        with requests_mock.Mocker() as mocker:
            mocker.post(MOCKED, json={"error": "invalid_grant"}, status_code=400)
            error = failure(url=MOCKED)
        assert (error.error, error.response.status_code) == ("invalid_grant", 400)

    def test_mocker_plays_trouble(self, failure):
        with requests_mock.Mocker() as mocker:
            mocker.post(MOCKED, exc=requests.ConnectTimeout("slow"))
            assert type(failure(url=MOCKED)) is TokenEndpointUnavailable
        assert mocker.call_count == 3

    @pytest.mark.parametrize("whose", ["all sessions", "the lender"])
    def test_mocker_that_lacks_the_endpoint_says_so(self, fetch, lender, whose, pauses):
        with (
            requests_mock.Mocker(**{} if whose == "all sessions" else {"session": lender}),
            pytest.raises(requests_mock.NoMockAddress, match=f"No mock address: POST {MOCKED}"),
        ):
            fetch(url=MOCKED)
        assert pauses == []


# What is left behind.


def reachable(*starts):
    """All objects that can be reached, though not through code, frames, types and modules."""
    opaque = (types.ModuleType, type, types.FrameType, types.TracebackType, types.CodeType)
    seen, waiting = {}, collections.deque(starts)
    while waiting:
        thing = waiting.popleft()
        if id(thing) in seen or isinstance(thing, opaque):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, types.FunctionType):  # what it refers to by itself, and not the globals of its module
            waiting.extend([thing.__closure__, thing.__defaults__, thing.__kwdefaults__, thing.__dict__])
            continue
        if isinstance(thing, io.BytesIO):
            waiting.append(thing.getvalue())
        waiting.extend(gc.get_referents(thing))
    return list(seen.values())


def texts(things):
    return [str(thing, "latin-1") if not isinstance(thing, str) else thing for thing in things if is_text(thing)]


def is_text(thing):
    return isinstance(thing, (str, bytes, bytearray))


def contained(thing):
    """The texts in nested containers, and how each part shows."""
    yield repr(thing)
    if is_text(thing):
        yield from texts([thing])
    elif isinstance(thing, dict):
        for pair in thing.items():
            yield from contained(pair)
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for part in thing:
            yield from contained(part)


def frames(error):
    """The frames that an error and those it is chained to went through, without those of the test itself."""
    for link in reachable(error):
        if isinstance(link, BaseException):
            for frame, _ in traceback.walk_tb(link.__traceback__):
                code = frame.f_code
                if code.co_filename != __file__ or not code.co_name.startswith(("test_", "fetch", "failure", "raised")):
                    yield frame


def assert_secretless(error, *secrets):
    """Neither what an error leads to, nor what the frames of its traceback show, holds a secret."""
    told = [*texts(reachable(error)), str(error), repr(error)]
    assert [text for text in told if any(secret in text for secret in secrets)] == []
    for frame in frames(error):
        for name, value in frame.f_locals.items():
            shown = [text for text in contained(value) if any(secret in text for secret in secrets)]
            assert shown == [], f"{name} in {frame}"


ECHO = "sandbox-secret-1234"
TOKEN = "eyJhbGciOi.eyJzdWIiOi.c2ln"

FAILURES = {
    "400": [Answer.error(400, "invalid_grant")],
    "401": [Answer.error(401, "invalid_client", f"the secret {ECHO} is wrong")],
    "401 as a page": [Answer.html(f"client_secret={ECHO}", 401)],
    "503": [Answer.error(503, "temporarily_unavailable", ECHO)] * 3,
    "503 with a header": [Answer(503, headers={"X-Debug": ECHO, "Retry-After": ECHO})] * 3,
    "307": [Answer.redirect(f"https://localhost/?client_secret={ECHO}")],
    "page": [Answer.html(f"<p>{ECHO}</p>")],
    "empty": [Answer(200)],
    "odd token_type": [Answer.token(token_type="mac", access_token=TOKEN)],
    "odd token": [Answer.token(access_token=f"{TOKEN}\n")],
    "no token": [Answer.token(access_token=None, refresh_token=TOKEN, id_token=TOKEN)],
    "cut-off JSON": [Answer(200, f'{{"access_token": "{TOKEN}"'.encode())],
    "form": [Answer(200, f"access_token={TOKEN}&client_secret={ECHO}".encode())],
    "reset": [Answer.reset()] * 3,
    "reset amid": [Answer.cut()] * 3,
    "truncated": [Answer.truncated()] * 3,
    "bad gzip": [Answer(200, TOKEN.encode(), {"Content-Encoding": "gzip"})],
}
EVERY_FAILURE = [pytest.param(answers, id=name) for name, answers in FAILURES.items()]


@pytest.fixture
def records():
    """All that is logged, by any logger at any level."""
    kept = []

    class Keeper(logging.Handler):
        def emit(self, record):
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


def telling(records, *secrets):
    """The records that show a secret, or lead to one."""
    found = []
    for record in records:
        told = [record.getMessage(), repr(record.args)]
        if not record.threadName.startswith("aritma-sandbox"):  # the server's own records may lead to what it was sent
            told += texts(reachable(vars(record)))
        if any(secret in text for text in told for secret in secrets):
            found.append(record)
    return found


class TestErrors:
    @pytest.mark.parametrize("answers", EVERY_FAILURE)
    def test_lead_to_no_secret_and_no_token(self, failure, answers):
        error = failure(*answers)
        assert isinstance(error, TokenError)
        assert_secretless(error, ECHO, "eyJ")

    def test_about_certificates_lead_to_no_secret(self, failure, lender):
        lender.verify = True
        assert_secretless(failure(), ECHO)

    def test_about_nobody_there_lead_to_no_secret(self, failure, closed_port):
        assert_secretless(failure(url=f"https://127.0.0.1:{closed_port}/connect/token"), ECHO)

    def test_about_a_slow_answer_lead_to_no_secret(self, sandbox, failure, one_try):
        sandbox.token_delay = 30
        assert_secretless(failure(timeout=(5, 0.1)), ECHO)

    def test_of_an_answer_that_was_had_lead_to_no_token_of_an_earlier_one(self, fetch, failure):
        token = fetch()
        assert_secretless(failure(Answer.error(400)), ECHO, token.access_token)

    def test_that_are_raised_amid_another_do_not_take_along_more_than_that(self, failure):
        try:
            {}["own"]
        except KeyError:
            error = failure(Answer.error(400))
        assert isinstance(error.__context__, KeyError)
        assert_secretless(error, ECHO)

    def test_as_values_have_no_traceback(self, sandbox, lender, grant):
        lender.verify = True
        error = ask(sandbox.token_endpoint, grant, timeout=(5, 5), lender=lender)
        assert isinstance(error, TokenError)
        assert (error.__traceback__, error.__context__) == (None, None)


class TestErrorsOfAdapters:
    """What is no error of requests is the caller's own affair, and is handed over."""

    @pytest.fixture
    def raised(self, fetch, lender):
        def raised(fail):
            lender.mount("https://", Failing(fail))
            with pytest.raises(Exception, match="own") as caught:
                fetch()
            return caught.value

        return raised

    def test_arrive_as_they_are(self, raised, pauses):
        own = RuntimeError("own")
        assert raised(lambda request: own) is own
        assert pauses == []

    def test_take_along_no_frame_in_which_the_secret_stands(self, raised):
        assert_secretless(raised(lambda request: RuntimeError("own")), ECHO)

    @pytest.mark.parametrize("suppressed", [False, True])
    def test_take_along_no_frame_of_what_led_to_them(self, raised, suppressed):
        def fail(request):
            try:
                {}["first"]
            except KeyError as first:
                if suppressed:
                    raise RuntimeError("own") from None
                raise RuntimeError("own") from first

        assert_secretless(raised(fail), ECHO)

    def test_take_along_no_frame_of_what_happened_before_their_cause(self, raised):
        def fail(request):
            try:
                {}["first"]
            except KeyError:
                raise RuntimeError("own") from ValueError("cause")

        error = raised(fail)
        assert error.__context__.__traceback__ is None

    def test_of_requests_mock_lead_to_no_secret(self, fetch):
        with requests_mock.Mocker(), pytest.raises(requests_mock.NoMockAddress) as caught:
            fetch(url=MOCKED)
        assert_secretless(caught.value, ECHO)

    def test_of_requests_mock_take_along_no_frame_in_which_the_secret_stands(self, fetch):
        with requests_mock.Mocker(), pytest.raises(requests_mock.NoMockAddress) as caught:
            fetch(url=MOCKED)
        for frame in frames(caught.value):
            assert not any(ECHO in text for value in frame.f_locals.values() for text in contained(value))


class TestLogs:
    def test_of_a_token_request_hold_no_secret_and_no_token(self, fetch, records):
        token = fetch()
        assert "urllib3.connectionpool" in {record.name for record in records}
        assert telling(records, ECHO, "eyJ", token.access_token) == []

    @pytest.mark.parametrize("answers", EVERY_FAILURE)
    def test_of_a_failure_hold_no_secret_and_no_token(self, failure, records, answers):
        failure(*answers)
        assert telling(records, ECHO, "eyJ") == []

    def test_of_an_adapters_own_error_hold_no_secret(self, fetch, lender, records):
        lender.mount("https://", Failing(lambda request: RuntimeError("own")))
        with pytest.raises(RuntimeError, match="own"):
            fetch()
        assert telling(records, ECHO) == []

    @pytest.mark.parametrize("name", [TALKATIVE, "urllib3.connection"])
    def test_hold_no_secret_where_somebody_has_removed_the_filters(self, fetch, records, name):
        fetch()
        logging.getLogger(name).filters.clear()
        fetch()
        assert telling(records, ECHO, "eyJ") == []

    def test_are_not_filtered_twice(self, fetch):
        fetch()
        before = [list(logging.getLogger(name).filters) for name in (TALKATIVE, "urllib3.connection")]
        fetch()
        assert [logging.getLogger(name).filters for name in (TALKATIVE, "urllib3.connection")] == before

    def others(self, sandbox):
        """Do what another user of requests-oauthlib does."""
        with requests_oauthlib.OAuth2Session(client=BackendApplicationClient("others")) as other:
            other.verify = sandbox.ca_bundle
            with contextlib.suppress(Exception):
                other.fetch_token(sandbox.token_endpoint, client_secret="others-secret", include_client_id=True)

    def told(self, records):
        return any("others-secret" in record.getMessage() for record in records if record.name == TALKATIVE)

    def test_of_others_are_as_ever_after_a_token_request(self, sandbox, fetch, records):
        fetch()
        self.others(sandbox)
        assert self.told(records)

    def test_of_others_are_as_ever_after_a_failure(self, sandbox, fetch, lender, records):
        lender.mount("https://", Failing(lambda request: RuntimeError("own")))
        with pytest.raises(RuntimeError, match="own"):
            fetch()
        self.others(sandbox)
        assert self.told(records)

    def test_of_other_threads_are_as_ever_amid_a_token_request(self, sandbox, fetch, lender, records):
        def fail(request):
            thread = threading.Thread(target=self.others, args=(sandbox,))
            thread.start()
            thread.join()
            return RuntimeError("own")

        lender.mount("https://", Failing(fail))
        with pytest.raises(RuntimeError, match="own"):
            fetch()
        assert self.told(records)
        assert telling(records, ECHO) == []
