"""The papermill engine: nbclient's execution, with tracking, at nbclient's speed.

What goes into the kernel
-------------------------
Two silent requests, by their ``user_expressions`` so that no name is left in the notebook's
namespace: ``mlops_nb.session.start_batch(info)`` before the first cell and
``mlops_nb.session.end_batch(info)`` after the last one; see `Batch` for what they are told.
Every execute request carries ``metadata = {"cellId": id, "mlops_nb": {"cell": index}}``, and the
kernel's environment has ``MLOPS_NB_BATCH=1``, ``MLOPS_NB_NOTEBOOK`` and ``MLOPS_NB_RUN``.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from queue import Empty
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_core.utils import ensure_async, run_sync
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine
from papermill.log import logger
from papermill.utils import merge_kwargs, remove_args

from mlops_nb.errors import KernelNotReady, MissingKernel
from mlops_nb.papermill_engine.batch import Batch, record_from_outside
from mlops_nb.papermill_engine.capping import StreamCap
from mlops_nb.papermill_engine.overlapping import OverlappingRun, can_overlap
from mlops_nb.papermill_engine.parameters import LANGUAGE, with_plain_metadata
from mlops_nb.papermill_engine.saving import PartialNotebook
from mlops_nb.papermill_engine.signals import answering_signals, sigterm_as_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DEFAULT_KERNEL = "python3"
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0
INTERRUPT_TIMEOUT_S = 5.0
RETRY_AFTER_S = 0.05

_START = "{'run': session.start_batch(info), 'store': session.active().store_name}"
_END = "{'ended': session.end_batch(info), 'deaf': session.ignore_interrupts()}"


class Engine(NBClientEngine):  # type: ignore[misc]
    """``papermill --engine mlops_nb``: the notebook is one tracked run.

    Beside papermill's own arguments, `papermill.execute_notebook` passes on `batch`, a mapping
    with any of ``name``, ``experiment``, ``tags``, ``store`` and ``run``, and `on_progress`,
    called with (cell index, number of cells, ``started`` | ``done`` | ``failed``).
    """

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool | dict[str, Any] = True,
        log_output: bool = False,
        autosave_cell_every: int = 30,
        on_progress: Callable[[int, int, str], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run all cells of a notebook, as papermill asks an engine to.

        Returns
        -------
        nbformat.NotebookNode
            The executed notebook; after a failed cell, with what ran until then. Papermill raises
            `PapermillExecutionError` from it.
        """
        with_plain_metadata(nb)
        partial = PartialNotebook(
            nb,
            output_path=output_path,
            progress_bar=progress_bar,
            log_output=log_output,
            autosave_cell_every=autosave_cell_every,
            on_progress=on_progress,
        )
        partial.notebook_start()
        try:
            with sigterm_as_exit():
                cls.execute_managed_notebook(partial, kernel_name, log_output=log_output, **kwargs)
        finally:
            partial.cleanup_pbar()
            partial.notebook_complete()
        return partial.nb

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: PartialNotebook,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        input_path: object = None,
        batch: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Run the cells in a kernel of their own; arguments as papermill's."""
        arguments = merge_kwargs(
            remove_args(["timeout", "startup_timeout"], **kwargs),
            timeout=execution_timeout or kwargs.get("timeout"),
            startup_timeout=start_timeout,
            kernel_name=kernel_name,
            log=logger,
            log_output=log_output,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
        )
        told = Batch.of(nb_man.nb, input_path, nb_man.output_path, batch or {})
        try:
            cls.client(nb_man, told, **arguments).execute()
        except NoSuchKernel:
            installed = tuple(sorted(KernelSpecManager().find_kernel_specs()))
            raise MissingKernel(told.shown, kernel_name, installed) from None

    @classmethod
    def client(cls, nb_man: PartialNotebook, told: Batch, **arguments: Any) -> BatchClient:
        """Make what runs the cells; arguments as nbclient's."""
        return BatchClient(nb_man, told, **arguments)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """Find the kernel that a notebook asks for, tolerant of what is out there."""
        spec = nb.metadata.get("kernelspec") or {}
        found = spec if isinstance(spec, str) else spec.get("name")
        return name or found or DEFAULT_KERNEL

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Find the language of a notebook; one that says nothing is taken for Python.

        Papermill asks for it to find who writes the parameters: for Python that is us.
        """
        info, spec = nb.metadata.get("language_info"), nb.metadata.get("kernelspec")
        named = info.get("name") if isinstance(info, dict) else None
        kernel = spec.get("language") if isinstance(spec, dict) else None
        found = language or named or kernel or "python"
        return LANGUAGE if found == "python" else found


class BatchClient(PapermillNotebookClient):  # type: ignore[misc]
    """Runs the cells of one notebook as one run."""

    start_expression = _START

    def __init__(self, nb_man: PartialNotebook, batch: Batch, **arguments: Any) -> None:
        super().__init__(nb_man, **arguments)
        self.batch = batch
        self.run: dict[str, Any] | None = None
        self._cap = StreamCap() if batch.kind == "step" else None
        self._work: asyncio.Future[None] | None = None
        self._is_stopping = False
        self._stopped_by: int | None = None
        self._stopping: asyncio.Future[None] | None = None

    def execute(self, **kwargs: Any) -> Any:
        """Start a kernel, run the cells, stop the kernel.

        Returns
        -------
        nbformat.NotebookNode
            The executed notebook.
        """
        self.reset_execution_trackers()
        is_ready = False
        try:
            with self.setup_kernel(env=self.batch.environment(os.environ), **kwargs):
                is_ready = True
                self.log.info("Executing notebook with kernel: %s", self.kernel_name)
                self._execute_or_record()
        except RuntimeError as error:
            if is_ready:
                raise
            raise KernelNotReady(self.batch.shown, self.kernel_name, str(error)) from error
        return self.nb

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Take in an output, as far as there may be more of it."""
        allowed = msg if self._cap is None else self._cap.allowed(msg, cell_index)
        return None if allowed is None else super().process_message(allowed, cell, cell_index)

    def _execute_or_record(self) -> None:
        """Run everything; where the kernel could not track, record what is known out here."""
        started_ns = time.time_ns()
        try:
            self._execute_in_kernel()
        finally:
            if self.run is None:
                error = _error_of(sys.exc_info()[1]) or self.batch.error_in(self.nb)
                record_from_outside(self.batch, started_ns, time.time_ns(), error)
                self.nb.metadata.setdefault("mlops_nb", {"run": self.batch.run})

    def _execute_in_kernel(self) -> None:
        """Run everything; raise what ended it, Ctrl-C and SIGTERM included."""
        try:
            number = run_sync(self._execute_all)()
        except (KeyboardInterrupt, SystemExit):
            # In a thread, or where somebody else answers signals, they come as exceptions.
            run_sync(self._wind_down)()
            raise
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number is not None:
            raise SystemExit(128 + number)

    async def _execute_all(self) -> int | None:
        """Run the cells and end the run; gives the number of the signal that came between."""
        self._work = asyncio.ensure_future(self._start_and_run())
        with answering_signals(self._stop):
            await asyncio.wait([self._work])
        if self._is_stopping:
            await self._end_interrupted()
            return self._stopped_by
        self._work.result()
        error = self.batch.error_in(self.nb)
        await self._end("failed" if error else "finished", error)
        return None

    async def _start_and_run(self) -> None:
        await self._start()
        clock = asyncio.ensure_future(self.nb_man.save_on_clock())
        try:
            await self._run_cells()
            await self._note_language()
        except CellTimeoutError as error:
            # The kernel is still busy, and has to be free to hear that the run is over.
            await self._interrupt()
            await self._end("failed", _error_of(error), timeout_s=INTERRUPT_TIMEOUT_S)
            raise
        finally:
            clock.cancel()

    async def _run_cells(self) -> None:
        """Run the cells in order, up to the first that fails."""
        run = OverlappingRun(self).run if can_overlap(self) else self._run_one_by_one
        try:
            await run()
        except CellExecutionError:
            return  # Papermill finds the error in the cell's outputs.

    async def _run_one_by_one(self) -> None:
        for index, cell in enumerate(self.nb.cells):
            self.nb_man.cell_start(cell, index)
            try:
                with self.telling(cell, index):
                    await self.async_execute_cell(cell, index)
            except BaseException:
                self.nb_man.cell_exception(cell, cell_index=index)
                raise
            finally:
                self.nb_man.cell_complete(cell, cell_index=index)

    @contextmanager
    def telling(self, cell: Any, index: int) -> Iterator[None]:
        """Have every message that is sent say which cell it is about."""
        self.kc.session.metadata = {"cellId": cell.get("id"), "mlops_nb": {"cell": index}}
        try:
            yield
        finally:
            self.kc.session.metadata = {}

    async def check_alive(self) -> None:
        """Raise `DeadKernelError` if the kernel is gone."""
        await self._async_check_alive()

    async def _note_language(self) -> None:
        message = await self.async_wait_for_reply(await ensure_async(self.kc.kernel_info()))
        if message is not None and "language_info" in message["content"]:
            self.nb.metadata["language_info"] = message["content"]["language_info"]
        self.set_widgets_metadata()

    # Tracking.

    async def _start(self) -> None:
        """Turn tracking on in the kernel; without it the notebook runs all the same."""
        reply = await self._call(self.start_expression, self.batch.start_info(), START_TIMEOUT_S)
        if "error" in reply:
            logger.warning(_why_untracked(self.kernel_name, reply))
            return
        self.run = self.nb.metadata["mlops_nb"] = reply

    async def _end(
        self, status: str, error: Mapping[str, Any] | None, *, timeout_s: float = END_TIMEOUT_S
    ) -> None:
        """Save the notebook, and have the run ended before the kernel stops."""
        self.nb_man.notebook_complete()
        if self.run is None:
            return
        info = self.batch.end_info(status, error)
        reply = await self._call(_END, info, timeout_s)
        if "error" in reply:
            logger.warning(f"The run may be shown as lost: {reply['error']}")

    async def _call(
        self, expression: str, info: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Any]:
        """Evaluate an expression in the kernel, without a trace in the notebook."""
        if not self.batch.speaks_python(self.km):
            return {"error": "it is not a Python kernel", "type": "language"}
        request = {
            "code": "",
            "silent": True,
            "store_history": False,
            "user_expressions": {"mlops_nb": _expression(expression, info)},
            "allow_stdin": False,
        }
        deadline = time.monotonic() + timeout_s
        while True:
            message = await self._reply(await ensure_async(self.kc.execute(**request)), deadline)
            if message is None:
                return {"error": f"no answer within {timeout_s:.0f} s", "type": "timeout"}
            if message["content"].get("status") not in {"aborted", "abort"}:
                return _result_of(message["content"])
            # After a failed cell a kernel throws away what is already on its way to it.
            await asyncio.sleep(RETRY_AFTER_S)

    async def _reply(self, request: str, deadline: float) -> dict[str, Any] | None:
        """Wait for the answer to a request of ours, as long as the kernel lives."""
        while time.monotonic() < deadline:
            try:
                message: dict[str, Any] = await ensure_async(
                    self.kc.shell_channel.get_msg(timeout=1)
                )
            except Empty:
                await self.check_alive()
                continue
            if message["parent_header"].get("msg_id") == request:
                return message
        return None

    # Being stopped.

    def _stop(self, number: int) -> None:
        """Answer a signal: the first interrupts the cell, a second one no longer waits for it."""
        if self._work is None or self._work.done():
            return
        if self._is_stopping:
            self._work.cancel()
            return
        self._is_stopping, self._stopped_by = True, number
        self._stopping = asyncio.ensure_future(self._interrupt_work())

    async def _interrupt_work(self) -> None:
        """Interrupt the cell and take its last outputs; it may take no notice."""
        await self._interrupt()
        if self._work is not None and not self._work.done():
            await asyncio.wait([self._work], timeout=INTERRUPT_TIMEOUT_S)
            self._work.cancel()

    async def _wind_down(self) -> None:
        """Do after an exception in the middle of everything what `_stop` does in good order."""
        self._is_stopping = True
        await self._interrupt_work()
        await self._end_interrupted()

    async def _end_interrupted(self) -> None:
        told = {"type": "KeyboardInterrupt", "message": ""}
        try:
            await self._end("interrupted", told, timeout_s=INTERRUPT_TIMEOUT_S)
        except DeadKernelError:
            logger.warning("The kernel is gone, so its run will be shown as lost.")

    async def _interrupt(self) -> None:
        if self.km is not None and await ensure_async(self.km.is_alive()):
            await ensure_async(self.km.interrupt_kernel())


def _expression(body: str, info: Mapping[str, Any]) -> str:
    """Write one expression over `session` and `info` that gives back JSON, and binds no name."""
    told = json.dumps(info, default=str)
    return (
        f"(lambda json, session: (lambda info: json.dumps({body}))(json.loads({told!r})))"
        "(__import__('json'), __import__('mlops_nb.session', fromlist=['session']))"
    )


def _result_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Read what an expression gave in the kernel: its mapping, or ``error`` and ``type``."""
    answer = content.get("user_expressions", {}).get("mlops_nb", content)
    if answer.get("status") != "ok" or "data" not in answer:
        name, text = answer.get("ename", "unknown"), answer.get("evalue", "")
        return {"error": f"{name}: {text}", "type": name}
    value = json.loads(ast.literal_eval(answer["data"]["text/plain"]))
    return value if isinstance(value, dict) else {}


def _why_untracked(kernel: str, reply: Mapping[str, Any]) -> str:
    """Say in one warning why the cells are not tracked, and what to do."""
    known = "Only parameters, status and duration of the run are recorded."
    if reply["type"] == "language":
        return f'Kernel "{kernel}" does not run Python, so its cells are not tracked. {known}'
    if reply["type"] == "ModuleNotFoundError" and "mlops_nb" in reply["error"]:
        return (
            f'Kernel "{kernel}" has no mlops_nb, so its cells are not tracked. {known} '
            "Install it in the kernel's environment: pip install mlops-nb"
        )
    return f"Tracking did not start ({reply['error']}). {known}"


def _error_of(error: BaseException | None) -> dict[str, Any] | None:
    """Put an exception of the execution into the run's terms."""
    if error is None:
        return None
    text = str(error).strip().splitlines()
    return {"type": type(error).__name__, "message": text[0] if text else "", "cell": None}
