"""``mlops-nb run`` of notebooks with steps, ``step run`` and ``step debug``, and their progress."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import nbformat
import pytest
from pipeline_runs import write_notebook

from mlops_nb.cli.step_progress import StepLines, StepTable, WorkflowLog, escaped, harmless
from mlops_nb.pipeline.running import Seen

FLOW = (
    ("parameters", "size = 3"),
    ("step:load", "rows = list(range(size))"),
    ("step:total prev:load output:total", "total = sum(rows)"),
)


def mlops_nb(folder, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the command as a person does."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_NB_", "GITHUB_"))}
    return subprocess.run(
        [sys.executable, "-m", "mlops_nb", *arguments],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a notebook that has run once."""
    made = tmp_path_factory.mktemp("cli")
    write_notebook(made / "flow.ipynb", *FLOW)
    ran = mlops_nb(made, "run", "flow.ipynb", "-p", "size=4", "--format", "json")
    assert ran.returncode == 0, ran.stderr
    (made / "first.json").write_text(ran.stdout)
    return made


def first(folder) -> dict:
    return json.loads((folder / "first.json").read_text())


def test_the_document_says_what_became_of_each_step(folder):
    document = first(folder)
    assert document["status"] == "finished"
    assert document["params"] == {"size": 4}
    assert [(s["name"], s["status"], s["step_state"], s["cached"]) for s in document["steps"]] == [
        ("load", "finished", "done", False),
        ("total", "finished", "done", False),
    ]
    assert all(step["run"] and step["notebook"] for step in document["steps"])
    assert document["outputs"]["total"]["format"] == "json"


def test_a_second_run_uses_what_is_kept_and_reports_it(folder):
    report = ("--report", "junit", "--report-to", "report.xml")
    ran = mlops_nb(folder, "run", "flow.ipynb", "-p", "size=4", *report)
    assert ran.returncode == 0, ran.stderr
    assert "✓ load cached" in ran.stderr
    assert "saved by cache" in ran.stdout
    assert 'testcase name="load"' in (folder / "report.xml").read_text()


def test_a_dry_run_says_what_would_run_and_why(folder):
    ran = mlops_nb(folder, "run", "flow.ipynb", "-p", "size=5", "--dry-run", "--format", "json")
    document = json.loads(ran.stdout)
    assert [(step["name"], step["stale"]) for step in document["steps"]] == [
        ("load", True),
        ("total", True),
    ]
    assert "parameter size changed from 4 to 5" in document["steps"][0]["reasons"][0]
    kept = mlops_nb(folder, "run", "flow.ipynb", "-p", "size=4", "--dry-run")
    assert "0 of 2 steps would run" in kept.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("-p", "siez=1"), 'no parameter "siez"', id="parameter"),
        pytest.param(("--from", "laod"), 'Did you mean "load"', id="step"),
        pytest.param(("-o", "out.ipynb"), "-o is for one executed notebook", id="output"),
        pytest.param(("--engine", "slurm"), 'no engine "slurm"', id="engine"),
        pytest.param(("--whole", "--until", "load"), "--until: only for pipelines", id="whole"),
    ],
)
def test_what_cannot_be_done_is_refused(folder, arguments, message):
    ran = mlops_nb(folder, "run", "flow.ipynb", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in ran.stderr


def test_a_step_by_itself_takes_from_the_store_what_the_steps_above_gave(folder):
    def step(name: str, *more: str):
        return mlops_nb(
            folder,
            "step",
            "run",
            "--pipeline",
            "flow.ipynb",
            "--run",
            "nightly",
            "--step",
            name,
            *more,
        )

    early = step("total", "-p", "size=6")
    assert early.returncode == 2
    assert "No results of step load" in early.stderr
    done = step("load", "-p", "size=6", "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["steps"][0]["step_state"] == "done"
    last = step("total")
    assert last.returncode == 0, last.stderr
    assert step("total").returncode == 0
    shown = mlops_nb(folder, "show", document["id"], "--format", "json")
    run = json.loads(shown.stdout)
    assert (run["kind"], run["status"], run["params"]) == ("pipeline", "finished", {"size": 6})


def test_a_failed_step_ends_with_what_helps_and_can_be_looked_into(folder):
    cells = (*FLOW[:2], ("step:bad prev:load", "total = sum(rows)\nbroken = total / 0"))
    write_notebook(folder / "bad.ipynb", *cells)
    ran = mlops_nb(folder, "run", "bad.ipynb", GITHUB_ACTIONS="true")
    assert ran.returncode == 3
    assert "✕ bad: ZeroDivisionError in cell 2, line 2: division by zero" in ran.stdout
    assert "::group::✕ bad failed" in ran.stderr
    assert "::error title=step bad::division by zero" in ran.stderr
    debug = next(line for line in ran.stdout.splitlines() if "step debug" in line)
    arguments = debug.partition("debug: mlops-nb ")[2].split()
    made = mlops_nb(folder, *arguments, "-o", "look", "--format", "json")
    assert made.returncode == 0, made.stderr
    notebook = nbformat.read(json.loads(made.stdout)["notebook"], as_version=4)
    from nbclient import NotebookClient

    NotebookClient(notebook, allow_errors=True, kernel_name="python3").execute()
    errors = [o.ename for c in notebook.cells for o in c.get("outputs", ()) if "ename" in o]
    assert errors[0] == "ZeroDivisionError"


def test_a_step_whose_condition_is_false_says_so_by_its_exit_code(folder):
    write_notebook(folder / "when.ipynb", ("step:a when:metrics.auc>1", "x = 1"))
    asked = ("--pipeline", "when.ipynb", "--run", "r", "--step", "a")
    ran = mlops_nb(folder, "step", "run", *asked)
    assert ran.returncode == 4
    assert "metrics.auc is not there" in ran.stdout


# --- progress -----------------------------------------------------------------------------------

EVENTS = (
    Seen("begin", text="flow.ipynb → 2 steps", steps=("load", "total")),
    Seen("state", "load", "running", "load ran because its code changed"),
    Seen("cell", "load", cell=0, total=3, word="started"),
    Seen("cell", "load", cell=0, total=3, word="done"),
    Seen("remark", "load", text="::set-output name=x::1"),
    Seen("state", "load", "done", duration_s=1.5),
    Seen("state", "total", "failed", "100% wrong\nreally", duration_s=0.5),
    Seen("end", text="failed"),
)


def test_lines_are_one_for_each_event():
    lines: list[str] = []
    say = StepLines(lines.append)
    for seen in EVENTS:
        say(seen)
    assert lines[0] == "flow.ipynb → 2 steps"
    assert lines[1] == "◐ load running (load ran because its code changed)"
    assert lines[2].startswith("  load: cell 1/3 done")
    assert lines[4:] == ["✓ load done 1.5 s", "✕ total failed 0.5 s (100% wrong)"]


def test_a_workflow_log_has_a_group_for_each_step_and_no_command_of_a_cell():
    lines: list[str] = []
    say = WorkflowLog(lines.append)
    for seen in EVENTS:
        say(seen)
    assert lines[1] == "::group::✓ load done 1.5 s"
    assert lines.count("::endgroup::") == 2
    assert lines[-1] == "::error title=step total::100%25 wrong%0Areally"
    commands = [line for line in lines if line.startswith("::")]
    assert not any("set-output" in line for line in commands)


def test_workflow_commands_are_escaped():
    assert escaped("a%b\nc:d,e") == "a%25b%0Ac:d,e"
    assert escaped("a:b,c", is_property=True) == "a%3Ab%2Cc"
    assert not harmless("  ::error::x").lstrip().startswith("::")
    assert harmless("plain :: text") == "plain :: text"


def test_a_terminal_has_a_line_for_each_step_and_piece():
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with StepTable(console) as table:
        for seen in (*EVENTS[:4], Seen("state", "total[0]", "cached"), *EVENTS[5:7]):
            table(seen)
        rows = [table._row(name) for name in table._steps]
    assert [row[1] for row in rows] == ["load", "total", "total[0]"]
    assert [row[0].strip() for row in rows] == ["✓", "✕", "✓"]
    assert rows[0][3] == "1.5 s"
