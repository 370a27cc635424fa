"""Columns of any library, read in parts for a comparison cell by cell."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_64_intdigest

from mlops_nb.fingerprint.object_chunks import gaps_of
from mlops_nb.fingerprint.plain import class_module
from mlops_nb.fingerprint.scheme import ROWS, OpaqueValueError, Pass

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    # The values of some rows: numbers of one dtype, or Python objects; and which are missing.
    Part = tuple[NDArray[Any] | list[Any], NDArray[np.bool_]]

INDEX = "\0index "
"""Begins the names of the levels of an index, kept apart from those of columns."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFTS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_GAP = np.uint64(0x5851F42D4C957F2D)
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass(frozen=True, slots=True)
class Cells:
    """A column whose rows can be read in parts.

    Attributes
    ----------
    rows, width
        Length, and values in a row: 1 but for an array of several axes.
    stored
        Its physical type.
    part
        Reads the rows from a first to before a last one.
    """

    rows: int
    width: int
    stored: str
    part: Callable[[int, int], Part]


def cells_of(value: Any) -> dict[str, Cells]:
    """Return the columns of a value by the names that its fingerprint gives them.

    Raises
    ------
    OpaqueValueError
        The value is not of a class whose cells can be read without code of somebody.
    """
    cls = type(value)
    if cls is np.ndarray or cls is np.memmap:
        return {"": _array_cells(value)}
    for library, read in _LIBRARIES.items():
        if library in sys.modules and class_module(cls).partition(".")[0] == library:
            return read(value, cls)
    raise OpaqueValueError


def index_cells(value: Any) -> dict[str, Cells]:
    """Return the levels of the row labels, by number."""
    if "pandas" not in sys.modules or class_module(type(value)).partition(".")[0] != "pandas":
        return {}
    levels = value.index.to_frame(index=False, name=range(value.index.nlevels))
    return {f"{INDEX}{i}": _series_cells(levels.iloc[:, i]) for i in range(levels.shape[1])}


def differing(
    was: Cells, now: Cells, start: int, stop: int, *, are_gaps_alike: bool
) -> tuple[int, NDArray[np.intp]]:
    """Compare some rows: how many cells differ, and in which rows, counted from `start`.

    Missing objects of several kinds, as None and NaN, are alike in a column of texts but not
    in one of any objects.
    """
    old, old_missing = was.part(start, stop)
    new, new_missing = now.part(start, stop)
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        is_equal = _are_equal(old, new)
    else:
        is_equal = _are_objects_equal(_as_list(old), _as_list(new))
    is_missing = old_missing | new_missing
    are_numbers = isinstance(old, np.ndarray) or isinstance(new, np.ndarray)
    if (are_gaps_alike or are_numbers) and is_missing.any():
        is_equal = np.where(is_missing, old_missing & new_missing, is_equal)
    is_different = ~is_equal.reshape(stop - start, -1)
    return int(np.count_nonzero(is_different)), np.flatnonzero(is_different.any(axis=1))


def row_digests(columns: dict[str, Cells], names: list[str]) -> NDArray[np.uint64]:
    """Digest each row, so that equal rows have equal numbers."""
    rows = columns[names[0]].rows
    digests = np.zeros(rows, np.uint64)
    for start in range(0, rows, ROWS):
        stop = min(start + ROWS, rows)
        for name in names:
            hashes = cell_digests(*columns[name].part(start, stop)).reshape(stop - start, -1)
            for cell in hashes.T:
                digests[start:stop] = _mixed(digests[start:stop] * _MIX + cell)
    return digests


def _are_equal(old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.bool_]:
    """Compare numbers; of one dtype bit by bit, but any NaN equals any other."""
    kinds = {old.dtype.kind, new.dtype.kind}
    if old.dtype == new.dtype and old.dtype.itemsize in _UNSIGNED:
        unsigned = _UNSIGNED[old.dtype.itemsize]
        equal: NDArray[np.bool_] = np.ascontiguousarray(old).view(unsigned) == (
            np.ascontiguousarray(new).view(unsigned)
        )
    elif kinds == {"i", "u"}:
        # As one type they would be rounded to floats.
        equal = (old >= 0) & (new >= 0) & (old.astype(np.uint64) == new.astype(np.uint64))
    else:
        equal = np.equal(old, new)
        if "f" in kinds and kinds & {"i", "u"}:
            # Large integers are rounded on the way to a float, so the way back has to agree.
            equal &= _survives(old, new)
    if kinds <= {"f", "c"}:
        equal |= np.isnan(old) & np.isnan(new)
    return equal


def _survives(old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.bool_]:
    integers, floats = (new, old) if old.dtype.kind == "f" else (old, new)
    with np.errstate(invalid="ignore"):
        survives: NDArray[np.bool_] = floats.astype(integers.dtype) == integers
    return survives


def _are_objects_equal(old: list[Any], new: list[Any]) -> NDArray[np.bool_]:
    encode = Pass().encoder.encode
    return np.fromiter(
        (
            a == b if type(a) is str and type(b) is str else encode(a) == encode(b)
            for a, b in zip(old, new, strict=True)
        ),
        np.bool_,
        len(old),
    )


def cell_digests(values: NDArray[Any] | list[Any], missing: NDArray[np.bool_]) -> Any:
    """Digest each cell, so that equal ones have equal numbers; the missing ones have one."""
    if isinstance(values, np.ndarray) and values.dtype.itemsize in _UNSIGNED:
        digests = np.ascontiguousarray(values).view(_UNSIGNED[values.dtype.itemsize])
        digests = digests.astype(np.uint64)
        if values.dtype.kind == "f":
            digests[np.isnan(values)] = np.uint64(0x7FF8)
    else:
        encode = Pass().encoder.encode
        listed = _as_list(values)
        digests = np.fromiter(
            (xxh3_64_intdigest(encode(value)) for value in listed), np.uint64, len(listed)
        )
    return np.where(missing.reshape(digests.shape), _GAP, _mixed(digests))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in _SHIFTS:
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(31))


def _as_list(values: NDArray[Any] | list[Any]) -> list[Any]:
    return values.reshape(-1).tolist() if isinstance(values, np.ndarray) else values


# --- libraries --------------------------------------------------------------------------------


def _array_cells(array: NDArray[Any]) -> Cells:
    if array.dtype.names is not None or not array.size:
        raise OpaqueValueError
    rows = array.reshape(1) if not array.ndim else array
    width = math.prod(rows.shape[1:])
    # Slices before folding: that copies where the rows are not in one piece.
    return Cells(
        len(rows),
        width,
        str(array.dtype),
        lambda first, last: _plain_part(rows[first:last].reshape(last - first, -1)),
    )


def _plain_part(values: NDArray[Any]) -> Part:
    if values.dtype.kind in "mM":
        return values, np.isnat(values)
    if values.dtype.kind in "biufc":
        return values, np.zeros(values.shape, np.bool_)
    listed = values.reshape(-1).tolist()
    return listed, np.array(gaps_of(listed), np.bool_)


def _pandas_cells(value: Any, cls: type) -> dict[str, Cells]:
    import pandas as pd

    from mlops_nb.fingerprint.pandas_arrays import is_ours
    from mlops_nb.fingerprint.pandas_values import column_names, label_text

    if cls is pd.Series:
        return {label_text(value.name): _series_cells(value)}
    if cls is not pd.DataFrame or not is_ours(type(value.columns)):
        raise OpaqueValueError
    names = column_names(value.columns)
    return {name: _series_cells(value.iloc[:, i]) for i, name in enumerate(names)}


def _series_cells(series: Any) -> Cells:
    from mlops_nb.fingerprint.pandas_arrays import dtype_name

    def part(first: int, last: int) -> Part:
        values = series.array[first:last]
        if type(values).__name__ == "NumpyExtensionArray":
            return _plain_part(values.to_numpy())
        if hasattr(values, "_mask") and values.dtype.kind in "biuf":
            return values._data, values._mask  # noqa: SLF001
        if values.dtype.kind in "mM" and hasattr(values, "_ndarray"):
            return _plain_part(values._ndarray)  # noqa: SLF001
        listed = values.tolist()
        return listed, np.array(gaps_of(listed), np.bool_)

    return Cells(len(series), 1, dtype_name(series.dtype), part)


def _arrow_cells(value: Any, _: type) -> dict[str, Cells]:
    import pyarrow as pa

    if isinstance(value, pa.Table | pa.RecordBatch):
        named = zip(value.schema.names, value.columns, strict=True)
        return {name: _listed_cells(column, str(column.type)) for name, column in named}
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return {"": _listed_cells(value, str(value.type))}
    raise OpaqueValueError


def _listed_cells(column: Any, stored: str) -> Cells:
    def part(first: int, last: int) -> Part:
        listed = column.slice(first, last - first).to_pylist()
        missing = np.fromiter((value is None for value in listed), np.bool_, len(listed))
        return _narrowed(listed, missing)

    return Cells(len(column), 1, stored, part)


def _polars_cells(value: Any, cls: type) -> dict[str, Cells]:
    import polars as pl

    if cls is pl.Series:
        return {value.name: _polars_series(value)}
    if cls is pl.DataFrame:
        return {series.name: _polars_series(series) for series in value.get_columns()}
    raise OpaqueValueError


def _polars_series(series: Any) -> Cells:
    def part(first: int, last: int) -> Part:
        piece = series.slice(first, last - first)
        missing = piece.is_null().to_numpy()
        return _narrowed(piece.to_list(), missing)

    return Cells(len(series), 1, str(series.dtype), part)


def _narrowed(listed: list[Any], missing: NDArray[np.bool_]) -> Part:
    """Turn Python numbers of one type into an array, which is faster and spans dtypes."""
    kinds = {type(value) for value in listed} - {type(None)}
    for cls, dtype in ((int, np.int64), (float, np.float64), (bool, np.bool_)):
        if kinds == {cls}:
            filled = [cls() if value is None else value for value in listed]
            try:
                return np.array(filled, dtype), missing
            except OverflowError:
                break
    return listed, missing


_LIBRARIES: dict[str, Callable[[Any, type], dict[str, Cells]]] = {
    "pandas": _pandas_cells,
    "pyarrow": _arrow_cells,
    "polars": _polars_cells,
}
