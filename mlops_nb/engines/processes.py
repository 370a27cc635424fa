"""Processes below a process: finding them all, and ending them all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROC = Path("/proc")
_ROUNDS = 50
_PAUSE_S = 0.01
_PS_TIMEOUT_S = 5.0
_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36


def parents() -> dict[int, int]:
    """Give the parent of each process that runs; those that have ended are left out."""
    if not (_PROC / "self" / "stat").exists():
        return _parents_by_ps()
    found = {}
    for name in os.listdir(_PROC):  # noqa: PTH208 - a path for each of them would take longer
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            stat = (_PROC / name / "stat").read_bytes()
            # The command in parentheses may hold spaces and parentheses itself.
            state, parent = stat.rpartition(b")")[2].split(maxsplit=2)[:2]
            if state not in {b"Z", b"X"}:
                found[int(name)] = int(parent)
    return found


def _parents_by_ps() -> dict[int, int]:
    try:
        listed = subprocess.run(
            ["ps", "-axo", "pid=,ppid=,state="],
            capture_output=True,
            text=True,
            timeout=_PS_TIMEOUT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    rows = (line.split() for line in listed.splitlines())
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def descendants(pid: int, *, but: Sequence[int] = ()) -> list[int]:
    """List the processes below a process, parents before their children.

    Parameters
    ----------
    pid
        The process.
    but
        Processes that are left out with all that is below them.
    """
    children: dict[int, list[int]] = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    level = [pid]
    while level:
        level = [child for above in level for child in children.get(above, ())]
        level = [child for child in level if child not in but and child not in found]
        found += level
    return found


def is_spared(pid: int, words: Sequence[str]) -> bool:
    """Whether the command line of a process holds one of some words."""
    if not words:
        return False
    try:
        command = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return any(word.encode() in command for word in words)


def end_tree(pid: int, *, spared: Sequence[str] = ()) -> None:
    """Kill a process and all below it, also those that left its group or its session.

    The process itself is stopped first and killed last: as long as it is there, whatever loses
    its own parent on Linux becomes its child (see `adopt_orphans`) and is found.

    Parameters
    ----------
    pid
        A child of this process, or one below it.
    spared
        As of `Job`.
    """
    _send(pid, signal.SIGSTOP)
    end_below(pid, spared=spared)
    with contextlib.suppress(OSError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    _send(pid, signal.SIGKILL)


def end_below(pid: int, *, spared: Sequence[str] = (), but: Sequence[int] = ()) -> None:
    """Kill all processes below a process.

    Parameters
    ----------
    pid
        The process, which goes on.
    spared
        As of `Job`.
    but
        Processes that go on with all that is below them.
    """
    for _ in range(_ROUNDS):
        kept = [child for child in descendants(pid) if is_spared(child, spared)] if spared else []
        left = descendants(pid, but=(*but, *kept))
        if not left:
            return
        for child in left:
            _send(child, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def end_marked(mark: str, *, spared: Sequence[str] = ()) -> None:
    """Kill all processes that were started with a variable, wherever they stand by now.

    Parameters
    ----------
    mark
        As ``NAME=value``.
    spared
        As of `Job`.
    """
    word = b"\0" + mark.encode("utf-8", "surrogateescape") + b"\0"
    for pid in parents() if mark else ():
        if pid != os.getpid() and _has_word(pid, word) and not is_spared(pid, spared):
            _send(pid, signal.SIGKILL)


def _has_word(pid: int, word: bytes) -> bool:
    try:
        return word in b"\0" + (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent is gone, on Linux.

    Parameters
    ----------
    parent
        Its process id: if it is gone already, this process ends now.
    """
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of what loses its own below this process, on Linux."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
