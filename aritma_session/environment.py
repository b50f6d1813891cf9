"""Where Aritma ID is, and which hosts are given its tokens."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from .credentials import without_credentials

__all__ = ["DEVELOPMENT", "PRODUCTION", "Environment"]

_HOST = r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\]"
_PORT = r"(?::([1-9][0-9]{0,4}))?"

#: Scheme and authority of a URL that may be given a token: https, a plain host name or IP address, perhaps a port, and
#: then nothing but the start of a path, query or fragment. What different parsers could read differently (user names,
#: backslashes, percent-encoding, white space, letters beyond ASCII) does not match, and so is never given one.
_AUTHORITY = re.compile(rf"https://({_HOST}){_PORT}(?=[/?#]|\Z)", re.ASCII | re.IGNORECASE)
_API_HOST = re.compile(rf"(\*\.)?({_HOST}){_PORT}", re.ASCII | re.IGNORECASE)
_SEGMENT = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
_TENANT = re.compile(_SEGMENT, re.ASCII)
_PATH = re.compile(rf"(?:/{_SEGMENT})*", re.ASCII)
_HIGHEST_PORT = 65535
_HTTPS_PORT = 443


@dataclasses.dataclass(frozen=True)
class Environment:
    """Say where tokens come from and where they may go.

    :param issuer: the https URL of Aritma ID, as it stands in a token's ``iss`` (RFC 8414, section 2).
    :param hosts: the API hosts of this environment: ``host``, ``host:port`` or ``*.domain`` (the subdomains of
        ``domain``, not ``domain`` itself). Without a port, the port is 443.
    :param other_hosts: hosts that ``hosts`` would take in but that belong to another environment.
    :param tenant: the tenant, which stands between host and path of the token endpoint; none by default.
    :param api_hosts: hosts that the user added; they come before ``other_hosts``.
    :raises ValueError: when the issuer is not a plain https URL, or the tenant or a host cannot be one.
    """

    issuer: str
    hosts: tuple[str, ...] = ()
    other_hosts: tuple[str, ...] = ()
    tenant: str | None = None
    api_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _read_issuer(self.issuer)
        if self.tenant is not None and not _TENANT.fullmatch(self.tenant):
            shown = without_credentials(self.tenant)
            raise ValueError(f"{shown!r} cannot be a tenant: it is one segment of a path, such as 'acme'")
        for name in ("hosts", "other_hosts", "api_hosts"):
            given = getattr(self, name)
            patterns = (given,) if isinstance(given, str) else given
            object.__setattr__(self, name, tuple(dict.fromkeys(map(_checked_host, patterns))))

    @classmethod
    def at(cls, issuer: str) -> Environment:
        """Give the environment of an issuer: one of Aritma's own, or a custom one.

        A custom one covers the issuer's own host and port.

        :param issuer: an https URL; one of Aritma's own may have a tenant behind it.
        :raises ValueError: when it is not a plain https URL.
        """
        issuer = issuer.rstrip("/")
        host, port, path = _read_issuer(issuer)
        for known in (PRODUCTION, DEVELOPMENT):
            if (f"https://{host}", port) == (known.issuer, _HTTPS_PORT) and path.count("/") <= 1:
                return known.extended(tenant=path.removeprefix("/") or None)
        return cls(issuer, hosts=(f"{host}:{port}",))

    def extended(self, tenant: str | None = None, api_hosts: str | Iterable[str] = ()) -> Environment:
        """Give the same environment with a tenant, or with more API hosts, or both."""
        added = (api_hosts,) if isinstance(api_hosts, str) else tuple(api_hosts)
        return dataclasses.replace(self, tenant=tenant or self.tenant, api_hosts=self.api_hosts + added)

    @property
    def token_endpoint(self) -> str:
        """The URL that tokens are asked for at (RFC 6749, section 3.2)."""
        tenant = f"/{self.tenant}" if self.tenant else ""
        return f"{self.issuer}{tenant}/connect/token"

    def covers(self, url: str) -> bool:
        """Tell whether a request to this URL is given the token: one of the API hosts, over https.

        :param url: an absolute URL, as it stands in a :class:`requests.PreparedRequest`.
        """
        match = _AUTHORITY.match(url)
        return match is not None and self._is_api_host(match[1].lower(), int(match[2] or _HTTPS_PORT))

    def has_host_of(self, url: str) -> bool:
        """Tell whether a URL leads to one of the API hosts over https, though it may say so in an unusual way.

        One with a user name in it is not covered, since what the caller says wins; nor is it a foreign host's.

        :param url: an absolute URL, as it stands in a :class:`requests.PreparedRequest`.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _HTTPS_PORT
        except ValueError:
            return False
        return parts.scheme == "https" and self._is_api_host(f"[{host}]" if ":" in host else host, port)

    def _is_api_host(self, host: str, port: int) -> bool:
        if _among(host, port, self.api_hosts):
            return True
        return _among(host, port, self.hosts) and not _among(host, port, self.other_hosts)


def _among(host: str, port: int, patterns: tuple[str, ...]) -> bool:
    for pattern in patterns:
        name, _, stated = pattern.rpartition(":")
        if port == int(stated) and (host == name or (name.startswith("*.") and host.endswith(name[1:]))):
            return True
    return False


def _checked_host(pattern: str) -> str:
    """Bring a host pattern into its one form, ``host:port`` in lower case."""
    match = _API_HOST.fullmatch(pattern)
    if match is None or int(match[3] or _HTTPS_PORT) > _HIGHEST_PORT:
        shown = without_credentials(pattern)
        raise ValueError(f"{shown!r} cannot be an API host: write 'host', 'host:port' or '*.domain', without https://")
    return f"{match[1] or ''}{match[2].lower()}:{match[3] or _HTTPS_PORT}"


def _read_issuer(issuer: str) -> tuple[str, int, str]:
    """Take an issuer apart: host, port and path."""
    match = _AUTHORITY.match(issuer)
    port = int(match[2] or _HTTPS_PORT) if match else 0
    if match is None or port > _HIGHEST_PORT or not _PATH.fullmatch(issuer, match.end()):
        shown = without_credentials(issuer)
        raise ValueError(f"{shown!r} cannot be an issuer: it is an https URL such as 'https://id.aritma.io'")
    return match[1].lower(), port, issuer[match.end() :]


#: Aritma's production environment.
PRODUCTION = Environment(
    "https://id.aritma.io",
    hosts=("aritma.io", "*.aritma.io", "zdata.io", "*.zdata.io", "zdata.no", "*.zdata.no"),
    other_hosts=(
        "dev.aritma.io",
        "*.dev.aritma.io",
        "dev.zdata.io",
        "*.dev.zdata.io",
        "bankservicedemo.zdata.no",
        "*.bankservicedemo.zdata.no",
    ),
)

#: Aritma's development environment.
DEVELOPMENT = Environment(
    "https://id.dev.aritma.io", hosts=("*.dev.aritma.io", "*.dev.zdata.io", "bankservicedemo.zdata.no")
)
