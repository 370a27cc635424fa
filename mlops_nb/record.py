"""Frozen records that cost nothing until the first one is made.

A frozen dataclass with slots compiles seven methods when its module is imported, half a
millisecond each class. Dozens of them would take half of the time that loading the extension may
take, and a session makes only a few kinds.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, fields
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
    made: type[T] = dataclass(slots=True, init=False, repr=False, eq=False)(cls)
    for method in (_setattr, _delattr, _repr, _eq, _hash, _getstate, _setstate):
        setattr(made, f"_{method.__name__}__", method)  # as `__setattr__`
    made.__init__ = _init_of(made)  # type: ignore[method-assign]
    return made


def _init_of(cls: type) -> Callable[..., None]:
    """Stand in for the constructor until the first call, which compiles it."""

    def __init__(self: object, *args: object, **kwargs: object) -> None:  # noqa: N807  it is one
        compiled = _compiled_init(cls)
        cls.__init__ = compiled  # type: ignore[misc]
        compiled(self, *args, **kwargs)

    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    return __init__


def _compiled_init(cls: type) -> Callable[..., None]:
    members: dict[str, Any] = {
        one.name: field(default=one.default, default_factory=one.default_factory, init=one.init)
        for one in fields(cls)
    }
    annotations = {one.name: one.type for one in fields(cls)}
    twin = type(cls.__name__, (), {**members, "__annotations__": annotations})
    made: type[Any] = dataclass(frozen=True, repr=False, eq=False)(twin)
    compiled: Callable[..., None] = made.__init__
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
