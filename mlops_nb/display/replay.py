"""What a replay came to: the badge, the first difference, why, and what to do next."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Cell, Code, Column, Section, Span, Table, TableRow, line
from mlops_nb.display.cells import place_of
from mlops_nb.display.formats import (
    UNKNOWN,
    counted,
    difference,
    duration,
    number,
    one_line,
    shortened,
    told_apart,
)
from mlops_nb.display.view import View, command
from mlops_nb.documents import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.display.view import Place
    from mlops_nb.model import Json, Run
    from mlops_nb.replay import Replay, Value
    from mlops_nb.replay.records import Result

REPLAY_MIME = "application/vnd.mlops-nb.replay.v1+json"
PROGRESS_MIME = "application/vnd.mlops-nb.progress.v1+json"
RESTORED_MIME = "application/vnd.mlops-nb.restored.v1+json"

_BADGES: dict[str, tuple[str, Tone]] = {
    "verified": ("✓", "good"),
    "verified-close": ("≈", "good"),
    "differs": ("≠", "bad"),
    "needs-secret": ("!", "warn"),
    "not-replayable": ("■", "warn"),
}
_MEANS = {
    "verified": "every data fingerprint and metric is exactly the same",
    "verified-close": "the same, but for metrics that agree within 1e-9 only",
    "differs": "something came out differently",
    "needs-secret": "a secret that a cell needs is not in the environment, so nothing ran",
    "not-replayable": "it cannot be run again, or not be compared",
}
_RESULTS: dict[Result, tuple[str, Tone]] = {
    "exact": ("exact", "good"),
    "close": ("close", "good"),
    "differs": ("differs", "bad"),
    "missing": ("missing", "bad"),
    "not compared": ("not compared", "muted"),
}
_SOURCE_LINES, _MOST_ROWS, _MOST_CAUSES, _DIGEST_LENGTH = 10, 200, 5, 8
_BAR_LENGTH = 30


@dataclass(frozen=True, slots=True, repr=False)
class ReplayView(View):
    """A replay.

    Attributes
    ----------
    replay
        What to show.
    place
        Where the reader is.
    """

    replay: Replay
    place: Place = "notebook"

    mime: ClassVar[str] = REPLAY_MIME
    title: ClassVar[str] = "Replay"

    @property
    def outcome(self) -> str:
        """What it came to, in one word."""
        return self.replay.outcome

    @property
    def is_good(self) -> bool:
        """Whether a check passes."""
        return self.replay.is_good

    def document(self) -> dict[str, Any]:
        """Give the replay as JSON."""
        found = self.replay
        first = found.first
        document: dict[str, Any] = plain(
            {
                "run": found.run.id,
                "name": found.run.name,
                "outcome": found.outcome,
                "reasons": found.reasons,
                "cells": len(found.executions),
                "compared": {result.replace(" ", "_"): found.count(result) for result in _RESULTS},
                "first_difference": None if first is None else self._value(first),
                "causes": [asdict(cause) for cause in found.causes],
                "values": [self._value(value) for value in found.values],
                "notes": found.notes,
                "replayed_by": found.replayed_by,
                "notebook": found.notebook,
                "duration_s": found.duration_s,
            }
        )
        return document

    def _value(self, value: Value) -> dict[str, Json]:
        execution = self.replay.executions[value.position]
        return {**asdict(value), "execution": execution.id, "cell": place_of(execution)}

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer first, the evidence below, the next action last."""
        parts = (
            self._answer(),
            self._first(),
            self._causes(),
            self._notes(),
            self._tables(),
            self._next(),
        )
        return tuple(block for part in parts for block in part)

    # --- the answer -----------------------------------------------------------------------

    def _answer(self) -> Iterator[Block]:
        found = self.replay
        mark, tone = _BADGES[found.outcome]
        name = shortened(one_line(found.run.name), 60)
        spans = [
            Span(f"{mark} {found.outcome}", tone, _MEANS[found.outcome]),
            Span("   run "),
            Span(found.run.id[:4], "strong", found.run.id),
            Span(f"  {name}", "plain", found.run.name),
        ]
        if found.replayed_by:
            spans += [Span(" · replayed as "), Span(found.replayed_by[:4], "strong")]
        spans.append(Span(f" · {counted(len(found.executions), 'cell')}"))
        if found.duration_s is not None:
            spans.append(Span(f" · {duration(found.duration_s)}"))
        yield line(*spans)
        if found.values:
            yield line(Span("; ".join(self._compared()), "muted"))
        if found.first is None:
            for reason in found.reasons if found.outcome != "verified" else ():
                yield line(Span(f"  {one_line(reason)}"))

    def _compared(self) -> Iterator[str]:
        """Say what was compared, in numbers."""
        found = self.replay
        parts = []
        for kind, noun in (("data", "data set"), ("metric", "metric"), ("outcome", "cell")):
            exact = found.count("exact", kind)
            total = sum(value.kind == kind for value in found.values)
            if total:
                same = "ended alike" if kind == "outcome" else "exact"
                some = str(exact) if exact == total else f"{exact} of {total}"
                plural = "" if total == 1 else "s"
                parts.append(f"{some} {noun}{plural} {same}")
        yield ", ".join(parts)
        if close := found.count("close"):
            yield f"{counted(close, 'metric')} within 1e-9"
        if unseen := found.count("not compared"):
            notes = {v.note for v in found.values if v.result == "not compared" and v.note}
            because = f" ({', '.join(sorted(notes))})" if notes else ""
            yield f"{unseen} not compared{because}"

    def _first(self) -> Iterator[Block]:
        first = self.replay.first
        if first is None:
            return
        execution = self.replay.executions[first.position]
        spans = [
            Span("first difference: ", "strong"),
            Span(f"cell {place_of(execution)}", "plain", execution.id),
            Span(f"  {_named(first)}  "),
            *_both(first),
        ]
        if first.note:
            spans.append(Span(f"  ({one_line(first.note)})", "muted"))
        yield line(*spans)
        yield Code(execution.source, "python", most_lines=_SOURCE_LINES)

    def _causes(self) -> Iterator[Block]:
        causes = self.replay.causes
        if not causes:
            return
        yield line("What else differs, most likely cause first:")
        for place, cause in enumerate(causes[:_MOST_CAUSES], start=1):
            tone: Tone = "plain" if cause.is_sure else "muted"
            yield line(
                Span(f" {place} {cause.kind:<9}", "strong"), Span(one_line(cause.text), tone)
            )

    def _notes(self) -> Iterator[Block]:
        for note in self.replay.notes:
            yield line(Span(f"note: {one_line(note)}", "warn"))

    # --- the evidence ---------------------------------------------------------------------

    def _tables(self) -> Iterator[Block]:
        values = self.replay.values
        other = [value for value in values if value.result in {"differs", "missing", "close"}]
        if len(other) > 1 or any(value.result == "close" for value in other):
            yield self._section("not exactly the same", other, is_open=True)
        measured = [value for value in values if value.kind != "outcome"]
        if measured:
            yield self._section("everything compared", measured, is_open=False)

    def _section(self, title: str, values: list[Value], *, is_open: bool) -> Section:
        columns = (
            Column("cell"),
            Column("what", widest=40),
            Column("recorded"),
            Column("now"),
            Column("result"),
            Column("remark", rank=1, widest=60),
        )
        rows = tuple(self._row(value) for value in values[:_MOST_ROWS])
        note = f"{len(values)}"
        if len(values) > _MOST_ROWS:
            note += f", the first {_MOST_ROWS} shown"
        table = Table(columns, rows, summary=f"{title}: {len(values)} values")
        return Section(title, (table,), note, is_open=is_open)

    def _row(self, value: Value) -> TableRow:
        word, tone = _RESULTS[value.result]
        return TableRow(
            (
                Cell(place_of(self.replay.executions[value.position])),
                Cell(_named(value), "strong"),
                *(Cell(text, hover=str(exact)) for text, exact in _pair(value)),
                Cell(word, tone),
                Cell(one_line(value.note), "muted", value.note),
            )
        )

    # --- what next ------------------------------------------------------------------------

    def _next(self) -> Iterator[Block]:
        found = self.replay
        short = found.run.id[:4]
        cells = command(self.place, "restore", short)
        if found.outcome == "differs" and found.replayed_by:
            both = command(self.place, "diff", short, found.replayed_by[:4])
            yield line("in detail:  ", Span(both, "code"), "   cells back:  ", Span(cells, "code"))
        elif found.is_good and found.replayed_by:
            shown = command(self.place, "show", found.replayed_by[:4])
            yield line("look:  ", Span(shown, "code"))
        elif found.outcome == "needs-secret":
            again = command(self.place, "replay", short)
            yield line("then:  ", Span(again, "code"))
        else:
            yield line("cells back:  ", Span(cells, "code"))


def _named(value: Value) -> str:
    if value.kind == "outcome":
        return "outcome"
    role = f" ({value.role})" if value.role else ""
    return one_line(f"{value.kind} {value.name}{role}")


def _both(value: Value) -> Iterable[Span]:
    """Say what was and what is, with the difference of numbers."""
    (before, exact_before), (after, exact_after) = _pair(value)
    yield Span(before, "strong", exact_before)
    yield Span(" → ")
    yield Span(after, "strong", exact_after)
    old, new = value.before, value.after
    if isinstance(old, float) and isinstance(new, float):
        yield Span(f" ({difference(new - old, old)})", "bad", f"by {abs(new - old):.10g}")


def _pair(value: Value) -> tuple[tuple[str, str], tuple[str, str]]:
    """Write both values, numbers with as many digits as tell them apart; and exactly."""
    old, new = value.before, value.after
    if isinstance(old, float) and isinstance(new, float):
        shown = told_apart(old, new)
    else:
        shown = _shown(old), _shown(new)
    return (shown[0], str(old)), (shown[1], str(new))


def _shown(value: Json) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        return number(value)
    text = str(value)
    scheme, colon, digest = text.partition(":")
    is_digest = bool(colon) and scheme.startswith("nbfp")
    return digest[:_DIGEST_LENGTH] if is_digest else one_line(text)


@dataclass(frozen=True, slots=True, repr=False)
class ReplayProgress(View):
    """How far a replay is, in one line; `cell` counts the cells that have ended."""

    run: str
    cell: int
    total: int

    mime: ClassVar[str] = PROGRESS_MIME
    title: ClassVar[str] = "Replay"

    def document(self) -> dict[str, Any]:
        """Say how far it is, as JSON."""
        return {"run": self.run, "cell": self.cell, "total": self.total}

    def blocks(self) -> tuple[Block, ...]:
        """Give one line."""
        done = _BAR_LENGTH * self.cell // max(self.total, 1)
        bar = Span("━" * done, "good"), Span("━" * (_BAR_LENGTH - done), "muted")
        mark = "●" if self.cell >= self.total else "◐"
        return (line(f"{mark} replay of {self.run[:4]}  ", *bar, f"  {self.cell}/{self.total}"),)


@dataclass(frozen=True, slots=True, repr=False)
class RestoredView(View):
    """A run's cells, written as a notebook.

    Attributes
    ----------
    run
        Whose cells.
    path
        Where they are now.
    cells
        How many.
    """

    run: Run
    path: Path
    cells: int
    place: Place = "notebook"

    mime: ClassVar[str] = RESTORED_MIME
    title: ClassVar[str] = "Restored notebook"

    def document(self) -> dict[str, Any]:
        """Say what was written, as JSON."""
        path = str(self.path)
        document: dict[str, Any] = plain(
            {"run": self.run.id, "notebook": path, "cells": self.cells}
        )
        return document

    def blocks(self) -> tuple[Block, ...]:
        """Give one line."""
        return (
            line(
                f"{counted(self.cells, 'cell')} of run ",
                Span(self.run.id[:4], "strong", self.run.id),
                " in ",
                Span(one_line(str(self.path)), "code"),
                "   again, and compared:  ",
                Span(command(self.place, "replay", self.run.id[:4]), "code"),
            ),
        )
