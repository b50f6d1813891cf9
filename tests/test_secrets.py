"""Nothing secret is within reach of what a session gives out."""

from __future__ import annotations

import copy
import os
import pickle

import pytest
import requests

from aritma_session import TokenError
from aritma_session.sandbox import Answer

from helpers import holding, reachable


class TestSecrets:
    def test_repr_shows_neither_secret_nor_token(self, session, sandbox, echo):
        token = session.get(echo).request.headers["Authorization"].split()[1]
        auth = session.auth
        text = "".join(map(repr, [session, auth, auth._settings, auth._endpoint, auth._source, auth._source._token]))
        assert sandbox.client_secret not in text
        assert token not in text
        assert sandbox.client_id in repr(session.auth)

    def test_nothing_reachable_from_a_response_holds_the_secret(self, session, sandbox, echo):
        session.get(echo)
        sandbox.revoke_all()
        response = session.get(echo)
        token = response.request.headers["Authorization"]
        del response._content
        found = reachable(vars(response), vars(response.history[0]))
        assert holding(found, sandbox.client_secret) == []
        assert set(holding(found, token.split()[1])) <= {token}

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

    def test_nothing_reachable_from_an_exception_holds_the_secret(self, session, sandbox, echo, monkeypatch):
        monkeypatch.setattr("aritma_session.endpoint.BACKOFF", 0.0)
        for answer in (
            Answer.error(401, "invalid_client"),
            Answer.html(),
            Answer.reset(),
            Answer.reset(),
            Answer.reset(),
        ):
            sandbox.answer_token_requests(answer)
        for _ in range(3):
            with pytest.raises(TokenError) as caught:
                session.get(echo)
            error = caught.value
            parts = vars(error), error.args, error.__cause__, error.__context__
            assert holding(reachable(*parts), sandbox.client_secret) == []
            session.auth._source._failure = None

    def test_the_disk_holds_nothing_of_the_secret(self, session, sandbox, echo, cache):
        session.get(echo)
        for folder, _, names in os.walk(cache):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    assert sandbox.client_secret.encode() not in file.read()
