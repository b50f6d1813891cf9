"""Know the one user of Aritma ID."""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import dataclass, field

__all__ = ["IDENTITY_SCOPES", "SignIn", "User", "Users"]

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


@dataclass(frozen=True)
class SignIn:
    """Hold that the user signed in.

    :param sub: the user's name.
    :param at: when, in seconds since the epoch.
    """

    sub: str
    at: int

    @property
    def claims(self) -> dict[str, object]:
        """What an id_token says about it (OpenID Connect Core section 2)."""
        return {"sub": self.sub, "auth_time": self.at, "amr": ["pwd"]}


class Users:
    """Sign the user in."""

    def __init__(self, user: User) -> None:
        self.user = user

    def sign_in(self, username: str, password: str) -> SignIn | None:
        """Sign the user in; ``None`` where these are not the user's credentials."""
        return SignIn(self.user.username, int(time.time())) if self.user.proves(username, password) else None
