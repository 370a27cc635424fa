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
    union,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from mlops_nb.store import schema
from mlops_nb.store.reading.conditions import IS_LISTED, IS_THERE
from mlops_nb.store.schema import (
    artifacts,
    data_uses,
    executions,
    files,
    fingerprints,
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
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import (
        CompoundSelect,
        Delete,
        Insert,
        Select,
        Table,
        Update,
    )


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


def remove_pending_data(row: Mapping[str, Any]) -> Delete:
    """Take away a use of data whose digest was not known yet."""
    c = data_uses.c
    same = (c[name] == row[name] for name in ("run", "role", "name", "fit"))
    return delete(data_uses).where(*same, c.digest == "")


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


def running_runs(session: str, *, or_lost: bool = False) -> Select[Any]:
    """Read the runs of a session that have not ended, or were taken for lost.

    A run whose beginning was lost has no session; what it executed tells.
    """
    theirs = (
        select(run_executions.c.run)
        .join(executions, executions.c.id == run_executions.c.execution)
        .where(run_executions.c.run == runs.c.id, executions.c.session == session)
        .correlate(runs)
    )
    is_theirs = or_(runs.c.session == session, and_(runs.c.session.is_(None), theirs.exists()))
    statuses = ["running", "lost"] if or_lost else ["running"]
    return select(runs).where(is_theirs, runs.c.status.in_(statuses))


def chunk_counts(ids: Sequence[str]) -> Select[Any]:
    """Read number and size of the chunks of all series of some runs, in order."""
    c = metric_chunks.c
    return select(c.run, c.key, c.seq, c.count).where(c.run.in_(ids)).order_by(c.run, c.key, c.seq)


def chunks_of(run: str, key: str, since: int = 0) -> Select[Any]:
    """Read the chunks of a series, from one on."""
    c = metric_chunks.c
    return (
        select(c.data, c.spans).where(c.run == run, c.key == key, c.seq >= since).order_by(c.seq)
    )


def blocks_of(run: str, key: str) -> Select[Any]:
    """Read size and block of each chunk of a series, in order."""
    c = metric_chunks.c
    return select(c.count, c.data).where(c.run == run, c.key == key).order_by(c.seq)


def blocks_of_runs(ids: Sequence[str]) -> Select[Any]:
    """Read size and block of each chunk of all series of some runs, one after the other."""
    c = metric_chunks.c
    found = select(c.run, c.key, c.count, c.data).where(c.run.in_(ids))
    return found.order_by(c.run, c.key, c.seq)


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


def files_of(ids: Sequence[str]) -> Select[Any]:
    """Read the files of executions."""
    return (
        select(files)
        .where(files.c.execution.in_(ids))
        .order_by(files.c.execution, files.c.mode, files.c.uri)
    )


def file_uses(uri: str) -> Select[Any]:
    """Read what used a file, the latest first."""
    return select(files).where(files.c.uri == uri).order_by(files.c.at.desc())


def fingerprint(digest: str, schema_digest: str) -> Select[Any]:
    """Read a fingerprint in full; any with these values if no schema is given."""
    c = fingerprints.c
    statement = select(c.content).where(c.digest == digest)
    return statement.where(c.schema_digest == schema_digest) if schema_digest else statement


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
    return select(table).where(table.c.run.in_(ids)).order_by(table.c.run, table.c.at, *keys)


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
    found = {name: select(func.count()).select_from(table) for name, table in named.items()}
    return {**found, "runs": found["runs"].where(IS_THERE)}


def lost_runs() -> Select[Any]:
    """Count the runs whose process died."""
    return select(func.count()).select_from(runs).where(runs.c.status == "lost", IS_THERE)


def written_by() -> Select[Any]:
    """Read which version wrote the store's tables."""
    return select(schema.meta.c.written_by)


def unended_sessions() -> Select[Any]:
    """Read the sessions that neither ended nor were lost."""
    s = schema.sessions.c
    return select(s.id, s.owner).where(s.ended_at.is_(None), s.lost_at.is_(None))


# --- one parameter, one metric, one fit -------------------------------------------------------


def param(run: str, key: str) -> Select[Any]:
    """Read the last version of a parameter."""
    return select(params).where(params.c.run == run, params.c.key == key)


def metric(run: str, key: str) -> Select[Any]:
    """Read the last value of a metric."""
    return select(metrics).where(metrics.c.run == run, metrics.c.key == key)


def metrics_of(run: str) -> Select[Any]:
    """Read the last values of all metrics of a run."""
    return select(metrics).where(metrics.c.run == run)


def param_keys_of_fit(run: str, fit: str) -> CompoundSelect[Any]:
    """Read the names of the parameters of which some version belongs to a fit."""
    return union(
        *(select(t.c.key).where(t.c.run == run, t.c.fit == fit) for t in (params, param_versions))
    )


def rows_of_fit(table: Table, run: str, fit: str) -> Select[Any]:
    """Read what a run has of a fit."""
    return select(table).where(table.c.run == run, table.c.fit == fit)


def remove_rows_of_fit(table: Table, run: str, fit: str) -> Delete:
    """Take away what a run has of a fit."""
    return delete(table).where(table.c.run == run, table.c.fit == fit)


def remove_key(table: Table, run: str, key: str) -> Delete:
    """Take away what a run has under a name."""
    return delete(table).where(table.c.run == run, table.c.key == key)


# --- pages of runs ----------------------------------------------------------------------------

NEWEST_FIRST = (runs.c.started_at.desc(), runs.c.id.desc())


def latest_of_groups(limit: int, *, archived: bool = False) -> Select[Any]:
    """Read the row of the latest attempt of each group, newest first."""
    shown = IS_THERE if archived else IS_LISTED
    last = (
        select(runs.c.group_key, func.max(runs.c.attempt).label("attempt"))
        # A child has no attempt of its own. To ask for its parent instead would be to leave the
        # index in which the groups lie one after the other.
        .where(runs.c.group_key > "", runs.c.attempt > 0, shown)
        .group_by(runs.c.group_key)
        .subquery()
    )
    is_last = and_(runs.c.group_key == last.c.group_key, runs.c.attempt == last.c.attempt)
    return select(runs).join(last, is_last).where(shown).order_by(*NEWEST_FIRST).limit(limit)
