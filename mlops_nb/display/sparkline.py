"""A curve in the height of a line: as block characters, or as a picture of its own."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING

from mlops_nb.compare.table import thinned

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT, _MARGIN = 84, 18, 2
_INK = "#4a86c5"  # 4:1 on white and on black alike


def as_text(values: Sequence[float], columns: int = 8) -> str:
    """Draw a curve with block characters, one per stretch of values; gaps are spaces.

    Examples
    --------
    >>> as_text([1, 2, 3, 4, 5, 6, 7, 8]), as_text([5, 5, 5]), as_text([])
    ('▁▂▃▄▅▆▇█', '▄▄▄', '')
    """
    means = _stretches(values, columns)
    finite = [mean for mean in means if mean is not None]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    return "".join(" " if mean is None else _level(mean, low, high) for mean in means)


def as_svg(values: Sequence[float], *, width: int = _WIDTH, height: int = _HEIGHT) -> str:
    """Draw a curve as an SVG document with a dot at its last value."""
    parts = _polylines(thinned(values, width), width, height)
    lines = "".join(
        f'<polyline points="{points}" fill="none" stroke="{_INK}" stroke-width="1.4" '
        'stroke-linejoin="round" stroke-linecap="round"/>'
        for points in (" ".join(part) for part in parts)
    )
    dot = ""
    if parts:
        x, _, y = parts[-1][-1].partition(",")
        dot = f'<circle cx="{x}" cy="{y}" r="1.9" fill="{_INK}"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{lines}{dot}</svg>'
    )


def as_data_uri(values: Sequence[float]) -> str:
    """Draw a curve as the source of an ``<img>``, where no script could run."""
    encoded = base64.b64encode(as_svg(values).encode()).decode()
    return f"data:image/svg+xml;base64,{encoded}"


def trend(values: Sequence[float]) -> str:
    """Say in a word where the second half of a curve goes: falling, rising or flat.

    Examples
    --------
    >>> trend([9, 5, 4, 3]), trend([1, 1, 1, 1]), trend([2])
    ('falling', 'flat', '')
    """
    finite = [value for value in values if math.isfinite(value)]
    half = finite[len(finite) // 2 :]
    if len(half) < 2:  # noqa: PLR2004
        return ""
    change = half[-1] - half[0]
    if abs(change) <= 0.01 * (max(finite) - min(finite)):
        return "flat"
    return "rising" if change > 0 else "falling"


def _level(value: float, low: float, high: float) -> str:
    if low == high:
        return _LEVELS[3]
    return _LEVELS[round((value - low) / (high - low) * (len(_LEVELS) - 1))]


def _stretches(values: Sequence[float], columns: int) -> list[float | None]:
    """Give the mean of each of at most `columns` stretches, None where nothing is finite."""
    count = min(columns, len(values))
    means: list[float | None] = []
    for i in range(count):
        stretch = values[i * len(values) // count : (i + 1) * len(values) // count]
        finite = [value for value in stretch if math.isfinite(value)]
        means.append(sum(value / len(finite) for value in finite) if finite else None)
    return means


def _polylines(values: Sequence[float], width: int, height: int) -> list[list[str]]:
    """Give the points of each part of a curve; a value that is not finite ends a part."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return []
    low, high = min(finite), max(finite)
    step = (width - 2 * _MARGIN - 1) / max(len(values) - 1, 1)
    parts: list[list[str]] = [[]]
    for i, value in enumerate(values):
        if not math.isfinite(value):
            parts.append([])
            continue
        share = 0.5 if low == high else value / (high - low) - low / (high - low)
        y = height - _MARGIN - share * (height - 2 * _MARGIN)
        parts[-1].append(f"{_MARGIN + i * step:.1f},{y:.1f}")
    return [part for part in parts if part]
