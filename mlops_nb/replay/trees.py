"""The syntax trees of a cell: its own, and those of what its magics run as Python."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mlops_nb.source.parsing import parse_cell

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS_PYTHON = frozenset(
    "time timeit capture prun memit mprun lprun mlops_step mlops_track python".split()  # noqa: SIM905
)
"""Magics whose text is Python that runs in the notebook's namespace."""

_MOST_INSIDE = 5


def trees_of(source: str, depth: int = 0) -> Iterator[ast.Module]:
    r"""Give the trees of a cell, in order; none for what cannot be parsed.

    Examples
    --------
    >>> [ast.unparse(tree) for tree in trees_of("%%time\nx = 1")][1:]
    ['x = 1']
    """
    tree = parse_cell(source)
    if tree is None or depth > _MOST_INSIDE:
        return
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (inner := python_inside(node)):
            yield from trees_of(inner, depth + 1)


def python_inside(node: ast.Call) -> str:
    """Give the Python that a call of a magic runs, empty for any other call."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name not in {"run_cell_magic", "run_line_magic"} or not node.args:
        return ""
    values = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
    if not values or values[0] not in RUNS_PYTHON:
        return ""
    return values[-1] if isinstance(values[-1], str) and len(values) > 1 else ""
