"""Texts and byte strings in Arrow's memory, in each of its layouts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128

from mlops_nb.fingerprint.fixed_width import packed
from mlops_nb.fingerprint.scheme import OpaqueValueError, digest_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlops_nb.fingerprint.scheme import Column, Pass

VIEWS = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}
"""Types whose texts may lie anywhere, and those of texts that lie one after the other."""

# A view is a length of 4 bytes and the text; of a longer one its beginning, the number of a
# buffer and a place in that, 4 bytes each. Both together are one number, larger by the length
# for the text behind it.
_PLACE_SHIFT, _BUFFER_MASK = 32, 2**32 - 1
_LONGEST_INLINE = 12
_MOST_RUNS = 64
_LONGEST = 2**32


def missing_of(piece: Any) -> NDArray[np.bool_] | None:
    """Return the mask of the missing values, None where there are none."""
    if not piece.null_count:
        return None
    bitmap = piece.buffers()[0]
    if bitmap is None:
        return np.ones(len(piece), np.bool_)
    first = piece.offset
    octets = np.frombuffer(bitmap, np.uint8)[first // 8 : (first + len(piece) + 7) // 8]
    bits = np.unpackbits(octets, bitorder="little")[first % 8 : first % 8 + len(piece)]
    missing: NDArray[np.bool_] = bits == 0
    return missing


def gap_head(missing: NDArray[np.bool_] | None) -> tuple[int, list[Any]]:
    """Return the number of missing values, and how the chunk begins."""
    if missing is None:
        return 0, [b"-"]
    return int(np.count_nonzero(missing)), [b"N", packed(missing)]


def size_bytes(piece: Any) -> int:
    """Return what a slice shows, not all the memory that lies behind it."""
    return 0 if str(piece.type) in VIEWS else int(piece.nbytes)


def add_texts(piece: Any, column: Column, tracker: Pass) -> None:
    """Add one chunk of texts to a column."""
    if str(piece.type) in VIEWS:
        if add_views(piece, column, tracker):
            return
        piece = _gathered(piece)
        tracker.take(int(piece.nbytes))
    if pa.types.is_fixed_size_binary(piece.type):
        piece = piece.cast(pa.large_binary())
    missing = missing_of(piece)
    lengths, payload = _text_buffers(piece)
    if missing is not None and lengths[missing].any():
        # Bytes may lie unseen under a missing value.
        empty = b"" if "binary" in str(piece.type) else ""
        lengths, payload = _text_buffers(piece.fill_null(empty))
    if lengths.size and int(lengths.max()) >= _LONGEST:
        raise OpaqueValueError
    nulls, head = gap_head(missing)
    chunk = digest_of(*head, lengths.astype("<u4"), digest_of(payload))
    column.add(chunk, nulls, None, None, None)


def add_views(piece: Any, column: Column, tracker: Pass) -> bool:
    """Add a chunk of texts where they lie, if they lie one after the other.

    Returns
    -------
    bool
        Whether that was so; if not, nothing was added.
    """
    missing = missing_of(piece)
    buffers = piece.buffers()
    size, first = len(piece), piece.offset
    lengths = np.frombuffer(tracker.scratch(4 * size, slot=1), "<u4", size)
    places = np.frombuffer(tracker.scratch(8 * size, slot=2), "<u8", size)
    # Each beside its like: the questions below are then asked many at a time.
    np.copyto(lengths, np.frombuffer(buffers[1], "<u4")[4 * first : 4 * (first + size) : 4])
    np.copyto(places, np.frombuffer(buffers[1], "<u8")[2 * first + 1 : 2 * (first + size) : 2])
    if missing is not None:
        np.copyto(lengths, 0, where=missing)
    runs = _runs(places, lengths, tracker)
    if runs is None:
        return False
    tracker.take(4 * size + sum(last - first for _, first, last in runs))
    payloads = xxh3_128()
    for buffer, first, last in runs:
        payloads.update(memoryview(buffers[2 + buffer])[first:last])
    nulls, head = gap_head(missing)
    chunk = digest_of(*head, lengths, payloads.digest())
    column.add(chunk, nulls, None, None, None)
    return True


def _runs(
    places: NDArray[np.uint64], lengths: NDArray[np.uint32], tracker: Pass
) -> list[tuple[int, int, int]] | None:
    """Find where texts follow each other: buffer, first byte, byte after the last.

    None if that is so only of a few at a time, or for short texts, which lie in their views.
    """
    if not len(lengths):
        return []
    if int(lengths.min()) <= _LONGEST_INLINE:
        is_long = lengths > _LONGEST_INLINE
        if np.count_nonzero(is_long) < np.count_nonzero(lengths):
            return None
        places, lengths = places[is_long], lengths[is_long]
        if not len(lengths):
            return []
    ends = np.frombuffer(tracker.scratch(8 * len(lengths)), np.uint64, len(lengths))
    np.copyto(ends, lengths)
    np.left_shift(ends, _PLACE_SHIFT, out=ends)
    np.add(ends, places, out=ends)
    starts = np.flatnonzero(ends[:-1] != places[1:]) + 1
    if len(starts) > _MOST_RUNS:
        return None
    runs = pairwise([0, *starts.tolist(), len(lengths)])
    return [_run(int(places[start]), int(ends[stop - 1])) for start, stop in runs]


def _run(place: int, end: int) -> tuple[int, int, int]:
    """Take apart the place of the first byte and the one after the last."""
    return place & _BUFFER_MASK, place >> _PLACE_SHIFT, end >> _PLACE_SHIFT


def _gathered(piece: Any) -> Any:
    """Copy texts that lie scattered next to each other."""
    try:
        return piece.cast(VIEWS[str(piece.type)])
    except pa.ArrowNotImplementedError:
        # Before Arrow 17.
        return pa.array(piece.to_pylist(), VIEWS[str(piece.type)])


def _text_buffers(piece: Any) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    _, offsets, payload = piece.buffers()
    if not len(piece) or offsets is None:
        return np.zeros(len(piece), np.int64), np.empty(0, np.uint8)
    dtype = np.int64 if "large" in str(piece.type) else np.int32
    bounds: NDArray[Any] = np.frombuffer(
        offsets, dtype, len(piece) + 1, piece.offset * np.dtype(dtype).itemsize
    )
    lengths = bounds[1:] - bounds[:-1]
    if payload is None or bounds[0] == bounds[-1]:
        return lengths, np.empty(0, np.uint8)
    return lengths, np.frombuffer(payload, np.uint8)[bounds[0] : bounds[-1]]
