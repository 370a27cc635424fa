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
_FEW_CATEGORIES = 4_096
# How many chunks are handed over at once; none is copied unless the series is in many pieces.
_AT_ONCE = 16
# Polars' own layout, and the one that all versions of Arrow can read: there texts lie one after
# the other, and are copied for it.
_NEWEST, _OLDEST = pl.CompatLevel.newest(), pl.CompatLevel.oldest()


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
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        # Polars' errors share no base with Python's.
        raise OpaqueValueError from error


def _others(series: pl.Series, tracker: Pass) -> Column:
    from mlops_nb.fingerprint.arrow_values import chunk_reader

    type_, add = chunk_reader(_as_arrow(series.slice(0, 0)).type)
    column = Column(type_, len(series))
    tracker.take(int(series.estimated_size()))
    for _, piece in _arrow_pieces(series, at_once=1 if series.dtype.is_nested() else _AT_ONCE):
        tracker.step()
        add(piece, column, tracker)
    return column


def _texts(series: pl.Series, tracker: Pass) -> Column:
    from mlops_nb.fingerprint.arrow_texts import add_texts, add_views, size_bytes

    column = Column("utf8" if series.dtype == pl.String else "binary", len(series))
    for start, piece in _arrow_pieces(series, level=_NEWEST):
        if not add_views(piece, column, tracker):
            gathered = _as_arrow(series.slice(start, ROWS))
            tracker.take(size_bytes(gathered))
            add_texts(gathered, column, tracker)
    return column


def _coded(series: pl.Series, tracker: Pass) -> Column:
    """Read codes into categories; the numbers of the codes are of this process only."""
    codes = series.to_physical()
    tracker.take(int(codes.estimated_size()))
    texts = _category_texts(series)
    numbers: NDArray[np.int32] | None = None
    if texts is None:
        # There may be millions, of other columns too: only those of this one are looked up.
        rows = _rows_by_code(codes, tracker)
        used = np.flatnonzero(rows >= 0)
        texts = series.gather(rows[used].tolist()).cast(pl.String).to_list()
        numbers = np.full(len(rows), -1, np.int32)
        numbers[used] = np.arange(len(used), dtype=np.int32)
    categories = Categories(texts, "utf8")
    column = Column("dict<utf8>", len(series))
    for _, values, missing in _chunks_of_codes(codes):
        found = values if numbers is None else numbers[values]
        add_codes(found, categories, column, tracker, missing=missing)
    return column


def _category_texts(series: pl.Series) -> list[object] | None:
    """Return the categories in the order of their codes, None if there are too many."""
    kept = getattr(series.dtype, "categories", None)
    if kept is not None and not isinstance(kept, pl.Series):
        kept = kept.to_series()
    if kept is None:
        # Before Polars 1.32.
        kept = series.cat.get_categories()
    return kept.to_list() if len(kept) <= _FEW_CATEGORIES else None


def _rows_by_code(codes: pl.Series, tracker: Pass) -> NDArray[np.int64]:
    """Return for each code a row that has it, -1 for none."""
    rows = np.full(int(codes.max() or 0) + 1, -1, np.int64)
    found = np.frombuffer(tracker.scratch(8 * ROWS), np.int64, ROWS)
    for start, values, missing in _chunks_of_codes(codes):
        here = found[: len(values)]
        np.take(rows, values, out=here, mode="clip")
        # Often the first rows show every code, and then the others need no second look.
        if int(here.min()) < 0:
            is_new = here < 0 if missing is None else (here < 0) & ~missing
            new = np.flatnonzero(is_new)
            rows[values[new]] = new + start
    return rows


def _chunks_of_codes(
    codes: pl.Series,
) -> Iterator[tuple[int, NDArray[Any], NDArray[np.bool_] | None]]:
    """Read codes in parts: first row, values, which are missing."""
    from mlops_nb.fingerprint.arrow_texts import missing_of
    from mlops_nb.fingerprint.arrow_values import values_of

    for start, piece in _arrow_pieces(codes):
        missing = missing_of(piece)
        values = values_of(piece, _WIDTHS[codes.dtype])
        yield start, _present(values, missing), missing


def _present(values: NDArray[Any], missing: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Put code 0 where a value is missing, as anything may lie there."""
    return values if missing is None else np.where(missing, 0, values)


def _arrow_pieces(
    series: pl.Series, *, at_once: int = _AT_ONCE, level: Any = _OLDEST
) -> Iterator[tuple[int, Any]]:
    """Hand over a series in chunks, each with its first row; several at once, as that is slow."""
    for start in range(0, len(series), at_once * ROWS):
        block = series.slice(start, at_once * ROWS).to_arrow(compat_level=level)
        for first in range(0, len(block), ROWS):
            yield start + first, block.slice(first, ROWS)


def _as_arrow(series: pl.Series) -> Any:
    return series.to_arrow(compat_level=_OLDEST)


def _objects(series: pl.Series, tracker: Pass) -> Column:
    column = Column("object", len(series))
    tracker.take(8 * len(series))
    for start in range(0, len(series), ROWS):
        _, chunk, nulls = tracker.encoder.column(series.slice(start, ROWS).to_list())
        column.add(chunk, nulls, None, None, None)
    return column
