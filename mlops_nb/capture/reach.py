"""What functions and classes of the notebook touch beyond the text of the cell that uses them."""

from __future__ import annotations

import dis
import types
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_nb.source import CellNames

Namespace: TypeAlias = "dict[str, object]"


@record
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
    # By `type` here and below: `isinstance` asks a value for its ``__class__``.
    if type(value) is types.FunctionType and value.__globals__ is namespace:
        codes.append(value.__code__)
    if depth:
        for part in _parts(value):
            if _may_run(part):
                _collect_codes(part, namespace, codes, depth - 1)


def _parts(value: Any) -> Iterable[object]:
    """What a function, class or instance runs: methods, bases, what it wraps."""
    kind = type(value)
    if kind is types.FunctionType:
        return [*vars(value).values(), *map(_content, value.__closure__ or ())]
    if issubclass(kind, type):
        is_ours = value.__module__ == "__main__"
        return [*vars(value).values(), *value.__bases__] if is_ours else ()
    if kind in {types.MethodType, staticmethod, classmethod}:
        return [value.__func__]
    if kind is property:
        return [value.fget, value.fset]
    if kind.__module__ == "functools":
        return [getattr(value, "func", None), getattr(value, "__wrapped__", None)]
    return [kind]


def _content(cell: types.CellType) -> object:
    """What a closure's variable holds; nothing before it is bound."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _may_run(value: object) -> bool:
    """Whether code can be found in a value; a quick look at its type."""
    kind = type(value)
    return kind in _RUNS or kind.__module__ in {"__main__", "functools"}


_RUNS = frozenset(
    {types.FunctionType, types.MethodType, type, staticmethod, classmethod, property}
)


@dataclass(slots=True, repr=False, eq=False)
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


def reach(names: CellNames, namespace: Namespace) -> Reach:
    """Follow the names that a cell reads through the functions and classes they hold.

    What the cell has bound for certain before it first uses a function is its own.
    """
    found = Reach()
    for name, read_at in names.read_at.items():
        if _may_run(namespace.get(name)):
            inner = _reach_from(name, namespace)
            for load in inner.loads:
                if names.bound_at.get(load, read_at) >= read_at:
                    found.loads[load] = None
            found.stores.update(inner.stores)
            found.deletes.update(inner.deletes)
            found.is_dynamic |= inner.is_dynamic
    return found


def _reach_from(name: str, namespace: Namespace) -> Reach:
    found = Reach()
    waiting = [name]
    while waiting:
        codes: list[types.CodeType] = []
        _collect_codes(namespace.get(waiting.pop()), namespace, codes)
        for code in codes:
            inner = _names_of_code(code)
            waiting += [
                load
                for load in inner.loads
                if load not in found.loads and _may_run(namespace.get(load))
            ]
            found.take(inner)
    return found
