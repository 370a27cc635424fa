"""Statements, built and not run: the same on SQLite and PostgreSQL, every value bound."""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from mlops_nb.store import schema
from mlops_nb.store.schema import (
    artifacts,
    executions,
    metric_chunks,
    metrics,
    outputs,
    param_versions,
    params,
    run_executions,
    runs,
    sources,
    spools,
    stream_pieces,
    tags,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Delete, Insert, Select, Table, Update

IN_LIMIT = 500
"""How many values stand in one IN (…); far below every database's limit of bound values."""


def in_chunks(values: Iterable[str]) -> Iterator[list[str]]:
    """Cut values into lists that fit into one statement.

    Examples
    --------
    >>> [len(chunk) for chunk in in_chunks(map(str, range(1200)))]
    [500, 500, 200]
    """
    iterator = iter(values)
    while chunk := list(islice(iterator, IN_LIMIT)):
        yield chunk


def source_digest(text: str) -> str:
    """Name a source: equal texts are kept once."""
    data = text.encode("utf-8", "backslashreplace")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


# --- writing ----------------------------------------------------------------------------------


def _insert(table: Table, dialect: str) -> Any:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@cache
def upsert(table: Table, dialect: str) -> Insert:
    """Insert rows; those with a key that is there replace the old ones."""
    insert = _insert(table, dialect)
    keys = list(table.primary_key.columns)
    changed = {c.name: insert.excluded[c.name] for c in table.columns if not c.primary_key}
    statement: Insert = insert.on_conflict_do_update(index_elements=keys, set_=changed)
    return statement


@cache
def insert_new(table: Table, dialect: str) -> Insert:
    """Insert rows; those with a key that is there are left out."""
    statement: Insert = _insert(table, dialect).on_conflict_do_nothing()
    return statement


def change(table: Table, id_: str) -> Update:
    """Change the row with an id; the values come with the execution."""
    return update(table).where(table.c.id == id_)


def remove_tag(run: str, key: str) -> Delete:
    """Take a tag away."""
    return delete(tags).where(tags.c.run == run, tags.c.key == key)


def remove_chunks() -> Delete:
    """Take chunks of series away; run, key and number come with the execution."""
    return delete(metric_chunks).where(
        metric_chunks.c.run == bindparam("b_run"),
        metric_chunks.c.key == bindparam("b_key"),
        metric_chunks.c.seq == bindparam("b_seq"),
    )


def remove_pieces(execution: str) -> Delete:
    """Take the pieces of an execution's streams away."""
    return delete(stream_pieces).where(stream_pieces.c.execution == execution)


def fill_runs_of_session(session: str, column: str, value: object) -> Update:
    """Tell the runs of a session what they did not know."""
    return (
        update(runs)
        .where(runs.c.session == session, runs.c[column].is_(None))
        .values({column: value})
    )


# --- reading for a fold -----------------------------------------------------------------------


def rows_of(table: Table, column: str, ids: Sequence[str]) -> Select[Any]:
    """Read whole rows by one column."""
    return select(table).where(table.c[column].in_(ids))


def latest_attempts(groups: Sequence[str]) -> Select[Any]:
    """Read the highest attempt number of some groups."""
    return (
        select(runs.c.group_key, func.max(runs.c.attempt))
        .where(runs.c.group_key.in_(groups))
        .group_by(runs.c.group_key)
    )


def running_runs(session: str) -> Select[Any]:
    """Read the runs of a session that have not ended.

    A run whose beginning was lost has no session; what it executed tells.
    """
    theirs = (
        select(run_executions.c.run)
        .join(executions, executions.c.id == run_executions.c.execution)
        .where(executions.c.session == session)
    )
    is_theirs = or_(
        runs.c.session == session, and_(runs.c.session.is_(None), runs.c.id.in_(theirs))
    )
    return select(runs).where(is_theirs, runs.c.status == "running")


def chunk_counts(ids: Sequence[str]) -> Select[Any]:
    """Read number and size of the chunks of all series of some runs, in order."""
    c = metric_chunks.c
    return (
        select(c.run, c.key, c.seq, c.count)
        .where(c.run.in_(ids))
        .order_by(c.run, c.key, c.seq)
    )


def chunks_of(run: str, key: str, since: int = 0) -> Select[Any]:
    """Read the chunks of a series, from one on."""
    c = metric_chunks.c
    return (
        select(c.data, c.spans)
        .where(c.run == run, c.key == key, c.seq >= since)
        .order_by(c.seq)
    )


def pieces_of(execution: str, position: int, mime: str) -> Select[Any]:
    """Read the pieces of an open stream, in order."""
    c = stream_pieces.c
    return (
        select(c.data)
        .where(c.execution == execution, c.position == position, c.mime == mime)
        .order_by(c.id)
    )


# --- reading for people -----------------------------------------------------------------------


def spool_position(spool: str) -> Select[Any]:
    """Read how far a spool has been taken in."""
    return select(spools.c.segment, spools.c.offset).where(spools.c.id == spool)


def executions_where(column: str, values: Sequence[str]) -> Select[Any]:
    """Read executions with their sources, by id or by session, in the order they ran."""
    as_run = sources.alias("as_run")
    typed = sources.c.text.label("source_text")
    run = as_run.c.text.label("transformed_text")
    return (
        select(executions, typed, run)
        .outerjoin(sources, sources.c.digest == executions.c.source)
        .outerjoin(as_run, as_run.c.digest == executions.c.transformed)
        .where(executions.c[column].in_(values))
        .order_by(executions.c.session, executions.c.position, executions.c.id)
    )


def outputs_of(ids: Sequence[str]) -> Select[Any]:
    """Read the outputs of executions, in order."""
    return (
        select(outputs)
        .where(outputs.c.execution.in_(ids))
        .order_by(outputs.c.execution, outputs.c.position, outputs.c.mime)
    )


def needs_of(ids: Sequence[str]) -> Select[Any]:
    """Read what runs need, in the order it ran: run, execution, role, code digest."""
    c = run_executions.c
    return (
        select(c.run, c.execution, c.role, executions.c.code_digest)
        .outerjoin(executions, executions.c.id == c.execution)
        .where(c.run.in_(ids))
        .order_by(c.run, executions.c.started_at, executions.c.position, c.execution)
    )


def parts_of(table: Table, ids: Sequence[str]) -> Select[Any]:
    """Read what runs have of something, in the order it was logged."""
    keys = [column for column in table.primary_key.columns if column.name != "run"]
    return (
        select(table).where(table.c.run.in_(ids)).order_by(table.c.run, table.c.at, *keys)
    )


def param_history(run: str, key: str) -> Select[Any]:
    """Read the earlier values of a parameter, in order."""
    c = param_versions.c
    return select(param_versions).where(c.run == run, c.key == key).order_by(c.version)


def last_event_of_session(session: str) -> list[Select[Any]]:
    """Read the last times at which anything is known to have happened in a session."""
    e, r = executions.c, runs.c
    return [
        select(func.max(func.coalesce(e.ended_at, e.started_at))).where(e.session == session),
        select(func.max(r.last_at)).where(r.session == session),
        select(schema.sessions.c.started_at).where(schema.sessions.c.id == session),
    ]


def counts() -> dict[str, Select[Any]]:
    """Count the rows that people ask about."""
    named = {"runs": runs, "executions": executions, "sessions": schema.sessions}
    named |= {"metrics": metrics, "params": params, "artifacts": artifacts}
    return {name: select(func.count()).select_from(table) for name, table in named.items()}
