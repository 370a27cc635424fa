"""Paths as the text of a notebook says them; what is not known stands in braces."""

from __future__ import annotations

import posixpath
import re
import shlex
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNKNOWN = re.compile(r"\{[^{}]*\}|\*+|\?")
_LOOKS = re.compile(r"[^\s*?<>|\"']*(/|\.[A-Za-z][A-Za-z0-9]{0,7}$)[^\s<>|\"']*")
_LONGEST = 300
_REDIRECT = re.compile(r"(?:^|[^<>&\d])(?:\d|&)?(>>?)\s*([^\s|&;<>]+)")
_IS_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether a text is an address on a network rather than a path."""
    return _IS_ADDRESS.match(text) is not None and not text.startswith("file:")


def looks_like_path(text: str) -> bool:
    """Whether a text can be meant as a path: it has a slash or an ending."""
    return 0 < len(text) < _LONGEST and _LOOKS.fullmatch(text) is not None and not is_address(text)


@lru_cache(maxsize=4096)
def may_meet(one: str, other: str) -> bool:
    """Whether two paths may be the same file, or one may be a folder that holds the other.

    Examples
    --------
    >>> may_meet("data/{name}.csv", "data/train.csv"), may_meet("a.csv", "b.csv")
    (True, False)
    """
    first, second = _tokens(one), _tokens(other)
    return (
        _overlap(first, second)
        or (_may_be_folder(one, other) and _overlap((*first, "/", None), second))
        or (_may_be_folder(other, one) and _overlap(first, (*second, "/", None)))
    )


def _may_be_folder(path: str, other: str) -> bool:
    """Whether a path may be a folder: it has no ending, or is written out before another."""
    last = path.rstrip("/").rpartition("/")[2]
    return "." not in last.lstrip(".") or other.startswith(f"{path}/")


def _tokens(path: str) -> tuple[str | None, ...]:
    """Letters of a path; None for any number of unknown ones."""
    path = path.replace("\\", "/").removeprefix("file://")
    pieces = _UNKNOWN.split(path)
    whole = posixpath.normpath("\0".join(pieces)) if path else "."
    if whole == ".":
        return (None,)
    tokens: list[str | None] = []
    for letter in whole.rstrip("/"):
        if letter != "\0":
            tokens.append(letter)
        elif not tokens or tokens[-1] is not None:
            tokens.append(None)
    return tuple(tokens)


def _overlap(one: tuple[str | None, ...], other: tuple[str | None, ...]) -> bool:
    """Whether some text fits both patterns."""
    # An absolute path and a relative one are compared by their ends.
    if (one[:1] == ("/",)) != (other[:1] == ("/",)):
        one, other = ((None, "/", *p) if p[:1] != ("/",) else p for p in (one, other))
    row = [True] + [False] * len(other)
    for place, letter in enumerate(other, 1):
        row[place] = row[place - 1] and letter is None
    for mine in one:
        before, row = row, [mine is None and row[0]] + [False] * len(other)
        for place, letter in enumerate(other, 1):
            if mine is None or letter is None:
                row[place] = before[place] or row[place - 1]
            else:
                row[place] = before[place - 1] and mine == letter
    return row[-1]


@record
class ShellUse:
    """A path in a command of the system."""

    path: str
    is_read: bool
    is_written: bool


_READERS = frozenset(
    {"cat", "head", "tail", "wc", "ls", "grep", "less", "more", "file", "stat", "md5sum", "du"}
)
_WITHOUT_FILES = frozenset({"echo", "printf", "pip", "pip3", "conda", "mamba", "uv", "which"})


def shell_uses(command: str) -> Iterator[ShellUse]:
    """Find the paths in a command: what it redirects to is written, of others nobody knows."""
    for line in re.split(r"[\n;]|&&|\|\|?", command):
        for how, path in _REDIRECT.findall(line):
            yield ShellUse(_bare(path), is_read=how == ">>", is_written=True)
        words = _words(_REDIRECT.sub(" ", line))
        if not words or words[0] in _WITHOUT_FILES:
            continue
        name = words[0].rpartition("/")[2]
        for word in words[1:]:
            if word.startswith("-") or is_address(word):
                continue
            if looks_like_path(word) or name in {"mkdir", "touch", "rm", "cp", "mv", "tee"}:
                yield ShellUse(word, is_read=name != "mkdir", is_written=name not in _READERS)


def _bare(word: str) -> str:
    return word.strip("\"'")


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()


PACKAGES = "<installed packages>"
"""Stands for what pip installs, and imports read."""


@lru_cache(maxsize=4096)
def may_be_same(one: str, other: str) -> bool:
    """Whether two paths may be the same file."""
    return _overlap(_tokens(one), _tokens(other))


def module_files(module: str) -> tuple[str, ...]:
    """Give the paths that an import of a module beside the notebook would read."""
    if module.partition(".")[0] in sys.stdlib_module_names:
        return ()
    path = module.lstrip(".").replace(".", "/")
    first = path.partition("/")[0]
    files = dict.fromkeys((f"{path}.py", f"{path}/__init__.py", f"{first}/__init__.py"))
    # It may lie in any folder of the search path.
    return (*files, *(f"{{…}}/{file}" for file in files), PACKAGES)
