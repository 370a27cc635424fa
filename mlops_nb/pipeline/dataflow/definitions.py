"""Names that travel as source: imports, functions, classes, and secrets, which are read again."""

from __future__ import annotations

import ast
from functools import cached_property
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.effects import STAR
from mlops_nb.pipeline.dataflow.world import BUILTINS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from mlops_nb.pipeline.dataflow.effects import CellEffects, Change, Site
    from mlops_nb.pipeline.dataflow.reading import Reading
    from mlops_nb.pipeline.dataflow.steps import StepFlow
    from mlops_nb.pipeline.dataflow.values import Code


class Definitions:
    """Which names travel as source, and what each needs.

    Parameters
    ----------
    reading
        All cells.
    prelude
        Names that every step has without being given them, as nobody changes them.
    secrets
        Names that the author has tagged as secret.
    """

    def __init__(
        self, reading: Reading, prelude: Collection[str], secrets: Collection[str]
    ) -> None:
        self._reading = reading
        self._prelude = prelude
        self._secrets = secrets
        self.names: dict[str, Site] = self._found()

    @cached_property
    def _changed(self) -> set[str]:
        """Names that are changed in place, or deleted, anywhere."""
        found: set[str] = set()
        for effects in self._reading.effects.values():
            found.update(effects.deletes)
            for change in effects.changes:
                found.update(n for n in change.affected if not self._is_made(n, effects, change))
        return found

    def _is_made(self, name: str, effects: CellEffects, change: Change) -> bool:
        """Whether a change is a part of making what it changes, as by a metaclass."""
        place = effects.cell, change.line
        return any((site.cell, site.line) == place for site in self._sites(name))

    def _found(self) -> dict[str, Site]:
        found = {
            name: sites[0]
            for name, sites in self._reading.world.sites.items()
            if name not in self._changed and self._is_source(name, sites)
        }
        while True:
            lost = [name for name, site in found.items() if not self._has_needs(site, found)]
            if not lost:
                return found
            for name in lost:
                del found[name]

    def _is_source(self, name: str, sites: list[Site]) -> bool:
        kinds = {site.kind for site in sites}
        if kinds == {"import"}:
            return len({site.digest for site in sites}) == 1 or len({s.cell for s in sites}) == 1
        if kinds == {"value"} and name in self._secrets:
            return len(sites) == 1 and sites[0].is_top
        is_one = len({site.digest for site in sites}) == 1 and all(site.is_top for site in sites)
        return is_one and kinds <= {"definition", "secret"} and not self.remembers(name)

    def remembers(self, name: str) -> bool:
        """Whether a function keeps results that depend on what steps change."""
        value = self._reading.world.values.get(name)
        code = value.code if value is not None else None
        if code is None or not code.is_cached:
            return False
        return name in self._changed or not self.needed_late(code) <= self._steady

    @cached_property
    def _steady(self) -> set[str]:
        """Names that have one value all along."""
        sites = self._reading.world.sites
        once = {name for name, found in sites.items() if len({s.digest for s in found}) == 1}
        return ({name for name in once if len(sites[name]) == 1} | BUILTINS) - self._changed

    def _has_needs(self, site: Site, found: Collection[str]) -> bool:
        return all(
            need in found or need in self._prelude or need in BUILTINS for need in site.needs
        )

    def is_secret(self, name: str) -> bool:
        """Whether a name never crosses a border by its value."""
        sites = self._reading.world.sites.get(name, ())
        return name in self._secrets or any(site.kind == "secret" for site in sites)

    def needed_late(self, code: Code) -> set[str]:
        """Names that the body of a function or class may look up in the notebook."""
        return {
            node.id
            for node in ast.walk(code.tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        } - (code.owned if not code.is_class else frozenset())

    def needed_by(
        self,
        flow: StepFlow,
        carried: Iterable[str],
        positions: Mapping[int, int],
        others: Iterable[str] = (),
    ) -> tuple[str, ...]:
        """List what has to stand in a step's notebook as source, in the order of the notebook.

        Parameters
        ----------
        flow
            The step.
        carried
            Names of the values that it takes or gives: what they run has to be there too.
        positions
            For each cell of a step, when the step runs; cells of the prelude have none.
        others
            Names that statements need which it repeats.
        """
        place = min((positions[cell] for cell in flow.cells), default=0)
        waiting = [*flow.loads, *others, *self._carried(flow, carried)]
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if (
                name in found
                or name not in self.names
                or not self._is_above(name, place, positions)
            ):
                continue
            found.add(name)
            waiting += self.names[name].needs
            waiting += self._late_of(name)
        named = [name for name in found if not self.names[name].digest.startswith(STAR)]
        return tuple(sorted(named, key=lambda name: self._order(self.names[name], name)))

    def _order(self, site: Site, name: str) -> tuple[int, int, str]:
        return site.cell, site.line, name

    def _is_above(self, name: str, place: int, positions: Mapping[int, int]) -> bool:
        """Whether a definition stands in an earlier step, and neither here nor in the prelude."""
        cells = [site.cell for site in self._sites(name)]
        if any(cell not in positions or positions[cell] == place for cell in cells):
            return False
        return any(positions[cell] < place for cell in cells)

    def _sites(self, name: str) -> list[Site]:
        return self._reading.world.sites.get(name, [])

    def _late_of(self, name: str) -> set[str]:
        value = self._reading.world.values.get(name)
        if value is None or value.code is None:
            return set()
        late = self.needed_late(value.code)
        return {other for other in late if other in self.names}

    def _carried(self, flow: StepFlow, names: Iterable[str]) -> set[str]:
        """Names of the functions and classes that values may run, or are instances of."""
        objects = self._reading.world.objects
        found: set[str] = set()
        for name in names:
            for values in (flow.before, flow.after):
                value = values.get(name)
                if value is not None and value.nodes:
                    found.update(code.name for code in objects.codes_of(value.nodes))
        return found
