"""Runs to one table of what differs: parameters, metrics, data, code and environment.

Everything here is pure: records in, one frozen `Comparison` out. How it looks is `display`'s.
"""

from mlops_nb.compare.columns import headline_metric
from mlops_nb.compare.marks import Mark, code_mark, data_mark, environment_mark
from mlops_nb.compare.records import Comparison, MetricCell, Row
from mlops_nb.compare.table import compare_runs
from mlops_nb.expressions import is_lower_better

__all__ = [
    "Comparison",
    "Mark",
    "MetricCell",
    "Row",
    "code_mark",
    "compare_runs",
    "data_mark",
    "environment_mark",
    "headline_metric",
    "is_lower_better",
]
