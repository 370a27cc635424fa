"""What a run needs, what its order is worth, and where things came from.

Slice, verdict and graph: pure functions over execution records.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.lineage.graph import Edge, LineageGraph, Node, graph_of
    from mlops_nb.lineage.results import RESULT_FLAG
    from mlops_nb.lineage.slice import AMBIENT, slice_of
    from mlops_nb.lineage.verdict import SEVERITY, NotebookOrder, reviewed, verdict_of

# Loaded when used: the cells of a user need no graph.
_MODULES = {
    "AMBIENT": "slice",
    "Edge": "graph",
    "LineageGraph": "graph",
    "RESULT_FLAG": "results",
    "Node": "graph",
    "NotebookOrder": "verdict",
    "SEVERITY": "verdict",
    "graph_of": "graph",
    "reviewed": "verdict",
    "slice_of": "slice",
    "verdict_of": "verdict",
}

__all__ = [
    "AMBIENT",
    "RESULT_FLAG",
    "SEVERITY",
    "Edge",
    "LineageGraph",
    "Node",
    "NotebookOrder",
    "graph_of",
    "reviewed",
    "slice_of",
    "verdict_of",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    found: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
