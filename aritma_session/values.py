"""Values: objects that are told apart by their fields, and never change.

What ``dataclasses`` would do, without the eighth of ``import requests``' own time that importing it costs.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, TypeVar

__all__ = ["Value"]

_V = TypeVar("_V", bound="Value")


class Value:
    """Be equal to what has the same fields, and be copied and pickled by them.

    A subclass names its fields in ``__slots__``, in the order of its constructor's arguments, those of its base first,
    and sets them there with :meth:`_set`. A slot whose name begins with an underscore is no field: it holds what
    follows from the fields.
    """

    __slots__: tuple[str, ...] = ()

    #: Fields that never show in ``repr``.
    _hidden: ClassVar[frozenset[str]] = frozenset()

    def replace(self: _V, **changes: Any) -> _V:  # noqa: PYI019  # typing.Self came with Python 3.11
        """Give the same value with other fields.

        :param changes: fields by name.
        :raises TypeError: when there is no such field.
        :raises ValueError: when the constructor does not take the value.
        """
        return type(self)(**{**self._fields(), **changes})

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Give the names of the fields, in the order of the constructor's arguments."""
        slots = (name for base in reversed(cls.__mro__) for name in vars(base).get("__slots__", ()))
        return tuple(name for name in slots if not name.startswith("_"))

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.fields()}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed; its replace() gives another one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed; its replace() gives another one")

    def __eq__(self, other: object) -> bool:
        return self._fields() == other._fields() if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._fields().values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(self._fields().values())

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self._fields().items() if name not in self._hidden)
        return f"{type(self).__name__}({', '.join(shown)})"
