"""A forked process that runs the cells of one notebook, in the shell that a kernel has.

All of ipykernel but its sockets: shell, displays, streams, comms, and the messages that it would
send. They go over one socket to whoever runs the notebook. The shell is made before the process
is forked, as far as nothing of it depends on where it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib.util
import inspect
import io
import json
import os
import random
import signal
import sys
import threading
import traceback
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from tornado.ioloop import IOLoop

from mlops_nb import model
from mlops_nb.environment import read_environment
from mlops_nb.papermill_engine.frames import Unpacker
from mlops_nb.papermill_engine.streams import Answers, Outgoing, Outlet, OutputThread, OutStream
from mlops_nb.redact import redact
from mlops_nb.redact.marks import is_literal
from mlops_nb.source import analyse

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from mlops_nb.papermill_engine.fork_server import WorkerTask

BLOCK_BYTES = 1 << 16

_ask: socket.socket | None = None

_NEEDED = (
    "difflib",
    "pwd",
    "resource",
    "mlops_nb.session",
    "mlops_nb.session.facts",
    "mlops_nb.autolog",
    "mlops_nb.autolog.callers",
    "mlops_nb.autolog.listener",
    "mlops_nb.autolog.readers",
    "mlops_nb.autolog.sklearn",
    "mlops_nb.capture.files.quiet",
    "mlops_nb.capture.files.watch",
    "mlops_nb.capture.hooks",
    "mlops_nb.capture.proof",
    "mlops_nb.environment.code",
    "mlops_nb.environment.git",
    "mlops_nb.environment.modules",
    "mlops_nb.notebook",
    "mlops_nb.store.intake.launching",
)
"""What tracking one notebook loads in any case, so that it is there when a worker is forked.

By name: a worker stands below what it runs, as a kernel does.
"""

_RECORDS = (
    "EnvironmentSeen",
    "ExecutionEnded",
    "ExecutionStarted",
    "OutputSeen",
    "ParamLogged",
    "RunChanged",
    "RunExecuted",
    "RunStarted",
    "SessionChanged",
    "SessionEnded",
    "SessionStarted",
)
_WARMING = "warm = [1]\n%time warm\n"


class WorkerKernel(IPythonKernel):  # type: ignore[misc]
    """The kernel of a worker: what comes is not queued, so that there is nothing to abort."""

    def _abort_queues(self, *_: Any) -> None:
        pass


class WorkerApp(IPKernelApp):  # type: ignore[misc]
    """ipykernel's application in two parts, before and after the fork, without ZMQ's sockets."""

    # --- before the fork ----------------------------------------------------------------------

    @classmethod
    def prepared(cls, options: Sequence[str]) -> WorkerApp:
        """Make an application with a shell, and load what tracking needs.

        Parameters
        ----------
        options
            Of a kernel's command line.
        """
        for name in _NEEDED:
            importlib.import_module(name)
        with contextlib.suppress(ImportError):
            importlib.import_module("psutil")  # which a kernel has as soon as it is asked for it
        application: WorkerApp = cls.instance(kernel_class=WorkerKernel)
        # By the file's name libraries know from the configuration that they are in a notebook.
        super(IPKernelApp, application).initialize(["-f", "kernel.json", *options])
        application.init_pdb()
        application.init_kernel()
        _warm(application.kernel.shell)
        return application

    def init_kernel(self) -> None:
        """Make the kernel and its shell; their sockets come later."""
        self.kernel = self.kernel_class.instance(
            parent=self,
            session=self.session,
            log=self.log,
            profile_dir=self.profile_dir,
            user_ns=self.user_ns,
        )

    # --- after it -----------------------------------------------------------------------------

    def run(self, task: WorkerTask) -> None:
        """Run cells until there are no more, and end the process."""
        global _ask  # noqa: PLW0603  # one worker a process
        _ask = task.ask
        channel = task.channel
        outlet = Outlet(channel)
        try:
            _take_place(task)
            self._open(outlet, task)
        except BaseException as error:  # noqa: BLE001  # whatever it is, who waits is told
            problem = {"type": type(error).__name__, "message": str(error)}
            traceback.print_exc(file=sys.__stderr__)
            outlet.send([b"failed", json.dumps(problem).encode()])
            os._exit(1)
        outlet.send([b"ready"])
        try:
            asyncio.run(self._serve(channel, outlet))
        except RuntimeError:
            # A cell has ended the loop, as `exit()` does: then a kernel ends as well.
            self.log.debug("the loop has ended", exc_info=True)
        except BaseException:  # noqa: BLE001  # nobody is left who could tell of it
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        _end(self)

    def _open(self, outlet: Outlet, task: WorkerTask) -> None:
        """Do what a kernel does when it starts, in its order."""
        self._renew(task)
        self.iopub_socket = Outgoing(outlet, b"iopub")
        self.iopub_thread = OutputThread(self.iopub_socket)
        self.iopub_thread.start()
        self.outstream_class = f"{OutStream.__module__}.{OutStream.__name__}"
        self.init_io()
        self.init_signal()
        self._connect()
        self.init_path()
        self.init_shell()
        self.init_gui_pylab()
        self.init_extensions()
        self.init_code()
        _flush()

    def _renew(self, task: WorkerTask) -> None:
        """Give this process what no other may have."""
        from uuid import uuid4

        self.session.pid = os.getpid()
        self.session.session = uuid4().hex
        self.session.key = task.key.encode()
        self.kernel.ident = str(uuid4())
        shell = self.kernel.shell
        shell.init_environment()
        shell.starting_dir = str(Path.cwd())
        shell.history_manager.dir_hist[:] = [Path.cwd()]
        self.connection_file = task.connection_file
        launcher = importlib.util.find_spec("ipykernel_launcher")
        name = launcher.origin if launcher is not None else "ipykernel_launcher"
        sys.argv = [name or "", "-f", task.connection_file, *task.arguments]

    def _connect(self) -> None:
        """Let kernel and shell write to where messages go."""
        kernel, shell = self.kernel, self.kernel.shell
        kernel.iopub_thread, kernel.iopub_socket = self.iopub_thread, self.iopub_socket
        kernel._stdout, kernel._stderr = sys.stdout, sys.stderr  # noqa: SLF001  # as it does when it is made
        shell.displayhook.session = shell.display_pub.session = self.session
        shell.displayhook.pub_socket = shell.display_pub.pub_socket = self.iopub_socket
        shell.displayhook.topic = kernel._topic("execute_result")  # noqa: SLF001  # the same
        self.displayhook.get_execution_count = lambda: kernel.execution_count
        # Where top-level await asks which thread is the kernel's own.
        kernel.shell_channel_thread = SimpleNamespace(parent_thread=threading.main_thread())
        shell.exit_now = False

    # --- requests -----------------------------------------------------------------------------

    async def _serve(self, channel: socket.socket, outlet: Outlet) -> None:
        """Answer requests, one after the other, until the channel is closed."""
        loop = asyncio.get_running_loop()
        self.io_loop = self.kernel.io_loop = IOLoop.current()
        requests: asyncio.Queue[list[bytes] | None] = asyncio.Queue()

        def hand_over(message: list[bytes] | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                loop.call_soon_threadsafe(requests.put_nowait, message)

        listening = threading.Thread(
            target=_listen, args=(channel, hand_over), name="requests", daemon=True
        )
        listening.start()
        reply_to = Answers(outlet)
        while (parts := await requests.get()) is not None:
            _, frames = self.session.feed_identities(parts[1:])
            await self._answer(self.session.deserialize(frames), reply_to)

    async def _answer(self, message: dict[str, Any], reply_to: Answers) -> None:
        """Do as ipykernel does with a request that has come in."""
        kernel = self.kernel
        kernel.set_parent([], message, channel="shell")
        kernel._publish_status("busy", "shell")  # noqa: SLF001  # there is no other way to say it
        handler = kernel.shell_handlers.get(message["header"]["msg_type"])
        if handler is not None:
            kernel.pre_handler_hook()
            try:
                result = handler(reply_to, [], message)
                if inspect.isawaitable(result):
                    await result
            except KeyboardInterrupt:
                # It came after the cell's last line; what it was to stop has ended.
                self.log.debug("interrupted between two cells")
            finally:
                kernel.post_handler_hook()
        _flush()
        while not reply_to.is_ours:
            # A cell has forked, and its child has come to the cell's end: nobody asks it more.
            signal.pause()
        kernel._publish_status("idle", "shell")  # noqa: SLF001  # the same


# Sections of the configuration go by the class's name, and libraries look for this one.
WorkerApp.__name__ = IPKernelApp.__name__


def _warm(shell: Any) -> None:
    """Do once what each worker would do for its first cell, and what of it is kept for all.

    Patterns are compiled, records get their methods, and the folders of what is installed are
    read, which is looked at again only where one has changed. Nothing else comes of it.
    """
    analyse(shell.transform_cell(_WARMING))
    redact(_WARMING)
    is_literal(_WARMING)
    read_environment()
    shell.display_formatter.format(_WARMING)
    for name in _RECORDS:
        cls = getattr(model, name)
        cls(**dict.fromkeys(field.name for field in fields(cls)))


def _flush() -> None:
    """Have everything sent that was printed; a notebook may have put its streams away."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _listen(channel: socket.socket, hand_over: Any) -> None:
    """Read requests; whoever closes the channel in the middle of a cell is gone."""
    unpacker = Unpacker()
    try:
        while data := channel.recv(BLOCK_BYTES):
            for parts in unpacker.feed(data):
                if parts[0] == b"end":
                    hand_over(None)
                    return
                hand_over(parts)
    except OSError:
        pass
    os.killpg(0, signal.SIGKILL)


# --- what is left to be taken into the store ----------------------------------------------------


def lend_drainer(spool: Any) -> None:
    """Have what is left of a spool drained, when this process has ended, by one that is there.

    Loading what a drainer needs takes longer than a small notebook runs, and those of several
    notebooks would take the cores from the next one. While cells run, a drainer of the spool's
    own is started as usual, after some seconds.

    Parameters
    ----------
    spool
        Of the session that has begun.
    """
    usual = spool.restart_drainer
    if usual is None or _ask is None or sys.platform != "linux":
        return
    command, environment, on_trouble = usual.args[1:]
    if on_trouble is not None:
        return  # of a server, whose troubles the notebook is told of
    told = {
        "pid": os.getpid(),
        "arguments": command[command.index("-m") + 2 :],
        "environ": environment,
        "log": str(spool.folder / "drainer.log"),
    }
    try:
        _ask.send(json.dumps(told).encode("utf-8", "surrogatepass"))
    except OSError:  # too long, or nobody is there
        return

    def restart() -> None:
        if threading.current_thread() is not threading.main_thread():
            usual()

    spool.restart_drainer = restart


# --- the process --------------------------------------------------------------------------------


def _take_place(task: WorkerTask) -> None:
    """Be where, and as, a process that was just started for this would be."""
    before = dict(os.environ)
    for name in before.keys() - task.environ.keys():
        del os.environ[name]
    for name, value in task.environ.items():
        if before.get(name) != value:
            os.environ[name] = value
    os.umask(task.umask)
    os.chdir(task.folder)
    random.seed()
    if (found := sys.modules.get("numpy.random")) is not None:
        found.seed()


def _end(application: WorkerApp) -> None:
    """End the process as the interpreter does, but leave what was there before the fork.

    Taking thousands of loaded modules apart would take longer than a small notebook runs.
    """
    import atexit

    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  # as the interpreter does first
    atexit._run_exitfuncs()  # noqa: SLF001  # and then
    application.kernel.shell.user_ns.clear()
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        vars(sys).pop(name, None)
    gc.collect()
    for found in gc.get_objects():
        if isinstance(found, io.IOBase) and not found.closed:
            with contextlib.suppress(OSError, ValueError):
                found.flush()
    # The C library's own buffers and exits, and no other thread of Python in between.
    ctypes.PyDLL(None).exit(0)
