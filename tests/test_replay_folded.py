"""Replays of cells with very many fits, and of sessions whose notebook does not say where it ran."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from conftest import Kernel
from recorded import execution_id

from mlops_nb.model import Param, Run, as_datetime
from mlops_nb.model.records import Metric
from mlops_nb.replay import replay
from mlops_nb.replay.folded import Side, compare_folded
from mlops_nb.replay.judging import outcome_of
from mlops_nb.replay.places import home_of
from mlops_nb.store import Store

FITS = """
for depth in range(1, {count}):
    model = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(X, y)
    score = model.score(X, y)
    kept.append(score)
"""


def recorded(kernel, *cells):
    for cell in cells:
        reply = kernel.run(cell)
        assert reply.error is None, reply.error
    kernel.run("%unload_ext mlops_nb")
    kernel.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A store above the folder in which a session without a notebook worked."""
    root = tmp_path_factory.mktemp("project")
    (root / ".mlops").mkdir()
    (root / "work").mkdir()
    (root / "work" / "numbers.csv").write_text("1,0\n2,1\n3,0\n4,1\n5,1\n6,0\n" * 20)
    kernel = Kernel(sys.executable, root / "work", tmp_path_factory.mktemp("home"))
    recorded(
        kernel,
        "%load_ext mlops_nb\n%mlops_track --interactive",
        "import numpy as np\nfrom sklearn.tree import DecisionTreeClassifier\n"
        "X, y = np.split(np.loadtxt('numbers.csv', delimiter=','), 2, axis=1)\nX = X % 7\nkept = []",
        FITS.format(count=54),
        FITS.format(count=21),
    )
    return root


@pytest.fixture(scope="module")
def store(project):
    with Store.open(project / ".mlops") as opened:
        opened.refresh()
        yield opened


@pytest.fixture(scope="module")
def parents(store):
    """The run of 53 fits, and the run of 20 more that needs the cell of the first."""
    found = [run for run in store.runs() if run.parent is None][::-1]
    assert [len(store.runs(f"parent = '{run.id}'")) for run in found] == [50, 20]
    return found


@pytest.fixture(scope="module")
def replays(store, parents):
    return [replay(store, parent, trust=True) for parent in parents]


def test_a_session_tells_its_kernel_its_folder_and_its_user(store, project, parents):
    session = store.session(parents[0].session)
    assert session.kernel == "python3"
    assert session.folder == str(project / "work")
    assert session.user
    assert "@" not in session.user


def test_cells_without_a_notebook_run_in_the_folder_of_their_session(replays):
    assert [found.outcome for found in replays] == ["verified", "verified"]


def test_fits_that_were_rows_of_a_table_are_compared_too(replays):
    values = [value for value in replays[0].values if "table of fits" in value.name]
    assert [(value.before, value.result) for value in values] == [("3 rows", "exact")]


def test_more_than_fifty_fits_of_several_cells_are_no_reason_to_differ(replays):
    found = replays[1]
    assert len(found.executions) == len(replays[0].executions) + 1
    assert {value.result for value in found.values} == {"exact"}
    assert [v.note for v in found.values if v.kind == "metric"] == ["value 20 of 20"]


def parent_with(rows, store):
    import json

    content = json.dumps({"columns": list(rows[0]), "rows": [list(r.values()) for r in rows]})
    digest = store.put(content.encode())
    from mlops_nb.model import Artifact

    table = Artifact("fits", "table", "application/json", digest, len(content))
    return run("top", None, artifacts=(table,))


class Tables:
    """Bytes by their digest."""

    def __init__(self):
        self._known = {}

    def put(self, data):
        self._known[str(len(self._known))] = data
        return str(len(self._known) - 1)

    def read_blob(self, digest):
        return self._known[digest]


def run(id_, parent, child=None, **given):
    return Run(
        id_, "x", "finished", "child", as_datetime(0), parent=parent, child=child,
        body=(execution_id(1),), **given,
    )  # fmt: skip


def fit(id_, child, depth, score):
    return run(
        id_, "now", child,
        params={"estimator": Param("Tree"), "depth": Param(depth)},
        metrics={"accuracy": Metric(score)},
    )  # fmt: skip


def compared(rows, *fits):
    from replays import execution

    tables = Tables()
    top = parent_with(rows, tables)
    placed = {0: execution("fit()")}
    now = [run("now", None), *fits]
    return compare_folded(tables, Side([top], placed), Side(now, placed), {"top"})


ROWS = (
    {"fit": 1, "estimator": "Tree", "depth": 1, "fit_s": 0.1, "accuracy": 0.5},
    {"fit": 2, "estimator": "Tree", "depth": 2, "fit_s": 0.1, "accuracy": 0.75},
)


def test_a_row_whose_fit_scores_otherwise_is_named():
    values = compared(ROWS, fit("a", 1, 1, 0.5), fit("b", 2, 2, 0.8))
    assert [(v.name, v.before, v.after) for v in values] == [("accuracy of fit 2", 0.75, 0.8)]
    assert outcome_of(values) == "differs"


def test_rows_that_cannot_be_matched_are_counted_and_prove_nothing():
    for fits in ([], [fit("a", 1, 1, 0.5)], [fit("a", 1, 7, 0.5), fit("b", 2, 9, 0.75)]):
        values = compared(ROWS, *fits)
        assert [value.result for value in values] == ["not compared"]
        assert "2 fits" in values[0].note
        assert outcome_of(values) == "not-replayable"


def test_a_copied_project_is_worked_in_where_the_copy_is(tmp_path):
    original, copy = tmp_path / "a", tmp_path / "b"
    (original / ".mlops").mkdir(parents=True)
    (original / "work").mkdir()
    told = Run("7f3a", "x", "finished", "cell", as_datetime(0))
    assert home_of(original / ".mlops", told, str(original / "work")) == original / "work"
    shutil.copytree(original, copy)
    assert home_of(copy / ".mlops", told, str(original / "work")) == copy / "work"
    assert home_of(copy / ".mlops", told, str(tmp_path / "gone")) == copy
    assert home_of(None, told, str(original / "work")) == original / "work"
    assert home_of(copy / ".mlops", told) == Path(copy)


def test_a_kernel_that_only_the_session_named_may_be_missing_here(store, parents, tmp_path):
    from dataclasses import replace

    from mlops_nb.replay.execution import execute
    from mlops_nb.replay.recording import recall

    recording = recall(store, parents[1])
    assert (recording.kernel, recording.is_kernel_named) == ("python3", False)
    few = replace(recording, kernel="of-another-machine", executions=recording.executions[:1])
    batch = {"run": "0123456789abcdef", "store": str(tmp_path / ".mlops")}
    found = execute(few, batch=batch, output=tmp_path / "out.ipynb", secrets={})
    assert found.problem is None
    assert "of-another-machine" in found.remarks[0]
    named = replace(few, is_kernel_named=True)
    found = execute(named, batch=batch, output=tmp_path / "out.ipynb", secrets={})
    assert "of-another-machine" in found.problem
