"""Text of a cell to Python, and to a syntax tree."""

from __future__ import annotations

import ast
from typing import Protocol

_SPECIAL = frozenset("%!?")


class _Shell(Protocol):
    def transform_cell(self, raw_cell: str) -> str: ...


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
    return _as_python(source, shell)


def _as_python(source: str, shell: _Shell | None) -> str:
    try:
        if shell is not None:
            return shell.transform_cell(source)
        from IPython.core.inputtransformer2 import TransformerManager

        return str(TransformerManager().transform_cell(source))
    except SyntaxError:
        return source


def is_python(source: str) -> bool:
    """Whether a source can be parsed without IPython's help."""
    return parse(source) is not None


def parse(source: str) -> ast.Module | None:
    """Parse Python; None for what is none."""
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


def parse_cell(source: str) -> ast.Module | None:
    """Parse a cell that may hold IPython's syntax; None where it cannot be read."""
    return parse(source) or parse(_as_python(source, None))
