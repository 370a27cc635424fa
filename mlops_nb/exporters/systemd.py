"""A service and a timer of systemd."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlops_nb.errors.schedules import ExportRefused
from mlops_nb.exporters import Exported, ExportedFile
from mlops_nb.exporters.calendars import calendar_lines
from mlops_nb.exporters.making import file_stem, here_command, refuse_control

if TYPE_CHECKING:
    from mlops_nb.exporters import Export

_NAME = "systemd"
# What needs no quotes in a command, and means nothing else there.
_BARE = re.compile(r"[A-Za-z0-9_./:=,@+-]+")
_SERVICE = """\
# Made by mlops-nb export --to systemd.
[Unit]
Description=mlops-nb: {name}.

[Service]
Type=oneshot
# For MLOPS_NB_STORE, if runs go to a server: a file that only you can read, one NAME=VALUE a line.
EnvironmentFile=-%E/mlops_nb/environment
ExecStart={command}
"""
_TIMER = """\
# Made by mlops-nb export --to systemd.
{notes}[Unit]
Description=mlops-nb: {name}, {cron} ({zone}).

[Timer]
{calendars}
Persistent={persistent}
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
_CLOCKS = (
    "On the day when clocks go forward, systemd leaves out what falls into the hour that is left "
    "out; the scheduler of mlops-nb runs it at the end of the gap."
)


def export(export: Export) -> Exported:
    """Write a notebook as a service and, if a time is given, a timer.

    Raises
    ------
    ExportRefused
        systemd cannot say the time, or a text does not stay on one line.
    """
    command = here_command(export)
    refuse_control(_NAME, [export.name, *command])
    stem = f"mlops-nb-{file_stem(export.name)}"
    name = _text(export.name)
    service = _SERVICE.format(name=name, command=" ".join(map(_word, command)))
    files = [ExportedFile(f"{stem}.service", service)]
    notes = list(_notes(export))
    if export.cron is not None:
        lines = calendar_lines(export.cron, export.zone)
        timer = _TIMER.format(
            notes="".join(f"# {note}\n" for note in notes),
            name=name,
            cron=_text(export.cron.text),
            zone=export.zone,
            calendars="\n".join(f"OnCalendar={line}" for line in lines),
            persistent="false" if export.missed == "skip" else "true",
        )
        files.append(ExportedFile(f"{stem}.timer", timer))
    start = f"{stem}.{'timer' if export.cron is not None else 'service'}"
    verb = "enable --now" if export.cron is not None else "start"
    then = (
        f"cp {' '.join(file.path for file in files)} ~/.config/systemd/user/",
        "systemctl --user daemon-reload",
        f"systemctl --user {verb} {start}",
    )
    return Exported(tuple(files), tuple(notes), then)


def _notes(export: Export) -> list[str]:
    from mlops_nb.schedule.zones import has_summer_time

    notes = []
    if export.cron is not None and has_summer_time(export.zone):
        notes.append(_CLOCKS)
    if export.missed == "all":
        notes.append("Of times at which the machine was off, systemd makes up for the last alone.")
    if export.overlap != "skip":
        notes.append("While the last one still runs, systemd does not start the next one.")
    if export.has_server:
        notes.append(
            "Runs go to a server, whose address is not written down: set MLOPS_NB_STORE in "
            "~/.config/mlops_nb/environment, readable for you alone."
        )
    return notes


def _text(text: str) -> str:
    """Write a text for a setting that is no command: percent signs stand for other things."""
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """Write one word of a command, whatever is in it."""
    if "\0" in text or not _is_text(text):
        raise ExportRefused(_NAME, f"{text[:60]!r} is no text", "Rename what has this name.")
    escaped = text.replace("%", "%%").replace("$", "$$")
    if _BARE.fullmatch(escaped):
        return escaped
    quoted = escaped.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
