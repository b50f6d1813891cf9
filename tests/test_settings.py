"""Arguments, then variables, then defaults; and an error that helps without telling the secret."""

from __future__ import annotations

import base64
import copy
import functools
import inspect
import math
import os
import pathlib
import pickle
import re
import shlex
import sys
import traceback

import platformdirs
import pytest

from aritma_session import DEVELOPMENT, PRODUCTION, AritmaAuth, AritmaSession, Environment, FileStore, MemoryStore
from aritma_session import settings as settings_module
from aritma_session.clients import ClientSecretPost, NoSecret, TlsClientAuth
from aritma_session.credentials import Secret
from aritma_session.grants import Login
from aritma_session.settings import Settings
from aritma_session.stores.sealing import Sealing

from helpers import results
from keys import OPENSSH, PASSPHRASE, TRADITIONAL, pem, public_pem

SECRET = "correct-horse-8"


def pem_of(text):
    """What looks like a private key from the outside, which is all that settings look at."""
    return f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"


def encrypted_pem_of(text):
    return pem_of(text).replace("PRIVATE", "ENCRYPTED PRIVATE")


#: What a setting has become, by the name of its argument.
FOUND = {
    "client_id": lambda settings: settings.client_id,
    "client_secret": lambda settings: settings.grant.authentication.client_secret.reveal(),
    "environment": lambda settings: settings.environment.issuer,
    "tenant": lambda settings: settings.environment.tenant,
    "scope": lambda settings: settings.scope,
    "cache": lambda settings: settings.cache,
    "api_hosts": lambda settings: settings.environment.api_hosts,
    "token_timeout": lambda settings: settings.token_timeout,
    "grant": lambda settings: settings.grant.name,
    "token_endpoint_auth_method": lambda settings: settings.grant.authentication.method,
    "token_endpoint_auth_signing_alg": lambda settings: settings.grant.authentication.algorithm,
    "private_key": lambda settings: settings.grant.authentication.private_key.pem.text(),
    "private_key_passphrase": lambda settings: settings.grant.authentication.private_key.passphrase.reveal(),
    "private_key_id": lambda settings: settings.grant.authentication.key_id,
    "username": lambda settings: settings.grant.username,
    "password": lambda settings: settings.grant.password.reveal(),
    "extra": lambda settings: settings.grant.extra,
}

#: What must be there too, for a setting to count.
CREDENTIALS = {"client_id": "client", "client_secret": SECRET}
SIGNING = {"client_id": "client", "private_key": pem_of(SECRET)}
ENCRYPTED = {"client_id": "client", "private_key": encrypted_pem_of(SECRET)}
WITH_USER = {**CREDENTIALS, "grant": "password", "username": "user", "password": "open-sesame"}
BESIDES = {
    "token_endpoint_auth_signing_alg": SIGNING,
    "private_key": {"client_id": "client"},
    "private_key_passphrase": ENCRYPTED,
    "private_key_id": SIGNING,
    "username": WITH_USER,
    "password": WITH_USER,
}


def besides(name):
    """The settings that another one needs beside it."""
    return BESIDES.get(name, CREDENTIALS)


def variable_of(name):
    return f"ARITMA_{name.upper()}"


def resolve(**arguments):
    """Resolve with credentials, for what is not about them."""
    return Settings.resolve(**{"client_id": "client", "client_secret": SECRET, **arguments})


def carried_by(error):
    """All that an exception and those behind it would print, and what they hold."""
    shown, chain = "".join(traceback.format_exception(error)), [error]
    for link in chain:
        held = {name: getattr(link, name, None) for name in dir(link) if not name.startswith("_")}
        shown += f"{link} {link!r} {held}"
        chain += [behind for behind in (link.__cause__, link.__context__) if behind is not None]
    return shown.replace("\\x00", "").replace("\0", "")  # what stands between the letters in UTF-16


class BytesPath:
    """A path as some file systems have it: no text."""

    def __fspath__(self):
        return b"./tokens"


def refusal(call):
    """The message of the ValueError that a call raises, after a look for the secret in all that it carries."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        call()
    assert SECRET not in carried_by(caught.value)
    return str(caught.value)


@pytest.fixture
def variables(monkeypatch):
    """Set variables by the names of their arguments."""

    def setter(**values):
        for name, value in values.items():
            monkeypatch.setenv(variable_of(name), value)

    return setter


@pytest.fixture
def secret_file(tmp_path, variables):
    """A file that ARITMA_CLIENT_SECRET_FILE names, not there yet."""
    path = tmp_path / "secret"
    variables(client_secret_file=str(path))
    return path


# --- an argument, else the variable, else the default

#: An argument of each setting, and what it becomes.
ARGUMENTS = {
    "client_id": ("argument", "argument"),
    "client_secret": ("argument", "argument"),
    "environment": ("development", "https://id.dev.aritma.io"),
    "tenant": ("argument", "argument"),
    "scope": ("argument", ("argument",)),
    "cache": ("./argument", FileStore.below("./argument")),
    "api_hosts": ("argument.example", ("argument.example:443",)),
    "token_timeout": (5, (5.0, 5.0)),
    "grant": ("authorization_code", "authorization_code"),
    "token_endpoint_auth_method": ("tls_client_auth", "tls_client_auth"),
    "token_endpoint_auth_signing_alg": ("PS256", "PS256"),
    "private_key": (pem_of("argument"), pem_of("argument")),
    "private_key_passphrase": ("argument", "argument"),
    "private_key_id": ("argument", "argument"),
    "username": ("argument", "argument"),
    "password": ("argument", "argument"),
    "extra": ({"b": "ar+gu&ment", "a": "\u00e6"}, (("a", "\u00e6"), ("b", "ar+gu&ment"))),
}

#: A text of each setting's variable, and what it becomes.
VARIABLES = {
    "client_id": ("variable", "variable"),
    "client_secret": ("variable", "variable"),
    "environment": ("https://id.example", "https://id.example"),
    "tenant": ("variable", "variable"),
    "scope": ("variable", ("variable",)),
    "cache": ("./variable", FileStore.below("./variable")),
    "api_hosts": ("variable.example", ("variable.example:443",)),
    "token_timeout": ("7", (7.0, 7.0)),
    "grant": ("implicit", "implicit"),
    "token_endpoint_auth_method": ("client_secret_basic", "client_secret_basic"),
    "token_endpoint_auth_signing_alg": ("ES256", "ES256"),
    "private_key": (pem_of("variable"), pem_of("variable")),
    "private_key_passphrase": ("variable", "variable"),
    "private_key_id": ("variable", "variable"),
    "username": ("variable", "variable"),
    "password": ("variable", "variable"),
    "extra": ("b=va%26ri+able&a=%C3%A6", (("a", "\u00e6"), ("b", "va&ri able"))),
}

#: Settings that a file can hold, which yet another variable names.
IN_FILES = ("client_secret", "private_key", "private_key_passphrase", "password")

#: What a setting is where nobody says anything; ``cache`` depends on the user, and the credentials have none.
DEFAULTS = {
    "environment": "https://id.aritma.io",
    "tenant": None,
    "scope": ("bankservice",),
    "api_hosts": (),
    "token_timeout": (10.0, 30.0),
    "grant": "client_credentials",
    "token_endpoint_auth_method": "client_secret_post",
    "token_endpoint_auth_signing_alg": None,
    "private_key_id": None,
    "extra": (),
}

#: A text that cannot be, as argument or in the variable.
IMPOSSIBLE = {
    "client_id": "cli\nent",
    "environment": "staging",
    "tenant": "a/b",
    "scope": 'a"b',
    "cache": "disk",
    "api_hosts": "https://api.example",
    "token_timeout": "soon",
    "grant": "device_code",
    "token_endpoint_auth_method": "basic",
    "token_endpoint_auth_signing_alg": "HS256",
    "private_key": "client.pem",
    "private_key_passphrase": f"{SECRET}\n",
    "private_key_id": "2026\n",
    "username": " user",
    "password": f"{SECRET}\nhost=x",
    "extra": "audience",
}


@pytest.mark.parametrize("taker", [Settings.resolve, AritmaAuth, AritmaSession])
def test_the_tables_have_every_setting(taker):
    assert [*ARGUMENTS] == [*VARIABLES] == [*FOUND]
    # A function has no variable, and the key of the cache has one by another name.
    assert {*inspect.signature(taker).parameters} - {"on_event", "cache_encryption_key"} == {*FOUND}


@pytest.mark.parametrize("name", FOUND)
def test_the_readme_names_every_setting_and_its_variables(name):
    readme = (pathlib.Path(__file__).parent.parent / "README.rst").read_text(encoding="utf-8")
    rows = readme.partition("\nSettings\n")[2].partition("\nErrors\n")[0]
    ends = ["", "_FILE"] if name in IN_FILES else [""]
    assert [text for text in [name, *(variable_of(name) + end for end in ends)] if f"``{text}``" not in rows] == []


@pytest.mark.parametrize("name", FOUND)
def test_a_variable_is_taken_where_there_is_no_argument(name, variables):
    text, becomes = VARIABLES[name]
    variables(**{**besides(name), name: text})
    assert FOUND[name](Settings.resolve()) == becomes
    assert FOUND[name](Settings.resolve(**{name: None})) == becomes


@pytest.mark.parametrize("name", FOUND)
def test_an_argument_comes_before_its_variable(name, variables):
    argument, becomes = ARGUMENTS[name]
    variables(**{name: VARIABLES[name][0]})
    assert FOUND[name](Settings.resolve(**{**besides(name), name: argument})) == becomes


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_argument_comes_before_an_impossible_variable(name, variables):
    argument, becomes = ARGUMENTS[name]
    variables(**{name: IMPOSSIBLE[name]})
    assert FOUND[name](Settings.resolve(**{**besides(name), name: argument})) == becomes


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_the_default_is_taken_where_there_is_neither(name, default):
    assert FOUND[name](Settings.resolve(**besides(name))) == default


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
@pytest.mark.parametrize(("name", "default"), [row for row in DEFAULTS.items() if row[0] != "scope"])
def test_an_empty_variable_is_none(name, default, empty, variables):
    variables(**{name: empty})
    assert FOUND[name](Settings.resolve(**besides(name))) == default


@pytest.mark.parametrize("name", IN_FILES)
def test_a_file_is_read_that_a_variable_names(name, variables, tmp_path):
    text, becomes = VARIABLES[name]
    (tmp_path / "file").write_text(f"{text}\n", encoding="utf-8")
    variables(**{**besides(name), name: "", f"{name}_file": str(tmp_path / "file")})
    assert FOUND[name](Settings.resolve()) == becomes
    assert FOUND[name](Settings.resolve(**{name: ARGUMENTS[name][0]})) == ARGUMENTS[name][1]


@pytest.mark.parametrize("name", IN_FILES)
def test_a_variable_and_a_file_for_the_same_are_refused(name, variables, tmp_path):
    variables(**{**besides(name), name: SECRET, f"{name}_file": str(tmp_path / "file")})
    message = refusal(Settings.resolve)
    assert f"{variable_of(name)} and {variable_of(name)}_FILE are both set" in message
    assert_names_both(message, name)


@pytest.mark.parametrize("name", IN_FILES)
@pytest.mark.parametrize("content", [None, f"\n{SECRET}\n\n\0", "", f"{SECRET}\n{SECRET}"])
def test_a_file_that_cannot_be_used_is_refused_and_named(name, content, variables, tmp_path):
    if content is not None:
        (tmp_path / "file").write_text(content, encoding="utf-8")
    variables(**{**besides(name), name: "", f"{name}_file": str(tmp_path / "file")})
    message = refusal(Settings.resolve)
    assert message.startswith(f"{variable_of(name)}_FILE is not usable: ")
    assert_names_both(message, name)


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_an_empty_scope_variable_asks_for_the_servers_own_default(empty, variables):
    variables(scope=empty)
    assert resolve().scope == ()


def test_the_credentials_can_be_given_by_position():
    settings = Settings.resolve("client", SECRET)
    assert (settings.client_id, settings.grant.authentication.client_secret.reveal()) == ("client", SECRET)


def test_settings_are_read_when_they_are_resolved_and_kept(variables):
    variables(client_id="first", client_secret=SECRET, scope="first")
    settings = Settings.resolve()
    variables(client_id="second", client_secret="other-secret", scope="second")
    assert (settings.client_id, settings.grant.authentication.client_secret.reveal(), settings.scope) == (
        "first",
        SECRET,
        ("first",),
    )


def test_settings_cannot_be_changed():
    settings = resolve()
    with pytest.raises(AttributeError, match="cannot be changed"):
        settings.client_id = "other"


# --- what is wrong is a ValueError that names the argument and the variable


def assert_names_both(message, name):
    words = re.findall(r"\w+", message)
    assert name in words
    assert variable_of(name) in words


def assert_names_all_ways_to_give_a_secret(message):
    assert {"client_secret", "ARITMA_CLIENT_SECRET", "ARITMA_CLIENT_SECRET_FILE"} <= {*re.findall(r"\w+", message)}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_impossible_variable_is_refused(name, variables):
    variables(**{**besides(name), name: IMPOSSIBLE[name]})
    assert_names_both(refusal(Settings.resolve), name)


#: More that cannot be, as arguments.
IMPOSSIBLE_ARGUMENTS = {
    "client_id": ["", " ", " client", "client ", "\tclient", "client\n", "cli\0ent", 5, b"client"],
    "environment": [
        "",
        "Production",
        " production",
        "id.aritma.io",
        "http://id.aritma.io",
        "https://",
        "https://id.aritma.io.",
        "https://user@id.aritma.io",
        "https://id.aritma.io/?tenant=x",
        "https://id.aritma.io/a b",
        "https://id.aritma.io/../a",
        "https://id.aritma.io:65536",
        "https://a..example",
        "https://id.aritma.io\n",
        5,
        b"production",
        ["production"],
        Environment,
    ],
    "tenant": ["..", " ", "a b", "a?b", "a#b", "a%2fb", "a\n", 5, b"acme", ["acme"]],
    "scope": ["a\\b", "sk\u00f6pe", "a\x7f", ["a", 'b"'], 5, 0, b"api", [5], ["api", None], [b"api"], {"api": 1}],
    "cache": [
        *(
            "",
            "files",
            "File",
            "http://cache.example/0",
            "redis://cache.example:no/0",
            5,
            b"file",
            object(),
            ["file"],
            MemoryStore,
        ),
        *("./tok\0ens", pathlib.Path("tok\0ens"), BytesPath()),
    ],
    "api_hosts": [
        "*",
        "api.example/path",
        "user@api.example",
        "api.example:0",
        "api.example:65536",
        "a..example",
        "api.example:https",
        "good.example, *bad.example",
        ["good.example", "*bad.example"],
        ["a.example,b.example"],
        ["b\u00fccher.example"],
        5,
        b"api.example",
        [5],
        [None],
        {"api.example": 443},
    ],
    "token_timeout": [
        *(0, -1, 0.0, True, False, math.nan, math.inf),
        *("", "0", "-1", "inf", "1,2,3", "1,", "1;2", b"soon"),
        *((), (1, 2, 3), (1, 0), (-1, 1), (1, None), ("a", "b"), {}, object()),
        *(10**400, (10**400, 5), (5, 10**400), (True, 5), (5, True), [True], (5, math.nan), "1" + 400 * "0"),
    ],
    "grant": ["", "Password", "client_credentials ", "refresh_token", 5, b"password", ["password"]],
    "token_endpoint_auth_method": ["Client_Secret_Basic", "client_secret_jwt", 5, ["none"], {}],
    "token_endpoint_auth_signing_alg": ["rs256", "RS384", "none", 256, ["RS256"]],
    "private_key": [
        *("", " ", SECRET, f"{pem_of(SECRET)[:-2]}", pem_of(SECRET)[1:], pem_of(SECRET).replace("END", "STOP")),
        *(pem_of(SECRET).replace("END PRIVATE", "END RSA PRIVATE"), 5, pem_of(SECRET).encode(), [pem_of(SECRET)]),
    ],
    "private_key_passphrase": ["", " ", f"{SECRET}\0", 5, SECRET.encode(), [SECRET]],
    "private_key_id": [" 1", "1 ", "a\0b", 1, b"1"],
    "username": ["", " ", "user ", "us\ner", 5, b"user", "\ud800"],
    "password": ["", " ", f"{SECRET}\n", 5, SECRET.encode(), [SECRET]],
    "extra": [
        *("a=1&", "a=1&a=2", "=1", "a=", "a=&b=1", "a=%ff", 5, b"a=1", [("a", "1")], {"a": 1}, {1: "a"}),
        *({"a": None}, {"a": ["1"]}, {"": "1"}, {"a": ""}, {"a": "\ud800"}, {"\ud800": "a"}),
        *({name: "x"} for name in ("scope", "client_secret", "refresh_token", "grant_type", "code_verifier", "nonce")),
        *("client_id=x", "audience=x&password=x", {"audience": "x", "client_assertion": "x"}),
    ],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [*IMPOSSIBLE.items(), *((name, value) for name, values in IMPOSSIBLE_ARGUMENTS.items() for value in values)],
)
def test_an_impossible_argument_is_refused(name, value):
    assert_names_both(refusal(functools.partial(Settings.resolve, **{**besides(name), name: value})), name)


#: Texts with credentials in them that cannot be, by setting.
CREDENTIALS_IN = {
    "cache": [
        "http://:{}@h.example/0",
        "redis://:pass/{}@h.example/0",
        "redis://client:{0}/{0}@h.example/0",
        "client:{}@h",
    ],
    "environment": ["https://client:{}@id.example", "http://{}@id.example", "client:{}@id.example", "{}@id.example"],
    "api_hosts": [
        "https://client:{}@id.example",
        "client:{}@id.example",
        "good.example,{}@id.example",
        "client:{} and,more@id.example",
    ],
}


@pytest.mark.parametrize("given_as", ["argument", "variable"])
@pytest.mark.parametrize(("name", "form"), [(name, form) for name, forms in CREDENTIALS_IN.items() for form in forms])
def test_what_stands_before_an_at_sign_is_not_shown(name, form, given_as, variables):
    value = form.format(SECRET)
    if given_as == "variable":
        variables(**{name: value})
    message = refusal(functools.partial(resolve, **({name: value} if given_as == "argument" else {})))
    assert_names_both(message, name)
    assert value.rpartition("@")[2] in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cache", pathlib.Path(f"client:{SECRET}@h\0")),
        ("cache", [f"redis://:{SECRET}@h.example/0"]),
        ("environment", [f"https://client:{SECRET}@id.example"]),
        ("environment", f"client:{SECRET}@id.example".encode()),
        ("api_hosts", ["good.example", f"client:{SECRET}@id.example"]),
        ("api_hosts", [f"client:{SECRET}@id.example".encode()]),
    ],
)
def test_what_stands_before_an_at_sign_is_not_shown_of_other_types(name, value):
    assert_names_both(refusal(functools.partial(resolve, **{name: value})), name)


@pytest.mark.parametrize("empty", [None, "", " "])
def test_a_missing_client_id_is_refused(empty, variables):
    if empty is not None:
        variables(client_id=empty)
    message = refusal(lambda: Settings.resolve(client_secret=SECRET))
    assert "client_id is missing" in message
    assert_names_both(message, "client_id")


@pytest.mark.parametrize("empty", [None, "", " ", " \t\n"])
def test_a_missing_secret_is_refused(empty, variables):
    if empty is not None:
        variables(client_secret=empty, client_secret_file=empty)
    message = refusal(lambda: Settings.resolve("client"))
    assert "client_secret is missing" in message
    assert_names_all_ways_to_give_a_secret(message)


@pytest.mark.parametrize(
    "secret",
    ["", " ", "   ", "\u3000", f"{SECRET}\n", f"{SECRET}\r\nX-Injected: 1", f"\0{SECRET}", f"{SECRET}\u2028"],
)
def test_an_impossible_secret_is_refused_and_not_shown(secret):
    assert_names_both(refusal(lambda: Settings.resolve("client", secret)), "client_secret")


@pytest.mark.parametrize("secret", [f"{SECRET}\n", f"\t{SECRET}", f"{SECRET}\x7f"])
def test_an_impossible_secret_in_a_variable_is_refused_and_not_shown(secret, variables):
    variables(client_secret=secret)
    message = refusal(lambda: Settings.resolve("client"))
    assert message.startswith("ARITMA_CLIENT_SECRET is not usable")
    assert_names_both(message, "client_secret")


@pytest.mark.parametrize("secret", [5, SECRET.encode(), [SECRET], {"secret": SECRET}])
def test_a_secret_that_is_no_string_is_refused_and_not_shown(secret):
    message = refusal(lambda: Settings.resolve("client", secret))
    assert f"client_secret is a string, not something of type {type(secret).__name__}" in message
    assert_names_all_ways_to_give_a_secret(message)


@pytest.mark.parametrize("show", [repr, str, "{}".format, "%r".__mod__])
def test_settings_do_not_show_the_secret(show, secret_file, variables):
    secret_file.write_text(SECRET, encoding="utf-8")
    assert SECRET not in show(Settings.resolve("client", SECRET))
    assert SECRET not in show(Settings.resolve("client"))
    variables(client_secret_file="", client_secret=SECRET)
    assert SECRET not in show(Settings.resolve("client"))


# --- the secret in a file


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_secret_is_read_from_its_file(secret_file, end):
    secret_file.write_bytes(f"{SECRET}{end}".encode())
    assert Settings.resolve("client").grant.authentication.client_secret.reveal() == SECRET


def test_a_replaced_file_is_read_anew(secret_file):
    secret_file.write_text(f"{SECRET}\n", encoding="utf-8")
    settings = Settings.resolve("client")
    assert settings.grant.authentication.client_secret.reveal() == SECRET
    replacement = secret_file.with_name("replacement")
    replacement.write_text("rotated-secret\n", encoding="utf-8")
    replacement.replace(secret_file)
    assert settings.grant.authentication.client_secret.reveal() == "rotated-secret"


def test_a_relative_path_is_that_of_the_time_it_was_read(tmp_path, variables, monkeypatch):
    (tmp_path / "relative").write_text(SECRET, encoding="utf-8")
    variables(client_secret_file="relative")
    monkeypatch.chdir(tmp_path)
    settings = Settings.resolve("client")
    monkeypatch.chdir(os.path.expanduser("~"))
    assert settings.grant.authentication.client_secret.reveal() == SECRET


def test_an_argument_comes_before_the_file_which_need_not_be_there(secret_file):
    assert not secret_file.exists()
    assert Settings.resolve("client", "argument").grant.authentication.client_secret.reveal() == "argument"


def test_an_argument_comes_before_both_variables(secret_file, variables):
    variables(client_secret="variable")
    assert Settings.resolve("client", "argument").grant.authentication.client_secret.reveal() == "argument"


def test_two_variables_for_one_secret_are_refused(secret_file, variables):
    secret_file.write_text(SECRET, encoding="utf-8")
    variables(client_secret=SECRET)
    message = refusal(lambda: Settings.resolve("client"))
    assert "ARITMA_CLIENT_SECRET and ARITMA_CLIENT_SECRET_FILE are both set" in message
    assert_names_all_ways_to_give_a_secret(message)


@pytest.mark.parametrize("empty", ["", " ", " \t\n"])
def test_an_empty_variable_for_the_secret_leaves_the_file_to_speak(secret_file, empty, variables):
    secret_file.write_text(SECRET, encoding="utf-8")
    variables(client_secret=empty)
    assert Settings.resolve("client").grant.authentication.client_secret.reveal() == SECRET


@pytest.mark.parametrize("empty", ["", " ", " \t\n"])
def test_an_empty_variable_for_the_file_leaves_the_secret_to_speak(empty, variables):
    variables(client_secret=SECRET, client_secret_file=empty)
    assert Settings.resolve("client").grant.authentication.client_secret.reveal() == SECRET


def refused_file(path):
    message = refusal(lambda: Settings.resolve("client"))
    assert message.startswith("ARITMA_CLIENT_SECRET_FILE is not usable: the file ")
    assert str(path if path.exists() else path.parent) in message
    assert "client_secret=" in message
    return message


def test_a_missing_file_is_refused_and_named(secret_file):
    assert "cannot be read" in refused_file(secret_file)


def test_a_directory_is_refused_and_named(secret_file):
    secret_file.mkdir()
    assert "cannot be read" in refused_file(secret_file)


@pytest.mark.parametrize("content", [f"{SECRET}\u00e6".encode("latin-1"), SECRET.encode("utf-16"), b"\xff\xfe"])
def test_a_file_that_is_not_utf_8_is_refused_and_named(secret_file, content):
    secret_file.write_bytes(content)
    assert "is not UTF-8 text" in refused_file(secret_file)


@pytest.mark.parametrize(
    "content", ["", "\n", " ", "  \r\n", f"{SECRET}\n\n", f"user={SECRET}\nhost=x\n", f"{SECRET}\0"]
)
def test_an_impossible_secret_in_a_file_is_refused_and_not_shown(secret_file, content):
    secret_file.write_text(content, encoding="utf-8")
    message = refusal(lambda: Settings.resolve("client"))
    assert message.startswith("ARITMA_CLIENT_SECRET_FILE is not usable: it ")
    assert_names_both(message, "client_secret")


# --- environment, tenant and API hosts


@pytest.mark.parametrize(
    ("environment", "meant"),
    [
        ("production", PRODUCTION),
        ("development", DEVELOPMENT),
        (PRODUCTION, PRODUCTION),
        (Environment("https://id.example", hosts=("x",)), Environment("https://id.example", hosts=("x",))),
        ("https://id.aritma.io", PRODUCTION),
        ("https://id.dev.aritma.io/", DEVELOPMENT),
        ("HTTPS://ID.aritma.io:443", PRODUCTION),
        ("https://id.aritma.io/acme", PRODUCTION.extended("acme")),
        (
            "https://id.aritma.io/acme/more",
            Environment("https://id.aritma.io/acme/more", hosts=("id.aritma.io",), discovery=True),
        ),
        (
            "https://id.example:8443/auth",
            Environment("https://id.example:8443/auth", hosts=("id.example:8443",), discovery=True),
        ),
    ],
)
def test_an_environment_is_a_name_an_issuer_or_an_environment(environment, meant):
    assert resolve(environment=environment).environment == meant


def test_an_environment_of_another_type_is_not_shown():
    assert "something of type bytes is neither" in refusal(lambda: resolve(environment=b"https://c:pw@id.example"))


@pytest.mark.parametrize("environment", ["prod", "id.aritma.io"])
def test_what_is_no_environment_is_told_what_one_is(environment):
    message = refusal(lambda: resolve(environment=environment))
    assert f"{environment!r} is neither 'production' nor 'development', nor an Environment, nor an https URL" in message


@pytest.mark.parametrize("environment", ["production", "development", "https://id.example", DEVELOPMENT])
def test_tenant_and_api_hosts_extend_any_environment(environment):
    plain = resolve(environment=environment).environment
    extended = resolve(environment=environment, tenant="acme", api_hosts="api.example").environment
    assert extended == plain.extended("acme", ["api.example"])
    assert extended.token_endpoint == f"{plain.issuer}/acme/connect/token"
    assert extended.covers("https://api.example/")
    assert not plain.covers("https://api.example/")


def test_tenant_and_api_hosts_extend_what_an_environment_has_already():
    given = Environment("https://id.example", tenant="own", api_hosts=("own.example",))
    assert resolve(environment=given).environment == given
    extended = resolve(environment=given, tenant="acme", api_hosts="api.example").environment
    assert (extended.tenant, extended.api_hosts) == ("acme", ("own.example:443", "api.example:443"))


#: What stands for an environment, with a tenant that is its own.
WITH_TENANT = [Environment("https://id.example", tenant="own"), PRODUCTION.extended("own"), "https://id.aritma.io/own"]


@pytest.mark.parametrize("environment", WITH_TENANT)
def test_a_tenant_is_the_argument_or_the_environments_own_or_the_variable(environment, variables):
    variables(tenant="variable")
    assert resolve(environment=environment, tenant="argument").environment.tenant == "argument"
    assert resolve(environment=environment).environment.tenant == "own"
    assert resolve(environment=DEVELOPMENT).environment.tenant == "variable"


def test_an_issuers_own_tenant_comes_before_the_variable_where_both_are_variables(variables):
    variables(environment="https://id.aritma.io/own", tenant="variable")
    assert resolve().environment == PRODUCTION.extended("own")


@pytest.mark.parametrize("environment", [None, *WITH_TENANT])
def test_an_empty_tenant_is_none_whatever_environment_and_variable_say(environment, variables):
    variables(tenant="variable")
    place = resolve(environment=environment, tenant="").environment
    assert place.tenant is None
    assert place.token_endpoint == f"{place.issuer}/connect/token"


@pytest.mark.parametrize("nothing", ["", " ", (), []])
def test_no_api_hosts_are_none_whatever_the_variable_says(nothing, variables):
    variables(api_hosts="api.example")
    assert resolve(api_hosts=nothing).environment.api_hosts == ()


def test_an_api_host_is_kept_once_however_it_is_written():
    given = Environment("https://id.example", api_hosts=("own.example",))
    place = resolve(environment=given, api_hosts="a.example,OWN.example,A.example:443,own.example").environment
    assert place.api_hosts == ("own.example:443", "a.example:443")


def test_what_comes_one_by_one_may_come_only_once():
    settings = resolve(api_hosts=iter(["a.example", "*.b.example:8443"]), scope=iter(["api", "api", "reconcile"]))
    assert settings.environment.api_hosts == ("a.example:443", "*.b.example:8443")
    assert settings.scope == ("api", "reconcile")


@pytest.mark.parametrize(
    "api_hosts",
    [
        "a.example,*.b.example:8443",
        "a.example, *.b.example:8443",
        "a.example *.b.example:8443",
        " a.example\n*.b.example:8443,\n",
        ",a.example,,*.b.example:8443,a.example",
        ["a.example", "*.b.example:8443"],
        ("a.example", "", "*.b.example:8443"),
        dict.fromkeys(["a.example", "*.b.example:8443"]).keys(),
    ],
)
def test_api_hosts_are_separated_by_commas_or_white_space_or_come_one_by_one(api_hosts, variables):
    expected = ("a.example:443", "*.b.example:8443")
    assert resolve(api_hosts=api_hosts).environment.api_hosts == expected
    if isinstance(api_hosts, str):
        variables(api_hosts=api_hosts)
        assert resolve().environment.api_hosts == expected


# --- scope


@pytest.mark.parametrize(
    ("scope", "asked_for"),
    [
        ("bankservice", ("bankservice",)),
        ("api services.banking", ("api", "services.banking")),
        (" api\tservices.banking\n", ("api", "services.banking")),
        (["api", "services.banking"], ("api", "services.banking")),
        (("api services.banking", "reconcile api"), ("api", "services.banking", "reconcile")),
        (dict.fromkeys(["api", "reconcile"]).keys(), ("api", "reconcile")),
        ("api reconcile api", ("api", "reconcile")),
        ("a,b", ("a,b",)),
        ("https://scope.example/x:y!", ("https://scope.example/x:y!",)),
        ("", ()),
        (" ", ()),
        ([], ()),
        ([""], ()),
    ],
)
def test_a_scope_is_a_string_or_an_iterable(scope, asked_for, variables):
    variables(scope="variable")
    assert resolve(scope=scope).scope == asked_for


# --- cache


@pytest.mark.parametrize("cache", [None, "file"])
def test_the_default_cache_is_the_users_own_directory(cache):
    store = resolve(cache=cache).cache
    assert store == FileStore.below(platformdirs.user_cache_dir())
    assert store.directory.startswith(os.path.expanduser("~")), "the one of this test"
    assert not os.path.exists(store.directory), "until there is a token to keep"


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_cache_variable_is_none(empty, variables):
    variables(cache=empty)
    assert resolve().cache == FileStore.below(platformdirs.user_cache_dir())


@pytest.mark.parametrize("given_as", ["argument", "variable"])
@pytest.mark.parametrize("home", [True, False])
def test_a_cache_can_be_a_directory(given_as, home, tmp_path, variables):
    text = "~/tokens" if home else str(tmp_path / "tokens")
    variables(cache=text if given_as == "variable" else "memory")
    store = resolve(cache=text if given_as == "argument" else None).cache
    assert store == FileStore.below(os.path.expanduser(text))


def test_a_cache_can_be_a_path(tmp_path):
    assert resolve(cache=tmp_path).cache == FileStore.below(str(tmp_path))
    for name in "tokens", "file", "memory":
        assert resolve(cache=pathlib.Path(name)).cache == FileStore.below(f"./{name}")


@pytest.mark.parametrize("given_as", ["argument", "variable"])
def test_a_cache_in_memory_is_shared_with_nobody(given_as, variables):
    variables(cache="memory" if given_as == "variable" else "file")
    argument = "memory" if given_as == "argument" else None
    first, second = resolve(cache=argument).cache, resolve(cache=argument).cache
    assert isinstance(first, MemoryStore)
    assert isinstance(second, MemoryStore)
    assert first is not second


def test_a_cache_can_be_a_store():
    store = MemoryStore()
    assert resolve(cache=store).cache is store


# --- the timeout of a token request


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        (5, (5.0, 5.0)),
        (0.5, (0.5, 0.5)),
        ((3, 20), (3.0, 20.0)),
        ([3, 20], (3.0, 20.0)),
        ((5,), (5.0, 5.0)),
        ("5", (5.0, 5.0)),
        ("0.5", (0.5, 0.5)),
        ("3,20", (3.0, 20.0)),
        (" 3 , 20.5 ", (3.0, 20.5)),
    ],
)
def test_a_timeout_is_one_number_or_two(timeout, seconds, variables):
    assert resolve(token_timeout=timeout).token_timeout == seconds
    if isinstance(timeout, str):
        variables(token_timeout=timeout)
        assert resolve().token_timeout == seconds


# --- cache_encryption_key

#: Always the same, as names of tests are made of them.
KEYS = [base64.urlsafe_b64encode(letter * 32).decode() for letter in (b"k", b"x")]


@pytest.mark.parametrize("between", [",", ", ", " ", "\n"])
@pytest.mark.parametrize("given_as", ["argument", "variable"])
def test_a_cache_can_be_sealed_with_one_key_of_several(given_as, between, monkeypatch):
    keys = between.join(KEYS)
    if given_as == "variable":
        monkeypatch.setenv("ARITMA_CACHE_KEY", keys)
    store = resolve(cache="./sealed", cache_encryption_key=keys if given_as == "argument" else None).cache
    assert store == FileStore.below("./sealed", sealing=Sealing(keys))
    assert store != FileStore.below("./sealed")
    for key in KEYS:
        assert key not in repr(store.sealing)


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_key_is_none(empty, monkeypatch):
    monkeypatch.setenv("ARITMA_CACHE_KEY", empty)
    assert resolve(cache="./sealed").cache.sealing is None


@pytest.mark.parametrize("wrong", [SECRET, f"{KEYS[0]},{SECRET}", f"{SECRET} {KEYS[0]}", ",", "\xe6" * 44, 5, b"k"])
def test_an_impossible_key_is_refused_and_not_shown(wrong, monkeypatch):
    message = refusal(lambda: resolve(cache_encryption_key=wrong))
    assert "cache_encryption_key (or the environment variable ARITMA_CACHE_KEY) is not usable" in message
    assert "Fernet.generate_key()" in message
    assert KEYS[0] not in message
    if isinstance(wrong, str):
        monkeypatch.setenv("ARITMA_CACHE_KEY", wrong)
        assert refusal(resolve) == message


def test_a_process_without_a_key_imports_nothing_for_it(start):
    code = """if True:
        import json, sys
        from aritma_session.settings import Settings
        Settings.resolve("client", "secret", cache="./tokens")
        heavy = ("redis", "keyring", "cryptography", "pytest", "sealing", "patience", "contract")
        print(json.dumps([name for name in sys.modules if name.rpartition(".")[2] in heavy]))
    """
    assert results([start(code)]) == [[]]


# --- what an error leads to

#: Settings that hold something secret besides, and cannot be.
HIDDEN = [
    {"cache": "redis://:never-show-this@h:port"},
    {"cache": "redis://:never-show-this@h", "api_hosts": "a b:c"},
    {"cache_encryption_key": "never-show-this"},
    {"cache_encryption_key": KEYS[0] + ",never-show-this"},
]


@pytest.mark.parametrize("make", [AritmaSession, AritmaAuth, Settings.resolve])
@pytest.mark.parametrize(
    "wrong",
    [
        {"scope": 'a"b'},
        {"environment": "nowhere"},
        {"token_timeout": -1},
        {"cache": 7},
        {"api_hosts": "a b:c"},
        *HIDDEN,
    ],
)
def test_no_frame_of_an_error_about_another_setting_holds_the_secret(make, wrong):
    with pytest.raises(ValueError, match="not usable") as caught:
        make("client", "never-show-this", **wrong)
    assert frames(caught.value)
    assert not [frame for frame in frames(caught.value) if "never-show-this" in repr(frame.f_locals)]


def test_no_frame_of_an_error_about_the_secret_holds_it():
    with pytest.raises(ValueError, match="line break") as caught:
        AritmaSession("client", "never-show-this\n")
    assert frames(caught.value)
    assert not [frame for frame in frames(caught.value) if "never-show-this" in repr(frame.f_locals)]


def frames(error):
    """The frames that an error came through, but for the test's own and those that mutation puts between ours."""
    found, link = [], error.__traceback__.tb_next
    while link is not None:
        if not link.tb_frame.f_globals["__name__"].startswith("mutmut."):
            found.append(link.tb_frame)
        link = link.tb_next
    return found


# --- how the client proves itself


#: What is given, and the way that follows.
PROOFS = [
    ({"client_secret": SECRET}, ClientSecretPost(Secret(SECRET))),
    ({"private_key": pem_of("x")}, "private_key_jwt"),
    ({"client_secret": SECRET, "token_endpoint_auth_method": "client_secret_basic"}, "client_secret_basic"),
    ({"client_secret": SECRET, "token_endpoint_auth_method": ""}, "client_secret_post"),
    ({"token_endpoint_auth_method": "tls_client_auth"}, TlsClientAuth()),
    ({"grant": "authorization_code"}, NoSecret()),
    ({"grant": "implicit"}, "none"),
    ({"grant": "authorization_code", "client_secret": SECRET}, "client_secret_post"),
    ({"grant": "authorization_code", "client_secret": SECRET, "token_endpoint_auth_method": "none"}, "none"),
    ({"grant": "authorization_code", "private_key": pem_of("x")}, "private_key_jwt"),
    ({"grant": "password", "username": "user", "password": "open-sesame"}, "none"),
    (
        {"client_secret": SECRET, "private_key": pem_of("x"), "token_endpoint_auth_method": "client_secret_post"},
        "client_secret_post",
    ),
    (
        {"client_secret": SECRET, "private_key": pem_of("x"), "token_endpoint_auth_method": "private_key_jwt"},
        "private_key_jwt",
    ),
]


@pytest.mark.parametrize("given_as", ["argument", "variable"])
@pytest.mark.parametrize(("given", "proof"), PROOFS)
def test_the_client_proves_itself_with_what_was_named_or_there_is_a_secret_for(given, proof, given_as, variables):
    if given_as == "variable":
        variables(**given)
    authentication = Settings.resolve("client", **(given if given_as == "argument" else {})).grant.authentication
    assert proof in (authentication, authentication.method)


@pytest.mark.parametrize("grant", ["client_credentials", "authorization_code"])
@pytest.mark.parametrize("variable", ["private_key", "private_key_file"])
def test_a_secret_that_is_passed_comes_before_a_key_in_a_variable(grant, variable, variables):
    variables(**{variable: pem_of("x")})
    assert Settings.resolve("client", SECRET, grant=grant).grant.authentication.method == "client_secret_post"


@pytest.mark.parametrize("grant", ["client_credentials", "authorization_code"])
@pytest.mark.parametrize("variable", ["client_secret", "client_secret_file"])
def test_a_key_that_is_passed_comes_before_a_secret_in_a_variable(grant, variable, variables):
    variables(**{variable: SECRET})
    settings = Settings.resolve("client", private_key=pem_of("x"), grant=grant)
    assert settings.grant.authentication.method == "private_key_jwt"


@pytest.mark.parametrize("given_as", ["argument", "variable"])
def test_a_secret_and_a_key_in_the_same_place_are_refused(given_as, variables):
    given = {"client_secret": SECRET, "private_key": pem_of(SECRET)}
    if given_as == "variable":
        variables(**given)
    message = refusal(lambda: Settings.resolve("client", **(given if given_as == "argument" else {})))
    assert {"client_secret", "private_key"} <= {*re.findall(r"\w+", message)}
    assert_names_both(message, "token_endpoint_auth_method")


@pytest.mark.parametrize(
    ("method", "missing"),
    [
        ("client_secret_post", "client_secret"),
        ("client_secret_basic", "client_secret"),
        ("private_key_jwt", "private_key"),
    ],
)
@pytest.mark.parametrize("grant", ["client_credentials", "authorization_code"])
def test_a_named_way_needs_its_secret(method, missing, grant):
    message = refusal(lambda: Settings.resolve("client", token_endpoint_auth_method=method, grant=grant))
    assert message.startswith(f"{missing} is missing: pass {missing}=...")
    assert {variable_of(missing), variable_of(missing) + "_FILE"} <= {*re.findall(r"\w+", message)}


def test_a_client_in_its_own_name_must_prove_itself():
    message = refusal(lambda: resolve(token_endpoint_auth_method="none"))
    assert "token_endpoint_auth_method is 'none'" in message


def test_a_password_grant_needs_a_password_and_a_name():
    message = refusal(lambda: resolve(grant="password", username="user"))
    assert message.startswith("password is missing: pass password=...")
    assert {"ARITMA_PASSWORD", "ARITMA_PASSWORD_FILE"} <= {*re.findall(r"\w+", message)}
    message = refusal(lambda: resolve(grant="password", password=SECRET))
    assert message.startswith("username is missing")
    assert_names_both(message, "username")


# --- private keys


@pytest.mark.parametrize("given_as", ["argument", "path", "variable", "file"])
@pytest.mark.parametrize(
    ("kind", "form", "passphrase"),
    [("RSA", TRADITIONAL, None), ("RSA", TRADITIONAL, PASSPHRASE), ("P-256", TRADITIONAL, PASSPHRASE)],
)
def test_a_key_is_taken_from_wherever_it_is(kind, form, passphrase, given_as, variables, tmp_path):
    text, file = pem(kind, form, passphrase), tmp_path / "key.pem"
    file.write_text(text, encoding="utf-8")
    variables(**{"private_key": text} if given_as == "variable" else {})
    variables(**{"private_key_file": str(file)} if given_as == "file" else {})
    argument = {"argument": text, "path": file}.get(given_as)
    settings = Settings.resolve("client", private_key=argument, private_key_passphrase=passphrase)
    assert settings.grant.authentication.private_key.reveal() == (text.strip(), passphrase)


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "Bag Attributes\n    friendlyName: client\n{}\n",
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n{}",
        "{}-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "\ufeff{}",
    ],
)
def test_what_stands_around_a_key_does_not_matter(around):
    text = pem("P-256", TRADITIONAL)
    settings = Settings.resolve("client", private_key=around.format(text))
    assert settings.grant.authentication.private_key.reveal() == (text.strip(), None)


def test_a_key_at_a_relative_path_is_that_of_the_time_it_was_read(tmp_path, monkeypatch):
    (tmp_path / "key.pem").write_text(pem_of("x"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    settings = Settings.resolve("client", private_key=pathlib.Path("key.pem"))
    monkeypatch.chdir(os.path.expanduser("~"))
    assert settings.grant.authentication.private_key.reveal() == (pem_of("x").strip(), None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("directory", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "but: certificate"),
        (public_pem("P-256"), "but: public key"),
        (pem("Ed25519", OPENSSH), "but: openssh private key"),
        (pem("P-256")[:-20], "no whole PEM text"),
        (pem("P-256")[20:], "no whole PEM text"),
        (SECRET, "no whole PEM text"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"\x30\x82\x01\x00", "not UTF-8 text"),
    ],
)
@pytest.mark.parametrize("given_as", ["path", "file"])
def test_what_is_no_private_key_is_refused_and_not_shown(content, said, given_as, variables, tmp_path):
    file = tmp_path / "key.pem"
    if content == "directory":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    variables(**{"private_key_file": str(file)} if given_as == "file" else {})
    argument = file if given_as == "path" else None
    with pytest.raises(ValueError, match=said) as caught:
        Settings.resolve("client", private_key=argument)
    message = str(caught.value)
    assert message.startswith("private_key is not" if given_as == "path" else "ARITMA_PRIVATE_KEY_FILE is not")
    assert_names_both(message, "private_key")
    lines = content.splitlines()[1:-1] if isinstance(content, str) else []
    assert [line for line in lines if line[:12] in carried_by(caught.value)] == []


@pytest.mark.parametrize("form", [TRADITIONAL, None])
def test_an_encrypted_key_needs_its_passphrase(form):
    text = pem("P-256", passphrase=PASSPHRASE) if form is None else pem("P-256", form, PASSPHRASE)
    message = refusal(lambda: Settings.resolve("client", private_key=text))
    assert "it is encrypted" in message
    assert_names_both(message, "private_key_passphrase")


def test_a_passphrase_is_for_an_encrypted_key(variables):
    message = refusal(lambda: Settings.resolve("client", private_key=pem_of("x"), private_key_passphrase=SECRET))
    assert "it is not encrypted" in message
    assert_names_both(message, "private_key_passphrase")
    variables(private_key_passphrase=SECRET)
    assert refusal(lambda: Settings.resolve("client", private_key=pem_of("x"))) == message


@pytest.mark.parametrize(
    ("absent", "named"),
    [(["jwt"], "PyJWT"), (["cryptography"], "cryptography"), (["jwt", "cryptography"], "PyJWT and cryptography")],
)
def test_a_key_needs_what_signs(absent, named, monkeypatch):
    for module in absent:
        monkeypatch.setitem(sys.modules, module, None)
    message = refusal(lambda: Settings.resolve("client", private_key=pem_of(SECRET)))
    assert message == f'private_key needs {named}, not installed: pip install "aritma-session[jwt]"'
    assert Settings.resolve("client", SECRET).grant.authentication.method == "client_secret_post"


@pytest.mark.parametrize("make", [AritmaSession, AritmaAuth, Settings.resolve])
@pytest.mark.parametrize(
    "wrong",
    [
        {"private_key": encrypted_pem_of("never-show-this")},
        {"private_key": encrypted_pem_of("x"), "private_key_passphrase": "never-show-this\n"},
        {"private_key": pem_of("never-show-this"), "private_key_passphrase": "never-show-this"},
        {"private_key": "never-show-this"},
        {"private_key": pem_of("never-show-this"), "extra": {"scope": "x"}},
        {"private_key": pem_of("never-show-this"), "client_secret": "never-show-this"},
        {"private_key": encrypted_pem_of("x"), "private_key_passphrase": "never-show-this", "cache": "disk"},
        {"private_key": pem_of("never-show-this"), "token_endpoint_auth_signing_alg": "HS256"},
        {"client_secret": "x", "grant": "password", "username": "x", "password": "never-show-this\n"},
        {"client_secret": "x", "grant": "password", "username": "", "password": "never-show-this"},
    ],
)
def test_no_frame_of_an_error_about_a_key_or_a_password_holds_it(make, wrong):
    with pytest.raises(ValueError, match=r"\S") as caught:
        make("client", **wrong)
    assert "never-show-this" not in carried_by(caught.value)
    assert not [frame for frame in frames(caught.value) if "never-show-this" in repr(frame.f_locals)]


@pytest.mark.parametrize("show", [repr, str, "{}".format, "%r".__mod__])
def test_settings_do_not_show_key_passphrase_and_password(show):
    shown = show(Settings.resolve("c", private_key=encrypted_pem_of("in-key"), private_key_passphrase="in-phrase"))
    shown += show(resolve(grant="password", username="user", password="in-password"))
    assert not [text for text in ("in-key", "in-phrase", "in-password", SECRET) if text in shown]


# --- the cache, and the command, of a login


@pytest.mark.parametrize("grant", ["authorization_code", "implicit"])
@pytest.mark.parametrize("given_as", ["argument", "variable"])
def test_a_login_is_not_found_in_memory(grant, given_as, variables):
    variables(cache="memory" if given_as == "variable" else "")
    argument = "memory" if given_as == "argument" else None
    assert_names_both(refusal(lambda: Settings.resolve("client", grant=grant, cache=argument)), "cache")
    store = MemoryStore()
    assert Settings.resolve("client", grant=grant, cache=store).cache is store


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, []),
        ({"environment": "development", "tenant": "acme"}, ["--environment", "development", "--tenant", "acme"]),
        ({"environment": "https://id.example/a"}, ["--environment", "https://id.example/a"]),
        ({"scope": "bankservice offline_access"}, []),
        ({"scope": "api  openid"}, ["--scope", "api openid"]),
        ({"scope": ""}, ["--scope", ""]),
        ({"grant": "implicit"}, ["--grant", "implicit"]),
        ({"username": "Kari 'O' & Ola"}, ["--username", "Kari 'O' & Ola"]),
        ({"cache": "file"}, []),
        ({"cache": "/tokens of/kari"}, ["--cache", "/tokens of/kari"]),
        ({"cache": "~/tokens"}, ["--cache", os.path.join("{home}", "tokens")]),
        ({"cache": pathlib.Path("file")}, ["--cache", os.path.join("{here}", "file")]),
        ({"cache": "./tokens"}, ["--cache", os.path.join("{here}", "tokens")]),
        ({"cache": FileStore.below("/tokens")}, ["--cache", os.path.abspath("/tokens")]),
        ({"cache": "keyring:"}, ["--cache", "keyring:"]),
        ({"cache": "redis://h.example:6379/1"}, ["--cache", "redis://h.example:6379/1"]),
        ({"extra": {"b": "1 2", "a": "$x"}}, ["--extra", "a=$x", "--extra", "b=1 2"]),
        ({"client_secret": SECRET, "private_key": pem_of(SECRET), "token_endpoint_auth_method": "none"}, []),
    ],
)
def test_the_command_that_logs_in_says_what_is_not_the_default(settings, said):
    grant = Settings.resolve("cl'ient", **{"grant": "authorization_code", **settings}).grant
    places = {"home": os.path.expanduser("~"), "here": os.getcwd()}
    expected = ["aritma-session", "login", "--client-id", "cl'ient", *(text.format(**places) for text in said)]
    assert shlex.split(grant.login_command) == expected
    assert SECRET not in grant.login_command


@pytest.mark.parametrize("cache", ["", " ", "file", "./tokens"])
def test_the_command_that_logs_in_says_what_cache_a_variable_names(cache, variables):
    variables(cache=cache)
    said = ["--cache", os.path.abspath("tokens")] if cache == "./tokens" else []
    command = Settings.resolve("client", grant="authorization_code").grant.login_command
    assert shlex.split(command) == ["aritma-session", "login", "--client-id", "client", *said]


def test_the_command_that_logs_in_names_no_url_in_which_a_password_may_be():
    command = settings_module._login_command(
        PRODUCTION, Login("client", NoSecret(), (), ()), f"redis://:{SECRET}@h.example/0"
    )
    assert command == "ARITMA_CACHE=... aritma-session login --client-id client --scope ''"
    assert settings_module._shown_cache(MemoryStore()) == (None, "ARITMA_CACHE=... ")
    assert settings_module._shown_cache(FileStore("/elsewhere")) == (None, "ARITMA_CACHE=... ")


@pytest.mark.parametrize(
    ("grant", "scope"),
    [
        ("client_credentials", ("bankservice",)),
        ("password", ("bankservice",)),
        ("authorization_code", ("bankservice", "offline_access")),
        ("implicit", ("bankservice",)),
    ],
)
def test_the_default_scope_of_a_login_asks_for_a_refresh_token(grant, scope):
    assert Settings.resolve(**{**WITH_USER, "grant": grant}).scope == scope


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda settings: pickle.loads(pickle.dumps(settings))])
@pytest.mark.parametrize("grant", ["client_credentials", "password", "authorization_code", "implicit"])
@pytest.mark.parametrize(
    "proof", [{"client_secret": SECRET}, ENCRYPTED, {"token_endpoint_auth_method": "tls_client_auth"}]
)
def test_copied_or_pickled_settings_are_the_same(grant, proof, copied):
    more = {"private_key_passphrase": "p"} if proof is ENCRYPTED else {}
    given = {**WITH_USER, "client_secret": None, "grant": grant, "extra": {"a": "b"}, **proof, **more}
    settings = Settings.resolve(**given)
    assert copied(settings) == settings
    assert copied(settings).cache_key == settings.cache_key
    assert hash(copied(settings).grant) == hash(settings.grant)


# --- the name of what is shared


def test_tokens_are_shared_by_those_who_ask_for_the_same_however_they_prove_themselves():
    ways = [
        {"client_secret": SECRET},
        {"client_secret": "another"},
        {"private_key": pem_of("x")},
        {"private_key": encrypted_pem_of("x"), "private_key_passphrase": "p"},
        {"token_endpoint_auth_method": "tls_client_auth"},
        {"client_secret": SECRET, "extra": {}},
        {"client_secret": SECRET, "scope": ["bankservice"]},
    ]
    assert len({Settings.resolve("client", **way).cache_key for way in ways}) == 1


def test_tokens_are_not_shared_by_those_who_ask_for_something_else():
    ways = [
        {},
        {"environment": "development"},
        {"tenant": "acme"},
        {"scope": "api"},
        {"extra": {"audience": "x"}},
        {"extra": {"audience": "y"}},
        {"extra": {"audience": "x", "resource": "y"}},
        {"extra": {"user": "x"}},
        *(
            {"grant": grant, "username": "x", "password": "y"}
            for grant in ("password", "authorization_code", "implicit")
        ),
        {"grant": "password", "username": "y", "password": "y"},
        {"grant": "authorization_code"},
        {"grant": "authorization_code", "extra": {"user": "x"}},
    ]
    keys = [resolve(**way).cache_key for way in ways]
    assert len({*keys}) == len(keys)


def test_the_order_of_extra_parameters_does_not_matter():
    one, other = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    assert resolve(extra=one).cache_key == resolve(extra=other).cache_key


def test_the_password_does_not_name_what_is_shared():
    one, other = (resolve(grant="password", username="user", password=text) for text in ("one", "other"))
    assert one.cache_key == other.cache_key


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"a": "b\nc"}, "a line break or another control character"),
        ({"a\x1b[2J": "b"}, "a line break or another control character"),
        ({"request": "x"}, "request is no extra parameter"),
        ({"request_uri": "x"}, "request_uri is no extra parameter"),
        ({"uri": "x"}, "uri is no extra parameter"),
        ({"self": "x"}, "self is no extra parameter"),
        ({"a": "\ud800"}, "half a letter"),
    ],
)
def test_an_extra_parameter_that_would_change_the_request_itself_is_refused(extra, said):
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        resolve(extra=extra)
    assert str(caught.value).isprintable()


def test_the_key_of_the_cache_can_stand_in_a_file(tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.write_text(KEYS[0] + "\n", encoding="utf-8")
    monkeypatch.setenv("ARITMA_CACHE_KEY_FILE", str(path))
    monkeypatch.setenv("ARITMA_CLIENT_SECRET", SECRET)
    assert (
        Settings.resolve("client", cache=tmp_path).cache.sealing
        == Settings.resolve("client", cache=tmp_path, cache_encryption_key=KEYS[0]).cache.sealing
    )
    path.unlink()
    with pytest.raises(ValueError, match="cache_encryption_key"):
        Settings.resolve("client", cache=tmp_path)
