"""Conditions of steps: a closed language, and what it says of values."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.errors import BadQuery
from mlops_nb.expressions import holds, parse_condition
from mlops_nb.expressions.conditions import coordinates

VALUES = {
    "metrics": {"auc": 0.9, "train.acc": 0.5, "bad": math.nan, "n": 3},
    "params": {"full": True, "off": False, "kind": "rf", "n": 3, "none": None, "empty": ""},
    "live": {"auc": 0.85},
}


@pytest.mark.parametrize(
    "text",
    [
        "metrics.auc > live.auc",
        "metrics.auc>0.8",
        "metrics.auc > live.auc + 0.01 and params.full",
        "live.f1 is null or metrics.f1 > live.f1",
        "(metrics.auc - live.auc) * 100 >= 4",
        "metrics.n / 2 = 1.5",
        "params.kind = 'rf'",
        'params.kind == "rf"',
        "params.kind in ('lr', 'rf')",
        "params.kind not in ('lr')",
        "params.kind != 'lr'",
        "params.kind <> 'lr'",
        "params.n between 1 and 3",
        "params.n not between 4 and 5",
        "not params.off",
        "not (params.off or params.empty)",
        "params.full = true",
        "metrics.train.acc < .6",
        "metrics.'train.acc' < 6e-1",
        "-1 < params.n and params.n <= +3",
        "metric.auc > 0.1 AND param.n = 3",
        "live.auc is not null",
        "params.none is null",
        "true",
        "false or true and true",
    ],
)
def test_a_condition_that_is_true_holds(text):
    assert holds(text, VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "metrics.auc < live.auc",
        "metrics.missing > 0",
        "metrics.missing < 0",
        "metrics.missing != 0",
        "metrics.auc > live.missing",
        "metrics.auc != live.missing",
        "metrics.bad > 0",
        "metrics.bad = metrics.bad",
        "metrics.auc / 0 > 0",
        "metrics.auc * 1e308 * 1e308 - metrics.auc * 1e308 * 1e308 = 0",
        "params.kind > 3",
        "params.kind = 3",
        "params.missing",
        "params.off",
        "params.empty",
        "params.none",
        "params.n between 4 and 9",
        "params.kind not between 1 and 2",
        "true and false",
        "not true or false and true",
    ],
)
def test_a_condition_that_is_not_true_does_not_hold(text):
    assert not holds(text, VALUES)


@pytest.mark.parametrize("values", [{}, {"metrics": {}}])
def test_without_values_only_what_asks_for_their_absence_holds(values):
    assert holds("live.auc is null", values)
    assert not holds("metrics.auc > 0", values)


def test_numbers_of_numpy_are_numbers():
    np = pytest.importorskip("numpy")
    values = {"metrics": {"a": np.float32(0.5), "b": np.int64(2), "c": np.bool_(True)}}
    assert holds("metrics.a = 0.5 and metrics.b > 1", values)


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("", 0, "ends too early"),
        ("metrics.auc >", 13, "ends too early"),
        ("metrics.auc", 0, "Compare this with something"),
        ("auc > 3", 0, "Did you mean metrics.auc"),
        ("metrics.auc > 'x'", 15, "is a number"),
        ("metrics.auc > live.auc > 3", 23, 'Found ">"'),
        ("metric.auc > foo.bar", 13, "no foo"),
        ("metrc.auc > 0", 0, "Did you mean metrics.auc?"),
        ("__import__('os')", 0, "There is no __import__"),
        ("os.system('x')", 0, "no os"),
        ("metrics.auc > 0.9; x", 17, 'no ";"'),
        ("lambda: 0", 6, 'no ":"'),
        ("params.kind = rf", 14, "Text stands in quotes: 'rf'"),
        ("metrics > 3", 0, "needs a name"),
        ("1 + 'a' > 2", 4, "Only numbers"),
        ("metrics.auc > 'x", 14, "quote is not closed"),
        ("(metrics.auc > 1", 16, 'expected ")"'),
        ("(metrics.auc > 1) + 2 > 3", 0, "This is a condition"),
        ("params.n in ()", 13, "expected a value"),
        ("params.n is 3", 12, 'expected "null"'),
        ("params.n between 1", 18, 'expected "and"'),
        ("metrics.auc > 1 metrics", 16, 'Found "metrics"'),
        ("3", 0, "Compare this"),
        ("'x'", 0, "Compare this"),
        ("\x00", 0, "A condition has no"),
        ("metrics.auc > 1__0", 14, "A condition has no"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(text, position, problem):
    with pytest.raises(BadQuery) as refused:
        parse_condition(text)
    assert problem in refused.value.problem
    assert refused.value.position == position


@pytest.mark.parametrize(
    "text",
    ["(" * 5000, "not " * 400 + "true", "1+" * 900 + "1 > 0", "x" * 3000, "true and " * 200],
)
def test_a_condition_cannot_be_made_to_recurse_or_to_take_long(text):
    with pytest.raises(BadQuery):
        parse_condition(text)


def test_a_long_condition_within_bounds_is_read():
    text = " or ".join(["metrics.auc > 1"] * 80 + ["true"])
    assert holds(text, VALUES)


WORDS = st.sampled_from(
    [
        *("metrics.auc", "params.full", "live.auc", "1", ".5", "'a'", "true"),
        *("(", ")", "and", "or", "not", "in", "is", "null", "between", ","),
        *(">", "<", "=", "+", "-", "*", "/"),
    ]
)


@given(st.one_of(st.text(max_size=30), st.lists(WORDS, max_size=12).map(" ".join)))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_condition_that_can_be_judged_or_is_refused_with_a_place(text):
    try:
        condition = parse_condition(text)
    except BadQuery as error:
        place = error.position
    else:
        assert isinstance(holds(condition, VALUES), bool)
        place = 0
    assert 0 <= place <= len(text)


def test_what_a_condition_reads_is_listed_once_each():
    found = coordinates(parse_condition("metrics.a > live.a + params.m or not metrics.a < 1"))
    assert [str(one) for one in found] == ["metrics.a", "live.a", "params.m"]
