"""Columns of codes into categories: of pandas, of the levels of an index, of Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_nb.fingerprint.scheme import ROWS, Column, digest_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlops_nb.fingerprint.scheme import Pass


class Categories:
    """The categories of a column by the digest of each.

    Parameters
    ----------
    values
        In the order of their codes; a missing one is None and counts as code -1.
    type_
        Their logical type.
    tracker
        Counts the bytes.
    """

    def __init__(self, values: list[object], type_: str, tracker: Pass) -> None:
        encode = tracker.encoder.encode
        self.type = type_
        self.digests = [b"" if v is None else digest_of(encode(v)) for v in values]
        distinct = sorted({digest for digest in self.digests if digest})
        ranks = {digest: rank for rank, digest in enumerate(distinct)}
        # The last place stands for code -1.
        self.ranks = np.array([ranks.get(d, -1) for d in self.digests] + [-1], np.int32)
        self.table = np.frombuffer(b"".join(distinct), np.uint8).reshape(-1, 16)

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
        piece = codes[start : start + ROWS]
        ranks = categories.ranks[piece]
        used = np.zeros(len(categories.table) + 1, np.bool_)
        used[ranks] = True
        nulls = int(np.count_nonzero(ranks < 0)) if used[-1] else 0
        local = np.cumsum(used, dtype=np.int32) - np.int32(1)
        local[-1] = -1
        chunk = digest_of(b"D", local[ranks], categories.table[used[:-1]])
        column.add(chunk, nulls, None, None, None)
    return column
