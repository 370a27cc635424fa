"""Why one run is different from another: everything that differs, and the causes in order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlops_nb.compare.causes import Cause, Evidence, find_causes
from mlops_nb.compare.cells import CellPair, pair_cells
from mlops_nb.compare.changes import (
    NOT_KNOWN,
    EnvironmentChange,
    MetricChange,
    ValueChange,
    environment_change,
    git_changes,
    metric_changes,
    param_changes,
)
from mlops_nb.compare.columns import is_seed
from mlops_nb.compare.marks import SAME, Mark, unknown
from mlops_nb.compare.table import short_labels
from mlops_nb.compare.values import DataChange, FileChange, data_changes, file_changes
from mlops_nb.documents import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mlops_nb.model import Environment, Execution, Fingerprint, Run


@dataclass(frozen=True, slots=True)
class RunDifference:
    """What differs from run `a` to run `b`.

    Attributes
    ----------
    a, b
        The runs; differences are said of `b`.
    labels
        Their short ids.
    params, metrics
        Parameters that differ; all metrics.
    cells
        All cells of both, those that are the same too.
    data
        All values of both, those that are the same too.
    files
        Files that both read and that are not known to be the same.
    environment, git
        Packages, machine and repository.
    aspects
        For ``data``, ``params``, ``code``, ``seed``, ``packages``, ``hardware``: whether it is
        the same, as far as that is proved.
    causes
        Most likely first.
    """

    a: Run
    b: Run
    labels: tuple[str, str]
    params: tuple[ValueChange, ...] = ()
    metrics: tuple[MetricChange, ...] = ()
    cells: tuple[CellPair, ...] = ()
    data: tuple[DataChange, ...] = ()
    files: tuple[FileChange, ...] = ()
    environment: EnvironmentChange = NOT_KNOWN
    git: tuple[ValueChange, ...] = ()
    aspects: Mapping[str, Mark] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()

    @property
    def headline(self) -> MetricChange | None:
        """The metric that says most, of those that both runs have."""
        return next((metric for metric in self.metrics if metric.delta is not None), None)

    @property
    def is_different(self) -> bool:
        """Whether anything is known to differ, a metric too."""
        known = [cause for cause in self.causes if cause.weight < _BY_CHANCE]
        return bool(known) or any(metric.delta != 0 for metric in self.metrics)

    def to_dict(self) -> dict[str, Any]:
        """Describe the difference as the JSON of ``mlops-nb diff`` and of the MIME type."""
        changed = [pair for pair in self.cells if pair.change not in {"same", "reformatted"}]
        return {
            "params": [change.to_dict() for change in self.params],
            "code": [pair.to_dict() for pair in changed],
            "data": [change.to_dict() for change in self.data if change.change != "same"],
            "packages": [package.to_dict() for package in self.environment.packages],
            "hardware": [fact.to_dict() for fact in self.environment.of("hardware")],
            "causes": [cause.to_dict() for cause in self.causes],
            "runs": [self.a.id, self.b.id],
            "labels": list(self.labels),
            "names": [plain(self.a.name), plain(self.b.name)],
            "metrics": [metric.to_dict() for metric in self.metrics],
            "files": [change.to_dict() for change in self.files],
            "environment": self.environment.to_dict(),
            "git": [change.to_dict() for change in self.git],
            "verdicts": [plain((run.verdict or {}).get("label")) for run in (self.a, self.b)],
            "same": {
                name: {"kind": mark.kind, "text": plain(mark.text), "details": plain(mark.details)}
                for name, mark in self.aspects.items()
            },
            "differs": self.is_different,
        }


_BY_CHANCE = 8.5  # causes from here on are what may be, not what differs


def diff_runs(
    a: Run,
    b: Run,
    *,
    executions_a: Sequence[Execution] = (),
    executions_b: Sequence[Execution] = (),
    environment_a: Environment | None = None,
    environment_b: Environment | None = None,
    fingerprints: Mapping[str, Fingerprint] | None = None,
    relevant: Collection[str] | None = None,
) -> RunDifference:
    """Say what differs between two runs, and why they may.

    Parameters
    ----------
    a, b
        Differences are said of `b`.
    executions_a, executions_b
        Those that each run needs.
    environment_a, environment_b
        What they ran on.
    fingerprints
        By digest, with columns and statistics, for as many of their values as are kept.
    relevant
        Ids of the executions that models, metrics and data of either run depend on; code that
        differs elsewhere is no likely cause. All of them if left out.

    Returns
    -------
    RunDifference
        With the causes in the order in which they are likely.

    Examples
    --------
    >>> from mlops_nb.model import Param, Run, as_datetime
    >>> old, new = (
    ...     Run(id_, "churn", "finished", "cell", as_datetime(0), params={"C": Param(value)})
    ...     for id_, value in (("7f3a", 1.0), ("e21b", 0.01))
    ... )
    >>> [cause.text for cause in diff_runs(old, new).causes]
    ['C 1.0 → 0.01']
    """
    before, after = (sorted(each, key=_run_order) for each in (executions_a, executions_b))
    cells = pair_cells(before, after)
    data = data_changes(a.data, b.data, fingerprints or {})
    files, _ = file_changes(before, after)
    environment = environment_change(environment_a, environment_b, (*before, *after))
    params, metrics = param_changes(a, b), metric_changes(a, b)
    git = git_changes(a.git, b.git)
    evidence = Evidence(
        (a, b), (before, after), params, metrics, cells, data, files, environment, git, relevant
    )
    labels = short_labels((a.id, b.id))
    found = RunDifference(
        a,
        b,
        (labels[a.id], labels[b.id]),
        params=params,
        metrics=metrics,
        cells=cells,
        data=data,
        files=files,
        environment=environment,
        git=git,
        causes=find_causes(evidence),
    )
    return _with_aspects(found)


def _run_order(execution: Execution) -> tuple[float, int]:
    return execution.started_at.timestamp(), execution.order


# --- what is the same --------------------------------------------------------------------------


def _with_aspects(found: RunDifference) -> RunDifference:
    aspects = {
        "data": _data_mark(found),
        "params": _params_mark(found),
        "code": _code_mark(found.cells),
        "seed": _seed_mark(found),
        "packages": _packages_mark(found.environment),
        "hardware": _hardware_mark(found.environment),
    }
    return replace(found, aspects=aspects)


def _data_mark(found: RunDifference) -> Mark:
    if not found.data:
        return unknown("no data was recorded on both sides")
    if any(change.is_different for change in found.data):
        return Mark("changed", "changed")
    if all(change.change == "same" for change in found.data):
        return Mark("same", f"same ({_counted(len(found.data), 'value')})")
    return Mark("unknown", "not shown different", tuple(change.text for change in found.data))


def _params_mark(found: RunDifference) -> Mark:
    if any(not change.is_seed for change in found.params):
        return Mark("changed", "changed")
    if not found.a.params and not found.b.params:
        return unknown("no parameters were recorded")
    return Mark("same", f"same ({len(found.b.params)})")


def _code_mark(cells: Sequence[CellPair]) -> Mark:
    if not any(pair.old for pair in cells) or not any(pair.new for pair in cells):
        return unknown("no code was recorded on one side")
    kinds = {pair.change for pair in cells}
    if kinds - {"same", "reformatted"}:
        return Mark("changed", "changed")
    text = f"same ({_counted(len(cells), 'cell')}"
    reformatted = sum(pair.change == "reformatted" for pair in cells)
    return Mark("same", f"{text}, {reformatted} reformatted)" if reformatted else f"{text})")


def _seed_mark(found: RunDifference) -> Mark:
    if any(cause.kind == "seed" for cause in found.causes):
        return Mark("changed", "changed")
    values = [
        param.value
        for run in (found.a, found.b)
        for key, param in run.params.items()
        if is_seed(key)
    ]
    if not values:
        return unknown("no seed among the parameters")
    if None in values:
        return Mark("unknown", "not set", ("a random_state of None is another one each time",))
    return SAME


def _packages_mark(environment: EnvironmentChange) -> Mark:
    if not environment.is_known:
        return unknown("no environment was recorded on one side")
    if environment.packages:
        return Mark("changed", _counted(len(environment.packages), "package"))
    return Mark("same", f"same ({_counted(environment.count, 'package')})")


def _hardware_mark(environment: EnvironmentChange) -> Mark:
    if not environment.is_known:
        return unknown("no environment was recorded on one side")
    return Mark("changed", "changed") if environment.of("hardware") else SAME


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
