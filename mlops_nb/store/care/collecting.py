"""What a store no longer needs, found first and removed when somebody says so.

Bytes that nothing refers to, what deleted runs had, old backups, folders of spools with nothing in
them. Anything that a run needs which is not deleted stays: an execution of another run's slice, a
source, an environment, a fingerprint, a file that a later cell read. Bytes that were put less than
a grace ago stay too: whoever drains a spool puts bytes first and rows after that.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select

from mlops_nb.store import edits, schema
from mlops_nb.store.care.blob_copying import listed
from mlops_nb.store.care.blob_references import hexes_in, mentioned, named_blobs
from mlops_nb.store.parts import DAY_S, GRACE_S, no_progress, snapshot
from mlops_nb.store.pipelines.results import forget_runs
from mlops_nb.store.reading.queries import in_chunks
from mlops_nb.store.schema import executions, files, runs, sessions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

    from mlops_nb.store.blobs import Kept
    from mlops_nb.store.parts import OnProgress, StoreParts

KEEP_S = 30 * DAY_S
BACKUPS = "backups"
ABOUT = "backup.json"
"""What tells a backup in a folder from any other folder."""
ARCHIVES = (".tar",)
# Bytes that are put again become young only after a while, which has to be far less than this.
LEAST_GRACE_S = 3600.0
_VACUUM_SHARE, _VACUUM_PAGES = 0.2, 256
_PART_OF_RUN = tuple(table for table in edits.PARTS if table is not schema.run_executions)


@dataclass
class Collection:
    """What can go, or has gone.

    Attributes
    ----------
    runs
        Deleted runs that still have content, by id.
    executions, sources, fingerprints
        What only they needed.
    late_rows
        Rows that came for runs after those were removed.
    blobs, drafts
        Bytes that nothing refers to, and halves of files that a killed process left.
    backups
        Old copies of the database, and old backups inside the store's folder.
    empty_folders
        Of spools.
    too_young
        How many bytes nothing refers to that are younger than the grace; they stay.
    is_done
        Whether all this is gone.
    freed_bytes
        How much smaller the database file became.
    """

    location: str
    runs: list[str] = field(default_factory=list)
    executions: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    late_rows: int = 0
    blobs: list[Kept] = field(default_factory=list)
    drafts: list[tuple[str, int]] = field(default_factory=list)
    backups: list[tuple[str, int]] = field(default_factory=list)
    empty_folders: list[str] = field(default_factory=list)
    too_young: int = 0
    is_done: bool = False
    freed_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """How many bytes in files can go."""
        blobs = sum(each.size_bytes for each in self.blobs)
        return blobs + sum(size for _, size in (*self.drafts, *self.backups))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        found = (self.runs, self.late_rows, self.blobs, self.drafts, self.backups)
        return not any((*found, self.empty_folders))


def find_garbage(
    parts: StoreParts,
    *,
    keep_s: float = KEEP_S,
    grace_s: float = GRACE_S,
    on_progress: OnProgress = no_progress,
) -> Collection:
    """Find what can be removed; nothing is changed.

    Parameters
    ----------
    parts
        A store, drained.
    keep_s
        Runs deleted, and backups made, in the last so many seconds stay.
    grace_s
        Bytes put in the last so many seconds stay; an hour at least.
    on_progress
        Watches.
    """
    now_s = time.time()
    found = Collection(parts.location)
    on_progress("rows", 0, 0)
    with snapshot(parts) as connection:
        found.runs = edits.deleted_runs(connection, before_ns=int((now_s - keep_s) * 1e9))
        dead = set(found.runs)
        found.executions = sorted(_dead_executions(connection, dead))
        found.sources = sorted(_dead_sources(connection, set(found.executions)))
        found.fingerprints = sorted(_dead_fingerprints(connection, dead))
        found.late_rows = sum(_count_late(connection))
        on_progress("bytes", 0, 0)
        _find_bytes(parts, connection, found, now_s - max(grace_s, LEAST_GRACE_S))
    _find_files(parts, found, now_s - keep_s)
    return found


def collect(
    parts: StoreParts,
    found: Collection,
    *,
    grace_s: float = GRACE_S,
    on_progress: OnProgress = no_progress,
) -> Collection:
    """Remove what `find_garbage` found, if it is still garbage.

    Parameters
    ----------
    parts
        The same store.
    found
        What was found.
    grace_s
        Bytes put in the last so many seconds stay; an hour at least.
    on_progress
        Watches.
    """
    before = _database_bytes(parts)
    _remove_rows(parts, found)
    before_s = time.time() - max(grace_s, LEAST_GRACE_S)
    done = Collection(parts.location)
    with snapshot(parts) as connection:  # a row may have come that names some of the bytes
        needed = _needed(connection, {each.hexes for each in found.blobs}, set(), set())
    for count, each in enumerate(found.blobs, start=1):
        if each.hexes not in needed and parts.blobs.remove(f"sha256:{each.hexes}", before_s):
            done.blobs.append(each)
        on_progress("remove bytes", count, len(found.blobs))
    done.drafts = [each for each in found.drafts if _is_removed(Path(each[0]))]
    done.backups = [each for each in found.backups if _is_removed(Path(each[0]))]
    done.empty_folders = [each for each in found.empty_folders if _is_folder_removed(Path(each))]
    for name in ("runs", "executions", "sources", "fingerprints", "late_rows", "too_young"):
        setattr(done, name, getattr(found, name))
    done.is_done = True
    _give_back(parts)
    done.freed_bytes = max(before - _database_bytes(parts), 0)
    return done


# --- rows ---------------------------------------------------------------------------------------


def _dead_executions(connection: Connection, dead: set[str]) -> set[str]:
    """Find the executions that only deleted runs need.

    Nothing goes of a session that may still go on: its next run may need any earlier cell.
    """
    if not dead:
        return set()
    table = schema.run_executions
    candidates: set[str] = set()
    for chunk in in_chunks(sorted(dead)):
        candidates.update(
            connection.scalars(select(table.c.execution).where(table.c.run.in_(chunk)))
        )
    candidates -= _needed_executions(connection, dead)
    is_over = (sessions.c.ended_at.is_not(None)) | (sessions.c.lost_at.is_not(None))
    rows: dict[str, str | None] = {}
    for chunk in in_chunks(sorted(candidates)):
        wanted = select(executions.c.id, executions.c.parent).join(
            sessions, sessions.c.id == executions.c.session
        )
        chosen = connection.execute(wanted.where(is_over, executions.c.id.in_(chunk)))
        rows |= {id_: parent for id_, parent in chosen}  # noqa: C416 - rows are no pairs
    return _without_sources_of_others(connection, set(rows))


def _needed_executions(connection: Connection, dead: set[str]) -> set[str]:
    """Find the executions that runs name which are not deleted."""
    needed: set[str] = set()
    tables = [(schema.run_executions, "run"), (runs, "id"), *((t, "run") for t in _PART_OF_RUN)]
    for table, owner in tables:
        if "execution" not in table.c:
            continue
        rows = connection.execute(
            select(table.c[owner], table.c.execution).where(table.c.execution.is_not(None)),
            execution_options={"yield_per": 1000},
        )
        needed.update(execution for run, execution in rows if run not in dead)
    return needed


def _without_sources_of_others(connection: Connection, candidates: set[str]) -> set[str]:
    """Leave what a remaining execution goes back to: its parent, or who wrote a file it read."""
    while candidates:
        kept = set(_parents_needed(connection, candidates))
        kept |= set(_writers_needed(connection, candidates))
        if not kept:
            break
        candidates = candidates - kept
    return candidates


def _parents_needed(connection: Connection, candidates: set[str]) -> Iterator[str]:
    for chunk in in_chunks(sorted(candidates)):
        rows = connection.execute(
            select(executions.c.id, executions.c.parent).where(executions.c.parent.in_(chunk))
        )
        yield from (parent for id_, parent in rows if id_ not in candidates)


def _writers_needed(connection: Connection, candidates: set[str]) -> Iterator[str]:
    read = files.alias("read")
    for chunk in in_chunks(sorted(candidates)):
        rows = connection.execute(
            select(files.c.execution, read.c.execution)
            .join(read, (read.c.uri == files.c.uri) & (read.c.execution != files.c.execution))
            .where(files.c.execution.in_(chunk), files.c.mode != "r", read.c.mode == "r")
        )
        yield from (writer for writer, reader in rows if reader not in candidates)


def _dead_sources(connection: Connection, dead: set[str]) -> set[str]:
    """Find the texts of which nothing is left that ran them."""
    candidates: set[str] = set()
    for chunk in in_chunks(sorted(dead)):
        rows = connection.execute(
            select(executions.c.source, executions.c.transformed).where(executions.c.id.in_(chunk))
        )
        candidates.update(digest for row in rows for digest in row if digest is not None)
    if not candidates:
        return candidates
    rows = connection.execute(
        select(executions.c.id, executions.c.source, executions.c.transformed),
        execution_options={"yield_per": 1000},
    )
    for id_, *used in rows:
        if id_ not in dead:
            candidates.difference_update(used)
    return candidates


def _dead_fingerprints(connection: Connection, dead: set[str]) -> set[str]:
    """Find the fingerprints of data that only deleted runs used."""
    uses = schema.data_uses
    candidates: set[str] = set()
    for chunk in in_chunks(sorted(dead)):
        candidates.update(connection.scalars(select(uses.c.digest).where(uses.c.run.in_(chunk))))
    kept: set[str] = set()
    for chunk in in_chunks(sorted(candidates)):
        rows = connection.execute(
            select(uses.c.digest, uses.c.run).where(uses.c.digest.in_(chunk))
        )
        kept.update(digest for digest, run in rows if run not in dead)
        kept.update(connection.scalars(select(files.c.digest).where(files.c.digest.in_(chunk))))
    return candidates - kept - {""}


def _late(table: Any) -> Any:
    """Choose what came for a run after that was removed for good."""
    gone = select(runs.c.id).where(runs.c.collected_at.is_not(None))
    return table.c.run.in_(gone)


def _count_late(connection: Connection) -> Iterator[int]:
    for table in edits.PARTS:
        count = connection.scalar(select(func.count()).select_from(table).where(_late(table)))
        yield int(count or 0)


def _remove_rows(parts: StoreParts, found: Collection) -> None:
    """Remove rows, in one transaction."""
    if not (found.runs or found.late_rows):
        return
    with parts.writing() as connection:
        edits.collect(connection, found.runs, time.time_ns())
        forget_runs(connection, found.runs)
        for table in edits.PARTS:
            connection.execute(delete(table).where(_late(table)))
        # Looked at again: somebody may have copied a run here that needs one of them.
        needed = _needed_executions(connection, set())
        gone = [id_ for id_ in found.executions if id_ not in needed]
        for chunk in in_chunks(gone):
            for table in (schema.outputs, schema.stream_pieces, files):
                connection.execute(delete(table).where(table.c.execution.in_(chunk)))
            connection.execute(delete(executions).where(executions.c.id.in_(chunk)))
        _remove_unused(connection, schema.sources, found.sources)
        _remove_unused(connection, schema.fingerprints, found.fingerprints)


def _remove_unused(connection: Connection, table: Any, digests: Iterable[str]) -> None:
    users = {
        "sources": (executions.c.source, executions.c.transformed),
        "fingerprints": (schema.data_uses.c.digest, files.c.digest),
    }[table.name]
    for chunk in in_chunks(digests):
        used = {d for c in users for d in connection.scalars(select(c).where(c.in_(chunk)))}
        unused = [digest for digest in chunk if digest not in used]
        connection.execute(delete(table).where(table.c.digest.in_(unused)))


# --- bytes --------------------------------------------------------------------------------------


def _find_bytes(
    parts: StoreParts, connection: Connection, found: Collection, before_s: float
) -> None:
    kept, strays = listed(parts.blobs)
    dead_runs, dead_cells = set(found.runs), set(found.executions)
    needed = _needed(connection, {each.hexes for each in kept}, dead_runs, dead_cells)
    unneeded = [each for each in kept if each.hexes not in needed]
    found.blobs = [each for each in unneeded if each.modified_s < before_s]
    found.too_young = len(unneeded) - len(found.blobs)
    found.drafts = [
        (stray.path, stray.size_bytes)
        for stray in strays
        if stray.is_draft and stray.modified_s < before_s
    ]


def _needed(
    connection: Connection, candidates: set[str], dead_runs: set[str], dead_cells: set[str]
) -> set[str]:
    """Find which bytes are named by rows that stay, or are mentioned anywhere."""
    dead = {schema.outputs.name: dead_cells}
    named = {
        hexes
        for table, owner, digest, _ in named_blobs(connection)
        if owner not in dead.get(table, dead_runs) and (hexes := hexes_in(digest)) in candidates
    }
    return named | mentioned(connection, candidates - named)


# --- files --------------------------------------------------------------------------------------


def _find_files(parts: StoreParts, found: Collection, before_s: float) -> None:
    if parts.folder is not None:
        old = sorted(parts.folder.glob("store.db.schema-*.backup"))
        # The newest backup stays, however old it is.
        backups = parts.folder / BACKUPS
        made = sorted(_backups_in(backups), key=_modified_s)[:-1]
        found.backups = [
            (str(path), _size_of(path))
            for path in (*old, *made)
            if _modified_s(path) < before_s and not path.is_symlink()
        ]
        found.drafts += [
            (str(path), _size_of(path))
            for path in _drafts_in(backups)
            if _modified_s(path) < time.time() - GRACE_S
        ]
    found.empty_folders = sorted(map(str, _empty_spools(parts)))


def _backups_in(folder: Path) -> Iterator[Path]:
    """List the backups in a folder, which is no link, and nothing else that lies there."""
    if folder.is_dir() and not folder.is_symlink():
        for path in folder.iterdir():
            if path.name.startswith("."):
                continue
            is_folder = path.is_dir() and (path / ABOUT).is_file()
            if is_folder or path.suffix in ARCHIVES:
                yield path


def _drafts_in(folder: Path) -> Iterator[Path]:
    """List the backups that a killed process had begun."""
    if folder.is_dir() and not folder.is_symlink():
        for path in folder.iterdir():
            if path.name.startswith(".") and path.is_dir() and not path.is_symlink():
                yield path


def _empty_spools(parts: StoreParts) -> Iterator[Path]:
    """List what spools left that lay in the user's state folder; the drainer removes the rest."""
    from mlops_nb.store.spool.homes import fallback_root, state_folder

    if parts.spool_root is None:
        return
    root = fallback_root(parts.spool_root, state_folder())
    is_old = time.time() - _modified_s(root) > LEAST_GRACE_S
    if root.is_dir() and not root.is_symlink() and is_old and not any(root.iterdir()):
        yield root


def _is_removed(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def _is_folder_removed(path: Path) -> bool:
    try:
        path.rmdir()  # which a folder with something in it by now does not allow
    except OSError:
        return False
    return True


def _modified_s(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return time.time()


def _size_of(path: Path) -> int:
    if path.is_file():
        return path.lstat().st_size
    return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file())


# --- the database file --------------------------------------------------------------------------


def _database_bytes(parts: StoreParts) -> int:
    """Measure a SQLite file, with the journal that waits to become part of it."""
    if parts.folder is None:
        return 0
    files_ = (parts.folder / name for name in ("store.db", "store.db-wal"))
    return sum(path.stat().st_size for path in files_ if path.is_file())


def _give_back(parts: StoreParts) -> None:
    """Let a SQLite file become smaller, where much of it is free and nobody is in the way."""
    if parts.folder is None:
        return
    with parts.reading() as connection:
        free = int(connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0)
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar() or 0)
        if free < _VACUUM_PAGES or free < pages * _VACUUM_SHARE:
            return
        raw: Any = connection.connection.driver_connection
        with contextlib.suppress(sqlite3.OperationalError):
            raw.execute("ROLLBACK")
            raw.execute("VACUUM")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
