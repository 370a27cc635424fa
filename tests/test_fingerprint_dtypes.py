"""Every dtype of pandas: equal digests exactly for equal content, and a cell changes its chunk."""

from __future__ import annotations

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.fingerprint import fingerprint
from mlops_nb.fingerprint.scheme import ROWS

# Values that are easily taken for each other, and texts that run into each other.
TEXTS = ["", "a", "b", "ab", "a\0", "größer", "長い長い長い長い"]
MOMENTS = [f"2026-10-25 0{hour}:30" for hour in range(3)]
"""In Berlin two of them show the same time: the clock is put back."""


def of_arrow(values, type_):
    return pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(values, type_)]))


def of_objects(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def category(values, *, ordered=False):
    return pd.Categorical(values, values, ordered=ordered)


# Under each name all of its values, each different from the others.
PALETTES = {
    "int8": np.array([0, 1, -1, 127, -128], "int8"),
    "int64": np.array([0, 1, -1, 2**63 - 1, -(2**63)]),
    "uint64": np.array([0, 1, 2**64 - 1], "uint64"),
    "float16": np.array([0.0, -0.0, 1.5, np.inf, -np.inf], "float16"),
    "float32": np.array([0.0, -0.0, 1.5, np.inf, -np.inf], "float32"),
    "float64": np.array([0.0, -0.0, 5e-324, np.inf, -np.inf]),
    "complex128": np.array([0, -0.0, 1j, 1, np.inf], "complex128"),
    "bool": np.array([False, True]),
    "datetime64[s]": np.array(MOMENTS, "M8[s]"),
    "datetime64[ns]": np.array(MOMENTS, "M8[ns]"),
    "datetime64[us, Europe/Berlin]": pd.DatetimeIndex(MOMENTS, tz="UTC")
    .tz_convert("Europe/Berlin")
    .as_unit("us")
    .array,
    "timedelta64[ms]": np.array([0, 1, -1], "m8[ms]"),
    "period": pd.period_range("2026-01", periods=3, freq="M").array,
    "interval": pd.arrays.IntervalArray.from_tuples([(0.0, 1), (0, 2), (1, 2)]),
    "interval of times": pd.arrays.IntervalArray.from_breaks(pd.DatetimeIndex(MOMENTS)),
    "sparse integers": pd.arrays.SparseArray([0, 1, 2], fill_value=0),
    "sparse floats": pd.arrays.SparseArray([0.0, 1.0, 2.0]),
    "Int16": pd.array([0, 1, -1], "Int16"),
    "UInt64": pd.array([0, 1, 2**64 - 1], "UInt64"),
    "Float32": pd.array([0.0, 1.5, -1.5], "Float32"),
    "Float64": pd.array([0.0, -0.0, 1.5], "Float64"),
    "boolean": pd.array([False, True], "boolean"),
    "str": pd.array(TEXTS, "str"),
    "string[python]": pd.array(TEXTS, "string[python]"),
    "string[pyarrow]": pd.array(TEXTS, "string[pyarrow]"),
    "objects, texts": of_objects(*TEXTS),
    "objects, bytes": of_objects(b"", b"a", b"b", b"ab"),
    "objects, numbers": of_objects(0, 1, -1, 2**70),
    "objects, lists": of_objects([], [1], [1, 2], [[1], 2]),
    "objects of many types": of_objects(1, 1.0, True, "1", b"1", (1,), 1j, decimal.Decimal(1)),
    "category": category(TEXTS),
    "ordered category": category(TEXTS, ordered=True),
    "category of numbers": category([3, 1, 2]),
    "category of times": category(pd.DatetimeIndex(MOMENTS)),
    "Arrow int32": of_arrow([0, 1, -1], pa.int32()),
    "Arrow double": of_arrow([0.0, -0.0, 1.5], pa.float64()),
    "Arrow bool": of_arrow([False, True], pa.bool_()),
    "Arrow string": of_arrow(TEXTS, pa.string()),
    "Arrow large_string": of_arrow(TEXTS, pa.large_string()),
    "Arrow binary": of_arrow([b"", b"a", b"b", b"ab"], pa.binary()),
    "Arrow fixed binary": of_arrow([b"ab", b"ba", b"aa"], pa.binary(2)),
    "Arrow decimal": of_arrow(
        [decimal.Decimal(x) for x in ("0", "1.5", "-1.5")], pa.decimal128(5, 2)
    ),
    "Arrow date": of_arrow([dt.date(2026, 1, day) for day in (1, 2, 3)], pa.date32()),
    "Arrow time": of_arrow([dt.time(hour) for hour in (1, 2, 3)], pa.time64("us")),
    "Arrow timestamp": of_arrow([0, 1, -1], pa.timestamp("ms", "Asia/Tokyo")),
    "Arrow duration": of_arrow([0, 1, -1], pa.duration("s")),
    "Arrow list": of_arrow([[], [1], [1, 2], [None], [0]], pa.list_(pa.int64())),
    "Arrow large list": of_arrow([[], ["a"], ["a", ""], ["", "a"]], pa.large_list(pa.string())),
    "Arrow fixed list": of_arrow([[1, 2], [2, 1], [1, None]], pa.list_(pa.int8(), 2)),
    "Arrow struct": of_arrow(
        [{"a": 1, "b": "x"}, {"a": 1, "b": None}, {"a": None, "b": None}],
        pa.struct([("a", pa.int8()), ("b", pa.string())]),
    ),
    "Arrow map": of_arrow(
        [[], [("a", 1)], [("a", 2)], [("b", 1)]], pa.map_(pa.string(), pa.int8())
    ),
    "Arrow dictionary": of_arrow(TEXTS, pa.dictionary(pa.int8(), pa.string())),
}
NEVER_MISSING = {"int8", "int64", "uint64", "bool", "sparse integers"}
"""Dtypes without a missing value, which has place -1 in the others."""


def column(name, places):
    """Make a column of the values of a palette; its dtype is the palette's, even if empty."""
    palette, places = PALETTES[name], np.asarray(places, np.intp)
    if name in NEVER_MISSING:
        values = palette.take(places)
    else:
        values = pd.api.extensions.take(palette, places, allow_fill=True)
    assert values.dtype == palette.dtype
    return pd.Series(values, dtype=palette.dtype)


def places(name):
    least = 0 if name in NEVER_MISSING else -1
    return st.lists(st.integers(least, len(PALETTES[name]) - 1), max_size=4)


def value_digest(series):
    found = fingerprint(series.to_frame("a"))
    assert found.assurance == "exact"
    return found.columns["a"].digest


@pytest.mark.parametrize("name", list(PALETTES))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_columns_have_equal_digests_exactly_if_they_hold_the_same(name, data):
    one, other = data.draw(places(name)), data.draw(places(name))
    is_same = value_digest(column(name, one)) == value_digest(column(name, other))
    assert is_same == (one == other)


@pytest.mark.parametrize("name", list(PALETTES))
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_column_is_the_same_however_it_was_put_together(name, data):
    chosen = data.draw(places(name))
    series, at = column(name, chosen), data.draw(st.integers(0, len(chosen)))
    parts = [column(name, chosen[:at]), column(name, chosen[at:])]
    joined = pd.concat(parts, ignore_index=True) if all(map(len, parts)) else series.copy()
    around = column(name, [0, *chosen, 0]).iloc[1:-1].reset_index(drop=True)
    for again in (joined, around, series.iloc[::-1].iloc[::-1]):
        assert fingerprint(again).digest == fingerprint(series).digest


@pytest.mark.parametrize("name", list(PALETTES))
def test_a_changed_cell_changes_its_column_and_chunk_and_no_other(name):
    count = len(PALETTES[name])
    chosen = np.arange(ROWS + 7) % count
    before = fingerprint(frame_of(name, chosen))
    assert before.assurance == "exact"
    for row in (0, ROWS - 1, ROWS, ROWS + 6):
        changed = chosen.copy()
        changed[row] = (changed[row] + 1) % count
        after = fingerprint(frame_of(name, changed))
        assert after.digest != before.digest
        assert after.schema_digest == before.schema_digest
        for other, column_before in before.columns.items():
            pairs = zip(column_before.chunks, after.columns[other].chunks, strict=True)
            different = [i for i, (old, new) in enumerate(pairs) if old != new]
            assert different == ([row // ROWS] if other == "changed" else [])
            assert (after.columns[other].digest == column_before.digest) == (not different)


def frame_of(name, chosen):
    """Put a column between two others, one of which may lie in the same block."""
    steps = np.arange(len(chosen))
    return pd.DataFrame(
        {"before": steps / 3, "changed": column(name, chosen), "after": steps.astype("int8")}
    )


@pytest.mark.parametrize("name", sorted(set(PALETTES) - NEVER_MISSING))
def test_a_missing_value_is_told_from_all_others_and_counted(name):
    values = range(len(PALETTES[name]))
    with_gap = [value_digest(column(name, [-1, place])) for place in values]
    without = [value_digest(column(name, [other, place])) for other in values for place in values]
    assert len({*with_gap, *without}) == len(values) * (len(values) + 1)
    assert fingerprint(column(name, [-1, 0, -1]).to_frame("a")).columns["a"].nulls == 2
