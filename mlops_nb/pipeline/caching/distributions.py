"""Versions of what code imports, and of what that requires."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.environment.distributions import distribution_of, folder_times, installed
from mlops_nb.environment.metadata import first_parts, read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlops_nb.environment.distributions import Distribution
    from mlops_nb.model import Json

_requirements: dict[tuple[str, str], tuple[str, ...]] = {}
_owners: tuple[tuple[Json, ...], dict[str, tuple[str, ...]]] | None = None


def versions(modules: Iterable[str], *, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the versions of the distributions of modules, and of all that they require.

    Parameters
    ----------
    modules
        Top-level names.
    given
        What is installed where they are imported, if that is elsewhere: then only their own
        versions are known, not what they require.
    """
    if given is not None:
        named = {name: name for module in modules for name in [distribution_of(module)]}
        return {name: given.get(name, "") for name in sorted(named)}
    known = installed()
    found: dict[str, str] = {}
    waiting: list[str] = []
    for module in modules:
        names = _distributions_of(module, known)
        waiting += names
        if not names:
            found[module] = _loose(module)
    while waiting:
        name = waiting.pop()
        if name in found or name not in known:
            continue
        found[name] = known[name].version
        waiting += _required_by(known[name])
    return dict(sorted(found.items()))


def _distributions_of(module: str, known: Mapping[str, Distribution]) -> tuple[str, ...]:
    name = distribution_of(module)
    return (name,) if name in known else _owned(known).get(module, ())


def _owned(known: Mapping[str, Distribution]) -> dict[str, tuple[str, ...]]:
    """Give the distributions that own a part of each module, for those with another name."""
    global _owners  # noqa: PLW0603  a cache of one, replaced as a whole
    key = tuple(folder_times())
    if _owners is None or _owners[0] != key:
        parts: dict[str, list[str]] = {}
        for name, one in known.items():
            for part in first_parts(one):
                parts.setdefault(part.partition(".")[0], []).append(name)
        _owners = (key, {module: tuple(names) for module, names in parts.items()})
    return _owners[1]


def _required_by(one: Distribution) -> tuple[str, ...]:
    key = (one.folder, one.entry)
    if key not in _requirements:
        _requirements[key] = tuple(read_metadata(one).get("requires", ()))
    return _requirements[key]


def _loose(module: str) -> str:
    """Identify a module that nobody has installed, by its file; empty where there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return ""
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return ""
    return f"sha256:{hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()}"
