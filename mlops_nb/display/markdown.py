"""Blocks as GitHub Markdown that also reads well unrendered, in a terminal or a CI log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlops_nb.display.blocks import (
    Code,
    CodeDiff,
    Drawing,
    Facts,
    Gallery,
    Line,
    Section,
    Table,
    cut_lines,
)
from mlops_nb.display.formats import clean, one_line, phrase, shortened, width
from mlops_nb.display.sparkline import as_text
from mlops_nb.display.text import bar_text, isolated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlops_nb.compare.hunks import Hunk
    from mlops_nb.display.blocks import Block, Cell, Column, Span, Tone

_SPECIAL = re.compile(r"([\\`*\[\]|~!])")
# An underscore inside a word is plain in GitHub Markdown, so `max_depth` stays readable.
_EMPHASIS = re.compile(r"(?<!\w)_|_(?!\w)")
_FENCE = re.compile(r"`{3,}")
_WIDEST, _LONGEST = 60, 200


def write_markdown(blocks: Iterable[Block]) -> str:
    """Write blocks as Markdown; text of users cannot become markup, a link or a mention."""
    return "\n".join(_lines(blocks)).strip("\n") + "\n"


def escaped(text: str) -> str:
    """Make a text safe inside a line or a table cell."""
    text = _SPECIAL.sub(r"\\\1", phrase(text))
    text = _EMPHASIS.sub(r"\\_", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # GitHub makes links and mentions of bare text, too.
    text = text.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")
    return isolated(text)


def _lines(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Line):
            yield from (_line(block), "")
        elif isinstance(block, Table):
            yield from (*_table(block), "")
        elif isinstance(block, Code):
            yield from (*_code(block), "")
        elif isinstance(block, Gallery):
            yield from (*(f"- {escaped(picture.caption)}" for picture in block.pictures), "")
        elif isinstance(block, Facts):
            yield from (*_facts(block), "")
        elif isinstance(block, CodeDiff):
            text = "\n".join(each for hunk in block.hunks for each in _patch(hunk))
            yield from (*_code(Code(text, "diff", block.most_lines)), "")
        elif isinstance(block, Drawing):
            yield from (*_code(Code("\n".join(block.lines))), "")
        else:
            yield from _section(block)


def _line(block: Line) -> str:
    text = "".join(_span(span) for span in block.spans)
    # What begins a list, a heading or a rule in Markdown is only a sign here.
    text = re.sub(r"^\s*([#+=-]|\d+[.)](?=\s))", r"\\\1", text)
    return text.strip()


def _span(span: Span) -> str:
    inner = span.text.strip(" ")
    if not inner:
        return span.text
    before, after = span.text.partition(inner)[0::2]
    return before + _toned(inner, span.tone) + after


def _toned(text: str, tone: Tone) -> str:
    if tone == "code":
        return _inline_code(text)
    return f"**{escaped(text)}**" if tone == "strong" and text.strip() else escaped(text)


def _inline_code(text: str) -> str:
    text = one_line(text).replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _facts(block: Facts) -> Iterator[str]:
    for each in block.facts:
        mark = f"{each.mark}." if each.mark else "-"
        text = "".join(_span(span) for span in each.spans).strip()
        yield f"{mark} **{escaped(each.label)}** {text}".rstrip()


def _patch(hunk: Hunk) -> list[str]:
    return [hunk.header, *hunk.unified(_LONGEST)]


def _section(block: Section) -> Iterator[str]:
    note = f" <sub>{escaped(block.note)}</sub>" if block.note else ""
    opening = "<details open>" if block.is_open else "<details>"
    yield f"{opening}<summary><b>{escaped(block.title)}</b>{note}</summary>"
    yield ""
    yield from _lines(block.blocks)
    yield from ("</details>", "")


def _code(block: Code) -> Iterator[str]:
    text = cut_lines(clean(block.text), block.most_lines)
    longest = max((len(match) for match in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    yield from (fence + block.language, text, fence)


def _table(table: Table) -> Iterator[str]:
    columns = [_column(table, i) for i in range(len(table.columns))]
    for i, texts in enumerate(zip(*columns, strict=True)):
        yield f"| {' | '.join(texts)} |"
        if i == 0:
            yield _rule(table.columns, [width(text) for text in texts])


def _rule(columns: tuple[Column, ...], widths: list[int]) -> str:
    marks = [
        "-" * size if column.align == "left" else "-" * (size - 1) + ":"
        for column, size in zip(columns, widths, strict=True)
    ]
    return f"| {' | '.join(marks)} |"


def _column(table: Table, index: int) -> list[str]:
    """Give the header and the cells of a column, padded to one width."""
    column = table.columns[index]
    texts = [
        escaped(shortened(one_line(column.title), _WIDEST)),
        *(_cell(row.cells[index], has_bar=column.has_bars) for row in table.rows),
    ]
    widest = max(3, *map(width, texts))
    if column.align == "left":
        return [text + " " * (widest - width(text)) for text in texts]
    return [" " * (widest - width(text)) + text for text in texts]


def _cell(cell: Cell, *, has_bar: bool = False) -> str:
    text = shortened(one_line(cell.text), _WIDEST)
    bar = bar_text(cell.bar).strip() if has_bar else ""
    parts = [as_text(cell.curve), bar, _toned(text, cell.tone) if text else ""]
    if cell.change is not None:
        parts.append(escaped(cell.change.text))
    return " ".join(part for part in parts if part)
