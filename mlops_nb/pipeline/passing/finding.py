"""What a step is to do: as its driver has written it down, or by the pipeline's own folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors.pipelines import NoPipelineHere
from mlops_nb.errors.values import BadStepFile, ValueMissing
from mlops_nb.model.pipelines import StepTask
from mlops_nb.pipeline.passing.state import is_state
from mlops_nb.pipeline.passing.task import RESULT_FILE, TASK_VARIABLE, read_result, read_task
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.model.pipelines import Packed, Pipeline, Step, StepResult

VALUES = "values"
"""Folder beside ``pipeline.yaml`` where steps that nobody drives leave their values."""

_DEFINITION = "pipeline.yaml"


@record
class Found:
    """A task, and whether a driver has set it.

    Attributes
    ----------
    is_driven
        Else the notebook was run by itself, and its values go beside the pipeline.
    sources
        Which step has saved the unit in each folder.
    """

    task: StepTask
    is_driven: bool
    sources: dict[str, str]


def find_task(where: str) -> Found:
    """Find the task of a step.

    Parameters
    ----------
    where
        ``PIPELINE/STEP``, as the cells of the step's notebook say.

    Raises
    ------
    BadStepFile
        The driver's file is about another step, or cannot be read.
    NoPipelineHere
        No driver is there, and no folder of that pipeline.
    ValueMissing
        The pipeline has no such step, or an earlier one has not run.
    """
    name, _, step = where.rpartition("/")
    path = os.environ.get(TASK_VARIABLE)
    if not path:
        return _task_of_folder(name, step)
    task = read_task(Path(path))
    if (task.pipeline, task.step) != (name, step):
        problem = f"it is for step {task.step} of {task.pipeline}, and this cell is of {where}"
        raise BadStepFile(path, problem)
    return Found(task, True, {})


def _task_of_folder(name: str, step_name: str) -> Found:
    folder, pipeline = _find_pipeline(name)
    steps = {step.name: step for step in pipeline.steps}
    if step_name not in steps:
        known = ", ".join(steps)
        remedy = f"Its steps: {known}. Convert the notebook again."
        raise ValueMissing(step_name, _DEFINITION, f"{name} has no such step", remedy)
    step = steps[step_name]
    inputs, units, sources = _inputs(folder / VALUES, step)
    return Found(
        StepTask(
            pipeline=name,
            step=step_name,
            folder=str(folder / VALUES / step_name),
            inputs=inputs,
            units=units,
            outputs=tuple(unit for unit in step.outputs if not is_state(unit[0])),
            watched=step.watched,
            definitions=step.definitions,
            secrets=step.options.secrets,
            state_in=tuple(name for name in step.inputs if is_state(name)),
            state_out=tuple(name for unit in step.outputs for name in unit if is_state(name)),
            prelude_digests=_prelude_digests(folder / VALUES, pipeline, step_name),
        ),
        False,
        sources,
    )


def _inputs(
    values: Path, step: Step
) -> tuple[dict[str, tuple[str, ...]], dict[str, Packed], dict[str, str]]:
    inputs: dict[str, tuple[str, ...]] = {}
    units: dict[str, Packed] = {}
    sources: dict[str, str] = {}
    for name, source in step.inputs.items():
        result = _result(values / source, step.name, name, source)
        for number, unit in enumerate(result.units):
            if name in unit.names:
                folder = str(values / source / str(number))
                inputs[name], units[folder], sources[folder] = (folder,), unit, source
        if name not in inputs:
            problem = f"step {source} has not saved it"
            raise ValueMissing(step.name, name, problem, f"Run the notebook of {source} again.")
    return inputs, units, sources


def _result(folder: Path, step: str, name: str, source: str) -> StepResult:
    path = folder / RESULT_FILE
    if not path.exists():
        problem = f"step {source}, which makes it, has not run"
        remedy = f"Run the notebook of {source} first, or all steps with: mlops-nb run FOLDER"
        raise ValueMissing(step, name, problem, remedy)
    result = read_result(path)
    if result.facts:
        problem = f"step {source} did what the plan does not allow for"
        raise ValueMissing(step, name, problem, "Convert the notebook again.")
    return result


def _prelude_digests(values: Path, pipeline: Pipeline, step_name: str) -> dict[str, str]:
    """Return what the first step that has run found its prelude to be."""
    for step in pipeline.steps:
        path = values / step.name / RESULT_FILE
        if step.name == step_name:
            return {}
        if path.exists():
            return dict(read_result(path).prelude_digests)
    return {}


def _find_pipeline(name: str) -> tuple[Path, Pipeline]:
    from mlops_nb.pipeline.writing import read_definition

    here = Path.cwd()
    others: list[str] = []
    for folder in _folders(here):
        if not (folder / _DEFINITION).is_file():
            continue
        pipeline = read_definition(folder)
        if pipeline.name == name:
            return folder, pipeline
        others.append(pipeline.name)
    raise NoPipelineHere(name, str(here), tuple(dict.fromkeys(others)))


def _folders(here: Path) -> Iterator[Path]:
    yield here
    yield from here.parents
    yield from sorted(one for one in here.iterdir() if one.is_dir() and not one.is_symlink())


__all__ = ["VALUES", "Found", "find_task"]
