"""What became of a run of a pipeline: a document, exit code, and values to read back."""

from __future__ import annotations

import tempfile
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.pipelines import StepInputsMissing, UnknownStep
from mlops_nb.model import as_datetime
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model import Json, RunStatus
    from mlops_nb.model.pipelines import CachedStep, Pipeline, StepState

DONE, FAILED, CONDITION_FALSE, INTERRUPTED = 0, 3, 4, 130

_STATUS: Mapping[str, RunStatus] = {
    "done": "finished",
    "cached": "finished",
    "failed": "failed",
    "running": "interrupted",
}


@record
class StepOutcome:
    """What became of one step.

    Attributes
    ----------
    name
        ``train[2]`` for a piece of a fanned-out step.
    state
        The scheduler's word.
    run, cached_from
        Its own run; the run whose results stand for it.
    reasons
        Why it ran, or why its results could be used; or why it was skipped.
    error
        ``{"type", "message", "cell", "line", "lines", "traceback"}``.
    """

    name: str
    state: StepState
    run: str | None = None
    cached_from: str | None = None
    duration_s: float = 0.0
    notebook: str = ""
    error: Mapping[str, Json] | None = None
    attempt: int = 1
    started_ns: int | None = None
    reasons: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def status(self) -> RunStatus | None:
        """Of its run; None if there is none."""
        return _STATUS.get(self.state)


@record
class PipelineOutcome:
    """What became of a run of a pipeline.

    Attributes
    ----------
    run
        Id of the run.
    pipeline
        As it was in the end, with what the run has shown.
    path
        What was run, as the user wrote it.
    location
        Of the store.
    folder
        Where executed notebooks lie.
    repairs
        What had to be added to the plan, as sentences.
    results
        By name of a step, one or, for its pieces, several.
    """

    run: str
    status: RunStatus
    pipeline: Pipeline
    path: str
    location: str
    folder: str
    steps: tuple[StepOutcome, ...] = ()
    started_ns: int = 0
    duration_s: float = 0.0
    saved_s: float = 0.0
    params: Mapping[str, Json] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    results: Mapping[str, tuple[CachedStep, ...]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """What the command line returns for it."""
        if self.status == "interrupted":
            return INTERRUPTED
        return DONE if self.status == "finished" else FAILED

    def document(self) -> dict[str, Any]:
        """Describe it in the words of the command line's JSON."""
        from mlops_nb.documents import plain

        document: dict[str, Any] = plain(
            {
                "id": self.run,
                "status": self.status,
                "pipeline": self.pipeline.name,
                "notebook": self.path,
                "started_at": as_datetime(self.started_ns) if self.started_ns else None,
                "duration_s": self.duration_s,
                "saved_s": self.saved_s,
                "params": dict(self.params),
                "metrics": dict(self.metrics),
                "steps": [step_document(step) for step in self.steps],
                "outputs": self.outputs,
                "repairs": list(self.repairs),
                "warnings": list(self.warnings),
            }
        )
        return document

    @property
    def outputs(self) -> dict[str, Any]:
        """Name what the author wants kept: ``{name: {step, format, digest, …}}``."""
        found: dict[str, Any] = {}
        for step in self.pipeline.steps:
            for result in self.results.get(step.name, ()):
                for unit in result.units:
                    for name in set(unit.names) & set(step.options.outputs):
                        found[name] = {
                            "step": result.step,
                            "run": result.run,
                            "format": unit.format,
                            "digest": unit.digests.get(name, unit.digest),
                            "size_bytes": unit.size_bytes,
                        }
        return found

    def values(self, step: str, name: str) -> object:
        """Read back a value that a step has given.

        Parameters
        ----------
        step
            Its name; ``train[2]`` for a piece.
        name
            Of the value, which a later step takes or the author wants kept.

        Raises
        ------
        UnknownStep
            There is no such step.
        StepInputsMissing
            It has not given this value.
        """
        base, _, number = step.partition("[")
        names = tuple(s.name for s in self.pipeline.steps)
        if base not in names:
            raise UnknownStep(self.pipeline.name, step, names)
        results = self.results.get(base, ())
        chosen = results[int(number[:-1]) :][:1] if number else results[:1]
        for result in chosen:
            for unit in result.units:
                if name in unit.names:
                    return _read_back(self.location, unit, name)
        raise StepInputsMissing(self.pipeline.name, step, (name,))


def _read_back(location: str, unit: Any, name: str) -> object:
    from mlops_nb.packaging import unpack
    from mlops_nb.store import Store

    with tempfile.TemporaryDirectory(prefix="mlops-nb-value-") as folder:
        with Store.open(location) as store:
            store.fetch_values(unit, Path(folder))
        return unpack(unit, Path(folder), namespace={})[name]


def step_document(step: StepOutcome) -> dict[str, Any]:
    """Describe what became of a step in the words of the command line's JSON."""
    return {
        "name": step.name,
        "status": step.status,
        "step_state": step.state,
        "cached": step.state == "cached",
        "cached_from": step.cached_from,
        "started_at": None if step.started_ns is None else as_datetime(step.started_ns),
        "duration_s": step.duration_s,
        "run": step.run,
        "attempt": step.attempt,
        "notebook": step.notebook or None,
        "error": None if step.error is None else dict(step.error),
        "reasons": list(step.reasons),
        "metrics": dict(step.metrics),
    }
