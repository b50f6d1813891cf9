"""A secret is read where it is needed, and shown nowhere."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest

from aritma_session.credentials import Secret, without_credentials

VALUE = "correct-horse-8"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "secret"


def carried_by(error):
    """All that an exception and those behind it would print, and what they hold."""
    shown, chain = "".join(traceback.format_exception(error)), [error]
    for link in chain:
        held = {name: getattr(link, name, None) for name in dir(link) if not name.startswith("_")}
        shown += f"{link} {link!r} {held}"
        chain += [behind for behind in (link.__cause__, link.__context__) if behind is not None]
    return shown.replace("\\x00", "").replace("\0", "")  # what stands between the letters in UTF-16


def refusal(secret):
    """The message of the error that revealing this raises, after a look for the secret in all that it carries."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        secret.reveal()
    assert VALUE not in carried_by(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "value", [VALUE, "8 letter", " s ", "p\u00e4ssw\u00f6rd", "\u0444\u044b\u0432\u0430", "a" * 32, '"$\\%&=']
)
def test_a_secret_is_given_as_it_is(value, path):
    path.write_text(value, encoding="utf-8")
    assert Secret(value).reveal() == value
    assert Secret(path=str(path)).reveal() == value


@pytest.mark.parametrize("show", [repr, str, "{}".format, "%r".__mod__])
def test_a_secret_does_not_show(show, path):
    path.write_text(VALUE, encoding="utf-8")
    assert VALUE not in show(Secret(VALUE))
    assert VALUE not in show(Secret(path=str(path)))


def test_the_path_of_a_secret_does_not_show_either(path):
    assert repr(Secret(path=str(path))) == "Secret()"


@pytest.mark.parametrize("name", ["value", "path"])
def test_a_secret_cannot_be_changed(name):
    secret = Secret(VALUE)
    with pytest.raises(AttributeError, match="cannot be changed"):
        setattr(secret, name, "other")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda secret: pickle.loads(pickle.dumps(secret))])
def test_a_copied_or_pickled_secret_is_the_same(copied, path):
    path.write_text(VALUE, encoding="utf-8")
    for secret in Secret(VALUE), Secret(path=str(path)):
        assert copied(secret) == secret
        assert copied(secret).reveal() == VALUE


def test_a_pickled_path_takes_no_secret_along(path):
    path.write_text(VALUE, encoding="utf-8")
    secret = Secret(path=str(path))
    secret.reveal()
    assert VALUE.encode() not in pickle.dumps(secret)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_one_line_break_at_the_end_of_the_file_is_not_the_secrets(path, end):
    path.write_bytes(f"{VALUE}{end}".encode())
    assert Secret(path=str(path)).reveal() == VALUE


def test_a_replaced_file_is_read_anew(path):
    path.write_text(f"{VALUE}\n", encoding="utf-8")
    secret = Secret(path=str(path))
    assert secret.reveal() == VALUE
    replacement = path.with_name("replacement")
    replacement.write_text("rotated-secret\n", encoding="utf-8")
    replacement.replace(path)
    assert secret.reveal() == "rotated-secret"


def test_a_file_that_appears_later_is_read(path):
    secret = Secret(path=str(path))
    assert "cannot be read" in refusal(secret)
    path.write_text(VALUE, encoding="utf-8")
    assert secret.reveal() == VALUE


@pytest.mark.parametrize("content", ["", "\n", "\r\n", " ", "   ", "  \n", " \r\n", "\t"])
def test_an_empty_secret_is_refused(path, content):
    path.write_bytes(content.encode())
    assert "it is empty" in refusal(Secret(path=str(path)))


@pytest.mark.parametrize("secret", [Secret(), Secret(""), Secret(None), Secret(" "), Secret("   ")])
def test_no_secret_at_all_is_refused(secret):
    assert "it is empty" in refusal(secret)


@pytest.mark.parametrize(
    "content",
    [
        f"{VALUE}\n\n",
        f"\n{VALUE}",
        f"{VALUE}\nsecond line",
        f"{VALUE}\r\nX-Injected: 1",
        f"{VALUE}\0",
        f"{VALUE}\t",
        f"\ufeff{VALUE}",  # a byte order mark
        f"{VALUE}\u2028",
        f"{VALUE}\x7f",
    ],
)
def test_a_control_character_is_refused_and_not_shown(path, content):
    path.write_bytes(content.encode())
    assert "control character" in refusal(Secret(path=str(path)))
    assert "control character" in refusal(Secret(content))


def test_a_trailing_line_break_belongs_to_a_secret_that_was_given_itself():
    assert "line break" in refusal(Secret(f"{VALUE}\n"))


def test_a_byte_that_the_environment_could_not_decode_is_refused():
    assert "control character" in refusal(Secret(f"{VALUE}\udcff"))


def test_a_missing_file_is_named(path):
    assert refusal(Secret(path=str(path))) == f"the file cannot be read: there is none of that name in {path.parent}"


def test_a_secret_in_the_place_of_a_path_is_not_shown(tmp_path):
    for misplaced in ("never-show-this", "never-show/this"):
        assert "never-show" not in refusal(Secret(path=str(tmp_path / misplaced)))


def test_a_directory_is_named(tmp_path):
    assert f"the file {tmp_path} cannot be read" in refusal(Secret(path=str(tmp_path)))


@pytest.mark.parametrize("content", [VALUE.encode() + b"\xff", VALUE.encode("utf-16"), b"p\xe4ss" + VALUE.encode()])
def test_a_file_that_is_not_utf_8_is_named_and_not_shown(path, content):
    path.write_bytes(content)
    assert f"the file {path} is not UTF-8" in refusal(Secret(path=str(path)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://client:{VALUE}@id.example/path", "https://***@id.example/path"),
        (f"redis://:{VALUE}@h:6379/0", "redis://***@h:6379/0"),
        (f"client:{VALUE}@id.example", "***@id.example"),
        (f"https://client:{VALUE}@{VALUE}@id.example", "https://***@id.example"),
        (f"https://client:{VALUE}\n@id.example", "https://***@id.example"),
        (f"redis://:pass/{VALUE}@h/0", "redis://***@h/0"),
        (f"redis://h/0?password={VALUE}", "redis://h/0"),
        ("https://id.example/path", "https://id.example/path"),
        ("id.example", "id.example"),
        ("", ""),
    ],
)
def test_what_stands_before_an_at_sign_is_not_shown(text, shown):
    assert without_credentials(text) == shown
