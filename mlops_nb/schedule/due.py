"""Which firings of a schedule are due, and which were missed: pure, for any clock."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import chain
from typing import TYPE_CHECKING

from mlops_nb.record import record
from mlops_nb.schedule.cron import firing_times, read_cron
from mlops_nb.schedule.zones import read_zone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.model.pipelines import Schedule

GRACE_S = 60.0
"""How late a firing may be and still be on time: a scheduler is started again, a poll is over."""

MOST_AT_ONCE = 100
"""How many firings of one schedule are taken at once; what remains is taken later."""

_SECOND = 1_000_000_000


@record
class Plan:
    """What a look at a schedule asks for.

    Attributes
    ----------
    on_time, late
        Times to run it for, in order; those of `late` were missed, and are to be caught up.
    missed
        Times that are passed over, each with the reason; one stands for all before it.
    next_at_ns
        When to look again; None if it never fires again.
    """

    on_time: tuple[int, ...] = ()
    late: tuple[int, ...] = ()
    missed: tuple[tuple[int, str], ...] = ()
    next_at_ns: int | None = None


def plan_firings(schedule: Schedule, now_ns: int, *, grace_s: float = GRACE_S) -> Plan:
    """Say what is to be done about a schedule now.

    Parameters
    ----------
    schedule
        Its `next_at_ns` is the first time that nobody has dealt with yet.
    now_ns
        The time, in nanoseconds since the epoch.
    grace_s
        What is late by no more than this was not missed.

    Raises
    ------
    BadCron, UnknownZone
        Expression or zone cannot be read.

    Examples
    --------
    >>> from mlops_nb.model.pipelines import Schedule
    >>> daily = Schedule("1", "train", "@daily", "UTC", "/train.ipynb", next_at_ns=0)
    >>> plan_firings(daily, now_ns=1).on_time
    (0,)
    """
    first = schedule.next_at_ns
    if first is None or first > now_ns:
        return Plan(next_at_ns=first)
    late: list[int] = []
    on_time: list[int] = []
    count = 0
    for due in _times_from(schedule, first):
        if due > now_ns or len(on_time) + len(late) >= MOST_AT_ONCE:
            break
        if due >= now_ns - int(grace_s * _SECOND):
            on_time.append(due)
            continue
        count += 1
        # Years may have been missed; only where all are to be run is more than the end kept.
        late = [*late, due] if schedule.missed == "all" else [*late[-1:], due]
    else:
        due = 0
    next_at_ns = due or None
    if schedule.missed == "all":
        return Plan(tuple(on_time), tuple(late), next_at_ns=next_at_ns)
    return _passed_over(schedule, on_time, late, count, next_at_ns)


def first_firing_ns(schedule: Schedule, now_ns: int) -> int | None:
    """Tell when a schedule fires for the first time after `now_ns`."""
    return next(_times_after(schedule, now_ns), None)


def as_text(schedule: Schedule, at_ns: int) -> str:
    """Write a time by the clock of a schedule, as ``2026-11-23 06:00:00 +01:00``."""
    text = local_time(schedule, at_ns).isoformat(" ", "seconds")
    return f"{text[:19]} {text[19:]}"


def local_time(schedule: Schedule, at_ns: int) -> datetime:
    """Give a time by the clock of a schedule."""
    # Not by a float, which has no room for nanoseconds.
    seconds, rest = divmod(at_ns, _SECOND)
    utc = datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=rest // 1000)
    return utc.astimezone(read_zone(schedule.zone))


def _passed_over(
    schedule: Schedule, on_time: list[int], late: list[int], count: int, next_at_ns: int | None
) -> Plan:
    """Drop what was missed, or all of it but the last."""
    run_late = late[-1:] if schedule.missed == "once" and not on_time else []
    dropped = late[: len(late) - len(run_late)]
    if not dropped:
        return Plan(tuple(on_time), tuple(run_late), next_at_ns=next_at_ns)
    others = count - len(run_late) - 1
    text = "missed: no scheduler ran" + (f" ({others:,} before it, too)" if others else "")
    if schedule.missed == "once":
        text += "; one run stands for all that were missed"
    return Plan(tuple(on_time), tuple(run_late), ((dropped[-1], text),), next_at_ns)


def _times_from(schedule: Schedule, first_ns: int) -> Iterator[int]:
    return chain((first_ns,), _times_after(schedule, first_ns))


def _times_after(schedule: Schedule, after_ns: int) -> Iterator[int]:
    cron, zone = read_cron(schedule.cron), read_zone(schedule.zone)
    for at in firing_times(cron, zone, local_time(schedule, after_ns)):
        yield int(at.timestamp()) * _SECOND
