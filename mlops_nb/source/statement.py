"""One statement of a cell, and the names it touches."""

from __future__ import annotations

READ, BOUND, MUTATED, CALLED = 1, 2, 4, 8


class Statement:
    """One statement of a cell, with all that is inside it; lines are one-based.

    Attributes
    ----------
    reads
        Every name it loads, whether bound in the same cell or not, and locals of a function.
    binds, mutates, calls
        As in `CellNames`, but for this statement alone.
    """

    # Names are kept as they were met, with what was done to them: most statements of a cell are
    # never asked for, and four tuples each would cost a quarter of the reading.
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
