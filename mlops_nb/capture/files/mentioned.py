"""Paths that a cell names: in its text, or by variables that hold one.

Looking is cheap and happens in two steps: a search for what may be a path in the plain text, and
only if something of that name exists, the strings of the syntax tree.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from itertools import islice
from pathlib import PurePath
from types import FunctionType
from typing import TYPE_CHECKING

from mlops_nb.source import transform
from mlops_nb.source.parsing import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Lookup = Callable[[str], object]

MOST_PATHS = 50
"""Paths of one cell that are looked at."""

_LONGEST = 1_024
_QUOTED = re.compile(r"""'([^'\n]{1,1024})'|"([^"\n]{1,1024})\"""")
_WORD = re.compile(r"""[^\s'"`<>|;,(){}\[\]=]*/[^\s'"`<>|;,(){}\[\]]+""")
_SUFFIX = re.compile(r"\.[^\W\d]\w{0,15}$")  # of a name without a folder: no ``{x:.3f}``
_NAMED = re.compile(r"""\.[^\W\d]\w{0,15}['"\s,;)]""")
_SQL = re.compile(r"\b(?:select|from|copy|attach|insert|create|describe)\b", re.IGNORECASE)
_COMMANDS = frozenset({"system", "getoutput", "run_cell_magic", "run_line_magic"})
_MOST_ITEMS = 20


def written_paths(text: str) -> list[str]:
    """Give what may be a path in the text of a cell, without understanding it.

    Examples
    --------
    >>> written_paths("table = read('data/flowers.csv')  # from https://example.org/x")
    ['data/flowers.csv']
    """
    if not _has_slash(text) and _NAMED.search(text) is None:
        return []
    found = [match[1] or match[2] for match in islice(_QUOTED.finditer(text), 4 * MOST_PATHS)]
    wordy = [one for one in found if " " in one]
    found += [word for one in wordy for word in (*one.split(), *files_in_sql(one))]
    found = [one for one in found if "/" in one or _SUFFIX.search(one) or os.sep in one]
    if "/" in text:
        found += islice((match[0] for match in _WORD.finditer(text)), MOST_PATHS)
    return [one for one in dict.fromkeys(found) if "://" not in one][:MOST_PATHS]


def _has_slash(text: str) -> bool:
    """Whether there is a slash that is no division written with spaces."""
    at = text.find("/")
    while at >= 0:
        if text[at - 1 : at] != " " or text[at + 1 : at + 2] != " ":
            return True
        at = text.find("/", at + 1)
    return os.sep != "/" and os.sep in text


def held_paths(names: Iterable[str], lookup: Lookup) -> list[str]:
    """Give the paths that variables hold: text, path objects, and short lists of both.

    Examples
    --------
    >>> held_paths(["place", "count"], {"place": PurePath("data"), "count": 3}.get)
    ['data']
    """
    found: list[str] = []
    for name in names:
        value = lookup(name)
        kind = type(value)
        if kind in _NO_PATHS:
            continue
        if kind is list or kind is tuple:
            items = list(islice(value, _MOST_ITEMS))  # type: ignore[call-overload]
            if items and _path_text(items[0]):  # a list of paths, not of rows
                found += map(_path_text, items)
        else:
            found.append(_path_text(value))
    return [one for one in found if one]


_NO_PATHS = frozenset({int, float, bool, complex, dict, set, type, type(None), FunctionType})


def is_plain_word(text: str) -> bool:
    """Whether only a file of that very name makes a text a path.

    Examples
    --------
    >>> is_plain_word("forest"), is_plain_word("forest.csv"), is_plain_word("data/forest")
    (True, False, False)
    """
    return "/" not in text and os.sep not in text and _SUFFIX.search(text) is None


def _path_text(value: object) -> str:
    """What may be a path, as text; nothing of a class of the user's is called."""
    kind = type(value)
    if kind is not str and not (issubclass(kind, PurePath) and kind.__module__[:7] == "pathlib"):
        return ""
    text = str(value)
    return text if 0 < len(text) <= _LONGEST and "\n" not in text and "\0" not in text else ""


def mentioned_files(
    text: str, candidates: Iterable[str], held: Iterable[str], *, cwd: str
) -> Iterator[str]:
    """Give the absolute paths of files that exist and that a cell names.

    Parameters
    ----------
    text
        What was run.
    candidates
        From `written_paths`; a cell in which none of them exists is not parsed.
    held
        From `held_paths`. A folder among them is also tried in front of what is written.
    cwd
        The working directory at the time.
    """
    files = list(dict.fromkeys(_files(held, cwd)))
    folders = [place for place in _places(held, cwd) if os.path.isdir(place)][:_MOST_ITEMS]  # noqa: PTH112
    bases = (cwd, *folders)
    if any(True for base in bases for _ in _files(candidates, base)):
        strings = list(islice(strings_of(text), 4 * MOST_PATHS))
        files += [file for base in bases for file in _files(strings, base)]
    yield from dict.fromkeys(files)


def strings_of(text: str) -> Iterator[str]:
    """Give the string constants of a cell, and the words of the shell commands in it.

    Examples
    --------
    >>> list(strings_of("load('a.csv')  # not 'b.csv'"))
    ['a.csv']
    """
    tree = parse(text) or parse(transform(text))
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
            if is_sql(node.value):
                yield from files_in_sql(node.value)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in _COMMANDS:
            yield from _words(node)


def is_sql(text: str) -> bool:
    """Whether a string may be a query that names files, as DuckDB's do.

    Examples
    --------
    >>> is_sql("from 'flowers.csv'"), is_sql("flowers.csv")
    (True, False)
    """
    return _SQL.search(text) is not None and ("'" in text or '"' in text)


def files_in_sql(text: str) -> list[str]:
    """Give what may be files in a query.

    Examples
    --------
    >>> files_in_sql("select * from 'in/a.csv' where kind = 'x'")
    ['in/a.csv', 'x']
    """
    return [found[1] or found[2] for found in islice(_QUOTED.finditer(text), MOST_PATHS)]


def queries_in(text: str) -> dict[str, str]:
    """Give the queries in the source of a cell by what may be files in them."""
    queries = [one for one in strings_of(text) if is_sql(one)]
    return {file: query for query in reversed(queries) for file in files_in_sql(query)}


def _words(call: ast.Call) -> Iterator[str]:
    for argument in call.args:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            try:
                yield from shlex.split(argument.value, comments=True)
            except ValueError:
                yield from argument.value.split()


def _places(texts: Iterable[str], base: str) -> Iterator[str]:
    for text in texts:
        if 0 < len(text) <= _LONGEST and "\0" not in text:
            yield absolute(text, base)


def _files(texts: Iterable[str], base: str) -> Iterator[str]:
    for place in _places(texts, base):
        if os.path.isfile(place):  # noqa: PTH113
            yield place


def absolute(text: str, base: str) -> str:
    """Make a path absolute as the running program would, links left as they are.

    Examples
    --------
    >>> absolute("../x.csv", "/data/raw")
    '/data/x.csv'
    """
    return os.path.normpath(os.path.join(base, os.path.expanduser(text)))  # noqa: PTH111, PTH118
