"""Frozen, slotted value classes that cost a fifth of :func:`dataclasses.dataclass` to define.

``dataclasses`` compiles six methods for each class and imports ``inspect``: over the fifty classes of the verify path
that is a third of the time of ``fastness verify``. Here one method, ``__init__``, is compiled; the others are shared.
What a type checker sees is the same (PEP 681): ``@record`` is ``@dataclass(frozen=True, slots=True)``.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")
_MISSING = object()


class Field:
    """One field: its name, how it defaults, and whether it shows in ``repr`` and counts in comparisons."""

    __slots__ = ("compare", "default", "factory", "name", "repr")

    def __init__(self, default: Any, factory: Any, shown: bool, compare: bool) -> None:
        self.name = ""
        self.default = default
        self.factory = factory
        self.repr = shown
        self.compare = compare


def field(
    *,
    default: Any = _MISSING,
    default_factory: Any = _MISSING,
    repr: bool = True,  # noqa: A002 - a type checker knows it by this name
    compare: bool = True,
) -> Any:
    """What :func:`dataclasses.field` is."""
    return Field(default, default_factory, repr, compare)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Makes ``cls`` an immutable value class with slots, one for each annotation."""
    return _build(cls, frozen=True)


@dataclass_transform(field_specifiers=(field,))
def mutable(cls: type[T]) -> type[T]:
    """The same with attributes that may be set; not hashable."""
    return _build(cls, frozen=False)


def fields(cls: Any) -> tuple[Field, ...]:
    """The fields of a record or its class, in order."""
    found: tuple[Field, ...] = cls.__record_fields__
    return found


def replace(value: T, **changes: Any) -> T:
    """A copy of a record with some fields changed."""
    given = {item.name: getattr(value, item.name) for item in fields(value)}
    return type(value)(**given | changes)


class _Standard:
    """``__dataclass_fields__``, made when somebody asks: :mod:`dataclasses`' own functions take records too."""

    def __get__(self, instance: Any, owner: Any) -> Any:
        import dataclasses

        rows: list[tuple[str, Any, Any]] = []
        for item in fields(owner):
            given = {} if item.default is _MISSING else {"default": item.default}
            given |= {} if item.factory is _MISSING else {"default_factory": item.factory}
            rows.append((item.name, Any, dataclasses.field(repr=item.repr, compare=item.compare, **given)))
        twin = dataclasses.make_dataclass(owner.__name__, rows)
        owner.__dataclass_fields__ = found = {item.name: item for item in dataclasses.fields(twin)}
        return found


def _build(cls: type[T], *, frozen: bool) -> type[T]:
    space = dict(cls.__dict__)
    found = []
    for name in space.get("__annotations__", {}):
        default = space.pop(name, _MISSING)
        item = default if isinstance(default, Field) else Field(default, _MISSING, True, True)
        item.name = name
        found.append(item)
    for gone in ("__dict__", "__weakref__"):
        space.pop(gone, None)
    space |= {"__slots__": tuple(item.name for item in found), "__record_fields__": tuple(found)}
    space |= {"__match_args__": space["__slots__"], "__eq__": _eq, "__repr__": _repr, "__reduce__": _reduce}
    space |= {"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse} if frozen else {"__hash__": None}
    metaclass: Any = type(cls)
    made = metaclass(cls.__name__, cls.__bases__, space)
    made.__qualname__ = cls.__qualname__
    made.__dataclass_fields__ = _Standard()
    made.__record_key__ = _key([item.name for item in found if item.compare])
    made.__init__ = _init(made, found)
    result: type[T] = made
    return result


def _key(names: list[str]) -> Callable[[Any], Any]:
    return staticmethod(attrgetter(*names)) if names else staticmethod(lambda _: ())


def _init(cls: Any, found: list[Field]) -> Any:
    """``__init__``, compiled: each value goes straight into its slot."""
    space: dict[str, Any] = {"_missing": _MISSING}
    words, lines = [], []
    for index, item in enumerate(found):
        space[f"_set{index}"] = cls.__dict__[item.name].__set__
        value = item.name
        if item.factory is not _MISSING:
            space[f"_make{index}"] = item.factory
            words.append(f"{item.name}=_missing")
            value = f"_make{index}() if {item.name} is _missing else {item.name}"
        elif item.default is not _MISSING:
            space[f"_default{index}"] = item.default
            words.append(f"{item.name}=_default{index}")
        else:
            words.append(item.name)
        lines.append(f" _set{index}(self, {value})")
    # the text is made of the field names of our own classes only, as dataclasses does it
    exec(f"def __init__(self, {', '.join(words)}):\n" + "\n".join(lines or [" pass"]), space)  # noqa: S102
    return space["__init__"]


def _eq(self: Any, other: Any) -> Any:
    if type(self) is not type(other):
        return NotImplemented
    return self.__record_key__(self) == self.__record_key__(other)


def _hash(self: Any) -> int:
    return hash(self.__record_key__(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{item.name}={getattr(self, item.name)!r}" for item in fields(self) if item.repr)
    return f"{type(self).__qualname__}({shown})"


def _reduce(self: Any) -> tuple[Any, ...]:
    return type(self), tuple(getattr(self, item.name) for item in fields(self))


def _refuse(self: Any, name: str, _: Any = None) -> None:
    raise AttributeError(f"{type(self).__name__} is immutable: {name}")
