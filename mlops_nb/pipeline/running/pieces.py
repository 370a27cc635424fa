"""How many pieces a fanned-out step has: by the value itself, which may have to be made first."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.pipelines import PipelineRefused
from mlops_nb.errors.values import CannotJoin
from mlops_nb.pipeline.passing.pieces import element_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import CachedStep, Packed, Step
    from mlops_nb.pipeline.running.preparing import Prepared
    from mlops_nb.pipeline.running.work import StepWork
    from mlops_nb.store import Store

    Count = Callable[["Step"], int]

_LOAD_TAG, _SAVE_TAG = "mlops-nb-load", "mlops-nb-save"
_TIMEOUT_S = 600


def piece_count(
    prepared: Prepared,
    step: Step,
    results: Mapping[str, tuple[CachedStep, ...]],
    params: Mapping[str, Any],
    store: Store,
    *,
    made: Count | None,
) -> int:
    """Count the elements of what a step is fanned out over.

    Parameters
    ----------
    made
        Makes the value and counts it, where it comes from the first cells or is not plain; None
        if nothing may run.

    Raises
    ------
    PipelineRefused
        It cannot be taken apart, or nobody knows it yet.
    """
    name = step.options.foreach
    try:
        if name in step.inputs:
            units = [u for r in results[step.inputs[name]] for u in r.units if name in u.names]
            if len(units) == 1 and units[0].format == "json":
                return element_count(_plain_value(units[0], name, store), name)
        elif isinstance(params.get(name), list | tuple | dict | range):
            return element_count(params[name], name)
    except CannotJoin as error:
        remedy = "Give it a list, tuple, dict, frame, series or array."
        raise PipelineRefused(str(prepared.path), _problem(step, str(error)), remedy) from None
    if made is None:
        problem = _problem(step, "how many pieces that makes is known only when it runs")
        raise PipelineRefused(str(prepared.path), problem, "Run the pipeline.")
    return made(step)


def _problem(step: Step, why: str) -> str:
    return f"step {step.name} is fanned out over {step.options.foreach}: {why.rstrip('.')}"


def _plain_value(unit: Packed, name: str, store: Store) -> object:
    """Read a value of plain JSON, which runs no code."""
    from mlops_nb.packaging import unpack

    with tempfile.TemporaryDirectory(prefix="mlops-nb-pieces-") as folder:
        store.fetch_values(unit, Path(folder))
        return unpack(unit, Path(folder), namespace={})[name]


def count_in_child(work: StepWork, value: str, environment: Mapping[str, str]) -> int:
    """Have a child process run the cells before a step's own, and count what they make.

    Raises
    ------
    PipelineRefused
        They fail, or the value cannot be taken apart.
    """
    from mlops_nb.engines import Ended, Job, open_engine
    from mlops_nb.pipeline.running.executing import PRELOAD
    from mlops_nb.pipeline.running.work import work_document

    told = {"work": work_document(work), "value": value}
    function = f"{__name__}:count_job"
    log = f"{work.folder}.log"
    job = Job("count", function, told, environment, work.place, timeout_s=_TIMEOUT_S, log=log)
    with open_engine("local", preload=PRELOAD) as engine:
        engine.start(job)
        while True:
            for message in engine.wait():
                if isinstance(message, Ended):
                    if message.content is not None:
                        return int(message.content["count"])
                    said = str(message.error.get("message", "")).strip().splitlines()
                    why = (
                        f"step {work.name} is fanned out over {value}: {said[-1] if said else ''}"
                    )
                    raise PipelineRefused(work.shown, why, "Correct the cells that make it.")


def count_job(
    told: Mapping[str, Any], _say: Callable[[Mapping[str, Json]], None]
) -> dict[str, int]:
    """Count what the first cells and inputs of a step make, in a kernel that is not tracked."""
    import nbformat
    from nbclient import NotebookClient

    from mlops_nb.notebook import read_notebook
    from mlops_nb.pipeline.passing.task import TASK_VARIABLE, write_task
    from mlops_nb.pipeline.running.executing import TASK_FILE
    from mlops_nb.pipeline.running.parameters import with_cell
    from mlops_nb.pipeline.running.work import work_from_document
    from mlops_nb.store import Store

    work = work_from_document(told["work"])
    folder = Path(work.folder)
    with Store.open(work.store) as store:
        for place, unit in work.task.units.items():
            store.fetch_values(unit, Path(place))
    write_task(folder / TASK_FILE, work.task)
    os.environ[TASK_VARIABLE] = str(folder / TASK_FILE)
    notebook = with_cell(read_notebook(work.notebook), work.injected)
    answer = folder / "count.txt"
    content = {
        **notebook.content,
        "cells": _counting(notebook.content["cells"], told["value"], answer),
    }
    node = nbformat.from_dict(content)
    kernel = work.kernel or notebook.kernel_name or "python3"
    resources = {"metadata": {"path": work.place}}
    NotebookClient(node, kernel_name=kernel, resources=resources, timeout=_TIMEOUT_S).execute()
    return {"count": int(answer.read_text(encoding="ascii"))}


def _counting(
    cells: Sequence[Mapping[str, Any]], value: str, answer: Path
) -> list[dict[str, Any]]:
    """Give the cells up to the one that loads, and one that counts."""
    kept: list[dict[str, Any]] = []
    for cell in cells:
        tags = cell.get("metadata", {}).get("tags", ())
        if _SAVE_TAG in tags:
            break
        kept.append({**cell})
        if _LOAD_TAG in tags:
            break
    source = (
        f"__import__('pathlib').Path({str(answer)!r}).write_text(str(__import__("
        "'mlops_nb.pipeline.passing.pieces', fromlist=['pieces'])"
        f".element_count({value}, {value!r})))"
    )
    count = {"cell_type": "code", "id": "count", "metadata": {}, "source": source}
    return [*kept, {**count, "outputs": [], "execution_count": None}]
