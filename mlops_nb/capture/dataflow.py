"""Which names an execution read, bound, mutated and deleted.

The text says which names can be touched (`source.analyse`); a targeted look at the namespace
before and after says which were. Only named and new names are looked at, so the cost does not
depend on how many there are; only a dynamic cell is compared as a whole. No value is held: small
immutable ones by themselves, others weakly, and where that cannot be, a name that may have been
bound counts as read and bound, so that nothing before it is left out.
"""

from __future__ import annotations

import dis
import re
import sys
import types
import weakref
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from mlops_nb.source import CellNames

Namespace: TypeAlias = "dict[str, object]"

_OWN = re.compile(r"_(?:i{1,3}|i?\d+|_{0,2}|ih|oh|dh)\Z|(?:In|Out)\Z|__\w+__\Z")
_LAST_RESULTS = re.compile(r"_{1,3}\Z|_\d+\Z|_oh\Z|Out\Z")
_SMALL = (int, float, bool, complex, type(None), type(Ellipsis), range)
_IMMUTABLE = (
    *_SMALL,
    str,
    bytes,
    frozenset,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.CodeType,
    property,
)
_LONG_TEXT = 10_000
_KEPT_MARKS = 8


@dataclass(frozen=True, slots=True)
class Touched:
    """Names of the notebook that an execution touched."""

    reads: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    mutates: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()

    def as_fields(self) -> dict[str, tuple[str, ...]]:
        """The fields of `model.ExecutionEnded` with these names."""
        return {
            "reads": self.reads,
            "binds": self.binds,
            "mutates": self.mutates,
            "deletes": self.deletes,
        }


NOTHING = Touched()


def is_own(name: str, hidden: Container[str] = ()) -> bool:
    """Whether a name is IPython's, not the user's."""
    return name in hidden or (name[0] in "_IO" and _OWN.match(name) is not None)


# --- values -----------------------------------------------------------------------------------


def can_change(value: object) -> bool:
    """Whether a value can be changed in place, as far as its type says."""
    kind = type(value)
    if kind is type:
        return value.__module__ == "__main__"  # type: ignore[attr-defined]
    if kind.__module__ == "__main__":
        return True
    return _type_can_change(kind)


@lru_cache(maxsize=1024)
def _type_can_change(kind: type) -> bool:
    if issubclass(kind, _IMMUTABLE):
        return False
    for module, names in _IMMUTABLE_ELSEWHERE:
        library = sys.modules.get(module)
        found = [getattr(library, name, None) for name in names]
        if issubclass(kind, tuple(each for each in found if isinstance(each, type))):
            return False
    return True


_IMMUTABLE_ELSEWHERE = (
    ("numpy", ("generic", "dtype")),
    ("datetime", ("date", "time", "timedelta", "tzinfo")),
    ("decimal", ("Decimal",)),
    ("pathlib", ("PurePath",)),
    ("re", ("Pattern", "Match")),
    ("pandas", ("Index",)),
)


def _mark(value: object) -> object:
    """Something to know a value by later, without keeping it alive; None if there is nothing."""
    if isinstance(value, _SMALL) or (isinstance(value, str) and len(value) < _LONG_TEXT):
        return (value,)
    try:
        return weakref.ref(value)
    except TypeError:
        return None


def _is_same(mark: object, value: object) -> bool:
    if isinstance(mark, tuple):
        return mark[0] is value
    return isinstance(mark, weakref.ref) and mark() is value


# --- functions of the user --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _CodeNames:
    loads: frozenset[str]
    stores: frozenset[str]
    deletes: frozenset[str]


_code_names: dict[int, tuple[weakref.ref[types.CodeType], _CodeNames]] = {}


def _names_of_code(code: types.CodeType) -> _CodeNames:
    """Global names of a function's code and of the functions inside of it; kept per code."""
    known = _code_names.get(id(code))
    if known is not None and known[0]() is code:
        return known[1]
    loads: set[str] = set()
    stores: set[str] = set()
    deletes: set[str] = set()
    by_operation = {
        "LOAD_GLOBAL": loads,
        "LOAD_NAME": loads,
        "STORE_GLOBAL": stores,
        "DELETE_GLOBAL": deletes,
    }
    for instruction in dis.get_instructions(code):
        names = by_operation.get(instruction.opname)
        if names is not None:
            names.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _names_of_code(constant)
            loads |= inner.loads
            stores |= inner.stores
            deletes |= inner.deletes
    found = _CodeNames(frozenset(loads), frozenset(stores), frozenset(deletes))
    key = id(code)
    _code_names[key] = (weakref.ref(code, lambda _: _code_names.pop(key, None)), found)
    return found


def _codes_of(value: object, namespace: Namespace, depth: int = 3) -> Iterator[types.CodeType]:
    """Code of the notebook that using a value may run."""
    if isinstance(value, types.FunctionType):
        if value.__globals__ is namespace:
            yield value.__code__
        wrapped = getattr(value, "__wrapped__", None)
        cells = [cell for cell in value.__closure__ or () if _is_filled(cell)]
        inner = [wrapped, *(cell.cell_contents for cell in cells)]
    elif isinstance(value, type):
        inner = list(vars(value).values()) if value.__module__ == "__main__" else []
        inner += [base for base in value.__bases__ if base.__module__ == "__main__"]
    elif isinstance(value, types.MethodType | staticmethod | classmethod):
        inner = [value.__func__]
    elif isinstance(value, property):
        inner = [value.fget, value.fset]
    elif type(value).__module__ == "__main__":
        inner = [type(value)]
    elif type(value).__module__ == "functools":
        inner = [getattr(value, "func", None), getattr(value, "__wrapped__", None)]
    else:
        return
    if depth:
        for part in inner:
            yield from _codes_of(part, namespace, depth - 1)


def _may_run(value: object) -> bool:
    """Whether `_codes_of` can find anything in a value; a quick look at its type."""
    kind = type(value)
    return kind in _RUNS or kind.__module__ in {"__main__", "functools"}


_RUNS = frozenset({types.FunctionType, types.MethodType, type, staticmethod, classmethod, property})


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class _Reach:
    """What functions of the notebook may touch beyond the text of the cell."""

    loads: dict[str, None] = field(default_factory=dict)
    stores: dict[str, None] = field(default_factory=dict)
    deletes: dict[str, None] = field(default_factory=dict)
    is_dynamic: bool = False


def _reach(names: Iterable[str], namespace: Namespace) -> _Reach:
    """Follow names through the functions and classes they hold."""
    found = _Reach()
    waiting = list(names)
    seen = set(waiting)
    while waiting:
        value = namespace.get(waiting.pop(), None)
        if not _may_run(value):
            continue
        for code in _codes_of(value, namespace):
            inner = _names_of_code(code)
            found.loads.update(dict.fromkeys(sorted(inner.loads)))
            found.stores.update(dict.fromkeys(sorted(inner.stores)))
            found.deletes.update(dict.fromkeys(sorted(inner.deletes)))
            found.is_dynamic |= not _DYNAMIC.isdisjoint(inner.loads)
            new = inner.loads - seen
            seen |= new
            waiting.extend(new)
    return found


_DYNAMIC = frozenset({"exec", "eval", "globals"})


# --- before and after -------------------------------------------------------------------------


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
        self._reach = _reach(names.reads, namespace)
        self._ids: dict[str, int] | None = None
        self._inner: list[Touched] = []
        self._marks = {}
        for name in (*names.binds, *names.deletes, *self._reach.stores, *self._reach.deletes):
            if name in namespace:
                value = namespace[name]
                self._marks[name] = (id(value), _mark(value))
        read = (*names.reads, *names.mutates, *names.consumes, *self._reach.loads)
        self._existed = {*filter(namespace.__contains__, read), *self._marks}
        self._last = frozenset(islice(reversed(namespace), _KEPT_MARKS))
        if names.is_dynamic or self._reach.is_dynamic:
            self.widen()

    @property
    def is_dynamic(self) -> bool:
        """Whether functions that the cell uses run text."""
        return self._reach.is_dynamic

    def widen(self) -> None:
        """Compare the whole namespace from now on: something runs that the text does not show."""
        if self._ids is None:
            self._ids = dict(zip(self._namespace, map(id, self._namespace.values()), strict=True))

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
        reach = _reach(self._names.binds, self._namespace)
        loads = (*self._reach.loads, *reach.loads)
        binds, unsure, deletes = self._changes(is_complete=is_complete)
        reads = self._reads((*self._names.reads, *loads, *unsure))
        mutates = self._mutates(loads, origins)
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

    def _changes(
        self, *, is_complete: bool
    ) -> tuple[dict[str, None], list[str], dict[str, None]]:
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
        address, mark = self._marks[name]
        value = self._namespace[name]
        if id(value) != address:
            return True
        # The same address can be another value's, if the old one is gone.
        return None if mark is None else not _is_same(mark, value)

    def _new_names(self) -> list[str]:
        """Names that are new, and in a dynamic cell those that hold something else."""
        if self._ids is not None:
            ids = self._ids
            return [n for n, value in list(self._namespace.items()) if ids.get(n) != id(value)]
        found: list[str] = []
        known = self._last
        for name in _backwards(self._namespace):
            if name in known:
                break
            found.append(name)
        return found[::-1]

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

    def _mutates(self, loads: tuple[str, ...], origins: Origins) -> dict[str, None]:
        namespace, names, existed = self._namespace, self._names, self._existed
        direct = [
            n
            for n in (*names.mutates, *loads)
            if n in existed and n in namespace and (can_change(namespace[n]) or n in names.sets)
        ]
        for name in names.consumes:
            if name in existed and _is_iterator(namespace.get(name)):
                direct.append(name)
        for inner in self._inner:
            direct += inner.mutates
        mutates = dict.fromkeys(self._user(direct))
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


class Origins:
    """Names that may share values, from all cells so far: ``row = rows[0]``."""

    def __init__(self) -> None:
        self._links: dict[str, set[str]] = {}

    def update(self, names: CellNames, binds: Iterable[str]) -> None:
        """Learn what a cell bound to parts of what."""
        given = names.origins or {}
        for name in binds:
            for other in self._links.pop(name, ()):
                self._links.get(other, set()).discard(name)
        for name in binds:
            for other in given.get(name, ()):
                self._links.setdefault(name, set()).add(other)
                self._links.setdefault(other, set()).add(name)

    def sharing(
        self, names: Iterable[str], cell: CellNames, namespace: Namespace
    ) -> dict[str, None]:
        """All names that may share a value with one of `names`, those left out."""
        start = set(names)
        waiting = list(start)
        found: dict[str, None] = {}
        given = cell.origins or {}
        while waiting:
            name = waiting.pop()
            for other in (*given.get(name, ()), *self._links.get(name, ())):
                if other in found or other in start or other not in namespace:
                    continue
                if _may_share(namespace.get(name), namespace[other]):
                    found[other] = None
                    waiting.append(other)
        return found


def _may_share(one: object, other: object) -> bool:
    """Whether a change of one value can be a change of the other."""
    if one is other:
        return can_change(one)
    if not (can_change(one) and can_change(other)):
        return False
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(one, numpy.ndarray) and isinstance(other, numpy.ndarray):
        return bool(numpy.may_share_memory(one, other))
    if pandas is not None and _copies_on_write(pandas):
        frames = (pandas.DataFrame, pandas.Series)
        return not (isinstance(one, frames) and isinstance(other, frames))
    return True


def _copies_on_write(pandas: types.ModuleType) -> bool:
    return int(str(getattr(pandas, "__version__", "0")).partition(".")[0] or 0) >= 3  # noqa: PLR2004
