"""What can be caught, and what it takes along to another process."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
import requests

import aritma_session
from aritma_session import CredentialsRefused, LoginRequired, TokenEndpointUnavailable, TokenError, exceptions

ALL = [TokenError, CredentialsRefused, LoginRequired, TokenEndpointUnavailable]
MESSAGE = "Aritma ID refused the client: check ARITMA_CLIENT_ID"
SAID = {
    "error": "invalid_client",
    "error_description": "no such client",
    "error_uri": "https://docs.example/invalid_client",
}


def answer(status=401, text='{"error": "invalid_client"}'):
    response = requests.Response()
    response.status_code = status
    response.headers["Content-Type"] = "application/json"
    response._content = text.encode()
    return response


def drawn():
    """Each class in the drawing of the module's docstring, with the one it hangs below."""
    parents, above = {}, []
    for line in exceptions.__doc__.splitlines():
        entry = re.fullmatch(r" {4}([ \u2502\u251c\u2514\u2500]*)([A-Za-z.]+)( {2,}.*)?", line)
        if entry:
            indent, name = len(entry[1]), entry[2]
            above = [(further_left, other) for further_left, other in above if further_left < indent]
            parents[name] = above[-1][1] if above else None
            above.append((indent, name))
    return parents


def test_the_tree_is_as_drawn():
    root = "requests.RequestException"
    names = {requests.RequestException: root, **{getattr(exceptions, name): name for name in exceptions.__all__}}
    assert drawn() == {root: None, **{names[kind]: names[kind.__base__] for kind in ALL}}


def test_every_exception_is_public():
    assert set(exceptions.__all__) <= set(aritma_session.__all__)
    assert set(exceptions.__all__) == {kind.__name__ for kind in ALL}


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("caught", [TokenError, requests.RequestException, OSError])
def test_an_except_clause_written_for_requests_catches_it(kind, caught):
    with pytest.raises(caught, match=r"^no token$"):
        raise kind("no token")


def test_the_two_that_ask_for_different_deeds_do_not_catch_each_other():
    assert not issubclass(CredentialsRefused, TokenEndpointUnavailable)
    assert not issubclass(TokenEndpointUnavailable, CredentialsRefused)


@pytest.mark.parametrize("kind", ALL)
def test_no_exception_is_a_value_error(kind):
    assert not issubclass(kind, ValueError), "that is what a wrong setting is"


@pytest.mark.parametrize("kind", ALL)
def test_what_the_server_said_is_there(kind):
    response = answer()
    error = kind(MESSAGE, **SAID, response=response)
    assert str(error) == MESSAGE
    assert {name: getattr(error, name) for name in SAID} == SAID
    assert error.response is response, "a response of status 401 is false, and there all the same"


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("name", [*SAID, "response", "request"])
def test_what_the_server_did_not_say_is_none(kind, name):
    assert getattr(kind(MESSAGE), name) is None


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy]
    + [lambda error, n=n: pickle.loads(pickle.dumps(error, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)],
    ids=["copy", "deepcopy", *(f"pickle {n}" for n in range(pickle.HIGHEST_PROTOCOL + 1))],
)
def test_a_copy_or_a_pickle_keeps_everything(kind, copied):
    error = copied(kind(MESSAGE, **SAID, response=answer()))
    assert type(error) is kind
    assert str(error) == MESSAGE
    assert error.args == (MESSAGE,)
    assert {name: getattr(error, name) for name in SAID} == SAID
    assert (error.response.status_code, error.response.json()) == (401, {"error": "invalid_client"})


@pytest.mark.parametrize("kind", ALL)
def test_a_pickle_of_one_without_an_answer_keeps_its_message(kind):
    error = pickle.loads(pickle.dumps(kind(MESSAGE)))
    assert (type(error), str(error), error.error, error.response) == (kind, MESSAGE, None, None)
