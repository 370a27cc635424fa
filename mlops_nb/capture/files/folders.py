"""Which folders are worth watching below a place, the nearest first."""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_FOLDERS = 1_000
"""Folders that are watched below one root."""

_MOST_ENTRIES = 20_000
_MOUNT_TYPE = 2
_REMOTE = ("nfs", "cifs", "smb", "fuse.", "9p", "afs", "ceph", "lustre", "autofs", "glusterfs")
_SKIPPED = frozenset(
    {"node_modules", "__pycache__", "site-packages", "dist-packages", "venv", "env", "mlruns"}
)


def is_skipped(folder: str, ignored: frozenset[str] = frozenset()) -> bool:
    """Whether a folder holds no data of the user's: hidden, a package store, an environment."""
    name = os.path.basename(folder)  # noqa: PTH119  # one of very many
    if name.startswith(".") or folder in ignored:
        return True
    # A virtual environment may have any name, and says what it is.
    return name in _SKIPPED and (
        not name.endswith("env") or os.path.exists(os.path.join(folder, "pyvenv.cfg"))  # noqa: PTH110, PTH118
    )


def remote_mounts(table: str = "/proc/self/mounts") -> tuple[str, ...]:
    """Give the places of file systems that are somewhere else, and may not answer.

    Examples
    --------
    >>> remote_mounts("/missing")
    ()
    """
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as lines:  # noqa: PTH123
            fields = [line.split() for line in lines]
    except OSError:
        return ()
    return tuple(
        place[1].replace("\\040", " ").rstrip("/") + "/"
        for place in fields
        if len(place) > _MOUNT_TYPE and place[_MOUNT_TYPE].startswith(_REMOTE)
    )


def folders_below(root: str, ignored: frozenset[str] = frozenset()) -> Iterator[str]:
    """Give a folder and those below it, at most `MOST_FOLDERS`; links are not followed.

    Of a folder with very many files only the first 20,000 entries are looked at: the folder
    itself is watched as any other, and its files cost nothing.

    Examples
    --------
    >>> next(folders_below("/"))
    '/'
    """
    waiting, count = deque([root]), 0
    while waiting and count < MOST_FOLDERS:
        folder = waiting.popleft()
        count += 1
        yield folder
        waiting += [inner for inner in _inner(folder) if not is_skipped(inner, ignored)]


def _inner(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            found = [
                entry.path
                for entry in islice(entries, _MOST_ENTRIES)
                if entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
    return sorted(found)
