"""Arguments, then variables, then defaults; and an error that helps without telling the secret."""

from __future__ import annotations

import functools
import math
import os
import pathlib
import re
import traceback

import platformdirs
import pytest
from cryptography.fernet import Fernet

from aritma_session import DEVELOPMENT, PRODUCTION, AritmaAuth, AritmaSession, Environment, FileStore, MemoryStore
from aritma_session.settings import Settings
from aritma_session.stores.sealing import Sealing

from helpers import results

SECRET = "correct-horse-8"

#: What a setting has become, by the name of its argument.
FOUND = {
    "client_id": lambda settings: settings.client_id,
    "client_secret": lambda settings: settings.client_secret.reveal(),
    "environment": lambda settings: settings.environment.issuer,
    "tenant": lambda settings: settings.environment.tenant,
    "scope": lambda settings: settings.scope,
    "cache": lambda settings: settings.cache,
    "api_hosts": lambda settings: settings.environment.api_hosts,
    "token_timeout": lambda settings: settings.token_timeout,
}


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
}

#: What a setting is where nobody says anything; ``cache`` depends on the user, and the credentials have none.
DEFAULTS = {
    "environment": "https://id.aritma.io",
    "tenant": None,
    "scope": ("bankservice",),
    "api_hosts": (),
    "token_timeout": (10.0, 30.0),
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
}


def test_the_tables_have_every_setting():
    assert [*ARGUMENTS] == [*VARIABLES] == [*FOUND]


@pytest.mark.parametrize("name", FOUND)
def test_a_variable_is_taken_where_there_is_no_argument(name, variables):
    text, becomes = VARIABLES[name]
    variables(**{"client_id": "client", "client_secret": SECRET, name: text})
    assert FOUND[name](Settings.resolve()) == becomes
    assert FOUND[name](Settings.resolve(**{name: None})) == becomes


@pytest.mark.parametrize("name", FOUND)
def test_an_argument_comes_before_its_variable(name, variables):
    argument, becomes = ARGUMENTS[name]
    variables(**{name: VARIABLES[name][0]})
    assert FOUND[name](resolve(**{name: argument})) == becomes


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_argument_comes_before_an_impossible_variable(name, variables):
    argument, becomes = ARGUMENTS[name]
    variables(**{name: IMPOSSIBLE[name]})
    assert FOUND[name](resolve(**{name: argument})) == becomes


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_the_default_is_taken_where_there_is_neither(name, default):
    assert FOUND[name](resolve()) == default


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
@pytest.mark.parametrize(("name", "default"), [row for row in DEFAULTS.items() if row[0] != "scope"])
def test_an_empty_variable_is_none(name, default, empty, variables):
    variables(**{name: empty})
    assert FOUND[name](resolve()) == default


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_an_empty_scope_variable_asks_for_the_servers_own_default(empty, variables):
    variables(scope=empty)
    assert resolve().scope == ()


def test_the_credentials_can_be_given_by_position():
    settings = Settings.resolve("client", SECRET)
    assert (settings.client_id, settings.client_secret.reveal()) == ("client", SECRET)


def test_settings_are_read_when_they_are_resolved_and_kept(variables):
    variables(client_id="first", client_secret=SECRET, scope="first")
    settings = Settings.resolve()
    variables(client_id="second", client_secret="other-secret", scope="second")
    assert (settings.client_id, settings.client_secret.reveal(), settings.scope) == ("first", SECRET, ("first",))


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
    variables(client_id="client", client_secret=SECRET)
    variables(**{name: IMPOSSIBLE[name]})
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
}


@pytest.mark.parametrize(
    ("name", "value"),
    [*IMPOSSIBLE.items(), *((name, value) for name, values in IMPOSSIBLE_ARGUMENTS.items() for value in values)],
)
def test_an_impossible_argument_is_refused(name, value):
    assert_names_both(refusal(functools.partial(resolve, **{name: value})), name)


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
    assert Settings.resolve("client").client_secret.reveal() == SECRET


def test_a_replaced_file_is_read_anew(secret_file):
    secret_file.write_text(f"{SECRET}\n", encoding="utf-8")
    settings = Settings.resolve("client")
    assert settings.client_secret.reveal() == SECRET
    replacement = secret_file.with_name("replacement")
    replacement.write_text("rotated-secret\n", encoding="utf-8")
    replacement.replace(secret_file)
    assert settings.client_secret.reveal() == "rotated-secret"


def test_a_relative_path_is_that_of_the_time_it_was_read(tmp_path, variables, monkeypatch):
    (tmp_path / "relative").write_text(SECRET, encoding="utf-8")
    variables(client_secret_file="relative")
    monkeypatch.chdir(tmp_path)
    settings = Settings.resolve("client")
    monkeypatch.chdir(os.path.expanduser("~"))
    assert settings.client_secret.reveal() == SECRET


def test_an_argument_comes_before_the_file_which_need_not_be_there(secret_file):
    assert not secret_file.exists()
    assert Settings.resolve("client", "argument").client_secret.reveal() == "argument"


def test_an_argument_comes_before_both_variables(secret_file, variables):
    variables(client_secret="variable")
    assert Settings.resolve("client", "argument").client_secret.reveal() == "argument"


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
    assert Settings.resolve("client").client_secret.reveal() == SECRET


@pytest.mark.parametrize("empty", ["", " ", " \t\n"])
def test_an_empty_variable_for_the_file_leaves_the_secret_to_speak(empty, variables):
    variables(client_secret=SECRET, client_secret_file=empty)
    assert Settings.resolve("client").client_secret.reveal() == SECRET


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
        ("https://id.aritma.io/acme/more", Environment("https://id.aritma.io/acme/more", hosts=("id.aritma.io",))),
        ("https://id.example:8443/auth", Environment("https://id.example:8443/auth", hosts=("id.example:8443",))),
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

KEYS = [Fernet.generate_key().decode() for _ in range(2)]


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
    {"cache_encryption_key": Fernet.generate_key().decode() + ",never-show-this"},
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
    frames, link = [], caught.value.__traceback__.tb_next  # our own comes first
    while link is not None:
        frames.append(link.tb_frame)
        link = link.tb_next
    assert frames
    assert not [frame for frame in frames if "never-show-this" in repr(frame.f_locals)]


def test_no_frame_of_an_error_about_the_secret_holds_it():
    with pytest.raises(ValueError, match="line break") as caught:
        AritmaSession("client", "never-show-this\n")
    link = caught.value.__traceback__.tb_next
    while link is not None:
        assert "never-show-this" not in repr(link.tb_frame.f_locals)
        link = link.tb_next
