"""What the command says of the cache, and how it clears it: nobody is asked."""

from __future__ import annotations

import io
import json
import os
import time

import pytest

from aritma_session import MemoryStore, Token, cli, settings
from aritma_session.cli import clear, terminal
from aritma_session.settings import Settings

from helpers import holding, on_terminal


@pytest.fixture
def keep(environ):
    """Keep a token, of some age and life, for the settings of the environment."""

    def keeper(age=0.0, lifetime=3600.0, **more):
        found, now = Settings.resolve(), time.time()
        token = Token("to.ke.n", now - age, now - age + lifetime, **more)
        found.cache.save(found.cache_key, token)
        return found

    return keeper


@pytest.fixture
def said(capsys):
    """Run the command: its status and its lines."""

    def runner(*arguments):
        status = cli.main([*arguments])
        output, errors = capsys.readouterr()
        return status, (output or errors).splitlines()

    return runner


class Mute:
    """A store that does not tell what is in it."""

    def __init__(self):
        self._store = MemoryStore()
        for name in ("load", "save", "remove", "lock"):
            setattr(self, name, getattr(self._store, name))

    def __repr__(self):
        return "Mute()"


@pytest.fixture
def mute(monkeypatch):
    store = Mute()
    for module in (settings, clear):
        monkeypatch.setattr(module, "open_store", lambda cache, **_: store)
    return store


class TestStatus:
    def test_without_a_token(self, environ, sandbox, said, cache):
        assert said("status") == (
            0,
            [
                f"Client    sandbox-client at {sandbox.issuer}",
                "Grant     client_credentials",
                "Scope     bankservice",
                f"Cache     {cache}/aritma-session (no other entry)",
                "Token     none: the next request fetches one",
            ],
        )
        assert sandbox.requests == ()
        assert not cache.exists()

    @pytest.mark.parametrize(
        ("age", "text", "state"),
        [
            (600, "good for 50 min of 1 h", "good"),
            (3000, "ageing, good for 10 min of 1 h: the next request renews it", "ageing"),
            (3570, "expired: the next request fetches one", "expired"),
            (7200, "expired: the next request fetches one", "expired"),
        ],
    )
    def test_of_a_token(self, keep, said, age, text, state, monkeypatch):
        monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0)
        keep(age)
        status, lines = said("status")
        assert (status, len(lines)) == (0, 7)
        assert lines[4] == f"Token     {text}"
        assert lines[5].startswith("Obtained  20")
        assert lines[5].endswith(" ago")
        assert lines[6].startswith("Expires   20")
        status, (line,) = said("status", "--json")
        token = json.loads(line)["token"]
        assert (status, token["state"], token["lifetime"]) == (0, state, 3600)
        assert (token["age"], token["left"]) == (age, max(3600 - age, 0))

    def test_shows_neither_token_nor_secret(self, keep, said, sandbox):
        keep(refresh_token="re.fre.sh")
        for arguments in (["status"], ["status", "--json"], ["status", "--debug"]):
            assert holding(said(*arguments)[1], "to.ke.n", "re.fre.sh", sandbox.client_secret) == []

    def test_tells_what_is_special(self, keep, said):
        keep(scope="bankservice \x1b[31mapi", on_probation=True)
        _, lines = said("status")
        assert lines[-2] == "Granted   bankservice ?[31mapi"
        assert "on probation" in lines[-1]

    def test_counts_what_else_is_there(self, keep, said, monkeypatch):
        keep()
        for number, text in ((0, "no other entry"), (1, "1 other entry"), (2, "2 other entries")):
            assert f"({text})" in said("status")[1][3]
            monkeypatch.setenv("ARITMA_TENANT", f"t{number}")
            keep()
        assert said("status")[1][0].endswith(", tenant t2")
        assert json.loads(said("status", "--json")[1][0])["other_entries"] == 3

    def test_a_login_that_is_needed_is_a_failure(self, environ, sandbox, said, keep, monkeypatch):
        monkeypatch.setenv("ARITMA_GRANT", "authorization_code")
        status, lines = said("status", "--username", "kari", "--scope", "")
        assert status == 1
        assert lines[1:3] == [
            "Grant     authorization_code, user kari",
            "Scope     all that the client is allowed",
        ]
        assert lines[4].startswith("Token     none: to log in, run aritma-session login --client-id sandbox-client")
        keep(9999)
        assert said("status")[0] == 1
        keep(9999, refresh_token="again")
        status, lines = said("status")
        assert (status, lines[-1]) == (0, "Refresh   a refresh token is there")
        keep()
        status, lines = said("status")
        assert (status, lines[-1]) == (0, "Refresh   no refresh token is there")

    def test_in_memory_there_is_nothing_to_see(self, environ, said):
        assert said("status", "--cache", "memory")[1][3:] == [
            "Cache     memory: each process has its own, and ends with it",
            "Token     none: the next request fetches one",
        ]

    def test_of_a_store_that_does_not_tell(self, environ, said, mute):
        assert said("status")[1][3] == "Cache     Mute()"

    def test_a_cache_that_cannot_be_read_is_an_error(self, keep, said):
        os.chmod(keep().cache.directory, 0o755)
        status, lines = said("status")
        assert (status, len(lines)) == (1, 1)
        assert "make it yours alone (chmod 700)" in lines[0]

    def test_on_a_terminal_there_are_a_bar_and_colours(self, keep):
        keep(1800)
        status, text = on_terminal("status", PYTHONUTF8="1")
        assert status == 0
        assert "\x1b[32mgood\x1b[0m for " in text
        assert f"{'━' * 15}{'╌' * 15}\x1b[0m 50% left" in text
        status, text = on_terminal("status", NO_COLOR="1", PYTHONUTF8="1")
        assert f"          {'━' * 15}{'╌' * 15} 50% left" in text
        assert "\x1b" not in text


class TestClear:
    def test_removes_the_token_of_these_settings(self, keep, said, sandbox, monkeypatch):
        found = keep()
        whose = f"token of sandbox-client (client_credentials) at {sandbox.issuer}"
        monkeypatch.setenv("ARITMA_TENANT", "other")
        other = keep()
        monkeypatch.delenv("ARITMA_TENANT")
        assert said("clear") == (0, [f"Removed the {whose} from {found.cache.directory}."])
        assert said("clear") == (0, [f"There is no {whose} in {found.cache.directory}."])
        assert found.cache.keys() == [other.cache_key]
        assert sandbox.requests == ()

    def test_removes_all_without_a_client(self, keep, said, monkeypatch):
        directory = keep().cache.directory
        monkeypatch.delenv("ARITMA_CLIENT_ID")
        monkeypatch.delenv("ARITMA_CLIENT_SECRET")
        assert said("clear", "--all") == (0, [f"Removed 1 token from {directory}."])
        assert said("clear", "--all") == (0, [f"There is no token in {directory}."])

    def test_counts_what_it_removes(self, keep, said, monkeypatch):
        keep()
        monkeypatch.setenv("ARITMA_TENANT", "other")
        directory = keep().cache.directory
        assert said("clear", "--all") == (0, [f"Removed 2 tokens from {directory}."])

    @pytest.mark.parametrize("more", [[], ["--all"]])
    def test_in_memory_there_is_nothing_to_remove(self, environ, said, more):
        status, lines = said("clear", "--cache", "memory", *more)
        assert (status, lines) == (
            0,
            ["The cache is in memory: each process has its own, and there is nothing to remove."],
        )

    def test_of_a_store_that_does_not_tell(self, keep, said, mute):
        keep()
        assert said("clear")[1][0].startswith("Removed the token of sandbox-client")
        assert said("clear")[1][0].startswith("There is no token of sandbox-client")
        status, lines = said("clear", "--all")
        assert (status, lines) == (
            1,
            ["aritma-session: Mute() does not tell what is in it: leave --all out, and name client and scope"],
        )


class TestTerminal:
    class Screen(io.StringIO):
        encoding = "ascii"

        def isatty(self):
            return True

    def test_colours_are_for_those_who_see_them(self, monkeypatch):
        for name in ("NO_COLOR", "TERM", "WT_SESSION"):
            monkeypatch.delenv(name, raising=False)
        screen = self.Screen()
        assert terminal.painter(screen)("bad", "x") == "\x1b[31mx\x1b[0m"
        assert terminal.painter(io.StringIO())("bad", "x") == "x"
        with monkeypatch.context() as changed:
            changed.setattr(terminal, "_ANSI", False)
            assert terminal.painter(screen)("bad", "x") == "x"
            changed.setenv("WT_SESSION", "1")
            assert terminal.painter(screen)("bad", "x") == "\x1b[31mx\x1b[0m"
        for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
            with monkeypatch.context() as changed:
                changed.setenv(name, value)
                assert terminal.painter(screen)("bad", "x") == "x"

    def test_a_bar_is_drawn_with_the_letters_there_are(self):
        assert terminal.bar(0.5, 4, self.Screen()) == "##.."
        assert terminal.bar(2, 4, io.StringIO()) == "####"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(-1, "0 s"), (0, "0 s"), (59.6, "1 min"), (90, "1 min 30 s"), (3600, "1 h"), (86400 + 7261, "1 d 2 h")],
    )
    def test_durations(self, seconds, text):
        assert terminal.duration(seconds) == text

    @pytest.mark.parametrize(
        ("number", "text"),
        [(999, "999 B"), (1500, "1.5 kB"), (2_000_000, "2.0 MB"), (3_000_000_000_000, "3000.0 GB")],
    )
    def test_sizes(self, number, text):
        assert terminal.size(number) == text


class TestABrokenCache:
    @pytest.mark.parametrize("arguments", [["status"], ["clear"], ["clear", "--all"]])
    def test_is_one_line_that_says_where_to_look(self, environ, said, monkeypatch, arguments):
        def broken(*_):
            raise RuntimeError("no answer")

        store = MemoryStore()
        for name in ("load", "remove", "lock", "save"):
            monkeypatch.setattr(store, name, broken)
        store.keys, store.directory = broken, "/broken"
        for module in (settings, clear):
            monkeypatch.setattr(module, "open_store", lambda cache, **_: store)
        monkeypatch.setattr(clear, "shared", lambda store: True)
        status, lines = said(*arguments)
        assert (status, lines) == (
            1,
            ["aritma-session: the cache /broken cannot be used (no answer): see ARITMA_CACHE"],
        )
