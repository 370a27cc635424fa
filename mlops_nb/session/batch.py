"""A notebook that a runner executes from top to bottom: one run, cells in known places."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.redact import redact
from mlops_nb.tracking.values import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mlops_nb.capture.hooks import LiveExecution
    from mlops_nb.config import Settings
    from mlops_nb.model import Json

PARAMETER_TAGS = frozenset({"parameters", "pipeline-parameters", "injected-parameters"})
FOLLOWS_ID = "mlops-nb-follows"
"""Of the cell of a step in which stands what follows from its parameters."""


def is_batch(shell: Any, settings: Settings, namespace: Mapping[str, object]) -> bool:
    """Whether a runner (nbclient, nbconvert, papermill) rather than a person sends the cells."""
    if settings.batch is not None:
        return settings.batch
    kernel = getattr(shell, "kernel", None)
    if kernel is None or "JPY_SESSION_NAME" in os.environ or "__vsc_ipynb_file__" in namespace:
        return False
    request = kernel.get_parent() or {}
    has_cell_id = bool((request.get("metadata") or {}).get("cellId"))
    return not has_cell_id and not (request.get("content") or {}).get("allow_stdin", True)


def search_notebook(shell: Any, known: Path | None) -> tuple[Path | None, list[dict[str, Json]]]:
    """Find the notebook of a runner that tells nothing, by what has run of it so far.

    Parameters
    ----------
    shell
        Its history holds the sources, the running cell's included.
    known
        The notebook, if something else named it.

    Returns
    -------
    path, cells
        None and no cells if no file of this folder, or more than one, holds these sources.
    """
    from mlops_nb.notebook import find_by_witness, read_notebook

    ran = {source for source in shell.history_manager.input_hist_raw if source.strip()}
    found = known or find_by_witness(Path.cwd(), (), ran)
    if found is None:
        return None, []
    cells = [
        {"index": cell.index, "id": cell.id, "source": cell.source, "tags": list(cell.tags)}
        for cell in read_notebook(found).code_cells
    ]
    return Path(found), cells


class BatchCells:
    """The code cells of a batch that have not run yet, in notebook order.

    Parameters
    ----------
    cells
        ``index``, ``id``, ``tags``, and ``source`` where ids do not come with the requests.
    """

    def __init__(self, cells: Iterable[Mapping[str, Json]] = ()) -> None:
        self._waiting = list(cells)
        self._tags: frozenset[str] = frozenset()
        self._names: set[str] = set()

    def place(self, live: LiveExecution) -> None:
        """Find which cell has begun, and note its place on its event."""
        if live.parent is not None:
            return
        self._tags = frozenset()
        for number, cell in enumerate(self._waiting):
            if _is_it(live, cell):
                del self._waiting[: number + 1]
                live.event = replace(live.event, cell_id=cell["id"], cell_index=cell["index"])
                self._tags = frozenset(cell.get("tags") or ())
                return

    def parameters(
        self, live: LiveExecution, namespace: Mapping[str, object]
    ) -> Iterator[tuple[str, object]]:
        """Give what the cell that has just run sets, if it is a parameters cell.

        papermill puts a cell of its own behind the tagged one, and a step's notebook has one
        behind that: the values count after those.
        """
        is_injected = "injected-parameters" in self._tags or _looks_injected(live)
        if PARAMETER_TAGS & self._tags or is_injected or live.cell_id == FOLLOWS_ID:
            self._names.update(live.names.binds)
        elif not self._names:
            return
        if any(map(_sets_parameters_later, self._waiting)):
            return
        for name in sorted(self._names):
            if name in namespace and is_plain(namespace[name]):
                yield name, namespace[name]
        self._names.clear()


def _sets_parameters_later(cell: Mapping[str, Json]) -> bool:
    return "injected-parameters" in (cell.get("tags") or ()) or cell.get("id") == FOLLOWS_ID


def _looks_injected(live: LiveExecution) -> bool:
    """Whether papermill wrote the cell, by the comment that it begins with."""
    return live.event.source.startswith("# Parameters\n")


def _is_it(live: LiveExecution, cell: Mapping[str, Json]) -> bool:
    told = cell.get("source")
    if told is None:
        return bool(live.cell_id == cell["id"])
    return redact(told).strip() == live.event.source.strip()
