"""Batch runs: our papermill engine, and running one notebook as one run.

The names load on use, and papermill before our own modules: papermill loads this entry point in
the middle of its own import, so that a plain import at the top would meet itself half done.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.papermill_engine.engine import Engine
    from mlops_nb.papermill_engine.fast import FastEngine
    from mlops_nb.papermill_engine.io_handler import StoreHandler, handler
    from mlops_nb.papermill_engine.running import (
        Failure,
        Outcome,
        RunPlan,
        plan_run,
        run_notebook,
    )
    from mlops_nb.papermill_engine.servers import shared_server

__all__ = [
    "Engine",
    "Failure",
    "FastEngine",
    "Outcome",
    "RunPlan",
    "StoreHandler",
    "handler",
    "plan_run",
    "run_notebook",
    "shared_server",
]

_HOMES = {
    "Engine": "engine",
    "Failure": "running",
    "FastEngine": "fast",
    "Outcome": "running",
    "RunPlan": "running",
    "StoreHandler": "io_handler",
    "handler": "io_handler",
    "plan_run": "running",
    "run_notebook": "running",
    "shared_server": "servers",
}


def __getattr__(name: str) -> object:
    """Load a public name on its first use."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import_module("papermill.engines")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
