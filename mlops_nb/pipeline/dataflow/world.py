"""The notebook's names while its cells are read, and what each cell does to them."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.effects import CellEffects, Change, FileUse, Site
from mlops_nb.pipeline.dataflow.objects import Objects
from mlops_nb.pipeline.dataflow.values import UNKNOWN, Value, either

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_nb.pipeline.dataflow.effects import SiteKind
    from mlops_nb.pipeline.dataflow.objects import Nodes

_MOST_CHANGES = 40
_MOST_APART = 6
BUILTINS = frozenset(dir(builtins))
STATE_BEGINS = "<"


def is_state(name: str) -> bool:
    """Whether a name stands for state of the process, as ``<rng:numpy>``."""
    return name.startswith(STATE_BEGINS)


class World:
    """Names of the notebook at one moment, and the cell that is being read.

    Attributes
    ----------
    values
        What each name is bound to now.
    sites
        Where each name is bound, over all cells read so far.
    changed_ever
        Names that were changed in place or deleted at any time.
    stars
        Modules whose names are bound by ``import *`` without saying which.
    following
        How many functions are being followed.
    pending
        Objects that functions have changed within this statement.
    moment
        Counts everything that happens, so that things can be ordered.
    """

    def __init__(self) -> None:
        self.objects = Objects()
        self.values: dict[str, Value] = {}
        self.sites: dict[str, list[Site]] = {}
        self.moment = 0
        self.cell = CellEffects(-1)
        self.line = 0
        self.branches = 0
        self.is_left = False
        self.stars: list[str] = []
        self.following = 0
        self.pending: dict[tuple[Nodes, bool], None] = {}
        self._named: dict[int, set[str]] = {}

    def begin(self, cell: int) -> CellEffects:
        """Read another cell from now on."""
        self.cell = CellEffects(cell, begins_at=self._tick())
        self.line = 1
        self.branches = 0
        self.is_left = False
        return self.cell

    def end(self) -> None:
        """The cell has been read."""
        self.cell.ends_at = self._tick()

    def _tick(self) -> int:
        self.moment += 1
        self.objects.moment = self.moment
        return self.moment

    def read(self, name: str) -> Value:
        """A name is read."""
        cell = self.cell
        cell.loads[name] = self._tick()
        if name not in cell.certain and name not in cell.reads:
            cell.reads[name] = self.line
        value = self.values.get(name)
        if value is not None:
            return value
        if name in BUILTINS:
            return Value(library=f"builtins.{name}")
        return Value(library=f"{self.stars[-1]}.{name}") if self.stars else UNKNOWN

    def bind(self, name: str, value: Value, site: Site) -> None:
        """A name is bound."""
        cell = self.cell
        cell.binds[name] = self.line
        cell.bound_at[name] = self._tick()
        old = self.values.get(name)
        if self.branches and old is not None:
            value = either((old, value))
        elif old is not None:
            for node in old.nodes:
                self._named[node].discard(name)
        if not self.is_left:
            cell.certain.add(name)
        self.values[name] = value
        self.note_name(name, value)
        self.sites.setdefault(name, []).append(site)

    def note_name(self, name: str, value: Value) -> None:
        """Keep that a name is bound to these objects."""
        for node in value.nodes:
            self._named.setdefault(node, set()).add(name)

    def site(
        self,
        kind: SiteKind,
        digest: str,
        needs: Iterable[str] = (),
        *,
        is_top: bool,
        module: str = "",
    ) -> Site:
        """Describe the place where something is bound now."""
        return Site(self.cell.cell, self.line, kind, digest, is_top, tuple(needs), module)

    def delete(self, name: str) -> None:
        """A name is deleted."""
        self.read(name)
        self.cell.deletes[name] = self.line
        self.cell.certain.discard(name)
        if not self.branches:
            old = self.values.pop(name, None)
            for node in old.nodes if old is not None else ():
                self._named[node].discard(name)

    def change(self, nodes: Iterable[int], *, is_shallow: bool = False) -> None:
        """Objects are changed in place."""
        nodes = set(nodes)
        if self.following and nodes:
            # Functions may do much within one statement; one look at its end is enough.
            self.pending[frozenset(nodes), is_shallow] = None
        elif nodes:
            self._change(nodes, is_shallow=is_shallow)

    def settle(self) -> None:
        """A statement of the cell has been read: say what its functions have changed."""
        pending, self.pending = self.pending, {}
        if len(pending) > _MOST_CHANGES:
            deep = {node for nodes, is_shallow in pending if not is_shallow for node in nodes}
            shallow = {node for nodes, is_shallow in pending if is_shallow for node in nodes}
            pending = {(frozenset(deep), False): None, (frozenset(shallow - deep), True): None}
        for nodes, is_shallow in pending:
            if nodes:
                self._change(set(nodes), is_shallow=is_shallow)

    def _change(self, nodes: set[int], *, is_shallow: bool) -> None:
        """Note a change; of one of several objects, for each of them by itself."""
        apart = [{node} for node in sorted(nodes)] if len(nodes) <= _MOST_APART else [nodes]
        for changed in apart:
            affected = self.names_of(self.objects.changed_with(changed, is_shallow=is_shallow))
            if affected:
                direct = self.names_of(changed)
                self._note(Change(self._tick(), self.line, direct or affected, affected))

    def _note(self, change: Change) -> None:
        self.cell.changes.append(change)

    def names_of(self, nodes: Iterable[int]) -> tuple[str, ...]:
        """Give the names that are bound to one of some objects now."""
        named = self._named
        return tuple(sorted({name for node in nodes for name in named.get(node, ())}))

    def change_state(self, name: str) -> None:
        """State of the process is read and changed: a draw."""
        self.read(name)
        self._note(Change(self._tick(), self.line, (name,), (name,)))
        self.values.setdefault(name, UNKNOWN)

    def change_module(self, root: str) -> None:
        """A module is changed, or a library set up: later steps have to do that too."""
        self.change_state(f"<module:{root}>")

    def set_state(self, name: str) -> None:
        """State of the process is set, whatever it was: a seed."""
        self.bind(name, UNKNOWN, self.site("value", "", is_top=False))

    def use_file(
        self,
        path: str,
        *,
        is_written: bool,
        is_read: bool = True,
        is_repeatable: bool = False,
    ) -> None:
        """A path is read or written."""
        use = FileUse(path, is_written, self.line, is_read, is_repeatable=is_repeatable)
        if use not in self.cell.files:
            self.cell.files.append(use)

    def observe(self, names: Iterable[str]) -> None:
        """A recorded run changed the values of these names at this point."""
        for name in names:
            value = self.values.get(name)
            nodes = value.nodes if value is not None else frozenset()
            affected = {name, *self.names_of(self.objects.changed_with(nodes))}
            change = Change(self._tick(), self.line, (name,), tuple(sorted(affected)), True)
            self._note(change)
            self.cell.reads.setdefault(name, self.line)
            self.cell.observed.add(name)
