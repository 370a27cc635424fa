"""What the cells of one step do together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.world import is_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlops_nb.model.pipelines import StepOptions
    from mlops_nb.pipeline.dataflow.effects import CellEffects, Change, FileUse, SetUp, Star
    from mlops_nb.pipeline.dataflow.reading import Reading
    from mlops_nb.pipeline.dataflow.values import Value
    from mlops_nb.pipeline.drafts import DraftStep


@dataclass(frozen=True, slots=True)
class Place:
    """Where something happens."""

    cell: int
    line: int

    def __str__(self) -> str:
        return f"cell {self.cell}, line {self.line}"


@dataclass(slots=True, eq=False)
class StepFlow:
    """What a step does to names, state and files.

    Attributes
    ----------
    parts
        Names of the author's steps that it is made of.
    reads
        Names whose value from before the step may be read, and where first.
    loads
        All names that it reads, and the last moment.
    certain
        Names that it has bound for certain by its end.
    changed
        Names that it binds, deletes or changes, where last, and the verb.
    gone
        Names that are deleted for certain at its end.
    before, after
        What names are bound to.
    """

    name: str
    cells: tuple[int, ...]
    parts: tuple[str, ...]
    after_steps: tuple[str, ...]
    options: StepOptions
    begin: int = 0
    end: int = 0
    reads: dict[str, Place] = field(default_factory=dict)
    loads: dict[str, int] = field(default_factory=dict)
    load_places: dict[str, Place] = field(default_factory=dict)
    certain: set[str] = field(default_factory=set)
    bound_at: dict[str, int] = field(default_factory=dict)
    changed: dict[str, tuple[Place, str]] = field(default_factory=dict)
    changes: list[tuple[int, Change]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    observed: set[str] = field(default_factory=set)
    files: list[tuple[int, FileUse]] = field(default_factory=list)
    set_ups: list[SetUp] = field(default_factory=list)
    stars: list[Star] = field(default_factory=list)
    dynamic: Place | None = None
    before: Mapping[str, Value] = field(default_factory=dict)
    after: Mapping[str, Value] = field(default_factory=dict)

    def take(self, effects: CellEffects) -> None:
        """Add the next cell."""
        cell = effects.cell
        for name, line in effects.reads.items():
            if name not in self.certain:
                self.reads.setdefault(name, Place(cell, line))
            self.load_places.setdefault(name, Place(cell, line))
        for name, moment in effects.loads.items():
            self.loads[name] = moment
            self.load_places.setdefault(name, Place(cell, 1))
        for change in effects.changes:
            self.changes.append((cell, change))
            verb = "changes" if not change.is_observed else "was seen to change"
            for name in change.affected:
                self.changed[name] = Place(cell, change.line), verb
        for name, line in effects.binds.items():
            self.changed[name] = Place(cell, line), "binds"
        for name, line in effects.deletes.items():
            self.changed[name] = Place(cell, line), "deletes"
        self.bound_at |= effects.bound_at
        self._settle(effects)
        self.observed |= effects.observed
        self.files += [(cell, use) for use in effects.files]
        self.set_ups += effects.set_ups
        self.stars += effects.stars
        if effects.dynamic and self.dynamic is None:
            self.dynamic = Place(cell, effects.dynamic)

    def _settle(self, effects: CellEffects) -> None:
        self.certain -= effects.deletes.keys()
        self.certain |= effects.certain
        self.gone -= effects.binds.keys()
        self.gone |= effects.deletes.keys() - effects.certain

    @property
    def names_loaded(self) -> set[str]:
        """Names of the notebook that it reads anywhere; state is not among them."""
        return {name for name in self.loads if not is_state(name)}


def step_flow(step: DraftStep, reading: Reading, *, first_cells: Iterable[int] = ()) -> StepFlow:
    """Put the cells of a step together."""
    cells = (*first_cells, *step.cells)
    flow = StepFlow(step.name, cells, (step.name,), step.after, step.options)
    fill(flow, reading)
    return flow


def fill(flow: StepFlow, reading: Reading) -> None:
    """Read all cells of a step."""
    for cell in flow.cells:
        flow.take(reading.effects[cell])
    if flow.cells:
        first, last = flow.cells[0], flow.cells[-1]
        flow.before, flow.after = reading.before[first], reading.after[last]
        flow.begin, flow.end = reading.effects[first].begins_at, reading.effects[last].ends_at
