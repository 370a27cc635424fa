"""How things look: views with text, Markdown, HTML and JSON of the same content."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.display.card import CARD_MIME, Card, CardView
    from mlops_nb.display.comparison import COMPARE_MIME, ComparisonView
    from mlops_nb.display.difference import DIFF_MIME, DifferenceView
    from mlops_nb.display.identity import view_difference, view_lineage
    from mlops_nb.display.lineage import LINEAGE_MIME, LineageView
    from mlops_nb.display.loading import view_comparison, view_run
    from mlops_nb.display.run import RUN_MIME, RunView
    from mlops_nb.display.runs import RUNS_MIME, RunsView
    from mlops_nb.display.view import View

# Loaded when used: the card below a cell needs nothing of the tables.
_MODULES = {
    "CARD_MIME": "card",
    "COMPARE_MIME": "comparison",
    "DIFF_MIME": "difference",
    "LINEAGE_MIME": "lineage",
    "RUNS_MIME": "runs",
    "RUN_MIME": "run",
    "Card": "card",
    "CardView": "card",
    "ComparisonView": "comparison",
    "DifferenceView": "difference",
    "LineageView": "lineage",
    "RunView": "run",
    "RunsView": "runs",
    "View": "view",
    "view_comparison": "loading",
    "view_difference": "identity",
    "view_lineage": "identity",
    "view_run": "loading",
}

__all__ = [
    "CARD_MIME",
    "COMPARE_MIME",
    "DIFF_MIME",
    "LINEAGE_MIME",
    "RUNS_MIME",
    "RUN_MIME",
    "Card",
    "CardView",
    "ComparisonView",
    "DifferenceView",
    "LineageView",
    "RunView",
    "RunsView",
    "View",
    "view_comparison",
    "view_difference",
    "view_lineage",
    "view_run",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
