"""How many different values a column has, as far as that is known without reading it all again.

Not part of a fingerprint: it is counted when somebody asks.
"""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Any, Literal

from mlops_nb.fingerprint.scheme import FAILURES, ROWS
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlops_nb.fingerprint.cells import Cells
    from mlops_nb.model import ColumnFingerprint, Fingerprint

LIMIT = 1_000
"""Up to so many different values are counted."""

_PLAIN = {str, bytes, dt.date, dt.datetime, dt.timedelta}
_MOST_ROWS, _MOST_CELLS = 1 << 20, 1 << 23


@record
class Distinct:
    """How many different values there are; missing ones and NaN do not count.

    Attributes
    ----------
    bound
        ``exact``; ``more than`` where counting stopped at the limit; ``at least`` where only the
        first rows of many were looked at.
    """

    count: int
    bound: Literal["exact", "more than", "at least"] = "exact"

    @property
    def text(self) -> str:
        """As few letters as say it: ``12``, ``> 1,000``, ``≥ 12``."""
        mark = {"exact": "", "more than": "> ", "at least": "≥ "}[self.bound]
        return f"{mark}{self.count:,}"


def count_distinct(
    value: object, found: Fingerprint, names: Iterable[str], *, limit: int = LIMIT
) -> dict[str, Distinct]:
    """Count the different values of columns.

    Columns up to a million rows are read until there are more than `limit`; of longer ones, and
    where there are very many, the first 65,536 rows. No code of an object in them is run.

    Parameters
    ----------
    value
        A frame or series of pandas or Polars, or a table of Arrow; its fingerprint where only
        that is known.
    found
        Its fingerprint, whose statistics often know already.
    names
        Of the columns.

    Returns
    -------
    dict
        By name; without the columns of which nothing is known.

    Examples
    --------
    >>> import pandas as pd
    >>> from mlops_nb.fingerprint import fingerprint
    >>> table = pd.DataFrame({"a": [1, 2, 2], "b": ["x", "x", None]})
    >>> {name: one.text for name, one in count_distinct(table, fingerprint(table), "ab").items()}
    {'a': '2', 'b': '1'}
    """
    columns = {name: found.columns[name] for name in names if name in found.columns}
    cells = _cells(value)
    most_rows = min(_MOST_ROWS, _MOST_CELLS // max(len(columns), 1))
    counted = {}
    for name, column in columns.items():
        known = _known(column) or _counted(cells.get(name), most_rows, limit)
        if known is not None:
            counted[name] = known
    return counted


def _known(column: ColumnFingerprint) -> Distinct | None:
    """Take it from the statistics, where these say it."""
    if column.count and column.count == column.nulls:
        return Distinct(0)
    low, high = column.minimum, column.maximum
    if low is None or high is None or (column.type.startswith("float") and not low):
        return None  # two zeros have one bound: they are equal, but not the same
    if low == high:
        return Distinct(1)
    return Distinct(2) if column.type == "bool" else None


def _cells(value: object) -> Mapping[str, Cells]:
    if "numpy" not in sys.modules:
        return {}
    from mlops_nb.fingerprint.cells import cells_of

    try:
        return cells_of(value)
    except FAILURES:
        return {}


def _counted(cells: Cells | None, most_rows: int, limit: int) -> Distinct | None:
    if cells is None or cells.width != 1:
        return None
    last = cells.rows if cells.rows <= most_rows else min(ROWS, cells.rows)
    try:
        count, read = _different(cells.part, last, limit)
    except FAILURES:
        return None
    if count > limit:
        return Distinct(limit, "more than")
    return Distinct(count, "exact" if read == cells.rows else "at least")


def _different(part: Callable[[int, int], Any], rows: int, limit: int) -> tuple[int, int]:
    """Count different values until there are too many; gives also how many rows were read."""
    found: set[object] = set()
    for start in range(0, rows, ROWS):
        stop = min(start + ROWS, rows)
        values, missing = part(start, stop)
        if is_plain := isinstance(values, list) and _are_plain(values):
            found.update(values)
            found.discard(None)
        else:
            found |= _digests(values, missing.reshape(-1))
        # Objects are encoded one by one, which takes too long for very many.
        if len(found) > limit or (isinstance(values, list) and not is_plain):
            return len(found), stop
    return len(found), rows


def _digests(values: Any, missing: Any) -> set[int]:
    """Digest what is there; NaN is a value to no one who counts them."""
    from mlops_nb.fingerprint.cells import cell_digests

    digests = cell_digests(values, missing).reshape(-1)
    if getattr(values, "dtype", None) is not None and values.dtype.kind in "fc":
        missing = missing | (values != values).reshape(-1)  # noqa: PLR0124
    return {*digests[~missing].tolist()}


def _are_plain(values: list[Any]) -> bool:
    """Tell whether values compare by themselves: of one class, whose code is Python's own."""
    kinds = {type(value) for value in values} - {type(None)}
    if len(kinds) != 1 or not kinds <= _PLAIN:
        return False
    return dt.datetime not in kinds or all(v is None or v.tzinfo is None for v in values)
