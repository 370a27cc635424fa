"""Arrays and indexes of pandas as columns of an Arrow table, and back as exactly what they were.

Each array is written in a way that loses nothing by construction; its specification, plain JSON,
says how to build it again. What has no such way is `Unfit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from mlops_nb.packaging import plain
from mlops_nb.packaging.fitting import Unfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Spec = dict[str, Any]

_PLAIN_ROWS = 2_000
"""Labels of columns and categories up to this number stand in the manifest."""

_NUMBERS = "biuf"
_UNITS = frozenset({"ms", "us", "ns"})


class Columns:
    """A table under construction: arrays of one length, and others beside it.

    Attributes
    ----------
    arrays, names
        In the order in which they were added; specifications refer to their places.
    sides
        Tables of other lengths.
    """

    def __init__(self, sides: list[Columns] | None = None) -> None:
        self.arrays: list[pa.Array | pa.ChunkedArray] = []
        self.names: list[str] = []
        self.sides: list[Columns] = [] if sides is None else sides

    def add(self, values: Any, name: str = "") -> Spec:
        """Add an array and return how to build it again."""
        for matches, write in _WRITERS:
            if matches(values):
                return write(self, values, name)
        raise Unfit(f"a column of type {getattr(values, 'dtype', type(values))} has no exact form")

    def put(self, array: pa.Array | pa.ChunkedArray, name: str) -> int:
        """Add an array of Arrow's and return its place."""
        self.arrays.append(array)
        self.names.append(name)
        return len(self.arrays) - 1

    def add_index(self, index: pd.Index, *, is_rows: bool) -> Spec:
        """Add an index; one that is not of the rows has a table of its own, or stands as text."""
        if type(index) is pd.RangeIndex:
            return {"k": "range", "v": [index.start, index.stop, index.step], **_name(index)}
        if isinstance(index, pd.MultiIndex):
            table, side = (self, None) if is_rows else self._side()
            return {
                "k": "multi",
                "levels": [self.add_index(level, is_rows=False) for level in index.levels],
                "codes": [
                    table.add(np.asarray(codes), f"code {place}")
                    for place, codes in enumerate(index.codes)
                ],
                "side": side,
                "names": plain.encode(list(index.names)),
            }
        freq = getattr(index, "freq", None) if isinstance(index.dtype, _TIMES) else None
        spec: Spec = {"k": "index", "freq": getattr(freq, "freqstr", None), **_name(index)}
        if not is_rows and len(index) <= _PLAIN_ROWS:
            labels = _plain_labels(index)
            if labels is not None:
                return spec | {"plain": labels, "dtype": _dtype_spec(index.dtype)}
        table, side = (self, None) if is_rows else self._side()
        spec["array"] = table.add(_array_of(index), "index")
        return spec | {"side": side}

    def _side(self) -> tuple[Columns, int]:
        self.sides.append(Columns(self.sides))
        return self.sides[-1], len(self.sides) - 1


_TIMES = (pd.DatetimeTZDtype, np.dtype)


def _name(index: pd.Index) -> Spec:
    return {"name": plain.encode(index.name)}


def _array_of(index: pd.Index) -> Any:
    values = index.array
    return values.to_numpy() if type(values).__name__ == "NumpyExtensionArray" else values


def _plain_labels(index: pd.Index) -> Any:
    dtype = index.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in _NUMBERS:
        return plain.encode(index.tolist())
    if isinstance(dtype, pd.StringDtype) or dtype == np.object_:
        try:
            return plain.encode(list(index))
        except Unfit:
            return None
    return None


def _dtype_spec(dtype: Any) -> Spec:
    if isinstance(dtype, pd.StringDtype):
        return {"storage": dtype.storage, "na": "NA" if dtype.na_value is pd.NA else "nan"}
    return {"numpy": np.dtype(dtype).str if dtype != np.object_ else "object"}


def _dtype_of(spec: Spec) -> Any:
    if "storage" in spec:
        missing = pd.NA if spec["na"] == "NA" else np.nan
        return pd.StringDtype(spec["storage"], na_value=missing)
    return np.dtype(spec["numpy"])


# --- writing ----------------------------------------------------------------------------------


def _is_numbers(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind in _NUMBERS


def _write_numbers(columns: Columns, values: Any, name: str) -> Spec:
    dtype = values.dtype
    if not dtype.isnative or dtype.itemsize > 8:  # noqa: PLR2004  # Arrow has no wider numbers
        raise Unfit(f"Parquet has no {dtype}")
    stored = values.view("u2") if dtype == np.float16 else values
    place = columns.put(pa.array(stored, from_pandas=False), name)
    return {"k": "numbers", "d": dtype.str, "at": place}


def _is_time(values: Any) -> bool:
    times = (pd.arrays.DatetimeArray, pd.arrays.TimedeltaArray)
    return isinstance(values, times) or (
        isinstance(values, np.ndarray) and values.dtype.kind in "mM"
    )


def _write_time(columns: Columns, values: Any, name: str) -> Spec:
    inner = values if isinstance(values, np.ndarray) else values._ndarray  # noqa: SLF001
    zone = getattr(getattr(values, "dtype", None), "tz", None)
    unit = np.datetime_data(inner.dtype)[0]
    # Parquet knows no seconds; as numbers they stay what they are.
    stored = pa.array(inner) if unit in _UNITS and zone is None else pa.array(inner.view("i8"))
    spec = {"k": "time", "d": inner.dtype.str, "at": columns.put(stored, name)}
    if not isinstance(values, np.ndarray):
        spec["zone"] = plain.encode(zone)
    return spec


def _write_categories(columns: Columns, values: Any, name: str) -> Spec:
    return {
        "k": "categories",
        "codes": columns.add(np.asarray(values.codes), name),
        "categories": columns.add_index(values.categories, is_rows=False),
        "ordered": bool(values.ordered),
    }


def _is_masked(values: Any) -> bool:
    return hasattr(values, "_mask") and isinstance(getattr(values, "_data", None), np.ndarray)


def _write_masked(columns: Columns, values: Any, name: str) -> Spec:
    array = pa.array(values._data, mask=values._mask, from_pandas=False)  # noqa: SLF001
    return {"k": "masked", "d": str(values.dtype), "at": columns.put(array, name)}


def _write_texts(columns: Columns, values: Any, name: str) -> Spec:
    try:
        array = pa.array(values, type=pa.large_string(), from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise Unfit(f"its texts are no Unicode ({error})") from None
    return {"k": "texts", **_dtype_spec(values.dtype), "at": columns.put(array, name)}


def _write_arrow(columns: Columns, values: Any, name: str) -> Spec:
    return {"k": "arrow", "at": columns.put(values.__arrow_array__(), name)}


def _write_periods(columns: Columns, values: Any, name: str) -> Spec:
    array = pa.array(values._ndarray)  # noqa: SLF001  # the ordinals
    return {"k": "periods", "freq": values.freqstr, "at": columns.put(array, name)}


def _write_intervals(columns: Columns, values: Any, name: str) -> Spec:
    sides = [values.left, values.right]
    left, right = (
        columns.add(_array_of(side), f"{name} {word}")
        for side, word in zip(sides, ("left", "right"), strict=True)
    )
    return {"k": "intervals", "closed": values.closed, "left": left, "right": right}


def _is_objects(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype == object


def _write_objects(columns: Columns, values: Any, name: str) -> Spec:
    """Write texts or bytes that may be missing, all in one way; no other object has a form."""
    kinds = set(map(type, values.tolist()))
    missing = "nan" if float in kinds else "none"
    present = kinds - {float, type(None)}
    is_one_kind = present <= {str} or present == {bytes}
    if not is_one_kind or {float, type(None)} <= kinds:
        raise Unfit("a column holds objects other than texts")
    gaps = np.fromiter((one is None or type(one) is float for one in values), bool, len(values))
    if float in kinds and any(type(one) is float and one == one for one in values):  # noqa: PLR0124
        raise Unfit("a column holds objects other than texts")
    kind = pa.large_binary() if present == {bytes} else pa.large_string()
    try:
        array = pa.array(values, kind, mask=gaps)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise Unfit(f"its texts are no Unicode ({error})") from None
    return {"k": "objects", "missing": missing, "at": columns.put(array, name)}


_Writer = tuple["Callable[[Any], bool]", "Callable[[Columns, Any, str], Spec]"]


def _is_a(*names: str) -> Callable[[Any], bool]:
    classes = tuple(getattr(pd.arrays, name) for name in names)
    return lambda values: isinstance(values, classes)


_WRITERS: tuple[_Writer, ...] = (
    (_is_numbers, _write_numbers),
    (_is_objects, _write_objects),
    (lambda values: isinstance(getattr(values, "dtype", None), pd.StringDtype), _write_texts),
    (_is_time, _write_time),
    (lambda values: isinstance(values, pd.Categorical), _write_categories),
    (_is_masked, _write_masked),
    (lambda values: isinstance(getattr(values, "dtype", None), pd.ArrowDtype), _write_arrow),
    (_is_a("PeriodArray"), _write_periods),
    (_is_a("IntervalArray"), _write_intervals),
)


# --- reading ----------------------------------------------------------------------------------


class Reader:
    """Arrays out of the tables that `Columns` became.

    Parameters
    ----------
    parts
        The table in pieces of some rows each, read once; its columns are in order.
    sides
        The tables beside it.
    """

    def __init__(self, parts: Iterable[pa.Table], sides: list[pa.Table]) -> None:
        self._parts = parts
        self._sides = sides
        self._kept: list[pa.ChunkedArray] | None = None

    def read(self, targets: Sequence[tuple[Any, Spec]] = ()) -> None:
        """Go through the table once, and write numbers to where they go, piece by piece.

        Each piece is let go before the next one is read, so a frame is not in memory twice.
        """
        kept: list[list[pa.Array]] = []
        types: list[pa.DataType] = []
        filled = {spec["at"] for _, spec in targets}
        start = 0
        for part in self._parts:
            kept = kept or [[] for _ in part.columns]
            types = types or part.schema.types
            stop = start + part.num_rows
            for target, spec in targets:
                _fill(target[start:stop], part.column(spec["at"]))
            for place, column in enumerate(part.columns):
                kept[place] += [] if place in filled else column.chunks
            start = stop
        pairs = zip(kept, types, strict=True)
        self._kept = [pa.chunked_array(chunks, kind) for chunks, kind in pairs]

    def array(self, spec: Spec) -> Any:
        """Build an array again."""
        return _READERS[spec["k"]](self, spec)

    def column(self, spec: Spec) -> pa.ChunkedArray:
        """Return a column of the table that was not written anywhere."""
        if self._kept is None:
            self.read()
        return cast("list[pa.ChunkedArray]", self._kept)[spec["at"]]

    def index(self, spec: Spec) -> pd.Index:
        """Build an index again."""
        if spec["k"] == "range":
            start, stop, step = spec["v"]
            return pd.RangeIndex(start, stop, step, name=_label(spec))
        side = spec.get("side")
        reader = self if side is None else Reader([self._sides[side]], self._sides)
        if spec["k"] == "multi":
            levels: Any = [self.index(level) for level in spec["levels"]]
            codes = [reader.array(codes) for codes in spec["codes"]]
            names: Any = plain.decode(spec["names"])
            return pd.MultiIndex(levels, codes, names=names, verify_integrity=False)
        name = _label(spec)
        if "plain" in spec:
            values: Any = _objects(plain.decode(spec["plain"]))
            labels: pd.Index = pd.Index(values, dtype=_dtype_of(spec["dtype"]), name=name)
            return labels
        values = reader.array(spec["array"])
        dtype = values.dtype if isinstance(values, np.ndarray) else None
        index: Any = pd.Index(values, dtype=dtype, name=name)
        if spec["freq"] is not None:
            index.freq = spec["freq"]
        return cast("pd.Index", index)


def _label(spec: Spec) -> Any:
    return plain.decode(spec["name"])


def _objects(values: Any) -> Any:
    array = np.empty(len(values), object)
    for place, value in enumerate(values):  # at once, tuples would become rows
        array[place] = value
    return array


def _fill(target: Any, column: pa.ChunkedArray) -> None:
    """Write numbers or times into an array that is there, chunk by chunk."""
    start = 0
    for chunk in column.chunks:
        target[start : start + len(chunk)] = _numpy(chunk, target.dtype)
        start += len(chunk)


def _numpy(chunk: pa.Array, dtype: np.dtype[Any]) -> Any:
    array = chunk.to_numpy(zero_copy_only=False)
    if dtype.kind in "mM" and array.dtype.kind not in "mM":
        return array.view(dtype)
    return array.view(dtype) if dtype == np.float16 else array


def _read_numbers(reader: Reader, spec: Spec) -> Any:
    target = np.empty(len(reader.column(spec)), spec["d"])
    _fill(target, reader.column(spec))
    return target


def _read_time(reader: Reader, spec: Spec) -> Any:
    target = _read_numbers(reader, spec)
    return times(target, plain.decode(spec["zone"])) if "zone" in spec else target


def times(values: Any, zone: Any) -> Any:
    """Make an array of times of pandas, of one or two dimensions."""
    if values.dtype.kind == "m":
        return pd.arrays.TimedeltaArray._simple_new(values, dtype=values.dtype)  # type: ignore[attr-defined]  # noqa: SLF001
    unit: Any = np.datetime_data(values.dtype)[0]
    dtype = values.dtype if zone is None else pd.DatetimeTZDtype(unit, zone)
    return pd.arrays.DatetimeArray._simple_new(values, dtype=dtype)  # type: ignore[attr-defined]  # noqa: SLF001


def _read_categories(reader: Reader, spec: Spec) -> Any:
    categories = reader.index(spec["categories"])
    dtype = pd.CategoricalDtype(categories, spec["ordered"])
    return pd.Categorical.from_codes(reader.array(spec["codes"]), dtype=dtype)


def _read_masked(reader: Reader, spec: Spec) -> Any:
    dtype: Any = pd.api.types.pandas_dtype(spec["d"])
    return dtype.__from_arrow__(reader.column(spec))


def _read_texts(reader: Reader, spec: Spec) -> Any:
    return _dtype_of(spec).__from_arrow__(reader.column(spec))


def _read_arrow(reader: Reader, spec: Spec) -> Any:
    return pd.arrays.ArrowExtensionArray(reader.column(spec))


def _read_periods(reader: Reader, spec: Spec) -> Any:
    ordinals = _read_numbers(reader, {"d": "<i8", "at": spec["at"]})
    return periods(ordinals, spec["freq"])


def periods(ordinals: Any, freq: str) -> Any:
    """Make an array of periods of pandas, of one or two dimensions."""
    return pd.arrays.PeriodArray._simple_new(ordinals, dtype=pd.PeriodDtype(freq))  # type: ignore[attr-defined]  # noqa: SLF001


def _read_intervals(reader: Reader, spec: Spec) -> Any:
    left, right = (reader.array(spec[side]) for side in ("left", "right"))
    return pd.arrays.IntervalArray.from_arrays(left, right, closed=spec["closed"])


def _read_objects(reader: Reader, spec: Spec) -> Any:
    column = reader.column(spec)
    values = np.empty(len(column), object)
    values[:] = column.to_numpy() if len(column) else []
    if spec["missing"] == "nan" and column.null_count:
        values[pd.isna(values)] = np.nan
    return values


_READERS: dict[str, Callable[[Reader, Spec], Any]] = {
    "numbers": _read_numbers,
    "time": _read_time,
    "categories": _read_categories,
    "masked": _read_masked,
    "texts": _read_texts,
    "arrow": _read_arrow,
    "periods": _read_periods,
    "intervals": _read_intervals,
    "objects": _read_objects,
}

__all__ = ["Columns", "Reader", "Spec", "periods", "times"]
