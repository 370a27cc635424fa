"""Runs as one pandas DataFrame, without a record for each.

What a run has of parameters comes in one row: all names in one text, all values in another. So
the database hands over a row a run instead of twenty, and one call of the JSON reader makes all
values. Metrics come one by one, because not every database writes all bits of a number.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import String, func, literal, select, true, type_coerce

from mlops_nb.errors import MissingExtra
from mlops_nb.store.reading import pages, queries
from mlops_nb.store.schema import metrics, params, runs, tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from sqlalchemy import ColumnElement, Connection, Select, Table

Columns: TypeAlias = dict[str, Any]
Part: TypeAlias = "Sequence[str] | Select[Any] | None"

# Stands in no JSON text, and in hardly any name; where it does, the names are read one by one.
_BETWEEN = "\x1f"
_ABOUT = (
    "name",
    "status",
    "kind",
    "experiment",
    "attempt",
    "parent",
    "notebook",
    "started_at",
    "ended_at",
    "busy_s",
)


def frame_of(
    connection: Connection, asked: pages.Choice, ids: Sequence[str], limit: int | None
) -> pd.DataFrame:
    """Read the runs that a choice has found as a DataFrame; `limit` says how many it gave."""
    if limit is not None or asked.only is not None:
        return read_frame(connection, ids, list(queries.in_chunks(sorted(ids))))
    # As many statements for a million runs as for one.
    return read_frame(connection, ids, [pages.all_of(asked)])


def read_frame(connection: Connection, ids: Sequence[str], parts: Sequence[Part]) -> pd.DataFrame:
    """Read runs as a DataFrame; see `Store.frame`.

    Parameters
    ----------
    connection
        To the store.
    ids
        The runs, in the order of the rows.
    parts
        Lists of ids or statements that list them, together all that are wanted and perhaps
        more; None stands for whole tables. Each part is read by statements of its own.

    Raises
    ------
    MissingExtra
        pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("Runs as a DataFrame", "pandas") from error
    # Everything comes in the order of the key, so that mostly a column is there as it comes.
    ordered = sorted(ids)
    columns = {
        **_about(connection, parts, ordered),
        **_named("params", _texts(connection, parts, ordered)),
        **_named("metrics", _each(connection, metrics, parts, ordered)),
        **_named("tags", _each(connection, tags, parts, ordered)),
    }
    frame = pd.DataFrame(columns, index=pd.Index(ordered, name="run", dtype=object))
    return frame if ordered == list(ids) else frame.loc[list(ids)]


def _named(kind: str, columns: Columns) -> Columns:
    return {f"{kind}.{key}": columns[key] for key in sorted(columns)}


# --- what every run has -----------------------------------------------------------------------


def _about(connection: Connection, parts: Sequence[Part], ordered: list[str]) -> Columns:
    import numpy as np
    import pandas as pd

    rows = _rows(connection, (about(part) for part in parts))
    ids, *found = zip(*rows, strict=True) if rows else ((), *([()] * len(_ABOUT)))
    places = _places(ids, ordered)
    columns: Columns = {
        n: _put(v, places, len(ordered)) for n, v in zip(_ABOUT, found, strict=True)
    }
    began = np.array(columns["started_at"], "datetime64[ns]")
    ended = np.array(columns.pop("ended_at"), "datetime64[ns]")  # None: not a time
    columns["started_at"] = pd.DatetimeIndex(began, tz="UTC")
    columns["busy_s"] = np.array(columns["busy_s"], float)
    columns["duration_s"] = (ended - began) / np.timedelta64(1, "s")
    return columns


def about(part: Part) -> Select[Any]:
    """Read what every run has, in the order of the ids."""
    wanted = [runs.c[name] for name in _ABOUT]
    return select(runs.c.id, *wanted).where(_is_in(runs.c.id, part)).order_by(runs.c.id)


# --- what runs have under names ---------------------------------------------------------------


def _texts(connection: Connection, parts: Sequence[Part], ordered: list[str]) -> Columns:
    """Read the parameters, one row a run."""
    rows = _rows(connection, (params_of(part) for part in parts))
    layouts: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        layouts.setdefault(row[1], []).append(row)
    columns: Columns = {}
    for names, found in layouts.items():
        keys = names.split(_BETWEEN)
        lists = json.loads(f"[[{'],['.join([row[2] for row in found])}]]")
        if any(len(values) != len(keys) for values in lists):  # a name with `_BETWEEN` in it
            return _each(connection, params, parts, ordered)
        places = _places([row[0] for row in found], ordered)
        for key, values in zip(keys, zip(*lists, strict=True), strict=True):
            columns[key] = _put(values, places, len(ordered), columns.get(key))
    return columns


def params_of(part: Part) -> Select[Any]:
    """Read the parameters of each run as two texts: names, and values in the same order."""
    value = func.coalesce(type_coerce(params.c.value, String), literal("null", String))
    names = func.aggregate_strings(params.c.key, _BETWEEN)
    values = func.aggregate_strings(value, ",")
    found = select(params.c.run, names, values).where(_is_in(params.c.run, part))
    return found.group_by(params.c.run).order_by(params.c.run)


def _each(
    connection: Connection, table: Table, parts: Sequence[Part], ordered: list[str]
) -> Columns:
    """Read what runs have of something, one row each."""
    rows = _rows(connection, (each_of(table, part) for part in parts))
    columns: Columns = {}
    size = _layout_size(rows)
    if size:  # all runs have the same names
        places = _places([row[0] for row in rows[::size]], ordered)
        for i, (_, key, _) in enumerate(rows[:size]):
            columns[key] = _put([row[2] for row in rows[i::size]], places, len(ordered))
    else:
        numbers = {id_: number for number, id_ in enumerate(ordered)}
        for id_, key, value in rows:
            if (place := numbers.get(id_)) is not None:
                columns.setdefault(key, [None] * len(ordered))[place] = value
    if table is params:
        return {key: _decoded(values) for key, values in columns.items()}
    return {key: _floats(v) for key, v in columns.items()} if table is metrics else columns


def each_of(table: Table, part: Part) -> Select[Any]:
    """Read run, name and value of each thing that runs have, in the order of the key."""
    c = table.c
    return select(c.run, c.key, c.value).where(_is_in(c.run, part)).order_by(c.run, c.key)


def _is_in(run: ColumnElement[str], part: Part) -> ColumnElement[bool]:
    return true() if part is None else run.in_(part)


def _layout_size(rows: Sequence[tuple[Any, ...]]) -> int:
    """Give the number of names that every run has, 0 if they do not all have the same."""
    if not rows:
        return 0
    size = next((i for i, row in enumerate(rows) if row[0] != rows[0][0]), len(rows))
    ids, keys = [row[0] for row in rows], [row[1] for row in rows]
    is_even = len(rows) % size == 0 and keys == keys[:size] * (len(rows) // size)
    return size if is_even and ids[::size] == ids[size - 1 :: size] else 0


def _places(ids: Sequence[str], ordered: list[str]) -> list[int] | None:
    """Say in which rows some runs stand (-1: in none); None if they are all, one by one."""
    if list(ids) == ordered:
        return None
    places = {id_: place for place, id_ in enumerate(ordered)}
    return [places.get(id_, -1) for id_ in ids]


def _put(
    values: Sequence[Any], places: list[int] | None, size: int, column: list[Any] | None = None
) -> list[Any]:
    """Put values into their rows."""
    if places is None:
        return list(values)
    column = [None] * size if column is None else column
    for place, value in zip(places, values, strict=True):
        if place >= 0:
            column[place] = value
    return column


def _decoded(texts: Iterable[str | None]) -> list[Any]:
    return [None if text is None else json.loads(text) for text in texts]


def _floats(values: Sequence[float | None]) -> Any:
    import numpy as np

    return np.array(values, float)  # None: NaN


def _rows(connection: Connection, statements: Iterable[Select[Any]]) -> list[tuple[Any, ...]]:
    """Read plain tuples: a hundred thousand rows as records of SQLAlchemy take twice as long."""
    rows: list[tuple[Any, ...]] = []
    for statement in statements:
        result = connection.execute(statement)
        rows += result.cursor.fetchall()
        result.close()
    return rows
