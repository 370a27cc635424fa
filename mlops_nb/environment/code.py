"""The code of a project that a notebook imported: committed, or kept with the run.

A run whose modules are all committed is described by the commit alone. What is not committed is
named with its content: modules that are untracked, ignored or modified, and the difference of all
tracked files to the commit.
"""

from __future__ import annotations

import ast
import hashlib
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.environment.git import (
    ask_git,
    describe,
    git_folders,
    git_root,
    read_status,
    shown,
)
from mlops_nb.environment.modules import ProjectModules, project_root
from mlops_nb.record import record
from mlops_nb.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mlops_nb.environment.git import Status
    from mlops_nb.model import Json

ModuleState: TypeAlias = Literal[
    "committed", "modified", "untracked", "ignored", "unversioned", "missing"
]

KEPT_BYTES = 1 << 20
"""A module larger than this is named with its digest only; so is the rest of a difference."""

ALL_KEPT_BYTES = 16 << 20
"""As much is kept of all modules together."""

DIFFERENCE = "code/uncommitted.diff"
"""The name of the difference among the bytes of a `CodeState`; modules are ``code/PATH``."""

_READ_BYTES = 1 << 16
# A text that changed by as much is data.
_LARGE_FILE_BYTES = 1 << 19
_PATHS_AT_ONCE = 400
# A file may be written twice within one tick of its clock; one so young is read again.
_YOUNG_NS = 2_000_000_000
_DIFFERENCE_OPTIONS = (
    "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--submodule=short",
    "--src-prefix=a/", "--dst-prefix=b/", "--diff-algorithm=default", "--unified=3",
)  # fmt: skip

Signature: TypeAlias = tuple[int, int, int, int]


@record
class CodeState:
    """What the code of a project was at one moment.

    Attributes
    ----------
    git
        ``commit``, ``branch``, ``dirty``, ``root``, ``remote`` as from `git_state`, with
        ``modules``: the imported modules that are not as committed (``path`` below the root,
        ``state``, ``digest`` of the file, ``code_digest`` as of a cell or None, ``size_bytes``),
        and ``diff``, the address of the difference of all tracked files. ``commit``, ``branch``
        and ``dirty`` are None where git cannot say. None if there is nothing to say.
    blobs
        ``(name, mime, bytes)`` of the difference and of those modules, without secrets.
    changed
        Imported modules of the project whose content is another than at the last look.
    imported
        All imported modules of the project, committed or not: path -> digest of the file.
    """

    git: Mapping[str, Json] | None
    blobs: tuple[tuple[str, str, bytes], ...] = ()
    changed: tuple[str, ...] = ()
    imported: Mapping[str, str] | None = None


def code_state(
    folder: str | Path,
    modules: Mapping[str, object] | None = None,
    *,
    timeout_s: float = 5.0,
) -> CodeState:
    """Read what code of its project a process runs.

    git is asked once, and four times where something is not committed; files that are as they
    were are not read again. For a thread of its own: it may take as long as git takes.

    Parameters
    ----------
    folder
        Of the notebook.
    modules
        Name -> module, ``sys.modules`` as it is now by default.
    timeout_s
        git may take so long, in all.

    Returns
    -------
    CodeState
        As much as could be found out.

    Examples
    --------
    >>> code_state("/", {}).blobs
    ()
    """
    root = project_root(folder)
    project = _projects.get(root)
    if project is None:
        project = _projects[root] = _Project(root)
    return project.look(sys.modules.copy() if modules is None else modules, timeout_s)


def changed_modules(
    folder: str | Path, modules: Mapping[str, object] | None = None
) -> tuple[str, ...]:
    """Name imported modules of the project whose files were written since the last call.

    For ``%autoreload``, which loads them again behind a cell. Asks only the file system, in less
    than a millisecond for a hundred modules.

    Parameters
    ----------
    folder
        Of the notebook.
    modules
        Name -> module, ``sys.modules`` as it is now by default.

    Returns
    -------
    tuple of str
        Paths below the root of the project. Modules that were not imported at the last call are
        not among them.

    Examples
    --------
    >>> changed_modules("/", {})
    ()
    """
    key = str(folder)
    watch = _watches.get(key)
    if watch is None:
        watch = _watches[key] = _Watch(project_root(folder))
    return watch.look(sys.modules.copy() if modules is None else modules)


class _Watch:
    """Times of the files of a project."""

    def __init__(self, root: Path) -> None:
        self._modules = ProjectModules(root)
        self._seen: dict[str, Signature | None] = {}

    def look(self, modules: Mapping[str, object]) -> tuple[str, ...]:
        changed = []
        for place, file in self._modules.find(modules).items():
            signature = _signature(file)
            if self._seen.get(place, signature) != signature:
                changed.append(shown(place))
            self._seen[place] = signature
        return tuple(changed)


def _signature(file: str) -> Signature | None:
    try:
        found = os.stat(file)  # noqa: PTH116  a Path costs as much again
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns


@record
class _Content:
    """A file of the project as it was read."""

    signature: Signature
    digest: str
    is_young: bool


class _Project:
    """What is known of one project, so that nothing unchanged is read or asked again."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._modules = ProjectModules(root)
        self._contents: dict[str, _Content] = {}
        self._described: dict[str, _Module] = {}
        self._last: dict[str, str] = {}
        self._listed: dict[str, tuple[object, dict[str, str]]] = {}
        self._difference: tuple[object, bytes] = (None, b"")

    def look(self, modules: Mapping[str, object], timeout_s: float) -> CodeState:
        deadline = time.monotonic() + timeout_s
        files = self._modules.find(modules)
        contents = {place: self._content(file) for place, file in files.items()}
        is_versioned = git_root(self._root) is not None
        status = read_status(self._root, timeout_s) if is_versioned else None
        states = self._states(files, contents, status, deadline)
        found = _Findings()
        for place, state in states.items():
            if state != "committed":
                self._describe(found, place, state, contents[place])
        imported = {shown(p): c.digest if c else "" for p, c in contents.items()}
        changed = [p for p, digest in imported.items() if self._last.get(p, digest) != digest]
        self._last.update(imported)
        git = self._git(status, found, deadline)
        return CodeState(git, tuple(found.blobs), tuple(changed), imported)

    def _git(
        self, status: Status | None, found: _Findings, deadline: float
    ) -> dict[str, Json] | None:
        if status is None and not found.modules:
            return None
        git: dict[str, Json] = (
            dict.fromkeys(("commit", "branch", "dirty", "remote"))
            | {"root": shown(str(self._root))}
            if status is None
            else describe(self._root, status)
        )
        difference = self._read_difference(status, deadline) if status else b""
        if difference:
            found.blobs.insert(0, (DIFFERENCE, "text/x-diff", difference))
        git["diff"] = _address(difference) if difference else None
        git["modules"] = found.modules
        return git

    # --- files --------------------------------------------------------------------------------

    def _content(self, file: str) -> _Content | None:
        signature = _signature(file)
        known = self._contents.get(file)
        if signature is None:
            return None
        if known is not None and known.signature == signature and not known.is_young:
            return known
        read = _read_regular(file)
        if read is None:
            return None
        digest = _address(read)
        now_ns = time.time_ns()
        is_young = now_ns - max(signature[0], signature[3]) < _YOUNG_NS
        self._contents[file] = _Content(signature, digest, is_young)
        return self._contents[file]

    def _describe(
        self, found: _Findings, place: str, state: ModuleState, content: _Content | None
    ) -> None:
        known = self._described.get(place)
        if content is None:
            known = _Module({"digest": None})
        elif known is None or known.facts["digest"] != content.digest:
            known = self._described[place] = _read_module(self._root / place)
        found.modules.append({"path": shown(place), "state": state, **known.facts})
        if known.data is not None and found.kept_bytes + len(known.data) <= ALL_KEPT_BYTES:
            found.kept_bytes += len(known.data)
            found.blobs.append((f"code/{shown(place)}", "text/x-python", known.data))

    # --- git ----------------------------------------------------------------------------------

    def _states(
        self,
        files: Mapping[str, str],
        contents: Mapping[str, _Content | None],
        status: Status | None,
        deadline: float,
    ) -> dict[str, ModuleState]:
        """Say of each file how it stands to the commit."""
        states: dict[str, ModuleState] = dict.fromkeys(files, "unversioned")
        for below, places in self._modules.by_repository(files).items():
            root = self._root / below
            theirs = status
            if below:
                theirs = read_status(root, deadline - time.monotonic())
            marks = self._marks(root, places, below, theirs, deadline)
            if theirs is None or marks is None:
                continue
            for place in places:
                states[place] = _state(place[len(below) :], theirs, marks)
        for place, content in contents.items():
            if content is None and not os.path.lexists(files[place]):
                states[place] = "missing"
        return states

    def _marks(
        self, root: Path, places: list[str], below: str, status: Status | None, deadline: float
    ) -> dict[str, str] | None:
        """Ask git which files it tracks, and which it would: path -> its letter."""
        if status is None:
            return None
        paths = [place[len(below) :] for place in places]
        key = (status.commit, tuple(paths), *map(_signature, _index_files(root)))
        known = self._listed.get(below)
        if known is not None and known[0] == key:
            return known[1]
        marks: dict[str, str] = {}
        for start in range(0, len(paths), _PATHS_AT_ONCE):
            answer = ask_git(
                root, "--literal-pathspecs", "ls-files", "-z", "-v", "--cached", "--others",
                "--exclude-standard", "--", *paths[start : start + _PATHS_AT_ONCE],
                timeout_s=deadline - time.monotonic(),
            )  # fmt: skip
            if answer is None:
                return None
            for line in answer.output.split(b"\0"):
                mark, _, path = os.fsdecode(line).partition(" ")
                marks[path] = mark
        _look_behind(root, marks, deadline)
        self._listed[below] = (key, marks)
        return marks

    def _read_difference(self, status: Status, deadline: float) -> bytes:
        if status.commit is None or not status.changes:
            return b""
        files = [os.path.join(self._root, path) for path in status.changes]  # noqa: PTH118
        key = (status.told, *map(_signature, files))
        if self._difference[0] != key:
            difference = _difference(self._root, status, deadline)
            if difference is None:
                return b""
            self._difference = (key, difference)
        return self._difference[1]


_projects: dict[Path, _Project] = {}
_watches: dict[str, _Watch] = {}


@record
class _Module:
    """A module that is not as committed, and its bytes without secrets if they are kept."""

    facts: dict[str, Json]
    data: bytes | None = None


def _read_module(file: Path) -> _Module:
    data = _read_regular(str(file))
    if data is None:
        return _Module({"digest": None})
    facts: dict[str, Json] = {"digest": _address(data), "size_bytes": len(data)}
    if file.suffix not in {".py", ".pyw"} or len(data) > KEPT_BYTES:
        return _Module(facts)
    facts["code_digest"] = _code_digest(data)
    return _Module(facts, _redacted(data))


class _Findings:
    """What is kept of modules, and how much that is."""

    def __init__(self) -> None:
        self.modules: list[dict[str, Json]] = []
        self.blobs: list[tuple[str, str, bytes]] = []
        self.kept_bytes = 0


def _state(path: str, status: Status, marks: Mapping[str, str]) -> ModuleState:
    mark = marks.get(path)
    if mark is None:
        return "ignored"
    if mark == "?":
        return "untracked"
    return "modified" if path in status.changes or mark == _DIFFERENT else "committed"


_DIFFERENT = "!"


def _look_behind(root: Path, marks: dict[str, str], deadline: float) -> None:
    """Look at files that git was told not to look at, and mark those that are different."""
    hidden = [path for path, mark in marks.items() if mark.islower() or mark == "S"]
    for path in hidden:
        left_s = deadline - time.monotonic()
        now = ask_git(root, "hash-object", f"--path={path}", "--", path, timeout_s=left_s)
        then = ask_git(root, "rev-parse", "--verify", f"HEAD:{path}", timeout_s=left_s)
        if now is None or then is None or now.output != then.output:
            marks[path] = _DIFFERENT


def _index_files(root: Path) -> Iterable[str]:
    """Name files whose change may change what git tracks and ignores."""
    own, common = git_folders(root)
    return [str(p) for p in (own / "index", common / "info" / "exclude", root / ".gitignore")]


def _difference(root: Path, status: Status, deadline: float) -> bytes | None:
    """Read the difference to the commit; of notebooks and large files only the names."""
    named = [path for path in status.changes if _is_only_named(root, path)]
    paths = [path for path in status.changes if path not in set(named)]
    remarks = "".join(f"# differs, not shown: {shown(path)}\n" for path in named)
    output = b""
    for start in range(0, len(paths), _PATHS_AT_ONCE):
        room = KEPT_BYTES - len(output)
        answer = ask_git(
            root, "--literal-pathspecs", "diff", "HEAD", *_DIFFERENCE_OPTIONS, "--",
            *paths[start : start + _PATHS_AT_ONCE],
            timeout_s=deadline - time.monotonic(), limit_bytes=room,
        )  # fmt: skip
        if answer is None:
            return None
        output += answer.output
        if answer.is_cut:
            output = output[: output.rfind(b"\n") + 1]
            remarks += "# cut: the difference is longer\n"
            break
    return _redacted(remarks.encode() + output)


def _is_only_named(root: Path, path: str) -> bool:
    if path.endswith(".ipynb"):
        return True
    try:
        found = (root / path).lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > _LARGE_FILE_BYTES


def _read_regular(file: str) -> bytes | None:
    """Read a file, if it is one: a pipe of that name would never end."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    with os.fdopen(handle, "rb") as stream:
        try:
            is_regular = stat.S_ISREG(os.fstat(handle).st_mode)
            return stream.read() if is_regular else None
        except OSError:
            return None


def _address(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _code_digest(data: bytes) -> str | None:
    """Identify what a module does, as `source.code_digest` does for a cell; None if it cannot."""
    import xxhash

    from mlops_nb.source.normal import normalised

    try:
        text = normalised(ast.parse(data))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return "xxh3:" + xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))


def _redacted(data: bytes) -> bytes:
    """Take secrets out of bytes that are mostly text."""
    text = data.decode("utf-8", "surrogateescape")
    return redact(text).encode("utf-8", "surrogateescape")
