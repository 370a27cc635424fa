"""For tests of notebooks and of code that logs runs: real parts that leave nothing behind.

`temporary_store` is a store for this process, `shell` an IPython shell in this process with
tracking on, `kernel` a Jupyter kernel in a process of its own. None needs pytest:

>>> from mlops_nb import testing
>>> with testing.shell() as shell:
...     _ = shell.run("import mlops_nb as mn")
...     _ = shell.run("mn.log_metric('accuracy', 0.93)")
...     (run,) = shell.runs("metrics.accuracy > 0.9")
>>> run.status
'running'

As a fixture of pytest:

>>> def tracked_shell():  # with @pytest.fixture above it
...     with testing.shell() as shell:
...         yield shell
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import AlreadyTracking
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.model import Execution, Run
    from mlops_nb.store import Store

__all__ = ["Executed", "Kernel", "Shell", "TemporaryStore", "kernel", "shell", "temporary_store"]

_TIMEOUT_S = 60.0
_TRACK = "%mlops_track --interactive"


@record
class Executed:
    """What came of one cell.

    Attributes
    ----------
    source
        Of the cell.
    error
        As ``"ValueError: too large"``; None if it ended without one.
    result
        Value of its last expression; from a kernel its text.
    stdout, stderr
        What it printed.
    displays
        What it displayed, one mapping of MIME type to content each.
    """

    source: str
    error: str | None = None
    result: object = None
    stdout: str = ""
    stderr: str = ""
    displays: tuple[Mapping[str, Any], ...] = field(default=())


class TemporaryStore:
    """A store that is removed at the end; everything logged so far is in what it gives.

    Attributes
    ----------
    folder
        Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        from mlops_nb.store import Store

        self.folder = folder
        self._store = Store.open(folder, create=True)

    @property
    def store(self) -> Store:
        """The store itself, with everything logged so far in it."""
        self._store.refresh()
        return self._store

    def runs(self, query: str | None = None) -> list[Run]:
        """List runs, newest first, as `mlops_nb.runs` does."""
        return self.store.runs(query)

    def executions(self, run: Run) -> list[Execution]:
        """Read the executions that a run needs, in order."""
        return self.store.executions(run.executions)

    def _close(self) -> None:
        self._store.refresh()  # what drains spools in the background finds nothing any more
        self._store.close()


class Shell(TemporaryStore):
    """An IPython shell in this process, with the extension loaded.

    Attributes
    ----------
    folder
        Of its store.
    ip
        The shell itself, as ``get_ipython()`` gives it.
    """

    def __init__(self, folder: Path, ip: Any, displays: list[Mapping[str, Any]]) -> None:
        super().__init__(folder)
        self.ip = ip
        self._displays = displays

    @property
    def namespace(self) -> dict[str, Any]:
        """The names that cells have bound."""
        found: dict[str, Any] = self.ip.user_ns
        return found

    def run(self, source: str, *, check: bool = True, cell_id: str | None = None) -> Executed:
        """Run a cell to its end.

        Parameters
        ----------
        source
            Python, or magics.
        check
            Whether a cell that raises fails the test.
        cell_id
            As a notebook has it.

        Raises
        ------
        AssertionError
            The cell raised, and `check` is true; the cause is what it raised.
        """
        del self._displays[:]
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            done = self.ip.run_cell(source, store_history=True, cell_id=cell_id)
        error: BaseException | None = done.error_before_exec or done.error_in_exec
        if check and error is not None:
            raise AssertionError(_failed(source, _named(error))) from error
        return Executed(
            source,
            None if error is None else _named(error),
            done.result,
            out.getvalue(),
            err.getvalue(),
            tuple(self._displays),
        )


class Kernel(TemporaryStore):
    """A Jupyter kernel in a process of its own, with the extension loaded.

    Attributes
    ----------
    folder
        Of its store.
    pid
        Of its process.
    """

    def __init__(self, folder: Path, manager: Any) -> None:
        super().__init__(folder)
        self._manager = manager
        self._client = manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_TIMEOUT_S)

    @property
    def pid(self) -> int:
        """Of the kernel's process."""
        return int(self._manager.provisioner.pid)

    def run(self, source: str, *, check: bool = True, timeout_s: float = _TIMEOUT_S) -> Executed:
        """Run a cell to its end.

        Parameters
        ----------
        source
            Python, or magics.
        check
            Whether a cell that raises fails the test.
        timeout_s
            How long it may take.

        Raises
        ------
        AssertionError
            The cell raised, and `check` is true.
        TimeoutError
            It has not ended in time.
        """
        messages: list[Mapping[str, Any]] = []
        reply = self._client.execute_interactive(
            source, allow_stdin=False, output_hook=messages.append, timeout=timeout_s
        )
        done = _of_messages(source, reply["content"], messages)
        if check and done.error is not None:
            traceback = "\n".join(reply["content"].get("traceback", ()))
            raise AssertionError(_failed(source, done.error) + f"\n{traceback}")
        return done

    def kill(self) -> None:
        """End the kernel as ``kill -9`` does."""
        self._manager.shutdown_kernel(now=True)

    def _close(self) -> None:
        self._client.stop_channels()
        if self._manager.is_alive():
            self._manager.shutdown_kernel()
        self._manager.cleanup_resources()
        super()._close()


@contextmanager
def temporary_store() -> Iterator[TemporaryStore]:
    """Let this process log into a store of its own, which is removed at the end.

    Nothing of the user's settings counts meanwhile.

    Raises
    ------
    AlreadyTracking
        This process logs already.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> with temporary_store() as here:
    ...     with mn.run("baseline") as run:
    ...         run.log_metric("accuracy", 0.93)
    ...     [found.name for found in here.runs()]
    ['baseline']
    """
    with _own_place() as folder, ExitStack() as stack:
        made = TemporaryStore(folder / ".mlops")
        stack.callback(made._close)  # noqa: SLF001 - its own module
        stack.callback(_stop_tracking)
        yield made


@contextmanager
def shell(*, track: bool = True) -> Iterator[Shell]:
    r"""Make an IPython shell in this process, with the extension loaded, in a folder of its own.

    At the end tracking is off, the extension unloaded, and this process as it was. A shell that
    was there before comes back.

    Parameters
    ----------
    track
        Whether ``%mlops_track`` has been run.

    Raises
    ------
    AlreadyTracking
        This process logs already.

    Examples
    --------
    >>> with shell() as tracked:
    ...     tracked.run("print('hello')").stdout
    'hello\n'
    """
    with _own_place() as folder, _own_shell() as (ip, displays), ExitStack() as stack:
        before = Path.cwd()
        os.chdir(folder)
        stack.callback(os.chdir, before)
        made = Shell(folder / ".mlops", ip, displays)
        stack.callback(made._close)  # noqa: SLF001 - its own module
        stack.callback(ip.run_line_magic, "unload_ext", "mlops_nb")
        made.run("%load_ext mlops_nb")
        if track:
            made.run(_TRACK)
        yield made


@contextmanager
def kernel(*, python: str = sys.executable, track: bool = True) -> Iterator[Kernel]:
    """Start a Jupyter kernel with the extension loaded, in a folder of its own.

    Parameters
    ----------
    python
        The interpreter, which needs ipykernel and this package.
    track
        Whether ``%mlops_track`` has been run.

    Examples
    --------
    >>> with kernel() as tracked:  # doctest: +SKIP
    ...     tracked.run("1 + 1").result
    '2'
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import KernelManager

    with _own_place() as folder, ExitStack() as stack:
        manager = KernelManager(connection_file=str(folder / "connection.json"))
        argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv.append("--HistoryManager.hist_file=:memory:")
        manager._kernel_spec = KernelSpec(argv=argv, language="python")  # noqa: SLF001 - any other way asks the machine's own kernels
        manager.start_kernel(cwd=str(folder), env=dict(os.environ))
        stack.callback(manager.shutdown_kernel, now=True)
        made = Kernel(folder / ".mlops", manager)
        stack.callback(made._close)  # noqa: SLF001 - its own module
        made.run("%load_ext mlops_nb")
        if track:
            made.run(_TRACK)
        yield made


# --- a place of one's own -----------------------------------------------------------------------


@contextmanager
def _own_place() -> Iterator[Path]:
    """Make a folder, and let only settings in it count."""
    from mlops_nb import session as sessions

    session = sessions.active()
    if session is not None:
        # An address may hold a password.
        raise AlreadyTracking("a server" if "://" in session.location else session.location)
    before = dict(os.environ)
    # A process that still drains may hold on to a file of it for a moment.
    with tempfile.TemporaryDirectory(prefix="mlops_nb-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        for variable in [key for key in before if key.startswith("MLOPS_NB_")]:
            del os.environ[variable]
        os.environ |= {
            "MLOPS_NB_STORE": str(folder / ".mlops"),
            "IPYTHONDIR": str(folder / "ipython"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        try:
            yield folder
        finally:
            os.environ.clear()
            os.environ.update(before)


def _stop_tracking() -> None:
    from mlops_nb.session import stop_session

    stop_session()


@contextmanager
def _own_shell() -> Iterator[tuple[Any, list[Mapping[str, Any]]]]:
    """Make the one shell of this process; gives it, and what it displays."""
    import atexit
    import builtins

    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets import Type
    from traitlets.config import Config

    displays: list[Mapping[str, Any]] = []

    class Publisher(DisplayPublisher):  # type: ignore[misc]
        """Keeps what it is given, where that of a terminal prints its text."""

        def publish(self, data: Mapping[str, Any], *_: Any, **__: Any) -> None:
            displays.append(dict(data))

    class OwnShell(InteractiveShell):  # type: ignore[misc]
        """A shell that shows nothing by itself."""

        display_pub_class = Type(Publisher)

    other = InteractiveShell._instance  # noqa: SLF001 - there is no public way to put it back
    if other is not None:
        type(other).clear_instance()
    main, hooks = sys.modules["__main__"], (sys.displayhook, sys.excepthook)
    names = dict(vars(builtins))
    made = OwnShell.instance(config=Config(HistoryManager={"hist_file": ":memory:"}))
    try:
        yield made, displays
    finally:
        made.atexit_operations()
        atexit.unregister(made.atexit_operations)
        OwnShell.clear_instance()
        sys.modules["__main__"] = main
        sys.displayhook, sys.excepthook = hooks
        for name in set(vars(builtins)) - set(names):
            delattr(builtins, name)
        vars(builtins).update(names)
        if other is not None:
            for above in type(other)._walk_mro():  # noqa: SLF001 - as `instance` does
                above._instance = other  # noqa: SLF001


# --- what came of a cell ------------------------------------------------------------------------


def _of_messages(
    source: str, reply: Mapping[str, Any], messages: list[Mapping[str, Any]]
) -> Executed:
    contents = [(message["msg_type"], message["content"]) for message in messages]
    printed = {
        name: "".join(c["text"] for kind, c in contents if kind == "stream" and c["name"] == name)
        for name in ("stdout", "stderr")
    }
    results = [c["data"]["text/plain"] for kind, c in contents if kind == "execute_result"]
    is_error = reply["status"] == "error"
    return Executed(
        source,
        f"{reply['ename']}: {reply['evalue']}" if is_error else None,
        results[-1] if results else None,
        **printed,
        displays=tuple(c["data"] for kind, c in contents if kind == "display_data"),
    )


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _failed(source: str, error: str) -> str:
    first = next(iter(source.strip().splitlines()), "")
    return f"The cell {first[:60]!r} raised {error}"
