"""Names of a cell by Python's scopes, with what is known of their values."""

from __future__ import annotations

import ast
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.effects import statement_digest
from mlops_nb.pipeline.dataflow.values import ATOM, UNKNOWN, Code, Frame, Value, either

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlops_nb.pipeline.dataflow.effects import Site, SiteKind
    from mlops_nb.pipeline.dataflow.objects import Nodes
    from mlops_nb.pipeline.dataflow.world import World

# Of functions that are followed: in all, and within one statement with all that it calls.
_MOST_BODIES = 20_000
_MOST_PER_STATEMENT = 500
_MOST_CALLS = 3000
_MOST_OBJECTS = 60_000


class Scopes:
    """Loads and stores names where Python would.

    Parameters
    ----------
    world
        The notebook's names.
    parse
        Parses text of a cell; None for what is no Python.
    folder
        Where files beside the notebook are; None if it has no place.

    Attributes
    ----------
    frame
        The function, class body or comprehension that is being read; None for the notebook.
    stack
        Functions that are being followed.
    bodies_left
        How many more functions are followed before only their names are looked at.
    """

    def __init__(
        self, world: World, parse: Callable[[str], ast.Module | None], folder: Path | None
    ) -> None:
        self.world = world
        self.objects = world.objects
        self.parse = parse
        self.folder = folder
        self.frame: Frame | None = None
        self.stack: list[Code] = []
        self.line_offset = 0
        self.bodies_left = _MOST_BODIES
        self.calls_left = _MOST_CALLS
        self.enough = 0
        self.site_kind: SiteKind = "value"
        self.site_digest = ""
        self.needs: tuple[str, ...] = ()
        self.module = ""
        self.depth = 0
        # Within one statement a function is not called twice with anything.
        self.invoked: dict[tuple[Nodes, Nodes], Value] = {}
        self.invoking: set[Code] = set()
        self.was_invoked: set[Code] = set()
        self.touched: set[tuple[int, Nodes]] = set()

    # Told by the classes below, which read expressions, calls and statements.
    def evaluate(self, node: ast.expr) -> Value:
        """Read an expression."""
        raise NotImplementedError

    def block(self, statements: list[ast.stmt]) -> None:
        """Read statements."""
        raise NotImplementedError

    def fresh(self, *held: Value, kind: str = "", is_plain: bool = False) -> Value:
        """Make a value that nothing else reaches, and that holds others."""
        node = self.objects.new(is_plain=is_plain)
        for value in held:
            self.objects.hold((node,), value.nodes)
        if kind:
            self.objects.kind_of[node] = kind
        if kind == "iterator":
            self.objects.iterators.add(node)
        return Value(nodes=frozenset((node,)), kind=kind)

    def load(self, name: str) -> Value:
        """A name is read."""
        frame, is_first = self.frame, True
        while frame is not None:
            if name in frame.globals:
                break
            if frame.kind != "class" or is_first:
                value = frame.values.get(name)
                if value is not None:
                    return value
                if name in frame.owned:
                    return UNKNOWN
            is_first = is_first and frame.kind == "comprehension"
            frame = frame.parent
        return self.world.read(name)

    def store(self, name: str, value: Value) -> None:
        """A name is bound."""
        frame = self.frame
        while frame is not None and frame.kind == "comprehension":
            if name in frame.owned:
                break
            frame = frame.parent
        if frame is None or name in frame.globals:
            self.world.bind(name, value, self._site())
        elif frame.kind == "function" and name not in frame.owned:
            self._store_outside(frame, name, value)
        else:
            self._store_in(frame, name, value)

    def _store_in(self, frame: Frame, name: str, value: Value) -> None:
        old = frame.values.get(name)
        value = replace(value, nodes=self.objects.limited(value.nodes))
        is_sure = old is None or not self.world.branches
        frame.values[name] = value if is_sure else either((old or value, value))
        if frame.node is not None:
            self.objects.hold((frame.node,), value.nodes, name)

    def _store_outside(self, frame: Frame, name: str, value: Value) -> None:
        """Bind a name of an outer function: all closures that see it are changed."""
        outer = frame.parent
        while outer is not None:
            if name in outer.owned or name in outer.values:
                self._store_in(outer, name, either((outer.values.get(name, value), value)))
                if outer.node is not None:
                    self.world.change((outer.node,), is_shallow=True)
                return
            outer = outer.parent

    def _site(self) -> Site:
        is_top = self.frame is None and not self.world.branches and self.depth == 1
        return self.world.site(
            self.site_kind,
            self.site_digest,
            self.needs,
            is_top=is_top,
            module=self.module,
        )

    @contextmanager
    def binding(self, kind: SiteKind, node: ast.AST) -> Iterator[None]:
        """Names bound inside are bound in this way."""
        before = self.site_kind, self.site_digest
        # Of other values nobody asks whether they are bound in the same way twice.
        place = f"{self.world.cell.cell}:{self.world.line}"
        digest = place if kind == "value" else statement_digest(node)
        self.site_kind, self.site_digest = kind, digest
        try:
            yield
        finally:
            self.site_kind, self.site_digest = before

    def remove(self, name: str) -> None:
        """A name is deleted."""
        frame = self.frame
        if frame is None or name in frame.globals:
            self.world.delete(name)
        else:
            frame.values.pop(name, None)

    @contextmanager
    def inside(self, frame: Frame) -> Iterator[None]:
        """Read a function, class body or comprehension."""
        outer, self.frame = self.frame, frame
        try:
            yield
        finally:
            self.frame = outer

    @contextmanager
    def perhaps(self) -> Iterator[None]:
        """What is read inside may not run: nothing in it is bound for certain."""
        world = self.world
        certain, world.cell.certain = world.cell.certain, set(world.cell.certain)
        world.branches += 1
        try:
            yield
        finally:
            world.branches -= 1
            world.cell.certain &= certain

    def captured(self) -> Nodes:
        """Give the node of the names that a function made here closes over."""
        frame = self.frame
        while frame is not None and frame.kind == "class":
            frame = frame.parent
        if frame is None:
            return frozenset()
        if frame.node is None:
            frame.node = self.objects.new(is_plain=True)
            for name, value in frame.values.items():
                self.objects.hold((frame.node,), value.nodes, name)
        outer = frame.parent
        if outer is not None and outer.node is not None:
            self.objects.hold((frame.node,), (outer.node,))
        return frozenset((frame.node,))

    def new_code(self, tree: ast.AST, name: str) -> tuple[Code, Value]:
        """Make a function, lambda or class."""
        node = self.objects.new()
        frame = self.frame
        while frame is not None and frame.kind == "class":
            frame = frame.parent
        code = Code(tree, name, node, frame)  # type: ignore[arg-type]
        self.objects.codes[node] = {code}
        if not code.is_class:
            self.objects.hold((node,), self.captured())
        return code, Value(nodes=frozenset((node,)), kind="code", code=code)

    def begin_statement(self) -> None:
        """Read another statement of the cell itself."""
        self.invoked.clear()
        self.touched.clear()
        self.was_invoked.clear()
        self.calls_left = _MOST_CALLS
        self.enough = max(0, self.bodies_left - _MOST_PER_STATEMENT)

    def follow(self, code: Code, values: dict[str, Value]) -> Value:
        """Read the body of a function as if it were called with these values."""
        self.calls_left -= 1
        is_enough = self.bodies_left <= self.enough or self.objects.count > _MOST_OBJECTS
        if is_enough or self.calls_left < 0 or len(self.stack) > _DEEPEST:
            # Too much to follow: it may touch anything.
            self.world.cell.dynamic = self.world.cell.dynamic or self.world.line
            return self.fresh(*values.values())
        if self.stack.count(code) > 1:
            return self.fresh(*values.values())
        self.bodies_left -= 1
        frame = Frame(code.frame, "function", values, code.owned, code=code)
        self.stack.append(code)
        self.world.following += 1
        was_left = self.world.is_left
        with self.inside(frame):
            if isinstance(code.tree, ast.Lambda):
                frame.returned.append(self.evaluate(code.tree.body))
            else:
                self.block(code.tree.body)
        self.world.is_left = was_left
        self.world.following -= 1
        self.stack.pop()
        if not frame.returned:
            return ATOM
        answer = either(frame.returned)
        return replace(answer, nodes=self.objects.limited(answer.nodes))


_DEEPEST = 24
