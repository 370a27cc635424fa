"""The composition root of a kernel: it makes the parts and hands them each other's callbacks.

One `Session` lives from ``%mlops_track`` to ``%mlops_track --off`` or the end of the process.
"""

from __future__ import annotations

import atexit
import os
import platform
import queue
import socket
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb import lineage
from mlops_nb.capture.guard import guard
from mlops_nb.config import load_settings
from mlops_nb.environment import git_state, read_environment
from mlops_nb.fingerprint import fingerprint
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
from mlops_nb.redact import redact
from mlops_nb.store.locate import locate
from mlops_nb.store.owner import identity
from mlops_nb.store.spool import Spool
from mlops_nb.tracking import Evidence, Tracker
from mlops_nb.tracking.values import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.capture.hooks import Capture, LiveExecution
    from mlops_nb.config import Settings
    from mlops_nb.lineage import NotebookOrder
    from mlops_nb.model import ExecutionEnded, Json, OutputSeen, Run, RunStatus
    from mlops_nb.tracking import LiveRun

CELL_ENDINGS: Mapping[str, RunStatus] = {"ok": "finished", "interrupted": "interrupted"}
CARD_METADATA: Mapping[str, Json] = {"mlops_nb": {"card": True}}
"""Marks an output as ours, so that capture does not keep it with the cell."""
PARAMETER_TAGS = frozenset({"parameters", "pipeline-parameters", "injected-parameters"})

_active: Session | None = None
_lock = threading.RLock()


def active() -> Session | None:
    """The session of this process, None while tracking is off."""
    return _active


class Session:
    """One kernel process (or script) with tracking on.

    Parameters
    ----------
    shell
        IPython's shell, None in a script: then only what is logged by hand is kept.
    settings
        Where the store is, caps, quiet.

    Attributes
    ----------
    tracker, evidence
        Its runs, and what feeds them.
    warnings
        What went wrong on our side, for ``%mlops_doctor``.
    """

    def __init__(self, shell: object, settings: Settings) -> None:
        self.shell = shell
        self.settings = settings
        self.id = new_record_id()
        self.warnings: list[str] = []
        self.notebook: Path | None = None
        self.notebook_assurance = "unknown"
        self.order: NotebookOrder | None = None
        self.executions: list[Execution] = []
        self.location = locate(self._start_folder(), settings)
        root = Path(self.location) / "spool"
        self.spool = Spool.create(
            root, self.id, state_dir=settings.state_dir, on_trouble=self.warn
        )
        environment = read_environment()
        self.tracker = Tracker(
            self.spool, self.id, environment=environment.digest, on_birth=self._note_git
        )
        self.evidence = Evidence(self.tracker)
        self.capture: Capture | None = None
        self._latest: dict[str, tuple[int, LiveRun, Run | None]] = {}
        self.cell_runs: list[tuple[LiveRun, CellRun]] = []
        self._tags: frozenset[str] = frozenset()
        self._batch_cells: list[Mapping[str, Json]] = []
        self._uninstall: list[Callable[[], None]] = []
        self._background = Background()
        self.spool.append(EnvironmentSeen(environment.digest, environment.content))
        self._announce(environment.digest)

    def _start_folder(self) -> Path:
        given = self.settings.notebook
        return Path(given).resolve().parent if given else Path.cwd()

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

    # --- turning on and off -------------------------------------------------------------------

    def start(self) -> None:
        """Hook into the shell and the libraries, and start the drainer."""
        if self.shell is not None:
            self._watch_cells()
            self._watch_libraries()
        with guard("drain"):
            from mlops_nb.store.drain import start_drainer

            start_drainer(self.spool, self.location, notebook=self.tracker.notebook)
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
        listener = SklearnListener(self.evidence, namespace, self._index)
        self._installed = install(listener, namespace)
        self._uninstall.append(self._installed.uninstall)

    @property
    def namespace(self) -> dict[str, object]:
        """The notebook's namespace."""
        return getattr(self.shell, "user_ns", {})

    def close(self) -> None:
        """End what is open and let go of everything; the drainer does the rest."""
        global _active  # noqa: PLW0603  # one session a process, by design
        with _lock:
            if _active is self:
                _active = None
        atexit.unregister(self.close)
        for undo in reversed(self._uninstall):
            with guard("unload"):
                undo()
        self._uninstall.clear()
        with guard("close"):
            self._background.finish()
            self.tracker.end_all()
            self.spool.append(SessionEnded(self.id, time.time_ns()))
            self.spool.close()

    def warn(self, message: str) -> None:
        """Say once, in one line, that something of ours went wrong."""
        if not self.warnings and not self.settings.quiet:
            print(f"mlops_nb: {message}", file=sys.stderr)  # noqa: T201  # the user's notebook is where they look
        self.warnings.append(message)

    # --- ways to begin a run ------------------------------------------------------------------

    def be_automatic(self) -> None:
        """Let evidence bear runs; in a batch the notebook is the run, and this does nothing."""
        if self.tracker.batch is not None or self.tracker.is_automatic:
            return
        if _is_batch(self.shell, self.settings, self.namespace):
            self.begin_batch({})
        else:
            self.tracker.is_automatic = True

    def begin_batch(self, info: Mapping[str, Json]) -> LiveRun:
        """Make the whole notebook one run.

        Parameters
        ----------
        info
            From our papermill engine: ``notebook``, ``params``, ``cells`` (``index``, ``id``,
            ``source``, ``tags`` of the code cells in order), ``name``, ``experiment``, ``tags``.
            Empty under other runners; then the notebook is looked for by its sources.
        """
        tracker = self.tracker
        if info.get("notebook"):
            self.name_notebook(Path(info["notebook"]), "verified")
        tracker.experiment = info.get("experiment") or tracker.experiment
        self._batch_cells = list(info.get("cells") or self._search_notebook())
        name = info.get("name") or tracker.next_name
        stem = self.notebook.stem if self.notebook else "notebook"
        tracker.batch = tracker.start(
            name,
            kind="batch",
            default_name=stem,
            group=name or tracker.notebook or "notebook",
            tags=info.get("tags"),
            run_id=info.get("run"),
        )
        for key, value in (info.get("params") or {}).items():
            tracker.log_param(key, value, run=tracker.batch)
        return tracker.batch

    def _search_notebook(self) -> list[dict[str, Json]]:
        """Find the notebook of a runner that tells nothing, by what has run of it so far."""
        from mlops_nb.notebook import find_by_witness, read_notebook

        ran = {execution.source for execution in self.executions}
        if self.capture is not None and self.capture.current is not None:
            ran.add(self.capture.current.event.source)
        found = self.notebook or find_by_witness(Path.cwd(), (), ran)
        if found is None:
            return []
        self.name_notebook(Path(found), "verified")
        return [
            {"index": cell.index, "id": cell.id, "source": cell.source, "tags": list(cell.tags)}
            for cell in read_notebook(found).code_cells
        ]

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
            tracker.put_data(run, name, "input", fingerprint(names[name]))
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

    def _find_notebook(self, cell_meta: Mapping[str, Json] | None) -> None:
        from mlops_nb.notebook import detect_notebook

        path, assurance = detect_notebook(self.settings, cell_meta, self.namespace, os.environ)
        if path is not None:
            self.name_notebook(Path(path), assurance)

    def _read_order(self) -> None:
        """Read the saved notebook again if it has changed; runs in the background."""
        from mlops_nb.notebook import read_notebook

        path = self.notebook
        if path is None or not path.is_file():
            return
        as_of_ns = path.stat().st_mtime_ns
        if self.order is not None and self.order.as_of_ns == as_of_ns:
            return
        cells = read_notebook(path).cells
        positions = {cell.id: cell.index for cell in cells}
        sources = {cell.id: redact(cell.source) for cell in cells}
        self.order = lineage.NotebookOrder(positions, sources, as_of_ns)

    # --- capture's callbacks ------------------------------------------------------------------

    def execution_started(self, live: LiveExecution) -> None:
        """A cell begins (called by capture)."""
        self._place_in_notebook(live)
        self.spool.append(live.event)
        if live.event.is_inferred:
            return
        self.tracker.execution_started(live)
        with guard("autolog"):
            self._index.add(live.names)
            self._installed.refresh(self.namespace, (*live.names.reads, *live.names.binds))
        if live.parent is None and self.tracker.batch is None:
            with guard("notebook"):
                self._find_notebook(live.cell_meta)
            self._background.do(self._read_order)

    def execution_ended(self, live: LiveExecution, event: ExecutionEnded) -> None:
        """A cell has ended (called by capture)."""
        self.spool.append(event)
        self.executions.append(_as_execution(live, event))
        if live.event.is_inferred:
            return
        if live.parent is None:
            self._close_cell_runs(live, event)
            with guard("parameters"):
                self._read_parameters(live)
        changed = self.tracker.execution_ended(live, event)
        if live.parent is None:
            self.spool.sync()
        if changed:
            with guard("lineage"):
                for run in changed:
                    self._trace(run)
            if not self.settings.quiet and self.tracker.batch is None:
                with guard("card"):
                    self._show_cards(changed)

    def output_seen(self, event: OutputSeen) -> None:
        """An output of a cell (called by capture, from any thread)."""
        self.spool.append(event)

    def _place_in_notebook(self, live: LiveExecution) -> None:
        """In a batch, cells come in order: find which one this is."""
        if live.parent is not None:
            return
        self._tags = frozenset()
        source = live.event.source.strip()
        for number, cell in enumerate(self._batch_cells):
            told = cell.get("source")
            is_it = live.cell_id == cell["id"] if told is None else redact(told).strip() == source
            if is_it:
                del self._batch_cells[: number + 1]
                index = cell["index"]
                live.cell_id = cell["id"]
                live.event = replace(live.event, cell_id=cell["id"], cell_index=index)
                self._tags = frozenset(cell.get("tags") or ())
                return

    def _read_parameters(self, live: LiveExecution) -> None:
        """Keep what a parameters cell of a batch, or ``--params``, names."""
        batch, namespace = self.tracker.batch, self.namespace
        if batch is not None and PARAMETER_TAGS & self._tags:
            for name in live.names.binds:
                if name in namespace and is_plain(namespace[name]):
                    self.tracker.log_param(name, namespace[name], run=batch)
        for run in self.tracker.changed.values():
            for name in self.tracker.param_names if run.parent is None else ():
                if name in namespace:
                    self.tracker.log_param(name, namespace[name], run=run)

    def _trace(self, run: LiveRun) -> None:
        """Write what the run needs and how far its order can be trusted; children share it."""
        setup = lineage.slice_of(self.executions, run.body)
        for execution in setup:
            if execution not in run.setup:
                self.spool.append(RunExecuted(run.id, execution, "setup"))
        run.setup = list(dict.fromkeys([*run.setup, *setup]))
        needed = {*run.setup, *run.body}
        executions = [e for e in self.executions if e.id in needed]
        run.code_digests = tuple(execution.code_digest for execution in executions)
        verdict = lineage.verdict_of(executions, self.order)
        for each in (run, *run.children):
            if each.verdict != verdict:
                each.verdict = verdict
                self.spool.append(RunChanged(each.id, time.time_ns(), {"verdict": verdict}))

    def _show_cards(self, changed: list[LiveRun]) -> None:
        """Show a line below the cell for each run that it bore or changed."""
        from IPython.display import display

        from mlops_nb.display.card import CardView
        from mlops_nb.display.live import card_of

        for run in changed:
            attempt, _, before = self._attempt(run)
            card = card_of(run, before, attempt)
            display(CardView(card), metadata=CARD_METADATA, display_id=f"mlops-nb-{run.id}")

    def _attempt(self, run: LiveRun) -> tuple[int, LiveRun, Run | None]:
        """Number of a run in its group, and the attempt before it, here or in the store."""
        from mlops_nb.store.drain import read_group_heads

        latest = self._latest.get(run.group)
        if latest is None or latest[1] is not run:
            known = next((a for a in self._latest.values() if a[1] is run), None)
            if known is not None:
                return known
            if latest is None:
                head = read_group_heads(self.spool.folder).get(run.group)
                latest = (1, run, None) if head is None else (head.attempt + 1, run, head.record())
            else:
                latest = (latest[0] + 1, run, latest[1].record())
            self._latest[run.group] = latest
        return latest

    def _note_git(self, run: LiveRun) -> None:
        folder = self.notebook.parent if self.notebook else Path.cwd()

        def note() -> None:
            state = git_state(folder)
            if state is not None:
                self.spool.append(RunChanged(run.id, time.time_ns(), {"git": state}))

        self._background.do(note)


@dataclass(slots=True)
class CellRun:
    """What ``%%mlops_track`` asked for: variables to read when its cell has ended."""

    tags: dict[str, str] = field(default_factory=dict)
    params: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    model: str | None = None


class Background:
    """One daemon thread for what may take a while: git, reading the saved notebook."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, task: Callable[[], None]) -> None:
        """Queue a task; never waits."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mlops_nb", daemon=True)
            self._thread.start()
        self._tasks.put(task)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            with guard("background"):
                task()

    def finish(self, timeout_s: float = 2.0) -> None:
        """Wait, not long, until everything queued is done."""
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join(timeout_s)
            self._thread = None


def _as_execution(live: LiveExecution, event: ExecutionEnded) -> Execution:
    started = live.event
    return Execution(
        id=live.id,
        session=started.session,
        order=started.order,
        status=event.status,
        source=started.source,
        code_digest=started.code_digest,
        started_at=as_datetime(started.at_ns),
        duration_s=event.duration_s,
        parent=started.parent,
        cell_id=started.cell_id,
        cell_index=started.cell_index,
        reads=event.reads,
        binds=event.binds,
        mutates=event.mutates,
        deletes=event.deletes,
        flags=(*started.flags, *event.flags),
    )


def _is_batch(shell: Any, settings: Settings, namespace: Mapping[str, object]) -> bool:
    """Whether a runner (nbclient, nbconvert) rather than a person sends the cells."""
    if settings.batch is not None:
        return settings.batch
    kernel = getattr(shell, "kernel", None)
    if kernel is None or "JPY_SESSION_NAME" in os.environ or "__vsc_ipynb_file__" in namespace:
        return False
    request = kernel.get_parent() or {}
    has_cell_id = bool((request.get("metadata") or {}).get("cellId"))
    return not has_cell_id and not (request.get("content") or {}).get("allow_stdin", True)


# --- functions of the process -----------------------------------------------------------------


def start_session(shell: object = None, **given: object) -> Session:
    """Open a session in this process, or give the one that is open already.

    Runs are born only when someone opens one, until `Session.be_automatic` is called.

    Raises
    ------
    StoreNotOurs, BadSetting
        The store or a setting cannot be used.
    """
    global _active  # noqa: PLW0603  # one session a process, by design
    with _lock:
        if _active is None:
            settings = load_settings(Path.cwd(), **given)
            _active = Session(shell, settings)
            _active.start()
        return _active


def stop_session() -> None:
    """Turn tracking off; does nothing while it is off."""
    session = _active
    if session is not None:
        session.close()


def start_batch(info: Mapping[str, Json]) -> str:
    """Begin a batch run in this kernel; our papermill engine calls it before the first cell.

    Parameters
    ----------
    info
        See `Session.begin_batch`; also ``store``, the store's location.

    Returns
    -------
    str
        The run's id.
    """
    from IPython import get_ipython

    given = {"store": info["store"]} if info.get("store") else {}
    session = start_session(get_ipython(), notebook=info.get("notebook"), batch=True, **given)
    return session.begin_batch(info).id


def end_batch(info: Mapping[str, Json]) -> None:
    """End the batch run; our papermill engine calls it after the last cell.

    Parameters
    ----------
    info
        ``status`` if the engine knows better than the kernel (a cell that timed out), ``error``.
    """
    session = _active
    if session is None or session.tracker.batch is None:
        return
    status = info.get("status")
    known = status if status in {"failed", "interrupted"} else None
    session.tracker.end(session.tracker.batch, status=known, error=info.get("error"))
    session.close()
