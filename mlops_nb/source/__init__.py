"""Text of a cell in, meaning out: what runs, a digest of it, and the names it touches.

Everything here is static, and a source is parsed once: digest and names come from the same tree
and are kept for the sources seen last. Names follow Python's scopes: what is local to a function,
a class or a comprehension is no name of the notebook. `reads` are the names whose value from
before the cell may be read; ``x = 1; print(x)`` does not read ``x``.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import xxhash

from mlops_nb.source.normal import normalised
from mlops_nb.source.reader import NameReader
from mlops_nb.source.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CellNames",
    "Statement",
    "analyse",
    "code_digest",
    "is_python",
    "statement_at",
    "study",
    "transform",
]

_SPECIAL = frozenset("%!?")


class _Shell(Protocol):
    def transform_cell(self, raw_cell: str) -> str: ...


@dataclass(frozen=True, slots=True)
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
    statements
        All statements, nested ones too, in the order of their first lines.
    certain
        Names that are bound whenever the cell runs to its end.
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
    """

    reads: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    mutates: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    is_dynamic: bool = False
    statements: tuple[Statement, ...] = ()
    certain: frozenset[str] = frozenset()
    touches: tuple[str, ...] = ()
    sets: frozenset[str] = frozenset()
    consumes: tuple[str, ...] = ()
    origins: Mapping[str, tuple[str, ...]] | None = None
    magics: tuple[str, ...] = ()


def transform(source: str, shell: _Shell | None = None) -> str:
    r"""Turn IPython's syntax into Python, as IPython itself would.

    Parameters
    ----------
    source
        A cell as typed.
    shell
        The running shell, whose own transformers then count too.

    Returns
    -------
    str
        Python; or the source unchanged where it is Python already, or where IPython refuses it.

    Examples
    --------
    >>> transform("x = 1")
    'x = 1'
    >>> transform("%matplotlib inline")
    "get_ipython().run_line_magic('matplotlib', 'inline')\n"
    """
    if not _SPECIAL.intersection(source) and is_python(source):
        return source
    return _transform(source, shell)


def _transform(source: str, shell: _Shell | None) -> str:
    try:
        if shell is not None:
            return shell.transform_cell(source)
        from IPython.core.inputtransformer2 import TransformerManager

        return str(TransformerManager().transform_cell(source))
    except SyntaxError:
        return source


def is_python(source: str) -> bool:
    """Whether a source can be parsed without IPython's help."""
    return _parse(source) is not None


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
    return study(source)[0]


def analyse(source: str) -> CellNames:
    r"""Find the names a cell touches.

    Parameters
    ----------
    source
        A cell, as typed or as run.

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
    return study(source)[1]


def statement_at(names: CellNames, line: int) -> Statement | None:
    """Find the innermost statement that covers a line (one-based), None between statements."""
    found = None
    for statement in names.statements:
        if statement.first_line > line:
            break
        if line <= statement.last_line:
            found = statement
    return found


def study(source: str, tree: ast.Module | None = None) -> tuple[str, CellNames]:
    """Give digest and names of a cell at once.

    Parameters
    ----------
    source
        A cell, as typed or as run.
    tree
        Its syntax tree where somebody has parsed it already; it is not changed.

    Returns
    -------
    tuple
        What `code_digest` and `analyse` give.
    """
    known = _studied.get(source)
    if known is None:
        known = _studied[source] = _study(source, tree)
        while len(_studied) > _KEPT_SOURCES:
            # Two threads may remove at once; the second finds nothing to do.
            _studied.pop(next(iter(_studied)), None)
    return known


def _study(source: str, tree: ast.Module | None) -> tuple[str, CellNames]:
    """Parse once: digest and names."""
    tree = tree or _parse(source) or _parse(_transform(source, None))
    if tree is None:
        return _digest_of(source.strip()), CellNames()
    reader = NameReader(_parse_inner)
    reader.read(tree)
    return _digest_of(normalised(tree)), _names_of(reader)


_studied: dict[str, tuple[str, CellNames]] = {}
_KEPT_SOURCES = 512


def _parse(source: str) -> ast.Module | None:
    try:
        tree: ast.Module = compile(
            source,
            "<cell>",
            "exec",
            ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    return tree


def _parse_inner(source: str) -> ast.Module | None:
    """Parse a magic's body, which may hold magics itself."""
    return _parse(source) or _parse(_transform(source, None))


def _names_of(reader: NameReader) -> CellNames:
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
        statements=tuple(sorted(reader.statements, key=_by_line)),
        certain=frozenset(reader.bound),
        consumes=tuple(reader.consumes),
        origins=reader.origins or None,
        magics=tuple(reader.magics),
    )


def _by_line(statement: Statement) -> tuple[int, int]:
    return statement.first_line, -statement.last_line


def _digest_of(text: str) -> str:
    return "xxh3:" + xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
