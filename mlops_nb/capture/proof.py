"""Proof that a cell left a value as it was: its bytes before and after are the same.

A name that a cell passes to a call may have been changed by it. Without proof it counts as
changed, and a run then needs that cell. For arrays, tables and plain containers the proof is one
pass over the bytes, at memory bandwidth; everything else has none.
"""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Any

import xxhash

from mlops_nb.capture.guard import guard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BUDGET_BYTES = 2_000_000
"""Bytes that are read before and after an ordinary cell: less than 0.2 ms each."""

FIT_BUDGET_BYTES = 64_000_000
"""The same for a cell that fits a model, and so takes long itself."""

_ITEMS = 5_000
_DEPTH = 3
_FITS = ("fit", "fit_predict", "fit_transform", "partial_fit", "cross_val", "train")


class Proof:
    """The values a cell may change, as they were when it began.

    Parameters
    ----------
    namespace
        The notebook's.
    names
        What the cell may change.
    calls
        What it calls: a cell that fits a model may be read more of.
    """

    def __init__(
        self, namespace: Mapping[str, object], names: Iterable[str], calls: Iterable[str]
    ) -> None:
        self._namespace = namespace
        self._before: dict[str, tuple[int, object]] = {}
        budget_bytes = _budget_for(calls)
        with guard("proof"):
            for name in dict.fromkeys(names):
                value = namespace.get(name)
                witness, size = _witness(value, budget_bytes)
                if witness is not None:
                    self._before[name] = id(value), witness
                    budget_bytes -= size

    def unchanged(self) -> set[str]:
        """Names that hold the same object with the same content still."""
        found: set[str] = set()
        with guard("proof"):
            for name, (address, witness) in self._before.items():
                value = self._namespace.get(name)
                size = _size(value) if id(value) == address else -1
                if size >= 0 and _witness(value, size)[0] == witness:
                    found.add(name)
        return found


def _budget_for(calls: Iterable[str]) -> int:
    tails = (call.rpartition(".")[2] for call in calls)
    return FIT_BUDGET_BYTES if any(tail.startswith(_FITS) for tail in tails) else BUDGET_BYTES


_CONTAINERS = frozenset({list, dict, set, tuple, bytearray})


def _witness(value: object, budget_bytes: int) -> tuple[object, int]:
    """Something that is equal only for equal content, and the bytes that were read for it."""
    size = _size(value)
    if not 0 <= size <= budget_bytes:
        return None, 0
    if type(value) in _CONTAINERS:
        return _of_container(value), size
    kind = type(value)
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        return _of_array(value), size
    if _is_frame(kind):
        return _of_frame(value), size
    return None, 0


def _size(value: Any) -> int:
    """Bytes that a witness of a value reads; -1 where there is none."""
    kind = type(value)
    if kind in _CONTAINERS:
        return _count(value, _DEPTH) * 8
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        return int(value.nbytes)
    if _is_frame(kind):
        return sum(_extent(block.values) for block in value._mgr.blocks)  # noqa: SLF001
    return -1


def _is_frame(kind: type) -> bool:
    is_pandas = kind.__module__.partition(".")[0] == "pandas"
    return is_pandas and kind.__name__ in {"DataFrame", "Series"}


def _count(value: Any, depth: int) -> int:
    """Items of a container and of those in it; more than the limit as soon as that is sure."""
    count = len(value)
    if count > _ITEMS or not depth:
        return count if count <= _ITEMS else BUDGET_BYTES * FIT_BUDGET_BYTES
    for item in value.values() if type(value) is dict else value:
        if type(item) in {list, dict, set, tuple}:
            count += _count(item, depth - 1)
        elif type(item) in {str, bytes}:
            count += len(item) // 8
        if count > _ITEMS:
            return BUDGET_BYTES * FIT_BUDGET_BYTES
    return count


def _of_container(value: Any) -> object:
    try:
        # Version 2 writes no references, so that equal content gives equal bytes.
        return marshal.dumps(value, 2)
    except (ValueError, RecursionError):
        return None


def _of_array(value: Any) -> object:
    if value.dtype.hasobject:
        return None
    flat = value if value.flags.c_contiguous else value.T
    if not flat.flags.c_contiguous:
        return None
    digest = xxhash.xxh3_64_intdigest(flat) if flat.size else 0
    return digest, value.shape, value.strides, str(value.dtype)


def _extent(values: Any) -> int:
    return int(getattr(values, "nbytes", 0))


def _of_frame(value: Any) -> object:
    parts: list[object] = []
    for block in value._mgr.blocks:  # noqa: SLF001
        part = _of_block(block.values)
        if part is None:
            return None
        parts.append((part, tuple(block.mgr_locs.as_array.tolist())))
    # The axes are immutable objects: held, so that their identity cannot be another's.
    return parts, [_Same(axis) for axis in value._mgr.axes]  # noqa: SLF001


def _of_block(values: Any) -> object:
    """Witness of one block: an array, or the arrays behind an extension array."""
    if type(values).__module__ == "numpy":
        return _of_array(values)
    for attributes in (("_ndarray",), ("_codes",), ("_data", "_mask")):
        held = [getattr(values, name, None) for name in attributes]
        if all(type(part).__module__ == "numpy" for part in held):
            found = [_of_array(part) for part in held]
            kind = (str(values.dtype), _Same(getattr(values.dtype, "categories", None)))
            return None if None in found else (found, kind)
    # Arrow's own arrays are immutable: the column is the same while it holds the same one.
    arrow = getattr(values, "_pa_array", None)
    return None if arrow is None else _Same(arrow)


class _Same:
    """Equal only to itself held again: identity that cannot be reused while it is kept."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    __hash__ = None  # type: ignore[assignment]
