"""A slice holds all that a run needs; a verdict says what the order of execution is worth."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from mlops_nb.lineage import NotebookOrder, slice_of, verdict_of
from mlops_nb.model import Execution
from mlops_nb.source import analyse, code_digest

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def executed(*sources, cells=None):
    """Executions of these sources, one after the other, as capture records them."""
    return [
        Execution(
            id=str(number),
            session="s",
            order=number,
            status="ok",
            source=source,
            code_digest=code_digest(source),
            started_at=NOON,
            cell_id=cells[number - 1] if cells else None,
            reads=names.reads,
            binds=names.binds,
            mutates=names.mutates,
            deletes=names.deletes,
            flags=("dynamic",) if names.is_dynamic else (),
        )
        for number, source in enumerate(sources, start=1)
        for names in [analyse(source)]
    ]


@pytest.mark.parametrize(
    ("sources", "needed"),
    [
        pytest.param(["x = 1", "y = 2", "print(x)"], ["1"], id="only what is read"),
        pytest.param(["a = 1", "b = a", "c = b", "d = c"], ["1", "2", "3"], id="transitive"),
        pytest.param(["x = 1", "x = 2", "print(x)"], ["2"], id="rebound"),
        pytest.param(["x = []", "x.append(1)", "print(x)"], ["1", "2"], id="mutated by a method"),
        pytest.param(["x = {}", "x['a'] = 1", "print(x)"], ["1", "2"], id="item set"),
        pytest.param(["x = 1", "x += 1", "print(x)"], ["1", "2"], id="augmented"),
        pytest.param(["import numpy as np", "z = 0", "np.ones(3)"], ["1"], id="import"),
        pytest.param(["def f(): return k", "k = 3", "f()"], ["1", "2"], id="global read late"),
        pytest.param(["exec('x = 1')", "y = 2", "print(x)"], ["1"], id="dynamic"),
        pytest.param(
            ["import numpy as np", "np.random.seed(0)", "q = 1", "np.random.rand()"],
            ["1", "2"],
            id="seed of a generator",
        ),
        pytest.param(["import os", "os.chdir('d')", "open('f')"], ["1", "2"], id="working folder"),
        pytest.param(
            ["x = 1", "open('a.csv', 'w').write('1')", "import csv", "t = open('a.csv').read()"],
            ["2"],
            id="file written and read",
        ),
    ],
)
def test_a_slice_holds_the_executions_that_the_last_one_depends_on(sources, needed):
    executions = executed(*sources)
    assert slice_of(executions, {executions[-1].id}) == tuple(needed)


def test_a_cell_that_failed_half_way_does_not_hide_the_one_before():
    first, second, third = executed("x = 1", "x = 2; 1 / 0", "print(x)")
    from dataclasses import replace

    found = slice_of([first, replace(second, status="error"), third], {"3"})
    assert found == ("1", "2")


def order_of(*sources, as_of=NOON):
    ids = [f"c{number}" for number in range(1, len(sources) + 1)]
    return NotebookOrder(
        positions={cell: number for number, cell in enumerate(ids)},
        sources=dict(zip(ids, sources, strict=True)),
        as_of_ns=int(as_of.timestamp() * 1e9),
    )


def test_cells_in_order_each_once_are_linear():
    executions = executed("x = 1", "y = 2", cells=["c1", "c2"])
    assert verdict_of(executions, order_of("x = 1", "y = 2")) == {"label": "linear", "reasons": []}


def test_a_cell_that_ran_after_one_below_it_is_out_of_order():
    executions = executed("y = 2", "x = 1", cells=["c2", "c1"])
    verdict = verdict_of(executions, order_of("x = 1", "y = 2"))
    assert verdict["label"] == "out-of-order"
    assert verdict["reasons"][0]["text"] == "cell 1 ran after cell 2, which stands below it"


def test_a_cell_that_ran_twice_is_out_of_order():
    executions = executed("x = 1", "x = 1", cells=["c1", "c1"])
    assert verdict_of(executions, order_of("x = 1"))["label"] == "out-of-order"


def test_an_edited_or_deleted_cell_makes_the_source_stale():
    executions = executed("x = 1", "y = 2", cells=["c1", "gone"])
    verdict = verdict_of(executions, order_of("x = 99"))
    kinds = [reason["kind"] for reason in verdict["reasons"]]
    assert verdict["label"] == "stale-source"
    assert kinds.count("stale-source") == 2


def test_a_file_saved_before_the_cell_ran_does_not_testify_against_it():
    early = datetime(2026, 1, 1, 11, tzinfo=timezone.utc)
    executions = executed("x = 1", cells=["c1"])
    assert verdict_of(executions, order_of("x = 0", as_of=early))["label"] == "linear"


def test_without_a_notebook_the_order_is_unknown():
    assert verdict_of(executed("x = 1"), None)["label"] == "order-unknown"
