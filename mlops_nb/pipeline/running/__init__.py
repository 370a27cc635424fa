"""Running pipelines: steps in processes of their own, each with a run, from cache where it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.pipeline.running.api import run_pipeline
    from mlops_nb.pipeline.running.executing import run_step
    from mlops_nb.pipeline.running.outcomes import PipelineOutcome, StepOutcome
    from mlops_nb.pipeline.running.planning import Choice
    from mlops_nb.pipeline.running.watching import Seen

__all__ = ["Choice", "PipelineOutcome", "Seen", "StepOutcome", "run_pipeline", "run_step"]

_HOMES = {
    "Choice": "planning",
    "PipelineOutcome": "outcomes",
    "Seen": "watching",
    "StepOutcome": "outcomes",
    "run_pipeline": "api",
    "run_step": "executing",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
