# ruff: noqa: DTZ011, S311  # values as notebooks have them
"""Which values reach one object that can change: those travel together."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_nb.packaging import shares
from mlops_nb.packaging.aliases import reach_of

try:
    import torch
except (ImportError, OSError):
    torch = None


class Box:
    def __init__(self, inner):
        self.inner = inner


@dataclass(frozen=True)
class Settings:
    cut: float
    names: tuple = ()


def closures():
    n = 0

    def tick():
        nonlocal n
        n += 1

    def count():
        return n

    return tick, count


def with_default(value):
    def f(a=value):
        return a

    return f


ROWS = [1, 2]
BASE = np.arange(20.0).reshape(4, 5)
FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": [1, 2]})
CELLS = pd.DataFrame({"a": [[1], [2]]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(ROWS, ROWS, id="the same list"),
        pytest.param(ROWS, {"deep": ([(ROWS,)],)}, id="in containers"),
        pytest.param(ROWS, Box(ROWS), id="in an attribute"),
        pytest.param(ROWS, with_default(ROWS), id="as a default"),
        pytest.param(*closures(), id="closures over one variable"),
        pytest.param(ROWS, lambda rows=ROWS: rows, id="in a lambda"),
        pytest.param(ROWS, ROWS.append, id="in a bound method"),
        pytest.param({1: 2}, None, id="view of a dict"),
        pytest.param(BASE, BASE[1:], id="view"),
        pytest.param(BASE[:, 1], BASE.T[:2, 1:], id="two views"),
        pytest.param(
            FRAME,
            FRAME["a"].array,
            id="column array of a frame",
        ),
        pytest.param(pd.DataFrame({"a": [1.0]}), None, id="values of a frame"),
        pytest.param(CELLS, CELLS.copy(), id="cells of a copied frame"),
        pytest.param(np.array([ROWS, 1], object), ROWS, id="in an array of objects"),
        pytest.param(Box(random.Random(1)), None, id="generator of their own"),
    ],
)
def test_what_reaches_one_object_is_found(one, other):
    if other is None:
        pairs = {
            dict: lambda: (one, one.keys()),
            pd.DataFrame: lambda: (one, one.to_numpy()),
            Box: lambda: (one, [one.inner]),
        }
        one, other = pairs[type(one)]()
    assert shares({"one": one, "other": other, "none": 3}) == (("one", "other"),)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("text", ["text"], id="text"),
        pytest.param((1, ("a",)), [(1, ("a",))], id="tuple"),
        pytest.param(np.float64(3), [np.float64(3)], id="number"),
        pytest.param(len, [len, np, Box, dt.date.today()], id="function, module, class"),
        pytest.param(BASE[:2], BASE[2:], id="parts of one array that do not overlap"),
        pytest.param(BASE[:, ::2], BASE[:, 1::2], id="interleaved parts"),
        pytest.param(FRAME, FRAME[["a"]], id="frames that pandas keeps apart"),
        pytest.param(FRAME, FRAME["a"], id="a column that pandas keeps apart"),
        pytest.param(FRAME.index, FRAME, id="index"),
        pytest.param(BASE, BASE.copy(), id="copy"),
        pytest.param(Box(1), Box(1), id="equal objects"),
        pytest.param(Settings(1, ("a",)), [Settings(1, ("a",))], id="frozen"),
        pytest.param(Path("a"), [Path("a")], id="path"),
    ],
)
def test_what_cannot_change_or_is_apart_is_no_alias(one, other):
    if isinstance(one, str | tuple | Settings | Path):
        other = [one]
    assert shares({"one": one, "other": other}) == ()


def test_frames_over_memory_that_pandas_does_not_know_of_are_found():
    memory = np.arange(6.0).reshape(3, 2)
    one, other = (pd.DataFrame(memory, copy=False) for _ in range(2))
    assert shares({"one": one, "other": other, "memory": memory}) == (
        ("one", "other"),
        ("one", "memory"),
        ("other", "memory"),
    )


@pytest.mark.skipif(torch is None, reason="torch is not there")
def test_tensors_over_one_storage_are_found():
    tensor = torch.arange(6.0)
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = shares(
        {
            "tensor": tensor,
            "part": tensor[2:],
            "array": tensor.numpy(),
            "copy": tensor.clone(),
            "model": model,
            "optimizer": optimizer,
        }
    )
    assert found == (
        ("tensor", "part"),
        ("tensor", "array"),
        ("part", "array"),
        ("model", "optimizer"),
    )


def test_a_value_that_holds_itself_is_walked_once():
    loop = [1]
    loop.append(loop)
    assert reach_of(loop).met == 1
    assert shares({"loop": loop, "other": []}) == ()


def test_a_value_nested_a_hundred_thousand_deep_is_walked():
    deep = bottom = []
    for _ in range(100_000):
        deep = [deep]
    assert shares({"deep": deep, "bottom": bottom}) == (("deep", "bottom"),)


def test_large_containers_of_plain_values_cost_one_look():
    rows = [list(range(10)) for _ in range(1_000)]
    assert reach_of({"n": list(range(100_000)), "rows": rows}).met == 1_003


def test_the_namespace_is_not_looked_into():
    namespace = {"a": [1]}
    one = {"namespace": namespace}
    assert shares({"one": one, "a": namespace["a"]}, skip=[namespace]) == ()
    assert shares({"one": one, "a": namespace["a"]}) == (("one", "a"),)
