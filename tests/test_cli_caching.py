"""What the command line says of runs of pipelines, and of results that are kept."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from events import SECOND, T0, A, B, C, run_started

from mlops_nb.cli import main
from mlops_nb.documents import iso
from mlops_nb.model import RunChanged, as_datetime
from mlops_nb.model.pipelines import (
    CachedStep,
    Packed,
    PackedFile,
    Pipeline,
    PipelineParameter,
    Step,
    StepRun,
)
from mlops_nb.pipeline.caching import key_of
from mlops_nb.store import Store
from mlops_nb.store.spool.owner import identity

PIPELINE = "9ab1000000000000"
OLDER = "1234000000000000"
SOURCES = {0: "C = 1.0", 1: "rows = [1]", 2: "model = sum(rows) * C"}
DEAD = 2**22 + 1
DAY_NS = 86_400 * SECOND


def made(C_value, sources=SOURCES):
    step = Step("train", (2,), inputs={"rows": "load"}, params=("C",), outputs=(("train_out",),))
    load = Step("load", (1,), outputs=(("rows",),))
    parameters = (PipelineParameter("C"),)
    plan = Pipeline("churn", parameter_cells=(0,), parameters=parameters, steps=(load, step))
    rows = Packed(("rows",), "json", (), "nbfp1:1", {"rows": "nbfp1:1"})
    return key_of(plan, step, sources, {"rows": rows}, {"C": C_value}, folder=Path())


def result(step, run, at_ns, data=b"value", key="sha256:k", parts=None, **given):
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    unit = Packed((f"{step}_out",), "npy", (PackedFile("0.npy", digest, len(data)),), "d")
    return CachedStep(
        key, "churn", step, run, at_ns, parts or {}, (unit,), duration_s=2.5, **given
    )


@pytest.fixture
def store(tmp_path, monkeypatch, own_settings):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / ".git").mkdir()
    (tmp_path / "churn.ipynb").touch()
    with Store.open(tmp_path / ".mlops", create=True) as opened:
        yield opened


@pytest.fixture
def cli(store, capfd):
    """Call the command line in this process; gives (exit code, output, errors)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exited:
            main(arguments)
        out, err = capfd.readouterr()
        return exited.value.code, out, err

    return call


def lines_of(text):
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def pipeline_run(store, id_, *, at_ns=T0, status="finished", name="churn"):
    notebook = str(Path("churn.ipynb").resolve())
    store.apply([run_started(id_, name=name, kind="pipeline", at_ns=at_ns, notebook=notebook)])
    if status != "running":
        changes = {"status": status, "ended_at_ns": at_ns + 3 * SECOND}
        store.apply([RunChanged(id_, at_ns + 3 * SECOND, changes)])


# --- status -------------------------------------------------------------------------------------


def test_without_pipelines_it_says_how_to_run_one(cli):
    code, out, _ = cli("status")
    assert (code, out.strip()) == (
        0,
        "No pipeline has run here yet. Run one:  mlops-nb run NOTEBOOK",
    )


def test_runs_of_pipelines_come_newest_first_with_the_states_of_their_steps(store, cli):
    pipeline_run(store, OLDER)
    pipeline_run(store, PIPELINE, at_ns=T0 + DAY_NS, status="failed")
    store.record_step(StepRun(PIPELINE, "load", "cached", cached_from=A))
    store.record_step(StepRun(PIPELINE, "clean", "done", run=B))
    store.record_step(StepRun(PIPELINE, "train", "failed"))
    store.record_step(StepRun(PIPELINE, "report", "upstream_failed"))
    code, out, _ = cli("status")
    assert code == 0
    _, first, second = lines_of(out)[:3]
    assert first.startswith("9ab10000 churn failed 1 cached · 1 done · 1 failed · 1 not run")
    assert second.startswith("12340000 churn finished")


def test_a_run_is_shown_step_by_step(store, cli):
    pipeline_run(store, PIPELINE, status="failed")
    store.record_step(StepRun(PIPELINE, "load", "cached", cached_from=A))
    times = {"started_at_ns": T0, "ended_at_ns": T0 + 2 * SECOND}
    store.record_step(StepRun(PIPELINE, "clean", "done", run=B, **times))
    error = {"type": "ValueError", "message": "no rows", "cell": 4, "line": 2}
    store.record_step(StepRun(PIPELINE, "train", "failed", run=C, error=error, attempt=3))
    store.record_step(
        StepRun(PIPELINE, "rest", "upstream_failed", error={"message": "train failed"})
    )
    code, out, _ = cli("status", "9ab1")
    found = lines_of(out)
    assert code == 0
    assert found[0].startswith("churn run 9ab10000 failed")
    assert "✓ load cached – aaaaaaaa 1 results of run aaaaaaaa" in found
    assert "✓ clean done 2.0 s bbbbbbbb 1" in found
    assert "✕ train failed – cccccccc 3 no rows" in found
    assert "– rest not run – – 1 train failed" in found
    assert "✕ train, cell 4 ValueError: no rows" in found


def test_a_step_that_runs_is_shown_with_who_runs_it_and_its_lease(store, cli):
    pipeline_run(store, PIPELINE, status="running")
    assert store.claim_step(PIPELINE, "train", identity(), 3600)
    _, out, _ = cli("status", "9ab1")
    (row,) = [line for line in lines_of(out) if line.startswith("◐")]
    assert f"process {identity()['pid']} on " in row
    assert "lease 59 min" in row or "lease 1 h" in row
    assert "(train)" in cli("status")[1]


def test_a_run_whose_driver_died_is_lost_not_running(store, cli):
    pipeline_run(store, PIPELINE, status="running")
    assert store.claim_step(PIPELINE, "train", {**identity(), "pid": DEAD}, 3600)
    _, out, _ = cli("status")
    assert "9ab10000 churn lost 1 lost" in " ".join(out.split())
    assert "mlops-nb run --resume 9ab1" in out
    _, out, _ = cli("status", "9ab1", "--format", "json")
    document = json.loads(out)
    assert document["status"] == "lost"
    assert document["steps"][0]["step_state"] == "lost"


def test_a_run_of_which_only_steps_are_known_is_shown_too(store, cli):
    assert store.claim_step(PIPELINE, "train", identity(), 3600)
    assert "9ab10000 – running 1 running (train)" in " ".join(cli("status")[1].split())
    assert "9ab10000" in cli("status", "9ab1")[1]


def test_a_step_names_the_run_of_its_pipeline(store, cli):
    pipeline_run(store, PIPELINE)
    store.apply([run_started(A, name="train", kind="step", parent=PIPELINE)])
    store.record_step(StepRun(PIPELINE, "train", "done", run=A))
    assert lines_of(cli("status", A[:6])[1])[0].startswith("churn run 9ab10000 finished")


def test_a_notebook_names_its_runs(store, cli):
    pipeline_run(store, PIPELINE)
    pipeline_run(store, OLDER, name="other")
    assert len(json.loads(cli("status", "churn.ipynb", "--format", "json")[1])["runs"]) == 2
    code, out, _ = cli("status", "else.ipynb")
    assert (code, "No pipeline has run here yet" in out) == (0, True)


def test_a_run_that_is_not_there_is_a_usage_error(cli):
    code, _, err = cli("status", "beef")
    assert code == 2
    assert 'No run matches "beef"' in err


@pytest.mark.parametrize("format_", ["json", "md", "table"])
def test_every_format_is_written(store, cli, format_):
    pipeline_run(store, PIPELINE)
    store.record_step(StepRun(PIPELINE, "a|b <i>", "done", run=A))
    store.save_cached(result("a|b <i>", A, T0))
    for arguments in (["status"], ["status", "9ab1"], ["cache", "ls"], ["cache", "rm", "--all"]):
        code, out, err = cli(*arguments, "--format", format_)
        assert (code, err) == (0, "")
        assert out.strip()
        if format_ == "json":
            json.loads(out)


# --- cache ls and rm ----------------------------------------------------------------------------


def test_results_are_listed_with_what_they_hold(store, cli):
    store.save_cached(result("train", A, T0, b"x" * 3000))
    store.save_cached(replace(result("load", B, T0 + 1, b"x" * 3000), used_at_ns=T0 + SECOND))
    _, out, _ = cli("cache", "ls")
    assert "2 results 3.0 kB" in " ".join(out.split()), "equal bytes are kept once"
    assert "train aaaaaaaa" in " ".join(out.split())
    assert "2.5 s" in out
    assert "train_out" in out
    document = json.loads(cli("cache", "ls", "churn", "--step", "load", "--format", "json")[1])
    assert [one["step"] for one in document["results"]] == ["load"]
    assert document["results"][0]["used_at"] == iso(as_datetime(T0 + SECOND))
    assert "No results of steps of pipeline spam" in cli("cache", "ls", "spam")[1]


def test_what_is_removed_is_said_with_what_becomes_free(store, cli):
    store.save_cached(result("train", A, T0, b"x" * 3000))
    store.save_cached(result("train", B, T0, b"y" * 2000, key="sha256:2"))
    store.save_cached(result("load", C, T0, b"y" * 2000))
    code, out, _ = cli("cache", "rm", "--step", "train")
    assert code == 0
    assert lines_of(out) == [
        "removed 2 results: train ×2",
        "3.0 kB go with the next mlops-nb store gc --yes",
    ]
    assert [one.step for one in store.cached_steps()] == ["load"]


def test_what_was_used_lately_stays_when_the_old_goes(store, cli):
    store.save_cached(result("train", A, T0))
    store.save_cached(result("load", B, T0))
    store.touch_cached("sha256:k", B)
    assert lines_of(cli("cache", "rm", "--older-than", "7d")[1])[0] == "removed 1 result: train"
    assert [one.step for one in store.cached_steps()] == ["load"]


def test_what_a_running_pipeline_uses_stays_and_that_is_said(store, cli):
    store.save_cached(result("load", A, T0))
    store.record_step(StepRun(PIPELINE, "load", "cached", cached_from=A))
    assert store.claim_step(PIPELINE, "train", identity(), 3600)
    assert lines_of(cli("cache", "rm", "--all")[1]) == [
        "removed 0 results",
        "1 result is used by a pipeline that runs now, and stayed",
    ]


@pytest.mark.parametrize("age", ["7", "d", "-1d", "7 years", "", "1e3d", "nan"])
def test_an_age_that_is_none_is_a_usage_error(store, cli, age):
    store.save_cached(result("train", A, T0))
    code, _, err = cli("cache", "rm", "--older-than", age)
    assert code == 2
    assert "no length of time" in err
    assert len(store.cached_steps()) == 1


def test_nothing_is_removed_without_a_word_about_which(store, cli):
    store.save_cached(result("train", A, T0))
    code, _, err = cli("cache", "rm")
    assert code == 2
    assert "--all" in err
    assert len(store.cached_steps()) == 1


# --- cache explain ------------------------------------------------------------------------------


@pytest.fixture
def explained(store):
    """A pipeline that ran twice: the second time with another parameter."""
    key, parts = made(1.0)
    pipeline_run(store, OLDER)
    store.save_cached(result("train", A, T0, key=key, parts=parts))
    store.record_step(
        StepRun(OLDER, "train", "done", run=A, key=key, parts=parts, started_at_ns=T0 - 1)
    )
    key, parts = made(0.5)
    pipeline_run(store, PIPELINE, at_ns=T0 + DAY_NS)
    times = {"started_at_ns": T0 + DAY_NS}
    store.record_step(StepRun(PIPELINE, "train", "done", run=B, key=key, parts=parts, **times))
    store.save_cached(result("train", B, T0 + DAY_NS + 1, key=key, parts=parts))
    return store


def test_why_a_step_ran_is_said_in_a_sentence(explained, cli):
    code, out, _ = cli("cache", "explain", "train")
    assert code == 0
    assert lines_of(out)[0] == "train ran because parameter C changed from 1.0 to 0.5"
    assert "compared with run aaaaaaaa" in out


def test_a_run_can_be_chosen(explained, cli):
    _, out, _ = cli("cache", "explain", "train", "--run", "1234")
    assert lines_of(out)[0] == "train ran because nothing like it is in the store"
    document = json.loads(cli("cache", "explain", "train", "--run", "9ab1", "--format", "json")[1])
    assert document["steps"][0]["reasons"] == [
        "train ran because parameter C changed from 1.0 to 0.5"
    ]
    assert document["steps"][0]["compared_with"] == A


def test_a_hit_is_explained_as_one(explained, cli):
    key, parts = made(0.5)
    explained.record_step(
        StepRun(PIPELINE, "train", "cached", cached_from=B, key=key, parts=parts)
    )
    assert lines_of(cli("cache", "explain", "train")[1])[0] == "it is a hit: run bbbb"


def test_a_step_that_ran_although_results_were_there_is_explained(explained, cli):
    key, parts = made(0.5)
    third = "5678000000000000"
    pipeline_run(explained, third, at_ns=T0 + 2 * DAY_NS)
    times = {"started_at_ns": T0 + 2 * DAY_NS}
    explained.record_step(StepRun(third, "train", "done", run=C, key=key, parts=parts, **times))
    (said, _) = lines_of(cli("cache", "explain", "train")[1])
    assert said.startswith("train ran because it was told to (--force), or ")


def test_each_piece_of_a_step_is_explained(store, cli):
    for index in range(2):
        key, parts = made(float(index))
        store.record_step(StepRun(PIPELINE, f"train[{index}]", "done", key=key, parts=parts))
    found = json.loads(cli("cache", "explain", "train", "--format", "json")[1])["steps"]
    assert [one["step"] for one in found] == ["train[0]", "train[1]"]
    found = json.loads(cli("cache", "explain", "train[1]", "--format", "json")[1])["steps"]
    assert [one["step"] for one in found] == ["train[1]"]


def test_a_step_that_did_not_run_says_why(store, cli):
    store.record_step(StepRun(PIPELINE, "a", "skipped", error={"message": "when: auc > 0.9"}))
    store.record_step(StepRun(PIPELINE, "b", "pending"))
    assert lines_of(cli("cache", "explain", "a")[1])[0] == "a did not run: when: auc > 0.9"
    assert lines_of(cli("cache", "explain", "b")[1])[0] == "b has not run yet"


def test_a_step_that_nobody_knows_names_those_that_are_there(explained, cli):
    code, _, err = cli("cache", "explain", "trian")
    assert code == 2
    assert 'No step "trian" has run here. There are: train.' in err


def test_every_command_explains_itself_and_is_reachable():
    for words in (["status"], ["cache"], ["cache", "ls"], ["cache", "rm"], ["cache", "explain"]):
        done = subprocess.run(
            [sys.executable, "-m", "mlops_nb", *words, "-h"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "Usage: mlops-nb" in done.stdout
