"""How things look: views with text, Markdown, HTML and JSON of the same content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops_nb.compare import Comparison
from mlops_nb.display.card import CARD_MIME, Card, CardView
from mlops_nb.display.comparison import COMPARE_MIME, ComparisonView
from mlops_nb.display.loading import view_comparison, view_run
from mlops_nb.display.run import RUN_MIME, RunView
from mlops_nb.display.runs import RUNS_MIME, RunsView
from mlops_nb.display.view import View
from mlops_nb.model import Run

if TYPE_CHECKING:
    from mlops_nb.display.view import Place

__all__ = [
    "CARD_MIME",
    "COMPARE_MIME",
    "RUNS_MIME",
    "RUN_MIME",
    "Card",
    "CardView",
    "ComparisonView",
    "RunView",
    "RunsView",
    "View",
    "show",
    "view_comparison",
    "view_run",
]


def show(value: object, *, place: Place = "notebook") -> View:
    """Make the view of a comparison, a card, a run, or a sequence of runs.

    Raises
    ------
    TypeError
        There is no view of such a value.
    """
    if isinstance(value, View):
        return value
    if isinstance(value, Comparison):
        return ComparisonView(value, place)
    if isinstance(value, Card):
        return CardView(value, place)
    if isinstance(value, Run):
        return RunView(value, place=place)
    if isinstance(value, Sequence) and all(isinstance(item, Run) for item in value):
        return RunsView(tuple(value), place=place)
    msg = f"no view of {type(value).__name__}"
    raise TypeError(msg)
