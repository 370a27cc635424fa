"""Modules of the project that code imports, followed from one to the next; none is imported.

Of the project is what was not installed: neither the standard library, nor ``site-packages``.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
import os
import sys
from collections import deque
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.environment.metadata import shortened
from mlops_nb.environment.modules import project_root
from mlops_nb.pipeline.caching.statements import cell_digest, nodes_of, pieces_of
from mlops_nb.record import record
from mlops_nb.source.magics import find_magic
from mlops_nb.source.parsing import parse_cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlops_nb.model import Json

_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = os.path.realpath(Path(os.__file__).parent) + os.sep
_OURS = "mlops_nb"
_CALLS = frozenset({"import_module", "__import__"})
_OUR_FOLDER = Path(__file__).resolve().parents[2]
_SCRIPTS = (".py", ".sh", ".R", ".r", ".jl", ".sql")
_LARGEST = 4 << 20
_MOST_FILES = 500


@record
class LocalModules:
    """What code imports.

    Attributes
    ----------
    digests
        Of each file of the project, by its path from the folder: ``{"digest", "names"}``, the
        second by what it defines.
    texts
        Of those files.
    foreign
        Top-level names of all else, but the standard library.
    """

    digests: Mapping[str, Json]
    texts: tuple[str, ...]
    foreign: tuple[str, ...]


@record
class _Import:
    """A module by its full name, and what is taken from it."""

    name: str
    taken: tuple[str, ...] = ()
    level: int = 0


@record
class _File:
    """A file of the project as it was read."""

    part: Mapping[str, Json]
    text: str
    imports: tuple[_Import, ...]


def local_modules(texts: Iterable[str], folder: Path) -> LocalModules:
    """Find all that code imports, and what that imports.

    Parameters
    ----------
    texts
        Cells.
    folder
        Where they run.
    """
    sources = list(texts)
    here = os.path.realpath(folder)
    search = _Search(here, [path for source in sources for path in _added_paths(source)])
    waiting = deque(each for source in sources for each in imports_of(source))
    seen: set[_Import] = set()
    files: dict[str, _File] = {}
    foreign: set[str] = set()
    for source in sources:
        for file in _scripts(source, here):
            files[file] = _read(file)
            waiting.extend(files[file].imports)
    while waiting:
        each = waiting.popleft()
        if each in seen:
            continue
        seen.add(each)
        found = search.files_of(each)
        if found is None:
            foreign.add(each.name.partition(".")[0])
        for name, file in (found or {}).items():
            if file not in files:
                files[file] = _read(file)
                waiting.extend(_absolute(one, name, file) for one in files[file].imports)
    if any(map(_imports_by_value, (*sources, *(one.text for one in files.values())))):
        files |= {file: _read(file) for file in _all_below(here) if file not in files}
    root = project_root(here)
    labels = {file: _label(file, here, str(root)) for file in files}
    return LocalModules(
        {labels[file]: files[file].part for file in sorted(files, key=labels.__getitem__)},
        tuple(one.text for one in files.values() if one.text),
        tuple(sorted(foreign - sys.stdlib_module_names - {_OURS, "", "__main__", "__future__"})),
    )


def modules_behind(paths: Iterable[str], folder: Path) -> dict[str, Json]:
    """Describe the modules of the project among files that were imported, as `local_modules`."""
    here = os.path.realpath(folder)
    root = str(project_root(here))
    found = {}
    for path in paths:
        real = os.path.realpath(path)
        is_ours = Path(real).is_relative_to(_OUR_FOLDER)
        if is_ours or is_installed(real) or not os.path.isfile(real):  # noqa: PTH113
            continue
        found[_label(real, here, root)] = _read(real).part
    return dict(sorted(found.items()))


@lru_cache(maxsize=1024)
def imports_of(source: str) -> tuple[_Import, ...]:
    """List the modules that a text names in imports, also those inside of functions."""
    return tuple(dict.fromkeys(_imports_in(parse_cell(source))))


def _imports_in(tree: ast.AST | None) -> Iterator[_Import]:
    for node in nodes_of(tree):
        if isinstance(node, ast.Import):
            yield from (_Import(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            taken = tuple(alias.name for alias in node.names)
            yield _Import(node.module or "", taken, node.level)
        elif isinstance(node, ast.Call) and (name := _called_with_name(node)):
            yield _Import(name)


def _called_with_name(call: ast.Call) -> str:
    """Give the module of ``import_module("name")``; empty for all else."""
    first = call.args[0] if call.args else None
    is_text = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return str(first.value) if _name_called(call) in _CALLS and is_text else ""  # type: ignore[union-attr]


def _name_called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", None) or getattr(call.func, "id", None) or "")


@lru_cache(maxsize=1024)
def _imports_by_value(source: str) -> bool:
    """Say whether a text imports what only its run can name: then any module may be meant."""
    if not any(name in source for name in _CALLS):
        return False
    calls = (node for node in nodes_of(parse_cell(source)) if isinstance(node, ast.Call))
    return any(_name_called(call) in _CALLS and not _called_with_name(call) for call in calls)


def _all_below(folder: str) -> list[str]:
    """List the modules below a folder, not those that were installed there."""
    found: list[str] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in _INSTALLED)
        if "pyvenv.cfg" in names:
            folders[:] = []
            continue
        found += [os.path.join(place, name) for name in sorted(names) if name.endswith(".py")]  # noqa: PTH118
        if len(found) > _MOST_FILES:
            break
    return found[:_MOST_FILES]


def _scripts(source: str, folder: str) -> Iterator[str]:
    """Give the scripts of the project that a cell names: ``%run it.py``, ``!python it.py``."""
    for word in _script_words(source):
        path = os.path.join(folder, os.path.expanduser(word))  # noqa: PTH111, PTH118
        found = next((p for p in (path, f"{path}.py") if os.path.isfile(p)), None)  # noqa: PTH113
        if found is not None and not is_installed(os.path.realpath(found)):
            yield os.path.realpath(found)


@lru_cache(maxsize=1024)
def _script_words(source: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for node in nodes_of(parse_cell(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = (word.strip("'\"") for word in node.value.split())
            found |= dict.fromkeys(word for word in words if word.endswith(_SCRIPTS))
        magic = find_magic(node) if isinstance(node, ast.Call) else None
        if magic is not None and magic.name == "%run":
            line = str(node.args[1].value)  # type: ignore[attr-defined]
            found |= dict.fromkeys(word.strip("'\"") for word in line.split())
    return tuple(found)


@lru_cache(maxsize=512)
def _added_paths(source: str) -> tuple[str, ...]:
    """Give the folders of ``sys.path.append("…")`` and the like, if written out."""
    if "sys" not in source or "path" not in source:
        return ()
    found = []
    for node in nodes_of(parse_cell(source)):
        is_added = isinstance(node, ast.Call) and "sys.path" in ast.unparse(node.func)
        for argument in node.args if is_added else ():  # type: ignore[attr-defined]
            texts = (n.value for n in ast.walk(argument) if isinstance(n, ast.Constant))
            found += [text for text in texts if isinstance(text, str)]
    return tuple(found)


class _Search:
    """Where modules of the project lie."""

    def __init__(self, folder: str, added: Sequence[str]) -> None:
        self._folder = folder
        more = (os.path.join(folder, os.path.expanduser(path)) for path in added)  # noqa: PTH111, PTH118
        path = (entry or folder for entry in sys.path)
        entries = [os.path.realpath(entry) for entry in (folder, *more, *path)]
        self._entries = [e for e in dict.fromkeys(entries) if not is_installed(e)]

    def files_of(self, wanted: _Import) -> dict[str, str] | None:
        """Give the files that an import runs, by module; None for what is not of the project."""
        top, *rest = wanted.name.split(".")
        found = self._top(top)
        if found is None:
            return None
        folder, files = found
        name = top
        for part in (*rest, None):
            if part is None:
                break
            name = f"{name}.{part}"
            folder, more = _inside(folder, part, name)
            files |= more
        for taken in wanted.taken:
            files |= _inside(folder, taken, f"{name}.{taken}")[1]
        return files

    def _top(self, top: str) -> tuple[str, dict[str, str]] | None:
        if not top or top == _OURS:
            return None
        for entry in self._entries:
            folder, files = _inside(entry, top, top)
            if files:
                return folder, files
        if top in sys.stdlib_module_names:
            return None
        if origin := _origin(top):
            is_package = Path(origin).name.startswith("__init__.")
            return (str(Path(origin).parent) if is_package else ""), {top: origin}
        spaces = (os.path.join(entry, top) for entry in self._entries)  # noqa: PTH118
        space = next((path for path in spaces if os.path.isdir(path)), None)  # noqa: PTH112
        return None if space is None else (space, {})


def _inside(folder: str, name: str, full_name: str) -> tuple[str, dict[str, str]]:
    """Give the folder of a module if it is a package, and its own file, if any."""
    if not folder or name == "*":
        return "", {}
    base = os.path.join(folder, name)  # noqa: PTH118
    for file in (os.path.join(base, "__init__.py"), f"{base}.py"):  # noqa: PTH118
        if os.path.isfile(file):  # noqa: PTH113
            return (base if file.endswith("__init__.py") else ""), {full_name: file}
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        if os.path.isfile(base + suffix):  # noqa: PTH113
            return "", {full_name: base + suffix}
    return base, {}


def _origin(top: str) -> str | None:
    """Ask where a top-level module is that a hook finds, as one installed to be edited."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = None if spec is None else spec.origin
    if origin is None or not os.path.isfile(origin) or is_installed(os.path.realpath(origin)):  # noqa: PTH113
        return None
    return os.path.realpath(origin)


def is_installed(path: str) -> bool:
    """Say whether a file or folder is not of a project: installed, or of Python itself."""
    is_standard = (path + os.sep).startswith(_STANDARD) or path.endswith(".zip")
    return is_standard or any(part in _INSTALLED for part in Path(path).parts)


def _absolute(wanted: _Import, name: str, file: str) -> _Import:
    """Turn ``from . import x`` inside a module into the full name."""
    if not wanted.level:
        return wanted
    package = name.split(".")
    up = wanted.level - (1 if Path(file).name == "__init__.py" else 0)
    base = package[: len(package) - up] if up else package
    return _Import(".".join((*base, *filter(None, [wanted.name]))), wanted.taken)


def _label(file: str, folder: str, root: str) -> str:
    """Name a file so that it has one name wherever the project lies."""
    if file.startswith(root.rstrip(os.sep) + os.sep):
        return Path(os.path.relpath(file, folder)).as_posix()
    return shortened(file)


# --- one file -----------------------------------------------------------------------------------


def describe_module(path: str) -> str:
    """Give the digest of a file of the project as it is now; empty if it is gone."""
    place = os.path.realpath(os.path.expanduser(path))  # noqa: PTH111
    return str(_read(place).part["digest"]) if os.path.isfile(place) else ""  # noqa: PTH113


_known: dict[str, tuple[tuple[int, int, int], _File]] = {}


def _read(file: str) -> _File:
    """Read a file of the project, once as long as it stays as it is."""
    status = Path(file).stat()
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
    known = _known.get(file)
    if known is not None and known[0] == stamp:
        return known[1]
    made = _read_now(Path(file), status.st_size)
    _known[file] = (stamp, made)
    return made


def _read_now(file: Path, size_bytes: int) -> _File:
    data = file.read_bytes()
    if file.suffix != ".py" or size_bytes > _LARGEST:
        return _File({"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "names": {}}, "", ())
    text = importlib.util.decode_source(data) if _is_text(data) else data.decode("latin-1")
    return _File(
        {"digest": cell_digest(text), "names": _names(text)},
        text,
        imports_of(text),
    )


def _is_text(data: bytes) -> bool:
    try:
        importlib.util.decode_source(data)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return False
    return True


def _names(text: str) -> dict[str, str]:
    """Give a short digest for each name that a module binds, to say later which one changed."""
    found: dict[str, str] = {}
    for piece in pieces_of(text) or ():
        for name in piece.binds:
            found[name] = f"{piece.kind}:{piece.digest[5:17]}"
    return found
