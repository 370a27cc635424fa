"""A difference between two sources as HTML: side by side, with the words that differ marked.

Every line that differs carries a sign beside its colour, and what is left without any style is
still a table of two columns.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from html import escape
from typing import TYPE_CHECKING

from mlops_nb.display.formats import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.compare.hunks import Hunk, SideLine
    from mlops_nb.display.blocks import CodeDiff

_MUTED = "#7f7f7f"
_RULE = "rgba(128, 128, 128, 0.35)"
_BACK = {"old": "rgba(214, 74, 69, 0.13)", "new": "rgba(35, 144, 90, 0.13)"}
_STRONG = {"old": "rgba(214, 74, 69, 0.32)", "new": "rgba(35, 144, 90, 0.32)"}
_FONT = "font-family:monospace;font-size:12px;line-height:1.4"
_TABLE = (
    "border-collapse:collapse;border:none;margin:2px 0 8px 0;width:100%;"
    f"table-layout:fixed;{_FONT}"
)
_NUMBER = f"border:none;padding:0 4px 0 0;text-align:right;vertical-align:top;color:{_MUTED}"
_TEXT = (
    "border:none;padding:0 4px;text-align:left;vertical-align:top;"
    "white-space:pre-wrap;overflow-wrap:break-word"
)
_MIDDLE = f"border-left:1px solid {_RULE}"
# A number is one word, so that of 1.0 and 0.01 the whole is marked.
_WORD = re.compile(r"\d[\w.]*|\w+|\s+|[^\w\s]")
_LONGEST = 400
_ALIKE = 0.3  # below this, marking what two lines share only confuses


def code_diff(block: CodeDiff) -> str:
    """Write a difference as a table with the old source on the left and the new on the right."""
    rows = [_heads(*block.labels)] if any(block.labels) else []
    left = block.most_lines
    for i, hunk in enumerate(block.hunks):
        if left <= 0:
            break
        if i:
            rows.append(_row_of_one("⋯"))
        rows += [_row(line) for line in hunk.lines[:left]]
        left -= len(hunk.lines)
    if left < 0:
        rows.append(_row_of_one(f"… {_count(block.hunks) - block.most_lines:,} more lines"))
    return f'<table style="{_TABLE}"><tbody>{"".join(rows)}</tbody></table>'


def _heads(old: str, new: str) -> str:
    style = f"border:none;padding:0 4px;text-align:left;font-weight:500;color:{_MUTED}"
    first, second = (escape(clean(label)) for label in (old, new))
    return (
        f'<tr><th width="30" style="{style}"></th><th scope="col" style="{style}">{first}</th>'
        f'<th width="30" style="{style};{_MIDDLE}"></th>'
        f'<th scope="col" style="{style}">{second}</th></tr>'
    )


def _count(hunks: tuple[Hunk, ...]) -> int:
    return sum(len(hunk.lines) for hunk in hunks)


def _row_of_one(text: str) -> str:
    return f'<tr><td colspan="4" style="{_TEXT};color:{_MUTED}">{text}</td></tr>'


def _row(line: SideLine) -> str:
    shown = line.cut(_LONGEST)
    old, new = clean(shown.old), clean(shown.new)
    if line.kind == "changed":
        marked = _marked(old, new)
        sides = (
            _side("old", "−", line.old_number, marked[0]),
            _side("new", "+", line.new_number, marked[1]),
        )
    elif line.kind == "removed":
        sides = (_side("old", "−", line.old_number, escape(old)), _empty("new"))
    elif line.kind == "added":
        sides = (_empty("old"), _side("new", "+", line.new_number, escape(new)))
    else:
        sides = (
            _side("old", "", line.old_number, escape(old)),
            _side("new", "", line.new_number, escape(new)),
        )
    return f'<tr style="background:none">{"".join(sides)}</tr>'


def _side(side: str, sign: str, number: int | None, content: str) -> str:
    back = f";background-color:{_BACK[side]}" if sign else ""
    border = f";{_MIDDLE}" if side == "new" else ""
    label = f"{sign}{number}" if number is not None else sign
    return (
        f'<td align="right" width="30" style="{_NUMBER}{border}{back}">{label}</td>'
        f'<td style="{_TEXT}{back}">{content}</td>'
    )


def _empty(side: str) -> str:
    border = f";{_MIDDLE}" if side == "new" else ""
    return f'<td width="30" style="{_NUMBER}{border}"></td><td style="{_TEXT}"></td>'


def _marked(old: str, new: str) -> tuple[str, str]:
    """Mark the words in which two versions of a line differ."""
    before, after = _WORD.findall(old), _WORD.findall(new)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return escape(old), escape(new)
    opcodes = matcher.get_opcodes()
    left = _joined("old", ((tag == "equal", before[i:j]) for tag, i, j, _, _ in opcodes))
    right = _joined("new", ((tag == "equal", after[k:m]) for tag, _, _, k, m in opcodes))
    return left, right


def _joined(side: str, parts: Iterator[tuple[bool, list[str]]]) -> str:
    written = []
    for is_shared, words in parts:
        text = escape("".join(words))
        if text and not is_shared:
            text = f'<span style="background-color:{_STRONG[side]}">{text}</span>'
        written.append(text)
    return "".join(written)
