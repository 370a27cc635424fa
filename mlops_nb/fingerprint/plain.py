"""Plain Python values and containers, and what objects in an array or a list encode to.

No method of a value is called unless its type is exactly one of the standard library's: an
unknown object may hang, lie or change itself. Types are compared by identity, because even the
hash and the equality of a class can be somebody's code.
"""

from __future__ import annotations

import math
import struct
import sys
from types import BuiltinFunctionType, FunctionType, GetSetDescriptorType, ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

from xxhash import xxh3_128

from mlops_nb.fingerprint.object_chunks import (
    QUIET_NAN,
    as_list,
    gaps_of,
    number_chunk,
    text_chunk,
)
from mlops_nb.fingerprint.scheme import (
    ROWS,
    OpaqueValueError,
    OverBudgetError,
    as_text,
    digest_of,
    schema_digest,
)
from mlops_nb.fingerprint.standard_values import RARE, builtin_function, library_function
from mlops_nb.model import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence, Sized

    from numpy.typing import NDArray

    from mlops_nb.fingerprint.scheme import Pass

_MEMO_SIZE = 50_000

_eight_bytes = struct.Struct("<Q").pack


def class_path(cls: type) -> str:
    """Name a class by module and qualified name, without running code of its metaclass."""
    module, name = class_module(cls), type.__dict__["__qualname__"].__get__(cls)
    return name if module == "builtins" else f"{module}.{name}"


def class_module(cls: type) -> str:
    """Return the module of a class, empty where it has none."""
    module = type.__dict__["__module__"].__get__(cls)
    return module if type(module) is str else ""


def class_mro(cls: type) -> tuple[type, ...]:
    """Return the classes a class inherits from, itself first, in order of resolution."""
    mro: tuple[type, ...] = type.__dict__["__mro__"].__get__(cls)
    return mro


def instance_dict(value: object) -> dict[str, Any] | None:
    """Return an instance's own attributes, without its class having a say; None for none.

    A class can make ``__dict__`` a property: `object.__getattribute__` would run it.
    """
    for base in class_mro(type(value)):
        found = _class_dict(base).get("__dict__")
        if found is not None:
            if type(found) is not GetSetDescriptorType:
                return None
            attributes = found.__get__(value)
            return attributes if type(attributes) is dict else None
    return None


def read(value: object, cls: type, tracker: Pass) -> Fingerprint:
    """Fingerprint a plain value; raises `OpaqueValueError` if anything in it is unknown."""
    kind = class_path(cls)
    schema = schema_digest(kind, ())
    shape = (len(value),) if _is_sized(value) else ()
    rows = shape[0] if shape else None
    try:
        digest = digest_of(kind.encode(), b"\0", tracker.encoder.encode(value))
    except OverBudgetError:
        return Fingerprint(kind, "", schema, "skipped:budget", rows, shape)
    return Fingerprint(kind, as_text(digest), schema, rows=rows, shape=shape)


def _is_sized(value: object) -> TypeGuard[Sized]:
    # Exactly these: the length of a subclass is somebody's code.
    return any(type(value) is one for one in (list, tuple, dict, set, frozenset))


class Encoder:
    """Canonical bytes of Python objects, in one pass over one value.

    A scalar encodes to a tag and its content, a container to a tag and its digest. A container
    that contains itself encodes the inner one as the number of levels up.
    """

    def __init__(self, tracker: Pass) -> None:
        self.tracker = tracker
        self._depths: dict[int, int] = {}
        self._highest_loop = math.inf
        self._memo: dict[int, tuple[bytes, object]] = {}
        self._rare: dict[int, tuple[type, Callable[[Encoder, Any], bytes]]] = {}

    def encode(self, value: object) -> bytes:
        """Encode any value; raises `OpaqueValueError` for one that is not known."""
        cls = type(value)
        scalar = _SCALARS.get(id(cls))
        if scalar is not None:
            encoded = scalar(value)
            self.tracker.take(len(encoded))
            return encoded
        container = _CONTAINERS.get(id(cls))
        if container is not None:
            return self._nested(value, container)
        if id(cls) not in self._rare:
            # The class is kept so that no other can get its id meanwhile.
            self._rare[id(cls)] = (cls, _rare_encoder(cls))
        return self._rare[id(cls)][1](self, value)

    def objects(self, values: list[object]) -> bytes:
        """Digest up to 65,536 objects of a list or an array."""
        chunk = text_chunk(values, self.tracker) if values else None
        return chunk or self._not_texts(values)

    def column(self, values: Sequence[object] | NDArray[Any]) -> tuple[str, bytes, int]:
        """Digest up to 65,536 objects of a column, a list or an array; texts may be missing.

        Returns
        -------
        tuple
            What they are (``utf8``, ``null``, ``object``), the digest, how many are missing.
        """
        chunk = text_chunk(values, self.tracker) if len(values) else None
        if chunk is not None:
            return "utf8", chunk, 0
        values = as_list(values)
        gaps = gaps_of(values)
        nulls = sum(gaps)
        if nulls:
            filled = ["" if gap else value for gap, value in zip(gaps, values, strict=True)]
            chunk = text_chunk(filled, self.tracker, gaps)
        if chunk is None:
            return "object", self._not_texts(values), nulls
        return "null" if nulls == len(values) else "utf8", chunk, nulls

    def _not_texts(self, values: list[object]) -> bytes:
        return number_chunk(values, self.tracker) or self._any_objects(values)

    def _any_objects(self, values: Iterable[object]) -> bytes:
        chunk = xxh3_128(b"O")
        for value in values:
            chunk.update(self.encode(value))
        digest: bytes = chunk.digest()
        return digest

    def _nested(self, value: object, digest: Callable[[Encoder, Any], bytes]) -> bytes:
        key = id(value)
        depth = self._depths.get(key)
        if depth is not None:
            self._highest_loop = min(self._highest_loop, depth)
            return b"^" + struct.pack("<Q", len(self._depths) - depth)
        if key in self._memo:
            return self._memo[key][0]
        own, outer_loop = len(self._depths), self._highest_loop
        self._depths[key], self._highest_loop = own, math.inf
        self.tracker.take(16)
        try:
            encoded = digest(self, value)
        finally:
            del self._depths[key]
        if self._highest_loop >= own:
            # It stands for itself wherever it is met again; not so a part of a larger loop.
            self._remember(key, encoded, value)
            self._highest_loop = math.inf
        self._highest_loop = min(self._highest_loop, outer_loop)
        return encoded

    def _remember(self, key: int, encoded: bytes, value: object) -> None:
        if len(self._memo) >= _MEMO_SIZE:
            self._memo.clear()
        # The value is kept so that nothing else can get its id meanwhile.
        self._memo[key] = (encoded, value)

    def composite(self, tag: str, parts: list[object]) -> bytes:
        """Encode something by its kind and its parts."""
        return _tagged(b"x", tag.encode() + b"\0" + self._sequence(b"[", parts))

    def container(self, value: object, encode: Callable[[], bytes]) -> bytes:
        """Encode something that may contain itself."""
        return self._nested(value, lambda _, __: encode())

    def _sequence(self, tag: bytes, values: list[object]) -> bytes:
        hasher = xxh3_128(tag + struct.pack("<Q", len(values)))
        for start in range(0, len(values), ROWS):
            hasher.update(self.objects(values[start : start + ROWS]))
        return tag + hasher.digest()


def _mapping(encoder: Encoder, value: dict[object, object]) -> bytes:
    """Encode a mapping without its order, as equality has it."""
    pairs = [_pair(encoder, key, one) for key, one in list(dict.items(value))]
    return b"{" + xxh3_128(struct.pack("<Q", len(pairs)) + b"".join(sorted(pairs))).digest()


def _pair(encoder: Encoder, key: object, value: object) -> bytes:
    encoded = encoder.encode(key)
    return xxh3_128(encoded).digest() + xxh3_128(encoder.encode(value)).digest()


def _members(tag: bytes) -> Callable[[Encoder, Any], bytes]:
    def encode(encoder: Encoder, value: Any) -> bytes:
        digests = sorted(xxh3_128(encoder.encode(one)).digest() for one in list(value))
        return tag + xxh3_128(struct.pack("<Q", len(digests)) + b"".join(digests)).digest()

    return encode


def _tagged(tag: bytes, payload: bytes) -> bytes:
    return tag + _eight_bytes(len(payload)) + payload


def _text(value: Any) -> bytes:
    # As _tagged, without a call: labels are many, and so are texts in lists.
    payload: bytes = value.encode("utf-8", "surrogatepass")
    return b"s" + _eight_bytes(len(payload)) + payload


def _integer(value: Any) -> bytes:
    return _tagged(b"i", value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True))


def _real(value: Any) -> bytes:
    return b"d" + (struct.pack("<d", value) if value == value else QUIET_NAN)  # noqa: PLR0124


def _complex(value: Any) -> bytes:
    return b"c" + _real(value.real) + _real(value.imag)


def _range(value: Any) -> bytes:
    return b"r" + _integer(value.start) + _integer(value.stop) + _integer(value.step)


_SCALARS: dict[int, Callable[[Any], bytes]] = {
    id(type(None)): lambda _: b"n",
    id(type(Ellipsis)): lambda _: b".",
    id(type(NotImplemented)): lambda _: b"!",
    id(bool): lambda value: b"t" if value else b"f",
    id(int): _integer,
    id(float): _real,
    id(complex): _complex,
    id(str): _text,
    id(bytes): lambda value: _tagged(b"b", value),
    id(bytearray): lambda value: _tagged(b"B", bytes(value)),
    id(range): _range,
}

_CONTAINERS: dict[int, Callable[[Encoder, Any], bytes]] = {
    id(list): lambda encoder, value: encoder._sequence(b"[", list(value)),  # noqa: SLF001
    id(tuple): lambda encoder, value: encoder._sequence(b"(", list(value)),  # noqa: SLF001
    id(dict): _mapping,
    id(set): _members(b"u"),
    id(frozenset): _members(b"U"),
}


def _rare_encoder(cls: type) -> Callable[[Encoder, Any], bytes]:
    """Find how to encode values of a class that is neither a scalar nor a usual container."""
    name = class_path(cls)
    rare = RARE.get(name)
    if rare is not None and attribute_of(name) is cls:
        return rare
    if cls is type:
        return lambda _, value: _named_class(value)
    if cls is BuiltinFunctionType:
        return builtin_function
    if cls is FunctionType:
        return library_function
    if _is_named_tuple(cls):
        return _named_tuple(name)
    if _is_dataclass(cls):
        return _dataclass(name)
    if type(cls) is not type and type(cls) is attribute_of("enum.EnumType"):
        return _enumerated(cls, name)
    from mlops_nb.fingerprint import foreign_encoder

    return foreign_encoder(cls)


def _named_tuple(name: str) -> Callable[[Encoder, Any], bytes]:
    return lambda encoder, value: encoder.composite(
        f"namedtuple {name}", list(tuple.__iter__(value))
    )


def _dataclass(name: str) -> Callable[[Encoder, Any], bytes]:
    def attributes(encoder: Encoder, value: object) -> bytes:
        found = instance_dict(value)
        if found is None:
            raise OpaqueValueError
        return encoder.composite(f"dataclass {name}", [found])

    return lambda encoder, value: encoder.container(value, lambda: attributes(encoder, value))


def _enumerated(cls: type, name: str) -> Callable[[Encoder, Any], bytes]:
    members: dict[str, object] = type.__getattribute__(cls, "_member_map_")
    names = {id(member): one for one, member in members.items()}

    def encode(encoder: Encoder, value: object) -> bytes:
        if id(value) not in names:
            raise OpaqueValueError
        content = object.__getattribute__(value, "_value_")
        return encoder.composite(f"enum {name}", [names[id(value)], content])

    return encode


def attribute_of(name: str) -> object:
    """Return what a loaded module has under a full name, None if it has nothing."""
    module, _, attribute = name.rpartition(".")
    found = sys.modules.get(module or "builtins")
    if found is None or not issubclass(type(found), ModuleType):
        return None
    # A class can give itself any module and name, so callers compare; a module's own
    # __getattr__ may import half a library, so only what is there counts.
    attributes: dict[str, object] = object.__getattribute__(found, "__dict__")
    return attributes.get(attribute)


def _class_dict(cls: type) -> Mapping[str, object]:
    attributes: Mapping[str, object] = type.__dict__["__dict__"].__get__(cls)
    return attributes


def _is_named_tuple(cls: type) -> bool:
    if type(cls) is not type or class_mro(cls)[1:] != (tuple, object):
        return False
    fields = _class_dict(cls).get("_fields")
    return type(fields) is tuple and all(type(field) is str for field in fields)


def _is_dataclass(cls: type) -> bool:
    """Tell whether all of an instance's content is in the attributes of a dataclass."""
    return cls is not object and all(
        "__dataclass_fields__" in _class_dict(base) and "__slots__" not in _class_dict(base)
        for base in class_mro(cls)[:-1]
    )


def _named_class(cls: type) -> bytes:
    name = class_path(cls)
    if attribute_of(name) is not cls:
        raise OpaqueValueError
    return _tagged(b"T", name.encode())


def is_real(cls: type) -> bool:
    """Tell whether a class is what its module has under its name: no namesake, no subclass."""
    return attribute_of(class_path(cls)) is cls
