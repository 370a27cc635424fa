"""Statements of a cell as they stand there: with their comments, decorators and own lines."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from mlops_nb.record import record
from mlops_nb.source.parsing import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAGIC_LINE = re.compile(r"^(\s*)(?:[%!]|.*\?\??\s*$)")
_MAGIC_VALUE = re.compile(r"^(\s*)[\w\s,.\[\]'\"]+=\s*[%!]")


@record
class Block:
    """Whole lines of a cell that belong together.

    Attributes
    ----------
    lines
        As written, the comments right above included; without line ends.
    statements
        The top-level statements on these lines; several where a line holds several.
    """

    lines: tuple[str, ...]
    statements: tuple[ast.stmt, ...]

    @property
    def text(self) -> str:
        """The lines as one text, without blank ones around it."""
        return "\n".join(self.lines).strip("\n")


@lru_cache(maxsize=1024)
def blocks_of(source: str) -> tuple[Block, ...] | None:
    r"""Cut a cell into blocks; None for what no parser reads. Magics are blocks without effect.

    Examples
    --------
    >>> [block.text for block in blocks_of("# how many\nn = 3\nm = n")]
    ['# how many\nn = 3', 'm = n']
    """
    tree = _parsed(source)
    if tree is None:
        return None
    lines = _lines(source)
    blocks: list[Block] = []
    begin = 0
    for group in _by_line(tree.body):
        end = max(statement.end_lineno or 0 for statement in group)
        blocks.append(Block(tuple(lines[begin:end]), tuple(group)))
        begin = end
    if begin < len(lines) and any(line.strip() for line in lines[begin:]):
        blocks.append(Block(tuple(lines[begin:]), ()))
    return tuple(blocks)


def _lines(source: str) -> list[str]:
    """Split as Python does: a form feed or a Unicode line separator ends no line."""
    return source.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _parsed(source: str) -> ast.Module | None:
    """Parse a cell line by line as it stands: what only IPython reads counts as ``pass``."""
    source = "\n".join(_lines(source))
    if (tree := parse(source)) is not None:
        return tree
    lines = []
    for line in _lines(source):
        found = _MAGIC_LINE.match(line) or _MAGIC_VALUE.match(line)
        lines.append(f"{found[1]}pass" if found else line)
    return parse("\n".join(lines))


def _by_line(statements: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """Group statements that share a line."""
    group: list[ast.stmt] = []
    for statement in statements:
        if group and _first_line(statement) > (group[-1].end_lineno or 0):
            yield group
            group = []
        group.append(statement)
    if group:
        yield group


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def own_comment(block: Block) -> Block:
    """Keep of what stands above the statements only the comment that touches them."""
    if not block.statements:
        return block
    height = max(s.end_lineno or 0 for s in block.statements) - min(
        _first_line(s) for s in block.statements
    )
    first = len(block.lines) - height - 1
    while first and block.lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return Block(block.lines[first:], block.statements)


def names_bound(statement: ast.stmt) -> Iterator[str]:
    """Give the names that a top-level statement binds, wherever in it; functions' own are not."""
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
            pending.extend(node.decorator_list)
            continue
        if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp):
            continue
        if isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        pending.extend(ast.iter_child_nodes(node))


def names_read(nodes: Iterable[ast.AST]) -> set[str]:
    """Give all names that are loaded anywhere in some nodes."""
    return {
        node.id
        for root in nodes
        for node in ast.walk(root)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
