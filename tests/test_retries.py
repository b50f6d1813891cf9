"""What arrives when a request is sent more than once, and the recipe for that."""

from __future__ import annotations

import contextlib
import re
import textwrap
import types

import pytest
import requests

from aritma_session.sandbox import Answer

ORDER = {"messageId": "m-1", "amount": 10}
KEY = "a-key-of-this-order"


@pytest.fixture
def recipe(request, sandbox, environ):
    """The module that the page shows, and a session that it makes."""
    page = (request.config.rootpath / "docs" / "retries.rst").read_text()
    (code,) = re.findall(r"\.\. code-block:: python\n   :name: payments\.py\n\n((?:   .*\n|\n)+)", page)
    module = types.ModuleType("payments")
    exec(textwrap.dedent(code), vars(module))
    with module.bank_session(sandbox.api_url) as module.session:
        yield module


@pytest.fixture
def arrived(sandbox):
    """The calls that arrived: method, path, Idempotency-Key and token."""

    def calls():
        return [
            (call.method, call.path, call.headers.get("idempotency-key"), call.headers["authorization"])
            for call in sandbox.requests
            if call.kind == "api"
        ]

    return calls


def keys(calls):
    assert {call[:2] for call in calls} == {("POST", "/api/v3/payments")}
    return [key for _, _, key, _ in calls]


def test_a_key_stays_the_same_over_a_replay_after_a_401(session, sandbox, arrived):
    session.auth.token()
    sandbox.revoke_all()
    url, headers = f"{sandbox.api_url}/payments", {"Idempotency-Key": KEY}
    answer = session.post(url, json=ORDER, headers=headers)
    assert (answer.status_code, answer.json()) == (201, {**ORDER, "status": "RECEIVED"})
    (*_, before), (*_, after) = arrived()
    assert keys(arrived()) == [KEY, KEY]
    assert before != after
    assert headers == {"Idempotency-Key": KEY}


@pytest.mark.parametrize("trouble", [Answer.error(503), Answer.error(429, retry_after=0), Answer.reset()])
def test_a_payment_with_a_key_is_tried_again(recipe, sandbox, arrived, trouble):
    sandbox.answer_calls(trouble)
    answer = recipe.pay(recipe.session, ORDER, KEY, sandbox.api_url)
    assert answer.status_code == 201
    assert keys(arrived()) == [KEY, KEY]


def test_a_payment_whose_answer_is_lost_is_made_once(recipe, sandbox, arrived):
    sandbox.answer_calls(Answer(kind="reset", fields={}))
    answer = recipe.pay(recipe.session, ORDER, KEY, sandbox.api_url)
    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (201, "true")
    assert keys(arrived()) == [KEY, KEY]


def test_a_payment_whose_answer_breaks_off_can_be_sent_again(recipe, sandbox, arrived):
    sandbox.answer_calls(Answer.cut())
    with contextlib.suppress(requests.RequestException):  # older releases of urllib3 do not notice
        recipe.pay(recipe.session, ORDER, KEY, sandbox.api_url)
    again = recipe.pay(recipe.session, ORDER, KEY, sandbox.api_url)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert keys(arrived()) == [KEY, KEY]


def test_trouble_after_a_401_changes_no_key(recipe, sandbox, arrived):
    recipe.session.auth.token()
    sandbox.revoke_all()
    sandbox.answer_calls(Answer.changed(), Answer.error(503))
    answer = recipe.pay(recipe.session, ORDER, KEY, sandbox.api_url)
    assert (answer.status_code, len(answer.history)) == (201, 1)
    assert keys(arrived()) == [KEY] * 3
    refused, *others = [authorization for *_, authorization in arrived()]
    assert len(set(others)) == 1
    assert refused not in others


def test_what_reads_is_tried_again(recipe, sandbox, arrived):
    sandbox.answer_calls(Answer.error(503))
    assert recipe.session.get(f"{sandbox.api_url}/statements/acme", timeout=20).ok
    assert len(arrived()) == 2


def test_any_other_post_is_not(recipe, sandbox, arrived, echo):
    sandbox.answer_calls(Answer.error(503), Answer.reset())
    assert recipe.session.post(echo, json={}, timeout=20).status_code == 503
    with pytest.raises(requests.ConnectionError):
        recipe.session.post(echo, json={}, timeout=20)
    assert len(arrived()) == 2


def test_the_last_answer_is_handed_over(recipe, sandbox, arrived):
    adapter = recipe.session.get_adapter(f"{sandbox.api_url}/payments")
    adapter.max_retries = adapter.max_retries.new(backoff_factor=0)
    sandbox.answer_calls(*[Answer.error(503)] * 4)
    assert recipe.pay(recipe.session, ORDER, KEY, sandbox.api_url).status_code == 503
    assert keys(arrived()) == [KEY] * 4


def test_token_requests_are_tried_no_more_than_ever(recipe, sandbox):
    assert recipe.session.get_adapter(sandbox.token_endpoint).max_retries.total == 0
