"""Values for a pipeline's parameters: checked before anything runs, then put into notebooks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops_nb.notebook import Cell, check_parameters, read_notebook
from mlops_nb.notebook.derived import derived_source
from mlops_nb.notebook.parameters import TAGS
from mlops_nb.source import analyse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlops_nb.model.pipelines import Pipeline
    from mlops_nb.notebook import Notebook

INJECTED = "injected-parameters"
_INJECTED_ID = "mlops-nb-parameters"


def checked_values(
    notebook: Notebook, given: Mapping[str, object], path: str | None = None
) -> dict[str, Any]:
    """Give each value its type; an unknown name or a value that does not fit is an error.

    Raises
    ------
    BadParameter
        It lists the parameters that there are.
    """
    return check_parameters(notebook, given, path)


def with_cell(notebook: Notebook, source: str) -> Notebook:
    """Put a cell behind the parameters cells; one that another tool put there is replaced.

    Parameters
    ----------
    notebook
        Of one step, or a whole one.
    source
        Of `injected_source`; empty puts in none.
    """
    kept = [i for i, cell in enumerate(notebook.cells) if INJECTED not in cell.tags]
    cells = [dict(notebook.content["cells"][i]) for i in kept]
    records = [notebook.cells[i] for i in kept]
    if source:
        tagged = [i for i, cell in enumerate(records) if set(TAGS) & set(cell.tags)]
        at = tagged[-1] + 1 if tagged else 0
        record = Cell(index=at, kind="code", source=source, id=_INJECTED_ID, tags=(INJECTED,))
        cells.insert(at, _code_cell(record))
        records.insert(at, record)
    numbered = (replace(cell, index=index) for index, cell in enumerate(records))
    content = {**notebook.content, "cells": cells}
    return replace(notebook, cells=tuple(numbered), content=content)


def injected_source(sources: Sequence[str], values: Mapping[str, Any]) -> str:
    """Write the cell that gives parameters other values, and works out what follows from them.

    Parameters
    ----------
    sources
        Of the parameters cells, in order.
    values
        By name; without any, nothing is written.
    """
    if not values:
        return ""
    lines = ["# Parameters", rendered(values)]
    derived = "\n".join(filter(None, (derived_source(source, values) for source in sources)))
    if derived:
        lines += ["# What follows from them", derived]
        bound = _bound_again(derived, values)
        if bound:
            lines.append(rendered(bound))
    return "\n".join(lines)


def injected_for(path: Path, values: Mapping[str, Any]) -> str:
    """Write the cell for a step's notebook: of the values that its own parameters cell sets."""
    if not values:
        return ""
    cells = [cell for cell in read_notebook(path).code_cells if set(TAGS) & set(cell.tags)]
    bound = {name for cell in cells for name in analyse(cell.source).binds}
    wanted = {name: value for name, value in values.items() if name in bound}
    return injected_source([cell.source for cell in cells], wanted)


def rendered(values: Mapping[str, Any]) -> str:
    """Write assignments that give the very same values."""
    from mlops_nb.notebook.rendering import render_parameters

    return render_parameters(values).rstrip("\n")


def effective_values(pipeline: Pipeline, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give all parameters their values as far as they are known without running anything."""
    known = {
        parameter.name: parameter.default
        for parameter in pipeline.parameters
        if parameter.default is not None or parameter.written in {"", "None"}
    }
    return {**known, **given}


def _bound_again(source: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in analyse(source).binds if name in values}


def _code_cell(cell: Cell) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": cell.id,
        "metadata": {"tags": list(cell.tags)},
        "source": cell.source,
        "outputs": [],
        "execution_count": None,
    }
