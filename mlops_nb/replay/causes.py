"""Why a replay differs: what else differs between then and now, the most likely cause first.

A file or a module that has changed, and was used up to the differing cell, explains it. A draw
without a seed always gives something else, so it stands before packages, of which every other
machine has different ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_nb.environment import compare_environments
from mlops_nb.environment.distributions import distribution_of
from mlops_nb.replay.randomness import first_unseeded, random_fits, seeds_anywhere
from mlops_nb.replay.recording import label_of
from mlops_nb.replay.records import Cause
from mlops_nb.source import analyse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.model import Environment, Execution, Json, Run
    from mlops_nb.replay.code import CodeChange
    from mlops_nb.replay.files import InputState
    from mlops_nb.replay.records import Value

# What the libraries that are imported compute with.
_BELOW = {
    "scikit-learn": ("numpy", "scipy", "joblib", "threadpoolctl"),
    "pandas": ("numpy", "pyarrow"),
    "xgboost": ("numpy", "scipy"),
    "lightgbm": ("numpy", "scipy"),
    "statsmodels": ("numpy", "scipy", "pandas"),
}
_MOST_NAMED = 4
_ABSENT = frozenset({"ModuleNotFoundError", "ImportError"})
_NO_FILE = frozenset({"FileNotFoundError", "NotADirectoryError", "PermissionError"})


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Then and now, beside the values themselves.

    Attributes
    ----------
    executions
        The recorded cells, in run order.
    runs
        The recorded run, and those above and below it.
    files
        Its inputs, as they are now.
    before, after
        What the two ran on.
    code
        Modules of the project that have changed.
    commits
        Then, and now.
    error
        What the first differing cell raised now: class and message.
    """

    executions: tuple[Execution, ...]
    runs: tuple[Run, ...] = ()
    files: tuple[InputState, ...] = ()
    before: Environment | None = None
    after: Environment | None = None
    code: tuple[CodeChange, ...] = ()
    commits: tuple[str | None, str | None] = (None, None)
    error: tuple[str, str] | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The cells as typed."""
        return tuple(execution.source for execution in self.executions)


def likely_causes(first: Value, about: Circumstances) -> tuple[Cause, ...]:
    """Find what explains the first difference, the most likely cause first.

    Parameters
    ----------
    first
        The first value in run order that differs.
    about
        What is known of then and now.

    Returns
    -------
    tuple of Cause
        Never empty.
    """
    ranked = [
        *((rank, cause) for cause in _data(first, about) for rank in [0 if cause.is_sure else 6]),
        *((rank, cause) for cause in _code(first, about) for rank in [1 if cause.is_sure else 5]),
        *((rank, cause) for cause in _seed(first, about) for rank in [2 if cause.is_sure else 4]),
        *((rank, cause) for cause in _packages(first, about) for rank in [_package_rank(cause)]),
        *((8, cause) for cause in _hardware(about)),
    ]
    if about.error is not None and about.error[0] in _ABSENT:
        # What cannot be imported is no matter of chance.
        ranked = [(-1 if c.kind in {"package", "code"} else rank, c) for rank, c in ranked]
    ranked.sort(key=lambda pair: pair[0])
    return tuple(cause for _, cause in ranked) or (_unknown(first, about),)


def _package_rank(cause: Cause) -> int:
    return 3 if cause.is_sure else 7


def _unknown(first: Value, about: Circumstances) -> Cause:
    if first.after == "lost":
        text = "its kernel died in this cell: killed, out of memory, or ended by its own code"
        return Cause("unknown", text)
    if about.error is not None:
        text = f"it raised {about.error[0]}: {about.error[1]}"
        return Cause("unknown", text, is_sure=False)
    text = (
        "nothing that is recorded differs; what is not: the clock, a network or database, "
        "threads, state of the kernel from before tracking"
    )
    return Cause("unknown", text, is_sure=False)


# --- data -------------------------------------------------------------------------------------


def _data(first: Value, about: Circumstances) -> Iterator[Cause]:
    for state in about.files:
        if state.state not in {"changed", "gone"}:
            continue
        was_read = state.position <= first.position
        where = label_of(about.executions[state.position])
        how = "has changed since" if state.state == "changed" else "is not there any more"
        yield Cause("data", f"{state.path} {how} (read in cell {where})", is_sure=was_read)
    if about.error is not None and about.error[0] in _NO_FILE:
        yield Cause("data", f"a file cannot be read: {about.error[1]}")


# --- code -------------------------------------------------------------------------------------


def _code(first: Value, about: Circumstances) -> Iterator[Cause]:
    used = _imports(about.sources[: first.position + 1])
    sure = [one.path for one in about.code if one.was_imported or _can_be(one.path, used)]
    others = [one.path for one in about.code if one.path not in sure]
    for names, is_sure in ((sure, True), (others, False)):
        if names:
            word, have = ("module", "has") if len(names) == 1 else ("modules", "have")
            yield Cause("code", f"{word} {_listed(names)} {have} changed since", is_sure)
    commits = about.commits
    if not about.code and all(commits) and commits[0] != commits[1]:
        text = f"commit {str(commits[0])[:8]} then, {str(commits[1])[:8]} now"
        yield Cause("code", text, is_sure=False)


def _can_be(path: str, used: set[str]) -> bool:
    """Whether a module, or a package around it, is imported by one of these names."""
    return not used.isdisjoint(path.removesuffix(".py").split("/"))


# --- packages ---------------------------------------------------------------------------------


def _packages(first: Value, about: Circumstances) -> Iterator[Cause]:
    if about.before is None or about.after is None:
        return
    difference = compare_environments(about.before, about.after)
    changes = {
        **difference["packages"]["changed"],
        **{name: [version, None] for name, version in difference["packages"]["removed"].items()},
    }
    used = _used_distributions(first, about) | set(difference.get("imported") or ())
    direct = [name for name in changes if name in used]
    others = [name for name in changes if name not in used]
    if direct:
        yield Cause("package", f"packages differ: {_versions(direct, changes)}")
    python = difference["python"].get("version")
    if python:
        is_sure = str(python[0]).split(".")[:2] != str(python[1]).split(".")[:2]
        yield Cause("package", f"Python {python[0]} → {python[1]}", is_sure)
    if rebuilt := sorted(difference.get("rebuilt") or ()):
        yield Cause("package", f"same version, other files: {_listed(rebuilt)}")
    if edited := sorted(difference.get("editable") or ()):
        yield Cause("package", f"installed from a working copy that differs: {_listed(edited)}")
    if others:
        text = f"packages differ that no cell imports itself: {_versions(others, changes)}"
        yield Cause("package", text, is_sure=False)


def _used_distributions(first: Value, about: Circumstances) -> set[str]:
    roots = _imports(about.sources[: first.position + 1])
    names = {distribution_of(root) for root in roots}
    return names | {below for name in names for below in _BELOW.get(name, ())}


def _imports(sources: Sequence[str]) -> set[str]:
    return {name.partition(".")[0] for text in sources for name in analyse(text).imports}


def _versions(names: Sequence[str], changes: Mapping[str, Sequence[Json]]) -> str:
    said = [f"{name} {changes[name][0] or '?'} → {changes[name][1] or 'none'}" for name in names]
    return _listed(said)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


# --- chance -----------------------------------------------------------------------------------


def _seed(first: Value, about: Circumstances) -> Iterator[Cause]:
    sources = about.sources[: first.position + 1]
    found = first_unseeded(sources)
    if found is not None:
        place, call = found
        where = label_of(about.executions[place])
        yield Cause("seed", f"{call}() draws without a seed in cell {where}")
    if seeds_anywhere(sources):
        return  # scikit-learn draws from NumPy's generator, which has been seeded
    places = {execution.id: place for place, execution in enumerate(about.executions)}
    told: set[tuple[str, str]] = set()
    for execution, name, draws in random_fits(about.runs):
        fitted_in = places.get(execution)
        if fitted_in is None or fitted_in > first.position or (execution, name) in told:
            continue
        told.add((execution, name))
        where = label_of(about.executions[fitted_in])
        text = f"{name} was fitted without a random_state in cell {where}"
        yield Cause("seed", text, is_sure=draws)


# --- hardware ---------------------------------------------------------------------------------


def _hardware(about: Circumstances) -> Iterator[Cause]:
    if about.before is None or about.after is None:
        return
    difference = compare_environments(about.before, about.after)
    for part, word in (("hardware", "hardware"), ("os", "system"), ("variables", "variable")):
        changed = difference[part]
        if changed:
            said = [f"{key} {old} → {new}" for key, (old, new) in changed.items()]
            yield Cause("hardware", f"{word} differs: {_listed(said)}", is_sure=False)
