"""Which steps may run, and what an end means for those below: states as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.errors.pipelines import StepInputsMissing, UnknownStep
from mlops_nb.model.pipelines import (
    CachedStep,
    Edge,
    Packed,
    PackedFile,
    Pipeline,
    Reason,
    Step,
    StepOptions,
)
from mlops_nb.pipeline.running.planning import (
    Choice,
    above,
    below,
    borrowed_steps,
    chosen_steps,
    new_board,
)
from mlops_nb.pipeline.running.tasks import Piece, is_state, part_name, task_for, units_for


def pipeline(*edges: str, names: str = "abcd", inputs=None, options=None) -> Pipeline:
    """Make a pipeline of edges as ``"a>b"`` (takes a value) or ``"a-b"`` (only comes after)."""
    found = []
    takes: dict[str, dict[str, str]] = {name: {} for name in names}
    for edge in edges:
        source, sign, target = edge
        kind = "static" if sign == ">" else "prev"
        found.append(Edge(source, target, (Reason(kind, (source,)),)))
        if sign == ">":
            takes[target][source] = source
    steps = tuple(
        Step(
            name,
            inputs={**takes[name], **(inputs or {}).get(name, {})},
            outputs=((name,),),
            options=(options or {}).get(name, StepOptions()),
        )
        for name in names
    )
    return Pipeline("p", steps=steps, edges=tuple(found))


DIAMOND = pipeline("a>b", "a>c", "b>d", "c>d")


def board_after(plan: Pipeline, **states: str):
    board = new_board(plan)
    for name, state in states.items():
        board = board.with_state(name, state)
    return board


def test_a_step_is_ready_when_all_above_it_are_done():
    assert new_board(DIAMOND).ready == ("a",)
    assert board_after(DIAMOND, a="done").ready == ("b", "c")
    assert board_after(DIAMOND, a="cached", b="done").ready == ("c",)
    assert board_after(DIAMOND, a="done", b="cached", c="done").ready == ("d",)


def test_a_step_that_runs_is_not_ready_and_frees_nobody():
    assert board_after(DIAMOND, a="running").ready == ()
    assert not board_after(DIAMOND, a="running").is_settled


def test_everything_below_a_failure_is_in_vain_and_the_rest_goes_on():
    board = board_after(pipeline("a>b", "b>c", "a-d"), a="done", b="failed")
    assert board.states == {"a": "done", "b": "failed", "c": "upstream_failed", "d": "pending"}
    assert board.ready == ("d",)
    assert board.has_failed
    assert board.texts["c"] == "b failed"


def test_a_failure_reaches_steps_that_only_come_after_it():
    board = board_after(pipeline("a-b", "b-c", names="abc"), a="failed")
    assert board.states == {"a": "failed", "b": "upstream_failed", "c": "upstream_failed"}


def test_a_skipped_step_keeps_back_only_those_that_need_its_values():
    board = board_after(pipeline("a>b", "b>c", "a-d"), a="skipped")
    assert board.states == {"a": "skipped", "b": "skipped", "c": "skipped", "d": "pending"}
    assert board.ready == ("d",)
    assert not board.has_failed
    assert "a" in board.texts["b"]


def test_a_step_below_both_a_failed_and_a_skipped_one_is_in_vain():
    board = board_after(DIAMOND, a="done", b="skipped", c="failed")
    assert board.states["d"] in {"skipped", "upstream_failed"}
    assert board.is_settled


def test_a_file_edge_is_a_need():
    edge = Edge("a", "b", (Reason("file", ("data.csv",)), Reason("prev")))
    plan = Pipeline("p", steps=(Step("a"), Step("b")), edges=(edge,))
    assert board_after(plan, a="skipped").states["b"] == "skipped"


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        pytest.param(Choice(), "abcd", id="all"),
        pytest.param(Choice(first="b"), "bd", id="from"),
        pytest.param(Choice(until="b"), "ab", id="until"),
        pytest.param(Choice(first="b", until="b"), "b", id="from and until"),
        pytest.param(Choice(only=("c",)), "c", id="only"),
        pytest.param(Choice(only=("a", "d")), "ad", id="two only"),
        pytest.param(Choice(first="a", only=("d",)), "d", id="from and only"),
    ],
)
def test_the_chosen_steps(choice, chosen):
    assert chosen_steps(DIAMOND, choice) == frozenset(chosen)


def test_an_unknown_step_is_refused_with_those_that_there_are():
    with pytest.raises(UnknownStep, match=r'no step "e".*It has: a, b, c, d'):
        chosen_steps(DIAMOND, Choice(until="e"))
    with pytest.raises(UnknownStep):
        chosen_steps(DIAMOND, Choice(force=("e",)))
    assert chosen_steps(DIAMOND, Choice(force=("*",))) == frozenset("abcd")


def test_only_results_that_are_needed_are_borrowed():
    assert borrowed_steps(DIAMOND, {"d"}) == ("b", "c")
    assert borrowed_steps(DIAMOND, {"b", "d"}) == ("a", "c")
    assert borrowed_steps(pipeline("a-b", names="ab"), {"b"}) == ()


def test_above_and_below_go_all_the_way():
    assert above(DIAMOND, ["d"]) == ("a", "b", "c")
    assert below(DIAMOND, ["a"]) == ("b", "c", "d")


@given(
    st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda e: e[0] < e[1])),
    st.lists(st.sampled_from(["done", "cached", "failed", "skipped"]), min_size=8, max_size=8),
)
def test_every_run_comes_to_an_end_with_every_step_in_a_last_state(edges, ends):
    names = "abcdefgh"
    plan = pipeline(*(f"{names[a]}>{names[b]}" for a, b in sorted(edges)), names=names)
    board = new_board(plan)
    for _ in names:
        for name in board.ready:
            assert all(
                board.states[one] in {"done", "cached"}
                for one in plan.steps[names.index(name)].inputs.values()
            )
            board = board.with_state(name, ends[names.index(name)])
    assert board.is_settled
    assert "pending" not in board.states.values()
    assert board.has_failed == ("failed" in board.states.values())


# --- what a step takes --------------------------------------------------------------------------


def unit(*names: str, digest: str = "1") -> Packed:
    return Packed(names, "json", (PackedFile("value.json", f"sha256:{digest}", 1),), digest)


def result(step: str, *units: Packed) -> CachedStep:
    return CachedStep(f"key-{step}", "p", step, f"run-{step}", 0, {}, units=units)


FANNED = {"b": StepOptions(foreach="seeds"), "c": StepOptions(foreach="seeds")}


def test_a_name_comes_from_the_unit_that_holds_it(tmp_path):
    plan = pipeline(inputs={"b": {"x": "a", "y": "a"}}, names="ab")
    results = {"a": (result("a", unit("x", "y"), unit("z", digest="2")),)}
    found = units_for(plan, plan.steps[1], results)
    task = task_for(plan, plan.steps[1], found, tmp_path)
    assert found == {"x": (unit("x", "y"),), "y": (unit("x", "y"),)}
    assert task.inputs["x"] == task.inputs["y"]
    assert len(task.units) == 1


def test_a_piece_takes_from_the_same_piece_and_others_take_all():
    plan = pipeline("b>c", "b>d", names="bcd", options=FANNED)
    pieces = tuple(result(f"b[{n}]", unit("b", digest=str(n))) for n in range(3))
    own = units_for(plan, plan.steps[1], {"b": pieces}, Piece("seeds", 1, 3))
    joined = units_for(plan, plan.steps[2], {"b": pieces})
    assert own == {"b": (unit("b", digest="1"),)}
    assert joined == {"b": tuple(unit("b", digest=str(n)) for n in range(3))}


def test_equal_pieces_lie_apart_so_that_they_do_not_become_one_object(tmp_path):
    plan = pipeline("b>d", names="bd", options=FANNED)
    pieces = tuple(result(f"b[{n}]", unit("b")) for n in range(2))
    task = task_for(plan, plan.steps[1], units_for(plan, plan.steps[1], {"b": pieces}), tmp_path)
    assert len(set(task.inputs["b"])) == 2


def test_a_name_that_was_not_given_is_an_error():
    plan = pipeline("a>b", names="ab")
    with pytest.raises(StepInputsMissing, match="step a"):
        units_for(plan, plan.steps[1], {"a": (result("a", unit("other")),)})


def test_state_goes_beside_the_values(tmp_path):
    step = Step(
        "b",
        inputs={"x": "a", "<rng:numpy>": "a"},
        outputs=(("y",), ("<rng:numpy>",)),
        options=StepOptions(secrets=("token",)),
    )
    plan = Pipeline("p", steps=(Step("a"), step))
    results = {"a": (result("a", unit("x"), unit("<rng:numpy>", digest="2")),)}
    task = task_for(plan, step, units_for(plan, step, results), tmp_path, piece=Piece("s", 0, 2))
    assert task.state_in == ("<rng:numpy>",)
    assert task.state_out == ("<rng:numpy>",)
    assert task.outputs == (("y",),)
    assert task.secrets == ("token",)
    assert task.piece == {"name": "s", "index": 0, "count": 2}
    assert set(task.inputs) == {"x", "<rng:numpy>"}


def test_pieces_are_named_by_their_number():
    assert part_name("train", Piece("seed", 2, 3)) == "train[2]"
    assert is_state("<cwd>")
    assert not is_state("cwd")
