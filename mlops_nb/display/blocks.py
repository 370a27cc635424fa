"""What a view says, before it is text, Markdown or HTML.

A view gives blocks; the three writers (`text`, `markdown`, `html`) turn the same blocks into
what their reader can show. Texts in blocks are as the user wrote them: each writer makes them
safe for its own target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.record import record

if TYPE_CHECKING:
    from mlops_nb.compare.hunks import Hunk

Tone: TypeAlias = Literal["plain", "strong", "muted", "good", "bad", "warn", "code"]


@record
class Span:
    """A piece of a line; `hover` is what more there is to say."""

    text: str
    tone: Tone = "plain"
    hover: str = ""
    curve: tuple[float, ...] = ()


@record
class Line:
    """A sentence or a row of facts, in pieces that are set apart by their tone."""

    spans: tuple[Span, ...]
    is_title: bool = False


@record
class Column:
    """A column of a table.

    Attributes
    ----------
    align
        ``decimal`` puts the points of numbers below each other, and what is no number left.
    rank
        What is dropped first when there is no room has the highest; 0 is never dropped.
    widest
        In columns of text; longer cells are cut in the middle.
    has_changes
        Whether cells carry a difference beside their value.
    has_bars
        Whether bars are drawn as text, too, where they cannot lie behind the cells.
    bar_letters
        How many letters such a bar is long.
    """

    title: str
    align: Literal["left", "right", "decimal"] = "left"
    rank: int = 0
    widest: int = 28
    hover: str = ""
    has_changes: bool = False
    has_bars: bool = False
    bar_letters: int = 8


@record
class Cell:
    """One cell of a table.

    Attributes
    ----------
    change
        The difference to the baseline, with its mark and tone.
    bar
        0 to 1, drawn behind the cell; None for no bar.
    bar_from
        0 to 1, where the bar begins.
    curve
        Values to draw before the text.
    """

    text: str = ""
    tone: Tone = "plain"
    hover: str = ""
    change: Span | None = None
    bar: float | None = None
    bar_from: float = 0.0
    curve: tuple[float, ...] = ()


@record
class TableRow:
    """One row of a table, as many cells as the table has columns."""

    cells: tuple[Cell, ...]


@record
class Table:
    """Rows and columns.

    Attributes
    ----------
    summary
        What is in it, in a sentence, for who cannot see it.
    opener
        The command that shows all columns, whatever their number.
    """

    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    summary: str = ""
    opener: str = ""


@record
class Code:
    """Source code, output of a cell, or a traceback, kept line by line."""

    text: str
    language: str = ""
    most_lines: int = 60


@record
class Fact:
    """One row of facts: what it is about, and what is said; `mark` stands in front, as ``1``."""

    label: str
    spans: tuple[Span, ...]
    mark: str = ""


@record
class Facts:
    """Facts below each other: labels in one column, and texts that wrap in the other."""

    facts: tuple[Fact, ...]


@record
class CodeDiff:
    """Two versions of a source, side by side where there is room, else as a patch."""

    hunks: tuple[Hunk, ...]
    labels: tuple[str, str] = ("", "")
    most_lines: int = 200


@record
class Drawing:
    """A picture that is drawn here, so many pixels wide.

    `lines` say the same where no picture can be shown.
    """

    svg: str
    lines: tuple[str, ...]
    width: int
    alt: str = ""


@record
class Picture:
    """An image that is part of the document; `mime` is one of `PICTURE_TYPES`."""

    mime: str
    data: bytes
    caption: str = ""


@record
class Gallery:
    """Pictures beside each other, as thumbnails."""

    pictures: tuple[Picture, ...]


@record
class Section:
    """A part that folds.

    Attributes
    ----------
    note
        Stands beside the title, and is seen when the part is folded.
    opener
        The command that shows this part alone, for a target where nothing can be unfolded.
    """

    title: str
    blocks: tuple[Block, ...]
    note: str = ""
    is_open: bool = True
    opener: str = ""


Block: TypeAlias = "Line | Table | Code | CodeDiff | Drawing | Facts | Gallery | Section"

_LONGEST_LINE = 400

PICTURE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"})


def line(*parts: str | Span, title: bool = False) -> Line:
    """Make a line of texts and spans."""
    return Line(tuple(Span(p) if isinstance(p, str) else p for p in parts), title)


def fact(label: str, *parts: str | Span, mark: str = "") -> Fact:
    """Make a fact of texts and spans."""
    return Fact(label, line(*parts).spans, mark)


def cut_lines(text: str, most: int) -> str:
    """Keep the first and last lines of a long text, and say how many are left out."""
    lines = [_cut_line(each) for each in text.split("\n")]
    if len(lines) <= most:
        return "\n".join(lines)
    head = most * 2 // 3
    tail = most - head - 1
    left_out = f"… {len(lines) - head - tail} more lines …"
    return "\n".join([*lines[:head], left_out, *lines[len(lines) - tail :]])


def _cut_line(text: str) -> str:
    """Keep a line of data, as of an image in a source, from being the whole document."""
    if len(text) <= _LONGEST_LINE:
        return text
    half = _LONGEST_LINE // 2
    return f"{text[:half]} … {len(text) - 2 * half:,} more … {text[-half:]}"
