from __future__ import annotations

import json
import math
import sys
from datetime import datetime, timedelta, timezone

import pytest

from mlops_nb.compare import (
    code_mark,
    compare_runs,
    data_mark,
    environment_mark,
    headline_metric,
    is_lower_better,
)
from mlops_nb.documents import to_json
from mlops_nb.errors import MissingExtra, NoSuchMetric, RunNotFound
from mlops_nb.model import DataUse, Environment, Metric, ModelFit, Param, Run

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)


def make_run(run_id, metrics=None, params=None, *, minute=0, defaults=(), **given):
    """Make a run; `params` named in `defaults` were not changed from their default."""
    return Run(
        id=run_id,
        name=given.pop("name", "churn"),
        status=given.pop("status", "finished"),
        kind="interactive",
        started_at=NOON + timedelta(minutes=minute),
        metrics={
            key: value if isinstance(value, Metric) else Metric(value)
            for key, value in (metrics or {}).items()
        },
        params={
            key: Param(value, is_default=key in defaults) for key, value in (params or {}).items()
        },
        **given,
    )


def use(name="X", digest="nbfp1:1", role="train", *, assurance="exact", columns=None, rows=100):
    count = len(columns) if columns else None
    return DataUse(
        name, role, "pandas.DataFrame", digest, assurance, rows, count, "", columns or {}
    )


# --- order, best, differences -----------------------------------------------------------------


def test_the_best_run_comes_first_and_is_the_baseline():
    comparison = compare_runs(
        [make_run("aaaa1", {"auc": 0.8}), make_run("bbbb1", {"auc": 0.9}, minute=1)]
    )
    assert [row.label for row in comparison.rows] == ["bbbb", "aaaa"]
    assert comparison.best == {"auc": "bbbb1"}
    assert comparison.baseline == "bbbb1"
    best, other = (row.metrics["auc"] for row in comparison.rows)
    assert (best.is_best, best.delta, best.share) == (True, None, 1.0)
    assert (other.is_best, other.delta, other.share) == (False, pytest.approx(-0.1), 0.0)


def test_of_a_loss_the_smallest_value_is_best():
    comparison = compare_runs(
        [make_run("aaaa1", {"log_loss": 0.8}), make_run("bbbb1", {"log_loss": 0.2})]
    )
    assert comparison.best == {"log_loss": "bbbb1"}
    assert comparison.rows[0].label == "bbbb"
    assert comparison.lower_is_better == ("log_loss",)


@pytest.mark.parametrize("status", ["failed", "lost", "interrupted", "superseded"])
def test_a_run_that_did_not_come_to_its_end_is_shown_but_never_best(status):
    runs = [make_run("aaaa1", {"auc": 0.99}, status=status), make_run("bbbb1", {"auc": 0.9})]
    comparison = compare_runs(runs)
    assert comparison.best == {"auc": "bbbb1"}
    ended, stopped = comparison.rows
    assert stopped.run.status == status
    assert (stopped.metrics["auc"].delta, stopped.metrics["auc"].share) == (None, None)
    assert ended.metrics["auc"].share is None


def test_a_run_that_is_still_open_takes_part():
    # The last run of automatic tracking is open until the next one is born.
    runs = [make_run("aaaa1", {"auc": 0.99}, status="running"), make_run("bbbb1", {"auc": 0.9})]
    assert compare_runs(runs).best == {"auc": "aaaa1"}


def test_a_value_that_is_not_finite_is_unknown_and_never_best():
    runs = [make_run("aaaa1", {"loss": math.nan}), make_run("bbbb1", {"loss": 3.0})]
    comparison = compare_runs(runs)
    assert comparison.best == {"loss": "bbbb1"}
    assert comparison.rows[1].metrics["loss"].value is None


def test_nothing_is_best_where_all_are_equal():
    comparison = compare_runs([make_run("aaaa1", {"auc": 1.0}), make_run("bbbb1", {"auc": 1.0})])
    assert not any(row.is_best or row.metrics["auc"].is_best for row in comparison.rows)
    assert comparison.differs["metrics"] == ()


def test_runs_without_metrics_stand_newest_first():
    comparison = compare_runs([make_run("aaaa1"), make_run("bbbb1", minute=5)])
    assert [row.label for row in comparison.rows] == ["bbbb", "aaaa"]
    assert comparison.sort_by is None


def test_no_runs_compare_to_an_empty_table():
    comparison = compare_runs([])
    assert comparison.rows == ()
    assert comparison.to_dict()["runs"] == []


def test_the_baseline_can_be_chosen_by_id_prefix_or_name():
    runs = [make_run("aaaa1", {"auc": 0.8}, name="first"), make_run("bbbb1", {"auc": 0.9})]
    for reference in ("aaaa1", "aaaa", "first"):
        comparison = compare_runs(runs, baseline=reference)
        assert comparison.baseline == "aaaa1"
        assert comparison.rows[0].metrics["auc"].delta == pytest.approx(0.1)


def test_an_unknown_baseline_is_refused_with_what_is_close():
    with pytest.raises(RunNotFound, match="aaaa"):
        compare_runs([make_run("aaaa1")], baseline="aaab")


def test_sorting_by_a_metric_that_no_run_has_names_those_they_have():
    with pytest.raises(NoSuchMetric, match="They have: auc, loss"):
        compare_runs([make_run("aaaa1", {"loss": 1.0, "auc": 0.9})], sort_by="auk")


@pytest.mark.parametrize(
    ("metrics", "headline"),
    [
        pytest.param([{"train.auc": 1.0, "auc": 0.9}], "auc", id="not of training data"),
        pytest.param([{"f1": 1.0, "auc": 0.9}, {"auc": 0.8}], "auc", id="that most runs have"),
        pytest.param([{"loss": Metric(0.2, 9, 10), "auc": 0.9}], "auc", id="not a curve"),
        pytest.param([{"f1": 1.0, "auc": 0.9}], "f1", id="else the first one"),
        pytest.param([{}], None, id="none"),
    ],
)
def test_the_headline_is_the_metric_that_says_most(metrics, headline):
    runs = [make_run(f"{i}aaaa", one) for i, one in enumerate(metrics)]
    assert headline_metric(runs) == headline


@pytest.mark.parametrize("name", ["log_loss", "val.mean_squared_error", "RMSE", "hamming_loss"])
def test_errors_and_losses_are_better_when_lower(name):
    assert is_lower_better(name)


@pytest.mark.parametrize("name", ["roc_auc", "neg_log_loss", "r2", "accuracy", "closseness"])
def test_scores_are_better_when_higher(name):
    assert not is_lower_better(name)


def test_labels_are_the_shortest_prefixes_that_differ():
    runs = [make_run(run_id) for run_id in ("7f3a11", "7f3a12", "9c0011")]
    assert sorted(row.label for row in compare_runs(runs).rows) == ["7f3a11", "7f3a12", "9c00"]


# --- parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "defaults", "differing"),
    [
        pytest.param({"C": 1.0}, {"C": 0.1}, (), ("C",), id="two values"),
        pytest.param({"C": 1}, {"C": 1.0}, (), (), id="an equal number of another type"),
        pytest.param({"x": 1}, {"x": True}, (), ("x",), id="a number and a flag"),
        pytest.param({"C": 1.0}, {"depth": 3}, (), ("C", "depth"), id="set in one run only"),
        pytest.param({"C": 1.0}, {"depth": 3}, ("C",), ("depth",), id="a default of one class"),
        pytest.param({"tol": 1.0}, {"tol": 2.0}, ("tol",), (), id="defaults of two classes"),
        pytest.param({"C": 1.0}, {}, (), (), id="a run that recorded no parameters"),
        pytest.param({"a": [1, None]}, {"a": [1, None]}, (), (), id="equal lists"),
    ],
)
def test_only_parameters_that_differ_are_columns(first, second, defaults, differing):
    runs = [
        make_run("aaaa1", params=first, defaults=defaults),
        make_run("bbbb1", params=second, defaults=defaults),
    ]
    comparison = compare_runs(runs)
    assert comparison.params == differing
    assert comparison.known_params == len({*first, *second})
    assert set(compare_runs(runs, all_params=True).params) == {*first, *second}


def test_parameters_that_were_tried_out_come_before_those_of_one_run_and_seeds():
    runs = [
        make_run("aaaa1", params={"seed": 1, "only": 1, "C": 1.0}),
        make_run("bbbb1", params={"seed": 2, "C": 2.0}),
    ]
    assert compare_runs(runs).params == ("C", "only", "seed")


def test_the_estimator_is_the_first_column():
    runs = [
        make_run("aaaa1", params={"C": 1.0, "estimator": "SVC"}),
        make_run("bbbb1", params={"C": 2.0, "estimator": "LogisticRegression"}),
    ]
    assert compare_runs(runs).params == ("estimator", "C")


# --- parents and children ---------------------------------------------------------------------


def test_children_stand_below_their_parent_best_first():
    runs = [
        make_run("cc01", {"auc": 0.7}, parent="aaaa", child=1),
        make_run("aaaa"),
        make_run("cc02", {"auc": 0.9}, parent="aaaa", child=2),
        make_run("bbbb", {"auc": 0.8}),
    ]
    comparison = compare_runs(runs)
    assert [(row.label, row.depth) for row in comparison.rows] == [
        ("aaaa", 0),
        ("cc02", 1),
        ("cc01", 1),
        ("bbbb", 0),
    ]
    assert comparison.rows[0].children == 2
    assert comparison.baseline == "cc02"


def test_a_child_whose_parent_is_not_there_stands_alone():
    comparison = compare_runs([make_run("cc01", {"auc": 0.7}, parent="aaaa")])
    assert comparison.rows[0].depth == 0


def test_a_relation_between_runs_is_not_a_score():
    runs = [
        make_run("aaaa", {"kappa": Metric(0.99, binding="relation")}),
        make_run("cc01", {"kappa": 0.5}, parent="aaaa"),
    ]
    assert compare_runs(runs).best == {"kappa": "cc01"}


# --- groups over seeds ------------------------------------------------------------------------


def test_runs_that_differ_in_their_seed_become_one_row():
    runs = [
        make_run(f"aa0{seed}", {"auc": auc}, {"C": 1.0, "random_state": seed}, group="g")
        for seed, auc in enumerate([0.90, 0.92, 0.94])
    ]
    runs.append(make_run("bb00", {"auc": 0.8}, {"C": 2.0, "random_state": 0}, group="g"))
    comparison = compare_runs(runs, by_group=True)
    assert comparison.params == ("C",)
    group, single = comparison.rows
    cell = group.metrics["auc"]
    assert len(group.runs) == 3
    assert (cell.value, cell.deviation, cell.count) == (
        pytest.approx(0.92),
        pytest.approx(0.02),
        3,
    )
    assert (single.metrics["auc"].value, single.metrics["auc"].deviation) == (0.8, None)


def test_a_failed_run_does_not_enter_a_mean():
    runs = [
        make_run("aa01", {"auc": 0.9}, {"seed": 1}, group="g"),
        make_run("aa02", {"auc": 0.1}, {"seed": 2}, group="g", status="failed"),
    ]
    comparison = compare_runs(runs, by_group=True)
    assert comparison.rows[0].metrics["auc"].value == 0.9


# --- marks ------------------------------------------------------------------------------------


def test_equal_exact_fingerprints_are_the_same_data():
    mark = data_mark(make_run("a", data=(use(),)), make_run("b", data=(use(),)))
    assert (mark.kind, mark.text) == ("same", "same")


@pytest.mark.parametrize("assurance", ["sampled", "opaque", "torn", "skipped:budget"])
def test_data_is_never_called_the_same_on_less_than_an_exact_fingerprint(assurance):
    inexact = make_run("a", data=(use(assurance=assurance),))
    exact = make_run("b", data=(use(),))
    for base, run in ((inexact, exact), (exact, inexact), (inexact, inexact)):
        assert (data_mark(base, run).kind, data_mark(base, run).text) == ("unknown", "–")


def test_data_that_was_not_recorded_is_unknown():
    assert data_mark(make_run("a"), make_run("b", data=(use(),))).kind == "unknown"
    assert data_mark(make_run("a"), make_run("b")).kind == "unknown"


@pytest.mark.parametrize(
    ("was", "now", "text"),
    [
        pytest.param({"age": "1", "sex": "2"}, {"age": "9", "sex": "2"}, "age ≠", id="one column"),
        pytest.param({"a": "1", "b": "2"}, {"a": "8", "b": "9"}, "a, b ≠", id="two columns"),
        pytest.param(
            {"a": "1", "b": "2", "c": "3"},
            {"a": "7", "b": "8", "c": "9"},
            "3 columns ≠",
            id="many columns",
        ),
        pytest.param({"a": "1"}, {"a": "1", "new": "2"}, "new ≠", id="a new column"),
        pytest.param({}, {}, "X ≠", id="no columns"),
    ],
)
def test_changed_data_names_what_changed(was, now, text):
    base = make_run("a", data=(use(digest="nbfp1:1", columns=was),))
    run = make_run("b", data=(use(digest="nbfp1:2", columns=now),))
    assert (data_mark(base, run).kind, data_mark(base, run).text) == ("changed", text)


def test_another_number_of_rows_is_a_change_even_without_an_exact_fingerprint():
    base = make_run("a", data=(use(assurance="sampled", rows=100, columns={"a": "1"}),))
    run = make_run("b", data=(use(assurance="sampled", rows=90, columns={"a": "1"}),))
    mark = data_mark(base, run)
    assert (mark.text, mark.details) == ("rows ≠", ("X: 100 → 90 rows",))


def test_a_renamed_variable_is_the_same_data():
    base = make_run("a", data=(use("X_train"),))
    assert data_mark(base, make_run("b", data=(use("features"),))).kind == "same"


def test_another_value_in_the_same_role_is_a_change():
    base = make_run("a", data=(use("X", "nbfp1:1"), use("old", "nbfp1:2")))
    run = make_run("b", data=(use("X", "nbfp1:1"), use("new", "nbfp1:3")))
    mark = data_mark(base, run)
    assert (mark.text, mark.details) == ("new ≠", ("old → new: other values",))


def test_training_data_that_came_and_went_is_named():
    base = make_run("a", data=(use("X", "nbfp1:1"), use("y", "nbfp1:2")))
    run = make_run("b", data=(use("X", "nbfp1:1"),))
    assert data_mark(base, run).text == "−y"
    assert data_mark(run, base).text == "+y"


def test_a_test_set_that_only_one_of_them_used_is_no_difference():
    train = use("X", "nbfp1:1")
    base = make_run("a", data=(train,))
    run = make_run("b", data=(train, use("X_test", "nbfp1:2", "test")))
    assert data_mark(base, run).kind == "same"
    assert data_mark(run, base).kind == "same"


def test_runs_tested_on_different_data_differ():
    train = use("X", "nbfp1:1")
    base = make_run("a", data=(train, use("X_valid", "nbfp1:3", "test")))
    run = make_run("b", data=(train, use("X_test", "nbfp1:2", "test")))
    assert data_mark(base, run).text == "X_test ≠"


@pytest.mark.parametrize(
    ("was", "now", "text"),
    [
        pytest.param(("1", "2"), ("2", "1"), "same", id="the same cells in another order"),
        pytest.param(("1", "2"), ("1", "3"), "1 cell", id="one edited"),
        pytest.param(("1",), ("1", "2", "3"), "2 cells", id="two added"),
        pytest.param((), ("1",), "–", id="not recorded"),
    ],
)
def test_the_code_mark_counts_the_cells_that_differ(was, now, text):
    base, run = make_run("a", code_digests=was), make_run("b", code_digests=now)
    assert code_mark(base, run).text == text


ENVIRONMENTS = {
    "sha256:1": Environment(
        "sha256:1", {"python": {"version": "3.11.2"}, "packages": {"numpy": "2.3", "pandas": "3"}}
    ),
    "sha256:2": Environment(
        "sha256:2", {"python": {"version": "3.11.2"}, "packages": {"numpy": "2.4", "pandas": "3"}}
    ),
    "sha256:3": Environment("sha256:3", {"python": {"version": "3.12.0"}, "packages": {}}),
}


@pytest.mark.parametrize(
    ("was", "now", "text"),
    [
        ("sha256:1", "sha256:1", "same"),
        ("sha256:1", "sha256:2", "numpy"),
        ("sha256:1", "sha256:3", "3 changes"),
        ("sha256:1", "sha256:unseen", "changed"),
        (None, "sha256:1", "–"),
    ],
)
def test_the_environment_mark_names_what_differs(was, now, text):
    base, run = make_run("a", environment=was), make_run("b", environment=now)
    assert environment_mark(base, run, ENVIRONMENTS).text == text


def test_an_environment_that_differs_says_how():
    base, run = make_run("a", environment="sha256:1"), make_run("b", environment="sha256:2")
    assert environment_mark(base, run, ENVIRONMENTS).details == ("numpy 2.3 → 2.4",)


# --- durations, curves, documents -------------------------------------------------------------


def test_the_duration_is_that_of_the_fits_if_every_run_has_it():
    fitted = make_run("aaaa1", busy_s=9.0, models=(ModelFit("f", "m", "SVC", 0.4),))
    assert compare_runs([fitted]).duration_kind == "fit"
    assert compare_runs([fitted]).rows[0].duration_s == 0.4
    mixed = compare_runs([fitted, make_run("bbbb1", busy_s=2.0)])
    assert mixed.duration_kind == "time"
    assert {row.duration_s for row in mixed.rows} == {9.0, 2.0}


def test_a_long_curve_keeps_its_extremes():
    values = [0.0] * 10_000
    values[1234] = 5.0
    run = make_run("aaaa1", {"loss": Metric(0.0, 9999, 10_000)})
    cell = compare_runs([run], series={("aaaa1", "loss"): values}).rows[0].metrics["loss"]
    assert len(cell.curve) <= 200
    assert max(cell.curve) == 5.0


def test_the_document_has_the_promised_keys_and_is_strict_json():
    runs = [
        make_run("aaaa1", {"auc": 0.8, "loss": Metric(math.nan, 2, 3)}, {"C": 1.0}),
        make_run("bbbb1", {"auc": 0.9}, {"C": 2.0}),
    ]
    series = {("aaaa1", "loss"): [1.0, math.inf, math.nan]}
    document = json.loads(to_json(compare_runs(runs, series=series).to_dict()))
    assert [run["id"] for run in document["runs"]] == ["bbbb1", "aaaa1"]
    assert document["differs"] == {"params": ["C"], "metrics": ["auc"]}
    assert document["best"] == {"auc": "bbbb1"}
    assert document["rows"][1]["metrics"]["loss"]["curve"] == [1.0, None, None]


def test_a_bounded_document_says_how_many_runs_there_are():
    runs = [make_run(f"{i:04x}") for i in range(300)]
    document = compare_runs(runs).to_dict(limit=200)
    assert (len(document["rows"]), document["total"]) == (200, 300)


def test_the_frame_has_a_row_per_run_and_all_parameters():
    runs = [
        make_run("aaaa1", {"auc": 0.8}, {"C": 1.0, "tol": 0.1}),
        make_run("bbbb1", {"auc": 0.9}, {"C": 2.0, "tol": 0.1}),
    ]
    frame = compare_runs(runs).df
    assert list(frame.index) == ["bbbb", "aaaa"]
    assert list(frame["params.C"]) == [2.0, 1.0]
    assert list(frame["metrics.auc"]) == [0.9, 0.8]
    assert "params.tol" in frame


def test_a_frame_without_pandas_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match="pip install pandas"):
        _ = compare_runs([make_run("aaaa1")]).df
