"""Who writes a spool, and whether that process still lives.

First witness is a record lock on the file ``owner`` in the spool's folder: the kernel drops it
when the process ends, however it ends, and a forked child does not have it. Where the lock says
nothing, a process id is judged only inside the boot and the process namespace it came from;
elsewhere a lease decides: the file's modification time, which the owner renews.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

OwnerState: TypeAlias = Literal["alive", "dead", "elsewhere"]
Verdict: TypeAlias = Literal["alive", "dead", "elsewhere", "expired"]

OWNER_FILE = "owner"
LEASE_S = 60.0
HEARTBEAT_S = 5.0

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

# Folders whose lock this process holds. Closing any descriptor of a file drops the process's
# record locks on it, so inside the owner itself the file is never opened to be looked at.
_held: dict[tuple[int, int], Path] = {}


class OwnerLock:
    """The mark of a living owner on a spool's folder, until `release`.

    Parameters
    ----------
    folder
        The spool's folder, which exists.

    Raises
    ------
    OSError
        The folder cannot be written, or another process holds the lock.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / OWNER_FILE
        self._content = identity()
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._write(self._content)
            _lock(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            raise
        status = os.fstat(self._descriptor)
        self._inode = (status.st_dev, status.st_ino)
        _held[self._inode] = folder

    def renew(self) -> None:
        """Renew the lease; a folder that is gone or read-only by now is no error."""
        with contextlib.suppress(OSError):
            os.utime(self._descriptor)

    def release(self) -> None:
        """Say that the spool is complete, and drop the lock."""
        _held.pop(self._inode, None)
        with contextlib.suppress(OSError):
            self._write({**self._content, "closed": True})
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _write(self, content: Mapping[str, Any]) -> None:
        data = json.dumps(content).encode()
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))


def forget_locks() -> None:
    """In a forked child: the parent's locks are not ours."""
    _held.clear()


def identity() -> dict[str, Any]:
    """Tell this process from all others: boot, process namespace, process id, start time."""
    pid = os.getpid()
    return {
        "host": _host(),
        "boot": _boot_id(),
        "namespace": _namespace(),
        "user": os.getuid() if hasattr(os, "getuid") else None,
        "pid": pid,
        "started_ticks": _start_ticks(pid),
    }


def owner_state(folder: Path) -> OwnerState:
    """Judge whether the process that writes a spool still lives.

    Returns
    -------
    str
        ``alive``; ``dead``: it ended, or it closed the spool; ``elsewhere``: it cannot be judged
        from here (another machine or container) and its lease has not run out.
    """
    verdict = judge_owner(folder)
    return "dead" if verdict == "expired" else verdict


def judge_owner(folder: Path) -> Verdict:
    """Judge as `owner_state` does, and tell apart who only gave no sign for too long: expired."""
    path = folder / OWNER_FILE
    try:
        status = path.stat()
    except OSError:
        # Made a moment ago and not marked yet, or half removed.
        return _by_lease(folder)
    if (status.st_dev, status.st_ino) in _held:
        return "alive"
    content, is_locked = _look(path)
    if is_locked:
        return "alive"
    if content.get("closed") or is_gone(content):
        return "dead"
    if (content.get("boot"), content.get("namespace")) == (_boot_id(), _namespace()):
        # Without the lock it may live: any copy of the folder made inside the owner drops it.
        return "alive" if _is_running(content) else "dead"
    return _by_lease(path)


def is_gone(owner: Mapping[str, Any]) -> bool:
    """Whether a process, as `identity` describes it, has certainly ended; False if in doubt."""
    mine = identity()
    if any(owner.get(name) != mine[name] for name in ("host", "namespace")):
        return False
    return owner.get("boot") != mine["boot"] or not _is_running(owner)


def is_of_us(owner: Mapping[str, Any]) -> bool:
    """Whether a process, as `identity` describes it, ran as the user that this one runs as."""
    return bool(owner.get("user") == identity()["user"])


def last_sign_ns(folder: Path) -> int:
    """Return when the owner last renewed its lease, in nanoseconds since the epoch; 0: unknown."""
    try:
        return (folder / OWNER_FILE).stat().st_mtime_ns
    except OSError:
        return 0


def _look(path: Path) -> tuple[dict[str, Any], bool]:
    """Read an owner's file, and whether a process holds its lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return {}, False
    try:
        # A shared lock: two who look at once do not take each other for the owner.
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        is_locked = False
    except OSError as error:
        is_locked = error.errno not in _NO_LOCKS
    try:
        content = json.loads(os.pread(descriptor, 65_536, 0) or b"{}")
    except (OSError, ValueError):
        content = {}
    finally:
        os.close(descriptor)
    return (content if isinstance(content, dict) else {}), is_locked


def _lock(descriptor: int) -> None:
    """Take the lock; where the file system has none, process id and lease must do."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _is_running(content: Mapping[str, Any]) -> bool:
    """Whether the process of an owner's file runs, judged inside its own namespace."""
    pid = content.get("pid")
    if not isinstance(pid, int):
        return False
    ticks = _start_ticks(pid)
    if ticks is not None:
        return ticks == content.get("started_ticks")
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command in parentheses may hold spaces and parentheses itself.
    words = stat.rpartition(")")[2].split()
    return None if words[0] in "ZX" else int(words[19])


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return os.uname().nodename


def _host() -> str:
    """Name this machine; copies of one virtual machine often share their name alone."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="utf-8").strip()
    except OSError:
        machine = ""
    return f"{os.uname().nodename} {machine}"


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _by_lease(path: Path) -> Verdict:
    try:
        age_s = time.time() - path.stat().st_mtime
    except OSError:
        return "elsewhere"
    return "expired" if age_s > LEASE_S else "elsewhere"
