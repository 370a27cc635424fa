"""How the graphs of `pickling` are built again; files name the functions here, so they stay.

Nothing is loaded here before the caller has checked its signature.
"""

from __future__ import annotations

import collections
import functools
import mmap
import pickle
import threading
import types
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloudpickle import cloudpickle as by_value

from mlops_nb.packaging.code import class_code, code_digest, put_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(slots=True)
class _Loading:
    """What is known while one graph is read."""

    namespace: dict[str, Any]
    reused: set[int] = field(default_factory=set)


class _Thread(threading.local):
    loading: _Loading | None = None


_thread = _Thread()


@contextmanager
def _loading_into(namespace: dict[str, Any]) -> Iterator[_Loading]:
    before, _thread.loading = _thread.loading, _Loading(namespace)
    try:
        yield _thread.loading
    finally:
        _thread.loading = before


def _current() -> _Loading:
    return _thread.loading or _Loading({})


class Unpickler(pickle.Unpickler):
    """Reads one graph into a namespace."""

    def __init__(self, file: Any, namespace: dict[str, Any], buffers: Any) -> None:
        super().__init__(file, buffers=buffers)
        self._namespace = namespace

    def persistent_load(self, pid: Any) -> object:
        """Find what this process has of its own."""
        kind, *rest = pid
        if kind == "namespace":
            return self._namespace
        if kind == "shell":
            return self._namespace["get_ipython"].__self__
        from importlib import import_module

        return getattr(import_module(rest[0]), rest[1])

    def find_class(self, module: str, name: str) -> Any:
        """Find what stands under a name; what belongs to the notebook, in its namespace."""
        if module != "__main__":
            return super().find_class(module, name)
        first, *rest = name.split(".")
        if first not in self._namespace:
            raise pickle.UnpicklingError(f"the notebook has no {first} here")
        found = self._namespace[first]
        for part in rest:
            found = getattr(found, part)
        return found


def make_function(
    code: types.CodeType,
    globals_: Any,
    name: str,
    closure: Any,
    own_name: str,
    digest: str,
    origin: str = "",
) -> Any:
    """Build a function, or take the one of the same code that stands in the namespace.

    One that was built from the same definition before, maybe for another unit, is that one.
    """
    loading = _current()
    known = _built.get((id(globals_), origin)) if origin else None
    if known is not None:
        loading.reused.add(id(known))
        return known
    if own_name:
        found: Any = loading.namespace.get(own_name)
        is_same = type(found) is types.FunctionType and code_digest(found.__code__) == digest
        if is_same and not found.__closure__ and not found.__dict__:
            loading.reused.add(id(found))
            return found
    globals_.setdefault("__builtins__", __builtins__)
    function = types.FunctionType(code, globals_, name, None, closure)
    if origin:
        _built[id(globals_), origin] = function
    return function


_built: weakref.WeakValueDictionary[tuple[int, str], types.FunctionType] = (
    weakref.WeakValueDictionary()
)
"""Functions without state, by the namespace they belong to and where they were defined."""


def set_function(function: Any, state: Any) -> None:
    """Give a function its attributes, and its text to who asks for it."""
    if id(function) in _current().reused:
        return
    attributes, slots, written = state
    function.__dict__.update(attributes)
    slots = dict(slots)
    slots.pop("_cloudpickle_submodules", None)
    function.__globals__.update(slots.pop("__globals__"))
    for name, value in slots.items():
        setattr(function, name, value)
    if written:
        put_text(*written)


def make_class(name: str, digest: str, is_value: bool, make: Any, arguments: Any) -> Any:
    """Build a class without its content, or take the one of the same code in the namespace."""
    loading = _current()
    found = loading.namespace.get(name) if name else None
    if isinstance(found, type) and class_code(found) == digest:
        if not is_value:
            loading.reused.add(id(found))
        return found
    *before, tracker, extra = arguments
    key = (id(loading.namespace), tracker)
    if key not in _made:
        made = make(*before, None, extra)
        # It keeps its name for other processes, if it is written again.
        by_value._DYNAMIC_CLASS_TRACKER_BY_CLASS[made] = tracker  # noqa: SLF001
        _made[key] = (made, loading.namespace)
    return _made[key][0]


_made: dict[tuple[int, str], tuple[Any, object]] = {}
"""Classes that came by value: by namespace and by the name that cloudpickle gave them."""


def set_class(cls: Any, state: Any) -> None:
    """Give a class its content; one that stood there already keeps its own."""
    if id(cls) in _current().reused:
        return
    current = vars(cls)
    content = {name: one for name, one in state[0].items() if not _is_set(current, name, one)}
    by_value._class_setstate(cls, (content, state[1]))  # noqa: SLF001


def _is_set(current: Mapping[str, object], name: str, value: object) -> bool:
    """Tell whether a class that was there has a method already; its data it takes over."""
    have = current.get(name)
    return isinstance(have, types.FunctionType) and isinstance(value, types.FunctionType)


def make_view(
    root: Any,
    offset: int,
    shape: Any,
    strides: Any,
    dtype: Any,
    is_writeable: bool,
) -> Any:
    """Lay an array over the memory of another one."""
    import numpy as np

    flat = root if root.flags.c_contiguous else root.T
    view = np.ndarray(shape, dtype, flat, offset, strides)
    view.flags.writeable = is_writeable
    return view


def make_tensor(
    memory: Any,
    dtype: str,
    offset: int,
    shape: Any,
    stride: Any,
    requires_grad: bool,
    is_parameter: bool,
) -> Any:
    """Lay a tensor over memory, which all tensors that shared it share again."""
    import torch

    kind = getattr(torch, dtype)
    storage = torch.from_numpy(memory).untyped_storage()
    tensor = torch.empty(0, dtype=kind).set_(storage, offset, shape, stride)
    if is_parameter:
        return torch.nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_(requires_grad)


def set_tensor(tensor: Any, state: Any) -> None:
    """Give a tensor its gradient and attributes."""
    gradient, attributes = state
    tensor.grad = gradient
    if attributes:
        vars(tensor).update(attributes)


def make_named_tuple(
    name: str, module: str, path: str, fields: Any, defaults: Any, _tracker: None, _extra: None
) -> Any:
    """Build a class of named tuples."""
    make: Any = collections.namedtuple  # noqa: PYI024
    found = make(name, fields, rename=True, defaults=defaults, module=module)
    found.__qualname__ = path
    return found


def make_cached_property(function: Any, name: str | None) -> Any:
    """Build a property that is computed once."""
    found = functools.cached_property(function)
    found.attrname = name
    return found


def make_dispatcher(default: Any, kinds: Mapping[type, Any]) -> Any:
    """Build a function that chooses by the type of its first argument."""
    found = functools.singledispatch(default)
    for kind, function in kinds.items():
        found.register(kind, function)
    return found


def make_cached(function: Any, maxsize: int | None, typed: bool) -> Any:
    """Build a function with an empty cache."""
    return functools.lru_cache(maxsize, typed)(function)


def set_attributes(value: Any, attributes: Mapping[str, object]) -> None:
    """Give an object what its dict held."""
    vars(value).update(attributes)


def set_cell(cell: types.CellType, contents: Any) -> None:
    """Fill a cell."""
    (cell.cell_contents,) = contents


def make_dict_view(owner: dict[Any, Any], kind: str) -> Any:
    """Look at a dict again."""
    return getattr(owner, kind)()


def load(
    path: Path, buffers_path: Path, places: list[tuple[int, int]], namespace: dict[str, Any]
) -> object:
    """Read a graph; its large arrays are mapped, and copied page by page when written to."""
    buffers: list[memoryview] = []
    if places:
        with buffers_path.open("rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        buffers = [whole[start : start + size] for start, size in places]
    with path.open("rb") as file, _loading_into(namespace):
        return Unpickler(file, namespace, buffers).load()


__all__ = ["Unpickler", "load"]
