"""Fixtures for the tests of programs that use this library.

pytest loads this module in every suite where the library is installed: what a fixture needs is imported by the fixture.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .mocking import AritmaMock
    from .sandbox import Sandbox

__all__ = ["aritma_mock", "aritma_sandbox"]

#: What says where and for what, and holds nothing secret.
_HARMLESS = {f"ARITMA_{name}" for name in ("ENVIRONMENT", "TENANT", "SCOPE", "API_HOSTS", "TOKEN_TIMEOUT")}


@pytest.fixture
def aritma_mock(monkeypatch: pytest.MonkeyPatch) -> Iterator[AritmaMock]:
    """A ``requests_mock.Mocker`` that gives tokens; at the end, every call to Aritma must have borne one.

    Credentials and cache are the test's own, whatever the variables said before.
    """
    with _extra("aritma_mock"):
        from .mocking import AritmaMock
    _forget_settings(monkeypatch, but=_HARMLESS)
    monkeypatch.setenv("ARITMA_CLIENT_ID", "aritma-mock")
    monkeypatch.setenv("ARITMA_CLIENT_SECRET", "aritma-mock-secret")
    monkeypatch.setenv("ARITMA_CACHE", "memory")
    with AritmaMock() as mock:
        yield mock
    if (problem := mock.problem) is not None:
        pytest.fail(problem, pytrace=False)


@pytest.fixture
def aritma_sandbox(
    _aritma_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Sandbox:
    """A local Aritma ID and bank API, as if newly started, which sessions made in the test talk to."""
    _aritma_sandbox.reset()
    _forget_settings(monkeypatch)
    for name, value in _aritma_sandbox.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ARITMA_CACHE", str(tmp_path_factory.mktemp("aritma-cache")))
    # A proxy knows nothing of this machine's own servers.
    bypassed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    monkeypatch.setenv("no_proxy", ",".join(filter(None, [bypassed, "localhost", "127.0.0.1"])))
    return _aritma_sandbox


@pytest.fixture(scope="session")
def _aritma_sandbox() -> Iterator[Sandbox]:
    with _extra("aritma_sandbox"):
        from .sandbox import Sandbox
    with Sandbox() as sandbox:
        yield sandbox


@contextlib.contextmanager
def _extra(fixture: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        pytest.fail(f'{fixture} needs {error.name}: pip install "aritma-session[pytest]" ({error})', pytrace=False)


def _forget_settings(monkeypatch: pytest.MonkeyPatch, but: frozenset[str] | set[str] = frozenset()) -> None:
    for name in [name for name in os.environ if name.startswith("ARITMA_") and name not in but]:
        monkeypatch.delenv(name)
