"""Values to the few characters that a person reads: numbers, times, sizes, safe text."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from mlops_nb.model import Json

UNKNOWN = "–"
MINUS = "−"  # as wide as a plus sign, which a hyphen is not

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# Control characters, and those that turn the direction of the text around them.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SPACE = re.compile(r"\s+")
_HOVER_CAP = 500
_PHRASE_CAP = 600
_MORE_DIGITS = (5, 8, 12, 17)

_MINUTE, _HOUR, _DAY, _MONTH = 60, 3600, 86400, 30 * 86400


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with `digits` significant digits, whole ones in full.

    A value just below 1 never reads as 1: an accuracy of 0.9996 is not "1.00".

    Examples
    --------
    >>> [number(x) for x in (0.91234, 12.345, 1234.5, 0.9996, 1.2e-7, None)]
    ['0.912', '12.3', '1234', '0.9996', '1.20e-07', '–']
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value)
    if value == 0:
        return "0"
    if size >= 1e6 or size < 1e-4:  # noqa: PLR2004
        return _signed(value, f"{size:,.0f}" if _is_whole(size) else f"{size:.{digits - 1}e}")
    if isinstance(value, int):
        return _signed(value, str(size))
    text = f"{size:.{_decimals(size, digits)}f}"
    while size < 1 <= float(text) and digits < 16:  # noqa: PLR2004
        digits += 1
        text = f"{size:.{_decimals(size, digits)}f}"
    return _signed(value, text)


def told_apart(old: float, new: float) -> tuple[str, str]:
    """Write two numbers with as many digits as tell them apart.

    Examples
    --------
    >>> told_apart(0.5, 0.25), told_apart(19.5, 19.525)
    (('0.500', '0.250'), ('19.500', '19.525'))
    """
    found = number(old), number(new)
    for digits in _MORE_DIGITS:
        if found[0] != found[1] or old == new:
            break
        found = number(old, digits), number(new, digits)
    return found


def difference(delta: float, value: float) -> str:
    """Write a difference with its sign and the decimals of the `value` it belongs to.

    Examples
    --------
    >>> difference(-0.0041, 0.908), difference(-0.00002, 0.912), difference(0, 1.0)
    ('−0.004', '−0.00002', '=')
    """
    if not delta:
        return "="
    size = abs(delta)
    decimals = len(number(value).partition(".")[2].partition("e")[0])
    text = f"{size:.{decimals}f}"
    if not float(text) or (size >= 1e6 and not _is_whole(size)):  # noqa: PLR2004
        text = f"{size:.{_decimals(size, 1)}f}" if size >= 1e-6 else f"{size:.0e}"  # noqa: PLR2004
    return ("+" if delta > 0 else MINUS) + text


def scalar(value: Json) -> str:
    """Write the value of a parameter as it would be typed, on one line.

    Examples
    --------
    >>> scalar(1.0), scalar("rbf"), scalar([1, None]), scalar(1e-05), scalar(True)
    ('1.0', 'rbf', '[1, None]', '1e-05', 'True')
    """
    if value is None:
        return "None"
    if isinstance(value, str):
        return one_line(value) or '""'
    if isinstance(value, float) and math.isfinite(value) and len(repr(value)) > 8:  # noqa: PLR2004
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return one_line(f"[{', '.join(scalar(item) for item in value)}]")
    if isinstance(value, dict):
        pairs = (f"{scalar(key)}: {scalar(item)}" for key, item in value.items())
        return one_line(f"{{{', '.join(pairs)}}}")
    return repr(value) if isinstance(value, bool | int | float) else type(value).__name__


def duration(seconds: float | None) -> str:
    """Write how long something took.

    Examples
    --------
    >>> [duration(s) for s in (0.0004, 0.4, 3.14, 72, 7300, None)]
    ['0.4 ms', '0.4 s', '3.1 s', '1 min 12 s', '2 h 1 min', '–']
    """
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if not seconds:
        return "0 s"
    if seconds < 0.05:  # noqa: PLR2004
        milliseconds = seconds * 1000
        return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"  # noqa: PLR2004
    if seconds < 59.95:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def ago(at: datetime, now: datetime) -> str:
    """Write how long ago something was, as ``2 min ago``; a date when that is long ago."""
    seconds = (now - at).total_seconds()
    if seconds < 5:  # noqa: PLR2004
        return "now"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s ago"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min ago"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h ago"
    if seconds < _MONTH:
        return f"{seconds // _DAY:.0f} d ago"
    return at.strftime("%Y-%m-%d")


def exact_time(at: datetime | None) -> str:
    """Write a time to the second, as ``2026-11-21 11:10:00 UTC``."""
    if at is None:
        return UNKNOWN
    return at.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(size_bytes: float) -> str:
    """Write a number of bytes, as ``3.1 MB``.

    Examples
    --------
    >>> size(0), size(2048), size(3_100_000)
    ('0 B', '2.0 kB', '3.1 MB')
    """
    value, units = float(size_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:  # noqa: PLR2004
        value, units = value / 1000, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def counted(count: int, noun: str) -> str:
    """Write a count with its noun, as ``1 run`` and ``12 runs``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def clean(text: str) -> str:
    """Drop what a terminal or a browser would act on: escapes, controls, half surrogates."""
    if text.isascii() and text.isprintable():
        return text
    text = _SURROGATE.sub("\ufffd", _ANSI.sub("", text.replace("\r\n", "\n")))
    return _CONTROL.sub("", text)


def one_line(text: str) -> str:
    """Clean a text and bring it on one line."""
    return _SPACE.sub(" ", clean(text)).strip()


def phrase(text: str) -> str:
    """Bring a piece of a sentence on one line, and bound it."""
    return shortened(one_line(text), _PHRASE_CAP)


def hover(text: str) -> str:
    """Bound what is shown on hover."""
    text = clean(text)
    return text if len(text) <= _HOVER_CAP else f"{text[:_HOVER_CAP]}…"


def width(text: str) -> int:
    """Count the terminal columns that a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def shortened(text: str, columns: int) -> str:
    """Cut the middle of a text, so that it takes at most `columns` columns of a terminal.

    Examples
    --------
    >>> shortened("HistGradientBoostingClassifier", 15)
    'HistGra…ssifier'
    """
    if len(text) <= columns and width(text) <= columns:
        return text
    if columns <= 1:
        return "…"[:columns]
    tail = (columns - 1) // 2
    # A wide letter takes two columns and a combining one none, so letters are counted off.
    return _head(text, columns - 1 - tail) + "…" + _head(text[::-1], tail)[::-1]


def reads_right_to_left(text: str) -> bool:
    """Tell whether a text would change the order of its neighbours."""
    return not text.isascii() and any(
        unicodedata.bidirectional(letter) in {"R", "AL", "AN"} for letter in text
    )


def _head(text: str, columns: int) -> str:
    taken = 0
    for i, letter in enumerate(text[: 4 * columns]):
        taken += width(letter)
        if taken > columns:
            return text[:i]
    return text[: 4 * columns]


def _signed(value: float, text: str) -> str:
    return MINUS + text if value < 0 else text


def _is_whole(size: float) -> bool:
    return isinstance(size, int) or (size.is_integer() and size < 1e12)  # noqa: PLR2004


def _decimals(size: float, digits: int) -> int:
    # The rounded value decides: 99.96 is 100, and 0.09996 is 0.100.
    rounded = float(f"{size:.{digits - 1}e}")
    return max(digits - 1 - math.floor(math.log10(rounded)), 0)
