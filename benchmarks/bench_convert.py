"""Converting a notebook of 200 cells in 20 steps, and one of 200 steps: in a process that runs."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import nbformat

from measurement import Measurement

V4 = nbformat.v4
ROUNDS = 5


def measure() -> list[Measurement]:
    """In seconds, from the file to the written folder; the first time and again."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        return [
            *conversions("200 cells in 20 steps", written(home / "cells.ipynb", 200, 10), 1.0),
            *conversions("200 cells in 200 steps", written(home / "steps.ipynb", 200, 1), 3.0),
        ]


def written(path: Path, count: int, each: int) -> Path:
    """Write a notebook whose cells pass frames, models and functions from one to the next."""
    cells = [
        V4.new_code_cell("import numpy as np\nimport pandas as pd"),
        V4.new_code_cell("rows: int = 100\nhalf = rows // 2", metadata={"tags": ["parameters"]}),
    ]
    for n in range(count):
        source = (
            f"def scale_{n}(table, by=2):\n"
            f"    '''Make it larger.'''\n"
            f"    return table * by\n\n"
            f"frame_{n} = pd.DataFrame({{'a': np.arange(rows), 'b': np.ones(rows)}})\n"
            + (f"frame_{n}['c'] = scale_{n - 1}(frame_{n - 1})['a'] + half\n" if n else "")
            + f"total_{n} = frame_{n}.sum().sum()\nprint(total_{n})"
        )
        tags = [f"step:part_{n // each}"] if n % each == 0 else []
        cells.append(V4.new_code_cell(source, metadata={"tags": tags}))
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(V4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path


def conversions(name: str, path: Path, bar_s: float) -> list[Measurement]:
    """Convert into a new folder, and where all stands there already; the best of some rounds."""
    from mlops_nb.pipeline.writing.conversion import convert_notebook

    first, again = [], []
    for _ in range(ROUNDS):
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        first.append(timed(lambda: convert_notebook(path)))
        again.append(timed(lambda: convert_notebook(path)))
    return [
        Measurement(f"convert, {name}", min(first), bar_s, unit="s"),
        Measurement(f"convert, {name}, unchanged", min(again), bar_s, unit="s"),
    ]


def timed(act) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


if __name__ == "__main__":
    for measurement in measure():
        print(measurement)
