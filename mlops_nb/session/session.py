"""A session: it makes the parts and hands them each other's callbacks."""

from __future__ import annotations

import atexit
import os
import platform
import socket
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.capture import guard as guards
from mlops_nb.capture.guard import guard
from mlops_nb.environment import read_environment
from mlops_nb.lineage import RESULT_FLAG, NotebookOrder, slice_of, verdict_of
from mlops_nb.model import (
    EnvironmentSeen,
    Execution,
    RunChanged,
    RunExecuted,
    SessionChanged,
    SessionEnded,
    SessionStarted,
    as_datetime,
    new_record_id,
)
from mlops_nb.redact import known, redact
from mlops_nb.session.background import Background
from mlops_nb.session.batch import BatchCells, is_batch, search_notebook
from mlops_nb.session.cards import Attempts, show_cards
from mlops_nb.session.hashing import BATCH_WAIT_S, LAST_WAIT_S, Hashing
from mlops_nb.session.surroundings import Surroundings
from mlops_nb.source import code_digest
from mlops_nb.store.locate import locate, spool_root
from mlops_nb.store.spool import Spool
from mlops_nb.store.spool.owner import identity
from mlops_nb.tracking import Evidence, Tracker
from mlops_nb.tracking.tracker import is_only_looking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlops_nb.capture.hooks import Capture, LiveExecution
    from mlops_nb.config import Settings
    from mlops_nb.model import ExecutionEnded, ExecutionStarted, Json, OutputSeen, RunStatus
    from mlops_nb.tracking import LiveRun

VSCODE_VARIABLE = "__vsc_ipynb_file__"
STEP_VARIABLE = "MLOPS_NB_STEP"
REPLAYED_CHILDREN_LIMIT = 1_000
"""Fits that become child runs in a replay, where all cells of a notebook have one parent."""
LOOK_INTERVAL_S = 2.0
"""Least time between two looks for the notebook, where cells are new and not yet saved."""

CELL_ENDINGS: Mapping[str, RunStatus] = {"ok": "finished", "interrupted": "interrupted"}

# A fault of ours, a store that cannot be written, a server that is away: none hides another.
_MOST_WARNINGS = 3


class Session:
    """One kernel process (or script) with tracking on.

    Parameters
    ----------
    shell
        IPython's shell, None in a script: then only what is logged by hand is kept.
    settings
        Where the store is, caps, quiet.
    on_close
        Called when it begins to close.

    Attributes
    ----------
    tracker, evidence
        Its runs, and what feeds them.
    warnings
        What went wrong on our side, for ``%mlops_doctor``.
    """

    def __init__(
        self, shell: object, settings: Settings, on_close: Callable[[Session], None]
    ) -> None:
        self.shell = shell
        self._on_close = on_close
        self.settings = settings
        self.id = new_record_id()
        self.warnings: list[str] = []
        self.notebook: Path | None = None
        self.notebook_assurance = "unknown"
        self.order: NotebookOrder | None = None
        self._ended: list[tuple[ExecutionStarted, ExecutionEnded]] = []
        self._executions: list[Execution] = []
        self._with_result: set[str] = set()
        self.location = locate(self._start_folder(), settings)
        root = spool_root(self.location, settings.state_dir)
        self.spool = Spool.create(
            root, self.id, state_dir=settings.state_dir, on_trouble=self.warn
        )
        self._environment = read_environment()
        self.tracker = Tracker(
            self.spool, self.id, environment=self._environment_now, on_birth=self._note_code
        )
        self.tracker.keeps_statistics = settings.data_statistics
        self.evidence = Evidence(self.tracker)
        if os.environ.get("MLOPS_NB_REPLAY"):
            self.evidence.children_limit = REPLAYED_CHILDREN_LIMIT
        self.capture: Capture | None = None
        self.attempts = Attempts(self.spool.folder)
        self.cell_runs: list[tuple[LiveRun, CellRun]] = []
        self._batch_cells = BatchCells()
        self._uninstall: list[Callable[[], None]] = []
        self._background = Background()
        self.hashing = Hashing(self._current)
        self.surroundings = Surroundings(self.spool, self.id, self._background, self._judge)
        environment = self._environment
        self.spool.append(EnvironmentSeen(environment.digest, environment.content))
        self._announce(environment.digest)
        self.is_batch = False
        self._looked_at = 0.0

    def _start_folder(self) -> Path:
        given = self.settings.notebook
        return Path(given).resolve().parent if given else Path.cwd()

    def _environment_now(self) -> str:
        """Read the environment again: something may have been installed since."""
        with guard("environment"):
            environment = read_environment()
            if environment.digest != self._environment.digest:
                self._environment = environment
                self.spool.append(EnvironmentSeen(environment.digest, environment.content))
                changes = {"environment": environment.digest}
                self.spool.append(SessionChanged(self.id, time.time_ns(), changes))
        return self._environment.digest

    def _announce(self, environment: str) -> None:
        self.spool.append(
            SessionStarted(
                id=self.id,
                at_ns=time.time_ns(),
                host=socket.gethostname(),
                pid=os.getpid(),
                python=platform.python_version(),
                owner=identity(),
                environment=environment,
            )
        )
        with guard("session"):
            folder = str(Path.cwd())  # a cell may change it before the thread looks
            self._background.do(lambda: self._tell_facts(folder))

    def _tell_facts(self, folder: str) -> None:
        from mlops_nb.session.facts import session_facts

        facts = session_facts(self.shell, folder)
        self.spool.append(SessionChanged(self.id, time.time_ns(), facts))

    # --- turning on and off -------------------------------------------------------------------

    def start(self) -> None:
        """Hook into the shell and the libraries, and start the drainer."""
        guards.on_warning = self.warn
        if self.shell is not None:
            self.is_batch = is_batch(self.shell, self.settings, self.namespace)
            if self.is_batch:
                with guard("notebook"):
                    self._search_notebook()
            with guard("autolog"):
                self._watch_libraries()
            self._watch_cells()
        if STEP_VARIABLE not in os.environ:  # else whoever runs the step takes in its spool
            with guard("drain"):
                from mlops_nb.store.intake.launching import start_drainer

                tell = self.warn if "://" in self.location else None
                notebook = self.tracker.notebook
                start_drainer(
                    self.spool, self.location, notebook=notebook, on_trouble=tell, at_once=False
                )
        with guard("files"):
            self.surroundings.start(self._start_folder(), self.location, self.settings)
        atexit.register(self.close)

    def _watch_cells(self) -> None:
        from mlops_nb.capture.hooks import Capture

        self.capture = Capture(self.shell, self.id, self, settings=self.settings)
        self.capture.backfill()
        self.capture.install()
        self._uninstall.append(self.capture.uninstall)

    def _watch_libraries(self) -> None:
        from mlops_nb.autolog import install
        from mlops_nb.autolog.callers import CodeIndex
        from mlops_nb.autolog.listener import SklearnListener

        namespace = self.namespace
        self._index = CodeIndex()
        listener = SklearnListener(self.evidence, namespace, self._index, self.hashing.identify)
        self._installed = install(listener, namespace)
        self._uninstall.append(self._installed.uninstall)

    @property
    def store_name(self) -> str:
        """Where its runs are kept, without what opens it: for what is shown, sent or written."""
        if "://" not in self.location:
            return self.location
        from mlops_nb.store.address import location_of

        return location_of(self.location)

    @property
    def executions(self) -> list[Execution]:
        """All executions so far, in the order they ended; made when somebody asks."""
        known = len(self._executions)
        for started, ended in self._ended[known:]:
            flags = (RESULT_FLAG,) if started.id in self._with_result else ()
            self._executions.append(_as_execution(started, ended, flags))
        return self._executions

    def _current(self) -> LiveExecution | None:
        return None if self.capture is None else self.capture.current

    @property
    def namespace(self) -> dict[str, object]:
        """The notebook's namespace."""
        return getattr(self.shell, "user_ns", {})

    def close(self) -> None:
        """End what is open and let go of everything; the drainer does the rest."""
        self._on_close(self)
        atexit.unregister(self.close)
        for undo in reversed(self._uninstall):
            with guard("unload"):
                undo()
        self._uninstall.clear()
        self.surroundings.stop()
        with guard("hashing"):
            self.hashing.finish(BATCH_WAIT_S if self.is_batch else LAST_WAIT_S)
        with guard("close"):
            self._background.finish()
            self.tracker.end_all()
            self.spool.append(SessionEnded(self.id, time.time_ns()))
            if self.spool.drainer is None and self.spool.restart_drainer is not None:
                self.spool.restart_drainer()
            self.spool.close()
            known.forget()

    def warn(self, message: str) -> None:
        """Say once, in one line, that something of ours went wrong; other things too, a few."""
        if message not in self.warnings and len(self.warnings) < _MOST_WARNINGS:
            print(message, file=sys.stderr)  # noqa: T201  # the user's notebook is where they look
        self.warnings.append(message)

    # --- ways to begin a run ------------------------------------------------------------------

    def be_automatic(self) -> None:
        """Let evidence bear runs; in a batch the notebook is the run, and this does nothing."""
        if self.tracker.batch is not None or self.tracker.is_automatic:
            return
        if self.is_batch:
            self.begin_batch({})
        else:
            self.tracker.is_automatic = True

    def reconfigure(self, *, notebook: str | None = None, quiet: bool | None = None) -> None:
        """Take over what a later ``%mlops_track`` gives."""
        if notebook is not None:
            self.name_notebook(Path(notebook).expanduser().resolve(), "given")
        if quiet is not None:
            self.settings = replace(self.settings, quiet=quiet)

    def begin_batch(self, info: Mapping[str, Json]) -> LiveRun:
        """Make the whole notebook one run.

        Parameters
        ----------
        info
            From our papermill engine: ``run`` (its id), ``notebook``, ``params``, ``cells``
            (``index``, ``id``, ``tags`` of the code cells in order), ``name``, ``experiment``,
            ``tags``; of a step of a pipeline also ``kind``, ``group`` and ``parent``. Empty
            under other runners.
        """
        tracker = self.tracker
        if info.get("notebook"):
            self.name_notebook(Path(info["notebook"]), "verified")
        if info.get("cells"):
            self._batch_cells = BatchCells(info["cells"])
        tracker.experiment = info.get("experiment") or tracker.experiment
        name = info.get("name") or tracker.next_name
        tracker.batch = tracker.start(
            name,
            kind=info.get("kind") or "batch",
            default_name=self.notebook.stem if self.notebook else "notebook",
            group=info.get("group") or name or tracker.notebook or "notebook",
            tags=info.get("tags"),
            run_id=info.get("run"),
        )
        if info.get("parent"):
            # It is no run of this process, so the tracker does not know it.
            changes = {"parent": info["parent"]}
            self.spool.append(RunChanged(tracker.batch.id, time.time_ns(), changes))
        for key, value in (info.get("params") or {}).items():
            tracker.log_param(key, value, run=tracker.batch)
        return tracker.batch

    def _search_notebook(self) -> None:
        path, cells = search_notebook(self.shell, self.notebook)
        if path is not None:
            self.name_notebook(path, "verified")
            self._batch_cells = BatchCells(cells)

    def open_cell_run(self, name: str | None, asked: CellRun) -> None:
        """Make the cell that runs now a run; it ends with the cell."""
        opened = self.tracker.open(name, kind="cell", tags=asked.tags)
        self.cell_runs.append((opened, asked))

    def _close_cell_runs(self, live: LiveExecution, event: ExecutionEnded) -> None:
        mine = [pair for pair in self.cell_runs if pair[0].execution in {live.id, None}]
        for run, asked in mine:
            self.cell_runs.remove((run, asked))
            with guard("cell run"):
                self._read_variables(run, asked)
            status = CELL_ENDINGS.get(event.status, "failed")
            error = {**event.error, "execution": live.id} if event.error else None
            (error or {}).pop("traceback", None)
            self.tracker.end(run, status=status, error=error, at_ns=event.at_ns)

    def _read_variables(self, run: LiveRun, asked: CellRun) -> None:
        tracker, names = self.tracker, self.namespace
        for name in [name for name in asked.params if name in names]:
            tracker.log_param(name, names[name], run=run)
        for name in [name for name in asked.metrics if name in names]:
            tracker.log({name: names[name]}, run=run)
        for name in [name for name in asked.data if name in names]:
            found = self.hashing.identify_after_cell(names[name])
            tracker.put_data(run, name, "input", found)
        if asked.model in names:
            tracker.put_model(run, asked.model, names[asked.model])

    # --- the notebook -------------------------------------------------------------------------

    def name_notebook(self, path: Path, assurance: str) -> None:
        """Note which notebook this is."""
        if (self.notebook, self.notebook_assurance) == (path, assurance):
            return
        self.notebook, self.notebook_assurance = path, assurance
        self.tracker.notebook = str(path)
        changes: dict[str, Json] = {"notebook": str(path), "notebook_assurance": assurance}
        self.spool.append(SessionChanged(self.id, time.time_ns(), changes))
        self.surroundings.watch(path)
        self._follow_notebook()

    def _look_for_notebook(self, cell_meta: Mapping[str, Json] | None) -> None:
        """Find out which notebook this is: at once for the first cell, later in the background.

        Only a cell id that the saved notebook was not known to hold tells anything new, or
        VS Code's variable, which may come late.
        """
        cell_id = (cell_meta or {}).get("cellId")
        if self.notebook_assurance == "given":
            return
        if self.notebook is None and not self._ended:
            self._find_notebook(cell_meta or {})
        elif (cell_id is None and self.notebook is None and VSCODE_VARIABLE in self.namespace) or (
            cell_id is not None
            and not (self.order is not None and cell_id in self.order.positions)
            and time.monotonic() - self._looked_at > LOOK_INTERVAL_S
        ):
            self._looked_at = time.monotonic()
            self._background.do(lambda: self._find_notebook(cell_meta or {}))

    def _find_notebook(self, cell_meta: Mapping[str, Json]) -> None:
        from mlops_nb.notebook import detect_notebook

        path, assurance = detect_notebook(self.settings, cell_meta, self.namespace, os.environ)
        if path is not None:
            self.name_notebook(Path(path), assurance)

    def _follow_notebook(self) -> None:
        """Have the saved notebook read again if it has changed since; never waits."""
        path = self.notebook
        if path is None or not path.is_file():
            return
        if self.order is None or self.order.as_of_ns != path.stat().st_mtime_ns:
            self._background.do(self._read_order)

    def _read_order(self) -> None:
        from mlops_nb.notebook import saved_cells

        if self.notebook is None:
            return
        as_of_ns = self.notebook.stat().st_mtime_ns
        cells = saved_cells(self.notebook)
        positions = {cell_id: index for index, (cell_id, _) in enumerate(cells) if cell_id}
        sources = {cell_id: redact(source) for cell_id, source in cells if cell_id}
        self.order = NotebookOrder(positions, sources, as_of_ns)

    # --- capture's callbacks ------------------------------------------------------------------

    def execution_started(self, live: LiveExecution) -> None:
        """A cell begins (called by capture)."""
        self._batch_cells.place(live)
        self.spool.append(live.event)
        if live.event.is_inferred:
            return
        self.tracker.execution_started(live)
        with guard("autolog"):
            self._index.add(live.names)
            self._installed.refresh(self.namespace, live.names.reads)
        if live.parent is None and self.tracker.batch is None:
            with guard("notebook"):
                self._look_for_notebook(live.cell_meta)
        with guard("hashing"):
            self.hashing.cell_started(live)
        self.surroundings.cell_started(live, self.namespace)

    def execution_ended(self, live: LiveExecution, event: ExecutionEnded) -> None:
        """A cell has ended (called by capture)."""
        if flags := self.surroundings.cell_ended(live, self.namespace):
            event = replace(event, flags=(*event.flags, *flags))
        self.spool.append(event)
        self._ended.append((live.event, event))
        if live.event.is_inferred:
            return
        with guard("hashing"):
            self.hashing.cell_ended(live, event.mutates, self.namespace)
        if live.parent is None:
            with guard("models"):
                self.evidence.name_models(self.namespace, live.names.binds)
            self._close_cell_runs(live, event)
            with guard("parameters"):
                self._read_parameters(live)
        changed = self.tracker.execution_ended(live, event)
        if live.parent is None:
            self.spool.sync()
            with guard("code"):
                self.surroundings.follow(self.tracker.open_runs(), self._folder)
        if changed:
            with guard("lineage"):
                self._follow_notebook()
                for run in changed:
                    self._trace(run)
            if not self.settings.quiet and self.tracker.batch is None:
                with guard("card"):
                    show_cards(changed, self.attempts)

    def output_seen(self, event: OutputSeen) -> None:
        """An output of a cell (called by capture, from any thread)."""
        if event.kind == "result":
            self._with_result.add(event.execution)
        self.spool.append(event)

    def _read_parameters(self, live: LiveExecution) -> None:
        """Keep what a parameters cell of a batch, or ``--params``, names."""
        tracker, namespace = self.tracker, self.namespace
        if tracker.batch is not None:
            for name, value in self._batch_cells.parameters(live, namespace):
                tracker.log_param(name, value, run=tracker.batch)
        for run in [run for run in tracker.changed.values() if run.parent is None]:
            for name in tracker.param_names:
                if name in namespace:
                    tracker.log_param(name, namespace[name], run=run)

    def _trace(self, run: LiveRun) -> None:
        """Write what a run and its children need, and how far its order can be trusted."""
        setup = self._setup_of(run)
        for each in (run, *run.children):
            if each.body == run.body:
                self._add_setup(each, setup)
            elif len(each.body) != each.traced:
                self._add_setup(each, self._setup_of(each))
            each.traced = len(each.body)
        needed = {*run.setup, *run.body}
        run.needed = tuple(
            e for e in self.executions if e.id in needed and not is_only_looking(e.source)
        )
        # As the store works it out, from what was run.
        run.code_digests = tuple(code_digest(e.transformed or e.source) for e in run.needed)
        self._judge(run)

    def _setup_of(self, run: LiveRun) -> list[str]:
        """List the earlier cells that a run needs, without those that only look."""
        looking = {e.id for e in self.executions if is_only_looking(e.source)}
        return [e for e in slice_of(self.executions, run.body) if e not in looking]

    def _add_setup(self, run: LiveRun, setup: Sequence[str]) -> None:
        first, *others = [e for e in setup if e not in run.setup] or [""]
        if first:
            run.setup += (first, *others)
            self.spool.append(RunExecuted(run.id, first, "setup", tuple(others)))

    def _judge(self, run: LiveRun) -> None:
        """Write how far order, sources and code can be trusted; called from any thread."""
        with self.tracker.lock:
            if not run.needed:
                return  # its first cell has not ended
            data = [use for each in (run, *run.children) for use in each.data.values()]
            verdict = verdict_of(run.needed, self.order, git=run.git, data=data)
            for each in (run, *run.children):
                if each.verdict != verdict:
                    each.verdict = verdict
                    self.spool.append(RunChanged(each.id, time.time_ns(), {"verdict": verdict}))

    @property
    def _folder(self) -> Path:
        return self.notebook.parent if self.notebook else Path.cwd()

    def _note_code(self, run: LiveRun) -> None:
        self.surroundings.describe(run, self._folder)


@dataclass(slots=True, repr=False, eq=False)
class CellRun:
    """What ``%%mlops_track`` asked for: variables to read when its cell has ended."""

    tags: dict[str, str] = field(default_factory=dict)
    params: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    model: str | None = None


def _as_execution(
    started: ExecutionStarted, ended: ExecutionEnded, more_flags: tuple[str, ...]
) -> Execution:
    return Execution(
        id=started.id,
        session=started.session,
        order=started.order,
        status=ended.status,
        source=started.source,
        code_digest=started.code_digest,
        started_at=as_datetime(started.at_ns),
        duration_s=ended.duration_s,
        parent=started.parent,
        cell_id=started.cell_id,
        cell_index=started.cell_index,
        transformed=started.transformed,
        reads=ended.reads,
        binds=ended.binds,
        mutates=ended.mutates,
        deletes=ended.deletes,
        flags=(*started.flags, *ended.flags, *more_flags),
        execution_count=ended.execution_count or started.execution_count,
    )
