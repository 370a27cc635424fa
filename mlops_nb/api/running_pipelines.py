"""Running a pipeline from Python: watched in a notebook, and an outcome to look at."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_nb.display.pipelines.outcome import PipelineRunView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mlops_nb.pipeline.drafts import SplitOn
    from mlops_nb.pipeline.running import PipelineOutcome, Seen

_REDRAW_S = 0.25


@dataclass(frozen=True, slots=True, repr=False)
class PipelineRun(PipelineRunView):
    """A run of a pipeline that has ended: shown as a table, and asked for values.

    Attributes
    ----------
    result
        All that is known of it.
    """

    result: PipelineOutcome | None = None

    @property
    def id(self) -> str:
        """Of the run, as ``mn.show`` takes it."""
        return str(self.outcome["id"])

    @property
    def status(self) -> str:
        """``finished``, ``failed`` or ``interrupted``."""
        return str(self.outcome["status"])

    def values(self, step: str, name: str) -> object:
        """Read back a value that a step has given, for others or as an output.

        Raises
        ------
        UnknownStep, StepInputsMissing
            There is no such step, or it has not given this value.
        """
        if self.result is None:
            raise LookupError(name)
        return self.result.values(step, name)


def run_pipeline(
    notebook: str | Path,
    params: Mapping[str, object] | None = None,
    *,
    jobs: int = 1,
    from_: str = "",
    until: str = "",
    only: Sequence[str] = (),
    force: bool | Sequence[str] = False,
    resume: bool | str = False,
    split_on: SplitOn = "tags",
    engine: str = "local",
    fast: bool = False,
    timeout_s: float | None = None,
    name: str | None = None,
    experiment: str = "",
    tags: Mapping[str, str] | None = None,
    store: str | None = None,
    observer: Callable[[Seen], None] | None = None,
) -> PipelineRun:
    """Run a notebook with steps, or a folder that `convert` has written; as ``mlops-nb run``.

    Parameters
    ----------
    notebook
        Its path.
    params
        Values of parameters.
    jobs
        Steps that may run at once.
    from_, until, only
        Run this step and all below it; this step and all above it; these steps alone.
    force
        Steps that are run whatever is kept of them; True for all.
    resume
        A run that goes on; True for the last one that did not finish.
    split_on
        What begins a step: ``"tags"``, ``"h2"`` or ``"cell"``.
    engine, fast
        Where steps run, and whether forked workers may stand for kernels.
    timeout_s
        Of each step that says none itself.
    name, experiment, tags
        Of the run.
    store
        Where it is recorded; found from the notebook upwards if left out.
    observer
        Is told what happens; in a notebook a table is drawn if left out.

    Returns
    -------
    PipelineRun
        Also of a run in which a step failed.

    Raises
    ------
    MlopsNbError
        It cannot run as asked; nothing has run.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.run_pipeline("train.ipynb", {"C": 0.5}, jobs=2).status  # doctest: +SKIP
    'finished'
    """
    from mlops_nb.pipeline.running import Choice
    from mlops_nb.pipeline.running import run_pipeline as run
    from mlops_nb.pipeline.running.watching import nobody

    forced = ("*",) if force is True else tuple(force or ())
    asked = None if resume is False else "" if resume is True else resume
    watch = observer or _live_table() or nobody
    found = run(
        notebook,
        params=params,
        store=store,
        jobs=jobs,
        fast=fast,
        choice=Choice(from_, until, tuple(only), forced),
        resume=asked,
        split_on=split_on,
        engine=engine,
        timeout_s=timeout_s,
        name=name,
        experiment=experiment,
        tags=tags,
        observer=watch,
    )
    if isinstance(watch, LiveTable):
        watch.clear()
    return PipelineRun(found.document(), result=found)


def _live_table() -> LiveTable | None:
    """Make a table where a kernel can show one; None in a script or a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return None if getattr(shell, "kernel", None) is None else LiveTable()


class LiveTable:
    """One display output that is updated in place while a pipeline runs."""

    def __init__(self) -> None:
        from IPython.display import display

        self._steps: dict[str, dict[str, Any]] = {}
        self._run, self._drawn_at = "", 0.0
        self._begun: dict[str, float] = {}
        self._handle: Any = display(self._view(), display_id=True)

    def __call__(self, seen: Seen) -> None:
        """Take one event."""
        self._run = self._run or seen.run
        if seen.what == "begin":
            self._steps = {name: {"name": name, "step_state": "pending"} for name in seen.steps}
        elif seen.what == "state":
            self._note(seen)
        elif seen.what == "cell":
            self._steps.setdefault(seen.step, {"name": seen.step, "step_state": "running"})
            self._steps[seen.step]["reasons"] = [f"cell {seen.cell + 1} of {seen.total}"]
        if seen.what != "cell" or time.monotonic() - self._drawn_at > _REDRAW_S:
            self._draw()

    def clear(self) -> None:
        """Make room for what the cell gives back, which says all of it."""
        self._handle.update({"text/plain": ""}, raw=True)

    def _note(self, seen: Seen) -> None:
        if seen.state == "running":
            self._begun[seen.step] = time.monotonic()
        reasons = [seen.text] if seen.text else []
        self._steps[seen.step] = {
            "name": seen.step,
            "step_state": seen.state,
            "run": seen.run or None,
            "duration_s": seen.duration_s,
            "reasons": reasons,
        }

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        self._handle.update(self._view())

    def _view(self) -> PipelineRunView:
        steps = [self._shown(step) for step in self._steps.values()]
        return PipelineRunView({"id": self._run, "status": "running", "steps": steps})

    def _shown(self, step: dict[str, Any]) -> dict[str, Any]:
        if step["step_state"] != "running" or step["name"] not in self._begun:
            return step
        return {**step, "duration_s": time.monotonic() - self._begun[step["name"]]}
