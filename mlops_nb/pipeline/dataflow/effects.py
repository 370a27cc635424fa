"""What one cell does to names, state and files, in the order of its lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.record import record
from mlops_nb.source.normal import normalised

if TYPE_CHECKING:
    import ast

STAR = "* of "
"""Begins the digest of a name that ``import *`` has bound."""

SiteKind: TypeAlias = Literal["import", "definition", "secret", "value"]


@record
class Change:
    """Something is changed in place.

    Attributes
    ----------
    order
        Of the moment, over the whole notebook.
    names
        That name the changed object itself.
    affected
        All names whose value looks different afterwards.
    """

    order: int
    line: int
    names: tuple[str, ...]
    affected: tuple[str, ...]
    is_observed: bool = False


@record
class FileUse:
    """A path that a cell reads or writes; what stands in braces in it is not known.

    Attributes
    ----------
    is_repeatable
        Doing it again changes nothing: ``mkdir(exist_ok=True)``.
    """

    path: str
    is_written: bool
    line: int
    is_read: bool = True
    is_observed: bool = False
    is_repeatable: bool = False


@record
class Site:
    """A place where a name of the notebook is bound.

    Attributes
    ----------
    digest
        Equal for statements that bind the same: ``import numpy as np`` twice.
    is_top
        Whether the statement stands at the top of the cell, and always runs.
    needs
        Names that it reads at once.
    module
        Of ``import a.b``, which binds ``a``.
    """

    cell: int
    line: int
    kind: SiteKind
    digest: str = ""
    is_top: bool = True
    needs: tuple[str, ...] = ()
    module: str = ""


@record
class SetUp:
    """A statement that changes a module or the shell, which every later step has to repeat."""

    cell: int
    line: int
    last_line: int
    names: tuple[str, ...]
    needs: tuple[str, ...] = ()
    is_alone: bool = True


@record
class Star:
    """A statement ``from module import *``; `is_open` if it is not known which names it binds."""

    module: str
    cell: int
    line: int
    last_line: int
    is_open: bool = True


@dataclass(slots=True, eq=False)
class CellEffects:
    """What one cell does.

    Attributes
    ----------
    reads
        Names whose value from before the cell may be read, with the line.
    loads
        All names that are read, with the last moment.
    binds, deletes
        With the last line.
    certain
        Names that are bound whenever the cell runs to its end.
    dynamic
        Line of what may touch any name; 0 if there is none.
    stars
        Statements with ``import *``.
    chance
        Why it gives something else each time it runs, and the line.
    results
        What it reads of IPython's memory of results, with the line.
    ends_at
        The moment after its last line.
    """

    cell: int
    reads: dict[str, int] = field(default_factory=dict)
    loads: dict[str, int] = field(default_factory=dict)
    binds: dict[str, int] = field(default_factory=dict)
    bound_at: dict[str, int] = field(default_factory=dict)
    deletes: dict[str, int] = field(default_factory=dict)
    certain: set[str] = field(default_factory=set)
    changes: list[Change] = field(default_factory=list)
    files: list[FileUse] = field(default_factory=list)
    observed: set[str] = field(default_factory=set)
    dynamic: int = 0
    stars: list[Star] = field(default_factory=list)
    set_ups: list[SetUp] = field(default_factory=list)
    chance: tuple[str, int] | None = None
    results: tuple[str, int] | None = None
    begins_at: int = 0
    ends_at: int = 0
    is_broken: bool = False

    @property
    def changed(self) -> set[str]:
        """Names that are bound, deleted or look different afterwards."""
        found = {*self.binds, *self.deletes}
        for change in self.changes:
            found.update(change.affected)
        return found


def statement_digest(node: ast.AST) -> str:
    """Identify a statement, whatever its layout."""
    return normalised(node)
