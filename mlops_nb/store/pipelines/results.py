"""Results of steps to use again, proofs of splits, and facts about steps."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, exists, or_, select, update

from mlops_nb.model.pipelines import CachedStep, Fact, Packed, PackedFile, SplitProof
from mlops_nb.store.column_kinds import dump_json
from mlops_nb.store.pipelines import leases
from mlops_nb.store.pipelines.tables import cached_steps, split_proofs, step_facts, step_runs
from mlops_nb.store.reading import queries
from mlops_nb.store.schema import runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, RowMapping

    from mlops_nb.model import Json

# --- results ------------------------------------------------------------------------------------


def save_cached(connection: Connection, step: CachedStep) -> None:
    """Keep results of a step; those that the same run has made before are replaced."""
    row = {
        "key": step.key,
        "made_by": step.run,
        "pipeline": step.pipeline,
        "step": step.step,
        "created_at": step.created_at_ns,
        "used_at": step.used_at_ns,
        "parts": dict(step.parts),
        "units": [_unit_document(unit) for unit in step.units],
        "files": dict(step.files),
        "notebook": step.notebook,
        "duration_s": step.duration_s,
        "changed_at": leases.now_ns(connection),
    }
    connection.execute(queries.upsert(cached_steps, connection.dialect.name), [row])


def find_cached(
    connection: Connection,
    *,
    pipeline: str | None = None,
    step: str | None = None,
    key: str | None = None,
    run: str | None = None,
    limit: int | None = None,
) -> list[CachedStep]:
    """Read results, the newest first; not those of runs that somebody has deleted."""
    c = cached_steps.c
    asked = {c.pipeline: pipeline, c.step: step, c.key: key, c.made_by: run}
    chosen = select(cached_steps).where(
        ~_is_deleted(), *(column == value for column, value in asked.items() if value is not None)
    )
    newest = chosen.order_by(c.created_at.desc(), c.made_by.desc()).limit(limit)
    found = (_cached(row) for row in connection.execute(newest).mappings())
    return [one for one in found if one is not None]


def touch_cached(connection: Connection, key: str, run: str) -> None:
    """Say that results were used now."""
    now = leases.now_ns(connection)
    c = cached_steps.c
    change = update(cached_steps).where(c.key == key, c.made_by == run)
    connection.execute(change.values(used_at=now, changed_at=now))


def drop_cached(
    connection: Connection,
    *,
    pipeline: str | None = None,
    step: str | None = None,
    key: str | None = None,
    run: str | None = None,
    before_ns: int | None = None,
) -> list[CachedStep]:
    """Remove results, but not those that a running pipeline works with; give what went.

    With `before_ns`, only what was neither made nor used since then.
    """
    found = find_cached(connection, pipeline=pipeline, step=step, key=key, run=run)
    if before_ns is not None:
        found = [one for one in found if max(one.created_at_ns, one.used_at_ns or 0) < before_ns]
    in_use = _in_use(connection)
    gone = [one for one in found if one.run not in in_use]
    c = cached_steps.c
    for one in gone:
        connection.execute(delete(cached_steps).where(c.key == one.key, c.made_by == one.run))
    return gone


def _in_use(connection: Connection) -> set[str]:
    """Name the step runs whose results a pipeline that runs now may still read."""
    c = step_runs.c
    now = leases.now_ns(connection)
    held = connection.execute(select(step_runs).where(c.state == "running")).mappings()
    running = {row["pipeline_run"] for row in held if leases.judge(row, now) != "over"}
    found: set[str] = set()
    for chunk in queries.in_chunks(sorted(running)):
        rows = connection.execute(select(c.run, c.cached_from).where(c.pipeline_run.in_(chunk)))
        found.update(run for row in rows for run in row if run is not None)
    return found


def _is_deleted() -> ColumnElement[bool]:
    return exists().where(
        and_(runs.c.id == cached_steps.c.made_by, runs.c.deleted_at.is_not(None))
    )


def _unit_document(unit: Packed) -> dict[str, Json]:
    files = [[each.name, each.digest, each.size_bytes] for each in unit.files]
    return {
        "names": list(unit.names),
        "format": unit.format,
        "files": files,
        "digest": unit.digest,
        "digests": dict(unit.digests),
        "assurance": unit.assurance,
        "signature": unit.signature,
        "size_bytes": unit.size_bytes,
        "detail": dict(unit.detail),
    }


def _unit(document: Mapping[str, Any]) -> Packed:
    files = tuple(PackedFile(name, digest, size) for name, digest, size in document["files"])
    return Packed(**{**document, "names": tuple(document["names"]), "files": files})


def _cached(row: RowMapping) -> CachedStep | None:
    """Read results; None for a row that is not as it should be, which is then made again."""
    try:
        units = tuple(map(_unit, row["units"]))
        parts, files = dict(row["parts"]), dict(row["files"])
    except (TypeError, ValueError, LookupError):
        return None
    return CachedStep(
        key=row["key"],
        pipeline=row["pipeline"],
        step=row["step"],
        run=row["made_by"],
        created_at_ns=row["created_at"],
        parts=parts,
        units=units,
        files=files,
        notebook=row["notebook"],
        duration_s=row["duration_s"] or 0.0,
        used_at_ns=row["used_at"],
    )


# --- proofs -------------------------------------------------------------------------------------


def save_proof(connection: Connection, proof: SplitProof) -> None:
    """Keep what a verification said, in place of what an earlier one of the same split said."""
    row = {
        "pipeline": proof.pipeline,
        "split": proof.split,
        "verdict": proof.verdict,
        "at": proof.at_ns,
        "compared": [dict(value) for value in proof.values],
        "repairs": list(proof.repairs),
        "difference": proof.difference,
        "run": proof.run,
        "changed_at": leases.now_ns(connection),
    }
    connection.execute(queries.upsert(split_proofs, connection.dialect.name), [row])


def find_proof(connection: Connection, pipeline: str, split: str | None) -> SplitProof | None:
    """Read the proof of a split, or the last one of a pipeline; None if there is none."""
    c = split_proofs.c
    chosen = select(split_proofs).where(c.pipeline == pipeline)
    if split is not None:
        chosen = chosen.where(c.split == split)
    row = connection.execute(chosen.order_by(c.at.desc()).limit(1)).mappings().first()
    if row is None:
        return None
    return SplitProof(
        pipeline=row["pipeline"],
        split=row["split"],
        verdict=row["verdict"],
        at_ns=row["at"],
        values=tuple(row["compared"]),
        repairs=tuple(row["repairs"]),
        difference=row["difference"],
        run=row["run"],
    )


# --- facts --------------------------------------------------------------------------------------


def save_facts(connection: Connection, pipeline: str, facts: Sequence[Fact]) -> None:
    """Add facts to those that are known; the same one is kept once."""
    now = leases.now_ns(connection)
    rows = [
        {
            "pipeline": pipeline,
            "digest": _digest_of(fact),
            "step": fact.step,
            "kind": fact.kind,
            "names": list(fact.names),
            "code": fact.code,
            "text": fact.text,
            "changed_at": now + place,
        }
        for place, fact in enumerate(facts)
    ]
    if rows:
        connection.execute(queries.insert_new(step_facts, connection.dialect.name), rows)


def facts_of(connection: Connection, pipeline: str) -> list[Fact]:
    """Read the facts of a pipeline, in the order in which they became known."""
    c = step_facts.c
    chosen = select(step_facts).where(c.pipeline == pipeline).order_by(c.changed_at, c.digest)
    return [
        Fact(row["step"], row["kind"], tuple(row["names"]), row["code"], row["text"])
        for row in connection.execute(chosen).mappings()
    ]


def drop_facts(connection: Connection, pipeline: str) -> int:
    """Forget the facts of a pipeline; gives their number."""
    return connection.execute(delete(step_facts).where(step_facts.c.pipeline == pipeline)).rowcount


def _digest_of(fact: Fact) -> str:
    told = dump_json([fact.step, fact.kind, list(fact.names), fact.code])
    return hashlib.blake2b(told.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


# --- together with runs -------------------------------------------------------------------------


def forget_runs(connection: Connection, ids: Sequence[str]) -> None:
    """Remove what was kept of runs that are removed for good."""
    steps, results = step_runs.c, cached_steps.c
    for chunk in queries.in_chunks(ids):
        connection.execute(delete(cached_steps).where(results.made_by.in_(chunk)))
        of_them = or_(steps.pipeline_run.in_(chunk), steps.run.in_(chunk))
        connection.execute(delete(step_runs).where(of_them))
