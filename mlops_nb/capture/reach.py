"""What functions and classes of the notebook touch beyond the text of the cell that uses them."""

from __future__ import annotations

import dis
import types
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

Namespace: TypeAlias = "dict[str, object]"


@dataclass(frozen=True, slots=True)
class _CodeNames:
    """Global names of a function's code, and of the functions inside of it."""

    loads: dict[str, None]
    stores: dict[str, None]
    deletes: dict[str, None]
    is_dynamic: bool


_DYNAMIC = frozenset({"exec", "eval", "globals"})
_code_names: dict[int, tuple[weakref.ref[types.CodeType], _CodeNames]] = {}


def _names_of_code(code: types.CodeType) -> _CodeNames:
    """Read a code object once."""
    known = _code_names.get(id(code))
    if known is not None and known[0]() is code:
        return known[1]
    loads: dict[str, None] = {}
    stores: dict[str, None] = {}
    deletes: dict[str, None] = {}
    by_operation = {
        "LOAD_GLOBAL": loads,
        "LOAD_NAME": loads,
        "STORE_GLOBAL": stores,
        "DELETE_GLOBAL": deletes,
    }
    for instruction in dis.get_instructions(code):
        names = by_operation.get(instruction.opname)
        if names is not None:
            names[instruction.argval] = None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _names_of_code(constant)
            loads.update(inner.loads)
            stores.update(inner.stores)
            deletes.update(inner.deletes)
    found = _CodeNames(loads, stores, deletes, not _DYNAMIC.isdisjoint(loads))
    key = id(code)
    _code_names[key] = (weakref.ref(code, lambda _: _code_names.pop(key, None)), found)
    return found


def _collect_codes(
    value: object, namespace: Namespace, codes: list[types.CodeType], depth: int = 3
) -> None:
    """Gather code of the notebook that using a value may run."""
    kind = type(value)
    inner: Iterable[object] = ()
    if kind is types.FunctionType:
        function = cast("types.FunctionType", value)
        if function.__globals__ is namespace:
            codes.append(function.__code__)
        inner = [*vars(function).values(), *map(_content, function.__closure__ or ())]
    elif isinstance(value, type):
        if value.__module__ == "__main__":
            inner = [*vars(value).values(), *value.__bases__]
    elif kind in {types.MethodType, staticmethod, classmethod}:
        inner = [cast("types.MethodType", value).__func__]
    elif kind is property:
        inner = [cast("property", value).fget, cast("property", value).fset]
    elif kind.__module__ == "__main__":
        inner = [kind]
    elif kind.__module__ == "functools":
        inner = [getattr(value, "func", None), getattr(value, "__wrapped__", None)]
    if depth:
        for part in inner:
            if _may_run(part):
                _collect_codes(part, namespace, codes, depth - 1)


def _content(cell: types.CellType) -> object:
    """What a closure's variable holds; nothing before it is bound."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _may_run(value: object) -> bool:
    """Whether `_codes_of` can find anything in a value; a quick look at its type."""
    kind = type(value)
    return kind in _RUNS or kind.__module__ in {"__main__", "functools"}


_RUNS = frozenset(
    {types.FunctionType, types.MethodType, type, staticmethod, classmethod, property}
)


@dataclass(slots=True)
class Reach:
    """What functions of the notebook may touch beyond the text of the cell."""

    loads: dict[str, None] = field(default_factory=dict)
    stores: dict[str, None] = field(default_factory=dict)
    deletes: dict[str, None] = field(default_factory=dict)
    is_dynamic: bool = False

    def take(self, inner: _CodeNames) -> None:
        """Count what one function touches."""
        self.loads.update(inner.loads)
        self.stores.update(inner.stores)
        self.deletes.update(inner.deletes)
        self.is_dynamic |= inner.is_dynamic


def reach(names: Iterable[str], namespace: Namespace) -> Reach:
    """Follow names through the functions and classes they hold."""
    found = Reach()
    waiting = list(names)
    seen = set(waiting)
    codes: list[types.CodeType] = []
    while waiting:
        value = namespace.get(waiting.pop())
        if not _may_run(value):
            continue
        codes.clear()
        _collect_codes(value, namespace, codes)
        for code in codes:
            inner = _names_of_code(code)
            found.take(inner)
            waiting += [name for name in inner.loads if name not in seen]
            seen.update(inner.loads)
    return found
