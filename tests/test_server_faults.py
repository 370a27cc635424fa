"""Servers that stop, start again, or were never there: cells go on, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import nbformat
import pytest
from events import T0, A, B, metric, run_started, session_started
from postgres_server import PASSWORD, QUOTED, wait_until

from mlops_nb.model import RunChanged, SessionStarted
from mlops_nb.store import Store
from mlops_nb.store.intake import drainer as draining
from mlops_nb.store.intake.drain import drain
from mlops_nb.store.locate import spool_root
from mlops_nb.store.spool import Spool
from mlops_nb.store.spool.folders import find_spools
from mlops_nb.store.spool.owner import identity

POINTS = 12_000


@pytest.fixture
def state_dir(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def store(server_store):
    with Store.open(server_store) as opened:
        yield opened


@pytest.fixture
def spool(server_store, state_dir):
    opened = Spool.create(spool_root(server_store, state_dir), "s", state_dir=state_dir)
    opened.append(SessionStarted("s", T0, "host", os.getpid(), "3.11", identity()))
    opened.append(run_started(A, session="s"))
    yield opened
    opened.close()


@pytest.fixture
def kernel(new_kernel, tmp_path):
    return new_kernel()


def track(kernel, url: str, tmp_path: Path) -> None:
    """Turn tracking on with a store on a server, as if the environment had named it."""
    given = {"MLOPS_NB_STORE": url, "MLOPS_NB_BLOBS": "bytes"}
    kernel.run(f"import os, sys; os.environ.update({given!r})", silent=True)
    assert kernel.run("%load_ext mlops_nb\n%mlops_track\nimport mlops_nb as mn").status == "ok"


def files_below(folder: Path) -> bytes:
    """All that stands in files, and their names."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return b"\0".join(part for p in paths for part in (os.fsencode(p), p.read_bytes()))


# --- from the spool into the server ---------------------------------------------------------------


def test_what_waits_on_this_host_is_taken_in_by_a_reader(store, spool, state_dir, monkeypatch):
    monkeypatch.setenv("MLOPS_NB_STATE_DIR", str(state_dir))
    for i in range(10):
        spool.append(metric(A, "m", float(i)))
    assert spool.folder.is_relative_to(state_dir / "servers")
    assert store.refresh() == 12
    assert store.refresh() == 0
    assert list(store.series(A, "m").values) == [float(i) for i in range(10)]
    assert store.info()["spools"] == ["s"]
    spool.close()
    store.refresh()
    assert store.info()["spools"] == []
    assert store.get_run(A).status == "lost"


def test_an_event_that_cannot_be_kept_is_put_aside_beside_the_spools(store, spool, state_dir):
    spool.append(RunChanged(A, T0, {"name": None}))
    spool.append(metric(A, "m", 1.0))
    drain(store, state_dir=state_dir)
    assert store.get_run(A).metrics["m"].value == 1.0
    (rejected,) = state_dir.glob("servers/*/rejected/*")
    assert rejected.stat().st_size > 0


def test_a_drainer_holds_no_connection_while_nothing_comes(
    postgres, server_store, spool, state_dir, monkeypatch
):
    monkeypatch.setattr(draining, "_KEEP_CONNECTION_S", -1.0)
    (found,) = find_spools(spool.root, state_dir)
    drainer = draining._Drainer(found, server_store, None, state_dir)
    for value in (1.0, 2.0):
        spool.append(metric(A, "m", value))
        drainer._turn(is_over=False)
        assert len(connections(postgres)) == 1
        drainer._let_go(0)
        wait_until(lambda: connections(postgres) == [])
    with Store.open(server_store) as store:
        assert list(store.series(A, "m").values) == [1.0, 2.0]


def connections(postgres) -> list[tuple]:
    return postgres.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'mlops_nb'")


def test_the_dead_sessions_of_other_users_are_left_to_them(store, state_dir):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone = {**identity(), "pid": child.pid, "started_ticks": 0}
    ours = replace(session_started("ours"), owner=gone)
    theirs = replace(session_started("theirs"), owner={**gone, "user": 12345})
    store.apply([ours, theirs, run_started(A, session="ours"), run_started(B, session="theirs")])
    drain(store, state_dir=state_dir)
    assert (store.get_run(A).status, store.get_run(B).status) == ("lost", "running")


def start_drain(url: str, spool: Spool) -> subprocess.Popen[bytes]:
    arguments = [str(spool.root), spool.id, str(spool.state_dir), ""]
    return subprocess.Popen(
        [sys.executable, "-m", "mlops_nb.store.intake.drainer", *arguments],
        env={**os.environ, "MLOPS_NB_DRAIN_STORE": url},
        stderr=subprocess.DEVNULL,
    )


def has_moved(store: Store, spool: Spool, before: object) -> bool:
    now = store.spool_position(spool.id)
    return now != before or spool_is_empty(store, spool)


def spool_is_empty(store: Store, spool: Spool) -> bool:
    found = store.find_run(A)
    return found is not None and "m" in found.metrics and found.metrics["m"].count == POINTS


def test_drainers_that_are_killed_at_any_moment_take_everything_in_once(
    store, server_store, spool, state_dir
):
    for i in range(POINTS):
        spool.append_metric(A, "m", float(i), None, T0 + i)
    for delay_s in (0.0, 0.05, 0.2):
        before = store.spool_position(spool.id)
        drainer = start_drain(server_store, spool)
        wait_until(partial(has_moved, store, spool, before))
        time.sleep(delay_s)
        drainer.send_signal(signal.SIGKILL)
        drainer.wait()
    drain(store, state_dir=state_dir)
    assert list(store.series(A, "m").values) == [float(i) for i in range(POINTS)]


# --- kernels ------------------------------------------------------------------------------------


def test_a_server_that_is_stopped_and_started_again_loses_nothing(
    kernel, postgres, server_store, store, tmp_path
):
    track(kernel, server_store, tmp_path)
    runs = ["before", "without 1", "without 2", "after"]
    expected = {name: [float(i) for i in range(250)] for name in runs}
    for name in runs:
        cell = f"with mn.run({name!r}):\n    for i in range(250):\n        mn.log_metric('m', i)"
        reply = kernel.run(f"{cell}\nprint('done')")
        assert (reply.status, reply.stdout, reply.stderr) == ("ok", "done\n", "")
        if name == "before":
            wait_until(lambda: _found(store, runs) == {"before": expected["before"]})
            postgres.stop("immediate")
        elif name == "without 2":
            postgres.start()
    wait_until(lambda: _found(store, runs) == expected)
    wait_until(lambda: any(path.is_file() for path in (tmp_path / "bytes").rglob("*")))
    loaded = "[n for n in ('sqlalchemy', 'psycopg', 'alembic') if n in sys.modules]"
    assert kernel.evaluate(loaded) == []


def _found(store, names: list[str]) -> dict[str, list[float]]:
    runs = [run for run in store.runs() if run.name in names]
    assert len({run.name for run in runs}) == len(runs)
    return {run.name: list(store.series(run.id, "m").values) for run in runs}


def test_a_server_that_is_never_there_is_told_once_and_nothing_told_opens_it(
    kernel, postgres, server_store, tmp_path
):
    url = server_store.replace(f":{postgres.port}/", ":1/")
    track(kernel, url, tmp_path)
    said = kernel.run("with mn.run('r'):\n    mn.log_metric('m', 1)")
    assert said.status == "ok"
    warnings = "__import__('mlops_nb').session.active().warnings"
    wait_until(lambda: kernel.evaluate(warnings))
    (warning,) = kernel.evaluate(warnings)
    assert "127.0.0.1:1/" in warning
    assert "Your cells are not affected; records wait in" in warning
    asked = kernel.run("%mlops_runs")
    shown = f"{asked.error} {asked.stdout} {asked.stderr} {asked.bundles()}"
    assert "its server cannot be used" in shown
    doctor = kernel.run("%mlops_doctor")
    told = f"{warning} {shown} {doctor.bundles()} {doctor.stdout} {doctor.stderr}".encode()
    home = Path(kernel.evaluate("str(mn.session.active().settings.state_dir)"))
    wait_until(lambda: kernel.evaluate("mn.session.active().spool.drainer is not None"))
    drainer = kernel.evaluate("mn.session.active().spool.drainer.pid")
    told += files_below(home) + Path(f"/proc/{drainer}/cmdline").read_bytes()
    (warning,) = kernel.evaluate(warnings)
    for secret in (PASSWORD, QUOTED):
        assert secret.encode() not in told
    assert _waiting_in(kernel) > 0


def _waiting_in(kernel) -> int:
    folder = Path(kernel.evaluate("str(mn.session.active().spool.folder)"))
    return sum(path.stat().st_size for path in folder.iterdir())


# --- notebooks that run as a batch ----------------------------------------------------------------


def test_a_notebook_that_is_run_into_a_server_keeps_nothing_that_opens_it(
    server_store, store, tmp_path, monkeypatch
):
    cell = nbformat.v4.new_code_cell("import mlops_nb as mn\nmn.log_metric('auc', 0.9)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "train.ipynb")
    monkeypatch.setenv("MLOPS_NB_STORE", server_store)
    command = [sys.executable, "-m", "mlops_nb", "run", "train.ipynb", "--output", "done.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {run.metrics["auc"].value for run in store.runs()} == {0.9}
    told = done.stdout + done.stderr + files_below(tmp_path)
    assert store.location.encode() in (tmp_path / "done.ipynb").read_bytes()
    for secret in (PASSWORD, QUOTED):
        assert secret.encode() not in told
