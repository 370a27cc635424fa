"""A line of crontab."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mlops_nb.errors.schedules import ExportRefused
from mlops_nb.exporters import Exported, ExportedFile
from mlops_nb.exporters.calendars import plain_fields
from mlops_nb.exporters.making import file_stem, here_command, refuse_control
from mlops_nb.schedule import default_zone

if TYPE_CHECKING:
    from mlops_nb.exporters import Export
    from mlops_nb.schedule import Cron

_NAME = "cron"
_SERVER = (
    "Runs go to a server, whose address is not written down: set MLOPS_NB_STORE above the line, "
    "in a crontab that only you can read."
)
_ZONED = (
    "CRON_TZ is known to cronie (Fedora, RHEL, Arch) and counts for all lines below it. Debian's "
    "cron does not know it, and takes the machine's zone, {here}."
)


def export(export: Export) -> Exported:
    """Write a notebook as a line of crontab.

    Raises
    ------
    ExportRefused
        No time is given, or cron cannot say it: seconds, the last day of a month, the second
        Monday; or a text holds what no crontab can hold.
    """
    cron = _plain(export.cron)
    command = here_command(export)
    refuse_control(_NAME, [export.name, *command])
    if any("\\" in word for word in command):
        problem = "crontabs do not agree on what a backslash means"
        raise ExportRefused(_NAME, problem, "Export to systemd, or rename what has one.")
    # What cron takes for a line break is escaped for cron; all else is quoted for its shell.
    line = shlex.join(command).replace("%", r"\%")
    here = default_zone()
    is_elsewhere = export.zone != here
    zone = [f"CRON_TZ={export.zone}"] if is_elsewhere else []
    notes = [_ZONED.format(here=here)] if is_elsewhere else []
    notes += [_SERVER] if export.has_server else []
    if export.missed != "skip":
        notes.append("cron does not make up for times at which the machine was off.")
    if export.overlap != "allow":
        notes.append("cron starts the next one although the last one still runs.")
    head = [f"# {export.name}: made by mlops-nb export --to cron", *(f"# {one}" for one in notes)]
    text = "\n".join([*head, *zone, f"{cron} {line}"]) + "\n"
    file = ExportedFile(f"{file_stem(export.name)}.crontab", text)
    return Exported((file,), tuple(notes), ("crontab -e    # and add the lines at the end",))


def _plain(cron: Cron | None) -> str:
    """Give the five fields, if every cron understands them."""
    if cron is None:
        remedy = 'Say when with --cron, as --cron "0 6 * * 1".'
        raise ExportRefused(_NAME, "a crontab needs a time", remedy)
    if cron.has_seconds:
        raise ExportRefused(_NAME, "cron knows no seconds", "Give five fields, or use systemd.")
    if cron.has_special_days:
        problem = f'"{cron.text}" has L or #, which cron does not know'
        raise ExportRefused(_NAME, problem, "Export to systemd, which does.")
    return plain_fields(cron)
