"""pandas' frames, series, indexes, arrays and scalars.

Columns are read from the blocks in which pandas keeps them, through the base class's own
attributes: nothing that a subclass overrides is called, and a frame of 1,000 columns costs no
1,000 selections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlops_nb.fingerprint.dictionary import coded_column
from mlops_nb.fingerprint.fixed_width import time_unit
from mlops_nb.fingerprint.pandas_arrays import Reader, dtype_name, is_ours, labels_of
from mlops_nb.fingerprint.plain import class_module, class_path, instance_dict
from mlops_nb.fingerprint.scheme import (
    ROWS,
    Column,
    OpaqueValueError,
    OverBudgetError,
    Pass,
    as_text,
    digest_inside,
    digest_of,
    schema_digest,
    sequence_digest,
)
from mlops_nb.fingerprint.standard_values import zone_name
from mlops_nb.fingerprint.tables import distinct
from mlops_nb.model import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

_OWN_ATTRIBUTES = {"_mgr", "_attrs", "_flags", "_name", "_item_cache", "_is_copy", "_cacher"}


def read(value: Any, cls: type, tracker: Pass) -> Fingerprint:
    """Fingerprint a pandas value; raises `OpaqueValueError` for what it cannot read."""
    if issubclass(cls, pd.DataFrame):
        return _read_frame(value, cls, tracker)
    if issubclass(cls, pd.Series):
        return _read_series(value, cls, tracker)
    if not is_ours(cls):
        raise OpaqueValueError(class_path(cls))
    if issubclass(cls, pd.Index):
        return _read_index(value, tracker)
    if issubclass(cls, pd.api.extensions.ExtensionArray):
        return _read_array(value, cls, tracker)
    kind = _kind(cls)
    digest = digest_of(kind.encode(), b"\0", encode(value, cls, tracker))
    return Fingerprint(kind, as_text(digest), schema_digest(kind, ()))


def encode(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode a pandas value inside a container."""
    composite = tracker.encoder.composite
    if value is pd.NA or value is pd.NaT:
        return composite(_kind(cls), [])
    if cls is pd.Timestamp:
        stamp = value.to_datetime64()
        zone = zone_name(value.tzinfo)
        return composite("pandas.Timestamp", [int(stamp.view("i8")), time_unit(stamp.dtype), zone])
    if cls is pd.Timedelta:
        delta = value.to_timedelta64()
        return composite("pandas.Timedelta", [int(delta.view("i8")), time_unit(delta.dtype)])
    if cls is pd.Period:
        return composite("pandas.Period", [value.ordinal, value.freqstr])
    if cls is pd.Interval:
        return composite("pandas.Interval", [value.left, value.right, value.closed])
    if issubclass(cls, pd.api.extensions.ExtensionDtype) and is_ours(cls):
        if cls is pd.CategoricalDtype:
            return composite("pandas.dtype", [value.categories, value.ordered])
        return composite("pandas.dtype", [dtype_name(value)])
    if not issubclass(cls, pd.DataFrame | pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        raise OpaqueValueError(class_path(cls))
    found = read(value, cls, tracker)
    return composite(found.kind, [digest_inside(found)])


def _kind(cls: type) -> str:
    """Name a class; pandas moves its own between modules from version to version."""
    return f"pandas.{cls.__name__}" if is_ours(cls) else class_path(cls)


@dataclass(slots=True)
class _Content:
    """What was read: the parts of the digest, and columns by the text of their labels."""

    parts: list[bytes] = field(default_factory=list)
    columns: list[tuple[str, Column, bytes]] = field(default_factory=list)
    levels: list[tuple[str, Column, bytes]] = field(default_factory=list)

    def add_column(self, label: bytes, text: str, column: Column) -> None:
        digest = column.digest
        self.columns.append((text, column, digest))
        self.parts += (label, digest)

    def add_index(self, index: pd.Index[Any], tracker: Pass) -> None:
        self.parts.append(b"index")
        for name, column in zip(index.names, _index_columns(index, tracker), strict=True):
            digest = column.digest
            self.levels.append((label_text(name), column, digest))
            self.parts += (tracker.encoder.encode(name), digest)


def _result(
    kind: str, tag: str, schema: str, shape: tuple[int, ...], read_content: Callable[[], _Content]
) -> Fingerprint:
    """Read the content and make the fingerprint, without a digest if something is in the way."""
    try:
        content = read_content()
    except OverBudgetError:
        return Fingerprint(kind, "", schema, "skipped:budget", shape[0], shape)
    is_opaque = any(column.is_opaque for _, column, _ in (*content.columns, *content.levels))
    return Fingerprint(
        kind,
        "" if is_opaque else as_text(sequence_digest(tag, content.parts)),
        schema,
        "opaque" if is_opaque else "exact",
        rows=shape[0],
        shape=shape,
        columns={text: column.record(text, digest) for text, column, digest in content.columns},
        index=tuple(column.record(text, digest) for text, column, digest in content.levels),
    )


# --- frames and series ------------------------------------------------------------------------


def _read_frame(frame: object, cls: type, tracker: Pass) -> Fingerprint:
    kind, manager = _kind(cls), object.__getattribute__(frame, "_mgr")
    names, index = manager.axes
    if not is_ours(type(names)):
        raise OpaqueValueError(class_path(type(names)))
    # Labels are part of the schema, which is known for a value over the budget too.
    listed, encode_label = labels_of(names), Pass().encoder.encode
    labels, reader = [encode_label(label) for label in listed], Reader(tracker)
    blocks = [(b.values, b.mgr_locs.as_array.tolist()) for b in manager.blocks]  # noqa: PD011
    axis = [encode_label(name) for name in names.names]

    def content() -> _Content:
        found = _Content([b"rows %d" % len(index), *axis])
        columns: dict[int, Column] = {}
        for values, places in blocks:
            columns.update(zip(places, reader.columns(values), strict=True))
        texts = distinct([label_text(label) for label in listed])
        for i, (label, text) in enumerate(zip(labels, texts, strict=True)):
            found.add_column(label, text, columns[i])
        found.add_index(index, tracker)
        found.parts += _extras(frame, cls, tracker)
        return found

    schema = _frame_schema(kind, labels, blocks, reader, _index_schema(index))
    return _result(kind, kind, schema, (len(index), len(names)), content)


def _frame_schema(
    kind: str,
    labels: list[bytes],
    blocks: list[tuple[Any, list[int]]],
    reader: Reader,
    index: list[str | bytes],
) -> str:
    stored = {}
    for values, places in blocks:
        stored.update(dict.fromkeys(places, reader.physical(values)))
    columns = [part for i, label in enumerate(labels) for part in (label, stored[i])]
    return schema_digest(kind, [*columns, b"index", *index])


def _read_series(series: object, cls: type, tracker: Pass) -> Fingerprint:
    kind, manager = _kind(cls), object.__getattribute__(series, "_mgr")
    (index,) = manager.axes
    name = object.__getattribute__(series, "_name")
    (block,) = manager.blocks
    label, reader = Pass().encoder.encode(name), Reader(tracker)

    def content() -> _Content:
        found = _Content()
        found.add_column(label, label_text(name), reader.columns(block.values)[0])
        found.add_index(index, tracker)
        found.parts += _extras(series, cls, tracker)
        return found

    stored = reader.physical(block.values)
    schema = schema_digest(kind, [label, stored, b"index", *_index_schema(index)])
    return _result(kind, kind, schema, (len(index),), content)


def _extras(value: object, cls: type, tracker: Pass) -> list[bytes]:
    """Encode what a subclass from elsewhere keeps beside the data."""
    if is_ours(cls):
        return []
    attributes = instance_dict(value)
    if attributes is None:
        raise OpaqueValueError
    return [
        tracker.encoder.encode(part)
        for name in sorted(set(attributes) - _OWN_ATTRIBUTES)
        for part in (name, attributes[name])
    ]


def column_names(names: pd.Index[Any]) -> list[str]:
    """Write labels as text, each once."""
    return distinct([label_text(label) for label in labels_of(names)])


def label_text(label: object) -> str:
    """Write a label for people, without any code of a class that is not known."""
    if type(label) is str:
        return label
    if label is None:
        return ""
    if type(label) is tuple:
        return ", ".join(map(label_text, label))
    is_known = class_module(type(label)).partition(".")[0] in {"builtins", "datetime", "numpy"}
    return str(label) if is_known or is_ours(type(label)) else class_path(type(label))


# --- indexes and arrays -----------------------------------------------------------------------


def _read_index(index: pd.Index[Any], tracker: Pass) -> Fingerprint:
    def content() -> _Content:
        found = _Content()
        found.add_index(index, tracker)
        return found

    schema = schema_digest("pandas.Index", _index_schema(index))
    return _result(_kind(type(index)), "pandas.Index", schema, (len(index),), content)


def _read_array(array: Any, cls: type, tracker: Pass) -> Fingerprint:
    reader = Reader(tracker)

    def content() -> _Content:
        found = _Content()
        found.add_column(b"", "", reader.columns(array)[0])
        return found

    schema = schema_digest("pandas.array", [reader.physical(array)])
    return _result(_kind(cls), "pandas.array", schema, (len(array),), content)


def _index_schema(index: pd.Index[Any]) -> list[str | bytes]:
    if not is_ours(type(index)):
        raise OpaqueValueError(class_path(type(index)))
    levels = index.levels if isinstance(index, pd.MultiIndex) else [index]
    parts: list[str | bytes] = []
    encode_name = Pass().encoder.encode
    for level, name in zip(levels, index.names, strict=True):
        stored = "range" if isinstance(level, pd.RangeIndex) else dtype_name(level.dtype)
        parts += [encode_name(name), stored]
    return parts


def _index_columns(index: pd.Index[Any], tracker: Pass) -> list[Column]:
    reader = Reader(tracker)
    if isinstance(index, pd.MultiIndex):
        return [
            coded_column(np.asarray(codes), reader.categories(level), tracker)
            for codes, level in zip(index.codes, index.levels, strict=True)
        ]
    bounds = _range_of(index)
    if bounds is None:
        return reader.columns(index.array)
    start, step = bounds
    rows = len(index)
    column = Column("range", rows, extra=f"{start}:{start + step * rows}:{step}".encode())
    if rows:
        column.low, column.high = sorted((start, start + step * (rows - 1)))
    return [column]


def _range_of(index: pd.Index[Any]) -> tuple[int, int] | None:
    """Return start and step of an index that counts, however it is stored.

    pandas keeps some counting indexes as a range and some as numbers, and changes its mind
    from version to version.
    """
    rows = len(index)
    if isinstance(index, pd.RangeIndex):
        return _normal_range(index.start, index.step, rows)
    if not isinstance(index.array, pd.arrays.NumpyExtensionArray) or index.dtype != np.int64:
        return None
    values = index.to_numpy()
    if rows <= 1:
        return _normal_range(int(values[0]) if rows else 0, 1, rows)
    start, step = int(values[0]), int(values[1]) - int(values[0])
    if step == 0 or int(values[-1]) != start + step * (rows - 1):
        return None
    for first in range(0, rows, ROWS):
        piece = values[first : first + ROWS]
        expected = np.arange(len(piece), dtype=np.int64) * step + (start + first * step)
        if not np.array_equal(piece, expected):
            return None
    return start, step


def _normal_range(start: int, step: int, rows: int) -> tuple[int, int]:
    """Write ranges of the same labels in the same way."""
    if not rows:
        return 0, 1
    return (start, 1) if rows == 1 else (start, step)
