"""Chunks of Python objects: texts, and numbers of one type, without any code of the objects."""

from __future__ import annotations

import math
import operator
import struct
import sys
from array import array
from itertools import repeat
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_128

from mlops_nb.fingerprint.scheme import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mlops_nb.fingerprint.scheme import Pass

QUIET_NAN = struct.pack("<Q", 0x7FF8000000000000)

_TEXTS_AT_ONCE = 8_192
_SHORT = 64
_BYTES_AT_ONCE = 4_194_304


def text_chunk(
    values: Sequence[object] | NDArray[Any], tracker: Pass, gaps: Sequence[bool] | None = None
) -> bytes | None:
    """Digest texts; None if one of the values is anything else.

    Parameters
    ----------
    values
        At most 65,536; an empty text stands for a missing one.
    tracker
        Counts the bytes.
    gaps
        Which of them are missing, None if none is.
    """
    payloads: Any = xxh3_128()
    lengths = []
    text = str  # a name of the function is found faster than one of the module
    for part in _parts(values):
        try:
            # join looks at the type from inside, so this is safe for objects of any class.
            joined = "".join(part)  # type: ignore[arg-type]
        except TypeError:
            return None
        # By identity, as the equality of a class can be somebody's code.
        if [None for value in part if type(value) is not text]:
            return None
        payload = joined.encode("utf-8", "surrogatepass")
        tracker.take(len(payload) + 4 * len(part))
        payloads.update(payload)
        lengths.append(_lengths(part, len(payload), is_ascii=len(payload) == len(joined)))  # type: ignore[arg-type]
    head = b"-" if gaps is None else b"N" + _packed(gaps)
    return digest_of(head, b"".join(lengths), payloads.digest())


def number_chunk(values: list[Any], tracker: Pass) -> bytes | None:
    """Digest numbers of one type; None if they are not, or an integer needs more than 8 bytes."""
    for cls, encode in ((int, _integers), (float, _floats), (bool, _truths)):
        if _are_exactly(values, cls):
            encoded = encode(values)
            if encoded is None:
                return None
            tracker.take(len(encoded))
            return digest_of(encoded)
    return None


def gaps_of(values: list[object]) -> list[bool]:
    """Tell which objects of a column are missing: None, NaN, pandas' NA and NaT."""
    pandas = sys.modules.get("pandas")
    missing = {id(None)} | ({id(pandas.NA), id(pandas.NaT)} if pandas else set())
    return [
        id(value) in missing or (type(value) is float and value != value)  # noqa: PLR0124
        for value in values
    ]


def _parts(values: Sequence[object] | NDArray[Any]) -> Iterator[list[object]]:
    """Cut long texts in shorter parts, as each part is copied."""
    sizes = [len(value) for value in as_list(values[:32]) if type(value) is str]
    average = 1 + sum(sizes) // max(1, len(sizes))
    step = max(1, min(_TEXTS_AT_ONCE, _BYTES_AT_ONCE // average))
    for start in range(0, len(values), step):
        yield as_list(values[start : start + step])


def as_list(values: Sequence[object] | NDArray[Any]) -> list[object]:
    """Return a list of an array's objects; a list itself as it is.

    Arrays are taken in small parts: their objects are then still in the cache when they are
    looked at again.
    """
    if type(values) is list:
        return values
    listed: list[object] = values.tolist()  # type: ignore[union-attr]
    return listed


def _lengths(part: Sequence[str], size_bytes: int, *, is_ascii: bool) -> bytes:
    """Return the length in bytes of each text, as uint32."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and size_bytes < _SHORT * len(part):
        found = _lengths_between(part, numpy)
        if found is not None:
            return found
    if is_ascii:
        return _little_endian(array("I", list(map(len, part))))
    return _little_endian(array("I", [len(v.encode("utf-8", "surrogatepass")) for v in part]))


def _lengths_between(part: Sequence[str], numpy: Any) -> bytes | None:
    """Measure the way from one separator to the next; None if a text holds one itself.

    Asking each text costs twice as much.
    """
    joined = "\0".join(part).encode("utf-8", "surrogatepass")
    places = (numpy.frombuffer(joined, numpy.uint8) == 0).nonzero()[0]
    if len(places) != len(part) - 1:
        return None
    bounds = numpy.empty(len(part) + 1, numpy.int64)
    bounds[0], bounds[1:-1], bounds[-1] = -1, places, len(joined)
    found: bytes = (bounds[1:] - bounds[:-1] - 1).astype("<u4").tobytes()
    return found


def _are_exactly(values: list[object], cls: type) -> bool:
    # By identity, as the equality of a class can be somebody's code.
    return bool(values) and all(map(operator.is_, map(type, values), repeat(cls)))


def _integers(values: list[int]) -> bytes | None:
    try:
        return b"I" + _little_endian(array("q", values))
    except OverflowError:
        return None


def _floats(values: list[float]) -> bytes:
    if any(map(math.isnan, values)):
        packed = [QUIET_NAN if value != value else struct.pack("<d", value) for value in values]  # noqa: PLR0124
        return b"F" + b"".join(packed)
    return b"F" + _little_endian(array("d", values))


def _truths(values: list[bool]) -> bytes:
    return b"B" + bytes(values)


def _little_endian(numbers: array[Any]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _packed(flags: Sequence[bool]) -> bytes:
    """Pack flags in bits, the first one lowest."""
    bits = int("".join("1" if flag else "0" for flag in reversed(flags)), 2) if flags else 0
    return bits.to_bytes((len(flags) + 7) // 8, "little")
