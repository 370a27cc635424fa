"""Notebooks cut into steps by what their author wrote."""

import json
import pickle

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from mlops_nb.errors import BadNotebook, BadValue
from mlops_nb.errors.pipelines import BadPipeline
from mlops_nb.notebook import Cell, Notebook
from mlops_nb.pipeline.drafts import draft_of, has_steps, read_source, require_steps

PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture
def read(tmp_path):
    """Write cells as a notebook, and read it back as a pipeline would."""

    def read(*cells, metadata=None, name="train.ipynb"):
        notebook = new_notebook(metadata=PYTHON | (metadata or {}))
        notebook.cells = list(cells)
        path = tmp_path / name
        nbformat.write(notebook, path)
        return read_source(path)

    return read


def code(source="x = 1", *tags, **metadata):
    return new_code_cell(source, metadata={"tags": list(tags), **metadata})


def problems_of(notebook, **options):
    with pytest.raises(BadPipeline) as refused:
        draft_of(notebook, **options)
    return refused.value.problems


# --- cells into steps ------------------------------------------------------------------------


def test_each_tagged_cell_begins_a_step_and_untagged_ones_join_the_step_above(read):
    draft = draft_of(
        read(
            code("import pandas"),
            code("df = 1", "step:load"),
            code("df += 1"),
            new_markdown_cell("text"),
            code("m = df", "step:train", "prev:load"),
        )
    )
    assert [(s.name, s.cells, s.after) for s in draft.steps] == [
        ("load", (1, 2), ()),
        ("train", (4,), ("load",)),
    ]
    assert draft.prelude == (0,)
    assert (draft.name, draft.kernel) == ("train", "python3")


def test_imports_and_functions_are_prelude_wherever_they_stand(read):
    draft = draft_of(
        read(
            code("import a", "imports"),
            code("x = 1", "step:load"),
            code("def f(): ...", "functions"),
            code("y = 1"),
            code("z = 1", "step:train"),
        )
    )
    assert draft.prelude == (0, 2)
    assert [s.cells for s in draft.steps] == [(1, 3), (4,)]


@pytest.mark.parametrize("tag", ["step:", "block:"])
def test_an_empty_name_goes_on_with_the_step_above(read, tag):
    draft = draft_of(read(code("x = 1", "step:load"), code("y = 1", tag, "retry:2")))
    (step,) = draft.steps
    assert (step.cells, step.options.retry) == ((0, 1), 2)


def test_steps_need_not_come_in_the_order_of_their_edges(read):
    draft = draft_of(read(code("x", "step:a", "prev:b"), code("y", "step:b")))
    assert draft.steps[0].after == ("b",)


def test_parameters_metrics_and_skipped_cells_belong_to_no_step(read):
    draft = draft_of(
        read(
            code("C = 1.0  # strength", "parameters"),
            code("C = 2.0", "injected-parameters"),
            code("x", "step:a"),
            code("y", "skip"),
            code("z"),
            code("print(auc)", "pipeline-metrics"),
            new_raw_cell("raw"),
        )
    )
    assert draft.parameter_cells == (0,)
    assert draft.skipped == (1, 3)
    assert draft.metric_cells == (5,)
    assert draft.steps[0].cells == (2, 4)
    (parameter,) = draft.parameters
    assert (parameter.name, parameter.type, parameter.default) == ("C", "float", 1.0)
    assert (parameter.written, parameter.comment) == ("1.0", "strength")


def test_values_of_an_earlier_run_are_left_out_with_a_warning(read):
    draft = draft_of(read(code("C = 2", "injected-parameters"), code("x", "step:a")))
    assert any("Cell 0" in w and "earlier run" in w for w in draft.warnings)


@pytest.mark.parametrize("line", ["#| eval: false", "#|eval:false", "# | eval: False"])
def test_a_cell_that_says_it_is_not_to_run_is_skipped_with_a_warning(read, line):
    draft = draft_of(read(code("x", "step:a"), code(f"#| hide\n{line}\nboom()")))
    assert draft.skipped == (1,)
    assert any("Cell 1 says eval: false" in w for w in draft.warnings)


def test_such_a_comment_further_down_is_a_comment(read):
    assert draft_of(read(code("x = 1\n#| eval: false", "step:a"))).skipped == ()


def test_blank_cells_before_the_first_step_are_no_prelude(read):
    draft = draft_of(read(code("  \n"), code("x", "step:a"), code("")))
    assert (draft.prelude, draft.skipped, draft.steps[0].cells) == ((), (0,), (1, 2))


def test_options_of_all_cells_of_a_step_come_together(read):
    draft = draft_of(
        read(
            code("x", "step:a", "output:x", "limit:cpu:1"),
            code("y", "output:y", "timeout:5"),
            code("z", "limit:mem:2"),
        )
    )
    options = draft.steps[0].options
    assert options.outputs == ("x", "y")
    assert options.limits == {"cpu": "1", "mem": "2"}
    assert options.timeout_s == 5.0


def test_a_step_may_be_taken_up_again_after_others(read):
    draft = draft_of(read(code("x", "step:a"), code("y", "step:b", "prev:a"), code("z", "step:a")))
    assert [(s.name, s.cells) for s in draft.steps] == [("a", (0, 2)), ("b", (1,))]
    assert any("goes on in cell 2" in w for w in draft.warnings)


# --- lines that stand for tags ---------------------------------------------------------------


def test_a_step_line_is_the_same_as_tags(read):
    tagged = draft_of(read(code("x = 1", "step:a"), code("y = x", "step:b", "prev:a", "retry:2")))
    written = draft_of(
        read(code("%%mlops_step a\nx = 1"), code("# b\n%mlops_step b --after a --retry 2\ny = x"))
    )
    assert written.steps == tagged.steps


def test_a_tag_and_a_line_that_name_two_steps_are_refused(read):
    (problem,) = problems_of(read(code("%%mlops_step a\nx = 1", "step:b")))
    assert "tagged as two steps, b and a" in problem


def test_a_cell_that_is_nothing_but_its_step_line_is_empty(read):
    assert "is empty" in problems_of(read(code("%mlops_step a")))[0]


# --- without tags ----------------------------------------------------------------------------


def test_headings_of_the_second_level_begin_steps(read):
    draft = draft_of(
        read(
            new_markdown_cell("# Title"),
            code("import a"),
            new_markdown_cell("## 1. Load"),
            code("x"),
            code("y"),
            new_markdown_cell("## Nothing here"),
            new_markdown_cell("### Detail\n\n## Train\ntext"),
            code("z"),
            new_markdown_cell("## Train"),
            code("z"),
        ),
        split_on="h2",
    )
    assert [(s.name, s.cells) for s in draft.steps] == [
        ("load", (3, 4)),
        ("train", (7,)),
        ("train_2", (9,)),
    ]
    assert draft.prelude == (1,)
    assert not any(s.is_named_by_author for s in draft.steps)


def test_a_heading_without_a_letter_still_begins_a_step(read):
    draft = draft_of(read(new_markdown_cell("## …"), code("x")), split_on="h2")
    assert draft.steps[0].name == "section_1"


def test_a_tag_wins_over_a_heading(read):
    draft = draft_of(
        read(
            new_markdown_cell("## Load"),
            code("x", "step:fetch"),
            new_markdown_cell("## Fetch"),
            code("y"),
        ),
        split_on="h2",
    )
    assert [s.name for s in draft.steps] == ["fetch", "fetch_2"]


def test_each_code_cell_can_be_a_step_after_the_imports(read):
    draft = draft_of(
        read(
            code("%matplotlib inline\nimport a\nfrom b import (\n    c,\n)"),
            code("x = 1"),
            code(""),
            code("y = 2", "retry:1"),
            code("import late"),
            code("N = 1", "parameters"),
        ),
        split_on="cell",
    )
    assert draft.prelude == (0,)
    assert [(s.name, s.cells) for s in draft.steps] == [
        ("cell_1", (1, 2)),
        ("cell_3", (3,)),
        ("cell_4", (4,)),
    ]
    assert draft.steps[1].options.retry == 1
    assert draft.parameter_cells == (5,)


def test_another_way_to_split_is_refused_by_name(read):
    with pytest.raises(BadValue, match="tags, h2, cell"):
        draft_of(read(code()), split_on="h3")


# --- what a notebook says of itself ----------------------------------------------------------

KALE = {
    "kubeflow_notebook": {
        "pipeline_name": "candies-sharing",
        "pipeline_description": "Share candies",
        "experiment_name": "kids",
        "docker_image": "org/image:1",
        "steps_defaults": ["label:team:ds", "limit:cpu:1", "nonsense"],
    }
}


def test_kales_metadata_is_read(read):
    draft = draft_of(
        read(code("x", "step:a", "label:team:ml"), code("y", "step:b"), metadata=KALE)
    )
    assert draft.name == "candies-sharing"
    assert draft.metadata["description"] == "Share candies"
    assert draft.metadata["experiment"] == "kids"
    first, second = draft.steps
    assert (first.options.image, first.options.labels) == ("org/image:1", {"team": "ml"})
    assert (second.options.labels, second.options.limits) == ({"team": "ds"}, {"cpu": "1"})


@pytest.mark.parametrize(
    "kale",
    [None, [], "x", {"pipeline_name": None, "steps_defaults": "x"}, {"steps_defaults": [1]}],
)
def test_odd_metadata_of_kale_is_no_error(read, kale):
    draft = draft_of(read(code("x", "step:a"), metadata={"kubeflow_notebook": kale}))
    assert draft.name == "train"


def test_a_name_that_is_given_wins_over_a_tag_and_that_over_the_file(read):
    notebook = read(code("x", "step:a", "notebook:tagged"), metadata=KALE)
    assert draft_of(notebook).name == "tagged"
    assert draft_of(notebook, name="given").name == "given"


@pytest.mark.parametrize(
    ("file", "name"),
    [("my train (1).ipynb", "my train (1)"), ('a"b\\c.ipynb', "a_b_c"), ("...ipynb", "pipeline")],
)
def test_a_pipelines_name_can_stand_in_a_text_and_a_file_name(read, file, name):
    assert draft_of(read(code("x", "step:a"), name=file)).name == name


# --- bad input -------------------------------------------------------------------------------


def test_a_notebook_without_steps_can_be_read_and_is_refused_where_steps_are_needed(read):
    draft = draft_of(read(code("x = 1")))
    assert not has_steps(draft)
    with pytest.raises(BadPipeline, match="step:NAME"):
        require_steps(draft)


def test_a_step_before_that_is_none_is_refused_with_what_was_meant(read):
    (problem,) = problems_of(read(code("x", "step:load"), code("y", "step:fit", "prev:laod")))
    assert problem == "Step fit (cell 1) comes after laod, which is no step. Did you mean load?"


def test_a_step_before_that_is_skipped_is_refused_with_its_cell(read):
    (problem,) = problems_of(
        read(code("x", "step:load", "skip"), code("y", "step:fit", "prev:load"))
    )
    assert "comes after load, which is skipped (cell 0)" in problem


def test_a_cell_that_goes_on_with_no_step_is_prelude_with_a_warning(read):
    draft = draft_of(read(code("x = 1", "block:"), code("y", "step:a")))
    assert draft.prelude == (0,)
    assert any(
        "Cell 0 goes on with the step above, and there is none" in w for w in draft.warnings
    )


def test_a_circle_is_refused_with_its_cells(read):
    (problem,) = problems_of(read(code("x", "step:a", "prev:b"), code("y", "step:b", "prev:a")))
    assert "wait for each other" in problem
    assert "(cell 0)" in problem
    assert "(cell 1)" in problem


def test_a_step_after_itself_is_refused(read):
    assert "comes after itself" in problems_of(read(code("x", "step:a", "prev:a")))[0]


def test_two_different_steps_of_one_name_are_refused_with_both_cells(read):
    (problem,) = problems_of(
        read(
            code("x", "step:a"),
            code("y", "step:b"),
            code("z", "step:a", "prev:b"),
        )
    )
    assert "Cells 0 and 2 are two different steps of one name, a" in problem


@pytest.mark.parametrize("source", ["", "  \n", "# only words\n"])
def test_an_empty_step_is_refused(read, source):
    assert problems_of(read(code(source, "step:a")))[0].startswith("Step a (cell 0) is empty")


def test_cells_of_one_step_may_not_contradict_each_other(read):
    (problem,) = problems_of(read(code("x", "step:a", "retry:1"), code("y", "retry:2")))
    assert "cells 0 and 1 say different things of retry (1 and 2)" in problem


def test_limits_of_one_step_may_not_contradict_each_other(read):
    (problem,) = problems_of(read(code("x", "step:a", "limit:cpu:1"), code("y", "limit:cpu:2")))
    assert "limits (cpu: 1 and 2)" in problem


def test_all_that_is_wrong_is_told_at_once(read):
    told = problems_of(
        read(
            code("C = ", "parameters"),
            code("x", "step:a", "retry:x", "when:auc >"),
            code("y", "step:b b"),
            code("z", "step:c", "prev:d"),
        )
    )
    text = "\n".join(told)
    assert len(told) == 5
    for part in ("parameters cell (cell 0)", "retry:x", "when:auc", "step:b b", "comes after d"):
        assert part in text


def test_a_parameters_cell_that_does_not_compile_is_refused_with_cell_and_line(read):
    (problem,) = problems_of(read(code("a = 1\nC = (", "parameters"), code("x", "step:a")))
    assert "parameters cell (cell 0) is not Python (line 2" in problem


def test_a_parameters_cell_that_no_parser_can_read_is_refused(read):
    (problem,) = problems_of(
        read(code("C = " + "-" * 100_000 + "1", "parameters"), code("x", "step:a"))
    )
    assert "parameters cell (cell 0)" in problem


def test_a_notebook_in_another_language_is_refused_by_the_languages_name(read):
    spec = {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}
    with pytest.raises(BadNotebook, match="it is a notebook in R"):
        read(code("x <- 1", "step:a"), metadata=spec)


def test_a_step_in_another_language_is_refused_by_the_languages_name(read):
    (problem,) = problems_of(read(code("x", "step:a", "kernel:julia-1.9")))
    assert "runs Julia" in problem


def test_doubled_cell_ids_are_repaired_with_a_warning(read, tmp_path):
    read(code("x", "step:a"), code("y", "step:b"))
    path = tmp_path / "train.ipynb"
    content = json.loads(path.read_text())
    for cell in content["cells"]:
        cell["id"] = "same"
    path.write_text(json.dumps(content))
    draft = draft_of(read_source(path))
    assert len(set(draft.notebook.ids)) == 2
    assert any("doubled id" in w for w in draft.warnings)


def test_names_that_look_the_same_are_warned_of(read):
    draft = draft_of(read(code("x", "step:load-data"), code("y", "step:Load_Data")))
    assert any("nearly the same name" in w for w in draft.warnings)


def test_a_tag_that_belongs_to_no_step_is_warned_of(read):
    draft = draft_of(read(code("x", "retry:2", "prev:a"), code("y", "step:a")))
    assert any("Cell 0 belongs to no step" in w and "prev:a" in w for w in draft.warnings)


def test_a_step_tag_of_a_text_cell_is_warned_of(read):
    cell = new_markdown_cell("text", metadata={"tags": ["step:a"]})
    draft = draft_of(read(cell, code("x", "step:b")))
    assert any("Cell 0: the tag step:a says nothing here" in w for w in draft.warnings)


def test_a_second_parameters_cell_is_warned_of(read):
    draft = draft_of(
        read(code("a = 1", "parameters"), code("b = 1", "parameters"), code("x", "step:s"))
    )
    assert draft.parameter_cells == (0, 1)
    assert any("Cell 1 is tagged as parameters too" in w for w in draft.warnings)


def test_the_error_survives_a_worker_process(read):
    with pytest.raises(BadPipeline) as refused:
        draft_of(read(code("", "step:a")))
    again = pickle.loads(pickle.dumps(refused.value))  # noqa: S301 - our own bytes
    assert str(again) == str(refused.value)


@pytest.mark.parametrize(
    "tag",
    ["step:" + "a" * 5000, "step:\x1b[31m", "prev:\x00", "when:" + "(" * 5000, "label:\u202ex:1"],
)
def test_a_hostile_tag_is_refused_or_read_and_never_breaks_reading(read, tag):
    notebook = read(code("x", "step:a"), code("y", tag))
    told = ""
    try:
        told = "".join(draft_of(notebook).warnings)
    except BadPipeline as error:
        told = str(error)
    assert len(told) < 500
    assert "\x1b" not in told
    assert "\x00" not in told


# --- percent scripts -------------------------------------------------------------------------

SCRIPT = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# ## Title

# %% tags=["parameters"]
C = 1.0

# %% tags=["step:load"]
# %matplotlib inline
x = C

# %% tags=["step:train", "prev:load"]
y = x
"""


@pytest.fixture
def script(tmp_path):
    pytest.importorskip("jupytext")

    def script(text):
        path = tmp_path / "train.py"
        path.write_text(text, "utf-8")
        return path

    return script


def test_a_percent_script_is_read_as_the_notebook_it_is(script):
    draft = draft_of(read_source(script(SCRIPT)))
    assert [(s.name, s.cells, s.after) for s in draft.steps] == [
        ("load", (2,), ()),
        ("train", (3,), ("load",)),
    ]
    assert draft.notebook.cells[2].source.startswith("%matplotlib inline")
    assert (draft.name, draft.kernel) == ("train", "python3")
    assert draft.parameters[0].name == "C"


def test_a_script_has_the_same_ids_at_every_reading(script):
    path = script(SCRIPT)
    assert read_source(path).ids == read_source(path).ids


def test_a_script_without_a_header_is_read(script):
    draft = draft_of(read_source(script('# %% tags=["step:a"]\nx = 1\n')))
    assert draft.steps[0].name == "a"


@pytest.mark.parametrize("text", ["x = 1\n", "", "# % no cell\n"])
def test_a_script_without_cells_is_refused(script, text):
    with pytest.raises(BadNotebook, match="no line begins with"):
        read_source(script(text))


def test_a_script_that_is_not_utf8_or_not_there_is_refused(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes(b"# %%\n\xff")
    with pytest.raises(BadNotebook, match="not UTF-8"):
        read_source(path)
    with pytest.raises(BadNotebook, match="no such file"):
        read_source(tmp_path / "b.py")


def test_a_script_in_another_language_is_refused(script):
    text = SCRIPT.replace("language: python", "language: R").replace("name: python3", "name: ir")
    with pytest.raises(BadNotebook, match="in R"):
        read_source(script(text))


@pytest.mark.parametrize("marker", ["#%%", "# %%", "# %% Load the data", "# In[3]:"])
def test_cells_of_a_script_may_be_marked_as_editors_do(script, marker):
    text = f'{marker}\na = 1\n# %% tags=["step:s"]\nb = a\n'
    draft = draft_of(read_source(script(text)))
    assert (draft.prelude, draft.steps[0].cells) == ((0,), (1,))


# --- any notebook ----------------------------------------------------------------------------

TAGS = st.one_of(
    st.sampled_from(
        [
            *("step:a", "step:b", "block:c", "step:", "block:", "prev:a", "prev:b", "prev:x"),
            *("imports", "functions", "skip", "parameters", "pipeline-parameters"),
            *("injected-parameters", "pipeline-metrics", "retry:1", "retry:2", "join"),
            *("nocache", "cache:enabled", "when:params.x", "foreach:a", "output:a", "stpe:a"),
            *("hide-input", "limit:cpu:1", "limit:cpu:2", "label:a:b", "secret:x", "gate"),
            *("deploy", "kernel:python3", "kernel:ir", "report:"),
        ]
    ),
    st.text(max_size=12),
)
SOURCES = st.one_of(
    st.sampled_from(
        ["x = 1", "", "# c", "import a", "%%mlops_step a\nx", "%mlops_step b --after a\ny",
         "#| eval: false\nz", "%%mlops_step --retry", "a = (", "\ud800", "%%time\n%mlops_step q"]
    ),
    st.text(max_size=30),
)  # fmt: skip
CELLS_OF_ANY_KIND = st.lists(
    st.tuples(st.sampled_from(["code", "code", "code", "markdown", "raw"]), SOURCES,
              st.lists(TAGS, max_size=4)),
    max_size=8,
)  # fmt: skip


@given(cells=CELLS_OF_ANY_KIND, split_on=st.sampled_from(["tags", "h2", "cell"]))
@settings(max_examples=400, deadline=None)
def test_every_code_cell_has_exactly_one_place_or_the_notebook_is_refused(cells, split_on):
    made = tuple(
        Cell(i, kind, source, f"c{i}", tuple(tags)) for i, (kind, source, tags) in enumerate(cells)
    )
    notebook = Notebook("n.ipynb", (4, 5), made, "python", "python3", (), {"metadata": {}})
    try:
        draft = draft_of(notebook, split_on=split_on)
    except BadPipeline:
        return
    places = [
        *draft.prelude, *draft.parameter_cells, *draft.skipped, *draft.metric_cells,
        *(cell for step in draft.steps for cell in step.cells),
    ]  # fmt: skip
    assert sorted(places) == [cell.index for cell in notebook.code_cells]
    assert all(list(step.cells) == sorted(step.cells) and step.cells for step in draft.steps)
    names = {step.name for step in draft.steps}
    assert all(names.issuperset(step.after) for step in draft.steps)


# --- notebooks as Kale writes them -----------------------------------------------------------


def test_a_notebook_as_kale_writes_it_is_read_unchanged(read):
    draft = draft_of(
        read(
            code("import random", "imports"),
            code("CANDIES = 20", "pipeline-parameters"),
            code("def get(n):\n    return random.randint(1, n)", "functions"),
            code("print(CANDIES)", "step:sack"),
            code("kid1 = get(CANDIES)", "prev:sack", "block:kid1", "limit:nvidia.com/gpu:1"),
            code("kid1", "block:"),
            code("kid1", "skip", "prev:kid1"),
            code("kid2 = get(kid1)", "prev:kid1", "block:kid2", "prev:sack"),
            code("print(kid2)", "pipeline-metrics"),
            metadata=KALE,
        )
    )
    assert [(s.name, s.cells, s.after) for s in draft.steps] == [
        ("sack", (3,), ()),
        ("kid1", (4, 5), ("sack",)),
        ("kid2", (7,), ("kid1", "sack")),
    ]
    assert draft.prelude == (0, 2)
    assert draft.metric_cells == (8,)
    assert [p.name for p in draft.parameters] == ["CANDIES"]
    assert draft.warnings == ()
