"""Two sources that differ in nothing but their constants: which, and what they are for.

A cell in which ``C=1.0`` became ``C=0.01`` is another parameter, and one in which ``seed(0)``
became ``seed(1)`` another seed; neither is other code.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_nb.compare.columns import is_seed
from mlops_nb.source.parsing import parse_cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.model import Json

_SEEDERS = frozenset(
    [
        "seed",
        "manual_seed",
        "manual_seed_all",
        "default_rng",
        "RandomState",
        "SeedSequence",
        "PRNGKey",
        "set_seed",
        "seed_everything",
        "set_random_seed",
        "Random",
        "PCG64",
    ]
)
_BODIES = frozenset({"body", "orelse", "finalbody", "handlers"})


@dataclass(frozen=True, slots=True)
class LiteralChange:
    """A constant that is another one in the other source.

    Attributes
    ----------
    name
        What it is given to: a keyword, a variable, or the function that is called.
    is_seed
        Whether it only seeds randomness.
    """

    name: str
    old: Json
    new: Json
    is_seed: bool = False


def literal_changes(old: str, new: str) -> tuple[LiteralChange, ...] | None:
    """Find the constants in which two sources differ; None if they differ in more.

    Examples
    --------
    >>> literal_changes("m = SVC(C=1.0)", "m = SVC(C=0.1)")
    (LiteralChange(name='C', old=1.0, new=0.1, is_seed=False),)
    >>> literal_changes("m = SVC()", "m = NuSVC()") is None
    True
    """
    before, after = parse_cell(old), parse_cell(new)
    if before is None or after is None:
        return None
    try:
        return tuple(_changes(before, after, ""))
    except _OtherCodeError:
        return None


class _OtherCodeError(Exception):
    """The sources differ in more than constants."""


def _changes(old: ast.AST, new: ast.AST, name: str) -> Iterator[LiteralChange]:
    left, right = _literal(old), _literal(new)
    if left is not None and right is not None:
        if (type(left[0]), left[0]) != (type(right[0]), right[0]):
            yield LiteralChange(name, left[0], right[0], _is_seed(name))
        return
    if type(old) is not type(new):
        raise _OtherCodeError
    for field in old._fields:
        inner = _named(old, field, name)
        yield from _field_changes(getattr(old, field, None), getattr(new, field, None), inner)


def _field_changes(old: object, new: object, name: str) -> Iterator[LiteralChange]:
    if isinstance(old, list) and isinstance(new, list):
        before, after = _without_remarks(old), _without_remarks(new)
        if len(before) != len(after):
            raise _OtherCodeError
        for one, other in zip(before, after, strict=True):
            yield from _field_changes(one, other, name)
    elif isinstance(old, ast.AST) and isinstance(new, ast.AST):
        yield from _changes(old, new, name)
    elif old != new:
        raise _OtherCodeError


def _without_remarks(nodes: list[object]) -> list[object]:
    """Drop texts that nobody uses: docstrings, and remarks in quotes."""
    return [node for node in nodes if not (isinstance(node, ast.Expr) and _is_text(node.value))]


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _literal(node: ast.AST) -> tuple[Json] | None:
    if isinstance(node, ast.Constant):
        return (node.value,)
    is_negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    if is_negative and isinstance(node.operand, ast.Constant):  # type: ignore[attr-defined]
        value = node.operand.value  # type: ignore[attr-defined]
        return (-value,) if isinstance(value, int | float) else None
    return None


def _named(node: ast.AST, field: str, name: str) -> str:
    """Name what the part of a statement is given to."""
    if isinstance(node, ast.keyword):
        return node.arg or ""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Call) and field == "args":
        return _tail(node.func)
    if isinstance(node, ast.stmt) or field in _BODIES:
        return ""
    return name


def _tail(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_seed(name: str) -> bool:
    return name in _SEEDERS or is_seed(name.lower())
