"""A second look at the ends of a value, when a neighbour wrote to a page that they share.

The edges of a buffer are the first and the last rows of a table or an array. If these rows have
the digests that the whole hash found for them, now that nothing is written there, then the whole
hash has read them as they are now: a look at a thousandth instead of another hash.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint import read_value
from mlops_nb.fingerprint.pages import PAGE_BYTES
from mlops_nb.fingerprint.plain import class_module
from mlops_nb.fingerprint.scheme import ROWS, Pass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlops_nb.fingerprint.memory import Region
    from mlops_nb.model import ColumnFingerprint, Fingerprint


def ends_agree(value: Any, found: Fingerprint, edges: Sequence[Region]) -> bool | None:
    """Tell whether the rows at some edges have the digests that were found.

    Parameters
    ----------
    value
        What was hashed: an array, a frame or a series, not of a subclass.
    found
        Its fingerprint.
    edges
        Pieces of its buffers, each less than a page at an end of one.

    Returns
    -------
    bool or None
        None where the edges are not the first or last rows, or these have no digests.
    """
    cls, numpy, pandas = type(value), sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and cls is numpy.ndarray:
        return _array_agrees(value, found)
    if pandas is None or (cls is not pandas.DataFrame and cls is not pandas.Series):
        return None
    if not len(value) or not found.columns or type(value.index) is pandas.MultiIndex:
        return None
    places = _columns_at(value, edges)
    if places is None:
        return None
    has_index = type(value.index) is not pandas.RangeIndex
    answers = [
        _rows_agree(value, places, found, number, has_index=has_index)
        for number in _ends(-(-len(value) // ROWS))
    ]
    return None if None in answers else all(answers)


def _ends(count: int) -> list[int]:
    """Choose the first chunk and the last two, as the last one may be shorter than a page."""
    return sorted({0, max(0, count - 2), count - 1})


def _array_agrees(value: Any, found: Fingerprint) -> bool | None:
    if not found.chunks or not value.flags.c_contiguous:
        return None
    rows = found.chunk_rows
    for number in _ends(len(found.chunks)):
        now = read_value(value[number * rows : (number + 1) * rows], Pass())
        if now.chunks != (found.chunks[number],):
            return False
    return True


def _columns_at(value: Any, edges: Sequence[Region]) -> list[int] | None:
    """Find the columns whose ends lie at edges; None if something else does."""
    manager = object.__getattribute__(value, "_mgr")
    by_region: list[tuple[Region, list[int]]] = []
    for block in manager.blocks:
        for array in _arrays_of(block.values):
            if not (array.flags.c_contiguous or array.flags.f_contiguous):
                return None
            places = block.mgr_locs.as_array.tolist() if value.ndim > 1 else [0]
            if array.ndim > 1 and array.flags.c_contiguous:
                if array.shape[1] * array.itemsize < PAGE_BYTES:
                    return None
                places = [places[0], places[-1]]
            by_region.append((_region(array), places))
    by_region += [(_region(array), []) for array in _arrays_of(manager.axes[-1].array)]
    found: set[int] = set()
    for at, _ in edges:
        held = [p for (start, length), p in by_region if start <= at < start + length]
        if not held:
            return None
        found.update(*held)
    return sorted(found)


def _arrays_of(values: Any) -> Iterable[Any]:
    """Return the arrays that have a value for every row."""
    if class_module(type(values)) == "numpy":
        return [values]
    parts = [getattr(values, name, None) for name in ("_ndarray", "_data", "_mask")]
    return [part for part in parts if class_module(type(part)) == "numpy"]


def _region(array: Any) -> Region:
    return array.__array_interface__["data"][0], int(array.nbytes)


def _rows_agree(
    value: Any, places: list[int], found: Fingerprint, number: int, *, has_index: bool
) -> bool | None:
    rows = slice(number * ROWS, (number + 1) * ROWS)
    part = value.iloc[rows] if value.ndim == 1 else value.iloc[rows, places]
    now = read_value(part, Pass())
    before = list(found.columns.values())
    chosen = before if value.ndim == 1 else [before[place] for place in places]
    if len(now.columns) != len(chosen):
        return None
    pairs = [*zip(now.columns.values(), chosen, strict=True)]
    if has_index:
        pairs += zip(now.index, found.index, strict=True)
    return _chunks_agree(pairs, number)


def _chunks_agree(
    pairs: Iterable[tuple[ColumnFingerprint, ColumnFingerprint]], number: int
) -> bool | None:
    for now, before in pairs:
        if len(before.chunks) <= number or len(now.chunks) != 1:
            return None
        if now.chunks[0] != before.chunks[number]:
            return False
    return True
