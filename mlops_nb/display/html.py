"""Blocks as HTML that needs no style sheet, no script, no server and no network.

It survives JupyterLab's sanitizer in a notebook that is not trusted: tables, details, inline
styles with literal colours, images as data URIs. Where even styles are taken away (GitHub), the
structure still says everything: real tables, ``<strong>``, ★, ▲ and ▼. Colours are chosen to be
readable on white and on black; most text has none, so that it takes the page's own.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

from mlops_nb.display.blocks import (
    PICTURE_TYPES,
    Code,
    CodeDiff,
    Drawing,
    Facts,
    Gallery,
    Line,
    Section,
    Span,
    Table,
    TableRow,
    cut_lines,
    line,
)
from mlops_nb.display.formats import clean, hover, one_line, phrase, reads_right_to_left, shortened
from mlops_nb.display.sparkline import as_data_uri, as_text
from mlops_nb.display.text import kept_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mlops_nb.display.blocks import Block, Cell, Column, Picture, Tone

NOTEBOOK_COLUMNS = 170  # letters of this size in the output area of a usual window

_GOOD, _BAD, _WARN, _MUTED = "#23905a", "#d64a45", "#a8730f", "#7f7f7f"
_RULE = "rgba(128, 128, 128, 0.35)"
_BAR = "rgba(74, 134, 197, 0.20)"

_TONES = {
    "good": f"color:{_GOOD}",
    "bad": f"color:{_BAD}",
    "warn": f"color:{_WARN}",
    "muted": f"color:{_MUTED}",
}
# A style stands in every cell, because a sanitizer takes style sheets away: so they are short.
_TABLE = (
    "border-collapse:collapse;border:none;margin:4px 0;font-size:12px;"
    "font-variant-numeric:tabular-nums;width:auto"
)
_BOX = "border:none;padding:3px 10px 3px 0"
_VALUE_BOX = "border:none;padding:3px 2px 3px 4px"
_CHANGE_BOX = "border:none;padding:3px 10px 3px 4px"
_BAR_WIDTH = 90
_BAR_BOX = "border:none;padding:3px 10px 3px 6px"
_HEAD = (
    f"{_BOX};border-bottom:1px solid {_RULE};font-weight:500;color:{_MUTED};"
    "vertical-align:bottom;white-space:normal"
)
_LINE = "margin:4px 0;line-height:1.5;font-size:13px"
_PLAIN = "background:none"
_FACTS = "border-collapse:collapse;border:none;margin:4px 0;font-size:13px;width:auto"
_FACT = "border:none;padding:2px 0;text-align:left;white-space:normal;vertical-align:top"
_FACT_LABEL = (
    "border:none;padding:2px 12px 2px 0;text-align:left;white-space:nowrap;vertical-align:top"
)
_CODE = (
    "margin:2px 0 6px 0;padding:6px 8px;font-size:12px;line-height:1.4;overflow-x:auto;"
    f"white-space:pre;border-left:2px solid {_RULE};background:rgba(128, 128, 128, 0.08)"
)
_BARE = "background:none;padding:0;font-size:12px"
_FIGURE_SPACE, _POINT_SPACE = "\u2007", "\u2008"  # as wide as a digit, and as a point

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ margin: 24px; color: #1c1c1c; background: #ffffff;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }}
pre, code {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
tbody tr:hover td {{ background-color: rgba(128, 128, 128, 0.10); }}
summary {{ cursor: pointer; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #dedede; background: #141414; }} }}
@media print {{ body {{ margin: 0; }} }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def write_html(blocks: Iterable[Block], *, columns: int | None = NOTEBOOK_COLUMNS) -> str:
    """Write blocks as a fragment for a notebook's output.

    Parameters
    ----------
    blocks
        What to say.
    columns
        Letters that stand beside each other in the reader's window; what a table has beyond
        that is named below it. None for no bound.
    """
    return f"<div>{''.join(_html(blocks, columns))}</div>"


def write_html_page(blocks: Iterable[Block], *, title: str, columns: int | None = None) -> str:
    """Write blocks as a whole HTML file that follows the reader's light or dark theme."""
    return _PAGE.format(title=escape(one_line(title)), body=write_html(blocks, columns=columns))


def _html(blocks: Iterable[Block], columns: int | None) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Line):
            yield _line(block)
        elif isinstance(block, Table):
            yield from _fitted_table(block, columns)
        elif isinstance(block, Code):
            text = cut_lines(clean(block.text), block.most_lines)
            yield f'<pre style="{_CODE}"><code style="{_BARE}">{escape(text)}</code></pre>'
        elif isinstance(block, Gallery):
            yield f"<div>{''.join(_picture(picture) for picture in block.pictures)}</div>"
        elif isinstance(block, Facts):
            yield _facts(block)
        elif isinstance(block, CodeDiff):
            from mlops_nb.display.code_html import code_diff

            yield code_diff(block)
        elif isinstance(block, Drawing):
            yield _drawing(block)
        else:
            yield _section(block, columns)


def _line(block: Line) -> str:
    content = "".join(_span(span) for span in block.spans)
    return f'<div style="{_LINE}">{content}</div>'


def _span(span: Span) -> str:
    if span.curve:
        return _curve(span.curve)
    inner = span.text.strip(" ")
    before, after = span.text.partition(inner)[0::2] if inner else (span.text, "")
    # A run of blanks is a gap that HTML would close.
    gap = [" " if len(blank) < 2 else "&emsp;" for blank in (before, after)]  # noqa: PLR2004
    return (
        (gap[0] if before else "")
        + _text(inner, span.tone, span.hover)
        + (gap[1] if after else "")
    )


def _text(text: str, tone: Tone = "plain", about: str = "") -> str:
    """Write a text in its tone, isolated so that its direction stays its own."""
    if not text:
        return ""
    content = escape(phrase(text))
    if reads_right_to_left(content):
        content = f"<bdi>{content}</bdi>"
    if tone == "strong":
        return f"<strong{_title(about)}>{content}</strong>"
    if tone == "code":
        return f"<code{_title(about)}>{content}</code>"
    style = f' style="{_TONES[tone]}"' if tone in _TONES else ""
    if not style and not about:
        return content
    return f"<span{style}{_title(about)}>{content}</span>"


def _title(about: str) -> str:
    return f' title="{escape(hover(about))}"' if about else ""


def _section(block: Section, columns: int | None) -> str:
    opening = " open" if block.is_open else ""
    note = f"&emsp;{_text(block.note, 'muted')}" if block.note else ""
    return (
        f'<details{opening} style="margin:8px 0"><summary style="{_LINE}">'
        f"<strong>{escape(phrase(block.title))}</strong>{note}</summary>"
        f'<div style="margin-left:16px">{"".join(_html(block.blocks, columns))}</div></details>'
    )


def _facts(block: Facts) -> str:
    has_marks = any(each.mark for each in block.facts)
    rows = []
    for each in block.facts:
        mark = f'<td align="right" style="{_FACT_LABEL}">{escape(each.mark)}</td>'
        label = f"<strong>{escape(phrase(each.label))}</strong>"
        said = "".join(_span(span) for span in each.spans)
        cells = f'<td style="{_FACT_LABEL}">{label}</td><td style="{_FACT}">{said}</td>'
        # Without this, a notebook shades every second row.
        rows.append(f'<tr style="{_PLAIN}">{mark if has_marks else ""}{cells}</tr>')
    return f'<table style="{_FACTS}"><tbody>{"".join(rows)}</tbody></table>'


def _drawing(block: Drawing) -> str:
    data = base64.b64encode(block.svg.encode("utf-8", "replace")).decode()
    alt = escape(clean(block.alt or "\n".join(block.lines)))
    # It shrinks as far as its texts can be read; from there it scrolls.
    room = f"width:100%;max-width:{block.width}px;min-width:{block.width * 7 // 10}px"
    return (
        f'<div style="overflow-x:auto"><img src="data:image/svg+xml;base64,{data}" alt="{alt}" '
        f'style="{room};background:none;margin:4px 0"></div>'
    )


def _picture(picture: Picture) -> str:
    if picture.mime not in PICTURE_TYPES:
        return ""
    data = base64.b64encode(picture.data).decode()
    caption = escape(phrase(picture.caption))
    return (
        f'<img src="data:{picture.mime};base64,{data}" alt="{caption}" title="{caption}" '
        'width="260" style="margin:4px 12px 4px 0;max-width:260px;background:#ffffff">'
    )


def _curve(values: Sequence[float]) -> str:
    return (
        f'<img src="{as_data_uri(values)}" alt="{as_text(values)}" width="84" height="18" '
        'style="vertical-align:middle;background:none;margin:0">'
    )


def _fitted_table(table: Table, columns: int | None) -> Iterator[str]:
    hidden: list[str] = []
    if columns is not None:
        kept, hidden = kept_columns(table, columns)
        heads = tuple(table.columns[i] for i in kept)
        rows = tuple(TableRow(tuple(row.cells[i] for i in kept)) for row in table.rows)
        table = replace(table, columns=heads, rows=rows)
    yield _table(table)
    if hidden:
        how = f" (all: {table.opener})" if table.opener else ""
        yield _line(line(Span(f"not shown here: {', '.join(hidden)}{how}", "muted")))


def _table(table: Table) -> str:
    spans = [2 if column.has_changes else 1 for column in table.columns]
    points = [_places_after_point(table, i) for i in range(len(table.columns))]
    head = "".join(_head(c, n) for c, n in zip(table.columns, spans, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            _cell(c, cell, p) for c, cell, p in zip(table.columns, row.cells, points, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div style="overflow-x:auto"><table style="{_TABLE}"{_title(table.summary)}>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _head(column: Column, span: int) -> str:
    align = "left" if column.align == "left" or span > 1 else "right"
    wide = ' colspan="2"' if span > 1 else ""
    title = escape(shortened(one_line(column.title), max(column.widest, 24)))
    title = title.replace("_", "_<wbr>")
    return (
        f'<th scope="col"{wide}{_title(column.hover)} style="{_HEAD};text-align:{align}">'
        f"{title}</th>"
    )


def _cell(column: Column, cell: Cell, places: int) -> str:
    box = _VALUE_BOX if column.has_changes else _BOX if cell.bar is None else _BAR_BOX
    bar = "" if cell.bar is None else f";{_bar(cell.bar, cell.bar_from)}"
    content = _value(column, cell, places)
    style = f"{box};white-space:nowrap;{_side(column)}{bar}"
    wide = _BAR_WIDTH * column.bar_letters // 8
    room = f' width="{wide}"' if column.has_bars else ""
    value = f'<td{_aligned(column)}{room} style="{style}">{content}</td>'
    return value + _change(cell) if column.has_changes else value


def _side(column: Column) -> str:
    return f"text-align:{'left' if column.align == 'left' else 'right'}"


def _aligned(column: Column) -> str:
    # Beside the style, for where styles are taken away.
    return "" if column.align == "left" else ' align="right"'


def _value(column: Column, cell: Cell, places: int) -> str:
    curve = f"{_curve(cell.curve)} " if len(cell.curve) > 1 else ""
    text = shortened(one_line(cell.text), column.widest)
    about = cell.hover or (cell.text if text != cell.text else "")
    padding = _padding(text, places) if column.align == "decimal" else ""
    return curve + _text(text, cell.tone, about) + padding


def _change(cell: Cell) -> str:
    if cell.change is None:
        return "<td></td>"
    inner = _text(cell.change.text, cell.change.tone, cell.change.hover)
    style = f"{_CHANGE_BOX};white-space:nowrap;text-align:left"
    return f'<td style="{style}"><small>{inner}</small></td>'


def _bar(share: float, start: float = 0.0) -> str:
    first, last = (f"{100 * min(max(part, 0), 1):.0f}%" for part in (start, start + share))
    before = f"transparent {first}, {_BAR} {first}, " if start > 0 else ""
    return f"background:linear-gradient(90deg, {before}{_BAR} {last}, transparent {last})"


def _places_after_point(table: Table, index: int) -> int:
    if table.columns[index].align != "decimal":
        return 0
    return max((_places(row.cells[index].text) for row in table.rows), default=0)


def _places(text: str) -> int:
    return len(text) - text.find(".") - 1 if "." in text else 0


def _padding(text: str, places: int) -> str:
    """Give the blanks that put the decimal points of right-aligned numbers below each other."""
    missing = places - _places(text)
    return _FIGURE_SPACE * missing + (_POINT_SPACE if places and "." not in text else "")
