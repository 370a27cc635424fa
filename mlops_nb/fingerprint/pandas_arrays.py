"""What pandas keeps the values of columns in: NumPy blocks and its own arrays of every dtype."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlops_nb.fingerprint.dictionary import Categories, coded_column
from mlops_nb.fingerprint.fixed_width import (
    NOT_A_TIME,
    as_bytes,
    canonical,
    is_number,
    logical_type,
    masked_column,
    number_columns,
    odd_column,
    time_unit,
)
from mlops_nb.fingerprint.plain import attribute_of, class_path
from mlops_nb.fingerprint.scheme import FAILURES, ROWS, Column, OpaqueValueError, Pass, digest_of
from mlops_nb.fingerprint.standard_values import zone_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


# By identity, and kept so that no other class can get the id of one.
_OURS: dict[int, type] = {}


def is_ours(cls: type) -> bool:
    """Tell whether a class is pandas' own; a subclass or a liar elsewhere is not."""
    if id(cls) in _OURS:
        return True
    name = class_path(cls)
    if name.partition(".")[0] != "pandas" or attribute_of(name) is not cls:
        return False
    _OURS[id(cls)] = cls
    return True


def labels_of(index: pd.Index[Any]) -> list[Any]:
    """List the labels of an index as Python's objects."""
    texts = None
    if isinstance(index.dtype, pd.StringDtype):
        texts = getattr(index.array, "_pa_array", None)
    if texts is None:
        return index.tolist()
    # pandas takes five times as long.
    missing = getattr(index.dtype, "na_value", pd.NA)
    return [missing if text is None else text for text in texts.to_pylist()]


def dtype_name(dtype: Any) -> str:
    """Name how values are stored, for the schema digest."""
    if isinstance(dtype, np.dtype):
        return _numpy_name(dtype)
    if not is_ours(type(dtype)):
        return class_path(type(dtype))
    if isinstance(dtype, pd.StringDtype):
        return f"string[{dtype.storage},{getattr(dtype, 'na_value', pd.NA)}]"
    return str(dtype)


@lru_cache(256)
def _numpy_name(dtype: np.dtype[Any]) -> str:
    return str(dtype)


class Reader:
    """Reads the arrays of one pandas value in one pass."""

    def __init__(self, tracker: Pass) -> None:
        self.tracker = tracker
        self._categories: dict[int, Categories] = {}

    def physical(self, values: Any) -> str:
        """Name how an array or block is stored, with the order of its categories."""
        name = dtype_name(values.dtype)
        if type(values) is pd.Categorical:
            kept = self._categories_of(values)
            return f"{name} {kept.order.hex()} {'ordered' if values.ordered else ''}"
        return name

    def _categories_of(self, values: pd.Categorical) -> Categories:
        # Blocks and arrays live as long as their owner, so their ids are theirs meanwhile.
        kept = self._categories.get(id(values))
        if kept is None:
            kept = self._categories[id(values)] = self.categories(values.categories)
        return kept

    def categories(self, index: pd.Index[Any]) -> Categories:
        """Read the categories of a column, or a level of an index."""
        if not is_ours(type(index)) or isinstance(index, pd.MultiIndex):
            raise OpaqueValueError
        values = [None if value is pd.NaT else value for value in labels_of(index)]
        return Categories(values, _category_type(index, values))

    def columns(self, values: Any) -> list[Column]:
        """Read a block, of shape ``(columns, rows)``, or a single array of shape ``(rows,)``."""
        if type(values) is np.ndarray:
            return self._plain_columns(values if values.ndim > 1 else values[np.newaxis, :])
        if not is_ours(type(values)):
            return [Column(class_path(type(values)), len(values), is_opaque=True)]
        try:
            found = self._own_columns(values)
        except FAILURES:
            if values.ndim > 1:
                raise
            found = None
        return found or [Column(class_path(type(values)), len(values), is_opaque=True)]

    def _own_columns(self, values: Any) -> list[Column] | None:
        usual = _READERS.get(type(values).__name__)
        if usual is not None:
            return usual(self, values)
        if hasattr(values, "_pa_array"):
            from mlops_nb.fingerprint.arrow_values import read_column

            return [read_column(values._pa_array, self.tracker)]  # noqa: SLF001
        for name, read in _READERS.items():
            if isinstance(values, getattr(pd.arrays, name)):
                return read(self, values)
        return None

    def _plain_columns(self, block: NDArray[Any]) -> list[Column]:
        dtype = block.dtype
        if dtype.kind == "O":
            return [self.object_column(row) for row in block]
        type_ = logical_type(dtype)
        if is_number(dtype):
            return number_columns(block, self.tracker, type_)
        if dtype.kind in "mM" and dtype.isnative:
            return _time_columns(block, type_, self.tracker)
        return [odd_column(row, self.tracker, type_) for row in block]

    def object_column(self, values: NDArray[Any], *, is_text: bool = False) -> Column:
        """Read a column of Python objects; one of texts equals any other storage of them."""
        self.tracker.take(8 * len(values))
        column = Column("utf8" if is_text else "object", len(values))
        kinds = set()
        try:
            for start in range(0, len(values), ROWS):
                kind, chunk, nulls = self.tracker.encoder.column(values[start : start + ROWS])
                column.add(chunk, nulls, None, None, None)
                kinds.add(kind)
        except FAILURES:
            column.is_opaque = True
        if not is_text and kinds and "object" not in kinds:
            column.type = "utf8" if "utf8" in kinds else "null"
        return column

    def categorical(self, values: pd.Categorical) -> list[Column]:
        """Read codes into categories."""
        return [coded_column(values.codes, self._categories_of(values), self.tracker)]

    def texts(self, values: Any) -> list[Column]:
        """Read strings that are kept as objects."""
        return [self.object_column(values._ndarray, is_text=True)]  # noqa: SLF001

    def wrapped(self, values: Any) -> list[Column]:
        """Read what is a NumPy array inside."""
        return self._plain_columns(values._ndarray[np.newaxis, :])  # noqa: SLF001

    def masked(self, values: Any) -> list[Column]:
        """Read numbers or truth values with a mask."""
        data, mask = values._data, values._mask  # noqa: SLF001
        return [masked_column(data, mask, self.tracker, logical_type(data.dtype))]

    def intervals(self, values: Any) -> list[Column]:
        """Read both sides, chunk by chunk."""
        left, right = (self.columns(side.array)[0] for side in (values.left, values.right))
        column = Column(f"interval<{left.type},{values.closed}>", len(values))
        for pair in zip(left.chunks, right.chunks, strict=True):
            column.chunks.append(digest_of(b"S", *pair))
        column.nulls, column.low, column.high = left.nulls, left.low, right.high
        column.is_opaque = left.is_opaque or right.is_opaque
        return [column]


def _category_type(index: pd.Index[Any], values: list[object]) -> str:
    if isinstance(index, pd.RangeIndex):
        return "int64"
    if index.dtype == object:
        return "utf8" if all(type(value) is str for value in values) else "object"
    if isinstance(index.dtype, pd.StringDtype):
        return "utf8"
    return Reader(Pass()).columns(index.array[:0])[0].type


# --- times ------------------------------------------------------------------------------------


def _time_columns(block: NDArray[Any], type_: str, tracker: Pass, zone: str = "") -> list[Column]:
    columns = number_columns(block.view(np.int64), tracker, type_, is_time=True)
    if block.dtype.kind == "M":
        unit = time_unit(block.dtype)
        for column in columns:
            column.low, column.high = (_stamp(x, unit, zone) for x in (column.low, column.high))
    return columns


def _stamp(value: int | None, unit: str, zone: str) -> str | None:
    if value is None or value == NOT_A_TIME:
        return None
    # Type checkers know only units without a count.
    stamp: Any = np.datetime64(value, unit)  # type: ignore[call-overload]
    return f"{stamp}{'Z' if zone else ''}"


def _raw(values: Any) -> NDArray[Any]:
    raw: NDArray[Any] = values._ndarray  # noqa: SLF001  the only way to a block's two dimensions
    return raw if raw.ndim > 1 else raw[np.newaxis, :]


def _datetimes(reader: Reader, values: Any) -> list[Column]:
    raw, zone = _raw(values), zone_name(values.tz)
    type_ = f"datetime64[{time_unit(raw.dtype)}{', ' if zone else ''}{zone}]"
    return _time_columns(raw, type_, reader.tracker, zone)


def _timedeltas(reader: Reader, values: Any) -> list[Column]:
    raw = _raw(values)
    return _time_columns(raw, logical_type(raw.dtype), reader.tracker)


def _periods(reader: Reader, values: Any) -> list[Column]:
    return _time_columns(_raw(values), str(values.dtype), reader.tracker)


# --- sparse -----------------------------------------------------------------------------------


def _sparse(reader: Reader, values: Any) -> list[Column]:
    """Read positions and values; what is stored although it equals the filling does not count."""
    tracker = reader.tracker
    stored, fill = np.asarray(values.sp_values), np.asarray(values.fill_value)
    if stored.dtype.kind not in "biuf" or not stored.dtype.isnative:
        raise OpaqueValueError
    fill = fill.astype(stored.dtype)
    positions = values.sp_index.to_int_index().indices
    is_kept = ~np.isnan(stored) if fill != fill else stored != fill  # noqa: PLR0124
    positions, stored = positions[is_kept], stored[is_kept]
    tracker.take(positions.nbytes + stored.nbytes)
    type_ = f"sparse<{logical_type(stored.dtype)}>"
    column = Column(type_, len(values), extra=canonical(fill.reshape(1), tracker).tobytes())
    bounds = np.searchsorted(positions, np.arange(0, len(values) + ROWS, ROWS)).tolist()
    for i, (first, last) in enumerate(pairwise(bounds)):
        places = (positions[first:last] - i * ROWS).astype("<i4")
        numbers = as_bytes(canonical(np.ascontiguousarray(stored[first:last]), tracker))
        column.chunks.append(digest_of(b"R", places, numbers))
    _add_sparse_statistics(column, stored, fill)
    return [column]


def _add_sparse_statistics(column: Column, stored: NDArray[Any], fill: NDArray[Any]) -> None:
    gaps = column.rows - len(stored)
    is_missing = bool(np.isnan(fill))
    column.nulls = int(np.count_nonzero(np.isnan(stored))) + (gaps if is_missing else 0)
    present = stored if is_missing or not gaps else np.append(stored, fill)
    if len(present) and column.nulls < column.rows:
        column.low = np.fmin.reduce(present).item()
        column.high = np.fmax.reduce(present).item()
        filled = 0.0 if is_missing else float(fill) * gaps
        column.total = float(np.nansum(stored, dtype=np.float64)) + filled


# By name, because type checkers know only some of these classes.
_READERS: dict[str, Callable[[Reader, Any], list[Column]]] = {
    "Categorical": Reader.categorical,
    "DatetimeArray": _datetimes,
    "TimedeltaArray": _timedeltas,
    "PeriodArray": _periods,
    "StringArray": Reader.texts,
    "NumpyExtensionArray": Reader.wrapped,
    "IntegerArray": Reader.masked,
    "FloatingArray": Reader.masked,
    "BooleanArray": Reader.masked,
    "IntervalArray": Reader.intervals,
    "SparseArray": _sparse,
}
