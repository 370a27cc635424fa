"""Processes to be killed: forked from one that has everything loaded, so that a death is cheap.

Run as a program it is that process: it reads one request a line, forks a child that does it, and
answers with the child's number. A child does what kernels, readers and drainers do, with the real
`Session`, spool and drainer.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import pkgutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

COUNTER = struct.Struct("<Q")


class Counter:
    """A number in a file that a killed process leaves as it was."""

    def __init__(self, path: Path) -> None:
        with path.open("ab+") as file:
            # A page that is not there yet could not be had from a full disk.
            os.posix_fallocate(file.fileno(), 0, COUNTER.size)
            self._map = mmap.mmap(file.fileno(), COUNTER.size)

    @property
    def value(self) -> int:
        return COUNTER.unpack_from(self._map)[0]

    @value.setter
    def value(self, number: int) -> None:
        # `pack_into` zeroes the place first, and there the process may be killed.
        self._map[:] = COUNTER.pack(number)


# --- what children do -----------------------------------------------------------------------------


def track(
    folder: str,
    body: str,
    drainer: bool = False,
    user: int | None = None,
    umask: int = 0o022,
    **names: object,
) -> None:
    """Be a kernel: IPython with tracking on, whose cells are `body`, parted by a line ``---``.

    Parameters
    ----------
    drainer
        Whether the session starts its drainer, as it does where processes may be started.
    user, umask
        Of the process.
    names
        Are in its namespace; ``returned`` is its `Counter`.
    """
    from IPython import get_ipython

    returned = Counter(Path(f"{folder}.returned"))
    os.umask(umask)
    if user is not None and os.getuid() == 0:
        os.setgid(user)
        os.setuid(user)
    os.chdir(folder)
    shell = get_ipython()
    shell.user_ns.update(names, returned=returned)
    if not drainer:
        sys.executable = "/nowhere/python"
    for cell in ("%load_ext mlops_nb", "%mlops_track --interactive --quiet", *body.split("---\n")):
        if not shell.run_cell(cell, store_history=True).success:
            raise SystemExit(1)


def abandon(folder: str, session: str, points: int, key: str = "loss") -> None:
    """Log points in a cell that never ends, and die."""
    from mlops_nb import model
    from mlops_nb.store.spool import Spool, identity

    at_ns = 1_700_000_000_000_000_000
    root = Path(folder, ".mlops", "spool")
    spool = Spool.create(root, session, state_dir=Path(os.environ["MLOPS_NB_STATE_DIR"]))
    spool.append(model.SessionStarted(session, at_ns, "host", os.getpid(), "3.11", identity()))
    spool.append(model.ExecutionStarted(f"{session}-1", session, 1, at_ns, "fit()", "xxh3:0"))
    run = f"{session:0>16}"
    spool.append(model.RunStarted(run, at_ns, "churn", "interactive", session=session, group="g"))
    for step in range(points):
        spool.append_metric(run, key, float(step), step, at_ns + step, f"{session}-1")
    os.kill(os.getpid(), signal.SIGKILL)


def drain_for(folder: str, spool: str) -> None:
    """Be the process that drains one spool."""
    from mlops_nb.store.intake import drainer

    os.environ["MLOPS_NB_DRAIN_STORE"] = str(Path(folder, ".mlops"))
    state = os.environ["MLOPS_NB_STATE_DIR"]
    drainer.main([str(Path(folder, ".mlops", "spool")), spool, state, ""])


def look(folder: str, shift_s: float = 0.0) -> None:
    """Be a reader, who drains before looking, on a machine whose clock may be wrong."""
    import time

    from mlops_nb.store import Store

    true_s = time.time
    time.time = lambda: true_s() + shift_s
    with Store.open(Path(folder, ".mlops"), create=True) as store:
        store.refresh()
        sys.stdout.write(" ".join(sorted({run.status for run in store.runs()})))


def log_points(folder: str, session: str, points: int) -> None:
    """Be a script that logs points to one run."""
    import mlops_nb as mn

    sys.executable = "/nowhere/python"
    os.chdir(folder)
    returned = Counter(Path(f"{folder}.{session}"))
    with mn.run(session):
        for step in range(points):
            mn.log_metric("loss", float(step), step=step)
            returned.value = step + 1


TASKS = {task.__name__: task for task in (track, abandon, drain_for, look, log_points)}


# --- the process that forks -----------------------------------------------------------------------


def _serve() -> None:
    _load()
    children = set()
    _answer("ready")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid = request["wait"]
            answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            children.discard(pid)
        else:
            answer = _fork(**request)
            children.add(answer)
        _answer(answer)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _answer(content: object) -> None:
    sys.stdout.write(f"{content}\n")
    sys.stdout.flush()


def _load() -> None:
    """Load what children need, before there are threads, and while everything may be read."""
    import bdb

    import IPython.core.logger
    import IPython.core.magics.extension
    import pygments.formatters.terminal256
    import stack_data
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    InteractiveShell.instance(config=config)

    import mlops_nb.api
    import mlops_nb.autolog
    import mlops_nb.capture.files.watch
    import mlops_nb.capture.files.watching
    import mlops_nb.environment
    import mlops_nb.expressions
    import mlops_nb.extension
    import mlops_nb.magics
    import mlops_nb.session
    import mlops_nb.store.intake.drainer
    import mlops_nb.store.intake.launching
    import mlops_nb.tracking
    from mlops_nb.store import Store

    ours = mlops_nb.session, mlops_nb.capture, mlops_nb.tracking, mlops_nb.environment
    for package in (*ours, mlops_nb.autolog):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    del bdb, IPython, pygments, stack_data, mlops_nb
    folder = Path(os.environ["MLOPS_NB_STATE_DIR"], "warm")
    with Store.open(folder, create=True) as store:
        store.refresh()
        store.runs("metrics.x > 1")


def _fork(task: str, log: str, environment: dict[str, str] | None = None, **given) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(environment or {})
        TASKS[task](**given)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - the outermost edge of the child
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


class Nursery:
    """Makes children and waits for them."""

    def __init__(self, home: Path) -> None:
        self.home, self.state = home, home / "state"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLOPS_NB_")}
        environment |= {"HOME": str(home), "MLOPS_NB_STATE_DIR": str(self.state)}
        environment |= {"XDG_CONFIG_HOME": str(home / "config"), "IPYTHONDIR": str(home / "ip")}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._process.stdout.readline() == "ready\n"

    def start(self, task: str, folder: Path, **given: object) -> int:
        """Start a child that does one of `TASKS`; what it prints is in the file ``log``."""
        request = {"task": task, "folder": str(folder), "log": f"{folder}.log", **given}
        return int(self._ask(request))

    def run(self, task: str, folder: Path, **given: object) -> str:
        """Start a child that must end well; gives what it printed."""
        status = self.wait(self.start(task, folder, **given))
        printed = Path(f"{folder}.log").read_text(encoding="utf-8")
        assert status == 0, printed
        return printed

    def wait(self, pid: int) -> int:
        """Wait for a child's end; gives its exit status, or the signal that killed it, negative."""
        return int(self._ask({"wait": pid}))

    def _ask(self, request: dict) -> str:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.communicate(timeout=60)


if __name__ == "__main__":
    _serve()
