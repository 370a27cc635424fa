"""A notebook as a folder of ordinary notebooks: the same bytes again, and no work of others lost."""

from __future__ import annotations

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from mlops_nb.cli import cli
from mlops_nb.errors.pipelines import BadDefinition, BadPipeline, NotOverwritten, PipelineRefused
from mlops_nb.errors.values import NotWritten
from mlops_nb.model.pipelines import Pipeline, PipelineParameter, Step, StepOptions
from mlops_nb.notebook import read_notebook
from mlops_nb.pipeline.writing import convert, load_definition, read_definition, step_notebook
from mlops_nb.pipeline.writing.notebooks import step_paths

V4 = nbformat.v4


def notebook_at(path, *cells, **metadata):
    """Write a notebook of (source, tags) pairs; a text alone is Markdown."""
    made = [
        V4.new_markdown_cell(cell, id=f"text-{n}")
        if isinstance(cell, str)
        else V4.new_code_cell(
            cell[0],
            id=f"cell-{n}",
            metadata={"tags": list(cell[1])},
            execution_count=n,
            outputs=[V4.new_output("stream", text="shown\n")],
        )
        for n, cell in enumerate(cells)
    ]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    whole = V4.new_notebook(cells=made, metadata={"kernelspec": spec, **metadata})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(whole, path)
    return read_notebook(path)


@pytest.fixture
def churn(tmp_path):
    return notebook_at(
        tmp_path / "churn.ipynb",
        "# Churn",
        ("import json", ()),
        ("n = 10  # rows\nhalf = n // 2", ("parameters",)),
        ("def twice(x):\n    return 2 * x\n\nrows = [twice(n)]", ("step:load",)),
        "## Train",
        ("model = sum(rows) + half", ("step:train", "mine")),
        ("print(model)", ("step:report",)),
    )


def split(notebook, **changes):
    """Give the split that a dataflow would."""
    whole = Pipeline(
        "churn",
        notebook.path,
        "python3",
        prelude=(1,),
        parameter_cells=(2,),
        parameters=(
            PipelineParameter("n", "int", 10, "10", "rows"),
            PipelineParameter("half", "", None, "n // 2"),
        ),
        steps=(
            Step("load", (3,), outputs=(("rows",),), params=("n",)),
            Step("train", (5,), inputs={"rows": "load"}, outputs=(("model",),), params=("half",)),
            Step("report", (6,), inputs={"model": "train"}),
        ),
    )
    return replace(whole, **changes)


def everything_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sources(path):
    return [cell.source for cell in nbformat.read(path, 4).cells]


# --- the notebooks ----------------------------------------------------------------------------


def test_a_step_is_a_title_its_preparation_and_the_authors_cells_as_they_are(churn, tmp_path):
    converted = convert(split(churn), churn, tmp_path / "out")
    assert sources(converted.notebooks["train"]) == [
        (
            "# train\n\nStep 2 of 3 of `churn.ipynb`. It takes `rows` from *load*, reads the parameter "
            "`half` and gives `model` to *report*."
        ),
        "import json",
        "n = 10  # rows\nhalf = None  # worked out below, unless given",
        (
            "# Follows from the parameters, also from values given with -p.\n"
            "if half is None:\n    half = n // 2"
        ),
        'import mlops_nb\n\nrows = mlops_nb.load_inputs("churn/train", "rows")',
        "## Train",
        "model = sum(rows) + half",
        'import mlops_nb\n\nmlops_nb.save_outputs("churn/train", "model")',
    ]


def test_cells_keep_ids_and_tags_and_lose_what_they_have_shown(churn, tmp_path):
    converted = convert(split(churn), churn, tmp_path / "out")
    cells = {cell.id: cell for cell in nbformat.read(converted.notebooks["train"], 4).cells}
    assert cells["cell-5"].metadata.tags == ["step:train", "mine"]
    assert cells["cell-2"].metadata.tags == ["parameters"]
    for cell in cells.values():
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


def test_every_notebook_is_valid_and_says_what_it_is_of(churn, tmp_path):
    converted = convert(split(churn), churn, tmp_path / "out")
    for step, path in converted.notebooks.items():
        found = nbformat.read(path, 4)
        nbformat.validate(found)
        assert found.metadata.mlops_nb == {"pipeline": "churn", "step": step}
        assert found.metadata.kernelspec.name == "python3"
        assert len({cell.id for cell in found.cells}) == len(found.cells)


def test_a_notebook_carries_only_the_parameters_it_needs(churn, tmp_path):
    converted = convert(split(churn), churn, tmp_path / "out")
    assert "n = 10  # rows" in sources(converted.notebooks["load"])
    assert not [s for s in sources(converted.notebooks["report"]) if "n = 10" in s]


def test_a_parameter_that_only_the_prelude_reads_comes_along(tmp_path):
    notebook = notebook_at(
        tmp_path / "n.ipynb",
        ("seed = 3", ("parameters",)),
        ("import random\nrandom.seed(seed)", ()),
        ("x = 1", ("step:a",)),
    )
    pipeline = Pipeline(
        "p", notebook.path, prelude=(1,), parameter_cells=(0,), steps=(Step("a", (2,)),)
    )
    cells = [cell["source"] for cell in step_notebook(pipeline, notebook, "a")["cells"]]
    assert cells[1:3] == ["seed = 3", "import random\nrandom.seed(seed)"]


def test_prelude_and_parameters_stand_in_the_order_of_the_notebook(tmp_path):
    notebook = notebook_at(
        tmp_path / "n.ipynb",
        ("import pathlib", ()),
        ("root = pathlib.Path('a')", ("parameters",)),
        ("files = [root]", ()),
        ("x = files", ("step:a",)),
    )
    pipeline = Pipeline(
        "p", notebook.path, prelude=(0, 2), parameter_cells=(1,), steps=(Step("a", (3,)),)
    )
    cells = [cell["source"] for cell in step_notebook(pipeline, notebook, "a")["cells"]]
    assert cells[1:4] == ["import pathlib", "root = pathlib.Path('a')", "files = [root]"]


def test_definitions_come_with_decorators_and_remarks(tmp_path):
    notebook = notebook_at(
        tmp_path / "n.ipynb",
        (
            (
                "import math, os\nx = 1\n\n# how often\n@staticmethod\ndef twice(a):\n"
                "    # both\n    return 2 * a  # yes\n\n\nclass Tree:\n    depth = 3\ny = 2"
            ),
            ("step:a",),
        ),
        ("z = twice(1)", ("step:b",)),
    )
    pipeline = Pipeline(
        "p",
        notebook.path,
        steps=(Step("a", (0,)), Step("b", (1,), definitions=("math", "Tree", "twice"))),
    )
    cells = [cell["source"] for cell in step_notebook(pipeline, notebook, "b")["cells"]]
    assert cells[1] == (
        "# Defined by earlier steps, and needed here.\nimport math, os\n\n\n"
        "class Tree:\n    depth = 3\n\n\n"
        "# how often\n@staticmethod\ndef twice(a):\n    # both\n    return 2 * a  # yes"
    )


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("%matplotlib inline\ndef f():\n    return 1", id="after a magic"),
        pytest.param("files = !ls\ndef f():\n    return 1", id="after a shell command"),
        pytest.param("%%time\ndef f():\n    return 1", id="in a cell magic"),
        pytest.param("f?\ndef f():\n    return 1", id="after a question"),
        pytest.param("x = '''\n%no magic\n'''\ndef f():\n    return 1", id="after a long text"),
        pytest.param("if True:\n    def f():\n        return 1", id="in a condition"),
        pytest.param("await thing()\ndef f():\n    return 1", id="after an await"),
        pytest.param("def f():\n    return 0\ndef f():\n    return 1", id="defined twice"),
        pytest.param("def f():\n    return 1\nf.x = 1", id="given an attribute later"),
        pytest.param("def f():\r\n    return 1\r\n", id="lines of Windows"),
        pytest.param("x = 'a\x0cb'; y = 'c\u2028d'\ndef f():\n    return 1", id="odd separators"),
    ],
)
def test_a_definition_is_cut_out_of_whatever_stands_around_it(tmp_path, source):
    notebook = notebook_at(tmp_path / "n.ipynb", (source, ("step:a",)), ("f()", ("step:b",)))
    pipeline = Pipeline(
        "p", notebook.path, steps=(Step("a", (0,)), Step("b", (1,), definitions=("f",)))
    )
    cells = [cell["source"] for cell in step_notebook(pipeline, notebook, "b")["cells"]]
    namespace = {}
    exec(cells[1], namespace)  # noqa: S102 - that is what a kernel does with it
    assert namespace["f"]() == 1
    assert "x" not in namespace


def test_the_last_definition_before_the_step_counts(tmp_path):
    notebook = notebook_at(
        tmp_path / "n.ipynb",
        ("def f():\n    return 1", ("step:a",)),
        ("def f():\n    return 2", ("step:b",)),
        ("f()", ("step:c",)),
        ("def f():\n    return 4", ("step:d",)),
    )
    steps = tuple(
        Step(name, (n,), definitions=("f",) if name == "c" else ())
        for n, name in enumerate("abcd")
    )
    cells = [
        cell["source"]
        for cell in step_notebook(Pipeline("p", notebook.path, steps=steps), notebook, "c")[
            "cells"
        ]
    ]
    assert "return 2" in cells[1]


def test_a_definition_that_is_nowhere_is_refused(churn):
    steps = (Step("load", (3,)), Step("train", (5,), definitions=("nowhere",)))
    with pytest.raises(PipelineRefused, match=r'"train" needs nowhere.*functions'):
        step_notebook(split(churn, steps=steps), churn, "train")


def test_many_names_are_wrapped_as_black_would(churn):
    names = [f"a_rather_long_name_{n}" for n in range(6)]
    steps = (
        Step("load", (3,), outputs=tuple((name,) for name in names)),
        Step("train", (5,), inputs=dict.fromkeys(names, "load")),
    )
    cells = step_notebook(split(churn, steps=steps, parameter_cells=()), churn, "train")["cells"]
    (load,) = [c["source"] for c in cells if c["metadata"].get("tags") == ["mlops-nb-load"]]
    assert max(map(len, load.splitlines())) <= 88
    compile(load, "load", "exec")
    assert load.splitlines()[2:4] == ["(", "    a_rather_long_name_0,"]


def test_state_of_the_process_is_no_name_in_the_notebook(churn):
    steps = (
        Step("load", (3,), outputs=(("<rng:numpy>",),)),
        Step("train", (5,), inputs={"<rng:numpy>": "load"}),
    )
    cells = step_notebook(split(churn, steps=steps), churn, "train")["cells"]
    assert 'mlops_nb.load_inputs("churn/train")' in [c["source"].split("\n")[-1] for c in cells]
    assert "NumPy's random numbers" in cells[0]["source"]


def test_the_line_that_began_a_step_is_a_remark_afterwards(tmp_path):
    notebook = notebook_at(
        tmp_path / "n.ipynb",
        ("%%mlops_step a --retry 2\nx = 1", ()),
        ("%%mlops_step b\n%%time\ny = 2", ()),
    )
    pipeline = Pipeline("p", notebook.path, steps=(Step("a", (0,)), Step("b", (1,))))
    first = [cell["source"] for cell in step_notebook(pipeline, notebook, "a")["cells"]]
    second = [cell["source"] for cell in step_notebook(pipeline, notebook, "b")["cells"]]
    assert "# %%mlops_step a --retry 2\nx = 1" in first
    assert "%%time\ny = 2" in second


def test_a_name_is_no_markdown(churn):
    steps = (Step("a_*b*_c", (3,)),)
    title = step_notebook(split(churn, steps=steps), churn, "a_*b*_c")["cells"][0]["source"]
    assert title.startswith("# a\\_\\*b\\*\\_c\n")


def test_names_that_differ_only_by_case_have_files_of_their_own():
    steps = tuple(Step(name, (0,)) for name in ("Load", "load", "LOAD", "../x", "é" * 80, "?"))
    paths = step_paths(Pipeline("p", steps=steps))
    assert len({path.casefold() for path in paths.values()}) == 6
    assert paths["../x"] == "steps/04_x.ipynb"
    assert paths["?"] == "steps/06_step.ipynb"
    assert all(len(path.encode()) < 100 for path in paths.values())


def test_a_notebook_that_names_no_kernel_runs_under_papermill_all_the_same(tmp_path):
    path = tmp_path / "n.ipynb"
    cell = {
        "cell_type": "code",
        "source": "x = 1",
        "metadata": {"tags": ["step:a"]},
        "outputs": [],
    }
    path.write_text(
        json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [cell]})
    )
    notebook = read_notebook(path)
    metadata = step_notebook(Pipeline("p", str(path), steps=(Step("a", (0,)),)), notebook, "a")[
        "metadata"
    ]
    assert metadata["kernelspec"]["name"] == "python3"
    assert metadata["language_info"] == {"name": "python"}


# --- the folder -------------------------------------------------------------------------------


def test_converting_twice_gives_the_same_bytes(churn, tmp_path):
    first = convert(split(churn), churn, tmp_path / "out")
    before = everything_in(tmp_path / "out")
    second = convert(split(churn), churn, tmp_path / "out")
    elsewhere = convert(split(churn), churn, tmp_path / "other")
    assert (first.is_unchanged, second.is_unchanged) == (False, True)
    assert everything_in(tmp_path / "out") == before == everything_in(elsewhere.folder)


def test_running_the_notebook_changes_nothing(churn, tmp_path):
    convert(split(churn), churn, tmp_path / "out")
    whole = nbformat.read(churn.path, 4)
    for cell in whole.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [V4.new_output("stream", text="other")], 99
            cell.metadata["execution"] = {"iopub.execute_input": "2026"}
    nbformat.write(whole, churn.path)
    assert convert(split(churn), read_notebook(churn.path), tmp_path / "out").is_unchanged


def test_the_notebook_is_found_again_from_the_folder(churn, tmp_path):
    converted = convert(split(churn), churn, tmp_path / "deep" / "er" / "out")
    assert "path: ../../../churn.ipynb" in converted.definition.read_text()
    assert Path(read_definition(converted.folder).notebook).samefile(churn.path)


def test_an_edited_step_is_not_overwritten_unasked(churn, tmp_path):
    converted = convert(split(churn), churn, tmp_path / "out")
    converted.notebooks["train"].write_text("mine")
    converted.notebooks["load"].write_text("mine too")
    with pytest.raises(NotOverwritten) as caught:
        convert(split(churn), churn, tmp_path / "out")
    assert caught.value.files == ("steps/01_load.ipynb", "steps/02_train.ipynb")
    assert "--force" in str(caught.value)
    assert converted.notebooks["train"].read_text() == "mine"
    convert(split(churn), churn, tmp_path / "out", force=True)
    assert converted.notebooks["train"].read_text() != "mine"


def test_an_edited_definition_is_not_overwritten_unasked(churn, tmp_path):
    converted = convert(split(churn), churn, tmp_path / "out")
    text = converted.definition.read_text()
    converted.definition.write_text(
        text.replace("params: [n]", "params: [n]\n    options: {retry: 3}")
    )
    with pytest.raises(NotOverwritten, match=r"pipeline\.yaml"):
        convert(split(churn), churn, tmp_path / "out")
    convert(split(churn), churn, tmp_path / "out", force=True)
    assert converted.definition.read_text() == text


def test_a_notebook_that_was_there_before_is_not_ours(churn, tmp_path):
    convert(split(churn, steps=split(churn).steps[:2]), churn, tmp_path / "out")
    (tmp_path / "out" / "steps" / "03_report.ipynb").write_text("mine")
    with pytest.raises(NotOverwritten, match="03_report"):
        convert(split(churn), churn, tmp_path / "out")


def test_notebooks_of_former_steps_go_and_nothing_else_does(churn, tmp_path):
    out = tmp_path / "out"
    convert(split(churn), churn, out)
    (out / "README.md").write_text("mine")
    (out / "steps" / "notes.ipynb").write_text("mine")
    found = convert(split(churn, steps=split(churn).steps[:2]), churn, out)
    assert found.removed == ("steps/03_report.ipynb",)
    assert sorted(everything_in(out)) == [
        "README.md",
        "pipeline.yaml",
        "steps/01_load.ipynb",
        "steps/02_train.ipynb",
        "steps/notes.ipynb",
    ]


def test_an_edited_notebook_of_a_former_step_stays(churn, tmp_path):
    converted = convert(split(churn), churn, tmp_path / "out")
    converted.notebooks["report"].write_text("mine")
    fewer = split(churn, steps=split(churn).steps[:2])
    with pytest.raises(NotOverwritten, match=r"no more.*03_report"):
        convert(fewer, churn, tmp_path / "out")
    assert converted.notebooks["report"].read_text() == "mine"


def test_a_folder_of_somebody_else_is_left_alone(churn, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("1")
    with pytest.raises(NotOverwritten, match="no pipeline of ours"):
        convert(split(churn), churn, tmp_path / "data")
    assert sorted(everything_in(tmp_path / "data")) == ["x.csv"]


def test_a_pipeline_yaml_of_another_tool_is_left_alone(churn, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pipeline.yaml").write_text("apiVersion: argoproj.io/v1alpha1\n")
    with pytest.raises(BadDefinition, match="version"):
        convert(split(churn), churn, tmp_path / "out")
    assert convert(split(churn), churn, tmp_path / "out", force=True).warnings


def test_an_empty_folder_is_written_to(churn, tmp_path):
    (tmp_path / "out").mkdir()
    assert convert(split(churn), churn, tmp_path / "out").definition.exists()


def test_a_file_is_no_folder(churn, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotWritten, match="it is a file"):
        convert(split(churn), churn, tmp_path / "out")
    with pytest.raises(NotWritten, match="is a file"):
        convert(split(churn), churn, tmp_path / "out" / "deeper")


@pytest.mark.parametrize("force", [False, True])
def test_the_folder_of_the_notebook_itself_is_refused(churn, tmp_path, force):
    with pytest.raises(NotWritten, match=r"folder of churn\.ipynb itself.*-o"):
        convert(split(churn), churn, tmp_path, force=force)
    assert sorted(everything_in(tmp_path)) == ["churn.ipynb"]


def test_a_folder_inside_the_notebooks_is_fine(churn, tmp_path):
    assert convert(split(churn), churn, tmp_path / "churn").folder.is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_only_others_may_write_is_refused(churn, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(NotWritten, match="you may not write there"):
        convert(split(churn), churn, tmp_path / "out")


def test_a_full_disk_leaves_the_old_pipeline(churn, tmp_path, monkeypatch):
    convert(split(churn), churn, tmp_path / "out")
    before = everything_in(tmp_path / "out")
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotWritten, match="disk is full"):
        convert(split(churn, name="other"), churn, tmp_path / "out")
    assert everything_in(tmp_path / "out") == before
    calls.clear()
    with pytest.raises(NotWritten, match="disk is full"):
        convert(split(churn), churn, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["churn.ipynb", "out"]


def test_a_link_that_leads_out_of_the_folder_is_not_followed(churn, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    convert(split(churn), churn, tmp_path / "out")
    for path in (tmp_path / "out" / "steps").iterdir():
        path.rename(outside / path.name)
    (tmp_path / "out" / "steps").rmdir()
    (tmp_path / "out" / "steps").symlink_to(outside)
    before = everything_in(outside)
    with pytest.raises(NotWritten, match="leads out of it by a link"):
        convert(split(churn, name="other"), churn, tmp_path / "out", force=True)
    assert everything_in(outside) == before


def test_a_conversion_that_was_cut_off_is_finished_by_the_next(churn, tmp_path):
    """Killed between two files: some are new, the definition is old; none of them is an edit."""
    other = split(churn, name="other")
    convert(other, churn, tmp_path / "goal")
    convert(split(churn), churn, tmp_path / "out")
    first = "steps/01_load.ipynb"
    (tmp_path / "out" / first).write_bytes((tmp_path / "goal" / first).read_bytes())
    convert(other, churn, tmp_path / "out")
    assert everything_in(tmp_path / "out") == everything_in(tmp_path / "goal")


def test_conversions_at_the_same_time_do_not_mix(churn, tmp_path):
    goals = [split(churn, name=f"name-{n}") for n in range(4)]
    for n, goal in enumerate(goals):
        convert(goal, churn, tmp_path / f"goal-{n}")
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(lambda one: convert(one, churn, tmp_path / "out"), goals))
            found = everything_in(tmp_path / "out")
            assert found in [everything_in(tmp_path / f"goal-{n}") for n in range(4)]
    assert not list(tmp_path.rglob(".*"))


def test_a_schedule_and_the_authors_own_keys_stay(churn, tmp_path):
    schedule = {"cron": "0 6 * * 1", "zone": "Europe/Brussels"}
    converted = convert(split(churn), churn, tmp_path / "out", schedule=schedule)
    text = converted.definition.read_text()
    converted.definition.write_text(text + "x-team: blue\n")
    with pytest.raises(NotOverwritten):
        convert(split(churn, name="other"), churn, tmp_path / "out")
    convert(split(churn, name="other"), churn, tmp_path / "out", force=True)
    found = load_definition(tmp_path / "out")
    assert found.schedule == schedule
    assert found.extra == {"x-team": "blue"}


def test_a_notebook_without_steps_says_how_to_make_some(churn, tmp_path):
    with pytest.raises(BadPipeline, match=r"step:NAME.*--split-on"):
        convert(split(churn, steps=()), churn, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_hundred_steps_are_as_many_notebooks(tmp_path):
    cells = [(f"x{n} = {n}", (f"step:s{n}",)) for n in range(200)]
    notebook = notebook_at(tmp_path / "n.ipynb", *cells)
    steps = tuple(
        Step(f"s{n}", (n,), inputs={f"x{n - 1}": f"s{n - 1}"} if n else {}, outputs=((f"x{n}",),))
        for n in range(200)
    )
    converted = convert(Pipeline("p", notebook.path, steps=steps), notebook, tmp_path / "out")
    assert len(converted.notebooks) == 200
    assert converted.notebooks["s199"].name == "200_s199.ipynb"
    assert read_definition(tmp_path / "out").steps == steps


def test_a_foreign_kernel_has_no_cells_of_ours(churn):
    steps = (Step("load", (3,), options=StepOptions(kernel="ir")),)
    content = step_notebook(split(churn, steps=steps), churn, "load")
    assert [cell["cell_type"] for cell in content["cells"]] == ["markdown", "code"]
    assert content["metadata"]["kernelspec"]["name"] == "ir"


# --- the command ------------------------------------------------------------------------------


def test_the_command_says_what_became_of_the_notebook(churn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(
        cli, ["convert", "churn.ipynb", "-o", "out"], catch_exceptions=False
    )
    assert found.exit_code == 0
    assert "churn.ipynb → 3 steps" in found.output
    assert "run it: mlops-nb run out" in found.output
    told = CliRunner().invoke(cli, ["convert", "churn.ipynb", "-o", "out", "--format", "json"])
    document = json.loads(told.output)
    assert document["unchanged"] is True
    assert [step["name"] for step in document["steps"]] == ["load", "train", "report"]
    assert document["proof"] is None


def test_the_folder_is_named_after_the_notebook_if_none_is_given(churn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(cli, ["convert", "churn.ipynb"], catch_exceptions=False)
    assert (tmp_path / "churn" / "pipeline.yaml").exists()
