"""What libraries tell of themselves: fits, predictions, metrics -> events of the right run.

Nothing here knows a library; patches in `autolog` translate their calls into these terms.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from mlops_nb.model import MetricLogged, ModelFitted
from mlops_nb.tracking.bindings import Bound, Provenance
from mlops_nb.tracking.fits import CHILDREN_LIMIT, FitGeneration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlops_nb.model import Binding, Fingerprint, Json
    from mlops_nb.tracking.fits import DataSeen, FitSeen
    from mlops_nb.tracking.runs import LiveRun
    from mlops_nb.tracking.tracker import Tracker

INPUTS_LIMIT = 8
"""Inputs of predictions that are fingerprinted, per fit and cell."""

SET_SUFFIXES = ("test", "val", "valid", "dev")
"""Endings of names that tell the set a metric was computed on."""


class Dataflow(Protocol):
    """Values reachable from the statement that called, nearest first (see `autolog.callers`)."""

    def levels(self) -> Iterable[Iterable[object]]:
        """Give the values of each level."""


class Evidence:
    """Feeds a tracker from what libraries tell.

    Parameters
    ----------
    tracker
        Holds the runs.

    Attributes
    ----------
    children_limit
        Fits that become child runs of one parent; a replay has more, to compare each.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.children_limit = CHILDREN_LIMIT
        self.provenance = Provenance()
        self._fits_in_cell: tuple[str | None, list[FitGeneration]] = (None, [])
        self._predicted: tuple[str | None, list[FitGeneration]] = (None, [])
        self._models: list[tuple[FitGeneration, ModelFitted, object]] = []
        self._keys_in_cell: tuple[str | None, dict[tuple[str, str], list[object]]] = (None, {})

    # --- fits ---------------------------------------------------------------------------------

    def fit_started(self, estimator: object, seen: FitSeen) -> FitGeneration | None:
        """A model begins to fit: bear, adopt or continue a run; None where none was asked for."""
        tracker = self.tracker
        with tracker.lock:
            if not tracker.is_automatic and tracker.explicit_run() is None:
                return None
            before = self.provenance.generation_of(estimator) if seen.continues else None
            generation = FitGeneration(
                id=os.urandom(6).hex(),
                run=None,  # type: ignore[arg-type]  # placed below
                seen=seen,
                started_ns=time.time_ns(),
                execution=tracker.execution,
            )
            if before is not None:
                generation.run, generation.row = before.run, before.row
                generation.inputs_seen = before.inputs_seen
            else:
                generation.run = self._place(generation)
                generation.run.fits.append(generation)
            self._cell_fits().append(generation)
            self._write_fit(generation)
            return generation

    def _cell_fits(self) -> list[FitGeneration]:
        execution = self.tracker.execution
        if self._fits_in_cell[0] != execution or execution is None:
            self._fits_in_cell = (execution, [])
        return self._fits_in_cell[1]

    def _place(self, generation: FitGeneration) -> LiveRun:
        tracker = self.tracker
        container = tracker.explicit_run()
        if container is not None:
            return self._place_in(container, generation)
        run = tracker.automatic
        earlier = self._cell_fits()
        if run is not None and run.is_open:
            if run.born_by == "log" and (earlier or not run.holds_fits):
                return self._place_in(run, generation)
            if earlier:
                parent = tracker.make_parent(run) if not run.children else run
                return self._new_child(parent, generation)
        return tracker.bear("fit", generation.seen.name)

    def _place_in(self, container: LiveRun, generation: FitGeneration) -> LiveRun:
        if not container.holds_fits:
            return container
        if container.fits:
            self.tracker.first_child(container)
        return self._new_child(container, generation)

    def _new_child(self, parent: LiveRun, generation: FitGeneration) -> LiveRun:
        tracker = self.tracker
        last = parent.newest_child
        if last is not None:
            tracker.end(last)
        if len(parent.children) < self.children_limit:
            name = generation.seen.name
            return tracker.start(kind="child", born_by="fit", default_name=name, parent=parent)
        generation.row = {"fit": len(parent.children) + len(parent.fit_rows) + 1}
        parent.fit_rows.append(generation.row)
        return parent

    def _write_fit(self, generation: FitGeneration) -> None:
        run, seen, tracker = generation.run, generation.seen, self.tracker
        generation.note(tracker.execution)
        generation.train_digests = {
            d.fingerprint.digest for d in seen.data if d.fingerprint.digest
        }
        if generation.row is not None:
            generation.row.update({"estimator": seen.class_path.rpartition(".")[2]})
            generation.row.update({k: v for k, v in seen.params.items() if k in seen.changed})
            return
        # Changed-from-default ones first: that is the order people want to read them in.
        for key in sorted(
            seen.params, key=lambda key: (key != "estimator", key not in seen.changed)
        ):
            is_default = key not in seen.changed and key != "estimator"
            value = seen.params[key]
            tracker.put_param(run, key, value, is_default=is_default, fit=generation.id)
        for item in seen.data:
            self._put_data(generation, item)

    def _put_data(self, generation: FitGeneration, item: DataSeen) -> None:
        """Write what a fit was given or used on, and again when it is hashed."""
        tracker, name, role, fit = self.tracker, item.name, item.role, generation.id
        tracker.put_data(generation.run, name, role, item.fingerprint, fit=fit)
        if item.later is None:
            return
        execution = tracker.execution

        def settle(found: Fingerprint) -> None:
            with tracker.lock:
                if role == "train" and found.digest:
                    generation.train_digests.add(found.digest)
                tracker.settle_data(generation.run, name, role, found, execution, fit=fit)

        item.later.then(settle)

    def fit_ended(
        self,
        estimator: object,
        generation: FitGeneration,
        *,
        parts: Iterable[object] = (),
        metrics: Mapping[str, float] | None = None,
        tables: Mapping[str, Sequence[Mapping[str, Json]]] | None = None,
        params: Mapping[str, Json] | None = None,
        is_model: bool = True,
    ) -> None:
        """A model has been fitted: bind it and its parts, write what the fit itself gave."""
        tracker = self.tracker
        with tracker.lock:
            self.provenance.add_estimator(estimator, generation)
            for part in parts:
                self.provenance.add_estimator(part, generation)
            run = generation.run
            duration_s = max(time.time_ns() - generation.started_ns, 0) / 1e9
            if generation.row is None:
                self._write_model(generation, estimator, duration_s if is_model else None)
            else:
                generation.row["fit_s"] = duration_s
            for key, value in (params or {}).items():
                tracker.put_param(run, key, value, fit=generation.id)
            for key, number in (metrics or {}).items():
                self._write_metric(generation, key, number, "object")
            for name, rows in (tables or {}).items():
                tracker.put_table(run, name, rows, fit=generation.id)
            run.failure = None if run.failure and run.failure.get("fit") else run.failure
            tracker.touch(run)

    def went_on(self, estimator: object) -> FitGeneration | None:
        """The fit that a ``partial_fit`` of this cell goes on with; None for the first."""
        generation = self.provenance.generation_of(estimator)
        if generation is None or generation.execution is None:
            return None
        return generation if generation.execution == self.tracker.execution else None

    def batch_seen(self, generation: FitGeneration, data: Iterable[DataSeen]) -> None:
        """Write one more batch of training data; after some that differ, only that there is more.

        `data` is read, and so hashed, only while batches are told apart.
        """
        if generation.row is not None or generation.batches_seen > INPUTS_LIMIT:
            return
        with self.tracker.lock:
            run, known = generation.run, generation.train_digests
            for item in [item for item in data if item.fingerprint.digest not in known]:
                known.add(item.fingerprint.digest)
                generation.batches_seen += 1
                found = item.fingerprint
                if generation.batches_seen > INPUTS_LIMIT:
                    found = replace(found, digest="", columns={}, assurance="skipped:budget")
                self.tracker.put_data(run, item.name, item.role, found, fit=generation.id)

    def _write_model(
        self, generation: FitGeneration, estimator: object, duration_s: float | None
    ) -> None:
        if duration_s is None:
            return
        event = ModelFitted(
            run=generation.run.id,
            fit=generation.id,
            name=generation.seen.name,
            class_name=generation.seen.class_path,
            at_ns=time.time_ns(),
            duration_s=duration_s,
            execution=self.tracker.execution,
        )
        if self.tracker.execution is None:
            self.tracker.sink.append(event)
        else:
            self._models.append((generation, event, estimator))

    def name_models(self, namespace: Mapping[str, object], names: Iterable[str]) -> None:
        """Write the models of the cell that has just run, by the variables that hold them now.

        ``model = Forest().fit(X, y)`` binds its name after the fit, so this waits for the end.
        """
        models, self._models = self._models, []
        held = {id(namespace.get(name)): name for name in names} if models else {}
        for generation, event, estimator in models:
            name = held.get(id(estimator), event.name)
            duration_s = (event.duration_s or 0.0) + generation.more_ns / 1e9
            self.tracker.sink.append(
                replace(event, run=generation.run.id, name=name, duration_s=duration_s)
            )

    def fit_failed(self, generation: FitGeneration, error: BaseException) -> None:
        """A fit raised; its run fails when it ends, unless a later fit of it succeeds."""
        with self.tracker.lock:
            generation.has_failed = True
            described = {**self.tracker.describe(error), "fit": generation.id}
            if generation.row is not None:
                generation.row["error"] = f"{described['type']}: {described['message']}"
                return
            generation.run.failure = described
            self.tracker.touch(generation.run)

    # --- predictions --------------------------------------------------------------------------

    def generation_of(self, estimator: object) -> FitGeneration | None:
        """The fit that an estimator carries, itself or as a part of another."""
        return self.provenance.generation_of(estimator)

    def wants_input(self, generation: FitGeneration) -> bool:
        """Whether one more input of a prediction should be fingerprinted."""
        return (
            generation.predicted_in != self.tracker.execution
            or generation.inputs_seen < INPUTS_LIMIT
        )

    def predicted(
        self,
        generation: FitGeneration,
        result: object,
        data: Sequence[DataSeen] = (),
    ) -> None:
        """A model predicted: remember whose the result is, and on what."""
        with self.tracker.lock:
            if generation.predicted_in != self.tracker.execution:
                generation.predicted_in, generation.inputs_seen = self.tracker.execution, 0
            generation.inputs_seen += 1
            predicted = self._predicted_now()
            if generation not in predicted:
                predicted.append(generation)
            if result is not None:
                on_training_data = any(map(generation.was_trained_on, data))
                self.provenance.add_prediction(
                    result, generation, on_training_data=on_training_data
                )
            self.data_seen(generation, data)
            generation.note(self.tracker.execution)
            self.tracker.add_to_body(generation.run, self.tracker.execution)

    def data_seen(self, generation: FitGeneration, data: Sequence[DataSeen]) -> None:
        """Write what a fit was used on, but for the data it was trained on."""
        for item in data:
            if generation.row is None and not generation.was_trained_on(item):
                self._put_data(generation, item)

    def _predicted_now(self) -> list[FitGeneration]:
        execution = self.tracker.execution
        if self._predicted[0] != execution or execution is None:
            self._predicted = (execution, [])
        return self._predicted[1]

    # --- metrics ------------------------------------------------------------------------------

    def bind(
        self, values: Sequence[object], truths: Sequence[object], dataflow: Dataflow
    ) -> Bound | None:
        """Find the fit a metric belongs to; None where there is no run at all."""
        found = self.provenance.bind(values, truths) or self.provenance.bind_names(
            dataflow.levels()
        )
        if found is not None:
            return found
        recent = self._predicted_now()
        if len(recent) == 1:
            return Bound("recent", (recent[0],))
        return None if self.tracker.current() is None else Bound("current", ())

    def metric_seen(
        self,
        key: str,
        value: float,
        bound: Bound,
        *,
        data_digest: object = None,
    ) -> None:
        """Write one number that a metric function gave."""
        with self.tracker.lock:
            if bound.rule == "relation":
                self._write_relation(key, value, bound)
                return
            if not bound.generations:
                run = self.tracker.current()
                if run is not None:
                    self._write_plain(
                        run, self._distinct(run.id, key, data_digest), value, bound.rule
                    )
                return
            (generation,) = bound.generations
            # Rows of one table are as many fits, each with keys of its own.
            owner = generation.run.id if generation.row is None else generation.id
            distinct = self._distinct(owner, key, (data_digest, generation.id))
            self._write_metric(generation, distinct, value, bound.rule)

    def table_seen(self, key: str, rows: Sequence[Mapping[str, Json]], bound: Bound) -> None:
        """Write a matrix, report or curve that a metric function gave."""
        with self.tracker.lock:
            generation = bound.generations[0] if bound.generations else None
            run = generation.run if generation is not None else self.tracker.current()
            if run is not None and (generation is None or generation.row is None):
                fit = generation.id if generation is not None else None
                if generation is not None:
                    generation.note(self.tracker.execution)
                self.tracker.put_table(run, key, rows, fit=fit)

    def _distinct(self, owner: str, key: str, data: object) -> str:
        """Name the second data set of one cell ``key.2``; the same data again keeps the key."""
        execution = self.tracker.execution
        if self._keys_in_cell[0] != execution:
            self._keys_in_cell = (execution, {})
        seen = self._keys_in_cell[1].setdefault((owner, key), [])
        if data not in seen:
            seen.append(data)
        number = seen.index(data) + 1
        return key if number == 1 else f"{key}.{number}"

    def _write_metric(
        self, generation: FitGeneration, key: str, value: float, rule: Binding
    ) -> None:
        if generation.row is not None:
            generation.row[key] = value
            return
        event = self._event(generation.run, key, value, rule)
        generation.note(event.execution)
        self.tracker.put_metric(generation.run, replace(event, fit=generation.id))

    def _write_plain(self, run: LiveRun, key: str, value: float, rule: Binding) -> None:
        self.tracker.put_metric(run, self._event(run, key, value, rule))

    def _write_relation(self, key: str, value: float, bound: Bound) -> None:
        runs = [generation.run for generation in bound.generations]
        run = runs[0].parent or self.tracker.explicit_run() or runs[-1]
        event = self._event(run, key, value, "relation")
        detail = {"between": [between.id for between in runs]}
        self.tracker.put_metric(run, replace(event, detail=detail))

    def _event(self, run: LiveRun, key: str, value: float, rule: Binding) -> MetricLogged:
        at_ns, execution = time.time_ns(), self.tracker.execution
        return MetricLogged(run.id, key, value, None, at_ns, execution, rule)
