"""Writing into one store: what a call costs its caller, how soon it can be read, what is lost.

Each workload runs in processes of its own, by the functions that people call. The raw limit of a
call packs the same record with msgpack, frames it with length and crc32, and writes it with one
`os.write`; calls are timed one by one on both sides, in turns.

Run: python benchmarks/bench_store_writers.py
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALLS, RUNS = 100_000, 100
PROCESSES, POINTS_EACH = 8, 20_000
_ROUNDS = 5
_SHOWN_EVERY = 100
_LONGEST_S = 300


def measure() -> list[Measurement]:
    """Measure one caller, then eight at once, then one that is killed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calls = _answer("calls", folder)
        runs = _answer("runs", folder)
        drained = _answer("drain", folder)
        return [
            *_calls(*calls),
            Measurement("start, log and end a run", runs[0], 1, unit="ms", note=_OF_A_RUN),
            Measurement(
                "points a second until they can be queried",
                drained[0],
                100_000,
                unit="",
                more_is_better=True,
                note=f"{CALLS:,} points from the spool into the store",
            ),
            *_eight_writers(folder / "eight"),
            *_killed(folder / "killed"),
        ]


_OF_A_RUN = f"mean of {RUNS} runs with 10 parameters, 5 metrics, 2 tags"


def _calls(ours: list[float], raw: list[float]) -> list[Measurement]:
    (median, high), (raw_median, _) = ours, raw
    return [
        Measurement(
            "mn.log_metric, median of a call against raw",
            median / raw_median,
            4,
            note=f"{median:.2f} µs against {raw_median:.2f} µs",
        ),
        Measurement(
            "mn.log_metric, 99th percentile against its median",
            high / median,
            10,
            note=f"{high:.2f} µs against {median:.2f} µs, of {CALLS:,} calls",
        ),
    ]


def _answer(workload: str, folder: Path) -> list:
    """Run a workload of this file in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, workload, folder / workload],
        check=True,
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        env=_environment(folder / workload),
    )
    return json.loads(done.stdout.splitlines()[-1])


def _environment(folder: Path) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    given = {"MLOPS_NB_STORE": str(folder / ".mlops"), "XDG_STATE_HOME": str(folder / "state")}
    return {**os.environ, **given}


# --- one caller -------------------------------------------------------------------------------


def time_calls(folder: Path) -> list[list[float]]:
    """Time each call of ours and of the raw limit: median and 99th percentile, in microseconds."""
    import mlops_nb as mn

    ours: list[int] = []
    raw: list[int] = []
    with mn.run("bench"), _raw_log(folder / "raw") as log_raw:
        for _ in range(_ROUNDS):
            ours += _times(mn.log_metric, CALLS // _ROUNDS)
            raw += _times(log_raw, CALLS // _ROUNDS)
    return [_median_and_high(ours), _median_and_high(raw)]


def _times(log: Callable[..., None], calls: int) -> list[int]:
    clock, times = time.perf_counter_ns, [0] * calls
    for step in range(calls):
        begin = clock()
        log("loss", 0.5, step)
        times[step] = clock() - begin
    return times


def _median_and_high(times: list[int]) -> list[float]:
    return [statistics.median(times) / 1e3, sorted(times)[len(times) * 99 // 100] / 1e3]


@contextlib.contextmanager
def _raw_log(path: Path) -> Iterator[Callable[[str, float, int], None]]:
    """Write records of the same size, as little as a log on a file has to do."""
    import msgpack

    pack, frame, write = msgpack.packb, struct.Struct("<II").pack, os.write
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def log(key: str, value: float, step: int) -> None:
        now = time.time_ns()
        data = pack((12, "0123456789abcdef", key, value, step, now, "0" * 24, "explicit", None))
        write(descriptor, frame(len(data), zlib.crc32(data)) + data)

    try:
        yield log
    finally:
        os.close(descriptor)


def time_runs(folder: Path) -> list[float]:
    """Time whole runs, in milliseconds each."""
    import mlops_nb as mn

    def one(number: int) -> None:
        with mn.run("bench", tags={"stage": "dev", "team": "north"}):
            for i in range(10):
                mn.log_param(f"p{i}", number + i)
            for i in range(5):
                mn.log_metric(f"m{i}", number / (i + 1))

    one(0)  # begins the session, which is not of the run
    best = float("inf")
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        for number in range(RUNS):
            one(number)
        best = min(best, (time.perf_counter() - begin) / RUNS)
    return [best * 1e3]


def time_drain(folder: Path) -> list[float]:
    """Count the points a second from a spool into a store, until a reader has them."""
    from mlops_nb.model import RunStarted
    from mlops_nb.store import Store
    from mlops_nb.store.intake.drain import drain
    from mlops_nb.store.spool import Spool

    best, run = 0.0, "0123456789abcdef"
    for turn in range(_ROUNDS):
        place = folder / str(turn)
        with Store.open(place / ".mlops", create=True) as store:
            spool = Spool.create(place / ".mlops" / "spool", "s", state_dir=place / "state")
            spool.append(RunStarted(run, time.time_ns(), "bench", "cell", session="s"))
            for step in range(CALLS):
                spool.append_metric(run, "loss", 1 / (step + 1), step, time.time_ns(), "0" * 24)
            begin = time.perf_counter()
            drain(store, state_dir=place / "state")
            found = len(store.series(run, "loss").values)
            best = max(best, found / (time.perf_counter() - begin))
            spool.close()
    return [best]


# --- many callers, and one that dies ----------------------------------------------------------


def write_points(folder: Path, count: int = POINTS_EACH) -> list[int]:
    """Log points, and say after each hundred how many calls have returned."""
    import mlops_nb as mn

    with mn.run(f"writer {os.getpid()}"):
        for step in range(count):
            mn.log_metric("loss", 1 / (step + 1), step)
            if step % _SHOWN_EVERY == _SHOWN_EVERY - 1:
                print(step + 1, flush=True)
    return [count]


def _start_writer(folder: Path, workload: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, workload, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(folder),
    )


def _eight_writers(folder: Path) -> list[Measurement]:
    begin = time.perf_counter()
    writers = [_start_writer(folder, "write") for _ in range(PROCESSES)]
    complaints = "".join(writer.communicate(timeout=_LONGEST_S)[1] for writer in writers)
    steps = _steps_in(folder)
    took_s = time.perf_counter() - begin
    lost = PROCESSES * POINTS_EACH - sum(len(found) for found in steps)
    logs = "".join(p.read_text() for p in folder.rglob("*.log")) + complaints
    note = f"{PROCESSES} processes, {POINTS_EACH:,} points each, {took_s:.1f} s until readable"
    return [
        Measurement("points lost by eight writers of one store", lost, 0, unit="", note=note),
        Measurement('times that one of them heard "locked"', logs.count("locked"), 0, unit=""),
    ]


def _killed(folder: Path) -> list[Measurement]:
    """Kill a writer with signal 9 in the middle, and look for what it had been told is kept."""
    writer = _start_writer(folder, "write-many")
    returned = 0
    for line in writer.stdout or ():
        returned = int(line)
        if returned >= CALLS // 2:
            break
    writer.send_signal(signal.SIGKILL)
    for line in (writer.communicate(timeout=_LONGEST_S)[0] or "").splitlines():
        returned = max(returned, int(line))
    counts = Counter(step for steps in _steps_in(folder) for step in steps)
    lost = sum(1 for step in range(returned) if not counts[step])
    doubled = sum(1 for count in counts.values() if count > 1)
    note = f"killed after {returned:,} of {CALLS:,} calls had returned"
    return [
        Measurement(
            "points lost by a kill -9 whose call had returned", lost, 0, unit="", note=note
        ),
        Measurement("points doubled by it", doubled, 0, unit=""),
    ]


def _steps_in(folder: Path) -> list[list[int]]:
    """Give the steps of each run's series, once everything is taken in."""
    from mlops_nb.store import Store
    from mlops_nb.store.intake.drain import drain

    with Store.open(folder / ".mlops", create=True) as store:
        drain(store, state_dir=folder / "state" / "mlops_nb")
        return [store.series(run.id, "loss").steps.tolist() for run in store.runs()]


WORKLOADS = {
    "calls": time_calls,
    "runs": time_runs,
    "drain": time_drain,
    "write": write_points,
    "write-many": lambda folder: write_points(folder, CALLS),
}

if __name__ == "__main__":
    if len(sys.argv) == 3:
        answer = WORKLOADS[sys.argv[1]](Path(sys.argv[2]))
        print(json.dumps(answer))
    else:
        for row in measure():
            print(f"{row.name:50} {row.value:10.3f} {row.unit} (bar {row.bar:,})  {row.note}")
