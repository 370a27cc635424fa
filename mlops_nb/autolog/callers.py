"""Where the user's code called from: names in scope, and values reachable from a statement."""

from __future__ import annotations

import linecache
from typing import TYPE_CHECKING, Any

from mlops_nb.source import analyse, statement_at, statements_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from mlops_nb.source import CellNames, Statement

_FIELDS = 4  # of a linecache entry that holds lines

DEPTH_LIMIT = 4
"""How many assignments back a value is followed."""


class CodeIndex:
    """Finds the analysed source of a running cell, and which statement bound a name last."""

    def __init__(self) -> None:
        self._cells: list[CellNames] = []

    def add(self, names: CellNames) -> None:
        """Remember what a cell that is about to run binds."""
        self._cells.append(names)

    def names_at(self, frame: FrameType | None) -> tuple[CellNames, int] | None:
        """Find the innermost frame, going outwards, that runs a cell's code, and its line."""
        while frame is not None:
            # IPython leaves each cell's text in linecache, without a modification time.
            entry: Any = linecache.cache.get(frame.f_code.co_filename)
            if entry is not None and len(entry) == _FIELDS and entry[1] is None:
                return analyse("".join(entry[2])), frame.f_lineno
            frame = frame.f_back
        return None

    def binder(self, name: str, names: CellNames, line: int) -> Statement | None:
        """Find the statement that bound `name` last before `line`."""
        above = [s for s in statements_of(names.source) if name in s.binds and s.first_line < line]
        if above:
            return above[-1]
        for cell in reversed(self._cells):
            if name in cell.bound_at or name in cell.binds:
                found = reversed(statements_of(cell.source))
                return next((s for s in found if name in s.binds), None)
        return None


class CallSite:
    """The statement that called, and the names it can see.

    Parameters
    ----------
    index
        Analysed cells.
    frame
        The user's frame, None where it is not known.
    namespace
        The notebook's namespace.
    """

    def __init__(
        self, index: CodeIndex, frame: FrameType | None, namespace: Mapping[str, object]
    ) -> None:
        self._index = index
        self._namespace = namespace
        self._locals: Mapping[str, object] = {}
        found = index.names_at(frame)
        self._names: CellNames | None = found[0] if found is not None else None
        self._line = found[1] if found is not None else 0
        if frame is not None and frame.f_globals is not frame.f_locals:
            self._locals = frame.f_locals

    def lookup(self, name: str) -> object:
        """The value of a name as the statement sees it, None where there is none."""
        value = self._locals.get(name)
        return self._namespace.get(name) if value is None else value

    def levels(self) -> Iterator[list[object]]:
        """Values of the names the statement reads, then of those these were made from, …."""
        if self._names is None:
            return
        statement = statement_at(self._names.source, self._line)
        reads = set(statement.reads) if statement is not None else set()
        seen: set[str] = set()
        for _ in range(DEPTH_LIMIT):
            reads -= seen
            if not reads:
                return
            yield [self.lookup(name) for name in sorted(reads)]
            seen |= reads
            binders = (self._index.binder(name, self._names, self._line) for name in reads)
            reads = {name for binder in binders if binder is not None for name in binder.reads}

    def name_of(self, value: object, default: str) -> str:
        """Find the variable that holds `value` among the names of the calling cell."""
        for name, held in self._locals.items():
            if held is value and not name.startswith("_") and name != "self":
                return name
        if self._names is not None:
            for name in (*self._names.reads, *self._names.binds):
                if self._namespace.get(name) is value and value is not None:
                    return name
        return default
