"""Installed distributions, as the names of their metadata folders.

That is a hundred times faster than their metadata, and exact for everything that was installed
from a wheel.
"""

from __future__ import annotations

import os
import re
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.model import Json

# A folder with this many entries and no metadata among them is data, not site-packages.
_ENTRIES_CAP = 5_000

_by_folder: dict[str, tuple[int, dict[str, Distribution]]] = {}


@record
class Distribution:
    """Something installed: its version by the name of its metadata, and where that lies."""

    version: str
    folder: str
    entry: str


USUAL_NAMES = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "imblearn": "imbalanced-learn",
    "mpl_toolkits": "matplotlib",
    "pytorch_lightning": "pytorch-lightning",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "yaml": "pyyaml",
}
"""Distributions of modules that have another name, of those that notebooks import most."""


def distribution_of(module: str) -> str:
    """Name the distribution of a module, as far as its name alone tells.

    Examples
    --------
    >>> distribution_of("sklearn.linear_model"), distribution_of("My_Package")
    ('scikit-learn', 'my-package')
    """
    top = module.partition(".")[0]
    return normal_name(USUAL_NAMES.get(top, top))


def normal_name(name: str) -> str:
    """Write the name of a distribution as package indexes compare it.

    Examples
    --------
    >>> normal_name("Jinja_2.x")
    'jinja-2-x'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def folder_times() -> Iterator[Json]:
    """Give what changes when something is installed: the folders on the path and their times."""
    for entry in sys.path:
        yield entry
        try:
            yield os.stat(entry or ".").st_mtime_ns  # noqa: PTH116  a Path costs as much again
        except (OSError, TypeError, ValueError):
            yield None


def installed() -> dict[str, Distribution]:
    """Find every distribution by its normal name; the first on the path is the one in use."""
    found: dict[str, Distribution] = {}
    for entry in sys.path:
        for name, one in _installed_in(entry or ".").items():
            found.setdefault(name, one)
    return dict(sorted(found.items()))


def _installed_in(folder: str) -> dict[str, Distribution]:
    try:
        modified = Path(folder).stat().st_mtime_ns
        kept = _by_folder.get(folder)
        if kept is None or kept[0] != modified:
            kept = _by_folder[folder] = (modified, scan(folder))
    except (OSError, TypeError, ValueError):
        # A zip file, something that is no path, or a folder not there or not ours to read.
        return {}
    return kept[1]


def scan(folder: str) -> dict[str, Distribution]:
    """Read the names of the metadata in a folder."""
    found: dict[str, Distribution] = {}
    with os.scandir(folder) as entries:
        while batch := list(islice(entries, _ENTRIES_CAP)):
            for entry in batch:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    found.update(_distribution(folder, entry.name))
            if not found:
                break
    return found


def _distribution(folder: str, entry: str) -> dict[str, Distribution]:
    stem, _, kind = entry.rpartition(".")
    if kind == "egg-info":
        stem = re.sub(r"-py\d+(\.\d+)?$", "", stem)
    name, _, version = stem.partition("-")
    if not name or name.startswith("~"):
        # pip renames what it is about to remove to ~name.
        return {}
    version = version or _version_in(Path(folder, entry, "PKG-INFO"))
    return {normal_name(name): Distribution(version, folder, entry)}


def _version_in(metadata: Path) -> str:
    try:
        text = metadata.read_text("utf-8", "replace")
    except OSError:
        return ""
    found = re.search(r"^Version:[ \t]*(\S+)", text, re.MULTILINE)
    return found[1] if found else ""
