"""Which notebook is this kernel running? By what is at hand: no HTTP request, and no warning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from mlops_nb.config import Settings

_MANY_FILES = 200
_LARGE_BYTES = 50_000_000


def detect_notebook(
    settings: Settings,
    cell_meta: Mapping[str, Any] | None,
    namespace: Mapping[str, Any],
    environ: Mapping[str, str],
) -> tuple[str | None, str]:
    """Find the path of the notebook that this kernel runs.

    The first source that names one wins: the setting, the JupyterLab panel (``cell_meta``), a
    cell id that carries a path, VS Code's variable, ``JPY_SESSION_NAME``, papermill's parameter.
    A source that is contradicted by the file (which has cell ids, and not the one that runs) gives
    way to one that is confirmed: Jupyter's variable is stale after a rename.

    Parameters
    ----------
    settings
        Where a path may have been given, by argument, environment or file.
    cell_meta
        Metadata of the execute request, None if the kernel does not pass it on.
    namespace
        The user's namespace.
    environ
        The process's environment.

    Returns
    -------
    path : str or None
        Absolute where it names a local file; None if nothing names one.
    assurance : str
        ``given`` by the user, ``verified`` by a cell id, ``claimed`` by a source, or ``unknown``.
    """
    if settings.notebook:
        return _absolute(settings.notebook, environ), "given"
    meta = cell_meta or {}
    witness = [cell_id] if isinstance(cell_id := meta.get("cellId"), str) else []
    claimed = None
    for candidate in _candidates(meta, namespace, environ):
        path = _absolute(candidate, environ)
        if witness and notebook_matches(path, witness, ()):
            return path, "verified"
        claimed = claimed or path
    return (claimed, "claimed") if claimed else (None, "unknown")


def notebook_matches(
    path: str | Path, cell_ids: Collection[str], sources: Collection[str]
) -> bool:
    """Say whether a file is the notebook in which these cells ran.

    Parameters
    ----------
    path
        A notebook.
    cell_ids
        Ids of executed cells, as the front end sent them.
    sources
        Sources of executed cells; looked at only if there are no ids.

    Returns
    -------
    bool
        Whether the file has all the ids (or, without ids, all the sources). False for a file that
        cannot be read, and if there is neither.
    """
    cells = _cells(Path(path))
    if cell_ids:
        return set(cell_ids) <= {cell.get("id") for cell in cells}
    wanted = {source.strip() for source in sources if source.strip()}
    return bool(wanted) and wanted <= {_source(cell) for cell in cells}


def find_by_witness(
    folder: str | Path, cell_ids: Collection[str], sources: Collection[str]
) -> str | None:
    """Search a folder for the notebook in which these cells ran; for a background thread.

    Returns
    -------
    str or None
        Its absolute path; None if none matches, or more than one. The newest 200 are looked at.
    """
    dated = []
    for path in Path(folder).glob("*.ipynb"):
        try:
            dated.append((path.stat().st_mtime_ns, path))
        except OSError:
            continue
    newest = [path for _, path in sorted(dated, reverse=True)[:_MANY_FILES]]
    found = [path for path in newest if notebook_matches(path, cell_ids, sources)]
    return str(found[0].resolve()) if len(found) == 1 else None


def _candidates(
    meta: Mapping[str, Any], namespace: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[str]:
    """Give what each source says, most trusted first."""
    told = meta.get("mlops_nb")
    if isinstance(told, dict):
        yield from _named(told.get("notebook"))
    yield from _named(meta.get("nbPath"))
    yield from _named(_path_in_cell_id(meta.get("cellId")))
    yield from _named(namespace.get("__vsc_ipynb_file__"))
    yield from _named(environ.get("JPY_SESSION_NAME") or namespace.get("__session__"))
    yield from _named(namespace.get("PAPERMILL_INPUT_PATH"))


def _named(value: object) -> Iterator[str]:
    # Older servers put a UUID there, consoles a name of their own.
    if isinstance(value, str) and value.endswith(".ipynb"):
        yield value


def _path_in_cell_id(cell_id: object) -> str | None:
    """Take the path out of VS Code's ``vscode-notebook-cell:/path/to.ipynb#W0sZmlsZQ==``."""
    if not isinstance(cell_id, str) or not cell_id.startswith("vscode-notebook-cell:"):
        return None
    path = unquote(urlsplit(cell_id).path)
    # /C:/folder/file.ipynb
    return path[1:] if path[2:3] == ":" else path


def _absolute(path: str, environ: Mapping[str, str]) -> str:
    """Make a path absolute: against the kernel's folder, which is the notebook's in Jupyter."""
    if "://" in path or Path(path).is_absolute():
        return path
    beside = Path.cwd() / Path(path).name
    if not Path(path).exists() and beside.exists() and "JPY_SESSION_NAME" in environ:
        return str(beside)
    return str(Path.cwd() / path)


def saved_cells(path: str | Path) -> list[tuple[str | None, str]]:
    """Read id and source of all cells of a saved notebook, in order; as light as can be.

    Returns
    -------
    list of (str or None, str)
        Empty for whatever is no notebook.
    """
    return [(cell.get("id"), _source(cell)) for cell in _cells(Path(path))]


def _cells(path: Path) -> list[dict[str, Any]]:
    """Read the cells of a file as they stand; none for whatever is no notebook."""
    try:
        if path.stat().st_size > _LARGE_BYTES:
            return []
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    cells = content.get("cells") if isinstance(content, dict) else None
    return [cell for cell in cells if isinstance(cell, dict)] if isinstance(cells, list) else []


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    return source.strip() if isinstance(source, str) else ""
