"""What must hold for any input, told without the product's own code: for generated input and for fuzzing."""

from __future__ import annotations

import json
import math
import re

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from aritma_session import Token

#: RFC 6750, section 2.1.
BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")

_adapter = HTTPAdapter()


def check_well_formed(token):
    """A token can be sent in a header, and its times make sense."""
    assert isinstance(token, Token)
    assert BEARER.match(token.access_token)
    assert math.isfinite(token.obtained_at)
    assert math.isfinite(token.expires_at)
    assert token.obtained_at <= token.expires_at
    assert token.scope is None or isinstance(token.scope, str)
    assert isinstance(token.on_probation, bool)
    assert len(token.access_token) < 20 or token.access_token not in repr(token)  # a shorter one may be part of a time


def check_loaded(data, key, token):
    """What was loaded from a file's bytes is nothing, or the well-formed token that stands in them."""
    if token is None:
        return
    check_well_formed(token)
    record = json.loads(data)
    assert type(record["version"]) is int  # to Python, true and 1.0 are 1 as well
    assert record["version"] == 1
    assert record["key"] == key
    for name in ("access_token", "scope", "on_probation", "refresh_token"):
        assert getattr(token, name) == record[name]
    for name in ("obtained_at", "expires_at", "renewal_tried_at"):
        stated = record[name]
        assert not isinstance(stated, bool)
        # A whole number may be one that no float is equal to.
        assert getattr(token, name) == (stated if stated is None else float(stated))


def connects_to(url):
    """Where requests would connect to for the URL of a prepared request, and what urllib3 makes of it by itself."""
    request = requests.PreparedRequest()
    request.method, request.url = "GET", url
    pool = _adapter.get_connection_with_tls_context(request, verify=True)
    try:
        parts = parse_url(url)
    except HTTPError:
        return [(pool.scheme, pool.host, pool.port)]
    return [(pool.scheme, pool.host, pool.port), (parts.scheme, parts.host, parts.port or 443)]


def check_covered(environment, url):
    """Whatever requests makes of a URL that is covered, it leads to a host and port on the list, over https."""
    urls = [url]
    try:
        urls.append(requests.Request("GET", url).prepare().url)
    except (requests.RequestException, ValueError):
        assert not environment.covers(url), f"no request can be made of {url!r}, and it is covered"
    for each in urls:
        if environment.covers(each):
            assert environment.has_host_of(each)
            assert environment.covers(requests.Request("GET", each).prepare().url), "and its prepared form is not"
            for scheme, host, port in connects_to(each):
                assert scheme == "https"
                assert _listed(environment, host.strip("[]").lower(), port), f"{each!r} leads to {host}:{port}"


def _listed(environment, host, port):
    added, own, others = environment.api_hosts, environment.hosts, environment.other_hosts
    return _any(added, host, port) or (_any(own, host, port) and not _any(others, host, port))


def _any(patterns, host, port):
    for pattern in patterns:
        name, stated = pattern.rsplit(":", 1)
        labels, wanted = host.split("."), name.strip("[]").split(".")
        if wanted[0] == "*":
            wanted = wanted[1:]
            labels = labels[-len(wanted) :] if len(labels) > len(wanted) else []
        if labels == wanted and port == int(stated):
            return True
    return False
