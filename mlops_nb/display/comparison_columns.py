"""The columns of a comparison: which, in which order, and what stands in their cells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_nb.compare.columns import is_seed
from mlops_nb.display.blocks import Cell, Column
from mlops_nb.display.formats import UNKNOWN, difference, duration, number, scalar
from mlops_nb.display.phrases import (
    STATUS_MARKS,
    change_span,
    direction,
    mark_cell,
    started_hover,
    status_tone,
    value_hover,
    verdict_cell,
    weak_binding,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.compare import Comparison, MetricCell, Row
    from mlops_nb.display.blocks import Tone

ColumnOfCells = tuple[Column, tuple[Cell, ...]]

_MOST_PARAMS, _MOST_METRICS, _MOST_CURVES = 5, 4, 2
# What goes first when there is no room has the highest rank: the fourth parameter goes before
# the environment's mark, and that before the first parameter.
_PARAM_RANKS, _METRIC_RANKS, _CURVE_RANKS = (10, 22, 30, 38), (0, 24, 40), (29,)
_RANKS = {"verdict": 20, "data": 26, "code": 28, "fit": 32, "environment": 34, "attempt": 36}
_OTHER_PARAMS, _OTHER_METRICS, _OTHER_CURVES = 50, 70, 90
_WIDEST_PARAMS = 30
_SHORTEST_BAR = 0.06  # the worst value is a value, too


@dataclass(frozen=True, slots=True)
class ComparisonColumns:
    """Makes the columns for the rows that are drawn; all of them, or those that matter."""

    comparison: Comparison
    rows: tuple[Row, ...]
    is_complete: bool

    def all(self) -> Iterator[ColumnOfCells]:
        """Give the columns from left to right, each with its cells."""
        yield from self._identity()
        yield from self._params()
        for i, key in enumerate(self._single[: self._most(_MOST_METRICS)]):
            yield self._metric(key, i)
        for i, key in enumerate(self._curved[: self._most(_MOST_CURVES)]):
            yield self._curve(key, i)
        kind = self.comparison.duration_kind
        about = "time in the model's fits" if kind == "fit" else "time in the run's cells"
        column = Column(kind, "right", rank=_RANKS["fit"], hover=about)
        yield column, tuple(_duration(row) for row in self.rows)
        yield from self._marks()
        if any(row.verdict or not row.contends for row in self.rows):
            column = Column("verdict", rank=_RANKS["verdict"], hover="how its cells were run")
            yield column, tuple(verdict_cell(row.run, row.verdict) for row in self.rows)

    def hidden(self) -> list[str]:
        """Name the metrics without a column."""
        single, curved = self._single, self._curved
        return [
            *single[self._most(_MOST_METRICS) or len(single) :],
            *curved[self._most(_MOST_CURVES) or len(curved) :],
        ]

    def _most(self, most: int) -> int | None:
        return None if self.is_complete else most

    def _identity(self) -> Iterator[ColumnOfCells]:
        yield Column(""), tuple(_mark(row) for row in self.rows)
        yield Column("run"), tuple(_label(row) for row in self.rows)
        if len({row.run.name for row in self.rows}) > 1:
            yield Column("name", rank=21), tuple(Cell(row.run.name) for row in self.rows)
        if self.comparison.is_grouped:
            cells = tuple(Cell(str(len(row.runs))) for row in self.rows)
            yield Column("runs", "right", rank=12), cells
        elif any(row.run.attempt > 1 for row in self.rows):
            column = Column("attempt", "right", rank=_RANKS["attempt"])
            yield column, tuple(Cell(str(row.run.attempt or "")) for row in self.rows)

    # --- parameters -----------------------------------------------------------------------

    def _params(self) -> Iterator[ColumnOfCells]:
        """Give a column to each parameter that most runs have, and one to all others.

        Runs of different estimators share few parameters: a column for each would be dashes.
        """
        shared, others = self._shared_params()
        for i, key in enumerate(shared):
            yield _param(key, i, self.rows)
        if others:
            column = Column(
                "other params", rank=23, widest=_WIDEST_PARAMS, hover=", ".join(others)
            )
            yield column, tuple(_set_params(row, others) for row in self.rows)

    def _shared_params(self) -> tuple[list[str], list[str]]:
        params = list(self.comparison.params)
        if self.is_complete:
            return params, []
        having = [row for row in self.rows if row.params]
        shared = [k for k in params if 2 * sum(k in row.params for row in having) >= len(having)]
        shared = shared[:_MOST_PARAMS]
        others = [key for key in params if key not in shared]
        if len(others) == 1 and len(shared) < _MOST_PARAMS:
            return [*shared, *others], []
        return shared, others

    # --- metrics --------------------------------------------------------------------------

    @property
    def _curved(self) -> list[str]:
        """The metrics that are drawn as curves."""
        cells = [item for row in self.comparison.rows for item in row.metrics.items()]
        curved = {key for key, cell in cells if len(cell.curve) > 1}
        return [key for key in self.comparison.metrics if key in curved]

    @property
    def _single(self) -> list[str]:
        """The metrics with a column of values; the one sorted by always has one."""
        curved = {*self._curved} - {self.comparison.sort_by}
        return [key for key in self.comparison.metrics if key not in curved]

    def _metric(self, key: str, index: int) -> ColumnOfCells:
        cells = tuple(self._value(key, row) for row in self.rows)
        column = Column(
            f"{key} {direction(key)}",
            "decimal",
            rank=_rank(_METRIC_RANKS, index, _OTHER_METRICS),
            hover=_better(key),
            has_changes=any(cell.change is not None for cell in cells),
        )
        return column, cells

    def _value(self, key: str, row: Row) -> Cell:
        cell = row.metrics.get(key)
        if cell is None or cell.value is None:
            return _missing(row, "no value" if cell is None else "not a finite number")
        change, reference = None, self.comparison.baseline_label
        if cell.delta is not None and reference:
            change = change_span(key, cell.value, cell.delta, reference)
        weak = weak_binding(cell.binding)
        share = cell.share
        return Cell(
            _value_text(cell) + ("?" if weak else ""),
            _value_tone(row, cell),
            value_hover(cell.value, weak, _spread(cell)),
            change=change,
            bar=None if share is None else _SHORTEST_BAR + (1 - _SHORTEST_BAR) * share,
        )

    def _curve(self, key: str, index: int) -> ColumnOfCells:
        is_alone = key != self.comparison.sort_by  # else its last value has a column already
        column = Column(
            f"{key} {direction(key)}",
            rank=_rank(_CURVE_RANKS, index, _OTHER_CURVES),
            hover=f"{_better(key)}; all steps",
        )
        return column, tuple(_curve_cell(row, key, is_alone=is_alone) for row in self.rows)

    # --- marks ----------------------------------------------------------------------------

    def _marks(self) -> Iterator[ColumnOfCells]:
        reference = self.comparison.baseline_label
        for name in ("data", "code", "environment"):
            marks = [getattr(row, name) for row in self.rows]
            if all(mark.kind in {"unknown", "baseline"} for mark in marks):
                continue
            title = "env" if name == "environment" else name
            column = Column(title, rank=_RANKS[name], hover=f"{name} compared with {reference}")
            yield column, tuple(mark_cell(mark) for mark in marks)


def _rank(first: tuple[int, ...], index: int, other: int) -> int:
    return first[index] if index < len(first) else other + index


def _mark(row: Row) -> Cell:
    if row.is_best:
        return Cell("★", "strong", "best by the metric that the table is sorted by")
    if row.run.status == "finished":
        return Cell("")
    return Cell(STATUS_MARKS[row.run.status], status_tone(row.run.status), row.run.status)


def _label(row: Row) -> Cell:
    text = f"└ {row.label}" if row.depth else row.label
    if row.children:
        text = f"{row.label} ({row.children})"
    return Cell(text, "strong" if row.is_best else "plain", started_hover(row.run))


def _missing(row: Row, why: str) -> Cell:
    """Say that something is not known; a parent has most things through its children only."""
    return Cell("") if row.children else Cell(UNKNOWN, "muted", why)


def _duration(row: Row) -> Cell:
    if row.duration_s is None:
        return _missing(row, "no time was recorded")
    tone: Tone = "plain" if row.contends else "muted"
    return Cell(duration(row.duration_s), tone, value_hover(row.duration_s))


def _param(key: str, index: int, rows: tuple[Row, ...]) -> ColumnOfCells:
    values = [value for row in rows if (value := row.params.get(key)) is not None]
    are_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    column = Column(
        key,
        "decimal" if values and are_numbers else "left",
        rank=_OTHER_PARAMS if is_seed(key) else _rank(_PARAM_RANKS, index, _OTHER_PARAMS),
        widest=24,
        hover=f"parameter {key}",
    )
    return column, tuple(_param_cell(row, key) for row in rows)


def _param_cell(row: Row, key: str) -> Cell:
    if key not in row.params:
        return _missing(row, "not a parameter of this run")
    value = row.params[key]
    text = scalar(value)
    return Cell(text, hover=repr(value) if isinstance(value, float) else text)


def _set_params(row: Row, keys: list[str]) -> Cell:
    """List the parameters that a run has changed, in one cell: numbers before structures."""
    params = row.run.params
    changed = [key for key in keys if key in row.params and not params[key].is_default]
    changed.sort(key=lambda key: _complexity(params[key].value))
    last_names = Counter(key.rpartition("__")[2] for key in changed)
    pairs = []
    for key in changed:
        last = key.rpartition("__")[2]
        pairs.append((last if last_names[last] == 1 else key, key, scalar(params[key].value)))
    text = _as_many_as_fit([f"{short}={value}" for short, _, value in pairs])
    return Cell(text, hover=", ".join(f"{key}={value}" for _, key, value in pairs))


def _as_many_as_fit(pairs: list[str]) -> str:
    """Join whole pairs; the first one stands there in any case."""
    text = ", ".join(pairs)
    while len(text) > _WIDEST_PARAMS and len(pairs) > 1:
        pairs = pairs[:-1]
        text = f"{', '.join(pairs)}, …"
    return text


def _complexity(value: object) -> int:
    if isinstance(value, list | tuple | dict):
        return 2
    return 1 if isinstance(value, str) else 0


def _value_text(cell: MetricCell) -> str:
    text = number(cell.value)
    if cell.deviation is None:
        return text
    spread = difference(cell.deviation, cell.value or 0.0).lstrip("+=") or "0"
    return f"{text} ± {spread} (n {cell.count})"


def _value_tone(row: Row, cell: MetricCell) -> Tone:
    if not row.contends:
        return "muted"
    return "strong" if cell.is_best else "plain"


def _spread(cell: MetricCell) -> str:
    if cell.minimum is None or cell.maximum is None or cell.minimum == cell.maximum:
        return ""
    return f"from {cell.minimum!r} to {cell.maximum!r}"


def _curve_cell(row: Row, key: str, *, is_alone: bool) -> Cell:
    cell = row.metrics.get(key)
    if cell is None:
        return _missing(row, "no value") if is_alone else Cell("")
    last = number(cell.value) if is_alone else ""
    return Cell(last, hover=value_hover(cell.value, _spread(cell)), curve=cell.curve)


def _better(metric: str) -> str:
    return f"{metric}, {'lower' if direction(metric) == '↓' else 'higher'} is better"
