"""``%mlops_run`` and ``mn.run_pipeline`` in a kernel: one display that moves, an outcome to ask."""

from __future__ import annotations

import pytest
from pipeline_runs import write_notebook

from mlops_nb import testing


@pytest.fixture(scope="module")
def kernel():
    with testing.kernel(track=False) as made:
        write_notebook(
            made.folder.parent / "flow.ipynb",
            ("parameters", "size = 3"),
            ("step:load", "rows = list(range(size))"),
            ("step:total output:total", "total = sum(rows)"),
        )
        yield made


def test_a_pipeline_runs_from_a_cell_and_its_values_can_be_read(kernel):
    ran = kernel.run(
        "done = %mlops_run flow.ipynb -p size=4 -j 2\ndone.status, done.values('total', 'total')"
    )
    assert ran.result == "('finished', 6)"
    assert ran.displays, "nothing was shown while it ran"
    shown = kernel.run("done")
    assert "finished" in shown.result
    assert "total" in shown.result
    [run] = [run for run in kernel.runs() if run.kind == "pipeline"]
    assert (run.name, run.status) == ("flow", "finished")


def test_the_function_takes_what_the_magic_takes(kernel):
    source = """
import mlops_nb as mn
again = mn.run_pipeline("flow.ipynb", {"size": 4}, only=["total"], force=["total"])
[(step.name, step.state) for step in again.result.steps]
"""
    assert kernel.run(source).result == "[('load', 'cached'), ('total', 'done')]"


def test_the_kernel_stays_as_it_was(kernel):
    source = """
import os, sys
[name for name in os.environ if name == "MLOPS_NB_STEP"], "papermill" in sys.modules
"""
    assert kernel.run(source).result == "([], False)"


def test_a_mistake_is_one_line(kernel):
    ran = kernel.run("%mlops_run flow.ipynb -p siez=1", check=False)
    assert "no parameter" in (ran.error or "") + ran.stderr
