"""One token for the processes of many hosts, in a real Redis."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import logging
import os
import pickle
import re
import threading
import time

import pytest
import redis
import trustme
from cryptography.fernet import Fernet

from aritma_session import cli
from aritma_session.stores import open_store
from aritma_session.stores.contract import KEY, SharedStoreContract, StoreContract, token
from aritma_session.stores.redis import LEASE, RedisStore, RedisTrouble
from aritma_session.stores.sealing import Sealing

from helpers import fork, in_child, outcome, results, said, wait_for
from servers import RedisServer, free_port, needs_redis

pytestmark = [needs_redis, pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")]

SEALING = Sealing(Fernet.generate_key().decode())
RECORD, LOCK = f"aritma-session:{{{KEY}}}:token", f"aritma-session:{{{KEY}}}:lock"


@pytest.fixture(scope="module")
def running():
    with contextlib.closing(RedisServer()) as server:
        yield server


@pytest.fixture
def server(running):
    """A server that is not to be harmed."""
    running.ask("FLUSHALL")
    running.ask("CONFIG", "RESETSTAT")
    return running


@pytest.fixture
def victim():
    """A server of the test's own."""
    with contextlib.closing(RedisServer()) as server:
        yield server


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one."""
    with contextlib.closing(RedisServer("--cluster-enabled", "yes")) as server:
        server.ask("CLUSTER", "ADDSLOTS", *range(16384))
        wait_for(lambda: "cluster_state:ok" in server.ask("CLUSTER", "INFO"))
        yield server


@pytest.fixture
def store(server):
    return RedisStore(server.url)


@pytest.fixture
def lease(request):
    """As it is; shorter where one is to end, and nobody else is hurried."""
    return 1.0 if "killed" in request.node.name else LEASE


class TestAUrl(SharedStoreContract):
    @pytest.fixture
    def store(self, server, lease):
        return RedisStore(server.url, lease=lease)


class TestASocketWithASeal(StoreContract):
    @pytest.fixture
    def store(self, server):
        return RedisStore(f"unix://{server.socket}", sealing=SEALING)


class TestAClientThatDecodes(StoreContract):
    @pytest.fixture
    def store(self, server):
        return RedisStore(functools.partial(redis.Redis, port=server.port, decode_responses=True, protocol=3))


@pytest.mark.soak
class TestACluster(SharedStoreContract):
    @pytest.fixture
    def store(self, cluster, lease):
        cluster.ask("FLUSHALL")
        return RedisStore(functools.partial(redis.RedisCluster, host="127.0.0.1", port=cluster.port), lease=lease)


def saved_record(server, key=KEY):
    return server.ask("HGET", f"aritma-session:{{{key}}}:token", "record")


def test_a_server_is_reached_over_tls_and_its_certificate_checked(tmp_path):
    authority, stranger, port = trustme.CA(), trustme.CA(), free_port()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    for name, trusted in (("ca", authority), ("stranger", stranger)):
        trusted.cert_pem.write_to_path(tmp_path / name)
    files = (
        "--tls-cert-file",
        tmp_path / "cert",
        "--tls-key-file",
        tmp_path / "key",
        "--tls-ca-cert-file",
        tmp_path / "ca",
    )
    options = ("--tls-port", port, *files, "--tls-auth-clients", "no")
    with contextlib.closing(RedisServer(*map(str, options))):
        store = RedisStore(f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path / 'ca'}&ssl_check_hostname=true")
        store.save(KEY, saved := token("t"))
        assert store.load(KEY) == saved
        with pytest.raises(RedisTrouble, match="CERTIFICATE_VERIFY_FAILED"):
            RedisStore(f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path / 'stranger'}").load(KEY)


class TestWhatIsInRedis:
    def test_is_a_record_and_a_lock_in_one_slot_of_a_cluster(self, store, server):
        with store.lock(KEY):
            store.save(KEY, token("t"))
            assert sorted(server.ask("KEYS", "*")) == [LOCK, RECORD]
        assert server.ask("KEYS", "*") == [RECORD]
        assert redis.crc.key_slot(LOCK.encode()) == redis.crc.key_slot(RECORD.encode())

    def test_is_the_record_that_is_on_disk(self, store, server):
        saved = token("t", refresh_token="r")
        store.save(KEY, saved)
        assert json.loads(saved_record(server)) == {"version": 1, "key": KEY, **saved.to_record()}

    def test_expires_with_the_token(self, store, server):
        store.save(KEY, token("t", 1800))
        assert 1790 * 1000 < server.ask("PTTL", RECORD) <= 1800.5 * 1000
        store.remove(KEY)
        store.save(KEY, token("t", 3600))
        assert server.ask("PTTL", RECORD) <= 500
        wait_for(lambda: store.load(KEY) is None)

    def test_is_nothing_of_a_token_that_has_expired(self, store, server):
        store.save(KEY, token("good", 10000).replace(expires_at=time.time() + 100))
        store.save(KEY, token("expired", 7200))
        assert server.ask("KEYS", "*") == []

    def test_outlives_the_access_token_where_it_can_be_refreshed(self, store, server):
        store.save(KEY, token("t", 7200, refresh_token="r"))
        assert 365 * 86400 < server.ask("TTL", RECORD) < 367 * 86400

    def test_lives_ten_years_at_the_most(self, store, server):
        store.save(KEY, token("t").replace(expires_at=1e300))
        assert server.ask("TTL", RECORD) < 3653 * 86400
        assert store.load(KEY)

    @pytest.mark.parametrize("content", ["", "{", "\xff\x00", "[" * 100_000, '{"version": 2}', "null"], ids=range(6))
    def test_that_cannot_be_understood_is_a_miss_and_is_overwritten(self, server, content):
        for store in (
            RedisStore(server.url),
            RedisStore(functools.partial(redis.Redis, port=server.port, decode_responses=True)),
        ):
            server.ask("HSET", RECORD, "record", content.encode("latin-1"), "obtained_at", "soon")
            assert store.load(KEY) is None
            saved = token("t")
            store.save(KEY, saved)
            assert store.load(KEY) == saved

    @pytest.mark.parametrize("put", [("SET", RECORD, "x"), ("LPUSH", RECORD, "x"), ("HSET", RECORD, "field", "x")])
    def test_of_another_type_is_a_miss_and_is_overwritten(self, store, server, put):
        server.ask(*put)
        assert store.load(KEY) is None
        saved = token("t")
        store.save(KEY, saved)
        assert store.load(KEY) == saved

    def test_of_another_key_is_not_believed(self, store, server):
        store.save(KEY, token("t"))
        server.ask("RENAME", RECORD, "aritma-session:{other}:token")
        assert store.load("other") is None

    def test_is_not_readable_with_a_seal_and_is_bound_to_its_key(self, server):
        store = RedisStore(server.url, sealing=SEALING)
        store.save(KEY, token("never-show-this"))
        assert "never" not in saved_record(server)
        assert RedisStore(server.url).load(KEY) is None
        server.ask("RENAME", RECORD, "aritma-session:{other}:token")
        assert store.load("other") is None

    def test_without_a_seal_is_a_miss_where_there_is_a_key(self, store, server):
        store.save(KEY, token("t"))
        assert RedisStore(server.url, sealing=SEALING).load(KEY) is None


class TestTheLease:
    def test_is_prolonged_while_the_lock_is_held(self, server):
        store = RedisStore(server.url, lease=0.6)
        with store.lock(KEY) as held:
            assert held
            before = server.calls("pexpire")
            wait_for(lambda: server.calls("pexpire")[0] >= before[0] + 8)  # for longer than a lease
            assert 0 < server.ask("PTTL", LOCK) <= 600
        prolonged = server.calls("pexpire")
        assert server.ask("EXISTS", LOCK) == 0
        wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "aritma_session lock"])
        assert server.calls("pexpire") == prolonged

    def test_that_was_lost_is_not_prolonged_and_not_let_go(self, server, caplog):
        caplog.set_level(logging.INFO)
        store = RedisStore(server.url, lease=0.3)
        with store.lock(KEY):
            server.ask("SET", LOCK, "another's", "PX", 20_000)
            wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "aritma_session lock"])
        assert server.ask("GET", LOCK) == "another's"
        assert said(caplog) == [("INFO", "the lock of the cache was lost meanwhile")]

    def test_survives_answers_that_are_lost(self, server, caplog, monkeypatch):
        caplog.set_level(logging.INFO)
        store, failing = RedisStore(server.url, lease=0.9), [redis.TimeoutError()] * 2
        extend = redis.lock.Lock.extend
        monkeypatch.setattr(
            redis.lock.Lock, "extend", lambda *args, **more: fail(failing.pop()) if failing else extend(*args, **more)
        )
        before = server.calls("pexpire")
        with store.lock(KEY):
            wait_for(lambda: server.calls("pexpire") > before)
        assert said(caplog) == [("INFO", "the lock of the cache could not be prolonged: TimeoutError")] * 2

    def test_that_comes_too_late_is_let_go(self, victim):
        """The server takes the lock when it wakes up, for somebody who waits for it no more."""
        store = RedisStore(f"{victim.url}?socket_timeout=20", bound=0.2)
        victim.pause()
        with pytest.raises(RedisTrouble, match=r"no answer within 0\.2 s"), store.lock(KEY):
            pass
        victim.resume()
        wait_for(lambda: victim.calls("set") == [1])
        wait_for(lambda: not victim.ask("EXISTS", LOCK))

    def test_is_what_is_left_where_no_thread_can_be_had(self, store, monkeypatch):
        start = threading.Thread.start
        monkeypatch.setattr(
            threading.Thread, "start", lambda it: fail(RuntimeError()) if it.name.endswith("lock") else start(it)
        )
        with store.lock(KEY) as held, store.lock(KEY) as second:
            assert (held, second) == (True, False)

    def test_that_was_lost_lets_no_older_token_overwrite_a_newer_one(self, server, caplog):
        caplog.set_level(logging.INFO)
        slow, other = RedisStore(server.url), RedisStore(server.url)
        older, newer = token("older", 10), token("newer", 5)
        with slow.lock(KEY) as held:
            assert held
            server.ask("DEL", LOCK)  # as if it had expired
            with other.lock(KEY) as second:
                assert second
                other.save(KEY, newer)
                slow.save(KEY, older)
                assert other.load(KEY) == newer
            slow.save(KEY, older)
        assert other.load(KEY) == newer
        told = [message for _, message in said(caplog)]
        assert told == ["the cache has a newer token already"] * 2 + ["the lock of the cache was lost meanwhile"]

    def test_of_another_thread_of_the_same_process_is_not_ones_own(self, store):
        newer = token("newer")
        with store.lock(KEY):
            store.save(KEY, newer)
            thread = threading.Thread(target=store.save, args=(KEY, token("older", 10)))
            thread.start()
            thread.join()
        assert store.load(KEY) == newer

    def test_of_many_writers_the_newest_wins(self, server):
        tokens = [token(f"t{number}", number) for number in range(40)]
        threads = [threading.Thread(target=RedisStore(server.url).save, args=(KEY, one)) for one in tokens]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert RedisStore(server.url).load(KEY) == tokens[0]


def fail(error):
    raise error


class TestAFork:
    def test_neither_has_nor_lets_go_of_its_parents_lock(self, store, server):
        def child(leaving):
            with store.lock(KEY) as held:
                assert not held
            leaving.close()
            return 7

        manager = store.lock(KEY)
        with contextlib.ExitStack() as leaving:
            assert leaving.enter_context(manager)
            assert in_child(lambda: child(leaving)) == 7
            with store.lock(KEY) as held:
                assert not held
        with store.lock(KEY) as held:
            assert held

    def test_uses_connections_of_its_own(self, store):
        store.save(KEY, token("t0"))

        def work(name):
            for number in range(50):
                store.save(f"{name}", token(f"{name}.{number}"))
                if store.load(name).access_token != f"{name}.{number}":
                    return 1
            return 0

        children = [fork(functools.partial(work, name)) for name in "abcd"]
        assert work("parent") == 0
        assert [outcome(child) for child in children] == [0] * 4


class TestAStore:
    def test_is_made_of_a_setting(self, server):
        client = redis.Redis(port=server.port)
        stores = [open_store(cache) for cache in (server.url, client, f"unix://{server.socket}")]
        stores[0].save(KEY, saved := token("t"))
        assert [store.load(KEY) for store in stores] == [saved] * 3
        assert open_store(server.url, SEALING).load(KEY) is None
        client.close()

    def test_is_known_by_its_url_or_its_client(self, server):
        client = redis.Redis(port=server.port)
        one, two, three, four = (RedisStore(cache) for cache in (server.url, server.url, client, client))
        assert one == two
        assert hash(one) == hash(two)
        assert three == four
        assert one not in (three, RedisStore(server.url, sealing=SEALING), RedisStore("redis://h"), server.url)

    def test_shows_no_password(self):
        urls = ["redis://client:hidden@h:7/3?client_name=hidden", "unix://hidden@/run/redis?password=hidden"]
        assert [repr(RedisStore(url)) for url in urls] == [
            "RedisStore('redis://***@h:7/3')",
            "RedisStore('unix://***@/run/redis')",
        ]
        assert repr(RedisStore(redis.Redis(password="hidden"))) == "RedisStore(Redis)"

    @pytest.mark.parametrize(
        "url",
        [
            *("redis://:hid/den@h", "redis://:hid#den@h", "redis://:hid?den@h", "redis://h:hidden"),
            *("redis://h?db=hidden", "redis://h?no_such_option=hidden", "redis://:hidden@[::1", "redis://[hidden"),
            *("redis://h/?password=hid@den", "redis://h/#hid@den", "redis://client:hidden"),
        ],
    )
    def test_refuses_a_url_without_showing_its_password(self, url):
        with pytest.raises(ValueError, match=r"^'[a-z]+://.*' is not usable: ") as caught:
            RedisStore(url)
        shown = str(caught.value)
        assert "den" not in shown
        link = caught.value.__traceback__.tb_next
        while link is not None:
            assert "den" not in repr(link.tb_frame.f_locals)
            link = link.tb_next

    def test_bounds_each_wait_to_a_second_unless_its_url_says_otherwise(self):
        def options(url):
            store = RedisStore(url)
            given = store._client.connection_pool.connection_kwargs
            return given["socket_connect_timeout"], given["socket_timeout"], store._patience.bound

        assert options("redis://h") == (1, 1, 1)
        assert options("redis://h?socket_timeout=3") == (1, 3, 3)
        assert options("rediss://h?socket_timeout=0.1&socket_connect_timeout=0.2") == (0.2, 0.1, 0.2)

    def test_needs_no_more_than_the_docs_say(self, victim):
        """Of an account that may do nothing else."""
        with open(os.path.join(os.path.dirname(__file__), os.pardir, "docs", "stores.rst")) as file:
            (rules,) = re.findall(r"``(\+hget[^`]*)``", file.read())
        victim.ask("ACL", "SETUSER", "tokens", "on", ">passw0rd", *rules.split())
        mine = RedisStore(victim.url.replace("//", "//tokens:passw0rd@"), lease=0.3)
        with mine.lock(KEY) as held:
            assert held
            mine.save(KEY, saved := token("t"))
            wait_for(lambda: victim.calls("pexpire")[0] >= 3)
        assert mine.load(KEY) == saved
        mine.remove(KEY)
        mine.save(KEY, token("t", 7200))
        assert victim.ask("KEYS", "*") == []

    def test_with_a_client_in_it_can_be_copied_and_not_pickled(self, server):
        client = redis.Redis(port=server.port)
        store = RedisStore(client)
        assert copy.copy(store) is store
        assert copy.deepcopy(store) is store
        with pytest.raises(TypeError, match="give it a URL, or a function"):
            pickle.dumps(store)
        client.close()

    def test_says_which_extra_it_takes(self, start):
        code = """if True:
            import json, sys
            sys.modules[sys.argv[1]] = None
            from aritma_session import AritmaSession
            try:
                AritmaSession("client", "secret", cache=sys.argv[2], cache_encryption_key=sys.argv[3] or None)
            except ValueError as error:
                print(json.dumps(str(error)))
        """
        key = Fernet.generate_key().decode()
        cases = [("redis", "redis://h", ""), ("cryptography", "memory", key), ("keyring", "keyring:", "")]
        told = results([start(code, *case) for case in cases])
        for extra, message in zip(("redis", "encryption", "keyring"), told, strict=True):
            assert f'pip install "aritma-session[{extra}]"' in message


def test_the_command_finds_it_fit(environ, server, monkeypatch, capsys):
    monkeypatch.setenv("ARITMA_CACHE", server.url)
    assert cli.main(["check"]) == 0
    assert "failed" not in capsys.readouterr().out
