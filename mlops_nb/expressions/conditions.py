"""Conditions of steps: ``metrics.auc > live.auc + 0.01 and params.full``; never run as code.

The words are those of queries and mean the same; here both sides of a comparison may be names,
and numbers may be added. A comparison with something that is not there (or is NaN) is false, so
that a first model passes with ``live.auc is null or metrics.auc > live.auc``.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.expressions.values import comparable
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Space: TypeAlias = Literal["metrics", "params", "live"]
Value: TypeAlias = float | str


@record
class Coordinate:
    """A value that a condition reads: ``metrics.auc``, ``params.full``, ``live.auc``."""

    space: Space
    name: str

    def __str__(self) -> str:
        return f"{self.space}.{self.name}"


@record
class Constant:
    """A number or a text."""

    value: Value


@record
class Arithmetic:
    """A sum, difference, product or quotient of two numbers."""

    sign: str
    left: Operand
    right: Operand


@record
class Comparison:
    """One comparison, with as many operands to its right as it takes; ``is true`` takes none."""

    word: str
    left: Operand
    right: tuple[Operand, ...] = ()


@record
class Every:
    """All of some conditions."""

    items: tuple[StepCondition, ...]


@record
class Some:
    """At least one of some conditions."""

    items: tuple[StepCondition, ...]


@record
class Unless:
    """The opposite of a condition."""

    item: StepCondition


Operand: TypeAlias = Coordinate | Constant | Arithmetic
StepCondition: TypeAlias = Comparison | Every | Some | Unless


def parse_condition(text: str) -> StepCondition:
    """Understand a condition.

    Raises
    ------
    BadQuery
        With the position of the character that does not fit.

    Examples
    --------
    >>> str(parse_condition("metrics.auc > 0.9").left)
    'metrics.auc'
    """
    from mlops_nb.expressions.condition_reader import read_condition

    return read_condition(text)


def holds(expression: str | StepCondition, values: Mapping[str, Mapping[str, object]]) -> bool:
    """Say whether a condition is true.

    Parameters
    ----------
    expression
        A condition, or its text.
    values
        ``{"metrics": {…}, "params": {…}, "live": {…}}``; what is left out is not there.

    Raises
    ------
    BadQuery
        The text is no condition.

    Examples
    --------
    >>> holds("metrics.auc > live.auc", {"metrics": {"auc": 0.9}, "live": {"auc": 0.8}})
    True
    """
    condition = parse_condition(expression) if isinstance(expression, str) else expression
    match condition:
        case Every():
            return all(holds(item, values) for item in condition.items)
        case Some():
            return any(holds(item, values) for item in condition.items)
        case Unless():
            return not holds(condition.item, values)
        case Comparison():
            left = _value(condition.left, values)
            right = [_value(operand, values) for operand in condition.right]
            return _compare(condition.word, left, right)


def coordinates(condition: StepCondition) -> tuple[Coordinate, ...]:
    """List what a condition reads, each once.

    Examples
    --------
    >>> [str(one) for one in coordinates(parse_condition("metrics.auc > live.auc"))]
    ['metrics.auc', 'live.auc']
    """
    return tuple(dict.fromkeys(_read_by(condition)))


def _read_by(node: StepCondition | Operand) -> Iterator[Coordinate]:
    match node:
        case Coordinate():
            yield node
        case Arithmetic():
            yield from _read_by(node.left)
            yield from _read_by(node.right)
        case Comparison():
            for operand in (node.left, *node.right):
                yield from _read_by(operand)
        case Every() | Some():
            for item in node.items:
                yield from _read_by(item)
        case Unless():
            yield from _read_by(node.item)
        case Constant():
            return


# --- the value of a condition ------------------------------------------------------------------


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_ORDERINGS: Mapping[str, Callable[[Value, Value], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _value(operand: Operand, values: Mapping[str, Mapping[str, object]]) -> Value | None:
    match operand:
        case Constant():
            return operand.value
        case Coordinate():
            found = values.get(operand.space, {}).get(operand.name)
            # NumPy's integers are numbers, but no ints.
            is_number = isinstance(found, numbers.Real) and not isinstance(found, bool | int)
            return comparable(float(found) if is_number else found)  # type: ignore[arg-type]
        case Arithmetic():
            left, right = _value(operand.left, values), _value(operand.right, values)
            if isinstance(left, float) and isinstance(right, float):
                return _calculated(operand.sign, left, right)
            return None


def _calculated(sign: str, left: float, right: float) -> float | None:
    try:
        made = _ARITHMETIC[sign](left, right)
    except (ZeroDivisionError, OverflowError):
        return None
    return None if math.isnan(made) else made


def _compare(word: str, left: Value | None, right: list[Value | None]) -> bool:
    if word == "is null" or left is None:
        return word == "is null" and left is None
    match word:
        case "is not null":
            return True
        case "is true":
            return left not in {0.0, "", "false", "[]", "{}"}
        case "=":
            return left == right[0]
        case "!=":
            return right[0] is not None and left != right[0]
        case "in":
            return left in right
        case "not in":
            return left not in right
        case "between" | "not between":
            low, high = right
            is_inside = _is_ordered(">=", left, low) and _is_ordered("<=", left, high)
            is_outside = _is_ordered("<", left, low) or _is_ordered(">", left, high)
            return is_inside if word == "between" else is_outside
        case _:
            return _is_ordered(word, left, right[0])


def _is_ordered(word: str, left: Value, right: Value | None) -> bool:
    if right is None or isinstance(left, str) != isinstance(right, str):
        return False
    return _ORDERINGS[word](left, right)


__all__ = [
    "Arithmetic",
    "Comparison",
    "Constant",
    "Coordinate",
    "Every",
    "Operand",
    "Some",
    "StepCondition",
    "Unless",
    "coordinates",
    "holds",
    "parse_condition",
]
