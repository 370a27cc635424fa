"""Who may do something that must be done once: a row that one process claims, for a while.

A claim is a compare and swap: the row is made, or changed if nobody has changed it since it was
read. It ends with its lease, so that the work of a process that was killed is taken over; whoever
does the work renews it long before that, and stops if it cannot.

Time is that of the database, one clock for all machines; SQLite has that of the machine. Clocks
jump: set back, a lease would last for hours; after a sleep, the lease of a process that lives has
run out. In both cases the lease is *doubted*: it runs once more from now on, and only if it is
not renewed then, somebody else has it. Of a process of this machine that is certainly gone no
lease is waited for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sqlalchemy import and_, insert, select, text, update

from mlops_nb.store.reading import queries
from mlops_nb.store.spool.owner import identity, is_gone

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import ColumnElement, Connection, RowMapping, Table

    from mlops_nb.model import Json

Verdict: TypeAlias = Literal["held", "over", "doubtful"]

# How far a clock may be behind another one before we say that it was set back.
_SLACK_NS = 2_000_000_000
_SERVER_CLOCK = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")


def now_ns(connection: Connection) -> int:
    """Tell the time of the database, in nanoseconds since the epoch."""
    if connection.dialect.name == "postgresql":
        return int(connection.scalar(_SERVER_CLOCK) or 0) * 1000
    return time.time_ns()


def judge(lease: Mapping[str, Any] | RowMapping, now: int) -> Verdict:
    """Say whether somebody still has what a row is about.

    Parameters
    ----------
    lease
        ``owner``, ``lease_until``, ``lease_ns`` and ``doubted_at`` of a row.
    now
        The time of the database.

    Examples
    --------
    >>> lease = {"owner": {}, "lease_until": 70, "lease_ns": 60, "doubted_at": None}
    >>> judge(lease, 69), judge(lease, 70)
    ('held', 'over')
    """
    owner, until, length = lease["owner"] or {}, lease["lease_until"], lease["lease_ns"] or 0
    if until is None or is_gone(owner):
        return "over"
    if until - now > length + _SLACK_NS:
        return "doubtful"
    if until > now:
        return "held"
    return "doubtful" if lease["doubted_at"] is None and _lives_here(owner) else "over"


def claim(
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    owner: Mapping[str, Json],
    lease_s: float,
    *,
    free: Collection[str],
    held: Collection[str],
    new: Mapping[str, Any],
) -> bool:
    """Take what a row is about, if nobody has it.

    Parameters
    ----------
    connection
        In a transaction that may write.
    table, key
        The row.
    owner
        Who claims it.
    lease_s
        For how long, unless renewed.
    free
        States in which nobody has it.
    held
        States in which somebody has it until the lease is over.
    new
        Values of the columns of a row that is claimed; all of them where there is none yet.

    Returns
    -------
    bool
        Whether `owner` has it now.
    """
    now = now_ns(connection)
    lease = _lease(owner, lease_s, now)
    row = read(connection, table, key)
    if row is None:
        made = queries.insert_new(table, connection.dialect.name)
        # Of an insertion SQLAlchemy forgets how many rows were new, unless it is told not to.
        made = made.execution_options(preserve_rowcount=True)
        return connection.execute(made, {**key, **new, **lease}).rowcount == 1
    verdict = "over" if row["state"] in free else "held"
    if row["state"] in held:
        verdict = judge(row, now)
    if verdict == "doubtful":
        doubted = {"lease_until": now + (row["lease_ns"] or 0), "doubted_at": now}
        swap(connection, table, key, row, doubted)
    if verdict != "over":
        return False
    changed = {name: new[name] for name in ("state", "started_at") if name in new}
    return swap(connection, table, key, row, {**changed, **lease, "ended_at": None})


def renew(
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    owner: Mapping[str, Json],
    lease_s: float,
    *,
    held: Collection[str],
    more: Mapping[str, Any],
) -> bool:
    """Let a lease run from now on; False if somebody else has it, or it was given back."""
    row = read(connection, table, key)
    if row is None or row["state"] not in held or not is_of(row, owner):
        return False
    lease = _lease(owner, lease_s, now_ns(connection))
    return swap(connection, table, key, row, {**more, **lease})


def is_of(row: Mapping[str, Any] | RowMapping, owner: Mapping[str, Json]) -> bool:
    """Say whether a row is that of an owner."""
    return bool((row["owner"] or {}) == dict(owner))


def read(connection: Connection, table: Table, key: Mapping[str, Any]) -> RowMapping | None:
    """Read one row; None if there is none."""
    return connection.execute(select(table).where(_at(table, key))).mappings().first()


def swap(
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    row: Mapping[str, Any] | RowMapping,
    values: Mapping[str, Any],
) -> bool:
    """Change a row, if it is still as it was read."""
    names = ("state", "lease_until", "changed_at")
    as_read = (table.c[name].is_not_distinct_from(row[name]) for name in names)
    changed = {"changed_at": max(now_ns(connection), row["changed_at"] + 1), **values}
    statement = update(table).where(_at(table, key), *as_read).values(changed)
    return connection.execute(statement).rowcount == 1


def write(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Make a row that is not there."""
    connection.execute(insert(table), [dict(row)])


def _lease(owner: Mapping[str, Json], lease_s: float, now: int) -> dict[str, Any]:
    length = int(lease_s * 1e9)
    return {
        "owner": dict(owner),
        "lease_until": now + length,
        "lease_ns": length,
        "doubted_at": None,
    }


def _at(table: Table, key: Mapping[str, Any]) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in key.items()))


def _lives_here(owner: Mapping[str, Any]) -> bool:
    """Say whether a process of this machine has it, which therefore is not gone."""
    mine = identity()
    return all(owner.get(name) == mine[name] for name in ("host", "namespace", "boot"))
