"""Steps that have to be one: what passes between them cannot be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.pipeline.dataflow.known import TENSORFLOW
from mlops_nb.pipeline.dataflow.words import words_of
from mlops_nb.record import record

if TYPE_CHECKING:
    from mlops_nb.pipeline.dataflow.planning import Plan


@record
class Fusion:
    """Steps from one place to another become one.

    Attributes
    ----------
    text
        Why, as a sentence.
    """

    first: int
    last: int
    text: str


def find_fusion(plan: Plan) -> Fusion | None:
    """Find the first value that crosses a border and cannot be stored."""
    for place, given in enumerate(plan.given):
        for name, giver in given.items():
            why = _why_stuck(plan, giver, name)
            if why:
                last = _last_with(plan, name, giver, place)
                return _fusion(plan, giver, last, f"{words_of(name)}, {why},")
    return _find_set_up(plan)


def _last_with(plan: Plan, name: str, giver: int, place: int) -> int:
    """Find the last step that takes a value that cannot be stored, or what became of it."""
    givers = {giver}
    for later in range(place, len(plan.given)):
        source = plan.given[later].get(name)
        if source in givers and _why_stuck(plan, source, name):
            givers.add(later)
            place = later
    return place


def _why_stuck(plan: Plan, giver: int, name: str) -> str:
    step = plan.steps[giver]
    for part in step.parts:
        if (part, name) in plan.reading.cannot_store:
            return "which could not be stored when it ran"
    if name == TENSORFLOW:
        return "which have no state to pass on"
    if plan.definitions.remembers(name):
        return "which remembers its results"
    value = step.after.get(name)
    why = plan.reading.world.objects.why_stuck(value.nodes) if value is not None else ""
    if value is not None and why and value.nodes:
        direct = any(node in plan.reading.world.objects.stuck for node in value.nodes)
        return why if direct else f"which holds {why}"
    return ""


def _fusion(plan: Plan, first: int, last: int, what: str) -> Fusion:
    names = [step.name for step in plan.steps[first : last + 1]]
    text = (
        f"{', '.join(names[:-1])} and {names[-1]} are one step, {names[0]}, because {what} "
        f"cannot pass from {names[0]} to {names[-1]}"
    )
    return Fusion(first, last, text)


def _find_set_up(plan: Plan) -> Fusion | None:
    """Find a change of a module that later steps cannot repeat by its statement alone."""
    steady = {*plan.definitions.names, *_unchanged(plan)}
    for place, step in enumerate(plan.steps):
        for one in step.set_ups:
            is_repeatable = one.is_alone and all(n in steady or _is_builtin(n) for n in one.needs)
            later = [p for p in range(place + 1, len(plan.steps)) if _uses(plan, p, one.names)]
            if later and not is_repeatable:
                modules = dict.fromkeys(n.removeprefix("<module:").rstrip(">") for n in one.names)
                roots = ", ".join(modules)
                what = f"the state of {roots}, which cell {one.cell}, line {one.line} changes,"
                return _fusion(plan, place, later[-1], what)
    return None


def _uses(plan: Plan, place: int, modules: tuple[str, ...]) -> bool:
    """Whether a step uses one of some modules by name, or what they have made."""
    step = plan.steps[place]
    roots = {name.removeprefix("<module:").rstrip(">") for name in modules}
    if "IPython" in roots:
        return True
    for name in step.names_loaded:
        value = step.before.get(name) or step.after.get(name)
        if value is not None and value.library.partition(".")[0] in roots:
            return True
    return False


def _is_builtin(name: str) -> bool:
    from mlops_nb.pipeline.dataflow.world import BUILTINS

    return name in BUILTINS


def _unchanged(plan: Plan) -> set[str]:
    start = plan.start.changed if plan.start is not None else {}
    return {name for name in start if not any(name in step.changed for step in plan.steps)}
