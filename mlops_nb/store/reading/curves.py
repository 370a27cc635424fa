"""Series as people read them: whole as NumPy arrays, or as few points as a picture shows."""

from __future__ import annotations

from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from mlops_nb.errors import MissingExtra
from mlops_nb.model import MetricSeries
from mlops_nb.store.intake.metric_fold import only_point, read_points
from mlops_nb.store.reading import columns, queries, series

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import Connection

    Blocks = Sequence[tuple[int, bytes]]

_FEW_POINTS = 5_000  # as many are read before NumPy is loaded


def read_series(
    connection: Connection, run: str, key: str, *, points: int | None = None
) -> MetricSeries:
    """Read a series; see `Store.series`."""
    try:
        from mlops_nb.store.reading import arrays
    except ModuleNotFoundError as error:
        if points is not None:
            raise MissingExtra("A curve in few points", "tsdownsample") from error
        whole = _points(connection, run, key)
        return MetricSeries(key, whole.steps, whole.values, whole.at_ns)
    blocks = [(count, data) for count, data in connection.execute(queries.blocks_of(run, key))]
    if blocks:
        steps, values, at_ns = arrays.read_arrays(blocks)
    else:
        steps, values, at_ns = arrays.as_arrays(_points(connection, run, key))
    if points is not None and len(values) > points:
        shown = arrays.places_to_show(values, points, steps=steps)
        steps, values, at_ns = steps[shown], values[shown], at_ns[shown]
    return MetricSeries(key, steps, values, at_ns)


def _points(connection: Connection, run: str, key: str) -> series.Points:
    """Read a series into what Python itself has; a metric with one value has no chunk."""
    points = read_points(connection, run, key)
    if points:
        return points
    row = connection.execute(queries.metric(run, key)).mappings().first()
    return points if row is None else only_point(row)


def read_curves(
    connection: Connection, wanted: Collection[tuple[str, str]], points: int
) -> dict[tuple[str, str], Sequence[float]]:
    """Read the values of several series; see `Store.curves`."""
    found: dict[tuple[str, str], Sequence[float]] = dict.fromkeys(wanted, ())
    for one, blocks in _blocks(connection, {run for run, _ in wanted}):
        if one in found:
            found[one] = _shown(blocks, points)
    return found


def _blocks(
    connection: Connection, runs: Collection[str]
) -> Iterator[tuple[tuple[str, str], Blocks]]:
    """Give the chunks of each series of some runs."""
    for part in queries.in_chunks(sorted(runs)):
        rows = connection.execute(queries.blocks_of_runs(part)).yield_per(50)
        for one, chunks in groupby(rows, key=itemgetter(0, 1)):
            yield one, [(count, data) for _, _, count, data in chunks]


def _shown(blocks: Blocks, points: int) -> Sequence[float]:
    if sum(count for count, _ in blocks) <= max(points, _FEW_POINTS):
        return tuple(chain.from_iterable(_values(data) for _, data in blocks))
    try:
        from mlops_nb.store.reading import arrays

        values = arrays.read_values(blocks)
        return tuple(values[arrays.places_to_show(values, points)].tolist())
    except ImportError:  # as `MissingExtra` is one, too
        return tuple(chain.from_iterable(_values(data) for _, data in blocks))


def _values(data: bytes) -> Sequence[float]:
    if series.is_deflated(data):
        return series.unpack(data, ()).values
    return columns.values(series.parse(data)[1])
