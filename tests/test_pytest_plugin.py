"""The fixtures for users' own tests, in suites such as theirs, run by pytest as they run it."""

from __future__ import annotations

import json
import os
import re
import textwrap

import pytest
import requests
import requests_mock

from aritma_session import DEVELOPMENT, PRODUCTION, AritmaAuth, AritmaSession, Environment
from aritma_session.mocking import AritmaMock

pytest_plugins = ["pytester"]

URL = "https://bankservice.zdata.no/api/v3/statements/acme"
DEMO = "https://bankservicedemo.zdata.no/api/v3/statements/acme"

#: Prints, when all is over, which modules there are.
MODULES = """
import json, sys

def pytest_unconfigure():
    print("MODULES", json.dumps(sorted(sys.modules)), file=sys.__stderr__)
"""

ADVICE = "use AritmaSession, or auth=AritmaAuth(), in an environment that the host belongs to"


@pytest.fixture
def suite(pytester, monkeypatch):
    """Run a suite in a process of its own, with warnings as errors: its result."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(*arguments, **files):
        pytester.makepyfile(**files)
        return pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", *arguments, timeout=50)

    return run


def modules_after(result):
    (line,) = (line for line in result.errlines if line.startswith("MODULES "))
    return set(json.loads(line.removeprefix("MODULES ")))


class TestMockFixture:
    def test_gives_tokens_and_harmless_settings(self, aritma_mock):
        aritma_mock.get(URL, json={"statements": []})
        with AritmaSession() as session:
            assert session.get(URL).json() == {"statements": []}
        assert [call.headers["Authorization"] for call in aritma_mock.calls] == [f"Bearer {aritma_mock.tokens[0]}"]
        assert [sent.text for sent in aritma_mock.token_requests] == [
            "grant_type=client_credentials&client_id=aritma-mock&client_secret=aritma-mock-secret&scope=bankservice"
        ]

    @pytest.fixture
    def surroundings(self, monkeypatch, tmp_path):
        """What a developer's shell may say."""
        monkeypatch.setenv("ARITMA_ENVIRONMENT", "https://id.example:8443/bank")
        monkeypatch.setenv("ARITMA_TENANT", "acme")
        monkeypatch.setenv("ARITMA_CLIENT_SECRET_FILE", str(tmp_path / "real"))
        monkeypatch.setenv("ARITMA_GRANT", "authorization_code")
        monkeypatch.setenv("ARITMA_CACHE", str(tmp_path / "real-cache"))

    def test_plays_the_environment_of_the_variables(self, surroundings, aritma_mock, tmp_path):
        aritma_mock.get("https://id.example:8443/echo", text="here")
        with AritmaSession() as session:
            assert session.get("https://id.example:8443/echo").text == "here"
        assert [sent.url for sent in aritma_mock.request_history] == [
            "https://id.example:8443/bank/.well-known/openid-configuration",
            "https://id.example:8443/bank/acme/connect/token",
            "https://id.example:8443/echo",
        ]
        assert not (tmp_path / "real-cache").exists()

    def test_fails_a_test_that_calls_without_a_token(self, suite):
        result = suite(
            test_bare=f"""
            import requests
            from aritma_session import AritmaSession

            def test_bare(aritma_mock):
                aritma_mock.get("{URL}")
                requests.get("{URL}")

            def test_of_the_other_environment(aritma_mock):
                aritma_mock.get("{DEMO}")
                with AritmaSession(environment="production") as session:
                    session.get("{DEMO}")

            def test_with_credentials_of_its_own(aritma_mock):
                aritma_mock.get("{URL}")
                requests.get("{URL}", headers={{"Authorization": "Basic b3duOm93bg=="}})
            """
        )
        result.assert_outcomes(passed=3, errors=2)
        for url in (URL, DEMO):
            result.stdout.fnmatch_lines([f"sent to Aritma without a token ({ADVICE}): GET {url}"])
        result.stdout.no_fnmatch_line("*pytest_plugin.py*")


class TestSandboxFixture:
    def test_points_sessions_at_the_sandbox(self, aritma_sandbox):
        with AritmaSession() as session:
            assert session.get(f"{aritma_sandbox.api_url}/statements/acme").ok
        assert aritma_sandbox.counts.token_requests == 1
        aritma_sandbox.refuse_all = True

    def test_is_as_new_for_each_test(self, aritma_sandbox):
        assert not aritma_sandbox.refuse_all
        assert aritma_sandbox.requests == ()
        with AritmaSession() as session:
            assert session.get(f"{aritma_sandbox.api_url}/echo").ok
        assert aritma_sandbox.counts.token_requests == 1, "the cache is the test's own, too"

    @pytest.fixture
    def surroundings(self, monkeypatch):
        monkeypatch.setenv("HTTPS_PROXY", "http://localhost:1")
        monkeypatch.setenv("NO_PROXY", "intranet.example")
        monkeypatch.setenv("ARITMA_TENANT", "other")

    def test_hears_nothing_of_the_surroundings(self, surroundings, aritma_sandbox):
        assert requests.get(f"{aritma_sandbox.api_url}/echo", auth=AritmaAuth()).ok
        assert os.environ["no_proxy"] == "intranet.example,localhost,127.0.0.1"
        assert "ARITMA_TENANT" not in os.environ


def test_the_worked_example(suite, request):
    page = (request.config.rootpath / "docs" / "testing.rst").read_text()
    blocks = re.findall(r"\.\. code-block:: python\n   :name: (\w+)\.py\n\n((?:   .*\n|\n)+)", page)
    assert [name for name, _ in blocks] == ["balances", "test_balances"]
    suite(**{name: textwrap.dedent(code) for name, code in blocks}).assert_outcomes(passed=7)


def test_a_suite_that_uses_no_fixture_pays_for_none(suite, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    files = {"conftest": MODULES, "test_nothing": "def test_nothing(): pass"}
    without, having = (modules_after(suite(*chosen, **files)) for chosen in ([], ["-p", "aritma_session"]))
    assert having - without == {"aritma_session", "aritma_session.pytest_plugin"}


def test_what_is_not_installed_is_named(suite):
    result = suite(
        conftest="import sys; sys.modules.update(requests_mock=None, trustme=None)",
        test_nothing="def test_mock(aritma_mock): pass\ndef test_sandbox(aritma_sandbox): pass",
    )
    result.assert_outcomes(errors=2)
    for fixture, module in (("aritma_mock", "requests_mock"), ("aritma_sandbox", "trustme")):
        result.stdout.fnmatch_lines([f'{fixture} needs {module}: pip install "aritma-session?pytest?" (*)'])
    result.stdout.no_fnmatch_line("*Traceback*")


class TestMock:
    """The mocker by itself, as where there are no fixtures."""

    @pytest.fixture
    def mock(self):
        with AritmaMock() as mock:
            yield mock

    @staticmethod
    def session(**settings):
        return AritmaSession("client", "mocked-secret", cache="memory", **settings)

    @pytest.mark.parametrize("tenant", [None, "acme"])
    @pytest.mark.parametrize(("environment", "url"), [(PRODUCTION, URL), (DEVELOPMENT, DEMO)])
    def test_plays_both_environments_whatever_the_tenant(self, mock, environment, url, tenant):
        mock.get(url)
        with self.session(environment=environment, tenant=tenant) as session:
            assert session.get(url).ok
        assert [sent.url for sent in mock.token_requests] == [environment.extended(tenant).token_endpoint]
        assert mock.problem is None

    @pytest.mark.parametrize(
        "environment", ["https://ID.example", Environment("https://id.example", hosts=("id.example",))]
    )
    def test_plays_what_is_added(self, mock, environment):
        mock.add_environment(environment)
        mock.get("https://id.example/echo")
        with self.session(environment=environment) as session:
            assert session.get("https://id.example/echo").ok
        assert requests.get("https://id.example/echo").ok
        assert mock.problem == (f"sent to Aritma without a token ({ADVICE}): GET https://id.example/echo")

    def test_plays_no_other(self, mock):
        with self.session(environment="https://id.example") as session, pytest.raises(requests_mock.NoMockAddress):
            session.get("https://id.example/echo")

    def test_heeds_no_variables_that_are_wrong(self, mock, monkeypatch):
        monkeypatch.setenv("ARITMA_ENVIRONMENT", "http://")
        mock.get(URL)
        with self.session(environment="production") as session:
            assert session.get(URL).ok

    def test_knows_the_hosts_that_variables_add(self, mock, monkeypatch):
        monkeypatch.setenv("ARITMA_API_HOSTS", "bank.example")
        mock.get("https://bank.example/")
        assert requests.get("https://bank.example/").ok
        assert mock.problem.endswith("GET https://bank.example/")

    def test_grants_the_scope_that_is_asked_for(self, mock):
        for scope in ("api reconcile", "bankservice"):
            with self.session(scope=scope) as session:
                assert session.auth.token().scope == scope

    def test_grants_a_default_scope(self, mock):
        with self.session(scope="") as session:
            assert session.auth.token().scope == "bankservice"

    def test_lets_a_token_be_revoked(self, mock):
        with self.session() as session:
            session.auth.token()
            assert session.revoke()
        assert [sent.path for sent in mock.request_history] == ["/connect/token", "/connect/revocation"]

    def test_answers_nothing_else_of_aritma_id(self, mock):
        with self.session() as session, pytest.raises(requests_mock.NoMockAddress):
            session.get(PRODUCTION.token_endpoint)

    def test_gives_another_token_after_a_401(self, mock):
        mock.get(URL, [{"status_code": 401}, {"json": {}}])
        with self.session() as session:
            assert session.get(URL).ok
        assert [call.headers["Authorization"] for call in mock.calls] == [f"Bearer {text}" for text in mock.tokens]
        assert len(set(mock.tokens)) == 2

    def test_comes_after_what_is_registered(self, mock):
        mock.post(PRODUCTION.token_endpoint, json={"access_token": "own", "token_type": "Bearer", "expires_in": 60})
        mock.get(URL)
        with self.session() as session:
            session.get(URL)
        assert mock.calls[0].headers["Authorization"] == "Bearer own"
        assert mock.tokens == ()

    def test_is_reset_as_any_mocker(self, mock):
        mock.get(URL)
        with self.session() as session:
            session.get(URL)
            mock.reset()
            session.get(URL)
        assert len(mock.calls) == mock.call_count == len(mock.tokens) == 1

    def test_serves_as_a_decorator(self):
        @AritmaMock()
        def decorated(mock):
            mock.get(URL)
            with self.session() as session:
                return session.get(URL).ok, len(mock.tokens)

        assert decorated() == (True, 1)
