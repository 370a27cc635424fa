"""Two values side by side: how many cells differ, where, and whether rows only moved."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlops_nb.fingerprint.difference import (
    ColumnDifference,
    DataDifference,
    chunk_rows_of,
    judged,
    merged,
)
from mlops_nb.fingerprint.scheme import FAILURES

if TYPE_CHECKING:
    from mlops_nb.fingerprint.cells import Cells

_POSITIONS = 5


def look_at_values(found: DataDifference, before: object, after: object) -> DataDifference:
    """Add to a difference what only the values can tell."""
    if "numpy" not in sys.modules:
        return found
    from mlops_nb.fingerprint.cells import cells_of, index_cells

    try:
        old, new = cells_of(before), cells_of(after)
        labels = index_cells(before), index_cells(after)
    except FAILURES:
        return found
    step = chunk_rows_of(found.after) or 65_536
    columns = tuple([_looked_at(column, old, new, step) for column in found.columns])
    # A type as stored is known of each column whose values were at hand.
    is_proved = found.is_proved or all(column.stored is not None for column in columns)
    found = judged(replace(found, columns=columns, is_proved=is_proved))
    if found.change != "columns changed" or not _may_be_reordered(found):
        return found
    return _with_reordering(found, old | labels[0], new | labels[1])


def _looked_at(
    column: ColumnDifference, old: dict[str, Cells], new: dict[str, Cells], step: int
) -> ColumnDifference:
    was, now = old.get(column.previous_name or column.name), new.get(column.name)
    if was is None or now is None:
        return column
    column = replace(column, stored=(was.stored, now.stored))
    if column.change in {"same", "renamed"}:
        is_kept_otherwise = was.stored != now.stored and column.change == "same"
        if is_kept_otherwise:
            return replace(column, change="dtype changed", are_values_same=True)
        return column
    try:
        return _counted(column, was, now, step)
    except FAILURES:
        return column


def _has_zone(type_: str) -> bool:
    """Tell moments from the readings of a clock, which cannot be compared."""
    return type_.startswith("datetime64[") and "," in type_


@dataclass(slots=True)
class _Count:
    changed: int = 0
    compared: int = 0
    positions: tuple[int, ...] = ()
    rows: tuple[tuple[int, int], ...] = ()


def _counted(column: ColumnDifference, was: Cells, now: Cells, step: int) -> ColumnDifference:
    if was.width != now.width or column.before is None or column.after is None:
        return column
    if _has_zone(column.before.type) != _has_zone(column.after.type):
        return column
    rows = min(was.rows, now.rows)
    count = _Count()
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        if not _are_chunks_equal(column, start // step, stop - start == step):
            alike = {"object"} != {column.before.type, column.after.type}
            _count_chunk(count, was, now, (start, stop), are_gaps_alike=alike)
        count.compared += (stop - start) * now.width
    return _concluded(column, count, was, now)


def _are_chunks_equal(column: ColumnDifference, place: int, is_whole: bool) -> bool:
    """Tell by the digests whether a chunk needs no look."""
    if column.before is None or column.after is None or column.before.type != column.after.type:
        return False
    old, new = column.before.chunks, column.after.chunks
    is_shown = is_whole or column.before.count == column.after.count
    return is_shown and place < min(len(old), len(new)) and old[place] == new[place]


def _count_chunk(
    count: _Count, was: Cells, now: Cells, rows: tuple[int, int], *, are_gaps_alike: bool
) -> None:
    from mlops_nb.fingerprint.cells import differing

    start, stop = rows
    changed, places = differing(was, now, start, stop, are_gaps_alike=are_gaps_alike)
    if not changed:
        return
    count.changed += changed
    count.rows = merged([*count.rows, (start + int(places[0]), start + int(places[-1]))])
    wanted = _POSITIONS - len(count.positions)
    count.positions += tuple(start + int(place) for place in places[:wanted])


def _concluded(
    column: ColumnDifference, count: _Count, was: Cells, now: Cells
) -> ColumnDifference:
    if count.changed:
        return replace(
            column,
            change="changed",
            rows=count.rows,
            changed_cells=count.changed,
            compared_cells=count.compared,
            positions=count.positions,
        )
    if was.rows != now.rows:
        is_more = now.rows > was.rows
        return replace(column, change="rows appended" if is_more else "rows removed", rows=())
    if column.change == "dtype changed":
        return replace(column, are_values_same=True, changed_cells=0, compared_cells=now.rows)
    return column


# --- rows that only moved ---------------------------------------------------------------------


def _with_reordering(
    found: DataDifference, old: dict[str, Cells], new: dict[str, Cells]
) -> DataDifference:
    """Tell whether the same rows stand in another order; compares sorted digests of rows."""
    from mlops_nb.fingerprint.cells import INDEX

    try:
        is_moved = _has_same_rows(old, new, [column.name for column in found.columns])
        # Labels may have moved with their rows, or stayed where they were.
        labels = [INDEX + str(i) for i, one in enumerate(found.index) if one.change == "changed"]
        are_labels_moved = bool(labels) and _has_same_rows(
            old, new, [*labels, *(column.name for column in found.columns)]
        )
    except FAILURES:
        return found
    if not is_moved:
        return found
    columns = tuple([_moved(column) for column in found.columns])
    index = tuple([_moved(level) if are_labels_moved else level for level in found.index])
    return judged(replace(found, columns=columns, index=index))


def _has_same_rows(old: dict[str, Cells], new: dict[str, Cells], names: list[str]) -> bool:
    from mlops_nb.fingerprint.cells import row_digests

    was, now = row_digests(old, names), row_digests(new, names)
    was.sort()
    now.sort()
    return bool((was == now).all())


def _moved(column: ColumnDifference) -> ColumnDifference:
    return replace(column, change="reordered") if column.change == "changed" else column


def _may_be_reordered(found: DataDifference) -> bool:
    """Ask the statistics first: other bounds or other gaps are no new order."""
    if all(column.change == "same" for column in found.columns):
        return False
    for column in found.columns:
        was, now = column.before, column.after
        if was is None or now is None or column.change not in {"changed", "same"}:
            return False
        if (was.type, was.count, was.nulls) != (now.type, now.count, now.nulls):
            return False
        if (was.minimum, was.maximum) != (now.minimum, now.maximum):
            return False
    return found.before.shape == found.after.shape
