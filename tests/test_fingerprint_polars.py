"""Polars: the same columns as in Arrow and pandas, however they are split, and no lazy plan."""

from __future__ import annotations

import datetime as dt
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.fingerprint import fingerprint
from mlops_nb.fingerprint.scheme import ROWS

MOMENT = dt.datetime(2026, 1, 1)  # noqa: DTZ001

COLUMNS = {
    "int8": (st.integers(-(2**7), 2**7 - 1), pl.Int8),
    "int64": (st.integers(-(2**63), 2**63 - 1), pl.Int64),
    "uint64": (st.integers(0, 2**64 - 1), pl.UInt64),
    "float32": (st.floats(width=32), pl.Float32),
    "float64": (st.floats(), pl.Float64),
    "flag": (st.booleans(), pl.Boolean),
    "text": (st.text(max_size=20, alphabet=st.characters(exclude_categories=["Cs"])), pl.String),
    "bytes": (st.binary(max_size=20), pl.Binary),
    "day": (st.dates(), pl.Date),
    "moment": (st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)), pl.Datetime("us")),  # noqa: DTZ001
    "span": (st.timedeltas(dt.timedelta(-1000), dt.timedelta(1000)), pl.Duration("us")),
    "time": (st.times(), pl.Time),
    "category": (st.sampled_from("abc"), pl.Categorical),
    "enum": (st.sampled_from("abc"), pl.Enum(["c", "a", "b"])),
    "list": (st.lists(st.integers(0, 9) | st.none(), max_size=3), pl.List(pl.Int16)),
    "pair": (st.tuples(st.integers(0, 9), st.integers(0, 9)), pl.Array(pl.Int8, 2)),
    "struct": (st.fixed_dictionaries({"p": st.integers(0, 9), "q": st.text(max_size=2)}), None),
    "coded": (st.lists(st.sampled_from("ab"), max_size=2), pl.List(pl.Categorical)),
}


@st.composite
def series(draw):
    name = draw(st.sampled_from(sorted(COLUMNS)))
    values, dtype = COLUMNS[name]
    if name == "struct":
        dtype = pl.Struct({"p": pl.Int64, "q": pl.String})
    cells = draw(st.lists(values | st.none(), max_size=8))
    return pl.Series(name, cells, dtype=dtype)


def only(found):
    assert found.assurance == "exact"
    return next(iter(found.columns.values()))


@settings(max_examples=200, deadline=None)
@given(one=series())
def test_a_column_has_the_digest_that_it_has_in_arrow(one):
    ours = only(fingerprint(one.to_frame()))
    theirs = only(fingerprint(one.to_frame().to_arrow()))
    assert (ours.type, ours.digest, ours.nulls) == (theirs.type, theirs.digest, theirs.nulls)


@settings(max_examples=100, deadline=None)
@given(one=series(), data=st.data())
def test_a_column_is_the_same_however_it_is_split_and_another_when_a_cell_is(one, data):
    before = only(fingerprint(one))
    cut = data.draw(st.integers(0, len(one)))
    split = pl.concat([one[:cut], one[cut:]], rechunk=False)
    assert only(fingerprint(split)).digest == before.digest
    assert only(fingerprint(pl.concat([one, one])[len(one) :])).digest == before.digest
    if len(one):
        row = data.draw(st.integers(0, len(one) - 1))
        other = pl.concat([one[:row], one[row + 1 :]])
        assert only(fingerprint(other)).digest != before.digest
        if one[row] is not None:
            gap = pl.concat([one[:row], one.clear(1), one[row + 1 :]])
            assert only(fingerprint(gap)).digest != before.digest


@pytest.mark.parametrize(
    ("values", "dtype", "theirs"),
    [
        ([1, 2], pl.Int64, pd.Series([1, 2])),
        ([1, None], pl.Int64, pd.Series([1, None], dtype="Int64")),
        ([1.5, float("nan")], pl.Float64, pd.Series([1.5, np.nan])),
        (["a", "größer als zwölf Zeichen"], pl.String, None),
        (["a", None], pl.String, pd.Series(["a", None], dtype="string")),
        ([True, False], pl.Boolean, pd.Series([True, False])),
        (["b", None, "a"], pl.Categorical, pd.Series(["b", None, "a"], dtype="category")),
        ([MOMENT], pl.Datetime("ns"), pd.Series([MOMENT], dtype="datetime64[ns]")),
        ([MOMENT], pl.Datetime("us", "UTC"), pd.Series([MOMENT], dtype="datetime64[us, UTC]")),
    ],
    ids=str,
)
def test_a_column_has_the_digest_that_it_has_in_pandas(values, dtype, theirs):
    ours = pl.Series("a", values, dtype=dtype)
    if theirs is None:
        theirs = pd.Series(values, dtype=object)
    found, expected = only(fingerprint(ours)), only(fingerprint(theirs.rename("a")))
    assert (found.type, found.digest) == (expected.type, expected.digest)


FRAME = pl.DataFrame(
    {"n": [1, 2, 3], "t": ["a", "b", None], "f": [0.5, float("nan"), 1.0]},
)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(FRAME[::-1], id="row order"),
        pytest.param(FRAME[:, ::-1], id="column order"),
        pytest.param(FRAME[:2], id="a row less"),
        pytest.param(FRAME.rename({"n": "m"}), id="name"),
        pytest.param(FRAME.rename({"n": "t", "t": "n"}), id="names swapped"),
        pytest.param(FRAME.cast({"n": pl.Int32}), id="width"),
        pytest.param(FRAME.cast({"t": pl.Categorical}), id="category"),
        pytest.param(FRAME.with_columns(pl.col("f").fill_nan(None)), id="NaN, missing"),
        pytest.param(FRAME.with_columns(pl.col("t").fill_null("")), id="missing, empty"),
        pytest.param(FRAME.to_arrow(), id="Arrow"),
        pytest.param(FRAME["n"], id="series"),
    ],
)
def test_any_change_to_a_frame_changes_its_fingerprint(changed):
    assert fingerprint(changed).assurance == "exact"
    assert fingerprint(changed).digest != fingerprint(FRAME).digest
    assert fingerprint([changed]).digest != fingerprint([FRAME]).digest


def test_frames_without_columns_or_rows_differ_by_what_they_have():
    empty = [pl.DataFrame(), FRAME[:0], FRAME[:0].drop("n"), FRAME[["n"]][:0]]
    assert len({fingerprint(one).digest for one in empty}) == len(empty)


def test_a_frame_has_shape_statistics_and_chunks():
    rows = 2 * ROWS + 5
    frame = pl.DataFrame({"n": np.arange(rows), "t": ["x"] * rows})
    found = fingerprint(frame)
    column = found.columns["n"]
    assert (found.kind, found.rows, found.shape) == ("polars.DataFrame", rows, (rows, 2))
    assert (column.minimum, column.maximum, column.mean) == (0, rows - 1, (rows - 1) / 2)
    changed = frame.with_columns(pl.when(pl.col("n") == ROWS).then(-1).otherwise("n").alias("n"))
    pairs = zip(column.chunks, fingerprint(changed).columns["n"].chunks, strict=True)
    assert [old != new for old, new in pairs] == [False, True, False]


def test_objects_are_read_one_by_one_and_an_unknown_one_spoils_only_its_column():
    known = pl.Series("o", [1, "a", None], dtype=pl.Object)
    assert fingerprint(known).digest == fingerprint(known.clone()).digest != ""
    frame = pl.DataFrame({"n": [1]}).with_columns(pl.Series("o", [object()], dtype=pl.Object))
    found = fingerprint(frame)
    assert (found.assurance, found.digest) == ("opaque", "")
    assert found.columns["n"].digest == fingerprint(frame[["n"]]).columns["n"].digest
    assert found.columns["o"].digest == ""


@pytest.mark.parametrize("value", [FRAME.lazy(), pl.col("n")], ids=["plan", "expression"])
def test_what_is_only_a_plan_is_opaque(value):
    found = fingerprint(value)
    assert (found.assurance, found.digest) == ("opaque", "")


def test_a_subclass_is_opaque_as_it_may_lie():
    class Liar(pl.DataFrame):
        def get_columns(self):
            return []

    assert fingerprint(Liar({"a": [1]})).assurance == "opaque"


def test_a_frame_over_the_budget_has_its_schema_but_no_digest():
    frame = pl.DataFrame({"n": np.arange(10_000.0), "t": ["text"] * 10_000})
    full, skipped = fingerprint(frame), fingerprint(frame, budget_bytes=999)
    assert (skipped.assurance, skipped.digest, skipped.shape) == (
        "skipped:budget",
        "",
        (10_000, 2),
    )
    assert skipped.schema_digest == full.schema_digest
    assert fingerprint(frame, budget_bytes=full.size_bytes).digest == full.digest


def test_without_arrow_a_frame_is_opaque_but_has_its_shape(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("mlops_nb.fingerprint.arrow_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    found = fingerprint(FRAME)
    assert (found.assurance, found.digest, found.shape) == ("opaque", "", (3, 3))
    assert list(found.columns) == ["n", "t", "f"]


def test_a_column_of_many_categories_is_read_by_those_that_it_uses():
    others = pl.Series("others", [f"o{i}" for i in range(10_000)], dtype=pl.Categorical)
    words = ["u", None, "v", "u"]
    ours = pl.Series("ours", words, dtype=pl.Categorical)
    assert len(others) == 10_000
    expected = only(fingerprint(pl.Series("ours", words, dtype=pl.Enum(["v", "u"]))))
    assert only(fingerprint(ours)).digest == expected.digest
    shuffled = others.sample(fraction=1, shuffle=True, seed=1)
    texts = pd.Series(shuffled.to_list(), dtype="category")
    assert only(fingerprint(shuffled)).digest == only(fingerprint(texts)).digest
