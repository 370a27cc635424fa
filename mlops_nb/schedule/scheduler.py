"""The daemon that runs what is due. Any number may run on the same store.

The store says who has a firing: a row that one scheduler makes, and keeps by a lease that it
renews. A firing is ``claimed``, then ``running`` from just before its process is started, then
``done``, ``failed`` or ``skipped``. Of a scheduler that was killed, what was only claimed is
started by another one; what may have been started is never started again: its run goes on by
itself, and another scheduler waits for its end, or says ``lost`` if nothing is known of it.

The time of the next firing stands in the store too, and is moved on only from where it was seen,
so a clock that is set back makes nothing fire twice.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors import MlopsNbError, StoreError
from mlops_nb.errors.schedules import BadCron, ScheduleRefused, UnknownZone
from mlops_nb.record import record
from mlops_nb.schedule import due as planning
from mlops_nb.schedule.children import (
    FIRING_TAG,
    Child,
    Outcome,
    firing_mark,
    new_log,
    printable,
    run_command,
)
from mlops_nb.schedule.due import as_text, plan_firings
from mlops_nb.schedule.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlops_nb.model import Run
    from mlops_nb.model.pipelines import Firing, Schedule
    from mlops_nb.store import Store

    Key = tuple[str, int]

LEASE_S = 60.0
POLL_S = 10.0

_SECOND = 1_000_000_000
_TURN_S = 2.0  # how often it is looked whether the one before has ended
_CHILD_S = 0.2  # how often, where the system does not say that a child has ended
_BACK_OFF_S = 60.0
_UNKNOWN_S = 120.0  # for how long a run that was started and that nobody knows of may appear
_DEAD = frozenset({"lost", "failed", "interrupted", "superseded"})


@record
class Ways:
    """How a scheduler goes about it.

    Attributes
    ----------
    poll_s
        How often the store is asked for new schedules and for firings of killed schedulers.
    lease_s
        For how long a firing is kept without a sign of life.
    jobs
        How many run at once.
    is_once
        Whether to end when what is due now has run.
    kills_at_once
        Whether SIGTERM kills what runs, instead of waiting for it.
    """

    poll_s: float = POLL_S
    lease_s: float = LEASE_S
    jobs: int = 4
    is_once: bool = False
    kills_at_once: bool = False


class _Kept:
    """A firing that this scheduler has claimed."""

    __slots__ = (
        "child",
        "is_late",
        "outcome",
        "renew_at_s",
        "run",
        "schedule",
        "since_s",
        "was_started",
    )

    def __init__(self, schedule: Schedule, *, is_late: bool, was_started: bool = False) -> None:
        self.schedule = schedule
        self.is_late = is_late
        self.was_started = was_started
        self.child: Child | None = None
        self.outcome: Outcome | None = None
        self.run = ""
        self.since_s = time.monotonic()
        self.renew_at_s = 0.0

    @property
    def waits(self) -> bool:
        return not self.was_started and self.outcome is None


class Scheduler:
    """Runs what is due in one store, until it is told to stop.

    Parameters
    ----------
    open_store
        Opens the store; is called again after it was away.
    refusal
        Says why a schedule may not run here, as a clause; empty if it may.
    say
        Gets one line for each event.
    logs
        Folder for what runs say.
    environment
        Of the processes that are started, in place of this one's.
    ways
        How it goes about it.
    command
        Writes what a firing runs.
    clock
        The time in nanoseconds since the epoch.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        refusal: Callable[[Schedule], str],
        say: Callable[[str], None],
        logs: Path,
        environment: dict[str, str] | None = None,
        ways: Ways | None = None,
        command: Callable[[Schedule, int], list[str]] = run_command,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        from mlops_nb.store.spool.owner import identity

        self._open_store, self._refusal, self._say = open_store, refusal, say
        self._logs, self._command, self._clock = logs, command, clock
        self._environment = dict(os.environ) if environment is None else environment
        self._ways = Ways() if ways is None else ways
        # Two in one process are two.
        self._owner = {**identity(), "scheduler": os.urandom(4).hex()}
        self._kept: dict[Key, _Kept] = {}
        self._complaints: dict[str, str] = {}
        self._store: Store | None = None
        self._away_s = 0.0
        self._next_ns: int | None = None
        self._has_looked = self._is_by_hand = False
        self.failed = 0

    def run(self) -> int:
        """Run until told to stop; gives the number of firings that failed."""
        with Wakeup() as wakeup:
            if not self._is_by_hand:
                self._say(f"scheduler started, process {os.getpid()}")
            while True:
                if wakeup.stops and (wakeup.stops > 1 or self._ways.kills_at_once):
                    self._kill_all()
                self._step(is_stopping=wakeup.stops > 0)
                if self._is_over(is_stopping=wakeup.stops > 0):
                    break
                wakeup.wait(self._pause_s(is_stopping=wakeup.stops > 0))
        self._close()
        if not self._is_by_hand:
            self._say("scheduler stopped")
        return self.failed

    def run_now(self, schedule: Schedule) -> int:
        """Run one schedule once, whether it is due or paused; gives 1 if it failed, else 0.

        Raises
        ------
        ScheduleRefused
            It may not run here, or it runs already and does not allow that.
        """
        why = self._refusal(schedule)
        if why:
            raise ScheduleRefused(schedule.name, f"it is not run here: {why}", "Nothing was run.")
        # At no whole second, where no cron expression fires.
        due_ns = self._clock()
        due_ns += due_ns % _SECOND == 0
        self._store = self._open_store()
        others = [] if schedule.overlap == "allow" else self._store.open_firings(schedule.id)
        if others:
            self._close()
            at = as_text(schedule, others[0].due_at_ns)
            problem = f"the one of {at} has not ended yet"
            raise ScheduleRefused(schedule.name, problem, "Nothing was run; wait for it.")
        if self._claim(self._store, schedule, due_ns):
            self._keep(schedule, due_ns, is_late=True)
        self._is_by_hand = True
        return self.run()

    def _is_over(self, *, is_stopping: bool) -> bool:
        if is_stopping:
            # What has ended is written down first, unless the store stays away.
            return not any(
                kept.child is not None and (kept.outcome is None or not self._away_s)
                for kept in self._kept.values()
            )
        ends = self._is_by_hand or (self._ways.is_once and self._has_looked)
        return ends and not self._kept

    def _step(self, *, is_stopping: bool) -> None:
        """Do all that there is to do now; a store that is away is waited for."""
        for kept in self._kept.values():
            if kept.child is not None and kept.outcome is None and kept.child.is_over():
                kept.outcome = kept.child.outcome()
        try:
            if self._store is None:
                self._store = self._open_store()
            self._renew(self._store)
            self._finish(self._store)
            if not is_stopping:
                if not self._is_by_hand:
                    self._look(self._store)
                self._start_waiting(self._store)
        except (StoreError, OSError) as error:
            self._go_away(error)
        else:
            if self._away_s:
                self._away_s = 0.0
                self._say("the store is back")

    # --- what is due ----------------------------------------------------------------------------

    def _look(self, store: Store) -> None:
        """Claim what is due now, and what killed schedulers have left."""
        self._next_ns = None
        schedules = {one.id: one for one in store.schedules()}
        allowed = {id_: one for id_, one in schedules.items() if self._may(one)}
        self._complaints = {k: v for k, v in self._complaints.items() if k in schedules}
        self._follow_changes(schedules, allowed)
        self._take_over(store, schedules, allowed)
        if self._ways.is_once and self._has_looked:
            return
        for schedule in allowed.values():
            try:
                self._claim_due(store, schedule)
            except (BadCron, UnknownZone) as error:
                self._complain(schedule, str(error))
        self._has_looked = True

    def _may(self, schedule: Schedule) -> bool:
        why = self._refusal(schedule)
        if why:
            self._complain(schedule, f"not run here: {why}")
        return not why

    def _complain(self, schedule: Schedule, text: str) -> None:
        """Say what is wrong with a schedule, once."""
        if self._complaints.get(schedule.id) != text:
            self._complaints[schedule.id] = text
            self._tell(schedule, text)

    def _follow_changes(
        self, schedules: dict[str, Schedule], allowed: dict[str, Schedule]
    ) -> None:
        """See what was edited, paused or removed while it waited."""
        for (id_, _), kept in self._kept.items():
            now = schedules.get(id_)
            if not kept.waits:
                continue
            if now is None:
                kept.outcome = Outcome("skipped", None, "removed while it waited")
            elif id_ not in allowed:
                kept.outcome = Outcome("skipped", None, "changed while it waited, not run here")
            elif now.is_paused:
                kept.outcome = Outcome("skipped", None, "paused while it waited")
            else:
                kept.schedule = now

    def _claim_due(self, store: Store, schedule: Schedule) -> None:
        if schedule.is_paused or self._has_many_waiting(schedule):
            return
        now_ns = self._clock()
        if self._is_for_others(schedule, now_ns):
            return
        plan = plan_firings(schedule, now_ns)
        for due_ns, why in plan.missed:
            if self._claim(store, schedule, due_ns):
                store.finish_firing(schedule.id, due_ns, self._owner, "skipped", text=why)
                self._tell(schedule, f"passed over: {why}", due_ns)
        for due_ns in (*plan.late, *plan.on_time):
            if self._claim(store, schedule, due_ns):
                self._keep(schedule, due_ns, is_late=due_ns in plan.late)
        if plan.next_at_ns != schedule.next_at_ns:
            store.advance_schedule(schedule.id, schedule.next_at_ns, plan.next_at_ns)
        if plan.next_at_ns is not None:
            self._look_at(plan.next_at_ns)

    def _is_for_others(self, schedule: Schedule, now_ns: int) -> bool:
        """Leave what is not on this machine to a scheduler that has it, for as long as is on time.

        If nobody has it, the firing has to fail somewhere: else nobody would be told.
        """
        due_ns = schedule.next_at_ns
        if due_ns is None or due_ns > now_ns or self._ways.is_once:
            return False
        until_ns = due_ns + int(planning.GRACE_S * _SECOND)
        if now_ns >= until_ns or Path(schedule.target).exists():
            return False
        self._complain(schedule, f"{schedule.target} is not here; left to others for a while")
        self._look_at(until_ns)
        return True

    def _look_at(self, at_ns: int) -> None:
        self._next_ns = min(at_ns, at_ns if self._next_ns is None else self._next_ns)

    def _has_many_waiting(self, schedule: Schedule) -> bool:
        waiting = sum(id_ == schedule.id and kept.waits for (id_, _), kept in self._kept.items())
        return waiting >= planning.MOST_AT_ONCE

    def _claim(self, store: Store, schedule: Schedule, due_ns: int) -> bool:
        return store.claim_firing(schedule.id, due_ns, self._owner, self._ways.lease_s)

    def _keep(
        self, schedule: Schedule, due_ns: int, *, is_late: bool, was_started: bool = False
    ) -> None:
        kept = _Kept(schedule, is_late=is_late, was_started=was_started)
        kept.renew_at_s = kept.since_s + self._ways.lease_s / 3
        self._kept[schedule.id, due_ns] = kept

    # --- what killed schedulers have left -------------------------------------------------------

    def _take_over(
        self, store: Store, schedules: dict[str, Schedule], allowed: dict[str, Schedule]
    ) -> None:
        for firing in store.abandoned_firings():
            schedule = allowed.get(firing.schedule)
            if (firing.schedule, firing.due_at_ns) in self._kept:
                continue
            if schedule is None and firing.schedule in schedules:
                continue  # somebody else's
            if not store.claim_firing(
                firing.schedule, firing.due_at_ns, self._owner, self._ways.lease_s
            ):
                continue
            if schedule is None:
                store.finish_firing(
                    firing.schedule, firing.due_at_ns, self._owner, "lost", text="removed"
                )
                continue
            self._inherit(schedule, firing)

    def _inherit(self, schedule: Schedule, firing: Firing) -> None:
        """Start what was only claimed; wait for what may have been started."""
        was_started = firing.run is not None
        self._keep(schedule, firing.due_at_ns, is_late=True, was_started=was_started)
        what = "it may run still" if was_started else "it had not been started"
        self._tell(schedule, f"taken over from a scheduler that is gone; {what}", firing.due_at_ns)

    def _orphan_outcome(self, store: Store, key: Key, kept: _Kept) -> Outcome | None:
        """Say what became of a run whose scheduler is gone; None while it runs."""
        store.refresh()
        found = _runs_of(store, key)
        if not found:
            if time.monotonic() - kept.since_s < min(_UNKNOWN_S, 2 * self._ways.lease_s):
                return None
            return Outcome("lost", None, "its scheduler was killed; nothing is known of its run")
        run = found[0]
        if run.status == "running":
            return None
        if run.status in _DEAD:
            state = "lost" if run.status == "lost" else "failed"
            return Outcome(state, run.id, f"its scheduler was killed; its run is {run.status}")
        return Outcome("done", run.id, "its scheduler was killed; its run went on by itself")

    # --- what runs ------------------------------------------------------------------------------

    def _start_waiting(self, store: Store) -> None:
        """Start what has its turn, the oldest first."""
        for key, kept in sorted(self._kept.items(), key=lambda one: one[0][1]):
            if not kept.waits or self._running_count() >= self._ways.jobs:
                continue
            before = [] if kept.schedule.overlap == "allow" else self._before(store, key)
            if not before:
                self._start(store, key, kept)
            elif kept.schedule.overlap == "skip" and not kept.is_late:
                at = as_text(kept.schedule, before[0].due_at_ns)
                kept.outcome = Outcome("skipped", None, f"the one of {at} still runs")
        self._finish(store)

    def _running_count(self) -> int:
        return sum(one.child is not None for one in self._kept.values())

    def _before(self, store: Store, key: Key) -> list[Firing]:
        """List the firings of the same schedule that come before this one and have no end."""
        return [one for one in store.open_firings(key[0]) if one.due_at_ns < key[1]]

    def _start(self, store: Store, key: Key, kept: _Kept) -> None:
        schedule, due_ns = kept.schedule, key[1]
        # Said before it is so: who takes over must not start it again.
        if not store.renew_firing(schedule.id, due_ns, self._owner, self._ways.lease_s, run=""):
            self._lose(key, kept)
            return
        store.make_durable()  # also after the power was cut
        kept.was_started, kept.since_s = True, time.monotonic()
        target = Path(schedule.target)
        try:
            if not target.exists():
                kept.outcome = Outcome("failed", None, f"{target} is gone")
                return
            log = new_log(self._logs, schedule, due_ns)
            folder = target if target.is_dir() else target.parent
            command = self._command(schedule, due_ns)
            kept.child = Child(command, folder, self._environment, log)
        except (OSError, ValueError) as error:  # a text that cannot be an argument is a ValueError
            kept.outcome = Outcome("failed", None, f"it cannot be started: {error}")
            return
        self._tell(schedule, f"started, process {kept.child.pid}", due_ns)

    def _renew(self, store: Store) -> None:
        """Say to all others that what this one has is being cared for."""
        for key, kept in list(self._kept.items()):
            now_s = time.monotonic()
            if kept.was_started and kept.child is None and kept.outcome is None:
                kept.outcome = self._orphan_outcome(store, key, kept)
            if now_s < kept.renew_at_s or kept.outcome is not None:
                continue
            kept.renew_at_s = now_s + self._ways.lease_s / 3
            run = self._run_of(store, key, kept) if kept.was_started else None
            if not store.renew_firing(key[0], key[1], self._owner, self._ways.lease_s, run=run):
                self._lose(key, kept)

    def _run_of(self, store: Store, key: Key, kept: _Kept) -> str:
        """Tell the id of the run of a firing as soon as the store knows it, else an empty text."""
        if not kept.run:
            kept.run = next((run.id for run in _runs_of(store, key)), "")
        return kept.run

    def _finish(self, store: Store) -> None:
        """Write down what has ended."""
        for key, kept in list(self._kept.items()):
            done = kept.outcome
            if done is None:
                continue
            if not store.finish_firing(
                key[0], key[1], self._owner, done.state, run=done.run or None, text=done.text
            ):
                self._lose(key, kept)
                continue
            del self._kept[key]
            self.failed += done.state in {"failed", "lost"}
            run = f" · run {done.run[:8]}" if done.run else ""
            why = f" · {printable(done.text)}" if done.text else ""
            self._tell(kept.schedule, f"{done.state}{run}{why}", key[1])

    def _lose(self, key: Key, kept: _Kept) -> None:
        """Another scheduler has it now: it was taken for dead, as after a long sleep."""
        del self._kept[key]
        self._tell(kept.schedule, "another scheduler has taken it over", key[1])

    def _kill_all(self) -> None:
        for kept in self._kept.values():
            if kept.child is not None and kept.outcome is None and not kept.child.is_killed:
                kept.child.kill()

    # --- waiting --------------------------------------------------------------------------------

    def _go_away(self, error: MlopsNbError | OSError) -> None:
        """Leave a store alone that does not answer, longer each time."""
        if not self._away_s:
            self._say(f"the store is away, trying again: {printable(str(error))}")
        self._away_s = min(max(1.0, 2 * self._away_s), _BACK_OFF_S)
        self._close()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _pause_s(self, *, is_stopping: bool) -> float:
        """Tell how long there is nothing to do, unless a child ends or a signal comes."""
        return max(min(self._pauses(is_stopping=is_stopping)), 0.0)

    def _pauses(self, *, is_stopping: bool) -> Iterator[float]:
        yield self._ways.poll_s
        if self._away_s:
            yield self._away_s
            return
        now_s = time.monotonic()
        for kept in self._kept.values():
            yield kept.renew_at_s - now_s
            if kept.child is None:
                yield _TURN_S
            elif kept.child.is_killed:
                yield _CHILD_S
        if self._next_ns is not None and not is_stopping:
            yield (self._next_ns - self._clock()) / _SECOND

    def _tell(self, schedule: Schedule, text: str, due_ns: int | None = None) -> None:
        due = "" if due_ns is None else f" [{_due_text(schedule, due_ns)}]"
        self._say(f"{printable(schedule.name)}{due} {printable(text)}")


def _runs_of(store: Store, key: Key) -> Sequence[Run]:
    """Find the run of a firing by its tag."""
    return store.runs(f"tags.{FIRING_TAG} = '{firing_mark(*key)}'", limit=1)


def _due_text(schedule: Schedule, due_ns: int) -> str:
    try:
        return as_text(schedule, due_ns)
    except UnknownZone:
        return datetime.fromtimestamp(due_ns / _SECOND).astimezone().isoformat(" ", "seconds")
