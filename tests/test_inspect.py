"""``mlops-nb inspect``, `mn.inspect_notebook`, and ``%mlops_step`` in a live notebook."""

import json
import os
import subprocess
import sys
import textwrap

import nbformat
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import mlops_nb as mn
from mlops_nb.cli import cli, main
from mlops_nb.errors.pipelines import BadPipeline

CELLS = [
    ("import math", []),
    ("C = 1.0  # strength\nname = 'a'", ["parameters"]),
    ("x = C", ["step:load"]),
    ("y = x", ["step:train", "prev:load", "retry:2", "timeout:90", "label:team:ds", "stpe:x"]),
]


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "train.ipynb"
    made = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    made.cells = [new_code_cell(text, metadata={"tags": tags}) for text, tags in CELLS]
    nbformat.write(made, path)
    return path


def run(*arguments):
    return CliRunner().invoke(cli, ["inspect", *map(str, arguments)])


def test_the_json_has_parameters_steps_and_warnings(notebook):
    answer = run(notebook, "--format", "json")
    assert answer.exit_code == 0
    document = json.loads(answer.stdout)
    assert document["parameters"] == [
        {"name": "C", "type": "float", "default": 1.0, "written": "1.0", "comment": "strength"},
        {"name": "name", "type": "str", "default": "a", "written": "'a'", "comment": ""},
    ]
    assert document["steps"] == [
        {"name": "load", "cells": [2], "after": [], "options": {}},
        {
            "name": "train",
            "cells": [3],
            "after": ["load"],
            "options": {"retry": 2, "timeout_s": 90.0, "labels": {"team": "ds"}},
        },
    ]
    (warning,) = document["warnings"]
    assert "did you mean step:x?" in warning


@pytest.mark.parametrize(
    ("written", "default"),
    [
        ("(1, 2)", [1, 2]),
        ("{2, 1}", [1, 2]),
        ("[1, (2, {3})]", [1, [2, [3]]]),
        ("b'x'", None),
        ("1j", None),
        ("...", None),
        ("1e999", "Infinity"),
        ("Path('x')", None),
        ("None", None),
    ],
)
def test_a_default_that_json_cannot_hold_stands_as_it_is_written(tmp_path, written, default):
    path = tmp_path / "train.ipynb"
    cells = [new_code_cell(f"p = {written}", metadata={"tags": ["parameters"]})]
    nbformat.write(new_notebook(cells=cells), path)
    (found,) = json.loads(run(path, "--format", "json").stdout)["parameters"]
    assert found["default"] == default
    assert eval(found["written"], {"Path": str}) == eval(written, {"Path": str})  # noqa: S307


@pytest.mark.parametrize("format_", ["table", "md"])
def test_the_table_names_steps_parameters_options_and_warnings(notebook, format_):
    text = run(notebook, "--format", format_).stdout
    for part in ("load", "train", "retry 2", "timeout 1 min 30 s", "strength", "did you mean"):
        assert part in text


def test_a_notebook_without_steps_says_how_to_get_some(tmp_path):
    path = tmp_path / "plain.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("x = 1")]), path)
    answer = run(path)
    assert answer.exit_code == 0
    assert "step:NAME" in answer.stdout
    assert "--split-on h2" in answer.stdout


def test_a_notebook_can_be_split_without_tags(tmp_path):
    path = tmp_path / "plain.ipynb"
    cells = [new_markdown_cell("## Load"), new_code_cell("x = 1"), new_code_cell("y = 1")]
    nbformat.write(new_notebook(cells=cells), path)
    by_heading = json.loads(run(path, "--split-on", "h2", "--format", "json").stdout)
    by_cell = json.loads(run(path, "--split-on", "cell", "--format", "json").stdout)
    assert [s["name"] for s in by_heading["steps"]] == ["load"]
    assert [s["name"] for s in by_cell["steps"]] == ["cell_1", "cell_2"]
    assert "--split-on h2" in run(path, "--split-on", "h2").stdout.splitlines()[-1]


def test_what_is_wrong_is_told_at_once_with_exit_code_2(tmp_path, capsys):
    path = tmp_path / "bad.ipynb"
    cells = [
        new_code_cell("x", metadata={"tags": ["step:a", "prev:b", "retry:x"]}),
        new_code_cell("", metadata={"tags": ["step:c"]}),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    with pytest.raises(SystemExit) as left:
        main(["inspect", str(path)])
    assert left.value.code == 2
    told = capsys.readouterr().err
    for part in ("3 things are wrong", "retry:x", "(cell 1) is empty", "comes after b"):
        assert part in told


def test_the_function_gives_the_same_as_the_command(notebook):
    view = mn.inspect_notebook(notebook)
    assert view.document() == json.loads(run(notebook, "--format", "json").stdout)
    assert "train" in view.text


def test_the_function_refuses_what_the_command_refuses(tmp_path):
    path = tmp_path / "bad.ipynb"
    cells = [new_code_cell("x", metadata={"tags": ["step:a", "prev:a"]})]
    nbformat.write(new_notebook(cells=cells), path)
    with pytest.raises(BadPipeline, match="comes after itself"):
        mn.inspect_notebook(path)


def test_looking_at_a_notebook_loads_nothing_heavy_and_runs_nothing(notebook, tmp_path):
    program = f"""
import sys
import mlops_nb as mn
mn.inspect_notebook({str(notebook)!r}).document()
heavy = {{"pandas", "numpy", "sklearn", "sqlalchemy", "IPython", "cloudpickle", "nbformat"}}
print(sorted(heavy & set(sys.modules)))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert answer.stdout.strip() == "[]"
    assert not (tmp_path / ".mlops").exists()


# --- in a live notebook ----------------------------------------------------------------------


def in_a_shell(tmp_path, *lines):
    """Run a program in a process with a shell that has the extension loaded."""
    program = textwrap.dedent("""
        import sys
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_line_magic("load_ext", "mlops_nb")
    """) + "\n".join(lines)
    place = {"IPYTHONDIR": str(tmp_path), "MLOPS_NB_STORE": str(tmp_path / ".mlops")}
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | place,
    )


def test_a_step_cell_runs_as_any_other(tmp_path):
    answer = in_a_shell(
        tmp_path,
        'cell = "%%mlops_step train --after load\\nimport asyncio\\nawait asyncio.sleep(0)\\n7 * 6"',
        "result = shell.run_cell(cell)",
        "print('value', result.result, result.success)",
        "failed = shell.run_cell('%%mlops_step train\\na = 1\\nb = 1 / 0')",
        "print('line', failed.error_in_exec.__traceback__.tb_next.tb_lineno, shell.user_ns['a'])",
    )
    assert "value 42 True" in answer.stdout
    assert "line 3 1" in answer.stdout


@pytest.mark.parametrize(
    "magic", ["%%mlops_step train\\n%%time\\nz = 5", "%mlops_step train\\nz = 5"]
)
def test_a_step_cell_may_be_another_magic_or_begin_with_a_line(tmp_path, magic):
    answer = in_a_shell(tmp_path, f'shell.run_cell("{magic}")', "print(shell.user_ns['z'])")
    assert answer.stdout.splitlines()[-1] == "5"


def test_a_step_line_that_says_nonsense_warns_and_never_breaks_the_cell(tmp_path):
    answer = in_a_shell(
        tmp_path,
        "result = shell.run_cell('%%mlops_step a/b --rety 2 --retry x\\nz = 5')",
        "print(result.success, shell.user_ns['z'])",
    )
    assert "True 5" in answer.stdout
    for part in ("did you mean --retry?", "retry:x", "no legal name"):
        assert part in answer.stderr


def test_a_step_line_never_breaks_the_cell_of_who_makes_errors_of_warnings(tmp_path):
    answer = in_a_shell(
        tmp_path,
        "import warnings",
        "warnings.simplefilter('error')",
        "result = shell.run_cell('%%mlops_step a --retry x\\nz = 5')",
        "print(result.success, shell.user_ns['z'])",
    )
    assert "True 5" in answer.stdout


def test_runs_of_a_step_cell_carry_its_name_and_no_others(tmp_path):
    answer = in_a_shell(
        tmp_path,
        "shell.run_line_magic('mlops_track', '--interactive --quiet')",
        "shell.run_cell('%mlops_log a=1')",
        "shell.run_cell('%%mlops_step train\\nimport mlops_nb as mn\\nwith mn.run(\"mine\"): mn.log(dict(b=1))')",
        "shell.run_cell('with mn.run(\"next\"): mn.log(dict(c=1))')",
        "import mlops_nb",
        "found = {run.name: dict(run.tags) for run in mlops_nb.runs().runs}",
        "print('tags', {name: found[name] for name in ('next', 'mine')})",
    )
    assert "tags {'next': {}, 'mine': {'step': 'train'}}" in answer.stdout


def test_pipelines_are_loaded_when_their_magic_is_used_or_asked_about(tmp_path):
    answer = in_a_shell(
        tmp_path,
        "print('before', [n for n in sys.modules if n.startswith('mlops_nb.pipeline')])",
        "shell.run_line_magic('pinfo', '%mlops_step')",
        "print('after', 'mlops_nb.pipeline_magics' in sys.modules)",
    )
    assert "before []" in answer.stdout
    assert "after True" in answer.stdout
    assert "--foreach VAR" in answer.stdout


def test_help_of_the_magic_runs_nothing(tmp_path):
    answer = in_a_shell(
        tmp_path, "shell.run_cell('%%mlops_step -h\\nz = 5')", "print('z' in shell.user_ns)"
    )
    assert "--foreach VAR" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "False"


def test_unloading_takes_the_magic_away(tmp_path):
    answer = in_a_shell(
        tmp_path,
        "shell.run_line_magic('unload_ext', 'mlops_nb')",
        "kinds = shell.magics_manager.magics.values()",
        "print([name for kind in kinds for name in kind if name.startswith('mlops')])",
    )
    assert answer.stdout.strip().endswith("[]")
