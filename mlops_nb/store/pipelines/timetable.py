"""When pipelines run by themselves, and which of those times were taken by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from mlops_nb.model.pipelines import Firing, Schedule
from mlops_nb.store.pipelines import leases
from mlops_nb.store.pipelines.tables import firings, schedules
from mlops_nb.store.reading import queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, RowMapping

    from mlops_nb.model import Json

_HELD = frozenset({"claimed", "running"})


# --- schedules ----------------------------------------------------------------------------------


def save_schedule(connection: Connection, schedule: Schedule) -> None:
    """Write a schedule, in place of what has its id."""
    row = {
        "id": schedule.id,
        "name": schedule.name,
        "cron": schedule.cron,
        "zone": schedule.zone,
        "target": schedule.target,
        "params": dict(schedule.params),
        "options": dict(schedule.options),
        "missed": schedule.missed,
        "overlap": schedule.overlap,
        "is_paused": schedule.is_paused,
        "created_at": schedule.created_at_ns,
        "created_by": schedule.created_by,
        "next_at": schedule.next_at_ns,
        "changed_at": leases.now_ns(connection),
    }
    connection.execute(queries.upsert(schedules, connection.dialect.name), [row])


def all_schedules(connection: Connection) -> list[Schedule]:
    """Read the schedules, by name."""
    rows = connection.execute(select(schedules).order_by(schedules.c.name, schedules.c.id))
    return [_schedule(row) for row in rows.mappings()]


def find_schedules(connection: Connection, ref: str) -> list[Schedule]:
    """Read those with an id, else those with a name, else those whose id begins so."""
    c = schedules.c
    for named in (c.id == ref, c.name == ref, c.id.startswith(ref, autoescape=True)):
        rows = connection.execute(select(schedules).where(named).order_by(c.id)).mappings().all()
        if rows and ref:
            return [_schedule(row) for row in rows]
    return []


def advance_schedule(
    connection: Connection, id_: str, seen_ns: int | None, next_ns: int | None
) -> bool:
    """Set the next time of a schedule, if nobody has since it was seen."""
    c = schedules.c
    values = {"next_at": next_ns, "changed_at": leases.now_ns(connection)}
    change = update(schedules).where(c.id == id_, c.next_at.is_not_distinct_from(seen_ns))
    return connection.execute(change.values(values)).rowcount == 1


def drop_schedule(connection: Connection, id_: str) -> bool:
    """Remove a schedule, by its full id; its firings stay as a history."""
    return connection.execute(delete(schedules).where(schedules.c.id == id_)).rowcount == 1


# --- firings ------------------------------------------------------------------------------------


def claim_firing(
    connection: Connection,
    schedule: str,
    due_at_ns: int,
    owner: Mapping[str, Json],
    lease_s: float,
) -> bool:
    """Take a firing that nobody has taken, or whose process is gone before it had an end."""
    key = {"schedule": schedule, "due_at": due_at_ns}
    new = {"state": "claimed", "text": "", "changed_at": leases.now_ns(connection)}
    return leases.claim(
        connection, firings, key, owner, lease_s, free=frozenset(), held=_HELD, new=new
    )


def renew_firing(
    connection: Connection,
    schedule: str,
    due_at_ns: int,
    owner: Mapping[str, Json],
    lease_s: float,
    *,
    run: str | None,
) -> bool:
    """Keep a firing that one has; False if somebody else has it. With a run, it has begun."""
    key = {"schedule": schedule, "due_at": due_at_ns}
    more: dict[str, Any] = {}
    if run is not None:
        before = leases.read(connection, firings, key)
        # It may begin before the id of its run is known, with an empty one.
        has_begun = before is not None and before["run"] is not None
        now = leases.now_ns(connection)
        more = {"state": "running", "run": run} | ({} if has_begun else {"started_at": now})
    return leases.renew(connection, firings, key, owner, lease_s, held=_HELD, more=more)


def finish_firing(
    connection: Connection,
    schedule: str,
    due_at_ns: int,
    owner: Mapping[str, Json],
    state: str,
    *,
    run: str | None,
    text: str,
) -> bool:
    """Say how a firing has ended that one has; False if somebody else has it."""
    key = {"schedule": schedule, "due_at": due_at_ns}
    row = leases.read(connection, firings, key)
    if row is None or row["state"] not in _HELD or not leases.is_of(row, owner):
        return False
    ended = {
        "state": state,
        "ended_at": leases.now_ns(connection),
        "run": run or row["run"],
        "text": text,
        "lease_until": None,
    }
    return leases.swap(connection, firings, key, row, ended)


def firings_of(connection: Connection, schedule: str, limit: int) -> list[Firing]:
    """Read the firings of a schedule, the latest first."""
    chosen = select(firings).where(firings.c.schedule == schedule)
    rows = connection.execute(chosen.order_by(firings.c.due_at.desc()).limit(limit)).mappings()
    return [_firing(row) for row in rows]


def open_firings(connection: Connection, schedule: str) -> list[Firing]:
    """Read the firings of a schedule that have no end, the earliest first."""
    chosen = select(firings).where(
        firings.c.schedule == schedule, firings.c.state.in_(sorted(_HELD))
    )
    return [
        _firing(row) for row in connection.execute(chosen.order_by(firings.c.due_at)).mappings()
    ]


def abandoned_firings(connection: Connection) -> list[Firing]:
    """Read the firings that have no end, and whose process is gone or gives no sign."""
    chosen = select(firings).where(firings.c.state.in_(sorted(_HELD)))
    now = leases.now_ns(connection)
    rows = connection.execute(chosen.order_by(firings.c.due_at)).mappings()
    return [_firing(row) for row in rows if leases.judge(row, now) == "over"]


def _schedule(row: RowMapping) -> Schedule:
    return Schedule(
        id=row["id"],
        name=row["name"],
        cron=row["cron"],
        zone=row["zone"],
        target=row["target"],
        params=row["params"],
        options=row["options"],
        missed=row["missed"],
        overlap=row["overlap"],
        is_paused=row["is_paused"],
        created_at_ns=row["created_at"],
        created_by=row["created_by"],
        next_at_ns=row["next_at"],
    )


def _firing(row: RowMapping) -> Firing:
    return Firing(
        schedule=row["schedule"],
        due_at_ns=row["due_at"],
        state=row["state"],
        owner=row["owner"],
        lease_until_ns=row["lease_until"],
        run=row["run"],
        started_at_ns=row["started_at"],
        ended_at_ns=row["ended_at"],
        text=row["text"],
    )
