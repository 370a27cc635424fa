"""A pipeline of which every step is cached, against ``mlops-nb runs`` on the same store."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from measurement import Measurement

STEPS = 10
ROUNDS = 7
STEP_S = 0.02
RUNS_SHARE = 1.5
HELPERS = "def scaled(frame, by):\n    return frame * by\n"


def measure() -> list[Measurement]:
    """Compare the fastest round of each; what is left of the bar is the number."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ".git").mkdir()
        (folder / "helpers.py").write_text(HELPERS)
        (folder / "data.csv").write_text("a,b\n" + "1,2\n" * 1000)
        nbformat.write(_notebook(), folder / "cached.ipynb")
        first_s = _wall_s(folder, "run", "cached.ipynb")
        seconds: dict[str, list[float]] = {"runs": [], "cached": []}
        for _ in range(ROUNDS):
            seconds["runs"].append(_wall_s(folder, "runs"))
            seconds["cached"].append(_wall_s(folder, "run", "cached.ipynb"))
    best = {kind: min(times) for kind, times in seconds.items()}
    allowed = RUNS_SHARE * best["runs"] + STEPS * STEP_S
    return [
        Measurement(
            f"{STEPS} cached steps, against {RUNS_SHARE} x `mlops-nb runs` and "
            f"{STEP_S * 1000:.0f} ms a step",
            best["cached"] / allowed,
            1.0,
            note=f"{best['cached']:.2f} s against {allowed:.2f} s (`runs`: {best['runs']:.2f} s; "
            f"when nothing was cached: {first_s:.1f} s), the fastest of {ROUNDS} each",
        )
    ]


def _notebook() -> nbformat.NotebookNode:
    """Write a chain of steps that pass a frame on, with a module and a file of the project."""
    cells = [_cell("import pandas as pd\nimport helpers"), _cell("by = 2", "parameters")]
    cells.append(_cell('frame = pd.read_csv("data.csv")', "step:s0"))
    for number in range(1, STEPS):
        source = f"frame = helpers.scaled(frame, by) + {number}"
        cells.append(_cell(source, f"step:s{number}"))
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return new_notebook(cells=cells, metadata=metadata)


def _cell(source: str, *tags: str) -> nbformat.NotebookNode:
    return new_code_cell(source, metadata={"tags": list(tags)})


def _wall_s(folder: Path, *arguments: str) -> float:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLOPS_NB_")}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mlops_nb", *arguments],
        cwd=folder,
        env={**environment, "XDG_CONFIG_HOME": str(folder / "config")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=600,
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    for one in measure():
        print(f"{one.name}: {one.value:.2f} {one.unit} (bar {one.bar}); {one.note}")
