"""Running cells with the kernel never waiting for us.

nbclient sends the next cell when it has seen everything of the last one. Here the next cell is
sent as soon as the last one's reply says that it is done and well, and its outputs are taken in
while the kernel works on. A cell still starts only after the one before it has ended.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from queue import Empty
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async
from nbclient.client import timestamp
from nbclient.exceptions import CellExecutionComplete, CellExecutionError, CellTimeoutError

if TYPE_CHECKING:
    from mlops_nb.papermill_engine.engine import BatchClient

ALIVE_EVERY_S = 1.0
LAST_OUTPUTS_S = 0.5

_HOOKS = ("on_cell_start", "on_cell_execute", "on_cell_complete", "on_cell_executed")
_HANDLED_ELSEWHERE = (
    *_HOOKS,
    "on_cell_error",
    "timeout",
    "timeout_func",
    "coalesce_streams",
    "log_output",
)


@dataclass(slots=True)
class _Sent:
    """A cell that the kernel has, until everything of it is in."""

    cell: Any
    index: int
    request: str
    idle: asyncio.Future[None]
    is_well: bool = False


def can_overlap(client: BatchClient) -> bool:
    """Whether nothing is asked for that hangs on the order of nbclient's own steps."""
    return not any(getattr(client, name, None) for name in _HANDLED_ELSEWHERE)


class OverlappingRun:
    """One pass over the cells of a notebook."""

    def __init__(self, client: BatchClient) -> None:
        self._client = client
        self._partial = client.nb_man
        self._sent: dict[str, _Sent] = {}
        self._listening: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Run the cells in order, up to the first that fails.

        Raises
        ------
        CellExecutionError
            Of that cell; all its outputs are in.
        DeadKernelError, CellTimeoutError
            The kernel died, or its outputs stopped coming.
        """
        self._client.clear_before_next_output = False
        self._listening = asyncio.ensure_future(self._listen())
        try:
            for index, cell in enumerate(self._client.nb.cells):
                await self._run_cell(cell, index)
            await self._all_in()
        finally:
            self._listening.cancel()

    async def _run_cell(self, cell: Any, index: int) -> None:
        self._partial.cell_start(cell, index)
        if not self._is_run(cell):
            self._partial.cell_complete(cell, index)
            return
        try:
            sent = await self._send(cell, index)
            await self._check(cell, await self._reply(sent))
        except BaseException:
            await self._complete_earlier()
            self._partial.cell_exception(cell, cell_index=index)
            self._partial.cell_complete(cell, index)
            raise
        sent.is_well = True
        if sent.idle.done():
            self._partial.cell_complete(cell, index)
        await self._all_in(but=sent)

    def _is_run(self, cell: Any) -> bool:
        tags = cell.metadata.get("tags", [])
        is_code = cell.cell_type == "code" and bool(cell.source.strip())
        return is_code and self._client.skip_cells_with_tag not in tags

    async def _send(self, cell: Any, index: int) -> _Sent:
        """Give the kernel a cell; it is told which one by the request's metadata."""
        client = self._client
        cell.outputs = []
        cell.metadata["execution"] = {}
        with client.telling(cell, index):
            stops = not self._may_fail(cell)
            request = await ensure_async(client.kc.execute(cell.source, stop_on_error=stops))
        client.code_cells_executed += 1
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sent[request] = sent = _Sent(cell, index, request, idle)
        return sent

    async def _reply(self, sent: _Sent) -> dict[str, Any]:
        """Wait until the kernel says how the cell ended."""
        while True:
            try:
                message: dict[str, Any] = await ensure_async(
                    self._client.kc.shell_channel.get_msg(timeout=ALIVE_EVERY_S)
                )
            except Empty:
                await self._client.check_alive()
                self._raise_if_deaf()
                continue
            if message["parent_header"].get("msg_id") == sent.request:
                sent.cell.metadata["execution"]["shell.execute_reply"] = timestamp(message)
                return message

    def _may_fail(self, cell: Any) -> bool:
        client = self._client
        is_tagged = "raises-exception" in cell.metadata.get("tags", [])
        return not client.force_raise_errors and (client.allow_errors or is_tagged)

    async def _check(self, cell: Any, reply: dict[str, Any]) -> None:
        """Raise what the cell has raised, unless that is allowed."""
        content = reply["content"]
        if content["status"] != "error" or self._may_fail(cell):
            return
        is_named = content.get("ename") in self._client.allow_error_names
        if self._client.force_raise_errors or not is_named:
            await self._all_in()
            raise CellExecutionError.from_cell_and_msg(cell, content)

    # Outputs.

    async def _listen(self) -> None:
        """Take in outputs, each for the cell it belongs to."""
        client = self._client
        while True:
            message = await ensure_async(client.kc.iopub_channel.get_msg(timeout=None))
            sent = self._sent.get(message["parent_header"].get("msg_id"))
            if sent is None:
                continue
            try:
                client.process_message(message, sent.cell, sent.index)
            except CellExecutionComplete:
                self._close(sent)

    def _close(self, sent: _Sent) -> None:
        """Note that a cell's last output is in."""
        del self._sent[sent.request]
        self._client.clear_before_next_output = False
        sent.idle.set_result(None)
        if sent.is_well:
            self._partial.cell_complete(sent.cell, sent.index)

    async def _all_in(self, *, but: _Sent | None = None) -> None:
        """Wait for the last outputs of the cells that have ended, all or all but one."""
        waiting = [sent for sent in self._sent.values() if sent is not but]
        if not waiting:
            return
        await asyncio.wait([sent.idle for sent in waiting], timeout=self._client.iopub_timeout)
        self._raise_if_deaf()
        for sent in waiting:
            if not sent.idle.done():
                raise CellTimeoutError.error_from_timeout_and_cell(
                    "Timeout waiting for IOPub output", self._client.iopub_timeout, sent.cell
                )

    async def _complete_earlier(self) -> None:
        """Settle the cell whose reply was well, if a kernel dies on the next one.

        Its last outputs may be on their way still, or gone with the kernel's sockets.
        """
        ended = [sent for sent in self._sent.values() if sent.is_well]
        if ended:
            await asyncio.wait([sent.idle for sent in ended], timeout=LAST_OUTPUTS_S)
        for sent in ended:
            if not sent.idle.done():
                self._partial.cell_complete(sent.cell, sent.index)

    def _raise_if_deaf(self) -> None:
        """Raise what ended the listening, if anything did."""
        if self._listening is not None and self._listening.done():
            self._listening.result()
