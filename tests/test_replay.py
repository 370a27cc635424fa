"""What a run and its replay left is compared value by value, and what cannot be run says why."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbformat.v4 import new_notebook
from recorded import BEGIN_NS, RUN, SECOND_NS, Cell, execution_id, recorded_store, run_events
from replays import CHANGED_DATA, differing, execution

from mlops_nb.cli import main
from mlops_nb.display.replay import ReplayView
from mlops_nb.model import DataUse, MetricLogged, Run, TagSet, as_datetime
from mlops_nb.replay import NotTrusted, Watcher, choose, replay
from mlops_nb.replay.causes import Circumstances, likely_causes
from mlops_nb.replay.evidence import Evidence, Point, Use, gather
from mlops_nb.replay.judging import compare_evidence, outcome_of
from mlops_nb.replay.records import Replay, Value
from mlops_nb.store import Store

pytestmark = pytest.mark.usefixtures("own_settings")


# --- comparing --------------------------------------------------------------------------------


def evidence(metrics=(), data=(), outcomes=(("ok", ""),)):
    found = Evidence()
    found.outcomes = dict(enumerate(outcomes))
    for place, key, *values in metrics:
        points = [Point(RUN, value, index) for index, value in enumerate(values)]
        found.metrics[place, key] = points
    for place, name, digest, assurance in data:
        use = DataUse(name, "train", "numpy.ndarray", digest, assurance)
        found.data.setdefault((place, "train", name), []).append(Use(RUN, use))
    return found


def compared(before, after):
    values = compare_evidence(before, after, {RUN})
    return outcome_of(values), {f"{v.kind} {v.name}".strip(): v.result for v in values}


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        (0.5, 0.5, "exact"),
        (0.5, 0.5 * (1 + 5e-10), "close"),
        (0.5, 0.5 * (1 + 2e-9), "differs"),
        (0.0, 1e-300, "differs"),
        (float("nan"), float("nan"), "exact"),
        (float("nan"), 0.5, "differs"),
        (float("inf"), float("inf"), "exact"),
        (float("inf"), 1e308, "differs"),
        (0.5, None, "missing"),
    ],
)
def test_metrics_are_exact_or_close_or_differ(old, new, result):
    before = evidence(metrics=[(0, "auc", old)])
    after = evidence(metrics=[] if new is None else [(0, "auc", new)])
    outcome, results = compared(before, after)
    assert results["metric auc"] == result
    words = {"exact": "verified", "close": "verified-close"}
    assert outcome == words.get(result, "differs")


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        (("nbfp1:aa", "exact"), ("nbfp1:aa", "exact"), "exact"),
        (("nbfp1:aa", "exact"), ("nbfp1:bb", "exact"), "differs"),
        (("nbfp1:aa", "sampled"), ("nbfp1:aa", "sampled"), "not compared"),
        (("nbfp1:aa", "carried:pages"), ("nbfp1:aa", "exact"), "exact"),
        (("nbfp1:aa", "carried:unreached"), ("nbfp1:aa", "exact"), "not compared"),
        (("nbfp1:aa", "exact"), ("nbfp1:aa", "opaque"), "not compared"),
        (("", "exact"), ("", "exact"), "not compared"),
        (("nbfp1:aa", "torn"), ("nbfp1:bb", "torn"), "not compared"),
        (("nbfp1:aa", "exact"), None, "missing"),
    ],
)
def test_the_same_is_said_only_of_exact_fingerprints(old, new, result):
    before = evidence(metrics=[(0, "auc", 0.9)], data=[(0, "X", *old)])
    after = evidence(metrics=[(0, "auc", 0.9)], data=[(0, "X", *new)] if new else [])
    outcome, results = compared(before, after)
    assert results["data X"] == result
    assert outcome == ("differs" if result in {"differs", "missing"} else "verified")


def test_what_could_not_be_compared_at_all_is_not_verified():
    blind = evidence(data=[(0, "X", "nbfp1:aa", "opaque")])
    assert compared(blind, blind)[0] == "not-replayable"
    assert compared(evidence(), evidence())[0] == "not-replayable"


def test_a_failure_that_comes_back_is_verified_and_another_one_differs():
    failed = evidence(outcomes=[("error", "ValueError")])
    assert compared(failed, failed)[0] == "verified"
    other = evidence(outcomes=[("error", "KeyError")])
    assert compared(failed, other)[0] == "differs"


def test_every_value_of_a_curve_counts():
    before = evidence(metrics=[(0, "loss", 0.9, 0.5, 0.3)])
    for curve, outcome in (
        ((0.9, 0.5, 0.3), "verified"),
        ((0.9, 0.6, 0.3), "differs"),
        ((0.9, 0.5), "differs"),
        ((0.9, 0.5, 0.3, 0.2), "differs"),
    ):
        after = evidence(metrics=[(0, "loss", *curve)])
        assert compared(before, after)[0] == outcome


def test_the_first_difference_is_the_first_in_run_order():
    both = [("ok", "")] * 3
    before = evidence(
        metrics=[(2, "auc", 0.9), (1, "loss", 0.1)],
        data=[(1, "X", "nbfp1:a", "exact")],
        outcomes=both,
    )
    after = evidence(
        metrics=[(2, "auc", 0.8), (1, "loss", 0.2)],
        data=[(1, "X", "nbfp1:b", "exact")],
        outcomes=both,
    )
    first = next(v for v in compare_evidence(before, after, {RUN}) if v.is_difference)
    assert (first.position, first.kind, first.name) == (1, "data", "X")


def test_below_a_cell_that_stopped_the_replay_nothing_is_missing():
    before = evidence(metrics=[(1, "auc", 0.9)], outcomes=[("ok", ""), ("ok", "")])
    after = evidence(outcomes=[("error", "ImportError")])
    differing = [v for v in compare_evidence(before, after, {RUN}) if v.is_difference]
    assert [(v.kind, v.after) for v in differing] == [("outcome", "error: ImportError")]


def test_how_a_cell_from_the_history_ended_is_not_known():
    before = evidence(metrics=[(0, "auc", 0.9)], outcomes=[("unknown", "")])
    after = evidence(metrics=[(0, "auc", 0.9)], outcomes=[("error", "NameError")])
    assert compared(before, after) == (
        "verified",
        {"outcome": "not compared", "metric auc": "exact"},
    )


def test_of_a_cell_in_which_tracking_began_only_the_end_is_compared():
    before = evidence(metrics=[(0, "auc", 0.9)])
    before.joined = {0}
    assert compared(before, evidence(metrics=[(0, "auc", 0.1, 0.9)]))[0] == "verified"


def test_values_that_a_cell_left_for_other_runs_do_not_count():
    before, after = evidence(), evidence()
    before.metrics[0, "auc"] = [Point("other", 0.1, 1), Point(RUN, 0.9, 2)]
    after.metrics[0, "auc"] = [Point("a", 0.7, 1), Point("b", 0.9, 2)]
    assert compared(before, after) == ("verified", {"outcome": "exact", "metric auc": "exact"})


def test_values_of_a_curve_find_the_cell_that_logged_them(tmp_path):
    cells = [Cell("log()"), Cell("log()")]
    events = run_events(cells)
    for order, value in ((1, 0.5), (1, 0.4), (2, 0.3)):
        at_ns = BEGIN_NS + order * SECOND_NS + SECOND_NS // 8
        events.append(MetricLogged(RUN, "loss", value, None, at_ns, execution_id(order)))
    with recorded_store(tmp_path, events) as store:
        run = store.get_run(RUN)
        placed = dict(enumerate(store.executions(run.executions)))
        found = gather(store, [run], placed)
    values = {key: [p.value for p in points] for key, points in found.metrics.items()}
    assert values == {(0, "loss"): [0.5, 0.4], (1, "loss"): [0.3]}


# --- what cannot be replayed ------------------------------------------------------------------


def replayed(folder, events, **how):
    with recorded_store(folder, events) as store:
        return replay(store, store.get_run(RUN), **how)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (Cell("x = input('how many? ')"), "input()"),
        (Cell("import getpass\ngetpass.getpass()"), "getpass()"),
        (Cell("fit()", status="lost"), "process died"),
        (Cell("fit()", status="interrupted"), "interrupted by hand"),
        (Cell("fit()", status="running"), "still running"),
        (Cell("", is_inferred=True), "before tracking"),
    ],
)
def test_a_cell_that_cannot_run_again_says_why(tmp_path, cell, said):
    found = replayed(tmp_path, run_events([cell, Cell("x = 1")], metrics={"auc": 0.9}))
    assert (found.outcome, found.replayed_by) == ("not-replayable", None)
    assert said in found.reasons[0]


def test_a_run_says_why_it_cannot_run_again(tmp_path, monkeypatch):
    def why(name, cells, **run):
        folder = tmp_path / name
        folder.mkdir()
        found = replayed(folder, run_events(cells, **run))
        assert found.outcome == "not-replayable"
        return found.reasons[0]

    metrics = {"auc": 0.9}
    cell = [Cell("x = 1")]
    assert "still running" in why("a", cell, metrics=metrics, kind="batch", status="running")
    assert "not in the store" in why("b", cell, metrics=metrics, missing=[execution_id(77)])
    assert "nothing recorded" in why("c", [], metrics=metrics)
    assert "nothing recorded to compare" in why("d", cell)
    julia = tmp_path / "nb.ipynb"
    told = {"language_info": {"name": "julia"}, "kernelspec": {"name": "j", "display_name": "j"}}
    nbformat.write(new_notebook(metadata=told), julia)
    assert "julia" in why("e", cell, metrics=metrics, notebook=str(julia))
    told = {"kernelspec": {"name": "no-such-kernel", "display_name": "x"}}
    python = tmp_path / "python.ipynb"
    nbformat.write(new_notebook(metadata=told), python)
    assert "no-such-kernel" in why("f", cell, metrics=metrics, notebook=str(python))
    monkeypatch.setenv("MLOPS_NB_REPLAY", RUN)
    assert "a replay already" in why("g", cell, metrics=metrics)


def test_an_automatic_run_that_is_open_can_be_replayed_when_its_cells_have_ended(tmp_path):
    events = run_events([Cell("⟨secret:x⟩")], metrics={"auc": 1.0}, status="running")
    assert replayed(tmp_path, events).outcome == "needs-secret"


def test_a_secret_that_is_not_in_the_environment_is_named(tmp_path):
    events = run_events([Cell('f(api_key="⟨secret:api_key⟩")')], metrics={"auc": 0.9})
    found = replayed(tmp_path, events)
    assert found.outcome == "needs-secret"
    assert found.reasons == ("the secret api_key is not in the environment: set API_KEY",)


# --- whose code it is -------------------------------------------------------------------------


def test_what_another_machine_recorded_is_not_run_unasked(tmp_path):
    cells = [Cell("import os; os.system('rm -rf /tmp/precious')")]
    events = run_events(cells, metrics={"auc": 0.9}, host="elsewhere")
    with pytest.raises(NotTrusted, match=r'another machine, "elsewhere".*--trust'):
        replayed(tmp_path, events)
    asked = []
    watcher = Watcher(ask=lambda sources, why: asked.append((sources, why)) or False)
    with pytest.raises(NotTrusted):
        replayed(tmp_path, events, watcher=watcher)
    ((sources, why),) = asked
    assert sources == [cells[0].source]
    assert "elsewhere" in why


def test_a_store_that_everybody_may_write_is_not_trusted(tmp_path):
    events = run_events([Cell("x = 1")], metrics={"auc": 0.9})
    recorded_store(tmp_path, events).close()
    (tmp_path / ".mlops").chmod(0o777)
    with (
        Store.open(tmp_path / ".mlops") as store,
        pytest.raises(NotTrusted, match="written by everybody"),
    ):
        replay(store, store.get_run(RUN))


def test_the_command_refuses_what_is_not_trusted(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    events = run_events([Cell("x = 1")], metrics={"auc": 0.9}, host="elsewhere")
    recorded_store(tmp_path, events).close()
    monkeypatch.setattr("sys.stdin", (tmp_path / "nothing").open("w+"))
    with pytest.raises(SystemExit) as exited:
        main(["replay", "7f3a", "--check"])
    assert exited.value.code == 2
    assert "--trust" in capfd.readouterr().err


# --- which run is meant, and how long it stands -----------------------------------------------


def test_a_name_means_the_run_and_not_its_replays(tmp_path):
    second = "aaaa000000000001"
    inner = "bbbb000000000001"
    later = run_events([Cell("x = 1")], run=second, name="replay of 7f3a")
    later.append(TagSet(second, "replay_of", RUN, BEGIN_NS + 9 * SECOND_NS))
    below = run_events([Cell("x = 1")], run=inner, parent=second, kind="child")
    with recorded_store(tmp_path, run_events([Cell("x = 1")]), later, below) as store:
        assert choose(store, "churn").id == RUN
        assert choose(store, "replay of 7f3a").id == RUN
        assert choose(store, "aaaa").id == second
        assert choose(store, "bbbb").id == inner


# --- how it looks -----------------------------------------------------------------------------


def a_replay(outcome="differs", values=None, **more):
    run = Run(RUN, "<b>churn</b>", "finished", "interactive", as_datetime(0))
    shown = values or (
        Value("outcome", 0, "", "", "ok", "ok", "exact"),
        Value("data", 0, "X", "train", "nbfp1:" + "a" * 32, "nbfp1:" + "a" * 32, "exact"),
        Value("metric", 0, "auc", "", 0.912, 0.9, "differs"),
        Value("metric", 0, "f1", "", 0.5, 0.5 + 1e-11, "close"),
    )
    executions = (execution("<script>alert(1)</script>\nfit()"),)
    about = Circumstances(executions, files=CHANGED_DATA)
    causes = likely_causes(differing(0), about) if outcome == "differs" else ()
    return Replay(
        run, outcome, ("because",), executions, shown, causes, ("input /p/a.csv has changed",),
        "9ab1000000000001", "/p/replay.ipynb", 3.1, **more,
    )  # fmt: skip


def test_a_view_says_what_differs_why_and_what_next():
    text = ReplayView(a_replay()).to_text(columns=120)
    assert text.splitlines()[0].startswith("≠ differs   run 7f3a")
    for said in ("0 of 2 metrics", "cell [1]  metric auc  0.912 → 0.900", "−0.012", "1 data",
                 "note: input /p/a.csv", "%mlops_diff 7f3a 9ab1", "1 data set exact"):  # fmt: skip
        assert said in text
    assert "1 metric within 1e-9" in text


@pytest.mark.parametrize(
    "outcome", ["verified", "verified-close", "needs-secret", "not-replayable"]
)
def test_every_outcome_has_every_form(outcome):
    same = (Value("metric", 0, "auc", "", 0.9, 0.9, "exact"),)
    view = ReplayView(a_replay(outcome, same), "shell")
    for text in (view.text, view.markdown, view.html, view.html_page()):
        assert outcome in text
        assert "7f3a" in text
    assert "<script>" not in view.html
    assert "<b>churn</b>" not in view.html
    assert json.loads(json.dumps(view.document()))["outcome"] == outcome


def test_the_document_has_all_that_was_compared():
    document = ReplayView(a_replay()).document()
    assert document["compared"] == {
        "exact": 1, "close": 1, "differs": 1, "missing": 0, "not_compared": 0,
    }  # fmt: skip
    assert document["first_difference"]["name"] == "auc"
    assert document["first_difference"]["execution"] == execution_id(1)
    assert document["causes"][0]["kind"] == "data"
    assert len(document["values"]) == 4
