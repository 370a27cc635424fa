"""Which files each execution reads and writes: the layers, and the thread that hashes."""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from mlops_nb.capture.files import kernel
from mlops_nb.capture.files.alarm import (
    FLAG,
    OwnReads,
    ReadCounter,
    held_bytes,
    is_alarming,
    unexplained_bytes,
)
from mlops_nb.capture.files.digest import BUDGET_BYTES, COARSE_NS, NOTHING, Content, Digests, Stamp
from mlops_nb.capture.files.folders import remote_mounts
from mlops_nb.capture.files.mentioned import absolute, held_paths, is_plain_word, written_paths
from mlops_nb.capture.files.quiet import IS_LINUX, exists, has_children, working_directory
from mlops_nb.capture.files.state import base_of_pattern, file_state
from mlops_nb.capture.files.uses import CellFiles, Told, uses_of
from mlops_nb.capture.files.watching import FolderWatch
from mlops_nb.capture.guard import guard, is_off
from mlops_nb.environment import without_credentials
from mlops_nb.model import FileSeen
from mlops_nb.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mlops_nb.capture.files.alarm import Mark
    from mlops_nb.capture.files.state import FileState, Used
    from mlops_nb.capture.files.uses import Use
    from mlops_nb.capture.hooks import LiveExecution

FACET = "files"
LARGE_BYTES = 64_000_000
"""A file larger than this is told before it is hashed, and again afterwards."""

HELD_TIMES = 16
"""How often a file that is held open may have been read in one cell: fonts, databases."""

_SEEN_TIMES = 4
_MOST_SIZES = 2_000
_MOST_AHEAD, _KEPT_AHEAD = 20, 1_000
_MOMENT_NS = 10_000_000
_OF_THE_SYSTEM = ("/proc/", "/dev/", "/sys/")
# Of a cell that opens thousands of files the operating system tells the rest, at less cost.
_ENOUGH_DRAINED, _ENOUGH_TOLD, _MOST_TOLD = 50, 500, 10_000


class Readers(Protocol):
    """What follows the functions of libraries; see `mlops_nb.autolog.readers`."""

    def start(self, audience: Audience, *, is_alone: bool) -> None:
        """Tell from now on; alone if the operating system tells nothing."""

    def refresh(self) -> None:
        """Follow what was imported since; called before each cell."""

    def stop(self) -> None:
        """Leave every function as it was."""


class Audience(Protocol):
    """Takes what readers tell: what they see of a `FileWatch`."""

    def reader_starts(self) -> bool:
        """A reader is about to work; whether anybody wants to know."""

    def reader_told(self, told: Told) -> None:
        """A reader has done its work."""


class FileWatch:
    """Files read and written by each cell, told as `FileSeen` events.

    Parameters
    ----------
    roots
        Folders to watch with all below: the notebook's.
    emit
        Takes the events, on a thread of its own.
    readers
        Follows the functions of libraries; None leaves that layer out.
    ignored
        Folders that are none of the user's, such as the store.
    cache_file
        Where digests outlive the process.
    with_md5
        Whether to compute what DVC writes as well.
    budget_bytes
        What may be read for one execution.
    sources
        Queues of the operating system; those there are if left out.

    Attributes
    ----------
    coverage
        Which layers work, as ``"adapters, fanotify, mentioned"``.
    """

    def __init__(
        self,
        roots: Iterable[str | Path],
        emit: Callable[[FileSeen], None],
        *,
        readers: Readers | None = None,
        ignored: Iterable[str | Path] = (),
        cache_file: Path | None = None,
        with_md5: bool = False,
        budget_bytes: int = BUDGET_BYTES,
        sources: list[kernel.Source] | None = None,
    ) -> None:
        self._roots = [os.path.realpath(root) for root in roots]
        self._emit = emit
        self._readers = readers
        self._ignored = [os.path.realpath(place) for place in ignored]
        self._budget_bytes = budget_bytes
        self._folders = FolderWatch(self._ignored, sources)
        self.digests = Digests(cache_file, with_md5=with_md5, around=self._folders.reading)
        self._counter = ReadCounter()
        self._mark: Mark | None = None
        self._marked_ns = 0
        self._own_reads = OwnReads()
        self._cells: dict[int, tuple[CellFiles, Mark | None]] = {}
        self._tasks: queue.SimpleQueue[CellFiles | threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_on = False
        self._cwd = ""
        self._ahead: dict[str, None] = {}
        self._remote: tuple[str, ...] = ()
        _watches.add(self)

    @property
    def coverage(self) -> str:
        """Which layers work, best first, in one line."""
        layers = ("adapters" if self._readers else "", self._folders.coverage, "mentioned")
        return ", ".join(layer for layer in layers if layer)

    # --- on and off ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch; takes a few milliseconds."""
        with guard(FACET):
            self._folders.start(self._roots)
            self._remote = remote_mounts()
            self._thread = threading.Thread(
                target=self._work, name="mlops_nb file digests", daemon=True
            )
            self._thread.start()
            self._is_on = True
            if self._readers is not None:
                self._readers.start(self, is_alone=not self._folders.coverage)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Tell what is still to tell, not for long, and leave everything as it was."""
        was_on, self._is_on = self._is_on, False
        if not was_on:
            return
        if self._readers is not None:
            with guard(FACET):
                self._readers.stop()
        with guard(FACET):
            for cell, _ in list(self._cells.values()):
                self._folders.end(cell)
                self._tasks.put(cell)
            self._tasks.put(None)
            if self._thread is not None:
                self._thread.join(timeout_s)
                self.digests.is_stopped = True
                self._thread.join(timeout_s)
            self._folders.stop()
            self._counter.close()
            self.digests.save()

    def leave_to_parent(self) -> None:
        """Do nothing in a process that was forked from the one that is watched."""
        self._is_on = False

    def ignore(self, place: str | Path) -> None:
        """Leave out a file or folder from now on, as the notebook's own output."""
        self._ignored.append(os.path.realpath(place))

    def watch(self, folder: str | Path) -> None:
        """Watch a folder with all below, as when it is found out where the notebook is."""
        with guard(FACET):
            self._folders.watch_below(os.path.realpath(folder))

    def own_children(self) -> AbstractContextManager[None]:
        """Run a process of our own meanwhile, such as git: what it reads is not the cell's."""
        return self._folders.own_children()

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything up to now has been told; whether that was in time."""
        done = threading.Event()
        self._tasks.put(done)
        return done.wait(timeout_s)

    def state(self, use: Used, *, budget_bytes: int = BUDGET_BYTES) -> FileState:
        """Compare a file with what was used; see `file_state`."""
        return file_state(use, digests=self.digests, budget_bytes=budget_bytes)

    # --- around a cell ------------------------------------------------------------------------

    def cell_started(
        self, live: LiveExecution, lookup: Callable[[str], object] | None = None
    ) -> None:
        """Note that a cell begins.

        Parameters
        ----------
        lookup
            Gives the value of a name of the notebook, None where there is none.
        """
        if not self._is_on or is_off(FACET):
            return
        with guard(FACET):
            if self._readers is not None:
                self._readers.refresh()
            cwd = working_directory()
            text = live.event.transformed or live.event.source
            cell = CellFiles(live.id, text, cwd, threading.get_ident())
            cell.candidates = written_paths(text)
            if lookup is not None:
                cell.held = self._held(live.names.reads, lookup, cell.cwd)
            self._watch_ahead(cell)
            self._cells[id(live)] = cell, self._mark_at_start()
            self._folders.begin(cell)

    def _held(self, names: Iterable[str], lookup: Callable[[str], object], cwd: str) -> list[str]:
        """Paths that variables hold; a word without a file of its name is none.

        Most variables with text hold a word, and the thread that looks closer is woken for paths
        alone: it would take the GIL from the next cell.
        """
        texts = held_paths(names, lookup)
        if not texts or f"{cwd}/".startswith(self._remote):
            return texts
        return [text for text in texts if not is_plain_word(text) or exists(f"{cwd}/{text}")]

    def _mark_at_start(self) -> Mark | None:
        """The counters now; those of the last cell's end if it was a moment ago, as in a batch."""
        is_recent = time.monotonic_ns() - self._marked_ns < _MOMENT_NS
        return self._mark if is_recent else self._counter.mark()

    def _watch_ahead(self, cell: CellFiles) -> None:
        """Watch the folders that a cell names before it can read from them."""
        if cell.cwd != self._cwd:
            self._cwd = cell.cwd
            self._folders.watch(cell.cwd)
        texts = [text for text in (*cell.candidates, *cell.held) if "/" in text]
        for text in texts[:_MOST_AHEAD]:
            path = absolute(text, cell.cwd)
            # A server that does not answer would hold up the cell.
            if path in self._ahead or path.startswith((*self._remote, *_OF_THE_SYSTEM)):
                continue
            is_watched = self._folders.watch(os.path.realpath(os.path.dirname(path)))  # noqa: PTH120
            if os.path.isdir(path):  # noqa: PTH112
                self._folders.watch_below(os.path.realpath(path))
            if is_watched:
                self._remember(path)

    def _remember(self, place: str) -> None:
        self._ahead[place] = None
        while len(self._ahead) > _KEPT_AHEAD:
            self._ahead.pop(next(iter(self._ahead)), None)

    def cell_ended(
        self, live: LiveExecution, lookup: Callable[[str], object] | None = None
    ) -> tuple[str, ...]:
        """Note that a cell has ended; its files are told later.

        Returns
        -------
        tuple of str
            Flags of the execution: ``reads_incomplete`` if it read much more than was seen.
        """
        cell, before = self._cells.pop(id(live), (None, None))
        if cell is None:
            return ()
        with guard(FACET):
            self._folders.end(cell)
            after = self._mark = self._counter.mark()
            self._marked_ns = time.monotonic_ns()
            self._count_for_outer(before, after)
            if lookup is not None:
                cell.held += self._held(live.names.binds, lookup, cell.cwd)
            has_any = cell.told or cell.files or cell.candidates or cell.held
            if self._is_on and (has_any or self._folders.has_news):
                cell.had_children = _has_children(before, after)
                self._tasks.put(cell)
            return self._flags(cell, before, after)
        return ()

    def _count_for_outer(self, before: Mark | None, after: Mark | None) -> None:
        """What a cell inside of another one has read is not the other one's."""
        if before is None or after is None:
            return
        for key, (cell, mark) in list(self._cells.items()):
            if mark is not None:
                read_bytes = mark.read_bytes + after.read_bytes - before.read_bytes
                self._cells[key] = cell, mark._replace(read_bytes=read_bytes)

    def _flags(self, cell: CellFiles, before: Mark | None, after: Mark | None) -> tuple[str, ...]:
        if cell.is_incomplete:
            return (FLAG,)
        if before is None or after is None:
            return ()
        rest = unexplained_bytes(before, after)
        if not is_alarming(rest, 0):
            return ()
        self._folders.parse()
        explained = self._own_reads.take() + _explained_bytes(cell)
        if is_alarming(rest, explained):
            explained += HELD_TIMES * held_bytes(cell.files.__contains__)
        return (FLAG,) if is_alarming(rest, explained) or cell.is_incomplete else ()

    # --- what readers tell --------------------------------------------------------------------

    def reader_starts(self) -> bool:
        """A reader is about to work: what happened until now was before it."""
        cell = self._folders.current(threading.get_ident())
        if not isinstance(cell, CellFiles):
            return False
        count = len(cell.told)
        if count >= _MOST_TOLD or (count >= _ENOUGH_TOLD and self._folders.coverage):
            return False
        self._folders.drain(is_needed=count < _ENOUGH_DRAINED)
        return True

    def reader_told(self, told: Told) -> None:
        """A reader or writer has done its work; its folder is watched from now on."""
        cell = self._folders.current(threading.get_ident())
        if not isinstance(cell, CellFiles):
            return
        cell.told.append(told)
        if "://" in told.place:
            return
        place = told.cwd + os.sep + os.path.dirname(told.place)  # noqa: PTH120
        if place not in self._ahead:
            path = os.path.realpath(base_of_pattern(absolute(told.place, told.cwd)))
            if self._folders.watch(path):
                self._remember(place)

    # --- in the background --------------------------------------------------------------------

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if isinstance(task, threading.Event):
                task.set()
                continue
            with guard(FACET):
                self._tell(task)
                self._own_reads.take()

    def _tell(self, cell: CellFiles) -> None:
        self._folders.parse()
        if not (cell.told or cell.files or cell.candidates or cell.held):
            return
        uses = uses_of(cell, is_ignored=self._is_ignored, is_watched=self._folders.is_watched)
        left_bytes = self._budget_bytes
        for use, size_bytes in sorted(_with_sizes(uses), key=lambda pair: pair[1]):
            if LARGE_BYTES < size_bytes <= left_bytes and not self._is_known(use):
                self._tell_use(cell, use, Content("", "skipped:budget", size_bytes))
            before = self.digests.read_bytes
            content = self._content(cell, use, left_bytes)
            left_bytes = max(0, left_bytes - self.digests.read_bytes + before)
            if content is not None:
                self._tell_use(cell, use, content)

    def _is_known(self, use: Use) -> bool:
        try:
            return bool(self.digests.known(Stamp.of(os.stat(use.real))))  # noqa: PTH116
        except (OSError, ValueError):
            return False

    def _is_ignored(self, path: str) -> bool:
        return path.startswith(_OF_THE_SYSTEM) or any(
            path == place or path.startswith(place + os.sep) for place in self._ignored
        )

    def _content(self, cell: CellFiles, use: Use, budget_bytes: int) -> Content | None:
        """What a use read or wrote, as far as it is still there; None for a use of nothing."""
        if not use.real and not use.members:
            return NOTHING
        if use.members:
            below = base_of_pattern(use.place)
            content = self.digests.content_of_all(
                use.members, budget_bytes=budget_bytes, below=below
            )
        else:
            suffix = str(use.detail.get("suffix", ""))
            content = self.digests.content(use.real, budget_bytes=budget_bytes, suffix=suffix)
        if content.size_bytes is None and (_is_special(use.real) or _is_passing(use)):
            return None
        return self._proven(cell, use, content)

    def _proven(self, cell: CellFiles, use: Use, content: Content) -> Content:
        """Take a digest back if the content may not be what the cell used."""
        if not content.digest:
            return content
        self._folders.drain()
        self._folders.parse()
        # Times are coarse on Linux; that matters only where the system does not tell of writes.
        folder = os.path.dirname(use.real)  # noqa: PTH120
        is_seen = not IS_LINUX or self._folders.is_watched(folder, cell.ended_ns)
        is_torn = (
            use.was_rewritten
            or content.changed_ns > cell.ended_ns - (0 if is_seen else COARSE_NS)
            or self._folders.written_after(use.real, cell.ended_ns)
        )
        if not is_torn:
            return content
        return Content("", "torn", content.size_bytes, content.modified_ns)

    def _tell_use(self, cell: CellFiles, use: Use, content: Content) -> None:
        uri = use.place if use.real or use.members else without_credentials(use.place)
        event = FileSeen(
            execution=cell.execution,
            uri=redact(uri),
            mode=use.mode,
            evidence=use.evidence,
            at_ns=use.at_ns,
            digest=content.digest,
            assurance=content.assurance,
            size_bytes=content.size_bytes,
            modified_ns=content.modified_ns,
            md5=content.md5,
            detail=use.detail or None,
        )
        self._emit(event)


_watches: weakref.WeakSet[FileWatch] = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for watch in list(_watches):
        watch.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)


def _with_sizes(uses: Iterable[Use]) -> list[tuple[Use, int]]:
    found = []
    for use in uses:
        try:
            size_bytes = os.stat(use.real).st_size if use.real else 0  # noqa: PTH116
        except (OSError, ValueError):
            size_bytes = 0
        found.append((use, size_bytes))
    return found


def _is_special(path: str) -> bool:
    """Whether there is something that is neither file nor folder: a pipe, a device."""
    return os.path.lexists(path) and not os.path.isfile(path) and not os.path.isdir(path)  # noqa: PTH112, PTH113


def _is_passing(use: Use) -> bool:
    """Whether a file came and went within the cell, and nobody but the system saw it."""
    is_gone = not os.path.lexists(use.real)
    return (
        is_gone
        and use.evidence.startswith("kernel")
        and (use.mode == "w" or use.written_until_ns is not None)
    )


def _has_children(before: Mark | None, after: Mark | None) -> bool:
    """Whether a child may have been at work: one has ended, or one of our group is there."""
    if before is None or after is None or before.children != after.children:
        return True
    return has_children()


def _explained_bytes(cell: CellFiles) -> float:
    """Size of all that was seen to be read, as often as a reader was asked for it."""
    seen = [path for path, one in cell.files.items() if _was_read(one.ours | one.unknown)]
    told = Counter(
        os.path.realpath(absolute(one.place, one.cwd))
        for one in cell.told
        if one.mode == "r" and "://" not in one.place
    )
    # A reader tells of each time; the operating system's events are made one.
    counts = dict.fromkeys(seen, _SEEN_TIMES) | told
    if len(counts) > _MOST_SIZES:
        return float("inf")
    total = 0
    for path, count in counts.items():
        try:
            total += os.stat(path).st_size * count  # noqa: PTH116
        except (OSError, ValueError):
            continue
    return total


def _was_read(mask: int) -> bool:
    return bool(mask & (kernel.OPEN | kernel.ACCESS))
