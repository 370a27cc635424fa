"""Which names an execution read, bound, mutated and deleted.

The text says which names can be touched (`source.analyse`); a targeted look at the namespace
before and after says which were. Only named and new names are looked at, so the cost does not
depend on how many there are; only a dynamic cell is compared as a whole. No value is held: small
immutable ones by themselves, others weakly, and where that cannot be, a name that may have been
bound counts as read and bound, so that nothing before it is left out.
"""

from __future__ import annotations

import re
from itertools import chain, islice
from typing import TYPE_CHECKING

from mlops_nb.capture.proof import Proof
from mlops_nb.capture.reach import reach
from mlops_nb.capture.values import can_change, is_same, mark
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from mlops_nb.capture.reach import Namespace
    from mlops_nb.capture.values import Origins
    from mlops_nb.source import CellNames

_OWN = re.compile(r"_(?:i{1,3}|i?\d+|_{0,2}|ih|oh|dh)\Z|(?:In|Out)\Z|__\w+__\Z")
_LAST_RESULTS = re.compile(r"_{1,3}\Z|_\d+\Z|_oh\Z|Out\Z")
_KEPT_MARKS = 8


@record
class Touched:
    """Names of the notebook that an execution touched."""

    reads: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    mutates: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()


NOTHING = Touched()


def is_own(name: str, hidden: Container[str] = ()) -> bool:
    """Whether a name is IPython's, not the user's."""
    return name in hidden or (name[0] in "_IO" and _OWN.match(name) is not None)


class Watch:
    """The namespace as it was when a cell began, as far as the cell can touch it.

    Parameters
    ----------
    namespace
        The notebook's.
    names
        What the cell's text touches.
    hidden
        Names that are IPython's own.
    """

    def __init__(self, namespace: Namespace, names: CellNames, hidden: Container[str]) -> None:
        self._namespace = namespace
        self._names = names
        self._hidden = hidden
        self._reach = reach(names, namespace)
        self._ids: dict[str, int] | None = None
        self._inner: list[Touched] = []
        self._marks = {}
        for name in (*names.binds, *names.deletes, *self._reach.stores, *self._reach.deletes):
            if name in namespace:
                value = namespace[name]
                self._marks[name] = (id(value), mark(value))
        read = (*names.reads, *names.mutates, *names.consumes, *self._reach.loads)
        self._existed = {*filter(namespace.__contains__, read), *self._marks}
        self._last = frozenset(islice(reversed(namespace), _KEPT_MARKS))
        if names.is_dynamic or self._reach.is_dynamic:
            self.widen()
        self._proof = Proof(namespace, (*names.mutates, *self._reach.loads), names.calls)

    @property
    def is_dynamic(self) -> bool:
        """Whether functions that the cell uses run text."""
        return self._reach.is_dynamic

    def reachable(self) -> list[object] | None:
        """Values that the cell can get at by name, as they are bound now; None for anything."""
        if self._ids is not None:
            return None
        text, reached, namespace = self._names, self._reach, self._namespace
        named = (text.reads, text.binds, text.mutates, text.touches, text.consumes)
        names = dict.fromkeys(chain(*named, reached.loads, reached.stores))
        return [namespace[name] for name in names if name in namespace]

    def widen(self) -> None:
        """Compare the whole namespace from now on: something runs that the text does not show."""
        if self._ids is None:
            # A copy is made at once, whatever other threads bind meanwhile.
            now = self._namespace.copy()
            self._ids = dict(zip(now, map(id, now.values()), strict=True))

    def take(self, inner: Touched) -> None:
        """Count what an execution inside of this one touched."""
        self._inner.append(inner)

    def finish(self, origins: Origins, *, is_complete: bool) -> Touched:
        """Say what was touched.

        Parameters
        ----------
        origins
            Names that share values, from all cells so far.
        is_complete
            Whether the cell ran to its end; else nothing in it is certain.
        """
        binds, unsure, deletes = self._changes(is_complete=is_complete)
        reads = self._reads((*self._names.reads, *self._reach.loads, *unsure))
        mutates = self._mutates(origins)
        for inner in self._inner:
            reads.update(dict.fromkeys(inner.reads))
            binds.update(dict.fromkeys(inner.binds))
            deletes.update(dict.fromkeys(inner.deletes))
        namespace = self._namespace
        return Touched(
            reads=tuple(reads),
            binds=tuple([name for name in binds if name in namespace]),
            mutates=tuple(mutates),
            deletes=tuple([name for name in deletes if name not in namespace]),
        )

    def _user(self, names: Iterable[str]) -> list[str]:
        """Leave out IPython's own names."""
        hidden = self._hidden
        return [n for n in names if n not in hidden and not (n[0] in "_IO" and _OWN.match(n))]

    def _changes(self, *, is_complete: bool) -> tuple[dict[str, None], list[str], dict[str, None]]:
        """Names bound, those that were perhaps bound, names deleted."""
        binds: dict[str, None] = {}
        unsure: list[str] = []
        deletes: dict[str, None] = {}
        namespace, certain = self._namespace, self._names.certain
        for name in self._user({**dict.fromkeys(self._names.binds), **self._marks}):
            if name not in namespace:
                if name in self._existed:
                    deletes[name] = None
            elif is_complete and name in certain:
                binds[name] = None
            elif name in self._marks:
                answer = self._is_rebound(name)
                if answer is not False:
                    binds[name] = None
                if answer is None:
                    unsure.append(name)
        binds.update(dict.fromkeys(self._user(self._new_names())))
        if self._ids is not None:
            gone = [name for name in self._user(self._ids) if name not in namespace]
            deletes.update(dict.fromkeys(gone))
        return binds, unsure, deletes

    def _is_rebound(self, name: str) -> bool | None:
        """Whether a name holds another value than before; None where that cannot be told."""
        address, known = self._marks[name]
        value = self._namespace[name]
        if id(value) != address:
            return True
        # The same address can be another value's, if the old one is gone.
        return None if known is None else not is_same(known, value)

    def _new_names(self) -> list[str]:
        """Names that are new, and in a dynamic cell those that hold something else."""
        found: list[str] = []
        known = self._last
        for name in _backwards(self._namespace):
            if name in known:
                break
            found.append(name)
        found.reverse()
        if self._ids is not None:
            ids, now = self._ids, self._namespace.copy()
            found += [name for name, value in now.items() if ids.get(name) != id(value)]
        return found

    def _reads(self, candidates: Iterable[str]) -> dict[str, None]:
        reads: dict[str, None] = {}
        existed, hidden = self._existed, self._hidden
        for name in candidates:
            if name not in existed:
                continue
            if name[0] in "_IO" and _OWN.match(name):
                if _LAST_RESULTS.match(name):
                    reads["_"] = None
            elif name not in hidden:
                reads[name] = None
        return reads

    def _mutates(self, origins: Origins) -> dict[str, None]:
        namespace, names, existed = self._namespace, self._names, self._existed
        direct = [
            n
            for n in (*names.mutates, *self._reach.loads)
            if n in existed and n in namespace and (can_change(namespace[n]) or n in names.sets)
        ]
        unchanged = self._proof.unchanged()
        direct = [n for n in direct if n not in unchanged]
        direct += [n for n in names.consumes if n in existed and _is_iterator(namespace.get(n))]
        for inner in self._inner:
            direct += inner.mutates
        mutates = dict.fromkeys(self._user(direct))
        if origins.is_empty and not names.origins:
            return mutates
        parts = [n for n in names.touches if can_change(namespace.get(n))]
        shared = origins.sharing((*mutates, *parts), names, namespace)
        mutates.update(dict.fromkeys(n for n in self._user(shared) if n not in names.certain))
        return mutates


def touched_earlier(namespace: Namespace, names: CellNames, hidden: Container[str]) -> Touched:
    """Say what a cell from before tracking touched, by its text and by what is there now."""

    def there(candidates: Iterable[str]) -> tuple[str, ...]:
        return tuple(n for n in candidates if n in namespace and not is_own(n, hidden))

    return Touched(
        reads=there(names.reads),
        binds=there(names.binds),
        mutates=tuple(n for n in there(names.mutates) if can_change(namespace[n])),
        deletes=tuple(n for n in names.deletes if n not in namespace),
    )


def _is_iterator(value: object) -> bool:
    return hasattr(type(value), "__next__")


def _backwards(namespace: Namespace) -> Iterator[str]:
    """Names from the newest on; a copy only if another thread binds names meanwhile."""
    try:
        yield from reversed(namespace)
    except RuntimeError:
        yield from reversed(list(namespace))
