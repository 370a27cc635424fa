"""Small notebooks without a kernel's start, and large outputs, against papermill itself."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import nbformat
import papermill
from nbformat.v4 import new_code_cell, new_notebook
from papermill.log import logger

from measurement import Measurement

ROUNDS = 5
LATER = 4
LARGE_CELLS = 50
LARGE = "print('\\n'.join(['x' * 79] * 2_500))"
TABLES = "import numpy as np\nimport pandas as pd\npd.DataFrame({'a': np.arange(3)}).sum()"


def measure() -> list[Measurement]:
    """Compare the fastest of some rounds: what is slower than that is the machine's noise."""
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            os.environ["MLOPS_NB_STORE"] = f"{folder}/.mlops"
            return [
                *_small(Path(folder), "a notebook of one cell", "x = 1"),
                *_small(Path(folder), "one cell that loads pandas", TABLES),
                _large(Path(folder), "mlops_nb"),
                _large(Path(folder), "mlops_nb_fast"),
            ]
    finally:
        logger.setLevel(level)


def _small(folder: Path, what: str, source: str) -> list[Measurement]:
    path = _written(folder, [source])
    first = _wall_s(path, folder, "mlops_nb_fast")
    plain, fast = [], []
    for _ in range(ROUNDS):
        plain.append(_wall_s(path, folder, None))
        fast += [_wall_s(path, folder, "mlops_nb_fast") for _ in range(LATER)]
    note = (
        f"{min(fast):.3f} s (median {sorted(fast)[len(fast) // 2]:.3f}) against {min(plain):.3f} s"
        f" (median {sorted(plain)[len(plain) // 2]:.3f}); the first one {first:.2f} s"
    )
    name = f"{what} by the fast engine, the second and later, against papermill"
    return [Measurement(name, min(fast) / min(plain), 0.15, note=note)]


def _large(folder: Path, engine: str) -> Measurement:
    seconds: dict[int, list[float]] = {1: [], LARGE_CELLS: []}
    for _ in range(ROUNDS):
        for count, times in seconds.items():
            times.append(_wall_s(_written(folder, [LARGE] * count), folder, engine))
    best = {count: min(times) for count, times in seconds.items()}
    a_cell_s = (best[LARGE_CELLS] - best[1]) / (LARGE_CELLS - 1)
    return Measurement(
        f"{LARGE_CELLS} cells with 200 kB of output each, by {engine}, against one",
        best[LARGE_CELLS] / best[1],
        1.8,
        note=f"{best[LARGE_CELLS]:.2f} s against {best[1]:.2f} s, {a_cell_s * 1e3:.0f} ms a cell",
    )


def _written(folder: Path, sources: list[str]) -> str:
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = new_notebook(
        cells=[new_code_cell(source) for source in sources],
        metadata={**metadata, "language_info": {"name": "python"}},
    )
    path = str(folder / "in.ipynb")
    nbformat.write(notebook, path)
    return path


def _wall_s(path: str, folder: Path, engine: str | None) -> float:
    begin = time.perf_counter()
    papermill.execute_notebook(
        path, str(folder / "out.ipynb"), engine_name=engine, progress_bar=False
    )
    return time.perf_counter() - begin


if __name__ == "__main__":
    for found in measure():
        print(f"{found.name}: {found.value:.3f} (wanted <= {found.bar}); {found.note}")
