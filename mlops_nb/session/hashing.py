"""Fingerprints of what goes into fits: at once where that is quick, else in the background."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple
from weakref import ref

from mlops_nb.capture.guard import guard
from mlops_nb.fingerprint import fingerprint
from mlops_nb.fingerprint.weight import weight_of
from mlops_nb.fingerprint.witness import is_array, is_table, witness_of, witness_size
from mlops_nb.tracking.fits import Later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlops_nb.capture.hooks import LiveExecution
    from mlops_nb.fingerprint.background import Hasher
    from mlops_nb.fingerprint.known import Known
    from mlops_nb.model import Fingerprint

AT_ONCE_BYTES = 32_000_000
"""A value up to this size is hashed where it is used, in about 3 ms."""

RECOGNISED_BYTES = 8_000_000
"""A table up to this size is recognised when it comes again, at the price of one more pass."""

_MOST_RECOGNISED = 100

LAST_WAIT_S = 3.0
"""How long the end of a session waits for what is still being hashed."""

BATCH_WAIT_S = 20.0
"""The same for a batch, where nobody waits for the kernel."""


class _Recognised(NamedTuple):
    """A table that was identified, while it lives."""

    value: ref[object]
    witness: object
    fingerprint: Fingerprint


class Hashing:
    """Identifies values for one session.

    Parameters
    ----------
    current
        Gives the cell that runs now.
    """

    def __init__(self, current: Callable[[], LiveExecution | None]) -> None:
        self._current = current
        self._recognised: dict[int, _Recognised] = {}
        self._known: Known | None = None  # loaded with the first large value
        self._hasher: Hasher | None = None

    def identify(self, value: object) -> tuple[Fingerprint, Later | None]:
        """Identify a value as it is now; a large one later, and then it is told to `Later`."""
        if weight_of(value) <= AT_ONCE_BYTES:
            return self._recognise(value) or fingerprint(value), None
        later = Later(value)
        found = self._open().submit(
            value, cell_wall_s=self._cell_wall_s, then=later.settle, cell=self._current()
        )
        return found, None if found.digest else later

    def identify_after_cell(self, value: object) -> Fingerprint:
        """Identify a value when a cell has ended: one that no cell could reach is not read."""
        if weight_of(value) <= AT_ONCE_BYTES:
            return self._recognise(value) or fingerprint(value)
        known = self._remembering()
        found = known.lookup(value)
        if found is None:
            found = fingerprint(value)
            known.remember(value, found)
        return found

    def _recognise(self, value: object) -> Fingerprint | None:
        """Identify a table or array that has come before, or is likely to come again.

        The same rows go into one fit after the other, and a witness of them is ten times cheaper
        than their fingerprint.
        """
        kind, key = type(value), id(value)
        if not (is_array(kind) or is_table(kind)):
            return None
        with guard("hashing"):
            if witness_size(value) > RECOGNISED_BYTES or (witness := witness_of(value)) is None:
                return None
            known = self._recognised.get(key)
            if known is not None and known.value() is value and known.witness == witness:
                return known.fingerprint
            found = fingerprint(value)
            if found.assurance == "exact" and len(self._recognised) < _MOST_RECOGNISED:
                gone = self._recognised
                there = ref(value, lambda _: gone.pop(key, None))
                self._recognised[key] = _Recognised(there, witness, found)
            return found
        return None

    def _remembering(self) -> Known:
        if self._known is None:
            from mlops_nb.fingerprint.known import Known

            self._known = Known()
        return self._known

    def _open(self) -> Hasher:
        if self._hasher is None:
            from mlops_nb.fingerprint.background import Hasher
            from mlops_nb.fingerprint.pages import PageOracle

            self._hasher = Hasher(
                oracle=PageOracle.start(),
                known=self._remembering(),
                guarded=lambda: guard("hashing"),
            )
        return self._hasher

    def _cell_wall_s(self) -> float:
        live = self._current()
        return 0.0 if live is None else (time.perf_counter_ns() - live.started_ns) / 1e9

    # --- around a cell ------------------------------------------------------------------------

    def cell_started(self, live: LiveExecution) -> None:
        """A cell begins: what it may change is no longer what it was."""
        if self._known is None:
            return
        reached = live.reachable()
        self._touch(self._known, reached)
        if self._hasher is not None:
            self._hasher.before_cell(reached)

    def cell_ended(
        self, live: LiveExecution, changed: Sequence[str], namespace: Mapping[str, object]
    ) -> None:
        """A cell has ended; called before its last values are identified.

        Parameters
        ----------
        live
            The cell.
        changed
            Names whose values it may have changed in place.
        namespace
            The notebook's.
        """
        if self._known is None:
            return
        reached = live.reachable()
        self._touch(self._known, reached)
        if self._hasher is not None:
            values = [namespace[name] for name in changed if name in namespace]
            self._hasher.after_cell(None if reached is None else values)

    @staticmethod
    def _touch(known: Known, reached: Iterable[object] | None) -> None:
        if reached is None:
            known.everything_touched()
        else:
            known.touched(reached)

    def finish(self, timeout_s: float) -> None:
        """Hash on for a while; what remains is told as it is."""
        if self._hasher is not None:
            self._hasher.finish(timeout_s)
