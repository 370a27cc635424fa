"""The recorded evidence beside the new one, value by value: a pure function."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.replay.evidence import OUTSIDE, UNKNOWN
from mlops_nb.replay.records import Value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from mlops_nb.replay.evidence import Evidence, Point, Use
    from mlops_nb.replay.records import Outcome, Result

TOLERANCE = 1e-9
"""Relative difference up to which two floats are close."""

_IN_A_TABLE = "now a row of a table of fits"
_BADNESS: dict[Result, int] = {"exact": 0, "close": 1, "differs": 2, "missing": 2}
_ORDER = {"outcome": 0, "data": 1, "metric": 2}


def compare_evidence(
    before: Evidence, after: Evidence, subject: Collection[str]
) -> tuple[Value, ...]:
    """Compare everything that was recorded with what came now.

    Parameters
    ----------
    before, after
        The record, and the replay.
    subject
        Ids of the runs in question; what the same cells left for others is no part of it.

    Returns
    -------
    tuple of Value
        In run order.
    """
    found = [*_outcomes(before, after), *_data(before, after, subject)]
    found += _metrics(before, after, subject)
    last = max(after.outcomes, default=OUTSIDE)
    reached = [value for value in found if value.kind == "outcome" or value.position <= last]
    return in_run_order(reached)


def in_run_order(values: Iterable[Value]) -> tuple[Value, ...]:
    """Put values in the order in which their cells ran."""
    return tuple(sorted(values, key=lambda value: (value.position, _ORDER[value.kind])))


def outcome_of(values: Sequence[Value]) -> Outcome:
    """Say what a comparison comes to; nothing is verified that was not compared."""
    if any(value.is_difference for value in values):
        return "differs"
    compared = [v for v in values if v.result != "not compared"]
    failed = [v for v in compared if v.kind == "outcome" and v.before != "ok"]
    if not failed and not any(v.kind != "outcome" for v in compared):
        return "not-replayable"
    return "verified-close" if any(v.result == "close" for v in compared) else "verified"


# --- how cells ended --------------------------------------------------------------------------


def _outcomes(before: Evidence, after: Evidence) -> Iterator[Value]:
    is_stopped = False
    for place in sorted(before.outcomes):
        old, new = _said(before.outcomes[place]), _said(after.outcomes.get(place, ("", "")))
        result: Result = "exact" if old == new else "differs" if new else "missing"
        if old == UNKNOWN and new:
            yield Value("outcome", place, "", "", old, new, "not compared", "from the history")
            continue
        if is_stopped and not new:
            continue  # the cells below the one that stopped the replay
        is_stopped = is_stopped or result != "exact"
        yield Value("outcome", place, "", "", old, new or None, result)


def _said(outcome: tuple[str, str]) -> str:
    status, error = outcome
    return f"{status}: {error}" if error else status


# --- data -------------------------------------------------------------------------------------


def _data(before: Evidence, after: Evidence, subject: Collection[str]) -> Iterator[Value]:
    for (place, role, name), uses in before.data.items():
        if place == OUTSIDE:
            continue
        others = after.data.get((place, role, name), [])
        if place in before.joined:
            others = others[-len(uses) :]
        for index, use in enumerate(uses):
            if use.run in subject:
                other = others[index] if len(others) == len(uses) else _same(use, others)
                found = _datum(place, use, other)
                if found.result == "missing" and after.folded.get(place):
                    found = replace(found, result="not compared", note=_IN_A_TABLE)
                yield found


def _same(use: Use, others: Sequence[Use]) -> Use | None:
    """Find a use by its content, where some of them were told once for several runs."""
    equal = (other for other in others if other.data.digest == use.data.digest)
    return next(equal, others[0] if others else None)


def _datum(place: int, use: Use, other: Use | None) -> Value:
    old = use.data
    if other is None:
        result: Result = "missing" if old.assurance == "exact" else "not compared"
        return Value("data", place, old.name, old.role, old.digest, None, result)
    new = other.data
    blind = next((f"{d.assurance}" for d in (old, new) if not _can_prove(d)), "")
    if blind:
        note = "not hashed" if blind == "exact" else blind
        result = "not compared"
    else:
        result, note = ("exact" if old.digest == new.digest else "differs"), ""
        if result == "differs":
            note = _what_changed(old.column_digests, new.column_digests, (old.rows, new.rows))
    return Value("data", place, old.name, old.role, old.digest, new.digest, result, note)


def _can_prove(data: object) -> bool:
    """Whether a digest says everything: others, even if equal, prove nothing."""
    digest, assurance = getattr(data, "digest", ""), getattr(data, "assurance", "")
    return bool(digest) and assurance in {"exact", "carried:pages"}


def _what_changed(old: object, new: object, rows: tuple[int | None, int | None]) -> str:
    """Name the columns that differ, and the number of rows."""
    before, after = dict(old or {}), dict(new or {})  # type: ignore[call-overload]
    parts = [] if rows[0] == rows[1] else [f"rows {rows[0]} → {rows[1]}"]
    changed = [name for name, digest in before.items() if after.get(name) != digest]
    if changed and len(changed) < len(before):
        parts.append(f"column{'s' * (len(changed) > 1)} {', '.join(changed[:5])}")
    added = [name for name in after if name not in before]
    if added:
        parts.append(f"new: {', '.join(added[:5])}")
    return "; ".join(parts)


# --- metrics ----------------------------------------------------------------------------------


def _metrics(before: Evidence, after: Evidence, subject: Collection[str]) -> Iterator[Value]:
    for (place, key), points in before.metrics.items():
        mine = [(index, point) for index, point in enumerate(points) if point.run in subject]
        if not mine:
            continue
        if place == OUTSIDE:
            last = mine[-1][1].value
            note = "logged outside of the cells"
            yield Value("metric", place, key, "", last, None, "not compared", note)
            continue
        others = after.metrics.get((place, key), [])
        if place in before.joined:
            others = others[-len(points) :]
        most = len(points) + before.folded.get(place, 0)
        found = _metric(place, key, mine, others, most)
        if found.result == "missing" and after.folded.get(place):
            found = replace(found, result="not compared", note=_IN_A_TABLE)
        yield found


def _metric(
    place: int, key: str, mine: list[tuple[int, Point]], others: Sequence[Point], most: int
) -> Value:
    """Compare all values that a cell logged under one key; the first that differs is told.

    Of a cell with too many fits, those that are rows of a table now have values of their own.
    """
    results: list[tuple[Result, float, float | None]] = []
    for index, point in mine:
        other = others[index].value if index < len(others) else None
        results.append((judge_number(point.value, other), point.value, other))
    ranks = [_BADNESS[result] for result, _, _ in results]
    # The first of the worst; of values that are all the same, the last one.
    chosen = ranks.index(max(ranks)) if max(ranks) else len(results) - 1
    result, old, new = results[chosen]
    note = f"value {chosen + 1} of {len(results)}" if len(results) > 1 else ""
    if ranks[chosen] < _BADNESS["differs"] and len(others) > most:
        result, note = "differs", f"{len(others)} values instead of {most}"
    return Value("metric", place, key, "", old, new, result, note)


def judge_number(old: float, new: float | None) -> Result:
    """Compare two values of a metric; a new one of None is not there."""
    if new is None:
        return "missing"
    if old == new or (math.isnan(old) and math.isnan(new)):
        return "exact"
    is_close = math.isclose(old, new, rel_tol=TOLERANCE, abs_tol=0.0)
    return "close" if is_close else "differs"
