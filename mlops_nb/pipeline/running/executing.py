"""Running one step: the one function that every engine, and the command line, comes to.

Inputs are laid into a private folder, the kernel is told of them by a file, the step's notebook
runs as any other does, and what it has saved goes into the store.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.values import BadStepFile
from mlops_nb.model.pipelines import CachedStep, StepResult
from mlops_nb.notebook import read_notebook
from mlops_nb.pipeline.passing.task import (
    RESULT_FILE,
    TASK_VARIABLE,
    read_result,
    write_task,
)
from mlops_nb.pipeline.running.recording import end_step_run, find_run
from mlops_nb.pipeline.running.silent import silent_failure
from mlops_nb.pipeline.running.work import (
    StepDone,
    StepWork,
    done_document,
    work_from_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlops_nb.model import Execution, Json
    from mlops_nb.notebook import Cell, Notebook
    from mlops_nb.papermill_engine import Failure, Outcome
    from mlops_nb.store import Store

    OnProgress = Callable[[int, int, str], None]
    Say = Callable[[Mapping[str, Json]], None]

TASK_FILE = "task.json"
SAVE_TAG = "mlops-nb-save"
_SOCKET_LONGEST = 103  # bytes of a socket's path; Linux has 107, others fewer

PRELOAD = (
    "mlops_nb.pipeline.running.preloading",
    "papermill.engines",
    "mlops_nb.papermill_engine.running",
    "mlops_nb.papermill_engine.fast",
    "mlops_nb.pipeline.running.executing",
    "mlops_nb.store.database",
)
"""What a process that runs a step needs."""


def step_job(told: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Run a step in a child process of an engine: `run_step`, told and telling in plain values."""
    from mlops_nb.store import Store

    work = work_from_document(told)

    def on_progress(index: int, total: int, what: str) -> None:
        say({"cell": index, "total": total, "what": what})

    _pass_on_remarks(lambda text: say({"remark": text}))
    with Store.open(work.store) as store:
        return done_document(run_step(work, store=store, on_progress=on_progress))


def run_step(work: StepWork, *, store: Store, on_progress: OnProgress | None = None) -> StepDone:
    """Run one attempt at a step, and keep what it gives.

    Parameters
    ----------
    work
        What to run.
    store
        Where its inputs are, and its results go.
    on_progress
        Called with (cell index, number of cells, ``started`` | ``done`` | ``failed``).

    Returns
    -------
    StepDone
        Also of a step that failed, or that did what the plan does not allow for.

    Raises
    ------
    CorruptValue
        An input is not what it was.
    MissingKernel, KernelNotReady
        It cannot be started.
    """
    folder = Path(work.folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place, unit in work.task.units.items():
        store.fetch_values(unit, Path(place))
    write_task(task_path(work), work.task)
    os.environ[TASK_VARIABLE] = str(task_path(work))
    notebook = read_notebook(work.notebook)
    outcome = _run_notebook(work, notebook, on_progress)
    store.refresh()  # what its kernel has told is on its way
    done = _done(work, outcome, notebook)
    said = None if outcome.failure is None else outcome.failure.type
    if done.failure is not None and done.failure["type"] != said:
        # Its kernel took it for finished, or could not say what it was.
        end_step_run(store, work, done.run, "failed", done.failure)
    return _kept(work, done, store)


def task_path(work: StepWork) -> Path:
    """Say where a step's kernel is told what to do; a variable in its environment names it."""
    return Path(work.folder) / TASK_FILE


def _run_notebook(work: StepWork, notebook: Notebook, on_progress: OnProgress | None) -> Outcome:
    """Run the step's notebook as one run, child of the pipeline's."""
    from mlops_nb.papermill_engine import plan_run, run_notebook
    from mlops_nb.pipeline.running.parameters import with_cell

    given = with_cell(notebook, work.injected)
    # The run is of the user's notebook: that is where its cells stand.
    plan = plan_run(replace(given, path=work.shown), kernel=work.kernel or None)
    batch = {
        "run": work.run,
        "name": work.name,
        "kind": "step",
        "group": work.group,
        "parent": work.pipeline_run,
        "experiment": work.experiment,
        "tags": {**work.tags, "step": work.name},
        "store": work.store,
    }
    Path(work.output).parent.mkdir(parents=True, exist_ok=True)
    return run_notebook(
        plan,
        Path(work.output),
        folder=Path(work.place),
        batch=batch,
        on_progress=on_progress,
        options=_with_sockets(work.run),
        engine="mlops_nb_fast" if work.is_fast else "mlops_nb",
    )


def _with_sockets(run: str) -> dict[str, Any]:
    """Reach the kernel over files: of several that start at once none takes another's port.

    jupyter_client would give all kernels of one folder the same files.
    """
    from jupyter_core.paths import jupyter_runtime_dir
    from traitlets.config import Config

    path = Path(jupyter_runtime_dir(), f"kernel-{run}-ipc")
    if os.name != "posix" or len(os.fsencode(path)) > _SOCKET_LONGEST - len("-5"):
        return {}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {"config": Config({"KernelManager": {"transport": "ipc", "ip": str(path)}})}


def _done(work: StepWork, outcome: Outcome, notebook: Notebook) -> StepDone:
    """Say what became of the attempt; without results it has failed, whatever its cells say."""
    result, failure = StepResult(), None
    if outcome.failure is not None:
        failure = failure_document(outcome.failure, notebook, work.cells)
    if failure is None or not failure["message"]:
        # A magic that was used wrongly says so on stderr alone.
        found = silent_failure(outcome.output)
        failure = failure if found is None else _placed(found, work.cells)
    try:
        result = read_result(Path(work.folder) / RESULT_FILE)
    except BadStepFile as error:
        # Of a kernel that runs no Python nothing is saved, and nothing is taken.
        if failure is None and any(SAVE_TAG in cell.tags for cell in notebook.cells):
            text = f"the step ended before it had saved what others need of it ({error})"
            failure = {"type": "NothingSaved", "message": text, "cell": None, "line": None}
    return StepDone(
        run=outcome.run or work.run,
        result=result,
        failure=failure,
        duration_s=outcome.duration_s,
        output=str(outcome.output),
    )


def _kept(work: StepWork, done: StepDone, store: Store) -> StepDone:
    """Put values, files and the executed notebook into the store, and results under their key."""
    from mlops_nb.pipeline.running.artifacts import keep_files, keep_notebook

    notebook = keep_notebook(store, done.run, Path(done.output), work.name)
    done = replace(done, notebook=notebook)
    if done.failure is not None or done.result.facts:
        return done
    for number, unit in enumerate(done.result.units):
        store.put_values(unit, Path(work.folder) / str(number))
    run = find_run(store, done.run)
    executions = () if run is None else store.executions(run.executions)
    done = replace(done, files=keep_files(store, executions, Path(work.place)))
    store.save_cached(_with_what_was_seen(work, done, executions, store))
    return done


def _with_what_was_seen(
    work: StepWork, done: StepDone, executions: Sequence[Execution], store: Store
) -> CachedStep:
    """Add to what results are kept by what only running could show."""
    from mlops_nb.pipeline.caching import seen_in

    result = cached_of(work, done)
    ours = [Path(work.folder), *([] if store.folder is None else [store.folder])]
    seen = seen_in(executions, folder=Path(work.place), parts=work.parts, ignored=ours)
    if done.result.prelude_digests:
        seen["prelude"] = dict(done.result.prelude_digests)
    return replace(result, parts={**work.parts, **({"seen": seen} if seen else {})})


def cached_of(work: StepWork, done: StepDone) -> CachedStep:
    """Make the record under which results are found again."""
    return CachedStep(
        key=work.key,
        pipeline=work.task.pipeline,
        step=work.name,
        run=done.run,
        created_at_ns=time.time_ns(),
        parts=work.parts,
        units=done.result.units,
        files=done.files,
        notebook=done.notebook,
        duration_s=done.duration_s,
    )


def failure_document(
    failure: Failure, notebook: Notebook, positions: Mapping[str, int]
) -> dict[str, Any]:
    """Describe the cell that ended a step.

    Parameters
    ----------
    notebook
        Of the step, without the cell that gives parameters other values.
    positions
        Of the cells of the user's notebook, by their ids.
    """
    is_there = failure.cell < len(notebook.cells)
    cell = notebook.cells[failure.cell] if is_there else None
    marked = (f"{'>' if n == failure.line else ' '} {n:>3}  {text}" for n, text in failure.lines)
    return {
        "type": failure.type,
        "message": failure.message,
        "cell": None if cell is None else positions.get(cell.id),
        "line": failure.line,
        "lines": list(marked),
        "traceback": failure.traceback,
        "part": _part_of(cell),
    }


def _placed(found: Mapping[str, Any], positions: Mapping[str, int]) -> dict[str, Any]:
    told = {name: value for name, value in found.items() if name != "id"}
    return {**told, "cell": positions.get(found["id"])}


def _part_of(cell: Cell | None) -> str:
    """Say whose a cell is, if it is none of the user's own."""
    tags = () if cell is None else cell.tags
    return next((words for tag, words in _PARTS.items() if tag in tags), "")


_PARTS = {
    "mlops-nb-load": "the cell that loads its inputs",
    "mlops-nb-save": "the cell that saves its results",
    "parameters": "the parameters cell",
}


def _pass_on_remarks(say: Callable[[str], None]) -> None:
    """Hand the engine's warnings to who asked; the libraries' own stay in the log."""
    import logging
    import warnings

    class Remarks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    warnings.simplefilter("ignore")
    logger = logging.getLogger("papermill")
    logger.propagate = False
    logger.handlers = [Remarks(logging.WARNING)]


__all__ = ["PRELOAD", "failure_document", "run_step", "step_job"]
