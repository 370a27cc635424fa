"""The queue of the operating system, read at the right moments and sorted by cell.

Events carry no time. So the queue is emptied, as raw bytes, when a cell begins and when it ends,
and by a thread in between: what comes out belongs to the cell that was running, and happened
after the time before and before this time. The bytes are read later, off the user's thread.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mlops_nb.capture.files import kernel
from mlops_nb.capture.files.folders import MOST_FOLDERS, folders_below, is_skipped
from mlops_nb.capture.guard import guard
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mlops_nb.capture.files.kernel import Sighting, Source

WRITE_BITS = kernel.MODIFY | kernel.MOVED_TO
_OWN_BITS = kernel.OPEN | kernel.ACCESS | kernel.CLOSE_NOWRITE

PAUSE_S = 0.02
"""Between two looks at a queue that keeps filling: 16,384 events is what it holds."""

_AT_ONCE_NS = 4_000_000
_SOON_NS = 5_000_000
_MOST_READS = 64
_MOST_WAITING = 200
_KEPT_WRITES = 20_000
_MOST_WATCHED = 4 * MOST_FOLDERS


class Seen:
    """What the operating system told of one file during one cell.

    Attributes
    ----------
    ours, theirs, unknown
        Bits of what this process did, what another did, and of what does not say who did it.
    read_since_ns
        No read was before this; None if there was none.
    written_until_ns
        No write was after this; None if there was none.
    """

    __slots__ = ("ours", "read_since_ns", "theirs", "unknown", "written_until_ns")

    def __init__(self) -> None:
        self.ours = 0
        self.theirs = 0
        self.unknown = 0
        self.read_since_ns: int | None = None
        self.written_until_ns: int | None = None


class Span:
    """The time in which a cell runs, and what was seen in it."""

    def __init__(self, thread: int = 0) -> None:
        self.thread = thread
        self.started_ns = time.time_ns()
        self.ended_ns = 0
        self.files: dict[str, Seen] = {}
        self.is_incomplete = False


@record
class _Raw:
    source: Source
    data: bytes
    span: Span | None
    own: str
    has_own_children: bool
    since_ns: int
    until_ns: int


class FolderWatch:
    """Watches folders, and keeps what happened in them by span.

    Parameters
    ----------
    ignored
        Folders that are not watched.
    sources
        Queues to use; those that the system offers if left out.
    """

    def __init__(
        self, ignored: Iterable[str] = (), sources: Sequence[Source] | None = None
    ) -> None:
        self._sources = list(kernel.open_sources() if sources is None else sources)
        self._ignored = frozenset(ignored)
        self._since: dict[str, tuple[int, object]] = {}
        self._refused: set[str] = set()
        self._raw: deque[_Raw] = deque()
        self._writes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._parsing = threading.Lock()
        self._drained_ns = time.time_ns()
        self._spans: list[Span] = []
        self._own = ""
        self._own_children = 0
        self._to_walk: deque[str] = deque()
        self._wake: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._is_stopping = threading.Event()

    # --- on and off ---------------------------------------------------------------------------

    @property
    def coverage(self) -> str:
        """Name of the best queue that is open; empty for none."""
        return self._sources[0].name if self._sources else ""

    def start(self, roots: Iterable[str]) -> None:
        """Watch what is below the roots: at once as far as a few milliseconds go."""
        if not self._sources:
            return
        deadline_ns = time.monotonic_ns() + _AT_ONCE_NS
        for root in roots:
            self._walk(root, deadline_ns)
        self._wake = os.pipe()
        for fd in self._wake:
            os.set_blocking(fd, False)
        self._thread = threading.Thread(target=self._run, name="mlops_nb files", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch nothing more."""
        self._is_stopping.set()
        self._ring()
        if self._thread is not None:
            self._thread.join(1.0)
        with self._lock:
            sources, self._sources = self._sources, []
            for source in sources:
                source.close()
        wake, self._wake = self._wake, None
        for fd in wake or ():
            with suppress(OSError):
                os.close(fd)

    def _ring(self) -> None:
        if self._wake is not None:
            with suppress(OSError):
                os.write(self._wake[1], b"\0")

    def _run(self) -> None:
        with guard("files"):
            while self._to_walk and not self._is_stopping.is_set():
                self._walk(self._to_walk.popleft(), None)
        poll = select.poll()
        for fd in [source.fd for source in self._sources] + list((self._wake or ())[:1]):
            poll.register(fd, select.POLLIN)
        while not self._is_stopping.is_set():
            poll.poll()
            with guard("files"):
                self._empty_bell()
                self.drain()
                self._parse_if_urgent()
                while self._to_walk:
                    self._walk(self._to_walk.popleft(), None)
            self._is_stopping.wait(PAUSE_S)

    def _empty_bell(self) -> None:
        if self._wake is not None:
            with suppress(OSError):
                os.read(self._wake[0], 4_096)

    # --- folders ------------------------------------------------------------------------------

    def _walk(self, root: str, deadline_ns: int | None) -> None:
        """Watch a folder and those below it; later what is not done by the deadline."""
        for folder in folders_below(root, self._ignored):
            self.watch(folder)
            if deadline_ns is not None and time.monotonic_ns() > deadline_ns:
                self._to_walk.append(root)
                return
            if self._is_stopping.is_set():
                return

    def watch(self, folder: str) -> bool:
        """Watch one folder from now on; whether it is watched."""
        _, known = self._since.get(folder, (0, None))
        if known is None and (folder in self._refused or len(self._since) >= _MOST_WATCHED):
            return False
        for source in self._sources:
            mark = source.watch(folder)
            if mark is not None:
                if mark != known:
                    self._since[folder] = time.time_ns(), mark
                return True
        self._since.pop(folder, None)
        if os.path.isdir(folder):  # noqa: PTH112
            self._refused.add(folder)
        return False

    def watch_below(self, folder: str) -> None:
        """Watch a folder at once, and those below it soon."""
        is_known = folder in self._since
        if self.watch(folder) and not is_known:
            self._to_walk.append(folder)
            self._ring()

    def is_watched(self, folder: str, since_ns: int) -> bool:
        """Whether everything in a folder was seen since a time."""
        known = self._since.get(folder)
        return known is not None and known[0] <= since_ns

    # --- spans --------------------------------------------------------------------------------

    def begin(self, span: Span) -> None:
        """Give what happens from now on to a span, until it ends."""
        with self._lock:
            self._drain()
            self._spans.append(span)

    def end(self, span: Span) -> None:
        """Give what happened until now to a span, and the rest to the one around it."""
        with self._lock:
            self._drain()
            if span in self._spans:
                self._spans.remove(span)
            span.ended_ns = time.time_ns()

    def current(self, thread: int) -> Span | None:
        """The innermost span of a thread, else of any."""
        for span in reversed(self._spans):
            if span.thread == thread:
                return span
        return self._spans[-1] if self._spans else None

    def reading(self, path: str, is_begin: bool) -> None:
        """Say that we have a file open ourselves, so that nobody takes that for a cell."""
        self.drain()
        with self._lock:
            self._own = path if is_begin else ""

    @contextmanager
    def own_children(self) -> Iterator[None]:
        """Count nothing that other processes read meanwhile: one of them is ours, such as git."""
        with self._lock:
            self._drain()
            self._own_children += 1
        try:
            yield
        finally:
            with self._lock:
                self._drain()
                self._own_children -= 1

    @property
    def has_news(self) -> bool:
        """Whether something was taken that nobody has looked at yet."""
        return bool(self._raw)

    def drain(self, *, is_needed: bool = True) -> None:
        """Take what is waiting, a microsecond where nothing is; or else only now and then."""
        if is_needed or time.time_ns() - self._drained_ns > _SOON_NS:
            with self._lock:
                self._drain()

    def _drain(self) -> None:
        for source in self._sources:
            for _ in range(_MOST_READS):
                data = source.read()
                if not data:
                    break
                span = self._spans[-1] if self._spans else None
                now_ns = time.time_ns()
                own = self._own, self._own_children > 0
                self._raw.append(_Raw(source, data, span, *own, self._drained_ns, now_ns))
        self._drained_ns = time.time_ns()

    # --- what it means ------------------------------------------------------------------------

    def parse(self) -> None:
        """Read all that was taken so far."""
        with self._parsing:
            while self._raw:
                raw = self._raw.popleft()
                for sighting in raw.source.parse(raw.data):
                    self._take(raw, sighting)

    def _parse_if_urgent(self) -> None:
        """A new folder is to be watched at once; all else can wait until the cell has ended."""
        waiting = list(self._raw)
        if len(waiting) > _MOST_WAITING or any(raw.source.is_urgent(raw.data) for raw in waiting):
            self.parse()

    def written_after(self, path: str, at_ns: int) -> bool:
        """Whether a file was written after a time, as far as that was seen."""
        return self._writes.get(path, 0) > at_ns

    def _take(self, raw: _Raw, sighting: Sighting) -> None:
        folder, name, mask, is_ours = sighting
        if mask & kernel.OVERFLOW:
            for span in self._spans if raw.span is None else (raw.span,):
                span.is_incomplete = True
            return
        path = f"{folder}/{name}" if folder != "/" else f"/{name}"
        if mask & kernel.FOLDER:
            if mask & (kernel.CREATE | kernel.MOVED_TO) and name not in {"", "."}:
                self._grow(raw, path, is_ours=is_ours)
            return
        if path == raw.own and is_ours is not False and not mask & ~_OWN_BITS:
            return
        if is_ours is False and raw.has_own_children and not mask & ~_OWN_BITS:
            return
        self._note(raw, path, mask, is_ours=is_ours)

    def _note(self, raw: _Raw, path: str, mask: int, *, is_ours: bool | None) -> None:
        if mask & WRITE_BITS:
            self._writes[path] = raw.until_ns
            while len(self._writes) > _KEPT_WRITES:
                self._writes.pop(next(iter(self._writes)))
        if raw.span is None:
            return
        seen = raw.span.files.get(path)
        if seen is None:
            seen = raw.span.files[path] = Seen()
        if is_ours is None:
            seen.unknown |= mask
        elif is_ours:
            seen.ours |= mask
        else:
            seen.theirs |= mask
        if mask & (kernel.OPEN | kernel.ACCESS) and seen.read_since_ns is None:
            seen.read_since_ns = raw.since_ns
        if mask & (WRITE_BITS | kernel.CLOSE_WRITE):
            seen.written_until_ns = raw.until_ns

    def _grow(self, raw: _Raw, folder: str, *, is_ours: bool | None) -> None:
        """Watch a folder that is new, and count the files that are in it already as written."""
        if is_skipped(folder, self._ignored):
            return
        for inner in folders_below(folder, self._ignored):
            self._refused.discard(inner)
            if not self.watch(inner):
                return
            for path in _files_in(inner):
                self._note(raw, path, kernel.MODIFY, is_ours=is_ours)


def _files_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []
