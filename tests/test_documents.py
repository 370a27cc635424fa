from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.documents import (
    environment_document,
    execution_document,
    execution_from_document,
    plain,
    run_document,
    run_from_document,
    runs_document,
    to_json,
)
from mlops_nb.model import (
    Artifact,
    CellError,
    DataUse,
    Environment,
    Execution,
    Metric,
    ModelFit,
    Output,
    Param,
    Run,
)

NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=timezone.utc)

RUN = Run(
    id="7f3a9c01d2e4b5a6",
    name="churn",
    status="finished",
    kind="interactive",
    started_at=NOON,
    ended_at=NOON + timedelta(seconds=3.5),
    busy_s=3.1,
    experiment="q4",
    group="g1",
    attempt=12,
    notebook="churn.ipynb",
    session="s1",
    params={
        "C": Param(1.0, is_default=True, fit="f1"),
        "steps": Param(["scale", None], version=2),
    },
    metrics={"auc": Metric(0.912, binding="object", fit="f1", execution="e2")},
    tags={"stage": "dev"},
    verdict={"label": "linear", "reasons": []},
    git={"commit": "abc", "branch": "main", "dirty": False},
    environment="sha256:e1",
    data=(
        DataUse(
            "X", "train", "pandas.DataFrame", "nbfp1:aa", "exact", 100, 2, "nbfp1:s", {"age": "aa"}
        ),
    ),
    models=(ModelFit("f1", "model", "sklearn.linear_model.LogisticRegression", 0.4, "e2"),),
    artifacts=(Artifact("roc.png", "figure", "image/png", "sha256:p", 12, "e2"),),
    body=("e2",),
    setup=("e1",),
    code_digests=("xxh3:1", "xxh3:2"),
)
EXECUTION = Execution(
    id="e2",
    session="s1",
    order=2,
    status="error",
    source="model.fit(X)",
    code_digest="xxh3:2",
    started_at=NOON,
    duration_s=0.5,
    cpu_s=0.4,
    cell_id="c2",
    cell_index=1,
    transformed="model.fit(X)\n",
    execution_count=2,
    error=CellError("ValueError", "bad", "Traceback …", 1),
    reads=("X",),
    binds=("model",),
    flags=("dynamic",),
    outputs=(Output("e2", 0, "stream", "stdout", "text/plain", 5, "sha256:t", is_cut=True),),
)


def test_a_run_has_the_documented_keys():
    document = run_document(RUN)
    promised = (
        "id name experiment status group attempt parent kind notebook started_at ended_at "
        "duration_s busy_s params metrics tags verdict error git environment data models "
        "artifacts executions"
    )
    assert set(promised.split()) <= set(document)
    assert document["started_at"] == "2026-11-21T12:00:00.250000Z"
    assert document["duration_s"] == 3.5
    assert document["params"] == {"C": 1.0, "steps": ["scale", None]}
    assert document["metrics"]["auc"]["value"] == 0.912
    assert document["metrics"]["auc"]["binding"] == "object"
    assert document["data"][0]["columns"] == 2
    assert document["executions"] == ["e1", "e2"]


def test_an_execution_has_the_documented_keys():
    promised = (
        "id session order cell_id source code_digest status started_at duration_s cpu_s error "
        "reads binds mutates deletes files outputs inferred"
    )
    assert set(promised.split()) <= set(execution_document(EXECUTION))


def test_a_run_comes_back_as_it_was():
    assert run_from_document(json.loads(to_json(run_document(RUN)))) == RUN


def test_an_execution_comes_back_as_it_was():
    document = json.loads(to_json(execution_document(EXECUTION)))
    assert execution_from_document(document) == EXECUTION


def test_a_run_shown_with_its_executions_comes_back_with_their_ids():
    first = replace(EXECUTION, id="e1")
    document = run_document(RUN, executions=[first, EXECUTION])
    assert document["executions"][1]["source"] == "model.fit(X)"
    assert run_from_document(document).executions == ("e1", "e2")


def test_keys_of_a_newer_version_are_passed_over():
    document = run_document(RUN) | {"carbon_kg": 1}
    document["models"][0]["quantised"] = True
    assert run_from_document(document) == RUN


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_stay_valid_json_and_come_back(value):
    run = replace(RUN, params={"missing": Param(value)}, metrics={"loss": Metric(value)})
    document = json.loads(to_json(run_document(run)))
    assert document["metrics"]["loss"]["value"] is None
    back = run_from_document(document)
    assert str(back.params["missing"].value) == str(value)
    assert str(back.metrics["loss"].value) == str(value)


def test_a_parameter_that_is_the_word_nan_stays_a_word():
    run = replace(RUN, params={"fill": Param("NaN")})
    assert run_from_document(run_document(run)).params["fill"].value == "NaN"


def test_column_digests_are_left_out_of_comparisons():
    assert "column_digests" not in run_document(RUN, details=False)["data"][0]


def test_a_list_of_runs_says_how_many_there_are():
    assert runs_document([RUN], total=1000)["total"] == 1000
    assert [run["id"] for run in runs_document([RUN])["runs"]] == [RUN.id]


def test_an_environment_carries_its_digest():
    document = environment_document(Environment("sha256:e1", {"python": {"version": "3.11.2"}}))
    assert document == {"digest": "sha256:e1", "python": {"version": "3.11.2"}}


def test_nothing_is_called_on_a_value_of_unknown_type():
    class Explosive:
        def __repr__(self):
            raise AssertionError

        __str__ = __repr__

    assert plain({"a": Explosive()}) == {"a": "Explosive"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_whatever_is_logged_can_be_written_and_read_as_strict_json(value):
    text = to_json(plain(value))
    text.encode("utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == plain(value)
