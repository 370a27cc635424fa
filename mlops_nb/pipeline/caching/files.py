"""Files that a step reads, as the digests of what is in them now."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.capture.files.digest import Digests
from mlops_nb.fingerprint.scheme import as_text, sequence_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_nb.model import Json

_BUDGET_BYTES = 1 << 40
_MISSING = {"missing": True}


def file_part(
    paths: Iterable[str], folder: Path, digests: Digests | None = None
) -> tuple[dict[str, Json], list[str]]:
    """Describe files as they are now.

    Parameters
    ----------
    paths
        As the text says them: from `folder` on, or absolute; patterns and folders, too.
    folder
        Where the step runs.
    digests
        Remembers what was read.

    Returns
    -------
    part
        By path ``{"digest", "size_bytes"}``, or ``{"missing": True}``.
    problems
        What cannot be known, as clauses: with one, no results can be used again.
    """
    reader = digests or Digests()
    found: dict[str, Json] = {}
    problems: list[str] = []
    for path in sorted(set(paths)):
        described = describe_file(path, folder, reader)
        if isinstance(described, str):
            problems.append(described)
        else:
            found[path] = described
    return found, problems


def describe_file(path: str, folder: Path, digests: Digests) -> dict[str, Json] | str:
    """Describe one file, folder or pattern; a clause for what cannot be known."""
    if "://" in path and not path.startswith("file://"):
        return f"it reads {shown(path)}, whose content nobody knows before it is read"
    place = os.path.join(folder, os.path.expanduser(path.removeprefix("file://")))  # noqa: PTH111, PTH118
    if not os.path.lexists(place) and glob.has_magic(path):
        return _described_pattern(place, folder, digests)
    if not os.path.exists(place):  # noqa: PTH110
        return dict(_MISSING)
    content = digests.content(place, budget_bytes=_BUDGET_BYTES)
    if content.assurance != "exact":
        if Path(place).is_dir() and not any(Path(place).iterdir()):
            return {"digest": as_text(sequence_digest("folder", [])), "size_bytes": 0}
        return f"it reads {shown(path)}, which cannot be read as a whole"
    return {"digest": content.digest, "size_bytes": content.size_bytes}


def _described_pattern(place: str, folder: Path, digests: Digests) -> dict[str, Json] | str:
    """Describe all files that a pattern finds, with their names."""
    pieces: list[bytes] = []
    size = 0
    for path in sorted(glob.glob(place, recursive=True)):  # noqa: PTH207  as the text says it
        if not os.path.isfile(path):  # noqa: PTH113
            continue
        content = digests.content(path, budget_bytes=_BUDGET_BYTES)
        if content.assurance != "exact":
            return f"it reads {shown(path)}, which cannot be read as a whole"
        pieces += [os.fsencode(os.path.relpath(path, folder)), content.digest.encode()]
        size += content.size_bytes or 0
    return {"digest": as_text(sequence_digest("pattern", pieces)), "size_bytes": size}


def shown(path: str) -> str:
    """Write a path for people, without what opens it."""
    from mlops_nb.redact import redact

    return redact(path)[:200]
