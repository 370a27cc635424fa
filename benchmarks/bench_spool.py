"""How much `Spool.append_metric` costs against the least that any log on a file costs.

The raw limit packs the same record with msgpack, frames it with length and crc32, and writes it
with one `os.write` in a bare loop: no lock, no positions, no threads. Ours is measured alone and
beside a Python thread that never sleeps, both against the raw limit measured alone, which is the
harder comparison: beside a busy thread the raw loop has to win back the interpreter lock after
each write.

Run: python benchmarks/bench_spool.py
"""

from __future__ import annotations

import os
import statistics
import struct
import tempfile
import threading
import time
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgpack

from measurement import Measurement
from mlops_nb.store.spool import Spool, read_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 4.0
"""How many times the raw limit a call may take."""

_RUN, _EXECUTION, _AT_NS = "0123456789abcdef", "0" * 24, 1_700_000_000_000_000_000
_ROUNDS = 5


def measure() -> list[Measurement]:
    """Hold both ratios against the limit, and what was lost against nothing."""
    result = costs()
    raw = result["raw_us"]
    return [
        Measurement(
            f"a metric on the spool, against the raw limit{beside}",
            result[ours] / raw,
            LIMIT,
            note=f"{result[ours]:.2f} µs against {raw:.2f} µs",
        )
        for beside, ours in (("", "ours_us"), (", beside a busy thread", "ours_busy_us"))
    ] + [Measurement("records not found in the spool afterwards", result["lost"], 0, unit="")]


def costs(calls: int = 100_000) -> dict[str, float]:
    """Measure all cases, their rounds interleaved.

    Parameters
    ----------
    calls
        In each round of a loop.

    Returns
    -------
    dict
        ``raw_us``, ``raw_busy_us``, ``ours_us``, ``ours_busy_us``: microseconds a call, median of
        the rounds; ``ratio`` and ``busy_ratio``: ours to the raw limit measured alone;
        ``lost``: records that were not found in the spool afterwards, which must be 0.
    """
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = Spool.create(folder / "spool", "bench", state_dir=folder / "state")
        for _ in range(_ROUNDS):
            times.setdefault("ours_us", []).append(_ours(spool, calls))
            times.setdefault("raw_us", []).append(_raw(folder / "raw", calls))
            with _busy_thread():
                times.setdefault("ours_busy_us", []).append(_ours(spool, calls))
        with _busy_thread():  # milliseconds a call, so few of them
            times["raw_busy_us"] = [_raw(folder / "raw", max(calls // 1000, 10))]
        spool.close()
        found = sum(1 for _ in read_events(spool.folder))
    result = {key: statistics.median(values) for key, values in times.items()}
    result["ratio"] = result["ours_us"] / result["raw_us"]
    result["busy_ratio"] = result["ours_busy_us"] / result["raw_us"]
    result["lost"] = float(2 * _ROUNDS * calls - found)
    return result


def _ours(spool: Spool, calls: int) -> float:
    append = spool.append_metric

    def loop() -> None:
        for step in range(calls):
            append(_RUN, "loss", 0.5, step, _AT_NS + step, _EXECUTION, "explicit", None)

    return _per_call_us(loop, calls)


def _raw(path: Path, calls: int) -> float:
    pack, frame, checksum, write = msgpack.packb, struct.Struct("<II").pack, zlib.crc32, os.write
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)

    def loop() -> None:
        for step in range(calls):
            data = pack((12, _RUN, "loss", 0.5, step, _AT_NS + step, _EXECUTION, "explicit", None))
            write(descriptor, frame(len(data), checksum(data)) + data)

    try:
        return _per_call_us(loop, calls)
    finally:
        os.close(descriptor)


def _per_call_us(loop: Callable[[], None], calls: int) -> float:
    begin = time.perf_counter()
    loop()
    return (time.perf_counter() - begin) / calls * 1e6


@contextmanager
def _busy_thread() -> Iterator[None]:
    is_over = False

    def count() -> None:
        number = 0
        while not is_over:
            number += 1

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over = True
        thread.join()


def main() -> int:
    """Print the table; 1 if a ratio is over the limit."""
    result = costs()
    raw = result["raw_us"]
    rows = [
        ("raw limit", result["raw_us"]),
        ("ours", result["ours_us"]),
        ("raw limit beside a busy thread", result["raw_busy_us"]),
        ("ours beside a busy thread", result["ours_busy_us"]),
    ]
    print(f"{'log_metric':34}{'us a call':>12}{'x raw limit':>14}")
    for name, value in rows:
        print(f"{name:34}{value:12.2f}{value / raw:14.2f}")
    print(f"limit {LIMIT:.1f}; records lost: {result['lost']:.0f}")
    is_good = max(result["ratio"], result["busy_ratio"]) <= LIMIT and not result["lost"]
    return 0 if is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
