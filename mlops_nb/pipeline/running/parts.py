"""A step, or a piece of one, on its way through a run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_nb.model.pipelines import StepRun
from mlops_nb.pipeline.running.tasks import Piece, part_name
from mlops_nb.store.spool.owner import identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import CachedStep, Packed, Step, StepState
    from mlops_nb.pipeline.running.work import StepWork

LEASE_S = 60.0
"""How long a step is ours without a sign; renewed in a third of that."""


@dataclass(slots=True, eq=False)
class Part:
    """One unit of work: what is known of it so far.

    Attributes
    ----------
    reasons
        Why it has to run, or why not.
    not_before
        When it may be tried again, by the clock that only goes forward.
    result
        What it has given, once it is done.
    """

    step: Step
    piece: Piece | None = None
    key: str = ""
    parts: Mapping[str, Json] = field(default_factory=dict)
    units: Mapping[str, tuple[Packed, ...]] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    attempt: int = 1
    not_before: float = 0.0
    started_ns: int | None = None
    state: StepState = "pending"
    work: StepWork | None = None
    result: CachedStep | None = None
    cell: int = -1

    @property
    def name(self) -> str:
        """Of the step, with the number of the piece."""
        return part_name(self.step.name, self.piece)

    def record(
        self,
        pipeline_run: str,
        state: StepState,
        *,
        run: str | None = None,
        cached_from: str | None = None,
        error: Mapping[str, Json] | None = None,
        notebook: str = "",
    ) -> StepRun:
        """Describe it for the store, as ours."""
        is_over = state not in {"pending", "ready", "running"}
        told = None if error is None else {k: v for k, v in error.items() if k != "traceback"}
        return StepRun(
            pipeline_run=pipeline_run,
            step=self.name,
            state=state,
            run=run,
            cached_from=cached_from,
            attempt=self.attempt,
            key=self.key,
            parts=self.parts,
            started_at_ns=self.started_ns,
            ended_at_ns=time.time_ns() if is_over else None,
            error=told,
            notebook=notebook,
            owner=identity(),
        )
