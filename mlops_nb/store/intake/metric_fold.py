"""Metrics of one batch: the last value of each, and the points of those that have several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb.store import schema
from mlops_nb.store.reading import queries
from mlops_nb.store.reading.series import (
    CHUNK_POINTS,
    Points,
    chunks_to_merge,
    pack,
    spans_as_json,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from mlops_nb.model import MetricLogged

Row: TypeAlias = dict[str, Any]
_NAN = float("nan")


class Metric:
    """One metric while a batch is folded.

    `points` are those that are in no chunk yet. A metric's first point is in its row alone, and
    goes into a chunk with the second one: only then does a step that was left out become 0.
    """

    __slots__ = ("_row", "in_chunks", "last", "points")

    def __init__(self, row: Row | None) -> None:
        self._row = row
        self.points = Points()
        self.last: MetricLogged | None = None
        self.in_chunks = 0
        if row is not None and row["count"] == 1:
            self.points = only_point(row)
        elif row is not None:
            self.in_chunks = row["count"]

    def add(self, event: MetricLogged) -> None:
        """Append a value; a step that was left out is one more than the one before."""
        step = event.step
        if step is None:
            step = self._last_step() + 1
        origin = (event.execution, event.binding, event.fit, event.step is None)
        self.points.add(step, event.value, event.at_ns, origin)
        self.last = event

    def _last_step(self) -> int:
        if self.points.steps:
            return self.points.steps[-1]
        return -1 if self._row is None else self._row["step"]

    def row(self, run: str, key: str) -> Row:
        """Make the row of the metric."""
        row = row_of(run, key, self.points, self.last)
        if self._row is not None and self.in_chunks:
            row["count"] += self.in_chunks
            row["step"] = self.points.steps[-1]
            row["minimum"] = _least(row["minimum"], self._row["minimum"])
            row["maximum"] = _most(row["maximum"], self._row["maximum"])
        return row


def row_of(run: str, key: str, points: Points, last: MetricLogged | None = None) -> Row:
    """Make the row of a metric that has these points; `last` is the event of the last one."""
    lowest, highest = _range(points)
    execution, binding, fit, is_counted = points.spans[-1][1]
    return {
        "run": run,
        "key": key,
        "value": nullable(points.values[-1]),
        "step": None if len(points) == 1 and is_counted else points.steps[-1],
        "at": points.at_ns[-1],
        "count": len(points),
        "minimum": lowest,
        "maximum": highest,
        "binding": binding,
        "execution": execution,
        "fit": fit,
        "detail": None if last is None or last.detail is None else dict(last.detail),
    }


def only_point(row: Mapping[Any, Any]) -> Points:
    """Give the point of a metric that has one value, which its row holds."""
    points = Points()
    origin = (row["execution"], row["binding"], row["fit"], row["step"] is None)
    points.add(row["step"] or 0, value_of(row["value"]), row["at"], origin)
    return points


class MetricFold:
    """The metrics that a batch speaks of."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[tuple[str, str], Row] = {}
        self._metrics: dict[tuple[str, str], Metric] = {}

    def prefetch(self, runs: Iterable[str]) -> None:
        """Read the metrics that runs have."""
        for chunk in queries.in_chunks(runs):
            found = self._connection.execute(queries.rows_of(schema.metrics, "run", chunk))
            self._known.update(((r["run"], r["key"]), dict(r)) for r in found.mappings())

    def add(self, event: MetricLogged) -> None:
        """Fold in one value."""
        key = (event.run, event.key)
        metric = self._metrics.get(key)
        if metric is None:
            metric = self._metrics[key] = Metric(self._known.get(key))
        metric.add(event)

    def last_times(self) -> Iterator[tuple[str, int]]:
        """Give each run with the time of its last new value."""
        last: dict[str, int] = {}
        for (run, _), metric in self._metrics.items():
            last[run] = max(last.get(run, 0), metric.points.at_ns[-1])
        yield from last.items()

    def write(self) -> None:
        """Write the rows, and the points of metrics with several values."""
        if not self._metrics:
            return
        rows = [metric.row(*key) for key, metric in self._metrics.items()]
        several = {
            key: metric.points
            for (key, metric), row in zip(self._metrics.items(), rows, strict=True)
            if row["count"] > 1
        }
        append_points(self._connection, several)
        upsert = queries.upsert(schema.metrics, self._connection.dialect.name)
        self._connection.execute(upsert, rows)


def append_points(connection: Connection, new: dict[tuple[str, str], Points]) -> None:
    """Append points to series, merging the small chunks at their ends."""
    counts = _chunk_counts(connection, new)
    removed: list[Row] = []
    added: list[Row] = []
    for (run, key), points in new.items():
        chunks = counts.get((run, key), [])
        merged = chunks_to_merge([count for _, count in chunks], len(points))
        whole = points
        first = chunks[-1][0] + 1 if chunks else 0
        if merged:
            first = chunks[-merged][0]
            whole = read_points(connection, run, key, since=first)
            whole.extend(points)
            removed.extend({"b_run": run, "b_key": key, "b_seq": s} for s, _ in chunks[-merged:])
        added.extend(chunk_rows(run, key, whole, first))
    if removed:
        connection.execute(queries.remove_chunks(), removed)
    if added:
        connection.execute(schema.metric_chunks.insert(), added)


def chunk_rows(run: str, key: str, points: Points, first: int) -> Iterator[Row]:
    """Make the rows of chunks, numbered from `first`."""
    for seq, piece in enumerate(points.split(CHUNK_POINTS), first):
        yield {
            "run": run,
            "key": key,
            "seq": seq,
            "count": len(piece),
            "spans": spans_as_json(piece),
            "data": pack(piece),
        }


def read_points(connection: Connection, run: str, key: str, *, since: int = 0) -> Points:
    """Read the points in the chunks of a series, from chunk `since` on."""
    points = Points()
    for data, spans in connection.execute(queries.chunks_of(run, key, since)):
        points.extend(unpack(data, spans))
    return points


def _chunk_counts(
    connection: Connection, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Number and size of each chunk of some series, in order."""
    wanted = set(keys)
    counts: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for chunk in queries.in_chunks({run for run, _ in wanted}):
        for run, key, seq, count in connection.execute(queries.chunk_counts(chunk)):
            if (run, key) in wanted:
                counts.setdefault((run, key), []).append((seq, count))
    return counts


# --- NaN --------------------------------------------------------------------------------------


def nullable(value: float) -> float | None:
    """Give a value as a REAL column holds it: NULL is NaN."""
    return None if value != value else value  # noqa: PLR0124 - that is what NaN is


def value_of(stored: float | None) -> float:
    """Give a value of a REAL column back."""
    return _NAN if stored is None else stored


def _range(points: Points) -> tuple[float | None, float | None]:
    numbers: Sequence[float] = points.values
    lowest, highest = min(numbers), max(numbers)
    if any(v != v for v in numbers):  # noqa: PLR0124
        numbers = [v for v in numbers if v == v]  # noqa: PLR0124
        lowest, highest = min(numbers, default=None), max(numbers, default=None)  # type: ignore[assignment]
    return lowest, highest


def _least(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else min(a, b)


def _most(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)
