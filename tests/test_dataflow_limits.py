"""What cannot be split is refused or made one step; first cells run once where they must."""

from __future__ import annotations

import pytest
from dataflow_notebooks import edges, flow, plan

from mlops_nb.errors.pipelines import PipelineRefused

REFUSED = {
    "a step goes on after another has changed what it reads": (
        """
#[step:a]
x = [1]
#[step:b]
x.append(2)
#[step:a]
y = x + [3]
""",
        "cell 2 belongs to step a and would run before cell 1 (step b), but both touch x",
    ),
    "prev against the flow of values": (
        """
#[step:a prev:b]
x = [1]
#[step:b]
y = x
""",
        "a says prev:b, but b reads x in cell 1, line 1, which a last binds in cell 0, line 1",
    ),
    "functions that are defined anew after use": (
        """
#[functions]
def f(v): return v + 1
#[step:a]
x = f(1)
#[functions]
def f(v): return v * 100
#[step:b]
y = f(x)
""",
        "both touch f",
    ),
    "parameters after a step that uses the name": (
        """
#[step:a]
n = 1
#[parameters]
n = 5
#[step:b]
print(n)
""",
        "cell 1 belongs to the cells that every step runs and would run before cell 0 (step a)",
    ),
    "the memory of results by number": (
        """
#[step:a]
1 + 1
#[step:b]
print(Out[1])
""",
        "cell 1 (step b) reads Out in line 1",
    ),
    "the last but one result": (
        """
#[step:a]
1 + 1
#[step:b]
x = 2
print(__)
""",
        "cell 1 (step b) reads __ in line 2",
    ),
    "the history of inputs": (
        """
#[step:a]
print(In[1])
""",
        "reads In",
    ),
    "a cell that is no Python": (
        """
#[step:a]
x = (1,
#[step:b]
print(x)
""",
        "cell 0 (step a) is no Python",
    ),
    "pieces that add to a list which has something in it": (
        """
#[step:a]
names = ["a", "b"]
scores = [0]
#[step:each foreach:names]
for name in names:
    scores.append(name)
#[step:end]
print(scores)
""",
        "step each runs once for each piece of names, but changes scores from before it in cell 1",
    ),
    "pieces that count": (
        """
#[step:a]
names = ["a", "b"]
total = 0
#[step:each foreach:names]
for n in names:
    total += 1
#[step:end]
print(total)
""",
        "changes total from before it in cell 1, line 2",
    ),
    "pieces that draw from one seeded generator": (
        """
#[]
import random
random.seed(1)
#[step:a]
names = ["a", "b"]
#[step:each foreach:names]
drawn = {n: random.random() for n in names}
#[step:end]
print(drawn)
""",
        "changes the random numbers of random in cell 2, line 1",
    ),
    "pieces that change the working folder": (
        """
#[step:a]
import os
names = ["a", "b"]
#[step:each foreach:names]
os.chdir(names[0])
#[step:end]
print(os.getcwd())
""",
        "changes the working folder in cell 1, line 1",
    ),
    "a secret that the environment no longer holds": (
        """
#[step:a]
import os
token = os.environ["API_TOKEN"]
#[step:b]
del os.environ["API_TOKEN"]
#[step:c]
print(len(token))
""",
        "token",
    ),
    "a name of a skipped cell": (
        """
#[skip]
x = 1
#[step:a]
print(x)
""",
        "reads x in line 1, which only cell 0 binds, and no step runs that",
    ),
}

FUSED = {
    "a generator": (
        """
#[step:a]
rows = (n for n in range(3))
#[step:b]
print(next(rows))
""",
        "a: ->",
        "a and b are one step, a, because rows, a generator, cannot pass from a to b",
    ),
    "a future of a pool": (
        """
#[step:a]
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
#[step:b]
futures = [pool.submit(len, [1])]
#[step:c]
print(futures)
""",
        "a: ->",
        "a and c are one step, a, because futures, which holds a pool of threads, cannot pass",
    ),
    "a file that an object keeps open": (
        """
#[step:a]
class Log:
    def __init__(self, path):
        self.file = open(path, "a")
log = Log("log.txt")
#[step:b]
log.file.write("x")
""",
        "a: ->",
        "because log, which holds an open file, cannot pass from a to b",
    ),
    "a step between others keeps what comes after": (
        """
#[step:a]
import sqlite3
con = sqlite3.connect("data.db")
limit = 5
#[step:b prev:a retry:2]
rows = con.execute("select 1").fetchall()
#[step:c prev:b]
print(rows, limit)
""",
        "a: -> limit rows\nc: limit<a rows<a ->",
        "because con, a connection, cannot pass from a to b",
    ),
    "a cache whose results depend on what changes": (
        """
#[step:a]
from functools import lru_cache
K = 2
@lru_cache
def f(x): return x * K
print(f(1))
#[step:b]
K = 3
#[step:c]
print(f(1))
""",
        "a: ->",
        "because f, which remembers its results, cannot pass from a to c",
    ),
    "a cache whose result is changed": (
        """
#[step:a]
from functools import cache
@cache
def rows(): return []
#[step:b]
rows().append(1)
#[step:c]
print(rows())
""",
        "a: ->",
        "because rows, which remembers its results, cannot pass from a to c",
    ),
    "chance of a library that keeps its state to itself": (
        """
#[step:a]
import tensorflow as tf
tf.random.set_seed(1)
#[step:b]
x = tf.random.normal((2,))
#[step:c]
print(x)
""",
        "a: -> x\nc: x<a ->",
        "because the random numbers of tensorflow, which have no state to pass on, cannot pass",
    ),
    "state of a module that depends on a value": (
        """
#[step:a]
import decimal
digits = len("abc")
#[step:b]
decimal.getcontext().prec = digits
#[step:c]
print(decimal.Decimal(1) / 3)
""",
        "a: -> digits\nb: digits<a ->; def decimal",
        "because the state of decimal, which cell 1, line 1 changes, cannot pass from b to c",
    ),
}

MOVED = {
    "chance without a seed, and what comes of it": (
        """
#[]
import numpy as np
noise = np.random.rand(3)
#[]
scale = 2
doubled = noise * scale
#[]
def f(x):
    return x * 3
#[step:a]
x = f(doubled)
#[step:b]
print(noise, x)
""",
        (2,),
        "a: -> <rng:numpy> noise x\nb: noise<a x<a ->",
        (
            "Cell 0 stands before the first step, but only a runs it, because of what it draws from "
            "the random numbers of numpy, which have no seed."
        ),
    ),
    "the clock": (
        """
#[]
import time
began = time.time()
#[step:a]
x = 1
#[step:b]
print(time.time() - began, x)
""",
        (),
        "a: -> began x\nb: began<a x<a ->; def time",
        "because of time.time()",
    ),
    "a name that a step deletes": (
        """
#[]
x = 1
#[step:a]
del x
#[step:b]
try:
    print(x)
except NameError:
    print("gone")
""",
        (),
        "a: ->\nb: ->",
        "because of x, which a step deletes",
    ),
    "a file that a step writes later": (
        """
#[]
from pathlib import Path
state = Path("state.json").read_text()
#[step:a]
Path("state.json").write_text("{}")
#[step:b]
print(state)
""",
        (),
        "a: -> state\nb: state<a ->",
        "because of the file state.json, which cell 1 writes",
    ),
    "what an address gives": (
        """
#[]
import pandas as pd
df = pd.read_csv("https://example.org/data.csv")
#[step:a]
print(df)
#[step:b]
print(df.head())
""",
        (),
        "a: -> df\nb: df<a ->",
        "because of what it reads from https://",
    ),
    "a cell that sees to its folder runs everywhere": (
        """
#[]
import os
os.makedirs("out", exist_ok=True)
#[step:a]
print(os.listdir("out"))
#[step:b]
print(os.getcwd())
""",
        (0,),
        "a: ->\nb: ->",
        "",
    ),
    "a seeded draw runs everywhere": (
        """
#[]
import random
random.seed(1)
noise = random.random()
#[step:a]
print(noise)
#[step:b]
print(noise)
""",
        (0,),
        "a: ->\nb: ->",
        "",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_differ_is_refused_with_cell_and_line(name):
    text, problem = REFUSED[name]
    with pytest.raises(PipelineRefused) as refused:
        plan(text)
    assert problem in str(refused.value)


@pytest.mark.parametrize("name", FUSED)
def test_steps_with_what_cannot_be_stored_between_them_become_one(name):
    text, expected, reason = FUSED[name]
    pipeline = plan(text)
    assert flow(pipeline) == expected
    assert reason in "; ".join(pipeline.fused)


@pytest.mark.parametrize("name", MOVED)
def test_first_cells_that_give_something_else_each_time_run_once(name):
    text, prelude, expected, warning = MOVED[name]
    pipeline = plan(text)
    assert pipeline.prelude == prelude
    assert flow(pipeline) == expected
    assert warning in " ".join(pipeline.warnings)


def test_branches_that_change_one_thing_run_in_the_order_of_the_notebook_with_a_warning():
    pipeline = plan("""
#[step:load]
results = {}
#[step:a prev:load]
results["a"] = 1
#[step:b prev:load]
results["b"] = 2
#[step:end prev:a prev:b]
print(results)
""")
    assert edges(pipeline) == (
        "load > a: static results\n"
        "load > b: prev\n"
        "a > b: static results\n"
        "a > end: prev\n"
        "b > end: static results"
    )
    assert pipeline.warnings == (
        (
            "a and b are branches, but both change results (cell 1, line 1; cell 2, line 1), so b "
            "runs after a, as in the notebook."
        ),
    )


def test_prev_without_values_is_an_edge_also_against_the_order_of_the_cells():
    pipeline = plan("""
#[step:a prev:b]
x = [1]
#[step:b]
y = 2
#[step:c]
print(x, y)
""")
    assert edges(pipeline) == "b > a: prev\na > c: static x\nb > c: static y"


def test_fused_steps_take_the_stronger_options():
    pipeline = plan("""
#[step:a retry:1 timeout:10]
rows = (n for n in range(3))
#[step:b retry:3 timeout:20 nocache]
print(next(rows))
""")
    options = pipeline.steps[0].options
    assert (options.retry, options.timeout_s, options.is_cached) == (3, 30.0, False)


def test_names_that_later_steps_take_from_before_are_watched():
    pipeline = plan("""
#[]
limit = [1]
#[step:a]
rows = [1]
#[step:b]
import somewhere
n = somewhere.count(rows, limit)
#[step:c]
print(rows, n, limit)
""")
    assert [step.watched for step in pipeline.steps] == [(), ("limit", "rows"), ()]


def test_what_a_step_changes_itself_is_not_watched():
    pipeline = plan("""
#[step:a]
rows = [1]
#[step:b]
rows.append(2)
#[step:c]
print(rows)
""")
    assert [step.watched for step in pipeline.steps] == [(), (), ()]


def test_metrics_are_given_by_who_made_them_last():
    pipeline = plan("""
#[step:a]
auc = 0.5
#[step:b]
auc = auc + 0.1
#[pipeline-metrics]
print(auc)
""")
    assert pipeline.metrics == ("auc",)
    assert flow(pipeline) == "a: -> auc\nb: auc<a -> auc"


def test_asked_outputs_are_kept_though_nobody_reads_them():
    pipeline = plan("""
#[step:a output:rows]
rows = [1]
#[step:b output:rows]
print(2)
""")
    assert flow(pipeline) == "a: -> rows\nb: rows<a -> rows"


def test_files_of_the_first_cells_belong_to_every_step():
    pipeline = plan("""
#[]
conf = open("conf.json").read()
#[step:a]
x = open("data.csv").read()
#[step:b]
open("out.txt", "w").write(x + conf)
""")
    assert [step.reads_files for step in pipeline.steps] == [
        ("conf.json", "data.csv"),
        ("conf.json",),
    ]
    assert pipeline.steps[1].writes_files == ("out.txt",)
