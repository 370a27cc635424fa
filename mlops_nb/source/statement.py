"""Single statements of a cell, and the names each touches.

Few cells are ever asked for theirs, and keeping them would cost a quarter of the reading, so they
have a reader of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.source.reader import NameReader
from mlops_nb.source.scopes import BOUND, CALLED, MUTATED, READ

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable


class Statement:
    """One statement of a cell, with all that is inside it; lines are one-based.

    Attributes
    ----------
    reads
        Every name it loads, whether bound in the same cell or not, and locals of a function.
    binds, mutates, calls
        As in `CellNames`, but for this statement alone.
    """

    __slots__ = ("_depth", "_marks", "_scope", "first_line", "last_line")

    def __init__(self, first_line: int, last_line: int, scope: object, depth: int) -> None:
        self.first_line = first_line
        self.last_line = last_line
        self._scope = scope
        self._depth = depth
        self._marks: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"Statement({self.first_line}-{self.last_line}, reads={self.reads})"

    def _marked(self, what: int) -> tuple[str, ...]:
        return tuple([name for name, marks in self._marks.items() if marks & what])

    @property
    def reads(self) -> tuple[str, ...]:
        """Names it loads."""
        return self._marked(READ)

    @property
    def binds(self) -> tuple[str, ...]:
        """Names it binds."""
        return self._marked(BOUND)

    @property
    def mutates(self) -> tuple[str, ...]:
        """Names whose value it may change."""
        return self._marked(MUTATED)

    @property
    def calls(self) -> tuple[str, ...]:
        """What it calls."""
        return self._marked(CALLED)

    def mark(self, name: str, what: int) -> None:
        """Note what is done to a name."""
        marks = self._marks
        marks[name] = marks.get(name, 0) | what

    def take(self, inner: Statement) -> None:
        """Count what a statement inside of this one does, unless it is a function's body."""
        if inner._depth != self._depth:
            return
        # What a class binds are its attributes.
        taken = READ | MUTATED | CALLED | (BOUND if inner._scope is self._scope else 0)
        marks = self._marks
        for name, what in inner._marks.items():
            marks[name] = marks.get(name, 0) | (what & taken)


class StatementReader(NameReader):
    """Reads one tree, statement by statement.

    Attributes
    ----------
    statements
        All of them, nested ones too, in the order in which they end.
    """

    def __init__(self, parse: Callable[[str], ast.Module | None]) -> None:
        super().__init__(parse)
        self.statements: list[Statement] = []
        self._open: list[Statement] = [Statement(0, 0, None, -1)]

    def note(self, name: str, what: int) -> None:
        """Something is done to a name in the innermost statement."""
        self._open[-1].mark(name, what)

    def _statement(self, node: ast.stmt) -> None:
        outer = self._open[-1]
        statement = Statement(
            node.lineno + self.line_offset,
            (node.end_lineno or node.lineno) + self.line_offset,
            self.scopes[-1] if self.scopes else None,
            self.functions,
        )
        self._open.append(statement)
        super()._statement(node)
        self._open.pop()
        outer.take(statement)
        self.statements.append(statement)
