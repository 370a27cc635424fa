"""Runs to one table of what differs: parameters, metrics, data, code and environment.

Everything here is pure: records in, one frozen `Comparison` out. How it looks is `display`'s.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.compare.columns import headline_metric
    from mlops_nb.compare.difference import RunDifference, diff_runs
    from mlops_nb.compare.marks import Mark, code_mark, data_mark, environment_mark
    from mlops_nb.compare.records import Comparison, MetricCell, Row
    from mlops_nb.compare.table import compare_runs
    from mlops_nb.expressions import is_lower_better

# Loaded when used: the card below a cell needs the marks, and nothing of the table.
_MODULES = {
    "Comparison": "mlops_nb.compare.records",
    "Mark": "mlops_nb.compare.marks",
    "MetricCell": "mlops_nb.compare.records",
    "Row": "mlops_nb.compare.records",
    "RunDifference": "mlops_nb.compare.difference",
    "code_mark": "mlops_nb.compare.marks",
    "compare_runs": "mlops_nb.compare.table",
    "data_mark": "mlops_nb.compare.marks",
    "diff_runs": "mlops_nb.compare.difference",
    "environment_mark": "mlops_nb.compare.marks",
    "headline_metric": "mlops_nb.compare.columns",
    "is_lower_better": "mlops_nb.expressions",
}

__all__ = [
    "Comparison",
    "Mark",
    "MetricCell",
    "Row",
    "RunDifference",
    "code_mark",
    "compare_runs",
    "data_mark",
    "diff_runs",
    "environment_mark",
    "headline_metric",
    "is_lower_better",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_MODULES[name]), name)
