"""What can be said of a value by its type and identity: can it change, who shares it."""

from __future__ import annotations

import sys
import types
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_nb.capture.reach import Namespace
    from mlops_nb.source import CellNames

_SMALL = (int, float, bool, complex, type(None), type(Ellipsis), range)
_IMMUTABLE = (
    *_SMALL,
    str,
    bytes,
    frozenset,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.CodeType,
    property,
)
_LONG_TEXT = 10_000


def can_change(value: object) -> bool:
    """Whether a value can be changed in place, as far as its type says."""
    kind = type(value)
    if kind is type:
        return value.__module__ == "__main__"
    if kind.__module__ == "__main__":
        return True
    known = _can_change.get(kind)
    if known is None:
        if len(_can_change) > _KEPT_TYPES:
            _can_change.clear()
        known = _can_change[kind] = _type_can_change(kind)
    return known


_can_change: dict[type, bool] = {}
_KEPT_TYPES = 1000


def _type_can_change(kind: type) -> bool:
    if issubclass(kind, _IMMUTABLE):
        return False
    for module, names in _IMMUTABLE_ELSEWHERE:
        library = sys.modules.get(module)
        found = [getattr(library, name, None) for name in names]
        if issubclass(kind, tuple(each for each in found if isinstance(each, type))):
            return False
    return True


_IMMUTABLE_ELSEWHERE = (
    ("numpy", ("generic", "dtype")),
    ("datetime", ("date", "time", "timedelta", "tzinfo")),
    ("decimal", ("Decimal",)),
    ("pathlib", ("PurePath",)),
    ("re", ("Pattern", "Match")),
    ("pandas", ("Index",)),
)


def mark(value: object) -> object:
    """Something to know a value by later, without keeping it alive; None if there is nothing."""
    kind = type(value)  # `isinstance` would ask the value for its ``__class__``
    if issubclass(kind, _SMALL) or (type(value) is str and len(value) < _LONG_TEXT):
        return (value,)
    try:
        return weakref.ref(value)
    except TypeError:
        return None


def is_same(known: object, value: object) -> bool:
    """Whether a value is the one that was marked."""
    if isinstance(known, tuple):
        return known[0] is value
    return isinstance(known, weakref.ref) and known() is value


class Origins:
    """Names that may share values, from all cells so far: ``row = rows[0]``."""

    def __init__(self) -> None:
        self._links: dict[str, set[str]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no two names share anything."""
        return not self._links

    def update(self, names: CellNames, binds: Iterable[str]) -> None:
        """Learn what a cell bound to parts of what."""
        given = names.origins or {}
        if self._links:
            for name in binds:
                for other in self._links.pop(name, ()):
                    self._links.get(other, set()).discard(name)
        for name in given and binds:
            for other in given.get(name, ()):
                self._links.setdefault(name, set()).add(other)
                self._links.setdefault(other, set()).add(name)

    def sharing(
        self, names: Iterable[str], cell: CellNames, namespace: Namespace
    ) -> dict[str, None]:
        """All names that may share a value with one of `names`, those left out."""
        given = cell.origins or {}
        start = set(names)
        waiting = [name for name in start if name in given or name in self._links]
        found: dict[str, None] = {}
        while waiting:
            name = waiting.pop()
            for other in (*given.get(name, ()), *self._links.get(name, ())):
                if other in found or other in start or other not in namespace:
                    continue
                if _may_share(namespace.get(name), namespace[other]):
                    found[other] = None
                    waiting.append(other)
        return found


def _may_share(one: object, other: object) -> bool:
    """Whether a change of one value can be a change of the other."""
    if one is other:
        return can_change(one)
    if not (can_change(one) and can_change(other)):
        return False
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(one, numpy.ndarray) and isinstance(other, numpy.ndarray):
        return bool(numpy.may_share_memory(one, other))
    if pandas is not None and _copies_on_write(pandas):
        frames = (pandas.DataFrame, pandas.Series)
        return not (isinstance(one, frames) and isinstance(other, frames))
    return True


def _copies_on_write(pandas: types.ModuleType) -> bool:
    return int(str(getattr(pandas, "__version__", "0")).partition(".")[0] or 0) >= 3  # noqa: PLR2004
