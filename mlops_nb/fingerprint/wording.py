"""A difference between two values, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlops_nb.fingerprint.difference import ColumnDifference, DataDifference, Rows
    from mlops_nb.model import ColumnFingerprint

_NAMED_COLUMNS = 3
_LISTED_COLUMNS = 12
_RANGES = 3
_DIGITS, _MOST_DIGITS = 3, 6
_LEAST_SHARE = 0.01
_LARGEST_PLAIN = 100_000
_SMALLEST_PLAIN = 0.001
_NAME_LENGTH = 60


def summary(found: DataDifference) -> str:
    """Say what differs in one line."""
    clauses = list(_clauses(found, _NAMED_COLUMNS))
    head = f"{_shown(found.name)}: " if found.name else ""
    return head + ", ".join(clauses)


def lines(found: DataDifference) -> list[str]:
    """Say what differs: a line, and one for each changed column if those are many."""
    changed = _with_change(found.columns, "changed", "dtype changed")
    if len(changed) <= _NAMED_COLUMNS:
        return [summary(found)]
    listed = [f"  {_column(column)}" for column in changed[:_LISTED_COLUMNS]]
    rest = len(changed) - len(listed)
    return [summary(found), *listed, *([f"  and {_count(rest, 'column')} more"] if rest else [])]


def _clauses(found: DataDifference, named: int) -> Iterable[str]:
    if found.change == "same":
        yield "same"
        return
    if found.change == "not shown different":
        yield f"not shown different ({_why_unclear(found)})"
        return
    before, after = found.before, found.after
    if before.kind != after.kind:
        yield f"{before.kind} → {after.kind}"
    elif found.change == "changed" and before.shape == after.shape and not found.changed():
        yield "names of axes or attributes changed"
    if found.change == "dtype changed" and not 0 < len(found.changed()) <= named:
        yield "dtype changed, values same" if _are_values_same(found) else "dtype changed"
    elif found.change in {"rows reordered", "columns reordered"}:
        yield f"only {found.change}, values same"
    yield from _schema_clauses(found)
    yield from _value_clauses(found, named)
    yield from _row_clauses(found)


def _are_values_same(found: DataDifference) -> bool:
    changed = found.changed()
    return all(c.change == "dtype changed" and c.are_values_same for c in changed)


def _why_unclear(found: DataDifference) -> str:
    doubtful = [x for x in (found.before.assurance, found.after.assurance) if x != "exact"]
    if not doubtful:
        return "not everything could be compared"
    return " and ".join(dict.fromkeys(doubtful))


def _schema_clauses(found: DataDifference) -> Iterable[str]:
    for word in ("added", "removed"):
        # A value without columns has one without a name, which is nothing to tell of.
        columns = [c for c in _with_change(found.columns, word) if not _is_whole(c, found)]
        if columns:
            yield f"{_names(columns)} {word}"
    renamed = _with_change(found.columns, "renamed")
    for column in renamed[:_NAMED_COLUMNS]:
        yield f"column {_shown(column.previous_name or '')} renamed {_shown(column.name)}"
    if len(renamed) > _NAMED_COLUMNS:
        yield f"{_count(len(renamed) - _NAMED_COLUMNS, 'more column')} renamed"
    if found.are_columns_reordered and found.change != "columns reordered":
        yield "columns reordered"


def _is_whole(column: ColumnDifference, found: DataDifference) -> bool:
    """Whether a column stands for all of a value that has none."""
    side = found.before if column.change == "removed" else found.after
    return not column.name and not side.columns


def _value_clauses(found: DataDifference, named: int) -> Iterable[str]:
    changed = _with_change(found.columns, "changed", "dtype changed")
    if 0 < len(changed) <= named:
        yield from map(_column, changed)
    elif changed:
        yield f"{_count(len(changed), 'column')} changed ({_first_names(changed)}, …)"
    unclear = _with_change(found.columns, "not shown different")
    same = _with_change(found.columns, "same")
    is_table = any(column.name or column.previous_name for column in found.columns)
    if same and is_table and found.change not in {"columns reordered", "dtype changed"}:
        yield f"{_count(len(same), 'column')} same"
    if unclear and is_table:
        yield f"{_count(len(unclear), 'column')} not shown different"


def _column(column: ColumnDifference) -> str:
    name = f"column {_shown(column.name)}" if column.name else "values"
    if column.change == "dtype changed":
        types = " → ".join(_types(column))
        if column.are_values_same:
            return f"{name} dtype {types}, values same"
        return f"{name} dtype {types}{_in_brackets(['values not compared', *_statistics(column)])}"
    where = ", ".join([*_share(column), *_ranges(column.rows)])
    parts = [*([where] if where else []), *_statistics(column)]
    return f"{name} changed{_in_brackets(parts)}"


def _types(column: ColumnDifference) -> Sequence[str]:
    types = [side.type if side else "–" for side in (column.before, column.after)]
    return types if types[0] != types[1] else column.stored or types


def _in_brackets(parts: list[str]) -> str:
    return f" ({'; '.join(parts)})" if parts else ""


def _share(column: ColumnDifference) -> list[str]:
    share = column.share
    if share is None:
        return []
    if 0 < share < _LEAST_SHARE:
        return [_count(column.changed_cells or 0, "value")]
    return [f"{share * 100:.0f} % of values" if share < 1 else "all values"]


def _ranges(rows: Rows) -> list[str]:
    if not rows:
        return []
    shown = [f"{first:,}–{last:,}" if last > first else f"{first:,}" for first, last in rows]
    rest = len(shown) - _RANGES
    more = f" and {_count(rest, 'more range')}" if rest > 0 else ""
    is_one = len(rows) == 1 and rows[0][0] == rows[0][1]
    return [f"row{'' if is_one else 's'} {', '.join(shown[:_RANGES])}{more}"]


def _statistics(column: ColumnDifference) -> list[str]:
    was, now = column.before, column.after
    if was is None or now is None:
        return []
    found = []
    if was.mean is not None and now.mean is not None:
        if means := _pair(was.mean, now.mean):
            found.append(f"mean {means}")
    elif _bounds(was) != _bounds(now) and None not in (*_bounds(was), *_bounds(now)):
        found.append(f"{_range_text(was)} → {_range_text(now)}")
    if was.nulls != now.nulls:
        found.append(f"missing {was.nulls:,} → {now.nulls:,}")
    return found


def _bounds(column: ColumnFingerprint) -> tuple[object, object]:
    return column.minimum, column.maximum


def _range_text(column: ColumnFingerprint) -> str:
    return " – ".join(_shown(str(bound)) for bound in _bounds(column))


def _row_clauses(found: DataDifference) -> Iterable[str]:
    before, after = found.before, found.after
    if before.rows is None or after.rows is None:
        return
    if found.change in {"rows appended", "rows removed"}:
        many = _count(abs(after.rows - before.rows), "row")
        where = "appended" if found.change == "rows appended" else "removed at the end"
        doubt = "" if found.is_proved else " (the last partly filled chunk was not compared)"
        yield f"{many} {where}{doubt}"
    elif before.rows != after.rows:
        yield f"rows {before.rows:,} → {after.rows:,}"
    elif before.shape[1:] != after.shape[1:] and not found.columns[0].name:
        yield f"shape {_shape(before.shape)} → {_shape(after.shape)}"
    if [one for one in found.index if one.change in {"changed", "renamed"}]:
        yield "index changed"
    elif found.change in {"columns changed", "changed"} and before.rows == after.rows:
        is_known = bool(found.index) and all(one.change == "same" for one in found.index)
        if is_known:
            yield "rows same"


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{n:,}" for n in shape)


# --- words ------------------------------------------------------------------------------------


def _with_change(columns: Iterable[ColumnDifference], *changes: str) -> list[ColumnDifference]:
    return [column for column in columns if column.change in changes]


def _names(columns: list[ColumnDifference]) -> str:
    if len(columns) == 1:
        return f"column {_shown(columns[0].name)}"
    if len(columns) <= _NAMED_COLUMNS:
        return f"columns {_first_names(columns)}"
    return f"{len(columns):,} columns ({_first_names(columns)}, …)"


def _first_names(columns: list[ColumnDifference]) -> str:
    return ", ".join(_shown(column.name) for column in columns[:_NAMED_COLUMNS])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _pair(before: float, after: float) -> str:
    """Write two numbers with as many digits as it takes; nothing if only rounding differs."""
    for digits in range(_DIGITS, _MOST_DIGITS):
        was, now = _number(before, digits), _number(after, digits)
        if was != now:
            return f"{was} → {now}"
    return ""


def _number(value: float, digits: int) -> str:
    if value and not _SMALLEST_PLAIN <= abs(value) < _LARGEST_PLAIN:
        return f"{value:.{digits}g}".replace("-", "−")
    decimals = max(0, digits - len(f"{abs(int(value))}" if abs(value) >= 1 else ""))
    return f"{value:,.{decimals}f}".replace("-", "−")


def _shown(text: str) -> str:
    """Keep a name on its line and of a bearable length."""
    one_line = text if text.isprintable() else ascii(text)[1:-1]
    if len(one_line) <= _NAME_LENGTH:
        return one_line
    half = _NAME_LENGTH // 2
    return f"{one_line[:half]}…{one_line[-half:]}"
