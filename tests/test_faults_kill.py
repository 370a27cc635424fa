"""Rules of sudden death: a kernel, a drainer or a reader may be killed at any moment.

Two hundred are. Nothing whose call returned is lost, nothing is there twice, and what was left
open is `lost`, with its last cell and time.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from fault_children import Counter

from mlops_nb.store import Store
from mlops_nb.store.intake.drain import drain
from mlops_nb.store.spool.folders import find_spools
from mlops_nb.store.spool.owner import OWNER_FILE

pytest_plugins = ["fault_fixtures"]

ROUNDS = 17
SEEDS = (1, 2, 3, 4)
"""Four times 17 rounds, in each of which three are killed: 204 deaths."""

ONE_LONG_CELL = """
import mlops_nb as mn
run = mn.run("churn")
---
for step in range(10**9):
    run.log_metric("loss", float(step), step=step)
    returned.value = step + 1
"""
IN_BURSTS = """
import time
from pathlib import Path
import mlops_nb as mn
run = mn.run("churn")
---
for step in range(10**9):
    run.log_metric("loss", float(step), step=step)
    returned.value = step + 1
    if step % 300 == 0:
        time.sleep(0.002)
"""
MANY_SHORT_CELLS = """
import mlops_nb as mn
run = mn.run("churn")
""" + "".join(
    f"""---
for step in range({start}, {start + 25}):
    run.log_metric("loss", float(step), step=step)
    returned.value = step + 1
"""
    for start in range(0, 25 * 200, 25)
)


def spools_of(folder, nursery):
    """Find what is worth draining: who dies while making a spool leaves one without an owner."""
    spools = find_spools(folder / ".mlops" / "spool", nursery.state)
    return [one for one in spools if any((place / OWNER_FILE).exists() for place in one.folders)]


def kill(pid, nursery):
    os.kill(pid, signal.SIGKILL)
    assert nursery.wait(pid) in {-signal.SIGKILL, 0}


def wait_for(is_so, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


class Round:
    """One kernel that dies at a random moment, and two that drain it and die as well."""

    def __init__(self, folder, nursery, chance):
        self.folder, self.nursery, self.chance = folder, nursery, chance
        folder.mkdir()

    def play(self):
        if self.chance.random() < 0.4:
            self._drain_beside(self._start_any(IN_BURSTS, MANY_SHORT_CELLS))
        else:
            self._drain_after(self._start_any(ONE_LONG_CELL, MANY_SHORT_CELLS))

    def _start_any(self, *bodies):
        return self.nursery.start("track", self.folder, body=self.chance.choice(bodies))

    def _drain_beside(self, writer):
        """A kernel and its drainer die, one soon after the other."""
        wait_for(lambda: spools_of(self.folder, self.nursery))
        (spool,) = spools_of(self.folder, self.nursery)
        drainer = self.nursery.start("drain_for", self.folder, spool=spool.id)
        # It looks for so long whether the kernel computes, then it begins.
        time.sleep(0.2 + self.chance.uniform(0.0, 0.15))
        victims = [writer, drainer]
        self.chance.shuffle(victims)
        kill(victims[0], self.nursery)
        time.sleep(self.chance.uniform(0.0, 0.05))
        kill(victims[1], self.nursery)
        self._kill_a_reader()

    def _drain_after(self, writer):
        """A kernel dies, and then two readers who take in what it left."""
        time.sleep(self.chance.uniform(0.0, 0.14))
        kill(writer, self.nursery)
        self._kill_a_reader()
        self._kill_a_reader()

    def _kill_a_reader(self):
        points = Counter(Path(f"{self.folder}.returned")).value
        reader = self.nursery.start("look", self.folder)
        time.sleep(self.chance.uniform(0.0, 0.03 + points / 60_000))
        kill(reader, self.nursery)

    def check(self):
        """What there is to see for whoever looks next."""
        returned = Counter(Path(f"{self.folder}.returned")).value
        with Store.open(self.folder / ".mlops", create=True) as store:
            drain(store, state_dir=self.nursery.state)
            assert spools_of(self.folder, self.nursery) == []
            sessions = {run.session for run in store.runs()}
            assert len(sessions) == len(store.runs()) <= 1
            assert sessions or not returned
            for run in store.runs():
                self._check_run(store, run, returned)

    def _check_run(self, store, run, returned):
        steps = list(store.series(run.id, "loss").steps)
        # One call may not have come to say that it returned.
        assert steps == list(range(len(steps)))
        assert len(steps) - returned in {0, 1}
        session, cells = store.session(run.session), store.session_executions(run.session)
        assert session.ended_at is None
        assert run.status == "lost"
        assert run.error["type"] == "KernelDied"
        assert run.error["execution"] == cells[-1].id
        assert f"cell [{len(cells)}]" in run.error["message"]
        assert run.ended_at >= run.started_at
        if steps:
            assert run.ended_at.timestamp() >= store.series(run.id, "loss").at_ns[-1] / 1e9 - 1e-6
        assert [cell.status for cell in cells[:-1]] == ["ok"] * (len(cells) - 1)
        assert cells[-1].status in {"ok", "lost"}
        was_running = cells[-1].status == "lost"
        assert ("while cell" in run.error["message"]) == was_running


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_kernels_and_drainers_lose_and_double_nothing(tmp_path, nursery, seed):
    chance = random.Random(seed)  # noqa: S311 - no secret
    for number in range(ROUNDS):
        one = Round(tmp_path / str(number), nursery, chance)
        one.play()
        one.check()


def test_a_killed_kernel_and_its_drainer_lose_and_double_nothing(kernel, nursery):
    kernel.run("%load_ext mlops_nb\n%mlops_track --interactive --quiet")
    kernel.run("import mlops_nb as mn; run = mn.run('churn')")
    spool = "__import__('mlops_nb.session').session.active().spool"
    wait_for(lambda: kernel.evaluate(f"{spool}.drainer is not None"))
    drainer = kernel.evaluate(f"{spool}.drainer.pid")
    kernel.send(
        "for step in range(10**9):\n"
        "    run.log_metric('loss', float(step), step=step)\n"
        "    with open('returned', 'w') as file: file.write(f'{step} ')"
    )
    returned = kernel.folder / "returned"
    wait_for(lambda: returned.exists() and returned.read_text().strip())
    os.kill(drainer, signal.SIGKILL)
    os.kill(kernel.pid, signal.SIGKILL)
    kernel.kill()
    with Store.open(kernel.folder / ".mlops", create=True) as store:
        store.refresh()
        (run,) = store.runs()
        cells = store.session_executions(run.session)
        steps = list(store.series(run.id, "loss").steps)
    assert run.status == "lost"
    assert run.error["execution"] == cells[-1].id
    assert cells[-1].status == "lost"
    assert steps == list(range(len(steps)))
    # It is killed between two calls, or while it writes down that one returned.
    assert len(steps) >= int(returned.read_text() or 0) + 1
