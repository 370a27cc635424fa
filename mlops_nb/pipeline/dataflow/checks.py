"""What cannot be split so that it stays equal to the whole: refused, with step, cell and line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from mlops_nb.errors.pipelines import PipelineRefused
from mlops_nb.pipeline.dataflow.edges import edges_of
from mlops_nb.pipeline.dataflow.expressions import EMPTY
from mlops_nb.pipeline.dataflow.moving import inverted, touching
from mlops_nb.pipeline.dataflow.words import words_of
from mlops_nb.pipeline.dataflow.world import BUILTINS, is_state
from mlops_nb.source import analyse

if TYPE_CHECKING:
    from mlops_nb.pipeline.dataflow.planning import Plan
    from mlops_nb.pipeline.dataflow.reading import Reading


def _refuse(reading: Reading, problem: str, remedy: str) -> NoReturn:
    raise PipelineRefused(reading.draft.notebook.path, problem, remedy)


def check_cells(reading: Reading) -> None:
    """Refuse cells that cannot be read, and those that read IPython's numbered memory."""
    stepped = {cell: step.name for step in reading.draft.steps for cell in step.cells}
    for cell in reading.order:
        effects = reading.effects[cell]
        where = f"cell {cell}" + (f" (step {stepped[cell]})" if cell in stepped else "")
        if effects.is_broken:
            _refuse(reading, f"{where} is no Python", "Correct it, or tag it skip.")
        if effects.results is not None:
            name, line = effects.results
            _refuse(
                reading,
                f"{where} reads {name} in line {line}, IPython's memory, which counts the cells "
                "of the whole notebook",
                "Give the value a name, and read that.",
            )


def check_skipped(reading: Reading) -> None:
    """Refuse to read a name that only a cell binds which no step runs."""
    draft = reading.draft
    bound = {
        name: cell
        for cell in draft.skipped
        for name in analyse(draft.notebook.cells[cell].source).binds
        if name not in reading.world.sites
    }
    for cell in reading.order if bound else ():
        for name, line in reading.effects[cell].reads.items():
            if name in bound and name not in BUILTINS:
                _refuse(
                    reading,
                    f"cell {cell} reads {name} in line {line}, which only cell {bound[name]} "
                    "binds, and no step runs that",
                    "Take its tag skip away, or bind the name elsewhere.",
                )


def check_secrets(plan: Plan) -> None:
    """Refuse secrets that a step would have to be given by their value."""
    moved = next((s for s in plan.steps if "<environ>" in s.changed), None)
    for place, step in enumerate(plan.steps):
        given = plan.given[place]
        for name in sorted(step.loads):
            if name not in step.reads or not plan.definitions.is_secret(name):
                continue
            is_read_again = name in plan.definitions.names
            if name in given or (
                is_read_again and moved is not None and _is_above(plan, name, place)
            ):
                why = f"but {moved.name} changes the environment" if moved is not None else ""
                _refuse(
                    plan.reading,
                    f"step {step.name} reads {name} in {step.reads[name]}, a secret that never "
                    f"travels, and its statement cannot be repeated there{', ' * bool(why)}{why}",
                    "Read it in one statement of its own, or in the first cells.",
                )


def _is_above(plan: Plan, name: str, place: int) -> bool:
    cells = [site.cell for site in plan.reading.world.sites.get(name, ())]
    return any(plan.positions.get(cell, place) < place for cell in cells)


def check_order(plan: Plan) -> None:
    """Refuse cells that would run in another order than they stand in, where that matters."""
    reading = plan.reading
    same = {
        name
        for name, sites in reading.world.sites.items()
        if name in plan.definitions.names
        and len({s.digest for s in sites}) == 1
        and len(sites) > 1
    }
    names = {cell: step.name for step in plan.steps for cell in step.cells}
    for first, second in inverted(reading, plan.positions):
        found = touching(reading.effects[first], reading.effects[second], same)
        if found:
            who = f"step {names[second]}" if second in names else "the cells that every step runs"
            _refuse(
                reading,
                f"cell {second} belongs to {who} and would run before cell {first} "
                f"(step {names.get(first, '')}), but both touch {words_of(found)}",
                "Give one of them another step, or move it.",
            )
    _check_cycle(plan)
    _warn_branches(plan)


def _check_cycle(plan: Plan) -> None:
    edges = edges_of(plan)
    above: dict[str, set[str]] = {step.name: set() for step in plan.steps}
    for edge in edges:
        above[edge.target].add(edge.source)
    for edge in edges:
        back = _way(edge.target, edge.source, above)
        if back is not None and any(reason.kind == "prev" for reason in edge.reasons):
            other = next(e for e in edges if (e.source, e.target) == back)
            _refuse(
                plan.reading,
                f"{edge.target} says prev:{edge.source}, but {other.reasons[0].text}",
                f"Take prev:{edge.source} away, or move what is needed.",
            )


def _way(start: str, end: str, above: dict[str, set[str]]) -> tuple[str, str] | None:
    """Give the last edge of a way from `start` down to `end`; None if there is none."""
    waiting, seen = [end], {end}
    while waiting:
        name = waiting.pop()
        for source in sorted(above[name]):
            if source == start:
                return source, name
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return None


def _warn_branches(plan: Plan) -> None:
    """Say where two branches of the author's change one thing, so that they run in order."""
    said = {step.name: set(step.after_steps) for step in plan.steps}
    if not any(said.values()):
        return
    above: dict[str, set[str]] = {}
    for step in plan.steps:
        above[step.name] = said[step.name].union(*(above.get(n, set()) for n in said[step.name]))
    for place, step in enumerate(plan.steps):
        for name, giver in plan.given[place].items():
            first = plan.steps[giver]
            is_branch = bool(said[step.name]) and first.name not in above[step.name]
            if is_branch and name in first.changed and name in step.changed and not is_state(name):
                plan.warnings.append(
                    f"{first.name} and {step.name} are branches, but both change {name} "
                    f"({first.changed[name][0]}; {step.changed[name][0]}), so {step.name} runs "
                    f"after {first.name}, as in the notebook."
                )


def check_foreach(plan: Plan) -> None:
    """Refuse fanned-out steps whose pieces depend on one another."""
    for place, step in enumerate(plan.steps):
        if not step.options.foreach:
            continue
        passage = plan.passages[place]
        drawn = [n for n in step.changed if n.startswith("<rng") and n in passage.gives]
        state = sorted(n for n in passage.gives if is_state(n))
        if drawn or state:
            name = (drawn or state)[0]
            _refuse(
                plan.reading,
                f"step {step.name} runs once for each piece of {step.options.foreach}, but "
                f"changes {words_of(name)} in {step.changed[name][0]}, which the next piece "
                "would have to take over",
                "Give each piece a seed of its own, or take foreach: away.",
            )
        for name in sorted(passage.gives & set(plan.given[place])):
            if name != step.options.foreach and not _is_collected(plan, place, name):
                _refuse(
                    plan.reading,
                    f"step {step.name} runs once for each piece of {step.options.foreach}, but "
                    f"changes {name} from before it in {step.changed[name][0]}",
                    f"Begin {name} inside of the step, or take foreach: away.",
                )


def _is_collected(plan: Plan, place: int, name: str) -> bool:
    """Whether what the pieces add to a name can be joined: a dict, which each gives keys."""
    value = plan.steps[place].before.get(name)
    if name not in plan.steps[place].changed:
        return True
    giver = plan.given[place].get(name)
    verb = plan.steps[giver].changed[name][1] if giver is not None else ""
    is_empty = value is not None and value.text == EMPTY and verb == "binds"
    return is_empty or (value is not None and value.kind == "dict")
