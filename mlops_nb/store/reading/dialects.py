"""The few expressions that SQLite and PostgreSQL write differently, and mean the same by here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from mlops_nb.store.schema import Text

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.sql.compiler import SQLCompiler


def alike(column: ColumnElement[Any], pattern: str, *, fold: bool) -> ColumnElement[bool]:
    r"""Compare a text with a pattern: % is any text, _ any character, \ takes them by the letter.

    Parameters
    ----------
    column
        Text.
    pattern
        May not end with a single backslash.
    fold
        Whether the letters A to Z are as good as a to z. No others: SQLite knows no others.
    """
    if fold:
        return _AlikeFolded(column, literal(_folded(pattern), Text))
    return _Alike(column, literal(pattern, Text), literal(_glob(pattern), Text))


def bytewise(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Give a text that is compared and sorted by code point, whatever the server's language."""
    return _Bytewise(column)


def json_label(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Read the key ``label`` of a JSON object, NULL where it has none."""
    return _JsonLabel(column)


def _folded(text: str) -> str:
    return re.sub("[A-Z]+", lambda found: found[0].lower(), text)


def _glob(pattern: str) -> str:
    """Write a pattern of LIKE as one of SQLite's GLOB, which tells A from a."""
    parts = re.findall(r"\\.|.", pattern, flags=re.DOTALL)
    return "".join(_GLOB.get(part) or _by_letter(part[-1]) for part in parts)


_GLOB = {"%": "*", "_": "?"}


def _by_letter(character: str) -> str:
    return f"[{character}]" if character in "*?[" else character


class _Alike(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True


@compiles(_Alike)
def _like(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    column, pattern, _ = element.clauses
    # A backslash escapes by default.
    return f"({compiler.process(column, **kw)} LIKE {compiler.process(pattern, **kw)})"


@compiles(_Alike, "sqlite")
def _as_glob(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    column, _, glob = element.clauses
    return f"({compiler.process(column, **kw)} GLOB {compiler.process(glob, **kw)})"


class _AlikeFolded(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True


@compiles(_AlikeFolded)
def _like_folded(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    column, pattern = (compiler.process(part, **kw) for part in element.clauses)
    return f'(lower({column} COLLATE "C") LIKE {pattern})'


@compiles(_AlikeFolded, "sqlite")
def _like_of_sqlite(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    column, pattern = (compiler.process(part, **kw) for part in element.clauses)
    return f"({column} LIKE {pattern} ESCAPE '\\')"


class _Bytewise(FunctionElement[str]):
    type = Text()
    inherit_cache = True


@compiles(_Bytewise)
def _in_c(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    return f'({compiler.process(element.clauses, **kw)} COLLATE "C")'


@compiles(_Bytewise, "sqlite")
def _as_it_is(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.clauses, **kw)}"


class _JsonLabel(FunctionElement[str]):
    type = Text()
    inherit_cache = True


@compiles(_JsonLabel)
def _by_pattern(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    # Not by its JSON functions, which fail on a NaN. Inside of a text the quotes have a \ before.
    column = compiler.process(element.clauses, **kw)
    return f'substring({column} from \'"label":"([^"\\\\]*)"\')'


@compiles(_JsonLabel, "sqlite")
def _by_function(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.clauses, **kw)
    return f"CASE WHEN json_valid({column}) THEN json_extract({column}, '$.label') END"
