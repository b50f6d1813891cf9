"""Where tokens come from, and the hosts that they go to: Aritma's, over https, however the URL is dressed up."""

from __future__ import annotations

import copy
import itertools
import pickle
from urllib.parse import urlsplit

import pytest
import requests
from urllib3.util import parse_url

from aritma_session import DEVELOPMENT, PRODUCTION, Environment
from aritma_session.environment import is_plain_https

SECRET = "correct-horse-8"

# --- which URLs are covered

BOTH_REFUSE = frozenset()
ONLY_PRODUCTION = frozenset({"production"})
ONLY_DEVELOPMENT = frozenset({"development"})

ENVIRONMENTS = {"production": PRODUCTION, "development": DEVELOPMENT}

URLS = {
    # The hosts that Aritma's references name, and their like.
    "https://bankservice.zdata.no/api/v3/statements/1": ONLY_PRODUCTION,
    "https://banking.zdata.io/api/accounts": ONLY_PRODUCTION,
    "https://api.aritma.io/core/iam": ONLY_PRODUCTION,
    "https://id.aritma.io/connect/userinfo": ONLY_PRODUCTION,
    "https://aritma.io": ONLY_PRODUCTION,
    "https://zdata.io/": ONLY_PRODUCTION,
    "https://zdata.no/": ONLY_PRODUCTION,
    "https://a.b.c.zdata.no/": ONLY_PRODUCTION,
    "https://under_score.zdata.no/": ONLY_PRODUCTION,
    "https://bankservicedemo.zdata.no/api/v3/statements/1": ONLY_DEVELOPMENT,
    "https://x.bankservicedemo.zdata.no/": BOTH_REFUSE,
    "https://a.b.bankservicedemo.zdata.no:443/": BOTH_REFUSE,
    "https://banking.dev.zdata.io/api/accounts": ONLY_DEVELOPMENT,
    "https://api.dev.aritma.io/core/iam": ONLY_DEVELOPMENT,
    "https://id.dev.aritma.io/connect/userinfo": ONLY_DEVELOPMENT,
    "https://a.b.dev.aritma.io/": ONLY_DEVELOPMENT,
    # The development domains themselves belong to neither; names that only look like them are production's.
    "https://dev.aritma.io/": BOTH_REFUSE,
    "https://dev.zdata.io/": BOTH_REFUSE,
    "https://xdev.aritma.io/": ONLY_PRODUCTION,
    "https://dev.zdata.no/": ONLY_PRODUCTION,
    "https://bankservicedemo.zdata.io/": ONLY_PRODUCTION,
    "https://xbankservicedemo.zdata.no/": ONLY_PRODUCTION,
    # Case does not matter in scheme and host.
    "HTTPS://API.ARITMA.IO/X": ONLY_PRODUCTION,
    "https://Api.Dev.Aritma.Io/": ONLY_DEVELOPMENT,
    "hTTpS://BankServiceDemo.zdata.NO": ONLY_DEVELOPMENT,
    # Whatever stands behind the authority does not matter either.
    "https://aritma.io?x=1": ONLY_PRODUCTION,
    "https://aritma.io#top": ONLY_PRODUCTION,
    "https://aritma.io/?next=https://evil.example": ONLY_PRODUCTION,
    "https://aritma.io/@evil.example": ONLY_PRODUCTION,
    "https://aritma.io?@evil.example": ONLY_PRODUCTION,
    "https://aritma.io#@evil.example": ONLY_PRODUCTION,
    "https://aritma.io/\\@evil.example": ONLY_PRODUCTION,
    "https://aritma.io//evil.example": ONLY_PRODUCTION,
    "https://aritma.io/%2e%2e/a b": ONLY_PRODUCTION,
    "https://aritma.io/\u00e6\u00f8\u00e5": ONLY_PRODUCTION,
    # The port is https's own.
    "https://aritma.io:443/": ONLY_PRODUCTION,
    "https://id.dev.aritma.io:443": ONLY_DEVELOPMENT,
    "https://aritma.io:8443/": BOTH_REFUSE,
    "https://aritma.io:80/": BOTH_REFUSE,
    "https://aritma.io:/": BOTH_REFUSE,
    "https://aritma.io:0443/": BOTH_REFUSE,
    "https://aritma.io:0/": BOTH_REFUSE,
    "https://aritma.io:65979/": BOTH_REFUSE,  # 443, to those who count in 16 bits
    "https://aritma.io:4430000/": BOTH_REFUSE,
    "https://aritma.io:+443/": BOTH_REFUSE,
    "https://aritma.io:443:443/": BOTH_REFUSE,
    "https://aritma.io:https/": BOTH_REFUSE,
    "https://aritma.io:\u0664\u0664\u0663/": BOTH_REFUSE,  # digits, though not ASCII's
    "https://api.aritma.io:443.evil.example/": BOTH_REFUSE,
    # Other schemes, and none.
    "http://aritma.io/": BOTH_REFUSE,
    "HTTP://api.dev.aritma.io/": BOTH_REFUSE,
    "http://aritma.io:443/": BOTH_REFUSE,
    "ftp://aritma.io/": BOTH_REFUSE,
    "wss://aritma.io/": BOTH_REFUSE,
    "httpss://aritma.io/": BOTH_REFUSE,
    "https+unix://aritma.io/": BOTH_REFUSE,
    "xhttps://aritma.io/": BOTH_REFUSE,
    "http://evil.example/https://aritma.io/": BOTH_REFUSE,
    "//aritma.io/": BOTH_REFUSE,
    "aritma.io": BOTH_REFUSE,
    "": BOTH_REFUSE,
    "https:": BOTH_REFUSE,
    "https://": BOTH_REFUSE,
    "https:///aritma.io/": BOTH_REFUSE,
    "https:/aritma.io/": BOTH_REFUSE,
    "https:aritma.io/": BOTH_REFUSE,
    "https:\\\\aritma.io/": BOTH_REFUSE,
    "https://?aritma.io": BOTH_REFUSE,
    "https://#aritma.io": BOTH_REFUSE,
    # Names that only contain Aritma's.
    "https://aritma.io.evil.example/": BOTH_REFUSE,
    "https://evilaritma.io/": BOTH_REFUSE,
    "https://evil-aritma.io/": BOTH_REFUSE,
    "https://aritma.io-evil.example/": BOTH_REFUSE,
    "https://aritma.iox/": BOTH_REFUSE,
    "https://aritma.com/": BOTH_REFUSE,
    "https://aritma/": BOTH_REFUSE,
    "https://io/": BOTH_REFUSE,
    "https://zdata.no.evil.example/": BOTH_REFUSE,
    "https://evilbankservicedemo.zdata.no.evil.example/": BOTH_REFUSE,
    "https://dev.aritma.io.evil.example/": BOTH_REFUSE,
    "https://xn--ritma-3ve.io/": BOTH_REFUSE,
    "https://evil.example/aritma.io": BOTH_REFUSE,
    "https://evil.example?.aritma.io": BOTH_REFUSE,
    "https://evil.example#.aritma.io": BOTH_REFUSE,
    "https://evil.example;.aritma.io/": BOTH_REFUSE,
    "https://evil.example&.aritma.io/": BOTH_REFUSE,
    "https://evil.example,aritma.io/": BOTH_REFUSE,
    "https://evil.example!.aritma.io/": BOTH_REFUSE,
    # User names and passwords.
    "https://user@aritma.io/": BOTH_REFUSE,
    "https://user:password@aritma.io/": BOTH_REFUSE,
    "https://@aritma.io/": BOTH_REFUSE,
    "https://:@aritma.io/": BOTH_REFUSE,
    "https://aritma.io@evil.example/": BOTH_REFUSE,
    "https://aritma.io:443@evil.example/": BOTH_REFUSE,
    "https://evil.example@aritma.io@evil.example/": BOTH_REFUSE,
    "https://aritma.io%40evil.example/": BOTH_REFUSE,
    # Backslashes, which some read as slashes.
    "https://evil.example\\.aritma.io/": BOTH_REFUSE,
    "https://evil.example\\@aritma.io/": BOTH_REFUSE,
    "https://aritma.io\\.evil.example/": BOTH_REFUSE,
    "https://aritma.io\\@evil.example/": BOTH_REFUSE,
    "https://aritma.io\\": BOTH_REFUSE,
    "https:/\\aritma.io/": BOTH_REFUSE,
    # Dots where none belong: a name at the root of DNS is another name to cookies and to certificates.
    "https://aritma.io./": BOTH_REFUSE,
    "https://aritma.io.": BOTH_REFUSE,
    "https://api.aritma.io.:443/": BOTH_REFUSE,
    "https://bankservicedemo.zdata.no./": BOTH_REFUSE,
    "https://id.dev.aritma.io./": BOTH_REFUSE,
    "https://.aritma.io/": BOTH_REFUSE,
    "https://a..aritma.io/": BOTH_REFUSE,
    "https://id..dev.aritma.io/": BOTH_REFUSE,
    "https://./": BOTH_REFUSE,
    # Percent-encoding.
    "https://%61ritma.io/": BOTH_REFUSE,
    "https://aritma%2eio/": BOTH_REFUSE,
    "https://evil.example%2f.aritma.io/": BOTH_REFUSE,
    "https://evil.example%00.aritma.io/": BOTH_REFUSE,
    "https://evil.example%23.aritma.io/": BOTH_REFUSE,
    "https://aritma.io%20/": BOTH_REFUSE,
    "https%3a//aritma.io/": BOTH_REFUSE,
    # White space and control characters.
    " https://aritma.io/": BOTH_REFUSE,
    "\thttps://aritma.io/": BOTH_REFUSE,
    "\nhttps://aritma.io/": BOTH_REFUSE,
    "\0https://aritma.io/": BOTH_REFUSE,
    "https://aritma.io\n": BOTH_REFUSE,
    "https://aritma.io\r\n/": BOTH_REFUSE,
    "https://aritma.io /": BOTH_REFUSE,
    "https:// aritma.io/": BOTH_REFUSE,
    "https://ari\ttma.io/": BOTH_REFUSE,
    "ht\ntps://aritma.io/": BOTH_REFUSE,
    "https:/\n/aritma.io/": BOTH_REFUSE,
    "https://evil.example\n.aritma.io/": BOTH_REFUSE,
    "https://evil.example\0.aritma.io/": BOTH_REFUSE,
    "https://aritma.io\0.evil.example/": BOTH_REFUSE,
    "https://aritma.io\x7f/": BOTH_REFUSE,
    "https://aritma.io\u00a0/": BOTH_REFUSE,
    "https://aritma.io\u2028/": BOTH_REFUSE,
    "https://ari\u00adtma.io/": BOTH_REFUSE,  # a soft hyphen
    "https://ari\u200btma.io/": BOTH_REFUSE,  # a space of no width
    # Letters beyond ASCII: look-alikes, and those that some fold into ASCII.
    "https://\u0430ritma.io/": BOTH_REFUSE,  # a Cyrillic letter that looks like an a
    "https://ar\u0131tma.io/": BOTH_REFUSE,  # an i without its dot
    "https://ar\u0130tma.io/": BOTH_REFUSE,  # a capital I with a dot
    "https://\uff41ritma.io/": BOTH_REFUSE,  # a wide a
    "https://aritma\u3002io/": BOTH_REFUSE,  # an ideographic full stop
    "https://aritma\uff0eio/": BOTH_REFUSE,
    "https://evil.example\u2100.aritma.io/": BOTH_REFUSE,  # "a/c" in one letter
    "https://evil.example\uff0f.aritma.io/": BOTH_REFUSE,  # a wide slash
    "https://evil.example\uff1f.aritma.io/": BOTH_REFUSE,  # a wide question mark
    "https://evil.example\uff03.aritma.io/": BOTH_REFUSE,  # a wide number sign
    "https://evil.example\uff20aritma.io/": BOTH_REFUSE,  # a wide commercial at
    "https://ban\u212aing.zdata.io/": BOTH_REFUSE,  # the Kelvin sign, a k to those who ignore case
    "https://bank\u017fervice.zdata.no/": BOTH_REFUSE,  # a long s, an s to those who ignore case
    "http\u017f://aritma.io/": BOTH_REFUSE,
    "https://b\u00fccher.aritma.io/": BOTH_REFUSE,
    "https://xn--bcher-kva.aritma.io/": ONLY_PRODUCTION,
    # Addresses.
    "https://127.0.0.1/": BOTH_REFUSE,
    "https://2130706433/": BOTH_REFUSE,
    "https://[::1]/": BOTH_REFUSE,
    "https://[::1]:443/": BOTH_REFUSE,
    "https://[::ffff:127.0.0.1]/": BOTH_REFUSE,
    "https://[aritma.io]/": BOTH_REFUSE,
    "https://[::1].aritma.io/": BOTH_REFUSE,
    "https://[::1%25.aritma.io]/": BOTH_REFUSE,
    "https://[::1]aritma.io/": BOTH_REFUSE,
    "https://[evil.example]:443@aritma.io/": BOTH_REFUSE,
}

#: Aritma's domains as its references name them, written down a second time.
DOMAINS = ("aritma.io", "zdata.io", "zdata.no")
DEVELOPMENT_DOMAINS = ("dev.aritma.io", "dev.zdata.io", "bankservicedemo.zdata.no")


def below(host, domains):
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def belongs_to(host):
    """Tell whose a host is, given as a parser reads it."""
    if below(host, DEVELOPMENT_DOMAINS):
        return "development"
    return "production" if below(host, DOMAINS) else None


def prepared(url):
    """Give the URL that requests would send to, if it would send at all."""
    try:
        return requests.Request("GET", url).prepare().url
    except (requests.RequestException, UnicodeError, ValueError):
        return None


def readings(url):
    """Give scheme, user, host and port as the parsers of the standard library and of urllib3 read them."""
    first, second = urlsplit(url), parse_url(url)
    return {
        (first.scheme, first.username, first.hostname, first.port or 443),
        (second.scheme, second.auth, second.host, second.port or 443),
    }


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize("url", URLS)
def test_a_url_is_covered_by_the_environment_whose_host_it_names(url, name):
    assert ENVIRONMENTS[name].covers(url) is (name in URLS[url])


@pytest.mark.parametrize("url", [url for url, names in URLS.items() if names])
def test_a_covered_url_stays_covered_when_requests_prepares_it(url):
    sent_to = prepared(url)
    assert {name for name, environment in ENVIRONMENTS.items() if environment.covers(sent_to)} == URLS[url]


def arranged():
    """Arrange hosts of both sides with whatever could make one parser see the other's."""
    heads = ("https://", "https://user@", "HTTPS:\\\\", "https:///", "https://evil.example", "https://evil.example:443")
    joints = ("", *".@:/\\?#;[]\t\n \0\u2100\uff0f", "%2f", "%40")
    hosts = ("aritma.io", "id.dev.aritma.io", "BANKSERVICEDEMO.zdata.no", "[::1]")
    tails = ("", "evil.example", "evil.example/", ":443/")
    return map("".join, itertools.product(heads, joints, hosts, joints, tails))


@pytest.mark.parametrize("urls", [[url] for url in URLS] + [pytest.param([*arranged()], id="arranged")])
def test_no_parser_finds_a_foreign_host_in_a_covered_url(urls):
    for name, environment in ENVIRONMENTS.items():
        for url in urls:
            for candidate in (url, prepared(url)):
                if candidate is not None and environment.covers(candidate):
                    for scheme, user, host, port in readings(candidate):
                        found = (scheme, user, belongs_to(host.lower()), port)
                        assert found == ("https", None, name, 443), f"{candidate!r} from {url!r}"


def test_the_arrangements_are_of_both_kinds():
    urls = [*arranged()]
    covered = sum(PRODUCTION.covers(url) for url in urls)
    assert 0 < covered < len(urls) / 2


# --- API hosts of one's own


def covering(*patterns):
    return Environment("https://id.example", api_hosts=patterns)


@pytest.mark.parametrize(
    ("pattern", "covered", "refused"),
    [
        (
            "api.example",
            ["https://api.example/", "https://API.EXAMPLE:443/"],
            ["https://x.api.example/", "https://example/"],
        ),
        ("API.Example", ["https://api.example/"], []),
        ("api.example:8443", ["https://api.example:8443/"], ["https://api.example/", "https://api.example:84/"]),
        ("api.example:443", ["https://api.example/", "https://api.example:443/"], ["https://api.example:4433/"]),
        (
            "*.api.example",
            ["https://a.api.example/", "https://a.b.api.example/"],
            ["https://api.example/", "https://xapi.example/"],
        ),
        (
            "*.api.example:8443",
            ["https://a.api.example:8443/"],
            ["https://a.api.example/", "https://api.example:8443/"],
        ),
        ("localhost:5000", ["https://localhost:5000/"], ["http://localhost:5000/", "https://localhost/"]),
        ("127.0.0.1", ["https://127.0.0.1/"], ["https://127.0.0.11/", "https://127.0.0.1.evil.example/"]),
        ("[::1]", ["https://[::1]/", "https://[::1]:443/"], ["https://[::2]/", "https://[::1]:8443/"]),
        ("[2001:DB8::1]:8443", ["https://[2001:db8::1]:8443/"], ["https://[2001:db8::1]/"]),
    ],
)
def test_an_api_host_is_a_host_with_a_port_or_a_domain(pattern, covered, refused):
    environment = covering(pattern)
    assert [url for url in covered if not environment.covers(url)] == []
    assert [url for url in refused if environment.covers(url)] == []


@pytest.mark.parametrize("parameter", ["hosts", "other_hosts", "api_hosts"])
@pytest.mark.parametrize(
    "pattern",
    [
        "",
        ".",
        "*",
        "*.",
        "*:443",
        "**.example",
        "*example",
        "a.*.example",
        "example.",
        ".example",
        "a..example",
        "*..example",
        "https://api.example",
        "//api.example",
        "api.example/",
        "api.example/path",
        "api.example?x",
        "user@api.example",
        "api.example:",
        "api.example:0",
        "api.example:0443",
        "api.example:65536",
        "*.api.example:99999",
        "[::1]:65536",
        "api.example:https",
        "api.example:443:443",
        "a b.example",
        " api.example",
        "api.example\n",
        "api,example",
        "api\\example",
        "%61pi.example",
        "b\u00fccher.example",
        "::1",
        "[::1",
        "[fe80::1%25eth0]",
    ],
)
def test_what_cannot_be_an_api_host_is_refused(parameter, pattern):
    with pytest.raises(ValueError, match="cannot be an API host: write 'host', 'host:port' or"):
        Environment("https://id.example", **{parameter: ["good.example", pattern]})


def test_the_highest_port_is_65535():
    assert covering("api.example:65535").covers("https://api.example:65535/")
    assert Environment.at("https://id.example:65535").covers("https://id.example:65535/")


@pytest.mark.parametrize("parameter", ["hosts", "other_hosts", "api_hosts"])
def test_a_string_is_one_host(parameter):
    assert getattr(Environment("https://id.example", **{parameter: "Api.example"}), parameter) == ("api.example:443",)


@pytest.mark.parametrize("parameter", ["hosts", "other_hosts", "api_hosts"])
def test_a_host_is_kept_once_however_it_is_written(parameter):
    patterns = ["api.example", "*.b.example", "api.example", "API.example", "api.example:443", "*.B.example:443"]
    environment = Environment("https://id.example", **{parameter: patterns})
    assert getattr(environment, parameter) == ("api.example:443", "*.b.example:443")


@pytest.mark.parametrize("parameter", ["hosts", "other_hosts", "api_hosts"])
@pytest.mark.parametrize("pattern", [f"https://client:{SECRET}@api.example", f"client:{SECRET}@api.example"])
def test_what_stands_before_an_at_sign_is_not_shown_of_a_host(parameter, pattern):
    with pytest.raises(ValueError, match=r"api\.example' cannot be an API host") as caught:
        Environment("https://id.example", **{parameter: pattern})
    assert SECRET not in str(caught.value)


def test_other_hosts_are_taken_out_of_the_hosts():
    environment = Environment("https://id.example", hosts=("*.example",), other_hosts=("b.example", "*.c.example:8443"))
    assert environment.covers("https://a.example/")
    assert not environment.covers("https://b.example/")
    assert environment.covers("https://x.c.example/"), "only its port 8443 belongs to others"


@pytest.mark.parametrize("host", ["id.dev.aritma.io", "dev.aritma.io", "bankservicedemo.zdata.no"])
def test_what_the_user_adds_comes_before_what_belongs_to_others(host):
    assert not PRODUCTION.covers(f"https://{host}/")
    assert PRODUCTION.extended(api_hosts=[host]).covers(f"https://{host}/")


def test_an_added_host_is_covered_over_https_alone():
    assert not PRODUCTION.extended(api_hosts=["api.example"]).covers("http://api.example/")


# --- an issuer


@pytest.mark.parametrize(
    ("issuer", "known"),
    [
        ("https://id.aritma.io", PRODUCTION),
        ("https://id.aritma.io/", PRODUCTION),
        ("https://id.dev.aritma.io", DEVELOPMENT),
        ("https://id.dev.aritma.io//", DEVELOPMENT),
        ("https://ID.Aritma.IO", PRODUCTION),
        ("HTTPS://id.aritma.io", PRODUCTION),
        ("https://id.aritma.io:443", PRODUCTION),
        ("https://id.dev.aritma.io:443/", DEVELOPMENT),
        ("hTTps://ID.DEV.aritma.io:443//", DEVELOPMENT),
        ("https://id.aritma.io/acme", PRODUCTION.extended("acme")),
        ("https://id.aritma.io/acme/", PRODUCTION.extended("acme")),
        ("https://id.dev.aritma.io/acme", DEVELOPMENT.extended("acme")),
        ("HTTPS://ID.aritma.io:443/Acme-AS/", PRODUCTION.extended("Acme-AS")),
    ],
)
def test_the_issuers_of_aritma_mean_its_environments(issuer, known):
    assert Environment.at(issuer) == known


@pytest.mark.parametrize(
    ("issuer", "host"),
    [
        ("https://id.aritma.io/acme/more", "id.aritma.io:443"),
        ("https://id.dev.aritma.io/acme/connect/token", "id.dev.aritma.io:443"),
        ("https://id.aritma.io:8443", "id.aritma.io:8443"),
        ("https://id.aritma.io:8443/acme", "id.aritma.io:8443"),
        ("https://api.aritma.io", "api.aritma.io:443"),
        ("https://x.id.aritma.io/acme", "x.id.aritma.io:443"),
    ],
)
def test_what_only_resembles_an_issuer_of_aritma_is_a_custom_one(issuer, host):
    assert Environment.at(issuer) == Environment(issuer, hosts=(host,), discovery=True)


def test_endpoints_are_below_the_issuer_and_its_tenant():
    place = Environment("https://id.example/auth")
    assert (place.tenant_issuer, place.token_endpoint) == (
        "https://id.example/auth",
        "https://id.example/auth/connect/token",
    )
    place = place.extended(tenant="acme")
    assert (place.tenant_issuer, place.token_endpoint) == (
        "https://id.example/auth/acme",
        "https://id.example/auth/acme/connect/token",
    )
    assert not place.discovery


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://id.example", True),
        ("https://id.example:65535/connect/token?a=b&c=%20~", True),
        ("https://[::1]:8443/!$", True),
        ("https://id.example:65536/", False),
        ("http://id.example/", False),
        ("https://user@id.example/", False),
        ("https://id.example/#there", False),
        ('https://id.example/"', False),
        ("https://id.example/a b", False),
        ("https://id.example/\n", False),
        ("https://id.example/\x7f", False),
        ("https://id.example/\xe6", False),
        ("/connect/token", False),
        ("", False),
    ],
)
def test_a_url_is_plain_https_or_is_not(url, plain):
    assert is_plain_https(url) is plain


@pytest.mark.parametrize(
    ("issuer", "covered", "refused"),
    [
        ("https://id.example", ["https://id.example/x"], ["https://api.example/", "https://x.id.example/"]),
        ("https://id.example/", ["https://id.example/x"], ["https://id.example:8443/"]),
        ("https://ID.Example", ["https://id.example/"], []),
        ("https://id.example/auth/realm-1", ["https://id.example/", "https://id.example/other"], ["https://example/"]),
        ("https://localhost:5001", ["https://localhost:5001/api"], ["https://localhost/", "http://localhost:5001/"]),
        ("https://[::1]:5001", ["https://[::1]:5001/"], ["https://[::1]/"]),
    ],
)
def test_a_custom_issuer_covers_its_own_host_and_port(issuer, covered, refused):
    environment = Environment.at(issuer)
    assert environment.issuer == issuer.rstrip("/")
    assert [url for url in covered if not environment.covers(url)] == []
    assert [url for url in (*refused, "https://id.aritma.io/") if environment.covers(url)] == []


@pytest.mark.parametrize("make", [Environment, Environment.at])
@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "production",
        "id.aritma.io",
        "//id.aritma.io",
        "http://id.aritma.io",
        "ftp://id.aritma.io",
        "https://",
        "https:///connect",
        "https://user@id.aritma.io",
        "https://id.aritma.io.",
        "https://id.aritma.io:",
        "https://id.aritma.io:0",
        "https://id.aritma.io:65536",
        "https://id.example:99999/auth",
        "https://[::1]:65536",
        "https://a..example",
        "https://id..aritma.io",
        "https://id.aritma.io/..",
        "https://id.aritma.io/../x",
        "https://id.aritma.io/a/../b",
        "https://id.aritma.io/./x",
        "https://id.aritma.io:port",
        "https://id.aritma.io?tenant=x",
        "https://id.aritma.io#x",
        "https://id.aritma.io/a?b",
        "https://id.aritma.io/a b",
        "https://id.aritma.io/a\n",
        "https://id.aritma.io\n",
        " https://id.aritma.io",
        "https://id.aritma.io/a//b",
        "https://id.aritma.io/%61",
        "https://id.aritma.io\\x",
        "https://b\u00fccher.example",
    ],
)
def test_what_is_no_plain_https_url_cannot_be_an_issuer(make, issuer):
    with pytest.raises(ValueError, match="cannot be an issuer: it is an https URL such as"):
        make(issuer)


@pytest.mark.parametrize("make", [Environment, Environment.at])
@pytest.mark.parametrize(
    "issuer", [f"https://client:{SECRET}@id.example", f"http://{SECRET}@id.example", f"client:{SECRET}@id.example"]
)
def test_what_stands_before_an_at_sign_is_not_shown_of_an_issuer(make, issuer):
    with pytest.raises(ValueError, match=r"id\.example' cannot be an issuer") as caught:
        make(issuer)
    assert SECRET not in str(caught.value)


# --- the token endpoint, and the tenant in it


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        (PRODUCTION, "https://id.aritma.io/connect/token"),
        (DEVELOPMENT, "https://id.dev.aritma.io/connect/token"),
        (PRODUCTION.extended("acme"), "https://id.aritma.io/acme/connect/token"),
        (Environment.at("https://id.example:8443/auth/"), "https://id.example:8443/auth/connect/token"),
        (Environment.at("https://id.example/auth").extended("acme"), "https://id.example/auth/acme/connect/token"),
        (Environment("https://id.example", tenant="acme"), "https://id.example/acme/connect/token"),
    ],
)
def test_the_token_endpoint_stands_below_the_issuer_and_the_tenant(environment, endpoint):
    assert environment.token_endpoint == endpoint


@pytest.mark.parametrize("tenant", ["acme", "Acme-AS", "acme.no", "a_b~c", "42", "-"])
def test_a_tenant_is_a_segment_of_a_path(tenant):
    environment = PRODUCTION.extended(tenant)
    assert environment.tenant == tenant
    assert prepared(environment.token_endpoint) == f"https://id.aritma.io/{tenant}/connect/token"


@pytest.mark.parametrize(
    "tenant", [".", "..", ".acme", "a/b", "/", "a b", " ", "a\n", "a?b", "a#b", "a%2fb", "a\\b", "a:b", "a@b", "\u00e6"]
)
def test_what_is_no_segment_cannot_be_a_tenant(tenant):
    with pytest.raises(ValueError, match="cannot be a tenant: it is one segment of a path"):
        PRODUCTION.extended(tenant)
    with pytest.raises(ValueError, match="cannot be a tenant: it is one segment of a path"):
        Environment("https://id.example", tenant=tenant)


# --- a value


@pytest.mark.parametrize("tenant", [None, ""])
def test_to_extend_by_nothing_changes_nothing(tenant):
    environment = Environment("https://id.example", tenant="acme", api_hosts=("api.example",))
    assert environment.extended(tenant) == environment
    assert environment.extended(tenant, ()) == environment


def test_to_extend_makes_a_new_environment():
    first = PRODUCTION.extended("acme", iter(["a.example"]))
    second = first.extended(api_hosts=["b.example:8443"])
    assert (second.tenant, second.issuer) == ("acme", PRODUCTION.issuer)
    assert second.covers("https://a.example/")
    assert second.covers("https://b.example:8443/")
    assert second.covers("https://bankservice.zdata.no/")
    assert not first.covers("https://b.example:8443/")
    assert not PRODUCTION.covers("https://a.example/")
    assert PRODUCTION.tenant is None


def test_to_extend_by_a_string_adds_one_host():
    assert PRODUCTION.extended(api_hosts="api.example") == PRODUCTION.extended(api_hosts=["api.example"])


@pytest.mark.parametrize("again", ["api.example", ["API.example"], ("api.example:443", "Api.Example:443")])
def test_to_extend_twice_by_the_same_host_is_to_extend_once(again):
    once = PRODUCTION.extended(api_hosts=["api.example"])
    assert once.extended(api_hosts=again) == once


def test_an_impossible_host_cannot_be_added():
    with pytest.raises(ValueError, match="cannot be an API host"):
        PRODUCTION.extended(api_hosts=["https://a.example"])


@pytest.mark.parametrize(
    "environment", [PRODUCTION, DEVELOPMENT, Environment.at("https://id.example").extended("acme")]
)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copied_or_pickled_environment_is_the_same(environment, copied):
    assert copied(environment) == environment
    assert copied(environment).covers(environment.issuer)


@pytest.mark.parametrize("field", Environment.fields())
def test_an_environment_cannot_be_changed(field):
    with pytest.raises(AttributeError, match="cannot be changed"):
        setattr(PRODUCTION, field, ())


def test_environments_are_compared_by_value_however_their_hosts_are_written():
    first = Environment("https://id.example", hosts=["API.example", "*.b.example"])
    second = Environment("https://id.example", hosts=("api.example:443", "*.B.example:443"))
    assert first == second
    assert hash(first) == hash(second)
    assert first != first.extended("acme")


@pytest.mark.parametrize(
    ("url", "has"),
    [
        ("https://aritma.io/", True),
        ("https://user:word@api.aritma.io/", True),
        ("https://user@aritma.io:443", True),
        ("https://user@aritma.io:444", False),
        ("http://user@aritma.io/", False),
        ("https://aritma.io@evil.example/", False),
        ("https://user@api.dev.aritma.io/", False),
        ("https://aritma.io:port/", False),
        ("https://[::1", False),
        ("", False),
    ],
)
def test_knows_its_hosts_where_a_url_names_a_user(url, has):
    assert PRODUCTION.has_host_of(url) is has


def test_knows_an_address_of_its_own_too():
    place = Environment("https://id.example", hosts=("[::1]:8443",))
    assert place.has_host_of("https://user@[::1]:8443/")
    assert not place.has_host_of("https://user@[::1]/")


class TestMemory:
    @pytest.fixture
    def looked(self, monkeypatch):
        """The URLs that were taken apart."""
        urls = []
        find_out = Environment._find_out

        def noted(environment, url, beginning):
            urls.append(url)
            return find_out(environment, url, beginning)

        monkeypatch.setattr(Environment, "_find_out", noted)
        return urls

    def test_an_authority_is_taken_apart_once(self, looked):
        place = Environment("https://id.example", hosts=("a.example",))
        for _ in range(3):
            assert place.covers("https://a.example/one/two")
            assert place.covers("https://a.example/three?four=/five")
            assert not place.covers("https://b.example/one")
        assert looked == ["https://a.example/one/two", "https://b.example/one"]

    def test_what_could_be_read_in_two_ways_is_not_remembered(self):
        place = Environment("https://id.example", hosts=("a.example",))
        for url in ("https://a.example?x/y", "https://u@a.example/", "https://a.example\\@b.example/"):
            place.covers(url)
        assert place._known == {}
        assert place.covers("https://a.example")
        assert place._known == {"https://a.example": True}

    def test_no_more_than_some_are_remembered(self):
        place = Environment("https://id.example", hosts=("*.a.example",))
        for number in range(300):
            assert place.covers(f"https://h{number}.a.example/")
        assert len(place._known) == 256

    def test_an_issuer_keeps_all_but_the_slash_at_its_end(self):
        assert Environment.at("https://id.example/X/").issuer == "https://id.example/X"

    def test_a_tenant_that_is_none_is_shown(self):
        with pytest.raises(
            ValueError, match=r"^'a/b' cannot be a tenant: it is one segment of a path, such as 'acme'$"
        ):
            Environment("https://id.example", tenant="a/b")
