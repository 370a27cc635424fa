"""What others test their notebooks with: real, and without a trace in the process."""

import builtins
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import mlops_nb as mn
from mlops_nb import session as sessions
from mlops_nb import testing
from mlops_nb.errors import AlreadyTracking


def state():
    """What of this process could have been changed."""
    from IPython.core.interactiveshell import InteractiveShell

    return {
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "session": sessions.active(),
        "shell": InteractiveShell._instance,
        "main": sys.modules["__main__"],
        "hooks": [sys.displayhook, sys.excepthook, sys.stdout, sys.stderr],
        "builtins": sorted(vars(builtins)),
        "finders": [type(finder).__name__ for finder in sys.meta_path],
    }


def test_a_store_of_ones_own_has_what_this_process_logs():
    before = state()
    with testing.temporary_store() as here:
        with mn.run("baseline", params={"depth": 3}) as run:
            run.log_metric("accuracy", 0.93)
        (found,) = here.runs("metrics.accuracy > 0.9")
        assert (found.name, found.params["depth"].value) == ("baseline", 3)
        assert [run.id for run in mn.runs()] == [found.id]
        assert here.folder.is_dir()
    assert not here.folder.exists()
    assert state() == before


def test_each_one_is_empty():
    for _ in range(2):
        with testing.temporary_store() as here:
            assert here.runs() == []
            with mn.run("one"):
                pass
            assert len(here.runs()) == 1


def test_the_users_own_settings_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_STORE", str(tmp_path / "mine"))
    monkeypatch.setenv("MLOPS_NB_NO_SUCH_SETTING", "x")
    with testing.temporary_store():
        with mn.run("one"):
            pass
        assert "MLOPS_NB_NO_SUCH_SETTING" not in os.environ
    assert not (tmp_path / "mine").exists()
    assert os.environ["MLOPS_NB_STORE"] == str(tmp_path / "mine")


def test_a_test_that_fails_leaves_nothing_either():
    before = state()
    with pytest.raises(AssertionError), testing.shell() as shell:
        shell.run("import mlops_nb as mn; mn.log_metric('x', 1); 1 / 0")
    assert state() == before
    assert not shell.folder.exists()


def test_while_tracking_is_on_there_is_no_other_store():
    with testing.temporary_store():
        mn.log_metric("x", 1)
        with pytest.raises(AlreadyTracking, match="--off"), testing.shell():
            pass
        with pytest.raises(AlreadyTracking), testing.temporary_store():
            pass


def test_cells_of_a_shell_make_runs_as_in_a_notebook():
    before = state()
    with testing.shell() as shell:
        shell.run("from sklearn.linear_model import LogisticRegression")
        shell.run("from sklearn.metrics import accuracy_score")
        shell.run("X, y = [[0], [1], [2], [3]], [0, 0, 1, 1]")
        fitted = shell.run("model = LogisticRegression(C=2.0).fit(X, y)\nmodel")
        shell.run("accuracy_score(y, model.predict(X))")
        (run,) = shell.runs()
        assert run.params["C"].value == 2.0
        assert run.metrics["train.accuracy"].value == 1.0
        assert fitted.result is shell.namespace["model"]
        assert fitted.source in [e.source for e in shell.executions(run)]
    assert state() == before


def test_a_cell_gives_what_it_printed_showed_and_returned():
    with testing.shell(track=False) as shell:
        done = shell.run(
            "import sys\nprint('out')\nprint('err', file=sys.stderr)\n"
            "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))\n6 * 7"
        )
        assert (done.stdout.splitlines()[0], done.stderr, done.result) == ("out", "err\n", 42)
        (shown,) = done.displays
        assert shown["text/html"] == "<b>x</b>"
        assert shell.run("a = 1").displays == ()
        assert shell.namespace["a"] == 1


def test_a_cell_that_raises_fails_the_test_unless_it_may():
    with testing.shell() as shell:
        with pytest.raises(AssertionError, match="'1 / 0' raised ZeroDivisionError") as caught:
            shell.run("1 / 0")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert shell.run("1 / 0", check=False).error == "ZeroDivisionError: division by zero"
        assert shell.run("this is no python", check=False).error.startswith("SyntaxError")


def test_without_tracking_there_is_no_run_and_magics_work():
    with testing.shell(track=False) as shell:
        shell.run("x = 1")
        assert sessions.active() is None
        shell.run("%%mlops_track forest --metrics auc\nauc = 0.9")
        (run,) = shell.runs("name = 'forest'")
        assert run.metrics["auc"].value == 0.9


def test_a_shell_that_was_there_before_comes_back(tmp_path):
    program = """
        from IPython import get_ipython
        from IPython.terminal.interactiveshell import TerminalInteractiveShell
        from mlops_nb import testing
        mine = TerminalInteractiveShell.instance()
        with testing.shell() as shell:
            assert get_ipython() is shell.ip is not mine
            shell.run("import mlops_nb as mn; mn.log_metric('x', 1)")
        assert get_ipython() is mine
        assert TerminalInteractiveShell.instance() is mine
        print("same")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=os.environ | {"IPYTHONDIR": str(tmp_path)},
        check=False,
    )
    assert (done.stdout, done.stderr) == ("same\n", "")


def test_a_kernel_is_a_process_of_its_own(kernel_python):
    before = state()
    with testing.kernel(python=kernel_python) as kernel:
        assert kernel.run("import os; os.getpid()").result == str(kernel.pid)
        done = kernel.run("import mlops_nb as mn\nprint('x')\nmn.log_metric('auc', 0.9)")
        assert done.stdout == "x\n"
        assert "auc 0.900" in done.displays[0]["text/plain"]
        (run,) = kernel.runs("metrics.auc = 0.9")
        assert run.status == "running"
        assert kernel.run("1 / 0", check=False).error == "ZeroDivisionError: division by zero"
        with pytest.raises(AssertionError, match="raised NameError"):
            kernel.run("nothing")
        kernel.kill()
        (run,) = kernel.runs()
        assert run.status == "lost"
    assert state() == before
    assert not kernel.folder.exists()


def test_importing_it_loads_no_shell_and_no_store(tmp_path):
    code = "import sys, mlops_nb.testing as t; print({'IPython', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "set()\n"
