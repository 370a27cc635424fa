"""A value taken apart for the pieces of a step, and what they gave made one again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.errors.values import CannotJoin
from mlops_nb.pipeline.passing.pieces import element, element_count, join

FRAME = pd.DataFrame({"a": [1, 2, 3]}, index=["x", "y", "z"])


@pytest.mark.parametrize(
    ("value", "second"),
    [
        pytest.param([1, 2, 3], [2], id="list"),
        pytest.param((1, 2, 3), (2,), id="tuple"),
        pytest.param({"a": 1, "b": 2, "c": 3}, {"b": 2}, id="dict"),
        pytest.param(range(1, 9, 3), range(4, 7, 3), id="range"),
        pytest.param(np.arange(6).reshape(3, 2), np.array([[2, 3]]), id="array"),
        pytest.param(FRAME, FRAME.iloc[1:2], id="frame"),
        pytest.param(FRAME["a"], FRAME["a"].iloc[1:2], id="series"),
    ],
)
def test_a_piece_has_one_element_of_the_same_type(value, second):
    assert element_count(value, "v") == 3
    found = element(value, 1, "v")
    assert type(found) is type(value)
    assert len(found) == 1
    assert str(found) == str(second)
    with pytest.raises(CannotJoin, match="none at place 3"):
        element(value, 3, "v")


@pytest.mark.parametrize("value", [{1, 2}, "ab", 3, np.array(1)])
def test_what_has_no_elements_in_an_order_is_refused(value):
    with pytest.raises(CannotJoin, match="v cannot be joined"):
        element(value, 0, "v")


@given(st.lists(st.integers(), min_size=1, max_size=6))
def test_pieces_of_a_list_and_a_dict_join_to_the_whole(value):
    keyed = {str(place): one for place, one in enumerate(value)}
    assert join([element(keyed, i, "v") for i in range(len(keyed))], "v") == keyed
    pieces = [element(value, i, "v") for i in range(len(value))]
    if len(pieces) == 1 or len(set(value)) > 1:
        assert join(pieces, "v") == value


def test_pieces_of_tables_and_arrays_join_to_the_whole():
    for value in (FRAME, FRAME["a"], FRAME.to_numpy()):
        whole = join([element(value, i, "v") for i in range(3)], "v")
        assert str(whole) == str(value)
        assert type(whole) is type(value)


def test_rows_that_each_piece_counts_from_zero_are_counted_anew():
    pieces = [pd.DataFrame({"a": [i, i]}) for i in range(3)]
    assert join(pieces, "v").index.equals(pd.RangeIndex(6))


def test_sets_are_united_and_equal_values_stay_one():
    assert join([{1}, {2, 3}, {1}], "v") == {1, 2, 3}
    assert join(["linear", "linear"], "v") == "linear"
    assert join([{"a": [1]}, {"a": [1], "b": 2}], "v") == {"a": [1], "b": 2}


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        pytest.param([0.5, 0.6], "pieces 0 and 1 gave different values", id="numbers"),
        pytest.param(
            [{"a": 1}, {"b": 1}, {"a": 2}],
            r"pieces 0 and 2 differ in v\['a'\]",
            id="dicts that contradict",
        ),
        pytest.param([1, 1], "may be one of each piece's own", id="equal numbers"),
        pytest.param([np.bool_(1), np.bool_(1)], "one of each piece's own", id="equal flags"),
        pytest.param([[1], (1,)], "different types", id="types"),
        pytest.param([[1], [1]], "one value for all or one part each", id="equal lists"),
        pytest.param(
            [np.ones(2), np.ones(2)], "one value for all or one part each", id="equal arrays"
        ),
        pytest.param([np.ones(2), np.ones((2, 2))], "differ in type, or in shape", id="shapes"),
        pytest.param([FRAME, FRAME.rename(columns={"a": "b"})], "different columns", id="columns"),
        pytest.param([lambda: 1, lambda: 2], "gave different values", id="functions"),
    ],
)
def test_what_makes_no_one_value_is_refused_with_the_pieces(pieces, why):
    with pytest.raises(CannotJoin, match=why):
        join(pieces, "v")
