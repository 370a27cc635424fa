"""The engine ``local``: children forked from a process that has loaded what they need.

Not the fork server of `multiprocessing`, of which a process has just one: it would take over that
of a user's notebook, it imports their main module again, and it does not end what a child leaves.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

import mlops_nb
from mlops_nb.engines import Ended, Job, Said

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from mlops_nb.model import Json

GRACE_S = 8.0
"""How long a job that is asked to end may take: its kernel is interrupted, its run ended."""

_CLOSE_TIMEOUT_S = 15.0
_BLOCK_BYTES = 1 << 16


def echo(
    told: Mapping[str, Json], _say: Callable[[Mapping[str, Json]], None]
) -> Mapping[str, Json]:
    """Give back what was told: a job to try an engine with."""
    return told


class LocalEngine:
    """Runs jobs on this machine, as many at once as are started.

    A server is started with the first job: one process with one thread, which loads the modules,
    forks a child for each job, and ends what a child leaves behind. Should this process be
    killed, the server ends all jobs; should the server be killed, so are its children.

    Parameters
    ----------
    preload
        Modules that jobs need.
    grace_s
        How long a job that is asked to end may take.
    """

    def __init__(self, *, preload: Sequence[str] = (), grace_s: float = GRACE_S) -> None:
        self._preload, self._grace_s = tuple(preload), grace_s
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._unread = b""
        self._running: dict[str, Job] = {}

    @property
    def pid(self) -> int | None:
        """Of the server, None until the first job."""
        return self._server.pid if self._server else None

    def start(self, job: Job) -> None:
        """Begin a job; it is not waited for."""
        self.warm()
        self._running[job.name] = job
        self._ask({"start": asdict(job)})

    def warm(self) -> None:
        """Start the server, which loads its modules while we do something else."""
        if self._channel is not None:
            return
        ours, theirs = socket.socketpair()
        # The package may be on the path only because the caller put it there.
        root = str(Path(mlops_nb.__file__).parent.parent)
        begin = f"import sys; sys.path.append({root!r}); from mlops_nb.engines.server import main"
        with theirs:
            self._server = subprocess.Popen(
                # Safe path: a file random.py where it was started is none of the library's.
                [sys.executable, "-P", "-c", f"{begin}; main({theirs.fileno()})"],
                # Children have the server's hashes: a set of texts has one order for all.
                env={"PYTHONHASHSEED": "0", **os.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._channel = ours
        self.preload(self._preload)

    def preload(self, names: Sequence[str]) -> None:
        """Have modules loaded that later jobs will need, once the server has nothing else to do.

        Parameters
        ----------
        names
            Of modules; one that cannot be loaded is left to the job that needs it.
        """
        self._ask({"preload": {"modules": list(names), "grace_s": self._grace_s}})

    def wait(self, timeout_s: float | None = None) -> tuple[Said | Ended, ...]:
        """Give what jobs have told since the last call; empty if nothing came in time."""
        if self._channel is None or not self._running:
            return ()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            if not self._is_readable(deadline):
                return ()
            block = self._channel.recv(_BLOCK_BYTES)
            if not block:
                return self._all_killed()
            self._unread += block
        whole, _, self._unread = self._unread.rpartition(b"\n")
        return tuple(self._read(line) for line in whole.splitlines())

    def cancel(self, name: str) -> None:
        """Ask a job to end, and kill it with all it has started if it takes no notice."""
        if name in self._running:
            self._ask({"cancel": name})

    def close(self) -> None:
        """End everything that still runs."""
        if self._channel is None or self._server is None:
            return
        self._channel.close()
        self._channel = None
        try:
            self._server.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: Mapping[str, object]) -> None:
        if self._channel is None:
            return
        # If the server is gone, the next `wait` says so of every job.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._channel.sendall(json.dumps(request).encode() + b"\n")

    def _is_readable(self, deadline: float | None) -> bool:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)  # type: ignore[arg-type]
            return bool(selector.select(left))

    def _read(self, line: bytes) -> Said | Ended:
        message = json.loads(line)
        if "said" in message:
            return Said(message["job"], message["said"])
        self._running.pop(message["job"], None)
        return Ended(**message)

    def _all_killed(self) -> tuple[Ended, ...]:
        """Say of every job that it was killed: the server is gone, and its children with it."""
        names, self._running = list(self._running), {}
        how = {"type": "EngineDied", "message": "the process that runs the steps was killed"}
        if self._server is not None:
            self._server.wait()
        self._channel, self._unread = None, b""
        return tuple(Ended(name, None, "killed", how) for name in names)
