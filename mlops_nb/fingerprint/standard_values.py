"""Values of the standard library's classes: dates, decimals, paths, collections.

The classes are named, not imported: a value of one proves that its module is loaded.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from typing import TYPE_CHECKING, Any

from mlops_nb.fingerprint.scheme import OpaqueValueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.fingerprint.plain import Encoder


def zone_name(zone: object) -> str:
    """Name a time zone of a known library; another one's name would be somebody's code.

    Examples
    --------
    >>> import datetime
    >>> zone_name(datetime.timezone.utc)
    'UTC'
    """
    cls = type(zone)
    if zone is None:
        return ""
    if cls is dt.timezone:
        # Its own name can be anything; the offset is what it does.
        return str(dt.timezone(zone.utcoffset(None)))  # type: ignore[attr-defined]
    if getattr(sys.modules.get("zoneinfo"), "ZoneInfo", None) is cls:
        return str(zone)
    library = type.__dict__["__module__"].__get__(cls)
    if type(library) is str and library.partition(".")[0] in {"pytz", "dateutil"}:
        return str(zone)
    raise OpaqueValueError


def _with_zone(tag: str) -> Callable[[Encoder, Any], bytes]:
    def encode(encoder: Encoder, value: Any) -> bytes:
        zone = zone_name(value.tzinfo)
        plain = value.replace(tzinfo=None).isoformat()
        return encoder.composite(tag, [plain, zone, value.fold])

    return encode


def _as_text(tag: str) -> Callable[[Encoder, Any], bytes]:
    return lambda encoder, value: encoder.composite(tag, [str(value)])


def _zone(encoder: Encoder, value: Any) -> bytes:
    return encoder.composite("zone", [zone_name(value), str(value)])


def _timedelta(encoder: Encoder, value: Any) -> bytes:
    return encoder.composite("timedelta", [value.days, value.seconds, value.microseconds])


def _fraction(encoder: Encoder, value: Any) -> bytes:
    return encoder.composite("fraction", [value.numerator, value.denominator])


def _path(encoder: Encoder, value: Any) -> bytes:
    return encoder.composite("path", [os.fspath(value)])


def _pattern(encoder: Encoder, value: Any) -> bytes:
    return encoder.composite("pattern", [value.pattern, value.flags])


def _slice(encoder: Encoder, value: Any) -> bytes:
    return encoder.composite("slice", [value.start, value.stop, value.step])


def _ordered(encoder: Encoder, value: Any) -> bytes:
    return encoder.container(value, lambda: encoder.composite("ordered", list(value.items())))


def _defaulting(encoder: Encoder, value: Any) -> bytes:
    content = [value.default_factory, dict(value)]
    return encoder.container(value, lambda: encoder.composite("defaulting", content))


def _counter(encoder: Encoder, value: Any) -> bytes:
    return encoder.container(value, lambda: encoder.composite("counter", [dict(value)]))


def _deque(encoder: Encoder, value: Any) -> bytes:
    content = [value.maxlen, *value]
    return encoder.container(value, lambda: encoder.composite("deque", content))


def _namespace(encoder: Encoder, value: Any) -> bytes:
    return encoder.container(value, lambda: encoder.composite("namespace", [vars(value)]))


def builtin_function(encoder: Encoder, value: Any) -> bytes:
    """Encode a function in C by its name, if it is found under that name."""
    module, name = value.__module__ or "", value.__qualname__
    if module not in sys.modules or getattr(sys.modules[module], name, None) is not value:
        # torch's functions in C name no module.
        module, name = "torch", value.__name__
        if module not in sys.modules or vars(sys.modules[module]).get(name) is not value:
            raise OpaqueValueError("function")
    return encoder.composite("function", [module, name])


def library_function(encoder: Encoder, value: Any) -> bytes:
    """Encode a function of a known library by its name; a user's is opaque, as its code counts."""
    from mlops_nb.fingerprint.instances import is_known_function

    module, name = value.__module__, value.__qualname__
    if type(module) is not str or not is_known_function(module):
        raise OpaqueValueError("function")
    found = sys.modules.get(module)
    for part in name.split("."):
        found = object.__getattribute__(found, "__dict__").get(part) if found else None
    if found is not value:
        raise OpaqueValueError("function")
    return encoder.composite("function", [module, name])


def _partial(encoder: Encoder, value: Any) -> bytes:
    content = [value.func, value.args, value.keywords]
    return encoder.container(value, lambda: encoder.composite("partial", content))


def _generator(encoder: Encoder, value: Any) -> bytes:
    return encoder.composite("random", [value.getstate()])


RARE: dict[str, Callable[[Encoder, Any], bytes]] = {
    "datetime.date": _as_text("date"),
    "datetime.datetime": _with_zone("datetime"),
    "datetime.time": _with_zone("time"),
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _zone,
    "zoneinfo.ZoneInfo": _zone,
    "decimal.Decimal": _as_text("decimal"),
    "fractions.Fraction": _fraction,
    "uuid.UUID": _as_text("uuid"),
    "pathlib.PosixPath": _path,
    "pathlib.WindowsPath": _path,
    "pathlib.PurePosixPath": _path,
    "pathlib.PureWindowsPath": _path,
    "pathlib._local.PosixPath": _path,
    "pathlib._local.WindowsPath": _path,
    "re.Pattern": _pattern,
    "slice": _slice,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _defaulting,
    "collections.Counter": _counter,
    "collections.deque": _deque,
    "types.SimpleNamespace": _namespace,
    "functools.partial": _partial,
    "random.Random": _generator,
}
"""How to encode a value of each class, by the class's full name."""
