"""Bytes of a remote store kept on this machine, so that they are fetched once.

A cache, and nothing more: it is private, bounded, checked at each read, and whatever goes wrong
with it means only that the bytes are fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mlops_nb.store.blobs.local_files import COPY_BYTES, is_address

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE_VARIABLE = "MLOPS_NB_BLOB_CACHE_BYTES"
DEFAULT_BYTES = 2_000_000_000
_TO_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# After an overflow so much is free again, so that not each new file makes room for itself.
_KEPT_SHARE = 0.9


class BlobCache:
    """Files of this user by the SHA-256 of their bytes; the least recently used go first.

    Parameters
    ----------
    folder
        Where they are; by default in the user's cache folder.
    limit_bytes
        How much is kept; 0 keeps nothing. By default what ``MLOPS_NB_BLOB_CACHE_BYTES`` says.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int | None = None) -> None:
        self._folder = folder or cache_folder()
        self._limit = _limit_from_environment() if limit_bytes is None else limit_bytes
        self._size: int | None = None  # known when it was counted once

    def read(self, hexes: str) -> bytes | None:
        """Read bytes; None where they are not kept, or were damaged and are no longer."""
        with self.open(hexes) as file:
            return None if file is None else file.read()

    @contextlib.contextmanager
    def open(self, hexes: str) -> Iterator[BinaryIO | None]:
        """Open bytes that were checked; what is open stays readable when it is thrown out."""
        file = self._checked(hexes)
        try:
            yield file
        finally:
            if file is not None:
                file.close()

    def put(self, hexes: str, data: bytes) -> None:
        """Keep bytes, where there is room."""
        if len(data) > self._limit // 4:
            return
        with contextlib.suppress(OSError), self.draft() as draft:
            draft.write_bytes(data)
            self.adopt(hexes, draft)

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        """Give a private file to write into, which is removed unless it is adopted."""
        place = self._folder if self._is_usable() else None
        handle, name = tempfile.mkstemp(prefix="draft-", dir=place)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def adopt(self, hexes: str, draft: Path) -> None:
        """Keep a file that `draft` gave and whose bytes were checked."""
        size = draft.stat().st_size
        if size > self._limit or draft.parent != self._folder:
            return
        target = self._path(hexes)
        with contextlib.suppress(OSError):
            target.parent.mkdir(mode=0o700, exist_ok=True)
            draft.replace(target)
            self._make_room(size)

    # --- files --------------------------------------------------------------------------------

    def _checked(self, hexes: str) -> BinaryIO | None:
        if not self._limit or not self._is_usable():
            return None
        path = self._path(hexes)
        try:
            handle = os.open(path, _TO_READ)
        except OSError:
            return None
        file = os.fdopen(handle, "rb")
        if stat.S_ISREG(os.fstat(handle).st_mode) and _sha256(file) == hexes:
            with contextlib.suppress(OSError):
                os.utime(handle)
            file.seek(0)
            return file
        file.close()
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def _path(self, hexes: str) -> Path:
        assert is_address(hexes)  # noqa: S101 - the caller has checked it
        return self._folder / hexes[:2] / hexes[2:]

    def _is_usable(self) -> bool:
        """Say whether the folder is ours alone; it is made where it is not there."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self._folder.lstat()
        except OSError:
            return False
        is_private = not stat.S_IMODE(status.st_mode) & 0o077
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and is_private

    # --- room ---------------------------------------------------------------------------------

    def _make_room(self, added: int) -> None:
        """Throw out what was not used for longest, when there is too much."""
        self._size = None if self._size is None else self._size + added
        if self._size is not None and self._size <= self._limit:
            return
        # Counted anew: other processes use the same folder.
        files = sorted(self._files())
        self._size = sum(size for _, size, _ in files)
        if self._size <= self._limit:
            return
        for _, size, path in files:
            if self._size <= self._limit * _KEPT_SHARE:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                self._size -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(OSError):
                    status = path.lstat()
                    yield status.st_mtime, status.st_size, path


def cache_folder() -> Path:
    """Return this user's folder for bytes of remote stores, by the XDG rules."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():
        return Path(given) / "mlops_nb" / "blobs"
    try:
        return Path.home() / ".cache" / "mlops_nb" / "blobs"
    except RuntimeError:  # no HOME and no such user: containers with an arbitrary uid
        return Path(tempfile.gettempdir()) / f"mlops_nb-{os.getuid()}" / "blobs"


def _limit_from_environment() -> int:
    text = os.environ.get(SIZE_VARIABLE, "")
    return int(text) if text.isdigit() else DEFAULT_BYTES


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(COPY_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
