"""An access token, as a value that judges its own age."""

from __future__ import annotations

import math
import re
from typing import Any

from .values import Value

__all__ = ["Token"]

#: What may stand behind ``Bearer`` in a header (RFC 6750, section 2.1): no white space, no line break, nothing to
#: inject.
_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)

#: What a refresh token may be made of (RFC 6749, appendix A.17). Not compiled until there is one, as most have none.
_VSCHARS = r"[\x20-\x7e]+"

#: Seconds that a token is believed to live where the server does not say (RFC 6749, section 5.1 only recommends it).
#: Short, because a token that outlives this costs one token request, and one that does not costs a refused call.
UNSTATED_LIFETIME = 300.0

#: Seconds; a stated lifetime beyond ten years is a mistake of the server's, and this keeps the sums finite.
LONGEST_LIFETIME = 10 * 365.25 * 86400

#: Seconds before its expiry at which a token is not used any more: the time a request may be under way; and the share
#: of a shorter life that this is.
LONGEST_LEEWAY, SHARE_OF_LEEWAY = 60.0, 0.05

#: The share of its life after which a token is renewed ahead, while it is still used.
AGEING = 0.8

#: Seconds between two tries to renew a token ahead, in all processes together; and the share of a longer life that they
#: are, so that tries which are cut off, by processes that end soon, cost a few token requests and not one each.
SHORTEST_PAUSE, SHARE_OF_PAUSE = 30.0, 0.05

#: Seconds for which a token that replaced a refused one, and has not been accepted since, is not replaced in its turn.
PROBATION = 30.0


class Token(Value):
    """Hold one access token with the times that it is judged by.

    :param access_token: the token's text; it never shows in ``repr``.
    :param obtained_at: seconds since the epoch, read just before the token request was sent.
    :param expires_at: seconds since the epoch, counted from ``obtained_at``.
    :param scope: the scope granted, space-delimited, where the server said it.
    :param on_probation: true while the token, fetched because its predecessor was refused, has not been accepted.
    :param renewal_tried_at: seconds since the epoch, read when some process last began to renew the token ahead.
    :param refresh_token: what the next token may be asked for with (RFC 6749, section 6), where the server gave one; it
        never shows in ``repr``.
    :raises ValueError: when the text could not stand in an ``Authorization`` header, or the times make no sense.
    """

    __slots__ = (
        "access_token",
        "obtained_at",
        "expires_at",
        "scope",
        "on_probation",
        "renewal_tried_at",
        "refresh_token",
    )

    access_token: str
    obtained_at: float
    expires_at: float
    scope: str | None
    on_probation: bool
    renewal_tried_at: float | None
    refresh_token: str | None

    _hidden = frozenset({"access_token", "refresh_token"})

    def __init__(
        self,
        access_token: str,
        obtained_at: float,
        expires_at: float,
        scope: str | None = None,
        on_probation: bool = False,
        renewal_tried_at: float | None = None,
        refresh_token: str | None = None,
    ) -> None:
        if not _B64TOKEN.fullmatch(access_token):
            raise ValueError("the access token has characters that may not stand in an Authorization header")
        if refresh_token is not None and not re.fullmatch(_VSCHARS, refresh_token):
            raise ValueError("the refresh token has characters that it may not have")
        if not (math.isfinite(obtained_at) and math.isfinite(expires_at) and math.isfinite(renewal_tried_at or 0.0)):
            raise ValueError("the token's times are not finite")
        if expires_at < obtained_at:
            raise ValueError("the token expired before it was obtained")
        self._set(access_token=access_token, obtained_at=obtained_at, expires_at=expires_at)
        self._set(scope=scope, on_probation=on_probation, renewal_tried_at=renewal_tried_at)
        self._set(refresh_token=refresh_token)

    @classmethod
    def from_answer(cls, answer: dict[str, Any], obtained_at: float) -> Token:
        """Make a token of the token endpoint's answer (RFC 6749, section 5.1).

        :param answer: the JSON object; only ``access_token`` must be there.
        :param obtained_at: seconds since the epoch, read just before the token request was sent.
        :raises ValueError: when ``access_token`` is missing or cannot be used.
        """
        text, scope, refresh_token = (answer.get(name) for name in ("access_token", "scope", "refresh_token"))
        if not isinstance(text, str):
            raise ValueError("the answer has no access_token")
        if isinstance(scope, list):
            scope = " ".join(map(str, scope))
        return cls(
            access_token=text,
            obtained_at=obtained_at,
            expires_at=obtained_at + _lifetime(answer.get("expires_in")),
            scope=scope if isinstance(scope, str) else None,
            # One that could not be used is none: a person is asked to log in again when it would be needed.
            refresh_token=refresh_token
            if isinstance(refresh_token, str) and re.fullmatch(_VSCHARS, refresh_token)
            else None,
        )

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Token:
        """Read a token from what :meth:`to_record` wrote.

        :raises ValueError: when a field is missing or of the wrong type.
        """
        try:
            text, obtained, expires, scope, on_probation, tried, refresh = (record[name] for name in cls.fields())
        except KeyError:
            raise ValueError("not the record of a token") from None
        perhaps = (str, type(None))
        if not (isinstance(text, str) and isinstance(scope, perhaps) and isinstance(refresh, perhaps)):
            raise ValueError("not the record of a token")
        if not isinstance(on_probation, bool):
            raise ValueError("not the record of a token")
        tried_at = None if tried is None else _seconds(tried)
        return cls(text, _seconds(obtained), _seconds(expires), scope, on_probation, tried_at, refresh)

    def to_record(self) -> dict[str, Any]:
        """Give the fields as plain JSON values; the token's text, and the refresh token, are among them."""
        return self._fields()

    @property
    def lifetime(self) -> float:
        """Seconds from when the token was asked for to its expiry."""
        return self.expires_at - self.obtained_at

    @property
    def leeway(self) -> float:
        """Seconds before its expiry at which the token counts as expired: a minute, or a part of a shorter life."""
        return min(LONGEST_LEEWAY, self.lifetime * SHARE_OF_LEEWAY)

    @property
    def stale_at(self) -> float:
        """Seconds since the epoch from which on the token is not sent any more."""
        return self.expires_at - self.leeway

    def fresh(self, now: float) -> bool:
        """Tell whether the token can still be sent.

        :param now: seconds since the epoch.
        """
        return now < self.stale_at

    def renewal_at(self, now: float, jitter: float = 0.0) -> float:
        """Give the time from which on the token is to be renewed ahead: late in its life, and a while after any try.

        :param now: seconds since the epoch. A clock that was set back since the last try does not put off the next.
        :param jitter: the share of its life that the token is left to age more than it must.
        """
        ageing_at, tried_at = self.obtained_at + self.lifetime * (AGEING + jitter), self.renewal_tried_at
        if tried_at is None or tried_at > now:
            return ageing_at
        return max(ageing_at, tried_at + max(SHORTEST_PAUSE, self.lifetime * SHARE_OF_PAUSE))

    def tried(self, now: float) -> Token:
        """Give the same token, noting that some process begins to renew it ahead."""
        return self.replace(renewal_tried_at=now)

    def irreplaceable(self, now: float) -> bool:
        """Tell whether the token is too new on its probation to be replaced, though it was refused.

        A server that refuses whatever it issues would otherwise be asked for a new token by every call.

        :param now: seconds since the epoch. A clock that was set back does not prolong the probation.
        """
        return self.on_probation and self.fresh(now) and 0 <= now - self.obtained_at < PROBATION

    def following(self, last: Token) -> Token:
        """Give the same token, which was asked for with the last one's refresh token, with one for the next time.

        It may bring another one along (RFC 6749, section 6); else the last one's goes on being good.
        """
        return self if self.refresh_token else self.replace(refresh_token=last.refresh_token)

    def on_trial(self) -> Token:
        """Give the same token on probation."""
        return self.replace(on_probation=True)

    def accepted(self) -> Token:
        """Give the same token without probation: a server has taken it."""
        return self.replace(on_probation=False)


def _lifetime(expires_in: object) -> float:
    """Read ``expires_in``: some servers send a number as text; what is no number at all was not stated."""
    try:
        seconds = _seconds(float(expires_in) if isinstance(expires_in, str) else expires_in)
    except ValueError:
        return UNSTATED_LIFETIME
    return min(max(seconds, 0.0), LONGEST_LIFETIME)


def _seconds(value: object) -> float:
    """Read a number of seconds, of which ``True``, NaN and infinity are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("not a number of seconds")
    try:
        seconds = float(value)
    except OverflowError:
        raise ValueError("not a number of seconds") from None
    if not math.isfinite(seconds):
        raise ValueError("not a number of seconds")
    return seconds
