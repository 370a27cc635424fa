"""The spool: where a session's events go, one memory copy each, before any store sees them.

Inside a cell nothing waits for a disk. `Spool.append` packs an event and copies it into a
preallocated, mapped segment: no system call and no release of the interpreter lock, and yet the
event survives ``kill -9``, for the page is the kernel's. All else happens on two threads: the
keeper makes segments and brings records in memory back to a disk, the flusher has the disk take
what was written (a slow disk must not keep the keeper from making segments).
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from msgpack import packb

from mlops_nb.capture.guard import guard
from mlops_nb.model import SessionChanged
from mlops_nb.store.spool.codec import METRIC_CODE, decode, encode, pack
from mlops_nb.store.spool.homes import Homes, fallback_root, state_folder
from mlops_nb.store.spool.owner import HEARTBEAT_S, OwnerState, forget_locks, identity, owner_state
from mlops_nb.store.spool.segments import (
    END_MARK,
    FRAME_BYTES,
    HEADER_BYTES,
    LARGEST_PAYLOAD,
    SEGMENT_BYTES,
    SegmentFile,
    SpoolPosition,
    read_events,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen

    from mlops_nb.model import Binding, Event

__all__ = [
    "OwnerState",
    "Spool",
    "SpoolPosition",
    "decode",
    "encode",
    "fallback_root",
    "identity",
    "owner_state",
    "read_events",
    "state_folder",
]

MEMORY_BYTES = 64 * 1024 * 1024

# The next segment is made when a quarter of the current one is used.
_PREPARE_AT = SEGMENT_BYTES // 4
_WAIT_FOR_SEGMENT_S = 2.0
_PERIOD_S = 1.0
_BETWEEN_REQUESTS_S = 0.1
# A process that uses less than so much of a period's CPU time waits for somebody.
_QUIET_S = 0.3
_CLOSE_WAIT_S = 2.0
# How many records one append, or one turn of the keeper, brings back from memory.
_RETURN_STEP = 256

_MOST_STARTS = 10
_WELL_ENDED = (0, 2)

_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


class _Request(NamedTuple):
    """What the keeper is asked: ``prepare`` a segment (or grow one), ``return``, ``stop``."""

    kind: str
    size_bytes: int = SEGMENT_BYTES
    segment: SegmentFile | None = None


class Spool:
    """The events of one session, appended in order; made by `Spool.create`.

    Any thread may append. A child process made by fork has a spool that takes nothing, so that
    it never writes into its parent's. Trouble with a disk never raises and never blocks: events
    go to the user's state folder, then into what is left of the preallocated segments, then into
    memory, and out again when there is room.

    Attributes
    ----------
    id
        Unique for each `create`; with a position in it, the key for taking in each event once.
    session
        The session whose events these are.
    root
        The spool folder of the store.
    state_dir
        The user's state folder.
    drainer
        The child process that drains it, once started.
    restart_drainer
        Starts it as soon as the process is quiet, and another one should that be killed.
    """

    @classmethod
    def create(
        cls,
        root: Path,
        session_id: str,
        *,
        state_dir: Path | None = None,
        on_trouble: Callable[[str], None] | None = None,
    ) -> Spool:
        """Open a new spool for a session.

        Parameters
        ----------
        root
            The spool folder of the store, made if it is missing.
        session_id
            Names the folder of the spool.
        state_dir
            The user's state folder, for when `root` cannot be written.
        on_trouble
            Is told once, in one line, that the store cannot be written; on any thread.
        """
        return cls(Path(root), session_id, Path(state_dir or state_folder()), on_trouble)

    def __init__(
        self,
        root: Path,
        session_id: str,
        state_dir: Path,
        on_trouble: Callable[[str], None] | None,
    ) -> None:
        self.id = f"{session_id[:48]}.{os.urandom(6).hex()}"
        self.session, self.root, self.state_dir = session_id, root, state_dir
        self.drainer: Popen[bytes] | None = None
        self.restart_drainer: Callable[[], None] | None = None
        self._starts = 0
        self._homes = Homes(root, self.id, session_id, state_dir, on_trouble)

        # All of this is guarded by the lock. A finalizer or a signal handler that appends while
        # its own thread is inside goes through `_nested`.
        self._lock = threading.RLock()
        self._is_writing = False
        self._nested: deque[bytes] = deque()
        self._is_closed = False
        self._segment: SegmentFile | None = None
        self._map: Any = b""
        self._used = 0
        self._limit = -1
        self._is_asked = False
        self._memory: deque[bytes] = deque()
        self._memory_bytes = 0
        self._dropped = 0

        self._requests: SimpleQueue[_Request] = SimpleQueue()
        self._prepared: SimpleQueue[SegmentFile | None] = SimpleQueue()
        self._flushes: SimpleQueue[bool] = SimpleQueue()
        self._asked_at = 0.0
        self._retired: SimpleQueue[SegmentFile] = SimpleQueue()
        segment = self._homes.make_segment()
        if segment is not None:
            self._switch(segment)
        _spools.add(self)
        self._keeper = threading.Thread(target=self._keep, name="mlops_nb-spool", daemon=True)
        self._flusher = threading.Thread(target=self._flush, name="mlops_nb-flush", daemon=True)
        self._keeper.start()
        self._flusher.start()

    @property
    def folder(self) -> Path:
        """Where this spool's files are, or would be."""
        return self._homes.folder

    @property
    def is_open(self) -> bool:
        """Whether it takes events: not closed, and not the parent's in a forked child."""
        return not self._is_closed

    # --- appending, on the user's threads -----------------------------------------------------

    def append(self, event: Event) -> None:
        """Append an event; once this returns, a killed process does not lose it."""
        if not self._is_closed:
            self._write(encode(event))

    def append_metric(
        self,
        run: str,
        key: str,
        value: float,
        step: int | None,
        at_ns: int,
        execution: str | None = None,
        binding: Binding = "explicit",
        fit: str | None = None,
    ) -> None:
        """Append a `MetricLogged` without making one: the path for loops."""
        if self._is_closed:
            return
        record = (METRIC_CODE, run, key, float(value), step, at_ns, execution, binding, fit)
        try:
            payload = packb(record)
        except (TypeError, ValueError, OverflowError):
            payload = pack(record)
        self._write(payload)

    def stage(self, path: str | os.PathLike[str]) -> str | None:
        """Copy a file beside the spool, as it is now.

        Returns
        -------
        str
            For `ArtifactLogged.staged`; None where no disk took the copy.

        Raises
        ------
        OSError
            The file itself cannot be read.
        """
        return None if self._is_closed else self._homes.stage(path)

    def sync(self) -> None:
        """Ask that all events so far be written to the disk; never waits.

        Where cells follow each other quickly a few of them share one request: the thread that
        is woken takes the GIL from the next cell. What comes last is written within a second.
        """
        now = time.monotonic()
        if not self._is_closed and now - self._asked_at >= _BETWEEN_REQUESTS_S:
            self._asked_at = now
            self._flushes.put(True)

    def close(self) -> None:
        """Write out what is left and say that the spool is complete; later events are dropped."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._requests.put(_Request("stop"))
        self._keeper.join(_CLOSE_WAIT_S)
        _spools.discard(self)

    def _write(self, payload: bytes) -> None:
        with self._lock:
            if self._is_writing:
                self._nested.append(payload)
                return
            if self._is_closed:
                return
            self._is_writing = True
            try:
                self._place(payload)
                while self._nested:
                    self._place(self._nested.popleft())
            finally:
                self._is_writing = False

    def _place(self, payload: bytes) -> None:
        size = len(payload)
        start = self._used
        end = start + FRAME_BYTES + size
        if end > self._limit or self._memory:
            self._place_slowly(payload)
            return
        length = size.to_bytes(4, "little")
        behind = (end + 3) & ~3
        self._map[start + 4 : end] = crc32(payload).to_bytes(4, "little") + payload
        # No call stands between these two lines: Python raises KeyboardInterrupt after calls, and
        # here it would leave a published frame to be overwritten by the next one.
        self._map[start : start + 4] = length
        self._used = behind

    def _place_slowly(self, payload: bytes) -> None:
        """Place a record where the fast way would not do."""
        if self._memory or len(payload) > LARGEST_PAYLOAD:
            self._remember(payload)
            self._bring_back()
        elif self._has_room(payload):
            self._limit = self._size_bytes
            self._ask(SEGMENT_BYTES)
            self._place(payload)
        elif self._keeper.is_alive() and self._advance(payload, _WAIT_FOR_SEGMENT_S):
            self._place(payload)
        else:
            self._remember(payload)

    @property
    def _size_bytes(self) -> int:
        return 0 if self._segment is None else self._segment.size_bytes

    def _has_room(self, payload: bytes) -> bool:
        return self._used + FRAME_BYTES + len(payload) <= self._size_bytes

    def _ask(self, size_bytes: int) -> None:
        """Ask the keeper for the next segment, once."""
        if not self._is_asked:
            self._is_asked = True
            self._requests.put(_Request("prepare", size_bytes))

    def _advance(self, payload: bytes, timeout_s: float, *, asks: bool = True) -> bool:
        """Go on to a segment with room for a record; False if there is none in time.

        After a failure the question stays asked: the keeper tries again by itself.
        """
        size_bytes = _segment_size_for(payload)
        while True:
            if asks and self._prepared.empty():
                self._ask(size_bytes)
            try:
                segment = self._prepared.get(timeout=timeout_s)
            except Empty:
                return False
            if segment is None:
                return False
            if self._segment is not None and segment.number < self._segment.number:
                # Made before, answered after: readers go by number, so it stays empty.
                self._retired.put(segment)
            elif segment.size_bytes < size_bytes:
                self._is_asked = True
                self._requests.put(_Request("prepare", size_bytes, segment))
            else:
                self._is_asked = False
                self._switch(segment)
                return True

    def _switch(self, segment: SegmentFile) -> None:
        """Write into a new segment from now on, and mark the old one as complete."""
        old, used = self._segment, self._used
        self._segment, self._map, self._used = segment, segment.map, HEADER_BYTES
        self._limit = _PREPARE_AT
        segment.note_unwritten(self._unwritten())
        if old is not None:
            old.note_unwritten(0)
            if used < old.size_bytes:
                old.map[used : used + 4] = END_MARK
            self._retired.put(old)

    # --- memory, while no disk has room -------------------------------------------------------

    def _unwritten(self) -> int:
        return len(self._memory) + self._dropped

    def _remember(self, payload: bytes) -> None:
        """Keep a record until there is room on a disk, or count it as lost."""
        if self._memory_bytes + len(payload) > MEMORY_BYTES:
            self._dropped += 1
        else:
            self._memory.append(payload)
            self._memory_bytes += len(payload)
        if self._unwritten() == 1:
            self._requests.put(_Request("return"))
        self._note_unwritten()

    def _bring_back(self, *, asks: bool = True) -> None:
        """Copy some records from memory to a disk, in their order.

        The appending thread does this too: the keeper alone would not keep up with a loop that
        holds the interpreter lock.
        """
        memory = self._memory
        for _ in range(_RETURN_STEP):
            if not memory:
                break
            if not self._has_room(memory[0]) and not self._advance(memory[0], 0.0, asks=asks):
                break
            self._copy(memory[0])
            self._memory_bytes -= len(memory.popleft())
        if not memory and self._dropped:
            self._report_dropped()
        self._note_unwritten()

    def _copy(self, payload: bytes) -> None:
        """Copy a record into the segment, which has room for it."""
        start, end = self._used, self._used + FRAME_BYTES + len(payload)
        self._map[start + 4 : end] = crc32(payload).to_bytes(4, "little") + payload
        self._map[start : start + 4] = len(payload).to_bytes(4, "little")
        self._used = (end + 3) & ~3

    def _report_dropped(self) -> None:
        """Write down how many records found no place in memory."""
        event = SessionChanged(self.session, time.time_ns(), {"records_lost": self._dropped})
        payload = encode(event)
        if self._has_room(payload) or self._advance(payload, 0.0):
            self._copy(payload)
            self._dropped = 0

    def _note_unwritten(self) -> None:
        """Note in the segment what would be lost if the process died now."""
        if self._segment is not None:
            self._segment.note_unwritten(self._unwritten())

    # --- the two threads ----------------------------------------------------------------------

    def _keep(self) -> None:
        """Answer requests, and try to bring memory back to a disk, until `close`."""
        while True:
            try:
                request = self._requests.get(timeout=_PERIOD_S if self._unwritten() else None)
            except Empty:
                request = _Request("return")
            with guard("spool"):
                if request.kind == "prepare":
                    self._prepare(request)
                else:
                    self._return_all()
            if request.kind == "stop":
                with guard("spool"):
                    self._finish()
                return

    def _prepare(self, request: _Request) -> None:
        """Answer with a segment, or with None when no disk has room."""
        answer = None
        try:
            if request.segment is None:
                answer = self._homes.make_segment(request.size_bytes)
            elif self._homes.grow(request.segment, request.size_bytes):
                answer = request.segment
        finally:
            self._prepared.put(answer)

    def _return_all(self) -> None:
        """Bring all records in memory back, as far as there is room."""
        while unwritten := self._unwritten():
            with self._lock:
                self._is_writing = True
                try:
                    self._bring_back(asks=False)
                    wanted = _segment_size_for(self._memory[0] if self._memory else b"")
                finally:
                    self._is_writing = False
            if self._unwritten() >= unwritten and self._prepared.empty():
                segment = self._homes.make_segment(wanted)
                if segment is None:
                    return
                self._prepared.put(segment)

    def _flush(self) -> None:
        """Have the disk take what is new, when asked and every second; renew the lease."""
        flushed = (-1, -1)
        renewed_at = time.monotonic()
        goes_on = True
        while goes_on:
            cpu_s, is_quiet = time.process_time(), False
            try:
                goes_on = self._flushes.get(timeout=_PERIOD_S)
            except Empty:
                is_quiet = time.process_time() - cpu_s < _QUIET_S
            while goes_on and not self._flushes.empty():
                goes_on = self._flushes.get()
            with guard("spool"):
                self._close_retired()
                flushed = self._flush_current(flushed)
                if is_quiet and self.drainer is None:
                    self._look_after_drainer()
                if time.monotonic() - renewed_at >= HEARTBEAT_S:
                    renewed_at = time.monotonic()
                    self._homes.renew()
                    self._look_after_drainer()

    def _flush_current(self, flushed: tuple[int, int]) -> tuple[int, int]:
        with self._lock:
            segment, used = self._segment, self._used
        if segment is None or (segment.number, used) == flushed:
            return flushed
        try:
            segment.flush()
        except OSError as trouble:
            self._homes.tell(segment.path.parent, trouble)
        return (segment.number, used)

    def _look_after_drainer(self) -> None:
        """Start the drainer, and again if something killed it, a few times at most."""
        drainer, restart = self.drainer, self.restart_drainer
        if restart is None or self._starts >= _MOST_STARTS or self._is_closed:
            return
        # It ends by itself where there is nothing to do: the store is gone, or too new for it.
        if drainer is not None and drainer.poll() in {None, *_WELL_ENDED}:
            return
        self._starts += 1
        restart()

    def _close_retired(self) -> None:
        while not self._retired.empty():
            segment = self._retired.get()
            try:
                segment.flush()
            finally:
                segment.close()

    def _finish(self) -> None:
        """Close all files; the owner's mark comes last, for it says that nothing will follow."""
        if self._memory or self._dropped:
            self._homes.tell(self.folder, OSError("it was full until the end"))
        self._flushes.put(False)
        self._flusher.join()
        while not self._prepared.empty():
            prepared = self._prepared.get()
            if prepared is not None:
                prepared.discard()
        with self._lock:
            segment, used = self._segment, self._used
            self._segment, self._map, self._limit = None, b"", -1
        if segment is not None:
            segment.close(used_bytes=used)
        self._homes.release()

    def _forget(self) -> None:
        """In a forked child: take nothing, and leave the parent's files and lock alone."""
        self._is_closed = True
        self._lock = threading.RLock()
        self._segment, self._map, self._limit = None, b"", -1
        self._memory, self._nested = deque(), deque()
        self._homes.forget()
        self.drainer = self.restart_drainer = None


def _segment_size_for(payload: bytes) -> int:
    """Return the size of a segment that holds a record, in bytes, a multiple of four."""
    return max(SEGMENT_BYTES, (HEADER_BYTES + FRAME_BYTES + len(payload) + 3) & ~3)


def _after_fork_in_child() -> None:
    for spool in list(_spools):
        spool._forget()  # noqa: SLF001 - the other half of the class
    forget_locks()


os.register_at_fork(after_in_child=_after_fork_in_child)
