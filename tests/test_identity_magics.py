"""The magics of identity on a real kernel: what differs, what data is, where it came from."""

from __future__ import annotations

import json
import sys
import time

import pytest
from conftest import Kernel

from mlops_nb.cli import main
from mlops_nb.store import Store

CELLS = (
    "%load_ext mlops_nb\n%mlops_track churn --interactive",
    """
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
table = pd.DataFrame({"age": range(40), "late": [i > 20 for i in range(40)]})
table.to_csv("table.csv", index=False)
""",
    "table[['age']]",
    "X = _",
    "model = LogisticRegression(C=1.0)\nmodel.fit(X, table.late)",
    "accuracy = accuracy_score(table.late, model.predict(X))",
    "model = LogisticRegression(C=0.0001)\nmodel.fit(X, table.late)",
    "accuracy = accuracy_score(table.late, model.predict(X))",
)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A kernel in which two models were fitted and judged."""
    kernel = Kernel(
        sys.executable, tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("home")
    )
    for cell in CELLS:
        assert kernel.run(cell).status == "ok"
    yield kernel
    kernel.close()


def runs(kernel):
    with Store.open(kernel.folder / ".mlops") as store:
        store.refresh()
        return store.runs()[::-1]


def test_a_diff_of_two_runs_names_the_parameter(kernel):
    reply = kernel.run("%mlops_diff @-2 @-1")
    assert "params  C 1.0 → 0.0001" in reply.result
    assert "nothing but C" in reply.result
    document = reply.bundles("execute_result")[0]["application/vnd.mlops-nb.diff.v1+json"]
    assert document["params"] == [{"name": "C", "change": "changed", "old": 1.0, "new": 0.0001}]


def test_the_functions_say_the_same_as_the_magics(kernel):
    kernel.run("import mlops_nb as mn")
    assert kernel.run("mn.diff('@-2', '@-1')").result == kernel.run("%mlops_diff @-2 @-1").result
    assert kernel.run("mn.lineage('model')").result == kernel.run("%mlops_lineage model").result


def test_a_run_needs_the_cell_whose_result_it_took_from_memory(kernel):
    with Store.open(kernel.folder / ".mlops") as store:
        store.refresh()
        run = store.runs()[0]
        sources = [execution.source for execution in store.executions(run.executions)]
    assert "table[['age']]" in sources


def test_lineage_leads_from_the_table_to_the_metric(kernel):
    text = kernel.run("%mlops_lineage metric:train.accuracy").result
    assert "[3] ──▶ [4] X 40×1 ──▶ [7] model ──▶ [8] train.accuracy 0.875" in text
    document = json.loads(kernel.run("%mlops_lineage train.accuracy --json").stdout)
    assert {"nodes", "edges", "focus"} <= set(document)


def test_lineage_downstream_of_a_variable(kernel):
    text = kernel.run("%mlops_lineage variable:X --downstream").result
    assert "What came of variable X" in text
    assert "model" in text


def test_data_is_described_and_compared(kernel):
    assert "age" in kernel.run("%mlops_data profile table").result
    assert "nbfp1:" in kernel.run("%mlops_data fingerprint table").result
    assert "table.csv: same" in kernel.run("%mlops_data diff table.csv table").result
    found = runs(kernel)[-1].id[:6]
    assert "same" in kernel.run(f"%mlops_data diff {found}:X X").result


def test_the_environment_is_shown_and_compared(kernel):
    assert "Python" in kernel.run("%mlops_env").result
    assert kernel.run("%mlops_env diff @-1").result.startswith("now against")


@pytest.fixture(scope="module")
def described(kernel):
    """The same kernel, once the drainer has found out what was imported."""
    end = time.monotonic() + 30
    with Store.open(kernel.folder / ".mlops") as store:
        store.refresh()
        run = store.runs()[0]
        while "details" not in store.environment(run.environment).content:
            assert time.monotonic() < end
            time.sleep(0.1)
            store.refresh()
    return kernel


def test_what_a_run_ran_on_is_shown_with_what_its_session_imported(described):
    kernel = described
    reply = kernel.run("%mlops_env show @-1")
    assert "Python        version" in reply.result
    assert "imported" in reply.result
    (document,) = [
        value
        for mime, value in reply.bundles("execute_result")[0].items()
        if mime.startswith("application/vnd.mlops-nb.environment")
    ]
    imported = document["details"]["imported"]
    assert imported["pandas"] == document["packages"]["pandas"]
    assert "hypothesis" not in imported
    assert document["hardware"]["cpus"]


def test_a_lock_of_a_run_is_written_where_it_is_asked_for(described):
    kernel = described
    reply = kernel.run("%mlops_env lock @-1 -o run.lock.txt --offline")
    assert "no package index was asked" in reply.result
    text = (kernel.folder / "run.lock.txt").read_text()
    assert "\npandas==" in text
    assert "\nhypothesis==" not in text
    kernel.run("%mlops_env lock @-1 -o all.lock.txt --offline --all")
    assert "\nhypothesis==" in (kernel.folder / "all.lock.txt").read_text()
    assert "which takes 1" in kernel.run("%mlops_env lock @-1 @-2").content["evalue"]


def test_the_commands_of_environments_say_the_same(described, own_settings, monkeypatch, capfd):
    kernel = described
    monkeypatch.chdir(kernel.folder)

    def said(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["env", *arguments])
        assert ended.value.code == 0
        return capfd.readouterr().out

    document = json.loads(said("show", "@-1", "--format", "json"))
    assert document["run"] == runs(kernel)[-1].id[:4]
    assert "pandas" in document["details"]["imported"]
    assert said("show", "--format", "md").startswith("- **run**")
    document = json.loads(said("lock", "-o", "cli.txt", "--offline", "--format", "json"))
    assert (document["kind"], document["verified"]) == ("requirements", False)
    own = (kernel.folder / "cli.txt").read_text()
    kernel.run("%mlops_env lock @-1 -o cli.txt --offline")
    assert (kernel.folder / "cli.txt").read_text() == own


def test_a_difference_of_data_shows_itself(kernel):
    kernel.run("import mlops_nb as mn\nolder = table.assign(age=table.age + (table.index == 3))")
    reply = kernel.run("mn.diff_data(table, older)")
    bundle = reply.bundles("execute_result")[0]
    assert bundle["text/plain"].startswith(
        "column age changed (2 % of values, row 3; mean 19.50 → 19.52)"
    )
    assert "19.500 → 19.525" in bundle["text/plain"]
    assert "<table" in bundle["text/html"]
    assert bundle["application/vnd.mlops-nb.data-diff.v1+json"]["change"] == "columns changed"
    assert "ColumnFingerprint(" not in kernel.run("[mn.diff_data(table, older)]").result
    assert kernel.run("mn.diff_data([1], print)").result == "list → builtin_function_or_method"


@pytest.mark.parametrize(
    "line",
    ["%mlops_diff nope nada", "%mlops_data profile nope", "%mlops_lineage nope"],
)
def test_what_is_not_there_is_said_in_one_line_without_a_traceback(kernel, line):
    reply = kernel.run(line)
    assert reply.status == "error"
    shown = [m["content"]["traceback"] for m in reply.messages if m["msg_type"] == "error"]
    assert len(shown[0]) == 1
    assert "nope" in shown[0][0]
