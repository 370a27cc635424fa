"""What differs between two values: which columns, which rows, and how.

Two stored fingerprints are enough to name columns and ranges of rows; with the values
themselves the changed cells are counted too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mlops_nb.documents import plain
from mlops_nb.model import ColumnFingerprint, Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ColumnDifference", "DataDifference", "diff_data", "diff_fingerprints"]

Change: TypeAlias = Literal[
    "same",
    "not shown different",
    "dtype changed",
    "columns reordered",
    "rows reordered",
    "rows appended",
    "rows removed",
    "index changed",
    "columns changed",
    "changed",
]
ColumnChange: TypeAlias = Literal[
    "same",
    "not shown different",
    "dtype changed",
    "renamed",
    "added",
    "removed",
    "rows appended",
    "rows removed",
    "reordered",
    "changed",
]
Rows: TypeAlias = tuple[tuple[int, int], ...]

PROVEN = frozenset({"exact", "carried:pages"})
"""With these on both sides, equal digests are said to be the same."""

# Digests of all the content; those of a sample are only comparable with one another.
_COMPLETE = PROVEN | {"carried:unreached", "opaque"}
_CHANGED = frozenset({"changed", "added", "removed", "renamed"})
_VIEWS = "mlops_nb.display.data"


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """What happened to one column.

    Attributes
    ----------
    name
        As it is now; the old name of a removed column. Empty for an array.
    change
        ``"dtype changed"`` means that only the type of the values is known to differ:
        `are_values_same` tells whether they were compared.
    before, after
        Type, digests and statistics on both sides; None for a column that is not there.
    previous_name
        Of a renamed column.
    rows
        Ranges of rows that hold the changes, as ``(first, last)``, both included, counted
        from 0: whole chunks if only fingerprints are known.
    changed_cells, compared_cells
        How many values differ, of how many; None if the values were not at hand.
    positions
        The first few rows that differ.
    stored
        Physical types before and after, if the values were at hand.
    are_values_same
        Whether the values are known to be equal in spite of another dtype.
    """

    name: str
    change: ColumnChange
    before: ColumnFingerprint | None = None
    after: ColumnFingerprint | None = None
    previous_name: str | None = None
    rows: Rows = ()
    changed_cells: int | None = None
    compared_cells: int | None = None
    positions: tuple[int, ...] = ()
    stored: tuple[str, str] | None = None
    are_values_same: bool = False

    @property
    def share(self) -> float | None:
        """Part of the compared values that differ, from 0 to 1."""
        if self.changed_cells is None or not self.compared_cells:
            return None
        return self.changed_cells / self.compared_cells

    def document(self) -> dict[str, Any]:
        """Write the difference for JSON."""
        document = {
            "name": self.name,
            "change": self.change,
            "previous_name": self.previous_name,
            "type": _sides(self.before and self.before.type, self.after and self.after.type),
            "stored": _sides(*(self.stored or (None, None))),
            "rows": [list(one) for one in self.rows],
            "changed_cells": self.changed_cells,
            "share": self.share,
            "positions": list(self.positions),
            "statistics": _sides(_statistics(self.before), _statistics(self.after)),
        }
        return {key: plain(value) for key, value in document.items() if value not in (None, [])}


@dataclass(frozen=True, slots=True)
class DataDifference:
    """What differs between two values, see `diff_data`.

    Attributes
    ----------
    name
        What the value is called, empty if that is not known.
    change
        The most telling word: ``"same"`` needs exact fingerprints on both sides.
    before, after
        The fingerprints that were compared.
    columns
        Each column of both sides, those of `after` first and in its order.
    index
        One a level of the row labels; empty if either side has none.
    is_proved
        Of appended or removed rows: whether the last, partly filled chunk was compared too.
    are_columns_reordered
        Whether columns that both sides have come in another order.
    """

    name: str
    change: Change
    before: Fingerprint
    after: Fingerprint
    columns: tuple[ColumnDifference, ...] = ()
    index: tuple[ColumnDifference, ...] = ()
    is_proved: bool = True
    are_columns_reordered: bool = False

    @property
    def is_same(self) -> bool:
        """Whether both are known to have the same values."""
        return self.change == "same"

    def changed(self) -> list[ColumnDifference]:
        """Return the columns that are not known to be the same."""
        return [column for column in self.columns if column.change != "same"]

    def text(self) -> str:
        """Say what differs: a line, and one for each column if there are more than a few."""
        from mlops_nb.fingerprint.wording import lines

        return "\n".join(lines(self))

    def __str__(self) -> str:
        from mlops_nb.fingerprint.wording import summary

        return summary(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # IPython's protocol
        del cycle
        printer.text(self.text())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Show it as ``%mlops_data diff`` does; the view is named, not imported: it is above."""
        del include, exclude  # IPython itself keeps to these
        found: dict[str, Any] = import_module(_VIEWS).as_bundle(self)
        return found

    def document(self) -> dict[str, Any]:
        """Write the difference for JSON; columns that are the same are only counted."""
        changed = self.changed()
        return {
            "name": self.name,
            "change": self.change,
            "text": str(self),
            "kind": _sides(self.before.kind, self.after.kind),
            "assurance": _sides(self.before.assurance, self.after.assurance),
            "shape": _sides(list(self.before.shape), list(self.after.shape)),
            "rows": _sides(self.before.rows, self.after.rows),
            "columns": [column.document() for column in changed],
            "same_columns": len(self.columns) - len(changed),
            "index": [level.document() for level in self.index if level.change != "same"],
        }


def diff_data(before: object, after: object, *, name: str = "") -> DataDifference:
    """Say what differs between two values, or two fingerprints of values.

    Parameters
    ----------
    before, after
        Each a value or its `Fingerprint`. With two values the changed cells are counted, and
        rows that only changed places are found.
    name
        What to call the value.

    Returns
    -------
    DataDifference
        Print it, or read its `columns`.

    Examples
    --------
    >>> import numpy as np
    >>> print(diff_data(np.array([1, 2, 3, 4]), np.array([1, 2, 7, 4]), name="y"))
    y: values changed (25 % of values, row 2)
    """
    from mlops_nb.fingerprint import fingerprint

    was, now = (
        value if type(value) is Fingerprint else fingerprint(value) for value in (before, after)
    )
    found = diff_fingerprints(was, now, name=name)
    if was is before or now is after or found.change == "same":
        return found
    from mlops_nb.fingerprint.changed_cells import look_at_values

    return look_at_values(found, before, after)


def diff_fingerprints(
    before: Fingerprint, after: Fingerprint, *, name: str = ""
) -> DataDifference:
    """Say what differs between two values of which only the fingerprints are known.

    Examples
    --------
    >>> from mlops_nb.fingerprint import fingerprint
    >>> diff_fingerprints(fingerprint([1]), fingerprint([1])).change
    'same'
    """
    columns = tuple(_column_differences(before, after))
    index = tuple(_index_differences(before, after))
    found = DataDifference(name, "same", before, after, columns, index)
    found = replace(found, are_columns_reordered=_are_reordered(columns, before, after))
    return judged(replace(found, is_proved=_is_proved(found)))


def chunk_rows_of(found: Fingerprint) -> int | None:
    """Return the rows of a chunk of its columns; None for the fields of a structured array."""
    if found.kind.startswith("numpy.") and found.columns:
        return None
    return found.chunk_rows


def judged(found: DataDifference) -> DataDifference:
    """Sum the columns up in one word."""
    return replace(found, change=_judge(found))


def _judge(found: DataDifference) -> Change:
    before, after = found.before, found.after
    if before.digest and before.digest == after.digest and _level(before) == _level(after):
        if not {before.assurance, after.assurance} <= PROVEN:
            return "not shown different"
        return "same" if before.schema_digest == after.schema_digest else "dtype changed"
    columns = {one.change for one in found.columns} - {"same"}
    index = {one.change for one in found.index} - {"same"}
    if columns & _CHANGED:
        return "changed" if _has_other_rows(found) else "columns changed"
    if "reordered" in columns:
        return "rows reordered"
    if _has_other_rows(found):
        return _row_change((columns | index) - {"dtype changed"})
    if index & _CHANGED:
        return "index changed"
    return _storage_change(found, columns | index)


def _row_change(kinds: set[ColumnChange]) -> Change:
    """Say that rows were appended or removed only if that is so of all columns."""
    if kinds == {"rows appended"}:
        return "rows appended"
    return "rows removed" if kinds == {"rows removed"} else "changed"


def _storage_change(found: DataDifference, kinds: set[ColumnChange]) -> Change:
    """Name what else can differ if no value, label or row is known to."""
    before, after = found.before, found.after
    is_known = bool(before.digest and after.digest) and _are_comparable(before, after)
    if "not shown different" in kinds or (not is_known and before.kind == after.kind):
        return "not shown different"
    if found.are_columns_reordered:
        return "columns reordered"
    if "dtype changed" in kinds or (before.kind != after.kind and found.columns):
        return "dtype changed"
    return "changed"


def _has_other_rows(found: DataDifference) -> bool:
    return found.before.shape[:1] != found.after.shape[:1]


def _level(found: Fingerprint) -> str:
    """Tell what the digests are of; only those of the same can be compared."""
    if found.assurance in _COMPLETE:
        return "content"
    return f"sample of {found.rows}" if found.assurance == "sampled" else ""


def _are_comparable(before: Fingerprint, after: Fingerprint) -> bool:
    return bool(_level(before)) and _level(before) == _level(after)


def _proves(before: Fingerprint, after: Fingerprint) -> bool:
    """Tell whether equal digests of columns prove equal values."""
    return all(one.assurance in PROVEN | {"opaque"} for one in (before, after))


# --- columns ----------------------------------------------------------------------------------


def _column_differences(before: Fingerprint, after: Fingerprint) -> Iterable[ColumnDifference]:
    old, new = _columns(before), _columns(after)
    renamed = _renamed(old, new) if _proves(before, after) else {}
    for name, column in new.items():
        if name in old:
            yield _compared(old[name], column, before, after)
        elif name in renamed:
            yield ColumnDifference(
                name, "renamed", old[renamed[name]], column, previous_name=renamed[name]
            )
        else:
            yield ColumnDifference(name, "added", None, column)
    for name, column in old.items():
        if name not in new and name not in renamed.values():
            yield ColumnDifference(name, "removed", column)


def _columns(found: Fingerprint) -> dict[str, ColumnFingerprint]:
    """Return the columns; a single nameless one for an array or a value without columns."""
    is_table = found.kind.rpartition(".")[2] in {"DataFrame", "Table"}
    if found.columns or is_table or not found.digest:
        return dict(found.columns)
    bare = found.digest.partition(":")[2]
    return {"": ColumnFingerprint("", "", bare, found.chunks, found.rows or 0)}


def _renamed(
    old: dict[str, ColumnFingerprint], new: dict[str, ColumnFingerprint]
) -> dict[str, str]:
    """Pair columns with equal values where the name is gone: new name to old name."""
    gone = {name: i for i, name in enumerate(old) if name not in new}
    renamed = {}
    for i, (name, column) in enumerate(new.items()):
        if name in old or not column.digest:
            continue
        # Columns of only zeros are alike: the one in the same place is meant.
        equal = [one for one in gone if old[one].digest == column.digest]
        if equal:
            previous = min(equal, key=lambda one: abs(gone[one] - i))
            renamed[name] = previous
            del gone[previous]
    return renamed


def _compared(
    was: ColumnFingerprint, now: ColumnFingerprint, before: Fingerprint, after: Fingerprint
) -> ColumnDifference:
    found = ColumnDifference(now.name, "not shown different", was, now)
    if not (was.digest and now.digest and _are_comparable(before, after)):
        return found
    if was.digest == now.digest:
        return replace(found, change="same") if _proves(before, after) else found
    if was.type != now.type:
        return replace(found, change="dtype changed")
    chunk_rows = chunk_rows_of(after)
    if not chunk_rows or chunk_rows != chunk_rows_of(before) or _is_sampled(before):
        return replace(found, change="changed")
    rows = _differing_rows(was, now, chunk_rows)
    if was.count == now.count:
        return replace(found, change="changed", rows=rows)
    if rows:
        return replace(found, change="changed", rows=rows)
    if min(was.count, now.count) < chunk_rows and min(was.count, now.count):
        # Not one whole chunk to compare, so nothing is known.
        return found
    return replace(found, change="rows appended" if now.count > was.count else "rows removed")


def _is_sampled(found: Fingerprint) -> bool:
    return found.assurance == "sampled"


def _differing_rows(was: ColumnFingerprint, now: ColumnFingerprint, chunk_rows: int) -> Rows:
    """Merge the chunks that differ into ranges; of another length only whole chunks count."""
    rows = min(was.count, now.count)
    last_chunk = -(-rows // chunk_rows) if was.count == now.count else rows // chunk_rows
    pairs = zip(was.chunks[:last_chunk], now.chunks[:last_chunk], strict=False)
    differing = [i for i, (old, new) in enumerate(pairs) if old != new]
    return merged((i * chunk_rows, min((i + 1) * chunk_rows, rows) - 1) for i in differing)


def merged(ranges: Iterable[tuple[int, int]]) -> Rows:
    """Join ranges of rows that touch.

    Examples
    --------
    >>> merged([(0, 9), (10, 19), (30, 39)])
    ((0, 19), (30, 39))
    """
    found: list[tuple[int, int]] = []
    for first, last in ranges:
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def _are_reordered(
    columns: Sequence[ColumnDifference], before: Fingerprint, after: Fingerprint
) -> bool:
    names = [c.name for c in columns if c.before is not None and c.after is not None]
    old_names = {c.name: c.previous_name or c.name for c in columns}
    places = {name: i for i, name in enumerate(before.columns)}
    order = [places.get(old_names[name], 0) for name in names if name in after.columns]
    return order != sorted(order)


def _is_proved(found: DataDifference) -> bool:
    """Tell whether no partly filled chunk was left out when rows were appended or removed."""
    if not _has_other_rows(found):
        return True
    chunk_rows = chunk_rows_of(found.after) or 1
    rows = min(found.before.rows or 0, found.after.rows or 0)
    return rows % chunk_rows == 0


# --- row labels -------------------------------------------------------------------------------


def _index_differences(before: Fingerprint, after: Fingerprint) -> Iterable[ColumnDifference]:
    if len(before.index) != len(after.index):
        if before.index and after.index:
            names = ", ".join(level.name for level in after.index)
            yield ColumnDifference(names, "changed")
        return
    for was, now in zip(before.index, after.index, strict=True):
        found = _compared(was, now, before, after)
        if was.name != now.name:
            yield replace(found, change="renamed", previous_name=was.name)
        elif _continues(was, now):
            is_longer = now.count > was.count
            yield replace(found, change="rows appended" if is_longer else "rows removed")
        elif "range" in {was.type, now.type} and found.change == "not shown different":
            yield replace(found, change="changed" if was.digest != now.digest else "same")
        elif found.change == "dtype changed":
            yield replace(found, change="changed")
        else:
            yield found


def _continues(was: ColumnFingerprint, now: ColumnFingerprint) -> bool:
    """Tell whether one counting index is the other one with more rows."""
    if {was.type, now.type} != {"range"} or was.count == now.count:
        return False
    if not was.count or not now.count:
        return True
    if was.minimum is None or now.minimum is None:
        return False  # kept without statistics
    return was.minimum == now.minimum and (1 in {was.count, now.count} or _step(was) == _step(now))


def _step(index: ColumnFingerprint) -> float:
    return float(index.maximum - index.minimum) / (index.count - 1)


# --- documents --------------------------------------------------------------------------------


def _sides(before: object, after: object) -> dict[str, object] | None:
    if before is None and after is None:
        return None
    return {"before": before, "after": after}


def _statistics(column: ColumnFingerprint | None) -> dict[str, object] | None:
    if column is None:
        return None
    return {
        "mean": column.mean,
        "minimum": column.minimum,
        "maximum": column.maximum,
        "nulls": column.nulls,
        "count": column.count,
    }
