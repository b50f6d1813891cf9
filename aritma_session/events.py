"""What happens to tokens, told to whoever counts."""

from __future__ import annotations

import logging
from collections.abc import Callable

__all__ = ["EVENTS", "OnEvent", "teller"]

_log = logging.getLogger("aritma_session")

#: What a hook is called with.
OnEvent = Callable[[str], object]

#: The events: a token was there already; was asked for at the token endpoint; was found in the cache, where another
#: process had put it; was refused by a server; another process or thread was waited for; the cache failed; the token
#: endpoint gave no token.
EVENTS = ("hit", "fetch", "adoption", "refusal", "wait", "degradation", "failure")


def teller(hook: OnEvent) -> OnEvent:
    """Give what calls a hook and keeps what it raises from the request: whoever counts breaks nothing."""
    told: list[str] = []  # each use is one operation on a list

    def tell(event: str) -> None:
        try:
            hook(event)
        except Exception as error:  # noqa: BLE001  # whatever it is
            level = logging.DEBUG if told else logging.WARNING
            told.append(event)
            del told[1:]
            _log.log(level, "on_event raised %s at the event %r", type(error).__name__, event)

    return tell
