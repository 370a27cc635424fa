"""Data as it is said: a fingerprint, the statistics of its columns, and what differs in it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mlops_nb.display.blocks import Cell, Column, Span, Table, TableRow, line
from mlops_nb.display.formats import (
    UNKNOWN,
    counted,
    number,
    one_line,
    scalar,
    shortened,
    size,
    told_apart,
)
from mlops_nb.display.phrases import value_hover
from mlops_nb.display.view import View, command
from mlops_nb.documents import plain
from mlops_nb.fingerprint.record import fingerprint_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.display.blocks import Block
    from mlops_nb.display.view import Place
    from mlops_nb.fingerprint.difference import ColumnDifference, DataDifference
    from mlops_nb.fingerprint.distinct import Distinct
    from mlops_nb.model import ColumnFingerprint, Fingerprint, Json

DATA_MIME = "application/vnd.mlops-nb.data.v1+json"
DATA_DIFF_MIME = "application/vnd.mlops-nb.data-diff.v1+json"

T = TypeVar("T")

MOST_COLUMNS, _LONGEST_NAME = 200, 40
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\Z")
_DISTINCT = 4
_ROW_CHANGES = ("rows appended", "rows removed")
_PROVEN = frozenset({"exact", "carried:pages"})


@dataclass(frozen=True, slots=True, repr=False)
class FingerprintView(View):
    """The identity of a value, and with `is_profile` the statistics of its columns.

    Attributes
    ----------
    name
        What the value is called.
    found
        Its fingerprint.
    is_profile
        Whether the statistics are what is asked for, rather than the digests.
    distinct
        Counts of different values, by column, as far as they are known.
    """

    name: str
    found: Fingerprint
    is_profile: bool = False
    place: Place = "notebook"
    distinct: Mapping[str, Distinct] = field(default_factory=dict)

    mime: ClassVar[str] = DATA_MIME
    title: ClassVar[str] = "Fingerprint of a value"

    def document(self) -> dict[str, Any]:
        """Give the fingerprint with all its columns as JSON."""
        document = {"name": plain(self.name), **fingerprint_document(self.found)}
        for name, column in zip(self.found.columns, document.get("columns", ()), strict=False):
            if known := self.distinct.get(name):
                column["distinct"] = {"count": known.count, "bound": known.bound}
        return document

    def blocks(self) -> tuple[Block, ...]:
        """Give what the value is, its columns, and what to do next."""
        found = self.found
        columns = (*found.index, *found.columns.values())
        shown = columns[:MOST_COLUMNS]
        parts: list[Block] = [self._heading(), *self._trust()]
        if shown:
            table = self._profile(shown) if self.is_profile else _digest_table(shown)
            parts.append(table)
        elif self.is_profile:
            parts.append(line(Span(f"A {found.kind} has no columns to describe.", "muted")))
        if len(columns) > len(shown):
            left = counted(len(columns) - len(shown), "more column")
            parts.append(line(Span(f"… {left}, all in the JSON", "muted")))
        return (*parts, self._next())

    def _profile(self, columns: tuple[ColumnFingerprint, ...]) -> Table:
        levels = len(self.found.index)
        known = [self.distinct.get(c.name) if i >= levels else None for i, c in enumerate(columns)]
        return _profile_table(columns, known)

    def _heading(self) -> Block:
        found = self.found
        shape = " × ".join(f"{axis:,}" for axis in found.shape)
        facts = [found.kind, shape, size(found.size_bytes) if found.size_bytes else ""]
        said = Span(f"   {' · '.join(filter(None, facts))}", "muted")
        algorithm, _, digits = found.digest.partition(":")
        digest = Span(f"   {algorithm}:{digits[:12]}", "plain", found.digest) if digits else ""
        return line(Span(_short(self.name), "strong"), said, digest)

    def _trust(self) -> Iterator[Block]:
        if self.found.assurance not in _PROVEN:
            said = f"The fingerprint is {self.found.assurance}: it proves nothing to be the same."
            yield line(Span(said, "warn"))

    def _next(self) -> Block:
        name = self.name if self.place == "shell" or self.name.isidentifier() else "VAR"
        other = "fingerprint" if self.is_profile else "profile"
        return line(
            f"{'Digests' if self.is_profile else 'Statistics'}:  ",
            Span(command(self.place, "data", other, name), "code"),
            "   against another:  ",
            Span(command(self.place, "data", "diff", name, "RUN:NAME"), "code"),
        )


@dataclass(frozen=True, slots=True, repr=False)
class DataDifferenceView(View):
    """What differs between two values: in a sentence, then column by column.

    Attributes
    ----------
    difference
        What to show.
    names
        What the two values are called; empty texts where that is not known.
    """

    difference: DataDifference
    names: tuple[str, str] = ("", "")
    place: Place = "notebook"

    mime: ClassVar[str] = DATA_DIFF_MIME
    title: ClassVar[str] = "Difference between two values"

    @property
    def is_different(self) -> bool:
        """Whether the values are known to differ."""
        return self.difference.change not in {"same", "not shown different"}

    def document(self) -> dict[str, Any]:
        """Give the difference as JSON."""
        return {**self.difference.document(), "names": plain(self.names)}

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, and the columns that changed."""
        old, new = map(_short, self.names)
        return (self._answer(old, new), *difference_blocks(self.difference, (old, new)))

    def _answer(self, old: str, new: str) -> Block:
        # The name in it is cut and escaped, so it is left out rather than taken off.
        said = str(replace(self.difference, name=""))
        if old and new:
            return line(Span(new, "strong"), " against ", Span(old, "strong"), ": ", said)
        name = _short(self.difference.name)
        return line(Span(name, "strong"), ": ", said) if name else line(said)


def as_bundle(difference: DataDifference) -> dict[str, Any]:
    """Give what a difference is shown as where it is the last expression of a cell."""
    return DataDifferenceView(difference)._repr_mimebundle_()


def difference_blocks(
    found: DataDifference, names: tuple[str, str] = ("before", "after")
) -> Iterator[Block]:
    """Give the columns that changed as a table, without what is the same in all of them."""
    changed = [c for c in (*found.index, *found.columns) if c.change != "same"]
    if not found.before.columns or not found.after.columns:
        # One of them has no columns: all of its values are no column that came or went.
        is_one_kind = found.before.kind == found.after.kind
        told = {"added", "removed"} if is_one_kind else {"added", "removed", *_ROW_CHANGES}
        changed = [c for c in changed if c.name or c.change not in told]
    if not changed or found.change in {"same", "not shown different"}:
        return
    shown = changed[:MOST_COLUMNS]
    heads = (
        Column("column", widest=_LONGEST_NAME),
        Column("change", widest=40),
        Column("values", "right", rank=2, hover="part of the values that differ"),
        Column("rows", rank=3, hover="where the changes are, counted from 0"),
        Column("mean", rank=4, widest=40),
        Column("range", rank=6, widest=60),
        Column("nulls", "right", rank=5),
    )
    rows = [_column_cells(column) for column in shown]
    kept = [i for i in range(len(heads)) if i == 0 or any(row[i].text for row in rows)]
    yield Table(
        tuple(heads[i] for i in kept),
        tuple(TableRow(tuple(row[i] for i in kept)) for row in rows),
        f"columns that differ between {names[0]} and {names[1]}" if all(names) else "columns",
    )
    if len(changed) > len(shown):
        left = counted(len(changed) - len(shown), "more column")
        yield line(Span(f"… {left} differ, all in the JSON", "muted"))


def _column_cells(found: ColumnDifference) -> tuple[Cell, ...]:
    before, after = found.before, found.after
    share = found.share
    return (
        Cell(found.name or "values", "strong"),
        Cell(_change(found), "warn" if found.change != "not shown different" else "muted"),
        Cell("" if share is None else _percent(share), bar=share),
        Cell(_rows(found.rows)),
        _sides(*(None if one is None else one.mean for one in (before, after))),
        _ranges(before, after),
        _sides(*(None if one is None else one.nulls or None for one in (before, after))),
    )


def _change(found: ColumnDifference) -> str:
    if found.change == "renamed":
        return f"was {found.previous_name}"
    if found.change == "dtype changed":
        old, new = found.stored or (
            found.before.type if found.before else "",
            found.after.type if found.after else "",
        )
        same = ", values same" if found.are_values_same else ""
        return f"{old} → {new}{same}"
    return found.change


def _percent(share: float) -> str:
    if not share:
        return "0 %"
    if share < 0.001:  # noqa: PLR2004
        return "< 0.1 %"
    return f"{number(100 * share, 2)} %"


def _rows(ranges: tuple[tuple[int, int], ...]) -> str:
    texts = [f"{a:,}" if a == b else f"{a:,}–{b:,}" for a, b in ranges[:3]]
    return ", ".join(texts) + (", …" if len(ranges) > 3 else "")  # noqa: PLR2004


def _sides(old: float | None, new: float | None) -> Cell:
    if old is None and new is None:
        return Cell("")
    if old == new:
        return Cell(number(new), "muted", value_hover(new))
    shown = (number(old), number(new)) if old is None or new is None else told_apart(old, new)
    return Cell(" → ".join(shown), hover=f"{old!r} → {new!r}")


def _ranges(before: ColumnFingerprint | None, after: ColumnFingerprint | None) -> Cell:
    old, new = (_range(column) for column in (before, after))
    if not old and not new:
        return Cell("")
    if old == new:
        return Cell(new, "muted")
    return Cell(f"{old or UNKNOWN} → {new or UNKNOWN}")


def _range(column: ColumnFingerprint | None) -> str:
    if column is None or (column.minimum is None and column.maximum is None):
        return ""
    return f"{_bound(column.minimum)} … {_bound(column.maximum)}"


def _bound(value: Json) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    text = one_line(scalar(value))
    if _TIME.match(text):
        # Midnight and whole seconds are what most times are.
        text = text.removesuffix(".000000").removesuffix("T00:00:00").replace("T", " ")
    return shortened(text, 26)


# --- one value ---------------------------------------------------------------------------------


def _digest_table(columns: tuple[ColumnFingerprint, ...]) -> Table:
    heads = (
        Column("column", widest=_LONGEST_NAME),
        Column("type", widest=32),
        Column("digest", widest=40),
        Column("chunks", "right", rank=2, hover="of 65,536 rows, each with a digest of its own"),
    )
    rows = tuple(
        TableRow(
            (
                _name_cell(column),
                Cell(column.type, "muted"),
                Cell(column.digest[:12] or UNKNOWN, "muted", column.digest),
                Cell(f"{len(column.chunks):,}" if column.chunks else ""),
            )
        )
        for column in columns
    )
    return Table(heads, rows, "digests of the columns")


def _profile_table(
    columns: tuple[ColumnFingerprint, ...], distinct: Sequence[Distinct | None]
) -> Table:
    heads: tuple[Column, ...] = (
        Column("column", widest=_LONGEST_NAME),
        Column("type", rank=3, widest=24),
        Column("count", "right"),
        Column("missing", "right", rank=1, has_bars=True),
        Column("distinct", "right", rank=2, hover="different values, without the missing ones"),
        Column("min", "right", rank=4, widest=26),
        Column("mean", "right", hover="bar: where it lies between min and max", has_bars=True),
        Column("max", "right", rank=4, widest=26),
    )
    rows = [_profile_cells(column, one) for column, one in zip(columns, distinct, strict=True)]
    if not any(distinct):
        heads, rows = _without(heads, _DISTINCT), [_without(row, _DISTINCT) for row in rows]
    return Table(heads, tuple(map(TableRow, rows)), "statistics of the columns")


def _without(items: tuple[T, ...], place: int) -> tuple[T, ...]:
    return items[:place] + items[place + 1 :]


def _profile_cells(column: ColumnFingerprint, distinct: Distinct | None) -> tuple[Cell, ...]:
    missing = column.nulls / column.count if column.count else 0.0
    place = _place(column)
    about = f"{column.nulls:,} of {column.count:,} values are missing"
    return (
        _name_cell(column),
        Cell(column.type, "muted"),
        Cell(f"{column.count:,}"),
        Cell(_percent(missing), "warn" if missing else "muted", about, bar=missing or None),
        Cell(UNKNOWN if distinct is None else distinct.text, hover=_how_counted(distinct)),
        Cell(_bound(column.minimum) if column.minimum is not None else UNKNOWN),
        Cell(number(column.mean), "plain", value_hover(column.mean), bar=place),
        Cell(_bound(column.maximum) if column.maximum is not None else UNKNOWN),
    )


def _how_counted(distinct: Distinct | None) -> str:
    if distinct is None:
        return "not counted"
    return {
        "exact": "all were counted",
        "more than": "counting stopped there",
        "at least": "in the first rows, which alone were read",
    }[distinct.bound]


def _name_cell(column: ColumnFingerprint) -> Cell:
    """Name a column; row labels mostly have no name."""
    return Cell(column.name, "strong") if column.name else Cell("index", "muted", "row labels")


def _place(column: ColumnFingerprint) -> float | None:
    """Give where the mean lies between the bounds; None where that means nothing."""
    values = [
        float(value)
        for value in (column.minimum, column.mean, column.maximum)
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if len(values) < 3:  # noqa: PLR2004  a text has no place on a line
        return None
    low, mean, high = values
    if not all(map(math.isfinite, (low, mean, high, high - low))) or high <= low:
        return None
    return min(max((mean - low) / (high - low), 0.0), 1.0)


def _short(name: str) -> str:
    return shortened(one_line(name), _LONGEST_NAME)
