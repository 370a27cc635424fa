"""Rows into records."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb.model import (
    Artifact,
    CellError,
    DataUse,
    Environment,
    Execution,
    FileUse,
    Metric,
    ModelFit,
    Output,
    Param,
    Run,
    Session,
    as_datetime,
)
from mlops_nb.store import schema
from mlops_nb.store.intake.metric_fold import value_of
from mlops_nb.store.reading import queries

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping, Table

Row: TypeAlias = "RowMapping"
_Parts: TypeAlias = "dict[str, list[Row]]"


def load_ids(connection: Connection, ids: Sequence[str]) -> list[Run]:
    """Read runs by their full ids, in that order; those that are not there are left out."""
    found: dict[str, Row] = {}
    for chunk in queries.in_chunks(ids):
        statement = queries.rows_of(schema.runs, "id", chunk)
        found.update((row["id"], row) for row in connection.execute(statement).mappings())
    return load_runs(connection, [found[id_] for id_ in ids if id_ in found])


def load_runs(connection: Connection, rows: Sequence[Row]) -> list[Run]:
    """Make runs of their rows, reading what they have in one statement a kind."""
    ids = [row["id"] for row in rows]
    tables = (
        schema.params,
        schema.metrics,
        schema.tags,
        schema.data_uses,
        schema.models,
        schema.artifacts,
    )
    parts = {table.name: _parts(connection, table, ids) for table in tables}
    needs: _Parts = defaultdict(list)
    for chunk in queries.in_chunks(ids):
        for row in connection.execute(queries.needs_of(chunk)).mappings():
            needs[row["run"]].append(row)
    return [
        _run(row, {name: of[row["id"]] for name, of in parts.items()}, needs[row["id"]])
        for row in rows
    ]


def _parts(connection: Connection, table: Table, ids: Iterable[str]) -> _Parts:
    found: _Parts = defaultdict(list)
    for chunk in queries.in_chunks(ids):
        for row in connection.execute(queries.parts_of(table, chunk)).mappings():
            found[row["run"]].append(row)
    return found


def _run(row: Row, parts: Mapping[str, list[Row]], needs: list[Row]) -> Run:
    body, setup = ([n for n in needs if n["role"] == role] for role in ("body", "setup"))
    return Run(
        id=row["id"],
        name=row["name"],
        status=row["status"],
        kind=row["kind"],
        started_at=as_datetime(row["started_at"]),
        ended_at=_time(row["ended_at"]),
        busy_s=row["busy_s"],
        experiment=row["experiment"],
        group=row["group_key"],
        attempt=row["attempt"],
        parent=row["parent"],
        child=row["child"],
        notebook=row["notebook"],
        session=row["session"],
        params={p["key"]: param(p) for p in parts["params"]},
        metrics={m["key"]: _metric(m) for m in parts["metrics"]},
        tags={t["key"]: t["value"] for t in parts["tags"]},
        verdict=row["verdict"],
        error=row["error"],
        git=row["git"],
        environment=row["environment"],
        data=tuple(_data_use(d) for d in parts["data_uses"]),
        models=tuple(_model_fit(m) for m in parts["models"]),
        artifacts=tuple(_artifact(a) for a in parts["artifacts"]),
        body=tuple(n["execution"] for n in body),
        setup=tuple(n["execution"] for n in setup),
        code_digests=tuple(n["code_digest"] for n in (*setup, *body) if n["code_digest"]),
        note=row["note"] or "",
        is_starred=row["starred_at"] is not None,
        is_archived=row["archived_at"] is not None,
        revision=row["revision"] or 0,
    )


def param(row: Row) -> Param:
    """Make a parameter of its row."""
    return Param(row["value"], row["version"], row["is_default"], row["fit"])


def _metric(row: Row) -> Metric:
    return Metric(
        value=value_of(row["value"]),
        step=row["step"],
        count=row["count"],
        minimum=row["minimum"],
        maximum=row["maximum"],
        binding=row["binding"],
        execution=row["execution"],
        fit=row["fit"],
        detail=row["detail"],
    )


def _data_use(row: Row) -> DataUse:
    return DataUse(
        name=row["name"],
        role=row["role"],
        kind=row["kind"],
        digest=row["digest"],
        assurance=row["assurance"],
        rows=row["rows"],
        columns=row["columns"],
        schema_digest=row["schema_digest"],
        column_digests=row["column_digests"],
        execution=row["execution"],
        fit=row["fit"] or None,
    )


def _model_fit(row: Row) -> ModelFit:
    return ModelFit(
        fit=row["fit"],
        name=row["name"],
        class_name=row["class_name"],
        duration_s=row["duration_s"],
        execution=row["execution"],
    )


def _artifact(row: Row) -> Artifact:
    return Artifact(
        name=row["name"],
        kind=row["kind"],
        mime=row["mime"],
        digest=row["digest"],
        size_bytes=row["size_bytes"],
        execution=row["execution"],
    )


def load_executions(connection: Connection, column: str, values: Iterable[str]) -> list[Execution]:
    """Read executions by id or by session, with their outputs."""
    rows: list[Row] = []
    for chunk in queries.in_chunks(values):
        rows += connection.execute(queries.executions_where(column, chunk)).mappings()
    outputs: dict[str, list[Output]] = defaultdict(list)
    for chunk in queries.in_chunks(row["id"] for row in rows):
        for row in connection.execute(queries.outputs_of(chunk)).mappings():
            outputs[row["execution"]].append(Output(**row))
    files: dict[str, list[FileUse]] = defaultdict(list)
    for chunk in queries.in_chunks(row["id"] for row in rows):
        for row in connection.execute(queries.files_of(chunk)).mappings():
            files[row["execution"]].append(file_use(row))
    return [_execution(row, outputs[row["id"]], files[row["id"]]) for row in rows]


def file_use(row: Row) -> FileUse:
    """Make a use of a file of its row."""
    names = (field.name for field in fields(FileUse))
    return FileUse(**{name: row[name] for name in names})


def _execution(row: Row, outputs: list[Output], files: list[FileUse]) -> Execution:
    return Execution(
        id=row["id"],
        session=row["session"],
        order=row["position"],
        status=row["status"],
        source=row["source_text"] or "",
        code_digest=row["code_digest"],
        started_at=as_datetime(row["started_at"]),
        duration_s=row["duration_s"],
        cpu_s=row["cpu_s"],
        parent=row["parent"],
        cell_id=row["cell_id"],
        cell_index=row["cell_index"],
        transformed=row["transformed_text"],
        execution_count=row["execution_count"],
        error=_error(row["error"]),
        reads=tuple(row["reads"] or ()),
        binds=tuple(row["binds"] or ()),
        mutates=tuple(row["mutates"] or ()),
        deletes=tuple(row["deletes"] or ()),
        flags=tuple(row["flags"] or ()),
        is_inferred=row["is_inferred"],
        outputs=tuple(outputs),
        files=tuple(files),
    )


def _error(facts: Mapping[str, Any] | None) -> CellError | None:
    if facts is None:
        return None
    return CellError(
        str(facts.get("type", "")),
        str(facts.get("message", "")),
        str(facts.get("traceback", "")),
        facts.get("line"),
    )


def load_environments(connection: Connection, digests: Collection[str]) -> dict[str, Environment]:
    """Read environments by their digests."""
    found: dict[str, Environment] = {}
    for chunk in queries.in_chunks(sorted(digests)):
        statement = queries.rows_of(schema.environments, "digest", chunk)
        for row in connection.execute(statement).mappings():
            found[row["digest"]] = Environment(row["digest"], row["content"])
    return found


def session(row: Row) -> Session:
    """Make a session of its row."""
    facts = row["facts"] or {}
    return Session(
        id=row["id"],
        started_at=as_datetime(row["started_at"]),
        ended_at=_time(row["ended_at"]),
        notebook=row["notebook"],
        notebook_assurance=row["notebook_assurance"] or "unknown",
        python=row["python"] or "",
        environment=row["environment"],
        host=row["host"] or "",
        pid=row["pid"] or 0,
        **{name: str(facts.get(name) or "") for name in ("kernel", "folder", "user")},
    )


def _time(at_ns: int | None) -> datetime | None:
    return None if at_ns is None else as_datetime(at_ns)
