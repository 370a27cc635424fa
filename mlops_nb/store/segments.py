"""Segments: the files of a spool, preallocated and mapped, and how they are read.

A segment is a header and frames of ``[length u32][crc32 u32][payload]``, each padded to four
bytes. A writer copies checksum and payload first and the length last, so that a frame is there
or not, whenever the process dies. Length zero: nothing here yet. Length ``0xFFFFFFFF``: the
writer went on to the next segment.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mlops_nb.record import record
from mlops_nb.store.codec import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mlops_nb.model import Event

SEGMENT_BYTES = 4 * 1024 * 1024
HEADER_BYTES = 128
FRAME_BYTES = 8
FRAME = struct.Struct("<II")
LENGTH = struct.Struct("<I")
END_MARK = b"\xff\xff\xff\xff"
SUFFIX = ".segment"
# A frame's length fits four bytes, and its end the address range of a mapping.
LARGEST_PAYLOAD = 1 << 30

_MAGIC = b"NBSPOOL\n"
_VERSION = 1
# magic, version, segment, pid, records that are only in the writer's memory, spool id
_HEADER = struct.Struct("<8sIIIIQ64s")
_UNWRITTEN_AT = 24
_UNWRITTEN = struct.Struct("<Q")
_CHUNK_BYTES = 256 * 1024


class SpoolPosition(NamedTuple):
    """How far a spool has been read: everything before `offset` of `segment`.

    Attributes
    ----------
    spool
        Id of the spool, unique for each `Spool.create`.
    segment
        Number of the segment, from 0.
    offset
        In bytes from the beginning of the segment's file.
    """

    spool: str
    segment: int = 0
    offset: int = HEADER_BYTES


def segment_path(folder: Path, number: int) -> Path:
    """Return where a segment lies."""
    return folder / f"{number:08d}{SUFFIX}"


def segment_number(path: Path) -> int | None:
    """Return the number of a segment's file, None for any other file."""
    return int(path.stem) if path.suffix == SUFFIX and path.stem.isdigit() else None


class SegmentFile:
    """A segment being written: preallocated, so that a full disk shows here and not as SIGBUS.

    Attributes
    ----------
    map
        The mapped file.
    size_bytes
        Of the file, header included.

    Raises
    ------
    OSError
        The folder cannot be written, or the disk has no room.
    """

    def __init__(self, folder: Path, number: int, spool: str, size_bytes: int) -> None:
        self.path, self.number, self.size_bytes = segment_path(folder, number), number, size_bytes
        # Readers see it only when it is whole: an empty file looks like a segment at its end.
        draft = self.path.with_suffix(f"{SUFFIX}.new")
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, size_bytes)
            self.map = mmap.mmap(self._descriptor, size_bytes)
            _HEADER.pack_into(
                self.map, 0, _MAGIC, _VERSION, number, os.getpid(), 0, 0, spool.encode()
            )
            draft.rename(self.path)
        except (OSError, ValueError):
            os.close(self._descriptor)
            draft.unlink(missing_ok=True)
            raise

    def grow(self, size_bytes: int) -> None:
        """Make room for a record that is larger than a segment; before the first frame only."""
        os.posix_fallocate(self._descriptor, 0, size_bytes)
        grown = mmap.mmap(self._descriptor, size_bytes)
        self.map.close()
        self.map, self.size_bytes = grown, size_bytes

    def note_unwritten(self, count: int) -> None:
        """Note how many records are in memory only, for those who read after a crash."""
        _UNWRITTEN.pack_into(self.map, _UNWRITTEN_AT, count)

    def flush(self) -> None:
        """Wait until what was copied into the segment is on the disk."""
        os.fdatasync(self._descriptor)

    def close(self, *, used_bytes: int | None = None) -> None:
        """Let go of the file; `used_bytes`: and give back what was allocated beyond them."""
        self.map.close()
        try:
            if used_bytes is not None:
                os.ftruncate(self._descriptor, used_bytes)
        finally:
            os.close(self._descriptor)

    def discard(self) -> None:
        """Close the segment and remove its file: nothing was written to it."""
        self.map.close()
        os.close(self._descriptor)
        self.path.unlink(missing_ok=True)


@record
class TornTail:
    """The end of a segment that is no whole frame: what was being written as a process died."""

    path: Path
    offset: int
    size_bytes: int


@dataclass
class SpoolReader:
    """What lies in the folders of one spool, in the order written.

    Attributes
    ----------
    folders
        Where its segments are: beside the store, then in the user's state folder.
    segments
        By number, as they were when the reader was made; later ones are not read, so that a
        reader comes to an end however fast the writer is.
    position
        Behind the last frame that was read.
    unknown
        Number of whole frames whose event this version does not know.
    torn
        Where reading met something that is no frame. Beside a living writer it is one that is
        just being written.
    """

    spool: str
    folders: Sequence[Path]
    segments: dict[int, Path] = field(init=False)
    position: SpoolPosition = field(init=False)
    unknown: int = field(default=0, init=False)
    torn: list[TornTail] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.segments = _find_segments(self.folders)
        self.position = SpoolPosition(self.spool)

    def read(self, position: SpoolPosition) -> Iterator[tuple[SpoolPosition, Event | None]]:
        """Read the frames from a position on.

        Yields
        ------
        tuple
            The position behind the frame, and its event; None for one that only a newer version
            knows, and at the step to the next segment.
        """
        number, offset = self._begin(position)
        is_last_look = False
        while number in self.segments:
            is_ended = False
            for end, payload in _frames(self.segments[number], offset, self.torn):
                offset, is_ended = end, payload is None
                if payload is not None:
                    self.position = SpoolPosition(self.spool, number, end)
                    yield self.position, self._decode(payload)
            following = min((n for n in self.segments if n > number), default=number + 1)
            if not is_ended and not is_last_look:
                if not self._is_begun(following):
                    return
                # The writer went on while we read: what it left here is complete only now.
                is_last_look = True
                continue
            number, offset, is_last_look = following, HEADER_BYTES, False
            self.position = SpoolPosition(self.spool, number, offset)
            yield self.position, None

    def has_more(self, position: SpoolPosition) -> bool:
        """Whether there may be something to read at a position; looks at a few bytes only."""
        number, offset = self._begin(position)
        path = self.segments.get(number)
        if path is None:
            return False
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                head = file.read(LENGTH.size)
        except OSError:
            return False
        return len(head) < LENGTH.size or head != b"\0\0\0\0"

    def unwritten(self) -> int:
        """Count the records that were only in the writer's memory when it was last seen."""
        headers = (_read_header(path) for path in self.segments.values())
        return max((header[5] for header in headers if header is not None), default=0)

    def _begin(self, position: SpoolPosition) -> tuple[int, int]:
        """Return where to read on: segments before the first one left were taken in already."""
        if position.segment in self.segments:
            return position.segment, position.offset
        later = (number for number in self.segments if number > position.segment)
        return min(later, default=position.segment), HEADER_BYTES

    def _is_begun(self, number: int) -> bool:
        return number in self.segments and _has_frames(self.segments[number])

    def _decode(self, payload: bytes) -> Event | None:
        try:
            event = decode(payload)
        except (ValueError, TypeError, LookupError):
            event = None
        self.unknown += event is None
        return event


def read_events(
    folder: Path, position: SpoolPosition | None = None
) -> Iterator[tuple[SpoolPosition, Event]]:
    """Read the events of one folder of a spool from a position on; a torn tail is cut.

    Yields
    ------
    tuple
        The position behind the event, and the event.
    """
    reader = SpoolReader(position.spool if position else spool_id(folder) or "", [folder])
    for behind, event in reader.read(position or SpoolPosition(reader.spool)):
        if event is not None:
            yield behind, event


def spool_id(folder: Path) -> str | None:
    """Return the id of the spool that a folder belongs to; None while it has no segment."""
    for path in _find_segments([folder]).values():
        header = _read_header(path)
        if header is not None:
            return str(header[6].rstrip(b"\0").decode())
    return None


def _find_segments(folders: Sequence[Path]) -> dict[int, Path]:
    found = {}
    for folder in folders:
        try:
            paths = list(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        for path in paths:
            number = segment_number(path)
            if number is not None:
                found[number] = path
    return dict(sorted(found.items()))


def _read_header(path: Path) -> tuple[bytes, int, int, int, int, int, bytes] | None:
    """Read a segment's header; None where it is none of ours, or not written yet."""
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(HEADER_BYTES)
    except OSError:
        return None
    if len(head) < HEADER_BYTES or not head.startswith(_MAGIC):
        return None
    return _HEADER.unpack_from(head)


def _has_frames(path: Path) -> bool:
    """Whether anything was ever written behind the header."""
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(HEADER_BYTES)
            return any(file.read(LENGTH.size))
    except OSError:
        return False


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
            self._data, self._start, begin = os.pread(self._descriptor, wanted, offset), offset, 0
        return self._data[begin : begin + size_bytes]


def _frames(path: Path, offset: int, torn: list[TornTail]) -> Iterator[tuple[int, bytes | None]]:
    """Yield (end, payload) of each whole frame, and (offset, None) at the end of the segment."""
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return
    with file:
        window = _Window(file.fileno())
        while window.size_bytes >= HEADER_BYTES:
            head = window.at(offset, LENGTH.size)
            # Filled to the last byte, or given back when the spool was closed.
            if head == END_MARK or offset >= window.size_bytes:
                yield offset, None
                return
            if head == bytes(LENGTH.size):
                return
            payload = _whole(window, offset)
            if payload is None:
                torn.append(TornTail(path, offset, window.size_bytes - offset))
                return
            offset += (FRAME_BYTES + len(payload) + 3) & ~3
            yield offset, payload


def _whole(window: _Window, offset: int) -> bytes | None:
    """Return the payload of the frame at an offset; None if it is cut short or damaged."""
    head = window.at(offset, FRAME_BYTES)
    if len(head) < FRAME_BYTES:
        return None
    length, checksum = FRAME.unpack(head)
    payload = window.at(offset + FRAME_BYTES, length)
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None
