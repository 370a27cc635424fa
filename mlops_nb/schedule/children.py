"""The process that a firing starts: ``mlops-nb run``, in a group of its own, never by a shell."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from mlops_nb.record import record
from mlops_nb.redact import redact

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import IO

    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import Schedule

KEPT_LOGS = 20
"""How many logs of a schedule are kept."""

FIRING_TAG = "firing"
SCHEDULE_TAG = "schedule"

_PATIENCE_S = 10.0
_TAIL_BYTES = 4096
_LARGEST_BYTES = 10_000_000
_TEXT_CAP = 300
_CONDITION_FALSE, _INTERRUPTED = 4, 130
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")


@record
class Outcome:
    """How a firing ended: ``done``, ``failed`` or ``skipped``, its run if known, and why."""

    state: str
    run: str | None = None
    text: str = ""


def firing_mark(schedule_id: str, due_at_ns: int) -> str:
    """Name a firing, as the tag of its run says it."""
    # An id comes from the store, where anybody may have written it.
    return f"{re.sub('[^0-9A-Za-z]', '-', schedule_id)}@{due_at_ns}"


def run_command(schedule: Schedule, due_at_ns: int) -> list[str]:
    """Write the command that a firing runs, as a list of arguments.

    Where the store is stands in its environment: a command line is seen by everybody.
    """
    # Not from the notebook's folder, which may hold a module of any name.
    command = [sys.executable, "-P", "-m", "mlops_nb", "run", "--format", "json"]
    command += ["--tag", f"{SCHEDULE_TAG}={schedule.name}"]
    command += ["--tag", f"{FIRING_TAG}={firing_mark(schedule.id, due_at_ns)}"]
    for name, value in schedule.params.items():
        command += ["-p", f"{name}={value_text(value)}"]
    return [*command, "--", schedule.target]


def value_text(value: Json) -> str:
    """Write the value of a parameter as it is typed after ``-p``.

    Examples
    --------
    >>> value_text("0.5"), value_text(0.5), value_text(True), value_text([1, "a"])
    ('0.5', '0.5', 'true', '[1, "a"]')
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class Child:
    """A process that runs a firing, from its start to its outcome.

    Parameters
    ----------
    command
        What to run.
    folder
        Where.
    environment
        Its environment, all of it.
    log
        The file that gets what it says; beside it one with what it writes for programs.

    Raises
    ------
    OSError
        It cannot be started.
    """

    def __init__(
        self, command: list[str], folder: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        self.log = log
        self._written = log.with_suffix(".json")
        self._kill_at_s: float | None = None
        self.is_killed = False
        with _private(log) as said, _private(self._written) as written:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=said,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    def is_over(self) -> bool:
        """Whether it has ended; one that was told to, and does not, is killed after a while."""
        if self._process.poll() is not None:
            return True
        if self._kill_at_s is not None and time.monotonic() > self._kill_at_s:
            self._signal(signal.SIGKILL)
        return False

    def kill(self) -> None:
        """Have it end: as Ctrl-C does, so that it keeps what ran, and for good if it does not."""
        self.is_killed = True
        if self._kill_at_s is None:
            self._kill_at_s = time.monotonic() + _PATIENCE_S
            self._signal(signal.SIGINT)
        else:
            self._signal(signal.SIGKILL)

    def outcome(self) -> Outcome:
        """Say how it ended."""
        code, document = self._process.returncode, self._document()
        run = document["id"] if isinstance(document.get("id"), str) else None
        if code == 0:
            return Outcome("done", run)
        if code == _CONDITION_FALSE:
            return Outcome("skipped", run, "its condition was false")
        if self.is_killed:
            return Outcome("failed", run, "interrupted: the scheduler was told to stop at once")
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            return Outcome("failed", run, f"ended by {name}. Log: {self.log}")
        if code == _INTERRUPTED:
            return Outcome("failed", run, "interrupted")
        why = self._why(document)
        return Outcome("failed", run, f"exit code {code}{why and f': {why}'}")

    def _document(self) -> dict[str, Any]:
        """Read what the command writes for programs; empty if it wrote nothing."""
        try:
            if self._written.stat().st_size > _LARGEST_BYTES:
                return {}
            found = json.loads(self._written.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _why(self, document: Mapping[str, Any]) -> str:
        """Say what failed: the first step with an error, else the last thing that was said."""
        steps = document.get("steps")
        for step in steps if isinstance(steps, list) else ():
            error = step.get("error") if isinstance(step, dict) else None
            if isinstance(error, dict):
                text = f"{error.get('type')} in cell {error.get('cell')}: {error.get('message')}"
                return redact(printable(text))[:_TEXT_CAP]
        return self._last_line()

    def _last_line(self) -> str:
        """Read the last thing that it said."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
            return redact(printable(lines[-1]))[:_TEXT_CAP] if lines else ""
        return ""

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def printable(text: str) -> str:
    """Bring a text on one line, without what a terminal would act on."""
    return _CONTROL.sub(" ", text).encode("utf-8", "replace").decode().strip()


def new_log(folder: Path, schedule: Schedule, due_at_ns: int) -> Path:
    """Name the log of a firing, and remove the oldest ones."""
    # An id comes from the store, where anybody may have written it.
    is_plain = re.fullmatch(r"[0-9a-z]{1,64}", schedule.id) is not None
    digest = hashlib.sha256(schedule.id.encode("utf-8", "surrogatepass")).hexdigest()
    home = folder / (schedule.id if is_plain else digest)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    old = sorted(home.glob("*.log"))[: -KEPT_LOGS + 1]
    for path in old:
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
    return home / f"{due_at_ns:020}.log"


def _private(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb")
