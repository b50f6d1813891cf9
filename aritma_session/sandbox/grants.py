"""Keep what users granted to clients, for the codes and refresh tokens that stand for it."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .users import SignIn

__all__ = ["Grant", "Grants", "Vouchers"]


@dataclass(frozen=True)
class Grant:
    """Hold what a user granted to a client.

    :param issuer: whose tokens it is good for.
    :param client_id: the client.
    :param scopes: the scopes.
    :param sign_in: how the user signed in for it.
    :param redirect_uri: where the code was sent (RFC 6749 section 4.1.3).
    :param code_challenge: what the client must know the origin of (RFC 7636 section 4.3).
    :param nonce: what the id_token is to repeat.
    """

    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    sign_in: SignIn
    redirect_uri: str = ""
    code_challenge: str | None = None
    nonce: str | None = field(default=None, repr=False)


class Vouchers:
    """Keep grants by texts that stand for them; any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the grants
        self._grants: dict[str, tuple[float, Grant]] = {}  # with the time.monotonic() that ends them

    def keep(self, text: str, grant: Grant, lifetime: float = math.inf) -> None:
        """Keep a grant.

        :param lifetime: seconds that the text stands for it.
        """
        with self._lock:
            self._grants[text] = time.monotonic() + lifetime, grant

    def find(self, text: str) -> Grant | None:
        """Find a grant by its text, where there is one and its time has not come."""
        with self._lock:
            ends_at, grant = self._grants.get(text, (0.0, None))
        return grant if time.monotonic() < ends_at else None

    def spend(self, text: str) -> bool:
        """Let a text stand for nothing any more; tell whether this call did that."""
        with self._lock:
            return self._grants.pop(text, None) is not None

    def clear(self) -> None:
        """Let all texts stand for nothing any more."""
        with self._lock:
            self._grants.clear()


class Grants:
    """Keep both kinds of grants, those of codes and those of refresh tokens."""

    def __init__(self) -> None:
        self.codes: Vouchers = Vouchers()
        self.refresh_tokens: Vouchers = Vouchers()

    def forget(self) -> None:
        """Forget all codes and refresh tokens."""
        self.codes.clear()
        self.refresh_tokens.clear()
