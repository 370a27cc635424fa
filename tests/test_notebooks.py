"""The example notebooks are right: run by nbval, and by our own engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from mlops_nb.store import Store

FOLDER = Path(__file__).parent.parent / "notebooks"
VARIES = "nbval-ignore-output"
EXAMPLES = [pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob("*.ipynb"))]


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch) -> Path:
    """Keep what the examples record out of the checkout."""
    store = tmp_path / "store" / ".mlops"
    monkeypatch.setenv("MLOPS_NB_STORE", str(store))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return store


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_is_a_clean_notebook(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    # As one that was run once from start to end, without what differs from one time to the next.
    assert [cell.execution_count for cell in code_cells] == list(range(1, len(code_cells) + 1))
    varying = [c.id for c in code_cells if VARIES in c.metadata.get("tags", []) and c.outputs]
    assert varying == []
    assert {key for cell in code_cells for key in cell.metadata} <= {"tags"}


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_still_says_what_it_says(path, tmp_path):
    shutil.copy(path, tmp_path)
    answer = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--nbval",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--rootdir",
            tmp_path,
            "-c",
            os.devnull,
            path.name,
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert answer.returncode == 0, answer.stdout
    assert re.search(r"\d+ passed", answer.stdout)


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_is_one_finished_run_under_our_engine(path, tmp_path, own_store):
    executed = tmp_path / path.name
    papermill.execute_notebook(
        path, executed, engine_name="mlops_nb", cwd=tmp_path, progress_bar=False
    )
    notebook = nbformat.read(executed, as_version=4)
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code_cells)
    with Store.open(own_store) as store:
        store.refresh()
        whole = [run for run in store.runs() if run.kind == "batch"]
    assert [run.status for run in whole] == ["finished"]


def test_the_demo_records_each_thing_it_tried(tmp_path, own_store):
    papermill.execute_notebook(
        FOLDER / "demo.ipynb",
        tmp_path / "demo.ipynb",
        engine_name="mlops_nb",
        cwd=tmp_path,
        progress_bar=False,
        parameters={"epochs": 3},
    )
    with Store.open(own_store) as store:
        store.refresh()
        runs = store.runs()
    whole = next(run for run in runs if run.kind == "batch")
    children = [run for run in runs if run.parent == whole.id]
    estimators = sorted(run.params["estimator"].value for run in children)
    assert estimators == [
        "GridSearchCV",
        "MLPClassifier",
        "Pipeline",
        *["RandomForestClassifier"] * 3,
        *["SVC"] * 3,
    ]
