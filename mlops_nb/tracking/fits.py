"""Fits: which run a fit belongs to, and what it was given."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from mlops_nb.model import Fingerprint, Json
    from mlops_nb.tracking.runs import LiveRun

CHILDREN_LIMIT = 50
"""Fits of one execution that become child runs; the rest are rows of the parent's table."""

FIT_TABLE = "fits"
"""Name of that table."""


class Later:
    """A fingerprint that is not known yet, of a value that is held weakly.

    Parameters
    ----------
    value
        What is being hashed.

    Attributes
    ----------
    value
        Gives it back, None once it is gone.
    """

    def __init__(self, value: object) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Callable[[Fingerprint], None]] = []
        self._found: Fingerprint | None = None
        try:
            self.value: Callable[[], object] = weakref.ref(value)
        except TypeError:
            self.value = _nothing

    def then(self, callback: Callable[[Fingerprint], None]) -> None:
        """Have the fingerprint told, by the thread that finds it."""
        with self._lock:
            if self._found is None:
                self._waiting.append(callback)
                return
        callback(self._found)

    def settle(self, found: Fingerprint) -> None:
        """Tell it to all who wait."""
        with self._lock:
            self._found = found
            waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback(found)

    def is_of_same(self, other: Later | None) -> bool:
        """Whether both are of one object that is still there."""
        value = self.value()
        return value is not None and other is not None and value is other.value()


def _nothing() -> None:
    """Stand for a reference to what cannot be held weakly."""


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
    later
        Tells the final one if that is being worked out.
    """

    name: str
    role: str
    fingerprint: Fingerprint
    later: Later | None = None


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

    def was_trained_on(self, item: DataSeen) -> bool:
        """Whether a value is one of those that it was fitted on."""
        if item.fingerprint.digest:
            return item.fingerprint.digest in self.train_digests
        later = item.later
        return later is not None and any(later.is_of_same(one.later) for one in self.seen.data)

    def note(self, execution: str | None) -> None:
        """Note that a cell gave evidence of it."""
        if execution is not None and execution not in self.cells:
            self.cells.append(execution)
