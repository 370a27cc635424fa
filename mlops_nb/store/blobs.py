"""Bytes stored once per distinct content, under the SHA-256 of what they are.

``blobs/ab/cdef…`` below the store's folder, or below any URL that fsspec can write. A blob is
complete or not there: it is written beside its place and then put there in one step.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from mlops_nb.errors import StoreError, StoreUnwritable

_COPY_BYTES = 1 << 20


class Blobs:
    """Content-addressed bytes below a folder or a URL."""

    def __init__(self, root: str) -> None:
        self._place: _LocalFiles | _RemoteFiles = (
            _RemoteFiles(root) if "://" in root else _LocalFiles(Path(root))
        )
        self.root = root

    def put(self, data: bytes) -> str:
        """Store bytes and return their address, ``sha256:…``.

        Raises
        ------
        StoreUnwritable
            The folder may not be written, or its disk is full.
        """
        digest = hashlib.sha256(data).hexdigest()
        self._place.write(_path_of(digest), data)
        return f"sha256:{digest}"

    def put_file(self, file: Path) -> tuple[str, int]:
        """Store the bytes of a file and return their address and number.

        Raises
        ------
        OSError
            The file cannot be read.
        StoreUnwritable
            The folder may not be written, or its disk is full.
        """
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
        self._place.copy(_path_of(digest), file)
        return f"sha256:{digest}", size

    def read(self, digest: str) -> bytes:
        """Read the bytes at an address, and check that they are what the address says.

        Raises
        ------
        StoreError
            The address has another form, nothing is there, or it was changed.
        """
        hexes = _hexes(digest, self.root)
        try:
            data = self._place.read(_path_of(hexes))
        except FileNotFoundError:
            problem = f"no bytes are kept for {digest}"
            raise StoreError(self.root, problem, "They may have been removed.") from None
        except OSError as error:
            problem = f"{digest} cannot be read ({error.strerror})"
            raise StoreError(self.root, problem, "Check the folder's owner and disk.") from None
        if hashlib.sha256(data).hexdigest() != hexes:
            problem = f"the bytes kept for {digest} were changed"
            raise StoreError(self.root, problem, "Take them from a backup of the store.")
        return data

    def has(self, digest: str) -> bool:
        """Say whether the bytes at an address are there."""
        return self._place.has(_path_of(_hexes(digest, self.root)))

    def make_durable(self) -> None:
        """Wait until what was written is on the disk."""
        self._place.sync()


def _path_of(hexes: str) -> str:
    return f"{hexes[:2]}/{hexes[2:]}"


def _hexes(digest: str, root: str) -> str:
    """Check an address, which becomes a path."""
    algorithm, _, hexes = digest.partition(":")
    if algorithm != "sha256" or len(hexes) != 64 or set(hexes) - set("0123456789abcdef"):  # noqa: PLR2004
        raise StoreError(root, f"{digest!r} is no address of bytes", "It looks like sha256:<hex>.")
    return hexes


class _LocalFiles:
    """Files below a folder, private to the user."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._unsynced: list[Path] = []

    def write(self, name: str, data: bytes) -> None:
        def fill(handle: int) -> None:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]

        self._create(name, fill)

    def copy(self, name: str, file: Path) -> None:
        def fill(handle: int) -> None:
            with file.open("rb") as source, os.fdopen(os.dup(handle), "wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)

        self._create(name, fill)

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def has(self, name: str) -> bool:
        return (self._root / name).is_file()

    def sync(self) -> None:
        files, self._unsynced = self._unsynced, []
        for path in {*files, *(file.parent for file in files)}:
            try:
                handle = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _create(self, name: str, fill: Any) -> None:
        path = self._root / name
        if path.is_file():
            return
        part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                fill(handle)
            finally:
                os.close(handle)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            problem = f"bytes cannot be written ({error.strerror})"
            remedy = "Free some space or make the folder writable; nothing else was lost."
            raise StoreUnwritable(str(self._root), problem, remedy) from None
        self._unsynced.append(path)


class _RemoteFiles:
    """Objects below a URL, by fsspec."""

    def __init__(self, root: str) -> None:
        from fsspec.core import url_to_fs

        self._files: Any
        self._files, self._root = url_to_fs(root)

    def write(self, name: str, data: bytes) -> None:
        path = self._at(name)
        if not self._files.exists(path):
            # An object store shows an object when it is complete.
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, data)

    def copy(self, name: str, file: Path) -> None:
        path = self._at(name)
        if not self._files.exists(path):
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(file), path)

    def read(self, name: str) -> bytes:
        return bytes(self._files.cat_file(self._at(name)))

    def has(self, name: str) -> bool:
        return bool(self._files.exists(self._at(name)))

    def sync(self) -> None:
        """Do nothing: an object that was accepted is durable."""

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"
