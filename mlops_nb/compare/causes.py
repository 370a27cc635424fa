"""Why two runs differ, the most likely cause first.

What differs is not yet a cause: a frame that was cut in another place because its cell was
edited follows from the code, and a cell in which only ``C`` has another value follows from the
parameter. A cause that follows from another stands below it, whatever its kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlops_nb.compare.cells import CellPair, moved_cells
from mlops_nb.compare.columns import is_seed, value_key
from mlops_nb.documents import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mlops_nb.compare.changes import EnvironmentChange, MetricChange, ValueChange
    from mlops_nb.compare.literals import LiteralChange
    from mlops_nb.compare.values import DataChange, FileChange
    from mlops_nb.model import Execution, Json, Run

_WEIGHTS = {
    "status": -1.0,
    "data": 0.0,
    "test data": 0.5,
    "params": 1.0,
    "code": 2.0,
    "modules": 2.5,
    "packages": 3.0,
    "python": 3.5,
    "seed": 4.0,
    "hardware": 5.0,
    "variables": 5.2,
    "order": 6.0,
    "code aside": 6.5,
    "other packages": 7.0,
    "os": 7.5,
    "commit": 8.0,
    "random": 9.0,
}
"""What is likelier to change a result has a smaller weight."""

_BELOW = 0.1
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Cause:
    """One difference that may explain all others.

    Attributes
    ----------
    kind
        ``data``, ``params``, ``code``, ``modules``, ``packages``, ``python``, ``seed``,
        ``hardware``, ``variables``, ``order``, ``os``, ``commit``, ``status`` or ``random``.
    text
        What differs, in a sentence.
    follows
        The kind of the cause that it follows from, empty if it stands by itself.
    """

    kind: str
    text: str
    follows: str = ""
    weight: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Describe the cause as JSON."""
        return {"kind": self.kind, "text": plain(self.text), "follows": self.follows or None}


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that differs between two runs, to find the causes in."""

    runs: tuple[Run, Run]
    executions: tuple[Sequence[Execution], Sequence[Execution]]
    params: tuple[ValueChange, ...] = ()
    metrics: tuple[MetricChange, ...] = ()
    cells: tuple[CellPair, ...] = ()
    data: tuple[DataChange, ...] = ()
    files: tuple[FileChange, ...] = ()
    environment: EnvironmentChange | None = None
    git: tuple[ValueChange, ...] = ()
    relevant: Collection[str] | None = None
    effects: Mapping[int, Effect] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Effect:
    """What the change of a cell comes to.

    Attributes
    ----------
    kind
        ``code``, or ``params`` or ``seed`` if nothing but such constants differ; ``aside`` if
        no result depends on the cell.
    params
        Names of the run's parameters that say the same.
    reaches_data
        Whether data that the cell makes may differ for it: the parameter of a model does not.
    literals
        Constants that no parameter of the run has.
    """

    kind: str
    params: tuple[str, ...] = ()
    reaches_data: bool = True
    literals: tuple[LiteralChange, ...] = ()


def find_causes(evidence: Evidence) -> tuple[Cause, ...]:
    """Put what differs in the order in which it is likely to be why."""
    evidence = replace(evidence, effects=dict(_effects(evidence)))
    causes = [
        *_status(evidence),
        *_data(evidence),
        *_params(evidence),
        *_code(evidence),
        *_environment(evidence),
        *_repository(evidence),
        *_seeds(evidence),
        *_order(evidence),
    ]
    if not causes:
        causes += _chance(evidence)
    return tuple(sorted(causes, key=lambda cause: cause.weight))


def _cause(kind: str, text: str, *, follows: str = "", weigh: str = "") -> Cause:
    weight = _WEIGHTS[weigh or kind]
    if follows:
        weight = max(weight, _WEIGHTS[follows] + _BELOW)
    return Cause(kind, text, follows, weight)


# --- what the change of a cell comes to --------------------------------------------------------


def _effects(evidence: Evidence) -> Iterator[tuple[int, Effect]]:
    """Give the effect of each changed cell by its place among the cells.

    Each parameter explains one constant: the second one with the same change is code.
    """
    waiting = [p for p in evidence.params if p.change == "changed"]
    for index, pair in enumerate(evidence.cells):
        if pair.change in {"same", "reformatted", "repeated"}:
            continue
        if not _is_relevant(pair, evidence.relevant):
            yield index, Effect("aside", reaches_data=False)
        elif pair.change in {"added", "removed"}:
            yield index, Effect("code")
        elif pair.change == "changed":
            yield index, _effect(pair, waiting)


def _is_relevant(pair: CellPair, relevant: Collection[str] | None) -> bool:
    if relevant is None:
        return True
    return any(one is not None and one.id in relevant for one in (pair.old, pair.new))


def _effect(pair: CellPair, waiting: list[ValueChange]) -> Effect:
    if not pair.literals:
        return Effect("code")
    left, explained = [], []
    for literal in pair.literals:
        param = next((p for p in waiting if _says_the_same(p, literal)), None)
        if param is None:
            left.append(literal)
        else:
            waiting.remove(param)
            explained.append(param)
    names = tuple(param.name for param in explained)
    if left:
        kind = "seed" if all(literal.is_seed for literal in left) else "code"
        return Effect(kind, names, literals=tuple(left))
    kind = "seed" if all(param.is_seed for param in explained) else "params"
    return Effect(kind, names, reaches_data=not all(param.of_fit for param in explained))


def _says_the_same(param: ValueChange, literal: LiteralChange) -> bool:
    values = (_key(param.old), _key(param.new)) == (_key(literal.old), _key(literal.new))
    return values and (not param.is_seed or literal.is_seed or literal.name == param.name)


def _key(value: Json) -> str:
    return value_key(value) if not isinstance(value, bytes | complex) else repr(value)


# --- causes ------------------------------------------------------------------------------------


def _status(evidence: Evidence) -> Iterator[Cause]:
    old, new = evidence.runs
    if old.status != new.status and not {old.status, new.status} <= {"running", "finished"}:
        said = (f"{run.id[:4]} is {run.status}{_raised(run)}" for run in (old, new))
        yield _cause("status", ", ".join(said))


def _raised(run: Run) -> str:
    error = run.error or {}
    return f" ({error.get('type')}: {error.get('message')})" if error.get("type") else ""


def _data(evidence: Evidence) -> Iterator[Cause]:
    files = [change for change in evidence.files if change.is_different]
    different = [change for change in evidence.data if change.is_different]
    source = ", ".join(change.name for change in files[:_NAMED])
    for change in different:
        follows = "" if files else _explained(change, evidence)
        weigh = "test data" if change.role == "test" else "data"
        text = f"{change.text}; {source} changed" if files else change.text
        yield _cause("data", text, follows=follows, weigh=weigh)
    if files and not different:
        word = "has" if len(files) == 1 else "have"
        yield _cause("data", f"{source} {word} other content")


def _explained(change: DataChange, evidence: Evidence) -> str:
    """Name what made a value differ, if a cell that it came from was changed."""
    kinds = set()
    for side, use in enumerate((change.old, change.new)):
        if use is None:
            continue
        upstream = upstream_of(use.name, use.execution, evidence.executions[side])
        for index, effect in evidence.effects.items():
            pair = evidence.cells[index]
            execution = (pair.old, pair.new)[side]
            if execution is not None and execution.id in upstream and effect.reaches_data:
                kinds.add(effect.kind)
    if kinds in ({"params"}, {"seed"}):
        return kinds.pop()
    return "code" if "code" in kinds else "params" if kinds else ""


def upstream_of(name: str, end: str | None, executions: Sequence[Execution]) -> set[str]:
    """Name the executions that a value came from, those that may have changed it too.

    Parameters
    ----------
    name
        What the value was called.
    end
        The execution that used it; the last one if it is not among `executions`.
    executions
        In run order.
    """
    places = [i for i, execution in enumerate(executions) if execution.id == end]
    last = places[-1] if places else len(executions) - 1
    needed, found = {name}, set()
    for execution in reversed(executions[: last + 1]):
        gives = {*execution.binds, *execution.mutates, *execution.deletes}
        if execution.id == end:
            # It was looked at when it was used: what else is done to it there comes later.
            gives = {*execution.binds}
        if needed & gives or "dynamic" in execution.flags:
            found.add(execution.id)
            needed -= {*execution.binds} - {*execution.reads, *execution.mutates}
            needed |= {*execution.reads, *execution.mutates}
    return found


def _params(evidence: Evidence) -> Iterator[Cause]:
    changes = [change for change in evidence.params if not change.is_seed]
    if not changes:
        return
    # A run of another estimator has other parameters altogether: that one says it.
    whole = [change for change in changes if change.name.rpartition("__")[2] == "estimator"]
    named = [change for change in changes if change.change == "changed"] or changes
    named = [*whole, *(change for change in named if change not in whole)]
    text = ", ".join(said_change(change) for change in named[:_NAMED])
    more = len(changes) - min(len(named), _NAMED)
    yield _cause("params", text + (f" and {more} more" if more else ""))


def said_change(change: ValueChange) -> str:
    """Say a change of a value, as ``C 1.0 → 0.01``."""
    if change.change == "added":
        return f"{change.name} {_said(change.new)} (not set before)"
    if change.change == "removed":
        return f"{change.name} {_said(change.old)} → –"
    return f"{change.name} {_said(change.old)} → {_said(change.new)}"


def _said(value: Json) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:30]}…{text[-29:]}"  # noqa: PLR2004


def _code(evidence: Evidence) -> Iterator[Cause]:
    pairs = [
        (evidence.cells[index], effect)
        for index, effect in evidence.effects.items()
        if effect.kind != "aside" and (effect.kind != "seed" or not effect.literals)
    ]
    yield from _aside(evidence)
    if not pairs:
        return
    # What is not said by a parameter already stands first.
    pairs.sort(key=lambda item: item[1].kind != "code")
    total = len(evidence.cells)
    said = [said_pair(pair) + _nothing_but(effect) for pair, effect in pairs[:_NAMED]]
    said += [f"{len(pairs) - _NAMED} more"] if len(pairs) > _NAMED else []
    kinds = {effect.kind for _, effect in pairs}
    follows = "" if "code" in kinds else "params" if "params" in kinds else "seed"
    yield _cause("code", f"{len(pairs)} of {total} cells: {'; '.join(said)}", follows=follows)


def _aside(evidence: Evidence) -> Iterator[Cause]:
    pairs = [evidence.cells[i] for i, effect in evidence.effects.items() if effect.kind == "aside"]
    if pairs:
        said = "; ".join(said_pair(pair) for pair in pairs[:_NAMED])
        more = f"; {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
        text = f"{said}{more} (no result depends on it)"
        yield _cause("code", text, weigh="code aside")


def _nothing_but(effect: Effect) -> str:
    return "" if effect.kind == "code" else f" (nothing but {', '.join(effect.params)})"


def said_pair(pair: CellPair) -> str:
    """Say what happened to a cell, as ``cell 4, 2 lines``."""
    if pair.change in {"added", "removed"}:
        return f"{pair.place} {'is new' if pair.change == 'added' else 'is gone'}"
    return f"{pair.place}, {pair.lines} line{'' if pair.lines == 1 else 's'}"


def _seeds(evidence: Evidence) -> Iterator[Cause]:
    said = [said_change(change) for change in evidence.params if change.is_seed]
    for index, effect in evidence.effects.items():
        if effect.kind == "seed" and effect.literals:
            literals = ", ".join(
                f"{one.name} {_said(one.old)} → {_said(one.new)}" for one in effect.literals
            )
            said.append(f"{literals} in {evidence.cells[index].place}")
    if said:
        yield _cause("seed", ", ".join(dict.fromkeys(said)))


def _environment(evidence: Evidence) -> Iterator[Cause]:
    environment = evidence.environment
    if environment is None or not environment.is_known:
        return
    for is_imported, weigh in ((True, "packages"), (False, "other packages")):
        packages = [p for p in environment.packages if p.is_imported == is_imported]
        if packages:
            text = ", ".join(package.text for package in packages[:_NAMED])
            more = len(packages) - _NAMED
            text += f" and {more} more" if more > 0 else ""
            text += "" if is_imported else " (not known to be imported)"
            yield _cause("packages", text, weigh=weigh)
    for part in ("python", "hardware", "variables", "os"):
        changes = environment.of(part)
        if changes:
            yield _cause(part, ", ".join(said_change(change) for change in changes[:_NAMED]))


def _repository(evidence: Evidence) -> Iterator[Cause]:
    said = "; ".join(_modules(evidence))
    if said:
        yield _cause("modules", f"imported, {said}")
    for change in evidence.git:
        if change.name == "commit" and change.change == "changed":
            yield _cause("commit", f"{str(change.old)[:8]} → {str(change.new)[:8]}")


def _modules(evidence: Evidence) -> Iterator[str]:
    """Say which modules differ, and which one commit may have and the other not."""
    has_other_commit = any(change.name == "commit" for change in evidence.git)
    names: dict[str, list[str]] = {}
    for change in evidence.git:
        if change.name.startswith("module "):
            side: str = change.change if has_other_commit else "changed"
            names.setdefault(side, []).append(change.name.removeprefix("module "))
    for kind, found in names.items():
        listed = ", ".join(found[:_NAMED])
        listed += f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        if kind == "changed":
            yield f"with other content, not committed: {listed}"
        else:
            # What the other commit has in its place is not recorded.
            run = evidence.runs[kind == "added"]
            yield f"not committed in {run.id[:4]} only: {listed}"


def _order(evidence: Evidence) -> Iterator[Cause]:
    moved = moved_cells(evidence.cells)
    said = [f"{one.place} ran after {other.place}" for one, other in moved[:_NAMED]]
    for pair in evidence.cells:
        if pair.change == "repeated":
            run = evidence.runs[0 if pair.new is None else 1]
            said.append(f"{pair.place} ran once more in {run.id[:4]}")
    labels = [(run.verdict or {}).get("label") for run in evidence.runs]
    bad = {"out-of-order", "stale-source", "mutated-data"}
    if labels[0] != labels[1] and bad & {*labels}:
        said += [
            f"{run.id[:4]} is {label}"
            for run, label in zip(evidence.runs, labels, strict=True)
            if label in bad
        ]
    if said:
        yield _cause("order", "; ".join(said[: _NAMED + 2]))


def _chance(evidence: Evidence) -> Iterator[Cause]:
    """Say what is left where results differ and nothing that was recorded does."""
    if not any(metric.delta for metric in evidence.metrics):
        return
    unset = [
        key
        for key, param in evidence.runs[1].params.items()
        if is_seed(key) and param.value is None
    ]
    unclear = [change.name for change in evidence.data if change.change != "same"]
    if unset:
        text = f"{', '.join(unset[:_NAMED])} is not set, so results may vary by themselves"
        yield _cause("random", text)
    if unclear:
        names = ", ".join(unclear[:_NAMED])
        text = f"{names}: not shown different, but not proved to be the same"
        yield _cause("data", text, weigh="random")
