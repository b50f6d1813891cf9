"""Join Aritma ID, the bank and the wire into one ``Sandbox``."""

from __future__ import annotations

import contextlib
import functools
import json
import ssl
import tempfile
import threading
from collections import deque
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import trustme

from .bank import Bank, bearer_token, forbidden, problem, unauthorized
from .faults import Answer
from .identity import Client, Identity
from .ledger import Ledger
from .listener import Listener
from .wire import Wire

if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from .ledger import Counts, Request

__all__ = ["Sandbox"]

SCOPES = ("bankservice", "api", "services.banking", "banking.ais.read", "reconcile", "services.erphub")
SECRET_LENGTHS = 8, 32
REDIRECTS = {"301", "302", "303", "307", "308"}


@dataclass(frozen=True)
class _Running:
    """Hold what exists only between start and stop."""

    stopping: threading.Event
    identity: Identity
    issuer: str
    ca_bundle: str


class Sandbox:
    """Serve a local Aritma ID and a small bank API over TLS, from background threads.

    Everything may be read, called and changed from any thread while it runs.

    :param client_id: the client that may have tokens.
    :param client_secret: its secret, 8 to 32 characters.
    :param token_lifetime: lifetime of the tokens in seconds; an attribute that may be changed at any time.
    :param token_delay: seconds before each answer of the token endpoint; an attribute that may be changed at any time.
    :param call_delay: seconds before each call of the API is looked at; an attribute that may be changed at any time.
    :param port: the port on the loopback addresses. 0: a free one.
    :param allowed_scopes: what the client may ask for, and what it gets where it asks for nothing.
    :ivar refuse_all: ``True``: every API call is refused with 401, whatever its token.
    :ivar forbid_all: ``True``: every API call is refused with 403, as for a client without a policy.
    :raises ValueError: the secret is too short or too long.
    """

    def __init__(
        self,
        *,
        client_id: str = "sandbox-client",
        client_secret: str = "sandbox-secret-1234",  # noqa: S107  # it opens nothing but this sandbox
        token_lifetime: int = 3600,
        token_delay: float = 0.0,
        call_delay: float = 0.0,
        port: int = 0,
        allowed_scopes: tuple[str, ...] = SCOPES,
    ) -> None:
        shortest, longest = SECRET_LENGTHS
        if not shortest <= len(client_secret) <= longest:
            raise ValueError(f"a client secret has {shortest} to {longest} characters")
        self.client_id = client_id
        self.client_secret = client_secret
        self.token_lifetime = token_lifetime
        self.token_delay = token_delay
        self.call_delay = call_delay
        self.refuse_all = False
        self.forbid_all = False
        self._as_made = token_lifetime, token_delay, call_delay
        self._port = port
        self._client = Client(client_id, client_secret, tuple(allowed_scopes))
        self._ledger = Ledger()
        self._bank = Bank()
        self._answers: deque[Answer] = deque()
        self._api_answers: deque[Answer] = deque()
        self._state: _Running | None = None
        self._resources = contextlib.ExitStack()

    def start(self) -> Sandbox:
        """Start to serve.

        :returns: the sandbox itself.
        :raises RuntimeError: it is running already.
        :raises OSError: the port is taken.
        """
        if self._state is not None:
            raise RuntimeError("the sandbox is running already")
        stopping = threading.Event()
        with contextlib.ExitStack() as resources:  # undoes what was done if a step fails
            directory = resources.enter_context(tempfile.TemporaryDirectory(prefix="aritma-sandbox-"))
            bundle = Path(directory, "ca.pem")
            listener = Listener(_certify(bundle), stopping, self._port)
            issuer = f"https://localhost:{listener.port}"
            identity = Identity(issuer, self._client)
            state = _Running(stopping, identity, issuer, str(bundle))
            listener.start(functools.partial(self._serve, state))
            resources.callback(listener.stop)
            self._state, self._resources = state, resources.pop_all()
        return self

    def stop(self) -> None:
        """Stop serving, break all connections and remove the CA bundle; does nothing where it is not running."""
        self._state = None
        self._resources.close()

    def __enter__(self) -> Sandbox:  # noqa: PYI034  # typing.Self came with Python 3.11
        """Start to serve."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop serving."""
        self.stop()

    @property
    def issuer(self) -> str:
        """The URL of Aritma ID: ``https://localhost:PORT``."""
        return self._running.issuer

    @property
    def token_endpoint(self) -> str:
        """The URL that gives tokens. With a tenant: ``{issuer}/{tenant}/connect/token``."""
        return f"{self.issuer}/connect/token"

    @property
    def api_url(self) -> str:
        """The URL that the API's paths follow: ``https://localhost:PORT/api/v3``."""
        return f"{self.issuer}/api/v3"

    @property
    def other_host(self) -> str:
        """The same server under a host name that is not the API's: ``https://127.0.0.1:PORT``."""
        return self.issuer.replace("localhost", "127.0.0.1")

    @property
    def ca_bundle(self) -> str:
        """The path of the PEM file that ``verify`` needs; gone after ``stop``."""
        return self._running.ca_bundle

    def environ(self) -> dict[str, str]:
        """Give the environment variables that point a session at this sandbox."""
        return {
            "ARITMA_CLIENT_ID": self.client_id,
            "ARITMA_CLIENT_SECRET": self.client_secret,
            "ARITMA_ENVIRONMENT": self.issuer,
            "REQUESTS_CA_BUNDLE": self.ca_bundle,
        }

    @property
    def counts(self) -> Counts:
        """The counts at this moment; a request is counted before it is answered."""
        return self._ledger.counts

    @property
    def requests(self) -> tuple[Request, ...]:
        """The last 10,000 requests at this moment, oldest first."""
        return self._ledger.requests

    def reset_counts(self) -> None:
        """Start counting at 0, and forget the requests so far."""
        self._ledger.clear()

    def reset(self) -> None:
        """Behave as if newly made: counts, faults, delays and refusals are gone, and all tokens so far are revoked."""
        self.token_lifetime, self.token_delay, self.call_delay = self._as_made
        self.refuse_all = self.forbid_all = False
        self._answers.clear()
        self._api_answers.clear()
        self.revoke_all()
        self.reset_counts()

    def revoke_all(self) -> None:
        """Refuse all tokens issued so far, from now on."""
        self._running.identity.revoke_all()

    def answer_token_requests(self, *answers: Answer) -> None:
        """Answer the next token requests with these, one each, in this order, after those still waiting.

        :param answers: see ``Answer``, whose class methods name the common faults.
        """
        self._answers.extend(answers)

    def answer_calls(self, *answers: Answer) -> None:
        """Answer the next calls of the API with these, one each, in this order, whatever their tokens.

        :param answers: see ``Answer``, whose class methods name the common faults.
        """
        self._api_answers.extend(answers)

    @property
    def _running(self) -> _Running:
        if self._state is None:
            raise RuntimeError("the sandbox is not running: use it in a with block, or call start()")
        return self._state

    def _serve(self, state: _Running, connection: socket.socket) -> None:
        Wire(connection, functools.partial(self._respond, state), state.stopping).serve()

    def _respond(self, state: _Running, request: Request) -> Answer:
        self._ledger.arrived(request)
        if request.kind == "token":
            return self._respond_token(state, request)
        if request.kind == "api":
            answer = self._respond_api(state, request)
            self._ledger.answering(answer.status)
            return answer
        return self._respond_other(state, request)

    def _respond_token(self, state: _Running, request: Request) -> Answer:
        try:
            wanted = self._answers.popleft()
        except IndexError:
            wanted = Answer.token()
        state.stopping.wait(self.token_delay)
        if wanted.fields is None:
            return wanted
        lifetime = self.token_lifetime if wanted.lifetime is None else wanted.lifetime
        real = state.identity.answer_token_request(request, lifetime)
        if real.status == HTTPStatus.OK:
            self._ledger.issued()
            changed = {**json.loads(real.body), **wanted.fields}
            left = {name: value for name, value in changed.items() if value is not None}
            real = replace(real, body=json.dumps(left).encode())
        return replace(real, kind=wanted.kind, interval=wanted.interval)

    def _respond_api(self, state: _Running, request: Request) -> Answer:
        state.stopping.wait(self.call_delay)
        try:
            wanted = self._api_answers.popleft()
        except IndexError:
            wanted = None
        if wanted is not None and wanted.fields is None:
            return wanted
        real = self._refusal(state, request) or self._bank.answer(request)
        return real if wanted is None else replace(real, kind=wanted.kind, interval=wanted.interval)

    def _refusal(self, state: _Running, request: Request) -> Answer | None:
        token = bearer_token(request)
        if token is None:
            return unauthorized(None)
        reason = "All tokens are refused" if self.refuse_all else state.identity.refusal(token)
        if reason is not None:
            return unauthorized(reason)
        return forbidden() if self.forbid_all else None

    def _respond_other(self, state: _Running, request: Request) -> Answer:
        if request.path == "/redirect":
            return _redirect(request)
        if (request.method, request.path) == ("GET", "/sandbox/counts"):
            return Answer.json(asdict(self.counts))
        if (request.method, request.path) == ("POST", "/sandbox/revoke"):
            state.identity.revoke_all()
            return Answer(204)
        found = state.identity.answer_discovery(request.path) if request.method in {"GET", "HEAD"} else None
        return found or problem(404, "Not Found")


def _certify(bundle: Path) -> ssl.SSLContext:
    """Make a certificate authority, write it down for clients, and get the server a certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    return context


def _redirect(request: Request) -> Answer:
    query = parse_qs(request.query)
    target, status = query.get("to", [""])[-1], query.get("status", ["302"])[-1]
    if not target or status not in REDIRECTS:
        return problem(400, "redirect?to=URL&status=301, 302, 303, 307 or 308")
    return Answer.redirect(target, int(status))
