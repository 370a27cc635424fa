"""IPython's events in, executions out.

An execution is opened in ``pre_run_cell`` and closed in ``post_run_cell``. The two need not come
in pairs: an empty cell gives the second without the first, nested runs give them interleaved, a
kernel's subshells run on threads of their own, and after an interrupt the second may bring
another record or none. So open executions are kept on a stack for each thread and found again by
the very `ExecutionInfo` that opened them.
"""

from __future__ import annotations

import linecache
import sys
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from mlops_nb import source
from mlops_nb.capture.dataflow import Origins, Touched, Watch
from mlops_nb.capture.failures import cell_error, status_of
from mlops_nb.capture.guard import guard
from mlops_nb.capture.outputs import OutputTap, Trail
from mlops_nb.config import Settings
from mlops_nb.model import ExecutionEnded, ExecutionStarted, OutputSeen, new_record_id
from mlops_nb.redact import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.capture.outputs import Caps
    from mlops_nb.model import Json
    from mlops_nb.source import CellNames

_RECENT_FILES = 64
_MAX_FRAMES = 200


class Listener(Protocol):
    """Who is told of executions; what it raises is kept from the user."""

    def execution_started(self, live: LiveExecution) -> None:
        """A cell is about to run, or a cell from before tracking is reported."""

    def execution_ended(self, live: LiveExecution, event: ExecutionEnded) -> None:
        """A cell has ended."""

    def output_seen(self, event: OutputSeen) -> None:
        """An output was shown; called on any thread."""


class LiveExecution:
    """An execution while it runs.

    Attributes
    ----------
    id, order
        As in `model.Execution`.
    event
        What was told when it began.
    names
        What its text touches.
    cell_id, cell_meta
        From the request; None where the frontend sends none.
    parent
        The execution it runs inside of.
    result
        IPython's `ExecutionResult`, None until the execution has ended.
    """

    __slots__ = (
        "_compiled",
        "_filename",
        "_shell",
        "cell_id",
        "cell_meta",
        "cpu_ns",
        "event",
        "info",
        "names",
        "parent",
        "request",
        "result",
        "started_ns",
        "trail",
        "watch",
    )

    def __init__(self, event: ExecutionStarted, names: CellNames, shell: object, text: str) -> None:
        self.event = event
        self.names = names
        self.cell_id = event.cell_id
        self.cell_meta: Mapping[str, Json] | None = None
        self.parent: LiveExecution | None = None
        self.result: object = None
        self.info: object = None
        self.request = ""
        self.trail = Trail(event.id)
        self.watch: Watch | None = None
        self.started_ns = 0
        self.cpu_ns = 0
        self._shell = shell
        self._compiled = text
        self._filename: str | None = None

    @property
    def id(self) -> str:
        """Id of the execution."""
        return self.event.id

    @property
    def order(self) -> int:
        """Position in the session, from 1."""
        return self.event.order

    @property
    def filename(self) -> str:
        """The ``co_filename`` of the cell's code.

        Looked up when asked for: IPython needs as long to make the name as all the rest of the
        capture takes together, and has made it once the cell runs.
        """
        if self._filename is None:
            self._filename = self._find_filename()
        return self._filename

    def _find_filename(self) -> str:
        lines = [f"{line}\n" for line in self._compiled.splitlines()]
        for name in islice(reversed(linecache.cache), _RECENT_FILES):
            entry = linecache.cache[name]
            # Only what IPython compiled has no modification time.
            if len(entry) == 4 and entry[1] is None and entry[2] == lines:  # noqa: PLR2004
                return name
        shell: Any = self._shell
        raw = getattr(self.info, "raw_cell", self._compiled)
        return str(shell.compile.get_code_name(raw, self._compiled, self._number()))

    def _number(self) -> int:
        """The number IPython gives the cell; 9 has counted it already when it tells us."""
        shell: Any = self._shell
        counted = getattr(self.info, "store_history", False) and _counts_first()
        return int(shell.execution_count) - (1 if counted else 0)


def _counts_first() -> bool:
    import IPython

    return int(IPython.version_info[0]) >= 9  # noqa: PLR2004


class Capture:
    """Turns what a shell does into executions, for one session.

    Parameters
    ----------
    shell
        IPython's shell.
    session_id
        The session that the executions belong to.
    listener
        Is told of each execution and output.
    settings
        Caps of outputs; the defaults if left out.
    """

    def __init__(
        self, shell: object, session_id: str, listener: Listener, *, settings: Caps | None = None
    ) -> None:
        self._shell: Any = shell
        self._session = session_id
        self._listener = listener
        self._tap = OutputTap(shell, self._output, settings or Settings())
        self._tap.innermost = self._innermost_trail
        self._stacks: dict[int, list[LiveExecution]] = {}
        self._origins = Origins()
        self._lock = threading.Lock()
        self._main = threading.main_thread().ident or 0
        self._events = (
            ("pre_execute", self._before_any),
            ("pre_run_cell", self._before),
            ("post_run_cell", self._after),
        )
        self._running = _running_info()
        self._earlier = self._history()
        self._order = len(self._earlier)
        self._is_installed = False

    # --- on and off ----------------------------------------------------------------------------

    def install(self) -> None:
        """Hook into the shell; the cell that is running now is taken up, from here on."""
        if self._is_installed:
            return
        self._is_installed = True
        self._tap.install()
        for event, callback in self._events:
            self._shell.events.register(event, callback)
        if self._running is not None and not getattr(self._running, "silent", False):
            with guard("executions"):
                self._open(self._running, flags=("joined",))

    def uninstall(self) -> None:
        """Leave the shell as it was; executions that are open are ended."""
        if not self._is_installed:
            return
        self._is_installed = False
        for event, callback in self._events:
            with guard("uninstall"):
                self._shell.events.unregister(event, callback)
        for stack in list(self._stacks.values()):
            while stack:
                with guard("executions"):
                    self._close(stack.pop(), None, "ok")
        self._tap.uninstall()

    @property
    def current(self) -> LiveExecution | None:
        """The innermost execution of this thread, else of the shell's main thread."""
        stack = self._stacks.get(threading.get_ident()) or self._stacks.get(self._main)
        return stack[-1] if stack else None

    # --- before tracking -----------------------------------------------------------------------

    def _history(self) -> list[str]:
        manager = getattr(self._shell, "history_manager", None)
        inputs = list(getattr(manager, "input_hist_raw", ()))[1:]
        running = self._running
        if (
            running is not None
            and getattr(running, "store_history", False)
            and inputs
            and inputs[-1] == getattr(running, "raw_cell", None)
        ):
            inputs.pop()
        return inputs

    @guard("backfill")
    def backfill(self) -> None:
        """Tell the listener of the cells that ran before tracking; no outputs are claimed."""
        for order, raw in enumerate(self._earlier, start=1):
            if raw.strip():
                self._tell_earlier(order, raw)
        self._earlier = []

    def _tell_earlier(self, order: int, raw: str) -> None:
        names = source.analyse(raw)
        at_ns = time.time_ns()
        event = ExecutionStarted(
            id=new_record_id(),
            session=self._session,
            order=order,
            at_ns=at_ns,
            source=redact(raw),
            code_digest=source.code_digest(raw),
            execution_count=order,
            flags=("dynamic",) if names.is_dynamic else (),
            is_inferred=True,
        )
        live = LiveExecution(event, names, self._shell, source.transform(raw))
        namespace = self._shell.user_ns
        touched = Watch(namespace, names, self._shell.user_ns_hidden).finish(
            self._origins, is_complete=True
        )
        self._origins.update(names, touched.binds)
        self._listener.execution_started(live)
        self._listener.execution_ended(
            live,
            ExecutionEnded(
                id=live.id,
                at_ns=at_ns,
                status="ok",
                duration_s=0.0,
                cpu_s=0.0,
                reads=touched.reads,
                binds=tuple(name for name in names.binds if name in namespace),
                mutates=touched.mutates,
                deletes=names.deletes,
                execution_count=order,
            ),
        )

    # --- events --------------------------------------------------------------------------------

    @guard("executions")
    def _before_any(self) -> None:
        """Something runs, perhaps silently; inside of a cell its names count as the cell's."""
        stack = self._stacks.get(threading.get_ident())
        if stack and stack[-1].watch is not None:
            stack[-1].watch.widen()

    @guard("executions")
    def _before(self, info: object) -> None:
        self._open(info)

    @guard("executions")
    def _after(self, result: object) -> None:
        cpu_ns, ended_ns = self._cpu_ns(), time.perf_counter_ns()
        live = self._find(getattr(result, "info", None))
        if live is None:
            return
        stack = self._stacks[threading.get_ident()]
        while stack:
            top = stack.pop()
            status = status_of(result) if top is live else "interrupted"
            self._close(top, result if top is live else None, status, ended_ns, cpu_ns)
            if top is live:
                return

    def _find(self, info: object) -> LiveExecution | None:
        """The open execution that a result ends; None for an empty cell."""
        stack = self._stacks.get(threading.get_ident(), [])
        for live in reversed(stack):
            if live.info is info:
                return live
        raw = getattr(info, "raw_cell", None)
        # After an interrupt IPython makes a new info, and ipykernel may hand over nothing.
        if stack and (info is None or raw == getattr(stack[-1].info, "raw_cell", None)):
            return stack[-1]
        return None

    def _open(self, info: object, flags: tuple[str, ...] = ()) -> None:
        request, kind = self._tap.request()
        stack = self._stacks.setdefault(threading.get_ident(), [])
        if stack and kind == "execute_request" and stack[-1].request != request:
            self._abandon(stack)
        parent = stack[-1] if stack else None
        raw = str(getattr(info, "raw_cell", ""))
        text = self._as_run(info, raw)
        names = source.analyse(text)
        live = LiveExecution(
            self._started(info, raw, text, parent, _flags(info, names, parent, flags)),
            names,
            self._shell,
            text,
        )
        live.info, live.parent, live.request = info, parent, request
        live.cell_meta = getattr(info, "cell_meta", None)
        live.watch = Watch(self._shell.user_ns, names, self._shell.user_ns_hidden)
        stack.append(live)
        if request and parent is None:
            self._tap.follow(request, live.trail)
        with guard("listener"):
            self._listener.execution_started(live)
        live.cpu_ns, live.started_ns = self._cpu_ns(), time.perf_counter_ns()

    def _started(
        self,
        info: object,
        raw: str,
        text: str,
        parent: LiveExecution | None,
        flags: tuple[str, ...],
    ) -> ExecutionStarted:
        with self._lock:
            self._order += 1
            order = self._order
        differs = text.strip() != raw.strip()
        return ExecutionStarted(
            id=new_record_id(),
            session=self._session,
            order=order,
            at_ns=time.time_ns(),
            source=redact(raw),
            code_digest=source.code_digest(text),
            transformed=redact(text) if differs else None,
            parent=parent.id if parent is not None else None,
            cell_id=getattr(info, "cell_id", None),
            flags=flags,
        )

    def _as_run(self, info: object, raw: str) -> str:
        """The cell after IPython's transformers, which only newer versions hand over."""
        text = getattr(info, "transformed_cell", None)
        if text is not None:
            return str(text)
        if self._shell.input_transformers_post:
            return str(self._shell.transform_cell(raw))
        return source.transform(raw, self._shell)

    def _abandon(self, stack: list[LiveExecution]) -> None:
        """End what was never ended, since another request is running already."""
        while stack:
            self._close(stack.pop(), None, "interrupted")

    def _close(
        self,
        live: LiveExecution,
        result: object,
        status: Any,
        ended_ns: int | None = None,
        cpu_ns: int | None = None,
    ) -> None:
        live.result = result
        ended_ns = ended_ns or time.perf_counter_ns()
        cpu_ns = cpu_ns or self._cpu_ns()
        touched = self._touched(live, status)
        event = ExecutionEnded(
            id=live.id,
            at_ns=time.time_ns(),
            status=status,
            duration_s=(ended_ns - live.started_ns) / 1e9,
            cpu_s=(cpu_ns - live.cpu_ns) / 1e9,
            error=cell_error(live, result, status),
            reads=touched.reads,
            binds=touched.binds,
            mutates=touched.mutates,
            deletes=touched.deletes,
            flags=_late_flags(live),
            execution_count=_count_of(live, result),
        )
        self._shown_in_terminal(live, result)
        live.watch = None
        with guard("listener"):
            self._listener.execution_ended(live, event)

    def _touched(self, live: LiveExecution, status: str) -> Touched:
        if live.watch is None or status == "syntax":
            return Touched()
        touched = Touched()
        with guard("names"):
            touched = live.watch.finish(self._origins, is_complete=status == "ok")
            self._origins.update(live.names, touched.binds)
            if live.parent is not None and live.parent.watch is not None:
                live.parent.watch.take(touched)
        return touched

    def _cpu_ns(self) -> int:
        """CPU time so far: of the process for its main thread, so that libraries' threads count."""
        if threading.get_ident() == self._main:
            return time.process_time_ns()
        return time.thread_time_ns()

    # --- outputs -------------------------------------------------------------------------------

    def _innermost_trail(self) -> Trail | None:
        stack = self._stacks.get(threading.get_ident())
        return stack[-1].trail if stack else None

    def _output(self, event: OutputSeen) -> None:
        self._listener.output_seen(event)

    def _shown_in_terminal(self, live: LiveExecution, result: object) -> None:
        """Without a kernel no message carries the last expression; IPython keeps its text."""
        count = _count_of(live, result)
        if live.request or count is None or getattr(result, "result", None) is None:
            return
        text = self._shell.history_manager.output_hist_reprs.get(count)
        if text is not None:
            self._tap.take_bundle(live.trail, "result", {"data": {"text/plain": text}})


def _flags(
    info: object, names: CellNames, parent: LiveExecution | None, given: tuple[str, ...]
) -> tuple[str, ...]:
    flags = [*given]
    if names.is_dynamic:
        flags.append("dynamic")
    if parent is not None:
        flags.append("nested")
    if not getattr(info, "store_history", False):
        flags.append("no-history")
    return tuple(flags)


def _late_flags(live: LiveExecution) -> tuple[str, ...]:
    """What is known only afterwards: functions that run text, silent runs inside."""
    is_wide = live.watch is not None and live.watch.is_wide
    return ("dynamic",) if is_wide and not live.names.is_dynamic else ()


def _count_of(live: LiveExecution, result: object) -> int | None:
    """The number in brackets beside the cell, known only after it ran."""
    if not getattr(live.info, "store_history", False):
        return None
    count = getattr(result, "execution_count", None)
    return int(count) if count is not None else None


def _running_info() -> object:
    """The record of the cell that is running now, outermost one of this thread, None if none."""
    found = None
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to learn of a cell that began before us
    for _ in range(_MAX_FRAMES):
        if frame.f_code.co_name == "run_cell_async":
            info = frame.f_locals.get("info")
            if info is not None and hasattr(info, "raw_cell"):
                found = info
        if frame.f_back is None:
            break
        frame = frame.f_back
    return found
