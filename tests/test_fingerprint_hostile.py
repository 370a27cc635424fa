"""Values that raise, hang or lie: their code is never run, and nothing wrong is said of them."""

from __future__ import annotations

import random
import sys
import types

import lightgbm
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xgboost
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from test_fingerprint_values import HOOKS, as_objects, forbidden, frame_around, hostile

from mlops_nb.fingerprint import fingerprint
from mlops_nb.fingerprint.difference import diff_data

try:
    from torch import nn
except (ImportError, OSError):
    nn = None


class MetaLiar(type):
    """A class whose comparison, hash and name are somebody's code."""

    __eq__ = __instancecheck__ = __subclasscheck__ = forbidden
    __hash__ = __repr__ = __call__ = forbidden
    __module__ = property(forbidden)
    __mro__ = property(forbidden)


def liar_class(base):
    body = dict.fromkeys(HOOKS, forbidden) | {"__del__": lambda self: None}
    return type.__new__(MetaLiar, "Liar", (base,), body)


def liar(base, *, arguments=()):
    return base.__new__(liar_class(base), *arguments)


PLACES = {
    "alone": lambda value: value,
    "in a list": lambda value: ["a", value],
    "in a dict": lambda value: {"a": value},
    "in an array": lambda value: as_objects(["a", value]),
    "in a frame": frame_around,
    "in a model": lambda value: LogisticRegression(C=value),
    "in a pipeline": lambda value: make_pipeline(LogisticRegression(C=value)),
}


@pytest.mark.parametrize("place", list(PLACES))
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: liar(object), id="object"),
        pytest.param(lambda: liar(str, arguments=("a",)), id="text"),
        pytest.param(lambda: liar(int, arguments=(1,)), id="number"),
        pytest.param(lambda: liar(float, arguments=(1.0,)), id="float"),
        pytest.param(lambda: liar(list), id="list"),
        pytest.param(lambda: liar(dict), id="dict"),
        pytest.param(lambda: liar(tuple, arguments=((1,),)), id="tuple"),
        pytest.param(lambda: liar(types.ModuleType), id="module"),
        pytest.param(lambda: random.Random.__new__(hostile(random.Random)), id="generator"),
        pytest.param(lambda: object.__new__(liar_class(pd.Index)), id="index"),
        pytest.param(lambda: liar(pl.DataFrame), id="Polars frame"),
        pytest.param(lambda: liar(xgboost.Booster), id="booster"),
        pytest.param(lambda: type.__new__(MetaLiar, "Liar", (), {}), id="class"),
    ],
)
def test_what_has_a_class_of_somebody_is_opaque_and_left_alone(make, place):
    found = fingerprint(PLACES[place](make()))
    assert (found.assurance, found.digest) == ("opaque", "")


def test_pretending_to_be_of_a_library_does_not_help():
    for library in ("sklearn.base", "torch.nn", "polars", "xgboost.core", "lightgbm.basic"):
        value = hostile(__module__=library)()
        assert fingerprint(value).assurance == "opaque"
        value = hostile(__class__=property(lambda self: BaseEstimator))()
        assert fingerprint(value).assurance == "opaque"


BASES = {
    "estimator": BaseEstimator,
    "xgboost": xgboost.XGBModel,
    "lightgbm": lightgbm.LGBMModel,
}
if nn is not None:
    BASES["module"] = nn.Module


@pytest.mark.parametrize("name", list(BASES))
def test_a_model_of_somebody_is_read_without_its_code(name):
    """All hooks of the class raise, and still its attributes are read and told apart."""
    hooks = [hook for hook in HOOKS if hook not in {"__getattribute__", "__class_getitem__"}]
    body = dict.fromkeys([*hooks, "get_params", "state_dict", "parameters", "fit"], forbidden)

    def made(rate):
        cls = type("Mine", (BASES[name],), body | {"rate": property(forbidden)})
        value = cls.__new__(cls)
        if name == "module":
            nn.Module.__init__(value)
        object.__getattribute__(value, "__dict__")["given"] = rate
        return value

    digests = [fingerprint(made(rate)).digest for rate in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    assert "" not in digests


def test_a_bit_generator_or_a_distribution_of_somebody_is_opaque():
    class Mine(stats.rv_continuous):
        name = property(forbidden)

    frozen = stats.uniform(0, 1)
    frozen.dist = Mine.__new__(Mine)
    assert fingerprint([frozen]).assurance == "opaque"


def test_a_function_under_a_borrowed_name_is_opaque():
    def impostor():
        pass

    impostor.__module__, impostor.__qualname__ = "sklearn.metrics._classification", "f1_score"
    assert fingerprint([impostor]).assurance == "opaque"
    impostor.__module__, impostor.__qualname__ = "json", "dumps"
    assert fingerprint([impostor]).assurance == "opaque"


def test_a_library_replaced_by_something_else_does_no_harm(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", object())
    assert fingerprint(LogisticRegression()).assurance in {"opaque", "exact"}
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert fingerprint([1]).assurance == "exact"


def test_a_booster_without_trees_or_memory_is_opaque_or_read():
    empty = lightgbm.Booster.__new__(lightgbm.Booster)
    assert fingerprint(empty).assurance == "opaque"
    assert fingerprint(xgboost.Booster.__new__(xgboost.Booster)).assurance == "opaque"


def test_broken_arrow_memory_is_opaque_or_an_error_of_nobody():
    offsets = pa.py_buffer(np.array([0, 5, 3], np.int32).tobytes())
    broken = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abc")])
    assert fingerprint(pa.table({"good": [1, 2], "bad": broken})).columns["good"].digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(hostile()(), hostile()(), id="objects"),
        pytest.param(liar(object), liar(object), id="liars"),
        pytest.param(frame_around(hostile()()), frame_around(hostile()()), id="frames"),
        pytest.param(as_objects([hostile()()]), as_objects([hostile()()]), id="arrays"),
        pytest.param([hostile()()], [hostile()()], id="lists"),
        pytest.param(LogisticRegression(C=liar(int)), LogisticRegression(C=liar(int)), id="model"),
    ],
)
def test_of_hostile_values_nothing_is_said(before, after):
    found = diff_data(before, after)
    assert found.change == "not shown different"
    assert "not shown different" in str(found)
    assert found.document()["change"] == "not shown different"


def test_a_frame_that_lies_about_its_columns_is_compared_by_fingerprint():
    class Liar(pd.DataFrame):
        columns = index = iloc = shape = property(forbidden)
        __len__ = __getitem__ = forbidden

    found = diff_data(Liar({"a": [1, 2]}), Liar({"a": [1, 3]}))
    assert [(column.name, column.change) for column in found.changed()] == [("a", "changed")]
    assert found.columns[0].changed_cells is None


def test_loops_through_libraries_end():
    model = LogisticRegression()
    inner = {"model": model, "list": []}
    inner["list"].append(inner)
    model.extra = as_objects([inner, "a"])
    assert fingerprint(model).digest == fingerprint(model).digest
    assert fingerprint(model).assurance in {"exact", "opaque"}
