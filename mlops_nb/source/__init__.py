"""Text of a cell in, meaning out: what runs, a digest of it, and the names it touches.

Everything here is static, and names are kept for the sources seen last. Names follow Python's
scopes: what is local to a function, a class or a comprehension is no name of the notebook.
`reads` are the names whose value from before the cell may be read; ``x = 1; print(x)`` does not
read ``x``.
"""

from __future__ import annotations

from dataclasses import field
from functools import lru_cache
from typing import TYPE_CHECKING

import xxhash

from mlops_nb.record import record
from mlops_nb.source.normal import normalised
from mlops_nb.source.parsing import is_python, parse_cell, transform
from mlops_nb.source.reader import NameReader
from mlops_nb.source.statement import Statement, StatementReader

if TYPE_CHECKING:
    import ast
    from collections.abc import Mapping

__all__ = [
    "CellNames",
    "Statement",
    "analyse",
    "code_digest",
    "is_python",
    "statement_at",
    "statements_of",
    "transform",
]


@record
class CellNames:
    """Names that a cell touches by its text alone.

    Attributes
    ----------
    reads
        Names whose value from before the cell may be read; builtins are among them.
    binds, deletes
        Names of the notebook that may be bound or deleted.
    mutates
        Names whose value from before the cell may be changed in place: receivers of methods,
        arguments, targets.
    calls
        What is called, dotted where it starts with a name: ``"np.mean"``, ``"fit"``.
    imports
        Modules, as ``"sklearn.metrics"``.
    is_dynamic
        It can touch names that its text does not say: ``exec``, ``%run``, ``import *``…
    certain
        Names that are bound whenever the cell runs to its end.
    read_at, bound_at
        For a name in `reads`, and one bound at the top of the cell: how many statements, nested
        ones too, end before that happens for the first time.
    touches
        Names whose value may be changed in place after the cell itself has bound them.
    sets
        Names whose parts are assigned: ``table["x"] = 1``, ``settings.seed = 1``.
    consumes
        Names that are iterated over: changed if their value is an iterator.
    origins
        For a name bound to a part of another (``row = rows[0]``), the names it may share with.
    magics
        IPython magics, as ``"%cd"``, ``"%%time"``, ``"!"``.
    source
        The text they are of; see `statements_of`.
    """

    reads: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    mutates: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    is_dynamic: bool = False
    certain: frozenset[str] = frozenset()
    read_at: Mapping[str, int] = field(default_factory=dict)
    bound_at: Mapping[str, int] = field(default_factory=dict)
    touches: tuple[str, ...] = ()
    sets: frozenset[str] = frozenset()
    consumes: tuple[str, ...] = ()
    origins: Mapping[str, tuple[str, ...]] | None = None
    magics: tuple[str, ...] = ()
    source: str = ""


@lru_cache(maxsize=1024)
def code_digest(source: str) -> str:
    """Identify what a cell does, whatever its layout.

    Comments, blank lines, quotes, line breaks and docstrings do not count.

    Parameters
    ----------
    source
        A cell, as typed or as run.

    Returns
    -------
    str
        ``"xxh3:"`` and 32 hex digits; of the stripped text where it cannot be parsed.

    Examples
    --------
    >>> code_digest("x = f( 1 )  # a remark") == code_digest("x = f(1)")
    True
    """
    tree = parse_cell(source)
    return _digest_of(source.strip() if tree is None else normalised(tree))


def analyse(source: str, tree: ast.Module | None = None) -> CellNames:
    r"""Find the names a cell touches.

    Parameters
    ----------
    source
        A cell, as typed or as run.
    tree
        Its syntax tree where somebody has parsed it already; it is not changed.

    Returns
    -------
    CellNames
        Empty for text that cannot be parsed.

    Examples
    --------
    >>> names = analyse("total = price * 2\nbasket.append(total)")
    >>> names.reads, names.binds, names.mutates
    (('price', 'basket'), ('total',), ('basket',))
    """
    known = _analysed.get(source)
    if known is None:
        known = _analysed[source] = _analyse(source, tree)
        while len(_analysed) > _KEPT_SOURCES:
            # Two threads may remove at once; the second finds nothing to do.
            _analysed.pop(next(iter(_analysed)), None)
    return known


def _analyse(source: str, tree: ast.Module | None) -> CellNames:
    tree = tree or parse_cell(source)
    if tree is None:
        return CellNames(source=source)
    reader = NameReader(parse_cell)
    reader.read(tree)
    return _names_of(reader, source)


_analysed: dict[str, CellNames] = {}
_KEPT_SOURCES = 512


@lru_cache(maxsize=64)
def statements_of(source: str) -> tuple[Statement, ...]:
    """List all statements of a cell, nested ones too, in the order of their first lines.

    Examples
    --------
    >>> [statement.binds for statement in statements_of("x = 1; y = x")]
    [('x',), ('y',)]
    """
    tree = parse_cell(source)
    if tree is None:
        return ()
    reader = StatementReader(parse_cell)
    reader.read(tree)
    return tuple(sorted(reader.statements, key=_by_line))


def statement_at(source: str, line: int) -> Statement | None:
    """Find the innermost statement that covers a line (one-based), None between statements."""
    found = None
    for statement in statements_of(source):
        if statement.first_line > line:
            break
        if line <= statement.last_line:
            found = statement
    return found


def _names_of(reader: NameReader, source: str) -> CellNames:
    return CellNames(
        reads=tuple(reader.reads),
        binds=tuple(reader.binds),
        mutates=tuple(reader.mutates),
        touches=tuple(reader.touches),
        sets=frozenset(reader.sets),
        deletes=tuple(reader.deletes),
        calls=tuple(reader.calls),
        imports=tuple(reader.imports),
        is_dynamic=reader.is_dynamic,
        read_at=reader.reads,
        bound_at=reader.bound_at,
        certain=frozenset(reader.bound),
        consumes=tuple(reader.consumes),
        origins=reader.origins or None,
        magics=tuple(reader.magics),
        source=source,
    )


def _by_line(statement: Statement) -> tuple[int, int]:
    return statement.first_line, -statement.last_line


def _digest_of(text: str) -> str:
    return "xxh3:" + xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
