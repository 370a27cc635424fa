"""What copying one store into another would do with each session, execution and run.

The same thing may lie in both: it was copied before, and has gone on since, here or there. What
is further wins; what people changed is ahead by its revision. Two different things under one id
are a conflict, and then nothing at all is copied.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sqlalchemy import select

from mlops_nb.store import schema
from mlops_nb.store.care.table_rows import (
    EXECUTION_PARTS,
    PIECES,
    RUN_PARTS,
    BadRow,
    packed,
    read_rows,
    shape_of,
    sound_rows,
)
from mlops_nb.store.edits import COLUMNS
from mlops_nb.store.parts import SourceDamaged, tell_damage
from mlops_nb.store.reading.queries import in_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from mlops_nb.store.care.table_rows import Row

Decision: TypeAlias = Literal[
    "new", "same", "update", "merge", "add", "keep", "refuse", "unreadable"
]
"""``update``: take it from the source; ``merge``: all but what people changed in the target;
``add``: only rows that the target lacks; ``keep``: the target's is further; ``unreadable``: the
source is damaged there."""

Named: TypeAlias = "Mapping[str, Any]"


@dataclass(frozen=True)
class Unit:
    """Rows of several tables that are one thing, and are copied in one transaction.

    Attributes
    ----------
    root, parts
        The table with its one row, and those with the rest, by their column `column`.
    judge
        Decides by the two rows of the root, where anything differs.
    """

    root: str
    parts: tuple[str, ...]
    column: str
    judge: Callable[[Named, Named], Decision]


@dataclass
class Plan:
    """What to do, by kind of thing and by id.

    Attributes
    ----------
    conflicts
        What lies there under the same id and is something else, as ``run 7f3a (churn)``.
    """

    decisions: dict[str, dict[str, Decision]] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)

    def count(self, root: str, *wanted: Decision) -> int:
        """Count the things of a kind with one of these decisions."""
        return sum(decision in wanted for decision in self.decisions.get(root, {}).values())

    def ids(self, root: str, *wanted: Decision) -> list[str]:
        """List the things of a kind with one of these decisions, in the order of their ids."""
        found = self.decisions.get(root, {}).items()
        return [id_ for id_, decision in found if decision in wanted]


def plan_copy(
    source: Connection,
    target: Connection,
    *,
    for_server: bool,
    problems: Callable[[str], None],
    on_progress: Callable[[int, int], None],
) -> Plan:
    """Compare two stores; nothing is changed.

    Parameters
    ----------
    source, target
        Each in a transaction of its own.
    for_server
        Whether one of them is on a server.
    problems
        Is told of rows of the source that are not as they should be.
    on_progress
        Is told how many of how many things were looked at.
    """
    plan = Plan()
    ids = {unit.root: _ids(source, unit.root) for unit in UNITS}
    done, total = 0, sum(map(len, ids.values()))
    for unit in UNITS:
        decided = plan.decisions.setdefault(unit.root, {})
        for chunk in in_chunks(ids[unit.root]):
            try:
                _decide(source, target, unit, chunk, decided, problems, for_server=for_server)
            except SourceDamaged:  # in one of them: which?
                for id_ in chunk:
                    _decide_one(source, target, unit, id_, decided, for_server=for_server)
            done += len(chunk)
            on_progress(done, total)
        for id_ in plan.ids(unit.root, "refuse"):
            plan.conflicts.append(_name(source, unit.root, id_))
    return plan


def _ids(connection: Connection, root: str) -> list[str]:
    """List what there is; in a damaged table, as much as is found from both ends."""
    column = schema.metadata.tables[root].c.id
    found: dict[str, None] = {}
    for order in (column.asc(), column.desc()):
        try:
            with tell_damage():
                for id_ in connection.scalars(select(column).order_by(order)):
                    found[id_] = None
        except SourceDamaged:
            continue
        break
    return sorted(id_ for id_ in found if isinstance(id_, str))


def _decide_one(
    source: Connection,
    target: Connection,
    unit: Unit,
    id_: str,
    decided: dict[str, Decision],
    *,
    for_server: bool,
) -> None:
    try:
        _decide(source, target, unit, [id_], decided, _nobody, for_server=for_server)
    except SourceDamaged:
        decided[id_] = "unreadable"


def _decide(
    source: Connection,
    target: Connection,
    unit: Unit,
    ids: Sequence[str],
    decided: dict[str, Decision],
    problems: Callable[[str], None],
    *,
    for_server: bool,
) -> None:
    with tell_damage():
        here = _roots(source, unit, ids, problems, for_server=for_server)
    there = _roots(target, unit, list(here), _nobody, for_server=for_server)
    both = list(there)
    with tell_damage():
        digests = _digests(source, unit, both, for_server=for_server)
    found = _digests(target, unit, both, for_server=for_server)
    same = {id_ for id_, digest in found.items() if digests.get(id_) == digest}
    for id_, row in here.items():
        if id_ not in there:
            decided[id_] = "new"
        elif id_ in same:
            decided[id_] = "same"
        else:
            decided[id_] = unit.judge(row, there[id_])


def _nobody(problem: str) -> None:
    """Tell nobody: what is wrong with the target is no matter of copying."""


def _roots(
    connection: Connection,
    unit: Unit,
    ids: Sequence[str],
    problems: Callable[[str], None],
    *,
    for_server: bool,
) -> dict[str, Named]:
    shape = shape_of(unit.root)
    rows = read_rows(connection, unit.root, "id", ids)
    sound = sound_rows(unit.root, rows, problems, for_server=for_server)
    return {row[0]: shape.named(row) for row in sound}


def _digests(
    connection: Connection, unit: Unit, ids: Sequence[str], *, for_server: bool
) -> dict[str, bytes]:
    """Digest all rows of some things, each of which may be large."""
    found: dict[str, Any] = {id_: hashlib.sha256() for id_ in ids}
    if not found:
        return {}
    for name in (unit.root, *unit.parts):
        column = "id" if name == unit.root else unit.column
        place = shape_of(name).names.index(column)
        for row in read_rows(connection, name, column, ids):
            try:
                clean = shape_of(name).checked(row, for_server=for_server)
            except BadRow:
                continue
            found[clean[place]].update(packed(comparable(name, clean)))
    return {id_: digest.digest() for id_, digest in found.items()}


def comparable(name: str, row: Row) -> Row:
    """Leave out what a database numbers by itself."""
    return row[1:] if name == PIECES else row


def _name(connection: Connection, root: str, id_: str) -> str:
    if root != "runs":
        return f"{root.removesuffix('s')} {id_}"
    c = schema.runs.c
    return f"run {id_[:8]} ({connection.scalar(select(c.name).where(c.id == id_))})"


# --- the same thing? ----------------------------------------------------------------------------


def judge_run(here: Named, there: Named) -> Decision:
    """Decide which of two states of a run is further, or that they are two runs.

    Examples
    --------
    >>> run = dict.fromkeys(schema.runs.columns.keys())
    >>> run |= {"session": "s", "started_at": 1, "last_at": 5, "status": "running", "kind": "cell"}
    >>> judge_run({**run, "last_at": 9, "status": "finished"}, run)
    'update'
    >>> judge_run({**run, "session": "another"}, run)
    'refuse'
    """
    if not _is_one_run(here, there):
        return "refuse"
    if there["collected_at"] is not None or here["collected_at"] is not None:
        return "keep"  # what was removed for good does not come back, nor removes anything
    progress = _compared(_progress(here), _progress(there))
    edits = _compared(here["revision"] or 0, there["revision"] or 0)
    if progress == edits == 0:
        return _judge_equally_far(here, there)
    if progress >= 0 and edits >= 0:
        return "update"
    if progress <= 0 and edits <= 0:
        return "keep"
    return "merge" if progress > 0 else "update"


def _is_one_run(here: Named, there: Named) -> bool:
    is_known = None not in {here["session"], there["session"]}
    if is_known and here["session"] != there["session"]:
        return False
    if any('"told"' in (row["facts"] or "") for row in (here, there)):
        return True  # only parts of it were known when it was copied
    return bool(here["started_at"] == there["started_at"])


def _judge_equally_far(here: Named, there: Named) -> Decision:
    """Decide where neither is further, and yet something differs."""
    if there["status"] in {"running", "lost"}:
        return "update"
    if here["revision"]:
        return "keep"  # edited here and there, equally often
    differing = [name for name in here if here[name] != there[name]]
    if differing and all(there[name] is None for name in differing):
        return "update"
    if differing and all(here[name] is None for name in differing):
        return "keep"
    return "refuse"


def _progress(run: Named) -> tuple[int, int]:
    return run["last_at"], _end_of(run)


def _compared(here: Any, there: Any) -> int:
    return int(here > there) - int(here < there)


def judge_execution(here: Named, there: Named) -> Decision:
    """Decide which of two states of an execution is further, or that they are two."""
    names = ("session", "source", "code_digest", "started_at")
    if any(here[name] != there[name] for name in names):
        return "refuse"
    progress = _compared(_end_of(here), _end_of(there))
    if progress == 0:
        # Files and outputs may be told after the end; of a running one the source knows more.
        return "update" if here["status"] == "running" else "add"
    return "update" if progress > 0 else "keep"


def _end_of(thing: Named) -> int:
    """Say how ended a run or an execution is: one that was taken for lost may yet end well."""
    return {"running": 0, "lost": 1}.get(thing["status"], 2)


def judge_session(here: Named, there: Named) -> Decision:
    """Decide which of two states of a session is further, or that they are two."""
    if any(here[name] != there[name] for name in ("started_at", "host", "pid")):
        return "refuse"
    has_ended = there["ended_at"] is not None
    return "keep" if has_ended or _is_shorter(here, there) else "update"


def _is_shorter(here: Named, there: Named) -> bool:
    return len(here["facts"] or "") < len(there["facts"] or "") and here["ended_at"] is None


def merged_run(here: Named, there: Named) -> dict[str, Any]:
    """Give a run as the source knows it, with what people changed of it in the target."""
    merged = {**here, **{name: there[name] for name in COLUMNS}}
    if there["recorded_name"] is not None:
        merged |= {"name": there["name"], "recorded_name": here["name"]}
    return merged


SESSIONS = Unit("sessions", (), "id", judge_session)
EXECUTIONS = Unit("executions", EXECUTION_PARTS, "execution", judge_execution)
RUNS = Unit("runs", RUN_PARTS, "run", judge_run)
UNITS = (SESSIONS, EXECUTIONS, RUNS)

EDITED_PARTS = ("tags", "run_edits")
"""Tables of a run in which people write, too: a merge leaves those of the target."""
