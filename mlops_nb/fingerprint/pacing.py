"""A pass that gives way to the user's thread, and stops when its time is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mlops_nb.fingerprint.scheme import OverBudgetError, Pass

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_BUDGET_S = 2.0
SHARE_OF_CELL = 0.1

_STEP_BYTES = 65_536
_CALL_BYTES = 64
_NANOSECONDS = 1e9


class Allowance:
    """CPU time that hashing may take for one cell.

    Parameters
    ----------
    cell_wall_s
        How long the cell took, or a function that tells how long it has been taking.
    least_s, share
        The budget: so many seconds, or this share of the cell's time if that is more.
    """

    __slots__ = ("_least_s", "_share", "_wall_s", "spent_s")

    def __init__(
        self,
        cell_wall_s: float | Callable[[], float],
        *,
        least_s: float = LEAST_BUDGET_S,
        share: float = SHARE_OF_CELL,
    ) -> None:
        self._wall_s = [cell_wall_s]
        self._least_s, self._share = least_s, share
        self.spent_s = 0.0

    def know(self, cell_wall_s: float | Callable[[], float]) -> None:
        """Learn anew how long the cell takes."""
        self._wall_s[:] = [cell_wall_s]

    @property
    def left_s(self) -> float:
        """Seconds that are left; less than 0 if too many were taken."""
        (wall_s,) = self._wall_s
        wall_s = wall_s() if callable(wall_s) else wall_s
        return max(self._least_s, self._share * wall_s) - self.spent_s


class PacedPass(Pass):
    """A pass on a thread of its own.

    After every 64 kilobytes, or so much work in small pieces, it lets go of the GIL,
    so that a thread that waits for it gets it at once, and looks whether it should stop.

    Parameters
    ----------
    allowance
        Its time; None for a pass that the user asked for.
    is_cancelled
        Asked whether nobody wants the result any more.
    """

    __slots__ = ("_allowance", "_is_cancelled", "_owed", "_started_ns", "was_cancelled")

    def __init__(self, allowance: Allowance | None, is_cancelled: Callable[[], bool]) -> None:
        super().__init__()
        self._allowance = allowance
        self._is_cancelled = is_cancelled
        self._owed = 0
        self._started_ns = time.thread_time_ns()
        self.was_cancelled = False

    def take(self, size_bytes: int) -> None:
        """Count bytes, and pause now and then."""
        super().take(size_bytes)
        self._owed += size_bytes + _CALL_BYTES
        if self._owed >= _STEP_BYTES:
            self.step()

    def step(self) -> None:
        """Give way; raises `OverBudgetError` to stop."""
        self._owed = 0
        time.sleep(0)
        if self._is_cancelled():
            self.was_cancelled = True
            raise OverBudgetError
        if self._allowance is not None and self.cost_s > self._allowance.left_s:
            raise OverBudgetError

    @property
    def cost_s(self) -> float:
        """CPU time so far, seconds."""
        return (time.thread_time_ns() - self._started_ns) / _NANOSECONDS
