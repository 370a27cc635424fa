"""The comparison table with the lines around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.display.blocks import Span, Table, TableRow, line
from mlops_nb.display.comparison_columns import ComparisonColumns
from mlops_nb.display.formats import counted, one_line, shortened
from mlops_nb.display.html import NOTEBOOK_COLUMNS, write_html
from mlops_nb.display.phrases import nothing_yet, weak_binding
from mlops_nb.display.view import View, command

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from mlops_nb.compare import Comparison, Row
    from mlops_nb.display.blocks import Block
    from mlops_nb.display.view import Place

COMPARE_MIME = "application/vnd.mlops-nb.compare.v1+json"

_MOST_ROWS = 200
_MOST_CHILDREN = 10
_LONGEST_NAME, _MOST_NAMED = 60, 8


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
    limit: int = _MOST_ROWS
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
        if not self.comparison.rows:
            return nothing_yet(self.place)
        rows = tuple(self._shown())
        columns = ComparisonColumns(self.comparison, rows, self.is_complete)
        heads, cells = zip(*columns.all(), strict=True)
        table = Table(
            heads,
            tuple(TableRow(row) for row in zip(*cells, strict=True)),
            summary=f"{counted(len(rows), 'run')} compared",
            opener=self._command("--all"),
        )
        return (
            self._heading(),
            table,
            *self._remarks(rows),
            *self._left_out(columns.hidden()),
            self._next(rows),
        )

    def _shown(self) -> Iterator[Row]:
        """Give the rows that are drawn: of many children the best ones."""
        below = 0
        for row in self.comparison.rows[: self.limit]:
            below = below + 1 if row.depth else 0
            if below <= _MOST_CHILDREN or self.is_complete:
                yield row

    def _heading(self) -> Block:
        comparison = self.comparison
        parts: list[str | Span] = []
        if comparison.title:
            parts += [Span(_name(comparison.title), "strong"), " · "]
        parts.append(self._counts())
        if comparison.sort_by is not None:
            parts += [" · best ", Span(_name(comparison.sort_by), "strong"), " first"]
        differing = len(comparison.differs["params"])
        if comparison.known_params > differing:
            how = "" if self.is_complete else f" (all: {self._command('--all')})"
            text = f"   params that differ: {differing} of {comparison.known_params}{how}"
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

    def _remarks(self, rows: tuple[Row, ...]) -> Iterator[Block]:
        missing = len(self.comparison.rows) - len(rows)
        if missing:
            how = f"see all of one: {self._command('RUN', '--all')}"
            if len(self.comparison.rows) > self.limit:
                how = f"narrow down: {self._command('--query', 'QUERY')}; take all: .df"
            yield line(Span(f"… {counted(missing, 'more run')}: {how}", "muted"))
        if any(weak_binding(cell.binding) for row in rows for cell in row.metrics.values()):
            yield line(Span("?  which model the value belongs to was guessed", "muted"))

    def _left_out(self, hidden: list[str]) -> Iterator[Block]:
        if hidden:
            names = ", ".join(shortened(one_line(name), 30) for name in hidden[:_MOST_NAMED])
            names += ", …" if len(hidden) > _MOST_NAMED else ""
            how = f" (all: {self._command('--all')})"
            yield line(Span(f"{counted(len(hidden), 'more column')}: {names}{how}", "muted"))

    def _next(self, rows: tuple[Row, ...]) -> Block:
        comparison = self.comparison
        best = next((row for row in rows if row.is_best), None)
        focus = best or rows[0]
        parts: list[str | Span] = []
        if best is not None:
            name = _name(comparison.sort_by or "")
            parts = [f"best {name}: ", Span(best.label, "strong"), ".   "]
        if comparison.baseline_label and comparison.baseline_label != focus.label:
            parts.append(f"Differences are to {comparison.baseline_label}.   ")
        look = Span(command(self.place, "show", focus.label), "code")
        return line(*parts, "Look closer:  ", look)

    def _command(self, *arguments: str) -> str:
        return command(self.place, "compare", *arguments)


def _name(text: str) -> str:
    return shortened(one_line(text), _LONGEST_NAME)
