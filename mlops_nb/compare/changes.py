"""What differs between two runs beside their data and their code: the records of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlops_nb.compare.columns import is_seed, ordered_metrics, ordered_params, value_key
from mlops_nb.documents import plain
from mlops_nb.environment import compare_environments, normal_name
from mlops_nb.environment.distributions import distribution_of
from mlops_nb.expressions import is_lower_better
from mlops_nb.source import analyse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mlops_nb.model import Environment, Execution, Json, Metric, Run

Side = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A parameter, or a fact about the machine or the repository, that differs.

    Attributes
    ----------
    old, new
        None on a side without it.
    of_fit
        Whether it is a parameter of a model that was fitted.
    """

    name: str
    change: Side
    old: Json = None
    new: Json = None
    of_fit: bool = False

    @property
    def is_seed(self) -> bool:
        """Whether it only seeds randomness."""
        return is_seed(self.name)

    def to_dict(self) -> dict[str, Any]:
        """Describe the change as JSON."""
        return {
            "name": plain(self.name),
            "change": self.change,
            "old": plain(self.old),
            "new": plain(self.new),
        }


@dataclass(frozen=True, slots=True)
class MetricChange:
    """One metric of two runs.

    Attributes
    ----------
    old, new
        None on a side without it, or where the value is not a finite number.
    """

    name: str
    old: float | None
    new: float | None

    @property
    def delta(self) -> float | None:
        """New less old."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def is_better(self) -> bool | None:
        """Whether the new value is the better one; None where they are equal or one lacks."""
        return (self.delta < 0) == is_lower_better(self.name) if self.delta else None

    def to_dict(self) -> dict[str, Any]:
        """Describe the change as JSON."""
        return {
            "name": plain(self.name),
            "old": self.old,
            "new": self.new,
            "delta": self.delta,
            "is_better": self.is_better,
        }


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A distribution of which two environments have different versions.

    Attributes
    ----------
    is_imported
        Whether a run imported it, as far as that is known.
    """

    name: str
    change: Side
    old: str | None
    new: str | None
    is_imported: bool = False

    @property
    def text(self) -> str:
        """The change as ``pandas 2.2.3 → 3.1.1``."""
        return f"{self.name} {self.old or '–'} → {self.new or '–'}"

    def to_dict(self) -> dict[str, Any]:
        """Describe the change as JSON."""
        return {
            "name": plain(self.name),
            "change": self.change,
            "old": plain(self.old),
            "new": plain(self.new),
            "imported": self.is_imported,
        }


@dataclass(frozen=True, slots=True)
class EnvironmentChange:
    """What differs between two environments.

    Attributes
    ----------
    is_known
        Whether both environments were recorded; else nothing else is said.
    count
        Number of distributions in the new one.
    facts
        By ``python``, ``os``, ``hardware``, ``variables``: the values that differ.
    """

    is_known: bool
    packages: tuple[PackageChange, ...] = ()
    facts: Mapping[str, tuple[ValueChange, ...]] | None = None
    count: int = 0

    def of(self, part: str) -> tuple[ValueChange, ...]:
        """Give the values that differ in a part."""
        return (self.facts or {}).get(part, ())

    @property
    def is_same(self) -> bool:
        """Whether both are known and nothing differs."""
        return self.is_known and not self.packages and not any((self.facts or {}).values())

    def to_dict(self) -> dict[str, Any]:
        """Describe the change as JSON."""
        return {
            "known": self.is_known,
            "same": self.is_same if self.is_known else None,
            "packages": [package.to_dict() for package in self.packages],
            **{
                part: [fact.to_dict() for fact in self.of(part)]
                for part in ("python", "os", "hardware", "variables")
            },
        }


NOT_KNOWN = EnvironmentChange(is_known=False)
"""What is said where an environment was not recorded."""


def param_changes(old: Run, new: Run) -> tuple[ValueChange, ...]:
    """Give the parameters that differ: those that were set before those left at defaults."""
    changes = []
    for key in ordered_params((old, new)):
        was, now = old.params.get(key), new.params.get(key)
        if was is not None and now is not None and value_key(was.value) == value_key(now.value):
            continue
        param = now or was
        of_fit = param is not None and param.fit is not None
        change: Side = "added" if was is None else "removed" if now is None else "changed"
        changes.append(
            ValueChange(key, change, was and was.value, now and now.value, of_fit=of_fit)
        )
    is_default = {
        change.name: all(
            run.params[change.name].is_default for run in (old, new) if change.name in run.params
        )
        for change in changes
    }
    return tuple(sorted(changes, key=lambda change: is_default[change.name]))


def metric_changes(old: Run, new: Run) -> tuple[MetricChange, ...]:
    """Give all metrics: what both have first, the one that says most before all others."""
    found = [
        MetricChange(key, _finite(old.metrics.get(key)), _finite(new.metrics.get(key)))
        for key in ordered_metrics((old, new))
    ]
    return tuple(sorted(found, key=lambda change: change.delta is None))


def environment_change(
    old: Environment | None, new: Environment | None, executions: Iterable[Execution] = ()
) -> EnvironmentChange:
    """Say what differs between two environments, packages that were imported first."""
    if old is None or new is None:
        return NOT_KNOWN
    found = compare_environments(old, new)
    known = found["imported"]
    imported = frozenset(known) if known is not None else imported_packages(executions)
    packages = found["packages"]
    changes = [
        *(_package(name, None, version, imported) for name, version in packages["added"].items()),
        *(
            _package(name, version, None, imported)
            for name, version in packages["removed"].items()
        ),
        *(_package(name, was, now, imported) for name, (was, now) in packages["changed"].items()),
        *_same_version(found, new),
    ]
    changes.sort(key=lambda one: (not one.is_imported, one.change != "changed", one.name))
    facts = {
        part: tuple(value_change(key, *both) for key, both in found[part].items())
        for part in ("python", "os", "hardware", "variables")
    }
    count = len(new.content.get("packages") or {})
    return EnvironmentChange(True, tuple(changes), facts, count)


def _same_version(found: Mapping[str, Json], new: Environment) -> Iterator[PackageChange]:
    """Give the distributions that have other files under the same version."""
    versions = new.content.get("packages") or {}
    for name, facts in found["editable"].items():
        if name not in found["packages"]["changed"]:
            was, now = (_working_copy(facts, side) for side in (0, 1))
            yield PackageChange(name, "changed", was, now, is_imported=True)
    for name in found["rebuilt"]:
        version = str(versions.get(name) or "?")
        other = f"{version} with other files"
        yield PackageChange(name, "changed", version, other, is_imported=True)


def _working_copy(facts: Mapping[str, Json], side: int) -> str:
    """Say which state of a working copy was installed, as ``commit 1a2b3c4d, changed``."""
    said = []
    if "commit" in facts:
        said.append(f"commit {str(facts['commit'][side])[:8]}")
    if "dirty" in facts:
        said.append("with changes" if facts["dirty"][side] else "clean")
    if "version" in facts:
        said.append(str(facts["version"][side]))
    return ", ".join(said)


def imported_packages(executions: Iterable[Execution]) -> frozenset[str]:
    """Name the distributions that cells import, as far as their text says."""
    return frozenset(
        distribution_of(module)
        for execution in executions
        for module in analyse(execution.transformed or execution.source).imports
    )


def git_changes(
    old: Mapping[str, Json] | None, new: Mapping[str, Json] | None
) -> tuple[ValueChange, ...]:
    """Give what differs in the repository: commit, branch, and modules not committed."""
    was, now = old or {}, new or {}
    keys = [key for key in ("commit", "branch", "dirty", "remote") if was.get(key) != now.get(key)]
    changes = [value_change(key, was.get(key), now.get(key)) for key in keys]
    before, after = dirty_modules(was), dirty_modules(now)
    changes += [
        value_change(f"module {name}", before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    return tuple(changes)


def dirty_modules(git: Mapping[str, Json] | None) -> dict[str, Json]:
    """Give the imported modules with uncommitted changes, with what identifies their content."""
    modules = (git or {}).get("modules") or ()
    if isinstance(modules, dict):
        return {str(name): content for name, content in modules.items()}
    named: dict[str, Json] = {}
    for module in modules:
        if isinstance(module, dict):
            name = module.get("path") or module.get("name") or module.get("module") or "?"
            # By what it does, if that is known: layout and comments are no change.
            named[str(name)] = module.get("code_digest") or module.get("digest") or module
        else:
            named[str(module)] = "uncommitted"
    return named


def value_change(name: str, old: Json, new: Json) -> ValueChange:
    """Make a change of two values, of which one may be missing."""
    change: Side = "added" if old is None else "removed" if new is None else "changed"
    return ValueChange(name, change, old, new)


def _package(
    name: str, old: str | None, new: str | None, imported: frozenset[str]
) -> PackageChange:
    change: Side = "added" if old is None else "removed" if new is None else "changed"
    return PackageChange(name, change, old, new, normal_name(name) in imported)


def _finite(metric: Metric | None) -> float | None:
    return metric.value if metric is not None and math.isfinite(metric.value) else None
