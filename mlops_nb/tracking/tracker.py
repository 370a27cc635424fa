"""Runs of one session: when they begin, what is logged to them, when they end.

Everything here happens inside a user's cell, so nothing waits: an event is one append to the
spool. The state kept is what is needed to decide where the next piece of evidence belongs.
"""

from __future__ import annotations

import re
import threading
import time
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from mlops_nb.errors import ArtifactUnreadable
from mlops_nb.model import (
    ArtifactLogged,
    FitMoved,
    RunChanged,
    RunStarted,
    TagSet,
    new_run_id,
)
from mlops_nb.redact import redact, redact_named
from mlops_nb.tracking.fits import FIT_TABLE
from mlops_nb.tracking.runs import LiveRun
from mlops_nb.tracking.values import as_json, encode_table, encode_value, figure_png, guess_mime
from mlops_nb.tracking.writer import Sink, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Literal

    from mlops_nb.model import (
        ExecutionEnded,
        ExecutionStarted,
        Json,
        RunKind,
        RunStatus,
    )
    from mlops_nb.source import CellNames

    BornBy = Literal["fit", "log", "user"]


class Cell(Protocol):
    """What tracking needs to know of a cell that runs (see `capture.LiveExecution`)."""

    @property
    def id(self) -> str:
        """Execution id."""

    @property
    def order(self) -> int:
        """Position in the session, from 1."""

    @property
    def cell_id(self) -> str | None:
        """Id of the cell in the notebook."""

    @property
    def parent(self) -> Cell | None:
        """The execution this one runs inside of."""

    @property
    def event(self) -> ExecutionStarted:
        """What was told when it began."""

    @property
    def names(self) -> CellNames:
        """What its source reads, binds and calls."""


class Tracker(Writer):
    """The runs of one session.

    Parameters
    ----------
    sink
        Takes the events.
    session
        The session's id.
    experiment
        Written to every run.
    environment
        Gives the digest of the environment as it is when a run is born.
    on_birth
        Called with each new run (the session adds git state, off the user's thread).
    """

    def __init__(
        self,
        sink: Sink,
        session: str | None,
        *,
        experiment: str = "",
        environment: Callable[[], str | None] = lambda: None,
        on_birth: Callable[[LiveRun], None] | None = None,
    ) -> None:
        super().__init__(sink)
        self.session = session
        self.experiment = experiment
        self._environment = environment
        self.notebook: str | None = None
        self.next_name: str | None = None
        self.next_tags: dict[str, str] = {}
        self.param_names: tuple[str, ...] = ()
        self.is_automatic = False
        self.batch: LiveRun | None = None
        self.automatic: LiveRun | None = None
        self.lock = threading.RLock()
        self._on_birth = on_birth
        self._open: list[LiveRun] = []
        self._context: ContextVar[LiveRun | None] = ContextVar("mlops_nb_run", default=None)
        self._cells: list[Cell] = []
        self._target: tuple[LiveRun, str | None, LiveRun | None] | None = None

    # --- where we are -------------------------------------------------------------------------

    @property
    def cell(self) -> Cell | None:
        """The outermost cell that runs now, None between cells."""
        return self._cells[0] if self._cells else None

    @property
    def execution(self) -> str | None:
        """Id of the outermost cell that runs now."""
        return self._cells[0].id if self._cells else None

    def explicit_run(self) -> LiveRun | None:
        """The innermost run that the user opened, or the batch run."""
        run = self._context.get()
        if run is not None and run.is_open:
            return run
        return self._open[-1] if self._open else self.batch

    def current(self) -> LiveRun | None:
        """The run that evidence without another rule belongs to."""
        run = self.explicit_run() or self.automatic
        return None if run is None else run.newest_child or run

    # --- beginning and ending -----------------------------------------------------------------

    def start(
        self,
        name: str | None = None,
        *,
        kind: RunKind = "interactive",
        born_by: BornBy = "user",
        default_name: str = "run",
        parent: LiveRun | None = None,
        tags: Mapping[str, str] | None = None,
        started_ns: int | None = None,
        group: str | None = None,
        run_id: str | None = None,
        cells: Sequence[str] | None = None,
    ) -> LiveRun:
        """Begin a run; `name` (else `next_name`) names it and its group.

        `cells` are the executions it was born of, if these are not the one that runs now.
        """
        with self.lock:
            given = name or (None if parent else self.next_name)
            run = LiveRun(
                self,
                run_id or new_run_id(),
                name=redact(given or default_name),
                kind=kind,
                group="" if parent else (group or redact(given or "") or self._group_key()),
                born_by=born_by,
                started_ns=started_ns or time.time_ns(),
                execution=self.execution,
                parent=parent,
                child=len(parent.children) + 1 if parent else None,
            )
            run.environment = self._environment()
            if parent is not None:
                parent.children.append(run)
            inherited = self.next_tags if parent is None else {}
            self._announce(run, {**inherited, **(tags or {})}, cells)
            return run

    def _announce(
        self, run: LiveRun, tags: Mapping[str, str], cells: Sequence[str] | None = None
    ) -> None:
        parent = run.parent
        event = RunStarted(
            id=run.id,
            at_ns=run.started_ns,
            name=run.name,
            kind=run.kind,
            session=self.session,
            experiment=self.experiment,
            group=run.group,
            parent=parent.id if parent else None,
            child=run.child,
            notebook=self.notebook,
            environment=run.environment,
            execution=run.execution,
        )
        self.sink.append(event)
        for key, value in tags.items():
            self.set_tag(key, value, run=run)
        self._target = None
        if cells is None:
            self.touch(run)
        else:
            for execution in cells:
                self.add_to_body(run, execution)
        if self._on_birth is not None and parent is None:
            self._on_birth(run)

    def bear(self, born_by: BornBy, default_name: str) -> LiveRun:
        """Begin an automatic run; the one before it is finished by that."""
        with self.lock:
            if self.automatic is not None:
                self.end(self.automatic)
            self.automatic = self.start(born_by=born_by, default_name=default_name)
            return self.automatic

    def make_parent(self, first: LiveRun) -> LiveRun:
        """Put a parent above a run that a fit bore; the run becomes its first child."""
        with self.lock:
            parent = LiveRun(
                self,
                new_run_id(),
                name=self.next_name or self._notebook_stem() or "fits",
                kind="interactive",
                group=first.group,
                born_by="fit",
                started_ns=first.started_ns,
                execution=first.execution,
            )
            parent.environment = first.environment
            first.parent, first.child, first.kind = parent, 1, "child"
            parent.children.append(first)
            self._announce(parent, self.next_tags)
            changes = {"parent": parent.id, "child": 1, "kind": "child"}
            self.sink.append(RunChanged(first.id, time.time_ns(), changes))
            if self.automatic is first:
                self.automatic = parent
            return parent

    def first_child(self, container: LiveRun) -> LiveRun:
        """Give a run that holds one fit a first child with that fit's evidence."""
        with self.lock:
            (generation,) = container.fits
            child = self.start(
                kind="child",
                born_by="fit",
                default_name=generation.seen.name,
                parent=container,
                started_ns=generation.started_ns,
                cells=generation.cells,
            )
            child.execution = generation.execution
            self.sink.append(FitMoved(container.id, child.id, generation.id))
            generation.run = child
            child.fits, container.fits = [generation], []
            child.params = {
                k: v for k, v in container.params.items() if k in generation.seen.params
            }
            for key in child.params:
                del container.params[key]
            moved = [key for key, use in container.data.items() if use.fit == generation.id]
            child.data = {key: container.data.pop(key) for key in moved}
            child.defaults = container.defaults & set(child.params)
            return child

    def end(
        self,
        run: LiveRun,
        *,
        status: RunStatus | None = None,
        error: Mapping[str, Json] | None = None,
        at_ns: int | None = None,
    ) -> None:
        """End a run and its children; without a status its evidence decides."""
        with self.lock:
            if not run.is_open:
                return
            for child in run.children:
                self.end(child, at_ns=at_ns)
            run.failure = error or run.failure
            run.status = status or ("failed" if run.failure else "finished")
            last = run.ended_ns if run.is_automatic and run.execution != self.execution else None
            run.ended_ns = at_ns or last or time.time_ns()
            changes: dict[str, Json] = {"status": run.status, "ended_at_ns": run.ended_ns}
            run.busy_ns = run.busy_ns or run.ended_ns - run.started_ns
            changes["busy_s"] = run.busy_ns / 1e9
            if run.failure:
                changes["error"] = dict(run.failure)
            if run.fit_rows:
                # It ends in the cell in which the next one is born, which is none of its own.
                content = encode_table(run.fit_rows)
                kept = (FIT_TABLE, "table", "application/json", run.ended_ns, content)
                self.sink.append(ArtifactLogged(run.id, *kept, execution=run.execution))
            self.sink.append(RunChanged(run.id, time.time_ns(), changes))
            self._target = None
            self._forget(run)

    def _forget(self, run: LiveRun) -> None:
        if run in self._open:
            self._open.remove(run)
        if run is self.batch:
            self.batch = None

    def open(self, name: str | None, *, kind: RunKind, tags: Mapping[str, str]) -> LiveRun:
        """Open a run by the user's word; an unended one of the same cell is superseded."""
        with self.lock:
            group = redact(name or "") or self._group_key()
            for run in [r for r in self._open if r.key == group and r.execution != self.execution]:
                self.end(run, status="superseded")
            parent = self.explicit_run()
            default_name = self._notebook_stem() or "run"
            run = self.start(
                name, kind=kind, tags=tags, group=group, default_name=default_name, parent=parent
            )
            run.key = group
            self._open.append(run)
            return run

    def enter(self, run: LiveRun) -> None:
        """Make `run` the current one of this context."""
        self._context.set(run)
        self._target = None

    def leave(self, run: LiveRun, error: BaseException | None) -> None:
        """Leave a context entered by `enter` and end the run by how it was left."""
        self._context.set(run.parent if run.parent in self._open else None)
        if error is None:
            self.end(run, status="finished")
            return
        status: RunStatus = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self.end(run, status=status, error=self.describe(error))

    def end_all(self) -> None:
        """End what is open, in good order: at ``--off`` or at a clean exit of the kernel."""
        with self.lock:
            for run in reversed(list(self._open)):
                self.end(run, status="interrupted")
            if self.batch is not None:
                self.end(self.batch)
            if self.automatic is not None:
                self.end(self.automatic)
            self.automatic = None

    # --- cells --------------------------------------------------------------------------------

    def execution_started(self, cell: Cell) -> None:
        """A cell begins."""
        with self.lock:
            self._cells.append(cell)
            self._target = None

    def execution_ended(self, cell: Cell, event: ExecutionEnded) -> list[LiveRun]:
        """A cell has ended; give the runs it bore or changed (empty inside another cell)."""
        with self.lock:
            if cell in self._cells:
                self._cells.remove(cell)
            self._target = None
            if self._cells:
                return []
            for run in self._running():
                if run.id in self.changed or self._joins(run, cell):
                    self._count_cell(run, cell, event)
                    run.bound.update(cell.names.binds)
                else:
                    run.bound.difference_update(cell.names.binds)
            changed = [run for run in self.changed.values() if run.parent is None]
            self.changed = {}
            return changed

    @staticmethod
    def _joins(run: LiveRun, cell: Cell) -> bool:
        """Whether a cell that gave no evidence is of a run all the same.

        All cells are of a run that the user opened. One born of evidence takes those that use
        what it made; others, as those that prepare the next attempt, are none of it.
        """
        if is_only_looking(cell.event.source):
            return False
        return not run.is_automatic or not run.bound.isdisjoint(cell.names.reads)

    def open_runs(self) -> list[LiveRun]:
        """Runs that go on, children left out."""
        held = [*self._open, self.batch, self.automatic]
        return [run for run in held if run is not None and run.is_open]

    def _running(self) -> list[LiveRun]:
        runs = self.open_runs()
        return [*dict.fromkeys([*runs, *(r for r in self.changed.values() if r not in runs)])]

    def _count_cell(self, run: LiveRun, cell: Cell, event: ExecutionEnded) -> None:
        began_ns = event.at_ns - round(event.duration_s * 1e9)
        self.add_to_body(run, cell.id)
        if not run.is_open and run.execution != cell.id:
            return
        if run.is_open:
            run.busy_ns += event.at_ns - max(began_ns, run.started_ns)
            run.ended_ns = event.at_ns
        if event.error is not None and run.execution == cell.id and run.is_automatic:
            run.failure = {**event.error, "execution": cell.id}
            run.failure.pop("traceback", None)
        for child in run.children:
            child.failure = child.failure or (run.failure if child.is_open else None)
            self.end(child, at_ns=event.at_ns if child.is_open else None)
        if run.kind in {"batch", "step"}:
            failure = event.error and {**event.error, "execution": cell.id}
            run.failure = failure or None
        self.sink.append(RunChanged(run.id, event.at_ns, {"busy_s": run.busy_ns / 1e9}))

    # --- logging ------------------------------------------------------------------------------

    def log_target(self) -> LiveRun:
        """The run that a logging call without a run goes to; bears one if need be."""
        run = self.explicit_run()
        if run is None:
            run = self.automatic
            if run is None or not run.is_open or self._logs_anew(run):
                run = self.bear("log", self._notebook_stem() or "run")
            if self.execution is not None:
                run.log_cells[self._cell_key()] = self.execution
        return run.newest_child or run

    def _logs_anew(self, run: LiveRun) -> bool:
        earlier = run.log_cells.get(self._cell_key())
        return not run.fits and not run.children and earlier not in {None, self.execution}

    def log_metric(
        self, key: str, value: float, step: int | None = None, *, run: LiveRun | None = None
    ) -> None:
        """Log one value of a metric."""
        if run is None:
            # A logging loop comes here often: the target is worked out once a cell.
            target = self._target
            if target is None or self._context.get() is not target[2]:
                target = self._aim()
            run, execution, _ = target
        else:
            execution = self.execution
            if run.id not in self.changed:
                self.touch(run)
        number = value if type(value) is float else float(value)
        if run.seen and step is None and run.seen.get(key) == (number, execution):
            return  # what a metric function has just told, logged once more by hand
        self.sink.append_metric(
            run.id, key, number, step, time.time_ns(), execution, "explicit", None
        )
        run.remember(key, number)

    def _aim(self) -> tuple[LiveRun, str | None, LiveRun | None]:
        with self.lock:
            run = self.log_target()
            self.touch(run)
            self._target = run, self.execution, self._context.get()
            return self._target

    def log_param(self, key: str, value: object, *, run: LiveRun | None = None) -> None:
        """Log a parameter by the user's word."""
        with self.lock:
            run = run or self.log_target()
            self.put_param(run, str(key), as_json(value))

    def log(
        self, data: Mapping[str, object], *, step: int | None = None, run: LiveRun | None = None
    ) -> None:
        """Log a mapping: numbers as metrics, figures and tables as artifacts, else parameters."""
        with self.lock:
            run = run or self.log_target()
            for key, value in data.items():
                encoded = encode_value(value)
                if encoded.metric is not None:
                    self.log_metric(str(key), encoded.metric, step, run=run)
                elif encoded.artifact is not None:
                    kind, mime, content = encoded.artifact
                    self._put_artifact(run, str(key), kind, mime, data=content)
                else:
                    self.put_param(run, str(key), encoded.param)

    def set_tag(self, key: str, value: str | None, *, run: LiveRun | None = None) -> None:
        """Set a tag, or remove it with None."""
        with self.lock:
            run = run or self.log_target()
            text = None if value is None else redact_named(str(key), str(value))
            self.sink.append(TagSet(run.id, str(key), text, time.time_ns()))
            self.touch(run)

    def log_artifact(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        kind: str = "file",
        run: LiveRun | None = None,
    ) -> None:
        """Keep a copy of a file as it is now.

        Raises
        ------
        ArtifactUnreadable
            There is no such file, or it cannot be read.
        """
        from pathlib import Path as FilePath

        file = FilePath(path)
        try:
            staged = self.sink.stage(file)
        except OSError as error:
            raise ArtifactUnreadable(str(path), error.strerror or str(error)) from None
        with self.lock:
            run = run or self.log_target()
            mime = guess_mime(file.name)
            self._put_artifact(run, name or file.name, kind, mime, staged=staged)

    def log_figure(
        self, figure: object = None, *, name: str = "figure", run: LiveRun | None = None
    ) -> None:
        """Keep a matplotlib figure (the current one by default) as PNG."""
        content = figure_png(figure)
        with self.lock:
            run = run or self.log_target()
            self._put_artifact(run, name, "figure", "image/png", data=content)

    def log_table(self, rows: object, *, name: str = "table", run: LiveRun | None = None) -> None:
        """Keep a table: a DataFrame, or a sequence of mappings."""
        content = encode_table(rows)
        with self.lock:
            run = run or self.log_target()
            self._put_artifact(run, name, "table", "application/json", data=content)

    # --- groups -------------------------------------------------------------------------------

    def _cell_key(self) -> str:
        cell = self.cell
        if cell is None:
            return ""
        return cell.cell_id or _shape_digest(cell) or cell.id

    def _group_key(self) -> str:
        """(notebook, cell id) if there is one, else (notebook or session, shape of the cell)."""
        where = self.notebook or self.session or ""
        return f"{where}#{self._cell_key()}"

    def _notebook_stem(self) -> str:
        from pathlib import PurePath

        return PurePath(self.notebook).stem if self.notebook else ""


def _shape_digest(cell: Cell) -> str:
    """Digest of the names a cell binds and calls: what stays when its numbers are edited."""
    import xxhash

    names = {*cell.names.binds, *cell.names.calls}
    return xxhash.xxh3_64_hexdigest(",".join(sorted(names)).encode()) if names else ""


@lru_cache(maxsize=4096)
def is_only_looking(source: str) -> bool:
    """Whether a cell holds nothing but our own verbs, which change nothing of the user's.

    Examples
    --------
    >>> is_only_looking("%mlops_compare --all")
    True
    >>> is_only_looking("mn.diff('@-1', '@-2')")
    True
    >>> is_only_looking("import mlops_nb as mn")
    False
    """
    lines = [line.strip() for line in source.splitlines()]
    code = [line for line in lines if line and not line.startswith("#")]
    return all(map(_LOOKS.match, code))


# The arguments call nothing: ``mn.show(train())`` trains. An import binds a name for later cells.
_LOOKS = re.compile(
    r"%mlops_|%load_ext mlops_nb"
    r"|(mn|mlops_nb)\.(compare|diff|diff_data|environment|fingerprint|lineage|runs|show)"
    r"\([^()]*\)(\.\w+)*\s*;?$"
)
