"""What people call runs, and how runs are listed."""

import math
import os

import pytest
from events import (
    T0,
    metric,
    run_started,
)

from mlops_nb.errors import (
    AmbiguousReference,
    RunNotFound,
)
from mlops_nb.model import (
    ParamLogged,
    TagSet,
)
from mlops_nb.store import Store


@pytest.fixture
def store(store_location):
    with Store.open(store_location, create=True) as opened:
        yield opened


# --- references -------------------------------------------------------------------------------


@pytest.fixture
def named(store):
    store.apply(
        [
            run_started("7f3a000000000001", name="churn", at_ns=T0),
            run_started("7f3b000000000002", name="churn", at_ns=T0 + 1),
            run_started("0e10000000000003", name="0e10", at_ns=T0 + 2),
            run_started("55c0000000000004", name="child", at_ns=T0 + 3, parent="7f3a000000000001"),
            run_started("7f3b000000000005", name="fraud", at_ns=T0 + 4),
            metric("7f3a000000000001", "auc", 0.9),
            metric("7f3b000000000002", "auc", 0.8),
            metric("7f3b000000000005", "auc", math.nan),
            metric("7f3a000000000001", "log_loss", 0.9),
            metric("7f3b000000000002", "log_loss", 0.8),
            TagSet("7f3b000000000002", "stage", "prod", T0),
            TagSet("7f3b000000000005", "stage", "test", T0),
            TagSet("7f3a000000000001", "a=b", "c", T0),
        ]
    )
    return store


@pytest.mark.parametrize(
    ("ref", "id_"),
    [
        ("7f3a000000000001", "7f3a000000000001"),
        ("7f3a", "7f3a000000000001"),
        ("7F3A0", "7f3a000000000001"),
        (" 7f3a ", "7f3a000000000001"),
        ("churn", "7f3b000000000002"),
        ("0e10", "0e10000000000003"),
        ("child", "55c0000000000004"),
        ("@-1", "7f3b000000000005"),
        ("@-2", "0e10000000000003"),
        ("@-4", "7f3a000000000001"),
        ("@best:auc", "7f3a000000000001"),
        ("@best:log_loss", "7f3b000000000002"),
        ("tag:stage", "7f3b000000000005"),
        ("tag:stage=prod", "7f3b000000000002"),
        ("tag:a=b", "7f3a000000000001"),
        ("tag:a=b=c", None),
    ],
)
def test_a_run_is_found_by(named, ref, id_):
    found = named.find_run(ref)
    assert (found and found.id) == id_


@pytest.mark.parametrize(
    ("ref", "close"),
    [
        ("churm", ("7f3b (churn)", "7f3a (churn)")),
        ("7g", ("7f3b00000000000", "7f3b00000000000", "7f3a")),
        ("@-6", ()),
        ("@-0", ()),
        ("@best:aucc", ("@best:auc",)),
        ("tag:stages=x", ("tag:stage",)),
        ("", ()),
        ("'; DROP TABLE runs; --", ()),
    ],
)
def test_a_reference_to_nothing_names_what_is_close(named, ref, close):
    with pytest.raises(RunNotFound) as caught:
        named.get_run(ref)
    assert caught.value.reference == ref
    assert len(caught.value.close) == len(close)
    assert all(
        c.startswith(expected) for c, expected in zip(caught.value.close, close, strict=True)
    )
    assert named.find_run(ref) is None


def test_a_prefix_of_several_runs_is_ambiguous(named):
    with pytest.raises(AmbiguousReference) as caught:
        named.get_run("7f3b")
    assert caught.value.close == ("7f3b000000000005 (fraud)", "7f3b000000000002 (churn)")
    with pytest.raises(AmbiguousReference):
        named.find_run("7f3b")


def test_a_name_wins_over_a_prefix_of_several(named):
    named.apply([run_started("9" * 16, name="7f3b")])
    assert named.get_run("7f3b").id == "9" * 16


# --- lists ------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_by_pages(named):
    newest = [run.id[:4] for run in named.runs()]
    assert newest == ["7f3b", "55c0", "0e10", "7f3b", "7f3a"]
    assert [r.id[:4] for r in named.runs(limit=2, offset=1)] == ["55c0", "0e10"]
    assert [r.id[:4] for r in named.runs(offset=4)] == ["7f3a"]
    assert [r.id[:4] for r in named.runs(children=False)] == ["7f3b", "0e10", "7f3b", "7f3a"]
    assert named.count_runs() == 5
    assert named.count_runs(children=False) == 4


def test_named_runs_come_in_the_order_of_their_names(named):
    refs = ["0e10", "@-1", "churn"]
    assert [r.id for r in named.runs(refs=refs)] == [named.get_run(ref).id for ref in refs]
    assert [r.name for r in named.runs("name = 'fraud'", refs=refs)] == ["fraud"]
    with pytest.raises(RunNotFound):
        named.runs(refs=["0e10", "gone"])


def test_what_a_run_lacks_is_sorted_last_both_ways(named):
    down = [r.metrics.get("log_loss") for r in named.runs("order by metrics.log_loss desc")]
    assert [m.value if m else None for m in down] == [0.9, 0.8, None, None, None]
    up = [r.metrics.get("log_loss") for r in named.runs(order_by="metrics.log_loss")]
    assert [m.value if m else None for m in up] == [0.8, 0.9, None, None, None]


def test_a_limit_given_apart_wins_over_that_of_the_query(named):
    assert len(named.runs("limit 3")) == 3
    assert len(named.runs("limit 3", limit=1)) == 1
    assert len(named.runs("limit 0")) == 0


def test_a_page_of_runs_takes_the_same_statements_whatever_its_size(store):
    from sqlalchemy import event

    statements = []
    event.listen(store._engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    counts = []
    for size in (1, 40):
        runs = [os.urandom(8).hex() for _ in range(size)]
        store.apply([run_started(run) for run in runs] + [metric(run, "m", 1.0) for run in runs])
        statements.clear()
        assert len(store.runs(limit=size)) == size
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 10


def test_more_runs_than_one_statement_can_name_are_read(store):
    runs = [f"{number:016x}" for number in range(1201)]
    store.apply([run_started(run) for run in runs] + [ParamLogged(r, "p", r, T0) for r in runs])
    found = store.runs()
    assert len(found) == 1201
    assert all(run.params["p"].value == run.id for run in found)
