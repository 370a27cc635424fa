"""The repository that a notebook lies in, and how what it needs is installed elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from pathlib import Path

_OURS = re.compile(r"(?im)^\s*[\"']?mlops[-_.]nb\b|name\s*=\s*[\"']mlops[-_.]nb[\"']")
_LARGEST_BYTES = 20_000_000


@record
class Installation:
    """What installs a project.

    Attributes
    ----------
    commands
        One a line, in the project's folder.
    runner
        Words that stand before a command that uses what was installed.
    notes
        What the user should know, as sentences.
    """

    commands: tuple[str, ...]
    runner: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def project_root(target: Path) -> Path | None:
    """Find the git repository that a path lies in; None if it lies in none."""
    for folder in (target, *target.parents):
        if (folder / ".git").exists():
            return folder
    return None


def installation_of(root: Path) -> Installation:
    """Say how a project is installed: from its lock if it has one, else from what it names."""
    for file, made in _WAYS:
        if (root / file).is_file():
            text = _read(root / file)
            return made(file, text)
    note = f"{root.name} names no packages: add a requirements.txt (mlops-nb env lock makes one)."
    return Installation((f"{_PIP} mlops-nb ipykernel",), notes=(note,))


_PIP = "python -m pip install"


def _uv(_file: str, text: str) -> Installation:
    commands = (f"{_PIP} uv", "uv sync --locked")
    return Installation(commands, ("uv", "run", "--no-sync"), _missing(text, "uv add mlops-nb"))


def _poetry(_file: str, text: str) -> Installation:
    commands = (f"{_PIP} poetry", "poetry install --no-interaction")
    return Installation(commands, ("poetry", "run"), _missing(text, "poetry add mlops-nb"))


def _pylock(file: str, text: str) -> Installation:
    commands = (f"{_PIP} uv", f"uv pip install --system -r {file}")
    return _with_ours(commands, text, file)


def _requirements(file: str, text: str) -> Installation:
    hashes = "--require-hashes " if "--hash=" in text else ""
    return _with_ours((f"{_PIP} {hashes}-r {file}",), text, file)


def _project(file: str, text: str) -> Installation:
    return _with_ours((f"{_PIP} .",), text, file)


_WAYS = (
    ("uv.lock", _uv),
    ("poetry.lock", _poetry),
    ("pylock.toml", _pylock),
    ("requirements.txt", _requirements),
    ("pyproject.toml", _project),
)


def _with_ours(commands: tuple[str, ...], text: str, file: str) -> Installation:
    """Install mlops-nb too, where the project does not name it."""
    if _OURS.search(text):
        return Installation(commands)
    note = f"{file} does not name mlops-nb, so the newest one is installed: better add it."
    return Installation((*commands, f"{_PIP} mlops-nb"), notes=(note,))


def _missing(text: str, remedy: str) -> tuple[str, ...]:
    if _OURS.search(text):
        return ()
    return (f"The lock does not name mlops-nb, which is needed there: {remedy}",)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_LARGEST_BYTES).decode("utf-8", "replace")
