"""Frames, series and indexes of pandas as Parquet, and back as exactly what they were.

Labels, categories and what else Parquet does not know stand beside it. The blocks of a frame come
back in their own order of memory, because sums over rows depend on it in the last digit.
"""

from __future__ import annotations

import io
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mlops_nb.fingerprint import fingerprint
from mlops_nb.packaging import plain
from mlops_nb.packaging.columns import Columns, Reader, Spec, periods, times
from mlops_nb.packaging.fitting import Unfit, failures, unequal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlops_nb.packaging.places import Place

CHECKED_ROWS = 1_000
"""Rows of a large frame that are written and read back before it is trusted to this format."""

_SMALL_CELLS = 100_000
_GROUP_BYTES = 64 << 20
_FILE = "value.parquet"
# The last two come with a pickle that was read.
_KEPT_BY_PANDAS = frozenset(
    {"_mgr", "_attrs", "_flags", "_name", "_item_cache", "_cacher", "_typ", "_metadata"}
)


def fits(value: object) -> bool:
    """Tell whether this format is meant for a value."""
    return type(value) in {pd.DataFrame, pd.Series} or isinstance(value, pd.Index)


def write(value: Any, place: Place) -> dict[str, Any]:
    """Write a value, after a round trip of all of it, or of its first rows if it is large.

    Raises
    ------
    Unfit
        It would not come back as it is.
    """
    if extra_attribute(value):
        raise Unfit("it has an attribute of its own")
    is_small = value.size <= _SMALL_CELLS
    sample = value if is_small else _first_rows(value)
    if not is_same(sample, _back(sample)):
        raise unequal("the frame")
    columns = Columns()
    detail = _describe(value, columns)
    tables = [columns, *columns.sides]
    for number, table in enumerate(tables):
        _write_table(_table(table), place.file(_file_name(number)))
    return detail | {"tables": len(tables)}


def read(place: Place, detail: dict[str, Any]) -> Any:
    """Read what `write` wrote."""
    files = [
        pq.ParquetFile(place.file(_file_name(number)), memory_map=True)
        for number in range(detail["tables"])
    ]
    sides = [file.read() for file in files[1:]]
    return _build(detail, Reader(_groups(files[0]), sides))


def _groups(file: pq.ParquetFile) -> Iterator[pa.Table]:
    yield from (file.read_row_group(place) for place in range(file.num_row_groups))
    if not file.num_row_groups:
        yield file.schema_arrow.empty_table()


def extra_attribute(value: Any) -> str:
    """Name an attribute that somebody gave a frame, and that pandas drops; empty if none."""
    extra = set(getattr(value, "__dict__", {})) - _KEPT_BY_PANDAS
    return min(extra) if extra and not isinstance(value, pd.Index) else ""


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values of pandas are the same, to the last label and order of memory."""
    if type(one) is not type(other):
        return False
    if isinstance(one, pd.Index):
        return _is_same_index(one, other)
    labels = [(one.index, other.index)]
    if isinstance(one, pd.DataFrame):
        labels.append((one.columns, other.columns))
    found = fingerprint(one)
    return (
        all(_is_same_index(*pair) for pair in labels)
        and _facts(one) == _facts(other)
        and found.assurance == "exact"
        and found.digest == fingerprint(other).digest
    )


def _first_rows(value: Any) -> Any:
    return value[:CHECKED_ROWS] if isinstance(value, pd.Index) else value.iloc[:CHECKED_ROWS]


def _facts(value: Any) -> list[object]:
    """List what a fingerprint may not tell apart."""
    dtypes = list(value.dtypes) if isinstance(value, pd.DataFrame) else [value.dtype, value.name]
    blocks = [
        (block.mgr_locs.as_array.tolist(), _order(block.values), block.values.ndim)  # noqa: PD011
        for block in value._mgr.blocks  # noqa: SLF001
    ]
    flags = value.flags.allows_duplicate_labels
    ordered = [getattr(dtype, "ordered", None) for dtype in value._mgr.get_dtypes()]  # noqa: SLF001
    return [dtypes, list(map(str, dtypes)), blocks, flags, ordered, plain.encode(value.attrs)]


def _is_same_index(one: Any, other: Any) -> bool:
    if type(one) is not type(other) or not one.identical(other) or one.dtype != other.dtype:
        return False
    if plain.encode(list(one.names)) != plain.encode(list(other.names)):
        return False
    if isinstance(one, pd.MultiIndex):
        pairs = zip(one.levels, other.levels, strict=True)
        codes = zip(one.codes, other.codes, strict=True)
        return all(_is_same_index(*pair) for pair in pairs) and all(
            np.array_equal(*pair) for pair in codes
        )
    if isinstance(one, pd.CategoricalIndex) and isinstance(other, pd.CategoricalIndex):
        return _is_same_index(one.categories, other.categories) and one.ordered == other.ordered
    has_types = one.dtype != object or [*map(type, one)] == [*map(type, other)]
    return has_types and getattr(one, "freq", None) == getattr(other, "freq", None)


# --- writing ----------------------------------------------------------------------------------


def _describe(value: Any, columns: Columns) -> dict[str, Any]:
    if isinstance(value, pd.Index):
        return {"kind": "index", "index": columns.add_index(value, is_rows=True)}
    detail: dict[str, Any] = {
        "attrs": plain.encode(value.attrs),
        "allows_duplicate_labels": bool(value.flags.allows_duplicate_labels),
        "rows": len(value),
    }
    if isinstance(value, pd.Series):
        detail |= {"kind": "series", "name": plain.encode(value.name)}
        detail["array"] = columns.add(value._mgr.blocks[0].values, "values")  # noqa: SLF001
    else:
        detail |= {"kind": "frame", "columns": columns.add_index(value.columns, is_rows=False)}
        detail["blocks"] = list(_blocks(value, columns))
    return detail | {"index": columns.add_index(value.index, is_rows=True)}


def _blocks(frame: pd.DataFrame, columns: Columns) -> Iterable[Spec]:
    names = _column_names(frame.columns)
    for block in frame._mgr.blocks:  # noqa: SLF001  # how the columns lie in memory
        values, places = block.values, block.mgr_locs.as_array.tolist()  # noqa: PD011
        if values.ndim == 1:
            specs = [columns.add(values, names[places[0]])]
        else:
            rows = zip(values, places, strict=True)
            specs = [columns.add(_row(row), names[at]) for row, at in rows]
        yield {"places": places, "order": _order(values), "dims": values.ndim, "specs": specs}


def _row(row: Any) -> Any:
    return row.to_numpy() if type(row).__name__ == "NumpyExtensionArray" else row


def _order(values: Any) -> str:
    """Tell along which side of a block the memory runs."""
    inner = values if isinstance(values, np.ndarray) else getattr(values, "_ndarray", None)
    if inner is None or inner.ndim == 1 or inner.flags.c_contiguous:
        return "C"
    strides = [abs(stride) for stride in inner.strides]
    return "C" if strides[0] > strides[1] else "F"


def _column_names(labels: pd.Index) -> list[str]:
    """Name the columns of the file as the frame's, where it can have such names."""
    texts = list(labels)
    is_usual = all(type(one) is str and one.isprintable() for one in texts)
    if is_usual and len(set(texts)) == len(texts):
        return texts
    return [f"column {place}" for place in range(len(texts))]


def _table(columns: Columns) -> pa.Table:
    # Names are for people who open the file: places count.
    names, seen = [], set()
    for place, name in enumerate(columns.names):
        unique = f"{name} ({place})" if name in seen else name
        seen.add(unique)
        names.append(unique)
    return pa.table(columns.arrays, names=names)


def _write_table(table: pa.Table, target: Any) -> None:
    rows = table.num_rows or 1
    texts = [
        field.name
        for field in table.schema
        if pa.types.is_large_string(field.type) or pa.types.is_string(field.type)
    ]
    pq.write_table(
        table,
        target,
        row_group_size=max(1, rows * _GROUP_BYTES // max(table.nbytes, _GROUP_BYTES)),
        compression={name: "zstd" if name in texts else "none" for name in table.column_names}
        or "none",
        use_dictionary=texts,
        write_statistics=False,
        store_schema=True,
    )


def _file_name(number: int) -> str:
    return f"labels-{number}.parquet" if number else _FILE


def _back(value: Any) -> Any:
    """Write and read in memory."""
    columns = Columns()
    detail = _describe(value, columns)
    tables = []
    for table in (columns, *columns.sides):
        target = io.BytesIO()
        try:
            _write_table(_table(table), target)
            tables.append(pq.read_table(io.BytesIO(target.getvalue())))
        except failures() as error:
            raise Unfit(f"Parquet cannot hold it ({error})") from None
    try:
        return _build(detail, Reader(tables[:1], tables[1:]))
    except failures() as error:
        raise Unfit(f"it cannot be built again from Parquet ({error})") from None


# --- reading ----------------------------------------------------------------------------------


def _build(detail: dict[str, Any], reader: Reader) -> Any:
    value: Any
    blocks = detail.get("blocks", ())
    made = [_empty_block(block, detail["rows"]) for block in blocks]
    pairs = [
        pair for block, values in zip(blocks, made, strict=True) for pair in _rows(block, values)
    ]
    reader.read(pairs)
    index = reader.index(detail["index"])
    if detail["kind"] == "index":
        return index
    if detail["kind"] == "series":
        values = reader.array(detail["array"])
        dtype = values.dtype
        value = pd.Series(values, index, dtype, plain.decode(detail["name"]), copy=False)
    else:
        whole = [
            (_block(block, values, detail["rows"], reader), np.array(block["places"], np.intp))
            for block, values in zip(blocks, made, strict=True)
        ]
        value = _frame(whole, index, reader.index(detail["columns"]))
    value.attrs = plain.decode(detail["attrs"])
    if not detail["allows_duplicate_labels"]:
        value.flags.allows_duplicate_labels = False
    return value


def _empty_block(block: Spec, rows: int) -> Any:
    """Make room for a block of numbers; None for any other block."""
    first = block["specs"][0]
    if block["dims"] == 1 or first["k"] == "objects":
        return None
    shape = (len(block["specs"]), rows)
    return np.empty(shape, first.get("d", "<i8"), order=block["order"])


def _rows(block: Spec, values: Any) -> Iterable[tuple[Any, Spec]]:
    return () if values is None else zip(values, block["specs"], strict=True)


def _block(block: Spec, values: Any, rows: int, reader: Reader) -> Any:
    specs = block["specs"]
    first = specs[0]
    if block["dims"] == 1:
        return reader.array(first)
    if values is None:
        values = np.empty((len(specs), rows), object, order=block["order"])
        for row, spec in zip(values, specs, strict=True):
            row[:] = reader.array(spec)
        return values
    if first["k"] == "periods":
        return periods(values, first["freq"])
    return times(values, plain.decode(first["zone"])) if "zone" in first else values


def _frame(blocks: list[tuple[Any, Any]], index: pd.Index, labels: pd.Index) -> pd.DataFrame:
    made: Any
    if find_spec("pandas.api.internals") is not None:
        make = import_module("pandas.api.internals").create_dataframe_from_blocks
        made = make(blocks, index, labels)
    else:  # before pandas 3
        make = import_module("pandas.core.internals.api").make_block
        manager = import_module("pandas.core.internals.managers").BlockManager
        parts = tuple(make(values, placement) for values, placement in blocks)
        made = pd.DataFrame(manager(parts, [labels, index]))
    return cast("pd.DataFrame", made)


__all__ = ["extra_attribute", "fits", "is_same", "read", "write"]
