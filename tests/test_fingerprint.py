"""Fingerprints: equal content equal digests, any change another one, and never a wrong "same"."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from mlops_nb.fingerprint import fingerprint
from mlops_nb.fingerprint.scheme import ROWS

RAW_NANS = np.array([0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001], "u8")


def digest(value):
    found = fingerprint(value)
    assert found.assurance == "exact"
    assert re.fullmatch("nbfp1:[0-9a-f]{32}", found.digest)
    return found.digest


def column(values, **options):
    return pd.DataFrame({"a": pd.Series(values, **options)})


def value_digest(frame, name="a"):
    """Digest of one column's values, whatever it is stored in."""
    return fingerprint(frame).columns[name].digest


# --- equal content, equal digests -------------------------------------------------------------

TEXTS = ["x", "größer", "", None, "x\0y", "長い"]
WIDE = pd.DataFrame(np.arange(30.0).reshape(10, 3), columns=list("abc"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(WIDE.iloc[2:7], WIDE.iloc[2:7].copy(), id="slice and copy"),
        pytest.param(WIDE, pd.DataFrame({c: WIDE[c].copy() for c in WIDE}), id="blocks"),
        pytest.param(
            WIDE,
            pd.DataFrame(np.arange(30.0).reshape(10, 3), columns=list("abc"), copy=False),
            id="memory order",
        ),
        pytest.param(
            column(RAW_NANS.view("f8")), column([np.nan, np.nan, np.nan]), id="NaN payload"
        ),
        pytest.param(
            column(pd.arrays.ArrowExtensionArray(pa.chunked_array([[1, 2], [3, None]]))),
            column(pd.arrays.ArrowExtensionArray(pa.chunked_array([[1], [2, 3, None]]))),
            id="Arrow chunks",
        ),
        pytest.param(WIDE.iloc[[0, 1, 2]], WIDE.iloc[:3], id="index stored as numbers or range"),
        pytest.param(WIDE.iloc[::2], WIDE.iloc[[0, 2, 4, 6, 8]], id="strided view"),
        pytest.param(
            pd.Series([1.0], dtype="float64"), pd.Series([1.0], dtype="float64"), id="series"
        ),
        pytest.param(
            np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3, order="C"), id="array"
        ),
        pytest.param(
            np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), id="F"
        ),
        pytest.param(np.arange(6.0), np.arange(12.0)[::2] / 2, id="stride"),
        pytest.param(np.arange(6.0), np.arange(6.0).astype(">f8"), id="byte order"),
        pytest.param(np.arange(6.0), np.arange(5.0, -1, -1)[::-1], id="reversed view"),
        pytest.param(RAW_NANS.view("f8"), np.full(3, np.nan), id="array with NaN"),
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, id="dict order"),
        pytest.param({"a", "b", "c"}, {"c", "b", "a"}, id="set order"),
        pytest.param([float("nan")], [RAW_NANS.view("f8")[1].item()], id="NaN in a list"),
    ],
)
def test_equal_content_has_equal_digests(one, other):
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            column(["b", "a", None], dtype=pd.CategoricalDtype(["a", "b"])),
            column(["b", "a", None], dtype=pd.CategoricalDtype(["b", "a", "unused"])),
            id="category order",
        ),
        pytest.param(column(TEXTS, dtype=object), column(TEXTS, dtype="str"), id="object, str"),
        pytest.param(
            column(TEXTS, dtype="string[python]"),
            column(TEXTS, dtype="string[pyarrow]"),
            id="string",
        ),
        pytest.param(
            column(TEXTS, dtype=object),
            column(pd.arrays.ArrowExtensionArray(pa.array(TEXTS, pa.string()))),
            id="object, Arrow",
        ),
        pytest.param(column([1, 2]), column([1, 2], dtype="Int64"), id="int64, Int64"),
        pytest.param(
            column([1, None], dtype="Int64"),
            column([1, None], dtype="int64[pyarrow]"),
            id="Int64, Arrow",
        ),
        pytest.param(
            column([True, None], dtype="boolean"),
            column([True, None], dtype="bool[pyarrow]"),
            id="bool",
        ),
        pytest.param(
            column([1.5, None], dtype="Float64"),
            column([1.5, None], dtype="double[pyarrow]"),
            id="Float64, Arrow",
        ),
        pytest.param(
            column(["2026-01-01", None], dtype="datetime64[us]"),
            column(["2026-01-01", None], dtype="datetime64[us]").astype("timestamp[us][pyarrow]"),
            id="datetime, Arrow",
        ),
    ],
)
def test_storage_changes_the_schema_but_not_the_values(one, other):
    assert value_digest(one) == value_digest(other)
    assert digest(one) == digest(other)
    assert fingerprint(one).schema_digest != fingerprint(other).schema_digest


def test_what_lies_under_a_mask_does_not_count():
    mask = np.array([False, True])
    arrays = [pd.arrays.IntegerArray(np.array([1, hidden]), mask) for hidden in (0, 99)]
    assert digest(pd.Series(arrays[0])) == digest(pd.Series(arrays[1]))


def test_text_under_an_arrow_null_does_not_count():
    offsets, data = pa.array([0, 1, 3], pa.int32()).buffers()[1], pa.py_buffer(b"abc")
    hidden = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\x01"), offsets, data])
    assert hidden.to_pylist() == ["a", None]
    assert digest(hidden) == digest(pa.array(["a", None]))


# --- any change, another digest ---------------------------------------------------------------

FLOWERS = pd.DataFrame(
    {"petal_cm": [1.4, 4.7, 6.0], "kind": ["a-b", "c", "d"], "count": [0, 5, 7]},
    index=pd.RangeIndex(3),
)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(FLOWERS.iloc[::-1], id="row order"),
        pytest.param(FLOWERS.iloc[:, ::-1], id="column order"),
        pytest.param(FLOWERS.iloc[:-1], id="a row less"),
        pytest.param(FLOWERS.rename(columns={"petal_cm": "petal_mm"}), id="column name"),
        pytest.param(
            FLOWERS.rename(columns={"petal_cm": "count", "count": "petal_cm"}), id="names swapped"
        ),
        pytest.param(FLOWERS.rename(columns={"petal_cm": 0}), id="label type"),
        pytest.param(FLOWERS.astype({"petal_cm": "float32"}), id="float width"),
        pytest.param(FLOWERS.astype({"count": "int32"}), id="int width"),
        pytest.param(FLOWERS.astype({"count": "uint64"}), id="sign"),
        pytest.param(FLOWERS.astype({"count": "float64"}), id="numbers of another kind"),
        pytest.param(FLOWERS.assign(kind=["a", "b-c", "d"]), id="texts cut elsewhere"),
        pytest.param(FLOWERS.assign(kind=["a-b", "c", None]), id="missing text"),
        pytest.param(FLOWERS.assign(kind=["a-b", "c", ""]), id="empty text"),
        pytest.param(FLOWERS.assign(kind=FLOWERS["kind"].astype("category")), id="category"),
        pytest.param(FLOWERS.set_index(pd.RangeIndex(1, 4)), id="index shifted"),
        pytest.param(FLOWERS.set_index(pd.RangeIndex(0, 6, 2)), id="index step"),
        pytest.param(FLOWERS.set_index("count"), id="column to index"),
        pytest.param(FLOWERS.rename_axis("row"), id="index name"),
        pytest.param(FLOWERS.rename_axis(columns="field"), id="name of the columns"),
        pytest.param(FLOWERS.set_axis(["0", "1", "2"]), id="index of texts"),
    ],
)
def test_any_change_to_a_table_changes_its_fingerprint(changed):
    assert digest(changed) != digest(FLOWERS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(column([0.0]), column([-0.0]), id="sign of zero"),
        pytest.param(
            column([1, None], dtype="Int64"), column([1, 0], dtype="Int64"), id="NA, zero"
        ),
        pytest.param(column(["1"], dtype=object), column([1], dtype=object), id="text, number"),
        pytest.param(column([1], dtype=object), column([1.0], dtype=object), id="1, 1.0"),
        pytest.param(column([True], dtype=object), column([1], dtype=object), id="True, 1"),
        pytest.param(column([True]), column([1], dtype="int8"), id="bool, int8"),
        pytest.param(column(["a", 1], dtype=object), column(["a", "1"], dtype=object), id="mixed"),
        pytest.param(
            column(pd.to_datetime(["2026-01-01"])),
            column(pd.to_datetime(["2026-01-01"]).tz_localize("UTC")),
            id="zone",
        ),
        pytest.param(
            column(pd.to_datetime(["2026-01-01"]).tz_localize("UTC")),
            column(pd.to_datetime(["2026-01-01"]).tz_localize("UTC").tz_convert("Asia/Tokyo")),
            id="another zone, same moment",
        ),
        pytest.param(
            column(pd.interval_range(0, 2)),
            column(pd.interval_range(0, 2, closed="left")),
            id="closed",
        ),
        pytest.param(
            column(pd.period_range("2026-01", periods=2, freq="M")),
            column(pd.period_range("2026-01-01", periods=2, freq="D")),
            id="period frequency",
        ),
        pytest.param(
            column(pd.arrays.SparseArray([0.0, 1], fill_value=0.0)),
            column(pd.arrays.SparseArray([0.0, 1], fill_value=1.0)),
            id="sparse filling",
        ),
        pytest.param(pd.Series([1, 2]), pd.DataFrame({"a": [1, 2]}), id="series, frame"),
        pytest.param(pd.Series([1, 2]), pd.Series([1, 2], name="y"), id="series name"),
        pytest.param(np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2), id="shape"),
        pytest.param(np.arange(6), np.arange(6).reshape(1, 6), id="dimensions"),
        pytest.param(np.array([1.0]), np.array(1.0), id="scalar array"),
        pytest.param(np.zeros(2), np.zeros(2, "i8"), id="same bytes, other type"),
        pytest.param(np.array(["1970-01-01"], "M8[s]"), np.array([0], "M8[ms]"), id="time unit"),
        pytest.param(np.array(["a-b", "c"], object), np.array(["a", "b-c"], object), id="objects"),
        pytest.param([1, 2], (1, 2), id="list, tuple"),
        pytest.param([1, 2], np.array([1, 2]), id="list, array"),
        pytest.param([[1], [2]], [[1, 2]], id="nesting"),
        pytest.param([1], [True], id="1, True in a list"),
        pytest.param([None], [float("nan")], id="None, NaN in a list"),
        pytest.param("1", 1, id="text, number as values"),
        pytest.param(b"a", "a", id="bytes, text"),
        pytest.param({"a": 1}, {"a": 2}, id="dict value"),
        pytest.param({"a": "b"}, {"b": "a"}, id="dict turned"),
        pytest.param({1, 2}, frozenset({1, 2}), id="set, frozenset"),
        pytest.param(np.float64(1.0), 1.0, id="NumPy scalar"),
        pytest.param(np.float64(1.0), np.float32(1.0), id="scalar width"),
        pytest.param(2**70, 2**70 + 1, id="large numbers"),
        pytest.param([2**70], [2**70 + 1], id="large numbers in a list"),
        pytest.param(
            pd.Timestamp("2026-01-01", tz="UTC"),
            dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
            id="timestamp, datetime",
        ),
        pytest.param(decimal.Decimal("1.0"), decimal.Decimal("1.1"), id="decimals"),
    ],
)
def test_different_content_has_different_digests(one, other):
    assert digest(one) != digest(other)


def test_columns_with_doubled_names_are_all_there():
    frame = pd.DataFrame([[1, 2.0]], columns=["a", "a"])
    assert list(fingerprint(frame).columns) == ["a", "a (2)"]
    assert digest(frame) != digest(frame.iloc[:, ::-1])


# --- which column, which rows -----------------------------------------------------------------


def tall_frame(rows=2 * ROWS + 7):
    numbers = np.arange(rows)
    return pd.DataFrame(
        {
            "int": numbers,
            "small": (numbers % 100).astype("int8"),
            "float": np.where(numbers % 9, numbers / 3, np.nan),
            "flag": numbers % 2 == 0,
            "text": pd.Series((numbers % 1000).astype(str), dtype=object),
            "arrow": pd.Series((numbers % 1000).astype(str), dtype="str"),
            "level": pd.Categorical.from_codes(numbers % 3, ["a", "b", "c"]),
            "at": pd.Timestamp("2026-01-01") + pd.to_timedelta(numbers, unit="s"),
            "gaps": pd.arrays.IntegerArray(numbers, numbers % 5 == 0),
            "span": pd.arrays.IntervalArray.from_arrays(numbers, numbers + 1),
            "rare": pd.arrays.SparseArray(np.where(numbers % 50, 0, numbers), fill_value=0),
        }
    )


TALL = tall_frame()
TALL_FINGERPRINT = fingerprint(TALL)
OTHER_VALUE = {
    "int": -1,
    "small": -1,
    "float": -1.0,
    "flag": None,
    "text": "?",
    "arrow": "?",
    "level": "new",
    "at": pd.Timestamp("1999-01-01"),
    "gaps": -1,
    "span": pd.Interval(-5, -4),
    "rare": -1,
}


def changed_cell(frame, name, row):
    """Copy a frame with another value in one cell, whatever its dtype allows in place."""
    values = frame[name].copy()
    if name == "level":
        values = values.cat.add_categories(["new"])
    if name == "rare":
        dense = np.array(values)
        dense[row] = -1
        values = pd.Series(pd.arrays.SparseArray(dense, fill_value=0))
    else:
        values.iloc[row] = not values.iloc[row] if name == "flag" else OTHER_VALUE[name]
    return frame.assign(**{name: values})


@pytest.mark.parametrize("name", list(TALL.columns))
@settings(max_examples=4, deadline=None)
@given(row=st.integers(0, len(TALL) - 1))
def test_a_changed_cell_changes_exactly_its_column_and_chunk(name, row):
    found = fingerprint(changed_cell(TALL, name, row))
    assert found.digest != TALL_FINGERPRINT.digest
    for other, before in TALL_FINGERPRINT.columns.items():
        after = found.columns[other]
        assert (after.digest != before.digest) == (other == name)
        pairs = zip(before.chunks, after.chunks, strict=True)
        changed = [i for i, (old, new) in enumerate(pairs) if old != new]
        assert changed == ([row // ROWS] if other == name else [])


def test_appended_rows_leave_the_whole_chunks_before_them():
    shorter = fingerprint(TALL.iloc[: ROWS + 5])
    for name, before in shorter.columns.items():
        after = TALL_FINGERPRINT.columns[name]
        assert (len(before.chunks), len(after.chunks)) == (2, 3)
        assert before.chunks[0] == after.chunks[0]
        assert before.chunks[1] != after.chunks[1]
        assert before.count == ROWS + 5


def test_an_array_has_a_digest_for_each_half_megabyte_of_rows():
    array = np.arange(3 * 65_536.0).reshape(-1, 3)
    before = fingerprint(array)
    assert before.chunk_rows == 524_288 // 24
    assert len(before.chunks) == -(-len(array) // before.chunk_rows)
    array[before.chunk_rows, 2] += 1
    after = fingerprint(array)
    pairs = zip(before.chunks, after.chunks, strict=True)
    assert [old != new for old, new in pairs] == [False, True, False, False][: len(before.chunks)]


# --- frames that hypothesis makes up ----------------------------------------------------------

VALUES = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint8": st.integers(0, 255),
    "float64": st.floats(),
    "float32": st.floats(width=32),
    "bool": st.booleans(),
    "object": st.none()
    | st.integers()
    | st.text(max_size=3)
    | st.floats()
    | st.tuples(st.integers()),
    "str": st.none() | st.text(max_size=4, alphabet=st.characters(exclude_categories=["Cs"])),
    "string": st.none() | st.text(max_size=4, alphabet=st.characters(exclude_categories=["Cs"])),
    "Int64": st.none() | st.integers(-(2**63), 2**63 - 1),
    "Float64": st.none() | st.floats(allow_nan=False),
    "boolean": st.none() | st.booleans(),
    "category": st.sampled_from(["a", "b", "c"]) | st.none(),
    "datetime64[ns]": st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)) | st.none(),  # noqa: DTZ001
    "int64[pyarrow]": st.none() | st.integers(-(2**63), 2**63 - 1),
}


@st.composite
def frames(draw):
    rows = draw(st.integers(0, 12))
    chosen = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=5))
    columns = {}
    for i, dtype in enumerate(chosen):
        cells = draw(st.lists(VALUES[dtype], min_size=rows, max_size=rows))
        columns[f"{dtype} {i}"] = pd.Series(cells, dtype=dtype)
    return pd.DataFrame(columns)


@settings(max_examples=60, deadline=None)
@given(frame=frames(), draw=st.data())
def test_copies_are_equal_and_other_rows_are_not(frame, draw):
    before = fingerprint(frame)
    assert before.assurance == "exact"
    for copy in (frame.copy(), frame[list(frame)], pd.concat([frame.iloc[:1], frame.iloc[1:]])):
        assert fingerprint(copy).digest == before.digest
    if len(frame) > 1:
        order = draw.draw(st.permutations(range(len(frame))))
        moved = frame.iloc[order].reset_index(drop=True)
        for name in frame:
            is_same = shown(moved[name]) == shown(frame[name])
            after = fingerprint(moved).columns[name].digest
            assert (after == before.columns[name].digest) == is_same


def shown(series):
    """Write each value so that exactly equal content is equal text; missing ones are one."""
    return [
        f"{type(value).__name__} {value!r}" if not is_gap or series.dtype == object else "missing"
        for value, is_gap in zip(series.tolist(), series.isna(), strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(
    array=st_numpy.arrays(
        st.sampled_from(["i4", "f8", "f4", "?", "u2", "c16", "f2", "M8[s]", ">i8", "U3", "S2"]),
        st_numpy.array_shapes(max_dims=3, max_side=6, min_side=0),
    )
)
def test_an_array_is_the_same_in_every_memory_layout(array):
    before = digest(array)
    spread = np.empty(tuple(2 * n for n in array.shape), array.dtype)
    spread[tuple(slice(None, None, 2) for _ in array.shape)] = array
    layouts = [
        np.asfortranarray(array),
        spread[tuple(slice(None, None, 2) for _ in array.shape)],
        np.ascontiguousarray(array[::-1])[::-1],
        array.astype(array.dtype.newbyteorder(">")),
    ]
    assert {digest(layout) for layout in layouts} == {before}


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(one=PLAIN, other=PLAIN)
def test_plain_values_have_equal_digests_exactly_if_they_are_equal(one, other):
    assert (digest(one) == digest(other)) == (exact(one) == exact(other))


def exact(value):
    """Make a value comparable with types, so that 1, 1.0 and True differ and NaN equals itself."""
    if isinstance(value, dict):
        return ("dict", frozenset((exact(k), exact(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return (type(value).__name__, tuple(map(exact, value)))
    return (type(value).__name__, repr(value))


# --- statistics -------------------------------------------------------------------------------


def test_statistics_come_with_the_columns():
    frame = pd.DataFrame(
        {
            "float": [1.0, np.nan, -3.0],
            "int": [1, 2, 6],
            "bool": [True, False, True],
            "Int64": pd.array([4, None, 8], dtype="Int64"),
            "at": pd.to_datetime(["2026-01-02", None, "2026-01-01"]).as_unit("s"),
            "text": ["a", None, "b"],
        }
    )
    found = {
        name: (c.count, c.nulls, c.minimum, c.maximum, c.mean)
        for name, c in fingerprint(frame).columns.items()
    }
    assert found == {
        "float": (3, 1, -3.0, 1.0, -1.0),
        "int": (3, 0, 1, 6, 3.0),
        "bool": (3, 0, False, True, 2 / 3),
        "Int64": (3, 1, 4, 8, 6.0),
        "at": (3, 1, "2026-01-01T00:00:00", "2026-01-02T00:00:00", None),
        "text": (3, 1, None, None, None),
    }


def test_statistics_survive_extremes_without_a_warning(recwarn):
    frame = pd.DataFrame(
        {
            "wide": [2**63 - 1, 2**63 - 1],
            "endless": [np.inf, -np.inf],
            "nothing": [np.nan, np.nan],
            "many": pd.array([None, None], dtype="Int64"),
        }
    )
    columns = fingerprint(frame).columns
    assert columns["wide"].mean == pytest.approx(2**63)
    assert (columns["endless"].minimum, columns["endless"].mean) == (-np.inf, None)
    assert (columns["nothing"].nulls, columns["nothing"].minimum) == (2, None)
    assert (columns["many"].nulls, columns["many"].minimum) == (2, None)
    assert not recwarn.list


@settings(max_examples=50, deadline=None)
@given(
    cells=st.lists(st.none() | st.floats(-1e6, 1e6), max_size=30),
    dtype=st.sampled_from(["float64", "Float64", "double[pyarrow]"]),
)
def test_statistics_agree_with_pandas(cells, dtype):
    series = pd.Series(cells, dtype=dtype)
    found = fingerprint(series.to_frame("a")).columns["a"]
    assert found.nulls == series.isna().sum()
    if found.nulls < len(series):
        assert (found.minimum, found.maximum) == (series.min(), series.max())
        assert found.mean == pytest.approx(series.mean(), rel=1e-9, abs=1e-6)


# --- another process --------------------------------------------------------------------------

ELSEWHERE = """
import json
import numpy as np, pandas as pd
from mlops_nb.fingerprint import fingerprint
values = [
    {"b", "a", "c", 1, None}, {"x": 1, "y": [2.5, "z"]}, frozenset(range(100)), object,
    np.arange(10.0), pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])}),
    pd.Series([{"k": {1, 2}}, ("t",)], dtype=object, name="s"),
]
print(json.dumps([fingerprint(value).digest for value in values]))
"""


def test_another_process_and_hash_seed_give_the_same_digests(capsys):
    exec(ELSEWHERE, {})  # noqa: S102
    here = json.loads(capsys.readouterr().out)
    answer = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        env=os.environ | {"PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(answer.stdout) == here
    assert all(here)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "nbfp1:e6563fbf2d2db5f138d916381a367526"),
        ([1, "a", 2.5], "nbfp1:2daa6b952119d88b3154b2175c0cd4de"),
        (np.arange(6.0).reshape(2, 3), "nbfp1:454ffb296c36b1394e095162237f5e9f"),
        (FLOWERS, "nbfp1:70f8437a9572af472bb96975f6a6edfa"),
        (column(["a", None], dtype="string[pyarrow]"), "nbfp1:b043d20b5ffeffc0419ad1408cb7f575"),
    ],
    ids=["None", "list", "array", "frame", "texts"],
)
def test_the_scheme_stays_as_it_was_when_stores_were_written(value, expected):
    assert digest(value) == expected


def test_libraries_that_the_user_has_not_loaded_stay_unloaded():
    code = (
        "import sys\nfrom mlops_nb.fingerprint import fingerprint\n"
        "assert fingerprint([1, {'a': 'b'}, {2.5}]).assurance == 'exact'\n"
        "class Liar: pass\n"
        "Liar.__module__ = 'pandas.core.frame'\n"
        "assert fingerprint(Liar()).assurance == 'opaque'\n"
        "print({'numpy', 'pandas', 'pyarrow'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"
