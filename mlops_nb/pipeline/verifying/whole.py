"""The whole notebook, run once, with what every step hands on packed as it passes by."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from mlops_nb.packaging.record import packed_from_document
from mlops_nb.pipeline.passing.task import write_task
from mlops_nb.pipeline.running.surroundings import step_environment
from mlops_nb.pipeline.running.tasks import task_for
from mlops_nb.pipeline.verifying.files import Snapshot, exchanged_files, take
from mlops_nb.pipeline.verifying.kernels import Failed, Question, run_cells
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlops_nb.model.pipelines import Packed, Pipeline, Step
    from mlops_nb.notebook import Notebook
    from mlops_nb.pipeline.verifying.kernels import Ran

_IN_KERNEL = "mlops_nb.pipeline.verifying.capturing"


@record
class Whole:
    """What the whole notebook has given.

    Attributes
    ----------
    units
        Of each step, in the order of its outputs.
    folder
        Where they lie: a folder a step, in it a folder a unit, by number.
    before, after
        Exchanged files as each step found them, and left them.
    unstorable
        By name of a step, why a value that it hands on cannot be stored.
    lengths
        How many elements a fanned-out step's value has.
    failed
        None if the notebook came to its end.
    """

    units: Mapping[str, tuple[Packed, ...]]
    folder: Path
    before: Mapping[str, Snapshot] = field(default_factory=dict)
    after: Mapping[str, Snapshot] = field(default_factory=dict)
    unstorable: Mapping[str, str] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)
    failed: Failed | None = None

    def place_of(self, step: str, number: int) -> Path:
        """Say where a unit lies."""
        return self.folder / step / str(number)


async def run_whole(
    pipeline: Pipeline,
    notebook: Notebook,
    folder: Path,
    *,
    place: Path,
    environ: Mapping[str, str],
    timeout_s: float | None = None,
) -> Whole:
    """Run all cells that any step runs, in their order, and keep what each step hands on.

    Parameters
    ----------
    folder
        Private to this run.
    place
        Where the notebook runs.
    environ
        Of this process.
    timeout_s
        For one cell.
    """
    paths = exchanged_files(pipeline)
    keep = folder / "files"
    ends = {_last(step, notebook): step for step in pipeline.steps}
    content = _runnable(pipeline, notebook)
    after = {
        index: _capturing(pipeline, step, folder, [str(path) for path in paths], place, keep)
        for index, step in ends.items()
    }
    fanned = {_first(step, notebook): step for step in pipeline.steps if step.options.foreach}
    first = min(_first(step, notebook) for step in pipeline.steps)
    before = {first: Question(_IN_KERNEL, "begin", {})}
    before |= {index: _measuring(step) for index, step in fanned.items()}
    begin = take(paths, place, keep)
    ran = await run_cells(
        content,
        kernel=pipeline.kernel or "python3",
        folder=place,
        environ=step_environment(environ, 1),
        before=before,
        after=after,
        timeout_s=timeout_s,
    )
    lengths = {step.name: _length(ran.before.get(index)) for index, step in fanned.items()}
    return _told(ends, ran, Whole({}, folder, lengths=lengths), begin)


def _length(answer: object) -> int:
    return answer if isinstance(answer, int) else 1


def _told(ends: Mapping[int, Step], ran: Ran, whole: Whole, begin: Snapshot) -> Whole:
    """Put the answers of the kernel together."""
    failed = ran.failed
    units: dict[str, tuple[Packed, ...]] = {}
    unstorable: dict[str, str] = {}
    found, left, last = {}, {}, begin
    for index in sorted(ends):
        step, answer = ends[index].name, ran.after.get(index, {})
        if answer.get("type") == "CannotStore":
            unstorable[step] = answer["error"]
        elif "error" in answer and failed is None:
            text = f"what step {step} hands on cannot be stored: {answer['error']}"
            failed = Failed(answer["type"], text, index)
        units[step] = tuple(packed_from_document(unit) for unit in answer.get("units", ()))
        found[step] = last
        left[step] = last = _snapshot(answer.get("files", {}), whole.folder / "files") or last
    return replace(
        whole, units=units, before=found, after=left, unstorable=unstorable, failed=failed
    )


def _snapshot(digests: Mapping[str, str], keep: Path) -> Snapshot | None:
    if not digests:
        return None
    copies = {
        path: keep / text.removeprefix("sha256:") if text else None
        for path, text in digests.items()
    }
    return Snapshot(copies, digests)


def _capturing(
    pipeline: Pipeline, step: Step, folder: Path, paths: list[str], place: Path, keep: Path
) -> Question:
    """Make the question that packs what a step hands on."""
    home = folder / step.name
    home.mkdir(parents=True, exist_ok=True)
    task = task_for(pipeline, step, {}, home)
    write_task(home / "task.json", task)
    arguments: dict[str, Any] = {"task": str(home / "task.json")}
    if paths:
        arguments |= {"paths": paths, "place": str(place), "keep": str(keep)}
    return Question(_IN_KERNEL, "capture", arguments)


def _measuring(step: Step) -> Question:
    return Question(_IN_KERNEL, "begin", {"name": step.options.foreach})


def _runnable(pipeline: Pipeline, notebook: Notebook) -> dict[str, Any]:
    """Give the notebook without the cells that no step runs; positions stay as they are."""
    skipped = set(pipeline.skipped)
    cells = [
        {"cell_type": "raw", "id": cell["id"], "metadata": {}, "source": ""}
        if index in skipped and cell["cell_type"] == "code"
        else cell
        for index, cell in enumerate(notebook.content["cells"])
    ]
    return {**notebook.content, "cells": cells}


def _code(step: Step, notebook: Notebook) -> list[int]:
    cells = (notebook.cells[index] for index in step.cells)
    # A kernel is not asked to run a cell without any text.
    return [cell.index for cell in cells if cell.kind == "code" and cell.source.strip()]


def _first(step: Step, notebook: Notebook) -> int:
    return min(_code(step, notebook))


def _last(step: Step, notebook: Notebook) -> int:
    return max(_code(step, notebook))
