"""What became of steps in runs of pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from mlops_nb.errors.pipelines import StepTaken
from mlops_nb.model.pipelines import StepRun
from mlops_nb.redact.full import redact_fully
from mlops_nb.store.pipelines import leases
from mlops_nb.store.pipelines.tables import step_runs as table
from mlops_nb.store.spool.owner import identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, RowMapping

    from mlops_nb.model import Json

_FREE = frozenset({"pending", "ready"})
_HELD = frozenset({"running"})
_GOOD = frozenset({"done", "cached"})


def record_step(connection: Connection, step: StepRun) -> None:
    """Write what is known of a step, in place of what was.

    Raises
    ------
    StepTaken
        Another process has it now.
    """
    key = {"pipeline_run": step.pipeline_run, "step": step.step}
    before = leases.read(connection, table, key)
    now = leases.now_ns(connection)
    values = _values(step)
    if before is None:
        position = _next_position(connection, step.pipeline_run)
        lease = {"lease_ns": _length(step, now), "doubted_at": None}
        row = {**key, **values, **lease, "position": position, "changed_at": now}
        leases.write(connection, table, row)
        return
    if _is_taken(before, step, now):
        raise StepTaken(step.pipeline_run, step.step)
    if step.started_at_ns is None and step.state not in _FREE:
        values["started_at"] = before["started_at"]
    if step.state in _HELD and step.lease_until_ns is None:
        values["lease_until"] = before["lease_until"]
    elif step.state in _HELD:
        values |= {"lease_ns": _length(step, now), "doubted_at": None}
    if not leases.swap(connection, table, key, before, values):
        raise StepTaken(step.pipeline_run, step.step)


def claim_step(
    connection: Connection,
    pipeline_run: str,
    step: str,
    owner: Mapping[str, Json],
    lease_s: float,
) -> bool:
    """Take a step that waits, or whose process is gone; it runs then."""
    key = {"pipeline_run": pipeline_run, "step": step}
    now = leases.now_ns(connection)
    new = {
        **_values(StepRun(pipeline_run, step, "running", started_at_ns=now)),
        "position": _next_position(connection, pipeline_run),
        "changed_at": now,
    }
    return leases.claim(connection, table, key, owner, lease_s, free=_FREE, held=_HELD, new=new)


def renew_step(
    connection: Connection,
    pipeline_run: str,
    step: str,
    owner: Mapping[str, Json],
    lease_s: float,
) -> bool:
    """Keep a step that one has; False if somebody else has it."""
    key = {"pipeline_run": pipeline_run, "step": step}
    return leases.renew(connection, table, key, owner, lease_s, held=_HELD, more={})


def step_runs(connection: Connection, pipeline_run: str) -> list[StepRun]:
    """Read the steps of a run, in the order in which they were first told of."""
    chosen = select(table).where(table.c.pipeline_run == pipeline_run)
    rows = connection.execute(chosen.order_by(table.c.position, table.c.step)).mappings()
    return [_record(row) for row in rows]


def abandoned_steps(connection: Connection, pipeline_run: str) -> list[str]:
    """Name the steps that count as running, and whose process is gone or gives no sign."""
    chosen = select(table).where(
        table.c.pipeline_run == pipeline_run, table.c.state.in_(sorted(_HELD))
    )
    now = leases.now_ns(connection)
    rows = connection.execute(chosen.order_by(table.c.position)).mappings()
    return [row["step"] for row in rows if leases.judge(row, now) == "over"]


def latest_pipeline_runs(connection: Connection, limit: int) -> list[str]:
    """List the runs of pipelines that steps are known of, by the last change of one."""
    last = func.max(table.c.changed_at)
    chosen = select(table.c.pipeline_run).group_by(table.c.pipeline_run)
    return list(connection.scalars(chosen.order_by(last.desc()).limit(limit)))


def last_whole_run(connection: Connection, notebook: str) -> str | None:
    """Name the last run of a notebook that is neither a pipeline nor a step; None without one."""
    from mlops_nb.store.schema import runs

    c = runs.c
    chosen = select(c.id).where(
        c.notebook == notebook,
        c.kind.not_in(("pipeline", "step")),
        c.parent.is_(None),
        c.deleted_at.is_(None),
    )
    return connection.scalar(chosen.order_by(c.started_at.desc()).limit(1))


def _is_taken(before: RowMapping, step: StepRun, now: int) -> bool:
    """Say whether a step is another process's: it runs there, or has come to its end there.

    One who was taken for dead and wakes up must not write over what its successor has done. Where
    a record says nothing of who has it, the process that writes it counts.
    """
    if leases.is_of(before, step.owner or identity()):
        return False
    if before["state"] in _HELD:
        return leases.judge(before, now) != "over"
    return before["state"] in _GOOD and bool(before["owner"]) and bool(step.owner)


def _next_position(connection: Connection, pipeline_run: str) -> int:
    asked = select(func.max(table.c.position)).where(table.c.pipeline_run == pipeline_run)
    last = connection.scalar(asked)
    return 0 if last is None else int(last) + 1


def _length(step: StepRun, now: int) -> int | None:
    return None if step.lease_until_ns is None else max(step.lease_until_ns - now, 0)


def _values(step: StepRun) -> dict[str, Any]:
    """Give the columns of a step that a record tells."""
    return {
        "state": step.state,
        "run": step.run,
        "cached_from": step.cached_from,
        "attempt": step.attempt,
        "key": step.key,
        "parts": dict(step.parts),
        "started_at": step.started_at_ns,
        "ended_at": step.ended_at_ns,
        "error": None if step.error is None else _clean(step.error),
        "notebook": step.notebook,
        "owner": dict(step.owner),
        "lease_until": step.lease_until_ns,
    }


def _clean(error: Mapping[str, Json]) -> dict[str, Json]:
    """Take secrets out of what is said of an error, whoever has said it."""
    return {
        name: redact_fully(said)[0] if isinstance(said, str) else said
        for name, said in error.items()
    }


def _record(row: RowMapping) -> StepRun:
    return StepRun(
        pipeline_run=row["pipeline_run"],
        step=row["step"],
        state=row["state"],
        run=row["run"],
        cached_from=row["cached_from"],
        attempt=row["attempt"],
        key=row["key"],
        parts=row["parts"],
        started_at_ns=row["started_at"],
        ended_at_ns=row["ended_at"],
        error=row["error"],
        notebook=row["notebook"],
        owner=row["owner"],
        lease_until_ns=row["lease_until"],
    )
