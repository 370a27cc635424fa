"""Whether a store is whole, and what to do where it is not. Looking changes nothing.

No value is loaded, no pickle and no code: bytes are only hashed, and rows only read. A database
that is damaged in one place is read as far as it goes.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, func, select
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from mlops_nb.errors import StoreError, StoreNotFound
from mlops_nb.store import connect, locate, schema
from mlops_nb.store.blobs import Blobs
from mlops_nb.store.care.blob_copying import listed, states
from mlops_nb.store.care.blob_references import hexes_in, mentioned, named_blobs
from mlops_nb.store.care.spool_checking import check_spools
from mlops_nb.store.care.table_rows import NOT_ROWS, RUN_PARTS, BadRow, read_rows, shape_of
from mlops_nb.store.parts import (
    GRACE_S,
    StoreFinding,
    StoreParts,
    examples_of,
    no_progress,
    snapshot,
)
from mlops_nb.store.pipelines import leases
from mlops_nb.store.pipelines.tables import cached_steps, step_runs
from mlops_nb.store.reading.queries import source_digest
from mlops_nb.store.spool.owner import is_gone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from mlops_nb.store.parts import OnProgress

_MOST_PROBLEMS = 100
_MOST_KEPT = 1000
_SOURCE_DIGITS = 32
_FROM_BACKUP = "Put a backup in its place (mlops-nb store copy BACKUP TO)"


@dataclass
class CheckReport:
    """What was looked at, and what was found.

    Attributes
    ----------
    findings
        What is not as it should be; empty: the store is whole.
    counts
        How many ``runs``, ``executions``, ``rows``, ``blobs`` and ``spools`` were looked at.
    blob_bytes
        How many bytes were read and hashed.
    readable, unreadable
        Where the database is damaged: the runs that can still be read in full, and the others.
    seconds, bytes_s
        Time taken, and the part of it for bytes.
    """

    location: str
    findings: list[StoreFinding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    blob_bytes: int = 0
    readable: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    seconds: float = 0.0
    bytes_s: float = 0.0

    @property
    def is_well(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def add(
        self, kind: str, text: str, remedy: str, found: list[str] | None = None, *, most: int = 5
    ) -> None:
        """Note something that is not as it should be."""
        self.findings.append(StoreFinding(kind, text, remedy, examples_of(found or [], most)))


def check_folder(
    folder: Path, *, is_quick: bool = False, on_progress: OnProgress = no_progress
) -> CheckReport:
    """Check a store in a folder, as it lies there: even one that can no longer be opened.

    Parameters
    ----------
    folder
        Of the store.
    is_quick
        Whether bytes are only counted and measured, not read.
    on_progress
        Watches.

    Raises
    ------
    StoreNotFound
        There is none.
    """
    started = time.perf_counter()
    report = CheckReport(str(folder))
    database = folder / locate.DATABASE
    if not database.is_file():
        if not locate.is_store(folder):
            raise StoreNotFound(str(folder))
        check_spools(None, folder / locate.SPOOL, report)
        return report
    engine = connect.file_engine(database, read_only=True)

    @contextmanager
    def reading() -> Iterator[Connection]:
        with connect.our_words(str(folder)), engine.connect() as connection:
            yield connection

    blobs = Blobs(str(folder / locate.BLOBS))
    parts = StoreParts(str(folder), folder, blobs, reading, reading, folder / locate.SPOOL)
    try:
        _check(parts, report, is_quick=is_quick, on_progress=on_progress)
    finally:
        engine.dispose()
    report.seconds = time.perf_counter() - started
    return report


def check_parts(
    parts: StoreParts, *, is_quick: bool = False, on_progress: OnProgress = no_progress
) -> CheckReport:
    """Check an open store; see `check_folder`.

    Parameters
    ----------
    parts
        The store.
    is_quick
        Whether bytes are only counted and measured, not read.
    on_progress
        Watches.
    """
    started = time.perf_counter()
    report = CheckReport(parts.location)
    _check(parts, report, is_quick=is_quick, on_progress=on_progress)
    report.seconds = time.perf_counter() - started
    return report


def _check(
    parts: StoreParts, report: CheckReport, *, is_quick: bool, on_progress: OnProgress
) -> None:
    is_whole = True
    if parts.folder is not None:
        on_progress("check the database", 0, 0)
        with _careful(report, "database"), parts.reading() as connection:
            is_whole = _check_integrity(connection, report)
    knows_tables = False
    with _careful(report, "schema"), parts.reading() as connection:
        knows_tables = _check_schema(connection, report)
    if knows_tables and is_whole:
        steps = (_check_rows, _check_orphans, _check_leases)
        for step in steps:
            on_progress(f"check {step.__name__.removeprefix('_check_')}", 0, 0)
            with _careful(report, "rows"), snapshot(parts) as connection:
                step(connection, report)
    elif knows_tables:
        on_progress("find what can be read", 0, 0)
        _find_readable(parts, report)
    _check_bytes(parts, report, knows_tables, is_quick=is_quick, on_progress=on_progress)
    if parts.spool_root is not None:
        with _careful(report, "spools"):
            check_spools(parts if knows_tables else None, parts.spool_root, report)


@contextmanager
def _careful(report: CheckReport, what: str) -> Iterator[None]:
    """Note that something cannot be read at all, and go on with the rest."""
    try:
        yield
    except StoreError as error:
        if not any(finding.kind == "database-damaged" for finding in report.findings):
            ending = "damaged" if what == "database" else "unreadable"
            report.add(f"{what}-{ending}", error.problem, error.remedy.rstrip("."))
    except (DBAPIError, ValueError, TypeError) as error:
        said = str(getattr(error, "orig", error)).splitlines()[0]
        report.add(f"{what}-unreadable", f"{what} cannot be read ({said})", _FROM_BACKUP)


# --- the database -------------------------------------------------------------------------------


def _check_integrity(connection: Connection, report: CheckReport) -> bool:
    """Let SQLite look at each page of its file."""
    problems: list[str] = []
    try:
        rows = connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_PROBLEMS})")
        problems += [str(row[0]) for row in rows if row[0] != "ok"]
    except DBAPIError as error:
        problems.append(str(error.orig))
    if problems:
        lines = [line for problem in problems for line in problem.splitlines()]
        text = f"store.db is damaged; places that SQLite names: {len(lines):,}"
        remedy = (
            "Save what can be read: mlops-nb store copy THIS NEW. Add a backup: copy BACKUP NEW"
        )
        report.add("database-damaged", text, remedy, lines)
    return not problems


def _check_schema(connection: Connection, report: CheckReport) -> bool:
    found = _version(connection)
    if found is None:
        text = "it has no tables of a store"
        report.add("schema-missing", text, "Give another folder with --store PATH")
        return False
    number, written_by = found
    if number == schema.SCHEMA:
        return True
    if number > schema.SCHEMA:
        text = f"mlops-nb {written_by} wrote it (schema {number}); this one knows {schema.SCHEMA}"
        report.add("schema-newer", text, "Upgrade: pip install -U mlops-nb")
    else:
        text = f"its tables are of schema {number}, older than ours ({schema.SCHEMA})"
        report.add("schema-older", text, "Bring them up to date: mlops-nb store upgrade")
    return False


def _version(connection: Connection) -> tuple[int, str] | None:
    """Read the schema and its writer; None where there is no such table."""
    try:
        row = connection.execute(select(schema.meta.c.schema, schema.meta.c.written_by)).first()
    except (OperationalError, ProgrammingError) as error:
        if "no such table" in str(error.orig) or isinstance(error, ProgrammingError):
            return None
        raise
    return None if row is None else (int(row.schema), str(row.written_by))


def _check_rows(connection: Connection, report: CheckReport) -> None:
    """Read every row, and look at each value in it."""
    bad: dict[str, int] = {}
    changed: list[str] = []
    count = 0
    for name in schema.metadata.tables.keys() - NOT_ROWS:
        shape = shape_of(name)
        for row in read_rows(connection, name):
            count += 1
            try:
                clean = shape.checked(row)
            except BadRow as problem:
                bad[str(problem)] = bad.get(str(problem), 0) + 1
                if len(bad) > _MOST_KEPT:
                    break
                continue
            if name == schema.sources.name and _is_changed(*clean):
                changed.append(clean[0])
    report.counts["rows"] = count
    for name in ("runs", "executions"):
        table = schema.metadata.tables[name]
        total = connection.scalar(select(func.count()).select_from(table))
        report.counts[name] = int(total or 0)
    if bad:
        said = [f"{problem}{f' ({n:,} times)' if n > 1 else ''}" for problem, n in bad.items()]
        text = f"rows that no version of mlops-nb writes: {sum(bad.values()):,}"
        report.add("bad-rows", text, f"Find out who wrote it. {_FROM_BACKUP}", said)
    if changed:
        text = f"sources of cells whose text was changed after they ran: {len(changed):,}"
        report.add("source-changed", text, _FROM_BACKUP, changed)


def _is_changed(digest: str, text: str) -> bool:
    # A server cannot keep a NUL, which is written out there.
    is_ours = len(digest) == _SOURCE_DIGITS and "\\x00" not in text
    return is_ours and source_digest(text) != digest


_BELONGINGS = (
    *((name, "run", "runs") for name in RUN_PARTS),
    ("outputs", "execution", "executions"),
    ("files", "execution", "executions"),
    ("stream_pieces", "execution", "executions"),
    ("executions", "session", "sessions"),
)


def _check_orphans(connection: Connection, report: CheckReport) -> None:
    """Find rows that belong to something that is not there."""
    orphans: list[str] = []
    for name, column, owners in _BELONGINGS:
        table, owner = schema.metadata.tables[name], schema.metadata.tables[owners]
        is_alone = ~exists().where(owner.c.id == table.c[column])
        count = connection.scalar(select(func.count()).select_from(table).where(is_alone))
        if count:
            orphans.append(f"{count:,} in {name} without their {owners.removesuffix('s')}")
    code, text_of = schema.executions.c.source, schema.sources.c.digest
    lost = (
        select(func.count()).select_from(schema.executions).where(~exists().where(text_of == code))
    )
    if count := connection.scalar(lost):
        orphans.append(f"{count:,} in executions without their source")
    if orphans:
        text = "rows belong to something that is not there"
        remedy = "They do no harm; a backup may have what is missing"
        report.add("orphan-rows", text, remedy, orphans, most=len(orphans))


def _check_leases(connection: Connection, report: CheckReport) -> None:
    """Find what still counts as running, and whose process is gone."""
    s, r = schema.sessions.c, schema.runs.c
    unended = select(s.id, s.owner).where(s.ended_at.is_(None), s.lost_at.is_(None))
    gone = [str(id_) for id_, owner in connection.execute(unended) if _is_gone(owner)]
    if gone:
        text = f"sessions without an end whose process is gone: {len(gone):,}"
        remedy = "Any command that reads marks their runs as lost: mlops-nb runs"
        report.add("session-dead", text, remedy, gone)
    is_over = exists().where(
        s.id == r.session, (s.ended_at.is_not(None)) | (s.lost_at.is_not(None))
    )
    running = connection.scalars(select(r.id).where(r.status == "running", is_over)).all()
    if running:
        text = f"runs that count as running though their session is over: {len(running):,}"
        remedy = "Look at them: mlops-nb runs \"status = 'running'\""
        report.add("run-open", text, remedy, [str(id_) for id_ in running])

    if steps := list(_open_steps(connection)):
        text = f"steps of pipelines that count as running, and nobody runs: {len(steps):,}"
        remedy = "See them: mlops-nb status. To run the pipeline again goes on from there"
        report.add("step-open", text, remedy, steps)


def _open_steps(connection: Connection) -> Iterator[str]:
    table = step_runs
    now = leases.now_ns(connection)
    chosen = select(table).where(table.c.state == "running").order_by(table.c.position)
    for row in connection.execute(chosen).mappings():
        if leases.judge(row, now) == "over":
            yield f"{row['step']} of run {row['pipeline_run'][:8]}"


def _is_gone(owner: object) -> bool:
    return isinstance(owner, dict) and is_gone(owner)


# --- what can still be read ---------------------------------------------------------------------


def _find_readable(parts: StoreParts, report: CheckReport) -> None:
    """Try each run of a damaged database; several ways lead to their ids."""
    ids: dict[str, None] = {}
    for statement in ("SELECT id FROM runs", "SELECT id FROM runs NOT INDEXED"):
        for end in ("", " ORDER BY id DESC"):
            ids |= dict.fromkeys(_as_far_as_it_goes(parts, statement + end))
    for id_ in sorted(ids):
        (report.readable if _can_read(parts, id_) else report.unreadable).append(id_)
    report.counts["runs"] = len(ids)
    total = len(ids)
    if report.unreadable:
        text = f"runs that cannot be read: {len(report.unreadable):,} of {total:,}"
        remedy = "A backup may have them: mlops-nb store copy BACKUP NEW"
        report.add("run-unreadable", text, remedy, report.unreadable)


def _as_far_as_it_goes(parts: StoreParts, statement: str) -> list[str]:
    found: list[str] = []
    try:
        with parts.reading() as connection:
            raw: Any = connection.connection.driver_connection
            for (id_,) in raw.execute(statement):
                found.append(str(id_))
    except (StoreError, DBAPIError):
        return found
    return found


def _can_read(parts: StoreParts, id_: str) -> bool:
    try:
        with snapshot(parts) as connection:
            for name, column in (("runs", "id"), *((part, "run") for part in RUN_PARTS)):
                for row in read_rows(connection, name, column, [id_]):
                    shape_of(name).checked(row)
    except (StoreError, DBAPIError, BadRow):
        return False
    return True


# --- bytes --------------------------------------------------------------------------------------


def _check_bytes(
    parts: StoreParts,
    report: CheckReport,
    knows_tables: bool,
    *,
    is_quick: bool,
    on_progress: OnProgress,
) -> None:
    started = time.perf_counter()
    try:
        kept, strays = listed(parts.blobs)
    except StoreError as error:
        report.add("blobs-unreadable", error.problem, error.remedy.rstrip("."))
        return
    report.counts["blobs"] = len(kept)
    links = [stray.path for stray in strays if not stray.is_draft]
    if links:
        text = f"what lies among the blobs and is none; not followed: {len(links):,}"
        report.add("blob-stray", text, "Find out who put them there, and remove them", links)
    if not is_quick:
        _hash(parts, report, kept, on_progress)
    report.bytes_s = time.perf_counter() - started
    if knows_tables:
        with _careful(report, "names of bytes"), snapshot(parts) as connection:
            sizes = {each.hexes: each.size_bytes for each in kept}
            _check_names(connection, report, sizes, parts.blobs)
            old_s = time.time() - GRACE_S
            _check_unneeded(connection, report, {e.hexes for e in kept if e.modified_s < old_s})


def _hash(
    parts: StoreParts, report: CheckReport, kept: list[Any], on_progress: OnProgress
) -> None:
    total = sum(each.size_bytes for each in kept)
    damaged = []
    for each, state in states(parts.blobs, kept):
        report.blob_bytes += each.size_bytes
        on_progress("check bytes", report.blob_bytes, total)
        if state == "changed":
            damaged.append(f"sha256:{each.hexes} ({each.size_bytes:,} bytes)")
    if damaged:
        text = f"blobs that are not what they were (another SHA-256): {len(damaged):,}"
        remedy = "Take them from a backup: mlops-nb store copy BACKUP THIS"
        report.add("blob-changed", text, remedy, damaged)


# Of an output only a part may be kept.
_SIZED = frozenset({schema.artifacts.name, cached_steps.name})


def _check_names(
    connection: Connection, report: CheckReport, sizes: dict[str, int], blobs: Blobs
) -> None:
    """Find rows whose bytes are not there, or not all of them."""
    missing: dict[str, None] = {}
    short: dict[str, None] = {}
    for table, owner, digest, size_bytes in named_blobs(connection):
        hexes = hexes_in(digest)
        said = f"{digest} of {table.removesuffix('s')} of {owner}"
        if hexes is None:
            continue  # a row that is not as it should be, and was told
        if hexes not in sizes:
            if not blobs.has(digest):  # it may have come since they were listed
                missing[said] = None
        elif table in _SIZED and size_bytes not in {-1, sizes[hexes]}:
            short[said] = None
    if missing:
        text = f"outputs, artifacts and results whose bytes are not there: {len(missing):,}"
        remedy = "Take them from a backup: mlops-nb store copy BACKUP THIS"
        report.add("blob-missing", text, remedy, list(missing))
    if short:
        text = f"artifacts and results with another size than their bytes: {len(short):,}"
        report.add("blob-size", text, "See which of the two is right", list(short))


def _check_unneeded(connection: Connection, report: CheckReport, old: set[str]) -> None:
    named = {hexes_in(digest) for _, _, digest, _ in named_blobs(connection)}
    unneeded = old - named
    unneeded -= mentioned(connection, unneeded)
    if unneeded:
        text = f"blobs that nothing refers to: {len(unneeded):,}"
        remedy = "See what can go: mlops-nb store gc"
        report.add("blob-orphan", text, remedy, [f"sha256:{h}" for h in sorted(unneeded)])
