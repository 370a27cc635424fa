"""Schedules: when each runs next, how it went last, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_nb.compare.table import short_labels
from mlops_nb.display.blocks import Cell, Column, Facts, Span, Table, TableRow, fact, line
from mlops_nb.display.formats import UNKNOWN, ago, counted, duration, exact_time, one_line
from mlops_nb.display.view import View
from mlops_nb.documents import iso, plain
from mlops_nb.errors.schedules import BadCron, UnknownZone
from mlops_nb.schedule import describe, next_firings, read_cron, read_zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.display.blocks import Block, Tone
    from mlops_nb.display.view import Place
    from mlops_nb.model.pipelines import Firing, Schedule
    from mlops_nb.store import Store

SCHEDULES_MIME = "application/vnd.mlops-nb.schedules.v1+json"

FEW = 5
"""How many of the next dates are shown if nothing else is said."""

_STATES: dict[str, tuple[str, Tone]] = {
    "claimed": ("·", "muted"),
    "running": ("◐", "strong"),
    "done": ("✓", "good"),
    "failed": ("✕", "bad"),
    "lost": ("✕", "bad"),
    "skipped": ("–", "warn"),
}
_PAST = 10


@dataclass(frozen=True, slots=True)
class Dates:
    """A schedule with its next dates and its last firings, the latest first.

    Attributes
    ----------
    problem
        What is wrong with its expression or its zone; then it has no dates.
    what_is_bad
        The same in two words.
    """

    schedule: Schedule
    next: tuple[datetime, ...] = ()
    last: tuple[Firing, ...] = ()
    problem: str = ""
    what_is_bad: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class SchedulesView(View):
    """All schedules of a store, one row each.

    Attributes
    ----------
    dates
        By name.
    place
        Where the reader is.
    now
        The time that "2 min ago" is counted from.
    """

    dates: tuple[Dates, ...]
    now: datetime
    place: Place = "notebook"

    mime: ClassVar[str] = SCHEDULES_MIME
    title: ClassVar[str] = "Schedules"

    def document(self) -> dict[str, Any]:
        """Give the schedules as JSON."""
        return {"schedules": [dates_document(one) for one in self.dates]}

    def blocks(self) -> tuple[Block, ...]:
        """Give the heading, the table, and what to do next."""
        if not self.dates:
            typed = (
                '%mlops_schedule "0 6 * * 1"'
                if self.place == "notebook"
                else "mlops-nb schedule add NOTEBOOK --cron '0 6 * * 1'"
            )
            return (line("No schedules yet. Make one:  ", Span(typed, "code")),)
        columns = tuple(_columns(self.dates, self.now))
        rows = zip(*(cells for _, cells in columns), strict=True)
        heading = Span(counted(len(self.dates), "schedule"), "strong")
        return (
            line(heading, Span(f"   as of {exact_time(self.now)}", "muted")),
            Table(
                tuple(column for column, _ in columns),
                tuple(TableRow(cells) for cells in rows),
                summary=counted(len(self.dates), "schedule"),
            ),
            line("They run while a scheduler does:  ", Span("mlops-nb scheduler", "code")),
        )


@dataclass(frozen=True, slots=True, repr=False)
class ScheduleView(View):
    """One schedule: what it runs, when next, and how it went.

    Attributes
    ----------
    dates
        The schedule.
    now
        The time that "2 min ago" is counted from.
    said
        What was just done to it, as ``"paused"``.
    note
        What the user should know besides.
    place
        Where the reader is.
    """

    dates: Dates
    now: datetime
    said: str = ""
    note: str = ""
    place: Place = "notebook"

    mime: ClassVar[str] = SCHEDULES_MIME
    title: ClassVar[str] = "Schedule"

    def document(self) -> dict[str, Any]:
        """Give the schedule as JSON."""
        said = {"said": self.said} if self.said else {}
        past = [firing_document(one) for one in self.dates.last]
        return {**dates_document(self.dates), "firings": past, **said}

    def blocks(self) -> tuple[Block, ...]:
        """Give what it is, when it runs, and how it went."""
        schedule = self.dates.schedule
        said = f" {self.said}" if self.said else ""
        head = line(
            Span("schedule "),
            Span(one_line(schedule.name), "strong"),
            Span(f" ({schedule.id[:4]})", "muted", schedule.id),
            Span(said, "strong"),
        )
        note = (line(Span(self.note, "warn")),) if self.note else ()
        return (head, Facts(tuple(self._facts())), *note)

    def _facts(self) -> Iterator[Any]:
        schedule = self.dates.schedule
        given = ", ".join(f"{key}={value}" for key, value in schedule.params.items())
        yield fact("runs", Span(schedule.target, "code"), Span(given and f"   with {given}"))
        yield fact("when", *_when(schedule))
        if self.dates.problem:
            yield fact("wrong", Span(self.dates.problem, "bad"))
        for place, at in enumerate(self.dates.next):
            yield fact("then" if place else "next", Span(long_date(at), "plain", exact_time(at)))
        if schedule.is_paused:
            yield fact("next", Span("paused", "warn"))
        missed, overlap = f"missed: {schedule.missed}", f"while it still runs: {schedule.overlap}"
        yield fact("else", Span(f"{missed} · {overlap}", "muted"))
        for place, firing in enumerate(self.dates.last):
            yield fact("before" if place else "last", *_past(schedule, firing, self.now))


def view_schedules(store: Store, *, place: Place = "notebook") -> SchedulesView:
    """Look at all schedules of a store."""
    now = datetime.now(tz=timezone.utc)
    found = tuple(_dates(store, one, now, FEW, 1) for one in store.schedules())
    return SchedulesView(found, now, place)


def view_schedule(
    store: Store,
    schedule: Schedule,
    *,
    said: str = "",
    note: str = "",
    count: int = FEW,
    place: Place = "notebook",
) -> ScheduleView:
    """Look at one schedule.

    Parameters
    ----------
    store
        An open one.
    schedule
        As it is in the store, or was before it was removed.
    said, note
        What was just done to it, and what the user should know besides.
    count
        How many of the next dates.
    place
        Where the reader is.
    """
    now = datetime.now(tz=timezone.utc)
    dates = _dates(store, schedule, now, count, _PAST)
    return ScheduleView(dates, now, said, note, place)


def dates_document(dates: Dates) -> dict[str, Any]:
    """Describe a schedule; times are in UTC, and once more by the clock of its zone."""
    schedule = dates.schedule
    document: dict[str, Any] = {
        "id": schedule.id,
        "name": plain(schedule.name),
        "cron": schedule.cron,
        "zone": schedule.zone,
        "target": plain(schedule.target),
        "params": plain(schedule.params),
        "missed": schedule.missed,
        "overlap": schedule.overlap,
        "paused": schedule.is_paused,
        "created_at": _iso_ns(schedule.created_at_ns),
        "created_by": plain(schedule.created_by),
        "next": [iso(at) for at in dates.next],
        "next_local": [at.isoformat() for at in dates.next],
        "last": firing_document(dates.last[0]) if dates.last else None,
    }
    if dates.problem:
        document["problem"] = dates.problem
    return document


def firing_document(firing: Firing) -> dict[str, Any]:
    """Describe a firing."""
    return {
        "due_at": _iso_ns(firing.due_at_ns),
        "state": firing.state,
        "run": firing.run or None,
        "started_at": _iso_ns(firing.started_at_ns),
        "ended_at": _iso_ns(firing.ended_at_ns),
        "text": plain(firing.text),
    }


def long_date(at: datetime) -> str:
    """Write a date by the clock of its zone, as ``Mon 2026-11-23 06:00 +01:00``."""
    seconds = ":%S" if at.second else ""
    return at.strftime(f"%a %Y-%m-%d %H:%M{seconds} ") + at.isoformat()[-6:]


def _dates(store: Store, schedule: Schedule, now: datetime, count: int, past: int) -> Dates:
    last = tuple(store.firings(schedule.id, limit=past))
    try:
        if schedule.is_paused:
            read_zone(schedule.zone)
            return Dates(schedule, (), last)
        return Dates(schedule, next_firings(schedule, now, count), last)
    except BadCron as error:
        return Dates(schedule, (), last, str(error), "bad expression")
    except UnknownZone as error:
        return Dates(schedule, (), last, str(error), "unknown zone")


def _columns(dates: Sequence[Dates], now: datetime) -> Iterator[tuple[Column, tuple[Cell, ...]]]:
    labels = short_labels(one.schedule.id for one in dates)
    yield Column("id"), tuple(Cell(labels[d.schedule.id], hover=d.schedule.id) for d in dates)
    yield Column("name"), tuple(Cell(one_line(d.schedule.name), "strong") for d in dates)
    yield Column("when", widest=20), tuple(_when_cell(d) for d in dates)
    yield Column("zone", rank=12), tuple(Cell(d.schedule.zone) for d in dates)
    yield Column("next", widest=32), tuple(_next_cell(d) for d in dates)
    yield Column("then", rank=30, widest=64), tuple(_then_cell(d) for d in dates)
    yield Column("last", widest=40), tuple(_last_cell(d, now) for d in dates)
    targets = tuple(Cell(one_line(d.schedule.target), hover=d.schedule.target) for d in dates)
    yield Column("runs", rank=20, widest=40), targets


def _when_cell(dates: Dates) -> Cell:
    schedule = dates.schedule
    return Cell(one_line(schedule.cron), "code", dates.problem or _words(schedule))


def _next_cell(dates: Dates) -> Cell:
    if dates.problem:
        return Cell(f"✕ {dates.what_is_bad}", "bad", dates.problem)
    if dates.schedule.is_paused:
        return Cell("paused", "warn")
    if not dates.next:
        return Cell(UNKNOWN)
    return Cell(long_date(dates.next[0]), hover=exact_time(dates.next[0]))


def _then_cell(dates: Dates) -> Cell:
    times = dates.next[1:]
    everything = "\n".join(long_date(at) for at in times)
    pattern = "%d %b %H:%M"
    if dates.next and all(at.time() == dates.next[0].time() for at in times):
        pattern = "%d %b"
    return Cell(" · ".join(at.strftime(pattern) for at in times), "muted", everything)


def _last_cell(dates: Dates, now: datetime) -> Cell:
    if not dates.last:
        return Cell("never ran", "muted")
    firing = dates.last[0]
    mark, tone = _STATES.get(firing.state, ("", "plain"))
    when = ago(_at(firing.ended_at_ns or firing.started_at_ns or firing.due_at_ns), now)
    run = f" · run {firing.run[:4]}" if firing.run else ""
    return Cell(f"{mark} {firing.state} {when}{run}", tone, one_line(firing.text))


def _past(schedule: Schedule, firing: Firing, now: datetime) -> Iterator[Span]:
    mark, tone = _STATES.get(firing.state, ("", "plain"))
    yield Span(f"{mark} {firing.state}", tone)
    due = _at(firing.due_at_ns)
    yield Span(f"  {_local(schedule, due)}", "plain", f"{exact_time(due)}, {ago(due, now)}")
    if firing.started_at_ns and firing.ended_at_ns:
        took = duration((firing.ended_at_ns - firing.started_at_ns) / 1e9)
        yield Span(f"  {took}", "muted")
    if firing.run:
        yield Span(f"  run {firing.run[:8]}", "plain", firing.run)
    if firing.text:
        yield Span(f"  {one_line(firing.text)}", "muted", firing.text)


def _when(schedule: Schedule) -> Iterator[Span]:
    words = _words(schedule)
    yield Span(one_line(schedule.cron), "code")
    yield Span(f"   {words}, by the clock of {schedule.zone}" if words else f"   {schedule.zone}")


def _words(schedule: Schedule) -> str:
    try:
        return describe(read_cron(schedule.cron))
    except BadCron:
        return ""


def _local(schedule: Schedule, at: datetime) -> str:
    try:
        return long_date(at.astimezone(read_zone(schedule.zone)).replace(microsecond=0))
    except UnknownZone:
        return exact_time(at)


def _at(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns / 1e9, timezone.utc)


def _iso_ns(at_ns: int | None) -> str | None:
    return None if not at_ns else iso(_at(at_ns))
