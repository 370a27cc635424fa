"""The graph of a notebook's steps, and why a step has a value from where it has it."""

from __future__ import annotations

import json
import subprocess
import sys

import nbformat
import pytest
from dataflow_notebooks import plan

from mlops_nb.errors.pipelines import UnknownStep
from mlops_nb.pipeline.graph import graph_document, why

TEXT = """
#[parameters]
low = 1
#[step:load]
rows = [1, 2, 3]
def clean(values):
    return [v for v in values if v > low]
open("log.txt", "w").write("x")
#[step:clean]
rows.append(4)
kept = clean(rows)
#[step:count]
n = len(kept)
print(open("log.txt").read())
#[step:show]
print(n)
"""


@pytest.fixture
def pipeline():
    return plan(TEXT)


def test_the_document_has_steps_and_edges_with_reasons(pipeline):
    document = graph_document(pipeline)
    assert [step["name"] for step in document["steps"]] == ["load", "clean", "count", "show"]
    assert document["edges"][0] == {
        "from": "load",
        "to": "clean",
        "reasons": [
            {
                "kind": "static",
                "names": ["rows"],
                "text": "clean reads rows in cell 2, line 1, which load last binds in cell 1, "
                "line 1",
            }
        ],
    }
    assert json.loads(json.dumps(document)) == document


ANSWERS = {
    ("rows", "clean"): "clean reads rows in cell 2, line 1, which load last binds in cell 1, "
    "line 1.",
    ("log.txt", "count"): "count reads log.txt in cell 3, line 2, which load writes in cell 1, "
    "line 4.",
    ("low", "clean"): "clean reads the parameter low, which every step is given.",
    ("clean", "clean"): "clean takes nothing from clean: they may run at the same time.",
    ("kept", "clean"): "clean takes kept from no other step: it makes it itself.",
    ("nothing", "show"): "show takes nothing from no other step: it does not read it.",
    ("load", "show"): "show takes nothing from load itself, but comes after it by count.",
    ("clean", "count"): "count reads kept in cell 3, line 1, which clean last binds in cell 2, "
    "line 2.",
}


@pytest.mark.parametrize(("value", "step"), ANSWERS)
def test_one_sentence_says_from_where_a_value_comes(pipeline, value, step):
    assert why(pipeline, value, step) == ANSWERS[value, step]


def test_a_definition_stands_in_the_step_itself():
    pipeline = plan("#[step:a]\ndef f(): return 1\n#[step:b]\nprint(f())")
    assert why(pipeline, "f", "b") == (
        "b has the source of f in its own notebook, as nobody changes it."
    )


def test_an_unknown_step_is_named_with_those_there_are(pipeline):
    with pytest.raises(UnknownStep) as unknown:
        why(pipeline, "rows", "claen")
    assert 'has no step "claen". Did you mean "clean"?' in str(unknown.value)


@pytest.fixture
def notebook(tmp_path):
    parts = TEXT.strip().split("#[")[1:]
    cells = []
    for part in parts:
        tags, _, source = part.partition("]\n")
        cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags.split()}))
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path / "count.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "mlops_nb", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
        check=False,
    )


def test_the_command_draws_the_graph_and_needs_no_store(notebook):
    shown = command("graph", notebook.name, cwd=notebook.parent)
    assert shown.returncode == 0, shown.stderr
    assert "──rows" in shown.stdout
    found = command("graph", notebook.name, "--format", "json", cwd=notebook.parent)
    edges = json.loads(found.stdout)["edges"]
    assert [(edge["from"], edge["to"]) for edge in edges] == [
        ("load", "clean"),
        ("load", "count"),
        ("clean", "count"),
        ("count", "show"),
    ]
    assert not (notebook.parent / ".mlops").exists()


def test_the_command_says_why(notebook):
    shown = command("why", notebook.name, "kept", "count", cwd=notebook.parent)
    assert shown.stdout.strip() == ANSWERS["clean", "count"]
    found = command("why", notebook.name, "kept", "count", "--format", "json", cwd=notebook.parent)
    assert json.loads(found.stdout)["from"] == "clean"
    made = command("why", notebook.name, "kept", "clean", cwd=notebook.parent)
    assert made.stdout.strip() == (
        "clean takes kept from no other step: it makes it itself in cell 2, line 2."
    )


def test_an_unknown_step_is_one_line_and_bad_input(notebook):
    shown = command("why", notebook.name, "rows", "nope", cwd=notebook.parent)
    assert shown.returncode == 2
    assert 'no step "nope"' in shown.stderr
    assert "Traceback" not in shown.stderr


def test_python_and_magic_give_the_same_as_the_command(notebook, monkeypatch, capsys):
    from IPython.testing.globalipapp import start_ipython

    import mlops_nb as mn

    monkeypatch.chdir(notebook.parent)
    assert mn.graph(notebook.name).edges[0]["from"] == "load"
    assert mn.why(notebook.name, "kept", "count") == ANSWERS["clean", "count"]
    shell = start_ipython() or __import__("IPython").get_ipython()
    from mlops_nb.pipeline_magics import PipelineMagics

    magics = PipelineMagics(shell)
    assert magics.mlops_graph("count.ipynb").document() == mn.graph(notebook.name).document()
    magics.mlops_graph("count.ipynb --why kept count")
    assert capsys.readouterr().out.strip() == ANSWERS["clean", "count"]
