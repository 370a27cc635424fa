"""What the steps of a run have shown, as the run of the pipeline shows it."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from mlops_nb.errors import RunNotFound
from mlops_nb.pipeline.running.recording import find_run
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.model import Json, Run
    from mlops_nb.pipeline.running.outcomes import PipelineOutcome, StepOutcome
    from mlops_nb.store import Store


@record
class Summary:
    """Of all steps.

    Attributes
    ----------
    metrics
        In the order of the notebook, so that the last value of a name counts, as there.
    params
        Values of the pipeline's parameters, those included that are worked out.
    also
        ``environment`` and ``git``, which only kernels know.
    steps
        Those of the outcome, with their metrics.
    """

    metrics: tuple[tuple[str, float], ...] = ()
    params: Mapping[str, Json] = field(default_factory=dict)
    also: Mapping[str, Json] = field(default_factory=dict)
    steps: tuple[StepOutcome, ...] = ()


def summary_of(store: Store, outcome: PipelineOutcome) -> Summary:
    """Read the runs of the steps, also of those whose results were used again."""
    runs = list(_runs(store, outcome))
    names = {parameter.name for parameter in outcome.pipeline.parameters}
    logged = [(key, m.value) for run in runs for key, m in run.metrics.items()]
    params = {k: p.value for run in runs for k, p in run.params.items() if k in names}
    also = {
        "environment": next((run.environment for run in runs if run.environment), None),
        "git": next((run.git for run in runs if run.git), None),
    }
    by_run = {run.id: {key: m.value for key, m in run.metrics.items()} for run in runs}
    shown = (by_run.get(step.run or step.cached_from or "", {}) for step in outcome.steps)
    return Summary(
        metrics=(*logged, *_named(outcome)),
        params=params,
        also={name: value for name, value in also.items() if value is not None},
        steps=tuple(
            replace(step, metrics=metrics)
            for step, metrics in zip(outcome.steps, shown, strict=True)
        ),
    )


def _runs(store: Store, outcome: PipelineOutcome) -> list[Run]:
    """Read the runs of all steps at once, in the order of the notebook."""
    ids = [run for step in outcome.steps if (run := step.run or step.cached_from)]
    wanted = list(dict.fromkeys(ids))
    try:
        found = store.runs(refs=wanted, archived=True) if wanted else []
    except RunNotFound:  # one was deleted meanwhile, or has never begun
        found = [one for id_ in wanted if (one := find_run(store, id_)) is not None]
    by_id = {run.id: run for run in found}
    return [by_id[id_] for id_ in wanted if id_ in by_id]


def _named(outcome: PipelineOutcome) -> Iterator[tuple[str, float]]:
    """Give the values that the author wants logged at the end (``pipeline-metrics``)."""
    for name in outcome.pipeline.metrics:
        value = _number(outcome, name)
        if value is not None:
            yield name, value


def _number(outcome: PipelineOutcome, name: str) -> float | None:
    """Read a number that the last step which has it has saved; a pickle is not read for that."""
    for step in reversed(outcome.pipeline.steps):
        for result in outcome.results.get(step.name, ()):
            if any(name in unit.names and unit.format == "json" for unit in result.units):
                value = outcome.values(result.step, name)
                return float(value) if isinstance(value, int | float) else None
    return None
