"""What git says of a working copy: asked without prompts, locks, network or the user's drivers.

A repository is data like any other: git must not run programs that its settings name (file
system monitor, external diff, text conversion), must not fetch what a partial clone lacks, and
must not be pointed elsewhere by variables of the user's shell.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.environment.commands import ask
from mlops_nb.environment.machine import head
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.environment.commands import Answer
    from mlops_nb.model import Json

_SETTINGS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.quotePath=false",
    "diff.autoRefreshIndex=false",
)
_OWN_VARIABLES = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C",
}
_SETTINGS_BYTES = 65_536


@record
class Status:
    """Where a working copy stands.

    Attributes
    ----------
    commit, branch
        None before the first commit, None if detached.
    changes
        Tracked files that differ from the commit: path from the root -> git's two letters.
    told
        What git wrote, to see whether anything is different.
    """

    commit: str | None
    branch: str | None
    changes: dict[str, str]
    told: bytes


def git_state(folder: str | Path, timeout_s: float = 1.0) -> dict[str, Json] | None:
    """Read the state of the repository that a folder is in, by one call of git.

    Parameters
    ----------
    folder
        Anywhere in the working copy.
    timeout_s
        git is ended after this many seconds.

    Returns
    -------
    dict or None
        ``commit`` (None before the first), ``branch`` (None if detached), ``dirty`` (tracked
        files differ from the commit), ``root``, ``remote`` (URL without credentials, or None).
        None outside a repository, without git, and if git fails or hangs.

    Examples
    --------
    >>> git_state("/nowhere") is None
    True
    """
    root = git_root(folder)
    status = read_status(root, timeout_s) if root else None
    return None if root is None or status is None else describe(root, status)


def describe(root: Path, status: Status) -> dict[str, Json]:
    """Write a status down as runs keep it."""
    return {
        "commit": status.commit,
        "branch": status.branch,
        "dirty": bool(status.changes),
        "root": shown(str(root)),
        "remote": remote_of(root),
    }


def git_root(folder: str | Path) -> Path | None:
    """Find the working copy that a folder is in, without asking git."""
    try:
        start = Path(folder).resolve()
        return next((one for one in (start, *start.parents) if (one / ".git").exists()), None)
    except (OSError, RuntimeError, ValueError):
        return None


def ask_git(
    root: Path, *arguments: str, timeout_s: float, limit_bytes: int = 1 << 26
) -> Answer | None:
    """Ask git in a working copy; None if it is not there, hangs, or says no."""
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    # A repository named by the user's variables would not be the one of the folder.
    variables = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    answer = ask(
        ["git", "--no-optional-locks", *settings, "-C", str(root), *arguments],
        timeout_s=timeout_s,
        variables={**variables, **_OWN_VARIABLES},
        limit_bytes=limit_bytes,
    )
    return answer if answer is not None and answer.status == 0 else None


def read_status(root: Path, timeout_s: float) -> Status | None:
    """Read commit, branch and changed tracked files; None if git cannot say."""
    answer = ask_git(
        root, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=no",
        "--no-renames", timeout_s=timeout_s,
    )  # fmt: skip
    if answer is None or answer.is_cut:
        return None
    fields = answer.output.split(b"\0")
    heads = dict(_heads(fields))
    commit, branch = heads.get("branch.oid"), heads.get("branch.head")
    return Status(
        commit=None if commit == "(initial)" else commit,
        branch=None if branch == "(detached)" else branch,
        changes=dict(_changes(fields)),
        told=answer.output,
    )


def _heads(fields: list[bytes]) -> Iterator[tuple[str, str]]:
    for field in fields:
        if field.startswith(b"# "):
            name, _, value = field[2:].decode("utf-8", "replace").partition(" ")
            yield name, value


# How many words come before the path in each kind of line.
_WORDS = {b"1 ": 8, b"2 ": 9, b"u ": 10}


def _changes(fields: list[bytes]) -> Iterator[tuple[str, str]]:
    for field in fields:
        words = _WORDS.get(field[:2])
        if words is not None:
            *before, path = field.split(b" ", words)
            yield os.fsdecode(path), before[1].decode("ascii", "replace")


def shown(path: str) -> str:
    """Write a path so that it can be kept: names need not be text for the file system."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def remote_of(root: Path) -> str | None:
    """Read the address of the repository's origin, or else its first remote."""
    text = head(str(git_folders(root)[1] / "config"), _SETTINGS_BYTES)
    section = ""
    found: dict[str, str] = {}
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped
        elif match := re.match(r"url\s*=\s*(\S+)", stripped):
            found.setdefault(section, match[1])
    remotes = {name: url for name, url in found.items() if name.startswith("[remote ")}
    url = remotes.get('[remote "origin"]') or next(iter(remotes.values()), None)
    return without_credentials(url) if url else None


def git_folders(root: Path) -> tuple[Path, Path]:
    """Give the folder with a working copy's index, and the one with the repository's settings.

    They are one, but for a linked working copy.
    """
    marker = root / ".git"
    if marker.is_dir():
        return marker, marker
    folder = root / head(str(marker)).removeprefix("gitdir:").strip()
    common = head(str(folder / "commondir")).strip()
    return folder, folder / common if common else folder


def without_credentials(url: str) -> str:
    """Remove user, password, query and fragment from the address of a repository.

    Examples
    --------
    >>> without_credentials("https://me:secret@example.org/team/code.git?token=x")
    'https://example.org/team/code.git'
    >>> without_credentials("git@example.org:team/code.git")
    'git@example.org:team/code.git'
    """
    scheme, separator, rest = url.partition("://")
    if separator:
        authority, slash, path = re.split(r"[?#]", rest)[0].partition("/")
        return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    user, at, place = url.partition("@")
    return url if not at or user == "git" or "/" in user else place
