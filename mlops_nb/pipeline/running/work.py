"""What the process that runs a step is told, and what it answers; both as plain values too."""

from __future__ import annotations

from dataclasses import asdict, field
from typing import TYPE_CHECKING, Any

from mlops_nb.model.pipelines import StepResult, StepTask
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model import Json


@record
class StepWork:
    """One attempt at one step, with all that is needed to run it anywhere.

    Attributes
    ----------
    name
        Of the step, ``train[2]`` for a piece of a fanned-out one.
    run
        Id that its own run will have.
    key, parts
        What its results are kept by.
    task
        What its kernel is told; units lie at paths below `folder`.
    folder
        A private folder for this attempt: inputs, results, what the kernel is told.
    notebook, output
        The step's notebook, and where the executed one goes.
    shown
        The user's notebook, which the run is said to be of.
    place
        Where the kernel runs: where the whole notebook would.
    injected
        Source of the cell that gives parameters other values; empty if none were given.
    kernel
        Name of the kernel; empty: the notebook's.
    store
        Where results are kept, as `Store.open` takes it.
    experiment, tags, group
        Of the step's run.
    is_fast
        Whether it may run in a forked worker instead of a kernel.
    cells
        Position in the user's notebook of each cell, by its id.
    """

    pipeline_run: str
    name: str
    run: str
    key: str
    parts: Mapping[str, Json]
    task: StepTask
    folder: str
    notebook: str
    output: str
    shown: str
    place: str
    store: str
    injected: str = ""
    kernel: str = ""
    experiment: str = ""
    group: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    is_fast: bool = False
    attempt: int = 1
    cells: Mapping[str, int] = field(default_factory=dict)


@record
class StepDone:
    """What became of an attempt.

    Attributes
    ----------
    result
        What the step has saved, and facts that it has shown.
    failure
        ``{"type", "message", "cell", "line", "lines", "traceback"}``; None if it is done.
    notebook
        ``sha256:…`` of the executed notebook.
    files
        What it wrote, as of `CachedStep`.
    """

    run: str
    result: StepResult = field(default_factory=StepResult)
    failure: Mapping[str, Json] | None = None
    duration_s: float = 0.0
    notebook: str = ""
    output: str = ""
    files: Mapping[str, Json] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def work_document(work: StepWork) -> dict[str, Any]:
    """Describe an attempt for another process."""
    from mlops_nb.pipeline.passing.task import task_document

    document = {name: getattr(work, name) for name in _WORK_FIELDS}
    return {**document, "task": task_document(work.task)}


def work_from_document(document: Mapping[str, Any]) -> StepWork:
    """Read what `work_document` wrote."""
    from mlops_nb.pipeline.passing.task import task_from_document

    return StepWork(**{**document, "task": task_from_document(document["task"])})


def done_document(done: StepDone) -> dict[str, Any]:
    """Describe what became of an attempt."""
    from mlops_nb.pipeline.passing.task import result_document

    return {**asdict(done), "result": result_document(done.result)}


def done_from_document(document: Mapping[str, Any]) -> StepDone:
    """Read what `done_document` wrote."""
    from mlops_nb.pipeline.passing.task import result_from_document

    told = {**document, "remarks": tuple(document["remarks"])}
    return StepDone(**{**told, "result": result_from_document(document["result"])})


_WORK_FIELDS = tuple(name for name in StepWork.__annotations__ if name != "task")
