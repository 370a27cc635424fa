"""Code of the project that a run imported: what of it is another now."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.environment.git import ask_git, git_root
from mlops_nb.environment.modules import project_root
from mlops_nb.source import code_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.model import Json

_GIT_TIMEOUT_S = 5.0
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_LARGEST = 1 << 22


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A module that is not what it was.

    Attributes
    ----------
    path
        Below the root of the project.
    was_imported
        Whether the record says that the run had imported it.
    """

    path: str
    was_imported: bool


def changed_code(git: Mapping[str, Json] | None, folder: Path) -> tuple[CodeChange, ...]:
    """Find the modules of a project that have changed since a run.

    Parameters
    ----------
    git
        Of the run: ``modules`` are those that were not as committed, with their digests; all
        others were as in ``commit``.
    folder
        Where the notebook stands now.

    Returns
    -------
    tuple of CodeChange
        Imported ones first. Layout and comments are no change.

    Examples
    --------
    >>> changed_code(None, Path())
    ()
    """
    recorded = _modules(git or {})
    if git is None:
        return ()
    root = project_root(folder)
    changed = [CodeChange(path, was_imported=True) for path in _edited(recorded, root)]
    tracked = _since_commit(str(git.get("commit") or ""), root)
    others = [CodeChange(path, was_imported=False) for path in tracked if path not in recorded]
    return (*changed, *others)


def _modules(git: Mapping[str, Json]) -> dict[str, Mapping[str, Json]]:
    found = git.get("modules") or ()
    return {str(one.get("path")): one for one in found if isinstance(one, dict)}


def _edited(recorded: Mapping[str, Mapping[str, Json]], root: Path) -> Iterator[str]:
    for path, facts in recorded.items():
        data = _read(root, path)
        if not facts.get("digest"):
            continue
        if data is None or _differs(facts, data):
            yield path


def _differs(facts: Mapping[str, Json], data: bytes) -> bool:
    if facts["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}":
        return False
    known = facts.get("code_digest")
    return not known or known != code_digest(data.decode("utf-8", "replace"))


def _read(root: Path, path: str) -> bytes | None:
    """Read a module below the root; None where there is none. A record may name any path."""
    file = root / path
    try:
        if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(root)):
            return None
        with file.open("rb") as opened:
            return opened.read(_LARGEST)
    except (OSError, ValueError):
        return None


def _since_commit(commit: str, root: Path) -> list[str]:
    """Name the tracked modules that are not as in a commit; none where git cannot say."""
    if not _COMMIT.fullmatch(commit) or git_root(root) is None:
        return []
    answer = ask_git(
        root, "diff", "--name-only", "-z", "--no-ext-diff", "--no-renames", commit, "--", "*.py",
        timeout_s=_GIT_TIMEOUT_S,
    )  # fmt: skip
    if answer is None:
        return []
    return [os.fsdecode(path) for path in answer.output.split(b"\0") if path]
