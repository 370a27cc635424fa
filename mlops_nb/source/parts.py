"""Questions to one node of a syntax tree: what it holds, binds and is called."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_CONTAINERS = """
dict enumerate filter getattr iter list map max memoryview min next reversed set sorted tuple vars
zip
"""
# What these give back shares its parts with what they were given.
_KEEPS_PARTS = frozenset(_CONTAINERS.split())


def roots(node: ast.expr | None) -> tuple[str, ...]:
    """Names whose values an expression's value is, or is a part of, or holds."""
    while True:
        kind = node.__class__
        if kind is ast.Name:
            return (node.id,)  # type: ignore[union-attr]
        if kind not in _PASSES_ON:
            break
        node = node.value  # type: ignore[union-attr]
    children = _HOLDS.get(kind)
    if children is None or (kind is ast.Call and not _keeps_parts(node)):  # type: ignore[arg-type]
        return ()
    return tuple(name for child in children(node) for name in roots(child))


def roots_of_iterable(node: ast.expr) -> tuple[str, ...]:
    """Like `roots`, for what a loop gives: ``table.items()`` gives parts of ``table``."""
    if isinstance(node, ast.Call):
        parts: list[ast.expr] = [*node.args]
        if isinstance(node.func, ast.Attribute):
            parts.append(node.func.value)
        return tuple(name for part in parts for name in roots(part))
    return roots(node)


def _keeps_parts(node: ast.Call) -> bool:
    function = node.func
    return function.__class__ is ast.Name and function.id in _KEEPS_PARTS


_PASSES_ON = frozenset({ast.Attribute, ast.Subscript, ast.Starred, ast.Await, ast.NamedExpr})
_HOLDS: dict[type, Callable[..., Iterable[ast.expr | None]]] = {
    ast.Tuple: lambda node: node.elts,
    ast.List: lambda node: node.elts,
    ast.Set: lambda node: node.elts,
    ast.Dict: lambda node: node.values,
    ast.IfExp: lambda node: (node.body, node.orelse),
    ast.BoolOp: lambda node: node.values,
    ast.Call: lambda node: node.args,
}


def child_fields(node: ast.AST) -> tuple[str, ...]:
    """Fields of a node that hold expressions or statements."""
    kind = node.__class__
    fields = _child_fields.get(kind)
    if fields is None:
        fields = tuple(name for name in kind._fields if name not in _CHILDLESS)
        _child_fields[kind] = fields
    return fields


_child_fields: dict[type, tuple[str, ...]] = {}


_LEAF_FIELDS = """
arg asname attr conversion ctx id is_async kind level module n name names op ops s simple
type_comment type_ignores
"""
_CHILDLESS = frozenset(_LEAF_FIELDS.split())


def target_names(target: ast.expr) -> Iterator[str]:
    """Names that a loop's target binds."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from target_names(element)
    elif isinstance(target, ast.Starred):
        yield from target_names(target.value)


def last_name(node: ast.expr) -> str:
    """``contextlib.suppress(OSError)`` -> ``suppress``."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def dotted_name(node: ast.expr) -> str:
    """``np.random.seed`` where it starts with a name, else what is after the last dot."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
        return ".".join(reversed(parts))
    return parts[0] if parts else ""


def all_arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    """All parameters of a function, in whatever way they are given."""
    yield from arguments.posonlyargs
    yield from arguments.args
    yield from arguments.kwonlyargs
    if arguments.vararg is not None:
        yield arguments.vararg
    if arguments.kwarg is not None:
        yield arguments.kwarg
