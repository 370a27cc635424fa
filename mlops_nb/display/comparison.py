"""The comparison table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Cell, Column, Span, Table, TableRow, line
from mlops_nb.display.formats import (
    UNKNOWN,
    counted,
    difference,
    duration,
    number,
    one_line,
    scalar,
    shortened,
)
from mlops_nb.display.html import NOTEBOOK_COLUMNS, write_html
from mlops_nb.display.phrases import (
    STATUS_MARKS,
    change_span,
    direction,
    mark_cell,
    nothing_yet,
    started_hover,
    status_tone,
    value_hover,
    verdict_cell,
    weak_binding,
)
from mlops_nb.display.view import View, command

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from mlops_nb.compare import Comparison, MetricCell, Row
    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.display.view import Place
    from mlops_nb.model import Json

_Columns = tuple[Column, tuple[Cell, ...]]

COMPARE_MIME = "application/vnd.mlops-nb.compare.v1+json"

MOST_ROWS = 200
_MOST_CHILDREN = 10
_LONGEST_NAME, _MOST_NAMED = 60, 8
_MOST_PARAMS, _MOST_METRICS, _MOST_CURVES = 5, 4, 2
# What goes first when there is no room has the highest rank: the fourth parameter goes before
# the environment's mark, and that before the first parameter.
_PARAM_RANKS, _METRIC_RANKS, _CURVE_RANKS = (10, 22, 30, 38), (0, 24, 40), (29,)
_RANKS = {"verdict": 20, "data": 26, "code": 28, "fit": 32, "environment": 34, "attempt": 36}
_OTHER_PARAMS, _OTHER_METRICS, _OTHER_CURVES = 50, 70, 90


@dataclass(frozen=True, slots=True, repr=False)
class ComparisonView(View):
    """A comparison as a table: best first, differences to the baseline, marks, curves.

    Attributes
    ----------
    comparison
        What to show.
    place
        Where the reader is.
    limit
        Most rows that are drawn; how many more there are is said.
    is_complete
        Whether all columns and all children are drawn, rather than those that matter.
    """

    comparison: Comparison
    place: Place = "notebook"
    limit: int = MOST_ROWS
    is_complete: bool = False

    mime: ClassVar[str] = COMPARE_MIME
    title: ClassVar[str] = "Comparison of runs"

    @property
    def df(self) -> pd.DataFrame:
        """The comparison as a pandas DataFrame; see `Comparison.df`."""
        return self.comparison.df

    def document(self) -> dict[str, Any]:
        """Give the comparison as JSON, with no more rows than are drawn."""
        return self.comparison.to_dict(limit=self.limit)

    @property
    def html(self) -> str:
        """The comparison as an HTML fragment; one with all columns scrolls sideways."""
        return write_html(self.blocks(), columns=None if self.is_complete else NOTEBOOK_COLUMNS)

    def blocks(self) -> tuple[Block, ...]:
        """Give the heading, the table, and what to do next."""
        comparison = self.comparison
        if not comparison.rows:
            return nothing_yet(self.place)
        shown = list(self._shown())
        table = Table(
            tuple(column for column, _ in self._columns(shown)),
            tuple(
                TableRow(cells)
                for cells in zip(*(cells for _, cells in self._columns(shown)), strict=True)
            ),
            summary=f"{counted(len(shown), 'run')} compared",
            opener=self._command("--all"),
        )
        return (self._heading(), table, *self._left_out(shown), *self._next(shown))

    # --- which rows -----------------------------------------------------------------------

    def _shown(self) -> Iterator[Row]:
        """Give the rows that are drawn: of many children the best ones."""
        below = 0
        for row in self.comparison.rows[: self.limit]:
            below = below + 1 if row.depth else 0
            if below <= _MOST_CHILDREN or self.is_complete:
                yield row

    # --- lines around the table -----------------------------------------------------------

    def _heading(self) -> Block:
        comparison = self.comparison
        parts = (
            [Span(shortened(one_line(comparison.title), _LONGEST_NAME), "strong"), Span(" · ")]
            if comparison.title
            else []
        )
        parts.append(Span(self._counts()))
        if comparison.sort_by is not None:
            parts += [
                Span(" · best "),
                Span(shortened(one_line(comparison.sort_by), _LONGEST_NAME), "strong"),
                Span(" first"),
            ]
        differing = len(comparison.differs["params"])
        all_hint = "" if self.is_complete else f" (all: {self._command('--all')})"
        if comparison.known_params > differing:
            text = f"   params that differ: {differing} of {comparison.known_params}{all_hint}"
            parts.append(Span(text, "muted"))
        return line(*parts)

    def _counts(self) -> str:
        comparison = self.comparison
        if comparison.is_grouped:
            runs = sum(len(row.runs) for row in comparison.rows)
            return f"{counted(runs, 'run')} in {counted(len(comparison.rows), 'group')}"
        if comparison.total > len(comparison.rows):
            return f"{counted(comparison.total, 'run')}, {len(comparison.rows):,} shown"
        # A parent is the sum of its children, no run beside them.
        return counted(sum(not row.children for row in comparison.rows), "run")

    def _left_out(self, shown: list[Row]) -> Iterator[Block]:
        comparison = self.comparison
        missing = len(comparison.rows) - len(shown)
        if missing:
            how = f"narrow down with a query, {self._command('QUERY')}, or take all with .df"
            if len(comparison.rows) <= self.limit:
                how = f"see the children of one run: {self._command('RUN --all')}"
            yield line(Span(f"… {counted(missing, 'more run')}: {how}", "muted"))
        if any(weak_binding(cell.binding) for row in shown for cell in row.metrics.values()):
            yield line(Span("?  which model the value belongs to was guessed", "muted"))
        hidden = [
            *comparison.params[self._most_params or len(comparison.params) :],
            *self._single[self._most_metrics or len(self._single) :],
            *self._curved[self._most_curves or len(self._curved) :],
        ]
        if hidden:
            names = ", ".join(shortened(one_line(name), 30) for name in hidden[:_MOST_NAMED])
            names += ", …" if len(hidden) > _MOST_NAMED else ""
            text = (
                f"{counted(len(hidden), 'more column')}: {names} (all: {self._command('--all')})"
            )
            yield line(Span(text, "muted"))

    def _next(self, shown: list[Row]) -> Iterator[Block]:
        comparison = self.comparison
        best = next((row for row in shown if row.is_best), None)
        focus = best or shown[0]
        parts: list[Span] = []
        if best is not None:
            parts = [
                Span(f"best {shortened(one_line(comparison.sort_by or ''), _LONGEST_NAME)}: "),
                Span(best.label, "strong"),
                Span(".   "),
            ]
        if comparison.baseline_label and comparison.baseline_label != focus.label:
            parts.append(Span(f"Differences are to {comparison.baseline_label}.   "))
        parts += [Span("Look closer:  "), Span(command(self.place, "show", focus.label), "code")]
        yield line(*parts)

    def _command(self, *arguments: str) -> str:
        return command(self.place, "compare", *arguments)

    # --- columns --------------------------------------------------------------------------

    @property
    def _most_params(self) -> int | None:
        return None if self.is_complete else _MOST_PARAMS

    @property
    def _most_metrics(self) -> int | None:
        return None if self.is_complete else _MOST_METRICS

    @property
    def _most_curves(self) -> int | None:
        return None if self.is_complete else _MOST_CURVES

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

    def _columns(self, rows: list[Row]) -> Iterator[_Columns]:
        yield Column(""), tuple(_mark(row) for row in rows)
        yield Column("run"), tuple(_label(row) for row in rows)
        yield from self._identity(rows)
        for i, key in enumerate(self.comparison.params[: self._most_params]):
            yield _param_column(key, i, rows)
        for i, key in enumerate(self._single[: self._most_metrics]):
            yield self._metric_column(key, i, rows)
        for i, key in enumerate(self._curved[: self._most_curves]):
            yield self._curve_column(key, i, rows)
        yield (
            Column(
                self.comparison.duration_kind, "right", rank=_RANKS["fit"], hover=_DURATION_MEANS
            ),
            tuple(_duration(row) for row in rows),
        )
        yield from self._marks(rows)
        if any(row.verdict or not row.contends for row in rows):
            yield _VERDICT, tuple(verdict_cell(row.run, row.verdict) for row in rows)

    def _identity(self, rows: list[Row]) -> Iterator[_Columns]:
        if len({row.run.name for row in rows}) > 1:
            yield Column("name", rank=21), tuple(Cell(row.run.name) for row in rows)
        if self.comparison.is_grouped:
            yield Column("runs", "right", rank=12), tuple(Cell(str(len(r.runs))) for r in rows)
        elif any(row.run.attempt > 1 for row in rows):
            cells = tuple(Cell(str(r.run.attempt) if r.run.attempt else "") for r in rows)
            yield Column("attempt", "right", rank=_RANKS["attempt"]), cells

    def _metric_column(self, key: str, index: int, rows: list[Row]) -> _Columns:
        cells = tuple(self._metric_cell(key, row) for row in rows)
        column = Column(
            f"{key} {direction(key)}",
            "decimal",
            rank=_rank(_METRIC_RANKS, index, _OTHER_METRICS),
            hover=_better(key),
            has_changes=any(cell.change is not None for cell in cells),
        )
        return column, cells

    def _curve_column(self, key: str, index: int, rows: list[Row]) -> _Columns:
        is_alone = key != self.comparison.sort_by  # else its last value has a column already
        cells = tuple(_curve_cell(row, key, is_alone) for row in rows)
        rank = _rank(_CURVE_RANKS, index, _OTHER_CURVES)
        return Column(
            f"{key} {direction(key)}", rank=rank, hover=f"{_better(key)}; all steps"
        ), cells

    def _metric_cell(self, key: str, row: Row) -> Cell:
        cell = row.metrics.get(key)
        if cell is None and row.children:
            return Cell("")
        if cell is None or cell.value is None:
            return Cell(UNKNOWN, "muted", "no value" if cell is None else "not a finite number")
        change = None
        if cell.delta is not None and self.comparison.baseline_label:
            change = change_span(key, cell.value, cell.delta, self.comparison.baseline_label)
        weak = weak_binding(cell.binding)
        return Cell(
            _value_text(cell) + ("?" if weak else ""),
            _value_tone(row, cell),
            value_hover(cell.value, weak, _spread(cell)),
            change=change,
            bar=None if cell.share is None else 0.06 + 0.94 * cell.share,
        )

    def _marks(self, rows: list[Row]) -> Iterator[_Columns]:
        reference = self.comparison.baseline_label
        for name in ("data", "code", "environment"):
            marks = [getattr(row, name) for row in rows]
            if all(mark.kind in {"unknown", "baseline"} for mark in marks):
                continue
            title = "env" if name == "environment" else name
            about = f"{name} compared with {reference}"
            yield Column(title, rank=_RANKS[name], hover=about), tuple(mark_cell(m) for m in marks)


_VERDICT = Column("verdict", rank=_RANKS["verdict"], hover="how the run's cells were run")
_DURATION_MEANS = "fit: time in the model's fits; time: time in the run's cells"


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


def _duration(row: Row) -> Cell:
    if row.children and row.duration_s is None:
        return Cell("")
    tone: Tone = "plain" if row.contends and row.duration_s is not None else "muted"
    return Cell(duration(row.duration_s), tone, value_hover(row.duration_s))


def _param_column(key: str, index: int, rows: list[Row]) -> _Columns:
    values = [value for row in rows if (value := row.params.get(key)) is not None]
    are_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    column = Column(
        key,
        "decimal" if values and are_numbers else "left",
        rank=_rank(_PARAM_RANKS, index, _OTHER_PARAMS),
        widest=24,
        hover=f"parameter {key}",
    )
    return column, tuple(_param_cell(row, key) for row in rows)


def _param_cell(row: Row, key: str) -> Cell:
    if key not in row.params and row.children:
        return Cell("")
    if key not in row.params:
        return Cell(UNKNOWN, "muted", "not a parameter of this run")
    value: Json = row.params[key]
    text = scalar(value)
    return Cell(text, hover=repr(value) if isinstance(value, float) else text)


def _value_text(cell: MetricCell) -> str:
    text = number(cell.value)
    if cell.count < 2 or cell.deviation is None:  # noqa: PLR2004
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


def _curve_cell(row: Row, key: str, is_alone: bool) -> Cell:
    cell = row.metrics.get(key)
    if cell is None and row.children:
        return Cell("")
    if cell is None:
        return Cell(UNKNOWN if is_alone else "", "muted")
    last = number(cell.value) if is_alone else ""
    return Cell(last, hover=value_hover(cell.value, _spread(cell)), curve=cell.curve)


def _better(metric: str) -> str:
    return f"{metric}, {'lower' if direction(metric) == '↓' else 'higher'} is better"
