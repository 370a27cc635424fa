"""What every benchmark gives back: a number, and the bar that it is held against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number of one benchmark.

    Attributes
    ----------
    name
        What was measured, in a few words.
    value
        The number: a ratio inside one run wherever that is possible, because a ratio says the
        same on a slow machine as on a fast one.
    bar
        What `value` is held against.
    unit
        What `value` is counted in; ``"x"`` for a ratio.
    more_is_better
        The bar is the least that is wanted instead of the most.
    note
        What the number was made from, such as the two absolute times.
    """

    name: str
    value: float
    bar: float
    unit: str = "x"
    more_is_better: bool = False
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the value is on the wanted side of the bar."""
        return self.value >= self.bar if self.more_is_better else self.value <= self.bar
