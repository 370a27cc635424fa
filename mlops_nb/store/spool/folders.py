"""The folders of spools as readers find them: judged, locked, and removed when all is taken in."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_nb.store.spool.homes import (
    ABOUT_FILE,
    DRAIN_LOCK,
    STAGED_FOLDER,
    fallback_root,
    read_about,
)
from mlops_nb.store.spool.owner import OWNER_FILE, Verdict, judge_owner
from mlops_nb.store.spool.segments import SUFFIX, segment_number, spool_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OUR_FILES = (
    *(ABOUT_FILE, OWNER_FILE, DRAIN_LOCK),
    *("drainer.lock", "drainer.log", "groups.msgpack", "redacted-digests"),
)
_LOCK_PAUSE_S = 0.01


@dataclass(frozen=True)
class SpoolFolders:
    """The folders of one spool: beside the store, and in the user's state folder.

    Attributes
    ----------
    id, session
        Of the spool and of the session that writes it; empty for a folder that is half made or
        half removed.
    candidates
        Where its segments can be, in the order in which they are locked.
    """

    id: str
    session: str
    candidates: tuple[Path, ...]

    @property
    def folders(self) -> list[Path]:
        """Those that exist."""
        return [folder for folder in self.candidates if folder.is_dir()]

    @property
    def is_there(self) -> bool:
        """Whether nobody has removed it; what others put there may be left."""
        return any((folder / ABOUT_FILE).exists() for folder in self.folders)

    def judge(self) -> Verdict:
        """Judge the owner; where folders differ, by the one that shows most life.

        A folder that a full disk left half made names no owner, and so says nothing beside
        another one.
        """
        owned = [folder for folder in self.folders if _names_owner(folder)]
        verdicts = {judge_owner(folder) for folder in owned or self.folders}
        order: tuple[Verdict, ...] = ("alive", "elsewhere", "expired")
        return next((verdict for verdict in order if verdict in verdicts), "dead")

    def remove(self) -> None:
        """Remove all; what tells readers about it goes last, so that they can finish this.

        What others put there stays, and the folder with it.
        """
        last = (ABOUT_FILE, OWNER_FILE, DRAIN_LOCK)
        for folder in self.folders:
            with contextlib.suppress(OSError):
                for path in filter(_is_ours, folder.iterdir()):
                    if path.name == STAGED_FOLDER:
                        shutil.rmtree(path, ignore_errors=True)
                    elif path.name not in last:
                        path.unlink(missing_ok=True)
                for name in last:
                    (folder / name).unlink(missing_ok=True)
                folder.rmdir()

    def remove_remains(self) -> None:
        """Remove a folder that tells of no spool, unless there is something else in it."""
        paths = [path for folder in self.folders for path in folder.iterdir()]
        if not any(segment_number(path) is not None or not _is_ours(path) for path in paths):
            self.remove()


def _is_ours(path: Path) -> bool:
    """Whether a file is one that a spool or its drainer makes, by its name."""
    if path.is_dir() and not path.is_symlink():
        return path.name == STAGED_FOLDER
    return path.name.startswith(_OUR_FILES) or path.name.endswith((SUFFIX, f"{SUFFIX}.new"))


def _names_owner(folder: Path) -> bool:
    try:
        return (folder / OWNER_FILE).stat().st_size > 0
    except OSError:
        return False


def find_spools(root: Path, state_dir: Path) -> list[SpoolFolders]:
    """Find all spools of a store.

    Parameters
    ----------
    root
        The store's spool folder.
    state_dir
        The user's state folder.
    """
    fallback = fallback_root(root, state_dir)
    found: dict[str, SpoolFolders] = {}
    for folder in (*_subfolders(root), *_subfolders(fallback)):
        about = read_about(folder)
        # After a power cut it may be empty; its segments name the spool too.
        name = _plain(about.get("spool")) or _plain(spool_id(folder))
        session = str(about.get("session") or name.rpartition(".")[0])
        is_first = bool(name) and folder.parent != fallback
        candidates = (folder, fallback / name) if is_first else (folder,)
        found.setdefault(name or str(folder), SpoolFolders(name, session, candidates))
    return list(found.values())


def _subfolders(root: Path) -> list[Path]:
    try:
        paths = (path for path in root.iterdir() if path.is_dir())
        return sorted(path for path in paths if not path.is_symlink())
    except OSError:
        return []


def _plain(name: object) -> str:
    """Accept the id of a spool, which becomes the name of a folder; no path."""
    is_plain = isinstance(name, str) and not set(name) & {"/", "\\", "\0"}
    return str(name) if is_plain and name not in {".", ".."} else ""


@contextlib.contextmanager
def locked(spool: SpoolFolders, deadline: float) -> Iterator[bool]:
    """Hold the locks of all folders of a spool, in one order; False if that took too long."""
    with contextlib.ExitStack() as stack:
        # Not `folders`: the second one may be made while the first is waited for.
        for folder in spool.candidates:
            if not folder.is_dir():
                continue
            descriptor = lock_file(folder / DRAIN_LOCK, deadline)
            if descriptor is None:
                yield False
                return
            stack.callback(_unlock, descriptor)
        yield bool(spool.folders)


def lock_file(path: Path, deadline: float) -> int | None:
    """Lock a file; None when it stays locked, went away, or may not be opened."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return None
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            os.close(descriptor)
            return None
        time.sleep(_LOCK_PAUSE_S)
    # The one who had it may have removed the spool, and this file with it.
    if not _is_still(path, descriptor):
        _unlock(descriptor)
        return None
    return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _unlock(descriptor: int) -> None:
    # Unlocked by name, not by closing: a process forked meanwhile has the descriptor too.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False
