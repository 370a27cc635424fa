"""What a query is once it is understood."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mlops_nb.record import record

Space: TypeAlias = Literal["run", "params", "metrics", "tags"]
Operator: TypeAlias = Literal[
    "=", "!=", "<", "<=", ">", ">=", "like", "not like", "in", "not in", "is null", "is not null"
]
Value: TypeAlias = float | int | str
"""A value in a query: a number, text, or a time in nanoseconds."""

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
    }
)
NUMBER_FIELDS = frozenset({"attempt", "child", "duration_s", "busy_s"})
TIME_FIELDS = frozenset({"started_at", "ended_at"})
_FIELDS = (*sorted(TEXT_FIELDS), *sorted(NUMBER_FIELDS), *sorted(TIME_FIELDS))


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
    """One thing to sort by; what does not have it comes last."""

    field: Field
    is_descending: bool = False


@record
class Query:
    """A query that was understood."""

    text: str = ""
    where: Condition | None = None
    order_by: tuple[Order, ...] = ()
    limit: int | None = None
