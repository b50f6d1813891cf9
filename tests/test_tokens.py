"""A token judges its own age, keeps its text to itself, and fits into a header."""

from __future__ import annotations

import copy
import json
import math
import pickle

import pytest

from aritma_session import Token

TEXT = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"


def token(lifetime=3600.0, **changes):
    return Token(TEXT, obtained_at=1000.0, expires_at=1000.0 + lifetime).replace(**changes)


# --- the text


@pytest.mark.parametrize("text", ["", "line\nbreak", "t\u00f6ken"])
def test_a_refresh_token_that_could_not_be_sent_is_refused_and_not_shown(text):
    with pytest.raises(ValueError, match=r"^the refresh token has characters that it may not have$"):
        token(refresh_token=text)


@pytest.mark.parametrize(
    ("given", "kept"), [("re fresh", "re fresh"), (None, None), (1, None), ("", None), ("line\nbreak", None)]
)
def test_a_refresh_token_is_kept_where_it_can_be_used(given, kept):
    assert Token.from_answer({"access_token": "t", "refresh_token": given}, 0.0).refresh_token == kept


@pytest.mark.parametrize(("own", "next_one"), [("new", "new"), (None, "old")])
def test_a_refresh_token_goes_on_being_good_unless_another_comes(own, next_one):
    assert token(refresh_token=own).following(token(lifetime=1.0, refresh_token="old")) == token(refresh_token=next_one)


def test_a_refresh_token_never_shows():
    assert "secret-refresh" not in repr(token(refresh_token="secret-refresh"))


@pytest.mark.parametrize("text", ["a", TEXT, "A-z_0.9~+/", "c2ln=", "c2ln=="])
def test_every_bearer_token_of_rfc_6750_can_be_held(text):
    assert Token(text, 0.0, 1.0).access_token == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "two words",
        " leading",
        "trailing ",
        "line\nbreak",
        "trailing\n",
        "header\r\nX-Injected: 1",
        "nul\0",
        "tab\t",
        '"quoted"',
        "a,b",
        "a;b",
        "a%20b",
        "=",
        "a=b",
        "t\u00f6ken",
        "\u0661\u0662",  # digits, though not ASCII's
        "\u212a",  # the Kelvin sign, a K to those who ignore case
    ],
)
def test_text_that_cannot_stand_in_a_header_is_refused_and_not_shown(text):
    with pytest.raises(ValueError, match=r"characters that may not stand in an Authorization header$"):
        Token(text, 0.0, 1.0)


@pytest.mark.parametrize("name", ["obtained_at", "expires_at"])
@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf])
def test_times_are_finite(name, seconds):
    with pytest.raises(ValueError, match="times are not finite"):
        token(**{name: seconds})


@pytest.mark.parametrize("lifetime", [-0.5, -1.0, -3600.0])
def test_a_token_does_not_expire_before_it_was_obtained(lifetime):
    with pytest.raises(ValueError, match=r"expired before it was obtained$"):
        Token(TEXT, obtained_at=1000.0, expires_at=1000.0 + lifetime)
    with pytest.raises(ValueError, match=r"expired before it was obtained$"):
        Token.from_record({**token().to_record(), "expires_at": 1000.0 + lifetime})


# --- a value


@pytest.mark.parametrize("show", [repr, str, "{}".format, "%r".__mod__])
def test_the_text_does_not_show(show):
    shown = show(token(scope="bankservice"))
    assert TEXT not in shown
    assert "bankservice" in shown


@pytest.mark.parametrize("field", Token.fields())
def test_no_field_can_be_changed(field):
    held = token()
    with pytest.raises(AttributeError, match="cannot be changed"):
        setattr(held, field, None)


def test_tokens_are_compared_by_value():
    assert token() == token()
    assert len({token(), token(), token(lifetime=60.0)}) == 2


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy]
    + [lambda held, n=n: pickle.loads(pickle.dumps(held, n)) for n in range(2, pickle.HIGHEST_PROTOCOL + 1)],
    ids=["copy", "deepcopy", *(f"pickle {n}" for n in range(2, pickle.HIGHEST_PROTOCOL + 1))],
)
def test_a_copied_or_pickled_token_is_the_same(copied):
    held = token(scope="bankservice", on_probation=True)
    assert copied(held) == held


# --- from the server's answer


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        (3600, 3600),
        (86400, 86400),
        (0.5, 0.5),
        ("3600", 3600),
        (" 3600 ", 3600),
        ("3600.5", 3600.5),
        (0, 0),
        ("0", 0),
        (-1, 0),
        ("-3600", 0),
    ],
)
def test_the_expiry_counts_from_before_the_request(expires_in, lifetime):
    held = Token.from_answer({"access_token": TEXT, "expires_in": expires_in}, obtained_at=1000.0)
    assert (held.obtained_at, held.expires_at, held.lifetime) == (1000.0, 1000.0 + lifetime, lifetime)


@pytest.mark.parametrize(
    "expires_in",
    [None, True, False, "", "soon", "3600s", "nan", "inf", "1e999", math.nan, math.inf, -math.inf, {}, [9], 10**400],
)
def test_a_lifetime_that_is_no_number_counts_as_not_stated(expires_in):
    stated = Token.from_answer({"access_token": TEXT, "expires_in": expires_in}, obtained_at=1000.0)
    unstated = Token.from_answer({"access_token": TEXT}, obtained_at=1000.0)
    assert stated == unstated
    assert 60 <= unstated.lifetime <= 600, "used for some minutes, not for ever"


@pytest.mark.parametrize("expires_in", [10**12, 1e300, "1e300"])
def test_an_absurdly_long_life_is_cut_to_ten_years(expires_in):
    held = Token.from_answer({"access_token": TEXT, "expires_in": expires_in}, obtained_at=1.7e9)
    assert held.lifetime == pytest.approx(10 * 365.25 * 86400)


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        ("bankservice", "bankservice"),
        ("a b", "a b"),
        ("", ""),
        (["a", "b"], "a b"),
        ([], ""),
        (["a", 1], "a 1"),
        (None, None),
        (7, None),
        ({"a": 1}, None),
    ],
)
def test_the_granted_scope_is_kept_where_the_server_said_it(scope, held):
    assert Token.from_answer({"access_token": TEXT, "scope": scope}, 0.0).scope == held


def test_an_answer_needs_nothing_but_the_token():
    held = Token.from_answer({"access_token": TEXT}, obtained_at=1000.0)
    assert (held.access_token, held.scope, held.on_probation) == (TEXT, None, False)


@pytest.mark.parametrize("answer", [{}, {"access_token": None}, {"access_token": 5}, {"access_token": ["a"]}])
def test_an_answer_without_a_token_is_refused(answer):
    with pytest.raises(ValueError, match="has no access_token"):
        Token.from_answer({"expires_in": 3600, **answer}, 0.0)


def test_an_answer_with_an_impossible_token_is_refused_and_not_shown():
    with pytest.raises(ValueError, match="Authorization header") as caught:
        Token.from_answer({"access_token": f"{TEXT}\r\nX-Injected: 1"}, 0.0)
    assert TEXT not in str(caught.value)


# --- to a record, and back


@pytest.mark.parametrize(
    "held",
    [token(), token(scope="a b"), token(scope=""), token(on_probation=True, refresh_token="r"), token(lifetime=0.0)],
)
def test_a_record_survives_json(held):
    assert Token.from_record(json.loads(json.dumps(held.to_record()))) == held


def test_whole_seconds_in_a_record_are_seconds():
    assert Token.from_record({**token().to_record(), "obtained_at": 1000, "expires_at": 4600}) == token()


@pytest.mark.parametrize("field", Token.fields())
def test_a_record_that_lacks_a_field_is_refused_and_not_shown(field):
    record = token(scope="bankservice").to_record()
    del record[field]
    with pytest.raises(ValueError, match=r"^not the record of a token$") as caught:
        Token.from_record(record)
    assert TEXT not in str(caught.value)


@pytest.mark.parametrize(
    "field",
    [
        {"access_token": None},
        {"access_token": 5},
        {"access_token": ""},
        {"access_token": "two words"},
        {"access_token": b"bytes"},
        {"obtained_at": "1000"},
        {"obtained_at": None},
        {"obtained_at": True},
        {"obtained_at": math.nan},
        {"expires_at": "soon"},
        {"expires_at": math.inf},
        {"expires_at": [4600]},
        {"expires_at": 10**400},
        {"scope": 5},
        {"scope": ["a"]},
        {"refresh_token": 1},
        pytest.param({"refresh_token": "line\nbreak"}, id="a refresh token of two lines"),
        {"on_probation": 0},
        {"on_probation": None},
        {"on_probation": "true"},
    ],
    ids=repr,
)
def test_a_record_with_a_wrong_field_is_refused_and_not_shown(field):
    wrong = "^(not the record of a token|not a number of seconds|the (access|refresh) token has characters .*)$"
    with pytest.raises(ValueError, match=wrong) as caught:
        Token.from_record({**token().to_record(), **field})
    assert TEXT not in str(caught.value)


# --- age


@pytest.mark.parametrize(
    ("lifetime", "leeway"),
    [(86400.0, 60.0), (3600.0, 60.0), (1200.0, 60.0), (1180.0, 59.0), (100.0, 5.0), (1.0, 0.05), (0.0, 0.0)],
)
def test_the_leeway_is_a_minute_or_a_twentieth_of_a_shorter_life(lifetime, leeway):
    assert token(lifetime).leeway == pytest.approx(leeway)


@pytest.mark.parametrize(
    ("lifetime", "now", "fresh"),
    [
        (3600.0, 1000.0, True),
        (3600.0, 4539.0, True),
        (3600.0, 4540.0, False),
        (3600.0, 4600.0, False),
        (3600.0, 9999.0, False),
        (100.0, 1094.0, True),
        (100.0, 1095.0, False),
        (1.0, 1000.5, True),
        (1.0, 1000.95, False),
        (0.0, 1000.0, False),
    ],
)
def test_a_token_is_fresh_until_its_leeway_begins(lifetime, now, fresh):
    assert token(lifetime).fresh(now) is fresh


def test_a_clock_that_is_set_back_leaves_a_token_fresh():
    assert token().fresh(now=0.0)


@pytest.mark.parametrize(
    ("jitter", "tried", "now", "seconds"),
    [
        ({}, None, 1000.0, 2880.0),
        ({"jitter": 0.02}, None, 1000.0, 2952.0),
        ({}, 1000.0, 4000.0, 2880.0),
        ({}, 3900.0, 4000.0, 3080.0),
        ({}, 4000.0, 4000.0, 3180.0),
        ({}, 4001.0, 4000.0, 2880.0),
    ],
)
def test_a_token_is_to_be_renewed_late_in_its_life_and_a_while_after_a_try(jitter, tried, now, seconds):
    assert token(renewal_tried_at=tried).renewal_at(now, **jitter) == pytest.approx(1000.0 + seconds)


# --- probation


def test_probation_begins_and_ends_with_new_values():
    held = token(scope="bankservice")
    tried = held.on_trial()
    assert (held.on_probation, tried.on_probation, tried.accepted().on_probation) == (False, True, False)
    assert tried.accepted() == held
    assert tried.on_trial() == tried
    assert held.accepted() == held


@pytest.mark.parametrize(
    ("seconds_later", "irreplaceable"), [(-3600, False), (-1, False), (0, True), (29, True), (30, False), (3600, False)]
)
def test_a_token_on_probation_is_not_replaced_for_half_a_minute(seconds_later, irreplaceable):
    assert token().on_trial().irreplaceable(1000.0 + seconds_later) is irreplaceable


@pytest.mark.parametrize("seconds_later", [0, 29, 30])
@pytest.mark.parametrize("held", [token(), token().on_trial().accepted()], ids=["never tried", "accepted"])
def test_a_token_that_is_not_on_probation_can_be_replaced_at_once(held, seconds_later):
    assert not held.irreplaceable(1000.0 + seconds_later)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Token("t", math.nan, 1.0), "the token's times are not finite"),
        (lambda: Token.from_answer({}, 0.0), "the answer has no access_token"),
        (lambda: Token.from_record({}), "not the record of a token"),
        (lambda: Token.from_record({**TOKEN_RECORD, "scope": 1}), "not the record of a token"),
        (lambda: Token.from_record({**TOKEN_RECORD, "obtained_at": "1"}), "not a number of seconds"),
        (lambda: Token.from_record({**TOKEN_RECORD, "obtained_at": 10**400}), "not a number of seconds"),
        (lambda: Token.from_record({**TOKEN_RECORD, "obtained_at": math.inf}), "not a number of seconds"),
    ],
)
def test_an_error_says_what_is_wrong(make, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        make()


TOKEN_RECORD = Token("t", 0.0, 1.0).to_record()
