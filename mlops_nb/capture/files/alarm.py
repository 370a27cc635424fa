"""The alarm: a cell read more bytes than the files that were seen explain.

Linux counts the bytes that a process got by ``read`` and its kind. What was mapped into memory is
not in that number, so silence proves nothing; but a large rest means that something was missed.
"""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
import threading
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mlops_nb.capture.files.quiet import Reader

with suppress(ImportError):  # a part of Python on Unix only
    import resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FLAG = "reads_incomplete"
LEAST_BYTES = 1_000_000
LEAST_SHARE = 0.05
OWN_THREADS = "mlops_nb"
"""What the names of the tracking's own threads begin with."""

_HEAD_BYTES = 64
_FIRST = b"rchar: "
_IMPORT_SHARE = 1.1  # an import also reads the beginnings of extensions, and small files of data


class Mark(NamedTuple):
    """The counters at one moment.

    Attributes
    ----------
    read_bytes
        By the whole process, children that have ended included.
    children
        Grows whenever a child has ended and was waited for.
    modules
        How many modules there were.
    """

    read_bytes: int
    children: int
    modules: int


class ReadCounter:
    """Reads ``/proc/self/io``, without giving up the GIL; gives None where there is none."""

    def __init__(self) -> None:
        self._fd = -1
        with suppress(OSError, AttributeError):
            self._fd = os.open("/proc/self/io", os.O_RDONLY | os.O_CLOEXEC)
            self._reader = Reader(_HEAD_BYTES)

    def mark(self) -> Mark | None:
        """Read the counters."""
        read_bytes = self._read_bytes()
        if read_bytes is None:
            return None
        return Mark(read_bytes, children_ended(), len(sys.modules))

    def _read_bytes(self) -> int | None:
        if self._fd < 0:
            return None
        head = self._reader.read_from_start(self._fd)
        end = head.find(b"\n")
        return int(head[len(_FIRST) : end]) if head.startswith(_FIRST) and end > 0 else None

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def children_ended() -> int:
    """A number that grows whenever a child process has ended and was waited for."""
    if "resource" not in globals():
        return 0
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_minflt + usage.ru_nvcsw


class OwnReads:
    """What the tracking's own threads have read, since it was last asked."""

    def __init__(self) -> None:
        self._known = self._now()

    def take(self) -> int:
        """Give the bytes, and begin anew."""
        before, self._known = self._known, self._now()
        return sum(
            read_bytes - before.get(thread, 0) for thread, read_bytes in self._known.items()
        )

    @staticmethod
    def _now() -> dict[int, int]:
        found: dict[int, int] = {}
        for thread in threading.enumerate():
            if thread.name.startswith(OWN_THREADS) and thread.native_id is not None:
                with suppress(OSError, ValueError):
                    lines = Path(f"/proc/self/task/{thread.native_id}/io").read_bytes()
                    found[thread.native_id] = int(lines.split()[1])
        return found


def unexplained_bytes(before: Mark, after: Mark) -> int:
    """How many bytes of a cell imports have not read.

    Children have ended: what they read of their own programs cannot be told from data, so
    nothing is said.
    """
    if before.children != after.children:
        return 0
    rest = after.read_bytes - before.read_bytes
    if rest <= LEAST_BYTES or after.modules == before.modules:
        return rest
    return rest - int(_IMPORT_SHARE * _imported_bytes(after.modules - before.modules))


def held_bytes(is_seen: Callable[[str], bool]) -> int:
    """Size of the files that are held open and known: of a library, as fonts are, or seen.

    They may have been read many times over without being opened again.
    """
    total = 0
    try:
        numbers = os.listdir("/proc/self/fd")  # noqa: PTH208  # names are what is needed
    except OSError:
        return 0
    for number in numbers:
        with suppress(OSError, ValueError):
            path = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
            if path.startswith("/") and (is_installed(path) or is_seen(path)):
                status = os.stat(path)  # noqa: PTH116
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def is_installed(path: str) -> bool:
    """Whether a file came with Python or a package."""
    return path.startswith(_INSTALLED)


_INSTALLED = tuple(
    os.path.realpath(path) + os.sep
    for key, path in sysconfig.get_paths().items()
    if key in {"stdlib", "platstdlib", "purelib", "platlib"}
)


def is_alarming(rest_bytes: int, explained_bytes: float) -> bool:
    """Whether what is not explained is more than 1 MB and 5 %.

    Examples
    --------
    >>> is_alarming(50_000_000, 48_000_000), is_alarming(50_000_000, 10_000_000)
    (False, True)
    """
    rest = rest_bytes - explained_bytes
    return rest > max(LEAST_BYTES, LEAST_SHARE * rest_bytes)


def _imported_bytes(count: int) -> int:
    """Size of the modules that came last: Python reads a compiled one, else the source, whole."""
    newest = islice(reversed(list(sys.modules.values())), max(count, 0))
    return sum(_size_of(module) for module in newest)


def _size_of(module: object) -> int:
    # A lazy module would be loaded by asking it in the usual way.
    with suppress(AttributeError, TypeError):
        names = object.__getattribute__(module, "__dict__")
        return _first_size((names.get("__cached__"), names.get("__file__")))
    return 0


def _first_size(places: Iterable[object]) -> int:
    for place in places:
        # An extension is mapped, not read.
        if type(place) is str and place.endswith((".py", ".pyc")):
            with suppress(OSError, ValueError):
                return os.stat(place).st_size  # noqa: PTH116
    return 0
