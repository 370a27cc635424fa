"""Blocks as plain text: aligned, as wide as there is room, with or without colours."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

from mlops_nb.display.blocks import (
    Code,
    CodeDiff,
    Column,
    Drawing,
    Facts,
    Gallery,
    Line,
    Section,
    Span,
    Table,
    cut_lines,
)
from mlops_nb.display.formats import clean, one_line, phrase, reads_right_to_left, shortened, width
from mlops_nb.display.sparkline import as_text
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mlops_nb.display.blocks import Block, Cell, Tone

NOTEBOOK_COLUMNS = 120
_GAP = "  "
# Long cells are cut to these widths, or to what their column allows; the last only when no column
# is left to do without.
_CUTS = (200, 28, 24, 21, 18, 16, 14)
_DISPENSABLE = 30
_INDENT = "  "
_PAINT = {"strong": "1", "muted": "2", "good": "32", "bad": "31", "warn": "33", "code": "36"}
_LONGEST = 200  # letters of a line of a patch
_PATCH_TONES: dict[str, Tone] = {"-": "bad", "+": "good"}
_ISOLATE, _END = "\u2068", "\u2069"


def columns_available() -> int:
    """Tell how wide a line may be: the terminal's width, or what a notebook shows."""
    if sys.stdout is not None and sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return NOTEBOOK_COLUMNS


def write_text(blocks: Iterable[Block], *, columns: int | None = None, color: bool = False) -> str:
    """Write blocks as plain text.

    Parameters
    ----------
    blocks
        What to say.
    columns
        Width that lines are fitted to; by default the terminal's, or 120 in a notebook.
    color
        Whether tones become terminal colours. Nothing is said by colour alone.
    """
    writer = _Writer(color)
    room = columns_available() if columns is None else columns
    return "\n".join(text.rstrip() for text in writer.lines(blocks, room)).strip("\n")


@record
class _Writer:
    color: bool

    def lines(self, blocks: Iterable[Block], columns: int) -> Iterator[str]:
        before: Block | None = None
        for block in blocks:
            # A blank line after what stands by itself; a section begins with one of its own.
            if isinstance(before, Section | Table) and isinstance(block, Line):
                yield ""
            before = block
            if isinstance(block, Line):
                yield from self.line(block, columns)
            elif isinstance(block, Table):
                yield from self.table(block, columns)
            elif isinstance(block, Code):
                yield from cut_lines(clean(block.text), block.most_lines).split("\n")
            elif isinstance(block, Gallery):
                yield from (phrase(picture.caption) for picture in block.pictures)
            elif isinstance(block, Facts):
                yield from self.facts(block, columns)
            elif isinstance(block, CodeDiff):
                yield from self.patch(block)
            elif isinstance(block, Drawing):
                yield from (clean(text) for text in block.lines)
            else:
                yield from self.section(block, columns)

    def line(self, block: Line, columns: int) -> Iterator[str]:
        whole = "".join(_said(span) for span in block.spans)
        if width(whole) <= columns:
            yield "".join(self.paint(_said(span), span.tone) for span in block.spans)
        else:
            yield from textwrap.wrap(whole, max(columns, 20), subsequent_indent=_INDENT)

    def facts(self, block: Facts, columns: int) -> Iterator[str]:
        marks = max((width(each.mark) for each in block.facts), default=0)
        labels = max((width(phrase(each.label)) for each in block.facts), default=0)
        room = max(columns - marks - labels - 3, 20)
        for each in block.facts:
            label = phrase(each.label)
            head = f"{_pad(each.mark, marks)}{each.mark} {label}{_pad(label, labels)}  "
            whole = "".join(_said(span) for span in each.spans)
            if width(whole) <= room:
                yield head + "".join(self.paint(_said(span), span.tone) for span in each.spans)
                continue
            first, *others = textwrap.wrap(whole, room) or [""]
            yield head + first
            yield from (" " * width(head) + text for text in others)

    def patch(self, block: CodeDiff) -> Iterator[str]:
        for hunk in block.hunks:
            yield self.paint(hunk.header, "muted")
            for text in cut_lines(
                clean("\n".join(hunk.unified(_LONGEST))), block.most_lines
            ).split("\n"):
                yield self.paint(text, _PATCH_TONES.get(text[:1], "plain"))

    def section(self, block: Section, columns: int) -> Iterator[str]:
        note = f"  {self.paint(phrase(block.note), 'muted')}" if block.note else ""
        opener = "" if block.is_open or not block.opener else f"   see: {block.opener}"
        if not (block.is_open or note or opener):
            return  # folded for good: there is nothing to say here
        yield ""
        yield self.paint(phrase(block.title), "strong") + note + opener
        if block.is_open:
            for text in self.lines(block.blocks, columns - len(_INDENT)):
                yield _INDENT + text if text else ""

    def table(self, table: Table, columns: int) -> Iterator[str]:
        fitted, dropped = _fitted(table, columns)
        if any(column.header.strip() for column in fitted):
            yield self.paint(_GAP.join(column.header for column in fitted), "muted")
        for i in range(len(table.rows)):
            yield _GAP.join(self.cell(column, i) for column in fitted)
        if dropped:
            yield ""
            note = f"hidden at {columns} columns: {', '.join(dropped)}"
            yield from textwrap.wrap(note, max(columns, 20), subsequent_indent=_INDENT)

    def cell(self, column: _Fitted, i: int) -> str:
        cell = column.cells[i]
        value = self.paint(column.values[i], cell.tone)
        if cell.change is None:
            return value + " " * column.change_width
        change = column.changes[i]
        return value + self.paint(change, cell.change.tone) + _pad(change, column.change_width)

    def paint(self, text: str, tone: Tone) -> str:
        if not self.color or tone not in _PAINT or not text.strip():
            return text
        said = text.rstrip()
        return f"\x1b[{_PAINT[tone]}m{said}\x1b[0m{text[len(said) :]}"


@record
class _Fitted:
    """A column whose values are padded to one width."""

    column: Column
    header: str
    cells: tuple[Cell, ...]
    values: list[str]
    changes: list[str]
    change_width: int

    @property
    def width(self) -> int:
        return width(self.header)


def _said(span: Span) -> str:
    # Blanks around a span set it apart, so only what is inside is brought on one line.
    inner = span.text.strip(" ")
    before, after = span.text.partition(inner)[0::2] if inner else (span.text, "")
    return before + isolated(phrase(inner)) + after


def isolated(text: str) -> str:
    """Keep a right-to-left text from changing the order of what stands beside it."""
    return f"{_ISOLATE}{text}{_END}" if reads_right_to_left(text) else text


def _fitted(table: Table, columns: int) -> tuple[list[_Fitted], list[str]]:
    """Cut long cells, then drop columns by rank, until the table fits."""
    kept = list(range(len(table.columns)))
    dropped: list[int] = []
    done: dict[tuple[int, int], _Fitted] = {}
    while True:
        rank, last = max((table.columns[i].rank, i) for i in kept)
        cuts = _CUTS if rank < _DISPENSABLE else _CUTS[:3]
        for widest in cuts:
            for i in kept:
                if (i, widest) not in done:
                    done[i, widest] = _fit(table, i, widest)
            fitted = [done[i, widest] for i in kept]
            if sum(column.width + len(_GAP) for column in fitted) - len(_GAP) <= columns:
                return fitted, _titles(table, dropped)
        if rank == 0:
            return fitted, _titles(table, dropped)
        kept.remove(last)
        dropped.append(last)


def kept_columns(table: Table, columns: int) -> tuple[list[int], list[str]]:
    """Choose the columns of a table that fit, and name those that do not."""
    kept, dropped = list(range(len(table.columns))), []
    widths = [_fit(table, i, None).width + len(_GAP) for i in kept]
    while sum(widths[i] for i in kept) > columns:
        rank, last = max((table.columns[i].rank, i) for i in kept)
        if rank == 0:
            break
        kept.remove(last)
        dropped.append(last)
    return kept, _titles(table, dropped)


def _titles(table: Table, dropped: Sequence[int]) -> list[str]:
    return [shortened(one_line(table.columns[i].title).rstrip(" ↑↓"), 30) for i in sorted(dropped)]


def _fit(table: Table, index: int, widest: int | None) -> _Fitted:
    column = table.columns[index]
    limit = column.widest if widest is None else min(widest, column.widest)
    cells = tuple(row.cells[index] for row in table.rows)
    texts = [_cell_text(cell, limit) for cell in cells]
    if column.has_bars:
        longest = max(map(width, texts), default=0)
        bars = [bar_text(cell.bar, column.bar_letters, cell.bar_from) for cell in cells]
        texts = [f"{bar} {_pad(t, longest)}{t}" for bar, t in zip(bars, texts, strict=True)]
    values = _point_aligned(texts) if column.align == "decimal" else texts
    title = shortened(one_line(column.title), max(limit, _CUTS[-1]))
    changes = ["" if c.change is None else f" {phrase(c.change.text)}" for c in cells]
    change_width = max(map(width, changes), default=0)
    value_width = max([width(title) - change_width, *map(width, values)], default=0)
    if column.align == "left":
        values = [value + _pad(value, value_width) for value in values]
    else:
        values = [_pad(value, value_width) + value for value in values]
    total = value_width + change_width
    header = title + _pad(title, total)
    if column.align == "right" or (column.align == "decimal" and not change_width):
        header = _pad(title, total) + title
    return _Fitted(column, header, cells, values, changes, change_width)


def _cell_text(cell: Cell, widest: int) -> str:
    text = isolated(shortened(one_line(cell.text), widest))
    return " ".join(filter(None, (as_text(cell.curve), text)))


def bar_text(share: float | None, columns: int = 8, start: float = 0.0) -> str:
    """Draw a share as a bar of eighths of a letter, from where it begins, to whole letters.

    Examples
    --------
    >>> bar_text(0.5), bar_text(0.07, 2), bar_text(None, 2)
    ('████    ', '▏ ', '  ')
    """
    if share is None:
        return " " * columns
    before = min(round(min(max(start, 0.0), 1.0) * columns), columns - 1)
    most = (columns - before) * 8
    eighths = max(min(round(max(share, 0.0) * columns * 8), most), 1 if share else 0)
    full, part = divmod(eighths, 8)
    return (" " * before + "█" * full + "▏▎▍▌▋▊▉"[part - 1 : part]).ljust(columns)


def _point_aligned(texts: list[str]) -> list[str]:
    """Pad on the right, so that decimal points are below each other when aligned right."""
    tails = [text[text.find(".") :] if "." in text else "" for text in texts]
    longest = max(map(width, tails), default=0)
    return [text + _pad(tail, longest) for text, tail in zip(texts, tails, strict=True)]


def _pad(text: str, columns: int) -> str:
    return " " * (columns - width(text))
