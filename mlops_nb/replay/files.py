"""Input files of a run, and whether they are still what was read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlops_nb.capture.files.state import file_state
from mlops_nb.replay.places import moved_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mlops_nb.capture.files.state import FileState
    from mlops_nb.model import Execution, FileUse, Run


@dataclass(frozen=True, slots=True)
class InputState:
    """A file that a run read, and what has become of it.

    Attributes
    ----------
    path
        Where it stands here.
    position
        Place of the cell that read it first.
    """

    path: str
    position: int
    state: FileState


def input_states(
    executions: Sequence[Execution],
    run: Run,
    home: Path,
    *,
    state_of: Callable[[FileUse], FileState] = file_state,
) -> tuple[InputState, ...]:
    """Look at the files that a run read, each once.

    Parameters
    ----------
    executions
        Its cells, in run order.
    run, home
        Its notebook's path as recorded, and the folder where that notebook stands here.
    state_of
        Looks at a file.
    """
    found = []
    for position, use in _inputs(executions):
        path = str(moved_path(use.uri, run, home))
        found.append(InputState(path, position, state_of(replace(use, uri=path))))
    return tuple(found)


def _inputs(executions: Sequence[Execution]) -> Iterator[tuple[int, FileUse]]:
    """Give what was read first and not made by the run itself."""
    known: set[str] = set()
    for position, execution in enumerate(executions):
        # In one cell the record does not say what came first; a file it wrote is its own.
        for use in sorted(execution.files, key=lambda use: use.mode, reverse=True):
            if use.uri not in known and use.mode == "r" and "://" not in use.uri:
                yield position, use
            known.add(use.uri)
