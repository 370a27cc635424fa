"""Where a run's notebook and files stand here: a working copy may have moved or been copied."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.model import Run


def home_of(store: Path | None, run: Run, worked_in: str = "") -> Path:
    """Find the folder in which a run's cells are to run.

    The notebook's folder, in the working copy that the store belongs to: a copied project brings
    its store along, and the paths in it still name the original.

    Parameters
    ----------
    store
        The store's folder, None for a server.
    run
        Its notebook's path was absolute on the machine where it ran.
    worked_in
        The working folder of its session, which counts where there is no notebook.
    """
    base = store.absolute().parent if store is not None else Path.cwd()
    if not run.notebook or "://" in run.notebook:
        return _worked_in(Path(worked_in), store, base) if worked_in else base
    notebook = Path(run.notebook)
    if store is None or base in notebook.parents:
        return _existing(notebook.parent) or base
    return _moved(notebook, base) or _existing(notebook.parent) or base


def _worked_in(folder: Path, store: Path | None, base: Path) -> Path:
    """Find a working folder in the working copy that a store belongs to."""
    for above in (folder, *folder.parents):
        if store is None or above == base:
            break
        # The folder of another store: the project was copied from there.
        if _existing(above / store.name) is not None:
            return _existing(base / folder.relative_to(above)) or base
    return _existing(folder) or base


def _moved(notebook: Path, base: Path) -> Path | None:
    """Find the same notebook below another folder, by the longest end of its path."""
    parts = notebook.parts[1:]
    for start in range(len(parts)):
        candidate = base.joinpath(*parts[start:])
        if _is_file(candidate):
            return candidate.parent
    return None


def _existing(folder: Path) -> Path | None:
    try:
        return folder if folder.is_dir() else None
    except OSError:
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def notebook_of(home: Path, run: Run) -> Path | None:
    """Name a run's notebook where it stands here; None for one without a name."""
    if not run.notebook or "://" in run.notebook:
        return None
    return home / PurePath(run.notebook).name


def moved_path(path: str, run: Run, home: Path) -> Path:
    """Say where a file that a run used stands here.

    Examples
    --------
    >>> from mlops_nb.model import Run, as_datetime
    >>> run = Run("7f3a", "x", "finished", "cell", as_datetime(0), notebook="/a/nb/train.ipynb")
    >>> moved_path("/a/data/train.csv", run, Path("/b/nb")).as_posix()
    '/b/data/train.csv'
    >>> moved_path("/shared/train.csv", run, Path("/b/nb")).as_posix()
    '/shared/train.csv'
    """
    if not run.notebook or "://" in path:
        return Path(path)
    old, new = Path(run.notebook).parent, home
    # Up to where the two working copies begin to be the same below.
    while old.name and old.name == new.name and old != new:
        old, new = old.parent, new.parent
    for before, after in ((Path(run.notebook).parent, home), (old, new)):
        if Path(path).is_relative_to(before) and len(before.parts) > 1:
            return after / Path(path).relative_to(before)
    return Path(path)
