"""Series as NumPy arrays, and what a picture shows of a long one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mlops_nb.errors import MissingExtra
from mlops_nb.store.reading import series
from mlops_nb.store.reading.columns import WHOLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mlops_nb.store.reading.columns import Column
    from mlops_nb.store.reading.series import Points

Integers: TypeAlias = "NDArray[np.int64]"
Floats: TypeAlias = "NDArray[np.float64]"

FEWEST_POINTS = 3
"""The first point, the last, and one between them."""

_WIDTHS = {1: "<u1", 2: "<u2", 4: "<u4"}


def read_arrays(blocks: Sequence[tuple[int, bytes]]) -> tuple[Integers, Floats, Integers]:
    """Read steps, values and times of a series.

    Parameters
    ----------
    blocks
        Number of points and block of each chunk, in order.
    """
    total = sum(count for count, _ in blocks)
    steps, times = np.empty(total, np.int64), np.empty(total, np.int64)
    values = np.empty(total, np.float64)
    begin = 0
    for count, data in blocks:
        part = slice(begin, begin + count)
        if series.is_deflated(data):
            old = series.unpack(data, ())
            steps[part], values[part], times[part] = old.steps, old.values, old.at_ns
        else:
            of_steps, of_values, of_times = series.parse(data)
            _integers(of_steps, steps[part])
            values[part] = np.frombuffer(of_values.data, f"<f{of_values.width}")
            _integers(of_times, times[part])
        begin += count
    return steps, values, times


def _integers(column: Column, into: Integers) -> None:
    if column.width == WHOLE:
        into[:] = np.frombuffer(column.data, "<i8")
        return
    into[0] = column.first
    differences = into[1:]
    if column.width:
        differences[:] = np.frombuffer(column.data, _WIDTHS[column.width])
        if column.step:
            differences += column.step
    elif column.exceptions:
        differences[:] = column.step
    else:
        into[:] = np.arange(column.length, dtype=np.int64) * column.step + column.first
        return
    for index, extra in column.exceptions:
        differences[index] += extra
    np.cumsum(into, out=into)


def as_arrays(points: Points) -> tuple[Integers, Floats, Integers]:
    """Turn points that are in memory into arrays."""
    whole = (np.array(points.steps, np.int64), np.array(points.values, np.float64))
    return *whole, np.array(points.at_ns, np.int64)


def read_values(blocks: Sequence[tuple[int, bytes]]) -> Floats:
    """Read only the values of a series, as `read_arrays` does."""
    values = np.empty(sum(count for count, _ in blocks))
    begin = 0
    for count, data in blocks:
        if series.is_deflated(data):
            values[begin : begin + count] = series.unpack(data, ()).values
        else:
            column = series.parse(data)[1]
            values[begin : begin + count] = np.frombuffer(column.data, f"<f{column.width}")
        begin += count
    return values


def places_to_show(values: Floats, points: int, *, steps: Integers | None = None) -> Integers:
    """Choose the points that keep the shape of a curve, by largest triangle three buckets.

    Parameters
    ----------
    values
        More than `points` of them. Where a whole stretch is not finite, one such value stays, so
        that a picture has its gap.
    points
        Most points to choose, at least `FEWEST_POINTS`.
    steps
        Where the values stand; one after the other at equal distances if left out, or if they do
        not grow.

    Raises
    ------
    MissingExtra
        tsdownsample is not installed.
    """
    grows = steps is not None and bool(np.all(steps[1:] > steps[:-1]))
    where = steps if steps is not None and grows else np.arange(len(values))
    is_finite = np.isfinite(values)
    if is_finite.all():
        return _largest_triangles(where, values, points)
    finite = np.flatnonzero(is_finite)
    gaps = _gaps(finite, len(values), points)
    room = points - len(gaps)
    if len(finite) > room >= FEWEST_POINTS:
        finite = finite[_largest_triangles(where[finite], values[finite], room)]
    places: Integers = np.union1d(finite, gaps)
    return places


def _largest_triangles(where: Integers, values: Floats, points: int) -> Integers:
    try:
        from tsdownsample import LTTBDownsampler
    except ImportError as error:
        raise MissingExtra("A curve in few points", "tsdownsample") from error
    choose: Any = LTTBDownsampler()
    return np.asarray(choose.downsample(where, values, n_out=points), np.int64)


def _gaps(finite: Integers, count: int, points: int) -> Integers:
    """Give the first place of each of `points` stretches in which nothing is finite."""
    edges = np.linspace(0, count, points + 1).astype(np.int64)
    is_empty = np.diff(np.searchsorted(finite, edges)) == 0
    gaps: Integers = edges[:-1][is_empty]
    return gaps
