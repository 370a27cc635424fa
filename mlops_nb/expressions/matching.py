"""A query, evaluated on a record."""

from __future__ import annotations

import functools
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlops_nb.expressions.tree import Both, Compare, Either, Not, Query
from mlops_nb.expressions.values import comparable, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.expressions.tree import Condition, Field, Operator, Value
    from mlops_nb.model import Run


def matches(query: Query | Condition | None, run: Run) -> bool:
    """Say whether a run is one that a query finds, whatever its order and limit.

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


def _value(field: Field, run: Run) -> float | int | str | None:
    match field.space:
        case "params":
            return comparable(run.params[field.name].value) if field.name in run.params else None
        case "metrics":
            return comparable(run.metrics[field.name].value) if field.name in run.metrics else None
        case "tags":
            return run.tags.get(field.name)
        case "run":
            value: object = getattr(run, field.name)
            if isinstance(value, datetime):
                return nanoseconds(value)
            return None if value == "" else value  # type: ignore[return-value]


def _holds(operator: Operator, value: float | str | None, literals: tuple[Value, ...]) -> bool:
    if operator == "is null" or value is None:
        return operator == "is null" and value is None
    match operator:
        case "is not null":
            return True
        case "=" | "in":
            return value in literals
        case "!=" | "not in":
            return value not in literals
        case "like" | "not like":
            is_like = isinstance(value, str) and _like(str(literals[0])).fullmatch(_folded(value))
            return bool(is_like) == (operator == "like")
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


@functools.lru_cache(maxsize=128)
def _like(pattern: str) -> re.Pattern[str]:
    """Turn a LIKE pattern into a regular expression: % is any text, _ any character."""
    parts = re.findall(r"\\.|.", _folded(pattern), flags=re.DOTALL)
    wild = {"%": ".*", "_": "."}
    text = "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
    return re.compile(text, flags=re.DOTALL)


def _folded(text: str) -> str:
    """Fold case as databases do for LIKE: of ASCII letters."""
    return re.sub("[A-Z]+", lambda found: found[0].lower(), text)
