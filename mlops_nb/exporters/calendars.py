"""Cron expressions for systems that do not say time as ours does.

A cron expression is five sets of numbers, and a rule for days: if neither the day of the month
nor the day of the week begins with a star, a day has to fit one of them, else both.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from mlops_nb.errors.schedules import ExportRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from cronsim import CronSim

    from mlops_nb.schedule import Cron

_DAY = 24 * 60
_HOURS, _MONTHS, _WEEKDAYS = range(24), range(1, 13), range(7)
_LAST_SAFE_DAY = 27  # one later is still in the same month, in every month
# What some crons read otherwise: a start without an end (5/15), and names.
_ODD = re.compile(r"(?:^|,)\d+/|[A-Za-z]")
_SUNDAY = 7
_FEW = 3
_NAMES = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_LAST, _LAST_WORKDAY = -1000, -1001


def numbers_of(cron: Cron) -> CronSim:
    """Read the sets of numbers of an expression."""
    from datetime import datetime, timezone

    from cronsim import CronSim

    return CronSim(" ".join(cron.fields), datetime(2026, 1, 1, tzinfo=timezone.utc))


def plain_fields(cron: Cron) -> str:
    """Write five fields so that every cron reads the same in them.

    Examples
    --------
    >>> from mlops_nb.schedule import read_cron
    >>> plain_fields(read_cron("5/15 6 * JAN MON-FRI"))
    '5,20,35,50 6 * 1 1-5'
    """
    sets = numbers_of(cron)
    values: list[Collection[object]] = [sets.minutes, sets.hours, sets.days]
    values += [sets.months, sets.weekdays]
    return " ".join(
        listed(_plain_numbers(found)) if _ODD.search(text) and not text.startswith("*") else text
        for text, found in zip(cron.fields[1:], values, strict=True)
    )


def utc_fields(cron: Cron, offset_minutes: int, to: str) -> tuple[str, ...]:
    """Write an expression by a clock of UTC, as one or several lines of five fields.

    Parameters
    ----------
    cron
        By the clock of a zone, without special days.
    offset_minutes
        How far that clock is ahead of UTC.
    to
        Name of the exporter that needs it.

    Raises
    ------
    ExportRefused
        In UTC it falls on another day, and cron has no words for that day.

    Examples
    --------
    >>> from mlops_nb.schedule import read_cron
    >>> utc_fields(read_cron("0 6 * * 1"), 60, "github")
    ('0 5 * * 1',)
    >>> utc_fields(read_cron("30 0 * * 1"), 60, "github")
    ('30 23 * * 0',)
    """
    fields = plain_fields(cron).split(" ")
    if not offset_minutes:
        return (" ".join(fields),)
    sets = numbers_of(cron)
    is_any_day = fields[2:] == ["*", "*", "*"]
    hours: dict[tuple[int, int], set[int]] = {}
    for hour, minute in product(sets.hours, sets.minutes):
        shift, at = divmod(hour * 60 + minute - offset_minutes, _DAY)
        hours.setdefault((0 if is_any_day else shift, at // 60), set()).add(at % 60)
    groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for (shift, hour), minutes in hours.items():
        groups.setdefault((shift, tuple(sorted(minutes))), []).append(hour)
    lines = []
    for (shift, at_minutes), at_hours in sorted(groups.items()):
        first = fields[0] if set(at_minutes) == sets.minutes else listed(at_minutes)
        second = "*" if set(at_hours) == set(_HOURS) else listed(at_hours)
        lines.append(f"{first} {second} {_shifted_days(cron, sets, fields[2:], shift, to)}")
    return tuple(lines)


def calendar_lines(cron: Cron, zone: str) -> tuple[str, ...]:
    """Write an expression as calendar events of systemd, one or several.

    Raises
    ------
    ExportRefused
        They cannot say it.

    Examples
    --------
    >>> from mlops_nb.schedule import read_cron
    >>> calendar_lines(read_cron("0 6 * * MON-FRI"), "Europe/Brussels")
    ('Mon,Tue,Wed,Thu,Fri *-*-* 06:00:00 Europe/Brussels',)
    """
    sets = numbers_of(cron)
    months = "*" if sets.months == set(_MONTHS) else _padded(sets.months)
    times = (
        "*" if sets.hours == set(_HOURS) else _padded(sets.hours),
        "*" if len(sets.minutes) == len(range(60)) else _padded(sets.minutes),
        "*" if len(sets.seconds) == len(range(60)) else _padded(sets.seconds),
    )
    lines = []
    for weekdays, date in _day_rules(cron, sets):
        names = ",".join(_NAMES[day] for day in _from_monday(weekdays)) + " "
        every = set(weekdays) == set(_WEEKDAYS)
        lines.append(f"{'' if every else names}*-{months}{date} {':'.join(times)} {zone}")
    return tuple(lines)


def listed(numbers: Iterable[int]) -> str:
    """Write numbers as a list with ranges.

    Examples
    --------
    >>> listed([1, 2, 3, 5, 9, 10])
    '1-3,5,9,10'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    long = (f"{run[0]}-{run[-1]}" for run in runs)
    return ",".join(
        text if len(run) >= _FEW else ",".join(map(str, run))
        for run, text in zip(runs, long, strict=True)
    )


def _plain_numbers(found: Collection[object]) -> set[int]:
    return {number for number in found if isinstance(number, int)}


def _padded(numbers: Iterable[int]) -> str:
    return ",".join(f"{number:02}" for number in sorted(numbers))


def _from_monday(weekdays: Iterable[int]) -> list[int]:
    return sorted(set(weekdays), key=lambda day: day or _SUNDAY)


# --- days in UTC --------------------------------------------------------------------------------


def _shifted_days(cron: Cron, sets: CronSim, fields: list[str], shift: int, to: str) -> str:
    """Write the three fields of days for a day that is one earlier or later."""
    day, month, weekday = fields
    if not shift:
        return " ".join(fields)
    days = _plain_numbers(sets.days)
    if day == "*" and month == "*":
        return f"* * {_moved_weekdays(sets, weekday, shift)}"
    first, last = (2, 31) if shift < 0 else (1, _LAST_SAFE_DAY)
    # A star at the beginning also says how the two days go together, which a list would not.
    has_star = day.startswith("*") or (weekday.startswith("*") and weekday != "*")
    if has_star or min(days) < first or max(days) > last:
        problem = f'in UTC "{cron.text}" falls on other days, for which cron has no words'
        raise ExportRefused(to, problem, "Give it another hour, or the zone UTC (--tz UTC).")
    moved = listed(number + shift for number in days)
    return f"{moved} {month} {_moved_weekdays(sets, weekday, shift)}"


def _moved_weekdays(sets: CronSim, text: str, shift: int) -> str:
    """Write the days of the week, of which none begins with a star."""
    if text == "*":
        return text
    return listed({(number + shift) % _SUNDAY for number in _plain_numbers(sets.weekdays)})


# --- days of systemd ----------------------------------------------------------------------------


def _day_rules(cron: Cron, sets: CronSim) -> Iterator[tuple[set[int], str]]:
    """Give each rule for a day: days of the week, and the end of a date as ``-01,15``."""
    if sets.day_and:
        yield from _both(cron, sets)
        return
    for date in _dates(sets.days):
        yield from date
    yield from _weekday_rules(sets.weekdays)


def _both(cron: Cron, sets: CronSim) -> Iterator[tuple[set[int], str]]:
    """Give the rules where a day has to fit the day of the month and that of the week."""
    weekdays = {day % _SUNDAY for day in _plain_numbers(sets.weekdays)}
    special = [one for one in sets.weekdays if not isinstance(one, int)]
    is_any_date = len(_plain_numbers(sets.days)) == len(range(31))
    if special and not is_any_date:
        problem = f'"{cron.text}" asks for a day of the month and the place of a weekday at once'
        raise ExportRefused("systemd", problem, "Make two schedules of it.")
    if special:
        yield from _weekday_rules(sets.weekdays)
        return
    for date in _dates(sets.days):
        for days, end in date:
            if both := days & weekdays:
                yield both, end


def _dates(days: Collection[int]) -> Iterator[list[tuple[set[int], str]]]:
    every = set(_WEEKDAYS)
    plain = {day for day in days if day > 0}
    if len(plain) == len(range(31)):
        yield [(every, "-*")]
        return
    if plain:
        yield [(every, f"-{_padded(plain)}")]
    if _LAST in days:
        yield [(every, "~01")]
    if _LAST_WORKDAY in days:
        # The last day, or the Friday before a Saturday or a Sunday that is the last day.
        yield [({1, 2, 3, 4, 5}, "~01"), ({5}, "~02,03")]


def _weekday_rules(weekdays: Collection[object]) -> Iterator[tuple[set[int], str]]:
    plain = {day % _SUNDAY for day in _plain_numbers(weekdays)}
    if plain:
        yield plain, "-*"
    for one in sorted(one for one in weekdays if isinstance(one, tuple)):
        day, place = one
        if place == _LAST:
            yield {day % _SUNDAY}, "~01..07"
        else:
            first = (place - 1) * _SUNDAY + 1
            yield {day % _SUNDAY}, f"-{_padded(range(first, min(first + _SUNDAY, 32)))}"
