"""What holds for any input: tokens, records, settings, URLs, challenges, texts of a server, and requests to it."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import http.client
import json
import os
import socket
import string
import threading
from unittest import mock
from urllib.parse import quote, quote_plus, urlsplit

import pytest
import requests
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aritma_session import DEVELOPMENT, PRODUCTION, AritmaAuth, AritmaSession, Environment, FileStore, Token
from aritma_session.redaction import Redactor
from aritma_session.sandbox import Answer, Sandbox
from aritma_session.sandbox.wire import Wire

from oracles import check_covered, check_loaded, check_well_formed

KEY = "0123456789abcdef"


def few():
    """A fifth of the examples, for what takes milliseconds."""
    return settings(max_examples=settings().max_examples // 5)


# --- strategies

any_text = st.text(st.characters(), max_size=40)
numbers = st.integers() | st.floats() | st.integers(-(10**400), 10**400) | st.floats(0, 1e5)
any_json = st.recursive(
    st.none() | st.booleans() | numbers | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)
bearer_texts = st.from_regex(r"\A[A-Za-z0-9._~+/-]{1,40}={0,2}\Z")
nearly_bearer_texts = st.builds("{}{}{}".format, bearer_texts, st.characters(max_codepoint=300), bearer_texts)
seconds = st.floats(allow_nan=False, allow_infinity=False)
moments = st.floats(0, 4e9)
tokens = st.builds(
    lambda text, times, *others: Token(text, min(times), max(times), *others),
    bearer_texts,
    st.tuples(seconds, seconds) | st.tuples(moments, moments),
    st.none() | any_text,
    st.booleans(),
    st.none() | seconds | moments,
)


def objects(**fields):
    """JSON objects in which these fields may be missing, have one of these values, or any other."""
    known = st.fixed_dictionaries({}, optional={name: values | any_json for name, values in fields.items()})
    return st.builds(lambda others, some: {**others, **some}, st.dictionaries(any_text, any_json, max_size=3), known)


def attempt(make):
    """What is made, or what the ValueError says instead; any other error fails the test."""
    try:
        return make(), ""
    except ValueError as error:
        return None, str(error)


def shows(said, text):
    return isinstance(text, str) and len(text) > 2 and text in said  # one or two letters are part of any message


# --- tokens


class TestToken:
    @given(
        objects(
            access_token=bearer_texts | nearly_bearer_texts,
            expires_in=numbers | numbers.map(str),
            scope=any_text | st.lists(any_text, max_size=3),
        ),
        moments,
    )
    def test_any_answer_gives_a_token_or_a_value_error_that_does_not_show_it(self, answer, now):
        token, said = attempt(lambda: Token.from_answer(answer, now))
        if token is None:
            assert not shows(said, answer.get("access_token"))
        else:
            check_well_formed(token)
            assert token.access_token == answer["access_token"]
            assert token.obtained_at == now
            assert 0 <= token.lifetime <= 10 * 365.25 * 86400 + 1

    @given(tokens)
    def test_any_token_survives_its_record(self, token):
        assert Token.from_record(json.loads(json.dumps(token.to_record()))) == token

    @given(
        objects(
            access_token=bearer_texts | nearly_bearer_texts,
            obtained_at=numbers,
            expires_at=numbers,
            scope=st.none() | any_text,
            on_probation=st.booleans(),
            renewal_tried_at=st.none() | numbers,
            refresh_token=st.none() | st.text(),
        )
    )
    def test_any_record_gives_its_token_or_a_value_error_that_does_not_show_it(self, record):
        token, said = attempt(lambda: Token.from_record(record))
        if token is None:
            assert not shows(said, record.get("access_token"))
        else:
            check_well_formed(token)
            assert token.access_token == record["access_token"]

    @given(tokens, st.tuples(seconds, seconds) | st.tuples(moments, moments))
    def test_what_is_fresh_was_fresh_before(self, token, times):
        assert token.fresh(min(times)) >= token.fresh(max(times))

    @given(tokens)
    def test_is_fresh_from_its_birth_on_if_it_has_a_life_at_all_and_not_at_its_end(self, token):
        assert token.fresh(token.obtained_at) == (token.obtained_at < token.expires_at)
        assert not token.fresh(token.expires_at)

    @given(tokens)
    def test_the_leeway_is_a_minute_at_most_and_never_longer_than_the_life(self, token):
        assert 0 <= token.leeway <= min(60, token.lifetime)

    @given(tokens, seconds | moments)
    def test_only_half_a_minute_of_probation_keeps_a_token(self, token, now):
        assert token.irreplaceable(now) == (
            token.on_probation and token.fresh(now) and 0 <= now - token.obtained_at < 30
        )
        assert not token.accepted().irreplaceable(now)
        assert token.on_trial().accepted() == token.accepted()

    @given(tokens, seconds | moments)
    def test_is_renewed_ahead_late_in_its_life_and_half_a_minute_after_any_try(self, token, now):
        assert token.renewal_at(now) >= token.obtained_at + 0.79 * token.lifetime
        assert token.tried(now).renewal_at(now) >= now + 30
        assert token.tried(now).access_token == token.access_token


# --- the cache file


@st.composite
def damaged(draw):
    """The bytes of a good record, with some of them gone, changed, doubled or put in between."""
    token = draw(tokens)
    data = bytearray(json.dumps({"version": 1, "key": KEY, **token.to_record()}).encode())
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 20)))
        pieces = st.binary(max_size=4) | st.sampled_from([b"", b'"', b"{", b"}", b"null", b"1e999", b"[" * 3000, b"\0"])
        data[start:end] = draw(pieces)
    return bytes(data)


@st.composite
def records(draw):
    """Something that looks like a record, in any encoding that JSON readers may guess."""
    fields = {
        "version": st.just(1) | st.sampled_from([True, 1.0]),
        "key": st.just(KEY),
        "access_token": bearer_texts | nearly_bearer_texts,
        "obtained_at": moments,
        "expires_at": moments | st.just(4e9),
        "scope": st.none() | any_text,
        "on_probation": st.booleans(),
        "renewal_tried_at": st.none() | moments,
        "refresh_token": st.none() | st.text(),
    }
    record = draw(st.fixed_dictionaries(fields))
    if draw(st.booleans()):  # of those that are left as they are, most can be believed
        record.update(draw(objects(**fields)))
    return json.dumps(record).encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be"])))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    store = FileStore(tmp_path_factory.mktemp("generated") / "cache")
    store.save(KEY, Token("t", 0.0, 1.0))
    return store


def put(store, data):
    with open(os.path.join(store.directory, f"{KEY}.json"), "wb") as file:
        file.write(data)


def of_version(text):
    """The bytes of a record that is good but for its version, which is stated so."""
    return json.dumps({"version": 1, "key": KEY, **Token("t", 0.0, 1.0).to_record()}).replace("1", text, 1).encode()


class TestCacheFile:
    @given(st.binary(max_size=300) | damaged() | records())
    @settings(max_examples=3 * settings().max_examples)
    @example(b'{"version": 1, "key": "0123456789abcdef", "access_token": ' + b"9" * 5000)
    @example(b"[" * 100_000)
    @example(b'"\xff"')
    @example(of_version("true"))
    @example(of_version("1.0"))
    def test_any_bytes_are_the_token_that_stands_in_them_or_none(self, files, data):
        put(files, data)
        check_loaded(data, KEY, files.load(KEY))

    @given(tokens, st.binary(max_size=50))
    @few()
    def test_any_token_comes_back_whatever_was_there_before(self, files, token, before):
        put(files, before)
        files.save(KEY, token)
        assert files.load(KEY) == token

    @given(tokens, st.data())
    @few()
    def test_no_record_that_was_cut_is_believed(self, files, token, data):
        files.save(KEY, token)
        with open(os.path.join(files.directory, f"{KEY}.json"), "rb") as file:
            whole = file.read()
        put(files, whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert files.load(KEY) is None


# --- settings

SHOWN = ("client_id", "scope")  # as they were given
MARK = "qZx7"  # stands in secrets and nowhere else

#: A variable of the operating system's holds any bytes but NUL.
variables = st.binary(max_size=30).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
hostile = any_text | st.text(":/@?#%*.,[]\\ \n~-" + "a1", max_size=20)
#: Nothing of a secret that is wrong is shown, whichever of its pieces is looked at.
secrets = st.builds(lambda parts: MARK + MARK.join(parts) + MARK, st.lists(hostile | st.just("\n"), max_size=3))
with_password = st.builds(
    lambda scheme, user, secret, rest: f"{scheme}{user}:{secret}@{rest}",
    st.sampled_from(["https://", "http://", "redis://", "//", "", "HTTPS://"]),
    hostile,
    secrets,
    hostile | st.sampled_from(["id.aritma.io", "localhost:8443/x"]),
)
odd = any_json | st.binary(max_size=9) | st.just(object()) | st.sampled_from([float, (), (1, "2"), {1, 2}])
words = hostile | with_password | st.lists(hostile | with_password, max_size=3) | odd
choices = {
    "client_id": st.sampled_from(["client", " ", ""]) | hostile | odd,
    "client_secret": secrets | secrets.map(lambda text: text.encode(errors="replace")) | st.lists(secrets) | odd,
    "environment": st.sampled_from(["production", "development", DEVELOPMENT, "https://localhost:8443/acme"])
    | with_password
    | hostile.map("https://{}".format)
    | odd,
    "scope": words,
    "tenant": st.sampled_from(["acme", ""]) | hostile | with_password | odd,
    "cache": st.sampled_from(["file", "memory", "./tokens"]) | hostile | with_password | odd,
    "api_hosts": st.sampled_from(["a.example", "*.b.example:8443,[::1]"]) | words,
    "token_timeout": st.sampled_from([5, (1, 2.5), "1,2"]) | hostile | odd,
}


def as_variable(value):
    return value.encode(errors="ignore").decode().replace("\0", "")


#: One or two settings that may be anything, so that the others do not keep them from being looked at.
some_names = st.sets(st.sampled_from(sorted(choices)), min_size=1, max_size=2)
some_choices = some_names.flatmap(lambda names: st.fixed_dictionaries({name: choices[name] for name in names}))
some_variables = some_names.flatmap(
    lambda names: st.fixed_dictionaries(
        {
            name: variables | choices[name].filter(lambda value: isinstance(value, str)).map(as_variable)
            for name in names
        }
    )
)


class TestSettings:
    @given(some_choices, some_variables)
    @settings(max_examples=2 * settings().max_examples)
    def test_any_give_a_working_object_or_a_value_error_that_shows_no_secret(self, arguments, named):
        environ = {"ARITMA_CLIENT_ID": "client", "ARITMA_CLIENT_SECRET": MARK}
        environ.update((f"ARITMA_{name.upper()}", value) for name, value in named.items())
        assume(not any(MARK in f"{arguments.get(name)} {named.get(name)}" for name in SHOWN))
        with mock.patch.dict(os.environ, environ):
            auth, said = attempt(lambda: AritmaAuth(**arguments))
        assert MARK not in said
        if auth is not None:
            assert MARK not in repr(auth)
            assert urlsplit(auth.environment.token_endpoint).scheme == "https"
            assert not auth.environment.covers("http://aritma.io/")


# --- URLs

ENVIRONMENTS = [
    PRODUCTION,
    DEVELOPMENT,
    Environment.at("https://localhost:8443/some/path"),
    Environment.at("https://[::1]:8443"),
    PRODUCTION.extended(api_hosts=["*.example", "dev.aritma.io:8443", "10.0.0.1"]),
]
names = (
    st.sampled_from(["aritma.io", "api.aritma.io", "ARITMA.io", "dev.aritma.io", "x.dev.aritma.io", "zdata.no"])
    | st.sampled_from(["banking.dev.zdata.io", "bankservicedemo.zdata.no", "aritma.io.evil.test", "evilaritma.io"])
    | st.sampled_from(["localhost", "[::1]", "[0:0::1]", "10.0.0.1", "0x0a000001", "a.example", "xn--aritma"])
)
hostile_pieces = (
    st.sampled_from(["@", ":", "/", "//", "\\", "?", "#", "%", "%2e", "%40", "%2f", ".", "..", ";", ",", "&", "[", "]"])
    | st.sampled_from([" ", "\t", "\r\n", "\0", "\u3002", "\uff0e", "\uff0f", "\u2044", "\u212a", "\u0130", "\u00ad"])
    | st.sampled_from([":443", ":8443", ":80", ":0443", ":+443", ":\u0664", "user", "user:pw@", "https://", "http://"])
)
pieces = names | hostile_pieces | st.text(st.characters(), max_size=2)
schemes = st.sampled_from(["https://", "HTTPS://", "hTTps://", "https:/", "https:", "http://", " https://", ""])
urls = st.builds(lambda scheme, parts: scheme + "".join(parts), schemes, st.lists(pieces, max_size=6))
plain_paths = st.sampled_from(["", "/", "/api/v3?x=1", "?a=b", "#top", "/%2e%2e/a b", "//evil.test", "/@evil.test"])


class TestUrls:
    @given(st.sampled_from(ENVIRONMENTS), urls)
    @settings(max_examples=5 * settings().max_examples)
    def test_that_are_covered_lead_to_a_listed_host_over_https(self, environment, url):
        check_covered(environment, url)

    @given(st.sampled_from(ENVIRONMENTS), names, st.sampled_from(["", ":443", ":8443"]), plain_paths)
    def test_that_are_covered_may_go_on_as_they_like(self, environment, name, port, path):
        covered = environment.covers(f"https://{name}{port}")
        assert environment.covers(f"https://{name}{port}{path}") is covered
        assert environment.covers(f"HTTPS://{name.upper()}{port}{path}") is covered
        assert not environment.covers(f"http://{name}{port}{path}")
        check_covered(environment, f"https://{name}{port}{path}")


# --- challenges of a 401


class Challenging(Sandbox):
    """A sandbox whose 401s carry any header that the test wants."""

    challenge = "Bearer"

    def _refusal(self, state, request):
        answer = super()._refusal(state, request)
        return answer and dataclasses.replace(answer, headers={**answer.headers, "WWW-Authenticate": self.challenge})


@pytest.fixture(scope="module")
def challenging(tmp_path_factory):
    cache = tmp_path_factory.mktemp("challenging")
    with Challenging() as sandbox:
        arguments = {"environment": sandbox.issuer, "cache": cache}
        with AritmaSession(sandbox.client_id, sandbox.client_secret, **arguments) as session:
            session.trust_env = False
            session.verify = sandbox.ca_bundle
            session.headers["Connection"] = "close"  # what hides the length of a body must not make anybody wait for it
            yield sandbox, session


challenges = st.lists(
    st.sampled_from(["Bearer", "Basic ", "bearer", 'realm="a"', 'error="invalid_token"', 'error="insufficient_scope"'])
    | st.sampled_from([" ", ",", "=", '"', '\\"', "scope=", "\r\n ", "\t", "\r", "\x0b", "\x1c", "\x85", "\0", "\xff"])
    # A second length that is a number is no HTTP any more, and requests raises for it as it does for everybody.
    | st.sampled_from(["Content-Length: x", "\rX: y", "x" * 999])
    | st.text(st.characters(max_codepoint=255, exclude_characters="\n"), max_size=9),
    max_size=8,
).map("".join)


class TestChallenges:
    @given(challenges)
    @few()
    @example("Bearer \rTransfer-Encoding: chunked\rContent-Length: x")
    def test_of_any_kind_end_in_one_refetch_and_the_replayed_answer(self, challenging, challenge):
        sandbox, session = challenging
        session.get(f"{sandbox.api_url}/echo", timeout=20)
        sandbox.challenge = challenge
        sandbox.revoke_all()
        sandbox.reset_counts()
        response = session.get(f"{sandbox.api_url}/echo", timeout=20)
        assert (response.status_code, [old.status_code for old in response.history]) == (200, [401])
        assert sandbox.counts.token_requests == 1

    @given(challenges)
    @few()
    def test_of_any_kind_are_handed_on_where_a_new_token_does_not_help(self, challenging, challenge):
        sandbox, session = challenging
        sandbox.challenge, sandbox.refuse_all = challenge, True
        sandbox.reset_counts()
        try:
            with contextlib.suppress(requests.RequestException):
                assert session.get(f"{sandbox.api_url}/echo", timeout=20).status_code == 401
            assert sandbox.counts.token_requests <= 1
        finally:
            sandbox.refuse_all = False


# --- what a server's text may hold


def escaped(text, write):
    """A text whose letters are written as UTF-16 code units, as JSON and JavaScript do."""
    units = text.encode("utf-16-be")
    return "".join(write(int.from_bytes(units[at : at + 2], "big")) for at in range(0, len(units), 2))


WRITINGS = {
    "as it is": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, ASCII alone left": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON, all escaped": lambda text: escaped(text, r"\u{:04x}".format),
    "JSON, all escaped in capitals": lambda text: escaped(text, r"\u{:04X}".format),
    "HTML": html.escape,
    "HTML, decimal": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(letter):X};" for letter in text),
    "URL": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "URL, all escaped": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "UTF-8 read as Latin-1": lambda text: text.encode().decode("latin-1"),
}
printable = st.characters(exclude_categories=["C", "Z"]) | st.just(" ")
#: 8 to 32 characters, as Aritma gives them; not the words that stand for a text that is withheld.
client_secrets = (
    (st.text(printable, min_size=8, max_size=32) | st.text(string.printable[:94], min_size=8, max_size=32))
    .filter(lambda text: text.isprintable() and not text.isspace() and set(text) - set("* "))
    .filter(lambda text: text not in "*** (withheld: it repeats a secret) *** (withheld: it cannot be read)")
)
#: Not one that ends in a backslash, which would make another text of an escape behind it.
surroundings = st.text(max_size=30).filter(lambda text: not text.endswith("\\")) | st.sampled_from(
    ["", '{"error": "', "<p>", "a=", "\\\\ ", "&", "%", "access_token="]
)
ways_to_write = st.sampled_from(sorted(WRITINGS))


class TestRedactor:
    @given(client_secrets, surroundings, surroundings, st.lists(ways_to_write, min_size=1, max_size=2))
    @settings(max_examples=3 * settings().max_examples)
    @example("<secret> \U0001f511", "", "", ["JSON, all escaped in capitals"])
    @example("my secret", "", "", ["JSON, all escaped"])
    def test_no_writing_of_a_secret_shows(self, secret, before, after, ways):
        written = secret
        for way in ways:
            written = WRITINGS[way](written)
        redactor = Redactor([secret])
        for shown in (redactor.text(before + written + after), redactor.line(before + written + after)):
            assert secret not in shown
            assert written not in shown
            assert redactor.text(shown) == shown or "***" in redactor.text(shown)

    @given(client_secrets, st.sampled_from(["\n", "\t", "\0", "\r", "\u200b"]))
    def test_a_line_does_not_put_a_secret_together(self, secret, separator):
        secret = f"{secret} {secret}"
        assert secret not in Redactor([secret]).line(secret.replace(" ", separator))

    @given(st.text())
    def test_a_text_without_secrets_is_left_alone(self, text):
        assume("_token" not in text and "eyJ" not in text and "\N{SNOWMAN}" not in text)
        assert Redactor(["\N{SNOWMAN}" * 8]).text(text) == text


# --- the sandbox


def conversation(data):
    """What a sandbox answers to bytes, and what its thread ended with."""
    ours, theirs = socket.socketpair()
    ended = []

    def serve():
        with theirs:
            try:
                Wire(theirs, lambda request: Answer.json(request.method), threading.Event()).serve()
            except BaseException as error:  # noqa: BLE001  # each is looked at by the test
                ended.append(error)

    thread = threading.Thread(target=serve)
    with ours:
        ours.settimeout(20)
        thread.start()
        received = b""
        with contextlib.suppress(ConnectionError):  # it may have had enough before the end
            ours.sendall(data)
            ours.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while piece := ours.recv(65536):
                received += piece
    thread.join(20)
    assert not thread.is_alive()
    return received, ended


wire_lines = st.lists(
    st.sampled_from([b"GET / HTTP/1.1", b"POST //[ HTTP/1.1", b"HEAD /x?y HTTP/1.0", b"", b"", b"ab", b"2", b"0"])
    | st.sampled_from([b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Connection: close", b": "])
    | st.sampled_from([b"Content-Length: 4611686018427387904", b"ffffffffffffffff", b"Content-Length: 2"])
    | st.binary(max_size=12),
    max_size=12,
).map(b"\r\n".join)


class TestSandbox:
    @given(wire_lines | st.binary(max_size=60))
    @settings(max_examples=2 * settings().max_examples)
    @example(b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n")
    @example(b"POST / HTTP/1.1\r\nContent-Length: 4611686018427387904\r\n\r\n")
    @example(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n")
    def test_answers_any_bytes_or_hangs_up(self, data):
        received, ended = conversation(data)
        assert not [error for error in ended if not isinstance(error, OSError)]
        assert received == b"" or received.startswith(b"HTTP/1.1 ")

    @given(st.sampled_from(["GET", "POST", "PUT"]), st.binary(max_size=200), st.booleans())
    @few()
    def test_understands_what_http_client_sends(self, method, body, chunked):
        sent = mock.Mock(sendall=mock.Mock())
        connection = http.client.HTTPConnection("localhost")
        connection.sock = sent
        connection.request(method, "/", iter([body]) if chunked else body, encode_chunked=chunked)
        data = b"".join(call.args[0] for call in sent.sendall.call_args_list)
        received, ended = conversation(data)
        assert ended == []
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert received.count(b"HTTP/1.1") == 1
        assert received.endswith(json.dumps(method).encode())
