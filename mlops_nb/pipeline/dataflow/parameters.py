"""Which parameters a step reads, also by way of what the first cells derive from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.source import statements_of

if TYPE_CHECKING:
    from mlops_nb.pipeline.dataflow.planning import Plan


def parameters_read(plan: Plan, place: int) -> tuple[str, ...]:
    """Name the parameters that a step reads."""
    draft = plan.reading.draft
    names = [parameter.name for parameter in draft.parameters]
    if not names:
        return ()
    step, given = plan.steps[place], plan.given[place]
    derived = _derived(plan)
    waiting = [name for name in step.loads if name not in given]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += derived.get(name, ())
    return tuple(name for name in names if name in found)


def _derived(plan: Plan) -> dict[str, set[str]]:
    """Give, for each name of the first cells, the names that it is made from."""
    found: dict[str, set[str]] = {}
    cells = plan.reading.draft.notebook.cells
    for cell in sorted({*plan.prelude, *plan.moved}):
        for statement in statements_of(cells[cell].source):
            for name in (*statement.binds, *statement.mutates):
                found.setdefault(name, set()).update(statement.reads)
    return found
