"""The query language: what it means, on records and in SQL, and what it says when it is wrong."""

import math
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.errors import BadQuery
from mlops_nb.expressions import comparable, is_lower_better, matches, parse_query
from mlops_nb.model import (
    Metric,
    MetricLogged,
    Param,
    ParamLogged,
    Run,
    RunChanged,
    RunStarted,
    TagSet,
    as_datetime,
)
from mlops_nb.store import Store

NOON_NS = 1_793_534_400_000_000_000  # 2026-11-01 12:00 UTC
RUN = Run(
    id="7f3a000000000000",
    name="Random forest",
    status="finished",
    kind="interactive",
    started_at=as_datetime(NOON_NS),
    ended_at=as_datetime(NOON_NS + 2_500_000_000),
    group="churn",
    attempt=3,
    params={
        "lr": Param(0.1),
        "n": Param(100),
        "clf__kernel": Param("rbf"),
        "warm": Param(value=True),
        "depth": Param(None),
        "layers": Param([64, 32]),
    },
    metrics={
        "auc": Metric(0.9),
        "train.auc": Metric(0.99),
        "loss": Metric(math.nan),
        "best": Metric(math.inf),
        "precision@5": Metric(0.4),
    },
    tags={"stage": "prod", "fold": "3"},
)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "  ",
        "metrics.auc >= 0.9",
        "metrics.auc == 0.9",
        "metrics.auc = .9",
        "metrics.auc <> 1 and metrics.auc != 1",
        "metrics.auc > -1e3 and metrics.auc < +1_000",
        'metrics."train.auc" > 0.9',
        "metrics.'train.auc' > 0.9",
        "metrics.train.auc > 0.9",
        "metrics.precision@5 < 0.5",
        "metrics.best = inf",
        "metrics.loss is null",
        "metrics.missing is null",
        "not metrics.loss > 0 and not metrics.loss <= 0 and not metrics.loss != 0",
        "params.clf__kernel = 'rbf'",
        'params.clf__kernel = "rbf"',
        "params.clf__kernel like 'R%' and params.clf__kernel not like 'r'",
        "params.clf__kernel != 3",
        "params.lr != 'auto'",
        "not params.lr < 'auto'",
        "params.lr in (0.1, 'auto') and params.n not in (1, 2)",
        "params.warm = true and params.warm != FALSE",
        "params.depth is null and params.lr is not null",
        "params.layers = '[64,32]'",
        "tags.stage = 'prod' AND tag.fold = '3'",
        "not tags.missing = 'x'",
        "name like 'random%' and name like '%FOREST' and name like 'Random_forest'",
        "started_at >= '2026-11-01' and started_at < '2026-11-02'",
        "started_at = '2026-11-01T13:00:00+01:00'",
        "duration_s = 2.5",
        "attempt in (1, 2, 3) and group = 'churn'",
        "experiment is null and parent is null",
        "status = 'finished' and kind != 'batch'",
        "metrics.auc > 1 or params.lr = 0.1 and name = 'Random forest'",
        "(metrics.auc > 1 or params.lr = 0.1) and not (name = 'x' or not group = 'churn')",
        "not not name is not null",
    ],
)
def test_this_query_finds_the_run(query):
    assert matches(parse_query(query), RUN)


@pytest.mark.parametrize(
    "query",
    [
        "metrics.auc > 0.9",
        "metrics.missing > 0",
        "metrics.missing != 0",
        "metrics.loss is not null",
        "params.n = '100'",
        "params.clf__kernel > 3",
        "params.missing not in (1)",
        "params.missing not like 'x'",
        "tags.stage = 'PROD'",
        "name = 'random forest'",
        "name like 'forest'",
        "experiment = ''",
        "metrics.auc = 0.9 and (params.lr > 1 or attempt < 3)",
    ],
)
def test_this_query_does_not_find_the_run(query):
    assert not matches(parse_query(query), RUN)


def test_in_a_pattern_a_backslash_takes_a_wildcard_by_the_letter():
    run = Run("1", "100%_sure", "finished", "cell", as_datetime(0))
    assert matches(parse_query(r"name like '100\%\_%'"), run)
    assert not matches(parse_query(r"name like '100\_%'"), run)


def test_quotes_are_written_twice_or_behind_a_backslash():
    for text in ("'it''s'", r"'it\'s'", '"it\'s"'):
        assert parse_query(f"name = {text}").where.values == ("it's",)
    assert parse_query('name = "say ""hi"""').where.values == ('say "hi"',)


def test_order_and_limit_follow_the_condition():
    query = parse_query("metrics.auc > 0 ORDER BY metrics.auc DESC, started_at asc LIMIT 20")
    assert [(str(o.field), o.is_descending) for o in query.order_by] == [
        ("metrics.auc", True),
        ("started_at", False),
    ]
    assert query.limit == 20
    assert parse_query("order by name").where is None
    assert parse_query("limit 0").limit == 0


def test_an_order_given_apart_wins():
    query = parse_query("limit 3 ", order_by="params.lr desc")
    assert (str(query.order_by[0].field), query.limit) == ("params.lr", 3)


def test_words_of_the_language_may_begin_a_name():
    query = parse_query("params.order = 1 and name in ('or') and params.'limit by' = 2")
    assert [str(part.field) for part in query.where.items] == [
        "params.order",
        "name",
        "params.limit by",
    ]
    assert str(parse_query("order by metrics.orderliness").order_by[0].field)


# --- what is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "at", "says"),
    [
        ("accuracy > 0.9", "accuracy", "Did you mean metrics.accuracy"),
        ("name = 'x' and statuss = 'y'", "statuss", "Did you mean status?"),
        ("metrik.auc > 1", "metrik", "Did you mean metric.auc?"),
        ("params = 3", "params", "params needs a name"),
        ("status = finished", "finished", "Put text in quotes: 'finished'"),
        ("status = 'finsihed'", "'finsihed'", "there are running, finished"),
        ("kind in ('cell', 'sell')", "'sell'", "there are interactive, cell"),
        ("metrics.auc > '0.9'", "'0.9'", "is a number"),
        ("tags.fold = 3", "3", "put the value in quotes: '3'"),
        ("metrics.auc like '0%'", "'0%'", "is no text"),
        ("params.lr = nan", "nan", '"is null"'),
        ("params.lr = None", "None", '"is null"'),
        ("params.lr => 3", ">", "expected a number or text"),
        ("params.lr between 1 and 2", "between", "expected a comparison"),
        ("params.lr = 1 or or", "or", "expected a field"),
        ("params.lr in ()", ")", "expected a number or text"),
        ("params.lr = 1; drop table runs", ";", 'Found ";"'),
        ("name = 'open", "'open", "not closed"),
        ("name like 'x\\\\\\'", "'x", "not closed"),
        ("name like '50\\\\'", "'50", "escapes nothing"),
        ("started_at > 'yesterday'", "'yesterday'", "is a time"),
        ("limit -1", "-1", "whole number"),
        ("limit 1.5", "1.5", "whole number"),
        ("order by nonsense", "nonsense", "no field nonsense"),
        ("1 < params.lr", "1", "expected"),
        ("name is 3", "3", "expected not or null"),
    ],
)
def test_a_bad_query_says_what_is_wrong_and_where(query, at, says):
    with pytest.raises(BadQuery) as caught:
        parse_query(query)
    assert says in caught.value.problem
    assert caught.value.position == query.rindex(at)
    assert caught.value.query == query


@pytest.mark.parametrize("query", ["params.lr >", "params.lr", "name = 'x' and ", "(name = 'x'"])
def test_a_query_that_ends_too_early_is_wrong_at_its_end(query):
    with pytest.raises(BadQuery, match="ends too early") as caught:
        parse_query(query)
    assert caught.value.position == len(query.rstrip())


def test_a_bad_order_points_into_the_order():
    with pytest.raises(BadQuery) as caught:
        parse_query("name = 'x'", order_by="metrics.auc downwards")
    assert (caught.value.query, caught.value.position) == ("metrics.auc downwards", 12)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("not " * 60 + "name = 'x'", id="nots"),
        pytest.param("(name = 'x' or " * 60 + "name = 'y'" + ")" * 60, id="parentheses"),
        pytest.param(" or ".join(["name = 'x'"] * 201), id="comparisons"),
        pytest.param("name = '" + "x" * 10_000 + "'", id="characters"),
    ],
)
def test_a_query_that_no_person_writes_is_refused(query):
    with pytest.raises(BadQuery):
        parse_query(query)


@given(st.text(alphabet=string.printable + "äß☃\ud800", max_size=40))
@settings(max_examples=300)
def test_any_text_is_understood_or_refused_with_a_place_in_it(text):
    places = [0]
    try:
        parse_query(text)
    except BadQuery as error:
        places.append(error.position)
    assert all(0 <= place <= len(text) for place in places)


# --- both readers agree -------------------------------------------------------------------------

KEYS = ["lr", "a.b", "x y", "it's"]
WORDS = ["rf", "RF", "a%b", "a_b", "it's", "", "é", "É", "10", "true", "\\", "x\ny"]
numbers = st.sampled_from([0.0, -0.0, 1.0, 0.1, -2.5, 1e300, math.inf, -math.inf, math.nan, 100])
values = st.one_of(
    numbers,
    st.integers(-3, 3),
    st.booleans(),
    st.none(),
    st.sampled_from(WORDS),
    st.just([1, "a"]),
)
TIMES = [NOON_NS + offset * 1_000 for offset in (0, 1, 500_000, 60_000_000)]


@st.composite
def recorded_runs(draw):
    """The events of one run."""
    id_ = draw(st.from_regex(r"[0-9a-f]{16}", fullmatch=True))
    start = draw(st.sampled_from(TIMES))
    name = draw(st.sampled_from(WORDS))
    group = draw(st.sampled_from(["", "g", "G"]))
    events = [RunStarted(id_, start, name, draw(st.sampled_from(["cell", "batch"])), group=group)]
    if draw(st.booleans()):
        end = start + draw(st.sampled_from([0, 1_000, 2_500_000_000]))
        events.append(RunChanged(id_, end, {"status": "failed", "ended_at_ns": end}))
    some_keys = st.sets(st.sampled_from(KEYS))
    events += [ParamLogged(id_, key, draw(values), start) for key in draw(some_keys)]
    metrics = [(key, float(draw(numbers))) for key in draw(some_keys)]
    events += [MetricLogged(id_, key, value, None, start) for key, value in metrics]
    events += [TagSet(id_, key, draw(st.sampled_from(WORDS)), start) for key in draw(some_keys)]
    return events


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


number_literals = st.sampled_from(["0", "1", "-2.5", "0.1", "1e300", "inf", "-inf", "100", "2.5"])
text_literals = st.sampled_from(WORDS).map(quoted)
time_literals = st.sampled_from(TIMES).map(lambda ns: quoted(as_datetime(ns).isoformat()))
patterns = st.sampled_from(["%", "_", "r_", "%B", r"a\%b", r"a\_b", "é", "", "x%y", r"\\"]).map(
    lambda pattern: "'" + pattern.replace("\\", "\\\\") + "'"
)
keys = st.sampled_from(KEYS).map(quoted)


@st.composite
def comparisons(draw):
    field, literals = draw(
        st.one_of(
            st.tuples(keys.map("params.{}".format), st.just(number_literals | text_literals)),
            st.tuples(keys.map("metrics.{}".format), st.just(number_literals)),
            st.tuples(keys.map("tags.{}".format), st.just(text_literals)),
            st.tuples(st.sampled_from(["name", "group", "experiment"]), st.just(text_literals)),
            st.tuples(st.sampled_from(["attempt", "duration_s"]), st.just(number_literals)),
            st.tuples(st.sampled_from(["started_at", "ended_at"]), st.just(time_literals)),
        )
    )
    operator = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "in", "is", "like"]))
    negation = draw(st.sampled_from(["", "not "]))
    if operator == "is":
        return f"{field} is {negation}null"
    if operator == "in":
        inside = ", ".join(draw(st.lists(literals, min_size=1, max_size=3)))
        return f"{field} {negation}in ({inside})"
    if operator == "like" and field.startswith(("params", "tags", "name", "group")):
        return f"{field} {negation}like {draw(patterns)}"
    return f"{field} {'=' if operator == 'like' else operator} {draw(literals)}"


queries = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' and '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' or '.join(parts)})"),
    ),
    max_leaves=5,
)


@given(
    runs=st.lists(recorded_runs(), min_size=1, max_size=6, unique_by=lambda events: events[0].id),
    asked=st.lists(queries, min_size=1, max_size=8),
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_sql_and_records_give_the_same_answer(tmp_path_factory, runs, asked):
    with Store.open(tmp_path_factory.mktemp("store") / ".mlops", create=True) as store:
        store.apply([event for events in runs for event in events])
        everything = store.runs()
        assert len(everything) == len(runs)
        for query in asked:
            by_record = [run.id for run in everything if matches(parse_query(query), run)]
            assert [run.id for run in store.runs(query)] == by_record, query
            assert store.count_runs(query) == len(by_record)


# --- values and metrics -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seen_as"),
    [
        (3, 3.0),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        (math.nan, None),
        (None, None),
        (True, "true"),
        ("True", "True"),
        ({"a": [1]}, '{"a":[1]}'),
    ],
)
def test_a_value_is_compared_as_a_number_a_text_or_nothing(value, seen_as):
    assert comparable(value) == seen_as


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("accuracy", False),
        ("roc_auc", False),
        ("f1", False),
        ("r2", False),
        ("mean_squared_error", True),
        ("train.mean_squared_error", True),
        ("log_loss", True),
        ("logLoss", True),
        ("neg_log_loss", False),
        ("neg_mean_absolute_error.2", False),
        ("val_rmse", True),
        ("mse", True),
        ("d2_absolute_error", False),
        ("test.d2_log_loss", False),
        ("brier_score_loss", True),
        ("davies_bouldin", True),
        ("silhouette", False),
        ("glossary_recall", False),
    ],
)
def test_which_way_is_up_is_told_by_the_words_of_a_metric(metric, lower):
    assert is_lower_better(metric) is lower
