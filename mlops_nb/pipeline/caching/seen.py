"""What a step was seen to read when it ran, which nobody could know before."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.pipeline.caching.files import shown
from mlops_nb.pipeline.caching.modules import is_installed, modules_behind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mlops_nb.model import Execution, FileUse, Json

_CODE = (".py", ".pyw")
_COMPILED = "__pycache__"
_SYSTEM = ("/dev/", "/proc/", "/sys/")


def seen_in(
    executions: Iterable[Execution],
    *,
    folder: Path,
    parts: Mapping[str, Json] | None = None,
    modules: Mapping[str, str] | None = None,
    ignored: Iterable[Path] = (),
) -> dict[str, Json]:
    """Say what a step has read, to be kept with its results as ``parts["seen"]``.

    Parameters
    ----------
    executions
        Of the step's run, as the store has them, in the order in which they ran.
    folder
        Where the step ran.
    parts
        Of its key: what stands there is not said again.
    modules
        Name -> file of what was imported, as `Store.session_facts` has it.
    ignored
        Folders whose files are ours: those of the store, and of the step's values.

    Returns
    -------
    dict
        ``files`` and ``modules`` as in the key, each only if there are any, and ``unknowable``:
        clauses about what it read and nobody can look at again.

    Examples
    --------
    >>> seen_in([], folder=Path())
    {}
    """
    known = parts or {}
    places = [os.path.join(os.path.realpath(path), "") for path in ignored]  # noqa: PTH118
    files: dict[str, Json] = {}
    imported = list((modules or {}).values())
    unknowable: dict[str, None] = {}
    for use in _first_reads(executions, places):
        label = _label(use.uri, folder)
        if use.uri.endswith(_CODE):
            imported.append(use.uri)  # counts by what it does: a remark in it changes nothing
        elif use.assurance == "exact" and use.digest:
            files.setdefault(label, {"digest": use.digest, "size_bytes": use.size_bytes})
        else:
            unknowable[_why(use)] = None
    files = {label: part for label, part in files.items() if label not in known.get("files", {})}
    more = modules_behind(imported, folder)
    more = {label: p for label, p in more.items() if label not in known.get("modules", {})}
    found: dict[str, Json] = {"files": files, "modules": more, "unknowable": list(unknowable)}
    return {name: part for name, part in found.items() if part}


def _first_reads(executions: Iterable[Execution], places: list[str]) -> Iterator[FileUse]:
    """Give what was read before the step itself wrote it: the rest is of its own making."""
    written: set[str] = set()
    for execution in executions:
        own = {use.uri for use in execution.files if use.mode == "w"}
        for use in execution.files:
            if use.mode != "r" or use.uri in written or _is_of_others(use, execution):
                continue
            if _is_ours(use.uri, places):
                continue
            if use.assurance != "exact" and (use.uri in own or _is_passing(use.uri)):
                continue  # made and used up in one cell
            yield use
        written |= own


def _is_ours(uri: str, places: list[str]) -> bool:
    if "://" in uri:
        return False
    real = os.path.realpath(uri)
    if uri.startswith(_SYSTEM) or is_installed(real) or real.startswith(tuple(places)):
        return True
    return _COMPILED in Path(real).parts


def _is_of_others(use: FileUse, execution: Execution) -> bool:
    """Say whether what reads a file is more likely an editor, or we, than the step."""
    path = Path(use.uri)
    is_theirs = path.suffix == ".ipynb" or path.name == "pipeline.yaml"
    return use.evidence == "kernel:dir" and is_theirs and path.name not in execution.source


def _is_passing(uri: str) -> bool:
    """Say whether a file is one of those that are made to be removed."""
    return uri.startswith(os.path.join(tempfile.gettempdir(), "")) and not os.path.exists(uri)  # noqa: PTH110, PTH118


def _label(uri: str, folder: Path) -> str:
    """Name a file from the folder on if it lies there: a project may be moved."""
    if "://" in uri:
        return uri
    below = os.path.relpath(os.path.realpath(uri), os.path.realpath(folder))
    return uri if below.startswith("..") else Path(below).as_posix()


def _why(use: FileUse) -> str:
    if "://" in use.uri:
        return f"it reads {shown(use.uri)}, whose content nobody knows before it is read"
    what = {"torn": "changed while it was read", "skipped:budget": "is larger than the budget"}
    return f"it read {shown(use.uri)}, which {what.get(use.assurance, 'could not be read again')}"
