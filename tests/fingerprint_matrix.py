"""Values of every kind, made the same way with any supported version of the libraries.

``python fingerprint_matrix.py`` prints their digests as JSON, for a comparison with another
interpreter's.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import json
import pathlib
import sys
import uuid
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from scipy import sparse

from mlops_nb.fingerprint import fingerprint

ROWS = 70_000  # more than a chunk
TEXTS = ["x", "größer", "", None, "x\0y", "長い", "a longer text than twelve bytes"]
Point = collections.namedtuple("Point", "x y")  # noqa: PYI024


def frame(values, **options):
    return pd.DataFrame({"a": pd.Series(values, **options)})


def arrow_frame(values, type_):
    return frame(pd.arrays.ArrowExtensionArray(pa.chunked_array([values], type_)))


def numbers():
    draw = np.random.RandomState(0)
    return draw.randint(-(2**40), 2**40, ROWS)


def pandas_values():
    many = numbers()
    floats = many / 7
    floats[::100] = np.nan
    stamps = pd.to_datetime(["2026-01-01 00:00:00", None, "1999-12-31 23:59:59"])
    values = {
        f"pandas {name}": frame(many.astype(name))
        for name in ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    }
    values |= {
        "pandas float64": frame(floats),
        "pandas float32": frame(floats.astype("f4")),
        "pandas float16": frame(np.array([1.5, np.nan, np.inf], "f2")),
        "pandas complex": frame(np.array([1 + 2j, np.nan])),
        "pandas bool": frame(many % 2 == 0),
        "pandas object texts": frame(TEXTS, dtype=object),
        "pandas object mixed": frame([1, "a", 2.5, None, (1, 2), {"k": [1]}], dtype=object),
        "pandas object dates": frame([dt.date(2026, 1, 1), None], dtype=object),
        "pandas string python": frame(TEXTS, dtype="string[python]"),
        "pandas string pyarrow": frame(TEXTS, dtype="string[pyarrow]"),
        "pandas category": frame(["b", None, "a"], dtype=pd.CategoricalDtype(["c", "b", "a"])),
        "pandas category ordered": frame([2, 1], dtype=pd.CategoricalDtype([1, 2], ordered=True)),
        "pandas datetime ns": frame(stamps.astype("datetime64[ns]")),
        "pandas datetime s": frame(stamps.astype("datetime64[s]")),
        "pandas datetime zone": frame(
            stamps.astype("datetime64[ns]").tz_localize("Europe/Brussels")
        ),
        "pandas timedelta": frame(pd.to_timedelta([1, None, 3], "h").astype("timedelta64[ns]")),
        "pandas period": frame(pd.period_range("2026-01", periods=3, freq="M")),
        "pandas interval": frame(pd.arrays.IntervalArray.from_arrays([0, 1], [1, 2])),
        "pandas sparse": frame(pd.arrays.SparseArray([0.0, 1.0, 0.0], fill_value=0.0)),
        "pandas boolean": frame([True, None, False], dtype="boolean"),
        "pandas arrow list": arrow_frame([[1, 2], None, []], pa.list_(pa.int64())),
        "pandas arrow struct": arrow_frame(
            [{"p": 1, "q": "x"}, None], pa.struct([("p", pa.int8()), ("q", pa.string())])
        ),
        "pandas arrow decimal": arrow_frame([decimal.Decimal("1.10"), None], pa.decimal128(9, 2)),
        "pandas arrow date": arrow_frame([dt.date(2026, 1, 1), None], pa.date32()),
        "pandas arrow time": arrow_frame([dt.time(1, 2, 3), None], pa.time64("us")),
        "pandas arrow dictionary": arrow_frame(
            pa.array(["u", None, "v"]).dictionary_encode(), pa.dictionary(pa.int32(), pa.string())
        ),
    }
    for name in ["Int8", "Int64", "UInt16", "Float32", "Float64"]:
        values[f"pandas {name} with gaps"] = frame([1, None, 3], dtype=name)
    for name in ["int64", "double", "bool", "timestamp[us]", "duration[ms]", "float"]:
        values[f"pandas {name} of Arrow"] = frame([1, None, 0], dtype=f"{name}[pyarrow]")
    return values | labelled_values()


def labelled_values():
    texts = pd.Index(["x", "y"], dtype=object)
    levels = pd.MultiIndex.from_product([[1, 2], texts], names=["n", "t"])
    small = pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]})
    return {
        "frame of many columns": pd.DataFrame(np.arange(3_000.0).reshape(3, 1_000)),
        "frame with text labels": small.set_axis(texts, axis=0),
        "frame with shifted range": small.set_axis(pd.RangeIndex(5, 7), axis=0),
        "frame with counted labels": small.set_axis([5, 6], axis=0),
        "frame with levels": pd.DataFrame({"v": range(4)}, index=levels),
        "frame with levels as columns": pd.DataFrame([[1, 2, 3, 4]], columns=levels),
        "frame with time labels": small.set_axis(
            pd.DatetimeIndex(["2026-01-01", "2026-01-02"]).astype("datetime64[ns]"), axis=0
        ),
        "frame without rows": small.iloc[:0],
        "frame without columns": small[[]],
        "series": pd.Series([1, 2], name="y"),
        "index": pd.Index([3, 1, 2], name="i"),
        "array of pandas": pd.array([1, None], dtype="Int64"),
        "Timestamp": pd.Timestamp("2026-01-01 12:00", tz="Asia/Tokyo").as_unit("ns"),
        "Timedelta": pd.Timedelta(hours=1).as_unit("ns"),
        "Interval and NA": [pd.Interval(0, 1), pd.NA, pd.NaT],
    }


def array_values():
    many = numbers()
    fields = np.array([(1, 2.5, b"x")], [("i", "i2"), ("f", "f8"), ("s", "S1")])
    values = {
        f"array {name}": (many[:1_000] % 1_000).astype(name)
        for name in ["i1", "i8", ">i4", "u2", "f2", "f4", "f8", "c8", "?", "U5", "S5"]
    }
    return values | {
        "array F-order": np.asfortranarray(many[:69_960].reshape(-1, 33)),
        "array of three axes": many[:60_000].reshape(3, 100, 200).transpose(2, 0, 1),
        "array with NaN": np.where(many % 3, many / 3, np.nan),
        "array of times": many[:10].astype("M8[ms]"),
        "array of objects": np.array(["a", 1, None], object),
        "array structured": fields,
        "array masked": np.ma.MaskedArray([1.0, 2.0], [False, True]),
        "array empty": np.zeros((0, 3)),
        "array scalar": np.array(1.5),
        "NumPy scalars": [np.float32(1), np.int8(2), np.bool_(1), np.datetime64("2026-01-01")],
        "dtype": np.dtype("i4"),
        "RandomState": np.random.RandomState(7),
        "sparse csr": sparse.csr_matrix(np.eye(5)),
        "sparse coo": sparse.coo_matrix((np.ones(2), ([0, 1], [1, 0]))),
        "sparse csc array": sparse.csc_array(np.eye(4, dtype="f4")),
    }


def table_values():
    columns = {
        "int": [1, None, 3],
        "text": TEXTS[1:4],
        "flag": [True, None, False],
        "real": [1.5, float("nan"), None],
        "list": [["a"], None, []],
        "pair": [{"p": 1}, None, {"p": None}],
        "day": [dt.date(2026, 1, 1), None, dt.date(1969, 1, 1)],
    }
    coded = pl.Series("coded", ["u", None, "v"], dtype=pl.Categorical)
    fixed = pl.Series("fixed", ["u", None, "v"], dtype=pl.Enum(["v", "u", "w"]))
    moment = pl.Series("at", [dt.datetime(2026, 1, 1), None, None])  # noqa: DTZ001
    return {
        "Arrow table": pa.table(columns),
        "Arrow array": pa.array([1, None]),
        "Arrow chunked": pa.chunked_array([["a"], ["b", None]]),
        "Arrow dictionary": pa.array(["u", None, "v"]).dictionary_encode(),
        "Polars frame": pl.DataFrame(columns).with_columns(coded, fixed),
        "Polars series": pl.Series("n", numbers()),
        "Polars zone": moment.dt.replace_time_zone("Europe/Brussels"),
        "Polars decimal": pl.Series(["1.10"]).cast(pl.Decimal(9, 2)),
        "Polars objects": pl.Series("o", [1, "a"], dtype=pl.Object),
    }


def plain_values():
    loop = [1]
    loop.append(loop)
    return {
        "None": None,
        "numbers": [1, 2**70, 2.5, float("nan"), -0.0, True, 1j],
        "texts": ["a", b"b", bytearray(b"c"), "größer"],
        "set": {"b", "a", "c", 1, None},
        "frozenset": frozenset(range(100)),
        "dict": {"x": 1, "y": [2.5, "z"], 3: {"k": (1,)}},
        "loop": loop,
        "dates": [dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))],
        "exact": [decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=5)],
        "collections": [
            collections.OrderedDict(a=1),
            collections.Counter("aab"),
            collections.deque([1], 3),
            pathlib.PurePosixPath("a/b"),
            slice(1, None),
            range(3),
        ],
        "functions": [len, int, np.add, np.mean, json.dumps],
        "container of data": {"X": frame([1.0]), "y": np.arange(3), "t": pa.array([1])},
    }


def values():
    return pandas_values() | array_values() | table_values() | plain_values()


def digests():
    """Digest each value; one that is not exact says so instead, so that it differs."""
    found = {name: fingerprint(value) for name, value in values().items()}
    return {name: one.digest or one.assurance for name, one in found.items()}


if __name__ == "__main__":
    json.dump(digests(), sys.stdout)
