"""What to say to the token endpoint, for each way in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from .credentials import Secret
from .values import Value

if TYPE_CHECKING:
    import oauthlib.oauth2

__all__ = ["ClientCredentials", "Grant"]


class Grant(Protocol):
    """Say who asks for a token, for what, and with which credentials."""

    @property
    def identity(self) -> tuple[str, ...]:
        """All that tells this grant's tokens from others, and nothing that is secret: it goes into the cache's key."""

    def oauth_client(self) -> oauthlib.oauth2.Client:
        """Make oauthlib's client for one token request; a used one would remember an earlier token's expiry."""

    def parameters(self) -> dict[str, str]:
        """Give the form fields that are added to what the client says by itself.

        :raises ValueError: when a credential cannot be read any more.
        """

    def secrets(self, parameters: Mapping[str, str]) -> tuple[str, ...]:
        """Give the texts that must not come back in an error message.

        :param parameters: what :meth:`parameters` gave; a file that was replaced since holds another secret.
        """


class ClientCredentials(Value):
    """Ask for a token in the client's own name (RFC 6749, section 4.4), with the secret in the form body (2.3.1).

    :param client_id: the client's id.
    :param client_secret: the client's secret.
    :param scope: the scopes asked for; none for the server's own default.
    """

    __slots__ = ("client_id", "client_secret", "scope")

    client_id: str
    client_secret: Secret
    scope: tuple[str, ...]

    def __init__(self, client_id: str, client_secret: Secret, scope: tuple[str, ...] = ()) -> None:
        self._set(client_id=client_id, client_secret=client_secret, scope=scope)

    @property
    def identity(self) -> tuple[str, ...]:
        return ("client_credentials", self.client_id, " ".join(sorted(self.scope)))

    def oauth_client(self) -> oauthlib.oauth2.Client:
        from oauthlib.oauth2 import BackendApplicationClient

        return BackendApplicationClient(self.client_id)

    def parameters(self) -> dict[str, str]:
        fields = {"client_secret": self.client_secret.reveal()}
        return {**fields, "scope": " ".join(self.scope)} if self.scope else fields

    def secrets(self, parameters: Mapping[str, str]) -> tuple[str, ...]:
        return (parameters["client_secret"],)
