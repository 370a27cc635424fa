"""Views of pipelines: what a notebook holds, the graph of its steps, and what became of a run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.display.pipelines.graph import GRAPH_MIME, GraphView
    from mlops_nb.display.pipelines.inspection import INSPECT_MIME, InspectView, inspect_document
    from mlops_nb.display.pipelines.outcome import PIPELINE_RUN_MIME, PipelineRunView

_MODULES = {
    "GRAPH_MIME": "graph",
    "GraphView": "graph",
    "INSPECT_MIME": "inspection",
    "InspectView": "inspection",
    "PIPELINE_RUN_MIME": "outcome",
    "PipelineRunView": "outcome",
    "inspect_document": "inspection",
}

__all__ = [
    "GRAPH_MIME",
    "INSPECT_MIME",
    "PIPELINE_RUN_MIME",
    "GraphView",
    "InspectView",
    "PipelineRunView",
    "inspect_document",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
