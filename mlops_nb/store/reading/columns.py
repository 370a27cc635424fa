"""Columns of a series as bytes: few of them, and read at the speed of memory.

Steps and times are whole numbers that grow alike, so what is kept of them is the first one and
the differences, in as few bytes as nearly all of them fit into; the few others (an epoch that
begins at 0 again, a pause, a clock set back) stand beside them. Values keep all their bits: in
four bytes each if none needs more, else in eight. About 12 bytes a point, where a compressor
would save two more and take ten times as long to read.

Everything here works without NumPy: who drains has none. `store.arrays` reads the same with it.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections import Counter
from itertools import accumulate, islice, repeat
from operator import add, sub
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = struct.Struct("<BI")
"""Bytes of a difference or number, and how many numbers there are."""

GROWTH = struct.Struct("<qqI")
"""The first number, what is added to each difference, and the number of exceptions."""

EXCEPTION = struct.Struct("<Iq")
"""Index of a difference, and what has to be added to it."""

WHOLE = 8
"""The width of numbers that are kept as they are."""

_WIDTHS = ((0, ""), (1, "B"), (2, "H"), (4, "I"))
TYPE_CODES = dict(_WIDTHS)
# One exception takes 12 bytes: with fewer than this share of them a narrower column is smaller.
_EXCEPTIONS = 1 / 32
_LIMIT = 2**63


class Column(NamedTuple):
    """A column of whole numbers, before the differences are added up.

    Attributes
    ----------
    width
        Bytes of a difference: 0 (all alike), 1, 2, 4; `WHOLE` for the numbers themselves.
    length
        How many numbers there are.
    first, step
        The first number, and what is added to each difference.
    exceptions
        Index of a difference, and what is added to it besides.
    data
        Differences or numbers, little-endian.
    """

    width: int
    length: int
    first: int
    step: int
    exceptions: tuple[tuple[int, int], ...]
    data: bytes | memoryview


def pack_integers(numbers: array[int]) -> bytes:
    """Write whole numbers of 64 bits.

    Examples
    --------
    >>> len(pack_integers(array("q", range(1000)))), len(pack_integers(array("q", [7, 0, 10**9])))
    (25, 29)
    """
    if (step := _even_step(numbers)) is not None:
        return HEAD.pack(0, len(numbers)) + GROWTH.pack(numbers[0], step, 0)
    differences = list(map(sub, islice(numbers, 1, None), numbers))
    column = _narrow(numbers, differences, *_choice(differences)) if differences else None
    return column or HEAD.pack(WHOLE, len(numbers)) + little_endian(numbers)


def _even_step(numbers: array[int]) -> int | None:
    """Give the difference of all neighbours, None if they have several."""
    if len(numbers) < 2:  # noqa: PLR2004 - no neighbours
        return None
    first, step = numbers[0], numbers[1] - numbers[0]
    if numbers[-1] != first + step * (len(numbers) - 1) or not -_LIMIT <= step < _LIMIT:
        return None
    return step if _evenly(first, step, len(numbers)) == numbers else None


def _evenly(first: int, step: int, count: int) -> array[int]:
    if not step:
        return array("q", [first]) * count
    return array("q", range(first, first + step * count, step))


def _choice(differences: Sequence[int]) -> tuple[int, int]:
    """Choose a width, and what is taken from all differences."""
    ((usual, _),) = Counter(differences[:: len(differences) // 256 + 1]).most_common(1)
    rare = len(differences) * _EXCEPTIONS
    if differences.count(usual) >= len(differences) - rare and -_LIMIT <= usual < _LIMIT:
        return 0, usual
    highest = max(differences)
    return (1 if highest < 256 else 2 if highest < 256**2 else 4), 0  # noqa: PLR2004 - a byte


def _narrow(numbers: array[int], differences: list[int], width: int, step: int) -> bytes | None:
    """Write numbers as narrow differences; None if too many do not fit."""
    most, outside = 256**width, []
    if min(differences) < step or max(differences) - step >= most:
        outside = [i for i, each in enumerate(differences) if not 0 <= each - step < most]
    if len(outside) > len(differences) * _EXCEPTIONS:
        return None
    exceptions = b""
    for i in outside:
        extra = differences[i] - step
        if not -_LIMIT <= extra < _LIMIT:
            return None
        exceptions += EXCEPTION.pack(i, extra)
        differences[i] = 0
    head = HEAD.pack(width, len(numbers)) + GROWTH.pack(numbers[0], step, len(outside))
    data = little_endian(array(TYPE_CODES[width], differences)) if width else b""
    return head + exceptions + data


def parse_integers(data: bytes | memoryview) -> tuple[Column, int]:
    """Read the head of a column; gives how many bytes it takes in all, too."""
    width, count = HEAD.unpack_from(data)
    if width == WHOLE:
        end = HEAD.size + WHOLE * count
        return Column(width, count, 0, 0, (), _part(data, HEAD.size, end)), end
    first, step, outside = GROWTH.unpack_from(data, HEAD.size)
    begin = HEAD.size + GROWTH.size
    end = begin + outside * EXCEPTION.size
    exceptions = tuple(EXCEPTION.iter_unpack(data[begin:end]))
    begin, end = end, end + width * (count - 1)
    return Column(width, count, first, step, exceptions, _part(data, begin, end)), end


def _part(data: bytes | memoryview, begin: int, end: int) -> bytes | memoryview:
    if len(data) < end:
        raise ValueError("a block of a series was cut off")
    return data[begin:end]


def integers(column: Column) -> array[int]:
    """Add up the differences of a column."""
    if column.width == WHOLE:
        return _from_little_endian("q", column.data)
    if not column.width and not column.exceptions:
        return _evenly(column.first, column.step, column.length)
    if column.width:
        differences = list(_from_little_endian(TYPE_CODES[column.width], column.data))
    else:
        differences = [0] * (column.length - 1)
    for i, extra in column.exceptions:
        differences[i] += extra
    if column.step:
        differences = list(map(add, differences, repeat(column.step)))
    return array("q", accumulate(differences, initial=column.first))


def pack_values(values: array[float]) -> bytes:
    """Write numbers with all their bits.

    Examples
    --------
    >>> len(pack_values(array("d", [0.5] * 100))), len(pack_values(array("d", [0.1] * 100)))
    (405, 805)
    """
    if _are_narrow(values[:64]) and _are_narrow(values):
        narrow = array("f", values)
        return HEAD.pack(4, len(values)) + little_endian(narrow)
    return HEAD.pack(WHOLE, len(values)) + little_endian(values)


def _are_narrow(values: array[float]) -> bool:
    return array("d", array("f", values)).tobytes() == values.tobytes()


def parse_values(data: bytes | memoryview) -> tuple[Column, int]:
    """Read the head of a column of values; gives how many bytes it takes in all, too."""
    width, count = HEAD.unpack_from(data)
    end = HEAD.size + width * count
    return Column(width, count, 0, 0, (), _part(data, HEAD.size, end)), end


def values(column: Column) -> array[float]:
    """Give the numbers of a column of values."""
    if column.width == WHOLE:
        return _from_little_endian("d", column.data)
    return array("d", _from_little_endian("f", column.data))


def little_endian(numbers: array[int] | array[float]) -> bytes:
    """Give the bytes of numbers, the least one first, on every machine."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _from_little_endian(code: str, data: bytes | memoryview) -> array[Any]:
    numbers: array[Any] = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
