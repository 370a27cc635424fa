"""The tags of a cell, and the line that stands for them."""

import pytest

from mlops_nb.pipeline.headings import last_heading
from mlops_nb.pipeline.order import after_problems
from mlops_nb.pipeline.step_lines import read_step_line
from mlops_nb.pipeline.tags import is_step_name, read_tags, slug_of


@pytest.mark.parametrize("head", ["step", "block"])
def test_a_step_has_the_same_name_in_our_words_and_in_kales(head):
    assert read_tags([f"{head}:load_data"]).step == "load_data"


@pytest.mark.parametrize("tag", ["step:", "block:"])
def test_an_empty_name_is_the_step_above(tag):
    found = read_tags([tag])
    assert (found.step, found.problems) == ("", ())


@pytest.mark.parametrize(
    ("tag", "role"),
    [
        ("parameters", "parameters"),
        ("pipeline-parameters", "parameters"),
        ("injected-parameters", "injected"),
        ("imports", "prelude"),
        ("functions", "prelude"),
        ("skip", "skip"),
        ("skip-execution", "skip"),
        ("pipeline-metrics", "metrics"),
    ],
)
def test_a_cell_has_the_role_that_its_tag_says(tag, role):
    assert read_tags([tag]).role == role


@pytest.mark.parametrize(
    ("tags", "options"),
    [
        (["retry:3"], {"retry": 3}),
        (["timeout:90"], {"timeout_s": 90.0}),
        (["timeout:1.5"], {"timeout_s": 1.5}),
        (["timeout:1h30m"], {"timeout_s": 5400.0}),
        (["when:metrics.auc > live.auc"], {"when": "metrics.auc > live.auc"}),
        (["when:metrics.auc>0.9"], {"when": "metrics.auc>0.9"}),
        (["foreach:seeds"], {"foreach": "seeds"}),
        (["join"], {"is_join": True}),
        (["nocache"], {"is_cached": False}),
        (["cache:disabled"], {"is_cached": False}),
        (["cache:enabled"], {"is_cached": True}),
        (["nocache", "cache:disabled"], {"is_cached": False}),
        (["output:model", "output:auc,f1"], {"outputs": ("model", "auc", "f1")}),
        (["gate", "deploy"], {"is_gate": True, "is_deploy": True}),
        (["secret:token"], {"secrets": ("token",)}),
        (["report:drift"], {"reports": ("drift",)}),
        (["kernel:python3"], {"kernel": "python3"}),
        (["image:org/name:1.2"], {"image": "org/name:1.2"}),
        (["limit:nvidia.com/gpu:2"], {"limits": {"nvidia.com/gpu": "2"}}),
        (["label:team:ds", "label:tier:1"], {"labels": {"team": "ds", "tier": "1"}}),
        (["annotation:a/b:x:y"], {"annotations": {"a/b": "x:y"}}),
    ],
)
def test_an_option_is_what_the_tag_says(tags, options):
    found = read_tags(["step:train", *tags])
    assert dict(found.options) == options
    assert found.problems == ()


def test_steps_before_are_listed_in_the_order_of_the_tags_each_once():
    assert read_tags(["prev:b", "step:c", "prev:a", "prev:b"]).after == ("b", "a")


def test_kales_own_cells_are_no_steps_to_come_after():
    assert read_tags(["step:a", "prev:imports"]).after == ()


@pytest.mark.parametrize(
    "tag",
    [
        "hide-input",
        "remove-cell",
        "raises-exception",
        "nbval-skip",
        "NBVAL_IGNORE_OUTPUT",
        "skip-execution",
        "slideshow:fragment",
        "solution",
        "active-ipynb",
        "full-width",
        "tests",
        "",
    ],
)
def test_tags_of_other_tools_are_neither_an_error_nor_worth_a_warning(tag):
    found = read_tags(["step:a", tag])
    assert (found.problems, found.warnings) == ((), ())


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("stpe:train", "step:train"),
        ("blok:train", "block:train"),
        ("step train", "step:train"),
        ("Step:train", "step:train"),
        ("step=train", "step:train"),
        ("perv:load", "prev:load"),
        ("prevs:load", "prev:load"),
        ("rety:2", "retry:2"),
        ("time-out:2", "timeout:2"),
        ("import", "imports"),
        ("function", "functions"),
        ("parameter", "parameters"),
        ("Parameters", "parameters"),
        ("pipeline-paramters", "pipeline-parameters"),
        ("no_cache", "nocache"),
    ],
)
def test_a_tag_that_is_nearly_ours_is_warned_of_with_what_was_meant(tag, meant):
    (warning,) = read_tags([tag]).warnings
    assert f"did you mean {meant}?" in warning


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        (["retry:x"], "retry:x is no whole number"),
        (["retry:-1"], "retry:-1 is no whole number"),
        (["retry:1000"], "no whole number from 0 to 100"),
        (["retry:٣"], "no whole number"),
        (["timeout:soon"], "timeout:soon is no number of seconds"),
        (["timeout:0"], "timeout:0 is no number of seconds"),
        (["timeout:nan"], "timeout:nan is no number of seconds"),
        (["timeout:1e9"], "no number of seconds"),
        (["when:metrics.auc >"], "is no condition (The condition ends too early"),
        (["when:__import__('os')"], "is no condition"),
        (["when:"], "is no condition"),
        (["foreach:a b"], "names no variable"),
        (["output:1x"], "names no variable"),
        (["cache:maybe"], "neither cache:enabled nor cache:disabled"),
        (["limit:gpu"], "is not of the form limit:KEY:VALUE"),
        (["label:a:1", "label:a:2"], "contradicts label:a:1"),
        (["retry:1", "retry:2"], "retry:2 contradicts retry:1"),
        (["nocache", "cache:enabled"], "contradicts nocache"),
        (["prev:"], "names no step"),
        (["prev:a b"], "prev:a b is no legal name"),
        (["kernel:"], "says nothing after the colon"),
    ],
)
def test_what_cannot_be_understood_is_said_with_the_tag(tags, problem):
    found = read_tags(["step:train", *tags])
    assert any(problem in said for said in found.problems), found.problems


def test_all_that_is_wrong_is_said_at_once():
    assert len(read_tags(["step:a b", "retry:x", "timeout:x", "foreach:-"]).problems) == 4


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        (["step:a", "step:b"], "tagged as two steps, a and b"),
        (["imports", "step:a"], "tagged both imports and step:a"),
        (["imports", "parameters"], "tagged both imports and parameters"),
    ],
)
def test_a_cell_cannot_be_two_things(tags, problem):
    assert problem in " ".join(read_tags(tags).problems)


def test_skip_wins_over_the_step_that_a_cell_is_tagged_with():
    found = read_tags(["step:a", "skip", "prev:b"])
    assert (found.role, found.problems) == ("skip", ())


@pytest.mark.parametrize(
    "name", ["a", "load_data", "Load-2", "1_load", "_x", "prüfung", "数据", "a" * 60]
)
def test_a_legal_name_is_letters_digits_underscores_and_dashes(name):
    assert is_step_name(name)


@pytest.mark.parametrize(
    "name", ["", "-x", "a b", "a/b", "a.b", "a[1]", "a\n", 'a"', "a" * 61, "a:b"]
)
def test_other_names_are_not_legal(name):
    assert not is_step_name(name)


def test_an_illegal_name_is_refused_with_a_legal_one():
    (problem,) = read_tags(["step:Load the data!"]).problems
    assert "as load_the_data" in problem


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Load the data", "load_the_data"),
        ("2.1 Train & test", "train_test"),
        ("Ünï", "ünï"),
        ("2024", "2024"),
        ("—", ""),
        ("x" * 200, "x" * 60),
    ],
)
def test_a_heading_becomes_a_legal_name_or_none(text, slug):
    assert slug_of(text) == slug
    assert not slug or is_step_name(slug)


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        ("%%mlops_step train\nfit()", ("step:train",)),
        ("%mlops_step train\nfit()", ("step:train",)),
        ("\n# fit\n%mlops_step train\nfit()", ("step:train",)),
        ("%mlops_step\nfit()", ("step:",)),
        ("%%mlops_step train --after a --after b", ("step:train", "prev:a", "prev:b")),
        ("%%mlops_step train --after a,b c", ("step:train", "prev:a", "prev:b", "prev:c")),
        ("%%mlops_step t --retry 2 --timeout=60", ("step:t", "retry:2", "timeout:60")),
        (
            "%%mlops_step t --when metrics.auc > live.auc --join",
            ("step:t", "when:metrics.auc > live.auc", "join"),
        ),
        ("%%mlops_step t --when \"params.kind = 'rf'\"", ("step:t", "when:params.kind = 'rf'")),
        ("%%mlops_step t --when params.kind = 'rf'", ("step:t", "when:params.kind = 'rf'")),
        ("%%mlops_step t --limit gpu=2 --no-cache", ("step:t", "limit:gpu:2", "nocache")),
    ],
)
def test_a_step_line_says_the_same_as_tags(source, tags):
    found = read_step_line(source)
    assert found is not None
    assert (found.tags, found.problems) == (tags, ())


@pytest.mark.parametrize(
    "source",
    [
        "fit()",
        "# %mlops_step train",
        "fit()\n%mlops_step train",
        "%mlops_steps train",
        "'''\n%mlops_step train\n'''",
        "",
    ],
)
def test_other_cells_have_no_step_line(source):
    assert read_step_line(source) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("train --rety 2", "no option --rety; did you mean --retry?"),
        ("train --after", "--after needs a value"),
        ("train --join now", "--join takes no value"),
        ("train test", "takes one name, and has train test"),
    ],
)
def test_what_a_step_line_cannot_mean_is_said(line, problem):
    found = read_step_line(f"%%mlops_step {line}\nfit()")
    assert found is not None
    assert problem in " ".join(found.problems)


@pytest.mark.parametrize(
    ("source", "heading"),
    [
        ("## Train", "Train"),
        ("# Title\n\n## Train the *model* ##", "Train the model"),
        ("Train\n---", "Train"),
        ("## [Train](x.md) {#t}", "Train"),
        ("### Deeper", None),
        ("#### ## x", None),
        ("```python\n## a comment\n```", None),
        ("~~~\n## a comment\n~~~\n## Train", "Train"),
        ("## One\n## Two", "Two"),
        ("##", None),
        ("text\n\n---\n", None),
    ],
)
def test_the_last_heading_of_the_second_level_counts(source, heading):
    assert last_heading(source) == heading


def test_a_circle_is_told_once_as_the_steps_would_run():
    problems = after_problems(
        {"a": ("c",), "b": ("a",), "c": ("b",), "d": ("a",)}, {"a": 1, "b": 2, "c": 3, "d": 4}
    )
    way = "a (cell 1) → b (cell 2) → c (cell 3) → a (cell 1)"
    assert problems == [f"These steps wait for each other: {way}. Take one prev: away."]


def test_two_circles_are_both_told():
    after = {"a": ("b",), "b": ("a",), "c": ("d",), "d": ("c",)}
    assert len(after_problems(after, dict.fromkeys(after, 0))) == 2


def test_a_step_after_itself_and_one_after_nothing_are_told():
    problems = after_problems({"load": ("load",), "train": ("laod",)}, {"load": 1, "train": 2})
    assert "comes after itself" in problems[0]
    assert "Did you mean load?" in problems[1]


def test_a_long_way_is_no_circle():
    after = {"s0": (), **{f"s{i}": (f"s{i - 1}",) for i in range(1, 3000)}}
    assert after_problems(after, dict.fromkeys(after, 0)) == []
