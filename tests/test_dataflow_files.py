"""Files as edges.

Each notebook with exactly what its steps take and give.
"""

from __future__ import annotations

import pytest
from dataflow_notebooks import edges, plan

FLOWS = {
    "the first cells read a file": (
        """
#[]
import json
with open("conf.json") as f:
    conf = json.load(f)
#[step:a]
print(conf)
#[step:b]
print(conf)
""",
        """

""",
    ),
    "a function reads a folder": (
        """
#[functions]
import glob
import pandas as pd
def load_all(folder):
    return [pd.read_csv(p) for p in glob.glob(folder + "/*.csv")]
#[step:a]
pd.DataFrame({"a": [1]}).to_csv("out/one.csv")
#[step:b]
frames = load_all("out")
""",
        """
a > b: file out/one.csv
""",
    ),
    "a file whose name is a parameter": (
        """
#[parameters]
target = "model.pkl"
#[step:a]
import joblib
joblib.dump([1], target)
#[step:b]
m = joblib.load(target)
#[step:c]
open("other.txt", "w").write("x")
""",
        """
a > b: file {target}
b > c: file other.txt
""",
    ),
    "files of shell commands": (
        """
#[step:a]
!echo hi > a.txt
#[step:b]
!cp a.txt b.txt
#[step:c]
print(open("b.txt").read())
""",
        """
a > b: file a.txt
b > c: file b.txt
""",
    ),
    "an installed package": (
        """
#[step:a]
%pip install -q humanize
#[step:b]
import humanize
#[step:c]
x = 1
""",
        """
a > b: file <installed packages>
""",
    ),
    "two writers of one file stay in order": (
        """
#[step:a]
open("log.txt", "w").write("a")
#[step:b]
open("log.txt", "w").write("b")
#[step:c]
print(open("log.txt").read())
""",
        """
a > b: file log.txt
b > c: file log.txt
""",
    ),
    "a reader before a writer": (
        """
#[step:a]
old = open("state.txt").read()
#[step:b]
open("state.txt", "w").write("new")
""",
        """
a > b: file state.txt
""",
    ),
    "files of other names are no edge": (
        """
#[step:a]
open("a.txt", "w").write("a")
#[step:b]
open("b.txt", "w").write("b")
""",
        """

""",
    ),
    "a path made of constants": (
        """
#[parameters]
name = "train"
#[]
from pathlib import Path
import os
ROOT = Path("data")
#[step:a]
(ROOT / f"{name}.csv").write_text("x")
#[step:b]
print(open(os.path.join("data", "test.csv")).read())
#[step:c]
print(open("other/test.csv").read())
""",
        """
a > b: file data/test.csv
""",
    ),
    "writefile and import": (
        """
#[step:a]
%%writefile helpers.py
def f(): return 1
#[step:b]
import helpers
#[step:c]
import json
""",
        """
a > b: file helpers.py
""",
    ),
    "a model saved by a function": (
        """
#[functions]
import joblib
def keep(model, path):
    joblib.dump(model, path)
#[step:a]
keep([1], "m.joblib")
#[step:b]
print(joblib.load("m.joblib"))
""",
        """
a > b: file m.joblib
""",
    ),
    "names in shell commands": (
        """
#[step:a]
name = "x"
#[step:b]
!echo {name} $name
""",
        """
a > b: static name
""",
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_files_give_exactly_these_edges(name):
    text, expected = FLOWS[name]
    assert edges(plan(text)) == expected.strip("\n")
