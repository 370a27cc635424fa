"""Which attempt a run is, and the line that is shown for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.capture.outputs import OWN_METADATA
from mlops_nb.store.spool.heads import read_group_heads

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mlops_nb.model import Run
    from mlops_nb.tracking import LiveRun


class Attempts:
    """Numbers the attempts of each group as this session sees them; the store decides.

    Parameters
    ----------
    spool_folder
        Where the drainer leaves the latest attempts of earlier sessions.
    """

    def __init__(self, spool_folder: Path) -> None:
        self._folder = spool_folder
        self._latest: dict[str, LiveRun] = {}
        self._known: dict[str, tuple[int, Run | None]] = {}

    def of(self, run: LiveRun) -> tuple[int, Run | None]:
        """Give a run's number, and the attempt before it."""
        if run.id not in self._known:
            self._known[run.id] = self._next(run)
            self._latest[run.group] = run
        return self._known[run.id]

    def _next(self, run: LiveRun) -> tuple[int, Run | None]:
        last = self._latest.get(run.group)
        if last is not None:
            return self._known[last.id][0] + 1, last.record()
        head = read_group_heads(self._folder).get(run.group)
        return (1, None) if head is None else (head.attempt + 1, head)


def show_cards(runs: Iterable[LiveRun], attempts: Attempts) -> None:
    """Show a line below the cell for each run that it bore or changed."""
    from IPython.display import publish_display_data

    from mlops_nb.display.card import CardView
    from mlops_nb.display.live import card_of

    for run in runs:
        number, before = attempts.of(run)
        # The bundle is made here, under the caller's guard: IPython's formatters would print a
        # fault of ours into the user's cell.
        card = CardView(card_of(run, before, number))
        bundle = card._repr_mimebundle_()
        transient = {"display_id": f"mlops-nb-{run.id}"}
        publish_display_data(bundle, OWN_METADATA, transient=transient)
