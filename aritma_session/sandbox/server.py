"""Join Aritma ID, the bank and the wire into one ``Sandbox``."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
import threading
from collections import deque
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from .authority import Authority
from .bank import Bank, bearer_token, forbidden, problem, unauthorized
from .clients import Client, Clients
from .faults import Answer
from .identity import GRANTS, PUBLIC_GRANTS, Identity
from .ledger import Ledger
from .listener import Listener
from .users import User, Users
from .validator import Terms
from .wire import Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

    from .ledger import Counts, Part, Request

__all__ = ["Sandbox"]

SCOPES = ("bankservice", "api", "services.banking", "banking.ais.read", "reconcile", "services.erphub")
SECRET_LENGTHS = 8, 32
PARTS: tuple[Part, ...] = ("token", "api", "authorize", "revocation", "discovery", "userinfo")
REDIRECTS = {"301", "302", "303", "307", "308"}


@dataclass(frozen=True)
class _Running:
    """Hold what exists only between start and stop."""

    stopping: threading.Event
    identity: Identity
    issuer: str
    authority: Authority


class Sandbox:
    """Serve a local Aritma ID and a small bank API over TLS, from background threads.

    Everything may be read, called and changed from any thread while it runs. Besides the client that has a secret there
    is a public one, for flows with a user; and there is one user.

    :param client_id: the client that may have tokens.
    :param client_secret: its secret, 8 to 32 characters.
    :param token_lifetime: lifetime of the tokens in seconds; an attribute that may be changed at any time.
    :param token_delay: seconds before each answer of the token endpoint; an attribute that may be changed at any time.
    :param call_delay: seconds before each call of the API is looked at; an attribute that may be changed at any time.
    :param port: the port on the loopback addresses. 0: a free one.
    :param allowed_scopes: what the client may ask for, and what it gets where it asks for nothing.
    :ivar refuse_all: ``True``: every API call is refused with 401, whatever its token.
    :ivar forbid_all: ``True``: every API call is refused with 403, as for a client without a policy.
    :ivar rotate_refresh_tokens: ``True``, as it is made: each use of a refresh token gives a new one and spends the old
        one. ``False``: the same one stays good.
    :ivar code_lifetime: seconds that an authorization code is good.
    :ivar send_iss: ``True``, as it is made: the authorize endpoint says whose answer it is (RFC 9207).
    :ivar signed_in: ``True``: the user counts as signed in in every browser, so that no page is shown, but with
        ``prompt=login``.
    :ivar public_client_id: the client that has no secret, ``sandbox-app``.
    :ivar username: the user's name, ``sandbox-user``, which tokens carry as ``sub``.
    :ivar password: the user's password, ``sandbox-password-1234``.
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
        self.token_lifetime: int = token_lifetime
        self.token_delay: float = token_delay
        self.call_delay: float = call_delay
        self.public_client_id = "sandbox-app"
        self.username = "sandbox-user"
        self.password = "sandbox-password-1234"  # noqa: S105  # as the secret
        self._as_made = token_lifetime, token_delay, call_delay
        self._reset_switches()
        self._port = port
        scopes = tuple(allowed_scopes)
        self._clients = Clients(
            Client(client_id, client_secret, scopes, GRANTS),
            Client(self.public_client_id, scopes=scopes, grants=PUBLIC_GRANTS),
        )
        self._ledger = Ledger()
        self._bank = Bank()
        self._answers: dict[Part, deque[Answer]] = {part: deque() for part in PARTS}
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
            authority = Authority(Path(directory))
            listener = Listener(authority.server_context(), stopping, self._port)
            issuer = f"https://localhost:{listener.port}"
            users = Users(User(self.username, self.password))
            identity = Identity(issuer, self._clients, users, self._ledger)
            state = _Running(stopping, identity, issuer, authority)
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
    def authorization_endpoint(self) -> str:
        """The URL that users are sent to. With a tenant: ``{issuer}/{tenant}/connect/authorize``."""
        return f"{self.issuer}/connect/authorize"

    @property
    def userinfo_endpoint(self) -> str:
        """The URL that tells about the user. With a tenant: ``{issuer}/{tenant}/connect/userinfo``."""
        return f"{self.issuer}/connect/userinfo"

    @property
    def revocation_endpoint(self) -> str:
        """The URL that revokes tokens. With a tenant: ``{issuer}/{tenant}/connect/revocation``."""
        return f"{self.issuer}/connect/revocation"

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
        return self._running.authority.bundle

    def register_key(self, public_key_pem: str | bytes) -> None:
        """Let the client prove itself with assertions that it signs (RFC 7523), besides what it can do already.

        :param public_key_pem: the public half of its key, in PEM: RSA, for RS256 and PS256, or P-256, for ES256.
        :raises ValueError: it is no such key.
        """
        self._clients.register_key(public_key_pem)

    def client_certificate(self) -> str:
        """Make a certificate by which the client is known in mutual TLS (RFC 8705), besides what it can do already.

        :returns: the path of a PEM file with the certificate and its key; gone after ``stop``.
        """
        made = self._running.authority.client_certificate()
        self._clients.register_certificate(made.data)
        return made.path

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
        """Behave as if newly made.

        Counts, faults, delays, refusals and switches are gone; so are all tokens, sessions of browsers, and registered
        keys and certificates.
        """
        self.token_lifetime, self.token_delay, self.call_delay = self._as_made
        self._reset_switches()
        for answers in self._answers.values():
            answers.clear()
        self._running.identity.forget()
        self.reset_counts()

    def _reset_switches(self) -> None:
        self.refuse_all = self.forbid_all = self.signed_in = False
        self.rotate_refresh_tokens = self.send_iss = True
        self.code_lifetime: float = 60.0

    def revoke_all(self) -> None:
        """Refuse all access tokens issued so far, from now on; refresh tokens stay good."""
        self._running.identity.revoke_all()

    def revoke_refresh_tokens(self) -> None:
        """Refuse all refresh tokens issued so far, from now on."""
        self._running.identity.revoke_refresh_tokens()

    def answer(self, part: Part, *answers: Answer) -> None:
        """Answer the next requests to a part of the sandbox with these, one each, in this order, after those waiting.

        :param part: ``token``, ``api``, ``authorize``, ``revocation``, ``discovery`` or ``userinfo``; see
            ``Request.kind``.
        :param answers: see ``Answer``, whose class methods name the common faults.
        :raises ValueError: there is no such part.
        """
        if part not in self._answers:
            raise ValueError(f"a part is one of {', '.join(self._answers)}")
        self._answers[part].extend(answers)

    def answer_token_requests(self, *answers: Answer) -> None:
        """Answer the next token requests with these; see ``answer``."""
        self.answer("token", *answers)

    def answer_calls(self, *answers: Answer) -> None:
        """Answer the next calls of the API with these, whatever their tokens; see ``answer``."""
        self.answer("api", *answers)

    def answer_authorize_requests(self, *answers: Answer) -> None:
        """Answer the next requests to the authorize endpoint with these, the login page's own included; see ``answer``.

        For example ``Answer.refusal("server_error")``, or ``Answer.changed(state="another")``.
        """
        self.answer("authorize", *answers)

    @property
    def _running(self) -> _Running:
        if self._state is None:
            raise RuntimeError("the sandbox is not running: use it in a with block, or call start()")
        return self._state

    def _serve(self, state: _Running, connection: ssl.SSLSocket) -> None:
        respond = functools.partial(self._respond, state)
        Wire(connection, respond, state.stopping, connection.getpeercert(binary_form=True) or b"").serve()

    def _respond(self, state: _Running, request: Request) -> Answer:
        self._ledger.arrived(request)
        if request.kind == "other":
            return self._respond_other(state, request)
        answer = self._respond_part(state, request)
        if request.kind == "api":
            self._ledger.answering(answer.status)
        return answer

    def _respond_part(self, state: _Running, request: Request) -> Answer:
        """Answer as was asked for, where anything was, or else as the real thing."""
        try:
            wanted = self._answers[request.kind].popleft()
        except IndexError:
            wanted = Answer.changed()
        state.stopping.wait({"token": self.token_delay, "api": self.call_delay}.get(request.kind, 0))
        if wanted.redirected and request.kind == "authorize":
            return state.identity.answer_authorize_request(request, self._terms(), refusal=json.loads(wanted.body))
        if wanted.fields is None:
            return wanted
        real = self._respond_really(state, request, wanted)
        kind = real.headers.get("Content-Type")
        if wanted.fields and (real.status, kind) == (HTTPStatus.OK, "application/json"):
            changed = {**json.loads(real.body), **wanted.fields}
            left = {name: value for name, value in changed.items() if value is not None}
            real = replace(real, body=json.dumps(left).encode())
        return replace(real, kind=wanted.kind, interval=wanted.interval)

    def _respond_really(self, state: _Running, request: Request, wanted: Answer) -> Answer:
        identity, terms = state.identity, self._terms(wanted.lifetime)
        parts: dict[Part, Callable[[], Answer]] = {
            "token": lambda: identity.answer_token_request(request, terms),
            "authorize": lambda: identity.answer_authorize_request(request, terms, wanted.fields),
            "revocation": lambda: identity.answer_revocation_request(request),
            "discovery": lambda: identity.answer_discovery(request, terms),
            "userinfo": lambda: identity.answer_userinfo_request(request),
            "api": lambda: self._refusal(state, request) or self._bank.answer(request),
        }
        return parts[request.kind]()

    def _terms(self, lifetime: int | None = None) -> Terms:
        return Terms(
            self.token_lifetime if lifetime is None else lifetime,
            self.code_lifetime,
            self.rotate_refresh_tokens,
            self.send_iss,
            self.signed_in,
        )

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
        return problem(404, "Not Found")


def _redirect(request: Request) -> Answer:
    query = parse_qs(request.query)
    target, status = query.get("to", [""])[-1], query.get("status", ["302"])[-1]
    if not target or status not in REDIRECTS:
        return problem(400, "redirect?to=URL&status=301, 302, 303, 307 or 308")
    return Answer.redirect(target, int(status))
