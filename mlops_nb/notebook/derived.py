"""What a parameters cell works out from its own values, to be worked out again from others."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mlops_nb.source import analyse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def derived_source(source: str, given: Collection[str]) -> str:
    r"""Pick the statements of a parameters cell that hang on values which were given.

    Parameters
    ----------
    source
        The cell.
    given
        Names that get other values than the cell's own.

    Returns
    -------
    str
        Statements to run after the given values are bound, in the cell's order. They may bind
        given names again, which must then be bound once more. Empty if there are none, or the
        cell is not Python.

    Examples
    --------
    >>> derived_source("n = 10\nhalf = n // 2\nname = 'a'\nquarter = half // 2", ["n"])
    'half = n // 2\nquarter = half // 2'
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    return "\n".join(_hanging(tree, source, set(given)))


def _hanging(tree: ast.Module, source: str, changed: set[str]) -> Iterator[str]:
    given = frozenset(changed)
    for statement in tree.body:
        text = ast.get_source_segment(source, statement) or ""
        names = analyse(text)
        is_given = bool(names.binds) and given.issuperset(names.binds)
        if not is_given and changed.intersection(names.reads):
            changed.update(names.binds)
            yield text
