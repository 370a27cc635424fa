"""Which runs a query finds, on every way to find them; and how little is asked for it."""

import itertools
import math
import re
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from events import SECOND, A, B, metric, run_started
from sqlalchemy import event

from mlops_nb.display.loading import view_comparison
from mlops_nb.expressions import parse_query, select_runs
from mlops_nb.model import EnvironmentSeen, ParamLogged, RunChanged, TagSet
from mlops_nb.store import Store, schema
from mlops_nb.store.reading import pages

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
made_stores = pytest.importorskip("made_stores")

T0 = made_stores.BEGIN_NS
CHILD, ODD, ENDLESS = ("d" * 16, "e" * 16, "f" * 16)
QUERIES = [
    "",
    "metrics.auc >= 0.8 and params.lr > 0.001 and params.depth <= 8 order by metrics.auc desc",
    "metrics.auc >= 0.8 and params.lr > 0.001 and params.depth <= 8",
    "metrics.auc > 0.9 order by metrics.auc",
    "metrics.auc > 2 order by metrics.auc",
    "order by metrics.auc",
    "order by metrics.auc desc, name",
    "order by params.lr",
    "order by params.lr desc",
    "order by params.estimator, metrics.log_loss desc",
    "order by params.class_weight, params.penalty, started_at",
    "params.class_weight is null order by params.class_weight",
    "params.lr is not null order by params.lr desc",
    "params.lr = 'high' order by params.lr",
    "metrics.nothing is null order by metrics.nothing desc",
    "not metrics.auc > 0.7 order by metrics.auc",
    "(params.estimator = 'SVC' or tags.stage = 'prod') and metrics.auc > 0.6 order by tags.team",
    "tags.stage = 'prod' and params.depth = 3",
    "tags.stage != 'prod' order by metrics.auc desc limit 7",
    "params.estimator in ('SVC', 'nothing') order by duration_s desc",
    "name = 'churn 3' order by params.depth",
    "notebook = 'churn.ipynb' and metrics.auc > 0.75",
]


def odd_events():
    """Runs that lack things, have them in other types, and stand in no order."""
    yield run_started(A, at_ns=T0 + 5 * SECOND, name="churn 3", notebook="churn.ipynb")
    yield ParamLogged(A, "lr", "high", T0)
    yield metric(A, "auc", math.nan)
    yield run_started(B, at_ns=T0 + 5 * SECOND)
    yield ParamLogged(B, "lr", None, T0)
    yield metric(B, "auc", 0.5)
    yield run_started(CHILD, parent=B, child=1, at_ns=T0 + 6 * SECOND)
    yield metric(CHILD, "auc", 0.5)
    yield run_started(ODD, at_ns=T0 - SECOND, name="")
    yield ParamLogged(ODD, "lr", [1, 2], T0)
    yield ParamLogged(ODD, "class_weight", 3, T0)
    yield TagSet(ODD, "stage", "prod", T0)
    yield run_started(ENDLESS, at_ns=T0 + 7 * SECOND)
    yield metric(ENDLESS, "auc", math.inf)


def fill(store, count):
    events = itertools.chain(made_stores.events_of(made_stores.made_runs(count)), odd_events())
    while batch := list(itertools.islice(events, 2000)):
        store.apply(batch)


@pytest.fixture
def store(store_location):
    with Store.open(store_location, create=True) as store:
        fill(store, 80)
        yield store


@pytest.mark.parametrize("limit", [3, 1000, None])
@pytest.mark.parametrize(
    "counted", [pytest.param(10_000, id="rarest"), pytest.param(1, id="order")]
)
def test_every_way_to_find_runs_finds_the_same_ones(store, monkeypatch, counted, limit):
    monkeypatch.setattr(pages, "COUNTED", counted)
    everything = store.runs()
    assert len(everything) == 85
    for text in QUERIES:
        query = parse_query(text)
        every = [run.id for run in select_runs(replace(query, limit=None), everything)]
        most = query.limit if limit is None else limit
        assert [run.id for run in store.runs(text, limit=limit)] == every[:most], text
        assert store.count_runs(text) == len(every), text


def test_pages_follow_each_other(store):
    for text in QUERIES:
        whole = [run.id for run in store.runs(text, limit=50)]
        cut = [
            run.id
            for offset in range(0, 50, 10)
            for run in store.runs(text, limit=10, offset=offset)
        ]
        assert cut == whole, text


def test_children_and_archived_runs_are_left_out_on_request(store):
    store.edit_runs([ODD], {"archived": True})
    for text in ("", "order by metrics.auc desc", "metrics.auc >= 0.5"):
        assert CHILD in {run.id for run in store.runs(text, limit=100)}
        assert CHILD not in {run.id for run in store.runs(text, limit=100, children=False)}
    assert ODD not in {run.id for run in store.runs(limit=100)}
    assert ODD in {run.id for run in store.runs(limit=100, archived=True)}


def test_named_runs_come_in_the_order_they_are_named_in(store):
    refs = [CHILD, A, ENDLESS, A]
    assert [run.id for run in store.runs(refs=refs)] == [CHILD, A, ENDLESS]
    assert [run.id for run in store.runs("metrics.auc > 0", refs=refs)] == [CHILD, ENDLESS]
    assert [run.id for run in store.runs(refs=refs, limit=1)] == [CHILD]


# --- how much is asked ------------------------------------------------------------------------


@contextmanager
def statements(store):
    """What is sent to the database, with its values."""
    sent = []

    def note(connection, cursor, statement, parameters, context, executemany):
        sent.append((statement, parameters))

    event.listen(store._engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(store._engine, "before_cursor_execute", note)


def curve_events(store):
    """A curve and an environment for each of the newest runs."""
    for number, run in enumerate(store.runs(limit=40)):
        digest = f"sha256:{number:064x}"
        yield EnvironmentSeen(digest, {"python": f"3.11.{number}"})
        yield RunChanged(run.id, T0, {"environment": digest})
        yield from (metric(run.id, "loss", 1 / step, step) for step in range(1, 12))


CALLS = {
    "newest": lambda store: store.runs(limit=50),
    "filter": lambda store: store.runs(QUERIES[1], limit=50),
    "newest of a filter": lambda store: store.runs(QUERIES[2], limit=50),
    "order": lambda store: store.runs("order by params.lr desc", limit=50),
    "a notebook": lambda store: store.runs("notebook = 'churn.ipynb'", limit=50),
    "parents": lambda store: store.runs(limit=50, children=False),
    "a page": lambda store: store.runs("order by metrics.auc", limit=40, offset=5),
    "count": lambda store: store.count_runs(QUERIES[1]),
    "count all": lambda store: store.count_runs(),
    "a table of 50": lambda store: store.find_runs(QUERIES[1], limit=50).df,
    "a table of all": lambda store: store.frame(),
    "a table of some": lambda store: store.frame(QUERIES[2]),
    "the newest": lambda store: store.get_run("@-1"),
    "the best": lambda store: store.get_run("@best:auc"),
    "with a tag": lambda store: store.get_run("tag:stage=prod"),
    "by name": lambda store: store.get_run("churn 3"),
    "groups": lambda store: store.latest_of_groups(limit=20),
    "a comparison": lambda store: view_comparison(store, limit=30),
    "unended": lambda store: store.unended_sessions(),
}


@pytest.fixture(scope="module")
def small_and_large(tmp_path_factory):
    """Two stores, one ten times as large as the other."""
    folders = []
    for count in (60, 600):
        folder = tmp_path_factory.mktemp("store") / ".mlops"
        made_stores.write_rows(folder, count)
        with Store.open(folder) as store:
            store.apply(list(curve_events(store)))
        folders.append(folder)
    return folders


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_as_many_statements_are_asked_of_many_runs_as_of_few(small_and_large, call):
    counts = []
    for folder in small_and_large:
        with Store.open(folder) as store, statements(store) as sent:
            call(store)
        counts.append(len(sent))
    assert counts[0] == counts[1]
    assert 0 < counts[0] <= 40


TABLES = f"({'|'.join(schema.metadata.tables)})"
# Whole tables are read where all runs are wanted, and in an index where runs are counted.
WHOLE = {"a table of all", "a table of some", "count", "count all", "groups"}


@pytest.mark.parametrize("name", [name for name in CALLS if name not in WHOLE])
def test_no_statement_reads_a_whole_table(small_and_large, name):
    with Store.open(small_and_large[1]) as store:
        with statements(store) as sent:
            CALLS[name](store)
        assert scans(store, sent, rf"SCAN {TABLES}(?! USING COVERING INDEX)") == []


@pytest.mark.parametrize("name", ["count", "count all", "groups"])
def test_counting_reads_indexes_only(small_and_large, name):
    with Store.open(small_and_large[1]) as store:
        with statements(store) as sent:
            CALLS[name](store)
        assert scans(store, sent, rf"SCAN {TABLES}(?! USING COVERING INDEX)") == []


def scans(store, sent, pattern):
    """Steps of the plans of statements that read more than they should."""
    found = []
    with store._engine.connect() as connection:
        for statement, parameters in sent:
            if not statement.startswith("SELECT"):
                continue
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [row[3] for row in rows]
            found += [(step, statement) for step in steps if re.match(pattern, step)]
    return found


def test_the_order_of_a_page_comes_from_an_index(small_and_large):
    with Store.open(small_and_large[1]) as store:
        for text in ("", "order by metrics.auc desc", "order by params.lr", "name = 'churn 3'"):
            with statements(store) as sent:
                store.runs(text, limit=5)
            first = next(each for each in sent if "ORDER BY" in each[0])
            assert scans(store, [first], r"USE TEMP B-TREE FOR ORDER BY") == [], text
