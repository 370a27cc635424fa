"""Runs that are killed or interrupted, or whose disk fills: nothing is left behind, they go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline_runs import Pipelines, wait_until_nobody_is_in

from mlops_nb.errors.pipelines import NothingToResume, RunHeld

TESTS = Path(__file__).parent
WAITS = """
import time
from pathlib import Path
Path("started").touch()
while not Path("go").exists():
    time.sleep(0.02)
y = x + 1
"""


@pytest.fixture
def pipelines(tmp_path):
    return Pipelines(tmp_path)


class Driver:
    """A driver in a process of its own."""

    def __init__(self, pipelines: Pipelines, path: Path, **more) -> None:
        arguments = [path, pipelines.location, json.dumps(more)]
        self.process = subprocess.Popen(
            [sys.executable, TESTS / "running_child.py", *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def told(self) -> list:
        """Wait for its end; give all that it has told."""
        out, _ = self.process.communicate(timeout=120)
        return [json.loads(line) for line in out.splitlines()]


def wait_for(path: Path, timeout_s=60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.02)


def test_a_killed_driver_leaves_nothing_behind_and_its_run_goes_on(pipelines, tmp_path):
    path = pipelines.write(
        ("step:a", "x = 1"), ("step:b", WAITS), ("step:c output:z", "z = y + 1")
    )
    driver = Driver(pipelines, path)
    wait_for(tmp_path / "started")
    os.kill(driver.process.pid, signal.SIGKILL)
    begin = driver.told()[0]
    wait_until_nobody_is_in(tmp_path)
    with pipelines.store() as store:
        store.refresh()
        assert store.get_run(begin[3]).status == "lost"
        assert {row.step: row.state for row in store.step_runs(begin[3])} == {
            "a": "done",
            "b": "running",
            "c": "pending",
        }
    (tmp_path / "go").touch()
    outcome = pipelines.run(path, resume=begin[3])
    assert outcome.run == begin[3]
    assert outcome.status == "finished"
    assert pipelines.states(outcome) == {"a": "done", "b": "done", "c": "done"}
    assert [s.step for s in pipelines.seen if s.state == "running"] == ["b", "c"]
    assert outcome.values("c", "z") == 3
    with pipelines.store() as store:
        run = store.get_run(begin[3])
        assert (run.status, run.error) == ("finished", None)
        assert {row.state for row in store.step_runs(begin[3])} == {"done"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_its_steps_and_goes_on_later(pipelines, tmp_path, number):
    path = pipelines.write(
        ("step:a", "x = 1"), ("step:b", WAITS), ("step:c output:z", "z = y + 1")
    )
    driver = Driver(pipelines, path)
    wait_for(tmp_path / "started")
    driver.process.send_signal(number)
    *_, end = driver.told()
    assert end[:2] == ["end", "interrupted"]
    assert driver.process.returncode == 130
    wait_until_nobody_is_in(tmp_path)
    with pipelines.store() as store:
        store.refresh()
        rows = {row.step: row for row in store.step_runs(end[3])}
        assert {name: row.state for name, row in rows.items()} == {
            "a": "done",
            "b": "pending",
            "c": "pending",
        }
        assert store.get_run(end[3]).status == "interrupted"
        assert store.get_run(rows["b"].run).status == "interrupted"
    (tmp_path / "go").touch()
    outcome = pipelines.run(path, resume="")
    assert (outcome.run, outcome.status) == (end[3], "finished")


def test_a_second_driver_of_the_same_run_is_refused(pipelines, tmp_path):
    path = pipelines.write(("step:a", "x = 1"), ("step:b output:y", WAITS))
    driver = Driver(pipelines, path)
    wait_for(tmp_path / "started")
    with pytest.raises(RunHeld, match="is being run by another process"):
        pipelines.run(path, resume="")
    (tmp_path / "go").touch()
    assert driver.told()[-1][:2] == ["end", "finished"]
    with pytest.raises(NothingToResume, match="no run of it that did not finish"):
        pipelines.run(path, resume="")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_fills_fails_the_step_and_the_run_can_go_on(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "none", small], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this system lets nobody mount")
    try:
        pipelines = Pipelines(small)
        path = pipelines.write(
            ("parameters", "size = 100"),
            ("step:a", "x = 1"),
            ("step:big", "y = [str(n) * 8 for n in range(size)]"),
            ("step:c output:z", "z = len(y) + x"),
        )
        outcome = pipelines.run(path, params={"size": 900_000})
        assert pipelines.states(outcome)["a"] == "done"
        assert outcome.status == "failed"
        again = pipelines.run(path, params={"size": 10})
        assert again.values("c", "z") == 11
    finally:
        subprocess.run(["umount", "-l", small], check=True)
