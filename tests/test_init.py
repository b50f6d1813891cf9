"""The public names: listed, found, and fetched no sooner than needed."""

from __future__ import annotations

import ast
import importlib
import inspect

import pytest

import aritma_session

from helpers import results

#: What is imported where it is first needed, and by nobody who only asks for this package.
HEAVY = ("requests", "urllib3", "oauthlib", "requests_oauthlib", "filelock", "platformdirs")

#: Runs the first argument in a fresh interpreter and prints which of the others' names are modules that it imported.
IMPORTED = """
import json, sys
exec(sys.argv[1])
print(json.dumps([name for name in sys.argv[2:] if name in sys.modules]))
"""


def written_for_type_checkers():
    """The home of each name, as the imports that only type checkers read have it."""
    tree = ast.parse(inspect.getsource(aritma_session))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {alias.name: node.module for node in block.body for alias in node.names}


@pytest.mark.parametrize("name", aritma_session.__all__)
def test_every_public_name_can_be_imported(name):
    namespace = {}
    exec(f"from aritma_session import {name}", namespace)
    home = importlib.import_module(f"aritma_session.{aritma_session._HOMES[name]}")
    assert namespace[name] is getattr(home, name)
    assert name in home.__all__


def test_the_list_of_public_names_is_sorted_and_says_each_once():
    names = aritma_session.__all__
    assert names == [*sorted(filter(str.isupper, names)), *sorted(name for name in names if not name.isupper())]
    assert len(set(names)) == len(names)


def test_the_list_the_homes_and_the_type_checkers_imports_agree():
    assert set(aritma_session.__all__) == set(aritma_session._HOMES)
    assert written_for_type_checkers() == aritma_session._HOMES


def test_a_star_import_gives_the_public_names():
    namespace = {}
    exec("from aritma_session import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(aritma_session.__all__)


def test_dir_lists_what_is_public(start):
    code = "import json, aritma_session; print(json.dumps(dir(aritma_session)))"
    (listed,) = results([start(code)])
    assert {*aritma_session.__all__, "__version__", "__all__", "__doc__"} <= set(listed), "before any has been fetched"
    assert listed == sorted(set(listed))
    assert set(aritma_session.__all__) <= set(dir(aritma_session)), "and after"


@pytest.mark.parametrize("name", ["Session", "aritma_session", "_Token", "token", "__wrapped__", ""])
def test_an_unknown_attribute_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=rf"module 'aritma_session' has no attribute '{name}'"):
        getattr(aritma_session, name)


def test_an_unknown_name_is_an_import_error():
    with pytest.raises(ImportError, match="cannot import name 'Nothing' from 'aritma_session'"):
        exec("from aritma_session import Nothing")


@pytest.mark.parametrize("name", aritma_session.__all__)
def test_a_name_is_fetched_once(name):
    assert getattr(aritma_session, name) is getattr(aritma_session, name)
    assert name in vars(aritma_session), "so that the next access is that of any module"


@pytest.mark.parametrize(
    "code",
    [
        "import aritma_session",
        "import aritma_session; dir(aritma_session), aritma_session.__version__",
        "from aritma_session import DEVELOPMENT, PRODUCTION, Environment, Token",
        "from aritma_session import FileStore, MemoryStore, TokenStore",
        "from aritma_session.settings import Settings; Settings.resolve('client', 'secret', cache='./tokens')",
    ],
)
def test_what_is_heavy_is_not_imported(start, code):
    assert results([start(IMPORTED, code, *HEAVY)]) == [[]]


@pytest.mark.parametrize("name", ["AritmaAuth", "AritmaSession", "TokenError"])
def test_what_needs_requests_imports_that_and_nothing_heavier(start, name):
    code = f"from aritma_session import {name}"
    assert results([start(IMPORTED, code, "requests", "oauthlib", "requests_oauthlib", "filelock")]) == [["requests"]]
