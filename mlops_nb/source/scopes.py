"""Names by Python's scopes: what is local, what is the notebook's, what is bound for certain.

The standard `symtable` would parse a second time, and knows neither order nor mutation; the tests
hold this against it over real modules.
"""

from __future__ import annotations

from typing import TypeAlias

READ, BOUND, MUTATED, CALLED = 1, 2, 4, 8
"""What is done to a name, as told to `ScopedNames.note`."""

Names: TypeAlias = "dict[str, None]"
"""A set that keeps the order in which names were met."""


_NONE: frozenset[str] = frozenset()


class Scope:
    """A function (names settled at its end), or a class or comprehension (settled at once)."""

    __slots__ = (
        "consumed",
        "globals",
        "is_comprehension",
        "is_function",
        "is_lambda",
        "loads",
        "local",
        "mutated",
        "origins",
    )

    def __init__(
        self,
        *,
        is_function: bool = False,
        is_lambda: bool = False,
        is_comprehension: bool = False,
    ) -> None:
        self.is_function = is_function
        # Its names are its own, but it has no statements of its own to tell them.
        self.is_lambda = is_lambda
        self.is_comprehension = is_comprehension
        self.local: set[str] = set()
        self.globals: frozenset[str] | set[str] = _NONE
        self.origins: dict[str, tuple[str, ...]] = {}
        if is_function:
            self.loads: Names = {}
            self.mutated: Names = {}
            self.consumed: Names = {}


class ScopedNames:
    """Names of one cell as they are met, in the order of evaluation.

    Attributes
    ----------
    reads, bound_at
        Number of statements before the first read, and before the first certain binding.
    bound
        Names of the notebook that are bound for certain at this point.
    scopes
        Functions, classes and comprehensions around this point, outermost first.
    functions
        How many of the scopes are functions.
    level
        How many statements are around this point.
    finished
        How many statements have been read.
    """

    def __init__(self) -> None:
        self.reads: dict[str, int] = {}
        self.bound_at: dict[str, int] = {}
        self.binds: Names = {}
        self.mutates: Names = {}
        self.touches: Names = {}
        self.sets: Names = {}
        self.deletes: Names = {}
        self.calls: Names = {}
        self.imports: Names = {}
        self.consumes: Names = {}
        self.magics: Names = {}
        self.is_dynamic = False
        self.level = 0
        self.finished = 0
        self.bound: set[str] = set()
        self.origins: dict[str, tuple[str, ...]] = {}
        self.scopes: list[Scope] = []
        self.functions = 0

    def note(self, name: str, what: int) -> None:
        """Something is done to a name here; only who reads single statements wants to know."""

    def load(self, name: str, depth: int | None = None) -> None:
        """A name is loaded in the scope at `depth` (None: the innermost)."""
        if not self.scopes:
            self.note(name, READ)
            if name not in self.bound and name not in self.reads:
                self.reads[name] = self.finished
            return
        for scope in self._outwards(depth):
            if name in scope.globals:
                break
            if scope.is_function:
                scope.loads[name] = None
                if not scope.is_lambda:
                    self.note(name, READ)
                return
            if name in scope.local:
                return
        self.note(name, READ)
        if name not in self.bound and name not in self.reads:
            self.reads[name] = self.finished

    def mutate(self, name: str, depth: int | None = None) -> None:
        """The value of a name may be changed in place."""
        if not self.scopes:
            self.note(name, MUTATED)
            (self.touches if name in self.bound else self.mutates)[name] = None
            return
        for scope in self._outwards(depth):
            if name in scope.globals:
                break
            if scope.is_function:
                scope.mutated[name] = None
                if not scope.is_lambda:
                    self.note(name, MUTATED)
                return
            if name in scope.local:
                self._mutate_origins(scope, name)
                return
        self.note(name, MUTATED)
        (self.touches if name in self.bound else self.mutates)[name] = None

    def _mutate_origins(self, scope: Scope, name: str) -> None:
        """A local holds a part of outer values: changing it changes them."""
        depth = self.scopes.index(scope)
        for origin in scope.origins.get(name, ()):
            self.mutate(origin, depth)

    def consume(self, name: str, depth: int | None = None) -> None:
        """A name is iterated over; only an iterator is changed by that."""
        if not self.scopes:
            self.consumes[name] = None
            return
        for scope in self._outwards(depth):
            if scope.is_function:
                scope.consumed[name] = None
                return
            if name in scope.local:
                return
        self.consumes[name] = None

    def _outwards(self, depth: int | None) -> list[Scope]:
        scopes = self.scopes if depth is None else self.scopes[:depth]
        return scopes[::-1]

    def store(self, name: str, origins: tuple[str, ...] = ()) -> None:
        """A name is bound, to something that may be a part of what `origins` hold."""
        scope = self.binding_scope() if self.scopes else None
        self.note(name, BOUND)
        if scope is None:
            self.binds[name] = None
            self.bound.add(name)
            if self.level == 1:
                self.bound_at.setdefault(name, self.finished)
        elif name in scope.globals:
            self.binds[name] = None
            return
        else:
            scope.local.add(name)
        if not origins:
            return
        known = self.origins if scope is None else scope.origins
        others = tuple(origin for origin in origins if origin != name)
        if others:
            known[name] = tuple(dict.fromkeys((*known.get(name, ()), *others)))

    def binding_scope(self) -> Scope | None:
        """Where a name would be bound: a comprehension binds only its own targets."""
        for scope in reversed(self.scopes):
            if not scope.is_comprehension:
                return scope
        return None

    def delete(self, name: str) -> None:
        """A name is deleted."""
        scope = self.binding_scope()
        if scope is None or name in scope.globals:
            self.deletes[name] = None
            self.bound.discard(name)
        else:
            scope.local.add(name)

    def call(self, called: str) -> None:
        """Something is called."""
        self.note(called, CALLED)
        self.calls[called] = None

    def depth_around_classes(self) -> int:
        """The scope that a function sees: the names of its class are not among them."""
        depth = len(self.scopes)
        while depth and not (
            self.scopes[depth - 1].is_function or self.scopes[depth - 1].is_comprehension
        ):
            depth -= 1
        return depth

    def settle(self, scope: Scope) -> None:
        """A function has been read: what is not its own belongs further out."""
        depth = self.depth_around_classes()
        for name in scope.loads:
            if name not in scope.local or name in scope.globals:
                self.load(name, depth)
        for name in scope.mutated:
            if name not in scope.local:
                self.mutate(name, depth)
                continue
            for origin in scope.origins.get(name, ()):
                if origin not in scope.local:
                    self.mutate(origin, depth)
        for name in scope.consumed:
            if name not in scope.local:
                self.consume(name, depth)
