"""The reading half of what a store keeps of pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.store.opened import OpenStore
from mlops_nb.store.pipelines import results, steps, timetable, values

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.model.pipelines import (
        CachedStep,
        Fact,
        Firing,
        Packed,
        Schedule,
        SplitProof,
        StepRun,
    )


class PipelineReader(OpenStore):
    """What `store.Store` reads of pipelines."""

    # --- steps ----------------------------------------------------------------------------------

    def step_runs(self, pipeline_run: str) -> list[StepRun]:
        """Read the steps of a run of a pipeline (by its full id), in their order."""
        with self._reading() as connection:
            return steps.step_runs(connection, pipeline_run)

    def abandoned_steps(self, pipeline_run: str) -> list[str]:
        """Name the steps that count as running, and whose process is gone or gives no sign."""
        with self._reading() as connection:
            return steps.abandoned_steps(connection, pipeline_run)

    def latest_pipeline_runs(self, limit: int = 20) -> list[str]:
        """List the ids of the runs of pipelines that steps are known of, the latest first."""
        with self._reading() as connection:
            return steps.latest_pipeline_runs(connection, limit)

    def last_whole_run(self, notebook: str) -> str | None:
        """Name the last run in which a notebook, by its path, was not run as a pipeline."""
        with self._reading() as connection:
            return steps.last_whole_run(connection, notebook)

    # --- values and files -----------------------------------------------------------------------

    def fetch_values(self, packed: Packed, folder: Path, *, step: str = "") -> None:
        """Lay the files of a unit into a folder, made if it is not there, only to be read.

        Where folder and store are on one file system, nothing is copied. Bytes are checked
        before they lie there, all but those that this process has put there, or checked, itself.

        Parameters
        ----------
        packed
            What to lay there.
        folder
            Where to.
        step
            Which step saved it, for the message.

        Raises
        ------
        CorruptValue
            Bytes are gone, or are not what they were; what is wrong is removed, so that the step
            can save it again.
        """
        values.fetch_values(self._blobs, packed, folder, step, may_repair=not self.is_read_only)

    def fetch_file(self, digest: str, size_bytes: int, path: Path, *, step: str = "") -> None:
        """Write a file that a step had written, as it was then; it may be written to.

        Raises
        ------
        CorruptValue
            Its bytes are gone, or are not what they were.
        """
        values.fetch_file(
            self._blobs, digest, size_bytes, path, step, may_repair=not self.is_read_only
        )

    # --- results --------------------------------------------------------------------------------

    def find_cached(self, key: str) -> CachedStep | None:
        """Find the latest results under a key; None if there are none.

        What a step reads that nobody knows before it runs is not in the key: whether results may
        be used is for `pipeline.caching.find_hit` to say.
        """
        with self._reading() as connection:
            return next(iter(results.find_cached(connection, key=key, limit=1)), None)

    def cached_steps(
        self,
        pipeline: str | None = None,
        step: str | None = None,
        *,
        key: str | None = None,
        run: str | None = None,
        limit: int | None = None,
    ) -> list[CachedStep]:
        """List results of steps, the latest first; not those of deleted runs.

        Parameters
        ----------
        pipeline, step, key, run
            Only those; `run` is the step's run that made them.
        limit
            At most so many.
        """
        with self._reading() as connection:
            return results.find_cached(
                connection, pipeline=pipeline, step=step, key=key, run=run, limit=limit
            )

    def find_proof(self, pipeline: str, split: str | None = None) -> SplitProof | None:
        """Find what a verification said of a split, or the last one of a pipeline."""
        with self._reading() as connection:
            return results.find_proof(connection, pipeline, split)

    def facts(self, pipeline: str) -> list[Fact]:
        """Read what runs have shown of a pipeline's steps, in the order it became known."""
        with self._reading() as connection:
            return results.facts_of(connection, pipeline)

    # --- schedules ------------------------------------------------------------------------------

    def schedules(self) -> list[Schedule]:
        """Read all schedules, by name."""
        with self._reading() as connection:
            return timetable.all_schedules(connection)

    def find_schedules(self, ref: str) -> list[Schedule]:
        """Find those with an id, else those with a name, else those whose id begins so."""
        with self._reading() as connection:
            return timetable.find_schedules(connection, ref)

    def find_schedule(self, ref: str) -> Schedule | None:
        """Find the one schedule that `find_schedules` finds; None if there is none, or several."""
        found = self.find_schedules(ref)
        return found[0] if len(found) == 1 else None

    def firings(self, schedule_id: str, limit: int = 50) -> list[Firing]:
        """Read the times at which a schedule was due, the latest first."""
        with self._reading() as connection:
            return timetable.firings_of(connection, schedule_id, limit)

    def open_firings(self, schedule_id: str) -> list[Firing]:
        """Read the times at which a schedule was due and that have no end, the earliest first."""
        with self._reading() as connection:
            return timetable.open_firings(connection, schedule_id)

    def abandoned_firings(self) -> list[Firing]:
        """Read the firings without an end, whose process is gone or gives no sign."""
        with self._reading() as connection:
            return timetable.abandoned_firings(connection)

    def now_ns(self) -> int:
        """Tell the time by the clock that leases go by: the server's, or this machine's."""
        from mlops_nb.store.pipelines.leases import now_ns

        with self._reading() as connection:
            return now_ns(connection)
