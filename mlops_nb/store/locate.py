"""Where a notebook's store is: found by walking up, as git does; no database is touched.

The kernel needs only this and the spool, so nothing here is slow to import. Addresses of servers
are in `mlops_nb.store.address`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors import StoreNotOurs, StoreUnwritable

if TYPE_CHECKING:
    from mlops_nb.config import Settings

FOLDER = ".mlops"
DATABASE = "store.db"
SPOOL = "spool"
BLOBS = "blobs"
SERVERS = "servers"


def locate(start: Path, settings: Settings) -> str:
    """Name the store of a notebook, whether it is there already or not.

    Parameters
    ----------
    start
        The folder of the notebook.

    Returns
    -------
    str
        The path of the ``.mlops`` folder, or the URL of a server.

    Raises
    ------
    StoreNotOurs
        The one that was found belongs to another user and is not in `settings.safe_stores`.
    """
    found = find(start, settings)
    if found is not None:
        return found
    if settings.store is not None:
        return _named(settings.store)
    folders = _upwards(start)
    root = folders[-1] if _is_git_root(folders[-1]) else folders[0]
    return str(root / FOLDER)


def find(start: Path, settings: Settings) -> str | None:
    """Find the store of a notebook; None if there is none yet.

    Raises
    ------
    StoreNotOurs
        The one that was found belongs to another user and is not in `settings.safe_stores`.
    """
    if settings.store is not None:
        return _find_named(settings)
    for folder in _upwards(start):
        if _is_folder(folder / FOLDER):
            return _trusted(folder / FOLDER, settings)
    return None


def prepare(location: str | Path) -> Path:
    """Make the folder of a store, private to the user and hidden from git, if it is not there.

    Raises
    ------
    StoreUnwritable
        The folder cannot be made.
    """
    folder = Path(location)
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.touch(mode=0o600)
            ignore.write_text("*\n", encoding="ascii")
    except OSError as error:
        if not folder.is_dir():
            remedy = "Choose another folder with --store PATH or MLOPS_NB_STORE"
            problem = f"the folder cannot be made ({error.strerror})"
            raise StoreUnwritable(str(folder), problem, f"{remedy}.") from None
    return folder


def is_store(folder: Path) -> bool:
    """Say whether a folder holds a store, or records that wait to become one."""
    return (folder / DATABASE).is_file() or (folder / SPOOL).is_dir()


def spool_root(location: str | Path, state_dir: Path) -> Path:
    """Return the folder of a store's spools: inside it, or the user's own for one on a server.

    Parameters
    ----------
    location
        Path of the store's folder, or URL of a server, with or without what opens it.
    state_dir
        The user's state folder.

    Examples
    --------
    >>> spool_root("/lab/.mlops", Path("/state")).as_posix()
    '/lab/.mlops/spool'
    """
    if "://" not in str(location):
        return Path(location) / SPOOL
    from mlops_nb.store.address import digest_of

    return state_dir / SERVERS / digest_of(str(location)) / SPOOL


# --- named stores -----------------------------------------------------------------------------


def _find_named(settings: Settings) -> str | None:
    location = _named(settings.store or "")
    if "://" in location:
        return location
    if not Path(location).is_dir():
        return None
    # A person who names a store trusts it; a project's text is not a person.
    if settings.source_of("store").endswith("pyproject.toml"):
        return _trusted(Path(location), settings)
    return location


def _named(given: str) -> str:
    """Accept the store's folder, its database, or the folder that the store is in."""
    if "://" in given:
        return given
    path = Path(given).expanduser().absolute()
    if path.name == DATABASE and path.is_file():
        return str(path.parent)
    if path.name != FOLDER and not is_store(path) and (path / FOLDER).is_dir():
        return str(path / FOLDER)
    return str(path)


# --- walking up -------------------------------------------------------------------------------


def _upwards(start: Path) -> list[Path]:
    """List the folders that may hold the store of `start`, nearest first."""
    first = _nearest_folder(Path(os.path.abspath(start)))  # noqa: PTH100 - links stay as they are
    device = first.stat().st_dev
    home = _home()
    folders: list[Path] = []
    for folder in (first, *first.parents):
        if _device(folder) != device:
            break
        folders.append(folder)
        if folder == home or _is_git_root(folder):
            break
    return folders


def _nearest_folder(path: Path) -> Path:
    """Climb to a folder that is there: a notebook may not have been saved yet."""
    return next(folder for folder in (path, *path.parents) if _is_folder(folder))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # above a folder that this user may not enter
        return False


def _is_git_root(folder: Path) -> bool:
    # A file in a worktree or a submodule, a folder elsewhere.
    try:
        return (folder / ".git").exists()
    except OSError:
        return False


def _device(folder: Path) -> int | None:
    try:
        return folder.stat().st_dev
    except OSError:
        return None


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


# --- trust ------------------------------------------------------------------------------------


def _trusted(folder: Path, settings: Settings) -> str:
    """Refuse the store of another user: opening one would follow what they put there."""
    if _is_ours(folder) or _is_listed(folder, settings.safe_stores):
        return str(folder)
    raise StoreNotOurs(str(folder))


def _is_ours(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def _is_listed(folder: Path, safe_stores: tuple[str, ...]) -> bool:
    names = {str(folder), str(folder.resolve()), str(folder.parent), str(folder.parent.resolve())}
    return "*" in safe_stores or any(
        safe in names or str(Path(safe).resolve()) in names for safe in safe_stores
    )
