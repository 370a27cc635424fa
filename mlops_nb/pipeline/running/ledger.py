"""The steps of one run as the store has them, and as whoever watches is told."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.pipelines import RunHeld, StepTaken
from mlops_nb.model.pipelines import StepRun
from mlops_nb.pipeline.running.outcomes import StepOutcome
from mlops_nb.pipeline.running.parts import LEASE_S, Part
from mlops_nb.pipeline.running.watching import Seen
from mlops_nb.store.spool.owner import identity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from mlops_nb.model.pipelines import Step
    from mlops_nb.pipeline.running.watching import Observer
    from mlops_nb.store import Store


class Ledger:
    """What became of the steps of a run so far.

    Parameters
    ----------
    store, run
        Where it is recorded, and the id of the pipeline's run.
    observer
        Is told each change.
    is_resumed
        Whether another driver may have recorded steps of this run before.

    Attributes
    ----------
    outcomes
        By name of a step or piece.
    """

    def __init__(
        self, store: Store, run: str, observer: Observer, *, is_resumed: bool = False
    ) -> None:
        self._store, self._run = store, run
        self._tell, self._is_resumed = observer, is_resumed
        self.outcomes: dict[str, StepOutcome] = {}
        self._recorded: set[str] = set()
        self._renewed_at = time.monotonic()

    def begin(self, steps: Iterable[Step]) -> None:
        """Begin anew with a plan; steps that it has made one with others do not run."""
        known = {step.name for step in steps}
        for name in self._recorded - known:
            if "[" not in name:
                error = {"type": "Fused", "message": "it is one with another step by now"}
                self._store.record_step(StepRun(self._run, name, "skipped", error=error))
        self._recorded &= known
        self.outcomes = {}

    def show(self, part: Part, *, digest: str = "", **known: Any) -> None:
        """Record and tell the state that a part has come to."""
        outcome = StepOutcome(
            part.name,
            part.state,
            attempt=part.attempt,
            reasons=part.reasons,
            started_ns=part.started_ns,
        )
        self.outcomes[part.name] = shown = replace(outcome, **known)
        self._record(part, shown, digest)
        message = str((shown.error or {}).get("message", ""))
        duration, run = shown.duration_s, shown.run or ""
        self._tell(Seen("state", part.name, part.state, message, duration_s=duration, run=run))

    def wait(self, steps: Iterable[Step], chosen: Collection[str]) -> None:
        """Record the steps that wait, once: who looks sees the whole plan."""
        for step in steps:
            if step.name in chosen and step.name not in self._recorded:
                self._record(Part(step), StepOutcome(step.name, "pending"))

    def claim(self, part: Part) -> None:
        """Take a part for this process.

        Raises
        ------
        RunHeld
            Another process has it.
        """
        if part.name in self._recorded or self._is_resumed:
            self._reset(part)
        if not self._store.claim_step(self._run, part.name, identity(), LEASE_S):
            raise RunHeld(self._run)

    def start(self, part: Part, run: str) -> None:
        """Record and tell that a part runs, as a run of its own."""
        self._record(part, StepOutcome(part.name, "running", run=run))
        self._tell(Seen("state", part.name, "running", " · ".join(part.reasons), run=run))

    def renew(self, names: Iterable[str]) -> tuple[str, ...]:
        """Keep what runs ours, now and then; gives those that somebody else has by now."""
        if time.monotonic() - self._renewed_at < LEASE_S / 3:
            return ()
        self._renewed_at = time.monotonic()
        self._store.refresh()
        mine = identity()
        return tuple(
            name for name in names if not self._store.renew_step(self._run, name, mine, LEASE_S)
        )

    def interrupt(self, part: Part, run: str | None) -> None:
        """Record that a part was ended before it was done; whoever resumes may take it at once."""
        error = {"type": "KeyboardInterrupt", "message": "it was interrupted"}
        part.state = "pending"
        self.outcomes[part.name] = StepOutcome(
            part.name, "running", run=run, error=error, attempt=part.attempt
        )
        waiting = part.record(self._run, "pending", run=run, error=error)
        self._store.record_step(replace(waiting, owner={}))

    def _record(self, part: Part, shown: StepOutcome, digest: str = "") -> None:
        told = part.record(
            self._run,
            shown.state,
            run=shown.run,
            cached_from=shown.cached_from,
            error=shown.error,
            notebook=digest,
        )
        try:
            self._store.record_step(told)
        except StepTaken:
            self._take_over(part)
            self._store.record_step(told)
        self._recorded.add(part.name)

    def _take_over(self, part: Part) -> None:
        """Let go of what another driver of this run has recorded, which has ended by now."""
        rows = {row.step: row for row in self._store.step_runs(self._run)}
        if not self._is_resumed or rows[part.name].state == "running":
            raise RunHeld(self._run)
        self._reset(part)

    def _reset(self, part: Part) -> None:
        """Let go of what an earlier attempt has left in the store."""
        try:
            self._store.record_step(StepRun(self._run, part.name, "pending", attempt=part.attempt))
        except StepTaken:
            raise RunHeld(self._run) from None
