"""The process that drains what workers leave: it has loaded the store, and forks for each spool.

It goes on when the fork server has ended, until it has done what it was asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections import deque
from pathlib import Path
from typing import NoReturn

MOST_ASKED_BYTES = 1 << 18

PATIENCE_S = 5.0
PAUSE_S = 0.005
_DRAINER = "mlops_nb.store.intake.drainer"
_NEEDED = (_DRAINER, "mlops_nb.store.database", "sqlalchemy.dialects.sqlite", "alembic.command")


class DrainServer:
    """The way to that process; it is started with the first spool."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None
        self._waiting: deque[bytes] = deque()

    def take(self, asked: bytes) -> None:
        """Have a spool drained.

        Parameters
        ----------
        asked
            JSON with ``arguments`` of the drainer, ``environ`` and ``log``.
        """
        if self._channel is None:
            self._channel = self._started()
        self._waiting.append(asked)
        self.pass_on()

    @property
    def is_behind(self) -> bool:
        """Whether something could not be passed on yet."""
        return bool(self._waiting)

    def pass_on(self, timeout_s: float = 0.0) -> None:
        """Give what waits to the process, as far as it takes it within a time."""
        if self._channel is None:
            return
        self._channel.settimeout(timeout_s)
        with contextlib.suppress(OSError):
            while self._waiting:
                self._channel.send(self._waiting[0])
                self._waiting.popleft()

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            # Twice, so that nobody has to wait for it.
            if os.fork() == 0:
                os.setsid()
                ours.close()
                _serve(theirs)
            os._exit(0)
        os.waitpid(pid, 0)
        theirs.close()
        return ours

    def forget(self) -> None:
        """Let go of it, in a process that is no server."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _serve(channel: socket.socket) -> NoReturn:
    """Drain what is asked for, until there is nothing more to be asked."""
    import importlib

    status = 1
    try:
        _let_go(keep=channel.fileno())
        for name in _NEEDED:
            importlib.import_module(name)
        while asked := channel.recv(MOST_ASKED_BYTES):
            pid = os.fork()
            if pid == 0:
                channel.close()
                status = _drain(json.loads(asked.decode("utf-8", "surrogatepass")))
                break
            _wait(pid)
    finally:
        os._exit(status)


def _wait(pid: int) -> None:
    """Wait for a drainer: in order, the attempts at one notebook get their numbers in order.

    One that has to wait itself, as for a store that is locked, does not hold up the others.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                time.sleep(PAUSE_S)
                continue
        return


def _let_go(*, keep: int) -> None:
    """Hold nothing of the fork server's, and none of the terminal's streams."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.nice(10)
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    folder = Path("/proc/self/fd")
    last = 0 if folder.is_dir() else os.sysconf("SC_OPEN_MAX")
    numbers = [int(entry.name) for entry in folder.iterdir()] if not last else range(last)
    for number in set(numbers) - {0, 1, 2, keep}:
        with contextlib.suppress(OSError):
            os.close(number)


def _drain(told: dict[str, object]) -> int:
    """Be the process that a kernel would have started."""
    os.setsid()
    os.environ.clear()
    os.environ.update(told["environ"])  # type: ignore[call-overload]
    log = os.open(str(told["log"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 2)
    from mlops_nb.store.intake import drainer

    # The kernel that it would let alone while that computes has ended.
    drainer._wait_for_quiet = lambda *_: None  # noqa: SLF001
    return drainer.main(told["arguments"])  # type: ignore[arg-type]
