"""What the command finds when it asks for a token past the cache."""

from __future__ import annotations

import email.utils
import inspect
import json
import os
import time

import pytest

from aritma_session import AritmaAuth, FileStore, MemoryStore, Token, cli, settings
from aritma_session.cli import check, given
from aritma_session.sandbox import Answer
from aritma_session.settings import Settings

from helpers import holding, on_terminal


@pytest.fixture
def report(environ, capsys):
    """Run the check: its status, and what it says in JSON, with the checks by name."""

    def runner(*arguments):
        status = cli.main(["check", "--json", *arguments])
        found = json.loads(capsys.readouterr().out)
        assert found["ok"] == (status == 0)
        found["checks"] = {each["name"]: (each["status"], each["message"]) for each in found["checks"]}
        return status, found

    return runner


@pytest.fixture
def still(monkeypatch):
    """No pause between two tries of a token request."""
    monkeypatch.setattr("aritma_session.endpoint.BACKOFF", 0.0)


def cached():
    """The token of the settings that the environment says."""
    found = Settings.resolve()
    return found.cache.load(found.cache_key)


def keep(token):
    found = Settings.resolve()
    found.cache.save(found.cache_key, token)


class TestSettings:
    def test_are_told_with_where_they_come_from(self, report, sandbox, cache, monkeypatch, tmp_path):
        (tmp_path / "secret").write_text(sandbox.client_secret)
        monkeypatch.delenv("ARITMA_CLIENT_SECRET")
        monkeypatch.setenv("ARITMA_CLIENT_SECRET_FILE", str(tmp_path / "secret"))
        monkeypatch.setenv("ARITMA_SCOPE", "")
        _, found = report("--extra", "audience=https://api", "--token-endpoint-auth-method", "client_secret_post")
        told = {name: (entry["value"], entry["source"]) for name, entry in found["settings"].items()}
        assert told == {
            "client_id": (sandbox.client_id, "ARITMA_CLIENT_ID"),
            "client_secret": (None, "ARITMA_CLIENT_SECRET_FILE"),
            "environment": (sandbox.issuer, "ARITMA_ENVIRONMENT"),
            "tenant": (None, "default"),
            "scope": ([], "ARITMA_SCOPE"),
            "cache": (f"{cache}/aritma-session", "ARITMA_CACHE"),
            "api_hosts": ([], "default"),
            "token_timeout": ([10.0, 30.0], "default"),
            "grant": ("client_credentials", "default"),
            "username": (None, "default"),
            "token_endpoint_auth_method": ("client_secret_post", "--token-endpoint-auth-method"),
            "token_endpoint_auth_signing_alg": (None, "default"),
            "private_key_id": (None, "default"),
            "extra": (["audience"], "--extra"),
        }

    def test_that_there_are_are_all_told(self):
        names = set(inspect.signature(Settings.resolve).parameters)
        assert names == {*given._OTHERS, *given._SECRETS}

    def test_that_are_wrong_are_told_without_a_value(self, report, monkeypatch, sandbox):
        monkeypatch.setenv("ARITMA_CLIENT_ID", "")
        status, found = report()
        assert status == 1
        assert found["checks"] == {
            "settings": (
                "failed",
                "client_id is missing: pass --client-id or set the environment variable ARITMA_CLIENT_ID",
            )
        }
        assert found["settings"]["environment"] == {"value": None, "source": "ARITMA_ENVIRONMENT"}
        assert (found["cache"], found["token"]) == (None, None)
        assert sandbox.requests == ()


class TestToken:
    def test_that_is_new_is_judged_and_kept(self, report, sandbox):
        status, found = report()
        assert status == 0
        assert {name: kind for name, (kind, _) in found["checks"].items()} == dict.fromkeys(
            ("settings", "cache", "server", "token", "claims", "clock", "scope"), "ok"
        )
        assert found["checks"]["server"][1] == sandbox.token_endpoint
        token = found["token"]
        assert (token["kept"], token["lifetime"], token["scope"]) == (True, 3600, ["bankservice"])
        claims = token["claims"]
        assert (claims["iss"], claims["client_id"]) == (sandbox.issuer, sandbox.client_id)
        assert claims["exp"] - claims["iat"] == pytest.approx(3600, abs=2)
        assert cached().expires_at == token["expires_at"]
        assert abs(found["clock_difference"]) < check._DIFFERENCE
        assert sandbox.counts.token_requests == 1

    def test_does_not_take_the_place_of_a_good_one(self, report, sandbox):
        now = time.time()
        keep(Token("a.good.one", now, now + 3600))
        _, found = report()
        assert found["token"]["kept"] is False
        assert "not kept, as the cached one is good for " in found["checks"]["token"][1]
        assert cached().access_token == "a.good.one"
        assert sandbox.counts.token_requests == 1

    @pytest.mark.parametrize("age", [3000, 4000], ids=["ageing", "expired"])
    def test_takes_the_place_of_one_that_is_not_as_good(self, report, age):
        now = time.time()
        keep(Token("an.old.one", now - age, now - age + 3600))
        assert report()[1]["token"]["kept"] is True
        assert cached().access_token != "an.old.one"

    def test_does_not_get_in_the_way_of_another_process(self, report):
        found = Settings.resolve()
        with found.cache.lock(found.cache_key) as held:
            assert held
            _, said = report()
        assert "not kept, as another process is fetching one" in said["checks"]["token"][1]
        assert cached() is None

    def test_in_memory_is_kept_nowhere(self, report):
        status, found = report("--cache", "memory")
        assert (status, found["cache"]) == (0, {"place": "memory", "shared": False})
        assert found["checks"]["cache"] == ("ok", "in memory: no token is shared with other processes")
        assert found["checks"]["token"][1].endswith("; not kept")

    def test_that_is_refused_says_why(self, report, monkeypatch):
        monkeypatch.setenv("ARITMA_CLIENT_SECRET", "wrong-secret")
        status, found = report()
        assert (status, found["token"]) == (1, None)
        kind, message = found["checks"]["token"]
        assert (kind, found["checks"]["server"][0], found["checks"]["clock"][0]) == ("failed", "ok", "ok")
        assert "check client_id and client_secret" in message
        assert "wrong-secret" not in json.dumps(found)

    def test_that_is_no_jwt_is_good_too(self, report, sandbox):
        sandbox.answer_token_requests(
            *(Answer.json({"access_token": text, "token_type": "Bearer"}) for text in ("opaque", "a.-.c", "a.MQ.c"))
        )
        for _ in range(3):
            status, found = report("--cache", "memory")
            assert (status, found["token"]["claims"]) == (0, None)
            assert found["checks"]["claims"] == ("skipped", "the token is no JWT, and cannot be read here")
            assert found["checks"]["scope"] == ("ok", "as asked for: bankservice")

    def test_of_another_client_or_issuer_is_a_warning(self, report, monkeypatch, sandbox):
        monkeypatch.setenv("ARITMA_TENANT", "acme")
        sandbox.answer_token_requests(Answer.token(scope=None))
        monkeypatch.setattr(check, "_claims_of", lambda _: {"iss": "https://x", "client_id": "y\x1b", "scope": "z"})
        status, found = report()
        assert (status, found["checks"]["claims"][0]) == (0, "warning")
        message = found["checks"]["claims"][1]
        assert f"iss is 'https://x' and not '{sandbox.issuer}/acme', client_id is 'y\\x1b' and not" in message
        assert found["token"]["scope"] == ["z"]

    def test_with_less_scope_than_asked_for_is_a_warning(self, report, sandbox):
        sandbox.answer_token_requests(Answer.token(scope="bankservice"))
        status, found = report("--scope", "bankservice api reconcile")
        assert (status, found["checks"]["scope"][0]) == (0, "warning")
        assert found["checks"]["scope"][1].startswith("api reconcile was asked for and not granted")


class TestServer:
    def test_that_is_not_there(self, report, still):
        status, found = report("--environment", "https://localhost:1")
        assert (status, found["checks"]["server"][0]) == (1, "failed")
        assert "could not be reached" in found["checks"]["server"][1]
        assert found["checks"]["clock"] == ("skipped", "no answer said what time it is")
        assert set(found["checks"]) == {"settings", "cache", "server", "clock"}

    def test_that_describes_itself_and_gives_no_token(self, report, still, sandbox):
        sandbox.answer_token_requests(*[Answer.reset()] * 3)
        status, found = report()
        assert (status, found["checks"]["server"][0]) == (1, "failed")
        assert "token" not in found["checks"]

    def test_that_is_not_asked_as_the_secret_is_gone(self, report, sandbox, monkeypatch, tmp_path):
        path = tmp_path / "secret"
        path.write_text(sandbox.client_secret)
        monkeypatch.delenv("ARITMA_CLIENT_SECRET")
        monkeypatch.setenv("ARITMA_CLIENT_SECRET_FILE", str(path))
        examine = check._Examination._examine_server
        monkeypatch.setattr(
            check._Examination, "_examine_server", lambda *arguments: path.unlink() or examine(*arguments)
        )
        status, found = report()
        assert (status, found["checks"]["server"][0], found["checks"]["token"][0]) == (1, "skipped", "failed")


class TestClock:
    @pytest.mark.parametrize(
        ("seconds", "text"), [(-100, "1 min 40 s ahead of the server's"), (100, "1 min 40 s behind the server's")]
    )
    def test_that_differs_is_a_warning(self, report, sandbox, seconds, text, monkeypatch):
        now = 1_900_000_000.5
        monkeypatch.setattr(time, "time", lambda: now)
        date = email.utils.formatdate(now + seconds, usegmt=True)
        sandbox.answer_token_requests(
            Answer.json({"access_token": "a.b.c", "token_type": "Bearer"}, headers={"Date": date})
        )
        status, found = report()
        assert (status, found["checks"]["clock"][0]) == (0, "warning")
        assert text in found["checks"]["clock"][1]

    def test_is_told_by_the_token_where_there_is_no_date(self, report, monkeypatch):
        monkeypatch.setattr(check.email.utils, "parsedate_to_datetime", no_date)
        monkeypatch.setattr(check, "_claims_of", lambda _: {"iat": time.time() + 300})
        status, found = report()
        assert (status, found["checks"]["clock"][0]) == (0, "warning")
        assert found["clock_difference"] == pytest.approx(-300, abs=25)

    def test_is_told_by_nobody(self, report, monkeypatch):
        monkeypatch.setattr(check.email.utils, "parsedate_to_datetime", no_date)
        monkeypatch.setattr(check, "_claims_of", lambda _: {"iat": True})
        assert report()[1]["checks"]["clock"] == ("skipped", "no answer said what time it is")


def no_date(_):
    raise ValueError


class TestCache:
    def test_that_cannot_be_written_is_a_failure_and_a_token_is_had_all_the_same(self, report, tmp_path):
        (tmp_path / "file").write_text("in the way")
        status, found = report("--cache", str(tmp_path / "file"))
        assert (status, found["checks"]["cache"][0]) == (1, "failed")
        assert "cannot be used (Not a directory): choose another (ARITMA_CACHE)" in found["checks"]["cache"][1]
        assert found["checks"]["token"][0] == "ok"

    def test_that_is_broken_is_a_failure(self, report, monkeypatch):
        class Broken(MemoryStore):
            directory = "/broken"

        monkeypatch.setattr(check, "shared", lambda store: True)
        monkeypatch.setattr(settings, "open_store", lambda cache, **_: Broken())
        monkeypatch.setattr(Broken, "load", lambda *_: None)
        assert report()[1]["checks"]["cache"] == (
            "failed",
            "/broken does not keep what is written: choose another (ARITMA_CACHE)",
        )
        monkeypatch.setattr(Broken, "save", no_date)
        status, found = report()
        assert (status, found["checks"]["cache"][0]) == (1, "failed")

    def test_is_left_as_it_was_but_for_the_token(self, report, cache):
        report()
        found = Settings.resolve()
        left = {name.partition(".")[2] for name in os.listdir(cache / "aritma-session")}
        assert left == {"json", "lock", "metadata"}
        assert FileStore(cache / "aritma-session").keys() == [found.cache_key]


class TestLogin:
    @pytest.fixture
    def login(self, environ, sandbox, monkeypatch):
        """A person's login, with a refresh token, of the password grant's making."""
        monkeypatch.setenv("ARITMA_GRANT", "authorization_code")

        def logged_in(age=0.0, refresh=True):
            more = {"username": sandbox.username, "password": sandbox.password, "cache": "memory"}
            auth = AritmaAuth(grant="password", scope="bankservice offline_access", **more)
            token = auth.token()
            keep(
                token.replace(
                    obtained_at=token.obtained_at - age,
                    expires_at=token.expires_at - age,
                    refresh_token=token.refresh_token if refresh else None,
                )
            )
            sandbox.reset_counts()
            return cached()

        return logged_in

    @pytest.mark.parametrize("rotating", [True, False])
    def test_is_renewed_and_kept(self, login, report, sandbox, rotating):
        sandbox.rotate_refresh_tokens = rotating
        before = login()
        status, found = report()
        assert (status, found["token"]["kept"], sandbox.counts.token_requests) == (0, True, 1)
        assert "renewed with the login's refresh token" in found["checks"]["token"][1]
        after = cached()
        assert after.access_token != before.access_token
        assert (after.refresh_token != before.refresh_token) == rotating
        assert holding([json.dumps(found)], after.access_token, after.refresh_token) == []

    def test_without_a_refresh_token_is_judged_as_it_is(self, login, report, sandbox):
        login(refresh=False)
        status, found = report()
        assert (status, found["token"]["kept"], sandbox.counts.token_requests) == (0, True, 0)
        assert "the cached one, as it takes a person to get another" in found["checks"]["token"][1]
        assert found["checks"]["server"] == ("skipped", sandbox.token_endpoint)

    def test_that_another_process_renews_is_left_to_it(self, login, report, sandbox):
        login()
        found = Settings.resolve()
        with found.cache.lock(found.cache_key):
            _, said = report()
        assert "the cached one, as another process is renewing it" in said["checks"]["token"][1]
        assert sandbox.counts.token_requests == 0

    def test_that_has_ended_takes_a_person(self, login, report, sandbox):
        for begin in (lambda: login(9999, refresh=False), keep_nothing):
            begin()
            status, found = report()
            assert (status, found["checks"]["server"][0], found["checks"]["token"][0]) == (1, "skipped", "failed")
            assert "run aritma-session login --client-id sandbox-client" in found["checks"]["token"][1]


def keep_nothing():
    found = Settings.resolve()
    found.cache.remove(found.cache_key)


class TestText:
    def test_is_what_a_person_reads(self, environ, sandbox, capsys, cache):
        assert cli.main(["check"]) == 0
        text = capsys.readouterr().out
        heads = [line for line in text.splitlines() if line and not line.startswith(" ")]
        assert heads == ["Settings", "Token, decoded and not verified", "Checks"]
        rows = [line.split() for line in text.splitlines()]
        assert ["client_secret", "(set)", "ARITMA_CLIENT_SECRET"] in rows
        assert ["scope", "bankservice", "default"] in rows
        assert ["ok", "server", sandbox.token_endpoint] in rows
        assert holding([text], sandbox.client_secret, cached().access_token) == []

    def test_of_all_scopes(self, environ, capsys):
        assert cli.main(["check", "--scope", ""]) == 0
        assert "scope          (all that the client is allowed)" in capsys.readouterr().out

    def test_of_a_failure(self, environ, capsys, monkeypatch):
        monkeypatch.setenv("ARITMA_CLIENT_SECRET", "wrong-secret")
        assert cli.main(["check"]) == 1
        assert "\n  failed   token     Aritma ID at " in capsys.readouterr().out

    def test_on_a_terminal_has_colours(self, environ):
        status, text = on_terminal("check")
        assert status == 0
        assert "\x1b[1mChecks\x1b[0m\n  \x1b[32mok     \x1b[0m  settings  complete\n" in text
