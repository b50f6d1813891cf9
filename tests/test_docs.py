"""The documentation keeps its word: its examples run, and what they name exists.

A page's examples are one program, with the same line numbers as the page, which is run in a process of its own against
the sandbox. One that has a caption is a file of that name, run by itself; by pytest, where its name begins with
``test_``.
"""

from __future__ import annotations

import configparser
import inspect
import os
import pathlib
import re
import shlex
import subprocess
import sys
from typing import NamedTuple

import pytest

import aritma_session
from aritma_session import cli

from servers import PROGRAM, RedisServer

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}

BLOCK = re.compile(
    r"^\.\. code-block:: (?P<language>\w+)\n(?P<options>(?: +:.*\n)*)\n(?P<body>(?:    .*\n|\n)+)", re.MULTILINE
)

#: What stands in the examples, and where it is here.
STATEMENTS, TOKEN_ENDPOINT, REDIS = (
    "https://bankservice.zdata.no/api/v3",
    "https://id.aritma.io/connect/token",
    "redis://redis.internal:6379/0",
)

#: What only the environment "docs" has the packages for, or the time: a whole contract's tests.
UNCOMMON = re.compile(r"^ *(?:from|import) (?:celery|opentelemetry|prometheus_client|.*\.contract)\b", re.MULTILINE)

#: What is done with an example's names afterwards, and by whom.
AFTERWARDS = {
    "docs/how-to/fleets.rst": "import tasks\nassert tasks.statements('acme')\n",
    "docs/how-to/events.rst": "events.add(1, {'event': 'hit'})\nassert seen == {'fetch': 1, 'hit': 2}\n",
}


class Example(NamedTuple):
    """A block of code, and where it begins: the number of lines before it."""

    language: str
    caption: str
    lines_before: int
    code: str


def examples(text, *languages):
    found = []
    for match in BLOCK.finditer(text):
        if match["language"] in languages:
            caption = re.search(r":caption: (\S+)", match["options"])
            before = text.count("\n", 0, match.start("body"))
            code = re.sub(r"^ {4}", "", match["body"], flags=re.MULTILINE)
            found.append(Example(match["language"], caption[1] if caption else "", before, code))
    return found


def program(blocks):
    """One program of many blocks, in which each line has the number that it has on its page."""
    text = ""
    for block in blocks:
        text += "\n" * (block.lines_before - text.count("\n")) + block.code
    return text


def pages_with_python():
    for name, text in TEXTS.items():
        if examples(text, "python"):
            yield pytest.param(name, marks=[pytest.mark.docs] if UNCOMMON.search(text) else [], id=name)


@pytest.fixture(scope="module")
def redis_url():
    if PROGRAM is None and not os.environ.get("CI"):
        pytest.skip("no redis-server on this machine")
    server = RedisServer()
    yield server.url
    server.close()


@pytest.fixture
def place(sandbox, tmp_path, monkeypatch, request):
    """Give what a program needs to find the sandbox, as settings and as replacements in its text."""
    for name, value in sandbox.environ().items():
        monkeypatch.setenv(name, value)
    replacements = {STATEMENTS: sandbox.api_url, TOKEN_ENDPOINT: sandbox.token_endpoint}
    directory = tmp_path / "page"
    directory.mkdir()

    def put(name, text):
        if REDIS in text:
            replacements[REDIS] = request.getfixturevalue("redis_url")
        for said, meant in replacements.items():
            text = text.replace(said, meant)
        (directory / name).write_text(text, encoding="utf-8")

    def run(*command):
        # What others' packages warn of is not these pages' matter.
        warnings = [] if request.node.get_closest_marker("docs") else ["-W", "error"]
        done = subprocess.run(
            [sys.executable, *warnings, *command],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(directory), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            check=False,
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done

    return put, run


@pytest.mark.timeout(180)  # a whole contract, on a machine that is busy
@pytest.mark.parametrize("name", [*pages_with_python()])
def test_the_python_examples_run(name, place):
    put, run = place
    blocks = examples(TEXTS[name], "python")
    files = [block for block in blocks if block.caption]
    for block in files:
        put(block.caption, block.code)
    for block in files:
        by_pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
        run(*(by_pytest if block.caption.startswith("test_") else []), block.caption)
    put("the_page.py", program(block for block in blocks if not block.caption) + AFTERWARDS.get(name, ""))
    done = run("the_page.py")
    assert "Traceback" not in done.stderr


def test_examples_are_found():
    assert len([block for text in TEXTS.values() for block in examples(text, "python")]) > 20
    blocks = examples("x\n\n.. code-block:: python\n   :caption: a.py\n\n    if x:\n\n        y\n\nz\n", "python")
    assert blocks == [Example("python", "a.py", 5, "if x:\n\n    y\n\n")]
    assert program(blocks) == "\n\n\n\n\nif x:\n\n    y\n\n"


# --- what is named exists

#: What ends a command within a line.
ENDS = {"|", "&&", ";", "(", ")", "<(", "$(", ">", "<"}


def commands():
    """All command lines of the pages: those of examples, and those that stand in a sentence."""
    for name, text in TEXTS.items():
        for block in examples(text, "console"):
            for line in re.findall(r"^\$ (.*)$", block.code, re.MULTILINE):
                yield name, line
        for line in re.findall(r"``((?:aritma-session|tox|pip) [^`]+)``", text.replace("\n", " ")):
            yield name, line


def words_after(program, line):
    """The arguments of each call of a program in a command line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;<>()&")
    lexer.whitespace_split = True
    words = [*lexer]
    for place, word in enumerate(words):
        if word == program and (place == 0 or words[place - 1] in ENDS):
            rest = words[place + 1 :]
            yield rest[: next((number for number, other in enumerate(rest) if other in ENDS), None)]


def understood(arguments):
    try:
        return bool(vars(cli._parser().parse_args(arguments)))
    except SystemExit as ended:
        return ended.code == 0


@pytest.mark.parametrize(("name", "line"), [*commands()])
def test_commands_and_options_exist(name, line, capsys):
    for arguments in words_after("aritma-session", line):
        assert understood(arguments), capsys.readouterr().err
    extras = setup()["options.extras_require"]
    for listed in re.findall(r"aritma-session\[([\w,]+)\]|\.\[([\w,]+)\]", line):
        assert {*"".join(listed).split(",")} <= {*extras}
    for arguments in words_after("tox", line):
        if "-e" in arguments:
            assert f"testenv:{arguments[arguments.index('-e') + 1]}" in tox() or "-e py" in line


def test_commands_are_understood():
    assert [
        *words_after("aritma-session", "x=1; aritma-session header --tenant a | curl -H @- <(aritma-session token)")
    ] == [
        ["header", "--tenant", "a"],
        ["token"],
    ]
    assert understood(["token"])
    assert not understood(["token", "--no-such-option"])


def setup():
    return read("setup.cfg")


def tox():
    return read("tox.ini")


def read(name):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / name, encoding="utf-8")
    return parser


def test_variables_exist():
    names = {f"ARITMA_{name.upper()}" for name in inspect.signature(aritma_session.AritmaSession).parameters}
    files = {f"ARITMA_{name}_FILE" for name in ("CLIENT_SECRET", "PRIVATE_KEY", "PRIVATE_KEY_PASSPHRASE", "PASSWORD")}
    known = names | files | {"ARITMA_CACHE_KEY", "ARITMA_CACHE_KEY_FILE"}
    said = {(name, word) for name, text in TEXTS.items() for word in re.findall(r"\bARITMA_[A-Z_]*[A-Z]", text)}
    assert {(name, word) for name, word in said if word not in known} == set()


@pytest.mark.parametrize("name", aritma_session.__all__)
def test_the_reference_has_every_public_name(name):
    pattern = rf"^\.\. auto(?:class|exception|data|function):: aritma_session\.{name}$"
    assert re.search(pattern, TEXTS["docs/api.rst"], re.MULTILINE)


def test_pages_that_are_named_exist():
    named = {(name, path) for name, text in TEXTS.items() for path in re.findall(r"``(docs/[\w./-]+)``", text)}
    assert {(name, path) for name, path in named if not (ROOT / path).exists()} == set()
