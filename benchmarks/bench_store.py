"""Reading a store with years of runs in it, against raw `sqlite3` over the same tables.

Both sides give the same DataFrame or arrays; that is checked before anything is measured. What
is measured is CPU time, in turns, the fastest round of each: nothing here waits for a disk.

Run: python benchmarks/bench_store.py
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from made_stores import made_points, write_rows, write_series

import mlops_nb as mn
from measurement import Measurement
from mlops_nb.store import Store
from mlops_nb.store.reading.series import CHUNK_POINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FEW, MANY, POINTS = 10_000, 100_000, 1_000_000
QUERY = "metrics.auc >= 0.8 and params.lr > 0.001 and params.depth <= 8 order by metrics.auc desc"
_ROUNDS = 5
_ABOUT = ("id", "name", "status", "kind", "experiment", "attempt", "parent", "notebook")


def measure() -> list[Measurement]:
    """Measure queries, tables of runs, and series."""
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name, "few"), Path(name, "many")
        write_rows(few, FEW)
        write_rows(many, MANY)
        return [*_queries(few, many), _everything(few), *_series(Path(name, "series"))]


# --- the best 50 of many runs -----------------------------------------------------------------


def _queries(few: Path, many: Path) -> list[Measurement]:
    """Filter by a metric and two parameters, and take the best 50 as a DataFrame."""
    with _store_of(few):
        _check(_best_by_hand(few), mn.runs(QUERY, limit=50).df)
    raw, ours, ours_of_many = _fastest(
        lambda: _best_by_hand(few), lambda: _best_of(few), lambda: _best_of(many)
    )
    times = f"{ours * 1e3:.1f} ms against {raw * 1e3:.1f} ms"
    growth = f"{ours_of_many * 1e3:.1f} ms against {ours * 1e3:.1f} ms"
    return [
        Measurement(f"best 50 of {FEW:,} runs as a DataFrame", ours / raw, 2, note=times),
        Measurement(f"the same of {MANY:,} runs", ours_of_many / ours, 2, note=growth),
    ]


def _best_of(folder: Path) -> None:
    with _store_of(folder):
        _ = mn.runs(QUERY, limit=50).df


def _best_by_hand(folder: Path) -> pd.DataFrame:
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        about = ", ".join(f"runs.{name}" for name in _ABOUT)
        rows = connection.execute(
            f"SELECT {about}, runs.started_at, runs.ended_at, runs.busy_s FROM runs "
            "JOIN metrics m ON m.run = runs.id AND m.key = 'auc' "
            "JOIN params a ON a.run = runs.id AND a.key = 'lr' "
            "JOIN params b ON b.run = runs.id AND b.key = 'depth' "
            "WHERE m.value >= 0.8 AND a.number > 0.001 AND b.number <= 8 "
            "ORDER BY m.value DESC LIMIT 50"
        ).fetchall()
        ids = tuple(row[0] for row in rows)
        where = f"WHERE run IN ({', '.join('?' * len(ids))})"
        return _frame(rows, *_named(connection, where, ids))


# --- all runs ---------------------------------------------------------------------------------


def _everything(folder: Path) -> Measurement:
    """Read all runs as one DataFrame."""

    def by_hand() -> pd.DataFrame:
        with closing(sqlite3.connect(folder / "store.db")) as connection:
            about = ", ".join(_ABOUT)
            rows = connection.execute(
                f"SELECT {about}, started_at, ended_at, busy_s FROM runs "
                "ORDER BY started_at DESC, id DESC"
            ).fetchall()
            return _frame(rows, *_named(connection))

    def ours() -> pd.DataFrame:
        with _store_of(folder):
            return mn.runs(limit=None).df

    _check(by_hand(), ours())
    raw, mine = _fastest(by_hand, ours)
    times = f"{mine * 1e3:.0f} ms against {raw * 1e3:.0f} ms"
    return Measurement(f"all {FEW:,} runs as a DataFrame", mine / raw, 0.5, note=times)


def _named(connection: sqlite3.Connection, where: str = "", ids: tuple = ()) -> list[list]:
    """Fetch parameters, metrics and tags as rows; the values of parameters are JSON."""
    tables = [
        connection.execute(f"SELECT run, key, value FROM {table} {where}", ids).fetchall()
        for table in ("params", "metrics", "tags")
    ]
    tables[0] = [(run, key, v if v is None else json.loads(v)) for run, key, v in tables[0]]
    return tables


def _frame(rows: list, params: list, metrics: list, tags: list) -> pd.DataFrame:
    """Make the table by pivoting, as one does with rows."""
    names = [*_ABOUT, "started_at", "ended_at", "busy_s"]
    frame = pd.DataFrame(rows, columns=names).set_index("id")
    seconds = (frame.pop("ended_at") - frame["started_at"]) / 1e9
    frame["started_at"] = pd.to_datetime(frame["started_at"], unit="ns", utc=True)
    frame["duration_s"] = seconds
    for kind, named in (("params", params), ("metrics", metrics), ("tags", tags)):
        wide = pd.DataFrame(named, columns=["run", "key", "value"])
        wide = wide.pivot(index="run", columns="key", values="value")  # noqa: PD010
        frame = frame.join(wide.add_prefix(f"{kind}."))
    return frame.infer_objects()


def _check(raw: pd.DataFrame, ours: pd.DataFrame) -> None:
    """Raise unless both tables hold the same."""
    pd.testing.assert_frame_equal(
        raw[sorted(raw)].astype(object).where(raw.notna(), None),
        ours[sorted(ours)].astype(object).where(ours.notna(), None),
        check_names=False,
        check_index_type=False,
        check_column_type=False,
    )


# --- one long series --------------------------------------------------------------------------


def _series(folder: Path) -> list[Measurement]:
    """Read steps, values and times of a long series as arrays."""
    write_rows(folder, 1)
    points = made_points(POINTS)
    with Store.open(folder) as store:
        run = store.get_run("@-1").id
        write_series(folder, run, "loss", points)
        with closing(sqlite3.connect(folder / "raw.db")) as connection:
            _write_raw(connection, points)
            _check_series(store, run, connection)
            raw, ours, shown = _fastest(
                lambda: _read_raw(connection),
                lambda: store.series(run, "loss"),
                lambda: store.series(run, "loss", points=1000),
            )
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        query = "SELECT sum(length(data) + length(spans)) FROM metric_chunks"
        (size_bytes,) = connection.execute(query).fetchone()
    times = f"{ours * 1e3:.1f} ms against {raw * 1e3:.1f} ms; as 1,000 points {shown * 1e3:.1f} ms"
    return [
        Measurement(f"a series of {POINTS:,} points as arrays", ours / raw, 1.5, note=times),
        Measurement("what a point of it takes on the disk", size_bytes / POINTS, 16, unit="bytes"),
    ]


def _write_raw(connection: sqlite3.Connection, points) -> None:
    connection.execute("CREATE TABLE raw (seq INTEGER PRIMARY KEY, s BLOB, v BLOB, t BLOB)")
    for part in points.split(CHUNK_POINTS):
        values = [column.tobytes() for column in (part.steps, part.values, part.at_ns)]  # noqa: PD011
        connection.execute("INSERT INTO raw (s, v, t) VALUES (?, ?, ?)", values)
    connection.commit()


def _read_raw(connection: sqlite3.Connection) -> list[np.ndarray]:
    chunks = connection.execute("SELECT s, v, t FROM raw ORDER BY seq").fetchall()
    columns = zip(("<i8", "<f8", "<i8"), zip(*chunks, strict=True), strict=True)
    return [np.frombuffer(b"".join(column), kind) for kind, column in columns]


def _check_series(store: Store, run: str, connection: sqlite3.Connection) -> None:
    series = store.series(run, "loss")
    ours = (series.steps, series.values, series.at_ns)  # noqa: PD011
    for raw, mine in zip(_read_raw(connection), ours, strict=True):
        assert np.array_equal(raw, mine)


# --- measuring --------------------------------------------------------------------------------


def _fastest(*actions: Callable[[], object]) -> list[float]:
    """Give the CPU seconds of each action, the fastest of rounds in turns."""
    best = [float("inf")] * len(actions)
    for _ in range(_ROUNDS):
        for i, action in enumerate(actions):
            begin = time.process_time()
            action()
            best[i] = min(best[i], time.process_time() - begin)
    return best


@contextmanager
def _store_of(folder: Path) -> Iterator[None]:
    """Let `mn.runs` read a store, as in a notebook that was just opened."""
    before = os.environ.get("MLOPS_NB_STORE")
    os.environ["MLOPS_NB_STORE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLOPS_NB_STORE"]
        else:
            os.environ["MLOPS_NB_STORE"] = before


if __name__ == "__main__":
    for row in measure():
        print(f"{row.name:45} {row.value:8.3f} {row.unit} (bar {row.bar})  {row.note}")
