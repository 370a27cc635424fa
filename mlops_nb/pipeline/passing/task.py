"""What a step's process is told, and what it says at its end: two JSON files.

Both are written at once or not at all, and come back as the records they were.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, TypeVar

from mlops_nb.errors.values import BadStepFile
from mlops_nb.model.pipelines import Fact, StepResult, StepTask
from mlops_nb.packaging.record import packed_document, packed_from_document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")

TASK_VARIABLE = "MLOPS_NB_STEP"
"""Names the file of the task, in the environment of a step's process."""

RESULT_FILE = "result.json"
"""Of a step, in the folder of its task."""

_VERSION = 1


def write_task(path: Path, task: StepTask) -> None:
    """Write a task for the process that `TASK_VARIABLE` is set for."""
    _write(path, task_document(task))


def read_task(path: Path) -> StepTask:
    """Read a task.

    Raises
    ------
    BadStepFile
        The file is missing, or holds something else.
    """
    return _read(path, task_from_document)


def write_result(path: Path, result: StepResult) -> None:
    """Write what became of a step."""
    _write(path, result_document(result))


def read_result(path: Path) -> StepResult:
    """Read what became of a step.

    Raises
    ------
    BadStepFile
        The file is missing (the step ended before it had saved), or holds something else.
    """
    return _read(path, result_from_document)


def task_document(task: StepTask) -> dict[str, Any]:
    """Describe a task.

    Examples
    --------
    >>> task_document(StepTask("churn", "train", "values"))["step"]
    'train'
    """
    return {
        "pipeline": task.pipeline,
        "step": task.step,
        "folder": task.folder,
        "inputs": {name: list(folders) for name, folders in task.inputs.items()},
        "units": {folder: packed_document(unit) for folder, unit in task.units.items()},
        "outputs": [list(names) for names in task.outputs],
        "watched": list(task.watched),
        "definitions": list(task.definitions),
        "secrets": list(task.secrets),
        "state_in": list(task.state_in),
        "state_out": list(task.state_out),
        "piece": None if task.piece is None else dict(task.piece),
        "prelude_digests": dict(task.prelude_digests),
        "may_pickle": task.may_pickle,
    }


def result_document(result: StepResult) -> dict[str, Any]:
    """Describe a result.

    Examples
    --------
    >>> result_document(StepResult(changed_state=("<cwd>",)))["changed_state"]
    ['<cwd>']
    """
    return {
        "units": [packed_document(unit) for unit in result.units],
        "facts": [_fact_document(fact) for fact in result.facts],
        "prelude_digests": dict(result.prelude_digests),
        "changed_state": list(result.changed_state),
    }


def task_from_document(document: Mapping[str, Any]) -> StepTask:
    """Read what `task_document` wrote."""
    return StepTask(
        pipeline=document["pipeline"],
        step=document["step"],
        folder=document["folder"],
        inputs={name: tuple(folders) for name, folders in document["inputs"].items()},
        units={name: packed_from_document(unit) for name, unit in document["units"].items()},
        outputs=tuple(tuple(names) for names in document["outputs"]),
        watched=tuple(document["watched"]),
        definitions=tuple(document["definitions"]),
        secrets=tuple(document["secrets"]),
        state_in=tuple(document["state_in"]),
        state_out=tuple(document["state_out"]),
        piece=document["piece"],
        prelude_digests=dict(document["prelude_digests"]),
        may_pickle=bool(document["may_pickle"]),
    )


def result_from_document(document: Mapping[str, Any]) -> StepResult:
    """Read what `result_document` wrote."""
    return StepResult(
        units=tuple(packed_from_document(unit) for unit in document["units"]),
        facts=tuple(_fact(fact) for fact in document["facts"]),
        prelude_digests=dict(document["prelude_digests"]),
        changed_state=tuple(document["changed_state"]),
    )


def _fact_document(fact: Fact) -> dict[str, Any]:
    return {
        "step": fact.step,
        "kind": fact.kind,
        "names": list(fact.names),
        "code": fact.code,
        "text": fact.text,
    }


def _fact(document: Mapping[str, Any]) -> Fact:
    return Fact(
        document["step"],
        document["kind"],
        tuple(document["names"]),
        document["code"],
        document["text"],
    )


def _write(path: Path, document: Mapping[str, Any]) -> None:
    from mlops_nb.store.private import open_private

    # A reader sees the whole file or none: the process may be killed while it writes.
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open_private(half, "wb") as file:
            file.write(json.dumps({"version": _VERSION, **document}).encode("ascii"))
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def _read(path: Path, made: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise BadStepFile(str(path), error.strerror or "it cannot be read") from None
    except ValueError:
        raise BadStepFile(str(path), "it is not JSON") from None
    try:
        if document["version"] != _VERSION:
            raise BadStepFile(str(path), f"its version is {document['version']}, not {_VERSION}")
        return made(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadStepFile(str(path), f"it is not what a step is told or says ({error})") from None


__all__ = [
    "RESULT_FILE",
    "TASK_VARIABLE",
    "read_result",
    "read_task",
    "result_document",
    "result_from_document",
    "task_document",
    "task_from_document",
    "write_result",
    "write_task",
]
