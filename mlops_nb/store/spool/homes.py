"""Where the files of one spool lie: beside the store, or in the user's state folder.

A folder of a spool holds ``about.json`` (which spool, session and store), ``owner`` (the mark of
the living process), ``drain.lock``, the segments, and copies of files under ``staged``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mlops_nb.capture.guard import guard
from mlops_nb.config import Settings, load_settings
from mlops_nb.errors import BadSetting
from mlops_nb.store.private import make_private, open_private
from mlops_nb.store.spool.owner import OwnerLock
from mlops_nb.store.spool.segments import SEGMENT_BYTES, SegmentFile

if TYPE_CHECKING:
    from collections.abc import Callable

ABOUT_FILE = "about.json"
DRAIN_LOCK = "drain.lock"
STAGED_FOLDER = "staged"


def state_folder() -> Path:
    """Return the user's folder for what cannot lie beside a store."""
    try:
        return load_settings().state_dir
    except BadSetting:
        return Settings().state_dir


def fallback_root(root: Path, state_dir: Path) -> Path:
    """Return where the spools of a store lie when its own folder cannot be written.

    Parameters
    ----------
    root
        The spool folder of the store.
    state_dir
        The user's state folder.
    """
    name = sha256(os.fsencode(root.resolve())).hexdigest()[:24]
    return state_dir / "spool" / name


def read_about(folder: Path) -> dict[str, str]:
    """Read which spool, session and store a folder belongs to; {} while it is being made."""
    try:
        about = json.loads((folder / ABOUT_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


class Homes:
    """The folders of one spool: the first that takes a file has it.

    Parameters
    ----------
    root
        The spool folder of the store.
    spool, session
        Ids.
    state_dir
        The user's state folder.
    on_trouble
        Is told once that a folder cannot be written.

    Attributes
    ----------
    folder
        The first folder that could be made, or would be.
    """

    def __init__(
        self,
        root: Path,
        spool: str,
        session: str,
        state_dir: Path,
        on_trouble: Callable[[str], None] | None,
    ) -> None:
        self._about = {"spool": spool, "session": session, "root": str(root.resolve())}
        self._state_dir, self._on_trouble, self._has_told = state_dir, on_trouble, False
        self._folders = (_free_folder(root, session), fallback_root(root, state_dir) / spool)
        self._owners: dict[Path, OwnerLock] = {}
        self._lock = threading.Lock()
        self._number = 0
        self.folder = self._folders[0]

    def make_segment(self, size_bytes: int = SEGMENT_BYTES) -> SegmentFile | None:
        """Make the next segment by number; None where no disk has room for it."""
        for folder in self._folders:
            try:
                self._open(folder)
                segment = SegmentFile(folder, self._number, self._about["spool"], size_bytes)
            except OSError as trouble:
                self.tell(folder, trouble)
                continue
            self._number += 1
            return segment
        return None

    def grow(self, segment: SegmentFile, size_bytes: int) -> bool:
        """Make room in an empty segment, which is removed where there is none."""
        try:
            segment.grow(size_bytes)
        except OSError as trouble:
            self.tell(segment.path.parent, trouble)
            segment.discard()
            return False
        return True

    def stage(self, path: str | os.PathLike[str]) -> str | None:
        """Copy a file, as it is now; gives the copy's name, None where no disk took it."""
        name = f"{STAGED_FOLDER}/{os.urandom(8).hex()}"
        with Path(path).open("rb") as source:
            for folder in self._folders:
                try:
                    self._open(folder)
                    _copy(source, folder / name)
                except OSError as trouble:
                    self.tell(folder, trouble)
                    continue
                return name
        return None

    def renew(self) -> None:
        """Renew the owner's lease."""
        for owner in tuple(self._owners.values()):
            owner.renew()

    def release(self) -> None:
        """Say that nothing will follow."""
        for owner in self._owners.values():
            owner.release()

    def forget(self) -> None:
        """In a forked child: these are the parent's, locks included."""
        self._owners, self._lock, self._has_told = {}, threading.Lock(), True

    def tell(self, place: Path, trouble: OSError) -> None:
        """Tell once that records go elsewhere."""
        if self._has_told:
            return
        self._has_told = True
        if self._on_trouble is not None:
            with guard("spool"):
                self._on_trouble(
                    f"mlops_nb: {place} cannot be written ({trouble.strerror or trouble}). Your "
                    f"cells are not affected; records are kept in {self._state_dir}, or in "
                    "memory, until it can. See: %mlops_doctor"
                )

    def _open(self, folder: Path) -> None:
        """Make a folder, with what readers need to know about it."""
        with self._lock:
            if folder in self._owners:
                return
            # A store that was removed later on must not come back as an empty folder.
            if folder is not self._folders[0] or self._number == 0:
                make_private(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)
            with open_private(folder / ABOUT_FILE, "wb") as file:
                file.write(json.dumps(self._about).encode())
            (folder / DRAIN_LOCK).touch(mode=0o600)
            owner = OwnerLock(folder)
            if not self._owners:
                self.folder = folder
            self._owners[folder] = owner


def _copy(source: IO[bytes], target: Path) -> None:
    """Copy an open file; on trouble nothing of the copy is left."""
    source.seek(0)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        with open_private(target, "xb") as copy:
            shutil.copyfileobj(source, copy, 1024 * 1024)
    except OSError:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        raise


def _free_folder(root: Path, session: str) -> Path:
    """Return a folder that no earlier spool of the session has."""
    folder, count = root / session, 1
    while os.path.lexists(folder):
        count += 1
        folder = root / f"{session}.{count}"
    return folder
