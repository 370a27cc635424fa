"""A bound for what a step's cell may print into its executed notebook.

A cell that prints without end would fill memory first, and then the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

CAP_BYTES = 20_000_000
"""Text of the streams of one cell; the rest is left out, and a line says so."""


class StreamCap:
    """Counts what cells print, and cuts what is too much.

    Parameters
    ----------
    limit
        Letters of one cell.
    """

    def __init__(self, limit: int = CAP_BYTES) -> None:
        self._limit = limit
        self._printed: dict[int, int] = {}

    def allowed(self, message: Mapping[str, Any], cell_index: int) -> Mapping[str, Any] | None:
        """Give a message as it may be taken in; None if nothing more may."""
        if message["msg_type"] != "stream":
            return message
        text = message["content"]["text"]
        before = self._printed.get(cell_index, 0)
        self._printed[cell_index] = before + len(text)
        if before + len(text) <= self._limit:
            return message
        if before > self._limit:
            return None
        self._printed[cell_index] = self._limit + 1
        kept = text[: self._limit - before]
        remark = f"\n… more than {self._limit:,} letters were printed; the rest was left out.\n"
        return {**message, "content": {**message["content"], "text": kept + remark}}
