"""A made store is what a lived-in one would be: every row that it has, and no other."""

import itertools
import sqlite3
import sys
from pathlib import Path

import pytest

from mlops_nb.store import Store

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
made_stores = pytest.importorskip("made_stores")


def rows_of(folder):
    """All rows of all tables, whatever their order."""
    with sqlite3.connect(folder / "store.db") as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
        ]
        return {
            name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"')))  # noqa: S608
            for name in names
        }


def indexes_of(folder):
    with sqlite3.connect(folder / "store.db") as connection:
        return set(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'"))


def test_rows_written_directly_are_those_that_events_lead_to(tmp_path):
    count = 2 * made_stores.RUNS_OF_A_SESSION + 3
    made_stores.write_rows(tmp_path / "made", count)
    with Store.open(tmp_path / "lived", create=True) as store:
        events = made_stores.events_of(made_stores.made_runs(count))
        while batch := list(itertools.islice(events, 500)):
            store.apply(batch)
    made, lived = rows_of(tmp_path / "made"), rows_of(tmp_path / "lived")
    assert len(made["params"]) == count * made_stores.PARAMS
    assert len(made["metrics"]) == count * made_stores.METRICS
    assert made == lived
    assert indexes_of(tmp_path / "made") == indexes_of(tmp_path / "lived")


def test_a_series_written_directly_reads_as_it_was_made(tmp_path):
    made_stores.write_rows(tmp_path / "made", 1)
    run = next(made_stores.made_runs(1)).id
    points = made_stores.made_points(70_000)
    made_stores.write_series(tmp_path / "made", run, "loss", points)
    with Store.open(tmp_path / "made") as store:
        series, metric = store.series(run, "loss"), store.get_run(run).metrics["loss"]
    assert (series.steps.tolist(), series.at_ns.tolist()) == (
        list(points.steps),
        list(points.at_ns),
    )
    assert series.values.tolist() == list(points.values)
    assert (metric.count, metric.step, metric.value) == (70_000, 69_999, points.values[-1])
