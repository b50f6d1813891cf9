"""``http -A aritma``: HTTPie with the token that all processes share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from .auth import AritmaAuth

    class AuthPlugin:
        """Be what HTTPie, which has no types, gives its plugins."""

        raw_auth: str | None
else:
    from httpie.plugins import AuthPlugin

__all__ = ["AritmaPlugin"]

_WAYS = "set ARITMA_CLIENT_ID, and ARITMA_CLIENT_SECRET or ARITMA_CLIENT_SECRET_FILE"


class AritmaPlugin(AuthPlugin):
    """Let HTTPie authorise its requests, with settings from ``ARITMA_*`` variables."""

    name = "Aritma's access token"
    description = "The token that all processes share, by the ARITMA_* variables; takes no -a."
    auth_type = "aritma"
    auth_require = False
    auth_parse = False

    def get_auth(self, username: str | None = None, password: str | None = None) -> AritmaAuth:  # noqa: ARG002
        """Give what authorises a request; end the program where a setting is wrong, or where there is an ``-a``.

        :raises SystemExit: then, after a line on standard error.
        """
        from .auth import AritmaAuth  # every run of HTTPie loads this module

        if self.raw_auth is not None:  # nothing of it is shown: it may hold a secret
            _end(f"-A aritma takes no -a, since others can read command lines: {_WAYS}")
        try:
            return AritmaAuth()
        except ValueError as error:
            _end(str(error))


def _end(message: str) -> NoReturn:
    """End as HTTPie does after an error; an exception would be shown with its traceback."""
    print(f"http: error: {message}", file=sys.stderr)
    raise SystemExit(1)
