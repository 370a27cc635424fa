"""How runs and executions end that did not say so themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import func, select, update

from mlops_nb.store.intake.streams import OPEN, StreamFold
from mlops_nb.store.reading import queries
from mlops_nb.store.schema import executions, outputs, runs, sessions

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from mlops_nb.store.blobs import Blobs

Row: TypeAlias = "RowMapping"


def end_session(connection: Connection, blobs: Blobs, session: str, at_ns: int) -> int:
    """End a session that ended in good order; gives the number of runs that it ended.

    A run that is still open is one that only the end of the session could end: an automatic one,
    its children, or a batch. One that somebody opened and never ended is `interrupted`. A run
    that was taken for lost was not: its session could still say that it ended.
    """
    is_open = (sessions.c.id == session, sessions.c.ended_at.is_(None))
    connection.execute(update(sessions).where(*is_open).values(ended_at=at_ns, lost_at=None))
    _join_streams(connection, blobs, session)
    ended = 0
    still_open = connection.execute(queries.running_runs(session, or_lost=True)).mappings()
    for run in still_open.all():
        first, last = _first_and_last(connection, run)
        change: dict[str, object] = {
            "status": _outcome(run, first, last),
            "ended_at": max(_end_of(last) or run["last_at"], run["started_at"]),
        }
        if run["status"] == "lost":
            change["error"] = None
        connection.execute(queries.change(runs, run["id"]), change)
        ended += 1
    return ended


def mark_lost(connection: Connection, blobs: Blobs, session: str, at_ns: int) -> int:
    """Mark what a dead session left open; gives the number of runs.

    Nothing is known of the time after the last record, so a lost run ends there.
    """
    found = connection.execute(select(sessions).where(sessions.c.id == session)).mappings().first()
    if found is not None and found["ended_at"] is None and found["lost_at"] is None:
        connection.execute(queries.change(sessions, session), {"lost_at": at_ns})
    times = [connection.scalar(query) for query in queries.last_event_of_session(session)]
    last_at = max((time for time in times if time is not None), default=at_ns)
    error = _what_was_last(connection, session)
    is_running = (executions.c.session == session, executions.c.status == "running")
    connection.execute(update(executions).where(*is_running).values(status="lost"))
    _join_streams(connection, blobs, session)
    lost = connection.execute(queries.running_runs(session)).mappings().all()
    for run in lost:
        change = {"status": "lost", "ended_at": max(last_at, run["started_at"]), "error": error}
        connection.execute(queries.change(runs, run["id"]), change)
    return len(lost)


def _outcome(run: Row, first: Row | None, last: Row | None) -> str:
    if run["kind"] in {"cell", "pipeline", "step"}:
        return "interrupted"
    # A batch is as good as its last cell, an automatic run as the cell that bore it.
    cell = last if run["kind"] == "batch" else first
    return _OUTCOMES.get(cell["status"] if cell else "ok", "finished")


_OUTCOMES = {
    "error": "failed",
    "syntax": "failed",
    "interrupted": "interrupted",
    "lost": "interrupted",
    "running": "interrupted",
}


def _first_and_last(connection: Connection, run: Row) -> tuple[Row | None, Row | None]:
    """Read the execution that bore a run, and the last one of its body."""
    needs = connection.execute(queries.needs_of([run["id"]])).mappings().all()
    body = [need["execution"] for need in needs if need["role"] == "body"]
    ids = {run["execution"] or (body[0] if body else ""), body[-1] if body else ""}
    found = connection.execute(queries.rows_of(executions, "id", list(ids))).mappings().all()
    rows = {row["id"]: row for row in found}
    first = rows.get(run["execution"] or (body[0] if body else ""))
    return first, rows.get(body[-1]) if body else first


def _end_of(execution: Row | None) -> int | None:
    return None if execution is None else execution["ended_at"]


def _what_was_last(connection: Connection, session: str) -> dict[str, object]:
    """Say what the session did when it was last heard of."""
    newest = (
        select(executions)
        .where(executions.c.session == session)
        .order_by(executions.c.position.desc(), executions.c.id.desc())
        .limit(1)
    )
    cell = connection.execute(newest).mappings().first()
    error: dict[str, object] = {"type": "KernelDied", "execution": cell["id"] if cell else None}
    if cell is None:
        return {**error, "message": "The kernel's process ended without notice."}
    count = cell["execution_count"] or _next_count(connection, session) or cell["position"]
    while_or_after = "while" if cell["status"] == "running" else "after"
    verb = "ran" if cell["status"] == "running" else "had ended"
    message = f"The kernel's process ended without notice, {while_or_after} cell [{count}] {verb}."
    return {**error, "message": message}


def _next_count(connection: Connection, session: str) -> int | None:
    """Return the number that a running cell will have: IPython tells it at the end only."""
    counts = select(func.max(executions.c.execution_count))
    last = connection.scalar(counts.where(executions.c.session == session))
    return None if last is None else int(last) + 1


def _join_streams(connection: Connection, blobs: Blobs, session: str) -> None:
    """Make blobs of streams that nobody will write to any more."""
    left_open = (
        select(outputs.c.execution)
        .join(executions, executions.c.id == outputs.c.execution)
        .where(executions.c.session == session, outputs.c.digest.startswith(OPEN))
    )
    fold = StreamFold(connection, blobs)
    for execution in set(connection.scalars(left_open)):
        fold.end(execution)
    fold.write()
