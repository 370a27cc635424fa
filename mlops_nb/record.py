"""Frozen records that cost nothing until the first one is made.

A frozen dataclass with slots compiles seven methods when its module is imported, half a
millisecond each class. Dozens of them would take half of the time that loading the extension may
take, and a session makes only a few kinds.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class what ``@dataclass(frozen=True, slots=True)`` would, methods on first use.

    Parameters
    ----------
    cls
        A class with annotated fields and no methods of a dataclass of its own.

    Returns
    -------
    type
        A class with slots, which `dataclasses.fields`, ``replace``, ``asdict``, ``pickle`` and
        ``copy`` know as any other.

    Examples
    --------
    >>> @record
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(1)
    Point(x=1, y=0)
    >>> Point(1) == Point(1, 0)
    True
    """
    members = {name: value for name, value in vars(cls).items() if name not in _PER_INSTANCE}
    annotations = members.get("__annotations__", {})
    names = [name for name, kind in annotations.items() if not str(kind).startswith("ClassVar")]
    given = {name: members.pop(name) for name in names if name in members}
    members["__slots__"] = tuple(names)
    members["__match_args__"] = tuple(name for name in names if _is_positional(given.get(name)))
    for method in (_setattr, _delattr, _repr, _eq, _hash, _getstate, _setstate):
        members[f"_{method.__name__}__"] = method  # as `__setattr__`
    for name in _OF_A_DATACLASS:
        members[name] = _OnFirstUse(name, given)
    made: type[T] = type(cls.__name__, cls.__bases__, members)
    made.__qualname__ = cls.__qualname__
    made.__init__ = _init_of(made)  # type: ignore[method-assign]
    return made


_PER_INSTANCE = frozenset({"__dict__", "__weakref__"})
_OF_A_DATACLASS = ("__dataclass_fields__", "__dataclass_params__")


def _is_positional(given: object) -> bool:
    return not isinstance(given, Field) or (given.init and given.kw_only is not True)


class _OnFirstUse:
    """What `dataclasses` looks for in a class, found out when it does."""

    __slots__ = ("_given", "_name")

    def __init__(self, name: str, given: dict[str, Any]) -> None:
        self._name, self._given = name, given

    def __get__(self, one: object, cls: type) -> object:
        members = {name: cls.__dict__[name] for name in ("__module__", "__annotations__")}
        twin = type(cls.__name__, (), {**self._given, **members, "__doc__": cls.__name__})
        made: type[Any] = dataclass(init=False, repr=False, eq=False)(twin)
        for name in _OF_A_DATACLASS:
            setattr(cls, name, getattr(made, name))
        return getattr(cls, self._name)


def _init_of(cls: type) -> Callable[..., None]:
    """Stand in for the constructor until the first call, which compiles it."""

    def __init__(self: object, *args: object, **kwargs: object) -> None:  # noqa: N807  it is one
        compiled = _compiled_init(cls)
        cls.__init__ = compiled  # type: ignore[misc]
        compiled(self, *args, **kwargs)

    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    return __init__


def _compiled_init(cls: type) -> Callable[..., None]:
    """Write the constructor as `dataclass` does, without the rest of its work, a fifth of it."""
    scope: dict[str, Any] = {"_set": object.__setattr__, "_absent": MISSING}
    parameters, lines = ["self"], []
    for one in sorted((one for one in fields(cls) if one.init), key=lambda one: bool(one.kw_only)):
        name, value = one.name, one.name
        if one.kw_only and "*" not in parameters:
            parameters.append("*")
        if one.default is not MISSING:
            scope[f"_default_{name}"] = one.default
            parameters.append(f"{name}=_default_{name}")
        elif one.default_factory is not MISSING:
            scope[f"_make_{name}"] = one.default_factory
            parameters.append(f"{name}=_absent")
            value = f"_make_{name}() if {name} is _absent else {name}"
        else:
            parameters.append(name)
        lines.append(f" _set(self, {name!r}, {value})")
    source = f"def __init__({', '.join(parameters)}):\n" + ("\n".join(lines) or " pass")
    exec(source, scope)  # noqa: S102  # of the names of fields, and nothing else
    compiled: Callable[..., None] = scope["__init__"]
    compiled.__qualname__ = f"{cls.__qualname__}.__init__"
    return compiled


def _values(one: object) -> tuple[object, ...]:
    names = type(one).__dataclass_fields__  # type: ignore[attr-defined]
    return tuple([getattr(one, name) for name in names])


def _setattr(self: object, name: str, value: object) -> None:  # noqa: ARG001
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: object, name: str) -> None:  # noqa: ARG001
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _repr(self: object) -> str:
    shown = [f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr]  # type: ignore[arg-type]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: object, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: object) -> int:
    return hash(_values(self))


def _getstate(self: object) -> tuple[object, ...]:
    return _values(self)


def _setstate(self: object, state: tuple[object, ...]) -> None:
    for one, value in zip(fields(self), state, strict=True):  # type: ignore[arg-type]
        object.__setattr__(self, one.name, value)
