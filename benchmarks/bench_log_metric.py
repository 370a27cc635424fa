"""`mn.log_metric` against MLflow's `log_metric` on its local SQLite store, in one process.

MLflow is installed in an environment of its own, ``.venv-bench``, which `make bench` makes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measurement import Measurement

PYTHON = Path(__file__).parent.parent / ".venv-bench" / "bin" / "python"
ROUNDS, OUR_CALLS, THEIR_CALLS = 5, 20_000, 100


def measure() -> list[Measurement]:
    """Run this file in the environment that has both."""
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run(
            [PYTHON, __file__], check=True, capture_output=True, text=True, cwd=folder
        )
    ours, theirs = json.loads(answer.stdout.splitlines()[-1])
    return [
        Measurement(
            "mn.log_metric, times faster per call than MLflow's on SQLite",
            theirs / ours,
            1000,
            more_is_better=True,
            note=f"{ours * 1e6:.2f} µs against {theirs * 1e3:.2f} ms",
        )
    ]


def seconds_per_call() -> tuple[float, float]:
    """Time both in turns in the current folder and give the fastest round of each."""
    import mlflow

    import mlops_nb as mn

    os.environ["MLOPS_NB_STORE"] = str(Path.cwd() / ".mlops")
    mlflow.set_tracking_uri(f"sqlite:///{Path.cwd()}/mlflow.db")
    ours, theirs = [], []
    with mn.run("bench"), mlflow.start_run():
        for _ in range(ROUNDS):
            ours.append(per_call(mn.log_metric, OUR_CALLS))
            theirs.append(per_call(mlflow.log_metric, THEIR_CALLS))
    return min(ours), min(theirs)


def per_call(log_metric, calls: int) -> float:
    """Seconds of one call in a loop of many."""
    start = time.perf_counter()
    for step in range(calls):
        log_metric("loss", 0.5, step=step)
    return (time.perf_counter() - start) / calls


if __name__ == "__main__":
    # MLflow talks on standard output; the answer is the last line.
    sys.stdout.write("\n" + json.dumps(seconds_per_call()) + "\n")
