"""A comparison of runs as one frozen record, with its JSON and its DataFrame."""

from __future__ import annotations

import math
from dataclasses import field
from typing import TYPE_CHECKING, Any

from mlops_nb.compare.columns import CONTENDING, ordered_params
from mlops_nb.compare.marks import BASELINE, Mark
from mlops_nb.documents import plain, run_document
from mlops_nb.errors import MissingExtra
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from mlops_nb.model import Json, Run


@record
class MetricCell:
    """One metric of one row.

    Attributes
    ----------
    value
        Last value of a run, mean of a group; None where it is not known.
    delta
        Difference to the baseline's value, None on the baseline and where one is missing.
    is_best
        Whether no other row has a better value (and some row has a worse one).
    share
        Place between the worst (0) and the best (1) value of the column, None if all are equal.
    binding
        The rule that bound the metric to its run.
    deviation, count
        Sample standard deviation over `count` runs, for a group.
    curve
        At most 200 values in step order, for a metric with more than one.
    minimum, maximum
        Over all steps.
    """

    value: float | None
    delta: float | None = None
    is_best: bool = False
    share: float | None = None
    binding: str = "explicit"
    deviation: float | None = None
    count: int = 1
    curve: tuple[float, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@record
class Row:
    """One row: a run, or a group of runs that differ in their seed only.

    Attributes
    ----------
    run
        The run; the newest one of a group.
    label
        Shortest prefix of its id, at least 4 digits, that no other run here has.
    runs
        Ids of all runs that the row stands for.
    depth
        1 for a child below its parent, else 0.
    children
        Number of its children among the rows.
    is_best
        Whether it is best by the metric that the table is sorted by.
    """

    run: Run
    label: str
    runs: tuple[str, ...]
    depth: int = 0
    children: int = 0
    params: Mapping[str, Json] = field(default_factory=dict)
    metrics: Mapping[str, MetricCell] = field(default_factory=dict)
    duration_s: float | None = None
    data: Mark = BASELINE
    code: Mark = BASELINE
    environment: Mark = BASELINE
    verdict: str | None = None
    is_best: bool = False

    @property
    def contends(self) -> bool:
        """Whether its values are compared with others'."""
        return self.run.status in CONTENDING


@record
class Comparison:
    """What differs between runs, in rows and columns.

    Attributes
    ----------
    title
        The one name that all runs have, else empty.
    rows
        Best first; children directly below their parent.
    params, metrics
        The columns. `known_params` counts all parameters that the runs have.
    differs
        ``{"params": [...], "metrics": [...]}``: what tells the runs apart.
    best
        For each metric, the id of the run with the best value.
    baseline
        Id of the run that differences are taken to, None if there is no run.
    sort_by
        Metric that the rows are sorted by, None if no run has one (then newest first).
    lower_is_better
        The metrics of which a smaller value is better.
    duration_kind
        ``fit`` (time in the fits) if every run has it, else ``time``.
    total
        How many runs there are when `rows` shows some of them.
    is_grouped
        Whether rows are means over seeds.
    """

    title: str = ""
    rows: tuple[Row, ...] = ()
    params: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    known_params: int = 0
    differs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    best: Mapping[str, str] = field(default_factory=dict)
    baseline: str | None = None
    sort_by: str | None = None
    lower_is_better: tuple[str, ...] = ()
    duration_kind: str = "time"
    total: int = 0
    is_grouped: bool = False

    @property
    def baseline_label(self) -> str:
        """The short id of the baseline, empty if there is none."""
        return next((row.label for row in self.rows if self.baseline in row.runs), "")

    def to_dict(self, *, limit: int | None = None) -> dict[str, Any]:
        """Describe the comparison as the JSON of the command line and of the MIME type.

        Parameters
        ----------
        limit
            Number of rows to keep, all by default; ``total`` always says how many there are.
        """
        rows = self.rows[:limit]
        return {
            "runs": [run_document(row.run, details=False) for row in rows],
            "differs": {key: list(names) for key, names in self.differs.items()},
            "best": dict(self.best),
            "title": plain(self.title),
            "baseline": self.baseline,
            "sort_by": plain(self.sort_by),
            "columns": {"params": plain(self.params), "metrics": plain(self.metrics)},
            "lower_is_better": plain(self.lower_is_better),
            "duration": self.duration_kind,
            "grouped": self.is_grouped,
            "total": self.total,
            "rows": [_row_document(row) for row in rows],
        }

    @property
    def df(self) -> pd.DataFrame:
        """The comparison as a pandas DataFrame, one row per run, indexed by the short id.

        Columns are ``params.NAME`` and ``metrics.NAME``; those that differ come first.

        Raises
        ------
        MissingExtra
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtra("A comparison as a DataFrame", "pandas") from error
        params = [*self.params, *ordered_params(row.run for row in self.rows)]
        names = list(dict.fromkeys(params))
        records = [_frame_record(row, names, self.metrics) for row in self.rows]
        index = pd.Index([row.label for row in self.rows], name="run")
        return pd.DataFrame.from_records(records, index=index)


def _row_document(row: Row) -> dict[str, Any]:
    return {
        "run": row.run.id,
        "label": row.label,
        "runs": list(row.runs),
        "depth": row.depth,
        "children": row.children,
        "is_best": row.is_best,
        "metrics": {plain(key): _cell_document(cell) for key, cell in row.metrics.items()},
        "duration_s": row.duration_s,
        "data": _mark_document(row.data),
        "code": _mark_document(row.code),
        "environment": _mark_document(row.environment),
        "verdict": plain(row.verdict),
        "status": row.run.status,
    }


def _cell_document(cell: MetricCell) -> dict[str, Any]:
    return {
        "value": cell.value,
        "delta": cell.delta,
        "is_best": cell.is_best,
        "share": cell.share,
        "binding": cell.binding,
        "deviation": cell.deviation,
        "count": cell.count,
        "curve": [value if math.isfinite(value) else None for value in cell.curve],
    }


def _mark_document(mark: Mark) -> dict[str, Any]:
    return {"kind": mark.kind, "text": plain(mark.text), "details": plain(mark.details)}


def _frame_record(row: Row, params: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    cells = {key: row.metrics.get(key) for key in metrics}
    record: dict[str, Any] = {
        "id": row.run.id,
        "name": row.run.name,
        "status": row.run.status,
        "attempt": row.run.attempt or None,
        "parent": row.run.parent,
        "started_at": row.run.started_at,
        **{f"params.{key}": row.params.get(key) for key in params},
        **{f"metrics.{key}": None if cell is None else cell.value for key, cell in cells.items()},
        "duration_s": row.duration_s,
        "data": row.data.text,
        "code": row.code.text,
        "environment": row.environment.text,
        "verdict": row.verdict,
    }
    if len(row.runs) > 1:
        record["n"] = len(row.runs)
    return record
