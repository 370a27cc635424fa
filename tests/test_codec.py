"""Rules of the spool's bytes: every event comes back equal, and newer ones do no harm."""

from __future__ import annotations

import dataclasses
import math

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb import model
from mlops_nb.store.spool import codec
from mlops_nb.store.spool.codec import decode, encode

RUN = "0123456789abcdef"
AT_NS = 1_700_000_000_000_000_000

EVENTS = [
    model.SessionStarted("s", AT_NS, "host", 7, "3.11", {"pid": 7}, notebook="a.ipynb"),
    model.SessionChanged("s", AT_NS, {"notebook": "b.ipynb", "deep": {"x": [1, None, True]}}),
    model.SessionEnded("s", AT_NS),
    model.EnvironmentSeen("sha256:00", {"packages": {"numpy": "2.0"}}),
    model.ExecutionStarted("e", "s", 1, AT_NS, "x = 1", "xxh3:0", flags=("silent",)),
    model.ExecutionEnded("e", AT_NS, "ok", 0.5, 0.25, reads=("a", "b"), error={"type": "E"}),
    model.OutputSeen("e", 0, "display", "", "image/png", b"\x89PNG\x00\xff", 6, is_cut=True),
    model.RunStarted(RUN, AT_NS, "churn", "interactive", session="s", group="g"),
    model.RunChanged(RUN, AT_NS, {"status": "finished", "ended_at_ns": AT_NS}),
    model.RunExecuted(RUN, "e", "body"),
    model.ParamLogged(RUN, "C", [1, {"a": None}], AT_NS, is_default=True),
    model.MetricLogged(RUN, "auc", 0.5, 3, AT_NS, "e", "object", "f", {"between": ["a", "b"]}),
    model.TagSet(RUN, "stage", None, AT_NS),
    model.DataUsed(RUN, "X", "train", "DataFrame", "d", "exact", AT_NS, column_digests={"a": "1"}),
    model.ModelFitted(RUN, "f", "clf", "sklearn.X", AT_NS, 1.5),
    model.ArtifactLogged(RUN, "plot", "figure", "image/png", AT_NS, data=b"x"),
    model.FitMoved(RUN, "f" * 16, "f"),
    model.FileSeen(
        "e", "/data/a.csv", "r", "adapter", AT_NS, "nbfp1:0", detail={"columns": ["a"]}
    ),
    model.FingerprintSeen("nbfp1:0", "nbfp1:1", {"columns": [{"name": "a", "chunks": ["0"]}]}),
]


@pytest.mark.parametrize("event", [pytest.param(e, id=type(e).__name__) for e in EVENTS])
def test_an_event_comes_back_equal(event):
    assert decode(encode(event)) == event


def test_every_kind_of_event_has_a_code():
    assert set(codec.CODES.values()) == set(model.Event.__args__)
    assert {type(event) for event in EVENTS} == set(model.Event.__args__)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(2**80, id="integer of more than 64 bits"),
        pytest.param(-(2**64), id="negative integer of more than 64 bits"),
        pytest.param("\ud800", id="half a surrogate pair"),
        pytest.param({"a": ["\udfff", 2**70]}, id="both, nested"),
        pytest.param(math.inf, id="infinity"),
    ],
)
def test_a_value_that_json_can_hold_comes_back_equal(value):
    assert decode(encode(model.ParamLogged(RUN, "p", value, AT_NS))).value == value


def test_a_numpy_scalar_comes_back_as_the_python_value():
    numpy = pytest.importorskip("numpy")
    event = model.ParamLogged(RUN, "p", [numpy.float32(0.5), numpy.int64(3)], AT_NS)
    assert decode(encode(event)).value == [0.5, 3]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(value=JSON)
def test_any_json_comes_back_equal(value):
    assert decode(encode(model.ParamLogged(RUN, "p", value, AT_NS))).value == value


def test_a_field_that_only_a_newer_version_knows_is_left_out():
    payload = msgpack.packb([3, {"id": "s", "at_ns": 5, "mood": "calm"}])
    assert decode(payload) == model.SessionEnded("s", 5)


def test_every_field_of_an_event_has_its_place_in_the_short_form_of_a_metric():
    fields = tuple(f.name for f in dataclasses.fields(model.MetricLogged))
    assert fields == codec._METRIC_FIELDS
    assert codec.CODES[codec.METRIC_CODE] is model.MetricLogged
