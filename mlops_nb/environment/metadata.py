"""What the metadata of one installed distribution says, and which files it owns."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlops_nb.environment.distributions import normal_name
from mlops_nb.environment.git import without_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.environment.distributions import Distribution
    from mlops_nb.model import Json

_HEADER = re.compile(r"^(Name|Version|Requires-Dist):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FIRST_PART = re.compile(rb'^"?([^/,"\r\n]+)', re.MULTILINE)
# Lines of a RECORD that say how something was installed, not what.
_ABOUT_INSTALLING = (
    "/INSTALLER", "/REQUESTED", "/RECORD", "/direct_url.json", "/uv_cache.json", "/uv_build.json",
)  # fmt: skip
_FACT_CAP = 300


def read_metadata(one: Distribution) -> dict[str, Json]:
    """Read what there is to know of a distribution without its files.

    Parameters
    ----------
    one
        Where its metadata lies.

    Returns
    -------
    dict
        ``name`` and ``version`` as it writes them itself, ``installer``, ``requires`` (normal
        names, of no extras), ``direct`` (where it came from if not from an index, see
        `read_origin`), each only if known.
    """
    folder = Path(one.folder, one.entry)
    text = _read(folder / "METADATA") or _read(folder / "PKG-INFO") or _read(folder)
    found: dict[str, Json] = {}
    requires = []
    for key, value in _HEADER.findall(text.partition("\n\n")[0]):
        if key == "Requires-Dist":
            requires.append(value)
        else:
            found.setdefault(key.lower(), value[:_FACT_CAP])
    found.setdefault("version", one.version)
    if names := sorted({name for value in requires if (name := _required(value))}):
        found["requires"] = names
    if installer := _read(folder / "INSTALLER").strip():
        found["installer"] = installer[:_FACT_CAP]
    if origin := read_origin(one):
        found["direct"] = origin
    return found


def _required(requirement: str) -> str | None:
    """Name what is required in any case; whether a marker holds is seen by it being installed."""
    name, _, marker = requirement.partition(";")
    found = _NAME.match(name)
    return normal_name(found[0]) if found and not re.search(r"\bextra\b", marker) else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


# --- where it came from -----------------------------------------------------------------------


def read_origin(one: Distribution) -> dict[str, Json] | None:
    """Say where a distribution came from if it was no package index.

    Returns
    -------
    dict or None
        ``kind`` is ``"editable"``, ``"folder"`` (with ``path``, the home folder as ``~``),
        ``"vcs"`` (``url`` without credentials, ``vcs``, ``commit``, ``revision``) or
        ``"archive"`` (``url`` or ``path``, ``hashes``).
    """
    if one.entry.endswith(".egg-info"):
        return _developed(one)
    try:
        told = json.loads(_read(Path(one.folder, one.entry, "direct_url.json")) or "null")
    except (ValueError, RecursionError):
        return None
    url = told.get("url") if isinstance(told, dict) else None
    if not isinstance(url, str):
        return None
    kind, facts = _kind_of(told)
    if kind in {"archive", "vcs"}:
        path = _path_of(url)
        place = {"path": shortened(path)} if path else {"url": without_credentials(url)}
        return {"kind": kind, **place, **facts}
    return {"kind": kind, "path": shortened(_path_of(url) or ""), **facts}


def _kind_of(told: Mapping[str, Json]) -> tuple[str, dict[str, Json]]:
    vcs, archive, folder = (
        part if isinstance(part := told.get(name), dict) else None
        for name in ("vcs_info", "archive_info", "dir_info")
    )
    if vcs is not None:
        facts = {"vcs": vcs.get("vcs"), "commit": vcs.get("commit_id")}
        facts["revision"] = vcs.get("requested_revision")
        return "vcs", {key: str(v)[:_FACT_CAP] for key, v in facts.items() if v}
    if archive is not None:
        hashes = archive.get("hashes")
        if not isinstance(hashes, dict):
            name, _, value = str(archive.get("hash") or "").partition("=")
            hashes = {name: value} if value else {}
        return "archive", {"hashes": {str(k): str(v) for k, v in hashes.items()}}
    return ("editable" if folder and folder.get("editable") is True else "folder"), {}


def _developed(one: Distribution) -> dict[str, Json] | None:
    """Say where a legacy development installation lies: its metadata stands beside its code."""
    if os.path.basename(one.folder.rstrip(os.sep)) in {"site-packages", "dist-packages"}:  # noqa: PTH119
        return None
    folder = Path(one.folder)
    roots = (folder, folder.parent)
    root = next((r for r in roots if (r / "setup.py").exists() or (r / ".git").exists()), None)
    return {"kind": "editable", "path": shortened(str(root))} if root else None


def _path_of(url: str) -> str | None:
    """Give the path that a ``file:`` URL means."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return unquote(parts.path) if parts.scheme == "file" else None


def shortened(path: str) -> str:
    """Write a path without the name of the user's home folder."""
    home = os.path.expanduser("~").rstrip(os.sep)  # noqa: PTH111
    return "~" + path[len(home) :] if home and (path + os.sep).startswith(home + os.sep) else path


# --- its files --------------------------------------------------------------------------------


def first_parts(one: Distribution) -> set[str]:
    """Name the files and folders beside its metadata that a distribution owns a part of."""
    folder = Path(one.folder, one.entry)
    record = _record(one)
    if record:
        own = {os.fsdecode(part) for part in _FIRST_PART.findall(record)}
        return {p for p in own if p not in {"..", "__pycache__"} and not p.endswith(".dist-info")}
    names = _read(folder / "top_level.txt").split()
    return {*names, *(f"{name}.py" for name in names)}


def own_files(one: Distribution) -> set[str]:
    """Name all files of a distribution, from the folder of its metadata."""
    return set(_paths(_record(one)))


def record_digest(one: Distribution) -> str | None:
    """Identify the files of a distribution: the same for one wheel, whoever installed it where.

    Returns
    -------
    str or None
        ``"sha256:…"`` of names and hashes of its files as they were installed; None if it keeps
        no record of them.
    """
    record = _record(one)
    lines = sorted(
        line for line in record.decode("utf-8", "replace").splitlines() if _counts(line)
    )
    if not lines:
        return None
    return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


def _counts(line: str) -> bool:
    path = line.partition(",")[0]
    return not (path.startswith("..") or path.endswith((".pyc", *_ABOUT_INSTALLING)))


def _paths(record: bytes) -> list[str]:
    lines = record.decode("utf-8", "surrogateescape").splitlines()
    return [
        line[1:].partition('"')[0] if line[:1] == '"' else line.partition(",")[0] for line in lines
    ]


def _record(one: Distribution) -> bytes:
    try:
        return Path(one.folder, one.entry, "RECORD").read_bytes()
    except OSError:
        return b""
