"""What runs have shown changes the plan, and only for the code that ran."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from dataflow_notebooks import draft, edges, flow, plan

from mlops_nb.model import Execution
from mlops_nb.model.pipelines import Fact
from mlops_nb.pipeline.dataflow import dataflow_of, facts_of, step_code
from mlops_nb.source import code_digest

TWO = """
#[step:a]
import somewhere
rows = [1]
names = ["x"]
#[step:b]
somewhere.work(rows)
#[step:c]
print(rows, names)
"""


def fact(kind, *names, step="b", **more):
    return Fact(step, kind, names, **more)


PLANS = {
    "nothing is known": (
        (),
        "a: -> names rows\nb: rows<a ->; def somewhere\nc: names<a rows<a ->",
    ),
    "a value that was changed": (
        (fact("mutates", "rows"),),
        "a: -> names rows\nb: rows<a -> rows; def somewhere\nc: names<a rows<b ->",
    ),
    "a name that no text shows was changed": (
        (fact("mutates", "names"),),
        "a: -> names rows\nb: names<a rows<a -> names; def somewhere\nc: names<b rows<a ->",
    ),
    "a name that was read": (
        (fact("reads", "names"),),
        "a: -> names rows\nb: names<a rows<a ->; def somewhere\nc: names<a rows<a ->",
    ),
    "a name that was bound": (
        (fact("binds", "names"),),
        "a: -> names rows\nb: names<a rows<a -> names; def somewhere\nc: names<b rows<a ->",
    ),
    "a name that was deleted": (
        (fact("deletes", "names"),),
        "a: -> rows\nb: rows<a ->; def somewhere\nc: rows<a ->",
    ),
    "two values that share an object": (
        (fact("shares", "rows", "names", step="a"),),
        "a: -> (names rows)\nb: rows<a ->; def somewhere\nc: names<a rows<a ->",
    ),
    "a value that shares with one from before": (
        (fact("shares", "rows", "names"),),
        (
            "a: -> names rows\nb: names<a rows<a -> (names rows); def somewhere\n"
            "c: names<b rows<b ->"
        ),
    ),
    "chance that was drawn": (
        (fact("rng", "<rng:numpy>"),),
        "a: -> names rows\nb: rows<a -> <rng:numpy> rows; def somewhere".replace(" rows;", ";")
        + "\nc: names<a rows<a ->",
    ),
    "a folder that was changed": (
        (fact("rng", "<cwd>"),),
        "a: -> names rows\nb: rows<a -> <cwd>; def somewhere\nc: <cwd><b names<a rows<a ->",
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_fact_changes_the_plan(name):
    facts, expected = PLANS[name]
    assert flow(plan(TWO, facts)) == expected


def test_a_value_that_could_not_be_stored_makes_its_steps_one():
    stuck = fact("binds", "rows", step="a", text="rows cannot be stored: it is a socket")
    pipeline = plan(TWO, (stuck,))
    assert flow(pipeline) == "a: ->"
    assert pipeline.fused == (
        (
            "a, b and c are one step, a, because rows, which could not be stored when it ran, cannot "
            "pass from a to c"
        ),
    )


def test_first_cells_that_came_out_differently_run_once():
    text = """
#[]
import somewhere
table = somewhere.load()
#[step:a]
print(table)
#[step:b]
print(table)
"""
    assert flow(plan(text)) == "a: ->\nb: ->"
    known = plan(text, (fact("differs", "table"),))
    assert flow(known) == "a: -> table\nb: table<a ->"
    assert known.prelude == ()


def test_chance_seen_in_one_step_orders_all_that_draw():
    text = """
#[step:a]
import random
x = random.random()
#[step:b]
import somewhere
somewhere.work()
#[step:c]
print(random.random(), x)
"""
    assert edges(plan(text)) == "a > c: static x"
    assert edges(plan(text, (fact("rng", "<rng:random>"),))) == (
        "a > b: rng <rng:random>\na > c: static x\nb > c: rng <rng:random>"
    )


def test_a_fact_about_other_code_is_none():
    found = draft(TWO)
    mine = step_code(found, found.steps[1])
    other = fact("mutates", "rows", code="xxh3:0")
    same = fact("mutates", "rows", code=mine)
    assert flow(dataflow_of(found, facts=(other,))) == flow(dataflow_of(found))
    assert flow(dataflow_of(found, facts=(same,))) != flow(dataflow_of(found))
    assert dataflow_of(found, facts=(other, same, same)).facts == (same,)


def test_layout_and_remarks_do_not_change_the_code_of_a_step():
    one, other = draft("#[step:a]\nx = 1  # one"), draft("#[step:a]\n\nx=(1)")
    assert step_code(one, one.steps[0]) == step_code(other, other.steps[0])
    third = draft("#[step:a]\nx = 2")
    assert step_code(one, one.steps[0]) != step_code(third, third.steps[0])


def test_edges_that_only_a_run_shows_say_so():
    text = """
#[step:a]
x = 1
#[step:b]
import somewhere
somewhere.work()
"""
    pipeline = plan(text, (fact("reads", "x"),))
    assert edges(pipeline) == "a > b: observed x"


def execution(source, **names):
    return Execution(
        id=code_digest(source)[-8:],
        session="s",
        order=1,
        status="ok",
        source=source,
        code_digest=code_digest(source),
        started_at=datetime.now(UTC),
        **names,
    )


def test_a_tracked_run_tells_what_the_text_does_not():
    found = draft("""
#[step:a]
x = 1
#[step:b]
import somewhere
somewhere.work()
""")
    seen = facts_of(
        found,
        (
            execution("x = 1   # as it ran", binds=("x",)),
            execution(
                "import somewhere\nsomewhere.work()",
                reads=("somewhere", "x"),
                binds=("somewhere", "y"),
                deletes=("z",),
            ),
        ),
    )
    assert [(one.step, one.kind, one.names) for one in seen] == [
        ("b", "reads", ("x",)),
        ("b", "binds", ("y",)),
        ("b", "deletes", ("z",)),
    ]
    assert {one.code for one in seen} == {step_code(found, found.steps[1])}
    assert flow(dataflow_of(found, facts=seen)) == "a: -> x\nb: x<a ->"


def test_a_run_of_other_cells_tells_nothing():
    found = draft("#[step:a]\nx = 1\n#[step:b]\nprint(x)")
    assert facts_of(found, (execution("x = 2", reads=("q",)),)) == ()
    failed = execution("x = 1", reads=("q",), binds=("x",))
    assert facts_of(found, (failed,))
