"""A whole store: what it holds, whether it is well, what can go, and how a copy went."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Cell, Column, Facts, Span, Table, TableRow, fact, line
from mlops_nb.display.formats import counted, duration, size
from mlops_nb.display.view import View
from mlops_nb.documents import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.display.blocks import Block, Fact
    from mlops_nb.store.care.backup import BackupReport
    from mlops_nb.store.care.checking import CheckReport
    from mlops_nb.store.care.collecting import Collection
    from mlops_nb.store.care.copying import CopyReport
    from mlops_nb.store.parts import StoreFinding

STORE_MIME = "application/vnd.mlops-nb.store.v1+json"

_WORTH_A_RATE = 10_000_000


@dataclass(frozen=True, slots=True, repr=False)
class StoreInfoView(View):
    """What a store is, and what is in it."""

    info: Mapping[str, Any]

    mime: ClassVar[str] = STORE_MIME
    title: ClassVar[str] = "Store"

    def document(self) -> dict[str, Any]:
        """Give the facts as JSON."""
        return dict(plain(dict(self.info)))

    def blocks(self) -> tuple[Block, ...]:
        """Give a fact a line: what it holds, then how it is kept."""
        return (Facts(tuple(self._facts())),)

    def _facts(self) -> Iterator[Fact]:
        info = self.info
        access = [] if not info["is_read_only"] else [Span("  may only be read here", "warn")]
        yield fact("store", Span(str(info["location"]), "strong"), *access)
        lost = [Span(f"  {info['lost_runs']:,} lost", "warn")] if info.get("lost_runs") else []
        yield fact("runs", f"{info['runs']:,}", *lost)
        yield fact("cells", f"{info['executions']:,} in {counted(info['sessions'], 'session')}")
        params, metrics = (counted(info[key], key[:-1]) for key in ("params", "metrics"))
        yield fact("logged", f"{params}, {metrics}, {counted(info['artifacts'], 'artifact')}")
        yield fact("size", size(info["size_bytes"]))
        journal = f", journal mode {info['journal_mode']}" if info.get("journal_mode") else ""
        yield fact("tables", f"schema {info['schema']} by mlops-nb {info['written_by']}{journal}")
        spools = info.get("spools") or ()
        yield fact("writing", counted(len(spools), "notebook") if spools else "nobody")


@dataclass(frozen=True, slots=True, repr=False)
class StoreCheckView(View):
    """Whether a store is whole, and what to do where it is not."""

    report: CheckReport

    mime: ClassVar[str] = STORE_MIME
    title: ClassVar[str] = "Check of a store"

    def document(self) -> dict[str, Any]:
        """Give everything that was found as JSON."""
        found = self.report
        return {
            "location": plain(found.location),
            "well": found.is_well,
            "findings": _documents(found.findings),
            **found.counts,
            "bytes": found.blob_bytes,
            "readable": plain(found.readable),
            "unreadable": plain(found.unreadable),
            "duration_s": found.seconds,
        }

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, what was found, and what was looked at."""
        found = self.report
        answer = _answer(found.findings, "it is whole")
        looked = [
            counted(found.counts[key], key[:-1]) for key in _LOOKED_AT if key in found.counts
        ]
        if found.blob_bytes:
            speed = found.blob_bytes / max(found.bytes_s, 1e-9)
            rate = f" at {size(speed)}/s" if found.blob_bytes > _WORTH_A_RATE else ""
            looked.append(f"{size(found.blob_bytes)} read{rate}")
        waiting = found.counts.get("waiting")
        after = [f"{counted(waiting, 'event')} wait in spools"] if waiting else []
        muted = f"looked at {', '.join(looked)} in {duration(found.seconds)}"
        return (
            line(Span(found.location, "strong"), ": ", answer),
            *_finding_blocks(found.findings),
            *_readable(found),
            line(Span("; ".join([muted, *after]), "muted")),
        )


_LOOKED_AT = ("runs", "executions", "rows", "blobs", "spools")


def _readable(found: CheckReport) -> Iterator[Block]:
    if not (found.readable or found.unreadable):
        return
    runs = [id_[:8] for id_ in found.readable[:12]]
    more = len(found.readable) - len(runs)
    listed = ", ".join(runs) + (f" and {more:,} more" if more > 0 else "")
    yield line(f"{counted(len(found.readable), 'run')} can still be read: {listed or 'none'}")


@dataclass(frozen=True, slots=True, repr=False)
class CollectionView(View):
    """What a store no longer needs.

    Attributes
    ----------
    command
        What removes it, as it is typed.
    """

    found: Collection
    command: str = "mlops-nb store gc --yes"

    mime: ClassVar[str] = STORE_MIME
    title: ClassVar[str] = "What a store no longer needs"

    def document(self) -> dict[str, Any]:
        """Give everything that can go, or has gone, as JSON."""
        found = self.found
        return {
            "location": plain(found.location),
            "done": found.is_done,
            "runs": plain(found.runs),
            "executions": plain(found.executions),
            "sources": len(found.sources),
            "fingerprints": len(found.fingerprints),
            "late_rows": found.late_rows,
            "blobs": [
                {"digest": f"sha256:{each.hexes}", "size_bytes": each.size_bytes}
                for each in found.blobs
            ],
            "drafts": _paths(found.drafts),
            "backups": _paths(found.backups),
            "empty_folders": plain(found.empty_folders),
            "size_bytes": found.size_bytes,
            "freed_bytes": found.freed_bytes,
            "too_young": found.too_young,
        }

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, a row for each kind, and what to do next."""
        found = self.found
        young: tuple[Block, ...] = ()
        if found.too_young:
            text = f"{counted(found.too_young, 'blob')} nothing refers to yet: too young to go"
            young = (line(Span(text, "muted")),)
        if found.is_empty:
            return (line(Span(found.location, "strong"), ": nothing to remove."), *young)
        said = "gone" if found.is_done else "can go"
        rows = tuple(_gone_row(*each) for each in self._kinds() if each[1])
        columns = (Column("what", widest=60), Column(said, "right"), Column("size", "right"))
        freed = f", the database is {size(found.freed_bytes)} smaller" if found.freed_bytes else ""
        answer = f": {size(found.size_bytes)} {said}{freed}"
        after: tuple[Block, ...] = ()
        if not found.is_done:
            after = (line("Nothing was removed.  Remove it:  ", Span(self.command, "code")),)
        table = Table(columns, rows, summary=answer.lstrip(": "))
        return (line(Span(found.location, "strong"), answer), table, *young, *after)

    def _kinds(self) -> Iterator[tuple[str, int, int | None]]:
        found = self.found
        yield "deleted runs", len(found.runs), None
        yield "cells only they needed", len(found.executions), None
        yield "sources of such cells", len(found.sources), None
        yield "fingerprints only they used", len(found.fingerprints), None
        yield "rows that came too late", found.late_rows, None
        blobs = sum(each.size_bytes for each in found.blobs)
        yield "blobs nothing refers to", len(found.blobs), blobs
        yield "halves of files", len(found.drafts), sum(each[1] for each in found.drafts)
        yield "old backups", len(found.backups), sum(each[1] for each in found.backups)
        yield "empty folders of spools", len(found.empty_folders), 0


def _gone_row(what: str, count: int, size_bytes: int | None) -> TableRow:
    taken = "" if size_bytes is None else size(size_bytes)
    return TableRow((Cell(what), Cell(f"{count:,}"), Cell(taken)))


@dataclass(frozen=True, slots=True, repr=False)
class CopyView(View):
    """What was copied from one store into another."""

    report: CopyReport

    mime: ClassVar[str] = STORE_MIME
    title: ClassVar[str] = "Copy of a store"

    def document(self) -> dict[str, Any]:
        """Give what was copied, and the digests that were the same, as JSON."""
        found = self.report
        return {
            "from": plain(found.source),
            "to": plain(found.target),
            "well": found.is_well,
            "findings": _documents(found.findings),
            **found.counts,
            "rows": found.rows,
            "digests": found.digests,
            "blobs": {
                "new": len(found.blobs.copied),
                "same": found.blobs.there,
                "repaired": len(found.blobs.repaired),
                "bytes": found.blobs.size_bytes,
            },
            "still_writing": plain(found.still_writing),
        }

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, a row for each kind of thing, and what is not in the copy."""
        found = self.report
        answer = _answer(found.findings, "everything is there, and the same")
        head = line(
            Span(found.source, "strong"), " → ", Span(found.target, "strong"), ": ", answer
        )
        columns = (
            Column("", widest=20),
            *(Column(title, "right") for title in ("new", "there before", "updated", "kept")),
            Column("size", "right", rank=1),
        )
        rows = [
            TableRow(
                (
                    Cell("cells" if kind == "executions" else kind, "strong"),
                    *(Cell(f"{each[name]:,}") for name in ("new", "same", "updated", "kept")),
                    Cell(""),
                )
            )
            for kind in ("runs", "executions", "sessions")
            for each in [found.counts.get(kind) or dict.fromkeys(_COUNTS, 0)]
        ]
        blobs = found.blobs
        rows.append(
            TableRow(
                (
                    Cell("blobs", "strong"),
                    Cell(f"{len(blobs.copied):,}"),
                    Cell(f"{blobs.there:,}"),
                    Cell(f"{len(blobs.repaired):,}"),
                    Cell("0"),
                    Cell(size(blobs.size_bytes)),
                )
            )
        )
        table = Table(columns, tuple(rows), summary="what was copied")
        return (head, table, *_finding_blocks(found.findings), *self._notes())

    def _notes(self) -> Iterator[Block]:
        found = self.report
        rows = sum(found.rows.values())
        took = duration(found.rows_s + found.bytes_s)
        text = f"{rows:,} rows and {size(found.blobs.verified_bytes)} compared by SHA-256, {took}"
        yield line(Span(text, "muted"))
        if any(each["kept"] for each in found.counts.values()):
            yield line("kept: what lies there is further than what was to be copied.")
        yield from _writing_note(found.still_writing, "copy")


_COUNTS = ("new", "same", "updated", "kept")


@dataclass(frozen=True, slots=True, repr=False)
class BackupView(View):
    """Where a backup was written, and how it is restored."""

    report: BackupReport

    mime: ClassVar[str] = STORE_MIME
    title: ClassVar[str] = "Backup of a store"

    def document(self) -> dict[str, Any]:
        """Give what was written as JSON."""
        found = self.report
        return {
            "location": plain(found.location),
            "path": plain(str(found.path)),
            "well": found.is_well,
            "findings": _documents(found.findings),
            "runs": found.runs,
            "size_bytes": found.size_bytes,
            "still_writing": plain(found.still_writing),
            "duration_s": found.seconds,
        }

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, and the command that restores it."""
        found = self.report
        held = f"{counted(found.runs, 'run')}, {size(found.size_bytes)}, checked"
        return (
            line(Span(found.location, "strong"), " → ", Span(_short(found.path), "strong")),
            line(f"{held} in {duration(found.seconds)}"),
            *_finding_blocks(found.findings),
            *_writing_note(found.still_writing, "backup"),
            line("Restore it:  ", Span(f"mlops-nb store copy {_short(found.path)} TO", "code")),
        )


@dataclass(frozen=True, slots=True, repr=False)
class UpgradeView(View):
    """From which schema to which the tables of a store came."""

    location: str
    before: int
    after: int

    mime: ClassVar[str] = STORE_MIME
    title: ClassVar[str] = "Upgrade of a store"

    def document(self) -> dict[str, Any]:
        """Give both numbers as JSON."""
        return {"location": plain(self.location), "before": self.before, "after": self.after}

    def blocks(self) -> tuple[Block, ...]:
        """Say what was done."""
        if self.before == self.after:
            said = f"its tables are up to date (schema {self.after}); nothing was changed."
        elif not self.before:
            said = f"its tables were made (schema {self.after})."
        else:
            said = f"its tables were brought from schema {self.before} to {self.after}."
        return (line(Span(self.location, "strong"), f": {said}"),)


# --- what all of them say ------------------------------------------------------------------------


def _answer(findings: Sequence[StoreFinding], well: str) -> Span:
    if not findings:
        return Span(f"✓ {well}.", "good")
    return Span(f"✕ {counted(len(findings), 'thing')} to look at.", "bad")


def _finding_blocks(findings: Sequence[StoreFinding]) -> Iterator[Block]:
    """Give what was found, examples of it, and what to do next, one below the other."""
    for found in findings:
        yield line(Span("✕ ", "bad"), Span(found.text, "strong"))
        for each in found.examples:
            yield line(Span(f"    {each}", "muted"))
        yield line("    next:  ", Span(found.remedy, "code"))


def _writing_note(sessions: Sequence[str], what: str) -> Iterator[Block]:
    if sessions:
        said = counted(len(sessions), "notebook")
        verb = "writes" if len(sessions) == 1 else "write"
        text = f"{said} still {verb}; what comes from now on is not in this {what}: run it again."
        yield line(Span(f"note: {text}", "warn"))


def _short(path: Path) -> str:
    """Write a path as short as it can be typed here."""
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))


def _documents(findings: Sequence[StoreFinding]) -> list[dict[str, Any]]:
    return [dict(plain(asdict(found))) for found in findings]


def _paths(found: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"path": plain(path), "size_bytes": size_bytes} for path, size_bytes in found]
