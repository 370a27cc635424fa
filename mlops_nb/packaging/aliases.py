"""Which values reach one mutable object, so that a change through one shows in the other.

Each value is walked once. Memory is compared by address, so a view of an array, a column's
block and a tensor over the same bytes are seen as one. Blocks that two frames share under
pandas' copy-on-write are no alias: pandas copies before it writes.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import functools
import gc
import itertools
import logging
import pathlib
import re
import sys
import types
import uuid
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_nb.packaging.code import is_importable
from mlops_nb.packaging.fitting import Unfit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_LEAVES: frozenset[type] = frozenset(
    {
        *(str, bytes, int, float, complex, bool, type(None), type(Ellipsis), range, slice),
        *(dt.date, dt.datetime, dt.time, dt.timedelta, dt.timezone),
        *(decimal.Decimal, fractions.Fraction, uuid.UUID, re.Pattern, type(NotImplemented)),
        *(pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path())),
        *(types.ModuleType, types.CodeType, types.GetSetDescriptorType),
        *(types.MemberDescriptorType, types.WrapperDescriptorType, types.MethodDescriptorType),
        *(types.ClassMethodDescriptorType, logging.Logger),
        *(types.GenericAlias, weakref.ref, logging.RootLogger),
    }
)
# What cannot be changed itself, but may hold what can.
_SEE_THROUGH: frozenset[type] = frozenset(
    {
        *(tuple, frozenset, types.MethodType, functools.partial, property, staticmethod),
        *(types.BuiltinFunctionType, types.MethodWrapperType),
        *(classmethod, types.MappingProxyType, type({}.keys()), type({}.values())),
        type({}.items()),
    }
)
_IMMUTABLE_LIBRARIES = frozenset({"zoneinfo", "pyarrow", "_sre", "pytz", "dateutil"})


@dataclass(slots=True)
class Memory:
    """Bytes that a value reaches.

    Attributes
    ----------
    start, stop
        Addresses.
    owner
        The array, tensor or extension array, kept so that the address is not given away.
    tracked_by
        What pandas counts the users of a block with; None for memory outside pandas.
    """

    start: int
    stop: int
    owner: Any
    tracked_by: object = None


@dataclass(slots=True)
class Reach:
    """What one value reaches.

    Attributes
    ----------
    objects
        Mutable objects by id, each kept alive.
    memory
        Arrays and the like that can be written to.
    met
        How many objects were looked at.
    is_own
        Whether a function or class of the notebook is reached.
    has_met_skipped
        Whether one of the objects is reached that are not looked into.
    """

    objects: dict[int, Any] = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)
    met: int = 0
    is_own: bool = False
    has_met_skipped: bool = False


def shares(
    values: Mapping[str, object], *, skip: Collection[object] = ()
) -> tuple[tuple[str, str], ...]:
    """Find the pairs of names that reach one mutable object.

    Parameters
    ----------
    values
        By name.
    skip
        Objects that are not looked into, as the namespace, which reaches everything.

    Returns
    -------
    tuple of (str, str)
        In the order of the names; a name is never paired with itself.

    Examples
    --------
    >>> rows = [1, 2]
    >>> shares({"rows": rows, "table": {"rows": rows}, "count": 2})
    (('rows', 'table'),)
    """
    reached = {name: reach_of(value, skip=skip) for name, value in values.items()}
    found = set(_object_pairs(reached))
    found |= set(_memory_pairs(reached))
    order = {name: place for place, name in enumerate(values)}
    pairs = {tuple(sorted(pair, key=order.__getitem__)) for pair in found}
    return tuple(sorted(pairs, key=lambda pair: (order[pair[0]], order[pair[1]])))  # type: ignore[arg-type]


def views_in(reach: Reach) -> dict[int, Any]:
    """Find the arrays whose memory is shared inside of one graph.

    Returns
    -------
    dict
        Id of each such array, to the array that owns its memory.

    Raises
    ------
    Unfit
        They share it in a way that no pickle keeps: through a tensor, or through frames that
        copy before they write.
    """
    spans = sorted(reach.memory, key=lambda one: (one.start, one.stop))
    found: dict[int, Any] = {}
    open_: list[Memory] = []
    for one in spans:
        open_ = [other for other in open_ if other.stop > one.start]
        for other in open_:
            if other.owner is not one.owner and overlap(other, one):
                found |= _owned(other, one)
        open_.append(one)
    _check_frames(spans, found)
    return found


def _owned(*pair: Memory) -> dict[int, Any]:
    numpy = sys.modules.get("numpy")
    owners = {}
    for one in pair:
        if numpy is None or not isinstance(one.owner, numpy.ndarray):
            raise Unfit("it shares memory between an array and something that is none")
        root = one.owner
        while isinstance(root.base, numpy.ndarray):
            root = root.base
        owners[id(one.owner)] = root
    if len({id(root) for root in owners.values()}) > 1:
        raise Unfit("it shares memory that nobody owns as a whole")
    return owners


def _check_frames(spans: list[Memory], found: Mapping[int, Any]) -> None:
    """Refuse blocks that a frame shares with an array and, until it writes, with other frames."""
    users: dict[int, set[int]] = {}
    for one in spans:
        if one.tracked_by is not None and id(one.owner) in found:
            users.setdefault(id(one.tracked_by), set()).add(id(one.owner))
    if any(len(blocks) > 1 for blocks in users.values()):
        raise Unfit("frames that share columns also share them with an array")


def reach_of(value: object, *, skip: Collection[object] = ()) -> Reach:
    """Walk one value."""
    walk = _Walk(skip)
    walk.follow(value)
    return walk.reach


def _object_pairs(reached: Mapping[str, Reach]) -> Iterator[tuple[str, str]]:
    """Look for ids that were met before; most never are, and cost next to nothing."""
    met: set[int] = set()
    twice: set[int] = set()
    for reach in reached.values():
        keys = reach.objects.keys()
        twice |= met & keys
        met |= keys
    for key in twice:
        names = [name for name, reach in reached.items() if key in reach.objects]
        yield from itertools.combinations(names, 2)


def _memory_pairs(reached: Mapping[str, Reach]) -> Iterator[tuple[str, str]]:
    """Sweep over all memory by address, and compare what lies over each other."""
    spans = [
        (one.start, one.stop, name, one) for name, reach in reached.items() for one in reach.memory
    ]
    spans.sort(key=lambda span: span[:2])
    open_: list[tuple[int, int, str, Memory]] = []
    for span in spans:
        open_ = [other for other in open_ if other[1] > span[0]]
        for other in open_:
            if other[2] != span[2] and overlap(other[3], span[3]):
                yield other[2], span[2]
        open_.append(span)


def overlap(one: Memory, other: Memory) -> bool:
    """Tell whether a change of one piece of memory would show in the other."""
    if one.tracked_by is not None and one.tracked_by is other.tracked_by:
        return False  # pandas copies before it writes
    if one.owner is other.owner:
        return True
    numpy = sys.modules.get("numpy")
    arrays = numpy is not None and all(isinstance(m.owner, numpy.ndarray) for m in (one, other))
    if not arrays:
        return True
    try:
        return bool(numpy.shares_memory(one.owner, other.owner, max_work=10_000))  # type: ignore[union-attr]
    except numpy.exceptions.TooHardError:  # type: ignore[union-attr]
        return True


class _Walk:
    """One walk over one value, without recursion: a list may be nested a million deep."""

    def __init__(self, skip: Collection[object]) -> None:
        self.reach = Reach()
        self._skipped = {id(one) for one in skip}
        self._seen: set[int] = set()
        self._todo: list[Any] = []
        self._visits: dict[type, Callable[[Any], None]] = {}

    def follow(self, value: object) -> None:
        todo, seen, skipped = self._todo, self._seen, self._skipped
        objects, visits, are_leaves = self.reach.objects, self._visits, _LEAVES.issuperset
        todo.append(value)
        while todo:
            one = todo.pop()
            cls = type(one)
            if cls in _LEAVES:
                continue
            key = id(one)
            if key in seen:
                continue
            seen.add(key)
            if key in skipped:
                self.reach.has_met_skipped = True
            elif cls is list:
                objects[key] = one
                if not are_leaves(map(type, one)):
                    todo.extend(one)
            elif cls is dict:
                objects[key] = one
                if not are_leaves(map(type, one)):
                    todo.extend(one)
                if not are_leaves(map(type, one.values())):
                    todo.extend(one.values())
            else:
                (visits.get(cls) or self._visit_of(cls))(one)
        self.reach.met = len(seen - skipped)

    def _visit_of(self, cls: type) -> Callable[[Any], None]:
        if not is_importable(cls) and cls.__module__ != "builtins":
            self.reach.is_own = True
        self._visits[cls] = visit = getattr(self, f"_{_kind_of(cls)}")
        return visit  # type: ignore[no-any-return]

    def _push(self, values: Any) -> None:
        """Go on with what is not a leaf; most large containers hold nothing but leaves."""
        if not _LEAVES.issuperset(map(type, values)):
            self._todo.extend(values)

    def _mutable(self, one: object) -> None:
        self.reach.objects[id(one)] = one

    def _leaf(self, one: object) -> None:
        if isinstance(one, type) and not is_importable(one):
            self.reach.is_own = True

    def _through(self, one: object) -> None:
        inner = one if type(one) in {tuple, frozenset} else gc.get_referents(one)
        self._push(inner)

    def _fields(self, one: object) -> None:
        self._push([part for part in gc.get_referents(one) if not isinstance(part, type)])

    def _object(self, one: object) -> None:
        self._mutable(one)
        # An instance's attributes lie in a dict of its own that nobody else can reach, mostly.
        self._push([part for part in gc.get_referents(one) if not isinstance(part, type)])

    def _function(self, one: types.FunctionType) -> None:
        if one.__dict__:
            self._mutable(one)
        self.reach.is_own = self.reach.is_own or not is_importable(one)
        parts = [*(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values()]
        parts += [*one.__dict__.values(), *(one.__closure__ or ())]
        self._push(parts)

    def _cell(self, one: types.CellType) -> None:
        self._mutable(one)
        try:
            self._todo.append(one.cell_contents)
        except ValueError:  # still empty
            return

    def _bytes(self, one: object) -> None:
        self._mutable(one)

    def _array(self, one: Any) -> None:
        if one.dtype.hasobject:
            self._push(one.ravel().tolist() if one.dtype.names is None else gc.get_referents(one))
        if one.size:
            self._remember_array(one, None)
        self._keep_attributes(one)

    def _remember_array(self, one: Any, tracked_by: object) -> None:
        from numpy.lib.array_utils import byte_bounds

        start, stop = byte_bounds(one)
        self.reach.memory.append(Memory(start, stop, one, tracked_by))

    def _keep_attributes(self, one: Any) -> None:
        attributes = getattr(one, "__dict__", None)
        if attributes:
            self._push(list(attributes.values()))

    def _frame(self, one: Any) -> None:
        self._mutable(one)
        manager = one._mgr  # noqa: SLF001  # blocks and who shares them are not public
        for block in manager.blocks:
            self._block(block)
        self._todo.append(one.attrs)
        if type(one).__module__.partition(".")[0] != "pandas":
            extra = {name: value for name, value in vars(one).items() if name != "_mgr"}
            self._push(list(extra.values()))

    def _groups(self, one: Any) -> None:
        # What pandas has made of the frame to group it is nobody else's.
        self._mutable(one)
        self._todo.append(one.obj)

    def _block(self, block: Any) -> None:
        import numpy as np

        values, tracked_by = block.values, block.refs if _copies_on_write() else None
        if not isinstance(values, np.ndarray):
            inner = _inner_array(values)
            if inner is None:
                self.reach.memory.append(Memory(id(values), id(values) + 1, values, tracked_by))
                return
            values = inner
        if values.dtype.hasobject:
            self._push(values.ravel().tolist())
        if values.size:
            self._remember_array(values, tracked_by)

    def _extension(self, one: Any) -> None:
        inner = _inner_array(one)
        if inner is None:
            self.reach.memory.append(Memory(id(one), id(one) + 1, one))
        elif inner.size:
            self._remember_array(inner, None)

    def _tensor(self, one: Any) -> None:
        if one.device.type == "cpu" and one.layout == sys.modules["torch"].strided:
            storage = one.untyped_storage()
            start = storage.data_ptr()
            if storage.nbytes():
                self.reach.memory.append(Memory(start, start + storage.nbytes(), storage))
        else:
            self._mutable(one)
        self._todo.append(one.grad if one.is_leaf else None)
        self._keep_attributes(one)


def _inner_array(values: Any) -> Any:
    """Return the memory of an extension array, None if it has none that can be written to."""
    import numpy as np

    for name in ("_ndarray", "_data", "_sparse_values"):
        inner = getattr(values, name, None)
        if isinstance(inner, np.ndarray):
            return inner
    return None


def _copies_on_write() -> bool:
    pandas = sys.modules["pandas"]
    if int(pandas.__version__.partition(".")[0]) > 2:  # noqa: PLR2004  # from 3 on, always
        return True
    return bool(pandas.options.mode.copy_on_write is True)


def _kind_of(cls: type) -> str:
    """Say how to look into values of a class."""
    if cls in _SEE_THROUGH or issubclass(cls, enum.Enum):
        return "through" if cls in _SEE_THROUGH else "leaf"
    if issubclass(cls, type | types.ModuleType):
        return "leaf"
    if cls is types.FunctionType:
        return "function"
    if cls is types.CellType:
        return "cell"
    library = library_of(cls)
    if library in _IMMUTABLE_LIBRARIES or (issubclass(cls, tuple) and "_fields" in vars(cls)):
        return "leaf" if library in _IMMUTABLE_LIBRARIES else "fields"
    return _kind_in_library(cls)


def library_of(cls: type) -> str:
    """Name the library of a class."""
    return cls.__module__.partition(".")[0]


_BY_LIBRARY: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("numpy", ("ndarray",), "array"),
    ("numpy", ("generic", "dtype"), "leaf"),
    ("pandas", ("DataFrame", "Series"), "frame"),
    ("pandas", ("Index", "Timestamp", "Timedelta", "Period", "Interval", "DateOffset"), "leaf"),
    ("pandas.api.extensions", ("ExtensionArray",), "extension"),
    ("pandas.api.extensions", ("ExtensionDtype",), "leaf"),
    ("torch", ("Tensor",), "tensor"),
    ("torch", ("dtype", "device"), "leaf"),
)


def _kind_in_library(cls: type) -> str:
    for library, names, kind in _BY_LIBRARY:
        module: Any = sys.modules.get(library)
        bases = [getattr(module, name, None) for name in names] if module is not None else []
        if any(isinstance(base, type) and issubclass(cls, base) for base in bases):
            return kind
    if library_of(cls) == "pandas" and isinstance(getattr(cls, "ngroups", None), property):
        return "groups"
    parameters = cls.__dict__.get("__dataclass_params__")
    if parameters is not None and getattr(parameters, "frozen", False):
        return "fields"
    return "object"


__all__ = ["Memory", "Reach", "overlap", "reach_of", "shares", "views_in"]
