"""Tracking turns on and off without a trace, and knows who runs the notebook."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from mlops_nb.store import Store

HOOKS = """
def _state():
    ip = get_ipython()
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score
    import sys
    return (
        {event: [repr(f) for f in found] for event, found in ip.events.callbacks.items()},
        sorted(ip.magics_manager.magics["line"]), sorted(ip.magics_manager.magics["cell"]),
        [repr(t) for t in ip.input_transformers_cleanup],
        [type(f).__name__ for f in sys.meta_path],
        sorted(vars(ip.kernel.session)), sorted(vars(ip.display_pub)),
        repr(LogisticRegression.__dict__["fit"]), hash(accuracy_score.__code__),
        sorted(k for k in ip.user_ns if not k.startswith("_")),
    )
"""


def stored(folder, query=None):
    with Store.open(folder / ".mlops") as store:
        store.refresh()
        return store.runs(query)[::-1]


def test_unloading_leaves_the_shell_and_the_libraries_as_they_were(kernel):
    kernel.run(HOOKS)
    before = kernel.run("print(_state())").stdout
    kernel.run("%load_ext mlops_nb")
    kernel.run("%mlops_track --interactive")
    during = kernel.run("print(_state())").stdout
    kernel.run("%unload_ext mlops_nb")
    assert during != before
    assert kernel.run("print(_state())").stdout == before


def test_loading_and_tracking_twice_is_one_set_of_hooks(kernel):
    kernel.run(HOOKS)
    kernel.run("%load_ext mlops_nb\n%mlops_track --interactive")
    once = kernel.run("print(_state())").stdout
    kernel.run("%load_ext mlops_nb\n%reload_ext mlops_nb")
    kernel.run("%mlops_track --interactive\n%mlops_track --interactive")
    kernel.run("__import__('mlops_nb').load_ipython_extension(get_ipython())")
    assert kernel.run("print(_state())").stdout.count("mlops_nb") == once.count("mlops_nb")
    kernel.run("import mlops_nb as mn; mn.log_metric('x', 1)")
    (run,) = stored(kernel.folder)
    assert run.metrics["x"].count == 1


def test_loading_opens_nothing_and_prints_nothing(kernel):
    reply = kernel.run("%load_ext mlops_nb")
    assert (reply.messages and [m["msg_type"] for m in reply.messages]) in ([], ["execute_input"])
    assert list(kernel.folder.iterdir()) == []


def test_a_cell_that_changed_a_run_shows_one_card_and_others_none(kernel):
    kernel.run("%load_ext mlops_nb\n%mlops_track --interactive")
    reply = kernel.run(
        "import mlops_nb as mn\nmn.log_metric('auc', 0.9)\nmn.log_metric('f1', 0.8)"
    )
    (card,) = reply.bundles()
    assert "auc 0.900" in card["text/plain"]
    assert "text/html" in card
    assert card["application/vnd.mlops-nb.card.v1+json"]["metric"] == "auc"
    assert kernel.run("y = 2").bundles() == []
    again = kernel.run("mn.log_metric('auc', 0.95)")
    assert len(again.bundles()) == 1


def test_quiet_shows_no_card_and_a_card_is_no_output_of_the_cell(kernel):
    kernel.run("%load_ext mlops_nb\n%mlops_track --interactive")
    kernel.run("import mlops_nb as mn\nprint('shown')\nmn.log_metric('auc', 0.9)")
    (run,) = stored(kernel.folder)
    with Store.open(kernel.folder / ".mlops") as store:
        outputs = [o for e in store.executions(run.body) for o in e.outputs]
    assert [(o.kind, o.name) for o in outputs] == [("stream", "stdout")]
    kernel.run("%mlops_track --off")
    kernel.run("%mlops_track --interactive --quiet")
    assert kernel.run("mn.log_metric('auc', 0.9)").bundles() == []


def notebook_of(*cells, tags=()):
    nb = nbformat.v4.new_notebook()
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, source in enumerate(cells):
        cell = nbformat.v4.new_code_cell(source, id=f"cell{number}")
        if number in tags:
            cell.metadata.tags = ["parameters"]
        nb.cells.append(cell)
    return nb


CELLS = (
    "%load_ext mlops_nb\n%mlops_track",
    "C = 0.5\nsteps = 3",
    (
        "from sklearn.datasets import load_iris\nfrom sklearn.linear_model import LogisticRegression\n"
        "X, y = load_iris(return_X_y=True)"
    ),
    "m = LogisticRegression(C=C, max_iter=1000).fit(X, y)\nm.score(X, y)",
)


def test_a_notebook_under_nbclient_is_one_batch_run(tmp_path):
    nb = notebook_of(*CELLS, tags=(1,))
    nbformat.write(nb, tmp_path / "train.ipynb")
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "add", "."], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-qm", "one"], cwd=tmp_path, check=True)
    NotebookClient(nb, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (run,) = stored(tmp_path)
    assert (run.kind, run.status, run.name) == ("batch", "finished", "train")
    assert {"C": 0.5, "steps": 3}.items() <= {k: p.value for k, p in run.params.items()}.items()
    assert run.metrics["train.accuracy"].value > 0.9
    assert len(run.git["commit"]) == 40
    assert run.verdict["label"] == "linear"
    assert run.notebook.endswith("train.ipynb")
    with Store.open(tmp_path / ".mlops") as store:
        sources = [e.source for e in store.executions(run.body)]
    assert CELLS[3] in sources


def test_a_batch_run_fails_if_its_last_cell_failed(tmp_path):
    nb = notebook_of(CELLS[0], "import mlops_nb as mn; mn.log_metric('x', 1)", "1 / 0")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        NotebookClient(nb, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (run,) = stored(tmp_path)
    assert (run.status, run.error["type"]) == ("failed", "ZeroDivisionError")


def test_two_fits_in_a_batch_are_children_of_it(tmp_path):
    second = "t = LogisticRegression(C=9, max_iter=1000).fit(X, y)"
    nb = notebook_of(*CELLS, second)
    NotebookClient(nb, resources={"metadata": {"path": str(tmp_path)}}).execute()
    runs = stored(tmp_path)
    parent = next(run for run in runs if run.parent is None)
    children = sorted((r for r in runs if r.parent == parent.id), key=lambda r: r.child)
    assert [child.params["C"].value for child in children] == [0.5, 9]
    assert "train.accuracy" in children[0].metrics
    assert "estimator" not in parent.params


def labelled(kernel, folder, cells):
    """Run cells as JupyterLab does: with cell ids, from a saved notebook named by the server."""
    nb = notebook_of(*cells)
    nbformat.write(nb, folder / "lab.ipynb")
    return nb


def test_cells_run_in_notebook_order_are_linear_and_out_of_order_is_said(new_kernel, tmp_path):
    kernel = new_kernel()
    cells = [
        "%load_ext mlops_nb\n%mlops_track --interactive",
        "a = 1",
        "b = a + 1",
        "import mlops_nb as mn\nmn.log_metric('x', a + b)",
    ]
    labelled(kernel, tmp_path, cells)
    kernel.run("%load_ext mlops_nb")
    kernel.run(
        f"%mlops_track --interactive --notebook {tmp_path / 'lab.ipynb'}",
        metadata={"cellId": "cell0"},
    )
    for number in (1, 2, 3):
        kernel.run(cells[number], metadata={"cellId": f"cell{number}"})
    (run,) = stored(tmp_path)
    assert run.verdict["label"] == "linear", run.verdict
    kernel.run(cells[1], metadata={"cellId": "cell1"})
    # It needs both executions of cell 1: `b` was made from the first one.
    kernel.run(cells[3], metadata={"cellId": "cell3"})
    newest = stored(tmp_path)[-1]
    assert newest.id != run.id
    assert newest.verdict["label"] == "out-of-order", newest.verdict


def test_a_script_without_a_notebook_can_log(tmp_path):
    code = (
        "import mlops_nb as mn\n"
        "with mn.run('script', params={'lr': 0.1}) as r:\n"
        "    for i in range(5): mn.log_metric('loss', 1 / (i + 1))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    (run,) = stored(tmp_path)
    assert (run.name, run.status, run.metrics["loss"].count) == ("script", "finished", 5)


def test_turning_tracking_on_late_takes_earlier_cells_as_inferred(kernel):
    kernel.run("first = 1")
    kernel.run("second = first + 1")
    kernel.run("%load_ext mlops_nb\n%mlops_track --interactive")
    kernel.run("import mlops_nb as mn; mn.log_metric('x', second)")
    (run,) = stored(kernel.folder)
    with Store.open(kernel.folder / ".mlops") as store:
        setup = store.executions(run.setup)
    assert [(e.source, e.is_inferred) for e in setup[:2]] == [
        ("first = 1", True),
        ("second = first + 1", True),
    ]


LOCKED = """
import os, sys
from IPython.core.interactiveshell import InteractiveShell
warm, locked, home = sys.argv[1:]
from traitlets.config import Config
ip = InteractiveShell.instance(config=Config({"HistoryManager": {"hist_file": ":memory:"}}))
def run(cell):
    ip.run_cell(cell).raise_error()
os.chdir(warm)  # loads all that is loaded on use, while it may be read
run("%load_ext mlops_nb")
run("%mlops_track --interactive")
run("import mlops_nb as mn; mn.log_metric('x', 1)")
run("%mlops_track --off")
print("---", file=sys.stderr, flush=True)
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
os.chdir(locked)
os.environ["HOME"] = home
os.environ.pop("XDG_STATE_HOME", None)
run("%mlops_track --interactive")
run("mn.log_metric('x', 1); y = 3")
assert ip.user_ns["y"] == 3
run("mn.log_metric('x', 2)")
"""


def test_a_folder_that_cannot_be_written_costs_one_warning_and_no_record(tmp_path):
    with tempfile.TemporaryDirectory() as name:  # above `tmp_path` nobody else may look
        root = Path(name)
        root.chmod(0o755)
        locked, home = root / "locked", root / "home"
        locked.mkdir()
        locked.chmod(0o555)
        home.mkdir()
        home.chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", LOCKED, str(tmp_path), str(locked), str(home)],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        kept = [p for p in home.rglob("*") if p.is_file() and "mlops_nb" in str(p)]
        held = [event for p in kept if p.suffix == ".segment" for event in [p.read_bytes()]]
    shown = done.stderr.partition("---\n")[2]
    assert done.returncode == 0, done.stderr
    assert shown.count("mlops_nb:") == 1, shown
    assert "Traceback" not in shown + done.stdout
    assert any(b"\xa1x" in data for data in held), kept


def test_a_documented_query_works_in_the_kernel_and_a_bad_one_points_at_the_place(kernel):
    kernel.run("%load_ext mlops_nb\n%mlops_track --interactive")
    kernel.run("import mlops_nb as mn; mn.log_param('lr', 0.1); mn.log_metric('auc', 0.9)")
    good = kernel.run("%mlops_runs params.lr > 0.01 and metrics.auc >= 0.9")
    assert "1 run" in good.result
    bad = kernel.run("%mlops_runs params.lr >> 3")
    assert bad.error.startswith("BadQuery")
    shown = "\n".join(
        m["content"]["traceback"][0] for m in bad.messages if m["msg_type"] == "error"
    )
    assert "^" in shown
    assert "Traceback" not in shown
    assert "site-packages" not in shown


def test_json_of_the_command_line_is_the_run_of_the_notebook(kernel):
    kernel.run("%load_ext mlops_nb\n%mlops_track --interactive")
    kernel.run("import mlops_nb as mn; mn.log_metric('auc', 0.9)")
    done = subprocess.run(
        [sys.executable, "-m", "mlops_nb", "runs", "--format", "json"],
        cwd=kernel.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    (run,) = json.loads(done.stdout)["runs"]
    assert run["metrics"]["auc"]["value"] == 0.9
