"""Evidence of one fit, moved from a run to the child that the fit turned out to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb.store import schema
from mlops_nb.store.intake.fold import queryable
from mlops_nb.store.intake.metric_fold import append_points, only_point, read_points, row_of
from mlops_nb.store.reading import queries
from mlops_nb.store.reading.series import Points

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Table

    from mlops_nb.model import FitMoved

Row: TypeAlias = dict[str, Any]


def move_fit(connection: Connection, event: FitMoved) -> None:
    """Move parameters, metrics, data, models and artifacts of a fit to a child."""
    for table in (schema.data_uses, schema.models, schema.artifacts):
        _move_rows(connection, table, event)
    for key in connection.scalars(queries.param_keys_of_fit(event.parent, event.fit)).all():
        _move_param(connection, event, key)
    for row in connection.execute(queries.metrics_of(event.parent)).mappings().all():
        if row["fit"] == event.fit or row["count"] > 1:
            _move_metric(connection, event, dict(row))


def _move_rows(connection: Connection, table: Table, event: FitMoved) -> None:
    found = connection.execute(queries.rows_of_fit(table, event.parent, event.fit)).mappings()
    rows = [{**row, "run": event.child} for row in found]
    if rows:
        connection.execute(queries.insert_new(table, connection.dialect.name), rows)
        connection.execute(queries.remove_rows_of_fit(table, event.parent, event.fit))


def _move_param(connection: Connection, event: FitMoved, key: str) -> None:
    versions = _versions(connection, event.parent, key)
    theirs = [row for row in versions if row["fit"] == event.fit]
    others = [row for row in versions if row["fit"] != event.fit]
    there = _versions(connection, event.child, key)
    _write_versions(connection, event.parent, key, others)
    both = sorted([*there, *theirs], key=lambda row: int(row["at"]))
    _write_versions(connection, event.child, key, both)


def _versions(connection: Connection, run: str, key: str) -> list[Row]:
    rows = list(connection.execute(queries.param_history(run, key)).mappings())
    rows += connection.execute(queries.param(run, key)).mappings()
    return [dict(row) for row in rows]


def _write_versions(connection: Connection, run: str, key: str, rows: Iterable[Row]) -> None:
    for table in (schema.params, schema.param_versions):
        connection.execute(queries.remove_key(table, run, key))
    columns = schema.param_versions.columns.keys()
    numbered = [
        {**{c: row[c] for c in columns}, "run": run, "version": version}
        for version, row in enumerate(rows, 1)
    ]
    if numbered:
        last = {**numbered[-1], **queryable(numbered[-1]["value"])}
        connection.execute(schema.params.insert(), [last])
    if numbered[1:]:
        connection.execute(schema.param_versions.insert(), numbered[:-1])


def _move_metric(connection: Connection, event: FitMoved, row: Row) -> None:
    key = row["key"]
    points = _points(connection, event.parent, row)
    theirs, others = points.part(event.fit)
    if not theirs:
        return
    found = connection.execute(queries.metric(event.child, key)).mappings().first()
    there = None if found is None else dict(found)
    merged = theirs
    if there is not None:
        pairs = [*_points(connection, event.child, there), *theirs]
        merged = Points()
        for point in sorted(pairs, key=lambda point: point[2]):
            merged.add(*point)
    _write_metric(connection, event.parent, key, others, detail=row["detail"])
    _write_metric(connection, event.child, key, merged, detail=row["detail"])


def _points(connection: Connection, run: str, row: Row) -> Points:
    return only_point(row) if row["count"] == 1 else read_points(connection, run, row["key"])


def _write_metric(
    connection: Connection, run: str, key: str, points: Points, *, detail: object
) -> None:
    for table in (schema.metrics, schema.metric_chunks):
        connection.execute(queries.remove_key(table, run, key))
    if not points:
        return
    points.count_steps()
    connection.execute(schema.metrics.insert(), [{**row_of(run, key, points), "detail": detail}])
    if len(points) > 1:
        append_points(connection, {(run, key): points})
