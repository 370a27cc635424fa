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
import re
import signal
import site
import struct
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING
from zlib import crc32

from mlops_nb.capture.guard import guard
from mlops_nb.errors import MissingExtra, StoreError, StoreTooNew
from mlops_nb.model import ArtifactLogged, SessionChanged
from mlops_nb.store.codec import encode
from mlops_nb.store.describing import Describer
from mlops_nb.store.heads import write_group_heads
from mlops_nb.store.homes import STAGED_FOLDER, state_folder
from mlops_nb.store.locate import spool_root
from mlops_nb.store.owner import Verdict, is_gone, is_of_us, last_sign_ns
from mlops_nb.store.private import open_private
from mlops_nb.store.redacting import Redaction
from mlops_nb.store.segments import FRAME, HEADER_BYTES, Damage, SpoolPosition, SpoolReader
from mlops_nb.store.spool_folders import SpoolFolders, find_spools, lock_file, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

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

# What an event does that holds values of types it should not hold.
_OF_AN_EVENT = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    struct.error,
)
_END_OF_TIME_NS = 2**63
_STAGED = re.compile(rf"{STAGED_FOLDER}/[0-9a-f]{{16}}")

_LOCATION_VARIABLE = "MLOPS_NB_DRAIN_STORE"
_DRAINER_LOCK = "drainer.lock"
_DRAINER_LOG = "drainer.log"
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
_KEEP_SUSPECTED_S = 7 * 24 * 3600.0

_log = logging.getLogger(__name__)


def drain(store: Store, *, timeout_s: float = 10.0, state_dir: Path | None = None) -> int:
    """Take in everything that was appended on this host before the call.

    Parameters
    ----------
    store
        An open store. Spools of one on a server lie in the user's state folder.
    timeout_s
        How long to wait for others who drain the same spools, in seconds.
    state_dir
        The user's state folder, where spools lie that found no place beside the store.

    Returns
    -------
    int
        Number of events that this call took in; 0 for a store that cannot be written.
    """
    if store.is_read_only:
        return 0
    deadline = time.monotonic() + timeout_s
    count = 0
    state_dir = state_dir or state_folder()
    for spool in find_spools(spool_root(store.location, state_dir), state_dir):
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
    reader = SpoolReader(spool.id, spool.folders, is_over=verdict == "dead")
    reader.position = committed or SpoolPosition(spool.id)
    intake, redaction = _Intake(store, spool), Redaction(spool.folders)
    count, last_ns = 0, 0
    for batch in _batches(reader, spool.session):
        clean = [(position, redaction.apply(event)) for position, event in batch]
        if not intake.apply(_staged_found(clean, spool), committed):
            return count
        committed = batch[-1][0]
        count += len(batch)
        last_ns = max(last_ns, *(_time_of(event) for _, event in batch))
    last_ns = max(last_ns, *(last_sign_ns(folder) for folder in spool.folders), 0)
    if reader.too_new is not None:
        _leave_to_newer(store, spool, reader, verdict, last_ns)
    elif verdict == "dead":
        _conclude(store, spool, reader, committed, last_ns)
    elif verdict == "expired":
        _suspect(store, spool, last_ns)
    else:
        _remove_segments(store, reader)
    return count


def _mark_orphans(store: Store, state_dir: Path) -> None:
    """Mark sessions whose process is gone and whose spool somebody has removed."""
    unended = store.unended_sessions()
    if store.folder is None:  # spools of other users lie where only they see them
        unended = [(session, owner) for session, owner in unended if is_of_us(owner)]
    gone = {session for session, owner in unended if is_gone(owner)}
    if not gone:
        return
    # Looked for now, not before: a spool that is there may hold the session's end.
    spools = find_spools(spool_root(store.location, state_dir), state_dir)
    for session in gone - {spool.session for spool in spools}:
        with contextlib.suppress(StoreError):
            store.mark_lost(session)


def _batches(reader: SpoolReader, session: str) -> Iterator[list[tuple[SpoolPosition, Event]]]:
    """Cut what there is to read into transactions; damage becomes an event that says so."""
    batch: list[tuple[SpoolPosition, Event]] = []
    size_bytes, last = 0, reader.position
    for position, found in reader.read(reader.position):
        size_bytes += position.offset - (last.offset if last.segment == position.segment else 0)
        last = position
        event = _as_event(found, session, batch) if isinstance(found, Damage) else found
        if event is not None:
            batch.append((position, event))
        if len(batch) >= BATCH_EVENTS or (batch and size_bytes >= BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _as_event(
    damage: Damage, session: str, batch: Sequence[tuple[SpoolPosition, Event]]
) -> SessionChanged:
    """Say in the store what could not be read, with the time of what came before it."""
    where, size_bytes = f"{damage.path}, byte {damage.offset}", damage.size_bytes
    _log.warning("%s: torn_bytes=%d of session %s cannot be read", where, size_bytes, session)
    times = [at_ns for _, event in batch if (at_ns := _time_of(event))]
    at_ns = times[-1] if times else time.time_ns()
    return SessionChanged(session, at_ns, {"torn_bytes": size_bytes})


def _time_of(event: Event) -> int:
    """Return when an event happened; 0 where it does not say, or nothing that could be."""
    at_ns = getattr(event, "at_ns", 0)
    return at_ns if isinstance(at_ns, int) and 0 < at_ns < _END_OF_TIME_NS else 0


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
    """Find a copy; a name of any other form would lead to files that are none of ours."""
    is_name = isinstance(name, str) and _STAGED.fullmatch(name)
    paths = [folder / name for folder in spool.candidates] if is_name else []
    copies = (path for path in paths if path.is_file() and not _leads_away(path))
    return next(copies, spool.candidates[0] / STAGED_FOLDER / "none")


def _leads_away(copy: Path) -> bool:
    return copy.is_symlink() or copy.parent.is_symlink()


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
        except (SQLAlchemyError, *_OF_AN_EVENT) as error:
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
        session = self._spool.session
        home = self._store.folder or self._spool.candidates[0].parent.parent
        path = home / REJECTED / self._spool.id
        if _count_frames(path) >= _MOST_REJECTED:
            problem = f"what session {session} recorded cannot be taken in ({error})"
            remedy = "It stays in its spool. Upgrade: pip install -U mlops-nb."
            raise StoreError(self._store.location, problem, remedy) from error
        level = logging.DEBUG if path.exists() else logging.WARNING
        _log.log(level, "%s: put aside a %s of session %s", path, type(event).__name__, session)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        payload = encode(event)
        with open_private(path, "ab") as file:
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
    lost = reader.unwritten()
    if lost and (committed is None or committed.segment < beyond.segment):
        _log.warning("spool %s of a dead process: records_lost=%d", spool.id, lost)
        changed = SessionChanged(spool.session, at_ns, {"records_lost": lost})
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


def _leave_to_newer(
    store: Store, spool: SpoolFolders, reader: SpoolReader, verdict: Verdict, at_ns: int
) -> None:
    """Keep what only a newer version can read; it will revise what is marked here."""
    _log.warning("%s: a newer version wrote it. Upgrade: pip install -U mlops-nb", reader.too_new)
    if verdict in {"dead", "expired"}:
        store.mark_lost(spool.session, at_ns)


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


def start_drainer(
    spool: Spool,
    location: str,
    *,
    notebook: str | None = None,
    on_trouble: Callable[[str], None] | None = None,
) -> None:
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
    on_trouble
        Is told once, in one line, that a server cannot be used; on a thread of its own.
    """
    if spool.drainer is not None or not spool.is_open or not spool.folder.is_dir():
        return
    place = location if "://" in location else str(Path(location).resolve())
    command = [sys.executable, "-P", "-m", __name__]
    arguments = [str(spool.root.resolve()), spool.id, str(spool.state_dir.resolve())]
    ours = {**_import_path(), **_blob_place(), _LOCATION_VARIABLE: place}
    environment = {**os.environ, **ours}
    command += [*arguments, notebook or ""]
    spool.restart_drainer = partial(_launch, spool, command, environment, on_trouble)
    spool.restart_drainer()


def _launch(
    spool: Spool,
    command: Sequence[str],
    environment: Mapping[str, str],
    on_trouble: Callable[[str], None] | None,
) -> None:
    log_file = spool.folder / _DRAINER_LOG
    with contextlib.suppress(OSError), open_private(log_file, "ab") as log:
        spool.drainer = subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if on_trouble is None else subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        if on_trouble is not None and spool.drainer.stdout is not None:
            said = (spool.drainer.stdout, on_trouble)
            Thread(target=_listen, args=said, name="mlops_nb-trouble", daemon=True).start()


def _listen(words: IO[bytes], on_trouble: Callable[[str], None]) -> None:
    """Hand on the one line that the child may say."""
    with words, guard("drain"):
        if line := words.readline().decode("utf-8", "replace").strip():
            on_trouble(line)


def _blob_place() -> dict[str, str]:
    """Let a relative folder for bytes mean the same to the child, which runs elsewhere."""
    place = os.environ.get("MLOPS_NB_BLOBS", "")
    return {"MLOPS_NB_BLOBS": str(Path(place).resolve())} if place and "://" not in place else {}


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
        self._position = _committed(store, self._spool.id) or self._position
        return count

    def _open(self) -> Store:
        from mlops_nb.store.database import Store

        self._store = Store.open(self._location, create=True)
        if self._store.folder is None:  # what waits since the server was away, of any session
            drain(self._store, timeout_s=0.0, state_dir=self._state_dir)
        runs = self._store.latest_of_groups(limit=4 * HEADS)
        runs.sort(key=lambda run: run.notebook != self._notebook)
        with contextlib.suppress(OSError):
            write_group_heads(self._spool.folders[0], runs[:HEADS])
        return self._store

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
