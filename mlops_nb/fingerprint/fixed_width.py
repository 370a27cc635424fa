"""Columns of numbers, truth values and times: canonical bytes and statistics in one pass.

A chunk of 65,536 numbers stays in the processor's cache, so that its statistics cost a fraction
of reading it from memory; and a slab of short columns is reduced in one call, because a call for
each column would cost more than its bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_128

from mlops_nb.fingerprint.scheme import ROWS, Column, OpaqueValueError, digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mlops_nb.fingerprint.scheme import Pass

NOT_A_TIME = -(2**63)

_SINGLE, _DOUBLE = 4, 8
_X87_MANTISSA = 63
_LONG_ROW = 1024

_least_of, _greatest_of = np.minimum.reduce, np.maximum.reduce


def _bare_einsum() -> Any:
    """Find einsum without its layer of Python, which costs as much as a tenth of a hash."""
    for library in ("_core", "core"):
        found = getattr(getattr(np, library, None), "multiarray", None)
        if found is not None and hasattr(found, "c_einsum"):
            return found.c_einsum
    return np.einsum


_einsum = _bare_einsum()

_QUIET_NAN: dict[str, tuple[str, int]] = {
    "float16": ("u2", 0x7E00),
    "float32": ("u4", 0x7FC00000),
    "float64": ("u8", 0x7FF8000000000000),
}


@lru_cache(256)
def logical_type(dtype: np.dtype[Any]) -> str:
    """Name what a dtype means, whatever its byte order.

    Examples
    --------
    >>> logical_type(np.dtype(">i4")), logical_type(np.dtype("M8[ns]"))
    ('int32', 'datetime64[ns]')
    """
    if dtype.kind in "biuc":
        return dtype.name
    if dtype.kind == "f":
        # A long double has another layout on every platform.
        return (
            dtype.name if dtype.itemsize <= _DOUBLE else f"longdouble{np.finfo(dtype).nmant + 1}"
        )
    if dtype.kind in "mM":
        return f"{'timedelta64' if dtype.kind == 'm' else 'datetime64'}[{time_unit(dtype)}]"
    if dtype.kind in "SUV" and dtype.names is None and dtype.subdtype is None:
        return f"{ {'S': 'bytes', 'U': 'text', 'V': 'void'}[dtype.kind] }{dtype.itemsize}"
    raise OpaqueValueError


def time_unit(dtype: np.dtype[Any]) -> str:
    """Return the unit of a time dtype, as ``"ns"`` or ``"15m"``."""
    unit, count = np.datetime_data(dtype)
    return unit if count == 1 else f"{count}{unit}"


def is_number(dtype: np.dtype[Any]) -> bool:
    """Whether columns of the dtype are read in slabs (the others go one by one)."""
    kind = dtype.kind
    return dtype.isnative and (
        kind in "biu" or (kind == "f" and _SINGLE <= dtype.itemsize <= _DOUBLE)
    )


def number_columns(
    block: NDArray[Any], tracker: Pass, type_: str, *, is_time: bool = False
) -> list[Column]:
    """Read a block of numbers.

    Parameters
    ----------
    block
        Shape ``(columns, rows)``, of a dtype for which `is_number` holds.
    tracker
        Counts the bytes and lends memory.
    type_
        Logical type of all its columns.
    is_time
        Whether the smallest int64 means "missing".

    Returns
    -------
    list of Column
        In the order of the block.
    """
    width, rows = block.shape
    tracker.take(block.size * block.itemsize)
    columns = [Column(type_, rows) for _ in range(width)]
    summarise = _SUMMARIES["time" if is_time else block.dtype.kind]
    is_contiguous = block.strides[1] == block.itemsize or rows == 1
    with np.errstate(all="ignore"):
        if summarise is _add_floats and is_contiguous and rows > ROWS // 2:
            for row, column in zip(block, columns, strict=True):
                _add_long_floats(row, column, tracker)
            return columns
        for start in range(0, rows, ROWS):
            stop = min(start + ROWS, rows)
            slab = max(1, ROWS // (stop - start))
            if not is_contiguous:
                # Neighbours in memory belong to other columns: read whole cache lines.
                slab = max(slab, 64 // block.itemsize)
            for first in range(0, width, slab):
                tracker.step()
                piece = block[first : first + slab, start:stop]
                if not is_contiguous:
                    piece = _copied(piece, tracker)
                summarise(piece, columns[first : first + slab], tracker)
    return columns


def number_column(
    values: NDArray[Any], tracker: Pass, type_: str, *, is_time: bool = False
) -> Column:
    """Read one column of numbers, of any stride."""
    return number_columns(values[np.newaxis, :], tracker, type_, is_time=is_time)[0]


def masked_column(
    values: NDArray[Any], mask: NDArray[np.bool_], tracker: Pass, type_: str
) -> Column:
    """Read numbers with a mask of the missing ones; what lies under the mask does not count."""
    rows = len(values)
    tracker.take(values.size * values.itemsize)
    column = Column(type_, rows)
    for start in range(0, rows, ROWS):
        tracker.step()
        piece = np.ascontiguousarray(values[start : start + ROWS])
        missing = np.ascontiguousarray(mask[start : start + ROWS])
        add_masked(piece, missing, column, tracker)
    return column


def add_masked(
    piece: NDArray[Any], missing: NDArray[np.bool_] | None, column: Column, tracker: Pass
) -> None:
    """Add one contiguous chunk of numbers, some perhaps missing, to a column."""
    nulls = 0 if missing is None else int(np.count_nonzero(missing))
    with np.errstate(all="ignore"):
        if missing is not None and nulls:
            _add_gaps(piece, missing, nulls, column, tracker)
        elif is_number(piece.dtype):
            _SUMMARIES[piece.dtype.kind](piece[np.newaxis, :], [column], tracker)
        else:
            _add_odd(piece, column, tracker)


def add_times(
    piece: NDArray[np.int64], missing: NDArray[np.bool_] | None, column: Column, tracker: Pass
) -> None:
    """Add one contiguous chunk of times, missing ones by a mask or as `NOT_A_TIME`."""
    if missing is not None and missing.any():
        piece = piece.copy()
        np.copyto(piece, NOT_A_TIME, where=missing)
    _add_times(piece[np.newaxis, :], [column], tracker)


def odd_column(values: NDArray[Any], tracker: Pass, type_: str) -> Column:
    """Read a column of half, long double, complex or foreign-endian numbers, or of raw bytes."""
    tracker.take(values.size * values.itemsize)
    column = Column(type_, len(values))
    for start in range(0, len(values), ROWS):
        tracker.step()
        piece = native(np.ascontiguousarray(values[start : start + ROWS]))
        add_masked(piece, None, column, tracker)
    return column


def native(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values in little-endian order, the same array where they are."""
    return values if values.dtype.str[0] != ">" else values.astype(values.dtype.newbyteorder("<"))


def as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """View a contiguous array as bytes; times and texts do not export a buffer themselves."""
    return values.reshape(-1).view(np.uint8) if values.size else np.empty(0, np.uint8)


def canonical(values: NDArray[Any], tracker: Pass) -> NDArray[Any]:
    """Return contiguous numbers with every NaN the same; the same array where they are already.

    The result may lie in the scratch memory of `tracker`.
    """
    if values.dtype.kind == "c":
        values = values.view(values.real.dtype)
    if values.dtype.kind != "f":
        return values
    if values.itemsize > _DOUBLE:
        return _without_padding(values)
    # NaN makes the minimum NaN: the cheapest question that can be asked.
    if not values.size or not np.isnan(np.minimum.reduce(values, axis=None)):
        return values
    missing = np.isnan(values)
    if _has_quiet_nans(values, int(np.count_nonzero(missing))):
        return values
    copied = lent(tracker, values)
    np.copyto(copied, values)
    np.copyto(copied, np.nan, where=missing)
    return copied


def packed(missing: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pack a mask in bits, the first one lowest."""
    return np.packbits(missing, bitorder="little")


def lent(tracker: Pass, like: NDArray[Any], *, slot: int = 0) -> NDArray[Any]:
    """Lend an uninitialised C-contiguous array of the shape and dtype of another."""
    memory = tracker.scratch(like.size * like.itemsize, slot=slot)
    return np.frombuffer(memory, like.dtype, like.size).reshape(like.shape)


def _copied(piece: NDArray[Any], tracker: Pass) -> NDArray[Any]:
    copied = lent(tracker, piece, slot=1)
    np.copyto(copied, piece)
    return copied


def _has_quiet_nans(values: NDArray[Any], nulls: int) -> bool:
    unsigned, bits = _QUIET_NAN[values.dtype.name]
    same = np.equal(values.view(unsigned), values.view(unsigned).dtype.type(bits))
    return int(np.count_nonzero(same)) == nulls


def _without_padding(values: NDArray[Any]) -> NDArray[Any]:
    clean = np.where(np.isnan(values), values.dtype.type(np.nan), values)
    octets = clean.reshape(-1).view(np.uint8).reshape(-1, values.itemsize)
    if np.finfo(values.dtype).nmant == _X87_MANTISSA:
        # x87 numbers fill 10 of their 16 bytes; the others are whatever was there.
        octets[:, 10:] = 0
    return octets


def _odd_bounds(piece: NDArray[Any]) -> tuple[Any, Any, int]:
    if piece.dtype.kind != "f":
        return None, None, int(np.count_nonzero(np.isnan(piece))) if piece.dtype.kind == "c" else 0
    low, high = np.fmin.reduce(piece), np.fmax.reduce(piece)
    return float(low), float(high), int(np.count_nonzero(np.isnan(piece)))


def _chunk(row: NDArray[Any]) -> bytes:
    # As digest_of(b"-", row), which costs more than many a short row.
    hasher: Any = xxh3_128(b"-")
    hasher.update(row)
    digest: bytes = hasher.digest()
    return digest


def _add_integers(piece: NDArray[Any], columns: Sequence[Column], _: Pass) -> None:
    chunks = [_chunk(row) for row in piece]
    lows = np.minimum.reduce(piece, axis=1).tolist()
    highs = np.maximum.reduce(piece, axis=1).tolist()
    rows = piece.shape[1]
    totals = np.add.reduce(piece, axis=1).tolist()
    for i, column in enumerate(columns):
        total = totals[i]
        if max(-lows[i], highs[i]) * rows >= 2**63:
            total = float(np.add.reduce(piece[i], dtype=np.float64))
        column.add(chunks[i], 0, lows[i], highs[i], total)


def _add_truths(piece: NDArray[Any], columns: Sequence[Column], _: Pass) -> None:
    totals = np.count_nonzero(piece, axis=1).tolist()
    rows = piece.shape[1]
    for row, column, total in zip(piece, columns, totals, strict=True):
        column.add(_chunk(row), 0, total == rows, total > 0, total)


def _add_floats(piece: NDArray[Any], columns: Sequence[Column], tracker: Pass) -> None:
    # Hashing first: it reads ahead best, and leaves the rows in the cache for the others.
    chunks = [_chunk(row) for row in piece]
    lows = np.fmin.reduce(piece, axis=1).tolist()
    highs = np.fmax.reduce(piece, axis=1).tolist()
    totals = _row_sums(piece)
    for i, column in enumerate(columns):
        total = totals[i]
        if total == total:  # noqa: PLR0124  NaN differs from itself
            column.add(chunks[i], 0, lows[i], highs[i], total)
        else:
            chunk, nulls, rest = _chunk_with_nan(piece[i], chunks[i], tracker)
            column.add(chunk, nulls, lows[i], highs[i], rest)


def _add_long_floats(row: NDArray[Any], column: Column, tracker: Pass) -> None:
    """Add a contiguous row of many chunks; bare, as each call costs a hundredth of a chunk."""
    sum_of = _einsum if row.itemsize == _DOUBLE else _sum_in_pairs
    chunks, lows, highs, totals = [], [], [], []
    for start in range(0, len(row), ROWS):
        tracker.step()
        piece = row[start : start + ROWS]
        # Hashing first: it reads ahead best, and leaves the piece in the cache for the others.
        hasher: Any = xxh3_128(b"-")
        hasher.update(piece)
        chunk, total = hasher.digest(), sum_of("i->", piece)
        if total == total:  # noqa: PLR0124  NaN differs from itself
            lows.append(_least_of(piece))
            highs.append(_greatest_of(piece))
        else:
            chunk, nulls, total = _chunk_with_nan(piece, chunk, tracker)
            column.nulls += nulls
            lows.append(np.fmin.reduce(piece))
            highs.append(np.fmax.reduce(piece))
        chunks.append(chunk)
        totals.append(float(total))
    column.chunks += chunks
    low, high = float(np.fmin.reduce(lows)), float(np.fmax.reduce(highs))
    if low == low:  # noqa: PLR0124
        column.low, column.high = low, high
    column.total = sum(totals)


def _sum_in_pairs(_: str, piece: NDArray[Any]) -> Any:
    # einsum is the fastest sum of a long row, but it adds in the width of its input.
    return np.add.reduce(piece)


def _row_sums(piece: NDArray[Any]) -> list[float]:
    # einsum is the fastest sum of a long row, but it adds in the width of its input.
    if piece.dtype.itemsize == _DOUBLE and piece.shape[1] > _LONG_ROW:
        sums: list[float] = _einsum("ij->i", piece).tolist()
    else:
        sums = np.add.reduce(piece, axis=1).tolist()
    return sums


def _chunk_with_nan(row: NDArray[Any], chunk: bytes, tracker: Pass) -> tuple[bytes, int, float]:
    """Return digest, missing values and sum of a row, given its digest as it stands."""
    missing = np.isnan(row)
    nulls = int(np.count_nonzero(missing))
    if not nulls:
        # Both infinities: the sum was NaN without one in the column.
        return chunk, 0, float("nan")
    filled = lent(tracker, row)
    np.copyto(filled, row)
    np.copyto(filled, 0, where=missing)
    total = _row_sums(filled[np.newaxis, :])[0]
    if not _has_quiet_nans(row, nulls):
        np.copyto(filled, np.nan, where=missing)
        chunk = _chunk(filled)
    return chunk, nulls, total


def _add_times(piece: NDArray[Any], columns: Sequence[Column], _: Pass) -> None:
    lows = np.minimum.reduce(piece, axis=1).tolist()
    highs = np.maximum.reduce(piece, axis=1).tolist()
    for row, column, least, most in zip(piece, columns, lows, highs, strict=True):
        low, high, nulls = least, most, 0
        if least == NOT_A_TIME:
            missing = row == NOT_A_TIME
            nulls = int(np.count_nonzero(missing))
            low = int(np.minimum.reduce(np.where(missing, np.int64(2**63 - 1), row)))
            if nulls == len(row):
                low = high = None
        column.add(_chunk(row), nulls, low, high, None)


def _add_odd(piece: NDArray[Any], column: Column, tracker: Pass) -> None:
    low, high, nulls = _odd_bounds(piece)
    chunk = digest_of(b"-", as_bytes(canonical(piece, tracker)))
    column.add(chunk, nulls, low, high, None)


def _add_gaps(
    piece: NDArray[Any], missing: NDArray[np.bool_], nulls: int, column: Column, tracker: Pass
) -> None:
    filled = lent(tracker, piece)
    np.copyto(filled, piece)
    # By place, because a copy under a mask looks at every number.
    filled[np.flatnonzero(missing)] = np.zeros((), piece.dtype)
    low = high = total = None
    if piece.dtype.kind in "biuf" and nulls < len(piece):
        low, high = _least_of(filled).item(), _greatest_of(filled).item()
        total = _sum(filled)
    if piece.dtype.kind == "f" and total != total:  # noqa: PLR0124  NaN differs from itself
        gaps = missing | np.isnan(filled)
        nulls = int(np.count_nonzero(gaps))
        low, high = _bounds_between(piece, gaps)
        total = float(np.nansum(filled, dtype=np.float64))
    elif low is not None and high is not None and not low < 0 < high:
        # Zero may only be what stands for the missing ones.
        low, high = _bounds_between(piece, missing)
    # A sum that is a number shows that no NaN is among the others.
    is_clean = total is not None and total == total  # noqa: PLR0124
    numbers = filled if is_clean else canonical(filled, tracker)
    chunk = digest_of(b"N", packed(missing), as_bytes(numbers))
    column.add(chunk, nulls, low, high, total)


def _bounds_between(values: NDArray[Any], missing: NDArray[np.bool_]) -> tuple[Any, Any]:
    """Return least and greatest of the numbers that are there, None if there are none."""
    present = values[~missing]
    if not len(present):
        return None, None
    return _least_of(present).item(), _greatest_of(present).item()


def _sum(values: NDArray[Any]) -> float:
    if values.dtype.kind == "b":
        return int(np.count_nonzero(values))
    if values.dtype.kind == "f":
        return _row_sums(values[np.newaxis, :])[0]
    is_wide = values.itemsize == _DOUBLE
    total: float = np.add.reduce(values, dtype=np.float64 if is_wide else None).item()
    return total


_SUMMARIES = {
    "b": _add_truths,
    "i": _add_integers,
    "u": _add_integers,
    "f": _add_floats,
    "time": _add_times,
}
