"""Which runs a query finds, in its order, without looking at more runs than it must.

There are three ways to find the first 50 of 100,000 runs, and each is hopeless for some queries.

- *Along the order*: take the index of what is sorted by, look up the conditions for each run in
  turn, stop when there are enough. For conditions that many runs meet.
- *From the rarest*: list the runs that meet the condition that fewest meet, look up the others
  for each of these, sort. For a condition that few runs meet.
- *In bulk*: list the runs that meet each condition, and intersect. For all runs, or to count.

How many runs meet a condition is counted in its index, up to a limit. The number of statements
depends on the query, never on how many runs there are.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, literal, select, true
from sqlalchemy.sql.util import ClauseAdapter

from mlops_nb.expressions import Both, Compare
from mlops_nb.record import record
from mlops_nb.store.reading import conditions
from mlops_nb.store.reading.dialects import bytewise
from mlops_nb.store.reading.queries import NEWEST_FIRST
from mlops_nb.store.schema import Text, runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from mlops_nb.expressions import Condition, Order, Query

COUNTED = 10_000
"""How far the runs that meet a condition are counted: half a millisecond."""

# What an index answers; to count a "like" would be to read all.
_COUNTABLE = frozenset({"=", "in", "<", "<=", ">", ">=", "is not null"})


@record
class Choice:
    """Which runs are asked for.

    Attributes
    ----------
    tests
        Conditions of which all have to be met.
    order_by
        What to sort by, before the newest come first.
    children
        Whether runs inside of runs count, too.
    archived
        Whether archived ones do.
    only
        If given, no other runs than those with these ids, in this order where no other is given.
    """

    tests: tuple[Condition, ...] = ()
    order_by: tuple[Order, ...] = ()
    children: bool = True
    archived: bool = False
    only: tuple[str, ...] | None = None


def choice(
    query: Query,
    *,
    only: Sequence[str] | None = None,
    children: bool = True,
    archived: bool = False,
) -> Choice:
    """Give the choice that a query makes; runs that are named may be archived."""
    archived = archived or only is not None or query.mentions("archived")
    named = None if only is None else tuple(only)
    return Choice(tuple(_tests(query.where)), query.order_by, children, archived, named)


def _tests(where: Condition | None) -> Iterator[Condition]:
    """Take a condition apart where all of it has to be met."""
    if isinstance(where, Both):
        for item in where.items:
            yield from _tests(item)
    elif where is not None:
        yield where


def find_ids(
    connection: Connection, asked: Choice, *, limit: int | None = None, offset: int = 0
) -> list[str]:
    """Read the ids of the runs that are asked for, in their order."""
    if asked.only is not None:
        return _of_these(connection, asked)[offset : None if limit is None else offset + limit]
    wanted = None if limit is None else limit + offset
    rarest = _rarest(connection, asked, wanted)
    if rarest is not None:
        statement = _from_rarest(asked, rarest).order_by(*_orders(asked.order_by), *NEWEST_FIRST)
        return list(connection.scalars(statement.limit(limit).offset(offset or None)))
    found: list[str] = []
    for part in _parts(asked, is_probing=limit is not None):
        left = None if wanted is None else wanted - len(found)
        if left is None or left > 0:
            found.extend(connection.scalars(part.limit(left)))
    return found[offset:]


def _of_these(connection: Connection, asked: Choice) -> list[str]:
    tests = _wheres(asked, asked.tests, is_probing=True)
    statement = select(runs.c.id).where(runs.c.id.in_(asked.only or ()), *tests)
    found = connection.scalars(statement.order_by(*_orders(asked.order_by), *NEWEST_FIRST)).all()
    if asked.order_by:
        return list(found)
    there = set(found)
    return [id_ for id_ in dict.fromkeys(asked.only or ()) if id_ in there]


def count_from(
    connection: Connection, asked: Choice, ids: Sequence[str], limit: int | None
) -> int:
    """Count the runs that are asked for, of which the first `limit` ones were read."""
    return len(ids) if limit is None or len(ids) < limit else count(connection, asked)


def all_of(asked: Choice) -> Select[Any] | None:
    """List the ids of the runs that are asked for, in any order; None for whole tables."""
    is_all = asked.children and asked.only is None and not asked.tests
    return None if is_all else _in_bulk(asked)


def count(connection: Connection, asked: Choice) -> int:
    """Count the runs that are asked for."""
    rarest = _rarest(connection, asked, None)
    statement = _in_bulk(asked) if rarest is None else _from_rarest(asked, rarest)
    total = select(func.count()).select_from(statement.subquery())
    return int(connection.scalar(total) or 0)


# --- which way --------------------------------------------------------------------------------


def _rarest(connection: Connection, asked: Choice, wanted: int | None) -> Compare | None:
    """Give the condition to begin with; None where it is better to begin with the order."""
    tests = [test for test in asked.tests if isinstance(test, Compare) and _is_counted(test)]
    if not tests:
        return None
    everything, *found = map(int, connection.execute(count_tests(tests)).one())
    fewest = min(found)
    # How far the order has to be followed, if the conditions have nothing to do with each other.
    way = prod(everything / max(each, 1) for each in found) * (wanted or everything)
    return tests[found.index(fewest)] if fewest < min(way, everything, COUNTED / 2) else None


def _is_counted(test: Compare) -> bool:
    return test.field.space != "run" and test.operator in _COUNTABLE


def count_tests(tests: Sequence[Compare]) -> Select[Any]:
    """Count all runs, and those that meet each of some conditions, up to a limit."""
    listed = [select(runs.c.id), *(conditions.runs_having(test) for test in tests)]
    limited = [each.limit(COUNTED).subquery() for each in listed]
    return select(*(select(func.count()).select_from(each).scalar_subquery() for each in limited))


# --- statements -------------------------------------------------------------------------------


def _in_bulk(asked: Choice) -> Select[Any]:
    return select(runs.c.id).where(*_wheres(asked, asked.tests, is_probing=False))


def _from_rarest(asked: Choice, rarest: Compare) -> Select[Any]:
    others = [test for test in asked.tests if test is not rarest]
    listed = runs.c.id.in_(conditions.runs_having(rarest))
    return select(runs.c.id).where(listed, *_wheres(asked, others, is_probing=True))


def _wheres(
    asked: Choice, tests: Sequence[Condition], *, is_probing: bool
) -> Iterator[ColumnElement[bool]]:
    yield conditions.IS_THERE if asked.archived else conditions.IS_LISTED
    if not asked.children:
        yield runs.c.parent.is_(None)
    for test in tests:
        yield conditions.condition(test, is_probing=is_probing)


def _parts(asked: Choice, *, is_probing: bool) -> Iterator[Select[Any]]:
    """Give statements whose results, one after the other, are the runs in their order.

    Runs that have what is sorted by come from its index; those that do not are a part of their
    own. Sorting all of them together would mean to look at all.
    """
    first = asked.order_by[0] if asked.order_by else None
    if first is None or first.field.space == "run":
        # There is no index for these orders but the newest first: all runs have to be sorted.
        tests = _wheres(asked, asked.tests, is_probing=is_probing and first is None)
        statement = select(runs.c.id).where(*tests)
        yield statement.order_by(*_orders(asked.order_by), *NEWEST_FIRST)
        return
    about = [t for t in asked.tests if isinstance(t, Compare) and t.field == first.field]
    having = _having_parts(asked, first, is_probing=is_probing)
    missing = _missing_part(asked, first, is_probing=is_probing)
    if any(test.operator == "is null" for test in about):
        yield missing
    elif about:
        yield from having
    elif first.missing_first:
        yield missing
        yield from having
    else:
        yield from having
        yield missing


def _having_parts(asked: Choice, first: Order, *, is_probing: bool) -> Iterator[Select[Any]]:
    """Give the runs that have what is sorted by: those with a number, then those with a text."""
    sides = conditions.sides_of(first.field.space)
    others = [t for t in asked.tests if not (isinstance(t, Compare) and t.field == first.field)]
    about = [t for t in asked.tests if isinstance(t, Compare) and t.field == first.field]
    for place, column in enumerate(sides):
        one = column.table.alias()
        side, earlier = one.c[column.name], [one.c[each.name] for each in sides[:place]]
        key = bytewise(side) if isinstance(column.type, Text) else side
        yield (
            select(runs.c.id)
            .select_from(one.join(runs, runs.c.id == one.c.run))
            .where(one.c.key == literal(first.field.name, Text), side.is_not(None))
            .where(*(each.is_(None) for each in earlier))
            .where(*(_moved(conditions.runs_having(test), one) for test in about))
            .where(*_wheres(asked, others, is_probing=is_probing))
            .order_by(key.desc() if first.is_descending else key.asc())
            .order_by(*_orders(asked.order_by[1:]), *NEWEST_FIRST)
        )


def _moved(statement: Select[Any], one: Any) -> ColumnElement[bool]:
    """Let a statement's condition speak of the same table under another name."""
    condition = statement.whereclause
    return true() if condition is None else ClauseAdapter(one).traverse(condition)


def _missing_part(asked: Choice, first: Order, *, is_probing: bool) -> Select[Any]:
    """Give the runs that do not have what is sorted by."""
    has_none = conditions.condition(Compare(first.field, "is null"), is_probing=True)
    wheres = _wheres(asked, asked.tests, is_probing=is_probing)
    statement = select(runs.c.id).where(has_none, *wheres)
    return statement.order_by(*_orders(asked.order_by[1:]), *NEWEST_FIRST)


def _orders(order_by: Sequence[Order]) -> list[ColumnElement[Any]]:
    return [column for order in order_by for column in conditions.order_columns(order)]
