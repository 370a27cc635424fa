"""Arrow's arrays and tables, and the columns of other libraries that lie in Arrow's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlops_nb.fingerprint.arrow_texts import add_texts, gap_head, missing_of, size_bytes
from mlops_nb.fingerprint.dictionary import Categories, add_codes
from mlops_nb.fingerprint.fixed_width import add_masked, add_times
from mlops_nb.fingerprint.plain import class_module
from mlops_nb.fingerprint.scheme import (
    ROWS,
    Column,
    OpaqueValueError,
    digest_inside,
    digest_of,
    quoted,
)
from mlops_nb.fingerprint.standard_values import zone_name
from mlops_nb.fingerprint.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mlops_nb.fingerprint.scheme import Pass
    from mlops_nb.model import Fingerprint

types = pa.types


def read(value: Any, cls: type, tracker: Pass) -> Fingerprint:
    """Fingerprint a table, a record batch, an array or a chunked array."""
    if class_module(cls).partition(".")[0] != "pyarrow":
        raise OpaqueValueError
    kind, names, arrays, shape = _parts(value)
    columns = [(name, str(one.type), one) for name, one in zip(names, arrays, strict=True)]
    return read_table(kind, shape, columns, read_column, tracker)


def _parts(value: Any) -> tuple[str, list[str], list[Any], tuple[int, ...]]:
    if isinstance(value, pa.Table | pa.RecordBatch):
        shape = (value.num_rows, value.num_columns)
        return "pyarrow.Table", list(value.schema.names), value.columns, shape
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return "pyarrow.Array", [""], [value], (len(value),)
    raise OpaqueValueError


def encode(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode an Arrow value inside a container."""
    found = read(value, cls, tracker)
    return tracker.encoder.composite(found.kind, [digest_inside(found)])


def read_column(values: pa.Array | pa.ChunkedArray, tracker: Pass) -> Column:
    """Read a column in chunks of 65,536 rows, wherever Arrow split it."""
    if isinstance(values, pa.Array):
        values = pa.chunked_array([values])
    while isinstance(values.type, pa.ExtensionType):
        # An extension says what the numbers mean; its name stays in the physical type.
        values = values.cast(values.type.storage_type)
    type_, add = chunk_reader(values.type)
    column = Column(type_, len(values))
    try:
        for start in range(0, len(values), ROWS):
            piece = _joined(values.slice(start, ROWS).chunks)
            tracker.take(size_bytes(piece))
            add(piece, column, tracker)
    except pa.ArrowException as error:
        # Not all of Arrow's errors are a kind of Python's.
        raise OpaqueValueError(str(values.type)) from error
    return column


def _joined(chunks: list[Any]) -> Any:
    if len(chunks) != 1:
        is_coded = types.is_dictionary(chunks[0].type)
        if is_coded:
            chunks = pa.chunked_array(chunks).unify_dictionaries().chunks
        return pa.concat_arrays(chunks)
    return chunks[0]


def chunk_reader(type_: Any) -> tuple[str, Callable[[Any, Column, Pass], None]]:
    """Find the logical type of an Arrow type, and how a chunk of it is read."""
    name = str(type_)
    if types.is_dictionary(type_):
        return f"dict<{chunk_reader(type_.value_type)[0]}>", _CodedReader()
    if types.is_integer(type_) or types.is_floating(type_):
        name = {"halffloat": "float16", "float": "float32", "double": "float64"}.get(name, name)
        return name, _numbers(type_.to_pandas_dtype())
    if types.is_timestamp(type_):
        zone = f", {_zone(type_.tz)}" if type_.tz else ""
        return f"datetime64[{type_.unit}{zone}]", _times
    if types.is_duration(type_):
        return f"timedelta64[{type_.unit}]", _times
    for test, (logical, add) in _SIMPLE.items():
        if test(type_):
            return logical or name, add
    return _nested_reader(type_)


def _zone(name: str) -> str:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return zone_name(ZoneInfo(name))
    except (ValueError, ZoneInfoNotFoundError):
        return name


def _nested_reader(type_: Any) -> tuple[str, Callable[[Any, Column, Pass], None]]:
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return f"list<{chunk_reader(type_.value_type)[0]}>", _lists
    if types.is_map(type_):
        inner = f"{chunk_reader(type_.key_type)[0]},{chunk_reader(type_.item_type)[0]}"
        return f"map<{inner}>", _maps
    if types.is_struct(type_):
        fields = [type_.field(i) for i in range(type_.num_fields)]
        inner = ",".join(f"{quoted(field.name)}:{chunk_reader(field.type)[0]}" for field in fields)
        return f"struct<{inner}>", _structs
    raise OpaqueValueError


def values_of(piece: Any, dtype: Any) -> NDArray[Any]:
    """View the numbers of an array; under a missing one lies anything."""
    buffer = piece.buffers()[1]
    if buffer is None:
        return np.zeros(len(piece), dtype)
    itemsize = np.dtype(dtype).itemsize
    return np.frombuffer(buffer, dtype, len(piece), piece.offset * itemsize)


def _numbers(dtype: Any) -> Callable[[Any, Column, Pass], None]:
    def add(piece: Any, column: Column, tracker: Pass) -> None:
        add_masked(values_of(piece, dtype), missing_of(piece), column, tracker)

    return add


def _truths(piece: Any, column: Column, tracker: Pass) -> None:
    bitmap, first = piece.buffers()[1], piece.offset
    if bitmap is None:
        values = np.zeros(len(piece), np.bool_)
    else:
        octets = np.frombuffer(bitmap, np.uint8)[first // 8 : (first + len(piece) + 7) // 8]
        bits = np.unpackbits(octets, bitorder="little")[first % 8 : first % 8 + len(piece)]
        values = bits.view(np.bool_)
    add_masked(values, missing_of(piece), column, tracker)


def _times(piece: Any, column: Column, tracker: Pass) -> None:
    add_times(values_of(piece, np.int64), missing_of(piece), column, tracker)


def _decimals(piece: Any, column: Column, tracker: Pass) -> None:
    octets = np.dtype(f"V{piece.type.byte_width}")
    add_masked(values_of(piece, octets), missing_of(piece), column, tracker)


def _lists(piece: Any, column: Column, tracker: Pass) -> None:
    missing = missing_of(piece)
    lengths = piece.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype("<u4")
    _add_nested(b"L", missing, [lengths], [piece.flatten()], column, tracker)


def _maps(piece: Any, column: Column, tracker: Pass) -> None:
    listed = pa.ListArray.from_arrays(
        _as_offsets(piece), pa.StructArray.from_arrays([piece.keys, piece.items], ["key", "item"])
    )
    missing = missing_of(piece)
    lengths = listed.value_lengths().to_numpy(zero_copy_only=False).astype("<u4")
    _add_nested(b"L", missing, [lengths], [listed.flatten()], column, tracker)


def _as_offsets(piece: Any) -> Any:
    offsets = piece.offsets
    return offsets.fill_null(0) if offsets.null_count else offsets


def _structs(piece: Any, column: Column, tracker: Pass) -> None:
    _add_nested(b"S", missing_of(piece), [], piece.flatten(), column, tracker)


def _nothing(piece: Any, column: Column, _: Pass) -> None:
    column.add(digest_of(b"Z"), len(piece), None, None, None)


def _add_nested(
    form: bytes,
    missing: NDArray[np.bool_] | None,
    buffers: list[Any],
    children: list[Any],
    column: Column,
    tracker: Pass,
) -> None:
    nulls, head = gap_head(missing)
    digests = [read_column(child, tracker).digest for child in children]
    column.add(digest_of(form, *head, *buffers, *digests), nulls, None, None, None)


class _CodedReader:
    """Reads chunks of codes; their categories are encoded again only when they are others."""

    def __init__(self) -> None:
        # Held, so that no other dictionary can lie at the same place meanwhile.
        self._dictionary: Any = None
        self._categories: Categories | None = None

    def __call__(self, piece: Any, column: Column, tracker: Pass) -> None:
        dictionary = piece.dictionary
        if self._categories is None or _place(dictionary) != _place(self._dictionary):
            type_ = chunk_reader(dictionary.type)[0]
            self._categories = Categories(dictionary.to_pylist(), type_)
            self._dictionary = dictionary
        codes = values_of(piece.indices, piece.indices.type.to_pandas_dtype())
        add_codes(codes, self._categories, column, tracker, missing=missing_of(piece.indices))


def _place(array: Any) -> list[Any]:
    """Say where an array lies in memory."""
    buffers = [(buffer.address, buffer.size) if buffer else None for buffer in array.buffers()]
    return [array.offset, len(array), *buffers]


_SIMPLE: dict[Any, tuple[str, Callable[[Any, Column, Pass], None]]] = {
    types.is_boolean: ("bool", _truths),
    types.is_string: ("utf8", add_texts),
    types.is_large_string: ("utf8", add_texts),
    types.is_binary: ("binary", add_texts),
    types.is_large_binary: ("binary", add_texts),
    types.is_fixed_size_binary: ("binary", add_texts),
    types.is_date32: ("date32", _numbers(np.int32)),
    types.is_date64: ("date64", _numbers(np.int64)),
    types.is_time32: ("", _numbers(np.int32)),
    types.is_time64: ("", _numbers(np.int64)),
    types.is_decimal: ("", _decimals),
    types.is_null: ("null", _nothing),
}
for _view, _logical in (("is_string_view", "utf8"), ("is_binary_view", "binary")):
    if hasattr(types, _view):
        _SIMPLE[getattr(types, _view)] = (_logical, add_texts)
