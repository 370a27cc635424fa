"""Times and durations as queries write them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from mlops_nb.expressions.values import nanoseconds

_UNITS_S = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3_600.0,
    "d": 86_400.0,
    "w": 604_800.0,
}
DURATION = r"(?:\d+(?:\.\d+)?(?:ms|min|[smhdw]))+"
"""Numbers with units: ``90s``, ``1h30m``, ``2.5d``."""

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|min|[smhdw])", re.IGNORECASE)
_FIRST, _LAST = -(2**63), 2**63 - 1  # what a database can compare with a time of its own


def seconds(text: str) -> float:
    """Read a duration, with or without a sign, in seconds.

    Examples
    --------
    >>> seconds("1h30m"), seconds("-7d"), seconds("250ms")
    (5400.0, -604800.0, 0.25)
    """
    sign = -1.0 if text.startswith("-") else 1.0
    return sign * sum(float(n) * _UNITS_S[unit.lower()] for n, unit in _PART.findall(text))


def before(now_ns: int, text: str) -> int:
    """Read a signed duration as a time: ``-7d`` is seven days before `now_ns`."""
    return _clamped(now_ns + round(min(max(seconds(text), -1e12), 1e12) * 1e9))


def span(text: str) -> tuple[int, int]:
    """Read a time as nanoseconds: the first one that is meant, and the first one after it.

    A date means its whole day. Whatever has no time zone is in UTC.

    Raises
    ------
    ValueError
        It is neither a date nor a time.

    Examples
    --------
    >>> first, after = span("2026-11-21")
    >>> (after - first) // 10**9
    86400
    >>> span("2026-11-21T09:30")[0] == span("2026-11-21T10:30+01:00")[0]
    True
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    first = nanoseconds(time)
    is_date = not re.search(r"[T\s:]", text.strip(), re.IGNORECASE)
    after = first + (timedelta(days=1) // timedelta(microseconds=1) * 1_000 if is_date else 0)
    return _clamped(first), _clamped(after)


def _clamped(at_ns: int) -> int:
    return min(max(at_ns, _FIRST), _LAST)
