"""Fits that are rows of their parent's table, because it has too many for a run each.

A replay gives far more fits a run of their own than the session did, so a row is compared with
the run that is the same fit now. Where it cannot be told which one that is, nothing is said to be
the same, and nothing to differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_nb.replay.evidence import read_rows
from mlops_nb.replay.judging import judge_number
from mlops_nb.replay.records import Value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mlops_nb.model import Execution, Json, Run
    from mlops_nb.replay.records import Result
    from mlops_nb.store import Store

_OURS = frozenset({"fit", "estimator", "fit_s", "error"})
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Side:
    """The runs of a record or of its replay, and the executions of the cells in question.

    Attributes
    ----------
    placed
        By their place among the cells.
    """

    runs: Sequence[Run]
    placed: Mapping[int, Execution]

    def places_of(self, executions: Collection[str]) -> set[int]:
        """Give the places of the executions that are in question."""
        return {place for place, execution in self.placed.items() if execution.id in executions}

    def children(self, parent: Run) -> list[Run]:
        """Give the runs directly below one, in the order in which they were born."""
        below = [run for run in self.runs if run.parent == parent.id]
        return sorted(below, key=lambda run: run.child or 0)


def compare_folded(
    store: Store, before: Side, after: Side, subject: Collection[str]
) -> tuple[Value, ...]:
    """Compare the rows of each recorded parent with the runs that are the same fits now.

    Parameters
    ----------
    store
        Holds the tables.
    before, after
        The record, and the replay.
    subject
        Ids of the runs in question.

    Returns
    -------
    tuple of Value
        One for all rows that are the same, and one for each that differs, up to some.
    """
    found: list[Value] = []
    for parent in before.runs:
        rows = read_rows(store, parent) if parent.id in subject else []
        places = before.places_of(parent.executions)
        if rows and places:
            place = max(before.places_of(parent.body) or places)
            found += _compared(rows, _twins(before, parent, len(rows), places, after), place)
    return tuple(found)


def _twins(
    before: Side, parent: Run, count: int, places: set[int], after: Side
) -> Sequence[Run | None]:
    """Find the runs that are the same fits now; None for each where that cannot be told.

    They are below the one parent that has as many fits of these cells as the recorded one.
    """
    total = len(before.children(parent)) + count
    fitting = []
    for other in after.runs:
        theirs = [run for run in after.children(other) if after.places_of(run.body) & places]
        if len(theirs) == total:
            fitting.append(theirs)
    return fitting[0][-count:] if len(fitting) == 1 else [None] * count


def _compared(
    rows: Sequence[Mapping[str, Json]], twins: Sequence[Run | None], place: int
) -> Iterator[Value]:
    results: list[Result] = []
    told = unmatched = 0
    for row, twin in zip(rows, twins, strict=True):
        if twin is None or not _is_same_fit(row, twin):
            unmatched += 1
            continue
        for value in _metrics(row, twin, place):
            results.append(value.result)
            if value.is_difference and told < _MOST_TOLD:
                told += 1
                yield value
    matched = len(rows) - unmatched
    if matched and not {"differs", "missing"} & {*results}:
        result: Result = "close" if "close" in results else "exact"
        text = f"{matched} rows"
        yield Value("metric", place, "table of fits", "", text, text, result)
    if unmatched:
        note = f"{unmatched} fits that are rows of a table"
        text = f"{unmatched} rows"
        yield Value("metric", place, "table of fits", "", text, None, "not compared", note)


def _is_same_fit(row: Mapping[str, Json], twin: Run) -> bool:
    """Tell whether a row and a run are of the same estimator with the same parameters."""
    estimator = twin.params.get("estimator")
    if estimator is None or estimator.value != row["estimator"]:
        return False
    return all(
        twin.params[key].value == value
        for key, value in row.items()
        if value is not None and key not in _OURS and key in twin.params
        if key not in twin.metrics
    )


def _metrics(row: Mapping[str, Json], twin: Run, place: int) -> Iterator[Value]:
    """Compare the metrics of a row; what is no parameter of the fit is one."""
    for key, value in row.items():
        if value is None or key in _OURS or (key in twin.params and key not in twin.metrics):
            continue
        old = _number(value)
        if old is not None:
            now = twin.metrics.get(key)
            new = None if now is None else now.value
            name = f"{key} of fit {row['fit']}"
            yield Value("metric", place, name, "", old, new, judge_number(old, new))


def _number(value: Json) -> float | None:
    """Read a number as the table has it: what is not finite is a text."""
    if isinstance(value, str) and value in {"nan", "inf", "-inf"}:
        return float(value)
    return float(value) if isinstance(value, int | float) else None
