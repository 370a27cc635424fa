"""Why is this run different? What differs is found, and the right cause is named first."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_that_differ import (
    FIT,
    NOON,
    SOURCES,
    edited,
    environment,
    executed,
    read,
    run,
    use,
)

from mlops_nb.compare.cells import pair_cells
from mlops_nb.compare.difference import diff_runs
from mlops_nb.compare.hunks import hunks_of
from mlops_nb.compare.literals import literal_changes
from mlops_nb.fingerprint import fingerprint
from mlops_nb.model import Param, Run

OLD, NEW = "7f3a9c01", "e21b5678"


def pair(old=None, new=None, *, old_sources=SOURCES, new_sources=SOURCES, **given):
    """Two runs of the churn notebook, which differ in what is given, and their difference."""
    sides = []
    for id_, given_facts, prefix in ((OLD, old, "a"), (NEW, new, "b")):
        facts = dict(given_facts or {})
        digest = facts.pop("digest", "1")
        facts.setdefault("data", (use(digest=digest, execution=f"{prefix}{FIT}"),))
        sides.append(run(id_, **facts))
    before = given.pop("old_executions", None) or executed(*old_sources, prefix="a")
    after = given.pop("new_executions", None) or executed(*new_sources, prefix="b")
    return diff_runs(*sides, executions_a=before, executions_b=after, **given)


def kinds(found):
    return [cause.kind for cause in found.causes]


# --- the right cause first --------------------------------------------------------------------


def test_two_runs_of_the_same_have_no_cause():
    found = pair(environment_a=environment(), environment_b=environment())
    assert found.causes == ()
    assert not found.is_different
    assert {name: mark.kind for name, mark in found.aspects.items()} == {
        "data": "same",
        "params": "same",
        "code": "same",
        "seed": "unknown",
        "packages": "same",
        "hardware": "same",
    }


def test_other_data_from_the_same_code_comes_first():
    found = pair(
        new={"digest": "9", "params": {"C": 0.01}},
        new_sources=edited(FIT, ("1.0", "0.01")),
        environment_a=environment(),
        environment_b=environment({"pandas": "3.1.1"}),
    )
    assert kinds(found) == ["data", "params", "code", "packages", "packages"]
    assert found.causes[0].text == "X_train: column age changed, 1 column same"
    assert found.causes[1].text == "C 1.0 → 0.01"
    assert found.causes[2].text == "1 of 6 cells: cell 5, 1 line (nothing but C)"


def test_data_that_an_edited_cell_made_follows_from_the_code():
    found = pair(new={"digest": "9"}, new_sources=edited(3, ("18", "21")))
    assert [(cause.kind, cause.follows) for cause in found.causes] == [
        ("code", ""),
        ("data", "code"),
    ]


def test_a_file_with_other_content_is_the_cause_even_where_code_was_edited_too():
    found = pair(
        new={"digest": "9"},
        old_executions=executed(*SOURCES, prefix="a", changes={2: {"files": (read(),)}}),
        new_executions=executed(
            *edited(3, ("18", "21")),
            prefix="b",
            changes={2: {"files": (read(digest="nbfp1:2"),)}},
        ),
    )
    assert kinds(found) == ["data", "code"]
    assert found.causes[0].text.endswith("; data.csv changed")


def test_an_edited_cell_below_the_fit_does_not_explain_the_data():
    found = pair(new={"digest": "9"}, new_sources=edited(6, ("score", "my_score")))
    assert [(cause.kind, cause.follows) for cause in found.causes] == [("data", ""), ("code", "")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("random_state=0", "random_state=1", id="keyword"),
        pytest.param("frac=np.random.seed(0)", "frac=np.random.seed(1)", id="seed call"),
        pytest.param("rng=default_rng(0)", "rng=default_rng(1)", id="generator"),
    ],
)
def test_data_drawn_with_another_seed_follows_from_the_seed(old, new):
    drawn = f"df.sample(100, {old})"
    found = pair(
        new={"digest": "9"},
        old_sources=edited(3, ("df[df.age > 18]", drawn)),
        new_sources=edited(3, ("df[df.age > 18]", drawn.replace(old, new))),
    )
    assert [(cause.kind, cause.follows) for cause in found.causes] == [
        ("seed", ""),
        ("data", "seed"),
    ]
    assert found.causes[0].text.endswith("0 → 1 in cell 3")


def test_a_seed_of_the_model_alone_comes_before_the_cell_that_says_it():
    seeded = edited(FIT, ("C=1.0", "C=1.0, random_state=0"))
    found = pair(
        {"params": {"C": 1.0, "random_state": 0}},
        {"params": {"C": 1.0, "random_state": 1}},
        old_sources=seeded,
        new_sources=[source.replace("random_state=0", "random_state=1") for source in seeded],
    )
    assert [(cause.kind, cause.text) for cause in found.causes] == [
        ("seed", "random_state 0 → 1"),
        ("code", "1 of 6 cells: cell 5, 1 line (nothing but random_state)"),
    ]


def test_a_parameter_of_the_model_does_not_explain_other_data():
    """All in one cell: what the model was given is no reason for the data to be another."""
    source = "df = pd.read_csv('d.csv')\nclf = LogisticRegression(C=1.0).fit(df, df.y)"
    found = pair(
        {"data": (use(execution="a1"),)},
        {"data": (use(digest="9", execution="b1"),), "params": {"C": 0.01}},
        old_sources=[source],
        new_sources=[source.replace("1.0", "0.01")],
    )
    assert kinds(found) == ["data", "params", "code"]


def test_a_parameter_of_the_notebook_explains_data_that_depends_on_it():
    sources = ["n = 100", *SOURCES[:2], "df = df.head(n)", *SOURCES[3:]]
    data = [(use(digest=d, execution=f"{p}6"),) for p, d in (("a", "1"), ("b", "9"))]
    found = pair(
        {"data": data[0], "params": {"n": Param(100)}},
        {"data": data[1], "params": {"n": Param(200)}},
        old_sources=sources,
        new_sources=["n = 200", *sources[1:]],
    )
    assert [(cause.kind, cause.follows) for cause in found.causes] == [
        ("params", ""),
        ("data", "params"),
        ("code", "params"),
    ]


def test_the_second_constant_with_the_same_change_is_code():
    sources = edited(FIT, ("C=1.0", "C=1.0, tol=1.0"))
    found = pair(
        new={"params": {"C": 0.01}},
        old_sources=sources,
        new_sources=[source.replace("1.0", "0.01") for source in sources],
    )
    code = next(cause for cause in found.causes if cause.kind == "code")
    assert not code.follows
    assert "nothing but" not in code.text


def test_a_package_that_was_imported_comes_before_the_seed_and_others_after():
    found = pair(
        {"params": {"random_state": 0}},
        {"params": {"random_state": 1}},
        environment_a=environment(cpus=2),
        environment_b=environment({"pandas": "3.1.1", "zipp": "3.2"}, cpus=4),
    )
    assert [(cause.kind, cause.text) for cause in found.causes] == [
        ("packages", "pandas 2.2.3 → 3.1.1"),
        ("seed", "random_state 0 → 1"),
        ("hardware", "cpus 2 → 4"),
        ("packages", "zipp 3.1 → 3.2 (not known to be imported)"),
    ]


def test_what_was_seen_to_be_imported_counts_rather_than_what_the_cells_say():
    old, new = (
        environment({"pandas": "2.2.3", "zipp": version}, imported={"zipp": version})
        for version in ("3.1", "3.2")
    )
    found = pair(environment_a=old, environment_b=new)
    assert [package.is_imported for package in found.environment.packages] == [True]


def test_a_run_that_failed_says_so_first():
    error = {"type": "ValueError", "message": "no rows"}
    found = pair(new={"status": "failed", "error": error, "digest": "9"})
    assert kinds(found) == ["status", "data"]
    assert "e21b is failed (ValueError: no rows)" in found.causes[0].text


def test_uncommitted_modules_come_after_the_cells_and_before_packages():
    module = {"path": "features.py", "state": "modified", "digest": "sha256:1"}
    found = pair(
        {"git": {"commit": "a" * 40, "modules": [module]}},
        {"git": {"commit": "a" * 40, "modules": [{**module, "digest": "sha256:2"}]}},
        new_sources=edited(6, ("score", "my_score")),
        environment_a=environment(),
        environment_b=environment({"pandas": "3.1.1", "zipp": "3.1"}),
    )
    assert kinds(found) == ["code", "modules", "packages"]
    assert "features.py" in found.causes[1].text


# --- never a wrong "same" ---------------------------------------------------------------------


def test_data_that_is_not_exact_is_not_shown_different_and_never_same():
    sampled = {"assurance": "sampled", "execution": "a5"}
    found = pair({"data": (use(**sampled),)}, {"data": (use(**sampled),)})
    assert found.aspects["data"].kind == "unknown"
    assert found.aspects["data"].text == "not shown different"
    assert found.data[0].change == "not shown different"


def test_where_nothing_differs_but_the_metric_the_missing_seed_is_named():
    params = {"random_state": None}
    found = pair({"params": params}, {"params": params, "metrics": {"auc": 0.8}})
    assert kinds(found) == ["random"]
    assert found.is_different


def test_what_was_not_recorded_is_unknown():
    found = diff_runs(run(OLD), run(NEW))
    assert {found.aspects[name].kind for name in ("data", "code", "packages", "hardware")} == {
        "unknown"
    }
    assert not found.is_different


def test_a_formatted_cell_is_no_difference():
    found = pair(new_sources=edited(FIT, ("C=1.0", " C = 1.0 ")))
    assert found.causes == ()
    assert found.aspects["code"].text == "same (6 cells, 1 reformatted)"


def test_a_metric_that_is_no_number_has_no_difference():
    found = pair(new={"metrics": {"auc": float("nan")}})
    assert found.metrics[0].delta is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_full_fingerprints_say_how_the_data_differs():
    import pandas as pd

    before = pd.DataFrame({"age": [1.0, 2.0, 3.0], "sex": [0, 1, 0]})
    after = before.assign(age=[1.0, 2.0, 9.0])
    prints = [fingerprint(frame) for frame in (before, after)]
    uses = [
        use(digest=found.digest.removeprefix("nbfp1:"), execution=f"{side}5", rows=3)
        for found, side in zip(prints, "ab", strict=True)
    ]
    found = pair(
        {"data": (uses[0],)},
        {"data": (uses[1],)},
        fingerprints={each.digest: each for each in prints},
    )
    column = found.to_dict()["data"][0]["columns"][0]
    assert (column["name"], column["change"]) == ("age", "changed")
    assert column["statistics"]["after"]["maximum"] == 9.0


def test_without_chunks_more_rows_are_not_said_to_be_appended():
    found = pair({"data": (use(rows=100_000),)}, {"data": (use(digest="9", rows=200_000),)})
    assert found.data[0].change not in {"rows appended", "same"}


# --- the document -----------------------------------------------------------------------------


def test_the_document_has_the_keys_of_the_design():
    document = pair(new={"params": {"C": 0.01}}).to_dict()
    assert list(document)[:6] == ["params", "code", "data", "packages", "hardware", "causes"]
    assert document["params"] == [{"name": "C", "change": "changed", "old": 1.0, "new": 0.01}]
    assert document["causes"] == [{"kind": "params", "text": "C 1.0 → 0.01", "follows": None}]


# --- cells ------------------------------------------------------------------------------------


def changes(old, new, **given):
    pairs = pair_cells(executed(*old, prefix="a", **given), executed(*new, prefix="b", **given))
    return [(one.place, one.change) for one in pairs if one.change != "same"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(["x = 1"], ["x = 1", "y = 2"], [("cell 2", "added")], id="added"),
        pytest.param(["x = 1", "y = 2"], ["x = 1"], [("cell 2", "removed")], id="removed"),
        pytest.param(["x = f(1)"], ["x = f(2)"], [("cell 1", "changed")], id="edited"),
        pytest.param(["x = 1"], ["x=1  # one"], [("cell 1", "reformatted")], id="formatted"),
        pytest.param(["a = 1", "b = 2"], ["b = 2", "a = 1"], [], id="moved"),
        pytest.param(["f()"], ["f()", "f()"], [("cell 2", "repeated")], id="once more"),
        pytest.param(["x = 1"], ["%mlops_diff a b", "x = 1"], [], id="looking is no part"),
        pytest.param(["x = 1"], ["x = 1", "mn.diff('a', 'b')"], [], id="nor by a function"),
        pytest.param(
            ["load()", "model.fit(a, b)"],
            ["model.fit(a, b, c)", "plot()"],
            [("cell 1", "removed"), ("cell 1", "changed"), ("cell 2", "added")],
            id="by what is alike",
        ),
    ],
)
def test_cells_are_paired_by_what_they_do(old, new, expected):
    assert changes(old, new) == expected


def test_a_cell_keeps_its_identity_however_it_was_edited():
    given = {"cells": ["c1"]}
    assert changes(["x = 1"], ["import this"], **given) == [("cell 1", "changed")]


def test_code_that_moved_to_another_cell_is_the_same():
    old = executed("x = load()", "y = 2", cells=["c1", "c2"], prefix="a")
    new = executed("y = 2", "x = load()", cells=["c1", "c2"], prefix="b")
    assert {one.change for one in pair_cells(old, new)} == {"same"}


def test_a_changed_order_of_cells_is_a_cause_of_its_own():
    found = pair(old_sources=["a = 1", "b = a", "c = 3"], new_sources=["c = 3", "a = 1", "b = a"])
    assert kinds(found) == ["order"]


def test_many_cells_without_anything_in_common_are_paired_in_no_time_worth_mention():
    old = [f"result_{i} = compute_{i}({i}, {i * 7})\nplot_{i}(result_{i})" for i in range(300)]
    new = [f"value_{i} = other_{i}({i * 3})\nshow_{i}(value_{i}, {i})" for i in range(300)]
    found = pair_cells(executed(*old, prefix="a"), executed(*new, prefix="b"))
    assert sum(one.new is not None for one in found) == 300
    assert sum(one.old is not None for one in found) == 300


# --- lines and constants ----------------------------------------------------------------------

LINES = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=30).map("\n".join)


@given(LINES, LINES)
def test_hunks_show_each_line_as_it_stands_and_exactly_what_differs(old, new):
    hunks = hunks_of(old, new)
    assert bool(hunks) == (old != new)
    before, after = old.split("\n"), new.split("\n")
    shown_old, shown_new = set(), set()
    for line in (line for hunk in hunks for line in hunk.lines):
        if line.old_number is not None:
            assert before[line.old_number - 1] == line.old
            shown_old.add(line.old_number)
        if line.new_number is not None:
            assert after[line.new_number - 1] == line.new
            shown_new.add(line.new_number)
    # What is not shown is the same on both sides, in the same order.
    rest_old = [text for i, text in enumerate(before, 1) if i not in shown_old and old]
    rest_new = [text for i, text in enumerate(after, 1) if i not in shown_new and new]
    assert rest_old == rest_new


def test_sources_of_many_thousand_lines_are_compared_too():
    old = "\n".join(f"a{i}" for i in range(20_000))
    new = "\n".join(f"b{i}" for i in range(20_000))
    assert sum(len(hunk.lines) for hunk in hunks_of(old, new)) == 20_000


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("f(C=1)", "f(C=2)", [("C", 1, 2)], id="keyword"),
        pytest.param("f(C=-1)", "f(C=2)", [("C", -1, 2)], id="sign"),
        pytest.param("SEED = 0", "SEED = 1", [("SEED", 0, 1)], id="assigned"),
        pytest.param("seed(0)", "seed(1)", [("seed", 0, 1)], id="argument"),
        pytest.param("x = 1", "x = True", [("x", 1, True)], id="type"),
        pytest.param("f(a)", "f(b)", None, id="name"),
        pytest.param("f(1)", "f(1, 2)", None, id="more"),
        pytest.param("f(", "f(1)", None, id="no Python"),
        pytest.param("x = 1", "x = 1", [], id="same"),
    ],
)
def test_constants_that_differ_are_named_by_what_they_are_for(old, new, expected):
    found = literal_changes(old, new)
    told = None if found is None else [(one.name, one.old, one.new) for one in found]
    assert told == expected


def test_a_run_against_itself_is_the_same():
    one = run(data=(use(execution="5"),))
    cells = executed(*SOURCES)
    found = diff_runs(one, replace(one), executions_a=cells, executions_b=cells)
    assert not found.is_different
    assert found.labels[0] == found.labels[1]


def test_a_cell_that_no_result_depends_on_is_no_likely_cause():
    before = executed(*SOURCES, "df.plot()", prefix="a")
    after = executed(*SOURCES, "df.plot(x='age')", prefix="b")
    relevant = {e.id for e in (*before[:6], *after[:6])}
    found = pair(
        {"params": {"random_state": 0}},
        {"params": {"random_state": 1}},
        old_executions=before,
        new_executions=after,
        relevant=relevant,
    )
    assert [(cause.kind, cause.text) for cause in found.causes] == [
        ("seed", "random_state 0 → 1"),
        ("code", "cell 7, 1 line (no result depends on it)"),
    ]
    assert found.is_different


def test_parameters_that_are_lists_are_named_too():
    old, new = (
        {"estimator": Param(name), "steps": Param(steps)}
        for name, steps in (("Pipeline", [["scale", "S"]]), ("SVC", [["scale", "T"]]))
    )
    found = pair(old={"params": old}, new={"params": new})
    (cause,) = [cause for cause in found.causes if cause.kind == "params"]
    assert cause.text.startswith("estimator Pipeline → SVC, steps ")


def test_a_module_that_one_run_had_not_committed_is_only_said_to_differ_where_that_is_known():
    def with_git(id_, commit, *modules):
        found = [
            {"path": path, "digest": digest, "code_digest": code} for path, digest, code in modules
        ]
        return Run(id_, "x", "finished", "cell", NOON, git={"commit": commit, "modules": found})

    def said(old, new):
        return [cause.text for cause in diff_runs(old, new).causes if cause.kind == "modules"]

    clean, edited_module = with_git("a" * 16, "1"), with_git("b" * 16, "1", ("m.py", "d", "c"))
    assert said(clean, edited_module) == ["imported, with other content, not committed: m.py"]
    committed = with_git("c" * 16, "2")
    assert said(edited_module, committed) == ["imported, not committed in bbbb only: m.py"]
    laid_out = with_git("d" * 16, "1", ("m.py", "other bytes", "c"))
    assert said(edited_module, laid_out) == []
