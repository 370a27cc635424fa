"""The list of runs, newest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.compare.columns import ordered_metrics
from mlops_nb.compare.table import short_labels
from mlops_nb.display.blocks import Cell, Column, Span, Table, TableRow, line
from mlops_nb.display.formats import (
    UNKNOWN,
    ago,
    counted,
    duration,
    exact_time,
    hover,
    number,
    scalar,
)
from mlops_nb.display.phrases import (
    STATUS_MARKS,
    direction,
    nothing_yet,
    started_hover,
    status_tone,
    time_taken,
    value_hover,
    verdict_cell,
)
from mlops_nb.display.view import View, command
from mlops_nb.documents import runs_document
from mlops_nb.store.reading.found import FoundRuns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.display.view import Place
    from mlops_nb.model import Run

RUNS_MIME = "application/vnd.mlops-nb.runs.v1+json"

_MOST_ROWS = 200
_METRIC_RANKS = (0, 24, 30)

_Columns = tuple[Column, tuple[Cell, ...]]


def _now() -> datetime:
    return datetime.now(tz=timezone.utc)


@dataclass(frozen=True, slots=True, repr=False)
class RunsView(View):
    """A list of runs.

    Attributes
    ----------
    runs
        In the order to show; those that a store found know themselves how many there are.
    total
        How many match, if `runs` are only the first of them.
    query
        What they were selected by, if anything.
    place
        Where the reader is.
    now
        The time that "2 min ago" is counted from.
    archived
        How many archived runs were left out of an empty list.
    """

    runs: Sequence[Run]
    total: int | None = None
    query: str | None = None
    place: Place = "notebook"
    now: datetime = field(default_factory=_now)
    archived: int = 0

    mime: ClassVar[str] = RUNS_MIME
    title: ClassVar[str] = "Runs"

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    @property
    def df(self) -> pd.DataFrame:
        """The runs as a pandas DataFrame, one row each; see `Store.frame`.

        Raises
        ------
        TypeError
            The runs did not come from a store.
        MissingExtra
            pandas is not installed.
        """
        if not isinstance(self.runs, FoundRuns):
            msg = "only runs that a store found have a table: mlops_nb.runs(...).df"
            raise TypeError(msg)
        return self.runs.df

    def document(self) -> dict[str, Any]:
        """Give the runs that are drawn as JSON."""
        return runs_document(self._in_order()[:_MOST_ROWS], total=self._known)

    def blocks(self) -> tuple[Block, ...]:
        """Give the heading, the table, and what to do next."""
        if not self.runs and self.archived:
            put_away = f"No runs, but {counted(self.archived, 'archived one')}:  "
            return (line(put_away, Span(command(self.place, "runs", "archived"), "code")),)
        if not self.runs:
            return nothing_yet(self.place, self.query)
        shown = self._in_order()[:_MOST_ROWS]
        columns = list(_columns(shown, self.now))
        rows = zip(*(cells for _, cells in columns), strict=True)
        table = Table(
            tuple(column for column, _ in columns),
            tuple(TableRow(cells) for cells in rows),
            summary=counted(len(shown), "run"),
        )
        return (self._heading(len(shown)), table, *self._next(len(shown)))

    @property
    def _is_by_time(self) -> bool:
        """Whether they came newest first, rather than in an order that was asked for."""
        began = [run.started_at for run in self.runs]
        return began == sorted(began, reverse=True)

    def _in_order(self) -> tuple[Run, ...]:
        """Put children below their parent, unless another order was asked for."""
        if not self._is_by_time:
            return tuple(self.runs)
        here = {run.id for run in self.runs}
        below: dict[str, list[Run]] = {}
        for run in self.runs:
            if run.parent in here:
                below.setdefault(str(run.parent), []).append(run)
        tops = [run for run in self.runs if run.parent not in here]
        return tuple(each for run in tops for each in (run, *below.get(run.id, ())))

    @property
    def _known(self) -> int:
        total = self.runs.total if isinstance(self.runs, FoundRuns) else self.total
        return max(total or 0, len(self.runs))

    def _heading(self, shown: int) -> Block:
        more = f", {shown:,} shown" if self._known > shown else ""
        order = " · newest first" if self._is_by_time else ""
        text = f"{counted(self._known, 'run')}{more}{order}"
        # "2 min ago" in a saved notebook would be read next year, so it says from when.
        return line(Span(text, "strong"), Span(f"   as of {exact_time(self.now)}", "muted"))

    def _next(self, shown: int) -> Iterator[Block]:
        if self._known > shown:
            narrow = command(
                self.place, "runs", "QUERY" if self.place == "notebook" else "'QUERY'"
            )
            more = f"… {counted(self._known - shown, 'more run')}: narrow down with {narrow}"
            yield line(Span(more, "muted"))
        labels = short_labels(run.id for run in self.runs)
        yield line(
            Span("Side by side:  "),
            Span(command(self.place, "compare"), "code"),
            Span("   One of them:  "),
            Span(command(self.place, "show", labels[self.runs[0].id]), "code"),
        )


def _columns(runs: tuple[Run, ...], now: datetime) -> Iterator[_Columns]:
    labels = short_labels(run.id for run in runs)
    below = _below_parents(runs)
    yield Column(""), tuple(_mark(run) for run in runs)
    yield Column("run"), tuple(_label(run, labels[run.id], below) for run in runs)
    yield Column("name", rank=10), tuple(_named(run) for run in runs)
    if any(run.attempt > 1 for run in runs):
        cells = tuple(Cell(str(run.attempt) if run.attempt else "") for run in runs)
        yield Column("attempt", "right", rank=34), cells
    yield (
        Column("began", "right", rank=20),
        tuple(Cell(ago(run.started_at, now), hover=exact_time(run.started_at)) for run in runs),
    )
    if any("estimator" in run.params for run in runs):
        yield Column("estimator", rank=22), tuple(_estimator(run) for run in runs)
    for i, key in enumerate(ordered_metrics(runs)[: len(_METRIC_RANKS)]):
        column = Column(f"{key} {direction(key)}", "decimal", rank=_METRIC_RANKS[i])
        yield column, tuple(_value(run, key) for run in runs)
    yield Column("time", "right", rank=32), tuple(_time(run) for run in runs)
    yield Column("verdict", rank=26), tuple(_verdict(run) for run in runs)
    if len({run.notebook for run in runs}) > 1:
        yield Column("notebook", rank=36), tuple(Cell(run.notebook or UNKNOWN) for run in runs)


def _mark(run: Run) -> Cell:
    return Cell(STATUS_MARKS[run.status], _mark_tone(run), run.status)


def _mark_tone(run: Run) -> Any:
    return "good" if run.status == "finished" else status_tone(run.status)


def _below_parents(runs: tuple[Run, ...]) -> set[str]:
    """Name the children that stand directly below their parent or a sibling."""
    below: set[str] = set()
    for before, run in pairwise(runs):
        is_sibling = before.id in below and before.parent == run.parent
        if run.parent is not None and (run.parent == before.id or is_sibling):
            below.add(run.id)
    return below


def _label(run: Run, label: str, below: set[str]) -> Cell:
    return Cell(f"└ {label}" if run.id in below else label, "strong", started_hover(run))


def _named(run: Run) -> Cell:
    """Give the name, and what people did to the run; their note is what more there is to say."""
    marks = [" ★"] * run.is_starred + [" (archived)"] * run.is_archived
    tone: Tone = "muted" if run.is_archived else "plain"
    return Cell(run.name + "".join(marks), tone, hover(run.note) if run.note else "")


def _estimator(run: Run) -> Cell:
    if "estimator" not in run.params:
        return Cell(UNKNOWN, "muted")
    return Cell(scalar(run.params["estimator"].value))


def _value(run: Run, key: str) -> Cell:
    metric = run.metrics.get(key)
    if metric is None:
        return Cell(UNKNOWN, "muted")
    return Cell(number(metric.value), hover=value_hover(metric.value))


def _time(run: Run) -> Cell:
    seconds = time_taken(run)
    return Cell(duration(seconds), "muted" if seconds is None else "plain", value_hover(seconds))


def _verdict(run: Run) -> Cell:
    label = (run.verdict or {}).get("label")
    return verdict_cell(run, None if label is None else str(label))
