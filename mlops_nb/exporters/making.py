"""An export from what a person typed, with everything that all exporters need checked."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors.schedules import ExportRefused
from mlops_nb.exporters import Export, exporter_named
from mlops_nb.schedule.making import new_schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.exporters import Exported
    from mlops_nb.model import Json
    from mlops_nb.schedule import Cron

_NO_TIME = "@yearly"  # checks all the rest where no time is given
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def export(
    target: Path,
    to: str,
    *,
    cron: str | None = None,
    zone: str | None = None,
    name: str | None = None,
    params: Mapping[str, Json] | None = None,
    store: str | None = None,
    missed: str = "once",
    overlap: str = "skip",
    has_server: bool = False,
) -> Exported:
    """Say a notebook in the words of another system; nothing is written.

    Parameters
    ----------
    target
        A notebook, or the folder of a pipeline.
    to
        Name of an exporter.
    cron, zone, name, params, missed, overlap
        As of a schedule; without `cron`, the export has no time if it can do without.
    store
        Path of a store's folder.
    has_server
        Whether runs go to a server here.

    Raises
    ------
    ExportRefused
        The other system cannot say this exactly, or it would hold a password.
    BadCron, UnknownZone, BadParameter, ScheduleRefused
        As of a schedule.
    """
    from mlops_nb.schedule import read_cron

    exporter = exporter_named(to)
    checked = new_schedule(
        target,
        cron or _NO_TIME,
        zone=zone,
        name=name,
        params=params,
        missed=missed,
        overlap=overlap,
    )
    if store and "://" in store:
        remedy = "Leave it out, and set MLOPS_NB_STORE where it runs."
        raise ExportRefused(to, "the address of a server is not written down", remedy)
    when: Cron | None = read_cron(cron) if cron else None
    made = Export(
        Path(checked.target),
        checked.name,
        cron=when,
        zone=checked.zone,
        params=checked.params,
        store=os.path.abspath(store) if store else "",  # noqa: PTH100  # links stay
        has_server=has_server,
        missed=missed,
        overlap=overlap,
    )
    return exporter(made)


def here_command(export: Export, *more: str) -> list[str]:
    """Write the command that runs an export on this machine, with absolute paths alone."""
    from mlops_nb.schedule.children import value_text

    command = [sys.executable, "-P", "-m", "mlops_nb", "run", *more]
    if export.store:
        command += ["--store", export.store]
    for name, value in export.params.items():
        command += ["-p", f"{name}={value_text(value)}"]
    return [*command, "--", str(export.target)]


def refuse_control(format_: str, texts: list[str]) -> None:
    """Refuse texts that do not stay on one line.

    Raises
    ------
    ExportRefused
        One has a line break or another control character.
    """
    for text in texts:
        if _CONTROL.search(text):
            problem = f"{text[:60]!r} has a line break or a control character"
            remedy = "Give it in a parameters file, or rename what has it."
            raise ExportRefused(format_, problem, remedy)


def file_stem(name: str) -> str:
    """Make a name of a file that every system takes; unlike names give unlike files.

    Examples
    --------
    >>> file_stem("nightly"), file_stem("é 50%")
    ('nightly', '50-5367996d')
    """
    import hashlib

    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:60]
    if plain == name:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest
