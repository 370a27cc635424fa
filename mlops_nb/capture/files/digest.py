"""Content of files as digests, remembered for as long as a file stays as it is.

A file is one column of bytes in the scheme ``nbfp1``: chunks of 1 MiB, each hashed with
xxh3_128, then ``H("file", 0, size in bytes, 0, 0, chunks)``. A folder is the sequence of the
names of its files (relative, ``/`` between the parts, sorted as bytes, hidden ones left out) and
their digests.

A digest is kept under device, inode, size and both times of the file. As git does it, nothing is
kept about a file that changed less than two seconds ago: a second change could leave all five as
they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

from xxhash import xxh3_128

from mlops_nb.fingerprint.scheme import as_text, column_digest, sequence_digest
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mlops_nb.model import Assurance

CHUNK_BYTES = 1 << 20
"""Size of a chunk; part of the scheme."""

BUDGET_BYTES = 1 << 30
"""Bytes that are read for one execution unless the user says otherwise."""

RACY_NS = 2_000_000_000
COARSE_NS = 20_000_000
"""How far the time of a change may lag behind the clock: file systems take it from a timer."""
FOLDER_FILES = 10_000
"""Files of a folder that are read at most."""

_KEPT_DIGESTS = 50_000
_CACHE_VERSION = 1


class Stamp(NamedTuple):
    """What tells one state of a file from another without reading it."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Take it from what `os.stat` gives."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )


@record
class Content:
    """What is known of the content of a file or folder.

    Attributes
    ----------
    digest
        Empty unless `assurance` is ``exact``.
    changed_ns
        When the file was changed last, its name and rights included.
    """

    digest: str = ""
    assurance: Assurance = "opaque"
    size_bytes: int | None = None
    modified_ns: int | None = None
    md5: str | None = None
    changed_ns: int = 0


NOTHING = Content()


class Digests:
    """Reads files, and remembers what it has read.

    Parameters
    ----------
    cache_file
        Where digests outlive the process; None keeps them in memory only.
    with_md5
        Whether to compute what DVC writes as well.
    around
        Is entered around each reading of a file, with its path.

    Examples
    --------
    >>> Digests().content(os.devnull).assurance
    'opaque'
    """

    def __init__(
        self,
        cache_file: Path | None = None,
        *,
        with_md5: bool = False,
        around: Callable[[str, bool], None] | None = None,
    ) -> None:
        self._cache_file = cache_file
        self._with_md5 = with_md5
        self._around = around
        self._known: dict[Stamp, tuple[str, str | None]] = _load(cache_file)
        self._is_changed = False
        self.is_stopped = False
        self.read_bytes = 0

    # --- one place ----------------------------------------------------------------------------

    def content(self, path: str, *, budget_bytes: int = BUDGET_BYTES, suffix: str = "") -> Content:
        """Say what a file or folder holds; never raises, whatever happens to it meanwhile.

        Parameters
        ----------
        path
            Of a file, or of a folder.
        budget_bytes
            What may be read; what is known already costs nothing.
        suffix
            For a folder: of the files that count.
        """
        try:
            status = os.stat(path)  # noqa: PTH116  # no object for each of 10,000 files
        except (OSError, ValueError):
            return NOTHING
        if stat.S_ISDIR(status.st_mode):
            return self._folder(path, _members_below(path, suffix), budget_bytes)
        if not stat.S_ISREG(status.st_mode):
            return NOTHING
        return self._file(path, Stamp.of(status), budget_bytes)

    def content_of_all(
        self, paths: Sequence[str], *, budget_bytes: int = BUDGET_BYTES, below: str = ""
    ) -> Content:
        """Say what several files hold together, as if they were a folder's."""
        members = [(os.path.relpath(path, below) if below else path, path) for path in paths]
        return self._folder(below, iter(members), budget_bytes)

    def known(self, stamp: Stamp) -> str:
        """Digest of a file in the state of `stamp`; empty if it is not known."""
        return self._known.get(stamp, ("", None))[0]

    # --- files --------------------------------------------------------------------------------

    def _file(self, path: str, stamp: Stamp, budget_bytes: int) -> Content:
        known = self._known.get(stamp)
        if known is not None and (known[1] is not None or not self._with_md5):
            return _content(stamp, "exact", *known)
        if stamp.size_bytes > budget_bytes:
            return _content(stamp, "skipped:budget")
        _settle(stamp)
        if self._around is not None:
            self._around(path, True)
        try:
            return self._read(path, stamp)
        except (OSError, ValueError):
            return _content(stamp, "opaque")
        finally:
            if self._around is not None:
                self._around(path, False)

    def _read(self, path: str, stamp: Stamp) -> Content:
        # Not to wait for ever, should a pipe have taken the place of the file.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb", buffering=0) as file:  # noqa: PTH123
            if Stamp.of(os.fstat(file.fileno())) != stamp:
                return _content(stamp, "torn")
            chunks, md5, size_bytes = self._chunks(file.readinto, stamp.size_bytes)
            after = Stamp.of(os.fstat(file.fileno()))
        now = Stamp.of(os.stat(path))  # noqa: PTH116
        if self.is_stopped:
            return _content(stamp, "skipped:budget")
        if not stamp == after == now or size_bytes != stamp.size_bytes:
            return _content(now, "torn")
        digest = as_text(column_digest("file", size_bytes, chunks))
        self._keep(stamp, digest, md5)
        return _content(stamp, "exact", digest, md5)

    def _chunks(
        self, readinto: Callable[[memoryview], int | None], size_bytes: int
    ) -> tuple[list[bytes], str | None, int]:
        """Digest each chunk; stops one byte behind the end that the file is known to have."""
        md5 = hashlib.md5(usedforsecurity=False) if self._with_md5 else None
        chunks: list[bytes] = []
        buffer = memoryview(bytearray(min(CHUNK_BYTES, size_bytes + 1)))
        total = 0
        while not self.is_stopped and total <= size_bytes:
            filled = _fill(readinto, buffer)
            if not filled:
                break
            chunks.append(xxh3_128(buffer[:filled]).digest())
            if md5 is not None:
                md5.update(buffer[:filled])
            total += filled
            self.read_bytes += filled
        return chunks, md5.hexdigest() if md5 is not None else None, total

    def _keep(self, stamp: Stamp, digest: str, md5: str | None) -> None:
        if max(stamp.modified_ns, stamp.changed_ns) > time.time_ns() - RACY_NS:
            return
        self._known[stamp] = digest, md5
        self._is_changed = True
        while len(self._known) > _KEPT_DIGESTS:
            self._known.pop(next(iter(self._known)), None)

    # --- folders ------------------------------------------------------------------------------

    def _folder(self, path: str, members: Iterator[tuple[str, str]], budget_bytes: int) -> Content:
        parts: list[tuple[bytes, Content]] = []
        left_bytes = budget_bytes
        assurance: Assurance = "exact"
        for name, file in members:
            if len(parts) == FOLDER_FILES or self.is_stopped:
                assurance = "skipped:budget"
                break
            before = self.read_bytes
            content = self.content(file, budget_bytes=left_bytes)
            left_bytes = max(0, left_bytes - self.read_bytes + before)
            parts.append((os.fsencode(name.replace(os.sep, "/")), content))
            if content.assurance != "exact":
                assurance = content.assurance
                break
        modified = [part.modified_ns for _, part in parts if part.modified_ns is not None]
        whole = Content(
            assurance=assurance,
            size_bytes=sum(part.size_bytes or 0 for _, part in parts),
            modified_ns=max(modified, default=None),
            changed_ns=max((part.changed_ns for _, part in parts), default=0),
        )
        if assurance != "exact" or not parts:
            return whole if parts or not path else Content(assurance="opaque")
        return _with_digest(whole, parts, with_md5=self._with_md5)

    # --- on disk ------------------------------------------------------------------------------

    def save(self) -> None:
        """Write what is known to the cache file, if there is one; a full disk is no error."""
        if self._cache_file is None or not self._is_changed:
            return
        entries = [[*stamp, *known] for stamp, known in self._known.items()]
        text = json.dumps({"version": _CACHE_VERSION, "files": entries[-FOLDER_FILES:]})
        part = self._cache_file.with_name(f"{self._cache_file.name}.{os.getpid()}")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(self._cache_file)
        except OSError:
            part.unlink(missing_ok=True)
        self._is_changed = False


def _settle(stamp: Stamp) -> None:
    """Let a file become older than its times are exact, so that any change shows in them."""
    if 0 <= time.time_ns() - stamp.changed_ns < COARSE_NS:
        time.sleep(COARSE_NS / 1e9)


def _content(
    stamp: Stamp, assurance: Assurance, digest: str = "", md5: str | None = None
) -> Content:
    return Content(digest, assurance, stamp.size_bytes, stamp.modified_ns, md5, stamp.changed_ns)


def _fill(readinto: Callable[[memoryview], int | None], buffer: memoryview) -> int:
    """Fill a chunk, whatever the pieces are in which a file system gives it."""
    filled = 0
    while filled < len(buffer):
        count = readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled


def _members_below(path: str, suffix: str) -> Iterator[tuple[str, str]]:
    """Relative names and paths of the files below a folder, sorted; one more than are read."""
    found: list[str] = []
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = (name for name in files if not name.startswith(".") and name.endswith(suffix))
        found += [os.path.join(folder, name) for name in names]  # noqa: PTH118
        if len(found) > FOLDER_FILES:
            break
    named = [(os.path.relpath(file, path), file) for file in found]
    return iter(sorted(named, key=lambda item: os.fsencode(item[0].replace(os.sep, "/"))))


def _with_digest(
    whole: Content, parts: Sequence[tuple[bytes, Content]], *, with_md5: bool
) -> Content:
    pieces = [piece for name, part in parts for piece in (name, part.digest.encode())]
    md5 = _dvc_folder(parts) if with_md5 else None
    return Content(
        as_text(sequence_digest("folder", pieces)),
        "exact",
        whole.size_bytes,
        whole.modified_ns,
        md5,
        whole.changed_ns,
    )


def _dvc_folder(parts: Sequence[tuple[bytes, Content]]) -> str:
    """The md5 of a folder as DVC writes it: of the list of its files as JSON."""
    entries = [{"md5": part.md5, "relpath": os.fsdecode(name)} for name, part in parts]
    entries.sort(key=lambda entry: tuple(str(entry["relpath"]).split("/")))
    text = json.dumps(entries, sort_keys=True).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"


def _load(file: Path | None) -> dict[Stamp, tuple[str, str | None]]:
    """Read a cache file; one that is broken, or of another version, counts as empty."""
    if file is None:
        return {}
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["version"] != _CACHE_VERSION:
            return {}
        return {
            Stamp(*map(int, entry[:5])): (str(entry[5]), entry[6]) for entry in stored["files"]
        }
    except (OSError, ValueError, LookupError, TypeError):
        return {}
