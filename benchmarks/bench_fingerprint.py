"""Fingerprints against one pass of xxh3_128 over the same bytes: ``python bench_fingerprint.py``.

Ratios of CPU time inside one process, the best of a few rounds each, so that they can be
compared between machines. The bytes of strings are those that they take in memory.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from xxhash import xxh3_128_digest

from measurement import Measurement
from mlops_nb.fingerprint import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = {
    "numeric frame": 2.5,
    "numeric frame, 1 % NaN": 8.0,
    "mixed frame": 5.0,
    "mixed frame, object strings": 17.0,
    "integer array": 1.3,
    "float array": 2.2,
    "float array, 1 % NaN": 5.0,
    "F-order array, 64 columns": 3.0,
    "F-order array, square": 10.0,
}
"""Greatest ratio allowed for each value."""


def cpu_s(call: Callable[[], object]) -> float:
    started = time.thread_time()
    call()
    return time.thread_time() - started


def ratio_to(unit: Callable[[], object], call: Callable[[], object], rounds: int = 7) -> float:
    """Compare the fastest of rounds that alternate, so that a busy moment hits both."""
    pairs = [(cpu_s(call), cpu_s(unit)) for _ in range(rounds)]
    return min(ours for ours, _ in pairs) / min(raw for _, raw in pairs)


def values(size_mb: int) -> dict[str, Callable[[], Any]]:
    n = size_mb * 1_000_000 // 8
    side = int(n**0.5)
    draw = np.random.default_rng(0)

    def floats() -> Any:
        return draw.standard_normal(n // 32 * 32)

    def gaps() -> Any:
        array = floats()
        array[::100] = np.nan
        return array

    return {
        "numeric frame": lambda: pd.DataFrame(floats().reshape(-1, 32)),
        "numeric frame, 1 % NaN": lambda: pd.DataFrame(gaps().reshape(-1, 32)),
        "mixed frame": lambda: mixed_frame(size_mb, draw, "str"),
        "mixed frame, object strings": lambda: mixed_frame(size_mb, draw, "object"),
        "integer array": lambda: draw.integers(0, 10**12, n),
        "float array": floats,
        "float array, 1 % NaN": gaps,
        "F-order array, 64 columns": lambda: np.asfortranarray(draw.random((n // 64, 64))),
        "F-order array, square": lambda: np.asfortranarray(draw.random((side, side))),
    }


def mixed_frame(size_mb: int, draw: np.random.Generator, text: str) -> pd.DataFrame:
    rows = size_mb * 1_000_000 // (96 if text == "str" else 190)
    amount = draw.standard_normal(rows)
    amount[draw.random(rows) < 0.01] = np.nan
    words = np.array([f"word-{i:06d}" for i in range(5_000)], object)
    cities = pd.Index([f"city {i}" for i in range(50)])
    frame = pd.DataFrame(
        {
            "amount": amount,
            "count": draw.integers(0, 1_000, rows),
            "items": draw.integers(0, 100, rows).astype("int32"),
            "paid": draw.random(rows) < 0.5,
            "at": pd.Timestamp("2026-01-01") + pd.to_timedelta(draw.integers(0, 10**6, rows), "s"),
            "city": pd.Categorical.from_codes(draw.integers(0, 50, rows), cities),
            "level": pd.Categorical.from_codes(draw.integers(0, 3, rows), ["a", "b", "c"]),
        }
    )
    # Every string an object of its own, as a reader of a file leaves them.
    first = [f"{w}-{i % 97}" for i, w in enumerate(words[draw.integers(0, 5_000, rows)])]
    frame["first"] = pd.Series(first, dtype=text)
    frame["second"] = pd.Series([f"{w}{i % 7}" for i, w in enumerate(first)], dtype=text)
    return frame


def size_bytes(value: Any) -> int:
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(index=False, deep=True).sum())
    return int(value.nbytes)


def extra_mb(value: Any) -> float:
    tracemalloc.start()
    fingerprint(value)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def small_values() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    return {
        "array 150 x 4": draw.random((150, 4)),
        "frame 500 x 30": pd.DataFrame(draw.random((500, 30))),
        "frame 1000 x 1000": pd.DataFrame(draw.random((1000, 1000))),
        "list of 10 numbers": list(range(10)),
    }


def measure() -> list[Measurement]:
    """Hold each ratio against its limit."""
    return [
        Measurement(
            f"fingerprint, {name}",
            one["ratio"],
            one["limit"],
            note=f"times xxh3_128 over {one['size_mb']:.0f} MB; +{one['extra_mb']:.0f} MB memory",
        )
        for name, one in costs()["ratios"].items()
    ]


def costs(size_mb: int = 256) -> dict[str, Any]:
    """Measure every value of `LIMITS`, and small ones in milliseconds.

    Returns
    -------
    dict
        ``ratios``: ``{name: {"ratio", "limit", "extra_mb", "size_mb"}}``; ``small_ms``.
    """
    ratios = {}
    for name, make in values(size_mb).items():
        value = make()
        size = size_bytes(value)
        raw = np.random.default_rng(1).integers(0, 255, size, np.uint8)
        ratios[name] = {
            "ratio": ratio_to(partial(xxh3_128_digest, raw), partial(fingerprint, value)),
            "limit": LIMITS[name],
            "extra_mb": extra_mb(value),
            "size_mb": size / 1e6,
        }
    small = {
        name: min(cpu_s(partial(fingerprint, value)) for _ in range(100)) * 1000
        for name, value in small_values().items()
    }
    return {"ratios": ratios, "small_ms": small}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mb", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = costs(options.size_mb)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for name, one in found["ratios"].items():
        mark = "" if one["ratio"] <= one["limit"] else "  OVER"
        memory = f"+{one['extra_mb']:.0f} MB"
        print(f"{name:30} {one['ratio']:6.2f} x  (<= {one['limit']})  {memory}{mark}")
    for name, milliseconds in found["small_ms"].items():
        print(f"{name:30} {milliseconds:8.3f} ms")


if __name__ == "__main__":
    main()
