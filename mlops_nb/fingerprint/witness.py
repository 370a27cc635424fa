"""A quick proof that a value is what it was: its raw bytes are the same, in the same object.

For arrays, tables and plain containers a witness is one pass over the bytes, at memory bandwidth.
It says nothing outside of the process: equal content elsewhere has another witness. Everything
else has none. Of pandas this reads what is behind the public names (``_mgr.blocks``, ``axes``),
which is the same in versions 2 and 3.
"""

from __future__ import annotations

import marshal
import sys
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterable

_ITEMS = 5_000
_DEPTH = 3
_TOO_LARGE = 1 << 60
_CONTAINERS = frozenset({list, dict, set, tuple, bytearray})
_NESTED = frozenset({list, dict, set, tuple})
_MOST_LABELS = 2_000
_LABELS = frozenset({str, int, type(None)})


def witness_size(value: Any) -> int:
    """Bytes that a witness of a value reads; -1 where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> witness_size(np.zeros(1000)), witness_size([1, 2]), witness_size(object())
    (8000, 16, -1)
    """
    kind = type(value)
    if kind in _CONTAINERS:
        return _count(value, _DEPTH) * 8
    if is_array(kind):
        return int(value.nbytes)
    if is_table(kind):
        return sum(int(getattr(one.values, "nbytes", 0)) for one in value._mgr.blocks)  # noqa: SLF001
    return -1


def witness_of(value: Any) -> object:
    """Something that is equal only as long as a value holds the same; None where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> array = np.zeros(3)
    >>> before = witness_of(array)
    >>> array[1] = 5
    >>> witness_of(array) == before
    False
    """
    kind = type(value)
    if kind in _CONTAINERS:
        return _of_container(value)
    if is_array(kind):
        return _of_array(value)
    return _of_table(value) if is_table(kind) else None


def is_array(kind: type) -> bool:
    """Whether a class is NumPy's own array, no subclass, whatever a class says of itself."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind is getattr(numpy, "ndarray", None)


def is_table(kind: type) -> bool:
    """Whether a class is pandas' own DataFrame or Series."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and (
        kind is getattr(pandas, "DataFrame", None) or kind is getattr(pandas, "Series", None)
    )


def _count(value: Any, depth: int) -> int:
    """Items of a container and of those in it; more than the limit as soon as that is sure."""
    count = len(value)
    if count > _ITEMS or not depth:
        return count if count <= _ITEMS else _TOO_LARGE
    for item in value.values() if type(value) is dict else value:
        kind = type(item)
        if kind in _NESTED:
            count += _count(item, depth - 1)
        elif kind is str or kind is bytes:
            count += len(item) // 8
        if count > _ITEMS:
            return _TOO_LARGE
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
    return digest, value.shape, value.strides, value.dtype


def _of_table(value: Any) -> object:
    manager = value._mgr  # noqa: SLF001
    found: list[object] = [_of_labels([value.name], 1)] if value.ndim == 1 else []
    for block in manager.blocks:
        found.append(_of_block(block.values))
        found.append(tuple(block.mgr_locs.as_array.tolist()))
    found += map(_of_axis, manager.axes)
    return None if any(part is None for part in found) else found


def _of_block(values: Any) -> object:
    """Witness of one block: an array, or the arrays behind an extension array."""
    if is_array(type(values)):
        return _of_array(values)
    for attributes in (("_ndarray",), ("_codes",), ("_data", "_mask")):
        held = [getattr(values, name, None) for name in attributes]
        if all(is_array(type(part)) for part in held):
            found = [_of_array(part) for part in held]
            kind = (str(values.dtype), _Same(getattr(values.dtype, "categories", None)))
            return None if None in found else (found, kind)
    # Arrow's own arrays are immutable: the column is the same while it holds the same one.
    arrow = getattr(values, "_pa_array", None)
    return None if arrow is None else _Same(arrow)


def _of_axis(axis: Any) -> object:
    """Witness of an index. It is immutable but for its name, and the array it may look at."""
    names = _of_labels(axis.names, 100)
    bounds = getattr(axis, "_range", None)
    if names is None or bounds is not None:
        return names and (names, bounds)
    if getattr(axis, "levels", None) is not None:
        return None
    values = axis._values  # noqa: SLF001
    if is_array(type(values)) and values.dtype.hasobject:
        content = _of_labels(values.tolist() if len(values) <= _MOST_LABELS else (), len(values))
    else:
        content = _of_block(values)
    return None if content is None else (names, content, _Same(axis))


def _of_labels(labels: Iterable[object], count: int) -> object:
    """Labels that are compared as they are; None if one of them is of a class of its own."""
    found = tuple(labels)
    is_plain = len(found) <= count and all(type(label) in _LABELS for label in found)
    return found if is_plain and (found or not count) else None


class _Same:
    """Equal only to itself held again: identity that cannot be reused while it is kept."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    __hash__ = None  # type: ignore[assignment]
