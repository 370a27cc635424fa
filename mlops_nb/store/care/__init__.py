"""What people do with a whole store: copy it, check it, back it up, remove what it does not need.

Sources are drained first, so that what notebooks recorded before the call is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors import StoreError
from mlops_nb.store.care.backup import back_up, unpacked
from mlops_nb.store.care.checking import check_folder, check_parts
from mlops_nb.store.care.collecting import KEEP_S, collect, find_garbage
from mlops_nb.store.care.copying import copy_store
from mlops_nb.store.database import Store
from mlops_nb.store.locate import spool_root
from mlops_nb.store.parts import GRACE_S, no_progress
from mlops_nb.store.spool.folders import find_spools
from mlops_nb.store.spool.homes import state_folder
from mlops_nb.store.upgrade import upgrade_store

if TYPE_CHECKING:
    from mlops_nb.store.care.backup import BackupReport
    from mlops_nb.store.care.checking import CheckReport
    from mlops_nb.store.care.collecting import Collection
    from mlops_nb.store.care.copying import CopyReport
    from mlops_nb.store.parts import OnProgress, StoreFinding

__all__ = [
    "backup",
    "check",
    "collect_garbage",
    "copy",
    "still_writing",
    "unpacked",
    "upgrade_store",
]


def copy(
    source: str | Path, target: str | Path, *, on_progress: OnProgress = no_progress
) -> CopyReport:
    """Copy everything of one store into another, and check by digest what is there then.

    Run again, it adds what is new and changes nothing else. What the target had stays.

    Parameters
    ----------
    source
        Folder of a store, URL of a server, or folder or file of a backup. Nothing is changed in
        it but that waiting records are taken in.
    target
        Folder of a store, made if it is not there, or URL of a server.
    on_progress
        Watches.

    Raises
    ------
    StoreNotFound
        There is no such source.
    StoreError
        The target holds another run under the same id; then nothing was copied. Or one of the
        two cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Store.open(f"{folder}/a", create=True).close()
    ...     copy(f"{folder}/a", f"{folder}/b").is_well
    True
    """
    if "://" in str(source):
        return _copy(str(source), target, on_progress)
    with unpacked(Path(source)) as folder:
        report = _copy(folder, target, on_progress)
    report.source = str(source)
    return report


def _copy(source: str | Path, target: str | Path, on_progress: OnProgress) -> CopyReport:
    _require_two(source, target)
    with Store.open(source) as here:
        here.refresh()
        with (
            Store.open(target, create=True) as there,
            here.inside() as source_parts,
            there.inside() as target_parts,
        ):
            report = copy_store(source_parts, target_parts, on_progress=on_progress)
            there.make_durable()
        report.still_writing = still_writing(here)
    return report


def _require_two(source: str | Path, target: str | Path) -> None:
    is_same = str(source) == str(target)
    if "://" not in f"{source}{target}":
        is_same = is_same or Path(source).resolve() == Path(target).resolve()
    if is_same:
        problem = "this is the store that was to be copied"
        raise StoreError(str(target).rpartition("@")[2], problem, "Give another one as TO.")


def check(
    location: str | Path, *, is_quick: bool = False, on_progress: OnProgress = no_progress
) -> CheckReport:
    """Check a store, even one that can no longer be opened; nothing is changed.

    Parameters
    ----------
    location
        Its folder, URL of a server, or folder or file of a backup.
    is_quick
        Whether bytes are only counted and measured, not read.
    on_progress
        Watches.

    Raises
    ------
    StoreNotFound
        There is none.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Store.open(folder, create=True).close()
    ...     check(folder).findings
    []
    """
    if "://" not in str(location):
        with unpacked(Path(location)) as folder:
            report = check_folder(folder, is_quick=is_quick, on_progress=on_progress)
        report.location = str(location)
        return report
    with Store.open(location) as store, store.inside() as parts:
        return check_parts(parts, is_quick=is_quick, on_progress=on_progress)


def collect_garbage(
    store: Store,
    *,
    is_done: bool = False,
    keep_s: float = KEEP_S,
    grace_s: float = GRACE_S,
    on_progress: OnProgress = no_progress,
) -> Collection:
    """Find what a store no longer needs, and remove it if that is wanted.

    Parameters
    ----------
    store
        An open store.
    is_done
        Whether it is removed; else it is only found.
    keep_s
        Runs deleted, and backups made, in the last so many seconds stay.
    grace_s
        Bytes put in the last so many seconds stay; an hour at least.
    on_progress
        Watches.
    """
    store.refresh()
    with store.inside() as parts:
        found = find_garbage(parts, keep_s=keep_s, grace_s=grace_s, on_progress=on_progress)
        if is_done and not found.is_empty:
            return collect(parts, found, grace_s=grace_s, on_progress=on_progress)
    found.is_done = is_done
    return found


def backup(
    store: Store, target: Path | None = None, *, on_progress: OnProgress = no_progress
) -> BackupReport:
    """Save a store as it is now into a folder or a file; others may go on writing to it.

    Parameters
    ----------
    store
        An open store.
    target
        A folder that is not there yet, or a file whose name ends in ``.tar``; by default a folder
        named by the time, inside the store.
    on_progress
        Watches.

    Raises
    ------
    StoreUnwritable
        The target is there already, or cannot be written.
    """
    store.refresh()

    def copy_rows(folder: Path) -> list[StoreFinding]:
        with Store.open(folder, create=True) as made, made.inside() as there:
            return copy_store(parts, there, on_progress=on_progress).findings

    with store.inside() as parts:
        report = back_up(
            parts,
            target,
            copy_rows=None if store.folder is not None else copy_rows,
            on_progress=on_progress,
        )
    report.still_writing = still_writing(store)
    return report


def still_writing(store: Store) -> tuple[str, ...]:
    """List the sessions of this machine that may still write to a store."""
    root = spool_root(store.location, state_folder())
    spools = find_spools(root, state_folder())
    alive = {spool.session for spool in spools if spool.judge() in {"alive", "elsewhere"}}
    return tuple(sorted(alive - {""}))
