"""Tables of named columns without row labels: of Arrow and of Polars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint.scheme import (
    FAILURES,
    Column,
    OverBudgetError,
    as_text,
    schema_digest,
    sequence_digest,
)
from mlops_nb.model import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlops_nb.fingerprint.scheme import Pass


def read_table(
    kind: str,
    shape: tuple[int, ...],
    columns: Sequence[tuple[str, str, Any]],
    read_column: Callable[[Any, Pass], Column],
    tracker: Pass,
    *,
    head: Sequence[bytes] = (),
) -> Fingerprint:
    """Fingerprint a table column by column; one that cannot be read leaves the others.

    Parameters
    ----------
    kind
        Of the table; a part of its digest.
    shape
        All axes.
    columns
        Name, physical type and values of each.
    read_column
        Reads the values of one.
    tracker
        Counts the bytes.
    head
        What else belongs to the digest.
    """
    schema = schema_digest(kind, [part for name, stored, _ in columns for part in (name, stored)])
    parts, records, is_opaque = [*head], {}, False
    try:
        names = distinct([name for name, _, _ in columns])
        for text, (name, stored, values) in zip(names, columns, strict=True):
            column = _column(values, stored, shape[0], read_column, tracker)
            digest = column.digest
            parts += (name.encode(), digest)
            records[text] = column.record(text, digest)
            is_opaque = is_opaque or column.is_opaque
    except OverBudgetError:
        return Fingerprint(kind, "", schema, "skipped:budget", shape[0], shape)
    return Fingerprint(
        kind,
        "" if is_opaque else as_text(sequence_digest(kind, parts)),
        schema,
        "opaque" if is_opaque else "exact",
        rows=shape[0],
        shape=shape,
        columns=records,
    )


def distinct(names: list[str]) -> list[str]:
    """Make each name stand once: a doubled one gets its number.

    Examples
    --------
    >>> distinct(["a", "b", "a"])
    ['a', 'b', 'a (2)']
    """
    if len(set(names)) == len(names):
        return names
    taken: set[str] = set()
    found = []
    for name in names:
        number, unique = 1, name
        while unique in taken:
            number += 1
            unique = f"{name} ({number})"
        taken.add(unique)
        found.append(unique)
    return found


def _column(
    values: Any,
    stored: str,
    rows: int,
    read_column: Callable[[Any, Pass], Column],
    tracker: Pass,
) -> Column:
    try:
        return read_column(values, tracker)
    except FAILURES:
        return Column(stored, rows, is_opaque=True)
