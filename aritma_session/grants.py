"""What to say to the token endpoint, for each way in.

Three of these are what settings name: :class:`ClientCredentials`, :class:`Password` and :class:`Login`. The other two
follow from something that was there before: :class:`AuthorizationCode` from a person's login in a browser, and
:class:`RefreshToken` from an earlier token of a grant with a user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from .clients import ClientAuthentication
from .credentials import Secret
from .values import Value

if TYPE_CHECKING:
    import oauthlib.oauth2
    import requests_oauthlib

    from .clients import Proof
    from .exceptions import TokenError
    from .tokens import Token

__all__ = ["AuthorizationCode", "ClientCredentials", "Grant", "Login", "Password", "RefreshToken", "WithUser"]

#: Pairs of name and value that are sent besides what a grant itself says.
Extra = tuple[tuple[str, str], ...]


class Grant(Value):
    """Say who asks for a token, for what, and with which credentials.

    :param client_id: the client's id.
    :param authentication: how the client proves that it is the one.
    :param scope: the scopes asked for; none for the server's own default.
    :param extra: further parameters, which every token request repeats.
    """

    __slots__ = ("client_id", "authentication", "scope", "extra")

    client_id: str
    authentication: ClientAuthentication
    scope: tuple[str, ...]
    extra: Extra

    #: What settings, messages and cache keys call it.
    name: ClassVar[str]

    #: Whether the request may be sent again where it had no answer.
    repeatable: ClassVar[bool] = True

    #: Whether the grant is a person's, so that a refresh token may come with its tokens.
    has_user: ClassVar[bool] = False

    def __init__(
        self,
        client_id: str,
        authentication: ClientAuthentication,
        scope: Iterable[str] = (),
        extra: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._set(client_id=client_id, authentication=authentication, scope=tuple(scope), extra=tuple(sorted(extra)))

    @property
    def identity(self) -> tuple[str, ...]:
        """All that tells this grant's tokens from others, and nothing that is secret: it goes into the cache's key."""
        return (
            self.name,
            self.client_id,
            " ".join(sorted(self.scope)),
            *(text for pair in self.extra for text in pair),
        )

    def check(self) -> None:
        """Make sure that a token can be asked for without a person.

        :raises LoginRequired: when it cannot.
        """

    def oauth_client(self) -> oauthlib.oauth2.Client:
        """Make oauthlib's client for one token request; a used one would remember an earlier token's expiry."""
        raise NotImplementedError

    def form(self) -> dict[str, str]:
        """Give the form fields of this grant's own.

        :raises ValueError: when a credential cannot be read any more.
        """
        return {"scope": " ".join(self.scope)} if self.scope else {}

    def secrets(self, form: Mapping[str, str]) -> tuple[str, ...]:  # noqa: ARG002
        """Give the texts among the form's that must not come back in an error message.

        :param form: what :meth:`form` gave; a file that was replaced since holds another secret.
        """
        return ()

    def send(
        self, session: requests_oauthlib.OAuth2Session, url: str, form: Mapping[str, str], proof: Proof, **options: Any
    ) -> None:
        """Make the token request.

        :param session: what sends it.
        :param url: the token endpoint.
        :param form: what :meth:`form` gave.
        :param proof: what the client proves itself with.
        """
        said: dict[str, Any] = {**form, **proof.form, **options}
        session.fetch_token(url, body=self._said(), auth=proof.basic, include_client_id=proof.basic is None, **said)

    def verify(self, answer: Mapping[str, Any]) -> None:
        """Look at an answer that grants a token, before the token is believed.

        :raises ValueError: when something in it is not as it must be.
        """

    def repeats(self, token: Token) -> bool:  # noqa: ARG002
        """Tell whether a token brings back the refresh token that it was asked for with, as it may."""
        return False

    def meaning(self, error: str | None) -> tuple[type[TokenError], str] | None:  # noqa: ARG002
        """Say what an error code of the token endpoint means to this grant, where that is not what it always means.

        :returns: what to raise, and what to do.
        """
        return None

    def _said(self) -> str:
        from urllib.parse import urlencode

        return urlencode(self.extra)


class ClientCredentials(Grant):
    """Ask for a token in the client's own name (RFC 6749, section 4.4)."""

    __slots__ = ()

    name: ClassVar[str] = "client_credentials"

    def oauth_client(self) -> oauthlib.oauth2.Client:
        from oauthlib.oauth2 import BackendApplicationClient

        return BackendApplicationClient(self.client_id)


class WithUser(Grant):
    """Ask for a token in a person's name.

    :param username: whose; where a browser asks for it, what it is asked with.
    """

    __slots__ = ("username",)

    username: str | None

    #: What the person runs to log in, where it takes a person.
    login_command: str = ""

    has_user: ClassVar[bool] = True

    @property
    def identity(self) -> tuple[str, ...]:
        return (*super().identity, "user", self.username or "")

    def refreshing(self, token: Token) -> RefreshToken:
        """Give the grant that asks for the next token with this one's refresh token."""
        secret = Secret(token.refresh_token)
        return RefreshToken(self.client_id, self.authentication, self.scope, self.extra, secret, self.login_command)


class Password(WithUser):
    """Ask for a token with a person's name and password (RFC 6749, section 4.3).

    :param password: the password.
    """

    __slots__ = ("password",)

    password: Secret

    name: ClassVar[str] = "password"

    def __init__(
        self,
        client_id: str,
        authentication: ClientAuthentication,
        scope: Iterable[str],
        extra: Iterable[tuple[str, str]],
        username: str | None,
        password: Secret,
    ) -> None:
        super().__init__(client_id, authentication, scope, extra)
        self._set(username=username, password=password)

    def oauth_client(self) -> oauthlib.oauth2.Client:
        from oauthlib.oauth2 import LegacyApplicationClient

        return LegacyApplicationClient(self.client_id)

    def form(self) -> dict[str, str]:
        try:
            password = self.password.reveal()
        except ValueError as error:
            raise ValueError(f"the password cannot be used any more: {error} (see ARITMA_PASSWORD_FILE)") from None
        return {**super().form(), "username": self.username or "", "password": password}

    def secrets(self, form: Mapping[str, str]) -> tuple[str, ...]:
        return (form["password"],)

    def meaning(self, error: str | None) -> tuple[type[TokenError], str] | None:
        from .exceptions import CredentialsRefused

        if error != "invalid_grant":
            return None
        # Remembered like a refusal of the client: a loop must not get a person's account locked.
        return CredentialsRefused, "check username and password (ARITMA_USERNAME, ARITMA_PASSWORD)"


class Login(WithUser):
    """Use what a person's login in a browser has left; there is nothing to ask with by itself.

    :param kind: how the person logs in: ``authorization_code`` or ``implicit``.
    :param login_command: what the person runs to do so.
    """

    __slots__ = ("kind", "login_command")

    kind: str
    login_command: str

    def __init__(
        self,
        client_id: str,
        authentication: ClientAuthentication,
        scope: Iterable[str],
        extra: Iterable[tuple[str, str]],
        username: str | None = None,
        kind: str = "authorization_code",
        login_command: str = "aritma-session login",
    ) -> None:
        super().__init__(client_id, authentication, scope, extra)
        self._set(username=username, kind=kind, login_command=login_command)

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.kind

    def check(self) -> NoReturn:
        from .exceptions import LoginRequired

        required = LoginRequired(f"a person has to log in, or to log in again: run {self.login_command}")
        required.asked = False
        raise required


class AuthorizationCode(Grant):
    """Exchange what a browser brought back for a token (RFC 6749, section 4.1.3; RFC 7636, section 4.5).

    :param code: the authorization code.
    :param code_verifier: what the code was asked for with.
    :param redirect_uri: where the browser brought it.
    :param verify_id_token: looks at the answer's ``id_token``, or at its absence; raises a ``ValueError``.
    """

    __slots__ = ("code", "code_verifier", "redirect_uri", "verify_id_token")

    code: Secret
    code_verifier: Secret
    redirect_uri: str
    verify_id_token: Callable[[object], None]

    name: ClassVar[str] = "authorization_code"
    has_user: ClassVar[bool] = True
    repeatable: ClassVar[bool] = False  # a code must not be used twice (RFC 6749, section 4.1.2)

    def __init__(
        self,
        client_id: str,
        authentication: ClientAuthentication,
        scope: Iterable[str],
        extra: Iterable[tuple[str, str]],
        code: Secret,
        code_verifier: Secret,
        redirect_uri: str,
        verify_id_token: Callable[[object], None],
    ) -> None:
        super().__init__(client_id, authentication, scope, extra)
        self._set(code=code, code_verifier=code_verifier, redirect_uri=redirect_uri, verify_id_token=verify_id_token)

    def oauth_client(self) -> oauthlib.oauth2.Client:
        from oauthlib.oauth2 import WebApplicationClient

        return WebApplicationClient(self.client_id)

    def form(self) -> dict[str, str]:
        return {"code": self.code.reveal(), "code_verifier": self.code_verifier.reveal()}  # the scope is the code's

    def secrets(self, form: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(form.values())

    def send(
        self, session: requests_oauthlib.OAuth2Session, url: str, form: Mapping[str, str], proof: Proof, **options: Any
    ) -> None:
        session.redirect_uri = self.redirect_uri
        super().send(session, url, form, proof, **options)

    def verify(self, answer: Mapping[str, Any]) -> None:
        self.verify_id_token(answer.get("id_token"))

    def meaning(self, error: str | None) -> tuple[type[TokenError], str] | None:
        from .exceptions import TokenError

        if error != "invalid_grant":
            return None
        return TokenError, "the login took too long, or its answer was used before: log in again"


class RefreshToken(Grant):
    """Ask for the next token with the refresh token that came with the last one (RFC 6749, section 6).

    :param refresh_token: the refresh token.
    :param login_command: what a person runs to log in again.
    """

    __slots__ = ("refresh_token", "login_command")

    refresh_token: Secret
    login_command: str

    name: ClassVar[str] = "refresh_token"
    has_user: ClassVar[bool] = True

    def __init__(
        self,
        client_id: str,
        authentication: ClientAuthentication,
        scope: Iterable[str],
        extra: Iterable[tuple[str, str]],
        refresh_token: Secret,
        login_command: str,
    ) -> None:
        super().__init__(client_id, authentication, scope, extra)
        self._set(refresh_token=refresh_token, login_command=login_command)

    def oauth_client(self) -> oauthlib.oauth2.Client:
        from oauthlib.oauth2 import BackendApplicationClient

        return BackendApplicationClient(self.client_id)

    def form(self) -> dict[str, str]:
        return {"refresh_token": self.refresh_token.reveal()}  # the scope is what was granted first

    def repeats(self, token: Token) -> bool:
        return token.refresh_token == self.refresh_token.value

    def secrets(self, form: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(form.values())

    def send(
        self, session: requests_oauthlib.OAuth2Session, url: str, form: Mapping[str, str], proof: Proof, **options: Any
    ) -> None:
        named = {"client_id": self.client_id} if proof.basic is None else {}
        said: dict[str, Any] = {**named, **form, **proof.form, **options}
        session.refresh_token(url, body=self._said(), auth=proof.basic, **said)

    def meaning(self, error: str | None) -> tuple[type[TokenError], str] | None:
        from .exceptions import LoginRequired

        if error != "invalid_grant":
            return None
        return LoginRequired, f"the login has ended, and a person has to log in again: run {self.login_command}"
