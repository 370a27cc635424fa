"""From what cells do to a pipeline: steps with what they take and give, and edges with reasons."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mlops_nb.errors.pipelines import PipelineRefused
from mlops_nb.model.pipelines import Pipeline, Step
from mlops_nb.pipeline.dataflow.checks import (
    check_cells,
    check_foreach,
    check_order,
    check_secrets,
    check_skipped,
)
from mlops_nb.pipeline.dataflow.definitions import Definitions
from mlops_nb.pipeline.dataflow.edges import edges_of
from mlops_nb.pipeline.dataflow.effects import STAR, Star
from mlops_nb.pipeline.dataflow.file_edges import paths
from mlops_nb.pipeline.dataflow.flowing import Flowing, Passage
from mlops_nb.pipeline.dataflow.fusing import Fusion, find_fusion
from mlops_nb.pipeline.dataflow.known import TENSORFLOW
from mlops_nb.pipeline.dataflow.moving import not_again
from mlops_nb.pipeline.dataflow.parameters import parameters_read
from mlops_nb.pipeline.dataflow.repeating import set_up_entry
from mlops_nb.pipeline.dataflow.steps import Place, StepFlow, fill
from mlops_nb.pipeline.dataflow.world import BUILTINS, is_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.model.pipelines import Fact, StepOptions
    from mlops_nb.pipeline.dataflow.effects import SetUp
    from mlops_nb.pipeline.dataflow.reading import Reading

AMBIENT = ("<environ>", "<cwd>", "<sys.path>", "<warnings>", "<options:")


@dataclass(slots=True, eq=False)
class Plan:
    """A pipeline while it is made.

    Attributes
    ----------
    moved
        Cells of the prelude that only the first step runs, with the reason.
    prelude
        The other cells that all steps run, the parameters among them.
    steps
        In the order in which they run.
    given
        For each step, name to the place of the step that gives it.
    """

    reading: Reading
    moved: dict[int, str]
    prelude: tuple[int, ...]
    steps: list[StepFlow]
    definitions: Definitions
    positions: dict[int, int] = field(default_factory=dict)
    passages: list[Passage] = field(default_factory=list)
    given: list[dict[str, int]] = field(default_factory=list)
    fused: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    repeated: list[tuple[str, ...]] = field(default_factory=list)
    start: StepFlow | None = None


def plan_pipeline(reading: Reading, facts: Sequence[Fact]) -> Pipeline:
    """Plan a pipeline.

    Raises
    ------
    PipelineRefused
        It cannot be split so that it stays equal to the whole notebook.
    """
    check_cells(reading)
    check_skipped(reading)
    fusions: list[Fusion] = []
    while True:
        plan = _planned(reading, fusions)
        found = find_fusion(plan)
        if found is None:
            break
        fusions = [*fusions, found]
        if len(fusions) > len(reading.draft.steps):
            raise PipelineRefused(reading.draft.notebook.path, found.text, "Make them one step.")
    check_order(plan)
    check_secrets(plan)
    check_foreach(plan)
    return _pipeline(plan, facts)


def _planned(reading: Reading, fusions: Sequence[Fusion]) -> Plan:
    draft = reading.draft
    stepped = {cell for step in draft.steps for cell in step.cells}
    deleted = {n for cell in stepped for n in reading.effects[cell].deletes}
    prelude = tuple(cell for cell in sorted(draft.prelude) if cell not in draft.parameter_cells)
    moved = not_again(reading, prelude, stepped, deleted)
    steps = _steps(reading, tuple(moved), fusions)
    kept = tuple(c for c in sorted({*draft.prelude, *draft.parameter_cells}) if c not in moved)
    start = StepFlow("", kept, (), (), draft.steps[0].options)
    fill(start, reading)
    given = start.changed.keys()
    secrets = {name for step in steps for name in step.options.secrets}
    unchanged = {n for n in given if not any(n in step.changed for step in steps)}
    plan = Plan(
        reading,
        moved,
        kept,
        steps,
        Definitions(reading, unchanged, secrets),
        positions={cell: place for place, step in enumerate(steps) for cell in step.cells},
        start=start,
    )
    _take_state(plan)
    _take_anything(plan)
    _take_metrics(plan)
    plan.fused = tuple(fusion.text for fusion in fusions)
    flowing = Flowing(steps, reading.world.objects, given, _source(plan), reading.shared)
    plan.passages = flowing.passages(_kept(plan), _wanted(plan))
    plan.given = _givers(plan)
    return plan


def _steps(reading: Reading, moved: tuple[int, ...], fusions: Sequence[Fusion]) -> list[StepFlow]:
    """Make the steps, those that are fused as one."""
    flows = [
        StepFlow(step.name, step.cells, (step.name,), step.after, step.options)
        for step in reading.draft.steps
    ]
    for fusion in fusions:
        flows = _fused(flows, fusion)
    if flows and moved:
        flows[0].cells = tuple(sorted({*moved, *flows[0].cells}))
    for flow in flows:
        fill(flow, reading)
    return flows


def _fused(flows: list[StepFlow], fusion: Fusion) -> list[StepFlow]:
    first, last = fusion.first, fusion.last
    members = flows[first : last + 1]
    parts = tuple(part for member in members for part in member.parts)
    names = {member.name for member in members}
    joined = StepFlow(
        members[0].name,
        tuple(sorted(cell for member in members for cell in member.cells)),
        parts,
        tuple(
            n for n in dict.fromkeys(a for m in members for a in m.after_steps) if n not in names
        ),
        _joined_options(members),
    )
    flows = [*flows[:first], joined, *flows[last + 1 :]]
    for flow in flows:
        after = (joined.name if name in names else name for name in flow.after_steps)
        flow.after_steps = tuple(n for n in dict.fromkeys(after) if n != flow.name)
    return flows


def _joined_options(members: Sequence[StepFlow]) -> StepOptions:
    options = members[0].options
    for member in members[1:]:
        other = member.options
        options = replace(
            options,
            retry=max(options.retry, other.retry),
            timeout_s=None
            if options.timeout_s is None or other.timeout_s is None
            else options.timeout_s + other.timeout_s,
            is_cached=options.is_cached and other.is_cached,
            outputs=tuple(dict.fromkeys((*options.outputs, *other.outputs))),
            secrets=tuple(dict.fromkeys((*options.secrets, *other.secrets))),
            is_gate=options.is_gate or other.is_gate,
            is_deploy=options.is_deploy or other.is_deploy,
            limits={**options.limits, **other.limits},
            annotations={**options.annotations, **other.annotations},
            labels={**options.labels, **other.labels},
            reports=tuple(dict.fromkeys((*options.reports, *other.reports))),
        )
    return options


def _take_state(plan: Plan) -> None:
    """State that a step has changed is taken over by all later ones; chance only if seeded."""
    reading = plan.reading
    seeded = {
        name
        for effects in reading.effects.values()
        for name in effects.binds
        if name.startswith("<rng")
    } | {name for names in reading.forced.values() for name in names}
    changed: set[str] = set()
    for step in plan.steps:
        for name in [n for n in step.reads if n.startswith("<rng") and n not in seeded]:
            # Without a seed nobody can tell in which order steps have drawn.
            del step.reads[name]
            step.certain.add(name)
        for name in sorted(changed):
            if name not in step.reads and step.cells:
                step.reads[name] = step.load_places.get(name) or _begin(step)
        changed |= {name for name in step.changed if name.startswith(AMBIENT)}


def _take_anything(plan: Plan) -> None:
    """A step whose text does not say what it reads takes all there is."""
    known = _prelude_names(plan)
    for place, step in enumerate(plan.steps):
        if step.dynamic is not None:
            for name in known:
                step.reads.setdefault(name, step.dynamic)
                step.loads.setdefault(name, step.end)
        elif any(star.is_open for star in step.stars):
            # It may bind any name anew, which can be seen only if the name is there.
            later = {name for other in plan.steps[place + 1 :] for name in other.reads}
            for name in known & later - plan.definitions.names.keys():
                step.reads.setdefault(name, _begin(step))
        known = (known | {n for n in step.changed if not is_state(n) and n != "_"}) - step.gone


def _take_metrics(plan: Plan) -> None:
    """A condition looks at values that have the names of metrics."""
    known: set[str] = set()
    for step in plan.steps:
        for name in _METRIC.findall(step.options.when):
            if name in known:
                step.reads.setdefault(name, _begin(step))
        known |= step.changed.keys()


_METRIC = re.compile(r"\bmetrics\.([^\W\d]\w*)")


def _begin(step: StepFlow) -> Place:
    return Place(step.cells[0], 1)


def _source(plan: Plan) -> set[str]:
    """Names that travel as source, and modules, whose changes are repeated."""
    names = set(plan.definitions.names)
    modules = {n for step in plan.steps for n in step.changed if n.startswith("<module:")}
    return names | modules


def _kept(plan: Plan) -> dict[str, set[str]]:
    """What steps give although no step may take it: results, and state seen to change."""
    reading = plan.reading
    found: dict[str, set[str]] = {}
    for step in plan.steps:
        names = set(step.options.outputs)
        for part in step.parts:
            names |= reading.forced.get(part, set())
        names |= {n for n in step.changed if n.startswith("<rng") and n != TENSORFLOW}
        found[step.name] = names
    return found


def _wanted(plan: Plan) -> set[str]:
    """Names that are wanted at the end: what the metrics cells print."""
    return set(metric_names(plan))


def metric_names(plan: Plan) -> tuple[str, ...]:
    """Names that the cells of the metrics read."""
    from mlops_nb.source import analyse

    cells = plan.reading.draft.notebook.cells
    bound = {name for step in plan.steps for name in step.changed}
    found = {
        name: None
        for index in plan.reading.draft.metric_cells
        for name in analyse(cells[index].source).reads
        if name in bound and name not in plan.definitions.names
    }
    return tuple(found)


def _givers(plan: Plan) -> list[dict[str, int]]:
    """Find, for each step, the last one before it that gives each name it takes."""
    last: dict[str, int] = {}
    found = []
    for place, (step, passage) in enumerate(zip(plan.steps, plan.passages, strict=True)):
        found.append({name: last[name] for name in sorted(passage.takes) if name in last})
        for name in step.gone:
            last.pop(name, None)
        last |= dict.fromkeys(passage.gives, place)
    return found


# --- the answer --------------------------------------------------------------------------------


def _pipeline(plan: Plan, facts: Sequence[Fact]) -> Pipeline:
    draft = plan.reading.draft
    read_first = paths(plan.start, is_written=False) if plan.start is not None else ()
    steps = tuple(_step(plan, place, step, read_first) for place, step in enumerate(plan.steps))
    edges = edges_of(plan)
    return Pipeline(
        name=draft.name,
        notebook=draft.notebook.path,
        kernel=draft.kernel,
        prelude=tuple(cell for cell in draft.prelude if cell not in plan.moved),
        parameter_cells=draft.parameter_cells,
        skipped=draft.skipped,
        parameters=draft.parameters,
        steps=steps,
        edges=edges,
        facts=tuple(facts),
        fused=plan.fused,
        warnings=(*draft.warnings, *_moved_warnings(plan), *plan.warnings),
        metrics=metric_names(plan),
        metadata=draft.metadata,
    )


def _moved_warnings(plan: Plan) -> list[str]:
    first = plan.steps[0].name if plan.steps else ""
    return [
        f"Cell {cell} stands before the first step, but only {first} runs it, because of {why}."
        for cell, why in plan.moved.items()
    ]


def _step(plan: Plan, place: int, step: StepFlow, read_first: Sequence[str]) -> Step:
    passage = plan.passages[place]
    gives = passage.gives
    inputs = {name: plan.steps[giver].name for name, giver in plan.given[place].items()}
    own = [unit for unit in passage.units if unit <= gives]
    carried = {*inputs, *gives}
    set_ups = set_ups_before(plan, place)
    needs = [name for one in set_ups for name in one.needs]
    defined = plan.definitions.needed_by(step, carried, plan.positions, needs)
    return Step(
        name=step.name,
        cells=step.cells,
        after=step.after_steps,
        options=step.options,
        inputs=inputs,
        outputs=tuple(sorted(tuple(sorted(unit)) for unit in own)),
        params=parameters_read(plan, place),
        definitions=(
            *defined,
            *(set_up_entry(one) for one in stars_before(plan, place)),
            *(set_up_entry(one) for one in modules_before(plan, place, defined)),
            *(set_up_entry(one) for one in set_ups),
        ),
        watched=_watched(plan, place),
        reads_files=tuple(dict.fromkeys((*read_first, *paths(step, is_written=False)))),
        writes_files=paths(step, is_written=True),
    )


def stars_before(plan: Plan, place: int) -> list[Star]:
    """List the statements ``import *`` of earlier steps whose names a step may read."""
    step = plan.steps[place]
    sites = plan.reading.world.sites
    missing = any(name not in sites and name not in BUILTINS for name in step.names_loaded)
    read = {site.digest for name in step.names_loaded for site in sites.get(name, ())}
    found = [star for earlier in plan.steps[:place] for star in earlier.stars]
    return [s for s in found if (s.is_open and missing) or f"{STAR}{s.module}" in read]


def modules_before(plan: Plan, place: int, names: Sequence[str]) -> list[Star]:
    """List the statements that import other modules of packages that a step needs."""
    found: dict[tuple[int, int], Star] = {}
    for name in names:
        sites = plan.reading.world.sites[name]
        above = [s for s in sites if plan.positions.get(s.cell, place) < place]
        modules = {site.module for site in above if site.module}
        if len({site.module for site in above}) > 1:
            # The last one stands there already by its name.
            for site in above[:-1]:
                if site.module in modules and site.module != above[-1].module:
                    found[site.cell, site.line] = Star(
                        site.module, site.cell, site.line, site.line
                    )
    return list(found.values())


def set_ups_before(plan: Plan, place: int) -> list[SetUp]:
    """List the statements of earlier steps that set a library up, which a step repeats."""
    found = [one for step in plan.steps[:place] for one in step.set_ups]
    return sorted(found, key=lambda one: (one.cell, one.line))


def _watched(plan: Plan, place: int) -> tuple[str, ...]:
    """Names that a step holds and must not change, as later steps take them from before it."""
    step, passage = plan.steps[place], plan.passages[place]
    held = {*plan.given[place]} | (step.names_loaded & _prelude_names(plan))
    if step.dynamic is not None:
        held |= _prelude_names(plan)
    wanted = passage.live - passage.gives - step.gone - plan.definitions.names.keys()
    return tuple(sorted(name for name in held & wanted if not is_state(name)))


def _prelude_names(plan: Plan) -> set[str]:
    return set(plan.start.changed) if plan.start is not None else set()


__all__ = ["Plan", "plan_pipeline"]
