"""Workers of the fast engine as processes: fresh, ended with all that is theirs, or not forked."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import nbformat
import papermill
import pytest
from fast_engine_notebooks import notebook, own_cells
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from mlops_nb.errors.values import CannotRender
from mlops_nb.notebook import read_notebook
from mlops_nb.papermill_engine import fast, plan_run, run_notebook, servers, shared_server
from mlops_nb.papermill_engine.preloading import early_imports, shadowed
from mlops_nb.store import Store

PATIENCE_S = 60
WHO = "import os; print(os.getpid(), os.getppid(), type(get_ipython().kernel).__name__)"


@pytest.fixture(autouse=True)
def _project(tmp_path, tmp_path_factory, monkeypatch):
    """Each test in a project of its own, with its own store, and the same environment."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp()))
    for name in ("MLOPS_NB_STORE", "MLOPS_NB_BATCH", "MLOPS_NB_NOTEBOOK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fast, "_said", set())


def execute(*sources, tags=None, name="in", **more):
    """Run a notebook by the fast engine; gives its cells' printed texts."""
    nbformat.write(notebook(*sources, tags=tags), f"{name}.ipynb")
    executed = papermill.execute_notebook(
        f"{name}.ipynb",
        f"{name}-out.ipynb",
        engine_name="mlops_nb_fast",
        progress_bar=False,
        **more,
    )
    return printed(executed)


def printed(executed):
    return ["".join(o.get("text", "") for o in c.get("outputs", ())) for c in executed.cells]


def saved(name="in"):
    return own_cells(nbformat.read(f"{name}-out.ipynb", 4))


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "in time"
        time.sleep(0.02)


def in_child(script, **more):
    """Run a script that uses the fast engine in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


# --- a fresh process for each notebook --------------------------------------------------------


def test_workers_are_forked_by_one_process_that_stays():
    (first,), (second,) = execute(WHO), execute(WHO)
    assert first.split()[1:] == [first.split()[1], "WorkerKernel"]
    assert first.split()[1:] == second.split()[1:]
    assert first.split()[0] != second.split()[0]


def test_nothing_is_left_in_the_next_notebook(tmp_path):
    (tmp_path / "mine.py").write_text("value = 1")
    (tmp_path / "elsewhere").mkdir()
    execute(
        "import os, sys, builtins, warnings, random, logging, mine, gc, signal\n"
        "os.environ['LEFT'] = '1'; os.chdir('elsewhere'); sys.path.append('left')\n"
        "builtins.left = 1; warnings.simplefilter('ignore'); random.seed(0)\n"
        "logging.basicConfig(level=1); gc.disable(); sys.setrecursionlimit(500)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.umask(0o77); mine.value = 2\n"
        "get_ipython().run_line_magic('load_ext', 'autoreload')\n"
    )
    (tmp_path / "mine.py").write_text(
        "value = 33"
    )  # of another size, or Python takes it for the same
    texts = execute(
        "import os, sys, builtins, warnings, logging, gc, signal\n"
        "print('LEFT' in os.environ, os.path.basename(os.getcwd()), 'left' in sys.path)\n"
        "print(hasattr(builtins, 'left'), ('ignore', None, Warning, None, 0) in warnings.filters)\n"
        "print('mine' in sys.modules, logging.root.handlers, gc.isenabled())\n"
        "print(sys.getrecursionlimit() > 500, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)\n"
        "import mine; print(mine.value, 'IPython.extensions.autoreload' in sys.modules)"
    )
    assert texts[0].split("\n")[:-1] == [
        f"False {tmp_path.name} False",
        "False False",
        "False [] True",
        "True True",
        "33 False",
    ]


def test_no_two_workers_draw_the_same_random_numbers():
    source = (
        "import numpy as np, random, uuid, tempfile, secrets\n"
        "print(random.random(), np.random.rand(), np.random.default_rng().random(),"
        " uuid.uuid4(), next(tempfile._get_candidate_names()), secrets.token_hex())"
    )
    drawn = [execute(source)[0].split() for _ in range(3)]
    for numbers in zip(*drawn, strict=True):
        assert len(set(numbers)) == 3


def test_a_library_that_the_notebook_loads_is_there_already():
    first = "from sys import modules as m; print('numpy' in m, 'pandas' in m)"
    assert execute(first, "import numpy as np") == ["True False\n", ""]
    assert execute(first, "np = 1") == ["False False\n", ""]


def test_early_imports_are_those_that_nothing_above_can_change():
    assert early_imports(["import numpy as np", "%time import pandas", "x = 1"]) == ("numpy",)
    assert early_imports(["from sklearn.svm import SVC", "def f():\n    import scipy"]) == (
        "sklearn.svm",
    )
    assert early_imports(["%env OMP_NUM_THREADS=1", "import numpy"]) == ()
    assert early_imports(["import numpy", "os.environ['A'] = '1'", "import pandas"]) == ("numpy",)
    assert early_imports(["%%bash\nimport numpy", "import torch", "!x", "x ="]) == ()


def test_a_file_beside_the_notebook_stands_before_an_installed_module(tmp_path):
    (tmp_path / "numpy.py").write_text("mine = True")
    (tmp_path / "pandas").mkdir()
    assert shadowed(tmp_path, ("numpy.linalg",)) == "numpy.py"
    assert shadowed(tmp_path, ("pandas",)) == ""  # an empty folder stands behind
    assert shadowed(Path(servers.__file__).parents[2], ()) == ""  # the very package
    assert execute("import numpy; print(numpy.mine)") == ["True\n"]


def test_variables_of_the_environment_are_those_of_the_notebook(monkeypatch):
    monkeypatch.setenv("FIRST", "1")
    execute("x = 1")
    monkeypatch.delenv("FIRST")
    monkeypatch.setenv("SECOND", "é")
    (text,) = execute("import os; print(os.environ.get('FIRST'), os.environ['SECOND'])")
    assert text == "None é\n"


def test_a_step_finds_its_task(monkeypatch):
    monkeypatch.setenv("MLOPS_NB_STEP", "/some/task.json")
    (first,) = execute("import os; print(os.environ['MLOPS_NB_STEP'], os.getppid())")
    monkeypatch.setenv("MLOPS_NB_STEP", "/other/task.json")
    (second,) = execute("import os; print(os.environ['MLOPS_NB_STEP'], os.getppid())")
    assert (first.split()[0], second.split()[0]) == ("/some/task.json", "/other/task.json")
    assert first.split()[1] == second.split()[1]


def test_a_startup_file_and_a_changed_configuration_count(tmp_path, monkeypatch):
    profile = tmp_path / "ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "00.py").write_text("from_startup = 1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    source = "print(from_startup, get_ipython().ast_node_interactivity)"
    assert execute(source) == ["1 last_expr\n"]
    config = profile / "ipython_kernel_config.py"
    config.write_text("get_config().InteractiveShell.ast_node_interactivity = 'all'")
    (profile / "startup" / "00.py").write_text("from_startup = 2")
    assert execute(source) == ["2 all\n"]


def test_notebooks_run_beside_each_other_in_threads():
    def work(number):
        found[number] = execute(
            f"import time; time.sleep(0.2); print({number})", name=f"n{number}"
        )

    found = {}
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert found == {number: [f"{number}\n"] for number in range(4)}


def test_a_large_cell_and_a_large_output_go_through():
    source = f"text = {'x' * 1_000_000!r}\nprint(len(text)); print('y' * 2_000_000)"
    (text,) = execute(source)
    assert text == "1000000\n" + "y" * 2_000_000 + "\n"


def test_a_cell_may_fork_and_let_its_child_go_on():
    texts = execute(
        "import os\npid = os.fork()\nprint('child' if not pid else 'parent')", "print(1)"
    )
    assert sorted(texts[0].split()) == ["child", "parent"]
    assert texts[1] == "1\n"


def test_what_is_written_past_python_stands_where_it_was_written(monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it ipykernel does not look at this
    texts = execute(
        "import os\nfor i in range(3):\n    print('print', i)\n    os.system(f'echo system {i}')",
        "os.write(1, 'é漢'.encode() * 40_000)",
    )
    assert texts[0] == "".join(f"print {i}\nsystem {i}\n" for i in range(3))
    assert texts[1] == "é漢" * 40_000


# --- ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "death",
    [
        "import os; os._exit(3)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import ctypes; ctypes.string_at(0)",
        "import os; os.close(3); [os.close(n) for n in range(4, 100) if os.path.exists(f'/proc/self/fd/{n}')]",
        "import json; json.dumps = None",
    ],
    ids=["exit", "kill", "segfault", "closed sockets", "broken library"],
)
def test_a_worker_that_dies_is_a_kernel_that_died(death):
    with pytest.raises(DeadKernelError):
        execute("print('before')", death, "print('never')")
    cells = saved()
    assert [cell.metadata.papermill.status for cell in cells] == ["completed", "failed", "pending"]
    assert execute("print('the next one')") == ["the next one\n"]


def test_a_cell_over_its_time_ends_with_its_process():
    with pytest.raises(CellTimeoutError):
        execute(WHO, "import time; time.sleep(600)", execution_timeout=1)
    cells = saved()
    assert cells[1].metadata.papermill.status == "failed"
    assert not is_running(int(cells[0].outputs[0].text.split()[0]))


def test_children_end_with_the_worker():
    (text,) = execute(
        "import subprocess, os\n"
        "usual = subprocess.Popen(['sleep', '600'])\n"
        "deaf = subprocess.Popen(['sh', '-c', 'trap \"\" TERM HUP INT; sleep 600'])\n"
        "print(usual.pid, deaf.pid)"
    )
    for pid in map(int, text.split()):
        wait_until(lambda pid=pid: not is_running(pid))


def test_what_a_process_does_at_its_end_is_done_before_the_engine_returns(tmp_path):
    execute(
        "import atexit, threading, time\n"
        "class Last:\n    def __del__(self): open('deleted', 'w').write('yes')\n"
        "last = Last(); last.me = last\n"
        "unflushed = open('unflushed', 'w'); unflushed.write('all of it')\n"
        "atexit.register(lambda: open('atexit', 'w').write('yes'))\n"
        "def late():\n    time.sleep(0.3); open('thread', 'w').write('yes')\n"
        "threading.Thread(target=late).start()\n"
        "import ctypes\n"
        "libc = ctypes.CDLL(None); libc.fopen.restype = ctypes.c_void_p\n"
        "file = ctypes.c_void_p(libc.fopen(b'stdio', b'w')); libc.fputs(b'yes', file);"
    )
    found = {
        name: (tmp_path / name).read_text() for name in ("deleted", "atexit", "thread", "stdio")
    }
    assert found == dict.fromkeys(found, "yes")
    assert (tmp_path / "unflushed").read_text() == "all of it"


def test_what_the_notebook_keeps_from_ending_is_killed(monkeypatch):
    monkeypatch.setattr("mlops_nb.papermill_engine.worker_client.END_TIMEOUT_S", 0.5)
    texts = execute(
        WHO, "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()"
    )
    assert not is_running(int(texts[0].split()[0]))


def test_an_error_does_not_keep_the_next_notebook_from_running():
    with pytest.raises(PapermillExecutionError, match="ZeroDivisionError"):
        execute("1 / 0")
    assert execute("print(1)") == ["1\n"]


RUNS = """
import papermill, sys
papermill.execute_notebook("in.ipynb", "in-out.ipynb", engine_name="mlops_nb_fast",
                           progress_bar=False)
"""
WAITS = (
    "import os, subprocess, time\nchild = subprocess.Popen(['sleep', '600'])\n"
    "open('pids.tmp', 'w').write(f'{os.getpid()} {child.pid} {os.getppid()}')\n"
    "os.rename('pids.tmp', 'pids'); print('begun', flush=True); time.sleep(600)"
)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["interrupted", "terminated", "killed"],
)
def test_with_whoever_runs_the_notebook_everything_ends(number, code):
    nbformat.write(notebook("x = 1", WAITS), "in.ipynb")
    with in_child(RUNS) as process:
        wait_until(Path("pids").exists)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    for pid in map(int, Path("pids").read_text().split()):
        wait_until(lambda pid=pid: not is_running(pid))
    if number != signal.SIGKILL:
        first, second = saved()
        assert (first.metadata.papermill.status, second.outputs[0].text) == (
            "completed",
            "begun\n",
        )
        assert second.outputs[-1].ename == "KeyboardInterrupt"
        with Store.open(".mlops") as store:
            store.refresh()
            assert [run.status for run in store.runs()] == ["interrupted"]


def test_a_killed_server_costs_only_what_runs():
    (text,) = execute(WHO)
    os.kill(int(text.split()[1]), signal.SIGKILL)
    wait_until(lambda: not is_running(int(text.split()[1])))
    (again,) = execute(WHO)
    assert again.split()[1] != text.split()[1]
    killer = "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)"
    with pytest.raises(DeadKernelError):
        execute(WHO, killer)
    wait_until(lambda: not is_running(int(saved()[0].outputs[0].text.split()[0])))


def test_a_run_comes_into_the_store_without_anybody_looking(tmp_path):
    execute("x = 1")
    spool = tmp_path / ".mlops" / "spool"
    wait_until(lambda: not any(spool.iterdir()))
    with Store.open(".mlops") as store:
        assert [run.status for run in store.runs()] == ["finished"]


# --- where a kernel is used -------------------------------------------------------------------


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))

    def install(name, argv, language="python", **more):
        home = tmp_path / "share" / "kernels" / name
        home.mkdir(parents=True)
        spec = {"argv": argv, "display_name": name, "language": language, **more}
        (home / "kernel.json").write_text(json.dumps(spec))
        return name

    return install


USUAL = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]


@pytest.mark.parametrize(
    ("argv", "more", "reason"),
    [
        (["/usr/bin/python3", *USUAL], {}, "another environment"),
        ([sys.executable, "start.py", "-f", "{connection_file}"], {}, "not started as"),
        (["R", "--slave"], {"language": "R"}, "runs R"),
        ([sys.executable, *USUAL], {"interrupt_mode": "message"}, "by messages"),
        ([sys.executable, *USUAL], {"metadata": {"kernel_provisioner": {"a": 1}}}, "provisioner"),
        ([sys.executable, *USUAL], {}, ""),
        (["python", "-Xfrozen_modules=off", *USUAL], {}, ""),
    ],
)
def test_only_a_usual_kernel_of_this_environment_has_workers(
    kernels, tmp_path, argv, more, reason
):
    spec = fast._spec_of(kernels("asked", argv, **more))
    found = fast.why_kernel(notebook("x = 1"), spec, tmp_path)
    assert (reason in found) if reason else found == ""


@pytest.mark.parametrize(
    "source",
    [
        "import ipywidgets as w",
        "from tqdm.auto import tqdm",
        "%connect_info",
        "%matplotlib widget",
    ],
)
def test_what_needs_a_kernel_gets_one(source, tmp_path):
    assert fast.why_kernel(notebook("x = 1", source), fast._spec_of("python3"), tmp_path)


def test_the_log_says_once_why_there_is_a_kernel(caplog):
    with caplog.at_level(logging.WARNING, "papermill"):
        for _ in range(2):
            (text,) = execute(f"# tqdm.auto\n{WHO}")
    assert text.split()[-1] == "IPythonKernel"
    said = [r.getMessage() for r in caplog.records if "not in a forked worker" in r.getMessage()]
    assert len(said) == 1
    assert "it shows widgets" in said[0]


def test_a_server_that_cannot_fork_safely_is_not_forked(tmp_path, monkeypatch, caplog):
    # As a library does that starts a thread in every process.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    with caplog.at_level(logging.WARNING, "papermill"):
        (text,) = execute(WHO)
    assert text.split()[-1] == "IPythonKernel"
    assert any("it runs threads" in record.getMessage() for record in caplog.records)


def test_a_library_that_starts_threads_or_writes_is_not_loaded_early(monkeypatch):
    script = (
        "import sys, os, threading, time; sys.path.insert(0, '.')\n"
        "from mlops_nb.papermill_engine import fork_server as f\n"
        "print([f._import_quietly([n], {}) for n in ('says', 'fails', 'sets', 'quiet')])\n"
        "print(repr(f.why_not_fork())); import starts; print(f.why_not_fork())"
    )
    Path("says.py").write_text("import warnings; warnings.warn('old')")
    Path("fails.py").write_text("raise ImportError('no')")
    Path("sets.py").write_text("import os; os.environ['HOME'] = 'x'")
    Path("quiet.py").write_text("import os; os.environ.setdefault('NEW', '1')")
    Path("starts.py").write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    first, second, third = done.stdout.splitlines()
    assert first == str(
        [
            "importing says writes something",
            "importing fails raises ImportError",
            "importing sets changes variables of the environment",
            "",
        ]
    )
    assert (second, third) == ("''", "it runs threads")


def test_a_missing_folder_is_refused_as_by_a_kernel(tmp_path):
    nbformat.write(notebook("x = 1"), "in.ipynb")
    plan = plan_run(read_notebook("in.ipynb"))
    for engine in ("mlops_nb", "mlops_nb_fast"):
        with pytest.raises(FileNotFoundError):
            run_notebook(plan, tmp_path / "o.ipynb", folder=tmp_path / "no", engine=engine)


# --- for pipelines ----------------------------------------------------------------------------


def test_a_notebook_runs_as_one_run_by_the_engine_that_is_named(tmp_path):
    nbformat.write(notebook("x = 1", WHO, tags={0: ["parameters"]}), "in.ipynb")
    plan = plan_run(read_notebook("in.ipynb"), params={"x": 5})
    done = run_notebook(
        plan, tmp_path / "out.ipynb", batch={"name": "train"}, engine="mlops_nb_fast"
    )
    assert done.status == "finished"
    cells = nbformat.read("out.ipynb", 4).cells
    assert cells[2].outputs[0].text.split()[-1] == "WorkerKernel"
    with Store.open(".mlops") as store:
        store.refresh()
        run = store.get_run(done.run)
    assert (run.name, run.params["x"].value) == ("train", 5)


def test_a_failure_is_told_as_of_a_kernel(tmp_path):
    nbformat.write(notebook("x = 1", "y = 2\nx / 0"), "in.ipynb")
    plan = plan_run(read_notebook("in.ipynb"))
    ours, theirs = (
        run_notebook(plan, tmp_path / "out.ipynb", engine=engine).failure
        for engine in ("mlops_nb_fast", "mlops_nb")
    )
    assert (ours.cell, ours.line, ours.type, ours.message) == (
        1,
        2,
        "ZeroDivisionError",
        "division by zero",
    )
    assert (ours.lines, ours.execution_count) == (theirs.lines, theirs.execution_count)


def test_child_processes_use_the_server_that_their_parent_shares():
    script = (
        "import sys, nbformat\nfrom pathlib import Path\n"
        "from mlops_nb.papermill_engine import plan_run, run_notebook\n"
        "from mlops_nb.notebook import read_notebook\n"
        "plan = plan_run(read_notebook('in.ipynb'))\n"
        "for _ in range(2):\n"
        "    run_notebook(plan, Path('out.ipynb'), engine='mlops_nb_fast')\n"
        "    print(nbformat.read('out.ipynb', 4).cells[0].outputs[0].text)\n"
    )
    nbformat.write(
        notebook(f"{WHO}\nfrom sys import modules as m; print('numpy' in m)", "import numpy"),
        "in.ipynb",
    )
    found = []
    with shared_server(os.environ) as more:
        for _ in range(2):
            with in_child(script, env={**os.environ, **more}) as process:
                out, err = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, err
            found += [line.split()[1] for line in out.splitlines() if "WorkerKernel" in line]
            assert out.count("True") == 2
        (server,) = set(found)
        assert is_running(server)
    wait_until(lambda: not is_running(server))


def test_values_with_types_come_into_the_notebook(tmp_path):
    given = {"x": (1, {"a"}), "day": date(2026, 11, 21), "place": tmp_path}
    texts = execute(
        "x = day = place = None",
        "print(repr(x), repr(day), repr(place))",
        tags={0: ["parameters"]},
        parameters=given,
    )
    assert texts[-1] == f"(1, {{'a'}}) datetime.date(2026, 11, 21) {tmp_path!r}\n"
    recorded = nbformat.read("in-out.ipynb", 4).metadata.papermill.parameters
    assert recorded == {"x": [1, ["a"]], "day": "2026-11-21", "place": str(tmp_path)}
    with pytest.raises(CannotRender, match='"x" \\(function\\)'):
        execute("x = 0", tags={0: ["parameters"]}, parameters={"x": lambda: 1})
