"""Cron expressions: what they say, what is wrong with them, and when they fire.

Five fields as in crontab, or six with seconds first. Where clocks are changed, a job at a fixed
hour fires exactly once that day: at the end of the gap if its hour is left out, and the first
time if its hour comes twice. A job with ``*`` as hour or minute goes by the clock on the wall, as
in Debian's cron.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import TYPE_CHECKING

from mlops_nb.errors.schedules import BadCron
from mlops_nb.record import record
from mlops_nb.schedule.zones import read_zone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from mlops_nb.model.pipelines import Schedule

NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_LONGEST = 300
_LAST_WEEKDAY = re.compile(r"\dL")
_FIVE, _SIX = 5, 6
# Name, what is allowed, and how many values there are.
_FIELDS = (
    ("second", "0-59", 60),
    ("minute", "0-59", 60),
    ("hour", "0-23", 24),
    ("day of month", "1-31, L (the last day) or LW (the last weekday)", 31),
    ("month", "1-12 or JAN-DEC", 12),
    (
        "day of week",
        "0-7 or SUN-SAT (0 and 7 are Sunday), 5L (the last Friday) or MON#2 (the second Monday)",
        7,
    ),
)


@record
class Cron:
    """A cron expression that was read.

    Attributes
    ----------
    text
        As it was written, with single spaces; names such as ``@daily`` are kept.
    fields
        Second, minute, hour, day of month, month, day of week, as texts.
    has_seconds
        Whether a field of seconds was given.
    """

    text: str
    fields: tuple[str, ...]
    has_seconds: bool = False

    @property
    def has_special_days(self) -> bool:
        """Whether it has days that no plain cron knows: L, LW, 5L, MON#2."""
        day, weekday = self.fields[3].upper(), self.fields[5].upper()
        return "L" in day or "#" in weekday or bool(_LAST_WEEKDAY.search(weekday))

    @property
    def five(self) -> str:
        """The five fields of crontab, without the seconds."""
        return " ".join(self.fields[1:])


def read_cron(text: str) -> Cron:
    """Read a cron expression.

    Parameters
    ----------
    text
        Five fields as in crontab (``0 6 * * MON``), six with seconds first, or a name
        (``@daily``). Lists, ranges and steps everywhere; ``L``, ``LW``, ``5L`` and ``MON#2``
        among days.

    Raises
    ------
    BadCron
        It is none, or it never fires.

    Examples
    --------
    >>> read_cron("@daily").five
    '0 0 * * *'
    """
    text = " ".join(text.split())
    if len(text) > _LONGEST:
        raise BadCron(f"{text[:40]}…", "", f"it is longer than {_LONGEST} letters")
    if text.startswith("@"):
        return Cron(text.lower(), ("0", *_named(text).split()))
    parts = text.split(" ") if text else []
    if len(parts) not in {_FIVE, _SIX}:
        raise BadCron(text, "", _wrong_count(parts))
    fields = tuple(parts) if len(parts) == _SIX else ("0", *parts)
    for place, part in enumerate(fields):
        _check_field(text, place, part)
    cron = Cron(text, fields, has_seconds=len(parts) == _SIX)
    _check_that_it_fires(cron)
    return cron


def next_firings(schedule: Schedule, after: datetime, count: int = 5) -> tuple[datetime, ...]:
    """Tell when a schedule fires next, whether it is paused or not.

    Parameters
    ----------
    schedule
        With its expression and its zone.
    after
        An aware time; only firings after it count.
    count
        How many.

    Returns
    -------
    tuple of datetime
        In the schedule's zone, in order; fewer than `count` where there are no more within
        fifty years.

    Raises
    ------
    BadCron, UnknownZone
        Expression or zone cannot be read.

    Examples
    --------
    >>> from mlops_nb.model.pipelines import Schedule
    >>> monday = Schedule("1", "train", "0 6 * * 1", "Europe/Brussels", "/train.ipynb")
    >>> [at.isoformat() for at in next_firings(monday, datetime(2026, 10, 20, tzinfo=UTC), 2)]
    ['2026-10-26T06:00:00+01:00', '2026-11-02T06:00:00+01:00']
    """
    times = firing_times(read_cron(schedule.cron), read_zone(schedule.zone), after)
    return tuple(islice(times, count))


def firing_times(cron: Cron, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Give all firings after a time, in order, each instant once.

    Parameters
    ----------
    cron, zone
        When, and by whose clock.
    after
        An aware time.
    """
    from cronsim import CronSim

    last = after.astimezone(UTC)
    # The minute that has begun may have seconds left.
    begin = last.replace(second=0, microsecond=0)
    seconds = sorted(CronSim(f"{cron.fields[0]} * * * * *", _ANY_TIME).seconds)
    by_the_wall = any(field.startswith("*") for field in cron.fields[1:3])
    for minute in (_wall_minutes if by_the_wall else _fixed_minutes)(cron, zone, begin):
        for second in seconds:
            at = minute + timedelta(seconds=second)
            # Two local times may be one instant where clocks go forward, and what comes again
            # where they go back lies before `after`.
            if at > last:
                last = at
                yield at.astimezone(zone)


def _fixed_minutes(cron: Cron, zone: ZoneInfo, begin: datetime) -> Iterator[datetime]:
    """Give the minutes of an expression with fixed hours and minutes, from `begin` on."""
    from cronsim import CronSim

    for minute in CronSim(cron.five, (begin - timedelta(seconds=1)).astimezone(zone)):
        yield minute.astimezone(UTC)


def _wall_minutes(cron: Cron, zone: ZoneInfo, begin: datetime) -> Iterator[datetime]:
    """Give the minutes at which a clock on the wall shows what fits, from `begin` on.

    The library steps from hour to hour, and so loses minutes where clocks go by half an hour, and
    finds midnights that were left out; it is asked only for the days.
    """
    from cronsim import CronSim

    wanted = CronSim(cron.five, _ANY_TIME)
    today = begin.astimezone(zone).replace(tzinfo=None, hour=0, minute=0)
    for day in CronSim(f"0 0 {' '.join(cron.fields[3:])}", today - timedelta(seconds=1)):
        # No clock is moved by more than this at once.
        midnight = day.replace(tzinfo=zone).astimezone(UTC)
        minute = max(begin, midnight - _LARGEST_SHIFT)
        while minute < midnight + timedelta(days=1) + _LARGEST_SHIFT:
            local = minute.astimezone(zone)
            if (
                local.hour in wanted.hours
                and local.minute in wanted.minutes
                and local.date() == day.date()
            ):
                yield minute
            minute += _MINUTE


def describe(cron: Cron) -> str:
    """Say in words when an expression fires.

    Examples
    --------
    >>> describe(read_cron("0 6 * * 1"))
    'At 06:00 on Monday'
    """
    from cronsim.explain import explain

    return explain(" ".join(cron.fields) if cron.has_seconds else cron.five)


UTC = timezone.utc
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_LARGEST_SHIFT = timedelta(hours=3)


def _named(text: str) -> str:
    found = NAMED.get(text.lower())
    if found is None:
        if text.lower() == "@reboot":
            problem = "a schedule goes by the clock, and @reboot has no time"
        else:
            problem = f"there is no such name; there are {', '.join(NAMED)}"
        raise BadCron(text, "", problem)
    return found


def _wrong_count(parts: list[str]) -> str:
    count = f"{len(parts)} field{'' if len(parts) == 1 else 's'}"
    return (
        f"it has {count}, and needs five: minute, hour, day of month, month, day of week "
        "(or six, with seconds first), as 0 6 * * 1, or a name, as @daily"
    )


def _check_field(text: str, place: int, part: str) -> None:
    """Check one field by itself, so that the message can name it."""
    from cronsim import CronSim, CronSimError

    name, allowed, size = _FIELDS[place]
    others = ["*"] * _SIX
    others[place] = part
    try:
        CronSim(" ".join(others), _ANY_TIME)
    except CronSimError:
        raise BadCron(text, name, _field_problem(part), part, allowed) from None
    for step in part.split("/")[1:]:
        count = step.partition(",")[0]
        if count.isdecimal() and int(count) > size:
            problem = f"a step of {count} is longer than the field, so it would not be kept to"
            raise BadCron(text, name, problem, part, allowed)


def _field_problem(part: str) -> str:
    first, dash, last = part.partition("-")
    if dash and first.isdecimal() and last.isdecimal() and int(first) > int(last):
        return f"a range goes upwards; write it as a list of two ({first}-…,…-{last})"
    if "?" in part:
        return "there is no ?; write * for any"
    return ""


def _check_that_it_fires(cron: Cron) -> None:
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(cron.five, _ANY_TIME))
    except (CronSimError, StopIteration):
        problem = "it never fires: no such day comes within fifty years"
        raise BadCron(cron.text, "", problem) from None
