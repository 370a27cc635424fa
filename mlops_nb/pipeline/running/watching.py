"""What is told of a run while it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.model.pipelines import StepState


@record
class Seen:
    """One thing that has happened.

    Attributes
    ----------
    what
        ``begin`` (`text` is a line about what will run), ``state`` (a step has another state),
        ``cell`` (a cell of a step has begun or ended), ``remark`` (a warning), ``repair`` (what
        had to be added to the plan), ``end``.
    step
        Empty if it is about all.
    text
        A sentence, or a reason.
    cell, total
        Zero-based position in the step's notebook, and how many cells that has.
    word
        Of a cell: ``started``, ``done``, ``failed``.
    """

    what: Literal["begin", "state", "cell", "remark", "repair", "end"]
    step: str = ""
    state: StepState | None = None
    text: str = ""
    cell: int = 0
    total: int = 0
    word: str = ""
    duration_s: float | None = None
    run: str = ""
    steps: tuple[str, ...] = ()


Observer: TypeAlias = "Callable[[Seen], None]"


def nobody(_seen: Seen) -> None:
    """Watch nothing."""
