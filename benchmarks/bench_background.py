"""Hashing in the background: what an unchanged frame costs, and what another thread keeps.

``python run.py background``. The frames of a gigabyte are made of numbers; the speed left to
another thread is that of a loop of Python beside the hash, against the same loop alone.
"""

from __future__ import annotations

import mmap
import threading
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from measurement import Measurement
from mlops_nb.fingerprint.background import Hasher
from mlops_nb.fingerprint.known import Known
from mlops_nb.fingerprint.pages import PageOracle

if TYPE_CHECKING:
    from collections.abc import Callable

GIGABYTE_ROWS = 2**30 // (32 * 8)
ROUNDS = 9
PATIENCE_S = 300


def measure() -> list[Measurement]:
    """Hold each number against its limit."""
    oracle = PageOracle.start()
    found = []
    frame = pd.DataFrame(np.random.default_rng(0).random((GIGABYTE_ROWS, 32)))
    found += unchanged(frame, oracle)
    found.append(memory(frame, oracle))
    for name, value in (
        ("numbers", frame),
        ("object strings", strings(4_000_000)),
        ("object strings, 1 % missing", strings(4_000_000, gaps=True)),
    ):
        found.append(speed_left(name, value, oracle))
    if oracle is not None:
        found.append(watched_write(oracle))
        oracle.stop()
    return found


def unchanged(frame: pd.DataFrame, oracle: PageOracle | None) -> list[Measurement]:
    """Measure what a 1 GB frame that did not change costs in the cell."""
    known = Known()
    hasher = new_hasher(oracle, known)
    first_s, told = timed(lambda: hasher.submit(frame, cell_wall_s=1e6, then=print_nothing))
    assert not told.digest
    assert hasher.wait(PATIENCE_S)
    others = [np.zeros(1000), {"a": [1, 2]}, pd.DataFrame({"a": [1]})]

    def unreached() -> Any:
        known.touched(others)
        return known.lookup(frame)

    rows = [
        Measurement(
            "1 GB frame that no cell reached",
            1000 * best(unreached, "carried:unreached"),
            1.0,
            "ms",
        )
    ]
    if oracle is not None:
        watched_s = best(
            lambda: hasher.submit(frame, cell_wall_s=0, then=print_nothing), "carried:pages"
        )
        rows.append(Measurement("1 GB frame, unchanged by its pages", 1000 * watched_s, 5.0, "ms"))
    rows.append(
        Measurement(
            "1 GB frame handed over the first time",
            1000 * first_s,
            20.0,
            "ms",
            note="in the user's cell, with what is loaded then",
        )
    )
    hasher.finish(0)
    return rows


def speed_left(name: str, value: Any, oracle: PageOracle | None) -> Measurement:
    """Count turns of a loop in this thread, alone and beside the hashing thread."""
    shares = []
    for _ in range(ROUNDS):
        hasher = new_hasher(oracle, None)
        alone = turns_while(lambda started: time.perf_counter() - started < 0.3)
        hasher.submit(value, cell_wall_s=1e6, then=print_nothing)
        beside = turns_while(
            lambda started, hasher=hasher: hasher.is_busy and time.perf_counter() - started < 10
        )
        hasher.finish(0)
        shares.append(beside / alone)
    return Measurement(
        f"speed left to another thread, {name}",
        median(shares),
        0.6,
        "of its own",
        more_is_better=True,
        note=f"least {min(shares):.2f}, most {max(shares):.2f}",
    )


def turns_while(goes_on: Callable[[float], bool]) -> float:
    """Turns a second of a loop that never lets go of the GIL by itself."""
    turns, started = 0, time.perf_counter()
    while goes_on(started):
        for _ in range(1000):
            turns += 1
    return turns / (time.perf_counter() - started)


def memory(frame: pd.DataFrame, oracle: PageOracle | None) -> Measurement:
    """Most memory of the process beside what it had before, while the frame is hashed."""
    hasher = new_hasher(oracle, None)
    hasher.submit(frame.iloc[:1000], cell_wall_s=1e6, then=print_nothing)
    assert hasher.wait(PATIENCE_S)
    before = peak = resident_mb()
    hasher.submit(frame, cell_wall_s=1e6, then=print_nothing)
    while hasher.is_busy:
        peak = max(peak, resident_mb())
        time.sleep(0.001)
    hasher.finish(0)
    return Measurement("extra memory, 1 GB frame", peak - before, 64.0, "MB")


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * mmap.PAGESIZE / 1e6


def watched_write(oracle: PageOracle) -> Measurement:
    """What it costs the user to overwrite an array that is watched."""
    array = np.random.default_rng(0).random(2**25)

    def fill() -> None:
        array.fill(1.0)

    fill()
    alone = min(timed(fill)[0] for _ in range(ROUNDS))
    watched = []
    for _ in range(ROUNDS):
        watch = oracle.arm([(array.ctypes.data, array.nbytes)])
        watched.append(timed(fill)[0])
        oracle.disarm(watch)
    return Measurement(
        "first overwriting of a watched array",
        min(watched) / alone,
        12.0,
        note=f"{1000 * min(watched):.0f} ms against {1000 * alone:.0f} ms",
    )


def strings(rows: int, *, gaps: bool = False) -> pd.DataFrame:
    """Make texts as objects, with gaps if asked for."""
    words = [f"word-{i}" for i in range(rows)]
    if gaps:
        words[::100] = [None] * len(words[::100])
    return pd.DataFrame({"word": pd.Series(words, dtype=object)})


def new_hasher(oracle: PageOracle | None, known: Known | None) -> Hasher:
    """Make a hasher that is inside of a cell, as in a session."""
    hasher = Hasher(oracle=oracle, known=known, harmless=threading.enumerate(), held_bytes=2**40)
    hasher.after_cell(())
    return hasher


def best(call: Callable[[], Any], assurance: str) -> float:
    """Seconds of the median of some calls, all with the assurance that is wanted."""
    times = []
    for _ in range(ROUNDS):
        seconds, found = timed(call)
        assert found is not None
        assert found.assurance == assurance, found.assurance
        times.append(seconds)
    return median(times)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call, and what it gave."""
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def print_nothing(_: Any) -> None:
    """Nobody waits for the result."""
