"""What runs in the kernel of the whole notebook, between its cells, and leaves no trace there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.packaging.record import packed_document
from mlops_nb.packaging.unit import pack
from mlops_nb.pipeline.passing.state import Start, read_state, start_here

if TYPE_CHECKING:
    from mlops_nb.model.pipelines import Packed, StepTask

_begun: list[Start] = []


def begin(name: str = "") -> int:
    """Note where the process is before its first step, and count what a step is fanned out over.

    Parameters
    ----------
    name
        Of the value that the step about to run is fanned out over; empty if it is not.
    """
    if not _begun:
        _begun.append(start_here())
    if not name:
        return 0
    from mlops_nb.pipeline.passing.pieces import element_count

    return element_count(_namespace()[name], name)


def capture(
    task: str, paths: list[str] | None = None, place: str = "", keep: str = ""
) -> dict[str, Any]:
    """Pack what a step hands on, as the step itself would at its end.

    Parameters
    ----------
    task
        Path of its task.
    paths, place, keep
        Files that steps exchange, the folder they are in, and where copies of them go.

    Returns
    -------
    dict
        ``units`` as documents, each in a folder of its own beside the task, by number; ``files``
        with their digests.
    """
    from mlops_nb.pipeline.passing.task import read_task
    from mlops_nb.pipeline.verifying.files import take

    told = read_task(Path(task))
    units = [packed_document(unit) for unit in _packed(told, _namespace())]
    files = take(paths, Path(place), Path(keep)).digests if paths else {}
    return {"units": units, "files": dict(files)}


def _packed(task: StepTask, namespace: dict[str, Any]) -> list[Packed]:
    """Pack units of values, then state, in the order in which a step does."""
    values: list[dict[str, object]] = [
        {name: namespace[name] for name in unit if name in namespace} for unit in task.outputs
    ]
    values += [{name: read_state(name, _begun[0])} for name in task.state_out]
    return [
        pack(
            unit,
            Path(task.folder) / str(number),
            namespace=namespace,
            definitions=task.definitions,
            may_pickle=task.may_pickle,
        )
        for number, unit in enumerate(values)
        if unit
    ]


def _namespace() -> dict[str, Any]:
    return vars(sys.modules["__main__"])
