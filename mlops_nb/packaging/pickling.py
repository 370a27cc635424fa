"""Object graphs as pickles of protocol 5, with functions and classes of the notebook by value.

Their globals become the namespace of who reads them. What the reader has already is used instead
of a second one: a class of the same code under the same name, so that `isinstance` still holds.
Nothing is loaded here before the caller has checked its signature.
"""

from __future__ import annotations

import collections
import functools
import gc
import io
import mmap
import pickle
import sys
import types
import weakref
from typing import TYPE_CHECKING, Any

import cloudpickle
from cloudpickle import cloudpickle as by_value

from mlops_nb.packaging import building
from mlops_nb.packaging.ambient import ambient_names
from mlops_nb.packaging.code import class_code, code_digest, is_dispatcher, is_importable, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

OUT_OF_BAND_BYTES = 65_536
"""Buffers from this size on lie in a file of their own, which is mapped, not read."""

_ALIGNED = 64
_IMMUTABLE = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis))


class NotStorable(pickle.PicklingError):
    """An object would come back as something else; the text says why, as a clause.

    Attributes
    ----------
    value
        The object itself.
    """

    def __init__(self, why: str, value: object = None) -> None:
        super().__init__(why)
        self.value = value


# --- writing ----------------------------------------------------------------------------------


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes one graph.

    Parameters
    ----------
    namespace
        Of the notebook.
    definitions
        Names of it that stand as source where the graph is read.
    values
        The values themselves, as opposed to what they hold.
    views
        Arrays that share memory with others in the graph: id to the array that owns it.
    """

    def __init__(
        self,
        file: io.BufferedIOBase | Any,
        *,
        namespace: Mapping[str, object],
        definitions: Collection[str] = (),
        values: Collection[object] = (),
        views: Mapping[int, Any] | None = None,
        buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._namespace = namespace
        self._ambient = ambient_names(namespace)
        self._definitions = {
            id(namespace[name]): name for name in definitions if name in namespace
        }
        self._values = {id(value) for value in values}
        self._views = dict(views or {})
        self._roots: dict[int, Any] = {}
        self._storages: dict[int, Any] = {}
        self._memories: dict[int, Any] = {}
        self._origins: dict[str, int] = {}
        self._reducers = _reducers()

    def persistent_id(self, obj: object) -> tuple[str, ...] | None:
        """Name what each process has of its own."""
        return self._ambient.get(id(obj))

    def reducer_override(self, obj: Any) -> Any:
        """Say how to build what pickle, or cloudpickle, would build otherwise."""
        cls = type(obj)
        if cls is types.FunctionType:
            return NotImplemented if is_importable(obj) else self._function(obj)
        if issubclass(cls, type):
            return self._class(obj)
        if id(obj) in self._views:
            return self._view(obj)
        reducer = self._reducers.get(cls)
        if reducer is not None:
            return reducer(self, obj)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.Tensor):
            return self._tensor(obj, torch)
        return NotImplemented

    def _function(self, function: types.FunctionType) -> Any:
        if is_dispatcher(function):
            return self._dispatcher(function)
        code = function.__code__
        is_own = function.__globals__ is self._namespace
        state, slots = by_value._function_getstate(function)  # noqa: SLF001  # all its attributes
        slots.pop("__closure__")
        if is_own:
            slots["__globals__"] = {}
            globals_: Any = self._namespace
        else:
            globals_ = by_value.Pickler._function_getnewargs(self, function)[1]  # noqa: SLF001
        own_name = function.__name__ if is_own and self._is_plain(function) else ""
        text = text_of(code) if is_own else None
        written = (code.co_filename, code.co_firstlineno, text) if text else None
        arguments = (code, globals_, function.__name__, function.__closure__, own_name)
        return (
            building.make_function,
            (*arguments, code_digest(code) if own_name else "", self._origin(function)),
            (state, slots, written),
            None,
            None,
            building.set_function,
        )

    def _dispatcher(self, function: Any) -> Any:
        """Reduce what `functools.singledispatch` makes: its cache holds weak references."""
        kinds = dict(function.registry)
        default = kinds.pop(object)
        attributes = {
            name: one for name, one in vars(function).items() if name not in _OF_A_DISPATCHER
        }
        arguments = (default, kinds)
        return building.make_dispatcher, arguments, attributes, None, None, building.set_attributes

    def _is_plain(self, function: types.FunctionType) -> bool:
        """Tell whether any function of this text is as good: it is bound, and holds no state."""
        if self._namespace.get(function.__name__) is not function:
            return False
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        holds_none = not function.__closure__ and not function.__dict__
        is_simple = all(isinstance(one, _IMMUTABLE) for one in defaults)
        return holds_none and (is_simple or id(function) in self._definitions)

    def _origin(self, function: types.FunctionType) -> str:
        """Name the definition of a function without state: in other units it is the same object.

        Empty for others, and for a second function of one definition.
        """
        code = function.__code__
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        is_stateless = not (function.__closure__ or function.__dict__)
        is_simple = all(isinstance(one, _IMMUTABLE) for one in defaults)
        if function.__globals__ is not self._namespace or not (is_stateless and is_simple):
            return ""
        # The folder of a cell's file has the number of a process in its name.
        place = f"{code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}"
        origin = f"{place}:{function.__qualname__}:{code_digest(code)}:{defaults!r}"
        is_first = self._origins.setdefault(origin, id(function)) == id(function)
        is_named = function.__name__ != "<lambda>"
        return origin if is_first and is_named else ""

    def _class(self, cls: type) -> Any:
        reduced = by_value._class_reduce(cls)  # noqa: SLF001
        if reduced is NotImplemented or len(reduced) == 2:  # noqa: PLR2004  # it can be found
            return reduced
        make, arguments, state, *_ = reduced
        if cls.__bases__ == (tuple,) and "_fields" in vars(cls):
            make, arguments, state = _named_tuple(cls, arguments[-2])
        slots = vars(cls).get("__slots__")
        is_usual = make is by_value._make_skeleton_class  # noqa: SLF001
        if slots is not None and is_usual:
            # Made without them, an instance would take any attribute.
            kind, name, bases, content, tracker, extra = arguments
            content = {**content, "__slots__": slots}
            arguments = (kind, name, bases, content, tracker, extra)
        is_value = id(cls) in self._values
        name = cls.__qualname__ if self._namespace.get(cls.__qualname__) is cls else ""
        return (
            building.make_class,
            (name, class_code(cls), is_value, make, arguments),
            state,
            None,
            None,
            building.set_class,
        )

    def _view(self, array: Any) -> Any:
        owner = self._views[id(array)]
        if id(owner) not in self._roots:
            # Written through a twin with an id of its own: it would be its own view.
            self._roots[id(owner)] = (owner.view(_ndarray()), owner)
        root = self._roots[id(owner)][0]
        if not (root.flags.c_contiguous or root.flags.f_contiguous):
            raise NotStorable("it shares memory that lies in pieces with another value")
        offset = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        shape, strides, dtype = array.shape, array.strides, array.dtype
        if array.__class__ is not _ndarray():
            raise NotStorable("it shares memory with another value, and is no plain array")
        return building.make_view, (
            root,
            offset,
            shape,
            strides,
            dtype,
            bool(array.flags.writeable),
        )

    def _tensor(self, tensor: Any, torch: Any) -> Any:
        is_plain = type(tensor) in {torch.Tensor, torch.nn.Parameter}
        if not is_plain or tensor.device.type != "cpu" or tensor.layout != torch.strided:
            return NotImplemented
        if not tensor.is_leaf:
            raise NotStorable(
                "it is a tensor that still belongs to a computation; detach() it first", tensor
            )
        if tensor.is_quantized or tensor._backward_hooks or tensor.is_conj() or tensor.is_neg():  # noqa: SLF001
            return NotImplemented
        storage = tensor.untyped_storage()
        self._storages.setdefault(storage.data_ptr(), storage)
        bytes_ = self._storages[storage.data_ptr()]
        shape = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        attributes = dict(vars(tensor)) if vars(tensor) else None
        state = (tensor.grad, attributes)
        name = str(tensor.dtype).removeprefix("torch.")
        arguments = (_Storage(bytes_, self), name, *shape, tensor.requires_grad)
        is_parameter = type(tensor) is torch.nn.Parameter
        return (
            building.make_tensor,
            (*arguments, is_parameter),
            state,
            None,
            None,
            building.set_tensor,
        )

    def storage(self, one: Any) -> Any:
        """Give the one stand-in of a tensor's memory."""
        key = one.data_ptr()
        if key not in self._memories:
            self._memories[key] = _memory_of(one)
        return self._memories[key]


def _named_tuple(cls: Any, tracker: str) -> tuple[Any, ...]:
    """Say how to make a class of named tuples, which cannot be filled in afterwards."""
    made = vars(collections.namedtuple("made", cls._fields, rename=True))  # noqa: PYI024
    own = {"__doc__", "__annotations__", "__orig_bases__"}
    content = {name: one for name, one in vars(cls).items() if name not in made or name in own}
    defaults = tuple(cls._field_defaults.values())
    names = (cls.__name__, cls.__module__, cls.__qualname__)
    return building.make_named_tuple, (*names, cls._fields, defaults, tracker, None), (content, {})


def _ndarray() -> Any:
    from numpy import ndarray

    return ndarray


def _memory_of(storage: Any) -> Any:
    import torch

    if not storage.nbytes():
        from numpy import empty

        return empty(0, "u1")
    return torch.empty(0, dtype=torch.uint8).set_(storage).numpy()


def _Storage(storage: Any, pickler: Pickler) -> Any:  # noqa: N802  # reads as what it stands for
    return pickler.storage(storage)


def _refuse(why: str) -> Callable[[Pickler, Any], Any]:
    def refuse(_: Pickler, obj: Any) -> Any:
        raise NotStorable(why, obj)

    return refuse


def _cached(_: Pickler, obj: Any) -> Any:
    if is_importable(obj):
        return NotImplemented
    if obj.cache_info().currsize:
        raise NotStorable(
            "it holds results of earlier calls, which would be computed again; "
            "call its cache_clear() first",
            obj,
        )
    parameters = obj.cache_parameters()
    attributes = {name: one for name, one in vars(obj).items() if name != "__wrapped__"}
    arguments = (obj.__wrapped__, parameters["maxsize"], parameters["typed"])
    return building.make_cached, arguments, attributes, None, None, building.set_attributes


def _cell(_: Pickler, obj: types.CellType) -> Any:
    try:
        contents = (obj.cell_contents,)
    except ValueError:
        return types.CellType, ()
    # Its contents come after it, as they may hold the function that holds it.
    return types.CellType, (), contents, None, None, building.set_cell


def _dict_view(kind: str) -> Callable[[Pickler, Any], Any]:
    def reduce(_: Pickler, obj: Any) -> Any:
        (owner,) = [one for one in gc.get_referents(obj) if isinstance(one, dict)]
        return building.make_dict_view, (owner, kind)

    return reduce


def _frame(_: Pickler, obj: Any) -> Any:
    from mlops_nb.packaging.frames import extra_attribute

    name = extra_attribute(obj)
    if name:
        raise NotStorable(f"it has the attribute {name}, which pandas does not keep", obj)
    return NotImplemented


def _memmap(_: Pickler, obj: Any) -> Any:
    if getattr(obj, "mode", "r") in {"r+", "w+"}:
        raise NotStorable("what is written to it goes to its file", obj)
    return NotImplemented


def _reducers() -> dict[type, Callable[[Pickler, Any], Any]]:
    found: dict[type, Callable[[Pickler, Any], Any]] = {
        _LRU_CACHE: _cached,
        types.CellType: _cell,
        io.TextIOWrapper: _refuse("it is an open file"),
        memoryview: _refuse("it is a view of other memory"),
        functools.cached_property: _cached_property,
        weakref.WeakSet: _refuse("it only points at other objects"),
        mmap.mmap: _refuse("it is mapped from a file"),
        type({}.keys()): _dict_view("keys"),
        type({}.values()): _dict_view("values"),
        type({}.items()): _dict_view("items"),
    }
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        found[numpy.memmap] = _memmap
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None:
        found |= {pandas.DataFrame: _frame, pandas.Series: _frame}
    return found


def _cached_property(_: Pickler, obj: Any) -> Any:
    return building.make_cached_property, (obj.func, obj.attrname)


_OF_A_DISPATCHER = frozenset({"register", "dispatch", "registry", "_clear_cache", "__wrapped__"})
_LRU_CACHE = type(functools.lru_cache(lambda: None))


# --- files ------------------------------------------------------------------------------------


def dump(
    value: object,
    path: Path,
    buffers_path: Path,
    *,
    namespace: Mapping[str, object],
    definitions: Collection[str] = (),
    values: Collection[object] = (),
    views: Mapping[int, Any] | None = None,
) -> list[tuple[int, int]]:
    """Write a graph, its large buffers to a file of their own.

    Returns
    -------
    list of (int, int)
        Where each buffer begins in that file, and its size; empty: there is no such file.
    """
    places: list[tuple[int, int]] = []
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND_BYTES:
            return True
        buffers.append(raw)
        return False

    with path.open("wb") as file:
        Pickler(
            file,
            namespace=namespace,
            definitions=definitions,
            values=values,
            views=views,
            buffer_callback=keep,
        ).dump(value)
    if buffers:
        with buffers_path.open("wb") as file:
            for raw in buffers:
                file.write(b"\0" * (-file.tell() % _ALIGNED))
                places.append((file.tell(), raw.nbytes))
                file.write(raw)
    return places


__all__ = ["NotStorable", "Pickler", "dump"]
