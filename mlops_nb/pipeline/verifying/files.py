"""Files that steps hand to each other: each step alone finds them as the whole notebook did."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import field
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mlops_nb.model.pipelines import Pipeline

_ABSENT = ""


@record
class Snapshot:
    """How some files were at one time.

    Attributes
    ----------
    copies
        Path to its copy; None for one that was not there.
    digests
        Path to the digest of its content; empty for one that was not there.
    """

    copies: Mapping[str, Path | None] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


def exchanged_files(pipeline: Pipeline) -> tuple[str, ...]:
    """List the files that a step writes: only these differ from step to step."""
    return tuple(dict.fromkeys(path for s in pipeline.steps for path in s.writes_files))


def take(paths: Iterable[str], folder: Path, keep: Path) -> Snapshot:
    """Copy files as they are now.

    Parameters
    ----------
    paths
        As the notebook names them; folders and what cannot be read count as absent.
    folder
        Where the notebook runs.
    keep
        Where the copies go; a content that lies there already is not copied again.
    """
    copies: dict[str, Path | None] = {}
    digests = {}
    for path in paths:
        digests[path] = _digest(folder / path)
        copies[path] = None
        if digests[path]:
            copies[path] = copy = keep / digests[path].removeprefix("sha256:")
            if not copy.exists():
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / path, copy)
    return Snapshot(copies, digests)


def put_back(snapshot: Snapshot, folder: Path) -> None:
    """Make files what they were."""
    for path, copy in snapshot.copies.items():
        target = folder / path
        if _digest(target) == snapshot.digests[path]:
            continue
        if copy is None:
            target.unlink(missing_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(copy, target)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return _ABSENT
