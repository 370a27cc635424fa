"""Which steps would run, and why: the plan of a run, without the run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.config import load_settings
from mlops_nb.errors.pipelines import PipelineRefused
from mlops_nb.pipeline.running.lookup import Lookup, RunRequest
from mlops_nb.pipeline.running.parameters import effective_values
from mlops_nb.pipeline.running.planning import Choice, above_of, chosen_steps
from mlops_nb.pipeline.running.preparing import checked, prepare, start_folder
from mlops_nb.pipeline.running.surroundings import step_environment
from mlops_nb.record import record
from mlops_nb.store import Store
from mlops_nb.store.locate import locate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model.pipelines import CachedStep, Step
    from mlops_nb.pipeline.drafts import SplitOn
    from mlops_nb.pipeline.running.preparing import Prepared


@record
class PlannedStep:
    """One step, and whether it would run.

    Attributes
    ----------
    reasons
        Why it would, or what stands for it, as sentences.
    """

    name: str
    is_stale: bool
    reasons: tuple[str, ...] = ()
    cached_from: str | None = None


@record
class RunPlan:
    """What a run would do."""

    pipeline: str
    steps: tuple[PlannedStep, ...]
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Describe it as plain values."""
        steps = [
            {
                "name": step.name,
                "stale": step.is_stale,
                "reasons": list(step.reasons),
                "cached_from": step.cached_from,
            }
            for step in self.steps
        ]
        return {"pipeline": self.pipeline, "steps": steps, "warnings": list(self.warnings)}


def plan_pipeline(
    path: str | Path,
    *,
    params: Mapping[str, object] | None = None,
    store: str | None = None,
    choice: Choice | None = None,
    split_on: SplitOn = "tags",
    name: str | None = None,
    place: Path | None = None,
) -> RunPlan:
    """Say which steps of a pipeline would run now, and why; nothing runs.

    Parameters
    ----------
    path, params, store, choice, split_on, name, place
        As of `run_pipeline`.

    Raises
    ------
    MlopsNbError
        It could not run as asked.

    Examples
    --------
    >>> plan_pipeline("train.ipynb").steps[0].is_stale  # doctest: +SKIP
    True
    """
    given = Path(path)
    settings = load_settings(start_folder(given), store=store)
    with Store.open(locate(start_folder(given), settings), create=True) as opened:
        prepared = prepare(given, store=opened, split_on=split_on, name=name, place=place)
        typed = checked(prepared, params or {})
        request = RunRequest(params=typed, choice=choice or Choice())
        chosen = chosen_steps(prepared.pipeline, request.choice)
        lookup = Lookup(prepared, opened, request, step_environment(os.environ, 1))
        lookup.borrow(chosen, effective_values(prepared.pipeline, typed))
        steps = tuple(_planned(lookup, prepared, chosen, typed))
    return RunPlan(prepared.pipeline.name, steps, prepared.warnings)


def _planned(
    lookup: Lookup, prepared: Prepared, chosen: frozenset[str], params: Mapping[str, Any]
) -> list[PlannedStep]:
    pipeline = prepared.pipeline
    before = above_of(pipeline)
    found: dict[str, PlannedStep] = {}
    for step in pipeline.steps:
        if step.name not in chosen:
            continue
        stale = [name for name in before[step.name] if name in found and found[name].is_stale]
        waits = [name for name in stale if name in step.inputs.values()]
        if waits:
            text = f"{step.name} may run: {', '.join(sorted(waits))} may give it other values"
            found[step.name] = PlannedStep(step.name, is_stale=True, reasons=(text,))
        else:
            found[step.name] = _looked_up(lookup, step, effective_values(pipeline, params))
    return list(found.values())


def _looked_up(lookup: Lookup, step: Step, params: Mapping[str, Any]) -> PlannedStep:
    hits: list[CachedStep] = []
    try:
        parts = lookup.parts_of(step, params)
    except PipelineRefused as error:
        return PlannedStep(step.name, is_stale=True, reasons=(error.problem,))
    for part in parts:
        lookup.identify(part)
        hit = lookup.hit(part)
        if hit is None:
            return PlannedStep(step.name, is_stale=True, reasons=lookup.why(part))
        hits.append(hit)
    lookup.results[step.name] = tuple(hits)
    first = hits[0].run if hits else None
    text = f"results of run {first[:8]} stand for it" if first else ""
    return PlannedStep(step.name, is_stale=False, reasons=(text,), cached_from=first)
