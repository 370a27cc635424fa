"""Environment variables that code names, each as a digest that only its owner can try out."""

from __future__ import annotations

import ast
import os
from functools import lru_cache
from typing import TYPE_CHECKING

from mlops_nb.pipeline.caching.secret import keyed
from mlops_nb.pipeline.caching.statements import nodes_of
from mlops_nb.source.parsing import parse_cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlops_nb.model import Json

_METHODS = frozenset({"get", "setdefault", "pop", "__getitem__"})
_FUNCTIONS = frozenset({"getenv", "getenvb"})


def variables_named(texts: Iterable[str]) -> tuple[str, ...]:
    """List the variables that texts read by name: ``os.environ["A"]``, ``os.getenv("A")``."""
    return tuple(sorted({name for text in texts for name in _named(text)}))


def variable_part(
    names: Iterable[str], environ: Mapping[str, str] | None = None
) -> tuple[dict[str, Json], list[str]]:
    """Describe variables: a keyed digest each, None for one that is not set.

    Values are never kept: any of them may be a secret.
    """
    values = os.environ if environ is None else environ
    return {name: describe_variable(name, values) for name in names}, []


def describe_variable(name: str, values: Mapping[str, str]) -> str | None:
    """Give the keyed digest of a variable; None if it is not set."""
    value = values.get(name)
    return None if value is None else keyed(name, value)


@lru_cache(maxsize=1024)
def _named(text: str) -> frozenset[str]:
    if "environ" not in text and "getenv" not in text:
        return frozenset()
    tree = parse_cell(text)
    found: set[str] = set()
    for node in nodes_of(tree):
        if isinstance(node, ast.Subscript) and _is_environ(node.value):
            found.update(_text_of(node.slice))
        elif isinstance(node, ast.Call) and node.args and _reads_variable(node.func):
            found.update(_text_of(node.args[0]))
        elif isinstance(node, ast.Compare) and any(map(_is_environ, node.comparators)):
            found.update(_text_of(node.left))
    return frozenset(found)


def _reads_variable(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        is_method = function.attr in _METHODS and _is_environ(function.value)
        return is_method or function.attr in _FUNCTIONS
    return isinstance(function, ast.Name) and function.id in _FUNCTIONS


def _is_environ(node: ast.expr) -> bool:
    name = getattr(node, "attr", None) or getattr(node, "id", None)
    return name in {"environ", "environb"}


def _text_of(node: ast.expr) -> tuple[str, ...]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        value = node.value
        return (value if isinstance(value, str) else value.decode("utf-8", "replace"),)
    return ()
