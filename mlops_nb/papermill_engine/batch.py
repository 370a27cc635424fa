"""What is said about a batch run: to the kernel, and to the store if the kernel cannot say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from papermill.iorw import LocalHandler, papermill_io
from papermill.log import logger

from mlops_nb.errors import MlopsNbError
from mlops_nb.model import (
    Event,
    ParamLogged,
    RunChanged,
    RunStarted,
    TagSet,
    new_run_id,
)
from mlops_nb.papermill_engine.saving import local_path
from mlops_nb.papermill_engine.servers import BATCH_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

_PYTHON = frozenset({"python", "python3", "ipython"})


@dataclass(frozen=True, slots=True)
class Batch:
    """One notebook that runs as one run.

    Attributes
    ----------
    run
        Id of the run, made here so that the output can be named after it.
    notebook
        The input: an absolute path if it is a local file, else as given; None if it has no name.
    output
        Where the executed notebook goes, in the same way.
    params
        As papermill was given them.
    cells
        Of the code cells, in order: ``{"index", "id", "source", "tags"}``; `index` counts all
        cells of the executed notebook from 0, `id` is what the request's ``cellId`` will say.
    name, experiment, tags
        Of the run, as the user chose them; empty if not chosen.
    store
        Where it is recorded, None for the store that is found from the notebook.
    kind, group, parent
        Of a step of a pipeline: ``step``, what all attempts at it share, the pipeline's run.
    """

    run: str
    notebook: str | None
    output: str | None
    params: Mapping[str, Any]
    cells: tuple[Mapping[str, Any], ...]
    name: str = ""
    experiment: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    store: str | None = None
    kind: Literal["batch", "step"] = "batch"
    group: str = ""
    parent: str | None = None

    @classmethod
    def of(
        cls, notebook: Any, input_path: object, output_path: str | None, told: Mapping[str, Any]
    ) -> Batch:
        """Describe the execution that papermill has prepared."""
        return cls(
            run=told.get("run") or new_run_id(),
            notebook=_absolute(input_path),
            output=_absolute(output_path or notebook.metadata.papermill.get("output_path")),
            params=dict(notebook.metadata.papermill.get("parameters") or {}),
            cells=tuple(
                {
                    "index": index,
                    "id": cell.get("id"),
                    "source": cell.source,
                    "tags": list(cell.metadata.get("tags", [])),
                }
                for index, cell in enumerate(notebook.cells)
                if cell.cell_type == "code"
            ),
            name=told.get("name") or "",
            experiment=told.get("experiment") or "",
            tags=dict(told.get("tags") or {}),
            store=told.get("store"),
            kind=told.get("kind") or "batch",
            group=told.get("group") or "",
            parent=told.get("parent"),
        )

    def start_info(self) -> dict[str, Any]:
        """Say what `session.start_batch` is told."""
        return {
            "run": self.run,
            "notebook": self.notebook,
            "output": self.output,
            "params": self.params,
            "cells": list(self.cells),
            "name": self.name,
            "experiment": self.experiment,
            "tags": self.tags,
            "store": self.store,
            "kind": self.kind,
            "group": self.group,
            "parent": self.parent,
        }

    def end_info(self, status: str, error: Mapping[str, Any] | None) -> dict[str, Any]:
        """Say what `session.end_batch` is told."""
        return {"run": self.run, "status": status, "output": self.output, "error": error}

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Make the kernel's environment."""
        ours = {
            "MLOPS_NB_BATCH": "1",
            "MLOPS_NB_RUN": self.run,
            **BATCH_VARIABLES,
        }
        if self.notebook is not None:
            ours["MLOPS_NB_NOTEBOOK"] = self.notebook
        if store := variables.get("MLOPS_NB_STORE"):
            # The kernel may run in another folder than the one in which this was said.
            local = papermill_io.get_handler("local")
            ours["MLOPS_NB_STORE"] = store if "://" in store else str(local_path(local, store))
        return {**variables, **ours}

    @property
    def shown(self) -> str:
        """What to call the notebook in a message."""
        return self.notebook or "the notebook"

    def speaks_python(self, kernel_manager: Any) -> bool:
        """Say whether the kernel can be asked in Python; one that does not say so can."""
        spec = getattr(kernel_manager, "kernel_spec", None)
        return (getattr(spec, "language", "") or "python").lower() in _PYTHON

    def error_in(self, notebook: Any) -> dict[str, Any] | None:
        """Find the cell that failed, as ``{"type", "message", "cell"}``."""
        for index, cell in enumerate(notebook.cells):
            if cell.metadata.get("papermill", {}).get("exception") is not True:
                continue
            for output in cell.get("outputs", []):
                if output.output_type == "error" and not _is_clean_exit(output):
                    return {"type": output.ename, "message": output.evalue, "cell": index}
            if not any(o.output_type == "error" for o in cell.get("outputs", [])):
                return {"type": "CellExecutionError", "message": "", "cell": index}
        return None


def _is_clean_exit(output: Any) -> bool:
    """Say whether a cell ended the notebook on purpose, by papermill's rule."""
    return output.ename == "SystemExit" and output.evalue in {"", "0"}


def _absolute(path: object) -> str | None:
    """Make a local path absolute; a URL stays as it is, and standard output has no name."""
    if not isinstance(path, str) or path in {"", "-"}:
        return None
    handler = papermill_io.get_handler(path)
    local = papermill_io.get_handler("local")
    is_local = isinstance(handler, LocalHandler) or type(handler).__name__ == "WholeFileHandler"
    return str(local_path(local, path)) if is_local else path


def record_from_outside(
    batch: Batch, started_ns: int, ended_ns: int, error: Mapping[str, Any] | None
) -> None:
    """Record a run of which only parameters, outcome and duration are known.

    The notebook ran in a kernel that has no mlops_nb, or ended before it could be asked. Whatever
    keeps this from being written is one warning: the notebook itself has run.

    Parameters
    ----------
    batch
        What ran.
    started_ns, ended_ns
        Nanoseconds since the epoch.
    error
        As of `Batch.error_in`, None if the notebook ran to its end.
    """
    try:
        _apply(batch, _events(batch, started_ns, ended_ns, error))
    except (ImportError, OSError, MlopsNbError) as problem:
        logger.warning(f"The run is not recorded: {problem}")


def _events(
    batch: Batch, started_ns: int, ended_ns: int, error: Mapping[str, Any] | None
) -> list[Event]:
    from mlops_nb.tracking.values import as_json

    name = batch.name or (Path(batch.notebook).stem if batch.notebook else "notebook")
    was_stopped = error is not None and error["type"] in {"KeyboardInterrupt", "SystemExit"}
    changes: dict[str, Any] = {
        "status": "interrupted" if was_stopped else "failed" if error else "finished",
        "ended_at_ns": ended_ns,
        "error": dict(error) if error else None,
    }
    return [
        RunStarted(
            id=batch.run,
            at_ns=started_ns,
            name=name,
            kind=batch.kind,
            experiment=batch.experiment,
            group=batch.group or batch.name or f"{batch.notebook or 'notebook'}#batch",
            parent=batch.parent,
            notebook=batch.notebook,
        ),
        *(
            ParamLogged(batch.run, key, as_json(value), started_ns)
            for key, value in batch.params.items()
        ),
        *(TagSet(batch.run, key, value, started_ns) for key, value in batch.tags.items()),
        TagSet(batch.run, "recorded", "from outside", started_ns),
        RunChanged(batch.run, ended_ns, changes),
    ]


def _apply(batch: Batch, events: list[Event]) -> None:
    """Write events to the store of the notebook."""
    from mlops_nb.config import load_settings
    from mlops_nb.store import Store
    from mlops_nb.store.locate import locate

    start = Path(batch.notebook).parent if batch.notebook else Path.cwd()
    settings = load_settings(start=start, store=batch.store)
    with Store.open(locate(start, settings), create=True) as store:
        store.apply(events)
