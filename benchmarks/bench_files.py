"""What following files costs: each cell, `open` in a loop, a large file in the background."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from measurement import Measurement

CELLS, LOOPS, FILES = 400, 15, 2_000
CELL = "\n".join(f"value_{i} = table['column'].mean() + {i}" for i in range(15)) + "\nshow('done')"


def measure() -> list[Measurement]:
    """Per cell in microseconds; loops as ratios to the same loop without us."""
    return [*cell_costs(), *open_costs(), hash_cost()]


def new_watch(folder: str, **given):
    """Make a watch as a session has it."""
    from mlops_nb.autolog.readers import watch_files

    return watch_files([folder], lambda event: None, **given)


def cell_costs():
    """CPU time of the user's thread around a cell of 16 lines that names a file, or none."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        pd.DataFrame({"a": [1]}).to_csv(f"{folder}/a.csv")
        watch = new_watch(folder)
        watch.start()
        for name, source, bar in (
            ("a cell without files", CELL, 60),
            ("a cell that names a file", CELL + f"\nload('{folder}/a.csv')", 150),
        ):
            times = [around_cell_us(watch, source) for _ in range(CELLS)]
            value = statistics.median(times)
            note = f"95 % below {statistics.quantiles(times, n=20)[-1]:.0f} us"
            yield Measurement(f"files, {name}", value, bar, unit=" us", note=note)
            watch.flush()
        watch.stop()


def around_cell_us(watch, source: str) -> float:
    """Microseconds that the watch takes around one cell."""
    event = SimpleNamespace(source=source, transformed=None)
    names = SimpleNamespace(reads=("table", "show"), binds=("value_0",))
    live = SimpleNamespace(id="e", event=event, names=names)
    values = {"table": [1], "value_0": 1.0}
    start = time.thread_time_ns()
    watch.cell_started(live, values.get)
    middle = time.thread_time_ns()
    middle_2 = time.thread_time_ns()
    watch.cell_ended(live, values.get)
    return (time.thread_time_ns() - middle_2 + middle - start) / 1e3


def open_costs():
    """Wall time of a loop of opening, reading and closing, watched and not, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}" for number in range(FILES)]
        for path in paths:
            Path(path).write_bytes(b"x" * 1_000)
        for name, chosen, bar in (
            ("one file again and again", paths[:1] * FILES, 1.5),
            ("2,000 files", paths, 1.6),
        ):
            plain, watched = [], []
            for _ in range(LOOPS):
                plain.append(loop_ms(chosen))
                watched.append(watched_loop_ms(folder, chosen))
            low, high = statistics.median(plain), statistics.median(watched)
            note = f"{high * 1e3 / FILES:.1f} us against {low * 1e3 / FILES:.1f} us each"
            yield Measurement(f"files, open in a loop, {name}", high / low, bar, note=note)


def loop_ms(paths) -> float:
    """Milliseconds of a loop that opens files."""
    start = time.perf_counter()
    for path in paths:
        with open(path, "rb") as file:  # noqa: PTH123  # what is measured
            file.read()
    return (time.perf_counter() - start) * 1e3


def watched_loop_ms(folder: str, paths) -> float:
    """The same while a watch is on."""
    watch = new_watch(folder)
    watch.start()
    live = SimpleNamespace(
        id="e",
        event=SimpleNamespace(source="", transformed=None),
        names=SimpleNamespace(reads=(), binds=()),
    )
    watch.cell_started(live)
    took = loop_ms(paths)
    watch.cell_ended(live)
    watch.stop()
    return took


def hash_cost():
    """CPU time to hash 256 MB of a file that is in memory, to one pass of xxh3_128 over it."""
    from xxhash import xxh3_128

    from mlops_nb.capture.files.digest import Digests

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bin"
        data = os.urandom(1 << 20) * 256
        path.write_bytes(data)
        time.sleep(0.05)
        ours, bare = [], []
        for _ in range(7):
            start = time.thread_time()
            xxh3_128(data).digest()
            bare.append(time.thread_time() - start)
            start = time.thread_time()
            Digests().content(str(path))
            ours.append(time.thread_time() - start)
        low, high = statistics.median(bare), statistics.median(ours)
        note = f"{high * 1e3:.0f} ms against {low * 1e3:.0f} ms for 256 MB"
        return Measurement("files, digest of a file in memory", high / low, 8, note=note)


if __name__ == "__main__":
    for measurement in measure():
        print(measurement)
