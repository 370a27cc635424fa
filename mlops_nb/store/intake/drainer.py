"""The process that drains the spool of one kernel until that is gone."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors import MissingExtra, StoreError, StoreTooNew
from mlops_nb.store.intake.describing import Describer
from mlops_nb.store.intake.drain import drain, take_in
from mlops_nb.store.intake.launching import LOCATION_VARIABLE
from mlops_nb.store.spool.folders import SpoolFolders, find_spools, lock_file, locked
from mlops_nb.store.spool.heads import write_group_heads
from mlops_nb.store.spool.segments import SpoolPosition, SpoolReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.store.database import Store

HEADS = 500

_DRAINER_LOCK = "drainer.lock"
_BUSY_PAUSE_S = 0.2
_IDLE_PAUSE_S = 1.0
# How long a child goes on when its kernel is gone and the store still cannot be written.
_PATIENCE_S = 600.0
_TROUBLE_PAUSE_S = 5.0
_SHORT_TROUBLE_S = 60.0
_KEEP_CONNECTION_S = 30.0
# A kernel that computes is let alone for so long, looked at so often, and quiet below that share.
_LONGEST_WAIT_S = 15.0
_LOOK_S = 0.2
_QUIET_SHARE = 0.3

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the child: drain one spool until its owner is gone.

    Parameters
    ----------
    arguments
        Spool folder of the store, id of the spool, state folder, notebook or an empty text. The
        store's location is in the environment: it may hold a password.
    """
    root, spool_id, state_dir, notebook = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(10)
    logging.basicConfig(level=logging.WARNING)
    location = os.environ[LOCATION_VARIABLE]
    spool = _find_spool(Path(root), Path(state_dir), spool_id)
    if spool is None:
        return 0
    lock = lock_file(spool.folders[0] / _DRAINER_LOCK, time.monotonic())
    if lock is None:
        return 0
    return _Drainer(spool, location, notebook or None, Path(state_dir)).run()


def _find_spool(root: Path, state_dir: Path, spool_id: str) -> SpoolFolders | None:
    found = (spool for spool in find_spools(root, state_dir) if spool.id == spool_id)
    return next(found, None)


class _Drainer:
    """The loop of the child; it holds a lock only while it takes something in."""

    def __init__(
        self, spool: SpoolFolders, location: str, notebook: str | None, state_dir: Path
    ) -> None:
        self._spool, self._location, self._notebook = spool, location, notebook
        self._state_dir = state_dir
        self._store: Store | None = None
        self._position = SpoolPosition(spool.id)
        self._kernel = os.getppid()
        self._trouble, self._has_told, self._well_at = "", False, 0.0
        self._last_at = time.monotonic()
        self._describer = Describer(spool.session)

    def run(self) -> int:
        """Drain until the owner is gone, and a while longer if the store cannot be written."""
        pause_s, patience_s = _BUSY_PAUSE_S, _PATIENCE_S
        while self._is_there() and patience_s > 0:
            _wait_for_quiet(self._kernel)
            is_over = self._spool.judge() == "dead"
            try:
                count = self._turn(is_over=is_over)
            except StoreTooNew as error:
                _log.warning("%s", error)
                return 2
            except (StoreError, MissingExtra, OSError) as error:
                self._tell(error)
                self._close()
                pause_s = _TROUBLE_PAUSE_S
            else:
                self._trouble, self._well_at = "", time.monotonic()
                self._let_go(count)
                pause_s = _BUSY_PAUSE_S if count else min(pause_s * 1.5, _IDLE_PAUSE_S)
            patience_s -= pause_s if is_over else 0.0
            if self._is_there():
                time.sleep(pause_s)
        if self._store is not None:
            with contextlib.suppress(StoreError):
                self._leave_heads(self._store, self._spool.candidates[0].parent.parent)
        self._close()
        return 0

    def _turn(self, *, is_over: bool) -> int:
        store = self._store or self._open()
        reader = SpoolReader(self._spool.id, self._spool.folders)
        if not is_over and not reader.has_more(self._position):
            return 0
        with locked(self._spool, time.monotonic() + _IDLE_PAUSE_S) as is_ours:
            count = take_in(store, self._spool) if is_ours else 0
        # Whoever looked at the store meanwhile may have taken in what there was.
        self._describer.look(store)
        self._position = store.spool_position(self._spool.id) or self._position
        return count

    def _open(self) -> Store:
        from mlops_nb.store.database import Store

        self._store = Store.open(self._location, create=True)
        if self._store.folder is None:  # what waits since the server was away, of any session
            drain(self._store, timeout_s=0.0, state_dir=self._state_dir)
        self._leave_heads(self._store, self._spool.folders[0])
        return self._store

    def _leave_heads(self, store: Store, folder: Path) -> None:
        """Tell the cards of a kernel, or of the next one, which attempts there were."""
        # The next attempt's number counts those that were put away, too.
        runs = store.latest_of_groups(limit=4 * HEADS, archived=True)
        runs.sort(key=lambda run: run.notebook != self._notebook)
        with contextlib.suppress(OSError):
            write_group_heads(folder, runs[:HEADS])

    def _let_go(self, count: int) -> None:
        """Give the connection back while nothing comes: a server has few for many kernels."""
        if count:
            self._last_at = time.monotonic()
        elif self._store is not None and time.monotonic() - self._last_at > _KEEP_CONNECTION_S:
            self._store.close()

    def _tell(self, error: Exception) -> None:
        """Tell the log what is new, and the kernel once, unless it is soon over."""
        if self._trouble != str(error):
            self._trouble = str(error)
            _log.warning("%s", error)
        is_short = self._well_at and time.monotonic() - self._well_at < _SHORT_TROUBLE_S
        if self._has_told or is_short:
            return
        self._has_told = True
        line = (
            f"mlops_nb: {' '.join(str(error).split())} Your cells are not affected; records wait "
            f"in {self._spool.candidates[0]} until it can be used. See: %mlops_doctor\n"
        )
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), line.encode("utf-8", "backslashreplace"))

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None

    def _is_there(self) -> bool:
        """Whether store and spool still are: somebody may have removed them."""
        is_local = "://" not in self._location
        return self._spool.is_there and (not is_local or Path(self._location).is_dir())


def _wait_for_quiet(pid: int, longest_s: float = _LONGEST_WAIT_S) -> None:
    """Wait until a process computes no more, so that it has the machine's cores for itself.

    What waits is safe on the disk, and whoever wants to read takes it in himself.
    """
    end = time.monotonic() + longest_s
    before = _cpu_s(pid)
    while before is not None and time.monotonic() < end:
        time.sleep(_LOOK_S)
        now = _cpu_s(pid)
        if now is None or now - before < _LOOK_S * _QUIET_SHARE:
            return
        before = now


def _cpu_s(pid: int) -> float | None:
    """CPU time of a process in seconds; None where it is gone, or the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    raise SystemExit(main())
