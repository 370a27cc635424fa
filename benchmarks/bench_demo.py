"""How much longer the demo notebook takes when it is tracked."""

from __future__ import annotations

import copy
import os
import re
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from measurement import Measurement

ROUNDS = 7
DEMO = Path(__file__).parent.parent / "notebooks" / "demo.ipynb"


def measure() -> list[Measurement]:
    """Compare the fastest round of each kind: what is slower than that is the machine's noise.

    The clock runs from the first cell to the last; starting the kernel, the same for both, would
    only hide the difference. The cell that asks for the comparison is left out of both: that is
    reading what was tracked.
    """
    tracked = without_questions(nbformat.read(DEMO, as_version=4))
    untracked = without_tracking(tracked)
    seconds: dict[str, list[float]] = {"tracked": [], "untracked": []}
    for _ in range(ROUNDS):
        seconds["untracked"].append(wall_s(untracked))
        seconds["tracked"].append(wall_s(tracked))
    best = {kind: min(times) for kind, times in seconds.items()}
    return [
        Measurement(
            "the demo notebook tracked, more wall time than untracked",
            100 * (best["tracked"] / best["untracked"] - 1),
            2,
            unit="%",
            note=f"{best['tracked']:.2f} s against {best['untracked']:.2f} s, "
            f"the fastest of {ROUNDS} each",
        )
    ]


def without_questions(notebook):
    """Drop the cells that show what was tracked."""
    notebook = copy.deepcopy(notebook)
    notebook.cells = [c for c in notebook.cells if not c.source.startswith("%mlops_compare")]
    return notebook


OURS = re.compile(r"^( *)(%load_ext mlops_nb|%mlops_.*|import mlops_nb.*|mn\..*)$", re.MULTILINE)


def without_tracking(notebook):
    """Take out every line that is ours; the rest stays as it is."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            ours = re.compile(
                r"^( *)(%load_ext mlops_nb|%mlops_.*|import mlops_nb.*|mn\..*)$", re.MULTILINE
            )
            cell.source = ours.sub(r"\1pass", cell.source)
    return notebook


def wall_s(notebook) -> float:
    """Seconds from the first cell to the last, in a kernel of its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLOPS_NB_STORE"] = f"{folder}/.mlops"
        client = NotebookClient(
            copy.deepcopy(notebook), timeout=300, resources={"metadata": {"path": folder}}
        )
        with client.setup_kernel():
            client.execute_cell(nbformat.v4.new_code_cell("0"), 0)  # the kernel answers
            start = time.perf_counter()
            for index, cell in enumerate(client.nb.cells):
                client.execute_cell(cell, index)
            return time.perf_counter() - start
