"""The query language: what it means, on records and in SQL, and what it says when it is wrong."""

import math
import re
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mlops_nb.errors import BadQuery
from mlops_nb.expressions import (
    comparable,
    is_lower_better,
    matches,
    parse_query,
    select_runs,
)
from mlops_nb.expressions.tree import RUN_FIELDS
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
from mlops_nb.store import Store, schema

RUN_STARTED = "7f3a000000000000"
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
    verdict={"label": "linear", "reasons": []},
    note="Better than it looks",
    is_starred=True,
    revision=3,
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
        "params.clf__kernel like 'r%' and params.clf__kernel not like 'R%'",
        "params.clf__kernel ilike 'R%' and params.clf__kernel not ilike 'r'",
        "params.clf__kernel != 3",
        "params.lr != 'auto'",
        "not params.lr < 'auto'",
        "params.lr in (0.1, 'auto') and params.n not in (1, 2)",
        "params.warm = true and params.warm != FALSE",
        "params.depth is null and params.lr is not null",
        "params.layers = '[64,32]'",
        "tags.stage = 'prod' AND tag.fold = '3'",
        "not tags.missing = 'x'",
        "name ilike 'random%' and name ilike '%FOREST' and name like 'Random_forest'",
        "name contains 'm f' and name not contains 'M f' and name not contains '%'",
        "started_at >= '2026-11-01' and started_at < '2026-11-02'",
        "started_at = '2026-11-01T13:00:00+01:00'",
        "started_at = '2026-11-01' and started_at <= '2026-11-01' and started_at > '2026-10-31'",
        "started_at in ('2026-11-01', '2020-01-01') and started_at != '2026-11-02'",
        "started_at not in ('2026-10-31', '2026-11-02T12:00')",
        "started_at between '2026-11-01' and '2026-11-01'",
        "started_at not between '2026-11-02' and '2026-11-03'",
        "started_at > '0001-01-01' and started_at < '9999-12-31'",
        "started_at > -99999999w and started_at < +99999999w and started_at > '-99999999w'",
        "duration_s = 2.5",
        "duration_s = 2500ms and duration_s > 2s and duration_s < 1m and duration_s < 1h30min",
        "metrics.auc < 1s",
        "metrics.auc between 0.9 and 0.9 and metrics.auc not between 1 and 2",
        "params.clf__kernel between 'r' and 's' and not params.clf__kernel between 0 and 1",
        "not params.clf__kernel not between 0 and 1",
        "starred and not archived and starred = true and archived = false and archived != true",
        "(starred or archived) and starred",
        "note like 'Better%' and note is not null and revision = 3",
        "verdict = 'linear' and verdict in ('linear', 'verified')",
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
        "name like 'random%'",
        "name contains 'forests'",
        "archived",
        "not starred",
        "starred = false",
        "metrics.missing not between 0 and 1",
        "params.lr between 'a' and 'b' or params.lr not between 'a' and 'b'",
        "started_at > '2026-11-01'",
        "started_at < '2026-11-01'",
        "started_at != '2026-11-01'",
        "ended_at > +1d",
        "ended_at < -99999999w",
        "verdict is null",
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
        ("params.lr between 1 or 2", "or", "expected and"),
        ("params.lr between 1 and 'x'", "'x'", "Both ends are numbers"),
        ("metrics.auc between 1 and 'x'", "'x'", "is a number"),
        ("started_at between 'x' and '2026-01-01'", "'x'", "is a time"),
        ("started_at > 7d", "7d", "Write -7d"),
        ("started_at > -7y", "-7y", "expected a number"),
        ("attempt > 3d", "3d", "without a unit"),
        ("name = 3d", "3d", "Put text in quotes: '3d'"),
        ("params.x = 3d", "3d", "Put text in quotes: '3d'"),
        ("started_at like '2026%'", "'2026%'", "is no text"),
        ("metrics.auc contains '9'", "'9'", "is no text"),
        ("name contains 3", "3", "text in quotes"),
        ("name ilike '50\\\\'", "'50", "escapes nothing"),
        ("archived > true", "true", "is true or false"),
        ("archived = 'yes'", "'yes'", "is true or false"),
        ("archived is null", "archived", "is true or false"),
        ("archived in (true, false)", "true", "is true or false"),
        ("name", "", "ends too early"),
        ("name and starred", "and starred", 'Found "and"; expected a comparison'),
        ("starred and (name)", ")", 'Found ")"; expected a comparison'),
        ("duration > 3", "duration", "Did you mean duration_s?"),
        ("created > '2026-01-01'", "created", "Did you mean started_at?"),
        ("state = 'failed'", "state", "Did you mean status?"),
        ("archive", "archive", "Did you mean archived?"),
        ("order by name nulls", "", "expected first or last"),
        ("name \uff1d 'x'", "\uff1d", "expected a comparison"),
        ("name = \u2018x\u2019", "\u2018", "expected a number or text"),
        ("n\u0430me = 'x'", "n\u0430me", "Did you mean name?"),
        ("name = 'a\0b'", "\0", "NUL"),
        ("name = 'x' -- drop", "--", 'Found "-"'),
        ("name = 'x' /* drop */", "/*", 'Found "/"'),
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
    assert caught.value.position == (query.rindex(at) if at else len(query))
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


HUGE = 5_000_000


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("x" * HUGE, id="a name of megabytes"),
        pytest.param("name = '" + "x" * HUGE, id="an open quote of megabytes"),
        pytest.param("(" * 9_000, id="only opened"),
        pytest.param("(" * 4_900 + "starred" + ")" * 4_900 + " or", id="opened and closed"),
        pytest.param("not " * 2_400 + "starred", id="thousands of nots"),
        pytest.param("name = '" + "\\" * 9_000, id="backslashes"),
        pytest.param("name = '" + "''" * 4_000, id="quotes"),
        pytest.param("a." * 4_999, id="dots"),
        pytest.param('params."' + '""' * 4_000, id="quotes of a key"),
        pytest.param("params.a in (" + "1," * 4_900, id="a list without end"),
        pytest.param("attempt = " + "9" * 9_000 + "z", id="digits"),
        pytest.param("started_at > -" + "9d" * 4_000 + "z", id="durations"),
        pytest.param("started_at in (" + ",".join(["'2026-01-01'"] * 300) + ")", id="many days"),
        pytest.param("\ud800 = \udfff", id="half characters"),
        pytest.param("\x1b[2J = 'x' \x07 y", id="a terminal's own"),
        pytest.param("name = 'x' \u202e = y", id="from right to left"),
        pytest.param("name = 'x' union select * from runs --", id="another statement"),
        pytest.param("__import__('os').system('true')", id="code"),
        pytest.param("name = 'x' or 1=1", id="always true"),
    ],
)
def test_hostile_input_is_refused_in_few_printable_words(query):
    with pytest.raises(BadQuery) as caught:
        parse_query(query)
    said = str(caught.value)
    assert len(said) < 400
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("name = 'x''; drop table runs; --'", id="another statement"),
        pytest.param(
            "name = 'x' or name = '%s' or name = '%(name)s' or name = ':name'", id="marks"
        ),
        pytest.param("name = '\ud800' or tags.'\udfff' = 'x'", id="half characters"),
        pytest.param(
            "params.'a''b' = 1 or params.\"'; drop table runs\" = 2", id="quotes in keys"
        ),
        pytest.param("params.x in (" + ",".join(["1"] * 4_000) + ")", id="a long list"),
        pytest.param("name like '" + "%a" * 4_000 + "'", id="many wildcards"),
        pytest.param("name not ilike '" + "%_" * 4_000 + "'", id="many places"),
        pytest.param("(" * 4_900 + "starred" + ")" * 4_900, id="many parentheses"),
        pytest.param(" or ".join(["not metrics.x > 1"] * 200), id="many comparisons"),
        pytest.param("not (" * 25 + "starred" + ")" * 25, id="many nots"),
        pytest.param("order by " + ", ".join(["params.x"] * 40), id="many orders"),
        pytest.param("attempt = 1e999 or attempt = -1e999 or attempt = 2.5", id="no integer"),
        pytest.param("ended_at < '9999-12-31' or ended_at > '0001-01-01'", id="far away"),
        pytest.param("ended_at > -" + "9" * 400 + "w", id="farther away"),
        pytest.param("limit " + "9" * 18, id="a large limit"),
    ],
)
def test_hostile_values_are_bound_on_both_back_ends(store, query):
    run = RUN_STARTED
    store.apply([RunStarted(run, NOON_NS, "a" * 5_000, "cell"), TagSet(run, "x", "y", NOON_NS)])
    everything = store.runs()
    parsed = parse_query(query)
    assert store.runs(query) == select_runs(parsed, everything)
    assert store.count_runs() == 1


def test_a_place_in_a_long_query_or_one_of_several_lines_is_shown():
    long = " and ".join(["metrics.auc > 0.9"] * 20)
    for query in (long + " nad starred", "starred\n  and nmae = 'x'\n  or archived", "日本 = 1"):
        with pytest.raises(BadQuery) as caught:
            parse_query(query)
        _, shown, mark = str(caught.value).split("\n")
        assert len(mark) <= 76
        found = word_at(caught.value)
        before = shown[: shown.index(found)]
        width = sum(2 if letter in "日本" else 1 for letter in before)
        assert mark.index("^") == width


def word_at(error):
    return error.query[error.position :].split()[0]


def test_a_time_before_now_is_counted_anew_each_time():
    now = as_datetime(NOON_NS)
    run = Run("1", "x", "finished", "cell", as_datetime(NOON_NS - 2 * 86_400 * 10**9))
    assert matches(parse_query("started_at > -3d", now=now), run)
    assert not matches(parse_query("started_at > -1d12h", now=now), run)
    assert not matches(parse_query("started_at < '-3d'", now=now), run)
    first, second = (parse_query("started_at > -1ms").where.values[0] for _ in range(2))
    assert second > first


# --- both readers agree -------------------------------------------------------------------------

KEYS = ["lr", "a.b", "x y", "it's"]
WORDS = ["rf", "RF", "a%b", "a_b", "it's", "", "é", "É", "10", "true", "\\", "x\ny", "[*?]", "😀"]
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
    if draw(st.booleans()):
        label = draw(st.sampled_from(["linear", "rf", "out-of-order"]))
        reasons = [{"kind": "x", "text": '"label":"linear"'}]
        events.append(RunChanged(id_, start, {"verdict": {"label": label, "reasons": reasons}}))
    return events


edits = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([word for word in WORDS if word.isprintable()]),
        "note": st.sampled_from(WORDS),
        "starred": st.booleans(),
        "archived": st.booleans(),
        "tags.lr": st.sampled_from(WORDS),
    },
)


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


number_literals = st.sampled_from(["0", "1", "-2.5", "0.1", "1e300", "inf", "-inf", "100", "2.5"])
text_literals = st.sampled_from(WORDS).map(quoted)
time_literals = st.one_of(
    st.sampled_from(TIMES).map(lambda ns: quoted(as_datetime(ns).isoformat())),
    st.sampled_from(["'2026-11-01'", "'2026-10-31'", "'9999-12-31'", "-1d", "-9000d"]),
)
patterns = st.sampled_from(
    ["%", "_", "r_", "%B", r"a\%b", r"a\_b", "é", "", "x%y", r"\\", "[%]", "%*%", "%a%%b%", "%%_%"]
).map(lambda pattern: "'" + pattern.replace("\\", "\\\\") + "'")
keys = st.sampled_from(KEYS).map(quoted)
flag_literals = st.sampled_from(["true", "false"])
OPERATORS = [
    *("=", "!=", "<", "<=", ">", ">=", "in", "is"),
    *("like", "ilike", "contains", "between"),
]


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
            st.tuples(st.sampled_from(["note", "verdict"]), st.just(text_literals)),
            st.tuples(st.sampled_from(["starred", "archived"]), st.just(flag_literals)),
        )
    )
    if field in {"starred", "archived"}:
        return draw(st.sampled_from([field, f"{field} = true", f"{field} != true"]))
    operator = draw(st.sampled_from(OPERATORS))
    negation = draw(st.sampled_from(["", "not "]))
    if operator == "is":
        return f"{field} is {negation}null"
    if operator == "in":
        inside = ", ".join(draw(st.lists(literals, min_size=1, max_size=3)))
        return f"{field} {negation}in ({inside})"
    is_text = field.startswith(("params", "tags", "name", "group", "note", "verdict"))
    if operator in {"like", "ilike", "contains"} and is_text:
        return f"{field} {negation}{operator} {draw(patterns)}"
    if operator == "between":
        ends = draw(st.lists(literals, min_size=2, max_size=2))
        if not field.startswith("params") or len({end[0] == "'" for end in ends}) == 1:
            return f"{field} {negation}between {' and '.join(ends)}"
    return f"{field} {operator if operator in '<=>=!=' else '='} {draw(literals)}"


queries = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' and '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' or '.join(parts)})"),
    ),
    max_leaves=5,
)


@pytest.fixture
def store(store_location):
    with Store.open(store_location, create=True) as opened:
        yield opened


def empty(store):
    with store._writing() as connection:
        for table in schema.metadata.tables.values():
            if table.name not in {"meta", "spools"}:
                connection.execute(table.delete())


orders = st.lists(
    st.tuples(
        st.one_of(
            st.builds("{}.{}".format, st.sampled_from(["params", "metrics", "tags"]), keys),
            st.sampled_from(["name", "started_at", "duration_s", "attempt", "starred", "note"]),
        ),
        st.sampled_from(["", " asc", " desc"]),
        st.sampled_from(["", " nulls first", " nulls last"]),
    ).map("".join),
    max_size=3,
).map(lambda parts: f" order by {', '.join(parts)}" if parts else "")


@given(
    runs=st.lists(recorded_runs(), min_size=1, max_size=12, unique_by=lambda events: events[0].id),
    asked=st.lists(st.tuples(queries, orders).map("".join), min_size=5, max_size=20),
    edited=st.lists(st.tuples(st.integers(0, 11), edits), max_size=5),
)
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=set(Phase) - {Phase.shrink},  # which takes minutes, and the query tells
)
def test_sql_and_records_give_the_same_answer_on_both_back_ends(store, runs, asked, edited):
    empty(store)
    store.apply([event for events in runs for event in events])
    for place, changes in edited:
        store.edit_runs([runs[place % len(runs)][0].id], changes)
    everything = store.runs(archived=True)
    assert len(everything) == len(runs)
    for query in asked:
        parsed = parse_query(query)
        by_record = [run.id for run in select_runs(parsed, everything)]
        assert [run.id for run in store.runs(query, archived=True)] == by_record, query
        assert store.count_runs(query, archived=True) == len(by_record)
        assert (
            store.runs(f"{query} limit 2", archived=True) == store.runs(query, archived=True)[:2]
        )


# --- the page -----------------------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent / "docs" / "queries.md").read_text("utf-8")


def rows_under(*headings):
    """The cells of the tables whose first column has one of these headings."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        heading, _, *rows = [
            [cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()
        ]
        if heading[0] in headings:
            found += [[cell.strip("| ") for cell in row] for row in rows]
    return found


def queries_of_the_page():
    blocks = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [*lines, *(row[0].strip("`") for row in rows_under("query"))]


@pytest.mark.parametrize("query", queries_of_the_page())
def test_a_query_of_the_page_is_understood(query):
    parsed = parse_query(query)
    assert parsed.where or parsed.order_by


@pytest.mark.parametrize(("query", "because"), rows_under("refused"))
def test_what_the_page_says_is_refused_is_refused_in_these_words(query, because):
    with pytest.raises(BadQuery) as caught:
        parse_query(query.strip("`"))
    assert because in caught.value.problem


def test_the_page_names_all_fields_and_no_others():
    named = {name for row in rows_under("field") for name in re.findall(r"`([\w.]+)`", row[0])}
    assert named == {*RUN_FIELDS, "params.NAME", "metrics.NAME", "tags.NAME"}
    assert len(queries_of_the_page()) > 30


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
