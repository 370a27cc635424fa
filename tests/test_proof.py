"""A value that a cell did not change is proved unchanged; anything else never is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_nb.capture.proof import Proof


def frame():
    return pd.DataFrame(
        {
            "number": np.arange(100.0),
            "text": ["a", "b"] * 50,
            "kind": pd.Categorical(["u", "v"] * 50),
            "maybe": pd.array([1, None] * 50, dtype="Int64"),
            "day": pd.date_range("2026-01-01", periods=100, tz="UTC"),
        }
    )


VALUES = {
    "array": lambda: np.zeros((20, 5)),
    "by column": lambda: np.asfortranarray(np.zeros((20, 5))),
    "frame": frame,
    "series": lambda: frame()["number"] * 2,
    "list": lambda: [1, "a", {"deep": [2, 3]}],
    "dict": lambda: {"k": (1, 2)},
    "set": lambda: {1},
    "bytes": lambda: bytearray(b"abc"),
}


def proved(value, change):
    namespace = {"x": value}
    proof = Proof(namespace, ["x"], ())
    change(namespace)
    return "x" in proof.unchanged()


@pytest.mark.parametrize("kind", VALUES)
def test_what_was_only_read_is_proved_unchanged(kind):
    assert proved(VALUES[kind](), lambda names: str(names["x"]))


def set_value(names):
    names["x"].loc[3, "maybe"] = 7


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        pytest.param("array", lambda n: n["x"].__setitem__((3, 2), 1), id="array element"),
        pytest.param("array", lambda n: n["x"].fill(2), id="array method"),
        pytest.param("array", lambda n: n["x"][:, ::2].__iadd__(1), id="through a view"),
        pytest.param("by column", lambda n: n["x"].__setitem__((0, 0), 1), id="column order"),
        pytest.param("frame", set_value, id="nullable cell"),
        pytest.param("frame", lambda n: n["x"].insert(0, "new", 1), id="new column"),
        pytest.param("frame", lambda n: n["x"].pop("text"), id="column gone"),
        pytest.param("frame", lambda n: n["x"].__setitem__("text", "z"), id="column replaced"),
        pytest.param("frame", lambda n: n["x"].sort_values("text", inplace=True), id="sorted"),  # noqa: PD002
        pytest.param("frame", lambda n: setattr(n["x"], "columns", list("abcde")), id="renamed"),
        pytest.param("series", lambda n: n["x"].__setitem__(4, 9.5), id="series value"),
        pytest.param("list", lambda n: n["x"][2]["deep"].append(4), id="deep in a list"),
        pytest.param("dict", lambda n: n["x"].__setitem__("l", 1), id="dict key"),
        pytest.param("set", lambda n: n["x"].add(2), id="set"),
        pytest.param("bytes", lambda n: n["x"].append(1), id="bytes"),
        pytest.param(
            "list",
            lambda n: n.__setitem__("x", [1, "a", {"deep": [2, 3]}]),
            id="equal but another",
        ),
        pytest.param("list", lambda n: n.pop("x"), id="deleted"),
    ],
)
def test_a_changed_value_is_never_proved_unchanged(kind, change):
    assert not proved(VALUES[kind](), change)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(object(), id="unknown type"),
        pytest.param([object()], id="unknown type in a list"),
        pytest.param(np.array(["a", []], dtype=object), id="objects"),
        pytest.param(np.zeros(3_000_000), id="over the budget"),
        pytest.param([[0] * 3000, [0] * 3000], id="too many items"),
    ],
)
def test_without_a_proof_nothing_is_claimed(value):
    assert not proved(value, lambda names: None)


def test_a_cell_that_fits_may_be_read_more_of():
    namespace = {"x": np.zeros(1_000_000)}
    assert Proof(namespace, ["x"], ["model.fit"]).unchanged() == {"x"}
    assert Proof(namespace, ["x"], ["print"]).unchanged() == set()
