"""Counts of different values: exact where that is cheap, else a bound that is true."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mlops_nb.display.asking import view_data
from mlops_nb.fingerprint import fingerprint
from mlops_nb.fingerprint.distinct import count_distinct


def counted(value, **options):
    found = fingerprint(value)
    return {k: v.text for k, v in count_distinct(value, found, found.columns, **options).items()}


COLUMNS = {
    "number": [1.5, 2.5, 1.5, np.nan],
    "text": ["x", "y", "x", None],
    "truth": [True, False, True, True],
    "constant": [7, 7, 7, 7],
    "nothing": [None, None, None, None],
    "day": [dt.timedelta(days=day) for day in (1, 2, 1, 3)],
}
COUNTS = {"number": "2", "text": "2", "truth": "2", "constant": "1", "nothing": "0", "day": "3"}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_different_values_are_counted_without_the_missing_ones(make):
    assert counted(make(COLUMNS)) == COUNTS


def test_more_than_the_limit_is_said_to_be_more():
    table = pd.DataFrame({"few": [1, 2] * 6, "many": range(12)})
    assert counted(table, limit=5) == {"few": "2", "many": "> 5"}
    assert counted(table, limit=12)["many"] == "12"


def test_of_a_long_table_only_the_first_rows_are_counted():
    rows = (1 << 20) + 1
    values = np.zeros(rows, np.int64)
    values[-1] = 1
    table = pd.DataFrame({"late": values, "truth": values == 1, "same": 5, "many": range(rows)})
    assert counted(table) == {"late": "≥ 1", "truth": "2", "same": "1", "many": "> 1,000"}


def test_two_zeros_are_not_taken_for_one_value():
    assert counted(pd.DataFrame({"a": [0.0, -0.0, 0.0]})) == {"a": "2"}


def test_no_code_of_an_object_runs_to_count_it():
    class Hostile:
        def __eq__(self, other):
            raise AssertionError

        def __hash__(self):
            raise AssertionError

    table = pd.DataFrame({"a": pd.Series([Hostile(), Hostile()], dtype=object), "b": [1, 2]})
    assert counted(table) == {"b": "2"}
    assert counted(pd.DataFrame({"a": [[1], [1], [2]]})) == {"a": "2"}


def test_a_fingerprint_alone_knows_what_its_statistics_say():
    found = fingerprint(pd.DataFrame({"a": [1, 1], "b": [1, 2]}))
    assert {k: v.text for k, v in count_distinct(found, found, found.columns).items()} == {
        "a": "1"
    }


def test_a_profile_shows_them_and_a_fingerprint_does_not():
    namespace = {"table": pd.DataFrame(COLUMNS), "numbers": np.arange(3)}

    def shown(action, name):
        return view_data(action, (name,), namespace=namespace, open_store=None)

    profile = shown("profile", "table")
    assert "distinct" in profile.text
    assert "<th" in profile.html
    columns = {column["name"]: column for column in profile.document()["columns"]}
    assert columns["text"]["distinct"] == {"count": 2, "bound": "exact"}
    assert "distinct" not in str(shown("fingerprint", "table").document())
    assert "no columns" in shown("profile", "numbers").text
