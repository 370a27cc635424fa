"""The writing half of what a store keeps of pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.store.connect import again
from mlops_nb.store.opened import OpenStore
from mlops_nb.store.pipelines import results, steps, timetable, values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import TypeVar

    from sqlalchemy import Connection

    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import CachedStep, Fact, Packed, Schedule, SplitProof, StepRun

    T = TypeVar("T")


class PipelineWriter(OpenStore):
    """What `store.Store` writes of pipelines; `StoreUnwritable` where it may only be read."""

    def _change(self, what: Callable[[Connection], T]) -> T:
        """Do one thing in one transaction, and again where another one got in its way."""

        def attempt() -> T:
            with self._writing() as connection:
                return what(connection)

        return again(attempt)

    # --- steps ----------------------------------------------------------------------------------

    def record_step(self, step: StepRun) -> None:
        """Write what became of a step, in place of what was known of it.

        Parameters
        ----------
        step
            In the state ``running`` without a lease it keeps the one that was claimed.

        Raises
        ------
        StepTaken
            Another process runs it, or has run it to a good end; nothing was changed.
        """
        self._change(lambda connection: steps.record_step(connection, step))

    def claim_step(
        self, pipeline_run: str, step: str, owner: Mapping[str, Json], lease_s: float
    ) -> bool:
        """Take a step for this process, which sets it running; of many who try, one may.

        Parameters
        ----------
        pipeline_run, step
            One that is not known yet, is ``pending`` or ``ready``, or is ``running`` and its
            process is gone or gave no sign for as long as its lease.
        owner
            This process, as `spool.owner.identity` tells it.
        lease_s
            How long it is ours without a sign: renew it in a third of that.
        """
        return self._change(
            lambda connection: steps.claim_step(connection, pipeline_run, step, owner, lease_s)
        )

    def renew_step(
        self, pipeline_run: str, step: str, owner: Mapping[str, Json], lease_s: float
    ) -> bool:
        """Keep a step that runs here; False if somebody else has it by now: then stop it."""
        return self._change(
            lambda connection: steps.renew_step(connection, pipeline_run, step, owner, lease_s)
        )

    # --- values and files -----------------------------------------------------------------------

    def put_values(self, packed: Packed, folder: Path) -> None:
        """Keep the files of a unit, which lie in a folder; they may only be read from then on.

        Where folder and store are on one file system, nothing is copied.

        Raises
        ------
        CorruptValue
            A file is not there, or is not what `packed` says of it.
        StoreUnwritable
            There is no room, or no right.
        """
        self._require_writable()
        values.put_values(self._blobs, packed, folder)

    def put_file(self, path: Path) -> tuple[str, int]:
        """Keep a file that a step has written; gives the address of its bytes, and their number.

        It is copied: whoever wrote it may write to it again.
        """
        self._require_writable()
        return self._blobs.put_file(path)

    # --- results --------------------------------------------------------------------------------

    def save_cached(self, step: CachedStep) -> None:
        """Keep results of a step, whose bytes are there already."""
        self._change(lambda connection: results.save_cached(connection, step))

    def touch_cached(self, key: str, run: str) -> None:
        """Say that results were used: those used lately are removed last."""
        self._change(lambda connection: results.touch_cached(connection, key, run))

    def drop_cached(
        self,
        *,
        pipeline: str | None = None,
        step: str | None = None,
        key: str | None = None,
        run: str | None = None,
        before_ns: int | None = None,
    ) -> list[CachedStep]:
        """Forget results of steps; without a word about which, all.

        Parameters
        ----------
        pipeline, step, key, run
            Only those; `run` is the step's run that made them.
        before_ns
            Only those that were neither made nor used since then.

        Returns
        -------
        list of CachedStep
            What was forgotten. What a pipeline uses that runs now stays. The bytes go with the
            next ``store gc``.
        """
        return self._change(
            lambda connection: results.drop_cached(
                connection, pipeline=pipeline, step=step, key=key, run=run, before_ns=before_ns
            )
        )

    def save_proof(self, proof: SplitProof) -> None:
        """Keep what a verification said of a split, in place of what an earlier one said."""
        self._change(lambda connection: results.save_proof(connection, proof))

    def save_facts(self, pipeline: str, facts: Sequence[Fact]) -> None:
        """Add facts about the steps of a pipeline to those that are known."""
        self._change(lambda connection: results.save_facts(connection, pipeline, facts))

    def drop_facts(self, pipeline: str) -> int:
        """Forget the facts about a pipeline; gives their number."""
        return self._change(lambda connection: results.drop_facts(connection, pipeline))

    # --- schedules ------------------------------------------------------------------------------

    def save_schedule(self, schedule: Schedule) -> None:
        """Keep a schedule, in place of what has its id."""
        self._change(lambda connection: timetable.save_schedule(connection, schedule))

    def advance_schedule(self, id_: str, seen_ns: int | None, next_ns: int | None) -> bool:
        """Set when a schedule is next due; False if it is not due when it was seen to be."""
        return self._change(
            lambda connection: timetable.advance_schedule(connection, id_, seen_ns, next_ns)
        )

    def drop_schedule(self, id_: str) -> bool:
        """Remove a schedule by its full id; False if there is none. Its firings stay."""
        return self._change(lambda connection: timetable.drop_schedule(connection, id_))

    def claim_firing(
        self, schedule_id: str, due_at_ns: int, owner: Mapping[str, Json], lease_s: float
    ) -> bool:
        """Take one time at which a schedule is due: of all who try, on all machines, one may.

        One that was taken before comes free again if it has no end, and its process is gone or
        gave no sign for as long as its lease.
        """
        return self._change(
            lambda connection: timetable.claim_firing(
                connection, schedule_id, due_at_ns, owner, lease_s
            )
        )

    def renew_firing(
        self,
        schedule_id: str,
        due_at_ns: int,
        owner: Mapping[str, Json],
        lease_s: float,
        *,
        run: str | None = None,
    ) -> bool:
        """Keep a firing that one has; False if somebody else has it by now: then stop.

        Parameters
        ----------
        schedule_id, due_at_ns, owner, lease_s
            As in `claim_firing`.
        run
            Id of the run that it has started; it counts as ``running`` from then on.
        """
        return self._change(
            lambda connection: timetable.renew_firing(
                connection, schedule_id, due_at_ns, owner, lease_s, run=run
            )
        )

    def finish_firing(
        self,
        schedule_id: str,
        due_at_ns: int,
        owner: Mapping[str, Json],
        state: str = "done",
        *,
        run: str | None = None,
        text: str = "",
    ) -> bool:
        """Say how a firing has ended (``done``, ``failed``, ``skipped``, ``lost``).

        False, and nothing is changed, if somebody else has it by now.
        """
        return self._change(
            lambda connection: timetable.finish_firing(
                connection, schedule_id, due_at_ns, owner, state, run=run, text=text
            )
        )
