"""Plain values as JSON, and back as exactly what they were.

Texts, whole numbers, finite numbers, booleans, None, lists and dicts with texts as keys stand as
JSON has them. All else is an object with the key ``$``, which says what it is. Types are compared
by identity: a subclass may hold more than its base. A list or dict that is met twice, or holds
itself, is not plain: JSON would make two of it.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import fractions
import json
import math
import pathlib
import sys
import uuid
from typing import TYPE_CHECKING, Any

from mlops_nb.packaging.fitting import Unfit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from mlops_nb.model.terms import Json

_TAG = "$"
_LONGEST_INTEGER = 10_000
"""Bits of a number that is still written in digits: Python refuses to read very many."""

_ATOMS = frozenset({str, int, bool, type(None)})
_NUMBERS = frozenset({int, bool, type(None), float})


def encode(value: object) -> Json:
    """Turn a plain value into what `json` writes.

    Raises
    ------
    Unfit
        Something in it is not plain.

    Examples
    --------
    >>> encode({"cut": 0.5, "size": (1, 2)})
    {'cut': 0.5, 'size': {'$': 'tuple', 'v': [1, 2]}}
    """
    try:
        return _Encoder().encode(value)
    except RecursionError:
        raise Unfit("it is nested too deeply for JSON") from None


def decode(document: Json, *, may_import: bool = False) -> object:
    """Turn a document of `encode` back into the value.

    Parameters
    ----------
    may_import
        Whether classes of enumerations may be imported: it is known who wrote the document.

    Raises
    ------
    ValueError
        It is no such document.
    ImportNotAllowed
        It names a class, and `may_import` is not set.

    Examples
    --------
    >>> decode(encode({1: {2, 3}}))
    {1: {2, 3}}
    """
    return _Decoder(may_import=may_import).decode(document)


def dumps(value: object) -> bytes:
    """Write a plain value as the bytes of a JSON text."""
    return _text(encode(value)).encode("ascii")


def content(value: object, *, without: object = None) -> bytes:
    """Return bytes that are the same for the same content, in any process; order counts.

    Parameters
    ----------
    without
        A dict that must not be in it.

    Raises
    ------
    Unfit
        Something in it is not plain.

    Examples
    --------
    >>> content({"b", "a"}) == content({"a", "b"}), content({1: 2, 3: 4}) == content({3: 4, 1: 2})
    (True, False)
    """
    try:
        encoder = _Encoder(with_sorted_sets=True, without=without)
        return _text(encoder.encode(value)).encode("ascii")
    except RecursionError:
        raise Unfit("it is nested too deeply for JSON") from None


def _text(document: Json) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


class Reached(Unfit):
    """A value holds the very dict that it must not."""


class ImportNotAllowed(Unfit):
    """A document that nobody has signed asks for the class named."""


class _Encoder:
    """One pass over one value; remembers the containers that it has met."""

    def __init__(self, *, with_sorted_sets: bool = False, without: object = None) -> None:
        self._met: set[int] = set()
        self._without = without
        self._with_sorted_sets = with_sorted_sets

    def encode(self, value: Any) -> Json:
        cls = type(value)
        if cls in _ATOMS:
            if cls is int and value.bit_length() > _LONGEST_INTEGER:
                return {_TAG: "int", "v": hex(value)}
            return value
        if cls is float:
            return value if math.isfinite(value) else {_TAG: "float", "v": str(value)}
        if cls is list:
            return self._items(value)
        if cls is dict:
            return self._mapping(value)
        container: str | None = _CONTAINERS.get(cls)
        if container is not None:
            return {_TAG: container, "v": self._members(value, container)}
        scalar = _SCALARS.get(cls)
        if scalar is not None:
            return {_TAG: scalar[0], "v": scalar[1](self, value)}
        return self._rare(value, cls)

    def _meet(self, value: object) -> None:
        if id(value) in self._met:
            raise Unfit("a list, dict or set stands in it more than once")
        self._met.add(id(value))

    def _members(self, value: Any, container: str) -> list[Json]:
        if container == "set":
            self._meet(value)
        found = [self.encode(one) for one in value]
        if self._with_sorted_sets and container != "tuple":
            found.sort(key=_text)
        return found

    def _items(self, value: list[Any]) -> Json:
        self._meet(value)
        kinds = set(map(type, value))
        if kinds <= _NUMBERS and float in kinds and not _has_odd_number(value):
            return value
        if kinds <= _ATOMS and (int not in kinds or not _has_odd_number(value)):
            return value
        return [self.encode(one) for one in value]

    def _mapping(self, value: dict[Any, Any]) -> Json:
        if value is self._without:
            raise Reached("the namespace of the notebook is in it")
        self._meet(value)
        if set(map(type, value)) <= {str} and _TAG not in value:
            return {key: self.encode(one) for key, one in value.items()}
        pairs = [[self.encode(key), self.encode(one)] for key, one in value.items()]
        return {_TAG: "dict", "v": pairs}

    def _rare(self, value: Any, cls: type) -> Json:
        if isinstance(cls, enum.EnumMeta):
            return _member(value, cls)
        if issubclass(cls, dt.tzinfo):
            return {_TAG: "zone", "v": _zone(value)}
        library = _library(cls)
        if library == "numpy":
            return _numpy_scalar(value, cls)
        if library == "pandas":
            return _pandas_scalar(value, cls)
        raise Unfit(f"{cls.__module__}.{cls.__qualname__} is not a plain value")


def _has_odd_number(values: list[Any]) -> bool:
    """Tell whether JSON would not write one of these numbers as it is."""
    largest = 1 << _LONGEST_INTEGER
    for one in values:
        if type(one) is float:
            if not math.isfinite(one):
                return True
        elif type(one) is int and not -largest < one < largest:
            return True
    return False


def _library(cls: type) -> str:
    name = cls.__module__.partition(".")[0]
    return name if name in sys.modules else ""


# --- single values ----------------------------------------------------------------------------


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _zone(zone: dt.tzinfo | None) -> Json:
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        if zone is dt.timezone.utc:
            return "utc"
        offset = zone.utcoffset(None)
        # A name that was given shows in the constructor's arguments only.
        given = zone.__getinitargs__()  # type: ignore[attr-defined]
        named = [given[1]] if len(given) > 1 else []
        return [offset.days, offset.seconds, offset.microseconds, *named]
    key = getattr(zone, "key", None)
    if type(zone).__module__ == "zoneinfo" and type(key) is str:
        return {"key": key}
    raise Unfit(f"the time zone {type(zone).__module__}.{type(zone).__qualname__} is not plain")


def _zone_of(document: Json) -> dt.tzinfo | None:
    if document is None:
        return None
    if document == "utc":
        return dt.timezone.utc
    if isinstance(document, dict):
        from zoneinfo import ZoneInfo

        return ZoneInfo(document["key"])
    days, seconds, microseconds, *name = document
    return dt.timezone(dt.timedelta(days, seconds, microseconds), *name)


def _clock(value: Any) -> Json:
    return [value.replace(tzinfo=None).isoformat(), value.fold, _zone(value.tzinfo)]


def _moment_of(document: Json) -> dt.datetime:
    text, fold, zone = document
    return dt.datetime.fromisoformat(text).replace(fold=fold, tzinfo=_zone_of(zone))


def _time_of(document: Json) -> dt.time:
    text, fold, zone = document
    return dt.time.fromisoformat(text).replace(fold=fold, tzinfo=_zone_of(zone))


def _path(value: Any) -> str:
    return str(value)


def _parts(*names: str) -> Callable[[_Encoder, Any], Json]:
    return lambda encoder, value: [encoder.encode(getattr(value, name)) for name in names]


_CONTAINERS: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}
_MAKERS: dict[str, Callable[[list[Any]], object]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}

_SCALARS: dict[type, tuple[str, Callable[[_Encoder, Any], Json]]] = {
    bytes: ("bytes", lambda _, value: _base64(value)),
    complex: ("complex", _parts("real", "imag")),
    range: ("range", _parts("start", "stop", "step")),
    slice: ("slice", _parts("start", "stop", "step")),
    type(Ellipsis): ("ellipsis", lambda _, __: None),
    dt.date: ("date", lambda _, value: value.isoformat()),
    dt.datetime: ("datetime", lambda _, value: _clock(value)),
    dt.time: ("time", lambda _, value: _clock(value)),
    dt.timedelta: ("timedelta", _parts("days", "seconds", "microseconds")),
    decimal.Decimal: ("decimal", lambda _, value: str(value)),
    fractions.Fraction: ("fraction", _parts("numerator", "denominator")),
    uuid.UUID: ("uuid", lambda _, value: [value.hex, value.is_safe.value]),
    dt.timezone: ("zone", lambda _, value: _zone(value)),
    **{
        cls: (cls.__name__, lambda _, value: _path(value))
        for cls in (
            pathlib.PurePosixPath,
            pathlib.PureWindowsPath,
            type(pathlib.Path()),
        )
    },
}


def _listed(make: Callable[..., object]) -> Callable[[_Decoder, Json], object]:
    return lambda decoder, document: make(*[decoder.decode(one) for one in document])


def _uuid_of(document: Json) -> uuid.UUID:
    return uuid.UUID(hex=document[0], is_safe=uuid.SafeUUID(document[1]))


_READERS: dict[str, Callable[[_Decoder, Json], object]] = {
    "int": lambda _, text: int(text, 16),
    "float": lambda _, text: float(text),
    "bytes": lambda _, text: base64.b64decode(text, validate=True),
    "complex": _listed(complex),
    "range": _listed(range),
    "slice": _listed(slice),
    "ellipsis": lambda _, __: Ellipsis,
    "date": lambda _, text: dt.date.fromisoformat(text),
    "datetime": lambda _, document: _moment_of(document),
    "time": lambda _, document: _time_of(document),
    "timedelta": _listed(dt.timedelta),
    "decimal": lambda _, text: decimal.Decimal(text),
    "fraction": _listed(fractions.Fraction),
    "uuid": lambda _, document: _uuid_of(document),
    "zone": lambda _, document: _zone_of(document),
    "PurePosixPath": lambda _, text: pathlib.PurePosixPath(text),
    "PureWindowsPath": lambda _, text: pathlib.PureWindowsPath(text),
    "PosixPath": lambda _, text: pathlib.Path(text),
    "WindowsPath": lambda _, text: pathlib.Path(text),
    "enum": lambda decoder, document: decoder.member(document),
    "numpy": lambda _, document: _numpy_scalar_of(document),
    "pandas": lambda _, document: _pandas_scalar_of(document),
}


class _Decoder:
    def __init__(self, *, may_import: bool) -> None:
        self._may_import = may_import

    def decode(self, document: Json) -> Any:
        if isinstance(document, list):
            if set(map(type, document)) <= _ATOMS | _NUMBERS:
                return document
            return [self.decode(one) for one in document]
        if not isinstance(document, dict):
            return document
        kind = document.get(_TAG)
        if kind is None:
            return {key: self.decode(one) for key, one in document.items()}
        content = document["v"]
        if kind == "dict":
            return {self.decode(key): self.decode(one) for key, one in content}
        if kind in _MAKERS:
            return _MAKERS[kind]([self.decode(one) for one in content])
        if kind not in _READERS:
            raise ValueError(f"no value is written as {kind}")
        return _READERS[kind](self, content)

    def member(self, document: Json) -> object:
        """Find a member of an enumeration, whose module is imported only if that is allowed."""
        module, path, name = document
        if not self._may_import:
            raise ImportNotAllowed(f"{module}.{path}")
        from importlib import import_module

        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        if not isinstance(found, enum.EnumMeta):  # a document's fault, not a caller's
            raise ValueError(f"{module}.{path} is no enumeration")  # noqa: TRY004
        return found[name]


# --- enumerations and scalars of libraries ----------------------------------------------------


def _member(value: Any, cls: enum.EnumMeta) -> Json:
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    # A class of the notebook is a new one in every process: it travels with its class.
    if found is not cls or cls.__module__ == "__main__":
        raise Unfit(f"the enumeration {cls.__qualname__} cannot be imported")
    if type(value.name) is not str or cls.__members__.get(value.name) is not value:
        raise Unfit(f"{value!r} is no single member of its enumeration")
    return {_TAG: "enum", "v": [cls.__module__, cls.__qualname__, value.name]}


def _numpy(name: str = "numpy") -> ModuleType:
    from importlib import import_module

    return import_module(name)


def _numpy_scalar(value: Any, cls: type) -> Json:
    numpy = _numpy()
    if not issubclass(cls, numpy.generic) or getattr(numpy, cls.__name__, None) is not cls:
        raise Unfit(f"{cls.__module__}.{cls.__qualname__} is not a plain value")
    dtype = value.dtype
    if dtype.hasobject or dtype.names is not None or dtype.kind not in "biufcmMSU":
        raise Unfit(f"a NumPy value of type {dtype} is not plain")
    if dtype.kind in "US":
        # Its bytes are padded, and the type of an empty one has no size.
        text = str(value) if dtype.kind == "U" else _base64(bytes(value))
        return {_TAG: "numpy", "v": [dtype.kind, text]}
    return {_TAG: "numpy", "v": [dtype.str, _base64(value.tobytes()), str(value)]}


def _numpy_scalar_of(document: Json) -> object:
    numpy = _numpy()
    kind, content = document[0], document[1]
    if kind == "U":
        return numpy.str_(content)
    if kind == "S":
        return numpy.bytes_(base64.b64decode(content, validate=True))
    dtype = numpy.dtype(kind)
    if dtype.kind not in "biufcmM":
        raise ValueError(f"no plain value has the type {kind}")
    return numpy.frombuffer(base64.b64decode(content, validate=True), dtype, 1)[0]


def _pandas_scalar(value: Any, cls: type) -> Json:
    pandas = _numpy("pandas")
    if value is pandas.NaT:
        return {_TAG: "pandas", "v": ["NaT"]}
    if value is pandas.NA:
        return {_TAG: "pandas", "v": ["NA"]}
    if cls is pandas.Timestamp:
        at = [int(value.asm8.view("i8")), value.unit, _zone(value.tzinfo), value.fold]
        return {_TAG: "pandas", "v": ["Timestamp", *at]}
    if cls is pandas.Timedelta:
        return {_TAG: "pandas", "v": ["Timedelta", int(value.asm8.view("i8")), value.unit]}
    raise Unfit(f"{cls.__module__}.{cls.__qualname__} is not a plain value")


def _pandas_scalar_of(document: Json) -> object:
    pandas, numpy = _numpy("pandas"), _numpy()
    kind, *rest = document
    if kind in {"NaT", "NA"}:
        return getattr(pandas, kind)
    if kind == "Timedelta":
        return pandas.Timedelta(numpy.timedelta64(rest[0], rest[1]))
    if kind != "Timestamp":
        raise ValueError(f"no value of pandas is written as {kind}")
    at, unit, zone, fold = rest
    moment = pandas.Timestamp(numpy.datetime64(at, unit))
    if zone is None:
        return moment.replace(fold=fold) if fold else moment
    return moment.tz_localize("UTC").tz_convert(_zone_of(zone))


__all__ = ["ImportNotAllowed", "Reached", "content", "decode", "dumps", "encode"]
