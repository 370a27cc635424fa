"""What the operating system tells about files in a folder: fanotify, or else inotify.

Both are asked by their C functions, without privileges. Folders are marked, not files: each mark
tells of all files directly inside. fanotify says in addition whether it was this process.

The bits of both are the same, as are the fields used here, so that one reader serves both.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mlops_nb.capture.files.quiet import IS_LINUX, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCESS, MODIFY, CLOSE_WRITE, CLOSE_NOWRITE, OPEN = 0x1, 0x2, 0x8, 0x10, 0x20
MOVED_TO, CREATE, OVERFLOW, FOLDER = 0x80, 0x100, 0x4000, 0x4000_0000

_BUFFER_BYTES = 65_536


class Sighting(NamedTuple):
    """Something happened to a file.

    Attributes
    ----------
    folder, name
        Where; both empty when some of the events were lost.
    mask
        What, as bits such as `OPEN`.
    is_ours
        Whether this process did it; None where that is not known.
    """

    folder: str
    name: str
    mask: int
    is_ours: bool | None


class Source(Protocol):
    """An open queue of events of the operating system."""

    name: str
    fd: int

    def watch(self, folder: str) -> object:
        """Tell of the files in a folder from now on.

        Returns
        -------
        object
            What the folder is known by, another one after it was removed and made again; None if
            it cannot be watched.
        """

    def read(self) -> bytes:
        """Take what is waiting, without waiting; empty if nothing is."""

    def parse(self, raw: bytes) -> Iterator[Sighting]:
        """Read what `read` gave."""

    def is_urgent(self, raw: bytes) -> bool:
        """Whether `raw` may tell of a new folder, without reading it in full."""

    def close(self) -> None:
        """Tell nothing more."""


class _Queue:
    """What both have in common: a descriptor that is read without waiting."""

    name = ""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._reader = Reader(_BUFFER_BYTES)

    def read(self) -> bytes:
        """Take what is waiting; one call at a time."""
        return self._reader.read(self.fd)

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


# --- fanotify ---------------------------------------------------------------------------------

_FAN_INIT = 0x1 | 0x2 | 0xC00  # CLOEXEC, NONBLOCK, REPORT_DFID_NAME; FAN_CLASS_NOTIF is 0
_FAN_MARK_ADD, _FAN_MARK_ONLYDIR = 0x1, 0x8
_FAN_ON_CHILD = 0x0800_0000
# No CLOSE_NOWRITE: OPEN and ACCESS say as much, and each bit costs an `open` a microsecond.
_FAN_MASK = ACCESS | MODIFY | CLOSE_WRITE | OPEN | MOVED_TO | CREATE | FOLDER | _FAN_ON_CHILD
_FAN_EVENT = struct.Struct("=IBBHQii")
_FAN_INFO = struct.Struct("=BBH")
_HANDLE = struct.Struct("=Ii")
_FOLDER_AND_NAME = 2  # FAN_EVENT_INFO_TYPE_DFID_NAME
_FSID_BYTES = 8
_HANDLE_BYTES = 128
_AT_FDCWD, _AT_HANDLE_FID = -100, 0x200


class Fanotify(_Queue):
    """fanotify as everybody may use it since Linux 5.13.

    Events name a folder by the handle that ``name_to_handle_at`` gives for it, which is kept when
    the folder is marked.

    Raises
    ------
    OSError
        The kernel does not offer it, or not to us.
    """

    name = "fanotify"

    def __init__(self) -> None:
        if not IS_LINUX:
            raise OSError(errno.ENOSYS, "no fanotify")
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._mark = libc.fanotify_mark
            self._handle_at = libc.name_to_handle_at
            init = libc.fanotify_init
        except AttributeError:
            raise OSError(errno.ENOSYS, "no fanotify") from None
        self._mark.argtypes = (
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint64,
            ctypes.c_int,
            ctypes.c_char_p,
        )
        fd = init(_FAN_INIT, os.O_RDONLY | os.O_CLOEXEC)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "fanotify_init")
        super().__init__(fd)
        self._pid = os.getpid()
        self._folders: dict[bytes, str] = {}

    def watch(self, folder: str) -> bytes | None:
        """Mark a folder; None if its file system gives no handles, as some overlays and FUSE."""
        key = self._key(folder)
        if key is None:
            return None
        path = os.fsencode(folder)
        flags = _FAN_MARK_ADD | _FAN_MARK_ONLYDIR
        if self._mark(self.fd, flags, _FAN_MASK, _AT_FDCWD, path) != 0:
            return None
        self._folders[key] = folder
        return key

    def _key(self, folder: str) -> bytes | None:
        """File system and handle of a folder, in the form in which events hold them."""
        handle = ctypes.create_string_buffer(_HANDLE.size + _HANDLE_BYTES)
        mount = ctypes.c_int()
        path = os.fsencode(folder)
        for flags in (0, _AT_HANDLE_FID):
            _HANDLE.pack_into(handle, 0, _HANDLE_BYTES, 0)
            if self._handle_at(_AT_FDCWD, path, handle, ctypes.byref(mount), flags) == 0:
                break
        else:
            return None
        try:
            fsid = os.statvfs(folder).f_fsid & 0xFFFF_FFFF_FFFF_FFFF
        except OSError:
            return None
        size = _HANDLE.unpack_from(handle)[0]
        head = struct.pack("=II", fsid & 0xFFFF_FFFF, fsid >> 32)
        return head + handle.raw[: _HANDLE.size + size]

    def parse(self, raw: bytes) -> Iterator[Sighting]:
        """Read events; of folders that are not known nothing is said."""
        at = 0
        while at + _FAN_EVENT.size <= len(raw):
            length, _, _, head, mask, _, pid = _FAN_EVENT.unpack_from(raw, at)
            if mask & OVERFLOW:
                yield Sighting("", "", mask, None)
            elif length > head:
                found = self._place(raw, at + head, at + length)
                if found is not None:
                    yield Sighting(*found, mask, pid == self._pid)
            at += max(length, _FAN_EVENT.size)

    def is_urgent(self, raw: bytes) -> bool:
        """Look for the highest bit of a mask, as it stands before ``fd``, which is -1."""
        return sys.byteorder != "little" or b"\x40\0\0\0\0\xff\xff\xff\xff" in raw

    def _place(self, raw: bytes, at: int, end: int) -> tuple[str, str] | None:
        kind, _, _ = _FAN_INFO.unpack_from(raw, at)
        if kind != _FOLDER_AND_NAME:
            return None
        handle_at = at + _FAN_INFO.size + _FSID_BYTES
        name_at = handle_at + _HANDLE.size + _HANDLE.unpack_from(raw, handle_at)[0]
        folder = self._folders.get(raw[at + _FAN_INFO.size : name_at])
        if folder is None:
            return None
        return folder, os.fsdecode(raw[name_at : raw.index(0, name_at, end)])


# --- inotify ----------------------------------------------------------------------------------

_IN_INIT = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_IN_ONLYDIR = 0x0100_0000
_IN_IGNORED = 0x8000
# No ACCESS: there is one for each read of each file, and only neighbours are made one.
_IN_MASK = MODIFY | CLOSE_WRITE | CLOSE_NOWRITE | OPEN | MOVED_TO | CREATE | _IN_ONLYDIR
_IN_EVENT = struct.Struct("=iIII")


class Inotify(_Queue):
    """inotify, which does not say who it was.

    Raises
    ------
    OSError
        The kernel does not offer it, or this user has too many.
    """

    name = "inotify"

    def __init__(self) -> None:
        if not IS_LINUX:
            raise OSError(errno.ENOSYS, "no inotify")
        libc = ctypes.CDLL(None, use_errno=True)
        self._add = libc.inotify_add_watch
        self._add.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        fd = libc.inotify_init1(_IN_INIT)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        super().__init__(fd)
        self._folders: dict[int, str] = {}

    def watch(self, folder: str) -> int | None:
        """Watch a folder; None when this user's watches are used up."""
        number: int = self._add(self.fd, os.fsencode(folder), _IN_MASK)
        if number < 0:
            return None
        self._folders[number] = folder
        return number

    def parse(self, raw: bytes) -> Iterator[Sighting]:
        """Read events."""
        at = 0
        while at + _IN_EVENT.size <= len(raw):
            number, mask, _, length = _IN_EVENT.unpack_from(raw, at)
            at += _IN_EVENT.size
            name = raw[at : at + length].rstrip(b"\0")
            at += length
            if mask & OVERFLOW:
                yield Sighting("", "", mask, None)
            elif number in self._folders and not mask & _IN_IGNORED:
                yield Sighting(self._folders[number], os.fsdecode(name), mask, None)

    def is_urgent(self, raw: bytes) -> bool:
        """Look for the highest bit of a mask."""
        return b"\x40" in raw


def open_sources(*, with_fanotify: bool = True) -> list[Source]:
    """Open what there is, the better one first; the second takes what the first cannot watch."""
    found: list[Source] = []
    for kind in (Fanotify, Inotify) if with_fanotify else (Inotify,):
        try:
            found.append(kind())
        except OSError:
            continue
    return found
