"""Digests of values that cross from step to step tell more than fingerprints do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_nb.packaging import digest_of


def test_the_same_values_in_another_type_are_other_values():
    whole = pd.Series([1, 2])
    assert digest_of(whole) == digest_of(whole.copy())
    assert digest_of(whole) != digest_of(whole.astype("Int64"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pd.DataFrame({"a": ["x"]}, dtype=object), pd.DataFrame({"a": ["x"]}, dtype="string")),
        (pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["a"], ["b", "a"])),
        (np.arange(3, dtype="int32"), np.arange(3, dtype="int64")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
    ids=["texts", "categories", "integers", "order of keys"],
)
def test_what_a_later_cell_can_tell_apart_has_another_digest(one, other):
    assert digest_of(one) == digest_of(one)
    assert digest_of(one) != digest_of(other)
