# ruff: noqa: DTZ001, PTH123, S102, SIM115  # values as notebooks have them
"""Values become files and come back as exactly what they were, whatever format they take."""

from __future__ import annotations

import datetime as dt
import decimal
import http
import json
import math
import pathlib
import pickle
import signal
import socket
import sqlite3
import threading
import uuid
import zoneinfo
from collections import OrderedDict
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mlops_nb.errors.values import (
    CannotStore,
    CorruptValue,
    NotWritten,
    PickleRefused,
    UntrustedValue,
)
from mlops_nb.packaging import digest_of, pack, plain, unpack
from mlops_nb.packaging.frames import is_same

try:
    import torch
except (ImportError, OSError):
    torch = None


class Point(NamedTuple):
    x: int
    y: Any


X = np.random.default_rng(0).random((60, 4))
Y = (X[:, 0] > 0.5).astype(int)


@pytest.fixture(autouse=True)
def own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_CONFIG", str(tmp_path / "config" / "config.toml"))
    monkeypatch.delenv("MLOPS_NB_TEAM_KEY", raising=False)


def there_and_back(value, folder, namespace=None, **options):
    namespace = {} if namespace is None else namespace
    unit = pack({"value": value}, folder, namespace=namespace, **options)
    return unit, unpack(unit, folder, namespace=namespace)["value"]


# --- plain values -----------------------------------------------------------------------------

ZONES = st.sampled_from(
    [
        None,
        dt.timezone.utc,
        dt.timezone(dt.timedelta(hours=-3), "home"),
        zoneinfo.ZoneInfo("Europe/Brussels"),
    ]
)
KEYS = st.one_of(
    st.text(),
    st.integers(),
    st.booleans(),
    st.none(),
    st.tuples(st.integers(), st.text()),
    st.just("$"),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec=None)),
    st.binary(),
    st.complex_numbers(),
    st.dates(),
    st.datetimes(timezones=ZONES),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.sampled_from(
        [..., pathlib.Path("a/b"), pathlib.PureWindowsPath("C:\\x"), http.HTTPStatus.OK]
    ),
    st.floats().map(np.float64),
    st.integers(-100, 100).map(np.int8),
    st.booleans().map(np.bool_),
)
HASHABLE = st.recursive(
    st.one_of(st.integers(), st.text(), st.none(), st.binary(), st.dates()),
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
    max_leaves=6,
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=4),
        st.sets(HASHABLE, max_size=3),
    ),
    max_leaves=12,
)


def written(value):
    """Everything about a plain value, by what it says of itself and its types."""
    if isinstance(value, dict):
        return "dict", [(written(key), written(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [written(one) for one in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(written(one)) for one in value)
    if type(value) is int:
        return int, hex(value)
    more = (value.fold, str(value.tzinfo)) if isinstance(value, dt.datetime) else ()
    return type(value), repr(value), more


@given(PLAIN)
@settings(max_examples=300, deadline=None)
def test_plain_values_come_back_from_json_with_types_and_order(value):
    try:
        document = plain.encode(value)
    except plain.Unfit:
        # A list that hypothesis put in twice.
        return
    back = plain.decode(json.loads(json.dumps(document)), may_import=True)
    assert written(back) == written(value)


@given(PLAIN)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_plain_values_come_back_from_a_unit_with_their_digest(tmp_path, value):
    unit, back = there_and_back(value, tmp_path / uuid.uuid4().hex)
    assert written(back) == written(value)
    assert digest_of(back).text == unit.digest


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(math.nan, id="nan"),
        pytest.param(-math.inf, id="inf"),
        pytest.param(-0.0, id="negative zero"),
        pytest.param(decimal.Decimal("1.10"), id="decimal scale"),
        pytest.param(decimal.Decimal("sNaN"), id="signalling nan"),
        pytest.param(Fraction(1, 3), id="fraction"),
        pytest.param(1 << 100_000, id="huge integer"),
        pytest.param("\ud800 größe 名", id="text with half a surrogate"),
        pytest.param({"$": "tuple", "v": [1]}, id="dict that looks like our own tag"),
        pytest.param(np.datetime64("NaT", "s"), id="NaT of NumPy"),
        pytest.param(np.str_("ü"), id="NumPy text"),
        pytest.param(
            pd.Timestamp("2026-10-25 01:30", tz="UTC").tz_convert("Europe/Brussels"),
            id="folded time",
        ),
        pytest.param(pd.Timestamp("1600-01-01").as_unit("s"), id="time in seconds"),
        pytest.param(pd.NA, id="NA"),
        pytest.param(pd.NaT, id="NaT"),
        pytest.param(slice(1, None, 2), id="slice"),
        pytest.param(uuid.UUID(int=3), id="uuid"),
        pytest.param(dt.datetime(2026, 10, 25, 2, 30, fold=1), id="fold"),
    ],
)
def test_odd_plain_values_come_back_as_json(tmp_path, value):
    unit, back = there_and_back(value, tmp_path)
    assert unit.format == "json"
    assert written(back) == written(value)


@pytest.mark.parametrize(
    "value", [np.float64(1) / 3, np.int16(-3), np.longdouble(1) / 3, np.complex64(1j)]
)
def test_scalars_of_numpy_keep_type_and_bits(tmp_path, value):
    _, back = there_and_back(value, tmp_path)
    assert type(back) is type(value)
    assert back.tobytes() == value.tobytes()


def test_a_list_that_stands_twice_still_is_one_list(tmp_path):
    inner = [1]
    unit, back = there_and_back([inner, inner], tmp_path)
    assert unit.format == "pickle"
    assert back[0] is back[1]


def test_a_list_that_holds_itself_comes_back(tmp_path):
    value = [1]
    value.append(value)
    _, back = there_and_back(value, tmp_path)
    assert back[1] is back


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(OrderedDict(b=1, a=2), id="ordered dict"),
        pytest.param(Point(1, [2]), id="named tuple"),
        pytest.param(bytearray(b"ab"), id="bytearray"),
    ],
)
def test_a_subclass_is_not_made_its_base(tmp_path, value):
    unit, back = there_and_back(value, tmp_path)
    assert unit.format == "pickle"
    assert type(back) is type(value)
    assert back == value


def test_a_value_nested_too_deeply_is_refused_by_name(tmp_path):
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CannotStore, match=r"deep.*nested too deeply"):
        pack({"deep": value}, tmp_path, namespace={})


def test_a_hundred_thousand_elements_come_back(tmp_path):
    value = {f"key {i}": (i, [i / 3, None]) for i in range(100_000)}
    unit, back = there_and_back(value, tmp_path)
    assert unit.format == "json"
    assert list(back.items()) == list(value.items())


# --- frames -----------------------------------------------------------------------------------

DAYS = pd.date_range("2026-01-01", periods=3, tz="Europe/Brussels")
LEVELS = pd.MultiIndex.from_product([["a", "b"], DAYS[:2]], names=["letter", None])


def odd_blocks():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [1, 2]})
    frame["c"] = [3.0, 4.0]
    frame["at"] = pd.to_datetime(["2026", None])
    return frame


def with_attributes():
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"unit": ("cm", {"note": None})}
    frame.flags.allows_duplicate_labels = False
    return frame


FRAMES = {
    "numbers": pd.DataFrame(X),
    "memory by columns": pd.DataFrame(np.asfortranarray(X)),
    "every type": pd.DataFrame(
        {
            "text": ["x", None, "ü"],
            "float": [1.5, np.nan, -0.0],
            "ordered": pd.Categorical(["u", "v", None], ["w", "v", "u"], ordered=True),
            "zoned": DAYS,
            "lasting": pd.to_timedelta([1, None, 3], "s"),
            "Int64": pd.array([1, None, 2**62], "Int64"),
            "Float64": pd.array([1.5, None, 2], "Float64"),
            "boolean": pd.array([True, None, False], "boolean"),
            "month": pd.period_range("2026", periods=3, freq="M"),
            "between": pd.interval_range(0, 3, closed="left"),
            "bool": [True, False, True],
            "u64": np.array([0, 1, 2**64 - 1], "u8"),
            "half": np.array([0.5, 1, 2], "f2"),
            "arrow": pd.array([1, None, 3], "int64[pyarrow]"),
            "python texts": pd.array(["x", None, ""], "string[python]"),
            "seconds": pd.Series(pd.to_datetime(["2026", None, "1700"])).dt.as_unit("s"),
        }
    ),
    "rows by two labels": pd.DataFrame({"v": range(4)}, index=LEVELS),
    "columns by two labels": pd.DataFrame([[1, 2, 3, 4]], columns=LEVELS),
    "doubled columns": pd.DataFrame([[1, 2.0]], columns=["a", "a"]),
    "columns of times": pd.DataFrame([[1, 2, 3]], columns=DAYS),
    "columns of many kinds": pd.DataFrame([[1, 2, 3]], columns=["a", 1, ("b", 2)]),
    "nothing": pd.DataFrame(),
    "no rows": pd.DataFrame(
        {"a": pd.Series([], dtype="int8"), "b": pd.Series([], dtype="category")}
    ),
    "no columns": pd.DataFrame(index=["x", "y"]),
    "object texts": pd.DataFrame({"a": pd.Series(["x", None], dtype=object)}),
    "object texts with nan": pd.DataFrame({"a": pd.Series(["x", np.nan], dtype=object)}),
    "odd names": pd.DataFrame([[1, 2, 3, 4]], columns=["größe", "名", "a\nb", ""]),
    "odd blocks": odd_blocks(),
    "attributes": with_attributes(),
    "strided": pd.DataFrame(np.arange(20.0).reshape(4, 5))[[0, 2]].iloc[::2],
    "unused categories": pd.DataFrame(
        {"a": pd.Categorical(["x"], ["y", "x"])}, index=pd.CategoricalIndex(["b"])
    ),
    "large": pd.DataFrame({"n": np.arange(300_000), "t": pd.Series(["a", "b", None] * 100_000)}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back_from_parquet_to_the_last_label(tmp_path, name):
    unit, back = there_and_back(FRAMES[name], tmp_path)
    assert unit.format == "parquet"
    assert is_same(FRAMES[name], back)
    assert digest_of(back).text == unit.digest
    assert unit.signature == ""


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(
            pd.Series(range(3), pd.date_range("2026", periods=3, freq="MS"), name=("a", 1)),
            id="series",
        ),
        pytest.param(pd.Series([], dtype="float32"), id="empty series"),
        pytest.param(DAYS, id="index with a rhythm"),
        pytest.param(LEVELS, id="index of two levels"),
        pytest.param(pd.RangeIndex(2, 9, 3, name="n"), id="range"),
    ],
)
def test_a_series_or_index_comes_back_from_parquet(tmp_path, value):
    unit, back = there_and_back(value, tmp_path)
    assert unit.format == "parquet"
    assert is_same(value, back)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(pd.DataFrame({"a": [[1], {2}]}), id="lists in cells"),
        pytest.param(
            pd.DataFrame({"a": pd.Series([1, "x", None], dtype=object)}), id="mixed cells"
        ),
        pytest.param(
            pd.DataFrame({"a": pd.Series([None, np.nan, "x"], dtype=object)}),
            id="two kinds of missing",
        ),
        pytest.param(
            pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object)}), id="half a surrogate"
        ),
        pytest.param(pd.DataFrame({"a": pd.arrays.SparseArray([0, 0, 1])}), id="sparse"),
        pytest.param(pd.DataFrame({"a": [1j]}), id="complex"),
    ],
)
def test_a_frame_that_parquet_would_change_is_pickled_whole(tmp_path, value):
    unit, back = there_and_back(value, tmp_path)
    assert unit.format == "pickle"
    assert unit.signature
    pd.testing.assert_frame_equal(back, value)
    cells = [[type(one) for one in value[column]] for column in value]
    assert [[type(one) for one in back[column]] for column in back] == cells


def test_a_late_cell_of_another_kind_is_seen_in_a_large_frame(tmp_path):
    cells = pd.Series(["text"] * 200_000, dtype=object)
    cells.iloc[-1] = 7
    unit, back = there_and_back(pd.DataFrame({"a": cells}), tmp_path)
    assert unit.format == "pickle"
    assert back["a"].iloc[-1] == 7


def test_an_attribute_that_pandas_would_drop_is_refused(tmp_path):
    frame = pd.DataFrame({"a": [1]})
    object.__setattr__(frame, "note", "kept by nobody")
    with pytest.raises(CannotStore, match="note"):
        pack({"frame": frame}, tmp_path, namespace={})
    with pytest.raises(CannotStore, match="note"):
        pack({"frames": {"one": frame}}, tmp_path, namespace={})


def test_a_frame_that_came_out_of_a_pickle_is_a_frame_like_any_other(tmp_path):
    frame = pickle.loads(pickle.dumps(FRAMES["numbers"]))  # noqa: S301
    unit, back = there_and_back([frame, frame[0]], tmp_path / "1")
    assert unit.format == "pickle"
    unit, back = there_and_back(frame, tmp_path / "2")
    assert unit.format == "parquet"
    assert is_same(back, FRAMES["numbers"])


def test_a_full_disk_is_an_error_of_ours_and_leaves_no_files(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        for value in (ARRAYS["large"], [ARRAYS["large"], 1], FRAMES["large"], "x" * 200_000):
            with pytest.raises(NotWritten, match="big cannot be written"):
                pack({"big": value}, tmp_path / "unit", namespace={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list((tmp_path / "unit").iterdir()) == []


def test_a_stored_frame_can_be_written_to_and_stays_as_stored(tmp_path):
    frame = pd.DataFrame(X.copy())
    unit, back = there_and_back(frame, tmp_path)
    back.iloc[0, 0] = 99.0
    again = unpack(unit, tmp_path, namespace={})["value"]
    assert again.iloc[0, 0] == frame.iloc[0, 0]


COLUMNS = st.sampled_from(
    ["i1", "i8", "u4", "f4", "f8", "?", "M8[ns]", "M8[s]", "m8[us]", "str", "category", "Int32"]
)


@st.composite
def frames(draw):
    rows = draw(st.integers(0, 5))
    kinds = draw(st.lists(COLUMNS, max_size=5))
    columns = {}
    for place, kind in enumerate(kinds):
        numbers = draw(st.lists(st.integers(0, 100), min_size=rows, max_size=rows))
        if kind in {"str", "category"}:
            columns[place] = pd.Series([str(n % 7) for n in numbers], dtype=kind)
        else:
            columns[place] = pd.Series(numbers, dtype="i8").astype(kind)
    frame = pd.DataFrame(columns, index=range(rows))
    labels = draw(
        st.lists(st.one_of(st.text(), st.integers()), min_size=len(kinds), max_size=len(kinds))
    )
    frame.columns = pd.Index(labels, dtype=object)
    if draw(st.booleans()):
        frame.index = pd.Index(
            draw(st.lists(st.text(st.characters(codec="utf-8")), min_size=rows, max_size=rows))
        )
    return frame


@given(frames())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_frame_comes_back_whatever_its_format(tmp_path, frame):
    unit, back = there_and_back(frame, tmp_path / uuid.uuid4().hex)
    assert digest_of(back).text == unit.digest == digest_of(frame).text
    pd.testing.assert_frame_equal(back, frame, check_freq=True)
    assert [type(one) for one in back.columns] == [type(one) for one in frame.columns]


# --- arrays and tables ------------------------------------------------------------------------

ARRAYS = {
    "rows": X,
    "columns": np.asfortranarray(X),
    "axes in another order": np.random.default_rng(1).random((2, 3, 4)).transpose(1, 2, 0),
    "backwards": X[::-1, ::2],
    "no axes": np.array(3.0),
    "nothing": np.empty((0, 3), "i2"),
    "records": np.zeros(2, [("a", "i4"), ("b", "f8", 2)]),
    "big-endian": np.arange(3, dtype=">i4"),
    "texts": np.array(["ab", "ü"]),
    "times": np.array(["2026", "NaT"], "M8[s]"),
    "large": np.random.default_rng(2).random((400, 1000)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_with_type_and_order_of_memory(tmp_path, name):
    array = ARRAYS[name]
    unit, back = there_and_back(array, tmp_path)
    assert unit.format == "npy"
    assert type(back) is np.ndarray
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    order = [
        np.argsort([-abs(s) for s in one.strides], kind="stable").tolist() for one in (back, array)
    ]
    assert order[0] == order[1]


def test_a_mapped_array_is_the_readers_own_copy(tmp_path):
    unit, back = there_and_back(ARRAYS["large"], tmp_path)
    back[0, 0] = 99
    assert unpack(unit, tmp_path, namespace={})["value"][0, 0] == ARRAYS["large"][0, 0]
    back *= 2
    assert back[0, 0] == 198


def test_a_read_only_array_stays_read_only(tmp_path):
    array = np.arange(3)
    array.flags.writeable = False
    _, back = there_and_back(array, tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(np.array([1, "a", None], object), id="objects"),
        pytest.param(np.ma.array([1, 2], mask=[0, 1]), id="masked"),
        pytest.param(np.matrix([[1]]), id="matrix"),
        pytest.param(np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)), id="aligned"),
    ],
)
def test_an_array_that_holds_more_than_numbers_is_pickled(tmp_path, value):
    unit, back = there_and_back(value, tmp_path)
    assert unit.format == "pickle"
    assert type(back) is type(value)
    assert digest_of(back).text == unit.digest


@pytest.mark.parametrize("kind", ["csr", "csc", "bsr", "coo", "dia"])
@pytest.mark.parametrize("family", ["matrix", "array"])
def test_a_sparse_matrix_comes_back_as_its_own_class(tmp_path, kind, family):
    value = getattr(sp, f"{kind}_{family}")(np.kron(np.eye(3), np.ones((2, 2))))
    unit, back = there_and_back(value, tmp_path)
    assert unit.format == "npz"
    assert type(back) is type(value)
    assert digest_of(back).text == unit.digest
    assert (back.toarray() == value.toarray()).all()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(
            pa.table({"größe": [1, None], "t": ["x", "y"]}).replace_schema_metadata({"a": "b"}),
            id="table",
        ),
        pytest.param(pa.RecordBatch.from_pydict({"a": [1]}), id="batch"),
        pytest.param(pa.array([1, None]), id="array"),
        pytest.param(pa.array([], pa.int8()), id="empty array"),
        pytest.param(pa.chunked_array([[1], [2]]), id="chunks"),
    ],
)
def test_tables_of_arrow_come_back(tmp_path, value):
    unit, back = there_and_back(value, tmp_path)
    assert unit.format == "arrow"
    assert type(back) is type(value)
    assert back.equals(value)
    if isinstance(value, pa.Table):
        assert back.schema.metadata == value.schema.metadata


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(pl.DataFrame({"a": [1, None], "b": ["x", "ü"], "c": [[1], []]}), id="frame"),
        pytest.param(
            pl.DataFrame({"a": pl.Series(["x", "y"], dtype=pl.Categorical)}), id="categories"
        ),
        pytest.param(pl.Series("s", [1.5, None]), id="series"),
        pytest.param(pl.DataFrame(), id="nothing"),
    ],
)
def test_values_of_polars_come_back(tmp_path, value):
    unit, back = there_and_back(value, tmp_path)
    assert unit.format == "arrow"
    assert type(back) is type(value)
    assert back.equals(value)
    assert digest_of(back).text == unit.digest


# --- models -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "format_"),
    [
        pytest.param(LogisticRegression().fit(X, Y), "skops", id="linear"),
        pytest.param(make_pipeline(StandardScaler(), Ridge()).fit(X, Y), "skops", id="pipeline"),
        pytest.param(RandomForestClassifier(5, random_state=0).fit(X, Y), "skops", id="forest"),
        pytest.param(Ridge(alpha=0.5), "skops", id="not fitted"),
        pytest.param(
            GradientBoostingClassifier(n_estimators=3).fit(X, Y),
            "pickle",
            id="holds the global generator",
        ),
        pytest.param(
            xgboost.XGBClassifier(n_estimators=2).fit(X, Y),
            "joblib",
            id="another library's estimator",
        ),
    ],
)
def test_an_estimator_comes_back_with_its_parameters_and_predictions(tmp_path, model, format_):
    unit, back = there_and_back(model, tmp_path)
    assert unit.format == format_
    assert type(back) is type(model)
    assert digest_of(back).text == unit.digest
    assert str(back.get_params()) == str(model.get_params())
    if hasattr(model, "n_features_in_"):
        np.testing.assert_array_equal(back.predict(X), model.predict(X))


def test_a_model_with_a_function_of_the_notebook_is_pickled_with_it(tmp_path):
    namespace = {"__name__": "__main__", "np": np}
    exec("def halve(x): return x / FACTOR", namespace)
    model = FunctionTransformer(namespace["halve"]).fit(X)
    unit = pack({"model": model}, tmp_path, namespace=namespace)
    assert unit.format == "pickle"
    back = unpack(unit, tmp_path, namespace={"FACTOR": 2})["model"]
    np.testing.assert_array_equal(back.transform(X), X / 2)


def test_boosters_keep_their_own_formats(tmp_path):
    by_xgboost = xgboost.train({"max_depth": 2, "eta": 0.1}, xgboost.DMatrix(X, Y), 3)
    unit, back = there_and_back(by_xgboost, tmp_path / "x")
    assert unit.format == "xgboost"
    assert back.save_config() == by_xgboost.save_config()
    by_lightgbm = lightgbm.train(
        {"verbose": -1, "min_data_in_leaf": 1, "metric": "l2"},
        lightgbm.Dataset(X, Y),
        3,
        valid_sets=[lightgbm.Dataset(X, Y)],
    )
    unit, back = there_and_back(by_lightgbm, tmp_path / "l")
    assert unit.format == "lightgbm"
    assert back.best_score == by_lightgbm.best_score
    np.testing.assert_array_equal(back.predict(X), by_lightgbm.predict(X))


@pytest.mark.skipif(torch is None, reason="torch is not there")
def test_tensors_come_back_without_a_pickle_and_modules_with_one(tmp_path):
    tensor = torch.arange(6.0).reshape(2, 3).requires_grad_()
    unit, back = there_and_back(tensor, tmp_path / "t")
    assert (unit.format, unit.signature) == ("torch", "")
    assert torch.equal(back, tensor)
    assert back.requires_grad
    module = torch.nn.Linear(2, 2)
    unit, back = there_and_back(module.state_dict(), tmp_path / "s")
    assert unit.format == "torch"
    module(torch.ones(1, 2)).sum().backward()
    unit, back = there_and_back(module, tmp_path / "m")
    assert unit.format == "pickle"
    assert torch.equal(back.weight.grad, module.weight.grad)


@pytest.mark.skipif(torch is None, reason="torch is not there")
def test_an_optimizer_still_moves_its_model(tmp_path):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    unit = pack({"model": model, "optimizer": optimizer}, tmp_path, namespace={})
    assert unit.format == "pickle"
    back = unpack(unit, tmp_path, namespace={})
    back["model"](torch.ones(1, 2)).sum().backward()
    before = back["model"].weight.detach().clone()
    back["optimizer"].step()
    assert not torch.equal(before, back["model"].weight)


@pytest.mark.skipif(torch is None, reason="torch is not there")
def test_a_tensor_of_an_unfinished_computation_is_refused(tmp_path):
    with pytest.raises(CannotStore, match="detach"):
        pack({"loss": torch.ones(2, requires_grad=True) * 2}, tmp_path, namespace={})


# --- units ------------------------------------------------------------------------------------


def test_values_that_share_an_object_share_it_again(tmp_path):
    rows = [1, 2]
    unit = pack({"rows": rows, "table": {"rows": rows}}, tmp_path, namespace={})
    back = unpack(unit, tmp_path, namespace={})
    assert unit.format == "pickle"
    assert back["table"]["rows"] is back["rows"]


def test_values_that_share_nothing_each_take_their_own_format(tmp_path):
    values = {"frame": FRAMES["every type"], "array": X, "note": "x"}
    unit = pack(values, tmp_path, namespace={})
    assert [part["format"] for part in unit.detail["parts"]] == ["parquet", "npy", "json"]
    assert unit.signature == ""
    back = unpack(unit, tmp_path, namespace={})
    assert list(back) == list(values)
    assert is_same(back["frame"], values["frame"])


def test_views_of_one_array_stay_views_of_one_array(tmp_path):
    base = np.arange(20.0).reshape(4, 5)
    values = {"whole": base, "column": base[:, 1], "turned": base.T[::-1]}
    unit = pack(values, tmp_path, namespace={})
    back = unpack(unit, tmp_path, namespace={})
    back["column"][2] = 99
    assert back["whole"][2, 1] == 99
    assert back["turned"][3, 2] == 99


def test_a_frame_and_the_array_it_shows_stay_one(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    unit = pack({"frame": frame, "array": frame.to_numpy()}, tmp_path, namespace={})
    back = unpack(unit, tmp_path, namespace={})
    back["frame"].iloc[0, 0] = 9
    assert back["array"][0, 0] == 9
    assert not back["array"].flags.writeable


def test_frames_that_pandas_keeps_apart_need_no_common_pickle(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [1, 2]})
    unit = pack({"frame": frame, "part": frame[["a"]]}, tmp_path, namespace={})
    assert unit.format == "parts"


def test_names_may_be_any_that_python_allows(tmp_path):
    values = {"größe": 1, "名": [2], "_": 3, "x" * 300: 4}
    unit = pack(values, tmp_path, namespace={})
    assert unpack(unit, tmp_path, namespace={}) == values


def test_equal_values_have_equal_digests_and_order_counts(tmp_path):
    def digest(value, name):
        return pack({"v": value}, tmp_path / name, namespace={}).digest

    assert digest({"a": 1, "b": 2}, "1") == digest({"a": 1} | {"b": 2}, "2")
    assert digest({"a": 1, "b": 2}, "3") != digest({"b": 2, "a": 1}, "4")
    assert digest(FRAMES["numbers"], "5") == digest(FRAMES["numbers"].copy(), "6")


# --- what cannot be stored --------------------------------------------------------------------


class Holder:
    def __init__(self, inner):
        self.inner = inner


def closure_over(value):
    def inside():
        return value

    return inside


@pytest.mark.parametrize(
    ("make", "path", "why"),
    [
        pytest.param(lambda: (i for i in "a"), "box", "generator", id="generator"),
        pytest.param(
            lambda: {"handle": open("/dev/null")},
            'box["handle"]',
            "open file",
            id="file in a dict",
        ),
        pytest.param(lambda: open("/dev/null", "rb"), "box", "open file", id="binary file"),
        pytest.param(lambda: [1, (2, socket.socket())], "box[1][1]", "connection", id="socket"),
        pytest.param(
            lambda: Holder(sqlite3.connect(":memory:")), "box.inner", "connection", id="database"
        ),
        pytest.param(
            lambda: {"x": [{"y": threading.Lock()}]}, 'box["x"][0]["y"]', "lock", id="lock"
        ),
        pytest.param(lambda: closure_over(threading.Lock()), "value of box", "lock", id="closure"),
        pytest.param(threading.Thread, "box", "lock", id="thread"),
        pytest.param(lambda: memoryview(b"a"), "box", "view", id="memory view"),
    ],
)
def test_what_belongs_to_the_process_is_refused_by_its_path(tmp_path, make, path, why):
    with pytest.raises(CannotStore) as caught:
        pack({"box": make()}, tmp_path, namespace={})
    assert caught.value.name.startswith(path)
    assert why in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_map_of_a_file_that_is_written_to_is_refused(tmp_path):
    mapped = np.memmap(tmp_path / "data", "f8", "w+", shape=(3,))
    with pytest.raises(CannotStore, match="file"):
        pack({"mapped": mapped}, tmp_path / "unit", namespace={})


def test_a_pickle_is_refused_by_name_where_none_is_allowed(tmp_path):
    with pytest.raises(PickleRefused, match="box"):
        pack({"box": Holder(1)}, tmp_path, namespace={}, may_pickle=False)
    rows = []
    with pytest.raises(PickleRefused, match="rows, table"):
        pack({"rows": rows, "table": [rows]}, tmp_path, namespace={}, may_pickle=False)
    assert list(tmp_path.iterdir()) == []
    unit = pack({"model": Ridge().fit(X, Y)}, tmp_path, namespace={}, may_pickle=False)
    assert unit.format == "skops"


# --- damage -----------------------------------------------------------------------------------

FORMATS = {
    "json": {"a": 1},
    "parquet": FRAMES["every type"],
    "npy": X,
    "npz": sp.csr_matrix(X),
    "arrow": pl.DataFrame({"a": [1, 2]}),
    "skops": Ridge().fit(X, Y),
    "pickle": Holder([1]),
    "joblib": xgboost.XGBClassifier(n_estimators=1).fit(X, Y),
    "xgboost": xgboost.train({}, xgboost.DMatrix(X, Y), 1),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_changed_or_missing_file_is_never_read(tmp_path, name):
    unit = pack({"value": FORMATS[name]}, tmp_path, namespace={})
    assert unit.format == name
    path = tmp_path / unit.files[0].name
    data = path.read_bytes()
    for broken in (
        data[:-1],
        data[: len(data) // 2],
        data + b"\0",
        data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
    ):
        path.write_bytes(broken)
        with pytest.raises(CorruptValue, match="value of step prepare"):
            unpack(unit, tmp_path, namespace={}, step="prepare")
    path.unlink()
    with pytest.raises(CorruptValue, match="cannot be read"):
        unpack(unit, tmp_path, namespace={}, step="prepare")


def test_large_buffers_are_checked_as_well(tmp_path):
    unit = pack({"value": [np.arange(100_000), 1]}, tmp_path, namespace={})
    assert [file.name for file in unit.files] == ["value.pickle", "buffers.bin"]
    path = tmp_path / "buffers.bin"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptValue):
        unpack(unit, tmp_path, namespace={})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"files": ()}, id="no files"),
        pytest.param({"format": "parquet"}, id="another format"),
        pytest.param({"format": "nonsense"}, id="no format"),
        pytest.param({"detail": {}}, id="no details"),
        pytest.param({"names": ("other",)}, id="another name"),
    ],
)
def test_a_manifest_that_does_not_fit_is_an_error_of_ours(tmp_path, change):
    unit = pack({"value": {"a": 1}}, tmp_path, namespace={})
    changed = replace(unit, **change)
    if change in ({"detail": {}}, {"names": ("other",)}):
        # JSON needs no details, and the manifest is what says the name.
        assert list(unpack(changed, tmp_path, namespace={}).values()) == [{"a": 1}]
        return
    with pytest.raises(CorruptValue):
        unpack(changed, tmp_path, namespace={})


def test_a_file_outside_the_folder_is_never_opened(tmp_path):
    unit = pack({"value": 1}, tmp_path / "unit", namespace={})
    (tmp_path / "value.json").write_text("2")
    outside = replace(unit.files[0], name="../value.json")
    with pytest.raises(CorruptValue, match="no name"):
        unpack(replace(unit, files=(outside,)), tmp_path / "unit", namespace={})


def test_an_enumeration_is_imported_only_for_a_trusted_writer(tmp_path):
    unit, back = there_and_back({"status": http.HTTPStatus.OK}, tmp_path)
    assert back["status"] is http.HTTPStatus.OK
    assert unit.signature
    forged = replace(unit, signature="", detail={"reader": "plain"})
    with pytest.raises(UntrustedValue, match=r"http\.HTTPStatus"):
        unpack(forged, tmp_path, namespace={})


def test_code_of_another_python_is_refused(tmp_path):
    from mlops_nb.packaging.signature import sign

    unit = pack({"value": Holder(1)}, tmp_path, namespace={})
    old = sign(replace(unit, detail={**unit.detail, "written_by": {"python": "3.99.0"}}))
    with pytest.raises(CorruptValue, match=r"Python 3\.99"):
        unpack(old, tmp_path, namespace={})
