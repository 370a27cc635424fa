"""Frames: how records lie in a segment, and how they are found again where a disk damaged some.

A frame is ``[length u32][crc32 u32][payload]``, padded to four bytes. Length zero: nothing here
yet. Length ``0xFFFFFFFF``: nothing follows here, the writer went on to the next segment or closed
the spool.

What is damaged is passed over: reading goes on at the next frame that is whole, and says how many
bytes it left out. Damage that nothing follows can only be told from a frame that is just being
written when nobody writes there any more.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEGMENT_BYTES = 4 * 1024 * 1024
HEADER_BYTES = 128
FRAME_BYTES = 8
FRAME = struct.Struct("<II")
LENGTH = struct.Struct("<I")
END_MARK = b"\xff\xff\xff\xff"

_NOTHING = bytes(LENGTH.size)
_CHUNK_BYTES = 256 * 1024
# How far behind damage a whole frame is looked for, and how large it may be.
_SCAN_BYTES = 4 * SEGMENT_BYTES
# The first byte of every event: a msgpack array of up to 15 elements.
_ARRAY_MASK, _ARRAY = 0xF0, 0x90


@record
class Damage:
    """A part of a segment that holds no whole frame.

    Attributes
    ----------
    path, offset
        Where it begins.
    size_bytes
        How much it is; of a file that was cut off, how much there was at most.
    """

    path: Path
    offset: int
    size_bytes: int


def frames(
    path: Path, offset: int, *, is_complete: bool, torn: list[Damage]
) -> Iterator[tuple[int, bytes | Damage | None]]:
    """Read the frames of a segment from an offset on.

    Parameters
    ----------
    is_complete
        Whether nobody writes to the segment any more.
    torn
        Gets everything that is no frame, that which may be just being written included.

    Yields
    ------
    tuple
        (end, payload) of each whole frame; (end, damage) for what is passed over; (offset, None)
        where the writer went on or closed the spool.
    """
    try:
        file = path.open("rb", buffering=0)
    except OSError:  # taken in and removed, or none of ours
        return
    with file:
        window = _Window(file.fileno())
        while True:
            head = window.at(offset, LENGTH.size)
            # Filled to the last byte, a segment has no room for the mark.
            if head == END_MARK or offset >= window.size_bytes >= SEGMENT_BYTES:
                yield offset, None
                return
            payload = None if head == _NOTHING else _whole(window, offset)
            if payload is not None:
                offset += (FRAME_BYTES + len(payload) + 3) & ~3
                yield offset, payload
                continue
            if head == _NOTHING and not is_complete:
                return
            size_bytes, is_followed = _damage_at(window, offset)
            if not size_bytes:
                return
            torn.append(Damage(path, offset, size_bytes))
            if not is_followed and not is_complete:
                return
            offset += (size_bytes + 3) & ~3
            yield offset, torn[-1]


class _Window:
    """A file read in steps: the bytes at an offset, from one read for many frames."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._data, self._start = descriptor, b"", 0
        self.size_bytes = os.fstat(descriptor).st_size

    def at(self, offset: int, size_bytes: int) -> bytes:
        """Return the bytes at an offset, fewer where the file ends."""
        begin = offset - self._start
        if begin < 0 or begin + size_bytes > len(self._data):
            wanted = min(max(size_bytes, _CHUNK_BYTES), max(self.size_bytes - offset, 0))
            self._data, self._start, begin = self.read(offset, wanted), offset, 0
        return self._data[begin : begin + size_bytes]

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Read the bytes at an offset as they are now."""
        return os.pread(self._descriptor, size_bytes, offset)


def _whole(window: _Window, offset: int) -> bytes | None:
    """Return the payload of the frame at an offset; None if it is cut short or damaged."""
    head = window.at(offset, FRAME_BYTES)
    if len(head) < FRAME_BYTES:
        return None
    length, checksum = FRAME.unpack(head)
    payload = window.at(offset + FRAME_BYTES, length)
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None


def _damage_at(window: _Window, offset: int) -> tuple[int, bool]:
    """Measure what is no frame at an offset: how many bytes, and whether a whole frame follows."""
    data = window.read(offset, max(window.size_bytes - offset, 0))
    end = len(data.rstrip(b"\0"))
    if not end:
        was_cut = offset >= window.size_bytes
        return (max(SEGMENT_BYTES - offset, 0) if was_cut else 0), False
    following = _first_whole(data, min(end, _SCAN_BYTES))
    if following is not None:
        return following, True
    is_marked = end % LENGTH.size == 0 and data[:end].endswith(END_MARK)
    return (end - LENGTH.size if is_marked else end), False


def _first_whole(data: bytes, end: int) -> int | None:
    """Find the first whole frame in what follows damage."""
    words = LENGTH.iter_unpack(data[: end & ~3])
    for index, (length,) in enumerate(words):
        start = LENGTH.size * index + FRAME_BYTES
        # The first word is the length of the damaged one itself.
        if not index or not 0 < length <= len(data) - start:
            continue
        if data[start] & _ARRAY_MASK == _ARRAY and _whole_at(data, start, length):
            return start - FRAME_BYTES
    return None


def _whole_at(data: bytes, start: int, length: int) -> bool:
    checksum: int = LENGTH.unpack_from(data, start - LENGTH.size)[0]
    return zlib.crc32(memoryview(data)[start : start + length]) == checksum
