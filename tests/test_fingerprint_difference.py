"""What differs between two values is named rightly, and "same" is never said too often."""

from __future__ import annotations

import json
from dataclasses import replace

import msgpack
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlops_nb.fingerprint import fingerprint
from mlops_nb.fingerprint.difference import diff_data, diff_fingerprints
from mlops_nb.fingerprint.record import fingerprint_document, fingerprint_from_document
from mlops_nb.fingerprint.scheme import ROWS

LENGTH = 2 * ROWS + 7


def people(rows=LENGTH):
    numbers = np.arange(rows)
    return pd.DataFrame(
        {
            "age": numbers % 80 + 0.25,
            "id": numbers,
            "town": pd.Series((numbers % 50).astype(str), dtype=object),
            "level": pd.Categorical.from_codes(numbers % 3, ["a", "b", "c"]),
        }
    )


PEOPLE = people()
OLDER = PEOPLE.assign(age=PEOPLE["age"].where(PEOPLE["id"] >= 40_000, PEOPLE["age"] + 40))


def from_prints(before, after, **options):
    return diff_data(fingerprint(before), fingerprint(after), **options)


# --- in words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "by_value", "by_fingerprint"),
    [
        pytest.param(PEOPLE.copy(), "same", "same", id="copy"),
        pytest.param(
            OLDER,
            "column age changed (31 % of values, rows 0–39,999; mean 39.7 → 52.0),"
            " 3 columns same, rows same",
            "column age changed (rows 0–65,535; mean 39.7 → 52.0), 3 columns same, rows same",
            id="changed",
        ),
        pytest.param(
            PEOPLE.assign(town=PEOPLE["town"].where(PEOPLE["id"] != 70_000, "?")),
            "column town changed (1 value, row 70,000), 3 columns same, rows same",
            "column town changed (rows 65,536–131,071), 3 columns same, rows same",
            id="one cell",
        ),
        pytest.param(
            PEOPLE.assign(age=PEOPLE["age"].where(PEOPLE["id"] != 131_075)),
            "column age changed (1 value, row 131,075; missing 0 → 1), 3 columns same, rows same",
            "column age changed (rows 131,072–131,078; missing 0 → 1), 3 columns same, rows same",
            id="last chunk",
        ),
        pytest.param(
            PEOPLE.rename(columns={"town": "city"}),
            "column town renamed city, 3 columns same, rows same",
            None,
            id="renamed",
        ),
        pytest.param(
            PEOPLE.assign(score=1).drop(columns=["age", "id"]),
            "column score added, columns age, id removed, 2 columns same, rows same",
            None,
            id="added and removed",
        ),
        pytest.param(
            PEOPLE[["id", "age", "level", "town"]],
            "only columns reordered, values same",
            None,
            id="columns reordered",
        ),
        pytest.param(
            PEOPLE.astype({"id": "int32"}),
            "column id dtype int64 → int32, values same",
            "column id dtype int64 → int32 (values not compared)",
            id="width",
        ),
        pytest.param(
            PEOPLE.astype({"id": "Int64", "town": "str"}),
            "column id dtype int64 → Int64, values same,"
            " column town dtype object → string[pyarrow,nan], values same",
            "dtype changed, values same",
            id="storage",
        ),
        pytest.param(
            PEOPLE.astype({"level": object}),
            "column level dtype dict<utf8> → utf8, values same",
            "column level dtype dict<utf8> → utf8 (values not compared)",
            id="category",
        ),
        pytest.param(
            PEOPLE.iloc[::-1], "only rows reordered, values same", None, id="rows reordered"
        ),
        pytest.param(
            PEOPLE.iloc[::-1].reset_index(drop=True),
            "only rows reordered, values same",
            None,
            id="rows reordered under the same labels",
        ),
        pytest.param(
            PEOPLE.iloc[:ROWS],
            "65,543 rows removed at the end",
            "65,543 rows removed at the end",
            id="removed",
        ),
        pytest.param(
            pd.concat([PEOPLE, PEOPLE.iloc[:5]], ignore_index=True),
            "5 rows appended",
            "5 rows appended (the last partly filled chunk was not compared)",
            id="appended",
        ),
        pytest.param(
            PEOPLE.set_index(PEOPLE.index + 1),
            "4 columns same, index changed",
            "4 columns same, index changed",
            id="labels shifted",
        ),
        pytest.param(
            PEOPLE.rename_axis("row"), "4 columns same, index changed", None, id="index named"
        ),
    ],
)
def test_a_difference_is_said_in_a_line(after, by_value, by_fingerprint):
    assert str(diff_data(PEOPLE, after, name="X")) == f"X: {by_value}"
    if by_fingerprint is None and not by_value.startswith("only rows"):
        by_fingerprint = by_value
    if by_fingerprint is not None:
        assert str(from_prints(PEOPLE, after, name="X")) == f"X: {by_fingerprint}"


def test_many_changed_columns_have_a_line_each():
    before = pd.DataFrame({f"c{i:02}": [0.0, 1.0] for i in range(20)})
    found = diff_data(before, before + 1)
    assert str(found) == "20 columns changed (c00, c01, c02, …), rows same"
    lines = found.text().splitlines()
    assert lines[1] == "  column c00 changed (all values, rows 0–1; mean 0.500 → 1.50)"
    assert lines[-1] == "  and 8 columns more"
    assert len(lines) == 14


def test_differences_that_only_rounding_makes_are_no_change_of_the_mean():
    values = np.random.default_rng(0).random(100_000)
    before = pd.DataFrame({"x": values})
    assert "mean" not in str(from_prints(before, before.iloc[::-1].reset_index(drop=True)))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (np.zeros((3, 4)), np.ones((3, 4)), "values changed (all values, rows 0–2)"),
        (np.zeros((3, 4)), np.zeros((3, 5)), "values changed, shape 3 × 4 → 3 × 5"),
        (np.zeros(4), np.array([0, 0, 1.0, 0]), "values changed (25 % of values, row 2)"),
        (np.arange(4), np.arange(4.0), "values changed"),
        (np.arange(4), np.arange(6), "2 rows appended"),
        ([1], [2], "values changed, rows same"),
        ({"a": 1}, {"a": 2}, "values changed"),
        (1, "1", "int → str"),
        (object(), object(), "not shown different (opaque)"),
        (pd.Series([1, 2]), pd.Series([1, 3]), "values changed (50 % of values, row 1"),
    ],
)
def test_values_of_other_kinds_are_compared_too(before, after, said):
    assert str(diff_data(before, after)).startswith(said.removesuffix(", rows same"))


def test_names_from_outside_stay_on_their_line():
    found = diff_data(pd.DataFrame({"a\nb": [1]}), pd.DataFrame({"a\nb": [2]}), name="x" * 300)
    assert "\n" not in str(found)
    assert r"a\nb" in str(found)
    assert len(str(found)) < 200


# --- never a wrong "same" ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "assurance", ["carried:unreached", "sampled", "opaque", "torn", "skipped:budget"]
)
@pytest.mark.parametrize("side", [0, 1])
def test_same_is_said_only_of_what_is_proved(assurance, side):
    sides = [fingerprint(PEOPLE), fingerprint(PEOPLE)]
    sides[side] = replace(sides[side], assurance=assurance)
    found = diff_data(*sides)
    assert found.change == "not shown different"
    assert assurance in str(found)
    assert not found.is_same


def test_a_sample_is_only_compared_with_a_sample():
    exact, other = fingerprint(PEOPLE), fingerprint(OLDER)
    sampled, other_sampled = (replace(one, assurance="sampled") for one in (exact, other))
    assert diff_data(exact, other_sampled).change == "not shown different"
    assert diff_data(sampled, other_sampled).change == "columns changed"
    shorter = replace(fingerprint(PEOPLE.iloc[:-1]), assurance="sampled")
    assert diff_data(sampled, shorter).change == "changed"


def test_a_value_over_the_budget_still_has_its_length():
    before = fingerprint(PEOPLE)
    after = fingerprint(PEOPLE.iloc[:10], budget_bytes=1)
    assert "rows 131,079 → 10" in str(diff_data(before, after))


def test_one_opaque_column_leaves_the_others_comparable():
    def frame(number):
        return pd.DataFrame({"good": [number], "bad": [object()]})

    assert diff_data(frame(1), frame(1)).change == "not shown different"
    found = diff_data(frame(1), frame(2))
    assert [(c.name, c.change) for c in found.columns] == [
        ("good", "changed"),
        ("bad", "not shown different"),
    ]


def test_attributes_and_names_of_axes_count():
    before = pd.DataFrame({"a": [1]})
    found = from_prints(before, before.rename_axis(columns="field"))
    assert found.change == "changed"
    assert str(found) == "names of axes or attributes changed, 1 column same, rows same"


def test_a_zone_is_no_mere_dtype():
    clock = pd.DataFrame({"at": pd.to_datetime(["2026-01-01"])})
    moment = clock.assign(at=clock["at"].dt.tz_localize("UTC"))
    found = diff_data(clock, moment)
    assert "values not compared" in str(found)
    assert not found.columns[0].are_values_same


@pytest.mark.parametrize(
    ("before", "after", "are_same"),
    [
        ([2**53, 1], [float(2**53), 1.0], True),
        ([2**53 + 1, 1], [float(2**53), 1.0], False),
        (np.array([2**63], "u8"), np.array([-(2**63)], "i8"), False),
        (np.array([5], "u8"), np.array([5], "i1"), True),
        (np.array([1.5, np.nan], "f4"), np.array([1.5, np.nan]), True),
        (np.array([0.1], "f4"), np.array([0.1]), False),
        (pd.to_datetime(["2026"]).as_unit("s"), pd.to_datetime(["2026"]).as_unit("ns"), True),
        (pd.array([1, None], "Int64"), np.array([1, np.nan]), False),
        (["1"], [1], False),
    ],
    ids=str,
)
def test_another_dtype_with_the_same_values_is_told_from_one_with_others(before, after, are_same):
    found = diff_data(pd.DataFrame({"a": before}), pd.DataFrame({"a": after}))
    assert found.columns[0].are_values_same == are_same
    assert (found.change == "dtype changed") == are_same


# --- any frame --------------------------------------------------------------------------------

CELLS = {
    "int64": st.integers(-5, 5),
    "float64": st.floats(-2, 2, allow_nan=False) | st.just(float("nan")),
    "object": st.none() | st.text(max_size=2) | st.integers(0, 3),
    "str": st.none() | st.text(max_size=2, alphabet="abc"),
    "Int64": st.none() | st.integers(-5, 5),
    "boolean": st.none() | st.booleans(),
    "category": st.sampled_from("abc") | st.none(),
    "datetime64[us]": st.none() | st.sampled_from(["2026-01-01", "1999-01-01"]),
}


@st.composite
def frames(draw, least_rows=0):
    rows = draw(st.integers(least_rows, 8))
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    return pd.DataFrame(
        {
            f"{kind} {i}": pd.Series(
                draw(st.lists(CELLS[kind], min_size=rows, max_size=rows)), dtype=kind
            )
            for i, kind in enumerate(kinds)
        }
    )


def shown(series):
    return [
        "missing" if gap and series.dtype != object else f"{type(value).__name__} {value!r}"
        for value, gap in zip(series.tolist(), series.isna(), strict=True)
    ]


@settings(max_examples=150, deadline=None)
@given(frame=frames(least_rows=1), data=st.data())
def test_exactly_the_changed_cells_are_counted(frame, data):
    name = data.draw(st.sampled_from(list(frame)))
    kind = name.rpartition(" ")[0]
    cells = data.draw(st.lists(CELLS[kind], min_size=len(frame), max_size=len(frame)))
    after = frame.assign(**{name: pd.Series(cells, dtype=kind)})
    pairs = zip(shown(frame[name]), shown(after[name]), strict=True)
    rows = [i for i, (old, new) in enumerate(pairs) if old != new]
    found = diff_data(frame, after)
    if not rows:
        assert found.change == "same"
        return
    changed = {c.name: c for c in found.changed()}
    assert list(changed) == [name]
    if changed[name].change == "changed":
        assert changed[name].changed_cells == len(rows)
        assert list(changed[name].positions) == rows[:5]
        assert changed[name].rows == ((rows[0], rows[-1]),)
    else:
        # Texts among objects become a column of texts, and rows may have only moved.
        assert changed[name].change in {"reordered", "dtype changed"}
        assert not changed[name].are_values_same


@settings(max_examples=100, deadline=None)
@given(frame=frames(least_rows=2), data=st.data())
def test_moved_rows_are_told_from_changed_ones(frame, data):
    order = data.draw(st.permutations(range(len(frame))))
    moved = frame.iloc[order].reset_index(drop=True)
    is_same = all(shown(frame[name]) == shown(moved[name]) for name in frame)
    assert diff_data(frame, moved).change == ("same" if is_same else "rows reordered")


@settings(max_examples=100, deadline=None)
@given(frame=frames(least_rows=1), data=st.data())
def test_appended_and_removed_rows_are_told_from_changed_ones(frame, data):
    length = data.draw(st.integers(0, len(frame) - 1))
    shorter = frame.iloc[:length]
    types = [fingerprint(one).columns for one in (shorter, frame)]
    assume([c.type for c in types[0].values()] == [c.type for c in types[1].values()])
    assert diff_data(shorter, frame).change == "rows appended"
    assert diff_data(frame, shorter).change == "rows removed"
    assert diff_data(frame, shorter).is_proved
    assert diff_fingerprints(fingerprint(frame), fingerprint(shorter)).change in {
        "changed",
        "rows removed",
    }


@settings(max_examples=100, deadline=None)
@given(one=frames(), other=frames())
def test_same_is_said_exactly_of_the_same_content(one, other):
    found = diff_data(one, other)
    is_same = list(one) == list(other) and all(shown(one[c]) == shown(other[c]) for c in one)
    assert (found.change == "same") == is_same
    assert from_prints(one, other).is_same == is_same
    json.dumps(found.document(), allow_nan=False)
    assert str(found)
    assert found.text().splitlines()[0] == str(found)


# --- other libraries --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [pl.DataFrame, pa.table], ids=["Polars", "Arrow"])
def test_tables_of_other_libraries_are_compared_cell_by_cell(make):
    columns = {"n": [1, 2, None, 4], "t": ["a", "b", None, "d"], "f": [0.5, 1.0, 2.0, None]}
    changed = columns | {"n": [1, 2, 3, 5], "t": ["a", "b", None, "e"]}
    found = diff_data(make(columns), make(changed))
    assert [(c.name, c.changed_cells, c.positions) for c in found.changed()] == [
        ("n", 2, (2, 3)),
        ("t", 1, (3,)),
    ]
    longer = {name: [*values, None] for name, values in columns.items()}
    assert diff_data(make(columns), make(longer)).change == "rows appended"
    backwards = {name: values[::-1] for name, values in columns.items()}
    assert diff_data(make(columns), make(backwards)).change == "rows reordered"


def test_the_same_table_in_another_library_is_said_to_be_that():
    frame = pd.DataFrame({"n": [1, 2], "t": ["a", "b"]})
    found = diff_data(frame, pl.from_pandas(frame))
    assert found.change == "dtype changed"
    assert str(found).startswith("pandas.DataFrame → polars.DataFrame")


def test_columns_of_one_content_are_renamed_to_their_neighbours():
    before = pd.DataFrame({"a": [0, 0], "b": [0, 0], "c": [1, 2]})
    found = diff_data(before, before.set_axis(["x", "y", "c"], axis=1))
    assert [(c.previous_name, c.name) for c in found.changed()] == [("a", "x"), ("b", "y")]


# --- documents --------------------------------------------------------------------------------


def test_a_difference_is_written_for_programs():
    document = diff_data(PEOPLE, OLDER, name="X_train").document()
    assert {key: document[key] for key in ("name", "change", "same_columns", "rows")} == {
        "name": "X_train",
        "change": "columns changed",
        "same_columns": 3,
        "rows": {"before": LENGTH, "after": LENGTH},
    }
    (column,) = document["columns"]
    assert (column["name"], column["change"], column["rows"]) == ("age", "changed", [[0, 39_999]])
    assert column["changed_cells"] == 40_000
    assert column["positions"] == [0, 1, 2, 3, 4]
    assert column["statistics"]["before"]["mean"] == pytest.approx(39.7, abs=0.1)


VALUES = {
    "frame": PEOPLE,
    "levels": PEOPLE.head().set_index(["id", "town"]),
    "endless": pd.DataFrame({"x": [np.inf, -np.inf, np.nan], "": [0, 1, 2**63 - 1]}),
    "unsigned": pd.DataFrame({"x": np.array([2**64 - 1], "u8")}),
    "array": np.arange(200_000.0).reshape(-1, 2),
    "fields": np.array([(1, 2.5)], [("i", "i2"), ("f", "f8")]),
    "empty": pd.DataFrame(),
    "list": [1, 2],
    "opaque": object(),
    "doubled": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "Polars": pl.DataFrame({"a": [1], "b": ["x"]}),
}


@pytest.mark.parametrize("name", list(VALUES))
def test_a_stored_fingerprint_is_the_same_again(name):
    found = fingerprint(VALUES[name])
    document = fingerprint_document(found)
    for stored in (
        json.loads(json.dumps(document, allow_nan=False)),
        msgpack.unpackb(msgpack.packb(document)),
    ):
        assert fingerprint_from_document(stored) == found


def test_a_fingerprint_over_the_budget_is_stored_too():
    found = fingerprint(PEOPLE, budget_bytes=1)
    assert fingerprint_from_document(fingerprint_document(found)) == found


def test_a_document_of_a_later_version_is_read_as_far_as_it_is_known():
    document = fingerprint_document(fingerprint(PEOPLE)) | {"colour": "red"}
    document["columns"][0]["colour"] = "red"
    assert fingerprint_from_document(document) == fingerprint_from_document(
        fingerprint_document(fingerprint(PEOPLE))
        | {key: document[key] for key in ("cost_ns", "size_bytes")}
    )
