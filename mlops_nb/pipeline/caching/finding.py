"""Results that a step need not make again: those under its key of which all is still so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlops_nb.capture.files.digest import Digests
from mlops_nb.pipeline.caching.explaining import is_sound
from mlops_nb.pipeline.caching.files import describe_file
from mlops_nb.pipeline.caching.modules import describe_module

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from mlops_nb.model import Json
    from mlops_nb.model.pipelines import CachedStep
    from mlops_nb.store import Store

_CANDIDATES = 20


def find_hit(
    store: Store,
    key: str,
    parts: Mapping[str, Json],
    *,
    folder: Path,
    digests: Digests | None = None,
    without: Collection[str] = (),
) -> CachedStep | None:
    """Find results that may stand for a step; None if it has to run.

    Parameters
    ----------
    store
        Where to look.
    key, parts
        As from `key_of`.
    folder
        Where the step would run.
    digests
        Remembers digests of files.
    without
        Ids of runs whose results are known to be damaged.

    Returns
    -------
    CachedStep or None
        The newest that fits. Whether its bytes are there is seen when they are fetched.
    """
    if not parts["about"]["is_cached"] or parts["unknowable"]:
        return None
    reader = digests or Digests()
    for candidate in store.cached_steps(key=key, limit=_CANDIDATES):
        if candidate.run in without:
            continue
        if not reasons_against(candidate, parts, folder=folder, digests=reader):
            return candidate
    return None


def reasons_against(
    candidate: CachedStep,
    parts: Mapping[str, Json],
    *,
    folder: Path,
    digests: Digests | None = None,
) -> tuple[str, ...]:
    """Say, as clauses, why results under the same key may not be used after all.

    Parameters
    ----------
    candidate
        Results under the key of `parts`.
    parts, folder, digests
        As in `find_hit`.
    """
    reader = digests or Digests()
    seen = candidate.parts.get("seen") or {}
    if not is_sound(candidate.parts) or not _is_readable(seen):
        return ("what is kept of earlier results cannot be read",)
    return (
        *parts["unknowable"],
        *_lacks(candidate, parts),
        *_seen_otherwise(seen, folder, reader),
    )


def _is_readable(seen: Mapping[str, Json]) -> bool:
    """Say whether what was seen has the form that `seen_in` gives it."""
    tables = [seen.get(name) or {} for name in ("files", "modules")]
    parts = [part for table in tables if isinstance(table, dict) for part in table.values()]
    return all(isinstance(table, dict) for table in tables) and all(
        isinstance(part, dict) and "digest" in part for part in parts
    )


def _lacks(candidate: CachedStep, parts: Mapping[str, Json]) -> Iterator[str]:
    """Say what is wanted of a step that these results do not have."""
    units = [set(unit.names) for unit in candidate.units]
    for wanted in parts["wanted"]:
        if not any(set(wanted) <= unit for unit in units):
            yield f"it has to save {', '.join(wanted)}, which run {candidate.run[:4]} did not"
    watched = set(parts["watched"]) - set(candidate.parts.get("watched", ()))
    if watched:
        names = ", ".join(sorted(watched))
        yield f"nobody watched in run {candidate.run[:4]} whether it changes {names}"


def _seen_otherwise(seen: Mapping[str, Json], folder: Path, digests: Digests) -> Iterator[str]:
    """Say what was read then, and is another now."""
    yield from seen.get("unknowable", ())
    for path, before in seen.get("files", {}).items():
        now = describe_file(path, folder, digests)
        if isinstance(now, str):
            yield now
        elif now.get("missing"):
            yield f"file {path} is gone"
        elif now["digest"] != before["digest"]:
            yield f"file {path} has other content"
    for path, before in seen.get("modules", {}).items():
        if describe_module(os.path.join(folder, path)) != before["digest"]:  # noqa: PTH118
            yield f"{path} changed"
