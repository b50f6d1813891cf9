"""What a caller can catch.

Everything raised while a request is being sent is a :class:`requests.RequestException`, so that an ``except`` written
for requests keeps working::

    requests.RequestException
    └── TokenError                      no token could be had
        ├── CredentialsRefused          Aritma ID refused the client: a person must change a setting
        ├── LoginRequired               a person must log in, or log in again: the message says how
        └── TokenEndpointUnavailable    Aritma ID could not be reached, or is in trouble: trying later may help

A setting that is missing or impossible is a :class:`ValueError`, raised when the session is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from requests import RequestException

if TYPE_CHECKING:
    import requests

__all__ = ["CredentialsRefused", "LoginRequired", "TokenEndpointUnavailable", "TokenError"]


class TokenError(RequestException):
    """Say that no access token could be had, and what to do next.

    :param message: what happened and what to do, with no secret in it.
    :param error: the error code of the token endpoint's answer (RFC 6749, section 5.2), where there was one.
    :param error_description: the answer's own explanation, where there was one.
    :param error_uri: the answer's link to more, where there was one.
    :param response: a copy of the token endpoint's answer, freed of everything secret, where there was one.
    """

    def __init__(
        self,
        message: str,
        *,
        error: str | None = None,
        error_description: str | None = None,
        error_uri: str | None = None,
        response: requests.Response | None = None,
    ) -> None:
        super().__init__(message, response=response)
        self.error = error
        self.error_description = error_description
        self.error_uri = error_uri


class CredentialsRefused(TokenError):
    """Say that Aritma ID refused the client, its secret or its scope; asking again with the same would not help."""


class LoginRequired(TokenError):
    """Say that a token can be had only after a person has logged in, and what to run for that."""

    #: Whether Aritma ID was asked, and said so.
    asked = True


class TokenEndpointUnavailable(TokenError):
    """Say that the token endpoint could not be reached or answered with trouble of its own, after several tries."""
