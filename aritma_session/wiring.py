"""Put a token source together from settings, for sessions and for the command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .grants import WithUser
from .source import TokenSource

if TYPE_CHECKING:
    from .endpoint import TokenEndpoint
    from .settings import Settings
    from .tokens import Token

__all__ = ["token_source"]


def token_source(
    settings: Settings, endpoint: Callable[[], TokenEndpoint], lender: Callable[[], object] = lambda: None
) -> TokenSource:
    """Give the source of the tokens that settings ask for.

    :param settings: the settings.
    :param endpoint: gives the token endpoint, when the first token request is made.
    :param lender: see :class:`TokenSource`.
    """
    grant, refresh = settings.grant, None
    if isinstance(grant, WithUser):
        refreshing = grant.refreshing

        def refresh(last: Token) -> Token:
            return endpoint().fetch(refreshing(last))

    return TokenSource(
        lambda: endpoint().fetch(grant),
        settings.cache,
        settings.cache_key,
        asker=grant,
        lender=lender,
        refresh=refresh,
    )
