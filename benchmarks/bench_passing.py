"""A frame of 1 GB between two steps, against writing and reading it as Parquet once.

The two ends of a step as its notebook calls them, guards included. ``MLOPS_NB_BENCH_MB`` makes
the frame smaller, for a machine with little memory.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from bench_fingerprint import cpu_s, mixed_frame

from measurement import Measurement
from mlops_nb.model.pipelines import StepTask
from mlops_nb.packaging.aliases import shares
from mlops_nb.pipeline.passing import read_result, write_task
from mlops_nb.pipeline.passing.kernel import load, save

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE_MB = int(os.environ.get("MLOPS_NB_BENCH_MB", "1000"))
ROUNDS = 3
GUARDED = 10
GUARDED_MB = 10
OBJECTS = 100_000


def measure() -> list[Measurement]:
    """Compare the fastest of a few rounds, in turns; and what guards cost where nothing passes."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLOPS_NB_CONFIG"] = str(Path(folder) / "config.toml")
        return [
            _passed(Path(folder) / "numbers", "numbers", numbers(SIZE_MB)),
            _passed(Path(folder) / "mixed", "numbers, times and texts", mixed(SIZE_MB)),
            _guarded(Path(folder) / "guarded"),
            _walked(),
        ]


def numbers(size_mb: int) -> pd.DataFrame:
    """Make a frame of twenty columns of numbers."""
    rows = size_mb * 1_000_000 // 8 // 20
    draw = np.random.default_rng(0)
    return pd.DataFrame(draw.standard_normal((rows, 20)), columns=[f"x{n}" for n in range(20)])


def mixed(size_mb: int) -> pd.DataFrame:
    """Make a frame of every usual type."""
    return mixed_frame(size_mb, np.random.default_rng(0), "str")


def _passed(folder: Path, what: str, frame: pd.DataFrame) -> Measurement:
    folder.mkdir()
    plain = folder / "plain.parquet"
    theirs, ours = [], []
    for _ in range(ROUNDS):
        theirs.append(_wall_s(lambda: (frame.to_parquet(plain), pd.read_parquet(plain))))
        ours.append(_wall_s(lambda: _pass(folder, frame)))
    return Measurement(
        f"{SIZE_MB:,} MB of {what} from step to step, to Parquet once",
        min(ours) / min(theirs),
        1.3,
        note=f"{min(ours):.2f} s against {min(theirs):.2f} s, written and read, the fastest of "
        f"{ROUNDS}; digests, signature and guards included",
    )


def _pass(folder: Path, frame: pd.DataFrame) -> None:
    """Save a frame at the end of one step, and load it at the start of the next."""
    _step(folder, StepTask("bench", "make", str(folder / "make"), outputs=(("frame",),)), frame)
    _load(folder, _next(folder))


def _next(folder: Path) -> StepTask:
    result = read_result(folder / "make" / "result.json")
    places = {str(folder / "make" / str(n)): unit for n, unit in enumerate(result.units)}
    inputs = {name: (place,) for place, unit in places.items() for name in unit.names}
    return StepTask("bench", "use", str(folder / "use"), inputs=inputs, units=places)


def _step(folder: Path, task: StepTask, frame: pd.DataFrame) -> None:
    namespace = _load(folder, task)
    namespace["frame"] = frame
    save(f"bench/{task.step}", ("frame",), namespace)


def _load(folder: Path, task: StepTask) -> dict[str, Any]:
    path = folder / "task.json"
    write_task(path, task)
    os.environ["MLOPS_NB_STEP"] = str(path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    names = tuple(task.inputs)
    namespace.update(zip(names, load(f"bench/{task.step}", names, namespace), strict=True))
    return namespace


def _guarded(folder: Path) -> Measurement:
    """Measure a step that takes frames that it must not change, and gives nothing."""
    folder.mkdir()
    frames = {f"frame{n}": numbers(GUARDED_MB) for n in range(GUARDED)}
    task = StepTask("bench", "make", str(folder / "make"), outputs=tuple((n,) for n in frames))
    namespace = _load(folder, task)
    namespace.update(frames)
    save("bench/make", tuple(frames), namespace)
    task = _next(folder)
    spent = []
    for is_guarded in (False, True) * 5:
        namespace = _load(folder, replace(task, watched=tuple(frames) if is_guarded else ()))
        spent.append(cpu_s(lambda: save("bench/use", (), namespace)))  # noqa: B023  # at once
    without, guarded = min(spent[::2]), min(spent[1::2])
    return Measurement(
        f"guards of {GUARDED} frames of {GUARDED_MB} MB at the end of a step",
        (guarded - without) * 1000,
        100,
        unit="ms",
        note=f"an end without guards takes {without * 1000:.1f} ms",
    )


def _walked() -> Measurement:
    rows = [{"id": n, "tags": [str(n)]} for n in range(OBJECTS // 2)]
    seconds = min(cpu_s(lambda: shares({"rows": rows, "other": []})) for _ in range(5))
    return Measurement(
        "search for shared objects, for 10,000 objects",
        seconds * 1000 * 10_000 / OBJECTS,
        10,
        unit="ms",
        note=f"a list of {OBJECTS // 2:,} dicts, each with a list",
    )


def _wall_s(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    for measurement in measure():
        print(
            f"{measurement.name}: {measurement.value:.3g} (≤ {measurement.bar}) {measurement.note}"
        )
