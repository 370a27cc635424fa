"""Which part of a value keeps it from being stored: ``box["handle"]``, not "cannot pickle"."""

from __future__ import annotations

import io
import pickle
import types
from typing import TYPE_CHECKING, Any

from mlops_nb.errors.values import CannotStore
from mlops_nb.fingerprint.plain import class_path
from mlops_nb.packaging.fitting import failures
from mlops_nb.packaging.pickling import NotStorable, Pickler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DEEPEST = 30
_WHY: dict[str, str] = {
    "generator": "a generator goes on in the process where it began",
    "coroutine": "a coroutine goes on in the process where it began",
    "async_generator": "a generator goes on in the process where it began",
    "socket.socket": "a connection belongs to its process",
    "sqlite3.Connection": "a connection belongs to its process",
    "sqlite3.Cursor": "a connection belongs to its process",
    "_thread.lock": "a lock belongs to its process",
    "_thread.RLock": "a lock belongs to its process",
    "_io.TextIOWrapper": "it is an open file",
    "_io.BufferedReader": "it is an open file",
    "_io.BufferedWriter": "it is an open file",
    "_io.BufferedRandom": "it is an open file",
    "_io.FileIO": "it is an open file",
    "threading.Thread": "a thread belongs to its process",
    "frame": "it is a running piece of code",
    "traceback": "it is a running piece of code",
    "weakref.ReferenceType": "it only points at another object",
}


def explain(
    name: str, value: object, error: BaseException, namespace: Mapping[str, object]
) -> CannotStore:
    """Find the deepest part that cannot be stored by itself, and say why.

    Parameters
    ----------
    name
        Of the value.
    error
        What storing it raised.
    """
    path, part, problem = name, value, error
    seen = {id(value)}
    for _ in range(_DEEPEST):
        if isinstance(problem, NotStorable) and problem.value is part:
            break
        found = _first_failing(path, part, namespace, seen)
        if found is None:
            break
        path, part, problem = found
        seen.add(id(part))
    return CannotStore(path, class_path(type(part)), _why(part, problem))


def _first_failing(
    path: str, value: object, namespace: Mapping[str, object], seen: set[int]
) -> tuple[str, object, BaseException] | None:
    for inner_path, inner in _parts(path, value):
        if id(inner) in seen:
            continue
        problem = failing(inner, namespace)
        if problem is not None:
            return inner_path, inner, problem
    return None


def failing(value: object, namespace: Mapping[str, object]) -> BaseException | None:
    """Return what storing a value raises, None if it can be stored."""
    problems: tuple[type[BaseException], ...] = (*failures(), pickle.PickleError)
    try:
        Pickler(_Nowhere(), namespace=namespace).dump(value)
    except problems as error:
        return error
    return None


class _Nowhere(io.RawIOBase):
    def write(self, data: Any) -> int:
        return len(data)


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Give the parts of a value as a user would write them."""
    if isinstance(value, dict):
        for key, one in list(dict.items(value)):
            yield f"{path}[{_short(key)}]", one
            yield f"a key of {path}", key
    elif isinstance(value, list | tuple):
        yield from ((f"{path}[{place}]", one) for place, one in enumerate(_members(value)))
    elif isinstance(value, set | frozenset):
        yield from ((f"a member of {path}", one) for one in _members(value))
    elif isinstance(value, types.FunctionType | types.MethodType):
        yield from _parts_of_code(path, value)
    else:
        yield from ((f"{path}[{place}]", one) for place, one in enumerate(_objects_of(value)))
    for name, one in _attributes(value).items():
        yield f"{path}.{name}", one


def _members(value: Any) -> list[Any]:
    """List the members of a container, whatever its class says."""
    bases: tuple[Any, ...] = (list, tuple, set, frozenset)
    for base in bases:
        if isinstance(value, base):
            return list(base.__iter__(value))
    return []


def _attributes(value: Any) -> dict[str, Any]:
    """Return what an object would have stored of itself."""
    found = getattr(value, "__dict__", None)
    own = getattr(type(value), "__getstate__", None)
    if own is not None and own is not getattr(object, "__getstate__", None):
        try:
            found = value.__getstate__()
        except failures():
            return {}
    return dict(found) if isinstance(found, dict) else {}


def _parts_of_code(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, types.MethodType):
        yield f"{path}.__self__", value.__self__
        return
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
        if _is_full(cell):
            yield f"{name} of {path}", cell.cell_contents
    yield from ((f"a default of {path}", one) for one in value.__defaults__ or ())


def _objects_of(value: Any) -> list[Any]:
    """List the objects in an array or series of one dimension."""
    if getattr(getattr(value, "dtype", None), "hasobject", False) and value.ndim == 1:
        return list(value)
    return []


def _is_full(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _short(key: object) -> str:
    text = f'"{key}"' if type(key) is str else repr(key)
    return text if len(text) <= 40 else f"{text[:39]}…"  # noqa: PLR2004


def _why(value: object, error: BaseException) -> str:
    if isinstance(error, NotStorable):
        return str(error)
    known = _WHY.get(class_path(type(value)))
    if known is not None:
        return known
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        return "it is nested too deeply"
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]


__all__ = ["explain", "failing"]
