"""Statements of cells as what they do, what they name, and whether they may be left out."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import xxhash

from mlops_nb.record import record
from mlops_nb.source import code_digest
from mlops_nb.source.magics import find_magic
from mlops_nb.source.normal import normalised
from mlops_nb.source.parsing import parse_cell
from mlops_nb.source.parts import target_names

if TYPE_CHECKING:
    from collections.abc import Iterator

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_WITH_DOCUMENTATION = (*_FUNCTIONS, ast.ClassDef, ast.Module)
_WORD = re.compile(r"[^\W\d]\w*")
_HARMLESS_CALLS = frozenset({
    "abs", "bool", "bytes", "complex", "dict", "divmod", "enumerate", "float", "frozenset", "int",
    "len", "list", "max", "min", "pow", "range", "reversed", "round", "set", "slice", "sorted",
    "str", "sum", "tuple", "zip", "Path", "Decimal", "Fraction", "date", "datetime", "time",
    "timedelta",
})  # fmt: skip
_HARMLESS = (
    ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Tuple,
    ast.List, ast.Dict, ast.Set, ast.JoinedStr, ast.FormattedValue, ast.Starred, ast.operator,
    ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context, ast.keyword,
)  # fmt: skip


@record
class Piece:
    """One statement at the top of a cell.

    Attributes
    ----------
    digest
        Of what it does, whatever its layout; documentation counts, for code may read it.
    binds
        Names that it binds.
    mentions
        Names that it may read, words in its texts among them: ``frame.query("x > @cut")``.
    may_go
        It only binds its names: whoever needs none of them can do without it.
    kind
        ``function``, ``class``, ``import`` or ``value``.
    default
        The expression whose value it gives to its one name, if it does nothing else.
    """

    digest: str
    binds: tuple[str, ...]
    mentions: frozenset[str]
    may_go: bool = False
    kind: str = "value"
    default: ast.expr | None = None


@lru_cache(maxsize=2048)
def cell_digest(source: str) -> str:
    """Identify what a cell or a module does; documentation counts, for code may read it.

    Examples
    --------
    >>> cell_digest("x = 1") == cell_digest("x = 1  # one")
    True
    """
    tree = parse_cell(source)
    return code_digest(source) if tree is None else _with_documentation(code_digest(source), tree)


@lru_cache(maxsize=512)
def pieces_of(source: str) -> tuple[Piece, ...] | None:
    """Cut a cell into its statements; None where it cannot be read."""
    tree = parse_cell(source)
    return None if tree is None else tuple(map(_piece, tree.body))


@lru_cache(maxsize=1024)
def mentions_of(source: str) -> frozenset[str]:
    """Name all that a cell may read, words in its texts among them."""
    tree = parse_cell(source)
    return frozenset(_WORD.findall(source)) if tree is None else _mentions(tree)


def nodes_of(tree: ast.AST | None) -> Iterator[ast.AST]:
    """Give all nodes of a tree, and those of the code that magics run (``%time import x``)."""
    for node in ast.walk(tree) if tree is not None else ():
        yield node
        magic = find_magic(node) if isinstance(node, ast.Call) else None
        if magic is not None and magic.python:
            yield from nodes_of(parse_cell(magic.python))


def _piece(statement: ast.stmt) -> Piece:
    digest = _with_documentation(_digest(normalised(statement)), statement)
    return Piece(
        digest,
        tuple(dict.fromkeys(_bound(statement))),
        _mentions(statement),
        _may_go(statement),
        _kind(statement),
        _value(statement),
    )


def _kind(statement: ast.stmt) -> str:
    if isinstance(statement, _FUNCTIONS):
        return "function"
    if isinstance(statement, ast.ClassDef):
        return "class"
    return "import" if isinstance(statement, ast.Import | ast.ImportFrom) else "value"


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
    else:
        targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
        for target in targets:
            if isinstance(target, ast.expr):
                yield from target_names(target)


def _may_go(statement: ast.stmt) -> bool:
    if isinstance(statement, _FUNCTIONS):
        made = (*statement.args.defaults, *filter(None, statement.args.kw_defaults))
        return not statement.decorator_list and all(map(_is_harmless, made))
    if isinstance(statement, ast.Assign):
        is_plain = all(isinstance(target, ast.Name) for target in statement.targets)
        return is_plain and _is_harmless(statement.value)
    if isinstance(statement, ast.AnnAssign):
        is_plain = isinstance(statement.target, ast.Name)
        return is_plain and (statement.value is None or _is_harmless(statement.value))
    return False


def _is_harmless(value: ast.expr) -> bool:
    """Say whether nothing happens when an expression is computed."""
    for node in ast.walk(value):
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Name) and node.func.id in _HARMLESS_CALLS):
                return False
        elif not isinstance(node, _HARMLESS):
            return False
    return True


def _value(statement: ast.stmt) -> ast.expr | None:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        return statement.value if isinstance(statement.targets[0], ast.Name) else None
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.value
    return None


def _mentions(tree: ast.AST) -> frozenset[str]:
    found: set[str] = set()
    for node in nodes_of(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            found.update(node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(_WORD.findall(node.value))
    return frozenset(found)


def _with_documentation(digest: str, tree: ast.AST) -> str:
    """Add the documentation of functions and classes to a digest that leaves it out."""
    texts = [
        text
        for node in ast.walk(tree)
        if isinstance(node, _WITH_DOCUMENTATION)
        and (text := ast.get_docstring(node, clean=False)) is not None
    ]
    return digest if not texts else _digest("\0".join((digest, *texts)))


def _digest(text: str) -> str:
    return "xxh3:" + xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
