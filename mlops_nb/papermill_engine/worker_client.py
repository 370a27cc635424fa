"""A worker as nbclient sees it: a kernel manager and a kernel client over one socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import string
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from jupyter_client.session import Session

from mlops_nb.papermill_engine.frames import Unpacker, packed
from mlops_nb.papermill_engine.servers import Wanted, start_worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_client.kernelspec import KernelSpec

    from mlops_nb.papermill_engine.servers import Worker

END_TIMEOUT_S = 5.0
"""How long a worker may take to end by itself, as jupyter_client gives a kernel."""

_BLOCK_BYTES = 1 << 18
_MOST_DROPPED = 64
_MOST_UNREAD = 2_000
"""Messages that are taken in before somebody wants them; then the worker has to wait."""


class WorkerManager:
    """Starts, interrupts and ends a worker; as nbclient asks a kernel's manager.

    Parameters
    ----------
    spec
        Of the kernel that the worker stands for.
    kernel_name
        Its name.
    imports
        Modules that the worker is to have already.
    """

    ipykernel = True

    def __init__(self, spec: KernelSpec, kernel_name: str, imports: tuple[str, ...]) -> None:
        self.kernel_spec, self.kernel_name = spec, kernel_name
        self.kernel_id = None
        self._imports = imports
        self._worker: Worker | None = None
        self._link: Link | None = None
        self._file: Path | None = None

    @property
    def has_kernel(self) -> bool:
        """Whether a worker has been started."""
        return self._worker is not None

    @property
    def pid(self) -> int | None:
        """Of the worker's process."""
        return None if self._worker is None else self._worker.pid

    def start_kernel(
        self,
        *,
        extra_arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        **_: object,
    ) -> None:
        """Fork a worker.

        Raises
        ------
        FileNotFoundError
            The folder does not exist.
        ForkRefused
            Nothing can be forked for this notebook.
        """
        # As a new process does, which says so before anything has started.
        folder = os.fspath(cwd or Path.cwd())
        os.stat(folder)  # noqa: PTH116
        variables = dict(os.environ if env is None else env)
        for name, text in (self.kernel_spec.env or {}).items():
            variables[name] = string.Template(text).safe_substitute(variables)
        variables["JPY_PARENT_PID"] = str(os.getpid())
        argv = self.kernel_spec.argv
        flags = argv[1 : argv.index("-m")]
        key = uuid4().hex
        self._worker = start_worker(
            Wanted(
                python=(sys.executable, *flags),
                environ=variables,
                folder=str(Path(folder).absolute()),
                options=tuple(extra_arguments),
                arguments=tuple(extra_arguments),
                connection_file=self._written(),
                key=key,
                imports=self._imports,
            )
        )
        self._link = Link(self._worker, key)

    def _written(self) -> str:
        """Write down the kernel's name, where others look for it."""
        descriptor, name = tempfile.mkstemp(suffix=".json")
        self._file = Path(name)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump({"kernel_name": self.kernel_name}, file)
        return name

    def client(self) -> WorkerClient:
        """Make the client."""
        assert self._link is not None  # noqa: S101  # nbclient starts before it asks
        return WorkerClient(self._link)

    def is_alive(self) -> bool:
        """Whether the worker runs."""
        return self._worker is not None and not self._worker.has_ended()

    def interrupt_kernel(self) -> None:
        """Interrupt the cell that runs."""
        if self._worker is not None:
            self._worker.signal(signal.SIGINT)

    async def shutdown_kernel(self, *, now: bool = False) -> None:
        """End the worker: it is asked to, and killed if it does not."""
        worker, link = self._worker, self._link
        if worker is None or link is None:
            return
        if not now:
            link.send([b"end"])
            deadline = time.monotonic() + END_TIMEOUT_S
            while time.monotonic() < deadline and not worker.has_ended(0.05):
                link.drop()
                await asyncio.sleep(0)
        if not worker.has_ended():
            worker.signal(signal.SIGKILL)
            worker.has_ended(END_TIMEOUT_S)

    def cleanup_resources(self, **_: object) -> None:
        """Let go of the worker."""
        if self._link is not None:
            self._link.close()
        if self._worker is not None:
            self._worker.close()
        self._worker = self._link = None
        if self._file is not None:
            self._file.unlink(missing_ok=True)


class Link:
    """The messages of one worker, read as they come and kept until they are wanted."""

    def __init__(self, worker: Worker, key: str) -> None:
        self.worker, self.key = worker, key
        self._socket = worker.channel
        self._socket.setblocking(False)
        self._unpacker = Unpacker()
        self._unread: dict[bytes, deque[list[bytes]]] = {}
        self._waiting: dict[bytes, deque[asyncio.Future[None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_closed = False

    def send(self, parts: Sequence[bytes]) -> None:
        """Send a message to the worker; one that is gone takes none."""
        data = packed(parts)
        self._socket.settimeout(END_TIMEOUT_S)
        try:
            self._socket.sendall(data)
        except OSError:
            self.is_closed = True
        finally:
            with suppress(OSError):
                self._socket.setblocking(False)

    async def next(self, kind: bytes, timeout_s: float | None) -> list[bytes]:
        """Take the next message of a kind.

        Raises
        ------
        queue.Empty
            None has come in time, or none can come any more.
        """
        unread = self._unread.setdefault(kind, deque())
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not unread:
            left = None if deadline is None else deadline - time.monotonic()
            if self.is_closed or (left is not None and left <= 0):
                await _pause(left)
                raise Empty
            await self._wait(kind, left)
        return unread.popleft()

    async def _wait(self, kind: bytes, timeout_s: float | None) -> None:
        """Wait until something has come in."""
        loop = asyncio.get_running_loop()
        self._watch(loop)
        waiting = self._waiting.setdefault(kind, deque())
        woken: asyncio.Future[None] = loop.create_future()
        waiting.append(woken)
        try:
            await asyncio.wait([woken], timeout=timeout_s)
        finally:
            with suppress(ValueError):
                waiting.remove(woken)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the socket read by the loop that runs now."""
        self._unwatch()
        if not self.is_closed:
            loop.add_reader(self._socket, self._read)
            self._loop = loop

    def _unwatch(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
        self._loop = None

    def _read(self) -> None:
        """Take in what has come."""
        try:
            data = self._socket.recv(_BLOCK_BYTES)
            messages = list(self._unpacker.feed(data))
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ValueError):
            data, messages = b"", []
        for parts in messages:
            self._unread.setdefault(parts[0], deque()).append(parts[1:])
        if not data:
            self.is_closed = True
            self._unwatch()
        elif sum(map(len, self._unread.values())) > _MOST_UNREAD:
            self._unwatch()
        for kind, waiting in self._waiting.items():
            if waiting and (self._unread.get(kind) or self.is_closed):
                for woken in waiting:
                    if not woken.done():
                        woken.set_result(None)

    def drop(self) -> None:
        """Take in and forget what a worker still says, so that it need not wait to be heard."""
        with suppress(OSError):
            for _ in range(_MOST_DROPPED):
                if not self._socket.recv(_BLOCK_BYTES):
                    return

    def close(self) -> None:
        """Listen no longer."""
        self._unwatch()
        self.is_closed = True


async def _pause(left: float | None) -> None:
    """Let others run: who is told at once that nothing came will ask again at once."""
    await asyncio.sleep(0 if left is not None else 0.05)


class WorkerClient:
    """Sends requests to a worker, and gives what it answers; as nbclient uses a client."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.session = Session(key=link.key.encode())
        self.allow_stdin = False
        self.shell_channel = Channel(self, b"shell")
        self.iopub_channel = Channel(self, b"iopub")

    def start_channels(self) -> None:
        """Do nothing: the socket is there."""

    def stop_channels(self) -> None:
        """Listen no longer."""
        self._link.close()

    async def wait_for_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # its name at nbclient
        """Wait until the worker takes requests.

        Raises
        ------
        RuntimeError
            It has died, or is not ready in time.
        """
        failed = asyncio.ensure_future(self._link.next(b"failed", timeout))
        ready = asyncio.ensure_future(self._link.next(b"ready", timeout))
        await asyncio.wait([failed, ready], return_when=asyncio.FIRST_COMPLETED)
        for task in (failed, ready):
            task.cancel()
        if ready.done() and not ready.cancelled() and ready.exception() is None:
            return
        if failed.done() and not failed.cancelled() and failed.exception() is None:
            problem = json.loads(failed.result()[0])
            msg = f"{problem['type']}: {problem['message']}"
            raise RuntimeError(msg)
        msg = "The worker died before it was ready"
        raise RuntimeError(msg)

    def is_alive(self) -> bool:
        """Whether the worker runs."""
        return not self._link.worker.has_ended()

    def execute(
        self,
        code: str,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        allow_stdin: bool | None = None,
        stop_on_error: bool = True,
    ) -> str:
        """Ask for a cell to be run; gives the request's id."""
        content = {
            "code": code,
            "silent": silent,
            "store_history": store_history,
            "user_expressions": dict(user_expressions or {}),
            "allow_stdin": self.allow_stdin if allow_stdin is None else allow_stdin,
            "stop_on_error": stop_on_error,
        }
        return self.request("execute_request", content)

    def kernel_info(self) -> str:
        """Ask what the worker runs; gives the request's id."""
        return self.request("kernel_info_request", {})

    def request(self, kind: str, content: dict[str, Any]) -> str:
        """Send a request; gives its id."""
        message = self.session.msg(kind, content)
        self.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    # What a channel does.

    def post(self, name: bytes, message: dict[str, Any]) -> None:
        """Send a message that is made already."""
        self._link.send([name, *self.session.serialize(message), *message.get("buffers", [])])

    async def take(self, name: bytes, timeout_s: float | None) -> dict[str, Any]:
        """Wait for a message."""
        parts = await self._link.next(name, timeout_s)
        _, frames = self.session.feed_identities(parts)
        message: dict[str, Any] = self.session.deserialize(frames)
        return message


class Channel:
    """One kind of message of a client."""

    def __init__(self, client: WorkerClient, name: bytes) -> None:
        self._client, self._name = client, name

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:  # noqa: ASYNC109  # its name at nbclient
        """Wait for a message."""
        return await self._client.take(self._name, timeout)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message."""
        self._client.post(self._name, message)
