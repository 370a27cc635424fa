"""What a cell raised, as text."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING

from mlops_nb.capture.guard import guard
from mlops_nb.capture.outputs import plain_text
from mlops_nb.redact import redact

if TYPE_CHECKING:
    from types import TracebackType

    from mlops_nb.capture.hooks import LiveExecution
    from mlops_nb.model import ExecutionStatus, Json

MESSAGE_LIMIT = 10_000
TRACEBACK_LIMIT = 100_000

_INTERRUPTS = (KeyboardInterrupt, asyncio.CancelledError)
# ``%%time`` compiles the body by itself, without the line of the magic.
_TIMED = "<timed exec>"


def status_of(result: object) -> ExecutionStatus:
    """How an execution ended, from IPython's result; None means it was cut short."""
    if result is None:
        return "interrupted"
    before = getattr(result, "error_before_exec", None)
    if isinstance(before, SyntaxError):
        return "syntax"
    error = before or getattr(result, "error_in_exec", None)
    if error is None:
        return "ok"
    return "interrupted" if isinstance(error, _INTERRUPTS) else "error"


def cell_error(
    live: LiveExecution, result: object, status: ExecutionStatus
) -> dict[str, Json] | None:
    """Describe what a cell raised, with the fields of `model.CellError`; None if it did not."""
    if status == "ok":
        return None
    error = getattr(result, "error_before_exec", None) or getattr(result, "error_in_exec", None)
    if not isinstance(error, BaseException):
        return {"type": "KeyboardInterrupt", "message": "", "traceback": "", "line": None}
    described: dict[str, Json] = {
        "type": type(error).__name__,
        "message": "",
        "traceback": "",
        "line": None,
    }
    with guard("errors"):
        described["message"] = redact(str(error)[:MESSAGE_LIMIT])
    with guard("errors"):
        described["traceback"] = redact(_traceback(live, error)[-TRACEBACK_LIMIT:])
    with guard("errors"):
        described["line"] = _line(live, error)
    return described


def _traceback(live: LiveExecution, error: BaseException) -> str:
    """As IPython showed it, else as Python would."""
    shown = live.trail.traceback
    if shown:
        return shown
    return plain_text("".join(traceback.format_exception(error)))


def _line(live: LiveExecution, error: BaseException) -> int | None:
    """Line of the cell, as typed, where it was raised."""
    lost = _leading_lines_lost(live)
    filename = live.filename
    if isinstance(error, SyntaxError) and error.filename in {filename, None}:
        return error.lineno + lost if error.lineno else None
    found = None
    for trace in _chain(error.__traceback__):
        code = trace.tb_frame.f_code
        if code.co_filename == filename:
            found = trace.tb_lineno + lost
        elif code.co_filename == _TIMED:
            found = trace.tb_lineno + lost + 1
    return found


def _chain(trace: TracebackType | None) -> list[TracebackType]:
    links = []
    while trace is not None:
        links.append(trace)
        trace = trace.tb_next
    return links


def _leading_lines_lost(live: LiveExecution) -> int:
    """IPython drops empty lines at the top of a cell before it compiles it."""
    raw = getattr(live.info, "raw_cell", "")
    lines = raw.splitlines()
    blank = 0
    while blank < len(lines) and not lines[blank].strip():
        blank += 1
    return blank
