"""Modules of the project among all that a process has imported.

Of the project is what lies below the root of its working copy and was not installed there: the
standard library, ``site-packages`` and virtual environments are none of it. Nothing of a module is
asked but the file it says it came from, and that without its own code: looking at an attribute
of a lazy module would import it.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mlops_nb.environment.git import git_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_INSTALLED = ("site-packages", "dist-packages")
_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg", ".mlops")
_ENVIRONMENT_FILES = ("pyvenv.cfg", "conda-meta")
_STANDARD = os.path.dirname(os.path.realpath(os.__file__)) + os.sep  # noqa: PTH120
_names_of: Callable[[ModuleType], Mapping[str, object]] = vars(ModuleType)["__dict__"].__get__


def file_of(module: object) -> str | None:
    """Give the file that a module says it came from."""
    if not isinstance(module, ModuleType):
        return None
    file = _names_of(module).get("__file__")
    return file if isinstance(file, str) else None


def files_of(modules: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Give name and file of each module that has one."""
    for name, module in modules.items():
        file = file_of(module)
        if file is not None and name.__class__ is str:
            yield name, file


def project_root(folder: str | Path) -> Path:
    """Find the root of a project: its working copy, or the next folder that says it is one."""
    start = Path(os.path.realpath(folder))
    found = git_root(start)
    if found is not None:
        return found
    home = Path.home()
    for one in (start, *start.parents):
        if one in {home, Path(one.anchor)}:
            break
        if any((one / name).exists() for name in _PROJECT_FILES):
            return one
    return start


class ProjectModules:
    """Which files belong to a project, remembered by their names.

    Parameters
    ----------
    root
        Of the project, without links in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._prefix = self.root.rstrip(os.sep) + os.sep
        self._seen: dict[str, int] = {}
        self._mine: dict[str, str] = {}
        self._folders: dict[str, str | None] = {}
        self._repositories: dict[str, str] = {}

    def find(self, modules: Mapping[str, object]) -> dict[str, str]:
        """Give the files of the project among those of modules.

        Returns
        -------
        dict
            Path below the root -> path to open, in the order in which they were imported.
        """
        seen, mine = self._seen, self._mine
        for name in [name for name, module in modules.items() if seen.get(name) != id(module)]:
            module = modules[name]
            seen[name] = id(module)
            file = file_of(module)
            place = None if file is None else self._place(file)
            mine.pop(name, None)
            if place is not None:
                mine[name] = place
        found: dict[str, str] = {}
        for name, place in mine.items():
            file = file_of(modules.get(name))
            if file is not None:
                found[place] = file
        return found

    def _place(self, file: str) -> str | None:
        """Say where a file is below the root, None if it is not of the project."""
        if "\0" in file:
            return None
        folder, name = os.path.split(file)
        if folder not in self._folders:
            self._folders[folder] = self._folder_place(folder)
        below = self._folders[folder]
        return None if below is None else below + name

    def _folder_place(self, folder: str) -> str | None:
        if any(part in folder for part in _INSTALLED):
            return None
        real = os.path.realpath(folder or ".") + os.sep
        if not real.startswith(self._prefix) or real.startswith(_STANDARD):
            return None
        below = real[len(self._prefix) :]
        return None if any(map(self._is_installed, _prefixes(below))) else below

    def _is_installed(self, below: str) -> bool:
        """Whether a folder below the root holds what was installed."""
        place = self._prefix + below
        return os.path.basename(below.rstrip(os.sep)) in _INSTALLED or any(  # noqa: PTH119
            os.path.exists(place + name)  # noqa: PTH110
            for name in _ENVIRONMENT_FILES
        )

    def by_repository(self, places: Iterable[str]) -> dict[str, list[str]]:
        """Sort files by the working copy they are in: a project may hold others.

        Returns
        -------
        dict
            Path of the working copy below the root (empty for the root, else with a slash at its
            end) -> files.
        """
        found: dict[str, list[str]] = {}
        for place in places:
            found.setdefault(self._repository(place), []).append(place)
        return found

    def _repository(self, place: str) -> str:
        folder = place[: place.rfind(os.sep) + 1]
        if folder not in self._repositories:
            inner = [p for p in _prefixes(folder) if os.path.exists(self._prefix + p + ".git")]  # noqa: PTH110
            self._repositories[folder] = inner[-1] if inner else ""
        return self._repositories[folder]


def _prefixes(below: str) -> Iterator[str]:
    """Give the folders that lead to a folder, outermost first, each with a slash."""
    at = below.find(os.sep)
    while at >= 0:
        yield below[: at + 1]
        at = below.find(os.sep, at + 1)
