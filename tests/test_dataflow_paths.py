"""Paths as text: whether two of them may be one file, and what a command touches."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.pipeline.dataflow.paths import looks_like_path, may_meet, shell_uses

MEET = {
    ("a.csv", "a.csv"): True,
    ("a.csv", "b.csv"): False,
    ("./data/a.csv", "data/a.csv"): True,
    ("data", "data/a.csv"): True,
    ("data/", "data/sub/a.csv"): True,
    ("data", "database.csv"): False,
    ("{folder}/a.csv", "data/a.csv"): True,
    ("{folder}/a.csv", "{folder}/b.csv"): False,
    ("{folder}/a.csv", "{folder}"): True,
    ("{…}", "anything.csv"): True,
    ("out/*.csv", "out/one.csv"): True,
    ("out/*.csv", "out/one.json"): False,
    ("out_{n}.csv", "out_3.csv"): True,
    ("out_{n}.csv", "in_3.csv"): False,
    ("/home/me/data/a.csv", "data/a.csv"): True,
    ("/home/me/data/a.csv", "/home/me/data/b.csv"): False,
    ("../a.csv", "a.csv"): False,
}


@pytest.mark.parametrize(("one", "other"), MEET)
def test_paths_meet_if_they_may_be_one_file_or_one_holds_the_other(one, other):
    assert may_meet(one, other) is MEET[one, other]
    assert may_meet(other, one) is MEET[one, other]


@given(
    st.lists(st.sampled_from(["a", "b", "ab", "{n}"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "ab", "ba"]), min_size=1, max_size=4),
)
def test_a_pattern_meets_all_that_it_fits(pattern, parts):
    path = "".join(parts)
    fits = re.fullmatch("".join(".*" if p == "{n}" else p for p in pattern), path) is not None
    if fits:
        assert may_meet("".join(pattern), path)


COMMANDS = {
    "echo hi > a.txt": [("a.txt", False, True)],
    "cat a.txt >> b.txt": [("b.txt", True, True), ("a.txt", True, False)],
    "cp a.txt b.txt": [("a.txt", True, True), ("b.txt", True, True)],
    "echo nothing": [],
    "pip install pandas": [],
    "python train.py --out model.pkl 2>&1": [("train.py", True, True), ("model.pkl", True, True)],
    "wget https://example.org/a.csv": [],
    "mkdir -p out": [("out", False, True)],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_which_files_it_may_touch(command):
    found = [(use.path, use.is_read, use.is_written) for use in shell_uses(command)]
    assert found == COMMANDS[command]


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        ("data/a.csv", True),
        ("a.csv", True),
        ("C", False),
        ("hello world.", False),
        ("3.14", False),
        ("https://example.org/a.csv", False),
    ],
)
def test_a_text_with_a_slash_or_an_ending_can_be_a_path(text, is_path):
    assert looks_like_path(text) is is_path
