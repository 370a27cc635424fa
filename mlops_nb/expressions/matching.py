"""A query, evaluated on a record."""

from __future__ import annotations

import functools
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlops_nb.expressions.tree import FLAG_FIELDS, Both, Compare, Either, Not, Query
from mlops_nb.expressions.values import comparable, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlops_nb.expressions.tree import Condition, Field, Operator, Order, Value
    from mlops_nb.model import Run


def matches(query: Query | Condition | None, run: Run) -> bool:
    """Say whether a run is one that a query finds, whatever its order and limit.

    Archived runs too: what leaves them out is the store, not the query.

    Examples
    --------
    >>> from mlops_nb.expressions import parse_query
    >>> from mlops_nb.model import Metric, Run, as_datetime
    >>> run = Run("7f3a", "rf", "finished", "cell", as_datetime(0), metrics={"auc": Metric(0.9)})
    >>> matches(parse_query("name like 'r%' and not metrics.auc > 0.9"), run)
    True
    """
    match query:
        case None:
            return True
        case Query():
            return matches(query.where, run)
        case Both():
            return all(matches(item, run) for item in query.items)
        case Either():
            return any(matches(item, run) for item in query.items)
        case Not():
            return not matches(query.item, run)
        case Compare():
            return _holds(query.operator, _value(query.field, run), query.values)


def select_runs(query: Query, runs: Iterable[Run]) -> list[Run]:
    """Choose and sort runs as a store does: the query's order, then newest first, its limit.

    Examples
    --------
    >>> from mlops_nb.expressions import parse_query
    >>> from mlops_nb.model import Run, as_datetime
    >>> runs = [Run(name, name, "finished", "cell", as_datetime(0)) for name in "abc"]
    >>> [run.id for run in select_runs(parse_query("order by name desc limit 2"), runs)]
    ['c', 'b']
    """
    chosen = [run for run in runs if matches(query, run)]
    chosen.sort(key=lambda run: (run.started_at, run.id), reverse=True)
    for order in reversed(query.order_by):
        values = [_value(order.field, run) for run in chosen]
        pairs = sorted(zip(values, chosen, strict=True), key=lambda pair: _is_text(pair[0]))
        chosen = _ordered(pairs, order)
    return chosen[: query.limit]


def _ordered(pairs: list[tuple[Any, Run]], order: Order) -> list[Run]:
    """Sort numbers before texts, each by the direction asked for; all this keeps ties in order."""
    there: list[tuple[Any, Run]] = []
    for is_text in (False, True):
        alike = [pair for pair in pairs if pair[0] is not None and _is_text(pair[0]) is is_text]
        there += sorted(alike, key=lambda pair: pair[0], reverse=order.is_descending)
    missing = [run for value, run in pairs if value is None]
    found = [run for _, run in there]
    return [*missing, *found] if order.missing_first else [*found, *missing]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _value(field: Field, run: Run) -> Value | None:
    match field.space:
        case "params":
            return comparable(run.params[field.name].value) if field.name in run.params else None
        case "metrics":
            return comparable(run.metrics[field.name].value) if field.name in run.metrics else None
        case "tags":
            return run.tags.get(field.name)
        case "run":
            return _own(field.name, run)


def _own(name: str, run: Run) -> Value | None:
    """Give what a run says of itself."""
    if name == "verdict":
        label = (run.verdict or {}).get("label")
        return label if isinstance(label, str) else None
    value: object = getattr(run, f"is_{name}" if name in FLAG_FIELDS else name)
    if isinstance(value, datetime):
        return nanoseconds(value)
    return None if value == "" else value  # type: ignore[return-value]


def _holds(operator: Operator, value: Value | None, literals: tuple[Value, ...]) -> bool:
    if operator == "is null" or value is None:
        return operator == "is null" and value is None
    match operator:
        case "is not null":
            return True
        case "=" | "in":
            return value in literals
        case "!=" | "not in":
            return value not in literals
        case "like" | "not like" | "ilike" | "not ilike":
            pattern = str(literals[0])
            fold = operator.endswith("ilike")
            is_like = isinstance(value, str) and _is_like(value, pattern, fold=fold)
            return is_like != operator.startswith("not")
        case _:
            (literal,) = literals
            if isinstance(value, str) != isinstance(literal, str):
                return False
            return _ORDERINGS[operator](value, literal)


_ORDERINGS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _is_like(text: str, pattern: str, *, fold: bool) -> bool:
    """Compare with a pattern: % is any text, _ any character.

    Piece by piece between the %, each at the first place where it fits: no pattern makes that
    slow, as a regular expression with many ``.*`` can be made.
    """
    text, pattern = (_folded(text), _folded(pattern)) if fold else (text, pattern)
    (first, length), *rest = _pieces(pattern)
    if not rest:
        return len(text) == length and first.match(text) is not None
    if first.match(text) is None:
        return False
    at, (last, last_length) = length, rest.pop()
    for piece, length in rest:
        found = piece.search(text, at)
        if found is None:
            return False
        at = found.start() + length
    end = len(text) - last_length
    return end >= at and last.match(text, end) is not None


@functools.lru_cache(maxsize=128)
def _pieces(pattern: str) -> list[tuple[re.Pattern[str], int]]:
    """Cut a pattern at its %; gives for each piece what it matches, and how long that is."""
    pieces: list[list[str]] = [[]]
    for part in re.findall(r"\\.|.", pattern, flags=re.DOTALL):
        if part == "%":
            pieces.append([])
        else:
            pieces[-1].append("." if part == "_" else re.escape(part[-1]))
    return [(re.compile("".join(piece), flags=re.DOTALL), len(piece)) for piece in pieces]


def _folded(text: str) -> str:
    """Fold case as databases can: of ASCII letters."""
    return re.sub("[A-Z]+", lambda found: found[0].lower(), text)
