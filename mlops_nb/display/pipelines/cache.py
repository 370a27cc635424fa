"""Results of steps that a store keeps to use again: which there are, and why one was not used."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Cell, Column, Span, Table, TableRow, line
from mlops_nb.display.formats import UNKNOWN, ago, counted, duration, exact_time, one_line, size
from mlops_nb.display.view import View
from mlops_nb.documents import iso, plain
from mlops_nb.errors.pipelines import StepNotKnown
from mlops_nb.model import as_datetime
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.display.blocks import Block
    from mlops_nb.model.pipelines import CachedStep, StepRun
    from mlops_nb.store import Store

CACHE_MIME = "application/vnd.mlops-nb.cache.v1+json"

_ID = 8
_MOST_ROWS = 200


def size_of(step: CachedStep) -> int:
    """Count the bytes of values and files of results."""
    values = sum(file.size_bytes for unit in step.units for file in unit.files)
    return values + sum(int(file.get("size_bytes") or 0) for file in step.files.values())


def bytes_of(steps: Sequence[CachedStep]) -> dict[str, int]:
    """Give the size of all that results refer to, by address: each once."""
    found: dict[str, int] = {}
    for step in steps:
        found |= {file.digest: file.size_bytes for unit in step.units for file in unit.files}
        for file in step.files.values():
            found[str(file.get("digest"))] = int(file.get("size_bytes") or 0)
    return found


# --- cache ls -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class CacheView(View):
    """Results that are kept, the latest first."""

    steps: Sequence[CachedStep]
    pipeline: str | None = None

    mime: ClassVar[str] = CACHE_MIME
    title: ClassVar[str] = "Cache"

    def document(self) -> dict[str, Any]:
        """Give the results as JSON."""
        return {
            "results": [cached_document(step) for step in self.steps],
            "size_bytes": sum(bytes_of(self.steps).values()),
        }

    def blocks(self) -> tuple[Block, ...]:
        """Give the sum, and a row for each."""
        if not self.steps:
            whose = f" of pipeline {one_line(self.pipeline)}" if self.pipeline else ""
            return (line(f"No results of steps{whose} are kept here."),)
        total = size(sum(bytes_of(self.steps).values()))
        heading = line(
            Span(counted(len(self.steps), "result"), "strong"), Span(f"   {total}", "muted")
        )
        return (heading, _results_table(self.steps), *_left_out(self.steps))


def _results_table(steps: Sequence[CachedStep]) -> Table:
    now = as_datetime(time.time_ns())
    columns = (
        Column("pipeline", rank=3),
        Column("step", widest=40),
        Column("run"),
        Column("made"),
        Column("used", rank=2),
        Column("took", "right"),
        Column("size", "right"),
        Column("values", widest=40, rank=1),
    )
    rows = tuple(_result_row(step, now) for step in steps[:_MOST_ROWS])
    return Table(columns, rows, "results of steps")


def _result_row(step: CachedStep, now: Any) -> TableRow:
    made = as_datetime(step.created_at_ns)
    used = None if step.used_at_ns is None else as_datetime(step.used_at_ns)
    names = [name for unit in step.units for name in unit.names]
    return TableRow(
        (
            Cell(one_line(step.pipeline)),
            Cell(one_line(step.step)),
            Cell(step.run[:_ID], "code", step.run),
            Cell(ago(made, now), "muted", exact_time(made)),
            Cell(UNKNOWN if used is None else ago(used, now), "muted", exact_time(used)),
            Cell(duration(step.duration_s)),
            Cell(size(size_of(step))),
            Cell(", ".join([*map(one_line, names), *map(one_line, step.files)]) or UNKNOWN),
        )
    )


def _left_out(steps: Sequence[CachedStep]) -> Iterator[Block]:
    if len(steps) > _MOST_ROWS:
        more = f"{len(steps) - _MOST_ROWS:,} more: mlops-nb cache ls --format json"
        yield line(Span(more, "muted"))


def cached_document(step: CachedStep) -> dict[str, Any]:
    """Describe results for programs."""
    return {
        "pipeline": plain(step.pipeline),
        "step": plain(step.step),
        "run": step.run,
        "key": step.key,
        "created_at": iso(as_datetime(step.created_at_ns)),
        "used_at": None if step.used_at_ns is None else iso(as_datetime(step.used_at_ns)),
        "duration_s": step.duration_s,
        "size_bytes": size_of(step),
        "values": [plain(name) for unit in step.units for name in unit.names],
        "files": plain(list(step.files)),
    }


# --- cache rm -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class ForgottenView(View):
    """What was removed from the cache.

    Attributes
    ----------
    gone
        Results that were.
    freed_bytes
        Of what no other results refer to.
    in_use
        How many were left because a pipeline works with them.
    """

    gone: Sequence[CachedStep]
    freed_bytes: int = 0
    in_use: int = 0

    mime: ClassVar[str] = CACHE_MIME
    title: ClassVar[str] = "Removed from the cache"

    def document(self) -> dict[str, Any]:
        """Give what was removed as JSON."""
        return {
            "removed": [cached_document(step) for step in self.gone],
            "freed_bytes": self.freed_bytes,
            "in_use": self.in_use,
        }

    def blocks(self) -> tuple[Block, ...]:
        """Say what went, and when its bytes go."""
        return tuple(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        counts = Counter(step.step for step in self.gone)
        names = [name if n == 1 else f"{name} ×{n}" for name, n in counts.items()]
        which = f": {', '.join(map(one_line, names[:12]))}" if names else ""
        more = f" and {len(names) - 12:,} more" if len(names) > 12 else ""  # noqa: PLR2004
        yield line(Span(f"removed {counted(len(self.gone), 'result')}", "strong"), which, more)
        if self.freed_bytes:
            command = Span("mlops-nb store gc --yes", "code")
            yield line(f"{size(self.freed_bytes)} go with the next  ", command)
        if self.in_use:
            verb = "is" if self.in_use == 1 else "are"
            told = f"{counted(self.in_use, 'result')} {verb} used by a pipeline that runs now, and"
            yield line(Span(f"{told} stayed", "warn"))


# --- cache explain ------------------------------------------------------------------------------


@record
class Explanation:
    """Why a step ran, or did not have to.

    Attributes
    ----------
    step
        As the store has it.
    sentences
        One for each reason.
    nearest
        The results that it was compared with, if any.
    """

    step: StepRun
    sentences: tuple[str, ...]
    nearest: CachedStep | None = None


def explanations(store: Store, step: str, run: str | None = None) -> tuple[Explanation, ...]:
    """Say why a step ran, or did not have to; of a fanned-out one, each piece.

    Parameters
    ----------
    store
        Where the runs are.
    step
        Name of the step, ``train[2]`` for one piece.
    run
        A run of a pipeline, as `status` takes it; the last one with such a step if left out.

    Raises
    ------
    StepNotKnown
        No run has a step of this name.
    RunNotFound
        There is no such run.
    """
    from mlops_nb.display.pipelines.status import pipeline_states

    states = pipeline_states(store, run, limit=100)
    for state in states:
        found = [one for one in state.steps if one.step == step]
        found = found or [one for one in state.steps if one.step.startswith(f"{step}[")]
        if found:
            notebook = state.run.notebook if state.run else None
            folder = Path(notebook).parent if notebook else Path()
            return tuple(_explained(store, one, folder) for one in found)
    known = dict.fromkeys(one.step for state in states for one in state.steps)
    raise StepNotKnown(step, tuple(known))


def _explained(store: Store, step: StepRun, folder: Path) -> Explanation:
    from mlops_nb.pipeline.caching import explain, nearest_to, reasons_against

    if step.state == "cached":
        found = store.cached_steps(run=step.cached_from) if step.cached_from else []
        hit = f"it is a hit: run {(step.cached_from or UNKNOWN)[:4]}"
        return Explanation(step, (hit,), next(iter(found), None))
    if not step.parts:
        return Explanation(step, (_without_parts(step),))
    about = step.parts["about"]
    began_ns = step.started_at_ns or time.time_ns()
    earlier = [
        one
        for one in store.cached_steps(about["pipeline"], step.step, limit=50)
        if one.run != step.run and one.created_at_ns <= began_ns
    ]
    nearest = nearest_to(step.parts, earlier)
    against: tuple[str, ...] = ()
    if nearest is not None and nearest.key == step.key:
        against = reasons_against(nearest, step.parts, folder=folder) or (_FORCED,)
    sentences = explain(step.parts, nearest, against=against, contents=store.fingerprint_content)
    return Explanation(step, sentences, nearest)


_FORCED = "it was told to (--force), or something that it reads was another for a while"


def _without_parts(step: StepRun) -> str:
    if step.state in {"pending", "ready"}:
        return f"{step.step} has not run yet"
    reason = str((step.error or {}).get("message", "")) or "nothing more is known"
    return f"{step.step} did not run: {one_line(reason)}"


@dataclass(frozen=True, slots=True, repr=False)
class ExplanationView(View):
    """Why a step ran, or did not have to."""

    found: Sequence[Explanation]

    mime: ClassVar[str] = CACHE_MIME
    title: ClassVar[str] = "Why a step ran"

    def document(self) -> dict[str, Any]:
        """Give the sentences as JSON."""
        return {"steps": [_explanation_document(one) for one in self.found]}

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, and what it was compared with."""
        return tuple(block for one in self.found for block in _explanation_blocks(one))


def _explanation_blocks(one: Explanation) -> Iterator[Block]:
    for sentence in one.sentences:
        yield line(one_line(sentence))
    now = as_datetime(time.time_ns())
    about = [f"run of the pipeline {one.step.pipeline_run[:_ID]}"]
    if one.nearest is not None:
        made = ago(as_datetime(one.nearest.created_at_ns), now)
        verb = "made" if one.step.state == "cached" else "compared with run"
        said = f"{made}" if one.step.state == "cached" else f"{one.nearest.run[:_ID]} ({made})"
        about.append(f"{verb} {said}")
    yield line(Span(f"{one.step.step}: {', '.join(about)}", "muted"))


def _explanation_document(one: Explanation) -> dict[str, Any]:
    return {
        "step": plain(one.step.step),
        "pipeline_run": one.step.pipeline_run,
        "step_state": one.step.state,
        "run": one.step.run,
        "key": one.step.key,
        "reasons": plain(list(one.sentences)),
        "compared_with": None if one.nearest is None else one.nearest.run,
        "parts": plain(dict(one.step.parts)),
    }
