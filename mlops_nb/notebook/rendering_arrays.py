"""NumPy scalars, types and small arrays as Python source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.notebook.rendering import _Source

_COUNTED = "mM"
_LONG = np.dtype("longdouble").name, np.dtype("clongdouble").name


def array_writer(value: object) -> Callable[[_Source, Any], str] | None:
    """Find what writes a value of NumPy; None for what has no exact source."""
    if type(value) is np.ndarray:
        return _array
    if isinstance(value, np.dtype):
        return _dtype
    if isinstance(value, np.generic) and type(value) in _SCALARS:
        return _scalar
    return None


_SCALARS = {
    kind
    for kind in {*np.sctypeDict.values()}
    if issubclass(kind, np.generic) and kind not in {np.void, np.object_}
}


def _dtype(source: _Source, value: np.dtype[Any]) -> str:
    if value.metadata or (value.hasobject and value != np.dtype(object)):
        raise source.refused(value, "it has parts that its description does not say")
    told = value.descr if value.names is not None else value.str
    text = f"{source.module('numpy')}.dtype({source.text(told)})"
    if value.names is not None and np.dtype(value.descr) != value:
        raise source.refused(value, "its fields do not lie one after the other")
    return text


def _scalar(source: _Source, value: np.generic) -> str:
    name = f"{source.module('numpy')}.{type(value).__name__}"
    if isinstance(value, np.datetime64 | np.timedelta64):
        unit, step = np.datetime_data(value.dtype)
        if unit == "generic":
            return f"{name}({'NaT'!r})" if np.isnat(value) else f"{name}({int(value.view('i8'))})"
        return f"{name}({int(value.view('i8'))}, {(unit, step)!r})"
    if value.dtype.name in _LONG and np.dtype("longdouble") != np.dtype("float64"):
        return _from_bytes(source, value)
    return f"{name}({source.text(value.item())})"


def _from_bytes(source: _Source, value: np.generic) -> str:
    """Write what has more digits than Python's own numbers by its bytes."""
    raw, kind = value.tobytes(), value.dtype.str
    return f"{source.module('numpy')}.frombuffer({raw!r}, {kind!r})[0]"


def _array(source: _Source, value: np.ndarray[Any, Any]) -> str:
    from mlops_nb.notebook.rendering import ARRAY_LIMIT

    kind = value.dtype
    if value.size > ARRAY_LIMIT:
        raise source.refused(value, f"it has {value.size:,} elements; give the path of a file")
    if kind.hasobject or kind.names is not None or kind.subdtype or kind.metadata:
        raise source.refused(value, f"arrays of {kind} have no exact source; give a file's path")
    numpy, described = source.module("numpy"), kind.str
    flat = np.ascontiguousarray(value).reshape(-1)
    if kind.kind in _COUNTED or kind.name in _LONG or kind.kind == "V":
        made = f"{numpy}.frombuffer({flat.tobytes()!r}, {described!r}).copy()"
    elif value.ndim == 1 or not value.size:
        made = f"{numpy}.array({source.text(flat.tolist())}, dtype={described!r})"
    else:
        return f"{numpy}.array({source.text(value.tolist())}, dtype={described!r})"
    return made if value.ndim == 1 else f"{made}.reshape({source.text(value.shape)})"
