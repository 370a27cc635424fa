"""Where the content of a value lies in memory.

A value has a `Layout` where all of its content is in plain buffers: then two equal layouts with
the same bytes in the buffers are the same content. Objects, subclasses and everything that is
not known have none. No code of a user's class is run.
"""

from __future__ import annotations

import sys
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb.fingerprint.pages import is_private
from mlops_nb.fingerprint.plain import attribute_of, class_module, class_path, is_real
from mlops_nb.fingerprint.scheme import FAILURES
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Region: TypeAlias = tuple[int, int]
"""A first address and a size in bytes."""

_MOST_LABELS = 100_000
_FEW_LABELS = 500
_SHORT_TEXTS_BYTES = 65_536
_OBJECTS_AT_ONCE = 4_096
_MOST_REGIONS = 4_096
_MOST_ARROWS = 4_096
_PLAIN_LABELS = (str, int, bool, float, bytes, type(None))


@record
class Layout:
    """Where content lies, and everything about it that is not in the buffers.

    Attributes
    ----------
    skeleton
        Shapes, types, labels, addresses: equal as long as nothing of it changed.
    buffers
        All memory that is read to know the content.
    has_objects
        Whether some buffers hold addresses of Python objects. Then they are the content only
        if no object behind them can change.
    """

    skeleton: tuple[object, ...]
    buffers: tuple[Region, ...]
    has_objects: bool


class _UnknownLayoutError(Exception):
    """Some content is not in plain buffers."""


# Reading the layout of a broken or just then changing object must not fail.
_NO_LAYOUT = (*FAILURES, _UnknownLayoutError)


def layout_of(value: object) -> Layout | None:
    """Find the layout of an array, table, frame, series, tensor or sparse matrix.

    Returns
    -------
    Layout or None
        None for a value that is not, or not only, in plain buffers.

    Examples
    --------
    >>> import numpy as np
    >>> array = np.zeros(10)
    >>> layout_of(array) == layout_of(array), layout_of(array) == layout_of(array.copy())
    (True, False)
    >>> layout_of([1, 2]) is None
    True
    """
    draft = _Draft()
    try:
        draft.add(value)
    except _NO_LAYOUT:
        return None
    buffers = tuple(dict.fromkeys(region for region in draft.buffers if region[1]))
    if len(buffers) > _MOST_REGIONS:
        return None
    return Layout(tuple(draft.skeleton), buffers, draft.has_objects)


def buffers_of(value: object) -> list[Region] | None:
    """Find the memory that holds all of a value's content.

    Returns
    -------
    list or None
        Address and size of each buffer; None where some content is elsewhere, as that of a
        column of Python objects.

    Examples
    --------
    >>> import numpy as np
    >>> array = np.zeros(10)
    >>> buffers_of(array) == [(array.ctypes.data, 80)]
    True
    """
    layout = layout_of(value)
    return None if layout is None or layout.has_objects else list(layout.buffers)


def shared_memory(value: object) -> list[Region]:
    """Find the memory that can be reached through a value, as far as it can be told.

    A view reaches all of the array that it is a view of.
    """
    draft = _Draft(is_lenient=True)
    library = class_module(type(value)).partition(".")[0]
    with suppress(*_NO_LAYOUT):
        draft.add(_as_array(value) if library == "numpy" else value)
    region = exported_memory(value)
    return [*draft.buffers, *([region] if region else [])]


def _as_array(value: Any) -> Any:
    import numpy as np

    # The base class's own view: nothing that a subclass overrides is called.
    return np.ndarray.view(value, np.ndarray) if issubclass(type(value), np.ndarray) else value


def holds_only_atoms(value: object, step: Callable[[], None]) -> bool:
    """Tell whether all objects of an array or a frame are of classes that cannot change.

    Parameters
    ----------
    value
        A value with a layout.
    step
        Called after some thousand objects, to give way.

    Examples
    --------
    >>> import numpy as np
    >>> holds_only_atoms(np.array(["a", 1, None], object), lambda: None)
    True
    >>> holds_only_atoms(np.array([[1], None], object), lambda: None)
    False
    """
    draft = _Draft()
    try:
        draft.add(value)
    except _NO_LAYOUT:
        return False
    atoms = _atoms()
    for array in draft.objects:
        flat = (array.T if array.flags.f_contiguous else array).reshape(-1)
        for start in range(0, len(flat), _OBJECTS_AT_ONCE):
            # By identity, as even the hash of a class can be somebody's code.
            if not atoms.issuperset(map(id, map(type, flat[start : start + _OBJECTS_AT_ONCE]))):
                return False
            step()
    return True


def _atoms() -> set[int]:
    classes: list[object] = [str, int, float, bool, bytes, complex, type(None)]
    for module, names in _ATOMS_ELSEWHERE.items():
        classes += [attribute_of(f"{module}.{name}") for name in names]
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        classes += [type(pandas.NaT), type(pandas.NA), pandas.Timestamp, pandas.Timedelta]
    return {id(cls) for cls in classes if cls is not None}


_ATOMS_ELSEWHERE = {
    "datetime": ("date", "datetime", "time", "timedelta"),
    "decimal": ("Decimal",),
}


def is_shared(value: object) -> bool:
    """Tell whether others than this process may write to a value's memory.

    Examples
    --------
    >>> import mmap
    >>> import numpy as np
    >>> is_shared(np.zeros(10)), is_shared(np.frombuffer(mmap.mmap(-1, 80)))
    (False, True)
    """
    regions = shared_memory(value)
    found = is_private(regions)
    if found is None:
        return any(_is_mapped(one) for one in _roots(value))
    return not found


def _roots(value: Any) -> list[object]:
    """Return what arrays are views of in the end, of an array or the blocks of a frame."""
    arrays = [value]
    if class_module(type(value)).partition(".")[0] == "pandas" and is_real(type(value)):
        arrays = [block.values for block in value._mgr.blocks]  # noqa: SLF001
    roots = []
    for array in arrays:
        root = array
        while class_module(type(root)).partition(".")[0] == "numpy" and root.base is not None:
            root = root.base
        roots.append(root.obj if type(root) is memoryview else root)
    return roots


def _is_mapped(root: object) -> bool:
    return class_module(type(root)) in {"mmap", "multiprocessing.shared_memory"}


@dataclass(slots=True)
class _Draft:
    """A layout while it is made; a lenient one takes what it can get, and all of its bases."""

    is_lenient: bool = False
    skeleton: list[object] = field(default_factory=list)
    buffers: list[Region] = field(default_factory=list)
    has_objects: bool = False
    objects: list[Any] = field(default_factory=list)

    def add(self, value: object) -> None:
        cls = type(value)
        library = class_module(cls).partition(".")[0]
        read = _READERS.get(library)
        if read is None or library not in sys.modules or not is_real(cls):
            raise _UnknownLayoutError
        self.skeleton.append(class_path(cls))
        read(self, value)

    def add_array(self, array: Any) -> None:
        """Add a true NumPy array."""
        import numpy as np

        if type(array) is not np.ndarray:
            raise _UnknownLayoutError
        dtype = array.dtype
        if dtype.kind == "O":
            self.has_objects = True
            self.objects.append(array)
        elif self.is_lenient:
            pass
        elif dtype.hasobject or dtype.kind not in "biufcmMSUV":
            raise _UnknownLayoutError
        address, shape, strides = array.__array_interface__["data"][0], array.shape, array.strides
        self.skeleton += (address, shape, strides, str(dtype), dtype.metadata is None)
        self.buffers.append(_extent(address, shape, strides, dtype.itemsize))
        if self.is_lenient:
            self._add_bases(array)

    def _add_bases(self, array: Any) -> None:
        import numpy as np

        base = array.base
        while isinstance(base, np.ndarray):
            view = np.ndarray.view(base, np.ndarray)
            at = view.__array_interface__["data"][0]
            self.buffers.append(_extent(at, view.shape, view.strides, view.itemsize))
            base = base.base
        region = None if base is None else exported_memory(base)
        if region:
            self.buffers.append(region)

    def add_labels(self, labels: Iterable[object]) -> None:
        """Add names, which the skeleton holds by themselves."""
        for label in labels:
            if not all(map(_is_plain, label if type(label) is tuple else (label,))):
                raise _UnknownLayoutError
            # With its type, because 1 == True; NaN would differ from itself.
            self.skeleton.append((type(label).__name__, repr(label)))


def _is_plain(label: object) -> bool:
    cls = type(label)
    if any(cls is one for one in _PLAIN_LABELS):
        return True
    return class_module(cls).partition(".")[0] in {"numpy", "pandas"} and is_real(cls)


def _extent(
    address: int, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int
) -> Region:
    if 0 in shape:
        return address, 0
    steps = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
    low = sum(step for step in steps if step < 0)
    high = sum(step for step in steps if step > 0)
    return address + low, high - low + itemsize


def exported_memory(value: object) -> Region | None:
    """Return the memory of an object that lends it as a buffer, None for any other."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not _lends(type(value)):
        return None
    try:
        octets = numpy.frombuffer(value, numpy.uint8)
    except FAILURES:
        return None
    return octets.__array_interface__["data"][0], octets.nbytes


def _lends(cls: type) -> bool:
    if cls is bytearray or cls is memoryview:
        return True
    others = [attribute_of(name) for name in ("array.array", "mmap.mmap", "pyarrow.lib.Buffer")]
    base = attribute_of("_ctypes.Array")
    return any(cls is other for other in others) or (
        isinstance(base, type) and issubclass(cls, base)
    )


# --- pandas -----------------------------------------------------------------------------------


def _pandas(draft: _Draft, value: Any) -> None:
    import pandas as pd

    if isinstance(value, pd.DataFrame | pd.Series):
        manager = object.__getattribute__(value, "_mgr")
        for block in manager.blocks:
            # In a series the places are its rows.
            if isinstance(value, pd.DataFrame):
                draft.skeleton.append(tuple(block.mgr_locs.as_array.tolist()))
            with suppress(*_NO_LAYOUT if draft.is_lenient else ()):
                _pandas_values(draft, block.values)
        index = manager.axes[-1]
        if isinstance(value, pd.DataFrame):
            names = manager.axes[0]
            if len(names) > _MOST_LABELS:
                raise _UnknownLayoutError
            draft.add_labels(names.names)
            draft.add_labels(names.tolist())
        else:
            draft.add_labels([object.__getattribute__(value, "_name")])
        _index(draft, index)
    elif isinstance(value, pd.Index):
        _index(draft, value)
    else:
        _pandas_values(draft, value)


def _index(draft: _Draft, index: Any) -> None:
    import pandas as pd

    if not is_real(type(index)):
        raise _UnknownLayoutError
    draft.skeleton.append(class_path(type(index)))
    draft.add_labels(index.names)
    if len(index) <= _FEW_LABELS and not isinstance(index, pd.RangeIndex | pd.MultiIndex):
        # As categories or levels: too little memory to be watched, and nobody writes there.
        draft.skeleton.append(str(index.dtype))
        draft.add_labels(index.tolist())
    elif isinstance(index, pd.MultiIndex):
        for codes, level in zip(index.codes, index.levels, strict=True):
            draft.add_array(codes)
            _index(draft, level)
    elif isinstance(index, pd.RangeIndex):
        draft.skeleton.append((index.start, index.stop, index.step))
    else:
        _pandas_values(draft, index.array)


def _pandas_values(draft: _Draft, values: Any) -> None:
    """Add a block's values: an array, or one of pandas' own arrays of it."""
    cls = type(values)
    if class_module(cls) == "numpy":
        draft.add_array(values)
        return
    if class_module(cls).partition(".")[0] != "pandas" or not is_real(cls):
        raise _UnknownLayoutError
    name = cls.__name__
    draft.skeleton.append(name)
    if name == "Categorical":
        draft.skeleton.append(values.ordered)
        draft.add_array(values.codes if values._ndarray is None else values._ndarray)  # noqa: SLF001
        _index(draft, values.categories)
    elif hasattr(values, "_pa_array"):
        draft.skeleton.append(str(values.dtype))
        _arrow(draft, values._pa_array)  # noqa: SLF001
    elif name in {"IntegerArray", "FloatingArray", "BooleanArray"}:
        draft.add_array(values._data)  # noqa: SLF001
        draft.add_array(values._mask)  # noqa: SLF001
    elif name == "IntervalArray":
        draft.skeleton.append(values.closed)
        for side in (values.left, values.right):
            _index(draft, side)
    elif name == "SparseArray":
        _sparse_values(draft, values)
    elif hasattr(values, "_ndarray"):
        draft.skeleton.append(str(values.dtype))
        draft.add_array(values._ndarray)  # noqa: SLF001
    else:
        raise _UnknownLayoutError


def _sparse_values(draft: _Draft, values: Any) -> None:
    index = values.sp_index
    draft.skeleton += (type(index).__name__, len(values), repr(values.fill_value))
    draft.add_array(values.sp_values)
    if type(index).__name__ == "BlockIndex":
        draft.add_array(index.blocs)
        draft.add_array(index.blengths)
    else:
        draft.add_array(index.indices)


# --- Arrow and Polars -------------------------------------------------------------------------


_arrows: dict[int, tuple[weakref.ref[Any], tuple[Region, ...]]] = {}


def _arrow(draft: _Draft, value: Any) -> None:
    """Add an Arrow value: the object cannot change, so it stands for where its buffers are."""
    key = id(value)
    known = _arrows.get(key)
    if known is None or known[0]() is not value:
        import pyarrow as pa

        found: list[Region] = []
        columns = value.columns if isinstance(value, pa.Table | pa.RecordBatch) else [value]
        for column in columns:
            chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
            for chunk in chunks:
                _arrow_buffers(chunk, found)
        if len(_arrows) > _MOST_ARROWS:
            _arrows.clear()
        known = _arrows[key] = (
            weakref.ref(value, lambda _: _arrows.pop(key, None)),
            tuple(found),
        )
    draft.skeleton.append(_Same(known[0]))
    draft.buffers += known[1]


def _arrow_buffers(array: Any, found: list[Region]) -> None:
    import pyarrow as pa

    array = getattr(array, "storage", array)
    # Texts are always Arrow's own memory, which does not change; numbers may be NumPy's.
    is_text = str(array.type) in {"string", "large_string", "binary", "large_binary"}
    for buffer in filter(None, array.buffers()):
        if not buffer.is_cpu:
            raise _UnknownLayoutError
        if not is_text or buffer.size >= _SHORT_TEXTS_BYTES:
            found.append((buffer.address, buffer.size))
    if isinstance(array, pa.DictionaryArray):
        _arrow_buffers(array.dictionary, found)
    if len(found) > _MOST_REGIONS:
        raise _UnknownLayoutError


class _Same:
    """Equal only to the same object, which is not kept alive."""

    __slots__ = ("_known",)

    def __init__(self, known: weakref.ref[Any]) -> None:
        self._known = known

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return NotImplemented
        own = self._known()
        return own is not None and own is other._known()

    def __hash__(self) -> int:
        return hash(_Same)


def _polars(draft: _Draft, value: Any) -> None:
    import polars as pl

    series = value.get_columns() if isinstance(value, pl.DataFrame) else [value]
    if not isinstance(value, pl.DataFrame | pl.Series):
        raise _UnknownLayoutError
    for one in series:
        if one.n_chunks() != 1 or one.dtype.is_nested() or one.dtype == pl.Object:
            raise _UnknownLayoutError
        draft.skeleton += (one.name, str(one.dtype), len(one))
        # Of categories the codes, as their texts are only ever added to.
        stored = one.to_physical()
        twice: list[list[Region]] = []
        for _ in range(2):
            twice.append([])
            _arrow_buffers(stored.to_arrow(compat_level=pl.CompatLevel.newest()), twice[-1])
        # Where the two lie apart, at least one is a copy.
        if twice[0] != twice[1]:
            raise _UnknownLayoutError
        draft.skeleton.append(tuple(twice[0]))
        draft.buffers += twice[0]


# --- the others -------------------------------------------------------------------------------


def _numpy(draft: _Draft, value: Any) -> None:
    draft.add_array(value)


def _torch(draft: _Draft, value: Any) -> None:
    torch = sys.modules["torch"]
    is_strided = value.layout is torch.strided and value.device.type == "cpu"
    if not is_strided or value.is_quantized or value.is_nested:
        raise _UnknownLayoutError
    storage = value.untyped_storage()
    region = storage.data_ptr(), storage.nbytes()
    draft.skeleton += (str(value.dtype), tuple(value.shape), value.stride(), value.requires_grad)
    draft.skeleton += (region, value.storage_offset(), value.is_conj(), value.is_neg())
    draft.buffers.append(region)


def _scipy(draft: _Draft, value: Any) -> None:
    names = _SPARSE_PARTS.get(getattr(value, "format", ""))
    if names is None:
        raise _UnknownLayoutError
    draft.skeleton.append(tuple(value.shape))
    for name in names:
        draft.add_array(getattr(value, name))


_SPARSE_PARTS = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "dia": ("data", "offsets"),
}

_READERS: dict[str, Callable[[_Draft, Any], None]] = {
    "numpy": _numpy,
    "pandas": _pandas,
    "polars": _polars,
    "pyarrow": _arrow,
    "scipy": _scipy,
    "torch": _torch,
}
