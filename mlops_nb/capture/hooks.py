"""IPython's events in, executions out.

An execution is opened in ``pre_run_cell`` and closed in ``post_run_cell``. The two need not come
in pairs: an empty cell gives the second without the first, nested runs give them interleaved, a
kernel's subshells run on threads of their own, and after an interrupt the second may bring
another record or none. So open executions are kept on a stack for each thread and found again by
the very `ExecutionInfo` that opened them.

Between the two IPython parses the cell. Its tree, and the file name it compiles under, are taken
from there: parsing again would cost as much as half of everything done here.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from mlops_nb import source
from mlops_nb.capture.dataflow import NOTHING, Touched, Watch, touched_earlier
from mlops_nb.capture.failures import cell_error, status_of
from mlops_nb.capture.follow import follow
from mlops_nb.capture.guard import guard
from mlops_nb.capture.outputs import OutputTap, Trail
from mlops_nb.capture.values import Origins
from mlops_nb.config import Settings
from mlops_nb.model import ExecutionEnded, ExecutionStarted, new_record_id
from mlops_nb.redact import known, redact

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Mapping

    from mlops_nb.capture.outputs import Caps
    from mlops_nb.model import ExecutionStatus, Json, OutputSeen

NO_NAMES = source.CellNames()
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
    event
        What was told when it began.
    names
        What its text touches.
    filename
        The ``co_filename`` of its code, to know its frames by.
    cell_id, cell_meta
        From the request; None where the frontend sends none.
    parent
        The execution it runs inside of.
    result
        IPython's `ExecutionResult`, None until the execution has ended.
    """

    __slots__ = (
        "cell_meta",
        "cpu_ns",
        "event",
        "filename",
        "flags",
        "info",
        "names",
        "parent",
        "request",
        "result",
        "silent_runs",
        "started_ns",
        "trail",
        "watch",
    )

    event: ExecutionStarted

    def __init__(self, info: object, parent: LiveExecution | None, request: str) -> None:
        self.info = info
        self.parent = parent
        self.request = request
        self.cell_meta: Mapping[str, Json] | None = getattr(info, "cell_meta", None)
        self.flags: tuple[str, ...] = ()
        self.names = NO_NAMES
        self.filename = ""
        self.result: object = None
        self.trail = Trail(new_record_id())
        self.watch: Watch | None = None
        self.silent_runs = 0
        self.started_ns = 0
        self.cpu_ns = 0

    @property
    def id(self) -> str:
        """Id of the execution."""
        return self.event.id

    def reachable(self) -> list[object] | None:
        """Values that it can get at by name, as they are bound now; None for anything."""
        return None if self.watch is None else self.watch.reachable()

    @property
    def order(self) -> int:
        """Position in the session, from 1."""
        return self.event.order

    @property
    def cell_id(self) -> str | None:
        """Id of the cell in the notebook."""
        return self.event.cell_id

    @property
    def is_open(self) -> bool:
        """Whether its beginning has been told."""
        return self.watch is not None


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
        self._undo: Callable[[], None] | None = None
        self._waits_for_tree = True

    # --- on and off ----------------------------------------------------------------------------

    def install(self) -> None:
        """Hook into the shell; the cell that is running now is taken up, from here on."""
        if self._undo is not None:
            return
        self._undo = follow(self._shell.compile, "ast_parse", self._parsed, what="executions")
        self._tap.install()
        for event, callback in self._events:
            self._shell.events.register(event, callback)
        running, self._running = self._running, None
        if running is not None and not getattr(running, "silent", False):
            with guard("executions"):
                live = self._push(running)
                live.flags = ("joined",)
                self._open_by_itself(live)

    def uninstall(self) -> None:
        """Leave the shell as it was; executions that are open are ended."""
        if self._undo is None:
            return
        for event, callback in self._events:
            with guard("uninstall"):
                self._shell.events.unregister(event, callback)
        for stack in list(self._stacks.values()):
            while stack:
                with guard("executions"):
                    self._close(stack.pop(), None, "ok")
        self._tap.uninstall()
        self._undo()
        self._undo = None

    @property
    def current(self) -> LiveExecution | None:
        """The innermost execution of this thread, else of the shell's main thread."""
        stack = self._stacks.get(threading.get_ident()) or self._stacks.get(self._main)
        return stack[-1] if stack and stack[-1].is_open else None

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
        live = LiveExecution(None, None, "")
        live.names = names
        live.filename = self._filename_of(raw, raw, order)
        live.event = ExecutionStarted(
            id=live.trail.execution,
            session=self._session,
            order=order,
            at_ns=at_ns,
            source=redact(raw, learn=True),
            code_digest=source.code_digest(raw),
            execution_count=order,
            flags=("dynamic",) if names.is_dynamic else (),
            is_inferred=True,
        )
        touched = touched_earlier(self._shell.user_ns, names, self._shell.user_ns_hidden)
        self._origins.update(names, touched.binds)
        self._listener.execution_started(live)
        ended = ExecutionEnded(
            id=live.id,
            at_ns=at_ns,
            status="ok",
            duration_s=0.0,
            cpu_s=0.0,
            execution_count=order,
            reads=touched.reads,
            binds=touched.binds,
            mutates=touched.mutates,
            deletes=touched.deletes,
        )
        self._listener.execution_ended(live, ended)

    # --- events --------------------------------------------------------------------------------

    @guard("executions")
    def _before_any(self) -> None:
        """Something runs, perhaps silently; inside of a cell its names count as the cell's."""
        stack = self._stacks.get(threading.get_ident())
        if stack and stack[-1].watch is not None:
            stack[-1].watch.widen()
            stack[-1].silent_runs += 1

    @guard("executions")
    def _before(self, info: object) -> None:
        """A cell is about to be parsed; it is opened when that is done."""
        live = self._push(info)
        if live.parent is not None:
            live.parent.silent_runs -= 1
        if not (self._waits_for_tree and getattr(info, "shell_futures", True)):
            self._open_by_itself(live)

    def _parsed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], tree: ast.Module) -> None:
        """IPython has parsed something: the cell that waits, if one does."""
        stack = self._stacks.get(threading.get_ident())
        if not stack or stack[-1].is_open:
            return
        filename = kwargs.get("filename") or (args[1] if len(args) > 1 else "")
        self._open(stack[-1], str(args[0]), str(filename), tree)

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

    def _push(self, info: object) -> LiveExecution:
        request, kind = self._tap.request()
        stack = self._stacks.setdefault(threading.get_ident(), [])
        if stack and kind == "execute_request" and stack[-1].request != request:
            self._abandon(stack)
        live = LiveExecution(info, stack[-1] if stack else None, request)
        if request and not stack:
            self._tap.follow(request, live.trail)
        stack.append(live)
        return live

    def _abandon(self, stack: list[LiveExecution]) -> None:
        """End what was never ended, since another request is running already."""
        while stack:
            self._close(stack.pop(), None, "interrupted")

    def _open_by_itself(self, live: LiveExecution) -> None:
        """Open an execution whose tree IPython does not show us."""
        raw = str(getattr(live.info, "raw_cell", ""))
        text = getattr(live.info, "transformed_cell", None)
        if text is None:
            text = source.transform(raw, self._shell)
        counted = getattr(live.info, "store_history", False) and _counts_first()
        number = int(self._shell.execution_count) - (1 if counted else 0)
        self._open(live, str(text), self._filename_of(raw, str(text), number), None)

    def _filename_of(self, raw: str, text: str, number: int) -> str:
        with guard("filename"):
            return str(self._shell.compile.get_code_name(raw, text, number))
        return ""

    def _open(
        self, live: LiveExecution, text: str, filename: str, tree: ast.Module | None
    ) -> None:
        live.names = source.analyse(text, tree)
        live.filename = filename
        live.event = self._started(live, text)
        shell = self._shell
        live.watch = Watch(shell.user_ns, live.names, shell.user_ns_hidden)
        with guard("listener"):
            self._listener.execution_started(live)
        self._tap.release(live.trail)
        live.cpu_ns, live.started_ns = self._cpu_ns(), time.perf_counter_ns()

    def _started(self, live: LiveExecution, text: str) -> ExecutionStarted:
        raw = str(getattr(live.info, "raw_cell", ""))
        known.look_at_variables()
        with self._lock:
            self._order += 1
            order = self._order
        differs = text.rstrip("\n") != raw.rstrip("\n") and text.strip() != raw.strip()
        return ExecutionStarted(
            id=live.trail.execution,
            session=self._session,
            order=order,
            at_ns=time.time_ns(),
            source=redact(raw, learn=True),
            code_digest="",
            transformed=redact(text) if differs else None,
            parent=live.parent.id if live.parent is not None else None,
            cell_id=getattr(live.info, "cell_id", None),
            flags=_flags(live),
        )

    def _close(
        self,
        live: LiveExecution,
        result: object,
        status: ExecutionStatus,
        ended_ns: int | None = None,
        cpu_ns: int | None = None,
    ) -> None:
        live.result = result
        if not live.is_open:
            # A cell that cannot be parsed; another one means that IPython no longer parses
            # where we follow it, and from the next cell on we do it ourselves.
            self._waits_for_tree = status == "syntax" or _failed_early(result)
            self._open_by_itself(live)
        ended_ns = max(ended_ns or time.perf_counter_ns(), live.started_ns)
        cpu_ns = max(cpu_ns or self._cpu_ns(), live.cpu_ns)
        touched = self._touched(live, status)
        event = ExecutionEnded(
            id=live.id,
            at_ns=time.time_ns(),
            status=status,
            duration_s=(ended_ns - live.started_ns) / 1e9,
            cpu_s=(cpu_ns - live.cpu_ns) / 1e9,
            error=cell_error(live, result, status) if status != "ok" else None,
            flags=_late_flags(live),
            execution_count=_count_of(live, result),
            reads=touched.reads,
            binds=touched.binds,
            mutates=touched.mutates,
            deletes=touched.deletes,
        )
        self._shown_in_terminal(live, result)
        with guard("listener"):
            self._listener.execution_ended(live, event)
        live.watch = None

    def _touched(self, live: LiveExecution, status: str) -> Touched:
        if live.watch is None or status == "syntax":
            return NOTHING
        touched = NOTHING
        with guard("names"):
            touched = live.watch.finish(self._origins, is_complete=status == "ok")
            self._origins.update(live.names, touched.binds)
            if live.parent is not None and live.parent.watch is not None:
                live.parent.watch.take(touched)
        return touched

    def _cpu_ns(self) -> int:
        """CPU time so far; on the main thread all of the process, as libraries have threads."""
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


def _flags(live: LiveExecution) -> tuple[str, ...]:
    flags = live.flags
    if live.names.is_dynamic:
        flags += ("dynamic",)
    if live.parent is not None:
        flags += ("nested",)
    if not getattr(live.info, "store_history", False):
        flags += ("no-history",)
    return flags


def _late_flags(live: LiveExecution) -> tuple[str, ...]:
    """What is known only afterwards: functions that run text, silent runs inside."""
    is_dynamic = live.silent_runs > 0 or (live.watch is not None and live.watch.is_dynamic)
    return ("dynamic",) if is_dynamic and not live.names.is_dynamic else ()


def _failed_early(result: object) -> bool:
    return getattr(result, "error_before_exec", None) is not None


def _counts_first() -> bool:
    import IPython

    return int(IPython.version_info[0]) >= 9  # noqa: PLR2004


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
