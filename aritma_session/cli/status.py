"""Say what is cached for the current settings, and ask nobody."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from ..grants import Login
from .cached import keys, place, shared, usable
from .given import resolve
from .parser import FAILED, OK
from .terminal import bar, clean, duration, moment, painter, table

if TYPE_CHECKING:
    import argparse

    from ..settings import Settings
    from ..tokens import Token

__all__ = ["run"]

#: Letters of the bar that shows how much of a token's life is left.
_BAR = 30


def run(options: argparse.Namespace) -> int:
    """Print what is cached; fail where a person has to log in."""
    settings, now = resolve(options), time.time()
    with usable(settings.cache):
        token = settings.cache.load(settings.cache_key)
        report = _report(settings, token, now)
    print(json.dumps(report) if options.json else _text(report, settings))
    return FAILED if report["login_required"] else OK


def _report(settings: Settings, token: Token | None, now: float) -> dict[str, Any]:
    grant, store = settings.grant, settings.cache
    known = keys(store)
    lasting = token is not None and (token.fresh(now) or token.refresh_token is not None)
    return {
        "client_id": settings.client_id,
        "environment": settings.environment.issuer,
        "tenant": settings.environment.tenant,
        "grant": grant.name,
        "username": getattr(grant, "username", None),
        "scope": list(settings.scope),
        "cache": place(store),
        "shared": shared(store),
        "other_entries": None if known is None else len({*known} - {settings.cache_key}),
        "token": None if token is None else _judged(token, now),
        "login_required": isinstance(grant, Login) and not lasting,
    }


def _judged(token: Token, now: float) -> dict[str, Any]:
    state = "expired" if not token.fresh(now) else "ageing" if now >= token.renewal_at(now, 0) else "good"
    return {
        "state": state,
        "scope": token.scope,
        "obtained_at": token.obtained_at,
        "expires_at": token.expires_at,
        "age": now - token.obtained_at,
        "lifetime": token.lifetime,
        "left": max(token.expires_at - now, 0),
        "refresh_token": token.refresh_token is not None,
        "on_probation": token.on_probation,
    }


def _text(report: dict[str, Any], settings: Settings) -> str:
    tenant = f", tenant {report['tenant']}" if report["tenant"] else ""
    user = f", user {clean(report['username'])}" if report["username"] else ""
    rows = [
        ("Client", f"{report['client_id']} at {report['environment']}{tenant}"),
        ("Grant", f"{report['grant']}{user}"),
        ("Scope", " ".join(report["scope"]) or "all that the client is allowed"),
        ("Cache", _cache(report)),
        *_token(report, settings),
    ]
    paint = painter(sys.stdout)
    return table((paint("quiet", f"{name:<8}"), text) for name, text in rows)


def _cache(report: dict[str, Any]) -> str:
    if not report["shared"]:
        return "memory: each process has its own, and ends with it"
    others = report["other_entries"]
    if others is None:
        return f"{report['cache']}"
    entries = "no other entry" if not others else "1 other entry" if others == 1 else f"{others} other entries"
    return f"{report['cache']} ({entries})"


def _token(report: dict[str, Any], settings: Settings) -> list[tuple[str, str]]:
    token, paint = report["token"], painter(sys.stdout)
    command = getattr(settings.grant, "login_command", "")
    ahead = f"to log in, run {command}" if report["login_required"] else "the next request fetches one"
    if token is None:
        return [("Token", f"{paint('warning', 'none')}: {ahead}")]
    left, lifetime = duration(token["left"]), duration(token["lifetime"])
    said = {
        "good": f"{paint('good', 'good')} for {left} of {lifetime}",
        "ageing": f"{paint('warning', 'ageing')}, good for {left} of {lifetime}: the next request renews it",
        "expired": f"{paint('bad', 'expired')}: {ahead}",
    }[token["state"]]
    rows = [("Token", said)]
    if sys.stdout.isatty() and token["left"]:
        share = token["left"] / token["lifetime"]
        rows.append(("", f"{paint('quiet', bar(share, _BAR, sys.stdout))} {share:.0%} left"))
    rows.append(("Obtained", f"{moment(token['obtained_at'])}, {duration(token['age'])} ago"))
    rows.append(("Expires", moment(token["expires_at"])))
    if token["scope"] is not None and token["scope"].split() != report["scope"]:
        rows.append(("Granted", clean(token["scope"])))
    if token["on_probation"]:
        rows.append(("", "on probation: the one before was refused, and no answer has come to this one yet"))
    if settings.grant.has_user:
        rows.append(("Refresh", "a refresh token is there" if token["refresh_token"] else "no refresh token is there"))
    return rows
