"""A notebook in which one step of a run can be looked into: its inputs loaded, its cells as is."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.pipelines import NothingToDebug, UnknownStep
from mlops_nb.notebook import read_notebook
from mlops_nb.pipeline.passing.task import TASK_VARIABLE, write_task
from mlops_nb.pipeline.running.executing import TASK_FILE
from mlops_nb.pipeline.running.parameters import with_cell
from mlops_nb.pipeline.running.work import work_from_document
from mlops_nb.record import record

if TYPE_CHECKING:
    from mlops_nb.model import Run
    from mlops_nb.model.pipelines import StepRun
    from mlops_nb.pipeline.running.work import StepWork
    from mlops_nb.store import Store

WORK_FILE = "work.json"


@record
class DebugNotebook:
    """A notebook made to look into a step.

    Attributes
    ----------
    path
        The notebook.
    remarks
        What may differ from the step as it ran.
    """

    path: Path
    step: str
    remarks: tuple[str, ...] = ()


def debug_step(
    store: Store, run: Run, step: str, *, folder: Path | None = None, state_dir: Path
) -> DebugNotebook:
    """Make a notebook with a step's inputs loaded and its cells.

    Parameters
    ----------
    run
        Of the pipeline.
    step
        Its name; ``train[2]`` for a piece.
    folder
        Where to; in the store, by the run's id, if left out.

    Raises
    ------
    UnknownStep
        The run has no such step.
    NothingToDebug
        It has not run in this run, and nothing of it is left.
    CorruptValue
        An input is not what it was.
    """
    rows = {row.step: row for row in store.step_runs(run.id)}
    if step not in rows:
        raise UnknownStep(run.name, step, tuple(rows))
    work, remarks = _work_of(store, run, rows[step], state_dir)
    home = folder or _home(store, state_dir) / f"{run.id[:8]}-{Path(work.output).stem}"
    home = home.absolute()  # its kernel may run elsewhere
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    moved = _moved(work, home)
    for place, unit in moved.task.units.items():
        target = Path(place)
        shutil.rmtree(target, ignore_errors=True)
        store.fetch_values(unit, target, step=step)
        _make_own(target)
    write_task(home / TASK_FILE, moved.task)
    path = home / f"{Path(work.output).stem}.ipynb"
    content = _content(moved, home)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return DebugNotebook(path, step, remarks)


def keep_work(work: StepWork) -> None:
    """Write down what a process was told, so that a step can be looked into later."""
    from mlops_nb.pipeline.running.work import work_document
    from mlops_nb.store.private import open_private

    with open_private(Path(work.folder) / WORK_FILE, "wb") as file:
        file.write(json.dumps(work_document(work)).encode())


def _work_of(
    store: Store, run: Run, row: StepRun, state_dir: Path
) -> tuple[StepWork, tuple[str, ...]]:
    """Find what the step's process was told; else make it again from the notebook as it is."""
    from mlops_nb.pipeline.running.surroundings import folders_of

    kept = folders_of(store, run.id, state_dir).work / "steps" / str(row.run) / WORK_FILE
    if row.run is not None and kept.is_file():
        return work_from_document(json.loads(kept.read_bytes())), ()
    return _made_again(store, run, row, state_dir)


def _made_again(
    store: Store, run: Run, row: StepRun, state_dir: Path
) -> tuple[StepWork, tuple[str, ...]]:
    from mlops_nb.pipeline.running.lookup import Lookup, RunRequest
    from mlops_nb.pipeline.running.preparing import checked, prepare
    from mlops_nb.pipeline.running.single import given_in, params_of
    from mlops_nb.pipeline.running.surroundings import folders_of
    from mlops_nb.pipeline.running.tasks import part_name
    from mlops_nb.pipeline.running.works import Works

    if run.notebook is None or not Path(run.notebook).exists():
        raise NothingToDebug(run.id, row.step, f"its notebook {run.notebook} is gone")
    prepared = prepare(run.notebook, store=store)
    request = RunRequest(params=checked(prepared, params_of(store, run.id)))
    lookup = Lookup(prepared, store, request, {})
    lookup.results = given_in(store, prepared.pipeline, run.id)
    name = row.step.partition("[")[0]
    step = next((one for one in prepared.pipeline.steps if one.name == name), None)
    if step is None:
        raise NothingToDebug(run.id, row.step, "the notebook has no such step any more")
    parts = lookup.parts_of(step, request.params)
    part = next((p for p in parts if part_name(step.name, p.piece) == row.step), None)
    if part is None or not lookup.identify(part):
        raise NothingToDebug(run.id, row.step, "what the steps above it gave is not kept")
    works = Works(run.id, store.location, request, folders_of(store, run.id, state_dir))
    work = works.of(part, prepared, {})
    is_same = part.key == row.key
    remark = "the notebook, or what it reads, has changed since this step ran"
    return work, () if is_same else (remark,)


def _home(store: Store, state_dir: Path) -> Path:
    return (state_dir if store.folder is None else store.folder).absolute() / "debug"


def _moved(work: StepWork, home: Path) -> StepWork:
    """Let a task speak of copies of its inputs, below another folder."""
    old, new = work.folder, str(home)

    def moved(place: str) -> str:
        return place.replace(old, new, 1)

    task = replace(
        work.task,
        folder=str(home / "results"),
        inputs={name: tuple(map(moved, places)) for name, places in work.task.inputs.items()},
        units={moved(place): unit for place, unit in work.task.units.items()},
    )
    return replace(work, task=task, folder=new)


def _make_own(folder: Path) -> None:
    """Replace what is linked to the store by copies that may be written to."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        copy = path.with_name(f".{path.name}.copy")
        shutil.copyfile(path, copy)
        copy.chmod(stat.S_IRUSR | stat.S_IWUSR)
        copy.replace(path)


def _content(work: StepWork, home: Path) -> dict[str, Any]:
    """Write the notebook: where the inputs are, then the step's own cells."""
    notebook = with_cell(read_notebook(work.notebook), work.injected)
    source = "\n".join(
        (
            f"# Step {work.name} of run {work.pipeline_run[:8]}, with copies of its inputs:",
            "# nothing here changes the run or its results.",
            "import os",
            "",
            f"os.environ[{TASK_VARIABLE!r}] = {str(home / TASK_FILE)!r}",
            f"os.chdir({work.place!r})",
        )
    )
    first: dict[str, Any] = {
        "cell_type": "code",
        "id": "mlops-nb-debug",
        "metadata": {"tags": ["mlops-nb-debug"]},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }
    cells = [dict(cell) for cell in notebook.content["cells"]]
    return {**notebook.content, "cells": [first, *cells]}
