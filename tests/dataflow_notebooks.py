"""Small notebooks as text, and what flows in them as text.

A line ``#[TAG …]`` begins a cell. A step is written as ``name: taken<giver … -> given (a unit)``,
and after it what else there is to say: ``def``, ``par``, ``watch``, ``files``.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from mlops_nb.pipeline.dataflow import dataflow_of
from mlops_nb.pipeline.drafts import draft_of
from mlops_nb.pipeline.reading import read_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.model.pipelines import Fact, Pipeline
    from mlops_nb.pipeline.drafts import Draft

_MARK = re.compile(r"^#\[([^\]\n]*)\]$", re.MULTILINE)


def draft(text: str, files: dict[str, str] | None = None, **options: str) -> Draft:
    """Write a notebook, and read it as steps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.ipynb"
        parts = _MARK.split(text.strip())
        cells = [
            nbformat.v4.new_code_cell(source.strip("\n"), metadata={"tags": tags.split()})
            for tags, source in zip(parts[1::2], parts[2::2], strict=True)
        ]
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
        nbformat.write(notebook, path)
        return draft_of(read_source(path), **options)


def plan(text: str, facts: Sequence[Fact] = (), files: dict[str, str] | None = None) -> Pipeline:
    """Find out what flows in a notebook; `files` lie beside it."""
    found = draft(text)
    folder = Path(found.notebook.path).parent
    folder.mkdir()
    try:
        for name, content in (files or {}).items():
            (folder / name).write_text(content)
        return dataflow_of(found, facts=facts)
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def flow(pipeline: Pipeline) -> str:
    """Write down what each step takes and gives."""
    lines = []
    for step in pipeline.steps:
        taken = " ".join(f"{name}<{giver}" for name, giver in sorted(step.inputs.items()))
        given = " ".join(
            unit[0] if len(unit) == 1 else f"({' '.join(unit)})" for unit in step.outputs
        )
        line = f"{step.name}: {taken} -> {given}".replace(":  ->", ": ->").rstrip()
        for word, names in (("def", step.definitions), ("par", step.params)):
            line += f"; {word} {' '.join(names)}" if names else ""
        lines.append(line)
    return "\n".join(lines)


def edges(pipeline: Pipeline) -> str:
    """Write down the edges with the kinds of their reasons."""
    lines = []
    for edge in pipeline.edges:
        reasons = ", ".join(" ".join((reason.kind, *reason.names)) for reason in edge.reasons)
        lines.append(f"{edge.source} > {edge.target}: {reasons}")
    return "\n".join(lines)
