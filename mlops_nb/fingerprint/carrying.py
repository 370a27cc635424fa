"""Digests carried over from the last hash, as long as the pages say that nothing was written."""

from __future__ import annotations

import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_nb.fingerprint.unchanged import Unchanged
    from mlops_nb.model import Fingerprint

_MOST_WATCHED = 64
_STRIKES = 2
_MOSTLY_WRITTEN = 0.25


@dataclass(eq=False, slots=True)
class _Watched:
    """A value whose last exact digest is known; without a proof, one that was written to."""

    ref: weakref.ref[Any]
    fingerprint: Fingerprint
    unchanged: Unchanged | None
    strikes: int


class Carried:
    """Values that are watched after they were hashed, held weakly, the oldest given up first."""

    def __init__(self) -> None:
        self._watched: OrderedDict[int, _Watched] = OrderedDict()

    def keep(self, value: object, fingerprint: Fingerprint, unchanged: Unchanged) -> None:
        """Go on to watch a value whose digest is exact."""
        strikes = self._strikes(value)
        self.forget(value)
        key, watched = id(value), self._watched

        def drop(gone: weakref.ref[Any]) -> None:
            entry = watched.get(key)
            if entry is not None and entry.ref is gone:
                del watched[key]
                unchanged.end_later()

        unchanged.target = None
        ref = weakref.ref(value, drop)
        watched[key] = _Watched(ref, fingerprint, unchanged, strikes)
        while len(watched) > _MOST_WATCHED:
            self._forget(list(watched)[0])  # noqa: RUF015  another thread may add one meanwhile

    def lookup(self, value: object) -> Fingerprint | None:
        """Return the fingerprint of a value that is what it was, as ``carried:pages``."""
        entry = self._watched.get(id(value))
        if entry is None or entry.ref() is not value or entry.unchanged is None:
            return None
        started_ns = time.thread_time_ns()
        holds, written = entry.unchanged.still_holds(value)
        if holds:
            entry.strikes = 0
            cost_ns = time.thread_time_ns() - started_ns
            return replace(entry.fingerprint, assurance="carried:pages", cost_ns=cost_ns)
        entry.strikes = entry.strikes + 1 if written > _MOSTLY_WRITTEN else 0
        entry.unchanged.end()
        entry.unchanged = None
        return None

    def is_worth_it(self, value: object) -> bool:
        """Tell whether to watch a value: not one that was mostly overwritten twice in a row.

        The first write to a page that is watched costs the user some time.
        """
        return self._strikes(value) < _STRIKES

    def forget(self, value: object) -> None:
        """Let go of a value, even of the weak reference to it."""
        self._forget(id(value))

    def clear(self) -> None:
        """Let go of all values."""
        for key in list(self._watched):
            self._forget(key)

    def _strikes(self, value: object) -> int:
        entry = self._watched.get(id(value))
        return entry.strikes if entry is not None and entry.ref() is value else 0

    def _forget(self, key: int) -> None:
        entry = self._watched.pop(key, None)
        if entry is not None and entry.unchanged is not None:
            entry.unchanged.end()
