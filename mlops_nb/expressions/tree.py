"""What a query is once it is understood."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mlops_nb.record import record

Space: TypeAlias = Literal["run", "params", "metrics", "tags"]
Operator: TypeAlias = Literal[
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "like",
    "not like",
    "ilike",
    "not ilike",
    "in",
    "not in",
    "is null",
    "is not null",
]
Value: TypeAlias = float | int | str | bool
"""A value in a query: a number, text, a time in nanoseconds, or whether a flag is set."""

TEXT_FIELDS = frozenset(
    {
        "id",
        "name",
        "status",
        "kind",
        "experiment",
        "group",
        "notebook",
        "parent",
        "session",
        "environment",
        "note",
        "verdict",
    }
)
DURATION_FIELDS = frozenset({"duration_s", "busy_s"})
NUMBER_FIELDS = frozenset({"attempt", "child", "revision"}) | DURATION_FIELDS
TIME_FIELDS = frozenset({"started_at", "ended_at"})
FLAG_FIELDS = frozenset({"starred", "archived"})
RUN_FIELDS = (
    *sorted(TEXT_FIELDS),
    *sorted(NUMBER_FIELDS),
    *sorted(TIME_FIELDS),
    *sorted(FLAG_FIELDS),
)
"""What a query can ask about a run itself."""


@record
class Field:
    """What is compared: a field of a run, or one of its parameters, metrics or tags."""

    space: Space
    name: str

    def __str__(self) -> str:
        return self.name if self.space == "run" else f"{self.space}.{self.name}"


@record
class Compare:
    """One comparison; `values` has as many values as the operator takes."""

    field: Field
    operator: Operator
    values: tuple[Value, ...] = ()


@record
class Both:
    """All of some conditions."""

    items: tuple[Condition, ...]


@record
class Either:
    """At least one of some conditions."""

    items: tuple[Condition, ...]


@record
class Not:
    """The opposite of a condition."""

    item: Condition


Condition: TypeAlias = Compare | Both | Either | Not


@record
class Order:
    """One thing to sort by; what does not have it comes last, unless asked for first."""

    field: Field
    is_descending: bool = False
    missing_first: bool = False


@record
class Query:
    """A query that was understood."""

    text: str = ""
    where: Condition | None = None
    order_by: tuple[Order, ...] = ()
    limit: int | None = None

    def mentions(self, name: str) -> bool:
        """Say whether a condition is about a field of a run."""
        return self.where is not None and _mentions(self.where, name)


def _mentions(condition: Condition, name: str) -> bool:
    match condition:
        case Compare():
            return condition.field == Field("run", name)
        case Not():
            return _mentions(condition.item, name)
        case Both() | Either():
            return any(_mentions(item, name) for item in condition.items)
