"""The run of a pipeline in the store: when it began, with what, and how it ended."""

from __future__ import annotations

import os
import platform
import socket
import time
from typing import TYPE_CHECKING, Any

from mlops_nb.model import (
    MetricLogged,
    ParamLogged,
    RunChanged,
    RunStarted,
    SessionEnded,
    SessionStarted,
    TagSet,
    new_record_id,
)
from mlops_nb.record import record
from mlops_nb.store.spool.owner import identity
from mlops_nb.tracking.values import as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlops_nb.model import Event, Json, Run, RunStatus
    from mlops_nb.model.pipelines import CachedStep
    from mlops_nb.pipeline.running.work import StepWork
    from mlops_nb.store import Store


@record
class RunLabels:
    """What people call a run of a pipeline."""

    name: str
    group: str
    notebook: str
    experiment: str = ""
    tags: Mapping[str, str] | None = None


class RunRecord:
    """One run of a pipeline, as its driver writes it.

    The driver is a session of its own: if its process is killed, whoever looks at the store next
    finds the run lost, not running.

    Parameters
    ----------
    store
        Where it is written.
    run
        Its id.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store = store
        self.run = run
        self._session = new_record_id()

    def begin(self, labels: RunLabels, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        """Write that it begins, with the parameters as far as they are known."""
        now = time.time_ns()
        started = RunStarted(
            id=self.run,
            at_ns=now,
            name=labels.name,
            kind="pipeline",
            session=self._session,
            experiment=labels.experiment,
            group=labels.group,
            notebook=labels.notebook,
        )
        params = (
            ParamLogged(self.run, name, as_json(value), now, is_default=name not in given)
            for name, value in known.items()
        )
        tags = (TagSet(self.run, key, value, now) for key, value in (labels.tags or {}).items())
        self._store.apply([self._session_started(now), started, *params, *tags])

    def begin_again(self) -> None:
        """Write that it goes on, in this process."""
        now = time.time_ns()
        changes = {"status": "running", "ended_at_ns": None, "error": None}
        again = RunChanged(self.run, now, {**changes, "session": self._session})
        self._store.apply([self._session_started(now), again])

    def end(
        self,
        status: RunStatus,
        *,
        error: Mapping[str, Json] | None,
        metrics: Iterable[tuple[str, float]],
        params: Mapping[str, Json],
        also: Mapping[str, Json],
    ) -> None:
        """Write how it ended, and what its steps have shown.

        Parameters
        ----------
        metrics
            In the order of the notebook, so that the last value of a name counts, as there.
        params
            What the parameters cell has worked out.
        also
            More that only the steps knew, as their environment.
        """
        now = time.time_ns()
        known = {n: p.value for n, p in self._found().params.items()} if params else {}
        new = {k: v for k, v in params.items() if k not in known or known[k] != v}
        changes = {
            **also,
            "status": status,
            "ended_at_ns": now,
            "error": dict(error or {}) or None,
        }
        events: list[Event] = [
            *(ParamLogged(self.run, k, v, now, is_default=k not in known) for k, v in new.items()),
            *(MetricLogged(self.run, key, value, None, now) for key, value in metrics),
            RunChanged(self.run, now, changes),
            SessionEnded(self._session, now),
        ]
        self._store.apply(events)

    def _found(self) -> Run:
        return self._store.get_run(self.run)

    def _session_started(self, now: int) -> Event:
        return SessionStarted(
            id=self._session,
            at_ns=now,
            host=socket.gethostname(),
            pid=os.getpid(),
            python=platform.python_version(),
            owner=identity(),
        )


def end_step_run(
    store: Store, work: StepWork, run: str, status: RunStatus, error: Mapping[str, Json] | None
) -> None:
    """Write how a step's run ended whose kernel could not say it, or had not begun one."""
    now = time.time_ns()
    told = {k: v for k, v in (error or {}).items() if k in {"type", "message", "cell"}}
    changes = {"status": status, "ended_at_ns": now, "error": told or None}
    events: list[Event] = [RunChanged(run, now, changes)]
    if find_run(store, run) is None:
        started = RunStarted(
            id=run,
            at_ns=now,
            name=work.name,
            kind="step",
            experiment=work.experiment,
            group=work.group,
            parent=work.pipeline_run,
            notebook=work.shown,
        )
        tags = {**work.tags, "step": work.name, "recorded": "from outside"}
        events = [started, *(TagSet(run, k, v, now) for k, v in tags.items()), *events]
    store.apply(events)


def metrics_of(store: Store, run: str | None) -> dict[str, float]:
    """Read the last values of a run's metrics; empty if there is none."""
    found = find_run(store, run)
    return {} if found is None else {key: m.value for key, m in found.metrics.items()}


def find_run(store: Store, run: str | None) -> Run | None:
    """Find a run by its full id."""
    return store.find_run(run) if run else None


def made_in(store: Store, run: str) -> dict[tuple[str, str], CachedStep]:
    """Find what the steps of a run have given, by name and key."""
    found: dict[tuple[str, str], CachedStep] = {}
    for row in store.step_runs(run):
        by = row.run or row.cached_from
        if row.state in {"done", "cached"} and by:
            for result in store.cached_steps(key=row.key, run=by, limit=1):
                found[row.step, row.key] = result
    return found
