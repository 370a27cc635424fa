"""Running a restored notebook in a fresh kernel, from anywhere: a terminal or another kernel."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlops_nb
from mlops_nb.environment import VARIABLES
from mlops_nb.replay.restoring import as_document
from mlops_nb.replay.secrets import MAP_VARIABLE, hide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mlops_nb.model import Environment
    from mlops_nb.replay.recording import Recording

    OnProgress = Callable[[int, int, str], None]

INSIDE_VARIABLE = "MLOPS_NB_REPLAY"
"""Names the run that is being replayed, in the kernel that does it."""

_KERNEL_EXTENSION = "mlops_nb.replay.kernel"
_STOP_TIMEOUT_S = 30.0
_OF_THE_CALLER = ("MLOPS_NB_", "JPY_", "VSCODE_", "PAPERMILL_")
_KEPT = frozenset(
    f"MLOPS_NB_{name}" for name in ("BLOBS", "CONFIG", "DATA_STATISTICS", "DEBUG", "STORE")
)
_STDERR_CAP = 2_000


@dataclass(frozen=True, slots=True)
class Executed:
    """What became of a replay's cells.

    Attributes
    ----------
    problem
        Why they did not run, or not to the end; None if nothing kept them from it. A cell that
        raised is no problem: its outcome is compared.
    last_cell
        Index in the notebook of the last cell that began, -1 for none.
    """

    notebook: Path
    duration_s: float | None = None
    problem: str | None = None
    is_interrupted: bool = False
    last_cell: int = -1
    remarks: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        """Say what was done until it was stopped."""
        if self.last_cell < 0:
            return "The replay was stopped before its first cell; nothing was compared."
        kept = f" What ran is in {self.notebook}." if self.notebook.is_file() else ""
        where = f"cell {self.last_cell + 1} of its notebook"
        return f"The replay was stopped in {where}, its kernel ended, nothing compared.{kept}"


def environment_for(
    recorded: Environment | None, environ: Mapping[str, str], run: str
) -> dict[str, str]:
    """Make the variables of the replay's processes.

    Parameters
    ----------
    recorded
        What the run ran on: the allow-listed variables are set as they were then, and unset if
        they were not set.
    environ
        Those of this process.
    run
        Id of the run that is replayed.

    Examples
    --------
    >>> environment_for(None, {"HOME": "/home/ann", "JPY_PARENT_PID": "7"}, "7f3a")
    {'HOME': '/home/ann', 'MLOPS_NB_REPLAY': '7f3a'}
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not name.startswith(_OF_THE_CALLER)
    }
    if recorded is not None:
        for name in VARIABLES:
            kept.pop(name, None)
        kept.update({k: str(v) for k, v in recorded.content.get("variables", {}).items()})
    return {**kept, INSIDE_VARIABLE: run}


def execute(
    recording: Recording,
    *,
    batch: Mapping[str, Any],
    output: Path,
    secrets: Mapping[str, str],
    on_progress: OnProgress | None = None,
) -> Executed:
    """Run the cells of a recording in a fresh kernel, as one batch run.

    Parameters
    ----------
    recording
        What to run.
    batch
        As of `papermill_engine.Engine`: the new run's id, name, tags and store.
    output
        Where the executed notebook goes; written when it is complete.
    secrets
        Environment variable for each name of a secret.
    on_progress
        Called with (cell index, number of cells, ``started`` | ``done`` | ``failed``).

    Raises
    ------
    KeyboardInterrupt
        After the kernel has ended; carries an `Executed` as its argument.
    """
    # Nobody else may look in until values of secrets that a cell printed are taken out.
    with tempfile.TemporaryDirectory(prefix="mlops-nb-replay-") as folder:
        restored, executed = Path(folder, "restored.ipynb"), Path(folder, "executed.ipynb")
        document = json.dumps(as_document(recording))
        restored.write_text(document, encoding="utf-8")
        told = {
            "restored": str(restored),
            "notebook": str(recording.notebook or ""),
            "output": str(executed),
            "folder": str(recording.folder),
            "kernel": recording.kernel,
            "is_kernel_named": recording.is_kernel_named,
            "extensions": [_KERNEL_EXTENSION] if secrets else [],
            "batch": dict(batch),
        }
        environ = environment_for(recording.environment, os.environ, recording.run.id)
        if secrets:
            environ[MAP_VARIABLE] = json.dumps(dict(secrets))
        found = _watch(told, environ, on_progress)
        values = {name: os.environ[variable] for name, variable in secrets.items()}
        _keep(executed, output, values)
    result = Executed(notebook=output, **found)
    if result.is_interrupted:
        raise KeyboardInterrupt(result)
    return result


def _keep(executed: Path, output: Path, secrets: Mapping[str, str]) -> None:
    """Move the executed notebook where it is to stay, without values of secrets."""
    if not executed.is_file():
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    if secrets:
        quoted = {
            name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in secrets.items()
        }
        text = executed.read_text(encoding="utf-8")
        executed.write_text(hide(text, quoted), encoding="utf-8")
    shutil.copyfile(executed, output)


# --- the process ------------------------------------------------------------------------------


def _watch(
    told: Mapping[str, Any], environ: Mapping[str, str], on_progress: OnProgress | None
) -> dict[str, Any]:
    """Have the worker do it, and pass on what it tells."""
    found: dict[str, Any] = {"remarks": ()}
    with tempfile.TemporaryFile() as errors, _worker(environ, errors) as process:
        try:
            _begin(process, told)
            _listen(process, found, on_progress)
            process.wait()
        except KeyboardInterrupt:
            # The worker has a session of its own, so Ctrl-C has reached only us.
            _interrupt(process)
            found["is_interrupted"] = True
        if not {"duration_s", "problem", "is_interrupted"} & found.keys():
            found["problem"] = _why_ended(process, errors)
    return found


@contextmanager
def _worker(environ: Mapping[str, str], errors: Any) -> Iterator[subprocess.Popen[str]]:
    # The package may be on the path only because the caller put it there.
    root = str(Path(mlops_nb.__file__).parent.parent)
    start = f"import sys; sys.path.append({root!r}); from mlops_nb.replay.worker import main"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{start}; sys.exit(main())"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=dict(environ),
        encoding="utf-8",
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            _end_group(process)


def _begin(process: subprocess.Popen[str], told: Mapping[str, Any]) -> None:
    if process.stdin is None:
        return
    try:
        json.dump(told, process.stdin)
        process.stdin.close()
    except BrokenPipeError:
        pass  # it has ended already; why is in its errors
    process.stdin = None


def _listen(
    process: subprocess.Popen[str], found: dict[str, Any], on_progress: OnProgress | None
) -> None:
    for line in process.stdout or ():
        message = json.loads(line)
        if "cell" in message:
            if message["what"] == "started":
                found["last_cell"] = message["cell"]
            if on_progress is not None:
                on_progress(message["cell"], message["total"], message["what"])
        elif "remark" in message:
            found["remarks"] = (*found["remarks"], message["remark"])
        elif "error" in message:
            found["problem"] = message["error"]["message"]
        elif "interrupted" in message:
            found["is_interrupted"] = True
        elif "done" in message:
            found["duration_s"] = message["done"]["duration_s"]


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Have the worker interrupt its cell, end the run and stop its kernel."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_STOP_TIMEOUT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt, ValueError):
        _end_group(process)


def _end_group(process: subprocess.Popen[str]) -> None:
    """End the worker and what it has started; a kernel ends itself when its parent is gone."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            process.kill()


def _why_ended(process: subprocess.Popen[str], errors: Any) -> str:
    """Say how a worker ended that did not come to its end."""
    if process.returncode and process.returncode < 0:
        return f"its process was killed (signal {-process.returncode})"
    errors.seek(0)
    text = errors.read()[-_STDERR_CAP:].decode("utf-8", "replace").strip()
    return f"its process ended: {text.splitlines()[-1] if text else 'it said nothing'}"
