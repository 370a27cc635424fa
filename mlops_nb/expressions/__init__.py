"""The language in which runs are asked for: closed, and never evaluated as code.

``params.lr > 0.01 and (tags.stage = 'prod' or name like 'rf%') order by metrics.auc limit 20``

One tree, two readers: `store.queries` makes bound SQL of it, `matches` evaluates it on a record,
and both give the same answer. The logic has two values: a comparison with something that is not
there (or is NaN) is false, so ``not metrics.auc > 0.9`` also finds the runs without an ``auc``.
A number is never equal to a text, nor less or greater than one. Texts are ordered by code point.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from mlops_nb.expressions.matching import matches, select_runs
from mlops_nb.expressions.tree import (
    Both,
    Compare,
    Condition,
    Either,
    Field,
    Not,
    Order,
    Query,
)
from mlops_nb.expressions.values import comparable, is_lower_better, nanoseconds

if TYPE_CHECKING:
    from datetime import datetime

    from mlops_nb.expressions.conditions import holds, parse_condition

__all__ = [
    "Both",
    "Compare",
    "Condition",
    "Either",
    "Field",
    "Not",
    "Order",
    "Query",
    "comparable",
    "holds",
    "is_lower_better",
    "matches",
    "parse_condition",
    "parse_query",
    "select_runs",
]

_OF_STEPS = frozenset({"holds", "parse_condition"})
_RELATIVE = re.compile(r"[+-][\d.]+[a-z]", re.IGNORECASE)


def __getattr__(name: str) -> object:
    # Looking at runs is no reason to load the conditions of steps.
    if name in _OF_STEPS:
        from mlops_nb.expressions import conditions

        return getattr(conditions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def parse_query(text: str, *, order_by: str | None = None, now: datetime | None = None) -> Query:
    """Understand a query.

    Parameters
    ----------
    text
        Empty for all runs.
    order_by
        What to sort by, given apart from the query; wins over it.
    now
        The time that ``-7d`` is counted from; that of the clock if left out.

    Raises
    ------
    BadQuery
        With the position of the character that does not fit.

    Examples
    --------
    >>> parse_query("metrics.auc >= 0.9 order by started_at limit 3").limit
    3
    """
    from mlops_nb.expressions.parsing import Parser

    if not text.strip():
        query = Query(text)
    elif now is not None or _RELATIVE.search(text):
        # What is counted from now means something else the next time.
        query = Parser(text, now_ns=None if now is None else nanoseconds(now)).query()
    else:
        query = _parsed(text)
    if order_by is None:
        return query
    return Query(query.text, query.where, Parser(order_by).ordering(), query.limit)


@functools.lru_cache(maxsize=128)
def _parsed(text: str) -> Query:
    from mlops_nb.expressions.parsing import Parser

    return Parser(text).query()
