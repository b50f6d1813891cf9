"""``requests.Session`` with the right token on every request that goes to Aritma.

What happens to one request, from the nearest to the farthest:

1. **Warm memory.** ``Session.prepare_request`` calls :class:`~aritma_session.AritmaAuth`, which asks its token source:
   one attribute read and one comparison, no lock. requests sends.
2. **Cold process, warm cache.** Memory misses; under a lock for this process' threads the store is read, without its
   lock.
3. **Cold cache, many processes.** The store has nothing; whoever gets its lock looks again, fetches and saves. The
   others look at the store between tries of the lock, and go on as soon as a good token is there.
4. **401.** Our response hook comes first: the refused token is told to the source, which goes path 2 or 3 without it;
   the body is rewound, the request sent again, and the user's hooks see the final answer only.
5. **Expired.** As 3. One predicate rules all five: present, fresh, not a refused one.
6. **Ageing.** Good, but in the last fifth of its life: the token is used at once, and one thread of one process renews
   it behind everybody's back, by a try of the store's lock that does not wait. A mark on the stored token keeps the
   others from trying again for a while, even if that process ends before it has the new one.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import requests

from .auth import AritmaAuth
from .credentials import hide, hide_url

if TYPE_CHECKING:
    import redis
    from requests.adapters import BaseAdapter

    from .environment import Environment
    from .stores import TokenStore

__all__ = ["AritmaSession"]


class AritmaSession(requests.Session):
    """Be a :class:`requests.Session` that authorises itself at Aritma's APIs.

    Requests to the API hosts of the environment carry an access token, which is fetched when it is first needed, shared
    with all processes of this account, renewed before it expires, and renewed at once, with the request sent again,
    when it is refused. All other requests are those of ``requests.Session``. What the caller says wins: a request with
    ``auth=`` or an ``Authorization`` header of its own is left alone.

    A session can be used by many threads, and be pickled, copied and forked; the copies share the cache. A pickle holds
    the client secret.

    Token requests are sent with the session's own ``verify``, ``cert``, ``proxies``, ``trust_env`` and adapters; what
    is given to a single call is that call's alone. An :class:`AritmaAuth` that is put into ``auth`` by hand is told to
    do so by its ``borrow``.

    The arguments are those of :class:`AritmaAuth`.

    :raises ValueError: when a setting is missing or impossible. Sending raises :class:`TokenError`, a
        :class:`requests.RequestException`, when no token can be had.
    """

    #: An :class:`AritmaAuth`, until somebody puts something else there.
    auth: Any

    #: Whose the adapters' connections are, by process id; unknown where a subclass pickles itself without it.
    _process: int | None = None

    def __init__(
        self,
        client_id: str | None = None,
        client_secret: str | None = None,
        *,
        environment: str | Environment | None = None,
        scope: str | Iterable[str] | None = None,
        tenant: str | None = None,
        cache: str | os.PathLike[str] | TokenStore | redis.Redis | redis.RedisCluster | None = None,
        api_hosts: str | Iterable[str] | None = None,
        token_timeout: float | tuple[float, float] | None = None,
        grant: str | None = None,
        token_endpoint_auth_method: str | None = None,
        token_endpoint_auth_signing_alg: str | None = None,
        private_key: str | os.PathLike[str] | None = None,
        private_key_passphrase: str | None = None,
        private_key_id: str | None = None,
        username: str | None = None,
        password: str | None = None,
        extra: Mapping[str, str] | None = None,
        cache_encryption_key: str | None = None,
        on_event: Callable[[str], object] | None = None,
    ) -> None:
        hidden = hide(client_secret, private_key, private_key_passphrase, password, cache_encryption_key)
        store = hide_url(cache)
        # A traceback that shows variables, of an error about another setting, would show them.
        del client_secret, private_key, private_key_passphrase, password, cache_encryption_key, cache
        super().__init__()
        self._process = os.getpid()
        auth = AritmaAuth(
            client_id,
            hidden[0],
            environment=environment,
            scope=scope,
            tenant=tenant,
            cache=store,
            api_hosts=api_hosts,
            token_timeout=token_timeout,
            grant=grant,
            token_endpoint_auth_method=token_endpoint_auth_method,
            token_endpoint_auth_signing_alg=token_endpoint_auth_signing_alg,
            private_key=hidden[1],
            private_key_passphrase=hidden[2],
            private_key_id=private_key_id,
            username=username,
            password=hidden[3],
            extra=extra,
            cache_encryption_key=hidden[4],
            on_event=on_event,
        )
        auth.borrow(self)
        self.auth = auth

    def revoke(self) -> bool:
        """Give the token back: revoke it at Aritma ID, and remove it from the cache; see :meth:`AritmaAuth.revoke`.

        :raises TokenError: when it could not be revoked.
        :raises TypeError: when ``auth`` was replaced by something else.
        """
        if not isinstance(self.auth, AritmaAuth):
            raise TypeError("session.auth is no AritmaAuth, and has no token to revoke")
        return self.auth.revoke()

    def get_adapter(self, url: str) -> BaseAdapter:
        """Give the adapter that is mounted for a URL, with connections of this process' own.

        Those that were open at a fork are the parent's: a child that sent over them would be given its answers.
        """
        if self._process != os.getpid():
            for adapter in self.adapters.values():
                with contextlib.suppress(NotImplementedError):  # as BaseAdapter's
                    adapter.close()  # lets go of its connections, and is as good as new
            self._process = os.getpid()
        return super().get_adapter(url)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Authorise a request that is redirected, hop by hop.

        API hosts get the current token, other hosts what requests would give them.

        :raises TokenError: when a token is needed and none could be had.
        """
        auth, before, url = self.auth, response.request, prepared_request.url or ""
        if not isinstance(auth, AritmaAuth):
            super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]  # untyped in the stubs
            return
        ours, covered = auth.prepared(before), auth.environment.covers(url)
        # The token goes no further than its host, even where a hook of the user's has put another host's answer in the
        # place of the API's; the caller's own credentials go as far as requests lets them.
        leaving = (auth.environment.covers(before.url or "") if ours else False) or auth.carried(prepared_request)
        ours_to_give = auth.environment.has_host_of(url)
        if leaving or (ours_to_give and (ours or self.should_strip_auth(before.url, url))):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Authorization", None)
        if ours and covered:
            auth(prepared_request)
        if ours and not covered:
            auth.note_passed(prepared_request)
        if not ours_to_give:  # an API host is never given what .netrc says
            super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {**state, "_process": self._process}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what requests restores, and let the auth send its token requests as this session sends its own."""
        super().__setstate__(state)  # type: ignore[misc]  # not in the stubs
        if isinstance(self.auth, AritmaAuth):
            self.auth = copy.copy(self.auth)  # its own, so that each of two copies sends token requests its own way
            self.auth.borrow(self)
