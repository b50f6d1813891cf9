"""Whom the token really reaches, when every name leads to one server that no certificate stops.

Each connection is noted with the name that it was meant for, as it would have been looked up, and with the headers that
arrived over it. The rule: whoever received the token is an API host by the README's table, over TLS; and all else that
arrived, there and elsewhere, is what ``requests.Session`` sends.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.server
import itertools
import json
import socket
import socketserver
import ssl
import threading
import warnings
from urllib.parse import parse_qs

import pytest
import requests
import trustme
import urllib3.util.connection

from aritma_session import AritmaSession, Environment, TokenError

#: A request that cannot be written down, because of its host, leaves requests with an open connection.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SECRET = "Xk7-Trombone_94~q"
TOKEN = "eyJob3N0aWxl.eyJ0b2tlbg.c2lnbmVk"
STATUSES = 301, 302, 303, 307, 308

#: Settings, and what the README promises of each, written down once more: names with their port, and domains.
PLACES = {
    "production": ({"environment": "production"}, "id.aritma.io"),
    "development": ({"environment": "development"}, "id.dev.aritma.io"),
    "custom": (
        {
            "environment": Environment("https://id.corp.example:8443", hosts=("id.corp.example:8443",)),
            "api_hosts": "api.corp.example:9443, *.bank.example, [::1]",
        },
        "id.corp.example",
    ),
}


def below(host, *domains):
    return any(host.endswith(f".{domain}") for domain in domains)


def promised(place, host, port):
    """Tell whether the README promises the token to a host and port, or at least does not rule it out."""
    if place == "custom":
        named = {("id.corp.example", 8443), ("api.corp.example", 9443), ("::1", 443)}
        return (host, port) in named or (below(host, "bank.example") and port == 443)
    developments = below(host, "dev.aritma.io", "dev.zdata.io") or host == "bankservicedemo.zdata.no"
    if place == "development":
        return developments and port == 443
    bare = {"aritma.io", "zdata.io", "zdata.no"}
    return (host in bare or below(host, *bare)) and not developments and port == 443


# --- a server that everything leads to


@dataclasses.dataclass(frozen=True)
class Arrival:
    """One request, and whom it was meant for."""

    host: str
    port: int
    tls: bool
    via: str | None
    method: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def authorization(self):
        return self.headers.get("authorization")


class World(socketserver.ThreadingTCPServer):
    """Be every host there is, with and without TLS, and every proxy."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, context):
        super().__init__(("127.0.0.1", 0), Peer)
        self.context = context
        self.meant = {}  # the client's own port: host and port that it meant
        self.arrivals = []
        self.connects = []
        self.answer = lambda arrival: (200, [])

    def create_connection(self, address, timeout=None, source_address=None, socket_options=None):
        connection = socket.socket()
        connection.settimeout(10)
        connection.bind(("127.0.0.1", 0))
        self.meant[connection.getsockname()[1]] = address
        connection.connect(self.server_address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def handle_error(self, request, client_address):
        pass  # clients come and go

    def took(self):
        """What has arrived since this was last asked, token requests aside."""
        arrivals, self.arrivals = self.arrivals, []
        return [arrival for arrival in arrivals if not arrival.path.endswith("/connect/token")]


class Peer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    tls, via = False, None

    def setup(self):
        self.host, self.port = self.server.meant[self.client_address[1]][:2]
        self.host = self.host.strip("[]")
        self.plain = self.request
        self._secure()
        super().setup()

    def _secure(self):
        if self.request.recv(1, socket.MSG_PEEK) == b"\x16":
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
            self.tls = True

    def handle(self):
        with contextlib.suppress(OSError):
            super().handle()

    def finish(self):
        with contextlib.suppress(OSError):
            super().finish()
        self.request.close()

    def do_CONNECT(self):
        self.server.connects.append((self.path, dict(self.headers.items())))
        self.via = f"{self.host}:{self.port}"
        self.host, _, port = self.path.rpartition(":")
        self.host, self.port = self.host.strip("[]"), int(port)
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self._secure()
        super().setup()
        self.close_connection = False

    def answered(self):
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(length).decode()
        arrival = Arrival(self.host, self.port, self.tls, self.via, self.command, self.path, headers, body)
        self.server.arrivals.append(arrival)
        if self.path.endswith("/connect/token"):
            token = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
            status, fields, content = 200, [("Set-Cookie", "own=1; Domain=aritma.io")], json.dumps(token).encode()
        else:
            status, fields = self.server.answer(arrival)
            content = b"" if self.command == "HEAD" else b"{}"
        lines = [f"HTTP/1.1 {status} Any", *(f"{name}: {value}" for name, value in fields)]
        head = "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""])
        self.wfile.write(head.encode("latin-1", "replace") + content)

    do_GET = do_POST = do_PUT = do_HEAD = answered  # noqa: N815  # the names are http.server's

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def every_host():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with World(context) as world:
        thread = threading.Thread(target=world.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield world
        world.shutdown()
        thread.join()


@pytest.fixture
def world(every_host, monkeypatch):
    """The server, to which every name leads; verification is off, so that nothing stops what is sent there."""
    every_host.arrivals.clear()
    every_host.connects.clear()
    every_host.answer = lambda arrival: (200, [])
    monkeypatch.setattr(urllib3.util.connection, "create_connection", every_host.create_connection)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)  # it takes longer than all the rest
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        yield every_host


@pytest.fixture
def sessions(world):
    """Make a session of ours and a plain one."""
    with contextlib.ExitStack() as stack:

        def make(place="production"):
            settings = PLACES[place][0]
            ours = stack.enter_context(AritmaSession("client", SECRET, cache="memory", **settings))
            plain = stack.enter_context(requests.Session())
            ours.verify = plain.verify = False
            return ours, plain

        yield make


def sent(session, world, url, method="GET", **more):
    """What arrives where, and how it ends, when a session is asked for a URL."""
    try:
        ended = session.request(method, url, timeout=10, **more).status_code
    except TokenError:
        raise
    except (requests.RequestException, UnicodeError, ValueError) as error:
        ended = type(error).__name__
    return world.took(), ended


def wrong(place, arrivals, plain_arrivals):
    """What should not have arrived: the token at the wrong place, or anything that requests would not have sent."""
    found = []
    for ours, plain in itertools.zip_longest(arrivals, plain_arrivals):
        if ours is None or plain is None:
            found.append(("only one of them sent", ours, plain))
        elif ours.authorization is not None and TOKEN in ours.authorization:
            if not (ours.tls and promised(place, ours.host, ours.port) and ours.headers["host"] and not ours.via):
                found.append(("the token went astray", ours, plain))
            headers = {**ours.headers, "authorization": plain.authorization}
            if dataclasses.replace(ours, headers={k: v for k, v in headers.items() if v is not None}) != plain:
                found.append(("more than the token is different", ours, plain))
        elif ours != plain:
            found.append(("not as requests sends it", ours, plain))
        if ours is not None and any(TOKEN in value for name, value in ours.headers.items() if name != "authorization"):
            found.append(("the token in another header", ours, plain))
        if ours is not None and (SECRET in repr(ours) or TOKEN in ours.path + ours.body):
            found.append(("a secret in a request", ours, plain))
    return found


# --- the table


def dressed(host, evil="evil.example"):
    """URLs that look, to somebody or to some parser, as if they led to a host."""
    name, _, domain = host.partition(".")
    wide = "".join(chr(ord(letter) + 0xFEE0) if letter.isalnum() else letter for letter in host)
    cyrillic = host.translate(str.maketrans("aeio", "\u0430\u0435\u0456\u043e"))
    return [
        f"https://{evil}/https://{host}/",
        *(f"{scheme}://{host}/" for scheme in ("https", "HTTPS", "hTTpS", "http", "HTTP", "ws", "wss", "ftp", "file")),
        *(f"{scheme}://{host}/" for scheme in ("https+unix", "httpss", "xhttps", "https:https", "http:https", "view")),
        *(f"{start}{host}/" for start in ("//", "/", "https:/", "https:", "https:///", "https:////", "https:\\\\", "")),
        *(f"{blank}https://{host}/" for blank in (" ", "\t", "\n", "\r\n", "\0", "\u00a0", "\u2028", "\ufeff", "\x0b")),
        *(f"https://{host}{blank}/" for blank in (" ", "\t", "\n", "\r\n", "\0", "\u00a0", "\u200b", "\x7f", "\\")),
        *(f"https://{blank}{host}/" for blank in (" ", "\t", "\n", "\0", "\u200b", "\u00ad", ".", "..", "-", "*.")),
        *(f"https://{host}:{port}/" for port in ("443", "", "0443", "80", "8443", "65979", "444", "0", "+443", "4 43")),
        *(f"https://{host}:{port}/" for port in ("443:443", "443@" + evil, "x@" + evil, "\u0664\u0664\u0663", "-1")),
        *(f"http://{host}:{port}/" for port in ("443", "80", "8443")),
        *(f"https://{user}@{host}/" for user in ("user", "user:pass", ":", "", evil, f"{evil}:443", "a@b", "%40")),
        *(f"https://{host}{joint}{evil}/" for joint in ("@", ":@", ".", "-", "%40", "%2f", "%00.", "\\@", "\\.", "\\")),
        *(f"https://{host}{joint}{evil}/" for joint in ("#@", "?@", "/@", ";@", "&@", ",", "!", "\t@", "\n@", "\0@")),
        *(f"https://{evil}{joint}{host}/" for joint in ("@", ":@", ".", "-", "%40", "%2f", "%2e", "\\@", "\\.", "\\")),
        *(f"https://{evil}{joint}{host}/" for joint in ("#", "?", "/", ";", "#@", "?@", "/@", "\n.", "\t.", "\0.")),
        *(f"https://{evil}{joint}{host}/" for joint in (":443@", ":443#@", "\r\n\r\n@", " @", "%20@", "%09.")),
        *(f"https://{evil}{joint}{host}/" for joint in "\u2044\uff0f\uff1f\uff03\uff20\u2100\u3002\uff3c\ufe68\ufe6b"),
        *(f"https://{host}{dots}/" for dots in (".", "..", "\u3002", "\uff0e", "\uff61", "%2e")),
        f"https://{host.upper()}/",
        f"https://{host.title()}/",
        f"https://{host.upper()}.:443/",
        f"https://evil{host}/",
        f"https://evil-{host}/",
        f"https://evil.{host}/",
        f"https://evil_{host}/",
        f"https://a..{host}/",
        f"https://{host}x/",
        f"https://{host}.{host}/",
        f"https://{host}.{evil}/{host}",
        f"https://{name}/",
        f"https://{domain}/",
        f"https://{domain}.{name}/",
        f"https://{host[1:]}/",
        f"https://x{host[1:]}/",
        f"https://{host[:-1]}/",
        f"https://{wide}/",
        f"https://{cyrillic}/",
        f"https://{host.replace('i', chr(0x131))}/",
        f"https://{host.replace('i', chr(0x130))}/",
        f"https://{host.replace('k', chr(0x212A))}/",
        f"https://{host.replace('s', chr(0x17F))}/",
        f"https://{host.replace('.', chr(0x3002))}/",
        f"https://{host.replace('.', chr(0xFF0E))}/",
        f"https://{host.replace('.', '%2e')}/",
        f"https://{host.replace('.', '%252e')}/",
        f"https://%{ord(host[0]):02x}{host[1:]}/",
        f"https://xn--{host}/",
        f"https://xn--{name}-3ve.{domain}/",
        f"https://b\u00fccher.{host}/",
        f"https://xn--bcher-kva.{host}/",
        f"https://[{host}]/",
        f"https://[::1].{host}/",
        f"https://[::1%25{host}]/",
        f"https://[::1]@{host}/",
        f"https://[{evil}]:443@{host}/",
        f"https://127.0.0.1@{host}/",
        f"https://{host}@127.0.0.1/",
        f"https://{host}@[::1]/",
        f"https://{evil}/?next=https://{host}/#https://{host}/",
        f"https://{host}/?next=https://{evil}/#https://{evil}/",
        f"https://{host}//{evil}/..;/@{evil}",
        f"https://{host}/../../@{evil}/",
        f"https://{host}?@{evil}",
        f"https://{host}#@{evil}",
        f"https%3a//{host}/",
        f"https&colon;//{host}/",
        f"url:https://{host}/",
        f"jar:https://{host}/!/",
        f"data:text/html,https://{host}/",
    ]


ADDRESSES = [
    *(f"https://{host}/" for host in ("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "0")),
    *(f"https://{host}/" for host in ("[::1]", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "[::1%25lo]")),
    *(f"https://{host}/" for host in ("[::1]:444", "[::1]:0443", "[::1", "::1", "[::2]", "[[::1]]", "[::1]]")),
    *(f"https://{host}/" for host in ("127.0.0.1:443", "127.0.0.1.aritma.io.evil.example", "[::1]:443", "[::1].evil")),
    *(f"http://{host}/" for host in ("127.0.0.1", "[::1]", "[::1]:443", "127.0.0.1:443", "localhost")),
]

#: Hosts that are given the token in each place, and hosts of another.
HOSTS = {
    "production": ["bankservice.zdata.no", "aritma.io", "bankservicedemo.zdata.no", "id.dev.aritma.io"],
    "development": ["bankservicedemo.zdata.no", "api.dev.aritma.io", "dev.zdata.io", "api.aritma.io"],
    "custom": ["x.bank.example", "id.corp.example", "api.corp.example", "aritma.io"],
}

COVERED = {
    "production": ["https://aritma.io/", "https://x.zdata.no:443/a?b", "HTTPS://API.ARITMA.IO"],
    "development": ["https://bankservicedemo.zdata.no/", "https://a.b.dev.zdata.io/"],
    "custom": [
        "https://id.corp.example:8443/",
        "https://api.corp.example:9443",
        "https://x.bank.example",
        "https://[::1]/",
    ],
}


@pytest.mark.parametrize("place", PLACES)
class TestUrls:
    def test_are_many(self, place):
        assert len(set(dressed(HOSTS[place][0])) | set(ADDRESSES)) >= 200

    def test_lead_the_token_to_api_hosts_alone(self, place, world, sessions):
        self.try_all(place, world, sessions, [*itertools.chain(*map(dressed, HOSTS[place][:2])), *ADDRESSES])

    @pytest.mark.soak
    def test_of_other_hosts_do_so_too(self, place, world, sessions):
        self.try_all(place, world, sessions, itertools.chain(*map(dressed, HOSTS[place])))

    def try_all(self, place, world, sessions, urls):
        ours, plain = sessions(place)
        urls = list(dict.fromkeys(urls))
        found, given = [], 0
        for url in urls:
            (arrivals, ended), (expected, plainly) = sent(ours, world, url), sent(plain, world, url)
            found += [(url, *each) for each in wrong(place, arrivals, expected)]
            found += [(url, ended, plainly)] if ended != plainly else []
            given += any(TOKEN in (arrival.authorization or "") for arrival in arrivals)
        assert found == []
        assert 5 < given < len(urls) / 4

    def test_of_api_hosts_are_given_it(self, place, world, sessions):
        ours, plain = sessions(place)
        for url in COVERED[place]:
            (arrivals, _), (expected, _) = sent(ours, world, url), sent(plain, world, url)
            assert [arrival.authorization for arrival in arrivals] == [f"Bearer {TOKEN}"]
            assert wrong(place, arrivals, expected) == []

    def test_see_the_secret_at_the_token_endpoint_alone(self, place, world, sessions):
        ours, _ = sessions(place)
        ours.get(COVERED[place][0], timeout=10)
        [asked] = [arrival for arrival in world.arrivals if SECRET in repr(arrival)]
        port = 8443 if place == "custom" else 443
        assert (asked.host, asked.port, asked.tls, asked.path) == (PLACES[place][1], port, True, "/connect/token")
        assert parse_qs(asked.body)["client_secret"] == [SECRET]


# --- redirects

#: Places that a redirect may lead to; the path tells the server what comes next.
LOCATIONS = [
    "https://api.aritma.io{path}",
    "https://bankservice.zdata.no{path}",
    "HTTPS://API.ARITMA.IO:443{path}",
    "https://evil.example{path}",
    "http://api.aritma.io{path}",
    "https://api.aritma.io:8443{path}",
    "https://user:pass@api.aritma.io{path}",
    "https://user:pass@evil.example{path}",
    "https://api.aritma.io@evil.example{path}",
    "https://api.aritma.io.evil.example{path}",
    "https://api.dev.aritma.io{path}",
    "https://api.aritma.io.{path}",
    "//evil.example{path}",
    "//api.aritma.io{path}",
    "{path}",
    "\\\\evil.example{path}",
    "https:{path}",
]
START = ["https://api.aritma.io{path}", "https://evil.example{path}", "https://user:pass@evil.example{path}"]


def chains(length):
    return itertools.product(START, *[LOCATIONS] * (length - 1))


def follow(world, chain, statuses):
    """Let the server lead whoever comes along a chain of places: the URL to begin with."""

    def answer(arrival):
        hop = int(arrival.path.rpartition("/")[2]) + 1
        if hop == len(chain):
            return 200, []
        return statuses[hop - 1], [("Location", chain[hop].format(path=f"/hop/{hop}"))]

    world.answer = answer
    return chain[0].format(path="/hop/0")


def astray(world, sessions, cases, place="production", **more):
    ours, plain = sessions(place)
    found, given, kept = [], 0, 0
    for chain, statuses in cases:
        url = follow(world, chain, statuses)
        (arrivals, ended), (expected, plainly) = sent(ours, world, url, **more), sent(plain, world, url, **more)
        found += [(chain, statuses, *each) for each in wrong(place, arrivals, expected)]
        found += [(chain, statuses, ended, plainly)] if ended != plainly else []
        tokens = [TOKEN in (arrival.authorization or "") for arrival in arrivals]
        given += any(tokens)
        kept += not all(tokens)
    assert given
    assert kept
    return found


class TestRedirects:
    def test_lead_the_token_to_api_hosts_alone(self, world, sessions):
        cases = itertools.product(chains(2), [(status,) for status in STATUSES])
        assert astray(world, sessions, cases) == []

    @pytest.mark.parametrize("more", [{"method": "GET"}, {"method": "POST", "data": "body"}])  # which some turn to GET
    def test_of_mixed_statuses_are_no_different(self, world, sessions, more):
        api, evil, clear = LOCATIONS[0], LOCATIONS[3], LOCATIONS[4]
        ways = [(api, evil, api), (evil, api, evil), (api, api, evil), (api, clear, api), (evil, evil, api)]
        cases = itertools.product(ways, itertools.product(STATUSES, repeat=2))
        assert astray(world, sessions, cases, **more) == []

    @pytest.mark.parametrize("status", STATUSES)
    def test_there_and_back_and_through_the_clear(self, world, sessions, status):
        api, evil, clear = LOCATIONS[0], LOCATIONS[3], LOCATIONS[4]
        cases = [
            (api, evil, api),
            (evil, api, evil),
            (api, clear, api),
            (clear, api, clear),
            (api, evil, "{path}", api, "{path}"),
            (api, LOCATIONS[1], "//evil.example{path}", "//api.aritma.io{path}"),
            (api, LOCATIONS[5], api),
            (api, LOCATIONS[6], "{path}", api),
        ]
        assert astray(world, sessions, [(chain, [status] * len(chain)) for chain in cases]) == []

    @pytest.mark.soak
    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("status", STATUSES)
    def test_of_two_steps_in_every_order(self, world, sessions, status):
        assert astray(world, sessions, ((chain, (status, status)) for chain in chains(3))) == []

    @pytest.mark.parametrize("method", ["POST", "PUT", "HEAD"])
    def test_of_other_methods_are_no_different(self, world, sessions, method):
        ours, _ = sessions()
        for target in LOCATIONS:
            for status in STATUSES:
                url = follow(world, (LOCATIONS[0], target), (status,))
                with contextlib.suppress(requests.RequestException):
                    ours.request(method, url, data="body", timeout=10, allow_redirects=True)
        arrivals = world.took()
        held = [arrival for arrival in arrivals if TOKEN in (arrival.authorization or "")]
        assert len(held) > len(STATUSES) * len(LOCATIONS)
        assert [each for each in held if not (each.tls and promised("production", each.host, each.port))] == []


# --- proxies and cookies


class TestProxies:
    @pytest.fixture
    def proxied(self, world, sessions, monkeypatch):
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy-user:proxy-pass@proxy.example:3128")
        monkeypatch.setenv("HTTP_PROXY", "http://proxy-user:proxy-pass@proxy.example:3128")
        return sessions()[0]

    PROXY = "Basic " + base64.b64encode(b"proxy-user:proxy-pass").decode()

    def test_see_neither_token_nor_secret_but_the_names(self, world, proxied):
        assert proxied.get("https://api.aritma.io/a", timeout=10).ok
        assert [target for target, _ in world.connects] == ["id.aritma.io:443", "api.aritma.io:443"]
        for _, headers in world.connects:
            assert headers["Proxy-Authorization"] == self.PROXY
            assert TOKEN not in repr(headers)
            assert SECRET not in repr(headers)
            assert "Authorization" not in headers
        asked, called = world.arrivals
        assert (asked.via, asked.tls, called.via, called.tls) == ("proxy.example:3128", True) * 2
        assert called.authorization == f"Bearer {TOKEN}"
        assert "proxy-authorization" not in {**asked.headers, **called.headers}

    def test_are_sent_requests_in_the_clear_without_a_token(self, world, proxied):
        assert proxied.get("https://api.aritma.io/a", timeout=10).ok
        world.took()
        assert proxied.get("http://api.aritma.io/b", timeout=10).ok
        [clear] = world.took()
        assert (clear.host, clear.tls, clear.path) == ("proxy.example", False, "http://api.aritma.io/b")
        assert clear.authorization is None
        assert clear.headers["proxy-authorization"] == self.PROXY
        assert TOKEN not in repr(clear)

    def test_see_no_token_where_a_redirect_leads_into_the_clear(self, world, proxied):
        def answer(arrival):
            return (302, [("Location", "http://api.aritma.io/b")]) if arrival.path == "/a" else (200, [])

        world.answer = answer
        assert proxied.get("https://api.aritma.io/a", timeout=10).ok
        first, clear = world.took()
        assert TOKEN in first.authorization
        assert (clear.host, clear.tls) == ("proxy.example", False)
        assert TOKEN not in repr(clear)

    def test_of_one_call_are_no_way_for_the_token_to_show(self, world, sessions):
        ours, _ = sessions()
        for proxies in ({"https": "http://proxy.example:3128"}, {"all": "http://u:p@proxy.example:3128"}):
            assert ours.get("https://api.aritma.io/a", proxies=proxies, timeout=10).ok
        assert [target for target, _ in world.connects] == ["api.aritma.io:443"] * 2
        assert TOKEN not in repr(world.connects)
        assert {arrival.authorization for arrival in world.took()} == {f"Bearer {TOKEN}"}


class TestHostileApi:
    def test_a_401_with_odd_challenges_is_answered_once(self, world, sessions):
        challenges = [
            "Basic " + "x" * 60_000,
            'Bearer realm="' + "\\" * 30_000 + '"',
            "Negotiate",
            f'Digest realm="a", nonce="{"n" * 1000}", uri="https://evil.example/"',
            "",
            ",,,=" * 1000,
            'Bearer error="invalid_token", resource_metadata="https://evil.example/"',
        ]
        ours, _ = sessions()
        for many in (1, 50):
            for challenge in challenges:
                fields = [("WWW-Authenticate", challenge if many == 1 else challenge[:500])] * many
                world.answer = lambda arrival, fields=fields: (401, fields)
                assert ours.get("https://api.aritma.io/x", timeout=10).status_code == 401
                assert 1 <= len(world.took()) <= 2

    def test_a_401_between_redirects_to_itself_ends_as_redirects_do(self, world, sessions):
        counted = itertools.count()

        def answer(arrival):
            return (401, []) if next(counted) % 2 else (302, [("Location", "https://api.aritma.io/x")])

        ours, _ = sessions()
        world.answer = answer
        with contextlib.suppress(requests.TooManyRedirects):
            assert ours.get("https://api.aritma.io/x", timeout=10).status_code == 401
        everything, world.arrivals = world.arrivals, []
        assert len(everything) <= 2 * 31
        tokens = [arrival for arrival in everything if arrival.path.endswith("/connect/token")]
        assert len(tokens) <= 3
        assert {arrival.host for arrival in everything} <= {"api.aritma.io", "id.aritma.io"}
        assert all(arrival.tls for arrival in everything)

    def test_cookies_go_where_requests_sends_them(self, world, sessions):
        domains = ["aritma.io", ".aritma.io", "io", ".io", "evil.example", "api.aritma.io", "api.aritma.io.", "", "*"]
        fields = [
            ("Set-Cookie", f"c{number}={number}; Domain={domain}; Path=/") for number, domain in enumerate(domains)
        ]
        fields += [("Set-Cookie", "plain=1"), ("Set-Cookie", "secure=1; Secure"), ("Set-Cookie", "=; Domain=;;;")]
        ours, plain = sessions()
        hosts = ["https://api.aritma.io/", "https://id.aritma.io/", "http://api.aritma.io/", "https://evil.example/"]
        found = []
        for status in (200, 401):
            for session in (ours, plain):
                world.answer = lambda arrival, status=status: (status, fields)
                session.get("https://api.aritma.io/", timeout=10)
                world.took()
                world.answer = lambda arrival: (200, [])
                for host in hosts:
                    session.get(host, timeout=10)
                found.append([arrival.headers.get("cookie") for arrival in world.took()])
        assert found[0] == found[1]
        assert found[2] == found[3]
        assert "plain=1" in found[0][0]
        assert found[0][3] is None
        assert TOKEN not in repr(found)

    def test_cookies_of_the_token_endpoint_are_not_the_sessions(self, world, sessions):
        ours, _ = sessions()
        ours.get("https://api.aritma.io/", timeout=10)
        [asked] = [arrival for arrival in world.arrivals if arrival.path.endswith("/connect/token")]
        assert "cookie" not in asked.headers
        assert list(ours.cookies) == []
