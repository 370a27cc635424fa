"""What a session runs on, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Cell, Column, Facts, Section, Span, Table, TableRow, fact, line
from mlops_nb.display.formats import UNKNOWN, counted, scalar, size
from mlops_nb.display.phrases import repository
from mlops_nb.display.view import View, command
from mlops_nb.documents import environment_document, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.compare.changes import EnvironmentChange, PackageChange, ValueChange
    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.display.view import Place
    from mlops_nb.environment.lock import LockResult
    from mlops_nb.model import Environment, Json

ENVIRONMENT_MIME = "application/vnd.mlops-nb.environment.v1+json"
LOCK_MIME = "application/vnd.mlops-nb.lock.v1+json"
ENVIRONMENT_DIFF_MIME = "application/vnd.mlops-nb.environment-diff.v1+json"

_PARTS = {"python": "Python", "os": "system", "hardware": "machine", "variables": "variables"}
_FEW = 12
_NOT_DESCRIBED = "What of it was imported is not known, or not yet."


@dataclass(frozen=True, slots=True, repr=False)
class EnvironmentView(View):
    """Python, machine, repository and packages.

    Attributes
    ----------
    environment
        With ``details`` where they are known: what was imported, what is a working copy.
    git
        State of the repository.
    run
        Short id of the run that it was recorded with; empty for what is here.
    """

    environment: Environment
    git: Mapping[str, Json] | None = None
    place: Place = "notebook"
    run: str = ""

    mime: ClassVar[str] = ENVIRONMENT_MIME
    title: ClassVar[str] = "Environment"

    def document(self) -> dict[str, Any]:
        """Give the environment as JSON."""
        found = {**environment_document(self.environment), "git": plain(self.git)}
        return {"run": self.run, **found} if self.run else found

    def blocks(self) -> tuple[Block, ...]:
        """Give a line for each part, and the packages below."""
        content = self.environment.content
        packages: Mapping[str, str] = content.get("packages") or {}
        details = content.get("details") or {}
        facts = [fact("run", Span(self.run, "strong"))] if self.run else []
        facts += [
            fact(name, _flat(content[part])) for part, name in _PARTS.items() if content.get(part)
        ]
        if self.git:
            facts.append(fact("git", repository(self.git)))
        for name, copy in (details.get("editable") or {}).items():
            facts.append(fact("working copy", Span(name, "strong"), f"  {_working_copy(copy)}"))
        algorithm, _, digits = self.environment.digest.partition(":")
        digest = Span(f"{algorithm}:{digits[:12]}", "muted", self.environment.digest)
        facts.append(fact("digest", digest))
        imported = {str(name) for name in details.get("imported") or ()}
        table = Table(
            (Column("package", widest=40), Column("version", widest=40), Column("")),
            tuple(
                TableRow(
                    (
                        Cell(name, "strong" if name in imported else "plain"),
                        Cell(str(version)),
                        Cell("imported" if name in imported else "", "muted"),
                    )
                )
                for name, version in sorted(
                    packages.items(), key=lambda item: (item[0] not in imported, item[0].lower())
                )
            ),
        )
        title = counted(len(packages), "package")
        note = f"{len(imported & packages.keys())} imported" if imported else ""
        section = Section(title, (table,), note, is_open=False)
        doubt = [] if "imported" in details else [line(Span(_NOT_DESCRIBED, "muted"))]
        return (Facts(tuple(facts)), section, *doubt, self._next())

    def _next(self) -> Block:
        run = self.run or "RUN"
        against = Span(command(self.place, "env", "diff", run), "code")
        lock = (self.run, "-o", "pylock.toml") if self.run else ("-o", "pylock.toml")
        locked = Span(command(self.place, "env", "lock", *lock), "code")
        said = "Against what is here:  " if self.run else "Against a run:  "
        return line(said, against, "   a lock of it:  ", locked)


@dataclass(frozen=True, slots=True, repr=False)
class EnvironmentDifferenceView(View):
    """What differs between two environments.

    Attributes
    ----------
    names
        What the two are called: short ids of runs, or ``now``.
    """

    change: EnvironmentChange
    names: tuple[str, str]
    place: Place = "notebook"

    mime: ClassVar[str] = ENVIRONMENT_DIFF_MIME
    title: ClassVar[str] = "Difference between two environments"

    @property
    def is_different(self) -> bool:
        """Whether anything is known to differ."""
        return self.change.is_known and not self.change.is_same

    def document(self) -> dict[str, Any]:
        """Give the difference as JSON."""
        return {"names": plain(self.names), **self.change.to_dict()}

    def blocks(self) -> tuple[Block, ...]:
        """Give the answer, and what differs."""
        old, new = self.names
        head: list[str | Span] = [Span(new, "strong"), " against ", Span(old, "strong"), ": "]
        if not self.change.is_known:
            return (line(*head, "the environment of one of them was not recorded."),)
        if self.change.is_same:
            return (line(*head, f"same ({counted(self.change.count, 'package')})."),)
        parts = [counted(len(self.change.packages), "package")] if self.change.packages else []
        parts += [name for part, name in _PARTS.items() if self.change.of(part)]
        return (
            line(*head, f"{', '.join(parts)} differ."),
            *environment_blocks(self.change, self.names),
        )


def environment_blocks(
    change: EnvironmentChange, names: tuple[str, str] = ("before", "after")
) -> Iterator[Block]:
    """Give what differs: the machine and Python first, then packages, imported ones first."""
    facts = [
        fact(name, ", ".join(_said(one) for one in change.of(part)))
        for part, name in _PARTS.items()
        if change.of(part)
    ]
    if facts:
        yield Facts(tuple(facts))
    imported = [package for package in change.packages if package.is_imported]
    others = [package for package in change.packages if not package.is_imported]
    if imported:
        yield _package_table(imported, names)
    if others and (imported or len(others) > _FEW):
        title = (
            counted(len(others), "other package") if imported else counted(len(others), "package")
        )
        yield Section(title, (_package_table(others, names),), is_open=len(others) <= _FEW)
    elif others:
        yield _package_table(others, names)


def _package_table(packages: list[PackageChange], names: tuple[str, str]) -> Table:
    columns = (
        Column("package", widest=40),
        Column(names[0], widest=30),
        Column(""),
        Column(names[1], widest=30),
        Column("", rank=1),
    )
    rows = tuple(TableRow(_package_cells(package)) for package in packages)
    return Table(columns, rows, "packages that differ, those that were imported first")


def _package_cells(package: PackageChange) -> tuple[Cell, ...]:
    tone: Tone = "warn" if package.is_imported else "plain"
    return (
        Cell(package.name, "strong" if package.is_imported else "plain"),
        Cell(package.old or UNKNOWN),
        Cell("→", "muted"),
        Cell(package.new or UNKNOWN, tone),
        Cell("imported" if package.is_imported else "", "muted"),
    )


def _said(change: ValueChange) -> str:
    is_size = change.name.endswith("_bytes")
    old, new = (
        UNKNOWN if value is None else size(value) if is_size else scalar(value)
        for value in (change.old, change.new)
    )
    return f"{change.name.removesuffix('_bytes')} {old} → {new}"


def _working_copy(copy: Mapping[str, Json]) -> str:
    state = f", {repository(copy)}" if copy.get("commit") else ""
    return f"{copy.get('path') or UNKNOWN}{state}"


def _flat(value: Json) -> str:
    if not isinstance(value, Mapping):
        return scalar(value)
    said = []
    for key, item in value.items():
        if item in (None, "", []):
            continue
        is_size = key.endswith("_bytes") and isinstance(item, int)
        text = size(item) if is_size else _listed(item)
        said.append(f"{key.removesuffix('_bytes')} {text}")
    return " · ".join(said)


def _listed(item: Json) -> str:
    """Write a value, of several things each by its own words."""
    if isinstance(item, list) and all(isinstance(one, Mapping) for one in item):
        return ", ".join(_flat(one) for one in item)
    return scalar(item)


@dataclass(frozen=True, slots=True, repr=False)
class LockView(View):
    """What is in a lock file, and what is not.

    Attributes
    ----------
    result
        What was written.
    is_described
        Whether it was known what of the environment was imported.
    """

    result: LockResult
    place: Place = "notebook"
    is_described: bool = True

    mime: ClassVar[str] = LOCK_MIME
    title: ClassVar[str] = "Lock of an environment"

    def document(self) -> dict[str, Any]:
        """Give what was locked as JSON."""
        found = self.result
        return {
            "path": plain(str(found.path)),
            "kind": found.kind,
            "tool": plain(found.tool),
            "verified": found.is_verified,
            "packages": plain(found.packages),
            "unlocked": [plain(asdict(one)) for one in found.unlocked],
        }

    def blocks(self) -> tuple[Block, ...]:
        """Say where the file is, and warn of what it does not rebuild."""
        found = self.result
        by = f" by {found.tool}" if found.tool else ""
        said = f": {counted(len(found.packages), 'package')}{by}"
        parts: list[Block] = [line(Span(str(found.path), "strong"), said)]
        if not found.is_verified:
            parts.append(line(Span("It has no hashes: no package index was asked.", "warn")))
        if not self.is_described:
            said = "What was imported is not known, so all that was installed is in it."
            parts.append(line(Span(said, "warn")))
        if found.unlocked:
            facts = tuple(fact(one.name, Span(one.reason, "muted")) for one in found.unlocked)
            note = counted(len(facts), "package")
            parts.append(Section("not locked", (Facts(facts),), note, is_open=len(facts) <= _FEW))
        return tuple(parts)
