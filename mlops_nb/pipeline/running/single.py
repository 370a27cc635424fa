"""One step of a run, by itself: what ``mlops-nb step run`` does for other schedulers.

Whoever calls it decides the order; what the steps above have given is read from the store. So a
workflow elsewhere is a thin list of such calls, and cache, tracking and lineage are the same.
"""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.config import load_settings
from mlops_nb.engines import open_engine
from mlops_nb.errors.pipelines import UnknownStep
from mlops_nb.model import ParamLogged, RunChanged, RunStarted
from mlops_nb.model.pipelines import StepRun
from mlops_nb.pipeline.running.driver import Driver
from mlops_nb.pipeline.running.executing import PRELOAD
from mlops_nb.pipeline.running.lookup import RunRequest
from mlops_nb.pipeline.running.outcomes import CONDITION_FALSE, DONE, FAILED
from mlops_nb.pipeline.running.parameters import effective_values
from mlops_nb.pipeline.running.planning import Choice, above_of, needed_of
from mlops_nb.pipeline.running.preparing import checked, prepare, start_folder
from mlops_nb.pipeline.running.recording import find_run, made_in
from mlops_nb.pipeline.running.surroundings import folders_of
from mlops_nb.pipeline.running.watching import nobody
from mlops_nb.store import Store
from mlops_nb.store.locate import locate
from mlops_nb.tracking.values import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model import RunStatus
    from mlops_nb.model.pipelines import CachedStep, Pipeline
    from mlops_nb.pipeline.running.outcomes import StepOutcome
    from mlops_nb.pipeline.running.preparing import Prepared
    from mlops_nb.pipeline.running.watching import Observer

_ID = re.compile(r"[0-9a-f]{16}")
_ENDED = frozenset({"done", "cached", "failed", "skipped", "upstream_failed"})
_EXIT_CODES = {
    "done": DONE,
    "cached": DONE,
    "skipped": CONDITION_FALSE,
}


def run_id_of(text: str) -> str:
    """Give the id of a run; what another scheduler calls its run gives always the same one.

    Examples
    --------
    >>> run_id_of("0123456789abcdef"), run_id_of("scheduled__2026-11-21") == run_id_of("x")
    ('0123456789abcdef', False)
    """
    if _ID.fullmatch(text):
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def run_single(
    path: str | Path,
    *,
    run: str,
    step: str,
    params: Mapping[str, object] | None = None,
    store: str | None = None,
    fast: bool = False,
    timeout_s: float | None = None,
    engine: str = "local",
    observer: Observer = nobody,
) -> tuple[int, tuple[StepOutcome, ...]]:
    """Run one step of a run of a pipeline; the run is made if it is not there.

    Parameters
    ----------
    path
        A notebook, or a pipeline's folder.
    run
        Id of the pipeline's run, or what another scheduler calls it.
    step
        Its name.
    params
        Values of parameters; those that the run began with if left out.
    store, fast, timeout_s, engine, observer
        As of `run_pipeline`.

    Returns
    -------
    exit code, outcomes
        0 done or cached, 3 failed, 4 skipped because a condition was false.

    Raises
    ------
    UnknownStep
        The pipeline has no such step.
    StepInputsMissing
        A step above has not run in this run.
    RunHeld
        Another process runs the step.
    """
    given = Path(path)
    settings = load_settings(start_folder(given), store=store)
    location = locate(start_folder(given), settings)
    id_ = run_id_of(run)
    with Store.open(location, create=True) as opened:
        opened.refresh()
        prepared = prepare(given, store=opened)
        names = tuple(one.name for one in prepared.pipeline.steps)
        if step not in names:
            raise UnknownStep(prepared.pipeline.name, step, names)
        typed = checked(prepared, params or params_of(opened, id_))
        _begin(opened, prepared, id_, typed)
        request = RunRequest(
            params=typed,
            choice=Choice(only=(step,)),
            is_fast=fast,
            timeout_s=timeout_s,
            group=f"{prepared.shown}#pipeline",
        )
        outcomes = _why_not(opened, prepared, id_, step)
        if outcomes is None:
            with open_engine(engine, preload=PRELOAD) as started:
                driver = Driver(
                    prepared,
                    store=opened,
                    location=location,
                    run=id_,
                    request=request,
                    folders=folders_of(opened, id_, settings.state_dir),
                    engine=started,
                    observer=observer,
                    is_resumed=True,
                    given=given_in(opened, prepared.pipeline, id_),
                )
                driver.run()
            outcomes = driver.step_outcomes
        _end(opened, prepared.pipeline, id_)
    return max(_EXIT_CODES.get(one.state, FAILED) for one in outcomes), outcomes


def given_in(store: Store, pipeline: Pipeline, run: str) -> dict[str, tuple[CachedStep, ...]]:
    """Gather what has been given so far, by name of the step; pieces in their order."""
    found: dict[str, list[tuple[int, CachedStep]]] = {}
    names = {step.name for step in pipeline.steps}
    for (part, _), result in made_in(store, run).items():
        base, _, number = part.partition("[")
        if base in names:
            found.setdefault(base, []).append((int(number.rstrip("]") or 0), result))
    return {
        name: tuple(one for _, one in sorted(pieces, key=lambda pair: pair[0]))
        for name, pieces in found.items()
    }


def params_of(store: Store, run: str) -> dict[str, Any]:
    """Read the values that a run was given when it began."""
    found = find_run(store, run)
    params = {} if found is None else found.params
    return {name: param.value for name, param in params.items() if not param.is_default}


def _begin(store: Store, prepared: Prepared, run: str, given: Mapping[str, Any]) -> None:
    """Make the run of the pipeline, unless another step has."""
    if find_run(store, run) is not None:
        return
    now = time.time_ns()
    started = RunStarted(
        id=run,
        at_ns=now,
        name=prepared.pipeline.name,
        kind="pipeline",
        group=f"{prepared.shown}#pipeline",
        notebook=str(prepared.shown),
    )
    known = effective_values(prepared.pipeline, given)
    params = (
        ParamLogged(run, name, as_json(value), now, is_default=name not in given)
        for name, value in known.items()
    )
    store.apply([started, *params])


def _why_not(
    store: Store, prepared: Prepared, run: str, step: str
) -> tuple[StepOutcome, ...] | None:
    """Say that a step cannot run because of those above it; None if it can."""
    from mlops_nb.pipeline.running.outcomes import StepOutcome

    states = {row.step: row.state for row in store.step_runs(run)}
    before = above_of(prepared.pipeline)[step]
    failed = [name for name in before if states.get(name) in {"failed", "upstream_failed"}]
    needed = needed_of(prepared.pipeline)[step]
    skipped = [name for name in needed if states.get(name) == "skipped"]
    if not failed and not skipped:
        return None
    state = "upstream_failed" if failed else "skipped"
    text = (
        f"{failed[0]} failed" if failed else f"{skipped[0]} was skipped, and it needs its values"
    )
    error = {"type": "NotRun", "message": text}
    store.record_step(StepRun(run, step, state, error=error))  # type: ignore[arg-type]
    return (StepOutcome(step, state, error=error),)  # type: ignore[arg-type]


def _end(store: Store, pipeline: Pipeline, run: str) -> None:
    """End the run of the pipeline when no step is left."""
    states = {row.step: row.state for row in store.step_runs(run)}
    found = find_run(store, run)
    of_steps = [states.get(step.name) for step in pipeline.steps]
    is_fanned = {name.partition("[")[0] for name in states if "[" in name}
    missing = [
        step.name
        for step, state in zip(pipeline.steps, of_steps, strict=True)
        if state not in _ENDED and step.name not in is_fanned
    ]
    if found is None or missing or any(state not in _ENDED for state in states.values()):
        return
    has_failed = bool({"failed", "upstream_failed"} & set(states.values()))
    status: RunStatus = "failed" if has_failed else "finished"
    changes = {"status": status, "ended_at_ns": time.time_ns()}
    store.apply([RunChanged(run, time.time_ns(), changes)])
