"""Fits: which run a fit belongs to, and what it was given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mlops_nb.model import Fingerprint, Json
    from mlops_nb.tracking.runs import LiveRun

CHILDREN_LIMIT = 50
"""Fits of one execution that become child runs; the rest are rows of the parent's table."""


@record
class DataSeen:
    """A value given to a fit or a prediction.

    Attributes
    ----------
    name
        The variable it was read from, else the parameter's name.
    role
        ``train`` or ``test``.
    fingerprint
        Taken before the call.
    """

    name: str
    role: str
    fingerprint: Fingerprint


@record
class FitSeen:
    """What a library's patches know of a fit that begins.

    Attributes
    ----------
    class_path, name
        Class of the model, and the variable that holds it (else its class in snake case).
    params, changed
        All parameters, and the keys of those that differ from the default.
    data
        What it is fitted on.
    continues
        Whether it goes on from the last fit of the same object (``partial_fit``, warm start).
    """

    class_path: str
    name: str
    params: Mapping[str, Json]
    changed: Collection[str]
    data: Sequence[DataSeen] = ()
    continues: bool = False


@dataclass(eq=False, slots=True)
class FitGeneration:
    """The n-th fit of one estimator: what predictions and metrics are bound to.

    Attributes
    ----------
    run
        Where its evidence goes now; a later fit may move it to a child.
    row
        For fits beyond `CHILDREN_LIMIT`: its row in the parent's table.
    train_digests
        Digests of what it was fitted on, to tell training metrics from others.
    more_ns
        Time in the calls that went on with it, in the same cell.
    has_failed
        Whether the fit raised.
    cells
        Executions that gave evidence of it, in order.
    """

    id: str
    run: LiveRun
    seen: FitSeen
    started_ns: int
    execution: str | None
    row: dict[str, Json] | None = None
    train_digests: set[str] = field(default_factory=set)
    predicted_in: str | None = None
    inputs_seen: int = 0
    batches_seen: int = 0
    more_ns: int = 0
    has_failed: bool = False
    cells: list[str] = field(default_factory=list)

    def note(self, execution: str | None) -> None:
        """Note that a cell gave evidence of it."""
        if execution is not None and execution not in self.cells:
            self.cells.append(execution)
