"""`run_pipeline`: from a path to an outcome."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.config import load_settings
from mlops_nb.engines import open_engine
from mlops_nb.errors import BadQuery, MlopsNbError
from mlops_nb.errors.pipelines import BadPipeline, NothingToResume, RunHeld
from mlops_nb.model import new_run_id
from mlops_nb.papermill_engine.signals import sigterm_as_exit
from mlops_nb.pipeline.running.conditions import judged
from mlops_nb.pipeline.running.driver import Driver
from mlops_nb.pipeline.running.executing import PRELOAD
from mlops_nb.pipeline.running.lookup import RunRequest
from mlops_nb.pipeline.running.outcomes import PipelineOutcome
from mlops_nb.pipeline.running.parameters import effective_values
from mlops_nb.pipeline.running.planning import Choice, chosen_steps
from mlops_nb.pipeline.running.preparing import checked, prepare, start_folder
from mlops_nb.pipeline.running.recording import RunLabels, RunRecord
from mlops_nb.pipeline.running.summing import summary_of
from mlops_nb.pipeline.running.surroundings import RunFolders, folders_of
from mlops_nb.pipeline.running.watching import Seen, nobody
from mlops_nb.store import Store
from mlops_nb.store.locate import locate
from mlops_nb.store.spool.owner import identity
from mlops_nb.tracking.values import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from mlops_nb.engines import Engine
    from mlops_nb.model import Run, RunStatus
    from mlops_nb.pipeline.drafts import SplitOn
    from mlops_nb.pipeline.running.preparing import Prepared
    from mlops_nb.pipeline.running.watching import Observer


def run_pipeline(
    path: str | Path,
    *,
    params: Mapping[str, object] | None = None,
    store: str | None = None,
    jobs: int = 1,
    fast: bool = False,
    choice: Choice | None = None,
    resume: str | None = None,
    split_on: SplitOn = "tags",
    engine: str | Engine = "local",
    pages: bool = True,
    timeout_s: float | None = None,
    retry_after_s: float = 1.0,
    name: str | None = None,
    experiment: str = "",
    tags: Mapping[str, str] | None = None,
    kernel: str | None = None,
    place: Path | None = None,
    observer: Observer = nobody,
) -> PipelineOutcome:
    """Run a notebook with steps, or a pipeline's folder.

    Parameters
    ----------
    path
        A notebook, a percent script, or a folder that `convert` has written.
    params
        Values of parameters; texts are read as the parameter's type.
    store
        Where it is recorded; found from the notebook upwards if left out.
    jobs
        Steps that may run at once.
    fast
        Whether steps may run in forked workers instead of kernels.
    choice
        Which steps; all if left out.
    resume
        A run of this pipeline that goes on (as `Store.get_run` takes it); empty: the last one.
    split_on
        As of `draft_of`.
    engine
        As of `open_engine`; or one that is open, and stays so.
    pages
        Whether executed notebooks are kept as HTML, too, where nbconvert is installed.
    timeout_s
        Of each step that says none itself.
    retry_after_s
        Before the second attempt of a step that is to be retried.
    name, experiment, tags
        Of the run.
    kernel
        Name of a kernel, for steps that say none.
    place
        Where cells run; the notebook's folder if left out.
    observer
        Is told what happens.

    Returns
    -------
    PipelineOutcome
        Also of a run in which a step failed.

    Raises
    ------
    MlopsNbError
        It cannot run as asked; nothing has run.
    KeyboardInterrupt
        After all steps have ended; carries the outcome as its argument.

    Examples
    --------
    >>> run_pipeline("train.ipynb", params={"C": 0.5}, jobs=2).status  # doctest: +SKIP
    'finished'
    """
    given = Path(path)
    settings = load_settings(start_folder(given), store=store)
    location = locate(start_folder(given), settings)
    with Store.open(location, create=True) as opened:
        prepared = prepare(given, store=opened, split_on=split_on, name=name, place=place)
        request = RunRequest(
            params=checked(prepared, params or {}),
            jobs=max(1, jobs),
            choice=choice or Choice(),
            is_fast=fast,
            has_pages=pages,
            timeout_s=timeout_s,
            retry_after_s=retry_after_s,
            kernel=kernel or "",
            experiment=experiment,
            group=name or f"{prepared.shown}#pipeline",
            tags=dict(tags or {}),
        )
        chosen_steps(prepared.pipeline, request.choice)
        check_conditions(prepared)
        run = new_run_id() if resume is None else resumable(opened, prepared, resume).id
        folders = folders_of(opened, run, settings.state_dir)
        course = Course(prepared, opened, location, request, observer)
        return course.run(engine, run, folders, is_resumed=resume is not None)


def _opened(engine: str | Engine) -> AbstractContextManager[Engine]:
    return open_engine(engine, preload=PRELOAD) if isinstance(engine, str) else nullcontext(engine)


def check_conditions(prepared: Prepared) -> None:
    """Refuse a condition that cannot be understood, before anything runs.

    Raises
    ------
    BadPipeline
        With all of them.
    """
    problems = []
    for step in prepared.pipeline.steps:
        try:
            judged(step.options.when, {}, {}) if step.options.when else None
        except BadQuery as error:
            problems.append(f"step {step.name}: when:{step.options.when}: {error}")
    if problems:
        raise BadPipeline(str(prepared.path), tuple(problems))


def resumable(store: Store, prepared: Prepared, reference: str) -> Run:
    """Find a run of a pipeline that can go on.

    Parameters
    ----------
    reference
        As `Store.get_run` takes it; empty: the last one that did not finish.

    Raises
    ------
    NothingToResume
        There is none, or it is a run of something else.
    RunHeld
        Its driver lives.
    """
    store.refresh()
    run = store.get_run(reference) if reference else _last_unfinished(store, prepared)
    if run.kind != "pipeline" or run.notebook != str(prepared.shown):
        raise NothingToResume(run.id[:8], f"it is no run of {prepared.path} as a pipeline")
    held = [s for s in store.step_runs(run.id) if s.state == "running"]
    gone = set(store.abandoned_steps(run.id))
    living = [step for step in held if step.step not in gone and step.owner != identity()]
    if living:
        owner = living[0].owner
        raise RunHeld(run.id, f"process {owner.get('pid')} on {str(owner.get('host')).split()[0]}")
    return run


def _last_unfinished(store: Store, prepared: Prepared) -> Run:
    path = str(prepared.shown).replace("'", "''")
    asked = f"notebook = '{path}' and kind = 'pipeline' and status != 'finished'"
    found = store.runs(asked, limit=1)
    if not found:
        raise NothingToResume(str(prepared.path), "there is no run of it that did not finish")
    return found[0]


class Course:
    """One call of `run_pipeline`, once it is known that it can run."""

    def __init__(
        self,
        prepared: Prepared,
        store: Store,
        location: str,
        request: RunRequest,
        observer: Observer,
    ) -> None:
        self._prepared, self._store, self._location = prepared, store, location
        self._request, self._observer = request, observer
        self._begun, self._begun_ns = time.monotonic(), time.time_ns()

    def run(
        self, engine: str | Engine, run: str, folders: RunFolders, *, is_resumed: bool
    ) -> PipelineOutcome:
        """Run it, record it, and say what became of it."""
        record = RunRecord(self._store, run)
        with _opened(engine) as opened:
            driver = Driver(
                self._prepared,
                store=self._store,
                location=self._location,
                run=run,
                request=self._request,
                folders=folders,
                engine=opened,
                observer=self._observer,
                is_resumed=is_resumed,
            )
            self._begin(record, is_resumed=is_resumed)
            try:
                with sigterm_as_exit():
                    driver.run()
            except (KeyboardInterrupt, SystemExit):
                outcome = self._ended(record, driver, folders, "interrupted")
                raise KeyboardInterrupt(outcome) from None
            except RunHeld:
                raise  # the run is another process's, and goes on there
            except MlopsNbError as error:
                self._ended(record, driver, folders, "failed", error)
                raise
        return self._ended(record, driver, folders, driver.status)

    def _begin(self, record: RunRecord, *, is_resumed: bool) -> None:
        prepared, request = self._prepared, self._request
        if is_resumed:
            record.begin_again()
        else:
            labels = RunLabels(
                name=prepared.pipeline.name,
                group=request.group,
                notebook=str(prepared.shown),
                experiment=request.experiment,
                tags=request.tags,
            )
            known = effective_values(prepared.pipeline, request.params)
            record.begin(labels, request.params, known)
        steps = tuple(step.name for step in prepared.pipeline.steps)
        counted = f"{len(steps)} step{'' if len(steps) == 1 else 's'}"
        text = f"{prepared.path} → {counted}{self._shown_params()}"
        self._observer(Seen("begin", text=text, run=record.run, steps=steps))

    def _shown_params(self) -> str:
        """Say which values were given, and what they would have been."""
        if not self._request.params:
            return ""
        written = {p.name: p.written for p in self._prepared.pipeline.parameters}
        given = self._request.params.items()
        return " · params " + ", ".join(
            f"{k}={v} (default {written.get(k, '–')})" for k, v in given
        )

    def _ended(
        self,
        record: RunRecord,
        driver: Driver,
        folders: RunFolders,
        status: RunStatus,
        error: MlopsNbError | None = None,
    ) -> PipelineOutcome:
        """Write how it ended, and gather what came out."""
        outcome = PipelineOutcome(
            run=record.run,
            status=status,
            pipeline=driver.prepared.pipeline,
            path=str(self._prepared.path),
            location=self._location,
            folder=str(folders.notebooks),
            steps=driver.step_outcomes,
            started_ns=self._begun_ns,
            duration_s=time.monotonic() - self._begun,
            saved_s=driver.saved_s,
            repairs=driver.repairs,
            warnings=(*self._prepared.warnings, *driver.warnings),
            results=dict(driver.results),
        )
        summary = summary_of(self._store, outcome)
        failed = next((step.error for step in outcome.steps if step.state == "failed"), None)
        if error is not None:
            failed = {"type": type(error).__name__, "message": str(error)}
        record.end(
            status,
            error=failed,
            metrics=summary.metrics,
            params=summary.params,
            also=summary.also,
        )
        if status == "finished":
            folders.clear()
        self._observer(Seen("end", text=status, run=record.run, duration_s=outcome.duration_s))
        known = effective_values(driver.prepared.pipeline, self._request.params)
        params = {**{k: as_json(v) for k, v in known.items()}, **summary.params}
        return replace(outcome, metrics=dict(summary.metrics), params=params, steps=summary.steps)
