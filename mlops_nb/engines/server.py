"""The process behind the engine ``local``: it forks a child for each job, and cleans up after it.

It must stay a process with one thread, as only such a one can fork safely. Requests and answers
are lines of JSON on one socket; when that is closed, everything ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import selectors
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from mlops_nb.engines.processes import (
    adopt_orphans,
    die_with_parent,
    end_below,
    end_marked,
    end_tree,
)
from mlops_nb.errors import MlopsNbError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BLOCK_BYTES = 1 << 16
_FAILED = 70


@dataclass(slots=True)
class _Child:
    """A job that runs; `asked_as` is why it was asked to end, `kill_at` when it is killed."""

    name: str
    pid: int
    pipe: int
    deadline: float | None
    spared: tuple[str, ...]
    mark: str = ""
    unread: bytes = b""
    result: dict[str, Any] = field(default_factory=dict)
    asked_as: str = ""
    kill_at: float | None = None
    is_killed: bool = False

    @property
    def next_s(self) -> float | None:
        """When something is to be done about it, by the clock that only goes forward."""
        return self.kill_at if self.asked_as else self.deadline


def main(descriptor: int) -> None:
    """Serve jobs until the other end of a socket is closed."""
    with socket.socket(fileno=descriptor) as channel:
        channel.set_inheritable(False)
        server = Server(channel)
        try:
            server.serve()
        finally:
            server.end_all()


class Server:
    """The jobs of one engine.

    Parameters
    ----------
    channel
        To the engine.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unread = b""
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        self._selector.register(channel, selectors.EVENT_READ, self._take_requests)
        self._selector.register(self._woken, selectors.EVENT_READ, self._take_signal)
        self._is_open = True
        self._grace_s = 0.0
        # Of all jobs so far: what one has left in good order must survive the next one's end.
        self._spared: tuple[str, ...] = ()

    def serve(self) -> None:
        """Do what is asked for until the channel is closed."""
        adopt_orphans()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        while self._is_open:
            for key, _ in self._selector.select(self._patience_s()):
                key.data()
            self._reap()
            self._mind_time()

    def end_all(self) -> None:
        """Kill all that runs."""
        for child in self._children.values():
            end_tree(child.pid, spared=child.spared)
            end_marked(child.mark, spared=child.spared)
        end_below(os.getpid(), spared=self._spared)

    # --- requests -----------------------------------------------------------------------------

    def _take_requests(self) -> None:
        try:
            block = self._channel.recv(_BLOCK_BYTES)
        except ConnectionResetError:
            block = b""
        if not block:
            self._is_open = False
            return
        *lines, self._unread = (self._unread + block).split(b"\n")
        for line in lines:
            ((what, told),) = json.loads(line).items()
            self._answer(what, told)

    def _answer(self, what: str, told: Any) -> None:
        if what == "start":
            self._start(told)
        elif what == "cancel":
            self._cancel(told)
        else:
            self._grace_s = told["grace_s"]
            _preload(told["modules"])

    def _start(self, told: Mapping[str, Any]) -> None:
        ours, theirs = os.pipe()
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            self._become_child(told, theirs, server)
        os.close(theirs)
        os.set_blocking(ours, False)
        limit = told["timeout_s"]
        deadline = None if limit is None else time.monotonic() + limit
        child = _Child(told["name"], pid, ours, deadline, tuple(told["spared"]), told["mark"])
        self._children[pid] = child
        self._spared = tuple(dict.fromkeys((*self._spared, *child.spared)))
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(child))

    def _cancel(self, name: str) -> None:
        for child in self._children.values():
            if child.name == name and not child.asked_as:
                self._ask_to_end(child, "cancelled")

    # --- what children say --------------------------------------------------------------------

    def _hear(self, child: _Child) -> None:
        """Pass on what a child says; its last words are kept until it has ended."""
        try:
            block = os.read(child.pipe, _BLOCK_BYTES)
        except BlockingIOError:
            return
        if not block:
            self._selector.unregister(child.pipe)
            return
        *lines, child.unread = (child.unread + block).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "said" in message:
                self._tell({"job": child.name, **message})
            else:
                child.result = message

    def _tell(self, message: Mapping[str, object]) -> None:
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            self._is_open = False

    # --- ends ---------------------------------------------------------------------------------

    def _take_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, _BLOCK_BYTES)

    def _patience_s(self) -> float | None:
        times = [child.next_s for child in self._children.values() if child.next_s is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _mind_time(self) -> None:
        """Ask those to end whose time is up, and kill those who were asked in vain."""
        now = time.monotonic()
        for child in self._children.values():
            if child.next_s is None or child.next_s > now:
                continue
            if child.asked_as:
                child.is_killed, child.kill_at = True, None
                end_tree(child.pid, spared=child.spared)
            else:
                self._ask_to_end(child, "timeout")

    def _ask_to_end(self, child: _Child, why: str) -> None:
        child.asked_as, child.kill_at = why, time.monotonic() + self._grace_s
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)

    def _reap(self) -> None:
        """Take note of what has ended, our own and what we have adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._end(child, os.waitstatus_to_exitcode(status))

    def _end(self, child: _Child, code: int) -> None:
        while child.pipe in self._selector.get_map() and _has_more(child.pipe):
            self._hear(child)
        if child.pipe in self._selector.get_map():
            self._selector.unregister(child.pipe)
        os.close(child.pipe)
        # What it started and left is below us now.
        end_below(os.getpid(), spared=self._spared, but=list(self._children))
        end_marked(child.mark, spared=self._spared)
        content, error = child.result.get("result"), child.result.get("error")
        problem = child.asked_as or ("error" if error else "" if child.result else "killed")
        if problem and not error:
            error = _how_it_ended(problem, code)
        ended = {"job": child.name, "content": content, "problem": problem, "pid": child.pid}
        self._tell({**ended, "error": error or {}})

    # --- the child ----------------------------------------------------------------------------

    def _become_child(self, told: Mapping[str, Any], pipe: int, server: int) -> NoReturn:
        """Do the job in this process, and end it; nothing of the server's goes on here."""
        code = _FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.setsid()
            die_with_parent(server)
            adopt_orphans()
            self._let_go(pipe)
            _write_to(told["log"])
            _do(told, pipe)
            code = 0
        except BaseException:  # noqa: BLE001 - the outermost edge of a process: its log says it
            traceback.print_exc()
        finally:
            _flush()
            os._exit(code)

    def _let_go(self, pipe: int) -> None:
        """Close what is the server's: a child that held it would keep others waiting."""
        self._selector.close()
        self._channel.close()
        others = [child.pipe for child in self._children.values() if child.pipe != pipe]
        for descriptor in (self._woken, self._wake, *others):
            os.close(descriptor)
        self._children.clear()


def _preload(names: list[str]) -> None:
    """Load modules; one that cannot be loaded is the business of whoever needs it."""
    for name in names:
        with contextlib.suppress(ImportError):
            import_module(name)
    gc.collect()
    gc.freeze()  # else the first search for garbage in a child copies all of it


def _has_more(pipe: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return bool(selector.select(0))


def _how_it_ended(problem: str, code: int) -> dict[str, str]:
    if problem == "timeout":
        return {"type": "StepTimeout", "message": "it took longer than it may"}
    if problem == "cancelled":
        return {"type": "KeyboardInterrupt", "message": ""}
    if code < 0:
        return {"type": "ProcessKilled", "message": f"its process was killed (signal {-code})"}
    return {"type": "ProcessEnded", "message": f"its process ended with code {code}"}


def _write_to(log: str) -> None:
    """Have what the process writes go to a file, or nowhere."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    target = os.open(log or os.devnull, flags, 0o600)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.close(target)


def _do(told: Mapping[str, Any], pipe: int) -> None:
    """Call the function, with its own place, variables and random numbers."""
    os.environ.clear()
    os.environ.update(told["environment"])
    os.chdir(told["folder"])
    random.seed()
    say = _sayer(pipe)
    try:
        module, _, name = told["function"].partition(":")
        function = getattr(import_module(module), name)
        result = function(told["told"], lambda content: say({"said": content}))
    except (MlopsNbError, OSError, ImportError) as error:
        traceback.print_exc()
        say({"error": {"type": type(error).__name__, "message": str(error)}})
    except (KeyboardInterrupt, SystemExit):
        return  # it was asked to end, and whoever asked knows why
    except Exception as error:  # noqa: BLE001 - the edge of a process: it is told, not swallowed
        traceback.print_exc()
        say({"error": {"type": type(error).__name__, "message": str(error)}})
    else:
        say({"result": result})


def _sayer(pipe: int) -> Callable[[Mapping[str, object]], None]:
    def say(message: Mapping[str, object]) -> None:
        data = memoryview(json.dumps(message, default=str).encode() + b"\n")
        while data:
            data = data[os.write(pipe, data) :]

    return say


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
