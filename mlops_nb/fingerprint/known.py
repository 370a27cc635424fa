"""What is known of values that no cell since could have reached.

Only what a cell can get at can it change: what its names hold, what those hold in turn, and
what shares memory with any of it. Everything else is as it was when it was last hashed, and
costs nothing. The limits of this are in the name of the assurance, ``carried:unreached``:
threads, callbacks, and what C code holds in secret.
"""

from __future__ import annotations

import gc
import sys
import types
import weakref
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint.memory import exported_memory, layout_of, shared_memory
from mlops_nb.fingerprint.plain import class_module

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_nb.fingerprint.memory import Layout, Region
    from mlops_nb.model import Fingerprint

_MOST_OBJECTS = 5_000
"""Objects that are followed; whoever holds more is taken to hold everything."""

_MOST_OF_ONE_KIND = 200_000
_OWN_MODULE = "__main__"
_EXACT = frozenset({"exact", "carried:pages", "carried:unreached"})

_ATOMS = frozenset(
    {
        *(int, float, complex, bool, str, bytes, range, slice, type(None), type(Ellipsis)),
        *(types.CodeType, types.WrapperDescriptorType),
        *(types.MethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType),
    }
)
_TABLES = frozenset({"pyarrow", "polars", "torch"})


@dataclass(slots=True)
class Reached:
    """All that can be got at through some values.

    Attributes
    ----------
    ids
        Of the objects.
    regions
        Memory that they show, with all of what they are views of.
    is_everything
        They may reach anything.
    """

    ids: set[int] = field(default_factory=set)
    regions: list[Region] = field(default_factory=list)
    is_everything: bool = False

    @classmethod
    def through(cls, values: Iterable[object] | None) -> Reached:
        """Follow values to all that they hold; None stands for everything.

        Examples
        --------
        >>> inner = [1]
        >>> id(inner) in Reached.through([{"key": [inner]}]).ids
        True
        """
        found = cls(is_everything=values is None)
        if values is not None:
            found._follow(list(values))
        return found

    def has(self, address: int, regions: Iterable[Region]) -> bool:
        """Tell whether an object, by its id, or any of its memory is among it."""
        return self.is_everything or address in self.ids or self._meets(regions)

    def meets(self, other: Reached) -> bool:
        """Tell whether two have anything in common that can change."""
        if self.is_everything or other.is_everything:
            return bool(self.ids or self.is_everything) and bool(other.ids or other.is_everything)
        return not self.ids.isdisjoint(other.ids) or self._meets(other.regions)

    def _meets(self, regions: Iterable[Region]) -> bool:
        return any(
            at < other + length and other < at + size
            for at, size in regions
            for other, length in self.regions
        )

    def _follow(self, waiting: list[object]) -> None:
        seen = self.ids
        while waiting:
            value = waiting.pop()
            cls = type(value)
            if cls in _ATOMS or id(value) in seen:
                continue
            seen.add(id(value))
            if len(seen) > _MOST_OBJECTS:
                self.is_everything = True
                return
            parts = self._parts(value, cls)
            if parts is None:
                self.is_everything = True
                return
            waiting += parts

    def _parts(self, value: Any, cls: type) -> Iterable[object] | None:
        """Return what a value holds; None if that cannot be known or is too much."""
        library = class_module(cls).partition(".")[0]
        if library == "numpy":
            return self._array_parts(value)
        if library in _TABLES:
            self.regions += shared_memory(value)
        elif (region := exported_memory(value)) is not None:
            self.regions.append(region)
        if cls is types.ModuleType:
            return list(vars(value).values()) if _is_own_module(value) else ()
        if issubclass(cls, type):
            is_own = _is_own_module(sys.modules.get(class_module(value)))
            return list(type.__dict__["__dict__"].__get__(value).values()) if is_own else ()
        if cls is types.FunctionType:
            # What it names in the notebook is told by its code, not by its globals.
            return [value.__closure__, value.__defaults__, value.__kwdefaults__, vars(value)]
        if cls is weakref.ref:
            return [value()]
        return _unless_atoms(gc.get_referents(value))

    def _array_parts(self, value: Any) -> Iterable[object] | None:
        numpy = sys.modules.get("numpy")
        if numpy is None or not issubclass(type(value), numpy.ndarray):
            return gc.get_referents(value)
        view = numpy.ndarray.view(value, numpy.ndarray)
        self.regions += shared_memory(view)
        parts: list[object] = [object.__getattribute__(value, "base")]
        if view.dtype.hasobject:
            if view.size > _MOST_OBJECTS:
                return None
            parts += view.reshape(-1).tolist()
        return [*parts, *gc.get_referents(value)]


def _unless_atoms(values: list[Any]) -> list[object] | None:
    if len(values) > _MOST_OF_ONE_KIND:
        return None
    if len(values) > _MOST_OBJECTS and _ATOMS.issuperset(set(map(type, values))):
        return []
    return values


def _is_own_module(module: object) -> bool:
    """Whether a module is the user's own, not one that was installed."""
    if type(module) is not types.ModuleType:
        return False
    attributes = vars(module)
    path = attributes.get("__file__")
    if attributes.get("__name__") == _OWN_MODULE:
        return True
    return type(path) is str and not path.startswith((sys.prefix, sys.base_prefix))


@dataclass(eq=False, slots=True)
class Claim:
    """A place kept for the fingerprint of a value as it is at one moment.

    Attributes
    ----------
    ref
        The value, held weakly.
    fingerprint
        None as long as it is being hashed.
    """

    ref: weakref.ref[Any]
    layout: Layout
    regions: tuple[Region, ...]
    fingerprint: Fingerprint | None = None


class Known:
    """The last exact fingerprints of values, each until a cell could have reached it.

    The values are held weakly, so that nothing lives longer for it.

    Examples
    --------
    >>> import numpy as np
    >>> from mlops_nb.fingerprint import fingerprint
    >>> known, array = Known(), np.zeros(10)
    >>> known.remember(array, fingerprint(array))
    >>> known.lookup(array).assurance
    'carried:unreached'
    >>> known.touched([array[2:5]])
    >>> known.lookup(array) is None
    True
    """

    def __init__(self) -> None:
        self._entries: dict[int, Claim] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def expect(self, value: object) -> Claim | None:
        """Keep a place for a value as it is now, before it is hashed elsewhere.

        Whatever reaches the value until `fulfil` undoes this.

        Returns
        -------
        Claim or None
            None for a value that cannot be known again, or whose content is not in buffers.
        """
        self.forget(value)
        layout = layout_of(value)
        if layout is None:
            return None
        key, entries = id(value), self._entries
        try:
            ref = weakref.ref(value, lambda gone: _drop(entries, key, gone))
        except TypeError:
            return None
        claim = Claim(ref, layout, tuple({*layout.buffers, *shared_memory(value)}))
        entries[key] = claim
        return claim

    def fulfil(self, claim: Claim, fingerprint: Fingerprint, *, is_plain: bool = False) -> None:
        """Give the fingerprint that a place was kept for; one that is not exact ends it.

        Parameters
        ----------
        claim
            From `expect`.
        fingerprint
            Of the value as it was then.
        is_plain
            The objects in it, if there are any, are known to be such as cannot change.
        """
        is_proof = fingerprint.assurance in _EXACT and bool(fingerprint.digest)
        if claim.layout.has_objects and not is_plain and not is_of_texts(fingerprint):
            is_proof = False
        if is_proof:
            claim.fingerprint = fingerprint
        else:
            for key, entry in list(self._entries.items()):
                if entry is claim:
                    self._entries.pop(key, None)

    def remember(self, value: object, fingerprint: Fingerprint) -> None:
        """Keep a fingerprint of a value as it is now; one that is not exact is not kept."""
        claim = self.expect(value)
        if claim is not None:
            self.fulfil(claim, fingerprint)

    def lookup(self, value: object) -> Fingerprint | None:
        """Return the fingerprint of a value that nothing has reached since, else None."""
        entry = self._entries.get(id(value))
        if entry is None or entry.fingerprint is None or entry.ref() is not value:
            return None
        # The layout is no proof, but a cheap second look: a replaced column has another.
        if layout_of(value) != entry.layout:
            return None
        return replace(entry.fingerprint, assurance="carried:unreached", cost_ns=0)

    def touched(self, values: Iterable[object]) -> None:
        """Forget what can be got at through values."""
        if self._entries:
            self.reached(Reached.through(values))

    def reached(self, reached: Reached) -> None:
        """Forget what is among something that was followed already."""
        for key, entry in list(self._entries.items()):
            if reached.has(key, entry.regions):
                self._entries.pop(key, None)

    def everything_touched(self) -> None:
        """Forget everything: a cell of which nothing can be said."""
        self._entries.clear()

    def forget(self, value: object) -> None:
        """Forget one value, and let go even of the weak reference to it."""
        self._entries.pop(id(value), None)


def _drop(entries: dict[int, Claim], key: int, gone: weakref.ref[Any]) -> None:
    entry = entries.get(key)
    if entry is not None and entry.ref is gone:
        del entries[key]


def is_of_texts(fingerprint: Fingerprint) -> bool:
    """Whether the objects in a table, if there are any, are texts, which cannot change."""
    columns = (*fingerprint.columns.values(), *fingerprint.index)
    return bool(columns) and not any("object" in column.type for column in columns)
