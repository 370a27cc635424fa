"""The steps of a pipeline as a graph, and why a step has a value from where it has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.errors import MlopsNbError
from mlops_nb.errors.pipelines import UnknownStep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.model.pipelines import Edge, Pipeline, Reason, Step


def graph_document(pipeline: Pipeline) -> dict[str, Any]:
    """Describe steps and edges as JSON.

    Returns
    -------
    dict
        ``{"steps": [{"name", "cells", "after", "inputs", "outputs", "params", "definitions"}],
        "edges": [{"from", "to", "reasons": [{"kind", "names", "text"}]}], "fused", "warnings"}``.

    Examples
    --------
    >>> from mlops_nb.model.pipelines import Pipeline
    >>> graph_document(Pipeline("churn"))["edges"]
    []
    """
    return {
        "steps": [_step(step) for step in pipeline.steps],
        "edges": [_edge(edge) for edge in pipeline.edges],
        "fused": list(pipeline.fused),
        "warnings": list(pipeline.warnings),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "cells": list(step.cells),
        "after": list(step.after),
        "inputs": dict(step.inputs),
        "outputs": [list(unit) for unit in step.outputs],
        "params": list(step.params),
        "definitions": list(step.definitions),
    }


def _edge(edge: Edge) -> dict[str, Any]:
    reasons = [{"kind": r.kind, "names": list(r.names), "text": r.text} for r in edge.reasons]
    return {"from": edge.source, "to": edge.target, "reasons": reasons}


def why(pipeline: Pipeline, value: str, step: str) -> str:
    """Say in one sentence from where a step has a value, or why no edge brings it.

    Parameters
    ----------
    pipeline
        A notebook as steps.
    value
        A name, state such as ``<rng:numpy>``, a path, or another step.
    step
        The step that is asked about.

    Raises
    ------
    UnknownStep
        There is no such step.

    Examples
    --------
    >>> from mlops_nb.model.pipelines import Pipeline, Step
    >>> why(Pipeline("churn", steps=(Step("train"),)), "df", "train")
    'train takes df from no other step: it does not read it.'
    """
    asked = next((one for one in pipeline.steps if one.name == step), None)
    if asked is None:
        names = tuple(one.name for one in pipeline.steps)
        raise UnknownStep(pipeline.name, step, names)
    if any(one.name == value for one in pipeline.steps):
        return _why_after(pipeline, value, step)
    reasons = [reason for reason in _reasons_of(pipeline, step) if value in reason.names]
    if reasons:
        return "; ".join(reason.text for reason in reasons) + "."
    return _why_not(pipeline, value, asked)


def _reasons_of(pipeline: Pipeline, step: str) -> Iterator[Reason]:
    for edge in pipeline.edges:
        if edge.target == step:
            yield from edge.reasons


def _why_after(pipeline: Pipeline, first: str, second: str) -> str:
    """Say why one step comes after another."""
    for edge in pipeline.edges:
        if (edge.source, edge.target) == (first, second):
            return "; ".join(reason.text for reason in edge.reasons) + "."
    way = _way(pipeline, first, second)
    if way:
        return f"{second} takes nothing from {first} itself, but comes after it by {way}."
    return f"{second} takes nothing from {first}: they may run at the same time."


def _way(pipeline: Pipeline, first: str, second: str) -> str:
    """Name the steps between two that depend on each other; empty if they do not."""
    before: dict[str, str] = {}
    waiting = [first]
    while waiting:
        name = waiting.pop(0)
        for edge in pipeline.edges:
            if edge.source == name and edge.target not in before:
                before[edge.target] = name
                waiting.append(edge.target)
    names: list[str] = []
    name = before.get(second, first)
    while name != first:
        names.insert(0, name)
        name = before[name]
    return " and ".join(names)


def _why_not(pipeline: Pipeline, value: str, step: Step) -> str:
    if value in step.params:
        return f"{step.name} reads the parameter {value}, which every step is given."
    if value in step.definitions:
        return f"{step.name} has the source of {value} in its own notebook, as nobody changes it."
    made = _made(pipeline, value, step)
    if made:
        return f"{step.name} takes {value} from no other step: {made}."
    if any(value in unit for unit in step.outputs):
        return f"{step.name} takes {value} from no other step: it makes it itself."
    return f"{step.name} takes {value} from no other step: it does not read it."


def _made(pipeline: Pipeline, value: str, step: Step) -> str:
    """Say which cell makes a value, by the text of the notebook, if that is at hand."""
    from mlops_nb.pipeline.reading import read_source
    from mlops_nb.source import statements_of

    try:
        cells = read_source(pipeline.notebook).cells if pipeline.notebook else ()
    except (MlopsNbError, OSError):
        return ""
    first = (*pipeline.prelude, *pipeline.parameter_cells)
    for indices, what in ((step.cells, "it makes it itself"), (first, "every step makes it")):
        for index in indices:
            for statement in statements_of(cells[index].source) if index < len(cells) else ():
                if value in statement.binds:
                    return f"{what} in cell {index}, line {statement.first_line}"
    return ""


__all__ = ["graph_document", "why"]
