"""A whole store into another: every table and all bytes, checked, and again whenever one likes.

What is there already is left alone, so a copy that was interrupted is finished by the same
command, and one of last week brought up to date. Both may be in use meanwhile: the source is read
as it was at one moment, and bytes are there before the rows that name them. Times, ids and numbers
of attempts stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete

from mlops_nb.errors import StoreError
from mlops_nb.store import schema
from mlops_nb.store.care.blob_copying import BlobsCopied, copy_blobs
from mlops_nb.store.care.blob_references import hexes_in, named_blobs
from mlops_nb.store.care.copy_plan import (
    EDITED_PARTS,
    RUNS,
    UNITS,
    Plan,
    Unit,
    comparable,
    merged_run,
    plan_copy,
)
from mlops_nb.store.care.table_rows import (
    CHANGING,
    OTHERS,
    PIECES,
    Digests,
    read_rows,
    shape_of,
    sound_rows,
    weight_of,
)
from mlops_nb.store.intake.describing import united
from mlops_nb.store.parts import (
    SourceDamaged,
    StoreFinding,
    examples_of,
    no_progress,
    snapshot,
    tell_damage,
)
from mlops_nb.store.reading import queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from mlops_nb.store.care.copy_plan import Decision
    from mlops_nb.store.care.table_rows import Row
    from mlops_nb.store.parts import OnProgress, StoreParts

_PIECES = schema.stream_pieces
_UNITS_AT_ONCE = 100
_BATCH_ROWS = 500
_BATCH_BYTES = 4 * 1024 * 1024
_MOST_NAMED = 5
_MOST_PROBLEMS = 1000


@dataclass
class CopyReport:
    """What was copied, and what came of checking it.

    Attributes
    ----------
    source, target
        The two stores, without credentials.
    counts
        For ``sessions``, ``executions`` and ``runs``, how many were ``new``, ``same`` (there
        already), ``updated`` (the source had gone on) and ``kept`` (the target is further).
    rows, digests
        Rows that were compared after copying, by table, and the SHA-256 of them, which was the
        same in both stores.
    blobs
        What became of the bytes.
    still_writing
        Sessions whose notebook still writes: what comes later is not in the copy.
    findings
        What is not as it should be; empty: the copy is whole.
    rows_s, bytes_s
        Time taken for rows, and for bytes, in seconds.
    """

    source: str
    target: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    blobs: BlobsCopied = field(default_factory=BlobsCopied)
    still_writing: tuple[str, ...] = ()
    findings: list[StoreFinding] = field(default_factory=list)
    rows_s: float = 0.0
    bytes_s: float = 0.0

    @property
    def is_well(self) -> bool:
        """Whether everything is there, and the same."""
        return not self.findings


def copy_store(
    source: StoreParts, target: StoreParts, *, on_progress: OnProgress = no_progress
) -> CopyReport:
    """Copy everything that the target lacks, and check by digest what is there then.

    Parameters
    ----------
    source, target
        Two stores; nothing is changed in the first.
    on_progress
        Watches.

    Raises
    ------
    StoreError
        The target holds something else under the id of a run, or one of the two cannot be used.
        In the first case nothing was copied.
    """
    report = CopyReport(source.location, target.location)
    with snapshot(source) as here:
        work = _Copying(here, target, report, on_progress)
        plan = work.plan()
        started = time.perf_counter()
        report.blobs = copy_blobs(source.blobs, target.blobs, on_progress)
        report.bytes_s = time.perf_counter() - started
        work.write(plan)
        work.verify(plan)
        work.find_missing(target)
        report.rows_s = time.perf_counter() - started - report.bytes_s
    report.findings += _about_bytes(report.blobs, source.location)
    return report


_WORDS = {"sessions": "session", "executions": "cell", "runs": "run"}


class _Copying:
    """Rows of one store on their way into another."""

    def __init__(
        self, here: Connection, target: StoreParts, report: CopyReport, on_progress: OnProgress
    ) -> None:
        self._here, self._target, self._report = here, target, report
        self._on_progress = on_progress
        self._problems: dict[str, None] = {}
        self._kept: dict[str, set[Row]] = {}
        self._damaged: dict[str, str] = {}
        with snapshot(target) as there:
            names = {here.dialect.name, there.dialect.name}
        self._for_server = names != {"sqlite"}
        self._digests = (Digests(), Digests())

    def plan(self) -> Plan:
        """Find out what there is to do, and refuse if it cannot be."""

        def on_progress(done: int, total: int) -> None:
            self._on_progress("compare", done, total)

        with snapshot(self._target) as there:
            plan = plan_copy(
                self._here,
                there,
                for_server=self._for_server,
                problems=self._note,
                on_progress=on_progress,
            )
        if plan.conflicts:
            named = ", ".join(plan.conflicts[:_MOST_NAMED])
            more = len(plan.conflicts) - _MOST_NAMED
            problem = (
                f"it holds something else under the same id: {named}"
                f"{f' and {more:,} more' if more > 0 else ''}"
            )
            remedy = "Nothing was copied. Copy into another store."
            raise StoreError(self._report.target, problem, remedy)
        return plan

    # --- writing ------------------------------------------------------------------------------

    def write(self, plan: Plan) -> None:
        """Write contents first, then sessions, executions and runs, each whole or not at all."""
        for name in OTHERS:
            for batch in self._contents(name):
                with self._target.writing() as there:
                    self._add_contents(there, name, batch)
        done, total = 0, sum(len(plan.ids(u.root, *_WRITTEN)) for u in UNITS)
        for unit in UNITS:
            for decision in _WRITTEN:
                for ids in _cut(plan.ids(unit.root, decision)):
                    self._write_what_can_be_read(plan, unit, ids, decision)
                    done += len(ids)
                    self._on_progress("copy rows", done, total)
            self._count(plan, unit.root)
        with contextlib.suppress(SourceDamaged), self._target.writing() as there:
            self._advance_spools(there)

    def _write_what_can_be_read(
        self, plan: Plan, unit: Unit, ids: Sequence[str], decision: Decision
    ) -> None:
        """Write some things; where the source is damaged, each that can be read in full."""
        try:
            with self._target.writing() as there:
                self._write_units(there, unit, ids, decision)
        except SourceDamaged:
            for id_ in ids if len(ids) > 1 else ():
                self._write_what_can_be_read(plan, unit, [id_], decision)
            if len(ids) == 1:
                plan.decisions[unit.root][ids[0]] = "unreadable"

    def _count(self, plan: Plan, root: str) -> None:
        self._report.counts[root] = {
            "new": plan.count(root, "new"),
            "same": plan.count(root, "same"),
            "updated": plan.count(root, "update", "merge", "add"),
            "kept": plan.count(root, "keep"),
        }

    def _write_units(
        self, there: Connection, unit: Unit, ids: Sequence[str], decision: Decision
    ) -> None:
        parts = [name for name in unit.parts if decision != "merge" or name not in EDITED_PARTS]
        if decision in {"update", "merge"}:
            for name in parts:
                table = schema.metadata.tables[name]
                there.execute(delete(table).where(table.c[unit.column].in_(ids)))
        if decision != "add":
            self._write_roots(there, unit, ids, decision)
        for name in parts:
            if name == PIECES:  # they have no key that would keep them from being there twice
                there.execute(delete(_PIECES).where(_PIECES.c.execution.in_(ids)))
            for batch in _batches(self._read(name, unit.column, ids)):
                self._insert(there, name, batch)

    def _write_roots(
        self, there: Connection, unit: Unit, ids: Sequence[str], decision: Decision
    ) -> None:
        shape = shape_of(unit.root)
        rows = [shape.named(row) for row in self._read(unit.root, "id", ids)]
        if decision == "merge" and unit is RUNS:
            known = {row[0]: shape.named(row) for row in _read_there(there, "runs", "id", ids)}
            rows = [merged_run(row, known[row["id"]]) for row in rows]
        if rows:
            there.execute(queries.upsert(shape.plain, there.dialect.name), rows)

    def _insert(self, there: Connection, name: str, batch: Sequence[Row]) -> None:
        shape = shape_of(name)
        rows = [shape.named(row) for row in batch]
        if not rows:
            return
        if name == PIECES:  # which each database numbers by itself
            named = [{k: v for k, v in row.items() if k != "id"} for row in rows]
            there.execute(_PIECES.insert(), named)
        else:
            there.execute(queries.insert_new(shape.plain, there.dialect.name), rows)

    def _add_contents(self, there: Connection, name: str, batch: Sequence[Row]) -> None:
        """Add what lies under the digest of what it is; of what changes, its later state."""
        shape = shape_of(name)
        keys = [row[0] for row in batch]
        known = {shape.key_of(row): row for row in _read_there(there, name, shape.names[0], keys)}
        self._insert(there, name, [row for row in batch if shape.key_of(row) not in known])
        for row in batch:
            before = known.get(shape.key_of(row))
            if before is None or before == row:
                continue
            if name in CHANGING and _is_later(shape.named(row), shape.named(before)):
                statement = queries.upsert(shape.plain, there.dialect.name)
                there.execute(statement, [shape.named(row)])
                continue
            self._kept.setdefault(name, set()).add(shape.key_of(row))
            if name == schema.environments.name:
                self._unite(there, before, row)

    def _unite(self, there: Connection, before: Row, row: Row) -> None:
        """Add what was found out of an environment in the source only."""
        known, new = json.loads(before[1]), json.loads(row[1])
        if not (isinstance(known, dict) and isinstance(new, dict) and new.get("details")):
            return
        details = united(known.get("details"), new["details"])
        table = shape_of(schema.environments.name).plain
        content = schema.dump_json({**known, "details": details})
        change = table.update().where(table.c.digest == row[0])
        there.execute(change.values(content=content))

    def _advance_spools(self, there: Connection) -> None:
        """Say how far spools were taken in, so that nobody takes in the same again."""
        rows = list(self._read("spools"))
        for ids in _cut([row[0] for row in rows]):
            known = {row[0]: row[1:] for row in _read_there(there, "spools", "id", ids)}
            ahead = [r for r in rows if r[0] in set(ids) and r[1:] > known.get(r[0], (-1, -1))]
            if ahead:
                shape = shape_of("spools")
                statement = queries.upsert(schema.spools, there.dialect.name)
                there.execute(statement, [shape.named(row) for row in ahead])

    # --- checking -----------------------------------------------------------------------------

    def verify(self, plan: Plan) -> None:
        """Read what was copied from both stores, and compare the digests of each table."""
        with snapshot(self._target) as there:
            for name in OTHERS:
                self._verify_contents(there, name)
            done, total = 0, sum(len(plan.ids(u.root, *_COMPARED)) for u in UNITS)
            for unit in UNITS:
                for ids in _cut(plan.ids(unit.root, *_COMPARED)):
                    self._verify_units(there, unit, ids)
                    done += len(ids)
                    self._on_progress("check rows", done, total)
        here_, there_ = (digests.result() for digests in self._digests)
        self._report.digests, self._report.rows = here_, dict(self._digests[0].counts)
        wrong = sorted(name for name in {*here_, *there_} if here_.get(name) != there_.get(name))
        if wrong:
            text = f"what lies there is not what was copied, in {', '.join(wrong)}"
            remedy = "Look at it with: mlops-nb store check. Then copy again"
            self._report.findings.append(StoreFinding("copy-differs", text, remedy))
        self._tell_damage(plan)
        if self._problems:
            problems = list(self._problems)
            text = f"kinds of rows that no store writes, and were left out: {len(problems):,}"
            remedy = "Find out who wrote this store before you trust it"
            self._report.findings.append(
                StoreFinding("bad-rows", text, remedy, examples_of(problems))
            )

    def find_missing(self, target: StoreParts) -> None:
        """Find what rows of the source name and neither of the two stores has."""
        known = self._report.blobs.known
        missing: dict[str, None] = {}
        with contextlib.suppress(SourceDamaged), tell_damage():
            for table, owner, digest, _ in named_blobs(self._here):
                hexes = hexes_in(digest)
                if hexes is not None and hexes not in known and not target.blobs.has(digest):
                    missing[f"{digest} of {table.removesuffix('s')} of {owner}"] = None
        if missing:
            text = (
                f"outputs, artifacts, results whose bytes are in neither store: {len(missing):,}"
            )
            remedy = "A backup may have them: mlops-nb store copy BACKUP TO"
            found = StoreFinding("blob-missing", text, remedy, examples_of(list(missing)))
            self._report.findings.append(found)

    def _tell_damage(self, plan: Plan) -> None:
        lost = [f"{_WORDS[u.root]} {id_}" for u in UNITS for id_ in plan.ids(u.root, "unreadable")]
        lost += [f"some {name}" for name in self._damaged]
        if lost:
            text = f"{self._report.source} is damaged; what could not be read: {len(lost):,}"
            remedy = "They were left out; a backup may have them: mlops-nb store copy BACKUP TO"
            found = StoreFinding("source-damaged", text, remedy, examples_of(lost))
            self._report.findings.append(found)

    def _verify_units(self, there: Connection, unit: Unit, ids: Sequence[str]) -> None:
        for name in (unit.root, *unit.parts):
            column = "id" if name == unit.root else unit.column
            for row in self._read(name, column, ids):
                self._digests[0].add(name, comparable(name, row))
            for row in _checked(name, read_rows(there, name, column, ids), self._for_server):
                self._digests[1].add(name, comparable(name, row))

    def _verify_contents(self, there: Connection, name: str) -> None:
        shape, kept = shape_of(name), self._kept.get(name, set())
        for batch in self._contents(name):
            keys = [row[0] for row in batch]
            found = {
                shape.key_of(row): row
                for row in _checked(
                    name, read_rows(there, name, shape.names[0], keys), self._for_server
                )
            }
            for row in batch:
                if shape.key_of(row) in kept:
                    continue
                self._digests[0].add(name, row)
                if shape.key_of(row) in found:
                    self._digests[1].add(name, found[shape.key_of(row)])

    # --- reading ------------------------------------------------------------------------------

    def _read(
        self,
        name: str,
        column: str | None = None,
        ids: Sequence[str] = (),
        *,
        backwards: bool = False,
    ) -> Iterator[Row]:
        rows = read_rows(self._here, name, column, ids, backwards=backwards)
        with tell_damage():
            yield from sound_rows(name, rows, self._note, for_server=self._for_server)

    def _contents(self, name: str) -> Iterator[list[Row]]:
        """Read a table of contents; where it is damaged, from both ends as far as that goes."""
        try:
            yield from _batches(self._read(name))
        except SourceDamaged as error:
            self._damaged[name] = error.problem
            with contextlib.suppress(SourceDamaged):
                yield from _batches(self._read(name, backwards=True))

    def _note(self, problem: str) -> None:
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems[problem] = None


_WRITTEN: tuple[Decision, ...] = ("new", "update", "merge", "add")
_COMPARED: tuple[Decision, ...] = ("new", "update", "same")


def _is_later(row: dict[str, Any], before: dict[str, Any]) -> bool:
    return bool(row["changed_at"] > before["changed_at"])


def _read_there(there: Connection, name: str, column: str, ids: Sequence[str]) -> Iterator[Row]:
    """Read rows of the target, which may be none of ours: those that are not count as missing."""
    is_server = there.dialect.name != "sqlite"
    return _checked(name, read_rows(there, name, column, ids), is_server)


def _checked(name: str, rows: Iterable[Row], for_server: bool) -> Iterator[Row]:
    return sound_rows(name, rows, lambda _: None, for_server=for_server)


def _cut(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _UNITS_AT_ONCE):
        yield ids[start : start + _UNITS_AT_ONCE]


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into lists of bounded number and size."""
    batch: list[Row] = []
    weight = 0
    for row in rows:
        batch.append(row)
        weight += weight_of(row)
        if len(batch) >= _BATCH_ROWS or weight >= _BATCH_BYTES:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _about_bytes(blobs: BlobsCopied, location: str) -> list[StoreFinding]:
    found: list[StoreFinding] = []
    if blobs.damaged:
        text = f"blobs that are damaged in {location}, and were not copied: {len(blobs.damaged):,}"
        remedy = "Copy them from a backup: mlops-nb store copy BACKUP TO"
        examples = examples_of([f"sha256:{hexes}" for hexes in blobs.damaged])
        found.append(StoreFinding("blob-damaged", text, remedy, examples))
    if blobs.strays:
        text = f"what lies among the blobs and is none; not followed: {len(blobs.strays):,}"
        remedy = "Find out who put them there"
        found.append(StoreFinding("blob-stray", text, remedy, examples_of(blobs.strays)))
    return found
