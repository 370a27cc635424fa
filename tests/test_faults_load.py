"""Rules of long sessions, many processes and clocks that jump."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from test_drain import logged_steps

from mlops_nb.store import Store
from mlops_nb.store.intake.drain import drain
from mlops_nb.store.spool.folders import find_spools
from mlops_nb.store.spool.frames import SEGMENT_BYTES
from mlops_nb.store.spool.owner import LEASE_S, OWNER_FILE

pytest_plugins = ["fault_fixtures"]

long = pytest.mark.skipif(
    not os.environ.get("MLOPS_NB_LONG_TESTS"), reason="takes a minute: set MLOPS_NB_LONG_TESTS"
)


def wait_for(is_so, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def used_bytes(folder):
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.stat().st_size
        except FileNotFoundError:
            continue
    return found


# --- growth ---------------------------------------------------------------------------------------

IN_TURNS = """
import os, time
import mlops_nb as mn
run = mn.run("long")
for turn in range(turns):
    for step in range(turn * 100_000, (turn + 1) * 100_000):
        run.log_metric("loss", step / 7, step=step)
    returned.value = turn + 1
    while not os.path.exists(f"turn{turn}"):
        time.sleep(0.005)
run.end()
---
%mlops_track --off
"""


@pytest.mark.parametrize("turns", [2, pytest.param(20, marks=long)])
def test_a_spool_that_is_drained_does_not_grow_with_the_session(tmp_path, nursery, turns):
    pid = nursery.start("track", tmp_path, body=IN_TURNS, turns=turns)
    spools = tmp_path / ".mlops" / "spool"
    wait_for(lambda: [one for one in find_spools(spools, nursery.state) if one.id])
    (spool,) = find_spools(spools, nursery.state)
    drainer = nursery.start("drain_for", tmp_path, spool=spool.id)
    for turn in range(turns):
        # All but the segment being written, and at most one made ahead of it, is removed.
        last = (turn + 1) * 100_000
        wait_for(lambda last=last: _points(tmp_path) == last)
        wait_for(lambda: used_bytes(spools) <= 2 * SEGMENT_BYTES + 100_000)
        (tmp_path / f"turn{turn}").touch()
    assert nursery.wait(pid) == 0, Path(f"{tmp_path}.log").read_text()
    assert nursery.wait(drainer) == 0
    assert list(spools.iterdir()) == []
    with Store.open(tmp_path / ".mlops") as store:
        assert store.get_run("long").metrics["loss"].count == turns * 100_000
    assert used_bytes(tmp_path / ".mlops") < 24 * turns * 100_000 + 1_000_000


def _points(folder):
    with Store.open(folder / ".mlops", create=True) as store:
        run = store.find_run("long")
        metric = run.metrics.get("loss") if run else None
    return metric.count if metric else 0


LOG_AND_WAIT = """
import os, time
import mlops_nb as mn
from mlops_nb.session import active
run = mn.run("orphan")
run.log_metric("loss", 0.0, step=0)
with open("drainer.new", "w") as file:
    file.write(str(active().spool.drainer.pid))
os.rename("drainer.new", "drainer")
while not os.path.exists("killed"):
    time.sleep(0.005)
for step in range(1, 100_000):
    run.log_metric("loss", float(step), step=step)
while not os.path.exists("go"):
    time.sleep(0.005)
run.end()
---
%mlops_track --off
"""


def test_a_drainer_that_was_killed_is_started_again(tmp_path, nursery):
    waiting = "while active().spool.drainer is None:\n    time.sleep(0.005)\n"
    body = LOG_AND_WAIT.replace('with open("drainer.new"', waiting + 'with open("drainer.new"')
    pid = nursery.start("track", tmp_path, body=body, drainer=True)
    wait_for((tmp_path / "drainer").exists)
    os.kill(int((tmp_path / "drainer").read_text()), signal.SIGKILL)
    (tmp_path / "killed").touch()
    wait_for(lambda: (tmp_path / ".mlops" / "store.db").is_file() and _count(tmp_path) == 100_000)
    assert used_bytes(tmp_path / ".mlops" / "spool") <= 2 * SEGMENT_BYTES + 100_000
    (tmp_path / "go").touch()
    assert nursery.wait(pid) == 0
    wait_for(lambda: list((tmp_path / ".mlops" / "spool").iterdir()) == [])


def _count(folder):
    """Look without draining."""
    with Store.open(folder / ".mlops") as store:
        run = store.find_run("orphan")
    metric = run.metrics.get("loss") if run else None
    return metric.count if metric else 0


def test_where_no_drainer_may_be_started_readers_drain(tmp_path, nursery):
    body = LOG_AND_WAIT.replace("active().spool.drainer.pid", "active().spool.drainer")
    pid = nursery.start("track", tmp_path, body=body)
    wait_for((tmp_path / "drainer").exists)
    assert (tmp_path / "drainer").read_text() == "None"
    (tmp_path / "killed").touch()
    with Store.open(tmp_path / ".mlops", create=True) as store:
        wait_for(
            lambda: drain(store, state_dir=nursery.state) >= 0 and _count(tmp_path) == 100_000
        )
        assert used_bytes(tmp_path / ".mlops" / "spool") <= 2 * SEGMENT_BYTES + 100_000
        (tmp_path / "go").touch()
        assert nursery.wait(pid) == 0
        drain(store, state_dir=nursery.state)
    assert list((tmp_path / ".mlops" / "spool").iterdir()) == []


# --- eight processes ------------------------------------------------------------------------------


def test_eight_processes_lose_nothing_and_find_no_database_locked(tmp_path, nursery, caplog):
    names, points = [f"run{number}" for number in range(8)], 20_000
    writers = [
        nursery.start("log_points", tmp_path, session=name, points=points) for name in names
    ]
    spools = tmp_path / ".mlops" / "spool"
    wait_for(lambda: len([one for one in find_spools(spools, nursery.state) if one.id]) == 8)
    drainers = [
        nursery.start("drain_for", tmp_path, spool=one.id)
        for one in find_spools(spools, nursery.state)
    ]
    with Store.open(tmp_path / ".mlops", create=True) as store:
        while find_spools(spools, nursery.state):
            drain(store, state_dir=nursery.state)
        for name in names:
            run = store.get_run(name)
            assert logged_steps(store, run.id) == list(range(points))
            assert run.metrics["loss"].count == points
            assert run.status == "finished"
    for pid in (*writers, *drainers):
        assert nursery.wait(pid) == 0
    printed = Path(f"{tmp_path}.log").read_text()
    assert "locked" not in printed + caplog.text
    assert "Traceback" not in printed


# --- clocks ---------------------------------------------------------------------------------------

CLOCK_SET_BACK = """
import time
from sklearn.linear_model import LogisticRegression
import mlops_nb as mn
run = mn.run("before")
for step in range(100):
    run.log_metric("loss", float(step), step=step)
model = LogisticRegression()
---
true_ns, true_s = time.time_ns, time.time
time.time_ns = lambda: true_ns() - 3600 * 10**9
time.time = lambda: true_s() - 3600
model.fit([[0.0], [1.0], [2.0]], [0, 1, 1])
---
for step in range(100, 200):
    run.log_metric("loss", float(step), step=step)
run.end()
---
with mn.run("after") as other:
    other.log_metric("loss", 1.0)
---
%mlops_track --off
"""


def test_a_clock_set_back_makes_no_duration_negative_and_no_order_wrong(tmp_path, nursery):
    nursery.run("track", tmp_path, body=CLOCK_SET_BACK)
    with Store.open(tmp_path / ".mlops", create=True) as store:
        drain(store, state_dir=nursery.state)
        runs = {run.name: run for run in store.runs()}
        cells = store.session_executions(runs["before"].session)
        assert logged_steps(store, runs["before"].id) == list(range(200))
    assert {run.status for run in runs.values()} == {"finished"}
    assert all(run.duration_s >= 0 for run in runs.values())
    models = [model for run in runs.values() for model in run.models]
    assert models
    assert all(model.duration_s is None or model.duration_s >= 0 for model in models)
    assert [cell.order for cell in cells] == list(range(1, len(cells) + 1))
    assert [cell.source for cell in cells][2:5] == CLOCK_SET_BACK.split("---\n")[:3]
    assert all(cell.duration_s >= 0 for cell in cells if cell.duration_s is not None)


@pytest.mark.parametrize("shift_s", [-3600, 0])
def test_a_clock_set_back_does_not_make_a_living_session_lost(tmp_path, nursery, shift_s):
    body = "import mlops_nb as mn\nrun = mn.run('here')\n---\nimport time\ntime.sleep(600)"
    pid = nursery.start("track", tmp_path, body=body)
    spools = tmp_path / ".mlops" / "spool"

    def owners():
        return list(spools.glob(f"*/{OWNER_FILE}"))

    wait_for(lambda: owners() and b"here" in _segments(spools))
    here = _statuses(tmp_path, nursery, shift_s)
    # As it looks from another machine, which has only the lease to go by.
    (owner,) = owners()
    elsewhere = tmp_path / "elsewhere"
    _copy_of_another_machine(spools.parent, elsewhere / ".mlops")
    there = _statuses(elsewhere, nursery, shift_s)
    (owner,) = (elsewhere / ".mlops" / "spool").glob(f"*/{OWNER_FILE}")
    long_ago = time.time() - LEASE_S - 3600 - 60
    os.utime(owner, (long_ago, long_ago))
    after = _statuses(elsewhere, nursery, shift_s)
    os.kill(pid, signal.SIGKILL)
    nursery.wait(pid)
    assert (here, there, after) == ("running", "running", "lost")


def _segments(spools):
    return b"".join(path.read_bytes() for path in spools.glob("*/*.segment"))


def _copy_of_another_machine(store, target):
    shutil.copytree(store, target)
    for owner in target.glob(f"spool/*/{OWNER_FILE}"):
        content = json.loads(owner.read_text())
        owner.write_text(json.dumps({**content, "host": "another", "boot": "another"}))


def _statuses(folder, nursery, shift_s):
    log = Path(f"{folder}.log")
    log.unlink(missing_ok=True)
    nursery.run("look", folder, shift_s=shift_s)
    return log.read_text().strip()
