"""The line of a magic that edits, as a call of the function of the same name.

By hand and not by an argument parser: a note is a sentence, apostrophes and all, and building ten
parsers would take longer than everything else that loading the extension does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlops_nb.api.current import open_store
from mlops_nb.errors import EditRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.display.editing import EditsView
    from mlops_nb.model import Json

_FLAGS: Mapping[str, tuple[str, bool]] = {
    "star": ("starred", True),
    "unstar": ("starred", False),
    "archive": ("archived", True),
    "unarchive": ("archived", False),
    "delete": ("deleted", True),
    "undelete": ("deleted", False),
}
_WORD = r"\"[^\"]*\"|'[^']*'|\S+"


def edit_by_line(verb: str, line: str, usage: str) -> EditsView:
    """Do what the line of a magic says.

    Parameters
    ----------
    verb
        As ``rename``.
    line
        What stands behind it.
    usage
        What the line should be, and after a colon why.

    Raises
    ------
    EditRefused
        The line does not fit, or what it asks for cannot be done.
    RunNotFound, AmbiguousReference, BadQuery, EditConflict
        As the function of the same name.
    """
    if verb in _FLAGS:
        return _put(verb, line, usage)
    since, line = _since(line)
    reference, rest = _first_word(line)
    changes = _CHANGES[verb](rest)
    if not reference or changes is None:
        raise _misused(verb, usage)
    return _edited([reference], changes, since=since)


def _put(verb: str, line: str, usage: str) -> EditsView:
    """Set or take away a flag, of the runs named and those that a query finds."""
    named, asks, query = line.partition("--query")
    if not asks:
        named, asks, query = re.sub(r"(^|\s)-q\s", r"\1--query ", line).partition("--query")
    references = [_unquoted(word) for word in re.findall(_WORD, named)]
    query = _unquoted(query.lstrip("= ").strip())
    if (not references and not query) or (asks and verb == "undelete"):
        raise _misused(verb, usage)
    field, value = _FLAGS[verb]
    return _edited(references, {field: value}, query=query or None)


def _renamed(rest: str) -> dict[str, Json] | None:
    return {"name": _unquoted(rest)} if rest else None


def _noted(rest: str) -> dict[str, Json] | None:
    if rest == "--remove":
        return {"note": ""}
    found = re.match(r"(?:--append|-a)(?:\s+|$)", rest)
    text = _unquoted(rest[found.end() :] if found else rest)
    return {"note+" if found else "note": text} if text else None


def _tagged(rest: str) -> dict[str, Json] | None:
    pairs = re.findall(rf"([^\s=]+)(?:(=)({_WORD}|))?", rest)
    return {
        f"tags.{key}": _unquoted(value) if equals else "true" for key, equals, value in pairs
    } or None


def _untagged(rest: str) -> dict[str, Json] | None:
    return {f"tags.{_unquoted(key)}": None for key in re.findall(_WORD, rest)} or None


_CHANGES: Mapping[str, Callable[[str], dict[str, Json] | None]] = {
    "rename": _renamed,
    "note": _noted,
    "tag": _tagged,
    "untag": _untagged,
}


def _edited(
    references: list[str],
    changes: Mapping[str, Json],
    *,
    query: str | None = None,
    since: int | None = None,
) -> EditsView:
    from mlops_nb.display.editing import view_edits

    with open_store() as store:
        return view_edits(store, references, changes, query=query, since=since)


def _since(line: str) -> tuple[int | None, str]:
    found = re.search(r"(?:^|\s)--since(?:\s+|=)(\d{1,18})(?=\s|$)", line)
    if found is None:
        return None, line.strip()
    return int(found[1]), (line[: found.start()] + line[found.end() :]).strip()


def _first_word(line: str) -> tuple[str, str]:
    found = re.match(_WORD, line)
    return (_unquoted(found[0]), line[found.end() :].strip()) if found else ("", "")


def _unquoted(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] in "\"'" and text[-1] == text[0]
    return text[1:-1] if is_quoted else text


def _misused(verb: str, usage: str) -> EditRefused:
    return EditRefused(f"%mlops_{verb} needs more", f"Write: {usage.partition(':')[0]}.")
