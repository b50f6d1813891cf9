"""How a 401 is answered: over TLS, against a server that counts."""

from __future__ import annotations

import functools
import io
import json
import tracemalloc
import typing

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from aritma_session import AritmaSession, TokenError, stubborn
from aritma_session.sandbox import Answer, Counts

from helpers import at_once, said, sent_authorization

HEAD_401 = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n"
ENDLESS = Answer.raw(HEAD_401 + b"\r\n", flood=b"no " * 1000, status=401)


class Oddity(io.BytesIO):
    """A file that can be read once."""

    seekable = False

    def seek(self, *arguments):
        raise OSError("no way back")


class TestReplay:
    @pytest.fixture
    def revoked(self, session, sandbox, echo):
        """A session whose token has just been revoked."""
        session.get(echo)
        sandbox.revoke_all()
        sandbox.reset_counts()
        return session

    def test_a_refused_call_is_sent_once_more_with_a_new_token(self, revoked, sandbox, echo):
        response = revoked.get(echo)
        assert response.status_code == 200
        assert [old.status_code for old in response.history] == [401]
        assert response.history[0].json()
        assert response.elapsed > response.history[0].elapsed
        assert len(set(sent_authorization(sandbox))) == 2
        assert sandbox.counts.token_requests == 1

    def test_hooks_see_the_final_answer_only(self, revoked, echo):
        seen = []
        revoked.hooks["response"].append(lambda response, **kwargs: seen.append(response.status_code))
        revoked.hooks["response"].append(lambda response, **kwargs: response.raise_for_status())
        revoked.get(echo)
        assert seen == [200]

    @pytest.mark.parametrize(
        "body",
        [
            {"data": {"a": "b"}},
            {"data": b"bytes"},
            {"data": "text"},
            {"data": bytearray(b"array")},
            {"json": {"a": 1}},
            {"files": {"file": ("name.txt", b"content")}},
        ],
        ids=lambda body: next(iter(body)),
    )
    def test_the_body_arrives_whole(self, revoked, echo, body):
        first, second = (revoked.post(echo, **body), revoked.post(echo, **body))
        assert first.history
        assert not second.history
        assert first.json()["body_length"] == second.json()["body_length"] > 0

    def test_a_file_is_rewound_to_where_it_stood(self, revoked, sandbox, echo, tmp_path):
        path = tmp_path / "payments.xml"
        path.write_bytes(b"<!-- skipped -->" + b"<payment/>" * 10_000)
        with open(path, "rb") as file:
            file.seek(16)
            response = revoked.put(echo, data=file)
        assert response.history
        assert response.json()["body"] == "<payment/>" * 10_000

    @pytest.mark.parametrize(
        "make", [lambda: iter([b"a", b"b"]), lambda: (part for part in [b"a"]), lambda: Oddity(b"once")]
    )
    def test_what_cannot_be_sent_again_is_not_and_the_next_call_has_a_new_token(self, revoked, sandbox, echo, make):
        response = revoked.post(echo, data=make())
        assert response.status_code == 401
        assert response.json()
        assert sandbox.counts.calls == 1
        assert revoked.post(echo, data=make()).status_code == 200
        assert sandbox.counts.token_requests == 1

    def test_what_cannot_be_sent_again_gets_its_401_even_where_there_is_no_token(self, revoked, sandbox, echo, caplog):
        sandbox.answer_token_requests(Answer.error(400, "invalid_request"))
        assert revoked.post(echo, data=iter([b"a"])).status_code == 401
        (warning,) = [message for level, message in said(caplog) if level == "WARNING"]
        assert warning.startswith("the next request needs a new token, and none could be had: Aritma ID at https://")
        assert "invalid_request" in warning

    def test_a_file_that_was_closed_meanwhile_is_not_sent_again(self, revoked, echo, tmp_path):
        class Closing(io.BytesIO):
            def read(self, *arguments):
                data = super().read(*arguments)
                if not data:
                    self.close()
                return data

        assert revoked.post(echo, data=Closing(b"data")).status_code == 401

    def test_an_idempotency_key_stays_the_same(self, revoked, sandbox):
        response = revoked.post(
            f"{sandbox.api_url}/payments", json={"amount": "1.00"}, headers={"Idempotency-Key": "0f8c"}
        )
        assert response.status_code == 201
        keys = [request.headers.get("idempotency-key") for request in sandbox.requests if request.kind == "api"]
        assert keys == ["0f8c", "0f8c"]

    def test_a_streamed_answer_is_still_a_stream(self, revoked, echo):
        with revoked.get(echo, stream=True) as response:
            assert response.history
            assert not response._content_consumed
            assert json.loads(b"".join(response.iter_content(7)))["path"] == "/api/v3/echo"

    def test_a_stream_that_is_refused_is_not_read(self, revoked, echo):
        """It may be endless."""
        read = []

        class Watching(requests.adapters.HTTPAdapter):
            def send(self, request, **kwargs):
                response = super().send(request, **kwargs)
                if response.status_code == 401:
                    response.raw.stream = lambda *arguments, **kwargs: read.append(1) or iter(())
                return response

        revoked.mount("https://", Watching())
        with revoked.get(echo, stream=True) as response:
            assert response.json()["path"] == "/api/v3/echo"
        assert [old.status_code for old in response.history] == [401]
        assert read == []

    def test_the_refused_answer_gives_its_connection_to_the_replay(self, revoked, echo):
        with AritmaSession() as other:
            assert other.get(echo).ok  # so that the new token comes from the cache, over no connection
        revoked.mount("https://", HTTPAdapter())
        assert revoked.get(echo).history
        pools = revoked.get_adapter(echo).poolmanager.pools
        assert [pools[key].num_connections for key in list(pools.keys())] == [1]

    def test_the_refused_answer_is_let_go_of_where_there_is_no_new_token(self, revoked, sandbox, echo):
        class Keeping(HTTPAdapter):
            kept: typing.ClassVar = []

            def send(self, request, **kwargs):
                self.kept.append(super().send(request, **kwargs))
                return self.kept[-1]

        revoked.mount("https://", Keeping())
        sandbox.answer_token_requests(Answer.error(400, "invalid_request"))
        with pytest.raises(TokenError):
            revoked.get(echo, stream=True)
        assert Keeping.kept[0].status_code == 401
        assert Keeping.kept[0].raw.closed

    def test_a_refused_answer_that_was_read_already_is_answered_all_the_same(self, revoked, echo):
        class Reading(HTTPAdapter):
            def send(self, request, **kwargs):
                response = super().send(request, **kwargs)
                if response.status_code == 401:
                    list(response.iter_content(100))
                return response

        revoked.mount("https://", Reading())
        assert revoked.get(echo).status_code == 200

    def test_the_replay_is_the_same_request_but_for_the_token(self, revoked, sandbox, echo):
        revoked.cookies["a"] = "b"
        revoked.post(echo, data={"a": "b"}, headers={"X-Call": "1"}, cookies={"c": "d"}, params={"p": "1"})
        first, second = [request for request in sandbox.requests if request.kind == "api"]
        assert {**first.headers, "authorization": None} == {**second.headers, "authorization": None}
        assert (first.method, first.path, first.query) == (second.method, second.path, second.query)

    def test_a_replayed_request_can_be_sent_again(self, revoked, sandbox, echo):
        again = revoked.get(echo).request
        assert len(again.hooks["response"]) == 1  # whoever answers the refusal of its token, and not of the first's too
        sandbox.revoke_all()
        assert revoked.send(again).status_code == 200

    def test_a_late_401_for_an_old_token_is_answered_with_the_new_one(self, session, sandbox, echo):
        late = session.prepare_request(requests.Request("GET", echo))
        sandbox.revoke_all()
        assert session.get(echo).status_code == 200
        assert session.send(late).status_code == 200
        assert sandbox.counts.token_requests == 2

    def test_many_late_401s_are_answered(self, session, sandbox, echo):
        late = [session.prepare_request(requests.Request("GET", echo)) for _ in range(40)]
        sandbox.revoke_all()
        assert {session.send(request).status_code for request in late} == {200}
        assert sandbox.counts.token_requests == 2

    def test_a_pool_of_one_connection_is_enough(self, revoked, echo):
        """For the 401, the token request (whose host is the API's, here) and the replay."""
        revoked.mount("https://", HTTPAdapter(pool_maxsize=1, pool_block=True))
        assert revoked.get(echo, timeout=5).status_code == 200

    def test_an_answer_without_its_request_is_handed_on(self, revoked, echo):
        class Terse(HTTPAdapter):
            def send(self, request, **kwargs):
                response = requests.Response()
                response.status_code, response.url, response._content = 401, request.url, b""
                return response

        revoked.mount("https://", Terse())
        assert revoked.get(echo).status_code == 401

    def test_a_request_that_was_led_to_another_host_is_not_given_a_new_token(self, revoked, sandbox, echo):
        """By whoever changes a prepared request: its token goes where he says, and no other follows."""
        prepared = revoked.prepare_request(requests.Request("GET", echo))
        prepared.url = f"{sandbox.other_host}/api/v3/echo"
        assert revoked.send(prepared).status_code == 401
        assert sandbox.counts == Counts(calls=1, refused=1)

    def test_it_uses_the_same_connection_and_arguments(self, revoked, echo):
        class Recording(requests.adapters.HTTPAdapter):
            calls: typing.ClassVar = []

            def send(self, request, **kwargs):
                self.calls.append(kwargs)
                return super().send(request, **kwargs)

        revoked.mount("https://", Recording())
        revoked.get(echo, timeout=7, stream=True).close()
        first, token, second = Recording.calls
        assert first == second
        assert first["timeout"] == 7
        assert token["timeout"] == (10.0, 30.0)

    def test_401_for_ever_is_handed_over_after_one_replay(self, session, sandbox, echo):
        sandbox.refuse_all = True
        response = session.get(echo)
        assert response.status_code == 401
        assert [old.status_code for old in response.history] == [401]
        for _ in range(5):
            response = session.get(echo)
            assert response.status_code == 401
            assert response.history == []
        assert sandbox.counts.token_requests == 2

    def test_an_api_that_refuses_alone_does_not_cost_a_token_each_call(self, environ, sandbox, monkeypatch):
        """One host accepts the token, so that its probation ends; the other would have none of any token."""
        other = sandbox.other_host.removeprefix("https://")
        with AritmaSession(api_hosts=other) as session:
            refuses = f"{sandbox.other_host}/api/v3/status/401"
            accepts = f"{sandbox.api_url}/echo"
            for _ in range(5):
                assert session.get(refuses).status_code == 401
                assert session.get(accepts).status_code == 200
            assert sandbox.counts.token_requests == 2
            monkeypatch.setattr(stubborn, "MEMORY", 0.0)
            assert session.get(refuses).status_code == 401
            assert sandbox.counts.token_requests == 3

    def test_a_path_that_refuses_alone_does_not_cost_a_token_each_call(self, session, sandbox, echo):
        for number in range(5):
            assert session.get(f"{sandbox.api_url}/status/401", params={"number": number}).status_code == 401
            assert session.get(echo).status_code == 200
        assert sandbox.counts.token_requests == 2

    def test_each_of_several_that_refuse_is_remembered(self, session, sandbox, echo):
        for path in ("status/401?as=query", "status/404"):
            sandbox.answer_calls(*[Answer(401)] * 2)
            assert session.get(f"{sandbox.api_url}/{path}").status_code == 401
            assert session.get(echo).status_code == 200
        host = sandbox.issuer.removeprefix("https://")
        assert set(session.auth._stubborn._entries) == {f"{host}/api/v3/status/401", f"{host}/api/v3/status/404"}

    @pytest.mark.parametrize(
        ("status", "accepted"), [(204, True), (403, True), (300, False), (404, False), (503, False)]
    )
    def test_an_answer_of_the_api_itself_ends_the_probation(self, revoked, sandbox, echo, status, accepted):
        sandbox.answer_calls(Answer(401), Answer(503), Answer(status))
        assert revoked.get(echo).status_code == 503
        assert revoked.auth._source.probing
        assert revoked.get(echo).status_code == status
        assert revoked.auth._source.probing is not accepted

    def test_what_refused_is_not_remembered_for_ever(self, session, sandbox, echo, monkeypatch):
        monkeypatch.setattr(stubborn, "MEMORY", 0.0)
        assert session.get(f"{sandbox.api_url}/status/401").status_code == 401
        assert session.get(echo).status_code == 200
        sandbox.refuse_all = True
        assert session.get(echo).status_code == 401
        host = sandbox.issuer.removeprefix("https://")
        assert set(session.auth._stubborn._entries) == {host, f"{host}/api/v3/echo"}

    @pytest.mark.parametrize(
        ("before", "headers", "sent"),
        [
            ({}, {}, "node=7"),
            ({"node": "6"}, {}, "node=7"),
            ({"id": "1"}, {}, "id=1; node=7"),
            ({}, {"Cookie": "my=own"}, "my=own"),
        ],
    )
    def test_a_cookie_of_the_refused_answer_goes_with_the_replay(self, revoked, echo, before, headers, sent):
        class Balancing(HTTPAdapter):
            def send(self, request, **kwargs):
                response = super().send(request, **kwargs)
                if response.status_code == 401:
                    response.raw._original_response.msg.add_header("Set-Cookie", "node=7; Path=/")
                return response

        revoked.mount("https://", Balancing())
        for name, value in before.items():
            revoked.cookies.set(name, value, domain="localhost.local", path="/")
        cookie = revoked.get(echo, headers=headers).json()["headers"]["cookie"]
        assert sorted(cookie.split("; ")) == sent.split("; ")

    def test_a_host_that_refused_is_given_later_tokens(self, environ, sandbox):
        with AritmaSession(api_hosts=sandbox.other_host.removeprefix("https://")) as session:
            other = f"{sandbox.other_host}/api/v3"
            assert session.get(f"{other}/status/401").status_code == 401
            for _ in range(2):
                assert session.get(f"{sandbox.api_url}/echo").ok
                sandbox.revoke_all()
            assert session.get(f"{other}/echo").status_code == 200

    def test_a_token_of_another_process_that_was_revoked_too_is_replaced_by_the_next_call(self, environ, sandbox, echo):
        with AritmaSession() as idle, AritmaSession() as busy:
            idle.get(echo)
            sandbox.revoke_all()
            assert busy.get(echo).status_code == 200
            sandbox.revoke_all()
            assert idle.get(echo).status_code == 401  # one replay at the most, and the cache's token was spent on it
            assert idle.get(echo).status_code == 200
        assert sandbox.counts.token_requests == 3

    def test_an_api_that_accepts_the_token_again_has_it_renewed_again(self, session, sandbox, echo):
        session.get(f"{sandbox.api_url}/status/401")
        assert session.get(echo).status_code == 200
        sandbox.revoke_all()
        assert session.get(echo).status_code == 200
        assert sandbox.counts.token_requests == 3

    def test_403_is_no_reason_to_renew(self, session, sandbox, echo):
        sandbox.forbid_all = True
        assert session.get(echo).status_code == 403
        assert sandbox.counts.token_requests == 1

    @pytest.mark.parametrize(
        ("status", "accepted"), [(200, True), (403, True), (302, False), (404, False), (503, False)]
    )
    def test_an_answer_tells_whether_the_token_was_accepted(self, revoked, sandbox, status, accepted):
        revoked.get(f"{sandbox.api_url}/status/{status}")
        sandbox.revoke_all()
        response = revoked.get(f"{sandbox.api_url}/echo")
        assert response.status_code == (200 if accepted else 401)

    def test_an_error_of_the_renewal_reaches_the_caller(self, revoked, sandbox, echo):
        sandbox.answer_token_requests(Answer.error(400, "invalid_scope"))
        with pytest.raises(TokenError, match="invalid_scope"):
            revoked.get(echo)

    def test_a_transport_that_does_not_say_what_it_is_gets_no_replay(self, revoked, echo):
        class Anonymous(requests.adapters.HTTPAdapter):
            def send(self, request, **kwargs):
                response = super().send(request, **kwargs)
                del response.connection
                return response

        revoked.mount("https://", Anonymous())
        assert revoked.get(echo).status_code == 401
        assert revoked.get(echo).status_code == 200

    @pytest.fixture
    def broken(self, revoked):
        """A session whose 401s break off."""

        def broken_off(raw, *arguments, **kwargs):
            raw.close()  # as urllib3 does
            raise urllib3.exceptions.ProtocolError("the rest is missing")

        class Breaking(requests.adapters.HTTPAdapter):
            def send(self, request, **kwargs):
                response = super().send(request, **kwargs)
                if response.status_code == 401:
                    response.raw.stream = functools.partial(broken_off, response.raw)
                return response

        revoked.mount("https://", Breaking())
        return revoked

    def test_a_401_whose_body_breaks_off_is_answered_all_the_same(self, broken, echo):
        assert broken.get(echo).status_code == 200

    def test_a_401_whose_body_breaks_off_is_an_error_of_requests_where_it_is_the_answer(self, broken, sandbox, echo):
        sandbox.refuse_all = True
        with AritmaSession() as late:  # for which the token is too new to be replaced
            late.mount("https://", broken.get_adapter(echo))
            for session in (broken, late):
                with pytest.raises(requests.exceptions.ChunkedEncodingError, match="the rest is missing"):
                    session.get(echo)

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Answer.raw(HEAD_401 + b"Content-Length: 100\r\n\r\nhalf", status=401), "breaks off"),
            (Answer(401, b"no gzip", {"Content-Encoding": "gzip"}), "cannot be unpacked"),
            (Answer.raw(HEAD_401 + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", status=401), "is in no chunks"),
            (Answer.raw(HEAD_401 + b"\r\nthe end", status=401), "ends with the connection"),
            (Answer(401, b"{", {"Connection": "close"}), "says that the connection closes"),
            (Answer(401), "is empty"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_a_401_is_answered_with_a_replay_even_where_its_body(self, session, sandbox, echo, fault, kind):
        session.get(echo)
        sandbox.answer_calls(fault)
        response = session.get(echo, timeout=5)
        assert response.status_code == 200
        assert [old.status_code for old in response.history] == [401]
        assert session.get(echo).history == []
        assert sandbox.counts.token_requests == 2

    def test_a_401_with_a_chunk_of_negative_length_is_answered_and_takes_no_memory(self, session, sandbox, echo):
        session.get(echo)
        head = HEAD_401 + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n"
        sandbox.answer_calls(Answer.raw(head, flood=b"x" * 65536, status=401))
        tracemalloc.start()
        try:
            assert session.get(echo, timeout=5).status_code == 200
            assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
        finally:
            tracemalloc.stop()

    def test_a_401_without_end_is_answered_with_a_replay(self, session, sandbox, echo):
        session.get(echo)
        sandbox.answer_calls(ENDLESS)
        assert session.get(echo, timeout=5).status_code == 200
        assert session.get(echo).status_code == 200
        assert sandbox.counts.token_requests == 2

    def test_a_401_without_end_is_an_error_of_requests_where_it_is_the_answer(self, session, sandbox, echo):
        sandbox.refuse_all = True
        session.get(echo)
        with AritmaSession() as late:  # for which the token is too new to be replaced
            sandbox.answer_calls(ENDLESS)
            with pytest.raises(requests.RequestException, match="a 401 of more than 1048576 bytes"):
                late.get(echo, timeout=5)
            sandbox.refuse_all = False
            assert late.get(echo).status_code == 200

    def test_a_401_of_some_length_is_handed_over_whole(self, session, sandbox, echo):
        sandbox.refuse_all = True
        session.get(echo)
        with AritmaSession() as late:
            sandbox.answer_calls(Answer(401, b"no" * 500_000))
            assert late.get(echo).text == "no" * 500_000

    def test_a_streamed_401_without_end_is_answered_with_a_replay(self, session, sandbox, echo):
        session.get(echo)
        sandbox.answer_calls(ENDLESS)
        with session.get(echo, stream=True, timeout=5) as response:
            assert response.status_code == 200
            assert response.json()["path"] == "/api/v3/echo"
        assert session.get(echo).status_code == 200

    @pytest.mark.parametrize("turns", [2, 3])
    def test_401_now_and_then_costs_no_call_and_a_bounded_number_of_tokens(self, session, sandbox, echo, turns):
        """A node behind the balancer that knows no token: each replay gets an answer of another one."""
        for number in range(12):
            if number % turns == 1:
                sandbox.answer_calls(Answer(401))
            assert session.get(echo).status_code == 200
        assert sandbox.counts.token_requests <= 1 + 12 // turns

    def test_a_token_that_expires_while_requests_are_in_flight_loses_none(self, session, sandbox, echo):
        sandbox.answer_token_requests(Answer.token(lifetime=1, expires_in=3600))
        sandbox.call_delay = 0.3
        answers = at_once(8, lambda: [session.get(echo, timeout=30).status_code for _ in range(4)])
        assert answers == [[200] * 4] * 8
        assert sandbox.counts.token_requests == 2
        assert sandbox.counts.refused >= 1

    def test_a_request_that_was_made_by_hand_is_answered(self, revoked, echo):
        request = requests.PreparedRequest()
        request.prepare_method("GET")
        request.prepare_url(echo, {})
        request.prepare_headers({})
        revoked.auth(request)
        assert revoked.send(request).status_code == 200
