"""Which values each step takes and gives: from the last step back to the first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.world import BUILTINS, is_state

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from mlops_nb.pipeline.dataflow.objects import Objects
    from mlops_nb.pipeline.dataflow.steps import StepFlow
    from mlops_nb.pipeline.dataflow.values import Value

Group = frozenset[str]


@dataclass(slots=True)
class Passage:
    """What one step takes and gives.

    Attributes
    ----------
    takes, gives
        Names.
    live
        Names whose value at its end later steps take.
    units
        Names among `gives` that travel together.
    together
        Names that have to come from one step, as they share an object that is changed.
    """

    takes: set[str] = field(default_factory=set)
    gives: set[str] = field(default_factory=set)
    live: set[str] = field(default_factory=set)
    units: list[Group] = field(default_factory=list)
    together: set[Group] = field(default_factory=set)


class Flowing:
    """Finds out what steps take and give.

    Parameters
    ----------
    steps
        In the order in which they run.
    objects
        Which values share objects.
    prelude
        Names that every step has before it takes anything.
    source
        Names that travel as source.
    shared
        For a step, names that a run found to share an object.
    """

    def __init__(
        self,
        steps: Sequence[StepFlow],
        objects: Objects,
        prelude: Collection[str],
        source: Collection[str],
        shared: Mapping[str, Sequence[tuple[str, ...]]],
    ) -> None:
        self._steps, self._objects = steps, objects
        self._prelude, self._source, self._shared = set(prelude), frozenset(source), shared
        self._bound_before: list[set[str]] = []
        self._is_open: list[bool] = []
        known: set[str] = set()
        is_open = False
        for step in steps:
            self._bound_before.append(set(known))
            self._is_open.append(is_open)
            known |= step.changed.keys()
            is_open = is_open or step.dynamic is not None
        self._bound_ever = known
        # Code that travels as source is no object that values share.
        self._apart = frozenset(
            code.node
            for codes in objects.codes.values()
            for code in codes
            if code.name in self._source or (code.frame is None and not code.is_class)
        )

        self._travelling = frozenset(
            code.node
            for codes in objects.codes.values()
            for code in codes
            if code.name not in self._source and code.owner is None
        )

    def passages(
        self, kept: Mapping[str, Collection[str]], last: Collection[str]
    ) -> list[Passage]:
        """Say what each step takes and gives.

        Parameters
        ----------
        kept
            For a step, names that it gives in any case.
        last
            Names that are wanted at the end.
        """
        live: set[str] = set(last)
        together: set[Group] = set()
        found: list[Passage] = []
        for place in range(len(self._steps) - 1, -1, -1):
            passage = self._passage(place, live, together, kept.get(self._steps[place].name, ()))
            found.append(passage)
            live = (live - passage.gives - self._steps[place].gone) | passage.takes
            together = passage.together
        found.reverse()
        return found

    def _passage(
        self, place: int, live: set[str], together: set[Group], kept: Collection[str]
    ) -> Passage:
        step = self._steps[place]
        live = live - self._source
        passage = Passage(live=set(live))
        passage.gives = {n for n in live if n in step.changed and n not in step.gone}
        passage.gives |= self._unnamed(place, live)
        passage.gives |= set(kept)
        passage.takes = {n for n in step.reads if self._is_passed(n, place)}
        inner = self._changed_together(step, place, live)
        self._pass_on_groups(step, together, passage, place)
        for group in inner:
            passage.takes |= {n for n in group if self._is_passed(n, place)}
            passage.together |= self._connected(group, step.before, step.begin)
            # What came as one object and is given goes on as one.
            passage.units += self._connected(group - step.certain, step.before, step.begin)
        for name in passage.gives:
            if name not in step.certain and self._is_passed(name, place):
                passage.takes.add(name)
        passage.together |= self._with_one_code(passage.takes, step.before)
        passage.units += self._with_one_code(passage.gives, step.after)
        passage.units = self._units(step, passage)
        return passage

    def _with_one_code(self, names: Collection[str], values: Mapping[str, Value]) -> set[Group]:
        """Names whose values have one function or class in them, which travels by its value."""
        if not self._travelling:
            return set()
        holders: dict[int, set[str]] = {}
        for name in names:
            value = values.get(name)
            found = self._objects.reached(value.nodes) if value is not None else set()
            for node in found & self._travelling:
                holders.setdefault(node, set()).add(name)
        return {frozenset(group) for group in holders.values() if len(group) > 1}

    def _is_passed(self, name: str, place: int) -> bool:
        """Whether a name can come from an earlier step or the prelude."""
        if name in self._source:
            return False
        if name in self._bound_before[place] or name in self._prelude:
            return True
        return self._is_open[place] and name not in BUILTINS and not is_state(name)

    def _unnamed(self, place: int, live: set[str]) -> set[str]:
        """Names that only a step whose text does not say what it binds can have bound."""
        step = self._steps[place]
        if step.dynamic is None:
            return set()
        known = self._bound_before[place]
        open_ = {n for n in live if n not in known and n not in self._prelude}
        return {n for n in open_ if not is_state(n) and n not in step.changed}

    # --- objects with several names ------------------------------------------------------------

    def _changed_together(self, step: StepFlow, place: int, live: set[str]) -> list[Group]:
        """Names from outside that share an object which this step changes."""
        groups = []
        for _, change in step.changes:
            if len(change.affected) < 2:  # noqa: PLR2004 - one name shares with no other
                continue
            outside = {
                name
                for name in change.affected
                if self._is_passed(name, place)
                and not is_state(name)
                and not (name in step.certain and step.bound_at.get(name, 0) < change.order)
            }
            # It may be changed by way of any name that the step reads.
            needed = outside & (live | step.reads.keys())
            if len(needed) > 1:
                groups.append(frozenset(needed))
        return groups

    def _pass_on_groups(
        self, step: StepFlow, together: set[Group], passage: Passage, place: int
    ) -> None:
        """What later steps need as one object: given by this step if it touches any of it."""
        groups = {*together, *map(frozenset, self._facts_of(step))}
        for group in groups:
            is_fact = group not in together
            before = self._connected(group, step.before, step.begin)
            is_linked = not any(group <= other for other in before)
            if not (is_fact or is_linked or group & step.changed.keys()):
                passage.together.add(group)
                continue
            passage.gives |= group
            passage.units.append(group)
            outside = {n for n in group if n not in step.certain and self._is_passed(n, place)}
            passage.takes |= outside
            passage.together |= self._connected(outside, step.before, step.begin)

    def _facts_of(self, step: StepFlow) -> list[tuple[str, ...]]:
        return [names for part in step.parts for names in self._shared.get(part, ())]

    def _connected(
        self, names: Iterable[str], values: Mapping[str, Value], moment: int
    ) -> set[Group]:
        """Divide names into those that share an object at a moment."""
        reached: list[tuple[set[str], set[int]]] = []
        for name in sorted(names):
            value = values.get(name)
            if value is None:
                continue
            nodes = self._objects.below_at(value.nodes, moment, apart=self._apart)
            members = {name}
            apart = []
            for others, theirs in reached:
                if nodes & theirs:
                    members |= others
                    nodes |= theirs
                else:
                    apart.append((others, theirs))
            reached = [*apart, (members, nodes)]
        return {frozenset(members) for members, _ in reached if len(members) > 1}

    def _units(self, step: StepFlow, passage: Passage) -> list[Group]:
        """Join groups that overlap, and names that are one object for certain."""
        groups = [*passage.units]
        by_node: dict[int, set[str]] = {}
        for name in passage.gives:
            value = step.after.get(name)
            if value is not None and len(value.nodes) == 1 and value.kind != "code":
                by_node.setdefault(next(iter(value.nodes)), set()).add(name)
        groups += [frozenset(names) for names in by_node.values() if len(names) > 1]
        joined: list[Group] = []
        for group in groups:
            merged = group & passage.gives
            apart = []
            for other in joined:
                if merged & other:
                    merged |= other
                else:
                    apart.append(other)
            joined = [*apart, merged]
        alone = passage.gives.difference(*joined) if joined else passage.gives
        return [*(g for g in joined if g), *(frozenset((name,)) for name in alone)]
