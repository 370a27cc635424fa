"""Time zones by name, and the one of this machine."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors.schedules import UnknownZone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_LOCALTIME = Path("/etc/localtime")
_TIMEZONE = Path("/etc/timezone")
# Copies in the database that count leap seconds, or that mean something else on each machine.
_NOT_ZONES = ("right/", "posix/", "localtime", "posixrules", "Factory")


def read_zone(name: str) -> ZoneInfo:
    """Find a time zone by its name in the IANA database.

    Parameters
    ----------
    name
        As ``Europe/Brussels``; letters must be in the right case.

    Raises
    ------
    UnknownZone
        There is none of this name, or this machine has no database of zones.

    Examples
    --------
    >>> read_zone("Europe/Brussels")
    zoneinfo.ZoneInfo(key='Europe/Brussels')
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if name.startswith(_NOT_ZONES):
        raise UnknownZone(name, _close_to(name))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # Also a folder ("Europe"), a path out of the database, a name that is no text for a file.
        raise UnknownZone(name, *_suggestions(name)) from None


def default_zone() -> str:
    """Name the zone of this machine: ``TZ``, else what the system is set to, else ``UTC``."""
    for name in (os.environ.get("TZ", "").lstrip(":"), _linked(), _written()):
        if name:
            try:
                return read_zone(name).key
            except UnknownZone:
                continue
    return "UTC"


def has_summer_time(name: str, after: datetime | None = None) -> bool:
    """Whether the clocks of a zone are changed within a year.

    Examples
    --------
    >>> has_summer_time("Europe/Brussels"), has_summer_time("Asia/Tokyo")
    (True, False)
    """
    return len({offset for _, offset in offsets(name, after)}) > 1


def offsets(name: str, after: datetime | None = None) -> tuple[tuple[datetime, int], ...]:
    """Tell how many minutes a zone is ahead of UTC: now, and after each change within a year.

    Each comes with the hour from which it counts.
    """
    zone = read_zone(name)
    start = datetime.now(timezone.utc) if after is None else after.astimezone(timezone.utc)
    start = start.replace(minute=0, second=0, microsecond=0)
    found: list[tuple[datetime, int]] = []
    for hour in range(366 * 24):
        at = start + timedelta(hours=hour)
        offset = int((at.astimezone(zone).utcoffset() or timedelta()).total_seconds()) // 60
        if not found or found[-1][1] != offset:
            found.append((at, offset))
    return tuple(found)


def _linked() -> str:
    """Read the zone that the system's clock is linked to."""
    try:
        target = str(_LOCALTIME.resolve(strict=True))
    except (OSError, RuntimeError):
        return ""
    return target.partition("/zoneinfo/")[2]


def _written() -> str:
    try:
        return _TIMEZONE.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _suggestions(name: str) -> tuple[tuple[str, ...], bool]:
    from zoneinfo import available_timezones

    return _close_to(name), not available_timezones()


def _close_to(name: str) -> tuple[str, ...]:
    """Find names that somebody may have meant, a city alone among them."""
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    known = {zone.casefold(): zone for zone in sorted(available_timezones())}
    wanted = name.strip().replace(" ", "_").casefold()
    same = [zone for key, zone in known.items() if wanted in {key, key.rpartition("/")[2]}]
    cities = {key.rpartition("/")[2]: key for key in known}
    near = [known[key] for key in get_close_matches(wanted, known, n=3, cutoff=0.75)]
    near += [known[cities[key]] for key in get_close_matches(wanted, cities, n=3, cutoff=0.8)]
    return tuple(dict.fromkeys([*same, *near]))[:3]
