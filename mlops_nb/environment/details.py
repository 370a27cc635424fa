"""What takes longer to find out about an environment: metadata, what is imported, Python's build.

For a thread of its own, once for each environment; between two distributions it lets others run.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from mlops_nb.environment.distributions import installed
from mlops_nb.environment.git import git_root, git_state
from mlops_nb.environment.machine import read_gpus
from mlops_nb.environment.metadata import (
    first_parts,
    own_files,
    read_metadata,
    read_origin,
    record_digest,
    shortened,
)
from mlops_nb.environment.modules import files_of
from mlops_nb.environment.reading import read_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.environment.distributions import Distribution
    from mlops_nb.model import Environment, Json

_GIT_TIMEOUT_S = 2.0
_MOST_WORKING_COPIES = 20


def read_details(
    environment: Environment | None = None, modules: Mapping[str, object] | None = None
) -> dict[str, Json]:
    """Read what `read_environment` leaves out, in some tenths of a second.

    Parameters
    ----------
    environment
        The one that is described, for which metadata is read once; that of now by default.
    modules
        Name -> module, ``sys.modules`` as it is now by default.

    Returns
    -------
    dict
        ``distributions``: name -> ``name``, ``version``, ``installer``, ``requires``,
        ``direct`` (where from, if not from an index), ``record`` (digest of the installed files,
        of imported ones); ``imported`` and ``editable`` as from `read_imports`; ``modules``:
        imported module -> distributions; ``build`` of Python; ``gpus`` with their memory;
        ``conda``: packages that conda installed.

    Examples
    --------
    >>> details = read_details()
    >>> details["distributions"]["xxhash"]["name"]
    'xxhash'
    """
    environment = environment or read_environment()
    known = _known_for(environment)
    owners = known.owners(sys.modules.copy() if modules is None else modules)
    distributions = {name: dict(facts) for name, facts in known.metadata().items()}
    for name in {name for names in owners.values() for name in names}:
        if record := known.record(name):
            distributions[name]["record"] = record
    return {
        "distributions": distributions,
        "modules": {module: sorted(names) for module, names in sorted(owners.items())},
        **_imports(known, owners),
        "build": _build(),
        "gpus": known.gpus(),
        "conda": _conda_packages(),
    }


def read_imports(
    environment: Environment | None = None, modules: Mapping[str, object] | None = None
) -> dict[str, Json]:
    """Read what is imported now: what of an environment a run could have used.

    Unlike the environment this grows while cells run, and an editable installation changes with
    its files, so it is told with each run.

    Parameters
    ----------
    environment, modules
        As for `read_details`.

    Returns
    -------
    dict
        ``imported``: distribution -> version; ``editable``: distribution -> ``path`` (the home
        folder as ``~``), ``version``, and ``commit`` and ``dirty`` of its working copy, None if it
        is in none, for those installed from a working copy.

    Examples
    --------
    >>> sorted(read_imports())
    ['editable', 'imported']
    """
    known = _known_for(environment or read_environment())
    owners = known.owners(sys.modules.copy() if modules is None else modules)
    return _imports(known, owners)


def _imports(known: _Known, owners: Mapping[str, set[str]]) -> dict[str, Json]:
    names = sorted({name for names in owners.values() for name in names})
    return {
        "imported": {name: known.version(name) for name in names},
        "editable": known.working_copies(),
    }


class _Known:
    """What was read of the distributions of one environment."""

    def __init__(self) -> None:
        self._installed = installed()
        self._metadata: dict[str, dict[str, Json]] | None = None
        self._records: dict[str, str | None] = {}
        self._parts: dict[str, dict[str, list[str]]] | None = None
        self._files: dict[str, set[str]] = {}
        self._owner_of_file: dict[str, frozenset[str]] = {}
        self._gpus: list[dict[str, Json]] | None = None
        origins = ((name, read_origin(one)) for name, one in self._installed.items())
        self._editable = {
            name: os.path.expanduser(str(origin["path"]))  # noqa: PTH111
            for name, origin in origins
            if origin is not None and origin["kind"] == "editable"
        }

    def metadata(self) -> dict[str, dict[str, Json]]:
        if self._metadata is None:
            self._metadata = {n: read_metadata(one) for n, one in self._in_turn()}
        return self._metadata

    def _in_turn(self) -> Iterator[tuple[str, Distribution]]:
        """Go through what is installed, and let others run in between."""
        for name, one in self._installed.items():
            yield name, one
            time.sleep(0)

    def version(self, name: str) -> str:
        known = self._metadata and self._metadata[name].get("version")
        return known or self._installed[name].version

    def record(self, name: str) -> str | None:
        if name not in self._records:
            self._records[name] = record_digest(self._installed[name])
        return self._records[name]

    def gpus(self) -> list[dict[str, Json]]:
        if self._gpus is None:
            self._gpus = read_gpus()
        return self._gpus

    # --- who owns a module --------------------------------------------------------------------

    def owners(self, modules: Mapping[str, object]) -> dict[str, set[str]]:
        """Give the distributions of each imported top-level module."""
        found: dict[str, set[str]] = {}
        for name, file in files_of(modules):
            owners = self._owner_of_file.get(file)
            if owners is None:
                owners = self._owner_of_file[file] = self._find_owners(file)
            if owners:
                found.setdefault(name.partition(".")[0], set()).update(owners)
        return found

    def _find_owners(self, file: str) -> frozenset[str]:
        # Folders of installation first: a working copy may hold its own environment.
        for folder, parts in self._owned_parts().items():
            if file.startswith(folder):
                path = file[len(folder) :]
                return self._of_path(path, parts.get(path.partition(os.sep)[0], []))
        for name, folder in self._editable.items():
            if file.startswith(folder.rstrip(os.sep) + os.sep):
                return frozenset({name})
        return frozenset()

    def _owned_parts(self) -> dict[str, dict[str, list[str]]]:
        """Give, by folder of installation, who owns a part of each entry in it."""
        if self._parts is None:
            found: dict[str, dict[str, list[str]]] = {}
            for name, one in self._in_turn():
                parts = found.setdefault(os.path.join(os.path.abspath(one.folder), ""), {})  # noqa: PTH100, PTH118
                for part in first_parts(one):
                    parts.setdefault(part, []).append(name)
            # The innermost folder of a file counts.
            self._parts = dict(sorted(found.items(), key=lambda item: -len(item[0])))
        return self._parts

    def _of_path(self, path: str, candidates: list[str]) -> frozenset[str]:
        """Choose among the owners of a namespace by the file itself."""
        if len(candidates) > 1:
            candidates = [name for name in candidates if path in self._files_of(name)]
        return frozenset(candidates)

    def _files_of(self, name: str) -> set[str]:
        if name not in self._files:
            self._files[name] = own_files(self._installed[name])
        return self._files[name]

    def working_copies(self) -> dict[str, Json]:
        """Describe what is installed from working copies, as they are now."""
        found: dict[str, Json] = {}
        states: dict[str, Json] = {}
        for name, folder in list(self._editable.items())[:_MOST_WORKING_COPIES]:
            root = str(git_root(folder))
            if root not in states:
                states[root] = git_state(folder, _GIT_TIMEOUT_S) or {}
            state = {key: states[root].get(key) for key in ("commit", "dirty")}
            found[name] = {"path": shortened(folder), "version": self.version(name), **state}
        return found


_last: tuple[str, _Known] | None = None


def _known_for(environment: Environment) -> _Known:
    global _last  # noqa: PLW0603  a cache of one, replaced as a whole
    last = _last
    if last is None or last[0] != environment.digest:
        last = _last = (environment.digest, _Known())
    return last[1]


# --- Python -----------------------------------------------------------------------------------


def _build() -> dict[str, Json]:
    """Describe how this Python was built and is run."""
    import platform
    import sysconfig

    get = sysconfig.get_config_var
    return {
        "compiler": platform.python_compiler(),
        "build": " ".join(platform.python_build()),
        "abi": get("SOABI") or sys.implementation.cache_tag,
        "bits": 64 if sys.maxsize > 1 << 32 else 32,
        "byte_order": sys.byteorder,
        "is_debug": bool(get("Py_DEBUG")),
        "has_gil": not get("Py_GIL_DISABLED"),
        "optimize": sys.flags.optimize,
        "dev_mode": sys.flags.dev_mode,
        "is_virtual": sys.prefix != sys.base_prefix,
        "prefix": shortened(sys.prefix),
    }


def _conda_packages() -> dict[str, str]:
    """Give name -> version and build of what conda installed, Python or not."""
    found = {}
    try:
        names = os.listdir(os.path.join(sys.prefix, "conda-meta"))  # noqa: PTH118, PTH208
    except OSError:
        return {}
    for entry in sorted(names):
        parts = entry.removesuffix(".json").rsplit("-", 2)
        if entry.endswith(".json") and len(parts) == 3:  # noqa: PLR2004  name, version, build
            found[parts[0]] = f"{parts[1]} {parts[2]}"
    return found
