"""placeholder module text, replaced below."""

from __future__ import annotations

import math


def comparable(value: object) -> float | str | None:
    """Give a value as a query compares it: a number, text, or nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf if value > 0 else -math.inf
        return None if math.isnan(number) else number
    if value is None or isinstance(value, str):
        return value
    import json

    return json.dumps(value, separators=(",", ":"), default=str)
