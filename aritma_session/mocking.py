"""Play Aritma ID on requests-mock, for tests that open no connection."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import requests_mock

from .environment import DEVELOPMENT, PRODUCTION, Environment
from .settings import Settings

if TYPE_CHECKING:
    import requests
    from requests_mock.request import Request

__all__ = ["AritmaMock"]

#: No two tokens of a process are the same, so that a session that outlives a test shows.
_numbers = itertools.count(1)

#: What stands behind an issuer, and perhaps a tenant.
_ENDPOINT = re.compile(r"/(?:[^/]+/)?(connect/token|connect/revocation|\.well-known/openid-configuration)")


class AritmaMock(requests_mock.Mocker):
    """Be a ``requests_mock.Mocker`` that gives tokens as Aritma ID does.

    It plays the production and the development environment, the one that ``ARITMA_*`` variables name at the time of a
    request, and those that are added. What is registered later comes first, so that a test can let a token request
    fail: ``mock.post(PRODUCTION.token_endpoint, status_code=503)``.

    :param options: those of ``requests_mock.Mocker``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._added: list[Environment] = []
        self._aritma_id = _AritmaID(self._environments)
        self.add_matcher(self._aritma_id)

    def add_environment(self, environment: str | Environment) -> None:
        """Play another Aritma ID too.

        :param environment: the environment, or its issuer's https URL.
        :raises ValueError: when it is not a plain https URL.
        """
        self._added.append(Environment.at(environment) if isinstance(environment, str) else environment)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The access tokens given so far, oldest first."""
        return tuple(self._aritma_id.tokens)

    @property
    def token_requests(self) -> list[Request]:
        """The token requests so far, oldest first."""
        return [sent for sent in self.request_history if self._aritma_id.endpoint(sent)[1] == "connect/token"]

    @property
    def calls(self) -> list[Request]:
        """All requests so far but those that Aritma ID is there for, oldest first."""
        return [sent for sent in self.request_history if not self._aritma_id.endpoint(sent)[1]]

    @property
    def problem(self) -> str | None:
        """What is wrong with the calls so far: those of API hosts that bore neither a token nor anything else."""
        places = self._environments()
        bare = [
            f"{call.method} {call.url}"
            for call in self.calls
            if "Authorization" not in call.headers and any(place.covers(call.url) for place in places)
        ]
        if not bare:
            return None
        advice = "use AritmaSession, or auth=AritmaAuth(), in an environment that the host belongs to"
        return f"sent to Aritma without a token ({advice}): {', '.join(bare)}"

    def _environments(self) -> list[Environment]:
        return [PRODUCTION, DEVELOPMENT, *_current(), *self._added]


def _current() -> Iterable[Environment]:
    """Give the environment that variables name now; none where they are wrong, as whoever needs them will say."""
    method = "client_secret_post"
    try:
        settings = Settings.resolve(
            "mock", "mock", grant="client_credentials", token_endpoint_auth_method=method, cache="memory"
        )
    except ValueError:
        return ()
    return (settings.environment,)


class _AritmaID:
    """Answer what is sent to Aritma ID, as a matcher of requests-mock.

    :param environments: gives the environments that are played now.
    """

    def __init__(self, environments: Callable[[], list[Environment]]) -> None:
        self._environments = environments
        self.tokens: list[str] = []

    def endpoint(self, request: Request) -> tuple[str, str]:
        """Find the issuer that a request is for, and what it asks for; both empty where it is for none."""
        url = request.url.partition("?")[0]
        for place in self._environments():
            start, end = url[: len(place.issuer)], url[len(place.issuer) :]
            match = _ENDPOINT.fullmatch(end) if start.lower() == place.issuer.lower() else None
            if match is not None:
                return place.issuer, match[1]
        return "", ""

    def __call__(self, request: Request) -> requests.Response | None:
        issuer, asked = self.endpoint(request)
        answers: dict[tuple[str, str], Callable[[], dict[str, Any]]] = {
            ("POST", "connect/token"): lambda: self._token(request),
            ("POST", "connect/revocation"): dict,
            ("GET", ".well-known/openid-configuration"): lambda: _metadata(issuer),
        }
        answer = answers.get((request.method, asked))
        return None if answer is None else requests_mock.create_response(request, json=answer())

    def _token(self, request: Request) -> dict[str, Any]:
        token = f"aritma-mock-token-{next(_numbers)}"
        self.tokens.append(token)
        scope = parse_qs(request.text or "").get("scope", ["bankservice"])[0]
        return {"access_token": token, "expires_in": 3600, "token_type": "Bearer", "scope": scope}

    def reset(self) -> None:
        """Forget nothing: a mocker that is reset forgets its requests, and sessions keep their tokens."""


def _metadata(issuer: str) -> dict[str, Any]:
    endpoints = {f"{name}_endpoint": f"{issuer}/connect/{name}" for name in ("token", "revocation")}
    return {"issuer": issuer, **endpoints}
