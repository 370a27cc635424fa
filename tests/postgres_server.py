"""A real PostgreSQL server for tests, of the programs that the wheel `pgserver` brings."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from itertools import count
from pathlib import Path

USER = "lab"
PASSWORD = "p@ss/w?rd"  # noqa: S105 - of a server that lives for some seconds
QUOTED = "p%40ss%2Fw%3Frd"
NOBODY = 65534
_COMMAND_TIMEOUT_S = 60

# Nothing of it outlives a test, so it need not wait for a disk.
_SETTINGS = """
fsync = off
full_page_writes = off
synchronous_commit = off
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
shared_buffers = 32MB
jit = off
autovacuum = off
"""


def programs() -> Path | None:
    """Folder of initdb, pg_ctl and postgres: of the wheel, else of this machine; None: neither."""
    spec = find_spec("pgserver")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "pginstall" / "bin"
    found = shutil.which("pg_ctl")
    return None if found is None else Path(found).resolve().parent


class PostgresServer:
    """A server on a free port of this host, with a password, made in a folder of its own.

    It refuses to run as root, so there it runs as the user nobody.
    """

    def __init__(self) -> None:
        found = programs()
        assert found is not None
        self._folder = Path(tempfile.mkdtemp(prefix="mlops_nb-pg-"))
        self._data = self._folder / "data"
        self._programs = found
        self._numbers = count()
        self._as_nobody = {}
        self._process = None
        if os.getuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
            self._as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            self._let_nobody_run()
        self.port = 0
        try:
            self._make()
            self.start()
        except BaseException:
            self.remove()
            raise

    def _let_nobody_run(self) -> None:
        """Copy the programs where they lie in a folder that only root may enter."""
        try:
            self._run("postgres", "--version")
        except PermissionError:
            installed, copied = self._programs.parent, self._folder / "programs"
            shutil.copytree(installed, copied / "pgserver" / installed.name)
            # They look for the wheel's own libraries beside its package.
            libraries = installed.parents[1] / "pgserver.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, copied / libraries.name)
            self._programs = copied / "pgserver" / installed.name / "bin"

    def _make(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        how = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", f"--username={USER}"]
        how += [f"--pwfile={secret}", "-D", str(self._data)]
        try:  # one in which upper and lower case are alike beyond ASCII too, as with most servers
            self._run("initdb", *how, "--locale=C.UTF-8")
        except subprocess.CalledProcessError:
            self._run("initdb", *how, "--locale=C")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(_SETTINGS)

    def start(self) -> None:
        """Start it, and wait until it answers; on the port it had before."""
        self.port = self.port or _free_port()
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,  # noqa: PLW1509
                **self._how,
            )
        wait_until(lambda: self._is_ready() or self._process.poll() is not None)
        assert self._process.poll() is None, (self._folder / "log").read_text()

    def _is_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def stop(self, how: str = "fast") -> None:
        """Stop it: ``fast`` ends all connections, ``immediate`` is as pulling the plug."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "30", "stop", "-m", how)
        self._process.wait(30)

    @contextlib.contextmanager
    def frozen(self):
        """Let it be there and not answer."""
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://{USER}:{QUOTED}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make a database; gives its name."""
        name = f"lab_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}"')
        return name

    def empty(self, database: str) -> None:
        """End all connections to a store's database, and remove all rows but its version."""
        self.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            database,
        )
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        named = [name for (name,) in self.execute(tables, database) if name != "meta"]
        self.execute("; ".join(f'DELETE FROM "{name}"' for name in named), database)  # noqa: S608

    def drop_database(self, name: str) -> None:
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        import psycopg

        url = self.url(database).replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_COMMAND_TIMEOUT_S,
            **self._how,
        )

    @property
    def _how(self) -> dict:
        variables = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        variables |= {"LC_ALL": "C", "HOME": str(self._folder)}
        return {"cwd": self._folder, "env": variables, **self._as_nobody}


def _end_with_parent() -> None:
    """In the child: be stopped when the tests are killed, wherever the system can do that."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(condition, timeout_s: float = 60.0):
    """Wait for something to become true; gives it."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(condition)
