"""A slice holds all that a run needs; a verdict says what the order of execution is worth."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from mlops_nb.lineage import NotebookOrder, reviewed, slice_of, verdict_of
from mlops_nb.model import DataUse, Environment, Execution, FileUse, Output
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


# --- IPython's memory of results ----------------------------------------------------------------


def shown(*sources, results=(), count=True):
    """Executions as capture records them: any read of a remembered result is one of ``_``."""
    memory = {"_", "__", "___", "Out", "_oh"}
    found = []
    for execution in executed(*sources):
        is_reader = any(n in memory or n.strip("_").isdigit() for n in execution.reads)
        outputs = (Output(execution.id, 0, "result", "", "text/plain", 1, "sha256:1"),)
        found.append(
            replace(
                execution,
                reads=tuple({*execution.reads} - memory) + (("_",) if is_reader else ()),
                outputs=outputs if execution.order in results else (),
                execution_count=execution.order if count else None,
            )
        )
    return found


@pytest.mark.parametrize(
    ("sources", "results", "needed"),
    [
        pytest.param(["f()", "g()", "y = _"], [1, 2], ["2"], id="the last one"),
        pytest.param(["f()", "g()", "y = __"], [1, 2], ["1", "2"], id="the one before"),
        pytest.param(["f()", "g()", "y = _1"], [1, 2], ["1"], id="by number"),
        pytest.param(["f()", "g()", "y = Out[1]"], [1, 2], ["1"], id="by index"),
        pytest.param(["f()", "g()", "y = Out[n]"], [1, 2], ["1", "2"], id="any of them"),
        pytest.param(["f()", "x = 1", "y = _"], [1], ["1"], id="past one without a result"),
        pytest.param(["q = 1", "f(q)", "y = _"], [2], ["1", "2"], id="and what that needs"),
        pytest.param(["f()", "g();", "y = _"], [1], ["1"], id="past one that is silenced"),
        pytest.param(["f()", "for _ in r: pass", "y = _"], [1], ["2"], id="a name of the user"),
        pytest.param(["f()", "z = _", "g()", "y = z"], [1, 3], ["1", "2"], id="transitive"),
    ],
)
def test_a_cell_that_reads_a_result_needs_the_cell_that_gave_it(sources, results, needed):
    executions = shown(*sources, results=results)
    assert slice_of(executions, {executions[-1].id}) == tuple(needed)


def test_where_no_outputs_are_at_hand_every_cell_that_may_have_shown_something_is_needed():
    executions = shown("f()", "x = 1", "[1, 2]", "g()", "y = _")
    assert slice_of(executions, {"5"}) == ("3", "4")


def test_a_flag_says_that_a_cell_gave_a_result():
    executions = shown("f()", "g()", "h()", "y = _")
    executions[1] = replace(executions[1], flags=("result",))
    assert slice_of(executions, {"4"}) == ("2", "3")


def test_a_result_by_number_is_needed_of_any_cell_where_numbers_are_not_known():
    executions = shown("f()", "x = 1", "y = _1", count=False)
    assert slice_of(executions, {"3"}) == ("1",)


def test_a_run_does_not_need_the_cells_of_an_earlier_attempt():
    sources = ["x = 1", "m = fit()", "score(m)", "m = fit()", "score(m)"]
    executions = executed(*sources)
    assert slice_of(executions, {"4", "5"}) == ()


# --- what the verdict says of notebooks with hidden state ---------------------------------------


def reasons(verdict):
    return [(reason["kind"], reason["text"]) for reason in verdict["reasons"]]


def test_a_deleted_cell_is_named_by_what_it_did():
    executions = executed("limit = 3", "y = limit", cells=["gone", "c1"])
    executions[0] = replace(executions[0], execution_count=7)
    verdict = verdict_of(executions, order_of("y = limit"))
    assert verdict["label"] == "stale-source"
    assert reasons(verdict) == [
        ("stale-source", "the cell that ran as [7] is no longer in the notebook: limit = 3")
    ]


def test_a_cell_that_ran_in_turns_is_said_once():
    executions = executed("a", "b", "a", "b", "a", cells=["c1", "c2", "c1", "c2", "c1"])
    verdict = verdict_of(executions, order_of("a", "b"))
    assert reasons(verdict) == [
        ("out-of-order", "cell 1 ran after cell 2, which stands below it"),
        ("out-of-order", "cells 1, 2 ran more than once"),
    ]


def reading(*states):
    """Cells that read a file each, with how the files stand now."""
    files = {f"/data/{n}.csv": state for n, state in enumerate(states, 1)}
    executions = [
        replace(e, files=(FileUse(uri, "r", "adapter"),))
        for e, uri in zip(
            executed(
                *(f"d{n} = 1" for n in range(len(states))), cells=["c1", "c2"][: len(states)]
            ),
            files,
            strict=True,
        )
    ]
    return executions, files


@pytest.mark.parametrize(
    ("state", "label", "text"),
    [
        pytest.param("same", "linear", None, id="same"),
        pytest.param("unknown", "linear", None, id="not looked at"),
        pytest.param(
            "changed", "mutated-data", "1.csv has changed since cell 1 read it", id="new"
        ),
        pytest.param("gone", "mutated-data", "1.csv, which cell 1 read, is gone", id="gone"),
    ],
)
def test_an_input_file_that_is_not_what_it_was_is_mutated_data(state, label, text):
    executions, files = reading(state)
    verdict = verdict_of(executions, order_of("d0 = 1"), files=files)
    assert verdict["label"] == label
    assert reasons(verdict) == ([] if text is None else [("mutated-data", text)])


def test_a_file_that_the_run_made_itself_is_no_input():
    executions, files = reading("changed", "changed")
    executions[0] = replace(executions[0], files=(FileUse("/data/2.csv", "w", "adapter"),))
    verdict = verdict_of(executions, order_of("d0 = 1", "d1 = 1"), files=files)
    assert verdict["label"] == "linear"


def test_an_input_that_the_run_itself_overwrote_is_mutated_data():
    executions, _ = reading("same", "same")
    executions[1] = replace(executions[1], files=(FileUse("/data/1.csv", "w", "adapter"),))
    verdict = verdict_of(
        executions, order_of("d0 = 1", "d1 = 1"), files={"/data/1.csv": "changed"}
    )
    assert reasons(verdict) == [
        ("mutated-data", "the run itself wrote 1.csv after cell 1 had read it")
    ]


def test_imported_modules_that_are_not_committed_make_dirty_code():
    git = {"commit": "a", "modules": [{"path": "features.py", "state": "modified"}]}
    verdict = verdict_of(executed("x = 1", cells=["c1"]), order_of("x = 1"), git=git)
    assert verdict["label"] == "dirty-code"
    assert reasons(verdict) == [
        ("dirty-code", "imported with changes that are not committed: features.py")
    ]


def test_an_environment_without_a_lock_is_a_reason_and_never_the_label():
    content = {"lock": None, "details": {"editable": {"mylib": {"commit": None}}}}
    verdict = verdict_of(executed("x = 1", cells=["c1"]), order_of("x = 1"), environment=content)
    assert verdict["label"] == "linear"
    assert [kind for kind, _ in reasons(verdict)] == ["unpinned-env", "unpinned-env"]


def used(name, digest, execution):
    return DataUse(name, "train", "DataFrame", digest, "exact", execution=execution)


@pytest.mark.parametrize(
    ("between", "label"),
    [
        pytest.param("other = 1", "mutated-data", id="no cell changed it"),
        pytest.param("x = g()", "linear", id="bound in between"),
        pytest.param("x['a'] = 1", "linear", id="changed in between"),
        pytest.param("exec(text)", "linear", id="nobody knows"),
    ],
)
def test_a_value_that_changed_outside_of_every_cell_is_mutated_data(between, label):
    cells = ["c1", "c2", "c3", "c4"]
    sources = ["x = f()", "fit(x)", between, "fit(x)"]
    executions = [
        replace(e, mutates=e.mutates if e.order == 3 else ())
        for e in executed(*sources, cells=cells)
    ]
    data = (used("x", "nbfp1:1", "2"), used("x", "nbfp1:2", "4"))
    assert verdict_of(executions, order_of(*sources), data=data)["label"] == label


def test_a_name_inside_a_function_may_hold_another_value_at_each_call():
    sources = ["def go(x): fit(x)", "go(1)", "go(2)"]
    executions = executed(*sources, cells=["c1", "c2", "c3"])
    data = (used("x", "nbfp1:1", "2"), used("x", "nbfp1:2", "3"))
    assert verdict_of(executions, order_of(*sources), data=data)["label"] == "linear"


def test_a_verdict_is_reviewed_by_what_became_of_its_input_files():
    use = FileUse("/data/a.csv", "r", "adapter", "nbfp1:1")
    reads = replace(executed("table = load()")[0], files=(use,))
    verdict = {"label": "verified", "reasons": [{"kind": "verified", "text": "replayed"}]}
    assert reviewed(verdict, [reads], {"/data/a.csv": "same"}) == verdict
    changed = reviewed(verdict, [reads], {"/data/a.csv": "changed"})
    assert changed["label"] == "mutated-data"
    assert [reason["kind"] for reason in changed["reasons"]] == ["mutated-data", "verified"]
    assert reviewed(changed, [reads], {"/data/a.csv": "changed"}) == changed
    assert reviewed(None, [reads], {"/data/a.csv": "changed"}) is None


def test_an_editable_installation_is_a_reason_and_no_label():
    environment = Environment("sha256:1", {"details": {"editable": {"ours": {}}}})
    found = reviewed({"label": "linear", "reasons": []}, [], {}, environment)
    assert found["label"] == "linear"
    assert [reason["kind"] for reason in found["reasons"]] == ["unpinned-env"]
