"""MLOps inside the notebook: track, compare, explain and repeat what your cells did.

Use it as ``%load_ext mlops_nb`` and ``%mlops_track``, or ``import mlops_nb as mn``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.api import (
        compare,
        diff,
        env,
        lineage,
        log,
        log_artifact,
        log_figure,
        log_metric,
        log_metrics,
        log_param,
        log_params,
        log_table,
        replay,
        restore,
        run,
        runs,
        set_tag,
        show,
        track,
    )
    from mlops_nb.api.editing import (
        archive,
        delete,
        note,
        rename,
        star,
        tag,
        unarchive,
        undelete,
        unstar,
        untag,
    )
    from mlops_nb.api.exporting import export_notebook
    from mlops_nb.api.pipelines import convert, graph, inspect_notebook, why
    from mlops_nb.api.running_pipelines import run_pipeline
    from mlops_nb.api.scheduling import schedule, schedules
    from mlops_nb.api.steps import load_inputs, save_outputs
    from mlops_nb.fingerprint import fingerprint
    from mlops_nb.fingerprint.difference import diff_data

__version__ = "0.1.0"

__all__ = [
    "archive",
    "compare",
    "convert",
    "delete",
    "diff",
    "diff_data",
    "env",
    "export_notebook",
    "fingerprint",
    "graph",
    "inspect_notebook",
    "lineage",
    "load_inputs",
    "log",
    "log_artifact",
    "log_figure",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_table",
    "note",
    "rename",
    "replay",
    "restore",
    "run",
    "run_pipeline",
    "runs",
    "save_outputs",
    "schedule",
    "schedules",
    "set_tag",
    "show",
    "star",
    "tag",
    "track",
    "unarchive",
    "undelete",
    "unstar",
    "untag",
    "why",
]


_HOMES = {
    "diff_data": "mlops_nb.fingerprint.difference",
    "fingerprint": "mlops_nb.fingerprint",
    "load_inputs": "mlops_nb.api.steps",
    "save_outputs": "mlops_nb.api.steps",
    "convert": "mlops_nb.api.pipelines",
    "graph": "mlops_nb.api.pipelines",
    "run_pipeline": "mlops_nb.api.running_pipelines",
    "inspect_notebook": "mlops_nb.api.pipelines",
    "why": "mlops_nb.api.pipelines",
    "export_notebook": "mlops_nb.api.exporting",
    "schedule": "mlops_nb.api.scheduling",
    "schedules": "mlops_nb.api.scheduling",
    **dict.fromkeys(
        (
            "archive",
            "delete",
            "note",
            "rename",
            "star",
            "tag",
            "unarchive",
            "undelete",
            "unstar",
            "untag",
        ),
        "mlops_nb.api.editing",
    ),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    found: object = getattr(import_module(_HOMES.get(name, "mlops_nb.api")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """The import system binds a submodule on its package; a public function of that name wins."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def load_ipython_extension(shell: object) -> None:
    """Make the magics ready (``%load_ext mlops_nb``): nothing is opened, nothing printed."""
    from mlops_nb.extension import load

    load(shell)


def unload_ipython_extension(shell: object) -> None:
    """Turn tracking off and take the magics away (``%unload_ext mlops_nb``)."""
    from mlops_nb.extension import unload

    unload(shell)
