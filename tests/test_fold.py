"""What events become in a store."""

import math
import os
from dataclasses import replace

import pytest
from events import (
    SECOND,
    T0,
    A,
    B,
    C,
    execution_ended,
    execution_started,
    metric,
    piece,
    run_started,
    session_started,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb import model
from mlops_nb.documents import execution_document, execution_from_document
from mlops_nb.model import (
    ArtifactLogged,
    DataUsed,
    EnvironmentSeen,
    ExecutionEnded,
    ExecutionStarted,
    FitMoved,
    ModelFitted,
    OutputSeen,
    ParamLogged,
    RunChanged,
    RunExecuted,
    SessionChanged,
    SessionEnded,
    TagSet,
)
from mlops_nb.store import Store

# Texts that break what is put together by hand.
NASTY = [
    "'; DROP TABLE runs; --",
    '" OR 1=1 --',
    "%_\\",
    ":name ? %(x)s {0} $1",
    "a.b.c__d",
    "",
    " ",
    "naïve ☃ \U0001d4b3",
    "new\nline\ttab",
    "\x01\x7f",
]


@pytest.fixture
def store(store_location):
    with Store.open(store_location, create=True) as opened:
        yield opened


def ask(store, question):
    """Ask the database itself."""
    with store._reading() as connection:
        return tuple(connection.exec_driver_sql(question).one())


# --- what events become -------------------------------------------------------------------------


def test_a_run_comes_back_as_it_was_told(store):
    store.apply(
        [
            session_started(),
            execution_started("e0", 1, source="import pandas"),
            execution_started("e1", 2),
            run_started(A, experiment="exp", group="churn", notebook="/n.ipynb", execution="e1"),
            RunExecuted(A, "e1", "body"),
            RunExecuted(A, "e0", "setup"),
            ParamLogged(A, "C", 0.5, T0, is_default=False, fit="f1"),
            metric(A, "auc", 0.9, execution="e1", binding="object", fit="f1"),
            TagSet(A, "stage", "prod", T0),
            DataUsed(A, "X", "train", "pandas.DataFrame", "nbfp1:1", "exact", T0, 10, 2, "nbfp1:2",
                     {"age": "d"}, "e1", "f1"),
            ModelFitted(A, "f1", "clf", "sklearn.svm.SVC", T0, 0.5, "e1"),
            ArtifactLogged(A, "roc", "figure", "image/png", T0, b"png", execution="e1", fit="f1"),
            RunChanged(A, T0, {"git": {"commit": "c0", "branch": "main", "dirty": True}}),
            RunChanged(A, T0 + SECOND, {"status": "failed", "ended_at_ns": T0 + 2 * SECOND,
                                        "busy_s": 1.5, "error": {"type": "E", "message": "m"},
                                        "verdict": {"label": "linear", "reasons": []},
                                        "environment": "sha256:e"}),
        ]
    )  # fmt: skip
    assert store.get_run(A) == model.Run(
        id=A,
        name="churn",
        status="failed",
        kind="interactive",
        started_at=model.as_datetime(T0),
        ended_at=model.as_datetime(T0 + 2 * SECOND),
        busy_s=1.5,
        experiment="exp",
        group="churn",
        attempt=1,
        notebook="/n.ipynb",
        session="s1",
        params={"C": model.Param(0.5, 1, is_default=False, fit="f1")},
        metrics={
            "auc": model.Metric(0.9, None, 1, 0.9, 0.9, "object", "e1", "f1"),
        },
        tags={"stage": "prod"},
        verdict={"label": "linear", "reasons": []},
        error={"type": "E", "message": "m"},
        git={"commit": "c0", "branch": "main", "dirty": True},
        environment="sha256:e",
        data=(
            model.DataUse("X", "train", "pandas.DataFrame", "nbfp1:1", "exact", 10, 2, "nbfp1:2",
                          {"age": "d"}, "e1", "f1"),
        ),
        models=(model.ModelFit("f1", "clf", "sklearn.svm.SVC", 0.5, "e1"),),
        artifacts=(
            model.Artifact("roc", "figure", "image/png",
                           "sha256:8f8cbb7dcf46e0bc7d53265749a6c17d116093a6ba95e442764060c76fd4a86c",
                           3, "e1"),
        ),
        body=("e1",),
        setup=("e0",),
        code_digests=(f"xxh3:{1:032x}", f"xxh3:{2:032x}"),
    )  # fmt: skip


def test_an_execution_comes_back_as_it_was_told(store):
    error = {"type": "ValueError", "message": "no", "traceback": "tb", "line": 2}
    store.apply(
        [
            ExecutionStarted("e1", "s1", 3, T0, "%time f()", "xxh3:1", "run('f()')", "e0", "cell-1",
                             5, 7, ("dynamic",), is_inferred=True),
            ExecutionEnded("e1", T0 + SECOND, "error", 1.25, 0.5, error, ("a",), ("b",), ("c",),
                           ("d",), ("silent",)),
        ]
    )  # fmt: skip
    (execution,) = store.executions(["e1"])
    assert execution == model.Execution(
        id="e1",
        session="s1",
        order=3,
        status="error",
        source="%time f()",
        code_digest="xxh3:1",
        started_at=model.as_datetime(T0),
        duration_s=1.25,
        cpu_s=0.5,
        parent="e0",
        cell_id="cell-1",
        cell_index=5,
        transformed="run('f()')",
        execution_count=7,
        error=model.CellError("ValueError", "no", "tb", 2),
        reads=("a",),
        binds=("b",),
        mutates=("c",),
        deletes=("d",),
        flags=("dynamic", "silent"),
        is_inferred=True,
    )


def test_executions_come_in_the_order_asked_and_those_of_a_session_as_they_ran(store):
    store.apply([execution_started(f"e{i}", i) for i in (3, 1, 2)])
    assert [e.id for e in store.executions(["e2", "gone", "e3"])] == ["e2", "e3"]
    assert [e.order for e in store.session_executions("s1")] == [1, 2, 3]


def test_a_session_and_its_environment_come_back(store):
    content = {"python": {"version": "3.11"}, "packages": {"numpy": "2.4"}}
    store.apply(
        [
            session_started(),
            EnvironmentSeen("sha256:e", content),
            SessionChanged("s1", T0, {"environment": "sha256:e", "notebook": "/n.ipynb"}),
            SessionEnded("s1", T0 + SECOND),
        ]
    )
    session = store.session("s1")
    assert (session.environment, session.notebook) == ("sha256:e", "/n.ipynb")
    assert session.ended_at == model.as_datetime(T0 + SECOND)
    assert store.environment("sha256:e") == model.Environment("sha256:e", content)
    assert store.session("s2") is None
    assert store.environment("sha256:x") is None


def test_what_a_session_learns_later_reaches_the_runs_that_did_not_know_it(store):
    store.apply([session_started(), run_started(A), run_started(B, notebook="/own.ipynb")])
    store.apply([SessionChanged("s1", T0, {"notebook": "/n.ipynb", "unheard_of": 1})])
    assert store.get_run(A).notebook == "/n.ipynb"
    assert store.get_run(B).notebook == "/own.ipynb"


def test_a_source_that_ran_often_is_kept_once(store):
    store.apply([execution_started(f"e{i}", i, source="fit()") for i in range(50)])
    assert ask(store, "SELECT count(*) FROM sources") == (1,)
    assert {e.source for e in store.session_executions("s1")} == {"fit()"}


def test_events_may_come_before_what_they_are_about(store):
    store.apply([metric(A, "auc", 0.9), RunChanged(A, T0 + 1, {"status": "failed", "name": "x"})])
    assert store.get_run(A).status == "failed"
    store.apply([run_started(A, group="churn", at_ns=T0 - SECOND)])
    run = store.get_run(A)
    assert (run.status, run.name, run.group, run.attempt) == ("failed", "x", "churn", 1)
    assert run.started_at == model.as_datetime(T0 - SECOND)
    assert run.metrics["auc"].value == 0.9


def test_a_run_told_twice_is_one_run(store):
    store.apply([run_started(A, group="g"), RunChanged(A, T0, {"status": "finished"})])
    store.apply([run_started(A, group="g", name="again")])
    assert [(r.name, r.status, r.attempt) for r in store.runs()] == [("churn", "finished", 1)]


def test_an_event_that_no_store_knows_is_refused_and_changes_nothing(store):
    with pytest.raises(TypeError):
        store.apply([run_started(A), object()])
    assert store.runs() == []


def test_what_is_needed_by_the_body_is_never_only_set_up(store):
    store.apply([execution_started("e1"), run_started(A), RunExecuted(A, "e1", "setup")])
    store.apply([RunExecuted(A, "e1", "body")])
    store.apply([RunExecuted(A, "e1", "setup")])
    run = store.get_run(A)
    assert (run.body, run.setup) == (("e1",), ())


@pytest.mark.parametrize("text", NASTY)
def test_any_text_comes_back_from_any_place(store, text):
    store.apply(
        [
            session_started(),
            execution_started("e1", source=text),
            run_started(A, name=text, group=text, experiment=text, notebook=text),
            ParamLogged(A, text, text, T0),
            metric(A, text, 1.0),
            TagSet(A, text, text, T0),
        ]
    )
    run = store.get_run(A)
    assert (run.name, run.group, run.experiment, run.notebook) == (text,) * 4
    assert run.params[text].value == text
    assert run.metrics[text].value == 1.0
    assert run.tags == {text: text}
    assert store.executions(["e1"])[0].source == text
    assert store.find_run("x" * 20 + text) is None
    quoted = text.replace("\\", "\\\\").replace("'", "''")
    found = store.runs(f"tags.'{quoted}' = '{quoted}' and params.'{quoted}' = '{quoted}'")
    assert [r.id for r in found] == [A]


def test_text_that_is_no_unicode_is_kept_as_an_escape(store):
    store.apply([run_started(A, name="a\udc80b"), TagSet(A, "path", "\ud800", T0)])
    run = store.get_run(A)
    assert (run.name, run.tags["path"]) == ("a\\udc80b", "\\ud800")


# --- parameters and tags --------------------------------------------------------------------------


def test_another_value_of_a_parameter_is_a_new_version(store):
    store.apply([run_started(A), ParamLogged(A, "lr", 0.1, T0), ParamLogged(A, "lr", 0.1, T0 + 1)])
    store.apply([ParamLogged(A, "lr", 0.2, T0 + 2), ParamLogged(A, "lr", "auto", T0 + 3)])
    assert store.get_run(A).params["lr"] == model.Param("auto", 3)
    history = store.param_history(A, "lr")
    assert [(p.value, p.version) for p in history] == [(0.1, 1), (0.2, 2), ("auto", 3)]
    assert [r.id for r in store.runs("params.lr = 'auto'")] == [A]
    assert store.runs("params.lr = 0.2") == []
    assert store.param_history(A, "other") == []


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 10**30, 0.1, math.inf, "text", [1, [2, None]], {"a": {"b": 1}}],
    ids=str,
)
def test_any_json_is_a_parameter(store, value):
    store.apply([run_started(A), ParamLogged(A, "p", value, T0)])
    found = store.get_run(A).params["p"].value
    assert found == value
    assert type(found) is type(value)


def test_a_tag_is_replaced_and_removed(store):
    store.apply([run_started(A), TagSet(A, "a", "1", T0), TagSet(A, "b", "1", T0)])
    store.apply([TagSet(A, "a", "2", T0), TagSet(A, "b", None, T0)])
    assert store.get_run(A).tags == {"a": "2"}
    store.apply([TagSet(A, "c", "1", T0), TagSet(A, "c", None, T0), TagSet(A, "c", "3", T0)])
    assert store.get_run(A).tags == {"a": "2", "c": "3"}


# --- metrics ----------------------------------------------------------------------------------


def test_a_single_value_has_no_step_and_several_count_up(store):
    store.apply([run_started(A), metric(A, "loss", 3.0)])
    assert store.get_run(A).metrics["loss"].step is None
    assert list(store.series(A, "loss").values) == [3.0]
    store.apply([metric(A, "loss", 2.0, at_ns=T0 + 1), metric(A, "loss", 2.5, at_ns=T0 + 2)])
    found = store.get_run(A).metrics["loss"]
    assert found == model.Metric(2.5, 2, 3, 2.0, 3.0)
    series = store.series(A, "loss")
    assert list(series.steps) == [0, 1, 2]
    assert list(series.values) == [3.0, 2.0, 2.5]
    assert list(series.at_ns) == [T0, T0 + 1, T0 + 2]


def test_the_same_step_again_is_kept_and_the_last_one_shown(store):
    store.apply([run_started(A), metric(A, "acc", 0.1, 5)])
    assert store.get_run(A).metrics["acc"].step == 5
    store.apply([metric(A, "acc", 0.9, 5), metric(A, "acc", 0.5, 5), metric(A, "acc", 0.6)])
    assert list(store.series(A, "acc").steps) == [5, 5, 5, 6]
    assert list(store.series(A, "acc").values) == [0.1, 0.9, 0.5, 0.6]
    assert store.get_run(A).metrics["acc"].value == 0.6


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 5e-324, 1.7e308])
def test_any_float_is_a_metric(store, value):
    store.apply([run_started(A), metric(A, "one", value)])
    store.apply([metric(A, "two", v) for v in (1.0, value)])
    run = store.get_run(A)
    for key in ("one", "two"):
        assert repr(run.metrics[key].value) == repr(value)
    assert [repr(float(v)) for v in store.series(A, "two").values] == ["1.0", repr(value)]
    assert [repr(float(v)) for v in store.series(A, "one").values] == [repr(value)]


def test_nan_is_left_out_of_least_and_greatest(store):
    store.apply([run_started(A)] + [metric(A, "m", v) for v in (math.nan, 2.0, math.nan, 1.0)])
    store.apply([metric(A, "m", math.nan), metric(A, "n", math.nan)])
    found = store.get_run(A).metrics
    assert (found["m"].minimum, found["m"].maximum, found["m"].count) == (1.0, 2.0, 5)
    assert math.isnan(found["m"].value)
    assert (found["n"].minimum, found["n"].maximum) == (None, None)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12))
@settings(
    max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_a_series_is_the_same_whatever_the_batches(store, batches):
    run = os.urandom(8).hex()
    store.apply([run_started(run)])
    values = iter(range(10**6))
    for size in batches:
        store.apply([metric(run, "m", float(next(values))) for _ in range(size)])
    total = sum(batches)
    series = store.series(run, "m")
    assert list(series.values) == [float(i) for i in range(total)]
    assert list(series.steps) == list(range(total))
    assert store.get_run(run).metrics["m"].count == total


def test_a_long_series_takes_few_rows_and_bytes(store):
    count = 150_000
    store.apply([run_started(A)])
    for start in range(0, count, 25_000):
        events = [
            metric(A, "m", 1 / (i + 1), at_ns=T0 + i * 10**6) for i in range(start, start + 25_000)
        ]
        store.apply(events)
    rows, size = ask(store, "SELECT count(*), sum(length(data)) FROM metric_chunks")
    assert rows <= 10
    assert size < 14 * count
    assert len(store.series(A, "m").values) == count


def test_a_metric_that_is_not_there_has_an_empty_series(store):
    series = store.series(A, "m")
    assert (series.key, len(series.steps), len(series.values)) == ("m", 0, 0)


# --- outputs and artifacts ----------------------------------------------------------------------


def test_pieces_of_a_stream_become_one_output(store):
    store.apply(
        [execution_started("e1"), piece(b"one "), piece(b"two "), piece(b"err", position=1)]
    )
    (out, err) = store.executions(["e1"])[0].outputs
    assert store.read_blob(out.digest) == b"one two "
    store.apply([piece(b"three", is_cut=True)])
    assert store.read_blob(out.digest) == b"one two three"
    store.apply([execution_ended("e1")])
    (out, err) = store.executions(["e1"])[0].outputs
    assert out.digest.startswith("sha256:")
    assert (out.kind, out.name, out.mime, out.size_bytes, out.is_cut) == (
        "stream", "stdout", "text/plain", 13, True,
    )  # fmt: skip
    assert [store.read_blob(o.digest) for o in (out, err)] == [b"one two three", b"err"]


def test_a_thread_may_print_after_its_cell_has_ended(store):
    store.apply([execution_started("e1"), piece(b"one "), execution_ended("e1"), piece(b"two ")])
    store.apply([piece(b"three")])
    (out,) = store.executions(["e1"])[0].outputs
    assert (out.size_bytes, store.read_blob(out.digest)) == (13, b"one two three")


def test_no_piece_of_an_ended_stream_stays_behind(store):
    store.apply([execution_started("e1"), piece(b"one ")])
    store.apply([piece(b"two"), execution_ended("e1")])
    assert ask(store, "SELECT count(*) FROM stream_pieces") == (0,)


def test_a_bundle_keeps_each_of_its_types(store):
    shown = [
        OutputSeen("e1", 2, "display", "", mime, data, size, is_cut=size > len(data))
        for mime, data, size in [("text/plain", b"<Figure>", 8), ("image/png", b"PNG", 9_000_000)]
    ]
    store.apply([execution_started("e1"), *shown])
    found = {o.mime: o for o in store.executions(["e1"])[0].outputs}
    assert store.read_blob(found["text/plain"].digest) == b"<Figure>"
    assert (found["image/png"].size_bytes, found["image/png"].is_cut) == (9_000_000, True)


def test_a_staged_file_becomes_an_artifact(store, tmp_path):
    (tmp_path / "0001").write_bytes(b"x" * 100_000)
    store.apply(
        [run_started(A), ArtifactLogged(A, "m.bin", "file", "a/b", T0, staged="0001")],
        staging=tmp_path,
    )
    (artifact,) = store.get_run(A).artifacts
    assert artifact.size_bytes == 100_000
    assert store.read_blob(artifact.digest) == b"x" * 100_000


def test_an_artifact_whose_file_is_gone_is_listed_without_bytes(store, tmp_path):
    logged = ArtifactLogged(A, "m.bin", "file", "a/b", T0, staged=str(tmp_path / "gone"))
    store.apply([run_started(A), logged])
    (artifact,) = store.get_run(A).artifacts
    assert (artifact.name, artifact.digest, artifact.size_bytes) == ("m.bin", "", 0)


# --- attempts, parents and children -------------------------------------------------------------


def test_attempts_count_per_group_and_not_for_children(store):
    store.apply([run_started(A, group="g"), run_started(B, group="g"), run_started(C, group="h")])
    store.apply([run_started("d" * 16, group="g", parent=B, child=1, kind="child")])
    store.apply([run_started("e" * 16, group="g"), run_started("f" * 16)])
    attempts = {run.id[0]: run.attempt for run in store.runs()}
    assert attempts == {"a": 1, "b": 2, "c": 1, "d": 0, "e": 3, "f": 0}


def test_a_run_that_becomes_a_child_hands_its_attempt_on(store):
    store.apply([run_started(A, group="g"), run_started(B, group="g")])
    store.apply(
        [run_started(C, group="g"), RunChanged(B, T0, {"parent": C, "child": 1, "kind": "child"})]
    )
    runs = {run.id: run for run in store.runs()}
    assert (runs[B].attempt, runs[B].parent, runs[B].child) == (0, C, 1)
    assert runs[C].attempt == 2
    store.apply([run_started("d" * 16, group="g")])
    assert store.get_run("d" * 16).attempt == 3


def test_a_parent_without_a_group_takes_the_attempt_of_its_child(store):
    store.apply([run_started(A, group="g"), run_started(B), RunChanged(A, T0, {"parent": B})])
    assert [store.get_run(i).attempt for i in (A, B)] == [0, 1]


def test_a_run_that_changes_its_group_counts_there(store):
    store.apply([run_started(A, group="g"), run_started(B, group="h")])
    store.apply([RunChanged(A, T0, {"group": "h"})])
    assert (store.get_run(A).group, store.get_run(A).attempt) == ("h", 2)


def test_the_latest_attempt_of_each_group_is_listed(store):
    for number, (id_, group) in enumerate([(A, "g"), (B, "h"), (C, "g")]):
        store.apply([run_started(id_, group=group, at_ns=T0 + number)])
    store.apply([run_started("d" * 16, group="", at_ns=T0 + 9)])
    assert [run.id for run in store.latest_of_groups()] == [C, B]
    assert [run.id for run in store.latest_of_groups(limit=1)] == [C]


def test_the_evidence_of_a_fit_moves_to_its_child(store, tmp_path):
    def evidence(fit, value, at_ns):
        return [
            ParamLogged(A, "C", value, at_ns, fit=fit),
            metric(A, "accuracy", value, at_ns=at_ns, fit=fit, binding="object"),
            DataUsed(A, "X", "train", "k", "d", "exact", at_ns, fit=fit),
            ModelFitted(A, fit, f"m{fit}", "M", at_ns),
            ArtifactLogged(A, f"cm{fit}", "table", "t", at_ns, fit.encode(), fit=fit),
        ]

    store.apply([run_started(A), metric(A, "accuracy", 0.1), ParamLogged(A, "seed", 7, T0)])
    store.apply(evidence("f1", 0.5, T0 + 1) + evidence("f2", 0.6, T0 + 2))
    store.apply([run_started(B, parent=A, child=1, kind="child"), FitMoved(A, B, "f1")])
    parent, child = store.get_run(A), store.get_run(B)
    assert {k: p.value for k, p in child.params.items()} == {"C": 0.5}
    assert {k: (p.value, p.version) for k, p in parent.params.items()} == {
        "C": (0.6, 1),
        "seed": (7, 1),
    }
    assert child.metrics["accuracy"] == model.Metric(0.5, None, 1, 0.5, 0.5, "object", None, "f1")
    assert parent.metrics["accuracy"].count == 2
    assert list(store.series(A, "accuracy").values) == [0.1, 0.6]
    assert list(store.series(A, "accuracy").steps) == [0, 1]
    for run, fit in ((child, "f1"), (parent, "f2")):
        assert [d.fit for d in run.data] == [fit]
        assert [m.name for m in run.models] == [f"m{fit}"]
        assert [a.name for a in run.artifacts] == [f"cm{fit}"]


def test_evidence_that_moves_joins_what_is_there_already(store):
    store.apply([run_started(A), run_started(B, parent=A, child=1, kind="child")])
    store.apply([metric(A, "m", v, at_ns=T0 + v, fit="f1") for v in (1, 3)])
    store.apply([metric(B, "m", v, at_ns=T0 + v, fit="f1") for v in (2, 4)])
    store.apply([ParamLogged(A, "p", 1, T0, fit="f1"), ParamLogged(B, "p", 2, T0 + 1, fit="f1")])
    store.apply([FitMoved(A, B, "f1"), metric(B, "m", 5.0, at_ns=T0 + 5)])
    assert list(store.series(B, "m").values) == [1, 2, 3, 4, 5]
    assert store.get_run(A).metrics == {}
    assert [(p.value, p.version) for p in store.param_history(B, "p")] == [(1, 1), (2, 2)]
    assert store.get_run(A).params == {}


def test_a_fit_moves_within_the_batch_that_recorded_it(store):
    store.apply(
        [
            run_started(A),
            metric(A, "m", 1.0, fit="f1"),
            run_started(B, parent=A, child=1, kind="child"),
            FitMoved(A, B, "f1"),
            metric(A, "m", 2.0),
        ]
    )
    assert store.get_run(A).metrics["m"].value == 2.0
    assert store.get_run(B).metrics["m"].value == 1.0


# --- identity -----------------------------------------------------------------------------------


def test_data_told_before_it_was_hashed_gives_way_to_what_was_found(store):
    pending = model.DataUsed(A, "X", "train", "pandas.DataFrame", "", "skipped:budget", T0)
    hashed = model.DataUsed(A, "X", "train", "pandas.DataFrame", "nbfp1:1", "exact", T0)
    other = model.DataUsed(A, "y", "train", "pandas.Series", "", "opaque", T0)
    store.apply([run_started(A), pending, other])
    store.apply([hashed])
    assert {(d.name, d.digest) for d in store.get_run(A).data} == {("X", "nbfp1:1"), ("y", "")}
    store.apply([run_started(B), replace(pending, run=B), replace(hashed, run=B)])
    assert [(d.name, d.digest) for d in store.get_run(B).data] == [("X", "nbfp1:1")]


def test_files_stand_with_their_execution_and_can_be_asked_for(store):
    seen = model.FileSeen("e1", "/data/a.csv", "r", "kernel:pid", T0)
    hashed = replace(seen, digest="nbfp1:1", size_bytes=3, detail={"columns": ["a"]})
    store.apply([execution_started("e1"), seen, hashed, replace(seen, mode="w")])
    (execution,) = store.executions(["e1"])
    assert [(f.mode, f.digest, f.detail) for f in execution.files] == [
        ("r", "nbfp1:1", {"columns": ["a"]}),
        ("w", "", None),
    ]
    assert [e for e, _ in store.file_uses("/data/a.csv")] == ["e1", "e1"]
    assert execution_from_document(execution_document(execution)) == execution


def test_a_fingerprint_is_kept_in_full_once(store):
    content = {"kind": "pandas.DataFrame", "columns": [{"name": "a", "chunks": ["0f"]}]}
    store.apply([model.FingerprintSeen("nbfp1:1", "nbfp1:2", content)] * 2)
    assert store.fingerprint_content("nbfp1:1", "nbfp1:2") == content
    assert store.fingerprint_content("nbfp1:1") == content
    assert store.fingerprint_content("nbfp1:9") is None


def test_details_of_an_environment_that_came_later_are_kept(store):
    first = {"packages": {"numpy": "2.0"}}
    store.apply([model.EnvironmentSeen("sha256:1", first)])
    store.apply([model.EnvironmentSeen("sha256:1", {**first, "details": {"numpy": {}}})])
    store.apply([model.EnvironmentSeen("sha256:1", first)])
    assert store.environment("sha256:1").content["details"] == {"numpy": {}}


# --- ends ---------------------------------------------------------------------------------------


def test_at_a_clean_end_automatic_runs_finish_and_opened_ones_are_interrupted(store):
    store.apply(
        [
            session_started(),
            execution_started("e1", at_ns=T0),
            execution_ended("e1", at_ns=T0 + 3 * SECOND),
            run_started(A, execution="e1"),
            RunExecuted(A, "e1", "body"),
            run_started(B, kind="cell", execution="e1"),
            run_started(C, kind="child", parent=A, child=1, execution="e1"),
            RunExecuted(C, "e1", "body"),
        ]
    )
    store.apply([SessionEnded("s1", T0 + 60 * SECOND)])
    found = {run.id: run for run in store.runs()}
    assert {i: r.status for i, r in found.items()} == {
        A: "finished",
        B: "interrupted",
        C: "finished",
    }
    assert found[A].ended_at == model.as_datetime(T0 + 3 * SECOND)


@pytest.mark.parametrize(
    ("kind", "statuses", "outcome"),
    [
        ("batch", ["ok", "ok"], "finished"),
        ("batch", ["error", "ok"], "finished"),
        ("batch", ["ok", "error"], "failed"),
        ("interactive", ["error", "ok"], "failed"),
        ("interactive", ["ok", "error"], "finished"),
        ("interactive", ["interrupted", "ok"], "interrupted"),
    ],
)
def test_a_batch_is_as_good_as_its_last_cell_and_a_run_as_its_first(
    store, kind, statuses, outcome
):
    events = [session_started(), run_started(A, kind=kind, execution="e0")]
    for number, status in enumerate(statuses):
        at_ns = T0 + number * SECOND
        events += [
            execution_started(f"e{number}", number, at_ns=at_ns),
            RunExecuted(A, f"e{number}", "body"),
            execution_ended(f"e{number}", at_ns=at_ns, status=status),
        ]
    store.apply([*events, SessionEnded("s1", T0 + 60 * SECOND)])
    assert store.get_run(A).status == outcome


def test_a_dead_owner_leaves_lost_runs_that_end_with_the_last_thing_known(store):
    store.apply(
        [
            session_started(),
            execution_started("e1", at_ns=T0),
            piece(b"so far"),
            run_started(A),
            run_started(B),
            RunChanged(B, T0, {"status": "finished", "ended_at_ns": T0}),
            metric(A, "m", 1.0, at_ns=T0 + 5 * SECOND),
        ]
    )
    assert store.unended_sessions() == [("s1", {"pid": 4242, "boot": "x"})]
    assert store.mark_lost("s1", T0 + 900 * SECOND) == 1
    run = store.get_run(A)
    assert (run.status, run.ended_at) == ("lost", model.as_datetime(T0 + 5 * SECOND))
    assert run.error["execution"] == "e1"
    assert "while cell [1] ran" in run.error["message"]
    assert store.get_run(B).status == "finished"
    (execution,) = store.executions(["e1"])
    assert execution.status == "lost"
    assert store.read_blob(execution.outputs[0].digest) == b"so far"
    assert store.unended_sessions() == []
    assert store.mark_lost("s1", T0) == 0
    assert store.info()["lost_runs"] == 1


def test_a_session_that_ended_well_has_nothing_to_lose(store):
    store.apply([session_started(), run_started(A), SessionEnded("s1", T0 + SECOND)])
    assert store.mark_lost("s1", T0 + 2 * SECOND) == 0
    assert store.get_run(A).status == "finished"


def test_a_session_that_was_taken_for_dead_can_still_end_well(store):
    store.apply([session_started(), execution_started("e1"), run_started(A, execution="e1")])
    store.mark_lost("s1", T0)
    store.apply([execution_ended("e1"), RunExecuted(A, "e1", "body"), SessionEnded("s1", T0 + 9)])
    run = store.get_run(A)
    assert (run.status, run.error, run.ended_at) == (
        "finished",
        None,
        model.as_datetime(T0 + SECOND),
    )


def test_lost_records_are_told_by_the_runs_that_were_running(store):
    store.apply([session_started(), run_started(A), run_started(B)])
    store.apply([RunChanged(B, T0, {"status": "finished"})])
    store.apply([SessionChanged("s1", T0, {"records_lost": 3, "torn_bytes": 8})])
    store.apply([SessionChanged("s1", T0, {"records_lost": 2})])
    assert store.get_run(A).tags == {"records_lost": "5", "torn_bytes": "8"}
    assert (store.get_run(A).name, store.get_run(A).session) == ("churn", "s1")
    assert store.get_run(B).tags == {}
