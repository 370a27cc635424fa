"""The notebooks of a pipeline under plain papermill, one after the other, give what the whole gives."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import papermill
import pytest

from mlops_nb.pipeline.writing.conversion import convert_notebook

V4 = nbformat.v4
PYTHON = {"name": "python3", "display_name": "Python 3", "language": "python"}
CELLS = (
    ("import math", ()),
    ("n: int = 6  # rows\nhalf = n // 2\nfile = f'rows-{n}.csv'", ("parameters",)),
    (
        "def scaled(row, by=2):\n    return [by * x for x in row]\n\nrows = [[k] for k in range(n)]",
        ("step:load",),
    ),
    ("rows[0].append(math.pi)\nrows = [scaled(row) + [half] for row in rows]", ("step:clean",)),
    ("print(rows, scaled([1]), file)", ("step:report",)),
)


@pytest.fixture
def notebook(tmp_path):
    cells = [
        V4.new_code_cell(source, id=f"cell-{n}", metadata={"tags": list(tags)})
        for n, (source, tags) in enumerate(CELLS)
    ]
    path = tmp_path / "rows.ipynb"
    nbformat.write(V4.new_notebook(cells=cells, metadata={"kernelspec": PYTHON}), path)
    return path


def papermilled(folder, notebook, **parameters):
    """Run a notebook as people do, and give what its cells have printed."""
    output = folder / "executed.ipynb"
    papermill.execute_notebook(
        str(notebook), str(output), parameters, cwd=str(folder), progress_bar=False
    )
    return "".join(
        output.text
        for cell in nbformat.read(output, 4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    )


def one_by_one(folder, **parameters):
    """Run all steps in order; give what they have printed together."""
    return "".join(
        papermilled(folder, path, **parameters)
        for path in sorted(folder.glob("rows/steps/*.ipynb"))
    )


def test_steps_one_by_one_give_what_the_whole_gives(notebook, tmp_path):
    convert_notebook(notebook)
    assert one_by_one(tmp_path) == papermilled(tmp_path, notebook) != ""


def test_given_values_reach_every_step_and_what_follows_from_them(notebook, tmp_path):
    convert_notebook(notebook)
    whole = papermilled(tmp_path, notebook, n=10, half=5, file="rows-10.csv")
    assert one_by_one(tmp_path, n=10) == whole


def test_the_command_in_pipeline_yaml_runs(notebook, tmp_path):
    folder = convert_notebook(notebook).converted.folder
    (line,) = [
        line for line in (folder / "pipeline.yaml").read_text().splitlines() if "papermill" in line
    ]
    _, command = line.split("papermill ")
    found = subprocess.run(
        [sys.executable, "-m", "papermill", *command.split()],
        cwd=folder,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr.decode()
