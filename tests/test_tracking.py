"""Runs are born, bound and ended as a person would expect, on a real kernel."""

from __future__ import annotations

import sys
import textwrap

import numpy as np
import pytest
from conftest import Kernel

from mlops_nb.fingerprint import fingerprint
from mlops_nb.store import Store

START = "%load_ext mlops_nb\n%mlops_track --interactive"
DATA = """
import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from sklearn.metrics import accuracy_score, f1_score, cohen_kappa_score, confusion_matrix
from sklearn.model_selection import train_test_split
X, y = load_iris(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
"""


class Notebook:
    """Cells run one after the other in one kernel, and what the store holds afterwards."""

    def __init__(self, kernel, folder):
        self.kernel = kernel
        self.folder = folder

    def run(self, *cells):
        for cell in cells:
            reply = self.kernel.run(textwrap.dedent(cell).strip())
            assert reply.status == "ok", reply
        return self

    def runs(self, query=None):
        with Store.open(self.folder / ".mlops") as store:
            store.refresh()
            return store.runs(query)[::-1]

    def the_run(self):
        (run,) = self.runs()
        return run


@pytest.fixture(scope="module")
def warm_kernel(tmp_path_factory):
    """One kernel for many tests: it has the libraries imported, and tracking off."""
    kernel = Kernel(
        sys.executable, tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("home")
    )
    kernel.run(DATA)
    yield kernel
    kernel.close()


@pytest.fixture
def notebook(warm_kernel, tmp_path):
    """A notebook in a folder and with a session of its own."""
    warm_kernel.run(f"%reset -f\nimport os; os.chdir({str(tmp_path)!r})")
    yield Notebook(warm_kernel, tmp_path).run(START, DATA)
    warm_kernel.run("%mlops_track --off")


@pytest.fixture
def own_notebook(new_kernel, tmp_path):
    """A notebook whose kernel may be ended."""
    return Notebook(new_kernel(), tmp_path).run(START, DATA)


def values(run):
    return {key: metric.value for key, metric in run.metrics.items()}


def test_a_fit_bears_a_run_with_parameters_data_and_bound_metrics(notebook):
    notebook.run(
        """
        model = LogisticRegression(C=0.5, max_iter=500).fit(X_train, y_train)
        pred = model.predict(X_test)
        accuracy = accuracy_score(y_test, pred)
        """,
        "model.score(X_train, y_train)",
    )
    run = notebook.the_run()
    assert run.params["estimator"].value == "LogisticRegression"
    assert run.params["C"].value == 0.5
    assert not run.params["C"].is_default
    assert run.params["fit_intercept"].is_default
    assert next(iter(run.params)) == "estimator"
    assert set(values(run)) == {"accuracy", "train.accuracy"}
    assert run.metrics["accuracy"].binding == "object"
    used = {(use.name, use.role): use for use in run.data}
    assert {("X_train", "train"), ("y_train", "train"), ("X_test", "test")} <= set(used)
    assert used["X_train", "train"].assurance == "exact"
    assert used["X_train", "train"].rows == 112
    assert [fit.name for fit in run.models] == ["model"]
    assert run.environment
    assert len(run.body) == 2
    assert len(run.setup) >= 1


def test_running_the_fitting_cell_again_is_the_next_attempt_of_its_group(notebook):
    cell = "model = LogisticRegression(C={}, max_iter=500).fit(X_train, y_train)"
    notebook.run(cell.format(1), cell.format(2))
    first, second = notebook.runs()
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.group == second.group
    assert first.status == "finished"
    assert second.status == "running"
    assert first.setup == second.setup


def test_running_only_the_scoring_cell_again_adds_to_the_same_run(notebook):
    score = "s = accuracy_score(y_test, model.predict(X_test))"
    notebook.run("model = LogisticRegression().fit(X_train, y_train)", score, score)
    run = notebook.the_run()
    assert run.metrics["accuracy"].count == 2
    assert len(run.body) == 3


def test_fits_in_a_loop_become_children_of_one_parent(notebook):
    notebook.run(
        """
        for C in (0.01, 1, 100):
            m = LogisticRegression(C=C, max_iter=500).fit(X_train, y_train)
            acc = accuracy_score(y_test, m.predict(X_test))
        """
    )
    runs = notebook.runs()
    parent = next(run for run in runs if run.parent is None)
    children = [run for run in runs if run.parent == parent.id]
    assert len(runs) == 4
    assert sorted(child.child for child in children) == [1, 2, 3]
    assert {child.params["C"].value for child in children} == {0.01, 1, 100}
    assert all("accuracy" in child.metrics for child in children)
    assert parent.attempt == 1
    assert {child.attempt for child in children} == {0}
    assert not parent.metrics


def test_more_than_fifty_fits_in_one_cell_are_rows_of_the_parents_table(notebook):
    notebook.run(
        """
        for depth in range(1, 54):
            m = DecisionTreeClassifier(max_depth=depth).fit(X_train, y_train)
            s = m.score(X_test, y_test)
        """,
        "x = 1",
        "%mlops_track --off",
    )
    runs = notebook.runs()
    parent = next(run for run in runs if run.parent is None)
    assert len(runs) == 51
    assert [artifact.name for artifact in parent.artifacts] == ["fits"]


def test_a_search_is_one_run_with_its_table(notebook):
    notebook.run(
        """
        from sklearn.model_selection import GridSearchCV
        search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1, 10]}, cv=3)
        search.fit(X_train, y_train)
        best = search.best_estimator_.predict(X_test)
        s = accuracy_score(y_test, best)
        """
    )
    run = notebook.the_run()
    assert run.params["estimator"].value == "GridSearchCV"
    assert run.params["best.C"].value in {0.1, 1, 10}
    assert "cv.best" in run.metrics
    assert run.metrics["accuracy"].binding == "object"
    assert [(a.name, a.kind) for a in run.artifacts] == [("search", "table")]


def test_cross_validation_is_one_run_with_its_folds(notebook):
    notebook.run(
        """
        from sklearn.model_selection import cross_val_score
        scores = cross_val_score(LogisticRegression(max_iter=500), X, y, cv=4)
        """
    )
    run = notebook.the_run()
    assert run.params["estimator"].value == "LogisticRegression"
    assert "cv.accuracy" in run.metrics
    assert [a.name for a in run.artifacts] == ["folds"]


def test_transformers_bear_no_runs(notebook):
    notebook.run(
        """
        from sklearn.preprocessing import StandardScaler
        from sklearn.decomposition import PCA
        Z = PCA(2).fit_transform(StandardScaler().fit_transform(X_train))
        """
    )
    assert notebook.runs() == []


@pytest.mark.parametrize(
    ("metric", "rule"),
    [
        pytest.param("accuracy_score(y_test, a.predict(X_test))", "object", id="result"),
        pytest.param(
            "p = a.predict_proba(X_test); accuracy_score(y_test > 0, p[:, 1:].sum(1) > 0.5)",
            "dataflow",
            id="dataflow",
        ),
        pytest.param("accuracy_score(y_test, list(a.predict(X_test)))", "content", id="list"),
        pytest.param("p = a.predict(X_test); accuracy_score(y_test, p[:])", "view", id="view"),
        pytest.param(
            "import pandas as pd; p = a.predict(X_test); s = pd.Series(p.copy()); del p; "
            "accuracy_score(y_test, s)",
            "content",
            id="series",
        ),
    ],
)
def test_a_metric_finds_the_fit_its_predictions_came_from(notebook, metric, rule):
    notebook.run(
        "a = LogisticRegression(C=1e-4, max_iter=500).fit(X_train, y_train)",
        "b = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X_train, y_train)",
        metric,
    )
    first, second = notebook.runs()
    assert first.metrics["accuracy"].binding == rule
    assert "accuracy" not in second.metrics
    assert first.status == "finished"


def test_agreement_of_two_models_is_a_relation(notebook):
    notebook.run(
        """
        a = LogisticRegression(max_iter=500).fit(X_train, y_train)
        b = DecisionTreeClassifier(random_state=0).fit(X_train, y_train)
        kappa = cohen_kappa_score(a.predict(X_test), b.predict(X_test))
        """
    )
    parent = next(run for run in notebook.runs() if run.parent is None)
    kappa = parent.metrics["cohen_kappa"]
    assert kappa.binding == "relation"
    children = {run.id for run in notebook.runs() if run.parent}
    assert set(kappa.detail["between"]) == children


def test_matrices_are_tables(notebook):
    notebook.run(
        "m = LogisticRegression().fit(X_train, y_train)",
        "confusion_matrix(y_test, m.predict(X_test))",
    )
    assert [a.name for a in notebook.the_run().artifacts] == ["confusion_matrix"]


def test_a_refit_leaves_earlier_predictions_with_the_earlier_run(notebook):
    notebook.run(
        "m = LogisticRegression(C=1e-3).fit(X_train, y_train); p = m.predict(X_test)",
        "m.set_params(C=10).fit(X_train, y_train)",
        "accuracy_score(y_test, p)",
    )
    first, second = notebook.runs()
    assert "accuracy" in first.metrics
    assert "accuracy" not in second.metrics


def test_partial_fit_goes_on_with_its_run(notebook):
    notebook.run(
        """
        from sklearn.linear_model import SGDClassifier
        sgd = SGDClassifier(random_state=0)
        for _ in range(3):
            sgd.partial_fit(X_train, y_train, classes=[0, 1, 2])
        """,
        "sgd.partial_fit(X_train, y_train)",
    )
    assert notebook.the_run().params["estimator"].value == "SGDClassifier"


def test_a_loop_over_batches_is_one_fit_with_all_its_time_and_data(notebook):
    notebook.run(
        """
        import time
        from sklearn.base import BaseEstimator
        class Slow(BaseEstimator):
            def partial_fit(self, X, y=None):
                time.sleep(0.02)
                return self
            def predict(self, X):
                return X[:, 0]
        slow = Slow()
        for start in range(0, 100, 5):
            slow.partial_fit(X[start:start + 5], y[start:start + 5])
        """
    )
    run = notebook.the_run()
    (fit,) = run.models
    assert (fit.name, fit.duration_s >= 0.4) == ("slow", True)
    assurances = [use.assurance for use in run.data]
    # Twenty batches that differ: some are told apart, then it is said that there were more.
    assert assurances.count("exact") > 3
    assert "skipped:budget" in assurances


def test_logging_bears_a_run_that_the_next_fit_adopts(notebook):
    notebook.run(
        "import mlops_nb as mn; mn.log_param('note', 'deep'); mn.log_metric('seen', 3)",
        "m = LogisticRegression().fit(X_train, y_train)",
    )
    run = notebook.the_run()
    assert run.params["note"].value == "deep"
    assert run.params["estimator"].value == "LogisticRegression"
    assert values(run) == {"seen": 3.0}


def test_a_cell_that_logs_again_starts_the_next_run(notebook):
    cell = "import mlops_nb as mn\nmn.log_metric('loss', {})"
    notebook.run(cell.format(1.0), cell.format(2.0))
    # Without cell ids the shape of a cell tells it apart, and both have the same shape.
    assert [values(run) for run in notebook.runs()] == [{"loss": 1.0}, {"loss": 2.0}]


def test_a_curve_keeps_every_value_in_order(notebook):
    notebook.run(
        """
        import mlops_nb as mn
        for step in range(1000):
            mn.log_metric("loss", 1 / (step + 1), step=step)
        """
    )
    run = notebook.the_run()
    assert run.metrics["loss"].count == 1000
    with Store.open(notebook.folder / ".mlops") as store:
        series = store.series(run.id, "loss")
    assert list(series.steps) == list(range(1000))
    assert series.values[999] == pytest.approx(0.001)


def test_a_changed_parameter_is_kept_as_history(notebook):
    notebook.run(
        "import mlops_nb as mn; r = mn.run('edit'); r.log_param('lr', 0.1)",
        "r.log_param('lr', 0.2); r.end()",
    )
    run = notebook.the_run()
    assert (run.params["lr"].value, run.params["lr"].version) == (0.2, 2)
    with Store.open(notebook.folder / ".mlops") as store:
        assert [param.value for param in store.param_history(run.id, "lr")] == [0.1, 0.2]


def test_opening_a_run_again_that_was_not_ended_supersedes_it(notebook):
    cell = "import mlops_nb as mn; r = mn.run('same'); r.log_metric('x', 1)"
    notebook.run(cell, cell)
    assert [run.status for run in notebook.runs()] == ["superseded", "running"]


def test_a_with_block_is_a_run_and_its_error_ends_it_failed(notebook):
    notebook.run("import mlops_nb as mn\nwith mn.run('good') as r:\n    r.log_metric('x', 1)")
    reply = notebook.kernel.run("with mn.run('bad'):\n    mn.log_metric('x', 2)\n    1 / 0")
    assert reply.status == "error"
    good, bad = notebook.runs()
    assert (good.status, bad.status) == ("finished", "failed")
    assert bad.error["type"] == "ZeroDivisionError"
    assert values(bad) == {"x": 2.0}


def test_two_fits_in_a_block_become_children_with_their_evidence(notebook):
    notebook.run(
        """
        import mlops_nb as mn
        with mn.run("both"):
            mn.log_param("seed", 7)
            a = LogisticRegression(C=0.5, max_iter=500).fit(X_train, y_train)
            accuracy_score(y_test, a.predict(X_test))
            b = DecisionTreeClassifier().fit(X_train, y_train)
            accuracy_score(y_test, b.predict(X_test))
        """
    )
    runs = notebook.runs()
    parent = next(run for run in runs if run.parent is None)
    first, second = sorted((r for r in runs if r.parent), key=lambda r: r.child)
    assert set(parent.params) == {"seed"}
    assert not parent.metrics
    assert first.params["C"].value == 0.5
    assert second.params["estimator"].value == "DecisionTreeClassifier"
    assert "accuracy" in first.metrics
    assert "accuracy" in second.metrics
    assert {r.status for r in runs} == {"finished"}


def test_a_child_holds_the_cells_that_gave_its_evidence(notebook):
    notebook.run(
        """
        import mlops_nb as mn
        run = mn.run("both")
        """,
        "a = LogisticRegression(C=0.5, max_iter=500).fit(X_train, y_train)",
        "accuracy_score(y_test, a.predict(X_test))",
        "b = DecisionTreeClassifier().fit(X_train, y_train)\nb.score(X_test, y_test)",
        "run.end()",
    )
    runs = notebook.runs()
    first, second = sorted((r for r in runs if r.parent), key=lambda r: r.child)
    with Store.open(notebook.folder / ".mlops") as store:
        of_first, of_second = (
            [e.source.split()[0] for e in store.executions(child.body)]
            for child in (first, second)
        )
    assert of_first == ["a", "accuracy_score(y_test,"]
    assert of_second == ["b"]


def test_a_tracked_function_keeps_arguments_and_returned_metrics(notebook):
    notebook.run(
        """
        import mlops_nb as mn
        @mn.track
        def train(depth, seed=1):
            return {"accuracy": depth / 10}
        train(3)
        train(4, seed=2)
        """
    )
    first, second = notebook.runs()
    assert first.name == "train"
    assert {k: p.value for k, p in second.params.items()} == {"depth": 4, "seed": 2}
    assert values(first) == {"accuracy": 0.3}


def test_a_cell_is_a_run_with_the_variables_it_names(notebook):
    notebook.run(
        """
        %%mlops_track forest --metrics acc --data X_train --params depth
        depth = 3
        m = DecisionTreeClassifier(max_depth=depth).fit(X_train, y_train)
        acc = m.score(X_test, y_test)
        """
    )
    run = notebook.the_run()
    assert (run.name, run.kind, run.status) == ("forest", "cell", "finished")
    assert run.params["depth"].value == 3
    assert "acc" in run.metrics
    assert "accuracy" in run.metrics


def test_an_error_in_a_tracked_cell_reaches_the_user_and_ends_the_run_failed(notebook):
    reply = notebook.kernel.run("%%mlops_track broken\nx = 1\nraise ValueError('no')")
    assert (reply.status, reply.content["ename"]) == ("error", "ValueError")
    run = notebook.the_run()
    assert (run.status, run.error["type"]) == ("failed", "ValueError")


def test_names_tags_and_experiment_are_given_to_the_next_runs(notebook):
    notebook.run(
        "%mlops_track churn --experiment spring --tag stage=dev",
        "LogisticRegression().fit(X_train, y_train)",
        "DecisionTreeClassifier().fit(X_train, y_train)",
    )
    first, second = notebook.runs()
    assert {first.name, second.name, first.group, second.group} == {"churn"}
    assert (first.attempt, second.attempt) == (1, 2)
    assert (first.experiment, first.tags) == ("spring", {"stage": "dev"})


def test_a_fit_that_raises_ends_failed_and_the_next_run_is_its_own(notebook):
    notebook.run(
        """
        try:
            LogisticRegression(C=-1).fit(X_train, y_train)
        except ValueError:
            pass
        """,
        "m = LogisticRegression().fit(X_train, y_train)",
        "%mlops_track --off",
    )
    first, second = notebook.runs()
    assert (first.status, second.status) == ("failed", "finished")
    assert first.error["type"] == "InvalidParameterError"


def test_a_clean_exit_of_the_kernel_finishes_its_runs(own_notebook):
    own_notebook.run("m = LogisticRegression().fit(X_train, y_train)")
    own_notebook.kernel.close()
    assert own_notebook.the_run().status == "finished"


def test_a_killed_kernel_leaves_a_lost_run_with_all_that_was_logged(own_notebook):
    own_notebook.run("import mlops_nb as mn\nfor i in range(100): mn.log_metric('x', i)")
    own_notebook.kernel.kill()
    run = own_notebook.the_run()
    assert run.status == "lost"
    assert run.metrics["x"].count == 100


def test_secrets_in_parameters_and_sources_are_not_written(own_notebook):
    token = "ghp_" + "a1B2" * 9
    own_notebook.run(f"import mlops_nb as mn\ntoken = '{token}'\nmn.log_param('token', token)")
    own_notebook.kernel.close()
    run = own_notebook.the_run()
    assert "secret:" in run.params["token"].value
    for file in (own_notebook.folder / ".mlops").rglob("*"):
        assert not file.is_file() or token.encode() not in file.read_bytes()


# --- large values -------------------------------------------------------------------------------

LARGE = """
from sklearn.dummy import DummyClassifier
big = np.arange(6_000_000, dtype="f8").reshape(-1, 2)
answers = (big[:, 0] % 3).astype(int)
"""


def test_a_large_input_is_hashed_in_the_background_and_known_in_the_end(notebook):
    notebook.run(
        LARGE, "model = DummyClassifier().fit(big, answers)", "import time; time.sleep(1)"
    )
    (used,) = (use for use in notebook.the_run().data if use.name == "big")
    expected = fingerprint(np.arange(6_000_000, dtype="f8").reshape(-1, 2))
    assert (used.digest, used.assurance, used.rows) == (expected.digest, "exact", 3_000_000)
    assert used.role == "train"


def test_a_score_on_a_large_training_set_says_so(notebook):
    notebook.run(
        LARGE,
        "model = DummyClassifier().fit(big, answers)\nmodel.score(big, answers)",
        "import time; time.sleep(1)",
    )
    assert set(notebook.the_run().metrics) == {"train.accuracy"}


def test_a_large_input_changed_by_a_later_cell_keeps_its_first_digest_or_none(notebook):
    notebook.run(
        LARGE,
        "model = DummyClassifier().fit(big, answers)",
        "big += 1",
        "import time; time.sleep(1)",
    )
    (used,) = (use for use in notebook.the_run().data if use.name == "big")
    expected = fingerprint(np.arange(6_000_000, dtype="f8").reshape(-1, 2))
    if used.assurance == "exact":
        assert used.digest == expected.digest
    else:
        assert used.assurance in {"torn", "sampled", "skipped:budget"}


def test_data_that_no_cell_could_reach_is_carried_and_not_read_again(notebook):
    notebook.run(
        LARGE, "%%mlops_track first --data big\na = 1", "%%mlops_track again --data big\na = 2"
    )
    first, again = (run.data[0] for run in notebook.runs())
    assert (first.assurance, again.assurance) == ("exact", "carried:unreached")
    assert first.digest == again.digest
    notebook.run("big[0, 0] = -1", "%%mlops_track changed --data big\na = 3")
    changed = notebook.runs()[-1].data[0]
    assert changed.assurance == "exact"
    assert changed.digest != first.digest


def test_cells_that_prepare_the_next_attempt_are_none_of_this_one(notebook):
    notebook.run(
        "model = LogisticRegression(max_iter=500).fit(X_train, y_train)",
        "shown = model.predict(X_test)[:3]\nprint(shown)",
        "X_train = X_train[:60]\ny_train = y_train[:60]",
        "print(len(X_train))",
        "model.score(X_test, y_test)",
    )
    run = notebook.the_run()
    with Store.open(notebook.folder / ".mlops") as store:
        body = [e.source.split()[0] for e in store.executions(run.body)]
    assert body == ["model", "shown", "model.score(X_test,"]
