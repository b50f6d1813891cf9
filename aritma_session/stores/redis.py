"""One token for the processes of many hosts: in Redis 6 or newer, or in Valkey.

For each key of the store there are two in Redis, in one hash slot, so that a cluster serves them as well:

``aritma-session:{key}:token``
    a hash of ``record``, the same as on disk, and ``obtained_at``, by which two tokens are compared; it expires with
    the token, or long after it where a refresh token is part of it;
``aritma-session:{key}:lock``
    redis-py's own lock (a random value, let go of by whoever knows it), which ends by itself soon after its holder.

**The lease.** A kernel ends the lock of a process that dies; Redis does not learn of it. So the lock is lent for six
seconds only, and while its holder works, a thread of its own has it prolonged every second. A token request may take
minutes, of a server that is slow and asks for pauses, and keeps its lock for all of them, past two answers of Redis'
that are lost, each waited for a second. A holder that is killed, stopped or cut off, or whose try of the lock succeeded
without its knowing, costs the others at most these six seconds, a fifth of what they wait before they go on without it;
then the next one of them has the lock. Who goes on too early costs a second token request, and nothing else.

**A lease that is lost** lets two processes fetch, and the slower one save last. Whoever saves and does not hold the
lock any more is compared with what is there, in one script with the writing: an older token is dropped. Whoever does
hold it has looked at what is there, and is not compared: clocks of hosts differ, and a token from one whose clock is
ahead is not to stand in the way of its successors.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..credentials import Secret, without_credentials
from ..tokens import LONGEST_LIFETIME, Token
from . import records
from .patience import Late, Patience

if TYPE_CHECKING:
    from redis.lock import Lock

    from .sealing import Sealing

    Client = redis.Redis | redis.RedisCluster

__all__ = ["SCHEMES", "RedisStore", "RedisTrouble"]

_T = TypeVar("_T")

#: What the URL of a server begins with.
SCHEMES = ("redis://", "rediss://", "unix://")

#: Seconds for which the lock is lent, and how often it is prolonged in that time.
LEASE, _PULSES = 6.0, 6

#: Seconds to wait for a connection, for an answer, and for all that one look-up asks, where nobody says.
BOUND = 1.0

#: Seconds for which a record outlives its access token where there is a refresh token in it, whose own life nobody
#: tells: one that was not used for a year is believed to be dead.
_REFRESHABLE = 366 * 86400.0

#: Keep a token: unless, the lock being somebody else's, one is there that is newer. What is there may be of any type.
#: Where it is a token, nothing is removed first: a server without memory refuses the whole, and the old token stays.
_SAVE = """
local record, lock = KEYS[1], KEYS[2]
local text, obtained_at, milliseconds, holder = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local kind = redis.call('type', record).ok
if kind ~= 'hash' and kind ~= 'none' then
    redis.call('del', record)
end
if holder == '' or redis.pcall('get', lock) ~= holder then
    local there = tonumber(redis.call('hget', record, 'obtained_at') or nil)
    if there and there > tonumber(obtained_at) then
        return 0
    end
end
if milliseconds > 0 then
    redis.call('hset', record, 'record', text, 'obtained_at', obtained_at)
    redis.call('pexpire', record, milliseconds)
else
    redis.call('del', record)
end
return 1
"""

#: The first words of answers that say what is wrong, and are the server's own.
_CODES = frozenset({"BUSY", "CLUSTERDOWN", "CROSSSLOT", "MISCONF", "NOAUTH", "NOREPLICAS", "WRONGTYPE"})

#: This process' patience with each server.
_patience: dict[int, Patience] = {}

_log = logging.getLogger("aritma_session")


class RedisTrouble(OSError):
    """Tell that Redis did not do what it was asked for; the message holds nothing that a server could have repeated."""


class RedisStore:
    """Keep tokens in Redis, for all who use the same database.

    A store can be copied, and goes on after a fork. One that was made from a URL, or from a function that can be
    pickled, can be pickled; its pickle holds the URL's password.

    :param server: a URL (``redis://``, ``rediss://`` or ``unix://``, with the options of :meth:`redis.Redis.from_url`
        in its query), a client (:class:`redis.Redis`, also a Sentinel's, or :class:`redis.RedisCluster`), or a function
        that makes one. Where the store makes the client, it waits a second for a connection and for each answer, if the
        URL's query has no ``socket_connect_timeout`` and ``socket_timeout``, and does not try again.
    :param bound: seconds that a server which does not answer costs whoever looks for a token, whatever the client's
        timeouts are; by default the longer one of these two, or a second where the client is not the store's.
    :param sealing: what makes the tokens unreadable for others who use the server.
    :param lease: seconds for which the lock outlives a holder that died.
    :raises ValueError: when the URL cannot be used.
    """

    def __init__(
        self,
        server: str | Client | Callable[[], Client] | Secret,
        *,
        sealing: Sealing | None = None,
        bound: float | None = None,
        lease: float = LEASE,
    ) -> None:
        self._server: Any = Secret(server) if isinstance(server, str) else server
        del server  # a traceback that shows variables would show its password
        self.sealing = sealing
        self.bound = bound
        self.lease = lease
        self._open()

    def load(self, key: str) -> Token | None:
        """Give the token that is kept under this key.

        :raises RedisTrouble: when Redis cannot be asked.
        """
        try:
            data: Any = self._ask(lambda: self._client.hget(_name(key, "token"), "record"))
        except _WrongAnswer:  # something else of this name, or bytes that the client was told to decode
            return None
        return records.load(key, data, self.sealing)

    def save(self, key: str, token: Token) -> None:
        """Keep the token, unless there is a newer one and the lock was lost.

        :raises RedisTrouble: when Redis cannot be asked, or has no room.
        """
        data = records.dump(key, token, self.sealing)
        holder = self._holders.get(_here(key), b"")
        keys = [_name(key, "token"), _name(key, "lock")]
        if not self._ask(lambda: self._save(keys=keys, args=[data, token.obtained_at, _life(token), holder])):
            _log.info("the cache has a newer token already")

    def remove(self, key: str) -> None:
        """Keep no token under this key.

        :raises RedisTrouble: when Redis cannot be asked.
        """
        self._ask(lambda: self._client.delete(_name(key, "token")))

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """Try once to take the lock of this key, and prolong it while it is held.

        :raises RedisTrouble: when Redis cannot be asked.
        """
        lock = self._client.lock(_name(key, "lock"), timeout=self.lease, thread_local=False)
        if not self._ask(lambda: lock.acquire(blocking=False), lambda held: held and lock.release()):
            self._patience.renew()  # whoever waits for another process does so within a bound of his own
            yield False
            return
        here, over = _here(key), threading.Event()
        self._holders[here] = lock.local.token
        self._prolong(lock, over)
        try:
            yield True
        finally:
            over.set()
            self._holders.pop(here, None)
            if here == _here(key):  # a child that was forked meanwhile does not let go of its parent's
                self._let_go(lock)

    def __copy__(self) -> RedisStore:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> RedisStore:
        return self

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self._server, Secret) and not callable(self._server):
            raise TypeError(
                "a store with a client of yours cannot be pickled: give it a URL, or a function that makes one"
            )
        return {"_server": self._server, "sealing": self.sealing, "bound": self.bound, "lease": self.lease}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisStore) and (self._server, self.sealing) == (other._server, other.sealing)

    def __hash__(self) -> int:
        return hash(self._server)

    def __repr__(self) -> str:
        server: Any = self._server
        shown = repr(_shown(server)) if isinstance(server, Secret) else type(self._client).__name__
        return f"{type(self).__name__}({shown})"

    def _open(self) -> None:
        """Make what does not go into a pickle; no connection is made yet."""
        timeout, server = BOUND, self._server
        self._client: Client
        if isinstance(server, Secret):
            self._client, timeout = _client_at(server)
        else:
            self._client = server() if callable(server) else server
        if self._client is not server:  # its connections end with the store; those of another's client do not
            weakref.finalize(self, self._client.close).atexit = False
        self._save = self._client.register_script(_SAVE)
        bound = timeout if self.bound is None else self.bound
        # By server, since a program may make a session for each call; without what would keep a password alive.
        self._patience = _patience.setdefault(hash((server, bound)), Patience(bound))
        #: What proves that this process' threads hold a lock; each use is one operation on a dict.
        self._holders: dict[tuple[str, int, int], bytes] = {}

    def _ask(self, question: Callable[[], _T], too_late: Callable[[_T], object] = lambda _: None) -> _T:
        """Ask Redis something, within this process' patience.

        :param question: what asks.
        :param too_late: what is done with an answer that nobody waits for any more.

        :raises RedisTrouble: in place of any error, and with no way back to it: it may hold what was sent.
        """
        try:
            return self._patience.ask(question, too_late)
        except Exception as error:
            trouble = _told(error)
            if isinstance(error, redis.ReadOnlyError) or "READONLY" in str(error):  # from a script, in Redis 6
                self._reconnect()
        raise trouble

    def _reconnect(self) -> None:
        """Let go of connections to a server that has become a replica: the name may be another server's by now."""
        if isinstance(self._client, redis.Redis) and self._client is not self._server:
            self._client.connection_pool.disconnect()

    def _prolong(self, lock: Lock, over: threading.Event) -> None:
        """Keep the lock while it is held; where no thread can be had, it ends with its lease."""

        def work() -> None:
            while not over.wait(self.lease / _PULSES):
                try:
                    lock.extend(self.lease, replace_ttl=True)
                except redis.exceptions.LockError:  # it is lost, or has just been let go
                    return
                except Exception as error:
                    _log.info("the lock of the cache could not be prolonged: %s", type(error).__name__)

        with contextlib.suppress(RuntimeError):
            threading.Thread(target=work, name="aritma_session lock", daemon=True).start()

    def _let_go(self, lock: Lock) -> None:
        try:
            self._ask(lock.release)
        except _Lost:
            _log.info("the lock of the cache was lost meanwhile")


class _WrongAnswer(RedisTrouble):
    """What is kept there cannot be a record."""


class _Lost(RedisTrouble):
    """The lock is not held any more."""


def _client_at(url: Secret) -> tuple[redis.Redis, float]:
    """Make the client for a URL; and give the seconds that it waits for an answer.

    :raises ValueError: when the URL cannot be used; the message shows no password, and no variable here holds it.
    """
    problem = _problem(url)
    client = _made(url) if problem is None else None
    if client is None:
        why = problem or "its host, its port or an option is none that redis-py knows"
        raise ValueError(f"{_shown(url)!r} is not usable: {why}")
    options = client.connection_pool.connection_kwargs
    return client, max(options["socket_timeout"], options["socket_connect_timeout"])


def _problem(url: Secret) -> str | None:
    """Say why a URL would not be read as it was meant."""
    with contextlib.suppress(ValueError):  # half an IPv6 address
        if "@" in urlsplit(url.reveal())._replace(scheme="", netloc="").geturl():
            return 'a "/", "?", "#" or "@" in a user name or password is written %2F, %3F, %23 or %40'
    return None


def _shown(url: Secret) -> str:
    """Give what of a URL is surely no password, as something may be that stands in the place of a port, say."""
    text = url.reveal()
    behind = "".join(text.partition(sign)[2] for sign in "?#")
    return without_credentials(text) if "@" not in behind and _has_port(text) else text.partition("://")[0] + "://***"


def _has_port(text: str) -> bool:
    """Tell whether what stands behind a host, or behind an "@", can be a port, or is none."""
    try:
        return urlsplit(without_credentials(text)).port != 0
    except ValueError:
        return False


def _made(url: Secret) -> redis.Redis | None:
    # Without RESP3, a connection is made with fewer questions, and no server can lengthen the timeouts.
    more: dict[str, Any] = {"socket_timeout": BOUND, "socket_connect_timeout": BOUND, "protocol": 2}
    try:
        client = redis.Redis.from_url(url.reveal(), **more, retry=Retry(NoBackoff(), 0))
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # no connection yet, but an opinion on each option
    except (ValueError, TypeError, AttributeError, redis.RedisError):
        return None
    return client


def _name(key: str, what: str) -> str:
    """Give the name in Redis; what stands in the braces decides about the slot of a cluster."""
    return f"aritma-session:{{{key}}}:{what}"


def _here(key: str) -> tuple[str, int, int]:
    return key, os.getpid(), threading.get_ident()


def _life(token: Token) -> int:
    """Give the milliseconds for which a token is worth keeping."""
    seconds = token.expires_at - time.time() + (_REFRESHABLE if token.refresh_token else 0.0)
    return math.ceil(1000 * min(seconds, LONGEST_LIFETIME))


def _told(error: Exception) -> RedisTrouble:
    """Say what went wrong, with nothing of what a server said: it may repeat a password, or a token."""
    name = type(error).__name__
    if isinstance(error, Late):
        return RedisTrouble(str(error))
    if isinstance(error, redis.exceptions.LockError):
        return _Lost(name)
    if isinstance(error, redis.TimeoutError) or isinstance(error.__cause__ or error.__context__, OSError):
        return RedisTrouble(f"{name}: {error}")
    code = str(error).partition(" ")[0]
    told = f"{name}: {code}" if code in _CODES else name
    return _WrongAnswer(told) if code == "WRONGTYPE" or isinstance(error, UnicodeDecodeError) else RedisTrouble(told)
