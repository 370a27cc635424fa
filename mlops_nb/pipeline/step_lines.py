"""A step named in the text of a cell: ``%%mlops_step train --after load --retry 2``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.notebook import Cell

_CELL_MAGIC = re.compile(r"%%mlops_step(?!\w)(?P<line>[^\n]*)")
_LINE_MAGIC = re.compile(r"%mlops_step(?!\w)(?P<line>[^\n]*)")
_NOTHING = re.compile(r"\s*(?:#.*)?$")
_OPTION = re.compile(r"(?:^|(?<=\s))--(?=[a-z])")
_WORD = re.compile(r"(?P<name>[a-z][a-z-]*)(?:\s+|=|$)", re.IGNORECASE)
_EVAL_FALSE = re.compile(r"^#\s*\|\s*eval:\s*false\s*$", re.IGNORECASE | re.MULTILINE)

VALUED = {
    "after": "prev",
    "retry": "retry",
    "timeout": "timeout",
    "when": "when",
    "foreach": "foreach",
    "output": "output",
    "secret": "secret",
    "report": "report",
    "kernel": "kernel",
    "image": "image",
    "limit": "limit",
    "label": "label",
    "annotation": "annotation",
}
FLAGS = {"join": "join", "no-cache": "nocache", "gate": "gate", "deploy": "deploy"}


@record
class StepLine:
    """What a cell says of its step in its own text.

    Attributes
    ----------
    tags
        The same as tags: ``("step:train", "prev:load", "retry:2")``.
    problems
        What cannot be understood, as clauses.
    """

    tags: tuple[str, ...]
    problems: tuple[str, ...] = ()


def read_step_line(source: str) -> StepLine | None:
    r"""Read the magic at the top of a cell, None if there is none.

    Parameters
    ----------
    source
        Of the cell. ``%%mlops_step`` stands in its first line, ``%mlops_step`` before its code.

    Examples
    --------
    >>> read_step_line("%%mlops_step train --after load --retry 2\nfit()").tags
    ('step:train', 'prev:load', 'retry:2')
    """
    found = _CELL_MAGIC.match(source.lstrip("\n\r \t"))
    if found is None:
        found = _LINE_MAGIC.match(_first_line(source))
    return None if found is None else _understood(found["line"].strip())


def is_not_evaluated(cell: Cell) -> bool:
    """Say whether a cell says of itself that it is not to run: ``#| eval: false``."""
    head = [line for line in cell.source.splitlines() if line.strip()]
    directives = []
    for line in head:
        if not line.lstrip().startswith("#"):
            break
        directives.append(line.strip())
    return _EVAL_FALSE.search("\n".join(directives)) is not None


def _first_line(source: str) -> str:
    for line in source.splitlines():
        if not _NOTHING.match(line):
            return line.strip()
    return ""


def _understood(line: str) -> StepLine:
    name, *options = _OPTION.split(line)
    tags = [f"step:{_unquoted(word)}" for word in name.split()]
    problems: list[str] = []
    if len(tags) > 1:
        problems.append(f"%mlops_step takes one name, and has {name.strip()}")
    if not tags:
        tags.append("step:")
    for option in options:
        for kind, text in _read_option(option.strip()):
            (tags if kind == "tag" else problems).append(text)
    return StepLine(tuple(tags), tuple(problems))


def _read_option(option: str) -> Iterator[tuple[str, str]]:
    found = _WORD.match(option)
    name = found["name"] if found else option
    value = _unquoted(option[found.end() :].strip()) if found else ""
    if name in FLAGS and not value:
        yield "tag", FLAGS[name]
    elif name in FLAGS:
        yield "problem", f"--{name} takes no value, and has {value}"
    elif name not in VALUED:
        yield "problem", _unknown(name)
    elif not value and name != "report":
        yield "problem", f"--{name} needs a value"
    elif name in {"limit", "label", "annotation"}:
        key, _, said = value.partition("=")
        yield "tag", f"{name}:{key.strip()}:{said.strip()}"
    elif name == "after":
        for one in re.split(r"[\s,]+", value):
            yield "tag", f"prev:{one}"
    else:
        yield "tag", f"{VALUED[name]}:{value}"


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, (*VALUED, *FLAGS), n=1)
    hint = f"; did you mean --{near[0]}?" if near else ""
    return f"%mlops_step has no option --{name}{hint}"


def _unquoted(text: str) -> str:
    """Take off quotes that hold the whole of a text."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if is_quoted and text[0] not in text[1:-1] else text


__all__ = ["FLAGS", "VALUED", "StepLine", "is_not_evaluated", "read_step_line"]
