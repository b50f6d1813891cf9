"""Nothing secret is within reach of what a session gives out."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import traceback

import pytest
import requests

from aritma_session import AritmaSession, TokenError
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

    def test_no_log_record_of_any_logger_holds_a_secret_or_a_token(self, environ, sandbox, echo, caplog):
        loggers = [logging.getLogger(name) for name in ("", *logging.root.manager.loggerDict)]
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(1)
        try:
            with AritmaSession() as one, AritmaSession() as two:
                calls = [session.get(echo) for session in (one, two, one)]
                sandbox.revoke_all()
                calls += [session.get(echo) for session in (one, two)]
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
        tokens = {call.request.headers["Authorization"].split()[1] for call in calls}
        assert len(tokens) == 2
        said = [record.getMessage() + repr(record.args) for record in caplog.records]
        assert any("took over" in text for text in said)
        assert holding(said, sandbox.client_secret, *tokens) == []

    @pytest.mark.parametrize("variable", ["ARITMA_CLIENT_SECRET", "ARITMA_CLIENT_SECRET_FILE"])
    def test_a_setting_that_is_wrong_leads_to_no_secret(self, monkeypatch, variable, tmp_path):
        wrong, path = "never-show-this\nnor-this", tmp_path / "secret"
        path.write_text(wrong)
        for name in ("ARITMA_CLIENT_SECRET", "ARITMA_CLIENT_SECRET_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, str(path) if variable.endswith("FILE") else wrong)
        with pytest.raises(ValueError, match=variable) as caught:
            AritmaSession("client")
        chain = [caught.value, caught.value.__cause__, caught.value.__context__]
        frames = [frame for error in chain if error for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
        assert len(frames) >= 4
        assert not [frame for frame in frames if "never-show-this" in repr(frame.f_locals)]
        assert "line break" in str(caught.value)

    def test_the_disk_holds_nothing_of_the_secret(self, session, sandbox, echo, cache):
        session.get(echo)
        for folder, _, names in os.walk(cache):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    assert sandbox.client_secret.encode() not in file.read()
