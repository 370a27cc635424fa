"""Bytes stored once per distinct content, under the SHA-256 of what they are.

``blobs/ab/cdef…`` below the store's folder, or below any URL that fsspec can write. A blob is
complete or not there: it is written beside its place and then put there in one step.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from mlops_nb.errors import StoreError
from mlops_nb.store.blobs.local_files import Kept, LocalFiles, Stray, is_address, why_unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Blobs", "Kept", "Place", "Stray", "hexes_of"]

State: TypeAlias = Literal["ok", "gone", "changed"]

_ALGORITHM = "sha256:"
_FUTURE_S = 24 * 3600.0  # whatever a server's clock says


class Place(Protocol):
    """Where bytes lie, by the digits of their SHA-256: files, objects, or rows of a server."""

    def write(self, hexes: str, data: bytes) -> None:
        """Write bytes, unless they are there."""
        ...

    def copy(self, hexes: str, file: Path, size_bytes: int) -> None:
        """Write the bytes of a file, unless they are there."""
        ...

    def take(self, hexes: str, chunks: Iterable[bytes]) -> None:
        """Write bytes that come in pieces, in place of what may be there; refuse wrong ones."""
        ...

    def read(self, hexes: str) -> bytes:
        """Read bytes, whatever they are."""
        ...

    def chunks(self, hexes: str, size_bytes: int | None = None) -> Iterator[bytes]:
        """Read bytes in pieces, whatever they are."""
        ...

    def has(self, hexes: str) -> bool:
        """Say whether there are bytes."""
        ...

    def everything(self) -> Iterator[Kept | Stray]:
        """List what is there, in the order of the addresses."""
        ...

    def remove(self, hexes: str, before_s: float) -> bool:
        """Remove bytes that nobody has put since a time (seconds); whether it did."""
        ...

    def sync(self) -> None:
        """Wait until what was written is durable."""
        ...


class Blobs:
    """Content-addressed bytes below a folder or a URL.

    Parameters
    ----------
    root
        The folder, or a URL such as ``s3://bucket/folder``.
    place
        Another place, which `root` only names.

    Attributes
    ----------
    root
        The same, without credentials.
    is_remote
        Whether reading costs a request.
    """

    def __init__(self, root: str, place: Place | None = None) -> None:
        self.is_remote = "://" in root
        self.root = root
        self._place: Place
        if place is not None:
            self._place = place
        elif self.is_remote:
            from mlops_nb.store.blobs.objects import Objects

            objects = Objects(root)
            self._place = objects
            self.root = objects.place
        else:
            self._place = LocalFiles(Path(root))

    def put(self, data: bytes) -> str:
        """Store bytes and return their address, ``sha256:…``.

        Raises
        ------
        StoreUnwritable
            The folder may not be written, or its disk is full; the server is away or says no.
        """
        hexes = hashlib.sha256(data).hexdigest()
        self._place.write(hexes, data)
        return _ALGORITHM + hexes

    def put_file(self, file: Path) -> tuple[str, int]:
        """Store the bytes of a file and return their address and number.

        Raises
        ------
        OSError
            The file cannot be read.
        StoreUnwritable
            The folder may not be written, or its disk is full; the server is away or says no.
        """
        with file.open("rb") as stream:
            hexes = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
        self._place.copy(hexes, file, size)
        return _ALGORITHM + hexes, size

    def adopt(self, digest: str, file: Path, size_bytes: int) -> None:
        """Store a file whose address is known; it may only be read from then on.

        In a folder on the same file system it is linked and not read, so the address is believed;
        else it is checked while it is copied.

        Raises
        ------
        OSError
            The file cannot be read.
        StoreUnwritable
            The folder may not be written, or its disk is full; the server is away or says no.
        StoreError
            The file is not what the address says, or has another size.
        """
        hexes = hexes_of(digest, self.root)
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != size_bytes:
            problem = f"{file.name} is not the file of {size_bytes:,} bytes that it was"
            raise StoreError(self.root, problem, "Nothing was written.")
        if isinstance(self._place, LocalFiles):
            self._place.adopt(hexes, file, size_bytes)
            return
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != hexes:
                raise self._changed(digest)
        self._place.copy(hexes, file, size_bytes)

    def lend(self, digest: str, file: Path, size_bytes: int) -> None:
        """Lay the bytes at an address at a path, only to be read, once they were checked.

        In a folder on the same file system the file is a link, and bytes that were checked or
        stored through this object, and not touched since, are not read again.

        Raises
        ------
        StoreError
            Nothing is there, or it was changed; then there is nothing at the path.
        """
        hexes = hexes_of(digest, self.root)
        if isinstance(self._place, LocalFiles):
            try:
                is_right = self._place.lend(hexes, file)
            except FileNotFoundError:
                raise self._missing(digest) from None
            except OSError as error:
                raise self._unreadable(digest, error) from None
            if not is_right:
                raise self._changed(digest)
            return
        draft = file.with_name(f".{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            with draft.open("xb") as stream:
                for chunk in self.chunks(digest, size_bytes):
                    stream.write(chunk)
            draft.chmod(0o400)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)

    def discard(self, digest: str) -> bool:
        """Remove bytes that are not what their address says; whether it did."""
        if self.state(digest) != "changed":
            return False
        return self._place.remove(hexes_of(digest, self.root), time.time() + _FUTURE_S)

    def read(self, digest: str) -> bytes:
        """Read the bytes at an address, and check that they are what the address says.

        Raises
        ------
        StoreError
            The address has another form, nothing is there, or it was changed.
        """
        hexes = hexes_of(digest, self.root)
        try:
            data = self._place.read(hexes)
        except FileNotFoundError:
            raise self._missing(digest) from None
        except OSError as error:
            raise self._unreadable(digest, error) from None
        if hashlib.sha256(data).hexdigest() != hexes:
            raise self._changed(digest)
        return data

    def chunks(self, digest: str, size_bytes: int | None = None) -> Iterator[bytes]:
        """Read the bytes at an address in pieces; after the last one they were checked.

        Raises
        ------
        StoreError
            As `read`; for bytes that were changed, only after all of them were given out.
        """
        hexes = hexes_of(digest, self.root)
        sha256 = hashlib.sha256()
        try:
            for chunk in self._place.chunks(hexes, size_bytes):
                sha256.update(chunk)
                yield chunk
        except FileNotFoundError:
            raise self._missing(digest) from None
        except StoreError:
            raise
        except OSError as error:
            raise self._unreadable(digest, error) from None
        if sha256.hexdigest() != hexes:
            raise self._changed(digest)

    def take(self, digest: str, chunks: Iterable[bytes]) -> None:
        """Store bytes that come in pieces, in place of what may be at their address.

        Raises
        ------
        StoreError
            They are not what the address says; then nothing was stored.
        """
        self._place.take(hexes_of(digest, self.root), chunks)

    def state(self, digest: str, size_bytes: int | None = None) -> State:
        """Read all bytes at an address where they lie, and say how they are."""
        hexes = hexes_of(digest, self.root)
        sha256 = hashlib.sha256()
        try:
            for chunk in self._place.chunks(hexes, size_bytes):
                sha256.update(chunk)
        except FileNotFoundError:
            return "gone"
        except StoreError:
            raise
        except OSError:
            return "changed"
        return "ok" if sha256.hexdigest() == hexes else "changed"

    def has(self, digest: str) -> bool:
        """Say whether the bytes at an address are there."""
        return self._place.has(hexes_of(digest, self.root))

    def everything(self) -> Iterator[Kept | Stray]:
        """List all bytes in the order of their addresses, and what lies between them."""
        return self._place.everything()

    def remove(self, digest: str, before_s: float) -> bool:
        """Remove bytes, unless somebody has put them since `before_s` (seconds, epoch)."""
        return self._place.remove(hexes_of(digest, self.root), before_s)

    def make_durable(self) -> None:
        """Wait until what was written is on the disk."""
        self._place.sync()

    def _missing(self, digest: str) -> StoreError:
        return StoreError(
            self.root, f"no bytes are kept for {digest}", "They may have been removed."
        )

    def _unreadable(self, digest: str, error: OSError) -> StoreError:
        problem = f"{digest} cannot be read ({why_unreadable(error)})"
        return StoreError(self.root, problem, "Check the folder's owner and disk.")

    def _changed(self, digest: str) -> StoreError:
        problem = f"the bytes kept for {digest} were changed"
        return StoreError(self.root, problem, "Take them from a backup of the store.")


def hexes_of(digest: str, root: str) -> str:
    """Check an address, which becomes a path; give its digits.

    Raises
    ------
    StoreError
        It has another form.
    """
    hexes = digest.removeprefix(_ALGORITHM)
    if hexes == digest or not is_address(hexes):
        raise StoreError(root, f"{digest!r} is no address of bytes", "It looks like sha256:<hex>.")
    return hexes
