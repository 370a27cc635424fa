"""What became of a run of a pipeline: a row a step, with a bar where its time lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Cell, Code, Column, Section, Span, Table, TableRow, line
from mlops_nb.display.formats import (
    UNKNOWN,
    counted,
    duration,
    number,
    one_line,
    scalar,
    shortened,
)
from mlops_nb.display.view import View, command
from mlops_nb.documents import plain
from mlops_nb.pipeline.reports import said_of, state_of, where_of, why_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.display.view import Place

PIPELINE_RUN_MIME = "application/vnd.mlops-nb.pipeline-run.v1+json"

STATE_MARKS: Mapping[str, str] = {
    "pending": "·",
    "ready": "·",
    "running": "◐",
    "cached": "✓",
    "done": "✓",
    "failed": "✕",
    "skipped": "○",
    "upstream_failed": "–",
}
_TONES: Mapping[str, Tone] = {
    "done": "good",
    "cached": "good",
    "failed": "bad",
    "upstream_failed": "warn",
    "running": "plain",
}
_WORDS: Mapping[str, str] = {"upstream_failed": "not run"}
_MEANS: Mapping[str, str] = {
    "cached": "an earlier result stands for it",
    "skipped": "its condition was false, or it was not asked for",
    "upstream_failed": "a step before it failed",
}
_BAR_LETTERS = 20
_MOST_METRICS = 3
_ID = 8


@dataclass(frozen=True, slots=True, repr=False)
class PipelineRunView(View):
    """A run of a pipeline.

    Attributes
    ----------
    outcome
        ``{"id", "status", "steps": [{"name", "status", "step_state", "cached", "duration_s",
        "run", "notebook", "error", "reasons"}], "outputs"}``. Where steps say when they began
        (``started_at``, or ``offset_s`` from the first), the bars stand where their time lies.
    place
        Where the reader is.
    """

    outcome: Mapping[str, Any]
    place: Place = "notebook"

    mime: ClassVar[str] = PIPELINE_RUN_MIME
    title: ClassVar[str] = "Pipeline run"

    def document(self) -> dict[str, Any]:
        """Give the outcome as JSON."""
        written = plain({**self.outcome})
        assert isinstance(written, dict)  # noqa: S101 - for mypy: a mapping stays one
        return written

    @property
    def steps(self) -> Sequence[Mapping[str, Any]]:
        """The steps, in the order in which they stand in the notebook."""
        return tuple(self.outcome.get("steps", ()))

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, a row for each step, what failed, what came out, and what is next."""
        return (
            self._heading(),
            *self._table(),
            *self._failures(),
            *self._outputs(),
            *self._notes(),
            self._next(),
        )

    def _heading(self) -> Block:
        outcome, steps = self.outcome, self.steps
        status = str(outcome.get("status", ""))
        tone: Tone = {"finished": "good", "failed": "bad"}.get(status, "warn")  # type: ignore[assignment]
        states = [state_of(step) for step in steps]
        counted_states = [
            f"{states.count(state)} {_WORDS.get(state, state)}"
            for state in ("cached", "failed", "skipped", "upstream_failed")
            if state in states
        ]
        taken = outcome.get("duration_s")
        saved = outcome.get("saved_s")
        facts = [
            counted(len(steps), "step"),
            *counted_states,
            *([duration(taken)] if taken is not None else []),
            *([f"{duration(saved)} saved by cache"] if saved else []),
        ]
        return line(
            "pipeline ",
            Span(str(outcome.get("pipeline") or "run"), "strong"),
            "  run ",
            Span(str(outcome.get("id", ""))[:_ID], "code", str(outcome.get("id", ""))),
            "  ",
            Span(status, tone),
            Span(f"   {' · '.join(facts)}", "muted"),
        )

    def _table(self) -> Iterator[Block]:
        steps = self.steps
        if not steps:
            return
        spans = _spans(steps)
        columns = (
            Column("", widest=2),
            Column("step", widest=32),
            Column("state", widest=14),
            Column("time", "right", has_bars=True, bar_letters=_BAR_LETTERS),
            Column("metrics", rank=1, widest=44),
            Column("run", rank=3),
            Column("why", rank=2, widest=64),
        )
        rows = [_row(step, span) for step, span in zip(steps, spans, strict=True)]
        kept = [i for i in range(len(columns)) if i < 4 or any(row[i].text for row in rows)]  # noqa: PLR2004 - always there
        yield Table(
            tuple(columns[i] for i in kept),
            tuple(TableRow(tuple(row[i] for i in kept)) for row in rows),
            summary=counted(len(steps), "step"),
        )

    def _failures(self) -> Iterator[Block]:
        for step in self.steps:
            error = step.get("error")
            if state_of(step) == "failed" and error:
                said, where = said_of(error), where_of(error)
                yield line(
                    Span("✕ ", "bad"),
                    Span(str(step["name"]), "strong"),
                    f" failed{f' in {where}' if where else ''}: ",
                    Span(shortened(one_line(said), 200), hover=said),
                )
                if lines := _lines(error):
                    yield Code(lines, "python", most_lines=12)

    def _outputs(self) -> Iterator[Block]:
        outputs = self.outcome.get("outputs") or {}
        if not outputs:
            return
        columns = (
            Column("output", widest=32),
            Column("of", widest=32),
            Column("value", widest=60),
        )
        rows = []
        for name, value in outputs.items():
            step = str(value.get("step", "")) if isinstance(value, dict) else ""
            said = _output(value)
            rows.append(TableRow((Cell(str(name), "strong"), Cell(step), Cell(said, hover=said))))
        table = Table(columns, tuple(rows), summary=counted(len(rows), "output"))
        yield Section("outputs", (table,), counted(len(rows), "output"))

    def _notes(self) -> Iterator[Block]:
        for repair in self.outcome.get("repairs", ()):
            yield line(Span("⚠ ", "warn"), f"planned again: {repair}")
        for warning in self.outcome.get("warnings", ()):
            yield line(Span("⚠ ", "warn"), str(warning))

    def _next(self) -> Block:
        run = str(self.outcome.get("id", ""))[:_ID]
        failed = [step for step in self.steps if state_of(step) == "failed"]
        if not failed:
            return line("next:  ", Span(command(self.place, "show", run), "code"))
        own = str(failed[0].get("run") or run)[:_ID]
        name = str(failed[0]["name"])
        parts = [Span(command(self.place, "show", own, "--errors"), "code")]
        # The step's command is of the shell alone.
        parts += ["   ", Span(f"mlops-nb step debug {run} {name}", "code")]  # type: ignore[list-item]
        return line("see:  ", *parts)


def _row(step: Mapping[str, Any], span: tuple[float, float] | None) -> list[Cell]:
    state = state_of(step)
    tone = _TONES.get(state, "muted")
    attempt = step.get("attempt") or 1
    word = _WORDS.get(state, state) + (f", try {attempt}" if attempt > 1 else "")
    is_known = state in {"done", "failed", "cached", "running"}
    taken = duration(step.get("duration_s")) if is_known else UNKNOWN
    run = str(step.get("run") or step.get("cached_from") or "")
    return [
        Cell(STATE_MARKS.get(state, "·"), tone, _WORDS.get(state, state)),
        Cell(str(step["name"]), "strong"),
        Cell(word, tone, _MEANS.get(state, "")),
        Cell(
            taken,
            "plain" if is_known else "muted",
            bar=span[1] if span else 0.0,
            bar_from=span[0] if span else 0.0,
        ),
        Cell(_metrics(step.get("metrics") or {})),
        Cell(run[:_ID], "muted", run),
        Cell(one_line(why_of(step)), "muted", why_of(step)),
    ]


def _metrics(metrics: Mapping[str, Any]) -> str:
    shown = [
        f"{name} {number(value) if isinstance(value, int | float) else value}"
        for name, value in list(metrics.items())[:_MOST_METRICS]
    ]
    more = len(metrics) - len(shown)
    return "  ".join([*shown, *([f"+{more}"] if more else [])])


def _spans(steps: Sequence[Mapping[str, Any]]) -> list[tuple[float, float] | None]:
    """Give where each bar begins and how long it is, as shares of the whole."""
    starts = [_start(step) for step in steps]
    lengths = [float(step.get("duration_s") or 0.0) for step in steps]
    known = [start for start in starts if start is not None]
    first = min(known, default=0.0)
    offsets = [0.0 if start is None else start - first for start in starts]
    whole = max((a + b for a, b in zip(offsets, lengths, strict=True)), default=0.0)
    if whole <= 0:
        return [None for _ in steps]
    return [
        (offset / whole, length / whole) if length > 0 else None
        for offset, length in zip(offsets, lengths, strict=True)
    ]


def _start(step: Mapping[str, Any]) -> float | None:
    """Give when a step began, in seconds from any fixed moment."""
    offset = step.get("offset_s")
    if isinstance(offset, int | float):
        return float(offset)
    written = step.get("started_at")
    if not isinstance(written, str):
        return None
    try:
        return datetime.fromisoformat(written).timestamp()
    except ValueError:
        return None


def _lines(error: Mapping[str, Any]) -> str:
    lines = error.get("lines")
    return "\n".join(map(str, lines)) if isinstance(lines, list | tuple) else str(lines or "")


def _output(value: object) -> str:
    if not isinstance(value, dict):
        return scalar(plain(value))
    parts = [str(value[key]) for key in ("format", "digest") if value.get(key)]
    return "  ".join(shortened(part, 40) for part in parts) or scalar(plain(value))
