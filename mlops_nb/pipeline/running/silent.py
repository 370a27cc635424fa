"""Magics that fail without an error: IPython writes one line to stderr, and the cell goes on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_USAGE = re.compile(r"^(?:\x1b\[[0-9;]*m)*UsageError:?(?:\x1b\[[0-9;]*m)*:?\s*(.*)$", re.MULTILINE)
_MAGIC = re.compile(r"^\s*(?:\w[\w, ]*=\s*)?%{1,2}\w", re.MULTILINE)
_ALLOWED = "raises-exception"


def silent_failure(executed: Path) -> dict[str, Any] | None:
    """Find the first cell of an executed notebook in which a magic failed silently.

    Parameters
    ----------
    executed
        A notebook file.

    Returns
    -------
    dict or None
        ``id`` of the cell, ``type``, ``message``, ``line`` and ``lines``.
    """
    notebook = json.loads(executed.read_bytes())
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", ())
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or _ALLOWED in tags or not _MAGIC.search(source):
            continue
        for message in _complaints(cell):
            line = next(n for n, text in enumerate(source.splitlines(), 1) if _MAGIC.match(text))
            return {
                "id": cell.get("id"),
                "type": "UsageError",
                "message": message,
                "line": line,
                "lines": [f"> {line:>3}  {source.splitlines()[line - 1]}"],
            }
    return None


def _complaints(cell: Mapping[str, Any]) -> Iterator[str]:
    for output in cell["outputs"]:
        if output["output_type"] == "stream" and output["name"] == "stderr":
            found = _USAGE.search("".join(output["text"]))
            if found:
                yield found[1].strip() or "a magic was used wrongly"
