"""Changes that people make to runs after the fact.

Tombstones, for whoever collects garbage (columns of the table ``runs``):

- ``deleted_at`` is not NULL: somebody deleted the run at that time (ns). It is shown nowhere, and
  can be brought back, children and all.
- ``collected_at`` is not NULL: what it had was removed for good at that time. The row stays, as
  `collect` leaves it: without it, what a session still writes would make the run anew. Evidence
  that comes later lies under the id of a run that is not shown; the next collection takes it too.

A run has a `revision`, which every edit raises; ``run_edits`` keeps each of them. Two people who
edit different fields both win. Of two who edit the same field the second is refused if they say
which revision they had seen, and is told what they replaced if not; the history has both.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import delete, func, insert, select, update

from mlops_nb.errors import EditConflict, EditRefused
from mlops_nb.model import RunEdit, as_datetime
from mlops_nb.redact import redact_fully
from mlops_nb.store import schema
from mlops_nb.store.reading import queries, references
from mlops_nb.store.reading.conditions import IS_THERE
from mlops_nb.store.schema import run_edits, runs, tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, RowMapping

    from mlops_nb.model import Json

Row: TypeAlias = "RowMapping | Mapping[str, Any]"

COLUMNS = frozenset(
    {
        "revision",
        "recorded_name",
        "note",
        "starred_at",
        "archived_at",
        "deleted_at",
        "collected_at",
    }
)
"""Columns of a run that only people write."""

PARTS = (
    schema.params,
    schema.param_versions,
    schema.metrics,
    schema.metric_chunks,
    schema.tags,
    schema.data_uses,
    schema.models,
    schema.artifacts,
    schema.run_executions,
    schema.run_edits,
)
"""The tables with what a run has, by their column ``run``."""

TAG = "tags."
MORE = "+"
_FLAGS = {"starred": "starred_at", "archived": "archived_at", "deleted": "deleted_at"}
_CASCADING = frozenset({"archived_at", "deleted_at"})
_LONGEST = {"name": 200, "note": 100_000, "tag": 5_000, "key": 200}
_ATTEMPTS = 20


def edit_runs(
    connection: Connection,
    references_: Sequence[str],
    changes: Mapping[str, Json],
    *,
    since: int | None = None,
    by: str | None = None,
) -> list[RunEdit]:
    """Change what people may change of some runs, all or none.

    Parameters
    ----------
    connection
        In a transaction that may write.
    references_
        The runs; to undelete, deleted ones.
    changes
        New values by field: ``name`` (empty: as recorded), ``note`` (empty: none), ``note+``
        (written below what is there), ``starred``, ``archived``, ``deleted``, and ``tags.KEY``
        (None: none).
    since
        The revision that the editor had seen.
    by
        Who edits; the user of this process if left out.

    Returns
    -------
    list of RunEdit
        What changed; what was so already is not in it.
    """
    wanted = {field: _checked(field, value) for field, value in changes.items()}
    ids = _resolved(connection, references_, wanted)
    editor = _editor() if by is None else by
    at_ns = time.time_ns()
    return [
        edit
        for id_ in ids
        for edit in _edit_run(connection, id_, wanted, since=since, by=editor, at_ns=at_ns)
    ]


def history(connection: Connection, run: str) -> list[RunEdit]:
    """Read all edits of a run (by its full id), in order."""
    statement = select(run_edits).where(run_edits.c.run == run).order_by(run_edits.c.revision)
    return [_record(row) for row in connection.execute(statement).mappings()]


# --- for the fold: what people set stands -------------------------------------------------------


def column_for(row: Row, column: str) -> str:
    """Name the column that takes what a session tells: a name beside the one a person gave."""
    return "recorded_name" if column == "name" and row["recorded_name"] is not None else column


def is_edited(connection: Connection, run: str, field: str) -> bool:
    """Say whether a person ever changed a field of a run."""
    statement = select(run_edits.c.run).where(run_edits.c.run == run, run_edits.c.field == field)
    return connection.execute(statement.limit(1)).first() is not None


def follow_parent(row: dict[str, Any], parent: Row | None) -> None:
    """Let a child that is born late share the fate of a parent that was put away."""
    for column in _CASCADING:
        if parent is not None and parent[column] is not None and row[column] is None:
            row[column] = parent[column]


# --- for the collection of garbage --------------------------------------------------------------


def deleted_runs(connection: Connection, *, before_ns: int | None = None) -> list[str]:
    """List the deleted runs that still have content, those deleted before a time."""
    chosen = select(runs.c.id).where(runs.c.deleted_at.is_not(None), runs.c.collected_at.is_(None))
    if before_ns is not None:
        chosen = chosen.where(runs.c.deleted_at < before_ns)
    return list(connection.scalars(chosen.order_by(runs.c.deleted_at)))


def collect(connection: Connection, ids: Iterable[str], at_ns: int) -> None:
    """Remove for good what deleted runs have; of each only its id and its times stay."""
    blank: dict[str, Any] = {c.name: None for c in runs.columns if c.nullable}
    blank |= {"name": "", "experiment": "", "group_key": "", "attempt": 0, "collected_at": at_ns}
    for name in ("parent", "child", "session", "deleted_at", "revision"):
        del blank[name]
    for chunk in queries.in_chunks(ids):
        gone = list(
            connection.scalars(
                select(runs.c.id).where(runs.c.id.in_(chunk), runs.c.deleted_at.is_not(None))
            )
        )
        for table in PARTS:
            connection.execute(delete(table).where(table.c.run.in_(gone)))
        connection.execute(update(runs).where(runs.c.id.in_(gone)).values(blank))


# --- one run ------------------------------------------------------------------------------------


def _edit_run(
    connection: Connection,
    id_: str,
    wanted: Mapping[str, Json],
    *,
    since: int | None,
    by: str,
    at_ns: int,
) -> list[RunEdit]:
    """Compare and swap: what others changed in between is read again, and nothing of it lost."""
    for _ in range(_ATTEMPTS):
        row = connection.execute(select(runs).where(runs.c.id == id_)).mappings().one()
        if since is not None:
            _require_unchanged(connection, row, wanted, since)
        edits = list(_differences(connection, row, wanted, by=by, at_ns=at_ns))
        if not edits:
            return []
        if _swap(connection, row, edits, at_ns):
            _write_parts(connection, row, edits, at_ns)
            return edits
    problem = f"run {id_[:4]} is being changed by others all the time"
    raise EditRefused(problem, "Try again.")


def _require_unchanged(
    connection: Connection, row: Row, fields: Iterable[str], since: int
) -> None:
    for field in fields:
        if field.endswith(MORE):
            continue  # what is added replaces nothing
        last = _last_edit(connection, row["id"], field)
        if last is not None and last.revision > since:
            seen = f"it is now {str(last.after)[:60]!r}"
            raise EditConflict(row["id"], last.field, last.by, last.revision, seen)


def _last_edit(connection: Connection, run: str, field: str) -> RunEdit | None:
    statement = (
        select(run_edits)
        .where(run_edits.c.run == run, run_edits.c.field == field)
        .order_by(run_edits.c.revision.desc())
        .limit(1)
    )
    row = connection.execute(statement).mappings().first()
    return None if row is None else _record(row)


def _differences(
    connection: Connection, row: Row, wanted: Mapping[str, Json], *, by: str, at_ns: int
) -> Iterator[RunEdit]:
    revision = row["revision"] or 0
    for asked, value in wanted.items():
        field = asked.removesuffix(MORE)
        before = _current(connection, row, field)
        after = _wanted(row, asked, value)
        if before == after:
            continue
        revision += 1
        last = _last_edit(connection, row["id"], field)
        replaces = last.by if last is not None and last.by != by else ""
        at = as_datetime(at_ns)
        yield RunEdit(row["id"], row["name"], field, before, after, revision, by, at, replaces)


def _wanted(row: Row, asked: str, value: Json) -> Json:
    """Give the value that a field is to have."""
    if (asked, value) == ("name", ""):
        return row["name"] if row["recorded_name"] is None else row["recorded_name"]
    if asked == f"note{MORE}":
        return "\n\n".join(filter(None, (row["note"], value)))
    return value


def _current(connection: Connection, row: Row, field: str) -> Json:
    if field in _FLAGS:
        return row[_FLAGS[field]] is not None
    if field.startswith(TAG):
        named = (tags.c.run == row["id"], tags.c.key == field.removeprefix(TAG))
        return connection.scalar(select(tags.c.value).where(*named))
    return row[field] or ""


def _swap(connection: Connection, row: Row, edits: Sequence[RunEdit], at_ns: int) -> bool:
    """Write the columns of a run, if nobody has since its row was read."""
    values: dict[str, Any] = {"revision": edits[-1].revision}
    for edit in edits:
        values |= _columns(row, edit, at_ns)
    is_as_read = (
        runs.c.id == row["id"],
        func.coalesce(runs.c.revision, 0) == (row["revision"] or 0),
    )
    return connection.execute(update(runs).where(*is_as_read).values(values)).rowcount == 1


def _columns(row: Row, edit: RunEdit, at_ns: int) -> dict[str, Any]:
    """Give the columns of a run that an edit changes; those of a tag are elsewhere."""
    if edit.field == "name":
        recorded = row["name"] if row["recorded_name"] is None else row["recorded_name"]
        return {"name": edit.after, "recorded_name": recorded}
    if edit.field == "note":
        return {"note": edit.after or None}
    if edit.field in _FLAGS:
        return {_FLAGS[edit.field]: at_ns if edit.after else None}
    return {}


def _write_parts(connection: Connection, row: Row, edits: Sequence[RunEdit], at_ns: int) -> None:
    for edit in edits:
        if edit.field.startswith(TAG):
            _write_tag(connection, row["id"], edit, at_ns)
        elif _FLAGS.get(edit.field) in _CASCADING:
            _cascade(connection, row, _FLAGS[edit.field], at_ns if edit.after else None)
    names = ("run", "revision", "field", "before", "after", "by")
    rows = [{**{name: getattr(edit, name) for name in names}, "at": at_ns} for edit in edits]
    connection.execute(insert(run_edits), rows)


def _write_tag(connection: Connection, run: str, edit: RunEdit, at_ns: int) -> None:
    key = edit.field.removeprefix(TAG)
    if edit.after is None:
        connection.execute(queries.remove_tag(run, key))
        return
    row = {"run": run, "key": key, "value": edit.after, "at": at_ns}
    connection.execute(queries.upsert(tags, connection.dialect.name), [row])


def _cascade(connection: Connection, row: Row, column: str, at_ns: int | None) -> None:
    """Put the runs inside of a run away with it, and bring back those that went with it."""
    parents = [row["id"]]
    while parents:
        inside = [
            id_
            for chunk in queries.in_chunks(parents)
            for id_ in connection.scalars(select(runs.c.id).where(runs.c.parent.in_(chunk)))
        ]
        for chunk in queries.in_chunks(inside):
            went_along = runs.c[column].is_(None) if at_ns else runs.c[column] == row[column]
            change = update(runs).where(runs.c.id.in_(chunk), went_along)
            connection.execute(change.values({column: at_ns}))
        parents = inside


def _record(row: Row) -> RunEdit:
    return RunEdit(
        row["run"],
        "",
        row["field"],
        row["before"],
        row["after"],
        row["revision"],
        row["by"],
        as_datetime(row["at"]),
    )


# --- what is asked for --------------------------------------------------------------------------


def _checked(field: str, value: Json) -> Json:
    """Give a value as it is kept: without secrets, and only what can be shown."""
    if field in _FLAGS:
        return bool(value)
    if field.startswith(TAG):
        _require_text("key", "key of a tag", field.removeprefix(TAG))
        return None if value is None else _checked_text("tag", "tag", value)
    if field == "name":
        return _checked_name(value)
    if field.removesuffix(MORE) == "note":
        return _checked_text("note", "note", value).strip()
    problem = f"{field} of a run cannot be changed"
    raise EditRefused(problem, "These can: name, note, tags, starred, archived, deleted.")


def _checked_name(value: Json) -> str:
    name = _checked_text("name", "name", value).strip()
    _require_text("name", "name", name or "-")
    if name.startswith(("@", "tag:")):
        problem = f'a run cannot be named "{name}", which would mean another one'
        raise EditRefused(problem, "Begin the name with a letter.")
    return name


def _checked_text(kind: str, what: str, value: Json) -> str:
    text = str(value).replace("\0", "").encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) > _LONGEST[kind]:
        problem = f"this {what} has {len(text):,} characters"
        raise EditRefused(problem, f"Give at most {_LONGEST[kind]:,}.")
    clean, _ = redact_fully(text)
    return clean


def _require_text(kind: str, what: str, text: str) -> None:
    """Refuse what could not be shown in one line, or typed again."""
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST[kind]:
        problem = f"{text[:60]!r} cannot be the {what} of a run"
        raise EditRefused(problem, f"Give one line of 1 to {_LONGEST[kind]} characters.")


def _editor() -> str:
    """Name the user of this process, empty where the system does not know."""
    import getpass

    try:
        return os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
    except (ImportError, KeyError, OSError):
        return ""


def _resolved(
    connection: Connection, refs: Sequence[str], wanted: Mapping[str, Json]
) -> list[str]:
    """Find the runs that are meant; to bring some back, among those that were put away."""
    column = next((_FLAGS[f] for f in ("deleted", "archived") if wanted.get(f) is False), None)
    found: dict[str, None] = {}
    for ref in refs:
        away = None if column is None else _find_away(connection, ref.strip(), column)
        if away is not None and column == "deleted_at":
            _require_restorable(connection, away)
        # One that is not away is no error: then there is nothing to do.
        found[references.resolve(connection, ref) if away is None else str(away["id"])] = None
    return list(found)


def _find_away(connection: Connection, ref: str, column: str) -> Row | None:
    """Find the last run put away with this id, the beginning of it, or this name."""
    is_away = [runs.c[column].is_not(None)]
    if column != "deleted_at":
        is_away.append(IS_THERE)
    for named in references.by_id_or_name(ref):
        chosen = select(runs).where(named, *is_away)
        last = chosen.order_by(runs.c[column].desc(), runs.c.id).limit(1)
        found = connection.execute(last).mappings().first()
        if found is not None:
            return found
    return None


def _require_restorable(connection: Connection, row: Row) -> None:
    short = row["id"][: references.SHORTEST_PREFIX]
    if row["collected_at"] is not None:
        on = as_datetime(row["collected_at"]).date()
        problem = f"what run {short} had was removed from the store on {on}"
        raise EditRefused(problem, "A backup of the store may still have it.")
    above = select(runs.c.id).where(runs.c.id == row["parent"], runs.c.deleted_at.is_not(None))
    if (parent := connection.scalar(above)) is not None:
        short_parent = parent[: references.SHORTEST_PREFIX]
        problem = f"run {short} is part of run {short_parent}, which is deleted too"
        raise EditRefused(problem, f"Bring that back: mlops-nb undelete {short_parent}")
