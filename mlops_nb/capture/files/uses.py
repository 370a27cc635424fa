"""What the layers saw, put together: one use for each file and mode, with its best evidence."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from glob import has_magic
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.capture.files import kernel
from mlops_nb.capture.files.digest import COARSE_NS
from mlops_nb.capture.files.mentioned import absolute, is_sql, mentioned_files, queries_in
from mlops_nb.capture.files.state import expanded
from mlops_nb.capture.files.watching import WRITE_BITS, Seen, Span
from mlops_nb.record import record
from mlops_nb.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from mlops_nb.model import Json

Mode: TypeAlias = Literal["r", "w"]

MOST_OF_A_FOLDER = 100
"""Files of one folder that are told one by one; of more the folder is told."""

MOST_USES = 1_000
_MOST_OF_A_PATTERN = 20
_MOST_DETAILS = 5
_CODE = (".pyc", ".pyo", ".so", ".pyd", ".pth")
_JOURNALS = ("-journal", "-wal", "-shm", ".wal", ".crswap", "~", ".swp", ".part")
_PROJECT_FILES = frozenset(
    {
        "pyproject.toml",
        "requirements.txt",
        "setup.py",
        "setup.cfg",
        "uv.lock",
        "poetry.lock",
        "pylock.toml",
    }
)


@record
class Told:
    """What a reader or writer itself says that it was asked for.

    Attributes
    ----------
    place
        A path, a pattern or a URL, as it was given.
    detail
        ``function``, and ``columns``, ``filters``, ``sql``… where given.
    cwd
        What a relative path is relative to.
    started_ns, ended_ns
        Of the call.
    """

    place: str
    mode: Mode
    detail: Mapping[str, Json]
    cwd: str
    started_ns: int
    ended_ns: int


class CellFiles(Span):
    """One execution, and all that is known about its files.

    Attributes
    ----------
    told
        By readers and writers.
    text, candidates, held, cwd
        For the files that it mentions; see `mentioned.mentioned_files`.
    had_children
        Whether other processes of ours may have been at work.
    """

    def __init__(self, execution: str, text: str, cwd: str, thread: int = 0) -> None:
        super().__init__(thread)
        self.execution = execution
        self.text = text
        self.cwd = cwd
        self.told: list[Told] = []
        self.candidates: list[str] = []
        self.held: list[str] = []
        self.had_children = False


@dataclass(slots=True, repr=False, eq=False)
class Use:
    """A use while it is put together.

    Attributes
    ----------
    place
        What it will be called: an absolute path, a pattern, a URL.
    real
        The path without links; empty for a URL or a pattern.
    members
        Paths that a pattern stands for.
    read_since_ns, written_until_ns
        See `Seen`.
    count
        How often a reader told of it.
    """

    place: str
    real: str
    mode: Mode
    evidence: str
    at_ns: int
    detail: dict[str, Json] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    read_since_ns: int | None = None
    written_until_ns: int | None = None
    count: int = 0

    @property
    def was_rewritten(self) -> bool:
        """Whether it was read, and was written afterwards or at the same time."""
        if self.mode == "w" or self.written_until_ns is None:
            return False
        return self.read_since_ns is None or self.written_until_ns > self.read_since_ns


def uses_of(
    cell: CellFiles,
    *,
    is_ignored: Callable[[str], bool],
    is_watched: Callable[[str, int], bool],
) -> list[Use]:
    """Put together what was seen of a cell that has ended.

    Parameters
    ----------
    is_ignored
        Whether a path is none of the user's.
    is_watched
        Whether everything in a folder was seen since a time.
    """
    uses: dict[tuple[str, Mode], Use] = {}
    for told in cell.told:
        for use in _told_uses(told):
            if not is_ignored(use.real or use.place):
                _add(uses, use)
    _add_seen(uses, cell, is_ignored)
    for path in mentioned_files(cell.text, cell.candidates, cell.held, cwd=cell.cwd):
        _add_mentioned(uses, cell, path, is_ignored, is_watched)
    _add_queries(uses, cell)
    return _collapsed(list(uses.values()))[:MOST_USES]


def _add(uses: dict[tuple[str, Mode], Use], use: Use) -> None:
    known = uses.setdefault((use.real or use.place, use.mode), use)
    if known is use:
        return
    known.count += use.count
    known.read_since_ns = _earlier(known.read_since_ns, use.read_since_ns)
    known.written_until_ns = _later(known.written_until_ns, use.written_until_ns)
    also = known.detail.setdefault("also", [])
    mine = {key: value for key, value in known.detail.items() if key != "also"}
    if use.detail not in ({}, mine, *also) and len(also) < _MOST_DETAILS:
        also.append(use.detail)
    if not also:
        del known.detail["also"]


def _earlier(one: int | None, other: int | None) -> int | None:
    return min((at for at in (one, other) if at is not None), default=None)


def _later(one: int | None, other: int | None) -> int | None:
    return max((at for at in (one, other) if at is not None), default=None)


# --- what readers told ------------------------------------------------------------------------


def _told_uses(told: Told) -> Iterator[Use]:
    """One use for each file a call was about; a file that is not there was none."""
    if "://" in told.place:
        yield _told_use(told, told.place, "")
        return
    path = absolute(told.place, told.cwd)
    if not has_magic(path) or os.path.lexists(path):
        if os.path.exists(path) or told.mode == "w":  # noqa: PTH110
            yield _told_use(told, path, os.path.realpath(path))
        return
    members = expanded(path)
    if len(members) > _MOST_OF_A_PATTERN:
        yield _told_use(told, path, "", members=members)
        return
    for member in members:
        yield _told_use(told, member, os.path.realpath(member), pattern=path)


def _told_use(
    told: Told, place: str, real: str, *, members: tuple[str, ...] = (), pattern: str = ""
) -> Use:
    detail = dict(told.detail)
    if pattern:
        detail["pattern"] = pattern
    if members:
        detail["files"] = len(members)
    use = Use(place, real, told.mode, "adapter", told.started_ns, detail, members, count=1)
    if told.mode == "r":
        use.read_since_ns = told.started_ns
    else:
        use.written_until_ns = told.ended_ns
    return use


# --- what the operating system told -----------------------------------------------------------


def _add_seen(
    uses: dict[tuple[str, Mode], Use], cell: CellFiles, is_ignored: Callable[[str], bool]
) -> None:
    told = {real for real, _ in uses}
    around = [use for use in uses.values() if use.members or os.path.isdir(use.real)]  # noqa: PTH112
    modules: Collection[str] | None = None
    for path, seen in cell.files.items():
        is_told = path in told
        if not is_told and (is_noise(path) or is_ignored(path)):
            continue
        if not is_told and path.endswith(".py") and seen.ours | seen.unknown:
            modules = _module_files() if modules is None else modules
            if path in modules:
                continue
        for mode, evidence in _modes(seen, path, cell, uses):
            _add_one_seen(uses, around, cell, _Found(path, mode, evidence, seen))
        _note_writes(uses, path, seen, cell)


@record
class _Found:
    path: str
    mode: Mode
    evidence: str
    seen: Seen


def _add_one_seen(
    uses: dict[tuple[str, Mode], Use], around: Iterable[Use], cell: CellFiles, found: _Found
) -> None:
    path, mode = found.path, found.mode
    if (path, mode) in uses:
        return
    whole = next((use for use in around if use.mode == mode and _holds(use, path)), None)
    if whole is not None:
        # A folder or a pattern was told: its files are part of it.
        return
    uses[path, mode] = Use(
        path, path, mode, found.evidence, cell.ended_ns, read_since_ns=found.seen.read_since_ns
    )


def _note_writes(
    uses: Mapping[tuple[str, Mode], Use], path: str, seen: Seen, cell: CellFiles
) -> None:
    """A file that was read must not have been written after that."""
    use = uses.get((path, "r"))
    if use is not None and any(_has_written(mask, path, cell) for mask in _masks(seen)):
        use.written_until_ns = _later(use.written_until_ns, seen.written_until_ns)


def _holds(use: Use, path: str) -> bool:
    return path in use.members if use.members else path.startswith(use.real + os.sep)


def _masks(seen: Seen) -> tuple[int, int, int]:
    return seen.ours, seen.theirs, seen.unknown


def _modes(
    seen: Seen, path: str, cell: CellFiles, uses: Mapping[tuple[str, Mode], Use]
) -> Iterator[tuple[Mode, str]]:
    """Say what was done to a file; the best evidence for each mode."""
    # Without a child of ours it was somebody else who looked at the file by chance.
    theirs = (seen.theirs if cell.had_children else 0) | seen.unknown
    is_written_only = (path, "w") in uses
    for mode, is_mode in (("r", _has_read), ("w", _has_written)):
        for mask, evidence in ((seen.ours, "kernel:pid"), (theirs, "kernel:dir")):
            if mode == "r" and is_written_only and not _has_surely_read(mask):
                continue
            if is_mode(mask, path, cell):
                yield mode, evidence  # type: ignore[misc]
                break


def _has_read(mask: int, path: str, cell: CellFiles) -> bool:
    if _has_surely_read(mask):
        return True
    return bool(mask & kernel.OPEN) and not _has_written(mask, path, cell)


def _has_surely_read(mask: int) -> bool:
    # Only to be closed is no reading: it was opened, and perhaps mapped, in an earlier cell.
    opened_to_read = kernel.OPEN | kernel.CLOSE_NOWRITE
    return bool(mask & kernel.ACCESS) or mask & opened_to_read == opened_to_read


def _has_written(mask: int, path: str, cell: CellFiles) -> bool:
    if mask & WRITE_BITS:
        return True
    if not mask & (kernel.CLOSE_WRITE | kernel.CREATE):
        return False
    # Opened for writing, as databases are for reading too; or written as mapped memory.
    try:
        return os.stat(path).st_mtime_ns >= cell.started_ns - COARSE_NS  # noqa: PTH116
    except OSError:
        return False


def is_noise(path: str) -> bool:
    """Whether a file that only the operating system saw is no data: code, notebooks, journals.

    Examples
    --------
    >>> is_noise("models/churn.ipynb"), is_noise("data/flowers.csv")
    (True, False)
    """
    name = os.path.basename(path)  # noqa: PTH119
    return (
        name.startswith(".")
        or name.endswith((".ipynb", *_CODE, *_JOURNALS))
        or name in _PROJECT_FILES
        or "/.mlops/" in path
        or "/.git/" in path
        or (name.endswith(".py") and ("/site-packages/" in path or "/dist-packages/" in path))
    )


def _module_files() -> set[str]:
    """Sources of the imported modules: read by an import or a traceback, and kept elsewhere."""
    files = set()
    for module in list(sys.modules.values()):
        try:
            file = object.__getattribute__(module, "__dict__").get("__file__")
        except (AttributeError, TypeError):
            continue
        if type(file) is str:
            files.add(os.path.realpath(file))
    return files


# --- what is only mentioned, and too much of anything -----------------------------------------


def _add_mentioned(
    uses: dict[tuple[str, Mode], Use],
    cell: CellFiles,
    path: str,
    is_ignored: Callable[[str], bool],
    is_watched: Callable[[str, int], bool],
) -> None:
    real = os.path.realpath(path)
    if is_ignored(real) or any((real, mode) in uses for mode in ("r", "w")):
        for mode in ("r", "w"):
            # As the user calls it, not as the operating system does.
            if (real, mode) in uses and uses[real, mode].evidence.startswith("kernel"):
                uses[real, mode].place = path
        return
    if any(use.members and path in use.members for use in uses.values()):
        return
    # Everything in its folder was seen, and nobody opened it: the reader of this may care.
    was_seen = is_watched(os.path.dirname(real), cell.started_ns)  # noqa: PTH120
    detail: dict[str, Json] = {"opened": False} if was_seen else {}
    uses[real, "r"] = Use(path, real, "r", "mentioned", cell.ended_ns, detail)


def _add_queries(uses: Mapping[tuple[str, Mode], Use], cell: CellFiles) -> None:
    """Keep the queries of the source beside the files that they name."""
    if not uses or not is_sql(cell.text):
        return
    for file, query in queries_in(cell.text).items():
        path = absolute(file, cell.cwd)
        for member in expanded(path) if has_magic(path) else (path,):
            for mode in ("r", "w"):
                use = uses.get((os.path.realpath(member), mode))
                if use is not None:
                    use.detail.setdefault("sql", redact(query))


def _collapsed(uses: list[Use]) -> list[Use]:
    """Tell of a folder instead of more than `MOST_OF_A_FOLDER` files in it."""
    groups: dict[tuple[str, Mode, str], list[Use]] = defaultdict(list)
    for use in uses:
        folder = os.path.dirname(use.real) if use.real and not use.members else ""  # noqa: PTH120
        groups[folder, use.mode, use.evidence].append(use)
    found: list[Use] = []
    for (folder, mode, evidence), group in groups.items():
        if not folder or len(group) <= MOST_OF_A_FOLDER:
            found += group
            continue
        detail: dict[str, Json] = {**group[0].detail, "files": len(group)}
        suffixes = {os.path.splitext(use.real)[1] for use in group}  # noqa: PTH122
        if len(suffixes) == 1:
            detail["suffix"] = suffixes.pop()
        whole = Use(folder, folder, mode, evidence, group[0].at_ns, detail)
        for use in group:
            whole.read_since_ns = _earlier(whole.read_since_ns, use.read_since_ns)
            whole.written_until_ns = _later(whole.written_until_ns, use.written_until_ns)
        found.append(whole)
    return found
