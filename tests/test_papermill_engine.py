"""Our papermill engine: papermill's results, saved whole, tracked, and stopped in good order."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill
import pytest
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from papermill.engines import papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import papermill_io

from mlops_nb.errors import BadNotebook, BadParameter, KernelNotReady, MissingKernel
from mlops_nb.notebook import read_notebook
from mlops_nb.papermill_engine import Engine, plan_run, run_notebook, saving
from mlops_nb.papermill_engine.saving import notebook_text, write_whole
from mlops_nb.store import Store

GOLDEN = Path(__file__).parent / "golden"
PYTHON = {"name": "python3", "display_name": "Python 3", "language": "python"}
PATIENCE_S = 60


def notebook(*sources, tags=()):
    cells = [new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]
    if tags:
        cells[0].metadata["tags"] = list(tags)
    metadata = {"kernelspec": dict(PYTHON), "language_info": {"name": "python"}}
    return new_notebook(cells=cells, metadata=metadata)


def saved(path, *sources, tags=()):
    nbformat.write(notebook(*sources, tags=tags), path)
    return str(path)


def execute(path, output, **more):
    return papermill.execute_notebook(
        path, output, engine_name="mlops_nb", progress_bar=False, **more
    )


def texts(cell):
    return "".join(output.get("text", "") for output in cell.get("outputs", []))


def statuses(executed):
    return [cell.metadata.papermill.status for cell in executed.cells]


@pytest.fixture(autouse=True)
def _project(tmp_path, monkeypatch):
    """Each test in a project of its own, with its own store."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("MLOPS_NB_STORE", "MLOPS_NB_BATCH", "MLOPS_NB_NOTEBOOK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """Install kernels that are real processes, and not as usual."""
    folder = tmp_path / "share"
    monkeypatch.setenv("JUPYTER_PATH", str(folder))

    def install(name, script, language="python"):
        home = folder / "kernels" / name
        home.mkdir(parents=True)
        (home / "start.py").write_text(script)
        spec = {
            "argv": [sys.executable, str(home / "start.py"), "-f", "{connection_file}"],
            "display_name": name,
            "language": language,
        }
        (home / "kernel.json").write_text(json.dumps(spec))
        return name

    return install


WITHOUT_US = """
import sys
sys.modules["mlops_nb"] = None
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""
ANOTHER_LANGUAGE = """
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

class Echo(Kernel):
    implementation, implementation_version, banner = "echo", "1", "echo"
    language_info = {"name": "echo", "mimetype": "text/plain", "file_extension": ".txt"}

    def do_execute(self, code, silent, *more, **named):
        if not silent:
            self.send_response(self.iopub_socket, "stream", {"name": "stdout", "text": code})
        return {"status": "ok", "execution_count": self.execution_count, "payload": [],
                "user_expressions": {}}

IPKernelApp.launch_instance(kernel_class=Echo)
"""


def runs_here():
    with Store.open(".mlops") as store:
        store.refresh()
        return store.runs()


def only_run():
    (run,) = runs_here()
    return run


# --- papermill finds it -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "import papermill; from mlops_nb.papermill_engine import Engine",
        "from mlops_nb.papermill_engine import Engine; import papermill",
        "import mlops_nb.papermill_engine, papermill; from mlops_nb.papermill_engine import Engine",
    ],
    ids=["papermill first", "ours first", "package first"],
)
def test_papermill_finds_the_engine_whatever_is_imported_first(script):
    script += (
        "; from papermill.engines import papermill_engines as engines"
        "; assert engines.get_engine('mlops_nb') is Engine"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_importing_the_package_does_not_load_papermill():
    script = "import sys, mlops_nb.papermill_engine; sys.exit('papermill' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- the same results as papermill's own engine -----------------------------------------------


VARIED = (
    "value = 1",
    "print('out'); import sys; print('err', file=sys.stderr)",
    "value + 1",
    "from IPython.display import *\ndisplay(HTML('<b>x</b>'), display_id='d')",
    "update_display(HTML('<b>y</b>'), display_id='d')",
    "",
    "raise ValueError('a fault')",
    "print('never')",
)


def comparable(path):
    """Take out what differs from run to run."""
    content = json.loads(Path(path).read_text())
    for part in (content, *content["cells"]):
        facts = part["metadata"].get("papermill", {})
        for key in ("start_time", "end_time", "duration", "output_path"):
            facts.pop(key, None)
        part["metadata"].pop("execution", None)
        part["metadata"].pop("mlops_nb", None)
        part.pop("id", None)
    return content


def test_the_executed_notebook_is_as_papermill_itself_writes_it(tmp_path):
    path = saved(tmp_path / "in.ipynb", *VARIED, tags=["parameters"])
    for engine in ("nbclient", "mlops_nb"):
        with pytest.raises(PapermillExecutionError, match="a fault"):
            papermill.execute_notebook(
                path,
                str(tmp_path / f"{engine}.ipynb"),
                {"value": 5},
                engine_name=engine,
                progress_bar=False,
            )
    theirs, ours = comparable(tmp_path / "nbclient.ipynb"), comparable(tmp_path / "mlops_nb.ipynb")
    assert ours == theirs


def test_a_failed_cell_is_marked_and_what_follows_did_not_run(tmp_path):
    path = saved(tmp_path / "in.ipynb", "x = 1", "1 / 0", "print('never')")
    with pytest.raises(PapermillExecutionError) as failed:
        execute(path, "out.ipynb")
    assert (failed.value.ename, failed.value.cell_index) == ("ZeroDivisionError", 1)
    executed = nbformat.read("out.ipynb", 4)
    nbformat.validate(executed)
    assert "papermill-error-cell-tag" in executed.cells[0].metadata.tags
    ran = [cell.metadata.papermill.status for cell in executed.cells if cell.cell_type == "code"]
    assert ran == ["completed", "failed", "pending"]
    assert executed.metadata.papermill.exception is True


def test_a_clean_exit_is_no_failure(tmp_path):
    execute(saved(tmp_path / "in.ipynb", "import sys; sys.exit(0)", "print('never')"), "out.ipynb")
    assert only_run().status == "finished"


# --- saving -----------------------------------------------------------------------------------


def notebooks_of_all_kinds():
    nb = notebook("x\ny", "a\u2028b é 漢")
    nb.cells[0].outputs = [
        new_output("stream", name="stdout", text="one\ntwo\n"),
        new_output(
            "display_data", {"text/plain": "a\nb", "image/png": "aGk=", "text/html": "<b>"}
        ),
        new_output("execute_result", {"application/json": {"a": [1, "b\nc"]}}, execution_count=3),
        new_output("error", ename="E", evalue="v", traceback=["t\nu"]),
        new_output("display_data", {"image/svg+xml": "<svg>\n</svg>"}),
    ]
    nb.cells[0].metadata["trusted"] = True
    nb.metadata["signature"] = "x"
    with_attachment = new_markdown_cell("![x](attachment:x.txt)")
    with_attachment["attachments"] = {"x.txt": {"text/plain": "l\nm", "image/png": "aGk="}}
    nb.cells.append(with_attachment)
    yield nb
    yield new_notebook()
    yield nbformat.read(GOLDEN / "plain.ipynb", 4)


@pytest.mark.parametrize("nb", list(notebooks_of_all_kinds()), ids=["varied", "empty", "plain"])
def test_a_notebook_is_written_byte_for_byte_as_nbformat_does(nb):
    before = json.dumps(nb, sort_keys=True)
    assert notebook_text(nb) == nbformat.writes(nb)
    assert json.dumps(nb, sort_keys=True) == before


def test_a_notebook_is_written_seldom(tmp_path, monkeypatch):
    written = []
    original = saving.write_whole
    monkeypatch.setattr(
        saving, "write_whole", lambda path, text: (written.append(path), original(path, text))
    )
    path = saved(tmp_path / "in.ipynb", *(f"x = {i}" for i in range(40)))
    begin = time.monotonic()
    execute(path, "out.ipynb")
    # At the start and at the end, and between them by the clock, not by the cells.
    assert len(written) <= 2 + (time.monotonic() - begin) / saving.SAVE_EVERY_S


def test_a_new_file_takes_the_place_of_the_old_one_and_keeps_its_mode(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text("old")
    path.chmod(0o640)
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.glob(".x*")) == []


def test_a_file_that_is_new_gets_the_usual_mode(tmp_path):
    write_whole(tmp_path / "ours", "x")
    (tmp_path / "theirs").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.ipynb").write_text("old")
    link = tmp_path / "link.ipynb"
    link.symlink_to("real.ipynb")
    write_whole(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real.ipynb").read_text() == "new"


def test_a_device_is_written_to_and_not_replaced():
    write_whole(Path("/dev/null"), "x")
    assert Path("/dev/null").is_char_device()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half a pair: \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.glob("*x.ipynb*")] == ["x.ipynb"]


def test_what_somebody_else_wrote_meanwhile_is_written_over(tmp_path):
    output = tmp_path / "out.ipynb"
    handler = saving.handler_for(str(output))
    handler.write("ours", str(output))
    output.write_text("some")
    handler.write("ours", str(output))
    assert output.read_text() == "ours"


def test_a_missing_folder_is_refused_before_anything_runs(tmp_path):
    witness = tmp_path / "ran"
    path = saved(tmp_path / "in.ipynb", f"open({str(witness)!r}, 'w')")
    with pytest.raises(FileNotFoundError, match="doesn't exist"):
        execute(path, str(tmp_path / "no" / "out.ipynb"))
    assert not witness.exists()


def test_a_disk_that_fills_up_costs_a_warning_and_not_the_cells(tmp_path, caplog):
    fill = "import os; os.remove('out.ipynb'); os.symlink('/dev/full', 'out.ipynb')"
    path = saved(tmp_path / "in.ipynb", fill, "open('ran', 'w')")
    with caplog.at_level(logging.WARNING, "papermill"), pytest.raises(OSError, match="space"):
        execute(path, "out.ipynb")
    assert (tmp_path / "ran").exists()
    assert any("could not be saved" in record.getMessage() for record in caplog.records)
    assert only_run().status == "finished"


def test_what_is_not_a_local_file_is_written_by_papermills_own_writer(tmp_path):
    class Memory:
        def __init__(self):
            self.written = []

        def write(self, text, path):
            self.written.append(text)

        def pretty_path(self, path):
            return path

    papermill_io.register("mem://", memory := Memory())
    execute(saved(tmp_path / "in.ipynb", "print('kept')"), "mem://out.ipynb")
    assert texts(nbformat.reads(memory.written[-1], 4).cells[0]) == "kept\n"


# --- papermill's own options ------------------------------------------------------------------


def papermill_command(*arguments, **more):
    command = [sys.executable, "-m", "papermill", "--engine", "mlops_nb", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def test_parameters_in_every_way_that_papermill_takes_them(tmp_path):
    path = saved(tmp_path / "in.ipynb", "a = b = c = 0", "print(a, b, c)", tags=["parameters"])
    (tmp_path / "more.yaml").write_text("b: two")
    done = papermill_command(
        path, "out.ipynb", "-p", "a", "1", "-f", "more.yaml", "-y", "{c: [3]}", "--no-progress-bar"
    )
    assert done.returncode == 0, done.stderr
    executed = nbformat.read("out.ipynb", 4)
    assert texts(executed.cells[-1]) == "1 two [3]\n"
    assert executed.metadata.papermill.parameters == {"a": 1, "b": "two", "c": [3]}
    assert {key: p.value for key, p in only_run().params.items()} == {"a": 1, "b": "two", "c": [3]}


def test_standard_output_gets_the_notebook_once(tmp_path):
    done = papermill_command(saved(tmp_path / "in.ipynb", "print('x')"), "-")
    assert done.returncode == 0, done.stderr
    assert texts(nbformat.reads(done.stdout, 4).cells[0]) == "x\n"


def test_output_is_logged_where_asked(tmp_path):
    path = saved(tmp_path / "in.ipynb", "print('seen by the log')")
    done = papermill_command(path, "out.ipynb", "--log-output")
    assert "seen by the log" in done.stderr
    assert "Executing Cell 1" in done.stderr


def test_prepare_only_runs_nothing(tmp_path):
    path = saved(tmp_path / "in.ipynb", "x = 0", "open('ran', 'w')", tags=["parameters"])
    done = papermill_command(path, "out.ipynb", "-p", "x", "1", "--prepare-only")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()
    assert [c.source for c in nbformat.read("out.ipynb", 4).cells][1:2] == [
        "# Parameters\nx = 1\n"
    ]


def test_the_kernel_runs_in_the_folder_that_was_asked_for(tmp_path):
    (tmp_path / "work").mkdir()
    path = saved(tmp_path / "in.ipynb", "import os; print(os.getcwd())")
    execute(path, "out.ipynb", cwd="work")
    assert texts(nbformat.read("out.ipynb", 4).cells[0]) == f"{tmp_path / 'work'}\n"


def test_without_an_output_nothing_is_written(tmp_path):
    executed = execute(saved(tmp_path / "in.ipynb", "print(1)"), None)
    assert texts(executed.cells[0]) == "1\n"
    assert [p.name for p in tmp_path.glob("*.ipynb")] == ["in.ipynb"]


def test_a_cell_over_its_time_fails_the_run(tmp_path):
    path = saved(tmp_path / "in.ipynb", "import time; time.sleep(600)", "x = 1")
    with pytest.raises(CellTimeoutError):
        execute(path, "out.ipynb", execution_timeout=1)
    assert statuses(nbformat.read("out.ipynb", 4)) == ["failed", "pending"]
    run = only_run()
    assert (run.status, run.error["type"]) == ("failed", "CellTimeoutError")


# --- tracking ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """One tracked execution, looked at by several tests."""
    folder = tmp_path_factory.mktemp("tracked")
    (folder / ".git").mkdir()
    sources = ("C = 1\nname = 'x'", "print(sorted(n for n in dir() if 'mlops' in n))", "C + 1")
    path = saved(folder / "train.ipynb", *sources, tags=["parameters"])
    executed = execute(path, str(folder / "out.ipynb"), parameters={"C": 3})
    with Store.open(folder / ".mlops") as store:
        store.refresh()
        (run,) = store.runs()
        executions = store.executions(run.executions)
    return SimpleNamespace(folder=folder, executed=executed, run=run, executions=executions)


def test_the_whole_notebook_is_one_batch_run(tracked):
    run = tracked.run
    assert (run.kind, run.status, run.name) == ("batch", "finished", "train")
    assert run.notebook == str(tracked.folder / "train.ipynb")
    assert run.duration_s > 0


def test_the_run_has_the_parameters_as_they_were_given_and_as_they_stand(tracked):
    assert {key: param.value for key, param in tracked.run.params.items()} == {"C": 3, "name": "x"}


def test_the_run_has_the_cells_in_order_by_place_and_id(tracked):
    cells = [cell for cell in tracked.executed.cells if cell.cell_type == "code"]
    assert [(e.source, e.cell_id, e.cell_index) for e in tracked.executions] == [
        (cell.source, cell.id, index) for index, cell in enumerate(cells)
    ]
    assert {e.status for e in tracked.executions} == {"ok"}


def test_the_executed_notebook_names_its_run(tracked):
    on_disk = nbformat.read(tracked.folder / "out.ipynb", 4)
    assert on_disk.metadata.mlops_nb == {
        "run": tracked.run.id,
        "store": str(tracked.folder / ".mlops"),
    }


def test_tracking_leaves_no_name_in_the_notebook(tracked):
    assert texts(tracked.executed.cells[2]) == "[]\n"


def test_a_failed_cell_fails_the_run(tmp_path):
    path = saved(tmp_path / "in.ipynb", "x = 1", "raise KeyError('gone')")
    with pytest.raises(PapermillExecutionError):
        execute(path, "out.ipynb")
    run = only_run()
    assert (run.status, run.error["type"]) == ("failed", "KeyError")


def test_a_cell_that_may_raise_does_not_fail_the_run(tmp_path):
    nb = notebook("raise KeyError('expected')", "print('on')")
    nb.cells[0].metadata["tags"] = ["raises-exception"]
    nbformat.write(nb, tmp_path / "in.ipynb")
    # Papermill itself takes any error in an output for a failure; the cells ran to the end.
    with pytest.raises(PapermillExecutionError):
        execute(str(tmp_path / "in.ipynb"), "out.ipynb")
    assert texts(nbformat.read("out.ipynb", 4).cells[-1]) == "on\n"
    assert only_run().status == "finished"


def test_a_kernel_that_dies_leaves_a_lost_run_and_the_cells_so_far(tmp_path):
    path = saved(tmp_path / "in.ipynb", "print('before')", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(DeadKernelError):
        execute(path, "out.ipynb")
    on_disk = nbformat.read("out.ipynb", 4)
    assert texts(on_disk.cells[0]) == "before\n"
    assert statuses(on_disk) == ["completed", "failed"]
    assert only_run().status == "lost"


def test_what_the_caller_names_is_what_the_run_is_called(tmp_path):
    batch = {"name": "nightly", "experiment": "churn", "tags": {"stage": "test"}}
    execute(saved(tmp_path / "in.ipynb", "x = 1"), "out.ipynb", batch=batch)
    run = only_run()
    assert (run.name, run.experiment, run.tags) == ("nightly", "churn", {"stage": "test"})


# --- kernels that cannot track ----------------------------------------------------------------


def test_a_kernel_without_us_gives_one_warning_and_the_notebook_runs_on(tmp_path, kernels, caplog):
    name = kernels("bare", WITHOUT_US)
    path = saved(tmp_path / "in.ipynb", "C = 1", "print(C)", tags=["parameters"])
    with caplog.at_level(logging.WARNING, "papermill"):
        executed = execute(path, "out.ipynb", parameters={"C": 4}, kernel_name=name)
    assert texts(executed.cells[-1]) == "4\n"
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "papermill"]
    assert 'Kernel "bare" has no mlops_nb' in warning
    assert "pip install mlops-nb" in warning


def test_its_outcome_is_recorded_from_outside(tmp_path, kernels):
    name = kernels("bare", WITHOUT_US)
    path = saved(tmp_path / "in.ipynb", "C = 1", "raise ValueError('bad')", tags=["parameters"])
    with pytest.raises(PapermillExecutionError):
        execute(
            path,
            "out.ipynb",
            parameters={"C": 4, "url": "https://me:hunter2hunter2@host/x"},
            kernel_name=name,
        )
    run = only_run()
    assert (run.kind, run.status, run.name) == ("batch", "failed", "in")
    assert run.error["type"] == "ValueError"
    assert run.params["C"].value == 4
    assert "hunter2" not in run.params["url"].value
    assert run.duration_s > 0


def test_a_notebook_in_another_language_runs_untracked(tmp_path, kernels, caplog):
    name = kernels("echo", ANOTHER_LANGUAGE, language="echo")
    nb = notebook("say this")
    nb.metadata = {"kernelspec": {"name": name, "display_name": name, "language": "echo"}}
    nbformat.write(nb, tmp_path / "in.ipynb")
    with caplog.at_level(logging.WARNING, "papermill"):
        executed = execute(str(tmp_path / "in.ipynb"), "out.ipynb", kernel_name=name)
    assert texts(executed.cells[0]) == "say this"
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "papermill"]
    assert "does not run Python" in warning
    assert only_run().status == "finished"


def test_a_store_that_cannot_be_made_costs_a_warning_and_not_the_notebook(
    tmp_path, kernels, caplog
):
    (tmp_path / "file").write_text("in the way")
    name = kernels("bare", WITHOUT_US)
    with caplog.at_level(logging.WARNING, "papermill"):
        executed = execute(
            saved(tmp_path / "in.ipynb", "print(1)"),
            "out.ipynb",
            kernel_name=name,
            batch={"store": str(tmp_path / "file" / ".mlops")},
        )
    assert texts(executed.cells[0]) == "1\n"
    assert any("The run is not recorded" in r.getMessage() for r in caplog.records)


def test_a_store_named_from_here_is_meant_from_here(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("MLOPS_NB_STORE", "named/.mlops")
    execute(saved(tmp_path / "in.ipynb", "x = 1"), "out.ipynb", cwd="work")
    with Store.open(tmp_path / "named" / ".mlops") as store:
        store.refresh()
        assert [run.status for run in store.runs()] == ["finished"]


def test_a_kernel_that_does_not_start_is_said(tmp_path, kernels):
    name = kernels("broken", "raise SystemExit('no')")
    with pytest.raises(KernelNotReady, match='the kernel "broken" did not start'):
        execute(saved(tmp_path / "in.ipynb", "x = 1"), "out.ipynb", kernel_name=name)
    assert not (tmp_path / ".mlops").exists()


# --- being stopped ----------------------------------------------------------------------------


def started(*arguments):
    command = [sys.executable, "-m", "papermill", "--engine", "mlops_nb", *arguments]
    return subprocess.Popen(
        [*command, "--no-progress-bar"], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )


def wait_until(is_so, what):
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


def kernel_of(process, marker):
    """Wait until the notebook runs, and give its kernel's process id."""
    wait_until(marker.exists, "the notebook runs")
    wait_until(marker.read_text, "it has said who it is")
    return int(marker.read_text())


def is_alive(pid):
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


SAY_WHO_AND_WAIT = """
import os, time
print('in the middle', flush=True)
open('marker', 'w').write(str(os.getpid()))
time.sleep(600)
"""
ENDLESS = ("print('first')", SAY_WHO_AND_WAIT, "print('never')")


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes in /proc")
def test_after_kill_9_the_file_is_whole_and_has_the_cells_so_far(tmp_path):
    process = started(saved(tmp_path / "in.ipynb", *ENDLESS), "out.ipynb")
    kernel = kernel_of(process, tmp_path / "marker")
    output = tmp_path / "out.ipynb"
    wait_until(lambda: "in the middle" in texts(nbformat.read(output, 4).cells[1]), "it is saved")
    process.kill()
    process.communicate()
    on_disk = nbformat.read(output, 4)
    nbformat.validate(on_disk)
    assert texts(on_disk.cells[0]) == "first\n"
    assert statuses(on_disk) == ["completed", "running", "pending"]
    # The kernel notices that it is alone.
    wait_until(lambda: not is_alive(kernel), "the kernel has ended")


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_when_stopped_it_saves_ends_the_run_and_stops_the_kernel(tmp_path, number):
    process = started(saved(tmp_path / "in.ipynb", *ENDLESS), "out.ipynb")
    kernel = kernel_of(process, tmp_path / "marker")
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    on_disk = nbformat.read(tmp_path / "out.ipynb", 4)
    nbformat.validate(on_disk)
    assert "in the middle" in texts(on_disk.cells[1])
    assert on_disk.cells[1].outputs[-1].ename == "KeyboardInterrupt"
    assert statuses(on_disk) == ["completed", "failed", "pending"]
    assert not is_alive(kernel)
    assert only_run().status == "interrupted"


STUBBORN = """
import os, time
open('marker', 'w').write(str(os.getpid()))
while True:
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        open('noticed', 'w')
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes in /proc")
def test_a_cell_that_takes_no_notice_is_stopped_by_a_second_ctrl_c(tmp_path):
    process = started(saved(tmp_path / "in.ipynb", "print('first')", STUBBORN), "out.ipynb")
    kernel = kernel_of(process, tmp_path / "marker")
    process.send_signal(signal.SIGINT)
    wait_until((tmp_path / "noticed").exists, "the first one has come through")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert not is_alive(kernel)
    on_disk = nbformat.read(tmp_path / "out.ipynb", 4)
    assert texts(on_disk.cells[0]) == "first\n"
    assert statuses(on_disk) == ["completed", "failed"]
    assert only_run().status == "lost"


# --- one notebook, from Python ----------------------------------------------------------------


def test_a_notebook_is_run_with_typed_parameters_in_its_own_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    source = "import os; print(type(C).__name__, os.path.basename(os.getcwd()))"
    path = saved(tmp_path / "deep" / "in.ipynb", "C = 1", source, tags=["parameters"])
    seen = []
    outcome = run_notebook(
        plan_run(read_notebook(path), params={"C": "0.5"}),
        tmp_path / "out.ipynb",
        on_progress=lambda *event: seen.append(event),
    )
    assert outcome.failure is None
    assert texts(nbformat.read(outcome.output, 4).cells[-1]) == "float deep\n"
    assert seen[-1] == (2, 3, "done")
    assert only_run().id == outcome.run


def test_the_lines_around_an_error_come_with_it(tmp_path):
    outcome = run_notebook(
        plan_run(read_notebook(GOLDEN / "failing.ipynb"), params={"C": "2"}),
        tmp_path / "out.ipynb",
        batch={"store": str(tmp_path / ".mlops")},
    )
    failure = outcome.failure
    assert (failure.cell, failure.line, failure.type) == (2, 5, "ValueError")
    assert failure.message == "could not convert"
    assert [number for number, _ in failure.lines] == [3, 4, 5, 6, 7]
    assert failure.lines[2][1] == 'raise ValueError("could not convert")'


def test_the_line_is_the_one_in_the_failed_cell_not_in_a_function_of_another(tmp_path):
    path = saved(tmp_path / "in.ipynb", "def f():\n\n\n    1 / 0", "x = 1\nf()")
    outcome = run_notebook(plan_run(read_notebook(path)), tmp_path / "out.ipynb")
    assert (outcome.failure.cell, outcome.failure.line) == (1, 2)


def test_a_repaired_notebook_runs(tmp_path):
    content = json.loads(nbformat.writes(notebook("x = 2", "print(x)")))
    content["cells"][1]["id"] = content["cells"][0]["id"] = "same"
    content["metadata"]["kernelspec"] = "python3"
    (tmp_path / "in.ipynb").write_text(json.dumps(content))
    plan = plan_run(read_notebook(tmp_path / "in.ipynb"))
    outcome = run_notebook(plan, tmp_path / "out.ipynb")
    assert outcome.failure is None
    nbformat.validate(nbformat.read(outcome.output, 4))


@pytest.mark.parametrize(
    ("more", "error"),
    [
        pytest.param({"kernel": "nowhere"}, MissingKernel, id="missing kernel"),
        pytest.param({"params": {"D": "1"}}, BadParameter, id="unknown parameter"),
    ],
)
def test_what_cannot_run_is_refused_by_the_plan(tmp_path, more, error):
    path = saved(tmp_path / "in.ipynb", "C = 1", tags=["parameters"])
    with pytest.raises(error):
        plan_run(read_notebook(path), **more)


def test_another_language_is_refused(tmp_path):
    nb = notebook("x <- 1")
    nb.metadata = {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}
    nbformat.write(nb, tmp_path / "in.ipynb")
    with pytest.raises(BadNotebook, match="it is a notebook in R"):
        plan_run(read_notebook(tmp_path / "in.ipynb"))


def test_a_missing_kernel_is_said_by_papermill_too(tmp_path):
    path = saved(tmp_path / "in.ipynb", "x = 1")
    with pytest.raises(MissingKernel, match='asks for the kernel "nowhere"'):
        execute(path, "out.ipynb", kernel_name="nowhere")


def test_a_kernelspec_that_is_a_string_runs_under_papermill(tmp_path):
    content = json.loads(nbformat.writes(notebook("print(1)")))
    content["metadata"] = {"kernelspec": "python3"}
    (tmp_path / "in.ipynb").write_text(json.dumps(content))
    executed = execute(str(tmp_path / "in.ipynb"), "out.ipynb")
    assert texts(executed.cells[0]) == "1\n"


def test_the_engine_is_registered():
    assert papermill_engines.get_engine("mlops_nb") is Engine
