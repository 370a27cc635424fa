"""Digests of values that cross from step to step: a fingerprint, or the next best thing.

A fingerprint says nothing of the order of a dict, which a loop over it does; here it counts.
What a fingerprint cannot read is taken apart as pickle would, with functions and classes of the
notebook by their code. That is called opaque, as it trusts what the object says of itself.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import logging
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_nb.capture.guard import guard
from mlops_nb.fingerprint import fingerprint
from mlops_nb.packaging import plain
from mlops_nb.packaging.ambient import ambient_names
from mlops_nb.packaging.code import class_code, code_digest, is_dispatcher, is_importable
from mlops_nb.packaging.fitting import Unfit, failures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LEAVES = frozenset({str, bytes, int, float, bool, complex, type(None)})
_PLAIN = frozenset({list, dict, tuple, set, frozenset})


@dataclass(frozen=True, slots=True)
class Digest:
    """What a value is.

    Attributes
    ----------
    text
        ``nbfp1:…`` of a fingerprint, ``sha256:…`` of one with its types, of plain containers in
        their order and of anything else; empty if the value cannot be read at all.
    assurance
        ``exact``, or ``opaque`` for what had to be believed.
    """

    text: str
    assurance: str = "exact"


def digest_of(value: object, *, namespace: Mapping[str, object] | None = None) -> Digest:
    """Digest one value.

    Parameters
    ----------
    namespace
        Of the notebook: if a value holds it, it is not read.

    Examples
    --------
    >>> digest_of([1, 2]) == digest_of([1, 2]), digest_of(len).assurance
    (True, 'exact')
    >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    False
    """
    if type(value) in _PLAIN:
        try:
            # Much quicker than a fingerprint, which has no order of dicts either.
            return Digest(_sha256(plain.content(value, without=namespace)))
        except plain.Reached:
            return _read_apart(value, namespace)
        except Unfit:
            pass
    found = fingerprint(value)
    if found.assurance == "exact":
        # Values that are the same in another type, as `int64` and `Int64`, are other values here.
        more = (found.schema_digest.encode(), _order_of(value))
        return Digest(_sha256(found.digest.encode(), *more) if any(more) else found.digest)
    return _read_apart(value, namespace)


def _read_apart(value: object, namespace: Mapping[str, object] | None) -> Digest:
    reading = _Reading(namespace)
    # The code of an object that says how it is taken apart may raise anything.
    with guard("digest"):
        try:
            content = reading.read(value)
        except failures():
            return Digest("", "opaque")
        return Digest(_sha256(content), "opaque" if reading.believed else "exact")
    return Digest("", "opaque")


def _sha256(*parts: bytes) -> str:
    return f"sha256:{hashlib.sha256(b'|'.join(parts)).hexdigest()}"


# --- the order of dicts -----------------------------------------------------------------------


def _order_of(value: object) -> bytes:
    """Digest the orders of all dicts in plain containers; empty if no dict has two keys."""
    hasher = hashlib.sha256()
    return hasher.digest() if _add_orders(value, hasher) else b""


def _add_orders(value: object, hasher: Any) -> bool:
    found, met = False, {id(value)}
    todo: list[Any] = [value]
    while todo:
        one = todo.pop()
        cls = type(one)
        if cls is dict:
            inner = list(one.values())
            if len(one) > 1:
                found = True
                hasher.update(_keys_in_order(one))
        elif cls in {list, tuple}:
            inner = one
        else:
            continue
        if set(map(type, inner)) <= _LEAVES:
            continue
        for part in reversed(inner):
            if type(part) is tuple or (type(part) in {list, dict} and id(part) not in met):
                met.add(id(part))
                todo.append(part)
    return found


def _keys_in_order(value: dict[Any, Any]) -> bytes:
    if set(map(type, value)) <= {str}:
        return "\0".join(value).encode("utf-8", "surrogatepass") + b"\1"
    return fingerprint(list(value)).digest.encode() + b"\1"


# --- what no fingerprint reads ----------------------------------------------------------------


class _Reading:
    """One pass over one value that holds something of the notebook or of an unknown library."""

    def __init__(self, namespace: Mapping[str, object] | None) -> None:
        self.believed = False
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []
        self._namespace = namespace
        self._ambient = ambient_names(namespace or {})

    def read(self, value: Any) -> bytes:
        """Return bytes that are the same for the same content."""
        cls = type(value)
        if cls in _LEAVES:
            # A number's text is its content; that of a NaN is, too.
            return f"{cls.__name__}:{value!r};".encode("utf-8", "surrogatepass")
        if id(value) in self._ambient:
            return " ".join(self._ambient[id(value)]).encode()
        if id(value) in self._numbers:
            return b"again:%d;" % self._numbers[id(value)]
        self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)
        content = self._content(value, cls)
        if cls in {tuple, frozenset}:
            # Whether equal ones are one object differs between processes.
            del self._numbers[id(value)]
        return hashlib.sha256(content).digest()

    def _content(self, value: Any, cls: type) -> bytes:
        if cls in {list, tuple}:
            return f"{cls.__name__}[".encode() + b"".join(self.read(one) for one in value)
        if cls is dict:
            pairs = (self.read(part) for pair in list(value.items()) for part in pair)
            return b"dict{" + b"".join(pairs)
        if cls in {set, frozenset}:
            return b"set{" + b"".join(sorted(_alone(one, self) for one in value))
        if cls is types.ModuleType:
            return f"module {value.__name__}".encode()
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        found = fingerprint(value)
        if found.assurance == "exact":
            return found.digest.encode()
        parts = _PARTS.get(cls)
        if parts is not None:
            return cls.__name__.encode() + self.read(parts(value))
        return self._reduced(value, cls)

    def _function(self, value: types.FunctionType) -> bytes:
        if is_importable(value):
            return f"function {value.__module__}.{value.__qualname__}".encode()
        if is_dispatcher(value):
            kinds = {f"{k.__module__}.{k.__qualname__}": f for k, f in value.registry.items()}  # type: ignore[attr-defined]
            return b"dispatcher" + self.read(dict(sorted(kinds.items())))
        cells = [_contents(cell) for cell in value.__closure__ or ()]
        parts = [value.__defaults__, value.__kwdefaults__, cells, value.__dict__]
        head = f"function {value.__qualname__} {code_digest(value.__code__)}".encode()
        return head + b"".join(self.read(part) for part in parts)

    def _class(self, value: type) -> bytes:
        if is_importable(value):
            return f"class {value.__module__}.{value.__qualname__}".encode()
        parts = [f"class {class_code(value)}".encode()]
        if isinstance(value, enum.EnumMeta):
            named: dict[str, Any] = dict(value.__members__)
            return parts[0] + self.read({name: one.value for name, one in named.items()})
        parts += [self.read(base) for base in value.__bases__]
        for name, one in sorted(vars(value).items()):
            if name.startswith("_abc_") or name in _NOT_CONTENT or callable(one):
                continue
            if not isinstance(
                one, property | staticmethod | classmethod | types.MemberDescriptorType
            ):
                parts += [name.encode("utf-8", "surrogatepass"), self.read(one)]
        return b"".join(parts)

    def _reduced(self, value: Any, cls: type) -> bytes:
        self.believed = True
        if cls is _LRU_CACHE:
            # Results that it holds are a part of what it gives.
            return b"cached %d" % value.cache_info().currsize + self.read(value.__wrapped__)
        reducer: Any = copyreg.dispatch_table.get(cls)
        answer = reducer(value) if reducer is not None else value.__reduce_ex__(4)
        if isinstance(answer, str):
            return f"global {cls.__module__}.{answer}".encode()
        make, arguments, *rest = answer
        parts = [self.read(make), self.read(arguments)]
        parts += [self.read(list(one) if hasattr(one, "__next__") else one) for one in rest[:4]]
        return f"instance {cls.__qualname__}".encode() + b"".join(parts)


_LRU_CACHE = type(functools.lru_cache(lambda: None))
_NOT_CONTENT = frozenset(
    {
        *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__"),
        *("__firstlineno__", "__static_attributes__", "__slotnames__"),
    }
)


def _alone(value: object, reading: _Reading) -> bytes:
    """Read a member of a set, whose number must not depend on the set's order."""
    inner = _Reading(reading._namespace)  # noqa: SLF001
    content = inner.read(value)
    reading.believed |= inner.believed
    return content


def _contents(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None


# What pickle itself cannot take apart.
_PARTS: dict[type, Callable[[Any], object]] = {
    types.CellType: _contents,
    types.CodeType: code_digest,
    types.GetSetDescriptorType: lambda value: (value.__objclass__, value.__name__),
    types.MemberDescriptorType: lambda value: (value.__objclass__, value.__name__),
    types.MappingProxyType: dict,
    types.MethodType: lambda value: (value.__func__, value.__self__),
    classmethod: lambda value: value.__func__,
    functools.cached_property: lambda value: (value.func, value.attrname),
    logging.Logger: lambda value: value.name,
    logging.RootLogger: lambda value: value.name,
    property: lambda value: (value.fget, value.fset, value.fdel),
    staticmethod: lambda value: value.__func__,
    type({}.items()): list,
    type({}.keys()): list,
    type({}.values()): list,
}

__all__ = ["Digest", "digest_of"]
