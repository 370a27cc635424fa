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
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from mlops_nb.errors import StoreError
from mlops_nb.model import ArtifactLogged, SessionChanged
from mlops_nb.store.intake.redacting import Redaction
from mlops_nb.store.locate import spool_root
from mlops_nb.store.private import open_private
from mlops_nb.store.spool.codec import encode
from mlops_nb.store.spool.folders import SpoolFolders, find_spools, locked
from mlops_nb.store.spool.homes import STAGED_FOLDER, state_folder
from mlops_nb.store.spool.owner import Verdict, is_gone, is_of_us, last_sign_ns
from mlops_nb.store.spool.segments import FRAME, HEADER_BYTES, Damage, SpoolPosition, SpoolReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.model import Event
    from mlops_nb.store.database import Store

__all__ = ["drain"]

BATCH_EVENTS = 2_000
BATCH_BYTES = 4 * 1024 * 1024
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
    committed = store.spool_position(spool.id)
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
