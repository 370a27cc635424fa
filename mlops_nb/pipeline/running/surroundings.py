"""Where a run of a pipeline keeps its files, and what its processes find in their environment."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlops_nb.store import Store

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)
"""What numerical libraries read to know how many threads they may start."""

_OF_THE_CALLER = ("MLOPS_NB_", "JPY_", "VSCODE_", "PAPERMILL_")
_KEPT = frozenset(
    f"MLOPS_NB_{name}"
    for name in ("BLOBS", "CONFIG", "DATA_STATISTICS", "DEBUG", "STORE", "TEAM_KEY")
)
_NO_FILE_NAME = re.compile(r"[^\w.\[\]-]+")


@record
class RunFolders:
    """Private files of one run of a pipeline.

    Attributes
    ----------
    work
        Step notebooks, what is handed to steps and what they hand back; removed at a good end.
    notebooks
        Executed notebooks; they stay.
    """

    work: Path
    notebooks: Path

    def clear(self) -> None:
        """Remove what nobody needs after a good end: values are in the store by now."""
        shutil.rmtree(self.work, ignore_errors=True)


def folders_of(store: Store, run: str, state_dir: Path) -> RunFolders:
    """Choose the folders of a run: in the store, or the user's own if that is on a server."""
    home = state_dir if store.folder is None else store.folder
    # A kernel runs elsewhere, and must find them.
    home = home.absolute()
    return RunFolders(home / "pipelines" / run, home / "runs" / run)


def file_name(step: str, position: int) -> str:
    """Name the executed notebook of a step, or of a piece of one."""
    return f"{position + 1:02}_{_NO_FILE_NAME.sub('_', step).strip('_') or 'step'}.ipynb"


def step_environment(environ: Mapping[str, str], jobs: int) -> dict[str, str]:
    """Make the variables of a step's process.

    Steps that run side by side share the processors, unless the user has said how many threads
    there may be. One hash seed for all: a set of texts has one order in the whole notebook.

    Examples
    --------
    >>> step_environment({"HOME": "/home/ann", "JPY_PARENT_PID": "7"}, 1)
    {'HOME': '/home/ann', 'PYTHONHASHSEED': '0'}
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not name.startswith(_OF_THE_CALLER)
    }
    kept.setdefault("PYTHONHASHSEED", "0")
    if jobs > 1:
        share = str(max(1, processors() // jobs))
        for name in THREAD_VARIABLES:
            kept.setdefault(name, share)
    return kept


def processors() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
