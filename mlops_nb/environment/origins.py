"""Packages that came from no index, as a lock file names them."""

from __future__ import annotations

import json
import os
from dataclasses import field
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.model import Json


@record
class Locked:
    """A package with an exact version; `origin` says where it came from if from no index."""

    name: str
    version: str
    origin: Mapping[str, Json] = field(default_factory=dict)


@record
class Unlocked:
    """A package that is not in a lock file, and why or what to do."""

    name: str
    version: str
    reason: str


def as_requirement(one: Locked) -> str:
    """Say how to install a package that came from no index.

    Examples
    --------
    >>> origin = {"kind": "vcs", "vcs": "git", "url": "https://h/x.git", "commit": "abc"}
    >>> as_requirement(Locked("x", "1", origin))
    'x @ git+https://h/x.git@abc'
    """
    origin = one.origin
    kind, place = origin.get("kind"), _place(origin)
    if kind == "vcs":
        return f"{one.name} @ {origin.get('vcs', 'git')}+{place}@{origin.get('commit', '')}"
    if kind == "editable":
        return f"an editable installation of {origin.get('path')}{_working_copy(origin)}"
    return f"{one.name} @ {place}"


def _working_copy(origin: Mapping[str, Json]) -> str:
    if not origin.get("commit"):
        return ""
    changes = ", with uncommitted changes" if origin.get("dirty") else ""
    return f" at commit {str(origin['commit'])[:12]}{changes}"


def _place(origin: Mapping[str, Json]) -> str:
    path = origin.get("path")
    return f"file://{os.path.expanduser(str(path))}" if path else str(origin.get("url") or "")  # noqa: PTH111


def as_table(one: Locked) -> str | None:
    """Write a package as an entry of a ``pylock.toml``; None if it cannot be built from one.

    Examples
    --------
    >>> origin = {"kind": "vcs", "vcs": "git", "url": "https://h/x.git", "commit": "abc"}
    >>> print(as_table(Locked("x", "1", origin)))
    [[packages]]
    name = "x"
    version = "1"
    vcs = { type = "git", url = "https://h/x.git", commit-id = "abc" }
    """
    origin = one.origin
    if origin.get("kind") == "vcs" and origin.get("commit"):
        facts = {"type": origin.get("vcs", "git"), **_where(origin), "commit-id": origin["commit"]}
        return _table(one, "vcs", _inline(facts))
    if origin.get("kind") == "archive" and origin.get("hashes"):
        hashes = _inline(origin["hashes"])
        return _table(one, "archive", _inline(_where(origin), f"hashes = {hashes}"))
    return None


def _where(origin: Mapping[str, Json]) -> dict[str, str]:
    path = origin.get("path")
    if path:
        return {"path": os.path.expanduser(str(path))}  # noqa: PTH111
    return {"url": str(origin.get("url") or "")}


def _inline(facts: Mapping[str, Json], *more: str) -> str:
    parts = [f"{key} = {_quoted(value)}" for key, value in facts.items()]
    return "{ " + ", ".join([*parts, *more]) + " }"


def _table(one: Locked, kind: str, value: str) -> str:
    lines = ("[[packages]]", f"name = {_quoted(one.name)}")
    return "\n".join((*lines, f"version = {_quoted(one.version)}", f"{kind} = {value}"))


def _quoted(value: object) -> str:
    """Write a text as TOML does: as JSON, but without pairs of surrogates."""
    return json.dumps(str(value), ensure_ascii=False)
