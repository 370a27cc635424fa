"""Events to bytes and back: msgpack of ``[code, {field: value}]``, codes that never change.

A metric, the one event logged in loops, is a flat array instead. A reader skips what a newer
writer added: unknown codes, unknown fields, extra elements of a metric.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import msgpack

from mlops_nb import model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.model import Event

# Codes are a file format: append only, never give one away again.
CODES: dict[int, type[Any]] = {
    1: model.SessionStarted,
    2: model.SessionChanged,
    3: model.SessionEnded,
    4: model.EnvironmentSeen,
    5: model.ExecutionStarted,
    6: model.ExecutionEnded,
    7: model.OutputSeen,
    8: model.RunStarted,
    9: model.RunChanged,
    10: model.RunExecuted,
    11: model.ParamLogged,
    12: model.MetricLogged,
    13: model.TagSet,
    14: model.DataUsed,
    15: model.ModelFitted,
    16: model.ArtifactLogged,
    17: model.FitMoved,
    18: model.FileSeen,
    19: model.FingerprintSeen,
}
METRIC_CODE = 12
_METRIC_FIELDS = tuple(one.name for one in fields(model.MetricLogged))
_BIG_INT = 1

_CODE_OF = {kind: code for code, kind in CODES.items()}
_ALWAYS_WRITTEN = object()
_PLANS = {
    kind: (
        tuple(f.name for f in fields(kind)),
        attrgetter(*(f.name for f in fields(kind))),
        tuple(
            f.default
            if f.default is not MISSING
            else (_ALWAYS_WRITTEN if f.default_factory is MISSING else None)
            for f in fields(kind)
        ),
    )
    for kind in CODES.values()
}
_REQUIRED = {
    kind: frozenset(
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    )
    for kind in CODES.values()
}
_TUPLES = {
    kind: frozenset(f.name for f in fields(kind) if str(f.type).startswith("tuple"))
    for kind in CODES.values()
}
_KNOWN = {kind: frozenset(f.name for f in fields(kind)) for kind in CODES.values()}


def encode(event: Event) -> bytes:
    """Turn an event into the payload of a frame.

    Parameters
    ----------
    event
        Any event; its values are what JSON can hold, NumPy scalars and bytes.

    Raises
    ------
    TypeError
        A value in it is none of these.

    Examples
    --------
    >>> decode(encode(model.SessionEnded("s", 5)))
    SessionEnded(id='s', at_ns=5)
    """
    if isinstance(event, model.MetricLogged):
        return pack((METRIC_CODE, *[getattr(event, name) for name in _METRIC_FIELDS]))
    kind = type(event)
    names, get, defaults = _PLANS[kind]
    # Identity, for a comparison with == could run the code of a foreign type.
    body = {
        name: value
        for name, value, default in zip(names, get(event), defaults, strict=True)
        if value is not default
    }
    return pack((_CODE_OF[kind], body))


def decode(payload: bytes) -> Event | None:
    """Read the payload of a frame; None for an event that only a newer version knows.

    Raises
    ------
    ValueError
        The bytes are no event at all.
    """
    content = msgpack.unpackb(
        payload, strict_map_key=False, unicode_errors="surrogatepass", ext_hook=_read_extension
    )
    if not isinstance(content, list) or not content:
        msg = "a frame holds no event"
        raise ValueError(msg)
    if content[0] == METRIC_CODE:
        return model.MetricLogged(*content[1 : 1 + len(_METRIC_FIELDS)])
    kind = CODES.get(content[0])
    return None if kind is None else _build(kind, content[1])


def pack(value: Sequence[object]) -> bytes:
    """Pack one value; text that is no valid Unicode too, which is slower."""
    try:
        return cast("bytes", msgpack.packb(value, default=_plain))
    except UnicodeEncodeError:
        packed = msgpack.packb(value, default=_plain, unicode_errors="surrogatepass")
        return cast("bytes", packed)


def _build(kind: type[Any], body: dict[str, Any]) -> Event | None:
    """Make an event of the fields that this version knows."""
    known = {name: value for name, value in body.items() if name in _KNOWN[kind]}
    if not known.keys() >= _REQUIRED[kind] or not isinstance(known.get("at_ns", 0), int):
        return None
    for name in _TUPLES[kind] & known.keys():
        known[name] = tuple(known[name])
    return cast("Event", kind(**known))


def _plain(value: object) -> object:
    """Turn what msgpack does not know into what it does; called by msgpack."""
    if isinstance(value, int):  # of more than 64 bits, which JSON can hold
        return msgpack.ExtType(_BIG_INT, hex(value).encode())
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if hasattr(value, "keys"):
        mapping = cast("dict[str, object]", value)
        return {name: mapping[name] for name in mapping}
    msg = f"an event cannot hold a {type(value).__name__}"
    raise TypeError(msg)


def _read_extension(code: int, data: bytes) -> object:
    """Undo `_plain` for integers; what a newer writer put there is kept as it is."""
    return int(data, 16) if code == _BIG_INT else msgpack.ExtType(code, data)
