"""Runs as a DataFrame hold what their records hold."""

import math

import pandas as pd
import pytest
from events import SECOND, T0, A, B, C, metric, run_started

import mlops_nb as mn
from mlops_nb.errors import BadQuery
from mlops_nb.model import ParamLogged, RunChanged, TagSet
from mlops_nb.store import Store

ABOUT = ["name", "status", "kind", "experiment", "attempt", "parent", "notebook", "started_at"]
ODD_NAMES = ["a,b", 'a"b', "a\x1fb", "ä€😀", "A", "a", "'; DROP TABLE runs; --"]


@pytest.fixture
def store(store_location):
    with Store.open(store_location, create=True) as store:
        yield store


def told(run, params=(), metrics=(), tags=(), **facts):
    yield run_started(run, **facts)
    for place, (key, value) in enumerate(dict(params).items()):
        yield ParamLogged(run, key, value, T0 - place)
    for key, value in dict(metrics).items():
        yield metric(run, key, value)
    for key, value in dict(tags).items():
        yield TagSet(run, key, value, T0)


def check(frame, runs):
    """Hold every cell against the record of its run."""
    assert list(frame.index) == [run.id for run in runs]
    kinds = ("params", "metrics", "tags")
    wanted = {f"{kind}.{key}" for run in runs for kind in kinds for key in getattr(run, kind)}
    assert {name for name in frame.columns if name.partition(".")[0] in kinds} == wanted
    for run in runs:
        row = frame.loc[run.id]
        assert row["started_at"] == pd.Timestamp(run.started_at)
        assert (row["name"], row["status"], row["kind"]) == (run.name, run.status, run.kind)
        for name in wanted:
            kind, _, key = name.partition(".")
            held = getattr(run, kind).get(key)
            value = getattr(held, "value", held)
            assert same(row[name], value), (run.id, name, row[name], value)


def same(cell, value):
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return not isinstance(cell, list) and bool(pd.isna(cell))
    return cell == value


def test_every_cell_is_what_the_record_says(store):
    values = [1, 0.1, True, "text", None, [1, [2]], {"a": 1}, 2**60, "true", "", "null", "1", -0.0]
    metrics = {"one": 0.1 + 0.2, "nan": math.nan, "inf": -math.inf, "least": 5e-324}
    params = {f"p{i}": value for i, value in enumerate(values)}
    store.apply(list(told(A, params, metrics, {"stage": "prod", "note": ""})))
    store.apply([RunChanged(A, T0, {"status": "finished", "ended_at_ns": T0 + 3 * SECOND})])
    frame = store.frame()
    check(frame, store.runs())
    assert frame.loc[A, "duration_s"] == 3.0
    assert [type(frame.loc[A, f"p.{i}".replace("p.", "params.p")]) for i in (5, 6)] == [list, dict]


def test_runs_with_different_things_stand_in_one_table(store):
    store.apply(list(told(A, {"lr": 0.1, "depth": 3}, {"auc": 0.9}, {"x": "1"})))
    store.apply(list(told(B, {"lr": "high"}, {"loss": 2.0}, at_ns=T0 + SECOND)))
    store.apply(list(told(C, at_ns=T0 + 2 * SECOND)))
    check(store.frame(), store.runs())
    check(store.frame("metrics.auc > 0"), store.runs("metrics.auc > 0"))
    check(store.frame(limit=2), store.runs(limit=2))
    check(store.frame("order by params.lr"), store.runs("order by params.lr"))


def test_names_may_hold_anything(store):
    for run, at_ns in ((A, T0), (B, T0 + SECOND)):
        some = {name: place for place, name in enumerate(ODD_NAMES)}
        store.apply(list(told(run, some, some, dict.fromkeys(ODD_NAMES, "v"), at_ns=at_ns)))
    check(store.frame(), store.runs())


def test_alike_runs_and_one_that_is_not_listed(store):
    for place, run in enumerate((A, B, C)):
        alike = {"lr": place / 10, "kind": "svc"}
        store.apply(
            list(told(run, alike, {"auc": place}, {"n": str(place)}, at_ns=T0 + place * SECOND))
        )
    store.edit_runs([B], {"archived": True})
    check(store.frame(), store.runs())
    check(store.frame(archived=True), store.runs(archived=True))
    assert len(store.frame()) == 2


def test_numbers_have_the_type_of_numbers(store):
    for place, run in enumerate((A, B)):
        store.apply(list(told(run, {"lr": 0.5, "n": place, "on": True}, {"auc": 1})))
    types = store.frame().dtypes.astype(str).to_dict()
    assert types["params.lr"] == types["metrics.auc"] == "float64"
    assert (types["params.n"], types["params.on"]) == ("int64", "bool")
    assert types["started_at"] == "datetime64[ns, UTC]"


def test_a_table_of_no_runs_still_has_its_columns(store):
    frame = store.frame()
    assert len(frame) == 0
    assert [name for name in frame.columns if name in ABOUT] == ABOUT
    assert len(store.frame("metrics.auc > 3", limit=5)) == 0


def test_what_is_asked_for_wrongly_is_said_as_for_a_list(store):
    with pytest.raises(BadQuery):
        store.frame("params.lr >")


def test_many_runs_are_read_in_parts(store):
    ids = [f"{number:016x}" for number in range(1100)]
    store.apply([e for id_ in ids for e in told(id_, {"id": id_}, {"m": int(id_, 16)})])
    for frame in (store.frame(limit=1050), store.frame()):
        assert (frame["params.id"] == frame.index).all()
        assert [int(id_, 16) for id_ in frame.index] == list(frame["metrics.m"])


def test_a_list_of_runs_gives_its_table(tmp_path, monkeypatch, own_settings):
    monkeypatch.setenv("MLOPS_NB_STORE", str(tmp_path / ".mlops"))
    with Store.open(tmp_path / ".mlops", create=True) as store:
        store.apply(list(told(A, {"lr": 0.1}, {"auc": 0.9})))
        store.apply(list(told(B, {"lr": 0.2}, {"auc": 0.8}, at_ns=T0 + SECOND)))
        found = mn.runs("metrics.auc > 0 order by metrics.auc desc", limit=1)
        assert list(found.df["metrics.auc"]) == [0.9]
        assert list(mn.runs(limit=None).df.index) == [B, A]
        assert found.runs.total == 2
        assert [run.id for run in found] == [A]
        assert "2 runs, 1 shown" in found.text
