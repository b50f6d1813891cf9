"""Let a user sign in, and send the browser back to the client with a code or with tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from oauthlib.common import add_params_to_uri
from oauthlib.oauth2 import FatalClientError, OAuth2Error

from .endpoints import authorization_endpoint
from .faults import Answer
from .page import error_page, form_post_page, login_page
from .validator import Validator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .users import SignIn
    from .validator import Records, Visit

__all__ = ["RESPONSE_MODES", "Authorization", "Back"]

RESPONSE_MODES = ("query", "fragment", "form_post")


class Back(NamedTuple):
    """Hold the answer of the authorize endpoint, and what it gives the client.

    :param answer: the answer.
    :param granted: the names of the parameters with which the client gets what it asked for; none where it does not.
    """

    answer: Answer
    granted: frozenset[str] = frozenset()


class Authorization:
    """Answer one request to the authorize endpoint.

    :param records: what Aritma ID knows.
    :param visit: the request.
    :param query: its parameters, those without a value aside.
    :param fields: other parameters for the client than those it would get; ``None`` takes one out.
    """

    def __init__(
        self,
        records: Records,
        visit: Visit,
        query: Sequence[tuple[str, str]],
        fields: Mapping[str, object] | None = None,
    ) -> None:
        self._users = records.users
        self._visit = visit
        self._query = dict(query)
        self._fields = fields or {}
        self._endpoint = authorization_endpoint(Validator(records, visit), visit.terms.lifetime)
        # Whatever the client wants, oauthlib shall write a fragment, in which nothing else stands.
        asked = [(name, value) for name, value in query if name != "response_mode"]
        self._url = f"{visit.endpoint}?{urlencode([*asked, ('response_mode', 'fragment')])}"

    def answer(self, form: Mapping[str, str] | None = None, refusal: Mapping[str, str] | None = None) -> Back:
        """Answer with a page or with a redirect (RFC 6749 sections 4.1.2 and 4.2.2).

        :param form: what the login page sent, if it did.
        :param refusal: the error that the client gets, whatever it asks for.
        """
        try:
            scopes, _ = self._endpoint.validate_authorization_request(self._url)
        except FatalClientError as wrong:
            return Back(error_page(wrong.description))
        except OAuth2Error as wrong:
            return self._refuse(str(wrong.error), wrong.description)
        if self._query.get("response_mode", self._mode) != self._mode:
            return self._refuse("invalid_request", "There is no such response_mode for this response_type")
        if refusal is not None:
            return Back(self._send(refusal))
        return self._recognise(scopes) if form is None else self._read(form, scopes)

    def _recognise(self, scopes: list[str]) -> Back:
        """Let in a user who is signed in well enough, and ask any other (OpenID Connect Core section 3.1.2.3)."""
        prompt, sign_in = self._query.get("prompt", "").split(), self._visit.sign_in
        if sign_in is not None and "login" not in prompt and (sign_in.mfa or not self._visit.mfa):
            return self._grant(scopes, sign_in)
        if "none" in prompt:
            return self._refuse("login_required", "The user is not signed in")
        return Back(login_page(self._query["client_id"], scopes, self._query.get("login_hint", "")))

    def _read(self, form: Mapping[str, str], scopes: list[str]) -> Back:
        """Do what the user chose on the login page."""
        if form.get("action") == "deny":
            return self._refuse("access_denied", "The user denied it")
        username = form.get("username", "")
        sign_in = self._users.sign_in(username, form.get("password", ""), mfa=self._visit.mfa)
        if sign_in is None:
            return Back(login_page(self._query["client_id"], scopes, username, failed=True))
        answer, granted = self._grant(scopes, sign_in)
        return Back(replace(answer, headers={**answer.headers, "Set-Cookie": self._users.remember(sign_in)}), granted)

    def _grant(self, scopes: list[str], sign_in: SignIn) -> Back:
        headers, _, _ = self._endpoint.create_authorization_response(
            self._url, scopes=scopes, credentials={"user": sign_in}
        )
        parameters = dict(parse_qsl(urlsplit(headers["Location"]).fragment))
        return Back(self._send(parameters), frozenset(parameters))

    def _refuse(self, error: str, description: str) -> Back:
        described = {"error_description": description} if description else {}
        return Back(self._send({"error": error, **described}))

    def _send(self, parameters: Mapping[str, str]) -> Answer:
        """Send the browser back to the client with parameters."""
        issuer = self._visit.issuer if self._visit.terms.send_iss else None  # RFC 9207 section 2
        merged = {**parameters, "state": self._query.get("state"), "iss": issuer, **self._fields}
        left = {name: str(value) for name, value in merged.items() if value is not None}
        if self._mode == "form_post":
            return form_post_page(self._query["redirect_uri"], left)
        url = add_params_to_uri(self._query["redirect_uri"], left.items(), fragment=self._mode == "fragment")
        # What came as a POST shall go on as a GET, without the form (RFC 9700 section 4.12).
        return Answer.redirect(url, 303)

    @property
    def _mode(self) -> str:
        """How the parameters are sent; as is usual for the response type, where the client asks for what is not."""
        modes = RESPONSE_MODES[1:] if "token" in self._query.get("response_type", "").split() else RESPONSE_MODES
        wanted = self._query.get("response_mode", modes[0])
        return wanted if wanted in modes else modes[0]
