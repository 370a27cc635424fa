"""Bytes in files below a folder, private to the user; no path and no link leads out of it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from mlops_nb.errors import StoreError, StoreUnwritable
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

COPY_BYTES = 1 << 20
HEX_DIGITS = frozenset("0123456789abcdef")
_ADDRESS_DIGITS = 64
# Bytes that are put again become young again, so that nobody collects them before their rows are
# written. Within this time they still are; the least grace of a collection is far longer.
TOUCH_AFTER_S = 600.0
_MANY_FILES = 100
_ONLY_READ = 0o400
_MARK = "user.mlops_nb.as_put"
_TO_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINKS = {errno.ELOOP, errno.ENOTDIR}


@record
class Kept:
    """Bytes that lie in a store.

    Attributes
    ----------
    hexes
        Their SHA-256, as their address says.
    modified_s
        When they were put there last, in seconds since the epoch.
    """

    hexes: str
    size_bytes: int
    modified_s: float


@record
class Stray:
    """What lies between the bytes and is none: half a file of a process that died, or a link."""

    path: str
    size_bytes: int
    modified_s: float
    is_draft: bool


def is_address(hexes: str) -> bool:
    """Say whether a text is the hexadecimal digits of a SHA-256.

    Examples
    --------
    >>> is_address("ab" * 32), is_address("../" * 21 + "x")
    (True, False)
    """
    return len(hexes) == _ADDRESS_DIGITS and not set(hexes) - HEX_DIGITS


class LocalFiles:
    """Files below a folder, by the SHA-256 of their bytes.

    A file is complete or not there: it is written beside its place and then put there in one
    step. Folders are opened without following links, and files below an open folder.

    Parameters
    ----------
    root
        The folder, made with the first bytes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._is_checked = False
        self._unsynced: list[Path] = []
        # Bytes that this object has put there or read in full, as long as nobody touches them.
        self._known: dict[str, tuple[int, int, int]] = {}

    def write(self, hexes: str, data: bytes) -> None:
        """Write bytes, unless they are there."""

        def fill(handle: int) -> str:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            return hexes

        with self._folder_to_write(hexes) as folder:
            if not self._is_there(folder, hexes, len(data)):
                self._create(folder, hexes, fill)

    def copy(self, hexes: str, file: Path, size_bytes: int) -> None:
        """Copy a file, unless its bytes are there.

        Raises
        ------
        StoreUnwritable
            The folder may not be written, or its disk is full.
        StoreError
            The file was changed in the meantime.
        """
        with self._folder_to_write(hexes) as folder:
            if self._is_there(folder, hexes, size_bytes):
                return
            with file.open("rb") as source:
                self._take(folder, hexes, iter(lambda: source.read(COPY_BYTES), b""))

    def take(self, hexes: str, chunks: Iterable[bytes]) -> None:
        """Write bytes that come in pieces, in place of what may be there.

        Raises
        ------
        StoreUnwritable
            The folder may not be written, or its disk is full.
        StoreError
            They are not what their address says; then nothing was changed.
        """
        with self._folder_to_write(hexes) as folder:
            self._take(folder, hexes, chunks)

    def adopt(self, hexes: str, file: Path, size_bytes: int) -> None:
        """Link a file into its place, or copy it where that cannot be; it may then only be read.

        What is there already gives way: it may be damaged, and this is not.

        Raises
        ------
        StoreUnwritable
            The folder may not be written, or its disk is full.
        StoreError
            The file had to be copied, and is not what its address says.
        """
        name, draft = hexes[2:], _draft_name(hexes)
        with self._folder_to_write(hexes) as folder:
            there = _regular(folder, name)
            if there is not None and self._known.get(hexes) == _stamp(there):
                self._is_there(folder, hexes, size_bytes)
                self._know(folder, hexes)
                return
            try:
                os.link(file, draft, dst_dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                raise
            except OSError:  # another file system, or one without links
                with file.open("rb") as source:
                    self._take(folder, hexes, iter(lambda: source.read(COPY_BYTES), b""))
                _seal(name, folder)
            else:
                self._settle(folder, hexes, draft, size_bytes)
            self._know(folder, hexes)

    def lend(self, hexes: str, file: Path) -> bool:
        """Link bytes to a path, or copy them, once they were checked; False if they are wrong."""
        with self.open(hexes) as stream:
            stamp = _stamp(os.fstat(stream.fileno()))
            if self._known.get(hexes) != stamp and not _is_marked(stream.fileno(), stamp):
                if _sha256(stream) != hexes:
                    return False
                self._known[hexes] = stamp
            stream.seek(0)
            self._lay(hexes, stream, file)
        return True

    def read(self, hexes: str) -> bytes:
        """Read bytes, whatever they are."""
        with self.open(hexes) as file:
            return file.read()

    def chunks(self, hexes: str, size_bytes: int | None = None) -> Iterator[bytes]:
        """Read bytes in pieces, whatever they are."""
        del size_bytes  # what is in the file counts
        with self.open(hexes) as file:
            while chunk := file.read(COPY_BYTES):
                yield chunk

    def open(self, hexes: str) -> BinaryIO:
        """Open the file of an address; never a link, a pipe or a device."""
        folder = self._open_folder(hexes)
        try:
            handle = os.open(hexes[2:], _TO_READ, dir_fd=folder)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "it is no file", hexes)
        return os.fdopen(handle, "rb")

    def has(self, hexes: str) -> bool:
        """Say whether there is a file at an address."""
        try:
            folder = self._open_folder(hexes)
        except OSError:
            return False
        try:
            return _regular(folder, hexes[2:]) is not None
        finally:
            os.close(folder)

    def everything(self) -> Iterator[Kept | Stray]:
        """List what is there, in the order of the addresses, without following a link."""
        self._check_root()
        for name in _names(self._root):
            folder = self._root / name
            if len(name) != 2 or set(name) - HEX_DIGITS or folder.is_symlink():  # noqa: PLR2004
                yield _stray(folder)
            elif folder.is_dir():
                yield from self._in_folder(folder)
            else:
                yield _stray(folder)

    def remove(self, hexes: str, before_s: float) -> bool:
        """Remove bytes that were not put since a time; False if they were, or are gone.

        The file is renamed before its time is looked at. Who puts the same bytes meanwhile either
        has touched it already, which shows now, or does not find it and writes it anew.
        """
        try:
            folder = self._open_folder(hexes)
        except OSError:
            return False
        name, aside = hexes[2:], _draft_name(hexes)
        try:
            os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
            if os.stat(aside, dir_fd=folder, follow_symlinks=False).st_mtime >= before_s:
                os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
                return False
            os.unlink(aside, dir_fd=folder)
        except FileNotFoundError:
            return False
        finally:
            os.close(folder)
        return True

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        files, self._unsynced = self._unsynced, []
        if len(files) > _MANY_FILES:
            os.sync()
            if sys.platform == "linux":  # where that waits until all is written
                return
        for path in {*files, *(file.parent for file in files)}:
            try:
                handle = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    # --- folders ------------------------------------------------------------------------------

    def _check_root(self) -> None:
        """Refuse a folder of bytes that is a link: a foreign store could point at our files."""
        if self._is_checked:
            return
        if self._root.is_symlink():
            problem = "the folder of its bytes is a link, which is not followed"
            raise StoreError(str(self._root), problem, "Put the folder itself there.")
        self._is_checked = True

    def _open_folder(self, hexes: str) -> int:
        self._check_root()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._root / hexes[:2], flags)

    @contextmanager
    def _folder_to_write(self, hexes: str) -> Iterator[int]:
        try:
            try:
                folder = self._open_folder(hexes)
            except FileNotFoundError:
                self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
                (self._root / hexes[:2]).mkdir(mode=0o700, exist_ok=True)
                folder = self._open_folder(hexes)
        except StoreError:
            raise
        except OSError as error:
            raise _unwritable(self._root, error) from None
        try:
            yield folder
        finally:
            os.close(folder)

    def _in_folder(self, folder: Path) -> Iterator[Kept | Stray]:
        for name in _names(folder):
            path = folder / name
            hexes = folder.name + name
            try:
                status = path.lstat()
            except FileNotFoundError:  # put in its place, or removed, meanwhile
                continue
            if stat.S_ISREG(status.st_mode) and is_address(hexes):
                yield Kept(hexes, status.st_size, status.st_mtime)
            else:
                yield _stray(path)

    # --- links --------------------------------------------------------------------------------

    def _settle(self, folder: int, hexes: str, draft: str, size_bytes: int) -> None:
        """Put a link to somebody's file in its place, once that cannot be written any more."""
        try:
            status = os.stat(draft, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or status.st_size != size_bytes:
                self._require("", hexes)
            _seal(draft, folder)
            # Two names of one file cannot replace each other: then it is there already.
            os.replace(draft, hexes[2:], src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            raise _unwritable(self._root, error) from None
        finally:
            _forget(folder, draft)
        self._unsynced.append(self._root / hexes[:2] / hexes[2:])

    def _know(self, folder: int, hexes: str) -> None:
        status = _regular(folder, hexes[2:])
        if status is not None:
            self._known[hexes] = _stamp(status)

    def _lay(self, hexes: str, stream: BinaryIO, file: Path) -> None:
        """Lay the bytes of an open file at a path, in place of what may be there."""
        draft = file.with_name(f".{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            if not self._is_linked(hexes, stream, draft):
                with draft.open("xb") as copy:
                    shutil.copyfileobj(stream, copy, COPY_BYTES)
            draft.chmod(_ONLY_READ)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)

    def _is_linked(self, hexes: str, stream: BinaryIO, draft: Path) -> bool:
        """Link what is open, and nothing that was put in its place meanwhile."""
        try:
            os.link(self._root / hexes[:2] / hexes[2:], draft, follow_symlinks=False)
        except OSError:
            return False
        if os.path.samestat(draft.lstat(), os.fstat(stream.fileno())):
            return True
        draft.unlink()
        return False

    # --- one file -----------------------------------------------------------------------------

    def _is_there(self, folder: int, hexes: str, size_bytes: int) -> bool:
        """Say whether bytes are there, and keep them young; a file cut short does not count."""
        found = _regular(folder, hexes[2:])
        if found is None or found.st_size != size_bytes:
            return False
        if time.time() - found.st_mtime > TOUCH_AFTER_S:
            try:
                os.utime(hexes[2:], dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return False
            except OSError:  # somebody else's file in a shared store
                return True
        return True

    def _take(self, folder: int, hexes: str, chunks: Iterable[bytes]) -> None:
        def fill(handle: int) -> str:
            digest = hashlib.sha256()
            for chunk in chunks:
                digest.update(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[os.write(handle, view) :]
            return digest.hexdigest()

        self._create(folder, hexes, fill)

    def _create(self, folder: int, hexes: str, fill: Callable[[int], str]) -> None:
        name, draft = hexes[2:], _draft_name(hexes)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(draft, flags, 0o600, dir_fd=folder)
            try:
                written = fill(handle)
            finally:
                os.close(handle)
            self._require(written, hexes)
            os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        except StoreError:
            _forget(folder, draft)
            raise
        except OSError as error:
            _forget(folder, draft)
            raise _unwritable(self._root, error) from None
        self._unsynced.append(self._root / hexes[:2] / name)

    def _require(self, written: str, hexes: str) -> None:
        if written != hexes:
            problem = f"the bytes for sha256:{hexes} were changed"
            raise StoreError(str(self._root), problem, "Nothing was written; try again.")


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(COPY_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _seal(name: str, folder: int) -> None:
    """Let a file be young, only to be read, and known as it is."""
    # By the clock: the time that a file system takes itself may stand still for milliseconds, and
    # then a second change would leave it as it is.
    now = time.time_ns()
    os.utime(name, ns=(now, now), dir_fd=folder, follow_symlinks=False)
    _mark(name, folder)
    os.chmod(name, _ONLY_READ, dir_fd=folder)


def _mark(name: str, folder: int) -> None:
    """Write into a file's attributes how it looks as long as nobody has written to it again.

    Any process may then use it without reading it first. Where a file system has no attributes,
    each reads it.
    """
    if not hasattr(os, "setxattr"):
        return
    handle = os.open(name, _TO_READ, dir_fd=folder)
    try:
        os.setxattr(handle, _MARK, repr(_stamp(os.fstat(handle))).encode())
    except OSError:
        return
    finally:
        os.close(handle)


def _is_marked(handle: int, stamp: tuple[int, int, int]) -> bool:
    """Say whether a file looks as it did when it was put here, and can only be read since."""
    if not hasattr(os, "getxattr") or stat.S_IMODE(os.fstat(handle).st_mode) != _ONLY_READ:
        return False
    try:
        return os.getxattr(handle, _MARK) == repr(stamp).encode()
    except OSError:
        return False


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    """Tell one state of a file from another; links come and go without a change of it."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def why_unreadable(error: OSError) -> str:
    """Say why bytes cannot be read, as a clause."""
    if error.errno in _LINKS:
        return "a link is there, which is not followed"
    return error.strerror or str(error)


def _unwritable(root: Path, error: OSError) -> StoreUnwritable:
    problem = f"bytes cannot be written ({why_unreadable(error)})"
    remedy = "Free some space or make the folder writable; nothing else was lost."
    return StoreUnwritable(str(root), problem, remedy)


def _draft_name(hexes: str) -> str:
    return f".{hexes[2:]}.{os.getpid()}.{os.urandom(4).hex()}"


def _forget(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _regular(folder: int, name: str) -> os.stat_result | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def _stray(path: Path) -> Stray:
    status = path.lstat()
    is_draft = stat.S_ISREG(status.st_mode) and path.name.startswith(".")
    return Stray(str(path), status.st_size, status.st_mtime, is_draft)
