"""A process that loads two stored values and says in words how they differ."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mlops_nb.packaging import unpack
from mlops_nb.packaging.record import packed_from_document

_LONGEST = 60


def difference_of(before: object, after: object) -> str:
    """Say how two values differ, as a clause; empty if nothing is known to say.

    Examples
    --------
    >>> difference_of(0.5, 0.25)
    '0.5 → 0.25'
    """
    if type(before) is not type(after):
        return f"{type(before).__name__} → {type(after).__name__}"
    shown = repr(before), repr(after)
    if shown[0] != shown[1] and max(map(len, shown)) <= _LONGEST:
        return " → ".join(shown)
    return _by_columns(before, after)


def _by_columns(before: object, after: object) -> str:
    from mlops_nb.fingerprint.difference import diff_data

    found: Any = diff_data(before, after)
    text = str(getattr(found, "summary", "") or getattr(found, "change", ""))
    columns = [c.name for c in getattr(found, "columns", ()) if c.change != "same" and c.name]
    return f"{text} ({', '.join(columns[:5])})" if columns else text


def main() -> int:
    """Read ``[{"unit", "folder"}, …]`` from standard input, and write a clause."""
    name = sys.argv[1]
    values = []
    for told in json.load(sys.stdin):
        unit = packed_from_document(told["unit"])
        values.append(unpack(unit, Path(told["folder"]), namespace={})[name])
    sys.stdout.write(difference_of(*values))
    return 0


if __name__ == "__main__":
    sys.exit(main())
