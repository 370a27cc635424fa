"""The canonical scheme ``nbfp1``: how content becomes a digest.

Everything here is part of the scheme: a change of one byte makes every stored digest
incomparable, so it would need another name. ``H`` is xxh3_128, chosen because it runs at memory
bandwidth; it is no protection against somebody who wants two values to collide.

- A column is split in chunks of 65,536 rows, wherever its memory happens to be split.
- ``chunk = H(form, payload)``; the form is one byte:
  ``-`` values of fixed width, little-endian, or texts (lengths in UTF-8 as uint32, then the
  digest of all bytes); ``N`` the same with missing values: first the mask (1 is missing, lowest
  bit first), then the values with zeros (texts: length 0) in the missing places;
  ``D`` codes (int32, -1 missing) into the used categories in order of their digests, then those;
  ``L`` lists (mask, lengths, digest of all items); ``S`` structs (mask, digest of each field);
  ``R`` sparse (positions, values); ``I F B`` Python integers, floats, booleans of one type;
  ``O`` other objects, each in the encoding of `plain`.
- Any NaN is the quiet one with an empty payload; -0.0 stays. Times are int64 in their own unit
  and NaT is the smallest int64.
- ``column = H(logical type, 0, rows, 0, extra, 0, chunks)``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_128

from mlops_nb.model import ColumnFingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_nb.fingerprint.plain import Encoder
    from mlops_nb.model import Fingerprint

ROWS = 65_536
"""Rows of one chunk of a column."""

CHUNK_BYTES = 524_288
"""Size of one chunk of an array, in whole rows: 65,536 numbers of 8 bytes, kept in the cache."""

PREFIX = "nbfp1:"

_eight_bytes = struct.Struct("<Q").pack


class OpaqueValueError(Exception):
    """Nothing can be said about a value, of the class named, without trusting its own code."""


# What reading a broken, foreign or just then changing object can raise, anything that is not
# the user's own interrupt; listed, because a blanket catch would hide our mistakes in tests.
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    OpaqueValueError,
    RuntimeError,
    TypeError,
    ValueError,
    Warning,
)


class OverBudgetError(Exception):
    """The bytes read so far are more than the caller wants to pay for."""


class Pass:
    """One pass over one value: counts its bytes, stops at the budget, lends memory.

    Attributes
    ----------
    budget_bytes
        Where to stop; None reads everything.
    size_bytes
        Bytes read so far.
    """

    __slots__ = ("_encoder", "_scratch", "budget_bytes", "size_bytes")

    def __init__(self, budget_bytes: int | None = None) -> None:
        self.budget_bytes = budget_bytes
        self.size_bytes = 0
        self._scratch: list[Any] = [bytearray(), bytearray(), bytearray()]
        self._encoder: Encoder | None = None

    def take(self, size_bytes: int) -> None:
        """Count bytes before they are read."""
        self.size_bytes += size_bytes
        if self.budget_bytes is not None and self.size_bytes > self.budget_bytes:
            raise OverBudgetError

    def step(self) -> None:
        """Be told that a chunk was read: a pass in the background gives way or stops here."""

    def scratch(self, size_bytes: int, *, slot: int = 0) -> Any:
        """Lend an array of bytes until the next call; fresh ones would cost 20 times a read.

        Slot 0 is for values made canonical, 1 and 2 for values gathered from strided memory.
        """
        if len(self._scratch[slot]) < size_bytes:
            # Only readers of arrays ask; NumPy's memory lies in few large pages.
            from numpy import empty

            self._scratch[slot] = empty(size_bytes, "u1")
        return self._scratch[slot]

    @property
    def encoder(self) -> Encoder:
        """The encoder of plain values, one a pass, so that it sees shared containers."""
        if self._encoder is None:
            from mlops_nb.fingerprint.plain import Encoder

            self._encoder = Encoder(self)
        return self._encoder


@dataclass(slots=True)
class Column:
    """A column while it is read; see `mlops_nb.model.ColumnFingerprint`.

    Attributes
    ----------
    physical
        How the values are stored, for the schema digest.
    total
        Sum of the values that are there, None where it means nothing.
    is_opaque
        Whether some value could not be read; the digest is then empty.
    """

    type: str
    rows: int
    physical: str = ""
    extra: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    nulls: int = 0
    low: Any = None
    high: Any = None
    total: float | None = None
    is_opaque: bool = False

    def add(self, chunk: bytes, nulls: int, low: Any, high: Any, total: Any) -> None:
        """Take in one chunk with its statistics; NaN and None bounds are left out."""
        self.chunks.append(chunk)
        self.nulls += nulls
        # A comparison with itself tells NaN apart.
        if low is not None and low == low and (self.low is None or low < self.low):  # noqa: PLR0124
            self.low = low
        if high is not None and high == high and (self.high is None or high > self.high):  # noqa: PLR0124
            self.high = high
        if total is not None:
            self.total = total if self.total is None else self.total + total

    @property
    def digest(self) -> bytes:
        """Digest of the values, empty for an opaque column."""
        if self.is_opaque:
            return b""
        return column_digest(self.type, self.rows, self.chunks, self.extra)

    def mean(self) -> float | None:
        """Mean of the values that are there."""
        present = self.rows - self.nulls
        if self.total is None or not present or self.total != self.total:
            return None
        return float(self.total) / present

    def record(self, name: str, digest: bytes) -> ColumnFingerprint:
        """Make the public record; `digest` is given because it is known by then."""
        return ColumnFingerprint(
            name,
            self.type,
            digest.hex(),
            tuple([chunk.hex() for chunk in self.chunks]),
            self.rows,
            self.nulls,
            self.low,
            self.high,
            self.mean(),
        )


def digest_of(*parts: Any) -> bytes:
    """Hash contiguous buffers one after the other."""
    hasher = xxh3_128()
    for part in parts:
        hasher.update(part)
    digest: bytes = hasher.digest()
    return digest


def column_digest(type_: str, rows: int, chunks: Iterable[bytes], extra: bytes = b"") -> bytes:
    """Combine the chunks of a column."""
    head = b"%b\0%d\0%b\0" % (type_.encode(), rows, extra)
    return xxh3_128(head + b"".join(chunks)).digest()


def sequence_digest(tag: str, parts: Iterable[bytes]) -> bytes:
    """Combine parts of any length in order; `tag` keeps kinds of things apart."""
    pieces = [piece for part in parts for piece in (_eight_bytes(len(part)), part)]
    return xxh3_128(tag.encode() + b"\0" + b"".join(pieces)).digest()


def as_text(digest: bytes) -> str:
    """Write a digest as ``nbfp1:…``, and an empty one as nothing."""
    return PREFIX + digest.hex() if digest else ""


def digest_inside(found: Fingerprint) -> str:
    """Return the digest of a value that is a part of another one.

    Raises
    ------
    OverBudgetError, OpaqueValueError
        There is none.
    """
    if found.digest:
        return found.digest
    raise OverBudgetError if found.assurance == "skipped:budget" else OpaqueValueError(found.kind)


def quoted(name: str) -> str:
    r"""Make a name safe inside a logical type: ``\``, ``,``, ``<``, ``>``, ``:`` and NUL escaped.

    Examples
    --------
    >>> quoted("a:b")
    'a\\x3ab'
    """
    if not any(character in name for character in "\\,<>:\0"):
        return name
    return "".join(f"\\x{ord(c):02x}" if c in "\\,<>:\0" else c for c in name)


def schema_digest(kind: str, parts: Iterable[str | bytes]) -> str:
    """Hash names, physical types and index kinds."""
    encoded = [
        part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts
    ]
    return as_text(sequence_digest(f"schema {kind}", encoded))
