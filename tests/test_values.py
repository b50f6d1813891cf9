"""Values: told apart, copied, pickled and shown by their fields, and never changed."""

from __future__ import annotations

import copy
import pickle

import pytest

from aritma_session.credentials import Secret
from aritma_session.values import Value


class Pair(Value):
    __slots__ = ("one", "two", "_sum")

    _hidden = frozenset({"two"})

    def __init__(self, one, two=2):
        if one is None:
            raise ValueError("one is needed")
        self._set(one=one, two=two)
        self._set(_sum=one + two)


def test_has_the_fields_of_its_constructor():
    assert Pair.fields() == ("one", "two")
    assert Pair(1)._sum == 3


def test_is_equal_to_what_has_the_same_fields():
    assert Pair(1) == Pair(1, 2)
    assert hash(Pair(1)) == hash(Pair(1, 2))
    assert Pair(1) != Pair(1, 3)
    assert Pair(1) != Pair(2)
    assert Pair(1) != Secret("1")
    assert Pair(1) != (1, 2)


def test_cannot_be_changed():
    pair = Pair(1)
    for change in (lambda: setattr(pair, "one", 5), lambda: setattr(pair, "new", 5), lambda: delattr(pair, "one")):
        with pytest.raises(AttributeError, match="Pair cannot be changed"):
            change()
    assert pair == Pair(1)


def test_gives_another_one_with_other_fields():
    pair = Pair(1)
    assert pair.replace(two=5) == Pair(1, 5)
    assert pair.replace(two=5)._sum == 6
    assert pair == Pair(1)
    with pytest.raises(TypeError):
        pair.replace(three=3)
    with pytest.raises(ValueError, match="is needed"):
        pair.replace(one=None)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_is_as_good(again):
    assert again(Pair(1)) == Pair(1)
    assert again(Pair(1))._sum == 3


def test_shows_what_is_not_hidden():
    assert repr(Pair(1)) == "Pair(one=1)"
