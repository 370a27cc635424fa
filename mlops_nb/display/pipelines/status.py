"""Runs of pipelines and their steps as a store knows them, those that are lost, too."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Cell, Column, Span, Table, TableRow, line
from mlops_nb.display.formats import (
    UNKNOWN,
    ago,
    counted,
    duration,
    exact_time,
    one_line,
    phrase,
)
from mlops_nb.display.view import View
from mlops_nb.documents import iso, plain
from mlops_nb.model import as_datetime
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.model import Run
    from mlops_nb.model.pipelines import StepRun
    from mlops_nb.store import Store

STATUS_MIME = "application/vnd.mlops-nb.pipeline-status.v1+json"

_MARKS = {
    "pending": "·",
    "ready": "·",
    "running": "◐",
    "cached": "✓",
    "done": "✓",
    "failed": "✕",
    "skipped": "○",
    "upstream_failed": "–",
    "lost": "?",
}
_TONES: dict[str, Tone] = {
    "done": "good",
    "cached": "good",
    "finished": "good",
    "failed": "bad",
    "upstream_failed": "warn",
    "lost": "warn",
    "interrupted": "warn",
}
_ORDER = tuple(_MARKS)
_ID = 8


@record
class PipelineState:
    """A run of a pipeline.

    Attributes
    ----------
    id
        Of the run.
    run
        What else is known of it; None as long as its driver has not told.
    steps
        In their order.
    lost
        Names of steps that count as running, and nobody runs.
    """

    id: str
    run: Run | None
    steps: tuple[StepRun, ...]
    lost: tuple[str, ...]

    @property
    def state(self) -> str:
        """In one word: ``running`` only if somebody runs it."""
        if self.lost:
            return "lost"
        if self.run is not None:
            return self.run.status
        return "running" if any(s.state == "running" for s in self.steps) else "unknown"

    def state_of(self, step: StepRun) -> str:
        """Give the state of a step, ``lost`` if nobody runs it any more."""
        return "lost" if step.step in self.lost else step.state


def pipeline_states(
    store: Store, reference: str | None = None, *, limit: int = 20
) -> tuple[PipelineState, ...]:
    """Read the last runs of pipelines.

    Parameters
    ----------
    store
        Where they are.
    reference
        A run of a pipeline, or of one of its steps; or the path of a notebook or of a
        pipeline's folder: its runs; all if left out.
    limit
        At most so many.

    Raises
    ------
    RunNotFound
        There is no such run.
    """
    if reference is not None and not _is_path(reference):
        return (_state(store, _pipeline_run(store, reference)),)
    found: dict[str, None] = {}
    runs = store.runs("kind = 'pipeline'", limit=None if reference else limit)
    for run in runs:
        if reference is None or _is_of(run, Path(reference)):
            found[run.id] = None
    if reference is None:
        found |= dict.fromkeys(store.latest_pipeline_runs(limit))
    states = [_state(store, id_) for id_ in found]
    return tuple(sorted(states, key=_began, reverse=True)[:limit])


def _is_path(reference: str) -> bool:
    return reference.endswith((".ipynb", ".py", ".yaml")) or Path(reference).exists()


def _is_of(run: Run, path: Path) -> bool:
    return run.notebook is not None and Path(run.notebook).resolve() == path.resolve()


def _pipeline_run(store: Store, reference: str) -> str:
    known = [id_ for id_ in store.latest_pipeline_runs(1000) if id_.startswith(reference)]
    run = store.find_run(reference)
    if run is None:
        return known[0] if len(known) == 1 else store.get_run(reference).id
    if run.kind == "step" and run.parent is not None:
        return run.parent
    return run.id


def _state(store: Store, id_: str) -> PipelineState:
    steps = tuple(store.step_runs(id_))
    lost = tuple(store.abandoned_steps(id_))
    return PipelineState(id_, store.find_run(id_), steps, lost)


def _began(state: PipelineState) -> int:
    if state.run is not None:
        return int(state.run.started_at.timestamp() * 1e9)
    return max((step.started_at_ns or 0 for step in state.steps), default=0)


# --- all of them --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class StatusView(View):
    """The last runs of pipelines, a row each."""

    states: Sequence[PipelineState]

    mime: ClassVar[str] = STATUS_MIME
    title: ClassVar[str] = "Pipelines"

    def document(self) -> dict[str, Any]:
        """Give the runs as JSON."""
        return {"runs": [state_document(state) for state in self.states]}

    def blocks(self) -> tuple[Block, ...]:
        """Give a row for each run, and what to do about those that are lost."""
        if not self.states:
            how = Span("mlops-nb run NOTEBOOK", "code")
            return (line("No pipeline has run here yet. Run one:  ", how),)
        return (_runs_table(self.states), *_next(self.states))


def _runs_table(states: Sequence[PipelineState]) -> Table:
    now = as_datetime(time.time_ns())
    columns = (
        Column("run"),
        Column("pipeline"),
        Column("state"),
        Column("steps", widest=60),
        Column("began", rank=1),
        Column("took", "right", rank=2),
    )
    return Table(columns, tuple(_run_row(state, now) for state in states), "runs of pipelines")


def _run_row(state: PipelineState, now: Any) -> TableRow:
    run = state.run
    began = None if run is None else run.started_at
    return TableRow(
        (
            Cell(state.id[:_ID], "code", state.id),
            Cell(UNKNOWN if run is None else one_line(run.name)),
            Cell(state.state, _TONES.get(state.state, "plain")),
            Cell(_counts(state)),
            Cell(UNKNOWN if began is None else ago(began, now), "muted", exact_time(began)),
            Cell(duration(None if run is None else run.duration_s)),
        )
    )


def _counts(state: PipelineState) -> str:
    counts = Counter(state.state_of(step) for step in state.steps)
    said = [f"{counts[word]} {_word(word)}" for word in _ORDER if counts[word]]
    running = [step.step for step in state.steps if state.state_of(step) == "running"]
    return " · ".join(said) + (f" ({', '.join(running)})" if running else "")


def _word(state: str) -> str:
    return "not run" if state == "upstream_failed" else state


def _next(states: Sequence[PipelineState]) -> Iterator[Block]:
    lost = [state for state in states if state.state == "lost"]
    if lost:
        again = f"mlops-nb run --resume {lost[0].id[:4]}"
        told = f"{counted(len(lost), 'run')} lost: who ran them is gone. Go on:  "
        yield line(Span(told, "muted"), Span(again, "code"))


# --- one of them --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class PipelineStatusView(View):
    """One run of a pipeline, a row for each step."""

    state: PipelineState

    mime: ClassVar[str] = STATUS_MIME
    title: ClassVar[str] = "Pipeline"

    def document(self) -> dict[str, Any]:
        """Give the run as JSON."""
        return state_document(self.state)

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, the steps, what failed, and what to do next."""
        state = self.state
        name = one_line(state.run.name) if state.run else "pipeline"
        heading = line(
            Span(name, "strong"),
            "  run ",
            Span(state.id[:_ID], "code", state.id),
            "  ",
            Span(state.state, _TONES.get(state.state, "plain")),
            Span(f"   {_counts(state)}", "muted"),
        )
        if not state.steps:
            return (heading, line(Span("No step of it is known.", "muted")))
        return (heading, _steps_table(state), *_failures(state), *_next([state]))


def _steps_table(state: PipelineState) -> Table:
    columns = (
        Column(""),
        Column("step", widest=40),
        Column("state"),
        Column("took", "right"),
        Column("run"),
        Column("attempt", "right", rank=2),
        Column("", widest=60, rank=1),
    )
    now_ns = time.time_ns()
    rows = tuple(_step_row(state, step, now_ns) for step in state.steps)
    return Table(columns, rows, "steps of a run")


def _step_row(state: PipelineState, step: StepRun, now_ns: int) -> TableRow:
    word = state.state_of(step)
    tone = _TONES.get(word, "plain")
    ended_ns = step.ended_at_ns or (now_ns if word == "running" else None)
    taken = None
    if step.started_at_ns is not None and ended_ns is not None and word != "cached":
        taken = max(ended_ns - step.started_at_ns, 0) / 1e9
    run = step.run or step.cached_from
    return TableRow(
        (
            Cell(_MARKS.get(word, ""), tone),
            Cell(one_line(step.step)),
            Cell(_word(word), tone),
            Cell(UNKNOWN if taken is None else duration(taken)),
            Cell(run[:_ID] if run else UNKNOWN, "code", run or ""),
            Cell(str(step.attempt)),
            Cell(_remark(word, step, now_ns), "muted"),
        )
    )


def _remark(word: str, step: StepRun, now_ns: int) -> str:
    """Say what else there is to know of a step."""
    if word == "cached":
        return f"results of run {step.cached_from[:_ID]}" if step.cached_from else ""
    if word == "running" and step.lease_until_ns is not None:
        return f"{_whose(step)}, lease {duration(max(step.lease_until_ns - now_ns, 0) / 1e9)}"
    if word == "lost":
        return f"{_whose(step)} is gone"
    return phrase(str((step.error or {}).get("message", "")))


def _whose(step: StepRun) -> str:
    pid = step.owner.get("pid")
    host = str(step.owner.get("host", "")).partition(" ")[0]
    return " on ".join(filter(None, (f"process {pid}" if pid else "", host))) or "its process"


def _failures(state: PipelineState) -> Iterator[Block]:
    for step in state.steps:
        error = step.error or {}
        if step.state == "failed" and error:
            kind = f"{error['type']}: " if error.get("type") else ""
            place = f"{step.step}" + (f", cell {error['cell']}" if error.get("cell") else "")
            text = f"{kind}{phrase(str(error.get('message', '')))}"
            yield line(Span(f"✕ {place}  ", "bad"), text)


# --- JSON ---------------------------------------------------------------------------------------


def state_document(state: PipelineState) -> dict[str, Any]:
    """Describe a run of a pipeline for programs."""
    run = state.run
    return {
        "id": state.id,
        "pipeline": None if run is None else plain(run.name),
        "notebook": None if run is None else plain(run.notebook),
        "status": state.state,
        "started_at": None if run is None else iso(run.started_at),
        "duration_s": None if run is None else run.duration_s,
        "steps": [_step_document(state, step) for step in state.steps],
    }


def _step_document(state: PipelineState, step: StepRun) -> dict[str, Any]:
    return {
        "name": plain(step.step),
        "step_state": state.state_of(step),
        "run": step.run,
        "cached_from": step.cached_from,
        "attempt": step.attempt,
        "started_at": _iso(step.started_at_ns),
        "ended_at": _iso(step.ended_at_ns),
        "lease_until": _iso(step.lease_until_ns),
        "error": plain(dict(step.error)) if step.error else None,
        "key": step.key,
    }


def _iso(at_ns: int | None) -> str | None:
    return None if at_ns is None else iso(as_datetime(at_ns))
