"""Every step alone, in a fresh kernel, on what the whole notebook handed on."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.values import BadStepFile
from mlops_nb.model.pipelines import CachedStep, StepResult
from mlops_nb.pipeline.passing.task import (
    RESULT_FILE,
    TASK_VARIABLE,
    read_result,
    write_task,
)
from mlops_nb.pipeline.running.surroundings import step_environment
from mlops_nb.pipeline.running.tasks import Piece, part_name, place_of, task_for, units_for
from mlops_nb.pipeline.verifying.files import Snapshot, exchanged_files, put_back, take
from mlops_nb.pipeline.verifying.kernels import Failed, run_cells
from mlops_nb.pipeline.writing.notebooks import step_notebook
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from mlops_nb.model.pipelines import Packed, Pipeline, Step
    from mlops_nb.notebook import Notebook
    from mlops_nb.pipeline.verifying.whole import Whole


@record
class Alone:
    """What one step has given by itself.

    Attributes
    ----------
    step
        Its name, with the number of a piece.
    files
        Exchanged files as it left them; empty if there are none.
    """

    step: str
    folder: Path
    result: StepResult
    files: Snapshot
    failed: Failed | None = None


@record
class Setting:
    """What all steps alone have in common.

    Attributes
    ----------
    folder
        Private to this round.
    place
        Where the notebook runs.
    environ
        Of this process.
    jobs
        How many kernels run at once.
    timeout_s
        For one cell.
    """

    pipeline: Pipeline
    notebook: Notebook
    whole: Whole
    folder: Path
    place: Path
    environ: Mapping[str, str]
    jobs: int
    timeout_s: float | None = None


async def run_alone(setting: Setting) -> dict[str, Alone]:
    """Run all steps, many at once; what is fanned out before what takes its pieces.

    A piece takes what the same piece of the step above gave, as in a run; what takes the joined
    pieces is compared with what the whole notebook gave. Steps that exchange files run one after
    the other, each with the files as it found them in the whole notebook.

    Returns
    -------
    dict
        By name of the step or piece; where a piece has failed, nothing else.
    """
    files = exchanged_files(setting.pipeline)
    left = take(files, setting.place, setting.whole.folder / "files")
    room = asyncio.Semaphore(setting.jobs)
    turns = asyncio.Lock()
    found: dict[str, Alone] = {}

    async def run(step: Step, piece: Piece | None) -> None:
        async with room:
            if not files:
                one = await _run_one(setting, step, piece, found)
            else:
                async with turns:
                    put_back(setting.whole.before[step.name], setting.place)
                    one = await _run_one(setting, step, piece, found)
        found[one.step] = one

    try:
        for step in setting.pipeline.steps:
            if step.options.foreach:
                await _all(run(step, piece) for piece in _pieces(setting, step))
                if any(one.failed or one.result.facts for one in found.values()):
                    return found  # what takes the pieces has nothing to run on
        others = [step for step in setting.pipeline.steps if not step.options.foreach]
        await _all(run(step, None) for step in others)
    finally:
        put_back(left, setting.place)
    return found


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all, then raise the first error: what is left behind would keep its kernel."""
    for ended in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


def _pieces(setting: Setting, step: Step) -> list[Piece]:
    count = setting.whole.lengths.get(step.name, 1)
    return [Piece(step.options.foreach, index, count) for index in range(count)]


async def _run_one(
    setting: Setting, step: Step, piece: Piece | None, done: Mapping[str, Alone]
) -> Alone:
    """Run one step, or one piece of it."""
    name = part_name(step.name, piece)
    folder = setting.folder / name
    folder.mkdir(parents=True)
    results, places = _results(setting, done)
    units = units_for(setting.pipeline, step, results, piece)
    task = task_for(setting.pipeline, step, units, folder, piece=piece)
    for found in units.values():
        for number, unit in enumerate(found):
            _lay(places[id(unit)], Path(place_of(unit, folder, number)))
    write_task(folder / "task.json", task)
    ran = await run_cells(
        step_notebook(setting.pipeline, setting.notebook, step.name),
        kernel=step.options.kernel or setting.pipeline.kernel or "python3",
        folder=setting.place,
        environ={
            **step_environment(setting.environ, setting.jobs),
            TASK_VARIABLE: str(folder / "task.json"),
        },
        timeout_s=setting.timeout_s,
    )
    keep = setting.whole.folder / "files"
    files = take(exchanged_files(setting.pipeline), setting.place, keep)
    return Alone(name, folder, _result(folder), files, ran.failed)


def _results(
    setting: Setting, done: Mapping[str, Alone]
) -> tuple[dict[str, list[CachedStep]], dict[int, Path]]:
    """Give what each step has handed on, and where each unit lies; of pieces, what each gave."""
    places: dict[int, Path] = {}
    results: dict[str, list[CachedStep]] = {}
    for step in setting.pipeline.steps:
        if step.options.foreach:
            parts = [part_name(step.name, piece) for piece in _pieces(setting, step)]
            given = [(done[p].folder, done[p].result.units) for p in parts if p in done]
        else:
            given = [(setting.whole.folder / step.name, setting.whole.units[step.name])]
        results[step.name] = [_as_result(setting.pipeline, step, units) for _, units in given]
        for folder, units in given:
            places |= {id(unit): folder / str(number) for number, unit in enumerate(units)}
    return results, places


def _as_result(pipeline: Pipeline, step: Step, units: tuple[Packed, ...]) -> CachedStep:
    return CachedStep("", pipeline.name, step.name, "", 0, {}, units)


def _lay(source: Path, target: Path) -> None:
    """Put a unit where the task says that it lies; no byte is copied where that can be."""
    if target.exists():
        return
    target.mkdir(parents=True)
    for file in source.iterdir():
        try:
            (target / file.name).hardlink_to(file)
        except OSError:
            shutil.copyfile(file, target / file.name)


def _result(folder: Path) -> StepResult:
    try:
        return read_result(folder / RESULT_FILE)
    except BadStepFile:
        return StepResult()
