"""Columns of codes into categories: of pandas, of the levels of an index, of Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_128_digest

from mlops_nb.fingerprint.scheme import ROWS, Column, Pass, digest_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST_LOOK = 4_096


class Categories:
    """The categories of a column by the digest of each.

    Parameters
    ----------
    values
        In the order of their codes; a missing one is None and counts as code -1.
    type_
        Their logical type.
    """

    def __init__(self, values: list[object], type_: str) -> None:
        # Not counted: they are part of the schema, which is known over the budget too.
        encode = Pass().encoder.encode
        self.type = type_
        self.digests = [b"" if v is None else xxh3_128_digest(encode(v)) for v in values]
        distinct = sorted({digest for digest in self.digests if digest})
        ranks = {digest: rank for rank, digest in enumerate(distinct)}
        self._has_missing = len(distinct) < len(values)
        # The last place stands for code -1.
        self.ranks = np.array([ranks.get(d, -1) for d in self.digests] + [-1], np.int32)
        self.table = np.frombuffer(b"".join(distinct), np.uint8).reshape(-1, 16)

    def has_gaps(self, codes: NDArray[Any]) -> bool:
        """Tell whether some of the codes may stand for a missing value."""
        is_signed = codes.dtype.kind == "i" and len(codes) > 0
        return self._has_missing or (is_signed and int(codes.min()) < 0)

    @property
    def order(self) -> bytes:
        """Digest of all categories, used or not, in their order."""
        return digest_of(*self.digests)


def coded_column(codes: NDArray[Any], categories: Categories, tracker: Pass) -> Column:
    """Read codes into categories; each chunk knows only the categories that it uses.

    So a new category in one row changes no other chunk, and neither order nor unused
    categories count.
    """
    tracker.take(codes.size * codes.itemsize)
    column = Column(f"dict<{categories.type}>", len(codes))
    for start in range(0, len(codes), ROWS):
        add_codes(codes[start : start + ROWS], categories, column, tracker)
    return column


def add_codes(
    codes: NDArray[Any],
    categories: Categories,
    column: Column,
    tracker: Pass,
    *,
    missing: NDArray[np.bool_] | None = None,
) -> None:
    """Add one chunk of codes to a column; what lies under a missing one does not count."""
    tracker.step()
    size = len(codes)
    places = np.frombuffer(tracker.scratch(8 * size, slot=1), np.int64, size)
    local = np.frombuffer(tracker.scratch(4 * size), np.int32, size)
    np.copyto(places, codes, casting="same_kind" if codes.dtype.kind == "i" else "unsafe")
    if missing is not None:
        np.copyto(places, -1, where=missing)
    table, used = _used(categories, places)
    table.take(places, out=local, mode="wrap")
    has_gaps = missing is not None or categories.has_gaps(codes)
    nulls = size - int(np.count_nonzero(local >= 0)) if has_gaps else 0
    column.add(digest_of(b"D", local, used), nulls, None, None, None)


def _used(
    categories: Categories, codes: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Number the categories that a chunk uses: the number of each code, and their digests."""
    is_used = np.zeros(len(categories.ranks), np.bool_)
    # Often a few rows show every category, and to ask the others is cheaper than to note them.
    is_used[codes[:_FIRST_LOOK]] = True
    others = codes[_FIRST_LOOK:]
    if len(others) and not _are_within(others, is_used):
        is_used[others] = True
    ranks_used = np.zeros(len(categories.table) + 1, np.bool_)
    ranks_used[categories.ranks[:-1][is_used[:-1]]] = True
    numbers = ranks_used.cumsum(dtype=np.int32)
    numbers -= 1
    numbers[-1] = -1
    return numbers[categories.ranks], categories.table[ranks_used[:-1]]


def _are_within(codes: NDArray[np.intp], is_used: NDArray[np.bool_]) -> bool:
    """Tell whether all codes are among those that are used already; -1 always is."""
    if is_used[:-1].all():
        return True
    places = np.flatnonzero(is_used[:-1])
    if len(places) and places[-1] - places[0] == len(places) - 1:
        # They are a run, so the least and the greatest code tell.
        least = -1 if places[0] == 0 else places[0]
        if least <= codes.min() and codes.max() <= places[-1]:
            return True
    return bool(is_used.take(codes, mode="wrap").all())
