"""Know the one user of Aritma ID, and where that user is signed in."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["COOKIE", "IDENTITY_SCOPES", "SignIn", "User", "Users"]

COOKIE = "aritma-sandbox-session"
IDENTITY_SCOPES = ("openid", "profile", "email", "offline_access")


@dataclass(frozen=True)
class User:
    """Hold the one user.

    :param username: the user name, which is the ``sub`` of tokens too.
    :param password: the password.
    """

    username: str
    password: str = field(repr=False)

    def proves(self, username: str, password: str) -> bool:
        """Tell whether these are the user's credentials."""
        given = json.dumps([username, password]).encode()
        return hmac.compare_digest(given, json.dumps([self.username, self.password]).encode())

    def claims(self, scopes: Collection[str]) -> dict[str, str]:
        """Tell what these scopes let a client know about the user (OpenID Connect Core section 5.4)."""
        claims = {"sub": self.username}
        if "profile" in scopes:
            claims["name"] = "Sandbox User"
        if "email" in scopes:
            claims["email"] = f"{self.username}@example.com"
        return claims


@dataclass(frozen=True)
class SignIn:
    """Hold that the user signed in.

    :param sub: the user's name.
    :param at: when, in seconds since the epoch.
    :param mfa: whether with a second factor.
    """

    sub: str
    at: int
    mfa: bool = False

    @property
    def claims(self) -> dict[str, object]:
        """What an id_token says about it (OpenID Connect Core section 2)."""
        if self.mfa:
            return {"sub": self.sub, "auth_time": self.at, "acr": "mfa", "amr": ["pwd", "mfa"]}
        return {"sub": self.sub, "auth_time": self.at, "amr": ["pwd"]}


class Users:
    """Sign the user in, and remember in which browsers; any thread may call any method."""

    def __init__(self, user: User) -> None:
        self.user = user
        self._lock = threading.Lock()  # guards the sessions
        self._sessions: dict[str, SignIn] = {}

    def sign_in(self, username: str, password: str, *, mfa: bool = False) -> SignIn | None:
        """Sign the user in; ``None`` where these are not the user's credentials."""
        return self.signed_in(mfa=mfa) if self.user.proves(username, password) else None

    def signed_in(self, *, mfa: bool = False) -> SignIn:
        """Take it that the user signed in just now."""
        return SignIn(self.user.username, int(time.time()), mfa)

    def remember(self, sign_in: SignIn) -> str:
        """Begin the session of a browser.

        :returns: the Set-Cookie header field.
        """
        session = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[session] = sign_in
        return f"{COOKIE}={session}; Path=/; Secure; HttpOnly; SameSite=Lax"

    def recognise(self, cookies: str) -> SignIn | None:
        """Find out whether the user is signed in in a browser.

        :param cookies: the Cookie header field.
        """
        # Other servers on this host have cookies of their own, of any form.
        named = dict(cookie.strip().partition("=")[::2] for cookie in cookies.split(";"))
        with self._lock:
            return self._sessions.get(named.get(COOKIE, ""))

    def forget(self) -> None:
        """End all sessions."""
        with self._lock:
            self._sessions.clear()
