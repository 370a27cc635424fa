"""Fingerprints against one pass of xxh3_128 over the same bytes: ``python bench_fingerprint.py``.

Ratios of CPU time inside one process, the best of a few rounds each, so that they can be
compared between machines. The bytes of strings are those that they take in memory.

``.venv-bench/bin/python benchmarks/bench_fingerprint.py --peers`` adds what others offer for the
same purpose: joblib, dask, and the hashing of pandas and Polars themselves. They get the same
values; only where one would take seconds, it gets the first sixteenth, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
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
    "Polars frame": 5.0,
    "integer array": 1.3,
    "float array": 2.2,
    "float array, 1 % NaN": 5.0,
    "F-order array, 64 columns": 3.0,
    "F-order array, square": 10.0,
}
"""Greatest ratio allowed for each value."""

MEMORY_LIMIT_MB = 64

PEER_LIMIT_S = 1.5
"""What another library may take for one value, so that all of them take a minute."""

_PART = 16


def cpu_s(call: Callable[[], object]) -> float:
    """CPU seconds of one call, of the whole process."""
    # Of the process: a peer may compute in several threads.
    started = time.process_time()
    call()
    return time.process_time() - started


def ratio_to(unit: Callable[[], object], call: Callable[[], object], rounds: int = 7) -> float:
    """Compare the fastest of rounds that alternate, so that a busy moment hits both."""
    pairs = [(cpu_s(call), cpu_s(unit)) for _ in range(rounds)]
    return min(ours for ours, _ in pairs) / min(raw for _, raw in pairs)


def values(size_mb: int) -> dict[str, Callable[[], Any]]:
    """Make the large objects that are measured."""
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
        "Polars frame": lambda: pl.from_pandas(mixed_frame(size_mb, draw, "str")),
        "integer array": lambda: draw.integers(0, 10**12, n),
        "float array": floats,
        "float array, 1 % NaN": gaps,
        "F-order array, 64 columns": lambda: np.asfortranarray(draw.random((n // 64, 64))),
        "F-order array, square": lambda: np.asfortranarray(draw.random((side, side))),
    }


def mixed_frame(size_mb: int, draw: np.random.Generator, text: str) -> pd.DataFrame:
    """Make a frame of numbers, times, categories and texts."""
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
    """Bytes of the buffers of a value."""
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(index=False, deep=True).sum())
    if isinstance(value, pl.DataFrame):
        # Each text has a view of 16 bytes, which Polars does not count.
        views = sum(len(one) * 16 for one in value.get_columns() if one.dtype == pl.String)
        return int(value.estimated_size()) + views
    return int(value.nbytes)


def extra_mb(value: Any) -> float:
    """Measure how much more memory was in use at the worst moment, in whatever library.

    What Python and NumPy asked for is traced, as they may have got it out of what the process
    had kept; what Arrow and Polars asked for shows only in the size of the process.
    """
    # What is only loaded for such a value is not counted.
    fingerprint(value[:100])
    call = partial(fingerprint, value)
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    traced = traced_mb(call)
    if not status.exists():
        return traced

    def field_mb(name: str) -> float:
        lines = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines())
        return int(lines[name].split()[0]) / 1024

    reset.write_text("5")
    before = field_mb("VmRSS")
    call()
    return max(traced, field_mb("VmHWM") - before)


def traced_mb(call: Callable[[], object]) -> float:
    """Most memory that Python takes during a call, in MB."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def small_values() -> dict[str, Any]:
    """Make small objects, where what counts is the cost of a call."""
    draw = np.random.default_rng(0)
    return {
        "array 150 x 4": draw.random((150, 4)),
        "frame 500 x 30": pd.DataFrame(draw.random((500, 30))),
        "frame 1000 x 1000": pd.DataFrame(draw.random((1000, 1000))),
        "list of 10 numbers": list(range(10)),
        "array 500 x 10": draw.random((500, 10)),
        "500 integers": draw.integers(0, 100, 500),
        "frame 500 x 10": pd.DataFrame(draw.random((500, 10)), columns=list("abcdefghij")),
        "mixed frame 500 x 20": small_mixed_frame(draw),
    }


def small_mixed_frame(draw: np.random.Generator) -> pd.DataFrame:
    """Make a frame of twenty short columns: numbers, texts, categories and times."""
    texts = [f"word {i}" for i in range(50)]
    kinds = {
        "float": lambda: draw.random(500),
        "int": lambda: draw.integers(0, 100, 500),
        "category": lambda: pd.Categorical.from_codes(draw.integers(0, 3, 500), list("abc")),
        "text": lambda: pd.Series(draw.choice(texts, 500), dtype="str"),
        "time": lambda: pd.date_range("2026-01-01", periods=500, freq="h"),
    }
    return pd.DataFrame({f"{kind} {i}": make() for i in range(4) for kind, make in kinds.items()})


# --- what others offer ------------------------------------------------------------------------


def by_joblib(value: Any) -> object:
    """Hash as joblib does."""
    import joblib

    return joblib.hash(value)


def by_dask(value: Any) -> object:
    """Hash as dask does."""
    from dask.base import tokenize

    return tokenize(value)


def by_pandas(value: Any) -> object:
    """Hash with what the library of the value has itself."""
    if isinstance(value, pl.DataFrame):
        return value.hash_rows()
    if isinstance(value, np.ndarray):
        return xxh3_128_digest(pd.util.hash_array(value.reshape(-1)))
    return xxh3_128_digest(pd.util.hash_pandas_object(value).to_numpy())


PEERS = {"joblib": by_joblib, "dask": by_dask, "its own": by_pandas}


def peer_costs(value: Any, unit: Callable[[], object]) -> dict[str, dict[str, float] | None]:
    """Measure the ratio of each peer, and of how many bytes; None for one not installed.

    A sixteenth is measured first. It tells how long the whole will take, and stands for it where
    that is too long.
    """
    unit_s = min(cpu_s(unit) for _ in range(3))
    part = value[: len(value) // _PART]
    found: dict[str, dict[str, float] | None] = {}
    for name, peer in PEERS.items():
        try:
            part_s = min(cpu_s(partial(peer, part)) for _ in range(2))
        except ImportError:
            found[name] = None
            continue
        measured, ratio = part, part_s * _PART / unit_s
        if part_s * _PART <= PEER_LIMIT_S:
            measured, ratio = value, ratio_to(unit, partial(peer, value), 1)
        found[name] = {"ratio": ratio, "size_mb": size_bytes(measured) / 1e6}
    return found


def shown(peer: dict[str, float] | None, size_mb: float) -> str:
    """Write a peer's ratio, with a mark if it got only a part of the value."""
    if peer is None:
        return "–"
    return f"{peer['ratio']:.1f}{'' if peer['size_mb'] == size_mb else '*'}"


# --- the table --------------------------------------------------------------------------------


def measure() -> list[Measurement]:
    """Hold each ratio and each memory against its limit."""
    found = costs()
    rows = []
    for name, one in found["ratios"].items():
        note = f"times xxh3_128 over {one['size_mb']:.0f} MB"
        rows.append(Measurement(f"fingerprint, {name}", one["ratio"], one["limit"], note=note))
    worst = max(found["ratios"], key=lambda name: found["ratios"][name]["extra_mb"])
    most = found["ratios"][worst]["extra_mb"]
    rows.append(
        Measurement("fingerprint, extra memory", most, MEMORY_LIMIT_MB, unit="MB", note=worst)
    )
    wide = Measurement(
        "fingerprint, frame of 1,000 x 1,000, to joblib.hash",
        found["wide_to_joblib"],
        1.0,
        note="of the same frame",
    )
    return [*rows, wide]


def costs(size_mb: int = 256, *, with_peers: bool = False) -> dict[str, Any]:
    """Measure every value of `LIMITS`, and small ones in milliseconds.

    Returns
    -------
    dict
        ``ratios``: ``{name: {"ratio", "limit", "extra_mb", "size_mb", "peers"}}``, each peer as
        in `peer_costs`; ``small_ms``; ``wide_to_joblib``.
    """
    ratios = {}
    for name, make in values(size_mb).items():
        value = make()
        size = size_bytes(value)
        raw = np.random.default_rng(1).integers(0, 255, size, np.uint8)
        unit = partial(xxh3_128_digest, raw)
        # First, as memory that was used once is not asked for again.
        memory = extra_mb(value)
        ratios[name] = {
            "ratio": ratio_to(unit, partial(fingerprint, value)),
            "limit": LIMITS[name],
            "extra_mb": memory,
            "size_mb": size / 1e6,
            "peers": peer_costs(value, unit) if with_peers else {},
        }
    small = {
        name: min(cpu_s(partial(fingerprint, value)) for _ in range(100)) * 1000
        for name, value in small_values().items()
    }
    wide = small_values()["frame 1000 x 1000"]
    to_joblib = ratio_to(partial(by_joblib, wide), partial(fingerprint, wide), 20)
    return {"ratios": ratios, "small_ms": small, "wide_to_joblib": to_joblib}


def main() -> None:
    """Print the table, with other libraries beside ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mb", type=int, default=256)
    parser.add_argument("--peers", action="store_true", help="measure what others offer too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = costs(options.size_mb, with_peers=options.peers)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    heads = ["ours", "at most", "memory", *(PEERS if options.peers else [])]
    print(f"{'times xxh3_128':30}" + "".join(f"{head:>10}" for head in heads))
    for name, one in found["ratios"].items():
        peers = "".join(f"{shown(peer, one['size_mb']):>10}" for peer in one["peers"].values())
        mark = "" if one["ratio"] <= one["limit"] else "  OVER"
        memory = f"+{one['extra_mb']:.0f} MB"
        print(f"{name:30}{one['ratio']:10.2f}{one['limit']:10.1f}{memory:>10}{peers}{mark}")
    print(f"{'frame 1000 x 1000, to joblib':30}{found['wide_to_joblib']:10.2f}{1.0:10.1f}")
    for name, milliseconds in found["small_ms"].items():
        print(f"{name:30}{milliseconds:10.3f} ms")
    if options.peers:
        print(f"* Measured with the first sixteenth; the whole would take over {PEER_LIMIT_S} s.")


if __name__ == "__main__":
    main()
