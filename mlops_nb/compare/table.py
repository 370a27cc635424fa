"""Runs to rows, columns, the best, and differences to a baseline."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from mlops_nb.compare.columns import (
    CONTENDING,
    differing_params,
    headline_metric,
    is_seed,
    ordered_metrics,
    ordered_params,
    value_key,
)
from mlops_nb.compare.marks import (
    NOT_ITS_OWN,
    Mark,
    code_mark,
    combined,
    data_mark,
    environment_mark,
)
from mlops_nb.compare.records import Comparison, MetricCell, Row
from mlops_nb.errors import NoSuchMetric, RunNotFound
from mlops_nb.expressions import is_lower_better

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlops_nb.model import Environment, Run

    Series = Mapping[tuple[str, str], Sequence[float]]

_SHORTEST_LABEL = 4
_CURVE_POINTS = 200  # what a picture of a curve can show; the whole stays in the store


def compare_runs(
    runs: Sequence[Run],
    *,
    series: Series | None = None,
    baseline: str | None = None,
    sort_by: str | None = None,
    all_params: bool = False,
    by_group: bool = False,
    environments: Mapping[str, Environment] | None = None,
    total: int | None = None,
) -> Comparison:
    """Put runs side by side.

    Parameters
    ----------
    runs
        In any order; a child whose parent is among them is shown below it.
    series
        Values of a metric in step order, by run id and metric, for metrics that are curves.
    baseline
        Id, prefix of an id, or name of the run to take differences to; the best by default.
    sort_by
        Metric whose best value comes first; by default the one that says most.
    all_params
        Whether parameters that are the same everywhere have a column, too.
    by_group
        Whether runs that differ in nothing but their seed become one row.
    environments
        By digest; with them the table says what differs in an environment.
    total
        How many runs there are, if `runs` are only the first of them.

    Returns
    -------
    Comparison
        With a row for each run, the failed ones too.

    Raises
    ------
    NoSuchMetric
        No run has the metric `sort_by`.
    RunNotFound
        No run here has the reference `baseline`.
    """
    metrics = ordered_metrics(runs)
    if sort_by is not None and sort_by not in metrics:
        close = get_close_matches(sort_by, metrics, n=3)
        raise NoSuchMetric(sort_by, tuple(dict.fromkeys([*close, *metrics])))
    sort_by = sort_by or headline_metric(runs)
    metrics.sort(key=lambda key: key != sort_by)
    leaves = _leaves(runs)
    kind = _duration_kind(leaves)
    rows = _grouped_rows(leaves, kind) if by_group else _rows(runs, kind, series or {})
    params = differing_params(leaves)
    if by_group:
        params = tuple(key for key in params if not is_seed(key))
    rows = _ranked(rows, metrics, sort_by)
    base = _baseline_row(rows, baseline)
    by_id = {run.id: run for run in runs}
    return Comparison(
        title=_common_name(runs),
        rows=tuple(_against(row, base, by_id, environments) for row in rows),
        params=tuple(ordered_params(leaves)) if all_params else params,
        metrics=tuple(metrics),
        known_params=len(ordered_params(leaves)),
        differs={"params": params, "metrics": _differing_metrics(rows, metrics)},
        best=_best(rows, metrics),
        baseline=None if base is None else base.run.id,
        sort_by=sort_by,
        lower_is_better=tuple(key for key in metrics if is_lower_better(key)),
        duration_kind=kind,
        total=len(runs) if total is None else total,
        is_grouped=by_group,
    )


# --- rows -------------------------------------------------------------------------------------


def _leaves(runs: Sequence[Run]) -> list[Run]:
    parents = {run.parent for run in runs}
    return [run for run in runs if run.id not in parents]


def _rows(runs: Sequence[Run], kind: str, series: Series) -> list[Row]:
    labels = short_labels(run.id for run in runs)
    here = {run.id for run in runs}
    children: dict[str, int] = {}
    for run in runs:
        if run.parent in here:
            children[run.parent] = children.get(run.parent, 0) + 1
    return [
        Row(
            run=run,
            label=labels[run.id],
            runs=(run.id,),
            depth=1 if run.parent in here else 0,
            children=children.get(run.id, 0),
            params={key: param.value for key, param in run.params.items()},
            metrics=_cells(run, series),
            duration_s=_duration(run, kind),
            verdict=_verdict(run),
        )
        for run in runs
    ]


def _cells(run: Run, series: Series) -> dict[str, MetricCell]:
    return {
        key: MetricCell(
            value=metric.value if math.isfinite(metric.value) else None,
            binding=metric.binding,
            curve=thinned(series.get((run.id, key), ()), _CURVE_POINTS),
            minimum=metric.minimum,
            maximum=metric.maximum,
        )
        for key, metric in run.metrics.items()
    }


def _grouped_rows(leaves: Sequence[Run], kind: str) -> list[Row]:
    labels = short_labels(run.id for run in leaves)
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in leaves:
        params = (f"{k}={value_key(p.value)}" for k, p in run.params.items() if not is_seed(k))
        # A run that stopped early must not pull the mean of those that came to their end.
        state = "" if run.status in CONTENDING else run.status
        groups.setdefault((run.group or run.name, state, *sorted(params)), []).append(run)
    return [_group_row(group, labels, kind) for group in groups.values()]


def _group_row(group: Sequence[Run], labels: Mapping[str, str], kind: str) -> Row:
    newest = max(group, key=lambda run: run.started_at)
    durations = [_duration(run, kind) for run in group]
    known = [duration for duration in durations if duration is not None]
    verdicts = {_verdict(run) for run in group}
    return Row(
        run=newest,
        label=labels[newest.id],
        runs=tuple(run.id for run in group),
        params={k: param.value for k, param in newest.params.items() if not is_seed(k)},
        metrics={key: _mean_cell(group, key) for key in ordered_metrics(group)},
        duration_s=statistics.fmean(known) if known else None,
        verdict=verdicts.pop() if len(verdicts) == 1 else "varies",
    )


def _mean_cell(group: Sequence[Run], key: str) -> MetricCell:
    found = [run.metrics[key] for run in group if key in run.metrics]
    values = [metric.value for metric in found if math.isfinite(metric.value)]
    if not values:
        return MetricCell(None, binding=found[0].binding)
    return MetricCell(
        statistics.fmean(values),
        binding=found[0].binding,
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        count=len(values),
        minimum=min(values),
        maximum=max(values),
    )


def short_labels(ids: Iterable[str]) -> dict[str, str]:
    """Give each id its shortest prefix, of at least four digits, that no other one has."""
    ordered = sorted(set(ids))
    labels = {}
    for i, run in enumerate(ordered):
        near = ordered[max(i - 1, 0) : i] + ordered[i + 1 : i + 2]
        shared = max((_shared_prefix(run, other) for other in near), default=0)
        labels[run] = run[: max(_SHORTEST_LABEL, shared + 1)]
    return labels


def _shared_prefix(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def thinned(values: Sequence[float], points: int) -> tuple[float, ...]:
    """Keep the shape of a curve in at most `points` values: the extremes of each stretch.

    Examples
    --------
    >>> thinned([0, 0, 9, 0, 0, 0, 0, -9], 4)
    (0.0, 9.0, 0.0, -9.0)
    """
    if len(values) <= points:
        return tuple(float(value) for value in values)
    size = len(values) / (points // 2)
    kept: list[float] = []
    for i in range(points // 2):
        stretch = range(int(i * size), int((i + 1) * size))
        finite = [j for j in stretch if math.isfinite(values[j])]
        if not finite:
            kept += [math.nan, math.nan]
            continue
        low, high = min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)
        kept += [float(values[min(low, high)]), float(values[max(low, high)])]
    return tuple(kept)


# --- order, best, baseline --------------------------------------------------------------------


def _ranked(rows: Sequence[Row], metrics: Sequence[str], sort_by: str | None) -> list[Row]:
    """Sort best first with children below their parents, and mark the best of each metric."""
    ranges = {key: found for key in metrics if (found := _worst_and_best(rows, key)) is not None}
    marked = [_with_shares(row, ranges, sort_by) for row in rows]
    # Newest first wherever the metric does not decide: a stable sort on top of this one.
    marked.sort(key=lambda row: row.run.started_at, reverse=True)
    marked.sort(key=lambda row: _rank(row, sort_by))
    below: dict[str | None, list[Row]] = {}
    for row in marked:
        if row.depth:
            below.setdefault(row.run.parent, []).append(row)
    tops = [row for row in marked if not row.depth]
    tops.sort(key=lambda row: min(_rank(r, sort_by) for r in (row, *below.get(row.run.id, ()))))
    return [one for row in tops for one in (row, *below.get(row.run.id, ()))]


def _rank(row: Row, sort_by: str | None) -> float:
    """Give the place of a row's value: smaller is better, what has no value is last."""
    value = _value(row, sort_by)
    if value is None:
        return math.inf
    return value if is_lower_better(sort_by or "") else -value


def _value(row: Row, key: str | None) -> float | None:
    """Give the value that takes part in comparing, None if the row does not."""
    cell = row.metrics.get(key) if key is not None and row.contends else None
    return None if cell is None or cell.binding == "relation" else cell.value


def _worst_and_best(rows: Sequence[Row], key: str) -> tuple[float, float] | None:
    """Give the ends of the values of a metric; None where there is nothing to tell apart."""
    values = [value for value in (_value(row, key) for row in rows) if value is not None]
    if not values or min(values) == max(values):
        return None
    low, high = min(values), max(values)
    return (high, low) if is_lower_better(key) else (low, high)


def _with_shares(row: Row, ranges: Mapping[str, tuple[float, float]], sort_by: str | None) -> Row:
    """Say of each value where between the worst and the best one it is."""
    cells = dict(row.metrics)
    for key in row.metrics.keys() & ranges.keys():
        value = _value(row, key)
        if value is not None:
            worst, best = ranges[key]
            share = (value - worst) / (best - worst)
            cells[key] = replace(cells[key], is_best=value == best, share=share)
    is_best = any(key == sort_by and cell.is_best for key, cell in cells.items())
    return replace(row, metrics=cells, is_best=is_best)


def _best(rows: Sequence[Row], metrics: Iterable[str]) -> dict[str, str]:
    best = {}
    for key in metrics:
        having = [row for row in rows if _value(row, key) is not None]
        if having:
            best[key] = min(having, key=lambda row: _rank(row, key)).run.id
    return best


def _baseline_row(rows: Sequence[Row], reference: str | None) -> Row | None:
    if reference is None:
        # Rows are ranked; a parent stands above its best child without having its value.
        best = next((row for row in rows if row.is_best), None)
        leaf = next((row for row in rows if row.contends and not row.children), None)
        return best or leaf or next(iter(rows), None)
    for row in rows:
        is_prefix = len(reference) >= _SHORTEST_LABEL and any(
            run.startswith(reference) for run in row.runs
        )
        if is_prefix or row.run.name == reference:
            return row
    close = get_close_matches(reference, [row.label for row in rows], n=3)
    raise RunNotFound(reference, tuple(close))


def _against(
    row: Row,
    base: Row | None,
    runs: Mapping[str, Run],
    environments: Mapping[str, Environment] | None,
) -> Row:
    """Say what differs between a row and the baseline."""
    if base is None or row.runs == base.runs:
        return row
    members = [runs[run] for run in row.runs]
    return replace(
        row,
        metrics={key: _with_delta(row, base, key) for key in row.metrics},
        data=_mark(row, [data_mark(base.run, run) for run in members]),
        code=_mark(row, [code_mark(base.run, run) for run in members]),
        environment=combined(environment_mark(base.run, run, environments) for run in members),
    )


def _mark(row: Row, marks: list[Mark]) -> Mark:
    # A parent is the sum of its children: it has data and code only through them.
    return NOT_ITS_OWN if row.children else combined(marks)


def _with_delta(row: Row, base: Row, key: str) -> MetricCell:
    cell, value, reference = row.metrics[key], _value(row, key), _value(base, key)
    if value is None or reference is None:
        return cell
    return replace(cell, delta=value - reference)


def _differing_metrics(rows: Sequence[Row], metrics: Sequence[str]) -> tuple[str, ...]:
    cells = [(key, cell) for row in rows for key, cell in row.metrics.items()]
    differing = {key for key, cell in cells if cell.share is not None}
    return tuple(key for key in metrics if key in differing)


def _duration_kind(leaves: Sequence[Run]) -> str:
    ended = [run for run in leaves if run.status in CONTENDING]
    has_fits = all(any(fit.duration_s is not None for fit in run.models) for run in ended)
    return "fit" if ended and has_fits else "time"


def _duration(run: Run, kind: str) -> float | None:
    if kind == "fit":
        known = [fit.duration_s for fit in run.models if fit.duration_s is not None]
        return sum(known) if known else None
    return run.busy_s or run.duration_s


def _verdict(run: Run) -> str | None:
    label = (run.verdict or {}).get("label")
    return None if label is None else str(label)


def _common_name(runs: Sequence[Run]) -> str:
    names = {run.name for run in runs if run.parent is None}
    return names.pop() if len(names) == 1 else ""
