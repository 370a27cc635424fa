"""A notebook as what runs it elsewhere: GitHub Actions, cron, systemd.

An exporter is a function from an `Export` to the files that say it; the entry point group
``mlops_nb.exporters`` holds them by name. It writes nothing, and it refuses what its target
cannot say exactly.
"""

from __future__ import annotations

from dataclasses import field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from mlops_nb.errors.schedules import ExportRefused
from mlops_nb.record import record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlops_nb.model import Json
    from mlops_nb.schedule import Cron

__all__ = ["Export", "Exported", "ExportedFile", "Exporter", "exporter_named", "exporter_names"]

GROUP = "mlops_nb.exporters"
# Looked up without a search through everything that is installed.
_OWN = {
    "github": "mlops_nb.exporters.github_actions:export",
    "cron": "mlops_nb.exporters.crontab:export",
    "systemd": "mlops_nb.exporters.systemd:export",
}


@record
class Export:
    """What is to run elsewhere.

    Attributes
    ----------
    target
        Absolute path of a notebook, or of a pipeline's folder.
    name
        What people call it.
    cron, zone
        When, and by whose clock; None for by hand alone.
    params
        Values for its parameters cell.
    store
        Path of a store's folder that is to be used; empty: found from the notebook, or named by
        the environment where it runs.
    has_server
        Whether its runs go to a server here, whose address must not be written down.
    missed, overlap
        As of a schedule.
    """

    target: Path
    name: str
    cron: Cron | None = None
    zone: str = "UTC"
    params: Mapping[str, Json] = field(default_factory=dict)
    store: str = ""
    has_server: bool = False
    missed: str = "once"
    overlap: str = "skip"


@record
class ExportedFile:
    """One file, and the path that it usually has."""

    path: str
    text: str


@record
class Exported:
    """The files of an export.

    Attributes
    ----------
    notes
        What the user should know, as sentences.
    next
        What to do with the files, as commands.
    """

    files: tuple[ExportedFile, ...]
    notes: tuple[str, ...] = ()
    next: tuple[str, ...] = ()


class Exporter(Protocol):
    """What an entry point gives."""

    def __call__(self, export: Export) -> Exported:
        """Say an export in the words of another system."""
        ...


def exporter_names() -> tuple[str, ...]:
    """Name the exporters that there are, ours first."""
    from importlib.metadata import entry_points

    others = (point.name for point in entry_points(group=GROUP))
    return tuple(dict.fromkeys((*_OWN, *others)))


def exporter_named(name: str) -> Exporter:
    """Find an exporter.

    Raises
    ------
    ExportRefused
        There is none of this name.
    """
    from importlib.metadata import entry_points

    if name in _OWN:
        module, _, function = _OWN[name].partition(":")
        found: Exporter = getattr(import_module(module), function)
        return found
    for point in entry_points(group=GROUP, name=name):
        loaded: Exporter = point.load()
        return loaded
    have = ", ".join(exporter_names())
    raise ExportRefused(name, "there is no such exporter", f"There are: {have}.")
