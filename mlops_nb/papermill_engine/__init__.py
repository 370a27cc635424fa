"""Batch runs: our papermill engine, and running one notebook as one run.

The names load on use, and papermill before our own modules: papermill loads this entry point in
the middle of its own import, so that a plain import at the top would meet itself half done.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.papermill_engine.engine import Engine
    from mlops_nb.papermill_engine.running import (
        Failure,
        Outcome,
        RunPlan,
        plan_run,
        run_notebook,
    )

__all__ = ["Engine", "Failure", "Outcome", "RunPlan", "plan_run", "run_notebook"]

_HOMES = {
    "Engine": "engine",
    "Failure": "running",
    "Outcome": "running",
    "RunPlan": "running",
    "plan_run": "running",
    "run_notebook": "running",
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
