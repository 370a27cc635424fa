"""Page tracking: the word of the operating system that nothing was written to some memory.

Linux can mark pages and clear the mark when anything writes to them: Python, a C library, the
kernel itself (``userfaultfd`` with asynchronous write protection, read by ``PAGEMAP_SCAN``; Linux
6.7). That says of a gigabyte in less than a millisecond that it is what it was.

The rule is that everything unknown counts as written. So the question asked is never "which
pages were written" but "which pages carry our mark still": memory that was freed, mapped anew,
dropped, or never marked has none. Memory that others can write without this process (shared,
mapped from a file, pinned for a device) is not watched at all, and nothing is watched where a
trial at the start does not go as it must.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import re
import sys
import threading
import weakref
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Range: TypeAlias = tuple[int, int]
"""A first address and the one after the last."""

PAGE_BYTES = mmap.PAGESIZE

LEAST_MAPPING_BYTES = 1_048_576
"""Smaller mappings change hands too often to be worth it."""

_SYSTEM_CALLS = {"x86_64": 323, "aarch64": 282}
_USER_MODE_ONLY = 1

_API, _REGISTER, _UNREGISTER, _WRITEPROTECT = 0xC018AA3F, 0xC020AA00, 0x8010AA01, 0xC018AA06
_API_VERSION = 0xAA
_WP, _WP_UNPOPULATED, _WP_ASYNC = 1 << 0, 1 << 13, 1 << 15
_REGISTER_WP, _PROTECT = 2, 1

_SCAN = 0xC0606610
_WP_MATCHING, _CHECK_WPASYNC = 1, 2
_IS_WATCHED, _IS_WRITTEN, _IS_PRESENT, _IS_SWAPPED = 1 << 0, 1 << 1, 1 << 3, 1 << 4

_RANGES_AT_ONCE = 512
_MOST_RANGES = 8_192
_ATTEMPTS = 20
_FILTERED = b"Seccomp:\t2"


class _Scan(ctypes.Structure):
    """``struct pm_scan_arg``."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            *("size", "flags", "start", "end", "walk_end", "vec", "vec_len", "max_pages"),
            *("category_inverted", "category_mask", "category_anyof_mask", "return_mask"),
        )
    )


@dataclass(eq=False, slots=True)
class Watch:
    """Memory that is watched for one value.

    Attributes
    ----------
    pages
        Whole pages, sorted, without overlap.
    spoiled
        What was found written while the marks were set anew for another value.
    """

    pages: tuple[Range, ...]
    spoiled: list[Range] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Size of the pages."""
        return size_of(self.pages)

    def pages_as_regions(self) -> list[tuple[int, int]]:
        """Return the pages in the form that `PageOracle.arm` takes."""
        return [(start, end - start) for start, end in self.pages]


class PageOracle:
    """Tells what was written to since it was armed; see `start`.

    All methods may be called from any thread. A child process made by ``fork`` has none: every
    answer there is "unknown".
    """

    def __init__(self, uffd: int, pagemap: int) -> None:
        self._files = [uffd, pagemap]
        self._uffd, self._pagemap = uffd, pagemap
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._watches: list[Watch] = []
        self._abandoned: deque[Watch] = deque()
        self._found = (ctypes.c_uint64 * (3 * _RANGES_AT_ONCE))()
        _oracles.add(self)

    @classmethod
    def start(cls) -> PageOracle | None:
        """Make an oracle, and try it on memory of its own.

        Returns
        -------
        PageOracle or None
            None where page tracking cannot be proved to work: another system or an older
            kernel, no permission, no ``/proc``, a process whose system calls are filtered.

        Examples
        --------
        >>> oracle = PageOracle.start()
        >>> oracle is None or oracle.is_on
        True
        """
        files = _open()
        if files is None:
            return None
        oracle = cls(*files)
        try:
            is_true = _stands_trial(oracle)
        except OSError:
            is_true = False
        if not is_true:
            oracle.stop()
            return None
        return oracle

    @property
    def is_on(self) -> bool:
        """Whether it can tell anything: not after `stop`, and not in a child process."""
        return bool(self._files) and os.getpid() == self._pid

    def arm(self, regions: Iterable[tuple[int, int]]) -> Watch | None:
        """Start to watch memory.

        Parameters
        ----------
        regions
            Address and size in bytes of each piece; widened to whole pages.

        Returns
        -------
        Watch or None
            None where a write could be missed: memory that is shared, mapped from a file, or
            perhaps pinned for a device.
        """
        watch = Watch(as_pages(regions))
        with self._lock:
            if not watch.pages or not self._protect(watch):
                return None
            self._watches.append(watch)
        return watch

    def rearm(self, watch: Watch) -> bool:
        """Forget what was written so far; False where that cannot be done any more."""
        with self._lock:
            watch.spoiled.clear()
            return watch in self._watches and self._protect(watch)

    def dirty(self, watch: Watch) -> list[Range] | None:
        """Tell which pages may have been written since they were armed.

        Returns
        -------
        list or None
            Ranges of whole pages, empty if nothing was written; None if nothing is known.
        """
        with self._lock:
            if not self.is_on or watch not in self._watches:
                return None
            return united([*self._unmarked(watch.pages), *watch.spoiled])

    def disarm(self, watch: Watch) -> None:
        """Stop to watch: writing there costs nothing any more."""
        self.abandon(watch)
        with self._lock:
            self._bury()

    def abandon(self, watch: Watch) -> None:
        """Disarm at the next occasion; safe inside of a garbage collection."""
        self._abandoned.append(watch)

    def stop(self) -> None:
        """End all watches and give everything back to the system."""
        with self._lock:
            self._watches.clear()
            # With its last file the kernel drops all marks.
            for file in self._files:
                with contextlib.suppress(OSError):
                    os.close(file)
            self._files.clear()

    def forget_in_child(self) -> None:
        """Let go in a child process, whose copies of the files speak of the parent's memory."""
        self._lock = threading.Lock()
        self.stop()

    # --- marks --------------------------------------------------------------------------------

    def _protect(self, watch: Watch) -> bool:
        if not self.is_on:
            return False
        self._bury()
        mappings = _watchable(watch.pages)
        if mappings is None:
            return False
        others = [one for one in self._watches if one is not watch and _overlap(one, watch)]
        try:
            for start, end in mappings:
                request = _numbers(start, end - start, _REGISTER_WP, 0)
                _control(self._uffd, _REGISTER, request)
            if others:
                self._mark_anew(watch.pages, others)
            else:
                for start, end in watch.pages:
                    self._set_marks(start, end, _PROTECT)
        except OSError:
            return False
        return True

    def _mark_anew(self, pages: Sequence[Range], others: list[Watch]) -> None:
        """Mark pages that others watch too, and tell those what was written before."""
        self._tell(others, self._unmarked(pages))
        for start, end in pages:
            # Finding and marking are one act of the kernel for each page, so that no write
            # falls between the two.
            flags, wanted = _WP_MATCHING | _CHECK_WPASYNC, (0, _IS_WRITTEN, 0, _IS_WRITTEN)
            for written in self._scan(start, end, flags, wanted):
                self._tell(others, [written])

    @staticmethod
    def _tell(others: list[Watch], written: list[Range]) -> None:
        for other in others:
            other.spoiled[:] = united([*other.spoiled, *common(other.pages, written)])

    def _bury(self) -> None:
        """Clear the marks of watches that were given up, as far as nobody else needs them."""
        while self._abandoned:
            watch = self._abandoned.popleft()
            if watch not in self._watches or not self.is_on:
                continue
            self._watches.remove(watch)
            needed = united(page for other in self._watches for page in other.pages)
            for start, end in without(watch.pages, needed):
                # The memory may be gone, which is as good.
                with contextlib.suppress(OSError):
                    self._set_marks(start, end, 0)

    def _set_marks(self, start: int, end: int, mode: int) -> None:
        request = _numbers(start, end - start, mode)
        for attempt in range(_ATTEMPTS):
            try:
                _control(self._uffd, _WRITEPROTECT, request)
            except OSError as error:
                if error.errno != errno.EAGAIN or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _unmarked(self, pages: Sequence[Range]) -> list[Range]:
        """Tell which pages do not carry our mark, for whatever reason."""
        wanted = (_IS_WRITTEN, _IS_WATCHED | _IS_WRITTEN, _IS_PRESENT | _IS_SWAPPED, _IS_WATCHED)
        marked: list[Range] = []
        for start, end in pages:
            with contextlib.suppress(OSError):
                for found in self._scan(start, end, 0, wanted):
                    marked.append(found)
                    if len(marked) > _MOST_RANGES:
                        break
        return without(pages, united(marked))

    def _scan(
        self, start: int, end: int, flags: int, categories: tuple[int, int, int, int]
    ) -> Iterator[Range]:
        """Yield the ranges that match; `categories` are the last four of ``pm_scan_arg``."""
        found = self._found
        vector, count = ctypes.addressof(found), _RANGES_AT_ONCE
        while start < end:
            request = _Scan(
                ctypes.sizeof(_Scan), flags, start, end, 0, vector, count, 0, *categories
            )
            filled = _control(self._pagemap, _SCAN, request)
            for i in range(0, 3 * filled, 3):
                yield found[i], found[i + 1]
            if request.walk_end <= start:
                raise OSError(errno.EIO, "a scan of pages that does not go on")
            start = request.walk_end


_oracles: weakref.WeakSet[PageOracle] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for oracle in list(_oracles):
        oracle.forget_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# --- the operating system ---------------------------------------------------------------------


def _numbers(*values: int) -> ctypes.Array[ctypes.c_uint64]:
    return (ctypes.c_uint64 * len(values))(*values)


def _control(file: int, request: int, argument: object) -> int:
    """Call ``ioctl``, keeping the GIL: to get it back could take longer than the call."""
    answer: int = _ioctl()(file, ctypes.c_ulong(request), ctypes.byref(argument))  # type: ignore[arg-type]
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


@cache
def _ioctl() -> Callable[..., int]:
    function = ctypes.PyDLL(None, use_errno=True).ioctl
    function.restype = ctypes.c_int
    return function


def _open() -> tuple[int, int] | None:
    number = _SYSTEM_CALLS.get(platform.machine())
    if sys.platform != "linux" or number is None or sys.maxsize < 2**32:
        return None
    try:
        # A filter may answer an unusual call by killing the process: then it is not asked.
        if _FILTERED in Path("/proc/self/status").read_bytes():
            return None
        pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    uffd = ctypes.CDLL(None).syscall(
        ctypes.c_long(number), ctypes.c_long(os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY)
    )
    if uffd < 0:
        os.close(pagemap)
        return None
    features = _WP | _WP_UNPOPULATED | _WP_ASYNC
    try:
        _control(uffd, _API, _numbers(_API_VERSION, features, 0))
    except OSError:
        os.close(uffd)
        os.close(pagemap)
        return None
    return uffd, pagemap


def is_private(regions: Iterable[tuple[int, int]]) -> bool | None:
    """Tell whether memory is this process's alone; None where the system does not say."""
    pages = as_pages(regions)
    try:
        return not without(pages, united(_ordinary_mappings(_maps())))
    except OSError:
        return None


def _watchable(pages: Sequence[Range]) -> list[Range] | None:
    """Find the mappings that hold pages; None if a write there could be missed."""
    try:
        maps = _maps()
        if _is_memory_pinned() or _has_devices(maps):
            return None
    except OSError:
        return None
    ordinary = _ordinary_mappings(maps)
    # The system cuts a mapping where it grew after it was registered.
    runs = [run for run in united(ordinary) if common([run], pages)]
    if without(pages, runs) or any(size_of([run]) < LEAST_MAPPING_BYTES for run in runs):
        return None
    return [one for one in ordinary if common([one], pages)]


def _maps() -> bytes:
    return Path("/proc/self/maps").read_bytes()


def _ordinary_mappings(maps: bytes) -> list[Range]:
    """Find what is private and of no file in the content of ``/proc/self/maps``."""
    return [(int(low, 16), int(high, 16)) for low, high in _ORDINARY.findall(maps)]


_ORDINARY = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) rw-p [0-9a-f]+ 00:00 0 *(?:\[heap\]|\[anon:.*)?$", re.MULTILINE
)
_DEVICE = re.compile(rb" /dev/(?!zero\b|null\b|shm/)")


def _has_devices(maps: bytes) -> bool:
    """Whether a device may write to memory that was pinned for it, unseen by the processor."""
    return _DEVICE.search(maps) is not None


def _is_memory_pinned() -> bool:
    for line in Path("/proc/self/status").read_bytes().splitlines():
        if line.startswith(b"VmPin:"):
            return line.split()[1] != b"0"
    return True


# --- the trial --------------------------------------------------------------------------------


def _stands_trial(oracle: PageOracle) -> bool:
    """Whether writes of every kind are seen, exactly there, and nothing else."""
    count = 2 * LEAST_MAPPING_BYTES // PAGE_BYTES
    memory = mmap.mmap(-1, count * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[: count // 2 * PAGE_BYTES] = bytes(count // 2 * PAGE_BYTES)
    holder = ctypes.c_char.from_buffer(memory)
    base = ctypes.addressof(holder)
    watch = oracle.arm([(base, len(memory))])
    if watch is None:
        return False

    def page(number: int) -> list[Range]:
        return [(base + number * PAGE_BYTES, base + (number + 1) * PAGE_BYTES)]

    def sees(expected: list[Range]) -> bool:
        return oracle.dirty(watch) == expected

    is_true = sees([])
    memory[7 * PAGE_BYTES + 5] = memory[7 * PAGE_BYTES + 5]
    # Memory that was not touched before, a write of a byte that was there already.
    is_true = is_true and sees(page(7)) and oracle.rearm(watch) and sees([])
    memory[(count - 3) * PAGE_BYTES] = 1
    is_true = is_true and sees(page(count - 3)) and oracle.rearm(watch) and sees([])
    with memoryview(memory) as view, Path("/proc/self/maps").open("rb", 0) as file:
        # The kernel writes by another way than the program.
        os.readv(file.fileno(), [view[9 * PAGE_BYTES : 9 * PAGE_BYTES + 8]])
    is_true = is_true and sees(page(9)) and oracle.rearm(watch) and sees([])
    memory.madvise(mmap.MADV_DONTNEED, 3 * PAGE_BYTES, PAGE_BYTES)
    is_true = is_true and sees(page(3))
    is_true = is_true and memory[3 * PAGE_BYTES] == 0 and sees(page(3))
    del holder
    memory.close()
    is_true = is_true and sees([(base, base + count * PAGE_BYTES)])
    oracle.disarm(watch)
    return is_true


# --- ranges -----------------------------------------------------------------------------------


def as_pages(regions: Iterable[tuple[int, int]]) -> tuple[Range, ...]:
    """Widen regions to whole pages."""
    mask = PAGE_BYTES - 1
    widened = ((at & ~mask, (at + size + mask) & ~mask) for at, size in regions if size)
    return tuple(united(widened))


def united(ranges: Iterable[Range]) -> list[Range]:
    """Sort ranges and join those that touch."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def common(ones: Sequence[Range], others: Sequence[Range]) -> list[Range]:
    """Return what is in both of two sorted lists."""
    found, i, j = [], 0, 0
    while i < len(ones) and j < len(others):
        start, end = max(ones[i][0], others[j][0]), min(ones[i][1], others[j][1])
        if start < end:
            found.append((start, end))
        if ones[i][1] < others[j][1]:
            i += 1
        else:
            j += 1
    return found


def without(ranges: Sequence[Range], taken: Sequence[Range]) -> list[Range]:
    """Return what is in the first sorted list and not in the second."""
    left: list[Range] = []
    j = 0
    for start, end in ranges:
        at = start
        while j < len(taken) and taken[j][1] <= at:
            j += 1
        k = j
        while k < len(taken) and taken[k][0] < end:
            if taken[k][0] > at:
                left.append((at, taken[k][0]))
            at = max(at, taken[k][1])
            k += 1
        if at < end:
            left.append((at, end))
    return left


def size_of(ranges: Iterable[Range]) -> int:
    """Add up the bytes of ranges."""
    return sum(end - start for start, end in ranges)


def _overlap(one: Watch, other: Watch) -> bool:
    return bool(common(one.pages, other.pages))
