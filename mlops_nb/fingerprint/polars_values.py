"""Polars' frames and series, handed over as Arrow 65,536 rows at a time.

A column of the same logical type has the same digest as in pandas and Arrow. A lazy frame is a
plan, not content, and stays opaque.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mlops_nb.fingerprint.dictionary import Categories, add_codes
from mlops_nb.fingerprint.plain import attribute_of, class_path
from mlops_nb.fingerprint.scheme import (
    ROWS,
    Column,
    OpaqueValueError,
    digest_inside,
)
from mlops_nb.fingerprint.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mlops_nb.fingerprint.scheme import Pass
    from mlops_nb.model import Fingerprint

_TEXTS, _CODED = (pl.String, pl.Binary), (pl.Categorical, pl.Enum)
_WIDTHS = {pl.UInt8: np.uint8, pl.UInt16: np.uint16, pl.UInt32: np.uint32}
_NEWEST = pl.CompatLevel.newest()


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
    try:
        if series.dtype in _CODED:
            return _coded(series, tracker)
        if series.dtype in _TEXTS:
            return _texts(series, tracker)
        return _others(series, tracker)
    except pl.exceptions.PolarsError as error:
        # Polars' errors share no base with Python's.
        raise OpaqueValueError from error


def _others(series: pl.Series, tracker: Pass) -> Column:
    from mlops_nb.fingerprint.arrow_values import chunk_reader

    type_, add = chunk_reader(_as_arrow(series.slice(0, 0)).type)
    column = Column(type_, len(series))
    for piece in _pieces(series):
        tracker.take(int(piece.estimated_size()))
        add(_as_arrow(piece), column, tracker)
    return column


def _texts(series: pl.Series, tracker: Pass) -> Column:
    from mlops_nb.fingerprint.arrow_texts import add_texts, add_views, size_bytes

    column = Column("utf8" if series.dtype == pl.String else "binary", len(series))
    for piece in _pieces(series):
        if not add_views(piece.to_arrow(compat_level=_NEWEST), column, tracker):
            gathered = _as_arrow(piece)
            tracker.take(size_bytes(gathered))
            add_texts(gathered, column, tracker)
    return column


def _coded(series: pl.Series, tracker: Pass) -> Column:
    """Read codes into categories; the numbers of the codes are of this process only."""
    from mlops_nb.fingerprint.arrow_texts import missing_of
    from mlops_nb.fingerprint.arrow_values import values_of

    codes = series.to_physical()
    tracker.take(int(codes.estimated_size()))
    rows = _rows_by_code(codes)
    used = np.flatnonzero(rows >= 0)
    texts = series.gather(rows[used].tolist()).cast(pl.String).to_list()
    categories = Categories(texts, "utf8")
    numbers = np.full(len(rows), -1, np.int32)
    numbers[used] = np.arange(len(used), dtype=np.int32)
    column = Column("dict<utf8>", len(series))
    for piece in _pieces(codes):
        chunk = _as_arrow(piece)
        missing = missing_of(chunk)
        found = numbers[_present(values_of(chunk, _WIDTHS[codes.dtype]), missing)]
        add_codes(found, categories, column, tracker, missing=missing)
    return column


def _rows_by_code(codes: pl.Series) -> NDArray[np.int64]:
    """Return for each code a row that has it, -1 for none."""
    from mlops_nb.fingerprint.arrow_texts import missing_of
    from mlops_nb.fingerprint.arrow_values import values_of

    rows = np.full(int(codes.max() or 0) + 1, -1, np.int64)
    for number, piece in enumerate(_pieces(codes)):
        chunk = _as_arrow(piece)
        places = np.arange(number * ROWS, number * ROWS + len(piece))
        missing = missing_of(chunk)
        values = values_of(chunk, _WIDTHS[codes.dtype])
        if missing is not None:
            values, places = values[~missing], places[~missing]
        rows[values] = places
    return rows


def _present(values: NDArray[Any], missing: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Put code 0 where a value is missing, as anything may lie there."""
    return values if missing is None else np.where(missing, 0, values)


def _pieces(series: pl.Series) -> Iterator[pl.Series]:
    return (series.slice(start, ROWS) for start in range(0, len(series), ROWS))


def _as_arrow(series: pl.Series) -> Any:
    # Texts are laid out one after the other, which all versions of Arrow can read; the rest is
    # shared.
    return series.to_arrow(compat_level=pl.CompatLevel.oldest())


def _objects(series: pl.Series, tracker: Pass) -> Column:
    column = Column("object", len(series))
    for piece in _pieces(series):
        tracker.take(8 * len(piece))
        _, chunk, nulls = tracker.encoder.column(piece.to_list())
        column.add(chunk, nulls, None, None, None)
    return column
