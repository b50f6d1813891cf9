"""Any sequence of what may happen to token sources that share a store, in one process or in several."""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import itertools
import os
import pathlib
import pickle
import tempfile
import threading
import traceback
import unittest.mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aritma_session import CredentialsRefused, FileStore, Token, TokenEndpointUnavailable, TokenError
from aritma_session.source import TokenSource

from oracles import check_well_formed

KEY = "0123456789abcdef"
START = 1_000_000.0
PROBATION = 30.0

_askers = itertools.count()


class Died(BaseException):
    """The end of a process: nobody catches it, and the kernel takes its locks."""


class FlakyStore:
    """A file store that fails where the test says so."""

    def __init__(self, directory):
        self.real, self.failing, self.dies = FileStore(directory), set(), False
        self.overtaking = None  # what another process does just before the next try of the lock

    def load(self, key):
        self._trip("load")
        return self.real.load(key)

    def save(self, key, token):
        self._trip("save")
        if self.dies:
            self.dies = False
            raise Died
        self.real.save(key, token)

    @contextlib.contextmanager
    def lock(self, key):
        self._trip("lock")
        overtaking, self.overtaking = self.overtaking, None
        if overtaking:
            overtaking()
        with self.real.lock(key) as held:
            yield held
        self._trip("unlock")

    def _trip(self, what):
        if what in self.failing:
            raise OSError(f"no {what}")

    @property
    def healthy(self):
        return not self.failing and not self.dies


def in_thread(work):
    """What some work gives, or raises, in a thread of its own: whose token requests are counted as another's."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


class Server:
    """A token endpoint, the clock that all go by, and a count of each thread's token requests."""

    def __init__(self):
        self.now, self.mode, self.lifetime = START, "grants", 3600.0
        self.issued, self.trials = {}, set()
        self.asked = []  # by which thread: what another one does behind a caller's back is not the caller's wait

    def clock(self):
        return self.now

    def fetch(self):
        self.asked.append(threading.get_ident())
        if self.mode == "refuses":
            raise CredentialsRefused("invalid_client")
        if self.mode == "fails":
            raise TokenEndpointUnavailable("in trouble")
        if self.mode == "dies":
            self.mode = "grants"
            raise Died
        token = Token(f"t{len(self.issued) + 1}", self.now, self.now + self.lifetime)
        self.issued[token.access_token] = token
        return token


class Peer:
    """A source, as another process would have it, and what it has been told and given so far."""

    def __init__(self, source):
        self.source, self.refused, self.accepted, self.last = source, set(), set(), None


damages = st.sampled_from(["cut", "garbage", "gone", "version", "key", "open to all", "old"])


class SourceMachine(RuleBasedStateMachine):
    """Three processes at the most, on one store."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = FlakyStore(os.path.join(self.folder.name, "cache"))
        self.server, self.peers, self.kept = Server(), [], []
        self.asker, self.remembered = next(_askers), False
        self.background = unittest.mock.patch("aritma_session.background.start", self.renew_ahead)
        self.background.start()

    # --- rules

    @initialize()
    def begins(self):
        self.peers.append(self.peer())

    @precondition(lambda self: len(self.peers) < 3)
    @rule()
    def another_begins(self):
        self.peers.append(self.peer())

    @rule(which=st.integers(0, 2))
    def asks(self, which):
        self.call(self.pick(which))

    @rule(which=st.integers(0, 2), other=st.booleans())
    def is_refused(self, which, other):
        peer = self.pick(which)
        told = self.pick(which + 1) if other else peer  # a 401 may be about a token that another one uses by now
        if told.last is not None:
            self.call(peer, rejected=told.last)

    @rule(which=st.integers(0, 2))
    def is_accepted(self, which):
        peer = self.pick(which)
        if peer.last is None or peer.last in peer.refused:
            return
        try:
            peer.source.accept(peer.last)
        except Died:
            self.bury(peer)
            return
        peer.accepted.add(peer.last)
        stored = self.store.load(KEY) if self.store.healthy else None
        assert stored is None or stored.access_token != peer.last or not stored.on_probation

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0, 600.0, 2960.0, 3539.0, 3600.0, -1.0, -31.0, -7200.0]))
    def time_goes_by(self, seconds):
        self.server.now += seconds

    @rule(mode=st.sampled_from(["grants", "fails", "refuses", "dies"]))
    def endpoint_turns(self, mode):
        self.server.mode = mode

    @rule(lifetime=st.sampled_from([0.0, 40.0, 300.0, 3600.0, 86400.0]))
    def tokens_live(self, lifetime):
        self.server.lifetime = lifetime

    @rule(failing=st.sets(st.sampled_from(["load", "save", "lock", "unlock"]), max_size=2))
    def store_turns(self, failing):
        self.store.failing = failing

    @rule()
    def next_writer_dies(self):
        self.store.dies = True

    @rule(how=damages, at=st.integers(0, 99))
    def record_is_damaged(self, how, at):
        path = pathlib.Path(self.store.real.directory, f"{KEY}.json")
        if not path.exists():
            return
        data = path.read_bytes()
        if how == "gone":
            path.unlink()
        elif how == "open to all":
            path.chmod(0o644)
        elif how == "old":  # a backup is put back
            path.write_bytes(self.kept[at % len(self.kept)] if self.kept else data)
            self.kept.append(data)
        else:
            changes = {
                "cut": data[: min(at, len(data) - 1)],
                "garbage": b"\xff{" + data,
                "version": data.replace(b'"version": ', b'"version": 9'),
                "key": data.replace(KEY.encode(), b"x"),
            }
            path.write_bytes(changes[how])

    @rule(which=st.integers(0, 2))
    def fetches_beside_another(self, which):
        with contextlib.ExitStack() as stack:  # another process has the lock, and never comes to an end
            if self.store.healthy:
                assert stack.enter_context(self.store.real.lock(KEY))
            self.call(self.pick(which))

    @precondition(lambda self: self.store.healthy and self.server.mode == "grants" and self.server.lifetime)
    @rule(which=st.integers(0, 2), refused=st.booleans(), both=st.booleans())
    def is_overtaken(self, which, refused, both):
        """Between this one's look into the store and its lock, another process begins and ends all of its work."""
        peer, rival = self.pick(which), self.peer()
        rejected = peer.last if refused else None
        before = len(self.server.asked)
        self.store.overtaking = lambda: in_thread(lambda: self.call(rival, rejected if both else None))
        try:
            self.call(peer, rejected)
        finally:
            self.store.overtaking = None
        assert len(self.server.asked) - before <= 1, "what another one has just saved is not asked for again"

    @rule()
    def secret_is_replaced(self):
        """Restart with another secret: only so is the refusal of a client forgotten at once."""
        self.asker, self.remembered = next(_askers), False
        self.peers = [self.peer()]

    # --- what holds

    @invariant()
    def nobody_holds_the_lock(self):
        with self.store.real.lock(KEY) as held:
            assert held

    def teardown(self):
        """Let all be well again: one token request at the most, and everybody has a good token of it."""
        try:
            self.store.failing, self.store.dies, self.server.mode = set(), False, "grants"
            self.server.lifetime = 3600.0
            self.server.now += PROBATION + 1
            if self.remembered:
                self.secret_is_replaced()
            self.peers.append(self.peer())
            before = len(self.server.asked)
            for peer in self.peers:
                assert self.call(peer).fresh(self.server.now)
                assert peer.last not in peer.refused
            assert len(self.server.asked) - before <= 1
        finally:
            self.background.stop()
            self.folder.cleanup()

    def call(self, peer, rejected=None):
        """Ask a source for a token, and see that its answer is one that a caller may be given."""
        if rejected is not None:
            peer.refused.add(rejected)
        before, mode, remembered = len(self.server.asked), self.server.mode, self.remembered
        token = failure = None
        try:
            token = self.ask(peer.source, rejected)
        except Died:
            self.bury(peer)
            return None
        except TokenError as error:
            failure = error
        finally:
            asked = self.asked_since(before)
            assert asked <= 1, "one call waits for one token request at the most"
            assert not (asked and remembered), "a refusal of the client is not asked for again"
        if failure is not None:
            assert mode in ("fails", "refuses") if asked else remembered
            assert isinstance(failure, CredentialsRefused) == (mode == "refuses" or not asked)
            self.remembered = isinstance(failure, CredentialsRefused)
        elif token is None:
            self.check_nothing(peer, rejected)
        else:
            self.check_token(peer, rejected, token, asked)
        return token

    def check_nothing(self, peer, rejected):
        """Nothing is given only after a refusal, while the newest token is on probation."""
        assert rejected is not None
        assert any(self.on_probation(text) and text not in peer.accepted for text in peer.refused)

    def check_token(self, peer, rejected, token, asked):
        text, now = token.access_token, self.server.now
        check_well_formed(token)
        assert text in self.server.issued
        if text in peer.refused:
            assert rejected is None, "a caller is not given the token that it says was refused"
            assert self.on_probation(text), "nor any that was refused to it, but for half a minute of probation"
            assert text not in peer.accepted
        if not token.fresh(now):
            assert asked, "only a token that was born stale is given stale"
            assert token.obtained_at == now
        if asked:
            assert text == list(self.server.issued)[-1]
            if rejected is not None or peer.last in peer.refused:
                self.server.trials.add(text)
        peer.last = text

    def on_probation(self, text):
        return text in self.server.trials and 0 <= self.server.now - self.server.issued[text].obtained_at < PROBATION

    def renew_ahead(self, work, **_):
        """Let the thread that renews an ageing token do so before its caller goes on, or die in the middle of it."""
        mode, before = self.server.mode, len(self.server.asked)

        def live():
            with contextlib.suppress(Died):
                work()

        thread = threading.Thread(target=live)
        thread.start()
        thread.join()
        made = len(self.server.asked) - before
        assert made <= 1
        if made:
            assert not self.remembered or mode != "refuses", "a refusal of the client is not asked for again"
            self.remembered = mode == "refuses"
        return True

    def bury(self, peer):
        """Let another process begin where one has died."""
        self.peers.remove(peer)
        self.peers.append(self.peer())

    # --- seams

    def ask(self, source, rejected):
        """Ask in this process."""
        return source.token(rejected)

    def asked_since(self, before):
        return self.server.asked[before:].count(threading.get_ident())

    def pick(self, which):
        return self.peers[which % len(self.peers)]

    def peer(self):
        """Make a source; the one place to give it more arguments."""
        server = self.server
        return Peer(TokenSource(server.fetch, self.store, KEY, lock_timeout=0.0, clock=server.clock, asker=self.asker))


class ForkingMachine(SourceMachine):
    """Some of the calls are made in a real fork, which ends afterwards: what it learns, only the store knows."""

    @rule(which=st.integers(0, 2))
    def child_asks(self, which):
        self.in_child(self.pick(which), None)

    @rule(which=st.integers(0, 2))
    def child_is_refused(self, which):
        peer = self.pick(which)
        if peer.last is not None:
            self.in_child(peer, peer.last)

    def in_child(self, peer, rejected):
        received, sent = os.pipe()
        child = os.fork()
        if child == 0:
            self.report(sent, peer, rejected)
        os.close(sent)
        with open(received, "rb") as pipe:
            data = pipe.read()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        issued, trials, asked, mode, dies, told = pickle.loads(data)
        assert told is None, told
        self.server.issued, self.server.trials, self.server.mode, self.store.dies = issued, trials, mode, dies
        self.server.asked += [threading.get_ident()] * asked

    def report(self, sent, peer, rejected):
        """Make the call, tell the parent what the server has seen of it, and end."""
        told, before = None, len(self.server.asked)
        try:
            peer = copy.copy(peer)
            peer.refused, peer.accepted = set(peer.refused), set(peer.accepted)
            self.peers.append(peer)
            self.call(peer, rejected)
        except BaseException:  # noqa: BLE001  # the parent is told of any
            told = traceback.format_exc()
        finally:
            with open(sent, "wb") as pipe:
                asked = len(self.server.asked) - before
                server = self.server
                pickle.dump((server.issued, server.trials, asked, server.mode, self.store.dies, told), pipe)
            os._exit(0)


TestSources = SourceMachine.TestCase
TestSources.settings = settings(max_examples=min(settings().max_examples, 500))  # each is a whole story


def test_a_token_that_expired_on_its_probation_is_not_given_to_anybody(tmp_path):
    server = Server()
    server.lifetime = 10.0
    source = TokenSource(server.fetch, FileStore(tmp_path / "cache"), KEY, clock=server.clock)
    assert source.token().access_token == "t1"
    assert source.token(rejected="t1").access_token == "t2"
    assert source.token(rejected="t2") is None
    server.now += 10
    assert source.token().fresh(server.now)


@pytest.mark.parametrize("rejected", [None, "t1"])
def test_one_that_is_overtaken_before_it_has_the_lock_takes_what_the_other_saved(tmp_path, rejected):
    server, store = Server(), FlakyStore(tmp_path / "cache")
    first, second = (TokenSource(server.fetch, store, KEY, clock=server.clock) for _ in range(2))
    if rejected:
        assert (first.token().access_token, second.token().access_token) == ("t1", "t1")
    before = len(server.asked)
    store.overtaking = lambda: in_thread(lambda: second.token(rejected))
    token = first.token(rejected)
    assert token.access_token == list(server.issued)[-1]
    assert token == store.load(KEY)
    assert len(server.asked) == before + 1
    assert threading.get_ident() not in server.asked[before:]


@pytest.mark.soak
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
class TestForkedSources(ForkingMachine.TestCase):
    """The same, with forks."""

    settings = settings(max_examples=150)
