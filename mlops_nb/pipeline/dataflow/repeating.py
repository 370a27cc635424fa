"""Statements that set a library up: each later step repeats them, as there is no state to pass."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.notebook import Notebook
    from mlops_nb.pipeline.dataflow.effects import SetUp, Star

_ENTRY = re.compile(r"<setup:(\d+):(\d+)-(\d+)>\Z")


def set_up_entry(set_up: SetUp | Star) -> str:
    """Name a statement among the definitions of a step: ``<setup:3:1-1>``, cell and lines."""
    return f"<setup:{set_up.cell}:{set_up.line}-{set_up.last_line}>"


def is_set_up(entry: str) -> bool:
    """Whether an entry among the definitions of a step is a statement to repeat.

    Examples
    --------
    >>> is_set_up("<setup:3:1-2>"), is_set_up("train")
    (True, False)
    """
    return _ENTRY.match(entry) is not None


def set_up_source(notebook: Notebook, entry: str) -> str:
    """Cut the statement of an entry out of its cell."""
    found = _ENTRY.match(entry)
    if found is None:
        return ""
    cell, first, last = map(int, found.groups())
    lines = notebook.cells[cell].source.splitlines()
    return textwrap.dedent("\n".join(lines[first - 1 : last]))
