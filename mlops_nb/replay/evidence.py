"""What cells left behind, by the cell it came from: the common ground of a run and its replay.

The two do not have the same runs: what was three attempts of an automatic session is one batch
run with children when it is replayed. What each cell logged, in the order in which it logged, is
the same. So values are found by (cell, name, how manyeth), over all runs of the session.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_nb.errors import StoreError
from mlops_nb.tracking.fits import FIT_TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.model import DataUse, Execution, Json, Run
    from mlops_nb.store import Store

OUTSIDE = -1
"""Place of what came from no cell that is replayed."""

UNKNOWN = "unknown"
"""How a cell ended that was taken from the history."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric, and the run it was logged to."""

    run: str
    value: float
    at_ns: int


@dataclass(frozen=True, slots=True)
class Use:
    """One value that went into a run."""

    run: str
    data: DataUse


@dataclass(slots=True)
class Evidence:
    """What the cells of one execution of a notebook left.

    Attributes
    ----------
    outcomes
        By place: status, and the class of the error.
    data
        By (place, role, name), in the order in which they were told.
    metrics
        By (place, key), in the order in which they were logged.
    joined
        Places of cells that were recorded from their middle on: tracking began in them.
    folded
        By place: how many fits of the cell are rows of a table, without values of their own.
    """

    outcomes: dict[int, tuple[str, str]] = field(default_factory=dict)
    data: dict[tuple[int, str, str], list[Use]] = field(default_factory=dict)
    metrics: dict[tuple[int, str], list[Point]] = field(default_factory=dict)
    joined: set[int] = field(default_factory=set)
    folded: dict[int, int] = field(default_factory=dict)


def gather(store: Store, runs: Sequence[Run], placed: Mapping[int, Execution]) -> Evidence:
    """Gather what cells left.

    Parameters
    ----------
    store
        Holds the curves.
    runs
        All runs that may hold something of these cells.
    placed
        The executions, by their place among the replayed cells.
    """
    evidence = Evidence()
    for place, execution in placed.items():
        kind = execution.error.type if execution.error is not None else ""
        # The history does not say how a cell ended.
        status = UNKNOWN if execution.is_inferred else execution.status
        evidence.outcomes[place] = (status, kind)
        if "joined" in execution.flags:
            evidence.joined.add(place)
    clock = _Clock(placed)
    for run in sorted(runs, key=lambda run: (run.started_at, run.child or 0)):
        for use in run.data:
            place = clock.by_id.get(use.execution or "", OUTSIDE)
            evidence.data.setdefault((place, use.role, use.name), []).append(Use(run.id, use))
        for key in run.metrics:
            _add_points(evidence, store, run, key, clock)
        if rows := read_rows(store, run):
            for id_ in set(run.body) & clock.by_id.keys():
                place = clock.by_id[id_]
                evidence.folded[place] = evidence.folded.get(place, 0) + len(rows)
    for points in evidence.metrics.values():
        points.sort(key=lambda point: point.at_ns)
    return evidence


class _Clock:
    """Finds the cell that ran at a time: values of a curve do not name theirs."""

    def __init__(self, placed: Mapping[int, Execution]) -> None:
        self.by_id = {execution.id: place for place, execution in placed.items()}
        begun = sorted((e.started_at.timestamp(), place) for place, e in placed.items())
        self._times = [at for at, _ in begun]
        self._places = [place for _, place in begun]

    def place_at(self, at_ns: int) -> int:
        index = bisect_right(self._times, at_ns / 1e9) - 1
        return OUTSIDE if index < 0 else self._places[index]


def _add_points(evidence: Evidence, store: Store, run: Run, key: str, clock: _Clock) -> None:
    metric = run.metrics[key]
    series = store.series(run.id, key)
    for value, at_ns in zip(series.values.tolist(), series.at_ns.tolist(), strict=True):
        if metric.count == 1:
            place = clock.by_id.get(metric.execution or "", OUTSIDE)
        else:
            place = clock.place_at(at_ns)
        evidence.metrics.setdefault((place, key), []).append(Point(run.id, value, at_ns))


def read_rows(store: Store, parent: Run) -> list[dict[str, Json]]:
    """Read the fits that a run keeps as rows; none where it has no such table."""
    table = next((a for a in parent.artifacts if (a.name, a.kind) == (FIT_TABLE, "table")), None)
    if table is None:
        return []
    try:
        content = json.loads(store.read_blob(table.digest))
        columns, rows = content["columns"], content["rows"]
        found = [dict(zip(columns, row, strict=True)) for row in rows]
    except (OSError, LookupError, ValueError, TypeError, StoreError):
        return []
    # A user's own table may have the name.
    return found if all({"fit", "estimator"} <= row.keys() for row in found) else []
