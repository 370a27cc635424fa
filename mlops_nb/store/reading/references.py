"""What people call a run, into its id."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, func, or_, select, true

from mlops_nb.errors import AmbiguousReference, RunDeleted, RunNotFound
from mlops_nb.expressions import Compare, Field, is_lower_better
from mlops_nb.store.reading import pages
from mlops_nb.store.reading.conditions import IS_LISTED, IS_THERE
from mlops_nb.store.reading.queries import NEWEST_FIRST
from mlops_nb.store.schema import metrics, runs, tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import ColumnElement, Connection, Select

SHORTEST_PREFIX = 4
_MOST_NAMED = 5
_CANDIDATES = 2_000


REPLAY_TAG = "replay_of"
"""Tag of a run that was made to verify another one: nobody means it who does not name it."""

_IS_OWN = ~exists().where(
    tags.c.key == REPLAY_TAG, tags.c.run == func.coalesce(runs.c.parent, runs.c.id)
)


def resolve(connection: Connection, ref: str) -> str:
    """Find the id of the run that is meant.

    Raises
    ------
    RunNotFound
        There is none; `AmbiguousReference` if a prefix fits several.
    """
    found = find(connection, ref)
    if found is None:
        deleted = _first(connection, select(runs.c.id).where(_is_deleted(ref.strip())))
        if deleted is not None:
            raise RunDeleted(ref, (deleted[:SHORTEST_PREFIX],))
        raise RunNotFound(ref, _close(connection, ref.strip()))
    return found


def find(connection: Connection, ref: str) -> str | None:
    """Find the id of the run that is meant; None if there is none.

    Raises
    ------
    AmbiguousReference
        `ref` is a prefix that fits several.
    """
    text = ref.strip()
    if not text:
        return None
    if place := re.fullmatch(r"@-(\d{1,9})", text):
        return _newest(connection, int(place[1]))
    if text.startswith("@best:"):
        return _best(connection, text.removeprefix("@best:"))
    if text.startswith("tag:"):
        return _tagged(connection, text.removeprefix("tag:"))
    return _by_id_or_name(connection, ref, text)


def _newest(connection: Connection, place: int) -> str | None:
    """Count back from the newest run; children are part of theirs."""
    if place < 1:
        return None
    top = select(runs.c.id).where(runs.c.parent.is_(None), IS_LISTED, _IS_OWN)
    top = top.order_by(*NEWEST_FIRST)
    return _first(connection, top.offset(place - 1))


def _best(connection: Connection, metric: str) -> str | None:
    value = metrics.c.value
    best_first = value.asc() if is_lower_better(metric) else value.desc()
    having = (
        select(runs.c.id)
        .join(metrics, metrics.c.run == runs.c.id)
        .where(metrics.c.key == metric, value.is_not(None), IS_LISTED, _IS_OWN)
        .order_by(best_first, *NEWEST_FIRST)
    )
    return _first(connection, having)


def _tagged(connection: Connection, text: str) -> str | None:
    """Find the newest run with a tag; a name may hold a ``=`` of its own."""
    name, equals, value = text.partition("=")
    whole = _newest_with(connection, Compare(Field("tags", text), "is not null"))
    if whole is not None or not equals:
        return whole
    return _newest_with(connection, Compare(Field("tags", name), "=", (value,)))


def _newest_with(connection: Connection, test: Compare) -> str | None:
    found = pages.find_ids(connection, pages.Choice((test,)), limit=1)
    return found[0] if found else None


def _first(connection: Connection, statement: Select[Any]) -> str | None:
    row = connection.execute(statement.limit(1)).first()
    return None if row is None else str(row[0])


def _by_id_or_name(connection: Connection, ref: str, text: str) -> str | None:
    exact = _first(connection, select(runs.c.id).where(runs.c.id == text, IS_THERE))
    if exact is not None:
        return exact
    prefix = text.lower()
    fitting: list[tuple[str, str]] = []
    if len(prefix) >= SHORTEST_PREFIX and re.fullmatch("[0-9a-f]+", prefix):
        # A range, which every database finds in its index, whatever its collation of LIKE.
        fits = select(runs.c.id, runs.c.name).where(runs.c.id >= prefix, runs.c.id < f"{prefix}g")
        newest = fits.where(IS_THERE).order_by(*NEWEST_FIRST).limit(_MOST_NAMED + 1)
        fitting = [(row.id, row.name) for row in connection.execute(newest)]
    if len(fitting) == 1:
        return fitting[0][0]
    named = next(filter(None, (_first(connection, each) for each in _by_name(ref, text))), None)
    if named is None and fitting:
        raise AmbiguousReference(ref, _described(fitting[:_MOST_NAMED], len(text) + 1))
    return named


def by_id_or_name(ref: str) -> Iterator[ColumnElement[bool]]:
    """Give conditions for a run's id, the beginning of it, and its name."""
    yield runs.c.id == ref
    prefix = ref.lower()
    if len(prefix) >= SHORTEST_PREFIX and re.fullmatch("[0-9a-f]+", prefix):
        # A range, which every database finds in its index, whatever its collation of LIKE.
        yield and_(runs.c.id >= prefix, runs.c.id < f"{prefix}g")
    yield runs.c.name == ref


def _is_deleted(ref: str) -> ColumnElement[bool]:
    by_id = list(by_id_or_name(ref))[:-1]
    return and_(runs.c.deleted_at.is_not(None), or_(*by_id))


def _by_name(*names: str) -> Iterator[Select[Any]]:
    for is_meant in (_IS_OWN, true()):
        for name in names:
            named = select(runs.c.id).where(runs.c.name == name, IS_LISTED, is_meant)
            yield named.order_by(*NEWEST_FIRST)


# --- what is close ----------------------------------------------------------------------------


def _close(connection: Connection, ref: str) -> tuple[str, ...]:
    """List what is close to a reference that names nothing."""
    for prefix, column in (("@best:", metrics.c.key), ("tag:", tags.c.key)):
        if ref.startswith(prefix):
            keys = connection.scalars(select(column).distinct().limit(_CANDIDATES)).all()
            wanted = ref.removeprefix(prefix).partition("=")[0]
            near = difflib.get_close_matches(wanted, keys, n=3)
            return tuple(f"{prefix}{key}" for key in near)
    if not ref or ref.startswith("@"):
        return ()
    newest = select(runs.c.id, runs.c.name).where(IS_THERE).order_by(*NEWEST_FIRST)
    newest = newest.limit(_CANDIDATES)
    return _closest(ref, [(row.id, row.name) for row in connection.execute(newest)])


def _closest(ref: str, candidates: list[tuple[str, str]]) -> tuple[str, ...]:
    length = len(ref)
    scored = []
    for place, (id_, name) in enumerate(candidates):
        by_id = _likeness(ref.lower(), id_[:length])
        by_name = _likeness(ref.lower(), name.lower())
        scored.append((-max(by_id, by_name), place, (id_, name)))
    near = [run for score, _, run in sorted(scored)[:3] if -score >= 0.5]  # noqa: PLR2004 - half alike
    return _described(near, SHORTEST_PREFIX)


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()


def _described(found: Iterable[tuple[str, str]], length: int) -> tuple[str, ...]:
    """Name runs as people see them, with as much of the id as tells them apart."""
    pairs = list(found)
    length = max(length, SHORTEST_PREFIX)
    while length < 16 and len({id_[:length] for id_, _ in pairs}) < len(pairs):  # noqa: PLR2004 - a whole id
        length += 1
    return tuple(f"{id_[:length]} ({name})" for id_, name in pairs)
