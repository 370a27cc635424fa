"""Values of steps as bytes of a store: linked where that can be, and checked before use."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mlops_nb.errors import StoreError, StoreUnwritable
from mlops_nb.errors.values import CorruptValue

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.model.pipelines import Packed, PackedFile
    from mlops_nb.store.blobs import Blobs

_ADDRESS = "sha256:"


def put_values(blobs: Blobs, packed: Packed, folder: Path) -> None:
    """Keep the files of a unit.

    Raises
    ------
    CorruptValue
        A file is not there, or is not what `packed` says of it.
    """
    for each in packed.files:
        path = _below(packed, folder, each, "")
        try:
            blobs.adopt(each.digest, path, each.size_bytes)
        except (FileNotFoundError, NotADirectoryError):
            raise CorruptValue(packed.names, "", f"{each.name} is not there") from None
        except StoreUnwritable:
            raise
        except StoreError as error:
            raise CorruptValue(packed.names, "", error.problem) from None


def fetch_values(
    blobs: Blobs, packed: Packed, folder: Path, step: str, *, may_repair: bool
) -> None:
    """Lay the files of a unit into a folder, only to be read.

    Raises
    ------
    CorruptValue
        Bytes are gone, or are not what they were.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in packed.files:
        path = _below(packed, folder, each, step)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            blobs.lend(each.digest, path, each.size_bytes)
        except StoreError as error:
            _repair(blobs, each.digest, may_repair=may_repair)
            raise CorruptValue(packed.names, step, error.problem) from None


def fetch_file(
    blobs: Blobs, digest: str, size_bytes: int, path: Path, step: str, *, may_repair: bool
) -> None:
    """Write a file as it was, in one step, in place of what may be there.

    Raises
    ------
    CorruptValue
        Its bytes are gone, or are not what they were.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with draft.open("xb") as file:
            for chunk in blobs.chunks(digest, size_bytes):
                file.write(chunk)
        if path.exists():
            shutil.copymode(path, draft)
        draft.replace(path)
    except StoreError as error:
        _repair(blobs, digest, may_repair=may_repair)
        raise CorruptValue((str(path),), step, error.problem) from None
    finally:
        draft.unlink(missing_ok=True)


def _repair(blobs: Blobs, digest: str, *, may_repair: bool) -> None:
    """Remove bytes that are not what their address says, which else would never be put again."""
    if may_repair and digest.startswith(_ADDRESS):
        with contextlib.suppress(StoreError, OSError):  # then the step's own saving will say so
            blobs.discard(digest)


def _below(packed: Packed, folder: Path, file: PackedFile, step: str) -> Path:
    """Give the path of a file of a unit; a store from elsewhere may name any other."""
    parts = PurePosixPath(file.name).parts
    if not parts or PurePosixPath(file.name).is_absolute() or {"..", "."} & set(parts):
        raise CorruptValue(packed.names, step, f"{file.name!r} is no file of a unit")
    return folder.joinpath(*parts)
