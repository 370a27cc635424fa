"""Polars' frames and series, handed over as Arrow 65,536 rows at a time.

A column of the same logical type has the same digest as in pandas and Arrow. A lazy frame is a
plan, not content, and stays opaque.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_nb.fingerprint.plain import attribute_of, class_path
from mlops_nb.fingerprint.scheme import (
    ROWS,
    Column,
    OpaqueValueError,
    digest_inside,
)
from mlops_nb.fingerprint.tables import read_table

if TYPE_CHECKING:
    from mlops_nb.fingerprint.scheme import Pass
    from mlops_nb.model import Fingerprint


def read(value: Any, cls: type, tracker: Pass) -> Fingerprint:
    """Fingerprint a data frame or a series."""
    if attribute_of(class_path(cls)) is not cls or cls not in {pl.DataFrame, pl.Series}:
        raise OpaqueValueError(class_path(cls))
    series = value.get_columns() if cls is pl.DataFrame else [value]
    shape = value.shape
    kind = f"polars.{cls.__name__}"
    columns = [(one.name, str(one.dtype), one) for one in series]
    return read_table(kind, shape, columns, read_column, tracker, head=[b"rows %d" % shape[0]])


def encode(value: Any, cls: type, tracker: Pass) -> bytes:
    """Encode a frame or a series inside a container."""
    found = read(value, cls, tracker)
    return tracker.encoder.composite(found.kind, [digest_inside(found)])


def read_column(series: pl.Series, tracker: Pass) -> Column:
    """Read a column in chunks of 65,536 rows, wherever Polars split it."""
    if series.dtype == pl.Object:
        return _objects(series, tracker)
    from mlops_nb.fingerprint.arrow_values import chunk_reader

    try:
        type_, add = chunk_reader(_as_arrow(series.slice(0, 0)).type)
        column = Column(type_, len(series))
        for start in range(0, len(series), ROWS):
            piece = series.slice(start, ROWS)
            tracker.take(int(piece.estimated_size()))
            add(_as_arrow(piece), column, tracker)
    except pl.exceptions.PolarsError as error:
        # Polars' errors share no base with Python's.
        raise OpaqueValueError from error
    return column


def _as_arrow(series: pl.Series) -> Any:
    # Texts are laid out one after the other, which all versions of Arrow can read; the rest is
    # shared.
    return series.to_arrow(compat_level=pl.CompatLevel.oldest())


def _objects(series: pl.Series, tracker: Pass) -> Column:
    column = Column("object", len(series))
    for start in range(0, len(series), ROWS):
        tracker.take(8 * min(ROWS, len(series) - start))
        _, chunk, nulls = tracker.encoder.column(series.slice(start, ROWS).to_list())
        column.add(chunk, nulls, None, None, None)
    return column
