"""Any sequence of what may happen to a login whose refresh tokens are good for one use, between several processes."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import unittest.mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aritma_session import FileStore, LoginRequired, Token, TokenEndpointUnavailable
from aritma_session.source import TokenSource

KEY = "0123456789abcdef"


class Died(BaseException):
    """The end of a process before its token request: nobody catches it."""


class Server:
    """A token endpoint at which one refresh token is good, and the clock that all go by."""

    def __init__(self):
        self.now, self.mode, self.rotates = 1_000_000.0, "grants", True
        self.number, self.good, self.spent, self.refused, self.requests = 0, None, set(), set(), 0

    def clock(self):
        return self.now

    def log_in(self):
        self.number += 1
        self.good = f"r{self.number}"
        return Token(f"t{self.number}", self.now, self.now + 3600, refresh_token=self.good)

    def fetch(self):
        raise LoginRequired("a person has to log in")

    def refresh(self, last):
        if self.mode == "dies":
            self.mode = "grants"
            raise Died
        self.requests += 1
        text = last.refresh_token
        assert text not in self.spent, "a refresh token is used once, or the server may end the login"
        assert text not in self.refused, "a refresh token that was refused is not used again, by nobody"
        if self.mode == "fails":
            raise TokenEndpointUnavailable("in trouble")
        if text != self.good:
            self.refused.add(text)
            raise LoginRequired("the login has ended", error="invalid_grant")
        if not self.rotates:
            self.number += 1
            return Token(f"t{self.number}", self.now, self.now + 3600)
        self.spent.add(text)
        return self.log_in()


class LoginMachine(RuleBasedStateMachine):
    """Three processes, one login after the other, and a store that works."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = FileStore(os.path.join(self.folder.name, "cache"))
        self.server = Server()
        self.background = unittest.mock.patch("aritma_session.background.start", self.renew_ahead)
        self.background.start()

    @initialize()
    def begins(self):
        self.peers = [self.peer() for _ in range(3)]
        self.last = [None] * 3
        self.person_logs_in()

    @rule()
    def person_logs_in(self):
        self.store.save(KEY, self.server.log_in())

    @rule(by_the_server=st.booleans())
    def login_ends(self, by_the_server):
        if by_the_server:
            self.server.good = None
        else:
            self.store.remove(KEY)

    @rule(mode=st.sampled_from(["grants", "fails", "dies"]), rotates=st.booleans())
    def server_turns(self, mode, rotates):
        self.server.mode, self.server.rotates = mode, rotates

    @rule(which=st.integers(0, 2), seconds=st.sampled_from([0.0, 3600.0, 2960.0, 31.0, 600.0, -31.0]))
    def asks(self, which, seconds):
        self.server.now += seconds
        self.call(which)

    @rule(which=st.integers(0, 2), accepted=st.booleans())
    def is_answered(self, which, accepted):
        """Ask, send the token, and be refused or accepted."""
        self.call(which)
        if self.last[which] is not None and accepted:
            self.peers[which].accept(self.last[which])
        elif self.last[which] is not None:
            self.call(which, self.last[which])

    @rule(which=st.integers(0, 2))
    def begins_anew(self, which):
        self.peers[which], self.last[which] = self.peer(), None

    @rule(which=st.integers(0, 2))
    def asks_beside_another(self, which):
        """Another process has the lock, and never comes to an end."""
        before = self.server.requests
        with self.store.lock(KEY) as held, contextlib.suppress(TokenEndpointUnavailable, LoginRequired):
            assert held
            self.peers[which].token()
        assert self.server.requests == before

    @invariant()
    def nobody_holds_the_lock(self):
        with self.store.lock(KEY) as held:
            assert held

    def call(self, which, rejected=None):
        server, stored, mode = self.server, self.store.load(KEY), self.server.mode
        before = server.requests
        try:
            token = self.peers[which].token(rejected)
        except Died:
            self.begins_anew(which)
            return
        except TokenEndpointUnavailable:
            assert mode == "fails"
            return
        except LoginRequired:
            assert stored is None or stored.refresh_token in {None, *server.refused}
            left = self.store.load(KEY)
            assert left is None or left.refresh_token is None, "it is forgotten by all"
            return
        finally:
            assert server.requests - before <= 2  # one may be made behind the caller's back
        if token is not None:
            assert token.fresh(server.now)
            assert token.access_token != rejected
            self.last[which] = token.access_token
        else:
            assert rejected is not None

    def teardown(self):
        """Let all be well again: whoever is logged in still is, and one request serves everybody."""
        try:
            stored, server = self.store.load(KEY), self.server
            server.mode, server.rotates = "grants", True
            server.now += 4000
            if stored is None or stored.refresh_token is None or stored.refresh_token != server.good:
                return
            before = server.requests
            tokens = {peer.token().access_token for peer in self.peers}
            assert len(tokens) == server.requests - before == 1
        finally:
            self.background.stop()
            self.folder.cleanup()

    def renew_ahead(self, work, **_):
        """Let the thread that renews an ageing token do so before its caller goes on, or die in the middle of it."""

        def live():
            with contextlib.suppress(Died):
                work()

        thread = threading.Thread(target=live)
        thread.start()
        thread.join()
        return True

    def peer(self):
        """Make a source, as another process would have it."""
        server = self.server
        return TokenSource(server.fetch, self.store, KEY, lock_timeout=0.0, clock=server.clock, refresh=server.refresh)


TestLogins = LoginMachine.TestCase
TestLogins.settings = settings(max_examples=min(settings().max_examples * 3 // 5, 500))  # each is a whole story
