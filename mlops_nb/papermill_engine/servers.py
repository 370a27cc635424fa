"""The fork servers of this process: started when they are needed, ended with it."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import site
import socket
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.papermill_engine.frames import receive_command, send_command
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

START_TIMEOUT_S = 60.0
MOST_SERVERS = 4
"""Servers that are kept; one that has not been used for longest makes room for a new one."""

SHARED_VARIABLE = "MLOPS_NB_FORK_SERVERS"
"""Names the private folder of a server that a parent process shares, see `shared_server`."""

USUAL_OPTIONS = ("--IPKernelApp.log_level=ERROR", "--HistoryManager.hist_file=:memory:")

# Else Python warns of frozen modules that only a debugger would mind.
BATCH_VARIABLES = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
"""What the environment of every batch has, in a kernel and in a worker."""

_MODULE = "mlops_nb.papermill_engine.fork_server"
# What differs from one notebook to the next, and no library reads when it is loaded.
_UNREAD = frozenset(
    {"PWD", "OLDPWD", "SHLVL", "_", "COLUMNS", "LINES", "JPY_PARENT_PID", "PYTEST_CURRENT_TEST"}
)
_OWN = "MLOPS_NB_"


class ForkRefused(Exception):
    """No worker can be forked; the message says why, as a clause."""


@record
class Wanted:
    """The worker that a notebook needs.

    Attributes
    ----------
    python
        The interpreter, and its own options.
    environ, folder
        Of the process.
    options
        Of a kernel's command line.
    arguments
        Its ``sys.argv``, after the name of the connection file.
    connection_file
        Where others look for the name of the kernel.
    key
        With which messages are signed.
    imports
        Modules that it is to have already.
    """

    python: tuple[str, ...]
    environ: Mapping[str, str]
    folder: str
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    connection_file: str = ""
    key: str = ""
    imports: tuple[str, ...] = ()


class Worker:
    """A worker, as seen from whoever runs its notebook.

    Attributes
    ----------
    channel
        For messages.
    pid
        Of its process, and of its process group.
    """

    def __init__(
        self, server: Server, channel: socket.socket, watch: socket.socket, pid: int
    ) -> None:
        self.channel, self.pid = channel, pid
        self._server, self._watch = server, watch
        self.status: int | None = None

    def has_ended(self, timeout_s: float = 0.0) -> bool:
        """Whether the process has ended; waits for it, if asked to."""
        if self.status is None:
            self._watch.settimeout(timeout_s or 1e-6)
            try:
                found = receive_command(self._watch)
            except TimeoutError:
                return False
            if found is None:
                # The server is gone, and with it who would have looked after the worker.
                _kill(self.pid)
            self.status = found[0]["ended"] if found is not None else -9
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the worker and all that belongs to it."""
        if not self.has_ended():
            self._server.send({"do": "signal", "pid": self.pid, "number": number})

    def close(self) -> None:
        """Let go of it."""
        self.channel.close()
        self._watch.close()


class Server:
    """A server, and the way to it.

    Parameters
    ----------
    channel
        Takes commands.
    process
        Of the server, None where another process owns it.
    """

    def __init__(
        self, channel: socket.socket, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        self._channel, self._process = channel, process
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._templates: dict[tuple[str, ...], Server | str] = {}

    def send(self, command: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Give a command."""
        with self._lock:
            send_command(self._channel, command, descriptors)

    def fork(self, wanted: Wanted) -> Worker:
        """Have a worker forked."""
        ours, theirs = socket.socketpair()
        watch, told = socket.socketpair()
        command = {
            "do": "fork",
            "environ": dict(wanted.environ),
            "folder": wanted.folder,
            "umask": _umask(),
            "arguments": list(wanted.arguments),
            "connection_file": wanted.connection_file,
            "key": wanted.key,
        }
        with theirs, told:
            self.send(command, (theirs.fileno(), told.fileno()))
        try:
            return Worker(self, ours, watch, _answer(watch, "pid"))
        except BaseException:
            ours.close()
            watch.close()
            raise

    def template(self, imports: tuple[str, ...]) -> Server:
        """Reach a server that has imported modules already; asked for once."""
        with self._opening:
            if imports not in self._templates:
                self._templates[imports] = self._opened(imports)
            found = self._templates[imports]
        if isinstance(found, str):
            raise ForkRefused(found)
        return found

    def _opened(self, imports: tuple[str, ...]) -> Server | str:
        ours, theirs = socket.socketpair()
        watch, told = socket.socketpair()
        with watch:
            with theirs, told:
                command = {"do": "template", "imports": list(imports)}
                self.send(command, (theirs.fileno(), told.fileno()))
            try:
                _answer(watch, "ready")
            except ForkRefused as refused:
                ours.close()
                return str(refused)
        return Server(ours)

    def close(self) -> None:
        """Let go of it; a server without clients ends, and its workers with it."""
        for template in self._templates.values():
            if isinstance(template, Server):
                template.close()
        self._channel.close()
        if self._process is not None:
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _answer(watch: socket.socket, key: str) -> int:
    """Wait until a server says what has become of a request."""
    watch.settimeout(START_TIMEOUT_S)
    try:
        found = receive_command(watch)
    except TimeoutError:
        raise ForkRefused("the fork server does not answer") from None
    if found is None:
        raise ForkRefused("the fork server has ended")
    if key not in found[0]:
        raise ForkRefused(str(found[0].get("refused", "the process ended at once")))
    return int(found[0][key])


def _umask() -> int:
    """Read the mask for new files without setting it, where the system tells."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        line = next(line for line in lines.splitlines() if line.startswith("Umask:"))
        return int(line.split()[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _kill(pid: int) -> None:
    import signal

    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class Servers:
    """All servers that this process uses, by what their workers have in common."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._servers: OrderedDict[str, Server] = OrderedDict()
        self._pid = os.getpid()

    def worker(self, wanted: Wanted) -> Worker:
        """Have a worker forked, by a server that is made if there is none for it.

        Raises
        ------
        ForkRefused
            Nothing can be forked for this notebook.
        """
        key = _key(wanted)
        for _ in range(2):
            server = self._server(key, wanted)
            try:
                return _with_imports(server, wanted).fork(wanted)
            except OSError:
                # It has been killed since.
                self._drop(key)
        raise ForkRefused("the fork server has ended")

    def _server(self, key: str, wanted: Wanted) -> Server:
        with self._lock:
            self._forget_after_fork()
            if key not in self._servers:
                self._servers[key] = _joined(key) or _started(wanted)
                while len(self._servers) > MOST_SERVERS:
                    self._drop(next(iter(self._servers)))
            self._servers.move_to_end(key)
            return self._servers[key]

    def _drop(self, key: str) -> None:
        with self._lock:
            server = self._servers.pop(key, None)
        if server is not None:
            server.close()

    def _forget_after_fork(self) -> None:
        """What a parent process has opened is not to be talked to by two."""
        if self._pid != os.getpid():
            self._servers, self._pid = OrderedDict(), os.getpid()

    def close(self) -> None:
        """End all."""
        if self._pid == os.getpid():
            for key in list(self._servers):
                self._drop(key)


def _with_imports(server: Server, wanted: Wanted) -> Server:
    """Choose who forks: one that has the imports, if they can be had before the notebook runs."""
    if wanted.imports:
        with contextlib.suppress(ForkRefused):
            return server.template(wanted.imports)
    return server


def _started(wanted: Wanted, listener: socket.socket | None = None) -> Server:
    ours, theirs = socket.socketpair()
    descriptors = [theirs.fileno(), *([] if listener is None else [listener.fileno()])]
    told = {
        "client": descriptors[0],
        "listener": None if listener is None else descriptors[1],
        "options": list(wanted.options),
    }
    with theirs:
        process = subprocess.Popen(
            [*wanted.python, "-m", _MODULE, json.dumps(told)],
            env=_shared(wanted.environ),
            cwd="/",
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=descriptors,
        )
    return Server(ours, process)


def _joined(key: str) -> Server | None:
    """Reach a server that a parent process shares, if it is one for this notebook."""
    folder = os.environ.get(SHARED_VARIABLE)
    if not folder:
        return None
    channel = socket.socket(socket.AF_UNIX)
    try:
        channel.connect(_socket_path(folder, key))
    except OSError:
        channel.close()
        return None
    return Server(channel)


def _socket_path(folder: str, key: str) -> str:
    return str(Path(folder) / key[:16])


@contextlib.contextmanager
def shared_server(
    environ: Mapping[str, str], options: Sequence[str] = USUAL_OPTIONS
) -> Iterator[dict[str, str]]:
    """Start a server that child processes of this one may use as well.

    Parameters
    ----------
    environ
        Of the processes that will run notebooks.
    options
        That `run_notebook` gives a kernel.

    Yields
    ------
    dict
        A variable for the environment of those processes. Without it, or where it does not fit a
        notebook, each starts a server of its own.
    """
    with tempfile.TemporaryDirectory(prefix="mlops_nb-", ignore_cleanup_errors=True) as folder:
        known = {**environ, **BATCH_VARIABLES}
        wanted = Wanted(
            python=(sys.executable,), environ=known, folder="/", options=tuple(options)
        )
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(_socket_path(folder, _key(wanted)))
            listener.listen(128)
            server = _started(wanted, listener)
        try:
            yield {SHARED_VARIABLE: folder}
        finally:
            server.close()


def _shared(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that the workers of one server have in common."""
    return {
        name: value
        for name, value in environ.items()
        if name not in _UNREAD and not name.startswith(_OWN)
    }


def _key(wanted: Wanted) -> str:
    """Name what a server's workers have in common: anything else needs another server."""
    parts = [
        list(wanted.python),
        list(wanted.options),
        sorted(_shared(wanted.environ).items()),
        _witnesses(wanted.environ),
    ]
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _witnesses(environ: Mapping[str, str]) -> list[tuple[str, int]]:
    """Say what changes when a package is installed, or IPython set up otherwise."""
    home = environ.get("IPYTHONDIR") or str(Path("~/.ipython").expanduser())
    places = [*site.getsitepackages(), site.getusersitepackages()]
    systems = [f"{sys.prefix}/etc/ipython", "/usr/local/etc/ipython", "/etc/ipython"]
    for folder in (f"{home}/profile_default", *systems):
        with contextlib.suppress(OSError):
            places += sorted(str(p) for p in Path(folder).iterdir() if "config" in p.name)
    found = []
    for place in places:
        with contextlib.suppress(OSError):
            found.append((place, os.stat(place).st_mtime_ns))  # noqa: PTH116  # hundreds of times a second
    return found


_servers = Servers()
atexit.register(_servers.close)


def start_worker(wanted: Wanted) -> Worker:
    """Fork a worker for a notebook.

    Raises
    ------
    ForkRefused
        Nothing can be forked for this notebook.
    """
    return _servers.worker(wanted)
