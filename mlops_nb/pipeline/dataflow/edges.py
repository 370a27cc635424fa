"""Edges between steps, each with its reasons as sentences that name cell and line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.model.pipelines import Edge, Reason
from mlops_nb.pipeline.dataflow.file_edges import file_reasons
from mlops_nb.pipeline.dataflow.words import words_of

if TYPE_CHECKING:
    from mlops_nb.model.pipelines import ReasonKind
    from mlops_nb.pipeline.dataflow.planning import Plan


def edges_of(plan: Plan) -> tuple[Edge, ...]:
    """Give all edges, in the order of their targets."""
    reasons: dict[tuple[int, int], list[Reason]] = {}
    for place, given in enumerate(plan.given):
        for name, giver in given.items():
            reasons.setdefault((giver, place), []).append(_reason(plan, name, giver, place))
    for first, second, reason in file_reasons(plan.steps):
        reasons.setdefault((first, second), []).append(reason)
    places = {step.name: place for place, step in enumerate(plan.steps)}
    for place, step in enumerate(plan.steps):
        for name in step.after_steps:
            if name in places and (places[name], place) not in reasons:
                text = f"{step.name} comes after {name}, as its author says"
                reasons[places[name], place] = [Reason("prev", (), text)]
        if step.options.when and not any(second == place for _, second in reasons):
            for earlier in range(place):
                text = f"the condition of {step.name} looks at what {plan.steps[earlier].name} did"
                reasons[earlier, place] = [Reason("prev", (), text)]
    ordered = sorted(reasons, key=lambda pair: (pair[1], pair[0]))
    names = [step.name for step in plan.steps]
    return tuple(Edge(names[a], names[b], tuple(reasons[a, b])) for a, b in ordered)


def _reason(plan: Plan, name: str, giver: int, place: int) -> Reason:
    first, second = plan.steps[giver], plan.steps[place]
    shown = words_of(name)
    changed = first.changed.get(name)
    is_observed = name in second.observed or name in first.observed
    kind: ReasonKind = "observed" if is_observed else "static"
    if name.startswith("<rng"):
        kind = "rng"
    read = second.reads.get(name)
    done = f"reads {shown} in {read}" if read is not None else f"passes {shown} on"
    if read is None and name in second.changed:
        done = f"changes {shown} in {second.changed[name][0]}"
    if name.startswith("<rng") and name in second.changed:
        done = f"draws from {shown} in {second.changed[name][0]}"
    made = f"which {first.name} passes on"
    if changed is not None:
        made = f"which {first.name} last {changed[1]} in {changed[0]}"
    return Reason(kind, (name,), f"{second.name} {done}, {made}")
