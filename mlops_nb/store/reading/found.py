"""What a query found: the ids at once, everything else when somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from mlops_nb.model import Run


class FoundRuns(Sequence["Run"]):
    """The runs that a query found, in its order.

    Which runs they are was read when the query was asked. What they hold is read when it is
    first looked at: as records, which then stay, by looking at one; as a table by `df`.

    Parameters
    ----------
    ids
        The full ids.
    load, frame, count
        Read the records, a table, and how many runs the query finds in all.

    Attributes
    ----------
    ids
        The full ids.
    """

    def __init__(
        self,
        ids: Sequence[str],
        *,
        load: Callable[[], Sequence[Run]],
        frame: Callable[[], pd.DataFrame],
        count: Callable[[], int],
    ) -> None:
        self.ids = tuple(ids)
        self._load, self._frame, self._count = load, frame, count

    @cached_property
    def total(self) -> int:
        """How many runs there are when these are only the first of them."""
        return max(self._count(), len(self.ids))

    @property
    def df(self) -> pd.DataFrame:
        """The runs as a pandas DataFrame; see `Store.frame`."""
        return self._frame()

    @cached_property
    def _runs(self) -> tuple[Run, ...]:
        return tuple(self._load())

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> Run: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Run, ...]: ...

    def __getitem__(self, place: int | slice) -> Run | tuple[Run, ...]:
        return self._runs[place]
