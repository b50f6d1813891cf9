"""Where Aritma ID is, and which hosts are given its tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .credentials import without_credentials
from .values import Value

__all__ = ["DEVELOPMENT", "PRODUCTION", "Environment", "is_plain_https"]

_HOST = r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\]"
_PORT = r"(?::([1-9][0-9]{0,4}))?"

#: Scheme and authority of a URL that may be given a token: https, a plain host name or IP address, perhaps a port, and
#: then nothing but the start of a path, query or fragment. What different parsers could read differently (user names,
#: backslashes, percent-encoding, white space, letters beyond ASCII) does not match, and so is never given one.
_AUTHORITY = re.compile(rf"https://({_HOST}){_PORT}(?=[/?#]|\Z)", re.ASCII | re.IGNORECASE)
_API_HOST = re.compile(rf"(\*\.)?({_HOST}){_PORT}", re.ASCII | re.IGNORECASE)
#: Not compiled until one is needed, as most processes need neither.
_SEGMENT = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
_PATH = rf"(?:/{_SEGMENT})*"
#: No fragment, and nothing that is not written in a URL.
_VISIBLE = r"[!$-~]+"
_HIGHEST_PORT = 65535
_HTTPS_PORT = 443

#: Where the authority of an https URL begins, and how many different ones are remembered.
_AUTHORITY_BEGINS, _LARGEST_MEMORY = len("https://"), 256


class Environment(Value):
    """Say where tokens come from and where they may go.

    :param issuer: the https URL of Aritma ID, as it stands in a token's ``iss`` (RFC 8414, section 2).
    :param hosts: the API hosts of this environment: ``host``, ``host:port`` or ``*.domain`` (the subdomains of
        ``domain``, not ``domain`` itself). Without a port, the port is 443.
    :param other_hosts: hosts that ``hosts`` would take in but that belong to another environment.
    :param tenant: the tenant, which stands between host and path of the token endpoint; none by default.
    :param api_hosts: hosts that the user added; they come before ``other_hosts``.
    :param discovery: whether the issuer is asked where its endpoints are (OpenID Connect Discovery 1.0, section 4), or
        they are where Aritma's documentation says.
    :raises ValueError: when the issuer is not a plain https URL, or the tenant or a host cannot be one.
    """

    __slots__ = (
        "issuer",
        "hosts",
        "other_hosts",
        "tenant",
        "api_hosts",
        "discovery",
        "_added",
        "_own",
        "_others",
        "_known",
    )

    issuer: str
    hosts: tuple[str, ...]
    other_hosts: tuple[str, ...]
    tenant: str | None
    api_hosts: tuple[str, ...]
    discovery: bool

    #: The same hosts, as every request looks them up.
    _added: _Hosts
    _own: _Hosts
    _others: _Hosts

    #: What was found out about the beginnings of URLs, scheme and authority; each use is one operation on a dict.
    _known: dict[str, bool]

    def __init__(
        self,
        issuer: str,
        hosts: Iterable[str] = (),
        other_hosts: Iterable[str] = (),
        tenant: str | None = None,
        api_hosts: Iterable[str] = (),
        discovery: bool = False,
    ) -> None:
        _read_issuer(issuer)
        if tenant is not None and not re.fullmatch(_SEGMENT, tenant):
            shown = without_credentials(tenant)
            raise ValueError(f"{shown!r} cannot be a tenant: it is one segment of a path, such as 'acme'")
        hosts, other_hosts, api_hosts = map(_checked_hosts, (hosts, other_hosts, api_hosts))
        self._set(issuer=issuer, hosts=hosts, other_hosts=other_hosts, tenant=tenant, api_hosts=api_hosts)
        self._set(discovery=discovery)
        self._set(_added=_Hosts(api_hosts), _own=_Hosts(hosts), _others=_Hosts(other_hosts), _known={})

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
        return cls(issuer, hosts=(f"{host}:{port}",), discovery=True)

    def extended(self, tenant: str | None = None, api_hosts: str | Iterable[str] = ()) -> Environment:
        """Give the same environment with a tenant, or with more API hosts, or both."""
        added = (api_hosts,) if isinstance(api_hosts, str) else tuple(api_hosts)
        return self.replace(tenant=tenant or self.tenant, api_hosts=self.api_hosts + added)

    @property
    def tenant_issuer(self) -> str:
        """The issuer, with the tenant that there may be: its endpoints are below."""
        return f"{self.issuer}/{self.tenant}" if self.tenant else self.issuer

    @property
    def token_endpoint(self) -> str:
        """The URL that tokens are asked for at (RFC 6749, section 3.2), where no discovery says another."""
        return f"{self.tenant_issuer}/connect/token"

    def covers(self, url: str) -> bool:
        """Tell whether a request to this URL is given the token: one of the API hosts, over https.

        :param url: an absolute URL, as it stands in a :class:`requests.PreparedRequest`.
        """
        end = url.find("/", _AUTHORITY_BEGINS)
        beginning = url if end < 0 else url[:end]
        known = self._known.get(beginning)
        return self._find_out(url, beginning) if known is None else known

    def _find_out(self, url: str, beginning: str) -> bool:
        match = _AUTHORITY.match(url)
        found = match is not None and self._is_api_host(f"{match[1].lower()}:{match[2] or _HTTPS_PORT}")
        # What is remembered ends where a path begins, so that the same beginning means the same whatever follows it.
        if match is not None and match[0] == beginning and len(self._known) < _LARGEST_MEMORY:
            self._known[beginning] = found
        return found

    def has_host_of(self, url: str) -> bool:
        """Tell whether a URL leads to one of the API hosts over https, though it may say so in an unusual way.

        One with a user name in it is not covered, since what the caller says wins; nor is it a foreign host's.

        :param url: an absolute URL, as it stands in a :class:`requests.PreparedRequest`.
        """
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _HTTPS_PORT
        except ValueError:
            return False
        return parts.scheme == "https" and self._is_api_host(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def _is_api_host(self, host: str) -> bool:
        return self._added.include(host) or (self._own.include(host) and not self._others.include(host))


class _Hosts:
    """Look up a host among patterns in their one form, ``host:port`` or ``*.domain:port``."""

    __slots__ = ("_exact", "_suffixes")

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._exact = frozenset(patterns)  # no host begins with a star
        self._suffixes = tuple(pattern[1:] for pattern in patterns if pattern.startswith("*."))

    def include(self, host: str) -> bool:
        return host in self._exact or host.endswith(self._suffixes)


def is_plain_https(url: str) -> bool:
    """Tell whether a URL is https, names its host in a way that cannot be misread, and has nothing odd behind it."""
    match = _AUTHORITY.match(url)
    return match is not None and int(match[2] or 0) <= _HIGHEST_PORT and re.fullmatch(_VISIBLE, url) is not None


def _checked_hosts(patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_checked_host, (patterns,) if isinstance(patterns, str) else patterns)))


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
    port, path = (int(match[2] or _HTTPS_PORT), issuer[match.end() :]) if match else (0, "")
    if match is None or port > _HIGHEST_PORT or (path and not re.fullmatch(_PATH, path)):
        shown = without_credentials(issuer)
        raise ValueError(f"{shown!r} cannot be an issuer: it is an https URL such as 'https://id.aritma.io'")
    return match[1].lower(), port, path


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
