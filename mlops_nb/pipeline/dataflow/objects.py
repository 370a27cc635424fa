"""Which values may be, hold or share one mutable object: a graph that only grows.

A node is an object that some expression made, or a part of one that is known by its place only
(``table["price"]``). Nothing here runs: what cannot be told apart is one node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from mlops_nb.pipeline.dataflow.values import Code

Nodes = frozenset[int]
_MOST_NODES = 12
NO_NODES: Nodes = frozenset()


class Objects:
    """Nodes, what each holds, and what is known of it.

    Attributes
    ----------
    moment
        Of what happens now: an object holds another only from then on.
    plain
        Containers whose parts stay as they are when the container changes: lists, dicts. An
        array that changes changes its views.
    anything
        Nodes that stand for all they hold: a part of one is itself.
    kind_of
        What kind of value an object is, as of a `Value`.
    iterators
        Objects that are used up by being looped over.
    codes
        Functions and classes that an object is, or runs when it is used.
    stuck
        Why an object cannot be stored: ``"a generator"``.
    draws
        Generators of the process that an object draws from when it is fitted or called.
    secrets
        Objects that never cross a border.
    """

    def __init__(self) -> None:
        self.moment = 0
        self._since: dict[tuple[int, int], int] = {}
        self._parts: list[dict[str | None, set[int]]] = []
        self._holders: list[set[int]] = []
        self._any: dict[Nodes, Nodes] = {}
        self._kinds: dict[int, set[int]] = {}
        self._instances: dict[int, set[int]] = {}
        self.plain: set[int] = set()
        self.anything: set[int] = set()
        self.iterators: set[int] = set()
        self.kind_of: dict[int, str] = {}
        self.codes: dict[int, set[Code]] = {}
        self.stuck: dict[int, str] = {}
        self.draws: dict[int, set[str]] = {}
        self.secrets: set[int] = set()

    def new(self, *, is_plain: bool = False) -> int:
        """Make a node for an object that nothing else reaches."""
        node = len(self._parts)
        self._parts.append({})
        self._holders.append(set())
        if is_plain:
            self.plain.add(node)
        return node

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._parts)

    def any_of(self, nodes: Iterable[int]) -> int:
        """Make a node for something that may be any of some objects, or of what they hold."""
        node = self.new()
        self.anything.add(node)
        for held in nodes:
            self._hold(node, held, None)
        return node

    def hold(self, holders: Iterable[int], held: Iterable[int], key: str | None = None) -> None:
        """Objects may hold others from now on, under a key if that is known."""
        held = self.limited(held)
        for holder in holders:
            for node in held:
                self._hold(holder, node, key)

    def _hold(self, holder: int, held: int, key: str | None) -> None:
        self._parts[holder].setdefault(key, set()).add(held)
        self._holders[held].add(holder)
        self._since.setdefault((holder, held), self.moment)

    def part(self, nodes: Iterable[int], key: str | None = None) -> Nodes:
        """Give what may be found in objects: under a key, or anywhere in them."""
        found: set[int] = set()
        for node in nodes:
            if node in self.anything:
                found.add(node)
                continue
            parts = self._parts[node]
            if key not in parts:
                self.hold((node,), (self.new(),), key)
            if key is None:
                found.update(*parts.values())
            else:
                found |= parts[key] | parts.get(None, set())
        return self.limited(found)

    def limited(self, nodes: Iterable[int]) -> Nodes:
        """Give nodes, or where they are many one node that stands for any of them."""
        known = frozenset(nodes)
        if len(known) <= _MOST_NODES:
            return known
        if known not in self._any:
            self._any[known] = frozenset((self.any_of(known),))
        return self._any[known]

    def common_kind(self, nodes: Iterable[int]) -> str:
        """Give the kind that all of some objects are; empty if there is none, or several."""
        kinds = {self.kind_of.get(node, "") for node in nodes}
        return kinds.pop() if len(kinds) == 1 else ""

    def has_key(self, nodes: Iterable[int], key: str) -> bool:
        """Whether something was put into objects under a key."""
        return any(key in self._parts[node] for node in nodes)

    def known_parts(self, nodes: Iterable[int]) -> Nodes:
        """Give what is known to be in objects, without making anything up."""
        found: set[int] = set()
        for node in nodes:
            if node in self.anything:
                found.add(node)
            else:
                found.update(*self._parts[node].values())
        return self.limited(found)

    def is_instance(self, nodes: Iterable[int], kinds: Iterable[int]) -> None:
        """Objects are instances of classes of the notebook."""
        kinds = set(kinds)
        for node in nodes:
            self._kinds.setdefault(node, set()).update(kinds)
            for kind in kinds:
                self._instances.setdefault(kind, set()).add(node)

    def kinds(self, nodes: Iterable[int]) -> set[int]:
        """Give the classes of the notebook that objects may be instances of."""
        return {kind for node in nodes for kind in self._kinds.get(node, ())}

    def below(self, nodes: Iterable[int]) -> set[int]:
        """Give objects and all that they hold."""
        found: set[int] = set()
        waiting = [*nodes]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                for held in self._parts[node].values():
                    waiting += held - found
        return found

    def below_at(self, nodes: Iterable[int], moment: int, apart: Collection[int]) -> set[int]:
        """Give objects, all that they held at a moment, and their classes, `apart` left out."""
        found: set[int] = set()
        waiting = [*nodes]
        while waiting:
            node = waiting.pop()
            if node in found or node in apart:
                continue
            found.add(node)
            waiting += self._kinds.get(node, ())
            for held in self._parts[node].values():
                waiting += [n for n in held - found if self._since[node, n] <= moment]
        return found

    def above(self, nodes: Iterable[int]) -> set[int]:
        """Give objects and all that hold one of them, or are instances of one."""
        found: set[int] = set()
        waiting = [*nodes]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += self._holders[node] - found
                waiting += self._instances.get(node, set()) - found
        return found

    def changed_with(self, nodes: Iterable[int], *, is_shallow: bool = False) -> set[int]:
        """Give all objects that look different after a change of `nodes` in place.

        What a container holds stays as it is; what shares memory with an array does not.
        """
        nodes = set(nodes)
        deep = nodes & self.anything if is_shallow else nodes - self.plain
        # A function in a pipeline stays what it is when the pipeline is fitted.
        return self.above(nodes | (self.below(deep) - (self.codes.keys() - nodes)))

    def reached(self, nodes: Iterable[int]) -> set[int]:
        """Give objects, all that they hold, and the classes of these."""
        found: set[int] = set()
        waiting = set(nodes)
        while waiting:
            below = self.below(waiting)
            waiting = self.kinds(below - found) - below - found
            found |= below
        return found

    def instances_in(self, nodes: Iterable[int], kind: int) -> Nodes:
        """Give the instances of a class among objects and all that they hold."""
        instances = self._instances.get(kind, set())
        return self.limited(self.below(nodes) & instances) if instances else NO_NODES

    def codes_of(self, nodes: Iterable[int]) -> set[Code]:
        """Give the functions and classes that objects may run."""
        if not self.codes:
            return set()
        codes = self.codes
        return {code for node in self.reached(nodes) if node in codes for code in codes[node]}

    def why_stuck(self, nodes: Iterable[int]) -> str:
        """Say why objects cannot be stored; empty if nothing is known against it."""
        if not self.stuck:
            return ""
        return next((self.stuck[n] for n in sorted(self.below(nodes)) if n in self.stuck), "")

    def drawn_by(self, nodes: Iterable[int]) -> set[str]:
        """Give the generators of the process that objects draw from."""
        if not self.draws:
            return set()
        return {name for node in self.below(nodes) for name in self.draws.get(node, ())}
