"""Put a token source together from settings, for sessions and for the command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .forks import unforked
from .grants import WithUser
from .source import TokenSource

if TYPE_CHECKING:
    import requests

    from .endpoint import TokenEndpoint
    from .events import OnEvent
    from .metadata import AuthorizationServer
    from .settings import Settings
    from .tokens import Token

__all__ = ["authorization_server", "locator", "token_source"]


def authorization_server(settings: Settings) -> AuthorizationServer:
    """Give what knows where the endpoints of these settings are."""
    with unforked():  # a warm cache has no use for it
        from .metadata import AuthorizationServer

    return AuthorizationServer(settings.environment, settings.cache, settings.token_timeout)


def locator(settings: Settings) -> Callable[[requests.Session | None], str]:
    """Give what finds out where the token endpoint of these settings is."""
    made: list[AuthorizationServer] = []

    def locate(lender: requests.Session | None) -> str:
        if not made:
            made.append(authorization_server(settings))
        return made[0].metadata(lender).token_endpoint

    return locate


def token_source(
    settings: Settings,
    endpoint: Callable[[], TokenEndpoint],
    lender: Callable[[], object] = lambda: None,
    on_event: Callable[[str], object] | None = None,
) -> TokenSource:
    """Give the source of the tokens that settings ask for.

    :param settings: the settings.
    :param endpoint: gives the token endpoint, when the first token request is made.
    :param lender: see :class:`TokenSource`.
    :param on_event: is told what happens; it may raise.
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
        on_event=None if on_event is None else _teller(on_event),
    )


def _teller(hook: OnEvent) -> OnEvent:
    from .events import teller  # few count

    return teller(hook)
