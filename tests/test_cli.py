"""The command line: what it prints where, its documents, and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mlops_nb import __version__
from mlops_nb.cli import main
from mlops_nb.model import MetricLogged, ParamLogged, RunChanged, RunStarted, TagSet
from mlops_nb.store import Store

GOLDEN = Path(__file__).parent / "golden"
PATIENCE_S = 60
MINUTE_NS = 60 * 10**9
BEGIN_NS = 1_790_000_000 * 10**9
CHURN, SPAM = "7f3a0000000000aa", "e21b0000000000bb"


def recorded(id_, at_ns, name, *, params, metrics, status="finished"):
    """What a run of the past has left."""
    return [
        RunStarted(id=id_, at_ns=at_ns, name=name, kind="cell", group=name),
        *(ParamLogged(id_, key, value, at_ns) for key, value in params.items()),
        *(MetricLogged(id_, key, value, None, at_ns) for key, value in metrics.items()),
        TagSet(id_, "stage", "test", at_ns),
        RunChanged(id_, at_ns + 3 * 10**9, {"status": status, "ended_at_ns": at_ns + 3 * 10**9}),
    ]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make a project, and be in it; nothing of this machine's own settings counts."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("MLOPS_NB_STORE", "MLOPS_NB_DEBUG", "MLOPS_NB_BATCH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def two_runs(project):
    """A store with two runs in it."""
    with Store.open(project / ".mlops", create=True) as store:
        store.apply(
            [
                *recorded(CHURN, BEGIN_NS, "churn", params={"C": 1.0}, metrics={"auc": 0.912}),
                *recorded(
                    SPAM,
                    BEGIN_NS + MINUTE_NS,
                    "spam",
                    params={"C": 0.01},
                    metrics={"auc": 0.861},
                    status="failed",
                ),
            ]
        )
    return project


@pytest.fixture
def cli(capfd):
    """Call the command line in this process; gives (exit code, output, errors)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exited:
            main([str(argument) for argument in arguments])
        shown = capfd.readouterr()
        return exited.value.code, shown.out, shown.err

    return call


# --- looking ----------------------------------------------------------------------------------


def test_runs_lists_the_newest_first(two_runs, cli):
    code, out, _ = cli("runs")
    assert code == 0
    assert out.index("e21b") < out.index("7f3a")


def test_runs_takes_a_query_in_one_word_or_many(two_runs, cli):
    for query in (["metrics.auc > 0.9"], ["metrics.auc", ">", "0.9"]):
        _, out, _ = cli("runs", *query, "--format", "json")
        assert [run["id"] for run in json.loads(out)["runs"]] == [CHURN]


def test_runs_gives_the_document_of_the_design(two_runs, cli):
    _, out, _ = cli("runs", "--format", "json")
    run = json.loads(out)["runs"][1]
    assert {"id", "name", "status", "params", "metrics", "tags", "executions"} <= set(run)
    assert (run["params"], run["metrics"]["auc"]["value"]) == ({"C": 1.0}, 0.912)
    assert (run["started_at"], run["duration_s"]) == ("2026-09-21T14:13:20Z", 3.0)


def test_a_limit_of_zero_lists_all(project, cli):
    with Store.open(project / ".mlops", create=True) as store:
        for number in range(60):
            store.apply(
                recorded(f"{number:016x}", BEGIN_NS + number, "many", params={}, metrics={})
            )
    shown = {
        limit: json.loads(cli("runs", "--limit", limit, "--format", "json")[1]) for limit in (0, 7)
    }
    assert [len(document["runs"]) for document in shown.values()] == [60, 7]
    assert {document["total"] for document in shown.values()} == {60}


@pytest.mark.parametrize("command", [["runs"], ["compare"], ["show", CHURN], ["doctor"]])
@pytest.mark.parametrize("format_", ["table", "json", "md"])
def test_every_command_has_every_format(two_runs, cli, command, format_):
    code, out, err = cli(*command, "--format", format_)
    assert (code, err) == (0, "")
    assert out.strip()
    if format_ == "json":
        json.loads(out)
    if command != ["doctor"]:
        assert "7f3a" in out


def test_compare_gives_the_best_and_what_differs(two_runs, cli):
    _, out, _ = cli("compare", "--sort", "auc", "--format", "json")
    document = json.loads(out)
    assert {run["id"] for run in document["runs"]} == {CHURN, SPAM}
    assert document["best"] == {"auc": CHURN}
    assert document["differs"]["params"] == ["C"]


def test_compare_writes_a_page_that_needs_no_script(two_runs, cli):
    code, out, err = cli("compare", "--html", "table.html")
    assert code == 0
    assert "7f3a" in out
    assert "table.html" in err
    page = (two_runs / "table.html").read_text(encoding="utf-8")
    assert "7f3a" in page
    assert "<script" not in page


@pytest.mark.parametrize("reference", [CHURN, "7f3a", "churn", "@best:auc", "@-2"])
def test_a_run_is_found_by_every_kind_of_reference(two_runs, cli, reference):
    code, out, _ = cli("show", reference, "--format", "json")
    assert (code, json.loads(out)["id"]) == (0, CHURN)


def test_show_without_a_reference_is_the_newest(two_runs, cli):
    assert json.loads(cli("show", "--format", "json")[1])["id"] == SPAM


def test_show_takes_several_parts(two_runs, cli):
    code, out, _ = cli("show", "7f3a", "--errors", "--data", "--env", "--resources")
    assert code == 0
    assert "7f3a" in out


def test_a_store_elsewhere_is_named(two_runs, cli, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    _, out, _ = cli("runs", "--store", two_runs / ".mlops", "--format", "json")
    assert len(json.loads(out)["runs"]) == 2


def test_text_from_a_run_cannot_draw_in_the_terminal(project, cli):
    with Store.open(project / ".mlops", create=True) as store:
        store.apply(recorded(CHURN, BEGIN_NS, "evil\x1b[2Jname", params={}, metrics={}))
    assert "\x1b" not in cli("runs")[1]
    assert "\x1b" not in cli("show")[1]


# --- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["show", "beef"], 'No run matches "beef"', id="unknown run"),
        pytest.param(["runs", "metrics.auc >"], "^", id="bad query"),
        pytest.param(["compare", "--sort", "nothing"], "nothing", id="unknown metric"),
        pytest.param(["runs", "--limit", "x"], "not a valid integer", id="bad option"),
        pytest.param(["run", "no.ipynb"], "there is no such file", id="missing notebook"),
        pytest.param(["run", "."], "there is no pipeline.yaml", id="folder"),
        pytest.param(["run", "x.ipynb", "-p", "C"], '"C" is not name=value', id="no value"),
        pytest.param(["nonsense"], "No such command", id="unknown command"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(two_runs, cli, arguments, message):
    code, out, err = cli(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_without_a_store_it_says_how_to_get_one(project, cli):
    code, _, err = cli("runs")
    assert code == 2
    assert "%mlops_track" in err
    assert not (project / ".mlops").exists()


def test_a_bad_setting_says_where_it_stands(two_runs, cli):
    (two_runs / "pyproject.toml").write_text("[tool.mlops_nb]\nquiet = 'perhaps'\n")
    code, _, err = cli("runs")
    assert code == 2
    assert "quiet" in err
    assert "pyproject.toml" in err


def test_debug_shows_where_an_error_came_from(two_runs, cli, monkeypatch):
    from mlops_nb.cli import frame

    monkeypatch.setitem(frame._debug, "is_on", False)
    assert "Traceback" not in cli("show", "beef")[2]
    for arguments in (["--debug", "show", "beef"], ["show", "beef", "--debug"]):
        monkeypatch.setitem(frame._debug, "is_on", False)
        code, _, err = cli(*arguments)
        assert code == 2
        assert "RunNotFound" in err.partition("Error:")[0]


def test_a_fault_of_ours_is_one_line_too(two_runs, cli, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("mlops_nb.store.database.Store.runs", broken)
    code, _, err = cli("runs")
    assert code == 70
    assert "ZeroDivisionError: a fault" in err
    assert "--debug" in err
    assert "Traceback" not in err


def test_a_page_that_cannot_be_written_is_said(two_runs, cli):
    code, _, err = cli("compare", "--html", "no/such/folder.html")
    assert code == 2
    assert "no/such/folder.html: No such file or directory" in err


def test_a_reader_that_has_seen_enough_is_no_error(two_runs):
    command = f"{sys.executable} -m mlops_nb runs --format json | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_doctor_without_a_store_says_so_and_its_check_says_no(project, cli):
    assert cli("doctor")[0] == 0
    code, out, _ = cli("doctor", "--check")
    assert code == 1
    assert "No store" in out


def test_doctor_names_the_version_and_the_store(two_runs, cli):
    code, out, _ = cli("doctor", "--check", "--format", "json")
    assert code == 0
    document = json.loads(out)
    assert document["version"] == __version__
    assert document["store"]["runs"] == 2


# --- weight, help and completion --------------------------------------------------------------


@pytest.mark.parametrize("command", [["runs"], ["compare"], ["show", "churn"]])
def test_looking_loads_neither_ipython_nor_pandas(two_runs, command):
    script = (
        "import sys\n"
        "from mlops_nb.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n"
        "    heavy = {'IPython', 'pandas', 'numpy', 'sklearn', 'papermill', 'matplotlib'}\n"
        "    print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, check=True
    )
    assert "7f3a" in done.stdout
    assert done.stderr == "[]\n"


def test_help_and_version_load_no_database(project):
    script = (
        "import sys\n"
        "from mlops_nb.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n"
        "    print(sorted({'sqlalchemy', 'rich', 'nbformat'} & set(sys.modules)), file=sys.stderr)"
    )
    for argument in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", script, argument], capture_output=True, text=True, check=True
        )
        assert done.stderr == "[]\n"


@pytest.mark.parametrize("command", ["runs", "compare", "show", "run", "doctor", "completion"])
def test_every_command_explains_itself(cli, command):
    code, out, _ = cli(command, "-h")
    assert code == 0
    assert "Usage: mlops-nb" in out
    assert "mlops-nb" in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(cli, shell):
    code, out, _ = cli("completion", shell)
    assert code == 0
    assert "_MLOPS_NB_COMPLETE" in out


def completed(words, number):
    environment = {
        **os.environ,
        "_MLOPS_NB_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(number),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from mlops_nb.cli import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()


def test_the_tab_key_offers_commands_and_runs(two_runs):
    assert "plain,compare" in completed("mlops-nb comp", 1)
    assert f"plain,{CHURN[:8]}" in completed("mlops-nb show 7f", 2)


def test_the_tab_key_is_silent_where_there_is_no_store(project):
    assert completed("mlops-nb show 7f", 2) == []


# --- running ----------------------------------------------------------------------------------


def golden(project, name):
    shutil.copy(GOLDEN / f"{name}.ipynb", project / f"{name}.ipynb")
    return f"{name}.ipynb"


def saved(path, *sources):
    cells = [new_code_cell(source) for source in sources]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path.name


def test_a_notebook_becomes_a_run_and_the_next_commands_are_named(project, cli):
    code, out, err = cli("run", golden(project, "plain"), "-p", "C=0.5", "-p", "name=mine")
    assert code == 0, err
    run_id = re.search(r"run ([0-9a-f]{8})", out)[1]
    assert f"mlops-nb show {run_id}" in out
    assert "mlops-nb compare" in out
    lines = err.splitlines()
    assert lines[0] == (
        "plain.ipynb: 2 code cells · params C=0.5 (default 1), name=mine (default 'plain')"
    )
    assert re.fullmatch(r"cell 4/4 done \d+\.\d s", lines[-1])
    _, shown, _ = cli("show", run_id, "--format", "json")
    assert json.loads(shown)["params"] == {"C": 0.5, "name": "mine"}


def test_the_executed_notebook_goes_into_the_store_by_its_run(project, cli):
    _, out, _ = cli("run", golden(project, "plain"), "--format", "json")
    document = json.loads(out)
    path = Path(document["outputs"]["notebook"])
    assert path == project / ".mlops" / "runs" / document["id"] / "plain.ipynb"
    assert nbformat.read(path, 4).metadata.mlops_nb.run == document["id"]


def test_run_gives_the_document_of_the_design(project, cli):
    _, out, _ = cli("run", golden(project, "plain"), "-o", "out.ipynb", "--format", "json")
    document = json.loads(out)
    (step,) = document["steps"]
    assert document["status"] == "finished"
    assert (step["name"], step["status"], step["cached"]) == ("plain", "finished", False)
    assert (step["run"], step["notebook"], step["error"]) == (document["id"], "out.ipynb", None)
    assert step["duration_s"] > 0


def test_name_experiment_and_tags_are_the_runs(project, cli):
    path = golden(project, "plain")
    more = ("--name", "nightly", "-e", "churn", "-t", "stage=test", "-t", "by=me=you", "--whole")
    assert cli("run", path, *more)[0] == 0
    run = json.loads(cli("show", "--format", "json")[1])
    assert (run["name"], run["experiment"], run["kind"]) == ("nightly", "churn", "batch")
    assert run["tags"] == {"stage": "test", "by": "me=you"}


def test_parameters_come_from_files_and_the_command_line_wins(project, cli):
    path = golden(project, "plain")
    (project / "one.yaml").write_text("C: 2\nname: 'file'\n")
    (project / "two.json").write_text('{"C": 3}')
    assert cli("run", path, "-f", "one.yaml", "-f", "two.json", "-p", "name=typed")[0] == 0
    run = json.loads(cli("show", "--format", "json")[1])
    assert run["params"] == {"C": 3, "name": "typed"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: [", "params.yaml is not YAML", id="broken"),
        pytest.param("- 1", "does not hold names and values", id="a list"),
        pytest.param("D: 1", 'it has no parameter "D"', id="unknown"),
        pytest.param(
            "C: high", '"C" is an int in the notebook (C = 1), you gave "high"', id="type"
        ),
        pytest.param("!!python/object/apply:os.getcwd []", "is not YAML", id="code"),
    ],
)
def test_a_bad_parameter_file_is_refused_before_anything_runs(project, cli, text, message):
    (project / "params.yaml").write_text(text)
    code, _, err = cli("run", golden(project, "plain"), "-f", "params.yaml", "-o", "out.ipynb")
    assert code == 2
    assert message in err
    assert not (project / "out.ipynb").exists()


def test_a_failed_cell_shows_the_lines_around_it_and_exits_with_3(project, cli):
    code, out, _ = cli("run", golden(project, "failing"), "-o", "out.ipynb")
    assert code == 3
    lines = out.splitlines()
    assert lines[:6] == [
        "✕ failing: ValueError in cell 2 line 5: could not convert",
        '        3  print("inside")',
        "        4  total = sum(values)",
        '    >   5  raise ValueError("could not convert")',
        "        6  never = 1",
        "        7  last = 2",
    ]
    run_id = re.search(r"run ([0-9a-f]{8}) · failed", out)[1]
    assert f"mlops-nb show {run_id} --errors" in out
    assert "papermill-error-cell" in (project / "out.ipynb").read_text()


def test_a_failure_stands_in_the_document(project, cli):
    code, out, _ = cli("run", golden(project, "failing"), "--format", "json")
    document = json.loads(out)
    assert (code, document["status"]) == (3, "failed")
    assert document["steps"][0]["error"] == {
        "type": "ValueError",
        "message": "could not convert",
        "cell": 2,
        "line": 5,
    }


def test_a_kernel_that_dies_is_a_failed_cell(project, cli):
    path = saved(project / "in.ipynb", "print('first')", "import os; os.kill(os.getpid(), 9)")
    code, out, err = cli("run", path, "-o", "out.ipynb")
    assert code == 3
    assert "✕ in: DeadKernelError in cell 1: the kernel died" in out
    assert "Traceback" not in err
    executed = nbformat.read(project / "out.ipynb", 4)
    assert executed.cells[0].outputs[0].text == "first\n"


def test_a_store_is_meant_from_where_the_command_is_typed(project, cli):
    (project / "deep").mkdir()
    shutil.copy(GOLDEN / "plain.ipynb", project / "deep")
    assert cli("run", "deep/plain.ipynb", "--store", "ours")[0] == 0
    assert len(json.loads(cli("runs", "--store", "ours", "--format", "json")[1])["runs"]) == 1
    assert not (project / "deep" / "ours").exists()


def test_what_was_repaired_is_noted(project, cli):
    code, _, err = cli("run", golden(project, "version3"))
    assert code == 0
    assert "note: It is in nbformat 3 and was converted to 4." in err


def test_a_missing_kernel_is_named_with_those_that_are_there(project, cli):
    code, _, err = cli("run", golden(project, "plain"), "--kernel", "nowhere")
    assert code == 2
    assert 'asks for the kernel "nowhere"' in err
    assert "python3" in err
    assert not (project / ".mlops").exists()


def test_a_notebook_in_another_language_is_refused_by_name(project, cli):
    spec = {"name": "ir", "display_name": "R", "language": "R"}
    nbformat.write(new_notebook(metadata={"kernelspec": spec}), project / "r.ipynb")
    code, _, err = cli("run", "r.ipynb")
    assert code == 2
    assert "it is a notebook in R" in err


def test_the_kernels_own_remarks_do_not_get_between_ours(project, cli):
    _, _, err = cli("run", golden(project, "plain"))
    assert "IPKernelApp" not in err


def test_a_kernel_slow_to_finish_its_last_request_makes_no_remark(project, cli):
    """A kernel is interrupted before it is stopped; this one is still busy by then."""
    slow = (
        "import time\n"
        "session = get_ipython().kernel.session\n"
        "def send(*arguments, _send=session.send, **named):\n"
        "    sent = _send(*arguments, **named)\n"
        "    if 'execute_reply' in arguments[1:2]:\n"
        "        time.sleep(0.5)\n"
        "    return sent\n"
        "session.send = send"
    )
    code, _, err = cli("run", saved(project / "in.ipynb", slow))
    assert code == 0
    assert "KeyboardInterrupt" not in err


def test_ctrl_c_saves_what_ran_and_exits_with_130(project):
    path = saved(
        project / "in.ipynb", "print('first')", "open('marker', 'w')\nimport time\ntime.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "mlops_nb", "run", path, "-o", "out.ipynb"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not (project / "marker").exists():
        assert time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert [line for line in err.splitlines() if line][-2:] == [
        "what ran is in out.ipynb",
        "interrupted",
    ]
    assert "Traceback" not in err
    executed = nbformat.read(project / "out.ipynb", 4)
    assert executed.cells[0].outputs[0].text == "first\n"
    with Store.open(project / ".mlops") as store:
        store.refresh()
        assert [run.status for run in store.runs()] == ["interrupted"]


def test_from_another_project_the_commands_say_where_the_store_is(
    project, cli, monkeypatch, tmp_path_factory
):
    path = project / golden(project, "plain")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / ".git").mkdir()
    monkeypatch.chdir(elsewhere)
    _, out, _ = cli("run", path)
    command = re.search(r"mlops-nb (show \w+ --store \S+)", out)[1].split()
    assert cli(*command)[0] == 0


@pytest.mark.skipif(os.name == "nt", reason="needs a Unix terminal")
def test_in_a_terminal_there_is_a_bar(project):
    leader, follower = pty.openpty()
    path = golden(project, "plain")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mlops_nb", "run", path],
        stdout=subprocess.PIPE,
        stderr=follower,
        env=environment,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    out, _ = process.communicate(timeout=PATIENCE_S)
    os.close(leader)
    assert process.returncode == 0
    assert "━" in seen.decode()
    assert re.search(r"cell \d/3", seen.decode())
    assert b"finished" in out
