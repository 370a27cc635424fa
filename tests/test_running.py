"""Pipelines really run: each step in a process of its own, with a run, from cache where it can."""

from __future__ import annotations

import json

import pytest
from pipeline_runs import Pipelines

from mlops_nb.errors import BadParameter
from mlops_nb.errors.pipelines import BadPipeline, StepInputsMissing, UnknownStep

FLOW = (
    ("parameters", "size = 3\nfactor: float = 2.0\nlimit = size * 10"),
    (
        "step:load",
        "import mlops_nb as mn\nrows = list(range(size))\nmn.log_metric('rows', len(rows))",
    ),
    ("step:scale prev:load", "scaled = [row * factor for row in rows]"),
    ("step:check prev:load output:is_small", "is_small = len(rows) < limit"),
    (
        "step:report prev:scale prev:check output:total",
        "total = sum(scaled)\nmn.log_metric('total', total)\nprint(total)",
    ),
)


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """One run of a small pipeline, looked at by many tests."""
    pipelines = Pipelines(tmp_path_factory.mktemp("flow"))
    path = pipelines.write(*FLOW)
    outcome = pipelines.run(path, params={"size": "4"}, jobs=2, pages=True)
    return pipelines, path, outcome


def test_a_pipeline_gives_what_its_steps_give(flow):
    _, _, outcome = flow
    assert outcome.status == "finished", outcome.document()
    assert outcome.values("report", "total") == 12.0
    assert outcome.values("check", "is_small") is True
    assert outcome.exit_code == 0
    assert outcome.outputs["total"]["step"] == "report"


def test_each_step_is_a_run_of_its_own_below_that_of_the_pipeline(flow):
    pipelines, path, outcome = flow
    with pipelines.store() as store:
        whole = store.get_run(outcome.run)
        steps = {step.name: store.get_run(step.run) for step in outcome.steps}
    assert (whole.kind, whole.status, whole.notebook) == ("pipeline", "finished", str(path))
    assert {run.kind for run in steps.values()} == {"step"}
    assert {run.parent for run in steps.values()} == {whole.id}
    assert {run.status for run in steps.values()} == {"finished"}
    assert {run.notebook for run in steps.values()} == {str(path)}
    assert {name: run.name for name, run in steps.items()} == {name: name for name in steps}
    assert steps["report"].tags["step"] == "report"


def test_metrics_and_parameters_of_steps_are_seen_at_the_pipeline(flow):
    pipelines, _, outcome = flow
    with pipelines.store() as store:
        whole = store.get_run(outcome.run)
        load = store.get_run(pipelines.step(outcome, "load").run)
    assert {key: metric.value for key, metric in whole.metrics.items()} == {"rows": 4, "total": 12}
    assert load.metrics["rows"].value == 4
    params = {key: (param.value, param.is_default) for key, param in whole.params.items()}
    assert params["size"] == (4, False)
    assert params["factor"] == (2.0, True)
    assert params["limit"][0] == 40


def test_executed_notebooks_are_kept_as_notebook_and_page(flow):
    pipelines, _, outcome = flow
    step = pipelines.step(outcome, "report")
    with pipelines.store() as store:
        kept = {one.name: one for one in store.get_run(step.run).artifacts}
        content = json.loads(store.read_blob(kept["report.ipynb"].digest))
    assert set(kept) == {"report.ipynb", "report.html"}
    printed = [o for cell in content["cells"] for o in cell.get("outputs", ())]
    assert any("12.0" in "".join(output.get("text", "")) for output in printed)
    assert json.loads(open(step.notebook).read())["nbformat"] == 4  # noqa: PTH123, SIM115


def test_what_happens_is_told_in_order(flow):
    pipelines, _, _ = flow
    states = [(seen.step, seen.state) for seen in pipelines.seen if seen.what == "state"]
    assert states[:2] == [("load", "running"), ("load", "done")]
    assert states[-2:] == [("report", "running"), ("report", "done")]
    assert pipelines.seen[0].steps == ("load", "scale", "check", "report")
    cells = [seen for seen in pipelines.seen if seen.what == "cell" and seen.step == "load"]
    assert {seen.word for seen in cells} == {"started", "done"}
    assert all(seen.total == cells[0].total for seen in cells)


def test_the_store_knows_every_step(flow):
    pipelines, _, outcome = flow
    with pipelines.store() as store:
        rows = {row.step: row for row in store.step_runs(outcome.run)}
    assert {name: row.state for name, row in rows.items()} == dict.fromkeys(
        ("load", "scale", "check", "report"), "done"
    )
    assert all(row.key.startswith("sha256:") and row.notebook for row in rows.values())


def test_nothing_runs_twice(flow):
    pipelines, path, first = flow
    outcome = pipelines.run(path, params={"size": 4})
    assert set(pipelines.states(outcome).values()) == {"cached"}
    assert {s.cached_from for s in outcome.steps} == {s.run for s in first.steps}
    assert outcome.values("report", "total") == 12.0
    assert outcome.metrics == first.metrics
    assert outcome.document()["steps"][0] | {"cached": True} == outcome.document()["steps"][0]


def test_only_what_is_asked_for_runs_anew(flow):
    pipelines, path, _ = flow
    outcome = pipelines.run(path, params={"size": 4}, only=("check",), force=("check",))
    assert pipelines.states(outcome) == {"load": "cached", "check": "done"}
    assert pipelines.step(outcome, "check").reasons == ("check ran because of --force",)


def test_a_parameter_runs_what_reads_it_and_what_hangs_on_that(flow):
    pipelines, path, _ = flow
    outcome = pipelines.run(path, params={"size": 4, "factor": 3}, until="report")
    assert pipelines.states(outcome) == {
        "load": "cached",
        "scale": "done",
        "check": "cached",
        "report": "done",
    }
    assert outcome.values("report", "total") == 18.0
    assert any("factor" in reason for reason in pipelines.step(outcome, "scale").reasons)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"siez": 4}, r'no parameter "siez".*Did you mean "size"', id="unknown"),
        pytest.param({"size": "many"}, r'"size" is an int', id="wrong type"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(flow, params, message):
    pipelines, path, _ = flow
    with pytest.raises(BadParameter, match=message):
        pipelines.run(path, params=params)
    assert pipelines.seen == []


def test_an_unknown_step_is_refused_before_anything_runs(flow):
    pipelines, path, _ = flow
    with pytest.raises(UnknownStep, match="scael"):
        pipelines.run(path, first="scael")
    assert pipelines.seen == []


def test_a_condition_that_is_none_is_refused_before_anything_runs(tmp_path):
    pipelines = Pipelines(tmp_path)
    path = pipelines.write(("step:a", "x = 1"), ("step:b when:metrics.auc>>1", "y = x"))
    with pytest.raises(BadPipeline, match="when"):
        pipelines.run(path)
    assert pipelines.seen == []


def test_a_step_alone_needs_results_of_those_above_it(tmp_path):
    pipelines = Pipelines(tmp_path)
    path = pipelines.write(("step:a", "x = 1"), ("step:b output:y", "y = x"))
    with pytest.raises(StepInputsMissing, match=r"No results of step a .* and x of it is needed"):
        pipelines.run(path, only=("b",))


def test_conditions_decide_by_metrics_and_a_missing_live_model_is_said(tmp_path):
    pipelines = Pipelines(tmp_path)
    path = pipelines.write(
        ("parameters", "full = True"),
        ("step:train", "import mlops_nb as mn\nmn.log_metric('auc', 0.8)\nx = 1"),
        ("step:good prev:train when:metrics.auc>0.7", "y = x + 1"),
        ("step:better prev:train when:metrics.auc>live.auc", "z = x + 2"),
        ("step:below prev:better output:w", "w = z"),
        ("step:beside prev:better output:v", "v = 5"),
    )
    outcome = pipelines.run(path, jobs=2)
    assert pipelines.states(outcome) == {
        "train": "done",
        "good": "done",
        "better": "skipped",
        "below": "skipped",
        "beside": "done",
    }
    text = pipelines.step(outcome, "better").error["message"]
    assert text == (
        "when: metrics.auc>live.auc is false "
        "(metrics.auc = 0.8; live.auc: there is no live model yet)"
    )
    assert outcome.status == "finished"


def test_a_fanned_out_step_has_a_run_for_each_piece_and_is_joined(tmp_path):
    pipelines = Pipelines(tmp_path)
    path = pipelines.write(
        ("parameters", "seeds = [1, 2]"),
        ("step:train foreach:seeds", "scores = {seed: seed * 10 for seed in seeds}"),
        ("step:best join output:best", "best = max(scores.values())"),
    )
    first = pipelines.run(path, jobs=2)
    assert pipelines.states(first) == {"train[0]": "done", "train[1]": "done", "best": "done"}
    assert first.values("best", "best") == 20
    assert first.values("train[0]", "scores") == {1: 10}
    more = pipelines.run(path, params={"seeds": "[1, 2, 3]"}, jobs=2)
    assert more.values("best", "best") == 30
    assert set(pipelines.states(more)) == {
        "train[0]",
        "train[1]",
        "train[2]",
        "best",
    }


def test_steps_run_where_the_notebook_is_and_see_what_it_would_see(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("JPY_SESSION_NAME", "/somewhere/else.ipynb")
    pipelines = Pipelines(tmp_path)
    source = """
import os, threading
from pathlib import Path
found = {
    "folder": str(Path.cwd()),
    "threads": [os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")],
    "session": os.environ.get("JPY_SESSION_NAME"),
    "hash": os.environ["PYTHONHASHSEED"],
    "file": Path("beside.txt").read_text(),
}
"""
    path = pipelines.write(("step:look output:found", source))
    (tmp_path / "beside.txt").write_text("here")
    found = pipelines.run(path, jobs=2).values("look", "found")
    assert found["folder"] == str(tmp_path)
    assert found["threads"][0] == "3"
    assert found["threads"][1] is not None
    assert (found["session"], found["hash"], found["file"]) == (None, "0", "here")
