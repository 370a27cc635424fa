"""Fixtures for all tests: two interpreters (IPython 9 and 8), and real kernels in them."""

from __future__ import annotations

import ast
import json
import os
import queue
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = Path(__file__).parent
START_TIMEOUT_S = 60
REPLY_TIMEOUT_S = 60


def ipython8_python() -> str:
    """The interpreter with IPython 8; without it nothing may pass unseen."""
    given = os.environ.get("MLOPS_NB_IPYTHON8")
    path = Path(given) if given else ROOT / ".venv-ipython8" / "bin" / "python"
    if not path.exists():
        pytest.fail(
            f"no interpreter with IPython 8 at {path}; make it: make .venv-ipython8/ipython8.stamp"
        )
    return str(path)


@pytest.fixture(scope="session", params=["ipython9", "ipython8"])
def kernel_python(request) -> str:
    """An interpreter to start kernels with, once with IPython 9 and once with 8."""
    return sys.executable if request.param == "ipython9" else ipython8_python()


@dataclass
class Reply:
    """What came back for one request: the reply's content, and messages on the IOPub channel."""

    content: dict
    messages: list[dict] = field(default_factory=list)
    parent_id: str = ""

    @property
    def status(self) -> str:
        return self.content["status"]

    @property
    def stdout(self) -> str:
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        return self._stream("stderr")

    def _stream(self, name: str) -> str:
        streams = (m["content"] for m in self.messages if m["msg_type"] == "stream")
        return "".join(content["text"] for content in streams if content["name"] == name)

    def bundles(self, kind: str = "display_data") -> list[dict]:
        """MIME bundles of a kind of message, in order."""
        return [m["content"]["data"] for m in self.messages if m["msg_type"] == kind]

    @property
    def result(self) -> str | None:
        """Text of the last expression."""
        shown = self.bundles("execute_result")
        return shown[-1]["text/plain"] if shown else None

    @property
    def error(self) -> str | None:
        """``"ValueError: bad"`` of the error the user saw."""
        errors = [m["content"] for m in self.messages if m["msg_type"] == "error"]
        return f"{errors[-1]['ename']}: {errors[-1]['evalue']}" if errors else None


class Kernel:
    """A running kernel and a client for it.

    Parameters
    ----------
    python
        Interpreter to run it with.
    folder
        Its working directory.
    home
        Folder for HOME, IPython's and Jupyter's files, so that none of the user's count.
    """

    def __init__(self, python: str, folder: Path, home: Path) -> None:
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import KernelManager

        self.folder = folder
        self.manager = KernelManager(connection_file=str(home / "connection.json"))
        argv = [python, "-Xfrozen_modules=off", "-m", "ipykernel_launcher"]
        self.manager._kernel_spec = KernelSpec(
            argv=[*argv, "-f", "{connection_file}", "--HistoryManager.hist_file=:memory:"],
            language="python",
        )
        self.manager.start_kernel(cwd=str(folder), env=isolated_environment(home))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=START_TIMEOUT_S)

    @property
    def pid(self) -> int:
        return self.manager.provisioner.pid

    def send(self, code: str, **given) -> str:
        """Send a request without waiting; `given` may hold ``metadata`` and ``subshell_id``."""
        silent = given.get("silent", False)
        content = {
            "code": code,
            "silent": silent,
            "store_history": given.get("store_history", not silent),
            "user_expressions": given.get("user_expressions", {}),
            "allow_stdin": False,
            "stop_on_error": given.get("stop_on_error", False),
        }
        message = self.client.session.msg(
            "execute_request", content, metadata=given.get("metadata")
        )
        if given.get("subshell_id"):
            message["header"]["subshell_id"] = given["subshell_id"]
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def run(
        self, code: str, *, silent: bool = False, store_history: bool = True, **given
    ) -> Reply:
        """Run code to its end, and gather all it shows."""
        request = self.send(code, silent=silent, store_history=store_history, **given)
        return self.wait(request)

    def wait(self, request: str) -> Reply:
        """Wait until a request has been answered and the kernel is idle again."""
        reply = Reply({}, parent_id=request)
        self._until_idle(reply)
        while not reply.content:
            message = self.client.get_shell_msg(timeout=REPLY_TIMEOUT_S)
            if message["parent_header"].get("msg_id") == request:
                reply.content = message["content"]
        return reply

    def _until_idle(self, reply: Reply) -> None:
        while True:
            message = self.client.get_iopub_msg(timeout=REPLY_TIMEOUT_S)
            if message["parent_header"].get("msg_id") != reply.parent_id:
                continue
            if message["msg_type"] == "status":
                if message["content"]["execution_state"] == "idle":
                    return
            else:
                reply.messages.append(message)

    def late_messages(self, quiet_s: float = 0.5) -> list[dict]:
        """Messages that come after the kernel was idle, until none has come for a while."""
        found = []
        while True:
            try:
                found.append(self.client.get_iopub_msg(timeout=quiet_s))
            except queue.Empty:
                return found

    def evaluate(self, expression: str) -> object:
        """Value of an expression in the kernel, by a silent request; a Python literal."""
        reply = self.run("", silent=True, user_expressions={"value": expression})
        answer = reply.content["user_expressions"]["value"]
        assert answer["status"] == "ok", answer
        return ast.literal_eval(answer["data"]["text/plain"])

    def interrupt_when(self, path: Path) -> None:
        """Interrupt the running cell as soon as it has made a file."""
        while not path.exists():
            time.sleep(0.01)
        self.manager.interrupt_kernel()

    def kill(self) -> None:
        """End the kernel as ``kill -9`` does."""
        self.manager.shutdown_kernel(now=True)

    def close(self) -> None:
        """End the kernel in good order."""
        if self.manager.is_alive():
            self.manager.shutdown_kernel()
        self.client.stop_channels()
        self.manager.cleanup_resources()


def isolated_environment(home: Path) -> dict[str, str]:
    """Environment of a user with no files of their own."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_NB_", "XDG_"))}
    variables.pop("PYTEST_CURRENT_TEST", None)
    return variables | {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "jupyter"),
        "JUPYTER_DATA_DIR": str(home / "jupyter-data"),
        "JUPYTER_RUNTIME_DIR": str(home / "jupyter-run"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


@pytest.fixture
def own_settings(tmp_path_factory, monkeypatch):
    """Nothing of this machine's own settings counts."""
    home = tmp_path_factory.mktemp("home")
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name))
    for name in ("STORE", "DEBUG", "BATCH", "REPLAY", "RUN", "NOTEBOOK"):
        monkeypatch.delenv(f"MLOPS_NB_{name}", raising=False)


@pytest.fixture
def new_kernel(tmp_path, tmp_path_factory):
    """Start kernels: ``new_kernel(python)``; all are ended with the test."""
    started: list[Kernel] = []

    def start(python: str = sys.executable, folder: Path = tmp_path) -> Kernel:
        kernel = Kernel(python, folder, tmp_path_factory.mktemp("home"))
        started.append(kernel)
        return kernel

    yield start
    for kernel in started:
        kernel.close()


@pytest.fixture
def kernel(kernel_python, new_kernel) -> Kernel:
    """A fresh kernel in `tmp_path`, once with IPython 9 and once with 8."""
    return new_kernel(kernel_python)


# --- stores -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where a store is, or will be."""
    return tmp_path / ".mlops"


@pytest.fixture
def state_dir(tmp_path) -> Path:
    """The user's state folder, not made yet."""
    return tmp_path / "state"


@pytest.fixture
def store(folder):
    """A new store in `folder`."""
    from mlops_nb.store import Store

    with Store.open(folder, create=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of this session of tests."""
    from postgres_server import PostgresServer, programs

    if programs() is None:
        pytest.skip("there are no programs of PostgreSQL here: the wheel pgserver has none")
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def emptied_database(postgres) -> str:
    """A database that holds a new store; to make one takes a third of a second, to empty it none."""
    from mlops_nb.store import Store

    name = postgres.new_database()
    Store.open(postgres.url(name)).close()
    return name


@pytest.fixture
def empty_database(postgres, own_settings) -> str:
    """Address of a database in which nothing is yet."""
    name = postgres.new_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def server_store(postgres, emptied_database, own_settings) -> str:
    """Address of a store on a server, in which nothing is yet."""
    yield postgres.url(emptied_database)
    postgres.empty(emptied_database)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_location(request, tmp_path) -> str:
    """Where a store is, once in a folder and once on a server: `Store.open(…, create=True)`."""
    if request.param == "sqlite":
        return str(tmp_path / ".mlops")
    return request.getfixturevalue("server_store")


def pytest_terminal_summary(terminalreporter):
    """Tell which edges of split notebooks came from which reason."""
    told = [
        reason
        for report in terminalreporter.stats.get("passed", [])
        for name, text in report.user_properties
        if name == "edges"
        for reason in json.loads(text)
    ]
    if not told:
        return
    kinds = Counter(reason.rpartition(": ")[2].partition(" ")[0] for reason in told)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    terminalreporter.write_sep("-", f"reasons of {len(told)} edges between steps: {counts}")
    if terminalreporter.config.get_verbosity() > 0:
        for reason in told:
            terminalreporter.write_line(reason)
