"""The Python functions of the notebook: the same verbs as the magics."""

from __future__ import annotations

from mlops_nb.api.current import open_store
from mlops_nb.api.identity import diff, env, lineage
from mlops_nb.api.logging import (
    log,
    log_artifact,
    log_figure,
    log_metric,
    log_metrics,
    log_param,
    log_params,
    log_table,
    set_tag,
)
from mlops_nb.api.looking import compare, runs, show
from mlops_nb.api.replaying import replay, restore, restore_to
from mlops_nb.api.running import run, track

__all__ = [
    "compare",
    "diff",
    "env",
    "lineage",
    "log",
    "log_artifact",
    "log_figure",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_table",
    "open_store",
    "replay",
    "restore",
    "restore_to",
    "run",
    "runs",
    "set_tag",
    "show",
    "track",
]
