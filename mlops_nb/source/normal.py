"""A syntax tree written down without layout: equal texts do the same.

`ast.dump` is slower, and its text differs between versions of Python (empty fields); here they
are left out, so a cell keeps its digest when Python moves on. Positions, contexts, type comments
and strings that nobody uses (docstrings, remarks in quotes) are left out too.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from mlops_nb.source.magics import find_magic
from mlops_nb.source.parsing import parse_cell

if TYPE_CHECKING:
    from collections.abc import Callable


def normalised(tree: ast.AST) -> str:
    """Write a tree down.

    Parameters
    ----------
    tree
        Of a whole cell.

    Returns
    -------
    str
        Equal for sources that differ only in layout, quotes and remarks.

    Examples
    --------
    >>> normalised(ast.parse("x = (1)  # one")) == normalised(ast.parse("x=1"))
    True
    """
    return _write(tree)


def _write(node: ast.AST) -> str:
    return _WRITERS[node.__class__](node)


def _list(nodes: list[Any]) -> str:
    # Most have none or one, and a join costs as much as writing a name.
    if not nodes:
        return ""
    if len(nodes) == 1:
        node = nodes[0]
        return _WRITERS[node.__class__](node)
    return ",".join([_WRITERS[node.__class__](node) for node in nodes])


def _write_any(node: ast.AST) -> str:
    parts = []
    for name in node._fields:
        value = getattr(node, name, None)
        if value.__class__ is list:
            if value:
                parts.append(f"{name}=[{_items(value, is_body=name in _BODIES)}]")
        elif isinstance(value, ast.AST):
            if name != "ctx":
                parts.append(f"{name}={_write(value)}")
        elif value is not None and name != "type_comment":
            parts.append(f"{name}={value!r}")
    return f"{node.__class__.__name__}({','.join(parts)})"


def _items(items: list[Any], *, is_body: bool) -> str:
    """Elements of a field: nodes, names, or None (a key of ``{**rest}``)."""
    if is_body:
        items = [item for item in items[:-1] if not _is_remark(item)] + items[-1:]
        return _list(items)
    return ",".join([_write(i) if isinstance(i, ast.AST) else repr(i) for i in items])


def _is_remark(node: Any) -> bool:
    """Whether a statement is a string that nobody uses; the last one of a cell is its result."""
    return (
        node.__class__ is ast.Expr
        and node.value.__class__ is ast.Constant
        and node.value.value.__class__ is str
    )


_BODIES = frozenset({"body", "orelse", "finalbody"})


def _body(statements: list[ast.stmt]) -> str:
    return _items(statements, is_body=True)


def _call(node: ast.Call) -> str:
    # A magic's body is text to Python, but code to who wrote it.
    magic = find_magic(node) if type(node.func) is ast.Attribute else None
    if magic is not None and magic.python is not None:
        tree = parse_cell(magic.python)
        if tree is not None:
            line = ast.unparse(node.args[1]) if len(node.args) > _BODY_AT else ""
            return f"{magic.name}({line},{_write(tree)})"
    return f"Call({_write(node.func)},[{_list(node.args)}],[{_list(node.keywords)}])"


# Name and line come before the body of a cell magic.
_BODY_AT = 2


def _comprehension(node: Any) -> str:
    return f"({node.__class__.__name__} {_write(node.elt)},{_list(node.generators)})"


def _generator(node: ast.comprehension) -> str:
    target, iterable = _write(node.target), _write(node.iter)
    return f"for({node.is_async},{target},{iterable},[{_list(node.ifs)}])"


def _compare(node: ast.Compare) -> str:
    operators = ",".join([operator.__class__.__name__ for operator in node.ops])
    return f"Compare({_write(node.left)},{operators},{_list(node.comparators)})"


def _slice(node: ast.Slice) -> str:
    parts = [_write(p) if p is not None else "" for p in (node.lower, node.upper, node.step)]
    return f"Slice({':'.join(parts)})"


def _format(node: ast.FormattedValue) -> str:
    how = _write(node.format_spec) if node.format_spec is not None else ""
    return f"Format({_write(node.value)},{node.conversion},{how})"


class _Writers(dict[type, "Callable[[Any], str]"]):
    """How each kind of node is written."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        return _write_any


# The kinds that make up most of a cell, written without asking which fields they have.
_WRITERS = _Writers()
_WRITERS |= {
    ast.Name: lambda n: f"Name({n.id})",
    ast.Constant: lambda n: f"Constant({n.value!r})",
    ast.Attribute: lambda n: f"Attribute({_write(n.value)}.{n.attr})",
    ast.Subscript: lambda n: f"Subscript({_write(n.value)},{_write(n.slice)})",
    ast.Slice: _slice,
    ast.Call: _call,
    ast.keyword: lambda n: f"keyword({n.arg},{_write(n.value)})",
    ast.Tuple: lambda n: f"Tuple({_list(n.elts)})",
    ast.List: lambda n: f"List({_list(n.elts)})",
    ast.Assign: lambda n: f"Assign([{_list(n.targets)}],{_write(n.value)})",
    ast.Expr: lambda n: f"Expr({_write(n.value)})",
    ast.BinOp: lambda n: f"({_write(n.left)}{n.op.__class__.__name__} {_write(n.right)})",
    ast.Compare: _compare,
    ast.ListComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.comprehension: _generator,
    ast.JoinedStr: lambda n: f"Joined({_list(n.values)})",
    ast.FormattedValue: _format,
    ast.Module: lambda n: f"Module({_body(n.body)})",
    ast.If: lambda n: f"If({_write(n.test)},[{_body(n.body)}],[{_body(n.orelse)}])",
    ast.For: lambda n: (
        f"For({_write(n.target)},{_write(n.iter)},[{_body(n.body)}],[{_body(n.orelse)}])"
    ),
}
