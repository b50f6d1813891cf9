"""One token for hosts that have a Redis in common, and no file; and what happens when they have it no more."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import os
import pickle
import random
import re
import socketserver
import sys
import threading
import time

import pytest
import redis
from cryptography.fernet import Fernet

from aritma_session import AritmaSession, background
from aritma_session.sandbox import Answer
from aritma_session.stores import redis as redis_module
from aritma_session.stores.contract import KEY, token
from aritma_session.stores.patience import Patience
from aritma_session.stores.redis import RedisStore, RedisTrouble

from helpers import fork, holding, outcome, reachable, results, said, wait_for
from servers import RedisServer, needs_redis

pytestmark = [needs_redis, pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")]


@pytest.fixture
def server():
    """A server of the test's own, which may be harmed."""
    with contextlib.closing(RedisServer()) as server:
        yield server


@pytest.fixture
def fleet(environ, server, monkeypatch):
    """Variables that point the sessions of this and other processes at the server."""
    monkeypatch.setenv("ARITMA_CACHE", f"{server.url}?socket_timeout=20")  # however busy this machine is
    return server


@pytest.fixture
def impatient(environ, server, monkeypatch):
    """The same, with no more than a fifth of a second for a server that does not answer."""
    monkeypatch.setenv("ARITMA_CACHE", f"{server.url}?socket_timeout=20")
    monkeypatch.setattr(redis_module, "Patience", lambda bound: Patience(0.2))
    return server


#: Make calls as a process of a host of its own, with a directory of its own for whatever it keeps.
HOST = """if True:
    import json, os, sys
    from aritma_session import AritmaSession, background
    url, calls, home = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    os.makedirs(home)
    os.environ["HOME"] = os.environ["XDG_CACHE_HOME"] = home
    print("ready", flush=True)
    with AritmaSession() as session:
        sys.stdin.readline()
        statuses = [session.get(url, timeout=30).status_code for _ in range(calls)]
    print(json.dumps([statuses, os.listdir(home)]))
"""


def begin(start, homes, url, calls, code=HOST):
    """Let one process on each host begin at the same moment, once all are ready."""
    processes = [start(code, url, calls, home) for home in homes]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


def children(count, work):
    """Do some work in so many forks at once, each as good as a new process on a host of its own; what each gave."""
    ready, go = os.pipe()

    def child(number):
        os.close(go)
        os.read(ready, 1)  # until the other end is closed
        return work(number)

    started = [fork(lambda number=number: child(number)) for number in range(count)]
    os.close(go)
    os.close(ready)
    return [outcome(one) for one in started]


def call(url, calls=1):
    """Make calls with a new session; 0 if all are answered."""
    with AritmaSession() as session:
        return sum(session.get(url, timeout=30).status_code != 200 for _ in range(calls))


class TestAFleet:
    def test_of_50_cold_hosts_makes_one_token_request(self, fleet, sandbox, echo):
        sandbox.token_delay = 0.1
        assert children(50, lambda number: call(echo)) == [0] * 50
        assert sandbox.counts.token_requests == 1
        assert sandbox.counts.calls == 50

    def test_shares_no_file(self, fleet, sandbox, echo, start, tmp_path):
        sandbox.token_delay = 0.1
        told = results(begin(start, [tmp_path / f"host{number}" for number in range(3)], echo, 2))
        assert told == [[[200, 200], []]] * 3
        assert sandbox.counts.token_requests == 1

    @pytest.mark.soak
    def test_of_50_cold_processes_makes_one_token_request(self, fleet, sandbox, echo, start, tmp_path):
        sandbox.token_delay = 0.1
        told = results(begin(start, [tmp_path / f"host{number}" for number in range(50)], echo, 1))
        assert told == [[[200], []]] * 50
        assert sandbox.counts.token_requests == 1

    def test_pays_for_a_revocation_with_one_token_request(self, fleet, sandbox, echo, start, tmp_path):
        halfway = HOST.replace("for _ in range(calls)]", "for number in range(calls) if number != 10 or input()]")
        processes = begin(start, [tmp_path / f"host{number}" for number in range(4)], echo, 20, code=halfway)
        wait_for(lambda: sandbox.counts.calls == 40)
        sandbox.revoke_all()
        for process in processes:
            process.stdin.write("go on\n")
            process.stdin.flush()
        assert results(processes) == [[[200] * 20, []]] * 4
        assert sandbox.counts.token_requests == 2

    def test_renews_ahead_in_one_process(self, fleet, sandbox, echo, session):
        """The token is good, and late in its life: each process would renew it, and one does."""
        session.get(echo)
        settings = session.auth._settings
        store, key = settings.cache, settings.cache_key
        aged, now = store.load(key), time.time()
        sandbox.token_delay = 0.2
        with store.lock(key):  # whoever holds it is not compared
            store.save(key, aged.replace(obtained_at=now - 3500, expires_at=now + 500))
        assert children(8, lambda number: call(echo, 3) + bool(background._wait())) == [0] * 8
        assert sandbox.counts.token_requests == 2
        assert store.load(key).access_token != aged.access_token

    def test_waits_for_a_slow_holder_and_not_for_a_dead_one(self, fleet, sandbox, echo, start, tmp_path, caplog):
        sandbox.answer_token_requests(Answer.trickle(60))  # the first answer only
        (holder,) = begin(start, [tmp_path / "holder"], echo, 1)
        wait_for(lambda: sandbox.counts.token_requests == 1)
        (lock,) = fleet.ask("KEYS", "aritma-session:*:lock")
        holder.kill()
        fleet.ask("PEXPIRE", lock, 20_000)
        caplog.set_level(logging.INFO)
        waiter = threading.Thread(target=call, args=(echo,))
        waiter.start()
        wait_for(lambda: ("INFO", "another process is fetching a token: waiting for it") in said(caplog))
        assert fleet.ask("PTTL", lock) > 0
        fleet.ask("PEXPIRE", lock, 1)  # as if it was the end of its lease
        waiter.join()
        assert sandbox.counts.token_requests == 2
        assert not [message for _, message in said(caplog) if "not waiting longer" in message]

    def test_shares_a_token_that_only_it_can_read(self, fleet, sandbox, echo, monkeypatch):
        old, new = (Fernet.generate_key().decode() for _ in range(2))
        for keys in (old, f"{new}, {old}", f"{new} {old}"):
            monkeypatch.setenv("ARITMA_CACHE_KEY", keys)
            assert call(echo) == 0
        assert sandbox.counts.token_requests == 1
        for keys in (new, ""):  # sealed with the old one, and not at all
            monkeypatch.setenv("ARITMA_CACHE_KEY", keys)
            assert call(echo) == 0
        assert sandbox.counts.token_requests == 3

    def test_may_be_pickled_copied_and_forked(self, fleet, sandbox, echo, session):
        session.get(echo)
        for again in (copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))):
            twin = again(session)
            twin.verify = sandbox.ca_bundle
            assert twin.get(echo).ok
        assert children(2, lambda number: session.get(echo).status_code != 200) == [0, 0]
        assert sandbox.counts.token_requests == 1


class TestTheCost:
    def test_of_a_call_with_the_token_at_hand_is_none_of_redis(self, fleet, echo, session):
        session.get(echo)
        before = fleet.asked()
        for _ in range(20):
            assert session.get(echo).ok
        assert fleet.asked() == before

    def test_of_a_new_process_is_one_command(self, fleet, echo, session):
        session.get(echo)
        before = fleet.asked()
        assert call(echo, 5) == 0
        assert fleet.asked() == before + 1

    def test_of_a_refused_token_is_one_command_where_redis_has_a_newer_one(self, fleet, sandbox, echo, session):
        session.get(echo)
        sandbox.revoke_all()
        assert call(echo) == 0  # another process has it replaced
        assert sandbox.counts.token_requests == 2
        before = fleet.calls("hget", "set", "evalsha")
        assert session.get(echo).ok
        assert fleet.calls("hget", "set", "evalsha") == [before[0] + 1, *before[1:]]
        assert sandbox.counts.token_requests == 2

    def test_of_a_cold_fleet_is_five_questions(self, fleet, echo):
        assert call(echo) == 0
        loads = sum(fleet.calls("script|load", "script"))
        assert fleet.calls("set") == [1]
        assert loads <= 2  # the scripts of saving and of letting go, where the server does not know them
        assert fleet.calls("evalsha")[0] - loads == 2


@pytest.fixture
def ask(environ, sandbox, echo, caplog):
    """Make calls with new sessions; the token requests that they took, and the warnings that they gave."""

    def asker(sessions=1, calls=3):
        caplog.clear()
        before = sandbox.counts.token_requests
        for _ in range(sessions):
            assert call(echo, calls) == 0
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        return sandbox.counts.token_requests - before, warnings

    return asker


PASSWORD = "an0ther-passw0rd"


def make_a_replica(server):
    server.ask("REPLICAOF", "127.0.0.1", "1")


def fill(server):
    server.ask("CONFIG", "SET", "maxmemory", "1")


def change_password(server):
    server.ask("CONFIG", "SET", "requirepass", PASSWORD)
    server.password = PASSWORD


def give_back_the_password(server):
    server.ask("CONFIG", "SET", "requirepass", "")
    server.password = None


#: What may happen to a server, what a store then says of it, and how it is undone.
TROUBLES = {
    "gone": (RedisServer.kill, "ConnectionError: Error 111", RedisServer.start),
    "stopped": (RedisServer.pause, "no answer within 0.2 s", RedisServer.resume),
    "a replica": (make_a_replica, "ReadOnlyError", lambda server: server.ask("REPLICAOF", "NO", "ONE")),
    "full": (fill, "OutOfMemoryError", lambda server: server.ask("CONFIG", "SET", "maxmemory", "0")),
    "locked": (change_password, "AuthenticationError", give_back_the_password),
}


@pytest.fixture
def victim(request, trouble):
    """A server that is to come into trouble, and is waited for no longer than needed."""
    return request.getfixturevalue("impatient" if trouble == "stopped" else "fleet")


def forget_the_wait():
    """As if the time was over for which a server that kept us waiting is not asked; and from now on there is enough."""
    for patience in redis_module._patience.values():
        patience._until, patience.bound = 0.0, 20.0


class TestAServerThatIs:
    @pytest.mark.parametrize("trouble", TROUBLES)
    def test_in_trouble_costs_a_warning_and_no_call(self, victim, ask, trouble):
        break_it, message, mend = TROUBLES[trouble]
        break_it(victim)
        count, warnings = ask()
        assert count == 1
        assert len(warnings) == 1
        assert re.search(message, warnings[0])
        assert "this process has a token of its own" in warnings[0]
        assert ask(sessions=2)[0] == 2
        mend(victim)
        wait_for(victim.answers)
        victim.ask("FLUSHALL")  # of what it was asked for while it was stopped
        forget_the_wait()
        assert ask(sessions=3) == (1, [])

    @pytest.mark.parametrize("trouble", TROUBLES)
    def test_in_trouble_is_nothing_to_a_process_with_a_good_token(self, fleet, session, echo, caplog, trouble):
        session.get(echo)
        TROUBLES[trouble][0](fleet)
        for _ in range(5):
            assert session.get(echo).ok
        assert said(caplog) == []

    @pytest.mark.parametrize("trouble", TROUBLES)
    def test_in_trouble_keeps_no_revoked_token_in_use(self, victim, sandbox, session, echo, trouble):
        session.get(echo)
        TROUBLES[trouble][0](victim)
        sandbox.revoke_all()
        for _ in range(5):
            assert session.get(echo).ok
        assert sandbox.counts.token_requests == 2

    def test_stopped_is_asked_once_by_whoever_looks_for_a_token(self, impatient, sandbox, session, echo, monkeypatch):
        """However many tokens are looked for: it has been waited for once, and is not for a while."""
        waits, spend = [], Patience.spend
        monkeypatch.setattr(
            Patience, "spend", lambda patience, seconds: waits.append(seconds) or spend(patience, seconds)
        )
        impatient.pause()
        for _ in range(4):
            assert session.get(echo).ok
            sandbox.revoke_all()
            assert call(echo) == 0  # by a session that is made for it
        assert len(waits) == 1

    def test_back_is_used_again_by_a_process_that_has_done_without(
        self, impatient, sandbox, session, echo, monkeypatch
    ):
        impatient.pause()
        assert session.get(echo).ok
        impatient.resume()
        wait_for(impatient.answers)
        impatient.ask("FLUSHALL")
        forget_the_wait()
        sandbox.revoke_all()
        assert session.get(echo).ok
        assert call(echo) == 0
        assert sandbox.counts.token_requests == 2

    @pytest.mark.parametrize(
        "again", [RedisServer.restart, lambda server: server.ask("FLUSHALL")], ids=["restarted", "flushed"]
    )
    def test_emptied_costs_one_token_request(self, fleet, ask, session, echo, caplog, again):
        session.get(echo)
        again(fleet)
        fleet.ask("SCRIPT", "FLUSH")
        assert ask(sessions=3) == (1, [])
        assert session.get(echo).ok
        assert said(caplog) == []

    def test_restarted_finds_a_warm_process_that_needs_it(self, fleet, sandbox, session, echo, caplog):
        """Its connection is gone, and nobody told it."""
        session.get(echo)
        fleet.restart()
        sandbox.revoke_all()
        assert session.get(echo).ok
        assert call(echo) == 0
        assert sandbox.counts.token_requests == 2
        assert said(caplog) == []

    def test_demoted_is_left_by_whoever_meets_its_name_again(self, server):
        """As where a name is given to another server: connections that are open lead to the old one."""
        store = RedisStore(server.url)
        assert store.load(KEY) is None
        make_a_replica(server)
        (connection,) = store._client.connection_pool._available_connections
        assert connection._sock
        with pytest.raises(RedisTrouble, match=r"ReadOnlyError|ResponseError"):  # as Redis 6 has it
            store.save(KEY, token("t"))
        assert not connection._sock
        with contextlib.closing(redis.Redis(port=server.port)) as client:  # of somebody who minds it himself
            with pytest.raises(RedisTrouble, match=r"ReadOnlyError|ResponseError"):
                RedisStore(client).save(KEY, token("t"))
            (connection,) = client.connection_pool._available_connections
            assert connection._sock


def test_the_password_of_redis_shows_nowhere(environ, server, sandbox, echo, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    change_password(server)
    monkeypatch.setenv("ARITMA_CACHE", server.url)
    with AritmaSession() as session:
        answers = [session.get(echo)]
        sandbox.revoke_all()
        answers.append(session.get(echo))
        for break_it in (give_back_the_password, RedisServer.kill):
            break_it(server)
            sandbox.revoke_all()
            answers.append(session.get(echo))
        texts = [record.getMessage() + str(record.__dict__) for record in caplog.records]
        texts += [repr(session), repr(session.auth), repr(session.auth._settings), repr(session.auth._settings.cache)]
        assert sandbox.counts.token_requests == 4
        assert not holding(texts, PASSWORD)
        assert not holding(reachable(*answers), PASSWORD)
        assert not holding([pickle.dumps(answers)], PASSWORD)
        assert holding([pickle.dumps(session)], PASSWORD), "as the client secret"


class Garbage(socketserver.ThreadingTCPServer):
    """A server of another kind: whatever it is sent, it answers the same, or with what it was sent."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), None)
        self.answer, self.over = answer, threading.Event()

    def finish_request(self, request, client_address):
        with contextlib.suppress(OSError):
            while data := request.recv(65536):
                request.sendall(data if self.answer is None else self.answer)
                if not self.answer:
                    return


class Trickle(Garbage):
    """A server that never comes to the end of its answer, and never keeps a socket waiting for long."""

    def finish_request(self, request, client_address):
        with contextlib.suppress(OSError):
            while not self.over.wait(0.02):
                request.sendall(b"$")


@contextlib.contextmanager
def serving(server):
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.over.set()
            server.shutdown()


def test_an_answer_without_end_is_waited_for_once_and_within_the_bound(environ, sandbox, echo, monkeypatch, caplog):
    waits, spend = [], Patience.spend
    monkeypatch.setattr(Patience, "spend", lambda patience, seconds: waits.append(seconds) or spend(patience, seconds))
    with serving(Trickle(b"")) as port:
        monkeypatch.setenv("ARITMA_CACHE", f"redis://127.0.0.1:{port}?socket_timeout=0.2")
        monkeypatch.setattr(redis_module, "BOUND", 0.2)
        assert call(echo, 3) == 0
    assert len(waits) == 1
    assert [level for level, _ in said(caplog)].count("WARNING") == 1


class TestGarbage:
    @pytest.mark.parametrize(
        "answer",
        [
            *(
                b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n",
                b"\x00\xff\r\n",
                b"+OK\r\n",
                b"$-1\r\n",
                b":1\r\n",
                b"*0\r\n",
            ),
            *(
                b"-ERR unknown command 'AUTH', with args beginning with: 'never-show-this'\r\n",
                b"$99999999\r\nx",
                b"",
                None,
            ),
            *(b"-never-show-this\r\n", b"-NOAUTH never-show-this\r\n", b"$3\r\n\xff\xfe\xfd\r\n", b"*1\r\n$-1\r\n"),
        ],
        ids=range(14),
    )
    def test_costs_a_warning_and_no_call(self, environ, sandbox, echo, monkeypatch, caplog, answer):
        caplog.set_level(logging.DEBUG)
        with serving(Garbage(answer)) as port:
            url = (
                f"redis://:never-show-this@127.0.0.1:{port}/0?socket_timeout=0.1&protocol={2 + len(answer or b'') % 2}"
            )
            monkeypatch.setenv("ARITMA_CACHE", url)
            with AritmaSession() as session:
                session.auth._source._lock_timeout = 0.05  # some answers mean that another process is fetching
                assert [session.get(echo).status_code for _ in range(3)] == [200] * 3
        assert sandbox.counts.token_requests == 1
        assert "never-show-this" not in caplog.text
        assert (
            len([1 for level, message in said(caplog) if level == "WARNING" and "another process" not in message]) <= 1
        )


class TestUnderLoad:
    """Every call needs a new token, so that every one of them has to do with Redis."""

    def harm(self, server, moments):
        """Do something to a server, and undo it after a moment."""

        def wait():
            time.sleep(moments.uniform(0.01, 0.3))

        deed = moments.choice(["stop", "kill", "flush", *TROUBLES])
        if deed == "flush":
            server.ask("FLUSHALL")
            server.ask("SCRIPT", "FLUSH")
        elif deed == "kill":
            server.restart()
        else:
            break_it, _, mend = TROUBLES.get(deed, TROUBLES["stopped"])
            break_it(server)
            wait()
            mend(server)
            wait_for(server.answers)
        wait()

    @pytest.mark.parametrize("rounds", [4, pytest.param(12, marks=pytest.mark.soak)])
    def test_whatever_happens_to_redis_every_call_is_answered(self, impatient, sandbox, echo, tmp_path, rounds):
        seed = random.randrange(2**32)
        sys.stdout.write(f"seed {seed}\n")  # shown where the test fails
        moments = random.Random(seed)
        sandbox.answer_token_requests(*[Answer.token(expires_in=0)] * 100_000)

        def work():
            calls = 0
            with AritmaSession(cache=RedisStore(os.environ["ARITMA_CACHE"], lease=0.5)) as session:
                while not (tmp_path / "enough").exists():
                    calls += 1
                    assert session.get(echo, timeout=30).status_code == 200
            return 0 if calls > 3 else 1

        workers = [fork(work) for _ in range(4)]
        wait_for(lambda: sandbox.counts.calls > 20)
        for _ in range(rounds):
            self.harm(impatient, moments)
        (tmp_path / "enough").touch()
        assert [outcome(worker) for worker in workers] == [0] * 4
        sandbox.reset()
        impatient.ask("FLUSHALL")
        assert [call(echo) for _ in range(3)] == [0] * 3
        assert sandbox.counts.token_requests == 1


#: What asks the Sentinels, which no client closes.
askers = []


def master_of(port):
    """A client that asks a Sentinel who the master is."""
    options = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    sentinel = redis.Sentinel([("127.0.0.1", port)], sentinel_kwargs=options, **options)
    askers.extend(sentinel.sentinels)
    return sentinel.master_for("tokens")


def answers(client):
    with contextlib.closing(client), contextlib.suppress(redis.RedisError):
        return client.ping()


def empties(store, key):
    """Whether a store that has met an old master has found the new one."""
    forget_the_wait()
    with contextlib.suppress(RedisTrouble):
        store.remove(key)
        return True
    return False


@pytest.mark.soak
def test_a_failover_costs_no_call_and_the_new_master_is_shared(environ, sandbox, echo):
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [asker.close() for asker in askers])

        def begin(*options, **more):
            return stack.enter_context(contextlib.closing(RedisServer(*options, **more)))

        master = begin()
        replica = begin("--replicaof", "127.0.0.1", str(master.port))
        watch = f"sentinel monitor tokens 127.0.0.1 {master.port} 1"
        quick = ["sentinel down-after-milliseconds tokens 300", "sentinel failover-timeout tokens 1000"]
        sentinel = begin("--sentinel", lines=[watch, *quick])
        wait_for(lambda: replica.ask("INFO", "replication")["master_link_status"] == "up")
        wait_for(lambda: sentinel.ask("SENTINEL", "REPLICAS", "tokens"))
        wait_for(lambda: answers(master_of(sentinel.port)))
        store = RedisStore(functools.partial(master_of, sentinel.port))
        with AritmaSession(cache=store) as session:
            assert session.get(echo).ok
            key = session.auth._settings.cache_key
            wait_for(lambda: replica.ask("EXISTS", f"aritma-session:{{{key}}}:token"))
            master.kill()
            sandbox.revoke_all()
            assert session.get(echo).ok  # with a token of its own, or over the new master
            wait_for(lambda: replica.ask("ROLE")[0] == "master", seconds=40)
            wait_for(lambda: answers(master_of(sentinel.port)))
            wait_for(lambda: empties(store, key))
            sandbox.revoke_all()
            before = sandbox.counts.token_requests
            for _ in range(3):
                with AritmaSession(cache=pickle.loads(pickle.dumps(store))) as another:
                    assert another.get(echo).ok
            assert session.get(echo).ok
            assert sandbox.counts.token_requests == before + 1
