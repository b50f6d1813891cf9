"""Play a small part of Aritma's Open Banking API v3."""

from __future__ import annotations

import json
import random
import re
import threading
import uuid
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, unquote

from .faults import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .ledger import Request

__all__ = ["Bank", "bearer_token", "forbidden", "problem", "unauthorized"]

REALM = 'realm="Aritma sandbox"'
STATEMENTS = 25
TAKE_LIMIT = 100
FIRST_DAY = date(2025, 1, 1)


class _Route(NamedTuple):
    pattern: re.Pattern[str]
    methods: frozenset[str]  # empty: any
    respond: Callable[[Request, str], Answer]


class Bank:
    """Answer API calls that have already been let in; any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards both dictionaries, so that a key makes one payment
        self._payments: dict[str, object] = {}
        self._replays: dict[str, Answer] = {}
        self._routes = (
            _route("/statements/([^/]+)", _statements, "GET", "HEAD"),
            _route("/payments/([^/]+)", self._payment, "GET", "HEAD"),
            _route("/payments()", self._pay, "POST"),
            _route("/echo()", _echo),
            _route("/status/([2-5][0-9]{2})", _status),
        )

    def answer(self, request: Request) -> Answer:
        """Answer a call: 404 where there is nothing, 405 where the method does not fit."""
        for route in self._routes:
            match = route.pattern.fullmatch(request.path)
            if match is None:
                continue
            if route.methods and request.method not in route.methods:
                return problem(405, "Method Not Allowed", {"Allow": ", ".join(sorted(route.methods))})
            return route.respond(request, unquote(match[1]))
        return problem(404, "Not Found")

    def _payment(self, _request: Request, message_id: str) -> Answer:
        with self._lock:
            payment = self._payments.get(message_id)
        return problem(404, "Not Found") if payment is None else Answer.json(payment)

    def _pay(self, request: Request, _: str) -> Answer:
        """Accept a payment, once for each Idempotency-Key."""
        key = request.headers.get("idempotency-key")
        with self._lock:
            if key is not None and key in self._replays:
                first = self._replays[key]
                return Answer(first.status, first.body, {**first.headers, "Idempotent-Replayed": "true"})
            answer = self._accept(request)
            if key is not None:
                self._replays[key] = answer
            return answer

    def _accept(self, request: Request) -> Answer:
        try:
            order = json.loads(request.body)
        except ValueError:
            return problem(400, "The body is not JSON")
        if not isinstance(order, dict):
            return problem(400, "The body is not a JSON object")
        message_id = str(order.get("messageId") or uuid.uuid4())
        payment = {**order, "messageId": message_id, "status": "RECEIVED"}
        self._payments[message_id] = payment
        return Answer.json(payment, 201, {"Location": f"/api/v3/payments/{message_id}"})


def bearer_token(request: Request) -> str | None:
    """Take the token out of the Authorization header field (RFC 6750 section 2.1); ``None`` where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def unauthorized(reason: str | None) -> Answer:
    """Refuse a call with 401 (RFC 6750 section 3).

    :param reason: what is wrong with the token. ``None``: there was no token, so no error is named (section 3.1).
    """
    named = "" if reason is None else f', error="invalid_token", error_description="{reason}"'
    return problem(401, "Unauthorized", {"WWW-Authenticate": f"Bearer {REALM}{named}"})


def forbidden() -> Answer:
    """Refuse a call with 403, as for a client that has a token and no policy (RFC 6750 section 3.1)."""
    challenge = f'Bearer {REALM}, error="insufficient_scope", error_description="The client has no policy"'
    return problem(403, "Forbidden", {"WWW-Authenticate": challenge})


def problem(status: int, title: str, headers: dict[str, str] | None = None) -> Answer:
    """Answer with an error in JSON (RFC 9457)."""
    return Answer.json({"status": status, "title": title}, status, headers)


def _route(path: str, respond: Callable[[Request, str], Answer], *methods: str) -> _Route:
    return _Route(re.compile(f"/api/v3{path}"), frozenset(methods), respond)


def _statements(request: Request, company_id: str) -> Answer:
    query = parse_qs(request.query)
    try:
        skip, take = int(query.get("skip", ["0"])[-1]), int(query.get("take", ["10"])[-1])
    except ValueError:
        return problem(400, "skip and take are numbers")
    if skip < 0 or not 1 <= take <= TAKE_LIMIT:
        return problem(400, f"skip is 0 or more, take is 1 to {TAKE_LIMIT}")
    page = [_statement(company_id, number) for number in range(STATEMENTS)[skip : skip + take]]
    return Answer.json({"companyId": company_id, "total": STATEMENTS, "skip": skip, "take": take, "statements": page})


def _statement(company_id: str, number: int) -> dict[str, object]:
    """Make up a statement, the same one each time."""
    chance = random.Random(f"{company_id}/{number}")  # no secret: repeatable is the point
    account = random.Random(company_id).randrange(10**10, 10**11)
    opening, change = chance.randrange(10_000_000), chance.randrange(-100_000, 100_000)
    day = (FIRST_DAY + timedelta(days=number)).isoformat()
    return {
        "statementId": f"{company_id}-{number + 1:04}",
        "accountNumber": str(account),
        "currency": "NOK",
        "date": day,
        "openingBalance": opening / 100,
        "closingBalance": (opening + change) / 100,
        "transactions": [{"reference": str(chance.randrange(10**8)), "bookingDate": day, "amount": change / 100}],
    }


def _echo(request: Request, _: str) -> Answer:
    seen = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": dict(request.headers),
        "body": request.body.decode("utf-8", "replace"),
        "body_length": len(request.body),
    }
    return Answer.json(seen)


def _status(_request: Request, code: str) -> Answer:
    # A 401 must carry a challenge (RFC 9110 section 15.5.2).
    headers = {"WWW-Authenticate": f"Bearer {REALM}"} if code == "401" else None
    return problem(int(code), "As you asked", headers)
