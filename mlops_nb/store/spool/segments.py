"""Segments: the files of a spool, preallocated and mapped, and how they are read.

A segment is a header and frames. A writer copies a frame's checksum and payload first and its
length last, so that it is there or not, whenever the process dies.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mlops_nb.store.spool.codec import decode
from mlops_nb.store.spool.frames import (
    END_MARK,
    FRAME,
    FRAME_BYTES,
    HEADER_BYTES,
    LENGTH,
    SEGMENT_BYTES,
    Damage,
    frames,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mlops_nb.model import Event

__all__ = [
    "END_MARK",
    "FRAME",
    "FRAME_BYTES",
    "HEADER_BYTES",
    "LARGEST_PAYLOAD",
    "SEGMENT_BYTES",
    "SUFFIX",
    "Damage",
    "SegmentFile",
    "SpoolPosition",
    "SpoolReader",
    "read_events",
    "spool_id",
]

SUFFIX = ".segment"
# A frame's length fits four bytes, and its end the address range of a mapping.
LARGEST_PAYLOAD = 1 << 30

_MAGIC = b"NBSPOOL\n"
_VERSION = 1
# magic, version, segment, pid, records that are only in the writer's memory, spool id
_HEADER = struct.Struct("<8sIIIIQ64s")
_UNWRITTEN_AT = 24
_UNWRITTEN = struct.Struct("<Q")


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
        # `pack_into` zeroes the place first, and there the process may die.
        self.map[_UNWRITTEN_AT : _UNWRITTEN_AT + _UNWRITTEN.size] = _UNWRITTEN.pack(count)

    def flush(self) -> None:
        """Wait until what was copied into the segment is on the disk."""
        os.fdatasync(self._descriptor)

    def close(self, *, used_bytes: int | None = None) -> None:
        """Let go of the file; `used_bytes`: and give back what was allocated beyond them.

        A mark stays behind them, which a file that somebody cut off does not have.
        """
        if used_bytes is not None and used_bytes < self.size_bytes:
            self.map[used_bytes : used_bytes + LENGTH.size] = END_MARK
            used_bytes += LENGTH.size
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


@dataclass
class SpoolReader:
    """What lies in the folders of one spool, in the order written.

    Attributes
    ----------
    folders
        Where its segments are: beside the store, then in the user's state folder.
    is_over
        Whether nobody writes to it any more.
    segments
        By number, as they were when the reader was made; later ones are not read, so that a
        reader comes to an end however fast the writer is.
    too_new
        The first segment that a newer version wrote, where reading ends; None if there is none.
    position
        Behind the last frame that was read.
    unknown
        Number of whole frames whose event this version does not know.
    torn
        Where reading met something that is no frame. Beside a living writer the last one may be
        one that is just being written.
    """

    spool: str
    folders: Sequence[Path]
    is_over: bool = False
    segments: dict[int, Path] = field(init=False)
    too_new: Path | None = field(default=None, init=False)
    position: SpoolPosition = field(init=False)
    unknown: int = field(default=0, init=False)
    torn: list[Damage] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.segments = {}
        for number, path in _find_segments(self.folders).items():
            header = _read_header(path)
            if header is not None and header.version > _VERSION:
                self.too_new = path
                break
            # A file that only looks like a segment may be a damaged one: reading it will tell.
            if header is None or header.is_of(self.spool, number):
                self.segments[number] = path
        self.position = SpoolPosition(self.spool)

    def read(
        self, position: SpoolPosition
    ) -> Iterator[tuple[SpoolPosition, Event | Damage | None]]:
        """Read the frames from a position on.

        Yields
        ------
        tuple
            The position behind the frame, and its event; None for one that only a newer version
            knows, and at the step to the next segment; a `Damage` for what was passed over.
        """
        number, offset = self._begin(position)
        while number in self.segments:
            following = min((n for n in self.segments if n > number), default=number + 1)
            is_complete = self.is_over or self._is_begun(following)
            is_ended = False
            path = self.segments[number]
            for end, content in frames(path, offset, is_complete=is_complete, torn=self.torn):
                offset, is_ended = end, content is None
                if content is not None:
                    self.position = SpoolPosition(self.spool, number, end)
                    yield self.position, self._decode(content)
            if not is_ended and not is_complete:
                if not self._is_begun(following):
                    return
                # The writer went on while we read: what it left here is complete only now.
                continue
            number, offset = following, HEADER_BYTES
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
        return max((header.unwritten for header in headers if header is not None), default=0)

    def _begin(self, position: SpoolPosition) -> tuple[int, int]:
        """Return where to read on: segments before the first one left were taken in already."""
        if position.segment in self.segments:
            return position.segment, position.offset
        later = (number for number in self.segments if number > position.segment)
        return min(later, default=position.segment), HEADER_BYTES

    def _is_begun(self, number: int) -> bool:
        """Whether the writer went on to a segment, or one behind it; no foreign file."""
        later = (path for n, path in self.segments.items() if n >= number)
        return any(_read_header(path) is not None and _has_frames(path) for path in later)

    def _decode(self, content: bytes | Damage) -> Event | Damage | None:
        if isinstance(content, Damage):
            return content
        try:
            event = decode(content)
        except (ValueError, TypeError, LookupError):
            event = None
        self.unknown += event is None
        return event


def read_events(
    folder: Path, position: SpoolPosition | None = None
) -> Iterator[tuple[SpoolPosition, Event]]:
    """Read the events of one folder of a spool from a position on, without what is damaged.

    Yields
    ------
    tuple
        The position behind the event, and the event.
    """
    reader = SpoolReader(position.spool if position else spool_id(folder) or "", [folder])
    for behind, event in reader.read(position or SpoolPosition(reader.spool)):
        if event is not None and not isinstance(event, Damage):
            yield behind, event


def spool_id(folder: Path) -> str | None:
    """Return the id of the spool that a folder belongs to; None while it has no segment."""
    for path in _find_segments([folder]).values():
        header = _read_header(path)
        if header is not None:
            return header.spool
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


class _Header(NamedTuple):
    """What a segment says of itself."""

    version: int
    number: int
    unwritten: int
    spool: str

    def is_of(self, spool: str, number: int) -> bool:
        """Whether it is that segment of a spool, and no copy of another one."""
        return self.number == number and (not spool or self.spool == spool)


def _read_header(path: Path) -> _Header | None:
    """Read a segment's header; None where it is none of ours, or not written yet."""
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(HEADER_BYTES)
    except OSError:
        return None
    if len(head) < HEADER_BYTES or not head.startswith(_MAGIC):
        return None
    _, version, number, _, _, unwritten, spool = _HEADER.unpack_from(head)
    return _Header(version, number, unwritten, spool.rstrip(b"\0").decode("utf-8", "replace"))


def _has_frames(path: Path) -> bool:
    """Whether anything was ever written behind the header."""
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(HEADER_BYTES)
            return any(file.read(LENGTH.size))
    except OSError:
        return False
