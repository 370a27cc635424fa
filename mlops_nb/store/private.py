"""Files and folders that only this user can read, whatever the process's umask says."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def open_private(path: Path, mode: str) -> IO[Any]:
    """Open a file, which is made private to the user if it is not there.

    Parameters
    ----------
    mode
        A binary one, as `open` takes it.
    """
    return open(path, mode, opener=_private)


def make_private(folder: Path) -> None:
    """Make a folder and those above it that are missing, all private to the user."""
    for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
