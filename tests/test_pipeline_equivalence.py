"""A notebook that is split into steps gives what the whole notebook gives, or is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from pipeline_cases import CASES

import mlops_nb as mn
from mlops_nb.pipeline.running import run_pipeline

if TYPE_CHECKING:
    from pipeline_cases import Case

HERE = Path(__file__).parent
FUSED = {name for name, case in CASES.items() if case.fused}


def notebook_of(case: Case, path: Path) -> None:
    """Write the notebook; its last cell keeps `result`."""
    cells = [
        nbformat.v4.new_code_cell(source, id=f"cell-{place}", metadata={"tags": tags})
        for place, (tags, source) in enumerate(case.cells)
    ]
    cells[-1].metadata.tags.append("output:result")
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    for name, text in case.files.items():
        (path.parent / name).write_text(text)


def run_whole(case: Case, folder: Path) -> dict[str, str]:
    """Run all cells in one process, parameters put in as papermill does."""
    sources = []
    for tags, source in case.cells:
        if "skip" in tags:
            continue
        sources.append(source)
        if case.params and {"parameters", "pipeline-parameters"} & set(tags):
            given = "\n".join(f"{name} = {value!r}" for name, value in case.params.items())
            names = [line.partition("=")[0].split(":")[0].strip() for line in source.splitlines()]
            derived = [
                line
                for line, name in zip(source.splitlines(), names, strict=True)
                if name not in case.params
            ]
            sources.append("\n".join([given, *derived]))
    answer = subprocess.run(
        [sys.executable, HERE / "whole_child.py"],
        input=json.dumps([sources, "result"]),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CASES)
def test_a_split_notebook_gives_what_the_whole_gives(name, tmp_path, record_property):
    case = CASES[name]
    whole_folder, split_folder = tmp_path / "whole", tmp_path / "split"
    for folder in (whole_folder, split_folder):
        folder.mkdir()
        notebook_of(case, folder / "case.ipynb")
    whole = run_whole(case, whole_folder)

    outcome = run_pipeline(
        split_folder / "case.ipynb",
        params=case.params,
        store=str(split_folder / ".mlops"),
        jobs=2,
        fast=True,
    )

    record_property("edges", json.dumps(reasons_of(outcome)))
    assert outcome.status == "finished", outcome.document()
    value = outcome.values(outcome.pipeline.steps[-1].name, "result")
    assert {"digest": mn.fingerprint(value).digest, "text": repr(value)} == whole
    assert bool(outcome.pipeline.fused) == case.fused


def reasons_of(outcome) -> list[str]:
    """Give each edge with its reasons, for the report."""
    return [
        f"{edge.source} → {edge.target}: {reason.kind} {', '.join(reason.names)}"
        for edge in outcome.pipeline.edges
        for reason in edge.reasons
    ]
