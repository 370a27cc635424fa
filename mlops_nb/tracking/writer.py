"""Evidence of a run -> events: parameters, metrics, data, models, artifacts."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING, Protocol

from mlops_nb.fingerprint.record import fingerprint_document, without_statistics
from mlops_nb.model import (
    ArtifactLogged,
    DataUse,
    DataUsed,
    FingerprintSeen,
    ModelFitted,
    ParamLogged,
    RunExecuted,
    new_run_id,
)
from mlops_nb.redact import redact, redact_named
from mlops_nb.tracking.values import encode_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlops_nb.model import Binding, Event, Fingerprint, Json, MetricLogged
    from mlops_nb.tracking.runs import LiveRun


class Sink(Protocol):
    """Where events go: `mlops_nb.store.spool.Spool`."""

    def append(self, event: Event) -> None:
        """Take one event."""

    def append_metric(
        self,
        run: str,
        key: str,
        value: float,
        step: int | None,
        at_ns: int,
        execution: str | None,
        binding: Binding,
        fit: str | None,
    ) -> None:
        """Take one value of a metric, as fast as can be."""

    def stage(self, path: str | Path) -> str | None:
        """Copy a file beside the spool."""


class Writer:
    """Writes evidence of runs to a sink, and remembers which runs this cell changed.

    Parameters
    ----------
    sink
        Takes the events.

    Attributes
    ----------
    changed
        Runs that the cell has changed so far, by id.
    keeps_statistics
        Whether bounds and means of data are written beside its digests.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.changed: dict[str, LiveRun] = {}
        self.keeps_statistics = True
        self._kept: set[tuple[str, str]] = set()

    @property
    def execution(self) -> str | None:
        """Id of the outermost cell that runs now; None between cells."""
        return None

    def add_to_body(self, run: LiveRun, execution: str | None) -> None:
        """Note that a run needs an execution because evidence came from it."""
        if execution is not None and execution not in run.body:
            run.body.append(execution)
            self.sink.append(RunExecuted(run.id, execution, "body"))

    def touch(self, run: LiveRun) -> None:
        """Note that this cell changed a run (and so the ones above it)."""
        above: LiveRun | None = run
        while above is not None:
            self.changed[above.id] = above
            self.add_to_body(above, self.execution)
            above = above.parent

    def put_param(
        self,
        run: LiveRun,
        key: str,
        value: Json,
        *,
        is_default: bool = False,
        fit: str | None = None,
    ) -> None:
        """Write a parameter; unchanged ones are not written again."""
        if isinstance(value, str):
            value = redact_named(key, value)
        if key in run.params and run.params[key] == value and type(run.params[key]) is type(value):
            return
        run.params[key] = value
        if is_default:
            run.defaults.add(key)
        event = ParamLogged(run.id, key, value, time.time_ns(), self.execution, is_default, fit)
        self.sink.append(event)
        self.touch(run)

    def put_metric(self, run: LiveRun, event: MetricLogged) -> None:
        """Write a metric that evidence gave."""
        self.sink.append(event)
        run.remember(event.key, event.value)
        run.seen[event.key] = (event.value, event.execution)
        self.touch(run)

    def put_data(
        self,
        run: LiveRun,
        name: str,
        role: str,
        fingerprint: Fingerprint,
        *,
        fit: str | None = None,
    ) -> None:
        """Write which value went into a run."""
        before = run.data.get((role, name))
        if before is not None and fingerprint.digest and before.digest == fingerprint.digest:
            return
        self.settle_data(run, name, role, fingerprint, self.execution, fit=fit)
        self.touch(run)

    def settle_data(
        self,
        run: LiveRun,
        name: str,
        role: str,
        fingerprint: Fingerprint,
        execution: str | None,
        *,
        fit: str | None = None,
    ) -> None:
        """Write which value went into a run in an earlier cell, or in this one."""
        shape = fingerprint.shape
        use = DataUse(
            name=name,
            role=role,
            kind=fingerprint.kind,
            digest=fingerprint.digest,
            assurance=fingerprint.assurance,
            rows=fingerprint.rows,
            columns=len(fingerprint.columns) or (shape[1] if len(shape) > 1 else None),
            schema_digest=fingerprint.schema_digest,
            column_digests={key: column.digest for key, column in fingerprint.columns.items()},
            execution=execution,
            fit=fit,
        )
        run.data[role, name] = use
        facts = {field.name: getattr(use, field.name) for field in fields(use)}
        self.sink.append(DataUsed(run=run.id, at_ns=time.time_ns(), **facts))
        self._keep(fingerprint)

    def _keep(self, fingerprint: Fingerprint) -> None:
        """Write columns, chunks and statistics once for each content."""
        key = (fingerprint.digest, fingerprint.schema_digest)
        if fingerprint.digest and key not in self._kept:
            self._kept.add(key)
            if not self.keeps_statistics:
                fingerprint = without_statistics(fingerprint)
            self.sink.append(FingerprintSeen(*key, fingerprint_document(fingerprint)))

    def put_model(self, run: LiveRun, name: str, model: object) -> None:
        """Write that a run holds a model, by the user's word."""
        kind = type(model)
        class_name = f"{kind.__module__}.{kind.__qualname__}"
        at_ns, execution = time.time_ns(), self.execution
        self.sink.append(
            ModelFitted(run.id, new_run_id(), name, class_name, at_ns, None, execution)
        )
        self.touch(run)

    def _put_artifact(
        self,
        run: LiveRun,
        name: str,
        kind: str,
        mime: str,
        *,
        data: bytes | None = None,
        staged: str | None = None,
        fit: str | None = None,
    ) -> None:
        at_ns, execution = time.time_ns(), self.execution
        event = ArtifactLogged(
            run.id, redact(name), kind, mime, at_ns, data, staged, execution, fit
        )
        self.sink.append(event)
        self.touch(run)

    def put_table(
        self, run: LiveRun, name: str, rows: Sequence[Mapping[str, Json]], *, fit: str | None
    ) -> None:
        """Write a table that evidence gave."""
        content = encode_table(rows)
        self._put_artifact(run, name, "table", "application/json", data=content, fit=fit)

    def describe(self, error: BaseException) -> dict[str, Json]:
        """Say what an exception was, as stored with a run."""
        message = redact(str(error))[:2000]
        return {"type": type(error).__name__, "message": message, "execution": self.execution}
