"""Values as source: exactly the same values come back, or it says why not."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import math
import pathlib
import re
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.errors.values import CannotRender
from mlops_nb.notebook.rendering import is_plain_literal, render_parameters


def again(value):
    """Write a value, and let Python read it in a namespace where the builtins are shadowed."""
    shadowed = dict.fromkeys(
        ("float", "set", "range", "slice", "complex", "frozenset", "bytearray", "datetime")
    )
    names = dict(shadowed)
    exec(render_parameters({"value": value}), names)  # noqa: S102
    found = names.pop("value")
    names.pop("__builtins__")
    assert names == shadowed, "nothing else is bound"
    return found


def same(one, other):  # noqa: C901  # one rule a type
    """Whether two values cannot be told apart, type by type and bit by bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        as_before = (one.dtype, one.shape) == (other.dtype, other.shape)
        return as_before and one.tobytes() == other.tobytes()
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and (one.tobytes() == other.tobytes() or one != one)  # noqa: PLR0124
    if isinstance(one, float):
        return (one == other and math.copysign(1, one) == math.copysign(1, other)) or (
            math.isnan(one) and math.isnan(other)
        )
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset):
        return one == other and sorted(map(repr, one)) == sorted(map(repr, other))
    if isinstance(one, dt.datetime | dt.time):
        told = one.replace(tzinfo=None) == other.replace(tzinfo=None)
        return told and one.fold == other.fold and same(one.tzinfo, other.tzinfo)
    if isinstance(one, Decimal):
        return one.as_tuple() == other.as_tuple()
    return one == other


BRUSSELS = zoneinfo.ZoneInfo("Europe/Brussels")


class Colour(enum.Enum):
    RED = 1
    ROSE = 1  # noqa: PIE796  # another name for it


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: tuple[int, ...]


VALUES = {
    "none": None,
    "bool": [True, False],
    "ints": [0, -1, 2**63, -(10**30), 10**4000, 16**9000],
    "floats": [0.1, -0.0, 1e300, 5e-324, math.inf, -math.inf, math.nan, -math.nan],
    "complex": [1 + 2j, complex(-0.0, 0.0), complex(0.0, -0.0), complex(math.nan, math.inf)],
    "texts": ["", "'\"", "a\nb\tc\r\x00", "é漢🎉", "\ud800\udfff", "\u2028\u202e\ufeff", "\\n{}%"],
    "bytes": [b"", b"\x00\xff'\"", bytearray(b"x")],
    "tuples": [(), (1,), ((), (1, 2))],
    "sets": [set(), {1, "a", None}, frozenset(), frozenset({(1, 2), frozenset()})],
    "dicts": {1: "a", (1, 2): {"b": []}, None: 0, 2.5: {}, b"k": {"set": {1}}},
    "ranges": [range(3), range(5, -5, -2), slice(None), slice(1, None, "x"), ...],
    "dates": [dt.date(2026, 11, 21), dt.date.max],
    "times": [dt.time(), dt.time(1, 2, 3, 4), dt.time(3, fold=1, tzinfo=dt.timezone.utc)],
    "moments": [
        dt.datetime(2026, 1, 1),  # noqa: DTZ001
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BRUSSELS),
        dt.datetime(2026, 1, 1, 1, 2, 3, 4, tzinfo=dt.timezone.utc),
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-5, minutes=-30), "mine")),
    ],
    "durations": [dt.timedelta(), dt.timedelta(-1, 5, 7), dt.timedelta.max, BRUSSELS],
    "paths": [pathlib.Path("/a b/'é"), pathlib.PurePosixPath("x"), pathlib.PureWindowsPath("c:\\x")],
    "decimals": [Decimal("1.20"), Decimal("-0"), Decimal("NaN"), Decimal("sNaN1"), Decimal("-Infinity"), Decimal("1E+400")],
    "fractions": [Fraction(-1, 3), uuid.UUID(int=7)],
    "enums": [Colour.RED, Colour.ROSE, Access.READ | Access.WRITE, Access(0), Level.LOW, re.ASCII],
    "named tuples": Point(1, (2,)),
    "numpy scalars": [
        np.float32(0.1), np.float64("nan"), np.float16(1 / 3), np.int8(-3), np.uint64(2**64 - 1),
        np.True_, np.str_("é'"), np.bytes_(b"\x01"), np.complex64(1 - 0j), np.longdouble(1) / 3,
        np.datetime64("2026-11-21T01:02:03.123456789"), np.datetime64("NaT", "D"),
        np.datetime64("2026-11", "M"), np.timedelta64(25, "25s"), np.timedelta64(3),
    ],
    "dtypes": [np.dtype("<i4"), np.dtype(">f8"), np.dtype([("a", "i4"), ("b", "U3")]), np.dtype(object)],
    "arrays": [
        np.arange(6).reshape(2, 3), np.array([]), np.zeros((0, 3), "f4"), np.array(3), np.array(1.5),
        np.array([0.1, -0.0, np.inf, np.nan]), np.array(["a", "é\n"]), np.array([b"x\x00y"]),
        np.array(["2026", "NaT"], "M8[s]"), np.array([[1, 2]], "m8[D]"), np.array([True]),
        np.arange(4, dtype=">i2"), np.ones((2, 1, 2), np.complex64), np.array([1], np.longdouble),
        np.asfortranarray(np.arange(4).reshape(2, 2)), np.arange(9)[::2],
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
def test_exactly_the_same_value_comes_back(kind):
    assert same(again(VALUES[kind]), VALUES[kind])


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(),
    st.text(st.characters(categories=["Cs", "Cc", "Cf"])), st.binary(), st.dates(), st.times(),
    st.datetimes(timezones=st.one_of(st.none(), st.just(BRUSSELS), st.just(dt.timezone.utc))),
    st.timedeltas(), st.decimals(), st.fractions(), st.uuids(),
)  # fmt: skip
keys = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.dates())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.frozensets(keys, max_size=4),
        st.sets(keys, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(values)
def test_whatever_is_made_of_plain_things_comes_back(value):
    assert same(again(value), value)


def test_one_statement_a_parameter_in_the_order_given():
    text = render_parameters({"b": 1, "a": dt.date(2026, 1, 2), "float": math.inf})
    assert text == (
        "import datetime as _mlops_nb_datetime\n"
        "import builtins as _mlops_nb_builtins\n"
        "b = 1\n"
        "a = _mlops_nb_datetime.date(2026, 1, 2)\n"
        "float = _mlops_nb_builtins.float('inf')\n"
        "del _mlops_nb_datetime, _mlops_nb_builtins\n"
    )
    assert render_parameters({}) == ""


def test_a_parameter_may_have_the_name_that_an_import_would_take():
    given_ = {"_mlops_nb_datetime": 1, "day": dt.date(2026, 1, 2)}
    names = {}
    exec(render_parameters(given_), names)  # noqa: S102
    assert {name: names[name] for name in given_} == given_
    assert set(names) - {"__builtins__"} == set(given_)


def test_the_same_values_are_always_written_alike():
    one, other = {"a", "b", "c", 1, None}, {None, 1, "c", "b", "a"}
    assert render_parameters({"x": one}) == render_parameters({"x": other})


class Local(enum.Enum):
    HERE = 1


class Text(str):
    __slots__ = ()


def looped():
    found = []
    found.append({"again": found})
    return found


class Inner:
    class Hidden(enum.Enum):
        A = 1


Inner.Hidden.__qualname__ = "Nowhere.Hidden"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (pd.DataFrame({"a": [1]}), "a table does not stand in a cell"),
        (lambda: 1, "code does not travel"),
        (Text("x"), "its class is not str itself"),
        (collections.OrderedDict(a=1), "its class is not dict itself"),
        (collections.defaultdict(int), "its class is not dict itself"),
        (object(), "there is no source"),
        (looped(), "it contains itself"),
        (np.zeros(20_000), "20,000 elements"),
        (np.array([object()]), "arrays of object"),
        (np.zeros(2, [("a", "i4")]), "have no exact source"),
        (np.ma.array([1]), "there is no source"),
        (np.array([(1,)], [("a", "i4")])[0], "there is no source"),
        (Inner.Hidden.A, "cannot be imported"),
        (pd.Timestamp("2026-01-01"), "there is no source|a table"),
        (dt.timezone.utc.__class__.__mro__[-1], "code does not travel|there is no source"),
        (open, "code does not travel"),
        ((item for item in ()), "there is no source"),
    ],
)
def test_what_would_not_come_back_the_same_is_refused_by_name(value, why):
    with pytest.raises(CannotRender, match=why) as refused:
        render_parameters({"fine": 1, "bad": {"inside": [value]}})
    assert refused.value.name == "bad"
    assert '"bad"' in str(refused.value)


def test_what_is_nested_too_deep_is_refused():
    deep = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(CannotRender, match="nested"):
        render_parameters({"deep": deep})


@pytest.mark.parametrize("name", ["learning-rate", "class", "", "1x", "a b", "None", "__debug__"])
def test_a_name_that_python_does_not_take_is_refused(name):
    with pytest.raises(CannotRender, match="no Python name"):
        render_parameters({name: 1})


def test_a_class_of_the_notebook_is_refused(monkeypatch):
    monkeypatch.setattr(Local, "__module__", "__main__")
    with pytest.raises(CannotRender, match="cannot be imported from __main__"):
        render_parameters({"x": Local.HERE})


def test_plain_literals_are_what_json_has():
    assert is_plain_literal({"a": [1, 2.5, None, True, "x"]})
    for value in ((1,), {1: 2}, math.nan, b"", {1}, 10**5000, Text("x"), Level.LOW):
        assert not is_plain_literal(value)
