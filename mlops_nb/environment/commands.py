"""A program asked for an answer: never waited for too long, never left behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PIECE_BYTES = 1 << 16
# What was killed is gone at once, but for one that waits for a disk which does not answer.
_LAST_WAIT_S = 1.0


@record
class Answer:
    """What a program wrote; `is_cut` if it would have written more and was ended."""

    output: bytes
    status: int
    is_cut: bool = False


def ask(
    command: Sequence[str],
    *,
    timeout_s: float,
    variables: Mapping[str, str] | None = None,
    limit_bytes: int = 1 << 26,
    with_errors: bool = False,
) -> Answer | None:
    r"""Run a program without a shell and without input, and read what it writes.

    Parameters
    ----------
    command
        The program and its arguments.
    timeout_s
        Then it is ended with everything it started.
    variables
        Its environment, that of this process by default.
    limit_bytes
        More is not read; the program is ended.
    with_errors
        Read what it writes as errors too, in between.

    Returns
    -------
    Answer or None
        None if there is no such program or it took too long.

    Examples
    --------
    >>> ask(["echo", "hello"], timeout_s=10).output
    b'hello\n'
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if with_errors else subprocess.DEVNULL,
            env=variables,
            start_new_session=True,
        )
    except (OSError, ValueError):  # not there; or a name that no program can be given
        return None
    deadline = time.monotonic() + timeout_s
    output: bytes | None = None
    try:
        output = _read(process, limit_bytes, deadline)
        if output is not None and len(output) <= limit_bytes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        is_ended = process.returncode is not None
        _end(process)
    if output is None:
        return None
    if len(output) > limit_bytes:
        return Answer(output[:limit_bytes], 0, is_cut=True)
    return Answer(output, process.returncode) if is_ended else None


def _read(process: subprocess.Popen[bytes], limit_bytes: int, deadline: float) -> bytes | None:
    """Read to the end, or one byte too many; None if that takes too long."""
    pieces = bytearray()
    stream = process.stdout
    if stream is None:
        return None
    with selectors.DefaultSelector() as ready:
        ready.register(stream, selectors.EVENT_READ)
        while len(pieces) <= limit_bytes:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            if ready.select(left_s):
                piece = os.read(stream.fileno(), _PIECE_BYTES)
                if not piece:
                    break
                pieces += piece
    return bytes(pieces)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and whatever it started."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (AttributeError, OSError):
            process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_WAIT_S)
    if process.stdout is not None:
        process.stdout.close()
