"""Nothing secret is within reach of what a session gives out."""

from __future__ import annotations

import base64
import binascii
import copy
import json
import logging
import os
import pickle
import traceback
from urllib.parse import quote_plus

import pytest
import requests

from aritma_session import AritmaSession, CredentialsRefused, TokenError
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


#: What a token endpoint that means harm could make of a secret that it was sent.
ECHOES = {
    "as it is": str,
    "in upper case": str.upper,
    "in title case": str.title,
    "backwards": lambda text: text[::-1],
    "without its last letter": lambda text: text[:-1],
    "without its first letter": lambda text: text[1:],
    "its first six letters": lambda text: text[:6],
    "its last six letters": lambda text: text[-6:],
    "cut in two": lambda text: f"{text[:10]} and then {text[10:]}",
    "split by a space of no width": lambda text: "\u200b".join((text[:5], text[5:])),
    "with soft hyphens": "\u00ad".join,
    "letter by letter": " ".join,
    "in a column": "\n".join,
    "in wide letters": lambda text: "".join(chr(ord(letter) + 0xFEE0) for letter in text),
    "in JSON escapes": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "in character references": lambda text: "".join(f"&#x{ord(letter):x};" for letter in text),
    "percent-encoded": lambda text: "".join(f"%{ord(letter):02X}" for letter in text),
    "in Base64": lambda text: base64.b64encode(text.encode()).decode(),
    "in Base64 behind one letter": lambda text: base64.b64encode(b"x" + text.encode()).decode(),
    "in Base64 behind two letters": lambda text: base64.b64encode(b"xy" + text.encode()).decode(),
    "in Base64 for URLs": lambda text: base64.urlsafe_b64encode(b"?" + text.encode()).decode().rstrip("="),
    "in Base64 in upper case": lambda text: base64.b64encode(text.encode()).decode().upper(),
    "in Base64 without its first letter": lambda text: base64.b64encode(text.encode()).decode()[1:],
    "in Base64 backwards": lambda text: base64.b64encode(text.encode()).decode()[::-1],
    "in Base64 of UTF-16": lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
    "as HTTP Basic": lambda text: "Basic " + base64.b64encode(f"sandbox-client:{text}".encode()).decode(),
    "as HTTP Basic of a form": lambda text: (
        "Basic " + base64.b64encode(f"sandbox-client:{quote_plus(text)}".encode()).decode()
    ),
    "in hexadecimal": lambda text: text.encode().hex(),
    "in upper-case hexadecimal": lambda text: text.encode().hex().upper(),
    "in hexadecimal with colons": lambda text: binascii.hexlify(text.encode(), ":").decode(),
    "in hexadecimal backwards": lambda text: text.encode().hex()[::-1],
    "in hexadecimal, letters backwards": lambda text: text[::-1].encode().hex(),
    "in hexadecimal without its first digit": lambda text: text.encode().hex()[1:],
    "in UTF-16": lambda text: text.encode("utf-16-le").decode("latin-1"),
}

#: Ways to send a text back: an answer for each.
CARRIERS = {
    "description": lambda text: Answer.error(400, "invalid_client", f"not {text}!"),
    "code": lambda text: Answer.error(400, f"not {text}!"),
    "JSON that is not ASCII": lambda text: Answer(
        401, json.dumps({"error": "x", "error_description": text}, ensure_ascii=False).encode("utf-8", "replace")
    ),
    "page": lambda text: Answer.html(f"<p>not {text}!</p>"),
    "header": lambda text: Answer(400, headers={"X-Debug": ascii(f"not {text}!")}),
}


class TestEchoes:
    """A server that sends the secret back in some form is not quoted."""

    @pytest.mark.parametrize("carrier", CARRIERS)
    @pytest.mark.parametrize("echo", ECHOES)
    def test_are_not_shown(self, environ, sandbox, monkeypatch, echo, carrier):
        secret = "Xk7-Trombone_94~q?"
        monkeypatch.setenv("ARITMA_CLIENT_SECRET", secret)
        sent = ECHOES[echo](secret)
        sandbox.answer_token_requests(CARRIERS[carrier](sent))
        with AritmaSession() as session:
            session.verify = sandbox.ca_bundle
            with pytest.raises(TokenError) as caught:
                session.get(f"{sandbox.api_url}/echo")
        error = caught.value
        assert "***" in error.response.headers.get("X-Debug", error.response.text)
        # Nor any piece of what was sent from which a piece of the secret could be read.
        size = max(6, len(sent) * 6 // len(secret) + 4)
        pieces = {sent[start : start + size] for start in range(max(1, len(sent) - size + 1))}
        found = reachable(vars(error), error.args, error.__cause__, error.__context__)
        assert [text for text in found if isinstance(text, str) and any(piece in text for piece in pieces)] == []
        assert holding(found, secret) == []
        assert holding([str(error), repr(error), "".join(traceback.format_exception(error))], secret) == []

    def test_leave_the_meaning_of_a_refusal_alone(self, environ, sandbox, monkeypatch, echo):
        """Where the secret has words of the protocol in it, the error codes are still known."""
        monkeypatch.setenv("ARITMA_CLIENT_SECRET", "invalid_client-invalid_scope")
        with AritmaSession() as session:
            session.verify = sandbox.ca_bundle
            with pytest.raises(CredentialsRefused) as caught:
                session.get(echo)
        assert caught.value.error == "invalid_client"

    def test_of_a_secret_of_signs_hide_no_other_text(self, environ, sandbox, monkeypatch, echo):
        monkeypatch.setenv("ARITMA_CLIENT_SECRET", "*!~-+-~!*")
        with AritmaSession() as session:
            session.verify = sandbox.ca_bundle
            sandbox.answer_token_requests(Answer.error(400, "invalid_grant", "No such client, says this server."))
            with pytest.raises(TokenError) as caught:
                session.get(echo)
        assert caught.value.error_description == "No such client, says this server."
