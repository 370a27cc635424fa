"""Fingerprints of plain values and of arrays, budgets, and objects that lie or do harm."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import fractions
import os
import pathlib
import re
import sys
import tracemalloc
import types
import uuid
from functools import partial
from threading import Lock
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse

from mlops_nb.errors import CannotFingerprint
from mlops_nb.fingerprint import fingerprint


def digest(value):
    found = fingerprint(value)
    assert found.assurance == "exact"
    assert re.fullmatch("nbfp1:[0-9a-f]{32}", found.digest)
    return found.digest


def column(values, **options):
    return pd.DataFrame({"a": pd.Series(values, **options)})


FLOWERS = pd.DataFrame({"petal_cm": [1.4, 4.7, 6.0], "kind": ["a-b", "c", "d"]})


# --- plain values -----------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024


@dataclasses.dataclass
class Setup:
    rate: float
    names: list


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Colour.RED, Colour.BLUE),
        (Point(1, 2), Point(2, 1)),
        (Setup(0.1, ["a"]), Setup(0.1, ["b"])),
        (dt.date(2026, 1, 1), dt.date(2026, 1, 2)),
        (
            dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
            dt.datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")),
        ),
        (dt.timedelta(1), dt.timedelta(2)),
        (fractions.Fraction(1, 3), fractions.Fraction(1, 4)),
        (uuid.UUID(int=1), uuid.UUID(int=2)),
        (pathlib.PurePosixPath("a"), pathlib.PurePosixPath("b")),
        (re.compile("a"), re.compile("a", re.IGNORECASE)),
        (collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)),
        (collections.defaultdict(list, a=1), collections.defaultdict(set, a=1)),
        (collections.Counter("aab"), collections.Counter("abb")),
        (collections.deque([1, 2]), collections.deque([2, 1])),
        (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
        (slice(1), slice(2)),
        (len, max),
        (int, float),
        (np.dtype("i4"), np.dtype("i8")),
        (np.add, np.subtract),
        ([pd.NaT], [pd.NA]),
        (pd.Interval(0, 1), pd.Interval(0, 2)),
        (pd.CategoricalDtype(["a"]), pd.CategoricalDtype(["b"])),
        ({"X": np.arange(3)}, {"X": np.arange(4)}),
        ({"X": FLOWERS}, {"X": FLOWERS.iloc[::-1]}),
        (pd.array([1, None]), pd.array([1, 2])),
    ],
    ids=str,
)
def test_values_of_known_classes_are_read(one, other):
    assert digest(one) == digest(one)
    assert digest([one]) == digest([one])
    assert digest(one) != digest(other)
    assert digest([one]) != digest([other])


def test_a_container_may_contain_itself():
    def loop(last):
        inner = [1, {"list": None}, last]
        inner[1]["list"] = inner
        return inner

    assert digest(loop(2)) == digest(loop(2))
    assert digest(loop(2)) != digest(loop(3))


def test_a_shared_part_counts_like_an_equal_one():
    shared = [1, 2]
    assert digest([shared, shared]) == digest([[1, 2], [1, 2]])


def test_a_value_that_shares_its_parts_many_times_is_read_once():
    value = [0]
    for _ in range(60):
        value = [value, value]
    assert fingerprint(value).size_bytes < 10_000


def test_nesting_without_end_is_opaque_not_an_error():
    value = []
    for _ in range(100_000):
        value = [value]
    assert fingerprint(value).assurance == "opaque"


# --- hostile and unknown objects --------------------------------------------------------------


class Touched(BaseException):
    """Not an Exception, so that nothing can swallow it: the object's own code was run."""


def forbidden(*_arguments, **_options):
    raise Touched


HOOKS = [
    "__repr__",
    "__str__",
    "__len__",
    "__iter__",
    "__getitem__",
    "__eq__",
    "__hash__",
    "__array__",
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__getattr__",
    "__getattribute__",
    "__array_interface__",
    "__arrow_c_array__",
    "__dataframe__",
    "__float__",
    "__int__",
    "__index__",
    "__bool__",
    "__format__",
    "__sizeof__",
    "__dir__",
    "__buffer__",
    "__class_getitem__",
]


def frame_around(value):
    """Put an object into a frame without pandas looking at it."""
    frame = pd.DataFrame({"a": pd.Series([None, "a"], dtype=object)})
    frame._mgr.blocks[0].values[0, 0] = value  # noqa: PD011
    return frame


def as_objects(values):
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def hostile(base=object, **more):
    body = dict.fromkeys(HOOKS, forbidden) | {"__hash__": forbidden}
    return type("Hostile", (base,), body | more)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(hostile(), id="object"),
        pytest.param(partial(hostile(str), "a"), id="text"),
        pytest.param(partial(hostile(int), 1), id="number"),
        pytest.param(partial(hostile(list), [1]), id="list"),
        pytest.param(partial(hostile(dict), a=1), id="dict"),
        pytest.param(hostile(__module__="pandas.core.frame"), id="says it is pandas"),
        pytest.param(hostile(__class__=property(forbidden)), id="lies about its class"),
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda value: value, id="alone"),
        pytest.param(lambda value: [1, value], id="in a list"),
        pytest.param(lambda value: {"a": value}, id="in a dict"),
        pytest.param(lambda value: as_objects([value, "a"]), id="in an array"),
        pytest.param(frame_around, id="in a frame"),
    ],
)
def test_no_code_of_an_unknown_object_is_run(make, place):
    found = fingerprint(place(make()))
    assert (found.assurance, found.digest) == ("opaque", "")


def test_a_subclass_of_an_array_cannot_lie():
    class Liar(np.ndarray):
        shape = property(forbidden)
        dtype = property(forbidden)
        __getitem__ = __len__ = __array__ = __reduce__ = forbidden

    found = fingerprint(np.arange(3.0).view(Liar))
    assert found.kind.endswith("Liar")
    assert found.digest not in ("", digest(np.arange(3.0)))


def test_a_subclass_of_a_frame_cannot_lie_and_its_own_content_counts():
    class Liar(pd.DataFrame):
        columns = property(forbidden)
        index = property(forbidden)
        __len__ = __getitem__ = __array__ = forbidden

    def with_unit(unit):
        frame = Liar({"a": [1, 2]})
        object.__setattr__(frame, "unit", unit)
        return frame

    assert digest(with_unit("cm")) == digest(with_unit("cm"))
    assert digest(with_unit("cm")) != digest(with_unit("mm"))
    assert fingerprint(with_unit(object())).assurance == "opaque"


def test_one_unreadable_column_leaves_the_others_readable():
    frame = pd.DataFrame({"good": [1, 2], "bad": [object(), 1]})
    found = fingerprint(frame)
    assert (found.assurance, found.digest) == ("opaque", "")
    assert found.columns["good"].digest == fingerprint(frame[["good"]]).columns["good"].digest
    assert found.columns["bad"].digest == ""


def test_a_class_that_shows_another_name_is_opaque():
    class Decimal:
        pass

    Decimal.__module__, Decimal.__qualname__ = "decimal", "Decimal"
    assert fingerprint(Decimal()).assurance == "opaque"
    assert fingerprint(Decimal).assurance == "opaque"


@pytest.mark.parametrize(
    "value",
    [
        lambda: None,
        (i for i in ()),
        sys,
        types.MappingProxyType({}),
        Lock(),
    ],
    ids=["function", "generator", "module", "proxy", "lock"],
)
def test_what_has_no_content_is_opaque(value):
    found = fingerprint(value)
    assert (found.assurance, found.digest) == ("opaque", "")


def test_strict_raises_for_what_cannot_be_read():
    with pytest.raises(CannotFingerprint, match="list that holds a object"):
        fingerprint([1, object()], strict=True)
    assert fingerprint([1], strict=True).digest == digest([1])


def test_a_mapped_file_that_was_cut_is_opaque(tmp_path):
    path = tmp_path / "numbers.bin"
    np.arange(100_000.0).tofile(path)
    mapped = np.memmap(path, np.float64, "r")
    assert digest(mapped) == digest(np.arange(100_000.0))
    assert digest(mapped[10:20]) == digest(np.arange(10.0, 20.0))
    os.truncate(path, 1000)
    assert fingerprint(mapped[10:20]).assurance == "opaque"


# --- budget and memory ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(1000),
        pd.DataFrame({"a": np.zeros(1000)}),
        pd.Series(["text"] * 1000, dtype=object),
        pd.Series(["text"] * 1000, dtype="str"),
        pd.Index(np.arange(1000.0)),
        pd.array(np.arange(1000)),
        pa.table({"a": list(range(1000))}),
        pd.DataFrame({"a": pd.Categorical(["x"] * 5000)}),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_a_value_over_the_budget_has_its_schema_and_shape_but_no_digest(value):
    full, skipped = fingerprint(value), fingerprint(value, budget_bytes=999)
    assert (skipped.assurance, skipped.digest) == ("skipped:budget", "")
    assert (skipped.kind, skipped.shape, skipped.rows) == (full.kind, full.shape, full.rows)
    assert skipped.schema_digest == full.schema_digest
    assert fingerprint(value, budget_bytes=full.size_bytes).digest == full.digest


def test_a_container_over_the_budget_is_skipped():
    found = fingerprint([0.5] * 1000, budget_bytes=999)
    assert (found.assurance, found.digest, found.shape) == ("skipped:budget", "", (1000,))
    assert fingerprint({"X": np.zeros(1000)}, budget_bytes=999).assurance == "skipped:budget"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: np.zeros((1_500, 8_000), order="F"), id="F-order array"),
        pytest.param(lambda: np.full(12_000_000, np.nan).view("u8") | np.uint64(1), id="integers"),
        pytest.param(
            lambda: (np.full(12_000_000, np.nan).view("u8") | np.uint64(1)).view("f8"), id="NaN"
        ),
        pytest.param(
            lambda: pd.DataFrame(np.zeros((300_000, 40)), copy=False), id="rows in memory"
        ),
        pytest.param(lambda: pd.Series(["text " * 20_000] * 3_000, dtype=object), id="long texts"),
        pytest.param(
            lambda: pd.Series(pd.array(np.arange(12_000_000), dtype="Int64")), id="nullable"
        ),
    ],
)
def test_extra_memory_is_small(make):
    value = make()
    tracemalloc.start()
    try:
        fingerprint(value)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 64_000_000


def test_frames_of_many_columns_are_read_by_block():
    frame = pd.DataFrame(np.arange(1_200 * 3.0).reshape(3, 1_200))
    found = fingerprint(frame)
    assert len(found.columns) == 1_200
    assert (
        found.columns["7"].digest
        == fingerprint(pd.DataFrame({"a": [7.0, 1207.0, 2407.0]})).columns["a"].digest
    )


# --- structured and other arrays --------------------------------------------------------------


def test_padding_of_a_structured_array_does_not_count():
    tight = np.array([(1, 2.5), (2, 3.5)], [("a", "i1"), ("b", "f8")])
    loose = np.frombuffer(b"\xff" * 32, np.dtype([("a", "i1"), ("b", "f8")], align=True)).copy()
    loose["a"], loose["b"] = tight["a"], tight["b"]
    assert digest(tight) == digest(loose)
    assert list(fingerprint(tight).columns) == ["a", "b"]
    assert digest(tight) != digest(tight.astype([("a", "i1"), ("c", "f8")]))


def test_masked_arrays_keep_their_mask_but_not_what_it_hides():
    def masked(hidden):
        return np.ma.MaskedArray([1.0, hidden], mask=[False, True])

    assert digest(masked(2.0)) == digest(masked(3.0))
    assert digest(masked(2.0)) != digest(np.array([1.0, 2.0]))


def test_an_index_of_levels_is_read_by_level():
    levels = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", "y"])
    found = fingerprint(pd.DataFrame({"v": range(4)}, index=levels))
    assert [level.name for level in found.index] == ["x", "y"]
    assert [level.type for level in found.index] == ["dict<utf8>", "dict<int64>"]


def test_nested_arrow_values_are_read():
    def nested(last):
        rows = [{"a": [1, 2], "b": "x"}, None, {"a": None, "b": last}]
        return column(pd.arrays.ArrowExtensionArray(pa.array(rows)))

    assert digest(nested("y")) == digest(nested("y"))
    assert digest(nested("y")) != digest(nested("z"))
    assert fingerprint(nested("y")).columns["a"].type == "struct<a:list<int64>,b:utf8>"


def test_an_arrow_table_has_the_column_digests_of_the_same_frame():
    frame = pd.DataFrame({"n": [1, 2], "t": ["a", None], "f": [0.5, np.nan]})
    table = pa.table({"n": [1, 2], "t": ["a", None], "f": pa.array([0.5, np.nan])})
    ours, theirs = fingerprint(frame).columns, fingerprint(table).columns
    assert [c.digest for c in ours.values()] == [c.digest for c in theirs.values()]


def test_registered_handlers_of_other_packages_are_found(monkeypatch):
    import importlib.metadata

    from mlops_nb import fingerprint as _function  # noqa: F401  the package stays reachable
    from mlops_nb.fingerprint import load_registered

    handlers = sys.modules["mlops_nb.fingerprint"]._HANDLERS
    monkeypatch.setattr(sys.modules["mlops_nb.fingerprint"], "_HANDLERS", dict(handlers))
    point = importlib.metadata.EntryPoint("shop", "shop_fingerprints", "mlops_nb.fingerprints")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    assert "shop" in load_registered()


def sparse_rows(**changes):
    rows = sparse.csr_matrix(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]))
    for name, values in changes.items():
        setattr(rows, name, np.array(values))
    return rows


def test_order_and_splitting_of_sparse_entries_do_not_count():
    shuffled = sparse_rows(indices=[1, 2, 0], data=[2.0, 3.0, 1.0])
    split = sparse.csr_matrix(
        (np.array([1.5, 0.5, 1.0, 3.0]), np.array([1, 1, 0, 2]), np.array([0, 2, 4])), (2, 3)
    )
    wide = sparse_rows(indices=np.array([1, 0, 2], "i8"), indptr=np.array([0, 1, 3], "i8"))
    assert {digest(x) for x in (shuffled, split, wide)} == {digest(sparse_rows())}
    assert list(shuffled.indices) == [1, 2, 0]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(sparse_rows(data=[2.0, 1.0, 4.0]), id="value"),
        pytest.param(sparse_rows(indices=[0, 0, 2]), id="place"),
        pytest.param(sparse_rows().T, id="transposed"),
        pytest.param(sparse_rows().astype("f4"), id="width"),
        pytest.param(sparse.csr_array(sparse_rows()), id="array, matrix"),
        pytest.param(sparse.csr_matrix(sparse_rows(), shape=(2, 3))[:, [0, 1]], id="shape"),
    ],
)
def test_a_change_to_a_sparse_matrix_changes_its_fingerprint(changed):
    assert digest(changed) != digest(sparse_rows())
    assert digest([changed]) != digest([sparse_rows()])


def test_other_sparse_formats_are_read():
    for make in (sparse.coo_matrix, sparse.csc_matrix, sparse.dok_matrix, sparse.lil_array):
        assert digest(make(sparse_rows())) == digest(make(sparse_rows()))


def test_a_sparse_matrix_over_the_budget_is_skipped():
    found = fingerprint(sparse_rows(), budget_bytes=10)
    assert (found.assurance, found.shape) == ("skipped:budget", (2, 3))


@pytest.mark.parametrize("width", [1, 3, 8, 21, 70, 300])
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i4", "c16", "M8[s]", "S3", ">f8"])
def test_an_array_in_column_order_has_the_digest_of_one_in_row_order(width, dtype):
    numbers = np.arange(12_000 // width * width).reshape(-1, width) % 1_000
    array = numbers.astype(dtype)
    if array.dtype.kind == "f":
        array[::7, 0] = np.nan
        array[1::7, -1] = -array.dtype.type(np.nan)
    assert digest(np.asfortranarray(array)) == digest(array)
    assert digest(np.asfortranarray(array)[::-1][::-1]) == digest(array)
    assert digest(np.asfortranarray(array)[:, ::-1]) == digest(array[:, ::-1].copy())


def test_long_columns_are_summed_up_like_short_ones():
    draw = np.random.default_rng(0)
    numbers = draw.standard_normal(150_000)
    numbers[:40_000:3] = np.nan
    endless = numbers.copy()
    endless[[5, 100_000]] = np.inf, -np.inf
    frame = pd.DataFrame(
        {
            "gaps": numbers,
            "narrow": numbers.astype("f4"),
            "endless": endless,
            "none": np.full(150_000, np.nan),
            "nullable": pd.array(np.nan_to_num(numbers), dtype="Float64"),
        }
    )
    frame.loc[::5, "nullable"] = pd.NA
    found = fingerprint(frame).columns
    for name in ("gaps", "narrow", "nullable"):
        column = found[name]
        assert column.nulls == frame[name].isna().sum()
        assert (column.minimum, column.maximum) == (frame[name].min(), frame[name].max())
        assert column.mean == pytest.approx(frame[name].astype("f8").mean(), rel=1e-5)
    assert (found["endless"].minimum, found["endless"].maximum) == (-np.inf, np.inf)
    assert (found["none"].nulls, found["none"].minimum, found["none"].mean) == (
        150_000,
        None,
        None,
    )
    rows = pd.DataFrame(frame[["gaps", "endless"]].to_numpy(), columns=["gaps", "endless"])
    assert fingerprint(rows).columns["gaps"].digest == found["gaps"].digest
