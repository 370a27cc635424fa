"""A query's condition and order, as bound SQL: the same on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    String,
    and_,
    bindparam,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from mlops_nb.expressions import Both, Compare, Either, Not
from mlops_nb.store.reading.dialects import alike, bytewise, json_label
from mlops_nb.store.schema import Text, metrics, params, runs, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select, Table

    from mlops_nb.expressions import Condition, Order

IS_THERE = runs.c.deleted_at.is_(None)
"""Nobody deleted the run."""

IS_LISTED = and_(IS_THERE, runs.c.archived_at.is_(None))
"""Nobody deleted or archived the run: what lists, names and comparisons are about."""

# Text columns that are never NULL; an empty one is not there.
_OFTEN_EMPTY = {"name": "name", "experiment": "experiment", "group": "group_key"}
_FLAGS = {"starred": runs.c.starred_at, "archived": runs.c.archived_at}


def condition(
    tree: Condition, *, is_negated: bool = False, is_probing: bool = False
) -> ColumnElement[bool]:
    """Make SQL of a condition.

    Inside of a "not" nothing in it is ever NULL: see `mlops_nb.expressions`. Elsewhere a NULL
    does what a false does, and a plain comparison finds its index.

    Parameters
    ----------
    tree
        The condition.
    is_negated
        Whether it stands inside of a "not".
    is_probing
        Whether parameters, metrics and tags are looked up for each run that is considered,
        rather than all runs listed first that have them. Quick where few runs are considered.
    """
    match tree:
        case Both() | Either():
            items = (
                condition(item, is_negated=is_negated, is_probing=is_probing)
                for item in tree.items
            )
            return and_(*items) if isinstance(tree, Both) else or_(*items)
        case Not():
            return not_(condition(tree.item, is_negated=True, is_probing=is_probing))
        case Compare():
            return _comparison(tree, is_negated=is_negated, is_probing=is_probing)


def _comparison(compare: Compare, *, is_negated: bool, is_probing: bool) -> ColumnElement[bool]:
    if compare.field.space == "run":
        holds = _of_a_run(compare.field.name, compare)
        return func.coalesce(holds, false(), type_=Boolean) if is_negated else holds
    found = runs_having(compare)
    if is_probing:
        is_its_own = _TABLES[compare.field.space].c.run == runs.c.id
        has_it: ColumnElement[bool] = found.where(is_its_own).correlate(runs).exists()
    else:
        has_it = runs.c.id.in_(found)
    return not_(has_it) if compare.operator == "is null" else has_it


def runs_having(compare: Compare) -> Select[Any]:
    """List the runs of which a parameter, metric or tag holds, or is there for "is null"."""
    table = _TABLES[compare.field.space]
    sides = _sides(table)
    named = select(table.c.run).where(table.c.key == literal(compare.field.name, Text))
    if compare.operator in {"is null", "is not null"}:
        return named.where(or_(*(side.is_not(None) for side in sides)))
    return named.where(_holds(sides, compare))


def _of_a_run(name: str, compare: Compare) -> ColumnElement[bool]:
    operator, literals = compare.operator, compare.values
    if name in _FLAGS:
        flag = _FLAGS[name]
        return flag.is_not(None) if literals[0] else flag.is_(None)
    if name == "notebook" and operator in {"=", "in"}:  # as it is written, for the index
        return _one_of(runs.c.notebook, [value for value in literals if value != ""])
    is_empty = _is_empty(name)
    if operator in {"is null", "is not null"}:
        return is_empty if operator == "is null" else not_(is_empty)
    if name not in _OFTEN_EMPTY:
        return _holds([_column(name)], compare)
    column = runs.c[_OFTEN_EMPTY[name]]
    if operator in {"=", "in"}:  # as it is written, for the index
        return _one_of(column, [value for value in literals if value != ""])
    return and_(column != literal("", Text), _holds([column], compare))


def _is_empty(name: str) -> ColumnElement[bool]:
    if name in _OFTEN_EMPTY:
        return runs.c[_OFTEN_EMPTY[name]] == literal("", Text)
    return _column(name).is_(None)


def _holds(sides: list[ColumnElement[Any]], compare: Compare) -> ColumnElement[bool]:
    """Compare the columns that hold a value, of which one is not NULL, with literals."""
    literals, operator = compare.values, compare.operator
    match operator:
        case "=" | "in":
            return or_(*(_one_of(side, literals) for side in sides))
        case "!=" | "not in":
            # A text differs from a number, so each side that is there has to differ from all.
            differ = (
                and_(side.is_not(None), not_(func.coalesce(_one_of(side, literals), false())))
                for side in sides
            )
            return or_(*differ)
        case "like" | "ilike":
            return alike(sides[-1], str(literals[0]), fold=operator == "ilike")
        case "not like" | "not ilike":
            unlike = not_(alike(sides[-1], str(literals[0]), fold=operator == "not ilike"))
            return or_(unlike, *(side.is_not(None) for side in sides[:-1]))
        case _:
            return _in_order(sides, operator, literals[0])


def _in_order(
    sides: list[ColumnElement[Any]], operator: str, value: object
) -> ColumnElement[bool]:
    if isinstance(value, str):
        return _ORDERINGS[operator](bytewise(sides[-1]), _bound(value))
    if _is_text(sides[0]):
        return false()
    return _ORDERINGS[operator](sides[0], _bound(value))


_ORDERINGS: Mapping[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "<": lambda side, value: side < value,
    "<=": lambda side, value: side <= value,
    ">": lambda side, value: side > value,
    ">=": lambda side, value: side >= value,
}


def _one_of(side: ColumnElement[Any], literals: Sequence[object]) -> ColumnElement[bool]:
    """Say that a column is one of the values of its own type."""
    of_type = [value for value in literals if isinstance(value, str) == _is_text(side)]
    if len(of_type) > 1:
        type_ = _bound(of_type[0]).type
        return side.in_(bindparam(None, of_type, type_=type_, expanding=True, unique=True))
    return side == _bound(of_type[0]) if of_type else false()


def _bound(value: object) -> ColumnElement[Any]:
    """Bind a value by its own type: by that of a whole column, 2.5 would be rounded."""
    match value:
        case str():
            return literal(value, Text)
        case int():
            return literal(value, BigInteger)
        case _:
            return literal(value, Double)


def _is_text(side: ColumnElement[Any]) -> bool:
    return isinstance(side.type, String | Text)


_TABLES: Mapping[str, Table] = {"params": params, "metrics": metrics, "tags": tags}


def sides_of(space: str) -> list[ColumnElement[Any]]:
    """List the columns that hold a parameter, metric or tag as queries see it."""
    return _sides(_TABLES[space])


def _sides(table: Table) -> list[ColumnElement[Any]]:
    """List the columns that hold a value as queries see it; the last one is its text if any."""
    if table is params:
        return [params.c.number, params.c.word]
    return [table.c.value]


def _column(name: str) -> ColumnElement[Any]:
    """Give a field of a run, NULL where it is not there."""
    match name:
        case "duration_s":
            return (runs.c.ended_at - runs.c.started_at) / literal(1e9, Double)
        case "verdict":
            return json_label(runs.c.verdict)
        case "revision":
            return func.coalesce(runs.c.revision, 0, type_=BigInteger)
        case "notebook":
            return func.nullif(runs.c.notebook, "", type_=Text)
        case _ if name in _OFTEN_EMPTY:
            return func.nullif(runs.c[_OFTEN_EMPTY[name]], "", type_=Text)
        case _:
            return runs.c[name]


def order_columns(order: Order) -> Iterator[ColumnElement[Any]]:
    """Sort by a field: numbers before texts, and what does not have it last or first."""
    field = order.field
    if field.space == "run" and field.name in _FLAGS:
        is_set = _FLAGS[field.name].is_not(None)
        yield is_set.desc() if order.is_descending else is_set.asc()
        return
    columns = [_column(field.name)] if field.space == "run" else list(_values_of(order))
    if order.missing_first:
        yield and_(true(), *(column.is_(None) for column in columns)).desc()
    for column in columns:
        yield column.is_(None)
        side = bytewise(column) if _is_text(column) else column
        yield side.desc() if order.is_descending else side.asc()


def _values_of(order: Order) -> Iterator[ColumnElement[Any]]:
    table = _TABLES[order.field.space]
    for side in _sides(table):
        named = (table.c.run == runs.c.id, table.c.key == literal(order.field.name, Text))
        yield select(side).where(*named).scalar_subquery()
