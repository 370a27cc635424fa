"""Headings of Markdown cells, for notebooks that are cut at them."""

from __future__ import annotations

import re

_FENCE = re.compile(r"\s{0,3}(```+|~~~+)")
_ATX = re.compile(r"\s{0,3}##(?!#)\s*(?P<text>.*?)\s*#*\s*$")
_UNDERLINE = re.compile(r"\s{0,3}-{2,}\s*$")
_MARKUP = re.compile(r"\{#[^}]*\}\s*$|<[^>]+>|\[([^\]]*)\]\([^)]*\)|[*`~]+")


def last_heading(source: str) -> str | None:
    r"""Find the last heading of the second level in a Markdown cell, None if it has none.

    Examples
    --------
    >>> last_heading("intro\n\n## Train the *model*")
    'Train the model'
    >>> last_heading("```\n## a comment\n```") is None
    True
    """
    found: str | None = None
    fence = before = ""
    for line in source.splitlines():
        mark = _FENCE.match(line)
        if mark is not None and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence:
            found = _heading(line, before) or found
        before = "" if fence or mark else line
    return found


def _heading(line: str, before: str) -> str | None:
    written = _ATX.match(line)
    text = written["text"] if written else before if _UNDERLINE.match(line) else ""
    plain = _MARKUP.sub(lambda match: match[1] or "", text)
    return " ".join(plain.split()) or None


__all__ = ["last_heading"]
