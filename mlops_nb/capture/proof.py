"""Proof that a cell left a value as it was: its witness before and after is the same.

A name that a cell passes to a call may have been changed by it. Without proof it counts as
changed, and a run then needs that cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.capture.guard import guard
from mlops_nb.fingerprint.witness import witness_of, witness_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BUDGET_BYTES = 2_000_000
"""Bytes that are read before and after an ordinary cell: less than 0.2 ms each."""

FIT_BUDGET_BYTES = 64_000_000
"""The same for a cell that fits a model, and so takes long itself."""

_FITS = ("fit", "fit_predict", "fit_transform", "partial_fit", "cross_val", "train")


class Proof:
    """The values a cell may change, as they were when it began.

    Parameters
    ----------
    namespace
        The notebook's.
    names
        What the cell may change.
    calls
        What it calls: a cell that fits a model may be read more of.
    """

    def __init__(
        self, namespace: Mapping[str, object], names: Iterable[str], calls: Iterable[str]
    ) -> None:
        self._namespace = namespace
        self._before: dict[str, tuple[int, int, object]] = {}
        budget_bytes = _budget_for(calls)
        with guard("proof"):
            for name in dict.fromkeys(names):
                value = namespace.get(name)
                size = witness_size(value)
                if not 0 <= size <= budget_bytes:
                    continue
                witness = witness_of(value)
                if witness is not None:
                    self._before[name] = id(value), size, witness
                    budget_bytes -= size

    def unchanged(self) -> set[str]:
        """Names that hold the same object with the same content still."""
        found: set[str] = set()
        with guard("proof"):
            for name, (address, size, witness) in self._before.items():
                value = self._namespace.get(name)
                is_same = id(value) == address and witness_size(value) == size
                if is_same and witness_of(value) == witness:
                    found.add(name)
        return found


def _budget_for(calls: Iterable[str]) -> int:
    tails = (call.rpartition(".")[2] for call in calls)
    return FIT_BUDGET_BYTES if any(tail.startswith(_FITS) for tail in tails) else BUDGET_BYTES
