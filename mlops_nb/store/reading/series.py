"""All values of a metric, packed into few rows.

A chunk is three columns (steps, values, times), see `store.columns`: about 12 bytes a point in
practice. Chunks are merged as a series grows: a point is rewritten about log4(65,536 / batch)
times, and a series of a million points takes some tens of rows.
"""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from mlops_nb.store.reading import columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CHUNK_POINTS = 65_536
_FULL = CHUNK_POINTS // 2
_WIDTH = 8
MARK = b"\x02"
"""First byte of a block; one without it begins as zlib does."""

_LARGEST = 2**63 - 1

Origin: TypeAlias = tuple[str | None, str, str | None, bool]
"""Execution, binding and fit that some points share, and whether we counted their steps."""


@dataclass(slots=True)
class Points:
    """Points in the order logged; `spans` says how many in a row share an `Origin`."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    at_ns: array[int] = field(default_factory=lambda: array("q"))
    spans: list[tuple[int, Origin]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def add(self, step: int, value: float, at_ns: int, origin: Origin) -> None:
        """Append one point."""
        try:
            self.steps.append(step)
        except OverflowError:  # no more than 64 bits are kept
            self.steps.append(_LARGEST if step > 0 else -_LARGEST)
        self.values.append(value)
        self.at_ns.append(at_ns)
        spans = self.spans  # as `_span` does, without a call for each of a million points
        if spans and spans[-1][1] == origin:
            spans[-1] = (spans[-1][0] + 1, origin)
        else:
            spans.append((1, origin))

    def extend(self, other: Points) -> None:
        """Append all points of another."""
        self.steps.extend(other.steps)
        self.values.extend(other.values)
        self.at_ns.extend(other.at_ns)
        for count, origin in other.spans:
            self._span(count, origin)

    def split(self, size: int) -> Iterator[Points]:
        """Cut into pieces of at most `size` points."""
        if len(self) <= size:
            yield self
            return
        for start in range(0, len(self), size):
            end = start + size
            piece = Points(self.steps[start:end], self.values[start:end], self.at_ns[start:end])
            piece.spans = list(_cut_spans(self.spans, start, end))
            yield piece

    def part(self, fit: str) -> tuple[Points, Points]:
        """Part into the points of a fit and the others."""
        theirs, others = Points(), Points()
        for step, value, at_ns, origin in self:
            (theirs if origin[2] == fit else others).add(step, value, at_ns, origin)
        return theirs, others

    def count_steps(self) -> None:
        """Number again, each one more than the one before, the points whose steps we counted."""
        last = -1
        for index, (step, _, _, origin) in enumerate(self):
            last = last + 1 if origin[3] else step
            self.steps[index] = last

    def __iter__(self) -> Iterator[tuple[int, float, int, Origin]]:
        """Give step, value, time and origin of each point."""
        origins = (origin for count, origin in self.spans for _ in range(count))
        return zip(self.steps, self.values, self.at_ns, origins, strict=True)

    def _span(self, count: int, origin: Origin) -> None:
        if self.spans and self.spans[-1][1] == origin:
            self.spans[-1] = (self.spans[-1][0] + count, origin)
        else:
            self.spans.append((count, origin))


def _cut_spans(
    spans: Iterable[tuple[int, Origin]], start: int, end: int
) -> Iterator[tuple[int, Origin]]:
    at = 0
    for count, origin in spans:
        inside = min(end, at + count) - max(start, at)
        if inside > 0:
            yield inside, origin
        at += count


def pack(points: Points) -> bytes:
    """Write steps, values and times as one block."""
    steps, times = (columns.pack_integers(c) for c in (points.steps, points.at_ns))
    return b"".join((MARK, steps, columns.pack_values(points.values), times))


def unpack(data: bytes, spans: Iterable[Any]) -> Points:
    """Read what `pack` wrote; `spans` is as `spans_as_json` gives them."""
    points = _inflated(data) if is_deflated(data) else _unpacked(data)
    points.spans = [(count, (who, how, fit, counted)) for count, who, how, fit, counted in spans]
    return points


def parse(data: bytes) -> tuple[columns.Column, columns.Column, columns.Column]:
    """Read the heads of the columns in a block: steps, values, times."""
    view = memoryview(data)
    steps, end = columns.parse_integers(view[1:])
    values, more = columns.parse_values(view[1 + end :])
    return steps, values, columns.parse_integers(view[1 + end + more :])[0]


def is_deflated(data: bytes) -> bool:
    """Say whether a block was written by the first version of this package."""
    return not data.startswith(MARK)


def _unpacked(data: bytes) -> Points:
    steps, values, times = parse(data)
    return Points(columns.integers(steps), columns.values(values), columns.integers(times))


def spans_as_json(points: Points) -> list[list[object]]:
    """Give the spans as ``[[count, execution, binding, fit, is_counted], …]``."""
    return [[count, *origin] for count, origin in points.spans]


def chunks_to_merge(counts: Sequence[int], added: int) -> int:
    """Say how many of the last chunks are to be rewritten together with new points.

    Parameters
    ----------
    counts
        Sizes of the chunks there are, in order.
    added
        Number of new points.

    Returns
    -------
    int
        0 while fewer than three small chunks of the new one's magnitude stand before it, so
        that each point is rewritten once per factor of four.

    Examples
    --------
    >>> chunks_to_merge([4000, 10, 10], 10), chunks_to_merge([4000, 10, 10, 10], 10)
    (0, 3)
    """
    taken, total = 0, added
    while True:
        level = total.bit_length() // 2
        rest = counts[: len(counts) - taken]
        alike = 0
        for count in reversed(rest):
            if count >= _FULL or count.bit_length() // 2 > level:
                break
            alike += 1
        if alike < 3 or total >= _FULL:  # noqa: PLR2004 - with the new one they are four
            return taken
        taken += alike
        total += sum(rest[-alike:])


def _inflated(data: bytes) -> Points:
    """Read a block as the first version wrote them: bytes of equal weight together, deflated."""
    raw = zlib.decompress(data)
    size = len(raw) // 3
    parts = [_unshuffled(raw[i * size : (i + 1) * size]) for i in range(3)]
    steps, values, times = (columns.Column(_WIDTH, 0, 0, 0, (), part) for part in parts)
    return Points(columns.integers(steps), columns.values(values), columns.integers(times))


def _unshuffled(raw: bytes) -> bytes:
    count = len(raw) // _WIDTH
    out = bytearray(len(raw))
    for i in range(_WIDTH):
        out[i::_WIDTH] = raw[i * count : (i + 1) * count]
    return bytes(out)
