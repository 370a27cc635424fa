"""From spools into a store: each event exactly once, by whoever comes first.

A small child of the kernel drains its spool all the time; any reader on the same host drains all
spools of a store before it looks. Both take a lock on the spool, read from the position that the
store has, and commit the rows with the new position in one transaction. When the owner is gone,
what it left running is marked, and the spool removed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import site
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from mlops_nb.errors import StoreError, StoreTooNew
from mlops_nb.model import ArtifactLogged, SessionChanged
from mlops_nb.store.codec import encode
from mlops_nb.store.describing import Describer
from mlops_nb.store.heads import write_group_heads
from mlops_nb.store.homes import state_folder
from mlops_nb.store.owner import is_gone, last_sign_ns
from mlops_nb.store.redacting import Redaction
from mlops_nb.store.segments import FRAME, HEADER_BYTES, SpoolPosition, SpoolReader
from mlops_nb.store.spool_folders import SpoolFolders, find_spools, lock_file, locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.model import Event
    from mlops_nb.store.database import Store
    from mlops_nb.store.spool import Spool

__all__ = ["drain", "start_drainer"]

BATCH_EVENTS = 2_000
BATCH_BYTES = 4 * 1024 * 1024
HEADS = 500
REJECTED = "rejected"
# More than so many of one spool are no bad events but a fault of this version.
_MOST_REJECTED = 100

_LOCATION_VARIABLE = "MLOPS_NB_DRAIN_STORE"
_DRAINER_LOCK = "drainer.lock"
_DRAINER_LOG = "drainer.log"
_BUSY_PAUSE_S = 0.2
_IDLE_PAUSE_S = 1.0
# How long a child goes on when its kernel is gone and the store still cannot be written.
_PATIENCE_S = 600.0
_TROUBLE_PAUSE_S = 5.0
# A kernel that computes is let alone for so long, looked at so often, and quiet below that share.
_LONGEST_WAIT_S = 15.0
_LOOK_S = 0.2
_QUIET_SHARE = 0.3
_KEEP_SUSPECTED_S = 7 * 24 * 3600.0

_log = logging.getLogger(__name__)


def drain(store: Store, *, timeout_s: float = 10.0, state_dir: Path | None = None) -> int:
    """Take in everything that was appended on this host before the call.

    Parameters
    ----------
    store
        An open store in a folder.
    timeout_s
        How long to wait for others who drain the same spools, in seconds.
    state_dir
        The user's state folder, where spools lie that found no place beside the store.

    Returns
    -------
    int
        Number of events that this call took in; 0 for a store that cannot be written.
    """
    if store.folder is None or store.is_read_only:
        return 0
    deadline = time.monotonic() + timeout_s
    count = 0
    state_dir = state_dir or state_folder()
    for spool in find_spools(store.folder / "spool", state_dir):
        try:
            with locked(spool, deadline) as is_ours:
                count += take_in(store, spool) if is_ours else 0
        except (StoreError, OSError) as trouble:
            # What is in the store can still be read; the rest stays in the spool.
            _log.warning("%s", trouble)
            return count
    _mark_orphans(store, state_dir)
    return count


def take_in(store: Store, spool: SpoolFolders) -> int:
    """Take in one spool, whose lock the caller holds; conclude it if its owner is gone.

    Returns
    -------
    int
        Number of events taken in.
    """
    # Judged before reading: of a dead owner nothing can follow what is read after this line.
    verdict = spool.judge()
    if not spool.id:
        if verdict in {"dead", "expired"}:
            spool.remove_remains()
        return 0
    committed = _committed(store, spool.id)
    reader = SpoolReader(spool.id, spool.folders)
    reader.position = committed or SpoolPosition(spool.id)
    intake, redaction = _Intake(store, spool), Redaction(spool.folders)
    count, last_ns = 0, 0
    for batch in _batches(reader):
        clean = [(position, redaction.apply(event)) for position, event in batch]
        if not intake.apply(_staged_found(clean, spool), committed):
            return count
        committed = batch[-1][0]
        count += len(batch)
        last_ns = max(last_ns, *(getattr(event, "at_ns", 0) for _, event in batch))
    last_ns = max(last_ns, *(last_sign_ns(folder) for folder in spool.folders), 0)
    if verdict == "dead":
        _conclude(store, spool, reader, committed, last_ns)
    elif verdict == "expired":
        _suspect(store, spool, last_ns)
    else:
        _remove_segments(store, reader)
    return count


def _mark_orphans(store: Store, state_dir: Path) -> None:
    """Mark sessions whose process is gone and whose spool somebody has removed."""
    gone = {session for session, owner in store.unended_sessions() if is_gone(owner)}
    if not gone or store.folder is None:
        return
    # Looked for now, not before: a spool that is there may hold the session's end.
    spools = find_spools(store.folder / "spool", state_dir)
    for session in gone - {spool.session for spool in spools}:
        with contextlib.suppress(StoreError):
            store.mark_lost(session)


def _batches(reader: SpoolReader) -> Iterator[list[tuple[SpoolPosition, Event]]]:
    """Cut what there is to read into transactions."""
    batch: list[tuple[SpoolPosition, Event]] = []
    size_bytes, last = 0, reader.position
    for position, event in reader.read(reader.position):
        size_bytes += position.offset - (last.offset if last.segment == position.segment else 0)
        last = position
        if event is not None:
            batch.append((position, event))
        if len(batch) >= BATCH_EVENTS or (batch and size_bytes >= BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _staged_found(
    batch: list[tuple[SpoolPosition, Event]], spool: SpoolFolders
) -> list[tuple[SpoolPosition, Event]]:
    """Say where the copies of files are now; the spool itself does not know its folder."""
    return [
        (position, replace(event, staged=str(_staged_path(event.staged, spool))))
        if isinstance(event, ArtifactLogged) and event.staged
        else (position, event)
        for position, event in batch
    ]


def _staged_path(name: str, spool: SpoolFolders) -> Path:
    found = (folder / name for folder in spool.folders if (folder / name).is_file())
    return next(found, spool.candidates[0] / name)


class _Intake:
    """Brings batches of one spool into a store, each in one transaction.

    An event that the store cannot take is found by halving and put aside in a file: it must
    neither keep all that follows from ever being seen, nor be lost.
    """

    def __init__(self, store: Store, spool: SpoolFolders) -> None:
        self._store, self._spool = store, spool

    def apply(
        self, batch: Sequence[tuple[SpoolPosition, Event]], after: SpoolPosition | None
    ) -> bool:
        """Apply a batch; False if somebody else has taken it in."""
        from sqlalchemy.exc import SQLAlchemyError

        events, position = [event for _, event in batch], batch[-1][0]
        try:
            done = self._store.apply(events, spool_position=position, after=_pair(after))
        except (SQLAlchemyError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                first, second = batch[:middle], batch[middle:]
                return self.apply(first, after) and self.apply(second, first[-1][0])
            self._put_aside(events[0], error)
            return self._store.apply([], spool_position=position, after=_pair(after))
        if done:
            _remove_staged(events)
        return done

    def _put_aside(self, event: Event, error: Exception) -> None:
        """Keep an event for those who will know what to do with it."""
        session, folder = self._spool.session, self._store.folder
        path = (folder or Path()) / REJECTED / self._spool.id
        if folder is None or _count_frames(path) >= _MOST_REJECTED:
            problem = f"what session {session} recorded cannot be taken in ({error})"
            remedy = "It stays in its spool. Upgrade: pip install -U mlops-nb."
            raise StoreError(self._store.location, problem, remedy) from error
        level = logging.DEBUG if path.exists() else logging.WARNING
        _log.log(level, "%s: put aside a %s of session %s", path, type(event).__name__, session)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        payload = encode(event)
        with path.open("ab") as file:
            file.write(FRAME.pack(len(payload), crc32(payload)) + payload)
            file.flush()
            os.fsync(file.fileno())


def _count_frames(path: Path) -> int:
    """Count the events that were put aside for a spool before."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0
    count = offset = 0
    while offset + FRAME.size <= len(content):
        offset += FRAME.size + FRAME.unpack_from(content, offset)[0]
        count += 1
    return count


def _committed(store: Store, spool: str) -> SpoolPosition | None:
    position = store.spool_position(spool)
    return None if position is None else SpoolPosition(*position)


def _pair(position: SpoolPosition | None) -> tuple[int, int]:
    return (0, 0) if position is None else (position.segment, position.offset)


def _conclude(
    store: Store,
    spool: SpoolFolders,
    reader: SpoolReader,
    committed: SpoolPosition | None,
    at_ns: int,
) -> None:
    """Mark what a dead owner left running, report what it lost, and remove its spool."""
    beyond = SpoolPosition(spool.id, max(reader.segments, default=-1) + 1, HEADER_BYTES)
    losses = _losses(reader)
    if losses and (committed is None or committed.segment < beyond.segment):
        _log.warning("spool %s of a dead process: %s", spool.id, losses)
        changed = SessionChanged(spool.session, at_ns, losses)
        store.apply([changed], spool_position=beyond, after=_pair(committed))
    store.mark_lost(spool.session, at_ns)
    store.make_durable()
    spool.remove()


def _suspect(store: Store, spool: SpoolFolders, at_ns: int) -> None:
    """Mark what an owner elsewhere left running, which gave no sign for longer than its lease.

    Its machine may only be asleep, so the spool is kept for a while.
    """
    store.mark_lost(spool.session, at_ns)
    if time.time_ns() - at_ns > _KEEP_SUSPECTED_S * 1e9:
        store.make_durable()
        spool.remove()


def _losses(reader: SpoolReader) -> dict[str, int]:
    """Count what a dead owner could not write, and what it left half written."""
    torn = {(tail.path, tail.offset): tail.size_bytes for tail in reader.torn}
    counts = {"records_lost": reader.unwritten(), "torn_bytes": sum(torn.values())}
    return {name: count for name, count in counts.items() if count}


def _remove_segments(store: Store, reader: SpoolReader) -> None:
    """Remove the segments that are taken in, once the store is safe from a power cut."""
    done = [path for number, path in reader.segments.items() if number < reader.position.segment]
    if done:
        store.make_durable()
    for path in done:
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_staged(events: Sequence[Event]) -> None:
    for event in events:
        if isinstance(event, ArtifactLogged) and event.staged:
            with contextlib.suppress(OSError):
                Path(event.staged).unlink()


# --- the child process ------------------------------------------------------------------------


def start_drainer(spool: Spool, location: str, *, notebook: str | None = None) -> None:
    """Start the process that drains a spool until its owner is gone; once for each spool.

    Where no process may be started, nothing happens: readers drain.

    Parameters
    ----------
    spool
        An open spool of this process.
    location
        Of the store, as `Store.open` takes it.
    notebook
        Its groups come first among the heads that the process writes.
    """
    if spool.drainer is not None or not spool.is_open or not spool.folder.is_dir():
        return
    place = location if "://" in location else str(Path(location).resolve())
    command = [sys.executable, "-P", "-m", __name__]
    arguments = [str(spool.root.resolve()), spool.id, str(spool.state_dir.resolve())]
    environment = {**os.environ, **_import_path(), _LOCATION_VARIABLE: place}
    with contextlib.suppress(OSError), (spool.folder / _DRAINER_LOG).open("ab") as log:
        spool.drainer = subprocess.Popen(
            [*command, *arguments, notebook or ""],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


def _import_path() -> dict[str, str]:
    """Let the child find this package where it is not installed but on the kernel's path."""
    place = str(Path(__file__).resolve().parents[2])
    if place in {*site.getsitepackages(), site.getusersitepackages()}:
        return {}
    known = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": f"{known}{os.pathsep}{place}" if known else place}


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
    location = os.environ[_LOCATION_VARIABLE]
    spool = _find_spool(Path(root), Path(state_dir), spool_id)
    if spool is None:
        return 0
    lock = lock_file(spool.folders[0] / _DRAINER_LOCK, time.monotonic())
    if lock is None:
        return 0
    return _Drainer(spool, location, notebook or None).run()


def _find_spool(root: Path, state_dir: Path, spool_id: str) -> SpoolFolders | None:
    found = (spool for spool in find_spools(root, state_dir) if spool.id == spool_id)
    return next(found, None)


class _Drainer:
    """The loop of the child; it holds a lock only while it takes something in."""

    def __init__(self, spool: SpoolFolders, location: str, notebook: str | None) -> None:
        self._spool, self._location, self._notebook = spool, location, notebook
        self._store: Store | None = None
        self._position = SpoolPosition(spool.id)
        self._kernel = os.getppid()
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
            except (StoreError, OSError) as error:
                _log.warning("%s", error)
                self._close()
                pause_s = _TROUBLE_PAUSE_S
            else:
                pause_s = _BUSY_PAUSE_S if count else min(pause_s * 1.5, _IDLE_PAUSE_S)
            patience_s -= pause_s if is_over else 0.0
            if self._is_there():
                time.sleep(pause_s)
        self._close()
        return 0

    def _turn(self, *, is_over: bool) -> int:
        store = self._store or self._open()
        reader = SpoolReader(self._spool.id, self._spool.folders)
        if not is_over and not reader.has_more(self._position):
            return 0
        with locked(self._spool, time.monotonic() + _IDLE_PAUSE_S) as is_ours:
            count = take_in(store, self._spool) if is_ours else 0
        if count:
            self._describer.look(store)
        self._position = _committed(store, self._spool.id) or self._position
        return count

    def _open(self) -> Store:
        from mlops_nb.store.database import Store

        self._store = Store.open(self._location, create=True)
        runs = self._store.latest_of_groups(limit=4 * HEADS)
        runs.sort(key=lambda run: run.notebook != self._notebook)
        with contextlib.suppress(OSError):
            write_group_heads(self._spool.folders[0], runs[:HEADS])
        return self._store

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None

    def _is_there(self) -> bool:
        """Whether store and spool still are: somebody may have removed them."""
        is_local = "://" not in self._location
        return bool(self._spool.folders) and (not is_local or Path(self._location).is_dir())


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
