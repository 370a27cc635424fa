"""What a scheduler does about what is due, missed, edited, killed or hostile."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from events import T0, A, run_started
from scheduler_child import PROGRAM

from mlops_nb.model import RunChanged, TagSet
from mlops_nb.schedule import children
from mlops_nb.schedule.children import FIRING_TAG, run_command
from mlops_nb.schedule.making import keep_schedule, new_schedule, paused
from mlops_nb.schedule.scheduler import Scheduler, Ways
from mlops_nb.schedule.trust import Allowance
from mlops_nb.store import Store
from mlops_nb.store.spool.owner import identity

if TYPE_CHECKING:
    from mlops_nb.model.pipelines import Schedule

pytestmark = pytest.mark.usefixtures("own_settings")

CHILD = Path(__file__).parent / "scheduler_child.py"
SECOND = 1_000_000_000
PATIENCE_S = 40


@pytest.fixture
def target(tmp_path) -> Path:
    path = tmp_path / "train.ipynb"
    path.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    return path


def until(condition, timeout_s: float = PATIENCE_S):
    """Wait until something is so; what it says is given."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    pytest.fail("it did not come to pass")


def lines(journal: Path) -> list[int]:
    """When what ran was due."""
    return [int(line.split()[0]) for line in journal.read_text().splitlines()]


class Place:
    """A store, a schedule in it, and schedulers that run a small program for it."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder, self.target = folder, target
        self.journal = folder / "journal"
        self.journal.touch()
        self.said: list[str] = []
        self.location = folder / ".mlops"
        self.store = Store.open(self.location, create=True)
        self.now_ns = time.time_ns()

    def add(
        self, cron: str = "@hourly", *, due: int = 0, name: str = "train", **given
    ) -> Schedule:
        """Keep a schedule that is due now, or was so many seconds ago."""
        made = new_schedule(self.target, cron, zone="UTC", name=name, **given)
        due_ns = (self.now_ns // SECOND - due) * SECOND
        return keep_schedule(self.store, replace(made, next_at_ns=due_ns))

    def scheduler(self, program: str = "pass", **given) -> Scheduler:
        code = f"import os, sys, time\n{PROGRAM}\n{program}"
        ways = {"is_once": True, "poll_s": 0.2, "lease_s": 2.0} | given.pop("ways", {})
        return Scheduler(
            given.pop("open_store", lambda: Store.open(self.location)),
            refusal=given.pop("refusal", Allowance().refusal),
            say=self.said.append,
            logs=self.folder / "logs",
            ways=Ways(**ways),
            command=lambda _, due: [
                sys.executable,
                "-ISc",
                code,
                str(self.journal),
                str(due),
                "0",
            ],
            clock=given.pop("clock", lambda: self.now_ns),
            **given,
        )

    def states(self, schedule: Schedule) -> list[str]:
        """How its firings ended, the earliest first."""
        return [one.state for one in reversed(self.store.firings(schedule.id))]


@pytest.fixture
def place(tmp_path, target):
    made = Place(tmp_path, target)
    with made.store:
        yield made


def test_a_schedule_that_is_due_runs_once_and_is_moved_on(place):
    schedule = place.add()
    assert place.scheduler().run() == 0
    assert lines(place.journal) == [schedule.next_at_ns]
    assert place.states(schedule) == ["done"]
    assert place.store.schedules()[0].next_at_ns > place.now_ns
    place.scheduler().run()
    assert len(lines(place.journal)) == 1


def test_what_fails_is_told_with_its_last_line(place):
    schedule = place.add()
    assert place.scheduler("sys.exit('no disk')").run() == 1
    (firing,) = place.store.firings(schedule.id)
    assert (firing.state, firing.text) == ("failed", "exit code 1: no disk")


def test_a_secret_that_it_says_is_not_kept(place):
    schedule = place.add()
    place.scheduler("sys.exit('postgresql://ann:hunter2@db/x is away')").run()
    assert "hunter2" not in place.store.firings(schedule.id)[0].text


@pytest.mark.parametrize(
    ("missed", "ran", "states"),
    [
        pytest.param("skip", 0, ["skipped"], id="skip"),
        pytest.param("once", 1, ["skipped", "done"], id="once"),
        pytest.param("all", 3, ["done", "done", "done"], id="all"),
    ],
)
def test_missed_times_are_made_up_for_by_policy(place, missed, ran, states):
    place.now_ns = place.now_ns // (3600 * SECOND) * 3600 * SECOND + 1800 * SECOND
    schedule = place.add(due=1800 + 2 * 3600, missed=missed)
    place.scheduler().run()
    assert len(lines(place.journal)) == ran
    assert place.states(schedule) == states


def test_missed_times_are_made_up_for_one_after_another(place):
    place.now_ns = place.now_ns // (3600 * SECOND) * 3600 * SECOND + 1800 * SECOND
    schedule = place.add(due=1800 + 2 * 3600, missed="all")
    place.scheduler("time.sleep(0.3)").run()
    past = list(reversed(place.store.firings(schedule.id)))
    assert all(before.ended_at_ns <= after.started_at_ns for before, after in pairwise(past))


@pytest.mark.parametrize(
    ("overlap", "states"),
    [
        ("skip", ["running", "skipped"]),
        ("allow", ["running", "done"]),
        ("queue", ["running", "claimed"]),
    ],
)
def test_what_comes_while_the_last_still_runs_goes_by_policy(place, overlap, states):
    schedule = place.add("* * * * * *", overlap=overlap)
    other = {**identity(), "scheduler": "another"}
    before_ns = schedule.next_at_ns - SECOND
    assert place.store.claim_firing(schedule.id, before_ns, other, 60)
    assert place.store.renew_firing(schedule.id, before_ns, other, 60, run="")
    scheduler = place.scheduler()
    scheduler._step(is_stopping=False)
    until(
        lambda: (
            not any(kept.child and not kept.child.is_over() for kept in scheduler._kept.values())
        )
    )
    scheduler._step(is_stopping=False)
    assert place.states(schedule) == states
    assert place.store.finish_firing(schedule.id, before_ns, other)
    scheduler.run()
    assert place.states(schedule)[1] == states[1].replace("claimed", "done")


def test_what_a_killed_scheduler_had_only_claimed_is_started_by_another(place):
    schedule = place.add()
    gone = {**identity(), "pid": 2**22 + 1, "scheduler": "gone"}
    due_ns = schedule.next_at_ns
    assert place.store.claim_firing(schedule.id, due_ns, gone, 60)
    place.scheduler().run()
    assert lines(place.journal) == [due_ns]
    assert place.states(schedule) == ["done"]
    assert any("it had not been started" in line for line in place.said)


def test_what_a_killed_scheduler_may_have_started_is_not_started_again(place):
    schedule = place.add()
    gone = {**identity(), "pid": 2**22 + 1, "scheduler": "gone"}
    due_ns = schedule.next_at_ns
    assert place.store.claim_firing(schedule.id, due_ns, gone, 60)
    assert place.store.renew_firing(schedule.id, due_ns, gone, 60, run="")
    place.scheduler(ways={"lease_s": 0.5}).run()
    assert lines(place.journal) == []
    (firing,) = place.store.firings(schedule.id)
    assert firing.state == "lost"
    assert "nothing is known of its run" in firing.text


def test_the_run_of_a_killed_scheduler_is_waited_for(place):
    schedule = place.add()
    gone = {**identity(), "pid": 2**22 + 1, "scheduler": "gone"}
    due_ns = schedule.next_at_ns
    assert place.store.claim_firing(schedule.id, due_ns, gone, 60)
    assert place.store.renew_firing(schedule.id, due_ns, gone, 60, run="")
    place.store.apply([run_started(A), TagSet(A, FIRING_TAG, f"{schedule.id}@{due_ns}", T0)])
    scheduler = place.scheduler(ways={"lease_s": 0.5})
    scheduler._step(is_stopping=False)
    assert place.states(schedule) == ["claimed"]
    place.store.apply([RunChanged(A, T0 + 1, {"status": "finished", "ended_at_ns": T0 + 1})])
    scheduler.run()
    (firing,) = place.store.firings(schedule.id)
    assert (firing.state, firing.run) == ("done", A)


def test_the_id_of_a_run_is_known_while_it_runs(place):
    schedule = place.add()
    scheduler = place.scheduler("time.sleep(60)", ways={"lease_s": 0.3})
    scheduler._step(is_stopping=False)
    began = place.store.firings(schedule.id)[0].started_at_ns
    mark = f"{schedule.id}@{schedule.next_at_ns}"
    place.store.apply([run_started(A), TagSet(A, FIRING_TAG, mark, T0)])
    until(lambda: scheduler._step(is_stopping=False) or place.store.firings(schedule.id)[0].run)
    (firing,) = place.store.firings(schedule.id)
    assert (firing.state, firing.run, firing.started_at_ns) == ("running", A, began)
    scheduler._kill_all()
    scheduler.run()
    assert place.store.firings(schedule.id)[0].run == A


def test_a_clock_that_is_set_back_makes_nothing_fire_twice(place):
    schedule = place.add("* * * * * *", overlap="allow")
    place.scheduler().run()
    place.now_ns += 3 * SECOND
    place.scheduler().run()
    count = len(lines(place.journal))
    place.now_ns -= 3600 * SECOND
    place.scheduler().run()
    ran = lines(place.journal)
    assert len(ran) == count == len(set(ran)) == 4
    assert place.states(schedule) == ["done"] * 4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda store, one: store.save_schedule(paused(one)), "paused while it waited"),
        (lambda store, one: store.drop_schedule(one.id), "removed while it waited"),
        (
            lambda store, one: store.save_schedule(replace(one, target="/evil.ipynb")),
            "not run here",
        ),
    ],
    ids=["paused", "removed", "changed by somebody"],
)
def test_what_is_changed_while_it_waits_is_honoured(place, change, why):
    schedule = place.add("* * * * * *", overlap="queue")
    other = {**identity(), "scheduler": "another"}
    before_ns = schedule.next_at_ns - SECOND
    assert place.store.claim_firing(schedule.id, before_ns, other, 60)
    scheduler = place.scheduler()
    scheduler._step(is_stopping=False)
    change(place.store, schedule)
    place.store.finish_firing(schedule.id, before_ns, other)
    scheduler.run()
    firing = place.store.firings(schedule.id)[0]
    assert firing.state == "skipped"
    assert why in firing.text
    assert lines(place.journal) == []


def test_a_notebook_that_is_gone_fails_and_says_so(place):
    schedule = place.add()
    place.target.unlink()
    assert place.scheduler().run() == 1
    assert "is gone" in place.store.firings(schedule.id)[0].text


def test_a_notebook_that_is_not_here_is_left_to_others_for_a_while(place):
    schedule = place.add(due=5)
    place.target.rename(place.folder / "elsewhere.ipynb")
    scheduler = place.scheduler(ways={"is_once": False})
    scheduler._step(is_stopping=False)
    assert place.states(schedule) == []
    assert sum("left to others" in line for line in place.said) == 1
    place.now_ns += 60 * SECOND
    scheduler._step(is_stopping=False)
    assert place.states(schedule) == ["failed"]


def test_a_schedule_that_cannot_be_read_is_told_once_and_disturbs_nobody(place):
    bad = replace(place.add(name="bad"), cron="0 0 31 2 *", zone="Mars/Phobos")
    place.store.save_schedule(bad)
    good = place.add(name="good")
    scheduler = place.scheduler(refusal=Allowance(is_any=True).refusal, ways={"is_once": False})
    for _ in range(3):
        scheduler._step(is_stopping=False)
    until(lambda: scheduler._step(is_stopping=False) or place.states(good) == ["done"])
    assert sum("never fires" in line or "time zone" in line for line in place.said) == 1


def test_the_schedule_of_somebody_else_is_told_once_and_not_run(place):
    schedule = replace(place.add(), created_by="eve", options={})
    place.store.save_schedule(schedule)
    scheduler = place.scheduler()
    scheduler.run()
    assert lines(place.journal) == []
    assert sum("--under" in line for line in place.said) == 1
    place.scheduler(refusal=Allowance(folders=(place.folder,)).refusal).run()
    assert len(lines(place.journal)) == 1


def test_hostile_names_reach_neither_a_shell_nor_the_log(place):
    name = "a\n2026 b \x1b[31m $(touch pwned)"
    schedule = replace(place.add(), name=name)
    place.store.save_schedule(schedule)
    place.scheduler(refusal=Allowance(is_any=True).refusal).run()
    assert all("\n" not in line and "\x1b" not in line for line in place.said)
    assert run_command(schedule, 0)[-1] == schedule.target
    assert f"schedule={name}" in run_command(schedule, 0)


def test_an_id_from_the_store_is_no_path(place):
    schedule = place.add()
    place.store.drop_schedule(schedule.id)
    place.store.save_schedule(replace(schedule, id="../../evil"))
    place.scheduler(refusal=Allowance(is_any=True).refusal).run()
    assert lines(place.journal) == [schedule.next_at_ns]
    assert not (place.folder.parent / "evil").exists()


def test_a_child_that_is_told_to_stop_and_does_not_is_killed(place, monkeypatch):
    monkeypatch.setattr(children, "_PATIENCE_S", 0.2)
    schedule = place.add()
    scheduler = place.scheduler("import signal; signal.signal(2, 1); time.sleep(60)")
    scheduler._step(is_stopping=False)
    until(lambda: lines(place.journal))
    scheduler._kill_all()
    scheduler.run()
    (firing,) = place.store.firings(schedule.id)
    assert firing.state == "failed"
    assert "told to stop" in firing.text
