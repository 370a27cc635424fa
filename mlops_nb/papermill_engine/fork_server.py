"""The process that workers are forked from: everything is imported, and nothing has happened yet.

It must stay a process of one thread, without a graphics card: only such a one can be forked
safely, and this is looked at before each fork. For a notebook that imports large libraries it
forks a template of itself first, which imports them and then is a server of its own.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.papermill_engine.drain_server import MOST_ASKED_BYTES, DrainServer
from mlops_nb.papermill_engine.frames import receive_command, send_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST_TEMPLATES = 4
LAST_WORDS_S = 10.0

FIRST_CLIENT_S = 60.0
"""How long a server waits for its first client."""

INLINE_BACKEND = "module://matplotlib_inline.backend_inline"

_SAFE_THREADS = frozenset({"jemalloc_bg_thd"})
"""Threads that put themselves in order around a fork, by the name that Linux has of them."""

_CARDS = ("/dev/nvidia", "/dev/kfd", "/dev/dri/", "/dev/accel")


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """What a worker is told when it has been forked.

    Attributes
    ----------
    channel
        To whoever runs the notebook.
    environ, folder, umask
        Of the process, as if it had been started so.
    arguments
        Its ``sys.argv``, after the name of the connection file.
    connection_file
        Where others look for the name of the kernel.
    key
        With which messages are signed.
    ask
        Takes what is to be drained, see `DrainServer`.
    """

    channel: socket.socket
    environ: Mapping[str, str]
    folder: str
    umask: int
    arguments: Sequence[str]
    connection_file: str
    key: str
    ask: socket.socket


@dataclass(slots=True)
class _Child:
    """A process of ours: who asked for it, who is told of its end, and what it leaves."""

    pid: int
    client: socket.socket | None
    watch: socket.socket | None
    leaves: bytes = b""


class ForkServer:
    """Forks workers for its clients, and tells them when a worker has ended.

    Parameters
    ----------
    client
        The first client; None if clients come by the listener alone.
    listener
        Takes further clients.
    variables
        That imports have set, for the environment of each worker.
    """

    def __init__(
        self,
        client: socket.socket | None,
        listener: socket.socket | None,
        variables: Mapping[str, str],
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, _Child] = {}
        self._clients: list[socket.socket] = []
        self._listener = listener
        self._imported = dict(variables)
        self._templates: dict[tuple[str, ...], socket.socket] = {}
        self._woken, self._wake = os.pipe()
        # Workers write to one end, the server reads at the other; whole messages, from anybody.
        self._asked, self.ask = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._drains = DrainServer()
        self._begin([] if client is None else [client])

    def _begin(self, clients: Sequence[socket.socket]) -> None:
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._reap)
        self._selector.register(self._asked, selectors.EVENT_READ, self._note)
        if self._listener is not None:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        for client in clients:
            self._add(client)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._until = time.monotonic() + FIRST_CLIENT_S

    def serve(self) -> WorkerTask | None:
        """Do what is asked for, until nobody asks any more.

        Returns
        -------
        WorkerTask
            In a worker: what it is to do. None in the server.
        """
        while self._clients or (self._listener is not None and time.monotonic() < self._until):
            for key, _ in self._selector.select(self._patience_s()):
                task = key.data()
                if task is not None:
                    return task  # type: ignore[no-any-return]
        self._drains.pass_on(LAST_WORDS_S)
        for pid, child in self._children.items():
            if child.client is not None:  # a template ends by itself
                _kill_group(pid)
        return None

    def _patience_s(self) -> float | None:
        """Say how long nothing needs to be done unless somebody asks."""
        if self._drains.is_behind:
            self._drains.pass_on()
            return 0.2
        return None if self._clients else 1.0

    # --- clients ------------------------------------------------------------------------------

    def _accept(self) -> None:
        if self._listener is not None:
            client, _ = self._listener.accept()
            self._add(client)

    def _add(self, client: socket.socket) -> None:
        client.setblocking(True)
        self._clients.append(client)
        self._selector.register(client, selectors.EVENT_READ, lambda: self._take(client))

    def _take(self, client: socket.socket) -> WorkerTask | None:
        found = receive_command(client)
        if found is None:
            self._lose(client)
            return None
        command, descriptors = found
        if command["do"] == "signal":
            self._signal(int(command["pid"]), int(command["number"]), client)
            return None
        if command["do"] == "fork":
            return self._fork_worker(command, descriptors, client)
        if command["do"] == "client":
            self._add(socket.socket(fileno=descriptors[0]))
        else:
            self._open_template(command, descriptors)
        return None

    def _lose(self, client: socket.socket) -> None:
        """A client is gone: what runs for it ends."""
        self._selector.unregister(client)
        self._clients.remove(client)
        client.close()
        if not self._clients:
            self._until = 0.0  # whoever shares it has gone
        for child in self._children.values():
            if child.client is client:
                _kill_group(child.pid)

    def _signal(self, pid: int, number: int, client: socket.socket) -> None:
        child = self._children.get(pid)
        # It has not been waited for, so that the number is still its own.
        if child is not None and child.client is client:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def _note(self) -> None:
        """Keep what workers will leave to be taken into the store."""
        with contextlib.suppress(BlockingIOError):
            while asked := self._asked.recv(MOST_ASKED_BYTES, socket.MSG_DONTWAIT):
                pid = json.loads(asked.decode("utf-8", "surrogatepass"))["pid"]
                if pid in self._children:
                    self._children[pid].leaves = asked

    # --- children -----------------------------------------------------------------------------

    def _fork_worker(
        self, command: Mapping[str, Any], descriptors: list[int], client: socket.socket
    ) -> WorkerTask | None:
        channel, watch = (socket.socket(fileno=number) for number in descriptors)
        if problem := why_not_fork():
            _tell(watch, {"refused": problem})
            channel.close()
            watch.close()
            return None
        if not self._fork(client, watch):
            watch.close()
            return WorkerTask(
                channel,
                {**self._imported, **command["environ"]},
                command["folder"],
                command["umask"],
                command["arguments"],
                command["connection_file"],
                command["key"],
                self.ask,
            )
        channel.close()
        return None

    def _open_template(self, command: Mapping[str, Any], descriptors: list[int]) -> None:
        """Bring a client together with a server that has imported more."""
        theirs, watch = (socket.socket(fileno=number) for number in descriptors)
        imports = tuple(command["imports"])
        with theirs, watch:
            if imports not in self._templates:
                problem = why_not_fork()
                if problem:
                    _tell(watch, {"refused": problem})
                    return
                ours, ends = socket.socketpair()
                if not self._fork(None, None):
                    ours.close()
                    self._become_template(imports, [ends, theirs.dup()], watch)
                    return
                ends.close()
                self._templates[imports] = ours
                while len(self._templates) > MOST_TEMPLATES:
                    # It ends when nobody else uses it.
                    self._templates.pop(next(iter(self._templates))).close()
                return
            with contextlib.suppress(OSError):
                send_command(self._templates[imports], {"do": "client"}, (theirs.fileno(),))
                _tell(watch, {"ready": 1})

    def _become_template(
        self, imports: tuple[str, ...], clients: list[socket.socket], watch: socket.socket
    ) -> None:
        """Import what the notebooks of these clients import, and be a server to them."""
        self._woken, self._wake = os.pipe()
        self._asked, self.ask = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._selector, self._listener = selectors.DefaultSelector(), None
        self._begin(clients)
        problem = _import_quietly(imports, self._imported) or why_not_fork()
        _tell(watch, {"refused": problem} if problem else {"ready": 1})
        if problem:
            os._exit(0)
        gc.collect()
        gc.freeze()

    def _fork(self, client: socket.socket | None, watch: socket.socket | None) -> int:
        """Fork; in the child everything of the server's own is closed."""
        pid = os.fork()
        if pid:
            self._children[pid] = _Child(pid, client, watch)
            if watch is not None:
                _tell(watch, {"pid": pid})
            return pid
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for end in (self._woken, self._wake):
            os.close(end)
        self._drains.forget()
        watches = [child.watch for child in self._children.values()]
        for each in (*self._clients, *watches, *self._templates.values(), self._asked):
            if each is not None:
                each.close()
        if self._listener is not None:
            self._listener.close()
        self._clients, self._children, self._templates = [], {}, {}
        return 0

    def _reap(self) -> None:
        """Take note of children that have ended, and end what they leave behind."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 1 << 16)
        self._note()
        for pid in list(self._children):
            status = _end_of(pid)
            if status is not None:
                child = self._children.pop(pid)
                if child.leaves:
                    self._drains.take(child.leaves)
                if child.watch is not None:
                    _tell(child.watch, {"ended": status})
                    child.watch.close()


def _end_of(pid: int) -> int | None:
    """Wait for a child that has ended, and kill the rest of its group; None if it runs."""
    if hasattr(os, "waitid"):
        # As long as it is not waited for, the number of its group belongs to nobody else.
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        _kill_group(pid)
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        return None
    if not hasattr(os, "waitid"):
        _kill_group(pid)
    return os.waitstatus_to_exitcode(status)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _tell(watch: socket.socket, what: Mapping[str, Any]) -> None:
    """Tell a client; it may be gone."""
    with contextlib.suppress(OSError):
        send_command(watch, what)


# --- whether to fork --------------------------------------------------------------------------


def why_not_fork() -> str:
    """Say why this process cannot be forked safely; empty if it can.

    Examples
    --------
    >>> reason = why_not_fork()
    >>> reason == "" or reason.startswith(("it runs", "a library"))
    True
    """
    if threading.active_count() > 1:
        return "it runs threads"
    if _other_threads():
        # BLAS libraries stop their threads when a process forks, and start them on use.
        _fork_for_nothing()
        if names := _other_threads():
            return f"a library runs threads in it ({', '.join(sorted(names))})"
    if card := _open_card():
        return f"a library has opened {card}"
    return ""


def _other_threads() -> list[str]:
    """Name the threads that Python does not know, as far as the system tells."""
    names = []
    for entry in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):
            if entry.parent.name != str(os.getpid()):
                names.append(entry.read_text().strip())
    return [name for name in names if name not in _SAFE_THREADS]


def _fork_for_nothing() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _open_card() -> str:
    for entry in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith(_CARDS):
                return target
    return ""


def _import_quietly(names: Sequence[str], variables: dict[str, str]) -> str:
    """Import modules; gives why their import cannot be done before the notebook's own.

    Variables that the imports have set are put into `variables`.
    """
    # As a kernel has it, before anything is imported.
    os.environ.setdefault("MPLBACKEND", INLINE_BACKEND)
    before = dict(os.environ)
    with tempfile.TemporaryFile() as said, _output_to(said.fileno()):
        for name in names:
            try:
                importlib.import_module(name)
            except Exception as error:  # noqa: BLE001  # whatever a library raises, the notebook is to see it
                return f"importing {name} raises {type(error).__name__}"
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if said.seek(0, os.SEEK_END):
            return f"importing {', '.join(names)} writes something"
    variables |= {key: value for key, value in os.environ.items() if key not in before}
    if any(os.environ.get(key) != value for key, value in before.items()):
        return f"importing {', '.join(names)} changes variables of the environment"
    return ""


@contextlib.contextmanager
def _output_to(descriptor: int) -> Iterator[None]:
    """Have what is written to standard output and error go elsewhere."""
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number in (1, 2):
            os.dup2(descriptor, number)
        yield
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


# --- the process ------------------------------------------------------------------------------


def main() -> None:
    """Serve; in a worker, run cells instead. Arguments: JSON with descriptors and options."""
    told = json.loads(sys.argv[1])
    # Else a module of the folder that this was started in could stand before an installed one.
    del sys.path[0]
    client = socket.socket(fileno=told["client"]) if told["client"] is not None else None
    listener = socket.socket(fileno=told["listener"]) if told["listener"] is not None else None
    before = dict(os.environ)
    from mlops_nb.papermill_engine.worker import WorkerApp

    application = WorkerApp.prepared(told["options"])
    made = {name: text for name, text in os.environ.items() if name not in before}
    server = ForkServer(client, listener, made)
    gc.collect()
    gc.freeze()
    task = server.serve()
    if task is not None:
        del server
        application.run(task)


if __name__ == "__main__":
    main()
