"""A lock file that rebuilds an environment, with hashes of what to install.

Versions are those that were installed, never what a resolver would choose now: each is asked for
alone, without its dependencies. Where nothing can be asked the list of versions is written, and
its first line says that nobody verified it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.environment.commands import ask
from mlops_nb.environment.origins import Locked, Unlocked, as_requirement, as_table
from mlops_nb.errors import MlopsNbError
from mlops_nb.record import record
from mlops_nb.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlops_nb.environment.commands import Answer
    from mlops_nb.model import Json

__all__ = ["LockFailed", "LockResult", "Unlocked", "packages_to_lock", "write_lock"]

LockKind: TypeAlias = Literal["pylock", "requirements"]

FILE_NAMES: Mapping[LockKind, str] = {
    "pylock": "pylock.toml",
    "requirements": "requirements.lock.txt",
}
TIMEOUT_S = 600.0

_OURS = "# Locked by mlops_nb"
_UNVERIFIED = "# unverified"
_PYLOCK_NAME = re.compile(r"pylock(\.[^.]+)?\.toml")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s\"'@]+@")
# One answer names one package that cannot be had; so many are left out before giving up.
_MOST_LEFT_OUT = 50
_UNKNOWN = (
    re.compile(r"there is no version of ([A-Za-z0-9._-]+?)(?:==|\s)"),
    re.compile(r"([A-Za-z0-9._-]+) was not found in (?:the package registry|the provided)"),
    re.compile(r"Because ([A-Za-z0-9._-]+)==\S+ has no (?:usable wheels|wheels|source)"),
    re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+?)=="),
    re.compile(r"Failed to (?:download and )?build `?([A-Za-z0-9._-]+?)=="),
)
_OFFLINE = re.compile(
    r"error sending request|dns error|tcp connect|Connection refused|NewConnectionError"
    r"|ConnectTimeoutError|Max retries|network (?:was disabled|unreachable)|Temporary failure"
)


class LockFailed(MlopsNbError, RuntimeError):
    """No lock file was written.

    Attributes
    ----------
    path
        The file, or the folder it was to be in.
    problem
        What went wrong, as a clause.
    remedy
        What to do next, as a sentence.
    """

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(path, problem, remedy)
        self.path, self.problem, self.remedy = path, problem, remedy

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}. {self.remedy}"


@record
class LockResult:
    """What a lock file holds.

    Attributes
    ----------
    path, kind
        The file, and what it is.
    tool
        Who gave the hashes, as ``"uv 0.9"``; empty where nobody did.
    packages
        Name -> version of what is locked.
    unlocked
        What belongs to the environment and is not, or not fully, in the file.
    is_verified
        Whether the file has a hash for each package from an index.
    """

    path: Path
    kind: LockKind
    tool: str
    packages: Mapping[str, str]
    unlocked: tuple[Unlocked, ...] = ()
    is_verified: bool = True


def write_lock(
    content: Mapping[str, Json],
    path: str | Path,
    *,
    kind: LockKind = "pylock",
    offline: bool = False,
    all_packages: bool = False,
    overwrite: bool = False,
    timeout_s: float = TIMEOUT_S,
    on_progress: Callable[[str], None] | None = None,
) -> LockResult:
    """Write a lock file that rebuilds an environment.

    Parameters
    ----------
    content
        Of the environment, with ``details`` (see `read_details`); without them nothing is known
        of what was imported, and all packages are locked.
    path
        The file, or a folder for one with the usual name.
    kind
        ``"pylock"`` (PEP 751, by uv or pip 25.1) or ``"requirements"`` with hashes (by uv or pip).
        Where only the second can be had and `path` is a folder, that is written.
    offline
        Ask nobody: a list of versions without hashes, which says so.
    all_packages
        Everything installed, not only what was imported and what that requires.
    overwrite
        Replace a file that this function has not written.
    timeout_s
        How long the tool may take, each time it is asked.
    on_progress
        Is told what is going on, a line at a time.

    Returns
    -------
    LockResult
        What is in the file, and what is not.

    Raises
    ------
    LockFailed
        No index answers, no tool is there, or the file may not be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> result = write_lock({"packages": {"six": "1.16.0"}}, folder, offline=True)
    >>> print(result.path.read_text().splitlines()[-1])
    six==1.16.0
    """
    say = on_progress or _quiet
    wanted, unlocked = packages_to_lock(content, all_packages=all_packages)
    job = _Job(Path(path), wanted, list(unlocked), content, timeout_s, say)
    if offline:
        return job.write("requirements", "", job.plain(), overwrite=overwrite)
    is_named = not job.path.is_dir()
    if is_named and kind == "pylock" and not _PYLOCK_NAME.fullmatch(job.path.name):
        problem = "a lock file of this kind is called pylock.toml or pylock.NAME.toml"
        raise LockFailed(str(path), problem, "Name it so, or choose requirements.")
    tools = _tools(kind, is_named=is_named)
    for tool in tools:
        text = tool.lock(job)
        if tool is tools[-1] or not job.without_hashes(tool.kind, text):
            return job.write(tool.kind, tool.name, text, overwrite=overwrite)
    problem = "neither uv nor a pip that can lock is installed"
    raise LockFailed(str(path), problem, "Install one (pip install uv), or lock offline.")


def _quiet(_: str) -> None:
    """Say nothing."""


# --- what is to be locked ---------------------------------------------------------------------


def packages_to_lock(
    content: Mapping[str, Json], *, all_packages: bool = False
) -> tuple[tuple[Locked, ...], tuple[Unlocked, ...]]:
    """Choose what a lock file of an environment is about.

    Parameters
    ----------
    content, all_packages
        As for `write_lock`.

    Returns
    -------
    tuple
        Packages with exact versions, and those that have none.

    Examples
    --------
    >>> chosen, _ = packages_to_lock({"packages": {"six": "1.16.0"}})
    >>> chosen[0].name, chosen[0].version
    ('six', '1.16.0')
    """
    installed: Mapping[str, str] = content.get("packages") or {}
    details = content.get("details") or {}
    facts: Mapping[str, Json] = details.get("distributions") or {}
    names = set(installed)
    if not all_packages and details.get("imported") is not None:
        names = _closure(details["imported"], installed, facts)
    chosen, unlocked = [], []
    for name in sorted(names):
        mine = facts.get(name) or {}
        version = str(mine.get("version") or installed.get(name) or "")
        origin = dict(mine.get("direct") or {})
        origin |= (details.get("editable") or {}).get(name) or {}
        if version:
            chosen.append(Locked(name, version, origin))
        else:
            unlocked.append(Unlocked(name, "", "its version is not known"))
    return tuple(chosen), tuple(unlocked)


def _closure(
    imported: Iterable[str], installed: Mapping[str, str], facts: Mapping[str, Json]
) -> set[str]:
    """Add what the imported ones require and what is installed: they may import it later."""
    found: set[str] = set()
    waiting = [name for name in imported if name in installed]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            required = (facts.get(name) or {}).get("requires") or ()
            waiting += [other for other in required if other in installed]
    return found


# --- writing ----------------------------------------------------------------------------------


class _Job:
    """One lock file in the making."""

    def __init__(
        self,
        path: Path,
        wanted: Sequence[Locked],
        unlocked: list[Unlocked],
        content: Mapping[str, Json],
        timeout_s: float,
        say: Callable[[str], None],
    ) -> None:
        self.path = path
        self.from_index = [one for one in wanted if not one.origin]
        self.elsewhere = [one for one in wanted if one.origin]
        self.unlocked = unlocked
        self.python = str((content.get("python") or {}).get("version") or "")
        self.timeout_s = timeout_s
        self.say = say

    def plain(self) -> str:
        return "".join(f"{one.name}=={one.version}\n" for one in self.from_index)

    def leave_out(self, name: str) -> None:
        """Go on without a package that no index has."""
        gone = next(one for one in self.from_index if one.name == name)
        self.from_index.remove(gone)
        self.unlocked.append(Unlocked(name, gone.version, "no index has this version"))
        self.say(f"{name} {gone.version} is in no index; going on without it")

    def write(self, kind: LockKind, tool: str, text: str, *, overwrite: bool) -> LockResult:
        path = self.path / FILE_NAMES[kind] if self.path.is_dir() else self.path
        bare = self.without_hashes(kind, text)
        body = re.sub(r"(?m)^packages = \[\]$", "", _CREDENTIALS.sub("", text)).strip()
        tables = [as_table(one) for one in self.elsewhere] if kind == "pylock" else []
        for one, table in zip(self.elsewhere, tables or [None] * len(self.elsewhere), strict=True):
            if table is None:
                self.unlocked.append(Unlocked(one.name, one.version, as_requirement(one)))
        body += "".join(f"\n\n{table}" for table in tables if table)
        lines = [*self._head(kind, tool, path.name, bare), *self._remarks(), ""]
        whole = "\n".join(lines) + f"\n{body}".rstrip() + "\n"
        _replace(path, whole, overwrite=overwrite)
        locked = [*self.from_index]
        locked += [one for one, table in zip(self.elsewhere, tables, strict=False) if table]
        packages = {one.name: one.version for one in locked}
        self.say(f"wrote {path}: {len(packages)} packages, {len(self.unlocked)} left to you")
        return LockResult(path, kind, tool, packages, tuple(self.unlocked), not bare)

    def without_hashes(self, kind: LockKind, text: str) -> list[str]:
        """Name the packages for which a lock has no hash: not every index gives them."""
        is_table = kind == "pylock"
        mark = "hashes = " if is_table else "--hash="
        parts = re.split(r"(?m)^(?=\[\[packages\]\])" if is_table else r"(?m)^(?=\w)", text)
        proven = {_named_in(part) for part in parts if mark in part}
        return [one.name for one in self.from_index if one.name not in proven]

    def _head(self, kind: LockKind, tool: str, name: str, bare: list[str]) -> list[str]:
        python = f", for Python {self.python}" if self.python else ""
        if bare:
            why = f"{tool} found no hashes of {', '.join(bare)}" if tool else "no index was asked"
            return [
                f"{_UNVERIFIED}: versions as they were installed{python}; {why},",
                "# so what this installs may not be the same.",
                f"# Rebuild: uv pip install --no-deps -r {name}",
            ]
        first = f"{_OURS} (hashes by {tool}): exact versions{python}."
        if kind == "pylock":
            return [first, f"# Rebuild in a new environment: uv pip sync {name}"]
        command = f"uv pip install --no-deps --require-hashes -r {name}"
        return [first, f"# Rebuild in a new environment: {command}"]

    def _remarks(self) -> list[str]:
        lines = [f"#   {one.name} {one.version}: {one.reason}" for one in self.unlocked]
        return ["#", "# Not in this file, and to be installed by hand:", *lines] if lines else []


def _named_in(part: str) -> str:
    """Name the package that a part of a lock file is about."""
    found = re.match(r'\[\[packages\]\]\s+name = "([^"]+)"|([A-Za-z0-9._-]+)==', part)
    return _normal(found[1] or found[2]) if found else ""


def _replace(path: Path, text: str, *, overwrite: bool) -> None:
    """Put a file in its place as a whole."""
    try:
        if not overwrite and path.exists() and not _is_ours(path):
            problem = "there is a file that mlops_nb has not written"
            raise LockFailed(str(path), problem, "Choose another name, or say to overwrite it.")
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.write_text(text, "utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        problem = f"the file cannot be written ({error.strerror})"
        raise LockFailed(str(path), problem, "Choose a folder that you may write.") from None


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().startswith((_OURS, _UNVERIFIED))


# --- who is asked -----------------------------------------------------------------------------


@record
class _Tool:
    """A program that knows hashes."""

    name: str
    kind: LockKind
    ask: Callable[[_Job, Path], Answer | None]
    read: Callable[[Path], str]

    def lock(self, job: _Job) -> str:
        """Ask for hashes, leaving out what no index has."""
        import tempfile

        for left in range(_MOST_LEFT_OUT, -1, -1):
            if not job.from_index:
                break
            job.say(f"asking {self.name} for {len(job.from_index)} packages")
            with tempfile.TemporaryDirectory(prefix="mlops_nb-lock-") as folder:
                place = Path(folder)
                (place / "wanted.txt").write_text(job.plain(), "utf-8")
                answer = self.ask(job, place)
                if answer is not None and answer.status == 0:
                    return self.read(place)
            missing = _missing(answer, {one.name for one in job.from_index})
            if missing is None or not left:
                raise _failure(job, self.name, answer)
            job.leave_out(missing)
        return 'lock-version = "1.0"\ncreated-by = "mlops_nb"\n' if self.kind == "pylock" else ""


def _missing(answer: Answer | None, names: set[str]) -> str | None:
    """Find the package that the tool says cannot be had."""
    if answer is None or _OFFLINE.search(text := answer.output.decode("utf-8", "replace")):
        return None
    text = re.sub(r"\s+", " ", text)
    found = (_normal(match[1]) for pattern in _UNKNOWN for match in pattern.finditer(text))
    return next((name for name in found if name in names), None)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _failure(job: _Job, tool: str, answer: Answer | None) -> LockFailed:
    remedy = "Try again where an index answers, or write a list without hashes: offline."
    if answer is None:
        problem = f"{tool} gave no answer within {job.timeout_s:g} s"
        return LockFailed(str(job.path), problem, remedy)
    text = _CREDENTIALS.sub("", redact(answer.output.decode("utf-8", "replace")))
    if _OFFLINE.search(text):
        return LockFailed(str(job.path), f"{tool} reaches no package index", remedy)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")
    problem = f"{tool} cannot lock this ({told[:300]})"
    return LockFailed(str(job.path), problem, remedy)


def _tools(kind: LockKind, *, is_named: bool) -> list[_Tool]:
    """List who can be asked, the best one first."""
    found = []
    if uv := _command("uv"):
        found.append(_uv(uv, kind))
    if pip := _command("pip"):
        version = _version_of(pip)
        if kind == "pylock" and version >= (25, 1):
            found.append(_pip_lock(pip, version))
        if kind == "requirements" or not (is_named or found):
            found.append(_pip_report(pip, version))
    return found


def _command(name: str) -> list[str] | None:
    if find_spec(name) is not None:
        return [sys.executable, "-m", name]
    program = shutil.which(name)
    return [program] if program else None


def _version_of(command: Sequence[str]) -> tuple[int, ...]:
    answer = ask([*command, "--version"], timeout_s=30.0)
    found = re.search(rb"(\d+)\.(\d+)", answer.output) if answer else None
    return (int(found[1]), int(found[2])) if found else (0,)


def _named(name: str, version: tuple[int, ...]) -> str:
    return f"{name} {'.'.join(map(str, version))}"


def _uv(command: Sequence[str], kind: LockKind) -> _Tool:
    output = {"pylock": "pylock.toml", "requirements": "requirements.txt"}[kind]

    def question(job: _Job, place: Path) -> Answer | None:
        wanted, locked = str(place / "wanted.txt"), str(place / output)
        python = ("--python-version", job.python) if job.python else ()
        form = ("--format", output, "--output-file", locked)
        return _ask(job, [*command, "pip", "compile", wanted, *_UV_OPTIONS, *form, *python])

    version = _version_of(command)
    return _Tool(_named("uv", version), kind, question, lambda place: _text(place / output))


_UV_OPTIONS = (
    "--no-deps", "--generate-hashes", "--no-header", "--no-annotate", "--no-progress",
    "--color", "never", "--python", sys.executable,
)  # fmt: skip


def _ask(job: _Job, command: Sequence[str]) -> Answer | None:
    return ask(command, timeout_s=job.timeout_s, with_errors=True)


def _text(path: Path) -> str:
    return path.read_text("utf-8")


def _pip_lock(command: Sequence[str], version: tuple[int, ...]) -> _Tool:
    def question(job: _Job, place: Path) -> Answer | None:
        output = str(place / "pylock.toml")
        options = ["lock", "--no-deps", "-r", str(place / "wanted.txt"), "-o", output]
        return _ask(job, [*command, *options])

    return _Tool(_named("pip", version), "pylock", question, lambda p: _text(p / "pylock.toml"))


def _pip_report(command: Sequence[str], version: tuple[int, ...]) -> _Tool:
    """Let pip say what it would install: of each package the one file for this machine."""

    def question(job: _Job, place: Path) -> Answer | None:
        report, wanted = str(place / "report.json"), str(place / "wanted.txt")
        options = ("install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet")
        return _ask(job, [*command, *options, "--report", report, "-r", wanted])

    return _Tool(_named("pip", version), "requirements", question, _read_report)


def _read_report(place: Path) -> str:
    lines = []
    for one in json.loads(_text(place / "report.json"))["install"]:
        name, version = _normal(one["metadata"]["name"]), one["metadata"]["version"]
        digest = one["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")
    return "".join(sorted(lines))
